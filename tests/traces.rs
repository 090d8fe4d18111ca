//! Traces: one from the client through worker, object, call and request to the outside,
//! as a collector gets it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::{
    Answer, Body, Process, app_folder, bounded, dormouse, empty, eventually, front, probe,
    share_compiled_code, wasip3_worker, whole, wstd_worker,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

/// A collector, and any other server: keeps what is sent to it.
#[derive(Clone)]
struct Outside {
    address: SocketAddr,
    /// The headers of requests that were not for the collector.
    asked: Arc<Mutex<Vec<HeaderMap>>>,
    posted: Arc<Mutex<Vec<Posted>>>,
}

struct Posted {
    headers: HeaderMap,
    batch: Json,
}

/// One span, as far as the tests look.
#[derive(Clone, Debug)]
struct Span {
    name: String,
    kind: u64,
    trace: String,
    id: String,
    parent: String,
    about: Json,
    /// Traces.
    links: Vec<String>,
    failed: bool,
}

impl Outside {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let outside = Self {
            address: listener.local_addr().expect("it is bound"),
            asked: Arc::default(),
            posted: Arc::default(),
        };
        let serving = outside.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                let answer = service_fn(move |request| {
                    let serving = serving.clone();
                    async move { Ok::<_, Infallible>(serving.answer(request).await) }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(connection);
            }
        });
        outside
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        if parts.uri.path() != "/v1/traces" {
            self.asked.lock().unwrap().push(parts.headers);
            return Response::new(whole("hello\n"));
        }
        let body = body.collect().await.expect("a batch").to_bytes();
        self.posted.lock().unwrap().push(Posted {
            headers: parts.headers,
            batch: serde_json::from_slice(&body).expect("JSON was asked for"),
        });
        Response::new(whole("{}"))
    }

    fn spans(&self) -> Vec<Span> {
        let posted = self.posted.lock().unwrap();
        let resources = posted
            .iter()
            .flat_map(|posted| list(&posted.batch["resourceSpans"]));
        let scopes = resources.flat_map(|resource| list(&resource["scopeSpans"]));
        let spans = scopes.flat_map(|scope| list(&scope["spans"]));
        spans.map(Span::read).collect()
    }

    async fn until(&self, what: &str, fits: impl Fn(&Span) -> bool) -> Span {
        eventually(what, async || self.spans().into_iter().find(&fits)).await
    }

    async fn named(&self, name: &str) -> Span {
        self.until(name, |span| span.name == name).await
    }
}

fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}

impl Span {
    fn read(json: &Json) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let about = list(&json["attributes"]).map(|pair| {
            let key = pair["key"].as_str().expect("a key").to_owned();
            let value = pair["value"]
                .as_object()
                .and_then(|one| one.values().next());
            (key, value.cloned().unwrap_or_default())
        });
        Self {
            name: text("name"),
            kind: json["kind"].as_u64().unwrap_or_default(),
            trace: text("traceId"),
            id: text("spanId"),
            parent: text("parentSpanId"),
            about: about.collect::<serde_json::Map<_, _>>().into(),
            links: list(&json["links"])
                .map(|link| link["traceId"].as_str().unwrap_or_default().to_owned())
                .collect(),
            failed: json["status"]["code"] == 2,
        }
    }

    /// Whether it is a step of `parent`.
    fn is_within(&self, parent: &Self) -> bool {
        (&self.trace, &self.parent) == (&parent.trace, &parent.id)
    }
}

/// The front guest, which may ask this server.
fn front_app(outside: &Outside) -> TempDir {
    let rest = format!("outgoing.private_hosts = ['{}']", outside.address);
    app_folder("front", &front(), &rest)
}

fn with_collector(outside: &Outside, sampler: &str) -> Command {
    let mut command = dormouse();
    command
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", outside.address),
        )
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
        .env("OTEL_SERVICE_NAME", "shop")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .env("OTEL_TRACES_SAMPLER", sampler)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

async fn serve(mut command: Command, app: &TempDir, data: &TempDir) -> Process {
    share_compiled_code(data.path()).await;
    command
        .arg("serve")
        .arg(app.path())
        .arg("--data")
        .arg(data.path());
    command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
    Process::start(&mut command).await
}

/// A request of a client that keeps traces itself.
async fn get(host: &Process, path: &str, flags: &str) -> Answer {
    let mut request = host.request(Method::GET, path, empty());
    let parent = format!("00-{TRACE}-{CLIENT}-{flags}");
    let headers = request.headers_mut();
    headers.insert("traceparent", HeaderValue::try_from(parent).unwrap());
    headers.insert("tracestate", HeaderValue::from_static("vendor=7"));
    let answer = async { Answer::read(host.send(request).await?).await };
    bounded("an answer", answer)
        .await
        .expect("a host that answers")
}

fn asks(outside: &Outside) -> String {
    format!(
        "/Asker/a?via=b&url=http://{}/hello%3Fkey=1",
        outside.address
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_through_worker_object_call_and_request() {
    let outside = Outside::start().await;
    let (app, data) = (front_app(&outside), tempfile::tempdir().unwrap());
    let command = with_collector(&outside, "parentbased_always_on");
    let mut host = serve(command, &app, &data).await;
    assert_eq!(get(&host, &asks(&outside), "01").await.text(), "hello\n");

    let request = outside.until("the request", |span| span.kind == 2).await;
    let worker = outside.named("worker").await;
    let object = |name: &'static str| {
        outside.until(name, move |span| {
            span.name == "Asker fetch" && span.about["dormouse.object"] == name
        })
    };
    let (a, b) = (object("a").await, object("b").await);
    let out = outside
        .until("the one that goes out", |span| span.kind == 3)
        .await;
    assert_eq!((&*request.trace, &*request.parent), (TRACE, CLIENT));
    assert!(worker.is_within(&request), "{worker:?}");
    assert!(a.is_within(&worker), "{a:?}");
    assert!(b.is_within(&a), "{b:?}");
    assert!(out.is_within(&b), "{out:?}");

    assert_eq!(request.kind, 2, "a server's");
    assert_eq!(request.about["http.request.method"], "GET");
    assert_eq!(request.about["url.path"], "/Asker/a");
    assert_eq!(request.about["http.response.status_code"], "200");
    assert_eq!(a.about["dormouse.class"], "Asker");
    // The query may hold secrets.
    let url = format!("http://{}/hello", outside.address);
    assert_eq!(out.about["url.full"], url);
    assert_eq!(out.about["http.response.status_code"], "200");
    assert!(outside.spans().iter().all(|span| !span.failed));

    // What was asked sees the span that asks it, and so does the code of the object.
    let asked = outside.asked.lock().unwrap()[0].clone();
    assert_eq!(asked["traceparent"], format!("00-{TRACE}-{}-01", out.id));
    assert_eq!(asked["tracestate"], "vendor=7");
    let logged = host.log();
    let of_a = logged.iter().find(|one| one["object"] == "a").unwrap();
    assert_eq!(
        of_a["message"],
        format!("traceparent 00-{TRACE}-{}-01", a.id)
    );
    assert_eq!(
        (&of_a["trace_id"], &of_a["span_id"]),
        (&json!(TRACE), &json!(a.id))
    );

    // Both objects were made for it.
    let made: Vec<_> = outside.spans();
    let made = made.iter().filter(|span| span.name == "Asker construct");
    assert_eq!(made.clone().count(), 2);
    assert!(made.clone().any(|one| one.is_within(&worker)), "{made:?}");

    let (key, resource) = {
        let posted = outside.posted.lock().unwrap();
        let resource = posted[0].batch["resourceSpans"][0]["resource"].to_string();
        (posted[0].headers["x-key"].clone(), resource)
    };
    assert_eq!(key, "secret");
    assert!(resource.contains("shop") && resource.contains("deployment.environment.name"));
    host.terminate();
    assert!(host.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_wasi_http_are_part_of_the_trace() {
    for (worker, scheme) in [(wstd_worker(), "http://"), (wasip3_worker(), "")] {
        let outside = Outside::start().await;
        let rest = format!("outgoing.private_hosts = ['{}']", outside.address);
        let app = app_folder("standard", &worker, &rest);
        let data = tempfile::tempdir().unwrap();
        let mut host = serve(with_collector(&outside, "always_on"), &app, &data).await;
        let path = format!("/ask?{scheme}{}/hello", outside.address);
        assert_eq!(get(&host, &path, "01").await.text(), "hello\n");
        let worker = outside.named("worker").await;
        let out = outside
            .until("the one that goes out", |span| span.kind == 3)
            .await;
        assert!(out.is_within(&worker) && out.trace == TRACE, "{out:?}");
        let asked = outside.asked.lock().unwrap()[0].clone();
        assert_eq!(asked["traceparent"], format!("00-{TRACE}-{}-01", out.id));
        assert_eq!(asked["tracestate"], "vendor=7");
        host.terminate();
        assert!(host.ended().await.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_begins_a_trace_and_failures_are_marked() {
    let outside = Outside::start().await;
    let (app, data) = (
        app_folder("probe", &probe(), "limits.slow_sql_ms = 0"),
        tempfile::tempdir().unwrap(),
    );
    let mut host = serve(with_collector(&outside, "always_on"), &app, &data).await;
    host.run(
        "a",
        json!([
            {"on_alarm": "", "steps": [{"call": "b", "steps": [{"sql": "SELECT 1"}]}]},
            {"set_alarm_in_ms": 1},
        ]),
    )
    .await;
    let alarm = outside.named("Probe alarm").await;
    let set = outside.named("POST /Probe/{name}").await;
    assert_eq!(alarm.parent, "");
    assert_ne!(alarm.trace, set.trace);
    assert_eq!(alarm.links, [set.trace]);
    let called = outside
        .until("the call", |span| {
            span.name == "Probe fetch" && span.is_within(&alarm)
        })
        .await;
    assert_eq!(called.about["dormouse.object"], "b");
    let statement = outside
        .until("a statement", |span| {
            span.is_within(&called) && span.about["db.query.text"] == "SELECT 1"
        })
        .await;
    assert_eq!(statement.about["db.system.name"], "sqlite");

    host.try_run("a", json!([{"trap": "panic"}]))
        .await
        .problem(500, "object-reset");
    let failed = outside
        .until("the failure", |span| {
            span.name == "Probe fetch" && span.failed
        })
        .await;
    assert_eq!(failed.about["error.type"], "reset");
    let door = outside
        .until("its request", |span| failed.is_within(span))
        .await;
    assert!(
        door.failed && door.about["http.response.status_code"] == "500",
        "{door:?}"
    );
    host.terminate();
    assert!(host.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_sample_is_obeyed_and_still_handed_on() {
    let outside = Outside::start().await;
    let (app, data) = (front_app(&outside), tempfile::tempdir().unwrap());
    let command = with_collector(&outside, "parentbased_always_on");
    let mut host = serve(command, &app, &data).await;
    assert_eq!(get(&host, &asks(&outside), "00").await.text(), "hello\n");
    // Stopping sends what is left.
    host.terminate();
    assert!(host.ended().await.success());
    assert!(outside.spans().is_empty(), "{:?}", outside.spans());
    let asked = outside.asked.lock().unwrap()[0].clone();
    let parent = asked["traceparent"].to_str().unwrap();
    assert!(parent.starts_with(&format!("00-{TRACE}-")), "{parent}");
    assert!(
        parent.ends_with("-00") && !parent.contains(CLIENT),
        "{parent}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_off_nothing_is_touched() {
    let outside = Outside::start().await;
    let (app, data) = (front_app(&outside), tempfile::tempdir().unwrap());
    let mut command = with_collector(&outside, "always_on");
    command.env("OTEL_SDK_DISABLED", "true");
    let mut host = serve(command, &app, &data).await;
    assert_eq!(get(&host, &asks(&outside), "01").await.text(), "hello\n");
    host.terminate();
    assert!(host.ended().await.success());
    assert!(outside.posted.lock().unwrap().is_empty());
    let asked = outside.asked.lock().unwrap()[0].clone();
    assert!(asked.get("traceparent").is_none(), "{asked:?}");
    // What the client sent reaches the object as any header does.
    let logged = host.log();
    let of_a = logged.iter().find(|one| one["object"] == "a").unwrap();
    assert_eq!(
        of_a["message"],
        format!("traceparent 00-{TRACE}-{CLIENT}-01")
    );
    assert!(of_a.get("trace_id").is_none(), "{of_a}");
}

#[test]
fn a_variable_that_means_nothing_is_refused() {
    let app = app_folder("front", &front(), "");
    for (name, value, wanted) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        (
            "OTEL_TRACES_SAMPLER",
            "sometimes",
            "parentbased_traceidratio",
        ),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "within 0 and 1"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "`otlp` or `none`"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "milliseconds"),
    ] {
        let mut command = dormouse();
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
        command.env("OTEL_TRACES_SAMPLER", "traceidratio");
        let command = command.env(name, value).arg("serve").arg(app.path());
        let output = command.output().expect("the binary is built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(name) && said.contains(wanted), "{said}");
    }
}
