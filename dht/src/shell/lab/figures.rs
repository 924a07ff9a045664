// SPDX-License-Identifier: GPL-2.0-or-later
//! What a bench has measured: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// What became of lookups.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    times: Vec<Duration>,
    /// Most sequential round trips of a lookup, and the sum of all.
    rounds: (usize, usize),
    outcomes: BTreeMap<&'static str, usize>,
}

/// What a lookup brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The newest mapping.
    Correct,
    /// A mapping that was the newest once.
    Stale,
    /// Nothing that holds.
    Missing,
    /// The node did not begin.
    Refused,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Refused => "lookup_refused",
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, verdict: Verdict, took: Duration, rounds: usize) {
        self.times.push(took);
        self.rounds = (self.rounds.0.max(rounds), self.rounds.1 + rounds);
        *self.outcomes.entry(verdict.name()).or_default() += 1;
    }

    pub(super) fn lookups(&self) -> usize {
        self.times.len()
    }

    /// Most sequential round trips of a lookup.
    pub(super) fn rounds_max(&self) -> usize {
        self.rounds.0
    }

    /// Sequential round trips of a lookup, mean, in thousandths.
    pub(super) fn rounds_mean_milli(&self) -> usize {
        self.rounds.1 * 1000 / self.times.len().max(1)
    }

    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.outcomes.get(verdict.name()).copied().unwrap_or_default()
    }

    /// The time that so many percent of the lookups did not exceed; none of no lookups.
    fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100);
        times.get(rank.checked_sub(1)?).copied()
    }
}

/// The figures of one run.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) nodes: usize,
    pub(super) killed: usize,
    pub(super) tally: Tally,
    /// Further figures, in the order of the table.
    pub(super) more: Vec<(&'static str, Value)>,
}

impl Report {
    pub(super) fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.more.push((name, value.into()));
    }

    /// Whether every lookup was right.
    pub fn is_right(&self) -> bool {
        self.tally.count(Verdict::Correct) == self.tally.lookups()
    }

    /// Lookups that brought the newest mapping.
    pub fn correct(&self) -> usize {
        self.tally.count(Verdict::Correct)
    }

    /// The figures as JSON: the keys are a contract.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in self.figures() {
            object.insert(name.to_owned(), value);
        }
        Value::Object(object)
    }

    /// The figures as a table.
    pub fn lines(&self) -> Vec<String> {
        let figures = self.figures();
        let width = figures.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        figures.iter().map(|(name, value)| format!("{name:width$}  {}", text(value))).collect()
    }

    fn figures(&self) -> Vec<(&'static str, Value)> {
        let tally = &self.tally;
        let micros = |percent| tally.percentile(percent).map(micros);
        let mut figures =
            vec![("nodes", json!(self.nodes)), ("killed", json!(self.killed)), ("lookups", json!(tally.lookups()))];
        let verdicts = [Verdict::Correct, Verdict::Stale, Verdict::Missing, Verdict::Refused];
        figures.extend(verdicts.map(|verdict| (verdict.name(), json!(tally.count(verdict)))));
        figures.extend([("p50_us", json!(micros(50))), ("p99_us", json!(micros(99)))]);
        figures.extend(self.more.iter().cloned());
        figures
    }
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let mut tally = Tally::default();
        assert_eq!(tally.percentile(50), None);
        for millis in (1..=200).rev() {
            tally.add(Verdict::Correct, Duration::from_millis(millis), 1);
        }
        assert_eq!(tally.percentile(50), Some(Duration::from_millis(100)));
        assert_eq!(tally.percentile(99), Some(Duration::from_millis(198)));
    }

    #[test]
    fn one_wrong_lookup_is_enough_for_a_run_not_to_hold() {
        let mut report = Report { nodes: 3, ..Report::default() };
        report.tally.add(Verdict::Correct, Duration::from_micros(7), 1);
        assert!(report.is_right());
        report.tally.add(Verdict::Stale, Duration::from_micros(9), 1);
        report.note("rss_bytes_per_node", 5);
        assert!(!report.is_right());
        let json = report.json();
        for (name, value) in [("nodes", 3), ("killed", 0), ("lookups", 2), ("correct", 1), ("stale", 1), ("p50_us", 7)]
        {
            assert_eq!(json[name], value, "{name}");
        }
        assert_eq!(json["rss_bytes_per_node"], 5);
        assert_eq!(report.lines().len(), json.as_object().unwrap().len());
    }
}
