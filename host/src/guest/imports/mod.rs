//! Imports: what a guest may call, one file per interface of `wit/`.

mod alarm;
pub(super) mod bookmark;
pub(super) mod clocks;
pub(super) mod gate;
mod kv;
mod log;
pub(super) mod namespace;
mod outgoing;
pub(super) mod output;
pub(super) mod requests;
mod schema;
mod secrets;
pub(super) mod sql;
mod storage;
pub(super) mod transaction;
pub(super) mod websocket;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::dormouse::object;
use super::context::Context;

pub(super) fn add_to_linker(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    object::types::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::alarm::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::sql::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::namespace::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::kv::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::storage::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::schema::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::gate::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::transaction::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::bookmark::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::secrets::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::log::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::outgoing::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)?;
    object::websocket::add_to_linker::<_, HasSelf<Context>>(linker, |context| context)
}

impl object::types::Host for Context {}
