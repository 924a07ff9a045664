// SPDX-License-Identifier: GPL-2.0-or-later
//! MAPPING: where a CGEID is reached. The same elements serve a PREFIX section.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wire::EncodeError;
use wire::address::Address;
use wire::record::{LocatorRecord, MapVersion, Ttl};

use super::reader::{Reader, write_address};
use super::tlv::Tlv;
use crate::error::Malformed;
use crate::limits;

/// TLV types shared by MAPPING and PREFIX.
mod kind {
    pub(super) const RLOC: u16 = 0x0201;
    pub(super) const TTL: u16 = 0x0202;
    pub(super) const MAP_VERSION: u16 = 0x0203;
    pub(super) const SESSION_KEY: u16 = 0x0204;
}

/// Largest Map-Version: 12 bits (RFC 9302).
const MAP_VERSION_MAX: u16 = 0x0fff;

/// A locator: TLV 0201. Ordered as its octets are.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+---------------+---------------+
/// |   Priority    |    Weight     |  M Priority   |   M Weight    |
/// +---------------+---------+-+-+-+-+-------------+---------------+
/// |          rsvd         |T|N|D|R|L|          AFI (1, 2)         |
/// +-----------------------+-+-+-+-+-+-------------+---------------+
/// |                 address, 4 or 16 octets ...                   |
/// +-------------------------------+-------------------------------+
/// |  UDP port, only if not 0      |
/// +-------------------------------+
/// ```
/// (The flags take 16 bits, L the lowest; rsvd bits are zero.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rloc {
    /// Unicast priority: lower is better, 255 = never for forwarding.
    pub priority: u8,
    /// Share of the flows among locators of one priority.
    pub weight: u8,
    /// Multicast priority.
    pub mpriority: u8,
    /// Multicast weight.
    pub mweight: u8,
    /// L, R and what the DHT adds.
    pub flags: RlocFlags,
    /// The locator's address.
    pub address: IpAddr,
    /// UDP port, where the locator is behind a NAT; 0 = none.
    pub port: u16,
}

/// The flags of a locator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RlocFlags {
    /// L: the locator is the site's own.
    pub local: bool,
    /// R: reachable from its owner's point of view.
    pub reachable: bool,
    /// D: the CGEID's owner itself listens here for sessions.
    pub direct: bool,
    /// N: behind a NAT, whose outer address and port these are.
    pub nat: bool,
    /// T: the address of a re-encapsulating tunnel router that serves the site.
    pub rtr: bool,
}

impl RlocFlags {
    const LOCAL: u16 = 1 << 0;
    const REACHABLE: u16 = 1 << 1;
    const DIRECT: u16 = 1 << 2;
    const NAT: u16 = 1 << 3;
    const RTR: u16 = 1 << 4;
    const ALL: u16 = Self::LOCAL | Self::REACHABLE | Self::DIRECT | Self::NAT | Self::RTR;

    fn bits(self) -> u16 {
        let bit = |set: bool, mask: u16| if set { mask } else { 0 };
        bit(self.local, Self::LOCAL)
            | bit(self.reachable, Self::REACHABLE)
            | bit(self.direct, Self::DIRECT)
            | bit(self.nat, Self::NAT)
            | bit(self.rtr, Self::RTR)
    }

    fn from_bits(bits: u16) -> Option<Self> {
        (bits & !Self::ALL == 0).then_some(Self {
            local: bits & Self::LOCAL != 0,
            reachable: bits & Self::REACHABLE != 0,
            direct: bits & Self::DIRECT != 0,
            nat: bits & Self::NAT != 0,
            rtr: bits & Self::RTR != 0,
        })
    }
}

impl Rloc {
    /// What a LISP locator record says; `None` if its locator is not an IP address.
    pub fn from_record(record: &LocatorRecord) -> Option<Self> {
        Some(Self {
            priority: record.priority,
            weight: record.weight,
            mpriority: record.mpriority,
            mweight: record.mweight,
            flags: RlocFlags { local: record.local, reachable: record.reachable, ..RlocFlags::default() },
            address: record.rloc.ip()?,
            port: 0,
        })
    }

    /// The LISP locator record of a proxied reply: L is clear, because the answer does not come from the locator itself.
    pub fn to_record(&self) -> LocatorRecord {
        LocatorRecord {
            priority: self.priority,
            weight: self.weight,
            mpriority: self.mpriority,
            mweight: self.mweight,
            local: false,
            probed: false,
            reachable: self.flags.reachable,
            rloc: Address::from(self.address),
        }
    }

    /// Whether a Map-Reply can say it whole: it has room for neither a UDP port nor the flags N and T, and without them packets go
    /// where nobody takes them.
    pub fn fits_map_reply(&self) -> bool {
        self.port == 0 && !self.flags.nat && !self.flags.rtr
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.priority, self.weight, self.mpriority, self.mweight];
        out.extend_from_slice(&self.flags.bits().to_be_bytes());
        write_address(&mut out, self.address);
        if self.port != 0 {
            out.extend_from_slice(&self.port.to_be_bytes());
        }
        out
    }

    fn decode(value: &[u8]) -> Result<Self, Malformed> {
        const FIELD: &str = "RLOC";
        let mut reader = Reader(value);
        let [priority, weight, mpriority, mweight] = reader.array(FIELD)?;
        let bits = reader.u16(FIELD)?;
        let flags = RlocFlags::from_bits(bits).ok_or(Malformed::Value("RLOC flags", bits.into()))?;
        let address = reader.address(FIELD)?;
        let port = if reader.is_empty() { 0 } else { reader.u16("RLOC port")? };
        reader.finish(FIELD)?;
        Ok(Self { priority, weight, mpriority, mweight, flags, address, port })
    }
}

impl Ord for Rloc {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.encode().cmp(&other.encode())
    }
}

impl PartialOrd for Rloc {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The static key of end-to-end sessions: TLV 0204, suite 2 ‖ X25519 public key 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Cipher suite.
    pub suite: u16,
    /// X25519 public key.
    pub public: [u8; 32],
}

/// What is known of the way to an EID: the elements 02xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The locators, each once, in the order of their octets (best priority first).
    pub locators: BTreeSet<Rloc>,
    /// How long a map-cache may keep the mapping, in minutes; 0202.
    pub ttl: Ttl,
    /// Version of the mapping; 0203.
    pub map_version: Option<MapVersion>,
    /// Key of end-to-end sessions; 0204.
    pub session_key: Option<SessionKey>,
    /// Elements that are not known here, kept as they are.
    pub unknown: Vec<Tlv>,
}

impl Mapping {
    /// A mapping with locators and a TTL, and nothing else.
    pub fn new(locators: impl IntoIterator<Item = Rloc>, ttl: Ttl) -> Self {
        Self {
            locators: locators.into_iter().collect(),
            ttl,
            map_version: None,
            session_key: None,
            unknown: Vec::new(),
        }
    }

    /// Whether it has a locator that a Map-Reply can say.
    pub fn is_reachable(&self) -> bool {
        self.locators.iter().any(Rloc::fits_map_reply)
    }

    /// Nothing: the body of a withdrawal.
    pub(crate) fn none() -> Self {
        Self::new([], Ttl::WITHDRAWN)
    }

    pub(crate) fn tlvs(&self) -> Result<Vec<Tlv>, EncodeError> {
        if self.locators.len() > limits::LOCATORS {
            return Err(EncodeError { field: "locators", count: self.locators.len(), limit: limits::LOCATORS });
        }
        let mut tlvs: Vec<Tlv> = self.locators.iter().map(|rloc| Tlv::new(kind::RLOC, rloc.encode())).collect();
        tlvs.push(Tlv::new(kind::TTL, self.ttl.0.to_be_bytes()));
        if let Some(MapVersion(version)) = self.map_version {
            if version > MAP_VERSION_MAX {
                return Err(EncodeError { field: "map-version", count: version.into(), limit: MAP_VERSION_MAX.into() });
            }
            tlvs.push(Tlv::new(kind::MAP_VERSION, version.to_be_bytes()));
        }
        if let Some(key) = &self.session_key {
            tlvs.push(Tlv::new(kind::SESSION_KEY, [&key.suite.to_be_bytes()[..], &key.public].concat()));
        }
        tlvs.extend(self.unknown.iter().cloned());
        Ok(tlvs)
    }

    pub(crate) fn from_tlvs(tlvs: Vec<Tlv>) -> Result<Self, Malformed> {
        let mut mapping = Self::none();
        let mut ttl = None;
        for tlv in tlvs {
            match tlv.kind {
                kind::RLOC => _ = mapping.locators.insert(Rloc::decode(&tlv.value)?),
                kind::TTL => once(&mut ttl, "TTL", Ttl(number::<4>("TTL", &tlv.value).map(u32::from_be_bytes)?))?,
                kind::MAP_VERSION => {
                    let version = number::<2>("map-version", &tlv.value).map(u16::from_be_bytes)?;
                    if version > MAP_VERSION_MAX {
                        return Err(Malformed::Value("map-version", version.into()));
                    }
                    once(&mut mapping.map_version, "map-version", MapVersion(version))?;
                }
                kind::SESSION_KEY => {
                    let mut reader = Reader(&tlv.value);
                    let key = SessionKey { suite: reader.u16("session key")?, public: reader.array("session key")? };
                    reader.finish("session key")?;
                    once(&mut mapping.session_key, "session key", key)?;
                }
                _ => mapping.unknown.push(tlv.kept()?),
            }
        }
        if mapping.locators.len() > limits::LOCATORS {
            return Err(Malformed::TooMany("locators"));
        }
        mapping.ttl = ttl.ok_or(Malformed::Missing("TTL"))?;
        Ok(mapping)
    }
}

/// An element that a body has at most once.
pub(crate) fn once<T>(slot: &mut Option<T>, field: &'static str, value: T) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed::TooMany(field)),
    }
}

/// A value of exactly `N` octets.
fn number<const N: usize>(field: &'static str, value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed::Length(field, value.len()))
}
