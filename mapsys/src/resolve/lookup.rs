// SPDX-License-Identifier: GPL-2.0-or-later
//! Lookups in the DHT: one for each EID however many ask, one GET for each key however many lookups need it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use cgeid::Network;
use cgeid::pins::{Change, Fingerprint};
use dht::record::{RecordKey, Rloc, Version};
use dht::resolve::{Anchors, Failure, Outcome, Resolution, Resolver, TrustAnchor};
use wire::address::EidPrefix;
use wire::record::LocatorRecord;

use crate::engine::Mark;
use crate::limits::{LOOKUP_TIMEOUT, LOOKUPS, READ_KEYS, READ_ON};
use crate::refusal::Refusal;
use crate::resolve::found::{Found, Mapping};
use crate::transport::Now;
use dht::pause::Pause;

/// Lookups in flight.
#[derive(Debug)]
pub struct Lookups {
    resolver: Resolver,
    running: HashMap<EidPrefix, Running>,
    /// The deadlines of those that run, in order: an input costs no walk through them.
    deadlines: BTreeSet<(Instant, EidPrefix)>,
    /// Who needs a key that was asked for.
    gets: HashMap<RecordKey, Vec<EidPrefix>>,
    /// What was read lately, and by whom it was used.
    read: HashMap<RecordKey, Answered>,
    /// When each was read, in order; one that was read again stands here again.
    read_order: VecDeque<(Instant, RecordKey)>,
    questions: VecDeque<RecordKey>,
    done: VecDeque<Ended>,
    refused: u64,
    refused_logged: Pause,
}

#[derive(Debug)]
struct Running {
    resolution: Resolution,
    deadline: Instant,
    /// The keys that it asked for.
    asked: Vec<RecordKey>,
    /// Some GET was not answered: absence means nothing.
    unanswered: bool,
    is_repeat: bool,
    /// What the node's own xTR was told meanwhile.
    said: Option<Found>,
}

/// The end of a lookup.
#[derive(Debug)]
pub struct Ended {
    /// What was looked up.
    pub host: EidPrefix,
    /// What is known of it.
    pub found: Found,
    /// Whether something else was said of it before, because something newer had not come yet.
    pub is_repeat: bool,
    /// What the node's own xTR was told while it took too long, if that was old.
    pub said: Option<Found>,
}

impl Ended {
    /// Without an answer.
    fn unknown(host: EidPrefix) -> Self {
        Self { host, found: Found::Unknown(host), is_repeat: false, said: None }
    }
}

/// What the DHT has said under a key, while it is read on.
#[derive(Debug)]
struct Answered {
    values: Vec<Vec<u8>>,
    hosts: Vec<EidPrefix>,
    until: Instant,
}

impl Lookups {
    /// Lookups that trust `anchors`; `marks` are the highest versions of index pages that earlier runs saw, `pins` the first
    /// key of each writer.
    pub fn new(
        network: Network,
        anchors: impl IntoIterator<Item = TrustAnchor>,
        marks: impl IntoIterator<Item = (RecordKey, Version)>,
        pins: &[(Fingerprint, SystemTime)],
    ) -> Self {
        let mut resolver = Resolver::new(network, Anchors::new(anchors));
        marks.into_iter().for_each(|(key, version)| resolver.pages.restore(key, version));
        pins.iter().for_each(|(fingerprint, used)| resolver.pins.restore(fingerprint, *used));
        Self {
            resolver,
            running: HashMap::new(),
            deadlines: BTreeSet::new(),
            gets: HashMap::new(),
            read: HashMap::new(),
            read_order: VecDeque::new(),
            questions: VecDeque::new(),
            done: VecDeque::new(),
            refused: 0,
            refused_logged: Pause::default(),
        }
    }

    /// Trusts `anchors` from now on; what is in flight ends without an answer. `false` if they are the same as before.
    pub fn trust(&mut self, anchors: impl IntoIterator<Item = TrustAnchor>) -> bool {
        let older = std::mem::replace(&mut self.resolver.anchors, Anchors::new(anchors));
        if older == self.resolver.anchors {
            return false;
        }
        let running = std::mem::take(&mut self.running).into_keys();
        self.done.extend(running.map(Ended::unknown));
        self.deadlines.clear();
        self.gets.clear();
        self.read.clear();
        self.read_order.clear();
        true
    }

    /// Whether a lookup of this host is in flight.
    pub fn runs(&self, host: &EidPrefix) -> bool {
        self.running.contains_key(host)
    }

    /// If no trust anchor covers a host, which is no CGEID either: the part of the EID space round it of which that is so.
    pub fn unanchored(&mut self, now: Now, host: EidPrefix) -> Option<EidPrefix> {
        match Resolution::new(&mut self.resolver, host, now.wall).outcome() {
            Some(Outcome::Unanchored { prefix }) => Some(*prefix),
            _ => None,
        }
    }

    /// Takes note of what the node's own xTR was told of a host that is still looked up.
    pub fn told(&mut self, host: &EidPrefix, said: Found) {
        if let Some(running) = self.running.get_mut(host) {
            running.said = Some(said);
        }
    }

    /// Starts a lookup of a host, unless one runs.
    ///
    /// # Errors
    /// `RequestTableFull`.
    pub fn start(&mut self, now: Now, host: EidPrefix) -> Result<(), Refusal> {
        if self.runs(&host) {
            return Ok(());
        }
        if self.running.len() >= LOOKUPS {
            return Err(Refusal::RequestTableFull);
        }
        let resolution = Resolution::new(&mut self.resolver, host, now.wall);
        self.begin(now, host, resolution, false);
        self.advance(now, host);
        Ok(())
    }

    /// Begins a lookup; in the place of one that runs it goes on waiting for what that has asked for.
    fn begin(&mut self, now: Now, host: EidPrefix, resolution: Resolution, is_repeat: bool) {
        let older = self.running.remove(&host);
        let asked = older.map(|older| {
            self.deadlines.remove(&(older.deadline, host));
            older.asked
        });
        let deadline = now.monotonic + LOOKUP_TIMEOUT;
        self.deadlines.insert((deadline, host));
        let asked = asked.unwrap_or_default();
        self.running.insert(host, Running { resolution, deadline, asked, unanswered: false, is_repeat, said: None });
    }

    /// Ends a lookup; what only it has asked for is of no use to anybody any more.
    fn end(&mut self, host: &EidPrefix) {
        let Some(running) = self.running.remove(host) else { return };
        self.deadlines.remove(&(running.deadline, *host));
        for key in &running.asked {
            let Some(hosts) = self.gets.get_mut(key) else { continue };
            hosts.retain(|other| other != host);
            if hosts.is_empty() {
                self.gets.remove(key);
            }
        }
    }

    /// Number of lookups in flight.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none is in flight.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Takes what is under a key; `None` if the DHT did not answer. `false` if nobody waits for it.
    pub fn values(&mut self, now: Now, key: RecordKey, values: Option<Vec<Vec<u8>>>) -> bool {
        let Some(hosts) = self.gets.remove(&key) else { return false };
        let unanswered = values.is_none();
        let values = values.unwrap_or_default();
        self.remember(now, key, &values, &hosts);
        for host in hosts {
            let Some(running) = self.running.get_mut(&host) else { continue };
            running.asked.retain(|asked| *asked != key);
            running.unanswered |= unanswered;
            running.resolution.handle(&mut self.resolver, now.wall, &key, &values);
            self.advance(now, host);
        }
        true
    }

    /// Takes what came under a key after [`Self::values`]: the lookups that used what was there before are done again with it.
    pub fn newer(&mut self, now: Now, key: RecordKey, values: Vec<Vec<u8>>) {
        let read = self.read.get_mut(&key).filter(|answered| answered.until > now.monotonic);
        let Some(answered) = read else { return };
        self.resolver.learn(now.wall, &key, &values);
        answered.values = values;
        for host in answered.hosts.clone() {
            self.repeat(now, host);
        }
    }

    /// Goes a lookup's way again with what was read, and asks for what it did not need before.
    fn repeat(&mut self, now: Now, host: EidPrefix) {
        if !self.runs(&host) && self.running.len() >= LOOKUPS {
            return;
        }
        let mut resolution = Resolution::new(&mut self.resolver, host, now.wall);
        let mut unread = Vec::new();
        while let Some(key) = resolution.poll() {
            match self.read.get(&key) {
                Some(answered) => resolution.handle(&mut self.resolver, now.wall, &key, &answered.values),
                None => unread.push(key),
            }
        }
        self.begin(now, host, resolution, true);
        for key in unread {
            self.ask(key, host);
        }
        self.advance(now, host);
    }

    fn remember(&mut self, now: Now, key: RecordKey, values: &[Vec<u8>], hosts: &[EidPrefix]) {
        while let Some((until, key)) = self.read_order.front().copied().filter(|(until, _)| *until <= now.monotonic) {
            self.read_order.pop_front();
            if self.read.get(&key).is_some_and(|answered| answered.until == until) {
                self.read.remove(&key);
            }
        }
        // One key can be read again and again within its time.
        if (self.read.len() < READ_KEYS || self.read.contains_key(&key)) && self.read_order.len() < 2 * READ_KEYS {
            let until = now.monotonic + READ_ON;
            self.read_order.push_back((until, key));
            self.read.insert(key, Answered { values: values.to_vec(), hosts: hosts.to_vec(), until });
        }
    }

    /// Ends the lookups that take too long.
    pub fn expire(&mut self, now: Now) {
        while let Some((_, host)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now.monotonic) {
            self.end(&host);
            self.done.push_back(Ended::unknown(host));
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The next key to ask the DHT for.
    pub fn poll_get(&mut self) -> Option<RecordKey> {
        self.questions.pop_front()
    }

    /// The next lookup that ended.
    pub fn poll_ended(&mut self) -> Option<Ended> {
        self.done.pop_front()
    }

    /// What must outlive the process of what was seen since the last call: index pages of a higher version, first keys.
    pub fn take_marks(&mut self) -> impl Iterator<Item = Mark> + use<> {
        let pages = self.resolver.pages.changes().into_iter().map(|(key, version)| Mark::Page(key, version));
        pages.chain(self.resolver.pins.changes().into_iter().map(|change| match change {
            Change::Pinned { fingerprint, used } => Mark::Pin(fingerprint, used),
            Change::Forgotten(cn) => Mark::ForgottenPin(cn),
        }))
    }

    /// Lookups that ended at a record that does not verify, since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn ask(&mut self, key: RecordKey, host: EidPrefix) {
        let waiting = self.gets.entry(key).or_default();
        if waiting.is_empty() {
            self.questions.push_back(key);
        }
        if let Some(running) = self.running.get_mut(&host)
            && !running.asked.contains(&key)
        {
            running.asked.push(key);
            waiting.push(host);
        }
    }

    /// Hands out the questions of a lookup, and its end.
    fn advance(&mut self, now: Now, host: EidPrefix) {
        while let Some(key) = self.running.get_mut(&host).and_then(|running| running.resolution.poll()) {
            self.ask(key, host);
        }
        let Some(running) = self.running.get_mut(&host) else { return };
        let Some(outcome) = running.resolution.outcome() else { return };
        if let Outcome::Failed(Failure::Refused { key, refusal }) = outcome {
            self.refused_logged
                .line(now.monotonic, |left_out| tracing::warn!(%key, %refusal, left_out, "record refused"));
            self.refused += 1;
        }
        let found = found(now, host, outcome, running.unanswered);
        let (is_repeat, said) = (running.is_repeat, running.said.take());
        self.end(&host);
        self.done.push_back(Ended { host, found, is_repeat, said });
    }
}

/// The outcome in the Map-Resolver's terms. Where the DHT did not answer, absence is not an answer either.
fn found(now: Now, host: EidPrefix, outcome: &Outcome, unanswered: bool) -> Found {
    match outcome {
        Outcome::Mapping(found) => {
            let told = found.mapping.locators.iter().filter(|locator| locator.fits_map_reply());
            let mut locators: Vec<LocatorRecord> = told.map(Rloc::to_record).collect();
            locators.sort_by(|a, b| a.rloc.cmp(&b.rloc));
            Found::Mapping(Arc::new(Mapping {
                prefix: found.covered,
                registered: found.prefix,
                locators,
                ttl: found.mapping.ttl,
                map_version: found.mapping.map_version.unwrap_or_default(),
                proxy: found.proxy,
                map_servers: found.map_servers.clone(),
                expires: now.monotonic + found.remaining,
            }))
        }
        Outcome::Hole { prefix } | Outcome::Unanchored { prefix } => Found::Hole(*prefix),
        Outcome::Unregistered { .. } | Outcome::NotFound if unanswered => Found::Unknown(host),
        Outcome::Unregistered { prefix } => Found::Unregistered(*prefix),
        Outcome::NotFound => Found::CgeidAbsent(host),
        Outcome::Revoked | Outcome::Conflict | Outcome::Failed(Failure::Refused { .. }) => Found::Refused(host),
        Outcome::Failed(failure) => {
            tracing::debug!(eid = %host, %failure, "no answer");
            Found::Unknown(host)
        }
    }
}
