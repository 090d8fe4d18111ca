//! A chat room: one object each, its history in SQL, its people on WebSockets.
//!
//! `GET /Room/lobby/` is a page, `GET /Room/lobby/ws?name=ada` a WebSocket. The
//! room sleeps when nobody speaks; the sockets stay open.
//!
//! Nothing is lost: a client gives each line a key of its own and sends it again
//! until it has seen it said; the room keeps a line once.

use std::time::{Duration, SystemTime};

use dormouse_sdk::prelude::*;
use serde::{Deserialize, Serialize};

const HISTORY: i64 = 100;
const LONGEST_TEXT: usize = 2_000;
const LONGEST_KEY: usize = 100;
/// Who has not typed for so long has stopped.
const TYPING: Duration = Duration::from_secs(3);

struct Room {
    state: State,
}

/// What belongs to one socket: kept by the host while the room sleeps.
#[derive(Serialize, Deserialize)]
struct Guest {
    name: String,
    typing_until: Option<SystemTime>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum FromClient {
    Say { key: String, text: String },
    Typing,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ToClient {
    History { lines: Vec<Line> },
    Said(Line),
    People { names: Vec<String> },
    Typing { names: Vec<String> },
    Refused { key: Option<String>, reason: String },
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: i64,
    key: String,
    name: String,
    text: String,
}

#[durable_object]
impl DurableObject for Room {
    async fn new(state: State, _env: Env) -> Result<Self> {
        Migrations::new()
            .sql(
                "CREATE TABLE IF NOT EXISTS line (
                    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
                    name TEXT NOT NULL, text TEXT NOT NULL)",
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
        match message.parse() {
            Ok(FromClient::Say { key, text }) => self.say(&socket, key, &text),
            Ok(FromClient::Typing) => self.type_on(&socket),
            Err(error) => refuse(&socket, None, &error.to_string()),
        }
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

    /// Somebody may have stopped typing.
    async fn alarm(&self, _info: AlarmInfo) -> Result<()> {
        let now = SystemTime::now();
        for socket in self.state.websockets() {
            let mut guest = guest_of(&socket)?;
            if guest.typing_until.is_some_and(|until| until <= now) {
                guest.typing_until = None;
                socket.set_attachment(&guest)?;
            }
        }
        self.tell_typing()
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
            typing_until: None,
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

    fn say(&self, socket: &WebSocket, key: String, text: &str) -> Result<()> {
        if text.trim().is_empty() || text.len() > LONGEST_TEXT {
            return refuse(socket, Some(key), "a line has 1 to 2000 bytes");
        }
        if key.is_empty() || key.len() > LONGEST_KEY {
            return refuse(socket, Some(key), "a key has 1 to 100 bytes");
        }
        let mut guest = guest_of(socket)?;
        if guest.typing_until.take().is_some() {
            socket.set_attachment(&guest)?;
            self.tell_typing()?;
        }
        let line = self.remember(&key, &guest.name, text)?;
        self.state.broadcast(Message::json(&ToClient::Said(line))?);
        Ok(())
    }

    /// Keeps a line, or finds it, if it was sent before.
    fn remember(&self, key: &str, name: &str, text: &str) -> Result<Line> {
        let sql = self.state.sql();
        sql.exec(
            "INSERT INTO line (key, name, text) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (key, name, text),
        )?;
        sql.exec(
            "DELETE FROM line WHERE id <= (SELECT max(id) FROM line) - ? AND key <> ?",
            (HISTORY, key),
        )?;
        Ok(sql.one("SELECT id, key, name, text FROM line WHERE key = ?", (key,))?)
    }

    fn history(&self) -> Result<Vec<Line>> {
        let sql = self.state.sql();
        Ok(sql.all("SELECT id, key, name, text FROM line ORDER BY id", ())?)
    }

    fn type_on(&self, socket: &WebSocket) -> Result<()> {
        let mut guest = guest_of(socket)?;
        let until = SystemTime::now() + TYPING;
        let typed_before = guest.typing_until.replace(until).is_some();
        socket.set_attachment(&guest)?;
        if typed_before {
            return Ok(());
        }
        self.tell_typing()
    }

    /// Tells everyone who types, and sets the alarm for the first to stop.
    fn tell_typing(&self) -> Result<()> {
        let guests = self.state.websockets();
        let guests = guests.iter().map(guest_of).collect::<Result<Vec<_>>>()?;
        let typing = guests.iter().filter(|guest| guest.typing_until.is_some());
        match typing.clone().filter_map(|guest| guest.typing_until).min() {
            Some(first) => self.state.alarm().set(first)?,
            None => self.state.alarm().delete()?,
        }
        let names = sorted(typing.map(|guest| guest.name.clone()));
        let message = Message::json(&ToClient::Typing { names })?;
        self.state.broadcast(message);
        Ok(())
    }

    /// Tells everyone who is here; one who leaves is still listed, so left out.
    fn tell_people(&self, leaving: Option<&WebSocket>) -> Result<()> {
        let sockets = self.state.websockets();
        let staying = sockets.iter().filter(|socket| Some(*socket) != leaving);
        let guests = staying.map(guest_of).collect::<Result<Vec<_>>>()?;
        let names = sorted(guests.into_iter().map(|guest| guest.name));
        let message = Message::json(&ToClient::People { names })?;
        self.state.broadcast_to(message, None, leaving);
        Ok(())
    }
}

fn guest_of(socket: &WebSocket) -> Result<Guest> {
    socket.attachment()?.context("a socket without a guest")
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names
}

fn refuse(socket: &WebSocket, key: Option<String>, reason: &str) -> Result<()> {
    let reason = reason.to_owned();
    socket.send_json(&ToClient::Refused { key, reason })
}
