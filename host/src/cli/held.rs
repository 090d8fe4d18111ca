//! Held: `dormouse dev --test`, a host for tests in any language.
//!
//! The host runs on one thread with a clock that stands still and an outside that is
//! scripted, and commits when nothing else can go on; the admin door moves it. A crash
//! drops the whole thread, and another one begins on the same folder and addresses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use dormouse_storage::{Env, Faults};
use tokio::sync::Notify;

use super::project::Project;
use super::{args, dev, logging};
use crate::admin::Records;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::egress::Script;
use crate::host::{Builder, Testing};
use crate::machine::Machine;

/// Emptied at every start, unless the command line names another folder.
const DATA: &str = ".dormouse/test";

/// What one start hands to the next.
#[derive(Clone, Debug)]
pub(super) struct Held {
    clock: Clock,
    script: Script,
    testing: Testing,
}

/// How a start ended.
#[derive(Debug)]
pub(super) enum Ended {
    Stopped,
    /// By order of a test; the host was at these addresses.
    Crashed {
        public: SocketAddr,
        admin: Option<SocketAddr>,
    },
}

pub(super) async fn run(args: args::Dev) -> anyhow::Result<()> {
    let records = logging::install(&args.log);
    let all = tokio::task::spawn_blocking(move || start_again_and_again(args, &records));
    all.await.context("the host for tests ended")?
}

fn start_again_and_again(mut args: args::Dev, records: &Records) -> anyhow::Result<()> {
    if args.door.data.is_none() {
        args.door.data = Some(empty_folder(&args)?);
    }
    let clock = Clock::manual().with_chance(Chance::seeded(args.seed));
    let script = Script::default();
    for starts in 1.. {
        let machine = Machine::new();
        let held = Held {
            clock: clock.clone(),
            script: script.clone(),
            testing: Testing {
                quiet: machine.quiet(),
                crash: Arc::new(Notify::new()),
                starts,
            },
        };
        let served = dev::serve(&args, records.clone(), Some(held));
        match machine.run(served)? {
            Ended::Stopped => break,
            Ended::Crashed { public, admin } => {
                args.door.listen = Some(public);
                args.door.admin = admin.map(args::AdminAt::At).or(args.door.admin);
            }
        }
    }
    Ok(())
}

fn empty_folder(args: &args::Dev) -> anyhow::Result<PathBuf> {
    let folder = Project::open(&args.dir)?.root.join(DATA);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty {}", folder.display()))
        }
        _ => Ok(folder),
    }
}

impl Held {
    /// A host that is to live on the machine of this start.
    pub(super) fn build(&self, host: Builder, data: &std::path::Path) -> anyhow::Result<Builder> {
        std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
        let real = Env::real(data).with_context(|| format!("cannot use {}", data.display()))?;
        let env = Env {
            clock: Arc::new(StorageClock(self.clock.clone())),
            threads: false,
            faults: Faults::default(),
            ..real
        };
        Ok(host
            .clock(self.clock.clone())
            .script(self.script.clone())
            .testing(self.testing.clone())
            .disk(env))
    }

    pub(super) async fn crashed(&self) {
        self.testing.crash.notified().await;
    }
}

#[derive(Debug)]
struct StorageClock(Clock);

impl dormouse_storage::Clock for StorageClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.unix_ms()).unwrap_or_default()
    }
}
