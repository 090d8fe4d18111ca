//! Going back and forth between two versions while requests come: how long a switch
//! takes, and whether any request fails (none may).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::line::{Effort, Score};
use crate::peer::{Peer, Running};

const CLIENTS: usize = 8;
/// Of the app, as the host makes it of the file's name.
const APP: &str = "/v1/apps/bench";

pub(crate) async fn measure(peers: &[Peer], effort: Effort) -> Result<Vec<Score>> {
    let mut scores = Vec::new();
    for peer in peers {
        let mut score = Score::of(peer);
        let running = peer.run().await?;
        let mut admin = Admin::connect(&running).await?;
        let list = admin.ask(Method::GET, "/deployments", Json::Null).await?;
        let component = &list["versions"][0]["component"];
        let wish = json!({"component": component, "manifest": "vars.SWITCHED = 'yes'"});
        admin.ask(Method::POST, "/deployments", wish).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            clients.push(tokio::spawn(load(
                Client::connect(running.port).await?,
                path(&running, number),
                stop.clone(),
            )));
        }
        for _ in 0..effort.rounds * effort.count(10, 3) {
            for version in [1, 2] {
                let began = Instant::now();
                let wish = json!({"version": version});
                admin.ask(Method::POST, "/rollback", wish).await?;
                score.samples.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        stop.store(true, Ordering::Relaxed);
        let (mut requests, mut failed) = (0, 0);
        for client in clients {
            let (asked, lost) = client.await?;
            requests += asked;
            failed += lost;
        }
        score.notes.push(("requests".to_owned(), requests as f64));
        score.notes.push(("failed".to_owned(), failed as f64));
        ensure!(failed == 0, "{failed} of {requests} requests failed");
        scores.push(score);
    }
    Ok(scores)
}

fn path(running: &Running, number: usize) -> String {
    let object = format!("switch-{number}");
    running.path(&object, &format!("/mem/{object}/incr"))
}

/// One request after the other; how many, and how many had no good answer.
async fn load(mut client: Client, path: String, stop: Arc<AtomicBool>) -> (u64, u64) {
    let (mut requests, mut failed) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        requests += 1;
        failed += u64::from(client.get(&path).await.is_err());
    }
    (requests, failed)
}

/// The admin door, found by the data folder.
struct Admin {
    sender: hyper::client::conn::http1::SendRequest<Full<bytes::Bytes>>,
    address: String,
    token: String,
}

impl Admin {
    async fn connect(running: &Running) -> Result<Self> {
        let file = running.data().join("admin/local.json");
        // The public door answers before this one opens.
        let deadline = Instant::now() + Duration::from_secs(10);
        let text = loop {
            match std::fs::read(&file) {
                Ok(text) => break text,
                Err(_) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("no {}", file.display()));
                }
            }
        };
        let local: Json = serde_json::from_slice(&text)?;
        let text = |key: &str| local[key].as_str().unwrap_or_default().to_owned();
        let address = text("url").trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&address).await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            address,
            token: text("token"),
        })
    }

    async fn ask(&mut self, method: Method, path: &str, body: Json) -> Result<Json> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{APP}{path}"))
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::from(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        ensure!(status == 200, "{path} answered {status}: {text}");
        Ok(serde_json::from_slice(&body)?)
    }
}
