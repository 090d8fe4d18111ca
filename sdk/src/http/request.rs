//! The request that a handler is given.

use std::borrow::Cow;
use std::cell::OnceCell;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::de::DeserializeOwned;

use super::{Body, BodyError};
use crate::bindings::dormouse::object::types as wit;
use crate::websocket::Upgrade;
use crate::{Context, Result};

/// An HTTP request to the object.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: String,
    fields: Vec<(String, Vec<u8>)>,
    /// Made of `fields` when first asked for; most handlers never do.
    headers: OnceCell<HeaderMap>,
    body: Body,
    upgrade: Option<Upgrade>,
}

impl Request {
    pub(crate) fn from_wit(request: wit::Request) -> Result<Self> {
        let method = Method::from_bytes(request.method.as_bytes())
            .with_context(|| format!("the method `{}` is malformed", request.method))?;
        Ok(Self {
            method,
            url: request.url,
            fields: request.headers,
            headers: OnceCell::new(),
            body: Body::from_wit(request.body),
            upgrade: request.upgrade.map(Upgrade::new),
        })
    }

    /// The wish for a WebSocket, if the client has one; `None` the second time.
    pub fn upgrade(&mut self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The whole URL: the scheme and authority that the client used, then the
    /// part of the path that belongs to the object, then the query.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The part of the path that belongs to the object, as it came
    /// (percent-encoded); begins with `/`.
    pub fn path(&self) -> &str {
        let path = self.target().split(['?', '#']).next().unwrap_or_default();
        if path.is_empty() { "/" } else { path }
    }

    /// The query as it came, without `?`.
    pub fn query(&self) -> Option<&str> {
        let before_fragment = self.target().split('#').next().unwrap_or_default();
        before_fragment.split_once('?').map(|(_, query)| query)
    }

    /// The names and values of the query, decoded, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query().unwrap_or_default().as_bytes())
    }

    /// The first value of that name in the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The first header of that name, in any case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| header_map(&self.fields))
    }

    /// The body, to be read in portions or answered as it is.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Takes the body out and leaves the rest.
    pub fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }

    /// The whole body; see [`Body::bytes`].
    pub async fn bytes(self) -> Result<Vec<u8>, BodyError> {
        self.body.bytes().await
    }

    /// The whole body, unless it is longer than `limit` bytes.
    pub async fn bytes_up_to(self, limit: usize) -> Result<Vec<u8>, BodyError> {
        self.body.bytes_up_to(limit).await
    }

    /// The whole body as text; an error if it is not UTF-8.
    pub async fn text(self) -> Result<String> {
        self.body.text().await
    }

    /// The whole body, read as JSON.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// #[derive(serde::Deserialize)]
    /// struct Post { author: String, text: String }
    ///
    /// # async fn handler(request: Request) -> Result<()> {
    /// let post: Post = request.json().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        self.body.json().await
    }

    /// Path, query and fragment: what follows the authority.
    fn target(&self) -> &str {
        let after_scheme = self.url.find("://").map_or(0, |at| at + "://".len());
        let rest = &self.url[after_scheme..];
        rest.find(['/', '?', '#']).map_or("", |at| &rest[at..])
    }
}

/// A field that `http` does not take for a header came past the host's own
/// parser, so it is none; leaving it out is harmless.
fn header_map(fields: &[(String, Vec<u8>)]) -> HeaderMap {
    fields
        .iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        })
        .fold(
            HeaderMap::with_capacity(fields.len()),
            |mut map, (name, value)| {
                map.append(name, value);
                map
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> Request {
        Request::from_wit(wit::Request {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: vec![
                ("x-a".to_owned(), b"1".to_vec()),
                ("x-a".to_owned(), b"2".to_vec()),
                ("x-raw".to_owned(), vec![0xff]),
            ],
            body: wit::Body::None,
            upgrade: None,
        })
        .unwrap()
    }

    #[test]
    fn path_and_query_are_cut_from_the_url() {
        let cases = [
            ("http://a.test/", "/", None),
            ("http://a.test", "/", None),
            ("http://a.test?b=c", "/", Some("b=c")),
            (
                "http://a.test:80/x%20y/z?b=/c?d",
                "/x%20y/z",
                Some("b=/c?d"),
            ),
            ("http://a.test/x#y?z", "/x", None),
        ];
        for (url, path, query) in cases {
            let request = request(url);
            assert_eq!((request.path(), request.query()), (path, query), "{url}");
        }
    }

    #[test]
    fn query_pairs_are_decoded() {
        let request = request("http://a.test/?q=a+b%26&q=2");
        let pairs: Vec<_> = request.query_pairs().collect();
        assert_eq!(
            pairs,
            [("q".into(), "a b&".into()), ("q".into(), "2".into())]
        );
        assert_eq!(request.query_value("q").as_deref(), Some("a b&"));
        assert_eq!(request.query_value("r"), None);
    }

    #[test]
    fn repeated_and_raw_headers_are_kept() {
        let request = request("http://a.test/");
        let values: Vec<_> = request.headers().get_all("X-A").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(request.headers()["x-raw"].as_bytes(), [0xff]);
        assert_eq!(request.header("X-A"), Some("1"));
        assert_eq!(request.header("x-raw"), None);
    }
}
