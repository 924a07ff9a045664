// SPDX-License-Identifier: GPL-2.0-or-later
//! SERVICE: what the writer does for others, and under which other names it is known.
//!
//! ```text
//! TLV 0401, a public address:
//! +-------------------------------+--------------------------------
//! |          AFI (1, 2)           |  address, 4 or 16 octets ...
//! +-------------------------------+-------------------------------+
//! |      port; 0: the usual one   | rsvd  |D|L|T|E|I|S|R|B| roles |
//! +-------------------------------+-------------------------------+
//!
//! TLV 0402, an alternate CGEID:          TLV 0404, the name that reverse DNS gives:
//! +---------------------------------     +---------------------------------
//! |  CN, 12 octets ...                   |  one name in DNS wire format ...
//! +---------------------------------     +---------------------------------
//!
//! TLV 0403, a NAT64 prefix (RFC 6052):
//! +---------------+------------------------------------------------
//! |  plen         |  address octets, plen / 8 ...
//! +---------------+------------------------------------------------
//! ```
//! Roles take 16 bits, B the lowest: B bootstrap, R map-resolver, S map-server, I proxy ITR, E proxy ETR, T re-encapsulating
//! tunnel router, L onion relay, D DNS server. At least one is set; those that are not known here are kept.
//!
//! An alternate counts only if its owner names this writer too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use cgeid::Cn;
use ipnet::Ipv6Net;
use wire::EncodeError;

use super::mapping::once;
use super::name::HostName;
use super::reader::{Reader, write_address};
use super::tlv::Tlv;
use crate::error::Malformed;
use crate::limits;

/// TLV types of SERVICE.
mod kind {
    pub(super) const ADDRESS: u16 = 0x0401;
    pub(super) const ALTERNATE: u16 = 0x0402;
    pub(super) const PREF64: u16 = 0x0403;
    pub(super) const PTR: u16 = 0x0404;
}

/// What an address does for others, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Roles(pub u16);

impl Roles {
    /// A node through which others join.
    pub const BOOT: Self = Self(1 << 0);
    /// Map-Resolver.
    pub const MAP_RESOLVER: Self = Self(1 << 1);
    /// Map-Server.
    pub const MAP_SERVER: Self = Self(1 << 2);
    /// Proxy ITR (RFC 6832).
    pub const PITR: Self = Self(1 << 3);
    /// Proxy ETR (RFC 6832).
    pub const PETR: Self = Self(1 << 4);
    /// Re-encapsulating tunnel router.
    pub const RTR: Self = Self(1 << 5);
    /// Onion relay.
    pub const RELAY: Self = Self(1 << 6);
    /// DNS server.
    pub const DNS: Self = Self(1 << 7);

    /// The roles by their names.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("boot", Self::BOOT),
        ("mr", Self::MAP_RESOLVER),
        ("ms", Self::MAP_SERVER),
        ("pitr", Self::PITR),
        ("petr", Self::PETR),
        ("rtr", Self::RTR),
        ("relay", Self::RELAY),
        ("dns", Self::DNS),
    ];

    /// Both.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of those that are known here.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(_, role)| self.has(*role)).map(|(name, _)| name)
    }
}

/// A prefix under which IPv4 addresses appear in IPv6: one of the six lengths of RFC 6052, section 2.2, with bits 64 to 71
/// zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pref64(Ipv6Net);

impl Pref64 {
    const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

    /// The prefix, if it may serve as one; its host bits are left out.
    pub fn new(net: Ipv6Net) -> Option<Self> {
        let net = net.trunc();
        let u_octet = net.addr().octets()[8];
        (Self::LENGTHS.contains(&net.prefix_len()) && u_octet == 0).then_some(Self(net))
    }

    /// The prefix.
    pub fn net(&self) -> Ipv6Net {
        self.0
    }

    fn encode(&self) -> Vec<u8> {
        let plen = self.0.prefix_len();
        let mut out = vec![plen];
        out.extend_from_slice(&self.0.addr().octets()[..usize::from(plen / 8)]);
        out
    }

    fn decode(value: &[u8]) -> Result<Self, Malformed> {
        const FIELD: &str = "NAT64 prefix";
        let mut reader = Reader(value);
        let plen = reader.u8(FIELD)?;
        let wrong = Malformed::Value(FIELD, plen.into());
        if !Self::LENGTHS.contains(&plen) {
            return Err(wrong);
        }
        let mut octets = [0; 16];
        let written = usize::from(plen / 8);
        octets[..written].copy_from_slice(reader.take(FIELD, written)?);
        reader.finish(FIELD)?;
        let net = Ipv6Net::new(Ipv6Addr::from(octets), plen).map_err(|_| wrong)?;
        Self::new(net).ok_or(wrong)
    }
}

/// The body of a SERVICE section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Roles by address and port (0: the usual one of the role), neither unspecified nor multicast: TLV 0401.
    pub addresses: BTreeMap<(IpAddr, u16), Roles>,
    /// Other CNs of the owner, each to be believed if it names this one: TLV 0402.
    pub alternates: BTreeSet<Cn>,
    /// NAT64 prefixes: TLV 0403.
    pub pref64: BTreeSet<Pref64>,
    /// What reverse DNS answers: TLV 0404.
    pub ptr: Option<HostName>,
    /// Elements that are not known here, kept as they are.
    pub unknown: Vec<Tlv>,
}

impl Service {
    pub(crate) fn tlvs(&self) -> Result<Vec<Tlv>, EncodeError> {
        let bound = |field, count, limit| if count > limit { Err(EncodeError { field, count, limit }) } else { Ok(()) };
        bound("public addresses", self.addresses.len(), limits::PUBLIC_ADDRESSES)?;
        bound("alternates", self.alternates.len(), limits::ALTERNATES)?;
        bound("NAT64 prefixes", self.pref64.len(), limits::PREF64)?;
        let mut tlvs = self.unknown.clone();
        for ((address, port), roles) in &self.addresses {
            if roles.0 == 0 || !is_reachable(*address) {
                return Err(EncodeError { field: "public address", count: 0, limit: 1 });
            }
            tlvs.push(Tlv::new(kind::ADDRESS, encode_address(*address, *port, *roles)));
        }
        tlvs.extend(self.alternates.iter().map(|cn| Tlv::new(kind::ALTERNATE, cn.0)));
        tlvs.extend(self.pref64.iter().map(|prefix| Tlv::new(kind::PREF64, prefix.encode())));
        tlvs.extend(self.ptr.iter().map(|name| Tlv::new(kind::PTR, name.wire())));
        Ok(tlvs)
    }

    pub(crate) fn from_tlvs(tlvs: Vec<Tlv>) -> Result<Self, Malformed> {
        let mut service = Self::default();
        for tlv in tlvs {
            match tlv.kind {
                kind::ADDRESS => {
                    let (place, roles) = decode_address(&tlv.value)?;
                    if service.addresses.insert(place, roles).is_some() {
                        return Err(Malformed::TooMany("public address"));
                    }
                }
                kind::ALTERNATE => {
                    let cn: [u8; Cn::LENGTH] =
                        (*tlv.value).try_into().map_err(|_| Malformed::Length("alternate", tlv.value.len()))?;
                    service.alternates.insert(Cn(cn));
                }
                kind::PREF64 => _ = service.pref64.insert(Pref64::decode(&tlv.value)?),
                kind::PTR => once(&mut service.ptr, "name", HostName::from_wire(&tlv.value)?)?,
                _ => service.unknown.push(tlv.kept()?),
            }
        }
        let counts = [
            ("public address", service.addresses.len(), limits::PUBLIC_ADDRESSES),
            ("alternate", service.alternates.len(), limits::ALTERNATES),
            ("NAT64 prefix", service.pref64.len(), limits::PREF64),
        ];
        match counts.into_iter().find(|(_, count, limit)| count > limit) {
            Some((field, ..)) => Err(Malformed::TooMany(field)),
            None => Ok(service),
        }
    }
}

/// An address that is somebody's.
fn is_reachable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

fn encode_address(address: IpAddr, port: u16, roles: Roles) -> Vec<u8> {
    let mut out = Vec::new();
    write_address(&mut out, address);
    out.extend_from_slice(&port.to_be_bytes());
    out.extend_from_slice(&roles.0.to_be_bytes());
    out
}

fn decode_address(value: &[u8]) -> Result<((IpAddr, u16), Roles), Malformed> {
    const FIELD: &str = "public address";
    let mut reader = Reader(value);
    let (address, port, roles) = (reader.address(FIELD)?, reader.u16(FIELD)?, Roles(reader.u16(FIELD)?));
    reader.finish(FIELD)?;
    if !is_reachable(address) {
        return Err(Malformed::Value(FIELD, 0));
    }
    if roles == Roles::default() {
        return Err(Malformed::Missing("role of a public address"));
    }
    Ok(((address, port), roles))
}
