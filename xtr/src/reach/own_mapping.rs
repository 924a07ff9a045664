// SPDX-License-Identifier: GPL-2.0-or-later
//! What packets to trusted peers say of our own mappings: their version (RFC 9302), and which of their locators can be reached (RFC
//! 9300, sections 10 and 13.1).

use std::time::Instant;

use wire::record::Ttl;

use super::limits;
use crate::database::Database;
use crate::map_cache::{OwnMapping, Update};
use crate::trust::Trust;

/// Follows our database.
#[derive(Debug)]
pub struct Own {
    is_on: bool,
    uses_bits: bool,
    /// Until then no bits are sent: peers may count other locators (RFC 9300, section 13.1).
    paused: Option<Instant>,
    /// When the last version ended.
    others_end: Instant,
    said: Option<OwnMapping>,
}

impl Own {
    /// Begins with a database that is as the last run has left it. What others have cached of older ones expires within its TTL.
    pub fn new(now: Instant, trust: &Trust, ttl: Ttl) -> Self {
        let others_end = now + ttl.lifetime();
        Self { is_on: trust.is_on(), uses_bits: trust.status_bits(), paused: None, others_end, said: None }
    }

    /// The database has changed.
    pub fn changed(&mut self, now: Instant, former: &Database, newer: &Database) {
        let addresses =
            |database: &Database| -> Vec<_> { database.locators().iter().map(|locator| locator.address).collect() };
        if addresses(former) != addresses(newer) {
            self.pause(now);
        }
        if former.map_version() != newer.map_version() {
            self.others_end = now + newer.ttl().lifetime();
        }
    }

    /// Peers may count other locators: no bits are sent for a while.
    pub fn pause(&mut self, now: Instant) {
        if self.uses_bits {
            self.paused = Some(now + limits::USE_STATUS_BITS);
        }
    }

    /// Whether no bits are sent because of a change.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// What is to be said from now on, if it is news.
    pub fn handle_timeout(&mut self, now: Instant, database: &Database) -> Option<Update> {
        self.paused = self.paused.filter(|until| now < *until);
        let uses_bits = self.uses_bits && self.paused.is_none();
        let own = OwnMapping {
            version: database.map_version(),
            status_bits: uses_bits.then(|| status_bits(database)),
            others_end: Some(self.others_end),
        };
        if !self.is_on || self.said == Some(own) {
            return None;
        }
        self.said = Some(own);
        Some(Update::Own(own))
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.paused
    }

    /// The bits that are sent, if any are.
    pub fn status_bits(&self) -> Option<u32> {
        self.said.and_then(|own| own.status_bits)
    }
}

/// Bit n is that of locator n of our records, from the least significant one; there are no bits for more than 32.
fn status_bits(database: &Database) -> u32 {
    let reachable = |(_, locator): &(u32, &crate::database::OwnLocator)| database.is_reachable(locator.address);
    let ordinals = (0..u32::BITS).zip(database.locators()).filter(reachable);
    ordinals.fold(0, |bits, (ordinal, _)| bits | 1 << ordinal)
}
