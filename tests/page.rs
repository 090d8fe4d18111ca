//! The dashboard, in a real browser.

use serde_json::json;

use crate::admin::Operated;
use crate::harness::Script;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_the_host_and_keeps_its_policy() {
    let world = Operated::start().await;
    for name in ["ann", "bob", "<b>carl</b>"] {
        let steps = json!([
            {"sql": "CREATE TABLE messages (id INTEGER PRIMARY KEY, text)"},
            {"sql": "INSERT INTO messages (text) VALUES ('<i>hi</i>'), (x'00ff'), (NULL)"},
            {"print": format!("said by {name}")},
        ]);
        let path = name
            .replace('<', "%3C")
            .replace('>', "%3E")
            .replace('/', "%2F");
        world.host.run(&path, steps).await;
    }
    let url = world.cli(&["page"]);
    let shots = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&shots).unwrap();
    Script::start("admin.mjs", &[url.trim(), shots.to_str().unwrap()])
        .passed()
        .await;
    // What it wrote, once it was allowed to.
    let left = world.cli(&[
        "sql",
        "Probe/ann",
        "SELECT count(*) FROM messages",
        "--json",
    ]);
    let left: serde_json::Value = serde_json::from_str(&left).unwrap();
    assert_eq!(left["rows"], json!([[0]]));
}
