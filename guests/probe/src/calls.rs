//! Calls to other objects: steps, a path that passes requests on, methods, and the
//! class `Circle`, whose constructor calls back into itself.
//!
//! `/forward/CLASS/NAME/REST` hands the request, with body and upgrade, to an object.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use dormouse_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::Probe;
use crate::steps::Lab;

/// Every result may be `{"error": {"kind", "message", "retryable"}}` instead.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum CallStep {
    /// Lets the `Probe` of this name do steps. Result: `{"call": what it answers}`.
    Call {
        call: String,
        steps: Vec<Json>,
        binding: Option<String>,
    },
    /// The same, but gives the answer up at once. Result: `{"abandoned": name}`.
    Abandon { abandon: String, steps: Vec<Json> },
    /// GETs the path `CLASS/NAME/REST`. Result: `{"get": body}`.
    Get { get: String },
    /// Calls `note` of the `Probe` of this name with 0, 1, …, all at once. Result:
    /// `{"noted": count}`.
    Note { note: String, count: u32 },
    /// What was noted here. Result: `{"notes": [numbers]}`.
    Notes {
        #[allow(dead_code, reason = "the key says it all")]
        notes: bool,
    },
    /// Calls `divide` of the `Probe` of this name. Result: `{"quotient"}` or
    /// `{"declared": the error}`.
    Divide { divide: String, by: i64 },
    /// Sends text through `reversed`. Result: `{"reversed": text}`.
    Reverse { reverse: String, text: String },
    /// The same, in pieces. Result: `{"reversed": text}`.
    ReversePieces {
        reverse: String,
        pieces: Vec<String>,
    },
    /// Ids of the namespace `Probe`. Result: `{"unique", "named", "read", "foreign"}`.
    Ids {
        #[allow(dead_code, reason = "the key says it all")]
        ids: bool,
    },
    /// As `Call`, for an object without a name. Result: `{"call": …, "id": hex}`.
    Unique { unique: Vec<Json> },
}

impl CallStep {
    pub async fn run(self, lab: &Rc<Lab>) -> Result<Json> {
        match self.try_run(lab).await {
            Err(error) => match error.downcast_ref::<CallError>() {
                Some(error) => Ok(json!({"error": described(error)})),
                None => Err(error),
            },
            result => result,
        }
    }

    async fn try_run(self, lab: &Rc<Lab>) -> Result<Json> {
        let env = lab.env();
        let probe =
            |name: &str| -> Result<_> { Ok(env.namespace::<Probe>("Probe")?.get_by_name(name)) };
        Ok(match self {
            Self::Call {
                call,
                steps,
                binding,
            } => {
                let binding = binding.as_deref().unwrap_or("Probe");
                let stub = env.namespace::<Stub>(binding)?.get_by_name(&call);
                json!({"call": answered(&stub, steps).await?})
            }
            Self::Unique { unique } => {
                let probes = env.namespace::<Stub>("Probe")?;
                let stub = probes.get(&probes.new_unique_id())?;
                json!({"call": answered(&stub, unique).await?, "id": stub.id().hex()})
            }
            Self::Abandon { abandon, steps } => {
                let stub = probe(&abandon)?;
                let mut call = pin!(answered(&stub, steps));
                poll_fn(|cx| {
                    let _ = call.as_mut().poll(cx);
                    Poll::Ready(())
                })
                .await;
                json!({"abandoned": abandon})
            }
            Self::Get { get } => {
                let response = forward(env, &get, Request::get("/")).await?;
                json!({"get": response.into_text().await?})
            }
            Self::Note { note, count } => {
                let stub = probe(&note)?;
                let calls = (0..count).map(|number| stub.note(number));
                futures_util::future::try_join_all(calls).await?;
                json!({"noted": count})
            }
            Self::Notes { .. } => json!({"notes": lab.notes()}),
            Self::Divide { divide, by } => match probe(&divide)?.divide(by).await {
                Ok(quotient) => json!({"quotient": quotient}),
                Err(MethodError::Declared(error)) => json!({"declared": error}),
                Err(MethodError::Call(error)) => return Err(error.into()),
            },
            Self::Reverse { reverse, text } => {
                let reversed = probe(&reverse)?.reversed(text.into()).await?;
                json!({"reversed": reversed.text().await?})
            }
            Self::ReversePieces { reverse, pieces } => {
                let (mut writer, body) = Body::channel();
                let stub = probe(&reverse)?;
                let write = async {
                    for piece in pieces {
                        writer.write(piece).await?;
                    }
                    writer.finish();
                    Ok::<_, Error>(())
                };
                let read = async { stub.reversed(body).await?.text().await };
                let (reversed, ()): (String, ()) =
                    futures_util::future::try_join(read, write).await?;
                json!({"reversed": reversed})
            }
            Self::Ids { .. } => ids(env)?,
        })
    }
}

fn described(error: &CallError) -> Json {
    json!({
        "kind": format!("{:?}", error.kind()),
        "message": error.to_string(),
        "retryable": error.retryable(),
    })
}

async fn answered(stub: &Stub, steps: Vec<Json>) -> Result<Json> {
    let request = Request::post("/run", "").with_json(&steps)?;
    let response = stub.fetch(request).await?;
    let status = response.status();
    ensure!(
        status == StatusCode::OK,
        "the other probe answered {status}"
    );
    response.into_json().await
}

fn ids(env: &Env) -> Result<Json> {
    let probes = env.namespace::<Probe>("Probe")?;
    let others = env.namespace::<Stub>("Second")?;
    let (unique, named) = (probes.new_unique_id(), probes.id_from_name("a"));
    let read = probes.id_from_string(named.hex())?;
    let foreign = others.id_from_string(named.hex()).err();
    Ok(json!({
        "unique": unique.hex(),
        "named": named.hex(),
        "read": read.hex(),
        "foreign": foreign.map(|error| error.to_string()),
    }))
}

/// Hands a request to the object that `CLASS/NAME/REST` names.
pub async fn forward(env: &Env, path: &str, request: Request) -> Result<Response> {
    let mut parts = path.splitn(3, '/');
    let (class, name) = (parts.next(), parts.next());
    let (class, name) = class.zip(name).context("a path is CLASS/NAME/REST")?;
    let rest = format!("/{}", parts.next().unwrap_or_default());
    let target = match request.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest,
    };
    let stub = env.namespace::<Stub>(class)?.get_by_name(name);
    let request = request
        .with_url(target)
        .with_header("x-forwarded-by", "a probe");
    stub.fetch(request).await
}

/// Why a number cannot be divided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Indivisible {
    pub by: i64,
}

impl std::fmt::Display for Indivisible {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "nothing can be divided by {}", self.by)
    }
}

#[object_api]
impl Probe {
    /// Adds to the numbers of this instance.
    pub fn note(&self, number: u32) {
        self.lab.note(number);
    }

    /// 100 divided by a number.
    pub async fn divide(&self, by: i64) -> Result<i64, Indivisible> {
        100_i64.checked_div(by).ok_or(Indivisible { by })
    }

    /// The sum; waits before it answers.
    pub async fn add(&self, a: i64, b: Option<i64>) -> Result<i64> {
        let b = b.context("there is nothing to add")?;
        sleep(std::time::Duration::ZERO).await;
        Ok(a + b)
    }

    /// What is sent, backwards, portion by portion.
    pub async fn reversed(&self, mut text: Body) -> Result<Body> {
        let response = Response::stream(|mut writer| async move {
            while let Some(mut chunk) = text.chunk().await? {
                chunk.reverse();
                writer.write(chunk).await?;
            }
            Ok(())
        });
        Ok(response.into_body())
    }
}

/// Its constructor asks the probe of the same name, which asks this object.
struct Circle {
    told: String,
}

#[durable_object]
impl DurableObject for Circle {
    async fn new(state: State, env: Env) -> Result<Self> {
        let name = state.id().name().unwrap_or_default();
        let steps = json!([{"get": format!("Circle/{name}")}]);
        let stub = env.namespace::<Stub>("Probe")?.get_by_name(name);
        let answer = answered(&stub, serde_json::from_value(steps)?).await?;
        Ok(Self {
            told: answer["results"][0].to_string(),
        })
    }

    async fn fetch(&self, _request: Request) -> Result<Response> {
        Ok(Response::text(self.told.clone()))
    }
}
