// SPDX-License-Identifier: GPL-2.0-or-later
//! Fifty nodes over several days.

use super::node::{DAY, Event, HOUR, MINUTE, Node, SECOND, START};

const NODES: u64 = 50;
const DAYS: u64 = 5;

/// Milliseconds of UTC at which each node published for a midnight, and those at which it changed.
fn simulate() -> (Vec<u64>, Vec<u64>) {
    let (mut published, mut changed) = (Vec::new(), Vec::new());
    for seed in 0..NODES {
        // They start at any time of the first day; what happens on it is not the steady state.
        let mut node = Node::new(1000 + seed, START + seed * DAY / NODES, true);
        node.run(DAYS * DAY);
        let later = |utc: &&u64| **utc >= START + DAY + HOUR && **utc < START + (DAYS - 1) * DAY + HOUR;
        let times = |of: fn(&Event) -> Option<u64>| node.events.iter().filter_map(of).collect::<Vec<_>>();
        let publications = times(|event| if let Event::Published(utc) = event { Some(*utc) } else { None });
        let uses = times(|event| if let Event::InUse(_, utc) = event { Some(*utc) } else { None });
        published.extend(publications.iter().filter(later));
        changed.extend(uses.iter().filter(later));
    }
    (published, changed)
}

#[test]
fn all_change_at_midnight_and_publish_evenly_in_the_six_hours_before() {
    let (published, changed) = simulate();
    let expected = usize::try_from(NODES * (DAYS - 2)).unwrap();
    assert_eq!(changed.len(), expected);
    for utc in changed {
        // A second of it is the search for duplicates.
        assert!(utc % DAY <= 2 * SECOND, "{} ms after midnight", utc % DAY);
    }
    assert_eq!(published.len(), expected);
    let mut bins = [0u32; 12];
    for utc in published {
        let before = DAY - utc % DAY;
        assert!((MINUTE..=6 * HOUR).contains(&before), "published {before} ms before midnight");
        bins[usize::try_from((6 * HOUR - before) / (HOUR / 2)).unwrap()] += 1;
    }
    // Pearson's statistic; 11 degrees of freedom pass 31.3 once in a thousand times.
    let mean = expected as f64 / bins.len() as f64;
    let statistic: f64 = bins.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum();
    assert!(statistic < 31.3, "{statistic}: {bins:?}");
}
