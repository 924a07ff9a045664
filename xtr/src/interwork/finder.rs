// SPDX-License-Identifier: GPL-2.0-or-later
//! Which sites there are in an aggregate, found by asking the mapping system (RFC 6832, section 5.1).
//!
//! An answer covers the address that was asked about: it is a site, or a hole (RFC 9301, section 8.1). The next question is about the
//! first address behind it, and so on to the end of the aggregate. The map system in this process answers from signed index pages under
//! the trust anchors that the operator named; of any other one this asks no more than a Map-Resolver can.
//!
//! What a walk finds replaces what the last one found. Where nobody answers, as for a site whose ETR is down, what was known stays, and
//! the walk goes on behind it. One that is broken off changes nothing: a map system that is silent for a while takes no site's packets away.
//!
//! Where LISP-SEC is demanded a question has a one-time key, as any other (RFC 9303, section 6.4), and what does not prove itself is no
//! answer. Where a Map-Server says, proven, that nobody can sign, it is put without, if that is allowed; what is said then counts within that.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::address::EidPrefix;
use wire::control::lispsec::OneTimeKey;
use wire::control::{MapReply, Nonce};
use wire::record::{Action, MappingRecord};

use super::limits;
use crate::refusal::Refusal;
use crate::resolve::{LispSec, Secured, asking};
use crate::transport::{MapSystem, Outgoing, turned};

/// An aggregate, and the sites in it that the last whole walk found, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// The aggregate.
    pub prefix: EidPrefix,
    /// EID-prefixes of sites.
    pub sites: Vec<EidPrefix>,
    /// When that walk ended; none = there was none yet.
    pub since: Option<Instant>,
    /// Places of which it was told nothing.
    pub silent: usize,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Sites {
    /// Ask a Map-Resolver.
    Ask(Outgoing),
    /// The sites of all aggregates are others than before.
    Changed,
}

/// Walks through aggregates, one after the other, for ever.
#[derive(Debug)]
pub struct Finder {
    resolvers: Vec<MapSystem>,
    rlocs: Vec<IpAddr>,
    /// The turn of our locators in which something was answered last.
    uplink: usize,
    aggregates: Vec<Aggregate>,
    random: StdRng,
    secured: Secured,
    walk: Walk,
    /// When the round through all aggregates began, the time without answers left out, and whether one of its walks was broken off.
    begun: Instant,
    has_failed: bool,
    due: Instant,
    outputs: VecDeque<Sites>,
}

/// A walk.
#[derive(Debug)]
struct Walk {
    /// Which aggregate.
    index: usize,
    /// The address that is asked about.
    at: IpAddr,
    /// The questions about it that wait for an answer.
    nonces: Vec<Nonce>,
    /// How often it was asked about, and how often since anything was last answered.
    tries: u32,
    unanswered: u32,
    questions: usize,
    sites: Vec<EidPrefix>,
    /// Places without an answer, and how many of them are the last ones.
    silent: usize,
    silences: u8,
    has_answers: bool,
}

impl Walk {
    fn new(index: usize, aggregate: &EidPrefix) -> Self {
        let at = aggregate.net.network();
        Self {
            index,
            at,
            nonces: Vec::new(),
            tries: 0,
            unanswered: 0,
            questions: 0,
            sites: Vec::new(),
            silent: 0,
            silences: 0,
            has_answers: false,
        }
    }
}

impl Finder {
    /// Looks into `aggregates`, asking `resolvers` in turn. Nonces are drawn from `seed`, which has to come from the system's entropy.
    pub fn new(now: Instant, aggregates: Vec<EidPrefix>, resolvers: Vec<MapSystem>, seed: [u8; 32]) -> Option<Self> {
        let walk = Walk::new(0, aggregates.first()?);
        let empty = |prefix| Aggregate { prefix, sites: Vec::new(), since: None, silent: 0 };
        Some(Self {
            resolvers,
            rlocs: Vec::new(),
            uplink: 0,
            aggregates: aggregates.into_iter().map(empty).collect(),
            random: StdRng::from_seed(seed),
            secured: Secured::default(),
            walk,
            begun: now,
            has_failed: false,
            due: now,
            outputs: VecDeque::new(),
        })
    }

    /// The same, with answers sent to these.
    #[must_use]
    pub fn answered_at(self, rlocs: Vec<IpAddr>) -> Self {
        Self { rlocs, ..self }
    }

    /// Answers are sent to these from now on.
    pub fn set_rlocs(&mut self, rlocs: Vec<IpAddr>) {
        self.rlocs = rlocs;
    }

    /// These are asked in turn from now on.
    pub fn set_resolvers(&mut self, resolvers: Vec<MapSystem>) {
        self.resolvers = resolvers;
    }

    /// What is asked from now on is protected so; under another demand a walk begins anew.
    pub fn protect(&mut self, settings: LispSec) {
        if self.secured.set(settings) {
            self.walk = Walk::new(self.walk.index, &self.aggregate());
        }
    }

    /// What has been found.
    pub fn aggregates(&self) -> &[Aggregate] {
        &self.aggregates
    }

    /// All sites, ascending, each once.
    pub fn sites(&self) -> Vec<EidPrefix> {
        let mut sites: Vec<_> = self.aggregates.iter().flat_map(|aggregate| &aggregate.sites).copied().collect();
        sites.sort_unstable();
        sites.dedup();
        sites
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Instant {
        self.due
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Sites> {
        self.outputs.pop_front()
    }

    /// Asks, if it is time to.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.due > now {
            return;
        }
        if self.walk.index == 0 && self.walk.questions == 0 && self.walk.tries == 0 {
            (self.begun, self.has_failed) = (now, false);
        }
        if self.walk.tries >= limits::TRIES {
            self.pass_over(now);
        } else {
            self.ask(now);
        }
    }

    /// Takes a Map-Reply, of which `payload` is the whole; whether it answers a question of this engine.
    ///
    /// # Errors
    /// If it answers one that was protected, and does not prove itself (RFC 9303, section 6.9).
    pub fn answer(&mut self, now: Instant, message: &MapReply, payload: &[u8]) -> Result<bool, Refusal> {
        if !self.walk.nonces.contains(&message.nonce) {
            return Ok(false);
        }
        let asked = self.asked();
        let opened = self.secured.open(now, &asked, message.nonce, payload);
        let proven = opened.map_err(|discarded| discarded.refusal)?;
        self.uplink += self.turns(self.walk.unanswered.saturating_sub(1));
        self.walk.unanswered = 0;
        let records = &proven.as_ref().map_or(message, |proven| &proven.reply).records;
        let records = records.iter().filter_map(|record| Some((record.eid.ip_prefix()?, record)));
        let covering = records.filter(|(prefix, _)| prefix.covers(&asked));
        let Some((prefix, record)) = covering.max_by_key(|(prefix, _)| prefix.net.prefix_len()) else {
            return Ok(true);
        };
        let is_of_nobody = proven.as_ref().is_some_and(|proven| proven.cant_sign) && record.locators.is_empty();
        if is_of_nobody && self.secured.ask_openly(asked, prefix).is_some() {
            (self.walk.nonces, self.walk.tries) = (Vec::new(), 0);
            self.due = now + limits::PACE;
            return Ok(true);
        }
        let within = self.secured.open_within(&asked).filter(|within| prefix.covers(within));
        self.learn(now, within.unwrap_or(prefix), record);
        Ok(true)
    }

    fn aggregate(&self) -> EidPrefix {
        self.aggregates[self.walk.index].prefix
    }

    fn asked(&self) -> EidPrefix {
        EidPrefix::host(self.aggregate().iid, self.walk.at)
    }

    fn ask(&mut self, now: Instant) {
        let asked = self.asked();
        let turn = self.walk.tries as usize;
        let rlocs = turned(&self.rlocs, self.uplink + self.turns(self.walk.unanswered));
        let resolver = self.resolvers.get(turn.checked_rem(self.resolvers.len()).unwrap_or(0)).copied();
        self.walk.tries += 1;
        self.walk.unanswered += 1;
        self.due = now + limits::PATIENCE;
        let is_protected = self.secured.is_due(&asked);
        // A protected question has a nonce of its own, as it has a key of its own (RFC 9303, section 5).
        let kept = self.walk.nonces.first().copied().filter(|_| !is_protected);
        let nonce = kept.unwrap_or_else(|| Nonce(self.random.next_u64()));
        // Without a locator of the right family, or without a key, nobody is asked, and the tries run out.
        let Some(resolver) = resolver else { return };
        let security = is_protected.then(|| {
            let mut key = [0; OneTimeKey::OCTETS];
            self.random.fill_bytes(&mut key);
            self.secured.begin(now, asked, nonce, resolver, OneTimeKey::new(key))
        });
        let Ok(security) = security.transpose() else { return };
        self.walk.nonces.extend(kept.is_none().then_some(nonce));
        self.outputs.extend(asking(asked, nonce, resolver, &rlocs, security).map(Sites::Ask));
    }

    /// How many of our locators have had their turn after so many tries without an answer: when all resolvers have been asked in vain it may be our own way
    /// to them.
    fn turns(&self, tries: u32) -> usize {
        (tries as usize).checked_div(self.resolvers.len()).unwrap_or(0)
    }

    /// Nothing answers what was asked.
    fn forget_questions(&mut self) {
        self.walk.nonces.clear();
        self.secured.retain(|_| false);
    }

    /// The part of the aggregate that one answer covers. What it says of addresses outside is nobody's business.
    fn learn(&mut self, now: Instant, prefix: EidPrefix, record: &MappingRecord) {
        let aggregate = self.aggregate();
        let part = if prefix.covers(&aggregate) { aggregate } else { prefix };
        match record.action {
            _ if !record.locators.is_empty() => self.walk.sites.push(part),
            Action::NativelyForward | Action::NoAction => {}
            // "Not yet": the question is put again when its time has come.
            Action::SendMapRequest => return,
            // That there is none to be had now says nothing about whether there is a site.
            _ => self.keep(&part),
        }
        (self.walk.has_answers, self.walk.silences) = (true, 0);
        self.go_behind(now, &part);
    }

    /// Nobody says what there is: the former site there is kept, or what there was in a block, and no other site pays for it.
    fn pass_over(&mut self, now: Instant) {
        let (aggregate, at) = (self.aggregate(), self.walk.at);
        tracing::debug!(%at, "the map system does not say what site there is");
        self.walk.silent += 1;
        self.walk.silences += 1;
        if self.walk.unanswered > 0 {
            // Of many resolvers not all were asked: from the next locator then.
            self.uplink += self.turns(self.walk.unanswered).max(1);
        }
        // Waiting costs nobody anything.
        self.begun += limits::PATIENCE * limits::TRIES;
        if self.walk.silences >= limits::SILENCES {
            return self.break_off(now);
        }
        let host = EidPrefix::host(aggregate.iid, at);
        let known = self.aggregates[self.walk.index].sites.iter().find(|site| site.covers(&host)).copied();
        let length = if at.is_ipv4() { limits::PASSED_OVER.0 } else { limits::PASSED_OVER.1 };
        let length = length.saturating_sub(limits::PASSED_OVER_GROWTH * (self.walk.silences - 1));
        let block = || EidPrefix::new(aggregate.iid, at, length.max(aggregate.net.prefix_len()));
        let part = known.or_else(block).unwrap_or(host);
        self.keep(&part);
        self.go_behind(now, &part);
    }

    /// What was found in a part before is taken for found, as far as it is not behind us.
    fn keep(&mut self, part: &EidPrefix) {
        let (before, at) = (&self.aggregates[self.walk.index].sites, self.walk.at);
        let is_there = |site: &&EidPrefix| part.covers(site) && site.net.broadcast() >= at;
        self.walk.sites.extend(before.iter().filter(is_there));
    }

    fn go_behind(&mut self, now: Instant, part: &EidPrefix) {
        let aggregate = self.aggregate();
        self.forget_questions();
        (self.walk.tries, self.walk.unanswered) = (0, 0);
        self.walk.questions += 1;
        self.due = now + limits::PACE;
        match behind(part).filter(|next| aggregate.net.contains(next)) {
            // Not one word of a map system is no sign that there is nothing.
            None if !self.walk.has_answers => self.break_off(now),
            None => self.end(now),
            Some(_) if self.is_too_long() => {
                tracing::warn!(%aggregate, "too many sites, or answers about too little each: the aggregate is not looked through");
                self.break_off(now);
            }
            Some(next) => self.walk.at = next,
        }
    }

    fn is_too_long(&self) -> bool {
        self.walk.questions >= limits::QUESTIONS || self.walk.sites.len() >= limits::PITR_PREFIXES
    }

    /// The walk has come to the end of the aggregate.
    fn end(&mut self, now: Instant) {
        let sites = std::mem::take(&mut self.walk.sites);
        let aggregate = &mut self.aggregates[self.walk.index];
        (aggregate.since, aggregate.silent) = (Some(now), self.walk.silent);
        if aggregate.sites != sites {
            tracing::info!(aggregate = %aggregate.prefix, sites = sites.len(), "the sites of an aggregate have changed");
            aggregate.sites = sites;
            self.outputs.push_back(Sites::Changed);
        }
        self.next_walk(now);
    }

    fn break_off(&mut self, now: Instant) {
        self.has_failed = true;
        self.next_walk(now);
    }

    /// Through the next aggregate; behind the last one comes a pause, so that a tenth of the time is spent with it at most.
    fn next_walk(&mut self, now: Instant) {
        let index = (self.walk.index + 1) % self.aggregates.len();
        self.forget_questions();
        self.walk = Walk::new(index, &self.aggregates[index].prefix);
        let took = now.saturating_duration_since(self.begun);
        self.due = now
            + match (index, self.has_failed) {
                (0, true) => limits::AFTER_FAILURE.max(took * 9),
                (0, false) => limits::AGAIN.max(took * 9),
                _ => limits::PACE,
            };
    }
}

/// The first address behind a prefix; none behind the last of all.
fn behind(prefix: &EidPrefix) -> Option<IpAddr> {
    match prefix.net.broadcast() {
        IpAddr::V4(last) => last.to_bits().checked_add(1).map(|next| Ipv4Addr::from_bits(next).into()),
        IpAddr::V6(last) => last.to_bits().checked_add(1).map(|next| Ipv6Addr::from_bits(next).into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::time::Duration;

    use crate::transport::Destination;
    use proptest::prelude::*;
    use wire::address::InstanceId;
    use wire::control::{ControlMessage, MapRequest};
    use wire::record::{LocatorRecord, MapVersion, Ttl};

    fn prefix(net: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
    }

    fn record(prefix: EidPrefix, action: Action, rloc: Option<&str>) -> MappingRecord {
        let locators = rloc.map(|rloc| LocatorRecord::new(rloc.parse::<IpAddr>().unwrap(), 1, 100));
        MappingRecord {
            ttl: Ttl(1),
            action,
            authoritative: false,
            map_version: MapVersion::default(),
            eid: prefix.into(),
            locators: locators.into_iter().collect(),
        }
    }

    /// A map system that knows these sites, and answers with the largest hole otherwise.
    fn answer(sites: &[EidPrefix], host: EidPrefix) -> MappingRecord {
        if let Some(site) = sites.iter().find(|site| site.covers(&host)) {
            return record(*site, Action::NoAction, Some("198.51.100.1"));
        }
        let all = (0..=host.net.max_prefix_len()).filter_map(|len| EidPrefix::new(host.iid, host.net.addr(), len));
        let hole = all.into_iter().find(|hole| !sites.iter().any(|site| hole.covers(site))).unwrap();
        record(hole, Action::NativelyForward, None)
    }

    struct Bench {
        finder: Finder,
        now: Instant,
        changes: usize,
    }

    impl Bench {
        fn new(aggregates: &[&str]) -> Self {
            let now = Instant::now();
            let resolvers = vec![MapSystem::Node("203.0.113.53".parse().unwrap())];
            let aggregates = aggregates.iter().map(|net| prefix(net)).collect();
            let mut finder = Finder::new(now, aggregates, resolvers, [1; 32]).unwrap();
            finder.set_rlocs(vec!["192.0.2.1".parse().unwrap()]);
            Self { finder, now, changes: 0 }
        }

        /// What it asks when it next does.
        fn question(&mut self) -> Option<MapRequest> {
            self.now = self.now.max(self.finder.next_deadline());
            self.finder.handle_timeout(self.now);
            let mut asked = None;
            while let Some(output) = self.finder.poll() {
                match output {
                    Sites::Changed => self.changes += 1,
                    Sites::Ask(outgoing) => {
                        let Ok(ControlMessage::Ecm(ecm)) = ControlMessage::decode(&outgoing.bytes) else { panic!() };
                        let Ok(ControlMessage::MapRequest(request)) = ControlMessage::decode(&ecm.message) else {
                            panic!()
                        };
                        let Destination::Socket { local, .. } = outgoing.to else { panic!() };
                        assert_eq!(request.itr_rlocs[0].ip(), Some(local), "it is answered where it comes from");
                        asked = Some(request);
                    }
                }
            }
            asked
        }

        /// One round through all aggregates; how many questions it took.
        fn walk(&mut self, respond: impl Fn(EidPrefix) -> Option<MappingRecord>) -> usize {
            let begun = self.now;
            for questions in 0.. {
                assert!(questions < 3 * limits::QUESTIONS, "it does not end");
                if questions > 0 && self.finder.next_deadline() >= self.now + limits::AFTER_FAILURE {
                    assert!(self.now > begun || questions == 1);
                    while let Some(output) = self.finder.poll() {
                        self.changes += usize::from(matches!(output, Sites::Changed));
                    }
                    return questions;
                }
                let Some(request) = self.question() else { continue };
                let host = request.records[0].eid.ip_prefix().unwrap();
                let records = respond(host).into_iter().collect();
                let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
                assert_eq!(self.finder.answer(self.now, &reply, &[]), Ok(true));
                assert!(request.pitr, "DP-166");
            }
            unreachable!()
        }

        fn found(&self) -> Vec<String> {
            self.finder.sites().iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn the_sites_of_an_aggregate_are_found_and_what_goes_is_found_gone() {
        let mut bench = Bench::new(&["2001:db8::/32", "10.0.0.0/8"]);
        let sites = ["2001:db8:a::/48", "2001:db8:b::/48", "10.9.0.0/16", "192.0.2.0/24"].map(prefix);
        let questions = bench.walk(|host| Some(answer(&sites, host)));
        assert_eq!(bench.found(), ["10.9.0.0/16", "2001:db8:a::/48", "2001:db8:b::/48"]);
        assert!(questions < 40, "a question for each site and for each hole: {questions}");
        bench.walk(|host| Some(answer(&sites, host)));
        assert_eq!(bench.changes, 2, "one for each aggregate, and none while nothing changes");
        bench.walk(|host| Some(answer(&sites[..1], host)));
        assert_eq!(bench.found(), ["2001:db8:a::/48"]);
    }

    #[test]
    fn a_map_system_that_is_silent_or_undecided_takes_nobody_away() {
        let mut bench = Bench::new(&["10.0.0.0/8"]);
        let sites = ["10.9.0.0/16"].map(prefix);
        bench.walk(|host| Some(answer(&sites, host)));
        bench.walk(|_| None);
        bench.walk(|host| Some(record(host, Action::SendMapRequest, None)));
        bench.walk(|_| Some(record(prefix("10.0.0.0/8"), Action::DropNoReason, None)));
        assert_eq!(bench.found(), ["10.9.0.0/16"]);
    }

    #[test]
    fn a_site_that_nobody_answers_for_hides_no_other_and_stays_if_it_was_known() {
        let mut bench = Bench::new(&["10.0.0.0/8", "2001:db8::/32"]);
        let sites = ["10.1.0.0/16", "10.2.0.0/16", "10.9.0.0/24", "2001:db8::/48", "2001:db8:b::/48"].map(prefix);
        let except = |silent: EidPrefix| move |host| (!silent.covers(&host)).then(|| answer(&sites, host));
        bench.walk(except(sites[0]));
        assert_eq!(bench.found(), ["10.2.0.0/16", "10.9.0.0/24", "2001:db8::/48", "2001:db8:b::/48"]);
        bench.walk(|host| Some(answer(&sites, host)));
        assert_eq!(bench.found().len(), sites.len());
        let silent = |bench: &Bench| bench.finder.aggregates().iter().map(|aggregate| aggregate.silent).sum::<usize>();
        assert_eq!(silent(&bench), 0);
        let begun = bench.now;
        for site in sites {
            bench.walk(except(site));
            assert_eq!((bench.found().len(), silent(&bench)), (sites.len(), 1), "without answers about {site}");
        }
        assert!(bench.now - begun < Duration::from_secs(sites.len() as u64 * 75), "the next round is not late for it");
    }

    #[test]
    fn a_claim_of_more_than_the_aggregate_is_the_aggregate() {
        let mut bench = Bench::new(&["10.0.0.0/8"]);
        bench.walk(|_| Some(record(prefix("0.0.0.0/0"), Action::NoAction, Some("198.51.100.1"))));
        assert_eq!(bench.found(), ["10.0.0.0/8"]);
    }

    #[test]
    fn what_is_not_answered_is_asked_from_the_next_uplink_and_the_next_question_from_the_one_that_is() {
        let uplinks: [IpAddr; 2] = ["192.0.2.1", "192.0.2.129"].map(|uplink| uplink.parse().unwrap());
        let mut bench = Bench::new(&["10.0.0.0/8"]);
        bench.finder.set_rlocs(uplinks.to_vec());
        let sites = ["10.1.0.0/16", "10.2.0.0/16"].map(prefix);
        let (mut from_dead, mut asked) = (0, 0);
        // One round of the walk, as if nothing got anywhere from the first uplink.
        while bench.changes == 0 {
            let Some(request) = bench.question() else { continue };
            asked += 1;
            assert!(asked < 100, "only the first uplink is asked from, or nothing ends");
            if request.itr_rlocs[0].ip() == Some(uplinks[0]) {
                from_dead += 1;
                continue;
            }
            let host = request.records[0].eid.ip_prefix().unwrap();
            let records = vec![answer(&sites, host)];
            let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
            assert_eq!(bench.finder.answer(bench.now, &reply, &[]), Ok(true));
        }
        assert_eq!((bench.found(), from_dead), (sites.map(|site| site.to_string()).to_vec(), 1));
    }

    #[test]
    fn from_the_uplink_from_which_it_was_answered_it_asks_also_where_that_was_not_yet() {
        let uplinks: [IpAddr; 2] = ["192.0.2.1", "192.0.2.129"].map(|uplink| uplink.parse().unwrap());
        let mut bench = Bench::new(&["10.0.0.0/8"]);
        bench.finder.set_rlocs(uplinks.to_vec());
        let mut from_dead = 0;
        for _ in 0..5 * limits::TRIES {
            let Some(request) = bench.question() else { continue };
            if request.itr_rlocs[0].ip() == Some(uplinks[0]) {
                from_dead += 1;
                continue;
            }
            let host = request.records[0].eid.ip_prefix().unwrap();
            let records = vec![record(host, Action::SendMapRequest, None)];
            let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
            assert_eq!(bench.finder.answer(bench.now, &reply, &[]), Ok(true));
        }
        assert_eq!(from_dead, 1);
    }

    #[test]
    fn answers_about_one_address_each_end_the_walk() {
        let mut bench = Bench::new(&["2001:db8::/32"]);
        let questions = bench.walk(|host| Some(record(host, Action::NativelyForward, None)));
        assert_eq!((questions, bench.found().len()), (limits::QUESTIONS, 0));
        bench.walk(|host| Some(record(host, Action::NoAction, Some("198.51.100.1"))));
        assert_eq!(bench.found().len(), 0);
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_not_for_the_finder() {
        let mut bench = Bench::new(&["10.0.0.0/8"]);
        let request = bench.question().unwrap();
        let unasked = MapReply { nonce: Nonce(request.nonce.0 ^ 1), ..MapReply::default() };
        assert_eq!(bench.finder.answer(bench.now, &unasked, &[]), Ok(false));
        let beside = record(prefix("11.0.0.0/8"), Action::NoAction, Some("198.51.100.1"));
        let reply = MapReply { nonce: request.nonce, records: vec![beside], ..MapReply::default() };
        assert_eq!(bench.finder.answer(bench.now, &reply, &[]), Ok(true));
        assert_eq!(
            bench.question().unwrap().records,
            request.records,
            "asked again, for it says nothing about what was asked"
        );
    }

    proptest! {
        #[test]
        fn no_answer_breaks_it(lengths in proptest::collection::vec((0..=32u8, 0..8u8, any::<bool>()), 1..60)) {
            let mut bench = Bench::new(&["255.0.0.0/8", "0.0.0.0/0"]);
            for (length, action, positive) in lengths {
                let Some(request) = bench.question() else { continue };
                let host = request.records[0].eid.ip_prefix().unwrap();
                let part = EidPrefix::new(host.iid, host.net.addr(), length).unwrap();
                let answer = record(part, Action::from_bits(action), positive.then_some("198.51.100.1"));
                let reply = MapReply { nonce: request.nonce, records: vec![answer], ..MapReply::default() };
                prop_assert_eq!(bench.finder.answer(bench.now, &reply, &[]), Ok(true));
            }
            let sites = bench.finder.sites();
            prop_assert!(sites.len() <= 2 * limits::PITR_PREFIXES);
        }
    }
}
