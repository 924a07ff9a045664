// SPDX-License-Identifier: GPL-2.0-or-later
//! The control half of the border node: resolve, register, reply and reach behind one `handle` and one `poll`.

mod ecn;
mod interface;
mod interworking;
mod look;
mod map_systems;
mod messages;
mod nat;
mod own;
mod packet_half;
mod peers;
mod security;
mod senders;
mod subscriptions;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId};
use wire::control::Nonce;

pub use self::interface::{Config, Input, Output};
use crate::database::Database;
use crate::dropped::Dropped;
use crate::interwork::{Petrs, Pitr};
use crate::map_cache::Update;
use crate::nat::natted::Natted;
use crate::nat::rtr::Rtr;
use crate::reach::{self, Echo, Own, Prober, Solicitor, StatusBits};
use crate::refusal::Tally;
use crate::register::{self, Registrar};
use crate::reply::{Opener, Replier};
use crate::resolve::{self, Policy, Resolver};
use crate::subscribe::Subscriber;
use crate::transport::{MapSystem, same_family};
use crate::trust::Trust;

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
    naming: senders::Naming,
    /// Whether odd ECN fields are written to the log.
    logs_ecn: bool,
    outputs: VecDeque<Output>,
    tally: Tally,
    dropped: Dropped,
}

impl Control {
    /// Starts at `now`: the first Map-Registers are due at once.
    pub fn new(now: Instant, config: Config) -> Self {
        let own = config.database.prefixes().to_vec();
        let policy = Policy { own, moved: Vec::new(), cgeid_network: config.cgeid_network, pitr_for: None };
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
            naming: senders::Naming::default(),
            logs_ecn: true,
            outputs,
            tally: Tally::default(),
            dropped: Dropped::default(),
        }
    }

    /// Probes none of these locators: those who have them speak no control protocol, as a Linux vxlan gpe device.
    #[must_use]
    pub fn sparing(mut self, rlocs: Vec<IpAddr>) -> Self {
        self.prober.spare(rlocs);
        self
    }

    /// Finds path MTUs by probes as long as packets are when one of `longest` octets is encapsulated (RFC 8899).
    #[must_use]
    pub fn finding_path_mtus(mut self, longest: u16) -> Self {
        self.prober.find_path_mtus(longest);
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
                self.judge(now, (via, bytes), |control| control.on_datagram(now, via, bytes));
            }
            Input::TooBig { quoted, mtu } => {
                if let Err(refusal) = self.prober.too_big(now, quoted, mtu) {
                    self.tally.count(refusal);
                }
            }
            Input::InterfaceMtus(mtus) => self.on_interface_mtus(now, mtus),
            Input::Event(event) => self.on_event(now, event),
            Input::Locators(locators) => self.on_locators(now, locators, Vec::new()),
            Input::Reached { locators, unreachable } => self.on_locators(now, locators, unreachable),
            Input::PacketsFrom(senders) => self.on_packets_from(now, senders),
            Input::Senders { about, senders } => {
                senders.iter().for_each(|(rloc, times)| self.solicitor.solicit_one(now, *rloc, about, *times));
            }
            Input::AddEid(prefix) => self.add_eid(now, prefix),
            Input::RemoveEid(prefix) => self.remove_eid(now, prefix),
            Input::MapSystems { servers, resolvers, subscriptions } => {
                self.on_map_systems(now, servers, resolvers, &subscriptions);
            }
            Input::Slept => self.subscriber.slept(now),
            Input::Shutdown => self.registrar.handle(now, register::Input::Withdraw),
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.follow_subscriptions(now);
        self.resolver.handle_timeout(now);
        self.send_registrations(now);
        self.name_senders(now);
        self.follow_resolver(now);
        self.follow_subscriptions(now);
        self.follow_peers(now);
        self.look_for_sites(now);
        let (petrs, site) = (&self.petrs, self.database.prefixes());
        self.prober.handle_timeout(now, |rloc, after| {
            self.resolver.user_of(now, rloc, after).or_else(|| petrs.asked(rloc, after, site))
        });
        self.follow_prober(now);
        let prober = &self.prober;
        // Without a locator nobody can be told, and nobody counts as told.
        if self.database.has_rlocs() {
            self.solicitor.handle_timeout(now, self.registrar.is_confirmed(), |itr| prober.ways(itr));
        }
        while let Some(outgoing) = self.solicitor.poll() {
            self.outputs.push_back(Output::Send(outgoing));
        }
        self.advance_nat(now);
    }

    fn follow_resolver(&mut self, now: Instant) {
        while let Some(output) = self.resolver.poll() {
            match output {
                resolve::Output::Send(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
                resolve::Output::Update(update) => {
                    self.on_update(now, update);
                    self.follow_registrar(now);
                }
            }
        }
    }

    fn follow_prober(&mut self, now: Instant) {
        let (rlocs, mut unreached) = (self.database.rlocs(), Vec::new());
        while let Some(output) = self.prober.poll() {
            match output {
                reach::Output::Send(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
                reach::Output::Update(update) => self.outputs.push_back(Output::Update(update)),
                // Without a locator of our own nobody can be asked, and nothing is known of others.
                reach::Output::Unreached { .. } if rlocs.is_empty() => {}
                reach::Output::Unreached { prefix } => unreached.push(prefix),
            }
        }
        let prober = &self.prober;
        let is_usable = |rloc| prober.is_usable(rloc) && same_family(&rlocs, rloc).is_some();
        if self.resolver.unreached(now, &unreached, is_usable) {
            self.resolver.handle_timeout(now);
            self.follow_resolver(now);
        }
    }

    /// What the registrar has to do, and what follows from that.
    fn send_registrations(&mut self, now: Instant) {
        self.registrar.handle_timeout(now);
        self.follow_registrar(now);
    }

    /// What follows from what the registrar has heard, from Map-Servers, and of the mapping system about EID-prefixes that have moved.
    fn follow_registrar(&mut self, now: Instant) {
        while let Some(output) = self.registrar.poll() {
            match output {
                register::Output::PersistNonce(nonce) => self.outputs.push_back(Output::PersistNonce(nonce)),
                register::Output::PersistHeard(heard) => self.outputs.push_back(Output::PersistHeard(heard)),
                register::Output::Send(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
                register::Output::Moved(prefix) => {
                    tracing::warn!(%prefix, "a Map-Server has another xTR for an EID-prefix of ours");
                    self.tell_senders(now, prefix);
                }
                register::Output::AllMoved(moved) => {
                    self.resolver.handle(now, resolve::Input::Moved(moved.clone()));
                    self.replier.set_moved(moved.clone());
                    self.outputs.push_back(Output::Update(Update::Moved(moved)));
                }
                register::Output::Returned(prefix) => {
                    tracing::info!(%prefix, "no other xTR has an EID-prefix of ours any more");
                    self.tell_senders(now, prefix);
                }
                register::Output::Ask(prefix) => self.ask_who_has(now, prefix),
                register::Output::Verified => self.want_senders(now),
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
            self.solicitor.next_deadline().filter(|_| self.database.has_rlocs()),
            self.subscriber.next_deadline(),
            self.echo.next_deadline(),
            self.own.next_deadline(),
            self.naming_deadline(),
            self.pitr.as_ref().and_then(Pitr::next_deadline),
        ];
        engines.into_iter().chain(self.nat_deadlines()).flatten().min()
    }
}
