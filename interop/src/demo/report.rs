// SPDX-License-Identifier: GPL-2.0-or-later
//! What the demo came to, for people and for scripts. The JSON keys are a contract.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::probe::ping::PingReport;

/// What the demo came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Whether everything held.
    pub ok: bool,
    /// The steps, in order; those after one that failed are missing.
    pub steps: Vec<StepLine>,
    /// The pings, in order.
    pub pings: Vec<PingLine>,
    /// Rate of the bulk transfer, Mbit/s.
    pub tcp_mbit_s: Option<f64>,
    /// What an idle border node takes, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
}

/// A step.
#[derive(Debug, Clone, Serialize)]
pub struct StepLine {
    /// Its short name.
    pub name: &'static str,
    /// Whether it held.
    pub ok: bool,
    /// How long it took.
    pub seconds: f64,
}

/// A series of pings from a cold cache.
#[derive(Debug, Clone, Serialize)]
pub struct PingLine {
    /// Sending host.
    pub from: String,
    /// Receiving host.
    pub to: String,
    /// "IPv6" or "IPv4".
    pub family: &'static str,
    /// Pings sent.
    pub sent: usize,
    /// Pings answered.
    pub received: usize,
    /// Milliseconds from the sending of the first to its delivery.
    pub first_ms: Option<f64>,
    /// Milliseconds from the sending of the first to its answer, which may need a lookup in the other direction.
    pub first_rtt_ms: Option<f64>,
    /// Milliseconds from the sending of the last to its answer.
    pub last_rtt_ms: Option<f64>,
}

/// What `lisp-xtr` with map system and DHT node takes when nothing happens.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Idle {
    /// Resident memory, MiB.
    pub resident_mib: f64,
    /// Processor time, percent of a core.
    pub cpu_percent: f64,
}

impl PingLine {
    pub(super) fn new(from: &str, to: &str, family: &'static str, report: &PingReport) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            family,
            sent: report.pings.len(),
            received: report.received(),
            first_ms: report.first_delivered().map(milliseconds),
            first_rtt_ms: report.first_answered().map(milliseconds),
            last_rtt_ms: report.pings.last().and_then(|ping| ping.answered).map(milliseconds),
        }
    }
}

impl Report {
    /// The closing table.
    pub(super) fn table(&self, total: Duration) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = write_table(self, total, &mut text);
        text
    }
}

fn write_table(report: &Report, total: Duration, text: &mut String) -> std::fmt::Result {
    if !report.pings.is_empty() {
        let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        writeln!(text, "\nfrom  to    family  answered  first there  first back   last back   (ms; caches cold)")?;
        for line in &report.pings {
            let (first, back, last) = (cell(line.first_ms), cell(line.first_rtt_ms), cell(line.last_rtt_ms));
            let (from, to, family, received, sent) = (&line.from, &line.to, line.family, line.received, line.sent);
            writeln!(
                text,
                "{from:<5} {to:<5} {family:<7} {received:>3} of {sent:<3} {first:>10} {back:>11} {last:>11}"
            )?;
        }
    }
    if let Some(rate) = report.tcp_mbit_s {
        writeln!(text, "bulk TCP over the tunnel: {rate:.0} Mbit/s")?;
    }
    if let Some(idle) = report.idle {
        writeln!(text, "idle lisp-xtr: {:.1} MiB, {:.2} % of a core", idle.resident_mib, idle.cpu_percent)?;
    }
    let held = report.steps.iter().filter(|step| step.ok).count();
    let verdict = if report.ok { "Everything held" } else { "Not everything held" };
    write!(text, "{verdict}: {held} of {} steps, {:.1} s.", report.steps.len(), total.as_secs_f64())
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
