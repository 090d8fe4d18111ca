//! `dormouse:object/outgoing`: requests to the outside in our own records.
//!
//! A request is an effect of the turn that makes it: it leaves through the output
//! gate and is dropped with a turn that is undone. Its body flows as effects, too.

use std::time::Duration;

use http::StatusCode;
use tokio::sync::oneshot;
use wasmtime::AsContextMut as _;
use wasmtime::component::{Accessor, HasSelf};

use crate::egress::{self, Timeouts};
use crate::event::Request;
use crate::guest::bindings::dormouse::object::outgoing::{
    Error, ErrorKind, Host, HostWithStore, Options,
};
use crate::guest::bindings::dormouse::object::types;
use crate::guest::body::{self, Of};
use crate::guest::context::Context;
use crate::guest::instance::Effect;
use crate::trace::Span;

impl Host for Context {}

impl HostWithStore<Context> for HasSelf<Context> {
    async fn fetch(
        accessor: &Accessor<Context, Self>,
        request: types::Request,
        options: Options,
    ) -> wasmtime::Result<Result<types::Response, Error>> {
        let (mut request, egress, departed, trace) = accessor.with(|mut access| {
            let tasks: Vec<_> = access.as_context_mut().async_call_stack()?.collect();
            let request = Request {
                method: request.method,
                url: request.url,
                headers: request.headers,
                body: body::lift(access.as_context_mut(), request.body, Of::Request)?,
                upgrade: None,
            };
            let (depart, departed) = oneshot::channel();
            let context = access.get();
            context.effects.push(Effect::Depart(depart));
            let egress = context.environment.egress.clone();
            let trace = context.trace_of(&tasks);
            wasmtime::Result::<_>::Ok((request, egress, departed, trace))
        })?;
        if departed.await.is_err() {
            wasmtime::bail!("the turn that made the request was undone");
        }
        let mut span = Span::outgoing(trace, &request.method, &request.url);
        if let Some(trace) = span.context() {
            trace.mark(&mut request.headers);
        }
        let answer = egress
            .fetch(request, timeouts(&options), options.redirects)
            .await;
        match &answer {
            Ok(response) => span.answered(response.status, StatusCode::BAD_REQUEST),
            Err(error) => span.failed(error.kind(), error),
        }
        drop(span);
        accessor.with(|mut access| match answer {
            Ok(response) => Ok(Ok(types::Response {
                status: response.status,
                headers: response.headers,
                body: body::lower(access.as_context_mut(), response.body)?,
            })),
            Err(error) => Ok(Err(error.into())),
        })
    }
}

fn timeouts(options: &Options) -> Timeouts {
    let default = Timeouts::default();
    let given = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()));
    Timeouts {
        response: given(options.timeout_ms).unwrap_or(default.response),
        between: given(options.idle_ms).unwrap_or(default.between),
    }
}

impl From<egress::Error> for Error {
    fn from(error: egress::Error) -> Self {
        let kind = match &error {
            egress::Error::Denied { .. } | egress::Error::Private { .. } => ErrorKind::Denied,
            egress::Error::Invalid { .. } => ErrorKind::Invalid,
            egress::Error::Unreachable { .. } | egress::Error::Unscripted { .. } => {
                ErrorKind::Unreachable
            }
            egress::Error::Late { .. } | egress::Error::Stalled { .. } => ErrorKind::Timeout,
            egress::Error::Broken { .. } => ErrorKind::Broken,
            egress::Error::Redirects { .. } => ErrorKind::Redirects,
        };
        Self {
            kind,
            message: error.to_string(),
        }
    }
}
