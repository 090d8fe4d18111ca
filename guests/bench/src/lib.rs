//! What the benchmark asks of a host, in the words of `bench/contract.md`.
//!
//! The object is given the contract's own path, `/{area}/{name}/{action}`: the part
//! that chose it is not looked at again.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use dormouse_sdk::prelude::*;

struct Bench {
    state: State,
    count: Cell<u64>,
    has_table: Cell<bool>,
}

#[durable_object]
impl DurableObject for Bench {
    async fn new(state: State, _env: Env) -> Result<Self> {
        Ok(Self {
            state,
            count: Cell::new(0),
            has_table: Cell::new(false),
        })
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if let Some(upgrade) = request.upgrade() {
            upgrade.accept()?;
            return Ok(Response::websocket());
        }
        let mut words = request.path().trim_start_matches('/').split('/');
        let body = match (words.next(), words.next(), words.next()) {
            (Some("hello"), None, None) => "Hello, world!\n".to_owned(),
            (Some("mem"), Some(_), Some("incr")) => self.increment().to_string(),
            (Some("sql"), Some(_), Some(action)) => self.sql(action, &request)?,
            (Some("alarm"), Some(_), Some("set")) => self.set_alarm(number(&request, "in")?)?,
            (Some("alarm"), Some(_), Some("get")) => self.firings()?,
            _ => return Ok(Response::not_found()),
        };
        Ok(Response::text(body))
    }

    async fn alarm(&self, _info: AlarmInfo) -> Result<()> {
        let sql = self.state.sql();
        sql.exec("INSERT INTO fired SELECT due, ? FROM due", (now_ms(),))?;
        Ok(())
    }

    async fn websocket_message(&self, socket: WebSocket, message: Message) -> Result<()> {
        if message.as_bytes().starts_with(b"b") {
            self.state.broadcast(message);
        } else {
            socket.send(message)?;
        }
        Ok(())
    }
}

impl Bench {
    fn increment(&self) -> u64 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    fn sql(&self, action: &str, request: &Request) -> Result<String> {
        self.make_table()?;
        let answer = match action {
            "seed" => self.seed(number(request, "k")?)?,
            "fill" => self.fill(number(request, "k")?)?,
            "read" => return self.read(number(request, "k")?),
            "write" => self.write(number(request, "k")?)?,
            "n1" => self.read_many(number(request, "k")?)?,
            "sum" => self
                .state
                .sql()
                .one("SELECT coalesce(sum(v), 0) FROM kv", ())?,
            _ => bail!("there is no action {action:?}"),
        };
        Ok(answer.to_string())
    }

    fn make_table(&self) -> Result<()> {
        if !self.has_table.replace(true) {
            self.state.sql().exec(
                "CREATE TABLE IF NOT EXISTS kv (k INTEGER PRIMARY KEY, v INTEGER NOT NULL)",
                (),
            )?;
        }
        Ok(())
    }

    /// One turn is one transaction.
    fn seed(&self, rows: i64) -> Result<i64> {
        let sql = self.state.sql();
        for k in 0..rows {
            sql.exec("INSERT OR REPLACE INTO kv VALUES (?, 0)", (k,))?;
        }
        Ok(rows)
    }

    fn fill(&self, mib: i64) -> Result<i64> {
        let sql = self.state.sql();
        sql.exec("CREATE TABLE IF NOT EXISTS ballast (b BLOB NOT NULL)", ())?;
        for _ in 0..mib {
            sql.exec("INSERT INTO ballast VALUES (randomblob(1048576))", ())?;
        }
        Ok(mib)
    }

    fn read(&self, k: i64) -> Result<String> {
        let sql = self.state.sql();
        let v: Option<i64> = sql.optional("SELECT v FROM kv WHERE k = ?", (k,))?;
        Ok(v.map_or_else(|| "none".to_owned(), |v| v.to_string()))
    }

    fn write(&self, k: i64) -> Result<i64> {
        Ok(self.state.sql().one(
            "INSERT INTO kv VALUES (?, 1) ON CONFLICT (k) DO UPDATE SET v = v + 1 RETURNING v",
            (k,),
        )?)
    }

    fn read_many(&self, count: i64) -> Result<i64> {
        let sql = self.state.sql();
        let mut sum = 0;
        for n in 0..count {
            let v: Option<i64> = sql.optional("SELECT v FROM kv WHERE k = ?", (n % 1000,))?;
            sum += v.unwrap_or(0);
        }
        Ok(sum)
    }

    fn set_alarm(&self, in_ms: i64) -> Result<String> {
        let due = now_ms() + in_ms;
        let sql = self.state.sql();
        sql.exec(
            "CREATE TABLE IF NOT EXISTS due (due INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS fired (due INTEGER NOT NULL, at INTEGER NOT NULL);
             DELETE FROM due",
            (),
        )?;
        sql.exec("INSERT INTO due VALUES (?)", (due,))?;
        self.state.alarm().set(due)?;
        Ok(due.to_string())
    }

    fn firings(&self) -> Result<String> {
        let sql = self.state.sql();
        let exists: i64 = sql.one(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'fired'",
            (),
        )?;
        if exists == 0 {
            return Ok("none".to_owned());
        }
        let all: Option<String> =
            sql.one("SELECT group_concat(due || ',' || at, ';') FROM fired", ())?;
        Ok(all.unwrap_or_else(|| "none".to_owned()))
    }
}

fn number(request: &Request, name: &str) -> Result<i64> {
    let text = request.query_value(name);
    let text = text.with_context(|| format!("the query has no `{name}`"))?;
    text.parse()
        .with_context(|| format!("`{name}={text}` is no integer"))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
