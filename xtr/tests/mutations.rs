// SPDX-License-Identifier: GPL-2.0-or-later
//! A few of the mutations of `cargo bench -p xtr --bench mutations`, or as many as `MUTATIONS` says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod mill;

#[test]
fn both_tiers_agree_about_every_mutated_packet() {
    let count = std::env::var("MUTATIONS").map_or(mill::ENOUGH, |count| count.parse().unwrap());
    let mut mill = mill::Mill::new(1);
    mill.grind(count);
    assert!(mill.given >= count);
    if count >= mill::ENOUGH {
        mill.assert_every_engine_was_entered();
    }
}
