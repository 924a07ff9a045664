// SPDX-License-Identifier: GPL-2.0-or-later
//! INDEX: what a trust anchor (or whom it delegated to) knows about the prefixes inside one covering prefix.
//!
//! TLV 0701 is the covering prefix, written as in the key. TLV 0702 is packed; absent when the page is empty:
//!
//! ```text
//! +-------------+--------------------------+----------------------------------
//! | CN count 1  |  CNs, 12 octets each ..  |  entries, until the end ..
//! +-------------+--------------------------+----------------------------------
//!
//! entry:
//! +---+-----+-----+---------+-------------------------+-----------------------------------------------
//! |kind|rsvd| n   | plen 1  | address octets          | SITE:  max-plen 1 | n CN indexes, 1 each
//! | 2  | 3  | 3   |         | ⌊cover/8⌋ .. ⌈plen/8⌉   | DELEG: CN index 1 | lowest acceptable sequence 8
//! +---+-----+-----+---------+-------------------------+ PAGE:  lowest acceptable sequence 8
//! ```
//! kind: 0 SITE, 1 DELEG, 2 PAGE; n: registrars of a SITE (1 to 4), else 0. CNs ascend and each is used; entries ascend by
//! (address, plen), one for each prefix. Octets of the address that the covering prefix fixes whole are left out, so that a
//! /48 site under a /32 takes 6 octets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cgeid::Cn;
use wire::EncodeError;
use wire::address::EidPrefix;

use super::mapping::once;
use super::reader::{Reader, exact_prefix, octets, write_prefix};
use super::tlv::{self, Tlv};
use crate::error::Malformed;
use crate::limits;

/// TLV types of INDEX.
mod kind {
    pub(super) const COVERING: u16 = 0x0701;
    pub(super) const ENTRIES: u16 = 0x0702;
}

/// Head octet of an entry.
mod head {
    pub(super) const SITE: u8 = 0;
    pub(super) const DELEGATION: u8 = 1;
    pub(super) const PAGE: u8 = 2;
    pub(super) const KIND_SHIFT: u32 = 6;
    pub(super) const COUNT_MASK: u8 = 0x07;
    pub(super) const RESERVED_MASK: u8 = 0x38;
}

/// What a page says about one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A site: its registrars sign PREFIX sections for it.
    Site {
        /// One to four, each once.
        registrars: BTreeSet<Cn>,
        /// Longest more-specific that is taken from the registrars; equal to the site's own length if none are.
        max_plen: u8,
    },
    /// Another writer's page goes on from here.
    Delegation {
        /// That writer.
        child: Cn,
        /// Lowest sequence of its page that is acceptable.
        lowest: u64,
    },
    /// A page of the same writer goes on from here.
    Page {
        /// Lowest sequence of that page that is acceptable.
        lowest: u64,
    },
}

impl Target {
    /// The CNs that it names.
    pub(crate) fn named(&self) -> Vec<Cn> {
        match self {
            Self::Site { registrars, .. } => registrars.iter().copied().collect(),
            Self::Delegation { child, .. } => vec![*child],
            Self::Page { .. } => Vec::new(),
        }
    }
}

/// One entry of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The prefix, inside the covering prefix of the page.
    pub prefix: EidPrefix,
    /// What is said about it.
    pub target: Target,
}

impl Entry {
    /// Octets that it takes in a page about `covering`, without the CNs that it names.
    pub(crate) fn packed_len(&self, covering: &EidPrefix) -> usize {
        let rest = match &self.target {
            Target::Site { registrars, .. } => 1 + registrars.len(),
            Target::Delegation { .. } => 1 + 8,
            Target::Page { .. } => 8,
        };
        2 + suffix(covering, self.prefix.net.prefix_len()).len() + rest
    }
}

/// The body of an INDEX section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    covering: EidPrefix,
    entries: Vec<Entry>,
    unknown: Vec<Tlv>,
}

impl Index {
    /// A page; entries in any order.
    ///
    /// # Errors
    /// When an entry lies outside `covering`, occurs twice, or says what the format cannot.
    pub fn new(covering: EidPrefix, mut entries: Vec<Entry>) -> Result<Self, Malformed> {
        entries.sort_by_key(|entry| (entry.prefix.net.addr(), entry.prefix.net.prefix_len()));
        if entries.windows(2).any(|pair| pair[0].prefix == pair[1].prefix) {
            return Err(Malformed::TooMany("index entry"));
        }
        for entry in &entries {
            check(&covering, entry)?;
        }
        Ok(Self { covering, entries, unknown: Vec::new() })
    }

    /// The prefix that the page is about.
    pub fn covering(&self) -> EidPrefix {
        self.covering
    }

    /// The entries, ascending by (address, length).
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The longest entry that covers `eid`.
    pub fn longest(&self, eid: &EidPrefix) -> Option<&Entry> {
        self.entries.iter().filter(|entry| entry.prefix.covers(eid)).max_by_key(|entry| entry.prefix.net.prefix_len())
    }

    /// The octets of the body: what two versions of a page that say the same have in common.
    pub(crate) fn octets(&self) -> Result<Vec<u8>, EncodeError> {
        tlv::encode(self.tlvs()?)
    }

    pub(crate) fn tlvs(&self) -> Result<Vec<Tlv>, EncodeError> {
        let mut covering = Vec::new();
        write_prefix(&mut covering, &self.covering);
        let mut tlvs = self.unknown.clone();
        tlvs.push(Tlv::new(kind::COVERING, covering));
        if !self.entries.is_empty() {
            tlvs.push(Tlv::new(kind::ENTRIES, self.pack()?));
        }
        Ok(tlvs)
    }

    pub(crate) fn from_tlvs(tlvs: Vec<Tlv>) -> Result<Self, Malformed> {
        let (mut covering, mut packed) = (None, None);
        let mut unknown = Vec::new();
        for tlv in tlvs {
            match tlv.kind {
                kind::COVERING => {
                    let mut reader = Reader(&tlv.value);
                    once(&mut covering, "covering prefix", reader.prefix("covering prefix")?)?;
                    reader.finish("covering prefix")?;
                }
                kind::ENTRIES => once(&mut packed, "index entries", tlv.value)?,
                _ => unknown.push(tlv.kept()?),
            }
        }
        let covering = covering.ok_or(Malformed::Missing("covering prefix"))?;
        let entries = packed.map_or(Ok(Vec::new()), |packed| unpack(&covering, &packed))?;
        Ok(Self { unknown, ..Self::new(covering, entries)? })
    }

    fn pack(&self) -> Result<Vec<u8>, EncodeError> {
        let table: BTreeSet<Cn> = self.entries.iter().flat_map(|entry| entry.target.named()).collect();
        let table: Vec<Cn> = table.into_iter().collect();
        let count = u8::try_from(table.len()).map_err(|_| EncodeError {
            field: "index CN table",
            count: table.len(),
            limit: u8::MAX.into(),
        })?;
        let mut out = vec![count];
        out.extend(table.iter().flat_map(|cn| cn.0));
        for entry in &self.entries {
            pack_entry(&mut out, &self.covering, entry, &table);
        }
        Ok(out)
    }
}

/// What the format, and the way a resolver walks, ask of an entry.
fn check(covering: &EidPrefix, entry: &Entry) -> Result<(), Malformed> {
    if !covering.covers(&entry.prefix) {
        return Err(Malformed::Value("index entry prefix", entry.prefix.net.prefix_len().into()));
    }
    let plen = entry.prefix.net.prefix_len();
    match &entry.target {
        Target::Site { registrars, .. } if registrars.is_empty() => Err(Malformed::Missing("registrar")),
        Target::Site { registrars, .. } if registrars.len() > limits::REGISTRARS => {
            Err(Malformed::TooMany("registrar"))
        }
        Target::Site { max_plen, .. } if *max_plen < plen || *max_plen > entry.prefix.net.max_prefix_len() => {
            Err(Malformed::Value("max-plen", (*max_plen).into()))
        }
        // A sub-page of the same length is the page itself.
        Target::Page { .. } if plen <= covering.net.prefix_len() => Err(Malformed::Value("sub-page", plen.into())),
        _ => Ok(()),
    }
}

fn pack_entry(out: &mut Vec<u8>, covering: &EidPrefix, entry: &Entry, table: &[Cn]) {
    // Fits: the table has at most 255 CNs, and each CN of an entry is in it.
    let index = |cn: &Cn| table.binary_search(cn).ok().and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX);
    let cns = entry.target.named();
    let (kind, count) = match &entry.target {
        Target::Site { .. } => (head::SITE, cns.len()),
        Target::Delegation { .. } => (head::DELEGATION, 0),
        Target::Page { .. } => (head::PAGE, 0),
    };
    let plen = entry.prefix.net.prefix_len();
    out.push(kind << head::KIND_SHIFT | u8::try_from(count).unwrap_or(head::COUNT_MASK) & head::COUNT_MASK);
    out.push(plen);
    out.extend_from_slice(&octets(entry.prefix.net.addr())[suffix(covering, plen)]);
    match &entry.target {
        Target::Site { max_plen, .. } => {
            out.push(*max_plen);
            out.extend(cns.iter().map(index));
        }
        Target::Delegation { child, lowest } => {
            out.push(index(child));
            out.extend_from_slice(&lowest.to_be_bytes());
        }
        Target::Page { lowest } => out.extend_from_slice(&lowest.to_be_bytes()),
    }
}

/// Which octets of an address an entry writes.
fn suffix(covering: &EidPrefix, plen: u8) -> std::ops::Range<usize> {
    let end = usize::from(plen).div_ceil(8);
    usize::from(covering.net.prefix_len() / 8).min(end)..end
}

/// Reads the packed entries. Their order, and that of the table, is left to the comparison with the canonical form.
fn unpack(covering: &EidPrefix, packed: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader(packed);
    let count = reader.u8("index CN count")?;
    let table: Vec<Cn> = (0..count).map(|_| reader.array("index CN").map(Cn)).collect::<Result<_, _>>()?;
    let mut entries = Vec::new();
    while !reader.is_empty() {
        entries.push(unpack_entry(&mut reader, covering, &table)?);
    }
    Ok(entries)
}

fn unpack_entry(reader: &mut Reader<'_>, covering: &EidPrefix, table: &[Cn]) -> Result<Entry, Malformed> {
    const FIELD: &str = "index entry";
    let cn = |reader: &mut Reader<'_>| {
        let at = reader.u8("index CN reference")?;
        table.get(usize::from(at)).copied().ok_or(Malformed::Value("index CN reference", at.into()))
    };
    let first = reader.u8(FIELD)?;
    let (kind, count) = (first >> head::KIND_SHIFT, first & head::COUNT_MASK);
    if first & head::RESERVED_MASK != 0 || (kind != head::SITE && count != 0) {
        return Err(Malformed::Value(FIELD, first.into()));
    }
    let prefix = unpack_prefix(reader, covering)?;
    let target = match kind {
        head::SITE => {
            let max_plen = reader.u8("max-plen")?;
            let registrars = (0..count).map(|_| cn(reader)).collect::<Result<_, _>>()?;
            Target::Site { registrars, max_plen }
        }
        head::DELEGATION => Target::Delegation { child: cn(reader)?, lowest: reader.u64("lowest sequence")? },
        head::PAGE => Target::Page { lowest: reader.u64("lowest sequence")? },
        other => return Err(Malformed::Value("index entry kind", other.into())),
    };
    Ok(Entry { prefix, target })
}

fn unpack_prefix(reader: &mut Reader<'_>, covering: &EidPrefix) -> Result<EidPrefix, Malformed> {
    const FIELD: &str = "index entry prefix";
    let plen = reader.u8(FIELD)?;
    if plen > covering.net.max_prefix_len() {
        return Err(Malformed::Value(FIELD, plen.into()));
    }
    let range = suffix(covering, plen);
    let mut address = octets(covering.net.addr());
    address[range.clone()].copy_from_slice(reader.take(FIELD, range.len())?);
    let address: IpAddr = match <[u8; 4]>::try_from(&address[..]) {
        Ok(v4) => v4.into(),
        Err(_) => <[u8; 16]>::try_from(&address[..]).map_err(|_| Malformed::Length(FIELD, address.len()))?.into(),
    };
    exact_prefix(covering.iid, address, plen).ok_or(Malformed::NotCanonical(FIELD))
}
