//! Difference: how one version differs from another. Pure, but for the lists of assets.

use std::collections::BTreeMap;

use super::blobs::Asset;
use super::{Catalog, Error, Version};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Lines of the manifest with ` `, `-` or `+` before each; none if it is the same.
    pub manifest: Vec<String>,
    /// Component, worker and certificates that differ.
    pub parts: Vec<Changed>,
    pub classes_added: Vec<String>,
    pub classes_removed: Vec<String>,
    pub assets: Vec<Changed>,
}

/// A file that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub name: String,
    pub before: Option<Asset>,
    pub after: Option<Asset>,
}

type Files = BTreeMap<String, Asset>;

impl Catalog {
    /// What changes from one version to another.
    pub fn difference(&self, from: u64, to: u64) -> Result<Difference, Error> {
        let (from, to) = (self.version(from)?, self.version(to)?);
        let (old, new) = (self.assets(&from)?.files, self.assets(&to)?.files);
        let missing = |here: &Version, there: &Version| -> Vec<String> {
            let gone = here.classes.iter();
            let gone = gone.filter(|class| !there.classes.contains(class));
            gone.cloned().collect()
        };
        Ok(Difference {
            manifest: lines(&from.manifest, &to.manifest),
            parts: files(&self.parts(&from)?, &self.parts(&to)?),
            classes_added: missing(&to, &from),
            classes_removed: missing(&from, &to),
            assets: files(&old, &new),
        })
    }

    fn parts(&self, version: &Version) -> Result<Files, Error> {
        let parts = &version.parts;
        let named = [
            ("component", Some(&parts.component)),
            ("worker.component", parts.worker.as_ref()),
            ("outgoing.ca", parts.ca.as_ref()),
        ];
        let given = named
            .into_iter()
            .filter_map(|(name, part)| Some((name, part?)));
        let described = given.map(|(name, digest)| {
            let sha256 = digest.clone();
            let bytes = self.blob_bytes(digest)?;
            Ok((name.to_owned(), Asset { sha256, bytes }))
        });
        described.collect()
    }
}

fn files(before: &Files, after: &Files) -> Vec<Changed> {
    let names = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)));
    let pairs = names.map(|name| (name, before.get(name), after.get(name)));
    let differ = pairs.filter(|(_, before, after)| before != after);
    let mut changed: Vec<_> = differ
        .map(|(name, before, after)| Changed {
            name: name.clone(),
            before: before.cloned(),
            after: after.cloned(),
        })
        .collect();
    changed.sort_by(|one, two| one.name.cmp(&two.name));
    changed
}

/// The lines of two texts by their longest common subsequence.
fn lines(before: &str, after: &str) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    // How many lines are common from here on.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for at in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            common[at][to] = match old[at] == new[to] {
                true => common[at + 1][to + 1] + 1,
                false => common[at + 1][to].max(common[at][to + 1]),
            };
        }
    }
    let (mut at, mut to, mut lines) = (0, 0, Vec::new());
    while at < old.len() || to < new.len() {
        let same = at < old.len() && to < new.len() && old[at] == new[to];
        let removed =
            at < old.len() && (to == new.len() || common[at + 1][to] >= common[at][to + 1]);
        let (mark, line) = match (same, removed) {
            (true, _) => (' ', old[at]),
            (false, true) => ('-', old[at]),
            (false, false) => ('+', new[to]),
        };
        at += usize::from(same || removed);
        to += usize::from(same || !removed);
        lines.push(format!("{mark}{line}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_added_and_removed() {
        assert!(lines("a\nb", "a\nb").is_empty());
        assert_eq!(lines("a\nb\nc", "a\nc\nd"), [" a", "-b", " c", "+d"]);
        assert_eq!(lines("", "a"), ["+a"]);
        assert_eq!(lines("a\nb", ""), ["-a", "-b"]);
    }

    #[test]
    fn files_are_added_removed_and_changed() {
        let file = |name: &str, bytes| {
            let sha256 = format!("{name}{bytes}");
            (name.to_owned(), Asset { sha256, bytes })
        };
        let before = Files::from([file("b", 1), file("same", 2), file("z", 3)]);
        let after = Files::from([file("a", 4), file("same", 2), file("z", 5)]);
        let changed = files(&before, &after);
        let seen: Vec<_> = changed
            .iter()
            .map(|one| {
                let bytes = |asset: &Option<Asset>| asset.as_ref().map(|asset| asset.bytes);
                (&*one.name, bytes(&one.before), bytes(&one.after))
            })
            .collect();
        let expected = [
            ("a", None, Some(4)),
            ("b", Some(1), None),
            ("z", Some(3), Some(5)),
        ];
        assert_eq!(seen, expected);
    }
}
