// SPDX-License-Identifier: GPL-2.0-or-later
//! Admission at work: both sides of a connection present themselves, and only servers that pass enter the routing table.
//!
//! A presentation goes out with the first connection to a peer, so that it is judged half a round trip after the handshake.
//! Where the peer is seen decides how much of a bucket is its block's.

mod codec;
mod known;
mod stats;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::request_response::{self, Message, OutboundFailure, ResponseChannel};
use libp2p::{Multiaddr, PeerId};
use nix::time::{ClockId, clock_gettime};

use super::addresses::{ip, split_peer};
use super::driver::Driver;
use super::{Clock, NodeConfig, NodeError, Role};
use crate::admit::judge::{check_standing, name};
use crate::admit::{
    Admitted, Answer, ClockVerdict, Credentials, Ends, Kind, Member, PeerClocks, Presentation, Refused, Rules,
    diversity, judge, present,
};
use crate::record::CertificateCache;
use crate::shell::limits;
use crate::store::Standing;

pub(in crate::shell) use self::codec::{Codec, behaviour};
use self::known::{Exchange, Known};
pub use self::stats::{AdmissionStats, ClockStats};

type Event = request_response::Event<Vec<u8>, Answer>;

/// What a node knows of its peers' admission, and of its own.
pub(super) struct Admission {
    rules: Rules,
    kind: Kind,
    credentials: Option<Credentials>,
    /// The octets of our peer ID.
    own: Vec<u8>,
    pub(super) clock: Clock,
    cache: CertificateCache,
    /// Who is connected or in the routing table.
    peers: HashMap<PeerId, Known>,
    clocks: PeerClocks<PeerId>,
    clock_is_wrong: bool,
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
            own: own.to_bytes(),
            clock: config.clock,
            cache: CertificateCache::new(),
            peers: HashMap::new(),
            clocks: PeerClocks::default(),
            clock_is_wrong: false,
            has_vacancy: false,
            review_at: now,
            stats: AdmissionStats::new(role, &config.rules),
        }
    }

    fn is_closed(&self) -> bool {
        self.rules.key.is_some()
    }

    fn present_to(&self, peer: &PeerId) -> Vec<u8> {
        let peer = peer.to_bytes();
        let ends = Ends { from: &self.own, to: &peer };
        present(&self.rules, self.kind, self.credentials.clone(), ends, self.clock.now()).encode()
    }

    /// What the peers say about our clock.
    pub(super) fn clock_verdict(&self) -> ClockVerdict {
        self.clocks.verdict(uptime(), self.clock.now())
    }

    /// Whether anything may be published.
    pub(super) fn check_clock(&self) -> Result<(), NodeError> {
        match self.clock_verdict() {
            ClockVerdict::Wrong(offset) => Err(NodeError::Clock(offset.0)),
            ClockVerdict::Right(_) | ClockVerdict::Unknown { .. } => Ok(()),
        }
    }

    pub(super) fn stats(&self) -> AdmissionStats {
        AdmissionStats { clock: self.clock_verdict().into(), ..self.stats.clone() }
    }

    /// What is known of an identity: by the store, and by the nodes admitted.
    fn standing(&self, cn: cgeid::Cn, stored: Standing) -> Standing {
        let members = self.peers.values().filter_map(|known| known.member.as_ref());
        let admitted = members.filter(|member| member.cn == cn).map(|member| member.epoch).max();
        Standing { epoch: stored.epoch.max(admitted), ..stored }
    }

    /// Takes the clock of a peer that has both answered and been admitted.
    fn take_clock(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer).filter(|known| known.counts_for_clock) else { return };
        if let (Some(at), Exchange::Answered { asked_at, heard_at, time }) = (known.at, known.exchange) {
            self.clocks.heard(peer, at, time, asked_at, heard_at);
        }
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

impl Driver {
    /// A connection stands: with the first one to a peer, we present ourselves. Where that one comes from is where the peer is
    /// seen: by a second one from elsewhere it would free the share of a block that it has used up.
    pub(super) fn greet(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        let address = endpoint.get_remote_address();
        let known = self.admission.peers.entry(peer).or_default();
        if endpoint.is_dialer() {
            known.reached = Some(split_peer(address).0);
        }
        if known.is_connected {
            return;
        }
        known.connect(Instant::now());
        let has_moved = std::mem::replace(&mut known.at, ip(address)) != ip(address);
        if has_moved && !self.addresses_of(&peer).is_empty() {
            self.on_placed(peer);
            self.peers_changed();
        }
        let presentation = self.admission.present_to(&peer);
        let request = self.swarm.behaviour_mut().admit.send_request(&peer, presentation);
        if let Some(known) = self.admission.peers.get_mut(&peer) {
            known.exchange = Exchange::Asked { request, asked_at: uptime() };
        }
    }

    /// The last connection to a peer is gone; in the routing table it may stay.
    pub(super) fn part(&mut self, peer: &PeerId) {
        self.kad().unprove(peer);
        if let Some(known) = self.admission.peers.get_mut(peer) {
            known.is_connected = false;
        }
    }

    pub(super) fn on_admission(&mut self, event: Event) {
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.on_presented(peer, &request, channel);
            }
            Event::Message { peer, message: Message::Response { request_id, response }, .. } => {
                self.on_answered(peer, request_id, response);
            }
            Event::OutboundFailure { error, .. } => {
                let name = match error {
                    OutboundFailure::UnsupportedProtocols => "not-spoken",
                    OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => "malformed",
                    OutboundFailure::Timeout => "timeout",
                    _ => "connection",
                };
                *self.admission.stats.failed.entry(name).or_default() += 1;
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    fn on_presented(&mut self, peer: PeerId, presented: &[u8], channel: ResponseChannel<Answer>) {
        let verdict = self.judge(peer, presented);
        let code = verdict.as_ref().map_or_else(Refused::code, |_| Answer::WELCOME);
        let answer = Answer { code, time: crate::admit::message::Millis::of(self.admission.clock.now()) };
        // Who does not wait for the answer has lost its connection.
        let _ = self.swarm.behaviour_mut().admit.send_response(channel, answer);
        match verdict {
            Ok(admitted) => self.on_admitted(peer, admitted),
            Err(refused) => self.on_refused(peer, &refused),
        }
    }

    fn judge(&mut self, peer: PeerId, presented: &[u8]) -> Result<Admitted, Refused> {
        let known = self.admission.peers.entry(peer).or_default();
        known.presentations += 1;
        if known.presentations > limits::PRESENTATIONS {
            return Err(Refused::TooOften);
        }
        let presented = Presentation::decode(presented).map_err(Refused::Malformed)?;
        let id = peer.to_bytes();
        let now = self.admission.clock.now();
        let mut cache = std::mem::take(&mut self.admission.cache);
        let ends = Ends { from: &id, to: &self.admission.own };
        let records = &self.swarm.behaviour_mut().kad.store_mut().records;
        let standing = |cn| self.admission.standing(cn, records.standing(cn));
        let verdict = judge(&self.admission.rules, ends, &presented, now, &mut cache, standing);
        self.admission.cache = cache;
        verdict
    }

    fn on_admitted(&mut self, peer: PeerId, admitted: Admitted) {
        self.prove(peer);
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        match admitted {
            Admitted::Client => {
                self.admission.stats.clients += 1;
                self.end(peer, "client");
            }
            Admitted::Server(member) => {
                self.admission.stats.servers += 1;
                tracing::debug!(%peer, cn = %member.cn, epoch = member.epoch, "peer admitted");
                known.counts_for_clock = true;
                known.member = Some(member.clone());
                self.admission.take_clock(peer);
                self.end_predecessors(peer, &member);
                self.place(peer);
            }
        }
    }

    /// A node's newer key ends the admission of those it replaces.
    fn end_predecessors(&mut self, newcomer: PeerId, member: &Member) {
        let now_known = Standing { epoch: Some(member.epoch), ..Standing::default() };
        let is_replaced =
            |other: &Member| other.cn == member.cn && check_standing(other.cn, other.epoch, now_known).is_err();
        let others = self.admission.peers.iter().filter(|(peer, _)| **peer != newcomer);
        let replaced = others.filter(|(_, known)| known.member.as_ref().is_some_and(is_replaced));
        for peer in replaced.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.end(peer, "superseded");
        }
    }

    fn on_refused(&mut self, peer: PeerId, refused: &Refused) {
        *self.admission.stats.refused.entry(refused.name()).or_default() += 1;
        tracing::debug!(%peer, reason = refused.name(), %refused, "peer not admitted");
        let is_stranger = matches!(refused, Refused::NetworkKey | Refused::OtherNetwork(_) | Refused::Malformed(_));
        if matches!(refused, Refused::TooOften) {
            return;
        }
        if matches!(refused, Refused::Dates(_)) && self.admission.stats.refused.get(refused.name()) == Some(&1) {
            tracing::warn!(%refused, "certificates of a peer hold by its clock and not by that of this machine: is this one right?");
        }
        if !is_stranger {
            self.prove(peer);
        }
        let is_closed = self.admission.is_closed();
        if let Some(known) = self.admission.peers.get_mut(&peer) {
            known.counts_for_clock = matches!(refused, Refused::Dates(_));
            // The connection ends a moment later: closed at once, it would take the answer with it.
            known.turned_away_at = (is_closed && is_stranger).then(Instant::now);
        }
        self.admission.take_clock(peer);
        self.end(peer, refused.name());
    }

    /// The peer belongs to this network: its requests are served, and ours go to it.
    fn prove(&mut self, peer: PeerId) {
        self.kad().prove(peer);
        if let Some(known) = self.admission.peers.get_mut(&peer) {
            known.is_proven = true;
        }
    }

    fn on_answered(&mut self, peer: PeerId, answered: request_response::OutboundRequestId, answer: Answer) {
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        let Exchange::Asked { request, asked_at } = known.exchange else { return };
        let Some(time) = answer.time.time().filter(|_| request == answered) else { return };
        known.exchange = Exchange::Answered { asked_at, heard_at: uptime(), time };
        self.admission.take_clock(peer);
        if answer.code == Answer::WELCOME {
            return;
        }
        let reason = name(answer.code);
        let count = self.admission.stats.refused_by.entry(reason).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(%peer, reason, "a peer does not admit this node into its routing table");
        }
    }

    /// A peer has said where it listens. Who does not speak Kademlia is no place in it, whatever it presented.
    pub(super) fn on_addresses(&mut self, peer: PeerId, addresses: Option<Vec<Multiaddr>>) {
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        known.serves = addresses.is_some();
        match addresses {
            Some(addresses) => {
                known.addresses = addresses;
                self.place(peer);
            }
            None => self.is_client(peer),
        }
    }

    /// Puts a member where it belongs, if it was found at one of its addresses and its bucket has room for its block.
    pub(super) fn place(&mut self, peer: PeerId) {
        let Some(known) = self.admission.peers.get(&peer) else { return };
        if known.member.is_none() || !known.serves {
            return;
        }
        let at = known.at;
        let reached = known.reached.clone().filter(|reached| !self.ways.is_anycast(reached));
        let claimed = known.addresses.clone();
        let has_said = !claimed.is_empty();
        let mut addresses = self.proven(peer, claimed);
        if let Some(reached) = reached.filter(|reached| !addresses.contains(reached)) {
            addresses.push(reached);
        }
        if addresses.is_empty() {
            return;
        }
        let before = self.addresses_of(&peer);
        if before.is_empty()
            && let Err(crowded) = self.room(&peer, at)
        {
            *self.admission.stats.crowded.entry(crowded).or_default() += 1;
            return;
        }
        for address in &addresses {
            self.kad().add_address(&peer, address.clone());
        }
        if has_said {
            // Where it was reached, it can be reached, whatever it says: it may not know of the router in front of it.
            let seen_at = self.seen_at.get(&peer).map(|seen_at| split_peer(seen_at).0);
            for old in before.into_iter().filter(|old| !addresses.contains(old) && Some(old) != seen_at.as_ref()) {
                self.kad().remove_address(&peer, &old);
            }
        }
    }

    /// Whether the bucket of a peer has room for one more at this address. Where a transport has no addresses, there are no
    /// blocks.
    fn room(&mut self, peer: &PeerId, at: Option<IpAddr>) -> Result<(), &'static str> {
        let Some(at) = at else { return Ok(()) };
        let mut members = Vec::new();
        if let Some(bucket) = self.kad().kbucket(*peer) {
            members.extend(bucket.iter().map(|entry| *entry.node.key.preimage()).filter(|other| other != peer));
        }
        let places = members.iter().filter_map(|member| self.admission.peers.get(member)?.at);
        diversity::room(at, places).map_err(|crowded| match crowded {
            diversity::Crowded::Block => "block",
            diversity::Crowded::Provider => "provider",
        })
    }

    /// A peer has taken a place that was pending, or is seen elsewhere: meanwhile others of its block may have come, or its
    /// admission ended.
    pub(super) fn on_placed(&mut self, peer: PeerId) {
        let known = self.admission.peers.get(&peer).filter(|known| known.member.is_some());
        let Some(at) = known.map(|known| known.at) else {
            self.unplace(&peer);
            return;
        };
        if let Err(crowded) = self.room(&peer, at) {
            *self.admission.stats.crowded.entry(crowded).or_default() += 1;
            self.unplace(&peer);
        }
    }

    /// A place in some bucket has become free.
    pub(super) fn on_vacancy(&mut self) {
        self.admission.has_vacancy = true;
    }

    /// Ends an admission.
    fn end(&mut self, peer: PeerId, why: &'static str) {
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        if known.member.take().is_none() {
            return;
        }
        *self.admission.stats.ended.entry(why).or_default() += 1;
        tracing::debug!(%peer, why, "admission ended");
        if !known.counts_for_clock {
            self.admission.clocks.forget(&peer);
        }
        if self.unplace(&peer) {
            self.on_vacancy();
            self.peers_changed();
        }
    }

    /// Looks after what changes by itself: certificates end, keys are replaced, strangers say nothing, clocks are set.
    pub(super) fn review(&mut self, now: Instant) {
        self.turn_strangers_away(now);
        self.look_at_clock();
        if std::mem::take(&mut self.admission.has_vacancy) {
            let waiting = self.admission.peers.iter().filter(|(_, known)| known.is_connected && known.member.is_some());
            for peer in waiting.map(|(peer, _)| *peer).collect::<Vec<_>>() {
                if self.addresses_of(&peer).is_empty() {
                    self.place(peer);
                }
            }
        }
        if now < self.admission.review_at {
            return;
        }
        self.admission.review_at = now + limits::REVIEW;
        for (peer, why) in self.ended() {
            self.end(peer, why);
        }
        self.forget_absent();
    }

    /// Members whose certificates have ended, or against whom something has become known.
    fn ended(&mut self) -> Vec<(PeerId, &'static str)> {
        let now = self.admission.clock.now();
        let records = &self.swarm.behaviour_mut().kad.store_mut().records;
        let why = |member: &Member| {
            if member.until < now {
                return Some("expired");
            }
            check_standing(member.cn, member.epoch, records.standing(member.cn)).err().map(|refused| refused.name())
        };
        let members = self.admission.peers.iter().filter_map(|(peer, known)| Some((*peer, known.member.as_ref()?)));
        members.filter_map(|(peer, member)| Some((peer, why(member)?))).collect()
    }

    /// Forgets who is neither connected nor in the routing table.
    fn forget_absent(&mut self) {
        let away = self.admission.peers.iter().filter(|(_, known)| !known.is_connected);
        for peer in away.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            if self.addresses_of(&peer).is_empty() {
                self.admission.peers.remove(&peer);
                self.admission.clocks.forget(&peer);
            }
        }
    }

    /// In a closed network a connection is for those who know its key.
    fn turn_strangers_away(&mut self, now: Instant) {
        if !self.admission.is_closed() {
            return;
        }
        let is_stranger = |known: &Known| {
            let told = known.turned_away_at.map(|at| at + limits::TURNED_AWAY);
            let until = told.unwrap_or(known.since + limits::PRESENTATION_TIME);
            known.is_connected && !known.is_proven && now >= until
        };
        let strangers = self.admission.peers.iter().filter(|(_, known)| is_stranger(known));
        for peer in strangers.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            if self.admission.peers.get(&peer).is_some_and(|known| known.turned_away_at.is_none()) {
                *self.admission.stats.refused.entry("silent").or_default() += 1;
            }
            // An error says that it has gone by itself.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Says once when the clock turns out to be wrong, and when it is right again.
    fn look_at_clock(&mut self) {
        let verdict = self.admission.clock_verdict();
        match verdict {
            ClockVerdict::Wrong(offset) if !self.admission.clock_is_wrong => {
                self.admission.clock_is_wrong = true;
                tracing::warn!("{}", NodeError::Clock(offset.0));
            }
            ClockVerdict::Right(_) if self.admission.clock_is_wrong => {
                self.admission.clock_is_wrong = false;
                tracing::info!("the clock of this machine is that of its peers again");
            }
            _ => {}
        }
    }
}

/// The time since this machine was started, sleep included.
fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
