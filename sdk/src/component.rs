//! What the component exports: the classes it holds, and the one object that
//! its instance is.
//!
//! Called by the host through `bindings`; the only place that knows which
//! object lives here. Invariant: `construct` succeeds at most once, before any
//! event. Source: `wit/object.wit`.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use crate::bindings::dormouse::object::types as wit;
use crate::bindings::exports::dormouse::object::object as exports;
use crate::http::{Request, Response};
use crate::{DurableObject, Env, Error, Result, State, logging};

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

type Object = Rc<dyn Events>;

/// One entry of the component's list of classes, made by `#[durable_object]`.
#[derive(Debug)]
pub struct Class {
    name: &'static str,
    construct: fn(State, Env) -> LocalFuture<'static, Result<Object>>,
}

inventory::collect!(Class);

impl Class {
    /// The class that makes objects of the type `O`.
    pub const fn of<O: DurableObject>(name: &'static str) -> Self {
        Self {
            name,
            construct: |state, env| {
                Box::pin(async { Ok(Rc::new(O::new(state, env).await?) as Object) })
            },
        }
    }

    /// All classes, by name. Two of one name would make which one serves an
    /// accident of linking, so that is refused.
    fn all() -> Vec<&'static Self> {
        let mut classes: Vec<_> = inventory::iter::<Self>.into_iter().collect();
        classes.sort_by_key(|class| class.name);
        for pair in classes.windows(2) {
            assert_ne!(
                pair[0].name, pair[1].name,
                "two classes bear this name; give one of them another: \
                 `#[durable_object(name = \"…\")]`"
            );
        }
        classes
    }

    fn named(name: &str) -> Option<&'static Self> {
        Self::all().into_iter().find(|class| class.name == name)
    }
}

/// `DurableObject` as the exports need it: without its type.
trait Events {
    fn fetch(&self, request: Request) -> LocalFuture<'_, Result<Response>>;
}

impl<O: DurableObject> Events for O {
    fn fetch(&self, request: Request) -> LocalFuture<'_, Result<Response>> {
        Box::pin(DurableObject::fetch(self, request))
    }
}

thread_local! {
    static OBJECT: OnceCell<Object> = const { OnceCell::new() };
}

fn object() -> Object {
    OBJECT
        .with(|object| object.get().cloned())
        .expect("the host constructs before it delivers")
}

/// The implementation of the exported interface.
pub(crate) struct Component;

impl exports::Guest for Component {
    fn classes() -> Vec<exports::Class> {
        Class::all()
            .into_iter()
            .map(|class| exports::Class {
                name: class.name.to_owned(),
            })
            .collect()
    }

    async fn construct(class: String, id: wit::ObjectId) -> Result<(), wit::Failure> {
        logging::install();
        construct(&class, id).await.map_err(failure)
    }

    async fn fetch(request: wit::Request) -> Result<wit::Response, wit::Failure> {
        fetch(request).await.map_err(failure)
    }
}

async fn construct(class: &str, id: wit::ObjectId) -> Result<()> {
    let Some(class) = Class::named(class) else {
        let names: Vec<_> = Class::all().iter().map(|class| class.name).collect();
        anyhow::bail!("this component has no class `{class}`; it has {names:?}");
    };
    let object = (class.construct)(State::new(id.into()), Env::new()).await?;
    let first = OBJECT.with(|slot| slot.set(object)).is_ok();
    anyhow::ensure!(first, "this instance is an object already");
    Ok(())
}

async fn fetch(request: wit::Request) -> Result<wit::Response> {
    let request = Request::from_wit(request)?;
    object().fetch(request).await?.into_wit()
}

/// The whole chain of causes: it is all the host's log will ever see.
fn failure(error: Error) -> wit::Failure {
    wit::Failure {
        message: format!("{error:#}"),
    }
}
