//! Tally: how many rows a statement reads and writes, told from its program.
//!
//! Used when a guest's statement is compiled and when it has run. SQLite counts the steps
//! of its scans itself; what it does not count are searches and index entries. In a
//! straight program each search runs once and each changed row takes the same entries, so
//! both follow from the program alone, at no cost while it runs. Any other program (joins,
//! triggers, conflicts, partial indexes, ...) is read again after it ran, with SQLite's own
//! count of how often each instruction was executed. What is counted is what the reference
//! counts: see `docs/storage.md`, "Counting rows".
//!
//! Pure but for `Tally`. Source: sqlite.org/opcode.html, sqlite.org/bytecodevtab.html.

use super::{Connection, Statement};

/// One instruction of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) code: Code,
    /// Where it stands; 0 begins another program, which is a trigger's or foreign key's.
    pub(crate) at: i64,
    pub(crate) p1: i64,
    pub(crate) p2: i64,
    /// Whether it makes SQLite count a changed row.
    pub(crate) changes: bool,
    /// How often it was executed since the program was compiled.
    pub(crate) runs: u64,
}

/// What an instruction is to the tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Puts a cursor somewhere.
    Search,
    /// Counts all entries of a table.
    Count,
    /// Moves a cursor on, back to `p2`; SQLite counts it.
    Move,
    /// As both, in a virtual table; SQLite does not count it.
    VirtualMove,
    /// Opens a table that ends with the statement.
    OpenPassing,
    InsertRow,
    InsertEntry,
    DeleteRow,
    ClearTable,
    ChangeVirtual,
    Jump,
    Goto,
    Copy,
    ResultRow,
    /// Goes on with the next one.
    Plain,
    /// Calls, loops or does what is not known here.
    Other,
}

/// What a run has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

/// How the rows of a statement are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tally {
    /// It could not be looked at: rows as SQLite counts them.
    #[default]
    Unknown,
    Straight(Straight),
    /// From the executed instructions, less those of earlier runs.
    Counted {
        before: Rows,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Straight {
    searches: u64,
    /// Rows and index entries for each changed row.
    per_change: u64,
    /// The only result is how many entries a table has, and all of them were read.
    answers_count: bool,
}

impl Tally {
    /// Looks at a statement that has not run since it was compiled, or is in its first run.
    pub(crate) fn of(connection: &Connection, statement: &Statement) -> Tally {
        let Some(ops) = connection.ops(statement) else {
            return Tally::Unknown;
        };
        match straight(&ops) {
            Some(straight) => Tally::Straight(straight),
            None => Tally::Counted {
                before: Rows::default(),
            },
        }
    }

    /// Whether a run that is not measured would be counted into the next one.
    pub(crate) fn adds_up(&self) -> bool {
        matches!(self, Tally::Counted { .. })
    }

    /// The rows of the present run, in which `changes` rows changed and whose first answer is
    /// `first`, if that is a number.
    pub(crate) fn rows(
        &self,
        connection: &Connection,
        statement: &Statement,
        changes: u64,
        first: Option<i64>,
    ) -> Rows {
        let moves = statement.moves();
        match self {
            Tally::Unknown => Rows {
                read: moves,
                written: changes,
            },
            Tally::Straight(straight) => {
                let counted = match first {
                    Some(count) if straight.answers_count => count.unsigned_abs(),
                    _ => 0,
                };
                Rows {
                    read: moves + straight.searches + counted,
                    written: changes * straight.per_change,
                }
            }
            Tally::Counted { before } => {
                let now = connection
                    .ops(statement)
                    .map_or(*before, |ops| executed(&ops));
                Rows {
                    read: moves + now.read.saturating_sub(before.read),
                    written: now.written.saturating_sub(before.written),
                }
            }
        }
    }

    /// The same at the end of a run; the next one counts from here.
    pub(crate) fn finish(
        &mut self,
        connection: &Connection,
        statement: &Statement,
        changes: u64,
        first: Option<i64>,
    ) -> Rows {
        let rows = self.rows(connection, statement, changes, first);
        if let Tally::Counted { before } = self {
            before.read += rows.read - statement.moves();
            before.written += rows.written;
        }
        rows
    }
}

impl Code {
    pub(crate) fn named(name: &str) -> Code {
        match name {
            "SeekLT" | "SeekLE" | "SeekGE" | "SeekGT" | "SeekRowid" | "NotExists" | "Last"
            | "Rewind" | "Sort" | "SorterSort" => Code::Search,
            "Count" => Code::Count,
            "Next" | "Prev" | "SorterNext" => Code::Move,
            "VNext" => Code::VirtualMove,
            "OpenEphemeral" | "OpenAutoindex" | "OpenPseudo" | "OpenDup" | "SorterOpen" => {
                Code::OpenPassing
            }
            "Insert" => Code::InsertRow,
            "IdxInsert" => Code::InsertEntry,
            "Delete" => Code::DeleteRow,
            "Clear" => Code::ClearTable,
            "VUpdate" => Code::ChangeVirtual,
            "Goto" => Code::Goto,
            "Copy" | "SCopy" => Code::Copy,
            "ResultRow" => Code::ResultRow,
            "IsNull" | "NotNull" | "If" | "IfNot" | "IfNullRow" | "Eq" | "Ne" | "Lt" | "Le"
            | "Gt" | "Ge" | "IdxGT" | "IdxGE" | "IdxLT" | "IdxLE" | "MustBeInt" | "NoConflict"
            | "NotFound" | "Found" | "IfEmpty" | "Init" | "Once" | "IfNotZero" | "DecrJumpZero" => {
                Code::Jump
            }
            "Transaction" | "Halt" | "HaltIfNull" | "OpenRead" | "OpenWrite" | "Close"
            | "Integer" | "Int64" | "Real" | "String8" | "String" | "Null" | "SoftNull"
            | "Blob" | "Variable" | "Move" | "IntCopy" | "Column" | "Rowid" | "IdxRowid"
            | "DeferredSeek" | "FinishSeek" | "Affinity" | "Cast" | "TypeCheck"
            | "RealAffinity" | "MakeRecord" | "NewRowid" | "IdxDelete" | "ReopenIdx"
            | "Function" | "PureFunc" | "AggStep" | "AggStep1" | "AggFinal" | "CollSeq" | "Add"
            | "Subtract" | "Multiply" | "Divide" | "Remainder" | "Concat" | "Not" | "BitNot"
            | "BitAnd" | "BitOr" | "ShiftLeft" | "ShiftRight" | "And" | "Or" | "IsTrue"
            | "ZeroOrNull" | "AddImm" | "SorterInsert" | "SorterData" | "Noop" | "Explain"
            | "ReleaseReg" | "ColumnsUsed" | "CursorHint" | "Abortable" | "Offset"
            | "TableLock" | "Sequence" | "NullRow" | "FkCheck" | "ResetCount" | "ClrSubtype"
            | "GetSubtype" | "SetSubtype" => Code::Plain,
            _ => Code::Other,
        }
    }
}

/// What the executed instructions have read and written, but for moves.
fn executed(ops: &[Op]) -> Rows {
    let mut rows = Rows::default();
    for program in programs(ops) {
        for op in program {
            match op.code {
                Code::Search | Code::Count | Code::VirtualMove => rows.read += op.runs,
                _ if writes(op, program) => rows.written += op.runs,
                _ => (),
            }
        }
    }
    rows
}

/// The program of the statement and those it calls.
fn programs(ops: &[Op]) -> impl Iterator<Item = &[Op]> {
    ops.chunk_by(|_, next| next.at != 0)
}

fn writes(op: &Op, program: &[Op]) -> bool {
    let lasting = || !passing(op.p1, program);
    match op.code {
        Code::InsertRow | Code::InsertEntry => lasting(),
        Code::DeleteRow => op.changes && lasting(),
        Code::ChangeVirtual => true,
        _ => false,
    }
}

fn passing(cursor: i64, program: &[Op]) -> bool {
    let opens = |op: &Op| op.code == Code::OpenPassing && op.p1 == cursor;
    program.iter().any(opens)
}

/// The numbers of a program in which each search runs once and each changed row takes the
/// same entries.
fn straight(ops: &[Op]) -> Option<Straight> {
    let calls = ops.iter().filter(|op| op.at == 0).count() != 1;
    let unknown = |op: &Op| {
        matches!(
            op.code,
            Code::Other | Code::VirtualMove | Code::ChangeVirtual
        )
    };
    if calls || ops.iter().any(unknown) {
        return None;
    }
    // Only the last instruction goes back, to where the program begins. A jump to 0 is none.
    let (last, body) = ops.split_last()?;
    let jumps = |op: &Op| matches!(op.code, Code::Jump | Code::Goto);
    let goes_back = |op: &Op| jumps(op) && (1..=op.at).contains(&op.p2);
    if last.code != Code::Goto || body.iter().any(goes_back) {
        return None;
    }
    let searches = ops.iter().filter(|op| op.code == Code::Search);
    if searches.clone().any(|op| in_loop(op.at, ops)) {
        return None;
    }
    let answers_count = answers_count(ops);
    if !answers_count && ops.iter().any(|op| op.code == Code::Count) {
        return None;
    }
    Some(Straight {
        searches: searches.count() as u64,
        per_change: per_change(ops)?,
        answers_count,
    })
}

fn in_loop(at: i64, ops: &[Op]) -> bool {
    let around = |op: &Op| op.code == Code::Move && (op.p2..=op.at).contains(&at);
    ops.iter().any(around)
}

/// Whether the program answers with nothing but the count of a table's entries.
fn answers_count(ops: &[Op]) -> bool {
    let only = |code| {
        let mut found = ops.iter().filter(|op| op.code == code);
        found.next().filter(|_| found.next().is_none())
    };
    let (Some(count), Some(row)) = (only(Code::Count), only(Code::ResultRow)) else {
        return false;
    };
    let copies = |op: &Op| op.code == Code::Copy && op.p1 == count.p2 && op.p2 == row.p1;
    row.p2 == 1 && (row.p1 == count.p2 || ops.iter().any(copies))
}

/// Rows and entries written with each changed row, if that is the same for all.
fn per_change(ops: &[Op]) -> Option<u64> {
    let mut changing = ops.iter().filter(|op| op.changes);
    let Some(change) = changing.next() else {
        let writes = ops.iter().any(|op| writes(op, ops));
        return (!writes).then_some(1);
    };
    if changing.next().is_some() {
        return None;
    }
    let entries = || {
        let others = ops.iter().filter(|op| *op != change);
        others.filter(|op| writes(op, ops))
    };
    // Left out for some rows: an entry of a partial index.
    let skipped = |entry: &Op| {
        let past = |op: &Op| {
            op.code == Code::Jump && op.at < entry.at && entry.at < op.p2 && op.p2 <= change.at
        };
        ops.iter().any(past)
    };
    let uniform =
        |entry: &Op| entry.code == Code::InsertEntry && entry.at < change.at && !skipped(entry);
    entries().all(uniform).then(|| 1 + entries().count() as u64)
}
