//! `dormouse fetch`.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;

use super::args::Fetch;
use super::client::{Client, Named};
use super::show;

pub(super) async fn run(args: Fetch) -> anyhow::Result<()> {
    Named::parse(&args.path)?;
    let client = Client::new(&args.reach)?;
    let body = args.body.as_deref().map(read_body).transpose()?;
    let method = match &args.method {
        Some(method) => method
            .to_uppercase()
            .parse()
            .with_context(|| format!("{method:?} is no method"))?,
        None if body.is_some() => Method::POST,
        None => Method::GET,
    };
    let headers = read_headers(&args.headers)?;
    let path = client.in_app(&format!("/fetch/{}", args.path)).await?;
    let response = client
        .send(method, &path, headers, body.unwrap_or_default())
        .await?;
    let (parts, mut body) = response.into_parts();
    if args.reach.json {
        let bytes = body
            .collect()
            .await
            .context("the answer broke off")?
            .to_bytes();
        let headers = parts.headers.iter().map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        return show::json(&serde_json::json!({
            "status": parts.status.as_u16(),
            "headers": headers.collect::<Vec<_>>(),
            "body": String::from_utf8_lossy(&bytes),
        }));
    }
    let mut stdout = std::io::stdout();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.context("the answer broke off")?.data_ref() {
            stdout.write_all(data).and_then(|()| stdout.flush())?;
        }
    }
    if parts.status.is_client_error() || parts.status.is_server_error() {
        bail!("the object answered {}", parts.status);
    }
    Ok(())
}

fn read_body(body: &str) -> anyhow::Result<Bytes> {
    match body.strip_prefix('@') {
        Some(file) => {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
            Ok(bytes.into())
        }
        None => Ok(body.to_owned().into()),
    }
}

fn read_headers(lines: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let name: HeaderName = name.trim().parse().ok()?;
            let value: HeaderValue = value.trim().parse().ok()?;
            Some((name, value))
        });
        let (name, value) =
            parsed.with_context(|| format!("{line:?} is no header; write `name: value`"))?;
        headers.append(name, value);
    }
    Ok(headers)
}
