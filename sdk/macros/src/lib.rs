//! The attributes of `dormouse-sdk`, which re-exports them.
//!
//! Nothing here knows the host or the contract: an attribute leaves what it stands on
//! as it is, and adds an entry to the lists of classes and methods that the SDK exports.

use proc_macro::TokenStream;

mod api;
mod class;

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
