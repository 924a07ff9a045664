// SPDX-License-Identifier: GPL-2.0-or-later
//! What Map-Servers say: confirmations, changes, and ends.

use std::net::SocketAddr;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, AuthKey, TagForm};
use wire::control::{ControlMessage, MapNotify};
use wire::record::MappingRecord;

use super::{Association, Output, Subscriber};
use crate::refusal::Refusal;
use crate::subscribe::limits;
use crate::subscribe::subscription::{Order, State, Subscription, is_farewell};
use crate::transport::{Destination, Outgoing, Via, turn_of};

/// Deployed Map-Servers send the whole HMAC. It covers all that is said, or counts as none.
pub(in crate::subscribe) const ACCEPTED: Accept = Accept { untruncated: true, narrow_coverage: false };

impl Subscriber {
    pub(super) fn on_notify(
        &mut self,
        now: Instant,
        via: Via,
        message: &MapNotify,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let Via::Socket { local, remote } = via else { return Err(Refusal::NotifyUnasked) };
        // Deployed Map-Servers echo whom it is for.
        if message.xtr_identity.is_some_and(|identity| identity != self.identity) {
            return Err(Refusal::NotifyNotSubscribed);
        }
        let eids: Vec<EidPrefix> = message.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
        let first = *eids.first().ok_or(Refusal::NotifyNotSubscribed)?;
        let (answered, of_nonce) = self.answered(&first, message.nonce.0, payload).unzip();
        let verifies = |by: &Association| by.signs(payload);
        // What is told unasked may be told by another Map-Server next time.
        let tells = |known: &Subscription| {
            known.is_heard()
                && (known.state != State::Unasked || self.associations.get(known.association).is_some_and(verifies))
        };
        if answered.is_none() && self.table.covering_that(&first, tells).is_none() {
            self.begin_unasked(now, first, message, payload)?;
        }
        let telling = || self.telling(&first, remote, message, payload);
        let prefix = answered.or_else(telling).ok_or(Refusal::NotifyNotSubscribed)?;
        let known = self.table.get(&prefix).ok_or(Refusal::NotifyNotSubscribed)?;
        let is_about =
            |eid: &EidPrefix| prefix.covers(eid) || answered.is_some() && *eid == first && eid.covers(&prefix);
        let is_inside = eids.iter().all(|eid| is_about(eid) || answered.is_some() && first.covers(eid));
        if !is_about(&first) || !is_inside || answered.is_none() && !known.is_heard() {
            return Err(Refusal::NotifyNotSubscribed);
        }
        let by = of_nonce.and_then(|nonce| known.asked_by(nonce)).unwrap_or(known.association);
        let association = self.associations.get(by).ok_or(Refusal::NotifyNotSubscribed)?;
        let made = match of_nonce.and_then(|nonce| known.one_time(nonce)) {
            Some(one_time) => Some(one_time.signs(payload).ok_or(Refusal::NotifyBadTag)?),
            None => known.key.clone().filter(|_| of_nonce.is_none()),
        };
        let key = made.as_ref().or(association.security.shared()).ok_or(Refusal::NotifyBadTag)?.clone();
        auth::verify(payload, &key, ACCEPTED).map_err(|_| Refusal::NotifyBadTag)?;
        if known.is_ahead(message.nonce.0) {
            return Err(Refusal::NotifyNonceAhead);
        }
        if self.may_be_of_former(known, message.nonce) {
            return Err(Refusal::NotifyReplayed);
        }
        if is_farewell(message) && (answered.is_some() || first == prefix) {
            return self.on_farewell(now, prefix, message.nonce.0, answered.is_some());
        }
        let ack = acknowledgement((&key, association.tag), message, (local, remote))?;
        match of_nonce {
            Some(nonce) if nonce == message.nonce.0 => {
                self.on_confirmed(now, via, (prefix, first), message, made);
            }
            Some(nonce) => {
                // A change that has overtaken the confirmation, which is to come yet.
                self.begin_under(now, &prefix, nonce, remote, made);
                self.on_published(now, via, prefix, message, &ack)?;
            }
            None => self.on_published(now, via, prefix, message, &ack)?,
        }
        self.outputs.push_back(Output::Send(ack));
        Ok(())
    }

    /// Whose Map-Request a Map-Notify follows from, and the nonce of that.
    fn answered(&self, first: &EidPrefix, nonce: u64, payload: &[u8]) -> Option<(EidPrefix, u64)> {
        let answers = |known: &Subscription| known.answers(nonce, payload);
        let of_nonce = self.asked.get(&nonce).copied();
        // One that is not live is confirmed, or nothing.
        let of_nonce = of_nonce.and_then(|prefix| Some((prefix, self.table.get(&prefix).and_then(answers)?)));
        of_nonce.or_else(|| {
            let prefix = self.table.covering_that(first, |known| answers(known).is_some())?;
            Some((prefix, self.table.get(&prefix).and_then(answers)?))
        })
    }

    /// The subscription that a change of `first` comes under: the longest that it may be of, first among those of the Map-Server that sends.
    /// Where there are two of one Map-Server it may tell of it by the one around, which may be the later one. Under the shared key it is
    /// then above all nonces that the other counts up to: what is below may be old.
    fn telling(&self, first: &EidPrefix, remote: SocketAddr, message: &MapNotify, payload: &[u8]) -> Option<EidPrefix> {
        let longest = self.table.covering_that(first, Subscription::is_heard)?;
        if is_farewell(message) {
            return Some(longest);
        }
        let is_signed = |known: &Subscription| match &known.key {
            Some(key) => auth::verify(payload, key, ACCEPTED).is_ok(),
            None => self.associations.get(known.association).is_some_and(|by| by.signs(payload)),
        };
        let may_be_of = |known: &Subscription| {
            !known.is_ahead(message.nonce.0) && is_signed(known) && !self.may_be_of_former(known, message.nonce)
        };
        // One that is told of unasked has any nonce: what is too far ahead of the other would come by it.
        let tells = |known: &Subscription| known.is_heard() && !known.is_told_only() && may_be_of(known);
        let is_old = |known: &Subscription| known.order(first, message.nonce.0) == Some(Order::Old);
        let is_its = |known: &Subscription| known.server == Some(remote) && tells(known) && !is_old(known);
        if self.table.get(&longest).is_some_and(|known| known.server == Some(remote) && may_be_of(known)) {
            return Some(longest);
        }
        let of_sender = || self.table.covering_that(first, is_its);
        let of_longest = || Some(longest).filter(|longest| self.table.get(longest).is_some_and(may_be_of));
        of_sender().or_else(of_longest).or_else(|| self.table.covering_that(first, tells)).or(Some(longest))
    }

    /// The Map-Server has subscribed us under the Map-Request with this nonce.
    fn begin_under(&mut self, now: Instant, prefix: &EidPrefix, nonce: u64, server: SocketAddr, key: Option<AuthKey>) {
        let Some(mut subscription) = self.take(prefix) else { return };
        if subscription.state != State::Leaving {
            let renew = self.renewal(now);
            subscription.begin_under(key);
            subscription.confirm(now, nonce, renew, server);
            self.counts.confirmed += 1;
        }
        self.put(*prefix, subscription);
    }

    /// The Map-Notify that answers a Map-Request with the N-bit (RFC 9437, section 5). What the Map-Server has subscribed us to is
    /// what was asked for, or the registered EID-prefix around it.
    fn on_confirmed(
        &mut self,
        now: Instant,
        via: Via,
        (asked, first): (EidPrefix, EidPrefix),
        message: &MapNotify,
        made: Option<AuthKey>,
    ) {
        let Some(mut subscription) = self.take(&asked) else { return };
        if subscription.state == State::Leaving {
            self.counts.left += 1;
            return;
        }
        self.counts.confirmed += 1;
        let nonce = message.nonce.0;
        let proven = made.is_some();
        subscription.begin_under(made);
        // What was told meanwhile is newer.
        let is_newer = |record: &&MappingRecord| {
            let order = record.eid.ip_prefix().and_then(|eid| subscription.order(&eid, nonce));
            order.is_none_or(|order| order == Order::News)
        };
        let records: Vec<MappingRecord> = message.records.iter().filter(is_newer).cloned().collect();
        let renew = self.renewal(now);
        let Via::Socket { local, remote } = via else { return };
        self.uplink = turn_of(&self.rlocs, local.ip()).unwrap_or(self.uplink);
        subscription.confirm(now, nonce, renew, remote);
        let extends = std::mem::take(&mut subscription.is_used);
        if first != asked && first.covers(&asked) {
            self.adopt(now, first, subscription);
        } else {
            self.put(asked, subscription);
        }
        if !records.is_empty() {
            self.outputs.push_back(Output::Install { via, asked: Some(asked), extends, proven, records });
        }
    }

    /// The subscription is to a wider EID-prefix than was asked for.
    fn adopt(&mut self, now: Instant, wider: EidPrefix, mut subscription: Subscription) {
        if let Some(known) = self.take(&wider) {
            subscription.expires = subscription.expires.max(known.expires);
        } else if self.table.len() >= limits::SUBSCRIPTIONS {
            self.tally.count(Refusal::SubscriptionTableFull);
            subscription.hurry(now, State::Leaving);
        }
        self.put(wider, subscription);
    }

    /// A change (RFC 9437, section 6): what is not above the last nonce of its EID-prefix changes nothing. The Map-Server that sends
    /// its last word again has not had our acknowledgement, and gets it again.
    fn on_published(
        &mut self,
        now: Instant,
        via: Via,
        prefix: EidPrefix,
        message: &MapNotify,
        ack: &Outgoing,
    ) -> Result<(), Refusal> {
        let nonce = message.nonce.0;
        let Some(mut subscription) = self.take(&prefix) else { return Err(Refusal::NotifyNotSubscribed) };
        let order = |record: &&MappingRecord| {
            record.eid.ip_prefix().and_then(|eid| subscription.order(&eid, nonce)).unwrap_or(Order::Old)
        };
        let news: Vec<MappingRecord> =
            message.records.iter().filter(|record| order(record) == Order::News).cloned().collect();
        if news.is_empty() {
            let is_last = message.records.iter().all(|record| order(&record) == Order::Again);
            let is_known = matches!(ack.to, Destination::Socket { remote, .. } if subscription.server == Some(remote));
            self.put(prefix, subscription);
            if is_last && is_known {
                self.outputs.push_back(Output::Send(ack.clone()));
            }
            return Err(Refusal::NotifyReplayed);
        }
        for eid in news.iter().filter_map(|record| record.eid.ip_prefix()) {
            subscription.told(eid, nonce);
        }
        let proven = subscription.key.is_some();
        let told_only = subscription.is_told_only().then_some((subscription.association, subscription.last));
        if let (Some(_), Destination::Socket { remote, .. }) = (told_only, ack.to) {
            (subscription.server, subscription.failures, subscription.due) = (Some(remote), 0, now);
        }
        if subscription.state == State::Unanswered {
            // It is there again.
            subscription.hurry(now, State::Asked);
        }
        self.put(prefix, subscription);
        self.counts.published += 1;
        match told_only {
            Some((association, last)) => self.remember(association, prefix, last.unwrap_or(nonce)),
            None => self.outputs.extend(self.nonces.note(nonce).map(Output::PersistNonce)),
        }
        self.outputs.push_back(Output::Install { via, asked: None, extends: true, proven, records: news });
        Ok(())
    }

    /// The Map-Server has ended the subscription, with its last nonce: it is asked for again, and the mapping polled meanwhile.
    fn on_farewell(&mut self, now: Instant, prefix: EidPrefix, nonce: u64, is_answer: bool) -> Result<(), Refusal> {
        let Some(mut subscription) = self.take(&prefix) else { return Err(Refusal::NotifyNotSubscribed) };
        if !is_answer && subscription.last.is_none_or(|last| nonce < last) {
            self.put(prefix, subscription);
            return Err(Refusal::NotifyReplayed);
        }
        if subscription.is_told_only() {
            return self.on_rest(now, prefix, nonce, subscription);
        }
        tracing::debug!(%prefix, "the Map-Server has ended a subscription");
        self.counts.ended += 1;
        self.outputs.extend(self.nonces.note(nonce).map(Output::PersistNonce));
        if subscription.state == State::Leaving {
            return Ok(());
        }
        subscription.told(prefix, nonce);
        let was_live = subscription.is_live();
        subscription.failed(now, State::Asked, limits::ENDED_PAUSE);
        self.put(prefix, subscription);
        if was_live {
            self.outputs.push_back(Output::Poll(prefix));
        }
        Ok(())
    }

    /// What is told unasked is not told for a while, or any more: the mapping is asked for, and what may come is listened for.
    fn on_rest(
        &mut self,
        now: Instant,
        prefix: EidPrefix,
        nonce: u64,
        mut subscription: Subscription,
    ) -> Result<(), Refusal> {
        // One with a higher nonce ends what was told in between, and did not come here.
        let is_again = subscription.failures > 0 && subscription.last == Some(nonce);
        if is_again {
            self.put(prefix, subscription);
            return Err(Refusal::NotifyReplayed);
        }
        (subscription.failures, subscription.due) = (1, now);
        subscription.told(prefix, nonce);
        let association = subscription.association;
        self.put(prefix, subscription);
        self.counts.ended += 1;
        self.remember(association, prefix, nonce);
        self.outputs.push_back(Output::Poll(prefix));
        Ok(())
    }

    pub(super) fn warn_of_replay(&mut self, now: Instant, message: &MapNotify) {
        self.replay_logged.line(now, |left_out| {
            tracing::warn!(nonce = message.nonce.0, left_out, "a Map-Notify came again, or was replayed");
        });
    }
}

/// A copy under the same association, to where it came from (RFC 9301, section 5.7).
fn acknowledgement(
    (key, tag): (&AuthKey, TagForm),
    message: &MapNotify,
    (local, remote): (SocketAddr, SocketAddr),
) -> Result<Outgoing, Refusal> {
    let copy = ControlMessage::MapNotifyAck(message.clone());
    let bytes = auth::seal(&copy, key, tag).map_err(|_| Refusal::NotEncodable)?;
    Ok(Outgoing { to: Destination::Socket { local: local.ip(), remote }, bytes })
}
