//! Built-in classes: key-value stores and SQL databases for all of an app.
//!
//! A store is an object as any other: its own SQLite, the commit log, the output gate,
//! sleep. Only its methods are the host's own, and what they take and give is the same
//! JSON as that of any method (`wit/namespace.wit`). Driven by `object::native`, which
//! ends the turn of each call; a call that fails leaves nothing. Knows storage alone.

mod arguments;
mod database;
mod kv;
mod values;

use std::sync::{Arc, LazyLock};

use dormouse_storage::{Database, Error};

pub use database::{BatchOptions, Statement, Statements};
pub use values::{from_json, pair_to_json, to_json};

use crate::event::{Fault, MethodAnswer, MethodCall, Reset};
use crate::id::Namespace;
use crate::slow;

/// No class of a component begins with `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Values by key, each with a time to live.
    Kv,
    /// SQL.
    Database,
}

static KV: LazyLock<Namespace> = LazyLock::new(|| Namespace::new("_kv", "_kv"));
static DATABASE: LazyLock<Namespace> = LazyLock::new(|| Namespace::new("_database", "_database"));

impl Builtin {
    pub const ALL: [Self; 2] = [Self::Kv, Self::Database];

    /// The one that a class name means.
    #[must_use]
    pub fn of(class: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|builtin| *builtin.namespace().class == *class)
    }

    #[must_use]
    pub fn namespace(self) -> &'static Namespace {
        match self {
            Self::Kv => &KV,
            Self::Database => &DATABASE,
        }
    }

    /// What a binding to the store `name` leads to.
    #[must_use]
    pub fn store(self, name: &str) -> Arc<Namespace> {
        Arc::new(self.namespace().clone().leading_to(name))
    }

    /// Answers a call in the turn that is open, which the caller ends. `ran` hears of each
    /// SQL statement of the app.
    pub fn answer(
        self,
        database: &mut Database,
        call: MethodCall,
        now_ms: i64,
        ran: &mut dyn FnMut(&slow::Statement<'_>),
    ) -> Result<MethodAnswer, Fault> {
        match self {
            Self::Kv => kv::answer(database, call, now_ms),
            Self::Database => database::answer(database, call, ran),
        }
    }
}

/// What an error of storage is to the caller: its own mistake, if the database can go on.
fn told(database: &Database, error: &Error) -> Fault {
    let message: Arc<str> = error.to_string().into();
    if database.broken().is_some() {
        return Fault::Reset(Reset::Storage(message));
    }
    let value = serde_json::json!({"message": &*message, "code": error.code()});
    Fault::Declared {
        value: value.to_string().into(),
        message,
    }
}
