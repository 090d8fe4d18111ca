//! What `#[worker]` checks and adds.
//!
//! The export stands in the user's crate: a component exports a worker if it has
//! one. Off wasm nothing is exported, and the compiler only checks the types.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Item, ItemFn, Result};

const USAGE: &str = "`#[worker]` stands on \
     `async fn fetch(request: Request, env: Env, ctx: WorkerContext) -> Result<Response>`";

/// The function, followed by its export or by what is wrong with it.
pub(crate) fn expand(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let added = export(&arguments, &function).unwrap_or_else(Error::into_compile_error);
    quote!(#function #added)
}

fn export(arguments: &TokenStream, function: &TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new(
            arguments.span(),
            "`#[worker]` takes no arguments",
        ));
    }
    let function = worker_function(function)?;
    let name = &function.sig.ident;
    Ok(quote_spanned! {name.span()=>
        #[cfg(not(target_family = "wasm"))]
        const _: fn() = || ::dormouse_sdk::__private::check(#name);

        #[cfg(target_family = "wasm")]
        const _: () = {
            use ::dormouse_sdk::__private::worker;
            use ::dormouse_sdk::__private::types;

            struct Worker;

            impl worker::exports::dormouse::object::worker::Guest for Worker {
                async fn fetch(
                    request: types::Request,
                ) -> ::core::result::Result<types::Response, types::Failure> {
                    ::dormouse_sdk::__private::serve(request, #name).await
                }
            }

            worker::export_worker!(Worker with_types_in worker);
        };
    })
}

fn worker_function(function: &TokenStream) -> Result<ItemFn> {
    let function = match syn::parse2(function.clone())? {
        Item::Fn(function) => function,
        item => return Err(Error::new(item.span(), USAGE)),
    };
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new(
            signature.fn_token.span,
            format!("{USAGE}; `async` is missing"),
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(
            signature.generics.params.span(),
            "a worker cannot be generic",
        ));
    }
    if signature.inputs.len() != 3 {
        let found = signature.inputs.len();
        return Err(Error::new(
            signature.ident.span(),
            format!("{USAGE}; this one has {found} arguments"),
        ));
    }
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(arguments: &str, function: &str) -> String {
        let (arguments, function) = (arguments.parse().unwrap(), function.parse().unwrap());
        match export(&arguments, &function) {
            Ok(tokens) => tokens.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn any_name_will_do() {
        let added = message("", "pub async fn front(r: R, e: E, c: C) -> Result<A> {}");
        assert!(added.contains("serve (request , front)"), "{added}");
    }

    #[test]
    fn misuse_is_named() {
        let cases = [
            ("", "struct Worker;", "stands on `async fn fetch("),
            ("", "fn fetch(r: R, e: E, c: C) {}", "`async` is missing"),
            ("", "async fn fetch(r: R) {}", "this one has 1 arguments"),
            (
                "",
                "async fn fetch<T>(r: R, e: E, c: T) {}",
                "cannot be generic",
            ),
            (
                "name",
                "async fn fetch(r: R, e: E, c: C) {}",
                "takes no arguments",
            ),
        ];
        for (arguments, function, wanted) in cases {
            let found = message(arguments, function);
            assert!(
                found.starts_with("error: ") && found.contains(wanted),
                "{function}: {found}"
            );
        }
    }
}
