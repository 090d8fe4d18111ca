//! A page that is a TinyBase client, served by the object that it synchronizes with.
//!
//! `GET /Pets/lobby/` is the page, `ws://HOST/Pets/lobby/sync` its socket, and
//! `GET /Pets/lobby/clients` who is there. The class shows how to override hooks and
//! to keep a table of one's own beside TinyBase's.

use dormouse_sdk::prelude::*;
use dormouse_tinybase::{
    Content, Persister, Presence, WsServer, WsServerDurableObject, ws_server_durable_object,
};
use serde_json::json;

const PAGE: &str = include_str!("page/page.html");
/// From npm `tinybase` 10.0.1, as they are; MIT, see `page/LICENSE`.
const STORE_MODULE: &str = include_str!("page/mergeable-store.js");
const SYNCHRONIZER_MODULE: &str = include_str!("page/synchronizer-ws-client.js");

struct Pets {
    server: WsServer,
}

impl WsServerDurableObject for Pets {
    async fn new(state: State, _env: Env) -> Result<Self> {
        state.sql().exec(
            "CREATE TABLE IF NOT EXISTS visit (
                client TEXT PRIMARY KEY, came INTEGER NOT NULL DEFAULT (unixepoch()))",
            (),
        )?;
        Ok(Self {
            server: WsServer::new(state),
        })
    }

    fn server(&self) -> &WsServer {
        &self.server
    }

    fn create_persister(&self) -> Option<Persister> {
        let sql = self.server.state().sql();
        Some(Persister::fragmented(sql, "pets_", None))
    }

    fn on_client_id(&self, _path_id: &str, client_id: &str, presence: Presence) {
        if presence == Presence::Added
            && let Err(error) = self.note_visit(client_id)
        {
            self.on_ignored_error(&error);
        }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.path() {
            "/" => Ok(Response::html(PAGE)),
            "/mergeable-store.js" => Ok(script(STORE_MODULE)),
            "/synchronizer-ws-client.js" => Ok(script(SYNCHRONIZER_MODULE)),
            "/clients" => self.clients(),
            "/sync" => {
                self.furnish()?;
                self.server.fetch(self, request)
            }
            _ => Ok(Response::not_found()),
        }
    }
}

ws_server_durable_object!(Pets);

impl Pets {
    fn note_visit(&self, client_id: &str) -> Result<()> {
        let sql = self.server.state().sql();
        sql.exec("INSERT INTO visit (client) VALUES (?)", (client_id,))?;
        Ok(())
    }

    fn clients(&self) -> Result<Response> {
        let sql = self.server.state().sql();
        let visits: i64 = sql.one("SELECT count(*) FROM visit", ())?;
        Response::json(&json!({
            "pathId": self.path_id(),
            "clientIds": self.client_ids(),
            "visits": visits,
        }))
    }

    /// Puts a pet into a room that is new.
    fn furnish(&self) -> Result<()> {
        let is_new = |store: &dormouse_tinybase::Store| store.is_empty();
        if self.server.with_store(self, is_new)? == Some(true) {
            self.server.edit(self, |edit| {
                edit.set_cell("pets", "fido", "species", Content::text("dog"));
            })?;
        }
        Ok(())
    }
}

fn script(source: &'static str) -> Response {
    Response::new(source).with_header("content-type", "text/javascript; charset=utf-8")
}
