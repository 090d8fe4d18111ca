//! Methods are called by an operator as they are by other objects.

use http::Method;
use serde_json::{Value as Json, json};

use crate::admin::Operated;
use crate::harness::Answer;

async fn post(host: &Operated, method: &str, arguments: Json) -> Answer {
    let path = format!("/v1/apps/probe/call/Probe/m/{method}");
    host.ask(Method::POST, &path, arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_to_the_admin_door_calls_a_method() {
    let host = Operated::start().await;
    let sum = post(&host, "add", json!([2, 3])).await;
    assert_eq!((sum.status, sum.text()), (200, "5\n"));
    assert_eq!(sum.header("content-type"), "application/json");
    let nothing = post(&host, "note", json!([7])).await;
    assert_eq!((nothing.status, nothing.text()), (200, "null\n"));
    let declared = post(&host, "divide", json!([0])).await;
    let problem = declared.problem(422, "declared-error");
    assert_eq!(problem["error"], json!({"by": 0}));
    assert_eq!(problem["detail"], "nothing can be divided by 0");
    let failed = post(&host, "add", json!([1, null])).await;
    failed.problem(500, "object-failed");
    let cases = [
        (
            "add",
            json!([1]),
            "`add` takes 2 argument(s), not 1: [a, b]",
        ),
        (
            "add",
            json!(["x", 1]),
            "the argument `a` of `add` does not fit",
        ),
        (
            "add",
            json!({"a": 1}),
            "the arguments of `add` are not a JSON array",
        ),
        (
            "sub",
            json!([]),
            "there is no method `sub`; there is note, divide, add, reversed",
        ),
    ];
    for (method, arguments, wanted) in cases {
        let problem = post(&host, method, arguments)
            .await
            .problem(400, "bad-call");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(wanted), "{detail}");
    }
    let path = "/v1/apps/probe/call/Second/m/add";
    let none = host.ask(Method::POST, path, json!([])).await;
    let problem = none.problem(400, "bad-call");
    assert_eq!(problem["detail"], "class `Second` has no methods to call");
    // Nobody else may, and the public door knows nothing of it.
    let path = "/v1/apps/probe/call/Probe/m/add";
    let stranger = host.ask_as("", Method::POST, path, json!([2, 3])).await;
    stranger.problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_calls_a_method() {
    let host = Operated::start().await;
    assert_eq!(host.cli(&["call", "Probe/m", "add", "2", "-3"]), "-1\n");
    let text = host.app.path().join("text");
    std::fs::write(&text, "stressed").unwrap();
    let body = text.to_str().unwrap();
    let reversed = host.cli(&["call", "Probe/m", "reversed", "--body", body]);
    assert_eq!(reversed, "desserts");
    let mut refused = host.command();
    let refused = refused
        .args(["call", "Probe/m", "divide", "0"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("nothing can be divided by 0"), "{said}");
}
