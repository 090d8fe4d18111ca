//! Client: sends what guests ask for, over a pool of connections.
//!
//! HTTP/1.1 and HTTP/2, TLS by rustls with the roots that the policy names, or those
//! of this machine or, where there are none, Mozilla's. Two pools:
//! one whose names resolve to public addresses alone, one for hosts that the
//! manifest lists as private. A literal address never meets a resolver, so it is
//! checked by itself.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri, Version};
use http_body::{Body, Frame};
use http_body_util::Either;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::ClientConfig;

use super::ca::{self, CaError};
use super::policy::{Allowed, Policy, is_public};
use super::script::{Script, Scripted};
use super::{Error, Timeouts};
use crate::clock::{Clock, Sleep};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are kept for so long, at most so many to a host.
const POOL_IDLE: Duration = Duration::from_secs(60);
const POOL_PER_HOST: usize = 32;

/// The body of a request on its way out.
pub type Outgoing = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

type Pool = Client<HttpsConnector<HttpConnector<Resolver>>, Outgoing>;

/// One app's door to the outside. Connects only when it is used.
pub struct Egress {
    policy: Policy,
    /// Instead of what this machine trusts.
    tls: Option<ClientConfig>,
    clock: Clock,
    /// In place of the network.
    script: Option<Script>,
    public: OnceLock<Pool>,
    private: OnceLock<Pool>,
}

impl Egress {
    /// Reads the certificates that the policy names.
    pub fn new(policy: Policy, clock: Clock, script: Option<Script>) -> Result<Self, CaError> {
        let tls = policy.ca.as_deref().map(ca::trusting).transpose()?;
        Ok(Self {
            policy,
            tls,
            clock,
            script,
            public: OnceLock::new(),
            private: OnceLock::new(),
        })
    }

    fn pool(&self, resolver: Resolver) -> Pool {
        pool(resolver, self.tls.as_ref())
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sends a request and waits for the head of its response. Follows no
    /// redirect. The URI is absolute.
    pub async fn send(
        &self,
        request: Request<Outgoing>,
        timeouts: Timeouts,
    ) -> Result<Response<Answer>, Error> {
        let (target, allowed) = self.check(request.uri())?;
        let answer = tokio::select! {
            biased;
            answer = self.ask(request, &target, allowed) => answer?,
            () = self.clock.sleep(timeouts.response) => {
                return Err(Error::Late { target, limit_ms: timeouts.response.as_millis() as u64 });
            }
        };
        Ok(answer.map(|body| Answer {
            body,
            target,
            clock: self.clock.clone(),
            limit: timeouts.between,
            stalled: None,
        }))
    }

    async fn ask(
        &self,
        mut request: Request<Outgoing>,
        target: &str,
        allowed: Allowed,
    ) -> Result<Response<Either<Incoming, Scripted>>, Error> {
        let pool = match (allowed, &self.script) {
            (Allowed::No, _) => {
                let target = target.to_owned();
                return Err(Error::Denied { target });
            }
            (_, Some(script)) => {
                let answer = script.send(request, target, &self.clock).await?;
                return Ok(answer.map(Either::Right));
            }
            (Allowed::Public, None) => self.public.get_or_init(|| self.pool(Resolver::PublicOnly)),
            (Allowed::Anywhere, None) => self.private.get_or_init(|| self.pool(Resolver::Any)),
        };
        // The version is a matter of the connection.
        *request.version_mut() = Version::HTTP_11;
        let answer = pool.request(request).await;
        let answer = answer.map_err(|error| explain(target, &error))?;
        Ok(answer.map(Either::Left))
    }

    /// Where a URI leads, `host` or `host:port`, and whether it may.
    fn check(&self, uri: &Uri) -> Result<(String, Allowed), Error> {
        let invalid = |why| Error::Invalid {
            url: uri.to_string(),
            why,
        };
        let usual = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => 80,
            Some(scheme) if *scheme == Scheme::HTTPS => 443,
            _ => return Err(invalid("it begins with neither `http://` nor `https://`")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("it holds a user; send `authorization` instead"));
        }
        let target = authority.as_str().to_ascii_lowercase();
        let host = authority.host().trim_matches(['[', ']']);
        // A final dot makes a name absolute, not another one.
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let allowed = self
            .policy
            .ask(&host, authority.port_u16().unwrap_or(usual));
        let literal = host.parse::<IpAddr>();
        if allowed == Allowed::Public && literal.is_ok_and(|address| !is_public(address)) {
            return Err(Error::Private { host: target });
        }
        Ok((target, allowed))
    }
}

/// Lets nothing out.
impl Default for Egress {
    fn default() -> Self {
        Self::new(Policy::default(), Clock::system(), None).expect("no certificates are named")
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Egress({:?})", self.policy)
    }
}

fn pool(resolver: Resolver, tls: Option<&ClientConfig>) -> Pool {
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let https = trust(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_PER_HOST)
        .build(https)
}

fn trust(tls: Option<&ClientConfig>) -> HttpsConnectorBuilder<WantsSchemes> {
    let builder = HttpsConnectorBuilder::new();
    if let Some(tls) = tls {
        return builder.with_tls_config(tls.clone());
    }
    builder.with_native_roots().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine has no root certificates; Mozilla's stand in");
        HttpsConnectorBuilder::new().with_webpki_roots()
    })
}

/// The one mistake of ours that hyper carries: a name with private addresses only.
fn explain(target: &str, error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut root = error.to_string();
    while let Some(error) = cause {
        if error.is::<OnlyPrivate>() {
            return Error::Private {
                host: target.to_owned(),
            };
        }
        root = error.to_string();
        // An I/O error does not count what it wraps as its cause.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    let (target, why) = (target.to_owned(), root);
    if error.is_connect() {
        Error::Unreachable { target, why }
    } else {
        Error::Broken { target, why }
    }
}

/// Asks the system; may leave out what leads back.
#[derive(Clone, Copy, Debug)]
enum Resolver {
    PublicOnly,
    Any,
}

#[derive(Debug, thiserror::Error)]
#[error("the name has private addresses alone")]
struct OnlyPrivate;

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let all: Vec<_> = found.collect();
            let usable = |address: &SocketAddr| match resolver {
                Self::PublicOnly => is_public(address.ip()),
                Self::Any => true,
            };
            let some = all.iter().copied().filter(usable).collect::<Vec<_>>();
            if some.is_empty() && !all.is_empty() {
                return Err(io::Error::other(OnlyPrivate));
            }
            Ok(some.into_iter())
        })
    }
}

/// The body of a response; fails when nothing comes for too long.
#[derive(Debug)]
pub struct Answer {
    body: Either<Incoming, Scripted>,
    target: String,
    clock: Clock,
    limit: Duration,
    stalled: Option<Sleep>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.stalled = None;
            let broken = |error: Box<dyn std::error::Error + Send + Sync>| Error::Broken {
                target: this.target.clone(),
                why: error.to_string(),
            };
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        let timer = this
            .stalled
            .get_or_insert_with(|| this.clock.sleep(this.limit));
        Pin::new(timer).poll(cx).map(|()| {
            Some(Err(Error::Stalled {
                target: this.target.clone(),
                limit_ms: this.limit.as_millis() as u64,
            }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
