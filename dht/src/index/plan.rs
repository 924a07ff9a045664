// SPDX-License-Identifier: GPL-2.0-or-later
//! Cutting a list of delegations into pages.
//!
//! What does not fit one page is cut along the bits of the prefixes: the largest parts of the radix tree that fit a page each
//! become one, and what is left (an entry for each such page, and the few delegations beside them) is cut in the same way,
//! until it fits the page of the covering prefix. What a page says depends on nothing outside of its own prefix; so pages that
//! a change does not touch stay as they are, to the octet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cgeid::Cn;
use wire::address::EidPrefix;

use crate::error::Malformed;
use crate::limits;
use crate::record::{Class, Entry, Index, Target};

/// Octets of an INDEX section round its body: 40 of header, 2 of length and 64 of an Ed25519 signature.
const AROUND: usize = 40 + 2 + 64;
/// Octets of the body beside the entries and their CNs: two TLV heads, the covering prefix without its address, a count.
const FIXED: usize = 4 + 7 + 4 + 1;
/// CNs of a page: their count is one octet.
const CNS: usize = u8::MAX as usize;
/// How many times the octets of an entry for a sub-page a part must have to become one: a GET for less is not worth it.
const WORTH: usize = 3;

/// Why a list of delegations cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A prefix that is not the authority's to delegate.
    #[error("{prefix} is not inside {covering}")]
    Outside {
        /// The prefix.
        prefix: EidPrefix,
        /// The authority's.
        covering: EidPrefix,
    },
    /// One prefix with two meanings.
    #[error("{0} is delegated twice")]
    Twice(EidPrefix),
    /// Sub-pages are the plan's to make, and a delegation to oneself would be one.
    #[error("{0} is delegated to the authority itself")]
    Own(EidPrefix),
    /// An entry that the format does not allow.
    #[error("{prefix}: {problem}")]
    Entry {
        /// Its prefix.
        prefix: EidPrefix,
        /// What is wrong with it.
        problem: Malformed,
    },
    /// More delegations than one authority may have.
    #[error("{0} delegations are more than one authority may have; delegate a part to another writer")]
    TooMany(usize),
    /// So unevenly spread that readers would give up on the way.
    #[error("readers would have to go deeper than they do to reach {0}; delegate a part to another writer")]
    TooDeep(EidPrefix),
}

/// One page of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPage {
    /// The prefix that it is about.
    pub covering: EidPrefix,
    /// What it lists; entries of sub-pages have lowest sequence 0, until it is known.
    pub entries: Vec<Entry>,
    /// Which page it is on the way from the covering prefix down; 1 is the first.
    pub depth: usize,
    /// Octets of the section, with its signature.
    pub octets: usize,
}

/// The pages of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pages: Vec<PlannedPage>,
}

impl Plan {
    /// The pages of the authority `writer` for `covering`; delegations in any order, without sub-pages.
    ///
    /// # Errors
    /// When the delegations are not the authority's to make, or too many.
    pub fn new(writer: Cn, covering: EidPrefix, delegations: Vec<Entry>) -> Result<Self, PlanError> {
        Self::with_page_size(writer, covering, delegations, Class::Index.max_size())
    }

    /// [`Plan::new`] with pages of at most `size` octets; below 400 many a list has no plan.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with_page_size(
        writer: Cn,
        covering: EidPrefix,
        mut delegations: Vec<Entry>,
        size: usize,
    ) -> Result<Self, PlanError> {
        delegations.sort_by_key(|entry| (entry.prefix.net.addr(), entry.prefix.net.prefix_len()));
        check(writer, &covering, &delegations)?;
        let mut cutter = Cutter { writer, size: size.min(Class::Index.max_size()), pages: Vec::new() };
        let mut items = delegations;
        for _ in 1..limits::PAGE_DEPTH {
            if cutter.octets(&covering, &items).is_some() {
                break;
            }
            items = cutter.cut(&covering, items);
        }
        let octets = cutter.octets(&covering, &items).ok_or(PlanError::TooDeep(covering))?;
        let mut pages = cutter.pages;
        pages.push(PlannedPage { covering, entries: items, depth: 1, octets });
        let mut plan = Self { pages };
        plan.find_depths();
        plan.check_depths()?;
        Ok(plan)
    }

    /// The pages, each after its sub-pages; that of the covering prefix is the last.
    pub fn pages(&self) -> &[PlannedPage] {
        &self.pages
    }

    /// Pages that a reader may have to read one after the other.
    pub fn levels(&self) -> usize {
        self.pages.iter().map(|page| page.depth).max().unwrap_or_default()
    }

    /// Parents come after their sub-pages, so from the end on each page's depth is known before those of its sub-pages.
    fn find_depths(&mut self) {
        let mut depths: BTreeMap<EidPrefix, usize> = BTreeMap::new();
        for page in self.pages.iter_mut().rev() {
            page.depth = depths.get(&page.covering).copied().unwrap_or(1);
            depths.extend(sub_pages(&page.entries).map(|prefix| (prefix, page.depth + 1)));
        }
    }

    /// The page of a child is one more on the way, also where sub-pages for parts of its prefix were read before.
    fn check_depths(&self) -> Result<(), PlanError> {
        let at: BTreeMap<EidPrefix, &PlannedPage> = self.pages.iter().map(|page| (page.covering, page)).collect();
        for page in &self.pages {
            for entry in page.entries.iter().filter(|entry| matches!(entry.target, Target::Delegation { .. })) {
                if deepest(&at, page, &entry.prefix) >= limits::PAGE_DEPTH {
                    return Err(PlanError::TooDeep(entry.prefix));
                }
            }
        }
        Ok(())
    }
}

/// The depth of the deepest page, from `page` down, that is about a part of `prefix`.
fn deepest(at: &BTreeMap<EidPrefix, &PlannedPage>, page: &PlannedPage, prefix: &EidPrefix) -> usize {
    let inside = sub_pages(&page.entries).filter(|part| prefix.covers(part));
    let below = inside.filter_map(|part| at.get(&part)).map(|part| deepest(at, part, prefix));
    below.max().unwrap_or(page.depth)
}

fn sub_pages(entries: &[Entry]) -> impl Iterator<Item = EidPrefix> {
    entries.iter().filter(|entry| matches!(entry.target, Target::Page { .. })).map(|entry| entry.prefix)
}

/// Whether these delegations, in order, are the writer's to make.
fn check(writer: Cn, covering: &EidPrefix, delegations: &[Entry]) -> Result<(), PlanError> {
    if delegations.len() > limits::DELEGATIONS {
        return Err(PlanError::TooMany(delegations.len()));
    }
    if let Some(pair) = delegations.windows(2).find(|pair| pair[0].prefix == pair[1].prefix) {
        return Err(PlanError::Twice(pair[0].prefix));
    }
    for entry in delegations {
        let prefix = entry.prefix;
        match &entry.target {
            _ if !covering.covers(&prefix) => return Err(PlanError::Outside { prefix, covering: *covering }),
            Target::Page { .. } => return Err(PlanError::Own(prefix)),
            Target::Delegation { child, .. } if *child == writer => return Err(PlanError::Own(prefix)),
            _ => {}
        }
        Index::new(*covering, vec![entry.clone()]).map_err(|problem| PlanError::Entry { prefix, problem })?;
    }
    Ok(())
}

/// Makes pages.
struct Cutter {
    writer: Cn,
    size: usize,
    pages: Vec<PlannedPage>,
}

impl Cutter {
    /// One level of pages: the largest parts that fit a page each become one; what is left.
    fn cut(&mut self, covering: &EidPrefix, items: Vec<Entry>) -> Vec<Entry> {
        let mut left = Vec::new();
        self.descend(covering, &items, &mut left, true);
        left
    }

    /// `items` are those of one part of the radix tree, in order; the whole of it is not cut off from itself.
    fn descend(&mut self, above: &EidPrefix, items: &[Entry], left: &mut Vec<Entry>, is_whole: bool) {
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return };
        let at = common(&first.prefix, &last.prefix);
        let is_top = is_whole && at == *above;
        if !is_top
            && !self.has_live_page(first, &at)
            && let Some(octets) = self.octets(&at, items)
        {
            let page = Entry { prefix: at, target: Target::Page { lowest: 0 } };
            let weight = octets - AROUND - FIXED - address_octets(&at);
            if weight > WORTH * page.packed_len(above) && !is_page(items) {
                self.pages.push(PlannedPage { covering: at, entries: items.to_vec(), depth: 0, octets });
                left.push(page);
            } else {
                left.extend_from_slice(items);
            }
            return;
        }
        // What is said of the whole part stays; its halves are looked at apart.
        let own = usize::from(first.prefix == at);
        left.extend_from_slice(&items[..own]);
        let halves = &items[own..];
        let middle = halves.partition_point(|item| !bit(&item.prefix, at.net.prefix_len()));
        self.descend(&at, &halves[..middle], left, false);
        self.descend(&at, &halves[middle..], left, false);
    }

    /// A site of which the writer itself lists live more-specifics: that list has the key that a sub-page would have.
    fn has_live_page(&self, first: &Entry, at: &EidPrefix) -> bool {
        match &first.target {
            Target::Site { registrars, max_plen } => {
                first.prefix == *at && *max_plen > at.net.prefix_len() && registrars.contains(&self.writer)
            }
            _ => false,
        }
    }

    /// Octets of a page of these entries; `None` if they do not fit one.
    fn octets(&self, covering: &EidPrefix, entries: &[Entry]) -> Option<usize> {
        let mut octets = AROUND + FIXED + address_octets(covering);
        if entries.is_empty() {
            // A page that lists nothing has no TLV 0702.
            return Some(octets - 4 - 1);
        }
        let mut cns = BTreeSet::new();
        for entry in entries {
            let new = entry.target.named().into_iter().filter(|cn| cns.insert(*cn)).count();
            octets += entry.packed_len(covering) + new * Cn::LENGTH;
            if octets > self.size || cns.len() > CNS {
                return None;
            }
        }
        Some(octets)
    }
}

fn is_page(items: &[Entry]) -> bool {
    matches!(items, [Entry { target: Target::Page { .. }, .. }])
}

fn address_octets(prefix: &EidPrefix) -> usize {
    usize::from(prefix.net.prefix_len()).div_ceil(8)
}

/// The longest prefix that covers both, and with them all that lie between: `first` is the shortest of those at its address.
fn common(first: &EidPrefix, last: &EidPrefix) -> EidPrefix {
    let same = (aligned(first) ^ aligned(last)).leading_zeros();
    let length = first.net.prefix_len().min(last.net.prefix_len());
    let length = u8::try_from(same).map_or(length, |same| length.min(same));
    EidPrefix::new(first.iid, first.net.addr(), length).unwrap_or(*first)
}

/// The bit after the first `at` ones.
fn bit(prefix: &EidPrefix, at: u8) -> bool {
    aligned(prefix).checked_shl(at.into()).is_some_and(|rest| rest >> 127 == 1)
}

/// The bits of the address, the first one highest.
fn aligned(prefix: &EidPrefix) -> u128 {
    match prefix.net.addr() {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}
