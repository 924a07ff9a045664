// SPDX-License-Identifier: GPL-2.0-or-later
//! `conformance`: runs the suites, explains their checks, and shows what our codec makes of bytes.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser, Subcommand};
use conformance::check::{Check, cited};
use conformance::dissect;
use conformance::mutants::{self, MutantsArguments};
use conformance::report::{Format, Report};
use conformance::suite::{Listed, SUITES};
use program::{Completions, Json, Man, Manual};

/// Holds a LISP implementation against the clauses of the RFCs.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  conformance list
  conformance run --suite wire
  conformance run --suite wire --id R03 --format json
  conformance run --suite cgeid
  conformance explain M43
  conformance decode capture.pcap
  conformance mutants --suite lisp

Exit status: 0 all held, 1 something did not, 2 wrong usage."
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Names the suites and their checks.
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Runs suites and prints what came of each check; the last line is `N passed, N failed, N skipped`.
    Run(Run),
    /// Says what a check is about: the clause, the bytes, what must happen.
    Explain {
        /// Identifier of the check, such as M43.
        id: String,
    },
    /// Shows what our codec makes of a file, one JSON object a message.
    ///
    /// The file is a `.pcap`, a vectors file (JSON), or hexadecimal text: a packet or a control message, with or without the
    /// offsets of a hex dump. Exit status 1 if the codec refused any of them.
    Decode {
        /// The file.
        file: PathBuf,
    },
    /// Shows that the suites can fail: breaks our own engines in many ways, and runs for each its suite.
    Mutants(MutantsArguments),
    /// Prints what a shell needs to complete the flags.
    #[command(after_help = program::completions_help!("conformance"))]
    Completions(Completions),
    /// Prints or writes the manual pages.
    #[command(after_help = program::man_help!("conformance", "run"))]
    Man(Man),
}

const MANUAL: Manual = Manual {
    status: &[
        ("0", "What was asked held."),
        ("1", "Some check did not hold, or the codec refused some bytes."),
        ("2", "Wrong usage, or something that a suite needs is not there; the message names it."),
    ],
    files: &[],
    environment: &[
        (
            "CONFORMANCE_CGEID",
            "Path of the program cgeid that is judged; the one beside this program, if it is not set.",
        ),
        ("CONFORMANCE_LISP_DHT", "The same for lisp-dht."),
        ("CONFORMANCE_LISP_MAPSYS", "The same for lisp-mapsys."),
        ("CONFORMANCE_LISP_XTR", "The same for lisp-xtr."),
        ("CONFORMANCE_MUTANT", "Which mutant the programs of `mutants` are; nothing else reads it."),
    ],
};

#[derive(clap::Args)]
struct Run {
    /// All suites.
    #[arg(long, conflicts_with = "suite")]
    all: bool,
    /// Suites to run, separated by commas.
    #[arg(long, value_delimiter = ',')]
    suite: Vec<String>,
    /// Only this check.
    #[arg(long)]
    id: Option<String>,
    /// Begins no more checks after one that fails.
    #[arg(long)]
    stop_at_first_failure: bool,
    /// How the run is written down.
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    format: Format,
    #[command(flatten)]
    json: Json,
    /// Where it is written, instead of standard output.
    #[arg(short = 'o', long = "output")]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::List { json } => list(&json),
        Verb::Run(arguments) => run(&arguments),
        Verb::Explain { id } => explain(&id),
        Verb::Decode { file } => decode(&file),
        Verb::Mutants(arguments) => mutants::run(&arguments),
        Verb::Completions(completions) => return told(completions.run(Arguments::command())),
        Verb::Man(man) => return told(man.run(Arguments::command(), &MANUAL)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What the program says about itself.
fn told(outcome: Result<(), program::Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(error.status())
        }
    }
}

fn list(json: &Json) -> anyhow::Result<bool> {
    let mut text = String::new();
    let mut listed = Vec::new();
    for suite in SUITES {
        let checks = (suite.list)()?;
        writeln!(text, "{}: {}", suite.name, suite.about)?;
        for check in &checks {
            writeln!(text, "  {:<9} {:<6} {}", check.id, check.level, cited(&check.clause))?;
        }
        let entry = |check: &Listed| serde_json::json!({"suite": suite.name, "id": check.id, "level": check.level, "clause": check.clause});
        listed.extend(checks.iter().map(entry));
    }
    json.show(&listed, text)?;
    Ok(true)
}

fn run(arguments: &Run) -> anyhow::Result<bool> {
    arguments.json.check()?;
    let named = |name: &str| arguments.all || arguments.suite.iter().any(|wanted| wanted == name);
    if let Some(unknown) = arguments.suite.iter().find(|wanted| SUITES.iter().all(|suite| suite.name != **wanted)) {
        let known: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        bail!("--suite {unknown}: no such suite; there is {}", known.join(", "));
    }
    if !arguments.all && arguments.suite.is_empty() && arguments.id.is_none() {
        bail!("say what to run: --all, --suite NAME or --id ID");
    }
    let by_id_only = arguments.suite.is_empty() && !arguments.all;
    let wanted = |id: &str| arguments.id.as_deref().is_none_or(|only| only == id);
    if arguments.stop_at_first_failure {
        conformance::suite::stop::at_first_failure();
    }
    let mut checks: Vec<Check> = Vec::new();
    for suite in SUITES.iter().filter(|suite| by_id_only || named(suite.name)) {
        checks.extend((suite.run)(&wanted)?);
    }
    if let (true, Some(id)) = (checks.is_empty(), &arguments.id) {
        bail!("--id {id}: no check of that name");
    }
    let report = Report::new("this implementation", checks);
    let format = if arguments.json.is_output() { Format::Json } else { arguments.format };
    if !arguments.json.is_output() {
        arguments.json.show_document(&report.render(Format::Json)?, "")?;
    }
    let text = report.render(format)?;
    match &arguments.output {
        Some(path) => {
            fs::write(path, text).with_context(|| format!("--output {}", path.display()))?;
            println!("{}", report.closing_line());
        }
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(report.failed == 0)
}

fn explain(id: &str) -> anyhow::Result<bool> {
    for suite in SUITES {
        if let Some(text) = (suite.explain)(id)? {
            io::stdout().lock().write_all(text.as_bytes())?;
            return Ok(true);
        }
    }
    bail!("{id}: no check of that name; `conformance list` names them")
}

fn decode(path: &PathBuf) -> anyhow::Result<bool> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let mut out = io::stdout().lock();
    let mut all_ok = true;
    for line in dissect::file(&bytes).with_context(|| path.display().to_string())? {
        all_ok &= line.ok;
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(all_ok)
}
