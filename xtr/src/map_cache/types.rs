// SPDX-License-Identifier: GPL-2.0-or-later
//! What the two halves of the xTR say to each other: control sends [`Update`]s, the packet thread answers with [`Event`]s.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::data::Ecn;
use wire::record::{Action, LocatorRecord, MapVersion};

/// What to do with packets for one EID-prefix, until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where to, or why not.
    pub forwarding: Forwarding,
    /// From then on the entry is as if it were not there.
    pub expires: Instant,
}

/// What a mapping says about packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarding {
    /// Encapsulate to one of these; an empty list, or one without a family of ours, drops.
    Locators(Vec<Locator>),
    /// A negative mapping: the action of RFC 9301, section 5.4.
    Negative(Action),
    /// Encapsulate through a NAT.
    Binding(Binding),
}

/// The way through a NAT: from an RTR to an xTR behind one, or from there to the RTR (draft-ermagan-lisp-nat-traversal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The RTR, or the address that the NAT shows.
    pub address: IpAddr,
    /// The UDP port there.
    pub port: u16,
    /// The port that packets leave from.
    pub from: FromPort,
    /// The locator of ours that they leave from: the one that the NAT has been opened to.
    pub source: IpAddr,
}

/// A UDP source port that is the same for all flows: a NAT lets in what answers it, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FromPort {
    /// 4341: an xTR behind a NAT, which is to hold one binding and not one for each flow.
    Data,
    /// 4342: an RTR, to which xTRs have opened their NATs by Map-Registers to this port (sections 4.3 and 5.3.1 of the draft).
    Control,
}

impl FromPort {
    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Data => wire::DATA_PORT,
            Self::Control => wire::CONTROL_PORT,
        }
    }
}

/// A locator that packets may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locator {
    /// The RLOC.
    pub address: IpAddr,
    /// 0 to 254, lower is better.
    pub priority: u8,
    /// Share of the flows among the locators of one priority; 0 = none, unless all of them are 0.
    pub weight: u8,
}

impl Locator {
    /// The unicast locator in `record`, if packets may go there: R set, priority not 255 (RFC 9300, section 9), and an
    /// address that one machine has (RFC 9301, section 5.4: never broadcast, never link-local multicast).
    pub fn usable(record: &LocatorRecord) -> Option<Self> {
        let address = record.rloc.ip()?;
        let usable = record.reachable && record.priority != LocatorRecord::UNUSABLE && is_unicast(address);
        usable.then_some(Self { address, priority: record.priority, weight: record.weight })
    }
}

/// The locators of a mapping that packets may be sent to, in the order of the record.
pub fn usable_locators(records: &[LocatorRecord]) -> Vec<Locator> {
    records.iter().filter_map(Locator::usable).collect()
}

/// Whether an address can belong to exactly one machine beyond this one and its link.
#[inline]
pub fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let [first, second, ..] = a.octets();
            let (this_network, loopback, link_local) = (0, 127, (169, 254));
            let multicast_or_reserved_for_future_use = first >= 224;
            !(first == this_network || first == loopback || multicast_or_reserved_for_future_use)
                && (first, second) != link_local
        }
        // All that is told apart begins otherwise; asked about each packet twice.
        IpAddr::V6(a) if matches!(a.octets()[0], 0x01..=0xfd) => true,
        IpAddr::V6(a) => {
            let bits = a.to_bits();
            let unspecified_or_loopback = bits <= 1;
            let multicast = bits >> 120 == 0xff;
            let link_local = bits >> 118 == 0xfe80 >> 6;
            let mapped_v4 = bits >> 32 == 0xffff;
            !(unspecified_or_loopback || multicast || link_local || mapped_v4)
        }
    }
}

/// Whether an inner source may come from an RLOC, as the mapping system sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceVerdict {
    /// The RLOC is one of its locators.
    Here,
    /// It has others.
    Elsewhere,
    /// There is proof that it is no EID.
    Unmapped,
}

/// What packets to trusted peers say of our own mappings. They all have the same locators, so also the same version and bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnMapping {
    /// Map-version (RFC 9302); null = versions are not used.
    pub version: MapVersion,
    /// Locator-status-bits (RFC 9300, section 10): bit n is set if locator n of our records can be reached. None = not sent.
    pub status_bits: Option<u32>,
    /// From then on nobody has an older version that has not expired (RFC 9302, section 7.1).
    pub others_end: Option<Instant>,
}

impl Default for OwnMapping {
    fn default() -> Self {
        Self { version: MapVersion(0), status_bits: None, others_end: None }
    }
}

/// Control to packet thread; applied in order, between batches of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Installs or replaces the entry of exactly this prefix; packets that waited for it leave.
    Upsert {
        /// The EID-prefix of the mapping.
        prefix: EidPrefix,
        /// What to do with its packets.
        entry: Entry,
    },
    /// Removes the entry of exactly this prefix.
    Remove {
        /// The EID-prefix of the mapping.
        prefix: EidPrefix,
    },
    /// Resolution gave up: packets that wait for addresses in `eid` are dropped, their sources hear "unreachable".
    Unresolved {
        /// The host prefix of a [`Event::Miss`], or a shorter one.
        eid: EidPrefix,
    },
    /// The EID-prefixes that packets are decapsulated for; replaces the former list.
    LocalEids(Vec<EidPrefix>),
    /// Of these the EID-prefixes, and parts of them, that another xTR has now: packets to them go there. Replaces the former list.
    Moved(Vec<EidPrefix>),
    /// EID-prefixes of others that this node is PITR for (RFC 6832, section 5); replaces the former list.
    PitrFor(Vec<EidPrefix>),
    /// Our RLOCs, the preferred one of each family first; replaces the former list.
    LocalRlocs(Vec<IpAddr>),
    /// RLOCs that are ours no longer, at which packets are taken for a while; replaces the former list.
    FormerRlocs(Vec<IpAddr>),
    /// Whether packets may go to a locator, in whatever mappings it is, as probing has found (RFC 9301, section 7.1): one that may
    /// not is as if its priority were 255. Until something is said of a locator they may.
    Reachable {
        /// The locator.
        rloc: IpAddr,
        /// Whether they may.
        reachable: bool,
    },
    /// What packets to trusted peers say of our own mappings; replaces what was said.
    Own(OwnMapping),
    /// The mapping of exactly this prefix, installed before, has locators of a trusted peer.
    Peer {
        /// The EID-prefix of the mapping.
        prefix: EidPrefix,
        /// Its version (RFC 9302).
        version: MapVersion,
        /// Its locators, from which its status bits come.
        rlocs: Arc<[IpAddr]>,
        /// From then on it is forgotten.
        expires: Instant,
    },
    /// Packets to a locator of a trusted peer ask for the echo of a nonce, of 24 bits (RFC 9300, section 10.1).
    EchoRequest {
        /// The locator.
        rloc: IpAddr,
        /// The nonce; none = they ask no longer, and [`Event::EchoEnded`] says what is proven.
        nonce: Option<u32>,
        /// They do not ask for a while, and the echo is taken all the same.
        suspended: bool,
    },
    /// The next packet to a locator of a trusted peer echoes this nonce.
    EchoAnswer {
        /// The locator.
        rloc: IpAddr,
        /// The nonce.
        nonce: u32,
    },
    /// From which locator of ours packets go to one of others, in whatever mappings it is, as probing has found. Until something is said
    /// of it that is the preferred one of its family.
    From {
        /// The locator of others.
        rloc: IpAddr,
        /// Ours.
        source: IpAddr,
    },
    /// The MTUs of the interfaces of our locators, octets, as far as they have one: no longer packet leaves from these.
    InterfaceMtus(BTreeMap<IpAddr, u16>),
    /// The path MTU to a locator, in whatever mappings it is, as probing has found (RFC 8899).
    PathMtu {
        /// The locator.
        rloc: IpAddr,
        /// Octets of a whole IP packet, for as long as what a router says holds; none = as where nothing is known.
        mtu: Option<u16>,
    },
    /// A packet as long as the path MTU to a locator has got there, as a long probe shows: until then control looks into what a router says
    /// to the contrary ([`Event::MtuReported`]).
    PathProven {
        /// The locator.
        rloc: IpAddr,
        /// The end of that.
        until: Instant,
    },
    /// An EID-prefix is registered from behind a NAT through this node, or is so no longer: packets to it from anywhere, and packets
    /// from it that come from its NAT, are encapsulated again.
    Relayed {
        /// The prefix.
        prefix: EidPrefix,
        /// The addresses that the NAT shows: that by which it was registered last, and that of the other family, if its xTR registers by that
        /// too. None of either: it is so no longer.
        nats: [Option<IpAddr>; 2],
    },
    /// These RTRs are asked how this node is seen, and answer to the data port; it need not be behind a NAT. Replaces the former list.
    Rtrs(Vec<IpAddr>),
    /// Whether this node is behind a NAT: then what comes from its RTRs has been checked by them.
    Behind(bool),
    /// The answer to an [`Event::Source`], for all sources in a prefix.
    Source {
        /// The source asked about.
        eid: EidPrefix,
        /// It, or the prefix of its mapping.
        prefix: EidPrefix,
        /// Where the packets come from.
        rloc: IpAddr,
        /// Whether they may.
        verdict: SourceVerdict,
        /// From then on it is asked about again.
        ask: Instant,
    },
    /// An [`Event::Source`] has no answer, and none will come: too many are asked about, or nobody answers.
    SourcePutOff {
        /// The source asked about.
        eid: EidPrefix,
        /// Where the packets come from.
        rloc: IpAddr,
        /// From then on it is asked about again.
        ask: Instant,
    },
}

/// Packet thread to control; lost rather than waited for when control does not keep up, and then said again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A packet waits for a mapping. Said once for each destination, and again if it still waits after the time
    /// that packets are kept.
    Miss {
        /// The host prefix of the destination.
        eid: EidPrefix,
        /// Source address of the packet, the source-EID of a Map-Request.
        source: IpAddr,
    },
    /// An entry was used late in its life. Said once for each entry.
    Refresh {
        /// The EID-prefix of the entry.
        prefix: EidPrefix,
    },
    /// Packets came from `rloc` with this inner source, and whether they may is not known (any more).
    Source {
        /// The host prefix of the inner source.
        eid: EidPrefix,
        /// The outer source.
        rloc: IpAddr,
        /// Whether they may until there is another answer: then nobody has made them up.
        is_known: bool,
    },
    /// A trusted peer asks for the echo of a nonce. Said once for each nonce, and again while it is asked for.
    EchoAsked {
        /// The locator that the packet came from.
        rloc: IpAddr,
        /// The nonce.
        nonce: u32,
    },
    /// A trusted peer has echoed the nonce that it was asked for.
    Echoed {
        /// The locator that was asked; the packet may come from another one of that router.
        rloc: IpAddr,
        /// The nonce.
        nonce: u32,
    },
    /// Packets ask for no echo any more, as control has said.
    EchoEnded {
        /// The locator.
        rloc: IpAddr,
        /// Whether it is proven that packets do not get there (RFC 9300, section 10.1): others came from there meanwhile, and no
        /// echo with them.
        is_proven: bool,
    },
    /// The locator-status-bits of a trusted peer have changed. They fit the version of the mapping.
    StatusBits {
        /// The EID-prefix of the mapping that has the inner source.
        prefix: EidPrefix,
        /// The locator that the packet came from.
        rloc: IpAddr,
        /// The version of the mapping, as far as the ETR knows.
        version: MapVersion,
        /// Bit n is set if locator n can be reached.
        bits: u32,
        /// How many bits there are: 32, or 8 beside an instance.
        width: u8,
    },
    /// A packet of a trusted peer names a newer version of its mapping than is cached (RFC 9302, section 7.2).
    VersionNewer {
        /// The EID-prefix of the mapping.
        prefix: EidPrefix,
    },
    /// A packet of a trusted peer names an older version of a mapping of ours (RFC 9302, section 7.1).
    VersionStale {
        /// The EID-prefix of ours.
        prefix: EidPrefix,
        /// The locator that the packet came from.
        rloc: IpAddr,
    },
    /// A packet has gone to this locator and for a second nothing has come back from it, or a router says that it cannot get there
    /// (RFC 9300, section 6.3). Said at most once a second for each locator, and only while packets go there; it proves nothing.
    Silent {
        /// The locator.
        rloc: IpAddr,
    },
    /// A router, or our own kernel, has taught a lower path MTU to this locator.
    PathMtu {
        /// The locator.
        rloc: IpAddr,
        /// Octets of a whole IP packet.
        mtu: u16,
    },
    /// A router names a path MTU to this locator, and the opposite has been shown lately ([`Update::PathProven`]): it is not believed. Said once
    /// a second at most of each.
    MtuReported {
        /// The locator.
        rloc: IpAddr,
        /// Octets of a whole IP packet.
        mtu: u16,
    },
    /// Packets came with a pair of inner and outer ECN field that no way of encapsulating makes (RFC 6040, section 4.2). Said at most once
    /// in a while of each pair.
    UnusedEcn {
        /// The RLOC that the last of them came from, which may be forged.
        rloc: IpAddr,
        /// The inner field.
        inner: Ecn,
        /// The outer field.
        outer: Ecn,
        /// How many came since it was last said.
        packets: u64,
    },
    /// A control message came to the data port from an RTR of ours: the only way in that a NAT leaves open.
    Control {
        /// Who sent it.
        from: SocketAddr,
        /// The RLOC of ours that it came to.
        to: IpAddr,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    #[test]
    fn only_addresses_of_one_machine_beyond_the_link_are_unicast() {
        for (address, expected) in [
            ("::", false),
            ("::1", false),
            ("::2", true),
            ("ff02::1", false),
            ("fe80::1", false),
            ("febf::1", false),
            ("fec0::1", true),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", true),
            ("0.0.0.1", false),
            ("127.0.0.1", false),
            ("169.254.0.1", false),
            ("240.0.0.1", false),
            ("192.0.2.1", true),
        ] {
            assert_eq!(is_unicast(address.parse().unwrap()), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn the_standard_library_agrees(bits: u128, high in prop::sample::select(vec![0u128, 0xfe80, 0xfebf, 0xff02, 0x2001])) {
            for bits in [bits, high << 112 | bits >> 16, bits >> 80, bits >> 127] {
                let a = Ipv6Addr::from_bits(bits);
                let special = a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.is_unicast_link_local();
                prop_assert_eq!(is_unicast(a.into()), !special && a.to_ipv4_mapped().is_none());
            }
        }
    }
}
