// SPDX-License-Identifier: GPL-2.0-or-later
//! What has changed while it is not known whether somebody wants to hear it: it is told when that is.

use std::collections::BTreeMap;

use wire::address::EidPrefix;

use super::Subscriptions;
use super::queue::{Content, Receiver};
use super::subscriber::Denial;
use super::subscription::{Mode, Subscription, SubscriptionKey};
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
        for (about, _) in owed.iter().filter(|(_, has_changed)| **has_changed) {
            // With each anew: too much of it takes back what was asked for, and then there is no doubt.
            let around = self.book.lasting(part.xtr, &part.prefix).filter(|(key, _)| key != part);
            for teller in tellers(around) {
                let receiver = Receiver { key: teller.key, about: *about };
                if teller.is_in_doubt {
                    self.owe(now, receiver);
                } else if teller.is_foreign {
                    self.watches.hurry(now.monotonic, teller.key.prefix);
                } else {
                    // A mapping of what is wider would stay there when that changes.
                    self.enqueue(now, now.monotonic, receiver, Content::Registered { is_exact: true });
                }
            }
        }
    }
}

/// A subscription by which a change is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Teller {
    pub(super) key: SubscriptionKey,
    pub(super) is_foreign: bool,
    /// Whether that is so only when it is known whether it is the xTR that has asked for something else.
    pub(super) is_in_doubt: bool,
}

/// Which of the subscriptions `around` a change, the most specific first, tell of it: the first one, unless that is muted. One that its xTR may have ended
/// does if it has not, and the next one in any case.
pub(super) fn tellers<'a>(around: impl Iterator<Item = (SubscriptionKey, &'a Subscription)>) -> Vec<Teller> {
    let mut tellers = Vec::new();
    for (key, known) in around {
        let (mode, proven, is_foreign) = (known.mode(), known.proven_mode(), known.is_foreign);
        let is_teller = match mode {
            Mode::Publish => true,
            Mode::Mute => proven != Mode::Mute,
            Mode::Gone => proven == Mode::Publish,
        };
        let is_in_doubt = mode != Mode::Publish || proven != Mode::Publish;
        tellers.extend(is_teller.then_some(Teller { key, is_foreign, is_in_doubt }));
        if mode != Mode::Gone {
            break;
        }
    }
    tellers
}
