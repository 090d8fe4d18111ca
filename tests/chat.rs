//! `guests/chat` in a real browser: nothing that somebody says is lost.

use std::time::Duration;

use crate::harness::{Script, World, app, chat, has_browser};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_chat_through_reload_and_restart() {
    if !has_browser() {
        return;
    }
    let world = World::start(app("chat", chat())).await;
    let url = format!("http://{}", world.address);
    let mut people = Script::start("chat.mjs", &[&url]);
    people.paused("bob stops typing").await;
    // The room sleeps meanwhile; the alarm wakes it.
    world.clock.advance(Duration::from_secs(3));
    people.go_on();
    people.paused("the host restarts").await;
    let restarted = world.restart_in_place(app("chat", chat()));
    people.go_on();
    let _world = restarted.await;
    people.paused("the host is back").await;
    people.go_on();
    people.passed().await;
}
