//! Classes that TinyBase clients synchronize through.
//!
//! `ws://HOST/Json/any/path` and the like: one object for each path, kept as the
//! class says. `GET /Pets/lobby/` is a page; see `pets`.

mod pets;

use dormouse_sdk::prelude::*;
use dormouse_tinybase::{Persister, WsServer, WsServerDurableObject, ws_server_durable_object};

/// Relays only and keeps nothing.
struct Relay {
    server: WsServer,
}

impl WsServerDurableObject for Relay {
    async fn new(state: State, _env: Env) -> Result<Self> {
        Ok(Self {
            server: WsServer::new(state),
        })
    }

    fn server(&self) -> &WsServer {
        &self.server
    }
}

ws_server_durable_object!(Relay);

/// Keeps the whole store in one row of the table `STORE_TABLE`, or `tinybase`.
struct Json {
    server: WsServer,
    table: String,
}

impl WsServerDurableObject for Json {
    async fn new(state: State, env: Env) -> Result<Self> {
        Ok(Self {
            server: WsServer::new(state),
            table: env.var("STORE_TABLE").unwrap_or("tinybase".to_owned()),
        })
    }

    fn server(&self) -> &WsServer {
        &self.server
    }

    fn create_persister(&self) -> Option<Persister> {
        let sql = self.server.state().sql();
        Some(Persister::json(sql, self.table.as_str(), log_commands()))
    }
}

ws_server_durable_object!(Json);

/// Keeps a row of the database for each row of the store; the names of the tables
/// begin with `STORAGE_PREFIX`.
struct Fragmented {
    server: WsServer,
    prefix: String,
}

impl WsServerDurableObject for Fragmented {
    async fn new(state: State, env: Env) -> Result<Self> {
        Ok(Self {
            server: WsServer::new(state),
            prefix: env.var("STORAGE_PREFIX").unwrap_or_default(),
        })
    }

    fn server(&self) -> &WsServer {
        &self.server
    }

    fn create_persister(&self) -> Option<Persister> {
        let sql = self.server.state().sql();
        Some(Persister::fragmented(sql, &self.prefix, log_commands()))
    }
}

ws_server_durable_object!(Fragmented);

/// Keeps a key-value pair for each cell and value.
struct Kv {
    server: WsServer,
}

impl WsServerDurableObject for Kv {
    async fn new(state: State, _env: Env) -> Result<Self> {
        Ok(Self {
            server: WsServer::new(state),
        })
    }

    fn server(&self) -> &WsServer {
        &self.server
    }

    fn create_persister(&self) -> Option<Persister> {
        Some(Persister::kv(self.server.state(), ""))
    }
}

ws_server_durable_object!(Kv);

fn log_commands() -> Option<dormouse_tinybase::CommandLog> {
    Some(Box::new(|command, values| {
        log::debug!(values = values.len(); "{command}");
    }))
}
