//! Deploy: the versions of one app, kept in its data folder.
//!
//! Used by `host` and by the command line. `catalog` is the list, `blobs` the files,
//! `parcel` what an app's folder has for them, `classes` where objects are kept; this
//! file says what is served at a start. Knows files and the manifest; neither objects
//! nor wasm.

mod blobs;
mod catalog;
mod classes;
mod difference;
mod parcel;

pub use blobs::{Asset, AssetList};
pub use catalog::{Catalog, Error, NewVersion, Parts, Pruned, Returned, Rollout, Version};
pub use classes::{ClassError, Classes, Deleted, Steps};
pub use difference::{Changed, Difference};
pub use parcel::{Packed, Parcel};

use crate::host::App;

/// What a start serves.
#[derive(Debug)]
pub struct Choice {
    pub app: App,
    /// To be written down once it serves.
    pub new: Option<(NewVersion, Parcel)>,
}

/// Decides between what the command line names and what was deployed before. What the
/// command line names counts when it is another than the last time it named something;
/// so a restart brings back what was deployed since, and a new build is served.
pub fn choose(
    catalog: &Catalog,
    named: Option<(App, NewVersion, Parcel)>,
) -> Result<Choice, Error> {
    let current = catalog.current();
    match (named, current) {
        (Some((app, new, parcel)), current) => {
            let same_as_before = catalog.seed().is_some_and(|seed| seed == new.identity());
            match current {
                Some(version) if same_as_before => Ok(Choice {
                    app: catalog.app(&version)?,
                    new: None,
                }),
                _ => Ok(Choice {
                    app,
                    new: Some((new, parcel)),
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
