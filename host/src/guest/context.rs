//! Context: what belongs to one live instance, reachable from every import.
//!
//! Lives inside wasmtime's store and ends with it. Holds the object's database
//! and the effects of the running turn; decides nothing about when they leave.

use std::sync::Arc;

use dormouse_storage::Database;
use wasmtime::component::{GuestTaskId, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::alarm::Run;
use super::body::Flows;
use super::instance::{CallId, Effect};
use super::limits::{Limits, MemoryLimiter, Meter};
use super::random::SeededRandom;
use super::stdio::LogStream;
use crate::clock::Clock;
use crate::event::RequestId;
use crate::id::ObjectName;
use crate::socket::{Hub, OpenSocket};

/// Who the instance is, for log records.
#[derive(Clone, Debug)]
pub struct Identity {
    pub class: Arc<str>,
    pub object: ObjectName,
}

pub struct Context {
    pub(super) identity: Arc<Identity>,
    pub(super) clock: Clock,
    database: Option<Database>,
    /// What the guest asked to send in the turn that runs.
    pub(super) effects: Vec<Effect>,
    /// Response bodies that are under way.
    pub(super) flows: Flows,
    tasks: Tasks,
    /// Whether the class has a handler for alarms.
    pub(super) handles_alarms: bool,
    /// Alarms whose handlers have not answered yet.
    pub(super) alarm_runs: Vec<Run>,
    /// The object's sockets, which outlive this instance.
    pub(super) hub: Arc<Hub>,
    /// Sockets taken by events that have not answered yet.
    pub(super) accepted: Vec<(CallId, OpenSocket)>,
    /// Requests without an answer.
    running_calls: Vec<CallId>,
    pub(super) meter: Meter,
    pub(super) memory: MemoryLimiter,
    /// Text on standard output that belongs to no known event is logged with the
    /// event that ran last.
    pub(super) running: LogStream,
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
}

impl Context {
    pub(super) fn new(
        identity: Identity,
        mut database: Option<Database>,
        vars: &[(String, String)],
        limits: &Limits,
        clock: Clock,
        hub: Arc<Hub>,
    ) -> Self {
        let identity = Arc::new(identity);
        let meter = Meter::new(limits.cpu);
        if let Some(database) = &mut database {
            let watch = meter.clone();
            database.set_interrupt(Box::new(move || {
                watch.give_way();
                watch.exhausted()
            }));
        }
        let stdout = LogStream::stdout(identity.clone());
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(vars)
            .stdout(stdout.clone())
            .stderr(stdout.stderr())
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .max_random_size(1 << 20)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if clock.chance().is_seeded() {
            let random = || SeededRandom(clock.chance().clone());
            wasi.secure_random(random())
                .insecure_random(random())
                .insecure_random_seed(clock.chance().number().into());
        }
        Self {
            identity,
            clock,
            database,
            effects: Vec::new(),
            flows: Flows::default(),
            tasks: Tasks::default(),
            handles_alarms: false,
            alarm_runs: Vec::new(),
            hub,
            accepted: Vec::new(),
            running_calls: Vec::new(),
            meter,
            memory: MemoryLimiter::new(limits.memory_bytes),
            running: stdout,
            table: ResourceTable::new(),
            wasi: wasi.build(),
        }
    }

    /// # Errors
    /// In the instance that only lists the classes: it is no object.
    pub(super) fn database(&mut self) -> wasmtime::Result<&mut Database> {
        self.database.as_mut().ok_or_else(|| {
            wasmtime::format_err!("`classes` must not use the database: no object exists yet")
        })
    }

    /// The guest task that serves an event, so that log records find it.
    pub(super) fn serve(&mut self, task: GuestTaskId, request: RequestId) {
        self.memory.refused = false;
        self.running.serve(request);
        self.tasks.begin(task, request);
    }

    /// The event has its answer; its task may go on in the background.
    pub(super) fn answered(&mut self, task: GuestTaskId) {
        self.tasks.answered(task);
    }

    /// A request runs: until its answer it may take a socket.
    pub(super) fn request_begins(&mut self, call: CallId) {
        self.running_calls.push(call);
    }

    /// The request is answered; the socket it took, if any.
    pub(super) fn request_ends(&mut self, call: CallId) -> Option<OpenSocket> {
        self.running_calls.retain(|running| *running != call);
        let at = self.accepted.iter().position(|(by, _)| *by == call)?;
        Some(self.accepted.swap_remove(at).1)
    }

    pub(super) fn is_running(&self, call: CallId) -> bool {
        self.running_calls.contains(&call)
    }

    /// The event that `task` serves.
    pub(super) fn event_of(&self, task: GuestTaskId) -> Option<RequestId> {
        self.tasks.find(task)
    }
}

/// Which guest task serves which event: a short list, newest last.
#[derive(Default)]
struct Tasks(Vec<Task>);

struct Task {
    id: GuestTaskId,
    request: RequestId,
    answered: bool,
}

impl Tasks {
    /// Answered tasks are remembered for their background work up to here.
    const MOST: usize = 256;

    fn begin(&mut self, id: GuestTaskId, request: RequestId) {
        if self.0.len() >= Self::MOST {
            self.0.retain(|task| !task.answered);
        }
        self.0.push(Task {
            id,
            request,
            answered: false,
        });
    }

    fn answered(&mut self, id: GuestTaskId) {
        if let Some(task) = self.0.iter_mut().rev().find(|task| task.id == id) {
            task.answered = true;
        }
    }

    /// Task ids are used again, so the newest entry counts.
    fn find(&self, id: GuestTaskId) -> Option<RequestId> {
        let task = self.0.iter().rev().find(|task| task.id == id);
        task.map(|task| task.request)
    }
}

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({:?})", self.identity)
    }
}
