//! Tallies of statements that another object of the same tables has compiled already.
//!
//! How the rows of a statement are counted follows from its program, and the program from
//! its text and the tables it was compiled for. Reading a program takes longer than a small
//! statement takes to run, and objects of a class have the same tables: one of them reads
//! it for all. Tables are the same where the first page says so byte for byte.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::log::delta::PAGE_BYTES;
use crate::sqlite::Tally;

/// So many are kept; then all are read anew.
const MOST: usize = 4096;
/// In bytes; a longer one is not kept.
const LONGEST_TEXT: usize = 4096;
/// Where the tree of tables begins in the first page, and what says that it ends there
/// (sqlite.org/fileformat2.html, sections 1.3 and 1.6).
const TREE: usize = 100;
const LEAF: u8 = 0x0d;
/// The cookie, the formats and the settings of the file. What stands before them changes
/// with every commit.
const COOKIE: usize = 40;
const SETTINGS: std::ops::Range<usize> = COOKIE..92;
/// Where statistics are, they choose the program, too.
const STATISTICS: &[u8] = b"sqlite_stat";

/// The tables of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tables {
    /// SQLite's number for them, which grows with each change.
    pub(crate) cookie: u32,
    digest: [u64; 2],
}

#[derive(Debug, Default)]
pub(crate) struct Tallies {
    /// Two, because one sum of 64 bits may be that of other tables by chance.
    keys: [RandomState; 2],
    known: Mutex<HashMap<(Tables, Box<str>), Tally>>,
}

impl Tallies {
    /// The tables that the first page describes; `None` if it does not describe them all.
    pub(crate) fn tables(&self, page: &[u8; PAGE_BYTES]) -> Option<Tables> {
        let has_statistics = || page.windows(STATISTICS.len()).any(|at| at == STATISTICS);
        if page[TREE] != LEAF || has_statistics() {
            return None;
        }
        let bytes = (&page[SETTINGS], &page[TREE..]);
        let cookie = page[COOKIE..].first_chunk().expect("a page is longer");
        Some(Tables {
            cookie: u32::from_be_bytes(*cookie),
            digest: [&self.keys[0], &self.keys[1]].map(|key| key.hash_one(bytes)),
        })
    }

    pub(crate) fn get(&self, tables: Tables, text: &str) -> Option<Tally> {
        self.known().get(&(tables, text.into())).copied()
    }

    pub(crate) fn put(&self, tables: Tables, text: &str, tally: Tally) {
        if text.len() > LONGEST_TEXT {
            return;
        }
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((tables, text.into()), tally);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(Tables, Box<str>), Tally>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cookie: u32, tree: &[u8]) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        page[COOKIE..COOKIE + 4].copy_from_slice(&cookie.to_be_bytes());
        page[TREE] = LEAF;
        page[TREE + 1..][..tree.len()].copy_from_slice(tree);
        page
    }

    #[test]
    fn tables_are_the_same_whatever_else_was_committed() {
        let tallies = Tallies::default();
        let (one, mut same) = (page(7, b"CREATE TABLE a"), page(7, b"CREATE TABLE a"));
        same[24..28].copy_from_slice(b"\0\0\0\x63");
        assert!(
            tallies
                .tables(&one)
                .is_some_and(|tables| tables.cookie == 7)
        );
        assert_eq!(tallies.tables(&one), tallies.tables(&same));
        let other = page(7, b"CREATE TABLE b");
        assert_ne!(tallies.tables(&one), tallies.tables(&other));
        let later = page(8, b"CREATE TABLE a");
        assert_ne!(tallies.tables(&one), tallies.tables(&later));
    }

    #[test]
    fn a_page_that_does_not_say_everything_says_nothing() {
        let tallies = Tallies::default();
        let mut longer = page(7, b"");
        longer[TREE] = 0x05;
        assert_eq!(tallies.tables(&longer), None);
        assert_eq!(tallies.tables(&page(7, b"CREATE TABLE sqlite_stat1")), None);
    }

    #[test]
    fn the_number_kept_is_bounded() {
        let tallies = Tallies::default();
        let tables = tallies.tables(&page(1, b"")).unwrap();
        (0..MOST + 2).for_each(|n| tallies.put(tables, &n.to_string(), Tally::Unknown));
        assert_eq!(tallies.known().len(), 2);
        assert_eq!(tallies.get(tables, "0"), None);
        assert_eq!(tallies.get(tables, &MOST.to_string()), Some(Tally::Unknown));
    }
}
