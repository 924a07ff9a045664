// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes are told, repeated, and given up (RFC 9437, section 6).

use std::collections::BTreeSet;
use std::time::{Instant, UNIX_EPOCH};

use wire::address::EidPrefix;
use wire::record::{Action, MappingRecord, Ttl};

use super::queue::{Content, Receiver};
use super::subscription::{Agreement, Mode, Subscription, SubscriptionKey};
use super::{Subscriptions, answer, seal, ttl_of};
use crate::engine::{Mark, Output};
use crate::limits::{PUBLICATION_PAUSE, REREAD_SHORTEST, SUBSCRIBER_SILENCE, UNPROVEN_LONGEST};
use crate::refusal::{Refusal, Tally};
use crate::register::MapServer;
use crate::register::notifier::{Notification, Telling};
use crate::resolve::found::{Audience, Found, ask_again, negative};
use crate::transport::Now;

impl Subscriptions {
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now, server: &MapServer, tally: &mut Tally) {
        while let Some((_, key)) = self.ends.first().copied().filter(|(until, _)| *until <= now.monotonic) {
            if let Some(since) = self.book.get(&key).and_then(|known| known.asked_since) {
                // Not before it is known who has asked: its mapping may have come meanwhile.
                let until = (since + UNPROVEN_LONGEST).max(now.monotonic) + PUBLICATION_PAUSE;
                self.amend(now, &key, |subscription| subscription.until = Some(until));
                continue;
            }
            self.retire(now, &key);
        }
        let is_over = |since: &Instant| *since + UNPROVEN_LONGEST <= now.monotonic;
        while self.unproven.first().is_some_and(|(since, _)| is_over(since)) {
            let Some((_, key)) = self.unproven.pop_first() else { break };
            tally.count(Refusal::SubscribeUnacknowledged);
            self.roll_back(now, &key);
        }
        self.tell_anew(now, server);
        self.tell_of_parts(now, server);
        while let Some(receiver) = self.queue.peek(now.monotonic) {
            if !self.has_room(&receiver) {
                // Who acknowledges nothing takes nothing of the pace that all share.
                self.queue.park(now.monotonic + PUBLICATION_PAUSE, &receiver);
                continue;
            }
            if !self.pace.take(now.monotonic) {
                break;
            }
            let Some((receiver, content)) = self.queue.pop(now.monotonic) else { break };
            self.publish(now, server, receiver, content, tally);
        }
        self.notifier.handle_timeout(now.monotonic);
        while let Some((receiver, nonce)) = self.notifier.poll_given_up() {
            self.unanswered(now, receiver, nonce, tally);
        }
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_watch`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let turn = self.queue.next().map(|at| at.max(self.pace.next()));
        let end = self.ends.first().map(|(until, _)| *until);
        let over = self.unproven.first().map(|(since, _)| *since + UNPROVEN_LONGEST);
        let others = [over, self.next_anew(), self.parts_at, self.notifier.next_deadline(), self.watches.next()];
        [turn, end].into_iter().chain(others).flatten().min()
    }

    /// Hands out what must be on disk, and then the messages that vouch for it.
    pub fn drain(&mut self, outputs: &mut impl Extend<Output>, tally: &mut Tally) {
        self.refused.drain(..).for_each(|refusal| tally.count(refusal));
        outputs.extend(self.marks.drain(..).map(Output::Persist));
        let send = |Telling { local, remote, bytes, .. }| Output::Send { local, remote, bytes, counts: None };
        outputs.extend(self.outputs.drain(..).map(send));
        outputs.extend(std::iter::from_fn(|| self.notifier.poll()).map(send));
    }

    /// The next host to be looked up in the DHT because somebody has subscribed to it.
    pub fn poll_watch(&mut self, now: Now) -> Option<EidPrefix> {
        loop {
            let prefix = self.watches.pop(now.monotonic)?;
            if self.book.has_foreign(&prefix) {
                // Until it is heard of.
                self.watches.begin(now.monotonic, prefix, REREAD_SHORTEST);
                return Some(self.watches.host(&prefix));
            }
            self.watches.forget(&prefix);
        }
    }

    /// There is no room for lookups now: what is due stays so.
    pub fn pause_watches(&mut self, now: Now) {
        self.watches.pause(now.monotonic + PUBLICATION_PAUSE);
    }

    /// The DHT has said something of an EID. An answer may be about a part: what is subscribed to has changed if the mapping around it has,
    /// or if there is nothing at the EID by which it is looked up: its first one that no more-specific has. Of a mapping that has more than
    /// the DHT can say, or whose site answers itself, it has not what is so: a subscription to it ends here, and its xTR, which asks when it
    /// hears that, is sent on to who has it.
    pub fn heard(&mut self, now: Now, found: &Found) {
        if matches!(found, Found::Unknown(_)) {
            return;
        }
        let (part, registered) = (found.prefix(), found.registered());
        let mut read = Vec::new();
        for key in self.book.concerned_by(&registered, &part) {
            let Some(known) = self.book.get(&key).filter(|known| known.is_foreign) else { continue };
            let is_temporary = known.until.is_some();
            let is_of_first = part.covers(&self.watches.host(&key.prefix));
            let is_nothing = is_of_first && !matches!(found, Found::Mapping(_));
            let about = if registered.covers(&key.prefix) || is_nothing { key.prefix } else { registered };
            let lifetime = found.lifetime(now.monotonic);
            if is_of_first && about != key.prefix {
                self.watches.step(now.monotonic, key.prefix, &registered, lifetime);
            } else if is_of_first {
                read.push(key);
            }
            let (record, lifetime) = match found {
                Found::Mapping(mapping) if mapping.proxy => {
                    let record = found.record(now.monotonic, Audience::Network);
                    (MappingRecord { eid: about.into(), ..record }, mapping.ttl)
                }
                Found::Mapping(_) if about == key.prefix => {
                    self.refused.push(Refusal::SubscribeNotProxied);
                    self.end(now, &key);
                    continue;
                }
                Found::Mapping(_) => (ask_again(about), Ttl::WITHDRAWN),
                // That there is nothing, it knows already.
                _ if is_temporary => continue,
                _ => (answer::withdrawn(about), Ttl::WITHDRAWN),
            };
            let digest = answer::digest(std::slice::from_ref(&record), lifetime);
            self.enqueue(now, now.monotonic, Receiver { key, about }, Content::Found { record, digest });
        }
        // Several xTRs may have subscribed to one EID-prefix, which is read once.
        let prefixes: BTreeSet<EidPrefix> = read.iter().map(|key| key.prefix).collect();
        for prefix in prefixes {
            let seen_at = self.watches.seen(now.monotonic, prefix, found.lifetime(now.monotonic));
            for key in read.iter().filter(|key| key.prefix == prefix) {
                if self.book.get(key).is_some_and(|known| known.seen_at != seen_at) {
                    self.amend(now, key, |subscription| subscription.seen_at = seen_at);
                }
            }
        }
    }

    /// Puts a publication into the queue, no sooner than its receiver may be told something again.
    pub(super) fn enqueue(&mut self, now: Now, at: Instant, receiver: Receiver, content: Content) {
        let subscriber = self.subscribers.get(&receiver.key.xtr);
        if !subscriber.is_some_and(|subscriber| subscriber.may_have_of(&receiver.about)) {
            // A subscription may be wider than what its xTR may have.
            return;
        }
        let at = self.notifier.rests_until(&receiver).map_or(at, |rests| rests.max(at));
        if let Err(hog) = self.queue.push(at, receiver, content.clone()) {
            self.end(now, &hog);
            self.refused.push(Refusal::PublicationQueueFull);
            if hog != receiver.key && self.queue.push(at, receiver, content).is_err() {
                self.end(now, &receiver.key);
            }
        }
    }

    /// Whether a publication can go out now, as far as its own xTR is concerned.
    pub(super) fn has_room(&self, receiver: &Receiver) -> bool {
        self.notifier.has_room(self.subscribers.place(&receiver.key.xtr))
    }

    fn publish(&mut self, now: Now, server: &MapServer, receiver: Receiver, content: Content, tally: &mut Tally) {
        let Receiver { key, about } = receiver;
        let Some(mut known) = self.book.get(&key).filter(|known| known.mode() == Mode::Publish).cloned() else {
            return;
        };
        // Whoever has not proven that it asked is told no more than its request allows, and of nothing else.
        let is_unproven = known.asked.is_some();
        let allowance = self.notifier.allowance(&receiver).filter(|_| is_unproven);
        let is_withheld = is_unproven && allowance.is_none() && self.notifier.is_limited(Receiver::all(key));
        // Should nobody acknowledge what is said of a part, it is told again; of the EID-prefix itself that is so in any case.
        let is_owed = is_withheld || is_unproven && about != key.prefix;
        if is_owed && !self.owe(now, receiver) || is_withheld {
            return;
        }
        let (record, digest) = match content {
            Content::Found { record, digest } => (record, digest),
            Content::Registered { is_exact } => {
                let record = answer::record(server, &about, is_exact);
                let digest = answer::digest(std::slice::from_ref(&record), ttl_of(std::slice::from_ref(&record)));
                (record, digest)
            }
        };
        let is_present = if known.is_foreign {
            about != key.prefix && known.until.is_none() || !record.locators.is_empty()
        } else {
            answer::is_present(server, &key.prefix)
        };
        let until = known.until.unwrap_or(now.monotonic + self.policy.temporary);
        known.until = (!is_present && !known.is_configured).then_some(until);
        let is_part_of_dht = known.is_foreign && about != key.prefix;
        if is_part_of_dht && self.said.is_last(&receiver, digest) {
            return self.store(now, key, known);
        }
        if about == key.prefix {
            if known.sent.or(known.told) == Some(digest) {
                return self.store(now, key, known);
            }
            known.sent = Some(digest);
        }
        let Some(agreement) = next_nonce(&mut known) else {
            tracing::info!(prefix = %key.prefix, "no nonce is left for a subscription: ended");
            tally.count(Refusal::SubscriptionEnded);
            return self.end(now, &key);
        };
        known.note_parts(&key.prefix, std::slice::from_ref(&record));
        let told = self.notification(&key, &agreement, vec![record]);
        let told = told.map(|notification| Notification { allowance, ..notification });
        match told.and_then(|notification| self.notifier.tell(now.monotonic, receiver, notification)) {
            Ok(()) => {
                self.published += 1;
                if is_part_of_dht {
                    self.said.note(receiver, digest);
                }
            }
            Err(refusal) => tally.count(refusal),
        }
        self.store(now, key, known);
    }

    /// Nothing came back from any ITR-RLOC.
    fn unanswered(&mut self, now: Now, Receiver { key, about }: Receiver, nonce: u64, tally: &mut Tally) {
        self.said.forget(Receiver { key, about }..=Receiver { key, about });
        let Some(mut known) = self.book.get(&key).cloned() else { return };
        if known.is_of_asked(nonce) {
            tally.count(Refusal::SubscribeUnacknowledged);
            return self.roll_back(now, &key);
        }
        tally.count(Refusal::PublicationUnacknowledged);
        self.unanswered_logged.line(now.monotonic, |left_out| {
            tracing::info!(prefix = %about, left_out, "change not acknowledged by a subscriber");
        });
        let wall = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let since = *known.silent_since.get_or_insert(wall);
        if known.is_configured {
            // Its xTR asks for nothing again.
            let at = now.monotonic + Self::configured_pause(now, &known);
            known.sent = known.sent.filter(|_| about != key.prefix);
            self.store(now, key, known);
            let content = Content::Registered { is_exact: about != key.prefix };
            return self.enqueue(now, at, Receiver { key, about }, content);
        }
        if wall.saturating_sub(since) >= SUBSCRIBER_SILENCE.as_secs() {
            tally.count(Refusal::SubscriptionEnded);
            return self.end(now, &key);
        }
        if about == key.prefix {
            // It is not what the xTR knows: should the same be said again, it is sent.
            known.sent = None;
        }
        self.store(now, key, known);
    }

    /// What was asked for was never acknowledged: whoever asked may not have been the xTR. All is again as it was.
    pub(super) fn roll_back(&mut self, now: Now, key: &SubscriptionKey) {
        let Some(mut known) = self.book.get(key).cloned() else { return };
        let Some(asked) = known.asked.take() else { return };
        let mut owed = self.owed.remove(key).unwrap_or_default();
        let under_way = self.under_way(key).filter(|to| to.about != key.prefix);
        owed.extend(under_way.map(|to| (to.about, true)));
        self.notifier.retain(Receiver::all(*key), |_| false);
        self.said.forget(Receiver::all(*key));
        if asked.mode == Mode::Publish {
            self.say_farewell(key, &asked);
        }
        if known.proven.as_ref().is_none_or(|proven| proven.mode == Mode::Gone) {
            // It was told of in the place of what is around it.
            owed.extend((asked.mode == Mode::Publish).then_some((key.prefix, true)));
            owed.extend(self.queue.of(*key).map(|to| (to.about, true)));
            self.tell_around(now, key, &owed);
        }
        if known.proven.is_none() {
            return self.forget(now, key);
        }
        (known.told, known.sent) = (None, None);
        // Long enough to hear whether there is something now.
        known.until = known.until.map(|until| until.max(now.monotonic + REREAD_SHORTEST));
        let is_foreign = known.is_foreign;
        let is_live = known.mode() == Mode::Publish;
        self.store(now, *key, known);
        if !is_live {
            return self.silence(*key);
        }
        self.queue.release(*key);
        if is_foreign {
            self.watches.hurry(now.monotonic, key.prefix);
        } else {
            // It may have changed meanwhile, as has what is owed because of that. What else is there inside of it, its xTR knows.
            let inside = owed.into_iter().filter(|(about, has_changed)| *has_changed && *about != key.prefix);
            for about in [key.prefix].into_iter().chain(inside.map(|(about, _)| about)) {
                let content = Content::Registered { is_exact: about != key.prefix };
                self.enqueue(now, now.monotonic, Receiver { key: *key, about }, content);
            }
        }
    }

    /// Ends a subscription without being asked to, and says so (RFC 9437, section 5). One that the operator has made rests for a while
    /// in its place: its xTR asks for the mapping when it hears that.
    pub(super) fn end(&mut self, now: Now, key: &SubscriptionKey) {
        // What is proven too: whoever has asked since may not be the xTR.
        let agreed = self.book.get(key).into_iter().flat_map(|known| [&known.asked, &known.proven]).flatten();
        let live: Vec<Agreement> = agreed.filter(|agreement| agreement.mode != Mode::Gone).cloned().collect();
        live.iter().for_each(|agreement| self.say_farewell(key, agreement));
        if self.is_configured(key) {
            return self.rest(now, key);
        }
        self.retire(now, key);
    }

    /// Keeps nothing of a subscription but its last nonce.
    pub(super) fn retire(&mut self, now: Now, key: &SubscriptionKey) {
        self.silence(*key);
        let Some(known) = self.book.get(key) else { return };
        let Some(proven) = known.proven.clone() else { return self.forget(now, key) };
        let nonce = known.last_nonce().unwrap_or(proven.nonce);
        let proven = Some(Agreement { nonce, mode: Mode::Gone, ways: Vec::new(), key: None, ..proven });
        let peak = known.peak;
        self.store(now, *key, Subscription { proven, peak, ..Subscription::new(known.key_id) });
    }

    /// One Map-Notify with the last nonce, no locators and Drop/Auth-Failure, which is not repeated (RFC 9437, section 5).
    fn say_farewell(&mut self, key: &SubscriptionKey, agreement: &Agreement) {
        let subscriber = self.subscribers.get(&key.xtr);
        let Some(by) = subscriber.and_then(|subscriber| subscriber.key_of(agreement)) else { return };
        let record = negative(key.prefix, Action::DropAuthFailure, Ttl(1));
        let Some(way) = agreement.ways.first() else { return };
        if let Ok(bytes) = seal(&by, agreement.nonce, vec![record]) {
            self.outputs.push_back(Telling { local: way.local, remote: way.remote, relay: None, bytes });
        }
    }

    /// When a request is confirmed: at once, but one that follows another that is not proven no sooner than a change would be
    /// told (RFC 9437, section 7.2).
    pub(super) fn confirmation_due(&self, now: Now, key: &SubscriptionKey) -> Instant {
        let is_unproven = self.book.get(key).is_some_and(|known| known.asked.is_some());
        let rests = is_unproven.then(|| self.notifier.all_rest_until(Receiver::all(*key))).flatten();
        rests.map_or(now.monotonic, |at| at.max(now.monotonic))
    }

    /// Map-Notifies sent because of a change, not counting repetitions.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Map-Notifies that wait for their turn, and those that are not acknowledged.
    pub fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.notifier.unacknowledged())
    }

    /// What must be on disk.
    pub(super) fn note(&mut self, mark: Mark) {
        self.marks.push(mark);
    }
}

/// The agreement with its nonce raised by one (RFC 9437, section 6); `None` after the last one.
fn next_nonce(known: &mut Subscription) -> Option<Agreement> {
    let agreement = known.agreement_mut()?;
    agreement.nonce = agreement.nonce.checked_add(1)?;
    Some(agreement.clone())
}
