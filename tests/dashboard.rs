//! The dashboard for Grafana asks for what the host has.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value as Json, json};

use crate::admin::Operated;
use crate::harness::{app_folder, probe, root};

/// Names of metrics in a text: of this host, or of any process.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("dormouse_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// What a metric of this type is called where it is asked for.
fn series(name: &str, kind: &str) -> Vec<String> {
    let ends: &[&str] = match kind {
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        _ => &[""],
    };
    ends.iter().map(|end| format!("{name}{end}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grafana_dashboard_names_metrics_that_there_are() {
    let app = app_folder("probe", &probe(), "limits.slow_sql_ms = 0");
    let world = Operated::on(app, tempfile::tempdir().unwrap()).await;
    // What has counted nothing yet is not shown.
    let steps = json!([{"sql": "SELECT 1"}, {"trap": "panic"}]);
    world.host.try_run("a", steps).await;
    let answer = world.ask(Method::GET, "/metrics", Json::Null).await;
    let types = answer.text().lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(series(name, kind))
    });
    let there: BTreeSet<_> = types.flatten().collect();
    let file = root().join("docs/grafana/dormouse.json");
    let dashboard: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked: BTreeSet<_> = targets
        .flat_map(|target| metrics(target["expr"].as_str().unwrap()))
        .collect();
    let missing: Vec<_> = asked.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(asked.contains("dormouse_http_requests_total"), "{asked:?}");
}
