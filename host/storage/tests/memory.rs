//! SQLite runs out of memory at the n-th allocation of a turn, for every n.
//!
//! A test binary of its own: the allocator is the process's, set before SQLite begins.

#![allow(unsafe_code, clippy::unwrap_used)]

mod common;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use common::{Folder, key};
use dormouse_storage::{Error, Storage, Value};
use rusqlite::ffi;

thread_local! {
    /// Allocations of this thread that still succeed.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

type Malloc = unsafe extern "C" fn(c_int) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void;

static REAL: OnceLock<(Malloc, Realloc)> = OnceLock::new();

fn spend() -> bool {
    let left = LEFT.get();
    LEFT.set(if left == u64::MAX {
        left
    } else {
        left.saturating_sub(1)
    });
    left > 0
}

unsafe extern "C" fn malloc(bytes: c_int) -> *mut c_void {
    // SAFETY: SQLite's own allocator, with SQLite's argument.
    match spend() {
        true => unsafe { (REAL.get().unwrap().0)(bytes) },
        false => ptr::null_mut(),
    }
}

unsafe extern "C" fn realloc(old: *mut c_void, bytes: c_int) -> *mut c_void {
    // SAFETY: as above.
    match spend() {
        true => unsafe { (REAL.get().unwrap().1)(old, bytes) },
        false => ptr::null_mut(),
    }
}

/// Puts our allocator before SQLite's; must come before anything else of SQLite.
fn install() {
    let mut methods = MaybeUninit::<ffi::sqlite3_mem_methods>::zeroed();
    // SAFETY: SQLite is not initialised yet; it fills the table, and later copies ours.
    unsafe {
        let rc = ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, methods.as_mut_ptr());
        assert_eq!(rc, ffi::SQLITE_OK);
        let mut ours = methods.assume_init();
        let real = (ours.xMalloc.unwrap(), ours.xRealloc.unwrap());
        assert!(REAL.set(real).is_ok());
        ours.xMalloc = Some(malloc);
        ours.xRealloc = Some(realloc);
        let rc = ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, ptr::from_mut(&mut ours));
        assert_eq!(rc, ffi::SQLITE_OK);
    }
}

fn turn(storage: &Storage) -> Result<(), Error> {
    let mut db = storage.database(key(1));
    db.exec("INSERT INTO t VALUES (2, 'more'), (3, 'and more')", &[])?;
    db.exec(
        "UPDATE t SET v = v || k WHERE k IN (SELECT max(k) FROM t)",
        &[],
    )?;
    db.exec("CREATE INDEX i ON t (v)", &[])?;
    db.end_turn()
}

#[test]
fn no_memory_at_any_point_of_a_turn_undoes_it() {
    install();
    let folder = Folder::new();
    let storage = folder.storage();
    let mut db = storage.database(key(1));
    db.exec(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one')",
        &[],
    )
    .unwrap();
    db.end_turn().unwrap();
    drop(db);
    let mut failed = 0;
    #[allow(
        clippy::explicit_counter_loop,
        reason = "what failed is counted, not the rounds"
    )]
    for budget in 0..5_000 {
        LEFT.set(budget);
        let result = turn(&storage);
        LEFT.set(u64::MAX);
        let mut db = storage.database(key(1));
        let found = db.exec("SELECT k, v FROM t", &[]).unwrap().rows;
        let Err(error) = result else {
            assert_eq!(found.len(), 3, "a turn that succeeded is there");
            assert!(failed > 50, "{failed} turns had no memory");
            return;
        };
        failed += 1;
        assert!(
            error.to_string().to_lowercase().contains("memory"),
            "{error}"
        );
        assert_eq!(
            found,
            [[Value::Integer(1), Value::from("one")]],
            "after {error}"
        );
    }
    panic!("the turn takes more than 5000 allocations");
}
