//! Measures the commit path against stock SQLite with `synchronous=FULL`.
//!
//! `cargo run --release -p dormouse-storage --example commit_path -- [folder] [rounds]`.
//! Variants alternate within one run; the numbers of one run compare, absolute ones belong
//! to the machine. Workload: update of one 100-byte row by key, statement cached.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dormouse_storage::{Database, ObjectKey, Options, Storage, Ticket, Value};

const RUN: Duration = Duration::from_secs(2);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("dormouse-bench");
    let rounds = arguments.next().map_or(3, |text| text.parse().unwrap());
    println!("| variant | objects | in flight | commits/s | p50 µs | p99 µs | CPU µs/commit |");
    println!("|---|---|---|---|---|---|---|");
    for (objects, in_flight) in [(1, 1), (1, 64), (100, 64), (1000, 1), (1000, 64)] {
        if rounds == 0 {
            break;
        }
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            runs[0].push(measure(&root, |dir| stock(dir, objects, in_flight)));
            runs[1].push(measure(&root, |dir| own(dir, objects, in_flight)));
        }
        for (name, mut results) in ["FULL per object", "dormouse"].into_iter().zip(runs) {
            results.sort_by(|a, b| a.rate.total_cmp(&b.rate));
            let Run {
                rate,
                p50,
                p99,
                cpu,
            } = results[results.len() / 2];
            println!(
                "| {name} | {objects} | {in_flight} | {rate:.0} | {p50:.0} | {p99:.0} | {cpu:.1} |"
            );
        }
    }
    measure(&root, turns);
    measure(&root, sleepers);
    measure(&root, residents);
    measure(&root, recovery);
}

/// Runs in a fresh folder.
fn measure<T>(root: &Path, run: impl FnOnce(&Path) -> T) -> T {
    let _ = std::fs::remove_dir_all(root);
    std::fs::create_dir_all(root).unwrap();
    let result = run(root);
    std::fs::remove_dir_all(root).unwrap();
    result
}

#[derive(Debug, Clone, Copy)]
struct Run {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

impl Run {
    fn new(mut latencies: Vec<Duration>, wall: Duration, cpu: Duration) -> Run {
        latencies.sort_unstable();
        let at = |part: usize| latencies[latencies.len() * part / 100].as_secs_f64() * 1e6;
        let count = latencies.len() as f64;
        Run {
            rate: count / wall.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            cpu: cpu.as_secs_f64() * 1e6 / count,
        }
    }
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    cpu_time_of("/proc/self/stat")
}

fn cpu_time_of(stat: &str) -> Duration {
    let stat = std::fs::read_to_string(stat).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn key(number: usize) -> ObjectKey {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    ObjectKey {
        namespace: "bench".into(),
        id,
        name: None,
    }
}

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)";
const UPDATE: &str = "UPDATE t SET v = ? WHERE id = 1";

fn text(number: usize) -> String {
    format!("{number:0100}")
}

fn prepared(storage: &Storage, number: usize) -> Database {
    let mut db = storage.database(key(number));
    db.exec(SCHEMA, &[]).unwrap();
    db.exec("INSERT INTO t VALUES (1, ?)", &[Value::Text(text(0))])
        .unwrap();
    db.end_turn().unwrap();
    db
}

fn turn(db: &mut Database, number: usize) -> Ticket {
    db.exec(UPDATE, &[Value::Text(text(number))]).unwrap();
    db.end_turn().unwrap();
    db.gate()
}

/// One thread runs turns; up to `in_flight` of them wait for their gates.
fn own(dir: &Path, objects: usize, in_flight: usize) -> Run {
    let storage = Storage::open(Options::new(dir)).unwrap();
    let mut databases: Vec<Database> = (0..objects)
        .map(|number| prepared(&storage, number))
        .collect();
    databases.iter().for_each(|db| db.gate().wait().unwrap());
    let (mut waiting, mut latencies) = (VecDeque::new(), Vec::new());
    let (start, cpu) = (Instant::now(), cpu_time());
    for number in 0.. {
        if start.elapsed() > RUN {
            break;
        }
        while waiting
            .front()
            .is_some_and(|(_, ticket): &(Instant, Ticket)| {
                ticket.is_open() || waiting.len() >= in_flight
            })
        {
            let (began, ticket) = waiting.pop_front().unwrap();
            ticket.wait().unwrap();
            latencies.push(began.elapsed());
        }
        let began = Instant::now();
        let db = &mut databases[number % objects];
        waiting.push_back((began, turn(db, number)));
    }
    Run::new(latencies, start.elapsed(), cpu_time() - cpu)
}

/// As many threads as are in flight, each syncing its own commit.
fn stock(dir: &Path, objects: usize, in_flight: usize) -> Run {
    let open = |number: usize| {
        let db = rusqlite::Connection::open(dir.join(format!("{number}.db"))).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE",
        )
        .unwrap();
        db.execute_batch(SCHEMA).unwrap();
        db.execute("INSERT INTO t VALUES (1, ?)", [text(0)])
            .unwrap();
        db.execute_batch("PRAGMA synchronous=FULL").unwrap();
        Mutex::new(db)
    };
    let databases: Vec<_> = (0..objects).map(open).collect();
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (start, cpu) = (Instant::now(), cpu_time());
    thread::scope(|scope| {
        for _ in 0..in_flight {
            scope.spawn(|| {
                let mut latencies = Vec::new();
                while start.elapsed() < RUN {
                    let (began, number) = (Instant::now(), next.fetch_add(1, Ordering::Relaxed));
                    let db = databases[number % objects].lock().unwrap();
                    db.prepare_cached(UPDATE)
                        .unwrap()
                        .execute([text(number)])
                        .unwrap();
                    latencies.push(began.elapsed());
                }
                all.lock().unwrap().extend(latencies);
            });
        }
    });
    Run::new(all.into_inner().unwrap(), start.elapsed(), cpu_time() - cpu)
}

/// Processor time of a turn alone.
fn turns(dir: &Path) {
    let storage = Storage::open(Options::new(dir)).unwrap();
    let mut db = prepared(&storage, 0);
    for (name, sql) in [
        ("update of one row", UPDATE),
        (
            "read of one row",
            "SELECT v FROM t WHERE id = 1 AND ? <> ''",
        ),
    ] {
        let (count, start) = (200_000, cpu_time_of("/proc/thread-self/stat"));
        for number in 0..count {
            db.exec(sql, &[Value::Text(text(number))]).unwrap();
            db.end_turn().unwrap();
        }
        let used = cpu_time_of("/proc/thread-self/stat") - start;
        println!(
            "{name}: {:.2} µs of its thread's processor time a turn",
            used.as_secs_f64() * 1e6 / count as f64
        );
    }
}

/// Wake, write one row, sleep.
fn sleepers(dir: &Path) {
    let storage = Storage::open(Options::new(dir)).unwrap();
    let began = Instant::now();
    (0..1000).for_each(|number| drop(prepared(&storage, number)));
    println!(
        "create with a table and a row, sleep: {:.0} µs",
        began.elapsed().as_secs_f64() * 1e3
    );
    storage.checkpoint().unwrap();
    let mut latencies = Vec::new();
    for number in 0..1000 {
        let began = Instant::now();
        let mut db = storage.database(key(number * 37 % 1000));
        drop(turn(&mut db, number));
        drop(db);
        latencies.push(began.elapsed());
    }
    let Run { p50, p99, .. } = Run::new(latencies, Duration::from_secs(1), Duration::ZERO);
    println!("wake from the file, write, sleep: p50 {p50:.0} µs, p99 {p99:.0} µs");
}

/// Memory of an object that is awake after one read.
fn residents(dir: &Path) {
    let storage = Storage::open(Options::new(dir)).unwrap();
    (0..2000).for_each(|number| drop(prepared(&storage, number)));
    storage.checkpoint().unwrap();
    let before = resident_kb();
    let mut awake: Vec<Database> = (0..2000)
        .map(|number| storage.database(key(number)))
        .collect();
    for db in &mut awake {
        db.exec("SELECT v FROM t WHERE id = 1", &[]).unwrap();
    }
    let read = resident_kb();
    for (number, db) in awake.iter_mut().enumerate() {
        drop(turn(db, number));
    }
    let wrote = resident_kb();
    let each = |kb: u64| kb.saturating_sub(before) as f64 / awake.len() as f64;
    println!(
        "awake object: {:.0} KB after a read, {:.0} KB after a write",
        each(read),
        each(wrote)
    );
}

/// Redo of a log that no checkpoint has seen.
fn recovery(dir: &Path) {
    let options = Options {
        checkpoint_bytes: 1 << 40,
        overlay_bytes: 1 << 40,
        ..Options::new(dir)
    };
    let storage = Storage::open(options.clone()).unwrap();
    let mut databases: Vec<Database> = (0..1000).map(|number| prepared(&storage, number)).collect();
    for number in 0..100_000 {
        let db = &mut databases[number % 1000];
        let blob: Vec<u8> = (0..2000)
            .map(|at| (number * 31 + at * 17 + at * at / 7) as u8)
            .collect();
        db.exec("INSERT INTO t (v) VALUES (?)", &[Value::Blob(blob)])
            .unwrap();
        db.end_turn().unwrap();
    }
    databases.last().unwrap().gate().wait().unwrap();
    let bytes = databases
        .iter()
        .map(|db| db.gate().position().off)
        .max()
        .unwrap();
    drop(databases);
    drop(storage);
    let began = Instant::now();
    drop(Storage::open(options).unwrap());
    println!(
        "recovery of {} MB of log: {:.2} s",
        bytes >> 20,
        began.elapsed().as_secs_f64()
    );
}
