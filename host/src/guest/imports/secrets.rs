//! `dormouse:object/secrets`: what the operator keeps for this app.

use crate::guest::bindings::dormouse::object::secrets::Host;
use crate::guest::context::Context;

impl Host for Context {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let secret = self.environment.secrets.get(&name);
        Ok(secret.map(|secret| secret.reveal().to_owned()))
    }
}
