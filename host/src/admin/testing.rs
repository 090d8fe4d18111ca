//! Testing: time, failure and the outside, in the hands of a test in any language.
//!
//! Only a host that `dormouse dev --test` has started lets itself be treated so.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::extract::{In, Json, Operate, Path, Read, SqlRead};
use super::objects::Place;
use super::refusal::Refusal;
use crate::builtin::pair_to_json;
use crate::egress::{self, Script};
use crate::host::{Handle, Testing};
use crate::server::Problem;

/// How long the answer to a crash has to reach its reader.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Where a host for tests stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct TestState {
    /// What host and objects take for the time: milliseconds since 1970.
    pub now_ms: i64,
    /// When the next alarm of any object runs, if one is set; right after a start up to
    /// 32 s early.
    pub next_alarm_ms: Option<i64>,
    /// How many objects have an instance.
    pub awake: usize,
    /// How often the host has started: one more after each crash.
    pub starts: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Advance {
    /// How far the clock moves.
    pub ms: u64,
}

/// Which alarm has run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct AlarmRan {
    /// Its time; absent if no alarm was set.
    pub ran_ms: Option<i64>,
}

/// One object, or all without class and name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct Evict {
    pub class: Option<String>,
    pub object: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Reset {
    pub class: String,
    pub object: String,
}

/// What the outside answers by a route.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutgoingRoute {
    /// `[METHOD ]HOST[:PORT][/PATH]`; `*` is any text without `/`, `**` any text.
    pub route: String,
    /// One after the other; the last one stays.
    pub replies: Vec<OutgoingReply>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OutgoingReply {
    /// 200 without it.
    pub status: Option<u16>,
    pub headers: std::collections::BTreeMap<String, String>,
    /// The body as it is.
    pub text: Option<String>,
    /// The body as JSON.
    pub json: Option<serde_json::Value>,
    /// So long after the request, on the held clock.
    pub after_ms: u64,
    pub fails: Option<OutgoingFailure>,
    /// For a body that does not come whole: so many bytes of it come.
    pub after_bytes: usize,
}

/// How a request to the outside fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OutgoingFailure {
    /// Nobody listens there.
    Refused,
    /// The connection breaks before a response begins.
    Reset,
    /// No response ever begins.
    Silent,
    /// The body breaks off behind `after_bytes`.
    BodyReset,
    /// Behind `after_bytes` of the body nothing comes any more.
    BodyStall,
}

/// A request to the outside.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct OutgoingRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// What is not UTF-8 is replaced.
    pub body: String,
    pub at_ms: i64,
    /// The route that answered it; absent: none did, and it failed.
    pub route: Option<String>,
}

pub(super) fn operations() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(advance))
        .routes(routes!(next_alarm))
        .routes(routes!(evict))
        .routes(routes!(reset))
        .routes(routes!(crash))
        .routes(routes!(sent, script, forget))
        .routes(routes!(pairs))
}

/// The time, and what is to come.
#[utoipa::path(get, path = "/v1/apps/{app}/test", tag = "test", params(("app" = String, Path)),
    responses((status = OK, body = TestState), (status = "4XX", body = Problem)))]
async fn show(at: In<Read>) -> Result<Json<TestState>, Refusal> {
    let testing = testing(&at.app)?;
    testing.quiet.reached().await;
    Ok(Json(state(&at.app, testing)))
}

/// Moves the clock, and lets everything happen that is due on the way, each at its own
/// time. Answers when nothing moves any more.
#[utoipa::path(post, path = "/v1/apps/{app}/test/advance", tag = "test",
    params(("app" = String, Path)), request_body = Advance,
    responses((status = OK, body = TestState), (status = "4XX", body = Problem)))]
async fn advance(
    at: In<Operate>,
    Json(advance): Json<Advance>,
) -> Result<Json<TestState>, Refusal> {
    const MOST_MS: u64 = 1000 * 60 * 60 * 24 * 365 * 100;
    let testing = testing(&at.app)?;
    if advance.ms > MOST_MS {
        return Err(Refusal::bad_request("the clock moves 100 years at most"));
    }
    let by = Duration::from_millis(advance.ms);
    testing.advance(&at.app, by).await;
    Ok(Json(state(&at.app, testing)))
}

/// Moves the clock to the next alarm of any object, and lets it run.
#[utoipa::path(post, path = "/v1/apps/{app}/test/next-alarm", tag = "test",
    params(("app" = String, Path)),
    responses((status = OK, body = AlarmRan), (status = "4XX", body = Problem)))]
async fn next_alarm(at: In<Operate>) -> Result<Json<AlarmRan>, Refusal> {
    let testing = testing(&at.app)?;
    let ran_ms = testing.run_next_alarm(&at.app).await;
    Ok(Json(AlarmRan { ran_ms }))
}

/// Puts an object to sleep that has nothing to do, or all of them.
#[utoipa::path(post, path = "/v1/apps/{app}/test/evict", tag = "test",
    params(("app" = String, Path)), request_body = Evict,
    responses((status = OK, body = TestState), (status = "4XX", body = Problem)))]
async fn evict(at: In<Operate>, Json(evict): Json<Evict>) -> Result<Json<TestState>, Refusal> {
    let testing = testing(&at.app)?;
    testing.quiet.reached().await;
    match (evict.class, evict.object) {
        (Some(class), Some(object)) => at.app.evict(&at.app.address(&class, &object)?),
        (None, None) => at.app.evict_all(),
        _ => {
            let want = "give `class` and `object`, or neither for all objects";
            return Err(Refusal::bad_request(want));
        }
    }
    testing.quiet.reached().await;
    Ok(Json(state(&at.app, testing)))
}

/// Ends an object's instance, whatever it does; what it committed stays.
#[utoipa::path(post, path = "/v1/apps/{app}/test/reset", tag = "test",
    params(("app" = String, Path)), request_body = Reset,
    responses((status = OK, body = TestState), (status = "4XX", body = Problem)))]
async fn reset(at: In<Operate>, Json(reset): Json<Reset>) -> Result<Json<TestState>, Refusal> {
    let testing = testing(&at.app)?;
    at.app.reset(&at.app.address(&reset.class, &reset.object)?);
    testing.quiet.reached().await;
    Ok(Json(state(&at.app, testing)))
}

/// The host ends as by `kill -9`, and starts again on what the disk has, at the same
/// addresses; clock and script stay. Ask until `starts` is higher than in this answer.
#[utoipa::path(post, path = "/v1/apps/{app}/test/crash", tag = "test",
    params(("app" = String, Path)),
    responses((status = OK, body = TestState), (status = "4XX", body = Problem)))]
async fn crash(at: In<Operate>) -> Result<Json<TestState>, Refusal> {
    let testing = testing(&at.app)?;
    let crash = testing.crash.clone();
    tokio::spawn(async move {
        tokio::time::sleep(LAST_WORDS).await;
        crash.notify_one();
    });
    Ok(Json(state(&at.app, testing)))
}

/// Every request to the outside so far, in order.
#[utoipa::path(get, path = "/v1/apps/{app}/test/outgoing", tag = "test",
    params(("app" = String, Path)),
    responses((status = OK, body = Vec<OutgoingRequest>), (status = "4XX", body = Problem)))]
async fn sent(at: In<Read>) -> Result<Json<Vec<OutgoingRequest>>, Refusal> {
    testing(&at.app)?.quiet.reached().await;
    let sent = script_of(&at.app)?.sent().into_iter();
    Ok(Json(sent.map(describe).collect()))
}

/// Answers requests to the outside by a route. A newer route goes before an older one.
#[utoipa::path(post, path = "/v1/apps/{app}/test/outgoing", tag = "test",
    params(("app" = String, Path)), request_body = OutgoingRoute,
    responses((status = OK, body = Vec<OutgoingRequest>), (status = "4XX", body = Problem)))]
async fn script(
    at: In<Operate>,
    Json(line): Json<OutgoingRoute>,
) -> Result<Json<Vec<OutgoingRequest>>, Refusal> {
    let replies: Result<Vec<_>, String> = line.replies.into_iter().map(reply).collect();
    let added = script_of(&at.app)?.answer(&line.route, replies.map_err(Refusal::bad_request)?);
    added.map_err(Refusal::bad_request)?;
    let sent = script_of(&at.app)?.sent().into_iter();
    Ok(Json(sent.map(describe).collect()))
}

/// Forgets all routes and requests.
#[utoipa::path(delete, path = "/v1/apps/{app}/test/outgoing", tag = "test",
    params(("app" = String, Path)),
    responses((status = OK, body = Vec<OutgoingRequest>), (status = "4XX", body = Problem)))]
async fn forget(at: In<Operate>) -> Result<Json<Vec<OutgoingRequest>>, Refusal> {
    script_of(&at.app)?.clear();
    Ok(Json(Vec::new()))
}

/// The key-value pairs of an object by key; bytes are `{"blob": "hexadecimal digits"}`.
#[utoipa::path(get, path = "/v1/apps/{app}/objects/{class}/{object}/kv", tag = "objects",
    params(("app" = String, Path), ("class" = String, Path), ("object" = String, Path)),
    responses((status = OK, body = serde_json::Value), (status = "4XX", body = Problem)))]
async fn pairs(
    at: In<SqlRead>,
    Path(place): Path<Place>,
) -> Result<Json<serde_json::Map<String, serde_json::Value>>, Refusal> {
    let pairs = at.app.pairs(&place.class, &place.object).await?;
    let pairs = pairs.into_iter();
    Ok(Json(
        pairs
            .map(|(key, value)| (key, pair_to_json(value)))
            .collect(),
    ))
}

fn testing(app: &Handle) -> Result<&Testing, Refusal> {
    app.testing().ok_or_else(|| {
        Refusal::bad_request(
            "this host serves in earnest: its clock runs by itself; start one for tests with \
             `dormouse dev --test`",
        )
    })
}

fn script_of(app: &Handle) -> Result<&Script, Refusal> {
    testing(app)?;
    let missing = || Refusal::bad_request("this host has no script for the outside");
    app.script().ok_or_else(missing)
}

fn state(app: &Handle, testing: &Testing) -> TestState {
    TestState {
        now_ms: app.clock().unix_ms(),
        next_alarm_ms: app.next_alarm_ms(),
        awake: app.awake(),
        starts: testing.starts,
    }
}

fn describe(sent: egress::Sent) -> OutgoingRequest {
    let headers = sent.headers.iter();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    OutgoingRequest {
        body: sent.text(),
        headers: headers
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        method: sent.method,
        url: sent.url,
        at_ms: sent.at_ms,
        route: sent.route,
    }
}

fn reply(line: OutgoingReply) -> Result<egress::Reply, String> {
    use egress::Reply;
    let status = line.status.unwrap_or(200);
    if !(100..1000).contains(&status) {
        return Err(format!("{status} is no status; it has three digits"));
    }
    let whole = match (line.text, line.json) {
        (Some(text), None) => Reply::text(text),
        (None, Some(json)) => Reply::json(&json),
        (None, None) => Reply::status(200),
        (Some(_), Some(_)) => return Err("a reply has `text` or `json`, not both".to_owned()),
    };
    let mut reply = match line.fails {
        None => whole.with_status(status),
        Some(OutgoingFailure::Refused) => Reply::refused(),
        Some(OutgoingFailure::Reset) => Reply::reset(),
        Some(OutgoingFailure::Silent) => Reply::silent(),
        Some(OutgoingFailure::BodyReset) => whole.with_status(status).reset_after(line.after_bytes),
        Some(OutgoingFailure::BodyStall) => whole.with_status(status).stall_after(line.after_bytes),
    };
    for (name, value) in line.headers {
        reply = reply.try_header(&name, &value)?;
    }
    Ok(reply.after(Duration::from_millis(line.after_ms)))
}
