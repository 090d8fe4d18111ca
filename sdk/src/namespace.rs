//! Other objects: [`Namespace`], [`Stub`] and what can go wrong with a call.
//!
//! A binding leads to a namespace, a name or an id to one object in it, a stub to
//! that object. None of this asks anybody; the first call wakes the object.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, ready};

use serde::de::DeserializeOwned;

use crate::bindings::dormouse::object::namespace as wit;
use crate::http::{Request, Response};
use crate::object::ObjectId;
use crate::{Error, Result};

/// What a namespace can be opened for: a class with
/// [`#[object_api]`](macro@crate::object_api), the stub that the attribute makes, or
/// plain [`Stub`].
pub trait Callee {
    /// What its namespaces hand out.
    type Stub: From<Stub>;
}

impl Callee for Stub {
    type Stub = Self;
}

/// The objects of one class, opened by [`Env::namespace`](crate::Env::namespace).
pub struct Namespace<C> {
    namespace: Rc<wit::Namespace>,
    class: PhantomData<fn() -> C>,
}

impl<C: Callee> Namespace<C> {
    pub(crate) fn open(binding: &str) -> Result<Self, CallError> {
        Ok(Self {
            namespace: Rc::new(wit::Namespace::open(binding)?),
            class: PhantomData,
        })
    }

    /// The object with this name.
    pub fn get_by_name(&self, name: &str) -> C::Stub {
        Stub::new(self.namespace.get_by_name(name)).into()
    }

    /// The object with this id; an error if the id belongs to another namespace.
    pub fn get(&self, id: &ObjectId) -> Result<C::Stub, CallError> {
        let stub = self.namespace.get(&id.clone().into())?;
        Ok(Stub::new(stub).into())
    }

    /// The id that belongs to a name: always the same.
    pub fn id_from_name(&self, name: &str) -> ObjectId {
        self.namespace.id_from_name(name).into()
    }

    /// An id that no other object has.
    pub fn new_unique_id(&self) -> ObjectId {
        self.namespace.new_unique_id().into()
    }

    /// Reads the 64 hexadecimal digits of an id of this namespace.
    pub fn id_from_string(&self, text: &str) -> Result<ObjectId, CallError> {
        Ok(self.namespace.id_from_string(text)?.into())
    }
}

impl<C> Clone for Namespace<C> {
    fn clone(&self) -> Self {
        Self {
            namespace: self.namespace.clone(),
            class: PhantomData,
        }
    }
}

impl<C> fmt::Debug for Namespace<C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Namespace")
    }
}

/// One object, as its callers see it. Cheap to clone.
///
/// A call starts when its future is first polled, and leaves the object with the
/// commits of the turn it was made in: if that turn is undone, the call was never
/// made. Calls that one event makes to one object arrive in the order they started.
/// While a call waits, other events of the caller run. Dropping the future gives up
/// the answer; the call itself goes on.
#[derive(Clone)]
pub struct Stub(Rc<wit::Stub>);

impl Stub {
    fn new(stub: wit::Stub) -> Self {
        Self(Rc::new(stub))
    }

    /// Which object it leads to.
    pub fn id(&self) -> ObjectId {
        self.0.id().into()
    }

    /// Hands the object a request. Bodies flow both ways while the call goes on.
    ///
    /// A request that came with a wish for a WebSocket may be passed on with it; the
    /// socket then belongs to the object that takes it, and its response (status 101)
    /// is to be answered as it is.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # async fn handler(env: &Env) -> Result<()> {
    /// let rooms = env.namespace::<Stub>("ROOMS")?;
    /// let response = rooms.get_by_name("lobby").fetch(Request::get("/members")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch(&self, request: Request) -> Result<Response> {
        let (stub, request) = (self.0.clone(), request.into_wit()?);
        let response = Kept::new(async move { stub.fetch(request).await }).await;
        Response::from_wit(response.map_err(CallError::from)?)
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        arguments: String,
        body: crate::http::Body,
    ) -> Result<wit::Answer, CallError> {
        let (stub, method) = (self.0.clone(), method.to_owned());
        let body = body.into_wit();
        let call = async move { stub.call(method, arguments, body).await };
        Ok(Kept::new(call).await?)
    }
}

/// A call that goes on when nobody waits for it any more. To cancel it would make the
/// component wait in the middle of its code, which would end the turn there.
struct Kept<F: Future + 'static>(Option<Pin<Box<F>>>);

impl<F: Future + 'static> Kept<F> {
    fn new(call: F) -> Self {
        Self(Some(Box::pin(call)))
    }
}

impl<F: Future + 'static> Future for Kept<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let call = self.0.as_mut().expect("it is not polled after its end");
        let output = ready!(call.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future + 'static> Drop for Kept<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            wit_bindgen::spawn_local(async { drop(call.await) });
        }
    }
}

impl fmt::Debug for Stub {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Stub")
    }
}

/// What went wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// The callee's code answered with an error. What it wrote before stays.
    Failed,
    /// The callee was reset during the call, which may have been done.
    Reset,
    /// Too many events wait for the callee; nothing was called.
    Overloaded,
    /// The host cannot wake the callee, or is going down; nothing was called.
    Unavailable,
    /// The call would come back into an object that waits for it; nothing was called.
    Reentrant,
    /// The chain of calls is longer than `limits.call_depth`; nothing was called.
    TooDeep,
    /// No such binding, id or method, or values that do not fit.
    Invalid,
}

impl From<wit::ErrorKind> for CallErrorKind {
    fn from(kind: wit::ErrorKind) -> Self {
        match kind {
            wit::ErrorKind::Failed => Self::Failed,
            wit::ErrorKind::Reset => Self::Reset,
            wit::ErrorKind::Overloaded => Self::Overloaded,
            wit::ErrorKind::Unavailable => Self::Unavailable,
            wit::ErrorKind::Reentrant => Self::Reentrant,
            wit::ErrorKind::TooDeep => Self::TooDeep,
            wit::ErrorKind::Invalid => Self::Invalid,
        }
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug)]
pub struct CallError {
    kind: CallErrorKind,
    message: String,
    retryable: bool,
    value: Option<String>,
}

impl CallError {
    /// What went wrong, to act on.
    pub fn kind(&self) -> CallErrorKind {
        self.kind
    }

    /// Whether the same call may succeed when it is made again. After a reset it may
    /// have been done already; let it be one that may be done twice.
    pub fn retryable(&self) -> bool {
        self.retryable
    }

    /// Too many events wait for the object.
    pub fn overloaded(&self) -> bool {
        self.kind == CallErrorKind::Overloaded
    }

    /// The object was reset during the call.
    pub fn reset(&self) -> bool {
        self.kind == CallErrorKind::Reset
    }

    /// A call that was answered in a way it cannot be.
    pub(crate) fn unreadable(message: String) -> Self {
        Self {
            kind: CallErrorKind::Invalid,
            message,
            retryable: false,
            value: None,
        }
    }

    pub(crate) fn declared(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

impl From<wit::Error> for CallError {
    fn from(error: wit::Error) -> Self {
        Self {
            kind: error.kind.into(),
            message: error.message,
            retryable: error.retryable,
            value: error.value,
        }
    }
}

/// Why a method that declares an error type has no result.
#[derive(Clone, Debug)]
pub enum MethodError<E> {
    /// The error that the method answered.
    Declared(E),
    /// Anything else.
    Call(CallError),
}

impl<E: DeserializeOwned> From<CallError> for MethodError<E> {
    fn from(error: CallError) -> Self {
        match error.declared().map(serde_json::from_str) {
            Some(Ok(declared)) => Self::Declared(declared),
            _ => Self::Call(error),
        }
    }
}

impl<E: fmt::Display> fmt::Display for MethodError<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared(error) => error.fmt(out),
            Self::Call(error) => error.fmt(out),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for MethodError<E> {}

/// The error of a handler that ends because of a call.
pub(crate) fn context(binding: &str, error: CallError) -> Error {
    Error::from(error).context(format!("the binding `{binding}` cannot be opened"))
}
