// SPDX-License-Identifier: GPL-2.0-or-later
//! The Internet checksum (RFC 1071), whole and incremental (RFC 1624).

use std::net::IpAddr;

/// One's complement sum over octets, before the final complement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds octets that start at an even offset; an odd last octet is padded with zero.
    #[must_use]
    #[inline]
    pub fn plus(mut self, octets: &[u8]) -> Self {
        let (words, rest) = octets.as_chunks::<4>();
        // 2^32 - 1 is a multiple of 2^16 - 1: four octets at once give the same sum.
        self.0 += words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum::<u64>();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        self.0 += u64::from(u32::from_be_bytes(last));
        self
    }

    /// Adds the pseudo-header of RFC 768 or RFC 8200, section 8.1.
    #[must_use]
    pub fn pseudo_header(self, source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Self {
        let mut sum = self;
        for address in [source, destination] {
            sum = match address {
                IpAddr::V4(a) => sum.plus(&a.octets()),
                IpAddr::V6(a) => sum.plus(&a.octets()),
            };
        }
        sum.0 += length as u64 + u64::from(protocol);
        sum
    }

    /// The value for a checksum field; 0 over octets that contain a right checksum.
    #[inline]
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !low_word(sum)
    }
}

/// Checksum of a whole header or message.
#[inline]
pub fn internet(octets: &[u8]) -> u16 {
    Sum::default().plus(octets).finish()
}

/// Checksum of a transport segment under its pseudo-header. For UDP, a result of 0 is sent as 0xffff: see [`udp`].
pub fn transport(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    Sum::default().pseudo_header(source, destination, protocol, segment.len()).plus(segment).finish()
}

/// The checksum to put into a UDP header whose checksum field is zero in `segment`; never 0, which means "none".
pub fn udp(source: IpAddr, destination: IpAddr, segment: &[u8]) -> u16 {
    match transport(source, destination, super::protocol::UDP, segment) {
        0 => 0xffff,
        sum => sum,
    }
}

/// The checksum after one 16-bit word of what it covers changed (RFC 1624, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(u64::from(!checksum) + u64::from(!old) + u64::from(new)).finish()
}

/// The low 16 bits.
#[inline]
fn low_word(sum: u64) -> u16 {
    let [.., high, low] = sum.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_holds() {
        assert_eq!(internet(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn an_udp_checksum_is_never_zero() {
        let address: IpAddr = [0, 0, 0, 0].into();
        // Pseudo-header 17 + 2, segment 0xffec: the sum is 0xffff, its complement 0.
        assert_eq!(udp(address, address, &[0xff, 0xec]), 0xffff);
    }

    proptest! {
        #[test]
        fn an_updated_checksum_equals_a_fresh_one(mut octets in proptest::collection::vec(any::<u8>(), 20), new: u16) {
            octets[0] |= 1;
            let before = internet(&octets);
            let old = u16::from_be_bytes([octets[4], octets[5]]);
            octets[4..6].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), internet(&octets));
        }

        #[test]
        fn octets_with_their_checksum_sum_to_zero(mut octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            if octets.len() % 2 == 1 { octets.push(0); }
            octets.extend(internet(&octets).to_be_bytes());
            prop_assert_eq!(internet(&octets), 0);
        }
    }
}
