//! `[limits.sql]`: what one statement, value or result may take.
//!
//! The defaults are those of `storage`; the upper bounds are SQLite's own, or what fits
//! into an object's memory.

use std::ops::RangeInclusive;

use dormouse_storage::Limits;

use super::reader::{Mistakes, Section, integer};

/// Reads the section into storage's limits; `database_bytes` stands elsewhere.
pub(super) fn read(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> Limits {
    let mut limits = Limits::default();
    let mut take = |key, range: RangeInclusive<u64>| {
        section.take(key, mistakes, |value| integer(value, range))
    };
    let mut small = |key, place: &mut u32, range: RangeInclusive<u32>| {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        if let Some(value) = take(key, range).and_then(|value| u32::try_from(value).ok()) {
            *place = value;
        }
    };
    small("value_bytes", &mut limits.value_bytes, 1_024..=256 << 20);
    small(
        "statement_bytes",
        &mut limits.statement_bytes,
        1_024..=64 << 20,
    );
    small("columns", &mut limits.columns, 1..=2_000);
    small("parameters", &mut limits.parameters, 1..=32_766);
    small(
        "function_arguments",
        &mut limits.function_arguments,
        6..=1_000,
    );
    small(
        "like_pattern_bytes",
        &mut limits.like_pattern_bytes,
        1..=50_000,
    );
    small(
        "compound_select_terms",
        &mut limits.compound_select_terms,
        2..=500,
    );
    small("expression_depth", &mut limits.expression_depth, 1..=1_000);
    small("trigger_depth", &mut limits.trigger_depth, 1..=1_000);
    small("program_ops", &mut limits.program_ops, 1_000..=250_000_000);
    if let Some(rows) = take("result_rows", 1..=1_000_000_000) {
        limits.result_rows = rows;
    }
    if let Some(bytes) = take("result_bytes", 1_024..=1 << 30) {
        limits.result_bytes = bytes;
    }
    section.finish(mistakes);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Manifest, Mistake};

    #[test]
    fn every_key_is_read_and_none_is_needed() {
        let text = r#"
            name = "a"
            [limits.sql]
            value_bytes = 2048
            statement_bytes = 4096
            columns = 1
            parameters = 2
            function_arguments = 6
            like_pattern_bytes = 4
            compound_select_terms = 5
            expression_depth = 6
            trigger_depth = 7
            program_ops = 8_000
            result_rows = 9
            result_bytes = 10_240
        "#;
        let limits = Manifest::parse(text, None).unwrap().limits.sql;
        let expected = Limits {
            database_bytes: Limits::default().database_bytes,
            value_bytes: 2_048,
            statement_bytes: 4_096,
            columns: 1,
            parameters: 2,
            function_arguments: 6,
            like_pattern_bytes: 4,
            compound_select_terms: 5,
            expression_depth: 6,
            trigger_depth: 7,
            program_ops: 8_000,
            result_rows: 9,
            result_bytes: 10_240,
        };
        assert_eq!(limits, expected);
        let none = Manifest::parse("name = \"a\"", None).unwrap();
        assert_eq!(none.limits.sql, Limits::default());
    }

    #[test]
    fn wrong_values_are_told_with_their_place() {
        let text = "name = \"a\"\n[limits.sql]\ncolumns = 2001\nrows = 1\n";
        let found = Manifest::parse(text, None).expect_err("two mistakes");
        let found: Vec<_> = found.iter().map(Mistake::to_string).collect();
        assert_eq!(
            found[0],
            "3:11: `limits.sql.columns`: 2001 is not within 1 and 2000"
        );
        assert!(
            found[1].starts_with("4:1: unknown key `limits.sql.rows`"),
            "{found:?}"
        );
    }
}
