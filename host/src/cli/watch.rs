//! Watch: says when files of an app have changed, a burst of changes once.
//!
//! A watched folder's own files and its folders are followed, but for what builds
//! and editors leave behind: cargo's and the host's folders, hidden files, copies
//! of dependencies, and what the folder's `.gitignore` lists.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use ignore::gitignore::Gitignore;
use notify::event::EventKind;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// A save is over when nothing has changed for so long.
const QUIET: Duration = Duration::from_millis(100);
/// A burst that does not end, such as a checkout, is reported after so long.
const BURST: Duration = Duration::from_secs(2);

const LEFT_BEHIND: [&str; 4] = ["target", "vendor", "node_modules", "Cargo.lock"];

#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    changes: mpsc::UnboundedReceiver<PathBuf>,
    /// Folders of the app, each with its `.gitignore`.
    folders: BTreeMap<PathBuf, Gitignore>,
    ignored: BTreeSet<PathBuf>,
    watched: BTreeSet<PathBuf>,
}

impl Watch {
    pub(super) fn new() -> anyhow::Result<Watch> {
        let (send, changes) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Errors concern single files that went away; the next event finds them.
            let Ok(event) = event else { return };
            if !matches!(event.kind, EventKind::Access(_)) {
                for path in event.paths {
                    // Nobody receives any more: the watch is being dropped.
                    let _ = send.send(path);
                }
            }
        })
        .context("cannot watch files")?;
        Ok(Watch {
            watcher,
            changes,
            folders: BTreeMap::new(),
            ignored: BTreeSet::new(),
            watched: BTreeSet::new(),
        })
    }

    /// Leaves out a file or folder, given as an absolute path.
    pub(super) fn ignore(&mut self, path: PathBuf) {
        self.ignored.insert(path);
    }

    /// Watches a folder, also what has appeared in it since the last call.
    pub(super) fn follow(&mut self, folder: &Path) -> anyhow::Result<()> {
        let (gitignore, _) = Gitignore::new(folder.join(".gitignore"));
        self.folders.insert(folder.to_owned(), gitignore);
        // Only folders that matter are watched in depth: one watch for each folder
        // below `target` would exhaust what the system allows.
        self.add(folder, RecursiveMode::NonRecursive)?;
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() && self.matters(&path) {
                self.add(&path, RecursiveMode::Recursive)?;
            }
        }
        Ok(())
    }

    /// Waits for a change that matters, then until the burst is over.
    pub(super) async fn changed(&mut self) -> BTreeSet<PathBuf> {
        let mut changed = BTreeSet::from([self.next().await]);
        let burst_ends = Instant::now() + BURST;
        loop {
            let quiet_ends = (Instant::now() + QUIET).min(burst_ends);
            match timeout_at(quiet_ends, self.next()).await {
                Ok(path) => changed.insert(path),
                Err(_) => return changed,
            };
        }
    }

    async fn next(&mut self) -> PathBuf {
        loop {
            let path = self
                .changes
                .recv()
                .await
                .expect("the watcher holds the sender");
            // A folder that goes away takes its watch along.
            if !path.exists() {
                self.watched.remove(&path);
            }
            if self.matters(&path) {
                return path;
            }
        }
    }

    fn add(&mut self, path: &Path, mode: RecursiveMode) -> anyhow::Result<()> {
        if self.watched.insert(path.to_owned()) {
            self.watcher
                .watch(path, mode)
                .with_context(|| format!("cannot watch {}", path.display()))?;
        }
        Ok(())
    }

    fn matters(&self, path: &Path) -> bool {
        if self.ignored.iter().any(|ignored| path.starts_with(ignored)) {
            return false;
        }
        self.folders.iter().any(|(folder, gitignore)| {
            path.strip_prefix(folder).is_ok_and(|inside| {
                inside.iter().all(is_source)
                    && !gitignore
                        .matched_path_or_any_parents(inside, path.is_dir())
                        .is_ignore()
            })
        })
    }
}

fn is_source(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let is_editors = name.starts_with('.') || name.ends_with('~') || name == "4913";
    !is_editors && !LEFT_BEHIND.contains(&name.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn a_burst_of_changes_is_one_and_leftovers_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["src", "target", "out"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::write(root.join(".gitignore"), "/out\n").unwrap();
        let mut watch = Watch::new().unwrap();
        watch.ignore(root.join("data"));
        watch.follow(&root).unwrap();

        for name in [
            "target/a",
            "out/b",
            "data",
            ".c.swp",
            "Cargo.lock",
            "src/one.rs",
            "src/two.rs",
        ] {
            fs::write(root.join(name), "x").unwrap();
        }
        let changed = watch.changed().await;
        assert_eq!(
            changed,
            BTreeSet::from(["src/one.rs", "src/two.rs"].map(|name| root.join(name)))
        );
    }

    #[tokio::test]
    async fn a_folder_made_later_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mut watch = Watch::new().unwrap();
        watch.follow(&root).unwrap();
        fs::create_dir(root.join("src")).unwrap();
        assert_eq!(watch.changed().await, BTreeSet::from([root.join("src")]));
        watch.follow(&root).unwrap();
        fs::write(root.join("src/lib.rs"), "x").unwrap();
        assert_eq!(
            watch.changed().await,
            BTreeSet::from([root.join("src/lib.rs")])
        );
    }
}
