//! `kill -9` in a loop, under load: the real binary, eight objects, turns that write rows,
//! pairs and an alarm at once, killed at random moments.
//!
//! `DORMOUSE_KILLS=1000` makes the loop longer, `DORMOUSE_SEED` repeats its draws; the
//! moments themselves are as random as the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use dormouse_storage::simulated::Rng;
use serde_json::{Value as Json, json};

use crate::harness::{Answer, Client, Connection, Process, app_folder, eventually, probe, whole};

const KILLS: u64 = 10;
const OBJECTS: usize = 8;
const CLIENTS: usize = 2;
/// In a time that no test lives to see.
const FAR_MS: i64 = 4_000_000_000_000;

/// A turn that the outside knows of: the row it wrote, by whom, and which of theirs it was.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    row: u64,
    client: usize,
    turn: u64,
}

/// What the outside knows of one object.
#[derive(Debug, Default, Clone)]
struct Known {
    acknowledged: Vec<Acknowledged>,
    /// The last turn of each client that was asked for; perhaps without an answer.
    asked: [u64; CLIENTS],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_turn_is_lost_halved_or_moved_by_kill_9() {
    let number = |name, default| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = number("DORMOUSE_SEED", now.expect("after 1970").as_secs());
    println!("DORMOUSE_SEED={seed}");
    let mut rng = Rng(seed);
    let app = app_folder("probe", &probe(), "");
    let data = tempfile::tempdir().expect("a folder");
    let mut known = vec![Known::default(); OBJECTS];
    for _ in 0..number("DORMOUSE_KILLS", KILLS) {
        let mut host = Process::serve(app.path(), data.path(), &[]).await;
        check(&host, &mut known).await;
        work_until_killed(&mut host, &mut known, 10 + rng.below(150)).await;
    }
    let host = Process::serve(app.path(), data.path(), &[]).await;
    check(&host, &mut known).await;
}

/// All clients at once; the host is killed after so many answers, in the middle of others.
async fn work_until_killed(host: &mut Process, known: &mut [Known], answers: u64) {
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for (object, known) in known.iter().enumerate() {
        for client in 0..CLIENTS {
            let next = known.asked[client] + 1;
            // All are connected before one of them can bring the end about.
            let connection = host.connect().await;
            let (host, answered) = ((*host).clone(), answered.clone());
            clients.push(move || work(host, connection, object, client, next, answered));
        }
    }
    let clients: Vec<_> = clients
        .into_iter()
        .map(|work| tokio::spawn(work()))
        .collect();
    eventually("enough answers", async || {
        (answered.load(Ordering::Relaxed) >= answers).then_some(())
    })
    .await;
    host.kill();
    for (number, client) in clients.into_iter().enumerate() {
        let acknowledged = client.await.expect("the client ends");
        let (object, client) = (number / CLIENTS, number % CLIENTS);
        let known = &mut known[object];
        known.asked[client] += acknowledged.len() as u64 + 1;
        known.acknowledged.extend(acknowledged);
    }
}

/// One turn after the other, until the connection breaks.
async fn work(
    host: Client,
    mut connection: Connection,
    object: usize,
    client: usize,
    first: u64,
    answered: Arc<AtomicU64>,
) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let path = format!("/Probe/{object}/run");
    for turn in first.. {
        let body = whole(steps(client, turn).to_string());
        let request = host.request(http::Method::POST, &path, body);
        let answer = match connection.send(request).await {
            Ok(response) => Answer::read(response).await,
            Err(error) => Err(error),
        };
        let Ok(answer) = answer else {
            return acknowledged;
        };
        let row = answer.ran().results[1]["rows"][0][0].clone();
        let row = row.as_u64().expect("a number");
        acknowledged.push(Acknowledged { row, client, turn });
        answered.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// A turn that leaves its mark in four places.
fn steps(client: usize, turn: u64) -> Json {
    json!([
        {"sql": "CREATE TABLE IF NOT EXISTS turns (n INTEGER PRIMARY KEY, client, turn);
            CREATE TABLE IF NOT EXISTS last (client PRIMARY KEY, turn)"},
        {"sql": "INSERT INTO turns (client, turn) VALUES (?, ?) RETURNING n", "params": [client, turn]},
        {"kv_put": client.to_string(), "value": turn},
        {"set_alarm": FAR_MS + turn as i64, "name": client.to_string()},
        {"sql": "INSERT OR REPLACE INTO last VALUES (?, ?)", "params": [client, turn]},
    ])
}

/// Compares each object with what the outside knows of it; what was done without an
/// answer is known from then on.
async fn check(host: &Client, known: &mut [Known]) {
    for (object, known) in known.iter_mut().enumerate() {
        if known.asked == [0; CLIENTS] {
            continue;
        }
        let mut steps = vec![
            json!({"sql": "CREATE TABLE IF NOT EXISTS turns (n INTEGER PRIMARY KEY, client, turn);
                CREATE TABLE IF NOT EXISTS last (client PRIMARY KEY, turn)"}),
            json!({"sql": "SELECT n, client, turn FROM turns ORDER BY n"}),
            json!({"sql": "SELECT client, turn FROM last ORDER BY client"}),
        ];
        for client in 0..CLIENTS {
            steps.push(json!({"kv_get": client.to_string()}));
            steps.push(json!({"get_alarm": client.to_string()}));
        }
        let found = host.run(&object.to_string(), steps.into()).await.results;
        let rows: Vec<[u64; 3]> = read(&found[1]["rows"]);
        let last: Vec<[u64; 2]> = read(&found[2]["rows"]);
        let numbers: Vec<u64> = rows.iter().map(|row| row[0]).collect();
        let whole: Vec<u64> = (1..=rows.len() as u64).collect();
        assert_eq!(numbers, whole, "object {object}: a row is missing");
        for Acknowledged { row, client, turn } in &known.acknowledged {
            let there = rows.get(*row as usize - 1);
            let wanted = [*row, *client as u64, *turn];
            assert_eq!(there, Some(&wanted), "object {object}: acknowledged");
        }
        for client in 0..CLIENTS {
            let own = rows.iter().filter(|row| row[1] == client as u64);
            let turns: Vec<u64> = own.map(|row| row[2]).collect();
            let done = turns.len() as u64;
            let what = format!("object {object}, client {client}");
            let order: Vec<u64> = (1..=done).collect();
            assert_eq!(turns, order, "{what}: its turns in order");
            assert!(done <= known.asked[client], "{what}: nobody asked for it");
            // Half a turn would leave one of the four marks behind.
            let kept = last.iter().find(|row| row[0] == client as u64);
            assert_eq!(kept.map_or(0, |row| row[1]), done, "{what}: its last turn");
            let pair = &found[3 + client * 2]["value"];
            assert_eq!(pair.as_u64().unwrap_or(0), done, "{what}: its pair");
            let alarm = &found[4 + client * 2]["alarm"];
            let set = alarm.as_i64().map_or(0, |at| at - FAR_MS);
            assert_eq!(set, done as i64, "{what}: its alarm");
            known.asked[client] = done;
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(rows: &Json) -> Vec<T> {
    serde_json::from_value(rows.clone()).unwrap_or_else(|error| panic!("{error} in {rows}"))
}
