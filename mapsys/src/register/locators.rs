// SPDX-License-Identifier: GPL-2.0-or-later
//! Which locators of a Map-Register are kept: addresses, names and LCAFs of known types, as they came. A Map-Server need not send
//! to what it tells others.

use std::net::{IpAddr, Ipv4Addr};

use wire::address::{Address, EidPrefix, InstanceId, Lcaf};
use wire::control::MapReply;
use wire::record::{LocatorRecord, MapVersion, MappingRecord, Ttl};

use crate::limits::{LOCATOR_OCTETS, LOCATORS};
use crate::refusal::{Refusal, Tally};
use crate::resolve::found::positive;

/// What becomes of a locator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Of an LCAF type that is not known: as if it were not there (RFC 9306, section 3).
    Ignored,
    /// Nothing can be sent to it: no address, or neither unicast nor of more than one link (RFC 9301, section 5.4), nor anything else in it
    /// that says something.
    Unusable,
}

fn fate(locator: &LocatorRecord) -> Fate {
    match &locator.rloc {
        Address::Lcaf(lcaf) if matches!(lcaf.as_ref(), Lcaf::Opaque { .. }) => Fate::Ignored,
        rloc if is_usable(rloc) => Fate::Kept,
        _ => Fate::Unusable,
    }
}

/// Whether it says something: an address that can be sent to, a name, a text, a place or a key, or an LCAF around one of these.
fn is_usable(rloc: &Address) -> bool {
    match rloc {
        Address::None => false,
        Address::V4(a) => !(a.is_multicast() || a.is_broadcast() || a.is_unspecified()),
        Address::V6(a) => !(a.is_multicast() || a.is_unspecified() || a.is_unicast_link_local()),
        Address::Ieee802(_) | Address::Name(_) | Address::Mac(_) => true,
        Address::Lcaf(lcaf) => match lcaf.as_ref() {
            Lcaf::Null | Lcaf::Opaque { .. } => false,
            Lcaf::AfiList(addresses) => addresses.iter().any(is_usable),
            Lcaf::InstanceId { address, .. } | Lcaf::AsNumber { address, .. } => is_usable(address),
            Lcaf::ExplicitLocatorPath(hops) => hops.iter().any(|hop| is_usable(&hop.address)),
            Lcaf::ReplicationList(receivers) => receivers.iter().any(|receiver| is_usable(&receiver.address)),
            Lcaf::NatTraversal(nat) => [&nat.global_etr, &nat.private_etr].into_iter().chain(&nat.rtrs).any(is_usable),
            Lcaf::Geo { .. }
            | Lcaf::Json { .. }
            | Lcaf::SecurityKey { .. }
            | Lcaf::MulticastInfo { .. }
            | Lcaf::SourceDestKey { .. } => true,
        },
    }
}

/// Whether a record takes back what was registered: its TTL is 0, or it has no locators. One whose locators are all ignored is the same
/// (RFC 9306, section 3).
pub(super) fn withdraws(record: &MappingRecord) -> bool {
    record.ttl == Ttl::WITHDRAWN || record.locators.iter().all(|locator| fate(locator) == Fate::Ignored)
}

/// Whether the locators of a record can be kept, and beside those of the `others` if it is to be merged with them.
///
/// # Errors
/// `RegisterNoLocator` if none of them is usable, `RegisterTooManyLocators` if they are more, or longer, than a mapping may have.
pub(super) fn admit<'a>(
    record: &'a MappingRecord,
    others: impl Iterator<Item = &'a LocatorRecord>,
) -> Result<(), Refusal> {
    if withdraws(record) {
        return Ok(());
    }
    let mut all: Vec<&LocatorRecord> = record.locators.iter().filter(|locator| fate(locator) == Fate::Kept).collect();
    if all.is_empty() {
        return Err(Refusal::RegisterNoLocator);
    }
    for other in others {
        if !all.iter().any(|locator| locator.rloc == other.rloc) {
            all.push(other);
        }
    }
    if all.len() > LOCATORS || octets(&all) > LOCATOR_OCTETS {
        return Err(Refusal::RegisterTooManyLocators);
    }
    Ok(())
}

/// Those that are kept; counts the others.
pub(super) fn kept(record: &MappingRecord, tally: &mut Tally) -> Box<[LocatorRecord]> {
    let (kept, left_out): (Vec<_>, Vec<_>) = record.locators.iter().partition(|locator| fate(locator) == Fate::Kept);
    left_out.iter().for_each(|_| tally.count(Refusal::LocatorUnusable));
    kept.into_iter().cloned().collect()
}

/// What they have in a message. Of [`LOCATORS`] IP addresses, which are always within [`LOCATOR_OCTETS`], nothing is counted.
fn octets(locators: &[&LocatorRecord]) -> usize {
    if locators.iter().all(|locator| locator.rloc.ip().is_some()) {
        return 0;
    }
    let length = |locators: Vec<LocatorRecord>| {
        let eid = EidPrefix::host(InstanceId(0), Ipv4Addr::UNSPECIFIED.into());
        let record = positive(eid, Ttl::DEFAULT, MapVersion::default(), locators);
        MapReply { records: vec![record], ..MapReply::default() }.encode().map_or(usize::MAX, |bytes| bytes.len())
    };
    length(locators.iter().map(|locator| (*locator).clone()).collect()).saturating_sub(length(Vec::new()))
}

/// The address of the ETR of a locator: of what is said about an address, that address; of a path, its end; of a list, the first address that
/// can be sent to. Who is on the way, or one of many receivers, does not answer for the site.
pub(super) fn etr_of(rloc: &Address) -> Option<IpAddr> {
    let Address::Lcaf(lcaf) = rloc else { return rloc.ip().filter(|_| is_usable(rloc)) };
    match lcaf.as_ref() {
        Lcaf::AfiList(addresses) => addresses.iter().find_map(etr_of),
        Lcaf::InstanceId { address, .. }
        | Lcaf::AsNumber { address, .. }
        | Lcaf::Geo { address, .. }
        | Lcaf::SecurityKey { address, .. }
        | Lcaf::Json { address, .. } => etr_of(address),
        Lcaf::ExplicitLocatorPath(hops) => hops.last().and_then(|hop| etr_of(&hop.address)),
        _ => None,
    }
}
