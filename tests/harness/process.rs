//! The real binary: started, watched, stopped and killed as an operator would.

use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::client::Client;
use super::lines::{Lines, follow, snapshot};
use super::wait::eventually;
use super::world::share_compiled_code;

/// A `dormouse serve` or `dormouse dev` that listens.
pub(crate) struct Process {
    child: Child,
    client: Client,
    stdout: Lines,
    stderr: Lines,
}

/// A folder with a `dormouse.toml` for a component that is already built.
pub(crate) fn app_folder(name: &str, component: &Path, rest: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the app");
    let build = format!("build.component = '{}'", component.display());
    let text = format!("name = '{name}'\n{build}\n{rest}\n");
    std::fs::write(folder.path().join("dormouse.toml"), text).expect("a manifest");
    folder
}

/// The binary, deaf to the settings of whoever runs the tests.
pub(crate) fn dormouse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    for name in [
        "LISTEN",
        "DATA",
        "ADMIN",
        "TLS_CERT",
        "TLS_KEY",
        "ADMIN_TLS_CERT",
        "ADMIN_TLS_KEY",
        "CA",
        "SHUTDOWN_TIMEOUT",
        "LOG",
        "LOG_FORMAT",
        "TO",
        "TOKEN",
        "APP",
        "SECRETS_KEY",
    ] {
        command.env_remove(format!("DORMOUSE_{name}"));
    }
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"OTEL_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

impl Process {
    /// Serves the app in a folder on this data; logs are JSON.
    pub(crate) async fn serve(app: &Path, data: &Path, more: &[&str]) -> Self {
        share_compiled_code(data).await;
        let mut command = dormouse();
        command.arg("serve").arg(app).arg("--data").arg(data);
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
        Self::start(command.args(more)).await
    }

    /// Starts a command and waits until it listens.
    pub(crate) async fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary is built");
        let stdout = follow(child.stdout.take().expect("stdout is piped"));
        let stderr = follow(child.stderr.take().expect("stderr is piped"));
        let address = eventually("an address to listen on", async || {
            let lines = snapshot(&stdout);
            let address = lines.iter().find_map(|line| line.split("http://").nth(1));
            let ended = child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{ended:?}: {:?}", snapshot(&stderr));
            address.map(|text| text.parse().expect("an address"))
        });
        let address = address.await;
        Self {
            child,
            client: Client { address },
            stdout,
            stderr,
        }
    }

    pub(crate) fn stdout(&self) -> Vec<String> {
        snapshot(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> Vec<String> {
        snapshot(&self.stderr)
    }

    /// The records on stderr so far.
    pub(crate) fn log(&self) -> Vec<Json> {
        let lines = self.stderr();
        let records = lines.iter().filter(|line| line.starts_with('{'));
        let parse = |line| serde_json::from_str(line).expect("a record is JSON");
        records.map(|line: &String| parse(line)).collect()
    }

    /// Waits until a line on stderr contains the text.
    pub(crate) async fn until_said(&self, text: &str) {
        eventually(text, async || {
            let said = self.stderr().iter().any(|line| line.contains(text));
            said.then_some(())
        })
        .await;
    }

    /// As `kill -9`: nothing gets a chance to be written.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child of ours");
    }

    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill is installed").success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let ended = async || child.try_wait().expect("a child of ours");
        eventually("the end of the process", ended).await
    }

    /// Forgets the peak of memory use so far.
    pub(crate) fn reset_peak(&self) {
        let file = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(file, "5").expect("Linux, and a child of ours");
    }

    /// A line of `/proc/PID/status` that counts memory, in KiB.
    pub(crate) fn memory_kib(&self, name: &str) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(file).expect("Linux, and it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().nth(1));
        number.expect("a known line").parse().expect("a number")
    }
}

impl Deref for Process {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either it runs, or it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Any command that goes on talking; ends with the test.
pub(crate) struct Talker {
    child: Child,
    stdout: Lines,
}

impl Talker {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it is built");
        let stdout = follow(child.stdout.take().expect("stdout is piped"));
        Self { child, stdout }
    }

    pub(crate) fn stdout(&self) -> Vec<String> {
        snapshot(&self.stdout)
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // Either it runs, or it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
