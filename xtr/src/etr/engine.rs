// SPDX-License-Identifier: GPL-2.0-or-later
//! The engine: one datagram in, one inner packet out.

use std::net::IpAddr;
use std::sync::Arc;

use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ecn, IpPacket, Ipv4Packet, Ipv6Packet, LispHeader, NextProtocol, TrafficClass};
use wire::error::{DecodeError, Problem};

use crate::counters::{Count, Counters, DropReason};
use crate::eid_set::EidSet;
use crate::map_cache::{Update, is_unicast};

/// What an ETR is made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct EtrConfig {
    /// Bit 5 of the LISP header is P of GPE (RFC 9305), and its next protocol must agree with the inner packet.
    pub gpe: bool,
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
    /// The LISP header it came with; nothing in it but the instance has been trusted.
    pub lisp: LispHeader,
    /// The packet, TTL and traffic class corrected, trailing octets cut off.
    pub inner: &'p [u8],
}

/// The ETR.
#[derive(Debug)]
pub struct Etr {
    config: EtrConfig,
    local_eids: EidSet,
    counters: Arc<Counters>,
}

impl Etr {
    /// An ETR that has no EID yet, and so drops everything.
    pub fn new(config: EtrConfig, counters: Arc<Counters>) -> Self {
        Self { config, local_eids: EidSet::default(), counters }
    }

    /// Takes what control says, as far as it concerns an ETR.
    pub fn update(&mut self, update: &Update) {
        if let Update::LocalEids(prefixes) = update {
            self.set_local_eids(prefixes);
        }
    }

    /// The EID-prefixes that packets are decapsulated for.
    pub fn set_local_eids(&mut self, prefixes: &[EidPrefix]) {
        self.local_eids = EidSet::new(prefixes);
    }

    /// Takes the UDP payload of a datagram to port 4341.
    ///
    /// # Errors
    /// The reason, counted, why the packet goes no further. Nobody is told: the outer source may be forged.
    pub fn handle<'p>(&self, outer: &OuterInfo, payload: &'p mut [u8]) -> Result<Decapsulated<'p>, DropReason> {
        let result = self.decapsulate(outer, payload);
        match &result {
            Ok(packet) => {
                self.counters.add_alone(Count::Decapsulated, 1);
                self.counters.add_alone(Count::DecapsulatedBytes, packet.inner.len());
                self.counters.heard().note(outer.source);
            }
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
        let packet = IpPacket::parse(rest).map_err(|error| malformed(&error))?;
        self.check_next_protocol(&lisp, &packet)?;
        let iid = lisp.iid.unwrap_or_default();
        self.check_addresses(iid, &packet)?;
        let (ttl, class) = uniform(outer, &packet)?;
        let (length, is_v4) = (packet.octets().len(), matches!(packet, IpPacket::V4(_)));
        let inner = &mut payload[LispHeader::LENGTH..][..length];
        if is_v4 {
            Ipv4Packet::rewrite(inner, ttl, class);
        } else {
            Ipv6Packet::rewrite(inner, ttl, class);
        }
        Ok(Decapsulated { iid, lisp, inner })
    }

    fn check_next_protocol(&self, lisp: &LispHeader, packet: &IpPacket<'_>) -> Result<(), DropReason> {
        let expected = match packet {
            IpPacket::V4(_) => NextProtocol::IPV4,
            IpPacket::V6(_) => NextProtocol::IPV6,
        };
        match lisp.next_protocol {
            Some(next) if self.config.gpe && next != expected => Err(DropReason::CoreNextProtocol),
            _ => Ok(()),
        }
    }

    fn check_addresses(&self, iid: InstanceId, packet: &IpPacket<'_>) -> Result<(), DropReason> {
        if !self.local_eids.contains(iid, packet.destination()) {
            return Err(match self.local_eids.has_instance(iid) {
                true => DropReason::CoreNotOurs,
                false => DropReason::CoreInstance,
            });
        }
        if is_unicast(packet.source()) { Ok(()) } else { Err(DropReason::CoreSource) }
    }
}

/// TTL, DSCP and ECN of the inner packet (RFC 9300, section 5.3; RFC 6040): the fewer hops, the outer DSCP, congestion
/// from either header.
fn uniform(outer: &OuterInfo, packet: &IpPacket<'_>) -> Result<(u8, TrafficClass), DropReason> {
    let ttl = packet.ttl().min(outer.ttl);
    if ttl == 0 {
        return Err(DropReason::CoreTtl);
    }
    let ecn = Ecn::decapsulate(packet.traffic_class().ecn(), outer.class.ecn()).ok_or(DropReason::CoreEcn)?;
    Ok((ttl, TrafficClass::new(outer.class.dscp(), ecn)))
}

fn malformed(error: &DecodeError) -> DropReason {
    match error.problem {
        Problem::Value(_) => DropReason::CoreVersion,
        _ => DropReason::CoreLength,
    }
}
