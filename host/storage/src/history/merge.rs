//! Merging: neighbouring packs become one, and so fewer and smaller.
//!
//! The before pages of a later pack are what the commits of the earlier ones lead to, and
//! are dropped; what is left of each page is one image and differences. The new pack is
//! durable before the old ones go, and stands for their numbers, so a crash in between
//! leaves both and the next start removes the old ones.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use super::DIR;
use super::pack::{Entry, Index, Kind, ObjectIndex, Pack, Writer};
use crate::disk::Env;
use crate::error::Error;

/// Packs that become one.
const FAN: usize = 8;

/// Before pages of one entry.
const CHUNK_BYTES: usize = 256 << 10;

/// The first run of packs of one level that is long enough.
pub(super) fn choose(packs: &[Pack], most_bytes: u64, most_ms: u64) -> Option<Range<usize>> {
    let starts = 0..packs.len().saturating_sub(FAN - 1);
    starts.map(|at| at..at + FAN).find(|range| {
        let run = &packs[range.clone()];
        let bytes: u64 = run.iter().map(|pack| pack.bytes).sum();
        let (from_ms, to_ms) = (run[0].first_ms, run[FAN - 1].last_ms);
        run.iter().all(|pack| pack.level == run[0].level)
            && bytes <= most_bytes
            && to_ms.saturating_sub(from_ms) <= most_ms
    })
}

/// Writes one pack for `packs`, without the objects `except`; `None` when nothing is left.
pub(super) fn write(
    env: &Env,
    log: u64,
    packs: &[Pack],
    except: &BTreeSet<u128>,
) -> Result<Option<Pack>, Error> {
    let (first, last) = (packs[0].first, packs[packs.len() - 1].last);
    let failed = |source| Error::io("merging packs in", DIR, source);
    let level = packs[0].level + u32::from(packs.len() > 1);
    let indexes: Vec<Index> = packs
        .iter()
        .map(|pack| pack.index(env))
        .collect::<Result<_, _>>()?;
    let objects: BTreeSet<u128> = indexes
        .iter()
        .flat_map(|index| index.keys().copied())
        .filter(|object| !except.contains(object))
        .collect();
    let mut writer = Writer::create(env, log, (first, last), level).map_err(failed)?;
    for object in objects {
        let parts: Vec<(&Pack, &ObjectIndex)> = packs
            .iter()
            .zip(&indexes)
            .filter_map(|(pack, index)| Some((pack, index.get(&object)?)))
            .collect();
        let copied = copy_before(env, &mut writer, object, &parts)
            .and_then(|()| copy_commits(env, &mut writer, object, &parts));
        if let Err(error) = copied {
            writer.discard();
            return Err(error);
        }
    }
    let finished = writer.finish().map_err(failed)?;
    Ok(finished.map(|(pack, _)| pack))
}

/// Of each page the oldest image, if it was there at all before the first commit.
fn copy_before(
    env: &Env,
    writer: &mut Writer,
    object: u128,
    parts: &[(&Pack, &ObjectIndex)],
) -> Result<(), Error> {
    let failed = |source| Error::io("merging packs in", DIR, source);
    let mut seen = HashSet::new();
    let mut first = None;
    let (mut pages, mut count) = (Vec::new(), 0);
    for (pack, index) in parts {
        pack.entries(env, index, &mut |entry: &Entry<'_>| {
            if entry.head.kind != Kind::Before {
                return Ok(());
            }
            let head = *first.get_or_insert(entry.head);
            for encoded in &entry.pages {
                if encoded.number <= head.size_pages && seen.insert(encoded.number) {
                    encoded.put(&mut pages);
                    count += 1;
                }
            }
            if pages.len() >= CHUNK_BYTES {
                writer.put(object, head, count, &pages).map_err(failed)?;
                pages.clear();
                count = 0;
            }
            Ok(())
        })?;
    }
    // At least one, which says the size.
    match first {
        Some(head) => writer.put(object, head, count, &pages).map_err(failed),
        None => Ok(()),
    }
}

fn copy_commits(
    env: &Env,
    writer: &mut Writer,
    object: u128,
    parts: &[(&Pack, &ObjectIndex)],
) -> Result<(), Error> {
    let failed = |source| Error::io("merging packs in", DIR, source);
    for (pack, index) in parts {
        pack.entries(env, index, &mut |entry| match entry.head.kind {
            Kind::Before => Ok(()),
            Kind::Commit => writer
                .copy(object, &entry.head, entry.bytes)
                .map_err(failed),
        })?;
    }
    Ok(())
}
