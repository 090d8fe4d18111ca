//! `dormouse:object/namespace`: calls from one object to another.
//!
//! A call is an effect of the turn that makes it: it leaves through the output gate
//! and is dropped with a turn that is undone. Its answer comes back by a channel
//! that the guest's task waits for; other events of the instance go on meanwhile.

use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, HasSelf, Resource};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::event::{Called, Event, Fault, Kind, MethodCall, Reply, Request, Reset, Response, What};
use crate::guest::bindings::dormouse::object::namespace::{
    Answer, Error, ErrorKind, Host, HostNamespace, HostStub, HostStubWithStore,
};
use crate::guest::bindings::dormouse::object::types;
use crate::guest::body::{self, Of};
use crate::guest::context::{Context, Identity};
use crate::guest::instance::{CallId, Effect};
use crate::id::{self, ObjectName};

/// A guest's handle on the objects of one class.
#[allow(unreachable_pub)] // the bindings re-export it
#[derive(Debug)]
pub struct Namespace(Arc<id::Namespace>);

/// A guest's handle on one object of another.
#[allow(unreachable_pub)] // the bindings re-export it
#[derive(Debug)]
pub struct Stub(Identity);

type Waiting = oneshot::Receiver<Result<Reply, Fault>>;
type Refusable<T> = Result<T, Error>;
type Own = HasSelf<Context>;

impl Host for Context {}

impl HostNamespace for Context {
    fn open(&mut self, binding: String) -> wasmtime::Result<Refusable<Resource<Namespace>>> {
        let namespaces = &self.environment.namespaces;
        let Some(namespace) = namespaces.get(&binding) else {
            let names: Vec<_> = namespaces.keys().map(String::as_str).collect();
            let known = names.join(", ");
            return Ok(Err(invalid(format!(
                "there is no namespace `{binding}`; bound are: {known}; add \
                 `{binding} = \"Class\"` to `[namespaces]` in dormouse.toml, or a store to `[kv]` \
                 or `[databases]`"
            ))));
        };
        let namespace = Namespace(namespace.clone());
        Ok(Ok(self.table.push(namespace)?))
    }

    fn id_from_name(
        &mut self,
        namespace: Resource<Namespace>,
        name: String,
    ) -> wasmtime::Result<types::ObjectId> {
        let namespace = &self.table.get(&namespace)?.0;
        Ok(told(&namespace.id_from_name(&name)))
    }

    fn new_unique_id(
        &mut self,
        namespace: Resource<Namespace>,
    ) -> wasmtime::Result<types::ObjectId> {
        let namespace = self.table.get(&namespace)?.0.clone();
        Ok(told(&namespace.unique_id(self.random_bytes()?)))
    }

    fn id_from_string(
        &mut self,
        namespace: Resource<Namespace>,
        text: String,
    ) -> wasmtime::Result<Refusable<types::ObjectId>> {
        let namespace = &self.table.get(&namespace)?.0;
        let id = namespace.id_from_string(&text);
        let object = id.map(|id| ObjectName { id, name: None });
        Ok(object.map(|object| told(&object)).map_err(bad_id))
    }

    fn get(
        &mut self,
        namespace: Resource<Namespace>,
        id: types::ObjectId,
    ) -> wasmtime::Result<Refusable<Resource<Stub>>> {
        let namespace = self.table.get(&namespace)?.0.clone();
        match checked(&namespace, id) {
            Ok(object) => Ok(Ok(self.stub(&namespace, object)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn get_by_name(
        &mut self,
        namespace: Resource<Namespace>,
        name: String,
    ) -> wasmtime::Result<Resource<Stub>> {
        let namespace = self.table.get(&namespace)?.0.clone();
        let object = namespace.id_from_name(&name);
        self.stub(&namespace, object)
    }

    fn drop(&mut self, namespace: Resource<Namespace>) -> wasmtime::Result<()> {
        self.table.delete(namespace)?;
        Ok(())
    }
}

impl HostStub for Context {
    fn id(&mut self, stub: Resource<Stub>) -> wasmtime::Result<types::ObjectId> {
        Ok(told(&self.table.get(&stub)?.0.object))
    }

    fn drop(&mut self, stub: Resource<Stub>) -> wasmtime::Result<()> {
        self.table.delete(stub)?;
        Ok(())
    }
}

impl HostStubWithStore<Context> for Own {
    async fn fetch(
        accessor: &Accessor<Context, Self>,
        stub: Resource<Stub>,
        request: types::Request,
    ) -> wasmtime::Result<Refusable<types::Response>> {
        let sent = accessor.with(|access| send_request(access, &stub, request))?;
        let (waiting, upgrade) = match sent {
            Ok(sent) => sent,
            Err(refused) => return Ok(Err(refused)),
        };
        let result = answer(waiting).await;
        accessor.with(|mut access| match result {
            Ok(Reply::Response(response)) => receive(access.as_context_mut(), response),
            Ok(Reply::Upgrade { headers, socket }) => {
                let context = access.get();
                let Some(call) = upgrade.filter(|call| context.is_running(*call)) else {
                    return Ok(Err(spent()));
                };
                context.accepted.push((call, socket));
                Ok(Ok(types::Response {
                    status: 101,
                    headers,
                    body: types::Body::None,
                }))
            }
            Ok(other) => wasmtime::bail!("a request was answered with {other:?}"),
            Err(fault) => Ok(Err(fault.into())),
        })
    }

    async fn call(
        accessor: &Accessor<Context, Self>,
        stub: Resource<Stub>,
        method: String,
        arguments: String,
        body: types::Body,
    ) -> wasmtime::Result<Refusable<Answer>> {
        let sent = accessor.with(|mut access| -> wasmtime::Result<Refusable<Waiting>> {
            if let Err(refused) = may_call(&mut access, &stub)? {
                return Ok(Err(refused));
            }
            let method = MethodCall {
                method,
                arguments,
                body: body::lift(access.as_context_mut(), body, Of::Request)?,
            };
            Ok(Ok(send(access, &stub, What::Method(method))?))
        })?;
        let waiting = match sent {
            Ok(waiting) => waiting,
            Err(refused) => return Ok(Err(refused)),
        };
        match answer(waiting).await {
            Ok(Reply::Method(given)) => accessor.with(|mut access| {
                Ok(Ok(Answer {
                    value: given.value,
                    body: body::lower(access.as_context_mut(), given.body)?,
                }))
            }),
            Ok(other) => wasmtime::bail!("a call was answered with {other:?}"),
            Err(fault) => Ok(Err(fault.into())),
        }
    }
}

impl Context {
    fn stub(
        &mut self,
        namespace: &id::Namespace,
        object: ObjectName,
    ) -> wasmtime::Result<Resource<Stub>> {
        let app = namespace.app.as_ref().unwrap_or(self.who.app()).clone();
        let class = namespace.class.clone();
        Ok(self.table.push(Stub(Identity { app, class, object }))?)
    }
}

/// Whether the chain of calls may become longer.
fn may_call(
    access: &mut Access<'_, Context, Own>,
    stub: &Resource<Stub>,
) -> wasmtime::Result<Refusable<()>> {
    let tasks: Vec<_> = access.as_context_mut().async_call_stack()?.collect();
    let context = access.get();
    let (_, chain) = context.cause_of(&tasks);
    let most = context.environment.call_depth;
    if chain.length() <= most {
        return Ok(Ok(()));
    }
    let to = &context.table.get(stub)?.0;
    let chain = chain.to(&to.app, &to.class, &to.object);
    Ok(Err(Error {
        kind: ErrorKind::TooDeep,
        message: format!(
            "more than {most} calls wait for each other: {chain}; let one object call the \
             others in turn, or raise `limits.call_depth`"
        ),
        retryable: false,
        value: None,
    }))
}

fn send_request(
    mut access: Access<'_, Context, Own>,
    stub: &Resource<Stub>,
    request: types::Request,
) -> wasmtime::Result<Refusable<(Waiting, Option<CallId>)>> {
    if let Err(refused) = may_call(&mut access, stub)? {
        return Ok(Err(refused));
    }
    let upgrade = match request.upgrade {
        Some(upgrade) => Some(access.get().table.delete(upgrade)?),
        None => None,
    };
    if let Some(upgrade) = &upgrade
        && !access.get().is_running(upgrade.call)
    {
        return Ok(Err(spent()));
    }
    let (call, protocols) = upgrade
        .map(|upgrade| (upgrade.call, upgrade.protocols))
        .unzip();
    let request = Request {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: body::lift(access.as_context_mut(), request.body, Of::Request)?,
        upgrade: protocols,
    };
    let waiting = send(access, stub, What::Fetch(request))?;
    Ok(Ok((waiting, call)))
}

/// Makes the call an effect of the turn.
fn send(
    mut access: Access<'_, Context, Own>,
    stub: &Resource<Stub>,
    what: What,
) -> wasmtime::Result<Waiting> {
    let tasks: Vec<_> = access.as_context_mut().async_call_stack()?.collect();
    let context = access.get();
    let (request_id, chain) = context.cause_of(&tasks);
    let to = context.table.get(stub)?.0.clone();
    let (reply, waiting) = oneshot::channel();
    let event = Event {
        request_id,
        kind: Kind::Called(Called { chain, what }),
        reply,
    };
    context.effects.push(Effect::Call { to, event });
    Ok(waiting)
}

/// A channel closed without an answer: the callee was torn down with the host.
async fn answer(waiting: Waiting) -> Result<Reply, Fault> {
    waiting
        .await
        .unwrap_or(Err(Fault::Reset(Reset::ShuttingDown)))
}

fn receive(
    store: StoreContextMut<'_, Context>,
    response: Response,
) -> wasmtime::Result<Refusable<types::Response>> {
    let status = response.status;
    if !(200..600).contains(&status) {
        return Ok(Err(Error {
            kind: ErrorKind::Failed,
            message: format!(
                "the object answered with status {status}; a response has 200 to 599, and \
                 101 only after it took the WebSocket"
            ),
            retryable: false,
            value: None,
        }));
    }
    Ok(Ok(types::Response {
        status,
        headers: response.headers,
        body: body::lower(store, response.body)?,
    }))
}

/// The object that an id names. A name that comes with it must be its own, because
/// the object is told.
fn checked(namespace: &id::Namespace, id: types::ObjectId) -> Result<ObjectName, Error> {
    let found = namespace.id_from_string(&id.hex).map_err(bad_id)?;
    let Some(name) = id.name else {
        return Ok(ObjectName {
            id: found,
            name: None,
        });
    };
    let named = namespace.id_from_name(&name);
    if named.id == found {
        return Ok(named);
    }
    Err(invalid(format!(
        "the id {found} was not made from the name {name:?}; leave the name away, or make \
         the id from it"
    )))
}

fn told(object: &ObjectName) -> types::ObjectId {
    types::ObjectId {
        hex: object.id.to_string(),
        name: object.name.as_deref().map(str::to_owned),
    }
}

fn bad_id(error: id::Error) -> Error {
    invalid(error.to_string())
}

fn spent() -> Error {
    invalid(
        "the request whose WebSocket was passed on is answered already; pass it on before the \
         answer"
            .to_owned(),
    )
}

const fn invalid(message: String) -> Error {
    Error {
        kind: ErrorKind::Invalid,
        message,
        retryable: false,
        value: None,
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let retryable = fault.retryable();
        let (kind, message, value) = match &fault {
            Fault::Guest(message) => (ErrorKind::Failed, message.to_string(), None),
            Fault::Declared { value, message } => (
                ErrorKind::Failed,
                message.to_string(),
                Some(value.to_string()),
            ),
            Fault::Reset(_) => (ErrorKind::Reset, fault.to_string(), None),
            Fault::Overloaded { .. } => (ErrorKind::Overloaded, fault.to_string(), None),
            Fault::Exhausted(_) | Fault::Late { .. } | Fault::Away(_) | Fault::ShuttingDown => {
                (ErrorKind::Unavailable, fault.to_string(), None)
            }
            Fault::Reentrant { .. } => (ErrorKind::Reentrant, fault.to_string(), None),
            Fault::BadCall(message) => (ErrorKind::Invalid, message.to_string(), None),
        };
        Self {
            kind,
            message,
            retryable,
            value,
        }
    }
}
