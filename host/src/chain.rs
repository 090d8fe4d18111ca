//! Chain: which objects wait for an event, the nearest first.
//!
//! Made by the guest's imports when an object calls another, carried by the event,
//! asked by `object` for cycles. A list that grows at its head and shares its tail:
//! every call adds one link. Knows no object's state.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::{ObjectId, ObjectName};

/// One instance of one object; unique within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceId(u64);

impl InstanceId {
    #[must_use]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What an object does while it waits for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum During {
    Construct,
    /// An event, numbered by its instance.
    Event(u64),
}

/// An object that waits for a call.
#[derive(Debug)]
pub struct Link {
    pub app: Arc<str>,
    pub class: Arc<str>,
    pub object: ObjectName,
    pub instance: InstanceId,
    pub during: During,
    before: Chain,
    length: u32,
}

/// Cheap to clone; empty for an event from outside.
#[derive(Clone, Debug, Default)]
pub struct Chain(Option<Arc<Link>>);

impl Chain {
    /// No object waits.
    pub const NONE: &'static Self = &Self(None);

    /// The chain of a call that `class`/`object` of `app` makes.
    #[must_use]
    pub fn extended(
        &self,
        (app, class, object): (Arc<str>, Arc<str>, ObjectName),
        instance: InstanceId,
        during: During,
    ) -> Self {
        Self(Some(Arc::new(Link {
            app,
            class,
            object,
            instance,
            during,
            before: self.clone(),
            length: self.length() + 1,
        })))
    }

    /// How many calls lead to the event.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.0.as_ref().map_or(0, |link| link.length)
    }

    /// The objects that wait, the nearest first.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(self.0.as_deref(), |link| link.before.0.as_deref())
    }

    /// Whether an object waits. Two apps may have the same class and the same ids.
    #[must_use]
    pub fn passes(&self, app: &str, class: &str, id: ObjectId) -> bool {
        self.links()
            .any(|link| link.object.id == id && *link.class == *class && *link.app == *app)
    }

    /// The whole chain, ending in `class`/`object`: `A/x -> B/y -> A/x`. Objects of
    /// other apps than the one in which it began have theirs in front: `app:B/y`.
    #[must_use]
    pub fn to(&self, app: &str, class: &str, object: &ObjectName) -> String {
        match self.links().last() {
            Some(first) if *first.app != *app => format!("{self} -> {app}:{class}/{object}"),
            Some(_) => format!("{self} -> {class}/{object}"),
            None => format!("{class}/{object}"),
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut links: Vec<_> = self.links().collect();
        links.reverse();
        let home = links.first().map(|first| first.app.clone());
        for (nth, link) in links.into_iter().enumerate() {
            let arrow = if nth == 0 { "" } else { " -> " };
            match home.as_deref() == Some(&*link.app) {
                true => write!(f, "{arrow}{}/{}", link.class, link.object)?,
                false => write!(f, "{arrow}{}:{}/{}", link.app, link.class, link.object)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Namespace;

    #[test]
    fn a_chain_names_who_waits_and_knows_its_length() {
        let namespace = Namespace::new("A", "A");
        let (x, y) = (namespace.id_from_name("x"), namespace.id_from_name("y"));
        let instance = InstanceId::next();
        let who = |app: &str, object: &ObjectName| (app.into(), "A".into(), object.clone());
        let one = Chain::NONE.extended(who("app", &x), instance, During::Event(0));
        let two = one.extended(who("app", &y), instance, During::Construct);
        assert_eq!((Chain::NONE.length(), two.length()), (0, 2));
        assert_eq!(two.to("app", "A", &x), "A/x -> A/y -> A/x");
        assert_eq!(two.to_string(), "A/x -> A/y");
        assert!(two.passes("app", "A", x.id) && !one.passes("app", "A", y.id));
        assert!(!two.passes("app", "B", x.id) && !two.passes("other", "A", x.id));
        let three = two.extended(who("other", &x), instance, During::Event(1));
        assert_eq!(three.to_string(), "A/x -> A/y -> other:A/x");
        assert_eq!(three.to("app", "A", &x), "A/x -> A/y -> other:A/x -> A/x");
        assert_eq!(two.to("other", "A", &y), "A/x -> A/y -> other:A/y");
    }
}
