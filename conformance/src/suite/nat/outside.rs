// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-xtr` as an RTR, and behind a NAT, in network namespaces. The suite is all that is outside: the Map-Server, the
//! NATs, and the ITR and ETR of another site.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, AuthKey};
use wire::data::{IpPacket, UdpHeader, protocol};
use wire::record::MappingRecord;

use super::behind::Behind;
use super::relay::Relay;
use super::room::{of_rtr, of_site};
use crate::suite::probe::{Fault, broken, missing};
use crate::suite::xtr::{Came, Family, GRACE, LOCATOR_TTL, Packet, Port, ends, locator};

/// The Map-Server.
pub(super) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 53));
/// The RTR.
pub(super) const RTR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
/// What an xTR has behind its NAT.
pub(super) const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// The programs, started when the first check needs them.
#[derive(Default)]
pub(super) struct Outside {
    relay: OnceLock<Result<Relay, Fault>>,
    behind: OnceLock<Result<Behind, Fault>>,
}

impl Outside {
    /// An RTR.
    pub(super) fn relay(&self) -> Result<&Relay, Fault> {
        self.relay.get_or_init(Relay::open).as_ref().map_err(Clone::clone)
    }

    /// An xTR that is reached through an RTR.
    pub(super) fn behind(&self) -> Result<&Behind, Fault> {
        self.behind.get_or_init(Behind::established).as_ref().map_err(Clone::clone)
    }
}

/// A host of a site, one of another, and where the other is.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) host: IpAddr,
    /// The EID-prefix of the host's site.
    pub(super) prefix: EidPrefix,
    pub(super) peer: IpAddr,
    /// The locator of the other site.
    pub(super) rloc: IpAddr,
    peers: EidPrefix,
}

impl Pair {
    /// Two that no other number has.
    pub(super) fn new(number: u16, family: Family) -> Result<Self, Fault> {
        let [high, low] = number.to_be_bytes();
        let (host, peer, length): (IpAddr, IpAddr, u8) = match family {
            Family::V4 => (Ipv4Addr::new(10, 64, low, 1).into(), Ipv4Addr::new(10, 128 | high, low, 1).into(), 24),
            Family::V6 => {
                let address = |site| Ipv6Addr::new(0x2001, 0xdb8, site, number, 0, 0, 0, 1);
                (address(0x10).into(), address(0x11).into(), 64)
            }
        };
        let prefix = |address| EidPrefix::new(InstanceId(0), address, length).ok_or_else(|| broken("no EID-prefix"));
        let rloc = Ipv4Addr::new(100, 64, high, low).into();
        Ok(Self { host, prefix: prefix(host)?, peer, rloc, peers: prefix(peer)? })
    }

    /// A datagram to the other site.
    pub(super) fn leaving(&self, data: &[u8]) -> Vec<u8> {
        Packet::udp(SocketAddr::new(self.host, 4000), SocketAddr::new(self.peer, 4001), data).octets()
    }

    /// A datagram from the other site.
    pub(super) fn entering(&self, data: &[u8]) -> Vec<u8> {
        Packet::udp(SocketAddr::new(self.peer, 4001), SocketAddr::new(self.host, 4000), data).octets()
    }

    /// What the map system says of the other site.
    pub(super) fn record(&self) -> MappingRecord {
        MappingRecord::new(self.peers, LOCATOR_TTL, vec![locator(self.rloc, 1, 100)])
    }
}

/// Numbers that are used once.
#[derive(Debug)]
pub(super) struct Numbers(AtomicU16);

impl Default for Numbers {
    fn default() -> Self {
        Self(AtomicU16::new(1))
    }
}

impl Numbers {
    pub(super) fn next(&self) -> u16 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A UDP datagram.
#[derive(Debug, Clone)]
pub(super) struct Datagram {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) payload: Vec<u8>,
}

impl Datagram {
    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        let packet = IpPacket::parse(octets).ok()?;
        let (number, segment) = packet.transport()?;
        let (udp, payload) = UdpHeader::parse(segment).ok().filter(|_| number == protocol::UDP)?;
        let source = SocketAddr::new(packet.source(), udp.source);
        let destination = SocketAddr::new(packet.destination(), udp.destination);
        Some(Self { source, destination, payload: payload.to_vec() })
    }

    /// The inner packet of one that is LISP, and whatever its UDP ports.
    pub(super) fn inner(&self) -> Option<&[u8]> {
        self.payload.get(8..).filter(|inner| ends(inner).is_some())
    }
}

/// Waits for a datagram in which `read` finds something.
pub(super) fn first<T>(
    port: &Port,
    mark: usize,
    patience: std::time::Duration,
    what: &str,
    read: impl Fn(Datagram) -> Option<T>,
) -> Result<T, Fault> {
    let found = port.wait(mark, 1, patience, |came: &Came| read(Datagram::read(&came.octets)?)).pop();
    if found.is_none() {
        port.holds()?;
    }
    found.ok_or_else(|| broken(format!("expected {what}; nothing came in {} ms", patience.as_millis())))
}

/// All datagrams from a mark on in which `read` finds something, and that came by now, or a moment later.
pub(super) fn all<T>(port: &Port, mark: usize, read: impl Fn(Datagram) -> Option<T>) -> Vec<T> {
    port.wait(mark, usize::MAX, GRACE, |came: &Came| read(Datagram::read(&came.octets)?))
}

/// A datagram as it goes over the core.
pub(super) fn datagram(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    Packet::udp(source, destination, payload).octets()
}

pub(super) fn control(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, wire::CONTROL_PORT)
}

pub(super) fn data(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, wire::DATA_PORT)
}

/// The key of the site, as it is used with its Map-Server.
pub(super) fn site_key() -> AuthKey {
    of_site(Algorithm::HkdfSha256)
}

/// Files with the keys, as `--key-file` takes them.
pub(super) fn key_files(folder: &Path) -> Result<[PathBuf; 2], Fault> {
    let write = |name: &str, algorithm: &str, key: &AuthKey, secret: &str| {
        let path = folder.join(name);
        let text = format!("algorithm = {algorithm:?}\nkey-id = {}\nsecret = {secret:?}\n", key.id);
        std::fs::write(&path, text).map(|()| path).map_err(missing)
    };
    let site = write("site.toml", "hkdf-sha256", &site_key(), super::room::SITE_SECRET)?;
    Ok([site, write("rtr.toml", "hmac-sha256", &of_rtr(), super::room::RTR_SECRET)?])
}

/// What is in a UDP datagram of an inner packet, which hops and checksums do not change.
pub(super) fn same_payload(one: &[u8], other: &[u8]) -> bool {
    let payload = |octets: &[u8]| Some((ends(octets)?, Datagram::read(octets)?.payload));
    payload(one).is_some() && payload(one) == payload(other)
}
