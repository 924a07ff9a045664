// SPDX-License-Identifier: GPL-2.0-or-later
//! Registered names, MAC addresses and pairs, beside the registered EID-prefixes and by the same rules.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use super::Label;
use super::single::Single;
use super::table::LabelTable;
use crate::limits::{EXPIRED_AT_ONCE, LABELS, LABELS_PER_SITE, MERGED_XTRS};
use crate::register::registration::{Change, Part, Registration, Taken};
use crate::register::site::SiteId;
use wire::record::MapVersion;

/// All registrations of labels.
#[derive(Debug, Default)]
pub struct LabelRegistrations {
    table: LabelTable<Entry>,
    /// When the first part of each falls silent.
    queue: BTreeSet<(Instant, Label)>,
    per_site: HashMap<SiteId, usize>,
    /// Those that are otherwise on disk than here.
    unsaved: Vec<Label>,
}

#[derive(Debug)]
struct Entry {
    registration: Registration,
    due: Instant,
}

impl LabelRegistrations {
    /// Takes what `part` says about `label`. With `merge` it stands beside what other xTRs said, else in its place.
    pub fn put(&mut self, label: Label, site: SiteId, merge: bool, part: Part) -> Change {
        if !self.has_room(&label, site, merge, part.xtr_id()) {
            return Change::Full;
        }
        let before = self.get(&label).map(|known| (known.site, known.merged()));
        let due = part.expires;
        let make = || Entry { registration: Registration::new(site), due };
        let entry = self.table.entry(label, make);
        let former = before.as_ref().map(|(former, _)| *former);
        match entry.registration.take(site, merge, part) {
            Taken::Full => return Change::Full,
            Taken::New => self.unsaved.push(label),
            Taken::Same => {}
        }
        let is_changed = before.map(|(_, merged)| merged) != Some(entry.registration.merged());
        if former != Some(site) {
            former.into_iter().for_each(|former| discount(&mut self.per_site, former));
            *self.per_site.entry(site).or_default() += 1;
        }
        self.queue_again(label);
        if is_changed { Change::Changed } else { Change::None }
    }

    /// Whether [`Self::put`] has room for that.
    pub fn has_room(&self, label: &Label, site: SiteId, merge: bool, xtr_id: [u8; 16]) -> bool {
        match self.get(label) {
            None => self.room(site) > 0,
            Some(entry) => !merge || entry.parts().count() < MERGED_XTRS || entry.part(&xtr_id).is_some(),
        }
    }

    /// How many new labels a site may register.
    pub fn room(&self, site: SiteId) -> usize {
        let of_site = LABELS_PER_SITE.saturating_sub(self.of_site(site));
        of_site.min(LABELS.saturating_sub(self.len()))
    }

    /// Ends what one xTR registered for `label`. One that another has replaced meanwhile ends nothing.
    pub fn withdraw(&mut self, label: &Label, site: SiteId, xtr_id: [u8; 16]) -> Change {
        let entry = self.table.get_mut(label).filter(|entry| entry.registration.site == site);
        let Some(entry) = entry else { return Change::None };
        let before = entry.registration.merged();
        if entry.registration.end(|part| part.xtr_id() == xtr_id) {
            self.unsaved.push(*label);
        }
        self.settle(label, &before)
    }

    /// Takes up what an earlier run kept on disk of a label; `false` if there is no room for it.
    pub(in crate::register) fn restore(
        &mut self,
        label: Label,
        site: SiteId,
        newest: MapVersion,
        parts: Vec<Part>,
    ) -> bool {
        let taken = parts.into_iter().all(|part| self.put(label, site, true, part) != Change::Full);
        if let Some(entry) = self.table.get_mut(&label) {
            entry.registration.restore_newest(newest);
        }
        // It is there.
        self.unsaved.clear();
        taken
    }

    /// Names those that are otherwise on disk than here, or are on disk only.
    pub(in crate::register) fn take_unsaved(&mut self) -> Vec<Label> {
        std::mem::take(&mut self.unsaved)
    }

    /// Has all of these sites written to disk again.
    pub(in crate::register) fn save_again(&mut self, sites: &HashSet<SiteId>) {
        if !sites.is_empty() {
            let all = self.table.iter().filter(|(_, entry)| sites.contains(&entry.registration.site));
            self.unsaved.extend(all.map(|(label, _)| label));
        }
    }

    /// Gives each registration the site that `site_of` says it belongs to; ends and names those of no site.
    pub fn assign(&mut self, site_of: impl Fn(&Label, SiteId) -> Option<SiteId>) -> Vec<Label> {
        let mut ended = Vec::new();
        self.per_site.clear();
        for (label, entry) in self.table.iter_mut() {
            let Some(site) = site_of(&label, entry.registration.site) else {
                ended.push(label);
                continue;
            };
            entry.registration.site = site;
            *self.per_site.entry(site).or_default() += 1;
        }
        for label in &ended {
            if let Some(entry) = self.table.remove(label) {
                self.queue.remove(&(entry.due, *label));
            }
        }
        self.unsaved.extend(&ended);
        ended
    }

    /// Ends parts that are silent at `now`, and names the labels that others see changed. Of very many it ends some, and
    /// leaves [`Self::next_deadline`] in the past.
    pub fn expire(&mut self, now: Instant) -> Vec<Label> {
        let mut changed = Vec::new();
        for _ in 0..EXPIRED_AT_ONCE {
            let Some((_, label)) = self.queue.first().copied().filter(|(due, _)| *due <= now) else { break };
            let Some(entry) = self.table.get_mut(&label) else { break };
            let before = entry.registration.merged();
            if entry.registration.end(|part| part.expires <= now) {
                self.unsaved.push(label);
            }
            if self.settle(&label, &before) == Change::Changed {
                changed.push(label);
            }
        }
        changed
    }

    /// Removes an entry without parts, or puts it where it belongs in the queue.
    fn settle(&mut self, label: &Label, before: &crate::register::registration::Merged) -> Change {
        let Some(entry) = self.table.get(label) else { return Change::None };
        let is_changed = entry.registration.merged() != *before;
        if entry.registration.parts().next().is_none() {
            self.queue.remove(&(entry.due, *label));
            discount(&mut self.per_site, entry.registration.site);
            self.table.remove(label);
        } else {
            self.queue_again(*label);
        }
        if is_changed { Change::Changed } else { Change::None }
    }

    fn queue_again(&mut self, label: Label) {
        let Some(entry) = self.table.get_mut(&label) else { return };
        self.queue.remove(&(entry.due, label));
        if let Some(due) = entry.registration.parts().map(|part| part.expires).min() {
            entry.due = due;
            self.queue.insert((due, label));
        }
    }

    /// The next time at which [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The registration of exactly this label.
    pub fn get(&self, label: &Label) -> Option<&Registration> {
        self.table.get(label).map(|entry| &entry.registration)
    }

    /// The longest registered label that covers this one.
    pub fn longest(&self, label: &Label) -> Option<(Label, &Registration)> {
        self.table.covering(label).next().map(|(label, entry)| (label, &entry.registration))
    }

    /// The registered labels inside `within` that cover this one, the best match first ([`LabelTable::covering_within`]).
    pub fn covering_within<'a>(
        &'a self,
        within: &Label,
        label: &Label,
        steps: &'a Cell<u32>,
    ) -> impl Iterator<Item = (Label, &'a Registration)> + use<'a> {
        self.table.covering_within(within, label, steps).map(|(label, entry)| (label, &entry.registration))
    }

    /// The registered names or MAC addresses inside this one, itself included.
    pub fn inside(&self, single: &Single) -> impl Iterator<Item = (Label, &Registration)> + '_ {
        self.table.inside(single).map(|(label, entry)| (label, &entry.registration))
    }

    /// A part of `within` around a label in which nothing else is registered ([`LabelTable::hole`]); `None` if there is none.
    pub fn hole(&self, within: &Label, label: &Label) -> Option<Label> {
        self.table.hole(within, label)
    }

    /// Those after `label` in the order; all of them after none.
    pub fn after(&self, label: Option<&Label>) -> impl Iterator<Item = (Label, &Registration)> + '_ {
        self.table.after(label).map(|(label, entry)| (label, &entry.registration))
    }

    /// Number of labels that a site has registered.
    pub fn of_site(&self, site: SiteId) -> usize {
        self.per_site.get(&site).copied().unwrap_or_default()
    }

    /// Number of registered pairs.
    pub fn pairs(&self) -> usize {
        self.table.pairs()
    }

    /// Number of registered labels.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

fn discount(per_site: &mut HashMap<SiteId, usize>, site: SiteId) {
    if let Some(count) = per_site.get_mut(&site) {
        *count = count.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use wire::address::InstanceId;
    use wire::record::{LocatorRecord, Ttl};

    fn label(n: usize) -> Label {
        Label::name(InstanceId(0), format!("host-{n}").as_bytes()).unwrap()
    }

    fn part(expires: Instant) -> Part {
        let locator = LocatorRecord::new(std::net::IpAddr::from([198, 51, 100, 1]), 1, 100);
        Part {
            locators: [locator].into(),
            ttl: Ttl::DEFAULT,
            map_version: MapVersion::default(),
            proxy: true,
            security: false,
            key_id: 1,
            identity: None,
            source: None,
            relays: None,
            reach: None,
            expires,
            ends: None,
        }
    }

    #[test]
    fn a_site_uses_up_its_share_and_not_that_of_others() {
        let now = Instant::now();
        let (mut labels, sites) = (LabelRegistrations::default(), [SiteId::at(0), SiteId::at(1), SiteId::at(2)]);
        for n in 0..LABELS_PER_SITE {
            assert_eq!(labels.put(label(n), sites[0], false, part(now)), Change::Changed);
        }
        assert_eq!(labels.put(label(LABELS), sites[0], false, part(now)), Change::Full);
        assert_eq!(labels.put(label(0), sites[0], false, part(now)), Change::None, "a refresh takes no room");
        assert_eq!((labels.len(), labels.of_site(sites[0])), (LABELS_PER_SITE, LABELS_PER_SITE));
        assert_eq!(labels.room(sites[1]), LABELS - LABELS_PER_SITE);
        assert_eq!(labels.put(label(LABELS), sites[1], false, part(now)), Change::Changed);
        assert_eq!(labels.withdraw(&label(0), sites[1], [0; 16]), Change::None, "it is not this site's");
        assert_eq!(labels.withdraw(&label(0), sites[0], [0; 16]), Change::Changed);
        assert_eq!((labels.room(sites[0]), labels.room(sites[2])), (1, LABELS - LABELS_PER_SITE));
    }

    #[test]
    fn many_that_fall_silent_at_once_end_in_parts_and_nothing_is_left_of_them() {
        let now = Instant::now();
        let mut labels = LabelRegistrations::default();
        let count = 2 * EXPIRED_AT_ONCE + 1;
        for n in 0..count {
            // The second time moves the first one's place in the queue.
            labels.put(label(n), SiteId::at(0), false, part(now));
            labels.put(label(n), SiteId::at(0), false, part(now + Duration::from_secs(1)));
        }
        assert_eq!((labels.expire(now).len(), labels.queue.len()), (0, count));
        let later = now + Duration::from_secs(1);
        let mut ended = 0;
        while labels.next_deadline().is_some_and(|at| at <= later) {
            let some = labels.expire(later).len();
            assert!((1..=EXPIRED_AT_ONCE).contains(&some));
            ended += some;
        }
        assert_eq!((ended, labels.len(), labels.queue.len(), labels.of_site(SiteId::at(0))), (count, 0, 0, 0));
    }
}
