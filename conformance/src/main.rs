// SPDX-License-Identifier: GPL-2.0-or-later
//! `conformance`: runs the suites, explains their checks, and shows what our codec makes of bytes.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser, Subcommand};
use conformance::check::{Check, cited};
use conformance::ledger;
use conformance::mutants::{self, MutantsArguments};
use conformance::report::{self, Compared, Format, Report, Shape};
use conformance::suite::{Listed, SUITES};
use conformance::target::{self, Claim, Stance, Target};
use conformance::wanted::Wanted;
use conformance::{descendants, dissect, progress};
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
  conformance run --id LI-085,LI-090.1 --progress
  conformance run --all --format html -o report.html
  conformance diff before.json after.json
  conformance run --suite cgeid
  conformance run --target conformance/targets/openlisp.toml
  conformance explain M43
  conformance ledger
  conformance decode capture.pcap
  conformance mutants --suite lisp

Exit status: 0 all held, 1 something did not, 2 wrong usage, 130 interrupted."
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
    /// Lists what a target file may claim that its target supports.
    Claims,
    /// Says what a clause or a check is about: what is asked for, why, and how it is tested; the bytes, what must happen.
    Explain {
        /// Identifier of a clause of the ledger, such as CP-085, or of a check, such as M43.
        id: String,
    },
    /// Puts runs side by side: which checks came out otherwise than in the first.
    ///
    /// A check is broken if it passed in the first and fails in another, gone if another does not have it, fixed if it failed in the
    /// first and passes in another, new if the first does not have it. Exit status 1 if any is broken.
    Diff(Diff),
    /// Prints the clauses of the documents with what proves them, and the share of MUSTs and SHOULDs that are proven.
    Ledger(Ledger),
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
        ("1", "Some check did not hold, or is broken from one run to another, or the codec refused some bytes."),
        ("2", "Wrong usage, something that a suite needs is not there, or nothing was judged; the message names it."),
        ("130", "It was interrupted; what had run until then is reported."),
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
        (
            "INTEROP_OPENLISP",
            "Path of the built OpenLISP control plane, which conformance/targets/openlisp.toml starts.",
        ),
        ("INTEROP_OOR", "The same of OpenOverlayRouter, for conformance/targets/oor.toml."),
        ("CONFORMANCE_MUTANT", "Which mutant the programs of `mutants` are; nothing else reads it."),
    ],
};

#[derive(Clone, clap::Args)]
struct Run {
    /// All suites.
    #[arg(long, conflicts_with = "suite")]
    all: bool,
    /// Suites to run, separated by commas.
    #[arg(long, value_delimiter = ',')]
    suite: Vec<String>,
    /// Only these checks, separated by commas; LI-085 stands for LI-085.1 and all others that begin so.
    #[arg(long, value_delimiter = ',')]
    id: Vec<String>,
    /// Tell on standard error how far it is, also where that is no terminal.
    #[arg(long)]
    progress: bool,
    /// Begins no more checks after one that fails.
    #[arg(long)]
    stop_at_first_failure: bool,
    /// The target file of another implementation: its roles are judged, this one's are not.
    ///
    /// It says in TOML how the target is started or where it runs, with which sites, and what it claims to support (`conformance claims`
    /// has the list); those that ship are in conformance/targets. Without --suite, all suites of its roles run.
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// How the run is written down.
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    format: Format,
    #[command(flatten)]
    json: Json,
    /// Where it is written, instead of standard output.
    #[arg(short = 'o', long = "output")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Diff {
    /// Reports of runs (`run --format json`), the first of which the others are held against.
    #[arg(required = true, num_args = 2..=COLUMNS)]
    reports: Vec<PathBuf>,
    /// How it is written down.
    #[arg(long, value_enum, default_value = "text")]
    format: Shape,
    /// Where it is written, instead of standard output.
    #[arg(short = 'o', long = "output")]
    output: Option<PathBuf>,
}

/// Runs side by side: a page has no room for more columns.
const COLUMNS: usize = 12;

#[derive(clap::Args)]
struct Ledger {
    /// A report of a run (`run --format json`), or a folder of them: names the checks of the ledger that none of them has,
    /// or that did not pass in all that have them, and exits with 1 if there are such.
    #[arg(long, value_name = "REPORT")]
    ran: Vec<PathBuf>,
    #[command(flatten)]
    json: Json,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::List { json } => list(&json),
        Verb::Run(arguments) => run(&arguments),
        Verb::Diff(arguments) => diff(&arguments),
        Verb::Claims => claims(),
        Verb::Explain { id } => explain(&id),
        Verb::Ledger(arguments) => show_ledger(&arguments),
        Verb::Decode { file } => decode(&file),
        Verb::Mutants(arguments) => mutants::run(&arguments),
        Verb::Completions(completions) => return told(completions.run(Arguments::command())),
        Verb::Man(man) => return told(man.run(Arguments::command(), &MANUAL)),
    };
    match outcome {
        Ok(_) if progress::is_stopped() => ExitCode::from(INTERRUPTED),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(if progress::is_stopped() { INTERRUPTED } else { 2 })
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
    if let Some(path) = &arguments.target {
        target::judge(Target::read(path)?);
    }
    let target = target::judged();
    if !arguments.all && arguments.suite.is_empty() && arguments.id.is_empty() && arguments.target.is_none() {
        bail!("say what to run: --all, --suite NAME, --id ID or --target FILE");
    }
    let by_id_only = arguments.suite.is_empty() && !arguments.all;
    if arguments.stop_at_first_failure {
        progress::stop_at_first_failure();
    }
    let mut suites = Vec::new();
    for suite in SUITES.iter().filter(|suite| by_id_only || named(suite.name)) {
        match target.stance(suite.name) {
            Stance::Run | Stance::Skip(_) => suites.push(suite),
            Stance::NotItsRole if arguments.suite.is_empty() => {}
            Stance::NotItsRole => bail!("--suite {}: {} has no role that it judges", suite.name, target.name),
        }
    }
    let wanted = Wanted(&arguments.id);
    let suites = wanted.counted(&suites)?;
    if let Some(path) = &arguments.output {
        // That it cannot be written is said before the work, not behind it.
        fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("--output {}", path.display()))?;
    }
    let total: usize = suites.iter().map(|(_, count)| count).sum();
    let kept = arguments.clone();
    progress::begin(total, progress::Style::of(arguments.progress));
    progress::watch(move |done| end(&kept, total, done))?;
    let mut checks: Vec<Check> = Vec::new();
    for (suite, _) in suites {
        progress::suite(suite.name);
        let judged = match target.stance(suite.name) {
            Stance::Skip(why) => suite.skipped(&|id| wanted.has(id), &why),
            Stance::Run | Stance::NotItsRole => (suite.run)(&|id| wanted.has(id)),
        };
        match judged {
            Ok(of_suite) => checks.extend(of_suite),
            // What fails while everything ends says nothing.
            Err(_) if progress::is_stopped() => {}
            Err(error) => {
                progress::end();
                return Err(error);
            }
        }
        if progress::is_over() {
            break;
        }
    }
    progress::end();
    written(arguments, total, checks)
}

/// How shells say that a program was ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// Something still waits for what does not come any more, long after the run was interrupted.
fn end(arguments: &Run, total: usize, done: Vec<Check>) {
    descendants::end();
    if let Err(error) = written(arguments, total, done) {
        eprintln!("conformance: {error:#}");
    }
    std::process::exit(INTERRUPTED.into());
}

fn written(arguments: &Run, total: usize, checks: Vec<Check>) -> anyhow::Result<bool> {
    let mut report = Report::new(target::judged().name.clone(), checks);
    let documents = ledger::all()?;
    report.expect(|id| {
        let of_it = documents.iter().flat_map(|document| &document.clauses);
        let of_it = of_it.filter(|clause| clause.checks().any(|check| check == id));
        of_it.map(|clause| format!("{}: {}", clause.id, clause.text)).reduce(|one, other| one + "\n" + &other)
    });
    report.interrupted = progress::is_stopped() && report.checks.len() < total;
    if report.interrupted {
        eprintln!("conformance: interrupted; {} of {total} checks have run", report.checks.len());
    }
    let format = if arguments.json.is_output() { Format::Json } else { arguments.format };
    if !arguments.json.is_output() {
        arguments.json.show_document(&report.render(Format::Json)?, "")?;
    }
    let text = report.render(format)?;
    put(arguments.output.as_deref(), &text, &report.closing_line())?;
    report.holds()
}

/// Writes a text to standard output; or to a file, and then a line to standard output.
fn put(path: Option<&Path>, text: &str, line: &str) -> anyhow::Result<()> {
    match path {
        Some(path) => {
            fs::write(path, text).with_context(|| format!("--output {}", path.display()))?;
            println!("{line}");
        }
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(())
}

fn diff(arguments: &Diff) -> anyhow::Result<bool> {
    let reports = arguments.reports.iter().map(|path| report::read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let targets: std::collections::BTreeSet<_> = reports.iter().map(|report| &report.target).collect();
    // Runs of one implementation are told apart by their files.
    let is_named_by_target = targets.len() == reports.len();
    let name = |(path, report): (&PathBuf, &Report)| match is_named_by_target {
        true => report.target.clone(),
        false => path.display().to_string(),
    };
    let names = arguments.reports.iter().zip(&reports).map(name);
    let named: Vec<_> = names.zip(&reports).collect();
    let compared = Compared::of(&named);
    put(arguments.output.as_deref(), &compared.render(arguments.format), &compared.closing_line())?;
    Ok(compared.holds())
}

fn claims() -> anyhow::Result<bool> {
    io::stdout().lock().write_all(Claim::listed().as_bytes())?;
    Ok(true)
}

fn explain(id: &str) -> anyhow::Result<bool> {
    let of_suites = |id: &str| SUITES.iter().find_map(|suite| suite.explained(id).transpose()).transpose();
    let about = |id: &str| SUITES.iter().find_map(|suite| (suite.explain)(id).ok().flatten());
    let clause = ledger::explain(&ledger::all()?, id, &about);
    let Some(text) = [clause, of_suites(id)?].into_iter().flatten().reduce(|clause, checks| clause + &checks) else {
        bail!("{id}: no clause and no check of that name; `conformance ledger` and `conformance list` name them");
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(true)
}

fn show_ledger(arguments: &Ledger) -> anyhow::Result<bool> {
    let documents = ledger::all()?;
    if arguments.ran.is_empty() {
        arguments.json.show(&ledger::listed(&documents), ledger::table(&documents))?;
        return Ok(true);
    }
    let missed = ledger::missed(&documents, &ledger::results(&arguments.ran)?);
    arguments.json.show(&missed, ledger::left_out(&missed))?;
    Ok(missed.is_empty())
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
