// SPDX-License-Identifier: GPL-2.0-or-later
//! The way from a trust anchor down its index pages to the entry that counts.
//!
//! Sub-pages are parts of the page that points to them: the longest match is that of all of them together, and where the
//! sub-page for an EID lists nothing, what the pages above it list for it still holds. A delegation to another writer ends
//! that: inside of it nobody else has a say.

use std::collections::BTreeSet;
use std::time::SystemTime;

use wire::address::EidPrefix;

use super::Resolver;
use super::cover::reach;
use super::outcome::{Failure, Outcome};
use super::pages::Page;
use super::select::Selection;
use super::walk::{Resolution, Site, Step, without_record};
use crate::limits;
use crate::record::{Body, Class, Entry, Index, RecordKey, Target, Verified, Version};

/// Where a resolution is on the way down from its anchor.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Pages asked for.
    depth: usize,
    /// The longest match in the pages of the present writer that is no sub-page: what holds where those list nothing.
    longest: Option<Entry>,
    /// How the present page was come to.
    by: By,
}

/// How a page is come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum By {
    /// It is an anchor's.
    #[default]
    Anchor,
    /// Another writer delegates to this one.
    Delegation,
    /// It is a part of the page before it.
    Page,
}

/// An index page on the way to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// Its key.
    pub key: RecordKey,
    /// Its version.
    pub version: Version,
    /// Whether it had been read before, lately enough not to be asked for again.
    pub cached: bool,
}

impl Resolution {
    /// Begins at the next anchor; `false` if there is none left.
    pub(super) fn ask_anchor(&mut self, resolver: &mut Resolver, now: SystemTime) -> bool {
        let Some(anchor) = self.further.pop_front() else { return false };
        self.way = Way::default();
        self.others = beyond(resolver, &self.eid);
        self.visited.clear();
        self.ask_page(resolver, now, RecordKey::index(resolver.network, anchor.cn, anchor.aggregate), 0);
        true
    }

    /// The way down ends without an answer: another anchor of the same aggregate may know one.
    pub(super) fn give_up(&mut self, resolver: &mut Resolver, now: SystemTime, outcome: Outcome) {
        // That another anchor has none any more is no proof beside one that cannot be had.
        let first = self.trouble.take().filter(|first| !matches!(first, Outcome::Hole { .. })).unwrap_or(outcome);
        if self.further.is_empty() {
            self.step = Step::Done(first);
        } else {
            self.trouble = Some(first);
            self.ask_anchor(resolver, now);
        }
    }

    fn ask_page(&mut self, resolver: &mut Resolver, now: SystemTime, key: RecordKey, lowest: u64) {
        if self.way.depth >= limits::PAGE_DEPTH {
            self.give_up(resolver, now, Outcome::Failed(Failure::TooDeep(key)));
            return;
        }
        self.way.depth += 1;
        let cached = resolver.pages.fresh(now, &key, limits::PAGE_LIFE);
        match cached.filter(|page| page.version.sequence >= lowest).cloned() {
            Some(page) => self.take_page(resolver, now, &key, &page, true),
            None => {
                self.step = Step::Page { lowest };
                self.ask(key);
            }
        }
    }

    /// A withdrawal speaks for its own writer only, and nobody points to a page of its own that it has withdrawn: whoever was
    /// led there has an outdated page in hand.
    pub(super) fn take_page(
        &mut self,
        resolver: &mut Resolver,
        now: SystemTime,
        key: &RecordKey,
        page: &Page,
        cached: bool,
    ) {
        self.visited.push(Visit { key: *key, version: page.version, cached });
        match self.way.by {
            By::Page if page.withdrawn => self.give_up(resolver, now, Outcome::Failed(Failure::PageStale(*key))),
            By::Anchor if page.withdrawn => {
                let prefix = reach(&self.eid, &page.index.covering(), &self.others);
                self.give_up(resolver, now, Outcome::Hole { prefix });
            }
            _ => self.walk(resolver, now, key, &page.index),
        }
    }

    /// Follows the longest entry of a page.
    fn walk(&mut self, resolver: &mut Resolver, now: SystemTime, key: &RecordKey, page: &Index) {
        let eid = self.eid;
        let beside = page.entries().iter().map(|entry| entry.prefix).filter(|prefix| !prefix.covers(&eid));
        self.others.extend(beside);
        let covering = page.entries().iter().filter(|entry| entry.prefix.covers(&eid));
        let (parts, others): (Vec<&Entry>, Vec<&Entry>) =
            covering.partition(|entry| matches!(entry.target, Target::Page { .. }));
        // Entries ascend by length where they cover one EID.
        if let Some(longest) = others.last() {
            self.way.longest = Some((*longest).clone());
        }
        let length = |entry: &Entry| entry.prefix.net.prefix_len();
        let part = parts.last().filter(|part| others.last().is_none_or(|other| length(part) > length(other)));
        if let Some(Entry { prefix, target: Target::Page { lowest } }) = part {
            self.way.by = By::Page;
            self.ask_page(resolver, now, RecordKey::index(resolver.network, key.writer, *prefix), *lowest);
        } else if let Some(entry) = self.way.longest.take() {
            self.follow(resolver, now, entry);
        } else {
            self.step = Step::Done(Outcome::Hole { prefix: reach(&eid, &page.covering(), &self.others) });
        }
    }

    /// Follows the longest match of a writer's pages.
    fn follow(&mut self, resolver: &mut Resolver, now: SystemTime, entry: Entry) {
        match entry.target {
            Target::Delegation { child, lowest } => {
                self.way.by = By::Delegation;
                self.ask_page(resolver, now, RecordKey::index(resolver.network, child, entry.prefix), lowest);
            }
            Target::Site { registrars, max_plen } => {
                self.ask_site(resolver, now, Site { prefix: entry.prefix, registrars, max_plen });
            }
            // Cannot be: a sub-page is no match, but a part of the page.
            Target::Page { .. } => {}
        }
    }
}

/// Prefixes beside the EID for which others have the word.
pub(super) fn beyond(resolver: &Resolver, eid: &EidPrefix) -> BTreeSet<EidPrefix> {
    let aggregates = resolver.anchors.iter().map(|anchor| anchor.aggregate);
    aggregates.chain([resolver.cgeid_space()]).filter(|other| !other.covers(eid)).collect()
}

/// The newest page among `values`, if it is not older than what is known to exist; else one read before.
pub(super) fn read_page(
    resolver: &mut Resolver,
    now: SystemTime,
    key: &RecordKey,
    lowest: u64,
    values: &[Vec<u8>],
) -> Result<Page, Outcome> {
    let failure = match resolver.newest(now, key, Class::Index, values) {
        Selection::Newest(verified) => match store_page(resolver, now, key, lowest, &verified) {
            Some(page) => return Ok(page),
            None => Failure::PageStale(*key),
        },
        Selection::Absent => Failure::PageMissing(*key),
        Selection::Refused(refusal) => Failure::Refused { key: *key, refusal },
        other => return Err(without_record(key, other).unwrap_or(Outcome::Conflict)),
    };
    let held = resolver.pages.held(now, key).filter(|page| page.version.sequence >= lowest);
    held.cloned().ok_or(Outcome::Failed(failure))
}

/// Keeps a page, unless it is older than one seen before or than its parent says.
fn store_page(
    resolver: &mut Resolver,
    now: SystemTime,
    key: &RecordKey,
    lowest: u64,
    verified: &Verified,
) -> Option<Page> {
    let section = verified.bundle.section(Class::Index)?;
    let Body::Index(index) = &section.body else { return None };
    let seen = resolver.pages.mark(key).unwrap_or_default();
    if section.version < seen || section.version.sequence < lowest {
        return None;
    }
    // A withdrawn page lists nothing.
    let withdrawn = section.flags.withdrawn;
    let index = if withdrawn { Index::new(index.covering(), Vec::new()).ok()? } else { index.clone() };
    resolver.pages.insert(now, *key, index, withdrawn, section.version, section.expires_at());
    resolver.pages.held(now, key).cloned()
}
