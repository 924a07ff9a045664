// SPDX-License-Identifier: GPL-2.0-or-later
//! Random histories; [`Node`] checks at every step what must always hold.

use proptest::prelude::*;

use super::node::{DAY, Faults, HOUR, MINUTE, Node, SECOND, START};

#[derive(Debug, Clone, Copy)]
enum Episode {
    Run(u64),
    Sleep(u64),
    Step(i64),
    Trust(bool),
    Restart,
    Reboot(u64),
    Faults(Faults),
}

fn episode() -> impl Strategy<Value = Episode> {
    let (year, hours) = (365 * DAY as i64, 30 * HOUR as i64);
    let faults = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0u32..3);
    let faults = faults.prop_map(|(generate, publish, assign, silence, conflicts)| Faults {
        generate,
        publish,
        assign,
        silence,
        conflicts,
    });
    prop_oneof![
        6 => (SECOND..14 * HOUR).prop_map(Episode::Run),
        2 => (SECOND..80 * HOUR).prop_map(Episode::Sleep),
        2 => (-hours..hours).prop_map(Episode::Step),
        1 => (-3 * year..3 * year).prop_map(Episode::Step),
        2 => any::<bool>().prop_map(Episode::Trust),
        2 => Just(Episode::Restart),
        1 => (SECOND..60 * HOUR).prop_map(Episode::Reboot),
        1 => faults.prop_map(Episode::Faults),
        2 => Just(Episode::Faults(Faults::default())),
    ]
}

fn history(seed: u64, start: u64, trusted: bool, episodes: &[Episode]) -> Node {
    let mut node = Node::new(seed, start, trusted);
    for episode in episodes {
        match *episode {
            Episode::Run(time) => node.run(time),
            Episode::Sleep(time) => node.sleep(time),
            Episode::Step(by) => node.step(by),
            Episode::Trust(trusted) => node.trusted = trusted,
            Episode::Restart => node.restart(),
            Episode::Reboot(off) => node.reboot(off),
            Episode::Faults(faults) => node.faults = faults,
        }
        node.run(MINUTE);
    }
    node
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_rule(
        seed: u64,
        start in 0..2 * DAY,
        trusted: bool,
        episodes in prop::collection::vec(episode(), 1..24),
    ) {
        let mut node = history(seed, START + start, trusted, &episodes);
        // Whatever was: once all is well, there is one address to use, and it changes at the next midnight.
        node.faults = Faults::default();
        node.trusted = true;
        node.run(2 * HOUR);
        prop_assert_eq!(node.preferred().len(), 1);
    }
}
