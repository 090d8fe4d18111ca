//! What the admin door says and is told, as JSON. The command line reads the same
//! types. Times are milliseconds since 1970, sizes are bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use super::api_travel::*;
pub use super::records::{Level, Record};
pub use super::tokens::{Scope, Token};
use crate::deploy::Parts;

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or what is wrong.
    pub status: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Host {
    pub version: String,
    pub pid: u32,
    pub uptime_ms: u64,
    /// The data folder, on the host's machine.
    pub data: String,
    /// Where the public door listens.
    pub listen: Option<String>,
    /// Objects with an instance, of all apps.
    pub awake: usize,
    /// How many could be awake at once.
    pub awake_limit: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct App {
    pub name: String,
    /// What the host was started with; it answers what no other app's route matches.
    pub main: bool,
    /// Names at which it is reached; `*.example.com` is all names that end so.
    pub hosts: Vec<String>,
    /// What the paths begin with at which it is reached; it does not see that part.
    pub path: Option<String>,
    /// Requests are turned away, alarms wait.
    pub paused: bool,
    /// Why it is not served, if it is not.
    pub trouble: Option<String>,
    pub classes: Vec<Class>,
    /// SHA-256 of the component that is served; empty if none is.
    pub digest: String,
    pub awake: usize,
    pub sockets: usize,
    pub objects_with_alarms: usize,
    pub dead_letters: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NewApp {
    /// Lower-case letters, digits and `-`.
    pub name: String,
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub path: Option<String>,
}

/// What is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeApp {
    /// All names at which it is to be reached. Needs the scope `admin` for all apps, as
    /// does `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Empty for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Needs the scope `operate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteApp {
    /// The app's name once more: everything that it has is deleted.
    pub confirm: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Class {
    pub name: String,
    /// Has a handler for alarms.
    pub alarm: bool,
    /// Has handlers for WebSockets.
    pub websocket: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deployments {
    /// The version that is served; none for code that was only named at the start.
    pub current: Option<u64>,
    /// The version that is being rolled out beside it.
    pub rollout: Option<Rollout>,
    pub versions: Vec<Deployment>,
}

/// A version that some objects and requests have.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    pub version: u64,
    /// So many of a hundred.
    pub percent: u8,
    pub since_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    pub version: u64,
    /// SHA-256 of the component.
    pub component: String,
    /// Size of the component.
    pub bytes: u64,
    /// SHA-256 of `worker.component`, if it has one.
    pub worker: Option<String>,
    /// Files of `[assets]`, and their size.
    pub asset_files: u64,
    pub asset_bytes: u64,
    pub classes: Vec<String>,
    pub created_ms: i64,
    /// The label of the token, or `command line`.
    pub by: String,
    pub note: String,
    /// Why its rollout was taken back, if it was.
    pub returned: Option<Returned>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Returned {
    pub at_ms: i64,
    /// How many of a hundred had it.
    pub percent: u8,
    pub reason: String,
}

/// SHA-256 digests in hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Missing {
    pub digests: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deploy {
    /// The text of `dormouse.toml`.
    #[serde(default)]
    pub manifest: String,
    /// SHA-256 of a component that was uploaded.
    pub component: String,
    /// That of `worker.component`, if the manifest names one.
    #[serde(default)]
    pub worker: Option<String>,
    /// That of the list of the files in `assets.folder`: JSON,
    /// `{"files": {"index.html": {"sha256": "…", "bytes": 12}}}`.
    #[serde(default)]
    pub assets: Option<String>,
    /// That of `outgoing.ca`.
    #[serde(default)]
    pub ca: Option<String>,
    #[serde(default)]
    pub note: String,
    /// Only so many of a hundred, 1 to 99, have it for the time being.
    #[serde(default)]
    pub percent: Option<u8>,
    /// Only say what would change.
    #[serde(default)]
    pub plan: bool,
    /// Go on though classes with objects are gone; their data stays.
    #[serde(default)]
    pub remove_classes: bool,
    /// Delete the objects of classes that migrations delete.
    #[serde(default)]
    pub delete_data: bool,
}

impl Deploy {
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            component: self.component.clone(),
            worker: self.worker.clone(),
            assets: self.assets.clone(),
            ca: self.ca.clone(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deployed {
    /// The version that is served now; none for a plan.
    pub version: Option<u64>,
    /// The version that was served before.
    pub from: Option<u64>,
    pub classes: Vec<String>,
    pub added: Vec<String>,
    pub removed: Vec<RemovedClass>,
    /// Classes that go on under another name.
    #[serde(default)]
    pub renamed: Vec<RenamedClass>,
    /// Classes whose objects go for good.
    #[serde(default)]
    pub deleted: Vec<RemovedClass>,
    /// Code, files and manifest are what was served already.
    pub unchanged: bool,
    /// Settings that take effect when the host starts anew.
    pub after_restart: Vec<String>,
    /// So many of a hundred have it, if not all.
    #[serde(default)]
    pub percent: Option<u8>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RenamedClass {
    pub from: String,
    pub to: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SetRollout {
    /// 1 to 99; 100 makes it the current version, 0 takes it back.
    pub percent: u8,
}

/// What became of a rollout.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RolledOut {
    /// The version that was being rolled out.
    pub version: u64,
    pub percent: u8,
    /// The version that is current now.
    pub current: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Between {
    pub from: u64,
    pub to: u64,
}

/// How one version differs from another.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionDiff {
    pub from: u64,
    pub to: u64,
    /// Lines of the manifest, ` `, `-` or `+` before each; none if it is the same.
    pub manifest: Vec<String>,
    /// Component, worker and certificates that differ.
    pub parts: Vec<FileDiff>,
    pub classes_added: Vec<String>,
    pub classes_removed: Vec<String>,
    pub assets: Vec<FileDiff>,
}

/// A file that was added (no `before`), removed (no `after`) or changed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileDiff {
    pub name: String,
    pub before: Option<Contents>,
    pub after: Option<Contents>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contents {
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RemovedClass {
    pub class: String,
    pub objects: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RollBack {
    /// The one before the current without a number.
    #[serde(default)]
    pub version: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Prune {
    /// So many of the newest versions stay, and the current one.
    pub keep: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    pub versions: Vec<u64>,
    pub bytes: u64,
}

/// What a driver of `sqlite-proxy` gets for one statement.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueryRows {
    /// A list of rows, each a list of values; for `get` one row, or null.
    pub rows: serde_json::Value,
}

/// Never their values.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Secrets {
    pub names: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ObjectsQuery {
    /// Of this class only.
    pub class: Option<String>,
    /// The name begins with this.
    pub prefix: Option<String>,
    pub state: Option<State>,
    /// Go on behind this object, `class/name`; `next` of the page before.
    pub after: Option<String>,
    /// At most so many; 100 by default, 1,000 at most.
    pub limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Awake,
    Asleep,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Objects {
    pub objects: Vec<ObjectInfo>,
    /// How many match, on all pages.
    pub total: usize,
    /// What to ask for next, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ObjectInfo {
    pub class: String,
    /// What its id was made from, if that is known.
    pub name: Option<String>,
    pub id: String,
    pub state: State,
    /// How long an awake object has had nothing to do.
    pub idle_ms: Option<u64>,
    /// Size of its database; 0 if it has written nothing.
    pub bytes: u64,
    /// When its file last changed, to about 30 seconds; absent while what it wrote
    /// is in the log only.
    pub changed_ms: Option<i64>,
    pub sockets: usize,
}

/// One object with what can be seen without waking it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ObjectDetail {
    #[serde(flatten)]
    pub object: ObjectInfo,
    pub tables: Vec<Table>,
    pub alarms: Vec<Alarm>,
    pub open_sockets: Vec<Socket>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Table {
    pub name: String,
    /// `table`, `view`, `index` or `trigger`.
    pub kind: String,
    pub sql: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Sql {
    /// One statement or several; the rows are those of the last one.
    pub sql: String,
    /// For the last statement: null, numbers, texts, `{"blob": "hexadecimal digits"}`.
    #[serde(default)]
    pub params: Vec<serde_json::Value>,
    /// Without it a statement that writes is refused. Needs the scope `sql-write`.
    #[serde(default)]
    pub write: bool,
    /// With `write`: everything is undone again. The answer is what it would have been.
    #[serde(default)]
    pub dry_run: bool,
    /// At most so many rows; 1,000 by default, 100,000 at most.
    #[serde(default)]
    pub max_rows: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rows {
    pub columns: Vec<String>,
    /// Blobs are `{"blob": "hexadecimal digits"}`, infinities `{"real": "inf"}`.
    pub rows: Vec<Vec<serde_json::Value>>,
    pub rows_read: u64,
    pub rows_written: u64,
    /// Whether rows were left out.
    pub more: bool,
    /// After a dry run of one statement: SQLite's plan, a step each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
}

/// One statement for each object of a class; it must not write.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ClassSql {
    pub sql: String,
    /// As in `Sql`.
    #[serde(default)]
    pub params: Vec<serde_json::Value>,
    /// Only objects whose names begin with it.
    #[serde(default)]
    pub prefix: String,
    /// At most so many rows of all objects; 1,000 by default, 100,000 at most.
    #[serde(default)]
    pub max_rows: Option<u32>,
}

/// What one of them answered; values are as in `Rows`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ObjectRows {
    /// Its name, or `id:` and its id.
    pub object: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<serde_json::Value>>,
    pub rows_read: u64,
    /// Rows of this object were left out, and further objects were not asked.
    pub more: bool,
    /// Why it has no rows to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Socket {
    /// Unique within its object while the host runs.
    pub id: u64,
    pub class: String,
    pub object: String,
    pub tags: Vec<String>,
    /// `open`, `closing` or `closed`.
    pub state: String,
    /// What waits for the reader.
    pub buffered_bytes: u64,
    pub attachment_bytes: usize,
    /// When the auto-response last answered.
    pub auto_response_ms: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Alarm {
    pub class: String,
    pub object: String,
    /// Empty for the default alarm.
    pub name: String,
    /// What was asked for; absent if only a dead letter is left.
    pub scheduled_ms: Option<i64>,
    /// When it runs next, retries included.
    pub due_ms: Option<i64>,
    pub retries: u32,
    pub cron: Option<String>,
    pub zone: Option<String>,
    /// The run that was given up, if one was.
    pub dead: Option<DeadLetter>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    pub scheduled_ms: i64,
    pub error: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Retry {
    /// The alarm's name; the default alarm has the empty one.
    #[serde(default)]
    pub alarm: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// Stay, and send what comes.
    #[serde(default)]
    pub follow: bool,
    /// Begin with so many of the records kept; 100 by default.
    pub tail: Option<usize>,
    /// This level and those above it.
    pub level: Option<Level>,
    pub class: Option<String>,
    /// The object's name, or its id.
    pub object: Option<String>,
    /// The id of one request.
    pub request: Option<String>,
    /// The message contains this.
    pub text: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// What it is for.
    pub label: String,
    pub scopes: Vec<Scope>,
    /// The apps it is good for; all without a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<String>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    #[serde(flatten)]
    pub token: Token,
    /// The token itself; it cannot be seen again.
    pub secret: String,
}

/// Facts of one record, by name.
pub type Fields = BTreeMap<String, String>;
