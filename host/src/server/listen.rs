//! Listen: accepts connections, serves them, lets them finish at the end.
//!
//! HTTP/1.1 and HTTP/2 (with prior knowledge) on one port. Small packets leave at
//! once (`TCP_NODELAY`): without it each streamed answer costs 40 ms.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::Limits;
use super::assets::Assets;
use super::ingress::Door;
use crate::object::Registry;
use crate::socket::Deflate;
use crate::worker::Workers;

/// A client must finish its request head within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After an error that is not the client's (such as too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a connection inside the process may hold in each direction (bytes).
const PIPE_BYTES: usize = 64 << 10;

/// The public door, open from `start` to `stop`.
#[derive(Debug)]
pub struct Server {
    door: Door,
    listening: Option<Listening>,
}

#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<GracefulShutdown>,
}

impl Server {
    /// Without an address only `connect` leads in.
    pub async fn start(
        at: Option<SocketAddr>,
        registry: Registry,
        workers: Workers,
        assets: Assets,
        limits: Limits,
    ) -> io::Result<Self> {
        let door = Door {
            registry,
            workers,
            assets,
            places: Arc::new(Semaphore::new(limits.concurrent_requests)),
            limits,
            scheme: "http",
            deflate: Deflate::default(),
        };
        let listening = match at {
            Some(at) => Some(Listening::start(at, door.clone()).await?),
            None => None,
        };
        Ok(Self { door, listening })
    }

    /// `None` if nothing is listened on.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listening.as_ref().map(|listening| listening.address)
    }

    /// A client's end of a connection that no network carries.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let connection = protocol(&self.door.limits)
            .serve_connection_with_upgrades(TokioIo::new(server), service(&self.door))
            .into_owned();
        tokio::spawn(carry(connection));
        client
    }

    /// Accepts nothing more and lets requests in flight finish, up to `within`.
    pub async fn stop(self, within: Duration) {
        let Some(listening) = self.listening else {
            return;
        };
        // The accept loop ends by itself only when its task is gone already.
        let _ = listening.stop.send(());
        if let Ok(connections) = listening.accepting.await {
            let finished = tokio::time::timeout(within, connections.shutdown());
            if finished.await.is_err() {
                tracing::warn!("connections were cut off: they did not finish within {within:?}");
            }
        }
    }
}

impl Listening {
    async fn start(at: SocketAddr, door: Door) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(accept(listener, door, stopped));
        Ok(Self {
            address,
            stop,
            accepting,
        })
    }
}

async fn accept(
    listener: TcpListener,
    door: Door,
    mut stopped: oneshot::Receiver<()>,
) -> GracefulShutdown {
    let connections = GracefulShutdown::new();
    let protocol = protocol(&door.limits);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => return connections,
        };
        match accepted {
            Ok((stream, _)) => spawn(stream, &door, &protocol, &connections),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Past this hyper answers 431 itself, before the door can count.
        .max_buf_size(limits.request_header_bytes * 2 + (64 << 10));
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.request_header_bytes * 2).unwrap_or(u32::MAX));
    protocol
}

fn spawn(
    stream: TcpStream,
    door: &Door,
    protocol: &auto::Builder<TokioExecutor>,
    connections: &GracefulShutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let connection = protocol.serve_connection_with_upgrades(TokioIo::new(stream), service(door));
    tokio::spawn(carry(connections.watch(connection.into_owned())));
}

fn service(
    door: &Door,
) -> impl Service<Request<Incoming>, Response = Response<HttpBody>, Error = Infallible, Future: Send>
+ use<> {
    let door = door.clone();
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(door.serve(request.map(HttpBody::new)).await) }
    })
}

async fn carry<E: Display>(connection: impl Future<Output = Result<(), E>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}
