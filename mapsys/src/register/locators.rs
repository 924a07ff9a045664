// SPDX-License-Identifier: GPL-2.0-or-later
//! Which locators of a Map-Register are kept: addresses, names and LCAFs of known types, as they came. A Map-Server need not send
//! to what it tells others.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use wire::address::{Address, EidPrefix, InstanceId, Lcaf};
use wire::control::MapReply;
use wire::record::{LocatorRecord, MapVersion, MappingRecord, Ttl};

use crate::limits::{LOCATOR_OCTETS, LOCATORS};
use crate::refusal::{Refusal, Tally};
use crate::resolve::found::positive;

/// IPv4's groups of one link (RFC 5771, section 4).
const LINK_LOCAL_GROUPS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 24);
/// The scope of a group of IPv6 in its first 16 bits, and the widest one of one link (RFC 4291, section 2.7).
const SCOPE: u16 = 0xf;
const LINK_SCOPE: u16 = 2;

/// What becomes of a locator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Of an LCAF type that is not known: as if it were not there (RFC 9306, section 3).
    Ignored,
    /// Nothing can be sent to it: no address, or none of more than one link, or a multicast address of an EID that is no group (RFC 9301,
    /// section 5.4), nor anything else in it that says something.
    Unusable,
}

/// What a mapping leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Unicast,
    /// A multicast group, whose locators may be groups of the underlay (RFC 8378, section 7.4).
    Group,
}

impl Of {
    fn record(record: &MappingRecord) -> Self {
        match &record.eid.address {
            Address::Lcaf(lcaf) if matches!(lcaf.as_ref(), Lcaf::MulticastInfo { .. }) => Self::Group,
            _ => Self::Unicast,
        }
    }

    fn fate(self, locator: &LocatorRecord) -> Fate {
        match &locator.rloc {
            Address::Lcaf(lcaf) if matches!(lcaf.as_ref(), Lcaf::Opaque { .. }) => Fate::Ignored,
            rloc if self.is_usable(rloc) => Fate::Kept,
            _ => Fate::Unusable,
        }
    }

    /// Whether it says something: an address that can be sent to, a name, a text, a place or a key, or an LCAF around one of these.
    fn is_usable(self, rloc: &Address) -> bool {
        let is_usable = |address: &Address| self.is_usable(address);
        match rloc {
            Address::None => false,
            Address::V4(a) if a.is_multicast() => self == Self::Group && !LINK_LOCAL_GROUPS.contains(a),
            Address::V4(a) => !(a.is_broadcast() || a.is_unspecified()),
            Address::V6(a) if a.is_multicast() => self == Self::Group && a.segments()[0] & SCOPE > LINK_SCOPE,
            Address::V6(a) => !(a.is_unspecified() || a.is_unicast_link_local()),
            Address::Ieee802(_) | Address::Name(_) | Address::Mac(_) => true,
            Address::Lcaf(lcaf) => match lcaf.as_ref() {
                Lcaf::Null | Lcaf::Opaque { .. } => false,
                Lcaf::AfiList(addresses) => addresses.iter().any(is_usable),
                Lcaf::InstanceId { address, .. } | Lcaf::AsNumber { address, .. } => is_usable(address),
                Lcaf::ExplicitLocatorPath(hops) => hops.iter().any(|hop| is_usable(&hop.address)),
                Lcaf::ReplicationList(receivers) => receivers.iter().any(|receiver| is_usable(&receiver.address)),
                Lcaf::NatTraversal(nat) => {
                    [&nat.global_etr, &nat.private_etr].into_iter().chain(&nat.rtrs).any(is_usable)
                }
                Lcaf::Geo { .. }
                | Lcaf::Json { .. }
                | Lcaf::SecurityKey { .. }
                | Lcaf::MulticastInfo { .. }
                | Lcaf::SourceDestKey { .. } => true,
            },
        }
    }
}

/// Whether a record takes back what was registered: its TTL is 0, or it has no locators. One whose locators are all ignored is the same
/// (RFC 9306, section 3).
pub(super) fn withdraws(record: &MappingRecord) -> bool {
    let of = Of::record(record);
    record.ttl == Ttl::WITHDRAWN || record.locators.iter().all(|locator| of.fate(locator) == Fate::Ignored)
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
    let of = Of::record(record);
    let mut all: Vec<&LocatorRecord> =
        record.locators.iter().filter(|locator| of.fate(locator) == Fate::Kept).collect();
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
    let of = Of::record(record);
    let (kept, left_out): (Vec<_>, Vec<_>) = record.locators.iter().partition(|locator| of.fate(locator) == Fate::Kept);
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
    let Address::Lcaf(lcaf) = rloc else { return rloc.ip().filter(|_| Of::Unicast.is_usable(rloc)) };
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
