//! Requests: those that a handler is given, and those it makes.

use std::borrow::Cow;
use std::cell::OnceCell;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Body, BodyError};
use crate::bindings::dormouse::object::types as wit;
use crate::websocket::Upgrade;
use crate::{Context, Error, Result};

/// An HTTP request: one that a handler is given, or one that is made for a
/// [`Stub`](crate::Stub).
///
/// ```
/// use dormouse_sdk::prelude::*;
///
/// # fn main() -> Result<()> {
/// let order = Request::post("/orders", "2 tea").with_header("x-customer", "ada");
/// assert_eq!(order.path(), "/orders");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: String,
    fields: Vec<(String, Vec<u8>)>,
    /// Made of `fields` when first asked for; most handlers never do.
    headers: OnceCell<HeaderMap>,
    body: Body,
    upgrade: Option<Upgrade>,
    /// The first mistake made in building it, told when it is sent.
    mistake: Option<Error>,
}

impl Request {
    /// A request without headers and body. A URL that begins with `/` is one of no
    /// particular host, for an object.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        let mut url = url.into();
        if url.starts_with('/') {
            url.insert_str(0, "http://object");
        }
        Self {
            method,
            url,
            fields: Vec::new(),
            headers: OnceCell::new(),
            body: Body::empty(),
            upgrade: None,
            mistake: None,
        }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// A POST with this body.
    pub fn post(url: impl Into<String>, body: impl Into<Body>) -> Self {
        Self::new(Method::POST, url).with_body(body)
    }

    /// With this body instead.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// With a value as its JSON body.
    pub fn with_json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        let body = serde_json::to_vec(value)?;
        Ok(self
            .with_body(body)
            .with_header("content-type", "application/json"))
    }

    /// With this header, instead of those of the same name. A malformed one fails
    /// the request when it is sent.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(Error::from)
            .and_then(|name| Ok((name, HeaderValue::from_bytes(value.as_ref())?)));
        match parsed {
            Ok((name, value)) => {
                let name = name.as_str();
                self.fields
                    .retain(|(field, _)| !field.eq_ignore_ascii_case(name));
                self.fields
                    .push((name.to_owned(), value.as_bytes().to_vec()));
                self.headers = OnceCell::new();
            }
            Err(mistake) => {
                self.mistake.get_or_insert(mistake);
            }
        }
        self
    }

    /// To another URL, such as one without the part that chose the object.
    #[must_use]
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.url = Self::get(url).url;
        self
    }

    pub(crate) fn into_wit(self) -> Result<wit::Request> {
        if let Some(mistake) = self.mistake {
            return Err(mistake.context("the request is malformed"));
        }
        Ok(wit::Request {
            method: self.method.to_string(),
            url: self.url,
            headers: self.fields,
            body: self.body.into_wit(),
            upgrade: self.upgrade.map(Upgrade::into_wit),
        })
    }

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
            mistake: None,
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
pub(super) fn header_map(fields: &[(String, Vec<u8>)]) -> HeaderMap {
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
    fn a_request_is_sent_as_it_was_made() {
        let request = Request::post("/a?b", "text")
            .with_header("X-A", "1")
            .with_header("x-a", "2");
        let sent = request.into_wit().unwrap();
        assert_eq!(
            (sent.method.as_str(), sent.url.as_str()),
            ("POST", "http://object/a?b")
        );
        assert_eq!(sent.headers, [("x-a".to_owned(), b"2".to_vec())]);
        let broken = Request::get("/").with_header("a b", "1").into_wit();
        assert!(format!("{:#}", broken.unwrap_err()).starts_with("the request is malformed: "));
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
