//! Ingress: one request at the public door, until its response begins.
//!
//! Every path goes to the app's worker. An app without one has the default
//! router: `/{class}/{name}/{rest}` goes to the object `name` of `class`, which
//! sees `/{rest}`; of a class that the manifest's `[router]` lists, all that
//! follows the class is the name, as it was sent. Decides nothing about worker or
//! object: it makes an event and waits for the reply.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HeaderName, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::sync::{Semaphore, oneshot};

use super::Limits;
use super::assets::Assets;
use super::body::{self, Overflow, Refused};
use super::front;
use super::listen::Serve;
use super::problem::Problem;
use super::reply::{self, HOP_BY_HOP};
use super::upgrade;
use crate::event::{self, Event, Fault, Kind, Reply, RequestId, Reset};
use crate::id::{Namespace, ObjectName};
use crate::object::{Mail, Registry, Served};
use crate::socket::Deflate;
use crate::trace::Span;
use crate::worker::{Pool, Workers};

/// The door's own state; cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    registry: Registry,
    workers: Workers,
    assets: Assets,
    /// One for each request whose answer has not begun.
    places: Arc<Semaphore>,
    limits: Limits,
    scheme: &'static str,
    /// The beginning of the path that leads to the app, which does not see it.
    prefix: Arc<str>,
    deflate: Deflate,
}

/// Tells an app behind a prefix what stands in front of the paths it sees.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// A request as it came, checked as far as both ways need it.
struct Client {
    request_id: RequestId,
    parts: Parts,
    body: HttpBody,
    wish: Option<upgrade::Wish>,
}

/// Where a path leads.
struct Route<'a> {
    class: &'a str,
    name: Cow<'a, str>,
    /// Begins with `/`, as the client sent it.
    rest: &'a str,
}

impl Serve for Door {
    async fn serve(self, request: Request<HttpBody>) -> Response {
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        self.take_prefix(&mut parts);
        let mut span = Span::request(&parts, self.scheme, || self.pattern(parts.uri.path()));
        let id = RequestId::next().within(&span);
        let response = match self.ask(id, parts, body).await {
            Ok(response) => response,
            Err(problem) => problem.with_request(id).into_response(),
        };
        span.answered(
            response.status().as_u16(),
            StatusCode::INTERNAL_SERVER_ERROR,
        );
        let measures = self.registry.measures();
        measures.request(response.status().as_u16(), began.elapsed());
        reply::mark(response, id)
    }
}

impl Door {
    pub fn new(registry: Registry, workers: Workers, assets: Assets, limits: Limits) -> Self {
        Self {
            registry,
            workers,
            assets,
            places: Arc::new(Semaphore::new(limits.concurrent_requests)),
            limits,
            scheme: "http",
            prefix: Arc::default(),
            deflate: Deflate::default(),
        }
    }

    /// A door past worker and files: every path names an object.
    #[must_use]
    pub fn to_objects(registry: Registry, limits: Limits) -> Self {
        let workers = Workers::new(registry.clone(), registry.clock().clone());
        Self::new(registry, workers, Assets::default(), limits)
    }

    /// The same behind TLS, for the URLs that objects see.
    pub(super) fn secure(self) -> Self {
        let scheme = "https";
        Self { scheme, ..self }
    }

    /// The same behind the beginning of a path, such as `/shop`.
    #[must_use]
    pub fn behind(&self, prefix: &str) -> Self {
        let prefix = prefix.into();
        Self {
            prefix,
            ..self.clone()
        }
    }

    pub(super) fn check_paused(&self) -> Result<(), Problem> {
        match self.registry.is_paused() {
            true => Err(Problem::paused(self.registry.app())),
            false => Ok(()),
        }
    }

    fn take_prefix(&self, parts: &mut Parts) {
        if self.prefix.is_empty() {
            return;
        }
        if let Some(uri) = front::without_prefix(&parts.uri, &self.prefix) {
            parts.uri = uri;
        }
        if let Ok(prefix) = HeaderValue::from_str(&self.prefix) {
            parts.headers.insert(PREFIX, prefix);
        }
    }

    /// Where a file sends its reader, as the client sees it.
    fn with_prefix(&self, mut file: Response) -> Response {
        let headers = file.headers_mut();
        let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.filter(|to| to.starts_with('/') && !self.prefix.is_empty());
        let to = to.map(|to| HeaderValue::from_str(&format!("{}{to}", self.prefix)));
        if let Some(Ok(to)) = to {
            headers.insert(LOCATION, to);
        }
        file
    }

    async fn ask(
        &self,
        request_id: RequestId,
        mut parts: Parts,
        body: HttpBody,
    ) -> Result<Response, Problem> {
        self.check_paused()?;
        let _place = self.places.try_acquire().map_err(|_| self.crowded())?;
        self.check_headers(&parts.headers)?;
        if let Some(file) = self.assets.find(&parts).await {
            return Ok(self.with_prefix(file));
        }
        let wish = upgrade::wish(&mut parts)?;
        let client = Client {
            request_id,
            parts,
            body,
            wish,
        };
        match self.workers.for_request() {
            Some(worker) => self.ask_worker(&worker, client).await,
            None => self.ask_object(client).await,
        }
    }

    async fn ask_worker(&self, worker: &Arc<Pool>, client: Client) -> Result<Response, Problem> {
        let Client {
            request_id, parts, ..
        } = client;
        let (request, overflow) = self
            .request(&parts, parts.uri.path(), client.body, client.wish.as_ref())
            .await?;
        let result = self
            .unless_crossed(overflow, worker.ask(request_id, request))
            .await?;
        let explain = |fault: &Fault| Problem::of_worker(fault, request_id);
        Ok(self.answer(result, client.wish, &parts.method, explain))
    }

    async fn ask_object(&self, client: Client) -> Result<Response, Problem> {
        let Client {
            request_id, parts, ..
        } = client;
        let served = self.registry.served();
        if let Some(why) = &served.absent {
            return Err(Problem::no_code(self.registry.app(), why));
        }
        let route = self.route(&served, parts.uri.path())?;
        let namespace = served.namespaces.get(route.class);
        let namespace = namespace.ok_or_else(|| self.unknown_class(route.class))?;
        let object = namespace.id_from_name(&route.name);
        let (request, overflow) = self
            .request(&parts, route.rest, client.body, client.wish.as_ref())
            .await?;
        let answer = self.deliver(namespace, object, request_id, Kind::Fetch(request));
        let result = self.unless_crossed(overflow, answer).await?;
        let explain = |fault: &Fault| Problem::of(fault, request_id);
        Ok(self.answer(result, client.wish, &parts.method, explain))
    }

    fn answer(
        &self,
        result: Result<Reply, Fault>,
        wish: Option<upgrade::Wish>,
        method: &Method,
        explain: impl FnOnce(&Fault) -> Problem,
    ) -> Response {
        match (result, wish) {
            (Ok(Reply::Upgrade { headers, socket }), Some(wish)) => {
                let owner = socket.owner.clone();
                // Of another app, if this one has passed the request on.
                let Some(registry) = self.registry.of_app(&owner.app) else {
                    let gone = format!("the app {:?} is gone", owner.app).into();
                    return reply::respond(Err(Fault::Away(gone)), method, explain);
                };
                let object = Mail::new(registry, owner);
                reply::upgrade(headers, |headers| {
                    wish.grant(headers, socket, self.deflate.clone(), object)
                })
            }
            (result, _) => reply::respond(result, method, explain),
        }
    }

    /// The event's request; `path` is the part of the path that it sees.
    async fn request(
        &self,
        parts: &Parts,
        path: &str,
        body: HttpBody,
        wish: Option<&upgrade::Wish>,
    ) -> Result<(event::Request, Option<Overflow>), Problem> {
        let limit = self.limits.request_body_bytes;
        let (body, overflow) = body::receive(body, limit).await.map_err(|why| match why {
            Refused::TooLarge => Problem::body_too_large(limit),
            Refused::Broken(why) => broken_body(why),
        })?;
        let request = event::Request {
            method: parts.method.to_string(),
            url: self.url(parts, path),
            headers: end_to_end(&parts.headers),
            body,
            upgrade: wish.map(|wish| wish.protocols.clone()),
        };
        Ok((request, overflow))
    }

    /// The answer, unless the body that flows crosses its limit before.
    async fn unless_crossed<T>(
        &self,
        overflow: Option<Overflow>,
        answer: impl Future<Output = T>,
    ) -> Result<T, Problem> {
        tokio::select! {
            biased;
            () = crossed(overflow) => Err(Problem::body_too_large(self.limits.request_body_bytes)),
            answer = answer => Ok(answer),
        }
    }

    /// The objects of a class, built-in ones included.
    pub(super) fn any_namespace(&self, class: &str) -> Result<Namespace, Problem> {
        let served = self.registry.served();
        let namespace = served.namespace(class).cloned();
        namespace.ok_or_else(|| self.unknown_class(class))
    }

    pub(super) const fn request_body_bytes(&self) -> u64 {
        self.limits.request_body_bytes
    }

    pub(super) async fn deliver(
        &self,
        namespace: &Namespace,
        object: ObjectName,
        request_id: RequestId,
        kind: Kind,
    ) -> Result<Reply, Fault> {
        let (reply, answer) = oneshot::channel();
        let event = Event {
            request_id,
            kind,
            reply,
        };
        self.registry.deliver(namespace, object, event);
        // A channel closed without an answer: the task was torn down with the host.
        answer
            .await
            .unwrap_or(Err(Fault::Reset(Reset::ShuttingDown)))
    }

    fn crowded(&self) -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:dormouse:problem:overloaded",
            "The app is overloaded",
            format!(
                "{} requests wait for their answers already; try again later, or raise \
                 `limits.concurrent_requests`",
                self.limits.concurrent_requests
            ),
        )
        .retryable()
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let sizes = headers.iter().map(|(k, v)| k.as_str().len() + v.len());
        let limit = self.limits.request_header_bytes;
        let bytes: usize = sizes.sum();
        if bytes <= limit {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "urn:dormouse:problem:headers-too-large",
            "Request headers too large",
            format!(
                "the headers have {bytes} bytes, the limit is {limit}; send fewer or shorter ones, or \
                 raise `limits.request_header_bytes`"
            ),
        ))
    }

    fn route<'a>(&self, served: &Served, path: &'a str) -> Result<Route<'a>, Problem> {
        if let Some((class, name)) = path.trim_start_matches('/').split_once('/')
            && served.whole_path.contains(class)
        {
            return Ok(Route {
                class,
                name: name.into(),
                rest: "/",
            });
        }
        let mut parts = path.trim_start_matches('/').splitn(3, '/');
        let class = parts.next().unwrap_or_default();
        let name = parts.next().unwrap_or_default();
        if class.is_empty() || name.is_empty() {
            return Err(self.no_object(path));
        }
        let rest_at = path.len() - parts.next().map_or(0, |rest| rest.len() + 1);
        let name = percent_decode_str(name).decode_utf8().map_err(|_| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "urn:dormouse:problem:bad-name",
                "The object's name is not UTF-8",
                format!(
                    "the name in {path:?} does not decode to UTF-8; percent-encode it as UTF-8"
                ),
            )
        })?;
        let rest = &path[rest_at..];
        Ok(Route {
            class,
            name,
            rest: if rest.is_empty() { "/" } else { rest },
        })
    }

    /// What paths like this one have in common, for traces.
    fn pattern(&self, path: &str) -> Option<String> {
        if self.workers.current().is_some() {
            return None;
        }
        let class = path.trim_start_matches('/').split('/').next()?;
        let served = self.registry.served();
        let known = served.namespaces.contains_key(class);
        known.then(|| format!("/{class}/{{name}}"))
    }

    fn no_object(&self, path: &str) -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "urn:dormouse:problem:no-object",
            "The path names no object",
            format!("{path:?} has no class and name; ask for /{{class}}/{{name}}/…"),
        )
        .with_classes(self.classes())
    }

    fn unknown_class(&self, class: &str) -> Problem {
        let classes = self.classes();
        Problem::new(
            StatusCode::NOT_FOUND,
            "urn:dormouse:problem:unknown-class",
            "Unknown class",
            format!(
                "no class is called {class:?}; there is {}",
                classes.join(", ")
            ),
        )
        .with_classes(classes)
    }

    fn classes(&self) -> Vec<String> {
        let served = self.registry.served();
        let classes = served.code.classes().iter();
        classes.map(|class| class.name.to_string()).collect()
    }

    /// The URL as the client wrote it, without the part that chose the object.
    fn url(&self, parts: &Parts, rest: &str) -> String {
        let host = parts.headers.get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let authority = authority.or(host).unwrap_or("localhost");
        match parts.uri.query() {
            Some(query) => format!("{}://{authority}{rest}?{query}", self.scheme),
            None => format!("{}://{authority}{rest}", self.scheme),
        }
    }
}

/// Without the headers of the connection, those that it names itself included.
fn end_to_end(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let named = connection_options(headers);
    let passing = headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(name) && !named.contains(name));
    passing
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// What `connection` lists, RFC 9110 section 7.6.1.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(CONNECTION).iter();
    lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

pub(super) fn broken_body(why: String) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "urn:dormouse:problem:broken-body",
        "The request body broke off",
        why,
    )
}

/// Ends only if the body crosses its limit.
async fn crossed(overflow: Option<Overflow>) {
    if let Some(overflow) = overflow
        && overflow.await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
