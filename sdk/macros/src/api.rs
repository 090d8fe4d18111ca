//! What `#[object_api]` adds: the stub that calls a class's methods, and the part of
//! the class that answers.
//!
//! Pure functions over tokens. A mistake becomes a compile error at the tokens at
//! fault; the item itself is always kept.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, ImplItem, Item, ItemImpl, ItemTrait, Pat, Path,
    PathArguments, Result, ReturnType, Signature, TraitItem, Type, Visibility,
};

const USAGE: &str = "`#[object_api]` stands on an `impl` block of a class, on a trait, or on the \
                     `impl` of such a trait";
/// As many as a tuple that serde writes.
const MOST_ARGUMENTS: usize = 12;

/// The item, followed by what is added or by what is wrong with it.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let added = addition(&arguments, &item).unwrap_or_else(Error::into_compile_error);
    let allowed = is_trait(&item).then(|| quote!(#[allow(async_fn_in_trait)]));
    quote!(#allowed #item #added)
}

fn is_trait(item: &TokenStream) -> bool {
    matches!(syn::parse2(item.clone()), Ok(Item::Trait(_)))
}

fn addition(arguments: &TokenStream, item: &TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new(
            arguments.span(),
            "`#[object_api]` takes no arguments",
        ));
    }
    match syn::parse2(item.clone())? {
        Item::Impl(block) => of_block(&block),
        Item::Trait(item) => of_trait(&item),
        other => Err(Error::new(other.span(), USAGE)),
    }
}

fn of_block(block: &ItemImpl) -> Result<TokenStream> {
    if !block.generics.params.is_empty() {
        return Err(Error::new(
            block.generics.params.span(),
            "a class cannot be generic: the host makes objects by name alone",
        ));
    }
    let ty = &*block.self_ty;
    let Type::Path(path) = ty else {
        return Err(Error::new(ty.span(), USAGE));
    };
    let of_trait = block.trait_.as_ref().map(|(_, path, _)| path);
    if of_trait.is_some_and(|path| last(path) == "DurableObject") {
        return Err(Error::new(
            of_trait.span(),
            "the methods of `DurableObject` are called by the host; write those that objects \
             call into an `impl` block of their own",
        ));
    }
    let functions = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(function),
        _ => None,
    });
    let methods = functions
        .filter(|function| of_trait.is_some() || matches!(function.vis, Visibility::Public(_)))
        .map(|function| Method::of(&function.attrs, &function.sig))
        .collect::<Result<Vec<_>>>()?;
    let dispatch = dispatch(ty, &methods, of_trait);
    let (stub, stub_path) = match of_trait {
        Some(of) => (None, stub_beside(of)),
        None => {
            let name = stub_name(&last(&path.path));
            let vis = quote!(pub);
            (
                Some(stub(&vis, &name, &last(&path.path), &methods)),
                name.into(),
            )
        }
    };
    Ok(quote! {
        #stub
        #dispatch
        impl ::dormouse_sdk::__private::Callee for #ty {
            type Stub = #stub_path;
        }
    })
}

fn of_trait(item: &ItemTrait) -> Result<TokenStream> {
    if !item.generics.params.is_empty() {
        return Err(Error::new(
            item.generics.params.span(),
            "a trait of calls cannot be generic: a call says no types",
        ));
    }
    let functions = item.items.iter().filter_map(|item| match item {
        TraitItem::Fn(function) => Some(function),
        _ => None,
    });
    let methods = functions
        .map(|function| Method::of(&function.attrs, &function.sig))
        .collect::<Result<Vec<_>>>()?;
    let vis = &item.vis;
    Ok(stub(
        &quote!(#vis),
        &stub_name(&item.ident),
        &item.ident,
        &methods,
    ))
}

fn last(path: &Path) -> Ident {
    path.segments
        .last()
        .expect("a path has a segment")
        .ident
        .clone()
}

fn stub_name(of: &Ident) -> Ident {
    format_ident!("{}Stub", of.unraw(), span = of.span())
}

/// The stub of a trait stands beside it.
fn stub_beside(of: &Path) -> Path {
    let mut path = of.clone();
    let last = path.segments.last_mut().expect("a path has a segment");
    last.ident = stub_name(&last.ident);
    path
}

/// A method that can be called.
struct Method {
    docs: Vec<Attribute>,
    name: Ident,
    is_async: bool,
    parameters: Vec<(Ident, Type)>,
    gives: Gives,
}

/// What a method gives back, as it is written.
enum Gives {
    Plain(Box<Type>),
    /// `Result<T>`, with the error of the SDK.
    Fallible(Box<Type>),
    /// `Result<T, E>`: the error travels.
    Declaring(Box<Type>, Box<Type>),
}

impl Method {
    fn of(attributes: &[Attribute], signature: &Signature) -> Result<Self> {
        let mut inputs = signature.inputs.iter();
        match inputs.next() {
            Some(FnArg::Receiver(this))
                if this.reference.is_some() && this.mutability.is_none() => {}
            _ => {
                return Err(Error::new(
                    signature.span(),
                    "a method that can be called takes `&self`; make helpers private, or write \
                     them into another `impl` block",
                ));
            }
        }
        if !signature.generics.params.is_empty() {
            return Err(Error::new(
                signature.generics.params.span(),
                "a method that can be called is not generic: a call says no types",
            ));
        }
        let parameters = inputs.map(parameter).collect::<Result<Vec<_>>>()?;
        let values = parameters.iter().filter(|(_, ty)| !is_body(ty)).count();
        if values > MOST_ARGUMENTS || parameters.len() > values + 1 {
            return Err(Error::new(
                signature.inputs.span(),
                format!(
                    "a call has at most {MOST_ARGUMENTS} arguments and one `Body`; put some \
                     into a struct"
                ),
            ));
        }
        let is_doc = |attribute: &&Attribute| attribute.path().is_ident("doc");
        Ok(Self {
            docs: attributes.iter().filter(is_doc).cloned().collect(),
            name: signature.ident.clone(),
            is_async: signature.asyncness.is_some(),
            parameters,
            gives: gives(&signature.output)?,
        })
    }

    fn text(&self) -> String {
        self.name.unraw().to_string()
    }

    /// Names of the arguments that travel as JSON.
    fn values(&self) -> Vec<&Ident> {
        let values = self.parameters.iter().filter(|(_, ty)| !is_body(ty));
        values.map(|(name, _)| name).collect()
    }
}

fn parameter(input: &FnArg) -> Result<(Ident, Type)> {
    let FnArg::Typed(typed) = input else {
        return Err(Error::new(input.span(), "`self` comes first"));
    };
    let Pat::Ident(name) = &*typed.pat else {
        return Err(Error::new(
            typed.pat.span(),
            "give the argument a name: it stands in error messages",
        ));
    };
    owned(&typed.ty)?;
    Ok((name.ident.clone(), (*typed.ty).clone()))
}

fn owned(ty: &Type) -> Result<()> {
    match ty {
        Type::Reference(_) => Err(Error::new(
            ty.span(),
            "values travel between objects, references do not; write an owned type such as \
             `String` or `Vec<u8>`",
        )),
        Type::ImplTrait(_) => Err(Error::new(
            ty.span(),
            "a call needs a type that both sides know; name it",
        )),
        _ => Ok(()),
    }
}

fn gives(output: &ReturnType) -> Result<Gives> {
    let ReturnType::Type(_, ty) = output else {
        return Ok(Gives::Plain(Box::new(syn::parse_quote!(()))));
    };
    owned(ty)?;
    let Some(arguments) = result_arguments(ty) else {
        return Ok(Gives::Plain(ty.clone()));
    };
    match arguments.as_slice() {
        [value] => Ok(Gives::Fallible(Box::new(value.clone()))),
        [value, error] => Ok(Gives::Declaring(
            Box::new(value.clone()),
            Box::new(error.clone()),
        )),
        _ => Err(Error::new(
            ty.span(),
            "write the result as `Result<T>` or `Result<T, E>`",
        )),
    }
}

fn result_arguments(ty: &Type) -> Option<Vec<Type>> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if last.ident != "Result" {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return Some(Vec::new());
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    Some(types.collect())
}

/// A body travels beside the JSON.
fn is_body(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Body"))
}

fn stub(vis: &TokenStream, name: &Ident, of: &Ident, methods: &[Method]) -> TokenStream {
    let calls = methods.iter().map(|method| caller(vis, method));
    let about = format!("Calls the methods of `{of}` in an object.");
    quote! {
        #[doc = #about]
        #[derive(Clone, Debug)]
        #vis struct #name(::dormouse_sdk::Stub);

        #[allow(private_interfaces, clippy::all)]
        impl #name {
            #(#calls)*
        }

        impl ::core::convert::From<::dormouse_sdk::Stub> for #name {
            fn from(stub: ::dormouse_sdk::Stub) -> Self {
                Self(stub)
            }
        }

        impl ::core::ops::Deref for #name {
            type Target = ::dormouse_sdk::Stub;

            fn deref(&self) -> &::dormouse_sdk::Stub {
                &self.0
            }
        }

        impl ::dormouse_sdk::__private::Callee for #name {
            type Stub = Self;
        }
    }
}

fn caller(vis: &TokenStream, method: &Method) -> TokenStream {
    let (docs, name, text) = (&method.docs, &method.name, method.text());
    let parameters = method
        .parameters
        .iter()
        .map(|(name, ty)| quote!(#name: #ty));
    let values = method.values();
    let arguments = match values.as_slice() {
        [] => quote!([(); 0]),
        values => quote!((#(#values,)*)),
    };
    let body = method.parameters.iter().find(|(_, ty)| is_body(ty));
    let body = match body {
        Some((name, _)) => quote!(#name),
        None => quote!(::dormouse_sdk::http::Body::empty()),
    };
    let (value, error) = match &method.gives {
        Gives::Plain(value) | Gives::Fallible(value) => (value, quote!(::dormouse_sdk::CallError)),
        Gives::Declaring(value, error) => (value, quote!(::dormouse_sdk::MethodError<#error>)),
    };
    let function = if is_body(value) {
        quote!(call_for_body)
    } else {
        quote!(call)
    };
    quote_spanned! {name.span()=>
        #(#docs)*
        #vis async fn #name(
            &self,
            #(#parameters),*
        ) -> ::core::result::Result<#value, #error> {
            let answer = ::dormouse_sdk::__private::#function(&self.0, #text, #arguments, #body);
            ::core::result::Result::Ok(answer.await?)
        }
    }
}

fn dispatch(ty: &Type, methods: &[Method], of_trait: Option<&Path>) -> TokenStream {
    let arms = methods.iter().map(|method| arm(ty, method, of_trait));
    let names = methods.iter().map(Method::text);
    quote! {
        const _: () = {
            impl ::dormouse_sdk::__private::Methods for #ty {
                fn dispatch(
                    self: ::std::rc::Rc<Self>,
                    call: ::dormouse_sdk::__private::Call,
                ) -> ::core::pin::Pin<::std::boxed::Box<dyn ::core::future::Future<
                    Output = ::core::result::Result<
                        ::dormouse_sdk::__private::Answer,
                        ::dormouse_sdk::__private::Failure,
                    >,
                >>> {
                    ::std::boxed::Box::pin(async move {
                        match call.method() {
                            #(#arms)*
                            _ => ::core::result::Result::Err(call.unknown(&[#(#names),*])),
                        }
                    })
                }
            }

            ::dormouse_sdk::__private::inventory::submit! {
                ::dormouse_sdk::__private::Api::of::<#ty>()
            }
        };
    }
}

fn arm(ty: &Type, method: &Method, of_trait: Option<&Path>) -> TokenStream {
    let (name, text) = (&method.name, method.text());
    let values = method.values();
    let names = values.iter().map(|name| name.unraw().to_string());
    // Names of our own: those of the author could hide ours.
    let takes = method.parameters.iter().enumerate().map(|(nth, (_, ty))| {
        let place = format_ident!("argument_{nth}");
        if is_body(ty) {
            quote!(let #place = arguments.take_body();)
        } else {
            quote!(let #place: #ty = arguments.take()?;)
        }
    });
    let places = (0..method.parameters.len()).map(|nth| format_ident!("argument_{nth}"));
    let path = match of_trait {
        Some(of) => quote!(<#ty as #of>::#name),
        None => quote!(<#ty>::#name),
    };
    let wait = method.is_async.then(|| quote!(.await));
    let returned = quote!(#path(&*self, #(#places),*) #wait);
    let answer = |value: &Type, given: TokenStream| {
        if is_body(value) {
            quote!(::core::result::Result::Ok(::dormouse_sdk::__private::Answer::of_body(#given)))
        } else {
            quote!(::dormouse_sdk::__private::Answer::of(&#given))
        }
    };
    let answered = match &method.gives {
        Gives::Plain(value) => answer(value, returned),
        Gives::Fallible(value) => {
            let failed = quote!(#returned.map_err(::dormouse_sdk::__private::failed)?);
            answer(value, failed)
        }
        Gives::Declaring(value, _) => {
            let failed =
                quote!(#returned.map_err(|error| ::dormouse_sdk::__private::declared(&error))?);
            answer(value, failed)
        }
    };
    quote! {
        #text => {
            #[allow(unused_mut, unused_variables)]
            let mut arguments = call.arguments(&[#(#names),*])?;
            #(#takes)*
            #answered
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(item: &str) -> String {
        match addition(&TokenStream::new(), &item.parse().unwrap()) {
            Ok(tokens) => tokens.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn public_methods_become_calls() {
        let added = message(
            "impl Counter { pub async fn increment(&self, by: i64) -> Result<i64> { helper() }
             fn helper(&mut self) {} }",
        );
        let wanted = "async fn increment (& self , by : i64) -> \
                      :: core :: result :: Result < i64 , :: dormouse_sdk :: CallError >";
        assert!(added.contains(wanted), "{added}");
        assert!(added.contains("pub struct CounterStub"), "{added}");
        assert!(!added.contains("helper"), "{added}");
    }

    #[test]
    fn an_impl_of_a_trait_uses_the_stub_beside_the_trait() {
        let added = message("impl shared::Account for Bank { async fn name(&self) -> String {} }");
        assert!(
            added.contains("type Stub = shared :: AccountStub"),
            "{added}"
        );
        assert!(!added.contains("struct"), "{added}");
    }

    #[test]
    fn misuse_is_named() {
        let cases = [
            ("struct A;", "stands on an `impl` block"),
            ("impl<T> A<T> {}", "cannot be generic"),
            ("impl DurableObject for A {}", "called by the host"),
            ("impl A { pub fn f(&mut self) {} }", "takes `&self`"),
            ("impl A { pub fn f() {} }", "takes `&self`"),
            ("impl A { pub fn f<T>(&self, t: T) {} }", "is not generic"),
            (
                "impl A { pub fn f(&self, t: &str) {} }",
                "references do not",
            ),
            ("impl A { pub fn f(&self) -> impl X {} }", "name it"),
            ("impl A { pub fn f(&self, (a, b): (u8, u8)) {} }", "a name"),
            (
                "impl A { pub fn f(&self, a: Body, b: Body) {} }",
                "one `Body`",
            ),
            ("impl A { pub fn f(&self) -> io::Result {} }", "`Result<T>`"),
        ];
        for (item, wanted) in cases {
            let found = message(item);
            assert!(
                found.starts_with("error: ") && found.contains(wanted),
                "{item}: {found}"
            );
        }
    }
}
