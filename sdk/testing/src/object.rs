//! Object: one durable object, from outside and from within.

use std::fmt;
use std::time::{Duration, SystemTime};

use dormouse_storage::Alarm;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::{Door, Way};
use crate::host::TestHost;
use crate::http::{Request, Response};
use crate::logs::Record;
use crate::pending::Pending;
use crate::socket::Socket;

/// An object by class and name, whether it was ever used or not.
#[derive(Clone, Debug)]
pub struct Object {
    way: Way,
    class: String,
    name: String,
}

impl Object {
    pub(crate) fn new(host: TestHost, class: &str, name: &str) -> Self {
        Self {
            way: Way::new(host, Door::Objects),
            class: class.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The same object, as seen by a client that sends this header with every
    /// request: a token, a language, a cookie.
    #[must_use]
    pub fn with_header(&self, name: &str, value: impl AsRef<str>) -> Self {
        let way = self.way.clone().with_header(name, value.as_ref());
        Self {
            way,
            ..self.clone()
        }
    }

    /// Sends a request to the object and waits for the response.
    ///
    /// # Panics
    /// When there is no response, or none without moving the clock; see
    /// [`start_fetch`](Self::start_fetch).
    #[track_caller]
    pub fn fetch(&self, request: impl Into<Request>) -> Response {
        self.start_fetch(request).wait()
    }

    /// A GET of this path (from `/`) inside the object.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.fetch(path)
    }

    /// A POST to this path (from `/`) inside the object.
    #[track_caller]
    pub fn post(&self, path: &str, body: impl Into<bytes::Bytes>) -> Response {
        self.fetch(Request::post(path, body))
    }

    /// Sends a request, while the test goes on. It makes way whenever the test waits
    /// for something or moves the clock.
    pub fn start_fetch(&self, request: impl Into<Request>) -> Pending {
        let request = request.into();
        self.way.start(&self.path(&request.path), request)
    }

    /// Opens a WebSocket at this path (from `/`) inside the object.
    ///
    /// # Panics
    /// When the object does not take it; the message shows its response.
    #[must_use]
    #[track_caller]
    pub fn connect(&self, path: impl Into<Request>) -> Socket {
        Socket::taken(self.try_connect(path))
    }

    /// As `connect`; a refusal is the object's response.
    #[track_caller]
    pub fn try_connect(&self, request: impl Into<Request>) -> Result<Socket, Box<Response>> {
        let request = request.into();
        self.way.connect(&self.path(&request.path), request)
    }

    /// The object's alarms and dead letters; wakes nobody.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        self.host().settle();
        let (host, address) = (self.host().handle(), self.address());
        let alarms = self.host().run("reading alarms", host.alarms(&address));
        alarms.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// When the next of the object's alarms runs.
    #[must_use]
    pub fn next_alarm(&self) -> Option<SystemTime> {
        let due = self.alarms().iter().filter_map(|alarm| alarm.due_ms).min();
        let after = |ms: i64| Duration::from_millis(ms.try_into().unwrap_or_default());
        due.map(|ms| SystemTime::UNIX_EPOCH + after(ms))
    }

    /// Runs a dead letter again, now; the default alarm has the empty name.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn retry_dead_letter(&self, name: &str) {
        let (host, address) = (self.host().handle(), self.address());
        let retried = self
            .host()
            .run("the dead letter", host.revive_alarm(&address, name));
        if let Err(error) = retried {
            panic!("{error:#}");
        }
        self.host().settle();
    }

    /// What the object logged and printed, and what the host said of it, oldest first.
    #[must_use]
    pub fn logs(&self) -> Vec<Record> {
        let (mut logs, app) = (self.host().logs(), self.host().handle());
        logs.retain(|one| {
            let fields = [one.field("app"), one.field("class"), one.field("object")];
            fields == [&**app.name(), &*self.class, &*self.name]
        });
        logs
    }

    /// Whether the object has an instance at the moment.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.host().settle();
        self.host().handle().is_awake(&self.address())
    }

    /// Puts the object to sleep, if it has nothing to do: its fields are forgotten,
    /// its storage, alarms and sockets stay.
    pub fn evict(&self) {
        self.host().settle();
        self.host().handle().evict(&self.address());
        self.host().settle();
    }

    /// Ends the instance whatever it does, as a panic would.
    pub fn reset(&self) {
        self.host().handle().reset(&self.address());
        self.host().settle();
    }

    pub(crate) fn address(&self) -> dormouse::alarm::Address {
        self.host().address(&self.class, &self.name)
    }

    pub(crate) fn host(&self) -> &TestHost {
        &self.way.host
    }

    pub(crate) fn class(&self) -> &str {
        &self.class
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name as an operator writes it.
    pub(crate) fn key(&self) -> String {
        match self.name.starts_with("id:") {
            true => format!("id:{}", self.address().id),
            false => self.name.clone(),
        }
    }

    fn path(&self, rest: &str) -> String {
        let name = utf8_percent_encode(&self.name, NON_ALPHANUMERIC);
        let slash = if rest.starts_with('/') { "" } else { "/" };
        format!("/{}/{name}{slash}{rest}", self.class)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.class, self.name)
    }
}
