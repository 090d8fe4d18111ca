//! Script: answers in place of the outside, for tests.
//!
//! Given to a host instead of the network (`host::Builder::script`), it keeps every
//! request that the policy allows and answers it by the newest route that fits; nothing
//! is sent. A request that no route fits fails, and says how to write one. Waits are on
//! the host's clock.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};

use super::route::Route;
use super::{Error, Outgoing};
use crate::clock::Clock;

/// The body of a scripted response.
pub(super) type Scripted = UnsyncBoxBody<Bytes, io::Error>;

/// Cheap to clone; clones are the same script.
#[derive(Clone, Debug, Default)]
pub struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The newest last.
    lines: Vec<Line>,
    sent: Vec<Sent>,
}

#[derive(Debug)]
struct Line {
    route: Route,
    replies: Replies,
}

enum Replies {
    /// One after the other; the last one stays.
    Listed(VecDeque<Reply>),
    Made(Arc<dyn Fn(&Sent) -> Reply + Send + Sync>),
}

/// One request of a guest, with its whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// In upper case, as a rule.
    pub method: String,
    /// Absolute, with the query.
    pub url: String,
    /// As the guest gave them; those of the connection are missing.
    pub headers: HeaderMap,
    /// All of it, streamed or not.
    pub body: Bytes,
    /// When it was sent: milliseconds since 1970, on the host's clock.
    pub at_ms: i64,
    /// The route that answered it; `None`: no route did.
    pub route: Option<String>,
}

/// What a route answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    after: Duration,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Response {
        status: http::StatusCode,
        headers: HeaderMap,
        body: Bytes,
        end: End,
    },
    Refused,
    Reset,
    Silent,
}

/// How a body comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// Broken off behind so many bytes.
    Reset(usize),
    /// Behind so many bytes nothing comes any more.
    Stall(usize),
}

impl Script {
    /// Answers what fits `route` with these, one after the other; the last one stays.
    /// A newer route goes before an older one.
    ///
    /// # Errors
    /// The route cannot be read, or there is no reply: in words.
    pub fn answer(
        &self,
        route: &str,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Result<(), String> {
        let replies: VecDeque<_> = replies.into_iter().collect();
        if replies.is_empty() {
            return Err(format!("the route {route:?} needs a reply"));
        }
        self.add(route, Replies::Listed(replies))
    }

    /// Answers what fits `route` with what `make` says to it.
    ///
    /// # Errors
    /// The route cannot be read: in words.
    pub fn answer_with(
        &self,
        route: &str,
        make: impl Fn(&Sent) -> Reply + Send + Sync + 'static,
    ) -> Result<(), String> {
        self.add(route, Replies::Made(Arc::new(make)))
    }

    /// Every request so far, in the order in which they were sent.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    /// Forgets all routes and requests.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    fn add(&self, route: &str, replies: Replies) -> Result<(), String> {
        let route = route.parse()?;
        self.lock().lines.push(Line { route, replies });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In place of sending it. `target` is for errors.
    pub(super) async fn send(
        &self,
        request: Request<Outgoing>,
        target: &str,
        clock: &Clock,
    ) -> Result<Response<Scripted>, Error> {
        let broken = |why: &dyn fmt::Display| Error::Broken {
            target: target.to_owned(),
            why: why.to_string(),
        };
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| broken(&error))?;
        let sent = Sent {
            method: parts.method.to_string(),
            url: parts.uri.to_string(),
            headers: parts.headers,
            body: body.to_bytes(),
            at_ms: clock.unix_ms(),
            route: None,
        };
        let reply = self.reply_to(sent)?;
        while clock.chance().gives_way() {
            tokio::task::yield_now().await;
        }
        clock.sleep(reply.after).await;
        match reply.outcome {
            Outcome::Response {
                status,
                headers,
                body,
                end,
            } => {
                let mut response = Response::new(scripted(body, end));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                if let Some(bytes) = response.body().size_hint().exact() {
                    let length = http::header::CONTENT_LENGTH;
                    response.headers_mut().insert(length, bytes.into());
                }
                Ok(response)
            }
            Outcome::Refused => Err(Error::Unreachable {
                target: target.to_owned(),
                why: "connection refused, as its script says".to_owned(),
            }),
            Outcome::Reset => Err(broken(&RESET)),
            Outcome::Silent => std::future::pending().await,
        }
    }

    /// Keeps the request and finds what to say to it.
    fn reply_to(&self, mut sent: Sent) -> Result<Reply, Error> {
        let mut state = self.lock();
        let State { lines, sent: all } = &mut *state;
        let mut newest_first = lines.iter_mut().rev();
        let Some(line) = newest_first.find(|line| line.route.fits(&sent.method, &sent.url)) else {
            let route = Route::of(&sent.method, &sent.url);
            let routes: Vec<_> = lines.iter().map(|line| line.route.to_string()).collect();
            all.push(sent);
            drop(state);
            let error = Error::Unscripted { route, routes };
            tracing::warn!("{error}");
            return Err(error);
        };
        sent.route = Some(line.route.to_string());
        all.push(sent.clone());
        match &mut line.replies {
            Replies::Listed(replies) if replies.len() > 1 => {
                Ok(replies.pop_front().expect("there is more than one"))
            }
            Replies::Listed(replies) => Ok(replies.front().expect("a route has a reply").clone()),
            Replies::Made(make) => {
                let make = make.clone();
                // What the test does there may look at the script.
                drop(state);
                Ok(make(&sent))
            }
        }
    }
}

const RESET: &str = "connection reset, as its script says";

fn scripted(body: Bytes, end: End) -> Scripted {
    let first = |bytes: usize| stream::iter([Ok(Frame::data(body.slice(..bytes.min(body.len()))))]);
    match end {
        End::Whole => Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync(),
        End::Reset(bytes) => {
            let reset = Err(io::Error::new(io::ErrorKind::ConnectionReset, RESET));
            StreamBody::new(first(bytes).chain(stream::iter([reset]))).boxed_unsync()
        }
        End::Stall(bytes) => StreamBody::new(first(bytes).chain(stream::pending())).boxed_unsync(),
    }
}

impl Reply {
    fn of(outcome: Outcome) -> Self {
        Self {
            after: Duration::ZERO,
            outcome,
        }
    }

    /// A response without a body, 100 to 999.
    ///
    /// # Panics
    /// When there is no such status.
    #[must_use]
    #[track_caller]
    pub fn status(status: u16) -> Self {
        let status = http::StatusCode::from_u16(status);
        Self::of(Outcome::Response {
            status: status.expect("a status has three digits"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            end: End::Whole,
        })
    }

    /// 200 with this text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self::status(200)
            .header("content-type", "text/plain; charset=utf-8")
            .body(text)
    }

    /// 200 with this value as JSON.
    ///
    /// # Panics
    /// When the value cannot be written as JSON.
    #[must_use]
    pub fn json(value: &(impl serde::Serialize + ?Sized)) -> Self {
        let text = serde_json::to_vec(value).expect("a value that JSON can hold");
        Self::status(200)
            .header("content-type", "application/json")
            .body(text)
    }

    /// Nobody listens there: the connection is refused.
    #[must_use]
    pub fn refused() -> Self {
        Self::of(Outcome::Refused)
    }

    /// The connection breaks before a response begins. The other side may have done
    /// what it was asked for.
    #[must_use]
    pub fn reset() -> Self {
        Self::of(Outcome::Reset)
    }

    /// No response ever begins: the guest's own limit ends its wait.
    #[must_use]
    pub fn silent() -> Self {
        Self::of(Outcome::Silent)
    }

    /// The same, so long after the request, on the host's clock.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// The same response with this body.
    #[must_use]
    pub fn body(mut self, content: impl Into<Bytes>) -> Self {
        if let Outcome::Response { body, .. } = &mut self.outcome {
            *body = content.into();
        }
        self
    }

    /// The same response with this status.
    ///
    /// # Panics
    /// When there is no such status.
    #[must_use]
    #[track_caller]
    pub fn with_status(mut self, code: u16) -> Self {
        let code = http::StatusCode::from_u16(code).expect("a status has three digits");
        if let Outcome::Response { status, .. } = &mut self.outcome {
            *status = code;
        }
        self
    }

    /// The same response with a further header.
    ///
    /// # Panics
    /// When name or value cannot be in a response.
    #[must_use]
    #[track_caller]
    pub fn header(self, name: &str, value: &str) -> Self {
        let added = self.try_header(name, value);
        added.unwrap_or_else(|error| panic!("{error}"))
    }

    /// As `header`; what cannot be in a response is an error in words.
    pub fn try_header(mut self, name: &str, value: &str) -> Result<Self, String> {
        let pair = || {
            let name: http::HeaderName = name.parse().ok()?;
            Some((name, http::HeaderValue::from_str(value).ok()?))
        };
        let wrong = || format!("no response can have the header {name}: {value}");
        let (name, value) = pair().ok_or_else(wrong)?;
        if let Outcome::Response { headers, .. } = &mut self.outcome {
            headers.append(name, value);
        }
        Ok(self)
    }

    /// The same response, broken off behind so many bytes of its body.
    #[must_use]
    pub fn reset_after(self, bytes: usize) -> Self {
        self.ends(End::Reset(bytes))
    }

    /// The same response; behind so many bytes of its body nothing comes any more.
    #[must_use]
    pub fn stall_after(self, bytes: usize) -> Self {
        self.ends(End::Stall(bytes))
    }

    fn ends(mut self, how: End) -> Self {
        if let Outcome::Response { end, .. } = &mut self.outcome {
            *end = how;
        }
        self
    }
}

/// One that stays.
impl IntoIterator for Reply {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

impl Sent {
    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        let behind = self.url.split_once("://").map_or("", |(_, rest)| rest);
        behind.find('/').map_or("/", |at| &behind[at..])
    }

    /// Empty if there is no such header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap_or_default())
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, read as JSON.
    ///
    /// # Panics
    /// When the body is not JSON of this type; the message shows the body.
    #[must_use]
    #[track_caller]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        let read = serde_json::from_slice(&self.body);
        read.unwrap_or_else(|error| panic!("{error}; {self} was sent: {}", self.text()))
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(replies) => replies.fmt(f),
            Self::Made(_) => f.write_str("made"),
        }
    }
}
