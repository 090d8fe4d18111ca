//! What is no component for this host is refused by name, before anything of it runs.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{World, app, dormouse, probe};

struct Refused {
    name: &'static str,
    wasm: Vec<u8>,
    /// What the message names.
    says: &'static [&'static str],
    /// Whether it is a component at all, so that `inspect` can show it.
    is_component: bool,
}

fn all() -> Vec<Refused> {
    let mut damaged = std::fs::read(probe()).unwrap();
    damaged.truncate(damaged.len() / 2);
    let file = |name, wasm: &[u8], says| Refused {
        name,
        wasm: wasm.to_vec(),
        says,
        is_component: false,
    };
    let component = |name, text: &str, says| Refused {
        name,
        wasm: wat::parse_str(text).unwrap(),
        says,
        is_component: true,
    };
    vec![
        file("empty", b"", &["the file is empty"]),
        file("text", b"hello", &["does not begin like WebAssembly"]),
        file("damaged", &damaged, &["does not compile"]),
        file(
            "core-module",
            b"\0asm\x01\0\0\0",
            &["core module", "wasm32-wasip2"],
        ),
        component(
            "wrong-world",
            r#"(component (instance $i) (export "some:other/thing@1.0.0" (instance $i)))"#,
            &[
                "exports neither object classes nor a worker",
                "dormouse:object/object@0.1`",
                "some:other/thing@1.0.0",
            ],
        ),
        component(
            "exports-nothing",
            "(component)",
            &[
                "exports neither object classes nor a worker",
                "exports nothing",
            ],
        ),
        component(
            "missing-import",
            r#"(component (import "acme:magic/wand@1.2.3" (instance)))"#,
            &["acme:magic/wand@1.2.3", "dormouse:object@0.1"],
        ),
        component(
            "newer-contract",
            r#"(component (import "dormouse:object/sql@9.0.0" (instance)))"#,
            &["dormouse:object/sql@9.0.0", "dormouse:object@0.1"],
        ),
        component(
            "wrong-shape",
            r#"(component (instance $i) (export "dormouse:object/object@0.1.0" (instance $i)))"#,
            &["does not fit the contract"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deployment_is_refused_and_the_old_code_keeps_running() {
    let world = World::probe().await;
    let folder = tempfile::tempdir().unwrap();
    let before = world.run("refused", json!([{"memory": "incr"}])).await;
    for refused in all() {
        let file = refused.write(folder.path());
        let error = world.host.deploy(app("probe", &file)).await.unwrap_err();
        refused.check(&format!("{error:#}"));
    }
    let missing = app("probe", folder.path().join("missing.wasm"));
    let error = world.host.deploy(missing).await.unwrap_err();
    assert!(format!("{error:#}").contains("missing.wasm"), "{error:#}");

    let after = world.run("refused", json!([{"memory": "incr"}])).await;
    assert_eq!(after.instance, before.instance);
    assert_eq!(after.results, [json!({"memory": 2})]);
}

#[test]
fn serve_fails_with_the_reason_on_stderr() {
    let folder = tempfile::tempdir().unwrap();
    for refused in all() {
        let mut serve = dormouse();
        serve.arg("serve").arg(refused.write(folder.path()));
        serve.args(["--listen", "127.0.0.1:0", "--data"]);
        let output = serve.arg(folder.path().join("data")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{}: {stderr}", refused.name);
        refused.check(&stderr);
        assert!(
            stderr.contains(&format!("{}.wasm", refused.name)),
            "{stderr}"
        );
        assert!(output.stdout.is_empty(), "{}", refused.name);
    }
}

#[test]
fn inspect_names_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    for refused in all() {
        let mut inspect = dormouse();
        inspect.arg("inspect").arg(refused.write(folder.path()));
        let output = inspect.output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        // A component can be looked at also when the host would not serve it.
        let said = if refused.is_component { stdout } else { stderr };
        refused.check(&said);
        let wanted = if refused.is_component { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(wanted), "{}", refused.name);
    }
}

impl Refused {
    fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join(self.name).with_extension("wasm");
        std::fs::write(&file, &self.wasm).unwrap();
        file
    }

    fn check(&self, message: &str) {
        for part in self.says {
            assert!(
                message.contains(part),
                "{}: no {part:?} in {message}",
                self.name
            );
        }
    }
}
