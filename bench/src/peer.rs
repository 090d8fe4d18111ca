//! Peers: the hosts that are compared. Another one is one more entry in [`all`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::install;
use crate::process::Process;

/// The host with a worker in front, which takes part in lines of load alone.
const WORKER: &str = "worker";

/// How a host is started and what it can do.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// For the page: what it is and what it does about durability.
    pub(crate) about: &'static str,
    /// Put before a path of the contract; `{name}` is the object's name.
    prefix: &'static str,
    /// Objects, or a stateless limit.
    pub(crate) objects: bool,
    /// Has alarms, and puts idle objects away.
    pub(crate) durable_objects: bool,
    start: Start,
}

#[derive(Clone, Debug)]
enum Start {
    /// The host, with these environment variables.
    Dormouse(PathBuf, Vec<(String, String)>),
    /// The host with a worker in front of the objects.
    Fronted,
    Workerd,
    /// This binary, with `--serve`.
    Own(&'static str),
}

/// A peer that listens, with a data folder of its own.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) peer: Peer,
    pub(crate) port: u16,
    pub(crate) process: Process,
    data: TempDir,
}

pub(crate) fn all() -> Vec<Peer> {
    vec![
        Peer {
            name: "dormouse",
            about: "this host, with `guests/bench`. Every write is synced before its answer \
                    leaves; one sync serves all that gathered meanwhile.",
            prefix: "/Bench/{name}",
            objects: true,
            durable_objects: true,
            start: Start::Dormouse(install::host_binary(), Vec::new()),
        },
        Peer {
            name: WORKER,
            about: "this host again, with the worker `guests/bench-worker` in front, which \
                    passes each request on to the object: the difference is what a call from \
                    a worker to an object costs.",
            prefix: "",
            objects: true,
            durable_objects: false,
            start: Start::Fronted,
        },
        Peer {
            name: "workerd",
            about: "Cloudflare's runtime from npm, SQLite storage on local disk, one process. \
                    It syncs the write-ahead log of the object's own file once for each commit \
                    before it answers (seen with `strace`), so it is as durable as we are.",
            prefix: "",
            objects: true,
            durable_objects: true,
            start: Start::Workerd,
        },
        Peer {
            name: "native",
            about: "axum and rusqlite without any sandbox: a SQLite file for each object, WAL \
                    with `synchronous=FULL`, so one sync for each write. No output gate, no \
                    alarms, nothing is put to sleep.",
            prefix: "",
            objects: true,
            durable_objects: false,
            start: Start::Own("native"),
        },
        Peer {
            name: "hello",
            about: "axum that answers `Hello, world!` and does nothing else: the limit.",
            prefix: "",
            objects: false,
            durable_objects: false,
            start: Start::Own("hello"),
        },
    ]
}

/// Another build of the host, or the same with other settings.
pub(crate) fn other(binary: PathBuf, with: Vec<(String, String)>) -> Peer {
    Peer {
        name: "other",
        start: Start::Dormouse(binary, with),
        ..all().remove(0)
    }
}

impl Peer {
    pub(crate) fn needs_host(&self) -> bool {
        self.name == "dormouse"
    }

    pub(crate) fn only_load(&self) -> bool {
        self.name == WORKER
    }

    pub(crate) fn needs_workerd(&self) -> bool {
        matches!(self.start, Start::Workerd)
    }

    /// The path at which this peer serves a path of the contract.
    pub(crate) fn path(&self, object: &str, path: &str) -> String {
        self.prefix.replace("{name}", object) + path
    }

    /// Starts it on an empty data folder.
    pub(crate) async fn run(&self) -> Result<Running> {
        let folder = install::folder().join("data");
        std::fs::create_dir_all(&folder)?;
        let data = tempfile::tempdir_in(folder)?;
        self.run_on(data).await
    }

    async fn run_on(&self, data: TempDir) -> Result<Running> {
        let port = free_port()?;
        let command = self.command(port, data.path())?;
        self.run_command(command, port, data).await
    }

    async fn run_command(&self, mut command: Command, port: u16, data: TempDir) -> Result<Running> {
        let process = Process::spawn(&mut command)?;
        let mut running = Running {
            peer: self.clone(),
            port,
            process,
            data,
        };
        running.wait_for_answer().await?;
        Ok(running)
    }

    fn command(&self, port: u16, data: &Path) -> Result<Command> {
        let address = format!("127.0.0.1:{port}");
        Ok(match &self.start {
            Start::Dormouse(binary, with) => {
                let mut command = Command::new(binary);
                command.arg("serve").arg(install::component("bench"));
                command.args(["--listen", &address, "--data"]).arg(data);
                command.env("DORMOUSE_LOG", "warn");
                command.envs(with.iter().map(|(name, value)| (name, value)));
                command
            }
            Start::Fronted => {
                let mut command = Command::new(install::host_binary());
                command.arg("serve").arg(install::fronted_app()?);
                command.args(["--listen", &address, "--data"]).arg(data);
                command.env("DORMOUSE_LOG", "warn");
                command
            }
            Start::Workerd => {
                let mut command = Command::new(install::workerd_binary());
                command.args(["serve", "config.capnp"]);
                command.current_dir(install::root().join("bench/peers/workerd"));
                command.args(["--socket-addr", &format!("http={address}")]);
                let disk = format!("disk={}", data.display());
                command.args(["--directory-path", &disk]);
                command
            }
            Start::Own(which) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--serve", which, "--port", &port.to_string(), "--data"]);
                command.arg(data);
                command
            }
        })
    }
}

impl Running {
    pub(crate) fn path(&self, object: &str, path: &str) -> String {
        self.peer.path(object, path)
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Ends the process and starts it again on the same data. Also says how long it
    /// took from the start to the first answer.
    pub(crate) async fn restart(self) -> Result<(Self, Duration)> {
        let Self {
            peer,
            process,
            data,
            ..
        } = self;
        process.end()?;
        let began = Instant::now();
        let running = peer.run_on(data).await?;
        Ok((running, began.elapsed()))
    }

    /// As `restart`, with `words` put before the command.
    pub(crate) async fn restart_under(self, words: &[String]) -> Result<Self> {
        let Self {
            peer,
            process,
            data,
            ..
        } = self;
        process.end()?;
        let port = free_port()?;
        let command = peer.command(port, data.path())?;
        let mut wrapped = Command::new(&words[0]);
        wrapped.args(&words[1..]).arg(command.get_program());
        wrapped.args(command.get_args());
        let variables = command.get_envs();
        wrapped.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        peer.run_command(wrapped, port, data).await
    }

    /// As `restart`, with nothing given to the process to prepare for it.
    pub(crate) async fn kill_and_start(self) -> Result<Self> {
        let Self {
            peer,
            process,
            data,
            ..
        } = self;
        drop(process);
        peer.run_on(data).await
    }

    async fn wait_for_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let path = self.path("hello", "/hello");
        while Instant::now() < deadline {
            if let Ok(mut client) = crate::client::Client::connect(self.port).await
                && client.get(&path).await.is_ok()
            {
                return Ok(());
            }
            if let Some(said) = self.process.ended()? {
                bail!("{} ended at its start: {said}", self.peer.name);
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        bail!("{} does not answer on port {}", self.peer.name, self.port)
    }
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
