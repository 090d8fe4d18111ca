//! Servers of TinyBase whose database a test can look into: `POST /run` as in
//! `Probe`, any other path is the socket.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use dormouse_sdk::prelude::*;
use dormouse_tinybase::{
    Content, Persister, Presence, WsServer, WsServerDurableObject, ws_server_durable_object,
};
use serde::Serialize;
use serde_json::json;

use crate::steps::{Lab, Step};

struct Inside {
    server: WsServer,
    lab: Rc<Lab>,
}

impl Inside {
    fn new(state: State, env: Env) -> Self {
        Self {
            server: WsServer::new(state.clone()),
            lab: Rc::new(Lab::new(state, env)),
        }
    }

    async fn fetch<T: WsServerDurableObject>(&self, own: &T, request: Request) -> Result<Response> {
        if request.path() != "/run" {
            return self.server.fetch(own, request);
        }
        let steps = Step::parse(request.json().await?)?;
        Response::json(&json!({"results": self.lab.run(steps).await?}))
    }
}

macro_rules! class {
    ($class:ident, $persister:expr) => {
        struct $class(Inside);

        impl WsServerDurableObject for $class {
            async fn new(state: State, env: Env) -> Result<Self> {
                Ok(Self(Inside::new(state, env)))
            }

            fn server(&self) -> &WsServer {
                &self.0.server
            }

            fn create_persister(&self) -> Option<Persister> {
                let make: fn(&State) -> Persister = $persister;
                Some(make(self.0.server.state()))
            }

            async fn fetch(&self, request: Request) -> Result<Response> {
                self.0.fetch(self, request).await
            }
        }

        ws_server_durable_object!($class);
    };
}

class!(TinyJson, |state| Persister::json(
    state.sql(),
    "my \"store\"",
    None
));
class!(TinyFragmented, |state| Persister::fragmented(
    state.sql(),
    "My-é",
    None
));
class!(TinyKv, |state| Persister::kv(state, "my:"));

/// Overrides the hooks and remembers what they were told: `GET /heard`. `GET /edit`
/// with `bytes` makes an edit of the server's own, of so much text.
struct TinyHooks {
    server: WsServer,
    heard: Rc<RefCell<Heard>>,
}

#[derive(Default, Serialize)]
struct Heard {
    /// Of the SQL command log, with the number of parameters.
    commands: Vec<(String, usize)>,
    errors: Vec<String>,
    paths: Vec<(String, bool)>,
    clients: Vec<(String, String, bool)>,
    /// From, to, remainder.
    messages: Vec<(String, String, String)>,
}

impl WsServerDurableObject for TinyHooks {
    async fn new(state: State, _env: Env) -> Result<Self> {
        Ok(Self {
            server: WsServer::new(state),
            heard: Rc::default(),
        })
    }

    fn server(&self) -> &WsServer {
        &self.server
    }

    fn create_persister(&self) -> Option<Persister> {
        let heard = self.heard.clone();
        let log = move |command: &str, values: &[dormouse_sdk::sql::Value]| {
            let command = (command.to_owned(), values.len());
            heard.borrow_mut().commands.push(command);
        };
        let sql = self.server.state().sql();
        Some(Persister::json(sql, "tinybase", Some(Box::new(log))))
    }

    fn on_path_id(&self, path_id: &str, presence: Presence) {
        let came = presence == Presence::Added;
        let path = (path_id.to_owned(), came);
        self.heard.borrow_mut().paths.push(path);
    }

    fn on_client_id(&self, path_id: &str, client_id: &str, presence: Presence) {
        assert!(self.client_ids().iter().any(|id| id == client_id));
        let came = presence == Presence::Added;
        let client = (path_id.to_owned(), client_id.to_owned(), came);
        self.heard.borrow_mut().clients.push(client);
    }

    fn on_message(&self, from: &str, to: &str, remainder: &str) {
        let message = (from.to_owned(), to.to_owned(), remainder.to_owned());
        self.heard.borrow_mut().messages.push(message);
    }

    fn fragment_size(&self) -> Option<usize> {
        Some(40)
    }

    fn request_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn on_ignored_error(&self, error: &Error) {
        self.heard.borrow_mut().errors.push(format!("{error:#}"));
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.path() {
            "/heard" => Response::json(&*self.heard.borrow()),
            "/edit" => {
                let bytes = request.query_value("bytes").unwrap_or_default();
                let text = "x".repeat(bytes.parse()?);
                let edited = self.server.edit(self, |edit| {
                    edit.set_value("own", Content::text(&text));
                });
                Ok(match edited {
                    Ok(()) => Response::text("done"),
                    Err(error) => Response::text(format!("{error:#}")).with_status(507),
                })
            }
            _ => self.server.fetch(self, request),
        }
    }
}

ws_server_durable_object!(TinyHooks);
