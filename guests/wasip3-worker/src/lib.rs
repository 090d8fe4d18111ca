//! A worker that knows nothing of Dormouse: plain `wasip3`, so `wasi:http` 0.3.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Worker);

struct Worker;

impl wasip3::exports::http::handler::Guest for Worker {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" => Ok(text("hello by wasi:http 0.3\n")),
            "/echo" => Ok(echo(request)),
            "/trap" => panic!("told to trap"),
            "/ask" => Ok(ask(query).await),
            _ => Ok(text("not found\n")),
        }
    }
}

fn text(text: &str) -> Response {
    let (mut body, reader) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let text = text.to_owned();
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    Response::new(Fields::new(), Some(reader), trailers).0
}

fn echo(request: Request) -> Response {
    let (_, read) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, read);
    Response::new(Fields::new(), Some(body), trailers).0
}

/// `host:port/path`, by plain HTTP.
async fn ask(target: &str) -> Response {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    let set = request
        .set_scheme(Some(&Scheme::Http))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(&format!("/{path}"))));
    if set.is_err() {
        return text("a malformed target\n");
    }
    match client::send(request).await {
        Ok(response) => response,
        Err(error) => text(&format!("{error:?}\n")),
    }
}
