//! Shell: completions and the manual, made from the arguments themselves.

use std::io::Write as _;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::args;
use crate::cli::{Cli, terminal};

pub(super) fn completions(args: &args::Completions) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dormouse", &mut script);
    terminal::print(String::from_utf8_lossy(&script));
}

pub(super) fn manual(args: &args::Man) -> anyhow::Result<()> {
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
            clap_mangen::generate_to(Cli::command(), dir)
                .with_context(|| format!("cannot write to {}", dir.display()))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            // Raw: a page is not for terminals but for `man`.
            std::io::stdout().write_all(&page).context("cannot write")
        }
    }
}
