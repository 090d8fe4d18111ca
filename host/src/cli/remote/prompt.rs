//! Prompt: SQL typed line by line, with a history.

use std::path::PathBuf;

use anyhow::Context as _;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::sql::Session;
use crate::cli::terminal;

const HELP: &str = "\
.schema     the tables
.write      allow statements that write
.read       refuse them again
.help       this
.quit       leave, as Ctrl-D does
A statement ends with `;` and may go over several lines.
";
const SCHEMA: &str = "SELECT type, name, sql FROM sqlite_schema \
    WHERE name NOT LIKE '\\_dormouse\\_%' ESCAPE '\\' ORDER BY name";

type Lines = Editor<(), FileHistory>;

pub(super) async fn run(session: &Session, object: &str, mut write: bool) -> anyhow::Result<()> {
    let config = Config::builder().auto_add_history(false).build();
    let mut lines = Lines::with_config(config).context("no prompt on this terminal")?;
    let history = history_file();
    if let Some(file) = &history {
        // The first time there is none.
        let _ = lines.load_history(file);
    }
    terminal::status("Prompt", format_args!("on {object}; .help tells more"));
    while let Some(text) = read(&mut lines, object, write).await? {
        // A statement of several lines is one entry; an error means that it was the last.
        let _ = lines.add_history_entry(text.trim());
        let done = match text.trim() {
            "" => Ok(()),
            ".quit" | ".exit" => break,
            ".help" => {
                terminal::print(HELP);
                Ok(())
            }
            ".write" => {
                write = true;
                Ok(())
            }
            ".read" => {
                write = false;
                Ok(())
            }
            ".schema" => session.run(SCHEMA.to_owned(), Vec::new(), false).await,
            sql => session.run(sql.to_owned(), Vec::new(), write).await,
        };
        if let Err(error) = done {
            terminal::error(&error);
        }
        if let Some(file) = &history {
            // A history that cannot be kept is only inconvenient.
            let _ = lines.save_history(file);
        }
    }
    Ok(())
}

/// A statement up to its `;`, or a command; `None` at the end.
async fn read(lines: &mut Lines, object: &str, write: bool) -> anyhow::Result<Option<String>> {
    let mut text = String::new();
    loop {
        let prompt = match (text.is_empty(), write) {
            (true, false) => format!("{object}> "),
            (true, true) => format!("{object} (write)> "),
            (false, _) => "...> ".to_owned(),
        };
        let line = tokio::task::block_in_place(|| lines.readline(&prompt));
        match line {
            Ok(line) => text.push_str(&line),
            Err(ReadlineError::Interrupted) if text.is_empty() => return Ok(None),
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) if text.trim().is_empty() => return Ok(None),
            Err(ReadlineError::Eof) => return Ok(Some(text)),
            Err(error) => return Err(error).context("the prompt cannot be read"),
        }
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with('.') || trimmed.ends_with(';') {
            return Ok(Some(text));
        }
        text.push('\n');
    }
}

fn history_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    let state = std::env::var_os("XDG_STATE_HOME");
    let folder = state.map_or_else(|| PathBuf::from(home).join(".local/state"), PathBuf::from);
    let folder = folder.join("dormouse");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql-history"))
}
