//! Front: which app a request at the public door is for.
//!
//! The main app answers what no route of another app matches. The most specific route
//! wins: by host name first (exact, then the longest `*.suffix`, then any), then by the
//! longest path prefix. The table is replaced as a whole; with one app there is none,
//! and a request pays for one load.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse as _, Response};
use http::{Request, Uri, header};

use super::ingress::Door;
use super::listen::Serve;
use super::problem::Problem;
use super::reply;
use crate::event::RequestId;

/// What stands behind a route.
#[derive(Clone, Debug)]
pub enum Behind {
    Door(Box<Door>),
    /// The app does not run: its name and why.
    Nobody(Arc<str>, Arc<str>),
}

/// Where one app is reached.
#[derive(Clone, Debug)]
pub struct Route {
    /// A name of a host, `*.` and what it ends with, or none for any.
    pub host: Option<String>,
    /// The beginning of a path, such as `/shop`; empty for any.
    pub path: String,
    pub to: Behind,
}

/// The public door of all apps. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Front {
    shared: Arc<Shared>,
    secure: bool,
}

/// Says where a front leads, as long as there is one; holds no app.
#[derive(Clone)]
pub struct Routing(Weak<Shared>);

struct Shared {
    main: Door,
    several: AtomicBool,
    routes: RwLock<Arc<Routes>>,
}

#[derive(Default)]
struct Routes {
    exact: HashMap<String, Paths>,
    /// What names end with, the dot included; longest first.
    suffixes: Vec<(String, Paths)>,
    any: Paths,
}

/// Longest first.
#[derive(Default)]
struct Paths(Vec<(String, Behind)>);

impl Front {
    #[must_use]
    pub fn new(main: Door) -> Self {
        Self {
            shared: Arc::new(Shared {
                main,
                several: AtomicBool::new(false),
                routes: RwLock::default(),
            }),
            secure: false,
        }
    }

    /// The side of who says what the routes are.
    #[must_use]
    pub fn routing(&self) -> Routing {
        Routing(Arc::downgrade(&self.shared))
    }

    /// The same behind TLS, for the URLs that objects see.
    pub(super) fn secure(self) -> Self {
        let secure = true;
        Self { secure, ..self }
    }

    fn find(&self, request: &Request<HttpBody>) -> Behind {
        let main = || Behind::Door(Box::new(self.shared.main.clone()));
        let routes = self.shared.routes.read();
        let routes = routes.unwrap_or_else(PoisonError::into_inner).clone();
        let host = host_of(request);
        let found = routes.find(&host, request.uri().path());
        found.cloned().unwrap_or_else(main)
    }

    async fn at_door(&self, door: Door, request: Request<HttpBody>) -> Response {
        let door = if self.secure { door.secure() } else { door };
        door.serve(request).await
    }
}

impl Routing {
    /// The routes of all apps but the main one, from the next request on.
    pub fn replace(&self, routes: Vec<Route>) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let several = !routes.is_empty();
        let routes = Arc::new(Routes::new(routes));
        let current = shared.routes.write();
        *current.unwrap_or_else(PoisonError::into_inner) = routes;
        shared.several.store(several, Ordering::Release);
    }
}

impl fmt::Debug for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routing")
    }
}

impl Serve for Front {
    async fn serve(self, request: Request<HttpBody>) -> Response {
        if !self.shared.several.load(Ordering::Acquire) {
            return self.at_door(self.shared.main.clone(), request).await;
        }
        match self.find(&request) {
            Behind::Door(door) => self.at_door(*door, request).await,
            Behind::Nobody(app, why) => {
                let id = RequestId::next();
                let problem = Problem::no_code(&app, &why).with_request(id);
                reply::mark(problem.into_response(), id)
            }
        }
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Front({:?})", self.shared.main)
    }
}

impl Routes {
    fn new(all: Vec<Route>) -> Self {
        let mut routes = Self::default();
        for Route { host, path, to } in all {
            let paths = match host {
                None => &mut routes.any,
                Some(host) => match host.strip_prefix('*') {
                    None => routes.exact.entry(host).or_default(),
                    Some(suffix) => routes.of_suffix(suffix),
                },
            };
            paths.0.push((path, to));
            paths
                .0
                .sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        }
        let longest_first = |(suffix, _): &(String, Paths)| std::cmp::Reverse(suffix.len());
        routes.suffixes.sort_by_key(longest_first);
        routes
    }

    fn of_suffix(&mut self, suffix: &str) -> &mut Paths {
        let at = self.suffixes.iter().position(|(known, _)| known == suffix);
        let at = at.unwrap_or_else(|| {
            self.suffixes.push((suffix.to_owned(), Paths::default()));
            self.suffixes.len() - 1
        });
        &mut self.suffixes[at].1
    }

    fn find(&self, host: &str, path: &str) -> Option<&Behind> {
        let exact = self.exact.get(host).into_iter();
        let suffixes = self.suffixes.iter();
        let matching = suffixes.filter(|(suffix, _)| host.ends_with(suffix.as_str()));
        let paths = exact.chain(matching.map(|(_, paths)| paths));
        let mut paths = paths.chain([&self.any]);
        paths.find_map(|paths| paths.find(path))
    }
}

impl Paths {
    fn find(&self, path: &str) -> Option<&Behind> {
        let mut routes = self.0.iter();
        let found = routes.find(|(prefix, _)| begins_with(path, prefix));
        found.map(|(_, to)| to)
    }
}

/// Whether a path is a prefix or goes on behind it with a `/`.
pub(super) fn begins_with(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// The name that the client asked for, in lower case, without port and last dot.
fn host_of(request: &Request<HttpBody>) -> Cow<'_, str> {
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let header = || request.headers().get(header::HOST)?.to_str().ok();
    let authority = authority.or_else(header).unwrap_or_default();
    let name = match authority.strip_prefix('[') {
        // An address of IPv6 has colons of its own.
        Some(_) => authority
            .split_once(']')
            .map_or(authority, |(name, _)| name),
        None => authority
            .split_once(':')
            .map_or(authority, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|letter| letter.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

/// The URI without the beginning of its path.
pub(super) fn without_prefix(uri: &Uri, prefix: &str) -> Option<Uri> {
    let whole = uri.path_and_query()?.as_str();
    let rest = whole.strip_prefix(prefix)?;
    let rest = match rest.starts_with('/') {
        true => Cow::Borrowed(rest),
        false => format!("/{rest}").into(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str, path: &str, name: &str) -> Route {
        Route {
            host: (!host.is_empty()).then(|| host.to_owned()),
            path: path.to_owned(),
            to: Behind::Nobody(name.into(), "".into()),
        }
    }

    fn name(found: Option<&Behind>) -> &str {
        match found {
            Some(Behind::Nobody(name, _)) => name,
            _ => "main",
        }
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes = Routes::new(vec![
            route("", "/shop", "by path"),
            route("", "/shop/admin", "by longer path"),
            route("*.example.com", "", "any name"),
            route("*.eu.example.com", "", "any longer name"),
            route("www.example.com", "", "by name"),
            route("www.example.com", "/api", "by name and path"),
            route("api.example.com", "/v1", "one path of a name"),
        ]);
        let find = |host, path| name(routes.find(host, path)).to_owned();
        assert_eq!(find("www.example.com", "/"), "by name");
        assert_eq!(find("www.example.com", "/api/x"), "by name and path");
        assert_eq!(find("www.example.com", "/apis"), "by name");
        assert_eq!(find("www.example.com", "/shop"), "by name");
        assert_eq!(find("a.eu.example.com", "/"), "any longer name");
        assert_eq!(find("a.example.com", "/shop"), "any name");
        assert_eq!(find("api.example.com", "/v2"), "any name");
        assert_eq!(find("example.com", "/"), "main");
        assert_eq!(find("localhost", "/shop"), "by path");
        assert_eq!(find("localhost", "/shop/admin/x"), "by longer path");
        assert_eq!(find("localhost", "/shopping"), "main");
    }

    #[test]
    fn a_name_is_found_in_whatever_way_it_was_sent() {
        let host = |text: &str| {
            let request = Request::get("/").header("host", text);
            let request = request.body(HttpBody::empty()).unwrap();
            host_of(&request).into_owned()
        };
        assert_eq!(host("WWW.Example.com:8080"), "www.example.com");
        assert_eq!(host("example.com."), "example.com");
        assert_eq!(host("[::1]:80"), "[::1");
        let request = Request::get("http://a.b/").body(HttpBody::empty()).unwrap();
        assert_eq!(host_of(&request), "a.b");
    }

    #[test]
    fn a_prefix_is_taken_off() {
        let cut = |uri: &str| {
            let uri = without_prefix(&uri.parse().unwrap(), "/shop");
            uri.map(|uri| uri.to_string())
        };
        assert_eq!(cut("/shop/a?b").as_deref(), Some("/a?b"));
        assert_eq!(cut("/shop?b").as_deref(), Some("/?b"));
        assert_eq!(cut("http://h/shop").as_deref(), Some("http://h/"));
        assert_eq!(cut("/other"), None);
    }
}
