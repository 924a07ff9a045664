// SPDX-License-Identifier: GPL-2.0-or-later
//! The way that a packet would take, for `lisp-xtr trace`.
//!
//! Nothing is chosen here. An ITR that sends nothing is told what the control half told the one of the packet threads (our prefixes
//! and RLOCs, the one mapping that matches, the locators that probes have found silent), is given a packet, and its verdict is
//! read off: what is shown is what the same code would do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::{IpNet, Ipv6Net};
use wire::address::{EidPrefix, InstanceId};
use wire::data::{FlowKey, Ipv4Header, Ipv6Header, OuterHeader, TrafficClass, protocol};
use wire::record::{Action, LocatorRecord};

use crate::counters::{Counters, DropReason};
use crate::engine::Control;
use crate::itr::{Itr, ItrConfig, Verdict};
use crate::map_cache::{Binding, Entry, Forwarding, Locator, Share, Update};
use crate::nat::limits::BINDING;
use crate::resolve::Installed;

/// Hops of the packet that is thought of: the outer header copies what is left of them.
const TTL: u8 = 64;
/// Octets behind its IP header: the shortest TCP header, and room for those of UDP and SCTP.
const PAYLOAD: usize = 20;

/// A packet that is thought of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Its instance.
    pub iid: InstanceId,
    /// Addresses and ports; without ports it is an echo request.
    pub flow: FlowKey,
}

/// What would become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace<'c> {
    /// The way through a NAT that it takes in the place of any mapping: behind one, or at an RTR; and whose packets take it.
    pub binding: Option<(EidPrefix, Binding)>,
    /// The mapping that matches.
    pub entry: Option<(EidPrefix, &'c Installed)>,
    /// The locators of the mapping, or the PETRs in their place (RFC 6832, section 6.1).
    pub locators: &'c [(IpAddr, LocatorRecord)],
    /// Whether they are PETRs.
    pub uses_petr: bool,
    /// How the flows are shared out among the locators of the mapping that packets may go to.
    pub shares: Vec<Share>,
    /// Where it ends.
    pub end: End,
}

/// Where the way of a packet ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At an EID of ours: it never enters the tunnel.
    Local(EidPrefix),
    /// With this header in front of it, at another xTR.
    Encapsulated(OuterHeader),
    /// At the kernel, which forwards it as it is.
    Native,
    /// It waits while the mapping system is asked.
    Miss,
    /// Here.
    Dropped(DropReason),
}

/// Why packets of the mapping go to a locator, or do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the one for this flow.
    Chosen,
    /// It has a share of the flows, and this one is not in it.
    OtherFlows,
    /// It has weight 0 beside others that have more (RFC 9300, section 9).
    NoWeight,
    /// One with a lower priority value can be reached.
    LessPreferred,
    /// It does not answer probes (RFC 9301, section 7.1).
    Silent,
    /// Its locator-status-bit is clear (RFC 9300, section 10).
    DownByStatusBits,
    /// We have no RLOC of its address family.
    OtherFamily,
    /// Its record says that it cannot be used: priority 255, or the R bit is clear; or the address is of no single machine.
    NotUsable,
}

impl Standing {
    /// The words for it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Chosen => "this flow is in its share",
            Self::OtherFlows => "other flows are in its share",
            Self::NoWeight => "weight 0 beside others",
            Self::LessPreferred => "one of better priority can be reached",
            Self::Silent => "does not answer probes",
            Self::DownByStatusBits => "its site says by a status bit that it is down",
            Self::OtherFamily => "no RLOC of ours has its address family",
            Self::NotUsable => "its record says that it cannot be used",
        }
    }
}

impl Packet {
    /// Whether it enters the tunnel. The kernel leads it there by the rules of `shell/netlink.rs`, which know one instance: `cgeid_network` is
    /// that whose addresses are led whoever sends to them, if there is one; so is what has moved, as hosts that stayed send to it. At an RTR
    /// it comes in a tunnel, from behind a NAT or to there, and goes on in one.
    pub fn is_led(&self, control: &Control, cgeid_network: Option<Ipv6Net>) -> bool {
        let destination = EidPrefix::host(self.iid, self.flow.destination);
        let source = EidPrefix::host(self.iid, self.flow.source);
        let to_cgeids = cgeid_network.is_some_and(|network| IpNet::from(network).contains(&self.flow.destination));
        let is_ours = !control.database().answer(&source).is_empty();
        let as_pitr = control.pitr_for().iter().any(|prefix| prefix.net.contains(&self.flow.destination));
        let has_moved = control.all_moved().iter().any(|prefix| prefix.covers(&destination));
        let is_bound = |eid| control.rtr().is_some_and(|rtr| rtr.covering(eid).is_some());
        let is_relayed = is_bound(&source) || is_bound(&destination);
        to_cgeids && self.iid == InstanceId(0) || is_ours || as_pitr || has_moved || is_relayed
    }

    /// What would become of it at `now`, at a node with this control half and this ITR, which is PETR for these EID-prefixes.
    pub fn trace<'c>(&self, now: Instant, control: &'c Control, itr: &ItrConfig, petr_for: &[EidPrefix]) -> Trace<'c> {
        let binding = control.binding_for(self.iid, self.flow.destination);
        // A part of a bound prefix may be somebody else's; behind a NAT nothing is.
        let is_part = |prefix: EidPrefix| {
            binding.is_none_or(|(of, _)| control.rtr().is_some() && of.net.prefix_len() < prefix.net.prefix_len())
        };
        let entry = control.mapping_for(now, self.iid, self.flow.destination).filter(|(prefix, _)| is_part(*prefix));
        let binding = binding.filter(|_| entry.is_none());
        let locators = entry.map_or(&[][..], |(prefix, installed)| control.petrs_for(&prefix).locators_of(installed));
        let uses_petr = entry.is_some_and(|(prefix, installed)| control.petrs_for(&prefix).serve(installed));
        let Some(octets) = self.octets() else {
            let end = End::Dropped(DropReason::SiteMalformed);
            return Trace { binding, entry, locators, uses_petr, shares: Vec::new(), end };
        };
        let thought = Itr::new(now, ItrConfig { iid: self.iid, ..itr.clone() }, Arc::new(Counters::default()));
        let mut thought = thought.relaying(control.rtr().is_some(), petr_for);
        for update in updates(control, entry) {
            thought.update(now, update);
        }
        if let Some((prefix, binding)) = binding {
            let entry = Entry { forwarding: Forwarding::Binding(binding), expires: now + BINDING };
            thought.update(now, Update::Upsert { prefix, entry });
        }
        let host = EidPrefix::host(self.iid, self.flow.destination);
        let has_moved = control.all_moved().iter().any(|moved| moved.covers(&host));
        let own = control.database().answer(&host);
        let end = match (own.first().filter(|_| !has_moved), thought.handle(now, &octets)) {
            (Some(own), _) => End::Local(*own),
            (None, Verdict::Encapsulate(outer, _)) => End::Encapsulated(outer),
            (None, Verdict::Native(_)) => End::Native,
            (None, Verdict::Later) => End::Miss,
            (None, Verdict::Dropped(reason)) => End::Dropped(reason),
        };
        let shares = thought.map_cache().shares(self.iid, self.flow.destination);
        Trace { binding, entry, locators, uses_petr, shares, end }
    }

    /// The packet; `None` if its addresses are of two families.
    fn octets(&self) -> Option<Vec<u8>> {
        let FlowKey { source, destination, ports } = self.flow;
        let (number, from, to) = ports.unwrap_or_default();
        let [from, to] = [from, to].map(u16::to_be_bytes);
        let mut payload = [0; PAYLOAD];
        payload[..2].copy_from_slice(&from);
        payload[2..4].copy_from_slice(&to);
        let class = TrafficClass::default();
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let protocol = if ports.is_some() { number } else { protocol::ICMP };
                let header = Ipv4Header { source, destination, protocol, ttl: TTL, class, dont_fragment: true };
                Some([header.emit(PAYLOAD)?.as_slice(), &payload].concat())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let next_header = if ports.is_some() { number } else { protocol::ICMPV6 };
                let header = Ipv6Header { source, destination, next_header, hop_limit: TTL, class, flow_label: 0 };
                Some([header.emit(PAYLOAD)?.as_slice(), &payload].concat())
            }
            _ => None,
        }
    }
}

/// What the ITR of the packet threads has been told, as far as it matters here.
fn updates(control: &Control, entry: Option<(EidPrefix, &Installed)>) -> Vec<Update> {
    let database = control.database();
    let mut updates =
        vec![Update::LocalEids(database.prefixes().to_vec()), Update::LocalRlocs(database.preferred_rlocs())];
    updates.push(Update::Moved(control.all_moved().to_vec()));
    updates.push(Update::PitrFor(control.pitr_for().to_vec()));
    let Some((prefix, installed)) = entry else { return updates };
    let petrs = control.petrs_for(&prefix);
    updates.push(Update::Upsert { prefix, entry: petrs.lead(control.entry_of(&prefix, installed)) });
    let all = petrs.locators_of(installed).iter().map(|(address, _)| *address);
    updates.extend(all.filter_map(|rloc| Some(Update::From { rloc, source: control.source_towards(rloc)? })));
    let all = petrs.locators_of(installed).iter().map(|(address, _)| *address);
    let silent = all.filter(|address| !control.is_usable(*address));
    updates.extend(silent.map(|rloc| Update::Reachable { rloc, reachable: false }));
    updates
}

impl Trace<'_> {
    /// How the locator at `index` of the mapping stands, and its share of the flows with the whole of the shares.
    pub fn locator(&self, control: &Control, index: usize) -> (Standing, Option<(u32, u32)>) {
        let Some(locator) = self.locators.get(index).and_then(|(_, record)| Locator::usable(record)) else {
            return (Standing::NotUsable, None);
        };
        let is_it = |share: &&Share| share.address == locator.address && share.priority == locator.priority;
        let share = self.shares.iter().find(is_it).filter(|share| share.part > 0);
        let whole = self.shares.iter().map(|share| share.part).sum();
        let ours = control.database().rlocs();
        let best = self.shares.iter().filter(|share| share.part > 0).map(|share| share.priority).min();
        let standing = match share {
            Some(_) if self.destination() == Some(locator.address) => Standing::Chosen,
            Some(_) => Standing::OtherFlows,
            None if !ours.iter().any(|rloc| rloc.is_ipv4() == locator.address.is_ipv4()) => Standing::OtherFamily,
            None if !control.is_usable(locator.address) => Standing::Silent,
            None if self.is_down_by_status_bits(control, locator.address) => Standing::DownByStatusBits,
            None if best.is_some_and(|best| best < locator.priority) => Standing::LessPreferred,
            None => Standing::NoWeight,
        };
        (standing, share.map(|share| (share.part, whole)))
    }

    fn is_down_by_status_bits(&self, control: &Control, locator: IpAddr) -> bool {
        self.entry.is_some_and(|(prefix, installed)| control.down_by_status_bits(&prefix, installed).contains(&locator))
    }

    fn destination(&self) -> Option<IpAddr> {
        if let End::Encapsulated(outer) = self.end { Some(outer.destination) } else { None }
    }
}

/// The name of a negative action in `show` and `trace` (RFC 9301, section 5.4).
pub const fn action_name(action: Action) -> &'static str {
    match action {
        Action::NoAction => "no-action",
        Action::NativelyForward => "natively-forward",
        Action::SendMapRequest => "send-map-request",
        Action::DropNoReason => "drop",
        Action::DropPolicyDenied => "drop-policy-denied",
        Action::DropAuthFailure => "drop-auth-failure",
        Action::Unassigned6 | Action::Unassigned7 => "drop-unassigned",
    }
}
