// SPDX-License-Identifier: GPL-2.0-or-later
//! What a store has room for, and what it gives up.
//!
//! A full store gives up, in this order: what is from the future; the farthest of what is outside the node's region; of the block
//! of addresses that has put most, what came last; the farthest. What is offered and would be given up at once is refused
//! before its signatures are checked. Renewals are never refused.

use std::net::IpAddr;

use super::charge::{Account, Charge, Party};
use super::entry::Entry;
use super::{Distance, Origin, Store};
use crate::block::Block;
use crate::error::Refusal;
use crate::limits;
use crate::record::RecordKey;

impl Store {
    /// Tells the store how far the node's region reaches: the distance of the nearest peers' last that shall keep what we
    /// keep. With fewer peers, `None`, everything is ours.
    pub fn set_region(&mut self, region: Option<[u8; 32]>) {
        self.region = region;
    }

    /// Bundles that are charged to the block of an address.
    pub fn charged_to(&self, address: IpAddr) -> usize {
        let account = |is_member| Account { block: Block::of(address), is_member };
        [false, true].map(|is_member| self.shares.amount(account(is_member)).bundles).into_iter().sum()
    }

    /// Whether a value of so many octets may come in, or is a renewal.
    pub(super) fn check_room(
        &self,
        key: &RecordKey,
        known: &Entry,
        origin: Origin,
        octets: usize,
    ) -> Result<(), Refusal> {
        if !known.sections.is_empty() {
            return Ok(());
        }
        let party = Party::of(origin);
        if party.is_some_and(|party| !self.shares.has_room(party, octets)) {
            return Err(Refusal::Share);
        }
        let distance = self.distance(key);
        if !self.has_room_for(1, octets) && !self.would_stay(distance, party) {
            return Err(Refusal::Full);
        }
        if self.is_outside(distance) && origin != Origin::Own {
            return Err(Refusal::NotNear);
        }
        Ok(())
    }

    /// Whether a full store would give up something else for it.
    fn would_stay(&self, distance: Distance, party: Option<Party>) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        let Some((farthest, _)) = self.held.last() else { return false };
        if self.is_outside(*farthest) || self.is_outside(distance) {
            return distance < *farthest;
        }
        match self.shares.heaviest() {
            Some((bundles, heaviest)) if bundles > 1 => party.is_none_or(|party| {
                (self.shares.amount(party.account).bundles + 1, party.account) <= (bundles, heaviest)
            }),
            _ => distance < *farthest,
        }
    }

    fn is_outside(&self, distance: Distance) -> bool {
        self.region.is_some_and(|region| distance > region)
    }

    pub(super) fn has_room_for(&self, bundles: usize, octets: usize) -> bool {
        self.held.len() + bundles <= self.capacity
            && self.octets + octets <= self.capacity.saturating_mul(limits::BUNDLE_SHARE)
    }

    /// To whom a changed bundle is charged. A renewal is charged to whoever put it, if there is room in its share, and else
    /// stays where it was: otherwise a block could empty its share by having others renew.
    pub(super) fn charge(&self, known: &Charge, is_new: bool, origin: Origin, octets: usize, fresh: Charge) -> Charge {
        let party = Party::of(origin);
        if is_new {
            return Charge { party, ..fresh };
        }
        match party {
            Some(party) if party.takes_over(known.party) && self.shares.has_room(party, octets) => {
                Charge { party: Some(party), ..*known }
            }
            _ => *known,
        }
    }

    /// Gives up what is too much now that this has come in.
    pub(super) fn make_room(&mut self, key: &RecordKey) {
        while !self.has_room_for(0, 0)
            && let Some(victim) = self.victim(key)
        {
            self.evict(victim);
        }
        let party = self.entries.get(key).and_then(|entry| entry.charge.party);
        while let Some(party) = party
            && let Some(victim) = self.shares.excess(party, key)
        {
            self.evict(victim);
        }
    }

    fn victim(&self, but: &RecordKey) -> Option<RecordKey> {
        if let Some((_, key)) = self.ahead.iter().rev().find(|(_, key)| key != but) {
            return Some(*key);
        }
        let (distance, farthest) = self.held.iter().rev().find(|(_, key)| key != but)?;
        if self.is_outside(*distance) {
            return Some(*farthest);
        }
        let heaviest = self.shares.heaviest().filter(|(bundles, _)| *bundles > 1);
        heaviest.and_then(|(_, account)| self.shares.newest(account, but)).or(Some(*farthest))
    }

    /// Gives up a bundle; its marks stay.
    fn evict(&mut self, key: RecordKey) {
        self.counters.evicted += 1;
        self.update(key, |entry| entry.sections.clear());
    }
}
