//! Worker: which of three exports a component's stateless worker is.
//!
//! `dormouse:object/worker` is the lightest; `wasi:http` in 0.3 or 0.2 is what
//! other people's tools build. A component with several uses the first of them.

use serde::Serialize;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::{p2, p3};

use super::bindings::worker::exports::dormouse::object::worker::GuestIndices as WorkerIndices;
use super::context::Context;
use super::instance::Handlers;

/// What a worker exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum WorkerKind {
    #[serde(rename = "dormouse:object/worker")]
    Own,
    #[serde(rename = "wasi:http/handler@0.3")]
    Http3,
    #[serde(rename = "wasi:http/incoming-handler@0.2")]
    Http2,
}

impl WorkerKind {
    #[must_use]
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Own => "dormouse:object/worker",
            Self::Http3 => "wasi:http/handler@0.3",
            Self::Http2 => "wasi:http/incoming-handler@0.2",
        }
    }

    /// Whether an instance takes further requests. One of 0.2 blocks as a whole
    /// while it waits, and may count on being started for one request alone.
    #[must_use]
    pub const fn is_reused(self) -> bool {
        !matches!(self, Self::Http2)
    }

    /// Whether it answers by [`super::Direct`].
    #[must_use]
    pub const fn answers_directly(self) -> bool {
        !matches!(self, Self::Own)
    }
}

/// Where a component's worker is found in its instances.
pub(super) enum Worker {
    Own(WorkerIndices),
    Http3(p3::bindings::ServiceIndices),
    Http2(p2::bindings::ProxyIndices),
}

impl Worker {
    /// `None`: the component has no worker.
    pub(super) fn of(pre: &InstancePre<Context>) -> Option<Self> {
        let own = WorkerIndices::new(pre).ok().map(Self::Own);
        own.or_else(|| p3::bindings::ServiceIndices::new(pre).ok().map(Self::Http3))
            .or_else(|| p2::bindings::ProxyIndices::new(pre).ok().map(Self::Http2))
    }

    pub(super) const fn kind(&self) -> WorkerKind {
        match self {
            Self::Own(_) => WorkerKind::Own,
            Self::Http3(_) => WorkerKind::Http3,
            Self::Http2(_) => WorkerKind::Http2,
        }
    }

    pub(super) fn load(
        &self,
        store: &mut Store<Context>,
        instance: &Instance,
    ) -> wasmtime::Result<Handlers> {
        Ok(match self {
            Self::Own(indices) => Handlers::Worker(indices.load(store, instance)?),
            Self::Http3(indices) => Handlers::Http(Proxy::P3(indices.load(store, instance)?)),
            Self::Http2(indices) => Handlers::Http(Proxy::P2(indices.load(store, instance)?)),
        })
    }
}
