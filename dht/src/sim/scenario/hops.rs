// SPDX-License-Identifier: GPL-2.0-or-later
//! How rounds and messages grow with the number of nodes: as its logarithm.

use std::sync::Arc;

use super::super::progress::Progress;
use super::super::report::{Fit, Line, Report};
use super::super::world::World;
use super::super::{Settings, SimError};
use super::{mean_messages, mean_rounds, plan, right, size};

/// The sizes of the networks, up to that which was asked for.
const SIZES: [usize; 5] = [100, 300, 1000, 3000, 10_000];
/// Sizes from which a fit says something.
const ENOUGH: usize = 4;
/// How well the logarithm must explain what is seen.
const R2: f64 = 0.9;

pub(super) fn run(settings: &Settings, progress: &Arc<Progress>, report: &mut Report) -> Result<(), SimError> {
    let mut points = Vec::new();
    for nodes in SIZES.into_iter().filter(|nodes| *nodes <= settings.nodes) {
        let mut world = World::new(&super::Plan { nodes, ..plan(settings) }, progress);
        world.publish(settings.records)?;
        let gots = world.look_up(settings.lookups)?;
        let most = gots.iter().map(|got| got.rounds).max().unwrap_or(0);
        let logarithm = size(nodes).log2();
        report.show(format!("mean rounds at {nodes}"), mean_rounds(&gots), "");
        report.ask(format!("most rounds at {nodes}"), f64::from(most), "", Line::AtMost(logarithm.ceil()));
        report.show(format!("mean messages at {nodes}"), mean_messages(&gots), "");
        report.ask(format!("right at {nodes}"), right(&gots), "%", Line::AtLeast(100.0));
        points.push((logarithm, mean_rounds(&gots)));
    }
    let fit = Fit::of(&points);
    report.show("rounds = a + b log2 N: a", fit.constant, "");
    report.show("rounds = a + b log2 N: b", fit.slope, "");
    if points.len() >= ENOUGH {
        report.ask("rounds = a + b log2 N: R2", fit.r2, "", Line::AtLeast(R2));
    } else {
        report.show("rounds = a + b log2 N: R2", fit.r2, "");
    }
    Ok(())
}
