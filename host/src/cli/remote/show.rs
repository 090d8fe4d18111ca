//! Show: tables, JSON and times for people.

use comfy_table::{Cell, Table, presets};
use serde::Serialize;

use crate::cli::terminal;

pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    terminal::print(format_args!("{text}\n"));
    Ok(())
}

/// Columns under their heads; nothing but the heads if there are no rows.
pub(super) fn table<const COLUMNS: usize>(
    heads: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) {
    let mut table = plain();
    table.set_header(heads.map(Cell::new));
    table.add_rows(rows);
    print(&table);
}

/// A result of SQL, with lines around it.
pub(super) fn result(columns: &[String], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(columns);
    table.add_rows(rows);
    print(&table);
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn print(table: &Table) {
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    terminal::print(lines.collect::<String>());
}

/// Escapes what would move the cursor: names and texts are a stranger's.
pub(super) fn clean(text: &str) -> String {
    let clean = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(clean).collect()
}

/// `2030-01-01 00:00:00Z`, or `-` without one.
pub(super) fn time(ms: Option<i64>) -> String {
    let stamp = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(
        || "-".to_owned(),
        |stamp| stamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// `12 ms`, `3.4 s`, `5 min`, `7 h`.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1e3),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_read_well() {
        assert_eq!(time(Some(1_893_456_000_000)), "2030-01-01 00:00:00Z");
        assert_eq!(time(None), "-");
        assert_eq!(
            [5, 1_500, 90_000, 7_200_000].map(duration),
            ["5 ms", "1.5 s", "1 min", "2 h"]
        );
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\n");
    }
}
