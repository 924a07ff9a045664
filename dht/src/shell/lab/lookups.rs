// SPDX-License-Identifier: GPL-2.0-or-later
//! Lookups of random records by random nodes, each judged.

use std::time::{Duration, Instant};

use cgeid::Network;
use futures::StreamExt as _;
use futures::stream;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::bench::{Bench, Expected, version};
use super::figures::{Tally, Verdict};
use super::limits;
use crate::shell::lookup;
use crate::shell::node::Node;

/// Runs so many lookups among these records.
pub(super) async fn run(
    bench: &Bench,
    records: &[Expected],
    lookups: usize,
    random: &mut StdRng,
    say: &dyn Fn(&str),
) -> Tally {
    let draws = (0..lookups).filter_map(|_| {
        let expected = records.get(random.random_range(0..records.len().max(1)))?;
        Some((bench.reader(random)?, expected))
    });
    let draws: Vec<(Node, &Expected)> = draws.collect();
    let asked = draws.into_iter().map(async |(node, expected)| judge(&node, bench.network, expected).await);
    let mut asked = stream::iter(asked).buffer_unordered(limits::LOOKUPS_AT_ONCE);
    let mut tally = Tally::default();
    while let Some((verdict, took, rounds)) = asked.next().await {
        tally.add(verdict, took, rounds);
        if tally.lookups() % 100 == 0 {
            say(&format!("{} of {lookups} lookups, {} right", tally.lookups(), tally.count(Verdict::Correct)));
        }
    }
    tally
}

/// What a lookup came to, how long its first valid copy took (or its end, if there was none), and in how many round trips.
async fn judge(node: &Node, network: Network, expected: &Expected) -> (Verdict, Duration, usize) {
    let begun = Instant::now();
    let Ok(report) = lookup::get(node, network, &expected.key).await else {
        return (Verdict::Refused, begun.elapsed(), 0);
    };
    let verdict = match version(network, &expected.key, &report.values) {
        Some(found) if found.sequence == expected.version.sequence => Verdict::Correct,
        Some(_) => Verdict::Stale,
        None => Verdict::Missing,
    };
    (verdict, report.first.unwrap_or_else(|| begun.elapsed()), report.rounds)
}
