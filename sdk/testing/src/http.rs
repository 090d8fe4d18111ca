//! HTTP as a test says it: a request in words, an answer that is there as a whole.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A request; `&str` and `String` are a GET of that path.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    /// `path` begins with `/` and may have a query.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// GET of a path.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// POST of a body to a path.
    #[must_use]
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, path).body(body)
    }

    /// PUT of a body to a path.
    #[must_use]
    pub fn put(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(Method::PUT, path).body(body)
    }

    /// DELETE of a path.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a header.
    ///
    /// # Panics
    /// When name or value cannot be in a request.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let (name, value) = header_pair(name, value.as_ref());
        self.headers.append(name, value);
        self
    }

    /// The same request with this body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { body, ..self }
    }

    /// The same request with this value as JSON for its body.
    ///
    /// # Panics
    /// When the value cannot be written as JSON.
    #[must_use]
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Self {
        let body = serde_json::to_vec(value).expect("a value that JSON can hold");
        let json = self.header(header::CONTENT_TYPE.as_str(), "application/json");
        json.body(body)
    }
}

pub(crate) fn header_pair(name: &str, value: &str) -> (HeaderName, HeaderValue) {
    let wrong = |what: &str| format!("{what} cannot be in a header: {name}: {value}");
    let name_ = name
        .parse()
        .unwrap_or_else(|_| panic!("{}", wrong("the name")));
    let value_ = HeaderValue::from_str(value).unwrap_or_else(|_| panic!("{}", wrong("the value")));
    (name_, value_)
}

impl From<&str> for Request {
    fn from(path: &str) -> Self {
        Self::get(path)
    }
}

impl From<String> for Request {
    fn from(path: String) -> Self {
        Self::get(path)
    }
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub struct Response {
    /// 100 to 599.
    pub status: StatusCode,
    /// Also those that the host adds, such as `x-request-id`.
    pub headers: HeaderMap,
    /// All of it, streamed or not.
    pub body: Bytes,
}

impl Response {
    /// The body as text.
    ///
    /// # Panics
    /// When the body is not UTF-8.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body of the response is text")
    }

    /// The body, read as JSON.
    ///
    /// # Panics
    /// When the body is not JSON of this type; the message shows the body.
    #[must_use]
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            let body = String::from_utf8_lossy(&self.body);
            panic!("{error}; the response is {}: {body}", self.status)
        })
    }

    /// Empty if there is no such header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap_or_default())
    }

    /// The response itself if it is a success.
    ///
    /// # Panics
    /// Otherwise; the message shows the body.
    #[track_caller]
    pub fn ok(self) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert!(self.status.is_success(), "{}: {body}", self.status);
        self
    }
}
