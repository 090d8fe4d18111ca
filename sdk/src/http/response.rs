//! The answer of a handler.

use std::future::Future;

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::request::header_map;
use super::{Body, BodyError, BodyWriter};
use crate::bindings::dormouse::object::types as wit;
use crate::{Error, Result};

/// An HTTP response, with status 200 until told otherwise.
///
/// ```
/// use dormouse_sdk::prelude::*;
///
/// let made = Response::text("made\n").with_status(201).with_header("location", "/rooms/7");
/// assert_eq!(made.status(), StatusCode::CREATED);
/// ```
#[derive(Debug, Default)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    /// The first mistake made in building it, told when it is answered.
    mistake: Option<Error>,
}

impl Response {
    /// A response with this body and no header.
    pub fn new(body: impl Into<Body>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// Plain text in UTF-8.
    pub fn text(text: impl Into<String>) -> Self {
        Self::typed("text/plain; charset=utf-8", text.into())
    }

    /// A page.
    pub fn html(page: impl Into<String>) -> Self {
        Self::typed("text/html; charset=utf-8", page.into())
    }

    /// Bytes of no particular type.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::typed("application/octet-stream", bytes.into())
    }

    /// A value as JSON.
    ///
    /// ```
    /// # use dormouse_sdk::prelude::*;
    /// # fn main() -> Result<()> {
    /// Response::json(&[1, 2, 3])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Self::typed("application/json", serde_json::to_vec(value)?))
    }

    /// A body that `producer` writes while it is sent.
    ///
    /// The producer starts once the handler awaits or returns, and keeps the
    /// object awake until it ends. An error in it is logged and cuts the body short,
    /// which the client can tell from an end.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # use std::time::Duration;
    /// # fn handler() -> Response {
    /// Response::stream(|mut body| async move {
    ///     for second in 0..10 {
    ///         body.write(format!("{second}\n")).await?;
    ///         sleep(Duration::from_secs(1)).await;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn stream<F>(producer: impl FnOnce(BodyWriter) -> F) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self::new(Body::produced(producer))
    }

    pub(crate) fn from_wit(response: wit::Response) -> Result<Self> {
        Ok(Self {
            status: StatusCode::from_u16(response.status)?,
            headers: header_map(&response.headers),
            body: Body::from_wit(response.body),
            mistake: None,
        })
    }

    /// No body, status 204.
    pub fn empty() -> Self {
        Self::default().with_status(StatusCode::NO_CONTENT)
    }

    /// Status 101: opens the socket that the event accepted. Its headers go to the
    /// client, such as `sec-websocket-protocol`.
    pub fn websocket() -> Self {
        Self {
            status: StatusCode::SWITCHING_PROTOCOLS,
            ..Self::default()
        }
    }

    /// Status 404, and a line that says so.
    pub fn not_found() -> Self {
        Self::text("not found\n").with_status(StatusCode::NOT_FOUND)
    }

    /// Status 405, and a line that says so.
    pub fn method_not_allowed() -> Self {
        Self::text("method not allowed\n").with_status(StatusCode::METHOD_NOT_ALLOWED)
    }

    /// Status 400, and what is wrong with the request.
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::text(reason).with_status(StatusCode::BAD_REQUEST)
    }

    /// Status 303: the client goes on with a GET of `url`.
    pub fn see_other(url: &str) -> Self {
        Self::default()
            .with_status(StatusCode::SEE_OTHER)
            .with_header(LOCATION, url)
    }

    /// With this status, a number or a [`StatusCode`] from 200 to 599. Another
    /// one fails the handler when the response is answered.
    #[must_use]
    pub fn with_status<S>(mut self, status: S) -> Self
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>,
    {
        match status.try_into() {
            Ok(status) if matches!(status.as_u16(), 200..=599) => self.status = status,
            Ok(status) => self.note(anyhow::anyhow!(
                "status {} cannot be answered; 200 to 599 can",
                status.as_u16()
            )),
            Err(error) => self.note(error.into().into()),
        }
        self
    }

    /// With this header, instead of those of the same name. A malformed one
    /// fails the handler when the response is answered.
    #[must_use]
    pub fn with_header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.with_pair(name, value, |headers, name, value| {
            headers.insert(name, value);
        })
    }

    /// With this header beside those of the same name, such as another
    /// `set-cookie`.
    #[must_use]
    pub fn with_added_header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.with_pair(name, value, |headers, name, value| {
            headers.append(name, value);
        })
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The body alone.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// The whole body of an answer; see [`Body::bytes`].
    pub async fn into_bytes(self) -> Result<Vec<u8>, BodyError> {
        self.body.bytes().await
    }

    /// The whole body as text; an error if it is not UTF-8.
    pub async fn into_text(self) -> Result<String> {
        self.body.text().await
    }

    /// The whole body, read as JSON.
    pub async fn into_json<T: DeserializeOwned>(self) -> Result<T> {
        self.body.json().await
    }

    fn typed(content_type: &'static str, body: impl Into<Body>) -> Self {
        let mut response = Self::new(body);
        response
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    fn with_pair<N, V>(
        mut self,
        name: N,
        value: V,
        add: impl FnOnce(&mut HeaderMap, HeaderName, HeaderValue),
    ) -> Self
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => add(&mut self.headers, name, value),
            (Err(error), _) => self.note(error.into().into()),
            (_, Err(error)) => self.note(error.into().into()),
        }
        self
    }

    fn note(&mut self, mistake: Error) {
        self.mistake.get_or_insert(mistake);
    }

    pub(crate) fn into_wit(self) -> Result<wit::Response> {
        if let Some(mistake) = self.mistake {
            return Err(mistake.context("the response is malformed"));
        }
        let headers = self.headers.iter();
        Ok(wit::Response {
            status: self.status.as_u16(),
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: self.body.into_wit(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(response: Response) -> String {
        format!("{:#}", response.into_wit().map(|_| ()).unwrap_err())
    }

    #[test]
    fn headers_replace_or_join() {
        let response = Response::text("x")
            .with_header("content-type", "text/csv")
            .with_added_header("set-cookie", "a=1")
            .with_added_header("set-cookie", "b=2");
        let wanted = [
            ("content-type", "text/csv"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(response.into_wit().unwrap().headers, wanted);
    }

    #[test]
    fn a_malformed_response_fails_when_answered() {
        let text = mistake(Response::text("x").with_status(199));
        assert_eq!(
            text,
            "the response is malformed: status 199 cannot be answered; 200 to 599 can"
        );
        assert!(mistake(Response::text("x").with_status(99)).contains("invalid status code"));
        assert!(mistake(Response::text("x").with_header("a b", "c")).contains("header name"));
        assert!(mistake(Response::text("x").with_header("a", "c\n")).contains("header value"));
    }
}
