// SPDX-License-Identifier: GPL-2.0-or-later
//! What each block of addresses has put, so that none fills more than its share.

use std::collections::{BTreeMap, BTreeSet};

use super::charge::{Charge, Party};
use crate::block::Block;
use crate::limits;
use crate::record::RecordKey;

/// Bundles, and their octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    pub(super) bundles: usize,
    pub(super) octets: usize,
}

impl Amount {
    /// One in `part` of a store of so many bundles: at least one bundle, of any length.
    pub(super) fn share(capacity: usize, part: usize) -> Self {
        let bundles = (capacity / part).max(1);
        Self { bundles, octets: bundles.saturating_mul(limits::BUNDLE_SHARE).max(limits::BUNDLE_SIZE) }
    }

    fn is_within(self, other: Self) -> bool {
        self.bundles <= other.bundles && self.octets <= other.octets
    }

    fn with(self, octets: usize) -> Self {
        Self { bundles: self.bundles + 1, octets: self.octets + octets }
    }

    fn without(self, octets: usize) -> Self {
        Self { bundles: self.bundles.saturating_sub(1), octets: self.octets.saturating_sub(octets) }
    }
}

/// What a block has put.
#[derive(Debug, Default)]
struct Tally {
    amount: Amount,
    /// Latest last.
    bundles: BTreeSet<(u32, RecordKey)>,
}

/// All that is charged to somebody.
#[derive(Debug)]
pub(super) struct Shares {
    block: Amount,
    provider: Amount,
    blocks: BTreeMap<Block, Tally>,
    providers: BTreeMap<Block, Amount>,
    /// Blocks by their number of bundles.
    by_weight: BTreeSet<(usize, Block)>,
}

impl Shares {
    /// The shares of a store of so many bundles.
    pub(super) fn of(capacity: usize) -> Self {
        Self {
            block: Amount::share(capacity, limits::BLOCK_PART),
            provider: Amount::share(capacity, limits::PROVIDER_PART),
            blocks: BTreeMap::new(),
            providers: BTreeMap::new(),
            by_weight: BTreeSet::new(),
        }
    }

    /// Whether one more bundle of so many octets is within the party's share.
    pub(super) fn has_room(&self, party: Party, octets: usize) -> bool {
        self.amount(party.block).with(octets).is_within(self.block)
            && party.provider.is_none_or(|provider| self.of_provider(provider).with(octets).is_within(self.provider))
    }

    /// What is charged to a block.
    pub(super) fn amount(&self, block: Block) -> Amount {
        self.blocks.get(&block).map(|tally| tally.amount).unwrap_or_default()
    }

    fn of_provider(&self, provider: Block) -> Amount {
        self.providers.get(&provider).copied().unwrap_or_default()
    }

    /// The block that has most bundles, and how many.
    pub(super) fn heaviest(&self) -> Option<(usize, Block)> {
        self.by_weight.last().copied()
    }

    /// The bundle of a block that came last, but this one.
    pub(super) fn newest(&self, block: Block, but: &RecordKey) -> Option<RecordKey> {
        let tally = self.blocks.get(&block)?;
        tally.bundles.iter().rev().map(|(_, key)| *key).find(|key| key != but)
    }

    /// What a party that has more than its share gives up for this one: renewals are not refused, and may be longer.
    pub(super) fn excess(&self, party: Party, but: &RecordKey) -> Option<RecordKey> {
        if !self.amount(party.block).is_within(self.block) {
            return self.newest(party.block, but);
        }
        let provider = party.provider.filter(|provider| !self.of_provider(*provider).is_within(self.provider))?;
        let inside = self.blocks.range(party_range(provider)).filter(|(block, _)| provider.contains(**block));
        let heaviest = inside.max_by_key(|(block, tally)| (tally.amount.bundles, **block)).map(|(block, _)| *block)?;
        self.newest(heaviest, but).or_else(|| self.newest(party.block, but))
    }

    pub(super) fn add(&mut self, key: RecordKey, charge: &Charge, octets: usize) {
        let Some(party) = charge.party else { return };
        let tally = self.blocks.entry(party.block).or_default();
        self.by_weight.remove(&(tally.amount.bundles, party.block));
        tally.amount = tally.amount.with(octets);
        tally.bundles.insert((charge.since, key));
        self.by_weight.insert((tally.amount.bundles, party.block));
        if let Some(provider) = party.provider {
            let amount = self.providers.entry(provider).or_default();
            *amount = amount.with(octets);
        }
    }

    pub(super) fn remove(&mut self, key: RecordKey, charge: &Charge, octets: usize) {
        let Some(party) = charge.party else { return };
        if let Some(tally) = self.blocks.get_mut(&party.block) {
            self.by_weight.remove(&(tally.amount.bundles, party.block));
            tally.amount = tally.amount.without(octets);
            tally.bundles.remove(&(charge.since, key));
            if tally.bundles.is_empty() {
                self.blocks.remove(&party.block);
            } else {
                self.by_weight.insert((tally.amount.bundles, party.block));
            }
        }
        if let Some(provider) = party.provider
            && let Some(amount) = self.providers.get_mut(&provider)
        {
            *amount = amount.without(octets);
            if amount.bundles == 0 {
                self.providers.remove(&provider);
            }
        }
    }
}

/// Blocks are in the order of their first addresses: those of a provider follow it.
fn party_range(provider: Block) -> std::ops::RangeFrom<Block> {
    provider..
}
