//! Probe: does what a test tells it, and says what it saw.
//!
//! `POST /run` takes a JSON list of steps (see [`steps`]) and answers
//!
//! ```json
//! {"instance": 1234, "object": {"hex": "…", "name": "…"},
//!  "seen": {"method": "POST", "url": "…", "headers": [["name", "value"]]},
//!  "results": ["one per step"]}
//! ```
//!
//! `instance` is a random number made in `new`: it changes when the object
//! starts anew. The other paths, in [`bodies`], answer bodies and headers. The
//! classes `Second` and `Broken` are in [`others`], `Sockets` in [`sockets`], those
//! that begin with `Tiny` in [`tinybase`].

mod alarms;
mod bodies;
mod calls;
mod gates;
mod kv;
mod others;
mod sockets;
mod steps;
mod stores;
mod tinybase;
mod values;

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use dormouse_sdk::prelude::*;
use serde_json::json;

use steps::{Lab, Step};

struct Probe {
    instance: u32,
    lab: Rc<Lab>,
}

#[durable_object]
impl DurableObject for Probe {
    async fn new(state: State, env: Env) -> Result<Self> {
        Ok(Self {
            instance: random(),
            lab: Rc::new(Lab::new(state, env)),
        })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if let Some(target) = request.path().strip_prefix("/forward/") {
            let target = target.to_owned();
            return calls::forward(self.lab.env(), &target, request).await;
        }
        match request.path() {
            "/run" => self.run(request).await,
            _ => bodies::answer(request).await,
        }
    }

    async fn alarm(&self, info: AlarmInfo) -> Result<()> {
        alarms::run(&self.lab, info).await
    }
}

impl Probe {
    async fn run(&self, request: Request) -> Result<Response> {
        let seen = seen(&request);
        let steps = Step::parse(request.json().await?)?;
        let results = self.lab.run(steps).await?;
        let id = self.lab.state().id();
        Response::json(&json!({
            "instance": self.instance,
            "object": {"hex": id.hex(), "name": id.name()},
            "seen": seen,
            "results": results,
        }))
    }
}

fn seen(request: &Request) -> serde_json::Value {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            [
                name.as_str().into(),
                String::from_utf8_lossy(value.as_bytes()),
            ]
        })
        .collect();
    json!({"method": request.method().as_str(), "url": request.url(), "headers": headers})
}

/// The hash of nothing, with the seed that the host gave to this instance.
fn random() -> u32 {
    let hash = RandomState::new().hash_one(());
    (hash ^ (hash >> 32)) as u32
}
