// SPDX-License-Identifier: GPL-2.0-or-later
//! What bounds a run of mutants.

use std::time::Duration;

/// Time for one suite: the longest takes half of it on two processors that others use too. What is not over by then hangs.
pub const SUITE_PATIENCE: Duration = Duration::from_secs(600);
/// Time for one check: the longest waits a minute and a half.
pub const CHECK_PATIENCE: Duration = Duration::from_secs(180);
/// Time that a suite takes beyond its grace to end when it is asked to.
pub(super) const ENDING: Duration = Duration::from_secs(5);
/// Time between two looks at a process.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// Suites that run beside each other: they wait for packets more than they work, and share this machine with the programs.
pub(super) const AT_ONCE: usize = 2;
/// Percent of the mutants that must be caught.
pub const REACH: usize = 95;
/// Least number of mutants, and of those of a suite.
pub const LEAST: (usize, usize) = (60, 3);
/// Errors of a compiler that are told: what follows is mostly of the same cause.
pub(super) const ERRORS: usize = 12;
/// Octets of a file of mutants: the largest has a tenth of it.
pub(super) const FILE_OCTETS: u64 = 1 << 20;
