// SPDX-License-Identifier: GPL-2.0-or-later
//! A few of the mutations of `cargo bench -p xtr --bench mutations`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod mill;

#[test]
fn both_tiers_agree_about_every_mutated_packet() {
    let mut mill = mill::Mill::new(1);
    mill.grind(30_000);
    assert!(mill.given >= 30_000);
}
