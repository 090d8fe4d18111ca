//! Apps that call each other, where that is allowed; and what they share with the host.

use std::time::Duration;

use dormouse::host::{AppsError, Beside, Routes};
use dormouse::manifest::{Binding, Manifest};
use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use serde_json::{Value as Json, json};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::apps::ask_at;
use crate::harness::{World, app, bounded, eventually, probe, probe_app, whole};

const SECOND: Duration = Duration::from_secs(1);

/// The probe under another name, with this in its manifest.
fn beside(name: &str, change: impl FnOnce(&mut Manifest)) -> Beside {
    let mut app = app(name, probe());
    change(&mut app.manifest);
    Beside {
        app,
        code: None,
        routes: Routes {
            hosts: vec![format!("{name}.test")],
            path: None,
        },
        secrets: Default::default(),
    }
}

fn of(app: &str, class: &str) -> Binding {
    Binding {
        app: Some(app.to_owned()),
        class: class.to_owned(),
    }
}

/// The main app `probe` and `billing`, which lets it call its probes and sockets.
async fn two_apps() -> World {
    let mut main = probe_app();
    let bindings = &mut main.manifest.namespaces;
    for (name, binding) in [
        ("THEIRS", of("billing", "Probe")),
        ("SOCKETS", of("billing", "Sockets")),
        ("HIDDEN", of("billing", "Second")),
        ("NOBODY", of("nobody", "Probe")),
    ] {
        bindings.insert(name.to_owned(), binding);
    }
    let allowed = ["probe".to_owned()];
    main.manifest
        .share
        .insert("Probe".to_owned(), ["billing".to_owned()].into());
    let billing = beside("billing", |manifest| {
        manifest
            .namespaces
            .insert("BACK".to_owned(), of("probe", "Probe"));
        manifest.vars.insert("WHO".to_owned(), "billing".to_owned());
        for class in ["Probe", "Sockets"] {
            manifest
                .share
                .insert(class.to_owned(), allowed.clone().into());
        }
    });
    World::with(main, vec![billing]).await
}

fn call(binding: &str, name: &str, steps: Json) -> Json {
    json!({"call": name, "binding": binding, "steps": steps})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_calls_what_another_one_shares_and_nothing_else() {
    let world = two_apps().await;
    let steps = json!([{"memory": "incr"}, {"var": "WHO"}]);
    let ran = world
        .run("a", json!([{"memory": "incr"}, call("THEIRS", "a", steps)]))
        .await;
    // The object of the same class and name is another one, in the other app.
    let theirs = &ran.results[1]["call"];
    assert_eq!(
        theirs["results"],
        json!([{"memory": 1}, {"var": "billing"}])
    );
    assert_ne!(theirs["instance"], json!(ran.instance));
    assert_eq!(theirs["object"]["hex"], ran.all["object"]["hex"]);

    let asked = |binding| json!([call(binding, "a", json!([{"memory": "read"}]))]);
    let error = async |binding| world.run("b", asked(binding)).await.results[0]["error"].clone();
    let hidden = error("HIDDEN").await;
    assert_eq!(
        (&hidden["kind"], &hidden["retryable"]),
        (&json!("Invalid"), &json!(false))
    );
    let words = hidden["message"].as_str().unwrap();
    assert!(
        words.contains("does not share the class `Second` with \"probe\""),
        "{words}"
    );
    let nobody = error("NOBODY").await;
    assert_eq!(
        (&nobody["kind"], &nobody["retryable"]),
        (&json!("Unavailable"), &json!(true))
    );
    let words = nobody["message"].as_str().unwrap();
    assert!(words.contains("no app \"nobody\""), "{words}");
    let apps = world.host.apps();
    apps.set_paused("billing", true).await.unwrap();
    let paused = error("THEIRS").await;
    assert_eq!(paused["kind"], "Unavailable");
    assert!(
        paused["message"].as_str().unwrap().contains("paused"),
        "{paused}"
    );
    apps.set_paused("billing", false).await.unwrap();
    assert_eq!(error("THEIRS").await, Json::Null);

    // A deployment that wants what is not shared is refused; the code from before goes on.
    let mut wrong = probe_app();
    wrong
        .manifest
        .namespaces
        .insert("X".to_owned(), of("billing", "Second"));
    wrong
        .manifest
        .namespaces
        .insert("Y".to_owned(), of("billing", "None"));
    wrong
        .manifest
        .share
        .insert("Gone".to_owned(), ["billing".to_owned()].into());
    let refused = world
        .host
        .deploy(wrong)
        .await
        .expect_err("nothing of it is there");
    let text = format!("{refused:#}");
    for part in [
        "3 things are missing",
        "`share.Gone` in dormouse.toml names a class that the component does not have",
        "`namespaces.X` in dormouse.toml: the app \"billing\" does not share the class `Second`",
        "`[share]`, `Second = [\"probe\"]`",
        "the app \"billing\" has no class `None`",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What is shared no longer cannot be called any more, without anybody's restart.
    let billing = apps.find("billing").unwrap();
    let mut closed = beside("billing", |_| {}).app;
    closed
        .manifest
        .namespaces
        .insert("BACK".to_owned(), of("probe", "Probe"));
    billing.deploy(closed).await.unwrap();
    assert_eq!(error("THEIRS").await["kind"], "Invalid");
    assert!(matches!(
        apps.delete("billing").await,
        Err(AppsError::Main { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_class_and_name_in_two_apps_are_no_cycle() {
    let world = two_apps().await;
    // In a section that lets nobody in, `Probe/x` calls the other app's `Probe/x`.
    let read = json!([{"memory": "incr"}]);
    let ran = world
        .run("x", json!([{"alone": [call("THEIRS", "x", read)]}]))
        .await;
    let theirs = &ran.results[0]["alone"][0]["call"];
    assert_eq!(theirs["results"][0], json!({"memory": 1}), "{}", ran.all);
    // A cycle over both apps is one, and its chain names them.
    let back = json!([call("BACK", "x", json!([{"memory": "incr"}]))]);
    let ran = world
        .run("x", json!([{"alone": [call("THEIRS", "y", back.clone())]}]))
        .await;
    let told = &ran.results[0]["alone"][0]["call"]["results"][0]["error"];
    assert_eq!(told["kind"], "Reentrant", "{}", ran.all);
    let chain = "Probe/x -> billing:Probe/y -> Probe/x";
    assert!(told["message"].as_str().unwrap().contains(chain), "{told}");
    // Outside of a section it goes round.
    let ran = world.run("x", json!([call("THEIRS", "y", back)])).await;
    let came_back = &ran.results[0]["call"]["results"][0]["call"];
    assert_eq!(came_back["instance"], json!(ran.instance), "{}", ran.all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_goes_through_one_app_to_an_object_of_another() {
    let world = two_apps().await;
    let url = format!("ws://{}/Probe/p/forward/SOCKETS/room/ws", world.address);
    let shaken = bounded("a handshake", client_async(url, world.tcp().await)).await;
    let mut socket = shaken.expect("the object takes it").0;
    let mut ask = async |text: &str| {
        socket.send(Message::text(text)).await.unwrap();
        bounded("a frame", socket.next()).await.unwrap().unwrap()
    };
    assert_eq!(ask("hello").await, Message::text("hello"));
    let billing = world.host.apps().find("billing").unwrap();
    let room = billing.object("Sockets", "room").unwrap();
    assert_eq!(billing.sockets(&room).len(), 1);
    assert_eq!(world.host.sockets(&room).len(), 0);
    // It sleeps and wakes there.
    let before = ask("instance").await;
    billing.evict_all();
    eventually("sleep", async || (billing.awake() == 0).then_some(())).await;
    assert_ne!(ask("instance").await, before);
    // The app is paused: the client hears that it may come back.
    world.host.apps().set_paused("billing", true).await.unwrap();
    let last = bounded("a close", socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(close)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(u16::from(close.code), 1012);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_of_a_paused_app_wait_until_it_goes_on() {
    let world = two_apps().await;
    let set = json!([{"set_alarm_in_ms": 10_000}, {"now": true}]);
    let ran = world
        .run("a", json!([call("THEIRS", "sleeper", set)]))
        .await;
    let began = ran.results[0]["call"]["results"][1]["now_ms"]
        .as_i64()
        .unwrap();
    let apps = world.host.apps();
    apps.set_paused("billing", true).await.unwrap();
    let billing = apps.find("billing").unwrap();
    eventually("sleep", async || (billing.awake() == 0).then_some(())).await;
    assert_eq!(billing.objects_with_alarms(), 1);
    // Nothing of that app waits for the clock, so it may move on at once.
    world.clock.advance(20 * SECOND);
    world.clock.advance(5 * SECOND);
    assert_eq!(billing.awake(), 0);
    apps.set_paused("billing", false).await.unwrap();
    let ask = json!([call("THEIRS", "sleeper", json!([{"alarm_runs": true}]))]);
    let runs = eventually("the alarm", async || {
        let ran = world.run("a", ask.clone()).await;
        let runs = ran.results[0]["call"]["results"][0]["runs"].clone();
        (runs != json!([])).then_some(runs)
    })
    .await;
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
    assert_eq!(runs[0]["now_ms"], json!(began + 25_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bound_on_live_objects_holds_for_all_apps() {
    let world = World::with_places(2, probe_app(), vec![beside("shop", |_| {})]).await;
    let read = json!([{"memory": "incr"}]);
    world.run("first", read.clone()).await;
    world.run("second", read.clone()).await;
    let shop = world.host.apps().find("shop").unwrap();
    eventually("two that are idle", async || {
        let idle = world.host.present().into_iter();
        (idle.filter(|one| one.idle_since.is_some()).count() == 2).then_some(())
    })
    .await;
    let body = whole(read.to_string());
    let third = ask_at(&world, "shop.test", Method::POST, "/Probe/third/run", body).await;
    assert_eq!(third.status, 200);
    eventually("room made by the others", async || {
        (world.host.awake() + shop.awake() <= 2).then_some(())
    })
    .await;
    assert_eq!(shop.awake(), 1);
}
