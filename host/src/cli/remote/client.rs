//! Client: finds the admin door of a host and asks it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::args::Reach;
use super::connect::{Connector, connector};
use crate::admin::{api, find_local};
use crate::cli::project::Project;

/// What a part of a path or a value behind `?` cannot hold as it is.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

const CHUNK_BYTES: usize = 256 << 10;

/// What a request carries.
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// One admin door and a token for it.
pub(super) struct Client {
    http: HttpClient<Connector, Body>,
    url: String,
    token: String,
    app: Option<String>,
}

/// An object as the user wrote it: `Class/name`.
pub(super) struct Named<'a> {
    pub(super) class: &'a str,
    pub(super) object: &'a str,
}

impl<'a> Named<'a> {
    pub(super) fn parse(text: &'a str) -> anyhow::Result<Self> {
        match text.split_once('/') {
            Some((class, object)) if !class.is_empty() && !object.is_empty() => {
                Ok(Self { class, object })
            }
            _ => bail!("{text:?} names no object; write Class/name, or Class/id:HEX"),
        }
    }

    /// Behind `/v1/apps/{app}`.
    pub(super) fn path(&self) -> String {
        format!("/objects/{}/{}", segment(self.class), segment(self.object))
    }
}

/// Text as one part of a path, or one value behind the `?`.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, IN_PATH).to_string()
}

impl Client {
    pub(super) fn new(reach: &Reach) -> anyhow::Result<Self> {
        let (url, token) = match &reach.to {
            Some(url) => (url.clone(), remote_token(reach, url)?),
            None => {
                let found = find_local(&local_data(reach.data.as_deref())?)?;
                (found.url, found.token)
            }
        };
        let connector = connector(reach.ca.as_deref())?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self {
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            url,
            token,
            app: reach.app.clone(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The same for this app, unless another was asked for.
    pub(super) fn for_app(mut self, name: &str) -> Self {
        self.app.get_or_insert_with(|| name.to_owned());
        self
    }

    /// The path of something that belongs to the app.
    pub(super) async fn in_app(&self, rest: &str) -> anyhow::Result<String> {
        let name = match &self.app {
            Some(name) => name.clone(),
            None => self.only_app().await?,
        };
        Ok(format!("/v1/apps/{}{rest}", segment(&name)))
    }

    async fn only_app(&self) -> anyhow::Result<String> {
        let apps: Vec<api::App> = self.get("/v1/apps").await?;
        if let Some(main) = apps.iter().find(|app| app.main) {
            return Ok(main.name.clone());
        }
        let mut names = apps.into_iter().map(|app| app.name);
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name),
            (None, _) => bail!("the host has no app that this token may see"),
            (Some(first), Some(second)) => bail!(
                "the host has several apps ({first}, {second}, ...); choose one with --app NAME"
            ),
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, Json::Null).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_value(body).context("cannot write JSON")?;
        self.ask(Method::POST, path, body).await
    }

    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_value(body).context("cannot write JSON")?;
        self.ask(Method::PATCH, path, body).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Json,
    ) -> anyhow::Result<T> {
        let mut headers = HeaderMap::new();
        let body = match body {
            Json::Null => Bytes::new(),
            json => {
                headers.insert(CONTENT_TYPE, "application/json".parse()?);
                json.to_string().into()
            }
        };
        let response = self.send(method, path, headers, body).await?;
        let bytes = accepted(response).await?.collect().await?.to_bytes();
        let text = if bytes.is_empty() {
            &b"null"[..]
        } else {
            &bytes
        };
        serde_json::from_slice(text)
            .with_context(|| format!("{} answered what this version cannot read", self.url))
    }

    pub(super) async fn put(&self, path: &str, body: Bytes) -> anyhow::Result<()> {
        let response = self.send(Method::PUT, path, HeaderMap::new(), body).await?;
        accepted(response).await.map(drop)
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::DELETE, path, Json::Null).await
    }

    /// Sends a file as it is read.
    pub(super) async fn put_file(&self, path: &str, file: File) -> anyhow::Result<()> {
        let chunks = stream::unfold(file, |mut file| async move {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            match file.read_buf(&mut chunk).await {
                Ok(0) => None,
                read => Some((read.map(|_| Frame::data(chunk.freeze())), file)),
            }
        });
        let body = StreamBody::new(chunks).boxed_unsync();
        let response = self.send_body(Method::PUT, path, HeaderMap::new(), body);
        accepted(response.await?).await.map(drop)
    }

    /// The answer as it comes, if it is none of the door's refusals.
    pub(super) async fn stream(&self, path: &str) -> anyhow::Result<Incoming> {
        let response = self
            .send(Method::GET, path, HeaderMap::new(), Bytes::new())
            .await?;
        accepted(response).await
    }

    /// The same, for a question with a body.
    pub(super) async fn post_stream(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<Incoming> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json".parse()?);
        let body = serde_json::to_vec(body).context("cannot write JSON")?;
        let response = self.send(Method::POST, path, headers, body.into()).await?;
        accepted(response).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let body = Full::new(body).map_err(|never| match never {});
        self.send_body(method, path, headers, body.boxed_unsync())
            .await
    }

    async fn send_body(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> anyhow::Result<Response<Incoming>> {
        let uri: Uri = format!("{}{path}", self.url)
            .parse()
            .with_context(|| format!("{:?} is no address of a host", self.url))?;
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(own) = request.headers_mut() {
            *own = headers;
        }
        let request = request
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(body)
            .context("the token is no header value")?;
        self.http.request(request).await.with_context(|| {
            format!(
                "nobody answers at {}; is the host running, and is that its admin door?",
                self.url
            )
        })
    }
}

/// An answer that comes line by line.
pub(super) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    pub(super) const fn of(body: Incoming) -> Self {
        let rest = Vec::new();
        Self { body, rest }
    }

    /// The next one, with its end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.rest.drain(..=end).collect()));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.context("the host has gone away")?;
            if let Some(data) = frame.data_ref() {
                self.rest.extend_from_slice(data);
            }
        }
    }
}

/// The body of an answer that is no problem.
pub(super) async fn accepted(response: Response<Incoming>) -> anyhow::Result<Incoming> {
    let status = response.status();
    if status.is_success() {
        return Ok(response.into_body());
    }
    let bytes = response.into_body().collect().await?.to_bytes();
    let problem: Json = serde_json::from_slice(&bytes).unwrap_or_default();
    match (problem["title"].as_str(), problem["detail"].as_str()) {
        (Some(title), Some(detail)) => bail!("{title}: {detail}"),
        _ => bail!("the host answered {status}; is that its admin door?"),
    }
}

fn remote_token(reach: &Reach, url: &str) -> anyhow::Result<String> {
    reach.token.clone().with_context(|| {
        format!(
            "{url} wants a token; set DORMOUSE_TOKEN (the first one was printed when the host \
             started for the first time)"
        )
    })
}

/// The data folder meant, as `dev` and `serve` in this folder would choose it.
pub(super) fn local_data(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(data) = named {
        return Ok(data.to_owned());
    }
    let here = Path::new(".");
    match Project::open(here) {
        Ok(project) => Ok(project.root.join(&project.manifest.serve.data)),
        // A single component keeps its data where it was served from.
        Err(_) => Ok(here.join(crate::manifest::Serve::default().data)),
    }
}
