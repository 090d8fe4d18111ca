//! `wasi:io/streams`, as far as it writes: finds the event whose code prints.
//!
//! Takes the place of two functions of WASI's own, which then do the work. What
//! is printed after an await would otherwise be logged with the event that began
//! last.

use wasmtime::component::{Linker, Resource};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi::p2::bindings::io::streams::{Host, HostOutputStream, StreamError};
use wasmtime_wasi::p2::{DynOutputStream, StreamResult};

use crate::guest::context::Context;

/// As wasmtime's WASI names it: another version would be another interface.
const INTERFACE: &str = "wasi:io/streams@0.2.12";

type Write = (Resource<DynOutputStream>, Vec<u8>);
type Written = (Result<(), StreamError>,);

pub(in crate::guest) fn add_to_linker(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    let mut streams = linker.instance(INTERFACE)?;
    streams.func_wrap(
        "[method]output-stream.write",
        |mut store: StoreContextMut<'_, Context>, (stream, bytes): Write| {
            attribute(store.as_context_mut())?;
            let table = &mut store.data_mut().table;
            let result = table.write(stream, bytes);
            told(store, result)
        },
    )?;
    streams.func_wrap_async(
        "[method]output-stream.blocking-write-and-flush",
        |mut store: StoreContextMut<'_, Context>, (stream, bytes): Write| {
            Box::new(async move {
                attribute(store.as_context_mut())?;
                let table = &mut store.data_mut().table;
                let result = table.blocking_write_and_flush(stream, bytes).await;
                told(store, result)
            })
        },
    )
}

/// What is written from now on belongs to the event whose code runs.
fn attribute(mut store: StoreContextMut<'_, Context>) -> wasmtime::Result<()> {
    let tasks: Vec<_> = store.async_call_stack()?.collect();
    let context = store.data();
    let request = tasks.iter().find_map(|task| context.event_of(*task));
    if let Some(request) = request {
        context.running.serve(request);
    }
    Ok(())
}

fn told(
    mut store: StoreContextMut<'_, Context>,
    result: StreamResult<()>,
) -> wasmtime::Result<Written> {
    let table = &mut store.data_mut().table;
    Ok((match result {
        Ok(()) => Ok(()),
        Err(error) => Err(table.convert_stream_error(error)?),
    },))
}
