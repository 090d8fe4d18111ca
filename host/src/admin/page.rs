//! Page: the dashboard, built into the binary.
//!
//! Files without secrets; what it shows it asks of the operations with a token. It
//! loads nothing from elsewhere, and the browser is told to hold it to that.

use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// Path and route of every file.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> axum::Router<S> {
    let files = [
        (
            "/",
            "text/html; charset=utf-8",
            include_str!("page/index.html"),
        ),
        (
            "/page.css",
            "text/css; charset=utf-8",
            include_str!("page/page.css"),
        ),
        (
            "/page.js",
            "text/javascript; charset=utf-8",
            include_str!("page/page.js"),
        ),
        (
            "/completion.js",
            "text/javascript; charset=utf-8",
            include_str!("page/completion.js"),
        ),
        (
            "/history.js",
            "text/javascript; charset=utf-8",
            include_str!("page/history.js"),
        ),
        ("/page.svg", "image/svg+xml", include_str!("page/page.svg")),
    ];
    let mut router = axum::Router::new();
    for (path, kind, text) in files {
        router = router.route(
            path,
            axum::routing::get(move || async move { file(kind, text) }),
        );
    }
    router
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    (StatusCode::OK, headers, text).into_response()
}
