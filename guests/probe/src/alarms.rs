//! Alarms: steps that set them, and a handler that does what it was told and
//! writes down each of its runs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dormouse_sdk::alarm;
use dormouse_sdk::prelude::*;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::steps::{Lab, Step};

/// A step about the alarm `name`, the default one if that is empty.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum AlarmStep {
    /// Milliseconds since 1970. Result: `{"alarm": what is set then}`.
    Set {
        set_alarm: i64,
        #[serde(default)]
        name: String,
        max_retries: Option<u32>,
        first_delay_ms: Option<u64>,
    },
    /// The same, so long from now.
    SetIn {
        set_alarm_in_ms: u64,
        #[serde(default)]
        name: String,
    },
    /// The same, by a schedule.
    Cron {
        set_cron: String,
        zone: String,
        #[serde(default)]
        name: String,
    },
    /// The same, asking only.
    Get { get_alarm: String },
    /// The same, after deleting.
    Delete { delete_alarm: String },
    /// What the handler is to do, from now on. Result: `{"on_alarm": name}`.
    On { on_alarm: String, steps: Vec<Json> },
    /// Result: `{"runs": [{"name", "scheduled_ms", "now_ms", "retry_count", "is_retry"}]}`.
    Runs {
        #[allow(dead_code, reason = "the key says it all")]
        alarm_runs: bool,
    },
}

pub fn step(state: &State, step: AlarmStep) -> Result<Json> {
    match step {
        AlarmStep::Set {
            set_alarm,
            name,
            max_retries,
            first_delay_ms,
        } => {
            let mut alarm = of(state, &name);
            if let Some(most) = max_retries {
                alarm = alarm.max_retries(most);
            }
            if let Some(ms) = first_delay_ms {
                alarm = alarm.first_delay(Duration::from_millis(ms));
            }
            Ok(told(&alarm, alarm.set(set_alarm)))
        }
        AlarmStep::SetIn {
            set_alarm_in_ms,
            name,
        } => {
            let alarm = of(state, &name);
            let set = alarm.set(Duration::from_millis(set_alarm_in_ms));
            Ok(told(&alarm, set))
        }
        AlarmStep::Cron {
            set_cron,
            zone,
            name,
        } => {
            let alarm = of(state, &name);
            let set = alarm.set_cron(&set_cron, &zone);
            Ok(told(&alarm, set.map(drop)))
        }
        AlarmStep::Get { get_alarm } => Ok(told(&of(state, &get_alarm), Ok(()))),
        AlarmStep::Delete { delete_alarm } => {
            let alarm = of(state, &delete_alarm);
            Ok(told(&alarm, alarm.delete()))
        }
        AlarmStep::On { on_alarm, steps } => {
            prepare(state)?;
            let steps = Json::from(steps).to_string();
            let values = (on_alarm.as_str(), steps);
            state
                .sql()
                .exec("INSERT OR REPLACE INTO on_alarm VALUES (?, ?)", values)?;
            Ok(json!({"on_alarm": on_alarm}))
        }
        AlarmStep::Runs { .. } => {
            prepare(state)?;
            let runs: Vec<String> = state
                .sql()
                .all("SELECT run FROM alarm_runs ORDER BY rowid", ())?;
            let runs: Vec<Json> = runs
                .iter()
                .map(|run| serde_json::from_str(run))
                .collect::<Result<_, _>>()?;
            Ok(json!({"runs": runs}))
        }
    }
}

/// The handler: writes down that it runs, then does the steps it was told.
pub async fn run(lab: &std::rc::Rc<Lab>, info: AlarmInfo) -> Result<()> {
    let state = lab.state();
    prepare(state)?;
    let name = info.name.clone().unwrap_or_default();
    let run = json!({
        "name": name,
        "scheduled_ms": unix_ms(info.scheduled_time)?,
        "now_ms": unix_ms(SystemTime::now())?,
        "retry_count": info.retry_count,
        "is_retry": info.is_retry,
    });
    log::info!("alarm {run}");
    state
        .sql()
        .exec("INSERT INTO alarm_runs VALUES (?)", (run.to_string(),))?;
    let steps: Option<String> = state
        .sql()
        .optional("SELECT steps FROM on_alarm WHERE name = ?", (name,))?;
    let steps: Vec<Json> = steps.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text))?;
    lab.run(Step::parse(steps)?).await.map(drop)
}

fn of(state: &State, name: &str) -> Alarm {
    match name {
        "" => state.alarm(),
        name => state.alarm_named(name),
    }
}

fn told(alarm: &Alarm, result: Result<(), alarm::Error>) -> Json {
    let now = result.and_then(|()| alarm.get());
    match now {
        Ok(time) => json!({"alarm": time.map(unix_ms).transpose().unwrap_or_default()}),
        Err(error) => json!({"error": {
            "kind": format!("{:?}", error.kind()),
            "message": error.message(),
        }}),
    }
}

fn unix_ms(time: SystemTime) -> Result<u64> {
    Ok(u64::try_from(time.duration_since(UNIX_EPOCH)?.as_millis())?)
}

fn prepare(state: &State) -> Result<()> {
    state.sql().exec(
        "CREATE TABLE IF NOT EXISTS alarm_runs (run TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS on_alarm (name TEXT PRIMARY KEY, steps TEXT NOT NULL)",
        (),
    )?;
    Ok(())
}

/// Sets an alarm although it has no handler.
struct Deaf {
    state: State,
}

#[durable_object]
impl DurableObject for Deaf {
    async fn new(state: State, _env: Env) -> Result<Self> {
        Ok(Self { state })
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        let alarm = self.state.alarm();
        Response::json(&told(&alarm, alarm.set(Duration::from_secs(1))))
    }
}
