//! The worker: stateless code in front of the objects.
//!
//! `#[worker]` writes the export in the user's crate, which calls [`serve`].

use std::future::Future;

use crate::bindings::dormouse::object::types as wit;
use crate::component::failure;
use crate::http::{Request, Response};
use crate::object::run_in_background;
use crate::{Env, Result, logging};

/// What a worker can do beside answering.
#[derive(Clone, Debug)]
pub struct WorkerContext {
    _later: (),
}

impl WorkerContext {
    /// Goes on with `work` after the request has been answered. An error is
    /// logged. The host ends an instance only when such work is done, but for one
    /// whose code was replaced: its work has 10 seconds left.
    ///
    /// ```no_run
    /// use dormouse_sdk::prelude::*;
    /// use std::time::Duration;
    ///
    /// #[worker]
    /// async fn fetch(_request: Request, _env: Env, ctx: WorkerContext) -> Result<Response> {
    ///     ctx.wait_until(async {
    ///         sleep(Duration::from_secs(1)).await;
    ///         log::info!("a second after the answer");
    ///         Ok(())
    ///     });
    ///     Ok(Response::text("done\n"))
    /// }
    /// # fn main() {}
    /// ```
    pub fn wait_until(&self, work: impl Future<Output = Result<()>> + 'static) {
        run_in_background(work);
    }
}

/// Runs the user's function for one request.
pub async fn serve<F>(
    request: wit::Request,
    fetch: impl FnOnce(Request, Env, WorkerContext) -> F,
) -> Result<wit::Response, wit::Failure>
where
    F: Future<Output = Result<Response>>,
{
    logging::install();
    let answer = async {
        let request = Request::from_wit(request)?;
        fetch(request, Env::new(), WorkerContext { _later: () })
            .await?
            .into_wit()
    };
    answer.await.map_err(failure)
}

/// Has the compiler look at the function where nothing is exported.
pub const fn check<T, F>(_fetch: T)
where
    T: FnOnce(Request, Env, WorkerContext) -> F + Copy,
    F: Future<Output = Result<Response>>,
{
}
