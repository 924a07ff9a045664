// SPDX-License-Identifier: GPL-2.0-or-later
//! The engine: one packet in, one verdict out.

mod refusals;
mod reports;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId};
use wire::data::{
    Ecn, IcmpError, IpPacket, Ipv4Packet, LispHeader, MINIMUM_MTU, NextProtocol, OuterHeader, TrafficClass, fragment,
};
use wire::record::Action;

use super::miss_queue::{Held, Lost, MissQueue};
use super::own::OwnRlocs;
use super::peer;
use super::proven::Proven;
use super::rate::IcmpRate;
use crate::counters::{Count, Counters, DropReason};
use crate::ecn::EcnCompatibility;
use crate::eid_set::EidSet;
use crate::limits;
use crate::map_cache::{Event, Families, Form, LocatorIndex, MapCache, OwnMapping, SetIndex, Update, Way, is_unicast};
use crate::reply::RateTable;
use crate::trust::Trust;

/// Source ports of encapsulated packets are the dynamic ports 49152 to 65535: 14 bits of hash under two ones.
pub(super) const FIRST_SOURCE_PORT: u16 = 0xc000;
const SOURCE_PORT_MASK: u64 = 0x3fff;
/// The bits of the flow label lie above those of the port.
const FLOW_LABEL_SHIFT: u32 = 14;
const FLOW_LABEL_MASK: u64 = 0x000f_ffff;
/// What an ITR is made of.
#[derive(Debug, Clone)]
pub struct ItrConfig {
    /// The instance that packets from the site belong to.
    pub iid: InstanceId,
    /// EID-side addresses of this node, the sources of its ICMP errors. Without one of a family, IPv6 errors come from
    /// the subnet-router anycast address of a local EID-prefix, or of an RTR or PITR from a locator, IPv4 errors from 192.0.0.8.
    pub icmp_sources: Vec<IpAddr>,
    /// MTU towards the core, in octets, where no other one is known.
    pub core_mtu: usize,
    /// RLOCs of peers that take LISP-GPE. No others may be sent it, and it is for the operator to say who they are (RFC 9305,
    /// sections 5 and 5.1).
    pub gpe_peers: Vec<IpAddr>,
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'p> {
    /// To the core: this header, then this inner packet.
    Encapsulate(OuterHeader, &'p [u8]),
    /// Back to the kernel, which forwards it without encapsulation.
    Native(&'p [u8]),
    /// It waits, or what came of it is in [`Itr::poll`].
    Later,
    /// No further; counted. An ICMP error may be in [`Itr::poll`].
    Dropped(DropReason),
}

/// What else is to be sent, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// To the core: this header, then this inner packet.
    Core(OuterHeader, Vec<u8>),
    /// To the kernel, for the site.
    Site(Vec<u8>),
}

/// The ITR.
#[derive(Debug)]
pub struct Itr {
    config: ItrConfig,
    cache: MapCache,
    queue: MissQueue,
    local_eids: EidSet,
    /// Those of them that another xTR has now.
    moved: EidSet,
    pitr_for: EidSet,
    /// An RTR takes packets of sites elsewhere too; these it is PETR for. None = it is no RTR.
    relays: Option<EidSet>,
    rlocs: OwnRlocs,
    /// What packets to trusted peers say of our mappings.
    own: OwnMapping,
    trust: Trust,
    icmp_rate: IcmpRate,
    unreachable: RateTable<IpAddr>,
    proven: Proven,
    /// Of the segments behind the first of a super-packet, if theirs is another one.
    lisp_behind: Option<[u8; LispHeader::LENGTH]>,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    counters: Arc<Counters>,
}

/// Where a flow goes.
#[derive(Debug, Clone, Copy)]
struct Target {
    locator: LocatorIndex,
    /// The set that it was chosen from.
    set: SetIndex,
    /// The hash of the flow.
    flow: u64,
}

/// How a packet goes on.
#[derive(Debug)]
enum Decision {
    Core(Target),
    /// Whole, although the way is believed to be too narrow: an IPv6 packet that every link has to take.
    Minimum(Target),
    Split(Target, usize),
    Native,
    Ask,
    Drop(DropReason, Option<IcmpError>),
}

impl Itr {
    /// An ITR that knows no mapping and no RLOC yet.
    pub fn new(now: Instant, config: ItrConfig, counters: Arc<Counters>) -> Self {
        let cache = MapCache::new(now, config.core_mtu, config.gpe_peers.clone());
        counters.heard().set_time(cache.tick());
        Self {
            config,
            cache,
            queue: MissQueue::default(),
            local_eids: EidSet::default(),
            moved: EidSet::default(),
            pitr_for: EidSet::default(),
            relays: None,
            rlocs: OwnRlocs::default(),
            own: OwnMapping::default(),
            trust: Trust::default(),
            icmp_rate: IcmpRate::new(now),
            unreachable: RateTable::new(1, limits::UNREACHABLE_INTERVAL, limits::UNREACHABLE_TRACKED),
            proven: Proven::new(),
            lisp_behind: None,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            counters,
        }
    }

    /// The same, with nonces, locator-status-bits and map-versions for these peers. Before it is told of any mapping.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.cache.locators_mut().trust(trust.clone());
        self.trust = trust;
        self
    }

    /// The same, with the compatibility mode of ECN where it is said (RFC 6040, section 4.3). Before it is told of any mapping.
    #[must_use]
    pub fn with_ecn(mut self, ecn: EcnCompatibility) -> Self {
        self.cache.locators_mut().set_ecn(ecn);
        self
    }

    /// The same as an RTR, if it is one, which is PETR for these EID-prefixes and for no others.
    #[must_use]
    pub fn relaying(mut self, relays: bool, petr_for: &[EidPrefix]) -> Self {
        self.relays = relays.then(|| EidSet::new(petr_for));
        self
    }

    /// Takes a packet that the kernel routed towards the tunnel.
    pub fn handle<'p>(&mut self, now: Instant, octets: &'p [u8]) -> Verdict<'p> {
        self.handle_first(now, octets, (0, 0))
    }

    /// Takes the first segment of a super-packet. Behind it are so many others, with so many octets, that differ from it in
    /// nothing that a choice depends on and are no longer: if it is encapsulated or native so are they, and counted with it.
    /// Otherwise each of them is to be handled for itself. Their LISP header may be another one: [`Self::take_lisp_behind`].
    #[inline]
    pub fn handle_first<'p>(&mut self, now: Instant, octets: &'p [u8], others: (usize, usize)) -> Verdict<'p> {
        self.handle_timeout(now);
        // The same twice: in each of the two all that asks for the family is decided when it is compiled.
        match self.check(octets) {
            Ok(IpPacket::V4(packet)) => self.forward(now, IpPacket::V4(packet), others),
            Ok(IpPacket::V6(packet)) => self.forward(now, IpPacket::V6(packet), others),
            Err(reason) => self.reject(now, octets, reason),
        }
    }

    /// The LISP header of the others behind a first segment that is encapsulated, if it is not that of the first: an echo is sent once
    /// (RFC 9300, section 10.1).
    #[inline]
    pub fn take_lisp_behind(&mut self) -> Option<[u8; LispHeader::LENGTH]> {
        self.lisp_behind.take()
    }

    /// Takes what control says. Packets that waited for it are in [`Self::poll`] then.
    pub fn update(&mut self, now: Instant, update: Update) {
        self.handle_timeout(now);
        match update {
            Update::Upsert { prefix, entry } => {
                let evicted = self.cache.insert(now, prefix, entry);
                self.counters.add(Count::Evicted, usize::from(evicted.is_some()));
                self.flush(now, &prefix);
            }
            Update::Remove { prefix } => {
                self.cache.remove(&prefix);
            }
            Update::Unresolved { eid } => {
                for (_, packets) in self.queue.take(&eid) {
                    let lost = |held: Held| Lost { packet: held.packet, reason: DropReason::Unresolved };
                    self.give_up(now, packets.into_iter().map(lost));
                }
            }
            Update::LocalEids(prefixes) => self.set_local_eids(&prefixes),
            Update::Moved(prefixes) => self.moved = EidSet::new(&prefixes),
            Update::PitrFor(prefixes) => self.pitr_for = EidSet::new(&prefixes),
            Update::LocalRlocs(rlocs) => {
                let gone = self.rlocs.set(rlocs);
                self.cache.locators_mut().leave(&gone);
                self.cache.locators_mut().set_interface_mtus(self.rlocs.interface_mtus());
                self.cache.set_families(Families { v4: self.rlocs.v4.is_some(), v6: self.rlocs.v6.is_some() });
            }
            Update::Reachable { rloc, reachable } => self.cache.set_reachable(rloc, reachable),
            Update::Own(own) => self.own = own,
            Update::Peer { prefix, version, .. } => self.cache.set_version(&prefix, version),
            Update::EchoAnswer { rloc, nonce } => self.cache.locators_mut().answer_nonce(rloc, nonce),
            Update::EchoRequest { rloc, nonce: Some(nonce), suspended } => {
                self.cache.locators_mut().ask_nonce(rloc, (!suspended).then_some(nonce));
            }
            Update::EchoRequest { rloc, nonce: None, .. } => self.end_echo(rloc),
            Update::From { rloc, source } => {
                let number = self.rlocs.number(rloc, source);
                let interfaces = self.rlocs.interface_mtus();
                self.cache.locators_mut().set_from(rloc, number);
                self.cache.locators_mut().set_interface_mtus(interfaces);
            }
            Update::InterfaceMtus(mtus) => {
                self.rlocs.set_mtus(mtus);
                self.cache.locators_mut().set_interface_mtus(self.rlocs.interface_mtus());
                // What nothing is sent to is shown too.
                self.counters.publish(self.cache.locators().counts(self.cache.tick()));
            }
            Update::PathMtu { rloc, mtu } => {
                let has_changed = self.cache.set_path_mtu(rloc, mtu);
                self.counters.add(Count::PathMtu, usize::from(has_changed));
            }
            Update::PathProven { rloc, until } => self.proven.set(now, rloc, until),
            // For the ETR.
            Update::Source { .. }
            | Update::SourcePutOff { .. }
            | Update::Relayed { .. }
            | Update::Rtrs(_)
            | Update::Behind(_)
            | Update::FormerRlocs(_) => {}
        }
    }

    /// What else is to be sent: drained after each call of another method.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What control should hear. An event that cannot be delivered is given to [`Self::event_lost`].
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`Self::poll_event`] has one.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Keeps an event that control had no room for, to be polled again.
    pub fn event_lost(&mut self, event: Event) {
        self.counters.add(Count::EventLost, 1);
        self.events.push_front(event);
    }

    /// Does what is due.
    #[inline]
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.cache.advance(now) {
            self.tick();
        }
        if self.queue.is_due(now) {
            self.expire_queue(now);
        }
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.queue.next_deadline(), self.cache.next_deadline()].into_iter().flatten().min()
    }

    /// The map-cache, to read.
    pub fn map_cache(&self) -> &MapCache {
        &self.cache
    }

    #[inline(never)]
    fn expire_queue(&mut self, now: Instant) {
        let lost = self.queue.expire(now);
        self.give_up(now, lost);
    }

    fn end_echo(&mut self, rloc: IpAddr) {
        let is_proven = self.cache.locators_mut().end_nonce(rloc, self.counters.heard());
        // Without room control takes it for unproven.
        if self.events.len() < limits::EVENTS {
            self.events.push_back(Event::EchoEnded { rloc, is_proven });
        }
    }

    /// A tick of the coarse clock has begun.
    #[inline(never)]
    fn tick(&mut self) {
        let now = self.cache.tick();
        self.counters.heard().set_time(now);
        if self.cache.locators().next_check().is_none_or(|check| check > now) {
            return;
        }
        while let Some(rloc) = self.cache.locators_mut().next_silent(now, self.counters.heard()) {
            // Without room it is said a second later, if packets go there still.
            if self.events.len() < limits::EVENTS {
                self.events.push_back(Event::Silent { rloc });
            }
        }
        self.counters.publish(self.cache.locators().counts(now));
    }

    /// An address that was ours and is no longer is no source of our ICMP errors either.
    fn set_local_eids(&mut self, prefixes: &[EidPrefix]) {
        let before = std::mem::replace(&mut self.local_eids, EidSet::new(prefixes));
        let (iid, now) = (self.config.iid, &self.local_eids);
        let has = |set: &EidSet, address: IpAddr| set.contains(iid, address);
        self.config.icmp_sources.retain(|address| has(now, *address) || !has(&before, *address));
    }

    #[inline(always)]
    fn check<'p>(&self, octets: &'p [u8]) -> Result<IpPacket<'p>, DropReason> {
        let packet = IpPacket::parse(octets).map_err(|_| DropReason::SiteMalformed)?;
        if !is_unicast(packet.destination()) || !is_unicast(packet.source()) {
            return Err(DropReason::SiteNotUnicast);
        }
        if packet.ttl() == 0 {
            return Err(DropReason::SiteTtl);
        }
        Ok(packet)
    }

    #[inline(always)]
    fn forward<'p>(&mut self, now: Instant, packet: IpPacket<'p>, others: (usize, usize)) -> Verdict<'p> {
        match self.decide(&packet) {
            // What is in front of it must leave first.
            decision @ (Decision::Core(..) | Decision::Native) if !self.outputs.is_empty() => {
                self.carry_out(now, &packet, decision);
                Verdict::Later
            }
            Decision::Core(target) => {
                self.count_encapsulated(target.locator, 1 + others.0, packet.octets().len() + others.1);
                if self.cache.locators().get(target.locator).is_ordinary() {
                    Verdict::Encapsulate(self.ordinary_header(target, &packet), packet.octets())
                } else {
                    self.encapsulate_otherwise(target, &packet, others.0)
                }
            }
            // Of a super-packet each for itself: the last one, which is shorter, may fit.
            Decision::Minimum(target) if self.outputs.is_empty() && others.0 == 0 => {
                self.encapsulate_minimum(target, &packet)
            }
            Decision::Native => {
                self.counters.add(Count::Native, 1 + others.0);
                Verdict::Native(packet.octets())
            }
            Decision::Drop(reason, error) => {
                self.refuse(now, &packet, reason, error);
                Verdict::Dropped(reason)
            }
            decision => {
                self.carry_out(now, &packet, decision);
                Verdict::Later
            }
        }
    }

    #[inline(always)]
    fn decide(&mut self, packet: &IpPacket<'_>) -> Decision {
        let (iid, destination) = (self.config.iid, packet.destination());
        if self.local_eids.contains(iid, destination) { self.decide_own(packet) } else { self.decide_mapped(packet) }
    }

    /// The kernel leads packets to our EIDs past us, but for those that have moved: these go after them, whether they come from a host
    /// that stayed or from an ITR that has not heard of it. A mapping that leads here, or to nobody, would send them round.
    #[cold]
    #[inline(never)]
    fn decide_own(&mut self, packet: &IpPacket<'_>) -> Decision {
        let unreachable = |reason| Decision::Drop(reason, Some(IcmpError::Unreachable));
        if !self.moved.contains(self.config.iid, packet.destination()) {
            return unreachable(DropReason::SiteOwnEid);
        }
        match self.decide_mapped(packet) {
            Decision::Core(target) | Decision::Minimum(target) | Decision::Split(target, _)
                if self.leads_back(target, packet.source()) =>
            {
                unreachable(DropReason::MovedNowhere)
            }
            Decision::Native => unreachable(DropReason::MovedNowhere),
            decision => decision,
        }
    }

    /// To ourselves, or, behind a NAT, to the RTR that the packet has come from: hosts that stayed alone are heard there.
    fn leads_back(&self, target: Target, source: IpAddr) -> bool {
        let (iid, locator) = (self.config.iid, self.cache.locators().get(target.locator));
        let is_behind_nat = self.relays.is_none() && locator.through().is_some();
        let has_stayed = self.local_eids.contains(iid, source) && !self.moved.contains(iid, source);
        self.rlocs.all().contains(&locator.address()) || is_behind_nat && !has_stayed
    }

    #[inline(always)]
    fn decide_mapped(&mut self, packet: &IpPacket<'_>) -> Decision {
        let (iid, destination) = (self.config.iid, packet.destination());
        let Some(hit) = self.cache.lookup(iid, destination) else { return Decision::Ask };
        if hit.is_due && self.events.len() < limits::EVENTS {
            self.say_refresh(packet, hit.length);
        }
        match hit.way {
            Way::Locators(set) => {
                let flow = packet.flow().hash();
                match self.cache.choose(set, flow) {
                    Some(locator) => self.towards(packet, Target { locator, set, flow }),
                    None => Decision::Drop(DropReason::NoLocator, Some(IcmpError::Unreachable)),
                }
            }
            Way::Negative(action) => match action {
                // Whoever is asked natively for what we attract sends it back to us.
                Action::NativelyForward if self.pitr_for.contains(iid, destination) => {
                    Decision::Drop(DropReason::PitrNoSite, Some(IcmpError::Unreachable))
                }
                // What is relayed has to stay in the tunnel (RFC 6832, section 6, is for those that a PETR serves).
                Action::NativelyForward if self.is_relayed(packet.source()) => {
                    Decision::Drop(DropReason::RelayNative, Some(IcmpError::Unreachable))
                }
                Action::NativelyForward => Decision::Native,
                Action::SendMapRequest => Decision::Ask,
                Action::NoAction => Decision::Drop(DropReason::NoAction, None),
                Action::DropPolicyDenied => Decision::Drop(DropReason::NegativePolicy, None),
                Action::DropAuthFailure => Decision::Drop(DropReason::NegativeAuth, None),
                Action::DropNoReason | Action::Unassigned6 | Action::Unassigned7 => {
                    Decision::Drop(DropReason::NegativeDrop, Some(IcmpError::Unreachable))
                }
            },
        }
    }

    /// Whether packets of this source are here only because this node is an RTR.
    #[inline]
    fn is_relayed(&self, source: IpAddr) -> bool {
        let has = |set: &EidSet| set.contains(self.config.iid, source);
        self.relays.as_ref().is_some_and(|petr_for| !has(petr_for) && !has(&self.local_eids))
    }

    #[cold]
    fn say_refresh(&mut self, packet: &IpPacket<'_>, length: u8) {
        if let Some(prefix) = EidPrefix::new(self.config.iid, packet.destination(), length) {
            self.cache.refresh_said(&prefix);
            self.events.push_back(Event::Refresh { prefix });
        }
    }

    #[inline(always)]
    fn towards(&self, packet: &IpPacket<'_>, target: Target) -> Decision {
        let room = self.cache.locators().room(self.cache.tick(), target.locator);
        let length = packet.octets().len();
        if length <= room {
            return Decision::Core(target);
        }
        match packet {
            IpPacket::V4(packet) if !packet.dont_fragment() => Decision::Split(target, room),
            IpPacket::V6(_) if length <= MINIMUM_MTU => self.minimum(length, target),
            _ => Decision::Drop(DropReason::TooBig, Some(IcmpError::TooBig(room))),
        }
    }

    /// An IPv6 packet of up to 1280 octets, which its source can make no shorter: each link takes it, by fragments of its own if need be
    /// (RFC 8200, section 5). So it is sent, whatever was said of the way, unless our own interface is too narrow.
    #[cold]
    #[inline(never)]
    fn minimum(&self, length: usize, target: Target) -> Decision {
        match self.cache.locators().leaves(target.locator, length) {
            true => Decision::Minimum(target),
            false => Decision::Drop(DropReason::PathTooNarrow, None),
        }
    }

    #[cold]
    #[inline(never)]
    fn encapsulate_minimum<'p>(&mut self, target: Target, packet: &IpPacket<'p>) -> Verdict<'p> {
        self.count_encapsulated(target.locator, 1, packet.octets().len());
        Verdict::Encapsulate(self.minimum_header(target, packet), packet.octets())
    }

    /// Routers may fragment it over IPv4: RFC 9300, section 7.1, lets DF be 0 where nothing else gets a packet through. Over IPv6 none does.
    fn minimum_header(&mut self, target: Target, packet: &IpPacket<'_>) -> OuterHeader {
        let header = self.header(target, packet);
        OuterHeader { dont_fragment: header.destination.is_ipv6(), ..header }
    }

    /// Towards a locator that is not ordinary. The verdict is made here, whole: were it put together where that of all others is, theirs
    /// would lie in memory in pieces, and the processor waits where it reads together what was written in pieces.
    #[cold]
    #[inline(never)]
    fn encapsulate_otherwise<'p>(&mut self, target: Target, packet: &IpPacket<'p>, others: usize) -> Verdict<'p> {
        let header = self.header(target, packet);
        if others > 0 {
            let LispHeader { nonce, echo, .. } = header.lisp();
            let is_echo = nonce.is_some() && !echo;
            self.lisp_behind = is_echo.then(|| self.header(target, packet).lisp);
        }
        Verdict::Encapsulate(header, packet.octets())
    }

    /// The outer header (RFC 9300, section 5.3) towards an ordinary locator, made where it is used: moving it costs more than making
    /// it.
    #[inline(always)]
    fn ordinary_header(&self, target: Target, packet: &IpPacket<'_>) -> OuterHeader {
        let destination = self.cache.locators().get(target.locator).address();
        OuterHeader {
            source: self.rlocs.preferred(destination),
            destination,
            source_port: source_port(target.flow),
            destination_port: wire::DATA_PORT,
            ttl: packet.ttl(),
            class: packet.traffic_class(),
            flow_label: flow_label(target.flow),
            dont_fragment: true,
            lisp: LispHeader::plain(self.config.iid).emit(),
        }
    }

    /// The same towards any locator.
    fn header(&mut self, target: Target, packet: &IpPacket<'_>) -> OuterHeader {
        let ordinary = self.ordinary_header(target, packet);
        let state = self.cache.locators().get(target.locator);
        let (form, from, through, destination_port) = (state.form(), state.from(), state.through(), state.port());
        let class = if state.is_ecn_compatible() {
            TrafficClass::new(ordinary.class.dscp(), Ecn::NotEct)
        } else {
            ordinary.class
        };
        let (source, source_port) = match through {
            Some(through) => (self.rlocs.one_of(ordinary.destination, through.source), through.port.number()),
            None => (self.rlocs.towards(ordinary.destination, from), ordinary.source_port),
        };
        let lisp = if matches!(form, Form::Plain) {
            ordinary.lisp
        } else {
            self.other_header(form, (target.set, source), packet).emit()
        };
        OuterHeader { source, source_port, destination_port, class, lisp, ..ordinary }
    }

    /// A GPE peer is told the version of the inner packet (RFC 9305, section 3), and the instance even if it is 0: Linux drops
    /// packets without one.
    fn other_header(&mut self, form: Form, (set, from): (SetIndex, IpAddr), packet: &IpPacket<'_>) -> LispHeader {
        let iid = self.config.iid;
        if let Form::Peer(peer) = form {
            let is_ours = self.local_eids.contains(iid, packet.source());
            return peer::header(&mut self.cache, (&self.own, is_ours), iid, (peer, set, from));
        }
        let next = match packet {
            IpPacket::V4(_) => NextProtocol::IPV4,
            IpPacket::V6(_) => NextProtocol::IPV6,
        };
        LispHeader { iid: Some(iid), next_protocol: Some(next), ..LispHeader::default() }
    }

    /// Does what was decided, into the outputs.
    fn carry_out(&mut self, now: Instant, packet: &IpPacket<'_>, decision: Decision) {
        match decision {
            Decision::Core(target) => {
                let header = self.header(target, packet);
                self.push_core(target, header, packet.octets().to_vec());
            }
            Decision::Minimum(target) => {
                let header = self.minimum_header(target, packet);
                self.push_core(target, header, packet.octets().to_vec());
            }
            Decision::Split(target, room) => self.split(now, packet, target, room),
            Decision::Native => {
                self.counters.add(Count::Native, 1);
                self.outputs.push_back(Output::Site(packet.octets().to_vec()));
            }
            Decision::Ask => self.ask(now, packet),
            Decision::Drop(reason, error) => self.refuse(now, packet, reason, error),
        }
    }

    fn ask(&mut self, now: Instant, packet: &IpPacket<'_>) {
        let eid = EidPrefix::host(self.config.iid, packet.destination());
        self.counters.add(Count::Queued, 1);
        let lost = self.queue.push(now, eid, packet.octets());
        lost.iter().for_each(|lost| self.counters.count_drop(lost.reason));
        self.say_miss(now, eid, packet.source());
    }

    fn say_miss(&mut self, now: Instant, eid: EidPrefix, source: IpAddr) {
        // Without room the next packet says it.
        if self.queue.must_ask(now, &eid) && self.events.len() < limits::EVENTS {
            self.queue.asked(now, &eid);
            self.events.push_back(Event::Miss { eid, source });
        }
    }

    fn flush(&mut self, now: Instant, prefix: &EidPrefix) {
        for (eid, packets) in self.queue.take(prefix) {
            let mut packets = packets.into_iter();
            while let Some(held) = packets.next() {
                let Ok(packet) = IpPacket::parse(&held.packet) else { continue };
                match self.decide(&packet) {
                    Decision::Ask => {
                        self.queue.put_back(eid, std::iter::once(held).chain(packets));
                        // The mapping says "ask again": control has just heard so itself.
                        self.queue.asked(now, &eid);
                        break;
                    }
                    decision => {
                        self.counters.add(Count::Flushed, 1);
                        self.carry_out(now, &packet, decision);
                    }
                }
            }
        }
    }

    fn split(&mut self, now: Instant, packet: &IpPacket<'_>, target: Target, room: usize) {
        let whole = Ipv4Packet::parse(packet.octets());
        match whole.ok().and_then(|whole| fragment(&whole, room)) {
            Some(fragments) => {
                self.counters.add(Count::Fragmented, 1);
                fragments.for_each(|fragment| {
                    // Each has a nonce of its own, if it has any.
                    let header = self.header(target, packet);
                    self.push_core(target, header, fragment);
                });
            }
            None => self.refuse(now, packet, DropReason::TooBig, Some(IcmpError::TooBig(room))),
        }
    }

    fn push_core(&mut self, target: Target, header: OuterHeader, inner: Vec<u8>) {
        self.count_encapsulated(target.locator, 1, inner.len());
        self.outputs.push_back(Output::Core(header, inner));
    }

    #[inline(always)]
    fn count_encapsulated(&mut self, locator: LocatorIndex, packets: usize, octets: usize) {
        self.counters.add_alone(Count::Encapsulated, packets);
        self.counters.add_alone(Count::EncapsulatedBytes, octets);
        let now = self.cache.tick();
        self.cache.locators_mut().sent(now, locator, packets, octets);
    }
}

fn source_port(hash: u64) -> u16 {
    let low = u16::try_from(hash & SOURCE_PORT_MASK).unwrap_or_default();
    FIRST_SOURCE_PORT | low
}

fn flow_label(hash: u64) -> u32 {
    u32::try_from(hash >> FLOW_LABEL_SHIFT & FLOW_LABEL_MASK).unwrap_or_default()
}
