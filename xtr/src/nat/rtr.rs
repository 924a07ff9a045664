// SPDX-License-Identifier: GPL-2.0-or-later
//! The RTR (draft-ermagan-lisp-nat-traversal, section 5.3): relays Map-Registers from behind NATs and the Map-Notifies that answer
//! them, and learns from the two where the xTR is reached.
//!
//! The draft lets an RTR believe a Map-Notify for its nonce alone. Whoever sent the Map-Register knows that nonce, so that he could
//! answer himself, in the name of the Map-Server: this RTR wants the tag of the S bit, under the key that it shares with each of its
//! Map-Servers, and relays to no others.

mod bindings;
mod told;
mod tolds;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::AuthKey;
use wire::control::rtr::{RtrAd, encode_data_map_notify};
use wire::control::{ControlMessage, Ecm, Info, MapNotify, MapRegister, Nonce};
use wire::record::{MappingRecord, Ttl};

use super::limits;
use super::rates::Rates;
use crate::map_cache::{Entry, Forwarding, Update};
use crate::refusal::{Refusal, Tally};
use crate::transport::{Destination, Outgoing, Via, same_family};

use bindings::Bindings;
pub use bindings::Bound;
use tolds::{Subject, Tolds};

/// A Map-Server that Map-Registers are relayed to.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it is.
    pub address: IpAddr,
    /// The key that this RTR shares with it; that of no site.
    pub key: AuthKey,
}

/// What an RTR is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Map-Servers.
    pub servers: Vec<Server>,
    /// The instance whose packets are encapsulated.
    pub iid: InstanceId,
}

/// What the engine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message.
    Send(Outgoing),
    /// Tell the packet half.
    Update(Update),
    /// A Map-Server says who has what was reached by a binding here, or a part of what is, or that it is taken back. Those who have sent to
    /// that hear of it.
    Told {
        /// The EID-prefix of the binding.
        bound: EidPrefix,
        /// How it came.
        via: Via,
        /// What is said, under the key of that Map-Server; without locators: that nobody has it.
        record: MappingRecord,
    },
}

/// By what a Map-Notify finds its Map-Register: the nonce, which two xTRs may have at once, and the first EID-prefix.
type Asked = (Nonce, EidPrefix);

/// A Map-Register that was relayed.
#[derive(Debug)]
struct Pending {
    server: IpAddr,
    /// The xTR, as its NAT shows it.
    remote: SocketAddr,
    /// The address of ours that it sent to.
    local: IpAddr,
    /// The address of the xTR behind its NAT.
    private: IpAddr,
    /// What it registers, and what it takes back.
    prefixes: Vec<(EidPrefix, bool)>,
    /// Its locators are put together with those of other xTRs.
    merges: bool,
    xtr_id: Option<[u8; 16]>,
    until: Instant,
    /// It was answered: what answers it once more nobody waits for.
    is_answered: bool,
}

/// Relays for xTRs behind NATs.
#[derive(Debug)]
pub struct Rtr {
    config: Config,
    /// Our locators.
    rlocs: Vec<IpAddr>,
    bound: Bindings,
    /// Those that others have now, with the ways to their former xTRs.
    left: Bindings,
    pending: HashMap<Asked, Pending>,
    /// In the order of their ends.
    waiting: VecDeque<(Instant, Asked)>,
    /// Those that were not answered in time, each with its Map-Server, oldest first.
    unanswered: VecDeque<(IpAddr, Asked)>,
    info_rate: Rates,
    register_rate: Rates,
    /// Of what a Map-Server tells once more.
    again_rate: Rates,
    acknowledgement_rate: Rates,
    tolds: Tolds,
    outputs: VecDeque<Output>,
    tally: Tally,
}

impl Rtr {
    /// An RTR that is reached at `rlocs`.
    pub fn new(config: Config, rlocs: Vec<IpAddr>) -> Self {
        Self {
            config,
            rlocs,
            bound: Bindings::default(),
            left: Bindings::default(),
            pending: HashMap::new(),
            waiting: VecDeque::new(),
            unanswered: VecDeque::new(),
            info_rate: Rates::new(limits::INFO_REQUESTS),
            register_rate: Rates::new(limits::REGISTERS),
            again_rate: Rates::new(limits::REGISTERS),
            acknowledgement_rate: Rates::new(limits::REGISTERS),
            tolds: Tolds::default(),
            outputs: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Is reached at these addresses from now on.
    pub fn set_rlocs(&mut self, rlocs: Vec<IpAddr>) {
        self.rlocs = rlocs;
    }

    /// Relays to these Map-Servers from now on, under these keys. What is bound stays until it ends.
    pub fn set_servers(&mut self, servers: Vec<Server>) {
        self.tolds.keep_servers(|address| servers.iter().any(|server| server.address == *address));
        self.config.servers = servers;
    }

    /// Takes an Info-Request of so many octets (section 5.2, as a Map-Server does): says what was seen, and remembers nothing.
    pub fn on_info(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, octets: usize, request: &Info) {
        if let Err(refusal) = self.answer(now, local, remote, octets, request) {
            self.tally.count(refusal);
        }
    }

    /// Takes an ECM with R set: a Map-Register or a Map-Notify-Ack from behind a NAT, or the Map-Notify of a Map-Server.
    pub fn on_ecm(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, ecm: &Ecm) {
        let result = match ControlMessage::decode(&ecm.message) {
            Ok(ControlMessage::MapRegister(message)) => self.on_register(now, local, remote, ecm, &message),
            Ok(ControlMessage::MapNotify(message)) => self.on_notify(now, Via::Socket { local, remote }, ecm, &message),
            Ok(ControlMessage::MapNotifyAck(message)) => self.on_acknowledgement(now, remote, ecm, &message),
            Ok(_) => Err(Refusal::EcmNotMapRequest),
            Err(_) => Err(Refusal::Malformed),
        };
        if let Err(refusal) = result {
            self.tally.count(refusal);
        }
        self.handle_timeout(now);
    }

    /// Ends what is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, asked)) = self.waiting.front().copied().filter(|(until, _)| *until <= now) {
            self.waiting.pop_front();
            // It may have been answered, and its nonce used again since.
            if self.pending.get(&asked).is_some_and(|pending| pending.until <= now)
                && let Some(over) = self.pending.remove(&asked).filter(|over| !over.is_answered)
            {
                let excess = (self.unanswered.len() + 1).saturating_sub(limits::UNANSWERED);
                self.unanswered.drain(..excess);
                self.unanswered.push_back((over.server, asked));
            }
        }
        while let Some(prefix) = self.bound.ended(now) {
            tracing::info!(%prefix, "nothing was heard from behind its NAT for too long");
            self.unbind(&prefix);
        }
        while let Some(prefix) = self.left.ended(now) {
            self.left.remove(&prefix);
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ends = [self.bound.next_end(), self.left.next_end()];
        ends.into_iter().chain([self.waiting.front().map(|(until, _)| *until)]).flatten().min()
    }

    /// The EID-prefixes from behind NATs.
    pub fn bound(&self) -> impl Iterator<Item = &Bound> {
        self.bound.iter()
    }

    /// Whether exactly this EID-prefix is reached through a NAT.
    pub fn is_bound(&self, prefix: &EidPrefix) -> bool {
        self.bound.get(prefix).is_some()
    }

    /// The longest EID-prefix from behind a NAT that covers this one.
    pub fn covering(&self, prefix: &EidPrefix) -> Option<&Bound> {
        self.bound.covering(prefix, |_| true)
    }

    /// The mappings of what these ask about and is bound, as long as it was registered lately: a probe's Map-Reply SHOULD have them
    /// (RFC 9301, section 7.1), or who probes asks the mapping system again and again.
    pub fn mappings<'a>(&self, now: Instant, asked: impl Iterator<Item = &'a EidPrefix>) -> Vec<&MappingRecord> {
        let is_fresh = |bound: &&Bound| now + limits::BINDING < bound.expires + limits::VOUCHED;
        let bound = asked.filter_map(|asked| self.covering(asked)).filter(is_fresh);
        let mappings = bound.filter_map(|bound| Some((bound.prefix, bound.mapping.as_ref()?)));
        mappings.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn answer(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        octets: usize,
        request: &Info,
    ) -> Result<(), Refusal> {
        if request.reply {
            return Err(Refusal::InfoUnasked);
        }
        if !self.info_rate.allow(now, remote, self.is_known(remote)) {
            return Err(Refusal::InfoRateLimited);
        }
        let ours = &self.rlocs[..self.rlocs.len().min(limits::RTRS)];
        let bytes = request.answer(remote, local, ours).encode().map_err(|_| Refusal::NotEncodable)?;
        if bytes.len() > octets * limits::AMPLIFICATION {
            return Err(Refusal::InfoAmplification);
        }
        self.left.renew(remote, now + limits::BINDING);
        self.send(local.ip(), remote, bytes);
        Ok(())
    }

    /// Whether an xTR is reached there, by what a Map-Server has accepted.
    fn is_known(&self, remote: SocketAddr) -> bool {
        self.bound.has_place(remote) || self.left.has_place(remote)
    }

    /// It is remembered, and changes nothing until its Map-Server has accepted it (section 5.3: "unverified").
    fn on_register(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        ecm: &Ecm,
        message: &MapRegister,
    ) -> Result<(), Refusal> {
        let way @ (_, server) = self.way_to_server(ecm)?;
        let prefixes = self.prefixes(&message.records)?;
        let asked = (message.nonce, prefixes.first().ok_or(Refusal::RelayEid)?.0);
        self.refuse_replay(server, asked, remote, &prefixes)?;
        if !self.register_rate.allow(now, remote, self.is_known(remote)) {
            return Err(Refusal::RelayRateLimited);
        }
        self.relay(way, ecm)?;
        let pending = Pending {
            server,
            remote,
            local: local.ip(),
            private: ecm.source.ip(),
            prefixes,
            merges: message.merge,
            xtr_id: message.xtr_identity.map(|identity| identity.xtr_id),
            until: now + limits::PATIENCE,
            is_answered: false,
        };
        self.wait_for(asked, pending);
        Ok(())
    }

    /// The address of ours that a message to a Map-Server leaves from, and that of the Map-Server, if it is one of ours.
    fn way_to_server(&self, ecm: &Ecm) -> Result<(IpAddr, IpAddr), Refusal> {
        let address = ecm.destination.ip();
        let is_known = self.config.servers.iter().any(|server| server.address == address);
        let from = same_family(&self.rlocs, address).filter(|_| is_known).ok_or(Refusal::RelayServerUnknown)?;
        Ok((from, address))
    }

    /// The message as it is, with N in the place of R.
    fn relay(&mut self, (from, server): (IpAddr, IpAddr), ecm: &Ecm) -> Result<(), Refusal> {
        let to_server = Ecm { by_rtr: true, ..Ecm::wrap(ecm.source, ecm.destination, ecm.message.clone()) };
        let bytes = to_server.encode().map_err(|_| Refusal::NotEncodable)?;
        self.send(from, SocketAddr::new(server, wire::CONTROL_PORT), bytes);
        Ok(())
    }

    /// The oldest makes room: a Map-Server answers within a moment, or not at all, so that a flood of what it refuses pushes out itself.
    /// What is sent once more waits for its own answer.
    fn wait_for(&mut self, asked: Asked, pending: Pending) {
        while self.waiting.len() >= limits::PENDING
            && let Some((until, oldest)) = self.waiting.pop_front()
        {
            if self.pending.get(&oldest).is_some_and(|pending| pending.until == until) {
                self.pending.remove(&oldest);
                self.tally.count(Refusal::RelayTableFull);
            }
        }
        self.waiting.push_back((pending.until, asked));
        match self.pending.get_mut(&asked) {
            Some(known) if !known.is_answered => known.until = pending.until,
            _ => _ = self.pending.insert(asked, pending),
        }
    }

    /// The EID-prefixes that are registered, and whether each is taken back.
    fn prefixes(&self, records: &[MappingRecord]) -> Result<Vec<(EidPrefix, bool)>, Refusal> {
        let prefix = |record: &MappingRecord| {
            let prefix = record.eid.ip_prefix().filter(|prefix| prefix.iid == self.config.iid);
            prefix.map(|prefix| (prefix, record.ttl == Ttl::WITHDRAWN || record.locators.is_empty()))
        };
        let prefixes: Option<Vec<_>> = records.iter().map(prefix).collect();
        let fits = |prefixes: &Vec<_>| !prefixes.is_empty() && prefixes.len() <= limits::PREFIXES;
        prefixes.filter(fits).ok_or(Refusal::RelayEid)
    }

    /// A Map-Server answers the last Map-Register of an xTR as often as it comes, from wherever, and repeats what it tells: who has seen
    /// one on its way must not have the packets led to himself by it.
    fn refuse_replay(
        &self,
        server: IpAddr,
        asked: Asked,
        remote: SocketAddr,
        prefixes: &[(EidPrefix, bool)],
    ) -> Result<(), Refusal> {
        let is_pending = self.pending.get(&asked).is_some_and(|pending| pending.remote != remote);
        let mut all = prefixes.iter().map(|(prefix, _)| (server, *prefix));
        let replayed = is_pending || all.any(|subject| self.is_known_nonce(&subject, asked.0, remote));
        if replayed { Err(Refusal::RelayReplayed) } else { Ok(()) }
    }

    /// Whether who sends a Map-Register with this nonce from there has it from a message that went by: from a Map-Register of another place,
    /// or from what this Map-Server has told.
    fn is_known_nonce(&self, subject: &Subject, nonce: Nonce, at: SocketAddr) -> bool {
        let mut known = [&self.bound, &self.left].into_iter().filter_map(|table| table.get(&subject.1));
        known.any(|known| known.was_accepted_from_elsewhere(nonce, at)) || self.tolds.has(subject, nonce)
    }

    /// Whether it is the nonce of a Map-Register that this Map-Server has accepted, or that was not answered in time.
    fn is_of_register(&self, subject: &Subject, nonce: Nonce) -> bool {
        let mut known = [&self.bound, &self.left].into_iter().filter_map(|table| table.get(&subject.1));
        known.any(|known| known.was_accepted(nonce)) || self.unanswered.contains(&(subject.0, (nonce, subject.1)))
    }

    fn on_notify(&mut self, now: Instant, via: Via, ecm: &Ecm, message: &MapNotify) -> Result<(), Refusal> {
        let Via::Socket { remote, .. } = via else { return Err(Refusal::RelayNotifyBadTag) };
        let from = remote.ip();
        let server = self.config.servers.iter().find(|server| server.address == from);
        let ad = ecm.security.as_deref().and_then(|octets| RtrAd::decode(octets).ok());
        let (Some(server), Some(ad)) = (server, ad) else { return Err(Refusal::RelayNotifyBadTag) };
        ad.verify(&ecm.message, &server.key).map_err(|_| Refusal::RelayNotifyBadTag)?;
        let is_its = |pending: &Pending| {
            let named = message.xtr_identity.map(|identity| identity.xtr_id);
            named.is_none_or(|xtr_id| pending.xtr_id.unwrap_or_default() == xtr_id)
        };
        let is_asked = |pending: &Pending| pending.server == from && pending.until > now && is_its(pending);
        let confirmed: BTreeMap<EidPrefix, &MappingRecord> =
            message.records.iter().filter_map(|record| Some((record.eid.ip_prefix()?, record))).collect();
        let mut of_nonce = confirmed.keys().map(|prefix| (message.nonce, *prefix));
        let found = of_nonce.find(|asked| self.pending.get(asked).is_some_and(is_asked));
        let Some(pending) = found.and_then(|asked| self.pending.get_mut(&asked)) else {
            return self.on_told(now, via, ecm, message);
        };
        if std::mem::replace(&mut pending.is_answered, true) {
            return Err(Refusal::RelayNotifyUnasked);
        }
        let pending = Pending { prefixes: std::mem::take(&mut pending.prefixes), ..*pending };
        for (prefix, is_over) in &pending.prefixes {
            let Some(mapping) = confirmed.get(prefix) else { continue };
            // It was accepted while this one waited, perhaps together with another EID-prefix.
            if self.is_known_nonce(&(from, *prefix), message.nonce, pending.remote) {
                self.tally.count(Refusal::RelayReplayed);
            } else if *is_over {
                if self.withdraw(prefix, pending.xtr_id) {
                    self.outputs.push_back(Output::Told { bound: *prefix, via, record: (*mapping).clone() });
                }
            } else if let Err(refusal) = self.bind(now, (*prefix, mapping), message.nonce, &pending) {
                self.tally.count(refusal);
            }
        }
        self.hand_back(from, ecm, (pending.local, pending.remote, pending.private))
    }

    /// The Map-Notify in a LISP data header, from the port that the Map-Register came to (section 4.5).
    fn hand_back(
        &mut self,
        server: IpAddr,
        ecm: &Ecm,
        (local, at, private): (IpAddr, SocketAddr, IpAddr),
    ) -> Result<(), Refusal> {
        let address = |ip| SocketAddr::new(ip, wire::CONTROL_PORT);
        let notify = Ecm::wrap(address(server), address(private), ecm.message.clone());
        let bytes = encode_data_map_notify(&notify).map_err(|_| Refusal::NotEncodable)?;
        self.send(local, at, bytes);
        Ok(())
    }

    fn bind(
        &mut self,
        now: Instant,
        (prefix, mapping): (EidPrefix, &MappingRecord),
        nonce: Nonce,
        pending: &Pending,
    ) -> Result<(), Refusal> {
        if self.bound.len() >= limits::BINDINGS && !self.is_bound(&prefix) {
            return Err(Refusal::RelayTableFull);
        }
        let (at, expires) = (pending.remote, now + limits::BINDING);
        let (former, left) = (self.bound.remove(&prefix), self.left.get(&prefix).cloned());
        let before = [&left, &former].into_iter().flatten();
        let servers = self.config.servers.iter().map(|server| server.address);
        if left.as_ref().is_some_and(|left| left.xtr_id == pending.xtr_id) {
            self.left.remove(&prefix);
        }
        for its in before.filter(|before| before.xtr_id == pending.xtr_id && before.at != at) {
            self.left.follow(its.xtr_id, its.at, at);
            servers.clone().for_each(|server| self.tolds.follow((server, prefix), its.at, at));
        }
        if !pending.merges && former.as_ref().is_none_or(|former| former.xtr_id != pending.xtr_id) {
            servers.for_each(|server| self.tolds.forget_at(&(server, prefix), at));
        }
        if former.as_ref().is_none_or(|former| former.at != at) {
            // Who registers with two addresses of ours has two bindings, of which the last one counts.
            if former.as_ref().is_some_and(|former| former.private == pending.private) {
                tracing::debug!(%prefix, %at, "reached through another binding");
            } else {
                tracing::info!(%prefix, %at, "reached through a NAT");
            }
        }
        let mapping = Some(mapping).filter(|mapping| !pending.merges && is_kept(mapping)).cloned();
        let (local, private) = (pending.local, pending.private);
        let xtr_id = pending.xtr_id;
        let accepted = accepted(former.as_ref().or(left.as_ref()), (nonce, at));
        let same = former.as_ref().filter(|former| former.xtr_id == xtr_id);
        // Of an xTR that registers by both families the way to it is the last one; what it sends comes by either.
        let other = same.and_then(|former| former.beside(now, at.ip()));
        let bound = Bound { prefix, at, other, local, private, expires, mapping, xtr_id, accepted };
        if former.as_ref().is_none_or(|former| former.at != at || former.nats() != bound.nats()) {
            self.outputs.push_back(Output::Update(Update::Relayed { prefix, nats: bound.nats() }));
        }
        if let Some(former) = former.filter(|former| former.xtr_id != xtr_id) {
            self.keep_former(now, former);
        }
        let entry = Entry { forwarding: Forwarding::Binding(bound.binding()), expires };
        self.bound.insert(bound);
        self.outputs.push_back(Output::Update(Update::Upsert { prefix, entry }));
        Ok(())
    }

    /// What another xTR has now is that one's to take back. Whether it is reached no more.
    fn withdraw(&mut self, prefix: &EidPrefix, xtr_id: Option<[u8; 16]>) -> bool {
        let is_its = self.bound.get(prefix).is_some_and(|bound| bound.xtr_id == xtr_id);
        if is_its {
            self.unbind(prefix);
        }
        is_its
    }

    fn unbind(&mut self, prefix: &EidPrefix) -> Option<Bound> {
        let bound = self.bound.remove(prefix)?;
        self.outputs.push_back(Output::Update(Update::Remove { prefix: *prefix }));
        self.outputs.push_back(Output::Update(Update::Relayed { prefix: *prefix, nats: [None; 2] }));
        Some(bound)
    }

    fn send(&mut self, local: IpAddr, remote: SocketAddr, bytes: Vec<u8>) {
        let to = Destination::Socket { local, remote };
        self.outputs.push_back(Output::Send(Outgoing { to, bytes }));
    }
}

/// The nonces that are known when this one has been accepted too.
fn accepted(before: Option<&Bound>, this: (Nonce, SocketAddr)) -> Vec<(Nonce, SocketAddr)> {
    let before = before.map(|before| before.accepted.as_slice()).unwrap_or_default();
    let mut all: Vec<_> = before.iter().copied().filter(|known| *known != this).chain([this]).collect();
    all.drain(..all.len().saturating_sub(limits::NONCES));
    all
}

/// Whether a mapping is kept: locators that are no addresses may be of any length.
fn is_kept(mapping: &MappingRecord) -> bool {
    mapping.locators.len() <= limits::LOCATORS && mapping.locators.iter().all(|locator| locator.rloc.ip().is_some())
}
