//! Requests to the outside over TLS, with HTTP/2 where the server speaks it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use dormouse::egress::Pattern;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::harness::{Body, World, app, front, whole};

/// A server for `localhost` that says which version of HTTP it was asked in. Its
/// certificate is written to the file.
async fn server(certificate: &Path, protocols: &[&str]) -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us goes away.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let server = auto::Builder::new(TokioExecutor::new());
                let service = service_fn(async |request| Ok::<_, Infallible>(version(&request)));
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

fn version(request: &Request<Incoming>) -> Response<Body> {
    Response::new(whole(format!("{:?}", request.version())))
}

async fn world(to: SocketAddr, ca: Option<&Path>) -> World {
    let mut app = app("front", front());
    let outgoing = &mut app.manifest.outgoing;
    outgoing.private = vec![Pattern::parse(&format!("localhost:{}", to.port())).unwrap()];
    outgoing.ca = ca.map(Path::to_owned);
    World::start(app).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_the_given_certificates_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        folder.path().join("first.pem"),
        folder.path().join("second.pem"),
    );
    let both = server(&first, &["h2", "http/1.1"]).await;
    let old = server(&second, &["http/1.1"]).await;
    for (to, ca, version) in [(both, &first, "HTTP/2.0"), (old, &second, "HTTP/1.1")] {
        let world = world(to, Some(ca)).await;
        for from in ["/ask", "/Asker/a"] {
            let path = format!("{from}?url=https://localhost:{}/", to.port());
            assert_eq!(world.get(&path).await.text(), version, "{from}");
        }
    }
    for ca in [None, Some(&*second)] {
        let world = world(both, ca).await;
        let path = format!("/ask?url=https://localhost:{}/", both.port());
        let failed = world.get(&path).await;
        assert_eq!(failed.status, 502);
        let told = failed.json();
        assert!(
            told["kind"].as_str().unwrap().contains("Unreachable"),
            "{told}"
        );
        let message = told["message"].as_str().unwrap();
        assert!(message.contains("certificate"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_cannot_be_used_are_refused_when_the_app_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let world = World::start(app("front", front())).await;
    let missing = folder.path().join("missing.pem");
    for (file, wanted) in [
        (&missing, "no certificates can be read from "),
        (&empty, "holds no certificate in PEM"),
    ] {
        let mut app = app("front", front());
        app.manifest.outgoing.ca = Some(file.clone());
        let refused = world.host.deploy(app).await;
        let text = format!("{:#}", refused.expect_err("there are no certificates"));
        assert!(
            text.contains("`outgoing.ca`") && text.contains(wanted),
            "{text}"
        );
    }
}
