// SPDX-License-Identifier: GPL-2.0-or-later
//! One resolution, step by step.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::SystemTime;

use cgeid::Cn;
use wire::address::EidPrefix;

use super::Resolver;
use super::alternates::Alternates;
use super::anchors::TrustAnchor;
use super::cover::reach;
use super::descend::{Visit, Way, beyond, read_page};
use super::outcome::{Failure, Found, Outcome};
use super::select::Selection;
use crate::error::Refusal;
use crate::limits;
use crate::record::{Class, Index, RecordKey, Target, Verified};

/// The way from one EID to its outcome.
#[derive(Debug)]
pub struct Resolution {
    pub(super) eid: EidPrefix,
    pub(super) step: Step,
    asked: VecDeque<RecordKey>,
    waiting: BTreeSet<RecordKey>,
    gets: usize,
    pub(super) way: Way,
    /// Anchors whose word is as good, if that of the first cannot be had.
    pub(super) further: VecDeque<TrustAnchor>,
    /// Why the first could not be followed.
    pub(super) trouble: Option<Outcome>,
    /// Prefixes beside the EID that have an answer of their own, as far as they were met.
    pub(super) others: BTreeSet<EidPrefix>,
    pub(super) visited: Vec<Visit>,
}

/// What is waited for.
#[derive(Debug)]
pub(super) enum Step {
    /// The bundle of a CGEID.
    Node(Cn),
    /// The bundles of its alternates.
    Alternates(Box<Alternates>),
    /// An index page, of at least this sequence.
    Page { lowest: u64 },
    /// The lists of live more-specifics of a site's registrars.
    Live { site: Site, live: BTreeSet<EidPrefix>, refused: Option<Failure> },
    /// What the registrars say about one prefix.
    Records { site: Site, records: Box<Records> },
    /// Nothing.
    Done(Outcome),
}

/// A site as its delegation describes it.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) prefix: EidPrefix,
    pub(super) registrars: BTreeSet<Cn>,
    pub(super) max_plen: u8,
}

/// What registrars have answered so far about one prefix.
#[derive(Debug)]
pub(super) struct Records {
    prefix: EidPrefix,
    /// Shorter registered prefixes, to be tried when this one is withdrawn; the longest first.
    shorter: VecDeque<EidPrefix>,
    best: Option<Found>,
    withdrawn: bool,
    trouble: Option<Outcome>,
}

impl Resolution {
    /// Starts at the address of `eid`; its length does not matter.
    pub fn new(resolver: &mut Resolver, eid: EidPrefix, now: SystemTime) -> Self {
        let eid = EidPrefix::host(eid.iid, eid.net.addr());
        let space = resolver.cgeid_space();
        let mut this = Self {
            eid,
            step: Step::Done(Outcome::NotFound),
            asked: VecDeque::new(),
            waiting: BTreeSet::new(),
            gets: 0,
            way: Way::default(),
            further: VecDeque::new(),
            trouble: None,
            others: BTreeSet::new(),
            visited: Vec::new(),
        };
        if space.covers(&eid) {
            this.ask_node(resolver);
            return this;
        }
        let mut anchors: Vec<TrustAnchor> = resolver.anchors.longest(&eid).copied().collect();
        // One whose page is at hand is known to be alive: the others' order is that in which they were given.
        anchors.sort_by_key(|anchor| {
            let key = RecordKey::index(resolver.network, anchor.cn, anchor.aggregate);
            resolver.pages.fresh(now, &key, limits::PAGE_LIFE).is_none()
        });
        this.further = anchors.into();
        if !this.ask_anchor(resolver, now) {
            let everything = EidPrefix::new(eid.iid, eid.net.addr(), 0).unwrap_or(eid);
            this.others = beyond(resolver, &eid);
            this.step = Step::Done(Outcome::Unanchored { prefix: reach(&eid, &everything, &this.others) });
        }
        this
    }

    /// The EID, as a host prefix.
    pub fn eid(&self) -> EidPrefix {
        self.eid
    }

    /// The next key to GET; several may be asked for at once.
    pub fn poll(&mut self) -> Option<RecordKey> {
        self.asked.pop_front()
    }

    /// What was found under a key; nothing, if the lookup failed or took too long. Answers not asked for are ignored.
    pub fn handle(&mut self, resolver: &mut Resolver, now: SystemTime, key: &RecordKey, values: &[Vec<u8>]) {
        if !self.waiting.remove(key) {
            return;
        }
        self.asked.retain(|asked| asked != key);
        match std::mem::replace(&mut self.step, Step::Done(Outcome::NotFound)) {
            Step::Node(cn) => self.take_node(resolver, now, key, cn, values),
            Step::Alternates(mut alternates) => {
                alternates.take(resolver, now, key, values);
                self.join_alternates(*alternates);
            }
            Step::Page { lowest } => match read_page(resolver, now, key, lowest, values) {
                Ok(page) => self.take_page(resolver, now, key, &page, false),
                Err(outcome) => self.give_up(resolver, now, outcome),
            },
            Step::Live { site, mut live, mut refused } => {
                match read_page(resolver, now, key, 0, values) {
                    Ok(page) => {
                        self.visited.push(Visit { key: *key, version: page.version, cached: false });
                        live.extend(live_prefixes(&page.index, &site));
                    }
                    Err(Outcome::Failed(Failure::PageMissing(_))) => {}
                    Err(Outcome::Failed(failure)) => _ = refused.get_or_insert(failure),
                    // A registrar that is revoked or contradicts itself lists nothing.
                    Err(_) => {}
                }
                self.step = Step::Live { site, live, refused };
                self.finish_live(resolver);
            }
            Step::Records { site, mut records } => {
                self.take_record(resolver, now, key, &mut records, values);
                self.step = Step::Records { site, records };
                self.finish_records(resolver);
            }
            done @ Step::Done(_) => self.step = done,
        }
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.step {
            Step::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// GETs asked for so far.
    pub fn gets(&self) -> usize {
        self.gets
    }

    /// The index pages that led to the outcome, in the order in which they were read.
    pub fn visited(&self) -> &[Visit] {
        &self.visited
    }

    pub(super) fn ask(&mut self, key: RecordKey) {
        if self.waiting.insert(key) {
            self.asked.push_back(key);
            self.gets += 1;
        }
    }

    fn ask_node(&mut self, resolver: &Resolver) {
        let cn = match self.eid.net.addr() {
            IpAddr::V6(address) => resolver.network.cn_of(address),
            IpAddr::V4(_) => None,
        };
        // Reserved (anycast) values have no owner, so nothing can be found.
        let Some(cn) = cn else { return };
        self.step = Step::Node(cn);
        self.ask(RecordKey::node(resolver.network, cn));
    }

    fn take_node(&mut self, resolver: &mut Resolver, now: SystemTime, key: &RecordKey, cn: Cn, values: &[Vec<u8>]) {
        let outcome = match resolver.newest(now, key, Class::Mapping, values) {
            Selection::Newest(verified) => {
                let found = self.found(&verified, cn, self.eid, now);
                found.map_or(Outcome::NotFound, |found| Outcome::Mapping(Box::new(found)))
            }
            other => without_record(key, other).unwrap_or(Outcome::NotFound),
        };
        self.ask_alternates(resolver, now, key, values, outcome);
    }

    /// Waits for the alternates that have not answered; once all have, there is an outcome.
    pub(super) fn join_alternates(&mut self, alternates: Alternates) {
        self.step = match self.waiting.is_empty() {
            true => Step::Done(alternates.finish(self.eid)),
            false => Step::Alternates(Box::new(alternates)),
        };
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.step = Step::Done(outcome);
    }

    /// A site that registers more-specifics has lists of them; of another the prefix is known.
    pub(super) fn ask_site(&mut self, resolver: &mut Resolver, now: SystemTime, site: Site) {
        if site.max_plen <= site.prefix.net.prefix_len() {
            let prefix = site.prefix;
            self.ask_records(resolver, site, prefix, VecDeque::new());
            return;
        }
        let mut live = BTreeSet::new();
        for registrar in &site.registrars {
            let key = RecordKey::index(resolver.network, *registrar, site.prefix);
            match resolver.pages.fresh(now, &key, limits::LIVE_PAGE_LIFE) {
                Some(page) => {
                    self.visited.push(Visit { key, version: page.version, cached: true });
                    live.extend(live_prefixes(&page.index, &site));
                }
                None => self.ask(key),
            }
        }
        self.step = Step::Live { site, live, refused: None };
        self.finish_live(resolver);
    }

    /// Once all lists are there, asks for the longest live prefix.
    fn finish_live(&mut self, resolver: &Resolver) {
        if !self.waiting.is_empty() {
            return;
        }
        let Step::Live { site, live, refused } = &mut self.step else { return };
        let (site, refused) = (site.clone(), refused.take());
        let eid = self.eid;
        let (mut covering, beside): (Vec<EidPrefix>, Vec<EidPrefix>) = live.iter().partition(|live| live.covers(&eid));
        self.others.extend(beside);
        covering.sort_by_key(|prefix| Reverse(prefix.net.prefix_len()));
        covering.truncate(limits::WITHDRAWN_CANDIDATES);
        let mut covering = VecDeque::from(covering);
        match (covering.pop_front(), refused) {
            (Some(longest), _) => self.ask_records(resolver, site, longest, covering),
            (None, Some(failure)) => self.step = Step::Done(Outcome::Failed(failure)),
            (None, None) => self.step = Step::Done(self.unregistered(&site)),
        }
    }

    fn ask_records(&mut self, resolver: &Resolver, site: Site, prefix: EidPrefix, shorter: VecDeque<EidPrefix>) {
        for registrar in &site.registrars {
            self.ask(RecordKey::prefix(resolver.network, *registrar, prefix));
        }
        let records = Records { prefix, shorter, best: None, withdrawn: false, trouble: None };
        self.step = Step::Records { site, records: Box::new(records) };
    }

    /// A registrar's word. A withdrawal speaks for that registrar only.
    fn take_record(
        &self,
        resolver: &mut Resolver,
        now: SystemTime,
        key: &RecordKey,
        records: &mut Records,
        values: &[Vec<u8>],
    ) {
        match resolver.newest(now, key, Class::Prefix, values) {
            Selection::Newest(verified) => match self.found(&verified, key.writer, records.prefix, now) {
                Some(found) => {
                    let later = |best: &Found| found.version.sequence > best.version.sequence;
                    if records.best.as_ref().is_none_or(later) {
                        records.best = Some(found);
                    }
                }
                None => records.withdrawn = true,
            },
            other => {
                if let Some(outcome) = without_record(key, other) {
                    records.trouble.get_or_insert(outcome);
                }
            }
        }
    }

    /// Once all registrars have answered, the newest live record wins.
    fn finish_records(&mut self, resolver: &Resolver) {
        if !self.waiting.is_empty() {
            return;
        }
        let Step::Records { site, records } = &mut self.step else { return };
        let site = site.clone();
        if let Some(found) = records.best.take() {
            self.step = Step::Done(Outcome::Mapping(Box::new(found)));
        } else if records.withdrawn
            && matches!(records.trouble, None | Some(Outcome::Failed(_)))
            && let Some(next) = records.shorter.pop_front()
        {
            // Proven gone, though still listed: what it was cut from covers the EID again. Rubbish under the key of another
            // registrar is no better reason to stop than its silence: any node on the way can send either.
            let shorter = std::mem::take(&mut records.shorter);
            self.ask_records(resolver, site, next, shorter);
        } else if let Some(trouble) = records.trouble.take() {
            self.step = Step::Done(trouble);
        } else {
            self.step = Step::Done(self.unregistered(&site));
        }
    }

    fn unregistered(&self, site: &Site) -> Outcome {
        Outcome::Unregistered { prefix: reach(&self.eid, &site.prefix, &self.others) }
    }

    /// What a bundle says about `prefix`; `None` if that is a withdrawal, or where we answer for its owner and no locator could be
    /// told. One who answers for himself needs none.
    fn found(&self, verified: &Verified, writer: Cn, prefix: EidPrefix, now: SystemTime) -> Option<Found> {
        let bundle = &verified.bundle;
        let (class, mapping, proxy, map_servers) = match (bundle.mapping(), bundle.prefix()) {
            (Some(mapping), _) => (Class::Mapping, mapping.clone(), true, Vec::new()),
            (None, Some(body)) => {
                let servers = body.map_servers.iter().copied().collect();
                (Class::Prefix, body.mapping.clone(), body.site.proxy, servers)
            }
            (None, None) => return None,
        };
        if proxy && !mapping.is_reachable() {
            return None;
        }
        let section = bundle.section(class)?;
        Some(Found {
            mapping,
            prefix,
            covered: reach(&self.eid, &prefix, &self.others),
            more_specifics: self.others.iter().filter(|other| prefix.covers(other)).copied().collect(),
            writer,
            version: section.version,
            remaining: section.expires_at().duration_since(now).unwrap_or_default(),
            proxy,
            map_servers,
            alternates: BTreeSet::new(),
            record: bundle.encode().ok()?,
        })
    }
}

/// The more-specifics that a registrar may list, and does.
fn live_prefixes(page: &Index, site: &Site) -> Vec<EidPrefix> {
    page.entries()
        .iter()
        .filter(|entry| matches!(entry.target, Target::Site { .. }))
        .map(|entry| entry.prefix)
        .filter(|prefix| site.prefix.covers(prefix) && prefix.net.prefix_len() <= site.max_plen)
        .collect()
}

/// The outcome when there is no newest record; `None` if there is just none.
pub(super) fn without_record(key: &RecordKey, selection: Selection) -> Option<Outcome> {
    match selection {
        Selection::Newest(_) | Selection::Absent => None,
        Selection::Refused(refusal) => Some(refused(key, refusal)),
        Selection::Revoked => Some(Outcome::Revoked),
        Selection::Conflict => Some(Outcome::Conflict),
    }
}

fn refused(key: &RecordKey, refusal: Refusal) -> Outcome {
    Outcome::Failed(Failure::Refused { key: *key, refusal })
}
