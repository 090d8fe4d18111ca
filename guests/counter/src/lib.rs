use dormouse_sdk::prelude::*;

struct Counter {
    state: State,
}

#[durable_object]
impl DurableObject for Counter {
    async fn new(state: State, _env: Env) -> Result<Self> {
        state.sql().exec(
            "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
            (),
        )?;
        Ok(Self { state })
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        let value: i64 = self.state.sql().one(
            "INSERT INTO counter VALUES (1, 1)
             ON CONFLICT (id) DO UPDATE SET value = value + 1 RETURNING value",
            (),
        )?;
        Ok(Response::text(format!("{value}\n")))
    }
}
