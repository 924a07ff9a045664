// SPDX-License-Identifier: GPL-2.0-or-later
//! The control half of the border node: resolve, register and reply behind one `handle` and one `poll`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, Ecm, MapRequest, Nonce, message_type};

use crate::database::{Database, OwnLocator};
use crate::limits;
use crate::map_cache::{Event, Update};
use crate::refusal::{Refusal, Tally};
use crate::register::{self, Registrar, Registration, Server};
use crate::reply::{Replier, Request};
use crate::resolve::{self, Installed, Policy, Resolver};
use crate::transport::{MapSystem, Outgoing, Via};

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
    /// The locators of this node changed.
    Locators(Vec<OwnLocator>),
    /// This node has another EID-prefix, as a rule a CGEID: it is registered and its packets are taken at once.
    AddEid(EidPrefix),
    /// An EID-prefix is this node's no longer: it is deregistered, and its packets are taken no more.
    RemoveEid(EidPrefix),
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
}

/// The control half.
#[derive(Debug)]
pub struct Control {
    database: Database,
    resolver: Resolver,
    registrar: Registrar,
    replier: Replier,
    outputs: VecDeque<Output>,
    tally: Tally,
}

impl Control {
    /// Starts at `now`: the first Map-Registers are due at once.
    pub fn new(now: Instant, config: Config) -> Self {
        let policy = Policy { own: config.database.prefixes().to_vec(), cgeid_network: config.cgeid_network };
        let resolve = resolve::Config { resolvers: config.resolvers, rlocs: config.database.rlocs(), policy };
        let database = config.database;
        let register = register::Config {
            database: database.clone(),
            servers: config.servers,
            cgeids: config.cgeid_network.map(|net| EidPrefix { iid: InstanceId(0), net }),
            nonce_floor: config.nonce_floor,
        };
        let outputs = VecDeque::from([
            Output::Update(Update::LocalEids(database.prefixes().to_vec())),
            Output::Update(Update::LocalRlocs(database.preferred_rlocs())),
        ]);
        Self {
            resolver: Resolver::new(resolve, config.seed),
            registrar: Registrar::new(now, register),
            replier: Replier::new(database.clone()),
            database,
            outputs,
            tally: Tally::default(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { via, bytes } => {
                if let Err(refusal) = self.on_datagram(now, via, bytes) {
                    self.tally.count(refusal);
                }
            }
            Input::Event(Event::Miss { eid, source }) => {
                self.resolver.handle(now, resolve::Input::Miss { eid, source });
            }
            Input::Event(Event::Refresh { prefix }) => self.resolver.handle(now, resolve::Input::Refresh { prefix }),
            // Without probing nothing more is known than before.
            Input::Event(Event::Silent { .. }) => {}
            Input::Locators(locators) => self.on_locators(now, locators),
            Input::AddEid(prefix) => self.add_eid(now, prefix),
            Input::RemoveEid(prefix) => self.remove_eid(now, prefix),
            Input::Shutdown => self.registrar.handle(now, register::Input::Withdraw),
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.resolver.handle_timeout(now);
        self.registrar.handle_timeout(now);
        while let Some(output) = self.registrar.poll() {
            self.outputs.push_back(match output {
                register::Output::PersistNonce(nonce) => Output::PersistNonce(nonce),
                register::Output::Send(outgoing) => Output::Send(outgoing),
            });
        }
        while let Some(output) = self.resolver.poll() {
            self.outputs.push_back(match output {
                resolve::Output::Send(outgoing) => Output::Send(outgoing),
                resolve::Output::Update(update) => Output::Update(update),
            });
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.resolver.next_deadline(), self.registrar.next_deadline()].into_iter().flatten().min()
    }

    /// Whether every registration was taken back after [`Input::Shutdown`].
    pub fn is_withdrawn(&self) -> bool {
        self.registrar.is_withdrawn()
    }

    /// Everything refused so far.
    pub fn tally(&self) -> Tally {
        let parts = [self.resolver.tally(), self.registrar.tally(), self.replier.tally()];
        parts.into_iter().fold(self.tally.clone(), Tally::plus)
    }

    /// The state of every registration.
    pub fn registrations(&self, now: Instant) -> impl Iterator<Item = Registration> + '_ {
        self.registrar.registrations(now)
    }

    /// The mappings in use.
    pub fn map_cache(&self, now: Instant) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        self.resolver.installed(now)
    }

    /// Our prefixes and locators.
    pub fn database(&self) -> &Database {
        &self.database
    }

    fn on_datagram(&mut self, now: Instant, via: Via, bytes: &[u8]) -> Result<(), Refusal> {
        match ControlMessage::decode(bytes) {
            Err(_) => Err(undecodable(bytes)),
            Ok(ControlMessage::MapRequest(message)) => {
                self.on_map_request(now, via, None, &message);
                Ok(())
            }
            Ok(ControlMessage::MapReply(message)) => {
                self.resolver.handle(now, resolve::Input::Reply { via, message: &message });
                Ok(())
            }
            Ok(ControlMessage::MapNotify(message)) => {
                self.registrar.handle(now, register::Input::Notify { message: &message, payload: bytes });
                Ok(())
            }
            Ok(ControlMessage::Ecm(ecm)) => self.on_ecm(now, via, &ecm),
            Ok(ControlMessage::Shared(_)) => Err(Refusal::UnknownType),
            Ok(_) => Err(Refusal::NotForXtr),
        }
    }

    /// A Map-Server forwards what it does not answer itself (RFC 9301, section 8.3), from any port.
    fn on_ecm(&mut self, now: Instant, via: Via, ecm: &Ecm) -> Result<(), Refusal> {
        if ecm.security.is_some() {
            return Err(Refusal::EcmSecurity);
        }
        match ControlMessage::decode(&ecm.message) {
            Err(_) => Err(Refusal::Malformed),
            Ok(ControlMessage::MapRequest(message)) if !message.smr => {
                self.on_map_request(now, via, Some(ecm.source), &message);
                Ok(())
            }
            Ok(_) => Err(Refusal::EcmNotMapRequest),
        }
    }

    fn on_map_request(&mut self, now: Instant, via: Via, inner_source: Option<SocketAddr>, message: &MapRequest) {
        if message.smr {
            self.resolver.handle(now, resolve::Input::Smr(message));
            return;
        }
        let reply = self.replier.handle(now, Request { via, inner_source, message });
        self.outputs.extend(reply.map(Output::Send));
    }

    fn on_locators(&mut self, now: Instant, locators: Vec<OwnLocator>) {
        self.database = self.database.with_locators(locators);
        self.resolver.handle(now, resolve::Input::Locators(self.database.rlocs()));
        self.registrar.handle(now, register::Input::Locators(self.database.clone()));
        self.replier.set_database(self.database.clone());
        self.outputs.push_back(Output::Update(Update::LocalRlocs(self.database.preferred_rlocs())));
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
        self.on_eids(now);
    }

    fn on_eids(&mut self, now: Instant) {
        let prefixes = self.database.prefixes().to_vec();
        self.resolver.handle(now, resolve::Input::Own(prefixes.clone()));
        self.replier.set_database(self.database.clone());
        self.outputs.push_back(Output::Update(Update::LocalEids(prefixes)));
    }
}

/// Types that RFC 9301 leaves unassigned are dropped as such (section 5.1); whatever else is not decodable is malformed.
fn undecodable(bytes: &[u8]) -> Refusal {
    match message_type(bytes) {
        Some(0 | 9..=14) => Refusal::UnknownType,
        _ => Refusal::Malformed,
    }
}
