// SPDX-License-Identifier: GPL-2.0-or-later
//! Mutated messages through the engine. `cargo bench -p mapsys --bench mutations` does the same ten million times.
#![allow(clippy::unwrap_used, clippy::panic)]

mod mutate;

use mutate::{ENTERED, Mill};

#[test]
fn mutated_messages_leave_nothing_and_are_refused_by_name() {
    let mut mill = Mill::new(1);
    let outcome = mill.grind(20_000);
    assert!(outcome.refused.len() >= 20, "few rules refused anything: {:?}", outcome.refused);
    println!("{outcome:#?}");
    for engine in ENTERED {
        assert!(outcome.entered.contains_key(engine), "never {engine}: {:?}", outcome.entered);
    }
    mill.rest();
}
