// SPDX-License-Identifier: GPL-2.0-or-later
//! Forty ids in two networks are nearer to one record than any honest node.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::choices::Choices;
use super::super::clock::Clock;
use super::super::dice::Dice;
use super::super::peers::{Peer, Peers, Point};
use super::super::people::Record;
use super::super::progress::Progress;
use super::super::report::{Line, Report};
use super::super::world::World;
use super::super::{Settings, SimError};
use super::{mean_messages, plan, right};

/// Ids that were mined.
const IDS: u8 = 40;
/// Attacks, each on another record in another network: one for so many lookups.
const LOOKUPS: usize = 20;
/// Lookups that must be right, in percent.
const RIGHT: f64 = 95.0;

/// What is compared: each defence alone, and together.
const VARIANTS: [(&str, Choices); 4] = [
    ("no defence but d = 8", Choices { paths: 8, ..Choices::NONE }),
    ("diversity of table and PUT", Choices { paths: 8, diversity: true, ..Choices::NONE }),
    ("region PUT", Choices { paths: 8, region_put: true, ..Choices::NONE }),
    ("all", Choices::ALL),
];

pub(super) fn run(settings: &Settings, progress: &Arc<Progress>, report: &mut Report) -> Result<(), SimError> {
    for (name, choices) in VARIANTS {
        let mut gots = Vec::new();
        for attack in 0..settings.lookups.div_ceil(LOOKUPS) {
            let seed = settings.seed.wrapping_add(u64::try_from(attack).unwrap_or(0) << 32);
            let mut world = attacked(&super::Plan { seed, choices, ..plan(settings) }, progress)?;
            world.put(0, None);
            world.settle()?;
            gots.extend(world.look_up(LOOKUPS)?);
        }
        let figure = format!("right, {name}");
        if choices == Choices::ALL {
            report.ask(figure, right(&gots), "%", Line::AtLeast(RIGHT));
        } else {
            report.show(figure, right(&gots), "%");
        }
        report.show(format!("mean messages, {name}"), mean_messages(&gots), "");
    }
    Ok(())
}

/// A network in which one record, not yet published, is surrounded.
fn attacked(plan: &super::Plan, progress: &Arc<Progress>) -> Result<World, SimError> {
    let mut dice = Dice::new(!plan.seed);
    let record = Record::new(&mut dice, Clock::<()>::new().date())?;
    let point = record.point;
    let mut world = World::with(plan, progress, |peers, dice| surround(peers, dice, point));
    world.add(record);
    Ok(world)
}

fn surround(peers: &mut Peers, dice: &mut Dice, point: Point) -> Vec<Peer> {
    let honest = (0..peers.len()).map(Peer::new);
    let nearest = honest.map(|peer| peers.point(peer).distance(point)).min().unwrap_or(u128::MAX).max(1);
    (0..IDS)
        .map(|number| {
            let nearer = Point(point.0 ^ (dice.wide() % nearest));
            let net = if number % 2 == 0 { [198, 51, 100] } else { [203, 0, 113] };
            peers.add_at(nearer, IpAddr::from([net[0], net[1], net[2], number + 1]))
        })
        .collect()
}
