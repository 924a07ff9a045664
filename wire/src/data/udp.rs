// SPDX-License-Identifier: GPL-2.0-or-later
//! UDP (RFC 768).

use super::ip::truncated;
use crate::error::{DecodeError, Problem};

/// A UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpHeader {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Checksum as sent; 0 = none.
    pub checksum: u16,
}

impl UdpHeader {
    /// Octets of the header.
    pub const LENGTH: usize = 8;

    /// The eight octets before `payload` octets; `None` if that is too long for UDP.
    #[inline]
    pub fn emit(&self, payload: usize) -> Option<[u8; Self::LENGTH]> {
        let length = u16::try_from(payload.checked_add(Self::LENGTH)?).ok()?;
        let mut octets = [0; Self::LENGTH];
        octets[..2].copy_from_slice(&self.source.to_be_bytes());
        octets[2..4].copy_from_slice(&self.destination.to_be_bytes());
        octets[4..6].copy_from_slice(&length.to_be_bytes());
        octets[6..].copy_from_slice(&self.checksum.to_be_bytes());
        Some(octets)
    }

    /// Header and payload; octets behind the UDP length are cut off. The checksum is not verified.
    ///
    /// # Errors
    /// A length that does not fit.
    pub fn parse(segment: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let Some(&[s0, s1, d0, d1, l0, l1, c0, c1]) = segment.first_chunk::<{ Self::LENGTH }>() else {
            return Err(truncated("UDP header", Self::LENGTH, segment.len()));
        };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length < Self::LENGTH {
            return Err(DecodeError { field: "UDP length", offset: 4, problem: Problem::Length(length) });
        }
        let header = Self {
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
            checksum: u16::from_be_bytes([c0, c1]),
        };
        match segment.get(Self::LENGTH..length) {
            Some(payload) => Ok((header, payload)),
            None => Err(truncated("UDP length", length, segment.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parsing_is_the_inverse_of_emitting(source: u16, destination: u16, checksum: u16, payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            let header = UdpHeader { source, destination, checksum };
            let mut octets = [header.emit(payload.len()).unwrap().as_slice(), &payload].concat();
            octets.extend([1, 2, 3]);
            prop_assert_eq!(UdpHeader::parse(&octets).unwrap(), (header, payload.as_slice()));
        }

        #[test]
        fn parsing_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = UdpHeader::parse(&octets);
        }
    }
}
