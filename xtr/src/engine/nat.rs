// SPDX-License-Identifier: GPL-2.0-or-later
//! The part of the control half that NATs have in it: an RTR, or an xTR behind a NAT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId};
use wire::control::rtr::{decode_data_map_notify, is_data_map_notify};
use wire::control::{ControlMessage, Ecm, Info, MapNotify};
use wire::record::MappingRecord;

use super::{Control, Output};
use crate::map_cache::{Binding, Entry, Event, Forwarding, FromPort, Update};
use crate::nat::limits;
use crate::nat::natted::{self, Natted, Standing};
use crate::nat::rtr::{self, Rtr};
use crate::refusal::{Refusal, Tally};
use crate::register::{self, Through};
use crate::resolve;
use crate::transport::{MapSystem, Via};

impl Control {
    /// Relays for xTRs behind NATs.
    #[must_use]
    pub fn as_rtr(mut self, config: rtr::Config) -> Self {
        self.rtr = Some(Rtr::new(config, self.database.preferred_rlocs()));
        self
    }

    /// Looks out for a NAT. `iid` is the instance of the site; nonces are drawn from `seed`.
    #[must_use]
    pub fn behind_nat(mut self, now: Instant, config: natted::Config, iid: InstanceId, seed: [u8; 32]) -> Self {
        let natted = Natted::new(now, config, self.database.preferred_rlocs(), seed);
        let mut other = seed;
        other[0] ^= 1;
        self.registrar.rise_by_chance(other);
        self.iid = iid;
        // Until it is known how this node is reached nothing is registered.
        self.registrar.handle(now, register::Input::Way(Through::Closed));
        let is_behind = matches!(natted.standing(), Standing::Behind(_));
        self.outputs.push_back(Output::Update(Update::Behind(is_behind)));
        self.natted = Some(natted);
        self
    }

    /// What is relayed, if this node is an RTR.
    pub fn rtr(&self) -> Option<&Rtr> {
        self.rtr.as_ref()
    }

    /// What is known of a NAT, if this node looks out for one.
    pub fn natted(&self) -> Option<&Natted> {
        self.natted.as_ref()
    }

    /// The way through a NAT that packets to an address take, and of which prefix it is; what is known of parts of that comes first.
    pub fn binding_for(&self, iid: InstanceId, address: IpAddr) -> Option<(EidPrefix, Binding)> {
        if let Some(binding) = self.way_to_rtr() {
            let is_all = |whole: &EidPrefix| whole.iid == iid && whole.net.contains(&address);
            return self.whole().into_iter().find(is_all).map(|whole| (whole, binding));
        }
        let bound = self.rtr.as_ref()?.covering(&EidPrefix::host(iid, address))?;
        Some((bound.prefix, bound.binding()))
    }

    pub(super) fn nat_deadlines(&self) -> impl Iterator<Item = Option<Instant>> {
        let rtr = self.rtr.as_ref().and_then(Rtr::next_deadline);
        [rtr, self.natted.as_ref().and_then(Natted::next_deadline)].into_iter()
    }

    pub(super) fn nat_tallies(&self) -> impl Iterator<Item = &Tally> {
        self.rtr.iter().map(Rtr::tally).chain(self.natted.iter().map(Natted::tally))
    }

    pub(super) fn set_nat_rlocs(&mut self, now: Instant) {
        let rlocs = self.database.preferred_rlocs();
        if let Some(rtr) = &mut self.rtr {
            rtr.set_rlocs(rlocs.clone());
        }
        if let Some(natted) = &mut self.natted {
            natted.set_rlocs(now, rlocs);
        }
    }

    pub(super) fn set_nat_servers(&mut self, now: Instant, servers: &[register::Server]) {
        let address = |server: &register::Server| match server.to {
            MapSystem::Node(address) => Some(address),
            MapSystem::Pipe => None,
        };
        if let Some(rtr) = &mut self.rtr {
            let server = |one: &register::Server| Some(rtr::Server { address: address(one)?, key: one.key.clone() });
            rtr.set_servers(servers.iter().filter_map(server).collect());
        }
        if let Some(natted) = &mut self.natted {
            let server = |one: &register::Server| {
                Some(natted::Server { address: address(one)?, key: one.key.clone(), tag: one.tag })
            };
            natted.set_servers(now, servers.iter().filter_map(server).collect());
        }
    }

    pub(super) fn set_nat_eid(&mut self, prefixes: &[EidPrefix]) {
        if let (Some(natted), Some(first)) = (&mut self.natted, prefixes.first()) {
            natted.set_eid(*first);
        }
    }

    /// Does what is due, and what follows from it at once.
    pub(super) fn advance_nat(&mut self, now: Instant) {
        if let Some(rtr) = &mut self.rtr {
            rtr.handle_timeout(now);
            for output in std::iter::from_fn(|| rtr.poll()).collect::<Vec<_>>() {
                match output {
                    rtr::Output::Send(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
                    rtr::Output::Update(update) => self.on_rtr_update(now, update),
                    rtr::Output::Told { bound, via, record } => self.on_moved(now, bound, via, &record),
                }
            }
        }
        let Some(natted) = &mut self.natted else { return };
        natted.handle_timeout(now);
        let outputs: Vec<_> = std::iter::from_fn(|| natted.poll()).collect();
        let has_news = !outputs.is_empty();
        outputs.into_iter().for_each(|output| self.on_natted(now, output));
        if has_news {
            self.send_registrations(now);
        }
    }

    /// What is cached as a hole in what is behind a NAT now would keep packets from it.
    fn on_rtr_update(&mut self, now: Instant, update: Update) {
        let bound = match &update {
            Update::Relayed { prefix, nats } if *nats != [None; 2] => Some(*prefix),
            _ => None,
        };
        self.outputs.push_back(Output::Update(update));
        if let Some(prefix) = bound {
            self.resolver.handle(now, resolve::Input::Bound(prefix));
            self.follow_resolver(now);
        }
    }

    /// What was behind a NAT, or a part of that, is behind another xTR, or nobody's. This RTR knows so from a Map-Server, and asks itself only
    /// where LISP-SEC is demanded; those who send it what is for the other have to ask.
    fn on_moved(&mut self, now: Instant, bound: EidPrefix, via: Via, record: &MappingRecord) {
        let Some(about) = record.eid.ip_prefix() else { return };
        let records = std::slice::from_ref(record);
        // Of what is taken back there is nothing but the binding, which has ended.
        if about != bound || !record.locators.is_empty() {
            self.resolver
                .handle(now, resolve::Input::Published { via, asked: None, extends: true, proven: false, records });
        }
        if !record.locators.is_empty() && self.resolver.installed_at(now, &about).is_none() {
            self.resolver.handle(now, resolve::Input::Refresh { prefix: about });
        }
        self.outputs.push_back(Output::WantSenders { bound, about });
        self.follow_resolver(now);
    }

    /// A message for an RTR: R of the ECM is set.
    pub(super) fn on_relay(&mut self, now: Instant, via: Via, ecm: &Ecm) -> Result<(), Refusal> {
        let (Some(rtr), Via::Socket { local, remote }) = (&mut self.rtr, via) else { return Err(Refusal::NotForXtr) };
        rtr.on_ecm(now, local, remote, ecm);
        Ok(())
    }

    /// An Info-Request to an RTR, or the Info-Reply of a Map-Server.
    pub(super) fn on_info(&mut self, now: Instant, via: Via, bytes: &[u8], message: &Info) -> Result<(), Refusal> {
        let Via::Socket { local, remote } = via else { return Err(Refusal::NotForXtr) };
        match (&mut self.rtr, &mut self.natted) {
            (_, Some(natted)) if message.reply => natted.on_info(now, remote, bytes, message),
            (Some(rtr), _) => rtr.on_info(now, local, remote, bytes.len(), message),
            _ => return Err(Refusal::NotForXtr),
        }
        Ok(())
    }

    /// The event, unless NATs have changed what it means: behind one the mapping system is not asked, as its answers would not get in;
    /// and what an RTR has a binding for it knows better than that.
    pub(super) fn without_nat(&mut self, now: Instant, event: Event) -> Option<Event> {
        let is_behind = self.is_behind();
        match event {
            Event::Control { from, to, bytes } => {
                let via = Via::Socket { local: SocketAddr::new(to, wire::DATA_PORT), remote: from };
                self.judge(now, (via, &bytes), |control| control.on_letter(now, from, to, &bytes));
                None
            }
            Event::Miss { .. } | Event::Refresh { .. } | Event::Source { .. } if is_behind => None,
            Event::Silent { rloc } => {
                if let Some(natted) = &mut self.natted {
                    natted.suspect(now, rloc);
                }
                Some(event)
            }
            Event::Refresh { prefix } if self.is_bound(&prefix) => None,
            event => Some(event),
        }
    }

    /// What the mapping system says, without what is about a binding of this RTR, and without this RTR as a locator (section 5.5): what
    /// was registered through it and is no longer would go round. A part of a bound prefix that is somebody else's goes to him. Behind a
    /// NAT nothing of it counts, as it would lead past the RTR; it is asked for when there is none any more.
    pub(super) fn beside_bindings(&mut self, update: Update) -> Option<Update> {
        if self.is_behind() {
            return match update {
                Update::Upsert { prefix, .. } => {
                    self.resolver.forget(&prefix);
                    None
                }
                Update::Remove { .. } => None,
                update => Some(update),
            };
        }
        if self.rtr.is_none() {
            return Some(update);
        }
        match update {
            Update::Upsert { prefix, .. } | Update::Remove { prefix } if self.is_bound(&prefix) => None,
            Update::Upsert { prefix, mut entry } => {
                if let Forwarding::Locators(locators) = &mut entry.forwarding {
                    let own = self.database.rlocs();
                    locators.retain(|locator| !own.contains(&locator.address));
                }
                let leads_elsewhere =
                    matches!(&entry.forwarding, Forwarding::Locators(locators) if !locators.is_empty());
                if !leads_elsewhere && self.rtr.as_ref().is_some_and(|rtr| rtr.covering(&prefix).is_some()) {
                    return None;
                }
                Some(Update::Upsert { prefix, entry })
            }
            update => Some(update),
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.natted.as_ref().is_some_and(|natted| matches!(natted.standing(), Standing::Behind(_)))
    }

    fn is_bound(&self, prefix: &EidPrefix) -> bool {
        self.rtr.as_ref().is_some_and(|rtr| rtr.is_bound(prefix))
    }

    /// A control message that came to the data port (section 5.1.1 of the draft).
    fn on_letter(&mut self, now: Instant, from: SocketAddr, to: IpAddr, bytes: &[u8]) -> Result<(), Refusal> {
        let natted = self.natted.as_mut().filter(|natted| natted.has_rtr(from.ip())).ok_or(Refusal::LetterUnasked)?;
        if is_data_map_notify(bytes) {
            let ecm = decode_data_map_notify(bytes).map_err(|_| Refusal::Malformed)?;
            let message = MapNotify::decode(&ecm.message).map_err(|_| Refusal::Malformed)?;
            let server = MapSystem::Node(ecm.source.ip());
            let by = Some(from.ip());
            let notify = register::Input::Notify { from: server, by, message: &message, payload: &ecm.message };
            self.registrar.handle(now, notify);
            return Ok(());
        }
        match ControlMessage::decode(bytes) {
            Ok(ControlMessage::Info(message)) if message.reply && self.database.rlocs().contains(&to) => {
                natted.on_info(now, from, bytes, &message);
                Ok(())
            }
            Ok(_) => Err(Refusal::LetterUnasked),
            Err(_) => Err(Refusal::Malformed),
        }
    }

    fn on_natted(&mut self, now: Instant, output: natted::Output) {
        match output {
            natted::Output::Send(outgoing) => self.outputs.push_back(Output::Send(outgoing)),
            natted::Output::Asked(rtrs) => {
                self.outputs.push_back(Output::Update(Update::Rtrs(rtrs)));
                self.lead_packets();
            }
            natted::Output::Moved => self.registrar.handle(now, register::Input::Again),
            natted::Output::Renewed => self.lead_to_rtr(now),
            natted::Output::Stands(standing) => self.on_standing(now, standing),
        }
    }

    fn on_standing(&mut self, now: Instant, standing: Standing) {
        let through = match &standing {
            Standing::Unknown => Through::Closed,
            Standing::Direct => Through::Nobody,
            Standing::Behind(ways) => Through::Rtrs(ways.clone()),
        };
        self.registrar.handle(now, register::Input::Way(through));
        self.outputs.push_back(Output::Update(Update::Behind(matches!(standing, Standing::Behind(_)))));
        if matches!(standing, Standing::Behind(_)) {
            // What was found out before leads past the RTR.
            let found: Vec<_> = self.resolver.installed(now).map(|(prefix, _)| *prefix).collect();
            found.into_iter().for_each(|prefix| self.forget(now, prefix));
            self.lead_to_rtr(now);
        } else {
            let removed = self.whole().map(|prefix| Output::Update(Update::Remove { prefix }));
            self.outputs.extend(removed);
        }
    }

    fn forget(&mut self, now: Instant, prefix: EidPrefix) {
        let mut update = Update::Remove { prefix };
        self.resolver.forget(&prefix);
        self.tell_subscriber(now, &update);
        let of_peer = if self.trust.is_on() { self.of_peer(now, &mut update) } else { None };
        self.outputs.extend([update].into_iter().chain(of_peer).map(Output::Update));
    }

    /// All packets of a node behind a NAT go to its RTR (section 5.1.3): to the first that answers.
    fn lead_to_rtr(&mut self, now: Instant) {
        let Some(binding) = self.way_to_rtr() else { return };
        let entry = Entry { forwarding: Forwarding::Binding(binding), expires: now + limits::DEFAULT_WAY };
        let whole = self.whole().map(|prefix| Output::Update(Update::Upsert { prefix, entry: entry.clone() }));
        self.outputs.extend(whole);
    }

    fn way_to_rtr(&self) -> Option<Binding> {
        let Standing::Behind(ways) = self.natted.as_ref()?.standing() else { return None };
        let way = ways.first()?;
        Some(Binding { address: way.rtr, port: wire::DATA_PORT, from: FromPort::Data, source: way.local })
    }

    /// All addresses of both families.
    fn whole(&self) -> [EidPrefix; 2] {
        let all = |address: IpAddr| EidPrefix { net: ipnet::IpNet::new_assert(address, 0), iid: self.iid };
        [all(Ipv4Addr::UNSPECIFIED.into()), all(Ipv6Addr::UNSPECIFIED.into())]
    }
}
