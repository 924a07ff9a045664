// SPDX-License-Identifier: GPL-2.0-or-later
//! A tenth of the nodes leaves every minute without a word, and as many come.

use std::sync::Arc;
use std::time::Duration;

use super::super::progress::Progress;
use super::super::report::{Line, Report};
use super::super::world::{Event, World};
use super::super::{Settings, SimError};
use super::{mean_messages, mean_rounds, plan, quantile, right, size};

/// In this time ...
const MINUTE: Duration = Duration::from_secs(60);
/// ... one of so many nodes leaves.
const PART: usize = 10;
/// Lookups that must be right, in percent.
const RIGHT: f64 = 99.0;

pub(super) fn run(settings: &Settings, progress: &Arc<Progress>, report: &mut Report) -> Result<(), SimError> {
    let mut world = World::new(&plan(settings), progress);
    world.publish(settings.records)?;
    world.begin_refreshing();
    world.begin_renewing();
    let leaving = u32::try_from(settings.nodes.div_ceil(PART)).unwrap_or(u32::MAX);
    let pause = MINUTE / leaving.max(1);
    world.clock.after(pause, Event::Churn { pause });
    // Until tables and stores are as churn makes them.
    let first = settings.churn / 3;
    world.run(first)?;
    let measured = settings.churn - first;
    for _ in 0..settings.lookups {
        let record = world.dice.below(settings.records);
        let at = world.dice.within(measured);
        world.clock.after(at, Event::Get { record });
    }
    world.run(measured + world.timing.get)?;
    let gots = std::mem::take(&mut world.gots);
    report.ask("right", right(&gots), "%", Line::AtLeast(RIGHT));
    report.show("lookups that ended", size(gots.len()), "");
    report.show("mean rounds", mean_rounds(&gots), "");
    report.show("mean messages", mean_messages(&gots), "");
    report.show("p50", quantile(&gots, 500), "ms");
    report.show("p99", quantile(&gots, 990), "ms");
    let came = world.nodes.len() - settings.nodes;
    report.show("nodes replaced", size(came), "");
    Ok(())
}
