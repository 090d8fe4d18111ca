//! TLS at the admin door, and who cannot come in there.

use crate::admin::{Operated, done, refused};
use crate::harness::{
    Talker, app_folder, counter, dormouse, eventually, front, share_compiled_code,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_door_speaks_tls_and_this_machine_needs_no_certificate() {
    let app = app_folder("counter", &counter(), "");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(app.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(app.path().join("cert.pem"), made.cert.pem()).unwrap();
    let data = app.path().join(".dormouse/data");
    std::fs::create_dir_all(&data).unwrap();
    share_compiled_code(&data).await;
    let mut serve = dormouse();
    serve
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(["--admin-tls-cert", "cert.pem", "--admin-tls-key", "key.pem"])
        .current_dir(app.path());
    let host = Talker::start(&mut serve);
    let value = |head: &'static str| {
        let host = &host;
        eventually(head, async move || {
            let lines = host.stdout();
            let line = lines
                .iter()
                .find(|line| line.trim_start().starts_with(head))?;
            Some(line.split_whitespace().nth(1)?.to_owned())
        })
    };
    let (url, token) = (value("Admin").await, value("Token").await);
    let port = url.strip_prefix("https://127.0.0.1:").unwrap().to_owned();
    let ask = |more: &[&str]| {
        let mut command = dormouse();
        command.arg("objects").args(more).current_dir(app.path());
        command
    };
    let secure = format!("https://localhost:{port}");
    let trusted = ["--to", &secure, "--token", &token, "--ca", "cert.pem"];
    assert!(done(&mut ask(&trusted)).contains("OBJECT"));
    // Nobody else vouches for it.
    let strange = refused(&mut ask(&trusted[..4]));
    assert!(strange.contains("certificate"), "{strange}");
    let plain = format!("http://localhost:{port}");
    refused(&mut ask(&["--to", &plain, "--token", &token]));
    // By the data folder.
    assert!(done(&mut ask(&[])).contains("OBJECT"));
    let alone = dormouse()
        .args(["serve", "--admin-tls-cert", "cert.pem"])
        .output();
    assert_eq!(alone.unwrap().status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_cannot_reach_the_admin_door() {
    let app = app_folder("front", &front(), "");
    let world = Operated::on(app, tempfile::tempdir().unwrap()).await;
    let door = world.admin_address().to_string();
    let allow = |outgoing: &str| {
        let build = format!("build.component = '{}'", front().display());
        let text = format!("name = 'front'\n{build}\n{outgoing}\n");
        std::fs::write(world.app.path().join("dormouse.toml"), text).unwrap();
        world.cli(&["deploy", "--no-build"]);
    };
    let path = format!("/ask?url=http://{door}/v1/apps");
    let denied = async |part: &str| {
        let answer = world.host.get(&path).await;
        let told = answer.json();
        assert_eq!(told["kind"], "Some(ErrorKind::Denied)", "{told}");
        assert!(told["message"].as_str().unwrap().contains(part), "{told}");
    };
    denied("outgoing.hosts").await;
    allow(&format!("outgoing.hosts = ['{door}']"));
    denied("private_hosts").await;
    // Whoever writes the manifest may let it knock; it has no token.
    allow(&format!("outgoing.private_hosts = ['{door}']"));
    let knocked = world.host.get(&path).await;
    assert_eq!(knocked.status, 401, "{knocked:?}");
}
