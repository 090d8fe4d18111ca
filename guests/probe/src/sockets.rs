//! The class `Sockets`: WebSockets that do what a test tells them.
//!
//! An upgrade takes `?tag=` (repeated), `?greet=TEXT`, `?refuse`, `?trap`,
//! `?answer=STATUS`. A text message is a command (`instance`, `trap`,
//! `say-then-trap TEXT`, `say-in-transaction MS TEXT` (which traps at its end if TEXT is
//! `trap`), `fail`, `attach TEXT`, `attached`, `tag TEXT`, `tags`, `count`, `wait MS`,
//! `limit MS`, `close CODE REASON`, `all TEXT`, `flood COUNT BYTES`,
//! `buffered COUNT BYTES`, `write TEXT`) or else echoed; binary is echoed, and so is
//! everything on a socket with the one tag `echo`. `GET /` tells of all sockets,
//! `/events` of all ends, `/auto?request=&response=` sets the auto-response.

use std::time::Duration;

use dormouse_sdk::prelude::*;
use serde_json::{Value, json};

struct Sockets {
    instance: u32,
    state: State,
}

#[durable_object]
impl DurableObject for Sockets {
    async fn new(state: State, _env: Env) -> Result<Self> {
        state
            .sql()
            .exec("CREATE TABLE IF NOT EXISTS event (text TEXT NOT NULL)", ())?;
        Ok(Self {
            instance: super::random(),
            state,
        })
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if let Some(upgrade) = request.upgrade() {
            return enter(&request, upgrade);
        }
        match request.path() {
            "/events" => {
                let events: Vec<String> = self
                    .state
                    .sql()
                    .all("SELECT text FROM event ORDER BY rowid", ())?;
                Response::json(&events)
            }
            "/auto" => {
                let value = |name| request.query_value(name).unwrap_or_default();
                self.state
                    .set_auto_response(&value("request"), &value("response"))?;
                Ok(Response::empty())
            }
            _ => Response::json(&json!({"instance": self.instance, "sockets": self.sockets()?})),
        }
    }

    async fn websocket_message(&self, socket: WebSocket, message: Message) -> Result<()> {
        let Message::Text(text) = message else {
            return Ok(socket.send(message)?);
        };
        if socket.tags() == ["echo"] {
            return Ok(socket.send(text)?);
        }
        let (command, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match command {
            "instance" => socket.send(self.instance.to_string())?,
            "trap" => panic!("told to trap"),
            "say-then-trap" => {
                socket.send(rest)?;
                panic!("told to trap");
            }
            "say-in-transaction" => {
                let (ms, words) = rest.split_once(' ').context("MS TEXT")?;
                let ms = Duration::from_millis(ms.parse()?);
                let transaction = self.state.transaction(async {
                    socket.send(words)?;
                    sleep(ms).await;
                    assert_ne!(words, "trap", "told to trap");
                    bail!("undone as told")
                });
                let undone: Result<()> = transaction.await;
                ensure!(undone.is_err(), "it was to be undone");
            }
            "fail" => bail!("told to fail"),
            "attach" => socket.set_attachment(&rest)?,
            "attached" => socket.send_json(&socket.attachment::<Value>()?)?,
            "tag" => socket.set_tags(rest.split(','))?,
            "tags" => socket.send_json(&socket.tags())?,
            "count" => socket.send(self.state.websockets_tagged(rest).len().to_string())?,
            "wait" => {
                sleep(Duration::from_millis(rest.parse()?)).await;
                socket.send(text)?;
            }
            "limit" => {
                let limit = Duration::from_millis(rest.parse()?);
                self.state.set_websocket_event_timeout(Some(limit))?;
                let limit = self.state.websocket_event_timeout();
                socket.send(format!("{limit:?}"))?;
            }
            "close" => {
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                socket.close(code.parse()?, reason)?;
            }
            "all" => drop(self.state.broadcast(rest)),
            "flood" => flood(&socket, rest)?,
            "buffered" => {
                flood(&socket, rest)?;
                socket.send(socket.buffered_amount().to_string())?;
            }
            "write" => {
                self.note(rest)?;
                socket.send(text)?;
            }
            _ => socket.send(text)?,
        }
        Ok(())
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: u16,
        reason: String,
        was_clean: bool,
    ) -> Result<()> {
        let attached: Option<Value> = socket.attachment()?;
        self.note(&format!(
            "closed {code} {reason:?} clean={was_clean} attached={attached:?}"
        ))
    }

    async fn websocket_error(&self, _socket: WebSocket, error: String) -> Result<()> {
        self.note(&format!("error {error}"))
    }
}

impl Sockets {
    fn note(&self, text: &str) -> Result<()> {
        self.state
            .sql()
            .exec("INSERT INTO event VALUES (?)", (text,))?;
        Ok(())
    }

    fn sockets(&self) -> Result<Vec<Value>> {
        let sockets = self.state.websockets();
        let tell = |socket: &WebSocket| -> Result<Value> {
            Ok(json!({
                "id": socket.id(),
                "tags": socket.tags(),
                "attachment": socket.attachment::<Value>()?,
                "state": format!("{:?}", socket.ready_state()),
                "buffered": socket.buffered_amount(),
                "auto": socket.auto_response_at().is_some(),
            }))
        };
        sockets.iter().map(tell).collect()
    }
}

fn enter(request: &Request, mut upgrade: Upgrade) -> Result<Response> {
    let asked = |name: &str| request.query_value(name).map(|value| value.into_owned());
    if asked("refuse").is_some() {
        return Ok(Response::text("refused\n").with_status(403));
    }
    let protocol = upgrade.protocols().into_iter().next();
    for (_, tag) in request.query_pairs().filter(|(key, _)| key == "tag") {
        upgrade = upgrade.with_tag(tag);
    }
    let socket = upgrade.with_attachment(&"fresh")?.accept()?;
    if let Some(greeting) = asked("greet") {
        socket.send(greeting)?;
    }
    assert!(asked("trap").is_none(), "told to trap");
    if let Some(status) = asked("answer") {
        return Ok(Response::text("no socket\n").with_status(status.parse::<u16>()?));
    }
    let response = Response::websocket().with_header("x-told", "by the object");
    Ok(match protocol {
        Some(protocol) => response.with_header("sec-websocket-protocol", protocol),
        None => response,
    })
}

fn flood(socket: &WebSocket, what: &str) -> Result<()> {
    let (count, bytes) = what.split_once(' ').context("COUNT BYTES")?;
    let payload = vec![b'x'; bytes.parse()?];
    for _ in 0..count.parse()? {
        socket.send(payload.as_slice())?;
    }
    Ok(())
}
