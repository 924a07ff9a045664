// SPDX-License-Identifier: GPL-2.0-or-later
//! What of a protected answer counts, and what follows from one that does not (RFC 9303, section 6.9).

use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::Nonce;
use wire::control::lispsec::Verified;

use super::Resolver;
use crate::refusal::Refusal;
use crate::resolve::policy::Accepted;

impl Resolver {
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
        if !best.is_some_and(Accepted::is_negative) {
            return false;
        }
        let Some(served) = self.secured.ask_openly(asked) else {
            self.tally.count(Refusal::SecCantSign);
            return false;
        };
        self.forget_nonces(served);
        if let Some(conversation) = self.conversations.get_mut(&asked) {
            conversation.asks_otherwise(now);
        }
        true
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
