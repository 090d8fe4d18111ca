//! Client: somebody at the app's front door, and the way that requests take.

use http::{HeaderMap, HeaderValue, header};
use http_body_util::Full;
use tokio::io::DuplexStream;

use crate::host::TestHost;
use crate::http::{Request, Response, header_pair};
use crate::pending::{Pending, exchange};
use crate::socket::Socket;

/// Where requests go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// To files and worker, if the app has them, and its objects.
    Public,
    /// Past worker and files: every path names an object.
    Objects,
}

/// Somebody who asks, with headers of his own.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) host: TestHost,
    door: Door,
    headers: HeaderMap,
}

impl Way {
    pub(crate) fn new(host: TestHost, door: Door) -> Self {
        let headers = HeaderMap::new();
        Self {
            host,
            door,
            headers,
        }
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        let (name, value) = header_pair(name, value);
        self.headers.insert(name, value);
        self
    }

    /// `path` stands for that of the request.
    pub(crate) fn start(&self, path: &str, request: Request) -> Pending {
        let what = format!("{} {path}", request.method);
        let http = self.http(path, request);
        let connection = self.open();
        Pending::start(&self.host, what, exchange(connection, http))
    }

    #[track_caller]
    pub(crate) fn connect(&self, path: &str, request: Request) -> Result<Socket, Box<Response>> {
        let http = self.http(path, request);
        Socket::open(self.host.clone(), self.open(), http)
    }

    fn open(&self) -> DuplexStream {
        let (host, app, door) = (self.host.host(), self.host.handle(), self.door);
        self.host.machine().run(async move {
            match door {
                Door::Public => host.connect(),
                Door::Objects => host.connect_to_objects(&app),
            }
        })
    }

    fn http(&self, path: &str, request: Request) -> http::Request<Full<bytes::Bytes>> {
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

/// Somebody at the app's front door: files and the worker answer there, if the app has
/// them, and `/Class/name/…` otherwise. Each client has headers of its own.
#[derive(Clone, Debug)]
pub struct Client(Way);

impl TestHost {
    /// A client without headers of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        Client(Way::new(self.clone(), Door::Public))
    }
}

impl Client {
    /// One who also sends this header with every request: a token, a language.
    #[must_use]
    pub fn with_header(&self, name: &str, value: impl AsRef<str>) -> Self {
        Self(self.0.clone().with_header(name, value.as_ref()))
    }

    /// Sends a request and waits for the response.
    ///
    /// # Panics
    /// When there is no response, or none without moving the clock; see
    /// [`start_fetch`](Self::start_fetch).
    #[track_caller]
    pub fn fetch(&self, request: impl Into<Request>) -> Response {
        self.start_fetch(request).wait()
    }

    /// A GET of this path.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.fetch(path)
    }

    /// A POST to this path.
    #[track_caller]
    pub fn post(&self, path: &str, body: impl Into<bytes::Bytes>) -> Response {
        self.fetch(Request::post(path, body))
    }

    /// Sends a request, while the test goes on.
    pub fn start_fetch(&self, request: impl Into<Request>) -> Pending {
        let request = request.into();
        self.0.start(&request.path.clone(), request)
    }

    /// Opens a WebSocket at this path.
    ///
    /// # Panics
    /// When nobody takes it; the message shows the response.
    #[must_use]
    #[track_caller]
    pub fn connect(&self, path: impl Into<Request>) -> Socket {
        Socket::taken(self.try_connect(path))
    }

    /// As `connect`; a refusal is the response.
    #[track_caller]
    pub fn try_connect(&self, request: impl Into<Request>) -> Result<Socket, Box<Response>> {
        let request = request.into();
        self.0.connect(&request.path.clone(), request)
    }
}
