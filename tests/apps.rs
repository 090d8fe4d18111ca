//! Several apps on one host: told apart by name and path, each with data of its own;
//! made, paused and deleted while the others go on.

use std::path::{Path, PathBuf};

use http::{Method, header};
use serde_json::{Value as Json, json};

use crate::admin::{Operated, refused};
use crate::harness::{
    Answer, Body, Client, Process, bounded, dormouse, empty, eventually, probe,
    share_compiled_code, whole,
};

/// A request to this name of a host.
pub(crate) async fn ask_at(
    client: &Client,
    host: &str,
    method: Method,
    path: &str,
    body: Body,
) -> Answer {
    let mut request = client.request(method, path, body);
    let headers = request.headers_mut();
    headers.insert(header::HOST, host.parse().unwrap());
    let answer = async { Answer::read(client.send(request).await?).await };
    bounded("an answer", answer).await.unwrap()
}

impl Operated {
    async fn at(&self, host: &str, path: &str) -> Answer {
        ask_at(&self.host, host, Method::GET, path, empty()).await
    }

    /// Steps for a probe of the app that is reached by this name.
    async fn run_at(&self, host: &str, path: &str, steps: &Json) -> Json {
        let body = whole(steps.to_string());
        ask_at(&self.host, host, Method::POST, path, body)
            .await
            .ran()
            .all
    }

    /// Makes an app and deploys the probe to it.
    fn with_app(&self, name: &str, routes: &[&str], manifest: &str) {
        let mut create = vec!["app", "create", name];
        create.extend(routes);
        self.cli(&create);
        self.deploy_to(name, manifest);
    }

    fn deploy_to(&self, name: &str, manifest: &str) {
        let folder = crate::harness::app_folder(name, &probe(), manifest);
        let folder = folder.path().to_str().unwrap();
        self.cli(&["deploy", folder, "--app", name, "--no-build"]);
    }

    fn apps(&self) -> Vec<Json> {
        let list: Json = serde_json::from_str(&self.cli(&["app", "list", "--json"])).unwrap();
        list.as_array().unwrap().clone()
    }

    /// Ends the host at once and starts it again.
    async fn again(mut self) -> Self {
        self.host.kill();
        let Self { app, data, .. } = self;
        Self::on(app, data).await
    }
}

/// Every file in a folder, but what is linked from elsewhere.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file()
            // The host may have taken one away meanwhile.
            && let Ok(bytes) = std::fs::read(entry.path())
        {
            found.push((entry.path(), bytes));
        }
    }
    found
}

fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let holds = |bytes: &[u8]| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    let all = files(folder).into_iter();
    all.filter(|(_, bytes)| holds(bytes))
        .map(|(path, _)| path)
        .collect()
}

fn detail(answer: &Answer, status: u16, kind: &str) -> String {
    answer.problem(status, kind)["detail"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_told_apart_by_name_and_by_path() {
    let world = Operated::start().await;
    let shop_routes = ["--host", "Shop.test", "--host", "*.shop.test"];
    world.with_app("shop", &shop_routes, "vars.GREETING = 'shop'");
    world.with_app("blog", &["--path", "/blog"], "vars.GREETING = 'blog'");
    let steps = json!([{"memory": "incr"}, {"var": "GREETING"}]);
    for (host, path, var, url) in [
        (
            "localhost",
            "/Probe/a/run",
            Json::Null,
            "http://localhost/run",
        ),
        (
            "shop.test",
            "/Probe/a/run",
            json!("shop"),
            "http://shop.test/run",
        ),
        (
            "x.y.SHOP.test:80",
            "/Probe/b/run",
            json!("shop"),
            "http://x.y.SHOP.test:80/run",
        ),
        (
            "localhost",
            "/blog/Probe/a/run?q=1",
            json!("blog"),
            "http://localhost/run?q=1",
        ),
        // A name wins over a path.
        (
            "shop.test",
            "/Probe/c/run",
            json!("shop"),
            "http://shop.test/run",
        ),
    ] {
        let ran = world.run_at(host, path, &steps).await;
        // Each is another object, though class and name are the same.
        assert_eq!(ran["results"][0], json!({"memory": 1}), "{host}{path}");
        assert_eq!(ran["results"][1]["var"], var, "{host}{path}");
        assert_eq!(ran["seen"]["url"], url);
        let prefix = json!(["x-forwarded-prefix", "/blog"]);
        let headers = ran["seen"]["headers"].as_array().unwrap();
        assert_eq!(
            headers.contains(&prefix),
            path.starts_with("/blog"),
            "{headers:?}"
        );
    }
    let elsewhere = world.at("shop.test", "/blog/Probe/a").await;
    elsewhere.problem(404, "unknown-class");
    let beside = world.at("localhost", "/blogs/a").await;
    beside.problem(404, "unknown-class");

    let taken = refused(
        world
            .command()
            .args(["app", "create", "a", "--host", "shop.test"]),
    );
    assert!(
        taken.contains("leads to the app \"shop\" already"),
        "{taken}"
    );
    let taken = refused(
        world
            .command()
            .args(["app", "route", "shop", "--path", "/blog"]),
    );
    assert!(
        taken.contains("/blog leads to the app \"blog\" already"),
        "{taken}"
    );
    let wrong = refused(
        world
            .command()
            .args(["app", "create", "a", "--host", "http://a"]),
    );
    assert!(wrong.contains("is no name of a host"), "{wrong}");
    let exists = refused(world.command().args(["app", "create", "probe"]));
    assert!(
        exists.contains("there is an app \"probe\" already"),
        "{exists}"
    );
    let main = refused(
        world
            .command()
            .args(["app", "route", "probe", "--path", "/p"]),
    );
    assert!(main.contains("answers what no route"), "{main}");

    world.cli(&[
        "app",
        "route",
        "shop",
        "--host",
        "store.test",
        "--path",
        "/eu",
    ]);
    let world = world.again().await;
    let seen = world.run_at("store.test", "/eu/Probe/a/run", &steps).await;
    assert_eq!(seen["results"][1]["var"], "shop");
    assert_eq!(
        world.run_at("shop.test", "/Probe/a/run", &steps).await["results"][1]["var"],
        Json::Null
    );
    let apps = world.apps();
    let shown: Vec<_> = apps
        .iter()
        .map(|app| {
            (
                &app["name"],
                &app["main"],
                &app["hosts"],
                &app["path"],
                &app["trouble"],
            )
        })
        .collect();
    let (none, no) = (Json::Null, json!(false));
    assert_eq!(
        shown,
        [
            (&json!("blog"), &no, &json!([]), &json!("/blog"), &none),
            (&json!("probe"), &json!(true), &json!([]), &none, &none),
            (
                &json!("shop"),
                &no,
                &json!(["store.test"]),
                &json!("/eu"),
                &none
            ),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_keeps_its_data_to_itself_and_leaves_nothing_behind() {
    const MARK: &str = "MARKER-7f3a";
    let world = Operated::start().await;
    let unknown = world.app.path().to_str().unwrap();
    let unknown = refused(
        world
            .command()
            .args(["deploy", unknown, "--app", "shop", "--no-build"]),
    );
    assert!(unknown.contains("`dormouse app create shop`"), "{unknown}");

    world.cli(&["app", "create", "shop", "--host", "shop.test"]);
    let bare = detail(&world.at("shop.test", "/Probe/a").await, 503, "app-away");
    assert!(bare.contains("`dormouse deploy --app shop`"), "{bare}");
    let path = "/v1/apps/shop/secrets/KEY";
    let set = world.ask(Method::PUT, path, json!(MARK)).await;
    assert_eq!(set.status, 201, "{}", set.text());
    world.deploy_to(
        "shop",
        &format!("vars.V = '{MARK}'\nlimits.database_mib = 1"),
    );
    let write = json!([
        {"sql": "CREATE TABLE t (x)"},
        {"sql": "INSERT INTO t VALUES (?)", "params": [MARK]},
        {"secret": "KEY"},
    ]);
    let ran = world.run_at("shop.test", "/Probe/a/run", &write).await;
    assert_eq!(
        ran["results"][2],
        json!({"secret": json!(MARK).to_string()})
    );
    // Its first version's limits count from the first request on.
    let large = json!([{"sql": "INSERT INTO t VALUES (zeroblob(2000000))"}]).to_string();
    let path = "/Probe/a/run";
    let full = ask_at(&world.host, "shop.test", Method::POST, path, whole(large)).await;
    let told = detail(&full, 500, "object-reset");
    assert!(told.contains("is full"), "{told}");

    let own = json!([{"sql": "SELECT * FROM t"}, {"secret": "KEY"}]);
    let ran = world.run_at("localhost", "/Probe/a/run", &own).await;
    for (at, word) in ["no such table", "KEY"].iter().enumerate() {
        let told = ran["results"][at]["error"]["message"].as_str().unwrap();
        assert!(told.contains(word), "{told}");
    }
    let rows = world.cli(&[
        "sql",
        "Probe/a",
        "SELECT count(*) n FROM t",
        "--app",
        "shop",
        "--json",
    ]);
    assert!(rows.contains('1'), "{rows}");
    let logs = world.cli(&["logs", "--app", "probe", "--json", "-n", "1000"]);
    assert!(!logs.contains(r#""app":"shop""#), "{logs}");
    assert!(!holding(&world.data.path().join("apps/shop"), MARK).is_empty());

    let asked = refused(world.command().args(["app", "delete", "shop"]));
    assert!(asked.contains("--yes"), "{asked}");
    let asked = world.ask(Method::DELETE, "/v1/apps/shop", Json::Null).await;
    assert!(detail(&asked, 400, "bad-request").contains("?confirm=shop"));
    let main = refused(world.command().args(["app", "delete", "probe", "--yes"]));
    assert!(main.contains("the host was started with"), "{main}");
    world.cli(&["app", "delete", "shop", "--yes"]);
    assert_eq!(holding(world.data.path(), MARK), Vec::<PathBuf>::new());
    assert!(!world.data.path().join("apps/shop").exists());
    world.at("shop.test", "/").await.problem(404, "no-object");
    let gone = world
        .ask(Method::GET, "/v1/apps/shop/objects", Json::Null)
        .await;
    gone.problem(404, "unknown-app");

    // What a crash has left half deleted goes at the next start.
    world.with_app("half", &["--path", "/half"], "");
    let list = world.data.path().join("apps/apps.json");
    let text = std::fs::read_to_string(&list).unwrap();
    let text = text.replace("\"deleting\": false", "\"deleting\": true");
    std::fs::write(&list, text).unwrap();
    let world = world.again().await;
    assert_eq!(world.apps().len(), 1);
    assert!(!world.data.path().join("apps/half").exists());
    // A name can be used again, for an app that has nothing of the old one.
    world.with_app("shop", &["--host", "shop.test"], "");
    let ran = world.run_at("shop.test", "/Probe/a/run", &own).await;
    assert!(ran["results"][0]["error"].is_object(), "{ran}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_app_stays_so_over_a_restart_until_it_is_resumed() {
    let world = Operated::start().await;
    world.with_app("shop", &["--host", "shop.test"], "");
    let count = json!([
        {"sql": "CREATE TABLE IF NOT EXISTS t (x)"},
        {"sql": "INSERT INTO t VALUES (1)"},
        {"sql": "SELECT count(*) FROM t"},
    ]);
    world.run_at("shop.test", "/Probe/a/run", &count).await;
    world.cli(&["app", "pause", "shop"]);
    for _ in 0..2 {
        let told = detail(&world.at("shop.test", "/Probe/a").await, 503, "paused");
        assert!(told.contains("`dormouse app resume shop`"), "{told}");
    }
    refused(
        world
            .command()
            .args(["fetch", "Probe/a/run", "--app", "shop"]),
    );
    let called = refused(
        world
            .command()
            .args(["call", "Probe/a", "add", "1", "2", "--app", "shop"]),
    );
    assert!(called.contains("paused"), "{called}");
    let world = world.again().await;
    world
        .at("shop.test", "/Probe/a")
        .await
        .problem(503, "paused");
    assert_eq!(world.host.get("/Broken/a").await.status, 200);
    // An operator still sees what it has.
    let rows = world.cli(&[
        "sql",
        "Probe/a",
        "SELECT count(*) FROM t",
        "--app",
        "shop",
        "--json",
    ]);
    assert!(rows.contains('1'), "{rows}");
    let listed: Json =
        serde_json::from_str(&world.cli(&["app", "resume", "shop", "--json"])).unwrap();
    assert_eq!(listed["paused"], false);
    let ran = world.run_at("shop.test", "/Probe/a/run", &count).await;
    assert_eq!(ran["results"][2]["rows"], json!([[2]]));
    // The main app can be paused as well; the others go on.
    world.cli(&["app", "pause", "probe"]);
    let world = world.again().await;
    world
        .at("localhost", "/Probe/a")
        .await
        .problem(503, "paused");
    world.run_at("shop.test", "/Probe/a/run", &count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_holds_all_apps() {
    let world = Operated::start().await;
    world.with_app("shop", &["--host", "shop.test"], "vars.V = 'shop'");
    let write = json!([{"sql": "CREATE TABLE t (x)"}, {"sql": "INSERT INTO t VALUES (1)"}]);
    world.host.run("a", write.clone()).await;
    world.run_at("shop.test", "/Probe/b/run", &write).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    world.cli(&["backup", copy.to_str().unwrap()]);
    share_compiled_code(&copy).await;
    let mut serve = dormouse();
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&copy);
    let served = Process::start(serve.current_dir(&copy)).await;
    let read = json!([{"sql": "SELECT count(*) FROM t"}, {"var": "V"}]);
    assert_eq!(
        served.run("a", read.clone()).await.results[0]["rows"],
        json!([[1]])
    );
    let body = whole(read.to_string());
    let shop = ask_at(&served, "shop.test", Method::POST, "/Probe/b/run", body)
        .await
        .ran();
    assert_eq!(shop.results[0]["rows"], json!([[1]]));
    assert_eq!(shop.results[1]["var"], "shop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_app_keeps_no_other_from_starting() {
    let world = Operated::start().await;
    world.with_app("shop", &["--host", "shop.test"], "");
    world.with_app("blog", &["--host", "blog.test"], "");
    let apps = world.data.path().join("apps");
    std::fs::remove_dir_all(apps.join("shop/deployments/blobs")).unwrap();
    std::fs::write(apps.join("blog/MANIFEST"), "no manifest").unwrap();
    let world = world.again().await;
    assert_eq!(world.host.get("/Broken/a").await.status, 200);
    let told = detail(&world.at("shop.test", "/Probe/a").await, 503, "app-away");
    assert!(told.contains("no file"), "{told}");
    let told = detail(&world.at("blog.test", "/Probe/a").await, 503, "app-away");
    assert!(told.contains("MANIFEST"), "{told}");
    let troubles: Vec<_> = world
        .apps()
        .iter()
        .map(|app| app["trouble"].is_string())
        .collect();
    assert_eq!(troubles, [true, false, true]);
    let closed = world
        .ask(Method::GET, "/v1/apps/blog/objects", Json::Null)
        .await;
    closed.problem(503, "app-away");
    // Code can be deployed again; data that cannot be read can be deleted.
    world.deploy_to("shop", "vars.V = 'again'");
    let steps = json!([{"var": "V"}]);
    let ran = world.run_at("shop.test", "/Probe/a/run", &steps).await;
    assert_eq!(ran["results"][0]["var"], "again");
    world.cli(&["app", "delete", "blog", "--yes"]);
    assert_eq!(world.apps().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_one_app_sees_and_changes_no_other() {
    let world = Operated::start().await;
    world.with_app("shop", &["--host", "shop.test"], "");
    let all = [
        "token",
        "create",
        "shop",
        "--scope",
        "admin",
        "--for-app",
        "shop",
    ];
    let token = world.cli(&all).trim().to_owned();
    let ask = async |method: Method, path: &str, body: Json| {
        world.ask_as(&token, method, path, body).await
    };
    let seen = ask(Method::GET, "/v1/apps", Json::Null).await.json();
    assert_eq!(seen.as_array().unwrap().len(), 1);
    assert_eq!(seen[0]["name"], "shop");
    let made = ask(Method::POST, "/v1/apps", json!({"name": "more"})).await;
    made.problem(403, "forbidden");
    let other = ask(Method::PATCH, "/v1/apps/probe", json!({"paused": true})).await;
    other.problem(403, "forbidden");
    // A route could take requests from other apps.
    let routed = ask(Method::PATCH, "/v1/apps/shop", json!({"path": "/x"})).await;
    routed.problem(403, "forbidden");
    let other = ask(Method::DELETE, "/v1/apps/probe?confirm=probe", Json::Null).await;
    other.problem(403, "forbidden");
    world
        .host
        .run(
            "a",
            json!([{"log": {"level": "info", "message": "of the main app"}}]),
        )
        .await;
    let own = json!([{"log": {"level": "info", "message": "of the shop"}}]);
    world.run_at("shop.test", "/Probe/a/run", &own).await;
    eventually("a record", async || {
        let logs = ask(Method::GET, "/v1/apps/shop/logs?tail=1000", Json::Null).await;
        let shop: Vec<Json> = logs
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            shop.iter().all(|record| record["app"] == "shop"),
            "{shop:?}"
        );
        shop.iter()
            .any(|record| record["message"] == "of the shop")
            .then_some(())
    })
    .await;
    let paused = ask(Method::PATCH, "/v1/apps/shop", json!({"paused": true})).await;
    assert_eq!(paused.json()["paused"], true);
}
