//! Reminders: one object is one person's list, and wakes when the next is due.
//!
//! ```text
//! curl localhost:8787/Reminders/ada -d '{"at": "2030-01-01T09:00:00Z", "text": "call Bob"}'
//! curl localhost:8787/Reminders/ada
//! {"waiting": [{"id": 1, "at": "2030-01-01 09:00:00", "text": "call Bob"}], "done": []}
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use dormouse_sdk::prelude::*;
use serde::{Deserialize, Serialize};

struct Reminders {
    state: State,
}

/// What a client posts. `at` is UTC, as SQLite reads times.
#[derive(Deserialize)]
struct New {
    at: String,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Reminder {
    id: i64,
    at: String,
    text: String,
}

#[derive(Serialize)]
struct Lists {
    waiting: Vec<Reminder>,
    done: Vec<Reminder>,
}

#[durable_object]
impl DurableObject for Reminders {
    async fn new(state: State, _env: Env) -> Result<Self> {
        state.sql().exec(
            "CREATE TABLE IF NOT EXISTS reminder (
                id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, text TEXT NOT NULL,
                done INTEGER NOT NULL DEFAULT 0)",
            (),
        )?;
        Ok(Self { state })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.method().as_str() {
            "GET" => Response::json(&self.lists()?),
            "POST" => self.add(request).await,
            _ => Ok(Response::method_not_allowed()),
        }
    }

    /// Moves what is due to the other list. It may be called twice for one reminder,
    /// which then finds nothing to do.
    async fn alarm(&self, info: AlarmInfo) -> Result<()> {
        let due: Vec<String> = self.state.sql().all(
            "UPDATE reminder SET done = 1
             WHERE NOT done AND at_ms <= ? RETURNING text",
            (now_ms()?,),
        )?;
        for text in due {
            log::info!(text, retry = info.retry_count; "a reminder is due");
        }
        self.set_alarm()
    }
}

impl Reminders {
    async fn add(&self, request: Request) -> Result<Response> {
        let New { at, text } = request.json().await?;
        let sql = self.state.sql();
        let Some(at_ms) = sql.one::<Option<i64>>("SELECT unixepoch(?) * 1000", (&at,))? else {
            return Ok(Response::bad_request(
                "`at` is a time such as 2030-01-01T09:00:00Z\n",
            ));
        };
        sql.exec(
            "INSERT INTO reminder (at_ms, text) VALUES (?, ?)",
            (at_ms, text),
        )?;
        // In the same turn: there is no reminder without its alarm.
        self.set_alarm()?;
        Ok(Response::json(&self.lists()?)?.with_status(StatusCode::CREATED))
    }

    /// One alarm is enough: it is set to the next reminder.
    fn set_alarm(&self) -> Result<()> {
        let sql = self.state.sql();
        let next: Option<i64> = sql.one("SELECT min(at_ms) FROM reminder WHERE NOT done", ())?;
        match next {
            // A time that is over means now; zero and less are no times.
            Some(at_ms) => self.state.alarm().set(at_ms.max(1))?,
            None => self.state.alarm().delete()?,
        }
        Ok(())
    }

    fn lists(&self) -> Result<Lists> {
        let list = |done: i64| {
            self.state.sql().all(
                "SELECT id, datetime(at_ms / 1000, 'unixepoch') AS at, text
                 FROM reminder WHERE done = ? ORDER BY at_ms, id",
                (done,),
            )
        };
        Ok(Lists {
            waiting: list(0)?,
            done: list(1)?,
        })
    }
}

fn now_ms() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}
