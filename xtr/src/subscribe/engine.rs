// SPDX-License-Identifier: GPL-2.0-or-later
//! The subscribing engine: one subscription for each mapping in use.

mod told;
mod unasked;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::address::EidPrefix;
use wire::control::lispsec::OneTimeKey;
use wire::control::{MapNotify, MapReply, Nonce, XtrIdentity};
use wire::record::{Action, MappingRecord};

use super::association::{Association, OneTime, Security};
use super::message::{Wish, encapsulated};
use super::nonce::Nonces;
use super::subscription::{State, Subscription};
use super::table::Table;
use super::unasked::{Configured, Told};
use super::{Counts, limits};
use crate::last_nonces::LastNonces;
use crate::pause::Pause;
use crate::reach::Budget;
use crate::refusal::{Refusal, Tally};
use crate::resolve::sec_refusal;
use crate::transport::{Destination, Outgoing, Via, turned};
pub(super) use told::ACCEPTED;

/// What the engine is made of.
#[derive(Debug)]
pub struct Config {
    /// xTR-ID and Site-ID, by which the Map-Server knows us (RFC 9437, section 3).
    pub identity: XtrIdentity,
    /// Where mappings are subscribed to, asked in turn; none = nowhere.
    pub associations: Vec<Association>,
    /// All numbers in nonces will be above this one.
    pub nonce_floor: Nonce,
    /// Entropy for nonces.
    pub seed: [u8; 32],
    /// Subscriptions that the operator has made (RFC 9437, section 5).
    pub configured: Vec<Configured>,
    /// Whether is taken what is not subscribed to, if it is under the key of an association (RFC 9437, section 5).
    pub takes_unsubscribed: bool,
}

/// What the engine wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Write the bound to disk before anything after it is sent.
    PersistNonce(Nonce),
    /// Keep these last nonces of what is told unasked on disk: what [`Subscriber::has_been_told`] takes.
    PersistTold(Vec<(Told, Nonce)>),
    /// Send a Map-Request, or a Map-Notify-Ack.
    Send(Outgoing),
    /// What a Map-Server says of these EID-prefixes goes into the map-cache, if it may.
    Install {
        /// How it came.
        via: Via,
        /// What was asked for, if it answers a Map-Request.
        asked: Option<EidPrefix>,
        /// Whether what is known already lives longer by that.
        extends: bool,
        /// Whether it came under a key that LISP-SEC has made (RFC 9437, section 7.1).
        proven: bool,
        /// The mappings.
        records: Vec<MappingRecord>,
    },
    /// Nobody tells of changes of this mapping any more: it is to be asked for.
    Poll(EidPrefix),
}

/// How a Map-Request is sent.
#[derive(Debug)]
struct Way {
    /// By which association.
    by: usize,
    to: Destination,
    /// Where Map-Notifies can be sent: of each address family first to the locator that a Map-Request over it leaves from.
    rlocs: Vec<IpAddr>,
}

/// Subscribes to mappings in use.
#[derive(Debug)]
pub struct Subscriber {
    identity: XtrIdentity,
    associations: Vec<Association>,
    rlocs: Vec<IpAddr>,
    /// The turn of our locators in which a subscription was confirmed last.
    uplink: usize,
    own: Vec<EidPrefix>,
    table: Table,
    /// Whose Map-Request had which nonce.
    asked: BTreeMap<u64, EidPrefix>,
    nonces: Nonces,
    random: StdRng,
    budget: Budget,
    configured: Vec<Configured>,
    takes_unsubscribed: bool,
    /// The last nonces of what is told unasked.
    last_told: LastNonces<Told>,
    /// When a replay was last logged.
    replay_logged: Pause,
    counts: Counts,
    outputs: VecDeque<Output>,
    tally: Tally,
}

impl Subscriber {
    /// Subscribes from `rlocs`; EIDs in `own` are not subscribed to.
    pub fn new(now: Instant, config: Config, rlocs: Vec<IpAddr>, own: Vec<EidPrefix>) -> Self {
        let Config { identity, associations, nonce_floor, seed, configured, takes_unsubscribed } = config;
        let mut subscriber = Self {
            identity,
            associations,
            rlocs,
            uplink: 0,
            own,
            table: Table::default(),
            asked: BTreeMap::new(),
            nonces: Nonces::above(nonce_floor),
            random: StdRng::from_seed(seed),
            budget: Budget::new(now, limits::REQUESTS_PER_SECOND),
            configured,
            takes_unsubscribed,
            last_told: LastNonces::new(limits::TOLD_NONCES),
            replay_logged: Pause::default(),
            counts: Counts::default(),
            outputs: VecDeque::new(),
            tally: Tally::default(),
        };
        subscriber.make_configured(now, |_| true);
        subscriber
    }

    /// One that subscribes to nothing.
    pub fn off(now: Instant) -> Self {
        let identity = XtrIdentity::default();
        let config = Config {
            identity,
            associations: Vec::new(),
            nonce_floor: Nonce(0),
            seed: [0; 32],
            configured: Vec::new(),
            takes_unsubscribed: false,
        };
        Self::new(now, config, Vec::new(), Vec::new())
    }

    /// Whether it subscribes to anything.
    pub fn is_on(&self) -> bool {
        !self.associations.is_empty()
    }

    /// Whether a Map-Notify is about a mapping of others: "an EID not local to the xTR" (RFC 9437, section 6), under a nonce that
    /// began here, or that is told unasked. `is_answer` says that its nonce is that of a Map-Register, or may be that of one of a former run.
    pub fn takes(&self, message: &MapNotify, is_answer: bool) -> bool {
        let mut eids = message.records.iter().filter_map(|record| record.eid.ip_prefix());
        let is_local = |eid: &EidPrefix| self.own.iter().any(|own| own.covers(eid));
        let is_wanted = |eid: &EidPrefix| {
            let is_taken = self.takes_unsubscribed && !is_answer;
            is_taken || self.table.covering_that(eid, Subscription::is_told_only).is_some()
        };
        let is_ours = Nonces::is_ours(message.nonce);
        self.is_on() && eids.any(|eid| !is_local(&eid) && (is_ours || is_wanted(&eid)))
    }

    /// Takes a Map-Notify; `payload` is the whole message.
    pub fn notify(&mut self, now: Instant, via: Via, message: &MapNotify, payload: &[u8]) {
        if let Err(refusal) = self.on_notify(now, via, message, payload) {
            if refusal == Refusal::NotifyReplayed {
                self.warn_of_replay(now, message);
            }
            self.tally.count(refusal);
        }
    }

    /// Takes a Map-Reply, if it answers a Map-Request with the N-bit: then there is no subscription (RFC 9437, section 5). `payload` is the
    /// whole message, which LISP-SEC protects if the Map-Request was to make a security association by it (section 7.1).
    pub fn reply(&mut self, now: Instant, message: &MapReply, payload: &[u8]) -> bool {
        let Some(prefix) = self.asked.get(&message.nonce.0).copied() else { return false };
        let one_time = self.table.get(&prefix).and_then(|known| known.one_time(message.nonce.0));
        let proven = match one_time.map(|one_time| one_time.opens(payload)).transpose() {
            Ok(proven) => proven,
            Err(error) => {
                self.tally.count(sec_refusal(&error));
                return true;
            }
        };
        let message = proven.as_ref().map_or(message, |proven| &proven.reply);
        let Some(mut subscription) = self.take(&prefix) else { return true };
        self.counts.refused += 1;
        if subscription.state == State::Leaving {
            return true;
        }
        let is_denied = message.records.iter().any(|record| {
            record.locators.is_empty() && matches!(record.action, Action::DropPolicyDenied | Action::DropAuthFailure)
        });
        // Another one-time key may make the security association (RFC 9437, section 7.1).
        let is_key = proven.is_some() && message.records.iter().any(|of| of.action == Action::DropAuthFailure);
        let was_live = subscription.is_live();
        let pause = if is_key { limits::ENDED_PAUSE } else { limits::FIRST_PAUSE };
        subscription.failed(now, if is_denied { State::Denied } else { State::Refused }, pause);
        self.put(prefix, subscription);
        if was_live {
            self.outputs.push_back(Output::Poll(prefix));
        }
        true
    }

    /// The map-cache has this mapping now, until then; `has_locators` says whether packets go anywhere.
    pub fn installed(&mut self, now: Instant, prefix: EidPrefix, expires: Instant, has_locators: bool) {
        if !self.is_on() || !has_locators {
            return;
        }
        if let Some(mut subscription) = self.take(&prefix) {
            subscription.expires = expires;
            if subscription.state == State::Leaving {
                subscription.hurry(now, State::Asked);
            }
            return self.put(prefix, subscription);
        }
        let around = self.table.covering(&prefix);
        if let Some(wider) = around.filter(|wider| self.table.get(wider).is_some_and(Subscription::is_live)) {
            if let Some(mut subscription) = self.take(&wider) {
                subscription.expires = subscription.expires.max(expires);
                self.put(wider, subscription);
            }
            return;
        }
        if self.table.len() >= limits::SUBSCRIPTIONS {
            return self.tally.count(Refusal::SubscriptionTableFull);
        }
        self.put(prefix, Subscription::new(now, expires, 0));
    }

    /// The map-cache has this mapping no longer. It is listened for a while more: it may come again.
    pub fn removed(&mut self, now: Instant, prefix: &EidPrefix) {
        if let Some(mut subscription) = self.take(prefix) {
            subscription.expires = subscription.expires.min(now + limits::TEMPORARY);
            self.put(*prefix, subscription);
        }
    }

    /// A mapping in use is about to expire: whether it is asked for here, by which its subscription is renewed.
    pub fn refresh(&mut self, now: Instant, prefix: &EidPrefix) -> bool {
        let is_asked_for = |known: &Subscription| known.is_live() && !known.is_told_only();
        let is_live = self.table.get(prefix).is_some_and(is_asked_for);
        if is_live && let Some(mut subscription) = self.take(prefix) {
            subscription.is_used = true;
            if subscription.state == State::Subscribed {
                subscription.hurry(now, State::Asked);
            }
            self.put(*prefix, subscription);
        }
        is_live
    }

    /// Our locators changed: each Map-Server hears where Map-Notifies can be sent now (RFC 9437, section 5), and one that did not answer is
    /// asked again. Where there is none left that waits for one.
    pub fn set_rlocs(&mut self, now: Instant, rlocs: Vec<IpAddr>) {
        self.rlocs = rlocs;
        if !self.rlocs.is_empty() {
            self.ask_for_all(now);
        }
    }

    /// The machine has slept: Map-Servers to which nothing was acknowledged meanwhile have ended subscriptions (RFC 9437, section 6).
    pub fn slept(&mut self, now: Instant) {
        self.ask_for_all(now);
    }

    fn ask_for_all(&mut self, now: Instant) {
        for prefix in self.table.prefixes() {
            if let Some(mut subscription) = self.take(&prefix) {
                if matches!(subscription.state, State::Subscribed | State::Asked | State::Unanswered) {
                    subscription.hurry(now, State::Asked);
                }
                self.put(prefix, subscription);
            }
        }
    }

    /// Takes over the keys of associations with the same Map-Resolvers. Who has refused us, or whose answers did not verify, is asked
    /// anew; one that tells of changes tells of them under its new key.
    pub fn set_keys(&mut self, now: Instant, newer: &[Association]) {
        let (mut has_changed, mut renewed) = (false, Vec::new());
        for (index, (known, newer)) in self.associations.iter_mut().zip(newer).enumerate() {
            if known.resolver == newer.resolver && (&known.security, known.tag) != (&newer.security, newer.tag) {
                let id = |of: &Association| of.security.shared().map(|key| key.id);
                renewed.extend((id(known) != id(newer)).then_some(index));
                known.clone_from(newer);
                has_changed = true;
            }
        }
        if !has_changed {
            return;
        }
        self.begin_anew(now, &renewed);
        for prefix in self.table.prefixes() {
            if let Some(mut subscription) = self.take(&prefix) {
                subscription.is_of_former_key |= renewed.contains(&subscription.association);
                let by = self.associations.get(subscription.association);
                // What was made by LISP-SEC is of no use under a shared key, nor the other way round.
                let is_of_shared = by.is_some_and(|by| by.security.shared().is_some());
                let is_stale = subscription.key.is_some() == is_of_shared && !subscription.is_told_only();
                if (!subscription.is_live() || is_stale) && subscription.state != State::Leaving {
                    subscription.hurry(now, State::Asked);
                }
                self.put(prefix, subscription);
            }
        }
    }

    /// Our EID-prefixes changed.
    pub fn set_own(&mut self, own: Vec<EidPrefix>) {
        self.own = own;
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(prefix) = self.table.due(now) {
            if self.budget.next().is_some_and(|at| at > now) {
                // The others wait too: what is due first is sent first.
                return;
            }
            let Some(subscription) = self.take(&prefix) else { return };
            self.advance(now, prefix, subscription);
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let due = self.table.next()?;
        Some(self.budget.next().map_or(due, |tokens| tokens.max(due)))
    }

    /// How the mapping of an EID-prefix is kept up to date; `None` = it is polled, as all are without subscriptions.
    pub fn state(&self, prefix: &EidPrefix) -> Option<State> {
        let prefix = self.table.covering(prefix)?;
        self.table.get(&prefix).map(|subscription| subscription.state)
    }

    /// What was done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

// --- what time brings
impl Subscriber {
    /// What is due about one subscription, which is out of the table.
    fn advance(&mut self, now: Instant, prefix: EidPrefix, mut subscription: Subscription) {
        if subscription.state != State::Leaving && subscription.expires <= now {
            if subscription.confirmed.is_none() && subscription.asked().next().is_none() {
                return self.forget(&subscription);
            }
            subscription.hurry(now, State::Leaving);
        }
        match subscription.state {
            State::Leaving if subscription.tries >= limits::LEAVING_TRIES => return self.forget(&subscription),
            State::Asked if subscription.tries >= limits::TRIES => {
                tracing::debug!(%prefix, "no Map-Server answers a subscription: the mapping is polled");
                return self.poll_instead(now, prefix, subscription);
            }
            // Nothing is ever due about those.
            State::Configured | State::Unasked => return self.put(prefix, subscription),
            State::Asked | State::Leaving => {}
            State::Subscribed | State::Refused | State::Denied | State::Unanswered => {
                subscription.hurry(now, State::Asked);
            }
        }
        match self.way(&subscription) {
            Some(way) => {
                if let Err(refusal) = self.ask(now, prefix, &mut subscription, way) {
                    self.tally.count(refusal);
                }
                self.put(prefix, subscription);
            }
            None => {
                self.tally.count(Refusal::NoLocatorOfFamily);
                // Who leaves cannot say so.
                if subscription.state != State::Leaving {
                    self.poll_instead(now, prefix, subscription);
                }
            }
        }
    }

    fn poll_instead(&mut self, now: Instant, prefix: EidPrefix, mut subscription: Subscription) {
        if subscription.is_live() {
            self.outputs.push_back(Output::Poll(prefix));
        }
        subscription.unanswered(now);
        self.put(prefix, subscription);
    }

    /// The association that is asked next, and where. Whoever tells of changes is asked as long as he does: of another it would be a second
    /// subscription. Else all take turns to which there is a way. When all have been asked in vain it may be our own way to them.
    fn way(&self, subscription: &Subscription) -> Option<Way> {
        let is_one = subscription.is_live() || subscription.state == State::Leaving;
        let count = if is_one { 1 } else { self.associations.len() };
        let tries = subscription.tries as usize;
        // Of many not all are asked before each locator has its turn.
        let all = limits::TRIES as usize;
        let of_v4 = self.rlocs.iter().filter(|rloc| rloc.is_ipv4()).count();
        // Each family takes turns by itself.
        let uplinks = of_v4.max(self.rlocs.len() - of_v4).min(all);
        let turn = tries.checked_div(count)?.max(tries * uplinks / all);
        let rlocs = turned(&self.rlocs, self.uplink + turn);
        let to = |by: usize| Some((by, self.associations.get(by)?.resolver.destination(&rlocs)?));
        let next = subscription.asked_last() + usize::from(tries > 0);
        let (by, to) = match is_one {
            true => to(subscription.association)?,
            false => (0..count).find_map(|turn| to((next + turn) % count))?,
        };
        Some(Way { by, to, rlocs })
    }

    /// Sends the Map-Request. Each try has a nonce of its own, since a Map-Server drops what is not above the last in silence; the
    /// first is the one after the last, as RFC 9437, section 5, has it, and the others are above what may have been missed.
    fn ask(
        &mut self,
        now: Instant,
        prefix: EidPrefix,
        subscription: &mut Subscription,
        Way { by, to, rlocs }: Way,
    ) -> Result<(), Refusal> {
        // That there is one was looked at before.
        self.budget.take(now);
        let association = self.associations.get(by).ok_or(Refusal::NoLocatorOfFamily)?;
        let makes_key = matches!(association.security, Security::OneTime(_));
        let (nonce, bound) = match subscription.last {
            // That an association cannot be made may be because of the nonce.
            Some(last) if subscription.tries == 0 && !(makes_key && subscription.failures > 0) => {
                let nonce = last.saturating_add(1);
                (nonce, self.nonces.note(nonce))
            }
            _ => self.nonces.fresh(self.random.next_u64()),
        };
        if let Some(forgotten) =
            subscription.asked().next().filter(|_| subscription.asked().count() >= limits::OUTSTANDING)
        {
            self.asked.remove(&forgotten);
        }
        let one_time = makes_key.then(|| {
            let mut octets = [0; OneTimeKey::OCTETS];
            self.random.fill_bytes(&mut octets);
            OneTime::new(octets, nonce)
        });
        subscription.sent(now, nonce, by, one_time.clone());
        let is_leaving = subscription.state == State::Leaving;
        let wish = Wish { prefix, nonce, identity: self.identity, rlocs: &rlocs, is_leaving };
        let security = match (&association.security, one_time) {
            (Security::OneTime(wrapping), Some(key)) => Some(key.authentication(wrapping, nonce)),
            _ => None,
        };
        let bytes = security.transpose().and_then(|security| encapsulated(wish, security));
        let bytes = bytes.map_err(|_| Refusal::NotEncodable)?;
        self.asked.insert(nonce, prefix);
        self.counts.asked += 1;
        self.outputs.extend(bound.map(Output::PersistNonce));
        self.outputs.push_back(Output::Send(Outgoing { to, bytes }));
        Ok(())
    }

    /// Nothing that was asked for it is waited for any more.
    fn forget(&mut self, subscription: &Subscription) {
        for nonce in subscription.asked() {
            self.asked.remove(&nonce);
        }
    }

    fn take(&mut self, prefix: &EidPrefix) -> Option<Subscription> {
        let subscription = self.table.take(prefix)?;
        self.forget(&subscription);
        Some(subscription)
    }

    fn put(&mut self, prefix: EidPrefix, subscription: Subscription) {
        self.asked.extend(subscription.asked().map(|nonce| (nonce, prefix)));
        self.table.put(prefix, subscription);
    }

    /// A tenth sooner or later, so that what came together is not renewed together.
    fn renewal(&mut self, now: Instant) -> Instant {
        let tenth = limits::RENEW / 10;
        let spread = u32::try_from(self.random.next_u64() % 1000).unwrap_or_default();
        now + limits::RENEW - tenth + (2 * tenth).saturating_mul(spread) / 1000
    }
}
