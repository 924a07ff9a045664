// SPDX-License-Identifier: GPL-2.0-or-later
//! What is known of one peer.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use libp2p::Multiaddr;
use libp2p::request_response::OutboundRequestId;

use crate::admit::Member;

/// How far our presentation to a peer is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Exchange {
    /// It was not sent.
    None,
    /// It was sent.
    Asked { request: OutboundRequestId, asked_at: Duration },
    /// The peer has answered, and said its time.
    Answered { asked_at: Duration, heard_at: Duration, time: SystemTime },
}

/// A peer that is connected or in the routing table.
#[derive(Debug)]
pub(super) struct Known {
    /// Where it is seen.
    pub(super) at: Option<IpAddr>,
    /// The address at which we reached it.
    pub(super) reached: Option<Multiaddr>,
    /// Addresses that it names, as far as they are believed.
    pub(super) addresses: Vec<Multiaddr>,
    /// Whether it speaks Kademlia, as far as is known.
    pub(super) serves: bool,
    pub(super) is_connected: bool,
    /// Since when it is connected.
    pub(super) since: Instant,
    /// Presentations since then.
    pub(super) presentations: u32,
    pub(super) exchange: Exchange,
    /// As what it was admitted, if it was.
    pub(super) member: Option<Member>,
    /// It belongs to this network.
    pub(super) is_proven: bool,
    /// When it was told that it has no business here; soon after, its connection ends.
    pub(super) turned_away_at: Option<Instant>,
    /// Its clock says something about ours.
    pub(super) counts_for_clock: bool,
    /// It was asked whom it knows, whose clocks may count as well.
    pub(super) was_asked: bool,
    /// Where it has said to see us, before it was admitted.
    pub(super) sees_us_at: Option<Multiaddr>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            at: None,
            reached: None,
            addresses: Vec::new(),
            serves: true,
            is_connected: false,
            since: Instant::now(),
            presentations: 0,
            exchange: Exchange::None,
            member: None,
            is_proven: false,
            turned_away_at: None,
            counts_for_clock: false,
            was_asked: false,
            sees_us_at: None,
        }
    }
}

impl Known {
    /// It was refused, though by its own clock its certificates hold: one of the two clocks is wrong.
    pub(super) fn is_undated(&self) -> bool {
        self.is_connected && self.counts_for_clock && self.member.is_none()
    }

    /// A first connection stands. What it was admitted as holds until it presents itself anew.
    pub(super) fn connect(&mut self, now: Instant) {
        self.is_connected = true;
        self.since = now;
        self.presentations = 0;
        self.exchange = Exchange::None;
        self.is_proven = false;
        self.was_asked = false;
        self.turned_away_at = None;
        self.sees_us_at = None;
    }
}
