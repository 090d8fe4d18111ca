//! TLS at the public door, with certificates from files.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{
    Talker, app_folder, counter, dormouse, empty, eventually, share_compiled_code,
};

/// Makes a certificate for `localhost` and writes it down with its key.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

/// A handshake with who trusts this certificate alone.
async fn shake_hands(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    let stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await?;
    assert_eq!(
        stream.get_ref().1.alpn_protocol(),
        Some(protocol.as_bytes())
    );
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_door_speaks_tls_and_follows_its_files() {
    let app = app_folder("counter", &counter(), "");
    let first = certify(app.path());
    let data = app.path().join(".dormouse/data");
    std::fs::create_dir_all(&data).unwrap();
    share_compiled_code(&data).await;
    let mut serve = dormouse();
    serve
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(app.path());
    serve.args(["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    let host = Talker::start(&mut serve);
    let address: SocketAddr = eventually("an address", async || {
        let lines = host.stdout();
        let address = lines
            .iter()
            .find_map(|line| line.split("https://").nth(1))?;
        Some(address.parse().unwrap())
    })
    .await;

    let stream = shake_hands(address, &first, "http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/Counter/tls").header("host", "localhost");
    let answer = sender
        .send_request(request.body(empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "1\n"
    );

    let stream = shake_hands(address, &first, "h2").await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/Counter/tls");
    let answer = sender
        .send_request(request.body(empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "2\n"
    );

    // Half of a new pair is no reason to stop: the one before stays.
    std::fs::write(app.path().join("cert.pem"), "broken").unwrap();
    shake_hands(address, &first, "h2").await.unwrap();
    let second = certify(app.path());
    eventually("the new certificate", async || {
        shake_hands(address, &second, "h2").await.ok().map(drop)
    })
    .await;
    assert!(shake_hands(address, &first, "h2").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_certificates_are_told_before_anything_is_served() {
    let app = app_folder("counter", &counter(), "");
    certify(app.path());
    std::fs::write(app.path().join("other.pem"), "nothing of the kind").unwrap();
    for (certificate, key, part) in [
        ("none.pem", "key.pem", "none.pem"),
        ("other.pem", "key.pem", "no certificate"),
        ("cert.pem", "other.pem", "private key"),
    ] {
        let mut serve = dormouse();
        serve.args([
            "serve",
            "--listen",
            "0",
            "--tls-cert",
            certificate,
            "--tls-key",
            key,
        ]);
        let output = serve.current_dir(app.path()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(part), "{part}: {told}");
    }
    let alone = dormouse()
        .args(["serve", "--tls-cert", "cert.pem"])
        .output()
        .unwrap();
    assert_eq!(alone.status.code(), Some(2));
}
