// SPDX-License-Identifier: GPL-2.0-or-later
//! A bounded cursor, and how a prefix is written in keys and TLVs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::address::{EidPrefix, InstanceId};

use crate::error::Malformed;

/// AFI of IPv4.
const AFI_IPV4: u16 = 1;
/// AFI of IPv6.
const AFI_IPV6: u16 = 2;

/// The bytes that are left to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated(field))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Truncated(field))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(field).map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// The end must be here.
    pub(crate) fn finish(self, field: &'static str) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed::Trailing(field)) }
    }

    /// AFI 2 ‖ address.
    pub(crate) fn address(&mut self, field: &'static str) -> Result<IpAddr, Malformed> {
        match self.u16(field)? {
            AFI_IPV4 => Ok(Ipv4Addr::from(self.array::<4>(field)?).into()),
            AFI_IPV6 => Ok(Ipv6Addr::from(self.array::<16>(field)?).into()),
            other => Err(Malformed::Value(field, other.into())),
        }
    }

    /// IID 4 ‖ AFI 2 ‖ plen 1 ‖ ⌈plen/8⌉ address octets, host bits zero.
    pub(crate) fn prefix(&mut self, field: &'static str) -> Result<EidPrefix, Malformed> {
        let iid = InstanceId(self.u32(field)?);
        let family = self.u16(field)?;
        let plen = self.u8(field)?;
        let octets = self.take(field, usize::from(plen).div_ceil(8))?;
        let address = match family {
            AFI_IPV4 => IpAddr::from(padded::<4>(octets).ok_or(Malformed::Value(field, plen.into()))?),
            AFI_IPV6 => IpAddr::from(padded::<16>(octets).ok_or(Malformed::Value(field, plen.into()))?),
            other => return Err(Malformed::Value(field, other.into())),
        };
        exact_prefix(iid, address, plen).ok_or(Malformed::NotCanonical(field))
    }
}

/// The prefix, if no bit beyond its length is set.
pub(crate) fn exact_prefix(iid: InstanceId, address: IpAddr, plen: u8) -> Option<EidPrefix> {
    EidPrefix::new(iid, address, plen).filter(|prefix| prefix.net.addr() == address)
}

/// The octets, followed by zeros; `None` if they are too many.
fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(whole)
}

/// Writes what [`Reader::address`] reads.
pub(crate) fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    out.extend_from_slice(&family(address).to_be_bytes());
    out.extend_from_slice(&octets(address));
}

/// Writes what [`Reader::prefix`] reads.
pub(crate) fn write_prefix(out: &mut Vec<u8>, prefix: &EidPrefix) {
    let (address, plen) = (prefix.net.addr(), prefix.net.prefix_len());
    out.extend_from_slice(&prefix.iid.0.to_be_bytes());
    out.extend_from_slice(&family(address).to_be_bytes());
    out.push(plen);
    out.extend_from_slice(&octets(address)[..usize::from(plen).div_ceil(8)]);
}

/// The octets of an address, 4 or 16.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u16 {
    if address.is_ipv4() { AFI_IPV4 } else { AFI_IPV6 }
}
