//! An HTTP client for what wrk cannot do: checks, limited work, a constant rate.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One connection that is kept.
#[derive(Debug)]
pub(crate) struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// The body of a 200.
    pub(crate) async fn get(&mut self, path: &str) -> Result<String> {
        let request = Request::get(path)
            .header(http::header::HOST, "127.0.0.1")
            .body(Empty::new())?;
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        ensure!(status == 200, "{path} answered {status}: {body}");
        Ok(body)
    }

    pub(crate) async fn number(&mut self, path: &str) -> Result<i64> {
        let body = self.get(path).await?;
        body.trim()
            .parse()
            .with_context(|| format!("{path} answered {body:?}, not a number"))
    }
}

/// Asks for each path once, over so many connections; the bodies in no order, and the
/// time it took.
pub(crate) async fn each_once(
    port: u16,
    paths: Vec<String>,
    connections: usize,
) -> Result<(Vec<String>, Duration)> {
    let paths = Arc::new(Mutex::new(VecDeque::from(paths)));
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Client::connect(port).await?);
    }
    let began = Instant::now();
    let tasks = clients.into_iter().map(|mut client| {
        let paths = paths.clone();
        tokio::spawn(async move {
            let mut bodies = Vec::new();
            loop {
                let next = lock(&paths).pop_front();
                let Some(path) = next else {
                    return anyhow::Ok(bodies);
                };
                bodies.push(client.get(&path).await?);
            }
        })
    });
    let done = futures_util::future::try_join_all(tasks).await?;
    let took = began.elapsed();
    let bodies = done.into_iter().collect::<Result<Vec<_>>>()?;
    Ok((bodies.into_iter().flatten().collect(), took))
}

/// Asks at a constant rate whether or not answers keep up, and measures each answer
/// from when its request was due: a host that stalls is charged for all who wait.
/// Microseconds.
pub(crate) async fn at_rate(
    port: u16,
    paths: &[String],
    rate: f64,
    seconds: f64,
) -> Result<Histogram<u64>> {
    let idle = Arc::new(Mutex::new(Vec::new()));
    let latencies = Arc::new(Mutex::new(Histogram::new(3)?));
    let total = (rate * seconds) as usize;
    let began = Instant::now();
    let mut tasks = Vec::with_capacity(total);
    for n in 0..total {
        let due = began + Duration::from_secs_f64(n as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let path = paths[n % paths.len()].clone();
        let (idle, latencies) = (idle.clone(), latencies.clone());
        tasks.push(tokio::spawn(async move {
            let kept = lock(&idle).pop();
            let mut client = match kept {
                Some(client) => client,
                None => Client::connect(port).await?,
            };
            client.get(&path).await?;
            lock(&idle).push(client);
            let waited = due.elapsed().as_micros() as u64;
            lock(&latencies).record(waited.max(1))?;
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let latencies = lock(&latencies).clone();
    Ok(latencies)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
