//! Listen: accepts connections, serves them, lets them finish at the end.
//!
//! HTTP/1.1 and HTTP/2 (with prior knowledge) on one port. Small packets leave at
//! once (`TCP_NODELAY`): without it each streamed answer costs 40 ms.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
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
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::body::Arriving;
use super::front::Front;
use super::tls::Tls;

/// A client must finish its request head within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After an error that is not the client's (such as too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a connection inside the process may hold in each direction (bytes).
const PIPE_BYTES: usize = 64 << 10;

/// What answers the requests that come in at a door.
pub trait Serve: Clone + Send + Sync + 'static {
    fn serve(self, request: Request<HttpBody>) -> impl Future<Output = Response<HttpBody>> + Send;
}

/// The public door, open from `start` to `stop`.
#[derive(Debug)]
pub struct Server {
    door: Front,
    header_bytes: usize,
    listening: Option<Listening>,
}

/// An address that is listened on; any door can stand behind it.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<GracefulShutdown>,
}

impl Server {
    /// Without a listener only `connect` leads in.
    pub fn start(
        listener: Option<TcpListener>,
        tls: Option<Tls>,
        door: Front,
        header_bytes: usize,
    ) -> io::Result<Self> {
        let listening = listener.map(|listener| match tls {
            Some(tls) => Listening::on(listener, Some(tls), door.clone().secure(), header_bytes),
            None => Listening::on(listener, None, door.clone(), header_bytes),
        });
        let listening = listening.transpose()?;
        Ok(Self {
            door,
            header_bytes,
            listening,
        })
    }

    /// `None` if nothing is listened on.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listening.as_ref().map(Listening::address)
    }

    /// A client's end of a connection that no network carries.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        self.connect_to(&self.door)
    }

    /// The same to another door.
    #[must_use]
    pub fn connect_to(&self, door: &impl Serve) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let connection = protocol(self.header_bytes)
            .serve_connection_with_upgrades(TokioIo::new(server), service(door))
            .into_owned();
        tokio::spawn(carry(connection));
        client
    }

    /// Accepts nothing more and lets requests in flight finish, up to `within`.
    pub async fn stop(self, within: Duration) {
        if let Some(listening) = self.listening {
            listening.stop(within).await;
        }
    }
}

impl Listening {
    /// Far more than `header_bytes` of headers end a connection.
    pub async fn start(
        at: SocketAddr,
        tls: Option<Tls>,
        door: impl Serve,
        header_bytes: usize,
    ) -> io::Result<Self> {
        Self::on(TcpListener::bind(at).await?, tls, door, header_bytes)
    }

    fn on(
        listener: TcpListener,
        tls: Option<Tls>,
        door: impl Serve,
        header_bytes: usize,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let protocol = protocol(header_bytes);
        let accepting = tokio::spawn(accept(listener, tls, door, protocol, stopped));
        Ok(Self {
            address,
            stop,
            accepting,
        })
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more and lets requests in flight finish, up to `within`.
    pub async fn stop(self, within: Duration) {
        // The accept loop ends by itself only when its task is gone already.
        let _ = self.stop.send(());
        if let Ok(connections) = self.accepting.await {
            let finished = tokio::time::timeout(within, connections.shutdown());
            if finished.await.is_err() {
                tracing::warn!("connections were cut off: they did not finish within {within:?}");
            }
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    door: impl Serve,
    protocol: auto::Builder<TokioExecutor>,
    mut stopped: oneshot::Receiver<()>,
) -> GracefulShutdown {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => return connections,
        };
        match accepted {
            Ok((stream, _)) => spawn(stream, tls.clone(), &door, &protocol, &connections),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn protocol(header_bytes: usize) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Past this hyper answers 431 itself, before the door can count.
        .max_buf_size(header_bytes * 2 + (64 << 10));
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(header_bytes * 2).unwrap_or(u32::MAX));
    protocol
}

fn spawn(
    stream: TcpStream,
    tls: Option<Tls>,
    door: &impl Serve,
    protocol: &auto::Builder<TokioExecutor>,
    connections: &GracefulShutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = service(door);
    let Some(tls) = tls else {
        let connection = protocol.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::spawn(carry(connections.watch(connection.into_owned())));
        return;
    };
    let (protocol, watcher) = (protocol.clone(), connections.watcher());
    tokio::spawn(async move {
        match tls.shake_hands(stream).await {
            Ok(stream) => {
                let io = TokioIo::new(stream);
                let connection = protocol.serve_connection_with_upgrades(io, service);
                carry(watcher.watch(connection.into_owned())).await;
            }
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        }
    });
}

fn service<D: Serve>(
    door: &D,
) -> impl Service<Request<Incoming>, Response = Response<HttpBody>, Error = Infallible, Future: Send>
+ use<D> {
    let door = door.clone();
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let door = door.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = HttpBody::new(Arriving::new(&head.headers, body));
            Ok::<_, Infallible>(door.serve(Request::from_parts(head, body)).await)
        }
    })
}

async fn carry<E: Display>(connection: impl Future<Output = Result<(), E>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}
