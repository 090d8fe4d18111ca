//! Steps that are alone, last over awaits, or wait for the disk.

use std::rc::Rc;

use dormouse_sdk::prelude::*;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::steps::{Lab, Step};
use crate::values;

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum GateStep {
    /// Runs the steps while nothing else runs, then fails with these words, if any.
    /// Result: `{"alone": [results]}`.
    Alone {
        alone: Vec<Step>,
        fail: Option<String>,
    },
    /// Runs the steps, which may wait, in a transaction, which is undone if `undo`.
    /// Result: `{"transaction": [results], "kept"}`.
    Transaction {
        transaction: Vec<Step>,
        #[serde(default)]
        undo: bool,
    },
    /// Goes so many sections deep. Result: `{"deep": n}`.
    Deep { deep: u32 },
    /// Result: `{"synced": true}`.
    Sync {
        #[allow(dead_code, reason = "the key says it all")]
        sync: bool,
    },
    /// Result: `{"unconfirmed": true}`.
    Unconfirmed {
        #[allow(dead_code, reason = "the key says it all")]
        allow_unconfirmed: bool,
    },
    /// Each a step in SQL. Result: `{"version": n}`.
    Migrate { migrate: Vec<String> },
}

pub async fn step(lab: &Rc<Lab>, step: GateStep) -> Result<Json> {
    let state = lab.state();
    Ok(match step {
        GateStep::Alone { alone, fail } => {
            let work = Box::pin(async {
                let results = lab.run(alone).await?;
                match fail {
                    Some(words) => bail!(words),
                    None => Ok(results),
                }
            });
            json!({"alone": state.block_concurrency_while(work).await?})
        }
        GateStep::Transaction { transaction, undo } => {
            let mut results = Vec::new();
            let work = Box::pin(async {
                results = lab.run(transaction).await?;
                ensure!(!undo, "undone as told");
                Ok(())
            });
            let outcome = state.transaction(work).await;
            match outcome {
                Err(error) if !undo => json!({"error": {"message": format!("{error:#}")}}),
                outcome => json!({"transaction": results, "kept": outcome.is_ok()}),
            }
        }
        GateStep::Deep { deep } => match descend(state, deep).await {
            Ok(()) => json!({"deep": deep}),
            Err(error) => json!({"error": {"message": format!("{error:#}")}}),
        },
        GateStep::Sync { .. } => match state.sync().await {
            Ok(()) => json!({"synced": true}),
            Err(error) => values::error(&error),
        },
        GateStep::Unconfirmed { .. } => {
            state.allow_unconfirmed();
            json!({"unconfirmed": true})
        }
        GateStep::Migrate { migrate } => {
            let steps = migrate.iter();
            let migrations = steps.fold(Migrations::new(), |all, text| all.sql(text));
            match migrations.run(&state.sql()) {
                Ok(version) => json!({"version": version}),
                Err(error) => json!({"error": {"message": format!("{error:#}")}}),
            }
        }
    })
}

/// The innermost refusal comes out as a value: an error would reset the object.
async fn descend(state: &State, left: u32) -> Result<()> {
    if left == 0 {
        return Ok(());
    }
    let mut inside = Ok(());
    let section = state.block_concurrency_while(async {
        inside = Box::pin(descend(state, left - 1)).await;
        Ok(())
    });
    section.await?;
    inside
}
