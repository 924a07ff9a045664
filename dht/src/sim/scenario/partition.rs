// SPDX-License-Identifier: GPL-2.0-or-later
//! Two halves are parted, and written to on both sides; then the cut heals.

use std::sync::Arc;
use std::time::Duration;

use super::super::peers::Peer;
use super::super::progress::Progress;
use super::super::report::{Line, Report};
use super::super::world::World;
use super::super::{Settings, SimError, limits};
use super::{plan, right, size};

/// All must be merged this long after healing.
const MERGED: Duration = Duration::from_secs(60);
/// It is watched for so long.
const WATCHED: Duration = Duration::from_secs(120);
/// Writes come so long before the end: late enough to hold still, early enough to be stored.
const WRITES: Duration = Duration::from_secs(120);

pub(super) fn run(settings: &Settings, progress: &Arc<Progress>, report: &mut Report) -> Result<(), SimError> {
    let mut world = World::new(&plan(settings), progress);
    world.publish(settings.records)?;
    world.begin_refreshing();
    world.part();
    world.run(settings.parted.saturating_sub(WRITES))?;
    write_on_both_sides(&mut world)?;
    world.run(WRITES)?;
    let before = merged(&world);
    world.heal();
    let mut merged_after = None;
    let mut after_a_minute = before;
    for second in 1..=WATCHED.as_secs() {
        world.run(Duration::from_secs(1))?;
        let share = merged(&world);
        if share >= 100.0 && merged_after.is_none() {
            merged_after = Some(second);
        }
        if second == MERGED.as_secs() {
            after_a_minute = share;
        }
    }
    let gots = world.look_up(settings.lookups)?;
    report.show("holders with the highest sequence while parted", before, "%");
    report.ask("the same 60 s after healing", after_a_minute, "%", Line::AtLeast(100.0));
    let never = f64::INFINITY;
    let seconds = merged_after.map_or(never, |second| Duration::from_secs(second).as_secs_f64());
    report.ask("all merged after", seconds, "s", Line::AtMost(MERGED.as_secs_f64()));
    // No line: who held a record in its half, and should not any more, gives what it has until that expires.
    report.show("right afterwards", right(&gots), "%");
    report.show("lost peers are tried for", world.timing.redial_span(world.timing.redial_attempts).as_secs_f64(), "s");
    report.show("records", size(world.records.len()), "");
    Ok(())
}

/// A third of the records is written on one side, a third on the one and then on the other, and the owners of a third
/// contradict themselves: one statement on each side, with one sequence.
fn write_on_both_sides(world: &mut World) -> Result<(), SimError> {
    for record in 0..world.records.len() {
        let date = world.clock.date();
        let side = world.dice.chance(500);
        if record % 3 == 2 {
            let [one, other] = world.records[record].equivocate(date)?;
            world.put_value(record, one, Some(side));
            world.put_value(record, other, Some(!side));
        } else {
            world.records[record].sign(date)?;
            world.put(record, Some(side));
            if record % 3 == 1 {
                world.run(limits::LOOKUP_PAUSE)?;
                world.records[record].sign(world.clock.date())?;
                world.put(record, Some(!side));
            }
        }
        world.run(limits::LOOKUP_PAUSE)?;
    }
    Ok(())
}

/// The share, in percent, of those who should hold a record and hold its newest statement: of two with one sequence, the
/// same one everywhere.
fn merged(world: &World) -> f64 {
    let (mut wanted, mut held) = (0, 0);
    for record in 0..world.records.len() {
        let holders = world.should_hold(record);
        let values: Vec<_> = holders.iter().map(|peer| newest_held(world, *peer, record)).collect();
        wanted += values.len();
        // Where holders differ the largest group counts, so that the figure is 100 only when they are one.
        let same = |value: &Option<Vec<u8>>| values.iter().filter(|other| *other == value).count();
        held += values.iter().filter(|value| value.is_some()).map(same).max().unwrap_or(0);
    }
    100.0 * size(held) / size(wanted).max(1.0)
}

/// The value that a node gives, if it has the newest sequence.
fn newest_held(world: &World, peer: Peer, record: usize) -> Option<Vec<u8>> {
    let record = &world.records[record];
    let value = world.nodes[peer.number()].store.get(world.clock.date(), &record.name)?;
    let bundle = crate::record::Bundle::decode(&value).ok()?;
    let section = bundle.section(crate::record::Class::Mapping)?;
    (section.version.sequence == record.newest).then_some(value)
}
