//! What awake objects cost: memory and open files.
//!
//! `ulimit -n 1024; cargo run --release -p dormouse-storage --example awake -- <folder> <objects>`:
//! each object has a database of two tables with rows in its file, and stays open after it
//! was read. The folder is made and must not be there before.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use dormouse_storage::{Database, ObjectKey, Options, Storage, Value};

fn key(number: u32) -> ObjectKey {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_le_bytes());
    ObjectKey {
        namespace: "bench".into(),
        id,
        name: None,
    }
}

fn create(db: &mut Database) -> Result<(), Box<dyn Error>> {
    db.exec(
        "CREATE TABLE a (k INTEGER PRIMARY KEY, v); CREATE TABLE b (k PRIMARY KEY, v);
         INSERT INTO a VALUES (1, 'one'); INSERT INTO b VALUES ('one', 1)",
        &[],
    )?;
    Ok(db.end_turn()?)
}

/// Resident memory of this process.
fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("a folder is needed")?);
    let count = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    std::fs::create_dir(&dir)?;
    let storage = Storage::open(Options::new(&dir))?;
    for number in 0..count {
        create(&mut storage.database(key(number)))?;
    }
    storage.close()?;
    drop(storage);
    let storage = Storage::open(Options::new(&dir))?;
    let (before, start) = (resident_kib()?, Instant::now());
    let mut awake = Vec::new();
    for number in 0..count {
        let mut db = storage.database(key(number));
        let found = db.exec("SELECT v FROM b WHERE k = ?", &["one".into()])?;
        assert_eq!(found.rows, [[Value::Integer(1)]]);
        awake.push(db);
    }
    let took = start.elapsed();
    println!(
        "{count} awake: {} KiB and {:?} for each, {} open files",
        (resident_kib()? - before) / u64::from(count),
        took / count,
        std::fs::read_dir("/proc/self/fd")?.count()
    );
    Ok(())
}
