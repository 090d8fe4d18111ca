//! Guard: which SQL a guest may run.
//!
//! SQLite's authorizer asks while it compiles a statement; a refusal makes the
//! compilation fail. The guard also notes what the statement is about to do. Lists are
//! Cloudflare's plus functions that are safe and asked for; a function that SQLite gains
//! with an upgrade stays refused until somebody adds it here.

use std::cell::Cell;

use rusqlite::ffi;

use crate::text::contains_ignoring_case;

/// Tables, indexes, views and triggers of the host begin with this.
pub(crate) const RESERVED: &str = "_dormouse_";

/// What SQLite asks about: an action code and its two names (sqlite.org/c3ref/c_alter_table.html).
#[derive(Debug)]
pub(crate) struct Action<'a> {
    pub(crate) code: i32,
    pub(crate) first: &'a str,
    pub(crate) second: &'a str,
    pub(crate) database: &'a str,
}

/// One connection's guard. Cells, because SQLite calls it back in the middle of a call.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    trusted: Cell<bool>,
    alters: Cell<bool>,
    needs_turn: Cell<bool>,
    refusal: Cell<Option<Refusal>>,
    settings_stay: Cell<bool>,
    was_set: Cell<bool>,
}

/// A refused compilation; `reason` is `None` where SQLite's own words say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) reason: Option<&'static str>,
}

/// What a compilation said about its statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notes {
    /// It renames something, to a name the guard has not seen.
    pub(crate) alters: bool,
    /// It has an effect only inside a transaction.
    pub(crate) needs_turn: bool,
}

impl Guard {
    /// Switches the guard off or on; says how it was.
    pub(crate) fn set_trusted(&self, trusted: bool) -> bool {
        self.trusted.replace(trusted)
    }

    /// Whether pragmas may only be read.
    pub(crate) fn keep_settings(&self, keep: bool) {
        self.settings_stay.set(keep);
    }

    /// Whether a guest has ever changed a setting of the connection.
    pub(crate) fn was_set(&self) -> bool {
        self.was_set.get()
    }

    pub(crate) fn allows(&self, action: &Action<'_>) -> bool {
        if self.trusted.get() {
            return true;
        }
        match action.code {
            ffi::SQLITE_ALTER_TABLE => self.alters.set(true),
            ffi::SQLITE_PRAGMA if action.first.eq_ignore_ascii_case("defer_foreign_keys") => {
                self.needs_turn.set(true)
            }
            _ => (),
        }
        // ALTER TABLE calls functions of its own, which SQLite lets nobody else call.
        let internal = self.alters.get()
            && action.code == ffi::SQLITE_FUNCTION
            && action.second.starts_with("sqlite_");
        match judge(action) {
            _ if internal => true,
            Ok(()) if self.settings_stay.get() && sets(action) => {
                let reason = Some(SETTING);
                self.refusal.set(Some(Refusal { reason }));
                false
            }
            Ok(()) => {
                self.was_set.set(self.was_set.get() || sets(action));
                true
            }
            Err(reason) => {
                self.refusal.set(Some(Refusal { reason }));
                false
            }
        }
    }

    /// The refusal since the last call, if there was one.
    pub(crate) fn take_refusal(&self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// What was noted since the last call.
    pub(crate) fn take_notes(&self) -> Notes {
        self.refusal.take();
        Notes {
            alters: self.alters.take(),
            needs_turn: self.needs_turn.take(),
        }
    }
}

/// The new name of `ALTER TABLE … RENAME` is never shown to the guard, but names have no
/// escapes in SQL: a text without the prefix cannot name something reserved.
pub(crate) fn renames_to_reserved(text: &str, notes: Notes) -> bool {
    notes.alters && contains_ignoring_case(text, RESERVED)
}

/// What the guard is not asked about when it is compiled; answers with the refusal.
/// VACUUM attaches a second database only when it runs.
pub(crate) fn refused_word(text: &str) -> Option<&'static str> {
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).next()?;
    word.eq_ignore_ascii_case("vacuum").then_some(VACUUM)
}

const VACUUM: &str = "not authorized: VACUUM writes the whole database anew; space that is free is used again, and \
                      `delete_all` makes the database empty: SQLITE_AUTH";
const TRANSACTION: &str = "not authorized: transactions are implicit; every write between two awaits belongs to one \
                           transaction, use a savepoint to undo a part of it: SQLITE_AUTH";
const NAME: &str = "not authorized: names that begin with `_dormouse_` belong to the host; choose another: SQLITE_AUTH";
const SETTING: &str =
    "not authorized: settings and upkeep belong to the object's own code: SQLITE_AUTH";
const PLAIN: &str = "not authorized: SQLITE_AUTH";

/// `Err(None)` where SQLite's message names the function or column itself.
fn judge(action: &Action<'_>) -> Result<(), Option<&'static str>> {
    let reserved = |name: &str| {
        name.get(..RESERVED.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
    };
    // Dropping and renaming look for temporary triggers, of which there can be none.
    let looks = matches!(
        action.code,
        ffi::SQLITE_READ | ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE
    );
    if action.database.eq_ignore_ascii_case("temp") && !looks {
        return Err(Some(PLAIN));
    }
    let verdict = |allowed: bool, reason| if allowed { Ok(()) } else { Err(reason) };
    match action.code {
        // Both walk over all tables; neither shows nor changes rows of the host.
        ffi::SQLITE_ANALYZE | ffi::SQLITE_REINDEX => Ok(()),
        ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE => Ok(()),
        ffi::SQLITE_READ => verdict(
            !reserved(action.first) && !action.first.eq_ignore_ascii_case("dbstat"),
            None,
        ),
        ffi::SQLITE_FUNCTION => verdict(is_listed(FUNCTIONS, action.second), None),
        ffi::SQLITE_PRAGMA => match reserved(action.second) {
            true => Err(Some(NAME)),
            false => verdict(pragma(action.first, action.second), Some(PLAIN)),
        },
        ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT => Err(Some(TRANSACTION)),
        ffi::SQLITE_CREATE_VTABLE | ffi::SQLITE_DROP_VTABLE if reserved(action.first) => {
            Err(Some(NAME))
        }
        ffi::SQLITE_CREATE_VTABLE | ffi::SQLITE_DROP_VTABLE => {
            verdict(is_listed(VIRTUAL_TABLES, action.second), Some(PLAIN))
        }
        ffi::SQLITE_INSERT
        | ffi::SQLITE_UPDATE
        | ffi::SQLITE_DELETE
        | ffi::SQLITE_CREATE_TABLE
        | ffi::SQLITE_CREATE_INDEX
        | ffi::SQLITE_CREATE_VIEW
        | ffi::SQLITE_CREATE_TRIGGER
        | ffi::SQLITE_DROP_TABLE
        | ffi::SQLITE_DROP_INDEX
        | ffi::SQLITE_DROP_VIEW
        | ffi::SQLITE_DROP_TRIGGER => {
            // For indexes and triggers the second name is the table's; for UPDATE a column's.
            let second = action.code != ffi::SQLITE_UPDATE && reserved(action.second);
            verdict(!reserved(action.first) && !second, Some(NAME))
        }
        // Here the first name is the database's, the second the table's.
        ffi::SQLITE_ALTER_TABLE => verdict(!reserved(action.second), Some(NAME)),
        _ => Err(Some(PLAIN)),
    }
}

/// The lists below are sorted, in lower case.
fn is_listed(list: &[&str], name: &str) -> bool {
    list.binary_search(&name.to_ascii_lowercase().as_str())
        .is_ok()
}

/// Whether a pragma changes a setting of the connection, or writes what no statement
/// asked for.
fn sets(action: &Action<'_>) -> bool {
    action.code == ffi::SQLITE_PRAGMA
        && match action.second {
            "" => action.first.eq_ignore_ascii_case("optimize"),
            _ => is_switch(action.first) || action.first.eq_ignore_ascii_case("optimize"),
        }
}

fn is_switch(pragma: &str) -> bool {
    is_listed(SWITCHES, pragma)
}

fn pragma(name: &str, argument: &str) -> bool {
    let argument = argument.trim_matches(['\'', '"']);
    match name.to_ascii_lowercase().as_str() {
        "data_version" | "page_size" | "page_count" | "freelist_count" | "table_list"
        | "encoding" | "function_list" | "collation_list" | "compile_options" => {
            argument.is_empty()
        }
        name if is_switch(name) => ["", "true", "false", "yes", "no", "on", "off", "1", "0"]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(argument)),
        "table_info" | "table_xinfo" | "foreign_key_list" | "index_info" | "index_list"
        | "index_xinfo" | "foreign_key_check" | "quick_check" | "integrity_check" | "optimize" => {
            true
        }
        _ => false,
    }
}

/// Pragmas that are on or off for a connection.
const SWITCHES: &[&str] = &[
    "case_sensitive_like",
    "defer_foreign_keys",
    "foreign_keys",
    "ignore_check_constraints",
    "legacy_alter_table",
    "recursive_triggers",
    "reverse_unordered_selects",
];

const VIRTUAL_TABLES: &[&str] = &["fts5", "fts5vocab", "rtree", "rtree_i32"];

#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "->", "->>", "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "avg", "bm25", "ceil",
    "ceiling", "changes", "char", "coalesce", "concat", "concat_ws", "cos", "cosh", "count", "cume_dist",
    "current_date", "current_time", "current_timestamp", "date", "datetime", "degrees", "dense_rank", "exp",
    "first_value", "floor", "format", "fts5_get_locale", "fts5_insttoken", "fts5_locale", "glob", "group_concat",
    "hex", "highlight", "if", "ifnull", "iif", "instr", "json", "json_array", "json_array_insert",
    "json_array_length", "json_error_position", "json_extract", "json_group_array", "json_group_object",
    "json_insert", "json_object", "json_patch", "json_pretty", "json_quote", "json_remove", "json_replace",
    "json_set", "json_type", "json_valid", "jsonb", "jsonb_array", "jsonb_array_insert", "jsonb_extract",
    "jsonb_group_array", "jsonb_group_object", "jsonb_insert", "jsonb_object", "jsonb_patch", "jsonb_remove",
    "jsonb_replace", "jsonb_set", "julianday", "lag", "last_insert_rowid", "last_value", "lead", "length", "like",
    "likelihood", "likely", "ln", "log", "log10", "log2", "lower", "ltrim", "match", "max", "min", "mod",
    "nth_value", "ntile", "nullif", "octet_length", "percent_rank", "pi", "pow", "power", "printf", "quote",
    "radians", "random", "randomblob", "rank", "replace", "round", "row_number", "rtreecheck", "rtreedepth", "rtreenode", "rtrim", "sign", "sin", "sinh", "snippet",
    "soundex", "sqrt", "strftime", "string_agg", "substr", "substring", "subtype", "sum", "tan", "tanh", "time",
    "timediff", "total", "total_changes", "trim", "trunc", "typeof", "unhex", "unicode", "unistr", "unistr_quote",
    "unixepoch", "unlikely", "upper", "zeroblob",
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        for list in [FUNCTIONS, VIRTUAL_TABLES, SWITCHES] {
            assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "{list:?}");
        }
    }

    #[test]
    fn every_listed_function_is_in_this_build() {
        // Known inside FTS5 tables only.
        const OF_FTS5: &[&str] = &["bm25", "highlight", "snippet"];
        let db = rusqlite::Connection::open_in_memory().unwrap();
        let mut list = db
            .prepare("SELECT DISTINCT name FROM pragma_function_list")
            .unwrap();
        let names = list.query_map([], |row| row.get(0)).unwrap();
        let there: Vec<String> = names.map(Result::unwrap).collect();
        for name in FUNCTIONS {
            let known = OF_FTS5.contains(name) || there.iter().any(|one| one == name);
            assert!(known, "{name}");
        }
    }

    #[test]
    fn pragmas_take_only_the_arguments_listed() {
        assert!(pragma("foreign_keys", "'ON'"));
        assert!(pragma("TABLE_INFO", "t"));
        assert!(!pragma("page_size", "8192"));
        assert!(!pragma("journal_mode", ""));
        assert!(!pragma("foreign_keys", "maybe"));
    }
}
