//! Metrics: what Prometheus scrapes.
//!
//! Counts come from `measures`; what can be asked at the moment of the scrape (who is
//! awake, memory) is asked then and costs nothing in between.

use std::sync::atomic::AtomicU64;

use axum::extract::State as From;
use axum::response::{IntoResponse, Response};
use http::header;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::State;
use super::extract::{May, Read};
use super::refusal::Refusal;
use crate::host::Handle;
use crate::server::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Linux counts processor time in hundredths of a second, whatever its own ticks are.
const TICKS: f64 = 100.0;

/// Metrics in the text format of OpenMetrics, which Prometheus reads.
#[utoipa::path(get, path = "/metrics", tag = "metrics",
    responses((status = OK, body = String, content_type = "application/openmetrics-text"),
        (status = "4XX", body = Problem)))]
pub(super) async fn metrics(_: May<Read>, From(state): From<State>) -> Result<Response, Refusal> {
    let mut registry = Registry::default();
    let host = &state.0.host;
    host.measures().register(&mut registry);
    let apps = state.0.apps.list().into_iter();
    let apps: Vec<_> = apps.filter_map(|app| app.handle).collect();
    objects(&mut registry, host, &apps);
    process(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Refusal::failed(&error.into()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// Of all apps together, but for the version, which is the main app's.
fn objects(registry: &mut Registry, host: &Handle, apps: &[Handle]) {
    let present: Vec<_> = apps.iter().flat_map(Handle::present).collect();
    let awake = present.iter().filter(|object| object.awake).count();
    let sockets: usize = present.iter().map(|object| object.sockets).sum();
    let own = registry.sub_registry_with_prefix("dormouse");
    let version = env!("CARGO_PKG_VERSION");
    own.register("build", "This host", Info::new([("version", version)]));
    gauge(own, "objects_awake", "Objects with an instance", awake);
    gauge(
        own,
        "objects_awake_limit",
        "How many objects can have one",
        host.awake_limit(),
    );
    gauge(own, "websockets_open", "WebSockets", sockets);
    gauge(
        own,
        "objects_with_alarms",
        "Objects with an alarm to come",
        apps.iter().map(Handle::objects_with_alarms).sum(),
    );
    gauge(
        own,
        "objects_with_dead_letters",
        "Objects with an alarm that was given up",
        apps.iter().map(|app| app.dead_letters().len()).sum(),
    );
    let version = host.catalog().current().map_or(0, |version| version.number);
    gauge(
        own,
        "deployed_version",
        "The number of the version that is served",
        version as usize,
    );
    let healthy = usize::from(apps.iter().all(|app| app.trouble().is_none()));
    gauge(
        own,
        "storage_healthy",
        "1 while writes can be made durable",
        healthy,
    );
}

/// The names that every exporter uses; nothing where there is no `/proc`.
fn process(registry: &mut Registry) {
    let own = registry.sub_registry_with_prefix("process");
    if let Some(pages) = number_in("/proc/self/statm", 1) {
        gauge(
            own,
            "resident_memory_bytes",
            "Resident memory",
            pages * 4096,
        );
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        gauge(own, "open_fds", "Open file descriptors", files.count());
    }
    // Behind the name in parentheses, which may hold anything.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let tick = |at: usize| fields.split_whitespace().nth(at)?.parse::<f64>().ok();
    if let (Some(user), Some(system)) = (tick(11), tick(12)) {
        let seconds = Counter::<f64, AtomicU64>::default();
        seconds.inc_by((user + system) / TICKS);
        own.register("cpu_seconds", "Processor time", seconds);
    }
}

fn number_in(file: &str, at: usize) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    text.split_whitespace().nth(at)?.parse().ok()
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}
