// SPDX-License-Identifier: GPL-2.0-or-later
//! The verb `completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::Error;
use crate::man::to_stdout;

/// Examples of the verb `completions` for its help.
#[macro_export]
macro_rules! completions_help {
    ($program:literal) => {
        concat!(
            "Examples:\n",
            "  ",
            $program,
            " completions bash > /etc/bash_completion.d/",
            $program,
            "\n  ",
            $program,
            " completions zsh > \"${fpath[1]}/_",
            $program,
            "\"\n  ",
            $program,
            " completions fish > ~/.config/fish/completions/",
            $program,
            ".fish"
        )
    };
}

/// Flags of the verb `completions`.
#[derive(Debug, Clone, Args)]
pub struct Completions {
    /// Whose language the script is in
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script for a program.
    ///
    /// # Errors
    /// Standard output takes nothing.
    pub fn run(&self, mut program: Command) -> Result<(), Error> {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        to_stdout(&script)
    }
}
