//! A version holds the whole app: worker, files, certificates; and taking one over cuts
//! nobody off.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dormouse::App;
use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::admin::Operated;
use crate::harness::{
    Answer, Client, Process, World, app, bounded, dormouse, empty, eventually, front, probe,
    probe_app, share_compiled_code,
};

fn write(app: &TempDir, files: &[(&str, &str)]) {
    for (name, text) in files {
        let file = app.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

fn manifest(app: &TempDir, greeting: &str) {
    let text = format!(
        "name = 'probe'\nbuild.component = '{}'\nworker.component = 'front.wasm'\n\
         assets.folder = 'site'\noutgoing.ca = 'ca.pem'\nvars.GREETING = '{greeting}'\n",
        probe().display()
    );
    write(app, &[("dormouse.toml", &text)]);
}

fn certificate() -> String {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    signed.cert.pem()
}

async fn part(host: &Client, path: &str, range: &'static str) -> Answer {
    let mut request = host.request(Method::GET, path, empty());
    request
        .headers_mut()
        .insert("range", range.parse().unwrap());
    Answer::read(host.send(request).await.unwrap())
        .await
        .unwrap()
}

fn served_alone(data: &Path, elsewhere: &Path) -> std::process::Command {
    let mut serve = dormouse();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    serve.arg(data).current_dir(elsewhere);
    serve
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_assets_and_certificates_are_sent_served_and_gone_back_to() {
    let app = tempfile::tempdir().unwrap();
    std::fs::copy(front(), app.path().join("front.wasm")).unwrap();
    write(&app, &[("ca.pem", &certificate())]);
    write(
        &app,
        &[
            ("site/index.html", "<p>one</p>"),
            ("site/css/a.css", "a {}"),
        ],
    );
    write(&app, &[("site/.env", "secret")]);
    manifest(&app, "one");
    let world = Operated::on(app, tempfile::tempdir().unwrap()).await;
    assert_eq!(world.host.get("/").await.text(), "<p>one</p>");

    std::fs::remove_dir_all(world.app.path().join("site/css")).unwrap();
    write(
        &world.app,
        &[("site/index.html", "<p>two</p>"), ("site/new.js", "2")],
    );
    // What serves is what was kept, not what the folder has become.
    assert_eq!(world.host.get("/").await.text(), "<p>one</p>");
    manifest(&world.app, "two");
    let deploy = world.command().arg("deploy").output().unwrap();
    let told = String::from_utf8(deploy.stderr).unwrap();
    // The page, the script and their list; all the rest is there.
    assert!(told.contains("3 of 6 files"), "{told}");
    assert_eq!(world.host.get("/").await.text(), "<p>two</p>");
    assert_eq!(world.host.get("/new.js").await.text(), "2");
    assert_eq!(world.host.get("/var").await.text(), "two");
    assert_ne!(world.host.get("/css/a.css").await.text(), "a {}");
    let range = part(&world.host, "/index.html", "bytes=3-5").await;
    assert_eq!((range.status, range.text()), (206, "two"));
    assert!(!range.header("etag").is_empty());

    let diff = world.cli(&["versions", "diff", "1", "2", "--json"]);
    let diff: Json = serde_json::from_str(&diff).unwrap();
    let names = |list: &Json| -> Vec<String> {
        let files = list.as_array().unwrap().iter();
        files
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&diff["assets"]),
        ["css/a.css", "index.html", "new.js"]
    );
    assert_eq!(
        (&diff["parts"], &diff["classes_added"]),
        (&json!([]), &json!([]))
    );
    let text = world.cli(&["versions", "diff", "1", "2"]);
    assert!(
        text.contains("-vars.GREETING = 'one'") && text.contains("+new.js"),
        "{text}"
    );
    assert!(
        world
            .cli(&["versions", "diff", "2", "2"])
            .contains("do not differ")
    );

    world.cli(&["rollback"]);
    assert_eq!(world.host.get("/").await.text(), "<p>one</p>");
    assert_eq!(world.host.get("/css/a.css").await.text(), "a {}");
    assert_eq!(world.host.get("/var").await.text(), "one");
    // The folder may go: the versions are whole.
    let Operated {
        mut host,
        app,
        data,
        ..
    } = world;
    host.kill();
    drop(app);
    let elsewhere = tempfile::tempdir().unwrap();
    share_compiled_code(data.path()).await;
    let host = Process::start(&mut served_alone(data.path(), elsewhere.path())).await;
    assert_eq!(host.get("/css/a.css").await.text(), "a {}");
    let mut prune = dormouse();
    prune
        .args(["prune", "--keep", "1", "--data"])
        .arg(data.path());
    // What the host before has left says nothing of where this one's admin door is.
    eventually("an admin door that prunes", async || {
        prune.output().unwrap().status.success().then_some(())
    })
    .await;
    assert_eq!(host.get("/css/a.css").await.text(), "a {}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_names_what_was_not_sent_is_refused() {
    let world = Operated::start().await;
    let current = &world.get("/v1/apps/probe/deployments").await["versions"][0];
    let component = current["component"].clone();
    for key in ["assets.folder", "worker.component", "outgoing.ca"] {
        let manifest = format!("name = 'probe'\n{key} = 'site'\n");
        let wish = json!({"manifest": manifest, "component": component});
        let path = "/v1/apps/probe/deployments";
        let refused = world.ask(Method::POST, path, wish).await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(refused.text().contains(key), "{}", refused.text());
    }
}

/// How long a request is at work.
const WAIT: Duration = Duration::from_secs(3);

fn version(name: &str) -> App {
    let mut app = probe_app();
    let vars = &mut app.manifest.vars;
    vars.insert("VERSION".to_owned(), name.to_owned());
    app.manifest.limits.idle_ms = 3_600_000;
    app
}

/// Each count comes once and in order, whatever the code.
async fn count(host: Client, client: u32, stop: Arc<AtomicBool>) -> u64 {
    let name = format!("switch-{client}");
    let steps = json!([
        {"sql": "CREATE TABLE IF NOT EXISTS t (x)"},
        {"sql": "INSERT INTO t VALUES (0)"},
        {"sql": "SELECT count(*) FROM t"},
    ]);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let ran = host.run(&name, steps.clone()).await;
        assert_eq!(ran.results[2]["rows"], json!([[number]]));
    }
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_nothing_fails_sockets_stay_and_what_runs_ends_on_the_old_code() {
    let world = World::start(version("old")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|client| tokio::spawn(count((*world).clone(), client, stop.clone())))
        .collect();
    let url = format!("ws://{}/Sockets/switch/ws", world.address);
    let opened = bounded("a handshake", client_async(&*url, world.tcp().await)).await;
    let (mut socket, _) = opened.unwrap();
    // Twice the wait is less than requests at work have, whose clock it is, too.
    for _ in 0..2 {
        let steps = json!([{"wait_ms": WAIT.as_millis() as u64}, {"var": "VERSION"}]);
        let running = world.start_run("switch-at-work", steps);
        world.until_due(WAIT).await;
        world.host.deploy(version("new")).await.unwrap();
        let after = world.run("switch-after", json!([{"var": "VERSION"}])).await;
        assert_eq!(after.results, [json!({"var": "new"})]);
        world.host.deploy(version("old")).await.unwrap();
        let back = world.run("switch-after", json!([{"var": "VERSION"}])).await;
        assert_eq!(back.results, [json!({"var": "old"})]);
        world.clock.advance(WAIT);
        let ran = running.await.unwrap().ran();
        assert_eq!(ran.results[1], json!({"var": "old"}));
        let said = socket.send(Message::text("here?"));
        bounded("a frame", said).await.unwrap();
        let heard = bounded("an answer", socket.next()).await;
        assert_eq!(heard.unwrap().unwrap(), Message::text("here?"));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

fn worker_version(name: &str) -> App {
    let mut app = app("front", front());
    let vars = &mut app.manifest.vars;
    vars.insert("GREETING".to_owned(), name.to_owned());
    app
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_answers_every_request_while_versions_change() {
    let world = World::start(worker_version("old")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let ask = |host: Client, stop: Arc<AtomicBool>| async move {
        let mut requests = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = host.get("/var").await;
            let known = ["old", "new"].contains(&answer.text());
            assert!(answer.status == 200 && known, "{answer:?}");
            requests += 1;
        }
        requests
    };
    let clients: Vec<_> = (0..3)
        .map(|_| tokio::spawn(ask((*world).clone(), stop.clone())))
        .collect();
    for _ in 0..5 {
        for name in ["new", "old"] {
            world.host.deploy(worker_version(name)).await.unwrap();
            assert_eq!(world.get("/var").await.text(), name);
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}
