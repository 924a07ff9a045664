// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites of identities and of the DHT, what they say of programs that are none, and of those of target files; and, while these have the
//! processors, what only waits.
#![allow(clippy::unwrap_used)]

mod cgeid;
#[path = "../common/mod.rs"]
mod common;
mod dht;
mod strangers;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{AFAR, Program, RESTS};

static MAP_SYSTEM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);

/// Held by what fills two processors by itself: beside each other, nodes let clients in later than those wait.
fn processors() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of suite `facade`, whose other checks `lisp/mapsys.rs` makes: tests begin in the order of their names, so that it rests beside the
/// networks, of which one has the processors at a time, and not for minutes behind all others.
#[test]
fn a_registration_that_nobody_repeats_ends_at_our_own_program_as_a_target_of_others() {
    let Some(printed) = MAP_SYSTEM.passes_from_afar(AFAR, RESTS) else { return };
    assert_eq!(printed.lines().last(), Some("1 passed, 0 failed, 0 skipped"), "{printed}");
}
