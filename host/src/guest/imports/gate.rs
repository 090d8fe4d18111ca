//! `dormouse:object/gate`: critical sections.
//!
//! Finds out which event asks; the rules are those of `guest::gate`.

use wasmtime::AsContextMut;
use wasmtime::component::{Access, HasSelf, Resource};

use crate::guest::bindings::dormouse::object::gate::{
    Host, HostCriticalSection, HostCriticalSectionWithStore, Refusal as Refused,
};
use crate::guest::context::Context;
use crate::guest::gate::{Refusal, SectionFailed, SectionId};

/// A guest's handle on a section.
#[derive(Debug)]
#[allow(unreachable_pub)] // the bindings re-export it
pub struct CriticalSection(SectionId);

/// The number of the event whose code calls; `None` in the constructor.
pub(super) fn calling(
    access: &mut Access<'_, Context, HasSelf<Context>>,
) -> wasmtime::Result<Option<u64>> {
    let tasks: Vec<_> = access.as_context_mut().async_call_stack()?.collect();
    let context = access.get();
    Ok(tasks.iter().find_map(|task| context.serial_of(*task)))
}

impl Host for Context {}

impl HostCriticalSectionWithStore<Context> for HasSelf<Context> {
    fn enter(
        mut access: Access<'_, Context, Self>,
    ) -> wasmtime::Result<Result<Resource<CriticalSection>, Refused>> {
        let by = calling(&mut access)?;
        let context = access.get();
        if let Err(refusal) = context.gate.check(by) {
            return Ok(Err(refusal.into()));
        }
        let section = context.gate.enter(by, None);
        Ok(Ok(context.table.push(CriticalSection(section))?))
    }
}

impl HostCriticalSection for Context {
    fn leave(&mut self, section: Resource<CriticalSection>) -> wasmtime::Result<()> {
        let section = self.table.delete(section)?.0;
        if let Some(transaction) = self.gate.leave(section) {
            // An error means that it is undone already.
            let _ = self.database()?.rollback_transaction(transaction);
        }
        Ok(())
    }

    fn fail(
        &mut self,
        _section: Resource<CriticalSection>,
        message: String,
    ) -> wasmtime::Result<()> {
        Err(SectionFailed(message).into())
    }

    fn drop(&mut self, section: Resource<CriticalSection>) -> wasmtime::Result<()> {
        self.leave(section)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooDeep => Self::TooDeep,
            Refusal::Shut => Self::Shut,
        }
    }
}
