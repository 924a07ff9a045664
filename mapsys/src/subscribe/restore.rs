// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions after a restart.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, UNIX_EPOCH};

use super::association::{KeyFloor, UsedKey, UsedKeys};
use super::book::Book;
use super::owed::Owed;
use super::pace::Pace;
use super::parts::Parts;
use super::queue::{Content, Queue, Receiver};
use super::said::Said;
use super::subscriber::{Policy, Subscriber, Subscribers};
use super::subscription::{Kept, Mode, Subscription, SubscriptionKey};
use super::watch::Watches;
use super::{Subscriptions, wall_seconds};
use crate::engine::Mark;
use crate::limits::{
    NOTIFY_INTERVAL, PUBLICATIONS, PUBLICATIONS_PER_XTR, REGISTRATION_SILENCE, REREAD_LONGEST, REREAD_SHORTEST,
    REREAD_STEP, SUBSCRIBER_WAYS,
};
use crate::register::notifier::Notifier;
use crate::transport::{Now, Sockets, Way};
use dht::pause::Pause;

impl Subscriptions {
    /// Takes up what was kept on disk. What no key is configured for any more, or what its xTR may not have, is forgotten; what was asked for and not proven
    /// is taken back, and its sender told, who may have seen it confirmed.
    pub fn restore(
        now: Now,
        subscribers: Subscribers,
        policy: Policy,
        sockets: Sockets,
        kept: impl IntoIterator<Item = Kept>,
    ) -> Self {
        let mut restored = Self::take_all(now, (subscribers, policy), sockets, kept, Owed::new());
        restored.parts_at = (!restored.parts().is_empty()).then_some(restored.settled);
        restored
    }

    fn take_all(
        now: Now,
        (subscribers, policy): (Subscribers, Policy),
        sockets: Sockets,
        kept: impl IntoIterator<Item = Kept>,
        owed: Owed,
    ) -> Self {
        let mut restored = Self {
            subscribers,
            sockets,
            book: Book::default(),
            notifier: Notifier::new(PUBLICATIONS, PUBLICATIONS_PER_XTR),
            queue: Queue::default(),
            watches: Watches::default(),
            owed,
            said: Said::default(),
            ends: BTreeSet::new(),
            unproven: BTreeSet::new(),
            anew: BTreeSet::new(),
            parts_at: None,
            settled: now.monotonic + REGISTRATION_SILENCE + NOTIFY_INTERVAL,
            pace: Pace::new(now.monotonic, policy.pace, policy.pace),
            policy,
            asking: HashMap::new(),
            used: UsedKeys::default(),
            arrivals: 0,
            marks: Vec::new(),
            outputs: VecDeque::new(),
            refused: Vec::new(),
            published: 0,
            replay_logged: Pause::default(),
            unanswered_logged: Pause::default(),
        };
        for kept in kept {
            restored.take_up(now, kept);
        }
        restored.make_configured(now);
        restored.settle(now);
        restored.look_after(now);
        restored
    }

    /// With the one-time keys that have made security associations before.
    #[must_use]
    pub fn having_used(
        mut self,
        used: impl IntoIterator<Item = UsedKey>,
        floors: impl IntoIterator<Item = KeyFloor>,
    ) -> Self {
        self.used = UsedKeys::restore(used, floors);
        self.forget_unwanted_keys();
        self
    }

    /// Of xTRs with which LISP-SEC makes no associations any more the highest nonce is remembered: they may be configured again.
    fn forget_unwanted_keys(&mut self) {
        let subscribers = &self.subscribers;
        let is_wanted = |xtr: &_| subscribers.get(xtr).is_some_and(|subscriber| subscriber.key.is_none());
        let gone = self.used.retain(is_wanted);
        self.note_gone(gone);
    }

    /// Takes back what is not proven. Only then, when all is there, it shows what is muted and a part of nothing: the disk has
    /// them in any order.
    fn settle(&mut self, now: Now) {
        let unproven = self.book.iter().filter(|(_, known)| known.asked.is_some()).map(|(key, _)| key);
        let mut unproven: Vec<SubscriptionKey> = unproven.collect();
        unproven.sort_by_key(|key| key.prefix.net.prefix_len());
        for key in unproven {
            self.roll_back(now, &key);
        }
        // Of what is forgotten.
        self.owed.clear();
        let orphans = self.book.iter().map(|(key, _)| key).filter(|key| self.book.is_orphan(key));
        for key in orphans.collect::<Vec<_>>() {
            self.retire(now, &key);
        }
    }

    /// Takes other subscribers and another policy, as a restart does.
    pub fn reconfigure(&mut self, now: Now, subscribers: Subscribers, policy: Policy) {
        let kept = self.book.iter().map(|(key, known)| known.kept(&key, wall_seconds(now, known.until)));
        let kept: Vec<Kept> = kept.collect();
        let owed = self.take_owed();
        let restored = Self::take_all(now, (subscribers, policy), self.sockets.clone(), kept, owed);
        let older = std::mem::replace(self, restored);
        self.marks.splice(0..0, older.marks);
        self.outputs.extend(older.outputs);
        (self.refused, self.published) = (older.refused, older.published);
        (self.replay_logged, self.unanswered_logged) = (older.replay_logged, older.unanswered_logged);
        (self.used, self.arrivals) = (older.used, older.arrivals);
        self.forget_unwanted_keys();
        (self.settled, self.parts_at) = (older.settled, older.parts_at);
        self.asking = older.asking.into_iter().filter(|(xtr, _)| self.subscribers.get(xtr).is_some()).collect();
        self.tell_again(now, older.queue, &older.notifier);
    }

    /// What waited, or was not acknowledged, is told under the new configuration (RFC 9437, section 6).
    fn tell_again(&mut self, now: Now, queue: Queue, notifier: &Notifier<Receiver>) {
        let at = |receiver: &Receiver| notifier.rests_until(receiver).map_or(now.monotonic, |at| at.max(now.monotonic));
        for receiver in notifier.receivers() {
            let Receiver { key, about } = receiver;
            let Some(known) = self.book.get(&key).filter(|known| known.mode() == Mode::Publish) else { continue };
            let is_foreign = known.is_foreign;
            if about == key.prefix {
                // Which of the two the xTR has is not known.
                self.amend(now, &key, |subscription| (subscription.told, subscription.sent) = (None, None));
            }
            if is_foreign {
                self.watches.hurry(now.monotonic, key.prefix);
            } else {
                let content = Content::Registered { is_exact: about != key.prefix };
                self.enqueue(now, at(&receiver), receiver, content);
            }
        }
        for (due, receiver, content) in queue.into_items() {
            if self.book.get(&receiver.key).is_some_and(|known| known.mode() == Mode::Publish) {
                self.enqueue(now, due.max(at(&receiver)), receiver, content);
            }
        }
    }

    fn take_up(&mut self, now: Now, kept: Kept) {
        let (key, on_disk) = (kept.key(), kept.clone());
        let subscriber = self.subscribers.get(&key.xtr).filter(|subscriber| subscriber.may_have_of(&key.prefix));
        let Some(subscriber) = subscriber.filter(|subscriber| subscriber.has_key_of(&kept)) else {
            // Nonces are of a key. What its xTR may have stays: it asks for nothing again, whatever the key is.
            let parts = Parts::restore(key.prefix.iid, &kept.parts);
            if let Some(key_id) = subscriber.filter(|_| kept.is_configured).map(Subscriber::key_id) {
                let subscription = Subscription { is_configured: true, parts, ..Subscription::new(key_id) };
                return self.put(now, key, subscription);
            }
            return self.note(Mark::ForgottenSubscription(key));
        };
        let wall = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // However wrong the clock was: no longer than a whole life.
        let left = |until: u64| Duration::from_secs(until.saturating_sub(wall)).min(self.policy.temporary);
        let mut subscription = Subscription {
            key_id: kept.key_id,
            proven: kept.proven,
            asked: kept.asked,
            asked_since: None,
            until: kept.until.map(|until| now.monotonic + left(until)),
            told: kept.told,
            sent: None,
            silent_since: kept.silent_since,
            is_foreign: kept.is_foreign,
            seen_at: kept.seen_at,
            is_configured: kept.is_configured,
            parts: Parts::restore(key.prefix.iid, &kept.parts),
            peak: kept.peak,
        };
        for agreement in [&mut subscription.proven, &mut subscription.asked].into_iter().flatten() {
            let ways =
                std::mem::take(&mut agreement.ways).into_iter().filter(|way| subscriber.has_rloc(way.remote.ip()));
            agreement.ways = ways.filter_map(|way| self.way(way)).take(SUBSCRIBER_WAYS).collect();
        }
        let Some(subscription) = subscription.reachable() else {
            return self.note(Mark::ForgottenSubscription(key));
        };
        self.put(now, key, subscription);
        // What is the same as on disk need not be written again.
        if matches!(self.marks.last(), Some(Mark::Subscription(kept)) if **kept == on_disk) {
            self.marks.pop();
        }
    }

    /// The same way from a socket that there is now.
    fn way(&self, way: Way) -> Option<Way> {
        let asked = Some(way.local).filter(|local| self.sockets.0.contains(&self.sockets.onwards(*local)));
        Some(Way { local: self.sockets.towards(way.remote.ip(), asked)?, ..way })
    }

    /// Sites register again within minutes; of what is not there then, subscribers are told. The DHT is asked again soon.
    fn look_after(&mut self, now: Now) {
        let live = self.book.iter().filter(|(_, known)| known.mode() == Mode::Publish);
        let live: Vec<_> =
            live.map(|(key, known)| (key, known.is_foreign, known.until.is_some(), known.seen_at)).collect();
        let foreign = live.iter().filter(|(_, is_foreign, ..)| *is_foreign).count();
        // Not all at one instant: nobody else would find room for a lookup.
        let most = (REREAD_LONGEST - REREAD_SHORTEST) / u32::try_from(foreign).unwrap_or(u32::MAX).max(1);
        let mut at = now.monotonic + REREAD_SHORTEST;
        for (key, is_foreign, is_temporary, seen_at) in live {
            if is_foreign {
                seen_at.into_iter().for_each(|at| self.watches.begin_at(key.prefix, at));
                self.watches.set(key.prefix, at);
                at += REREAD_STEP.min(most);
            } else if !is_temporary {
                let at = self.settled;
                let receiver = Receiver { key, about: key.prefix };
                self.enqueue(now, at, receiver, Content::Registered { is_exact: false });
            }
        }
    }
}
