//! Environment: what a guest finds by name. Made by `host` from the manifest and the
//! classes that are served; the same for every instance of the app.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::egress::Egress;
use crate::id::Namespace;
use crate::secrets::Secret;

#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The app's name.
    pub app: Arc<str>,
    pub vars: Vec<(String, String)>,
    /// Bindings to namespaces.
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    pub secrets: BTreeMap<String, Secret>,
    /// How many calls may wait for each other, one inside the other.
    pub call_depth: u32,
    /// The way to the outside.
    pub egress: Arc<Egress>,
}
