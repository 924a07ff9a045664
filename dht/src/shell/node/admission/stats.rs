// SPDX-License-Identifier: GPL-2.0-or-later
//! The figures of admission.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Role;
use crate::admit::{ClockVerdict, Rules};

/// What came of admission since the start, and how this node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AdmissionStats {
    /// `server`, or `client` for who only asks.
    pub role: &'static str,
    /// Zero bits that the network asks of a key.
    pub puzzle_bits: u8,
    /// Whether the network has a key.
    pub closed: bool,
    /// Presentations of servers that were admitted.
    pub servers: u64,
    /// Presentations of clients.
    pub clients: u64,
    /// Presentations refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Our own presentations that peers refused, by reason.
    pub refused_by: BTreeMap<&'static str, u64>,
    /// Our own presentations without an answer, by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Admissions ended, by reason.
    pub ended: BTreeMap<&'static str, u64>,
    /// Members that found no room in their bucket, by whose share was used up.
    pub crowded: BTreeMap<&'static str, u64>,
    /// What the peers say about our clock.
    pub clock: ClockStats,
    /// How often it turned out to be wrong.
    pub clock_alarms: u64,
    /// Peers refused for their dates that were asked who else can tell the time.
    pub clock_questions: u64,
    /// PUTs from here that were refused because the clock is wrong.
    pub unpublished: u64,
}

/// What the peers say about our clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockStats {
    /// `unknown`, `right` or `wrong`; with `wrong`, nothing is published.
    pub state: &'static str,
    /// Milliseconds by which our clock is behind, negative if it is ahead.
    pub behind_ms: Option<i64>,
}

impl Default for ClockStats {
    fn default() -> Self {
        Self { state: "unknown", behind_ms: None }
    }
}

impl From<ClockVerdict> for ClockStats {
    fn from(verdict: ClockVerdict) -> Self {
        match verdict {
            ClockVerdict::Unknown { .. } => Self::default(),
            ClockVerdict::Right(offset) => Self { state: "right", behind_ms: Some(offset.0) },
            ClockVerdict::Wrong(offset) => Self { state: "wrong", behind_ms: Some(offset.0) },
        }
    }
}

impl AdmissionStats {
    pub(super) fn new(role: Role, rules: &Rules) -> Self {
        let role = match role {
            Role::Server => "server",
            Role::Client => "client",
        };
        Self { role, puzzle_bits: rules.puzzle.get(), closed: rules.key.is_some(), ..Self::default() }
    }
}
