//! The admin door: who may come in, and what can be seen without waking anybody.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use http::{Method, header};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::harness::{Answer, Client, Process, Talker, app_folder, eventually, probe};

/// A host with its folders, its admin door and a token for everything.
pub(crate) struct Operated {
    pub(crate) host: Process,
    pub(crate) app: TempDir,
    pub(crate) data: TempDir,
    pub(crate) admin: Client,
    pub(crate) token: String,
}

impl Operated {
    pub(crate) async fn start() -> Self {
        let app = app_folder("probe", &probe(), "limits.idle_ms = 200");
        Self::on(app, tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn on(app: TempDir, data: TempDir) -> Self {
        let host = Process::serve(app.path(), data.path(), &[]).await;
        let (url, token) = eventually("the admin door", async || {
            let lines = host.stdout();
            let value = |head: &str| {
                let line = lines
                    .iter()
                    .find(|line| line.trim_start().starts_with(head))?;
                line.split_whitespace().nth(1).map(str::to_owned)
            };
            // The token is shown after the door, and only the first time.
            let url = value("Admin")?;
            let local = std::fs::read(data.path().join("admin/local.json")).ok()?;
            let local: Json = serde_json::from_slice(&local).ok()?;
            Some((
                url,
                value("Token").unwrap_or(local["token"].as_str()?.to_owned()),
            ))
        })
        .await;
        let address = url.trim_start_matches("http://").parse().unwrap();
        Self {
            host,
            app,
            data,
            admin: Client { address },
            token,
        }
    }

    pub(crate) const fn admin_address(&self) -> std::net::SocketAddr {
        self.admin.address
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: Json) -> Answer {
        self.ask_as(&self.token, method, path, body).await
    }

    pub(crate) async fn ask_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Json,
    ) -> Answer {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut request = self
            .admin
            .request(method, path, crate::harness::whole(text));
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        if !token.is_empty() {
            let bearer = format!("Bearer {token}").parse().unwrap();
            headers.insert(header::AUTHORIZATION, bearer);
        }
        Answer::read(self.admin.send(request).await.unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Json {
        let answer = self.ask(Method::GET, path, Json::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub(crate) async fn sql(&self, object: &str, sql: Json) -> Answer {
        let path = format!("/v1/apps/probe/objects/Probe/{object}/sql");
        self.ask(Method::POST, &path, sql).await
    }

    /// What `dormouse …` in the app's folder says on stdout.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        done(self.command().args(args))
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = crate::harness::dormouse();
        command.current_dir(self.app.path());
        command.env("DORMOUSE_DATA", self.data.path());
        command
    }

    /// Waits until nobody is awake.
    pub(crate) async fn until_asleep(&self) {
        eventually("sleep", async || {
            let host = self.get("/v1/host").await;
            (host["awake"] == 0).then_some(())
        })
        .await;
    }
}

pub(crate) fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn with_rows() -> Json {
    json!([
        {"sql": "CREATE TABLE t (id INTEGER PRIMARY KEY, x)"},
        {"sql": "INSERT INTO t (x) VALUES ('one'), (2.5), (x'00ff'), (NULL)"},
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_wants_a_token_and_says_so() {
    let world = Operated::start().await;
    let description = world
        .ask_as("", Method::GET, "/openapi.json", Json::Null)
        .await;
    let description = description.json();
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.len() > 10, "{paths:?}");
    let mut public = Vec::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let asked = path.replace("{app}", "probe").replace(['{', '}'], "");
            for token in ["", "dormouse_0000", &world.token[1..]] {
                let answer = world
                    .ask_as(token, method.clone(), &asked, Json::Null)
                    .await;
                if answer.status == 401 {
                    let problem = answer.json();
                    assert_eq!(problem["type"], "urn:dormouse:problem:unauthorized");
                    assert_eq!(answer.header("www-authenticate"), "Bearer");
                } else if token.is_empty() {
                    // Its description says that it wants none.
                    assert_eq!(operation["security"], json!([{}]), "{path}");
                    public.push(path.as_str());
                }
            }
        }
    }
    assert_eq!(public, ["/health/live", "/health/ready"]);
    // Not in the description, because it takes any method.
    let path = "/v1/apps/probe/fetch/Probe/a";
    let answer = world.ask_as("", Method::GET, path, Json::Null).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_token_is_shown_once_and_kept_as_a_hash() {
    let Operated {
        mut host,
        app,
        data,
        token,
        ..
    } = Operated::start().await;
    assert!(
        token.starts_with("dormouse_") && token.len() > 64,
        "{token}"
    );
    let folder = data.path().join("admin");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&token), "{}", file.display());
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    host.terminate();
    assert!(host.ended().await.success());
    assert!(!folder.join("local.json").exists());

    let again = Operated::on(app, data).await;
    let lines = again.host.stdout().join("\n");
    assert!(!lines.contains("dormouse_"), "{lines}");
    let answer = again
        .ask_as(&token, Method::GET, "/v1/host", Json::Null)
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_allows_what_its_scopes_say_and_no_more() {
    let world = Operated::start().await;
    world.host.run("scoped", with_rows()).await;
    let create = async |scopes: Json, apps: Json| {
        let body = json!({"label": "t", "scopes": scopes, "apps": apps});
        let made = world.ask(Method::POST, "/v1/tokens", body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let made = made.json();
        (
            made["id"].as_str().unwrap().to_owned(),
            made["secret"].as_str().unwrap().to_owned(),
        )
    };
    let sql = "/v1/apps/probe/objects/Probe/scoped/sql";
    let tries = [
        (Method::GET, "/v1/apps/probe/objects", Json::Null),
        (Method::POST, sql, json!({"sql": "SELECT 1"})),
        (
            Method::POST,
            sql,
            json!({"sql": "DELETE FROM t", "write": true}),
        ),
        (
            Method::GET,
            "/v1/apps/probe/fetch/Broken/scoped",
            Json::Null,
        ),
        (Method::GET, "/v1/tokens", Json::Null),
    ];
    let expected = [
        (json!(["read"]), Json::Null, [200, 403, 403, 403, 403]),
        (json!(["sql-read"]), Json::Null, [403, 200, 403, 403, 403]),
        (json!(["sql-write"]), Json::Null, [403, 200, 200, 403, 403]),
        (json!(["call"]), Json::Null, [403, 403, 403, 200, 403]),
        (
            json!(["admin"]),
            json!(["other"]),
            [403, 403, 403, 403, 403],
        ),
        (
            json!(["admin"]),
            json!(["probe"]),
            [200, 200, 200, 200, 403],
        ),
    ];
    for (scopes, apps, statuses) in expected {
        let (id, secret) = create(scopes.clone(), apps.clone()).await;
        for ((method, path, body), status) in tries.iter().zip(statuses) {
            let answer = world
                .ask_as(&secret, method.clone(), path, body.clone())
                .await;
            assert_eq!(
                answer.status,
                status,
                "{scopes} {apps} {path} {body}: {}",
                answer.text()
            );
        }
        let path = format!("/v1/tokens/{id}");
        assert_eq!(
            world.ask(Method::DELETE, &path, Json::Null).await.status,
            204
        );
        let gone = world
            .ask_as(&secret, Method::GET, "/v1/apps", Json::Null)
            .await;
        assert_eq!(gone.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_problems() {
    let world = Operated::start().await;
    let cases = [
        (Method::GET, "/v2/none", Json::Null, 404, "no-operation"),
        (Method::DELETE, "/v1/host", Json::Null, 405, "no-operation"),
        (
            Method::GET,
            "/v1/apps/none/objects",
            Json::Null,
            404,
            "unknown-app",
        ),
        (
            Method::GET,
            "/v1/apps/probe/objects?class=None",
            Json::Null,
            404,
            "unknown-class",
        ),
        (
            Method::GET,
            "/v1/apps/probe/objects?limit=x",
            Json::Null,
            400,
            "bad-request",
        ),
        (
            Method::GET,
            "/v1/apps/probe/objects/Probe/nobody",
            Json::Null,
            404,
            "no-object",
        ),
        (
            Method::GET,
            "/v1/apps/probe/objects/Probe/id:00",
            Json::Null,
            404,
            "no-object",
        ),
        (
            Method::POST,
            "/v1/apps/probe/objects/Probe/a/sql",
            json!({"sq": 1}),
            400,
            "bad-request",
        ),
        (
            Method::POST,
            "/v1/tokens",
            json!({"label": "x", "scopes": []}),
            400,
            "bad-request",
        ),
        (
            Method::DELETE,
            "/v1/tokens/none",
            Json::Null,
            404,
            "not-found",
        ),
    ];
    for (method, path, body, status, kind) in cases {
        let answer = world.ask(method, path, body).await;
        let problem = answer.json();
        assert_eq!(answer.status, status, "{path}: {problem}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(
            problem["type"],
            format!("urn:dormouse:problem:{kind}"),
            "{path}"
        );
    }
    let foreign = format!("/v1/apps/probe/objects/Probe/id:{}", "0".repeat(64));
    let answer = world.ask(Method::GET, &foreign, Json::Null).await;
    assert_eq!(answer.json()["status"], 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_object_answers_sql_and_sleeps_on() {
    let world = Operated::start().await;
    let before = world.host.run("sleeper", with_rows()).await;
    world.until_asleep().await;
    let answer = world
        .sql(
            "sleeper",
            json!({"sql": "SELECT x FROM t WHERE id < ?", "params": [5]}),
        )
        .await;
    let rows = answer.json();
    assert_eq!(
        rows["rows"],
        json!([["one"], [2.5], [{"blob": "00ff"}], [null]]),
        "{rows}"
    );
    assert_eq!(
        (&rows["columns"], &rows["more"]),
        (&json!(["x"]), &json!(false))
    );
    let first = world
        .sql("sleeper", json!({"sql": "SELECT id FROM t", "max_rows": 3}))
        .await;
    assert_eq!(first.json()["rows"], json!([[1], [2], [3]]));
    assert_eq!(first.json()["more"], true);
    world.until_asleep().await;

    // What an operator writes is there when the object wakes, and afterwards.
    let write = json!({"sql": "UPDATE t SET x = 'new' WHERE id = 1", "write": true});
    let written = world.sql("sleeper", write).await.json();
    assert_eq!(written["rows_written"], 1, "{written}");
    world.until_asleep().await;
    let after = world
        .host
        .run("sleeper", json!([{"sql": "SELECT x FROM t WHERE id = 1"}]))
        .await;
    assert_eq!(after.results[0]["rows"], json!([["new"]]));
    assert_ne!(after.instance, before.instance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_awake_object_answers_sql_between_its_turns() {
    let world = Operated::start().await;
    world.host.run("awake", with_rows()).await;
    // It holds in the middle of an event, with a turn of its own already committed.
    let steps = json!([{"sql": "INSERT INTO t (x) VALUES ('held')"}, {"hold": "x"}]);
    let held = world.host.start_run("awake", steps);
    world.host.until_held("awake", "x", 1).await;
    let count = json!({"sql": "SELECT count(*) FROM t"});
    assert_eq!(world.sql("awake", count).await.json()["rows"], json!([[5]]));
    let write = json!({"sql": "INSERT INTO t (x) VALUES ('operator') RETURNING id", "write": true});
    assert_eq!(world.sql("awake", write).await.json()["rows"], json!([[6]]));
    world.host.release("awake", "x").await;
    held.await.unwrap().ran();
    let ran = world
        .host
        .run("awake", json!([{"sql": "SELECT count(*) FROM t"}]))
        .await;
    assert_eq!(ran.results[0]["rows"], json!([[6]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_sql_cannot_write_and_leaves_no_setting() {
    let world = Operated::start().await;
    for asleep in [false, true] {
        world
            .host
            .run(
                "reader",
                json!([{"sql": "CREATE TABLE IF NOT EXISTS t (x)"}]),
            )
            .await;
        if asleep {
            world.until_asleep().await;
        }
        for sql in [
            "DELETE FROM t",
            "INSERT INTO t VALUES (1) RETURNING x",
            "SELECT 1; DROP TABLE t; SELECT 2",
            "CREATE TABLE u (x)",
            "PRAGMA foreign_keys = OFF",
            "PRAGMA optimize",
            "SELECT * FROM _dormouse_alarms",
            "ATTACH '/etc/passwd' AS x",
            "no SQL at all",
        ] {
            let answer = world.sql("reader", json!({"sql": sql})).await;
            let problem = answer.json();
            assert_eq!(answer.status, 400, "{sql}: {problem}");
            assert_eq!(problem["type"], "urn:dormouse:problem:sql", "{sql}");
        }
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        let seen = world.sql("reader", json!({"sql": tables})).await.json();
        let names = seen["rows"].to_string();
        assert!(
            names.contains("\"t\"") && !names.contains("\"u\""),
            "{names}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_found_by_class_name_and_state() {
    let world = Operated::start().await;
    for name in ["ann", "anton", "bert", "a/b c"] {
        world
            .host
            .run(&name.replace('/', "%2F").replace(' ', "%20"), with_rows())
            .await;
    }
    world.until_asleep().await;
    let held = world.host.start_run("bert", json!([{"hold": "x"}]));
    world.host.until_held("bert", "x", 1).await;
    let names = async |query: &str| -> Vec<String> {
        let page = world.get(&format!("/v1/apps/probe/objects?{query}")).await;
        let objects = page["objects"].as_array().unwrap().iter();
        objects
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("").await, ["a/b c", "ann", "anton", "bert"]);
    assert_eq!(names("prefix=an").await, ["ann", "anton"]);
    assert_eq!(names("state=awake").await, ["bert"]);
    assert_eq!(names("state=asleep&limit=2").await, ["a/b c", "ann"]);
    assert_eq!(names("after=Probe/ann&limit=1").await, ["anton"]);
    assert_eq!(names("class=Broken").await, [""; 0]);
    let page = world.get("/v1/apps/probe/objects?limit=1&prefix=an").await;
    assert_eq!(
        (&page["total"], &page["next"]),
        (&json!(2), &json!("Probe/ann"))
    );

    let one = world.get("/v1/apps/probe/objects/Probe/a%2Fb%20c").await;
    assert_eq!(one["name"], "a/b c");
    assert_eq!(one["tables"][0]["name"], "t");
    let id = one["id"].as_str().unwrap();
    let by_id = world
        .get(&format!("/v1/apps/probe/objects/Probe/id:{id}"))
        .await;
    assert_eq!(by_id["name"], "a/b c");

    // The same from the command line.
    let list = world.cli(&["objects", "Probe", "--prefix", "an"]);
    assert!(
        list.contains("Probe/ann") && list.contains("Probe/anton"),
        "{list}"
    );
    assert!(!list.contains("bert"), "{list}");
    let json: Json = serde_json::from_str(&world.cli(&["objects", "--all", "--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 4);
    let shown = world.cli(&["objects", "Probe/ann"]);
    assert!(shown.contains("CREATE TABLE t"), "{shown}");
    world.host.release("bert", "x").await;
    held.await.unwrap().ran();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_runs_sql_with_parameters_and_a_prompt() {
    let world = Operated::start().await;
    world.host.run("cli", with_rows()).await;
    let shown = world.cli(&["sql", "Probe/cli", "SELECT id, x FROM t ORDER BY id"]);
    for part in ["id", "one", "2.5", "x'00ff'", "NULL"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json = world.cli(&["sql", "Probe/cli", "SELECT ? + 1, ?", "41", "x", "--json"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"], json!([[42, "x"]]));
    let denied = refused(world.command().args(["sql", "Probe/cli", "DELETE FROM t"]));
    assert!(denied.contains("this statement writes"), "{denied}");
    world.cli(&["sql", "Probe/cli", "--write", "DELETE FROM t WHERE id > 1"]);
    let missing = refused(world.command().args(["sql", "Probe/nobody", "SELECT 1"]));
    assert!(missing.contains("has ever written"), "{missing}");

    // The prompt reads lines from wherever they come.
    let home = tempfile::tempdir().unwrap();
    let mut prompt = world.command();
    prompt
        .args(["sql", "Probe/cli"])
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME");
    let typed = "SELECT count(*) AS\n  n FROM t;\nDELETE FROM t;\n.write\nDELETE FROM t;\n.quit\n";
    let (stdout, stderr) = type_into(prompt, typed);
    assert!(stdout.contains("n") && stdout.contains('1'), "{stdout}");
    assert_eq!(
        stderr.matches("this statement writes").count(),
        1,
        "{stderr}"
    );
    let left = world.cli(&["sql", "Probe/cli", "SELECT count(*) FROM t", "--json"]);
    assert!(left.contains("0"), "{left}");
    let history = home.path().join(".local/state/dormouse/sql-history");
    assert!(
        std::fs::read_to_string(history)
            .unwrap()
            .contains("n FROM t;")
    );
}

fn type_into(mut command: Command, text: &str) -> (String, String) {
    use std::io::Write as _;
    use std::process::Stdio;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_followed_and_filtered() {
    let world = Operated::start().await;
    world
        .host
        .run("log-a", json!([{"print": "first of a"}]))
        .await;
    world
        .host
        .run("log-b", json!([{"print": "first of b"}]))
        .await;
    let shown = world.cli(&["logs", "--object", "log-a"]);
    assert!(shown.contains("Probe/log-a: first of a"), "{shown}");
    assert!(!shown.contains("of b"), "{shown}");
    let mut follow = world.command();
    follow.args(["logs", "-f", "-n", "0", "--object", "log-b", "--json"]);
    let follow = Talker::start(&mut follow);
    eventually("a record that came while somebody followed", async || {
        world
            .host
            .run("log-a", json!([{"print": "more of a"}]))
            .await;
        world
            .host
            .run("log-b", json!([{"print": "more of b"}]))
            .await;
        let lines = follow.stdout();
        assert!(!lines.iter().any(|line| line.contains("of a")), "{lines:?}");
        let record = lines.iter().find(|line| line.contains("more of b"))?;
        let record: Json = serde_json::from_str(record).unwrap();
        assert_eq!(
            (&record["class"], &record["target"]),
            (&json!("Probe"), &json!("guest"))
        );
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_to_an_object_by_the_admin_door() {
    let world = Operated::start().await;
    let body = json!([{"var": "NONE"}]).to_string();
    let answer = world.cli(&["fetch", "Probe/fetched/run", "-d", &body]);
    let answer: Json = serde_json::from_str(&answer).unwrap();
    assert!(answer["instance"].is_u64(), "{answer}");
    let whole = world.cli(&["fetch", "Broken/fetched", "--json"]);
    let whole: Json = serde_json::from_str(&whole).unwrap();
    assert_eq!(
        (&whole["status"], &whole["body"]),
        (&json!(200), &json!("not broken\n"))
    );
    let error = refused(world.command().args(["fetch", "Nobody/fetched"]));
    assert!(error.contains("404"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_finds_no_host_says_what_to_do() {
    let app = app_folder("probe", &probe(), "");
    let command = |args: &[&str]| {
        let mut command = crate::harness::dormouse();
        command.current_dir(app.path()).args(args);
        refused(&mut command)
    };
    let nobody = command(&["objects"]);
    assert!(
        nobody.contains("no host runs") && nobody.contains("dormouse dev"),
        "{nobody}"
    );
    let no_token = command(&["objects", "--to", "http://127.0.0.1:1"]);
    assert!(no_token.contains("DORMOUSE_TOKEN"), "{no_token}");
    let silent = command(&["objects", "--to", "http://127.0.0.1:1", "--token", "x"]);
    assert!(
        silent.contains("nobody answers at http://127.0.0.1:1"),
        "{silent}"
    );
    assert!(Path::new(app.path()).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_by_class_and_name_no_object() {
    let world = Operated::start().await;
    for name in ["metered-a", "metered-b"] {
        world.host.run(name, json!([{"memory": "incr"}])).await;
        world.host.get(&format!("/Nobody/{name}")).await;
    }
    let answer = world.ask(Method::GET, "/metrics", Json::Null).await;
    let text = answer.text();
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        "# TYPE dormouse_http_requests counter",
        "dormouse_http_requests_total{code=\"200\"} 2",
        "dormouse_http_requests_total{code=\"404\"} 2",
        "dormouse_http_request_duration_seconds_count 4",
        "dormouse_object_events_total{app=\"probe\",class=\"Probe\",kind=\"fetch\"} 2",
        "dormouse_object_wakes_total{app=\"probe\",class=\"Probe\"} 2",
        "dormouse_deployed_version 1",
        "dormouse_storage_healthy 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(text.contains("process_resident_memory_bytes "), "{text}");
    assert!(!text.contains("metered"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_listed_and_run_again() {
    let world = Operated::start().await;
    let fail = json!({"on_alarm": "", "steps": [{"fail": "as told"}]});
    let set = json!({"set_alarm": 1, "max_retries": 0});
    world.host.run("letters", json!([fail, set])).await;
    let list = |args: &[&str]| -> Json {
        let args: Vec<&str> = ["alarms", "--json"].iter().chain(args).copied().collect();
        serde_json::from_str(&world.cli(&args)).unwrap()
    };
    let letter = eventually("a dead letter", async || {
        let letters = list(&[]);
        letters.as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(letter["dead"]["error"], "as told", "{letter}");
    assert_eq!(letter["class"], "Probe");
    assert_eq!(list(&["Probe/letters"])[0]["name"], "");
    let table = world.cli(&["alarms", "Probe/letters"]);
    assert!(
        table.contains("(default)") && table.contains("as told"),
        "{table}"
    );

    world
        .host
        .run("letters", json!([{"on_alarm": "", "steps": []}]))
        .await;
    let other = refused(
        world
            .command()
            .args(["alarms", "Probe/letters", "--retry", "other"]),
    );
    assert!(other.contains("no dead letter"), "{other}");
    world.cli(&["alarms", "Probe/letters", "--retry"]);
    eventually("the end of the letter", async || {
        (list(&[]) == json!([]) && list(&["Probe/letters"]) == json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_run_before_its_time() {
    let world = Operated::start().await;
    let set = json!({"set_alarm_in_ms": 1_000_000, "name": "far"});
    world.host.run("hasty", json!([set])).await;
    world.until_asleep().await;
    let none = refused(world.command().args(["alarms", "Probe/hasty", "--run"]));
    assert!(none.contains("no alarm"), "{none}");
    world.cli(&["alarms", "Probe/hasty", "--run", "far"]);
    let run = eventually("its run", async || {
        let ran = world.host.run("hasty", json!([{"alarm_runs": true}])).await;
        ran.results[0]["runs"].as_array().unwrap().first().cloned()
    })
    .await;
    let ms = |name: &str| run[name].as_i64().unwrap();
    assert!(ms("scheduled_ms") > ms("now_ms"), "{run}");
    eventually("no alarm", async || {
        let left = world.cli(&["alarms", "Probe/hasty", "--json"]);
        (left.trim() == "[]").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sockets_of_a_sleeping_object_are_listed() {
    use tokio_tungstenite::client_async;
    let world = Operated::start().await;
    let url = format!("ws://{}/Sockets/listed/ws?tag=a&tag=b", world.host.address);
    let (socket, _) = client_async(url, world.host.tcp().await).await.unwrap();
    world.until_asleep().await;
    for args in [
        &["sockets", "--json"][..],
        &["sockets", "Sockets/listed", "--json"],
    ] {
        let sockets: Json = serde_json::from_str(&world.cli(args)).unwrap();
        let [one] = &sockets.as_array().unwrap()[..] else {
            panic!("{sockets}");
        };
        assert_eq!(
            (&one["object"], &one["state"]),
            (&json!("listed"), &json!("open"))
        );
        assert_eq!(one["tags"], json!(["a", "b"]));
    }
    assert_eq!(
        world.get("/v1/apps/probe/objects").await["objects"][0]["sockets"],
        1
    );
    drop(socket);
    eventually("no socket", async || {
        (world.get("/v1/apps/probe/sockets").await == json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_statement_is_logged_with_its_text() {
    let world = Operated::start().await;
    let slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000000) \
                SELECT count(*) FROM c";
    world
        .host
        .run("slow", json!([{"sql": "SELECT 1"}, {"sql": slow}]))
        .await;
    let lines = world.cli(&["logs", "--text", "slow SQL", "--json"]);
    let [line] = &lines.lines().collect::<Vec<_>>()[..] else {
        panic!("{lines}");
    };
    let record: Json = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&record["level"], &record["object"]),
        (&json!("warn"), &json!("slow"))
    );
    assert!(
        record["message"].as_str().unwrap().contains("x < 5000000"),
        "{record}"
    );
    assert!(
        record["fields"]["ms"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 100
    );
}
