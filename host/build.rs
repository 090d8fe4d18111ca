//! Lists the SDK, the test kit with the host in it, the contract and the counter for
//! `dormouse new` to carry.
//!
//! Writes `embedded.rs`, which `cli::vendor` includes: pairs of a path, from the
//! repository's root, and a text. A nested folder with a `Cargo.toml` is another
//! crate and left out unless it is named here. Writes `template_tests.rs` as well: the
//! tests of a new project, for tests/template.rs to run.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 6] = [
    "sdk",
    "sdk/macros",
    "sdk/testing",
    "host",
    "host/storage",
    "wit",
];
const FILES: [&str; 5] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "docs/testing.md",
    "guests/counter/src/lib.rs",
];
const KINDS: [&str; 8] = ["rs", "toml", "wit", "md", "html", "css", "js", "svg"];
/// Of a crate that only its own tests need.
const TESTS: [&str; 2] = ["tests", "examples"];
const TEMPLATE_TESTS: &str = "src/cli/template/tests.rs";

fn main() -> io::Result<()> {
    let host = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let root = host.parent().expect("host is a folder of the repository");
    let mut found = Vec::new();
    for folder in FOLDERS {
        println!("cargo::rerun-if-changed=../{folder}");
        collect(&root.join(folder), &mut found)?;
    }
    for file in FILES {
        println!("cargo::rerun-if-changed=../{file}");
        found.push(root.join(file));
    }
    found.sort();
    let out = PathBuf::from(variable("OUT_DIR")).join("embedded.rs");
    fs::write(out, table(root, &found))?;
    let tests = fs::read_to_string(host.join(TEMPLATE_TESTS))?;
    let out = PathBuf::from(variable("OUT_DIR")).join("template_tests.rs");
    fs::write(out, tests_of_the_guest(&tests))
}

/// The tests of a new project, for the guest that it is made from. Its crate's own
/// comment has no place in the middle of another.
fn tests_of_the_guest(tests: &str) -> String {
    let lines = tests.lines().filter(|line| !line.starts_with("//!"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.replace("TestHost::start()", "super::new_project().start()")
        .replace("TestHost::builder()", "super::new_project()")
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            let name = path.file_name().and_then(|name| name.to_str());
            let is_left_out = name.is_none_or(|name| name == "target" || TESTS.contains(&name));
            if !is_left_out && !path.join("Cargo.toml").exists() {
                collect(&path, found)?;
            }
        } else if path
            .extension()
            .is_some_and(|kind| KINDS.iter().any(|known| kind == *known))
        {
            found.push(path);
        }
    }
    Ok(())
}

fn table(root: &Path, files: &[PathBuf]) -> String {
    let mut table = String::from("pub(super) const FILES: &[(&str, &str)] = &[\n");
    for file in files {
        let name = file
            .strip_prefix(root)
            .expect("every file is under the root");
        let name = name.to_str().expect("names are UTF-8").replace('\\', "/");
        // Writing to a string does not fail.
        let _ = writeln!(table, "    ({name:?}, include_str!({file:?})),");
    }
    table.push_str("];\n");
    table
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("cargo sets this for build scripts")
}
