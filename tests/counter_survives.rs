//! The counter counts, and its counts outlive `kill -9`. For `kill -9` under load see
//! `kill_loop`.

use crate::harness::{Process, app_folder, counter};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counter_counts_up_and_other_names_count_apart() {
    let app = app_folder("counter", &counter(), "");
    let data = tempfile::tempdir().unwrap();
    let mut host = Process::serve(app.path(), data.path(), &[]).await;
    let mut answers = Vec::new();
    for name in ["alice", "alice", "bob", "alice"] {
        if answers.len() == 3 {
            host.kill();
            host = Process::serve(app.path(), data.path(), &[]).await;
        }
        let answer = host.get(&format!("/Counter/{name}")).await;
        answers.push((answer.status, answer.text().to_owned()));
    }
    assert_eq!(
        answers,
        ["1\n", "2\n", "1\n", "3\n"].map(|text| (200, text.to_owned()))
    );
}
