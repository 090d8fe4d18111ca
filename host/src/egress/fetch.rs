//! Fetch: a request of the contract's records, redirects followed.
//!
//! As the Fetch standard has it: 303, and 301 or 302 after a POST, go on as GET
//! without a body; on the way to another origin the headers that carry secrets
//! stay behind. Every hop is checked like the first.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::sync::mpsc;

use super::{Answer, Egress, Error, Outgoing, Timeouts};
use crate::event::{Body, Chunk, Chunks, Request, Response};

const CHANNEL_CHUNKS: usize = 4;
/// Headers of the connection, which are the client's own.
const OWN: [HeaderName; 7] = [
    HOST,
    http::header::CONNECTION,
    http::header::TRANSFER_ENCODING,
    CONTENT_LENGTH,
    http::header::UPGRADE,
    http::header::TE,
    HeaderName::from_static("keep-alive"),
];

/// One hop.
struct Hop {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
}

impl Egress {
    /// Sends a request and follows up to `redirects` redirects; `timeouts.response`
    /// spans them all.
    pub async fn fetch(
        &self,
        request: Request,
        timeouts: Timeouts,
        redirects: u32,
    ) -> Result<Response, Error> {
        let mut hop = Hop::first(request)?;
        let deadline = self.clock().now().saturating_add(timeouts.response);
        let mut followed = 0;
        loop {
            let again = hop.repeat();
            let left = deadline.saturating_sub(self.clock().now());
            let answer = self.send(hop.into_http(), limited(timeouts, left)).await?;
            let next = again.and_then(|again| again.next(&answer));
            let Some(next) = next.filter(|_| redirects > 0) else {
                return Ok(told(answer));
            };
            hop = next?;
            followed += 1;
            if followed > redirects {
                let (url, count) = (hop.uri.to_string(), redirects);
                return Err(Error::Redirects { url, count });
            }
        }
    }
}

const fn limited(timeouts: Timeouts, left: Duration) -> Timeouts {
    Timeouts {
        response: left,
        ..timeouts
    }
}

impl Hop {
    fn first(request: Request) -> Result<Self, Error> {
        let url = request.url;
        let invalid = |why| Error::Invalid {
            url: url.clone(),
            why,
        };
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for (name, value) in request.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) else {
                return Err(invalid("one of its headers is malformed"));
            };
            if !OWN.contains(&name) {
                headers.append(name, value);
            }
        }
        Ok(Self {
            method: Method::from_bytes(request.method.as_bytes())
                .map_err(|_| invalid("its method is malformed"))?,
            uri: url.parse().map_err(|_| invalid("it is malformed"))?,
            headers,
            body: request.body,
        })
    }

    /// The same once more, unless the body flows away with the first one.
    fn repeat(&self) -> Option<Self> {
        let body = match &self.body {
            Body::None => Body::None,
            Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
            Body::Stream(_) => return None,
        };
        Some(Self {
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            body,
        })
    }

    /// Where a redirect leads; `None` if it is none.
    fn next(mut self, answer: &http::Response<Answer>) -> Option<Result<Self, Error>> {
        let status = answer.status();
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return None,
        };
        let location = answer.headers().get(LOCATION)?.to_str().ok()?;
        if becomes_get {
            self.method = Method::GET;
            self.body = Body::None;
        }
        let uri = match resolve(&self.uri, location) {
            Some(uri) => uri,
            None => {
                return Some(Err(Error::Invalid {
                    url: location.to_owned(),
                    why: "a redirect leads there",
                }));
            }
        };
        let same = self.uri.authority() == uri.authority() && self.uri.scheme() == uri.scheme();
        if !same {
            for secret in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
                self.headers.remove(secret);
            }
        }
        self.uri = uri;
        Some(Ok(self))
    }

    fn into_http(self) -> http::Request<Outgoing> {
        let body = match self.body {
            Body::None => Empty::new().map_err(Into::into).boxed_unsync(),
            Body::Bytes(bytes) => Full::new(bytes).map_err(Into::into).boxed_unsync(),
            Body::Stream(chunks) => outgoing(chunks),
        };
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// RFC 3986, section 5, as far as redirects use it.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    if location.contains("://") {
        return location.parse().ok();
    }
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let text = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    text.parse().ok()
}

/// A body that a guest writes while it is sent.
fn outgoing(chunks: Chunks) -> Outgoing {
    let frames = futures_util::stream::unfold(Some(chunks), |chunks| async {
        let mut chunks = chunks?;
        match chunks.recv().await {
            Some(Chunk::Data(data)) => Some((Ok(http_body::Frame::data(data)), Some(chunks))),
            Some(Chunk::End(Ok(()))) => None,
            Some(Chunk::End(Err(why))) => Some((Err(why.into()), None)),
            None => Some((Err("the writer of the body was reset".into()), None)),
        }
    });
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

fn told(answer: http::Response<Answer>) -> Response {
    let (parts, body) = answer.into_parts();
    let pairs = parts.headers.iter();
    let headers = pairs
        .filter(|(name, _)| *name == CONTENT_LENGTH || !OWN.contains(name))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let headers = headers.collect();
    let body = if http_body::Body::is_end_stream(&body) {
        Body::None
    } else {
        let (sender, chunks) = mpsc::channel(CHANNEL_CHUNKS);
        tokio::spawn(pump(body, sender));
        Body::Stream(chunks)
    };
    Response {
        status: parts.status.as_u16(),
        headers,
        body,
    }
}

/// Moves chunks until the body ends or nobody reads, which ends the connection.
async fn pump(mut body: Answer, sender: mpsc::Sender<Chunk>) {
    let end = loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed() => return,
        };
        match frame {
            None => break Ok(()),
            Some(Err(error)) => break Err(error.to_string()),
            // Trailers have no place in the contract.
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or(Bytes::new());
                if !data.is_empty() && sender.send(Chunk::Data(data)).await.is_err() {
                    return;
                }
            }
        }
    };
    // A guest that no longer reads does not care how it ended.
    let _ = sender.send(Chunk::End(end)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_resolved_against_its_request() {
        let base: Uri = "http://a.test:81/b/c?d".parse().unwrap();
        let cases = [
            ("https://b.test/x", "https://b.test/x"),
            ("//b.test/x", "http://b.test/x"),
            ("/x?y#z", "http://a.test:81/x?y"),
            ("x", "http://a.test:81/b/x"),
            ("?x", "http://a.test:81/b/c?x"),
        ];
        for (location, wanted) in cases {
            let found = resolve(&base, location).unwrap().to_string();
            assert_eq!(found, wanted, "{location}");
        }
    }
}
