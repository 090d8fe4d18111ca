//! `wasi:clocks` on the host's own clock, so that a held clock holds guests too.

use std::time::Duration;

use wasmtime::component::{Accessor, HasSelf, Linker};
use wasmtime_wasi::p3::bindings::clocks::{monotonic_clock, types};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::clock::Clock;
use crate::guest::context::Context;

type OwnClock = HasSelf<Clock>;

pub(in crate::guest) fn add_to_linker(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<_, OwnClock>(linker, |context| &mut context.clock)
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.unix()
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        Self::now(self).as_nanos() as u64
    }
}

impl types::Host for Clock {}

impl monotonic_clock::Host for Clock {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Mark> {
        Ok(HostMonotonicClock::now(self))
    }

    fn get_resolution(&mut self) -> wasmtime::Result<types::Duration> {
        Ok(HostMonotonicClock::resolution(self))
    }
}

impl monotonic_clock::HostWithStore<Context> for OwnClock {
    async fn wait_until(
        accessor: &Accessor<Context, Self>,
        when: monotonic_clock::Mark,
    ) -> wasmtime::Result<()> {
        let clock = accessor.with(|mut access| access.get().clone());
        clock.sleep_until(Duration::from_nanos(when)).await;
        Ok(())
    }

    async fn wait_for(
        accessor: &Accessor<Context, Self>,
        how_long: types::Duration,
    ) -> wasmtime::Result<()> {
        let clock = accessor.with(|mut access| access.get().clone());
        clock.sleep(Duration::from_nanos(how_long)).await;
        Ok(())
    }
}
