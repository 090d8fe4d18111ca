//! The steps of `POST /run`: what each looks like and what it does.
//!
//! Steps run in order. One that fails for a reason a test may want to see (SQL
//! errors, a variable that is not there) has the result `{"error": …}`, and the
//! next one runs; only `fail` ends the list.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dormouse_sdk::log::{Level, Record};
use dormouse_sdk::prelude::*;
use futures_channel::oneshot;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::alarms::{self, AlarmStep};
use crate::calls::CallStep;
use crate::gates::{self, GateStep};
use crate::kv::{self, KvStep};
use crate::stores::StoreStep;
use crate::values;

/// One step, by the keys it has; any other key is refused.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Step {
    /// Result: `{"columns", "rows", "rows_read", "rows_written"}`.
    Sql {
        sql: String,
        #[serde(default)]
        params: Vec<Json>,
    },
    /// The same through a cursor that fetches `batch` rows at a time.
    Cursor {
        cursor: String,
        #[serde(default)]
        params: Vec<Json>,
        batch: Option<u32>,
    },
    /// Runs the steps, none of which may wait, in a transaction, which is undone
    /// if `fail`. Result: `{"savepoint": [results], "kept"}`.
    Savepoint {
        savepoint: Vec<Self>,
        #[serde(default)]
        fail: bool,
    },
    /// `"incr"` counts up in memory, `"read"` does not. Result: `{"memory": n}`.
    Memory {
        memory: Memory,
    },
    /// Waits. Result: `{"waited_ms": n}`.
    Wait {
        wait_ms: u64,
    },
    /// Waits until another request releases the name. Result: `{"hold": name}`.
    Hold {
        hold: String,
    },
    /// Lets everybody go who holds the name. Result: `{"released": how many}`.
    Release {
        release: String,
    },
    /// Result: `{"held": how many hold the name}`.
    Held {
        held: String,
    },
    Trap {
        trap: Trap,
    },
    /// Never ends.
    Spin {
        #[allow(dead_code, reason = "the key says it all")]
        spin: bool,
    },
    /// Never ends, in one SQL statement.
    SpinSql {
        #[allow(dead_code, reason = "the key says it all")]
        spin_sql: bool,
    },
    /// Takes memory and keeps it. Result: `{"allocated_mib": n}`.
    Allocate {
        allocate_mib: usize,
    },
    /// Writes one record. Result: `{"logged": whether it was asked for}`.
    Log {
        log: Entry,
    },
    /// Prints a line. Result: `{"printed": true}`.
    Print {
        print: String,
        #[serde(default)]
        stderr: bool,
    },
    /// The handler answers with this error.
    Fail {
        fail: String,
    },
    /// Runs the steps after the answer. Result: `{"background": how many}`.
    Background {
        background: Vec<Self>,
    },
    /// Result: `{"var": value}`.
    Var {
        var: String,
    },
    /// Result: `{"secret": value}`.
    Secret {
        secret: String,
    },
    /// Result: `{"now_ms": since the Unix epoch}`.
    Now {
        #[allow(dead_code, reason = "the key says it all")]
        now: bool,
    },
    /// See [`AlarmStep`].
    Alarm(AlarmStep),
    /// See [`GateStep`].
    Gate(GateStep),
    /// See [`CallStep`].
    Call(CallStep),
    /// See [`KvStep`].
    Kv(KvStep),
    /// See [`StoreStep`].
    Store(StoreStep),
    /// Result: `{"deleted_all": true}`.
    DeleteAll {
        #[allow(dead_code, reason = "the key says it all")]
        delete_all: bool,
    },
    /// `"current"`, or a time in ms since 1970. Result: `{"bookmark": text}`.
    Bookmark {
        bookmark: Moment,
    },
    /// What the next session begins with. Result: `{"undo": bookmark}`.
    Restore {
        restore: String,
    },
    /// Ends the session; no answer.
    EndSession {
        end_session: String,
    },
    /// Result: `{"size": bytes in the database}`.
    Size {
        #[allow(dead_code, reason = "the key says it all")]
        size: bool,
    },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    Incr,
    Read,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Moment {
    At(u64),
    Current(#[allow(dead_code, reason = "the word says it all")] String),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trap {
    Unreachable,
    Panic,
    Stack,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    level: String,
    message: String,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

impl Step {
    /// All steps, before any is run: a mistake in the last one undoes nothing.
    pub fn parse(steps: Vec<Json>) -> Result<Vec<Self>> {
        steps
            .into_iter()
            .map(|step| {
                let text = step.to_string();
                serde_json::from_value(step).with_context(|| format!("no such step: {text}"))
            })
            .collect()
    }
}

/// What the steps work on.
pub struct Lab {
    state: State,
    env: Env,
    memory: Cell<u64>,
    notes: RefCell<Vec<u32>>,
    hoard: RefCell<Vec<Vec<u8>>>,
    holding: RefCell<BTreeMap<String, Vec<oneshot::Sender<()>>>>,
}

impl Lab {
    pub fn new(state: State, env: Env) -> Self {
        Self {
            state,
            env,
            memory: Cell::new(0),
            notes: RefCell::default(),
            hoard: RefCell::default(),
            holding: RefCell::default(),
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    pub fn note(&self, number: u32) {
        self.notes.borrow_mut().push(number);
    }

    pub fn notes(&self) -> Vec<u32> {
        self.notes.borrow().clone()
    }

    pub async fn run(self: &Rc<Self>, steps: Vec<Step>) -> Result<Vec<Json>> {
        let mut results = Vec::with_capacity(steps.len());
        for step in steps {
            results.push(self.step(step).await?);
        }
        Ok(results)
    }

    async fn step(self: &Rc<Self>, step: Step) -> Result<Json> {
        match step {
            Step::Wait { wait_ms } => {
                sleep(Duration::from_millis(wait_ms)).await;
                Ok(json!({"waited_ms": wait_ms}))
            }
            Step::Hold { hold } => {
                self.hold(&hold).await;
                Ok(json!({"hold": hold}))
            }
            Step::Background { background } => {
                let count = background.len();
                let lab = Rc::clone(self);
                self.state
                    .wait_until(async move { lab.run(background).await.map(drop) });
                Ok(json!({"background": count}))
            }
            Step::Bookmark {
                bookmark: Moment::Current(_),
            } => Ok(bookmark(self.state.bookmarks().current().await)),
            Step::EndSession { end_session } => self.state.end_session(&end_session).await,
            Step::Gate(step) => gates::step(self, step).await,
            Step::Call(step) => step.run(self).await,
            Step::Store(step) => Ok(step.run(self).await),
            step => self.step_at_once(step),
        }
    }

    async fn hold(&self, name: &str) {
        let (release, released) = oneshot::channel();
        self.holding
            .borrow_mut()
            .entry(name.to_owned())
            .or_default()
            .push(release);
        // Dropped only with the object.
        let _ = released.await;
    }

    /// The steps that do not wait.
    fn step_at_once(&self, step: Step) -> Result<Json> {
        let sql = self.state.sql();
        Ok(match step {
            Step::Sql { sql: text, params } => values::exec(&sql, &text, params),
            Step::Cursor {
                cursor,
                params,
                batch,
            } => values::cursor(&sql, &cursor, params, batch.unwrap_or(100)),
            Step::Savepoint { savepoint, fail } => self.savepoint(savepoint, fail)?,
            Step::Memory { memory } => {
                let more = match memory {
                    Memory::Incr => 1,
                    Memory::Read => 0,
                };
                self.memory.set(self.memory.get() + more);
                json!({"memory": self.memory.get()})
            }
            Step::Release { release } => {
                let holding = self
                    .holding
                    .borrow_mut()
                    .remove(&release)
                    .unwrap_or_default();
                json!({"released": holding.into_iter().filter_map(|one| one.send(()).ok()).count()})
            }
            Step::Held { held } => {
                json!({"held": self.holding.borrow().get(&held).map_or(0, Vec::len)})
            }
            Step::Trap { trap } => end_in(trap),
            Step::Spin { .. } => loop {
                black_box(());
            },
            Step::SpinSql { .. } => values::exec(&sql, ENDLESS, Vec::new()),
            Step::Allocate { allocate_mib } => {
                self.hoard
                    .borrow_mut()
                    .push(black_box(vec![1; allocate_mib << 20]));
                json!({"allocated_mib": allocate_mib})
            }
            Step::Log { log } => log.write()?,
            Step::Print { print, stderr } => {
                if stderr {
                    eprintln!("{print}");
                } else {
                    println!("{print}");
                }
                json!({"printed": true})
            }
            Step::Fail { fail } => bail!(fail),
            Step::Var { var } => match self.env.var(&var) {
                Ok(value) => json!({"var": value}),
                Err(error) => json!({"error": {"message": format!("{error:#}")}}),
            },
            Step::Secret { secret } => match self.env.secret(&secret) {
                Ok(value) => json!({"secret": value}),
                Err(error) => json!({"error": {"message": format!("{error:#}")}}),
            },
            Step::Now { .. } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                json!({"now_ms": u64::try_from(now.as_millis())?})
            }
            Step::Alarm(step) => alarms::step(&self.state, step)?,
            Step::Kv(step) => kv::step(&self.state.kv(), step),
            Step::DeleteAll { .. } => match self.state.delete_all() {
                Ok(()) => json!({"deleted_all": true}),
                Err(error) => values::error(&error),
            },
            Step::Bookmark {
                bookmark: Moment::At(ms),
            } => {
                let time = UNIX_EPOCH + Duration::from_millis(ms);
                bookmark(self.state.bookmarks().for_time(time))
            }
            Step::Restore { restore } => {
                match self.state.bookmarks().restore_on_next_session(&restore) {
                    Ok(undo) => json!({"undo": undo}),
                    Err(error) => values::error(&error),
                }
            }
            Step::Size { .. } => match sql.database_size() {
                Ok(size) => json!({"size": size}),
                Err(error) => values::error(&error),
            },
            Step::Wait { .. }
            | Step::Hold { .. }
            | Step::Background { .. }
            | Step::Bookmark { .. }
            | Step::EndSession { .. }
            | Step::Gate(_)
            | Step::Call(_)
            | Step::Store(_) => {
                bail!("this step cannot stand in a savepoint: it waits")
            }
        })
    }

    fn savepoint(&self, steps: Vec<Step>, fail: bool) -> Result<Json> {
        let mut results = Vec::with_capacity(steps.len());
        let mut ran = false;
        let outcome = self.state.sql().transaction(|| {
            for step in steps {
                results.push(self.step_at_once(step)?);
            }
            ran = true;
            ensure!(!fail, "undone as told");
            Ok(())
        });
        match outcome {
            Err(error) if !ran => Err(error),
            outcome => Ok(json!({"savepoint": results, "kept": outcome.is_ok()})),
        }
    }
}

impl Entry {
    fn write(&self) -> Result<Json> {
        let level: Level = self.level.parse()?;
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let wanted = level <= log::max_level();
        if wanted {
            let slice = fields.as_slice();
            let mut record = Record::builder();
            record.level(level).target("probe").key_values(&slice);
            log::logger().log(&record.args(format_args!("{}", self.message)).build());
        }
        Ok(json!({"logged": wanted}))
    }
}

const ENDLESS: &str = "WITH RECURSIVE endless(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM endless)
    SELECT count(*) FROM endless";

fn bookmark(found: Result<String, dormouse_sdk::sql::Error>) -> Json {
    match found {
        Ok(bookmark) => json!({"bookmark": bookmark}),
        Err(error) => values::error(&error),
    }
}

fn end_in(trap: Trap) -> ! {
    match trap {
        #[cfg(target_family = "wasm")]
        Trap::Unreachable => core::arch::wasm32::unreachable(),
        #[cfg(not(target_family = "wasm"))]
        Trap::Unreachable => std::process::abort(),
        Trap::Panic => panic!("told to panic"),
        Trap::Stack => {
            deeper(0);
            unreachable!("the stack has an end")
        }
    }
}

/// Keeps nothing in memory, so that the stack of calls ends first.
#[allow(unconditional_recursion, reason = "told to")]
fn deeper(depth: u64) -> u64 {
    deeper(black_box(depth + 1)) + depth
}
