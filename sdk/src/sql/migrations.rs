//! Migrations: how the tables of an object become what its code expects.

use std::fmt;

use super::{Error, Sql};
use crate::Context as _;
use crate::bindings::dormouse::object::schema as wit;

type Work<'a> = Box<dyn FnOnce(&Sql) -> crate::Result<()> + 'a>;

/// The steps from an empty database to the newest tables, in their order.
///
/// [`run`](Self::run) does those that the object has not seen yet; the host keeps how
/// many that were. Objects that slept for a year do them when they wake.
///
/// A step that was deployed must stay as it is: change tables by a further step.
///
/// ```no_run
/// use dormouse_sdk::prelude::*;
///
/// struct Notes {
///     state: State,
/// }
///
/// #[durable_object]
/// impl DurableObject for Notes {
///     async fn new(state: State, _env: Env) -> Result<Self> {
///         Migrations::new()
///             .sql("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
///             .sql("ALTER TABLE notes ADD COLUMN done INTEGER NOT NULL DEFAULT 0")
///             .step(|sql| {
///                 let texts: Vec<(i64, String)> = sql.all("SELECT id, text FROM notes", ())?;
///                 for (id, text) in texts {
///                     sql.exec("UPDATE notes SET text = ? WHERE id = ?", (text.trim(), id))?;
///                 }
///                 Ok(())
///             })
///             .run(&state.sql())?;
///         Ok(Self { state })
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Default)]
#[must_use = "nothing is done before `run`"]
pub struct Migrations<'a> {
    steps: Vec<Work<'a>>,
}

impl<'a> Migrations<'a> {
    /// No steps yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next step: one statement or several, separated by `;`.
    pub fn sql(self, statements: &'a str) -> Self {
        self.step(move |sql| Ok(sql.exec(statements, ()).map(drop)?))
    }

    /// The next step, as code.
    pub fn step(mut self, work: impl FnOnce(&Sql) -> crate::Result<()> + 'a) -> Self {
        self.steps.push(Box::new(work));
        self
    }

    /// Does the steps that are new to this object, and answers with the version of
    /// its tables: the number of steps.
    ///
    /// All of them or, when one fails, none: the tables are then as before, and the
    /// error names the step. Also an error: tables newer than this code.
    pub fn run(self, sql: &Sql) -> crate::Result<u32> {
        let version = wit::version().map_err(Error::from)?;
        let (known, steps) = pending(self.steps, version)?;
        if !steps.is_empty() {
            sql.transaction(|| {
                for (number, step) in (version + 1..).zip(steps) {
                    step(sql).with_context(|| {
                        format!(
                            "migration step {number} of {known} failed, the tables stay at version {version}"
                        )
                    })?;
                }
                wit::set_version(known).map_err(Error::from)?;
                Ok(())
            })?;
        }
        Ok(known)
    }
}

/// How many steps there are, and those behind `version`.
fn pending<T>(mut steps: Vec<T>, version: u32) -> crate::Result<(u32, Vec<T>)> {
    let known = u32::try_from(steps.len())?;
    anyhow::ensure!(
        version <= known,
        "the tables of this object are at version {version} and this code knows {known} \
         steps; deploy the newer code again, or a further step that goes on from there"
    );
    Ok((known, steps.split_off(version as usize)))
}

impl fmt::Debug for Migrations<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Migrations")
            .field("steps", &self.steps.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_steps_are_done_and_newer_tables_are_refused() {
        let new = pending(vec!["a", "b", "c"], 1).expect("older tables");
        assert_eq!(new, (3, vec!["b", "c"]));
        let none = pending(vec!["a"], 1).expect("the newest tables");
        assert_eq!(none, (1, vec![]));
        let error = pending(vec!["a"], 2).expect_err("newer tables");
        assert!(error.to_string().contains("at version 2"), "{error}");
    }
}
