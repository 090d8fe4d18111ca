//! Two further classes in the same component.

use std::time::Duration;

use dormouse_sdk::prelude::*;
use serde_json::json;

/// Counts, in a table of its own.
struct Second {
    state: State,
}

#[durable_object]
impl DurableObject for Second {
    async fn new(state: State, _env: Env) -> Result<Self> {
        state.sql().exec(
            "CREATE TABLE IF NOT EXISTS second (value INTEGER NOT NULL)",
            (),
        )?;
        Ok(Self { state })
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        let sql = self.state.sql();
        sql.exec("INSERT INTO second SELECT count(*) + 1 FROM second", ())?;
        let value: i64 = sql.one("SELECT max(value) FROM second", ())?;
        Response::json(&json!({"class": "Second", "value": value}))
    }
}

/// Cannot be made if its name begins with `bad` (it fails), `trap` or `slow` (it
/// takes a minute).
struct Broken;

#[durable_object]
impl DurableObject for Broken {
    async fn new(state: State, _env: Env) -> Result<Self> {
        let name = state.id().name().unwrap_or_default();
        ensure!(!name.starts_with("bad"), "`{name}` is told to fail");
        assert!(!name.starts_with("trap"), "`{name}` is told to trap");
        if name.starts_with("slow") {
            sleep(Duration::from_secs(60)).await;
        }
        Ok(Self)
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        Ok(Response::text("not broken\n"))
    }
}
