//! `dormouse:object/storage`: the database as a whole.

use wasmtime::component::{Accessor, HasSelf};

use crate::guest::bindings::dormouse::object::sql::Error;
use crate::guest::bindings::dormouse::object::storage::{Host, HostWithStore};
use crate::guest::context::Context;

impl Host for Context {
    fn delete_all(&mut self) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.database()?.delete_all().map_err(Into::into))
    }

    fn allow_unconfirmed(&mut self) -> wasmtime::Result<()> {
        self.database()?.allow_unconfirmed();
        Ok(())
    }
}

impl HostWithStore<Context> for HasSelf<Context> {
    async fn sync(accessor: &Accessor<Context, Self>) -> wasmtime::Result<Result<(), Error>> {
        let begun = accessor
            .with(|mut access| -> wasmtime::Result<_> { Ok(access.get().database()?.sync()) })?;
        let durable = match begun {
            Ok(ticket) => ticket.await.map_err(dormouse_storage::Error::from),
            Err(error) => Err(error),
        };
        Ok(durable.map_err(Into::into))
    }
}
