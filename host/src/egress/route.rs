//! Route: which requests to the outside a line of a script answers.
//!
//! `[METHOD ][http[s]://]HOST[:PORT][/PATH]`, such as `POST api.example.com/users/*`. In
//! host and path `*` is any text without `/`, `**` any text. Without a method, a scheme
//! or a path each is any; without a port it is the usual one. A query is looked at only
//! if the route has one.

use std::fmt;
use std::str::FromStr;

use http::Uri;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    text: String,
    method: Option<String>,
    scheme: Option<String>,
    /// In lower case.
    host: String,
    path: Option<String>,
}

impl Route {
    /// How a route for just this request is written.
    pub(super) fn of(method: &str, url: &str) -> String {
        let uri: Option<Uri> = url.parse().ok();
        let place = uri.as_ref().and_then(place);
        let Some((_, host, path, _)) = place else {
            return format!("{method} {url}");
        };
        format!("{method} {host}{path}")
    }

    pub(super) fn fits(&self, method: &str, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else {
            return false;
        };
        let Some((scheme, host, path, whole)) = place(&uri) else {
            return false;
        };
        let path_fits = |wanted: &str| match wanted.contains('?') {
            true => covers(wanted.as_bytes(), whole.as_bytes()),
            false => covers(wanted.as_bytes(), path.as_bytes()),
        };
        let same = |wanted: &Option<String>, is: &str| {
            wanted
                .as_deref()
                .is_none_or(|one| one.eq_ignore_ascii_case(is))
        };
        same(&self.method, method)
            && same(&self.scheme, &scheme)
            && covers(self.host.as_bytes(), host.as_bytes())
            && self.path.as_deref().is_none_or(path_fits)
    }
}

/// Scheme, host with a port that is not the usual one, path, and path with query.
fn place(uri: &Uri) -> Option<(String, String, &str, &str)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let host = uri.host()?.to_ascii_lowercase();
    let usual = if scheme == "https" { 443 } else { 80 };
    let host = match uri.port_u16() {
        Some(port) if port != usual => format!("{host}:{port}"),
        _ => host,
    };
    let whole = uri.path_and_query().map_or("/", |whole| whole.as_str());
    Some((scheme, host, uri.path(), whole))
}

fn covers(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|taken| covers(rest, &text[taken..])),
        [b'*', rest @ ..] => {
            let segment = text.iter().position(|byte| *byte == b'/');
            let most = segment.unwrap_or(text.len());
            (0..=most).any(|taken| covers(rest, &text[taken..]))
        }
        [first, rest @ ..] => text.first() == Some(first) && covers(rest, &text[1..]),
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "{text:?} is no route: {what}; write `POST api.example.com/users/*`, where `*` is \
                 any text without `/` and `**` any text; method and path may be left out"
            )
        };
        let (method, place) = match text.trim().split_once(' ') {
            Some((method, place)) => (Some(method.to_owned()), place.trim()),
            None => (None, text.trim()),
        };
        let (scheme, place) = match place.split_once("://") {
            Some((scheme, place)) => (Some(scheme.to_ascii_lowercase()), place),
            None => (None, place),
        };
        let (host, path) = match place.find('/') {
            Some(at) => (&place[..at], Some(place[at..].to_owned())),
            None => (place, None),
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong("it names no host"));
        }
        if place.contains(' ') {
            return Err(wrong("there are too many words"));
        }
        if scheme
            .as_deref()
            .is_some_and(|scheme| !["http", "https"].contains(&scheme))
        {
            return Err(wrong("its scheme is neither `http` nor `https`"));
        }
        let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '-';
        if method
            .as_deref()
            .is_some_and(|method| !method.chars().all(is_letter))
        {
            return Err(wrong("its method is no word"));
        }
        Ok(Self {
            text: text.trim().to_owned(),
            method,
            scheme,
            host: host.to_ascii_lowercase(),
            path,
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_fits_what_it_says_and_nothing_else() {
        let url = "https://api.example.com/users/7?full";
        let fit = [
            "api.example.com",
            "GET api.example.com/users/7",
            "get https://API.example.com/users/*",
            "*.example.com/**",
            "GET **",
            "api.example.com/users/7?full",
            "api.example.com/*/*?*",
        ];
        for route in fit {
            let route: Route = route.parse().unwrap();
            assert!(route.fits("GET", url), "{route}");
        }
        let others = [
            "POST api.example.com",
            "http://api.example.com",
            "example.com",
            "api.example.com:8080",
            "api.example.com/users",
            "api.example.com/*",
            "api.example.com/users/7?",
            "api.example.com/",
        ];
        for route in others {
            let route: Route = route.parse().unwrap();
            assert!(!route.fits("GET", url), "{route}");
        }
        assert_eq!(Route::of("GET", url), "GET api.example.com/users/7");
        let local = "http://localhost:90/a".to_owned();
        let route: Route = Route::of("GET", &local).parse().unwrap();
        assert!(route.fits("GET", &local));
    }

    #[test]
    fn what_is_no_route_is_refused_with_an_example() {
        for text in ["", "GET /users", "ftp://a", "G3T a.b", "a b c", "/x"] {
            let error = text.parse::<Route>().unwrap_err();
            assert!(error.contains("api.example.com"), "{text}: {error}");
        }
    }
}
