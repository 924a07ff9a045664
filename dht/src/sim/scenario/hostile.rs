// SPDX-License-Identifier: GPL-2.0-or-later
//! A fifth of the nodes is hostile, at places that they did not choose.

use std::sync::Arc;

use super::super::choices::Choices;
use super::super::progress::Progress;
use super::super::report::{Line, Report};
use super::super::world::World;
use super::super::{Settings, SimError};
use super::{mean_messages, plan, quantile, right};

/// Hostile nodes, in thousandths.
const HOSTILE: usize = 200;
/// Lookups that must be right, in percent.
const RIGHT: f64 = 95.0;

pub(super) fn run(settings: &Settings, progress: &Arc<Progress>, report: &mut Report) -> Result<(), SimError> {
    for paths in [1, 3, Choices::ALL.paths] {
        let choices = Choices { paths, ..Choices::ALL };
        let mut world = World::new(&super::Plan { choices, hostile: HOSTILE, ..plan(settings) }, progress);
        world.publish(settings.records)?;
        // Some of the hostile nodes go on showing what this replaces.
        world.renew()?;
        let gots = world.look_up(settings.lookups)?;
        let name = format!("right, d = {paths}");
        if choices == Choices::ALL {
            report.ask(name, right(&gots), "%", Line::AtLeast(RIGHT));
        } else {
            report.show(name, right(&gots), "%");
        }
        report.show(format!("mean messages, d = {paths}"), mean_messages(&gots), "");
        report.show(format!("p50, d = {paths}"), quantile(&gots, 500), "ms");
        report.show(format!("p99, d = {paths}"), quantile(&gots, 990), "ms");
    }
    Ok(())
}
