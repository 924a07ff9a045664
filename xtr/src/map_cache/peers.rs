// SPDX-License-Identifier: GPL-2.0-or-later
//! Which nonce the next packet to a trusted peer carries (RFC 9300, section 10.1). Control says so; nothing is drawn or decided here.

use std::net::IpAddr;

use super::clock::Tick;
use super::slab::Slab;
use crate::heard::Heard;
use crate::limits;
use crate::trust::Trust;

/// Which trusted RLOC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerIndex(u32);

/// The RLOCs of trusted peers in the map-cache.
#[derive(Debug, Default)]
pub(super) struct Peers {
    trust: Trust,
    states: Slab<PeerState>,
}

/// What packets to one RLOC carry.
#[derive(Debug, Default)]
pub(super) struct PeerState {
    /// Asked for with every packet.
    request: Option<u32>,
    /// Sent back with the next packet.
    answer: Option<u32>,
    /// Packets that have asked, a super-packet counted once.
    asked: u32,
    /// When so many had asked that one of them has got there: the last of [`limits::ECHO_PACKETS`].
    since: Tick,
    /// The locator of ours that they left from.
    from: Option<IpAddr>,
}

impl Peers {
    pub(super) fn new(trust: Trust) -> Self {
        Self { trust, states: Slab::default() }
    }

    /// A place for this RLOC, if it is trusted. Beyond [`limits::PEERS`] one gets no nonces, versions or status bits.
    pub(super) fn add(&mut self, rloc: IpAddr) -> Option<PeerIndex> {
        let is_one = self.trust.is_trusted(rloc) && self.states.len() < limits::PEERS;
        is_one.then(|| PeerIndex(self.states.insert(PeerState::default())))
    }

    pub(super) fn remove(&mut self, index: PeerIndex) {
        self.states[index.0] = PeerState::default();
        self.states.free(index.0);
    }

    pub(super) fn get_mut(&mut self, index: PeerIndex) -> &mut PeerState {
        &mut self.states[index.0]
    }
}

impl PeerState {
    /// The nonce of the packet that leaves, and whether it is to come back. An answer is sent once: whoever misses it goes on to ask.
    #[inline]
    pub(super) fn next(&mut self, now: Tick, from: IpAddr) -> Option<(u32, bool)> {
        if let Some(answer) = self.answer.take() {
            return Some((answer, false));
        }
        let nonce = self.request?;
        if self.from != Some(from) {
            (self.asked, self.from) = (0, Some(from));
        }
        self.asked = self.asked.saturating_add(1);
        if self.asked == limits::ECHO_PACKETS {
            self.since = now;
        }
        Some((nonce, true))
    }

    pub(super) fn answers(&mut self, nonce: u32) {
        self.answer = Some(nonce);
    }

    /// Asks from now on, from the beginning, or does not for a while.
    pub(super) fn asks(&mut self, nonce: Option<u32>) {
        (self.request, self.asked, self.since) = (nonce, 0, Tick::NONE);
        self.from = None;
    }

    /// Asks no longer. Whether it is proven that packets do not get there: some have asked, and long enough after the last that was wanted for it
    /// the peer has sent packets to the locator that asked all the same: to that, which may be of another router than the others of our
    /// mapping, it sends the echo. Without return traffic there nothing is (RFC 9300, section 10.1).
    pub(super) fn ends(&mut self, rloc: IpAddr, heard: &Heard) -> bool {
        let (asked, since) = (self.asked, self.since);
        let last = self.from.map_or(Tick::NONE, |from| heard.last_of_peer(rloc, from));
        self.asks(None);
        asked >= limits::ECHO_PACKETS && last >= since.plus(limits::ECHO_ROUND)
    }
}
