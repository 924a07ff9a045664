// SPDX-License-Identifier: GPL-2.0-or-later
//! The state between two runs: strict, bounded, and never a panic.

use std::sync::LazyLock;

use cgeid::Network;
use cgeid::temporary::{Clock, Input, MAX_STATE, Schedule, StateError};
use proptest::prelude::*;

use super::node::{DAY, HOUR, Node, START};

/// A node with all three keys, and what its clocks say.
fn full() -> (Node, Clock) {
    let mut node = Node::new(3, START + 12 * HOUR, true);
    node.run(DAY + 12 * HOUR - 61_000);
    let clock = node.clock();
    (node, clock)
}

/// Its state.
static FULL: LazyLock<(Vec<u8>, Clock)> = LazyLock::new(|| {
    let (node, clock) = full();
    (node.saved, clock)
});

fn restore(bytes: &[u8]) -> Result<Schedule, StateError> {
    Schedule::restore(bytes, Network::LAB, FULL.1)
}

#[test]
fn a_state_has_one_form() {
    let (node, _) = full();
    assert_eq!(node.saved.len(), MAX_STATE);
    let again = restore(&node.saved).unwrap();
    assert_eq!(again.addresses(), node.schedule.addresses());
    // Only the clocks in the header are those of now.
    assert_eq!(again.state()[43..], node.saved[43..]);
}

#[test]
fn damaged_states_are_refused() {
    let (saved, clock) = &*FULL;
    for length in 0..saved.len() {
        assert_eq!(restore(&saved[..length]).err(), Some(StateError::Length { found: length }));
    }
    let long = [&saved[..], &[0; 80]].concat();
    assert_eq!(restore(&long).err(), Some(StateError::Length { found: long.len() }));
    let with = |offset: usize, value: u8| {
        let mut bytes = saved.clone();
        bytes[offset] = value;
        restore(&bytes).err()
    };
    assert_eq!(with(0, 0), Some(StateError::Magic));
    assert_eq!(with(4, 2), Some(StateError::Magic));
    assert!(matches!(with(5, 1), Some(StateError::Network { .. })));
    assert_eq!(with(25, 0x7f), Some(StateError::Damaged { offset: 25 }));
    assert_eq!(with(33, 2), Some(StateError::Damaged { offset: 33 }));
    // No such role; the same role twice.
    assert_eq!(with(43, 4), Some(StateError::Damaged { offset: 43 }));
    assert_eq!(with(43 + 80, 3), Some(StateError::Damaged { offset: 43 + 160 }));
    // The same key twice.
    let mut twice = saved.clone();
    twice.copy_within(44..76, 44 + 80);
    assert_eq!(restore(&twice).err(), Some(StateError::Damaged { offset: 43 + 80 }));
    let foreign = Network([0x20, 1, 0xd, 0xb8]);
    let error = Schedule::restore(saved, foreign, *clock).err();
    assert_eq!(error, Some(StateError::Network { found: Network::LAB }));
}

#[test]
fn secrets_do_not_show() {
    let (node, _) = full();
    let shown = format!("{:?}", node.schedule);
    assert!(shown.contains("secret"));
    for entry in node.saved[43..].chunks(80) {
        let hex: String = entry[1..9].iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(!shown.contains(&hex));
        assert!(!shown.contains(&format!("{:?}", &entry[1..9]).trim_matches(['[', ']']).to_owned()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_panic(edits in prop::collection::vec((0..MAX_STATE, any::<u8>()), 1..6), tail: Vec<u8>) {
        let (mut bytes, clock) = FULL.clone();
        for (offset, value) in edits {
            bytes[offset] = value;
        }
        if let Ok(mut restored) = restore(&bytes) {
            restored.handle(clock, Input::Tick);
            while restored.poll().is_some() {}
            let _ = restored.next_deadline();
        }
        let _ = restore(&tail);
    }
}
