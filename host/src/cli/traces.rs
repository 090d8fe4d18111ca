//! Traces: where spans go, by the standard `OTEL_*` variables.
//!
//! Most of them are read by the OpenTelemetry crates: endpoint, headers, sampler,
//! batches, resource. What those would pass over in silence is an error here. Spans
//! leave in batches on a thread of their own, by HTTP (OTLP); a collector that cannot
//! be reached is told once, and costs spans, never requests.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;

use super::remote::{Connector, connector};
use crate::trace;

/// How long the last spans may take to leave when the host stops.
const FINISH: Duration = Duration::from_secs(3);
/// Past this an attempt to send a batch is given up, unless the environment says else.
const SEND: Duration = Duration::from_secs(10);
/// Of a collector's answer, what is read.
const MAX_ANSWER_BYTES: usize = 64 << 10;
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// What sends spans until the end of the process; nothing if traces are off.
#[derive(Debug)]
pub(super) struct Traces(Option<SdkTracerProvider>);

/// From here on spans are recorded, if the environment asks for it.
pub(super) fn install() -> anyhow::Result<Traces> {
    if !is_wanted()? {
        return Ok(Traces(None));
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(protocol()?)
        .with_http_client(Sender::new()?)
        .build()
        .context("traces cannot be sent as the `OTEL_*` variables say")?;
    check_sampler()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .build();
    trace::install(provider.tracer("dormouse"));
    Ok(Traces(Some(provider)))
}

impl Traces {
    /// Sends what is left.
    pub(super) async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FINISH));
        if let Ok(Err(error)) = sent.await {
            tracing::warn!("the last spans were not sent: {error}");
        }
    }
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The first of these that is set, with its name.
fn first_of(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    let mut names = names.into_iter();
    names.find_map(|name| variable(name).map(|value| (name, value)))
}

fn is_wanted() -> anyhow::Result<bool> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        Some("none") => Ok(false),
        Some("otlp") => Ok(true),
        Some(other) => bail!("OTEL_TRACES_EXPORTER is {other:?}; use `otlp` or `none`"),
        None => Ok(first_of([
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ])
        .is_some()),
    }
}

fn protocol() -> anyhow::Result<Protocol> {
    let given = first_of([
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ]);
    match given {
        None => Ok(Protocol::HttpBinary),
        Some((name, protocol)) => match protocol.as_str() {
            "http/protobuf" => Ok(Protocol::HttpBinary),
            "http/json" => Ok(Protocol::HttpJson),
            other => bail!(
                "{name} is {other:?}, which is not spoken here; use `http/protobuf` or \
                 `http/json`, for which collectors listen on port 4318"
            ),
        },
    }
}

/// The SDK would take another sampler without a word.
fn check_sampler() -> anyhow::Result<()> {
    let Some(sampler) = variable("OTEL_TRACES_SAMPLER") else {
        return Ok(());
    };
    if !SAMPLERS.contains(&sampler.as_str()) {
        let known = SAMPLERS.join(", ");
        bail!("OTEL_TRACES_SAMPLER is {sampler:?}; use one of {known}");
    }
    let argument = variable("OTEL_TRACES_SAMPLER_ARG");
    if let (true, Some(argument)) = (sampler.ends_with("ratio"), argument) {
        let ratio = argument.parse().ok();
        if !ratio.is_some_and(|ratio: f64| (0.0..=1.0).contains(&ratio)) {
            bail!("OTEL_TRACES_SAMPLER_ARG is {argument:?}; a ratio is within 0 and 1");
        }
    }
    Ok(())
}

fn resource() -> Resource {
    let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut named = attributes.split(',').map(str::trim_start);
    let is_named = variable("OTEL_SERVICE_NAME").is_some()
        || named.any(|pair| pair.starts_with("service.name="));
    let resource = Resource::builder();
    if is_named {
        resource.build()
    } else {
        resource.with_service_name("dormouse").build()
    }
}

/// Sends batches from the runtime, with the TLS of all other clients here.
#[derive(Debug)]
struct Sender {
    runtime: Handle,
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
    /// The last batch did not arrive.
    failing: AtomicBool,
}

impl Sender {
    fn new() -> anyhow::Result<Self> {
        let given = first_of([
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ]);
        let timeout = match given {
            None => SEND,
            Some((name, text)) => {
                let ms = text.parse();
                Duration::from_millis(ms.with_context(|| {
                    format!("{name} is {text:?}; write a whole number of milliseconds")
                })?)
            }
        };
        Ok(Self {
            runtime: Handle::current(),
            client: Client::builder(TokioExecutor::new()).build(connector(None)?),
            timeout,
            failing: AtomicBool::new(false),
        })
    }

    /// Tells of the first batch that is lost, and of the first that is not.
    fn tell(&self, lost: Option<&str>) {
        let was = self.failing.swap(lost.is_some(), Ordering::Relaxed);
        match lost {
            Some(why) if !was => tracing::warn!("spans are lost, the collector fails: {why}"),
            None if was => tracing::info!("the collector takes spans again"),
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        // Whoever asks is a thread without a runtime.
        let sent = self.runtime.spawn(async move {
            let answer = async {
                let response = client.request(request.map(Full::new)).await?;
                let (parts, body) = response.into_parts();
                let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
                Ok::<_, HttpError>(Response::from_parts(parts, body.to_bytes()))
            };
            let late = || HttpError::from(format!("no answer within {timeout:?}"));
            tokio::time::timeout(timeout, answer)
                .await
                .map_err(|_| late())?
        });
        let answer = sent.await?;
        match &answer {
            Ok(response) if response.status().is_success() => self.tell(None),
            Ok(response) => self.tell(Some(&response.status().to_string())),
            Err(error) => self.tell(Some(&error.to_string())),
        }
        answer
    }
}
