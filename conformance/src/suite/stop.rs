// SPDX-License-Identifier: GPL-2.0-or-later
//! A run that ends at the first check that fails: who wants to know only whether one does waits for no more.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_WANTED: AtomicBool = AtomicBool::new(false);
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// From now on, no check of this process begins once one has failed.
pub fn at_first_failure() {
    IS_WANTED.store(true, Ordering::Relaxed);
}

/// A check has failed.
pub(super) fn failed() {
    HAS_FAILED.store(true, Ordering::Relaxed);
}

/// No more check is to begin.
pub(super) fn is_over() -> bool {
    IS_WANTED.load(Ordering::Relaxed) && HAS_FAILED.load(Ordering::Relaxed)
}
