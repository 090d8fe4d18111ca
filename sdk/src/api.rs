//! Typed calls: what `#[object_api]` writes against, on both sides.
//!
//! A call is a method's name, a JSON array of its arguments and perhaps a body; its
//! answer a JSON value or a body. `wit/namespace.wit` says so to other languages.

use std::any::{Any, TypeId};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::dormouse::object::namespace as wit;
use crate::bindings::exports::dormouse::object::call_handler::CallError as Failure;
use crate::http::Body;
use crate::namespace::{CallError, Stub};
use crate::{Error, Result};

type Answering = Pin<Box<dyn Future<Output = Result<Answer, Failure>>>>;

/// The methods of a class, as the host calls them.
pub trait Methods: Sized + 'static {
    /// Runs one of them.
    fn dispatch(self: Rc<Self>, call: Call) -> Answering;
}

/// One entry of the component's list of classes with methods.
#[derive(Debug)]
pub struct Api {
    class: fn() -> TypeId,
    dispatch: fn(Rc<dyn Any>, Call) -> Answering,
}

inventory::collect!(Api);

impl Api {
    /// The methods of the type `O`.
    pub const fn of<O: Methods>() -> Self {
        Self {
            class: TypeId::of::<O>,
            dispatch: |object, call| {
                let object = object.downcast::<O>();
                object
                    .expect("the entry was found by its type")
                    .dispatch(call)
            },
        }
    }

    pub(crate) fn of_class(class: TypeId) -> Option<&'static Self> {
        inventory::iter::<Self>
            .into_iter()
            .find(|api| (api.class)() == class)
    }

    pub(crate) async fn call(
        &self,
        object: Rc<dyn Any>,
        call: Call,
    ) -> Result<wit::Answer, Failure> {
        let answer = (self.dispatch)(object, call).await?;
        Ok(wit::Answer {
            value: answer.value,
            body: answer.body.into_wit(),
        })
    }
}

/// A call on its way to a method.
#[derive(Debug)]
pub struct Call {
    method: String,
    arguments: String,
    body: Body,
}

impl Call {
    pub(crate) fn new(method: String, arguments: String, body: Body) -> Self {
        Self {
            method,
            arguments,
            body,
        }
    }

    /// The method's name.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The arguments of a method whose parameters have these names.
    pub fn arguments(self, names: &'static [&'static str]) -> Result<Arguments, Failure> {
        let method = self.method;
        let values: Vec<Value> = serde_json::from_str(&self.arguments).map_err(|error| {
            Failure::Invalid(format!(
                "the arguments of `{method}` are not a JSON array: {error}; send [{}]",
                names.join(", ")
            ))
        })?;
        if values.len() != names.len() {
            return Err(Failure::Invalid(format!(
                "`{method}` takes {} argument(s), not {}: [{}]",
                names.len(),
                values.len(),
                names.join(", ")
            )));
        }
        Ok(Arguments {
            method,
            values: values.into_iter().zip(names),
            body: self.body,
        })
    }

    /// There is no such method; these are there.
    pub fn unknown(self, methods: &[&str]) -> Failure {
        Failure::Invalid(format!(
            "there is no method `{}`; there is {}",
            self.method,
            methods.join(", ")
        ))
    }
}

/// The arguments of one call, taken in order.
#[derive(Debug)]
pub struct Arguments {
    method: String,
    values: std::iter::Zip<std::vec::IntoIter<Value>, std::slice::Iter<'static, &'static str>>,
    body: Body,
}

impl Arguments {
    /// The next one.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let (value, name) = self.values.next().expect("they were counted");
        serde_json::from_value(value).map_err(|error| {
            Failure::Invalid(format!(
                "the argument `{name}` of `{}` does not fit: {error}",
                self.method
            ))
        })
    }

    /// The argument that is a body.
    pub fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }
}

/// What a method gives back.
#[derive(Debug)]
pub struct Answer {
    value: String,
    body: Body,
}

impl Answer {
    /// A value.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, Failure> {
        let value = serde_json::to_string(value).map_err(|error| {
            Failure::Failed(format!("the result cannot be written as JSON: {error}"))
        })?;
        Ok(Self {
            value,
            body: Body::empty(),
        })
    }

    /// A body.
    pub fn of_body(body: Body) -> Self {
        Self {
            value: "null".to_owned(),
            body,
        }
    }
}

/// A method's failure in words: the whole chain of causes.
pub fn failed(error: impl Into<Error>) -> Failure {
    Failure::Failed(format!("{:#}", error.into()))
}

/// The error that a method declares.
pub fn declared<E: Serialize + Display>(error: &E) -> Failure {
    match serde_json::to_string(error) {
        Ok(value) => Failure::Declared((value, error.to_string())),
        Err(_) => Failure::Failed(error.to_string()),
    }
}

/// Calls a method that gives back a value. `arguments` is a tuple, or `[(); 0]`.
pub async fn call<T: DeserializeOwned>(
    stub: &Stub,
    method: &str,
    arguments: impl Serialize + Debug,
    body: Body,
) -> Result<T, CallError> {
    let answer = stub
        .call(method, to_json(method, &arguments)?, body)
        .await?;
    serde_json::from_str(&answer.value).map_err(|error| {
        CallError::unreadable(format!(
            "the result of `{method}` does not fit: {error}; was the other side built from \
             another version?"
        ))
    })
}

/// The same for one that gives back a body.
pub async fn call_for_body(
    stub: &Stub,
    method: &str,
    arguments: impl Serialize + Debug,
    body: Body,
) -> Result<Body, CallError> {
    let answer = stub
        .call(method, to_json(method, &arguments)?, body)
        .await?;
    Ok(Body::from_wit(answer.body))
}

fn to_json(method: &str, arguments: &impl Serialize) -> Result<String, CallError> {
    serde_json::to_string(arguments).map_err(|error| {
        CallError::unreadable(format!(
            "the arguments of `{method}` cannot be written as JSON: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(json: &str) -> Result<(i64, String), String> {
        let call = Call::new("add".to_owned(), json.to_owned(), Body::empty());
        let taken = call.arguments(&["by", "note"]).and_then(|mut arguments| {
            let by = arguments.take()?;
            Ok((by, arguments.take()?))
        });
        taken.map_err(|failure| match failure {
            Failure::Invalid(message) => message,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        assert_eq!(
            arguments("[9007199254740993, \"a\"]"),
            Ok((9_007_199_254_740_993, "a".to_owned()))
        );
        let cases = [
            (
                "2",
                "the arguments of `add` are not a JSON array: invalid type: integer `2`, expected a sequence at line 1 column 1; send [by, note]",
            ),
            ("[2]", "`add` takes 2 argument(s), not 1: [by, note]"),
            (
                "[\"2\", \"a\"]",
                "the argument `by` of `add` does not fit: invalid type: string \"2\", expected i64",
            ),
        ];
        for (json, wanted) in cases {
            assert_eq!(arguments(json).unwrap_err(), wanted);
        }
    }

    #[test]
    fn arguments_travel_as_an_array() {
        assert_eq!(to_json("m", &(1, "a")).unwrap(), "[1,\"a\"]");
        assert_eq!(to_json("m", &(1,)).unwrap(), "[1]");
        assert_eq!(to_json("m", &[(); 0]).unwrap(), "[]");
    }
}
