//! Two further classes in the same component.

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

/// Cannot be made if its name begins with `bad`.
struct Broken;

#[durable_object]
impl DurableObject for Broken {
    async fn new(state: State, _env: Env) -> Result<Self> {
        let name = state.id().name().unwrap_or_default();
        ensure!(!name.starts_with("bad"), "`{name}` is told to fail");
        Ok(Self)
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        Ok(Response::text("not broken\n"))
    }
}
