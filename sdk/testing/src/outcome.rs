//! Outcome: what is left of a test that failed.

#![allow(
    clippy::print_stderr,
    reason = "the output of a test is where its author looks"
)]

use std::collections::BTreeMap;
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

/// What a test that failed had to do with.
pub(crate) struct Failed<'a> {
    pub(crate) disk: &'a SimDisk,
    pub(crate) logs: &'a Logs,
    pub(crate) component: &'a Path,
    /// Of objects, by their ids in hexadecimal digits.
    pub(crate) names: BTreeMap<String, String>,
}

impl Failed<'_> {
    /// Writes the data folder where it can be opened, and tells where, with the log. The
    /// same is in `report.txt` beside it.
    pub(crate) fn keep(&self) {
        let test = std::thread::current();
        let name = test.name().unwrap_or("test").replace("::", "-");
        let folder = app::scratch().join("failed").join(name);
        let report = match self.write(&folder) {
            Ok(report) => report,
            Err(error) => format!(
                "{}its data could not be kept in {}: {error}\n",
                self.log(),
                folder.display()
            ),
        };
        say(report.trim_end());
    }

    fn write(&self, folder: &Path) -> io::Result<String> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let data = folder.join("data");
        let databases = copy(self.disk, &data)?;
        let mut report = self.log();
        if let Some((first, _)) = databases.first() {
            report += &self.commands(&data, first, &databases);
        }
        fs::create_dir_all(folder)?;
        fs::write(folder.join("report.txt"), &report)?;
        Ok(report)
    }

    fn log(&self) -> String {
        let records = self.logs.all();
        if records.is_empty() {
            return String::new();
        }
        let lines = records.iter().map(|record| format!("  {record}\n"));
        format!("the log of the host:\n{}", lines.collect::<String>())
    }

    fn commands(&self, data: &Path, first: &Place, databases: &[(Place, PathBuf)]) -> String {
        let (component, data) = (self.component.display(), data.display());
        let mut text = format!(
            "what its objects held is kept; look at it with\n  dormouse serve {component} --data \
             {data}\nand beside it\n  dormouse objects --data {data}\n  dormouse sql {} --data \
             {data}\nor without a host\n",
            quoted(&self.named(first))
        );
        for (place, file) in databases {
            let line = format!(
                "  sqlite3 -readonly {}   # {}\n",
                file.display(),
                self.named(place)
            );
            text += &line;
        }
        text
    }

    fn named(&self, place: &Place) -> String {
        match self.names.get(&place.id) {
            Some(name) => format!("{}/{name}", place.class),
            None => format!("{}/id:{}", place.class, place.id),
        }
    }
}

/// One word to a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Whose database it is.
struct Place {
    class: String,
    id: String,
}

impl Place {
    /// A data folder has `…/CLASS/ID.db`.
    fn of(file: &Path) -> Option<Self> {
        let class = file.parent()?.file_name()?.to_str()?;
        let id = file.file_stem()?.to_str()?;
        let is_database = file.extension().is_some_and(|kind| kind == "db");
        is_database.then(|| Self {
            class: class.to_owned(),
            id: id.to_owned(),
        })
    }
}

/// Copies all files. The databases among them.
fn copy(disk: &SimDisk, folder: &Path) -> io::Result<Vec<(Place, PathBuf)>> {
    let mut databases = Vec::new();
    for (path, length) in disk.files() {
        let mut content = vec![0; length];
        disk.open(&path, false)?.read_at(&mut content, 0)?;
        let target = folder.join(&path);
        fs::create_dir_all(target.parent().unwrap_or(folder))?;
        fs::write(&target, content)?;
        if let Some(place) = Place::of(&target) {
            databases.push((place, target));
        }
    }
    Ok(databases)
}
