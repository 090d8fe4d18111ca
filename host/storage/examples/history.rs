//! What history takes on disk, how long going back and recovery take, how large the log gets.
//!
//! `cargo run --release -p dormouse-storage --example history -- <folder> <commits>`:
//! inserts of chat messages into an indexed table, one commit each, with a checkpoint every
//! 2,000 commits; then restores to commits all over the past, each checked. After that the
//! process ends without a checkpoint behind some MiB of log, and the next start is timed; at
//! last 100 objects write 1 GiB with the usual options, and the folder of the log is watched.
//! The folder is made and must not be there before.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use dormouse_storage::{Clock, Database, Env, ObjectKey, Options, Storage, Value};

type Done = Result<(), Box<dyn Error>>;

/// Two seconds between commits, so that ages are as in a long life.
#[derive(Debug, Default)]
struct Paced(std::sync::atomic::AtomicU64);

impl Clock for Paced {
    fn now_ms(&self) -> u64 {
        self.0
            .fetch_add(2_000, std::sync::atomic::Ordering::Relaxed)
    }
}

fn key(number: u8) -> ObjectKey {
    ObjectKey {
        namespace: "bench".into(),
        id: [number; 32],
        name: None,
    }
}

fn open(dir: &PathBuf) -> Result<Storage, Box<dyn Error>> {
    let env = Env {
        clock: std::sync::Arc::new(Paced::default()),
        threads: false,
        ..Env::real(dir)?
    };
    let options = Options {
        overlay_bytes: 1 << 30,
        ..Options::new(dir)
    };
    Ok(Storage::open_in(options, env)?)
}

fn insert(db: &mut Database, number: i64, word: &mut u64) -> Done {
    let mut text = String::new();
    for _ in 0..12 {
        *word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push_str(["lorem", "ipsum", "dolor", "sit", "amet"][(*word >> 60) as usize % 5]);
        text.push(' ');
    }
    let author = format!("user {}", number % 20);
    let values = [Value::Integer(number), author.into(), text.into()];
    db.exec("INSERT INTO messages VALUES (?, ?, ?)", &values)?;
    Ok(db.end_turn()?)
}

const TABLE: &str = "CREATE TABLE messages (id INTEGER PRIMARY KEY, author TEXT, text TEXT); \
    CREATE INDEX by_author ON messages (author)";

fn past(dir: &PathBuf, commits: i64) -> Done {
    let storage = open(dir)?;
    let mut db = storage.database(key(1));
    db.exec(TABLE, &[])?;
    let (mut word, mut bookmarks) = (1, Vec::new());
    for number in 0..commits {
        insert(&mut db, number, &mut word)?;
        bookmarks.push(db.current_bookmark().to_string());
        if number % 2_000 == 1_999 {
            storage.checkpoint()?;
        }
    }
    storage.checkpoint()?;
    let bytes = storage.history().bytes;
    println!(
        "database {} KB, history {} KB in {} packs, {} bytes per commit",
        db.database_size()? >> 10,
        bytes >> 10,
        storage.history().packs,
        bytes / commits as u64
    );
    drop(db);
    let mut times = Vec::new();
    for step in 0..50 {
        let number = (step * 7_919) % commits;
        let start = Instant::now();
        storage.restore(&key(1), &bookmarks[number as usize])?;
        times.push(start.elapsed());
        let mut db = storage.database(key(1));
        let found = db.exec("SELECT count(*) FROM messages", &[])?;
        assert_eq!(found.rows, [[Value::Integer(number + 1)]]);
    }
    times.sort_unstable();
    println!("restore: p50 {:?}, max {:?}", times[25], times[49]);
    Ok(())
}

/// A hundred objects with a table each.
fn crowd(storage: &Storage) -> Result<Vec<Database>, Box<dyn Error>> {
    let mut objects: Vec<Database> = (10..110).map(|n| storage.database(key(n))).collect();
    for db in &mut objects {
        db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)", &[])?;
    }
    Ok(objects)
}

/// A commit of each object; the position behind the last.
fn round(objects: &mut [Database]) -> Result<u64, Box<dyn Error>> {
    let mut end = 0;
    for db in objects {
        db.exec("INSERT INTO t (v) VALUES (randomblob(1500))", &[])?;
        db.end_turn()?;
        end = db.gate().position().off;
    }
    Ok(end)
}

fn recovery(dir: &PathBuf, mib: u64) -> Done {
    let storage = open(dir)?;
    let mut objects = crowd(&storage)?;
    while round(&mut objects)? < mib << 20 {
        while storage.commit()? {}
    }
    drop(objects);
    drop(storage);
    let start = Instant::now();
    drop(open(dir)?);
    println!("recovery of {mib} MiB of log: {:?}", start.elapsed());
    Ok(())
}

fn bound(dir: &PathBuf) -> Done {
    let storage = Storage::open(Options::new(dir))?;
    let mut objects = crowd(&storage)?;
    let (mut most, mut written) = (0, 0);
    while written < 1 << 30 {
        written = round(&mut objects)?;
        let files = std::fs::read_dir(dir.join("log"))?;
        // One may be gone before it was asked.
        let bytes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        most = most.max(bytes.sum::<u64>());
    }
    println!("1 GiB written, the log took {} MiB at most", most >> 20);
    let start = Instant::now();
    storage.close()?;
    println!("an orderly end: {:?}", start.elapsed());
    Ok(())
}

fn main() -> Done {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("a folder is needed")?);
    let commits = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    std::fs::create_dir(&dir)?;
    past(&dir.join("past"), commits)?;
    for mib in [32, 128, 256] {
        recovery(&dir.join(format!("recovery-{mib}")), mib)?;
    }
    bound(&dir.join("bound"))
}
