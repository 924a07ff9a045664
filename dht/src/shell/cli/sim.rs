// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht sim`: figures of a model, and how far they are from those of the bench.

mod run;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use program::{Json, files};
use serde_json::{Value, json};

use super::{Failure, Outcome, output};
use crate::shell::lab::limits;
use crate::sim::{MAX_NODES, Report, Scenario, Settings};

/// `lisp-dht sim`. A model is told all that it depends on by its flags, so that a table is repeated by its command.
#[derive(Debug, Args)]
pub(super) struct SimFlags {
    /// What is asked of the network: hops, hostile, eclipse, churn, partition, idle [default: all]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Nodes of the network; for hops of the largest [default: 1000, for hops 10000]
    #[arg(long, value_name = "N", value_parser = nodes)]
    nodes: Option<usize>,
    /// All chance comes from it: the same seed gives the same table
    #[arg(long, value_name = "S", default_value_t = Settings::default().seed)]
    seed: u64,
    /// Lookups that are measured, each time
    #[arg(long, value_name = "N", default_value_t = Settings::default().lookups, value_parser = lookups)]
    lookups: usize,
    /// Model the network that the bench ran, whose JSON this is (`lisp-dht lab --memory --json`), and say how far they differ
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["scenarios", "nodes"])]
    check_against: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

/// A network of two nodes is the smallest in which one can ask another.
fn nodes(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (2..=MAX_NODES).contains(&count) { Ok(count) } else { Err(format!("between 2 and {MAX_NODES}")) }
}

/// Without any, nothing would be measured.
fn lookups(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (1..=limits::LOOKUPS).contains(&count) { Ok(count) } else { Err(format!("between 1 and {}", limits::LOOKUPS)) }
}

/// Runs the scenarios, or the comparison.
pub(super) fn run(flags: &SimFlags) -> Result<Outcome, Failure> {
    flags.json.check_beside(&flags.check_against)?;
    match &flags.check_against {
        Some(file) => check(flags, file),
        None => run_scenarios(flags),
    }
}

fn run_scenarios(flags: &SimFlags) -> Result<Outcome, Failure> {
    let scenarios = if flags.scenarios.is_empty() { &Scenario::ALL[..] } else { &flags.scenarios };
    let job = |scenario: &Scenario| {
        let usual = if *scenario == Scenario::Hops { LARGEST } else { Settings::default().nodes };
        (*scenario, settings(flags, flags.nodes.unwrap_or(usual), flags.lookups))
    };
    let reports = reports(&scenarios.iter().map(job).collect::<Vec<_>>())?;
    let held = reports.iter().all(Report::held);
    let lines: Vec<String> = reports.iter().flat_map(Report::lines).chain([verdict(&reports)]).collect();
    output::show(&flags.json, &json!({ "instrument": "model", "ok": held, "reports": reports }), &lines)?;
    Ok(if held { Outcome::Held } else { Outcome::DidNot })
}

/// Whether all that was promised was measured; what was not.
fn verdict(reports: &[Report]) -> String {
    let rows = || reports.iter().flat_map(|report| report.rows.iter().map(move |row| (report.scenario, row)));
    let promised = rows().filter(|(_, row)| row.line.is_some()).count();
    let missed: Vec<String> =
        rows().filter(|(_, row)| !row.held).map(|(scenario, row)| format!("{scenario}: {}", row.name)).collect();
    match missed.len() {
        0 => format!("all {promised} promises hold in the model"),
        count => format!("{count} of {promised} promises MISSED in the model: {}", missed.join("; ")),
    }
}

/// The largest network of the scenario about growth.
const LARGEST: usize = 10_000;

fn settings(flags: &SimFlags, nodes: usize, lookups: usize) -> Settings {
    Settings { nodes, seed: flags.seed, lookups, ..Settings::default() }
}

fn reports(jobs: &[(Scenario, Settings)]) -> Result<Vec<Report>, Failure> {
    // Only the system's randomness can fail, which owners' keys need.
    run::all(jobs).context("cannot make the keys of a model").map_err(Failure::Lacking)
}

/// How far the model may be from the bench.
#[derive(Debug, Clone, Copy)]
enum Most {
    /// In parts of the bench's figure.
    Parts(f64),
    /// Neither is more than so many times the other.
    Times(f64),
    /// By so much.
    By(f64),
    /// Not judged, and why.
    Any(&'static str),
}

/// Why times are not judged.
const ANOTHER_NETWORK: &str = "another network";

/// What is compared, by the keys of the bench's JSON.
const COMPARED: [(&str, Most); 6] = [
    ("correct", Most::Parts(0.05)),
    ("rounds_mean_milli", Most::By(1000.0)),
    // One slow answer among thousands makes it: with the machine that runs the bench it is 4 or 5.
    ("rounds_max", Most::Any("the largest of all draws")),
    // The bench counts all that its nodes answer meanwhile, not only what readers ask: it has two to three times as many.
    ("messages", Most::Times(3.0)),
    ("p50_us", Most::Any(ANOTHER_NETWORK)),
    ("p99_us", Most::Any(ANOTHER_NETWORK)),
];

/// Octets of the JSON of a bench: some forty figures.
const BENCH_FILE: usize = 1024 * 1024;

fn check(flags: &SimFlags, file: &Path) -> Result<Outcome, Failure> {
    let named = || format!("--check-against {}", file.display());
    let text = files::read_text(file, BENCH_FILE).with_context(named)?;
    let bench: Value = serde_json::from_str(&text).with_context(named)?;
    let count = |key: &str| {
        let count = bench.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        count.filter(|count| (1..=MAX_NODES).contains(count)).with_context(|| format!("{}: no number {key:?}", named()))
    };
    let (nodes, lookups) = (count("nodes")?.max(2), count("lookups")?);
    let model = reports(&[(Scenario::Bench, settings(flags, nodes, lookups))])?;
    let model = model.first().context("no model").map_err(Failure::Lacking)?;
    let rows: Vec<Compared> = COMPARED.iter().map(|row| Compared::new(row, model, &bench)).collect();
    let agrees = rows.iter().all(|row| row.agrees);
    let head = format!("model and bench at {nodes} nodes, {lookups} lookups; model of seed {}", flags.seed);
    let columns = format!("  {:18} {:>12} {:>12} {:>10}", "", "model", "bench", "model is");
    let lines: Vec<String> = [head, columns].into_iter().chain(rows.iter().map(Compared::line)).collect();
    let compared: Vec<Value> = rows.iter().map(Compared::json).collect();
    let value = json!({ "nodes": nodes, "lookups": lookups, "seed": flags.seed, "ok": agrees, "compared": compared });
    output::show(&flags.json, &value, &lines)?;
    Ok(if agrees { Outcome::Held } else { Outcome::DidNot })
}

/// One figure of both.
struct Compared {
    name: &'static str,
    model: Option<f64>,
    bench: Option<f64>,
    /// In parts of the bench's figure.
    difference: Option<f64>,
    most: Most,
    agrees: bool,
}

impl Compared {
    fn new((name, most): &(&'static str, Most), model: &Report, bench: &Value) -> Self {
        let (model, bench) = (model.value(name), bench.get(*name).and_then(Value::as_f64));
        let difference = match (model, bench) {
            (Some(model), Some(bench)) if bench > 0.0 => Some((model - bench) / bench),
            _ => None,
        };
        let agrees = match (model, bench, most) {
            (Some(model), Some(bench), Most::Parts(parts)) => (model - bench).abs() <= parts * bench,
            (Some(model), Some(bench), Most::Times(times)) => model <= times * bench && bench <= times * model,
            (Some(model), Some(bench), Most::By(by)) => (model - bench).abs() <= *by,
            // What the bench has not measured is no disagreement.
            _ => true,
        };
        Self { name, model, bench, difference, most: *most, agrees }
    }

    fn line(&self) -> String {
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let difference = self.difference.map_or("-".to_owned(), |by| format!("{:+.0} %", 100.0 * by));
        let verdict = match (self.bench, self.most) {
            (None, _) => "the bench does not say".to_owned(),
            (_, Most::Any(why)) => format!("not judged: {why}"),
            (_, Most::Parts(parts)) => format!("within {:.0} %: {}", 100.0 * parts, self.verdict()),
            (_, Most::Times(times)) => format!("within a factor of {times}: {}", self.verdict()),
            (_, Most::By(by)) => format!("within {by}: {}", self.verdict()),
        };
        let (model, bench) = (figure(self.model), figure(self.bench));
        format!("  {:18} {model:>12} {bench:>12} {difference:>10}  {verdict}", self.name)
    }

    fn verdict(&self) -> &'static str {
        if self.agrees { "holds" } else { "MISSED" }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "model": self.model,
            "bench": self.bench,
            "difference": self.difference,
            "ok": self.agrees,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::shell::limits;
    use crate::sim::{self, Timing};

    #[test]
    fn the_model_has_the_times_of_the_node() {
        let timing = Timing {
            request: limits::REQUEST,
            get: limits::GET,
            put_lookup: limits::PUT_LOOKUP,
            query: limits::QUERY,
            keep_alive: limits::QUIC_KEEP_ALIVE,
            idle: limits::QUIC_IDLE,
            unused: limits::CONNECTION_UNUSED,
            nearest: limits::NEAREST,
            further: limits::FURTHER,
            identify: limits::IDENTIFY,
            refresh: limits::REFRESH,
            redial_first: limits::REDIAL_FIRST,
            redial_last: limits::REDIAL_LAST,
            redial_attempts: limits::REMEMBERED_ATTEMPTS,
            redial_peers: limits::REMEMBERED_PEERS,
            reached: limits::REACHED_PAUSE,
            ..Timing::PRESENT
        };
        assert_eq!(timing, Timing::PRESENT);
    }

    #[test]
    fn the_model_has_the_bounds_of_the_node() {
        use crate::sim::limits as bounds;
        assert_eq!(bounds::REGION, limits::REGION);
        assert_eq!(bounds::SUSPECT_PAUSE, limits::SUSPECT_PAUSE);
        assert_eq!(bounds::SUSPECTS, limits::SUSPECTS);
        assert_eq!((bounds::WALK_PAUSE, bounds::WALK_AGAIN), (limits::WALK_PAUSE, limits::WALK_AGAIN));
        assert_eq!((bounds::WALK_DIALS, bounds::TURN), (limits::WALK_DIALS, limits::HOUSEKEEPING));
        assert_eq!(bounds::CLAIMED_ATTEMPTS, limits::CLAIMED_ATTEMPTS);
        assert_eq!(bounds::PUT_LOOK_AGAIN, limits::PUT_LOOK_AGAIN);
        assert_eq!(bounds::SILENT_ATTEMPTS, limits::SILENT_ATTEMPTS);
        assert_eq!(sim::Choices::ALL.paths, limits::PATHS.get());
    }

    #[test]
    fn the_last_line_names_what_was_missed() {
        let row = |name: &str, held| sim::Row {
            name: String::from(name),
            value: 1.0,
            unit: "",
            line: Some(sim::Line::AtLeast(2.0)),
            held,
        };
        let report = |rows| Report { instrument: "model", scenario: "churn", nodes: 9, seed: 1, rows };
        assert_eq!(verdict(&[report(vec![row("right", true)])]), "all 1 promises hold in the model");
        let missed = verdict(&[report(vec![row("right", false), row("left", true)])]);
        assert_eq!(missed, "1 of 2 promises MISSED in the model: churn: right");
    }

    #[test]
    fn a_figure_that_is_too_far_from_the_bench_disagrees() {
        let bench = json!({ "rounds_mean_milli": 2000, "correct": 0, "messages": 200 });
        let compared = |name, value: f64| {
            let report = Report {
                instrument: "model",
                scenario: "bench",
                nodes: 24,
                seed: 1,
                rows: vec![sim::Row { name: String::from(name), value, unit: "", line: None, held: true }],
            };
            let row = COMPARED.iter().find(|(known, _)| *known == name).unwrap();
            Compared::new(row, &report, &bench).agrees
        };
        assert!(
            compared("rounds_mean_milli", 2900.0)
                && !compared("rounds_mean_milli", 3100.0)
                && !compared("correct", 24.0)
        );
        assert!(compared("p99_us", 7.0), "the bench does not say");
        assert!(compared("messages", 70.0) && !compared("messages", 60.0) && !compared("messages", 700.0));
    }
}
