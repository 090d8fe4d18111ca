//! Commands about the machine and the command line itself.

use std::process::Command;

use serde_json::{Value as Json, json};

use crate::harness::{app_folder, counter, dormouse};

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_doctor_names_what_keeps_a_host_from_working() {
    let home = tempfile::tempdir().unwrap();
    let look = |data: &str| {
        let mut doctor = dormouse();
        doctor.args(["doctor", "--json", "--data", data]);
        let output = doctor.current_dir(home.path()).output().unwrap();
        let findings: Json = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), findings)
    };
    let verdict = |findings: &Json, what: &str| {
        let all = findings.as_array().unwrap().iter();
        let one = all.clone().find(|one| one["what"] == what);
        one.unwrap_or_else(|| panic!("{findings}"))["verdict"].clone()
    };
    let (code, findings) = look("fine");
    assert_eq!(
        (code, verdict(&findings, "data folder")),
        (Some(0), json!("good"))
    );
    assert_eq!(verdict(&findings, "host on it"), "good");
    // It has made nothing.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);

    let (code, findings) = look("/proc/nowhere");
    assert_eq!(
        (code, verdict(&findings, "data folder")),
        (Some(1), json!("bad"))
    );

    let admin = home.path().join("dead/admin");
    std::fs::create_dir_all(&admin).unwrap();
    let left = json!({"url": "http://127.0.0.1:1", "token": "x", "pid": 1});
    std::fs::write(admin.join("local.json"), left.to_string()).unwrap();
    let (_, findings) = look("dead");
    assert_eq!(verdict(&findings, "host on it"), "warning");
}

#[test]
fn config_tells_where_each_value_comes_from() {
    let rest = "serve.data = 'here'\nlimits.cpu_ms = 5\nvars.A = 'b'\n\
                limits.sql.columns = 7\noutgoing.hosts = ['a.example']";
    let app = app_folder("counter", &counter(), rest);
    let mut show = dormouse();
    show.args(["config", "show", "--json", "--log", "warn"])
        .arg(app.path());
    show.env("DORMOUSE_LISTEN", "127.0.0.1:99");
    show.env("OTEL_SERVICE_NAME", "shop");
    show.env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret");
    let settings: Json = serde_json::from_str(&done(&mut show)).unwrap();
    let of = |name: &str| {
        let found = settings
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == name);
        let found = found.unwrap_or_else(|| panic!("{name}: {settings}"));
        (
            found["value"].as_str().unwrap(),
            found["from"].as_str().unwrap(),
        )
    };
    assert_eq!(
        of("serve.listen"),
        ("127.0.0.1:99", "variable DORMOUSE_LISTEN")
    );
    assert_eq!(of("admin"), ("127.0.0.1:100", "default"));
    assert_eq!(of("log"), ("warn", "flag --log"));
    assert_eq!(
        of("OTEL_SERVICE_NAME"),
        ("shop", "variable OTEL_SERVICE_NAME")
    );
    assert_eq!(of("OTEL_EXPORTER_OTLP_HEADERS").0, "(set)");
    assert_eq!(of("limits.cpu_ms"), ("5", "dormouse.toml"));
    assert_eq!(of("limits.memory_mib"), ("128", "default"));
    assert_eq!(of("vars.A"), ("b", "dormouse.toml"));
    assert_eq!(of("limits.history_days"), ("30", "default"));
    assert_eq!(of("limits.sql.columns"), ("7", "dormouse.toml"));
    assert_eq!(of("limits.sql.parameters"), ("32766", "default"));
    assert_eq!(of("worker.instances"), ("64", "default"));
    assert_eq!(of("outgoing.hosts"), (r#"["a.example"]"#, "dormouse.toml"));
    assert_eq!(of("outgoing.private_hosts"), ("[]", "default"));
    assert_eq!(of("admin-tls-cert"), ("none", "default"));
    assert_eq!(of("build.component").1, "dormouse.toml");
    assert_eq!(of("serve.data").1, "dormouse.toml");
    assert!(of("serve.data").0.ends_with("/here"));
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    done(dormouse().args(["man", "--dir"]).arg(folder.path()));
    let bash = done(dormouse().args(["completions", "bash"]));
    for command in [
        "dev", "serve", "deploy", "rollback", "sql", "objects", "logs", "doctor",
    ] {
        assert!(bash.contains(command), "{command}");
        let page = folder.path().join(format!("dormouse-{command}.1"));
        let page = std::fs::read_to_string(&page).unwrap();
        assert!(page.contains("Examples"), "{command}: {page}");
    }
    let page = done(dormouse().arg("man"));
    assert!(page.contains(".TH dormouse 1"), "{page}");
}
