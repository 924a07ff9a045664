// SPDX-License-Identifier: GPL-2.0-or-later
//! AFI-encoded addresses (RFC 9301, section 5.1), LCAFs (RFC 8060) and EID-prefixes.

mod display;
mod geo;
mod keys;
mod lcaf;
mod prefix;

pub use geo::{Angle, GeoCoordinates};
pub use keys::Keys;
pub use lcaf::{Lcaf, NatTraversal, PathHop, Replication};
pub use prefix::{Eid, EidPrefix, InstanceId};

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::Writer;

/// Address Family Identifiers (IANA registry; RFC 8060, section 3; RFC 9735; RFC 7042).
mod afi {
    pub(super) const NONE: u16 = 0;
    pub(super) const IPV4: u16 = 1;
    pub(super) const IPV6: u16 = 2;
    pub(super) const IEEE_802: u16 = 6;
    pub(super) const DISTINGUISHED_NAME: u16 = 17;
    pub(super) const LCAF: u16 = 16387;
    pub(super) const MAC_48: u16 = 16389;
}

/// An address preceded by its AFI on the wire. The order is that of a locator-set: by AFI, LCAFs by type, then by value
/// (RFC 9301, section 5.5; RFC 8060, section 3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Address {
    /// AFI 0: no address.
    #[default]
    None,
    /// AFI 1.
    V4(Ipv4Addr),
    /// AFI 2.
    V6(Ipv6Addr),
    /// AFI 6 (IEEE 802) as RFC 8060 uses it in AFI-lists: six octets.
    Ieee802([u8; 6]),
    /// AFI 17: a distinguished name, without its terminating NUL (RFC 9735).
    Name(Box<[u8]>),
    /// AFI 16389: a 48-bit MAC address (RFC 7042).
    Mac([u8; 6]),
    /// AFI 16387: a LISP Canonical Address (RFC 8060).
    Lcaf(Box<Lcaf>),
}

impl Address {
    /// The IP address, if it is one; an LCAF is not looked into.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::V4(a) => Some((*a).into()),
            Self::V6(a) => Some((*a).into()),
            _ => None,
        }
    }

    /// The most significant bits that a prefix of this address can have; `None` for LCAFs other than an instance's,
    /// which have mask lengths of their own or none that RFC 8060 bounds.
    pub fn width(&self) -> Option<u8> {
        match self {
            Self::None => Some(0),
            Self::V4(_) => Some(32),
            Self::V6(_) => Some(128),
            Self::Ieee802(_) | Self::Mac(_) => Some(48),
            // RFC 9735, section 3, counts the terminating NUL too; lispers.net does not.
            Self::Name(name) => Some(u8::try_from((name.len() + 1).saturating_mul(8)).unwrap_or(u8::MAX)),
            Self::Lcaf(lcaf) => match lcaf.as_ref() {
                Lcaf::InstanceId { address, .. } => address.width(),
                _ => None,
            },
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let afi = reader.u16("AFI")?;
        Ok(match afi {
            afi::NONE => Self::None,
            afi::IPV4 => Self::V4(Ipv4Addr::from(reader.array::<4>("IPv4 address")?)),
            afi::IPV6 => Self::V6(Ipv6Addr::from(reader.array::<16>("IPv6 address")?)),
            afi::IEEE_802 => Self::Ieee802(reader.array("IEEE 802 address")?),
            afi::DISTINGUISHED_NAME => Self::read_name(reader)?,
            afi::MAC_48 => Self::Mac(reader.array("MAC address")?),
            afi::LCAF => Self::Lcaf(Box::new(Lcaf::read(reader)?)),
            unknown => return Err(reader.error_behind("AFI", 2, Problem::Value(unknown.into()))),
        })
    }

    fn read_name(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let available = reader.remaining();
        let Some(length) = reader.peek().iter().position(|octet| *octet == 0) else {
            let problem = Problem::Truncated { needed: available + 1, available };
            return Err(reader.error("Distinguished Name", problem));
        };
        let name = reader.take("Distinguished Name", length)?.into();
        reader.u8("Distinguished Name")?;
        Ok(Self::Name(name))
    }

    /// Reads an address whose mask length came before it.
    pub(crate) fn read_prefix(field: &'static str, reader: &mut Reader<'_>, mask_len: u8) -> Result<Self, DecodeError> {
        let start = reader.clone();
        let address = Self::read(reader)?;
        match address.width() {
            Some(width) if mask_len > width => Err(start.error(field, Problem::Value(mask_len.into()))),
            _ => Ok(address),
        }
    }

    fn afi(&self) -> u16 {
        match self {
            Self::None => afi::NONE,
            Self::V4(_) => afi::IPV4,
            Self::V6(_) => afi::IPV6,
            Self::Ieee802(_) => afi::IEEE_802,
            Self::Name(_) => afi::DISTINGUISHED_NAME,
            Self::Mac(_) => afi::MAC_48,
            Self::Lcaf(_) => afi::LCAF,
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.u16(self.afi());
        match self {
            Self::None => {}
            Self::V4(address) => writer.put(&address.octets()),
            Self::V6(address) => writer.put(&address.octets()),
            Self::Ieee802(address) | Self::Mac(address) => writer.put(address),
            Self::Name(name) => {
                let nuls = name.iter().filter(|octet| **octet == 0).count();
                if nuls > 0 {
                    return Err(EncodeError { field: "NUL in a Distinguished Name", count: nuls, limit: 0 });
                }
                writer.put(name);
                writer.u8(0);
            }
            Self::Lcaf(lcaf) => lcaf.write(writer)?,
        }
        Ok(())
    }

    pub(crate) fn write_prefix(
        &self,
        field: &'static str,
        writer: &mut Writer,
        mask_len: u8,
    ) -> Result<(), EncodeError> {
        match self.width() {
            Some(width) if mask_len > width => Err(EncodeError { field, count: mask_len.into(), limit: width.into() }),
            _ => self.write(writer),
        }
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.afi().cmp(&other.afi()).then_with(|| match (self, other) {
            (Self::V4(a), Self::V4(b)) => a.cmp(b),
            (Self::V6(a), Self::V6(b)) => a.cmp(b),
            (Self::Ieee802(a), Self::Ieee802(b)) | (Self::Mac(a), Self::Mac(b)) => a.cmp(b),
            (Self::Name(a), Self::Name(b)) => a.cmp(b),
            (Self::Lcaf(a), Self::Lcaf(b)) => a.kind().cmp(&b.kind()).then_with(|| a.cmp(b)),
            // Different variants have different AFIs, and no address has no value.
            _ => Ordering::Equal,
        })
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self::V4(a),
            IpAddr::V6(a) => Self::V6(a),
        }
    }
}

impl From<Lcaf> for Address {
    fn from(lcaf: Lcaf) -> Self {
        Self::Lcaf(Box::new(lcaf))
    }
}
