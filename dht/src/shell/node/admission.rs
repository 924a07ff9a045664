// SPDX-License-Identifier: GPL-2.0-or-later
//! Admission at work: both sides of a connection present themselves, and only servers that pass enter the routing table.
//!
//! A presentation goes out with the first connection to a peer, so that it is judged half a round trip after the handshake.
//! Where the peer is seen decides how much of a bucket is its block's.

mod clocks;
mod codec;
mod exchange;
mod known;
mod places;
mod review;
mod stats;

use std::collections::HashMap;
use std::time::Instant;

use cgeid::Cn;
use libp2p::PeerId;
use libp2p::request_response;

use super::pace::Pace;
use super::{Certified, Clock, NodeConfig, Role};
use crate::admit::{Answer, Credentials, Ends, Kind, PeerClocks, Rules, present};
use crate::record::CertificateCache;
use crate::shell::limits;
use crate::store::Standing;

pub(in crate::shell) use self::codec::{Codec, behaviour};
use self::known::Known;
pub use self::stats::{AdmissionStats, ClockStats};

type Event = request_response::Event<Vec<u8>, Answer>;

/// What a node knows of its peers' admission, and of its own.
pub(super) struct Admission {
    rules: Rules,
    kind: Kind,
    credentials: Option<Credentials>,
    /// Whose key the node has, and of which epoch, though it may have nothing to show.
    key: Option<(Cn, u32)>,
    /// The octets of our peer ID.
    own: Vec<u8>,
    pub(super) clock: Clock,
    cache: CertificateCache,
    /// Who is connected or in the routing table.
    peers: HashMap<PeerId, Known>,
    clocks: PeerClocks<PeerId>,
    clock_is_wrong: bool,
    /// Questions to those who are refused for their dates only.
    questions: Pace,
    has_vacancy: bool,
    review_at: Instant,
    stats: AdmissionStats,
}

impl Admission {
    pub(super) fn new(config: &NodeConfig, role: Role, own: PeerId, now: Instant) -> Self {
        let kind = match role {
            Role::Server => Kind::Server,
            Role::Client => Kind::Client,
        };
        // A client has nothing to show: it stays one whoever it is.
        let credentials = config.certified.as_ref().filter(|_| kind == Kind::Server);
        Self {
            rules: config.rules.clone(),
            kind,
            credentials: credentials.map(|certified| certified.credentials.clone()),
            key: config.certified.as_ref().map(|certified| (certified.cn, certified.epoch)),
            own: own.to_bytes(),
            clock: config.clock,
            cache: CertificateCache::new(),
            peers: HashMap::new(),
            clocks: PeerClocks::default(),
            clock_is_wrong: false,
            questions: Pace::new(limits::CLOCK_QUESTIONS, limits::CLOCK_QUESTIONS_TIME),
            has_vacancy: false,
            review_at: now,
            stats: AdmissionStats::new(role, &config.rules),
        }
    }

    /// What a node that goes on under another key knows already.
    pub(super) fn take_over(&mut self, before: Self) {
        let Self { clocks, clock_is_wrong, stats, peers, .. } = before;
        (self.clocks, self.clock_is_wrong) = (clocks, clock_is_wrong);
        for peer in peers.keys() {
            self.clocks.part(peer, clocks::uptime());
        }
        self.stats = AdmissionStats { role: self.stats.role, ..stats };
    }

    /// Whether these are the certificates that are presented now.
    pub(super) fn is_own_key(&self, certified: &Certified) -> bool {
        self.credentials.as_ref() == Some(&certified.credentials)
    }

    /// Whether it is a later key of the same identity.
    pub(super) fn is_later(&self, certified: &Certified) -> bool {
        self.key.is_none_or(|(cn, epoch)| certified.cn == cn && certified.epoch > epoch)
    }

    /// Whether a node with this key may be a server.
    pub(super) fn would_serve(&self, certified: &Certified) -> bool {
        certified.zero_bits >= self.rules.puzzle
    }

    fn is_closed(&self) -> bool {
        self.rules.key.is_some()
    }

    fn present_to(&self, peer: &PeerId) -> Vec<u8> {
        let peer = peer.to_bytes();
        let ends = Ends { from: &self.own, to: &peer };
        present(&self.rules, self.kind, self.credentials.clone(), ends, self.clock.now()).encode()
    }

    /// Whether a peer was admitted as a server.
    pub(super) fn is_member(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|known| known.member.is_some())
    }

    /// Since when a peer is connected.
    pub(super) fn connected_since(&self, peer: &PeerId) -> Option<Instant> {
        self.peers.get(peer).filter(|known| known.is_connected).map(|known| known.since)
    }

    pub(super) fn stats(&self) -> AdmissionStats {
        AdmissionStats { clock: self.clock_verdict().into(), ..self.stats.clone() }
    }

    /// What is known of an identity: by the store, and by the nodes admitted.
    fn standing(&self, cn: Cn, stored: Standing) -> Standing {
        let members = self.peers.values().filter_map(|known| known.member.as_ref());
        let admitted = members.filter(|member| member.cn == cn).map(|member| member.epoch).max();
        Standing { epoch: stored.epoch.max(admitted), ..stored }
    }
}

/// The role of a node: who has no certificates, or a key that does not fit the network, is a client at once.
///
/// The key would have to be searched where the identity key is, which daemons do not hold: so the operator is told.
pub(super) fn role(config: &NodeConfig) -> Role {
    if config.role == Role::Client {
        return Role::Client;
    }
    let Some(certified) = &config.certified else {
        tracing::warn!("no certificates: the node only asks, and stores nothing for others");
        return Role::Client;
    };
    let (found, asked) = (certified.zero_bits, config.rules.puzzle);
    if found >= asked {
        return Role::Server;
    }
    let revision = certified.epoch % cgeid::epoch::REVISIONS + 1;
    tracing::warn!(
        "the operational key has {found} zero bits of the {asked} that the network's puzzle asks for: the node only asks, and \
         stores nothing for others; make a key that fits, where the identity key is: cgeid delegate {}.p12 --puzzle-bits \
         {asked} --revision {revision} --out DIR",
        certified.cn
    );
    Role::Client
}
