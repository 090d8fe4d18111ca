//! What the component needs from its app, told to the host when it is loaded.

use std::any::TypeId;

use crate::bindings::exports::dormouse::object::requirements as exports;
use crate::component::{Class, Component};

/// One entry of the component's list of needs, made by [`needs!`](crate::needs).
#[derive(Debug)]
pub struct Need {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Namespace(fn() -> TypeId),
    Variable,
    Secret,
    Kv,
    Database,
}

inventory::collect!(Need);

impl Need {
    /// A binding to the class `C`.
    pub const fn namespace<C: 'static>(name: &'static str) -> Self {
        let kind = Kind::Namespace(TypeId::of::<C>);
        Self { name, kind }
    }

    /// A variable.
    pub const fn variable(name: &'static str) -> Self {
        let kind = Kind::Variable;
        Self { name, kind }
    }

    /// A secret.
    pub const fn secret(name: &'static str) -> Self {
        let kind = Kind::Secret;
        Self { name, kind }
    }

    /// A key-value store.
    pub const fn kv(name: &'static str) -> Self {
        let kind = Kind::Kv;
        Self { name, kind }
    }

    /// An SQL database.
    pub const fn database(name: &'static str) -> Self {
        let kind = Kind::Database;
        Self { name, kind }
    }

    fn told(&self) -> exports::Need {
        let name = self.name.to_owned();
        match self.kind {
            Kind::Namespace(class) => exports::Need::Namespace(exports::NamespaceNeed {
                binding: name,
                // A stub alone says nothing about the class behind it.
                class: Class::name_of(class()).map(str::to_owned),
            }),
            Kind::Variable => exports::Need::Variable(name),
            Kind::Secret => exports::Need::Secret(name),
            Kind::Kv => exports::Need::Kv(name),
            Kind::Database => exports::Need::Database(name),
        }
    }
}

impl exports::Guest for Component {
    fn needs() -> Vec<exports::Need> {
        inventory::iter::<Need>
            .into_iter()
            .map(Need::told)
            .collect()
    }
}

/// Declares what the code needs from `dormouse.toml` and its operator. Each name
/// becomes a constant, and what is missing is an error when the app is loaded, not at
/// the first request.
///
/// ```no_run
/// use dormouse_sdk::prelude::*;
///
/// needs! {
///     /// Where people meet.
///     namespace ROOMS: Stub;
///     var GREETING;
///     secret MAIL_KEY;
///     kv CACHE;
///     database DB;
/// }
///
/// # fn handler(env: &Env) -> Result<()> {
/// let lobby = env.namespace::<Stub>(ROOMS)?.get_by_name("lobby");
/// let greeting = env.var(GREETING)?;
/// let key = env.secret(MAIL_KEY)?;
/// # Ok(())
/// # }
/// # fn main() {}
/// ```
///
/// A namespace that is declared for a class of this component must lead to that class;
/// one that is declared for a stub may lead to any.
#[macro_export]
macro_rules! needs {
    () => {};
    ($(#[$about:meta])* $vis:vis namespace $name:ident : $class:ty; $($rest:tt)*) => {
        $crate::needs!(@one [$(#[$about])*] [$vis] $name, namespace::<$class>);
        $crate::needs! { $($rest)* }
    };
    ($(#[$about:meta])* $vis:vis var $name:ident; $($rest:tt)*) => {
        $crate::needs!(@one [$(#[$about])*] [$vis] $name, variable);
        $crate::needs! { $($rest)* }
    };
    ($(#[$about:meta])* $vis:vis secret $name:ident; $($rest:tt)*) => {
        $crate::needs!(@one [$(#[$about])*] [$vis] $name, secret);
        $crate::needs! { $($rest)* }
    };
    ($(#[$about:meta])* $vis:vis kv $name:ident; $($rest:tt)*) => {
        $crate::needs!(@one [$(#[$about])*] [$vis] $name, kv);
        $crate::needs! { $($rest)* }
    };
    ($(#[$about:meta])* $vis:vis database $name:ident; $($rest:tt)*) => {
        $crate::needs!(@one [$(#[$about])*] [$vis] $name, database);
        $crate::needs! { $($rest)* }
    };
    (@one [$($about:tt)*] [$vis:vis] $name:ident, $($need:tt)*) => {
        $($about)*
        $vis const $name: &str = ::core::stringify!($name);
        const _: () = {
            $crate::__private::inventory::submit! {
                $crate::__private::Need::$($need)*(::core::stringify!($name))
            }
        };
    };
}
