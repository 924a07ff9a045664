// SPDX-License-Identifier: GPL-2.0-or-later
//! What is registered: one entry an EID-prefix, one part of it an xTR.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use wire::address::{Address, EidPrefix, Lcaf, Replication};
use wire::control::XtrIdentity;
use wire::record::{LocatorRecord, MapVersion, Ttl};

use crate::limits::{EXPIRED_AT_ONCE, MERGED_XTRS, REGISTRATION_SILENCE, REGISTRATIONS};
use crate::nat::Relays;
use crate::register::kept::End;
use crate::register::locators::etr_of;
use crate::register::notifier::Reach;
use crate::register::parts::Parts;
use crate::register::site::SiteId;
use crate::table::PrefixTable;

/// All registrations.
#[derive(Debug, Default)]
pub struct Registrations {
    table: PrefixTable<Registration>,
    /// What to look at in which second since `start`: each registration stands here once, at the latest when it falls silent,
    /// and a second time for each time that it was moved forward.
    queue: BTreeMap<u32, Vec<EidPrefix>>,
    queued: usize,
    start: Option<Instant>,
    /// How many each site has: nobody walks through all of them for that.
    per_site: HashMap<SiteId, usize>,
    /// Those that are otherwise on disk than here.
    unsaved: Vec<EidPrefix>,
}

/// A registered EID-prefix.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The site that registered it.
    pub site: SiteId,
    /// The second of the queue in which it is looked at; its other places there are stale.
    queued: u32,
    /// The newest version of all parts that stood beside each other, also of those that have left: what others see does not
    /// become older again (RFC 9302, section 5).
    newest: MapVersion,
    /// By xTR-ID.
    parts: Parts,
}

/// What one xTR registered.
#[derive(Debug, Clone)]
pub struct Part {
    /// The locators, as they came; without those that say nothing, or that nothing can be sent to.
    pub locators: Box<[LocatorRecord]>,
    /// TTL for those who cache the mapping.
    pub ttl: Ttl,
    /// Version of the mapping.
    pub map_version: MapVersion,
    /// P: answer for the site.
    pub proxy: bool,
    /// S: it does LISP-SEC (RFC 9303, section 6.3).
    pub security: bool,
    /// The key with which it registered.
    pub key_id: u8,
    /// xTR-ID and Site-ID, if it gave them.
    pub identity: Option<Box<XtrIdentity>>,
    /// Where it registered from; `None` = the pipe.
    pub source: Option<Source>,
    /// By which ways through RTRs, if it registered from behind a NAT.
    pub relays: Option<Box<Relays>>,
    /// How to tell it of changes that others make, if it asked for merging.
    pub reach: Option<Box<Reach>>,
    /// When it falls silent.
    pub expires: Instant,
    /// The end that is kept on disk of what was registered with T: not before [`Self::expires`].
    pub ends: Option<End>,
}

/// Where a part was registered from. Without a flow label it is 8 octets smaller than a [`SocketAddr`], as which it would be a fiftieth of
/// what a registration may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Address and port.
    V4(Ipv4Addr, u16),
    /// Address, port and zone.
    V6(Ipv6Addr, u16, u32),
}

impl From<SocketAddr> for Source {
    fn from(socket: SocketAddr) -> Self {
        match socket {
            SocketAddr::V4(socket) => Self::V4(*socket.ip(), socket.port()),
            SocketAddr::V6(socket) => Self::V6(*socket.ip(), socket.port(), socket.scope_id()),
        }
    }
}

impl From<Source> for SocketAddr {
    fn from(source: Source) -> Self {
        match source {
            Source::V4(address, port) => SocketAddr::from((address, port)),
            Source::V6(address, port, zone) => SocketAddrV6::new(address, port, 0, zone).into(),
        }
    }
}

impl Source {
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        SocketAddr::from(*self).ip()
    }
}

/// What became of a part that was given to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It says what was known: nothing of it needs to be kept on disk.
    Same,
    /// It says something new.
    New,
    /// There is no room for it.
    Full,
}

/// The registration as others see it: the parts merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// All locators, ascending (RFC 9301, section 5.5), without duplicates, L and p cleared.
    pub locators: Vec<LocatorRecord>,
    /// The shortest TTL of the parts.
    pub ttl: Ttl,
    /// The newest version of the parts, those that have left included.
    pub map_version: MapVersion,
    /// P: answer for the site.
    pub proxy: bool,
    /// xTR-IDs and Site-IDs of the parts that gave them.
    pub identities: Vec<XtrIdentity>,
}

/// How a registration changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Others see the same as before.
    None,
    /// Others see something new, or nothing any more.
    Changed,
    /// No room.
    Full,
}

impl Registrations {
    /// Takes what `part` says about `prefix`. With `merge` it stands beside what other xTRs said, else in its place.
    pub fn put(&mut self, now: Instant, prefix: EidPrefix, site: SiteId, merge: bool, part: Part) -> Change {
        let second = self.second(now, part.expires);
        let before = self.table.get(&prefix).map(Registration::merged);
        if before.is_none() {
            if self.table.len() >= REGISTRATIONS {
                return Change::Full;
            }
            self.table.insert(prefix, Registration::new(site));
            *self.per_site.entry(site).or_default() += 1;
        }
        let Some(entry) = self.table.get_mut(&prefix) else { return Change::Full };
        let before_site = entry.site;
        let taken = entry.take(site, merge, part);
        if before_site != site {
            *self.per_site.entry(site).or_default() += 1;
            discount(&mut self.per_site, before_site);
        }
        match taken {
            Taken::Full => return Change::Full,
            Taken::New => self.unsaved.push(prefix),
            Taken::Same => {}
        }
        let is_changed = before.as_ref() != Some(&entry.merged());
        let is_sooner = second < entry.queued;
        if is_sooner {
            entry.queued = second;
            self.enqueue(second, prefix);
        }
        if is_changed { Change::Changed } else { Change::None }
    }

    /// The second of the queue in which a part must be looked at: no later than after the usual silence, so that few places
    /// in the queue are stale.
    fn second(&mut self, now: Instant, expires: Instant) -> u32 {
        let start = *self.start.get_or_insert(now);
        let at = expires.min(now + REGISTRATION_SILENCE).saturating_duration_since(start);
        u32::try_from(at.as_secs()).unwrap_or(u32::MAX - 1).saturating_add(u32::from(at.subsec_nanos() > 0))
    }

    fn enqueue(&mut self, second: u32, prefix: EidPrefix) {
        self.queue.entry(second).or_default().push(prefix);
        self.queued += 1;
        // Withdrawn and registered again many times over.
        if self.queued > 2 * self.table.len() + EXPIRED_AT_ONCE {
            self.rebuild();
        }
    }

    fn rebuild(&mut self) {
        self.queue.clear();
        self.queued = self.table.len();
        for (prefix, entry) in self.table.iter() {
            self.queue.entry(entry.queued).or_default().push(prefix);
        }
    }

    /// Whether [`Self::put`] has room for that.
    pub fn has_room(&self, prefix: &EidPrefix, merge: bool, xtr_id: [u8; 16]) -> bool {
        match self.table.get(prefix) {
            None => self.table.len() < REGISTRATIONS,
            Some(entry) => !merge || entry.parts.as_slice().len() < MERGED_XTRS || entry.part(&xtr_id).is_some(),
        }
    }

    /// Ends what one xTR registered for `prefix`. One that another has replaced meanwhile ends nothing.
    pub fn withdraw(&mut self, prefix: &EidPrefix, site: SiteId, xtr_id: [u8; 16]) -> Change {
        let Some(entry) = self.table.get_mut(prefix).filter(|entry| entry.site == site) else { return Change::None };
        let before = entry.merged();
        if entry.end(|part| part.xtr_id() == xtr_id) {
            self.unsaved.push(*prefix);
        }
        self.settle(prefix, &before)
    }

    /// Takes up what an earlier run kept on disk of a prefix; `false` if there is no room for it.
    pub(super) fn restore(
        &mut self,
        now: Instant,
        prefix: EidPrefix,
        site: SiteId,
        newest: MapVersion,
        parts: Vec<Part>,
    ) -> bool {
        let taken = parts.into_iter().all(|part| self.put(now, prefix, site, true, part) != Change::Full);
        if let Some(entry) = self.table.get_mut(&prefix) {
            entry.restore_newest(newest);
        }
        // It is there.
        self.unsaved.clear();
        taken
    }

    /// Names those that are otherwise on disk than here, or are on disk only.
    pub(super) fn take_unsaved(&mut self) -> Vec<EidPrefix> {
        std::mem::take(&mut self.unsaved)
    }

    /// Has all of these sites written to disk again.
    pub(super) fn save_again(&mut self, sites: &HashSet<SiteId>) {
        if !sites.is_empty() {
            let all = self.table.iter().filter(|(_, entry)| sites.contains(&entry.site));
            self.unsaved.extend(all.map(|(prefix, _)| prefix));
        }
    }

    /// Gives each registration the site that `site_of` says it belongs to; ends and names those of no site.
    pub fn assign(&mut self, site_of: impl Fn(&EidPrefix, SiteId) -> Option<SiteId>) -> Vec<EidPrefix> {
        let mut ended = Vec::new();
        self.per_site.clear();
        for (prefix, entry) in self.table.iter_mut() {
            match site_of(&prefix, entry.site) {
                Some(site) => {
                    entry.site = site;
                    *self.per_site.entry(site).or_default() += 1;
                }
                None => ended.push(prefix),
            }
        }
        ended.sort_unstable();
        for prefix in &ended {
            self.table.remove(prefix);
        }
        self.unsaved.extend(&ended);
        ended
    }

    /// Ends what all xTRs registered for `prefix`.
    pub fn remove(&mut self, prefix: &EidPrefix) {
        if let Some(entry) = self.table.remove(prefix) {
            discount(&mut self.per_site, entry.site);
            self.unsaved.push(*prefix);
        }
    }

    /// Ends parts that are silent at `now`, and names the prefixes that others see changed. Of very many it ends some, and
    /// leaves [`Self::next_deadline`] in the past.
    pub fn expire(&mut self, now: Instant) -> Vec<EidPrefix> {
        let (mut changed, mut looked_at) = (Vec::new(), 0);
        while let Some(mut due) = self
            .queue
            .first_entry()
            .filter(|entry| self.start.is_some_and(|start| start + Duration::from_secs((*entry.key()).into()) <= now))
        {
            let second = *due.key();
            let Some(prefix) = due.get_mut().pop() else {
                due.remove();
                continue;
            };
            self.queued -= 1;
            let Some(entry) = self.table.get_mut(&prefix).filter(|entry| entry.queued == second) else { continue };
            let before = entry.merged();
            if entry.end(|part| part.expires <= now) {
                self.unsaved.push(prefix);
            }
            let next = entry.parts().map(|part| part.expires).min();
            if self.settle(&prefix, &before) == Change::Changed {
                changed.push(prefix);
            }
            if let Some(next) = next {
                let second = self.second(now, next);
                if let Some(entry) = self.table.get_mut(&prefix) {
                    entry.queued = second;
                }
                self.enqueue(second, prefix);
            }
            looked_at += 1;
            if looked_at >= EXPIRED_AT_ONCE {
                break;
            }
        }
        changed
    }

    fn settle(&mut self, prefix: &EidPrefix, before: &Merged) -> Change {
        let after = self.table.get(prefix).map(Registration::merged);
        if self.table.get(prefix).is_some_and(|entry| entry.parts.as_slice().is_empty()) {
            self.remove(prefix);
        }
        if after.as_ref() == Some(before) { Change::None } else { Change::Changed }
    }

    /// The next time at which [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let second = self.queue.first_key_value().map(|(second, _)| Duration::from_secs((*second).into()))?;
        Some(self.start? + second)
    }

    /// The registration of exactly this prefix.
    pub fn get(&self, prefix: &EidPrefix) -> Option<&Registration> {
        self.table.get(prefix)
    }

    /// The longest registered prefix that covers `eid`.
    pub fn longest(&self, eid: &EidPrefix) -> Option<(EidPrefix, &Registration)> {
        self.table.longest(eid)
    }

    /// The registered prefixes inside `prefix`, itself included.
    pub fn inside(&self, prefix: &EidPrefix) -> impl Iterator<Item = (EidPrefix, &Registration)> + '_ {
        self.table.inside(prefix)
    }

    /// The largest part of `within` around `eid` in which nothing more specific is registered; `None` if there is none.
    pub fn hole(&self, within: &EidPrefix, eid: &EidPrefix) -> Option<EidPrefix> {
        self.table.hole(within, eid)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (EidPrefix, &Registration)> + '_ {
        self.table.iter()
    }

    /// Those after `prefix` in the order; all of them after none.
    pub fn after(&self, prefix: Option<&EidPrefix>) -> impl Iterator<Item = (EidPrefix, &Registration)> + '_ {
        self.table.after(prefix)
    }

    /// Number of prefixes that a site has registered.
    pub fn of_site(&self, site: SiteId) -> usize {
        self.per_site.get(&site).copied().unwrap_or_default()
    }

    /// Number of registered prefixes.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

impl Registration {
    /// One without parts.
    pub(super) fn new(site: SiteId) -> Self {
        Self { site, queued: u32::MAX, newest: MapVersion::default(), parts: Parts::default() }
    }

    /// Takes what `part` says. With `merge` it stands beside what other xTRs of the site said, else in its place.
    pub(super) fn take(&mut self, site: SiteId, merge: bool, part: Part) -> Taken {
        let xtr = part.xtr_id();
        let former = std::mem::replace(&mut self.site, site);
        let (parts, newest) = (self.parts.as_slice().len(), self.newest);
        if !merge || former != site {
            self.parts.retain(|other| other.xtr_id() == xtr && former == site);
            // Whoever takes the place of others counts from where it is: they know of no higher version.
            self.newest = MapVersion::default();
        }
        self.newest = self.newest.newer(part.map_version);
        let is_less = self.parts.as_slice().len() < parts || self.newest != newest;
        let parts = self.parts.as_mut_slice();
        let is_new = match parts.binary_search_by_key(&xtr, Part::xtr_id) {
            Ok(index) => parts[index].renew(part),
            Err(_) if parts.len() >= MERGED_XTRS => return Taken::Full,
            Err(index) => {
                self.parts.insert(index, part);
                true
            }
        };
        if is_less || is_new { Taken::New } else { Taken::Same }
    }

    /// Ends these parts; whether there were any.
    pub(super) fn end(&mut self, is_over: impl Fn(&Part) -> bool) -> bool {
        let before = self.parts.as_slice().len();
        self.parts.retain(|part| !is_over(part));
        self.parts.as_slice().len() < before
    }

    /// The newest version of all its parts, also of those that have left.
    pub fn newest(&self) -> MapVersion {
        self.newest
    }

    /// Takes up the newest version that an earlier run knew.
    pub(super) fn restore_newest(&mut self, newest: MapVersion) {
        self.newest = newest;
    }

    /// The parts, by xTR-ID.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.as_slice().iter()
    }

    /// The part of one xTR.
    pub fn part(&self, xtr_id: &[u8; 16]) -> Option<&Part> {
        let parts = self.parts.as_slice();
        parts.binary_search_by_key(xtr_id, Part::xtr_id).ok().map(|index| &parts[index])
    }

    /// P of any of its parts: a Map-Server answers for the site.
    pub fn is_proxied(&self) -> bool {
        self.parts().any(|part| part.proxy)
    }

    /// The shortest TTL of the parts.
    pub fn ttl(&self) -> Ttl {
        self.parts().map(|part| part.ttl).min().unwrap_or(Ttl::WITHDRAWN)
    }

    /// What others see.
    pub fn merged(&self) -> Merged {
        let mut locators: Vec<LocatorRecord> = Vec::new();
        for locator in self.parts().flat_map(|part| part.locators.iter()) {
            match locators.iter_mut().find(|known| known.rloc == locator.rloc) {
                Some(known) if locator.priority < known.priority => known.clone_from(locator),
                Some(_) => {}
                None => locators.push(locator.clone()),
            }
        }
        if self.is_one_list_each() {
            consolidate(&mut locators);
        }
        locators.sort_by(|a, b| a.rloc.cmp(&b.rloc));
        for locator in &mut locators {
            (locator.local, locator.probed) = (false, false);
        }
        Merged {
            locators,
            ttl: self.ttl(),
            map_version: self.newest,
            proxy: self.is_proxied(),
            identities: self.parts().filter_map(|part| part.identity.as_deref().copied()).collect(),
        }
    }

    /// Whether several xTRs have a Replication List, and none has several: those of one xTR are alternatives (RFC 8378, section 9).
    fn is_one_list_each(&self) -> bool {
        let lists = |part: &Part| part.locators.iter().filter(|locator| receivers(locator).is_some()).count();
        self.parts.as_slice().len() > 1 && self.parts().all(|part| lists(part) <= 1)
    }

    /// The part whose ETR should get a forwarded Map-Request, and the locator to send it to: the best reachable one of
    /// a family that `sendable` says can be sent.
    pub fn forward_to(&self, sendable: impl Fn(IpAddr) -> bool) -> Option<(&Part, IpAddr)> {
        self.forward_to_one(sendable, |_| true)
    }

    /// The same among the parts that are `wanted`.
    pub fn forward_to_one(
        &self,
        sendable: impl Fn(IpAddr) -> bool,
        wanted: impl Fn(&Part) -> bool,
    ) -> Option<(&Part, IpAddr)> {
        self.parts()
            .filter(|part| wanted(part))
            .flat_map(|part| part.locators.iter().map(move |locator| (part, locator)))
            .filter_map(|(part, locator)| Some((part, locator, etr_of(&locator.rloc)?)))
            .filter(|(_, _, address)| sendable(*address))
            .min_by_key(|(_, locator, address)| (!locator.reachable, locator.priority, *address))
            .map(|(part, _, address)| (part, address))
    }

    /// Seconds until the last part falls silent.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.parts().map(|part| part.expires.saturating_duration_since(now)).max().unwrap_or_default()
    }
}

/// Makes the Replication Lists of one priority one (RFC 8378, section 5.1.3), each receiver once, next to the ITR where two have it at
/// different levels. One that is not to be used, or not reached, lends its receivers to no other.
fn consolidate(locators: &mut Vec<LocatorRecord>) {
    let mut lists: BTreeMap<(u8, bool), LocatorRecord> = BTreeMap::new();
    for list in locators.extract_if(.., |locator| receivers(locator).is_some()) {
        lists
            .entry((list.priority, list.reachable))
            .and_modify(|one| one.rloc = Lcaf::ReplicationList(together(one, &list)).into())
            .or_insert(list);
    }
    locators.extend(lists.into_values());
}

/// Who is in a Replication List.
fn receivers(locator: &LocatorRecord) -> Option<&[Replication]> {
    match &locator.rloc {
        Address::Lcaf(lcaf) => match lcaf.as_ref() {
            Lcaf::ReplicationList(receivers) => Some(receivers),
            _ => None,
        },
        _ => None,
    }
}

/// Who is in one of two Replication Lists, in order.
fn together(one: &LocatorRecord, other: &LocatorRecord) -> Vec<Replication> {
    let all = [one, other].into_iter().filter_map(receivers).flatten();
    let mut levels: BTreeMap<&Address, u8> = BTreeMap::new();
    for Replication { level, address } in all {
        levels.entry(address).and_modify(|known| *known = *level.min(known)).or_insert(*level);
    }
    levels.into_iter().map(|(address, level)| Replication { level, address: address.clone() }).collect()
}

impl Part {
    /// Takes the place of the part before it. What has not changed stays where it is: a refresh a minute of a million parts
    /// would scatter the memory that they are in. Gives whether it says something new.
    fn renew(&mut self, newer: Self) -> bool {
        let older = std::mem::replace(self, newer);
        let rest = |part: &Self| {
            let bits = (part.proxy, part.security, part.key_id);
            (part.ttl, part.map_version, bits, part.source, part.ends)
        };
        let mut is_new = rest(&older) != rest(self);
        if older.locators == self.locators {
            self.locators = older.locators;
        } else {
            is_new = true;
        }
        if older.identity == self.identity {
            self.identity = older.identity;
        } else {
            is_new = true;
        }
        is_new |= older.relays.as_ref().and_then(|relays| relays.last())
            != self.relays.as_ref().and_then(|relays| relays.last());
        if let (Some(mut known), Some(last)) = (older.relays, self.relays.as_ref().and_then(|relays| relays.last())) {
            *known = known.led_by(last);
            self.relays = Some(known);
        }
        if older.reach == self.reach {
            self.reach = older.reach;
        } else {
            is_new = true;
        }
        is_new
    }

    /// xTR-ID, zero if it gave none.
    pub fn xtr_id(&self) -> [u8; 16] {
        self.xtr_identity().xtr_id
    }

    /// xTR-ID and Site-ID, zero if it gave none.
    pub fn xtr_identity(&self) -> XtrIdentity {
        self.identity.as_deref().copied().unwrap_or_default()
    }
}

fn discount(per_site: &mut HashMap<SiteId, usize>, site: SiteId) {
    if let Some(count) = per_site.get_mut(&site) {
        *count = count.saturating_sub(1);
    }
}
