//! Outcome: what is left of a test that failed.

#![allow(
    clippy::print_stderr,
    reason = "the output of a test is where its author looks"
)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dormouse_storage::Disk as _;
use dormouse_storage::simulated::SimDisk;

use crate::app;
use crate::logs::Logs;

pub(crate) fn say(words: &str) {
    eprintln!("{words}");
}

/// Writes the data folder where it can be opened, and tells where, with the log.
pub(crate) fn keep(disk: &SimDisk, logs: &Logs) {
    let records = logs.all();
    if !records.is_empty() {
        say("the log of the host:");
        for record in records {
            say(&format!("  {record}"));
        }
    }
    let test = std::thread::current();
    let name = test.name().unwrap_or("test").replace("::", "-");
    let folder = app::scratch().join("failed").join(name);
    match copy(disk, &folder) {
        Ok(databases) if databases.is_empty() => (),
        Ok(databases) => {
            say("the databases of its objects are kept; open one with");
            for database in databases {
                say(&format!("  sqlite3 -readonly {}", database.display()));
            }
        }
        Err(error) => say(&format!("its data could not be kept: {error}")),
    }
}

/// Copies all files, in place of what an earlier run left. The databases among them.
fn copy(disk: &SimDisk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut databases = Vec::new();
    for (path, length) in disk.files() {
        let mut content = vec![0; length];
        disk.open(&path, false)?.read_at(&mut content, 0)?;
        let target = folder.join(&path);
        fs::create_dir_all(target.parent().unwrap_or(folder))?;
        fs::write(&target, content)?;
        if target.extension().is_some_and(|kind| kind == "db") {
            databases.push(target);
        }
    }
    Ok(databases)
}
