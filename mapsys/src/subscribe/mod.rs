// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions to mappings (RFC 9437): xTRs ask once, and are told of every change.
//!
//! A subscription is to what the answer speaks of: the registered EID-prefix that covers what was asked for, or what was asked
//! for if that is wider, or the hole around it if nothing is registered; then it is a temporary one.
//!
//! * [`subscriber`]: who may subscribe, and how its Map-Request is checked;
//! * [`association`]: what LISP-SEC makes where no key is shared beforehand;
//! * [`subscription`]: the state of one, and when it is proven;
//! * [`configured`]: those that the operator makes; [`parts`]: what their xTRs may have of them;
//! * [`book`]: all of them; [`answer`]: what there is to say of what is registered here;
//! * `owed`: what is told when it is known whether somebody wants it; [`said`]: what need not be told again;
//! * [`queue`], [`pace`]: changes wait for their turn; [`watch`]: the DHT is read again;
//! * the [`Notifier`] sends and repeats, as it does for the xTRs of a site that merge.

pub mod answer;
pub mod association;
pub mod book;
pub mod configured;
mod owed;
pub mod pace;
pub mod parts;
mod publish;
pub mod queue;
mod restore;
pub mod said;
pub mod subscriber;
pub mod subscription;
pub mod watch;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use wire::address::EidPrefix;
use wire::control::auth::{self, AuthKey, TagForm};
use wire::control::lispsec::{OneTimeKey, WrapId};
use wire::control::{ControlMessage, MapNotify, Nonce, XtrIdentity};
use wire::record::{MappingRecord, Ttl};

use crate::engine::Mark;
use crate::limits::{
    NOTIFY_HEAD, NOTIFY_OCTETS, NOTIFY_PAUSES, SUBSCRIBE_BURST, SUBSCRIBE_RATE, SUBSCRIPTION_MEMORIES, UNPROVEN_PER_XTR,
};
use crate::nat::Relays;
use crate::refusal::Refusal;
use crate::register::MapServer;
use crate::register::notifier::{Notification, Notifier, Telling};
use crate::transport::{Now, Sockets};
use answer::Target;
use association::{Brought, Key, KeyFloor, UsedKey, UsedKeys};
use book::Book;
use dht::pause::Pause;
use owed::Owed;
use pace::Pace;
use queue::{Content, Queue, Receiver};
use said::Said;
use subscriber::{Arrival, Denial, Policy, Request, Subscriber, Subscribers, Wish};
use subscription::{Agreement, Mode, Subscription, SubscriptionKey};
use watch::Watches;

/// All that the map system knows of subscriptions.
#[derive(Debug)]
pub struct Subscriptions {
    subscribers: Subscribers,
    policy: Policy,
    sockets: Sockets,
    book: Book,
    notifier: Notifier<Receiver>,
    queue: Queue,
    watches: Watches,
    owed: Owed,
    said: Said,
    /// When temporary subscriptions end.
    ends: BTreeSet<(Instant, SubscriptionKey)>,
    /// Since when something was asked for that is not proven.
    unproven: BTreeSet<(Instant, SubscriptionKey)>,
    /// When those that the operator has made are told all anew.
    anew: BTreeSet<(Instant, SubscriptionKey)>,
    /// When xTRs are told of what they may have inside such a subscription, and nobody has registered again after a restart.
    parts_at: Option<Instant>,
    /// When all sites have had the time to register that are there.
    settled: Instant,
    /// The pace of publications.
    pace: Pace,
    /// What each xTR may ask for; no more of them than are configured.
    asking: HashMap<XtrIdentity, Pace>,
    marks: Vec<Mark>,
    outputs: VecDeque<Telling>,
    /// One-time keys that have made a security association.
    used: UsedKeys,
    /// Map-Requests with a one-time key so far.
    arrivals: u64,
    /// Refusals that no counters were at hand for.
    refused: Vec<Refusal>,
    published: u64,
    /// When a replay was last logged: whoever has recorded one message can send it for ever.
    replay_logged: Pause,
    unanswered_logged: Pause,
}

/// What a Map-Request subscribes to, and what there is to say of it.
#[derive(Debug)]
pub struct Offer {
    /// The subscription's EID-prefix, and its records.
    pub target: Target,
    /// Whether it comes from the DHT.
    pub is_foreign: bool,
    /// How long what the DHT says may be used; of no meaning otherwise.
    pub lifetime: Duration,
    /// Digest of the first record.
    pub digest: u64,
}

impl Offer {
    /// Of what is registered here.
    pub fn own(target: Target) -> Self {
        let digest = answer::digest(&target.records, ttl_of(&target.records));
        Self { target, is_foreign: false, lifetime: Duration::ZERO, digest }
    }
}

/// What Map-Notifies may have that a Map-Request brings about until it is proven: a part of what came in the name of their target, so that
/// whoever forges an xTR's address cannot have us flood it. Half of it is for the one that confirms, at least, and for the word that it
/// has ended.
pub struct Allowance<'a> {
    /// Octets; `None` without a limit.
    pub octets: Option<usize>,
    /// Counts octets to the target, if it may have them.
    pub spend: &'a mut dyn FnMut(usize) -> Result<(), Refusal>,
}

impl Allowance<'_> {
    /// Octets of all sendings of a message of this length, but for the last word.
    fn take(&mut self, length: usize, ways: usize) -> Result<Option<usize>, Refusal> {
        let Some(share) = self.octets else { return Ok(None) };
        let (least, most) = (2 * length, (ways * (NOTIFY_PAUSES.len() + 1) + 1) * length);
        let wanted = share.clamp(least, most);
        match (self.spend)(wanted) {
            Ok(()) => Ok(Some(wanted - length)),
            Err(_) => (self.spend)(least).map(|()| Some(length)),
        }
    }
}

impl std::fmt::Debug for Allowance<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Allowance").field("octets", &self.octets).finish_non_exhaustive()
    }
}

fn ttl_of(records: &[MappingRecord]) -> Ttl {
    records.first().map_or(Ttl::WITHDRAWN, |record| record.ttl)
}

impl Subscriptions {
    /// Sends from other addresses from now on.
    pub(crate) fn readdress(&mut self, sockets: &Sockets) {
        self.sockets = sockets.clone();
    }

    /// What the record `asked` of a Map-Request with the N-bit wants, if its xTR may want it.
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(&self, arrival: Arrival, request: Request<'_>, asked: EidPrefix) -> Result<Wish, Denial> {
        self.subscribers.admit(&self.policy.resolvers, &self.sockets, arrival, request, asked)
    }

    /// The one-time key of a Map-Request that has come, as it was unwrapped, and by which association.
    pub fn brought(&mut self, otk: &OneTimeKey, wrap: WrapId, nonce: Nonce, by: Option<String>) -> Brought {
        self.arrivals += 1;
        Brought { by, ..Brought::new(otk, wrap, nonce, self.arrivals) }
    }

    /// What a wish about an EID of the sites subscribes to; `None` if it is about none of them.
    ///
    /// # Errors
    /// When there can be no such subscription.
    pub fn target(
        &self,
        server: &MapServer,
        asked: &EidPrefix,
        allowance: &Allowance<'_>,
    ) -> Result<Option<Target>, Denial> {
        let octets = allowance
            .octets
            .map_or(NOTIFY_OCTETS, |octets| NOTIFY_OCTETS.min((octets / 2).saturating_sub(NOTIFY_HEAD)));
        answer::target(server, asked, self.temporary(), octets)
    }

    /// The TTL of what is said of nothing (RFC 9437, section 5).
    pub fn temporary(&self) -> Ttl {
        Ttl(u32::try_from(self.policy.temporary.as_secs() / 60).unwrap_or(u32::MAX).max(1))
    }

    /// Begins or changes a subscription, and confirms it by a Map-Notify (RFC 9437, section 5).
    ///
    /// # Errors
    /// Why it fails; nothing has changed then.
    pub fn subscribe(
        &mut self,
        now: Now,
        wish: &Wish,
        offer: Offer,
        allowance: &mut Allowance<'_>,
    ) -> Result<(), Denial> {
        let Offer { target, is_foreign, lifetime, digest } = offer;
        let key = SubscriptionKey { xtr: wish.xtr, prefix: target.prefix };
        self.verify_nonce(now, &key, wish)?;
        if self.is_configured(&key) && self.is_fixed(&wish.xtr, &key.prefix) {
            return Err(Denial::Policy(Refusal::SubscribeDenied));
        }
        self.admit_pace(now, &key, wish)?;
        self.has_place(&key)?;
        // What is under way goes on, but not under the association before.
        let cut = wish.brought.iter().flat_map(|_| self.under_way(&key));
        let owed = self.owed_beside(&key, cut, target.rest)?;
        let due = self.confirmation_due(now, &key);
        self.ask((now, due), key, wish, (Mode::Publish, &target.records), allowance)?;
        let until = (!target.is_present).then(|| now.monotonic + self.policy.temporary);
        self.amend(now, &key, |subscription| {
            let until = until.filter(|_| !subscription.is_configured);
            (subscription.until, subscription.is_foreign) = (until, is_foreign && !subscription.is_configured);
            subscription.sent = Some(digest);
            subscription.note_parts(&key.prefix, &target.records);
        });
        if is_foreign {
            self.watches.begin(now.monotonic, key.prefix, lifetime);
            self.watches.begin_at(key.prefix, wish.asked.net.addr());
        }
        // Whoever has written another's address into his request gets it one message, and not hundreds.
        if !owed.is_empty() {
            self.owed.insert(key, owed);
        }
        Ok(())
    }

    /// Whether there is a place for what is asked of this key. A part of which nothing is to be heard takes one too.
    fn has_place(&self, key: &SubscriptionKey) -> Result<(), Denial> {
        let is_known = self.book.get(key).is_some_and(|known| !known.is_memory());
        let is_full = self.book.len() >= self.policy.most || self.book.count(&key.xtr) >= self.policy.most_per_xtr;
        if is_full && !is_known { Err(Denial::Plain(Refusal::SubscribeTableFull)) } else { Ok(()) }
    }

    /// Ends a subscription, or a part of one, and confirms that (RFC 9437, section 5).
    ///
    /// # Errors
    /// Why it fails; nothing has changed then.
    pub fn leave(
        &mut self,
        now: Now,
        server: &MapServer,
        wish: &Wish,
        allowance: &mut Allowance<'_>,
    ) -> Result<(), Denial> {
        let (key, mode) = self.left(wish);
        self.verify_nonce(now, &key, wish)?;
        if self.is_fixed(&wish.xtr, &wish.asked) {
            return Err(Denial::Policy(Refusal::SubscribeDenied));
        }
        self.admit_pace(now, &key, wish)?;
        if mode == Mode::Mute {
            self.has_place(&key)?;
        }
        let current = self.target(server, &wish.asked, allowance).ok().flatten().map(|target| target.records);
        let records = current.unwrap_or_else(|| vec![answer::withdrawn(key.prefix)]);
        let owed = self.owed_beside(&key, self.under_way(&key), Vec::new())?;
        let due = self.confirmation_due(now, &key);
        self.ask((now, due), key, wish, (mode, &records), allowance)?;
        // Until it is proven that nothing is to be heard.
        if !owed.is_empty() {
            self.owed.insert(key, owed);
        }
        Ok(())
    }

    /// What a wish to hear nothing more of an EID-prefix is about: the subscription to it, the one that it was asked for with, or
    /// a part of a wider one, which goes on.
    fn left(&self, wish: &Wish) -> (SubscriptionKey, Mode) {
        let exact = SubscriptionKey { xtr: wish.xtr, prefix: wish.asked };
        // One that somebody else may have ended, or asked for in other words, is there all the same.
        let is_asked = |known: &Subscription| {
            [&known.asked, &known.proven].into_iter().flatten().any(|agreed| agreed.asked == wish.asked.net)
        };
        match self.book.lasting(wish.xtr, &wish.asked).next() {
            Some((_, known)) if known.mode() == Mode::Mute => (exact, Mode::Mute),
            Some((key, _)) if key == exact => (key, Mode::Gone),
            Some((key, known)) if is_asked(known) => (key, Mode::Gone),
            Some(_) => (exact, Mode::Mute),
            None => (exact, Mode::Gone),
        }
    }

    /// The nonce must be above all that came before it, unless a new security association begins (RFC 9437, section 5), and leave room
    /// for what comes after.
    fn verify_nonce(&mut self, now: Now, key: &SubscriptionKey, wish: &Wish) -> Result<(), Denial> {
        self.agreed_key(wish)?;
        if let Some(brought) = &wish.brought {
            let used = brought.used_by(wish);
            let peak = self.book.get(key).map(|known| known.peak).filter(|peak| *peak > 0);
            let last = self.book.last_nonce(key, &wish.asked).max(peak);
            if !self.used.is_new(&used, last, brought.arrival) {
                let asked = self.book.get(key).and_then(|known| known.asked.as_ref());
                if asked.is_some_and(|asked| asked.made_of == Some(used)) {
                    // The network has doubled it. Another answer would take the association back.
                    return Err(Denial::Silent(Refusal::SubscribeReplayed));
                }
                self.warn_of_replay(now, key, wish);
                return Err(Denial::Authentication(Refusal::SubscribeKeyUsed));
            }
        } else if self.book.last_nonce(key, &wish.asked).is_some_and(|last| wish.nonce <= last) {
            self.warn_of_replay(now, key, wish);
            return Err(Denial::Silent(Refusal::SubscribeReplayed));
        }
        Ok(())
    }

    /// Whether an xTR asks within its bounds.
    fn admit_pace(&mut self, now: Now, key: &SubscriptionKey, wish: &Wish) -> Result<(), Denial> {
        if !Nonce(wish.nonce).begins_subscription() {
            return Err(Denial::Plain(Refusal::SubscribeNonceEnd));
        }
        // Each may be repeated to whoever's address the sender has written into its datagrams.
        let is_repeated = self.book.get(key).is_some_and(|known| known.asked.is_some());
        if !is_repeated && self.book.unproven(&key.xtr) >= UNPROVEN_PER_XTR {
            return Err(Denial::Plain(Refusal::SubscribeUnproven));
        }
        let full = || Pace::new(now.monotonic, SUBSCRIBE_BURST, SUBSCRIBE_RATE);
        // RFC 9437, section 7.2: whoever asks too often is answered as by RFC 9301.
        let may_ask = self.asking.entry(key.xtr).or_insert_with(full).take(now.monotonic);
        if may_ask { Ok(()) } else { Err(Denial::Plain(Refusal::SubscribeRate)) }
    }

    fn warn_of_replay(&mut self, now: Now, key: &SubscriptionKey, wish: &Wish) {
        self.replay_logged.line(now.monotonic, |left_out| {
            tracing::warn!(prefix = %key.prefix, nonce = wish.nonce, left_out, "subscription replayed");
        });
    }

    /// The key that a wish is agreed under: none but the configured one where there is one, else that of the association which LISP-SEC
    /// makes with it (RFC 9437, section 7.1). One that was made before is no proof of who asks now.
    fn agreed_key(&self, wish: &Wish) -> Result<Option<Key>, Denial> {
        if self.subscribers.get(&wish.xtr).is_some_and(|subscriber| subscriber.key.is_some()) {
            return Ok(None);
        }
        // RFC 9437, section 3: without an association all goes on as if nobody had asked to be told.
        wish.brought
            .as_ref()
            .map(|brought| Some(brought.key.clone()))
            .ok_or(Denial::Plain(Refusal::SubscribeUnknownXtr))
    }

    /// Takes what a Map-Request asks for, until it is proven, and says so to its sender.
    fn ask(
        &mut self,
        (now, due): (Now, Instant),
        key: SubscriptionKey,
        wish: &Wish,
        (mode, records): (Mode, &[MappingRecord]),
        allowance: &mut Allowance<'_>,
    ) -> Result<(), Denial> {
        let agreed = self.agreed_key(wish)?;
        let made_of = wish.brought.as_ref().filter(|_| agreed.is_some()).map(|brought| brought.used_by(wish));
        let agreement =
            Agreement { nonce: wish.nonce, mode, asked: wish.asked.net, ways: wish.ways.clone(), key: agreed, made_of };
        let about = records.first().and_then(|record| record.eid.ip_prefix()).unwrap_or(key.prefix);
        let notification = self.notification(&key, &agreement, records.to_vec()).map_err(Denial::Plain)?;
        let allowed = allowance.take(notification.bytes.len(), agreement.ways.len()).map_err(Denial::Plain)?;
        let notification = Notification { allowance: allowed, ..notification };
        let receiver = Receiver { key, about };
        if mode != Mode::Publish {
            self.hush(&receiver)?;
        }
        self.notifier.tell(due, receiver, notification).map_err(Denial::Plain)?;
        // It may have nothing of what it was told before.
        self.said.forget(Receiver::all(key));
        if let Some(brought) = &wish.brought {
            // What is under way of the association before is owed, and told under this one.
            self.notifier.retain(Receiver::all(key), |other| *other == receiver);
            self.used.note(brought.used_by(wish), brought.arrival);
        }
        let key_id = self.subscribers.get(&key.xtr).map_or(0, Subscriber::key_id);
        let known = self.book.get(&key).cloned();
        let known = known.unwrap_or_else(|| Subscription::new(key_id));
        let peak = [known.peak, wish.nonce].into_iter().chain(known.last_nonce()).max().unwrap_or_default();
        self.store(now, key, Subscription { asked: Some(agreement), peak, ..known });
        Ok(())
    }

    /// Says nothing more of what is under way, and lets what waits wait, until it is proven that nothing is to be heard.
    ///
    /// # Errors
    /// `NotifyTableFull` if there is no room to confirm that, nor is any made by it.
    fn hush(&mut self, receiver: &Receiver) -> Result<(), Denial> {
        if !self.has_room(receiver) && self.under_way(&receiver.key).next().is_none() {
            return Err(Denial::Plain(Refusal::NotifyTableFull));
        }
        self.notifier.retain(Receiver::all(receiver.key), |_| false);
        self.queue.hold(receiver.key);
        Ok(())
    }

    /// No other Map-Request makes an association with this key: from now on that is on disk.
    fn note_proven(&mut self, used: UsedKey) {
        let gone = self.used.prove(used);
        self.note(Mark::UsedKey(used));
        self.note_gone(gone);
    }

    /// What was used is not remembered any more: the floor is on disk before it is gone from there.
    fn note_gone(&mut self, gone: Vec<(KeyFloor, UsedKey)>) {
        for (floor, used) in gone {
            self.note(Mark::KeyFloor(floor));
            self.note(Mark::ForgottenKey(used));
        }
    }

    /// A Map-Notify under the security association of the xTR (RFC 9437, sections 5, 6 and 7.1).
    fn notification(
        &self,
        key: &SubscriptionKey,
        agreement: &Agreement,
        records: Vec<MappingRecord>,
    ) -> Result<Notification, Refusal> {
        let subscriber = self.subscribers.get(&key.xtr).ok_or(Refusal::SubscribeUnknownXtr)?;
        let by = subscriber.key_of(agreement).ok_or(Refusal::SubscribeUnknownXtr)?;
        let bytes = seal(&by, agreement.nonce, records)?;
        Ok(Notification {
            owner: self.subscribers.place(&key.xtr),
            nonce: agreement.nonce,
            key: by,
            ways: agreement.ways.clone(),
            relays: Relays::default(),
            bytes,
            allowance: None,
        })
    }

    /// Takes a Map-Notify-Ack; `bytes` is the whole message. What it proves holds from now on.
    ///
    /// # Errors
    /// As [`Notifier::acknowledge`].
    pub fn acknowledge(&mut self, now: Now, from: IpAddr, message: &MapNotify, bytes: &[u8]) -> Result<(), Refusal> {
        let mut named = message.records.iter().map(|record| record.eid.ip_prefix());
        let named = named.next().flatten();
        let is_about = |receiver: &Receiver| named.is_none_or(|about| about == receiver.about);
        let (receiver, way) = self.notifier.acknowledge(from, message, bytes, is_about)?;
        let Receiver { key, about } = receiver;
        let is_confirmed = self.book.get(&key).is_some_and(|known| known.asked.is_some());
        if is_confirmed {
            // What it asked for itself makes the first change wait for nothing.
            self.notifier.retain(receiver..=receiver, |_| false);
        }
        let (mut is_proven, mut made_of) = (false, None);
        self.amend(now, &key, |subscription| {
            // An answer to what was said before proves nothing of what was asked for since.
            if subscription.is_of_asked(message.nonce.0) {
                subscription.proven = subscription.asked.take();
                is_proven = subscription.proven.is_some();
                made_of = subscription.proven.as_mut().and_then(|proven| proven.made_of.take());
            }
            if let Some(agreement) = subscription.agreement_mut() {
                // The way that works is the first to be tried.
                agreement.ways.sort_by_key(|other| *other != way);
            }
            subscription.silent_since = None;
            if about == key.prefix {
                subscription.told = subscription.sent;
            } else {
                subscription.parts.acknowledged(&about);
            }
            if subscription.is_memory() {
                (subscription.until, subscription.told, subscription.sent) = (None, None, None);
                subscription.proven.iter_mut().for_each(|proven| proven.key = None);
            }
        });
        if let Some(used) = made_of {
            self.note_proven(used);
        }
        if is_proven {
            let mut owed = self.owed.remove(&key).unwrap_or_default();
            let mode = self.book.get(&key).map_or(Mode::Gone, Subscription::mode);
            if mode == Mode::Gone {
                // What is withdrawn inside of it, and was not acknowledged, the xTR may have still.
                owed.extend(self.queue.of(key).filter(|to| to.about != key.prefix).map(|to| (to.about, true)));
                self.tell_around(now, &key, &owed);
            }
            if mode != Mode::Publish {
                self.silence(key);
                return Ok(());
            }
            self.queue.release(key);
            // That is what was acknowledged.
            owed.remove(&about);
            if !owed.is_empty() && self.book.get(&key).is_some_and(|known| known.is_foreign) {
                self.watches.hurry(now.monotonic, key.prefix);
                return Ok(());
            }
            for about in owed.into_keys() {
                let content = Content::Registered { is_exact: about != key.prefix };
                self.enqueue(now, now.monotonic, Receiver { key, about }, content);
            }
        }
        Ok(())
    }

    /// What is registered for `prefix` has changed: its subscribers are to be told (RFC 9437, section 6).
    pub fn changed(&mut self, now: Now, server: &MapServer, prefix: EidPrefix) {
        let at = server.told_to_subscribers_at(now.monotonic, &prefix);
        for key in self.book.concerned(&prefix) {
            let about = if key.prefix.covers(&prefix) { prefix } else { key.prefix };
            if self.book.get(&key).is_some_and(|known| known.is_foreign) {
                self.amend(now, &key, |subscription| subscription.is_foreign = false);
            }
            let content = Content::Registered { is_exact: about == prefix };
            self.enqueue(now, at, Receiver { key, about }, content);
        }
        for key in self.book.in_doubt(&prefix) {
            self.owe(now, Receiver { key, about: prefix });
        }
        // Wider ones, which are told nothing of it, may have nothing left in them, or something again.
        for key in self.book.covering(&prefix) {
            let is_temporary = !answer::is_present(server, &key.prefix);
            let until = self.book.get(&key).and_then(|known| known.until);
            if until.is_some() != is_temporary && !self.is_configured(&key) {
                let until = is_temporary.then(|| now.monotonic + self.policy.temporary);
                self.amend(now, &key, |subscription| subscription.until = until);
            }
        }
    }

    /// Subscriptions that are more than a remembered nonce.
    pub fn len(&self) -> usize {
        self.book.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.book.is_empty()
    }

    /// All of them, remembered nonces among them.
    pub fn iter(&self) -> impl Iterator<Item = (SubscriptionKey, &Subscription)> + '_ {
        self.book.iter()
    }

    /// Those after `key` in an order; all of them after none.
    pub fn after(&self, key: Option<SubscriptionKey>) -> impl Iterator<Item = (SubscriptionKey, &Subscription)> + '_ {
        self.book.after(key)
    }

    /// The xTR of these numbers, as configured.
    pub fn subscriber(&self, xtr: &XtrIdentity) -> Option<&Subscriber> {
        self.subscribers.get(xtr)
    }

    /// Changes a subscription, if it is there.
    fn amend(&mut self, now: Now, key: &SubscriptionKey, change: impl FnOnce(&mut Subscription)) {
        if let Some(mut subscription) = self.book.get(key).cloned() {
            change(&mut subscription);
            self.store(now, *key, subscription);
        }
    }

    /// Keeps a subscription, here and on disk.
    fn store(&mut self, now: Now, key: SubscriptionKey, subscription: Subscription) {
        let is_quiet = subscription.asked.is_none() && subscription.mode() != Mode::Publish;
        self.put(now, key, subscription);
        if is_quiet {
            self.unmute(now, &key);
        }
        while let Some(oldest) = self.book.surplus(&key.xtr, SUBSCRIPTION_MEMORIES) {
            self.forget(now, &oldest);
        }
    }

    /// Keeps a subscription, whatever that means for its muted parts.
    fn put(&mut self, now: Now, key: SubscriptionKey, mut subscription: Subscription) {
        let older = self.book.get(&key).map(|older| (older.until, older.asked_since));
        let (until, since) = older.unwrap_or_default();
        until.map(|until| self.ends.remove(&(until, key)));
        since.map(|since| self.unproven.remove(&(since, key)));
        subscription.asked_since = subscription.asked.as_ref().map(|_| since.unwrap_or(now.monotonic));
        subscription.asked_since.map(|since| self.unproven.insert((since, key)));
        subscription.until.map(|until| self.ends.insert((until, key)));
        self.note(Mark::Subscription(Box::new(subscription.kept(&key, wall_seconds(now, subscription.until)))));
        self.book.put(key, subscription);
    }

    /// Where there is no subscription any more there is nothing to be muted.
    fn unmute(&mut self, now: Now, gone: &SubscriptionKey) {
        for orphan in self.book.orphans(gone) {
            self.retire(now, &orphan);
        }
    }

    /// Keeps nothing of a subscription.
    fn forget(&mut self, now: Now, key: &SubscriptionKey) {
        if let Some(gone) = self.book.remove(key) {
            gone.until.map(|until| self.ends.remove(&(until, *key)));
            gone.asked_since.map(|since| self.unproven.remove(&(since, *key)));
            self.note(Mark::ForgottenSubscription(*key));
        }
        self.silence(*key);
        self.unmute(now, key);
    }

    /// Says nothing more of what was to be said.
    fn silence(&mut self, key: SubscriptionKey) {
        self.queue.clear(key);
        self.owed.remove(&key);
        self.notifier.retain(Receiver::all(key), |_| false);
        self.said.forget(Receiver::all(key));
    }
}

/// A moment as seconds since 1970.
fn wall_seconds(now: Now, at: Option<Instant>) -> Option<u64> {
    let wall = now.wall + at?.saturating_duration_since(now.monotonic);
    Some(wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn seal(key: &AuthKey, nonce: u64, records: Vec<MappingRecord>) -> Result<Vec<u8>, Refusal> {
    let message = MapNotify { nonce: Nonce(nonce), records, ..MapNotify::default() };
    let sealed = auth::seal(&ControlMessage::MapNotify(message), key, TagForm::Truncated);
    sealed.map_err(|_| Refusal::NotEncodable)
}
