// SPDX-License-Identifier: GPL-2.0-or-later
//! The figures of the bench, modelled: nodes that nobody attacks, and lookups of what was published.

use std::sync::Arc;

use super::super::dice::Dice;
use super::super::links::Links;
use super::super::progress::Progress;
use super::super::report::Report;
use super::super::world::{Reader, World};
use super::super::{Settings, SimError};
use super::{mean_messages, mean_rounds, plan, quantile, size};

pub(super) fn run(settings: &Settings, progress: &Arc<Progress>, report: &mut Report) -> Result<(), SimError> {
    let mut world = World::new(&plan(settings), progress);
    world.links = Links::even();
    // In a bench every node publishes, and clients ask as often as nodes do.
    world.publish(settings.nodes)?;
    let reader = |dice: &mut Dice| if dice.chance(500) { Reader::Node } else { Reader::Client };
    let gots = world.look_up_by(settings.lookups, reader)?;
    let correct = gots.iter().filter(|got| got.is_right).count();
    report.show("lookups", size(gots.len()), "");
    report.show("correct", size(correct), "");
    let most = gots.iter().map(|got| got.rounds).max().unwrap_or(0);
    report.show("rounds_mean_milli", 1000.0 * mean_rounds(&gots), "");
    report.show("rounds_max", f64::from(most), "");
    report.show("messages", mean_messages(&gots) * size(gots.len()), "");
    report.show("p50_us", 1000.0 * quantile(&gots, 500), "us");
    report.show("p99_us", 1000.0 * quantile(&gots, 990), "us");
    Ok(())
}
