//! `dormouse:object/schema`: the version of the object's tables.

use crate::guest::bindings::dormouse::object::schema::Host;
use crate::guest::bindings::dormouse::object::sql::Error;
use crate::guest::context::Context;

impl Host for Context {
    fn version(&mut self) -> wasmtime::Result<Result<u32, Error>> {
        Ok(self.database()?.schema_version().map_err(Into::into))
    }

    fn set_version(&mut self, version: u32) -> wasmtime::Result<Result<(), Error>> {
        let set = self.database()?.set_schema_version(version);
        Ok(set.map_err(Into::into))
    }
}
