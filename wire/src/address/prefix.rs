// SPDX-License-Identifier: GPL-2.0-or-later
//! EID-prefixes: as a record carries them, and as engines key their tables by them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Address, Lcaf};
use crate::error::{DecodeError, EncodeError};
use crate::reader::Reader;
use crate::writer::Writer;

/// Instance ID: which of several address spaces an EID belongs to (RFC 9300, section 8). 0 = the default instance.
///
/// 32 bits in an LCAF (RFC 8060, section 4.1), of which the data header carries the low 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct InstanceId(pub u32);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An EID-prefix exactly as a record carries it: host bits are kept, so that it re-encodes to the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Eid {
    /// The address; in an [`Lcaf::InstanceId`] when the instance is not 0.
    pub address: Address,
    /// Significant bits of the (inner) address.
    pub mask_len: u8,
}

impl Eid {
    /// The IP prefix and its instance, host bits cleared; `None` for names, MAC addresses and other LCAFs.
    pub fn ip_prefix(&self) -> Option<EidPrefix> {
        let (iid, address) = match &self.address {
            Address::Lcaf(lcaf) => match lcaf.as_ref() {
                Lcaf::InstanceId { iid, address, .. } => (*iid, address.ip()?),
                _ => return None,
            },
            plain => (InstanceId(0), plain.ip()?),
        };
        EidPrefix::new(iid, address, self.mask_len)
    }

    /// Reads AFI and prefix, which every message has after the mask length (and often something in between).
    pub(crate) fn read(reader: &mut Reader<'_>, mask_len: u8) -> Result<Self, DecodeError> {
        let address = Address::read_prefix("EID mask-len", reader, mask_len)?;
        Ok(Self { address, mask_len })
    }

    /// Writes AFI and prefix.
    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        self.address.write_prefix("EID mask-len", writer, self.mask_len)
    }
}

/// An IP EID-prefix in its instance, host bits cleared: the key of registrations, of the map-cache and of DHT records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EidPrefix {
    /// The instance.
    pub iid: InstanceId,
    /// The prefix, always truncated.
    pub net: IpNet,
}

impl EidPrefix {
    /// `None` if `mask_len` exceeds the width of the address.
    pub fn new(iid: InstanceId, address: IpAddr, mask_len: u8) -> Option<Self> {
        let net = IpNet::new(address, mask_len).ok()?.trunc();
        Some(Self { iid, net })
    }

    /// The host prefix (/32 or /128) of one address.
    pub fn host(iid: InstanceId, address: IpAddr) -> Self {
        Self { iid, net: IpNet::from(address) }
    }

    /// Whether `other` lies inside (or equals) this prefix, in the same instance.
    pub fn covers(&self, other: &Self) -> bool {
        self.iid == other.iid && self.net.contains(&other.net)
    }
}

impl From<EidPrefix> for Eid {
    fn from(prefix: EidPrefix) -> Self {
        let address = Address::from(prefix.net.addr());
        let address = match prefix.iid {
            InstanceId(0) => address,
            iid => Address::Lcaf(Box::new(Lcaf::InstanceId { iid, iid_mask_len: 0, address })),
        };
        Self { address, mask_len: prefix.net.prefix_len() }
    }
}

impl fmt::Display for EidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.iid {
            InstanceId(0) => write!(f, "{}", self.net),
            iid => write!(f, "[{iid}]{}", self.net),
        }
    }
}
