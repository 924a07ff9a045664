// SPDX-License-Identifier: GPL-2.0-or-later
//! What each block of addresses has put, so that none fills more than its share. The members in a block, who hand on what others
//! have put, have a larger one of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::charge::{Account, Charge, Party};
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

/// What an account has put.
#[derive(Debug, Default)]
struct Tally {
    amount: Amount,
    /// Latest last.
    bundles: BTreeSet<(u32, RecordKey)>,
}

/// The most that may be charged to one account.
#[derive(Debug, Clone, Copy)]
struct Share {
    block: Amount,
    provider: Amount,
}

impl Share {
    fn of(capacity: usize, block: usize, provider: usize) -> Self {
        Self { block: Amount::share(capacity, block), provider: Amount::share(capacity, provider) }
    }
}

/// All that is charged to somebody.
#[derive(Debug)]
pub(super) struct Shares {
    strangers: Share,
    members: Share,
    accounts: BTreeMap<Account, Tally>,
    providers: BTreeMap<Account, Amount>,
    /// Accounts by their number of bundles.
    by_weight: BTreeSet<(usize, Account)>,
}

impl Shares {
    /// The shares of a store of so many bundles.
    pub(super) fn of(capacity: usize) -> Self {
        Self {
            strangers: Share::of(capacity, limits::BLOCK_PART, limits::PROVIDER_PART),
            members: Share::of(capacity, limits::MEMBERS_PART, limits::MEMBERS_PROVIDER_PART),
            accounts: BTreeMap::new(),
            providers: BTreeMap::new(),
            by_weight: BTreeSet::new(),
        }
    }

    /// Whether one more bundle of so many octets is within the party's share.
    pub(super) fn has_room(&self, party: Party, octets: usize) -> bool {
        let share = self.share(party.account);
        self.amount(party.account).with(octets).is_within(share.block)
            && party.provider.is_none_or(|provider| self.of_provider(provider).with(octets).is_within(share.provider))
    }

    fn share(&self, account: Account) -> Share {
        if account.is_member { self.members } else { self.strangers }
    }

    /// What is charged to an account.
    pub(super) fn amount(&self, account: Account) -> Amount {
        self.accounts.get(&account).map(|tally| tally.amount).unwrap_or_default()
    }

    fn of_provider(&self, provider: Account) -> Amount {
        self.providers.get(&provider).copied().unwrap_or_default()
    }

    /// The account that has most bundles, and how many.
    pub(super) fn heaviest(&self) -> Option<(usize, Account)> {
        self.by_weight.last().copied()
    }

    /// The bundle of an account that came last, but this one.
    pub(super) fn newest(&self, account: Account, but: &RecordKey) -> Option<RecordKey> {
        let tally = self.accounts.get(&account)?;
        tally.bundles.iter().rev().map(|(_, key)| *key).find(|key| key != but)
    }

    /// What a party that has more than its share gives up for this one: renewals are not refused, and may be longer.
    pub(super) fn excess(&self, party: Party, but: &RecordKey) -> Option<RecordKey> {
        let share = self.share(party.account);
        if !self.amount(party.account).is_within(share.block) {
            return self.newest(party.account, but);
        }
        let provider = party.provider.filter(|provider| !self.of_provider(*provider).is_within(share.provider))?;
        // Accounts are in the order of their blocks' first addresses: those of a provider follow it.
        let is_inside = |other: &Account| provider.block.contains(other.block) && other.is_member == provider.is_member;
        let inside = self.accounts.range(provider..).filter(|(account, _)| is_inside(account));
        let heaviest = inside.max_by_key(|(account, tally)| (tally.amount.bundles, **account))?;
        self.newest(*heaviest.0, but).or_else(|| self.newest(party.account, but))
    }

    pub(super) fn add(&mut self, key: RecordKey, charge: &Charge, octets: usize) {
        let Some(party) = charge.party else { return };
        let tally = self.accounts.entry(party.account).or_default();
        self.by_weight.remove(&(tally.amount.bundles, party.account));
        tally.amount = tally.amount.with(octets);
        tally.bundles.insert((charge.since, key));
        self.by_weight.insert((tally.amount.bundles, party.account));
        if let Some(provider) = party.provider {
            let amount = self.providers.entry(provider).or_default();
            *amount = amount.with(octets);
        }
    }

    pub(super) fn remove(&mut self, key: RecordKey, charge: &Charge, octets: usize) {
        let Some(party) = charge.party else { return };
        if let Some(tally) = self.accounts.get_mut(&party.account) {
            self.by_weight.remove(&(tally.amount.bundles, party.account));
            tally.amount = tally.amount.without(octets);
            tally.bundles.remove(&(charge.since, key));
            if tally.bundles.is_empty() {
                self.accounts.remove(&party.account);
            } else {
                self.by_weight.insert((tally.amount.bundles, party.account));
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
