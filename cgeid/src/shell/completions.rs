// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::args::{self, JsonTo};
use super::{Failure, output};

pub(super) const HELP: &str = "\
Examples:
  cgeid completions bash > /etc/bash_completion.d/cgeid
  cgeid completions zsh > \"${fpath[1]}/_cgeid\"
  cgeid completions fish > ~/.config/fish/completions/cgeid.fish";

#[derive(Args)]
pub(super) struct Completions {
    /// Whose language the script is in
    #[arg(value_enum)]
    pub(super) shell: Shell,
}

pub(super) fn run(completions: &Completions, json: &Option<JsonTo>) -> Result<(), Failure> {
    output::no_report(json)?;
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut args::Args::command(), "cgeid", &mut script);
    output::to_stdout(&script, false)
}
