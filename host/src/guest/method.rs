//! Typed calls into the guest: one call of `call-handler` each.

use wasmtime::AsContextMut;
use wasmtime::component::Accessor;

use super::bindings::call::exports::dormouse::object::call_handler::{CallError, Guest};
use super::body;
use super::context::Context;
use super::instance::{CallId, Returned, Running};
use crate::chain::Chain;
use crate::event::{Fault, MethodCall, RequestId};

pub(super) fn start<'a>(
    accessor: &'a Accessor<Context>,
    handler: Option<&Guest>,
    call: CallId,
    request: RequestId,
    chain: Chain,
    method: MethodCall,
) -> wasmtime::Result<Running<'a>> {
    let Some(handler) = handler else {
        let none = accessor.with(|mut access| {
            let class = access.get().who.class().unwrap_or("worker");
            Fault::BadCall(format!("class `{class}` has no methods to call").into())
        });
        let none = Ok(Ok(Returned::Fault(none)));
        return Ok(Box::pin(std::future::ready((call, none))));
    };
    let handler = handler.func_call();
    let started = accessor.with(|mut access| -> wasmtime::Result<_> {
        let body = body::lower(access.as_context_mut(), method.body)?;
        let params = (method.method, method.arguments, body);
        let started = handler.start_call_concurrent(access.as_context_mut(), params)?;
        access.get().serve_call(started.task(), request, chain);
        Ok(started)
    })?;
    let task = started.task();
    Ok(Box::pin(async move {
        let result = handler.finish_call_concurrent(accessor, started).await;
        accessor.with(|mut access| access.get().answered(task));
        let result = result.map(|(result,)| {
            Ok(match result {
                Ok(answer) => Returned::Method(answer),
                Err(error) => Returned::Fault(fault(error)),
            })
        });
        (call, result)
    }))
}

fn fault(error: CallError) -> Fault {
    match error {
        CallError::Invalid(message) => Fault::BadCall(message.into()),
        CallError::Failed(message) => Fault::Guest(message.into()),
        CallError::Declared((value, message)) => Fault::Declared {
            value: value.into(),
            message: message.into(),
        },
    }
}
