//! Arguments of one call to a built-in class, taken in order.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::event::{Body, Fault, MethodAnswer, MethodCall};

pub(super) struct Arguments {
    pub(super) method: String,
    values: std::vec::IntoIter<Json>,
    /// How the method is called, for messages.
    shape: &'static str,
    pub(super) body: Body,
}

impl Arguments {
    pub(super) fn of(call: MethodCall, shape: &'static str) -> Result<Self, Fault> {
        let values: Result<Vec<Json>, _> = serde_json::from_str(&call.arguments);
        let values = values.map_err(|error| {
            bad(format!(
                "the arguments of `{}` are not a JSON array: {error}; send {shape}",
                call.method
            ))
        })?;
        Ok(Self {
            method: call.method,
            values: values.into_iter(),
            shape,
            body: call.body,
        })
    }

    /// The next one, which must be there.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Fault> {
        let Some(value) = self.values.next() else {
            return Err(bad(format!(
                "`{}` lacks the argument `{name}`; send {}",
                self.method, self.shape
            )));
        };
        self.fit(name, value)
    }

    /// The next one, or what stands for none.
    pub(super) fn take_or_default<T: DeserializeOwned + Default>(
        &mut self,
        name: &str,
    ) -> Result<T, Fault> {
        match self.values.next() {
            None | Some(Json::Null) => Ok(T::default()),
            Some(value) => self.fit(name, value),
        }
    }

    /// There are no more.
    pub(super) fn end(mut self) -> Result<(), Fault> {
        match self.values.next() {
            None => Ok(()),
            Some(_) => Err(bad(format!(
                "`{}` has too many arguments; send {}",
                self.method, self.shape
            ))),
        }
    }

    fn fit<T: DeserializeOwned>(&self, name: &str, value: Json) -> Result<T, Fault> {
        serde_json::from_value(value).map_err(|error| {
            bad(format!(
                "the argument `{name}` of `{}` does not fit: {error}; send {}",
                self.method, self.shape
            ))
        })
    }
}

pub(super) fn bad(message: String) -> Fault {
    Fault::BadCall(message.into())
}

pub(super) fn answer(value: &impl Serialize) -> MethodAnswer {
    MethodAnswer {
        value: serde_json::to_string(value).expect("plain data can be written as JSON"),
        body: Body::None,
    }
}
