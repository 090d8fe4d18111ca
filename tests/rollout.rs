//! A version for a part of the objects: each keeps the one it has, and one that fails
//! is taken back.

use std::collections::BTreeMap;
use std::path::Path;

use http::Method;
use serde_json::{Value as Json, json};

use crate::admin::Operated;
use crate::harness::{app_folder, eventually, front, probe};

/// The probe with a variable that tells versions apart.
fn manifest(folder: &Path, component: &Path, version: &str, more: &str) {
    let text = format!(
        "name = 'probe'\nbuild.component = '{}'\nvars.VERSION = '{version}'\n\
         vars.GREETING = '{version}'\n{more}\n",
        component.display()
    );
    std::fs::write(folder.join("dormouse.toml"), text).unwrap();
}

async fn start(component: &Path) -> Operated {
    let app = app_folder("probe", component, "");
    manifest(app.path(), component, "one", "");
    Operated::on(app, tempfile::tempdir().unwrap()).await
}

/// Which version each of some objects has.
async fn versions(world: &Operated) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for number in 0..40 {
        let name = format!("rollout-{number}");
        let ran = world.host.run(&name, json!([{"var": "VERSION"}])).await;
        let version = ran.results[0]["var"].as_str().unwrap().to_owned();
        seen.insert(name, version);
    }
    seen
}

fn having(versions: &BTreeMap<String, String>, version: &str) -> Vec<String> {
    let all = versions.iter();
    let having = all.filter(|(_, has)| *has == version);
    having.map(|(name, _)| name.clone()).collect()
}

fn json_of(world: &Operated, args: &[&str]) -> Json {
    serde_json::from_str(&world.cli(args)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_keeps_its_version_while_the_share_grows() {
    let mut world = start(&probe()).await;
    manifest(world.app.path(), &probe(), "two", "");
    let deployed = json_of(&world, &["deploy", "--percent", "30", "--json"]);
    assert_eq!(
        (&deployed["version"], &deployed["percent"]),
        (&json!(2), &json!(30))
    );
    let few = versions(&world).await;
    assert_eq!(
        versions(&world).await,
        few,
        "every object keeps its version"
    );
    let with_two = having(&few, "two");
    assert!((1..40).contains(&with_two.len()), "{few:?}");

    json_of(&world, &["rollout", "70", "--json"]);
    let many = versions(&world).await;
    assert!(having(&many, "two").len() > with_two.len(), "{many:?}");
    assert!(with_two.iter().all(|name| many[name] == "two"), "{many:?}");

    let list = json_of(&world, &["versions", "--json"]);
    assert_eq!(
        (&list["current"], &list["rollout"]["percent"]),
        (&json!(1), &json!(70))
    );
    // A restart goes on with it.
    world.host.kill();
    let Operated { app, data, .. } = world;
    manifest(app.path(), &probe(), "one", "");
    let world = Operated::on(app, data).await;
    assert_eq!(versions(&world).await, many);

    json_of(&world, &["rollout", "100", "--json"]);
    assert_eq!(having(&versions(&world).await, "two").len(), 40);
    let list = json_of(&world, &["versions", "--json"]);
    assert_eq!(
        (&list["current"], &list["rollout"]),
        (&json!(2), &Json::Null)
    );
    world.cli(&["rollback"]);
    assert_eq!(having(&versions(&world).await, "one").len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_more_often_is_taken_back_with_the_reason() {
    let world = start(&probe()).await;
    manifest(world.app.path(), &probe(), "two", "limits.memory_mib = 8");
    world.cli(&["deploy", "--percent", "50"]);
    let steps = json!([{"allocate_mib": 16}]);
    let returned = eventually("the return of the version before", async || {
        for number in 0..40 {
            let name = format!("rollout-{number}");
            world.host.try_run(&name, steps.clone()).await;
        }
        let list = json_of(&world, &["versions", "--json"]);
        list["rollout"]
            .is_null()
            .then(|| list["versions"][0].clone())
    })
    .await;
    assert_eq!(
        (&returned["version"], &returned["returned"]["percent"]),
        (&json!(2), &json!(50))
    );
    let reason = returned["returned"]["reason"].as_str().unwrap();
    assert!(reason.contains("events failed"), "{reason}");
    assert_eq!(having(&versions(&world).await, "one").len(), 40);
    assert!(world.cli(&["versions"]).contains("taken back at 50 %"));
    // Going back does not lead to it.
    let refused = world.command().arg("rollback").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let told = world.host.log();
    let told = told.iter().find(|record| {
        let message = record["message"].as_str().unwrap_or_default();
        message.starts_with("the rollout was taken back")
    });
    assert!(told.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_has_its_share_of_requests_and_is_taken_back_by_hand() {
    let world = start(&front()).await;
    manifest(world.app.path(), &front(), "two", "");
    world.cli(&["deploy", "--percent", "25"]);
    let count = async || {
        let mut two = 0;
        for _ in 0..100 {
            two += u32::from(world.host.get("/var").await.text() == "two");
        }
        two
    };
    assert_eq!(count().await, 25);
    world.cli(&["rollout", "0"]);
    assert_eq!(count().await, 0);
    let body = json!({"percent": 10});
    let refused = world
        .ask(Method::POST, "/v1/apps/probe/rollout", body)
        .await;
    assert_eq!(refused.status, 404, "{}", refused.text());

    let refused = |args: &[&str]| {
        let output = world.command().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    manifest(world.app.path(), &probe(), "two", "");
    let told = refused(&["deploy", "--percent", "10"]);
    assert!(told.contains("other classes"), "{told}");
}
