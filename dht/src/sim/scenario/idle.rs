// SPDX-License-Identifier: GPL-2.0-or-later
//! What nodes send when nobody asks them anything: one record each, published again and again, and the upkeep of tables
//! and connections.

use std::sync::Arc;

use super::super::progress::Progress;
use super::super::report::{Line, Report};
use super::super::timing::Timing;
use super::super::traffic::{Intervals, Kind, Traffic};
use super::super::world::World;
use super::super::{Settings, SimError};
use super::{number, plan, size};

/// The nodes of the lab whose traffic is captured.
const LAB: usize = 24;
/// A node sends less than this, in kbit/s.
const SENT: f64 = 12.0;

pub(super) fn run(settings: &Settings, progress: &Arc<Progress>, report: &mut Report) -> Result<(), SimError> {
    for nodes in [LAB, settings.nodes] {
        let sent = measure(settings, progress, report, nodes)?;
        report.ask(format!("{nodes} nodes: sent by a node in all"), sent, "kbit/s", Line::Under(SENT));
        // What passes its port, as a capture shows it. Each octet is sent by one node and received by another.
        report.show(format!("{nodes} nodes: sent and received"), 2.0 * sent, "kbit/s");
    }
    Ok(())
}

/// Shows what a node sends by kind, in kbit/s; all of it. As much is received.
fn measure(settings: &Settings, progress: &Arc<Progress>, report: &mut Report, nodes: usize) -> Result<f64, SimError> {
    let mut world = World::new(&super::Plan { nodes, connections: true, ..plan(settings) }, progress);
    // Each has a record; as many as a model has stand for all.
    let records = nodes.min(settings.records);
    world.publish(records)?;
    world.begin_refreshing();
    world.begin_renewing();
    let Timing { keep_alive, identify, unused, .. } = world.timing;
    world.traffic = Traffic::new(Intervals { keep_alive, identify, unused }, true);
    world.traffic.keep(world.kept(), world.clock.now());
    let presentation = world.records.first().map_or(0, |record| record.presentation(world.clock.date()).len());
    world.traffic.present(presentation);
    world.begin_seeking();
    let began = world.clock.now();
    world.run(settings.idle)?;
    world.traffic.close(settings.idle + began);
    let over = settings.idle.as_secs_f64() * size(nodes);
    let mut all = 0.0;
    for kind in Kind::ALL {
        let tally = world.traffic.tally(kind);
        let share = if kind == Kind::Publish { size(nodes) / size(records) } else { 1.0 };
        let sent = number(tally.octets) * share * 8.0 / 1000.0 / over;
        if tally.messages > 0 {
            report.show(format!("{nodes} nodes: {}", kind.name()), sent, "kbit/s");
        }
        all += sent;
    }
    let standing = 2.0 * world.traffic.standing(settings.idle) / size(nodes);
    report.show(format!("{nodes} nodes: connections of a node"), standing, "");
    Ok(all)
}
