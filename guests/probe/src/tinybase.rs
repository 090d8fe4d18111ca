//! Servers of TinyBase whose database a test can look into: `POST /run` as in
//! `Probe`, any other path is the socket.

use std::rc::Rc;

use dormouse_sdk::prelude::*;
use dormouse_tinybase::{Persister, WsServer, WsServerDurableObject, ws_server_durable_object};
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
