// SPDX-License-Identifier: GPL-2.0-or-later
//! How fast records are handed over: as fast as the backlog needs, within bounds.

use std::time::{Duration, Instant};

use crate::limits;

/// Two buckets, of records and of octets, that refill at a rate which follows the backlog. A record may be sent when neither is
/// empty; what it takes beyond what is there delays the next.
#[derive(Debug)]
pub(super) struct Pace {
    records: f64,
    octets: f64,
    at: Instant,
    /// The longest backlog since there was none: were the rate to shrink with it, the end would take longest.
    longest: usize,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { records: 1.0, octets: 1.0, at: now, longest: 0 }
    }

    /// Whether a record may be sent now.
    pub(super) fn allows(&mut self, now: Instant, backlog: usize) -> bool {
        self.longest = self.longest.max(backlog);
        let (records, octets) = rates(self.longest);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        // No more than a second's worth is saved up.
        self.records = (self.records + passed * records).min(records.max(1.0));
        self.octets = (self.octets + passed * octets).min(octets);
        self.records >= 1.0 && self.octets > 0.0
    }

    /// Nothing is left to be handed over.
    pub(super) fn rest(&mut self) {
        self.longest = 0;
    }

    /// Counts a record that is sent.
    pub(super) fn take(&mut self, octets: usize) {
        self.records -= 1.0;
        // A Kademlia packet holds 16 KiB, which a float counts exactly.
        self.octets -= f64::from(u32::try_from(octets).unwrap_or(u32::MAX));
    }

    /// When the next record may be sent, with this backlog.
    pub(super) fn ready_at(&self, now: Instant, backlog: usize) -> Instant {
        let (records, octets) = rates(self.longest.max(backlog));
        let wait = ((1.0 - self.records) / records).max((1.0 - self.octets) / octets).max(0.0);
        // Both rates are positive and what may be missing is bounded, so that this is a time; a millisecond later it is enough.
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_secs(1)) + Duration::from_millis(1);
        (self.at + wait).max(now)
    }
}

/// Records and octets a second.
fn rates(backlog: usize) -> (f64, f64) {
    let wanted = backlog as f64 / limits::HANDOVER_WITHIN.as_secs_f64();
    let records = wanted.clamp(limits::HANDOVER_RATE_LEAST, limits::HANDOVER_RATE_MOST);
    (records, records * limits::HANDOVER_OCTETS)
}
