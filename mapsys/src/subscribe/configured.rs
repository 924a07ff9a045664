// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions that the operator makes, at this end and at the xTR (RFC 9437, section 5).
//!
//! No Map-Request begins one: its first nonce is configured, and the first Map-Notify has the next. Its xTR asks for nothing again, so
//! what it does not acknowledge is told again and again, and no silence ends it: it lasts as long as it is configured, or until its xTR
//! ends it, if that may.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, UNIX_EPOCH};

use wire::address::EidPrefix;
use wire::control::XtrIdentity;

use super::owed::tellers;
use super::queue::{Content, Receiver};
use super::subscription::{Agreement, Mode, Subscription, SubscriptionKey};
use super::{Subscriptions, answer, wall_seconds};
use crate::limits::{CONFIGURED_LONGEST, CONFIGURED_SHORTEST, PUBLICATION_PAUSE, SUBSCRIBER_WAYS};
use crate::register::MapServer;
use crate::transport::{Now, Way, may_send_to};

/// A subscription as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// What its xTR is told of.
    pub prefix: EidPrefix,
    /// The first nonce, as if a Map-Request had brought it.
    pub nonce: u64,
    /// The ITR-RLOCs, the first one first.
    pub rlocs: Vec<IpAddr>,
    /// Whether its xTR may not change or end it, or keep a part of it quiet.
    pub is_fixed: bool,
}

impl Subscriptions {
    /// Puts in what is configured, and ends what no longer is. Under one Key ID a nonce never falls, whatever is configured.
    pub(super) fn make_configured(&mut self, now: Now) {
        let all = self.subscribers.iter().flat_map(|subscriber| {
            let one = |one: &Configured| (SubscriptionKey { xtr: subscriber.xtr, prefix: one.prefix }, one.clone());
            subscriber.configured.iter().map(one)
        });
        let all: Vec<(SubscriptionKey, Configured)> = all.collect();
        let current: BTreeSet<SubscriptionKey> = all.iter().map(|(key, _)| *key).collect();
        let former = self.book.iter().filter(|(key, known)| known.is_configured && !current.contains(key));
        for key in former.map(|(key, _)| key).collect::<Vec<_>>() {
            self.amend(now, &key, |subscription| subscription.is_configured = false);
            self.end(now, &key);
        }
        for (key, configured) in all {
            self.make(now, key, &configured);
        }
    }

    fn make(&mut self, now: Now, key: SubscriptionKey, configured: &Configured) {
        let Some(subscriber) = self.subscribers.get(&key.xtr) else { return };
        let known = self.book.get(&key).cloned().unwrap_or_else(|| Subscription::new(subscriber.key_id()));
        let is_ended = known.proven.is_some() && known.proven_mode() == Mode::Gone;
        if known.is_configured && is_ended && !configured.is_fixed {
            // Its xTR has, and asks for it when it wants it again: what was asked for since may not be its own.
            return;
        }
        let on_disk = known.kept(&key, wall_seconds(now, known.until));
        let was_live = known.proven.as_ref().is_some_and(|proven| proven.mode == Mode::Publish);
        let mut ways: Vec<Way> = configured.rlocs.iter().filter_map(|rloc| self.way_to(*rloc)).collect();
        // A Map-Request may have named others since.
        let older = known.proven.iter().flat_map(|proven| proven.ways.iter().copied());
        ways.extend(older.filter(|way| !configured.rlocs.contains(&way.remote.ip())));
        ways.truncate(SUBSCRIBER_WAYS);
        if ways.is_empty() {
            tracing::warn!(
                prefix = %key.prefix, subscriber = subscriber.name,
                "a configured subscription has no ITR-RLOC that can be sent to from here: nobody is told"
            );
            return;
        }
        let nonce = known.proven.as_ref().map_or(configured.nonce, |proven| proven.nonce.max(configured.nonce));
        let proven =
            Some(Agreement { nonce, mode: Mode::Publish, asked: key.prefix.net, ways, key: None, made_of: None });
        let (told, sent) = if was_live { (known.told, known.sent) } else { (None, None) };
        let made = Subscription { proven, told, sent, until: None, is_foreign: false, is_configured: true, ..known };
        if made.told.is_none() {
            self.anew.insert((now.monotonic, key));
        }
        if made.kept(&key, None) != on_disk {
            self.put(now, key, made);
        }
    }

    /// Where an ITR-RLOC is told from.
    fn way_to(&self, rloc: IpAddr) -> Option<Way> {
        let local = self.sockets.towards(rloc, None).filter(|local| may_send_to(rloc, Some(*local)))?;
        Some(Way { local, remote: SocketAddr::new(rloc, wire::CONTROL_PORT) })
    }

    /// Nothing of it could be told, or nothing is left to be told by: all is told anew after a while.
    pub(super) fn rest(&mut self, now: Now, key: &SubscriptionKey) {
        self.silence(*key);
        self.amend(now, key, |subscription| {
            (subscription.told, subscription.sent, subscription.silent_since) = (None, None, None);
        });
        self.anew.insert((now.monotonic + CONFIGURED_LONGEST, *key));
    }

    /// How long it is before what was not acknowledged is told again: as long as the xTR has been silent, within bounds.
    pub(super) fn configured_pause(now: Now, subscription: &Subscription) -> Duration {
        let wall = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let silence = Duration::from_secs(wall.saturating_sub(subscription.silent_since.unwrap_or(wall)));
        silence.clamp(CONFIGURED_SHORTEST, CONFIGURED_LONGEST)
    }

    /// Tells all of those whose time has come.
    pub(super) fn tell_anew(&mut self, now: Now, server: &MapServer) {
        while let Some((_, key)) = self.anew.first().copied().filter(|(at, _)| *at <= now.monotonic) {
            self.anew.pop_first();
            let Some(known) = self.book.get(&key).filter(|known| known.is_configured) else { continue };
            if known.asked.as_ref().is_some_and(|asked| asked.mode != Mode::Publish) {
                // Not before it is known whether it is its xTR that wants to hear nothing more.
                self.anew.insert((now.monotonic + PUBLICATION_PAUSE, key));
                continue;
            }
            // Sites may not have registered yet that did before a restart.
            let settled = self.settled.max(now.monotonic);
            let inside = server.registrations().inside(&key.prefix).map(|(inner, _)| (inner, now.monotonic));
            let known = self.book.get(&key).into_iter().flat_map(|known| known.parts.iter());
            let gone = known.filter(|part| server.registrations().get(part).is_none()).map(|part| (part, settled));
            let parts: Vec<_> = inside.filter(|(inner, _)| *inner != key.prefix).chain(gone).collect();
            let at = if answer::is_present(server, &key.prefix) { now.monotonic } else { settled };
            let receiver = Receiver { key, about: key.prefix };
            self.enqueue(now, at, receiver, Content::Registered { is_exact: false });
            for (about, at) in parts {
                self.tell_of_part(now, at, Receiver { key, about });
            }
        }
    }

    /// Nobody withdraws what is not registered again after a restart: once all have had the time, this does.
    pub(super) fn tell_of_parts(&mut self, now: Now, server: &MapServer) {
        if self.parts_at.is_none_or(|at| at > now.monotonic) {
            return;
        }
        self.parts_at = None;
        for receiver in self.parts() {
            if server.registrations().get(&receiver.about).is_none() {
                self.tell_of_part(now, now.monotonic, receiver);
            }
        }
    }

    /// Tells the xTR of a part of what the operator has subscribed it to, or has that told when it is known whether it has ended that, muted the
    /// part, or subscribed to it itself. What another subscription tells of is left to that.
    fn tell_of_part(&mut self, now: Now, at: Instant, receiver: Receiver) {
        let Receiver { key, about } = receiver;
        for teller in tellers(self.book.lasting(key.xtr, &about)) {
            if !teller.is_in_doubt {
                if teller.key == key {
                    self.enqueue(now, at, receiver, Content::Registered { is_exact: true });
                }
            } else if at > now.monotonic {
                // Then all parts that are gone are told of.
                self.parts_at.get_or_insert(at);
            } else {
                self.owe(now, Receiver { key: teller.key, about });
            }
        }
    }

    /// What xTRs may have inside what the operator has subscribed them to.
    pub(super) fn parts(&self) -> Vec<Receiver> {
        let configured = self.book.iter().filter(|(_, known)| known.is_configured && known.may_be(Mode::Publish));
        configured.flat_map(|(key, known)| known.parts.iter().map(move |about| Receiver { key, about })).collect()
    }

    /// Whether a wish to change or end it, or a part of it, is against what is configured.
    pub(super) fn is_fixed(&self, xtr: &XtrIdentity, prefix: &EidPrefix) -> bool {
        let around = self.book.longest(xtr, prefix).filter(|(_, known)| known.is_configured);
        let configured =
            self.subscribers.get(xtr).map(|subscriber| subscriber.configured.as_slice()).unwrap_or_default();
        around.is_some_and(|(key, _)| configured.iter().any(|one| one.prefix == key.prefix && one.is_fixed))
    }

    /// Whether a subscription is one that the operator has made.
    pub(super) fn is_configured(&self, key: &SubscriptionKey) -> bool {
        self.book.get(key).is_some_and(|known| known.is_configured)
    }

    /// When [`Self::tell_anew`] has something to do.
    pub(super) fn next_anew(&self) -> Option<Instant> {
        self.anew.first().map(|(at, _)| *at)
    }
}
