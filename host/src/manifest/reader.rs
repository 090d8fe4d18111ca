//! Reader: takes a parsed document apart and collects what is wrong with it.
//!
//! Used by `manifest` alone; knows tables, keys and types, not what the keys mean.
//! A key nobody asked for is a mistake, found when its section is finished.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

pub(super) struct Mistakes<'t> {
    text: &'t str,
    found: Vec<Mistake>,
}

impl<'t> Mistakes<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Mistakes {
            text,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, offset: usize, message: impl Into<String>) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.found.push(Mistake {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn none_or_all(mut self) -> Result<(), Vec<Mistake>> {
        self.found.sort();
        self.found.dedup();
        if self.found.is_empty() {
            Ok(())
        } else {
            Err(self.found)
        }
    }
}

/// A table whose keys are taken one by one; what is left over is unknown.
pub(super) struct Section<'i> {
    name: &'static str,
    pub(super) table: DeTable<'i>,
    known: Vec<&'static str>,
    written: Vec<&'static str>,
}

impl<'i> Section<'i> {
    pub(super) fn new(name: &'static str, table: DeTable<'i>) -> Self {
        Section {
            name,
            table,
            known: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Under this path in what is said of its keys.
    pub(super) fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    fn remove(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        self.written.push(key);
        Some(value)
    }

    pub(super) fn was_written(&self, key: &str) -> bool {
        self.written.contains(&key)
    }

    /// The value of a key; `None` if it is absent or `read` found a mistake.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
        read: impl FnOnce(DeValue<'i>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.remove(key)?;
        let offset = value.span().start;
        read(value.into_inner())
            .map_err(|message| mistakes.add(offset, format!("`{}`: {message}", self.path(key))))
            .ok()
    }

    pub(super) fn section(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Section<'i> {
        let table = self.take(key, mistakes, |value| match value {
            DeValue::Table(table) => Ok(table),
            other => Err(wrong_type("a table", &other)),
        });
        Section::new(key, table.unwrap_or_default())
    }

    fn path(&self, key: &str) -> String {
        match self.name {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }

    pub(super) fn finish(self, mistakes: &mut Mistakes<'_>) {
        for key in self.table.keys() {
            let path = self.path(key.get_ref());
            let hint = match nearest(key.get_ref(), &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            mistakes.add(key.span().start, format!("unknown key `{path}`; {hint}"));
        }
    }
}

pub(super) fn string(value: DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.into_owned()),
        other => Err(wrong_type("a string", &other)),
    }
}

pub(super) fn strings(value: DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(items) => {
            let items = items.into_iter();
            items.map(|item| string(item.into_inner())).collect()
        }
        other => Err(wrong_type("a list of strings", &other)),
    }
}

pub(super) fn not_empty(value: DeValue<'_>) -> Result<String, String> {
    match string(value)? {
        text if text.trim().is_empty() => Err("is empty".to_owned()),
        text => Ok(text),
    }
}

pub(super) fn integer(value: DeValue<'_>, range: RangeInclusive<u64>) -> Result<u64, String> {
    let DeValue::Integer(written) = &value else {
        return Err(wrong_type("a whole number", &value));
    };
    u64::from_str_radix(written.as_str(), written.radix())
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (low, high) = range.into_inner();
            format!("{written} is not within {low} and {high}")
        })
}

fn wrong_type(wanted: &str, found: &DeValue<'_>) -> String {
    format!("expected {wanted}, found {}", found.type_str())
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
