//! Several apps on one host: told apart by name and path, each with data of its own;
//! made, paused and deleted while the others go on; calling each other where that is
//! allowed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse::host::{AppsError, Beside, Routes};
use dormouse::manifest::Binding;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, header};
use serde_json::{Value as Json, json};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::admin::{Operated, refused};
use crate::harness::{
    Answer, Body, Client, Process, World, app, bounded, dormouse, empty, eventually, probe,
    probe_app, share_compiled_code, whole,
};

const SECOND: Duration = Duration::from_secs(1);

/// A request to this name of a host.
async fn ask_at(client: &Client, host: &str, method: Method, path: &str, body: Body) -> Answer {
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
        {"sql": "INSERT INTO t VALUES (zeroblob(2000000))"},
    ]);
    let ran = world.run_at("shop.test", "/Probe/a/run", &write).await;
    assert_eq!(
        ran["results"][2],
        json!({"secret": json!(MARK).to_string()})
    );
    // Its first version's limits count from the first request on.
    let full = ran["results"][3]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(full.contains("limits.database_mib"), "{full}");

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
    assert!(told.contains("no component"), "{told}");
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

/// The probe under another name, with this in its manifest.
fn beside(name: &str, change: impl FnOnce(&mut dormouse::manifest::Manifest)) -> Beside {
    let mut app = app(name, probe());
    change(&mut app.manifest);
    Beside {
        app,
        code: None,
        routes: Routes {
            hosts: vec![format!("{name}.test")],
            path: None,
        },
        secrets: Default::default(),
    }
}

fn of(app: &str, class: &str) -> Binding {
    Binding {
        app: Some(app.to_owned()),
        class: class.to_owned(),
    }
}

/// The main app `probe` and `billing`, which lets it call its probes and sockets.
async fn two_apps() -> World {
    let mut main = probe_app();
    let bindings = &mut main.manifest.namespaces;
    for (name, binding) in [
        ("THEIRS", of("billing", "Probe")),
        ("SOCKETS", of("billing", "Sockets")),
        ("HIDDEN", of("billing", "Second")),
        ("NOBODY", of("nobody", "Probe")),
    ] {
        bindings.insert(name.to_owned(), binding);
    }
    let allowed = ["probe".to_owned()];
    main.manifest
        .share
        .insert("Probe".to_owned(), ["billing".to_owned()].into());
    let billing = beside("billing", |manifest| {
        manifest
            .namespaces
            .insert("BACK".to_owned(), of("probe", "Probe"));
        manifest.vars.insert("WHO".to_owned(), "billing".to_owned());
        for class in ["Probe", "Sockets"] {
            manifest
                .share
                .insert(class.to_owned(), allowed.clone().into());
        }
    });
    World::with(main, vec![billing]).await
}

fn call(binding: &str, name: &str, steps: Json) -> Json {
    json!({"call": name, "binding": binding, "steps": steps})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_calls_what_another_one_shares_and_nothing_else() {
    let world = two_apps().await;
    let steps = json!([{"memory": "incr"}, {"var": "WHO"}]);
    let ran = world
        .run("a", json!([{"memory": "incr"}, call("THEIRS", "a", steps)]))
        .await;
    // The object of the same class and name is another one, in the other app.
    let theirs = &ran.results[1]["call"];
    assert_eq!(
        theirs["results"],
        json!([{"memory": 1}, {"var": "billing"}])
    );
    assert_ne!(theirs["instance"], json!(ran.instance));
    assert_eq!(theirs["object"]["hex"], ran.all["object"]["hex"]);

    let asked = |binding| json!([call(binding, "a", json!([{"memory": "read"}]))]);
    let error = async |binding| world.run("b", asked(binding)).await.results[0]["error"].clone();
    let hidden = error("HIDDEN").await;
    assert_eq!(
        (&hidden["kind"], &hidden["retryable"]),
        (&json!("Invalid"), &json!(false))
    );
    let words = hidden["message"].as_str().unwrap();
    assert!(
        words.contains("does not share the class `Second` with \"probe\""),
        "{words}"
    );
    let nobody = error("NOBODY").await;
    assert_eq!(
        (&nobody["kind"], &nobody["retryable"]),
        (&json!("Unavailable"), &json!(true))
    );
    let words = nobody["message"].as_str().unwrap();
    assert!(words.contains("no app \"nobody\""), "{words}");
    let apps = world.host.apps();
    apps.set_paused("billing", true).await.unwrap();
    let paused = error("THEIRS").await;
    assert_eq!(paused["kind"], "Unavailable");
    assert!(
        paused["message"].as_str().unwrap().contains("paused"),
        "{paused}"
    );
    apps.set_paused("billing", false).await.unwrap();
    assert_eq!(error("THEIRS").await, Json::Null);

    // A deployment that wants what is not shared is refused; the code from before goes on.
    let mut wrong = probe_app();
    wrong
        .manifest
        .namespaces
        .insert("X".to_owned(), of("billing", "Second"));
    wrong
        .manifest
        .namespaces
        .insert("Y".to_owned(), of("billing", "None"));
    wrong
        .manifest
        .share
        .insert("Gone".to_owned(), ["billing".to_owned()].into());
    let refused = world
        .host
        .deploy(wrong)
        .await
        .expect_err("nothing of it is there");
    let text = format!("{refused:#}");
    for part in [
        "3 things are missing",
        "`share.Gone` in dormouse.toml names a class that the component does not have",
        "`namespaces.X` in dormouse.toml: the app \"billing\" does not share the class `Second`",
        "`[share]`, `Second = [\"probe\"]`",
        "the app \"billing\" has no class `None`",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What is shared no longer cannot be called any more, without anybody's restart.
    let billing = apps.find("billing").unwrap();
    let mut closed = beside("billing", |_| {}).app;
    closed
        .manifest
        .namespaces
        .insert("BACK".to_owned(), of("probe", "Probe"));
    billing.deploy(closed).await.unwrap();
    assert_eq!(error("THEIRS").await["kind"], "Invalid");
    assert!(matches!(
        apps.delete("billing").await,
        Err(AppsError::Main { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_class_and_name_in_two_apps_are_no_cycle() {
    let world = two_apps().await;
    // In a section that lets nobody in, `Probe/x` calls the other app's `Probe/x`.
    let read = json!([{"memory": "incr"}]);
    let ran = world
        .run("x", json!([{"alone": [call("THEIRS", "x", read)]}]))
        .await;
    let theirs = &ran.results[0]["alone"][0]["call"];
    assert_eq!(theirs["results"][0], json!({"memory": 1}), "{}", ran.all);
    // A cycle over both apps is one, and its chain names them.
    let back = json!([call("BACK", "x", json!([{"memory": "incr"}]))]);
    let ran = world
        .run("x", json!([{"alone": [call("THEIRS", "y", back.clone())]}]))
        .await;
    let told = &ran.results[0]["alone"][0]["call"]["results"][0]["error"];
    assert_eq!(told["kind"], "Reentrant", "{}", ran.all);
    let chain = "Probe/x -> billing:Probe/y -> Probe/x";
    assert!(told["message"].as_str().unwrap().contains(chain), "{told}");
    // Outside of a section it goes round.
    let ran = world.run("x", json!([call("THEIRS", "y", back)])).await;
    let came_back = &ran.results[0]["call"]["results"][0]["call"];
    assert_eq!(came_back["instance"], json!(ran.instance), "{}", ran.all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_goes_through_one_app_to_an_object_of_another() {
    let world = two_apps().await;
    let url = format!("ws://{}/Probe/p/forward/SOCKETS/room/ws", world.address);
    let shaken = bounded("a handshake", client_async(url, world.tcp().await)).await;
    let mut socket = shaken.expect("the object takes it").0;
    let mut ask = async |text: &str| {
        socket.send(Message::text(text)).await.unwrap();
        bounded("a frame", socket.next()).await.unwrap().unwrap()
    };
    assert_eq!(ask("hello").await, Message::text("hello"));
    let billing = world.host.apps().find("billing").unwrap();
    let room = billing.object("Sockets", "room").unwrap();
    assert_eq!(billing.sockets(&room).len(), 1);
    assert_eq!(world.host.sockets(&room).len(), 0);
    // It sleeps and wakes there.
    let before = ask("instance").await;
    billing.evict_all();
    eventually("sleep", async || (billing.awake() == 0).then_some(())).await;
    assert_ne!(ask("instance").await, before);
    // The app is paused: the client hears that it may come back.
    world.host.apps().set_paused("billing", true).await.unwrap();
    let last = bounded("a close", socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(close)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(u16::from(close.code), 1012);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_of_a_paused_app_wait_until_it_goes_on() {
    let world = two_apps().await;
    let set = json!([{"set_alarm_in_ms": 10_000}, {"now": true}]);
    let ran = world
        .run("a", json!([call("THEIRS", "sleeper", set)]))
        .await;
    let began = ran.results[0]["call"]["results"][1]["now_ms"]
        .as_i64()
        .unwrap();
    let apps = world.host.apps();
    apps.set_paused("billing", true).await.unwrap();
    let billing = apps.find("billing").unwrap();
    eventually("sleep", async || (billing.awake() == 0).then_some(())).await;
    assert_eq!(billing.objects_with_alarms(), 1);
    // Nothing of that app waits for the clock, so it may move on at once.
    world.clock.advance(20 * SECOND);
    world.clock.advance(5 * SECOND);
    assert_eq!(billing.awake(), 0);
    apps.set_paused("billing", false).await.unwrap();
    let ask = json!([call("THEIRS", "sleeper", json!([{"alarm_runs": true}]))]);
    let runs = eventually("the alarm", async || {
        let ran = world.run("a", ask.clone()).await;
        let runs = ran.results[0]["call"]["results"][0]["runs"].clone();
        (runs != json!([])).then_some(runs)
    })
    .await;
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
    assert_eq!(runs[0]["now_ms"], json!(began + 25_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bound_on_live_objects_holds_for_all_apps() {
    let world = World::with_places(2, probe_app(), vec![beside("shop", |_| {})]).await;
    let read = json!([{"memory": "incr"}]);
    world.run("first", read.clone()).await;
    world.run("second", read.clone()).await;
    let shop = world.host.apps().find("shop").unwrap();
    eventually("two that are idle", async || {
        let idle = world.host.present().into_iter();
        (idle.filter(|one| one.idle_since.is_some()).count() == 2).then_some(())
    })
    .await;
    let body = whole(read.to_string());
    let third = ask_at(&world, "shop.test", Method::POST, "/Probe/third/run", body).await;
    assert_eq!(third.status, 200);
    eventually("room made by the others", async || {
        (world.host.awake() + shop.awake() <= 2).then_some(())
    })
    .await;
    assert_eq!(shop.awake(), 1);
}
