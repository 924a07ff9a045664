// SPDX-License-Identifier: GPL-2.0-or-later
//! Trusted peers in the control half: nonces, locator-status-bits and map-versions (RFC 9300, section 10; RFC 9302).

use std::time::Instant;

use wire::address::EidPrefix;

use super::{Control, Output};
use crate::map_cache::Update;
use crate::reach::{Echo, Own, StatusBits, Verdict};
use crate::refusal::Refusal;
use crate::trust::Trust;

impl Control {
    /// Uses nonces, locator-status-bits and map-versions with these peers. `seed` is entropy for the nonces.
    #[must_use]
    pub fn trusting(mut self, now: Instant, trust: Trust, seed: [u8; 32]) -> Self {
        self.replier.trust(trust.clone());
        self.echo = Echo::new(trust.clone(), seed);
        self.own = Own::new(now, &trust, self.database.ttl());
        self.status_bits = StatusBits::new(trust.clone());
        self.trust = trust;
        self
    }

    /// The last run has ended with other locators, or before its peers had those that it had then: no locator-status-bits are sent for a while
    /// (RFC 9300, section 13.1).
    pub fn pause_status_bits(&mut self, now: Instant) {
        self.own.pause(now);
    }

    /// Whether none are sent because of a change.
    pub fn is_pausing_status_bits(&self) -> bool {
        self.own.is_paused()
    }

    /// What the packet half hears besides of a mapping of a trusted peer that comes or goes.
    pub(super) fn of_peer(&mut self, now: Instant, update: &mut Update) -> Option<Update> {
        match update {
            Update::Upsert { prefix, entry } => match self.resolver.installed_at(now, prefix) {
                Some(installed) => self.status_bits.installed(now, *prefix, installed, entry),
                None => self.status_bits.removed(now, *prefix),
            },
            Update::Remove { prefix } => self.status_bits.removed(now, *prefix),
            _ => None,
        }
    }

    /// Packets go to the locators of a mapping that can be reached by its status bits (RFC 9300, section 10).
    pub(super) fn on_status_bits(&mut self, now: Instant, prefix: EidPrefix, heard: Result<bool, Refusal>) {
        match (heard, self.resolver.installed_at(now, &prefix)) {
            (Err(refusal), _) => self.tally.count(refusal),
            (Ok(true), Some(installed)) => {
                let down = self.status_bits.down(&prefix, installed);
                tracing::info!(%prefix, ?down, "locator-status-bits have changed");
                let update = Update::Upsert { prefix, entry: self.entry_of(&prefix, installed) };
                self.on_update(now, update);
            }
            (Ok(_), _) => {}
        }
    }

    /// What is due between us and trusted peers.
    pub(super) fn follow_peers(&mut self, now: Instant) {
        self.outputs.extend(self.own.handle_timeout(now, &self.database).map(Output::Update));
        self.echo.handle_timeout(now, |rloc, after| self.resolver.user_of(now, rloc, after));
        while let Some(update) = self.echo.poll() {
            self.outputs.push_back(Output::Update(update));
        }
        while let Some(verdict) = self.echo.poll_verdict() {
            match verdict {
                Verdict::Unreachable(rloc) => {
                    tracing::info!(%rloc, "packets come from the locator, and no echo of ours with them");
                    self.prober.condemn(now, rloc);
                }
                Verdict::Reachable(rloc) => self.prober.acquit(now, rloc),
            }
        }
    }
}
