// SPDX-License-Identifier: GPL-2.0-or-later
//! What is registered, as it is kept on disk: one row an EID, and in it for each xTR the Map-Register that would say the same again,
//! without a tag, beside what came with it that no Map-Register says.
//!
//! ```text
//! format 1 ‖ newest Map-Version 2 ‖ octets of the site's name 2 ‖ the name ‖ for each part:
//!   end 4 ‖ source ‖ number of ways through RTRs 1 ‖ the ways ‖ has a reach 1 ‖ the reach ‖ octets of the Map-Register 2 ‖ the Map-Register
//! ```
//! The format is 1; rows of another are not read. An address is its family (0, 4 or 6), its octets, and its port; numbers are in network byte order.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use wire::control::MapRegister;
use wire::control::auth::{Algorithm, AlgorithmId, Authentication, TagForm};
use wire::record::{Action, MapVersion, MappingRecord, Ttl};

use super::label::{AnyEid, Spelling};
use super::notifier::Reach;
use super::registration::{Part, Registration};
use crate::limits::{REGISTRATION_SILENCE, RELAYS};
use crate::nat::{Relay, Relays};

/// When a part that was registered with T ends: by the age of the state, in seconds of all runs and between them.
pub type End = NonZeroU32;

/// How rows are written.
const FORMAT: u8 = 1;

/// A registration as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The EID.
    pub eid: AnyEid,
    /// Name of its site.
    pub site: String,
    /// The newest version of all its parts, also of those that have left.
    pub newest: MapVersion,
    /// What each of its xTRs registered.
    pub parts: Vec<KeptPart>,
}

/// What one xTR registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPart {
    /// A Map-Register of one record that says the same.
    pub message: MapRegister,
    /// Its end, if it has one of its own.
    pub ends: Option<End>,
    /// Where it came from.
    pub source: Option<SocketAddr>,
    /// By which ways through RTRs.
    pub relays: Relays,
    /// How its xTR is told of changes that others make.
    pub reach: Option<Reach>,
}

/// The end that is kept of a part that ends after `life` from an age of the state on. It is later than that, and the same for all Map-Registers
/// of an eighth of the time: a refresh a minute that changes nothing is then no write a minute. Not all EIDs have it renewed at once.
pub fn end(eid: &AnyEid, age: Duration, life: Duration) -> End {
    let step = (life / 8).max(REGISTRATION_SILENCE).as_secs();
    let mut hasher = DefaultHasher::new();
    eid.hash(&mut hasher);
    let offset = hasher.finish() % step;
    let true_end = (age + life).as_secs();
    let end = (true_end + offset).div_ceil(step).saturating_mul(step).saturating_sub(offset);
    End::new(u32::try_from(end).unwrap_or(u32::MAX)).unwrap_or(End::MIN)
}

/// The row of a registration; `None` if it cannot be written, which nothing that was read is.
pub fn encode(eid: AnyEid, site: &str, entry: &Registration) -> Option<Box<[u8]>> {
    let mut row = head(entry.newest(), site)?;
    for part in entry.parts() {
        let (source, relays) = (part.source.map(SocketAddr::from), part.relays.as_deref().copied());
        let (relays, reach) = (relays.unwrap_or_default(), part.reach.as_deref().copied());
        put_part(&mut row, &KeptPart { message: message(eid, part), ends: part.ends, source, relays, reach })?;
    }
    Some(row.into())
}

/// The row of what has ended, and may be registered anew: of one xTR that has nothing registered. Whoever reads it takes up nothing, however much
/// time has gone by.
pub fn encode_lapsed(eid: AnyEid, site: &str) -> Option<Box<[u8]>> {
    let mut row = head(MapVersion::default(), site)?;
    let record = MappingRecord::negative(eid, Ttl::WITHDRAWN, Action::NoAction);
    let message = MapRegister { records: vec![record], ..MapRegister::default() };
    put_part(&mut row, &KeptPart { message, ends: None, source: None, relays: Relays::default(), reach: None })?;
    Some(row.into())
}

/// Reads a row; `None` if it is none of ours.
pub fn decode(row: &[u8]) -> Option<Kept> {
    let mut rest = Octets(row);
    if rest.array() != Some([FORMAT]) {
        return None;
    }
    let newest = MapVersion(u16::from_be_bytes(rest.array()?));
    let site = String::from_utf8(rest.counted()?.to_vec()).ok()?;
    let (mut parts, mut eid) = (Vec::new(), None);
    while !rest.0.is_empty() {
        let ends = End::new(u32::from_be_bytes(rest.array()?));
        let (source, relays, reach) = (rest.socket()?, rest.relays()?, rest.reach()?);
        let message = MapRegister::decode(rest.counted()?).ok()?;
        let [record] = message.records.as_slice() else { return None };
        let of = AnyEid::of(&record.eid)?;
        if eid.is_some_and(|eid| eid != of) {
            return None;
        }
        eid = Some(of);
        parts.push(KeptPart { message, ends, source, relays, reach });
    }
    Some(Kept { eid: eid?, site, newest, parts })
}

fn message(eid: AnyEid, part: &Part) -> MapRegister {
    let record = MappingRecord {
        ttl: part.ttl,
        action: Action::NoAction,
        authoritative: true,
        map_version: part.map_version,
        eid: eid.into(),
        locators: part.locators.to_vec(),
    };
    MapRegister {
        proxy_reply: part.proxy,
        security_capable: part.security,
        use_ttl: part.ends.is_some(),
        merge: part.reach.is_some(),
        auth: Authentication { key_id: part.key_id, ..Authentication::default() },
        records: vec![record],
        xtr_identity: part.identity.as_deref().copied(),
        ..MapRegister::default()
    }
}

/// What stands before the parts.
fn head(newest: MapVersion, site: &str) -> Option<Vec<u8>> {
    let mut row = Vec::with_capacity(128);
    row.push(FORMAT);
    row.extend(newest.0.to_be_bytes());
    put_counted(&mut row, site.as_bytes())?;
    Some(row)
}

fn put_part(row: &mut Vec<u8>, part: &KeptPart) -> Option<()> {
    let KeptPart { message, ends, source, relays, reach } = part;
    row.extend(ends.map_or(0, End::get).to_be_bytes());
    put_socket(row, *source);
    put_relays(row, relays);
    put_reach(row, reach.as_ref());
    put_counted(row, &message.encode().ok()?)
}

fn put_counted(row: &mut Vec<u8>, octets: &[u8]) -> Option<()> {
    row.extend(u16::try_from(octets.len()).ok()?.to_be_bytes());
    row.extend(octets);
    Some(())
}

fn put_address(row: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            row.push(4);
            row.extend(address.octets());
        }
        IpAddr::V6(address) => {
            row.push(6);
            row.extend(address.octets());
        }
    }
}

fn put_socket(row: &mut Vec<u8>, socket: Option<SocketAddr>) {
    match socket {
        None => row.push(0),
        Some(socket) => {
            put_address(row, socket.ip());
            row.extend(socket.port().to_be_bytes());
        }
    }
}

fn put_relays(row: &mut Vec<u8>, relays: &Relays) {
    row.push(u8::try_from(relays.iter().count()).unwrap_or(0));
    for Relay { rtr, xtr, server, local } in relays.iter() {
        put_address(row, rtr);
        put_address(row, xtr);
        put_socket(row, Some(server));
        put_socket(row, Some(local));
    }
}

/// Without the ways through RTRs, which the part has.
fn put_reach(row: &mut Vec<u8>, reach: Option<&Reach>) {
    row.push(u8::from(reach.is_some()));
    let Some(Reach { local, remote, key_id, algorithm, form, spelling, .. }) = reach else { return };
    put_socket(row, Some(*local));
    put_socket(row, Some(*remote));
    let is_whole = *form == TagForm::Untruncated;
    let flags = [is_whole, spelling.counts_nul, spelling.is_ieee_802].map(u8::from);
    row.extend([*key_id, algorithm.id().0]);
    row.extend(flags);
}

/// What is left of a row.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = u16::from_be_bytes(self.array()?);
        let (octets, rest) = self.0.split_at_checked(count.into())?;
        self.0 = rest;
        Some(octets)
    }

    fn flag(&mut self) -> Option<bool> {
        let [octet] = self.array()?;
        Some(octet != 0)
    }

    /// `None` inside if there is no address.
    fn address(&mut self) -> Option<Option<IpAddr>> {
        let [family] = self.array()?;
        Some(match family {
            4 => Some(IpAddr::from(self.array::<4>()?)),
            6 => Some(IpAddr::from(self.array::<16>()?)),
            0 => None,
            _ => return None,
        })
    }

    fn socket(&mut self) -> Option<Option<SocketAddr>> {
        let Some(address) = self.address()? else { return Some(None) };
        Some(Some(SocketAddr::new(address, u16::from_be_bytes(self.array()?))))
    }

    fn relays(&mut self) -> Option<Relays> {
        let [count] = self.array()?;
        let mut relays = Vec::new();
        for _ in 0..count {
            let (rtr, xtr) = (self.address()??, self.address()??);
            relays.push(Relay { rtr, xtr, server: self.socket()??, local: self.socket()?? });
        }
        // The last one comes first.
        let in_turn = relays.into_iter().take(RELAYS).rev();
        Some(in_turn.fold(Relays::default(), Relays::led_by))
    }

    fn reach(&mut self) -> Option<Option<Reach>> {
        if !self.flag()? {
            return Some(None);
        }
        let (local, remote) = (self.socket()??, self.socket()??);
        let [key_id, algorithm] = self.array()?;
        let algorithm = Algorithm::from_id(AlgorithmId(algorithm))?;
        let form = if self.flag()? { TagForm::Untruncated } else { TagForm::Truncated };
        let spelling = Spelling { counts_nul: self.flag()?, is_ieee_802: self.flag()? };
        Some(Some(Reach { local, remote, relays: Relays::default(), key_id, algorithm, form, spelling }))
    }
}
