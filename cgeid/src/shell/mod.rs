// SPDX-License-Identifier: GPL-2.0-or-later
//! The command line, and what daemons do with identities on a machine. All I/O of this crate is here.

pub mod addresses;
pub mod clock;
pub mod pool;
pub mod temporary;

mod args;
mod delegate;
mod export;
mod given;
mod import;
mod judge;
mod manual;
mod mining;
mod new;
mod output;
mod password;
mod prove_link;
mod revoke;
mod show;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use nix::sys::resource::{Resource, setrlimit};

use args::{Args, Command, JsonTo};

/// Runs the program on the process's arguments and gives its exit code: 0 if what was asked held, 1 if not, 2 for wrong
/// usage, 3 if the machine lacks something.
pub fn run() -> ExitCode {
    leave_no_core();
    // Wrong flags end here: clap explains them and exits with 2.
    let args = Args::parse();
    match verb(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(&format!("{:#}", failure.error));
            ExitCode::from(failure.code)
        }
    }
}

/// A crash shall not write the keys in memory to a file.
fn leave_no_core() {
    // A machine that refuses it has no other way to offer, and a key is needed also there.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

fn verb(args: &Args) -> Result<(), Failure> {
    if let Some(JsonTo::File(path)) = &args.json {
        // Before there is work in what could not be reported.
        output::refuse_report(path)?;
    }
    match &args.command {
        Command::New(new) => new::run(new, &args.json),
        Command::Show(show) => show::run(show, &args.json),
        Command::Verify(verify) => verify::run(verify, &args.json),
        Command::Delegate(delegate) => delegate::run(delegate, &args.json),
        Command::Revoke(revoke) => revoke::run(revoke, &args.json),
        Command::ProveLink(prove) => prove_link::run(prove, &args.json),
        Command::Import(import) => import::run(import, &args.json),
        Command::Export(export) => export::run(export, &args.json),
        Command::Completions(completions) => {
            output::no_report(&args.json)?;
            completions.run(Args::command()).map_err(Failure::from)
        }
        Command::Man(man) => {
            output::no_report(&args.json)?;
            man.run(Args::command(), &manual::MANUAL).map_err(Failure::from)
        }
    }
}

/// Why the program ends without success.
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// What was asked does not hold.
    fn refused(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: 1, error: error.into() }
    }

    /// It was asked wrongly.
    fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: 2, error: error.into() }
    }

    /// The machine does not give it.
    fn machine(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: 3, error: error.into() }
    }
}

impl From<program::Error> for Failure {
    fn from(error: program::Error) -> Failure {
        Failure { code: error.status(), error: error.into() }
    }
}

/// Puts the result where `--json` says: as JSON on standard output instead of the text, or in a file beside it.
fn report(text: &str, value: &serde_json::Value, json: &Option<JsonTo>) -> Result<(), Failure> {
    let (text, document) = (output::printable(text), format!("{value:#}\n"));
    match json {
        Some(JsonTo::Output) => output::to_stdout(document.as_bytes(), false),
        Some(JsonTo::File(path)) => {
            // First the text: what was made is made, also where the report finds no place.
            output::to_stdout(text.as_bytes(), false)?;
            output::to_report(path, document.as_bytes())
        }
        None => output::to_stdout(text.as_bytes(), false),
    }
}
