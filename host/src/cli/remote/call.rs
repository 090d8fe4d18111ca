//! `dormouse call`.

use std::io::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use serde_json::Value as Json;

use super::args::Reach;
use super::client::{Client, Named, accepted, segment};

/// Call a method of one object
///
/// One with `#[object_api]`, or of a store of the app. What reads as JSON is JSON, any
/// other argument is text. The result goes to stdout as JSON, or as it is if it is a body.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse call Counter/a increment 2
  dormouse call Account/ada transfer bob 200
  dormouse call Book/id:3652ef… lend '{\"to\": \"ada\"}'
  dormouse call Photo/me store thumbnail --body photo.jpg
  dormouse call _kv/cache list '{\"prefix\": \"user:\"}'

Wakes the object. A token needs the scope `call`.")]
pub(in crate::cli) struct Call {
    #[arg(value_name = "CLASS/NAME")]
    object: String,
    method: String,
    /// In order, without the one that is a body
    #[arg(value_name = "ARGUMENT", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// The argument that is a body
    #[arg(long, value_name = "FILE")]
    body: Option<std::path::PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Call) -> anyhow::Result<()> {
    let named = Named::parse(&args.object)?;
    let (class, object) = (segment(named.class), segment(named.object));
    let rest = format!("/call/{class}/{object}/{}", segment(&args.method));
    let client = Client::new(&args.reach)?;
    let path = client.in_app(&rest).await?;
    let arguments: Json = args.arguments.iter().map(|text| read(text)).collect();
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    let (path, body) = match &args.body {
        None => {
            headers.insert(CONTENT_TYPE, json);
            (path, Bytes::from(arguments.to_string()))
        }
        Some(file) => {
            let bytes = std::fs::read(file);
            let bytes = bytes.with_context(|| format!("cannot read {}", file.display()))?;
            let arguments = segment(&arguments.to_string());
            (format!("{path}?arguments={arguments}"), bytes.into())
        }
    };
    let response = client.send(Method::POST, &path, headers, body).await?;
    let mut answer = accepted(response).await?;
    let mut stdout = std::io::stdout();
    while let Some(frame) = answer.frame().await {
        if let Some(data) = frame.context("the answer broke off")?.data_ref() {
            stdout.write_all(data).and_then(|()| stdout.flush())?;
        }
    }
    Ok(())
}

/// What reads as JSON is JSON; anything else is text.
fn read(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_is_no_json_is_text() {
        let read: Json = ["2", "ada", "\"2\"", "[1]", "null", ""]
            .map(read)
            .into_iter()
            .collect();
        assert_eq!(read.to_string(), r#"[2,"ada","2",[1],null,""]"#);
    }
}
