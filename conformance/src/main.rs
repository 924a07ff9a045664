// SPDX-License-Identifier: GPL-2.0-or-later
//! `conformance`: runs the suites, explains their checks, and shows what our codec makes of bytes.

mod run;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser, Subcommand};
use conformance::check::cited;
use conformance::findings::{self, Table};
use conformance::ledger;
use conformance::mutants::{self, MutantsArguments};
use conformance::report::{self, Compared, Report, Shape};
use conformance::suite::{Listed, SUITES};
use conformance::target::Claim;
use conformance::{dissect, lacks, progress};
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
  conformance findings openlisp.json oor.json
  conformance run --suite cgeid
  conformance run --target conformance/targets/openlisp.toml
  conformance explain M43
  conformance ledger
  conformance decode capture.pcap
  conformance mutants --suite lisp

Exit status: 0 all held, 1 something did not, 2 wrong usage, 3 the machine lacks something, 130 interrupted."
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
    Run(run::Run),
    /// Lists what a target file may claim that its target supports.
    Claims {
        #[command(flatten)]
        json: Json,
    },
    /// Says what a clause or a check is about: what is asked for, why, and how it is tested; the bytes, what must happen.
    Explain {
        /// Identifier of a clause of the ledger, such as CP-085, or of a check, such as M43.
        id: String,
        #[command(flatten)]
        json: Json,
    },
    /// Puts runs side by side: which checks came out otherwise than in the first.
    ///
    /// A check is broken if it passed in the first and fails in another, gone if another does not have it, fixed if it failed in the
    /// first and passes in another, new if the first does not have it. Exit status 1 if any is broken.
    Diff(Diff),
    /// Prints what was found of deployed LISP programs by hand, which checks see it, and whether the targets of some runs show it.
    ///
    /// A target shows a finding (yes) if a check that sees it failed, and not (no) if those that were judged passed; `other` stands for a
    /// check that failed, but not in the way of the finding, and `-` for what was not judged. Exit status 1 if a target shows any.
    Findings(Findings),
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
        (
            "1",
            "Some check did not hold, or a suite could not be run, or a check is broken from one run to another, or a target shows a finding, or the codec refused some bytes.",
        ),
        ("2", "Wrong usage, a wrong target file, or nothing was judged; the message names it."),
        ("3", "The machine lacks something, without which nothing was judged, or refuses it; the message names it."),
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

#[derive(clap::Args)]
struct Diff {
    /// Reports of runs (`run --format json`), the first of which the others are held against.
    #[arg(required = true, num_args = 2..=COLUMNS)]
    reports: Vec<PathBuf>,
    /// How it is written down.
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    format: Shape,
    #[command(flatten)]
    json: Json,
    /// Where it is written, instead of standard output.
    #[arg(short = 'o', long = "output")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Findings {
    /// Reports of runs (`run --format json`): a column for the target of each.
    #[arg(value_name = "REPORT", num_args = 0..=COLUMNS)]
    reports: Vec<PathBuf>,
    #[command(flatten)]
    json: Json,
}

/// Runs side by side: a page has no room for more columns.
const COLUMNS: usize = 12;

#[derive(clap::Args)]
struct Ledger {
    /// A report of a run (`run --format json`), or a folder of them: names the checks of the ledger that none of them has,
    /// or that did not pass in all that have them, and exits with 1 if there are such.
    ///
    /// A file *.log is what `cargo test --workspace` printed (on both outputs, without -q): Rust tests of the ledger are held against it.
    #[arg(long, value_name = "REPORT")]
    ran: Vec<PathBuf>,
    #[command(flatten)]
    json: Json,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::List { json } => list(&json),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Diff(arguments) => diff(&arguments),
        Verb::Findings(arguments) => show_findings(&arguments),
        Verb::Claims { json } => claims(&json),
        Verb::Explain { id, json } => explain(&id, &json),
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
            ExitCode::from(if progress::is_stopped() { INTERRUPTED } else { lacks::status(&error) })
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
    let documents = ledger::all()?;
    let bases = ledger::bases(&documents);
    let of = |check: &Listed| bases.get(check.id.as_str()).map_or(&[][..], Vec::as_slice);
    for suite in SUITES {
        let checks = (suite.list)()?;
        writeln!(text, "{}: {}", suite.name, suite.about)?;
        for check in &checks {
            let read = if ledger::is_read(&check.level, of(check)) { ", the level is our reading" } else { "" };
            writeln!(text, "  {:<9} {:<6} {}{read}", check.id, check.level, cited(&check.clause))?;
        }
        let entry = |check: &Listed| {
            let clauses: Vec<_> = of(check).iter().map(|clause| clause.id.as_str()).collect();
            let stated = !ledger::is_read(&check.level, of(check));
            serde_json::json!({"suite": suite.name, "id": check.id, "level": check.level, "clause": check.clause,
                               "clauses": clauses, "stated": stated})
        };
        listed.extend(checks.iter().map(entry));
    }
    json.show(&listed, text)?;
    Ok(true)
}

/// How shells say that a program was ended by SIGINT.
const INTERRUPTED: u8 = 130;

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
    arguments.json.check_beside(&arguments.reports)?;
    let reports = read_all(&arguments.reports)?;
    let named = named(&arguments.reports, &reports);
    let compared = Compared::of(&named);
    let shape = if arguments.json.is_output() { Shape::Json } else { arguments.format };
    if !arguments.json.is_output() {
        arguments.json.show_document(&compared.render(Shape::Json), "")?;
    }
    put(arguments.output.as_deref(), &compared.render(shape), &compared.closing_line())?;
    Ok(compared.holds())
}

fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Report>> {
    paths.iter().map(|path| report::read(path)).collect()
}

/// Runs with their names: the targets, or the files if these do not tell them apart.
fn named<'a>(paths: &[PathBuf], reports: &'a [Report]) -> Vec<(String, &'a Report)> {
    let targets: std::collections::BTreeSet<_> = reports.iter().map(|report| &report.target).collect();
    // Runs of one implementation are told apart by their files.
    let is_named_by_target = targets.len() == reports.len();
    let name = |(path, report): (&PathBuf, &'a Report)| match is_named_by_target {
        true => (report.target.clone(), report),
        false => (path.display().to_string(), report),
    };
    paths.iter().zip(reports).map(name).collect()
}

fn show_findings(arguments: &Findings) -> anyhow::Result<bool> {
    arguments.json.check_beside(&arguments.reports)?;
    let reports = read_all(&arguments.reports)?;
    let (findings, named) = (findings::all()?, named(&arguments.reports, &reports));
    let table = Table::of(&findings, &named, SUITES)?;
    arguments.json.show(&table.json(), table.text())?;
    Ok(table.holds())
}

/// What a suite needs of a target file beside a claim.
const TABLES: &str = "
What the suites of a map system need of a target file beside the claim of their name:
  lisp, facade     [map-system] with `start`, or `address` of one that runs, and `sites`
  lispsec          [lisp-sec.start]; or `address` and `itr-key` in [map-system], sites, one of them called \"never registered\"
  pubsub           [pubsub.start], and `subscriber` in [pubsub]; or `address` in [map-system], such sites, and [map-system.subscribers]
  ddt              [ddt-node.start] for the checks of a DDT node, [ddt-map-resolver.start] for those of a Map-Resolver,
                   [map-system.start] for those of a Map-Server, or `address`
These three start what they judge with sites, keys and peers of their own; one that runs, and has an address, was given them by its operator:
  itr-key                   [{ key-id, secret }], one or two, that ITRs at the addresses of the suites share with it
  protected-path            an address of this machine from which one-time keys may come unencrypted
  [map-system.subscribers]  `count`, `site-id`, `key`: of subscriber N each octet of the xTR-ID is N; Map-Notifies come to the port that asked.
                            `limits = true` if 200 may subscribe to \"never registered\" alone, and the ITR-RLOCs of 201 are in 192.0.2.0/24
  [[map-system.site]]       \"requires lisp-sec\", which it answers for only with LISP-SEC; \"vectors\", the site 10.2.2.0/24 of the vectors
What is not given is skipped, and the report says so. One that runs may be judged again: nonces rise from run to run, and subscribers subscribe
anew. Suite nat has no table: it judges only what takes the configurations of lisp-mapsys.
Suites data-plane and mobility need [tunnel-router.start]; with `data-plane = false` in [tunnel-router] no packet has to cross it, and it is
held against what it answers alone.

Two suites need no claim, but one of these tables. Commands are lists of a program and its arguments, in which {program:VARIABLE} is a
program that a variable names, and {name} what is said here; they run without the variables of our environment but PATH:
  cgeid            [cgeid-issuer] with one or more commands, of an issuer or verifier in the network {prefix}; {password-file} has a password
    make-ed25519, make-rsa  make an identity: private key and certificate to {key} and {certificate}, PEM or DER, or both to {container}
    verify                  of {certificate}, DER: exit status 0 if it holds, and its name or address is printed; another if it does not
    open                    says the same of {container}, PKCS#12
  dht, adversary   [dht-node] with `address`, a multiaddr with its peer ID, of a node of the network 3fff:ce1::/32 that is open and knows no
                   other; or [dht-node.start] with `command`, and `file` as in [map-system.start]: a node at {address} with the operational
                   key in {identity} (PKCS#12, its password in {password-file}), which prints its multiaddr. lisp-dht puts and gets there.
                   SIGTERM ends it, and some checks start it again in its folder, to see what it remembers
conformance/targets/example.toml has these two tables, [ddt-node] and [tunnel-router], with comments, to be copied.
What is put to our libraries, to verbs that have no command here, or needs a network of our own nodes is skipped, and the report says so. What
such a target refuses counts if it takes what is right. `conformance explain ID-005.4` says to which command a check is put.
";

fn claims(json: &Json) -> anyhow::Result<bool> {
    let claim = |(_, name, about): &(Claim, &str, &str)| serde_json::json!({"claim": name, "about": about});
    let claims: Vec<_> = Claim::ALL.iter().map(claim).collect();
    json.show(&serde_json::json!({"claims": claims, "tables": TABLES.trim()}), Claim::listed() + TABLES)?;
    Ok(true)
}

fn explain(id: &str, json: &Json) -> anyhow::Result<bool> {
    let of_suites = |id: &str| SUITES.iter().find_map(|suite| suite.explained(id).transpose()).transpose();
    let about = |id: &str| SUITES.iter().find_map(|suite| (suite.explain)(id).ok().flatten());
    let documents = ledger::all()?;
    let (clause, check) = (ledger::explain(&documents, id, &about), of_suites(id)?);
    let found = serde_json::json!({"id": id, "clauses": ledger::named(&documents, id), "check": check});
    let Some(text) = [clause, check].into_iter().flatten().reduce(|clause, checks| clause + &checks) else {
        bail!("{id}: no clause and no check of that name; `conformance ledger` and `conformance list` name them");
    };
    json.show(&found, text)?;
    Ok(true)
}

fn show_ledger(arguments: &Ledger) -> anyhow::Result<bool> {
    let documents = ledger::all()?;
    if arguments.ran.is_empty() {
        arguments.json.show(&ledger::listed(&documents), ledger::table(&documents))?;
        return Ok(true);
    }
    let (file, text) = ledger::EXTRA;
    let mut extra = Vec::new();
    for name in ledger::extras(file, text)?.into_iter().flat_map(|extra| extra.checks) {
        match SUITES.iter().find(|suite| suite.name == name) {
            Some(suite) => extra.extend((suite.list)()?.into_iter().map(|check| check.id)),
            None => extra.push(name),
        }
    }
    let ran = ledger::results(&arguments.ran)?;
    let missed = ledger::missed(&documents, &extra, &ran);
    arguments.json.show(&missed, ledger::left_out(&missed, &ran))?;
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
