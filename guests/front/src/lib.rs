//! Front: a worker that does what the path says, for the tests.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use dormouse_sdk::FetchError;
use dormouse_sdk::http::HeaderMap;
use dormouse_sdk::prelude::*;
use serde_json::json;

thread_local! {
    /// Made once for each instance.
    static INSTANCE: u64 = RandomState::new().hash_one(()) >> 16;
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static WAITING: Cell<u64> = const { Cell::new(0) };
    static OPEN: Cell<bool> = const { Cell::new(false) };
    static AFTERWARDS: Cell<u64> = const { Cell::new(0) };
}

#[worker]
async fn front(request: Request, env: Env, ctx: WorkerContext) -> Result<Response> {
    COUNT.set(COUNT.get() + 1);
    match request.path() {
        "/seen" => Response::json(&json!({
            "method": request.method().as_str(),
            "url": request.url(),
            "headers": text(request.headers()),
        })),
        "/echo" => Ok(Response::new(request.into_body())),
        "/state" => state(),
        // Waits until another request of the same instance opens it.
        "/wait" => {
            WAITING.set(WAITING.get() + 1);
            while !OPEN.get() {
                sleep(Duration::from_millis(1)).await;
            }
            state()
        }
        "/open" => {
            OPEN.set(true);
            state()
        }
        "/later" => {
            ctx.wait_until(async {
                sleep(Duration::from_secs(5)).await;
                AFTERWARDS.set(AFTERWARDS.get() + 1);
                log::info!("done after the answer");
                Ok(())
            });
            state()
        }
        "/var" => Ok(Response::text(env.var("GREETING")?)),
        "/count" => Ok(Response::stream(|mut body| async move {
            for n in 0..3 {
                body.write(format!("{n}\n")).await?;
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        })),
        "/hang" => {
            sleep(Duration::from_secs(100_000)).await;
            state()
        }
        "/fail" => bail!("told to fail"),
        "/trap" => panic!("told to trap"),
        "/spin" => loop {
            std::hint::black_box(());
        },
        "/allocate" => {
            let mut kept = Vec::new();
            loop {
                kept.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        "/upgrade" => upgrade(request),
        "/ask" => ask(request).await,
        "/stores" => stores(&env).await,
        // What follows is for an object of the class below.
        path if path.starts_with("/Asker/") => {
            let name = path.trim_start_matches("/Asker/").to_owned();
            let asker = env.namespace::<Stub>("Asker")?.get_by_name(&name);
            asker.fetch(request).await
        }
        _ => Ok(Response::not_found()),
    }
}

/// Asks the outside for `?url=`, for at most `?ms=`.
async fn ask(request: Request) -> Result<Response> {
    let url = request.query_value("url").context("no url")?.into_owned();
    let ms = request
        .query_value("ms")
        .map_or(Ok(10_000), |ms| ms.parse::<u64>())?;
    let asked = Request::new(request.method().clone(), url).with_body(request.into_body());
    match fetch(asked).timeout(Duration::from_millis(ms)).await {
        Ok(response) => Ok(response),
        Err(error) => {
            let kind = FetchError::kind_of(&error);
            let told = json!({"kind": format!("{kind:?}"), "message": error.to_string()});
            Ok(Response::json(&told)?.with_status(502))
        }
    }
}

/// Counts in a store of the app, and tells what a database of the app says of it.
async fn stores(env: &Env) -> Result<Response> {
    let cache = env.kv("CACHE")?;
    let visits = cache.get::<u64>("visits").await?.unwrap_or_default() + 1;
    cache.put("visits", &visits).await?;
    let rows = env.database("DB")?.query("SELECT ? * 2", (visits,)).await?;
    let twice: u64 = rows.one()?;
    Response::json(&json!({"visits": visits, "twice": twice}))
}

/// Asks the outside as well, or has the `Asker` that `?via=` names ask, and counts the
/// requests that it has begun.
struct Asker {
    begun: Cell<u64>,
    env: Env,
}

#[durable_object]
impl DurableObject for Asker {
    async fn new(_state: State, env: Env) -> Result<Self> {
        Ok(Self {
            begun: Cell::new(0),
            env,
        })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if request.query().is_none() {
            return Ok(Response::text(self.begun.get().to_string()));
        }
        self.begun.set(self.begun.get() + 1);
        let parent = request.header("traceparent").unwrap_or_default();
        log::info!("traceparent {parent}");
        match request.query_value("via").map(String::from) {
            Some(via) => {
                let url = request.url().replace(&format!("via={via}&"), "");
                let asker = self.env.namespace::<Stub>("Asker")?.get_by_name(&via);
                asker.fetch(Request::get(url)).await
            }
            None => ask(request).await,
        }
    }
}

fn state() -> Result<Response> {
    Response::json(&json!({
        "instance": INSTANCE.with(|one| *one),
        "count": COUNT.get(),
        "waiting": WAITING.get(),
        "afterwards": AFTERWARDS.get(),
    }))
}

/// A worker keeps no sockets, so this is refused.
fn upgrade(mut request: Request) -> Result<Response> {
    let upgrade = request.upgrade().context("no upgrade is asked for")?;
    upgrade.accept()?;
    Ok(Response::websocket())
}

fn text(headers: &HeaderMap) -> Vec<[String; 2]> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| [name.to_string(), text(value.as_bytes())])
        .collect()
}
