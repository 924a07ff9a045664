// SPDX-License-Identifier: GPL-2.0-or-later
//! Blocks of addresses: what one party usually has whole, so that many addresses of one block are not many parties.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A block of addresses: a /24 of IPv4, a /48 or a /32 of IPv6. A private address counts by itself: the whole of a site or of
/// an isolated cloud lies in one block, and who is in there was let in by somebody. Loopback counts as if it were public, so
/// that a lab on one machine can have blocks (127.1.i.0/24).
///
/// An IPv6 address that is an IPv4 address in other words (mapped, 6to4, through NAT64) counts as that: who has one address of
/// IPv4 has a /48 of 6to4. CGEIDs get no rule of their own: their prefix is that of one provider, so that they have the share of
/// one, and no more, although anybody can make as many as it likes; a cloud that knows nothing else still works with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    first: IpAddr,
    plen: u8,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.first.is_ipv4() { 32 } else { 128 };
        write!(f, "{}/{}", self.first, self.plen.min(longest))
    }
}

impl Block {
    /// The /24 or /48 of an address.
    pub fn of(address: IpAddr) -> Self {
        let address = plain(address);
        match address {
            _ if is_private(address) => Self::cut(address, 128),
            IpAddr::V4(_) => Self::cut(address, 24),
            IpAddr::V6(_) => Self::cut(address, 48),
        }
    }

    /// The /56 of an IPv6 address, which a provider gives to a household; of others what [`Block::host_of`] says.
    pub fn household_of(address: IpAddr) -> Self {
        let address = plain(address);
        Self::cut(address, if address.is_ipv6() && !is_private(address) { 56 } else { 128 })
    }

    /// The /32 of an IPv6 address, which a provider has; none of others.
    pub fn provider_of(address: IpAddr) -> Option<Self> {
        let address = plain(address);
        (address.is_ipv6() && !is_private(address)).then(|| Self::cut(address, 32))
    }

    /// The addresses that one machine has for itself: the address of IPv4, the /64 of an IPv6 address.
    pub fn host_of(address: IpAddr) -> Self {
        let address = plain(address);
        Self::cut(address, if address.is_ipv6() && !is_private(address) { 64 } else { 128 })
    }

    /// Its first address, whose block it is.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Whether all of another block lies in this one.
    pub fn contains(self, other: Self) -> bool {
        self.plen <= other.plen && Self::cut(other.first, self.plen) == self
    }

    fn cut(address: IpAddr, plen: u8) -> Self {
        let first = match address {
            IpAddr::V4(v4) => {
                let kept = u32::from(plen.min(32));
                IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - kept).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) => {
                let kept = u32::from(plen.min(128));
                IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - kept).unwrap_or(0)).into())
            }
        };
        Self { first, plen }
    }
}

/// The address that an IPv6 address stands for, if it is one of IPv4.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    match v6.segments() {
        // 6to4 (RFC 3056), and the well-known prefix of NAT64 (RFC 6052).
        [0x2002, high, low, ..] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            IpAddr::V4((u32::from(high) << 16 | u32::from(low)).into())
        }
        _ => v6.into(),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => is_unique_local(v6) || v6.is_unicast_link_local(),
    }
}

fn is_unique_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xfe00 == 0xfc00
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        Block::of(one.parse().unwrap()) == Block::of(other.parse().unwrap())
    }

    #[test]
    fn public_addresses_of_one_block_count_as_one_party() {
        assert!(same("198.51.100.1", "198.51.100.254"));
        assert!(!same("198.51.100.1", "198.51.101.1"));
        assert!(same("2001:db8:a::1", "2001:db8:a:ffff::9"));
        assert!(!same("2001:db8:a::1", "2001:db8:b::1"));
        assert!(same("198.51.100.1", "::ffff:198.51.100.2"), "one address in two notations");
        assert!(same("127.1.3.1", "127.1.3.2") && !same("127.1.3.1", "127.1.4.1"), "labs");
    }

    #[test]
    fn private_addresses_count_by_themselves() {
        assert!(!same("192.168.1.1", "192.168.1.2"));
        assert!(!same("fd00::1", "fd00::2"));
        assert!(!same("fe80::1", "fe80::2"));
    }

    #[test]
    fn an_ipv4_address_in_other_words_is_one() {
        assert!(same("2002:c633:6401::1", "198.51.100.200"), "6to4");
        assert!(same("2002:c633:6401:9::1", "2002:c633:64ff:8::1"));
        assert!(same("64:ff9b::198.51.100.1", "198.51.100.2"), "NAT64");
        assert!(!same("64:ff9b::198.51.100.1", "64:ff9b::198.51.101.1"));
        assert_eq!(Block::provider_of("2002:c633:6401::1".parse().unwrap()), None);
    }

    #[test]
    fn a_machine_has_an_address_of_ipv4_or_a_64_of_ipv6() {
        let host = |text: &str| Block::host_of(text.parse().unwrap());
        assert_ne!(host("198.51.100.1"), host("198.51.100.2"));
        assert_eq!(host("198.51.100.1"), host("::ffff:198.51.100.1"));
        assert_eq!(host("2001:db8:a:1::1"), host("2001:db8:a:1:ffff::9"));
        assert_ne!(host("2001:db8:a:1::1"), host("2001:db8:a:2::1"));
        assert_ne!(host("fe80::1"), host("fe80::2"));
        assert_eq!(host("198.51.100.1").to_string(), "198.51.100.1/32");
    }

    #[test]
    fn a_household_has_a_56_of_ipv6() {
        let household = |text: &str| Block::household_of(text.parse().unwrap());
        assert_eq!(household("2001:db8:a:1::1"), household("2001:db8:a:ff::1"));
        assert_ne!(household("2001:db8:a:1::1"), household("2001:db8:a:100::1"));
        assert_ne!(household("198.51.100.1"), household("198.51.100.2"));
        assert_ne!(household("fd00::1"), household("fd00::2"));
    }

    #[test]
    fn a_provider_has_a_32_of_ipv6() {
        let provider = |text: &str| Block::provider_of(text.parse().unwrap());
        assert_eq!(provider("2001:db8:a::1"), provider("2001:db8:ffff::1"));
        assert_ne!(provider("2001:db8::1"), provider("2001:db9::1"));
        assert_eq!(provider("198.51.100.1"), None);
        assert_eq!(provider("fd00::1"), None);
    }
}
