// SPDX-License-Identifier: GPL-2.0-or-later
//! EIDs that are no IP prefixes: distinguished names (RFC 9735) and MAC addresses (AFI 16389, and AFI 6 as RFC 8060 has it), in
//! instance 0 or in one that an LCAF names (RFC 8060, section 4.1); and pairs of a source and a group or destination (RFC 8060,
//! sections 4.5 and 4.8).
//!
//! They are registered and answered for, and that is all: never published in the DHT, never a hole between IP prefixes, never
//! subscribed to. So they have a type and tables of their own, and what takes an `EidPrefix` cannot be given one.

pub mod grants;
mod nest;
pub mod pair;
pub mod registrations;
pub mod single;
pub mod table;

use std::fmt;

use wire::address::{Address, Eid, EidPrefix, InstanceId, Lcaf};

use pair::Pair;
use single::{OCTET, Single};

/// An EID that is no IP prefix. In their order one stands before what it covers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// A name or a prefix of MAC addresses, with one mask-len: of two that overlap one covers the other.
    Single(Single),
    /// A source and a group or destination, each with its mask-len: two may overlap, and neither cover the other.
    Pair(Pair),
}

/// What a [`Label`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A prefix of MAC addresses.
    Mac,
    /// A distinguished name.
    Name,
    /// A source and a multicast group: Multicast Info (RFC 8060, section 4.5).
    Multicast,
    /// A source and a destination: a Source/Dest Key (RFC 8060, section 4.8).
    SourceDest,
}

impl Kind {
    /// How it is called in what is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mac => "mac",
            Self::Name => "name",
            Self::Multicast => "multicast",
            Self::SourceDest => "source-dest",
        }
    }
}

/// Why an EID is no [`Label`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// It is something else.
    #[error("neither a name nor a MAC address nor a pair")]
    Other,
    /// A name with more octets than its mask-len can count, with a NUL inside, or with a mask-len that is not its length
    /// (RFC 9735, section 3).
    #[error("a name that cannot be an EID")]
    Name,
    /// A source and a group or destination that are no IP prefixes of one family, a group that is none, or an instance around
    /// Multicast Info, which has one of its own.
    #[error("a pair that cannot be an EID")]
    Pair,
}

/// How somebody writes names and MAC addresses: he is answered in the same way. Pairs are written in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling {
    /// The mask-len of a name counts its NUL too, as RFC 9735, section 3, has it; lispers.net does not count it.
    pub counts_nul: bool,
    /// A MAC address is of AFI 6, not of AFI 16389.
    pub is_ieee_802: bool,
}

/// As RFC 9735 has it.
impl Default for Spelling {
    fn default() -> Self {
        Self { counts_nul: true, is_ieee_802: false }
    }
}

impl Label {
    /// The label that an EID is; bits behind a mask-len are cleared. That of the record says nothing of a pair, which has two of its own.
    ///
    /// # Errors
    /// Says why it is none.
    pub fn of(eid: &Eid) -> Result<Self, LabelError> {
        let (iid, address) = inner(&eid.address);
        match address {
            Address::Mac(octets) | Address::Ieee802(octets) => {
                Self::mac(iid, *octets, eid.mask_len).ok_or(LabelError::Other)
            }
            Address::Name(name) => {
                let name = Single::name(iid, name).ok_or(LabelError::Name)?;
                let lengths = [name.bits(), name.bits() + OCTET];
                if lengths.contains(&eid.mask_len) { Ok(Self::Single(name)) } else { Err(LabelError::Name) }
            }
            _ => Pair::of(&eid.address).map(Self::Pair),
        }
    }

    /// A prefix of MAC addresses; `None` if it is longer than these.
    pub fn mac(iid: InstanceId, octets: [u8; 6], bits: u8) -> Option<Self> {
        Single::mac(iid, octets, bits).map(Self::Single)
    }

    /// A name, or what names begin with; `None` if it is too long, or has a NUL.
    pub fn name(iid: InstanceId, name: &[u8]) -> Option<Self> {
        Single::name(iid, name).map(Self::Single)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Single(single) => single.kind(),
            Self::Pair(pair) => pair.kind(),
        }
    }

    /// A name as it is; of anything else the first address, or pair of addresses, in it.
    #[must_use]
    pub fn host(self) -> Self {
        match self {
            Self::Single(single) => Self::Single(single.host()),
            Self::Pair(pair) => Self::Pair(pair.host()),
        }
    }

    /// Whether `other` lies inside (or equals) this one.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Single(one), Self::Single(two)) => one.covers(two),
            (Self::Pair(one), Self::Pair(two)) => one.covers(two),
            _ => false,
        }
    }

    /// Its significant bits, of a pair those of the group or destination before those of the source: of two that cover the same the one
    /// with the greater length is the better match.
    pub fn length(&self) -> (u8, u8) {
        match self {
            Self::Single(single) => (single.bits(), 0),
            Self::Pair(pair) => pair.length(),
        }
    }

    /// As an EID.
    pub fn eid(&self, spelling: Spelling) -> Eid {
        match self {
            Self::Single(single) => single.eid(spelling),
            Self::Pair(pair) => pair.eid(),
        }
    }
}

/// The address inside an instance's LCAF, or the address itself.
fn inner(address: &Address) -> (InstanceId, &Address) {
    if let Address::Lcaf(lcaf) = address
        && let Lcaf::InstanceId { iid, address, .. } = lcaf.as_ref()
    {
        return (*iid, address);
    }
    (InstanceId(0), address)
}

impl Spelling {
    /// How `eid` is written.
    pub fn of(eid: &Eid) -> Self {
        match inner(&eid.address).1 {
            Address::Name(name) => Self { counts_nul: usize::from(eid.mask_len) > name.len() * 8, ..Self::default() },
            Address::Ieee802(_) => Self { is_ieee_802: true, ..Self::default() },
            _ => Self::default(),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(single) => single.fmt(f),
            Self::Pair(pair) => pair.fmt(f),
        }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Any EID that can be registered. A label is never equal to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnyEid {
    /// An IP prefix.
    Prefix(EidPrefix),
    /// Anything else.
    Label(Label),
}

impl AnyEid {
    /// What an EID of a message is, if it is one of these.
    pub fn of(eid: &Eid) -> Option<Self> {
        eid.ip_prefix().map(Self::Prefix).or_else(|| Label::of(eid).ok().map(Self::Label))
    }

    /// Whether `other` lies inside (or equals) this one.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(one), Self::Prefix(two)) => one.covers(two),
            (Self::Label(one), Self::Label(two)) => one.covers(two),
            _ => false,
        }
    }

    /// Its significant bits, as [`Label::length`].
    pub fn length(&self) -> (u8, u8) {
        match self {
            Self::Prefix(prefix) => (prefix.net.prefix_len(), 0),
            Self::Label(label) => label.length(),
        }
    }

    /// As an EID, a label in this spelling.
    pub fn spelled(self, spelling: Spelling) -> Eid {
        match self {
            Self::Prefix(prefix) => prefix.into(),
            Self::Label(label) => label.eid(spelling),
        }
    }

    /// The IP prefix, if it is one.
    pub fn prefix(self) -> Option<EidPrefix> {
        match self {
            Self::Prefix(prefix) => Some(prefix),
            Self::Label(_) => None,
        }
    }
}

impl From<EidPrefix> for AnyEid {
    fn from(prefix: EidPrefix) -> Self {
        Self::Prefix(prefix)
    }
}

impl From<Label> for AnyEid {
    fn from(label: Label) -> Self {
        Self::Label(label)
    }
}

impl From<AnyEid> for Eid {
    fn from(eid: AnyEid) -> Self {
        eid.spelled(Spelling::default())
    }
}

impl fmt::Display for AnyEid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Label(label) => label.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn name(text: &[u8]) -> Label {
        Label::name(InstanceId(0), text).unwrap()
    }

    fn eid(iid: u32, name: &[u8], mask_len: u8) -> Eid {
        let address = Address::Name(name.into());
        let in_instance =
            Address::from(Lcaf::InstanceId { iid: InstanceId(iid), iid_mask_len: 0, address: address.clone() });
        Eid { address: if iid == 0 { address } else { in_instance }, mask_len }
    }

    #[test]
    fn a_label_is_printable_whatever_is_in_it() {
        let mac = Label::mac(InstanceId(5), [2, 0, 0x5e, 0xff, 0xff, 0xff], 24).unwrap();
        assert_eq!(mac.to_string(), "[5]02:00:5e:00:00:00/24");
        assert_eq!(name(b"print\"er\xff\n").to_string(), r#""print\"er\xff\n""#);
    }

    #[test]
    fn a_mac_address_of_either_afi_is_one_label_and_each_is_answered_in_its_own() {
        let octets = [2, 0, 0x5e, 0, 0, 1];
        for (address, is_ieee_802) in [(Address::Mac(octets), false), (Address::Ieee802(octets), true)] {
            let eid = Eid { address, mask_len: 48 };
            assert_eq!(Label::of(&eid), Ok(Label::mac(InstanceId(0), octets, 48).unwrap()));
            let spelling = Spelling::of(&eid);
            assert_eq!((spelling.is_ieee_802, Label::of(&eid).unwrap().eid(spelling)), (is_ieee_802, eid));
        }
    }

    proptest! {
        #[test]
        fn a_name_is_an_eid_if_it_has_at_most_30_octets_and_its_mask_len_is_its_length(
            iid in 0..3u32, text in proptest::collection::vec(1..=u8::MAX, 0..64), mask_len: u8
        ) {
            let octets = text.len() * 8;
            let is_one = text.len() <= 30;
            for length in [octets, octets + 8] {
                let Ok(length) = u8::try_from(length) else { continue };
                let eid = eid(iid, &text, length);
                let label = Label::of(&eid);
                prop_assert_eq!(label.is_ok(), is_one);
                if let Ok(label) = label {
                    // It is answered as it is written.
                    prop_assert_eq!(label.eid(Spelling::of(&eid)), eid);
                }
            }
            let fits = [octets, octets + 8].contains(&mask_len.into());
            prop_assert_eq!(Label::of(&eid(iid, &text, mask_len)).is_ok(), is_one && fits);
        }

        #[test]
        fn a_name_with_a_nul_inside_is_none(text in proptest::collection::vec(any::<u8>(), 1..40)) {
            let fits = text.len() <= 30 && !text.contains(&0);
            prop_assert_eq!(Label::name(InstanceId(0), &text).is_some(), fits);
        }

        #[test]
        fn a_name_covers_those_that_begin_with_it(
            one in proptest::collection::vec(b'a'..=b'b', 0..5), two in proptest::collection::vec(b'a'..=b'b', 0..5)
        ) {
            prop_assert_eq!(name(&one).covers(&name(&two)), two.starts_with(&one));
        }

        #[test]
        fn a_mac_prefix_covers_what_shares_its_bits(one: [u8; 6], two: [u8; 6], bits in 0u8..=48) {
            let value = |octets: [u8; 6]| octets.iter().fold(0u64, |sum, octet| sum << 8 | u64::from(*octet));
            let shift = u32::from(48 - bits);
            let same = value(one).checked_shr(shift) == value(two).checked_shr(shift);
            let of = |octets, bits| Label::mac(InstanceId(0), octets, bits).unwrap();
            prop_assert_eq!(of(one, bits).covers(&of(two, 48)), same);
        }
    }
}
