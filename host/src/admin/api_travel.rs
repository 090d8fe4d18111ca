//! What the admin door says and is told of objects' pasts. A moment is a bookmark, a
//! time (RFC 3339, or milliseconds since 1970) or how long ago (`10m`, `2h`, `3d`).

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AtQuery {
    /// A moment; now without one.
    pub at: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Bookmark {
    /// Sorts as a text by time.
    pub bookmark: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// Only what was committed before this bookmark; `next` of the page before.
    pub before: Option<String>,
    /// At most so many; 50 by default, 1,000 at most.
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// Newest first.
    pub commits: Vec<Commit>,
    /// No moment before can be had; 0 for "since the beginning".
    pub since_ms: u64,
    /// What to ask for next, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Commit {
    /// The state right behind it.
    pub bookmark: String,
    pub time_ms: u64,
    /// Size of the database then; 0 if the commit removed it.
    pub bytes: u64,
    /// How many pages of 4,096 bytes it changed.
    pub pages: usize,
    /// Whether it brought back an older state.
    pub restored: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// A moment.
    pub from: String,
    /// A moment; now without one.
    pub to: Option<String>,
    /// At most so many changes; 1,000 by default, 100,000 at most.
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    /// By table; within one removed, then added, then updated rows.
    pub changes: Vec<Change>,
    /// Whether there are more.
    pub more: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    Added,
    Removed,
    Updated,
    /// The table itself: its SQL before and after.
    Schema,
}

/// One row. Blobs are `{"blob": "hexadecimal digits"}`, infinities `{"real": "inf"}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Change {
    pub table: String,
    pub changed: Changed,
    pub columns: Vec<String>,
    pub before: Option<Vec<serde_json::Value>>,
    pub after: Option<Vec<serde_json::Value>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Restore {
    /// A moment.
    pub to: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// The state that was brought back.
    pub bookmark: String,
    /// Brings back what was there before.
    pub undo: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Fork {
    /// The name of the new object, of the same class.
    pub name: String,
    /// A moment; now without one.
    #[serde(default)]
    pub at: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Replace an object that has data; what it was stays in its history.
    #[serde(default)]
    pub replace: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// Whether there was anything.
    pub existed: bool,
}
