//! Requests to the outside: [`fetch`].

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use crate::bindings::dormouse::object::outgoing as wit;
use crate::http::{Request, Response};
use crate::{Error, Result};

pub use wit::ErrorKind as FetchErrorKind;

/// As many as browsers follow.
const REDIRECTS: u32 = 20;

/// Sends a request to the outside and waits for the head of its response; other
/// events go on meanwhile. Bodies stream both ways.
///
/// Only hosts that `[outgoing]` in dormouse.toml lists can be asked. From an object
/// the request leaves once the writes of the turn before it are durable, and not at
/// all if that turn is undone.
///
/// ```no_run
/// # use dormouse_sdk::prelude::*;
/// # use std::time::Duration;
/// # async fn handler() -> Result<()> {
/// let request = Request::get("https://api.example.com/rates").with_header("accept", "text/csv");
/// let response = fetch(request).timeout(Duration::from_secs(5)).await?;
/// let rates = response.into_body().bytes_up_to(100_000).await?;
/// # Ok(())
/// # }
/// ```
pub fn fetch(request: Request) -> Fetch {
    Fetch {
        request,
        timeout: None,
        idle_timeout: None,
        redirects: REDIRECTS,
    }
}

/// A request that is about to be sent: it is when it is awaited.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited"]
pub struct Fetch {
    request: Request,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    redirects: u32,
}

impl Fetch {
    /// How long the head of the response may take, redirects included: 60 seconds
    /// otherwise.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// How long a pause in the response's body may be: 60 seconds otherwise.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// How many redirects are followed: 20 otherwise. 0 answers with the redirect.
    pub fn redirects(mut self, most: u32) -> Self {
        self.redirects = most;
        self
    }

    async fn send(self) -> Result<Response> {
        let options = wit::Options {
            timeout_ms: self.timeout.map(whole_ms),
            idle_ms: self.idle_timeout.map(whole_ms),
            redirects: self.redirects,
        };
        let response = wit::fetch(self.request.into_wit()?, options).await;
        Response::from_wit(response.map_err(FetchError)?)
    }
}

impl IntoFuture for Fetch {
    type Output = Result<Response>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

fn whole_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Why a request to the outside has no response. `error.downcast_ref::<FetchError>()`
/// finds it in an [`Error`].
#[derive(Clone, Debug)]
pub struct FetchError(wit::Error);

impl FetchError {
    /// What went wrong, to act on.
    pub fn kind(&self) -> FetchErrorKind {
        self.0.kind
    }

    /// The same, found in an error.
    pub fn kind_of(error: &Error) -> Option<FetchErrorKind> {
        error.downcast_ref::<Self>().map(Self::kind)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.message)
    }
}

impl std::error::Error for FetchError {}
