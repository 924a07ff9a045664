// SPDX-License-Identifier: GPL-2.0-or-later
//! The verb `man`: a page for the program and one for each verb, made from the same text as `--help`.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::roff::{Roff, bold, roman};

use crate::Error;
use crate::replace::replace;

/// Examples of the verb `man` for its help; `$verb` is one that the program has.
#[macro_export]
macro_rules! man_help {
    ($program:literal, $verb:literal) => {
        concat!(
            "Examples:\n",
            "  ",
            $program,
            " man | man -l -            the page of the program\n",
            "  ",
            $program,
            " man ",
            $verb,
            " | man -l -    of one verb\n",
            "  ",
            $program,
            " man --out /usr/local/share/man/man1"
        )
    };
}

/// Flags of the verb `man`.
#[derive(Debug, Clone, Args)]
pub struct Man {
    /// The verb whose page to print, and the verb of that verb
    #[arg(conflicts_with = "out")]
    verb: Vec<String>,
    /// Folder into which all pages are written
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace pages that exist
    #[arg(long, requires = "out")]
    force: bool,
}

/// Names and meanings, in the order of the page.
pub type Entries = &'static [(&'static str, &'static str)];

/// What pages say that the help does not.
#[derive(Debug, Clone, Copy)]
pub struct Manual {
    /// Exit codes, such as [`STATUS`].
    pub status: Entries,
    /// Files that the program reads and writes.
    pub files: Entries,
    /// Environment variables.
    pub environment: Entries,
}

/// The exit codes that all programs have.
pub const STATUS: Entries = &[
    ("0", "What was asked held."),
    ("1", "It did not."),
    ("2", "Wrong usage or configuration; the message names the flag, the key or the line."),
    ("3", "The machine lacks something; the message names it."),
];

impl Man {
    /// Prints the page that is asked for, or writes all of them.
    ///
    /// # Errors
    /// There is no such verb, or no way to write.
    pub fn run(&self, program: Command, manual: &Manual) -> Result<(), Error> {
        let name = program.get_name().to_owned();
        let version = program.get_version().unwrap_or_default().to_owned();
        // `help` has no page: it prints what is in these.
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let writer = Writer { source: format!("{name} {version}"), manual };
        match &self.out {
            Some(folder) => writer.all(&program, folder, self.force),
            None => to_stdout(&writer.page(verb(&program, &self.verb)?)),
        }
    }
}

/// The command that some words name, one below the other.
fn verb<'a>(program: &'a Command, words: &[String]) -> Result<&'a Command, Error> {
    words.iter().try_fold(program, |command, word| {
        visible(command).find(|verb| verb.get_name() == word).ok_or_else(|| Error::NoVerb(words.join(" ")))
    })
}

/// Verbs that are for people.
fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set())
}

/// A program and all verbs below it.
fn all(command: &Command) -> Vec<&Command> {
    std::iter::once(command).chain(visible(command).flat_map(all)).collect()
}

/// `cgeid`, or `cgeid-new`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// Writes to standard output. Who reads only the first lines has what he wanted.
pub(crate) fn to_stdout(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Makes the pages of one program.
struct Writer<'a> {
    source: String,
    manual: &'a Manual,
}

impl Writer<'_> {
    /// Writes all pages, or none if one of them is in the way.
    fn all(&self, program: &Command, folder: &Path, force: bool) -> Result<(), Error> {
        let pages: Vec<_> = all(program).into_iter().map(|verb| (page_path(folder, verb), self.page(verb))).collect();
        if let Some((path, _)) = pages.iter().find(|(path, _)| !force && path.symlink_metadata().is_ok()) {
            return Err(Error::Exists(path.clone()));
        }
        let is_link = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_symlink());
        if let Some((path, _)) = pages.iter().find(|(path, _)| is_link(path)) {
            return Err(Error::Link(path.clone()));
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| Error::Write { path, cause }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        pages.iter().try_for_each(|(path, page)| replace(path, page).map_err(failed(path)))
    }

    fn page(&self, command: &Command) -> Vec<u8> {
        let mut out = Vec::new();
        self.render(command, &mut out).expect("a Vec takes all that is written to it");
        out
    }

    fn render(&self, command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
        let man = clap_mangen::Man::new(command.clone()).title(name(command).to_uppercase()).source(&*self.source);
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
        self::notes(&notes).to_writer(out)?;
        let Manual { status, files, environment } = self.manual;
        for (title, entries) in [("EXIT STATUS", status), ("FILES", files), ("ENVIRONMENT", environment)] {
            section(title, entries).to_writer(out)?;
        }
        self::examples(&examples).to_writer(out)
    }
}

fn page_path(folder: &Path, verb: &Command) -> PathBuf {
    folder.join(format!("{}.1", name(verb)))
}

/// What stands after the flags in the help: the indented lines after "Examples:", and the rest.
fn split(help: &str) -> (String, String) {
    let (before, after) = help.split_once("Examples:\n").unwrap_or((help, ""));
    let (examples, rest) = after.split_once("\n\n").unwrap_or((after, ""));
    (format!("{before}{rest}").trim_end().to_owned(), examples.to_owned())
}

/// Paragraphs that the reader's terminal breaks, and indented lines that keep their ends.
fn notes(text: &str) -> Roff {
    let mut roff = Roff::new();
    if text.is_empty() {
        return roff;
    }
    roff.control("SH", ["NOTES"]);
    let mut is_indented = false;
    for line in text.lines() {
        if line.is_empty() {
            roff.control("PP", []);
            continue;
        }
        if line.starts_with(' ') != is_indented {
            is_indented = !is_indented;
            roff.control(if is_indented { "nf" } else { "fi" }, []);
        }
        roff.text([roman(line)]);
    }
    if is_indented {
        roff.control("fi", []);
    }
    roff
}

/// Lines that keep their ends.
fn examples(text: &str) -> Roff {
    let mut roff = Roff::new();
    if text.is_empty() {
        return roff;
    }
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}

fn section(title: &str, entries: Entries) -> Roff {
    let mut roff = Roff::new();
    if entries.is_empty() {
        return roff;
    }
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
    roff
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_not_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let manual = Manual { status: STATUS, files: &[], environment: &[] };
        let write = |force| {
            let man = Man { verb: Vec::new(), out: Some(folder.path().to_owned()), force };
            man.run(Command::new("p").subcommand(Command::new("q")), &manual)
        };
        write(false).unwrap();
        fs::remove_file(place("p-q.1")).unwrap();
        fs::write(place("precious"), "precious").unwrap();
        fs::write(place("p.1"), "old").unwrap();
        std::os::unix::fs::symlink(place("precious"), place("p-q.1")).unwrap();
        let error = write(true).unwrap_err();
        assert_eq!((error.status(), error.to_string().contains("p-q.1")), (1, true), "{error}");
        assert_eq!(fs::read_to_string(place("precious")).unwrap(), "precious");
        assert_eq!(fs::read_to_string(place("p.1")).unwrap(), "old", "all pages or none");
        fs::remove_file(place("p-q.1")).unwrap();
        write(true).unwrap();
        assert!(fs::read_to_string(place("p.1")).unwrap().starts_with(".ie"));
    }

    #[test]
    fn examples_stand_apart_from_notes() {
        let help = "Before.\n\nExamples:\n  one\n  two\n\nAfter.";
        assert_eq!(split(help), ("Before.\n\nAfter.".to_owned(), "  one\n  two".to_owned()));
        assert_eq!(split("Only this."), ("Only this.".to_owned(), String::new()));
        assert_eq!(split("Examples:\n  one"), (String::new(), "  one".to_owned()));
    }

    #[test]
    fn lines_of_notes_are_joined_unless_they_are_indented() {
        let page = notes("A line\nand another.\n\n  a table\n  of two\nThe end.").to_roff();
        assert_eq!(page, ".SH NOTES\nA line\nand another.\n.PP\n.nf\n  a table\n  of two\n.fi\nThe end.\n");
    }

    #[test]
    fn hidden_verbs_have_no_page() {
        let program = Command::new("p").subcommand(
            Command::new("shown").subcommand(Command::new("below")).subcommand(Command::new("secret").hide(true)),
        );
        let names: Vec<_> = all(&program).into_iter().map(Command::get_name).collect();
        assert_eq!(names, ["p", "shown", "below"]);
        assert!(verb(&program, &["shown".to_owned(), "below".to_owned()]).is_ok());
        let hidden = verb(&program, &["shown".to_owned(), "secret".to_owned()]);
        assert_eq!(
            hidden.err().map(|error| (error.status(), error.to_string())),
            Some((2, "there is no verb shown secret".to_owned()))
        );
    }
}
