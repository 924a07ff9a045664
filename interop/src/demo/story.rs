// SPDX-License-Identifier: GPL-2.0-or-later
//! The story as it is told: a line for each step, what was seen under it, and what it all came to.

use std::io::Write;
use std::time::{Duration, Instant};

use super::UsageError;
use super::report::{PingLine, Report, StepLine};
use crate::interrupt::Interrupted;
use crate::lab::LabError;

/// What is told, and kept for the report.
pub(super) struct Story {
    out: Box<dyn Write>,
    started: Instant,
    pub(super) report: Report,
}

impl Story {
    pub(super) fn new(on_stderr: bool) -> Self {
        let out: Box<dyn Write> = if on_stderr { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        Self { out, started: Instant::now(), report: Report::default() }
    }

    /// A line of its own.
    pub(super) fn say(&mut self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    /// A step: tells that it begins, does it, tells how it ended and what was seen.
    pub(super) fn step<T>(
        &mut self,
        name: &'static str,
        words: &str,
        work: impl FnOnce() -> anyhow::Result<Seen<T>>,
    ) -> anyhow::Result<T> {
        self.write(&format!("{:>3}  {words:<72}", self.report.steps.len() + 1));
        let begun = Instant::now();
        let outcome = work();
        let time = begun.elapsed();
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        self.write(&format!(" {verdict:<6} {:>5.1} s\n", time.as_secs_f64()));
        self.report.steps.push(StepLine { name, ok: outcome.is_ok(), seconds: rounded(time) });
        let Seen { value, notes } = outcome?;
        for note in notes {
            self.say(&format!("       {note}"));
        }
        Ok(value)
    }

    /// The end, when a step failed: why, and what the processes said last. What is not the story's fault stays an error.
    pub(super) fn stop(mut self, error: anyhow::Error, logs: &[(String, Vec<String>)]) -> anyhow::Result<Report> {
        let refused = matches!(error.downcast_ref(), Some(LabError::Refused { .. }));
        if refused || error.is::<Interrupted>() || error.is::<UsageError>() {
            return Err(error);
        }
        self.say(&format!("\nThis did not hold: {error:#}"));
        for (name, lines) in logs {
            self.say(&format!("\nThe last lines of {name}:"));
            lines.iter().for_each(|line| self.say(&format!("  {line}")));
        }
        Ok(self.end(false))
    }

    /// The end: the table.
    pub(super) fn end(mut self, ok: bool) -> Report {
        self.report.ok = ok;
        let table = self.report.table(self.started.elapsed());
        self.say(&table);
        self.report
    }

    pub(super) fn pings(&mut self, lines: Vec<PingLine>) {
        self.report.pings.extend(lines);
    }

    fn write(&mut self, text: &str) {
        // Nobody may be listening any more (a closed pipe); the demo still cleans up and says by its exit code how it was.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// What a step came to, and what is worth saying about it.
pub(super) struct Seen<T> {
    pub(super) value: T,
    pub(super) notes: Vec<String>,
}

impl<T> Seen<T> {
    pub(super) fn new(value: T, notes: Vec<String>) -> Self {
        Self { value, notes }
    }
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
