// SPDX-License-Identifier: GPL-2.0-or-later
//! The engine: one datagram in, one inner packet out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ecn, IpPacket, Ipv4Packet, Ipv6Packet, LispHeader, NextProtocol, TrafficClass};
use wire::error::{DecodeError, Problem};

use crate::counters::{Count, Counters, DropReason};
use crate::eid_set::EidSet;
use crate::limits::SENDERS_WRITTEN;
use crate::map_cache::{Event, Update, is_unicast};
use crate::trust::Trust;

use super::ecn::UnusedEcn;
use super::letters::Letters;
use super::peers::{Peers, Said};
use super::relays::{Relayed, Relays};
use super::senders::{Sent, Written};
use super::sources::{Judgement, SourcePolicy, Sources};

/// N, L, E and V of the LISP header.
const OPTIONAL_FLAGS: u8 = 0xf0;

/// What an ETR is made of.
#[derive(Debug, Clone, Default)]
pub struct EtrConfig {
    /// Peers that take LISP-GPE, and so send it: bit 5 of their LISP headers is P (RFC 9305, section 3), and the next protocol must agree
    /// with the inner packet. Of all others it is R, which is ignored (RFC 9300, section 5.3).
    pub gpe_peers: Vec<IpAddr>,
    /// Which inner sources packets may have.
    pub sources: SourcePolicy,
    /// Whose nonces, locator-status-bits and map-versions count.
    pub trust: Trust,
    /// EID-prefixes of sites that use this node as their PETR (RFC 6832, section 6); none = it is no PETR.
    pub petr_for: Vec<EidPrefix>,
    /// The node is an RTR: what is registered from behind NATs is encapsulated again.
    pub relays: bool,
}

/// The outer header, as the socket tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OuterInfo {
    /// The RLOC that sent it.
    pub source: IpAddr,
    /// The RLOC of ours that it came to.
    pub destination: IpAddr,
    /// UDP source port.
    pub source_port: u16,
    /// Hops left.
    pub ttl: u8,
    /// DSCP and ECN.
    pub class: TrafficClass,
}

/// An inner packet on its way to the site.
#[derive(Debug, PartialEq, Eq)]
pub struct Decapsulated<'p> {
    /// Its instance.
    pub iid: InstanceId,
    /// Its source.
    pub source: IpAddr,
    /// The LISP header it came with; nothing in it but the instance has been trusted, unless a trusted peer sent it.
    pub lisp: LispHeader,
    /// To no EID of ours: this node is the PETR of its site, and the kernel forwards it.
    pub leaves: bool,
    /// The packet, TTL and traffic class corrected, trailing octets cut off.
    pub inner: &'p [u8],
    /// It is for, or from, an xTR behind a NAT, and is encapsulated again.
    pub relayed: Option<Relayed>,
}

/// What becomes of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<'p> {
    /// Its inner packet enters the site.
    Enters(Decapsulated<'p>),
    /// It waits for a verdict on its source; what comes of it is in [`Etr::poll`].
    Later,
    /// Its inner packet is encapsulated again: it is for, or from, an xTR behind a NAT. If that was its last hop its TTL is 0 now.
    Relayed(Decapsulated<'p>),
    /// A control message of an RTR, which is among the events now.
    Control,
    /// No further; counted. Nobody is told: the outer source may be forged.
    Dropped(DropReason),
}

/// The ETR.
#[derive(Debug)]
pub struct Etr {
    gpe_peers: Vec<IpAddr>,
    local_eids: EidSet,
    petr_for: EidSet,
    sources: Sources,
    peers: Peers,
    relays: Relays,
    letters: Letters,
    written: Written<IpAddr>,
    /// None unless this node is an RTR.
    sent: Option<Written<Sent>>,
    unused_ecn: UnusedEcn,
    counters: Arc<Counters>,
}

impl Etr {
    /// An ETR that has no EID yet, and so drops everything.
    pub fn new(config: EtrConfig, counters: Arc<Counters>) -> Self {
        let sources = Sources::new(config.sources, counters.clone());
        let peers = Peers::new(config.trust, counters.clone());
        let petr_for = EidSet::new(&config.petr_for);
        let (gpe_peers, local_eids) = (config.gpe_peers, EidSet::default());
        let (written, sent) = (Written::new(SENDERS_WRITTEN), config.relays.then(|| Written::new(SENDERS_WRITTEN)));
        let (relays, letters, unused_ecn) = (Relays::default(), Letters::default(), UnusedEcn::new(counters.clone()));
        Self { gpe_peers, local_eids, petr_for, sources, peers, relays, letters, written, sent, unused_ecn, counters }
    }

    /// Takes what control says, as far as it concerns an ETR.
    pub fn update(&mut self, update: &Update) {
        match update {
            Update::LocalEids(prefixes) => self.set_local_eids(prefixes),
            Update::Moved(prefixes) => self.sources.set_moved(prefixes),
            Update::Source { eid, prefix, rloc, verdict, ask } => {
                self.sources.learn((*eid, *rloc), *prefix, *verdict, *ask);
            }
            Update::SourcePutOff { eid, rloc, ask } => self.sources.put_off((*eid, *rloc), *ask),
            Update::Relayed { prefix, nats } => self.relays.set(*prefix, *nats),
            Update::Rtrs(rtrs) => self.letters.set_rtrs(rtrs),
            Update::Behind(is_behind) => self.letters.set_behind(*is_behind),
            _ => self.peers.update(update),
        }
    }

    /// Tells the time, once before each batch.
    pub fn advance(&mut self, now: Instant) {
        self.sources.advance(now);
        self.peers.advance(now);
        self.written.advance(now);
        self.sent.iter_mut().for_each(|sent| sent.advance(now));
        self.unused_ecn.advance(now);
    }

    /// When [`Self::advance`] is to be called although nothing comes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.sources.next_deadline()
    }

    /// What control is to be asked. An event that cannot be delivered is given to [`Self::event_lost`].
    pub fn poll_event(&mut self) -> Option<Event> {
        let of_packets = self.letters.poll().or_else(|| self.sources.poll_event()).or_else(|| self.peers.poll_event());
        of_packets.or_else(|| self.unused_ecn.poll_event())
    }

    /// Whether [`Self::poll_event`] has one.
    pub fn has_events(&self) -> bool {
        self.letters.has_some() || self.sources.has_events() || self.peers.has_events() || self.unused_ecn.has_events()
    }

    /// Keeps an event that control had no room for, to be polled again.
    pub fn event_lost(&mut self, event: Event) {
        self.counters.add(Count::EventLost, 1);
        match event {
            Event::Control { .. } => self.letters.put_back(event),
            Event::Source { .. } => self.sources.event_lost(event),
            Event::UnusedEcn { rloc, inner, outer, packets } => {
                self.unused_ecn.event_lost(rloc, (inner, outer), packets);
            }
            _ => self.peers.event_lost(event),
        }
    }

    /// An inner packet that waited and now enters the site: drained after each call of another method.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        let (rloc, packet) = self.sources.poll()?;
        self.count(rloc, packet.len());
        if self.leaves(&packet) {
            self.counters.add(Count::Petr, 1);
        }
        self.written.note(rloc, self.counters.senders());
        Some(packet)
    }

    /// The EID-prefixes that packets are decapsulated for.
    pub fn set_local_eids(&mut self, prefixes: &[EidPrefix]) {
        self.local_eids = EidSet::new(prefixes);
        self.sources.set_own(prefixes);
        self.peers.set_local_eids(prefixes);
    }

    /// Takes the UDP payload of a datagram to port 4341.
    #[inline]
    pub fn receive<'p>(&mut self, outer: &OuterInfo, payload: &'p mut [u8]) -> Arrival<'p> {
        self.ignore_reserved(outer, payload);
        let flags = payload.first().copied().unwrap_or_default();
        if self.letters.take(outer, payload) {
            self.counters.add(Count::ControlMessages, 1);
            return Arrival::Control;
        }
        let packet = match self.decapsulate(outer, payload) {
            Ok(packet) => packet,
            Err(reason) => return self.drop(reason),
        };
        let said = if flags & OPTIONAL_FLAGS == 0 { None } else { self.believed(outer, flags, &packet) };
        if let Some(said) = &said
            && let Err(reason) = self.peers.check(said)
        {
            return self.drop(reason);
        }
        if let Some(relayed) = packet.relayed {
            return self.relay(outer, packet, relayed);
        }
        match self.judge(outer, &packet) {
            Judgement::Enters => {
                self.count(outer.source, packet.inner.len());
                self.note_peer(outer);
                if packet.leaves {
                    self.counters.add(Count::Petr, 1);
                }
                self.written.note(outer.source, self.counters.senders());
                if let Some(said) = &said {
                    self.peers.take(said);
                }
                Arrival::Enters(packet)
            }
            Judgement::Waits => match self.sources.hold(packet.iid, packet.source, outer.source, packet.inner) {
                Ok(()) => {
                    self.counters.add(Count::SourceWaited, 1);
                    Arrival::Later
                }
                Err(reason) => self.drop(reason),
            },
            Judgement::Drop(reason) => self.drop(reason),
        }
    }

    /// Bit 5 is P of GPE peers, and R of all others.
    #[inline]
    fn ignore_reserved(&self, outer: &OuterInfo, payload: &mut [u8]) {
        if LispHeader::has_bit_5(payload) && !self.gpe_peers.contains(&outer.source) {
            LispHeader::clear_reserved(payload);
        }
    }

    /// The public Internet must not use N, L, E and V (RFC 9300, section 4.1): unless a trusted peer sends them they change nothing. N
    /// with V counts as N, and E without N as nothing (section 5.3).
    #[inline(never)]
    fn believed(&self, outer: &OuterInfo, flags: u8, packet: &Decapsulated<'_>) -> Option<Said> {
        if !LispHeader::flags_agree(flags) {
            self.counters.add(Count::FlagsForbidden, 1);
        }
        if self.peers.trust().is_trusted(outer.source) {
            return Said::new(outer.source, packet);
        }
        if LispHeader::flags_agree(flags) {
            self.counters.add(Count::FlagsIgnored, 1);
        }
        None
    }

    /// What an RTR of ours sends has been checked by it, and is from EIDs that map to others; that they are not ours this node knows better.
    /// What is registered through this RTR comes from its NAT, and maps to this RTR.
    #[inline]
    fn judge(&mut self, outer: &OuterInfo, packet: &Decapsulated<'_>) -> Judgement {
        if self.letters.is_relayed(outer) {
            return self.sources.judge_vouched(packet.iid, packet.source);
        }
        if !packet.leaves && self.relays.is_from(packet.iid, packet.source, outer.source) {
            return Judgement::Enters;
        }
        self.sources.judge(packet.iid, packet.source, outer.source, !packet.leaves)
    }

    /// What comes from behind a NAT has the address of that; what goes there is judged as if it entered the site, but that nothing waits.
    fn relay<'p>(&mut self, outer: &OuterInfo, packet: Decapsulated<'p>, relayed: Relayed) -> Arrival<'p> {
        let judgement = match relayed {
            Relayed::From => Judgement::Enters,
            Relayed::To => self.sources.judge(packet.iid, packet.source, outer.source, true),
        };
        match judgement {
            Judgement::Enters => {
                self.count(outer.source, packet.inner.len());
                self.counters.add(Count::Relayed, 1);
                if relayed == Relayed::To {
                    self.note_sent(outer.source, &packet);
                }
                Arrival::Relayed(packet)
            }
            Judgement::Waits => self.drop(DropReason::CoreSourceUnknown),
            Judgement::Drop(reason) => self.drop(reason),
        }
    }

    /// Who sends to an xTR behind a NAT is to hear when what he sends to moves: the xTR sees only us.
    #[inline]
    fn note_sent(&mut self, rloc: IpAddr, packet: &Decapsulated<'_>) {
        let (Some(sent), Ok(inner)) = (&mut self.sent, IpPacket::parse(packet.inner)) else { return };
        let (iid, destination) = (packet.iid, inner.destination());
        let prefix = || self.relays.longest(iid, destination).map(|(prefix, _)| prefix);
        sent.note_sent((rloc, iid, destination), self.counters.bound_senders(), prefix);
    }

    fn drop<'p>(&self, reason: DropReason) -> Arrival<'p> {
        self.counters.count_drop(reason);
        Arrival::Dropped(reason)
    }

    fn count(&self, rloc: IpAddr, octets: usize) {
        self.counters.add_alone(Count::Decapsulated, 1);
        self.counters.add_alone(Count::DecapsulatedBytes, octets);
        self.counters.heard().note(rloc);
    }

    /// Where a peer sends to that may be asked for echoes.
    #[inline]
    fn note_peer(&self, outer: &OuterInfo) {
        let trust = self.peers.trust();
        if trust.echo_nonce() && trust.is_trusted(outer.source) {
            self.counters.heard().note_peer(outer.source, outer.destination);
        }
    }

    /// As [`Self::receive`], whatever the source.
    ///
    /// # Errors
    /// The reason, counted, why the packet goes no further. Nobody is told: the outer source may be forged.
    pub fn handle<'p>(&self, outer: &OuterInfo, payload: &'p mut [u8]) -> Result<Decapsulated<'p>, DropReason> {
        self.ignore_reserved(outer, payload);
        let result = self.decapsulate(outer, payload);
        match &result {
            Ok(packet) => self.count(outer.source, packet.inner.len()),
            Err(reason) => self.counters.count_drop(*reason),
        }
        result
    }

    fn decapsulate<'p>(&self, outer: &OuterInfo, payload: &'p mut [u8]) -> Result<Decapsulated<'p>, DropReason> {
        let (lisp, rest) = LispHeader::parse(payload).map_err(|_| DropReason::CoreShort)?;
        if lisp.key_id != 0 {
            return Err(DropReason::CoreEncrypted);
        }
        if rest.is_empty() {
            return Err(DropReason::CoreShort);
        }
        if lisp.next_protocol.is_some_and(|next| !matches!(next, NextProtocol::IPV4 | NextProtocol::IPV6)) {
            return Err(DropReason::CoreNextProtocol);
        }
        let packet = IpPacket::parse(rest).map_err(|error| malformed(&error))?;
        check_next_protocol(&lisp, &packet)?;
        let iid = lisp.iid.unwrap_or_default();
        let (leaves, relayed) = self.check_addresses(outer, iid, &packet)?;
        let (ttl, class) = self.uniform(outer, &packet)?;
        // Encapsulated again it has a hop less (RFC 9300, section 5.3). Without any it goes as far as the ITR, which tells its source.
        let ttl = ttl - u8::from(relayed.is_some());
        let source = packet.source();
        let (length, is_v4) = (packet.octets().len(), matches!(packet, IpPacket::V4(_)));
        let inner = &mut payload[LispHeader::LENGTH..][..length];
        if is_v4 {
            Ipv4Packet::rewrite(inner, ttl, class);
        } else {
            Ipv6Packet::rewrite(inner, ttl, class);
        }
        Ok(Decapsulated { iid, source, lisp, leaves, relayed, inner })
    }

    /// TTL, DSCP and ECN of the inner packet (RFC 9300, section 5.3; RFC 6040): the fewer hops, the outer DSCP, congestion
    /// from either header.
    #[inline]
    fn uniform(&self, outer: &OuterInfo, packet: &IpPacket<'_>) -> Result<(u8, TrafficClass), DropReason> {
        let ttl = packet.ttl().min(outer.ttl);
        if ttl == 0 {
            return Err(DropReason::CoreTtl);
        }
        self.unused_ecn.look(outer.source, packet.traffic_class().ecn(), outer.class.ecn());
        let ecn = Ecn::decapsulate(packet.traffic_class().ecn(), outer.class.ecn()).ok_or(DropReason::CoreEcn)?;
        Ok((ttl, TrafficClass::new(outer.class.dscp(), ecn)))
    }

    /// Whether the packet leaves the tunnel here for somebody who is no site, and whether it is to be relayed.
    fn check_addresses(
        &self,
        outer: &OuterInfo,
        iid: InstanceId,
        packet: &IpPacket<'_>,
    ) -> Result<(bool, Option<Relayed>), DropReason> {
        let (mut leaves, mut relayed) = (false, None);
        if !self.local_eids.contains(iid, packet.destination()) {
            relayed = self.relays.find(iid, packet, outer.source);
            leaves = relayed.is_none();
        }
        if leaves {
            self.check_petr(iid, packet)?;
        }
        if is_unicast(packet.source()) { Ok((leaves, relayed)) } else { Err(DropReason::CoreSource) }
    }

    /// A PETR takes packets of the sites that may use it, and of nobody else (RFC 6832, section 6): otherwise anybody could send
    /// through it in the name of others.
    fn check_petr(&self, iid: InstanceId, packet: &IpPacket<'_>) -> Result<(), DropReason> {
        if self.petr_for.contains(iid, packet.source()) {
            let is_one_host = is_unicast(packet.destination());
            return if is_one_host { Ok(()) } else { Err(DropReason::CorePetrDestination) };
        }
        Err(match (self.petr_for.has_instance(iid), self.local_eids.has_instance(iid)) {
            (true, _) => DropReason::CorePetrSource,
            (false, true) => DropReason::CoreNotOurs,
            (false, false) => DropReason::CoreInstance,
        })
    }

    /// Whether a packet that was taken is one of a PETR's. A PETR serves one instance.
    fn leaves(&self, packet: &[u8]) -> bool {
        let Some(iid) = self.petr_for.prefixes().first().map(|prefix| prefix.iid) else { return false };
        IpPacket::parse(packet).is_ok_and(|packet| !self.local_eids.contains(iid, packet.destination()))
    }
}

/// What a GPE peer says is another IP packet than it is, is dropped (RFC 9305, section 3).
fn check_next_protocol(lisp: &LispHeader, packet: &IpPacket<'_>) -> Result<(), DropReason> {
    let expected = match packet {
        IpPacket::V4(_) => NextProtocol::IPV4,
        IpPacket::V6(_) => NextProtocol::IPV6,
    };
    match lisp.next_protocol {
        Some(next) if next != expected => Err(DropReason::CoreNextProtocol),
        _ => Ok(()),
    }
}

fn malformed(error: &DecodeError) -> DropReason {
    match error.problem {
        Problem::Value(_) => DropReason::CoreVersion,
        _ => DropReason::CoreLength,
    }
}
