//! `dormouse test`: once, and again whenever a file changes.

use std::fs;
use std::process::Stdio;

use crate::harness::{dormouse, eventually};

const HOLDS: &str = "#[test]\nfn holds() { assert_eq!(1 + 1, 2); }\n";
const FAILS: &str = "#[test]\nfn holds() { assert_eq!(1 + 1, 3); }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_run_and_run_again_when_a_file_changes() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().canonicalize().unwrap();
    let manifest = "[package]\nname = 'tiny'\nedition = '2024'\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::create_dir(folder.join("src")).unwrap();
    let write = |text: &str| fs::write(folder.join("src/lib.rs"), text).unwrap();
    let test = || {
        let mut test = dormouse();
        test.arg("test").arg(&folder);
        test.env("CARGO_TARGET_DIR", folder.join("target"));
        test
    };
    write(HOLDS);
    let once = test().args(["--", "holds"]).output().unwrap();
    assert!(once.status.success(), "{once:?}");
    write(FAILS);
    let once = test().output().unwrap();
    let said = String::from_utf8_lossy(&once.stderr);
    assert_eq!(once.status.code(), Some(1));
    assert!(said.contains("the tests failed"), "{said}");

    let log = folder.join("target/log");
    let errors = fs::File::create(&log).unwrap();
    let mut watching = test();
    watching.arg("--watch").stdout(Stdio::null()).stderr(errors);
    let mut watching = watching.spawn().unwrap();
    let until = async |words: &str| {
        let said = async || fs::read_to_string(&log).ok()?.contains(words).then_some(());
        eventually(words, said).await;
    };
    until("the tests fail.").await;
    write(HOLDS);
    until("the tests pass.").await;
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn an_app_that_cargo_does_not_build_is_pointed_elsewhere() {
    let app = crate::harness::app_folder("counter", &crate::harness::counter(), "");
    let refused = dormouse().arg("test").arg(app.path()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("dormouse dev --test"), "{said}");
}
