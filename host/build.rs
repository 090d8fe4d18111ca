//! Lists the SDK, the contract and the counter for `dormouse new` to carry.
//!
//! Writes `embedded.rs`, which `cli::vendor` includes: pairs of a path, from the
//! repository's root, and a text. A nested folder with a `Cargo.toml` is another
//! crate and left out unless it is named here.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 3] = ["sdk", "sdk/macros", "wit"];
const FILES: [&str; 3] = ["Cargo.toml", "LICENSE", "guests/counter/src/lib.rs"];
const KINDS: [&str; 4] = ["rs", "toml", "wit", "md"];

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
    fs::write(out, table(root, &found))
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name() != Some("target".as_ref()) && !path.join("Cargo.toml").exists() {
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
