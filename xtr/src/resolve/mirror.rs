// SPDX-License-Identifier: GPL-2.0-or-later
//! What the control half had the packet half install: for SMRs, for refreshes, and for `show map-cache`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Bound, RangeInclusive};
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net};
use wire::address::{EidPrefix, InstanceId};
use wire::record::{Action, LocatorRecord, MapVersion};

use super::limits;
use super::policy::Accepted;
use crate::map_cache::{Entry, Forwarding, Locator};
use crate::transport::Via;

/// A mapping as installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Address and record of each locator in use.
    pub locators: Vec<(IpAddr, LocatorRecord)>,
    /// Where in the record each of them stood, if some that stood there are not in use (RFC 9300, section 10, numbers them all).
    ordinals: Option<Box<[u8]>>,
    /// What is done without locators.
    pub action: Action,
    /// Version of the mapping; null = it has none (RFC 9302).
    pub map_version: MapVersion,
    /// When the packet half forgets it.
    pub expires: Instant,
    /// When it came.
    pub since: Instant,
    /// From whom it came: the map system in this process, a Map-Resolver, or an ETR to which a Map-Server forwarded the request.
    pub from: Via,
    /// Whether LISP-SEC has proven it (RFC 9303, section 6.9).
    pub secured: bool,
}

impl Installed {
    /// Where in the record the locator at `index` stood, from 0: its locator-status-bit.
    pub fn ordinal(&self, index: usize) -> u8 {
        let own = || u8::try_from(index).unwrap_or(u8::MAX);
        self.ordinals.as_ref().map_or_else(own, |ordinals| ordinals.get(index).copied().unwrap_or(u8::MAX))
    }

    /// The entry of the packet half, for what is left of its life.
    pub fn entry(&self) -> Entry {
        let forwarding = if self.locators.is_empty() {
            Forwarding::Negative(self.action)
        } else {
            Forwarding::Locators(self.locators.iter().filter_map(|(_, locator)| Locator::usable(locator)).collect())
        };
        Entry { forwarding, expires: self.expires }
    }
}

/// Where in the record the locators that are used stood, unless it has no others.
fn ordinals(accepted: &Accepted<'_>) -> Option<Box<[u8]>> {
    let all = &accepted.record.locators;
    if all.len() == accepted.locators.len() {
        return None;
    }
    let place = |used: &LocatorRecord| all.iter().position(|locator| std::ptr::eq(locator, used));
    let ordinal = |used: &LocatorRecord| place(used).and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
    Some(accepted.locators.iter().map(|(_, locator)| ordinal(locator)).collect())
}

/// The installed mappings, in order of prefix.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    entries: BTreeMap<EidPrefix, Installed>,
    /// Each locator that packets may go to, with each prefix that has it.
    users: BTreeSet<(IpAddr, EidPrefix)>,
    /// Those without locators.
    negatives: BTreeSet<EidPrefix>,
    /// Those with locators that hold for a part of what their record says.
    narrowed: BTreeSet<EidPrefix>,
    /// When expired entries were last looked for.
    swept: Option<Instant>,
}

impl Mirror {
    /// Remembers what was installed. When the table is full the packet half still has the entry; it merely is not listed,
    /// nor refreshed by an SMR. Entries without locators, which a scan makes many of, never take the place of others.
    pub(super) fn insert(&mut self, now: Instant, from: Via, accepted: &Accepted<'_>) {
        self.remove(&accepted.prefix);
        let is_negative = accepted.is_negative();
        let is_due = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= limits::SWEEP_INTERVAL);
        if !self.has_room(is_negative) && is_due {
            self.swept = Some(now);
            let expired = self.entries.iter().filter(|(_, installed)| installed.expires <= now);
            for prefix in expired.map(|(prefix, _)| *prefix).collect::<Vec<_>>() {
                self.remove(&prefix);
            }
        }
        if self.has_room(is_negative) {
            let locators = accepted.locators.iter().map(|(address, locator)| (*address, (*locator).clone())).collect();
            let expires = now + accepted.lifetime;
            let (ordinals, map_version) = (ordinals(accepted), accepted.record.map_version);
            let action = accepted.action;
            let (since, secured) = (now, false);
            let installed = Installed { locators, ordinals, action, map_version, expires, since, from, secured };
            if is_negative {
                self.negatives.insert(accepted.prefix);
            } else if accepted.record.eid.ip_prefix() != Some(accepted.prefix) {
                self.narrowed.insert(accepted.prefix);
            }
            self.users.extend(in_use(&installed).map(|address| (address, accepted.prefix)));
            self.entries.insert(accepted.prefix, installed);
        }
    }

    /// Notes that LISP-SEC has proven a mapping as it stands there.
    pub(super) fn mark_secured(&mut self, prefix: &EidPrefix) {
        if let Some(installed) = self.entries.get_mut(prefix) {
            installed.secured = true;
        }
    }

    pub(super) fn remove(&mut self, prefix: &EidPrefix) -> bool {
        let Some(removed) = self.entries.remove(prefix) else { return false };
        self.negatives.remove(prefix);
        self.narrowed.remove(prefix);
        for address in in_use(&removed) {
            self.users.remove(&(address, *prefix));
        }
        true
    }

    fn has_room(&self, is_negative: bool) -> bool {
        if is_negative {
            self.negatives.len() < limits::NEGATIVE_INSTALLED
        } else {
            self.entries.len() - self.negatives.len() < limits::INSTALLED
        }
    }

    pub(super) fn get(&self, now: Instant, prefix: &EidPrefix) -> Option<&Installed> {
        self.entries.get(prefix).filter(|installed| installed.expires > now)
    }

    /// The mapping that packets to an address meet.
    pub(super) fn longest_match(
        &self,
        now: Instant,
        iid: InstanceId,
        address: IpAddr,
    ) -> Option<(EidPrefix, &Installed)> {
        let longest = EidPrefix::host(iid, address).net.prefix_len();
        let mut candidates = (0..=longest).rev().filter_map(|length| EidPrefix::new(iid, address, length));
        candidates.find_map(|prefix| Some((prefix, self.get(now, &prefix)?)))
    }

    /// The next prefix behind `after` that has this locator, and behind the last one the first. What has expired is forgotten
    /// on the way.
    pub(super) fn user_of(&mut self, now: Instant, rloc: IpAddr, after: Option<EidPrefix>) -> Option<EidPrefix> {
        let first = EidPrefix { iid: InstanceId(0), net: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)) };
        let mut from = after.map_or(Bound::Included((rloc, first)), |after| Bound::Excluded((rloc, after)));
        loop {
            let next = self.users.range((from, Bound::Unbounded)).next().copied();
            match next.filter(|(user_of, _)| *user_of == rloc) {
                Some((_, prefix)) if self.get(now, &prefix).is_some() => return Some(prefix),
                Some((_, prefix)) => {
                    self.remove(&prefix);
                }
                None if from == Bound::Included((rloc, first)) => return None,
                None => from = Bound::Included((rloc, first)),
            }
        }
    }

    /// Whether positive mappings lie inside `prefix`.
    pub(super) fn has_positive_inside(&self, now: Instant, prefix: &EidPrefix) -> bool {
        let is_positive = |installed: &Installed| !installed.locators.is_empty() && installed.expires > now;
        self.inside(prefix).any(|(_, installed)| is_positive(installed))
    }

    /// The first address of `prefix` that is in no known part of it, as a host prefix; `None` if they are all of it.
    pub(super) fn first_outside_parts(&self, now: Instant, prefix: &EidPrefix) -> Option<EidPrefix> {
        let of_parts = self.inside(prefix).filter(|(inside, known)| *inside != prefix && known.expires > now);
        let mut first = prefix.net.network();
        for (part, _) in of_parts {
            if part.net.network() > first {
                break;
            }
            // A part of a part ends before it.
            if part.net.broadcast() >= first {
                first = next_address(part.net.broadcast())?;
            }
        }
        prefix.net.contains(&first).then(|| EidPrefix::host(prefix.iid, first))
    }

    /// When the first of the mappings of parts of `prefix` ends.
    pub(super) fn first_end_inside(&self, now: Instant, prefix: &EidPrefix) -> Option<Instant> {
        let of_parts = self.inside(prefix).filter(|(inside, _)| *inside != prefix);
        of_parts.map(|(_, installed)| installed.expires).filter(|expires| *expires > now).min()
    }

    /// Whether mappings of parts of `prefix` are known.
    pub(super) fn has_inside(&self, prefix: &EidPrefix) -> bool {
        self.inside(prefix).any(|(inside, _)| inside != prefix)
    }

    /// The holes inside `prefix`, which there are no more once that has locators: a hole has nothing registered in it, nor round it
    /// (RFC 9301, section 8.1). What a Map-Server refuses to say is none; one that is proven ends by a proven mapping only.
    pub(super) fn holes_inside(&self, prefix: &EidPrefix, is_proven: bool) -> Vec<EidPrefix> {
        let is_refusal = |action| matches!(action, Action::DropPolicyDenied | Action::DropAuthFailure);
        let ends = |known: &Installed| !is_refusal(known.action) && (is_proven || !known.secured);
        let is_hole = |hole: &&EidPrefix| self.entries.get(*hole).is_some_and(ends);
        let inside = self.negatives.range(range_of(prefix)).filter(|hole| *hole != prefix && prefix.covers(hole));
        inside.filter(is_hole).copied().collect()
    }

    /// The mappings inside these prefixes that hold for a part of what their record says, which whoever changes the whole does not name: the
    /// first [`limits::NARROWED`] of those that have not expired, as far as they are found among eight times as many.
    pub(super) fn narrowed_inside(&self, now: Instant, prefixes: &[EidPrefix]) -> BTreeSet<EidPrefix> {
        let inside = |prefix: &EidPrefix| {
            let prefix = *prefix;
            self.narrowed.range(range_of(&prefix)).filter(move |narrowed| prefix.covers(narrowed))
        };
        let looked_at = prefixes.iter().flat_map(inside).take(limits::NARROWED * 8);
        looked_at.filter(|narrowed| self.get(now, narrowed).is_some()).take(limits::NARROWED).copied().collect()
    }

    /// The mappings inside these prefixes, as they were answered, that have one of these locators in use, as far as they are found among the first
    /// [`limits::NARROWED`].
    pub(super) fn served_inside(
        &self,
        now: Instant,
        rlocs: &BTreeSet<IpAddr>,
        prefixes: &BTreeSet<EidPrefix>,
    ) -> BTreeSet<EidPrefix> {
        let pairs = rlocs.iter().flat_map(|rloc| prefixes.iter().map(move |prefix| (*rloc, prefix)));
        let looked_at = pairs.flat_map(|(rloc, prefix)| {
            let (first, last) = range_of(prefix).into_inner();
            self.users.range((rloc, first)..=(rloc, last)).map(move |(_, inside)| (prefix, inside))
        });
        let is_such = |(prefix, inside): &(&EidPrefix, &EidPrefix)| {
            prefix.covers(inside) && !self.narrowed.contains(inside) && self.get(now, inside).is_some()
        };
        looked_at.take(limits::NARROWED).filter(is_such).map(|(_, inside)| *inside).collect()
    }

    /// The shortened mappings with locators round `prefix` that lived longer than until `end`: they end then.
    pub(super) fn end_round(&mut self, now: Instant, prefix: &EidPrefix, end: Instant) -> Vec<(EidPrefix, Entry)> {
        let mut round = Vec::new();
        for length in 0..prefix.net.prefix_len() {
            let Some(cover) = EidPrefix::new(prefix.iid, prefix.net.addr(), length) else { continue };
            let Some(installed) = self.entries.get_mut(&cover) else { continue };
            if installed.expires > now && installed.expires > end && !installed.locators.is_empty() {
                installed.expires = end;
                round.push((cover, installed.entry()));
            }
        }
        round
    }

    fn inside(&self, prefix: &EidPrefix) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        let prefix = *prefix;
        self.entries.range(range_of(&prefix)).filter(move |(inside, _)| prefix.covers(inside))
    }

    /// The longest positive mapping round `prefix`.
    pub(super) fn positive_round(&self, now: Instant, prefix: &EidPrefix) -> Option<EidPrefix> {
        self.round(now, prefix, |installed| !installed.locators.is_empty())
    }

    /// The longest of such entries round `prefix`.
    pub(super) fn round(
        &self,
        now: Instant,
        prefix: &EidPrefix,
        is_such: impl Fn(&Installed) -> bool,
    ) -> Option<EidPrefix> {
        let shorter = (0..=prefix.net.prefix_len()).rev();
        let mut candidates = shorter.filter_map(|len| EidPrefix::new(prefix.iid, prefix.net.addr(), len));
        candidates.find(|candidate| self.get(now, candidate).is_some_and(&is_such))
    }

    /// What LISP-SEC has not proven.
    pub(super) fn unproven(&self) -> Vec<EidPrefix> {
        self.entries.iter().filter(|(_, installed)| !installed.secured).map(|(prefix, _)| *prefix).collect()
    }

    /// Those behind `after` in order of prefix, or all; of them only what is round `within` or inside it, if that is given. What has expired is
    /// among them, so that whoever takes some at a time knows how many he has looked at.
    pub(super) fn behind(
        &self,
        within: Option<EidPrefix>,
        after: Option<EidPrefix>,
    ) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        let shorter =
            |of: EidPrefix| (0..of.net.prefix_len()).filter_map(move |len| EidPrefix::new(of.iid, of.net.addr(), len));
        let round =
            within.into_iter().flat_map(shorter).filter(move |prefix| after.is_none_or(|after| *prefix > after));
        let round = round.filter_map(|prefix| self.entries.get_key_value(&prefix));
        let (first, last) = match within.map(|within| range_of(&within).into_inner()) {
            Some((first, last)) => (Bound::Included(first), Bound::Included(last)),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let is_inside = move |prefix: &EidPrefix| within.is_none_or(|within| within.covers(prefix));
        let first = after.filter(|after| is_inside(after)).map_or(first, Bound::Excluded);
        round.chain(self.entries.range((first, last)).filter(move |(prefix, _)| is_inside(prefix)))
    }

    pub(super) fn iter(&self, now: Instant) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        self.entries.iter().filter(move |(_, installed)| installed.expires > now)
    }
}

fn next_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

/// Where in the order of EID-prefixes all those lie that are inside `prefix`.
fn range_of(prefix: &EidPrefix) -> RangeInclusive<EidPrefix> {
    let bound = |address: IpAddr, len: u8| IpNet::new(address, len).map_or(*prefix, |net| EidPrefix { net, ..*prefix });
    bound(prefix.net.network(), 0)..=bound(prefix.net.broadcast(), prefix.net.max_prefix_len())
}

/// The locators of a mapping that packets may go to.
pub(super) fn in_use(installed: &Installed) -> impl Iterator<Item = IpAddr> + '_ {
    installed.locators.iter().filter_map(|(_, locator)| Locator::usable(locator)).map(|locator| locator.address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use wire::record::{MappingRecord, Ttl};

    fn host(number: u32) -> EidPrefix {
        EidPrefix::host(InstanceId(0), IpAddr::V4((0x0a00_0000 + number).into()))
    }

    fn record(prefix: EidPrefix, locators: Vec<LocatorRecord>) -> MappingRecord {
        let own = crate::database::Database::new(vec![], vec![], Ttl(1440));
        let form = crate::database::RecordForm { authoritative: true, probed: None };
        MappingRecord { locators, ..own.record(prefix, form) }
    }

    fn insert(mirror: &mut Mirror, now: Instant, prefix: EidPrefix, locators: &[IpAddr]) {
        let record = record(prefix, locators.iter().map(|address| LocatorRecord::new(*address, 1, 1)).collect());
        let locators = locators.iter().copied().zip(&record.locators).collect();
        mirror.insert(
            now,
            Via::Pipe,
            &Accepted {
                prefix,
                record: &record,
                locators,
                lifetime: Duration::from_secs(60),
                action: Action::NoAction,
            },
        );
    }

    #[test]
    fn what_is_round_a_prefix_or_inside_it_comes_in_parts_and_none_twice() {
        let (now, mut mirror) = (Instant::now(), Mirror::default());
        let prefix = |text: &str| EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() };
        let all = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.0/16",
            "10.1.0.0/16",
            "10.1.0.0/24",
            "10.1.2.3/32",
            "10.2.0.0/16",
            "::/0",
        ];
        all.iter().for_each(|text| insert(&mut mirror, now, prefix(text), &[]));
        let taken = |within: Option<&str>, size: usize| {
            let (mut taken, mut after) = (Vec::new(), None);
            loop {
                let part: Vec<_> =
                    mirror.behind(within.map(prefix), after).take(size).map(|(prefix, _)| *prefix).collect();
                let Some(last) = part.last() else { return taken };
                after = Some(*last);
                taken.extend(part.iter().map(ToString::to_string));
            }
        };
        for size in 1..9 {
            assert_eq!(taken(None, size), all);
            assert_eq!(taken(Some("10.1.0.0/16"), size), [all[0], all[1], all[3], all[4], all[5]]);
            assert_eq!(taken(Some("10.1.2.3/32"), size), [all[0], all[1], all[3], all[5]]);
            assert_eq!(taken(Some("10.7.0.0/16"), size), [all[0], all[1]]);
            assert_eq!(taken(Some("2001:db8::/32"), size), [all[7]]);
        }
    }

    #[test]
    fn the_first_address_outside_of_all_parts_is_found() {
        let (now, rloc) = (Instant::now(), IpAddr::from([192, 0, 2, 1]));
        let prefix = |text: &str| EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() };
        let first = |whole: &str, parts: &[&str]| {
            let mut mirror = Mirror::default();
            parts.iter().chain([&whole]).for_each(|part| insert(&mut mirror, now, prefix(part), &[rloc]));
            mirror.first_outside_parts(now, &prefix(whole)).map(|eid| eid.net.addr().to_string())
        };
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(first("10.1.0.0/16", &[]), found("10.1.0.0"));
        assert_eq!(first("10.1.0.0/16", &["10.1.0.0/24", "10.1.2.0/24"]), found("10.1.1.0"));
        assert_eq!(
            first("10.1.0.0/16", &["10.1.0.0/17", "10.1.0.0/24", "10.1.5.0/24", "10.1.128.0/24"]),
            found("10.1.129.0")
        );
        assert_eq!(first("10.1.0.0/16", &["10.1.1.0/24"]), found("10.1.0.0"));
        assert_eq!(first("10.1.0.0/16", &["10.1.0.0/17", "10.1.128.0/17"]), None);
        assert_eq!(first("255.255.0.0/16", &["255.255.0.0/17", "255.255.128.0/17"]), None);
        assert_eq!(first("2001:db8::/32", &["2001:db8::/33"]), found("2001:db8:8000::"));
    }

    #[test]
    fn entries_without_locators_have_a_bound_of_their_own_and_never_keep_a_mapping_out() {
        let (now, mut mirror) = (Instant::now(), Mirror::default());
        let scanned = u32::try_from(limits::NEGATIVE_INSTALLED).unwrap() + 10;
        (0..scanned).for_each(|number| insert(&mut mirror, now, host(number), &[]));
        assert_eq!(
            (mirror.entries.len(), mirror.negatives.len()),
            (limits::NEGATIVE_INSTALLED, limits::NEGATIVE_INSTALLED)
        );
        let rloc = IpAddr::from([192, 0, 2, 1]);
        insert(&mut mirror, now, host(scanned), &[rloc]);
        insert(&mut mirror, now, host(0), &[rloc]);
        assert_eq!(mirror.user_of(now, rloc, None), Some(host(0)));
        assert_eq!(mirror.positive_round(now, &host(scanned)), Some(host(scanned)), "an SMR finds it");
        assert_eq!(mirror.negatives.len(), limits::NEGATIVE_INSTALLED - 1);
        let later = now + Duration::from_secs(61);
        insert(&mut mirror, later, host(1), &[]);
        insert(&mut mirror, later, host(scanned + 1), &[]);
        insert(&mut mirror, later, host(scanned + 2), &[]);
        assert_eq!((mirror.entries.len(), mirror.negatives.len()), (3, 3), "what has expired makes room");
    }
}
