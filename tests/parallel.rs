//! Many objects at work at the same time keep their counts apart.

use futures_util::future::join_all;
use http::Method;

use crate::harness::{Answer, World, bounded, empty};

const OBJECTS: usize = 100;
const REQUESTS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_objects_count_right_in_parallel() {
    let world = World::counter().await;
    let objects = (0..OBJECTS).map(|object| count(&world, object));
    for (object, counts) in join_all(objects).await.into_iter().enumerate() {
        let wanted: Vec<u64> = (1..=REQUESTS).collect();
        assert_eq!(counts, wanted, "object {object}");
    }
    assert_eq!(world.host.awake(), OBJECTS);
}

/// One client for one object; all of them at once.
async fn count(world: &World, object: usize) -> Vec<u64> {
    let mut connection = world.connect().await;
    let mut counts = Vec::new();
    for _ in 0..REQUESTS {
        let path = format!("/Counter/parallel-{object}");
        let request = world.request(Method::POST, &path, empty());
        let response = bounded("a count", connection.send(request)).await;
        let answer = Answer::read(response.expect("a response")).await;
        let answer = answer.expect("a whole response");
        counts.push(answer.text().trim().parse().expect("a count"));
    }
    counts
}
