//! The peers without a sandbox: what axum alone does, and axum with rusqlite.
//!
//! Written as one would who needs nothing but these paths: a SQLite file for each
//! object, write-ahead log, `synchronous=FULL`. Writes wait for their sync on threads of
//! their own, so that objects do not wait for each other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rusqlite::{Connection, OptionalExtension as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

#[derive(Debug, Default)]
struct Objects {
    data: PathBuf,
    all: Mutex<HashMap<String, Arc<Object>>>,
}

#[derive(Debug, Default)]
struct Object {
    count: AtomicU64,
    database: Mutex<Option<Connection>>,
    sockets: Mutex<Vec<mpsc::UnboundedSender<Message>>>,
}

pub(crate) async fn serve(which: &str, port: u16, data: &Path) -> Result<()> {
    let hello = async || "Hello, world!\n";
    let router = match which {
        "hello" => Router::new().fallback(hello),
        "native" => Router::new()
            .route("/hello", axum::routing::get(hello))
            .fallback(handle)
            .with_state(Arc::new(Objects {
                data: data.to_owned(),
                all: Mutex::default(),
            })),
        _ => bail!("there is no peer {which:?}"),
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A client that breaks off is its own business.
            let _ = server
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn handle(State(objects): State<Arc<Objects>>, request: Request) -> Response {
    match answer(&objects, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

async fn answer(objects: &Objects, request: Request) -> Result<Response> {
    let words: Vec<_> = request.uri().path().splitn(4, '/').skip(1).collect();
    let [area, name, action] = words[..] else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let object = objects.object(name);
    let query = request
        .uri()
        .query()
        .and_then(|query| query.split_once('='));
    let k: i64 = query.map_or(Ok(0), |(_, value)| value.parse())?;
    let body = match (area, action) {
        ("mem", "incr") => (object.count.fetch_add(1, Ordering::Relaxed) + 1).to_string(),
        ("sql", "write" | "seed" | "fill") => {
            let file = objects.file(name);
            let action = action.to_owned();
            let write = move || object.sql(&file, &action, k);
            tokio::task::spawn_blocking(write).await??
        }
        ("sql", action) => object.sql(&objects.file(name), action, k)?,
        ("ws", "connect") => return accept(object, request),
        _ => return Ok(StatusCode::NOT_FOUND.into_response()),
    };
    Ok(body.into_response())
}

impl Objects {
    fn object(&self, name: &str) -> Arc<Object> {
        let mut all = lock(&self.all);
        if let Some(object) = all.get(name) {
            return object.clone();
        }
        let object = Arc::<Object>::default();
        all.insert(name.to_owned(), object.clone());
        object
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data.join(format!("{name}.db"))
    }
}

impl Object {
    fn sql(&self, file: &Path, action: &str, k: i64) -> Result<String> {
        let mut database = lock(&self.database);
        let db = match &mut *database {
            Some(db) => db,
            none => none.insert(open(file)?),
        };
        let number = match action {
            "seed" => seed(db, k)?,
            "fill" => fill(db, k)?,
            "write" => db
                .prepare_cached(
                    "INSERT INTO kv VALUES (?, 1)
                     ON CONFLICT (k) DO UPDATE SET v = v + 1 RETURNING v",
                )?
                .query_row([k], |row| row.get(0))?,
            "read" => {
                let v = read(db, k)?;
                return Ok(v.map_or_else(|| "none".to_owned(), |v| v.to_string()));
            }
            "n1" => {
                let values = (0..k).map(|n| Ok(read(db, n % 1000)?.unwrap_or(0)));
                values.sum::<Result<i64>>()?
            }
            "sum" => db
                .prepare_cached("SELECT coalesce(sum(v), 0) FROM kv")?
                .query_row((), |row| row.get(0))?,
            _ => bail!("there is no action {action:?}"),
        };
        Ok(number.to_string())
    }
}

fn open(file: &Path) -> Result<Connection> {
    let db = Connection::open(file)?;
    db.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS kv (k INTEGER PRIMARY KEY, v INTEGER NOT NULL);",
    )?;
    Ok(db)
}

fn seed(db: &mut Connection, rows: i64) -> Result<i64> {
    let transaction = db.transaction()?;
    for k in 0..rows {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO kv VALUES (?, 0)")?
            .execute([k])?;
    }
    transaction.commit()?;
    Ok(rows)
}

fn fill(db: &mut Connection, mib: i64) -> Result<i64> {
    let transaction = db.transaction()?;
    transaction.execute_batch("CREATE TABLE IF NOT EXISTS ballast (b BLOB NOT NULL)")?;
    for _ in 0..mib {
        transaction.execute("INSERT INTO ballast VALUES (randomblob(1048576))", ())?;
    }
    transaction.commit()?;
    Ok(mib)
}

fn read(db: &Connection, k: i64) -> Result<Option<i64>> {
    let mut statement = db.prepare_cached("SELECT v FROM kv WHERE k = ?")?;
    Ok(statement.query_row([k], |row| row.get(0)).optional()?)
}

fn accept(object: Arc<Object>, mut request: Request) -> Result<Response> {
    let headers: &HeaderMap = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let accept = derive_accept_key(key.context("no key")?.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let io = TokioIo::new(upgraded);
            let stream = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            talk(stream, &object).await;
        }
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response.body(Body::empty())?)
}

async fn talk<S>(stream: WebSocketStream<S>, object: &Object)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut messages) = stream.split();
    let (queue, mut waiting) = mpsc::unbounded_channel();
    lock(&object.sockets).push(queue.clone());
    tokio::spawn(async move {
        while let Some(message) = waiting.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = messages.next().await {
        // A queue whose socket is gone takes nothing more.
        let _ = match &message {
            Message::Text(text) if text.starts_with('b') => {
                lock(&object.sockets).retain(|socket| socket.send(message.clone()).is_ok());
                Ok(())
            }
            Message::Text(_) => queue.send(message),
            _ => Ok(()),
        };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
