//! `[[migrations]]`: what became of classes that had objects, step by step.
//!
//! Read by `manifest`, kept by `deploy` once it was applied. A step has a tag that no
//! other has; inside one, deletions come first, then renames in their order.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::reader::{Mistakes, Section, not_empty, string, strings};

/// One step. Never changes once it was applied somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    pub tag: String,
    /// Classes whose objects go, with all they ever were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted_classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed_classes: Vec<Rename>,
    /// Classes that begin without objects, whoever had their names before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_classes: Vec<String>,
}

/// A class that goes on under another name, with its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    pub from: String,
    pub to: String,
}

impl Migration {
    /// Whether code from before it can be served after it.
    #[must_use]
    pub const fn changes_nothing(&self) -> bool {
        self.deleted_classes.is_empty() && self.renamed_classes.is_empty()
    }

    /// Whether a class of this name begins here.
    #[must_use]
    pub fn begins(&self, class: &str) -> bool {
        let renamed = self.renamed_classes.iter().any(|one| one.to == class);
        renamed || self.new_classes.iter().any(|one| one == class)
    }

    /// Whether no class has this name any more from here on.
    #[must_use]
    pub fn ends(&self, class: &str) -> bool {
        let renamed = self.renamed_classes.iter().any(|one| one.from == class);
        renamed || self.deleted_classes.iter().any(|one| one == class)
    }
}

pub(super) fn read(root: &mut Section<'_>, mistakes: &mut Mistakes<'_>) -> Vec<Migration> {
    let tables = root.take("migrations", mistakes, tables);
    let mut tags = BTreeSet::new();
    let mut migrations = Vec::new();
    for (offset, table) in tables.into_iter().flatten() {
        let mut section = Section::new("migrations", table);
        let mut step = Migration {
            tag: section.take("tag", mistakes, not_empty).unwrap_or_default(),
            ..Migration::default()
        };
        let mut take = |key| section.take(key, mistakes, classes).unwrap_or_default();
        step.deleted_classes = take("deleted_classes");
        step.new_classes = take("new_classes");
        let renamed = section.take("renamed_classes", mistakes, renames);
        step.renamed_classes = renamed.unwrap_or_default();
        if !section.was_written("tag") {
            let example = "a step has a `tag` of its own; write `tag = \"v1\"`";
            mistakes.add(offset, format!("`migrations`: {example}"));
        } else if !step.tag.is_empty() && !tags.insert(step.tag.clone()) {
            let tag = &step.tag;
            mistakes.add(offset, format!("`migrations`: two have the tag {tag:?}"));
        }
        section.finish(mistakes);
        migrations.push(step);
    }
    migrations
}

fn tables(value: DeValue<'_>) -> Result<Vec<(usize, DeTable<'_>)>, String> {
    let wrong = || "expected a list of tables; write `[[migrations]]`".to_owned();
    let DeValue::Array(items) = value else {
        return Err(wrong());
    };
    let tables = items.into_iter().map(|item| {
        let offset = item.span().start;
        match item.into_inner() {
            DeValue::Table(table) => Ok((offset, table)),
            _ => Err(wrong()),
        }
    });
    tables.collect()
}

fn classes(value: DeValue<'_>) -> Result<Vec<String>, String> {
    let names = strings(value)?;
    names.into_iter().map(class).collect()
}

fn renames(value: DeValue<'_>) -> Result<Vec<Rename>, String> {
    let read = |mut table: DeTable<'_>| {
        let mut take = |key: &str| {
            let value = table.remove(key)?.into_inner();
            Some(string(value).and_then(class))
        };
        match (take("from"), take("to")) {
            (Some(from), Some(to)) if table.is_empty() => Ok(Rename {
                from: from?,
                to: to?,
            }),
            _ => Err("write `{ from = \"Old\", to = \"New\" }`".to_owned()),
        }
    };
    let renames = tables(value).map_err(|_| "expected a list of tables".to_owned())?;
    renames.into_iter().map(|(_, table)| read(table)).collect()
}

/// The names that a component's classes can have.
fn class(name: String) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.len() <= 64 && name.chars().all(allowed) {
        true => Ok(name),
        false => Err(format!("{name:?} cannot name a class")),
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::Manifest;

    #[test]
    fn steps_are_read_in_order() {
        let text = r#"
            name = "a"
            [[migrations]]
            tag = "v1"
            new_classes = ["Room"]
            [[migrations]]
            tag = "v2"
            renamed_classes = [{ from = "Room", to = "Hall" }]
            deleted_classes = ["Old"]
        "#;
        let [one, two] = &Manifest::parse(text, None).unwrap().migrations[..] else {
            panic!("there are two");
        };
        assert!(one.changes_nothing() && one.begins("Room") && one.tag == "v1");
        assert!(!two.changes_nothing() && two.begins("Hall"));
        assert!(two.ends("Room") && two.ends("Old") && !two.ends("Hall"));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let text = "name = \"a\"\n\
            [[migrations]]\n\
            new_classes = [\"a b\"]\n\
            [[migrations]]\n\
            tag = \"v1\"\n\
            renamed_classes = [{ from = \"A\" }]\n\
            [[migrations]]\n\
            tag = \"v1\"\n\
            new_class = []\n";
        let found = Manifest::parse(text, None).unwrap_err();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let expected = [
            "2:1: `migrations`: a step has a `tag` of its own; write `tag = \"v1\"`",
            "3:15: `migrations.new_classes`: \"a b\" cannot name a class",
            "6:19: `migrations.renamed_classes`: write `{ from = \"Old\", to = \"New\" }`",
            "7:1: `migrations`: two have the tag \"v1\"",
            "9:1: unknown key `migrations.new_class`; did you mean `new_classes`?",
        ];
        assert_eq!(found, expected);
    }
}
