// SPDX-License-Identifier: GPL-2.0-or-later
//! The LISP header (RFC 9300, section 5.3; RFC 9305, section 3).

use crate::address::InstanceId;
use crate::error::{DecodeError, Problem};
use crate::record::MapVersion;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// |N|L|E|V|I|R|K|K|   Nonce, or Source and Dest Map-Version       |
/// |           Instance ID / Locator-Status-Bits                   |
/// ```
/// With GPE, R is called P; the last octet of the first word is then the next protocol, the 16 bits before it zero.
mod bit {
    pub(super) const N: u8 = 0x80;
    pub(super) const L: u8 = 0x40;
    pub(super) const E: u8 = 0x20;
    pub(super) const V: u8 = 0x10;
    pub(super) const I: u8 = 0x08;
    pub(super) const P: u8 = 0x04;
    pub(super) const KK: u8 = 0x03;
}
const VERSION_BITS: u32 = 12;
const VERSION_MASK: u32 = (1 << VERSION_BITS) - 1;
const WORD_24: u32 = 0x00ff_ffff;
const IID_SHIFT: u32 = 8;
const SHORT_LSB_MASK: u32 = 0xff;

/// The header, with the meaning that its flags give to its two fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LispHeader {
    /// N: the 24-bit nonce. It wins over map-versions when both flags are set (RFC 9300, section 5.3).
    pub nonce: Option<u32>,
    /// E: the sender wants the nonce back; never set without a nonce.
    pub echo: bool,
    /// V: the map-versions; never present together with a nonce.
    pub versions: Option<MapVersions>,
    /// I: the instance, 24 bits here.
    pub iid: Option<InstanceId>,
    /// L: locator-status-bits, 32 of them, or 8 beside an instance.
    pub status_bits: Option<u32>,
    /// P: what follows the header, in a GPE header. `None` where the bit is clear.
    pub next_protocol: Option<NextProtocol>,
    /// KK: the key of an encrypted payload (RFC 8061), 1 to 3; 0 = not encrypted.
    pub key_id: u8,
}

/// Source and destination map-version (RFC 9302).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapVersions {
    /// Of the mapping of the inner source.
    pub source: MapVersion,
    /// Of the mapping of the inner destination, as the sender has it.
    pub destination: MapVersion,
}

/// Next protocol of a GPE header (RFC 9305, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextProtocol(pub u8);

impl NextProtocol {
    /// IPv4.
    pub const IPV4: Self = Self(1);
    /// IPv6.
    pub const IPV6: Self = Self(2);
}

impl LispHeader {
    /// Octets of the header.
    pub const LENGTH: usize = 8;

    /// The header of a plain packet: all zero, but for an instance other than 0.
    #[inline]
    pub fn plain(iid: InstanceId) -> Self {
        Self { iid: (iid != InstanceId(0)).then_some(iid), ..Self::default() }
    }

    /// Header and what follows it. Bit 5 is read as P: where the sender is not known to send GPE it is R, and [`Self::clear_reserved`]
    /// comes first.
    ///
    /// # Errors
    /// Only for fewer than 8 octets: each of their values has a meaning, or is to be ignored.
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let Some((header, rest)) = payload.split_first_chunk::<{ Self::LENGTH }>() else {
            let problem = Problem::Truncated { needed: Self::LENGTH, available: payload.len() };
            return Err(DecodeError { field: "LISP header", offset: 0, problem });
        };
        Ok((Self::read(*header), rest))
    }

    /// What these octets say; each of their values has a meaning, or is to be ignored.
    #[inline]
    pub fn read(octets: [u8; Self::LENGTH]) -> Self {
        let [flags, b1, b2, b3, second @ ..] = octets;
        let first = u32::from_be_bytes([0, b1, b2, b3]);
        let second = u32::from_be_bytes(second);
        let set = |bit| flags & bit != 0;
        // In GPE format N, E, V and the nonce are not there (RFC 9305, section 3).
        let gpe = set(bit::P);
        let nonce = (set(bit::N) && !gpe).then_some(first);
        let versions = (set(bit::V) && nonce.is_none() && !gpe)
            .then_some(MapVersions { source: version(first >> VERSION_BITS), destination: version(first) });
        Self {
            nonce,
            echo: nonce.is_some() && set(bit::E),
            versions,
            iid: set(bit::I).then_some(InstanceId(second >> IID_SHIFT)),
            status_bits: set(bit::L).then_some(if set(bit::I) { second & SHORT_LSB_MASK } else { second }),
            next_protocol: gpe.then_some(NextProtocol(b3)),
            key_id: flags & bit::KK,
        }
    }

    /// Clears bit 5 in the header of somebody who is not known to send GPE: it is R there, which is ignored (RFC 9300, section 5.3). Left
    /// as it is it would be read as P, and take N, E and V away.
    #[inline]
    pub fn clear_reserved(payload: &mut [u8]) {
        if let Some(flags) = payload.first_mut() {
            *flags &= !bit::P;
        }
    }

    /// Whether bit 5 is set: P of a GPE header, R of any other. Fewer octets than a header have no bits.
    #[inline]
    pub fn has_bit_5(payload: &[u8]) -> bool {
        payload.first().is_some_and(|flags| flags & bit::P != 0)
    }

    /// Whether the flags of a header that somebody sent agree with each other: never N and V together, and E only beside N (RFC
    /// 9300, section 5.3). [`Self::parse`] takes them all the same, as it says there.
    #[inline]
    pub fn flags_agree(flags: u8) -> bool {
        let set = |bit| flags & bit != 0;
        set(bit::P) || !(set(bit::N) && set(bit::V)) && (set(bit::N) || !set(bit::E))
    }

    /// The eight octets; values wider than their fields lose their upper bits.
    #[inline]
    pub fn emit(&self) -> [u8; Self::LENGTH] {
        let mut flags = self.key_id & bit::KK;
        let mut first = 0;
        match (self.next_protocol, self.nonce, self.versions) {
            (Some(next), ..) => {
                flags |= bit::P;
                first = u32::from(next.0);
            }
            (None, Some(nonce), _) => {
                flags |= bit::N | if self.echo { bit::E } else { 0 };
                first = nonce & WORD_24;
            }
            (None, None, Some(versions)) => {
                flags |= bit::V;
                first = (u32::from(versions.source.0) & VERSION_MASK) << VERSION_BITS
                    | u32::from(versions.destination.0) & VERSION_MASK;
            }
            (None, None, None) => {}
        }
        let mut second = 0;
        if let Some(iid) = self.iid {
            flags |= bit::I;
            second = iid.0 << IID_SHIFT;
        }
        if let Some(bits) = self.status_bits {
            flags |= bit::L;
            second |= if self.iid.is_some() { bits & SHORT_LSB_MASK } else { bits };
        }
        let mut octets = [0; Self::LENGTH];
        octets[..4].copy_from_slice(&(u32::from(flags) << 24 | first).to_be_bytes());
        octets[4..].copy_from_slice(&second.to_be_bytes());
        octets
    }
}

#[inline]
fn version(bits: u32) -> MapVersion {
    let [.., high, low] = (bits & VERSION_MASK).to_be_bytes();
    MapVersion(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn header(octets: [u8; 8]) -> LispHeader {
        LispHeader::parse(&octets).unwrap().0
    }

    #[test]
    fn flags_give_the_fields_their_meaning() {
        assert_eq!(header([0; 8]), LispHeader::default());
        let echo = header([0xe0, 0x12, 0x34, 0x56, 0, 0, 0, 3]);
        assert_eq!((echo.nonce, echo.echo, echo.status_bits), (Some(0x12_3456), true, Some(3)));
        let versions = header([0x18, 0x12, 0x34, 0x56, 0, 0, 7, 0]);
        let expected = MapVersions { source: MapVersion(0x123), destination: MapVersion(0x456) };
        assert_eq!((versions.versions, versions.iid), (Some(expected), Some(InstanceId(7))));
        let gpe = header([0x0c, 0, 0, 2, 0, 0, 0x10, 0]);
        assert_eq!((gpe.next_protocol, gpe.iid), (Some(NextProtocol::IPV6), Some(InstanceId(16))));
    }

    #[test]
    fn a_nonce_wins_over_versions_and_an_echo_needs_a_nonce() {
        let both = header([0x90, 1, 2, 3, 0, 0, 0, 0]);
        assert_eq!((both.nonce, both.versions), (Some(0x01_0203), None));
        assert!(!header([0x20, 1, 2, 3, 0, 0, 0, 0]).echo);
    }

    #[test]
    fn flags_that_nobody_may_send_are_told_apart() {
        for (flags, agree) in [
            (0x00, true),
            (0x80, true),
            (0xa0, true),
            (0x10, true),
            (0x40, true),
            (0x20, false),
            (0x90, false),
            (0x30, false),
        ] {
            assert_eq!(LispHeader::flags_agree(flags), agree, "{flags:#x}");
            assert!(LispHeader::flags_agree(flags | 0x04), "with GPE N, E and V are not there");
        }
    }

    #[test]
    fn bit_5_takes_nothing_away_where_it_is_reserved() {
        for flags in 0..=u8::MAX {
            let plain = [flags & !bit::P, 0x12, 0x34, 0x56, 0, 0, 7, 3];
            let mut reserved = [flags | bit::P, 0x12, 0x34, 0x56, 0, 0, 7, 3];
            assert!(LispHeader::has_bit_5(&reserved) && !LispHeader::has_bit_5(&plain));
            assert_eq!(header(reserved).nonce, None);
            LispHeader::clear_reserved(&mut reserved);
            assert_eq!(header(reserved), header(plain), "{flags:#x}");
        }
        LispHeader::clear_reserved(&mut []);
    }

    #[test]
    fn the_low_octet_is_ignored_beside_an_instance_without_status_bits() {
        let header = header([0x08, 0, 0, 0, 0xab, 0xcd, 0xef, 0xff]);
        assert_eq!((header.iid, header.status_bits), (Some(InstanceId(0xab_cdef)), None));
    }

    #[test]
    fn a_plain_header_in_the_default_instance_is_all_zero() {
        assert_eq!(LispHeader::plain(InstanceId(0)).emit(), [0; 8]);
        assert_eq!(LispHeader::plain(InstanceId(0xab_cdef)).emit(), [8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_emitting_is_its_inverse(octets in proptest::collection::vec(any::<u8>(), 0..12)) {
            match LispHeader::parse(&octets) {
                Ok((header, rest)) => {
                    prop_assert_eq!(rest, &octets[8..]);
                    prop_assert_eq!(LispHeader::parse(&header.emit()).unwrap().0, header);
                }
                Err(error) => prop_assert_eq!(error.problem, Problem::Truncated { needed: 8, available: octets.len() }),
            }
        }
    }
}
