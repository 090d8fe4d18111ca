//! The command line, as a new user goes through it: new, build, dev, inspect, serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

use crate::harness::{Process, app_folder, counter, dormouse, eventually, share_compiled_code};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_project_builds_with_plain_cargo_and_lives_through_dev() {
    let home = tempfile::tempdir().unwrap();
    let mut new = dormouse();
    done(new.args(["new", "tally"]).current_dir(home.path()));
    let project = home.path().join("tally");
    done(shared_target(Command::new(env!("CARGO")), &project).args([
        "build",
        "--release",
        "--target",
        "wasm32-wasip2",
    ]));

    let mut dev = shared_target(dormouse(), &project);
    dev.args(["dev", "--listen", "127.0.0.1:0"]);
    let mut dev = Process::start(&mut dev).await;
    assert_eq!(dev.get("/Tally/alice").await.text(), "1\n");
    assert_eq!(dev.get("/Tally/alice").await.text(), "2\n");
    let tries = dev
        .stdout()
        .iter()
        .any(|line| line.contains("/Tally/alice"));
    assert!(tries, "{:?}", dev.stdout());

    // Other code: the answer changes, the count goes on.
    let source = project.join("src/lib.rs");
    let first = fs::read_to_string(&source).unwrap();
    let second = first.replace("{value}\\n", "now {value}\\n");
    assert_ne!(first, second);
    fs::write(&source, &second).unwrap();
    dev.until_said("Swapped").await;
    assert_eq!(dev.get("/Tally/alice").await.text(), "now 3\n");

    // Broken code: the error is shown, the code from before answers.
    fs::write(
        &source,
        second.replace("let value: i64", "let value: NoSuchType"),
    )
    .unwrap();
    dev.until_said("still served").await;
    let shown = dev.stderr().join("\n");
    assert!(shown.contains("cannot find type `NoSuchType`"), "{shown}");
    assert_eq!(dev.get("/Tally/alice").await.text(), "now 4\n");

    // Mended, with a log line and a panic that the terminal shows.
    let third = second
        .replace("now {value}", "third {value}")
        .replace("Ok(Response::text", "println!(\"said {value}\");\n        assert!(value < 6, \"too many\");\n        Ok(Response::text");
    fs::write(&source, third).unwrap();
    eventually("the third code", async || {
        let swaps = dev
            .stderr()
            .iter()
            .filter(|line| line.contains("Swapped"))
            .count();
        (swaps == 2).then_some(())
    })
    .await;
    assert_eq!(dev.get("/Tally/alice").await.text(), "third 5\n");
    dev.get("/Tally/alice").await.problem(500, "object-reset");
    dev.until_said("Tally/alice: said 5").await;
    dev.until_said("panicked: too many").await;

    dev.terminate();
    assert_eq!(dev.ended().await.code(), Some(0));
    built_and_served(&project).await;
}

/// What `dev` left is built already: `build` shows it, `serve` goes on with its state.
async fn built_and_served(project: &Path) {
    let built = done(shared_target(dormouse(), project).arg("build"));
    assert!(
        built.contains("tally.wasm") && built.contains("Tally"),
        "{built}"
    );
    let mut serve = shared_target(dormouse(), project);
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    let host = Process::start(&mut serve).await;
    // The trap at 6 undid its own count.
    assert_eq!(host.get("/Tally/bob").await.text(), "third 1\n");
    host.get("/Tally/alice").await.problem(500, "object-reset");
}

#[test]
fn new_leaves_alone_what_is_there_and_refuses_names_that_cannot_be() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("taken")).unwrap();
    fs::write(home.path().join("taken/file"), "mine").unwrap();
    let new = |name: &str| failed(dormouse().args(["new", name]).current_dir(home.path()));
    let (code, stderr) = new("taken");
    assert!(code == 1 && stderr.contains("taken"), "{code}: {stderr}");
    assert_eq!(fs::read_dir(home.path().join("taken")).unwrap().count(), 1);
    let (code, stderr) = new("No Name");
    assert!(
        code == 2 && stderr.contains("lower-case"),
        "{code}: {stderr}"
    );
}

#[test]
fn inspect_tells_classes_imports_exports_and_versions() {
    let report = done(dormouse().arg("inspect").arg(counter()).arg("--json"));
    let report: Json = serde_json::from_str(&report).unwrap();
    let classes = report["classes"].as_array().unwrap().iter();
    let classes: Vec<_> = classes.map(|class| &class["name"]).collect();
    assert_eq!(classes, ["Counter"]);
    assert_eq!(report["contract"], "0.1.0");
    assert_eq!(report["refused"], Json::Null);
    assert_eq!(report["bytes"], fs::metadata(counter()).unwrap().len());
    let sql = json!({"name": "dormouse:object/sql", "version": "0.1.0", "known": true});
    assert!(
        report["imports"].as_array().unwrap().contains(&sql),
        "{report}"
    );
    let object = json!({"name": "dormouse:object/object", "version": "0.1.0", "known": true});
    assert!(
        report["exports"].as_array().unwrap().contains(&object),
        "{report}"
    );

    let page = done(dormouse().arg("inspect").arg(counter()));
    for part in [
        "Counter",
        "dormouse:object/sql@0.1.0",
        "dormouse:object/object@0.1.0",
    ] {
        assert!(page.contains(part), "{page}");
    }
}

#[test]
fn every_command_explains_itself_with_examples() {
    let help = done(dormouse().arg("--help"));
    for command in [
        "new",
        "build",
        "dev",
        "test",
        "serve",
        "inspect",
        "app",
        "deploy",
        "versions",
        "rollback",
        "prune",
        "objects",
        "sql",
        "logs",
        "sockets",
        "alarms",
        "fetch",
        "token",
        "page",
        "doctor",
        "config",
        "completions",
        "man",
    ] {
        assert!(help.contains(command), "{help}");
        let help = done(dormouse().args([command, "--help"]));
        let example = format!("dormouse {command}");
        assert!(
            help.contains("Examples:") && help.contains(&example),
            "{help}"
        );
    }
    assert!(done(dormouse().arg("--version")).contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(failed(dormouse().arg("nonsense")).0, 2);
}

#[test]
fn all_mistakes_of_a_manifest_are_shown_with_line_and_column() {
    let rest = "colour = 1\n[limits]\n  memory = 3\n  cpu_ms = -1";
    let app = app_folder("mistaken", &counter(), rest);
    for command in ["serve", "build", "dev"] {
        let (code, stderr) = failed(dormouse().arg(command).arg(app.path()));
        assert_eq!(code, 1, "{stderr}");
        for mistake in [
            "dormouse.toml:3:1: unknown key `colour`",
            "dormouse.toml:5:3: unknown key `limits.memory`; did you mean `memory_mib`?",
            "dormouse.toml:6:12: `limits.cpu_ms`: -1",
        ] {
            assert!(
                stderr.contains(mistake),
                "{command}: no {mistake:?} in {stderr}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_wins_over_the_environment_and_that_over_the_manifest() {
    let app = app_folder("counter", &counter(), "serve.data = 'by-manifest'");
    for folder in ["by-manifest", "by-variable", "by-flag"] {
        let data = app.path().join(folder);
        fs::create_dir(&data).unwrap();
        share_compiled_code(&data).await;
    }
    let variable = vec![("DORMOUSE_DATA", "by-variable")];
    let flag = vec!["--data", "by-flag"];
    let runs = [
        (vec![], vec![], "1\n"),
        (variable.clone(), vec![], "1\n"),
        (variable, flag.clone(), "1\n"),
        (vec![], flag, "2\n"),
        (vec![], vec![], "2\n"),
    ];
    for (variables, flags, count) in runs {
        let mut serve = dormouse();
        serve.arg("serve").arg(app.path()).args(["--listen", "0"]);
        serve.envs(variables.clone()).args(&flags);
        let host = Process::start(serve.current_dir(app.path())).await;
        let answer = host.get("/Counter/where").await;
        assert_eq!(answer.text(), count, "{variables:?} {flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_alone_is_served() {
    let home = tempfile::tempdir().unwrap();
    fs::copy(counter(), home.path().join("my_counter.wasm")).unwrap();
    let data = home.path().join(".dormouse/data");
    fs::create_dir_all(&data).unwrap();
    share_compiled_code(&data).await;
    let mut serve = dormouse();
    serve.args(["serve", "my_counter.wasm", "--listen", "127.0.0.1:0"]);
    let host = Process::start(serve.current_dir(home.path())).await;
    assert_eq!(host.get("/Counter/alone").await.text(), "1\n");
    let said = host.stdout().join("\n");
    assert!(said.contains("my-counter at http://127.0.0.1:"), "{said}");
}

#[test]
fn the_counter_is_small() {
    let guest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../guests/counter");
    let lines = |file: &str| {
        let text = fs::read_to_string(guest.join(file)).unwrap();
        text.lines().filter(|line| !line.trim().is_empty()).count()
    };
    assert!(
        lines("src/lib.rs") <= 25,
        "{} lines of Rust",
        lines("src/lib.rs")
    );
    let config = lines("Cargo.toml") + lines("dormouse.toml");
    assert!(config <= 8, "{config} lines of config");
}

/// A command in a project whose results are kept between runs.
fn shared_target(mut command: Command, project: &Path) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("projects");
    command.current_dir(project).env("CARGO_TARGET_DIR", target);
    command
}

/// What a command that must succeed says on stdout.
fn done(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

/// The exit code of a command that must not succeed, and what it says on stderr.
fn failed(command: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(!status.success(), "{command:?}: {status}");
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}
