//! Context: what belongs to one live instance, reachable from every import.
//!
//! Lives inside wasmtime's store and ends with it. Holds the object's database
//! and the effects of the running turn; decides nothing about when they leave.

use std::sync::Arc;
use std::time::Duration;

use dormouse_storage::{Database, Ticket};
use tracing::field::{DisplayValue, display};
use wasmtime::component::{GuestTaskId, ResourceTable};
use wasmtime_wasi::p2::bindings::random::random::Host as _;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::alarm::Run;
use super::body::Flows;
use super::environment::Environment;
use super::gate::Gate;
use super::http::Outside;
use super::instance::{CallId, Effect, StorageFailed};
use super::limits::{Limits, MemoryLimiter, Meter};
use super::random::SeededRandom;
use super::stdio::LogStream;
use crate::chain::{Chain, During, InstanceId};
use crate::clock::Clock;
use crate::event::RequestId;
use crate::id::ObjectName;
use crate::slow::{self, Statement};
use crate::socket::{Hub, OpenSocket};
use crate::trace::TraceContext;

/// Which object an instance is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub app: Arc<str>,
    pub class: Arc<str>,
    pub object: ObjectName,
}

/// What an instance is.
#[derive(Clone, Debug)]
pub(super) enum Who {
    Object(Identity),
    /// One of several, all alike, of this app.
    Worker(Arc<str>),
}

impl Who {
    pub(super) const fn app(&self) -> &Arc<str> {
        match self {
            Self::Object(identity) => &identity.app,
            Self::Worker(app) => app,
        }
    }

    /// For log records; a worker's have neither class nor object.
    pub(super) fn class(&self) -> Option<&str> {
        match self {
            Self::Object(identity) => Some(&identity.class),
            Self::Worker(_) => None,
        }
    }

    pub(super) fn object(&self) -> Option<DisplayValue<&ObjectName>> {
        match self {
            Self::Object(identity) => Some(display(&identity.object)),
            Self::Worker(_) => None,
        }
    }
}

pub struct Context {
    pub(super) who: Arc<Who>,
    pub(super) instance: InstanceId,
    pub(super) environment: Arc<Environment>,
    pub(super) clock: Clock,
    database: Option<Database>,
    /// What the guest asked to send in the turn that runs.
    pub(super) effects: Vec<Effect>,
    /// Response bodies that are under way.
    pub(super) flows: Flows,
    tasks: Tasks,
    /// Shut while an event wants to be alone.
    pub(super) gate: Gate,
    /// The event that woke the object, for what its constructor calls.
    pub(super) woken_by: Option<(RequestId, Chain)>,
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
    http: WasiHttpCtx,
    pub(super) outside: Outside,
    /// How long a statement may take before it is told.
    slow_sql: Duration,
    /// How many took longer in the turn that runs.
    slow_statements: u32,
}

impl Context {
    pub(super) fn new(
        who: Who,
        mut database: Option<Database>,
        environment: &Arc<Environment>,
        limits: &Limits,
        clock: Clock,
        hub: Arc<Hub>,
    ) -> Self {
        let who = Arc::new(who);
        let meter = Meter::new(limits.cpu);
        if let Some(database) = &mut database {
            let watch = meter.clone();
            database.set_interrupt(Box::new(move || {
                watch.give_way();
                watch.exhausted() || watch.statement_is_late()
            }));
        }
        let outside = Outside::new(environment.egress.clone(), database.is_some());
        let stdout = LogStream::stdout(who.clone());
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&environment.vars)
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
            who,
            instance: InstanceId::next(),
            environment: environment.clone(),
            clock,
            database,
            effects: Vec::new(),
            flows: Flows::default(),
            tasks: Tasks::default(),
            gate: Gate::default(),
            woken_by: None,
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
            http: WasiHttpCtx::new(),
            outside,
            slow_sql: limits.slow_sql,
            slow_statements: 0,
        }
    }

    /// # Errors
    /// In a worker, and in the instance that only lists the classes.
    pub(super) fn database(&mut self) -> wasmtime::Result<&mut Database> {
        self.database.as_mut().ok_or_else(|| {
            wasmtime::format_err!(
                "only an object has a database and alarms: a worker asks an object, and \
                 `classes` runs before there is one"
            )
        })
    }

    /// A statement has run.
    pub(super) fn ran(&mut self, statement: &Statement<'_>) {
        if statement.took < self.slow_sql {
            return;
        }
        if let Who::Object(Identity { app, class, object }) = &*self.who {
            slow::tell(app, class, object, self.outside.only_event(), statement);
            self.slow_statements += 1;
        }
    }

    /// How many statements were slow since it was last asked.
    pub(super) const fn take_slow_statements(&mut self) -> u32 {
        std::mem::replace(&mut self.slow_statements, 0)
    }

    /// The database, if this is an object.
    pub(super) const fn own_database(&mut self) -> Option<&mut Database> {
        self.database.as_mut()
    }

    /// Ends the transaction of the turn before the turn itself is over.
    pub(super) fn commit(&mut self) -> wasmtime::Result<()> {
        if let Some(database) = &mut self.database {
            database.end_turn().map_err(StorageFailed::from)?;
        }
        Ok(())
    }

    /// What must be durable before anything may leave; nothing holds a worker back.
    pub(super) fn gate(&mut self) -> Option<Ticket> {
        self.database.as_mut().map(|database| database.gate())
    }

    /// The guest task that serves an event, so that log records find it.
    pub(super) fn serve(&mut self, task: GuestTaskId, request: RequestId) {
        self.serve_call(task, request, Chain::default());
    }

    /// The same for an event that other objects wait for.
    pub(super) fn serve_call(&mut self, task: GuestTaskId, request: RequestId, chain: Chain) {
        self.memory.refused = false;
        self.running.serve(request);
        self.outside.begins(request);
        self.tasks.begin(task, request, chain);
    }

    /// The event has its answer; its task may go on in the background.
    pub(super) fn answered(&mut self, task: GuestTaskId) {
        if let Some(request) = self.tasks.answered(task) {
            self.outside.ends(request);
        }
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

    /// The span that one of `tasks` works for; without a known event the constructor's.
    pub(super) fn trace_of(&self, tasks: &[GuestTaskId]) -> Option<TraceContext> {
        let request = tasks.iter().find_map(|task| self.event_of(*task));
        let woken_by = || self.woken_by.as_ref().map(|(request, _)| *request);
        request.or_else(woken_by)?.trace()
    }

    /// The event that `task` serves.
    pub(super) fn event_of(&self, task: GuestTaskId) -> Option<RequestId> {
        self.tasks.find(task).map(|task| task.request)
    }

    /// The same, by its number in this instance.
    pub(super) fn serial_of(&self, task: GuestTaskId) -> Option<u64> {
        self.tasks.find(task).map(|task| task.serial)
    }

    /// What may leave at the end of a turn: while a transaction is open, only what was
    /// sent before it began and what it waits for itself.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        let database = self.database.as_ref();
        let in_transaction = database.is_some_and(|database| database.in_transaction());
        let all = std::mem::take(&mut self.effects);
        if !in_transaction {
            return all;
        }
        let before = std::mem::take(&mut self.gate.effects_before);
        let mut free = Vec::new();
        for (at, effect) in all.into_iter().enumerate() {
            if at < before || effect.is_awaited() {
                free.push(effect);
            } else {
                self.effects.push(effect);
            }
        }
        free
    }

    /// For a call that one of `tasks` makes: the request it belongs to, and the
    /// chain that ends in this object. Without a known event it is the constructor's.
    pub(super) fn cause_of(&self, tasks: &[GuestTaskId]) -> (RequestId, Chain) {
        let event = tasks.iter().find_map(|task| self.tasks.find(*task));
        let (request, chain, during) = match (event, &self.woken_by) {
            (Some(task), _) => (task.request, &task.chain, During::Event(task.serial)),
            (None, Some((request, chain))) => (*request, chain, During::Construct),
            (None, None) => (RequestId::next(), Chain::NONE, During::Construct),
        };
        let chain = match &*self.who {
            Who::Object(Identity { app, class, object }) => {
                let who = (app.clone(), class.clone(), object.clone());
                chain.extended(who, self.instance, during)
            }
            // Nobody calls a worker, so no chain comes back to it.
            Who::Worker(_) => chain.clone(),
        };
        (request, chain)
    }

    /// Bytes that nobody can guess.
    pub(super) fn random_bytes<const N: usize>(&mut self) -> wasmtime::Result<[u8; N]> {
        let bytes = self.wasi.random().get_random_bytes(N as u64)?;
        let bytes = bytes.try_into();
        bytes.map_err(|_| wasmtime::format_err!("the source of random bytes is broken"))
    }
}

/// Which guest task serves which event: a short list, newest last.
#[derive(Default)]
struct Tasks {
    tasks: Vec<Task>,
    next: u64,
}

struct Task {
    id: GuestTaskId,
    /// Never used again, unlike `id`.
    serial: u64,
    request: RequestId,
    chain: Chain,
    answered: bool,
}

impl Tasks {
    /// Answered tasks are remembered for their background work up to here.
    const MOST: usize = 256;

    fn begin(&mut self, id: GuestTaskId, request: RequestId, chain: Chain) {
        if self.tasks.len() >= Self::MOST {
            self.tasks.retain(|task| !task.answered);
        }
        let serial = self.next;
        self.next += 1;
        self.tasks.push(Task {
            id,
            serial,
            request,
            chain,
            answered: false,
        });
    }

    fn answered(&mut self, id: GuestTaskId) -> Option<RequestId> {
        let task = self.tasks.iter_mut().rev().find(|task| task.id == id)?;
        task.answered = true;
        Some(task.request)
    }

    /// Task ids are used again, so the newest entry counts.
    fn find(&self, id: GuestTaskId) -> Option<&Task> {
        self.tasks.iter().rev().find(|task| task.id == id)
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

impl WasiHttpView for Context {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outside,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({:?})", self.who)
    }
}
