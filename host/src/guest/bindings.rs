//! Bindings: the Rust face of `wit/`, made by wasmtime's macro.
//!
//! Imports only: exports are looked up by hand in `code`, because optional ones
//! may be missing and because events need the id of the task that runs them.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "objects",
    imports: {
        "dormouse:object/log.write": store | trappable,
        "dormouse:object/log.max-level": trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "dormouse:object/sql.cursor": super::imports::sql::Cursor,
        "dormouse:object/sql.savepoint": super::imports::sql::Savepoint,
        "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
    },
    require_store_data_send: true,
});
