//! Socket events into the guest: one call of `websocket-handler` each.

use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, Lift, Resource, TypedFunc};

use super::bindings::dormouse::object::{types, websocket};
use super::bindings::websocket::exports::dormouse::object::websocket_handler::Guest;
use super::context::Context;
use super::imports::websocket::Socket;
use super::instance::{CallId, Returned, Running};
use crate::event::RequestId;
use crate::socket::{SocketEvent, SocketId, SocketMessage};

type Handle = Resource<Socket>;
type Done = (Result<(), types::Failure>,);

pub(super) fn start<'a>(
    accessor: &'a Accessor<Context>,
    guest: &Guest,
    call: CallId,
    request: RequestId,
    socket: SocketId,
    event: SocketEvent,
) -> wasmtime::Result<Running<'a>> {
    let start = Start {
        accessor,
        call,
        request,
    };
    match event {
        SocketEvent::Message(message) => {
            let message = match message {
                SocketMessage::Text(text) => websocket::Message::Text(text.to_string()),
                SocketMessage::Binary(bytes) => websocket::Message::Binary(bytes.into()),
            };
            start.with(guest.func_on_message(), socket, |socket| (socket, message))
        }
        SocketEvent::Closed {
            code,
            reason,
            was_clean,
        } => start.with(guest.func_on_close(), socket, |socket| {
            (socket, code, reason, was_clean)
        }),
        SocketEvent::Failed(what) => start.with(guest.func_on_error(), socket, |socket| {
            (socket, what.to_owned())
        }),
    }
}

struct Start<'a> {
    accessor: &'a Accessor<Context>,
    call: CallId,
    request: RequestId,
}

impl<'a> Start<'a> {
    fn with<P>(
        self,
        function: TypedFunc<P, Done>,
        socket: SocketId,
        params: impl FnOnce(Handle) -> P,
    ) -> wasmtime::Result<Running<'a>>
    where
        P: wasmtime::component::ComponentNamedList
            + wasmtime::component::Lower
            + Send
            + Sync
            + 'static,
        Done: Lift,
    {
        let Self {
            accessor,
            call,
            request,
        } = self;
        let started = accessor.with(|mut access| -> wasmtime::Result<_> {
            let handle = access.get().table.push(Socket(socket))?;
            let params = params(handle);
            let started = function.start_call_concurrent(access.as_context_mut(), params)?;
            access.get().serve(started.task(), request);
            Ok(started)
        })?;
        let task = started.task();
        Ok(Box::pin(async move {
            let result = function.finish_call_concurrent(accessor, started).await;
            accessor.with(|mut access| access.get().answered(task));
            let result = result.map(|(result,)| result.map(|()| Returned::Done));
            (call, result)
        }))
    }
}
