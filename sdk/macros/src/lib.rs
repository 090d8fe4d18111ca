//! The attributes of `dormouse-sdk`, which re-exports them.
//!
//! Nothing here knows the host: an attribute leaves what it stands on as it is and
//! adds an entry to the list of classes that the SDK exports, or the export of a
//! worker.

use proc_macro::TokenStream;

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
