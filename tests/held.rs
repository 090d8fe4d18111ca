//! `dormouse dev --test`: a host held by tests in another language, here by Node's.

use std::path::Path;
use std::process::Command;

use crate::harness::{Process, app_folder, dormouse, front, reminder, root};

async fn held(folder: &Path) -> Process {
    let mut dev = dormouse();
    dev.args(["dev", "--test", "--listen", "127.0.0.1:0"]);
    let host = Process::start(dev.arg(folder)).await;
    // The admin door opens last.
    host.until_said("Watching").await;
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_of_node_move_time_crash_the_host_and_make_up_the_outside() {
    let reminder = app_folder("reminder", &reminder(), "");
    let front = app_folder("front", &front(), "outgoing.hosts = ['api.example.com']");
    let _hosts = [held(reminder.path()).await, held(front.path()).await];
    let data = |folder: &Path| folder.join(".dormouse/test");
    let script = root().join("tests/web/held.test.mjs");
    let node = tokio::task::spawn_blocking(move || {
        let mut node = Command::new("node");
        node.args(["--test", "--test-reporter=tap"]).arg(script);
        node.env("REMINDER", data(reminder.path()));
        node.env("FRONT", data(front.path()));
        node.output().expect("Node 20 or newer is installed")
    });
    let output = node.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("# pass 4"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_serves_in_earnest_is_not_held() {
    let app = app_folder("reminder", &reminder(), "");
    let data = tempfile::tempdir().unwrap();
    let host = Process::serve(app.path(), data.path(), &[]).await;
    let local = data.path().join("admin/local.json");
    let door = crate::harness::eventually("the admin door", async || std::fs::read(&local).ok());
    let door: serde_json::Value = serde_json::from_slice(&door.await).unwrap();
    let url = door["url"].as_str().unwrap().trim_start_matches("http://");
    let admin = crate::harness::Client {
        address: url.parse().unwrap(),
    };
    let path = "/v1/apps/reminder/test/advance";
    let mut request = admin.request(
        http::Method::POST,
        path,
        crate::harness::whole("{\"ms\": 1}"),
    );
    let headers = request.headers_mut();
    let token = format!("Bearer {}", door["token"].as_str().unwrap());
    headers.insert("authorization", token.parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let refused = crate::harness::Answer::read(admin.send(request).await.unwrap()).await;
    let refused = refused.unwrap();
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("dormouse dev --test"),
        "{refused:?}"
    );
    drop(host);
}
