// SPDX-License-Identifier: GPL-2.0-or-later
//! Unsolicited Map-Notifies (RFC 9301, section 5.7): sent again and again until they are acknowledged.
//!
//! Two kinds of receivers have one each: the xTRs of a site that asked for merging ([`MapServer`](super::MapServer)), and the
//! subscribers of RFC 9437 ([`Subscriptions`](crate::subscribe::Subscriptions)).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use wire::control::MapNotify;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, TagForm};

use crate::limits::{NOTIFY_INTERVAL, NOTIFY_NAMED_SENDINGS, NOTIFY_PAUSES};
use crate::nat::{Relay, Relays};
use crate::refusal::Refusal;
use crate::register::label::Spelling;
use crate::transport::Way;

/// How an xTR is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Our address that it registered with.
    pub local: SocketAddr,
    /// Where its Map-Notifies go.
    pub remote: SocketAddr,
    /// By which ways through RTRs, if it is behind a NAT.
    pub relays: Relays,
    /// Number of the key that it signs with.
    pub key_id: u8,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The length of its tags.
    pub form: TagForm,
    /// How it writes the EID, if that is a name or a MAC address.
    pub spelling: Spelling,
}

/// A Map-Notify to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// From here.
    pub local: SocketAddr,
    /// To there.
    pub remote: SocketAddr,
    /// The RTR there, and by which way through it, if its receiver is behind a NAT.
    pub relay: Option<Relay>,
    /// The message, signed.
    pub bytes: Vec<u8>,
}

/// A Map-Notify, and what its acknowledgement must be.
#[derive(Debug)]
pub struct Notification {
    /// Whose share of the table it takes.
    pub owner: usize,
    /// Its nonce.
    pub nonce: u64,
    /// What it is signed with; the acknowledgement too.
    pub key: AuthKey,
    /// Where it goes: to the first, and to the next one when nothing comes back from there (RFC 9437, section 6).
    pub ways: Vec<Way>,
    /// By which ways through RTRs, if its receiver is behind a NAT: by all of them at once that have not brought an acknowledgement.
    pub relays: Relays,
    /// The message, signed.
    pub bytes: Vec<u8>,
    /// Octets that all its sendings may have together, if its receiver has not proven that it wants any of them.
    pub allowance: Option<usize>,
}

/// What is not acknowledged yet, by receiver.
#[derive(Debug)]
pub struct Notifier<R> {
    /// How much may be unacknowledged in all, and of one owner.
    bounds: (usize, usize),
    pending: BTreeMap<R, Pending>,
    /// Receivers may be sent equal nonces.
    by_nonce: BTreeSet<(u64, R)>,
    queue: BTreeSet<(Instant, R)>,
    /// Unacknowledged ones of each owner.
    of_owner: HashMap<usize, usize>,
    unacknowledged: usize,
    given_up: VecDeque<(R, u64)>,
    outputs: VecDeque<Telling>,
    /// What goes to addresses that were only named, and the owner of each.
    named: VecDeque<(usize, Telling)>,
}

#[derive(Debug)]
struct Pending {
    notification: Notification,
    /// Where it goes too, the first times.
    named: Vec<Way>,
    /// The place in its ways.
    way: usize,
    /// How often it is sent each way.
    a_way: usize,
    /// How often it was sent that way.
    sent: usize,
    sent_at: Option<Instant>,
    /// Its receiver has acknowledged it. By RTRs that have not brought that it is sent on, and takes no share of anybody any more.
    is_heard: bool,
    /// Nothing is sent on. It stays a while so that the next one does not come too soon.
    is_acknowledged: bool,
    due: Instant,
}

impl<R: Copy + Ord> Notifier<R> {
    /// A notifier with room for so many unacknowledged messages in all, and of one owner.
    pub fn new(in_all: usize, of_owner: usize) -> Self {
        Self {
            bounds: (in_all, of_owner),
            pending: BTreeMap::new(),
            by_nonce: BTreeSet::new(),
            queue: BTreeSet::new(),
            of_owner: HashMap::new(),
            unacknowledged: 0,
            given_up: VecDeque::new(),
            outputs: VecDeque::new(),
            named: VecDeque::new(),
        }
    }

    /// Sends a receiver something new at `due`: what others change as fast as they like not before [`Self::rests_until`]. What
    /// it was to be told before is out of date.
    ///
    /// # Errors
    /// [`Refusal::NotifyTableFull`].
    pub fn tell(&mut self, due: Instant, receiver: R, notification: Notification) -> Result<(), Refusal> {
        let older = self.forget(&receiver);
        if !self.has_room(notification.owner) {
            return Err(Refusal::NotifyTableFull);
        }
        let sent_at = older.and_then(|older| older.sent_at);
        self.unacknowledged += 1;
        *self.of_owner.entry(notification.owner).or_default() += 1;
        self.queue.insert((due, receiver));
        self.by_nonce.insert((notification.nonce, receiver));
        let (is_heard, is_acknowledged, a_way) = (false, false, notification.sendings_a_way());
        let named = Vec::new();
        let pending = Pending { notification, named, way: 0, a_way, sent: 0, sent_at, is_heard, is_acknowledged, due };
        self.pending.insert(receiver, pending);
        Ok(())
    }

    /// Sends what a receiver has just been told to other addresses as well, beside the first sendings, if these may have it.
    pub fn tell_too(&mut self, receiver: &R, named: Vec<Way>) {
        if let Some(pending) = self.pending.get_mut(receiver) {
            pending.named = named;
        }
    }

    /// When a receiver may hear something new, if it was told something a moment ago.
    pub fn rests_until(&self, receiver: &R) -> Option<Instant> {
        Some(self.pending.get(receiver)?.sent_at? + NOTIFY_INTERVAL)
    }

    /// When the receivers of `range` may all hear something new; what is still to be sent for the first time counts too.
    pub fn all_rest_until(&self, range: std::ops::RangeInclusive<R>) -> Option<Instant> {
        let rest = |pending: &Pending| pending.sent_at.map_or(pending.due, |at| at + NOTIFY_INTERVAL);
        self.pending.range(range).map(|(_, pending)| rest(pending)).max()
    }

    /// What is left of the allowance of what a receiver is told, if that has one.
    pub fn allowance(&self, receiver: &R) -> Option<usize> {
        self.pending.get(receiver)?.notification.allowance
    }

    /// Whether what any receiver of `range` is told has an allowance.
    pub fn is_limited(&self, range: std::ops::RangeInclusive<R>) -> bool {
        let mut pending = self.pending.range(range).filter(|(_, pending)| !pending.is_acknowledged);
        pending.any(|(_, pending)| pending.notification.allowance.is_some())
    }

    /// Who has not acknowledged.
    pub fn receivers(&self) -> impl Iterator<Item = R> + '_ {
        self.pending.iter().filter(|(_, pending)| !pending.is_heard).map(|(receiver, _)| *receiver)
    }

    /// Who of `range` has not.
    pub fn receivers_in(&self, range: std::ops::RangeInclusive<R>) -> impl Iterator<Item = R> + '_ {
        self.pending.range(range).filter(|(_, pending)| !pending.is_heard).map(|(receiver, _)| *receiver)
    }

    /// Messages that are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// Whether an owner has room for another receiver.
    pub fn has_room(&self, owner: usize) -> bool {
        let (in_all, of_owner) = self.bounds;
        self.unacknowledged < in_all && self.of_owner.get(&owner).copied().unwrap_or_default() < of_owner
    }

    /// Forgets the receivers of `range` whom there is nothing to tell any more.
    pub fn retain(&mut self, range: std::ops::RangeInclusive<R>, keep: impl Fn(&R) -> bool) {
        let gone: Vec<R> = self.pending.range(range).map(|(receiver, _)| *receiver).filter(|r| !keep(r)).collect();
        for receiver in gone {
            self.forget(&receiver);
        }
    }

    fn forget(&mut self, receiver: &R) -> Option<Pending> {
        let pending = self.pending.remove(receiver)?;
        self.queue.remove(&(pending.due, *receiver));
        self.by_nonce.remove(&(pending.notification.nonce, *receiver));
        if !pending.is_heard {
            self.settle(pending.notification.owner);
        }
        Some(pending)
    }

    /// One message is no longer unacknowledged.
    fn settle(&mut self, owner: usize) {
        self.unacknowledged -= 1;
        if let Some(count) = self.of_owner.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.of_owner.remove(&owner);
            }
        }
    }

    /// Takes a Map-Notify-Ack; `bytes` is the whole message, and `is_about` says whether it may be this receiver's. Gives the
    /// receiver, and the way that it was reached by. What came by an RTR says nothing of the other RTRs of the receiver, each of which
    /// is to have heard it: they are sent it until each has brought an acknowledgement. It counts as acknowledged all the same, since the
    /// receiver may have left them.
    ///
    /// # Errors
    /// [`Refusal::NotifyAckUnasked`] if it answers nothing, [`Refusal::NotifyAckBadTag`] if it is not the receiver's.
    pub fn acknowledge(
        &mut self,
        from: IpAddr,
        message: &MapNotify,
        bytes: &[u8],
        is_about: impl Fn(&R) -> bool,
    ) -> Result<(R, Way), Refusal> {
        let nonce = message.nonce.0;
        let first = self.pending.keys().next().copied().ok_or(Refusal::NotifyAckUnasked)?;
        let of_nonce = self.by_nonce.range((nonce, first)..).take_while(|(other, _)| *other == nonce);
        let (receiver, way) = of_nonce
            .map(|(_, receiver)| *receiver)
            .filter(|receiver| is_about(receiver))
            .find_map(|receiver| Some((receiver, self.pending.get(&receiver)?.way_of(from)?)))
            .ok_or(Refusal::NotifyAckUnasked)?;
        let pending = self.pending.get_mut(&receiver).ok_or(Refusal::NotifyAckUnasked)?;
        let whole = Accept { untruncated: true, narrow_coverage: false };
        auth::verify(bytes, &pending.notification.key, whole).map_err(|_| Refusal::NotifyAckBadTag)?;
        pending.notification.relays = pending.notification.relays.without(from);
        let (older, owner) = (pending.due, pending.notification.owner);
        let was_heard = std::mem::replace(&mut pending.is_heard, true);
        if pending.notification.relays.last().is_none() {
            pending.is_acknowledged = true;
            pending.due = pending.sent_at.map_or(older, |at| at + NOTIFY_INTERVAL);
            self.by_nonce.remove(&(nonce, receiver));
            self.queue.remove(&(older, receiver));
            self.queue.insert((pending.due, receiver));
        }
        if !was_heard {
            self.settle(owner);
        }
        if self.pending.len() - self.unacknowledged > self.bounds.0 {
            self.forget(&receiver);
        }
        Ok((receiver, way))
    }

    /// Sends what is due, and gives up what was sent often enough on all its ways.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, receiver)) = self.queue.first().copied().filter(|(due, _)| *due <= now) {
            self.queue.pop_first();
            let Some(pending) = self.pending.get_mut(&receiver) else { continue };
            if pending.is_acknowledged {
                self.forget(&receiver);
                continue;
            }
            if pending.sent >= pending.a_way {
                (pending.way, pending.sent) = (pending.way + 1, 0);
            }
            let Some(way) = pending.notification.ways.get(pending.way).copied().filter(|_| pending.spend()) else {
                let (nonce, is_heard) = (pending.notification.nonce, pending.is_heard);
                self.forget(&receiver);
                self.given_up.extend((!is_heard).then_some((receiver, nonce)));
                continue;
            };
            let Notification { relays, bytes, .. } = &pending.notification;
            let rtr = |relay: Relay| SocketAddr::new(relay.rtr, wire::CONTROL_PORT);
            let by_rtrs = relays.iter().map(|relay| (relay.local, rtr(relay), Some(relay)));
            let straight = relays.last().is_none().then_some((way.local, way.remote, None));
            let telling = |(local, remote, relay)| Telling { local, remote, relay, bytes: bytes.clone() };
            self.outputs.extend(by_rtrs.chain(straight).map(telling));
            if pending.sent < NOTIFY_NAMED_SENDINGS {
                let named = pending.named.iter().map(|way| telling((way.local, way.remote, None)));
                self.named.extend(named.map(|telling| (pending.notification.owner, telling)));
            }
            let last = NOTIFY_PAUSES.last().copied().unwrap_or(NOTIFY_INTERVAL);
            pending.due = now + NOTIFY_PAUSES.get(pending.sent).copied().unwrap_or(last);
            pending.sent += 1;
            pending.sent_at = Some(now);
            self.queue.insert((pending.due, receiver));
        }
    }

    /// The next message to send.
    pub fn poll(&mut self) -> Option<Telling> {
        self.outputs.pop_front()
    }

    /// Sends no more to addresses that were only named: whose they are has other numbers now.
    pub fn tell_none_too(&mut self) {
        self.named.clear();
        self.pending.values_mut().for_each(|pending| pending.named.clear());
    }

    /// The next message to an address that was only named, if it may have it, and the owner whose it is.
    pub fn poll_named(&mut self) -> Option<(usize, Telling)> {
        self.named.pop_front()
    }

    /// The next receiver that never acknowledged, and the nonce of what it was sent.
    pub fn poll_given_up(&mut self) -> Option<(R, u64)> {
        self.given_up.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }
}

impl Notification {
    /// As often as is usual, or a fair part of what it is allowed.
    fn sendings_a_way(&self) -> usize {
        let usual = NOTIFY_PAUSES.len() + 1;
        let allowed = self.allowance.map(|octets| octets / self.bytes.len().max(1));
        allowed.map_or(usual, |allowed| usual.min(allowed.div_ceil(self.ways.len().max(1))))
    }
}

impl Pending {
    /// Whether it may be sent once more.
    fn spend(&mut self) -> bool {
        let Some(allowance) = &mut self.notification.allowance else { return true };
        let left = allowance.checked_sub(self.notification.bytes.len());
        left.map(|left| *allowance = left).is_some()
    }

    /// The way that leads to an address, if anything was sent.
    fn way_of(&self, from: IpAddr) -> Option<Way> {
        let tried = self.notification.ways.get(..=self.way).filter(|_| self.sent_at.is_some() && !self.is_acknowledged);
        let known = if self.sent > 0 || self.way > 0 { tried } else { None };
        let is_by_rtr = self.notification.relays.iter().any(|relay| relay.rtr == from);
        let is_it = |way: &&Way| way.remote.ip() == from;
        let known = known?;
        known.iter().rev().find(|way| is_by_rtr || is_it(way)).or_else(|| self.named.iter().find(is_it)).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use wire::control::auth::Secret;
    use wire::control::{ControlMessage, Nonce};

    fn relay(last: u8) -> Relay {
        let address = |last| SocketAddr::new([192, 0, 2, last].into(), wire::CONTROL_PORT);
        Relay { rtr: [203, 0, 113, last].into(), xtr: [10, 0, 0, 2].into(), server: address(1), local: address(1) }
    }

    fn notification(nonce: u64) -> Notification {
        let local = relay(2).local;
        Notification {
            owner: 7,
            nonce,
            key: AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new("of the site") },
            ways: vec![Way { local, remote: SocketAddr::new(relay(2).rtr, wire::CONTROL_PORT) }],
            relays: Relays::default().led_by(relay(3)).led_by(relay(2)),
            bytes: vec![0x44; 20],
            allowance: None,
        }
    }

    #[test]
    fn a_receiver_that_one_of_its_rtrs_has_answered_for_takes_no_share() {
        let (mut notifier, mut now) = (Notifier::new(4, 1), Instant::now());
        notifier.tell(now, 1, notification(5)).unwrap();
        notifier.handle_timeout(now);
        assert!(!notifier.has_room(7) && notifier.tell(now, 2, notification(6)).is_err());
        let ack = MapNotify { nonce: Nonce(5), ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::MapNotifyAck(ack.clone()), &notification(5).key, TagForm::Truncated);
        let bytes = bytes.unwrap();
        let acknowledge = |notifier: &mut Notifier<u8>, rtr| notifier.acknowledge(rtr, &ack, &bytes, |_| true);
        // As often as it comes.
        for _ in 0..2 {
            assert!(acknowledge(&mut notifier, relay(2).rtr).is_ok());
            assert_eq!((notifier.unacknowledged(), notifier.has_room(7)), (0, true));
        }
        while notifier.poll().is_some() {}
        notifier.tell(now, 2, notification(6)).unwrap();
        assert_eq!(notifier.unacknowledged(), 1);
        let mut sent = 0;
        for _ in 0..100 {
            now += Duration::from_secs(1);
            notifier.handle_timeout(now);
            while let Some(telling) = notifier.poll() {
                sent += usize::from(telling.remote.ip() == relay(3).rtr);
            }
        }
        let given_up: Vec<_> = std::iter::from_fn(|| notifier.poll_given_up()).collect();
        assert_eq!(
            (sent, given_up),
            (2 * NOTIFY_PAUSES.len() + 1, vec![(2, 6)]),
            "the one that is not silent is no less sent"
        );
        assert_eq!((notifier.unacknowledged(), notifier.has_room(7), notifier.next_deadline()), (0, true, None));
        assert!(acknowledge(&mut notifier, relay(3).rtr).is_err());
    }
}
