//! The attribute `#[durable_object]` of `dormouse-sdk`, which re-exports it.
//!
//! Nothing here knows the host or the contract: the attribute leaves the block
//! as it is and adds one entry to the list of classes that the SDK exports.

use proc_macro::TokenStream;

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
