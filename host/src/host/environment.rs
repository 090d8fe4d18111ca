//! What an app's code finds by name: the manifest's bindings, checked against the
//! classes that are there. Used by `host`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::egress::Egress;
use crate::guest::{Code, Environment};
use crate::manifest::Manifest;
use crate::object::namespaces;

/// What the code finds by name. A class is bound under its own name, unless the
/// manifest gives that name to another.
pub(super) fn environment(
    code: &Code,
    manifest: &Manifest,
    clock: &Clock,
) -> anyhow::Result<Environment> {
    let classes: BTreeMap<_, _> = namespaces(code)
        .into_iter()
        .map(|(class, namespace)| (class.to_string(), Arc::new(namespace)))
        .collect();
    let mut bound = classes.clone();
    let mut wrong = Vec::new();
    for (binding, class) in &manifest.namespaces {
        match classes.get(class) {
            Some(namespace) => {
                bound.insert(binding.clone(), namespace.clone());
            }
            None => wrong.push(format!("`namespaces.{binding}` leads to class `{class}`")),
        }
    }
    anyhow::ensure!(
        wrong.is_empty(),
        "{} in dormouse.toml, which the component does not have; it has {}",
        wrong.join(" and "),
        classes.into_keys().collect::<Vec<_>>().join(", ")
    );
    let vars = manifest.vars.iter();
    Ok(Environment {
        vars: vars
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        namespaces: bound,
        call_depth: manifest.limits.call_depth as u32,
        egress: Arc::new(Egress::new(manifest.outgoing.clone(), clock.clone())),
    })
}
