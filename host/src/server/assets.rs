//! Assets: files of the app, served as they are, before worker and objects.
//!
//! Etags, ranges, conditional requests, media types and compression are
//! tower-http's. A path that is no file goes on. Files and folders whose names
//! begin with a dot are not served, but for `.well-known`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body as HttpBody;
use axum::response::Response;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use tower_http::compression::Compression;
use tower_http::services::ServeDir;
use tower_service::Service as _;

use crate::split::{Split, Turns};

/// The folder that is served at the moment, if any. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Assets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folders: RwLock<Folders>,
    turns: Turns,
}

/// Of each version.
type Folders = Split<Option<PathBuf>>;

impl Default for Inner {
    fn default() -> Self {
        Self {
            folders: RwLock::new(Split::all(Arc::new(None))),
            turns: Turns::default(),
        }
    }
}

impl Assets {
    pub fn replace(&self, folder: Option<PathBuf>) {
        self.set(Split::all(Arc::new(folder)));
    }

    /// Serves other files beside the current ones. Requests take turns, and a file that
    /// one version lacks is looked for in the other: a page must find what it names.
    pub fn begin(&self, folder: Option<PathBuf>, percent: u8) {
        self.set(self.folders().with(Arc::new(folder), percent));
    }

    /// See `Workers::set_percent`.
    pub fn set_percent(&self, percent: u8) {
        self.set(self.folders().advanced(percent));
    }

    fn set(&self, folders: Folders) {
        let current = self.0.folders.write();
        *current.unwrap_or_else(PoisonError::into_inner) = folders;
    }

    /// The file that a request asks for; `None` if there is none.
    pub(super) async fn find(&self, parts: &Parts) -> Option<Response> {
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let folders = self.folders();
        if !reads || is_hidden(parts.uri.path()) {
            return None;
        }
        let chosen = folders.at(|| self.0.turns.next());
        let others = [Some(folders.main()), folders.next()].into_iter().flatten();
        let mut others = others.filter(|one| !Arc::ptr_eq(one, chosen));
        let other = others.next();
        for folder in [Some(chosen), other].into_iter().flatten() {
            if let Some(folder) = &**folder
                && let Some(found) = find_in(folder, parts).await
            {
                return Some(found);
            }
        }
        None
    }

    fn folders(&self) -> Folders {
        let folders = self.0.folders.read();
        folders.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn find_in(folder: &Path, parts: &Parts) -> Option<Response> {
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

fn is_hidden(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let mut names = decoded.split(['/', '\\']);
    names.any(|name| name.starts_with('.') && name != ".well-known")
}
