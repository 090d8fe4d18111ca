//! The attributes of `dormouse-sdk`, which re-exports them.
//!
//! Nothing here knows the host: an attribute leaves what it stands on as it is, and
//! adds an entry to the lists of classes and methods that the SDK exports, or the
//! export of a worker.

use proc_macro::TokenStream;

mod api;
mod class;
mod worker;

/// Serves a type as a class of durable objects.
///
/// Stands on the `impl DurableObject for …` block. The class bears the name of
/// the type; `#[durable_object(name = "Other")]` gives it another one. A name
/// is a letter, then letters, digits or `_`, at most 64 in all. Any number of
/// classes may live in one component, in any module.
#[proc_macro_attribute]
pub fn durable_object(arguments: TokenStream, block: TokenStream) -> TokenStream {
    class::expand(arguments.into(), block.into()).into()
}

/// Makes a function the app's worker: the stateless code in front of the objects.
///
/// ```ignore
/// #[worker]
/// async fn fetch(request: Request, env: Env, ctx: WorkerContext) -> Result<Response> {
///     Ok(Response::text("hello\n"))
/// }
/// ```
///
/// A component has at most one. Every request to the app comes here, whatever its
/// path. The host runs several instances and hands each many requests at once, so
/// statics and thread-locals are caches at best. An error is logged and answered
/// with status 500; a panic ends the instance and fails its other requests, too.
#[proc_macro_attribute]
pub fn worker(arguments: TokenStream, function: TokenStream) -> TokenStream {
    worker::expand(arguments.into(), function.into()).into()
}

/// Makes the public methods of a class calls that other objects can make.
///
/// ```ignore
/// #[object_api]
/// impl Counter {
///     /// Adds to the counter; what it is then.
///     pub async fn increment(&self, by: i64) -> Result<i64> { … }
/// }
///
/// // in any other object, or in the worker:
/// let value = env.namespace::<Counter>("COUNTER")?.get_by_name("a").increment(2).await?;
/// ```
///
/// On an `impl` block it makes the type `CounterStub`, which has the same methods; every
/// one of them is asynchronous and can fail with a `CallError`. An argument that does
/// not fit is a compile error in the caller.
///
/// On a trait it makes the stub alone, for callers in another crate; on the `impl` of
/// that trait, the part that answers. A class has one such block.
///
/// Arguments and results are what serde reads and writes, and travel as JSON. At most
/// one argument, and the result, may be a `Body`, which streams. `Result<T>` hands the
/// error over in words; `Result<T, E>` hands it over as it is, in a `MethodError<E>`, if
/// `E` can be written, read and displayed.
#[proc_macro_attribute]
pub fn object_api(arguments: TokenStream, item: TokenStream) -> TokenStream {
    api::expand(arguments.into(), item.into()).into()
}
