//! The paths that answer bodies and headers.
//!
//! | path | answers |
//! |---|---|
//! | `/echo` | the request's body, streamed back |
//! | `/sink` | `{"bytes", "checksum"}` of the request's body (FNV-1a, 64 bits, hex) |
//! | `/source?bytes=n` | `n` bytes, streamed in chunks of 64 KiB; byte `i` is `i % 251` |
//! | `/source?bytes=n&length=m` | the same, under the header `content-length: m` |
//! | `/own?bytes=n` | `/sink` of `/source`, both inside the object |
//! | `/big?bytes=n` | the same, as one piece |
//! | `/drip?chunks=n&wait_ms=m` | lines `0`, `1`, … with a wait before each |
//! | `/status/NNN` | that status |
//! | `/headers` | several headers, two of one name |
//! | `/source-then-trap?bytes=n` | as `/source`, then a trap instead of an end |
//! | `/source-then-fail?bytes=n` | as `/source`, then an error instead of an end |

use std::time::Duration;

use dormouse_sdk::http::{BodyError, BodyWriter};
use dormouse_sdk::prelude::*;
use serde_json::json;

const CHUNK_BYTES: usize = 64 * 1024;

pub async fn answer(request: Request) -> Result<Response> {
    match request.path() {
        "/echo" => Ok(echo(request)),
        "/sink" => sink(request.into_body()).await,
        "/source" => {
            let response = streamed(number(&request, "bytes")?);
            Ok(match request.query_value("length") {
                Some(length) => response.with_header("content-length", &*length),
                None => response,
            })
        }
        "/source-then-trap" => {
            let bytes = number(&request, "bytes")?;
            Ok(Response::stream(move |body| async move {
                source(body, bytes).await?;
                panic!("told to trap after {bytes} bytes")
            }))
        }
        "/source-then-fail" => {
            let bytes = number(&request, "bytes")?;
            Ok(Response::stream(move |body| async move {
                source(body, bytes).await?;
                bail!("told to fail after {bytes} bytes")
            }))
        }
        "/own" => sink(streamed(number(&request, "bytes")?).into_body()).await,
        "/drip" => drip(number(&request, "chunks")?, number(&request, "wait_ms")?),
        "/big" => Ok(Response::bytes(pattern(0, number(&request, "bytes")?))),
        "/headers" => Ok(headers()),
        path => match path.strip_prefix("/status/") {
            Some(status) => {
                Ok(Response::text(format!("{status}\n")).with_status(status.parse::<u16>()?))
            }
            None => Ok(Response::not_found()),
        },
    }
}

fn number(request: &Request, name: &str) -> Result<usize> {
    let value = request
        .query_value(name)
        .with_context(|| format!("`{name}` is not given"))?;
    value
        .parse()
        .with_context(|| format!("`{name}` is not a number"))
}

fn echo(request: Request) -> Response {
    let content_type = request
        .header("content-type")
        .unwrap_or("application/octet-stream")
        .to_owned();
    Response::new(request.into_body()).with_header("content-type", content_type)
}

async fn sink(mut body: Body) -> Result<Response> {
    let mut bytes = 0;
    let mut checksum = 0xcbf2_9ce4_8422_2325_u64;
    while let Some(chunk) = body.chunk().await? {
        bytes += chunk.len();
        for byte in chunk {
            checksum = (checksum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Response::json(&json!({"bytes": bytes, "checksum": format!("{checksum:016x}")}))
}

fn streamed(bytes: usize) -> Response {
    Response::stream(move |body| async move { Ok(source(body, bytes).await.map(drop)?) })
}

/// Gives the writer back, so that what follows comes before the end.
async fn source(mut body: BodyWriter, bytes: usize) -> Result<BodyWriter, BodyError> {
    for start in (0..bytes).step_by(CHUNK_BYTES) {
        body.write(pattern(start, CHUNK_BYTES.min(bytes - start)))
            .await?;
    }
    Ok(body)
}

fn pattern(start: usize, bytes: usize) -> Vec<u8> {
    (start..start + bytes).map(|at| (at % 251) as u8).collect()
}

fn drip(chunks: usize, wait_ms: usize) -> Result<Response> {
    let wait = Duration::from_millis(wait_ms.try_into()?);
    Ok(Response::stream(move |mut body| async move {
        for chunk in 0..chunks {
            sleep(wait).await;
            body.write(format!("{chunk}\n")).await?;
        }
        Ok(())
    }))
}

fn headers() -> Response {
    Response::text("headers\n")
        .with_header("x-probe", "one")
        .with_added_header("set-cookie", "a=1")
        .with_added_header("set-cookie", "b=2")
        .with_header("content-type", "text/plain")
        .with_header("x-bytes", &b"caf\xe9"[..])
}
