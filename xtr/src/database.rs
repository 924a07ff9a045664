// SPDX-License-Identifier: GPL-2.0-or-later
//! The EID-to-RLOC database: the prefixes behind this node and the locators that lead to them (RFC 9300, section 3).

use std::fmt;
use std::net::IpAddr;

use wire::address::{Address, EidPrefix};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

/// One of our own locators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnLocator {
    /// The underlay address.
    pub address: IpAddr,
    /// Lower is better; 255 = never for forwarding.
    pub priority: u8,
    /// Share of the flows among locators of one priority.
    pub weight: u8,
    /// As [`Preference::mpriority`].
    pub mpriority: u8,
    /// As [`Preference::mweight`].
    pub mweight: u8,
}

/// What a locator has beside its address (RFC 9301, section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference {
    /// Lower is better; 255 = never for forwarding.
    pub priority: u8,
    /// Share of the flows among locators of one priority.
    pub weight: u8,
    /// For ETRs that join a multicast tree through this site; 255 = never.
    pub mpriority: u8,
    /// Share of the trees among locators of one multicast priority.
    pub mweight: u8,
}

impl OwnLocator {
    /// One that is never for multicast.
    pub fn new(address: IpAddr, priority: u8, weight: u8) -> Self {
        Preference { priority, weight, ..Preference::default() }.at(address)
    }

    /// What it has beside its address.
    pub fn preference(&self) -> Preference {
        let Self { address: _, priority, weight, mpriority, mweight } = *self;
        Preference { priority, weight, mpriority, mweight }
    }
}

impl Default for Preference {
    fn default() -> Self {
        Self { priority: 1, weight: 100, mpriority: LocatorRecord::UNUSABLE, mweight: 0 }
    }
}

impl Preference {
    /// Of a locator at this address.
    pub fn at(self, address: IpAddr) -> OwnLocator {
        let Self { priority, weight, mpriority, mweight } = self;
        OwnLocator { address, priority, weight, mpriority, mweight }
    }

    /// Whether it says anything of multicast but "never".
    pub fn is_of_multicast(&self) -> bool {
        (self.mpriority, self.mweight) != (LocatorRecord::UNUSABLE, 0)
    }
}

/// In plain words.
impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {}, weight {}", self.priority, self.weight)?;
        if self.is_of_multicast() {
            write!(f, ", multicast priority {}, multicast weight {}", self.mpriority, self.mweight)?;
        }
        Ok(())
    }
}

/// Which bits of a record depend on where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordForm {
    /// A: the record is our answer as an ETR of the site. Zero in a Map-Register.
    pub authoritative: bool,
    /// The locator that was probed, if the record answers a probe.
    pub probed: Option<IpAddr>,
}

/// What this node answers for and registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    prefixes: Vec<EidPrefix>,
    locators: Vec<OwnLocator>,
    /// Addresses of locators that cannot be reached now.
    unreachable: Vec<IpAddr>,
    ttl: Ttl,
    /// Of all mappings, since they have the same locators; null = versions are not used (RFC 9302, section 6.1).
    map_version: MapVersion,
}

impl Database {
    /// All prefixes share the node's locators; both are kept sorted, as records have to be (RFC 9301, section 5.5).
    pub fn new(mut prefixes: Vec<EidPrefix>, mut locators: Vec<OwnLocator>, ttl: Ttl) -> Self {
        prefixes.sort_unstable();
        prefixes.dedup();
        locators.sort_unstable_by_key(|locator| locator.address);
        locators.dedup_by_key(|locator| locator.address);
        Self { prefixes, locators, unreachable: Vec::new(), ttl, map_version: MapVersion(0) }
    }

    /// The same prefixes behind other locators.
    #[must_use]
    pub fn with_locators(&self, locators: Vec<OwnLocator>) -> Self {
        Self::new(self.prefixes.clone(), locators, self.ttl).with_map_version(self.map_version)
    }

    /// The same, with this version of its mappings.
    #[must_use]
    pub fn with_map_version(self, map_version: MapVersion) -> Self {
        Self { map_version, ..self }
    }

    /// The same, with the version that a mapping gets that was as `former` and is as this: the next one if it has changed, its
    /// reachability included unless status bits tell that (RFC 9302, section 7). The version is the mapping's, so prefixes that come
    /// or go leave it as it is.
    #[must_use]
    pub fn succeeding(self, former: &Self, bits_tell_reachability: bool) -> Self {
        let reach = |database: &Self| if bits_tell_reachability { Vec::new() } else { database.unreachable.clone() };
        let has_changed = self.locators != former.locators || reach(&self) != reach(former);
        let version = former.map_version;
        self.with_map_version(if has_changed { version.next() } else { version })
    }

    /// The same, those of its locators that are in `addresses` being out of reach: their addresses are gone, or the links to
    /// them. Replaces the former list.
    #[must_use]
    pub fn with_unreachable(mut self, mut addresses: Vec<IpAddr>) -> Self {
        addresses.sort_unstable();
        self.unreachable = addresses;
        self
    }

    /// With another prefix.
    #[must_use]
    pub fn with_prefix(&self, prefix: EidPrefix) -> Self {
        self.with_prefixes(self.prefixes.iter().copied().chain([prefix]).collect())
    }

    /// Without a prefix.
    #[must_use]
    pub fn without_prefix(&self, prefix: &EidPrefix) -> Self {
        self.with_prefixes(self.prefixes.iter().filter(|other| *other != prefix).copied().collect())
    }

    fn with_prefixes(&self, prefixes: Vec<EidPrefix>) -> Self {
        let unreachable = self.unreachable.clone();
        Self::new(prefixes, self.locators.clone(), self.ttl)
            .with_unreachable(unreachable)
            .with_map_version(self.map_version)
    }

    /// The prefixes, ascending.
    pub fn prefixes(&self) -> &[EidPrefix] {
        &self.prefixes
    }

    /// The locators, IPv4 first, ascending.
    pub fn locators(&self) -> &[OwnLocator] {
        &self.locators
    }

    /// The version of all mappings; null = versions are not used.
    pub fn map_version(&self) -> MapVersion {
        self.map_version
    }

    /// How long others keep our mappings.
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// Whether packets can reach us at this address of ours.
    pub fn is_reachable(&self, address: IpAddr) -> bool {
        !self.unreachable.contains(&address)
    }

    /// The addresses at which we can be reached, IPv4 first.
    pub fn rlocs(&self) -> Vec<IpAddr> {
        self.reachable().map(|locator| locator.address).collect()
    }

    /// Whether there is one at which we can be reached.
    pub fn has_rlocs(&self) -> bool {
        self.reachable().next().is_some()
    }

    /// The addresses at which we can be reached, the preferred ones first.
    pub fn preferred_rlocs(&self) -> Vec<IpAddr> {
        let mut locators: Vec<_> = self.reachable().collect();
        locators.sort_by_key(|locator| locator.priority);
        locators.iter().map(|locator| locator.address).collect()
    }

    fn reachable(&self) -> impl Iterator<Item = &OwnLocator> {
        self.locators.iter().filter(|locator| self.is_reachable(locator.address))
    }

    /// The best match for `asked`, then every prefix of ours that is more specific than that match; empty if `asked` is
    /// not ours (RFC 9301, section 5.5). Of one that has become several, as those who have it cached ask, it is the best match for its first
    /// address: by that a Map-Server chooses the ETR, and what it vouches for.
    pub fn answer(&self, asked: &EidPrefix) -> Vec<EidPrefix> {
        let first = EidPrefix::host(asked.iid, asked.net.network());
        let match_for = |eid: &EidPrefix| {
            let covering = self.prefixes.iter().filter(|own| own.covers(eid));
            covering.max_by_key(|own| own.net.prefix_len())
        };
        let Some(best) = match_for(asked).or_else(|| match_for(&first)) else { return Vec::new() };
        let inside = self.prefixes.iter().filter(|own| best.covers(own) && *own != best);
        std::iter::once(best).chain(inside).copied().collect()
    }

    /// Whether `prefix` shares addresses with one of ours.
    pub fn overlaps(&self, prefix: &EidPrefix) -> bool {
        self.prefixes.iter().any(|own| own.covers(prefix) || prefix.covers(own))
    }

    /// The record of one of our prefixes.
    pub fn record(&self, prefix: EidPrefix, form: RecordForm) -> MappingRecord {
        let locator = |own: &OwnLocator| LocatorRecord {
            priority: own.priority,
            weight: own.weight,
            mpriority: own.mpriority,
            mweight: own.mweight,
            local: true,
            probed: form.probed == Some(own.address),
            // R: a route leads to it (RFC 9301, section 5.4).
            reachable: self.is_reachable(own.address),
            rloc: Address::from(own.address),
        };
        MappingRecord {
            ttl: self.ttl,
            action: Action::NoAction,
            authoritative: form.authoritative,
            map_version: self.map_version,
            eid: prefix.into(),
            locators: self.locators.iter().map(locator).collect(),
        }
    }
}

/// The record that takes a registration back: TTL 0 and no locators (RFC 9301 has no other way).
pub fn withdrawal(prefix: EidPrefix) -> MappingRecord {
    MappingRecord {
        ttl: Ttl::WITHDRAWN,
        action: Action::NoAction,
        authoritative: false,
        map_version: MapVersion::default(),
        eid: prefix.into(),
        locators: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::address::InstanceId;

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    #[test]
    fn an_answer_is_the_best_match_and_what_lies_under_it() {
        let own = ["2001:db8:1::/48", "2001:db8:1:1::/64", "2001:db8:1:2::/64", "2001:db8:9::/48"];
        let database = Database::new(own.map(prefix).to_vec(), vec![], Ttl::DEFAULT);
        assert_eq!(
            database.answer(&prefix("2001:db8:1:5::5/128")),
            own[..3].iter().map(|p| prefix(p)).collect::<Vec<_>>()
        );
        assert_eq!(database.answer(&prefix("2001:db8:1:1::1/128")), [prefix("2001:db8:1:1::/64")]);
        assert_eq!(database.answer(&prefix("2001:db8:7::/48")), []);
        assert_eq!(database.answer(&prefix("2001:db8::/32")), [], "its first address is not ours");
        let parts = ["2001:db8::/49", "2001:db8::/50", "2001:db8:0:8000::/49"];
        let database = Database::new(parts.map(prefix).to_vec(), vec![], Ttl::DEFAULT);
        assert_eq!(
            database.answer(&prefix("2001:db8::/48")),
            [prefix("2001:db8::/50")],
            "what was one has become several"
        );
        assert_eq!(database.answer(&EidPrefix { iid: InstanceId(5), ..prefix("2001:db8:1::/48") }), []);
    }

    #[test]
    fn a_change_of_the_mapping_makes_the_next_version_and_nothing_else_does() {
        let locator = |text: &str| OwnLocator::new(text.parse().unwrap(), 1, 100);
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(locator);
        let first = Database::new(vec![prefix("10.0.0.0/8")], vec![one, two], Ttl::DEFAULT);
        let at = |version| first.clone().with_map_version(MapVersion(version));
        let after = |former: &Database, newer: Database| newer.succeeding(former, false).map_version();
        assert_eq!(after(&at(7), at(7).with_locators(vec![two, one])), MapVersion(7), "the order given is none");
        assert_eq!(after(&at(7), at(7).with_locators(vec![one])), MapVersion(8));
        assert_eq!(after(&at(4095), at(4095).with_locators(vec![one])), MapVersion(1), "0 is no version");
        assert_eq!(after(&at(0), at(0).with_locators(vec![one])), MapVersion(0), "none is invented");
        let weighed = OwnLocator { weight: 1, ..one };
        assert_eq!(after(&at(7), at(7).with_locators(vec![weighed, two])), MapVersion(8));
        let lost = at(7).with_unreachable(vec![one.address]);
        assert_eq!(after(&at(7), lost.clone()), MapVersion(8));
        assert_eq!(lost.succeeding(&at(7), true).map_version(), MapVersion(7), "status bits say it");
        assert_eq!(at(7).with_prefix(prefix("11.0.0.0/8")).map_version(), MapVersion(7));
        let form = RecordForm { authoritative: false, probed: None };
        assert_eq!(at(7).record(prefix("10.0.0.0/8"), form).map_version, MapVersion(7));
    }

    #[test]
    fn a_record_has_what_each_locator_says_of_multicast() {
        let [own, other] = ["192.0.2.1", "192.0.2.2"].map(|text| OwnLocator::new(text.parse().unwrap(), 1, 100));
        let own = OwnLocator { mpriority: 3, mweight: 40, ..own };
        let database = Database::new(vec![prefix("10.0.0.0/8")], vec![own, other], Ttl::DEFAULT);
        let record = database.record(prefix("10.0.0.0/8"), RecordForm { authoritative: true, probed: None });
        let said: Vec<_> = record.locators.iter().map(|locator| (locator.mpriority, locator.mweight)).collect();
        assert_eq!(said, [(3, 40), (255, 0)]);
        let at = database.clone().with_map_version(MapVersion(7));
        let changed = at.with_locators(vec![other, OwnLocator { mweight: 41, ..own }]);
        assert_eq!(changed.succeeding(&at, false).map_version(), MapVersion(8), "it is another mapping");
    }

    #[test]
    fn locators_are_sorted_with_ipv4_first() {
        let locator = |text: &str| OwnLocator::new(text.parse().unwrap(), 1, 100);
        let database = Database::new(
            vec![prefix("10.0.0.0/8")],
            vec![locator("2001:db8::1"), locator("192.0.2.9"), locator("192.0.2.1")],
            Ttl::DEFAULT,
        );
        let rlocs: Vec<_> = database.rlocs().iter().map(ToString::to_string).collect();
        assert_eq!(rlocs, ["192.0.2.1", "192.0.2.9", "2001:db8::1"]);
    }
}
