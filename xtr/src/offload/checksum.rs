// SPDX-License-Identifier: GPL-2.0-or-later
//! The Internet checksum (RFC 1071) over much payload: eight octets at a time, four of them at once, in the byte order of the
//! machine. RFC 1071, section 2 (B): the order does not matter to the sum but for the order of its own two octets.

use std::net::IpAddr;

/// A one's complement sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u64);

/// Sums that grow beside each other: none waits for the carry of another.
const LANES: usize = 4;
const WORD: usize = size_of::<u64>();

impl Sum {
    /// Adds octets that start at an even offset; an odd last octet is padded with zero.
    #[must_use]
    pub fn plus(self, octets: &[u8]) -> Self {
        let mut lanes = [self.0, 0, 0, 0];
        let (blocks, rest) = octets.as_chunks::<{ LANES * WORD }>();
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<WORD>().0) {
                *lane = add(*lane, u64::from_ne_bytes(*word));
            }
        }
        let (words, rest) = rest.as_chunks::<WORD>();
        let sum = lanes.into_iter().chain(words.iter().map(|word| u64::from_ne_bytes(*word))).fold(0, add);
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        Self(add(sum, u64::from_ne_bytes(last)))
    }

    /// Adds one 16-bit word.
    #[must_use]
    pub fn plus_word(self, word: u16) -> Self {
        Self(add(self.0, u16::from_ne_bytes(word.to_be_bytes()).into()))
    }

    /// Adds the addresses and the protocol of a pseudo-header (RFC 768, RFC 8200, section 8.1), but not its length.
    #[must_use]
    pub fn plus_pseudo_header(self, source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        let sum = [source, destination].into_iter().fold(self, |sum, address| match address {
            IpAddr::V4(a) => sum.plus(&a.octets()),
            IpAddr::V6(a) => sum.plus(&a.octets()),
        });
        sum.plus_word(protocol.into())
    }

    /// The sum, in the order of the wire: what a field holds whose checksum is left to others.
    pub fn partial(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        // No more than 16 bits are left.
        u16::try_from(sum).unwrap_or_default().to_ne_bytes()
    }

    /// The complement of the sum: the octets of a checksum field.
    pub fn field(self) -> [u8; 2] {
        self.partial().map(|octet| !octet)
    }

    /// Whether the octets summed up contain a right checksum of themselves.
    pub fn is_right(self) -> bool {
        self.partial() == [0xff, 0xff]
    }
}

/// Addition with the carry brought back to the front.
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::data::checksum;

    proptest! {
        #[test]
        fn it_is_the_checksum_of_the_codec(octets in proptest::collection::vec(any::<u8>(), 0..300), word: u16) {
            prop_assert_eq!(Sum::default().plus(&octets).field(), checksum::internet(&octets).to_be_bytes());
            let with_word = [&word.to_be_bytes()[..], &octets].concat();
            prop_assert_eq!(Sum::default().plus_word(word).plus(&octets).field(), checksum::internet(&with_word).to_be_bytes());
        }

        #[test]
        fn pseudo_headers_count(octets in proptest::collection::vec(any::<u8>(), 0..64), v6: bool) {
            let (a, b): (IpAddr, IpAddr) = match v6 {
                true => ([1, 2, 3, 4, 5, 6, 7, 8].into(), [9, 8, 7, 6, 5, 4, 3, 2].into()),
                false => ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
            };
            let length = u16::try_from(octets.len()).unwrap_or_default();
            let sum = Sum::default().plus_pseudo_header(a, b, 6).plus_word(length).plus(&octets);
            prop_assert_eq!(sum.field(), checksum::transport(a, b, 6, &octets).to_be_bytes());
        }
    }
}
