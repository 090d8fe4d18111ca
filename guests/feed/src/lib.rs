//! A feed: what is posted goes to everyone who listens, by server-sent events.
//!
//! ```text
//! curl -N localhost:8787/Feed/news/
//! curl localhost:8787/Feed/news/ -d 'Hello'
//! ```
//!
//! An open stream keeps the object awake. When it breaks off, because the object was
//! reset or has new code, a browser's `EventSource` asks again by itself and says in
//! `last-event-id` what it has seen, so nothing is lost or told twice.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use dormouse_sdk::prelude::*;
use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};

/// A comment this often shows whether the listener is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Feed {
    state: State,
    /// Rings each stream.
    listeners: RefCell<Vec<UnboundedSender<()>>>,
}

#[durable_object]
impl DurableObject for Feed {
    async fn new(state: State, _env: Env) -> Result<Self> {
        state.sql().exec(
            "CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL)",
            (),
        )?;
        let listeners = RefCell::default();
        Ok(Self { state, listeners })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.method().as_str() {
            "GET" => {
                let seen = request
                    .header("last-event-id")
                    .and_then(|id| id.parse().ok());
                Ok(self.follow(seen.unwrap_or(0)))
            }
            "POST" => {
                let text = request.text().await?;
                let sql = self.state.sql();
                sql.exec("INSERT INTO entry (text) VALUES (?)", (text,))?;
                // Who does not answer is gone.
                let mut listeners = self.listeners.borrow_mut();
                listeners.retain(|listener| listener.unbounded_send(()).is_ok());
                Ok(Response::empty())
            }
            _ => Ok(Response::method_not_allowed()),
        }
    }
}

impl Feed {
    /// A stream of all entries after the one that was `seen`, and of those to come.
    fn follow(&self, mut seen: i64) -> Response {
        let (listener, mut rings) = unbounded();
        self.listeners.borrow_mut().push(listener);
        let sql = self.state.sql();
        Response::stream(move |mut body| async move {
            body.write(": welcome\n\n").await?;
            loop {
                let entries: Vec<(i64, String)> = sql.all(
                    "SELECT id, text FROM entry WHERE id > ? ORDER BY id LIMIT 100",
                    (seen,),
                )?;
                for (id, text) in &entries {
                    body.write(event(*id, text)).await?;
                    seen = *id;
                }
                if !entries.is_empty() {
                    continue;
                }
                let keep_alive = pin!(sleep(KEEP_ALIVE));
                if let Either::Right(_) = select(rings.next(), keep_alive).await {
                    body.write(": still here\n\n").await?;
                }
            }
        })
        .with_header("content-type", "text/event-stream")
        .with_header("cache-control", "no-store")
    }
}

fn event(id: i64, text: &str) -> String {
    let data: String = text.lines().map(|line| format!("data: {line}\n")).collect();
    format!("id: {id}\n{data}\n")
}
