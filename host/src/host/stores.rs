//! Asking the app's databases from outside of its code.

use tokio::sync::oneshot;

use super::{AskError, Handle};
use crate::builtin::{BatchOptions, Builtin, Statement, Statements};
use crate::chain::Chain;
use crate::event::{Body, Called, Event, Fault, Kind, MethodCall, Reply, RequestId, Reset, What};

impl Handle {
    /// Runs statements on the database behind a binding: all of them, or none. The
    /// answer of its method `batch`, as JSON.
    pub async fn batch(
        &self,
        binding: &str,
        statements: Vec<Statement>,
        options: BatchOptions,
    ) -> Result<String, AskError> {
        let manifest = self.manifest();
        let name = manifest.databases.get(binding);
        let name = name.ok_or_else(|| AskError::NoDatabase {
            binding: binding.to_owned(),
            known: manifest.databases.keys().cloned().collect(),
        })?;
        let namespace = Builtin::Database.namespace();
        let arguments = serde_json::to_string(&Statements(statements, options));
        let call = MethodCall {
            method: "batch".to_owned(),
            arguments: arguments.expect("plain data can be written as JSON"),
            body: Body::None,
        };
        let (reply, answer) = oneshot::channel();
        let event = Event {
            request_id: RequestId::next(),
            kind: Kind::Called(Called {
                chain: Chain::default(),
                what: What::Method(call),
            }),
            reply,
        };
        self.registry
            .deliver(namespace, namespace.id_from_name(name), event);
        // A channel closed without an answer: the task was torn down with the host.
        let answer = answer.await;
        match answer.unwrap_or(Err(Fault::Reset(Reset::ShuttingDown)))? {
            Reply::Method(answer) => Ok(answer.value),
            _ => Err(AskError::NoObject(format!("{}/{name}", namespace.class))),
        }
    }
}
