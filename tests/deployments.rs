//! Versions over the network: sent, checked, switched, gone back to, kept over a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::{Value as Json, json};

use crate::admin::Operated;
use crate::harness::{Client, Process, counter, dormouse, eventually, probe, share_compiled_code};

/// The same component with other words in it.
fn other_probe(folder: &Path, word: &str) -> PathBuf {
    const OLD: &[u8] = b"not broken\n";
    let mut wasm = std::fs::read(probe()).unwrap();
    let at = wasm
        .windows(OLD.len())
        .position(|part| part == OLD)
        .unwrap();
    let new = format!("{word:<10}\n");
    wasm[at..at + OLD.len()].copy_from_slice(new.as_bytes());
    let file = folder.join(format!("{word}.wasm"));
    std::fs::write(&file, wasm).unwrap();
    file
}

impl Operated {
    async fn word(&self, object: &str) -> String {
        let answer = self.host.get(&format!("/Broken/{object}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().trim().to_owned()
    }

    fn deploy(&self, component: &Path, more: &[&str]) -> Json {
        let mut args = vec![
            "deploy",
            component.to_str().unwrap(),
            "--app",
            "probe",
            "--json",
        ];
        args.extend(more);
        serde_json::from_str(&self.cli(&args)).unwrap()
    }

    fn deploy_refused(&self, component: &Path, more: &[&str]) -> String {
        let mut command = self.command();
        command
            .arg("deploy")
            .arg(component)
            .args(["--app", "probe"])
            .args(more);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_sent_served_and_gone_back_to() {
    let world = Operated::start().await;
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(world.word("a").await, "not broken");
    world
        .host
        .run("kept", json!([{"sql": "CREATE TABLE t (x)"}]))
        .await;

    let two = other_probe(folder.path(), "second");
    let planned = world.deploy(&two, &["--plan"]);
    assert_eq!(
        (&planned["version"], &planned["from"]),
        (&Json::Null, &json!(1))
    );
    assert_eq!(world.word("a").await, "not broken");
    let deployed = world.deploy(&two, &["--note", "other words"]);
    assert_eq!(
        (&deployed["version"], &deployed["from"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(world.word("a").await, "second");
    // State is kept.
    let ran = world
        .host
        .run("kept", json!([{"sql": "INSERT INTO t VALUES (1)"}]))
        .await;
    assert_eq!(ran.results[0]["rows_written"], 1, "{:?}", ran.all);

    let versions: Json = serde_json::from_str(&world.cli(&["versions", "--json"])).unwrap();
    assert_eq!(versions["current"], 2);
    let listed = versions["versions"].as_array().unwrap();
    let seen: Vec<_> = listed
        .iter()
        .map(|one| (&one["version"], &one["by"], &one["note"]))
        .collect();
    let expected = [
        (&json!(2), &json!("this machine"), &json!("other words")),
        (&json!(1), &json!("command line"), &json!("")),
    ];
    assert_eq!(seen, expected);

    world.cli(&["rollback"]);
    assert_eq!(world.word("a").await, "not broken");
    world.cli(&["rollback", "2"]);
    assert_eq!(world.word("a").await, "second");
    let again = world.deploy(&two, &[]);
    assert_eq!(
        (&again["unchanged"], &again["version"]),
        (&json!(true), &json!(3))
    );
    let pruned: Json =
        serde_json::from_str(&world.cli(&["prune", "--keep", "1", "--json"])).unwrap();
    assert_eq!(pruned["versions"], json!([1, 2]));
    assert!(
        world
            .deploy_refused(Path::new("none.wasm"), &[])
            .contains("none.wasm")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deployed_is_served_after_a_restart() {
    let mut world = Operated::start().await;
    let folder = tempfile::tempdir().unwrap();
    world.deploy(&other_probe(folder.path(), "second"), &[]);
    for kill in [false, true] {
        if kill {
            world.host.kill();
        } else {
            world.host.terminate();
            assert!(world.host.ended().await.success());
        }
        let Operated { app, data, .. } = world;
        world = Operated::on(app, data).await;
        assert_eq!(world.word("a").await, "second", "killed: {kill}");
    }
    // A new build, named at the start, is another version.
    let third = other_probe(folder.path(), "third");
    let manifest = format!("name = 'probe'\nbuild.component = '{}'\n", third.display());
    std::fs::write(world.app.path().join("dormouse.toml"), manifest).unwrap();
    world.host.kill();
    let Operated { app, data, .. } = world;
    let world = Operated::on(app, data).await;
    assert_eq!(world.word("a").await, "third");
    world.cli(&["rollback"]);
    assert_eq!(world.word("a").await, "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_served_changes_nothing() {
    let world = Operated::start().await;
    let folder = tempfile::tempdir().unwrap();
    world
        .host
        .run("there", json!([{"sql": "CREATE TABLE t (x)"}]))
        .await;
    let broken = folder.path().join("broken.wasm");
    std::fs::write(&broken, "no component").unwrap();
    let told = world.deploy_refused(&broken, &[]);
    assert!(told.contains("does not begin like WebAssembly"), "{told}");
    let told = world.deploy_refused(&counter(), &[]);
    assert!(
        told.contains("Probe") && told.contains("--remove-classes"),
        "{told}"
    );

    let digest = "0".repeat(64);
    let path = "/v1/apps/probe/deployments";
    let answer = world
        .ask(Method::POST, path, json!({"component": digest}))
        .await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    let blob = format!("/v1/apps/probe/blobs/{digest}");
    assert_eq!(
        world
            .ask(Method::PUT, &blob, json!("other bytes"))
            .await
            .status,
        422
    );

    let two = other_probe(folder.path(), "second");
    let sent = world.deploy(&two, &["--plan"]);
    assert_eq!(sent["version"], Json::Null);
    let wish = |manifest: &str| {
        let component = world_digest(&two);
        json!({"component": component, "manifest": manifest})
    };
    for (manifest, part) in [
        (
            "name = 'probe'\ncolour = 1\n[limits]\ncpu_ms = -1\n",
            "2:1: unknown key `colour`",
        ),
        (
            "name = 'probe'\ncolour = 1\n[limits]\ncpu_ms = -1\n",
            "4:10: `limits.cpu_ms`",
        ),
        ("name = 'another'\n", "another"),
    ] {
        let answer = world.ask(Method::POST, path, wish(manifest)).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains(part), "{part}: {}", answer.text());
    }
    assert_eq!(world.word("a").await, "not broken");
    assert_eq!(world.get(path).await["current"], 1);

    let removed = world.deploy(&counter(), &["--remove-classes"]);
    assert_eq!(removed["added"], json!(["Counter"]));
    assert_eq!(world.host.get("/Counter/new").await.text(), "1\n");
    world.cli(&["rollback"]);
    let ran = world
        .host
        .run("there", json!([{"sql": "INSERT INTO t VALUES (1)"}]))
        .await;
    assert_eq!(ran.results[0]["rows_written"], 1);
}

fn world_digest(file: &Path) -> String {
    use sha2::Digest as _;
    let sum = sha2::Sha256::digest(std::fs::read(file).unwrap());
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn going_back_under_load_fails_no_request() {
    let world = Operated::start().await;
    let folder = tempfile::tempdir().unwrap();
    world.deploy(&other_probe(folder.path(), "second"), &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (client, stop) = ((*world.host).clone(), stop.clone());
            tokio::spawn(load(client, number, stop))
        })
        .collect();
    for version in [1, 2, 1, 2, 1] {
        let body = json!({"version": version});
        let answer = world
            .ask(Method::POST, "/v1/apps/probe/rollback", body)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let word = if version == 1 { "not broken" } else { "second" };
        assert_eq!(world.word("watched").await, word);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let requests = client.await.unwrap();
        assert!(requests > 0);
    }
    eventually("the record of it", async || {
        let log = world.host.log();
        let told = log
            .iter()
            .filter(|record| record["message"] == "rolled back");
        (told.count() == 5).then_some(())
    })
    .await;
}

/// One request after the other; each count comes once and in order, whatever the code.
async fn load(host: Client, client: u32, stop: Arc<AtomicBool>) -> u64 {
    let name = format!("load-{client}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_host_waits_for_its_first_deployment() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::create_dir(&data).unwrap();
    share_compiled_code(&data).await;
    let serve = |more: &[&str]| {
        let mut serve = dormouse();
        serve.args(["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
        serve.args(more).current_dir(home.path());
        serve
    };
    let output = serve(&["--admin", "off"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("nothing has been deployed"), "{told}");

    // The first address it tells is that of its admin door.
    let mut host = Process::start(&mut serve(&[])).await;
    host.until_said("Waiting").await;
    let ready = host.get("/health/ready").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert_eq!(host.get("/v1/apps").await.status, 401);
    host.get("/anything").await.json();
    let deploy = |component: &Path, more: &[&str]| {
        let mut deploy = dormouse();
        deploy
            .args(["deploy", "--data", "data"])
            .arg(component)
            .args(more);
        deploy.current_dir(home.path()).output().unwrap()
    };
    let broken = home.path().join("broken.wasm");
    std::fs::write(&broken, "no component").unwrap();
    assert_eq!(deploy(&broken, &[]).status.code(), Some(1));
    assert!(deploy(&counter(), &["--plan"]).status.success());
    let deployed = deploy(&counter(), &[]);
    assert!(deployed.status.success(), "{deployed:?}");
    let address = eventually("the public door", async || {
        let lines = host.stdout();
        let line = lines.iter().find(|line| line.contains("Serving"))?;
        line.split("http://").nth(1).map(str::to_owned)
    })
    .await;
    let public = Client {
        address: address.parse().unwrap(),
    };
    assert_eq!(public.get("/Counter/first").await.text(), "1\n");
    host.terminate();
    assert!(host.ended().await.success());
    let again = Process::start(&mut serve(&[])).await;
    assert_eq!(again.get("/Counter/first").await.text(), "2\n");
}
