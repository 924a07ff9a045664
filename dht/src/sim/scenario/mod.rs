// SPDX-License-Identifier: GPL-2.0-or-later
//! What is asked of a network, each with its line.

mod bench;
mod churn;
mod eclipse;
mod hops;
mod hostile;
mod idle;
mod partition;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::choices::Choices;
use super::operation::Got;
use super::progress::Progress;
use super::report::{self, Report};
use super::world::Plan;
use super::{Settings, SimError};

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scenario {
    /// How rounds and messages grow with the number of nodes.
    Hops,
    /// A fifth of the nodes is hostile.
    Hostile,
    /// Forty ids in two networks are nearest to one record.
    Eclipse,
    /// A tenth of the nodes is replaced every minute.
    Churn,
    /// Two halves, parted for an hour, heal.
    Partition,
    /// What nodes say to each other when nobody asks them anything.
    Idle,
    /// Figures by the names of the bench's, to be compared with them.
    Bench,
}

impl Scenario {
    /// Those that have lines to reach.
    pub const ALL: [Self; 6] = [Self::Hops, Self::Hostile, Self::Eclipse, Self::Churn, Self::Partition, Self::Idle];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hops => "hops",
            Self::Hostile => "hostile",
            Self::Eclipse => "eclipse",
            Self::Churn => "churn",
            Self::Partition => "partition",
            Self::Idle => "idle",
            Self::Bench => "bench",
        }
    }

    pub(super) fn run(self, settings: &Settings, progress: &Arc<Progress>) -> Result<Report, SimError> {
        let mut report = Report::new(self.name(), settings.nodes, settings.seed);
        match self {
            Self::Hops => hops::run(settings, progress, &mut report)?,
            Self::Hostile => hostile::run(settings, progress, &mut report)?,
            Self::Eclipse => eclipse::run(settings, progress, &mut report)?,
            Self::Churn => churn::run(settings, progress, &mut report)?,
            Self::Partition => partition::run(settings, progress, &mut report)?,
            Self::Idle => idle::run(settings, progress, &mut report)?,
            Self::Bench => bench::run(settings, progress, &mut report)?,
        }
        Ok(report)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let known = Self::ALL.into_iter().find(|scenario| scenario.name() == text);
        known.ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}

/// A plan with all defences and the times of a node as it is.
fn plan(settings: &Settings) -> Plan {
    Plan {
        seed: settings.seed,
        nodes: settings.nodes,
        choices: Choices::ALL,
        timing: settings.timing,
        hostile: 0,
        connections: false,
    }
}

/// The share of lookups that were right, in percent.
fn right(gots: &[Got]) -> f64 {
    100.0 * report::average(gots.iter().map(|got| f64::from(u8::from(got.is_right))))
}

fn mean_rounds(gots: &[Got]) -> f64 {
    report::average(gots.iter().map(|got| f64::from(got.rounds)))
}

fn mean_messages(gots: &[Got]) -> f64 {
    report::average(gots.iter().map(|got| number(got.messages)))
}

/// Milliseconds that all but this share of the lookups took no longer than.
fn quantile(gots: &[Got], thousandths: usize) -> f64 {
    let mut times: Vec<_> = gots.iter().map(|got| got.elapsed).collect();
    times.sort_unstable();
    let at = (times.len() * thousandths / 1000).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| 1000.0 * time.as_secs_f64())
}

/// A count as a figure.
#[allow(clippy::cast_precision_loss)]
fn number(count: u64) -> f64 {
    count as f64
}

/// A count as a figure.
fn size(count: usize) -> f64 {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}
