//! A client that shows everything: HTTP as it is, and the probe as a list of steps.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value as Json;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::wait::{bounded, eventually};

/// What a client sends; an error breaks the connection off.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(crate) fn empty() -> Body {
    Empty::new().map_err(never).boxed_unsync()
}

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(never).boxed_unsync()
}

pub(crate) fn stream(chunks: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

fn never(error: Infallible) -> std::io::Error {
    match error {}
}

/// One host; cheap to clone. Every request has a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
}

/// A connection kept open for one request after the other.
#[derive(Debug)]
pub(crate) struct Connection(http1::SendRequest<Body>);

/// A response with its whole body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the probe answered to a list of steps.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// Changes when the object starts anew.
    pub(crate) instance: u64,
    pub(crate) results: Vec<Json>,
    pub(crate) all: Json,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (parts, body) = response.into_parts();
        Ok(Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer is text")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("the header is text"))
    }

    pub(crate) fn json(&self) -> Json {
        let parsed = serde_json::from_slice(&self.body);
        parsed.unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// The problem that the host answered, checked for what every problem has.
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Json {
        let problem = self.json();
        assert_eq!(self.status, status, "{problem}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["type"], format!("urn:dormouse:problem:{kind}"));
        assert_eq!(problem["status"], status);
        // The operator's door gives none.
        let request = self.header("x-request-id");
        assert!(
            request.is_empty() || problem["request"] == request,
            "{problem}"
        );
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        problem
    }

    pub(crate) fn ran(&self) -> Ran {
        assert_eq!(self.status, 200, "{self:?}");
        let all = self.json();
        Ran {
            instance: all["instance"].as_u64().expect("the probe has a number"),
            results: all["results"].as_array().expect("a list").clone(),
            all,
        }
    }
}

impl Connection {
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }
}

impl Client {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.ask(Method::POST, path, whole(body)).await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: Body) -> Answer {
        let request = self.request(method, path, body);
        let answer = async { Answer::read(self.send(request).await?).await };
        let answer = bounded("an answer", answer).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// A request that can be changed before it is sent.
    pub(crate) fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::HOST, self.address.to_string());
        request.body(body).expect("the path is one")
    }

    /// The response as soon as its head is there.
    pub(crate) async fn send(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.connect().await.send(request).await
    }

    pub(crate) async fn connect(&self) -> Connection {
        let io = TokioIo::new(self.tcp().await);
        let (sender, connection) = http1::handshake(io).await.expect("a connection");
        // How it ends is seen by the request.
        tokio::spawn(connection);
        Connection(sender)
    }

    pub(crate) async fn connect_http2(&self) -> http2::SendRequest<Body> {
        let io = TokioIo::new(self.tcp().await);
        let shaken = http2::handshake(TokioExecutor::new(), io).await;
        let (sender, connection) = shaken.expect("a connection");
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the host listens")
    }

    /// Lets an object of class `Probe` do these steps, all of which must succeed.
    pub(crate) async fn run(&self, object: &str, steps: Json) -> Ran {
        self.try_run(object, steps).await.ran()
    }

    pub(crate) async fn try_run(&self, object: &str, steps: Json) -> Answer {
        self.post(&format!("/Probe/{object}/run"), steps.to_string())
            .await
    }

    /// The same, while the test goes on.
    pub(crate) fn start_run(&self, object: &str, steps: Json) -> JoinHandle<Answer> {
        let (client, object) = (self.clone(), object.to_owned());
        tokio::spawn(async move { client.try_run(&object, steps).await })
    }

    /// Waits until so many events of the object stand in a `hold` of this name.
    pub(crate) async fn until_held(&self, object: &str, name: &str, count: u64) {
        eventually("events that hold", async || {
            let ran = self.run(object, serde_json::json!([{"held": name}])).await;
            (ran.results[0]["held"] == count).then_some(())
        })
        .await;
    }

    pub(crate) async fn release(&self, object: &str, name: &str) {
        self.run(object, serde_json::json!([{"release": name}]))
            .await;
    }
}
