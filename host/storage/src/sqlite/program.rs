//! The program of a statement, read through SQLite's own table of it.
//!
//! Only `tally` asks. The build needs SQLITE_ENABLE_BYTECODE_VTAB for it, and
//! SQLITE_ENABLE_STMT_SCANSTATUS for how often instructions ran.

use super::tally::{Code, Op};
use super::{Connection, Statement};
use crate::error::Error;

const OPS: &str = "SELECT addr, opcode, p1, p2, p3, p5, nexec FROM bytecode(?1)";

/// The flag of an instruction that changes a row.
const COUNTS_CHANGE: i64 = 1;

impl Connection {
    /// The instructions of a statement and of the programs it calls, in order; `None` in a
    /// build that cannot say, and after an error, which is kept if it ends the turn.
    pub(crate) fn ops(&self, statement: &Statement) -> Option<Vec<Op>> {
        self.read_ops(statement)
            .map_err(|error| self.fail(error))
            .ok()
    }

    fn read_ops(&self, statement: &Statement) -> Result<Vec<Op>, Error> {
        let mut kept = self.ops_statement().borrow_mut();
        let reader = match &*kept {
            Some(reader) => reader,
            None => {
                let (reader, _) = self.trusted(|| self.prepare(OPS, true))?;
                kept.insert(reader.ok_or(Error::NoStatement)?)
            }
        };
        reader.bind_statement(1, statement);
        let mut ops = Vec::new();
        let read = loop {
            match self.step(reader) {
                Ok(true) => ops.push(op(reader)),
                Ok(false) => break Ok(ops),
                Err(error) => break Err(error),
            }
        };
        reader.reset();
        read
    }
}

fn op(row: &Statement) -> Op {
    let code = row.text_with(1, Code::named);
    let changes = match code {
        Code::InsertRow | Code::InsertEntry => row.integer(5) & COUNTS_CHANGE,
        Code::DeleteRow => row.integer(3) & COUNTS_CHANGE,
        Code::ClearTable => row.integer(4),
        _ => 0,
    };
    Op {
        code,
        at: row.integer(0),
        p1: row.integer(2),
        p2: row.integer(3),
        changes: changes != 0,
        runs: row.integer(6).unsigned_abs(),
    }
}
