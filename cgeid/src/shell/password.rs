// SPDX-License-Identifier: GPL-2.0-or-later
//! Where a password comes from: a file, the environment, or a prompt that does not echo.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use zeroize::Zeroizing;

use super::{Failure, output};
use crate::container;

/// Where a password may come from without being typed.
struct Source {
    flag: &'static str,
    variable: &'static str,
}

/// The password of a file, or of what a verb makes out of nothing.
const PASSWORD: Source = Source { flag: "--password-file", variable: "CGEID_PASSWORD" };
/// The password of a file that is written from another. It is not taken from the other's by itself: who writes a backup
/// says under which password.
const NEW_PASSWORD: Source = Source { flag: "--new-password-file", variable: "CGEID_NEW_PASSWORD" };

/// Longest password read, in octets: a line longer than this is no password but the wrong file.
const MAX_PASSWORD: u64 = 1024;

/// The password of a file that exists.
pub(super) fn existing(file: Option<&Path>, what: &str) -> Result<Zeroizing<String>, Failure> {
    match given(file, &PASSWORD)? {
        Some(password) => Ok(password),
        None => prompt(&format!("Password of {what}: "), &PASSWORD),
    }
}

/// The password for new files, asked for twice when typed. It must not be empty: that would be no protection.
pub(super) fn new(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    chosen(file, &PASSWORD)
}

/// The same for a file that is written from one which has its own password.
pub(super) fn another(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    chosen(file, &NEW_PASSWORD)
}

fn chosen(file: Option<&Path>, source: &Source) -> Result<Zeroizing<String>, Failure> {
    let password = match given(file, source)? {
        Some(password) => password,
        None => {
            let first = prompt("Password for the new key files: ", source)?;
            if *first != *prompt("The same again: ", source)? {
                return Err(Failure::usage(anyhow!("the two passwords differ; nothing was written")));
            }
            first
        }
    };
    check(&password)?;
    Ok(password)
}

/// Whether a password may protect new files.
pub(super) fn check(password: &str) -> Result<(), Failure> {
    if password.is_empty() {
        return Err(Failure::usage(anyhow!("an empty password protects nothing; nothing was written")));
    }
    container::check_password(password).map_err(Failure::usage)
}

/// From the file that the flag names, or the environment.
fn given(file: Option<&Path>, source: &Source) -> Result<Option<Zeroizing<String>>, Failure> {
    let Source { flag, variable } = source;
    if let Some(path) = file {
        let opened = File::open(path).with_context(|| format!("cannot read {flag} {}", path.display()));
        return first_line(opened.map_err(Failure::usage)?, flag).map(Some);
    }
    match std::env::var(variable) {
        Ok(password) => Ok(Some(Zeroizing::new(password))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(Failure::usage(anyhow!("{variable}: {error}"))),
    }
}

/// Without echo, from the terminal itself: standard input may be a pipe.
fn prompt(question: &str, source: &Source) -> Result<Zeroizing<String>, Failure> {
    let Source { flag, variable } = source;
    let hint = || format!("no terminal to ask for the password: give {flag} or set {variable}");
    let mut terminal =
        OpenOptions::new().read(true).write(true).open("/dev/tty").with_context(hint).map_err(Failure::usage)?;
    let before = termios::tcgetattr(&terminal).with_context(hint).map_err(Failure::usage)?;
    write!(terminal, "{}", output::printable_line(question)).map_err(Failure::machine)?;
    let quiet = Quiet::new(&terminal, before)?;
    let line = first_line(&terminal, "the password typed");
    drop(quiet);
    writeln!(terminal).map_err(Failure::machine)?;
    line
}

/// A terminal that does not echo, until this is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Quiet<'_> {
    fn new(terminal: &File, before: Termios) -> Result<Quiet<'_>, Failure> {
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(terminal, SetArg::TCSAFLUSH, &silent).map_err(Failure::machine)?;
        Ok(Quiet { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing better can be done for a terminal that refuses its own settings.
        let _ = termios::tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

fn first_line(source: impl Read, what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    let length = BufReader::new(source.take(MAX_PASSWORD + 1))
        .read_line(&mut line)
        .with_context(|| format!("cannot read {what}"))
        .map_err(Failure::usage)?;
    if length as u64 > MAX_PASSWORD {
        return Err(Failure::usage(anyhow!("{what} is longer than {MAX_PASSWORD} octets")));
    }
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}
