//! Pending: what is under way while the test goes on.

use std::fmt;

use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use crate::host::TestHost;
use crate::http::Response;

/// A request or a call under way.
#[must_use = "what comes back comes with `wait`"]
pub struct Pending<T = Response> {
    host: TestHost,
    what: String,
    task: JoinHandle<Result<T, String>>,
}

impl<T: Send + 'static> Pending<T> {
    pub(crate) fn start(
        host: &TestHost,
        what: String,
        future: impl Future<Output = Result<T, String>> + Send + 'static,
    ) -> Self {
        let chance = host.clock().chance().clone();
        let task = host.machine().spawn(async move {
            while chance.gives_way() {
                tokio::task::yield_now().await;
            }
            future.await
        });
        let host = host.clone();
        Self { host, what, task }
    }

    /// Waits for what comes back.
    ///
    /// # Panics
    /// When nothing does, or nothing without moving the clock.
    #[track_caller]
    pub fn wait(self) -> T {
        let Self { host, what, task } = self;
        match host.run(&what, task) {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => panic!("{what}: {error}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Whether it is there, after all that can happen now.
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

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({})", self.what)
    }
}

/// One request on a connection of its own.
pub(crate) async fn exchange(
    connection: DuplexStream,
    request: http::Request<Full<bytes::Bytes>>,
) -> Result<Response, String> {
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
        // How it ends is seen by the request.
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        connection.abort();
        hyper::Result::Ok(Response {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    exchange.await.map_err(|error| error.to_string())
}
