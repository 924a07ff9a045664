// SPDX-License-Identifier: GPL-2.0-or-later
//! Which RLOCs send to us, and to EID-prefixes that are behind NATs: written down once a second for each, so that control can tell them
//! of changes (RFC 9301, section 6.1).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId, Keys};

use crate::senders::{BoundSenders, Senders};

/// How often an RLOC is written down.
const STEP: Duration = Duration::from_secs(1);

/// Where a packet that is encapsulated again came from, and its destination.
pub(super) type Sent = (IpAddr, InstanceId, IpAddr);

/// What has been written down in the second that goes on: RLOCs, or what they have sent to whom. Those that fall into one place displace
/// each other.
#[derive(Debug)]
pub(super) struct Written<T> {
    keys: Keys,
    places: Vec<(Option<T>, u32)>,
    began: Option<Instant>,
    step: u32,
}

impl<T: Copy + PartialEq> Written<T> {
    /// With so many places.
    pub(super) fn new(places: usize) -> Self {
        Self { keys: Keys::default(), places: vec![(None, 0); places], began: None, step: 0 }
    }

    pub(super) fn advance(&mut self, now: Instant) {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= STEP) {
            self.began = Some(now);
            self.step = self.step.wrapping_add(1);
        }
    }

    /// When this second began, if that is not written down in it yet.
    #[inline]
    fn is_news(&mut self, hash: u64, what: T) -> Option<Instant> {
        let hash = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default();
        let place = hash.checked_rem(self.places.len()).and_then(|place| self.places.get_mut(place))?;
        let new = (Some(what), self.step);
        if *place == new {
            return None;
        }
        *place = new;
        self.began
    }
}

impl Written<IpAddr> {
    #[inline]
    pub(super) fn note(&mut self, rloc: IpAddr, senders: &Senders) {
        if let Some(now) = self.is_news(self.keys.hash(InstanceId(0), rloc), rloc) {
            senders.note(now, rloc);
        }
    }
}

impl Written<Sent> {
    /// `to` finds the EID-prefix of a destination, which takes longer than to look whether it is known.
    #[inline]
    pub(super) fn note_sent(&mut self, sent: Sent, senders: &BoundSenders, to: impl Fn() -> Option<EidPrefix>) {
        let (rloc, iid, destination) = sent;
        let hash = self.keys.hash(iid, destination) ^ self.keys.hash(InstanceId(0), rloc).rotate_left(13);
        if let Some(now) = self.is_news(hash, sent)
            && let Some(prefix) = to()
        {
            senders.note(now, prefix, rloc);
        }
    }
}
