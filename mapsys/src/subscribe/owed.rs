// SPDX-License-Identifier: GPL-2.0-or-later
//! What has changed while it is not known whether somebody wants to hear it: it is told when that is.

use std::collections::BTreeMap;

use wire::address::EidPrefix;

use super::Subscriptions;
use super::queue::{Content, Receiver};
use super::subscriber::Denial;
use super::subscription::{Mode, SubscriptionKey};
use crate::limits::OWED_PREFIXES;
use crate::refusal::Refusal;
use crate::transport::Now;

/// EID-prefixes that unproven subscriptions are told of when they are proven, registered more-specifics and what has changed: of each no more than
/// [`OWED_PREFIXES`]. With each stands whether it has changed.
pub(super) type Owed = BTreeMap<SubscriptionKey, BTreeMap<EidPrefix, bool>>;

impl Subscriptions {
    /// What is owed if the `rest` of what there is comes to what is owed already: an earlier request may not be acknowledged yet, and what
    /// was withdrawn since is not among what there is. Nor is what is `cut` off before it is acknowledged.
    pub(super) fn owed_beside(
        &self,
        key: &SubscriptionKey,
        cut: impl Iterator<Item = Receiver>,
        rest: Vec<EidPrefix>,
    ) -> Result<BTreeMap<EidPrefix, bool>, Denial> {
        let mut owed = self.owed.get(key).cloned().unwrap_or_default();
        let parts = cut.filter(|receiver| receiver.about != key.prefix);
        owed.extend(parts.map(|receiver| (receiver.about, true)));
        for about in rest {
            owed.entry(about).or_insert(false);
        }
        if owed.len() > OWED_PREFIXES {
            return Err(Denial::Plain(Refusal::SubscribeTooWide));
        }
        Ok(owed)
    }

    /// What is not acknowledged of a subscription.
    pub(super) fn under_way(&self, key: &SubscriptionKey) -> impl Iterator<Item = Receiver> + '_ {
        self.notifier.receivers_in(Receiver::all(*key))
    }

    /// That, and what waits, of parts.
    pub(super) fn to_come(&self, key: &SubscriptionKey) -> impl Iterator<Item = EidPrefix> + '_ {
        let prefix = key.prefix;
        self.under_way(key).chain(self.queue.of(*key)).map(|to| to.about).filter(move |about| *about != prefix)
    }

    /// Is told when the subscription is proven, or what was proven before holds again. `false` if that is so now, since it was too much.
    pub(super) fn owe(&mut self, now: Now, Receiver { key, about }: Receiver) -> bool {
        let owed = self.owed.entry(key).or_default();
        owed.insert(about, true);
        if owed.len() <= OWED_PREFIXES {
            return true;
        }
        self.refused.push(Refusal::SubscribeTooWide);
        self.roll_back(now, &key);
        false
    }

    /// All that is owed, with what is to come of what is not proven: for the next configuration, under which none of it is asked for any more.
    pub(super) fn take_owed(&mut self) -> Owed {
        let mut owed = std::mem::take(&mut self.owed);
        for (key, _) in self.book.iter().filter(|(_, known)| known.asked.is_some()) {
            owed.entry(key).or_default().extend(self.to_come(&key).map(|about| (about, true)));
        }
        owed
    }

    /// A part goes on to be told of with the subscription around it: what has changed in it meanwhile is told.
    pub(super) fn tell_around(&mut self, now: Now, part: &SubscriptionKey, owed: &BTreeMap<EidPrefix, bool>) {
        let around = self.book.around(part);
        let Some((key, known)) = around.filter(|(_, known)| known.mode() == Mode::Publish) else { return };
        if known.is_foreign {
            return self.watches.hurry(now.monotonic, key.prefix);
        }
        for (about, _) in owed.iter().filter(|(_, has_changed)| **has_changed) {
            // A mapping of what is wider would stay there when that changes.
            let content = Content::Registered { is_exact: true };
            self.enqueue(now, now.monotonic, Receiver { key, about: *about }, content);
        }
    }
}
