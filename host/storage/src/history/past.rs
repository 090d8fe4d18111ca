//! The past: an object's pages as they were at a position.
//!
//! Built from its file and packs, newest pack first: back over whole packs, then forward
//! to the commit in the one that holds it.

use std::collections::BTreeMap;

use super::pack::{Entry, Kind, ObjectIndex, Pack};
use crate::disk::Env;
use crate::error::Error;
use crate::log::delta::{PAGE_BYTES, Page};

/// The pages of an object that differ from its file, and its size then.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) size: u32,
    pub(crate) pages: BTreeMap<u32, Box<Page>>,
}

impl Past {
    /// The present: a file of `size` pages.
    pub(crate) fn new(size: u32) -> Past {
        Past {
            size,
            pages: BTreeMap::new(),
        }
    }

    /// Goes back to before the object's first commit in `pack`.
    pub(super) fn back(
        &mut self,
        env: &Env,
        pack: &Pack,
        index: &ObjectIndex,
    ) -> Result<(), Error> {
        pack.entries(env, index, &mut |entry| {
            if entry.head.kind == Kind::Before {
                self.size = entry.head.size_pages;
                for encoded in &entry.pages {
                    let page = encoded.decode(None).ok_or_else(|| lost(pack, entry))?;
                    self.pages.insert(encoded.number, page);
                }
            }
            Ok(())
        })?;
        self.pages.split_off(&(self.size.saturating_add(1)));
        Ok(())
    }

    /// Goes forward over the object's commits in `pack` that end at or before `position`.
    pub(super) fn forward(
        &mut self,
        env: &Env,
        pack: &Pack,
        index: &ObjectIndex,
        position: u64,
    ) -> Result<(), Error> {
        pack.entries(env, index, &mut |entry| {
            if entry.head.kind == Kind::Before || entry.head.end > position {
                return Ok(());
            }
            // Behind the old end a file reads as zeros.
            for number in self.size + 1..=entry.head.size_pages {
                self.pages.insert(number, Box::new([0; PAGE_BYTES]));
            }
            for encoded in &entry.pages {
                let base = self.pages.get(&encoded.number).map(|page| &**page);
                let page = encoded.decode(base).ok_or_else(|| lost(pack, entry))?;
                self.pages.insert(encoded.number, page);
            }
            self.size = entry.head.size_pages;
            self.pages.split_off(&(self.size.saturating_add(1)));
            Ok(())
        })
    }
}

fn lost(pack: &Pack, entry: &Entry<'_>) -> Error {
    match entry.head.kind {
        Kind::Commit => pack.damaged(),
        Kind::Before => Error::Format {
            path: super::path(&pack.name()).into(),
            found: format!(
                "lacks a page that was damaged in the object's file at position {}",
                entry.head.start
            ),
            advice: "choose a later moment",
        },
    }
}
