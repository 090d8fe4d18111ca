//! What the code needs and the app does not give is an error when it is loaded;
//! secrets are kept, encrypted, and never shown.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use http::{Method, header};
use serde_json::json;

use crate::admin::Operated;
use crate::harness::{
    Answer, Process, World, app, app_folder, bank, dormouse, lobby, probe, whole,
};

fn secret(app: &Path, data: &Path, words: &[&str], value: &str) -> Output {
    let mut command = dormouse();
    command.arg("secret").args(words).current_dir(app);
    command.arg("--data").arg(data);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that fails before it reads has closed its end.
    let _ = stdin.write_all(value.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_binding_is_an_error_when_the_app_is_loaded() {
    let mut whole = app("bank", bank());
    let bindings = &mut whole.manifest.namespaces;
    bindings.insert("ACCOUNTS".to_owned(), "Account".into());
    let world = World::start(whole.clone()).await;
    let refused = world.host.deploy(app("bank", bank())).await;
    let text = format!("{:#}", refused.expect_err("a binding is missing"));
    assert_eq!(
        text,
        "the code needs the namespace `ACCOUNTS`; add `ACCOUNTS = \"Account\"` to \
         `[namespaces]` in dormouse.toml"
    );
    let bindings = &mut whole.manifest.namespaces;
    bindings.insert("ACCOUNTS".to_owned(), "Acount".into());
    let refused = world.host.deploy(whole).await;
    let text = format!("{:#}", refused.expect_err("no such class"));
    let wanted = "`namespaces.ACCOUNTS` in dormouse.toml leads to class `Acount`, which the \
                  component does not have; it has Account";
    assert_eq!(text, wanted);
    // The code from before goes on serving.
    assert_eq!(world.get("/Account/a/").await.text(), "0\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_missing_is_told_at_once() {
    let mut whole = app("lobby", lobby());
    whole
        .manifest
        .kv
        .insert("SEEN".to_owned(), "seen".to_owned());
    let world = World::with_secret(whole, "TOKENS", "ada=sesame").await;
    let mut other = app("other", lobby());
    other
        .manifest
        .kv
        .insert("Room".to_owned(), "seen".to_owned());
    let refused = world.host.deploy(other.clone()).await;
    let text = format!("{:#}", refused.expect_err("much is missing"));
    let wanted = "2 things are missing\n  \
        the code needs the secret `TOKENS`; keep it with `dormouse secret set TOKENS`\n  \
        the code needs the key-value store `SEEN`; add `SEEN = \"seen\"` to `[kv]` in dormouse.toml";
    assert_eq!(text, wanted);
    let databases = &mut other.manifest.databases;
    databases.insert("Room".to_owned(), "main".to_owned());
    other
        .manifest
        .namespaces
        .insert("ROOMS".to_owned(), "Room".into());
    other
        .manifest
        .kv
        .insert("ROOMS".to_owned(), "rooms".to_owned());
    let refused = world.host.deploy(other).await;
    let text = format!("{:#}", refused.expect_err("names are taken"));
    assert!(
        text.contains("`kv.ROOMS` in dormouse.toml has the name of another binding"),
        "{text}"
    );
    assert_eq!(world.get("/who?token=sesame").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_reaches_the_code_and_nobody_else() {
    let (app, data) = (
        app_folder("probe", &probe(), ""),
        tempfile::tempdir().unwrap(),
    );
    let (app, data) = (app.path(), data.path());
    let kept = secret(app, data, &["set", "MAIL_KEY"], "hunter2\n");
    assert!(kept.status.success(), "{kept:?}");
    let listed = secret(app, data, &["list"], "");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "MAIL_KEY\n");
    let host = Process::serve(app, data, &[]).await;
    let ran = host.run(
        "a",
        json!([{"secret": "MAIL_KEY"}, {"secret": "OTHER"}, {"var": "MAIL_KEY"}]),
    );
    let ran = ran.await;
    assert_eq!(ran.results[0], json!({"secret": "hunter2"}));
    let missing = ran.results[1]["error"]["message"].as_str().unwrap();
    assert!(missing.contains("`dormouse secret set OTHER`"), "{missing}");
    assert!(ran.results[2]["error"].is_object(), "{}", ran.all);
    let shown = [said(&kept), said(&listed), host.stderr().join("\n")].concat();
    assert!(!shown.contains("hunter2"), "{shown}");
    for file in ["secrets.json", "secrets.key"] {
        let text = std::fs::read_to_string(data.join(file)).unwrap();
        assert!(!text.contains("hunter2"), "{file}: {text}");
    }
    let removed = secret(app, data, &["delete", "MAIL_KEY"], "");
    assert!(removed.status.success(), "{removed:?}");
    let again = secret(app, data, &["delete", "MAIL_KEY"], "");
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said(&again).contains("has no secret `MAIL_KEY`"),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_cannot_be_kept_is_refused_with_words() {
    let (app, data) = (
        app_folder("probe", &probe(), ""),
        tempfile::tempdir().unwrap(),
    );
    let (app, data) = (app.path(), data.path());
    let cases = [
        ("MAIL-KEY", "x", "cannot name a secret"),
        ("MAIL_KEY", "", "the value is empty"),
        ("MAIL_KEY", &*"x".repeat(70_000), "at most 65536 bytes"),
    ];
    for (name, value, wanted) in cases {
        let refused = secret(app, data, &["set", name], value);
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains(wanted), "{refused:?}");
    }
}

/// Every file in the folder and below it.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    let files = entries.flat_map(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path),
            false => vec![std::fs::read(path).unwrap()],
        }
    });
    files.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_kept_and_forgotten_at_the_admin_door() {
    let host = Operated::start().await;
    let put = async |token: &str, name: &str, value: String| {
        let path = format!("/v1/apps/probe/secrets/{name}");
        let mut request = host.admin.request(Method::PUT, &path, whole(value));
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let response = host.admin.send(request).await.unwrap();
        Answer::read(response).await.unwrap()
    };
    let seen = async || {
        let ran = host.host.run("a", json!([{"secret": "MAIL_KEY"}])).await;
        ran.results[0]["secret"].clone()
    };
    let token = &*host.token;
    assert_eq!(seen().await, json!(null));
    assert_eq!(
        put(token, "MAIL_KEY", "hunter2".to_owned()).await.status,
        201
    );
    assert_eq!(seen().await, json!("hunter2"));
    assert_eq!(
        put(token, "MAIL_KEY", "hunter3".to_owned()).await.status,
        204
    );
    assert_eq!(seen().await, json!("hunter3"));
    let listed = host.get("/v1/apps/probe/secrets").await;
    assert_eq!(listed, json!({"names": ["MAIL_KEY"]}));
    // The command line asks the same door, and another key changes nothing.
    let kept = secret(
        host.app.path(),
        host.data.path(),
        &["set", "OTHER"],
        "hunter4",
    );
    assert!(kept.status.success(), "{kept:?}");
    let rotated = secret(host.app.path(), host.data.path(), &["rotate"], "");
    assert!(
        said(&rotated).contains("Encrypted 2 secrets anew"),
        "{rotated:?}"
    );
    assert_eq!(host.cli(&["secret", "list"]), "MAIL_KEY\nOTHER\n");

    put(token, "MAIL-KEY", "x".to_owned())
        .await
        .problem(400, "bad-request");
    put(token, "EMPTY", String::new())
        .await
        .problem(400, "bad-request");
    put(token, "LONG", "x".repeat(70_000))
        .await
        .problem(400, "bad-request");
    let reader = host.cli(&["token", "create", "reader", "--scope", "read"]);
    let refused = put(reader.trim(), "MAIL_KEY", "x".to_owned()).await;
    refused.problem(403, "forbidden");

    let metrics = host.ask(Method::GET, "/metrics", json!(null)).await;
    let mut config = dormouse();
    let config = config
        .args(["config", "show"])
        .arg(host.app.path())
        .output();
    let shown = [
        host.cli(&["logs", "--json"]),
        host.host.stderr().join("\n"),
        metrics.text().to_owned(),
        said(&config.unwrap()),
    ];
    assert!(
        shown[0].contains("the secret `MAIL_KEY` is set"),
        "{}",
        shown[0]
    );
    assert!(!shown.concat().contains("hunter"), "{shown:?}");
    let written = files(host.data.path());
    let in_clear = written
        .iter()
        .any(|file| file.windows(6).any(|part| part == b"hunter"));
    assert!(!in_clear, "a secret stands in the data folder as it is");

    let path = "/v1/apps/probe/secrets/MAIL_KEY";
    let deleted = host.ask(Method::DELETE, path, json!(null)).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(seen().await, json!(null));
    let again = host.ask(Method::DELETE, path, json!(null)).await;
    again.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_the_code_needs_is_not_deleted_under_it() {
    let app = app_folder("lobby", &lobby(), "kv.SEEN = 'seen'");
    let data = tempfile::tempdir().unwrap();
    let kept = secret(app.path(), data.path(), &["set", "TOKENS"], "ada=sesame");
    assert!(kept.status.success(), "{kept:?}");
    let host = Operated::on(app, data).await;
    let path = "/v1/apps/lobby/secrets/TOKENS";
    let refused = host.ask(Method::DELETE, path, json!(null)).await;
    let problem = refused.problem(409, "secret-needed");
    assert!(
        problem["detail"].as_str().unwrap().contains("`TOKENS`"),
        "{problem}"
    );
    // The worker has another value with its next request.
    let set = secret(
        host.app.path(),
        host.data.path(),
        &["set", "TOKENS"],
        "bob=please",
    );
    assert!(set.status.success(), "{set:?}");
    assert_eq!(host.host.get("/who?token=please").await.text(), "");
    assert_eq!(host.host.get("/who?token=sesame").await.status, 401);
}
