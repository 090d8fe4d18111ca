//! What a data folder is opened with.
//!
//! Filled by the host's configuration. The defaults are those of Cloudflare's Durable
//! Objects, or larger where nothing safe is lost by it.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder; made when it is missing.
    pub dir: PathBuf,
    pub limits: Limits,
    /// Length of a log segment; the log takes at least two of them on disk.
    pub segment_bytes: u64,
    /// A checkpoint is made when the log has grown by this much …
    pub checkpoint_bytes: u64,
    /// … or so much time has passed …
    pub checkpoint_interval: Duration,
    /// … or this many bytes of pages wait in memory for their files.
    pub overlay_bytes: u64,
    /// The most one turn may write, which lives in memory until it is committed.
    pub turn_bytes: u64,
    /// SQLite's page cache per open object.
    pub cache_bytes: u64,
    /// Object files kept open, however many objects are awake. A checkpoint and recovery
    /// open a quarter as many beside them.
    pub open_files: usize,
    /// How far back every state can be had; zero keeps no history.
    pub history: Duration,
    /// The most that history may take on disk; the oldest goes first.
    pub history_bytes: u64,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options {
            dir: dir.into(),
            limits: Limits::default(),
            segment_bytes: 64 << 20,
            checkpoint_bytes: 256 << 20,
            checkpoint_interval: Duration::from_secs(30),
            overlay_bytes: 256 << 20,
            turn_bytes: 64 << 20,
            cache_bytes: 256 << 10,
            open_files: 512,
            history: Duration::from_secs(30 * 24 * 60 * 60),
            history_bytes: u64::MAX,
        }
    }
}

impl Options {
    /// Object files open at a time while many are written.
    pub(crate) fn files_while_writing(&self) -> usize {
        (self.open_files / 4).max(1)
    }
}

/// Limits of one object's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Pages in use times page size, rounded down to whole pages.
    pub database_bytes: u64,
    /// The longest text or blob, and the longest row.
    pub value_bytes: u32,
    /// The longest SQL text of one call.
    pub statement_bytes: u32,
    pub columns: u32,
    pub parameters: u32,
    pub function_arguments: u32,
    pub like_pattern_bytes: u32,
    pub compound_select_terms: u32,
    pub expression_depth: u32,
    pub trigger_depth: u32,
    pub program_ops: u32,
    /// Rows of one `exec`; larger results are read through a cursor.
    pub result_rows: u64,
    /// Bytes of all values of one `exec`.
    pub result_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            database_bytes: 10 << 30,
            value_bytes: 4 << 20,
            statement_bytes: 1 << 20,
            columns: 2000,
            parameters: 32_766,
            function_arguments: 127,
            like_pattern_bytes: 50_000,
            compound_select_terms: 500,
            expression_depth: 1000,
            trigger_depth: 100,
            program_ops: 250_000,
            result_rows: 1_000_000,
            result_bytes: 32 << 20,
        }
    }
}
