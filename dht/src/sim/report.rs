// SPDX-License-Identifier: GPL-2.0-or-later
//! What a model says: figures, and the lines that they must reach.

use std::fmt::Write as _;

use serde::Serialize;

/// The line that a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Less than this.
    Under(f64),
}

impl Line {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(line) => value >= line,
            Self::AtMost(line) => value <= line,
            Self::Under(line) => value < line,
        }
    }
}

/// One figure of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What it is of.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what; empty for a plain number.
    pub unit: &'static str,
    /// What is asked of it, if anything is.
    pub line: Option<Line>,
    /// Whether it reaches that; `true` if nothing is asked.
    pub held: bool,
}

/// What one scenario came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Always `model`: these are not figures of real nodes.
    pub instrument: &'static str,
    /// Which scenario.
    pub scenario: &'static str,
    /// Nodes of the network.
    pub nodes: usize,
    /// The same seed gives the same report.
    pub seed: u64,
    /// The figures.
    pub rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(scenario: &'static str, nodes: usize, seed: u64) -> Self {
        Self { instrument: "model", scenario, nodes, seed, rows: Vec::new() }
    }

    /// A figure of which nothing is asked.
    pub(super) fn show(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { name: name.into(), value, unit, line: None, held: true });
    }

    /// A figure and its line.
    pub(super) fn ask(&mut self, name: impl Into<String>, value: f64, unit: &'static str, line: Line) {
        self.rows.push(Row { name: name.into(), value, unit, line: Some(line), held: line.holds(value) });
    }

    /// Whether every line is reached.
    pub fn held(&self) -> bool {
        self.rows.iter().all(|row| row.held)
    }

    /// The value of a figure.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name).map(|row| row.value)
    }

    /// The table, for people.
    pub fn lines(&self) -> Vec<String> {
        let head = format!("model {}: {} nodes, seed {}", self.scenario, self.nodes, self.seed);
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let row = |row: &Row| {
            let mut line = format!("  {:width$}  {:>10.2} {:8}", row.name, row.value, row.unit);
            let verdict = if row.held { "holds" } else { "MISSED" };
            // Writing to a string cannot fail.
            let _ = match row.line {
                Some(Line::AtLeast(wanted)) => write!(line, " at least {wanted}: {verdict}"),
                Some(Line::AtMost(wanted)) => write!(line, " at most {wanted}: {verdict}"),
                Some(Line::Under(wanted)) => write!(line, " under {wanted}: {verdict}"),
                None => Ok(()),
            };
            line.trim_end().to_owned()
        };
        std::iter::once(head).chain(self.rows.iter().map(row)).collect()
    }
}

/// A straight line through points, and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    pub(super) constant: f64,
    pub(super) slope: f64,
    /// The share of the variation that it explains.
    pub(super) r2: f64,
}

impl Fit {
    /// By least squares.
    pub(super) fn of(points: &[(f64, f64)]) -> Self {
        let mean = |of: fn(&(f64, f64)) -> f64| average(points.iter().map(of));
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|point| of(point.0 - x, point.1 - y)).sum::<f64>();
        let (xx, xy, yy) = (sum(&|dx, _| dx * dx), sum(&|dx, dy| dx * dy), sum(&|_, dy| dy * dy));
        let slope = if xx > 0.0 { xy / xx } else { 0.0 };
        let r2 = if xx > 0.0 && yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 };
        Self { constant: y - slope * x, slope, r2 }
    }
}

/// The mean; 0 of nothing.
pub(super) fn average(of: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut sum) = (0.0, 0.0);
    for value in of {
        count += 1.0;
        sum += value;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_fitted_as_it_is() {
        let fit = Fit::of(&[(1.0, 3.0), (2.0, 5.0), (4.0, 9.0)]);
        assert!((fit.constant - 1.0).abs() < 1e-9 && (fit.slope - 2.0).abs() < 1e-9 && (fit.r2 - 1.0).abs() < 1e-9);
        assert!(Fit::of(&[(1.0, 1.0), (2.0, 9.0), (3.0, 1.0)]).r2 < 0.1);
    }

    #[test]
    fn a_report_holds_when_all_its_lines_do() {
        let mut report = Report::new("hops", 10, 1);
        report.show("messages", 7.0, "");
        report.ask("right", 99.0, "%", Line::AtLeast(95.0));
        assert!(report.held() && report.lines()[2].ends_with("at least 95: holds"));
        report.ask("idle", 12.0, "kbit/s", Line::Under(12.0));
        assert!(!report.held() && report.lines()[3].ends_with("under 12: MISSED"));
    }
}
