//! Scripts in `tests/web`, which Node runs against a host: a browser, or a client
//! library in JavaScript.
//!
//! A script says on its standard output where it is and waits; the test does its
//! part (moves the clock, restarts the host) and lets it go on.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use std::io::Write as _;

use super::guests::root;
use super::lines::{Lines, follow, snapshot};
use super::wait::eventually;

/// A script that runs.
pub(crate) struct Script {
    name: String,
    child: Child,
    stdin: ChildStdin,
    stdout: Lines,
    stderr: Lines,
    /// Lines of its output that the test has waited for.
    heard: usize,
}

impl Script {
    /// Starts `tests/web/{name}` with these arguments, first of all the host's URL.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut node = Command::new("node");
        node.arg(name).args(arguments).current_dir(installed());
        let node = node.stdin(Stdio::piped());
        let node = node.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = node.spawn().expect("Node 20 or newer is installed");
        Self {
            name: name.to_owned(),
            stdin: child.stdin.take().expect("stdin is piped"),
            stdout: follow(child.stdout.take().expect("stdout is piped")),
            stderr: follow(child.stderr.take().expect("stderr is piped")),
            child,
            heard: 0,
        }
    }

    /// What a script prints that runs by itself.
    pub(crate) fn output(name: &str, arguments: &[&str]) -> String {
        let mut node = Command::new("node");
        let output = node.arg(name).args(arguments).current_dir(installed());
        let output = output.output().expect("Node 20 or newer is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tests/web/{name}\n{errors}");
        String::from_utf8(output.stdout).expect("scripts print UTF-8")
    }

    /// The folder of the scripts and their packages.
    pub(crate) fn folder() -> &'static Path {
        installed()
    }

    /// Waits until the script pauses; `place` is what it says next.
    pub(crate) async fn paused(&mut self, place: &str) {
        let said = eventually(place, async || {
            let said = snapshot(&self.stdout).get(self.heard).cloned();
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none() || said.is_some(), "{}", self.report());
            said
        });
        let said = said.await;
        assert_eq!(said, place, "{}", self.report());
        self.heard += 1;
    }

    /// Lets a script that pauses go on.
    pub(crate) fn go_on(&mut self) {
        let written = self.stdin.write_all(b"\n");
        written.unwrap_or_else(|error| panic!("{error}: {}", self.report()));
    }

    /// Waits for the end of the script, which must have found nothing wrong.
    pub(crate) async fn passed(mut self) {
        let child = &mut self.child;
        let ended = async || child.try_wait().expect("a child of ours");
        let status = eventually("the end of the script", ended).await;
        assert!(status.success(), "{}", self.report());
    }

    fn report(&self) -> String {
        let said = snapshot(&self.stdout).join("\n");
        let errors = snapshot(&self.stderr).join("\n");
        format!("tests/web/{}\n{said}\n{errors}", self.name)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Either it runs, or it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether Node and Chromium are there. With `CI` set they must be; elsewhere a test
/// that needs them says that it did not run.
#[allow(
    clippy::print_stderr,
    reason = "the output of a test is where its user looks"
)]
pub(crate) fn has_browser() -> bool {
    let answers = |command: &str| {
        let asked = Command::new(command).arg("--version").output();
        asked.is_ok_and(|answer| answer.status.success())
    };
    let chromium = std::env::var("CHROMIUM").is_ok()
        || ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .any(answers);
    let there = std::env::var_os("CI").is_some() || (answers("node") && chromium);
    if !there {
        eprintln!("not run: it needs Node 20 or newer and Chromium; install both, or set CHROMIUM");
    }
    there
}

/// The folder of the scripts, with the packages that its lock file names.
fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = root().join("tests/web");
        let mark = folder.join("node_modules/.package-lock.json");
        if changed(&mark) < changed(&folder.join("package-lock.json")) {
            let status = Command::new("npm").arg("ci").current_dir(&folder).status();
            let status = status.expect("npm is installed, beside Node");
            assert!(status.success(), "npm ci: {status}");
        }
        folder
    })
}

fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}
