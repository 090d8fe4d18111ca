//! The worker of the benchmark's contract: in front of the objects of `bench`, which are
//! of a component of their own, it finds each by its name and passes the request on.

use dormouse_sdk::prelude::*;

#[worker]
async fn front(request: Request, env: Env, _ctx: WorkerContext) -> Result<Response> {
    let mut words = request.path().trim_start_matches('/').split('/');
    let name = match (words.next(), words.next()) {
        (Some("hello"), None) => return Ok(Response::text("Hello, world!\n")),
        (Some(_), Some(name)) => name.to_owned(),
        _ => return Ok(Response::not_found()),
    };
    let object = env.namespace::<Stub>("Bench")?.get_by_name(&name);
    object.fetch(request).await
}
