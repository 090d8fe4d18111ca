//! Events: what an object is given to handle, and what comes back.
//!
//! Made by `server` (and later by alarms, sockets and stubs), carried by the
//! mailbox, handled by `object`. Bodies are whole or streams; a stream says how
//! it ended, so that a body cut short is never taken for a whole one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dormouse_storage::{
    Alarm, Error as StorageError, KvList, KvPage, OperatorAnswer, Rehearsal, Value,
};
use http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use crate::alarm::Fire;
use crate::chain::Chain;
use crate::socket::{OpenSocket, SocketEvent, SocketId};
use crate::trace::{Span, TraceContext};

/// One thing for an object to handle, and where its result goes.
#[derive(Debug)]
pub struct Event {
    pub request_id: RequestId,
    pub kind: Kind,
    pub reply: oneshot::Sender<Result<Reply, Fault>>,
}

#[derive(Debug)]
pub enum Kind {
    Fetch(Request),
    /// Another object, or somebody who calls a method, asks.
    Called(Called),
    /// The time of one of the object's alarms may have come.
    Alarm(Fire),
    /// An operator asks or acts; no guest is called.
    Alarms(AlarmAction),
    /// An operator looks into the database; no guest is called.
    Look(Look),
    Socket(SocketId, SocketEvent),
}

/// A call from inside the host.
#[derive(Debug)]
pub struct Called {
    /// The objects that wait for it; empty for a call that began outside of objects.
    pub chain: Chain,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Fetch(Request),
    Method(MethodCall),
}

/// A call of a method, see `wit/namespace.wit`.
#[derive(Debug)]
pub struct MethodCall {
    pub method: String,
    /// A JSON array.
    pub arguments: String,
    pub body: Body,
}

impl Event {
    /// The objects that wait for this event.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        match &self.kind {
            Kind::Called(called) => &called.chain,
            _ => Chain::NONE,
        }
    }
}

#[derive(Debug)]
pub enum AlarmAction {
    List,
    /// Runs the dead letter of this name again, now.
    Revive(String),
    /// Runs the alarm of this name now, instead of at its time.
    Hasten(String),
}

/// What an operator wants to see of a database.
#[derive(Debug)]
pub enum Look {
    Sql(SqlText),
    /// The same, undone before it is answered.
    DryRun(SqlText),
    Pairs(KvList),
}

/// SQL of an operator.
#[derive(Debug)]
pub struct SqlText {
    pub sql: String,
    pub params: Vec<Value>,
    /// Otherwise a statement that writes is refused.
    pub writes: bool,
    /// Further rows are left out.
    pub max_rows: u32,
}

#[derive(Debug)]
pub struct Request {
    pub method: String,
    /// Absolute, with the part that chose the object taken off.
    pub url: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Body,
    /// The subprotocols offered, if the client asks for a WebSocket.
    pub upgrade: Option<Vec<String>>,
}

/// What an event that was handled gives back.
#[derive(Debug)]
pub enum Reply {
    /// To [`Kind::Fetch`].
    Response(Response),
    /// To [`Kind::Fetch`] with an upgrade that the object took: the headers of
    /// the 101 and the socket that waits for its connection.
    Upgrade {
        headers: Vec<(String, Vec<u8>)>,
        socket: OpenSocket,
    },
    /// To [`What::Method`].
    Method(MethodAnswer),
    /// To [`Kind::Alarms`]: the alarms and dead letters of the object.
    Alarms(Vec<Alarm>),
    /// To [`Kind::Look`].
    Look(LookAnswer),
    /// To every other kind.
    Done,
}

impl Reply {
    /// Writes down in the span of an event what came of it.
    pub fn trace(result: &Result<Self, Fault>, span: &mut Span) {
        let status = match result {
            Ok(Self::Response(response)) => response.status,
            Ok(Self::Upgrade { .. }) => 101,
            Ok(_) => return,
            Err(fault) => return span.failed(fault.kind(), fault),
        };
        span.answered(status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}

/// What a method gave back.
#[derive(Debug)]
pub struct MethodAnswer {
    /// JSON.
    pub value: String,
    pub body: Body,
}

#[derive(Debug)]
pub enum LookAnswer {
    Rows(OperatorAnswer),
    /// To [`Look::DryRun`].
    Rehearsed(Rehearsal),
    Pairs(KvPage),
    /// The statement's own mistake.
    Failed(StorageError),
    /// Nothing was ever written under this id.
    NoObject,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    None,
    Bytes(Bytes),
    Stream(Chunks),
}

/// A streamed body: chunks in order, then exactly one [`Chunk::End`]. A channel
/// that closes without one means that the writer died.
pub type Chunks = mpsc::Receiver<Chunk>;

#[derive(Debug)]
pub enum Chunk {
    Data(Bytes),
    /// `Err` says in words why the body is not whole.
    End(Result<(), String>),
}

/// Identifies one event in logs and answers: 16 hexadecimal digits. Carries the span that
/// the event belongs to, if traces are kept, wherever the event goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    number: u64,
    trace: Option<TraceContext>,
}

impl RequestId {
    /// Different from every other of this process, and very probably from those
    /// of other processes.
    #[must_use]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let start = START.get_or_init(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let nanos = since.map_or(0, |d| d.as_nanos() as u64);
            nanos ^ (u64::from(std::process::id()) << 40)
        });
        // An odd multiplier spreads neighbours over all digits and keeps them apart.
        let count = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(*start);
        Self {
            number: count.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            trace: None,
        }
    }

    /// The same, for what happens within a span.
    #[must_use]
    pub fn within(self, span: &Span) -> Self {
        let trace = span.context().or(self.trace);
        Self { trace, ..self }
    }

    /// The span that what happens next is a part of.
    #[must_use]
    pub const fn trace(self) -> Option<TraceContext> {
        self.trace
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.number)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an event got no reply. What the guest can mend is told apart from what
/// the caller can try again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The handler or the constructor answered `err`; what it wrote stays.
    #[error("the object failed: {0}")]
    Guest(Arc<str>),
    /// A method answered with the error that it declares, here as JSON.
    #[error("the method answered with an error: {message}")]
    Declared { value: Arc<str>, message: Arc<str> },
    /// No such method, or arguments that do not fit it.
    #[error("{0}")]
    BadCall(Arc<str>),
    /// The chain of calls comes back into an object that lets nobody in before its
    /// own call is done.
    #[error(
        "the call would wait for ever: {chain}; the last object lets nobody in while {gate} \
         waits for the first call; call others after it"
    )]
    Reentrant { chain: Arc<str>, gate: &'static str },
    /// The instance ended while the event was in flight.
    #[error("the object was reset: {0}")]
    Reset(Reset),
    /// The mailbox is full.
    #[error("the object is overloaded: {events} events are waiting already; try again later")]
    Overloaded { events: usize },
    /// The host has no room for one more live object.
    #[error("the host cannot wake another object now: {0}")]
    Exhausted(Arc<str>),
    /// A worker's handler ran too long without an answer.
    #[error("no answer began within {limit_ms} ms")]
    Late { limit_ms: u64 },
    /// The other app is not there, is paused, or has no code at the moment.
    #[error("{0}")]
    Away(Arc<str>),
    /// The host is going down.
    #[error("the host is shutting down; try again")]
    ShuttingDown,
}

impl Fault {
    /// Whether the same event may succeed when sent again.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Reset(_)
                | Self::Overloaded { .. }
                | Self::Exhausted(_)
                | Self::Away(_)
                | Self::ShuttingDown
        )
    }

    /// In a word, for traces.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Guest(_) => "failed",
            Self::Declared { .. } => "declared",
            Self::BadCall(_) => "bad-call",
            Self::Reentrant { .. } => "reentrant",
            Self::Reset(_) => "reset",
            Self::Overloaded { .. } => "overloaded",
            Self::Exhausted(_) => "exhausted",
            Self::Away(_) => "away",
            Self::Late { .. } => "late",
            Self::ShuttingDown => "shutting-down",
        }
    }
}

/// What ended an instance before its time. The open turn is undone, everything
/// committed stays, the next event starts afresh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reset {
    #[error("its code trapped: {0}")]
    Trap(Arc<str>),
    #[error("it used more than its {limit_ms} ms of processor time for one event")]
    Cpu { limit_ms: u64 },
    #[error("it needed more than its {limit_bytes} bytes of memory")]
    Memory { limit_bytes: u64 },
    #[error("its constructor did not finish within {limit_ms} ms")]
    ConstructTimeout { limit_ms: u64 },
    #[error("its critical section failed: {0}")]
    Section(Arc<str>),
    #[error("its critical section or transaction did not end within {limit_ms} ms")]
    SectionTimeout { limit_ms: u64 },
    #[error("the handler of its alarm did not finish within {limit_ms} ms")]
    AlarmTimeout { limit_ms: u64 },
    #[error("the handler of a WebSocket's event did not finish within {limit_ms} ms")]
    SocketTimeout { limit_ms: u64 },
    #[error("its database cannot go on: {0}")]
    Storage(Arc<str>),
    #[error("its code was replaced and the event did not finish within {limit_ms} ms")]
    Replaced { limit_ms: u64 },
    #[error("it ended its session: {0}")]
    Ended(Arc<str>),
    #[error("its operator asked for it")]
    Operator,
    #[error("the host is shutting down")]
    ShuttingDown,
}
