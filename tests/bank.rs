//! The obvious code moves money between objects and loses none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Answer, Client, Process, app_folder, bank, empty, eventually};

const ACCOUNTS: [&str; 4] = ["ada", "bob", "cy", "dee"];
const EACH: i64 = 10_000;
const ROUNDS: usize = 3;
const TRANSFERS_PER_ROUND: usize = 60;

async fn serve(data: &std::path::Path) -> Process {
    let app = app_folder("bank", &bank(), "namespaces.ACCOUNTS = 'Account'");
    Process::serve(app.path(), data, &[]).await
}

async fn balance(host: &Client, account: &str) -> i64 {
    let answer = host.get(&format!("/Account/{account}/")).await;
    answer.text().trim().parse().expect("a balance")
}

async fn total(host: &Client) -> i64 {
    let mut total = 0;
    for account in ACCOUNTS {
        total += balance(host, account).await;
    }
    total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_arrives_and_what_is_not_there_cannot_be_sent() {
    let data = tempfile::tempdir().unwrap();
    let host = serve(data.path()).await;
    host.post("/Account/ada/deposit?cents=500", "").await;
    let sent = host
        .post("/Account/ada/transfer?to=bob&cents=200", "")
        .await;
    assert_eq!((sent.status, sent.text()), (200, "300\n"));
    assert_eq!(balance(&host, "bob").await, 200);
    let declined = host
        .post("/Account/ada/transfer?to=bob&cents=301", "")
        .await;
    let wanted = (409, "there are only 300 cents\n");
    assert_eq!((declined.status, declined.text()), wanted);
    let declined = host.post("/Account/ada/transfer?to=bob&cents=-1", "").await;
    assert_eq!(declined.status, 409);
    assert_eq!(balance(&host, "ada").await, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cent_is_lost_or_made_by_kill_9() {
    let data = tempfile::tempdir().unwrap();
    let mut host = serve(data.path()).await;
    for account in ACCOUNTS {
        host.post(&format!("/Account/{account}/deposit?cents={EACH}"), "")
            .await;
    }
    for _ in 0..ROUNDS {
        transfer_until_killed(&mut host).await;
        host = serve(data.path()).await;
    }
    // What was under way is paid by the alarms.
    let all = EACH * ACCOUNTS.len() as i64;
    eventually("the whole sum", async || {
        let total = total(&host).await;
        assert!(total <= all, "{total} cents of {all}");
        (total == all).then_some(())
    })
    .await;
}

/// Sends money round and round, and kills the host in the middle of it.
async fn transfer_until_killed(host: &mut Process) {
    let sent = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..ACCOUNTS.len())
        .map(|nth| tokio::spawn(transfer((*host).clone(), nth, sent.clone())))
        .collect();
    eventually("enough transfers", async || {
        (sent.load(Ordering::Relaxed) >= TRANSFERS_PER_ROUND).then_some(())
    })
    .await;
    host.kill();
    for client in clients {
        client.await.expect("the client ends");
    }
}

/// Until the connection breaks.
async fn transfer(host: Client, nth: usize, sent: Arc<AtomicUsize>) {
    let mut connection = host.connect().await;
    let to = ACCOUNTS[(nth + 1) % ACCOUNTS.len()];
    let path = format!("/Account/{}/transfer?to={to}&cents=7", ACCOUNTS[nth]);
    loop {
        let request = host.request(http::Method::POST, &path, empty());
        let answer = match connection.send(request).await {
            Ok(response) => Answer::read(response).await,
            Err(error) => Err(error),
        };
        let Ok(answer) = answer else {
            return;
        };
        assert!(matches!(answer.status, 200 | 409), "{}", answer.text());
        sent.fetch_add(1, Ordering::Relaxed);
    }
}
