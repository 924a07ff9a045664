// SPDX-License-Identifier: GPL-2.0-or-later
//! Who sends into the mill, and what the routers in it are told of them: so that each engine of an ETR has something to judge.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;
use wire::address::{EidPrefix, InstanceId};
use wire::control::rtr::CONTROL_INSTANCE;
use wire::data::{LispHeader, MapVersions, NextProtocol, TrafficClass};
use wire::record::MapVersion;
use xtr::etr::{EtrConfig, OuterInfo, SourceMode, SourcePolicy};
use xtr::map_cache::{Binding, Entry, Event, Forwarding, FromPort, Locator, OwnMapping, SourceVerdict, Update};
use xtr::trust::Trust;

/// Of our mappings.
const OWN_VERSION: MapVersion = MapVersion(7);
/// Of that of the trusted peer.
const PEER_VERSION: MapVersion = MapVersion(5);
/// First octet of an Info-Reply.
const INFO_REPLY: u8 = 0x78;
/// In virtual time nothing expires.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// Somebody who sends to us: one for each thing that an ETR looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// An xTR of any site.
    Plain,
    /// The same over IPv6.
    Six,
    /// With a CGEID, whose source is checked strictly.
    Cgeid,
    /// One who takes LISP-GPE.
    Gpe,
    /// One whose nonces, locator-status-bits and map-versions are believed.
    Trusted,
    /// Another one, who is no locator of that site.
    Foreign,
    /// One whose PETR we are.
    PetrUser,
    /// A PITR: its sources are no EIDs.
    Pitr,
    /// An xTR behind a NAT, registered through us.
    Natted,
    /// A site that sends to what is behind the NAT.
    ToNatted,
    /// An RTR of ours, which brings control messages.
    Rtr,
}

pub(crate) const PEERS: [Peer; 11] = [
    Peer::Plain,
    Peer::Six,
    Peer::Cgeid,
    Peer::Gpe,
    Peer::Trusted,
    Peer::Foreign,
    Peer::PetrUser,
    Peer::Pitr,
    Peer::Natted,
    Peer::ToNatted,
    Peer::Rtr,
];

/// EIDs elsewhere that the site sends to: of each kind of locator one.
pub(crate) const ELSEWHERE: [&str; 6] = ["10.0.1.1", "2001:db8:b::1", "10.0.6.1", "10.0.2.1", "10.0.3.1", "10.0.5.1"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

impl Peer {
    /// Its locator.
    fn rloc(self) -> IpAddr {
        ip(match self {
            Self::Plain | Self::ToNatted => "192.0.2.2",
            Self::Six | Self::Cgeid => "2001:db8:c::2",
            Self::Gpe => "192.0.2.3",
            Self::Trusted => "192.0.2.65",
            Self::Foreign => "192.0.2.66",
            Self::PetrUser => "192.0.2.5",
            Self::Pitr => "192.0.2.9",
            Self::Natted => "192.0.2.6",
            Self::Rtr => "192.0.2.7",
        })
    }

    /// Source and destination of what it encapsulates.
    pub(crate) fn inner(self, random: &mut StdRng) -> (IpAddr, IpAddr) {
        let (source, destination) = match self {
            Self::Plain | Self::Six if random.random() => ("2001:db8:b::1", "2001:db8:a::1"),
            Self::Plain | Self::Rtr => ("10.0.1.1", "10.0.0.1"),
            Self::Six => ("10.0.6.1", "10.0.0.1"),
            Self::Cgeid => return (ip(&format!("3fff:ce1::{:x}", random.random_range(1..200))), ip("2001:db8:a::1")),
            Self::Gpe => ("10.0.2.1", "10.0.0.1"),
            Self::Trusted | Self::Foreign => ("10.0.3.1", "10.0.0.1"),
            Self::PetrUser if random.random_range(0..8) == 0 => ("10.0.4.1", "224.0.0.9"),
            Self::PetrUser => ("10.0.4.1", "203.0.113.9"),
            Self::Pitr => ("198.51.100.1", "10.0.0.1"),
            Self::Natted => ("10.0.5.1", "10.0.1.1"),
            Self::ToNatted => ("10.0.1.1", "10.0.5.1"),
        };
        (ip(source), ip(destination))
    }

    /// The outer header of its next datagrams.
    pub(crate) fn outer(self, random: &mut StdRng) -> OuterInfo {
        let source = self.rloc();
        let destination = ip(if source.is_ipv4() { "192.0.2.1" } else { "2001:db8:c::1" });
        let source_port = match self {
            Self::Rtr | Self::Natted => wire::CONTROL_PORT,
            _ => random.random_range(50_000..50_004),
        };
        let (ttl, class) = (random.random_range(1..=255), TrafficClass(random.random()));
        OuterInfo { source, destination, source_port, ttl, class }
    }

    /// The LISP header of its next datagram; `nonce` is one that it is asked to echo.
    pub(crate) fn lisp(self, random: &mut StdRng, is_v6: bool, nonce: u32) -> [u8; LispHeader::LENGTH] {
        let mut header = LispHeader::default();
        match self {
            Self::Gpe => {
                let right = if is_v6 { NextProtocol::IPV6 } else { NextProtocol::IPV4 };
                header.next_protocol =
                    Some(if random.random_range(0..8) == 0 { NextProtocol(random.random()) } else { right });
            }
            Self::Trusted | Self::Foreign => believed(&mut header, random, nonce),
            Self::Rtr if random.random() => header.iid = Some(CONTROL_INSTANCE),
            Self::Rtr => return [INFO_REPLY, 0, 0, 0, 0, 0, 0, 0],
            // What counts of nobody else.
            _ if random.random_range(0..20) == 0 => believed(&mut header, random, nonce),
            _ => {}
        }
        header.emit()
    }
}

/// A nonce, with or without E, or versions about those that are right; and bits.
fn believed(header: &mut LispHeader, random: &mut StdRng, nonce: u32) {
    let near = |random: &mut StdRng, version: MapVersion| {
        [version, version, version, version.next(), MapVersion(version.0 - 1), MapVersion(0)][random.random_range(0..6)]
    };
    match random.random_range(0..4) {
        0 => header.nonce = Some(if random.random() { nonce } else { random.random_range(0..1 << 24) }),
        1 => (header.nonce, header.echo) = (Some(random.random_range(0..1 << 24)), true),
        2 => {
            let (source, destination) = (near(random, PEER_VERSION), near(random, OWN_VERSION));
            header.versions = Some(MapVersions { source, destination });
        }
        _ => {}
    }
    header.status_bits = random.random::<bool>().then(|| random.random_range(0..4));
}

/// An ETR with all that it can look at.
pub(crate) fn etr() -> EtrConfig {
    let cgeid_network = Some("3fff:ce1::/32".parse().unwrap());
    EtrConfig {
        gpe_peers: vec![Peer::Gpe.rloc()],
        sources: SourcePolicy { mode: SourceMode::Loose, cgeid_network, pitrs: vec![Peer::Pitr.rloc()] },
        trust: trust(),
        petr_for: petr_for(),
        relays: true,
    }
}

pub(crate) fn trust() -> Trust {
    Trust::of(&["192.0.2.64/26".parse().unwrap()]).with_echo_nonce(true).with_status_bits(true)
}

pub(crate) fn petr_for() -> Vec<EidPrefix> {
    vec![prefix("10.0.4.0/24")]
}

/// What is registered through us.
pub(crate) fn behind_nat() -> EidPrefix {
    prefix("10.0.5.0/24")
}

pub(crate) fn gpe_peers() -> Vec<IpAddr> {
    vec![Peer::Gpe.rloc()]
}

/// What control says at the start.
pub(crate) fn updates(now: Instant) -> Vec<Update> {
    let expires = now + NEVER;
    let mapping = |net: &str, peer: Peer| {
        let locators = vec![Locator { address: peer.rloc(), priority: 1, weight: 1 }];
        let entry = Entry { forwarding: Forwarding::Locators(locators), expires };
        Update::Upsert { prefix: prefix(net), entry }
    };
    let (from, source) = (FromPort::Control, ip("192.0.2.1"));
    let binding = Binding { address: Peer::Natted.rloc(), port: 50_001, from, source };
    let behind_nat = behind_nat();
    vec![
        Update::LocalRlocs(vec![ip("192.0.2.1"), ip("2001:db8:c::1")]),
        Update::LocalEids(vec![prefix("10.0.0.0/24"), prefix("2001:db8:a::/48")]),
        mapping("10.0.1.0/24", Peer::Plain),
        mapping("2001:db8:b::/48", Peer::Plain),
        mapping("10.0.6.0/24", Peer::Six),
        mapping("10.0.2.0/24", Peer::Gpe),
        mapping("10.0.3.0/24", Peer::Trusted),
        Update::Upsert { prefix: behind_nat, entry: Entry { forwarding: Forwarding::Binding(binding), expires } },
        Update::Relayed { prefix: behind_nat, nats: [Some(Peer::Natted.rloc()), None] },
        Update::Own(OwnMapping { version: OWN_VERSION, status_bits: Some(1), others_end: Some(expires) }),
        Update::Peer {
            prefix: prefix("10.0.3.0/24"),
            version: PEER_VERSION,
            rlocs: vec![Peer::Trusted.rloc()].into(),
            expires,
        },
        Update::Rtrs(vec![Peer::Rtr.rloc()]),
        Update::Behind(true),
    ]
}

/// The trusted peer is asked for the echo of this nonce.
pub(crate) fn echo_request(nonce: u32) -> Update {
    Update::EchoRequest { rloc: Peer::Trusted.rloc(), nonce: Some(nonce), suspended: false }
}

/// What control says to an event. Whoever is known may send; of others it depends, and of some nothing is said.
pub(crate) fn answer(now: Instant, event: &Event) -> Option<Update> {
    match event {
        Event::EchoAsked { rloc, nonce } => Some(Update::EchoAnswer { rloc: *rloc, nonce: *nonce }),
        Event::Source { eid, rloc, .. } => {
            let address = eid.net.addr();
            let last = match address {
                IpAddr::V4(address) => address.octets()[3],
                IpAddr::V6(address) => address.octets()[15],
            };
            let is_known = ELSEWHERE.iter().any(|known| ip(known) == address) || address == ip("10.0.4.1");
            let verdict = match last % 4 {
                _ if is_known => SourceVerdict::Here,
                0 => SourceVerdict::Here,
                1 => SourceVerdict::Elsewhere,
                2 => SourceVerdict::Unmapped,
                _ => return None,
            };
            Some(Update::Source { eid: *eid, prefix: *eid, rloc: *rloc, verdict, ask: now + Duration::from_secs(1) })
        }
        _ => None,
    }
}
