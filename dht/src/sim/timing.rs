// SPDX-License-Identifier: GPL-2.0-or-later
//! The intervals and time limits of a node, as the model takes them.

use std::time::Duration;

/// Times of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// One request and its answer.
    pub request: Duration,
    /// A GET ends after this.
    pub get: Duration,
    /// How long a reader waits for a further copy at least.
    pub further: Duration,
    /// The lookup of the nodes that shall store a record ends after this.
    pub put_lookup: Duration,
    /// A walk's lookup ends after this.
    pub query: Duration,
    /// Keep-alive of a silent connection.
    pub keep_alive: Duration,
    /// Silence after which a connection is dead.
    pub idle: Duration,
    /// A connection without requests is closed after this, but for those to the nearest.
    pub unused: Duration,
    /// Nearest peers to which connections stand.
    pub nearest: usize,
    /// Interval of identify on a connection that stands.
    pub identify: Duration,
    /// Interval of the walk through the routing table.
    pub refresh: Duration,
    /// An owner publishes again after this.
    pub republish: Duration,
    /// First pause between two attempts at a lost peer; it doubles ...
    pub redial_first: Duration,
    /// ... up to this.
    pub redial_last: Duration,
    /// Attempts after which a lost peer is forgotten.
    pub redial_attempts: u32,
    /// A bootstrap node that was reached, and is not in the routing table, is dialled again after this.
    pub reached: Duration,
    /// Peers remembered while they are lost.
    pub redial_peers: usize,
}

impl Timing {
    /// The times of a node as it is, `shell::limits`; a test compares.
    pub const PRESENT: Self = Self {
        request: Duration::from_secs(3),
        get: Duration::from_secs(3),
        further: Duration::from_millis(100),
        put_lookup: Duration::from_millis(1500),
        query: Duration::from_secs(10),
        keep_alive: Duration::from_secs(2),
        idle: Duration::from_secs(5),
        unused: Duration::from_secs(20),
        identify: Duration::from_secs(10 * 60),
        refresh: Duration::from_secs(12 * 3600),
        republish: crate::limits::ANNOUNCE_INTERVAL,
        redial_first: Duration::from_millis(500),
        redial_last: Duration::from_secs(30),
        redial_attempts: 300,
        reached: Duration::from_secs(3600),
        redial_peers: 64,
        nearest: 8,
    };

    /// How long so many attempts at a lost peer take.
    pub fn redial_span(&self, attempts: u32) -> Duration {
        let pause = |attempt: u32| {
            let doubled = self.redial_first.checked_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX));
            doubled.unwrap_or(self.redial_last).min(self.redial_last)
        };
        (0..attempts).map(pause).sum()
    }
}
