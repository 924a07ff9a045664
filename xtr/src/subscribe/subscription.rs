// SPDX-License-Identifier: GPL-2.0-or-later
//! The state of one subscription, and what is news to it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::address::EidPrefix;
use wire::control::auth::AuthKey;
use wire::control::{MapNotify, Nonce};
use wire::record::Action;

use super::association::OneTime;
use super::limits;

/// How a mapping is kept up to date, for `show map-cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has been asked for, and is not confirmed.
    Asked,
    /// The Map-Server tells of changes.
    Subscribed,
    /// It is polled: the answer was a Map-Reply.
    Refused,
    /// It is polled: policy or authentication forbid a subscription.
    Denied,
    /// It is polled: nobody has answered.
    Unanswered,
    /// It is being given back.
    Leaving,
    /// The Map-Server tells of changes: the operator has made the subscription at both ends (RFC 9437, section 5).
    Configured,
    /// The Map-Server tells of changes, of its own accord.
    Unasked,
}

impl State {
    /// As `show map-cache` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Subscribed => "subscribed",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Unanswered => "unanswered",
            Self::Leaving => "leaving",
            Self::Configured => "configured",
            Self::Unasked => "unasked",
        }
    }
}

/// What a nonce is, in the order of the EID-prefix that it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Above all before it.
    News,
    /// The very last one: the Map-Server has not had our acknowledgement.
    Again,
    /// Below that.
    Old,
}

/// A Map-Request that a Map-Notify may confirm.
#[derive(Debug, Clone)]
struct Asked {
    nonce: u64,
    /// The association that it was sent by.
    association: usize,
    /// Its one-time key, if that is to make the security association.
    one_time: Option<OneTime>,
}

/// One subscription.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) state: State,
    /// When something is to be done about it. Of one that is told of unasked: when it last was.
    pub(super) due: Instant,
    /// When its mapping ends unless it is told again: then nobody uses it.
    pub(super) expires: Instant,
    /// Whether packets have asked for it since it was confirmed last: then its mapping lives on.
    pub(super) is_used: bool,
    /// The association of who tells of changes; without a subscription, the one that it was asked for with last.
    pub(super) association: usize,
    /// The key that LISP-SEC has made for what is told; `None`: that of the association.
    pub(super) key: Option<AuthKey>,
    /// What a Map-Notify may confirm, oldest first.
    asked: VecDeque<Asked>,
    /// Map-Requests sent since the last answer.
    pub(super) tries: u32,
    /// Refusals, silences and ends in a row.
    pub(super) failures: u32,
    /// The highest nonce that was used for it, by either end.
    pub(super) last: Option<u64>,
    /// The nonce of the Map-Request that was confirmed: Map-Notifies are above it.
    floor: Option<u64>,
    /// When it was confirmed last; `None` also when that was asked for again in vain.
    pub(super) confirmed: Option<Instant>,
    /// The last nonce of each EID-prefix that a Map-Notify was about (RFC 9437, section 6).
    told: BTreeMap<EidPrefix, u64>,
    /// The Map-Server that tells.
    pub(super) server: Option<SocketAddr>,
    /// Whether all that was heard came under a Key ID that its association has no longer.
    pub(super) is_of_former_key: bool,
}

impl Subscription {
    /// One that is to be asked for now.
    pub(super) fn new(now: Instant, expires: Instant, association: usize) -> Self {
        Self {
            state: State::Asked,
            due: now,
            expires,
            is_used: true,
            association,
            key: None,
            asked: VecDeque::new(),
            tries: 0,
            failures: 0,
            last: None,
            floor: None,
            confirmed: None,
            told: BTreeMap::new(),
            server: None,
            is_of_former_key: false,
        }
    }

    /// One that is told of without a Map-Request, above this nonce.
    pub(super) fn told_only(now: Instant, state: State, association: usize, nonce: u64) -> Self {
        Self { state, last: Some(nonce), floor: Some(nonce), ..Self::new(now, now, association) }
    }

    /// When it is to be looked at, if ever.
    pub(super) fn at(&self) -> Option<Instant> {
        match self.state {
            State::Configured | State::Unasked => None,
            State::Leaving => Some(self.due),
            _ => Some(self.due.min(self.expires)),
        }
    }

    /// Whether it is told of without being asked for, and so never asked for, nor given back.
    pub(super) fn is_told_only(&self) -> bool {
        matches!(self.state, State::Configured | State::Unasked)
    }

    /// Whether what is told of unasked has ended: the Map-Server has said so, or there is no mapping of it any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.is_told_only() && (self.failures > 0 || self.expires <= now)
    }

    /// Whether the Map-Server tells of changes, as far as we know: also while it is asked for again.
    pub(super) fn is_live(&self) -> bool {
        let is_confirmed = self.confirmed.is_some() && matches!(self.state, State::Asked | State::Subscribed);
        is_confirmed || self.is_told_only()
    }

    /// Whether a change counts that the Map-Server tells of: also where it has not answered for a while, and the mapping is polled. It may
    /// have the subscription all the same, and its nonces go on (RFC 9437, section 6).
    pub(super) fn is_heard(&self) -> bool {
        self.floor.is_some() && self.state != State::Leaving
    }

    /// The association that it was asked for with last.
    pub(super) fn asked_last(&self) -> usize {
        self.asked.back().map_or(self.association, |asked| asked.association)
    }

    /// Nonces that a Map-Notify may confirm, oldest first.
    pub(super) fn asked(&self) -> impl Iterator<Item = u64> + '_ {
        self.asked.iter().map(|asked| asked.nonce)
    }

    /// The association of who answers the Map-Request with this nonce.
    pub(super) fn asked_by(&self, nonce: u64) -> Option<usize> {
        self.asked.iter().find(|asked| asked.nonce == nonce).map(|asked| asked.association)
    }

    /// The one-time key of the Map-Request with this nonce.
    pub(super) fn one_time(&self, nonce: u64) -> Option<&OneTime> {
        self.asked.iter().find(|asked| asked.nonce == nonce)?.one_time.as_ref()
    }

    /// The nonce of the Map-Request that a Map-Notify follows from. Under a key that LISP-SEC makes a change may overtake the confirmation:
    /// then it is known by that key.
    pub(super) fn answers(&self, nonce: u64, payload: &[u8]) -> Option<u64> {
        let is_answered = |asked: &&Asked| match &asked.one_time {
            Some(one_time) => asked.nonce <= nonce && one_time.signs(payload).is_some(),
            None => asked.nonce == nonce,
        };
        self.asked.iter().rev().find(is_answered).map(|asked| asked.nonce)
    }

    /// Notes a Map-Request, and by which association it was sent.
    pub(super) fn sent(&mut self, now: Instant, nonce: u64, association: usize, one_time: Option<OneTime>) {
        self.due = now + limits::FIRST_RETRY.saturating_mul(1 << (self.tries / 2).min(6));
        self.tries = self.tries.saturating_add(1);
        self.used(nonce);
        if self.asked.len() == limits::OUTSTANDING {
            self.asked.pop_front();
        }
        if self.floor.is_none() {
            self.association = association;
        }
        self.asked.push_back(Asked { nonce, association, one_time });
    }

    fn used(&mut self, nonce: u64) {
        self.last = Some(self.last.map_or(nonce, |last| last.max(nonce)));
    }

    /// Notes a confirmation: what was asked before it is not waited for any more. `renew` is when it is asked for again.
    pub(super) fn confirm(&mut self, now: Instant, nonce: u64, renew: Instant, server: SocketAddr) {
        if self.confirmed.is_some_and(|at| now.saturating_duration_since(at) >= limits::RENEW / 2) {
            // It has lasted.
            self.failures = 0;
        }
        self.association = self.asked_by(nonce).unwrap_or(self.association);
        self.used(nonce);
        self.floor = Some(self.floor.map_or(nonce, |floor| floor.max(nonce)));
        self.told.retain(|_, told| *told > nonce);
        self.asked.retain(|asked| asked.nonce > nonce);
        (self.state, self.due, self.tries) = (State::Subscribed, renew, 0);
        (self.confirmed, self.server) = (Some(now), Some(server));
        self.is_of_former_key = false;
    }

    /// Another association begins, of which this is the key: what was said under the former one is older, whatever its nonces.
    pub(super) fn begin_under(&mut self, key: Option<AuthKey>) {
        if key.is_some() && key != self.key {
            self.floor = None;
            self.told.clear();
        }
        self.key = key;
    }

    /// Whether no count of changes leads to this nonce. A Map-Server takes it from whoever writes our address into a Map-Request, and tells us:
    /// to acknowledge that would be to subscribe so, and no higher nonce may be left for us. Who tells unasked begins where he likes.
    pub(super) fn is_ahead(&self, nonce: u64) -> bool {
        let most = self.last.unwrap_or_default().saturating_add(Nonce::SUBSCRIPTION);
        !self.is_told_only() && nonce > most
    }

    /// The highest nonce that the Map-Server has told something under, or has confirmed, while it tells of changes.
    pub(super) fn heard(&self) -> Option<u64> {
        self.told.values().copied().max().max(self.floor)
    }

    /// What a nonce is to what was said of `eid` before.
    pub(super) fn order(&self, eid: &EidPrefix, nonce: u64) -> Option<Order> {
        let last = self.told.get(eid).copied().max(self.floor)?;
        Some(match nonce.cmp(&last) {
            std::cmp::Ordering::Greater => Order::News,
            std::cmp::Ordering::Equal => Order::Again,
            std::cmp::Ordering::Less => Order::Old,
        })
    }

    /// Notes what was told of `eid`.
    pub(super) fn told(&mut self, eid: EidPrefix, nonce: u64) {
        self.used(nonce);
        self.is_of_former_key = false;
        if !self.told.contains_key(&eid) && self.told.len() >= limits::PUBLISHED_PREFIXES {
            // Too many to be told apart: what is older than the newest counts as old.
            self.floor = self.last;
            self.told.clear();
        }
        self.told.insert(eid, nonce);
    }

    /// There is no subscription any more, or none yet: when it is tried again.
    pub(super) fn failed(&mut self, now: Instant, state: State, first: Duration) {
        self.pauses(now, state, first);
        (self.floor, self.server, self.key) = (None, None, None);
        self.told.clear();
        self.asked.clear();
    }

    /// Nobody has answered. Where there is a subscription the Map-Server may have it still: what it says is heard, by the nonces that it has
    /// reached. Where there is none a late confirmation is older than what was polled meanwhile, and begins nothing.
    pub(super) fn unanswered(&mut self, now: Instant) {
        if self.floor.is_some() {
            self.pauses(now, State::Unanswered, limits::SILENT_PAUSE);
        } else {
            self.failed(now, State::Unanswered, limits::FIRST_PAUSE);
        }
    }

    fn pauses(&mut self, now: Instant, state: State, first: Duration) {
        let pause = first.saturating_mul(1 << self.failures.min(12)).min(limits::LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        (self.state, self.due, self.tries, self.confirmed) = (state, now + pause, 0, None);
    }

    /// It is asked for at once.
    pub(super) fn hurry(&mut self, now: Instant, state: State) {
        if (state == State::Leaving) != (self.state == State::Leaving) {
            // What confirms the one does not confirm the other.
            self.asked.clear();
        }
        (self.state, self.due, self.tries) = (state, now, 0);
    }
}

/// Whether a Map-Notify says that the Map-Server has ended the subscription: one record without locators, Drop/Auth-Failure
/// (RFC 9437, section 5).
pub(super) fn is_farewell(message: &MapNotify) -> bool {
    matches!(message.records.as_slice(), [only] if only.locators.is_empty() && only.action == Action::DropAuthFailure)
}
