//! A chat room: one object each, its history in SQL, its people on WebSockets.
//!
//! `GET /Room/lobby/` is a page, `GET /Room/lobby/ws?name=ada` a WebSocket. The
//! room sleeps when nobody speaks; the sockets stay open.

use dormouse_sdk::prelude::*;
use serde::{Deserialize, Serialize};

const HISTORY: i64 = 100;
const LONGEST_TEXT: usize = 2_000;

struct Room {
    state: State,
}

/// What belongs to one socket: kept by the host while the room sleeps.
#[derive(Serialize, Deserialize)]
struct Guest {
    name: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum FromClient {
    Say { text: String },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ToClient {
    History { lines: Vec<Line> },
    Said(Line),
    People { names: Vec<String> },
    Refused { reason: String },
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: i64,
    name: String,
    text: String,
}

#[durable_object]
impl DurableObject for Room {
    async fn new(state: State, _env: Env) -> Result<Self> {
        Migrations::new()
            .sql(
                "CREATE TABLE IF NOT EXISTS line (
                    id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL)",
            )
            .run(&state.sql())?;
        state.set_auto_response("ping", "pong")?;
        Ok(Self { state })
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let upgrade = request.upgrade();
        match (request.path(), upgrade) {
            ("/ws", Some(upgrade)) => self.enter(&request, upgrade),
            ("/ws", None) => Ok(Response::text("this path is a WebSocket\n").with_status(426)),
            ("/", _) => Ok(Response::html(include_str!("page.html"))),
            _ => Ok(Response::not_found()),
        }
    }

    async fn websocket_message(&self, socket: WebSocket, message: Message) -> Result<()> {
        let FromClient::Say { text } = match message.parse() {
            Ok(message) => message,
            Err(error) => return refuse(&socket, &error.to_string()),
        };
        if text.trim().is_empty() || text.len() > LONGEST_TEXT {
            return refuse(&socket, "a line has 1 to 2000 bytes");
        }
        let line = self.remember(&name_of(&socket)?, &text)?;
        self.state.broadcast(Message::json(&ToClient::Said(line))?);
        Ok(())
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        _code: u16,
        _reason: String,
        _was_clean: bool,
    ) -> Result<()> {
        self.tell_people(Some(&socket))
    }
}

impl Room {
    fn enter(&self, request: &Request, upgrade: Upgrade) -> Result<Response> {
        let name = request.query_value("name").unwrap_or_default();
        if name.trim().is_empty() {
            return Ok(Response::bad_request("say who you are: ?name=…\n"));
        }
        let guest = Guest {
            name: name.chars().take(40).collect(),
        };
        let socket = upgrade
            .with_tag(format!("name:{}", guest.name))
            .with_attachment(&guest)?
            .accept()?;
        let lines = self.history()?;
        socket.send_json(&ToClient::History { lines })?;
        self.tell_people(None)?;
        Ok(Response::websocket())
    }

    fn remember(&self, name: &str, text: &str) -> Result<Line> {
        let sql = self.state.sql();
        let line = sql.one(
            "INSERT INTO line (name, text) VALUES (?, ?) RETURNING id, name, text",
            (name, text),
        )?;
        sql.exec(
            "DELETE FROM line WHERE id <= (SELECT max(id) FROM line) - ?",
            (HISTORY,),
        )?;
        Ok(line)
    }

    fn history(&self) -> Result<Vec<Line>> {
        let sql = self.state.sql();
        Ok(sql.all("SELECT id, name, text FROM line ORDER BY id", ())?)
    }

    /// Tells everyone who is here; one who leaves is still listed, so left out.
    fn tell_people(&self, leaving: Option<&WebSocket>) -> Result<()> {
        let sockets = self.state.websockets();
        let staying = sockets.iter().filter(|socket| Some(*socket) != leaving);
        let mut names = staying.map(name_of).collect::<Result<Vec<_>>>()?;
        names.sort();
        names.dedup();
        let message = Message::json(&ToClient::People { names })?;
        self.state.broadcast_to(message, None, leaving);
        Ok(())
    }
}

fn name_of(socket: &WebSocket) -> Result<String> {
    let guest: Option<Guest> = socket.attachment()?;
    Ok(guest.context("a socket without a guest")?.name)
}

fn refuse(socket: &WebSocket, reason: &str) -> Result<()> {
    let reason = reason.to_owned();
    socket.send_json(&ToClient::Refused { reason })
}
