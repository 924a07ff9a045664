// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of interworking.

use std::time::Duration;

/// EID-prefixes that a PITR leads into the tunnel, given and found: each is a route of the kernel and a place in a list that negative
/// answers are compared with.
pub const PITR_PREFIXES: usize = 1024;

/// Questions of one walk through an aggregate: between two sites there is a hole, and a hole may take several answers.
pub const QUESTIONS: usize = 4 * PITR_PREFIXES;

/// Least time between two questions of a walk: forty a second at most, a twentieth of what a map system answers to one that it does not
/// know, and a full table of sites within two minutes.
pub const PACE: Duration = Duration::from_millis(25);

/// How long an answer is waited for; then the question is put again.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Questions about one address that nobody answers, after which the walk goes on behind it and what was known there stays.
pub const TRIES: u32 = 4;

/// How much is passed over where nobody answers and no site was known, IPv4 and IPv6, bits: what a site has as a rule.
pub const PASSED_OVER: (u8, u8) = (24, 48);

/// Each further place without an answer in a row is sixteen times as large: a silent /16 takes three, an IPv6 /32 five.
pub const PASSED_OVER_GROWTH: u8 = 4;

/// Places without an answer in a row after which the walk is broken off: it is not the sites that are silent. It takes a minute.
pub const SILENCES: u8 = 8;

/// From the end of a round through all aggregates to the next one, at least: a site that comes or goes is noticed within it.
pub const AGAIN: Duration = Duration::from_secs(60);

/// The same if a walk was broken off.
pub const AFTER_FAILURE: Duration = Duration::from_secs(10);
