//! NAMES: what objects are called, for listing them without opening their files.
//!
//! A cache: each object's own file knows its name, too. Checkpoints and recovery append
//! the keys of files they make; an entry that a crash cut off is found out by its CRC32C
//! and overwritten by the next. Entry: length u32, CRC32C u32, key as in a record.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

use crate::disk::Env;
use crate::key::ObjectKey;
use crate::log::record::{put_key, split_key};

pub(crate) const PATH: &str = "NAMES";
const TEMPORARY: &str = "NAMES.tmp";
const HEAD_BYTES: usize = 8;

/// A shorter list is not worth looking through.
const TIDY_BYTES: u64 = 64 << 10;

#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Bytes of valid entries; `None` until they were read.
    end: Mutex<Option<u64>>,
}

impl Names {
    /// Adds those of `keys` that have a name, durably.
    pub(crate) fn append<'a>(
        &self,
        env: &Env,
        keys: impl Iterator<Item = &'a ObjectKey>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        keys.filter(|key| key.name.is_some())
            .for_each(|key| put_entry(key, &mut bytes));
        if bytes.is_empty() {
            return Ok(());
        }
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match *end {
            Some(at) => at,
            None => read_all(env)?.1,
        };
        // Should anything fail from here on, the end is looked for again.
        *end = None;
        let file = env.disk.open(PATH, true)?;
        file.write_at(&bytes, at)?;
        file.set_len(at + bytes.len() as u64)?;
        file.sync()?;
        *end = Some(at + bytes.len() as u64);
        Ok(())
    }

    /// Drops what is said twice or of objects that are gone, if that is more than half.
    /// `present` finds the objects that have files.
    pub(crate) fn tidy(
        &self,
        env: &Env,
        present: impl FnOnce() -> io::Result<HashSet<(String, [u8; 32])>>,
    ) -> io::Result<()> {
        let (keys, end) = read_all(env)?;
        if end < TIDY_BYTES {
            return Ok(());
        }
        let present = present()?;
        let of = |key: &ObjectKey| (key.namespace.clone(), key.id);
        let named: HashSet<_> = keys.iter().map(of).collect();
        if named.intersection(&present).count() * 2 > keys.len() {
            return Ok(());
        }
        self.rewrite(env, |key| present.contains(&of(key)))
    }

    /// Writes the list anew with the keys that `keep` says yes to, each once, durably.
    pub(crate) fn rewrite(&self, env: &Env, keep: impl Fn(&ObjectKey) -> bool) -> io::Result<()> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, _) = read_all(env)?;
        let mut seen = HashSet::new();
        let mut bytes = Vec::new();
        // The last name counts.
        for key in keys.iter().rev().filter(|key| keep(key)) {
            if seen.insert((&key.namespace, key.id)) {
                put_entry(key, &mut bytes);
            }
        }
        *end = None;
        let file = env.disk.open(TEMPORARY, true)?;
        file.set_len(bytes.len() as u64)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        env.disk.rename(TEMPORARY, PATH)?;
        env.disk.sync_dir("")?;
        *end = Some(bytes.len() as u64);
        Ok(())
    }

    /// Names by id, of one namespace.
    pub(crate) fn of(&self, env: &Env, namespace: &str) -> io::Result<HashMap<[u8; 32], String>> {
        let (keys, _) = read_all(env)?;
        let own = keys.into_iter().filter(|key| key.namespace == namespace);
        Ok(own.filter_map(|key| Some((key.id, key.name?))).collect())
    }
}

fn put_entry(key: &ObjectKey, out: &mut Vec<u8>) {
    let mut entry = Vec::new();
    put_key(key, &mut entry);
    out.extend_from_slice(&(entry.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&entry).to_le_bytes());
    out.extend_from_slice(&entry);
}

fn split_entry(bytes: &[u8]) -> Option<(ObjectKey, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (entry, rest) = rest.split_at_checked(word(0) as usize)?;
    let (key, left) = split_key(entry).filter(|_| crc32c::crc32c(entry) == word(4))?;
    left.is_empty().then_some((key, rest))
}

/// All entries, and where they end.
fn read_all(env: &Env) -> io::Result<(Vec<ObjectKey>, u64)> {
    let file = match env.disk.open(PATH, false) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    let (mut keys, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((key, after)) = split_entry(rest) {
        keys.push(key);
        rest = after;
    }
    Ok((keys, (bytes.len() - rest.len()) as u64))
}
