//! `dormouse:object/storage`: the database as a whole.

use crate::guest::bindings::dormouse::object::sql::Error;
use crate::guest::bindings::dormouse::object::storage::Host;
use crate::guest::context::Context;

impl Host for Context {
    fn delete_all(&mut self) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.database()?.delete_all().map_err(Into::into))
    }
}
