// SPDX-License-Identifier: GPL-2.0-or-later
//! Suites of tunnel routers and of map systems, what they say of programs that are none, and of those of target files. Most of it waits, so
//! that one program has them beside each other; tests begin in the order of their names, and those that come one after the other are the first.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod data_plane;
mod ddt;
mod elsewhere;
mod lispsec;
mod mapsys;
mod nat;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Suites that measure time, or count packets in one: one runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
