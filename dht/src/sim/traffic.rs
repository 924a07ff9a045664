// SPDX-License-Identifier: GPL-2.0-or-later
//! What goes over the wire, in octets with IP, UDP and QUIC round it, by what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::peers::Peer;

/// Headers of one datagram: IPv6 40, UDP 8, QUIC's short header about 12, its authentication tag 16.
const HEADERS: u64 = 40 + 8 + 12 + 16;
/// Payload of one datagram at QUIC's initial size of 1,280 octets of IP packet.
const PAYLOAD: u64 = 1280 - HEADERS;
/// A datagram that only acknowledges: an ACK frame takes about 6 octets.
const ACK: u64 = HEADERS + 6;
/// Negotiation of the protocol on a stream (multistream-select), both ways' half.
const NEGOTIATION: u64 = 40;
/// A Kademlia request: type and key, framed by protobuf.
const REQUEST: u64 = 48;
/// A peer in an answer: 38 octets of identity, two addresses of about 24, framed by protobuf.
const PEER: u64 = 96;
/// A QUIC handshake with libp2p's certificates, each way's half of: two padded Initials of 1,200, a flight of some 1,500,
/// a Finished of some 500 with the client's certificate, four acknowledgements.
const HANDSHAKE: u64 = (1200 + 1200 + 1500 + 500 + 8 * HEADERS + 4 * ACK) / 2;
/// The answer to a presentation.
const WELCOME: u64 = 9;
/// An identify message: the key, up to eight addresses, five protocols.
const IDENTIFY: u64 = 500;

/// What octets are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Handshake,
    Admission,
    KeepAlive,
    Identify,
    Walk,
    Publish,
    HandOver,
    Get,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::Handshake,
        Self::Admission,
        Self::KeepAlive,
        Self::Identify,
        Self::Walk,
        Self::Publish,
        Self::HandOver,
        Self::Get,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshakes",
            Self::Admission => "admission",
            Self::KeepAlive => "keep-alives",
            Self::Identify => "identify",
            Self::Walk => "walks of the table",
            Self::Publish => "publication",
            Self::HandOver => "hand-over",
            Self::Get => "lookups",
        }
    }
}

/// Messages and their octets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) octets: u64,
}

/// How often a connection says something by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intervals {
    pub(super) keep_alive: Duration,
    pub(super) identify: Duration,
    pub(super) unused: Duration,
}

/// A connection between two nodes.
#[derive(Debug, Clone, Copy)]
struct Connection {
    began: Duration,
    used: Duration,
}

/// All that was sent by all nodes.
#[derive(Debug)]
pub(super) struct Traffic {
    intervals: Intervals,
    /// Octets with which a node presents itself.
    presentation: u64,
    tallies: BTreeMap<Kind, Tally>,
    connections: Option<BTreeMap<(Peer, Peer), Connection>>,
    /// Pairs whose connection always stands.
    kept: BTreeSet<(Peer, Peer)>,
    /// Time that connections stood, all together.
    standing: Duration,
}

impl Traffic {
    /// `connections`: whether to follow them, which takes memory.
    pub(super) fn new(intervals: Intervals, connections: bool) -> Self {
        let connections = connections.then(BTreeMap::new);
        let presentation = 0;
        Self {
            intervals,
            presentation,
            tallies: BTreeMap::new(),
            connections,
            kept: BTreeSet::new(),
            standing: Duration::ZERO,
        }
    }

    /// With so many octets nodes present themselves.
    pub(super) fn present(&mut self, presentation: usize) {
        self.presentation = octets(presentation);
    }

    /// These connections stand from now on, whether they are used or not.
    pub(super) fn keep(&mut self, kept: BTreeSet<(Peer, Peer)>, now: Duration) {
        self.kept = kept;
        if let Some(connections) = &mut self.connections {
            connections.extend(self.kept.iter().map(|pair| (*pair, Connection { began: now, used: now })));
        }
    }

    /// A request with so much in it beside its key.
    pub(super) fn request(&mut self, kind: Kind, value: usize) {
        self.count(kind, NEGOTIATION + REQUEST + octets(value));
    }

    /// An answer with so many peers and so much of a value.
    pub(super) fn answer(&mut self, kind: Kind, peers: usize, value: usize) {
        self.count(kind, NEGOTIATION + PEER * octets(peers) + octets(value));
    }

    /// A message of one node to another, after which the connection between them stands.
    pub(super) fn connect(&mut self, one: Peer, other: Peer, now: Duration) {
        let Some(connections) = &mut self.connections else { return };
        let unused = self.intervals.unused;
        if self.kept.contains(&(one.min(other), one.max(other))) {
            return;
        }
        let fresh = Connection { began: now, used: now };
        let connection = connections.entry((one.min(other), one.max(other))).or_insert(Connection {
            // A connection that never was ended long ago.
            began: Duration::MAX,
            ..fresh
        });
        if connection.began == Duration::MAX || connection.used + unused < now {
            if connection.began != Duration::MAX {
                self.standing += connection.used + unused - connection.began;
            }
            *connection = fresh;
            self.count_raw(Kind::Handshake, 2, 2 * HANDSHAKE);
        } else {
            connection.used = now;
        }
    }

    /// Ends the account: what standing connections said by themselves until now is added.
    pub(super) fn close(&mut self, now: Duration) {
        let connections = self.connections.take().unwrap_or_default();
        for (pair, connection) in &connections {
            let end = if self.kept.contains(pair) { now } else { (connection.used + self.intervals.unused).min(now) };
            self.standing += end.saturating_sub(connection.began);
        }
        let each = |interval: Duration, standing: Duration| standing.as_secs() / interval.as_secs().max(1);
        // One end asks, the other acknowledges: that resets the timers of both.
        let pings = each(self.intervals.keep_alive, self.standing);
        self.count_raw(Kind::KeepAlive, 2 * pings, pings * (HEADERS + 1 + ACK));
        // Both ends identify themselves, each time.
        let identifies = 2 * each(self.intervals.identify, self.standing);
        let handshakes = self.tally(Kind::Handshake).messages;
        let identities = identifies + handshakes;
        // Both ends present themselves, and are answered.
        let presented = framed(NEGOTIATION + self.presentation) + framed(NEGOTIATION + WELCOME);
        self.count_raw(Kind::Admission, 2 * handshakes, handshakes * presented);
        self.count_raw(Kind::Identify, identities, identities * framed(NEGOTIATION + IDENTIFY));
    }

    /// Connections that stood on average over that time.
    pub(super) fn standing(&self, over: Duration) -> f64 {
        self.standing.as_secs_f64() / over.as_secs_f64().max(1.0)
    }

    pub(super) fn tally(&self, kind: Kind) -> Tally {
        self.tallies.get(&kind).copied().unwrap_or_default()
    }

    fn count(&mut self, kind: Kind, payload: u64) {
        self.count_raw(kind, 1, framed(payload));
    }

    fn count_raw(&mut self, kind: Kind, messages: u64, octets: u64) {
        let tally = self.tallies.entry(kind).or_default();
        tally.messages += messages;
        tally.octets += octets;
    }
}

/// A message in as many datagrams as it takes, half of which are acknowledged by a datagram of their own.
fn framed(payload: u64) -> u64 {
    let datagrams = payload.div_ceil(PAYLOAD).max(1);
    payload + datagrams * HEADERS + datagrams.div_ceil(2) * ACK
}

fn octets(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic() -> Traffic {
        let seconds = Duration::from_secs;
        let intervals = Intervals { keep_alive: seconds(2), identify: seconds(600), unused: seconds(420) };
        Traffic::new(intervals, true)
    }

    #[test]
    fn a_connection_that_is_used_costs_one_handshake_and_keep_alives_until_it_is_closed() {
        let mut traffic = traffic();
        for at in [0, 100, 300] {
            traffic.connect(Peer::new(1), Peer::new(2), Duration::from_secs(at));
        }
        traffic.close(Duration::from_secs(3600));
        assert_eq!(traffic.tally(Kind::Handshake).messages, 2);
        assert_eq!(traffic.tally(Kind::KeepAlive).messages, 720);
        assert_eq!(traffic.tally(Kind::Admission).messages, 4, "each side presents itself, and is answered");
    }

    #[test]
    fn after_a_long_silence_there_is_another_handshake() {
        let mut traffic = traffic();
        for at in [0, 1000] {
            traffic.connect(Peer::new(2), Peer::new(1), Duration::from_secs(at));
        }
        traffic.close(Duration::from_secs(1010));
        assert_eq!(traffic.tally(Kind::Handshake).messages, 4);
        assert_eq!(traffic.tally(Kind::KeepAlive).messages, 430);
    }
}
