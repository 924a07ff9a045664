// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid man`: a page for the program and one for each verb, made from the same text as `--help`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Command, CommandFactory};
use clap_mangen::roff::{Roff, bold, roman};

use super::{Failure, args, files, output};

pub(super) const HELP: &str = "\
Examples:
  cgeid man | man -l -                   read the page of the program
  cgeid man export | man -l -            of one verb
  cgeid man --out /usr/local/share/man/man1";

#[derive(Args)]
pub(super) struct Man {
    /// The verb whose page to print
    #[arg(conflicts_with = "out")]
    pub(super) verb: Option<String>,
    /// Folder into which all pages are written
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Replace pages that exist
    #[arg(long, requires = "out")]
    pub(super) force: bool,
}

/// Names and meanings, in the order of the page.
type Entries = &'static [(&'static str, &'static str)];

const STATUS: Entries = &[
    ("0", "What was asked held."),
    ("1", "It did not: a file was refused, or exists and is not overwritten."),
    ("2", "It was asked wrongly."),
    ("3", "The machine lacks something, as room on a disk."),
];
const FILES: Entries = &[
    ("<CN>.p12", "The identity key and its certificate (PKCS#12, AES-256). Keep it offline."),
    ("<CN>.op.p12", "The operational key that daemons hold, its certificate, and the identity's."),
    ("<CN>.pem", "An identity certificate."),
    ("<CN>.pin", "The fingerprint of a key that is to be expected."),
];
const ENVIRONMENT: Entries = &[
    ("CGEID_PASSWORD", "The password of the file that is read or made, if --password-file does not name one."),
    ("CGEID_NEW_PASSWORD", "The password of a key file that import or export writes, if --new-password-file does not."),
];

pub(super) fn run(man: &Man) -> Result<(), Failure> {
    let mut program = args::Args::command();
    program.build();
    if let Some(folder) = &man.out {
        files::make_folder(folder)?;
        for (name, text) in pages(&program)? {
            output::to_file(&folder.join(format!("{name}.1")), &text, output::PUBLIC, man.force)?;
        }
        return Ok(());
    }
    let command = match &man.verb {
        None => &program,
        Some(verb) => verbs(&program)
            .find(|command| command.get_name() == verb)
            .ok_or_else(|| Failure::usage(anyhow!("there is no verb {verb}")))?,
    };
    output::to_stdout(&page(command)?, false)
}

/// The verbs, without clap's own `help`.
fn verbs(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| command.get_name() != "help")
}

fn pages(program: &Command) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    std::iter::once(program).chain(verbs(program)).map(|command| Ok((name(command), page(command)?))).collect()
}

/// `cgeid`, or `cgeid-new`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let man = clap_mangen::Man::new(command.clone()).title(name(command)).section("1").manual("ipv6mesh");
    man.render(&mut out).map_err(Failure::machine)?;
    for (title, entries) in [("EXIT STATUS", STATUS), ("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        section(title, entries).to_writer(&mut out).map_err(Failure::machine)?;
    }
    Ok(out)
}

fn section(title: &str, entries: Entries) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
    roff
}
