// SPDX-License-Identifier: GPL-2.0-or-later
//! An EID-prefix in few octets, in the order in which a prefix stands before what it covers.

use std::net::IpAddr;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId};

/// An EID-prefix in few octets. Addresses of both families stand at the left; the family comes before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) iid: u32,
    pub(super) is_v6: bool,
    pub(super) address: [u8; 16],
    pub(super) len: u8,
}

impl Key {
    pub(super) fn of(prefix: &EidPrefix) -> Self {
        let (is_v6, bits) = match prefix.net {
            IpNet::V4(net) => (false, u128::from(net.addr().to_bits()) << 96),
            IpNet::V6(net) => (true, net.addr().to_bits()),
        };
        Self { iid: prefix.iid.0, is_v6, address: bits.to_be_bytes(), len: prefix.net.prefix_len() }
    }

    pub(super) fn prefix(self) -> EidPrefix {
        let [a, b, c, d, ..] = self.address;
        let address = if self.is_v6 { IpAddr::from(self.address) } else { IpAddr::from([a, b, c, d]) };
        // As it was put, without looking for bits behind the length again.
        let net = IpNet::new(address, self.len).unwrap_or_else(|_| IpNet::from(address));
        EidPrefix { iid: InstanceId(self.iid), net }
    }

    pub(super) fn bits(&self) -> u128 {
        u128::from_be_bytes(self.address)
    }

    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (self.iid, self.is_v6) == (other.iid, other.is_v6)
    }

    /// Leading bits that both share, at most the length of the shorter.
    pub(super) fn shared(&self, other: &Self) -> u8 {
        let same = (self.bits() ^ other.bits()).leading_zeros();
        u8::try_from(same).unwrap_or(u8::MAX).min(self.len).min(other.len)
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.is_beside(other) && self.shared(other) == self.len
    }

    /// Its first `len` bits.
    pub(super) fn truncated(self, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
        Self { address: (self.bits() & mask).to_be_bytes(), len, ..self }
    }

    /// Behind all that it covers.
    pub(super) fn end(self) -> Self {
        let hosts = u128::MAX.checked_shr(self.len.into()).unwrap_or(0);
        Self { address: (self.bits() | hosts).to_be_bytes(), len: u8::MAX, ..self }
    }
}
