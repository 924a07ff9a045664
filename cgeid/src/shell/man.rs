// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid man`: a page for the program and one for each verb, made from the same text as `--help`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Command, CommandFactory};
use clap_mangen::roff::{Roff, bold, roman};

use super::args::{self, JsonTo};
use super::output::Existing;
use super::{Failure, output};

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
    ("<CN>.op.<EPOCH>.p12", "The same for a later month; it takes the place of the other when its month begins."),
    (
        "<CN>.revoke",
        "A revocation, in PEM. Published, it ends the identity for ever: keep it safe, apart from the key.",
    ),
    ("<CN>.pem", "An identity certificate."),
    ("<CN>.pin", "The fingerprint of a key that is to be expected, for verify --pin."),
];
const ENVIRONMENT: Entries = &[
    ("CGEID_PASSWORD", "The password of the file that is read or made, if --password-file does not name one."),
    ("CGEID_NEW_PASSWORD", "The password of a key file that import or export writes, if --new-password-file does not."),
];

pub(super) fn run(man: &Man, json: &Option<JsonTo>) -> Result<(), Failure> {
    output::no_report(json)?;
    // `help` has no page: it prints what is in these.
    let mut program = args::Args::command().disable_help_subcommand(true);
    program.build();
    if let Some(folder) = &man.out {
        output::make_folder(folder)?;
        for (name, text) in pages(&program)? {
            let path = folder.join(format!("{name}.1"));
            output::to_file(&path, &text, output::PUBLIC, Existing::forced(man.force))?;
        }
        return Ok(());
    }
    let command = match &man.verb {
        None => &program,
        Some(verb) => program
            .get_subcommands()
            .find(|command| command.get_name() == verb)
            .ok_or_else(|| Failure::usage(anyhow!("there is no verb {verb}")))?,
    };
    output::to_stdout(&page(command)?, false)
}

fn pages(program: &Command) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    std::iter::once(program)
        .chain(program.get_subcommands())
        .map(|command| Ok((name(command), page(command)?)))
        .collect()
}

/// `cgeid`, or `cgeid-new`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    render(command, &mut out).map_err(Failure::machine)?;
    Ok(out)
}

fn render(command: &Command, out: &mut Vec<u8>) -> std::io::Result<()> {
    let source = concat!("cgeid ", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.clone()).title(name(command).to_uppercase()).source(source);
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (notes, examples) = split(&help);
    preformatted("NOTES", &notes).to_writer(out)?;
    for (title, entries) in [("EXIT STATUS", STATUS), ("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        section(title, entries).to_writer(out)?;
    }
    preformatted("EXAMPLES", &examples).to_writer(out)
}

/// What stands after the flags in the help: the indented lines after "Examples:", and the rest.
fn split(help: &str) -> (String, String) {
    let (before, after) = help.split_once("Examples:\n").unwrap_or((help, ""));
    let (examples, rest) = after.split_once("\n\n").unwrap_or((after, ""));
    (format!("{before}{rest}").trim_end().to_owned(), examples.to_owned())
}

/// Lines that keep their ends.
fn preformatted(title: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    if text.is_empty() {
        return roff;
    }
    roff.control("SH", [title]);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
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
