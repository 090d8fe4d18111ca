//! Assets: files of the app, served as they are, before worker and objects.
//!
//! Etags, ranges, conditional requests, media types and compression are
//! tower-http's. A path that is no file goes on. Files and folders whose names
//! begin with a dot are not served, but for `.well-known`.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body as HttpBody;
use axum::response::Response;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use tower_http::compression::Compression;
use tower_http::services::ServeDir;
use tower_service::Service as _;

/// The folder that is served at the moment, if any. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Assets(Arc<RwLock<Option<PathBuf>>>);

impl Assets {
    pub fn replace(&self, folder: Option<PathBuf>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = folder;
    }

    /// The file that a request asks for; `None` if there is none.
    pub(super) async fn find(&self, parts: &Parts) -> Option<Response> {
        let folder = self.folder()?;
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        if !reads || is_hidden(parts.uri.path()) {
            return None;
        }
        let mut request = Request::new(HttpBody::empty());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = parts.headers.clone();
        let mut files = Compression::new(ServeDir::new(folder));
        let response = match files.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let found = response.status() != StatusCode::NOT_FOUND;
        found.then(|| response.map(HttpBody::new))
    }

    fn folder(&self) -> Option<PathBuf> {
        let folder = self.0.read().unwrap_or_else(PoisonError::into_inner);
        folder.clone()
    }
}

fn is_hidden(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let mut names = decoded.split(['/', '\\']);
    names.any(|name| name.starts_with('.') && name != ".well-known")
}
