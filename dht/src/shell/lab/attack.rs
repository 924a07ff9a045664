// SPDX-License-Identifier: GPL-2.0-or-later
//! The attacks on a bench: hostile nodes among the others, ids aimed at one record, and floods of PUTs.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::bench::{Bench, place};
use super::figures::Report;
use super::hostile::{Attitude, Crowd, Flood, FloodFigures, Plot, Recruit, draw_near};
use super::people::Person;
use super::{LabConfig, LabError, limits, part};

/// Honest nodes that a hostile node makes itself known to, as many as an honest one has neighbours.
const KNOWN_TO: usize = 60;
/// First of the numbers that the /24 blocks of attackers have: 127.200.0.0/24 on.
const BLOCKS: u8 = 200;

/// An attack under way. It ends when this is dropped.
pub(super) struct Attack {
    plot: Arc<Plot>,
    hostile: usize,
    _crowd: Crowd,
}

/// Begins the attacks that are asked for, if any.
pub(super) fn begin(
    config: &LabConfig,
    bench: &Bench,
    random: &mut StdRng,
    say: &dyn Fn(&str),
) -> Result<Option<Attack>, LabError> {
    let hostile = part(config.nodes, config.hostile);
    if hostile == 0 && config.eclipse.is_none() && config.hostile_puts == 0 {
        return Ok(None);
    }
    let mut recruits = Vec::new();
    for number in 0..hostile {
        let mut targets = bench.addresses();
        let (chosen, _) = targets.partial_shuffle(random, KNOWN_TO);
        let targets = chosen.to_vec();
        let address = place(bench.members.len() + number);
        let key = Person::new(bench.network, random)?.key;
        recruits.push(Recruit { key, address, attitude: Attitude::any(random), targets });
    }
    recruits.extend(eclipse(config, bench, random)?);
    say(&format!("{} hostile nodes join", recruits.len()));
    let hostile = recruits.len();
    let old = bench.records.iter().map(|record| (record.key.encode(), record.old.clone())).collect();
    let plot = Arc::new(Plot::new(old));
    let crowd = Crowd::start(bench.transport.clone(), recruits, Arc::clone(&plot))?;
    Ok(Some(Attack { plot, hostile, _crowd: crowd }))
}

/// Ids nearest to the key of the first record, which every honest node is told of.
fn eclipse(config: &LabConfig, bench: &Bench, random: &mut StdRng) -> Result<Vec<Recruit>, LabError> {
    let (Some(eclipse), Some(record)) = (config.eclipse, bench.records.first()) else { return Ok(Vec::new()) };
    let draws = eclipse.ids * config.nodes * limits::ECLIPSE_DRAWS;
    let keys = draw_near(bench.network, record.key.point(), eclipse.ids, draws, random)?;
    let recruits = keys.into_iter().enumerate().map(|(number, key)| {
        let attitude = if number % 2 == 0 { Attitude::Misleads } else { Attitude::GivesOld };
        let address = hostile_place(number, eclipse.networks);
        Recruit { key, address, attitude, targets: bench.addresses() }
    });
    Ok(recruits.collect())
}

/// The address of an attacker in one of so many blocks.
fn hostile_place(number: usize, networks: usize) -> Ipv4Addr {
    let networks = networks.max(1);
    let [.., block] = (number % networks).to_be_bytes();
    let [.., host] = (number / networks + 1).to_be_bytes();
    Ipv4Addr::new(127, BLOCKS, block, host)
}

impl Attack {
    /// Runs the flood of PUTs that is asked for, to its end.
    pub(super) async fn flood(
        &self,
        config: &LabConfig,
        bench: &Bench,
        report: &mut Report,
        say: &dyn Fn(&str),
    ) -> Result<(), LabError> {
        if config.hostile_puts == 0 {
            return Ok(());
        }
        let sources = (0..limits::FLOOD_NETWORKS).map(|number| {
            let [a, _, c, d] = hostile_place(number, limits::FLOOD_NETWORKS).octets();
            Ipv4Addr::new(a, BLOCKS + 1, c, d)
        });
        let (network, puts, targets) = (bench.network, config.hostile_puts, bench.addresses());
        let flood = Flood { network, puts, sources: sources.collect(), targets, seed: config.seed };
        let figures = Arc::new(FloodFigures::default());
        let _crowd = flood.start(bench.transport.clone(), Arc::clone(&figures))?;
        let (mut said, mut before, mut stuck) = (0, 0, 0);
        while !figures.done.load(Ordering::Relaxed) && stuck < limits::FLOOD_STUCK {
            tokio::time::sleep(limits::FLOOD_LOOK).await;
            let sent = figures.sent.load(Ordering::Relaxed);
            stuck = if sent == before { stuck + 1 } else { 0 };
            before = sent;
            if sent >= said + config.hostile_puts / 10 {
                said = sent;
                say(&format!("{sent} of {} hostile PUTs sent", config.hostile_puts));
            }
        }
        report.note("hostile_puts", figures.sent.load(Ordering::Relaxed));
        report.note("hostile_puts_acknowledged", figures.acknowledged.load(Ordering::Relaxed));
        Ok(())
    }

    /// Who attacked.
    pub(super) fn note(&self, report: &mut Report) {
        report.note("hostile", self.hostile);
        report.note("hostile_asked", self.plot.asked());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attackers_share_the_blocks_that_they_have() {
        let places: Vec<String> = (0..4).map(|number| hostile_place(number, 2).to_string()).collect();
        assert_eq!(places, ["127.200.0.1", "127.200.1.1", "127.200.0.2", "127.200.1.2"]);
        assert_eq!(place(300).to_string(), "127.2.44.1");
    }
}
