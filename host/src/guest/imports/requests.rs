//! `wasi:http/outgoing-handler@0.2`, as far as it sends: ends the turn first.
//!
//! Takes the place of WASI's own function, which then does the work. A guest of 0.2
//! waits in a call that blocks its store, so its turn could not end while the
//! request waits for the turn's commit; a request is an await in all but name.

use wasmtime::component::{Linker, Resource};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::{
    ErrorCode, FutureIncomingResponse, Host as _, OutgoingRequest, RequestOptions,
};
use wasmtime_wasi_http::p2::bindings::http::types::Host as _;

use crate::guest::context::Context;

/// As wasmtime's WASI names it: another version would be another interface.
const INTERFACE: &str = "wasi:http/outgoing-handler@0.2.12";

type Asked = (Resource<OutgoingRequest>, Option<Resource<RequestOptions>>);
type Told = (Result<Resource<FutureIncomingResponse>, ErrorCode>,);

pub(in crate::guest) fn add_to_linker(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    let mut handler = linker.instance(INTERFACE)?;
    handler.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, Context>, (request, options): Asked| {
            let tasks: Vec<_> = store.as_context_mut().async_call_stack()?.collect();
            let context = store.data_mut();
            context.commit()?;
            context.outside.sender = context.trace_of(&tasks);
            context.outside.ticket = context.gate();
            let mut http = context.http();
            let told: Told = match http.handle(request, options) {
                Ok(future) => (Ok(future),),
                Err(error) => (Err(http.convert_error_code(error)?),),
            };
            Ok(told)
        },
    )
}
