//! Call: methods of `#[object_api]`, as other objects call them.

use std::fmt;

use dormouse::event::{Body, Chunk, Fault, MethodAnswer, MethodCall};
use dormouse::host::AskError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::object::Object;
use crate::pending::Pending;

/// Why a call gave nothing back.
#[derive(Clone, Debug, PartialEq)]
pub enum CallError {
    /// The error that the method declares, as JSON, and in words.
    Declared(Json, String),
    /// The method failed; what it wrote stays.
    Failed(String),
    /// There is no such method, or the arguments do not fit it.
    Invalid(String),
    /// The instance ended while the call was in flight, or nobody could take it.
    Reset(String),
}

impl CallError {
    /// The error that the method declares.
    ///
    /// # Panics
    /// When it is another one.
    #[must_use]
    #[track_caller]
    pub fn declared<E: DeserializeOwned>(&self) -> E {
        let Self::Declared(value, _) = self else {
            panic!("the method declares another error than this: {self}");
        };
        let read = serde_json::from_value(value.clone());
        read.unwrap_or_else(|error| panic!("{error}; the method's error is {value}"))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Declared(_, words)
        | Self::Failed(words)
        | Self::Invalid(words)
        | Self::Reset(words)) = self;
        f.write_str(words)
    }
}

impl std::error::Error for CallError {}

impl Object {
    /// Calls a method of the class by its name, as a stub in another object does, and
    /// waits for what it gives back. `arguments` is a tuple, one element for each
    /// parameter, `()` for none: `bank.call::<i64>("transfer", ("bob", 200))`.
    ///
    /// # Panics
    /// When what the method gives back is no `T`, or does not come without moving the
    /// clock; see [`start_call`](Self::start_call).
    #[track_caller]
    pub fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        method: &str,
        arguments: impl Serialize,
    ) -> Result<T, CallError> {
        self.start_call(method, arguments).wait()
    }

    /// Calls a method, while the test goes on.
    ///
    /// # Panics
    /// When the arguments are no tuple of what JSON can hold.
    #[track_caller]
    pub fn start_call<T: DeserializeOwned + Send + 'static>(
        &self,
        method: &str,
        arguments: impl Serialize,
    ) -> Pending<Result<T, CallError>> {
        let what = format!("the call of {self}.{method}");
        let call = MethodCall {
            method: method.to_owned(),
            arguments: tuple(&what, arguments),
            body: Body::None,
        };
        let handle = self.host().handle();
        let (class, name) = (self.class().to_owned(), self.key());
        Pending::start(self.host(), what, async move {
            let answer = handle.call(&class, &name, call).await;
            match answer {
                Ok(answer) => value(answer).await.map(Ok),
                Err(AskError::Fault(fault)) => Ok(Err(failure(fault))),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

#[track_caller]
fn tuple(what: &str, arguments: impl Serialize) -> String {
    let json = serde_json::to_value(arguments);
    match json.unwrap_or_else(|error| panic!("{what}: the arguments: {error}")) {
        Json::Null => "[]".to_owned(),
        Json::Array(all) => Json::Array(all).to_string(),
        other => panic!("{what}: the arguments are no tuple: {other}; write `({other},)`"),
    }
}

/// A method gives back JSON or a body; a body is read as text.
async fn value<T: DeserializeOwned>(answer: MethodAnswer) -> Result<T, String> {
    let read = match answer.body {
        Body::None => serde_json::from_str(&answer.value),
        body => serde_json::from_value(whole(body).await?.into()),
    };
    read.map_err(|error| format!("{error}; it gave back {}", answer.value))
}

async fn whole(body: Body) -> Result<String, String> {
    let mut all = Vec::new();
    match body {
        Body::None => {}
        Body::Bytes(bytes) => all.extend_from_slice(&bytes),
        Body::Stream(mut chunks) => loop {
            match chunks.recv().await {
                Some(Chunk::Data(data)) => all.extend_from_slice(&data),
                Some(Chunk::End(Ok(()))) => break,
                Some(Chunk::End(Err(why))) => return Err(why),
                None => return Err("the writer of the body was reset".to_owned()),
            }
        },
    }
    String::from_utf8(all).map_err(|_| "the body it gave back is no text".to_owned())
}

fn failure(fault: Fault) -> CallError {
    match fault {
        Fault::Declared { value, message } => {
            let json = serde_json::from_str(&value);
            CallError::Declared(json.unwrap_or(Json::Null), message.to_string())
        }
        Fault::Guest(message) => CallError::Failed(message.to_string()),
        Fault::BadCall(message) => CallError::Invalid(message.to_string()),
        other => CallError::Reset(other.to_string()),
    }
}
