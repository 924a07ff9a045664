// SPDX-License-Identifier: GPL-2.0-or-later
//! Unsolicited Map-Notifies (RFC 9301, section 5.7): the xTRs that asked for merging are told when others change what they
//! have in common, again and again until they acknowledge it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, UNIX_EPOCH};

use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, TagForm};
use wire::control::{ControlMessage, MapNotify, Nonce};
use wire::record::MappingRecord;

use crate::limits::{NOTIFICATIONS, NOTIFY_INTERVAL, NOTIFY_PAUSES};
use crate::refusal::{Refusal, Tally};
use crate::transport::Now;

/// How an xTR is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Our address that it registered with.
    pub local: SocketAddr,
    /// Where its Map-Notifies go.
    pub remote: SocketAddr,
    /// Number of the key that it signs with.
    pub key_id: u8,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The length of its tags.
    pub form: TagForm,
}

/// A Map-Notify to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// From here.
    pub local: SocketAddr,
    /// To there.
    pub remote: SocketAddr,
    /// The message, signed.
    pub bytes: Vec<u8>,
}

/// Whom it concerns: an xTR, and the EID-prefix that it registered.
type Receiver = (EidPrefix, [u8; 16]);

/// What is not acknowledged yet.
#[derive(Debug, Default)]
pub struct Notifier {
    pending: BTreeMap<Receiver, Pending>,
    by_nonce: HashMap<u64, Receiver>,
    queue: BTreeSet<(Instant, Receiver)>,
    last_nonce: u64,
    outputs: VecDeque<Telling>,
}

#[derive(Debug)]
struct Pending {
    nonce: u64,
    key: AuthKey,
    telling: Telling,
    /// How often it was sent.
    sent: usize,
    sent_at: Option<Instant>,
    due: Instant,
}

impl Notifier {
    /// Tells an xTR what is registered now. What it was to be told of the same prefix before is out of date.
    ///
    /// # Errors
    /// [`Refusal::NotifyTableFull`], or [`Refusal::NotEncodable`].
    pub fn tell(
        &mut self,
        now: Now,
        receiver: Receiver,
        reach: &Reach,
        key: AuthKey,
        record: MappingRecord,
    ) -> Result<(), Refusal> {
        let older = self.forget(&receiver);
        if self.pending.len() >= NOTIFICATIONS {
            return Err(Refusal::NotifyTableFull);
        }
        let nonce = self.next_nonce(now);
        let message = MapNotify { nonce: Nonce(nonce), records: vec![record], ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::MapNotify(message), &key, reach.form);
        let bytes = bytes.map_err(|_| Refusal::NotEncodable)?;
        let sent_at = older.and_then(|older| older.sent_at);
        // Others can make it change as fast as they like: the receiver hears the last state of each interval.
        let due = sent_at.map_or(now.monotonic, |at| (at + NOTIFY_INTERVAL).max(now.monotonic));
        let telling = Telling { local: reach.local, remote: reach.remote, bytes };
        self.queue.insert((due, receiver));
        self.by_nonce.insert(nonce, receiver);
        self.pending.insert(receiver, Pending { nonce, key, telling, sent: 0, sent_at, due });
        Ok(())
    }

    /// Rises over restarts too, as the receiver wants it: it is the clock in microseconds, or one more than the last.
    fn next_nonce(&mut self, now: Now) -> u64 {
        let clock = now.wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros();
        self.last_nonce = u64::try_from(clock).unwrap_or(u64::MAX).max(self.last_nonce.saturating_add(1));
        self.last_nonce
    }

    /// Forgets whom of `prefix` there is nothing to tell any more.
    pub fn retain(&mut self, prefix: EidPrefix, keep: impl Fn(&[u8; 16]) -> bool) {
        let of_prefix = self.pending.range((prefix, [0; 16])..=(prefix, [u8::MAX; 16]));
        let gone: Vec<Receiver> = of_prefix.map(|(receiver, _)| *receiver).filter(|(_, xtr)| !keep(xtr)).collect();
        for receiver in gone {
            self.forget(&receiver);
        }
    }

    fn forget(&mut self, receiver: &Receiver) -> Option<Pending> {
        let pending = self.pending.remove(receiver)?;
        self.by_nonce.remove(&pending.nonce);
        self.queue.remove(&(pending.due, *receiver));
        Some(pending)
    }

    /// Takes a Map-Notify-Ack; `bytes` is the whole message.
    ///
    /// # Errors
    /// [`Refusal::NotifyAckUnasked`] if it answers nothing, [`Refusal::NotifyAckBadTag`] if it is not the receiver's.
    pub fn acknowledge(&mut self, from: IpAddr, message: &MapNotify, bytes: &[u8]) -> Result<(), Refusal> {
        let receiver = *self.by_nonce.get(&message.nonce.0).ok_or(Refusal::NotifyAckUnasked)?;
        let pending = self.pending.get(&receiver).ok_or(Refusal::NotifyAckUnasked)?;
        if pending.telling.remote.ip() != from || pending.sent == 0 {
            return Err(Refusal::NotifyAckUnasked);
        }
        let whole = Accept { untruncated: true, narrow_coverage: false };
        auth::verify(bytes, &pending.key, whole).map_err(|_| Refusal::NotifyAckBadTag)?;
        self.forget(&receiver);
        Ok(())
    }

    /// Sends what is due, and gives up what was sent often enough.
    pub fn handle_timeout(&mut self, now: Instant, tally: &mut Tally) {
        while let Some((due, receiver)) = self.queue.first().copied().filter(|(due, _)| *due <= now) {
            self.queue.remove(&(due, receiver));
            let Some(pending) = self.pending.get_mut(&receiver) else { continue };
            if pending.sent > NOTIFY_PAUSES.len() {
                tracing::info!(prefix = %receiver.0, remote = %pending.telling.remote, "Map-Notify not acknowledged");
                tally.count(Refusal::NotifyUnacknowledged);
                self.forget(&receiver);
                continue;
            }
            let last = NOTIFY_PAUSES.last().copied().unwrap_or(NOTIFY_INTERVAL);
            pending.due = now + NOTIFY_PAUSES.get(pending.sent).copied().unwrap_or(last);
            pending.sent += 1;
            pending.sent_at = Some(now);
            self.outputs.push_back(pending.telling.clone());
            self.queue.insert((pending.due, receiver));
        }
    }

    /// The next message to send.
    pub fn poll(&mut self) -> Option<Telling> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }
}
