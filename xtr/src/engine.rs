// SPDX-License-Identifier: GPL-2.0-or-later
//! The control half of the border node: resolve, register, reply and reach behind one `handle` and one `poll`.

mod ecn;
mod interworking;
mod map_systems;
mod nat;
mod peers;
mod security;
mod subscriptions;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, Ecm, MapReply, MapRequest, Nonce, message_type};

use crate::database::{Database, OwnLocator};
use crate::interwork::{Aggregate, Petrs, Pitr};
use crate::limits;
use crate::map_cache::{Entry, Event, Forwarding, Update};
use crate::nat::natted::Natted;
use crate::nat::rtr::Rtr;
use crate::reach::{self, Bits, Counts, Echo, EchoState, Own, ProbedLocator, Prober, Solicitor, StatusBits};
use crate::refusal::{Refusal, Tally};
use crate::register::{self, Registrar, Registration, Server};
use crate::reply::{Opener, Protection, Replier, Request};
use crate::resolve::{self, Installed, Policy, Resolver};
use crate::subscribe::{Association, Subscriber, Told};
use crate::transport::{MapSystem, Outgoing, Via};
use crate::trust::Trust;

/// What the control half is made of.
#[derive(Debug)]
pub struct Config {
    /// Our EID-prefixes, CGEIDs among them, and locators.
    pub database: Database,
    /// The network of CGEIDs, if this node takes part in one.
    pub cgeid_network: Option<IpNet>,
    /// Map-Servers. CGEIDs are registered through the pipe only, whatever is said here.
    pub servers: Vec<Server>,
    /// Map-Resolvers.
    pub resolvers: Vec<MapSystem>,
    /// Map-Registers carry nonces above this one: what the last run had persisted.
    pub nonce_floor: Nonce,
    /// Entropy for the nonces of Map-Requests.
    pub seed: [u8; 32],
}

/// What the control half is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A control message came.
    Datagram {
        /// How.
        via: Via,
        /// The UDP payload.
        bytes: &'a [u8],
    },
    /// The packet half wants something.
    Event(Event),
    /// The locators of this node changed; all of them can be reached.
    Locators(Vec<OwnLocator>),
    /// The locators of this node, or which of them can be reached, changed.
    Reached {
        /// All of them.
        locators: Vec<OwnLocator>,
        /// The addresses of those that cannot be reached now.
        unreachable: Vec<IpAddr>,
    },
    /// Packets came from these RLOCs and were decapsulated: they hear of our changes for the next minute.
    PacketsFrom(&'a [IpAddr]),
    /// The answer to [`Output::WantSenders`]: RLOCs that packets came from within the last minute, and in how many seconds of it.
    Senders {
        /// What they hear of.
        about: EidPrefix,
        /// Them.
        senders: &'a [(IpAddr, u32)],
    },
    /// This node has another EID-prefix, as a rule a CGEID: it is registered and its packets are taken at once.
    AddEid(EidPrefix),
    /// An EID-prefix is this node's no longer: it is deregistered, and its packets are taken no more.
    RemoveEid(EidPrefix),
    /// Other Map-Servers and Map-Resolvers than before, or other keys.
    MapSystems {
        /// With whom the EID-prefixes are registered from now on; those that are no longer named get a withdrawal.
        servers: Vec<Server>,
        /// Whom to ask.
        resolvers: Vec<MapSystem>,
        /// The Map-Resolvers behind which mappings are subscribed to, as before, with the keys that they have now.
        subscriptions: Vec<Association>,
    },
    /// The node goes away.
    Shutdown,
}

/// What the control half wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send a control message.
    Send(Outgoing),
    /// Tell the packet half.
    Update(Update),
    /// Write this to disk before anything after it is sent.
    PersistNonce(Nonce),
    /// Keep the last nonces of the unsolicited Map-Notifies of these Map-Servers on disk: what [`Control::having_heard`] takes.
    PersistHeard(Vec<(MapSystem, Nonce)>),
    /// Keep the last nonces of what is told unasked on disk: what [`Control::having_been_told`] takes.
    PersistTold(Vec<(Told, Nonce)>),
    /// Say who has sent packets to an EID-prefix behind a NAT that this RTR has, or had, a binding for, as [`Input::Senders`].
    WantSenders {
        /// The EID-prefix that was registered.
        bound: EidPrefix,
        /// It, or a part of it, about which they are to hear.
        about: EidPrefix,
    },
}

/// The control half.
#[derive(Debug)]
pub struct Control {
    database: Database,
    resolver: Resolver,
    registrar: Registrar,
    replier: Replier,
    opener: Opener,
    prober: Prober,
    solicitor: Solicitor,
    subscriber: Subscriber,
    trust: Trust,
    echo: Echo,
    own: Own,
    status_bits: StatusBits,
    petrs: Petrs,
    pitr: Option<Pitr>,
    rtr: Option<Rtr>,
    natted: Option<Natted>,
    iid: InstanceId,
    smrs_received: u64,
    /// Whether odd ECN fields are written to the log.
    logs_ecn: bool,
    outputs: VecDeque<Output>,
    tally: Tally,
}

impl Control {
    /// Starts at `now`: the first Map-Registers are due at once.
    pub fn new(now: Instant, config: Config) -> Self {
        let policy =
            Policy { own: config.database.prefixes().to_vec(), cgeid_network: config.cgeid_network, pitr_for: None };
        let resolve = resolve::Config { resolvers: config.resolvers, rlocs: config.database.rlocs(), policy };
        let database = config.database;
        let register = register::Config {
            database: database.clone(),
            servers: config.servers,
            cgeids: config.cgeid_network.map(|net| EidPrefix { iid: InstanceId(0), net }),
            nonce_floor: config.nonce_floor,
        };
        // Engines of one seed would draw the same numbers.
        let seed = |engine: u8| {
            let mut seed = config.seed;
            seed[0] ^= engine;
            seed
        };
        let outputs = VecDeque::from([
            Output::Update(Update::LocalEids(database.prefixes().to_vec())),
            Output::Update(Update::LocalRlocs(database.preferred_rlocs())),
        ]);
        Self {
            resolver: Resolver::new(resolve, seed(0)),
            registrar: Registrar::new(now, register),
            replier: Replier::new(database.clone()),
            opener: Opener::default(),
            prober: Prober::new(now, database.preferred_rlocs(), seed(1)),
            solicitor: Solicitor::new(now, seed(2)),
            trust: Trust::default(),
            echo: Echo::new(Trust::default(), seed(3)),
            own: Own::new(now, &Trust::default(), database.ttl()),
            status_bits: StatusBits::default(),
            petrs: Petrs::default(),
            pitr: None,
            database,
            subscriber: Subscriber::off(now),
            rtr: None,
            natted: None,
            iid: InstanceId(0),
            smrs_received: 0,
            logs_ecn: true,
            outputs,
            tally: Tally::default(),
        }
    }

    /// Probes none of these locators: those who have them speak no control protocol, as a Linux vxlan gpe device.
    #[must_use]
    pub fn sparing(mut self, rlocs: Vec<IpAddr>) -> Self {
        self.prober.spare(rlocs);
        self
    }

    /// Has heard these last unsolicited Map-Notifies in the run before ([`Output::PersistHeard`]).
    #[must_use]
    pub fn having_heard(mut self, kept: impl IntoIterator<Item = (MapSystem, Nonce)>) -> Self {
        self.registrar.has_heard(kept);
        self
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { via, bytes } => {
                if let Err(refusal) = self.on_datagram(now, via, bytes) {
                    self.tally.count(refusal);
                }
            }
            Input::Event(event) => self.on_event(now, event),
            Input::Locators(locators) => self.on_locators(now, locators, Vec::new()),
            Input::Reached { locators, unreachable } => self.on_locators(now, locators, unreachable),
            Input::PacketsFrom(rlocs) => rlocs.iter().for_each(|rloc| {
                self.solicitor.heard(now, *rloc, &[], true);
                self.prober.heard_data(now, *rloc);
            }),
            Input::Senders { about, senders } => {
                let times = |seconds: u32| usize::try_from(seconds).unwrap_or(usize::MAX);
                senders
                    .iter()
                    .for_each(|(rloc, seconds)| self.solicitor.solicit_one(now, *rloc, about, times(*seconds)));
            }
            Input::AddEid(prefix) => self.add_eid(now, prefix),
            Input::RemoveEid(prefix) => self.remove_eid(now, prefix),
            Input::MapSystems { servers, resolvers, subscriptions } => {
                self.on_map_systems(now, servers, resolvers, &subscriptions);
            }
            Input::Shutdown => self.registrar.handle(now, register::Input::Withdraw),
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.follow_subscriptions(now);
        self.resolver.handle_timeout(now);
        self.send_registrations(now);
        self.follow_resolver(now);
        self.follow_subscriptions(now);
        self.follow_peers(now);
        self.look_for_sites(now);
        let (petrs, site) = (&self.petrs, self.database.prefixes());
        self.prober.handle_timeout(now, |rloc, after| {
            self.resolver.user_of(now, rloc, after).or_else(|| petrs.asked(rloc, after, site))
        });
        while let Some(output) = self.prober.poll() {
            self.outputs.push_back(match output {
                reach::Output::Send(outgoing) => Output::Send(outgoing),
                reach::Output::Update(update) => Output::Update(update),
            });
        }
        let prober = &self.prober;
        self.solicitor.handle_timeout(now, self.registrar.is_confirmed(), |itr| prober.ways(itr));
        while let Some(outgoing) = self.solicitor.poll() {
            self.outputs.push_back(Output::Send(outgoing));
        }
        self.advance_nat(now);
    }

    fn follow_resolver(&mut self, now: Instant) {
        while let Some(output) = self.resolver.poll() {
            match output {
                resolve::Output::Send(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
                resolve::Output::Update(update) => self.on_update(now, update),
            }
        }
    }

    /// What the registrar has to do, and what follows from what it has heard.
    fn send_registrations(&mut self, now: Instant) {
        self.registrar.handle_timeout(now);
        while let Some(output) = self.registrar.poll() {
            match output {
                register::Output::PersistNonce(nonce) => self.outputs.push_back(Output::PersistNonce(nonce)),
                register::Output::PersistHeard(heard) => self.outputs.push_back(Output::PersistHeard(heard)),
                register::Output::Send(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
                register::Output::Moved(prefix) => {
                    tracing::warn!(%prefix, "a Map-Server has another xTR for an EID-prefix of ours");
                    self.solicitor.changed(now, [prefix]);
                }
                register::Output::Returned(prefix) => {
                    tracing::info!(%prefix, "no other xTR has an EID-prefix of ours any more");
                    self.solicitor.changed(now, [prefix]);
                }
            }
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let engines = [
            self.resolver.next_deadline(),
            self.registrar.next_deadline(),
            self.prober.next_deadline(),
            self.solicitor.next_deadline(),
            self.subscriber.next_deadline(),
            self.echo.next_deadline(),
            self.own.next_deadline(),
            self.pitr.as_ref().and_then(Pitr::next_deadline),
        ];
        engines.into_iter().chain(self.nat_deadlines()).flatten().min()
    }

    /// Whether every registration was taken back after [`Input::Shutdown`].
    pub fn is_withdrawn(&self) -> bool {
        self.registrar.is_withdrawn()
    }

    /// Everything refused so far.
    pub fn tally(&self) -> Tally {
        let (resolver, registrar, replier) = (self.resolver.tally(), self.registrar.tally(), self.replier.tally());
        let reach = [self.prober.tally(), self.solicitor.tally(), self.status_bits.tally(), self.subscriber.tally()];
        let parts = [resolver, registrar, replier].into_iter().chain(reach);
        parts.chain(self.nat_tallies()).fold(self.tally.clone(), Tally::plus)
    }

    /// Probes and SMRs so far.
    pub fn counts(&self) -> Counts {
        let received = Counts { smrs_received: self.smrs_received, ..Counts::default() };
        self.prober.counts().plus(self.solicitor.counts()).plus(self.echo.counts()).plus(received)
    }

    /// The locators of others that are probed.
    pub fn probed_locators(&self, now: Instant) -> impl Iterator<Item = ProbedLocator> + '_ {
        self.prober.locators(now)
    }

    /// The locator of ours that packets to one of others leave from, if that is not the preferred one.
    pub fn source_towards(&self, rloc: IpAddr) -> Option<IpAddr> {
        self.prober.source(rloc)
    }

    /// Whether packets may go to a locator of others, as far as probes have shown.
    pub fn is_usable(&self, rloc: IpAddr) -> bool {
        self.prober.is_usable(rloc)
    }

    /// How echoes stand with a locator of others; none if they are not used with it.
    pub fn echo_state(&self, rloc: IpAddr) -> Option<EchoState> {
        self.echo.state(rloc)
    }

    /// The locator-status-bits that trusted peers are sent, if they are sent any now.
    pub fn status_bits(&self) -> Option<u32> {
        self.own.status_bits()
    }

    /// The locators of a mapping that packets do not go to, by its locator-status-bits.
    pub fn down_by_status_bits(&self, prefix: &EidPrefix, installed: &Installed) -> Vec<IpAddr> {
        self.status_bits.down(prefix, installed)
    }

    /// What the packet half was told to do with packets for a mapping.
    pub fn entry_of(&self, prefix: &EidPrefix, installed: &Installed) -> Entry {
        let mut entry = installed.entry();
        self.status_bits.apply(prefix, installed, &mut entry);
        entry
    }

    /// The state of every registration.
    pub fn registrations(&self, now: Instant) -> impl Iterator<Item = Registration> + '_ {
        self.registrar.registrations(now)
    }

    /// The mappings in use.
    pub fn map_cache(&self, now: Instant) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        self.resolver.installed(now)
    }

    /// The mapping that packets to an address meet.
    pub fn mapping_for(&self, now: Instant, iid: InstanceId, address: IpAddr) -> Option<(EidPrefix, &Installed)> {
        self.resolver.mapping_for(now, iid, address)
    }

    /// The PETRs that this node uses.
    pub fn petrs(&self) -> &Petrs {
        &self.petrs
    }

    /// The EID-prefixes of others that this node is PITR for, ascending.
    pub fn pitr_for(&self) -> &[EidPrefix] {
        self.pitr.as_ref().map_or(&[], Pitr::leads)
    }

    /// The aggregates that a PITR looks for sites in, and what it has found.
    pub fn aggregates(&self) -> &[Aggregate] {
        self.pitr.as_ref().map_or(&[], Pitr::aggregates)
    }

    /// Our prefixes and locators.
    pub fn database(&self) -> &Database {
        &self.database
    }

    fn on_datagram(&mut self, now: Instant, via: Via, bytes: &[u8]) -> Result<(), Refusal> {
        match ControlMessage::decode(bytes) {
            Err(_) => Err(undecodable(bytes)),
            Ok(ControlMessage::MapRequest(message)) => {
                self.on_map_request(now, via, None, &message, None);
                Ok(())
            }
            Ok(ControlMessage::MapReply(message)) if message.probe => self.on_probe_reply(now, via, &message),
            Ok(ControlMessage::MapReply(message)) if self.subscriber.reply(now, &message) => Ok(()),
            Ok(ControlMessage::MapReply(message)) => {
                if self.pitr.as_mut().is_some_and(|pitr| pitr.answer(now, &message)) {
                    return Ok(());
                }
                self.resolver.handle(now, resolve::Input::Reply { via, message: &message, payload: bytes });
                Ok(())
            }
            Ok(ControlMessage::MapNotify(message))
                if self.subscriber.takes(&message, self.registrar.has_used(message.nonce)) =>
            {
                self.subscriber.notify(now, via, &message, bytes);
                Ok(())
            }
            Ok(ControlMessage::MapNotify(message)) => {
                let from = match via {
                    Via::Pipe => MapSystem::Pipe,
                    Via::Socket { remote, .. } => MapSystem::Node(remote.ip()),
                };
                let notify = register::Input::Notify { from, by: None, message: &message, payload: bytes };
                self.registrar.handle(now, notify);
                Ok(())
            }
            // Around a Map-Request the bit is reserved, and ignored (RFC 9301, section 5.8).
            Ok(ControlMessage::Ecm(ecm)) if ecm.for_rtr && message_type(&ecm.message) != Some(MapRequest::TYPE) => {
                self.on_relay(now, via, &ecm)
            }
            Ok(ControlMessage::Ecm(ecm)) => self.on_ecm(now, via, &ecm),
            Ok(ControlMessage::Info(message)) => self.on_info(now, via, bytes, &message),
            Ok(ControlMessage::Shared(_)) => Err(Refusal::UnknownType),
            Ok(_) => Err(Refusal::NotForXtr),
        }
    }

    /// A Map-Server forwards what it does not answer itself (RFC 9301, section 8.3), from any port.
    fn on_ecm(&mut self, now: Instant, via: Via, ecm: &Ecm) -> Result<(), Refusal> {
        match ControlMessage::decode(&ecm.message) {
            Err(_) => Err(Refusal::Malformed),
            Ok(ControlMessage::MapRequest(message)) if !message.smr => {
                let protection = self.protection(now, via, ecm, &message)?;
                self.on_map_request(now, via, Some(ecm.source), &message, protection.as_ref());
                Ok(())
            }
            Ok(_) => Err(Refusal::EcmNotMapRequest),
        }
    }

    fn on_map_request(
        &mut self,
        now: Instant,
        via: Via,
        inner_source: Option<SocketAddr>,
        message: &MapRequest,
        protection: Option<&Protection>,
    ) {
        if message.smr {
            self.smrs_received += 1;
            self.resolver.handle(now, resolve::Input::Smr(message));
            return;
        }
        let from = if let Via::Socket { remote, .. } = via { Some(remote.ip()) } else { None };
        let request = Request { via, inner_source, message, protection, rtr: self.rtr.as_ref() };
        let Some(reply) = self.replier.handle(now, request) else { return };
        // A source can be forged: only a probe that is answered, about an EID-prefix of ours, says something of who sends it.
        if let Some(probing) = from.filter(|_| message.probe && !reply.prefixes.is_empty()) {
            self.prober.heard(now, probing);
            for other in self.resolver.no_worse_than(now, probing) {
                self.prober.doubt(now, other);
            }
        }
        self.solicitor.heard(now, reply.itr, &reply.prefixes, from == Some(reply.itr));
        self.outputs.push_back(Output::Send(reply.outgoing));
    }

    fn on_probe_reply(&mut self, now: Instant, via: Via, message: &MapReply) -> Result<(), Refusal> {
        let probed = self.prober.answer(now, via, message)?;
        // Of other Map-Replies E says nothing about a locator: whoever has a mapping may write those of others into it.
        self.echo.set_capable(now, probed.rloc, message.echo_nonce);
        // What a PETR is asked about is no mapping.
        if self.petrs.addresses().any(|petr| petr == probed.rloc) && probed.prefix.net.prefix_len() == 0 {
            return Ok(());
        }
        let records = message.records.as_slice();
        self.resolver.handle(now, resolve::Input::Probed { prefix: probed.prefix, records });
        Ok(())
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        let Some(event) = self.without_nat(now, event) else { return };
        match event {
            // Nobody else sends one.
            Event::Control { .. } => {}
            Event::Miss { eid, source } => self.resolver.handle(now, resolve::Input::Miss { eid, source }),
            Event::Refresh { prefix } if self.subscriber.refresh(now, &prefix) => {}
            Event::Refresh { prefix } => self.resolver.handle(now, resolve::Input::Refresh { prefix }),
            Event::Silent { rloc } => self.prober.suspect(now, rloc),
            Event::Source { eid, rloc } => self.resolver.handle(now, resolve::Input::Source { eid, rloc }),
            Event::EchoAsked { rloc, nonce } => self.echo.asked(now, rloc, nonce),
            Event::Echoed { rloc, nonce } => self.echo.echoed(now, rloc, nonce),
            Event::EchoEnded { rloc, is_proven } => self.echo.ended(now, rloc, is_proven),
            Event::StatusBits { prefix, rloc, version, bits, width } => {
                let heard = self.status_bits.heard(&prefix, rloc, version, Bits { bits, width });
                self.on_status_bits(now, prefix, heard);
            }
            Event::VersionNewer { prefix } => self.resolver.handle(now, resolve::Input::Newer { prefix }),
            Event::VersionStale { prefix, rloc } => self.solicitor.remind(now, rloc, prefix),
            Event::UnusedEcn { rloc, inner, outer, packets } => self.on_unused_ecn(rloc, (inner, outer), packets),
        }
    }

    /// What the packet half is told to use is probed.
    fn on_update(&mut self, now: Instant, update: Update) {
        let Some(update) = self.beside_bindings(update) else { return };
        self.tell_subscriber(now, &update);
        let mut update = match update {
            Update::Upsert { prefix, entry } => Update::Upsert { prefix, entry: self.petrs.lead(entry) },
            other => other,
        };
        let mut locators = Vec::new();
        if let Update::Upsert { entry, .. } = &update
            && let Forwarding::Locators(list) = &entry.forwarding
        {
            locators.extend(list.iter().map(|locator| locator.address));
            locators.iter().for_each(|rloc| self.prober.watch(now, *rloc));
            locators.iter().for_each(|rloc| self.echo.watch(now, *rloc));
        }
        let of_peer = if self.trust.is_on() { self.of_peer(now, &mut update) } else { None };
        self.outputs.push_back(Output::Update(update));
        self.outputs.extend(of_peer.map(Output::Update));
        // The packet half forgets what is in no mapping.
        let prober = &self.prober;
        let known = locators.into_iter().filter_map(|rloc| Some(Update::From { rloc, source: prober.source(rloc)? }));
        self.outputs.extend(known.map(Output::Update));
    }

    fn on_locators(&mut self, now: Instant, locators: Vec<OwnLocator>, unreachable: Vec<IpAddr>) {
        let database = self.database.with_locators(locators).with_unreachable(unreachable);
        let database = database.succeeding(&self.database, self.trust.status_bits());
        if database == self.database {
            return;
        }
        self.own.changed(now, &self.database, &database);
        self.database = database;
        self.solicitor.changed(now, self.database.prefixes().to_vec());
        self.prober.set_rlocs(now, self.database.preferred_rlocs());
        self.resolver.handle(now, resolve::Input::Locators(self.database.rlocs()));
        self.subscriber.set_rlocs(now, self.database.rlocs());
        if let Some(pitr) = &mut self.pitr {
            pitr.set_rlocs(self.database.rlocs());
        }
        self.lead_packets();
        self.registrar.handle(now, register::Input::Locators(self.database.clone()));
        self.replier.set_database(self.database.clone());
        self.outputs.push_back(Output::Update(Update::LocalRlocs(self.database.preferred_rlocs())));
        // Numbers of the packet half are of the list that it has now.
        let from = self.prober.sources().map(|(rloc, source)| Output::Update(Update::From { rloc, source }));
        self.outputs.extend(from);
        self.set_nat_rlocs(now);
    }

    fn add_eid(&mut self, now: Instant, prefix: EidPrefix) {
        if self.database.prefixes().contains(&prefix) {
            return;
        }
        if self.database.prefixes().len() >= limits::EID_PREFIXES {
            self.tally.count(Refusal::EidTableFull);
            return;
        }
        self.database = self.database.with_prefix(prefix);
        self.registrar.handle(now, register::Input::Add { prefix, database: self.database.clone() });
        self.on_eids(now);
    }

    fn remove_eid(&mut self, now: Instant, prefix: EidPrefix) {
        if !self.database.prefixes().contains(&prefix) {
            return;
        }
        self.database = self.database.without_prefix(&prefix);
        self.registrar.handle(now, register::Input::Remove { prefix, database: self.database.clone() });
        // Where it goes from here its next xTR tells the Map-Servers; who sends to us has to ask them.
        self.solicitor.changed(now, [prefix]);
        self.on_eids(now);
    }

    fn on_eids(&mut self, now: Instant) {
        let prefixes = self.database.prefixes().to_vec();
        self.resolver.handle(now, resolve::Input::Own(prefixes.clone()));
        self.subscriber.set_own(prefixes.clone());
        self.set_nat_eid(&prefixes);
        self.replier.set_database(self.database.clone());
        self.outputs.push_back(Output::Update(Update::LocalEids(prefixes)));
        self.lead_packets();
    }
}

/// Types that RFC 9301 leaves unassigned are dropped as such (section 5.1); whatever else is not decodable is malformed.
fn undecodable(bytes: &[u8]) -> Refusal {
    match message_type(bytes) {
        Some(0 | 9..=14) => Refusal::UnknownType,
        _ => Refusal::Malformed,
    }
}
