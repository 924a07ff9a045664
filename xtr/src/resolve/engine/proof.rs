// SPDX-License-Identifier: GPL-2.0-or-later
//! What of a protected answer counts, and what follows from one that does not (RFC 9303, section 6.9).

use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::Nonce;
use wire::control::lispsec::Verified;

use super::{Output, Resolver};
use crate::map_cache::Update;
use crate::refusal::Refusal;
use crate::resolve::conversation::Conversation;
use crate::resolve::policy::Accepted;
use crate::resolve::secured::{Demand, LispSec};

impl Resolver {
    /// Protects what is asked from now on. If more is demanded than before, what has not been proven is forgotten: packets ask again.
    pub fn secure(&mut self, settings: LispSec) {
        let before = self.secured.demand();
        if !self.secured.set(settings) {
            return;
        }
        // Each of them is of a request under the former demand.
        self.nonces.clear();
        self.conversations.values_mut().for_each(Conversation::starts_over);
        if self.secured.demand() > before {
            for prefix in self.mirror.unproven() {
                self.mirror.remove(&prefix);
                self.outputs.push_back(Output::Update(Update::Remove { prefix }));
            }
        }
    }

    /// What is protected, and how.
    pub(crate) fn protection(&self) -> &LispSec {
        self.secured.settings()
    }

    /// What may be installed of an answer that is not proven, where proof is demanded: nothing in the place of what is, and nothing
    /// inside that, unless it was asked about and a Map-Server has said since that nobody can sign for it.
    pub(super) fn spare_proven(&mut self, now: Instant, asked: EidPrefix, accepted: &mut Vec<Accepted<'_>>) {
        if self.secured.demand() == Demand::Off {
            return;
        }
        accepted.retain(|entry| {
            let proven = self.mirror.round(now, &entry.prefix, |installed| installed.secured);
            let is_free = proven.is_none_or(|proven| proven.covers(&asked));
            if !is_free {
                self.tally.count(Refusal::RecordOverclaims);
            }
            is_free
        });
    }

    /// What a Map-Reply says that is proven; `None` if it answers a request without LISP-SEC.
    pub(super) fn prove(
        &mut self,
        now: Instant,
        asked: EidPrefix,
        nonce: Nonce,
        payload: &[u8],
    ) -> Result<Option<Verified>, Refusal> {
        match self.secured.open(now, &asked, nonce, payload) {
            Ok(Some(proven)) => {
                // The pair of nonce and key has served (RFC 9303, section 6.9).
                self.nonces.remove(&nonce);
                proven.overclaimed.iter().for_each(|_| self.tally.count(Refusal::SecRecordOverclaims));
                Ok(Some(proven))
            }
            Ok(None) => Ok(None),
            Err(discarded) => {
                if let Some(conversation) = self.conversations.get_mut(&asked).filter(|_| discarded.ask_anew) {
                    conversation.asks_anew(now);
                }
                Err(discarded.refusal)
            }
        }
    }

    /// A Map-Server says, proven, that some ETR cannot sign (E). Where one that can has answered, that stands; else the EID is asked
    /// about without LISP-SEC, if that is allowed (RFC 9303, section 6.7).
    pub(super) fn asks_openly(&mut self, now: Instant, asked: EidPrefix, accepted: &[Accepted<'_>]) -> bool {
        let covering = accepted.iter().filter(|entry| entry.prefix.covers(&asked));
        let best = covering.max_by_key(|entry| entry.prefix.net.prefix_len());
        // The record has the prefix that the Map-Server vouches for, whatever part of it may be installed.
        let of_nobody = best.filter(|best| best.is_negative()).and_then(|best| best.record.eid.ip_prefix());
        let Some(within) = of_nobody else { return false };
        let Some(served) = self.secured.ask_openly(asked, within) else {
            self.tally.count(Refusal::SecCantSign);
            return false;
        };
        self.forget_nonces(served);
        if let Some(conversation) = self.conversations.get_mut(&asked) {
            conversation.asks_otherwise(now);
        }
        true
    }

    /// With E, what a Map-Server denies of parts of the EID-prefix that was asked about is not installed: a packet to them asks for itself, and
    /// then as [`Self::asks_openly`] has it.
    pub(super) fn leave_unsigned_parts(asked: &EidPrefix, accepted: &mut Vec<Accepted<'_>>) {
        accepted.retain(|entry| !entry.is_negative() || entry.prefix.covers(asked));
    }

    /// What was asked with LISP-SEC about an EID-prefix has been answered, or never will be.
    pub(super) fn forget_keys(&mut self, eid: &EidPrefix) {
        let served = self.secured.forget(eid);
        self.forget_nonces(served);
    }

    /// What comes with one of these was not asked for.
    pub(super) fn forget_nonces(&mut self, nonces: Vec<Nonce>) {
        for nonce in nonces {
            self.nonces.remove(&nonce);
        }
    }
}
