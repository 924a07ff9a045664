// SPDX-License-Identifier: GPL-2.0-or-later
//! EIDs with one mask-len that are no IP prefixes: distinguished names (RFC 9735) and MAC addresses.

use std::fmt;

use wire::address::{Address, Eid, InstanceId, Lcaf};

use super::nest::Nested;
use super::{Kind, Spelling};
use crate::limits::NAME_OCTETS;

/// A name, or a prefix of MAC addresses, in its instance. In their order one stands before what it covers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Single {
    iid: u32,
    is_name: bool,
    /// At the left; zeros behind `bits`.
    octets: [u8; NAME_OCTETS],
    /// Significant bits, of a name without its NUL.
    bits: u8,
}

/// Bits of a MAC address.
const MAC_BITS: u8 = 48;
/// A name has whole octets only.
pub(super) const OCTET: u8 = 8;

impl Single {
    /// A prefix of MAC addresses, bits behind its length cleared; `None` if it is longer than these.
    pub fn mac(iid: InstanceId, octets: [u8; 6], bits: u8) -> Option<Self> {
        let mut all = [0; NAME_OCTETS];
        all[..6].copy_from_slice(&octets);
        let whole = Self { iid: iid.0, is_name: false, octets: all, bits: MAC_BITS };
        (bits <= MAC_BITS).then(|| whole.truncated(bits))
    }

    /// A name, or what names begin with; `None` if it is too long, or has a NUL.
    pub fn name(iid: InstanceId, name: &[u8]) -> Option<Self> {
        let mut octets = [0; NAME_OCTETS];
        octets.get_mut(..name.len())?.copy_from_slice(name);
        let bits = u8::try_from(name.len()).ok()?.checked_mul(OCTET)?;
        (!name.contains(&0)).then_some(Self { iid: iid.0, is_name: true, octets, bits })
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        if self.is_name { Kind::Name } else { Kind::Mac }
    }

    /// Its significant bits.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// A name as it is; of a prefix of MAC addresses the first of them.
    #[must_use]
    pub fn host(self) -> Self {
        if self.is_name { self } else { Self { bits: MAC_BITS, ..self } }
    }

    /// Whether `other` lies inside (or equals) this one: MAC addresses by their bits, names by the octets that they begin with
    /// (RFC 9735, section 4: "ietf" is less specific than "ietf.lisp").
    pub fn covers(&self, other: &Self) -> bool {
        self.is_beside(other) && self.shared(other) == self.bits
    }

    /// As an EID.
    pub fn eid(&self, spelling: Spelling) -> Eid {
        let [a, b, c, d, e, f, ..] = self.octets;
        let (address, mask_len) = match self.kind() {
            Kind::Name => (Address::Name(self.text().into()), self.bits + if spelling.counts_nul { OCTET } else { 0 }),
            _ if spelling.is_ieee_802 => (Address::Ieee802([a, b, c, d, e, f]), self.bits),
            _ => (Address::Mac([a, b, c, d, e, f]), self.bits),
        };
        let address = match InstanceId(self.iid) {
            InstanceId(0) => address,
            iid => Address::from(Lcaf::InstanceId { iid, iid_mask_len: 0, address }),
        };
        Eid { address, mask_len }
    }

    fn text(&self) -> &[u8] {
        &self.octets[..usize::from(self.bits / OCTET).min(NAME_OCTETS)]
    }

    fn is_beside(&self, other: &Self) -> bool {
        (self.iid, self.is_name) == (other.iid, other.is_name)
    }

    /// Leading bits that both share, at most the length of the shorter; of names, those of whole octets.
    pub(super) fn shared(&self, other: &Self) -> u8 {
        let pairs = self.octets.iter().zip(&other.octets);
        let mut same = 0;
        for (one, two) in pairs {
            let leading = (one ^ two).leading_zeros();
            same += leading;
            if leading < u32::from(OCTET) {
                break;
            }
        }
        self.whole(u8::try_from(same).unwrap_or(u8::MAX).min(self.bits).min(other.bits))
    }

    /// A length that a label of this kind can have, no longer than `bits`.
    fn whole(&self, bits: u8) -> u8 {
        if self.is_name { bits - bits % OCTET } else { bits }
    }

    /// Its first `bits` bits.
    pub(super) fn truncated(self, bits: u8) -> Self {
        let bits = self.whole(bits);
        let mut octets = self.octets;
        for (at, octet) in octets.iter_mut().enumerate() {
            *octet &= mask(at, bits);
        }
        Self { octets, bits, ..self }
    }

    /// Behind all that it covers.
    pub(super) fn end(self) -> Self {
        let mut octets = self.octets;
        for (at, octet) in octets.iter_mut().enumerate() {
            *octet |= !mask(at, self.bits);
        }
        Self { octets, bits: u8::MAX, ..self }
    }
}

impl Nested for Single {
    fn covers(&self, other: &Self) -> bool {
        self.covers(other)
    }

    fn shorter(&self) -> Option<Self> {
        self.bits.checked_sub(1).map(|bits| self.truncated(bits))
    }

    fn around(&self, other: &Self) -> Option<Self> {
        let shorter = self.bits.checked_sub(1).filter(|_| self.is_beside(other))?;
        Some(self.truncated(self.shared(other).min(shorter)))
    }
}

/// The bits of the octet at a place that are among the first `bits`.
fn mask(at: usize, bits: u8) -> u8 {
    let inside = usize::from(bits).saturating_sub(at * usize::from(OCTET)).min(OCTET.into());
    !u8::MAX.checked_shr(u32::try_from(inside).unwrap_or(u32::MAX)).unwrap_or(0)
}

/// `"printer"`, `02:00:5e:00:00:01/48`, in another instance `[5]"printer"`; what is not printable is escaped.
impl fmt::Display for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.iid != 0 {
            write!(f, "[{}]", self.iid)?;
        }
        if self.is_name {
            return write!(f, "\"{}\"", self.text().escape_ascii());
        }
        let [a, b, c, d, e, g, ..] = self.octets;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}/{}", self.bits)
    }
}

impl fmt::Debug for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
