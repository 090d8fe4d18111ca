//! What `#[durable_object]` checks and adds.
//!
//! Pure functions over tokens, so that each mistake can be tested natively.
//! A mistake becomes a compile error at the tokens at fault; the block itself
//! is always kept, so that it brings no second error.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, ImplItem, Item, ItemImpl, LitStr, Path, Result, Token, Type};

const USAGE: &str = "`#[durable_object]` stands on an `impl DurableObject for …` block";
const WEBSOCKET_HANDLERS: &[&str] = &["websocket_message", "websocket_close", "websocket_error"];
const LONGEST_NAME: usize = 64;

/// The block, followed by its registration or by what is wrong with it.
pub(crate) fn expand(arguments: TokenStream, block: TokenStream) -> TokenStream {
    let added = registration(arguments, &block).unwrap_or_else(Error::into_compile_error);
    quote!(#block #added)
}

fn registration(arguments: TokenStream, block: &TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = syn::parse2(arguments)?;
    let block = object_block(block)?;
    let class = class_type(&block)?;
    let name = arguments.name.map_or_else(|| name_of_type(class), Ok)?;
    let ty = &block.self_ty;
    let text = &name.text;
    let alarm = overrides(&block, &["alarm"]).then(|| quote!(.with_alarm()));
    let websocket = overrides(&block, WEBSOCKET_HANDLERS).then(|| quote!(.with_websocket()));
    Ok(quote_spanned! {name.span=>
        const _: () = {
            ::dormouse_sdk::__private::inventory::submit! {
                ::dormouse_sdk::__private::Class::of::<#ty>(#text) #alarm #websocket
            }
        };
    })
}

/// Whether the block itself writes one of these methods.
fn overrides(block: &ItemImpl, methods: &[&str]) -> bool {
    block.items.iter().any(|item| match item {
        ImplItem::Fn(method) => methods.iter().any(|name| method.sig.ident == name),
        _ => false,
    })
}

fn object_block(block: &TokenStream) -> Result<ItemImpl> {
    match syn::parse2(block.clone())? {
        Item::Impl(block) => Ok(block),
        Item::Struct(item) => Err(misplaced(&item.ident, "struct")),
        Item::Enum(item) => Err(misplaced(&item.ident, "enum")),
        Item::Trait(item) => Err(misplaced(&item.ident, "trait")),
        Item::Fn(item) => Err(misplaced(&item.sig.ident, "function")),
        Item::Mod(item) => Err(misplaced(&item.ident, "module")),
        item => Err(Error::new(item.span(), USAGE)),
    }
}

fn misplaced(name: &Ident, what: &str) -> Error {
    Error::new(
        name.span(),
        format!("{USAGE}, not on the {what}; move it to `impl DurableObject for {name}`"),
    )
}

/// The type of the block, if it can be a class.
fn class_type(block: &ItemImpl) -> Result<&Path> {
    let Some((_, of, _)) = &block.trait_ else {
        return Err(Error::new(
            block.self_ty.span(),
            format!("{USAGE}, not on an inherent `impl`"),
        ));
    };
    if of
        .segments
        .last()
        .is_none_or(|last| last.ident != "DurableObject")
    {
        return Err(Error::new(of.span(), USAGE));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new(
            block.generics.params.span(),
            "a class cannot be generic: the host makes objects by name alone; \
             implement `DurableObject` for each concrete type",
        ));
    }
    match &*block.self_ty {
        Type::Path(path) if path.qself.is_none() => Ok(&path.path),
        other => Err(Error::new(
            other.span(),
            "a class is a struct or enum of this crate",
        )),
    }
}

/// A checked class name.
struct Name {
    text: String,
    span: Span,
}

impl Name {
    fn checked(text: String, span: Span) -> Result<Self> {
        let mut letters = text.chars();
        let well_formed = letters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && text.len() <= LONGEST_NAME;
        if well_formed {
            return Ok(Self { text, span });
        }
        Err(Error::new(
            span,
            format!(
                "`{text}` cannot name a class; a name is a letter, then letters, digits \
                 or `_`, at most {LONGEST_NAME} in all: `#[durable_object(name = \"…\")]`"
            ),
        ))
    }
}

fn name_of_type(class: &Path) -> Result<Name> {
    let last = class.segments.last().expect("a path has a segment");
    if !last.arguments.is_empty() {
        return Err(Error::new(
            last.arguments.span(),
            "a type with arguments names no class by itself; write `#[durable_object(name = \"…\")]`",
        ));
    }
    Name::checked(last.ident.unraw().to_string(), last.ident.span())
}

/// What stands in the brackets: nothing, or `name = "…"`.
#[derive(Default)]
struct Arguments {
    name: Option<Name>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut arguments = Self::default();
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            if key != "name" {
                return Err(Error::new(
                    key.span(),
                    format!("unknown argument `{key}`; there is only `name = \"…\"`"),
                ));
            }
            if arguments.name.is_some() {
                return Err(Error::new(key.span(), "`name` is given twice"));
            }
            input.parse::<Token![=]>()?;
            let name: LitStr = input.parse()?;
            arguments.name = Some(Name::checked(name.value(), name.span())?);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(arguments: &str, block: &str) -> String {
        let arguments: TokenStream = arguments.parse().unwrap();
        let block = block.parse().unwrap();
        match registration(arguments, &block) {
            Ok(tokens) => tokens.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn a_class_bears_the_name_of_its_type() {
        let added = message("", "impl DurableObject for crate::a::Counter {}");
        assert!(
            added.contains(":: of :: < crate :: a :: Counter > (\"Counter\")"),
            "{added}"
        );
    }

    #[test]
    fn a_name_replaces_that_of_the_type() {
        let added = message("name = \"Room_2\",", "impl sdk::DurableObject for Chat {}");
        assert!(added.contains("< Chat > (\"Room_2\")"), "{added}");
    }

    #[test]
    fn handlers_in_the_block_are_told_to_the_host() {
        let with = message(
            "",
            "impl DurableObject for A { async fn alarm(&self, i: I) -> R {} }",
        );
        assert!(with.contains("(\"A\") . with_alarm ()"), "{with}");
        let without = message(
            "",
            "impl DurableObject for A { async fn fetch(&self) -> R {} }",
        );
        assert!(!without.contains("with_"), "{without}");
    }

    #[test]
    fn the_block_is_kept_beside_an_error() {
        let block: TokenStream = "impl Other for X {}".parse().unwrap();
        let text = expand(TokenStream::new(), block).to_string();
        assert!(text.starts_with("impl Other for X { }"), "{text}");
        assert!(text.contains("compile_error"), "{text}");
    }

    #[test]
    fn misuse_is_named() {
        let cases = [
            ("", "struct Counter;", "not on the struct"),
            ("", "enum Counter {}", "not on the enum"),
            ("", "fn counter() {}", "not on the function"),
            ("", "impl Counter {}", "not on an inherent `impl`"),
            (
                "",
                "impl Clone for Counter {}",
                "stands on an `impl DurableObject for",
            ),
            (
                "",
                "impl<T> DurableObject for Counter<T> {}",
                "cannot be generic",
            ),
            (
                "",
                "impl DurableObject for Counter<u8> {}",
                "with arguments",
            ),
            (
                "",
                "impl DurableObject for &'static Counter {}",
                "struct or enum",
            ),
            (
                "",
                "impl DurableObject for Zähler {}",
                "cannot name a class",
            ),
            (
                "nam = \"A\"",
                "impl DurableObject for A {}",
                "unknown argument `nam`",
            ),
            (
                "name = \"A\", name = \"B\"",
                "impl DurableObject for A {}",
                "given twice",
            ),
            (
                "name = \"9lives\"",
                "impl DurableObject for A {}",
                "`9lives` cannot name",
            ),
            (
                "name = 9",
                "impl DurableObject for A {}",
                "expected string literal",
            ),
        ];
        for (arguments, block, wanted) in cases {
            let found = message(arguments, block);
            assert!(
                found.starts_with("error: ") && found.contains(wanted),
                "{block}: {found}"
            );
        }
    }
}
