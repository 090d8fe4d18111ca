//! Deploy: the versions of one app, kept in its data folder.
//!
//! Used by `host` and by the command line's `serve`. `catalog` is the list and the
//! files; this file says what is served at a start. Knows files and the manifest;
//! neither objects nor wasm.

mod catalog;

pub use catalog::{Catalog, Error, NewVersion, Pruned, Version};
pub(crate) use catalog::{check_whole, digest, read_manifest};

use crate::host::App;

/// What a start serves.
#[derive(Debug)]
pub struct Choice {
    pub app: App,
    /// To be written down once it serves.
    pub new: Option<NewVersion>,
}

/// Decides between what the command line names and what was deployed before. What the
/// command line names counts when it is another than the last time it named something;
/// so a restart brings back what was deployed since, and a new build is served.
pub fn choose(catalog: &Catalog, named: Option<(App, NewVersion)>) -> Result<Choice, Error> {
    let current = catalog.current();
    match (named, current) {
        // No version could bring such an app back, so none is written down.
        (Some((app, _)), _) if check_whole(&app.manifest).is_err() => Ok(Choice { app, new: None }),
        (Some((app, new)), current) => {
            let same_as_before = catalog.seed().is_some_and(|seed| seed == new.identity());
            match current {
                Some(version) if same_as_before => Ok(Choice {
                    app: catalog.app(&version)?,
                    new: None,
                }),
                _ => Ok(Choice {
                    app,
                    new: Some(new),
                }),
            }
        }
        (None, Some(version)) => Ok(Choice {
            app: catalog.app(&version)?,
            new: None,
        }),
        (None, None) => Err(Error::Nothing {
            folder: catalog.folder().to_owned(),
        }),
    }
}
