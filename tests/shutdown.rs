//! SIGTERM ends the host in order: what is at work finishes, state stays.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{Process, app_folder, counter, dormouse, eventually, probe};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_finishes_and_the_exit_code_is_0() {
    let app = app_folder("probe", &probe(), "");
    let data = tempfile::tempdir().unwrap();
    let mut host = Process::serve(app.path(), data.path(), &[]).await;
    let steps = json!([
        {"sql": "CREATE TABLE t (x)"},
        {"log": {"level": "info", "message": "at work"}},
        {"wait_ms": 1000},
        {"sql": "INSERT INTO t VALUES (7)"},
    ]);
    let running = host.start_run("last", steps);
    host.until_said("at work").await;
    host.terminate();
    let address = host.address;
    eventually("a closed door", async || {
        TcpStream::connect(address).await.err()
    })
    .await;
    running.await.unwrap().ran();
    assert_eq!(host.ended().await.code(), Some(0));

    let host = Process::serve(app.path(), data.path(), &[]).await;
    let ran = host.run("last", json!([{"sql": "SELECT x FROM t"}])).await;
    assert_eq!(ran.results[0]["rows"], json!([[7]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_end_is_cut_off_within_the_bound() {
    let app = app_folder("probe", &probe(), "");
    let data = tempfile::tempdir().unwrap();
    let more = ["--shutdown-timeout", "0.5"];
    let mut host = Process::serve(app.path(), data.path(), &more).await;
    let address = host.address;
    let client = (*host).clone();
    let endless = tokio::spawn(async move {
        let steps = json!([{"log": {"level": "info", "message": "at work"}}, {"hold": "x"}]);
        let body = crate::harness::whole(steps.to_string());
        let request = client.request(http::Method::POST, "/Probe/endless/run", body);
        client.send(request).await.map(|response| response.status())
    });
    host.until_said("at work").await;
    let began = Instant::now();
    host.terminate();
    assert_eq!(host.ended().await.code(), Some(0));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(endless.await.unwrap().is_err(), "no answer was made up");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_does_not_hold_the_end_up() {
    let app = app_folder("counter", &counter(), "");
    let data = tempfile::tempdir().unwrap();
    let mut host = Process::serve(app.path(), data.path(), &[]).await;
    let mut kept = host.connect().await;
    let request = host.request(http::Method::GET, "/Counter/idle", crate::harness::empty());
    let answer = crate::harness::Answer::read(kept.send(request).await.unwrap()).await;
    assert_eq!(answer.unwrap().text(), "1\n");
    let silent = host.tcp().await;
    let began = Instant::now();
    host.terminate();
    assert_eq!(host.ended().await.code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    drop((kept, silent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_in_use_is_refused_and_free_after_a_kill() {
    let app = app_folder("counter", &counter(), "");
    let data = tempfile::tempdir().unwrap();
    let mut host = Process::serve(app.path(), data.path(), &[]).await;
    let mut second = dormouse();
    second
        .arg("serve")
        .arg(app.path())
        .args(["--listen", "127.0.0.1:0"]);
    let output = second.arg("--data").arg(data.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("in use by another process"), "{stderr}");
    assert_eq!(host.get("/Counter/owner").await.text(), "1\n");
    host.kill();
    let host = Process::serve(app.path(), data.path(), &[]).await;
    assert_eq!(host.get("/Counter/owner").await.text(), "2\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_an_error_that_names_the_way_out() {
    let app = app_folder("counter", &counter(), "");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut serve = dormouse();
    serve
        .arg("serve")
        .arg(app.path())
        .args(["--listen", &address]);
    let output = serve.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains(&address) && stderr.contains("--listen"),
        "{stderr}"
    );
}
