//! Bindings: the Rust face of `wit/`, made by wasmtime's macro.
//!
//! The base world names what every component must export; optional handlers are
//! worlds of their own, so that each can be missing.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "objects",
    imports: {
        "dormouse:object/log.write": store | trappable,
        "dormouse:object/log.max-level": trappable,
        "dormouse:object/gate.[static]critical-section.enter": store | trappable,
        "dormouse:object/transaction.[static]transaction.begin": store | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "dormouse:object/namespace.namespace": super::imports::namespace::Namespace,
        "dormouse:object/namespace.stub": super::imports::namespace::Stub,
        "dormouse:object/sql.cursor": super::imports::sql::Cursor,
        "dormouse:object/sql.savepoint": super::imports::sql::Savepoint,
        "dormouse:object/gate.critical-section": super::imports::gate::CriticalSection,
        "dormouse:object/transaction.transaction": super::imports::transaction::Transaction,
        "dormouse:object/websocket.upgrade": super::imports::websocket::Upgrade,
        "dormouse:object/websocket.socket": super::imports::websocket::Socket,
        "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
    },
    require_store_data_send: true,
});

/// `alarm-handler`, on the types above.
pub mod alarm {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "alarm-handling",
        exports: { default: async },
        with: {
            "dormouse:object/types": super::dormouse::object::types,
            "dormouse:object/websocket": super::dormouse::object::websocket,
        },
        require_store_data_send: true,
    });
}

/// `call-handler`, on the types above.
pub mod call {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "call-handling",
        exports: { default: async },
        with: {
            "dormouse:object/namespace": super::dormouse::object::namespace,
            "dormouse:object/types": super::dormouse::object::types,
            "dormouse:object/websocket": super::dormouse::object::websocket,
        },
        require_store_data_send: true,
    });
}

/// `requirements`, which stands alone.
pub mod requirements {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "requirement-telling",
        exports: { default: async },
    });
}

/// `websocket-handler`, on the types above.
pub mod websocket {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "websocket-handling",
        exports: { default: async },
        with: {
            "dormouse:object/types": super::dormouse::object::types,
            "dormouse:object/websocket": super::dormouse::object::websocket,
        },
        require_store_data_send: true,
    });
}

/// `worker`, on the types above.
pub mod worker {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "worker-handling",
        exports: { default: async },
        with: {
            "dormouse:object/types": super::dormouse::object::types,
            "dormouse:object/websocket": super::dormouse::object::websocket,
            "dormouse:object/outgoing": super::dormouse::object::outgoing,
            "dormouse:object/log": super::dormouse::object::log,
            "dormouse:object/namespace": super::dormouse::object::namespace,
            "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
        },
        require_store_data_send: true,
    });
}
