// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions without a Map-Request (RFC 9437, section 5).

use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::{MapNotify, Nonce};

use super::{Nonces, Output, Subscriber};
use crate::refusal::Refusal;
use crate::subscribe::limits;
use crate::subscribe::subscription::{State, Subscription, is_farewell};
use crate::subscribe::unasked::{Configured, Told};

impl Subscriber {
    /// Was told these last nonces unasked in the run before ([`Output::PersistTold`]). Those of what is neither configured nor taken
    /// now are kept all the same.
    pub fn has_been_told(&mut self, now: Instant, kept: impl IntoIterator<Item = (Told, Nonce)>) {
        self.last_told.restore(kept);
        self.make_configured(now, |_| true);
        if !self.takes_unsubscribed {
            return;
        }
        for (told, nonce) in self.last_told.iter().collect::<Vec<_>>() {
            let by = |index: &usize| self.told(*index, told.prefix) == Some(told);
            let association = (0..self.associations.len()).find(by);
            if let Some(association) = association.filter(|at| self.make_room(now, *at, &told.prefix)) {
                self.put(told.prefix, Subscription::told_only(now, State::Unasked, association, nonce.0));
            }
        }
    }

    /// The operator has made these subscriptions from now on, and no others; what else is told is taken, or not. What is as before goes on,
    /// and the mapping of what is told no longer is asked for.
    pub fn set_unasked(&mut self, now: Instant, configured: Vec<Configured>, takes_unsubscribed: bool) {
        let before = std::mem::replace(&mut self.configured, configured);
        self.takes_unsubscribed = takes_unsubscribed;
        self.make_configured(now, |one| !before.contains(one));
        let is_over = |prefix: &EidPrefix, known: &Subscription| match known.state {
            State::Configured => !self.configured.iter().any(|one| one.prefix == *prefix),
            State::Unasked => !takes_unsubscribed,
            _ => false,
        };
        let over = self.table.iter().filter(|(prefix, known)| is_over(prefix, known));
        for prefix in over.map(|(prefix, _)| prefix).collect::<Vec<_>>() {
            self.give_up(now, &prefix);
        }
    }

    /// What was told unasked is not heard any more: its mapping is asked for, if there is one.
    fn give_up(&mut self, now: Instant, prefix: &EidPrefix) {
        if self.take(prefix).is_some_and(|known| !known.is_over(now)) {
            self.outputs.push_back(Output::Poll(*prefix));
        }
    }

    /// Puts in what is configured and meant. Under one Key ID a nonce never falls, whatever is configured; nor does it where there was a
    /// subscription under the same key already (RFC 9437, section 5). The mapping is that which was there.
    pub(super) fn make_configured(&mut self, now: Instant, is_meant: impl Fn(&Configured) -> bool) {
        let configured = self.configured.iter().filter(|one| is_meant(one)).copied();
        for one in configured.collect::<Vec<_>>() {
            let before = self.take(&one.prefix);
            let last = self.told(one.association, one.prefix).map_or(Nonce(0), |told| self.last_told.last(told));
            let key = |of: usize| self.associations.get(of).and_then(|of| of.security.shared());
            let is_same = |before: &&Subscription| {
                let is_of_key = before.key.is_none() && !before.is_of_former_key;
                !before.is_told_only() && is_of_key && key(before.association) == key(one.association)
            };
            let heard = before.as_ref().filter(is_same).and_then(Subscription::heard).unwrap_or_default();
            let nonce = one.nonce.max(last.0).max(heard);
            let mut made = Subscription::told_only(now, State::Configured, one.association, nonce);
            if let Some(before) = before {
                made.failures = if before.is_told_only() { before.failures } else { 0 };
                made.expires = before.expires;
                // It repeats its last word if it has not heard the acknowledgement of that.
                made.server = before.server.filter(|_| before.heard() == Some(nonce));
            }
            self.put(one.prefix, made);
            if heard > last.0 && nonce == heard {
                // The Map-Server goes on from there, after a start of ours too.
                self.remember(one.association, one.prefix, nonce);
            }
        }
    }

    /// Whether it may be of a subscription that was asked for and has ended, of which no last nonce is kept: what that said is signed with
    /// the same key.
    pub(super) fn may_be_of_former(&self, known: &Subscription, nonce: Nonce) -> bool {
        let is_below = known.last.is_none_or(|last| !Nonces::is_ours(Nonce(last)));
        known.is_told_only() && is_below && self.nonces.may_be_old(nonce)
    }

    /// These associations have another Key ID: what they tell unasked begins anew.
    pub(super) fn begin_anew(&mut self, now: Instant, renewed: &[usize]) {
        for prefix in self.table.prefixes() {
            let is_over = |known: &Subscription| known.state == State::Unasked && renewed.contains(&known.association);
            if self.table.get(&prefix).is_some_and(is_over) {
                self.give_up(now, &prefix);
            }
        }
        self.make_configured(now, |one| renewed.contains(&one.association));
    }

    /// A Map-Server tells of what is not subscribed to: where that is taken, it begins a subscription.
    pub(super) fn begin_unasked(
        &mut self,
        now: Instant,
        first: EidPrefix,
        message: &MapNotify,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let is_awaited = |known: &Subscription| matches!(known.state, State::Asked | State::Leaving);
        let mut eids = message.records.iter().map(|record| record.eid.ip_prefix());
        let is_whole = eids.all(|eid| eid.is_some_and(|eid| first.covers(&eid)));
        let is_ours = self.own.iter().any(|own| own.covers(&first) || first.covers(own));
        if !self.takes_unsubscribed || !is_whole || is_ours || self.table.get(&first).is_some_and(is_awaited) {
            return Err(Refusal::NotifyNotSubscribed);
        }
        let association =
            self.associations.iter().position(|association| association.signs(payload)).ok_or(Refusal::NotifyBadTag)?;
        if is_farewell(message) {
            return Err(Refusal::NotifyNotSubscribed);
        }
        let last = self.told(association, first).map_or(Nonce(0), |told| self.last_told.last(told));
        if message.nonce <= last {
            return Err(Refusal::NotifyReplayed);
        }
        // What a subscription that has ended said is signed with the same key, and no last nonce of it is kept.
        if last == Nonce(0) && self.nonces.may_be_old(message.nonce) {
            return Err(Refusal::NotifyReplayed);
        }
        if !self.make_room(now, association, &first) {
            return Err(Refusal::SubscriptionTableFull);
        }
        let floor = message.nonce.0.saturating_sub(1);
        self.take(&first);
        self.put(first, Subscription::told_only(now, State::Unasked, association, floor));
        Ok(())
    }

    /// Whether another subscription may begin that was not asked for, and is not configured. Each Map-Server has its share of them; where
    /// that is used up, the one gives its place up that ended first.
    fn make_room(&mut self, now: Instant, association: usize, prefix: &EidPrefix) -> bool {
        let told = |known: &Subscription| known.state == State::Unasked && known.association == association;
        let known = self.table.get(prefix);
        if known.is_some_and(|known| known.state == State::Configured || told(known)) {
            return known.is_some_and(told);
        }
        let share = limits::TOLD_ONLY / self.associations.len().max(1);
        let is_full = self.table.iter().filter(|(_, known)| told(known)).count() >= share;
        if !is_full && (known.is_some() || self.table.len() < limits::SUBSCRIPTIONS) {
            return true;
        }
        let ended = self.table.iter().filter(|(_, known)| told(known) && known.is_over(now));
        let Some((oldest, _)) = ended.min_by_key(|(_, known)| known.due) else { return false };
        self.take(&oldest);
        true
    }

    /// Has the last nonce of what is told unasked put on disk.
    pub(super) fn remember(&mut self, association: usize, prefix: EidPrefix, nonce: u64) {
        let Some(told) = self.told(association, prefix) else { return };
        let (table, associations) = (&self.table, &self.associations);
        // Not those of former keys, nor of other Map-Servers.
        let in_use = |told: &Told| {
            let known = table.get(&told.prefix).filter(|known| known.is_told_only());
            let by = known.and_then(|known| associations.get(known.association));
            by.is_some_and(|by| {
                Some((told.server, told.key_id)) == by.security.shared().map(|key| (by.resolver, key.id))
            })
        };
        let kept = self.last_told.note(told, Nonce(nonce), in_use);
        self.outputs.push_back(Output::PersistTold(kept));
    }

    fn told(&self, association: usize, prefix: EidPrefix) -> Option<Told> {
        let association = self.associations.get(association)?;
        let key_id = association.security.shared()?.id;
        Some(Told { server: association.resolver, key_id, prefix })
    }
}
