//! Files of the app are served as they are, before worker and objects.

use http::Method;

use crate::harness::{Answer, World, app, counter, empty};

async fn start(folder: &std::path::Path) -> World {
    let mut app = app("assets", counter());
    app.manifest.assets = Some(folder.to_owned());
    World::start(app).await
}

async fn ask(world: &World, path: &str, header: (&'static str, &str)) -> Answer {
    let mut request = world.request(Method::GET, path, empty());
    let value = header.1.parse().expect("a header value");
    request.headers_mut().insert(header.0, value);
    let answer = Answer::read(world.send(request).await.expect("an answer")).await;
    answer.expect("a whole answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_have_types_etags_ranges_and_compression() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<p>hello</p>\n".repeat(100);
    std::fs::write(folder.path().join("index.html"), &page).unwrap();
    let world = start(folder.path()).await;

    let whole = world.get("/").await;
    assert_eq!(whole.text(), page);
    assert_eq!(whole.header("content-type"), "text/html");
    let etag = whole.header("etag").to_owned();
    assert!(!etag.is_empty(), "{whole:?}");

    let again = ask(&world, "/index.html", ("if-none-match", &etag)).await;
    assert_eq!((again.status, again.text()), (304, ""));
    let part = ask(&world, "/index.html", ("range", "bytes=3-7")).await;
    assert_eq!((part.status, part.text()), (206, "hello"));
    let small = ask(&world, "/index.html", ("accept-encoding", "gzip")).await;
    assert_eq!(small.header("content-encoding"), "gzip");
    assert!(small.body.len() < page.len() / 4, "{}", small.body.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_no_file_goes_on_and_nothing_outside_is_served() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("public");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(parent.path().join("secret"), "secret").unwrap();
    std::fs::write(folder.join(".env"), "secret").unwrap();
    std::fs::write(folder.join("a.txt"), "a").unwrap();
    let world = start(&folder).await;
    assert_eq!(world.get("/a.txt").await.text(), "a");
    assert_eq!(world.get("/Counter/x/").await.text(), "1\n");
    assert_eq!(world.post("/Counter/x/", "").await.text(), "2\n");
    for path in ["/../secret", "/%2e%2e/secret", "/.env", "/%2eenv", "/b.txt"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}
