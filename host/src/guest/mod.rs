//! Guest: everything that touches wasmtime.
//!
//! `engine` compiles and limits, `code` is one loaded component, `instance` one
//! live object, `imports` what guests may call. Knows `storage`; does not know
//! HTTP, the mailbox or which objects exist: the object room drives an instance
//! through the [`Life`] trait.

mod alarm;
#[allow(
    unsafe_code,
    clippy::all,
    missing_debug_implementations,
    unreachable_pub
)]
mod bindings;
mod body;
mod cache;
mod code;
mod context;
mod engine;
mod environment;
mod gate;
mod http;
mod imports;
mod instance;
mod limits;
mod method;
mod operator;
mod random;
mod report;
mod socket;
mod stdio;
mod worker;

pub use alarm::{Run as AlarmRun, perform as perform_alarm_action};
pub use body::Of as BodyOf;
pub use code::{Class, Code, LoadError, Need};
pub use context::{Context, Identity};
pub use engine::{Engine, EngineOptions};
pub use environment::Environment;
pub use gate::SectionId;
pub use http::Direct;
pub use instance::{Call, CallId, Effect, Exit, Instance, Life, Load, Next, WakeError};
pub use limits::Limits;
pub use operator::{run_asleep as look_asleep, set_budget};
pub use report::{Interface, Report, inspect};
pub use worker::WorkerKind;
