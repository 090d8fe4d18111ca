//! What the component exports: the classes it holds, and the one object that
//! its instance is.
//!
//! Called by the host through `bindings`; the only place that knows which
//! object lives here. Invariant: `construct` succeeds at most once, before any
//! event. Source: `wit/object.wit`.

use std::any::{Any, TypeId};
use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use crate::api::{Api, Call};
use crate::bindings::dormouse::object::namespace::Answer;
use crate::bindings::dormouse::object::types as wit;
use crate::bindings::dormouse::object::websocket as wit_socket;
use crate::bindings::exports::dormouse::object::alarm_handler;
use crate::bindings::exports::dormouse::object::call_handler;
use crate::bindings::exports::dormouse::object::object as exports;
use crate::bindings::exports::dormouse::object::websocket_handler;
use crate::http::{Body, Request, Response};
use crate::websocket::{Message, WebSocket};
use crate::{AlarmInfo, DurableObject, Env, Error, Result, State, gate, logging};

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

type Object = Rc<dyn Events>;

/// One entry of the component's list of classes, made by `#[durable_object]`.
#[derive(Debug)]
pub struct Class {
    name: &'static str,
    of: fn() -> TypeId,
    construct: fn(State, Env) -> LocalFuture<'static, Result<Object>>,
    alarm: bool,
    websocket: bool,
}

inventory::collect!(Class);

impl Class {
    /// The class that makes objects of the type `O`.
    pub const fn of<O: DurableObject>(name: &'static str) -> Self {
        Self {
            name,
            of: TypeId::of::<O>,
            construct: |state, env| {
                Box::pin(async { Ok(Rc::new(O::new(state, env).await?) as Object) })
            },
            alarm: false,
            websocket: false,
        }
    }

    /// The class overrides the handler for alarms.
    #[must_use]
    pub const fn with_alarm(mut self) -> Self {
        self.alarm = true;
        self
    }

    /// The class overrides a handler for WebSockets.
    #[must_use]
    pub const fn with_websocket(mut self) -> Self {
        self.websocket = true;
        self
    }

    fn handlers(&self) -> exports::Handlers {
        let mut handlers = exports::Handlers::empty();
        handlers.set(exports::Handlers::ALARM, self.alarm);
        handlers.set(exports::Handlers::WEBSOCKET, self.websocket);
        let methods = Api::of_class((self.of)());
        handlers.set(exports::Handlers::CALL, methods.is_some());
        handlers
    }

    /// All classes, by name. Two of one name would make which one serves an
    /// accident of linking, so that is refused.
    fn all() -> Vec<&'static Self> {
        let mut classes: Vec<_> = inventory::iter::<Self>.into_iter().collect();
        classes.sort_unstable_by_key(|class| class.name);
        for pair in classes.windows(2) {
            assert_ne!(
                pair[0].name, pair[1].name,
                "two classes bear this name; give one of them another: \
                 `#[durable_object(name = \"…\")]`"
            );
        }
        classes
    }

    /// The name of the class that a type is, if it is one.
    pub(crate) fn name_of(of: TypeId) -> Option<&'static str> {
        let class = inventory::iter::<Self>
            .into_iter()
            .find(|class| (class.of)() == of);
        class.map(|class| class.name)
    }

    fn named(name: &str) -> Option<&'static Self> {
        Self::all().into_iter().find(|class| class.name == name)
    }
}

/// `DurableObject` as the exports need it: without its type.
trait Events {
    fn fetch(&self, request: Request) -> LocalFuture<'_, Result<Response>>;
    fn alarm(&self, info: AlarmInfo) -> LocalFuture<'_, Result<()>>;
    fn message(&self, socket: WebSocket, message: Message) -> LocalFuture<'_, Result<()>>;
    fn close(&self, socket: WebSocket, end: Close) -> LocalFuture<'_, Result<()>>;
    fn error(&self, socket: WebSocket, error: String) -> LocalFuture<'_, Result<()>>;
    fn as_any(self: Rc<Self>) -> Rc<dyn Any>;
}

/// How a socket was closed.
struct Close {
    code: u16,
    reason: String,
    was_clean: bool,
}

impl<O: DurableObject> Events for O {
    fn fetch(&self, request: Request) -> LocalFuture<'_, Result<Response>> {
        Box::pin(DurableObject::fetch(self, request))
    }

    fn alarm(&self, info: AlarmInfo) -> LocalFuture<'_, Result<()>> {
        Box::pin(DurableObject::alarm(self, info))
    }

    fn message(&self, socket: WebSocket, message: Message) -> LocalFuture<'_, Result<()>> {
        Box::pin(self.websocket_message(socket, message))
    }

    fn close(&self, socket: WebSocket, end: Close) -> LocalFuture<'_, Result<()>> {
        Box::pin(self.websocket_close(socket, end.code, end.reason, end.was_clean))
    }

    fn error(&self, socket: WebSocket, error: String) -> LocalFuture<'_, Result<()>> {
        Box::pin(self.websocket_error(socket, error))
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

thread_local! {
    static OBJECT: OnceCell<Object> = const { OnceCell::new() };
}

fn object() -> Object {
    OBJECT
        .with(|object| object.get().cloned())
        .expect("the host constructs before it delivers")
}

/// The implementation of the exported interface.
pub(crate) struct Component;

impl exports::Guest for Component {
    fn classes() -> Vec<exports::Class> {
        Class::all()
            .into_iter()
            .map(|class| exports::Class {
                name: class.name.to_owned(),
                handlers: class.handlers(),
            })
            .collect()
    }

    async fn construct(class: String, id: wit::ObjectId) -> Result<(), wit::Failure> {
        logging::install();
        gate::event(construct(&class, id)).await.map_err(failure)
    }

    async fn fetch(request: wit::Request) -> Result<wit::Response, wit::Failure> {
        gate::event(fetch(request)).await.map_err(failure)
    }
}

impl alarm_handler::Guest for Component {
    async fn alarm(info: alarm_handler::Info) -> Result<(), wit::Failure> {
        let object = object();
        let handled = gate::event(object.alarm(info.into()));
        handled.await.map_err(failure)
    }
}

impl call_handler::Guest for Component {
    async fn call(
        method: String,
        arguments: String,
        body: wit::Body,
    ) -> Result<Answer, call_handler::CallError> {
        let object = object().as_any();
        let call = Call::new(method, arguments, Body::from_wit(body));
        match Api::of_class((*object).type_id()) {
            Some(api) => gate::event(api.call(object, call)).await,
            None => Err(call.unknown(&[])),
        }
    }
}

impl websocket_handler::Guest for Component {
    async fn on_message(
        socket: wit_socket::Socket,
        message: wit_socket::Message,
    ) -> Result<(), wit::Failure> {
        let socket = WebSocket::from_wit(socket);
        let object = object();
        let handled = gate::event(object.message(socket, message.into()));
        handled.await.map_err(failure)
    }

    async fn on_close(
        socket: wit_socket::Socket,
        code: u16,
        reason: String,
        was_clean: bool,
    ) -> Result<(), wit::Failure> {
        let end = Close {
            code,
            reason,
            was_clean,
        };
        let object = object();
        let handled = gate::event(object.close(WebSocket::from_wit(socket), end));
        handled.await.map_err(failure)
    }

    async fn on_error(socket: wit_socket::Socket, message: String) -> Result<(), wit::Failure> {
        let object = object();
        let handled = gate::event(object.error(WebSocket::from_wit(socket), message));
        handled.await.map_err(failure)
    }
}

async fn construct(class: &str, id: wit::ObjectId) -> Result<()> {
    let Some(class) = Class::named(class) else {
        let names: Vec<_> = Class::all().iter().map(|class| class.name).collect();
        anyhow::bail!("this component has no class `{class}`; it has {names:?}");
    };
    let object = (class.construct)(State::new(id.into()), Env::new()).await?;
    let first = OBJECT.with(|slot| slot.set(object)).is_ok();
    anyhow::ensure!(first, "this instance is an object already");
    Ok(())
}

async fn fetch(request: wit::Request) -> Result<wit::Response> {
    let request = Request::from_wit(request)?;
    object().fetch(request).await?.into_wit()
}

/// The whole chain of causes: it is all the host's log will ever see.
pub(crate) fn failure(error: Error) -> wit::Failure {
    wit::Failure {
        message: format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{self, Poll, Waker};

    use super::exports::Guest as _;
    use super::*;
    use crate::http::StatusCode;
    use crate::prelude::*;

    struct Plain;

    #[durable_object]
    impl DurableObject for Plain {
        async fn new(_state: State, _env: Env) -> Result<Self> {
            Ok(Self)
        }
    }

    struct Named(String);

    #[durable_object(name = "Other_1")]
    impl DurableObject for Named {
        async fn new(state: State, env: Env) -> Result<Self> {
            let name = state.id().name().context("no name")?;
            ensure!(name != "bad", "told to fail");
            ensure!(
                name != "var" || env.var("DORMOUSE_NOT_SET").is_ok(),
                "no variable"
            );
            Ok(Self(name.to_owned()))
        }

        async fn fetch(&self, request: Request) -> Result<Response> {
            ensure!(request.path() != "/fail", "told to fail");
            Ok(Response::text(self.0.as_str()))
        }

        async fn alarm(&self, info: AlarmInfo) -> Result<()> {
            ensure!(info.retry_count > 0, "the first try fails");
            Ok(())
        }
    }

    /// Nothing here waits.
    fn now<T>(work: impl Future<Output = T>) -> T {
        match pin!(work).poll(&mut task::Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn construct_now(class: &str, name: &str) -> Result<(), String> {
        let id = wit::ObjectId {
            hex: "ab".repeat(32),
            name: Some(name.to_owned()),
        };
        now(construct(class, id)).map_err(|error| failure(error).message)
    }

    fn fetch_now(url: &str) -> Result<(u16, wit::Body), String> {
        let request = wit::Request {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: wit::Body::None,
            upgrade: None,
        };
        let answer = now(Component::fetch(request)).map_err(|failure| failure.message)?;
        Ok((answer.status, answer.body))
    }

    #[test]
    fn classes_register_themselves() {
        let classes: Vec<_> = Component::classes()
            .into_iter()
            .map(|class| (class.name, class.handlers))
            .collect();
        let wanted = [
            ("Other_1".to_owned(), exports::Handlers::ALARM),
            ("Plain".to_owned(), exports::Handlers::empty()),
        ];
        assert_eq!(classes, wanted);
    }

    #[test]
    fn an_object_answers_after_it_was_made() {
        construct_now("Other_1", "ada").unwrap();
        let (status, body) = fetch_now("http://a.test/").unwrap();
        assert_eq!(status, 200);
        assert!(matches!(body, wit::Body::Bytes(text) if text == b"ada"));
        assert_eq!(fetch_now("http://a.test/fail").unwrap_err(), "told to fail");
        assert_eq!(
            construct_now("Plain", "ada").unwrap_err(),
            "this instance is an object already"
        );
    }

    #[test]
    fn an_alarm_reaches_the_object() {
        construct_now("Other_1", "ada").unwrap();
        let mut info = alarm_handler::Info {
            name: None,
            scheduled_time: 1_000,
            retry_count: 0,
            is_retry: false,
        };
        let failure = now(<Component as alarm_handler::Guest>::alarm(info.clone()));
        assert_eq!(failure.unwrap_err().message, "the first try fails");
        info.retry_count = 1;
        now(<Component as alarm_handler::Guest>::alarm(info)).unwrap();
    }

    #[test]
    fn an_object_that_could_not_be_made_may_be_tried_again() {
        let unknown = construct_now("Othr", "ada").unwrap_err();
        assert_eq!(
            unknown,
            "this component has no class `Othr`; it has [\"Other_1\", \"Plain\"]"
        );
        assert_eq!(construct_now("Other_1", "bad").unwrap_err(), "told to fail");
        assert_eq!(construct_now("Other_1", "var").unwrap_err(), "no variable");
        construct_now("Other_1", "good").unwrap();
    }

    #[test]
    fn a_class_without_fetch_answers_not_found() {
        construct_now("Plain", "ada").unwrap();
        let (status, _) = fetch_now("http://a.test/").unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND.as_u16());
    }

    #[test]
    fn a_failure_tells_the_whole_chain() {
        let error = Error::msg("the cause")
            .context("the middle")
            .context("the effect");
        assert_eq!(failure(error).message, "the effect: the middle: the cause");
    }
}
