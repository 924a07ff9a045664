// SPDX-License-Identifier: GPL-2.0-or-later
//! Proof that the suites can fail: faults that an implementer might make, put into our own engines, each of which the suite
//! that it names must catch.
//!
//! The tree is copied, each fault put behind a switch of the environment, and all built at once; then for each fault its suite
//! is run, and stops at the first check that fails.

mod build;
mod judge;
pub mod limits;
mod mutant;
mod queue;
mod tree;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use interop::interrupt;
use program::Json;
use serde::Serialize;

use crate::suite::SUITES;
use build::Built;
use judge::{Judge, Outcome};
pub use mutant::{Mutant, apply, read};

/// What `mutants` is told.
#[derive(Debug, clap::Args)]
pub struct MutantsArguments {
    /// Only these mutants, separated by commas.
    #[arg(long, value_delimiter = ',')]
    id: Vec<String>,
    /// Only those of these suites, separated by commas.
    #[arg(long, value_delimiter = ',')]
    suite: Vec<String>,
    /// Only the dozen of a short run; of the sound programs, only the checks that catch them are run.
    #[arg(long)]
    ci: bool,
    /// A folder of the tree that is copied.
    #[arg(long, default_value = ".")]
    tree: PathBuf,
    /// Names the mutants, and builds nothing.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    json: Json,
}

/// What catches a mutant whose programs did not start.
const START: &str = "start";
/// What catches a mutant whose suite was not over in time.
const TIME: &str = "time";

/// What became of one mutant.
#[derive(Debug, Serialize)]
struct Row {
    mutant: String,
    suite: String,
    wrong: String,
    /// The check, or `time`, or `start`; null where it was missed, or not judged.
    caught_by: Option<String>,
    /// Whether a check caught it. Where its programs did not start, or its suite was not over in time, a machine that has too much to
    /// do can look the same.
    by_check: bool,
    evidence: String,
    /// The suite lacks something to judge it.
    skipped: bool,
    seconds: f64,
}

/// Runs the mutants; true if enough of them were caught.
///
/// # Errors
/// When an argument names nothing, a mutant does not fit its file, or the sound programs do not pass.
pub fn run(arguments: &MutantsArguments) -> anyhow::Result<bool> {
    arguments.json.check()?;
    let tree = build::tree_of(&arguments.tree)?;
    let all = read(&tree)?;
    let chosen = chosen(arguments, &all)?;
    if arguments.list {
        let line = |one: &&Mutant| format!("{:<8} {:<10} {}\n", one.id, one.suite, one.wrong);
        let row = |one: &&Mutant| serde_json::json!({"mutant": one.id, "suite": one.suite, "wrong": one.wrong});
        let rows: Vec<_> = chosen.iter().map(row).collect();
        arguments.json.show(&rows, chosen.iter().map(line).collect::<String>())?;
        return Ok(true);
    }
    interrupt::watch()?;
    let begun = Instant::now();
    let built = build::build(&tree, &all)?;
    eprintln!("{} mutants are built, in {:.0} s", all.len(), begun.elapsed().as_secs_f64());
    soundness(&built, &chosen, arguments.ci)?;
    let judge = Judge::new(&built)?;
    let rows = queue::each(&chosen, |mutant| &mutant.suite, |mutant| row(&judge, mutant))?;
    let (enough, closing) = closing(&rows, begun.elapsed());
    arguments.json.show(&rows, table(&rows) + &closing)?;
    Ok(enough)
}

fn chosen<'a>(arguments: &MutantsArguments, all: &'a [Mutant]) -> anyhow::Result<Vec<&'a Mutant>> {
    if let Some(unknown) = arguments.id.iter().find(|id| all.iter().all(|mutant| mutant.id != **id)) {
        bail!("--id {unknown}: no mutant of that name");
    }
    if let Some(unknown) = arguments.suite.iter().find(|name| all.iter().all(|mutant| mutant.suite != **name)) {
        bail!("--suite {unknown}: no mutant is one of that suite");
    }
    let is_named = |names: &[String], name: &String| names.is_empty() || names.contains(name);
    let wanted = |mutant: &&Mutant| {
        is_named(&arguments.id, &mutant.id) && is_named(&arguments.suite, &mutant.suite) && (mutant.ci || !arguments.ci)
    };
    let chosen: Vec<&Mutant> = all.iter().filter(wanted).collect();
    ensure!(!chosen.is_empty(), "no mutant is all of that");
    if let Some(lost) = chosen.iter().find(|mutant| SUITES.iter().all(|suite| suite.name != mutant.suite)) {
        bail!("{}: there is no suite {}", lost.id, lost.suite);
    }
    Ok(chosen)
}

/// The programs as they are pass what the mutants must not.
fn soundness(built: &Built, chosen: &[&Mutant], is_short: bool) -> anyhow::Result<()> {
    let judge = Judge::new(built)?;
    let what = |mutant: &&Mutant| match &mutant.first {
        Some(first) if is_short => (mutant.suite.clone(), mutant.linked, "--id", first.clone()),
        _ => (mutant.suite.clone(), mutant.linked, "--suite", mutant.suite.clone()),
    };
    let runs: Vec<_> = chosen.iter().map(what).collect::<BTreeSet<_>>().into_iter().collect();
    queue::each(
        &runs,
        |(suite, ..)| suite,
        |(_, linked, flag, name)| match judge.sound(*linked, [flag, name])? {
            Outcome::Passed | Outcome::Lacking(_) => Ok(()),
            other => bail!("without a mutant, {name} does not pass: {}", told(&other).1),
        },
    )?;
    eprintln!("without a mutant, all of it passes");
    Ok(())
}

fn row(judge: &Judge<'_>, mutant: &Mutant) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let outcome = judge.mutant(mutant)?;
    let (caught_by, evidence) = told(&outcome);
    let by_check = matches!(outcome, Outcome::Failed { .. });
    let (skipped, seconds) = (matches!(outcome, Outcome::Lacking(_)), begun.elapsed().as_secs_f64());
    let Mutant { id, suite, wrong, .. } = mutant.clone();
    let row = Row { mutant: id, suite, wrong, caught_by, by_check, evidence, skipped, seconds };
    eprintln!("{:<8} {:<10} {} in {seconds:.1} s", row.mutant, row.suite, row.shown());
    Ok(row)
}

/// What caught a mutant, and what was found.
fn told(outcome: &Outcome) -> (Option<String>, String) {
    match outcome {
        Outcome::Passed => (None, String::new()),
        Outcome::Lacking(why) => (None, why.clone()),
        Outcome::Failed { id, evidence } => (Some(id.clone()), evidence.clone()),
        Outcome::Broken(why) => (Some(START.into()), why.clone()),
        Outcome::Hung(time) => (Some(TIME.into()), format!("not over after {} s", time.as_secs())),
    }
}

impl Row {
    fn shown(&self) -> &str {
        self.caught_by.as_deref().unwrap_or(if self.skipped { "skipped" } else { "MISSED" })
    }

    fn is_missed(&self) -> bool {
        self.caught_by.is_none() && !self.skipped
    }

    /// It was caught in this way, and by no check.
    fn is_only(&self, way: &str) -> bool {
        !self.by_check && self.caught_by.as_deref() == Some(way)
    }
}

fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let _ = writeln!(out, "{:<8} {:<10} {:<10} {}", row.mutant, row.suite, row.shown(), row.wrong);
    }
    let mut name = |what: &str, is_it: &dyn Fn(&Row) -> bool| {
        let named: Vec<_> = rows.iter().filter(|row| is_it(row)).map(|row| row.mutant.as_str()).collect();
        if !named.is_empty() {
            let _ = writeln!(out, "{what}: {}", named.join(", "));
        }
    };
    name("caught by no check, did not start", &|row| row.is_only(START));
    name("caught by no check, not over in time", &|row| row.is_only(TIME));
    name("missed", &Row::is_missed);
    out
}

/// Whether enough of those that were judged were caught, and how many.
fn closing(rows: &[Row], time: Duration) -> (bool, String) {
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    let skipped = rows.iter().filter(|row| row.skipped).count();
    let judged = rows.len() - skipped;
    let caught = judged - missed;
    let percent = caught * 100 / judged.max(1);
    let only = |way: &str| rows.iter().filter(|row| row.is_only(way)).count();
    let (start, time_out) = (only(START), only(TIME));
    let line = format!(
        "{caught} of {} caught ({percent} % of those judged), {start} of them by not starting, {time_out} by not ending, {missed} missed, {skipped} skipped, in {} s\n",
        rows.len(),
        time.as_secs()
    );
    (judged > 0 && caught * 100 >= judged * limits::REACH, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_named() {
        let row = |mutant: &str, caught_by: Option<&str>| Row {
            mutant: mutant.into(),
            suite: "wire".into(),
            wrong: "a bit".into(),
            caught_by: caught_by.map(str::to_owned),
            by_check: caught_by.is_some_and(|by| by != START && by != TIME),
            evidence: String::new(),
            skipped: mutant == "A-3",
            seconds: 0.0,
        };
        let rows = [row("A-1", Some("M43")), row("A-2", None), row("A-3", None)];
        let table = super::table(&rows);
        assert_eq!(table.lines().last(), Some("missed: A-2"));
        assert!(table.contains("A-1      wire       M43        a bit"));
        let (enough, line) = closing(&rows, Duration::from_secs(3));
        assert_eq!(
            line,
            "1 of 3 caught (50 % of those judged), 0 of them by not starting, 0 by not ending, 1 missed, 1 skipped, in 3 s\n"
        );
        assert!(!enough && closing(&rows[..1], Duration::ZERO).0);
        assert!(!closing(&rows[2..], Duration::ZERO).0, "where nothing is judged nothing holds");
        // A machine that has too much to do ends no suite in time, and starts no program.
        let rows = [row("A-1", Some("M43")), row("A-4", Some(START)), row("A-5", Some(TIME)), row("A-6", Some(TIME))];
        let (_, line) = closing(&rows, Duration::ZERO);
        assert!(
            line.starts_with("4 of 4 caught (100 % of those judged), 1 of them by not starting, 2 by not ending, ")
        );
        let told = super::table(&rows);
        let last: Vec<_> = told.lines().rev().take(2).collect();
        let named = ["caught by no check, not over in time: A-5, A-6", "caught by no check, did not start: A-4"];
        assert_eq!(last, named);
        let json = serde_json::to_value(&rows).unwrap_or_default();
        assert_eq!((&json[0]["by_check"], &json[2]["by_check"]), (&true.into(), &false.into()));
    }
}
