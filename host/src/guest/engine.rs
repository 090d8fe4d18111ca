//! Engine: wasmtime's configuration, the linker and the epoch clock.
//!
//! One per process is enough; hosts in one process share it. The number of live
//! objects comes from the kernel's limits, because memory maps (`vm.max_map_count`;
//! about six each) and address space (`ulimit -v`), not memory, cap it.

use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy};

use super::context::Context;
use super::imports;

/// A busy guest gives way to others after one tick; the CPU limit is as coarse.
const TICK: Duration = Duration::from_millis(10);
/// Two for the stack, up to four for the memory of an instance.
const MAPS_PER_INSTANCE: usize = 6;
const LINUX_DEFAULT_MAPS: usize = 65_530;
/// All that 32 bits can address. Where an instance has so much reserved, its code
/// needs no check that an address is within its memory.
const WHOLE_MEMORY: u64 = 4 << 30;
/// Offsets up to here are within the guard and need no check, either.
const GUARD: u64 = 32 << 20;
/// What instances may take of the 128 TiB that a process can address.
const ADDRESS_SPACE: u64 = 96 << 40;

#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Most live objects at once; chosen from the kernel's limits when absent.
    pub live_objects: Option<usize>,
    /// The largest memory limit that any app may set.
    pub memory_bytes: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            live_objects: None,
            memory_bytes: 1 << 30,
        }
    }
}

/// Compiles components and instantiates them. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) wasmtime: wasmtime::Engine,
    pub(super) linker: std::sync::Arc<Linker<Context>>,
    live_objects: usize,
}

impl Engine {
    pub fn new(options: &EngineOptions) -> wasmtime::Result<Self> {
        let live_objects = options.live_objects.unwrap_or_else(room_for_instances);
        let wasmtime = wasmtime::Engine::new(&config(live_objects, options.memory_bytes))?;
        let mut linker = Linker::new(&wasmtime);
        link(&mut linker)?;
        start_ticker(&wasmtime)?;
        Ok(Self {
            wasmtime,
            linker: std::sync::Arc::new(linker),
            live_objects,
        })
    }

    /// How many objects can be awake at once.
    #[must_use]
    pub const fn live_objects(&self) -> usize {
        self.live_objects
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({} live objects)", self.live_objects)
    }
}

fn config(live_objects: usize, memory_bytes: usize) -> Config {
    let mut config = Config::new();
    config
        // What an instance needs is mapped when it is made. A pool has all of it
        // protected before the first request, and an instance of the pool takes more
        // memory. Limits of an instance are those of `limits`.
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        // The data of a small guest is copied faster than it is mapped, and it
        // halves the maps of a live object.
        .memory_init_cow(false)
        .memory_reservation(reservation(live_objects, memory_bytes))
        .memory_guard_size(GUARD)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16));
    config
}

fn link(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    // Our own clock takes the place of WASI's, so that tests can hold it; our own
    // output knows whose it is.
    linker.allow_shadowing(true);
    imports::clocks::add_to_linker(linker)?;
    imports::output::add_to_linker(linker)?;
    imports::requests::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    imports::add_to_linker(linker)
}

/// A plain thread: a guest that never yields may hold the very worker that
/// drives the timers.
fn start_ticker(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("dormouse-epoch".into())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .map(drop)
}

/// Address space for the memory of one instance.
fn reservation(live_objects: usize, memory_bytes: usize) -> u64 {
    let all_whole = (WHOLE_MEMORY + GUARD).saturating_mul(live_objects as u64);
    if all_whole <= ADDRESS_SPACE {
        WHOLE_MEMORY
    } else {
        memory_bytes as u64
    }
}

fn room_for_instances() -> usize {
    let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(LINUX_DEFAULT_MAPS);
    // A fifth of the maps stays free for the host itself.
    let by_maps = (maps / 5 * 4 / MAPS_PER_INSTANCE).clamp(64, 50_000);
    match address_space_limit() {
        // A quarter stays free for the host itself.
        Some(bytes) => {
            let by_space = bytes / 4 * 3 / (WHOLE_MEMORY + GUARD);
            by_maps.min(usize::try_from(by_space).unwrap_or(usize::MAX).max(1))
        }
        None => by_maps,
    }
}

/// The limit that `ulimit -v` sets, in bytes; `None` when there is none.
fn address_space_limit() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}
