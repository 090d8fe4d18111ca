//! The counter counts, and its counts outlive `kill -9`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Client, Process, app_folder, counter, empty, eventually};

const ROUNDS: usize = 4;
const CLIENTS: usize = 8;
const COUNTS_PER_ROUND: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counter_counts_up_and_other_names_count_apart() {
    let app = app_folder("counter", &counter(), "");
    let data = tempfile::tempdir().unwrap();
    let host = Process::serve(app.path(), data.path(), &[]).await;
    let mut answers = Vec::new();
    for name in ["alice", "alice", "bob", "alice"] {
        let answer = host.get(&format!("/Counter/{name}")).await;
        answers.push((answer.status, answer.text().to_owned()));
    }
    assert_eq!(
        answers,
        ["1\n", "2\n", "1\n", "3\n"].map(|text| (200, text.to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_count_is_lost_or_repeated_by_kill_9() {
    let app = app_folder("counter", &counter(), "");
    let data = tempfile::tempdir().unwrap();
    let mut all = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut host = Process::serve(app.path(), data.path(), &[]).await;
        let acknowledged = count_until_killed(&mut host).await;
        // What was counted but not acknowledged may stay: one for each client.
        let next = all.last().copied().unwrap_or(0) + 1;
        let first = acknowledged.iter().min().copied().expect("some counts");
        let gap = next..=next + CLIENTS as u64;
        assert!(
            gap.contains(&first),
            "round {round}: {first} is not in {gap:?}"
        );
        for count in acknowledged {
            assert!(all.insert(count), "round {round}: {count} twice");
        }
    }
    let missing = *all.last().expect("some counts") - all.len() as u64;
    assert!(
        missing <= (ROUNDS * CLIENTS) as u64,
        "{missing} are missing in {all:?}"
    );
}

/// Counts with several clients at once and kills the host in the middle of it.
async fn count_until_killed(host: &mut Process) -> Vec<u64> {
    let counted = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(count((*host).clone(), counted.clone())))
        .collect();
    eventually("enough counts", async || {
        (counted.load(Ordering::Relaxed) >= COUNTS_PER_ROUND).then_some(())
    })
    .await;
    host.kill();
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.expect("the client ends"));
    }
    acknowledged
}

/// What one client got, until the connection breaks.
async fn count(host: Client, counted: Arc<AtomicUsize>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut connection = host.connect().await;
    loop {
        let request = host.request(http::Method::POST, "/Counter/alice", empty());
        let answer = match connection.send(request).await {
            Ok(response) => crate::harness::Answer::read(response).await,
            Err(error) => Err(error),
        };
        let Ok(answer) = answer else {
            return acknowledged;
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        acknowledged.push(answer.text().trim().parse().expect("a count"));
        counted.fetch_add(1, Ordering::Relaxed);
    }
}
