//! A body of 1 GiB goes through a host that needs hardly more memory for it.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tempfile::TempDir;

use crate::harness::{Answer, Body, Process, app_folder, empty, probe, stream};

const BYTES: usize = 1 << 30;
const CHUNK: usize = 64 << 10;
const MOST_MORE_KIB: u64 = 64 << 10;
/// FNV-1a of the 1 GiB, computed apart from the guest.
const CHECKSUM: &str = "7a09afe5583d93a5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_goes_in() {
    let host = Host::start().await;
    let request = host
        .process
        .request(Method::POST, "/Probe/in/sink", gibibyte());
    let response = host.process.send(request).await.unwrap();
    let answer = Answer::read(response).await.unwrap().json();
    assert_eq!(answer["bytes"], BYTES);
    assert_eq!(answer["checksum"], CHECKSUM);
    host.check_memory();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_comes_out() {
    let host = Host::start().await;
    let path = format!("/Probe/out/source?bytes={BYTES}");
    let request = host.process.request(Method::GET, &path, empty());
    check(host.process.send(request).await.unwrap()).await;
    host.check_memory();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_goes_through() {
    let host = Host::start().await;
    let request = host
        .process
        .request(Method::POST, "/Probe/through/echo", gibibyte());
    check(host.process.send(request).await.unwrap()).await;
    host.check_memory();
}

/// The real binary with one awake object, and what it needed before.
struct Host {
    process: Process,
    before_kib: u64,
    _folders: [TempDir; 2],
}

impl Host {
    async fn start() -> Self {
        let limit = format!("limits.request_body_bytes = {BYTES}");
        let folders = [
            app_folder("probe", &probe(), &limit),
            tempfile::tempdir().unwrap(),
        ];
        let process = Process::serve(folders[0].path(), folders[1].path(), &[]).await;
        process.reset_peak();
        Self {
            before_kib: process.memory_kib("VmRSS"),
            process,
            _folders: folders,
        }
    }

    fn check_memory(&self) {
        let more_kib = self.process.memory_kib("VmHWM") - self.before_kib;
        assert!(more_kib < MOST_MORE_KIB, "{more_kib} KiB more at the peak");
    }
}

fn gibibyte() -> Body {
    let chunks = (0..BYTES)
        .step_by(CHUNK)
        .map(|at| Ok::<_, Infallible>(piece(at, CHUNK)));
    stream(stream::iter(
        chunks.map(|chunk| chunk.map_err(|never| match never {})),
    ))
}

/// Compares every byte with what it should be.
async fn check(response: http::Response<Incoming>) {
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut at = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data == piece(at, data.len()), "another byte after {at}");
        at += data.len();
    }
    assert_eq!(at, BYTES);
}

/// A part of the pattern: byte `i` is `i % 251`. Cut from one buffer, since every
/// byte made here is made without optimization.
fn piece(start: usize, len: usize) -> Bytes {
    static PATTERN: std::sync::LazyLock<Bytes> =
        std::sync::LazyLock::new(|| (0..4 * CHUNK).map(|at| (at % 251) as u8).collect());
    let from = start % 251;
    PATTERN.slice(from..from + len)
}
