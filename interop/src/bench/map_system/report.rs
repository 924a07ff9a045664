// SPDX-License-Identifier: GPL-2.0-or-later
//! What the bench says: the figures side by side, and of each promise whether it was kept.

use serde::{Serialize, Serializer};

use super::flooding::Flooded;
use super::million::{FirstAnswer, Weight};
use super::registering::Registering;
use super::{RATIO, TAIL};
use crate::bench::Line;
use crate::bench::disturbed::Disturbed;

/// A case beside its floor: medians of all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Who answered.
    pub server: &'static str,
    /// Which.
    pub case: &'static str,
    /// Questions outstanding.
    pub outstanding: usize,
    /// Right answers a second.
    pub replies_per_s: f64,
    /// The floor's.
    pub floor_per_s: f64,
    /// Of the floor: the median of all rounds.
    pub ratio_to_floor: f64,
    /// The same: median, least and most of all rounds.
    pub ratio: [f64; 3],
    /// Median time to the answer.
    pub p50_us: f64,
    /// 99th percentile of it.
    pub p99_us: f64,
    /// The floor's median.
    pub floor_p50_us: f64,
    /// The floor's 99th percentile.
    pub floor_p99_us: f64,
    /// 99th percentile, of the floor's: median, least and most of all rounds.
    pub p99_ratio: [f64; 3],
    /// Questions without an answer.
    pub lost: usize,
    /// Answers that were not right.
    pub wrong: usize,
    /// Cores that the map system took.
    pub cores: f64,
}

/// The floor's row of a case: it is its own measure, and answers everything or is not one.
#[derive(Debug, Clone, Serialize)]
struct FloorRow {
    server: &'static str,
    case: &'static str,
    outstanding: usize,
    replies_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    ratio_to_floor: f64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Floor(FloorRow),
    Ours(&'a Figures),
}

fn beside_floor<S: Serializer>(results: &[Figures], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(results.iter().flat_map(|it| {
        let floor = FloorRow {
            server: "floor",
            case: it.case,
            outstanding: it.outstanding,
            replies_per_s: it.floor_per_s,
            p50_us: it.floor_p50_us,
            p99_us: it.floor_p99_us,
            ratio_to_floor: 1.0,
        };
        [Row::Floor(floor), Row::Ours(it)]
    }))
}

/// The outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Cores of this machine.
    pub machine: String,
    /// Questions outstanding.
    pub outstanding: usize,
    /// Threads in which the measured map system serves.
    pub workers: u8,
    /// Rounds of each case.
    pub rounds: usize,
    /// The cases; in JSON a row of the floor before each.
    #[serde(serialize_with = "beside_floor")]
    pub results: Vec<Figures>,
    /// The flood of random EIDs.
    pub flood: Flooded,
    /// What very many registrations weigh.
    pub million: Weight,
    /// Very many sites that register.
    pub registering: Registering,
    /// From a Map-Register to the first right answer.
    pub first_answer: FirstAnswer,
    /// Turns of the cases, and rounds of the flood, in which others had the processors.
    pub disturbed: Disturbed,
    /// The same of the times in which very many were registered.
    pub registering_disturbed: Disturbed,
    /// What was promised, and what was measured.
    pub promises: Vec<Line>,
    /// Whether every promise was kept.
    pub ok: bool,
}

/// The outcome of the flood alone.
#[derive(Debug, Clone, Serialize)]
pub struct FloodReport {
    /// Cores of this machine.
    pub machine: String,
    /// Rounds.
    pub rounds: usize,
    /// What was measured.
    pub flood: Flooded,
    /// Rounds in which others had the processors.
    pub disturbed: Disturbed,
    /// What was promised, and what was measured.
    pub promises: Vec<Line>,
    /// Whether every promise was kept.
    pub ok: bool,
}

impl FloodReport {
    /// In words.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.flood.lines();
        lines.extend(self.disturbed.line("turns"));
        lines.push(format!("{} rounds, {}", self.rounds, self.machine));
        lines
    }
}

impl Report {
    /// The figures side by side.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<11} {:>9} {:>9} {:>18} {:>7} {:>7} {:>7} {:>7} {:>18} {:>5} {:>5} {:>5}",
            "case",
            "replies/s",
            "floor/s",
            "ratio (min-max)",
            "p50 us",
            "p99 us",
            "floor50",
            "floor99",
            "p99 ratio",
            "lost",
            "wrong",
            "cores"
        )];
        let span = |[mid, least, most]: [f64; 3]| format!("{mid:.2} ({least:.2}-{most:.2})");
        lines.extend(self.results.iter().map(|it| {
            format!(
                "{:<11} {:>9.0} {:>9.0} {:>18} {:>7.0} {:>7.0} {:>7.0} {:>7.0} {:>18} {:>5} {:>5} {:>5.2}",
                it.case,
                it.replies_per_s,
                it.floor_per_s,
                span(it.ratio),
                it.p50_us,
                it.p99_us,
                it.floor_p50_us,
                it.floor_p99_us,
                span(it.p99_ratio),
                it.lost,
                it.wrong,
                it.cores
            )
        }));
        lines.extend(self.flood.lines());
        let it = &self.million;
        lines.push(format!(
            "{} registrations in {:.1} s: {:.0} octets each, {:.2} of the throughput of \"registered\"",
            it.registrations, it.seconds, it.octets_each, it.of_registered
        ));
        let it = &self.registering;
        lines.push(format!(
            "{} sites that register each minute ({:.0}/s for {:.0} s): {:.3} cores, its DHT node, which still publishes them, {:.3}, together {:.3}; Map-Notify after {:.0} us, p99 {:.0}, {} lost",
            it.sites, it.registers_per_s, it.seconds, it.cores, it.dht_cores, it.all_cores, it.p50_us, it.p99_us, it.lost
        ));
        let it = &self.first_answer;
        lines.push(format!(
            "first right answer of {} new sites: {:.0} us, p99 {:.0}, longest {:.0}",
            it.sites, it.p50_us, it.p99_us, it.longest_us
        ));
        lines.extend(self.disturbed.line("turns"));
        lines.extend(self.registering_disturbed.line("times of registering"));
        let Self { outstanding, workers, rounds, machine, .. } = self;
        lines.push(format!("{outstanding} outstanding, {workers} workers, {rounds} rounds, {machine}"));
        lines
    }
}

/// What is promised of each case.
pub(super) fn promises(
    results: &[Figures],
    flood: &Flooded,
    million: &Weight,
    registering: &Registering,
    first_answer: &FirstAnswer,
) -> Vec<Line> {
    let case = |it: &Figures| Line {
        name: it.case,
        ok: it.ratio[0] >= RATIO && it.p99_ratio[0] < TAIL && it.lost == 0 && it.wrong == 0,
        measured: format!("{:.2} of the floor, p99 {:.1} x, {} lost", it.ratio[0], it.p99_ratio[0], it.lost + it.wrong),
        promised: "0.65 of the floor, p99 below 4 x its, none lost",
    };
    let mut lines: Vec<Line> =
        results.iter().filter(|it| ["registered", "dht-cache"].contains(&it.case)).map(case).collect();
    lines.extend(flood.promises());
    lines.push(Line {
        name: "million",
        ok: million.of_registered > 2.0 / 3.0,
        measured: format!("{:.2} of the throughput of registered", million.of_registered),
        promised: "throughput falls by less than a third",
    });
    lines.push(Line {
        name: "million-memory",
        ok: million.octets_each < 400.0,
        measured: format!("{:.0} octets for each of {}", million.octets_each, million.registrations),
        promised: "below 400 octets each, caches among it",
    });
    lines.push(Line {
        name: "sites-a-minute",
        ok: registering.is_kept(),
        measured: registering.told(),
        promised: "10,000 sites each minute, acknowledged: below 0.25 of a core",
    });
    lines.push(Line {
        name: "register-to-answer",
        ok: first_answer.longest_us < 20_000.0,
        measured: format!("{:.1} ms at most", first_answer.longest_us / 1000.0),
        promised: "the first right answer within 20 ms",
    });
    lines
}
