// SPDX-License-Identifier: GPL-2.0-or-later
//! The xTR that may be behind a NAT (draft-ermagan-lisp-nat-traversal, section 5.1): asks how it is seen, and by whom it is reached then.
//!
//! Info-Requests go to the RTRs that the operator names. Where he names none the Map-Servers are asked first, who name theirs. Each
//! RTR that answers is used; one that falls silent is not. What it sees changes when the NAT has forgotten us: then registrations go
//! out at once, and lead the packets to the new binding.
//!
//! An RTR that packets go to and nothing comes back from is asked at once: if it does not answer in 2.5 s, and another one is heard, that is
//! used, until it does.
//!
//! Of several uplinks RTRs are used by one: by the preferred one, or by the first that is answered. An RTR that falls silent there is
//! asked by all. If none is heard any more the first uplink that is answered is used by all from then on, and stays: a binding that goes to
//! and fro loses packets each time. It is one for all since two addresses may be of one RTR, which takes packets from the last binding only.

mod peer;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::address::{Address, Eid, EidPrefix};
use wire::control::auth::{self, Accept, AuthKey, TagForm};
use wire::control::{ControlMessage, Info, Nonce};
use wire::record::Ttl;

use super::limits;
use crate::map_cache::is_unicast;
use crate::refusal::{Refusal, Tally};
use crate::transport::{Destination, Outgoing, same_family, turned};

use peer::{Peer, Role};

/// Tags of whatever length a Map-Server makes.
const ACCEPTED: Accept = Accept { untruncated: true, narrow_coverage: false };

/// Whether there is a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is found out.
    Auto,
    /// There is one, whatever is seen: a firewall that lets in nothing but answers is one too.
    On,
}

/// A Map-Server that may know of RTRs.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it is.
    pub address: IpAddr,
    /// The key shared with it.
    pub key: AuthKey,
    /// Length of our tags.
    pub tag: TagForm,
}

/// What the engine is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether there is a NAT.
    pub mode: Mode,
    /// The RTRs; none = those that the Map-Servers name.
    pub rtrs: Vec<IpAddr>,
    /// The Map-Servers.
    pub servers: Vec<Server>,
    /// An EID-prefix of ours, by which a Map-Server knows whose key it is.
    pub eid: EidPrefix,
}

/// An RTR, and the locator of ours from which it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Ours.
    pub local: IpAddr,
    /// The RTR.
    pub rtr: IpAddr,
}

/// Where this node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has said anything yet: nothing is registered.
    Unknown,
    /// There is no NAT, or nobody who could tell.
    Direct,
    /// Behind one, reached by these RTRs: none if none answers.
    Behind(Vec<Way>),
}

/// What the engine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send an Info-Request.
    Send(Outgoing),
    /// These RTRs are asked: what they say comes to the data port.
    Asked(Vec<IpAddr>),
    /// The node stands otherwise than it did.
    Stands(Standing),
    /// An RTR is heard: the way to it is good for another while.
    Renewed,
    /// The NAT has another binding for us: register at once.
    Moved,
}

/// Finds out about the NAT and keeps it open.
#[derive(Debug)]
pub struct Natted {
    config: Config,
    /// Our locators, the preferred ones first.
    rlocs: Vec<IpAddr>,
    random: StdRng,
    peers: Vec<Peer>,
    standing: Standing,
    /// Our locators of each family when somebody of that was heard last: who is reached by one family says nothing of a NAT of the other.
    heard_at: Vec<IpAddr>,
    /// Until when somebody may say something: after the start, and after a move to where nobody was heard.
    undecided_until: Option<Instant>,
    outputs: VecDeque<Output>,
    tally: Tally,
}

impl Natted {
    /// Begins to ask at `now`. Nonces are drawn from `seed`, which has to come from the system's entropy.
    pub fn new(now: Instant, config: Config, rlocs: Vec<IpAddr>, seed: [u8; 32]) -> Self {
        let peer = |address, role| Peer::new(now, address, role);
        let peers: Vec<Peer> = match config.rtrs.as_slice() {
            [] => config.servers.iter().enumerate().map(|(at, one)| peer(one.address, Role::Server(at))).collect(),
            rtrs => rtrs.iter().take(limits::RTRS).map(|rtr| peer(*rtr, Role::Rtr)).collect(),
        };
        let mut natted = Self {
            rlocs,
            random: StdRng::from_seed(seed),
            peers,
            standing: match config.mode {
                Mode::Auto => Standing::Unknown,
                Mode::On => Standing::Behind(Vec::new()),
            },
            config,
            heard_at: Vec::new(),
            undecided_until: Some(now + limits::DETECTION),
            outputs: VecDeque::new(),
            tally: Tally::default(),
        };
        natted.say_asked();
        natted
    }

    /// Has these locators from now on: how they are seen is asked at once, and until somebody says so it is believed to be as before; for
    /// [`limits::DETECTION`] if none of those is left that somebody was heard at. RTRs are used by the preferred one if that is another now,
    /// or if the one that they are used by is gone.
    pub fn set_rlocs(&mut self, now: Instant, rlocs: Vec<IpAddr>) {
        if self.rlocs == rlocs {
            return;
        }
        let before = std::mem::replace(&mut self.rlocs, rlocs);
        if self.standing != Standing::Unknown && self.is_elsewhere() {
            self.undecided_until = Some(now + limits::DETECTION);
        }
        for peer in &mut self.peers {
            peer.begins_anew(now);
            peer.outstanding.retain(|(_, local)| self.rlocs.contains(local));
            let preferred = same_family(&self.rlocs, peer.address);
            let is_gone = !uplinks(&self.rlocs, peer.address).any(|local| Some(local) == peer.local);
            if is_gone || preferred != same_family(&before, peer.address) {
                peer.local = peer.local.and(preferred);
            }
        }
    }

    /// Asks these Map-Servers from now on, under these keys, if it asks Map-Servers. Where nothing changes for one, nothing is sent to it;
    /// the RTRs that one has named stay while they answer.
    pub fn set_servers(&mut self, now: Instant, servers: Vec<Server>) {
        let before = std::mem::replace(&mut self.config.servers, servers);
        if !self.config.rtrs.is_empty() {
            return;
        }
        let is_rtr = |peer: &Peer| peer.role == Role::Rtr;
        let (rtrs, mut known): (Vec<Peer>, Vec<Peer>) = std::mem::take(&mut self.peers).into_iter().partition(is_rtr);
        for (at, server) in self.config.servers.iter().enumerate() {
            let place = known.iter().position(|peer| peer.address == server.address);
            let mut peer = match place {
                Some(place) => known.remove(place),
                None => Peer::new(now, server.address, Role::Server(at)),
            };
            let has_key = |other: &Server| other.address == server.address && other.key == server.key;
            if !before.iter().any(has_key) {
                peer.due = now;
            }
            peer.role = Role::Server(at);
            self.peers.push(peer);
        }
        self.peers.extend(rtrs);
    }

    /// Its Map-Servers know whose key it is by this EID-prefix from now on.
    pub fn set_eid(&mut self, eid: EidPrefix) {
        self.config.eid = eid;
    }

    /// Takes an Info-Reply, which came from there; `payload` is the whole message.
    pub fn on_info(&mut self, now: Instant, from: SocketAddr, payload: &[u8], message: &Info) {
        if let Err(refusal) = self.on_reply(now, from, payload, message) {
            self.tally.count(refusal);
        }
    }

    /// Who is asked.
    pub fn asked(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.peers.iter().map(|peer| peer.address)
    }

    /// Whether it is an RTR of ours.
    pub fn has_rtr(&self, address: IpAddr) -> bool {
        self.peers.iter().any(|peer| peer.role == Role::Rtr && peer.address == address)
    }

    /// Packets go to this RTR and nothing comes back, or somebody says that they do not get there. That proves nothing, as hosts may send
    /// one way only and anybody can write an ICMP error: the RTR is asked, which costs one Info-Request in [`limits::SUSPICION_PAUSE`] while
    /// it answers.
    pub fn suspect(&mut self, now: Instant, rtr: IpAddr) {
        let is_used = |ways: &[Way]| ways.iter().any(|way| way.rtr == rtr);
        if matches!(&self.standing, Standing::Behind(ways) if is_used(ways)) {
            self.peers.iter_mut().filter(|peer| peer.address == rtr).for_each(|peer| peer.suspect(now));
        }
    }

    /// Asks whoever is due, and decides when it is time.
    pub fn handle_timeout(&mut self, now: Instant) {
        // The others show whether the RTR is dead or all of the way there, and who of them is heard.
        if self.peers.iter().any(|peer| peer.is_doubtful(now)) {
            self.peers.iter_mut().for_each(|peer| peer.suspect(now));
        }
        for index in 0..self.peers.len() {
            if self.peers[index].due <= now && !self.peers[index].falls_silent(now) {
                self.ask(now, index);
            }
        }
        self.judge(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.peers.iter().map(|peer| peer.due).chain(self.undecided_until).min()
    }

    /// Where this node stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Who has answered, how each sees us, and from which locator of ours an RTR is reached.
    pub fn seen(&self) -> impl Iterator<Item = (IpAddr, SocketAddr, Option<IpAddr>)> + '_ {
        self.peers.iter().filter_map(|peer| Some((peer.address, peer.seen?, peer.local)))
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Info-Requests leave from the port whose binding they are to open: to an RTR from the data port. What is not answered is repeated by
    /// all uplinks to an RTR, and to a Map-Server, which sees no binding, by the next one, unless the preferred one was answered before: a
    /// lost answer says nothing of that, and whether there is a NAT is asked for the preferred one.
    fn ask(&mut self, now: Instant, index: usize) {
        let peer = &mut self.peers[index];
        let (address, tries) = (peer.address, peer.unanswered);
        let preferred = same_family(&self.rlocs, address);
        let turns = if peer.local == preferred { tries.saturating_sub(limits::UPLINK_MISSED) } else { tries };
        let locals: Vec<IpAddr> = match peer.role {
            Role::Rtr if tries > 0 => uplinks(&self.rlocs, address).collect(),
            Role::Rtr => peer.local.or(preferred).into_iter().collect(),
            Role::Server(_) => same_family(&turned(&self.rlocs, turns as usize), address).into_iter().collect(),
        };
        let asked: Vec<_> = locals.into_iter().map(|local| (Nonce(self.random.next_u64()), local)).collect();
        peer.asked(now, &asked);
        let (address, role) = (peer.address, peer.role);
        if asked.is_empty() {
            self.tally.count(Refusal::NoLocatorOfFamily);
        }
        for (nonce, local) in asked {
            match self.info_request(role, nonce, (local, address)) {
                Ok(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
                Err(refusal) => self.tally.count(refusal),
            }
        }
    }

    fn info_request(&self, role: Role, nonce: Nonce, (local, to): (IpAddr, IpAddr)) -> Result<Outgoing, Refusal> {
        let remote = SocketAddr::new(to, wire::CONTROL_PORT);
        let (bytes, to) = match role {
            Role::Rtr => {
                // The answer has addresses in it, and may be no more than three times as long: octets behind the last field are ignored.
                let padded = self.request(nonce, Eid::default()).encode().map(|mut bytes| {
                    bytes.resize(bytes.len().max(SHORTEST_REQUEST), 0);
                    bytes
                });
                (padded, Destination::DataPort { local, remote })
            }
            Role::Server(at) => {
                let server = &self.config.servers[at];
                let message = ControlMessage::from(self.request(nonce, self.config.eid.into()));
                (auth::seal(&message, &server.key, server.tag), Destination::Socket { local, remote })
            }
        };
        Ok(Outgoing { to, bytes: bytes.map_err(|_| Refusal::NotEncodable)? })
    }

    fn request(&self, nonce: Nonce, eid: Eid) -> Info {
        Info { nonce, ttl: Ttl::DEFAULT, eid, address: Address::None, ..Info::default() }
    }

    fn on_reply(&mut self, now: Instant, from: SocketAddr, payload: &[u8], message: &Info) -> Result<(), Refusal> {
        let used = self.uplink_to_others(from.ip());
        let is_from = |peer: &Peer| peer.address == from.ip() && from.port() == wire::CONTROL_PORT;
        let asked = |peer: &&mut Peer| is_from(peer) && peer.link_asked(message.nonce).is_some();
        let peer = self.peers.iter_mut().find(asked).filter(|_| message.reply).ok_or(Refusal::InfoUnasked)?;
        let nat = message.nat().ok_or(Refusal::InfoUnasked)?;
        if let Role::Server(at) = peer.role {
            auth::verify(payload, &self.config.servers[at].key, ACCEPTED).map_err(|_| Refusal::InfoBadTag)?;
        }
        let seen = nat.global_etr.ip().map(|address| SocketAddr::new(address, nat.etr_port));
        let link = peer.link_asked(message.nonce).ok_or(Refusal::InfoUnasked)?;
        if peer.role == Role::Rtr && !peer.goes_by(link, used) {
            // That uplink works, and is not needed.
            peer.outstanding.retain(|(nonce, _)| *nonce != message.nonce);
            return Ok(());
        }
        if peer.local.is_some_and(|former| former != link) {
            tracing::info!(rtr = %from.ip(), former = ?peer.local, local = %link, "the RTR is reached by another uplink");
        }
        let has_others = uplinks(&self.rlocs, peer.address).nth(1).is_some();
        let keepalive = if has_others { limits::KEEPALIVE_OF_SEVERAL } else { limits::KEEPALIVE };
        peer.is_translated = seen.is_some_and(|seen| is_translated(&self.rlocs, peer.role, seen));
        if seen.is_some() {
            let of_family = |rloc: &IpAddr| rloc.is_ipv4() == link.is_ipv4();
            self.heard_at.retain(|rloc| !of_family(rloc));
            self.heard_at.extend(self.rlocs.iter().copied().filter(of_family));
            self.undecided_until = None;
        }
        let (role, former) = (peer.role, peer.answered(now, keepalive, (link, seen)));
        if role == Role::Rtr {
            self.outputs.push_back(Output::Renewed);
            if former.is_some() && former != seen {
                tracing::info!(rtr = %from.ip(), ?former, ?seen, "the NAT has another binding for us");
                self.outputs.push_back(Output::Moved);
            }
        } else {
            self.learn_rtrs(now, nat.rtrs.iter().filter_map(Address::ip));
        }
        self.judge(now);
        if role != Role::Rtr || self.standing == Standing::Direct {
            // An RTR may be at the same address.
            let asked = self.peers.iter_mut().filter(|peer| is_from(peer) && peer.role == role);
            asked.for_each(|peer| peer.due = now + limits::LOOK_AGAIN);
        }
        Ok(())
    }

    /// The uplink by which other RTRs of the family are heard.
    fn uplink_to_others(&self, rtr: IpAddr) -> Option<IpAddr> {
        let is_other = |peer: &&Peer| peer.role == Role::Rtr && peer.address != rtr;
        let others = self.peers.iter().filter(is_other).filter(|peer| peer.address.is_ipv4() == rtr.is_ipv4());
        others.filter(|peer| peer.is_heard()).find_map(|peer| peer.local)
    }

    /// Those that a Map-Server names are asked too, as far as there is room. One that it names no longer stays while it answers.
    fn learn_rtrs(&mut self, now: Instant, named: impl Iterator<Item = IpAddr>) {
        let count = |peers: &[Peer]| peers.iter().filter(|peer| peer.role == Role::Rtr).count();
        let mut is_new = false;
        for address in named.filter(|address| is_unicast(*address)) {
            let can_reach = same_family(&self.rlocs, address).is_some() && !self.rlocs.contains(&address);
            if !can_reach || self.has_rtr(address) {
                continue;
            }
            if count(&self.peers) >= limits::RTRS {
                let is_dead = |peer: &Peer| peer.role == Role::Rtr && peer.unanswered > limits::MISSED;
                let Some(dead) = self.peers.iter().position(is_dead) else { continue };
                self.peers.remove(dead);
            }
            self.peers.push(Peer::new(now, address, Role::Rtr));
            is_new = true;
        }
        if is_new {
            self.say_asked();
        }
    }

    fn say_asked(&mut self) {
        let rtrs = self.peers.iter().filter(|peer| peer.role == Role::Rtr).map(|peer| peer.address);
        let rtrs = rtrs.collect();
        self.outputs.push_back(Output::Asked(rtrs));
    }

    /// What follows from what was heard of those who still answer. One who sees us elsewhere than we are is enough for a NAT (section 5.1).
    fn judge(&mut self, now: Instant) {
        let heard: Vec<&Peer> = self.peers.iter().filter(|peer| peer.is_alive()).collect();
        let is_behind = self.config.mode == Mode::On || heard.iter().any(|peer| peer.is_translated);
        self.undecided_until = self.undecided_until.filter(|until| *until > now);
        let is_open = self.undecided_until.is_some();
        let has_lived = matches!(self.standing, Standing::Behind(_)) && (is_open || !self.is_elsewhere());
        let standing = if is_behind || heard.is_empty() && has_lived {
            Standing::Behind(self.ways())
        } else if !heard.is_empty() || !is_open || self.standing == Standing::Direct {
            Standing::Direct
        } else {
            Standing::Unknown
        };
        if standing != self.standing {
            tracing::info!(?standing, "network address translation");
            self.standing = standing.clone();
            self.outputs.push_back(Output::Stands(standing));
        }
    }

    /// Whether the node has none of the locators at which somebody was heard, so that nothing is known of a NAT in front of those that it has.
    fn is_elsewhere(&self) -> bool {
        !self.rlocs.is_empty() && !self.rlocs.iter().any(|rloc| self.heard_at.contains(rloc))
    }

    /// The RTRs that answer, in the order in which they were named; without those that are silent, if there are others.
    fn ways(&self) -> Vec<Way> {
        let alive = || self.peers.iter().filter(|peer| peer.role == Role::Rtr && peer.is_alive());
        let has_others = alive().any(|peer| !peer.is_silent);
        let way = |peer: &Peer| Some(Way { local: peer.local?, rtr: peer.address });
        alive().filter(|peer| !(has_others && peer.is_silent)).filter_map(way).collect()
    }
}

/// Octets of an Info-Request to an RTR: a third of the longest answer, with six IPv6 addresses (four of the RTR, the one asked,
/// ourselves).
const SHORTEST_REQUEST: usize = 64;

/// The locators from which an RTR may be reached, the preferred one first.
fn uplinks(rlocs: &[IpAddr], rtr: IpAddr) -> impl Iterator<Item = IpAddr> + '_ {
    rlocs.iter().copied().filter(move |rloc| rloc.is_ipv4() == rtr.is_ipv4()).take(limits::UPLINKS)
}

/// Whether who is asked in this role sees another address or port than ours.
fn is_translated(rlocs: &[IpAddr], role: Role, seen: SocketAddr) -> bool {
    let port = if role == Role::Rtr { wire::DATA_PORT } else { wire::CONTROL_PORT };
    seen.port() != port || !rlocs.contains(&seen.ip())
}
