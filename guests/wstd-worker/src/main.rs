//! A worker that knows nothing of Dormouse: plain `wstd`, so `wasi:http` 0.2.

use wstd::http::{Body, Client, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    match request.uri().path() {
        "/hello" => text(200, "hello by wasi:http 0.2\n"),
        "/echo" => Ok(Response::new(request.into_body())),
        "/trap" => panic!("told to trap"),
        "/ask" => ask(request.uri().query().unwrap_or_default()).await,
        _ => text(404, "not found\n"),
    }
}

async fn ask(url: &str) -> Result<Response<Body>, Error> {
    let request = Request::get(url).body(Body::empty())?;
    match Client::new().send(request).await {
        Ok(response) => Ok(Response::new(response.into_body())),
        Err(error) => text(502, &format!("{error:?}\n")),
    }
}

fn text(status: u16, text: &str) -> Result<Response<Body>, Error> {
    Ok(Response::builder()
        .status(status)
        .body(text.to_owned().into())?)
}
