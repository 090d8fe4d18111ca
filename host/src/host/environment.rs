//! What an app's code finds by name: bindings, variables, secrets, checked against what
//! the code says it needs. Used by `host`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Loading;
use crate::builtin::Builtin;
use crate::deploy::Classes;
use crate::egress::Egress;
use crate::event::Fault;
use crate::guest::{Code, Environment, Need};
use crate::id::Namespace;
use crate::manifest::Manifest;
use crate::object::namespaces;

type Bound = BTreeMap<String, Arc<Namespace>>;

/// What the code of the objects and of the worker in front, if that is a component of
/// its own, finds by name.
///
/// # Errors
/// All bindings to classes that are not there and all needs that are not met, at once.
pub(super) fn environment(
    code: &Code,
    front: Option<&Code>,
    manifest: &Manifest,
    kept_as: &Classes,
    loading: &Loading<'_>,
) -> anyhow::Result<Environment> {
    let mut problems = Vec::new();
    let vars = manifest.vars.iter();
    let around = loading.around;
    let mut kept = loading.secrets.all(&manifest.name)?;
    kept.extend(around.secrets.clone());
    shared(code, kept_as, manifest, &mut problems);
    let environment = Environment {
        app: loading.app.clone(),
        vars: vars
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        namespaces: bound(code, kept_as, manifest, loading, &mut problems),
        secrets: kept,
        call_depth: manifest.limits.call_depth as u32,
        egress: Arc::new(Egress::new(
            manifest.outgoing.clone(),
            around.clock.clone(),
            around.script.clone(),
        )?),
    };
    let needs = [Some(code), front].into_iter().flatten();
    for need in needs.flat_map(Code::needs) {
        let problem = missing(need, &environment, kept_as, manifest);
        if let Some(problem) = problem.filter(|problem| !problems.contains(problem)) {
            problems.push(problem);
        }
    }
    match problems.as_slice() {
        [] => Ok(environment),
        [problem] => anyhow::bail!("{problem}"),
        problems => {
            let count = problems.len();
            let list = problems.join("\n  ");
            anyhow::bail!("{count} things are missing\n  {list}")
        }
    }
}

/// A class is bound under its own name, unless the manifest gives that name to another.
fn bound(
    code: &Code,
    kept_as: &Classes,
    manifest: &Manifest,
    loading: &Loading<'_>,
    problems: &mut Vec<String>,
) -> Bound {
    let classes: Bound = namespaces(code, kept_as)
        .into_iter()
        .map(|(class, namespace)| (class.to_string(), Arc::new(namespace)))
        .collect();
    let mut bound = classes.clone();
    for (binding, to) in &manifest.namespaces {
        let class = &to.class;
        if let Some(app) = to.app.as_deref().filter(|app| **app != **loading.app) {
            let namespace = Namespace::new(class, class).of_app(app);
            bound.insert(binding.clone(), Arc::new(namespace));
            problems.extend(not_shared(binding, app, class, loading));
            continue;
        }
        if let Some(namespace) = classes.get(class) {
            bound.insert(binding.clone(), namespace.clone());
        } else {
            let there: Vec<_> = classes.keys().map(String::as_str).collect();
            problems.push(format!(
                "`namespaces.{binding}` in dormouse.toml leads to class `{class}`, which the \
                 component does not have; it has {}",
                there.join(", ")
            ));
        }
    }
    for (section, builtin, stores) in stores(manifest) {
        for (binding, name) in stores {
            let taken = bound.insert(binding.clone(), builtin.store(name));
            if taken.is_some() && !classes.contains_key(binding) {
                problems.push(format!(
                    "`{section}.{binding}` in dormouse.toml has the name of another binding; \
                     choose another one"
                ));
            }
        }
    }
    bound
}

/// Why objects of another app cannot be called, as far as that app is there and has code.
fn not_shared(binding: &str, app: &str, class: &str, loading: &Loading<'_>) -> Option<String> {
    match loading.neighbours?.shared(loading.app, app, class) {
        Err(Fault::BadCall(why)) => Some(format!("`namespaces.{binding}` in dormouse.toml: {why}")),
        _ => None,
    }
}

/// Only classes that are there can be shared.
fn shared(code: &Code, kept_as: &Classes, manifest: &Manifest, problems: &mut Vec<String>) {
    let classes = namespaces(code, kept_as);
    for class in manifest.share.keys() {
        if !classes.contains_key(class.as_str()) {
            let there: Vec<_> = classes.keys().map(|class| &**class).collect();
            problems.push(format!(
                "`share.{class}` in dormouse.toml names a class that the component does not \
                 have; it has {}",
                there.join(", ")
            ));
        }
    }
}

type Texts = BTreeMap<String, String>;

/// The sections that bind stores.
fn stores(manifest: &Manifest) -> [(&'static str, Builtin, &Texts); 2] {
    [
        ("kv", Builtin::Kv, &manifest.kv),
        ("databases", Builtin::Database, &manifest.databases),
    ]
}

/// What to do about a need that is not met.
fn missing(
    need: &Need,
    environment: &Environment,
    kept_as: &Classes,
    manifest: &Manifest,
) -> Option<String> {
    match need {
        Need::Namespace { binding, class } => {
            let found = environment.namespaces.get(binding);
            let class = class.as_deref();
            match (found, class) {
                // A mistake in the manifest is told already.
                (None, _) if manifest.namespaces.contains_key(binding) => None,
                (None, class) => Some(format!(
                    "the code needs the namespace `{binding}`; add `{binding} = \"{}\"` to \
                     `[namespaces]` in dormouse.toml",
                    class.unwrap_or("Class")
                )),
                (Some(found), Some(class)) if *found.class != *kept_as.root(class) => {
                    Some(format!(
                        "the code needs the namespace `{binding}` to lead to class `{class}`, but it \
                     leads to `{}`; change it in `[namespaces]` in dormouse.toml",
                        found.class
                    ))
                }
                (Some(_), _) => None,
            }
        }
        Need::Variable(name) => (!manifest.vars.contains_key(name)).then(|| {
            format!("the code needs the variable `{name}`; add it to `[vars]` in dormouse.toml")
        }),
        Need::Kv(name) => (!manifest.kv.contains_key(name)).then(|| {
            format!(
                "the code needs the key-value store `{name}`; add `{name} = \"{}\"` to `[kv]` in \
                 dormouse.toml",
                name.to_lowercase()
            )
        }),
        Need::Database(name) => (!manifest.databases.contains_key(name)).then(|| {
            format!(
                "the code needs the database `{name}`; add `{name} = \"{}\"` to `[databases]` in \
                 dormouse.toml",
                name.to_lowercase()
            )
        }),
        Need::Secret(name) => (!environment.secrets.contains_key(name)).then(|| {
            format!("the code needs the secret `{name}`; keep it with `dormouse secret set {name}`")
        }),
    }
}
