//! Object: one durable object, from outside and from within.

use std::fmt;
use std::time::{Duration, SystemTime};

use dormouse_storage::Alarm;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use crate::host::TestHost;
use crate::http::{Request, Response, header_pair};
use crate::logs::Record;
use crate::socket::Socket;

/// An object by class and name, whether it was ever used or not.
#[derive(Clone, Debug)]
pub struct Object {
    host: TestHost,
    class: String,
    name: String,
    headers: HeaderMap,
}

/// A request under way.
#[must_use = "the response comes with `wait`"]
pub struct Pending {
    host: TestHost,
    what: String,
    task: JoinHandle<Result<Response, String>>,
}

impl Object {
    pub(crate) fn new(host: TestHost, class: &str, name: &str) -> Self {
        Self {
            host,
            class: class.to_owned(),
            name: name.to_owned(),
            headers: HeaderMap::new(),
        }
    }

    /// The same object, as seen by a client that sends this header with every
    /// request: a token, a language, a cookie.
    #[must_use]
    pub fn with_header(&self, name: &str, value: impl AsRef<str>) -> Self {
        let mut other = self.clone();
        let (name, value) = header_pair(name, value.as_ref());
        other.headers.insert(name, value);
        other
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
        let what = format!("{} {}", request.method, self.path(&request.path));
        let http = self.http(request);
        let chance = self.host.clock().chance().clone();
        let connection = {
            let machine = self.host.machine();
            let host = self.host.host();
            machine.run(async move { host.connect() })
        };
        let task = self.host.machine().spawn(async move {
            while chance.gives_way() {
                tokio::task::yield_now().await;
            }
            exchange(connection, http)
                .await
                .map_err(|error| error.to_string())
        });
        let host = self.host.clone();
        Pending { host, what, task }
    }

    /// Opens a WebSocket at this path (from `/`) inside the object.
    ///
    /// # Panics
    /// When the object does not take it; the message shows its response.
    #[must_use]
    #[track_caller]
    pub fn connect(&self, path: impl Into<Request>) -> Socket {
        match self.try_connect(path) {
            Ok(socket) => socket,
            Err(response) => {
                let body = String::from_utf8_lossy(&response.body).into_owned();
                panic!("the object takes no WebSocket: {} {body}", response.status)
            }
        }
    }

    /// As `connect`; a refusal is the object's response.
    #[track_caller]
    pub fn try_connect(&self, request: impl Into<Request>) -> Result<Socket, Box<Response>> {
        let http = self.http(request.into());
        Socket::open(self.host.clone(), http)
    }

    /// The object's alarms and dead letters; wakes nobody.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        self.host.settle();
        let (host, address) = (self.host.host(), self.address());
        let alarms = self.host.run("reading alarms", host.alarms(&address));
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
        let (host, address) = (self.host.host(), self.address());
        let retried = self
            .host
            .run("the dead letter", host.revive_alarm(&address, name));
        if let Err(error) = retried {
            panic!("{error:#}");
        }
        self.host.settle();
    }

    /// What the object logged and printed, and what the host said of it, oldest first.
    #[must_use]
    pub fn logs(&self) -> Vec<Record> {
        let mut logs = self.host.logs();
        logs.retain(|one| one.field("class") == self.class && one.field("object") == self.name);
        logs
    }

    /// Whether the object has an instance at the moment.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.host.settle();
        self.host.host().is_awake(&self.address())
    }

    /// Puts the object to sleep, if it has nothing to do: its fields are forgotten,
    /// its storage, alarms and sockets stay.
    pub fn evict(&self) {
        self.host.settle();
        self.host.host().evict(&self.address());
        self.host.settle();
    }

    /// Ends the instance whatever it does, as a panic would.
    pub fn reset(&self) {
        self.host.host().reset(&self.address());
        self.host.settle();
    }

    pub(crate) fn address(&self) -> dormouse::alarm::Address {
        self.host.address(&self.class, &self.name)
    }

    fn path(&self, rest: &str) -> String {
        let name = utf8_percent_encode(&self.name, NON_ALPHANUMERIC);
        let slash = if rest.starts_with('/') { "" } else { "/" };
        format!("/{}/{name}{slash}{rest}", self.class)
    }

    fn http(&self, request: Request) -> http::Request<Full<bytes::Bytes>> {
        let path = self.path(&request.path);
        let mut http = http::Request::new(Full::new(request.body));
        *http.method_mut() = request.method;
        *http.uri_mut() = path
            .parse()
            .unwrap_or_else(|error| panic!("{path:?} is no path: {error}"));
        let headers = http.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("test"));
        headers.extend(self.headers.clone());
        headers.extend(request.headers);
        http
    }
}

impl Pending {
    /// Waits for the response.
    ///
    /// # Panics
    /// When there is none, or none without moving the clock.
    #[track_caller]
    pub fn wait(self) -> Response {
        let Self { host, what, task } = self;
        match host.run(&what, task) {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => panic!("{what}: {error}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Whether the response is there, after all that can happen now.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.host.settle();
        self.task.is_finished()
    }

    /// The client goes away without waiting.
    pub fn abandon(self) {
        self.task.abort();
        self.host.settle();
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({})", self.what)
    }
}

async fn exchange(
    connection: DuplexStream,
    request: http::Request<Full<bytes::Bytes>>,
) -> hyper::Result<Response> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
    // How it ends is seen by the request.
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body,
    })
}
