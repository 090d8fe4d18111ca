//! Calling methods of objects from outside of objects, as a stub does from inside.

use super::{AskError, Handle};
use crate::chain::Chain;
use crate::event::{Called, Fault, Kind, MethodAnswer, MethodCall, Reply, Reset, What};

impl Handle {
    /// Calls a method that `#[object_api]` or an export of the contract offers. The
    /// answer has passed the output gate: what the method wrote is durable.
    pub async fn call(
        &self,
        class: &str,
        object: &str,
        call: MethodCall,
    ) -> Result<MethodAnswer, AskError> {
        if self.registry.is_paused() {
            let paused = format!("the app {:?} is paused", self.name());
            return Err(Fault::Away(paused.into()).into());
        }
        let kind = Kind::Called(Called {
            chain: Chain::default(),
            what: What::Method(call),
        });
        match self.ask(class, object, kind).await? {
            Reply::Method(answer) => Ok(answer),
            // No other reply belongs to a call; its instance is not to be trusted.
            _ => Err(Fault::Reset(Reset::Operator).into()),
        }
    }
}
