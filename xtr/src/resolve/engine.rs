// SPDX-License-Identifier: GPL-2.0-or-later
//! The resolving engine: one conversation per EID-prefix, a nonce each.

mod doubt;
mod proof;
mod published;
mod rest;
mod source;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::address::{EidPrefix, InstanceId};
use wire::control::lispsec::OneTimeKey;
use wire::control::{MapReply, MapRequest, Nonce};
use wire::record::{Action, MappingRecord};

use super::conversation::{Cause, Conversation, Stage};
use super::entry::entry;
use super::limits;
use super::mirror::{Installed, Mirror};
use super::policy::{Accepted, Answer, Policy};
use super::request::{self, Question};
use super::secured::Secured;
use super::sources::{Sources, verdict};
use crate::map_cache::Update;
use crate::refusal::{Refusal, Tally};
use crate::reply::RateTable;
use crate::transport::{MapSystem, Outgoing, Via, turned};

/// Whom to ask, and what to believe.
#[derive(Debug, Clone)]
pub struct Config {
    /// Asked in turn, the one that answered last first.
    pub resolvers: Vec<MapSystem>,
    /// Our locators, IPv4 first: where answers may be sent.
    pub rlocs: Vec<IpAddr>,
    /// What answers may say.
    pub policy: Policy,
}

/// What the engine is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A packet found no mapping.
    Miss {
        /// Its destination, as a host prefix.
        eid: EidPrefix,
        /// Its source.
        source: IpAddr,
    },
    /// A mapping in use is about to expire.
    Refresh {
        /// Its prefix.
        prefix: EidPrefix,
    },
    /// Packets come with this source from this RLOC: may they?
    Source {
        /// Their inner source, as a host prefix.
        eid: EidPrefix,
        /// Their outer source.
        rloc: IpAddr,
        /// Whether they may until there is another answer.
        is_known: bool,
    },
    /// A Map-Reply came.
    Reply {
        /// How.
        via: Via,
        /// Decoded.
        message: &'a MapReply,
        /// The UDP payload, over which the HMACs of LISP-SEC are computed.
        payload: &'a [u8],
    },
    /// A solicit-map-request came (RFC 9301, section 6.1).
    Smr(&'a MapRequest),
    /// A probe of a locator of this prefix was answered, with these records (RFC 9301, section 7.1).
    Probed {
        /// What the probe asked about.
        prefix: EidPrefix,
        /// What the answer says.
        records: &'a [MappingRecord],
    },
    /// A Map-Server says this of its own accord, or because it was asked to for `asked`; its word is proven (RFC 9437).
    Published {
        /// How it came.
        via: Via,
        /// What was asked for.
        asked: Option<EidPrefix>,
        /// Whether what is cached already lives longer by that: if not, it ends when nobody uses it.
        extends: bool,
        /// Whether it is under a key that LISP-SEC has made (RFC 9437, section 7.1).
        proven: bool,
        /// The mappings.
        records: &'a [MappingRecord],
    },
    /// Other Map-Resolvers are asked from now on.
    Resolvers(Vec<MapSystem>),
    /// A trusted peer has a newer version of this mapping than is cached (RFC 9302, section 7.2).
    Newer {
        /// Its prefix.
        prefix: EidPrefix,
    },
    /// Our locators changed.
    Locators(Vec<IpAddr>),
    /// Our EID-prefixes changed.
    Own(Vec<EidPrefix>),
    /// Those of them, and parts of them, that another xTR has now.
    Moved(Vec<EidPrefix>),
    /// Reached through a NAT from now on, as its Map-Server has proven to this node, which is its RTR.
    Bound(EidPrefix),
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a Map-Request.
    Send(Outgoing),
    /// Tell the packet half.
    Update(Update),
}

/// Finds mappings for the packet half.
#[derive(Debug)]
pub struct Resolver {
    config: Config,
    random: StdRng,
    preferred: usize,
    /// Which locator of ours is asked from first: the one that the last answer came to.
    uplink: usize,
    conversations: HashMap<EidPrefix, Conversation>,
    nonces: HashMap<Nonce, EidPrefix>,
    mirror: Mirror,
    smrs: RateTable<EidPrefix>,
    /// Prefixes inside what SMRs name.
    smrs_inside: RateTable<EidPrefix>,
    /// What was said to have changed again within [`limits::SMR_INTERVAL`], and when that is over.
    said_again: BTreeSet<(Instant, EidPrefix)>,
    /// What is said to have changed, and waits for room.
    doubted: VecDeque<EidPrefix>,
    /// Prefixes about which packets say that there is a newer version.
    newer: RateTable<EidPrefix>,
    sources: Sources,
    secured: Secured,
    /// Prefixes about which the answers to probes disagree with what the mapping system says.
    disagreements: RateTable<EidPrefix>,
    /// Prefixes of which no locator can be reached.
    unreached: RateTable<EidPrefix>,
    outputs: VecDeque<Output>,
    tally: Tally,
}

impl Resolver {
    /// Nonces are drawn from `seed`, which has to come from the system's entropy.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self {
            config,
            random: StdRng::from_seed(seed),
            preferred: 0,
            uplink: 0,
            conversations: HashMap::new(),
            nonces: HashMap::new(),
            mirror: Mirror::default(),
            smrs: RateTable::new(1, limits::SMR_INTERVAL, limits::SMR_TRACKED),
            smrs_inside: RateTable::new(1, limits::SMR_INTERVAL, limits::SMR_INSIDE),
            said_again: BTreeSet::new(),
            doubted: VecDeque::new(),
            newer: RateTable::new(1, limits::SMR_INTERVAL, limits::SMR_TRACKED),
            sources: Sources::default(),
            secured: Secured::default(),
            disagreements: RateTable::new(1, limits::DISAGREEMENT_INTERVAL, limits::DISAGREEMENTS),
            unreached: RateTable::new(1, limits::UNREACHED_INTERVAL, limits::UNREACHED),
            outputs: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let result = match input {
            Input::Miss { eid, source } => self.want(now, eid, Cause::Miss { source }),
            Input::Refresh { prefix } => self.want(now, prefix, Cause::Refresh),
            Input::Source { eid, rloc, is_known } => self.on_source(now, (eid, rloc), is_known),
            Input::Reply { via, message, payload } => self.on_reply(now, via, message, payload),
            Input::Smr(message) => self.on_smr(now, message),
            Input::Probed { prefix, records } => self.on_probed(now, prefix, records),
            Input::Published { via, asked, extends, proven, records } => {
                self.on_published(now, (via, proven), asked.map(|asked| (asked, extends)), records)
            }
            Input::Resolvers(resolvers) => {
                if resolvers.iter().any(|resolver| !self.config.resolvers.contains(resolver)) {
                    self.wake(now);
                }
                (self.config.resolvers, self.preferred) = (resolvers, 0);
                Ok(())
            }
            Input::Newer { prefix } => self.on_newer(now, prefix),
            Input::Locators(rlocs) => {
                if rlocs.iter().any(|rloc| !self.config.rlocs.contains(rloc)) {
                    self.wake(now);
                }
                self.config.rlocs = rlocs;
                Ok(())
            }
            Input::Own(prefixes) => {
                self.on_own(prefixes);
                Ok(())
            }
            Input::Moved(prefixes) => {
                self.on_moved(prefixes);
                Ok(())
            }
            Input::Bound(prefix) => {
                self.end_holes(&prefix, true);
                Ok(())
            }
        };
        if let Err(refusal) = result {
            self.tally.count(refusal);
        }
        self.handle_timeout(now);
    }

    /// Whom it asks.
    pub fn resolvers(&self) -> &[MapSystem] {
        &self.config.resolvers
    }

    /// Packets to these EID-prefixes of others are led into the tunnel, whoever sends them; none = the node is no PITR.
    pub fn set_pitr_for(&mut self, prefixes: Option<Vec<EidPrefix>>) {
        self.config.policy.pitr_for = prefixes;
    }

    /// Sends and forgets what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.doubt_what_was_said_again(now);
        self.ask_what_is_due(now);
        if self.ask_about_doubted(now) {
            self.ask_what_is_due(now);
        }
    }

    fn ask_what_is_due(&mut self, now: Instant) {
        let is_due = |conversation: &Conversation| conversation.deadline() <= now;
        let due: Vec<EidPrefix> =
            self.conversations.iter().filter(|(_, conversation)| is_due(conversation)).map(|(eid, _)| *eid).collect();
        for eid in due {
            if let Err(refusal) = self.advance(now, eid) {
                self.tally.count(refusal);
            }
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let said_again = self.said_again.first().map(|(at, _)| *at);
        self.conversations.values().map(Conversation::deadline).chain(said_again).min()
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The mappings in use, in order of prefix.
    pub fn installed(&self, now: Instant) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        self.mirror.iter(now)
    }

    /// Those behind `after` in order of prefix, or all, round `within` or inside it, if that is given; also what has expired since.
    pub fn installed_behind(
        &self,
        within: Option<EidPrefix>,
        after: Option<EidPrefix>,
    ) -> impl Iterator<Item = (&EidPrefix, &Installed)> {
        self.mirror.behind(within, after)
    }

    /// The mapping of exactly this prefix.
    pub fn installed_at(&self, now: Instant, prefix: &EidPrefix) -> Option<&Installed> {
        self.mirror.get(now, prefix)
    }

    /// The mapping that packets to an address meet.
    pub fn mapping_for(&self, now: Instant, iid: InstanceId, address: IpAddr) -> Option<(EidPrefix, &Installed)> {
        self.mirror.longest_match(now, iid, address)
    }

    /// The locators of a mapping that has this one, whose priority is at least as good.
    pub fn no_worse_than(&mut self, now: Instant, rloc: IpAddr) -> Vec<IpAddr> {
        let Some(prefix) = self.mirror.user_of(now, rloc, None) else { return Vec::new() };
        let Some(installed) = self.mirror.get(now, &prefix) else { return Vec::new() };
        let of = |wanted| installed.locators.iter().find(move |(address, _)| *address == wanted);
        let priority = of(rloc).map_or(0, |(_, record)| record.priority);
        let others =
            installed.locators.iter().filter(|(address, record)| *address != rloc && record.priority <= priority);
        others.map(|(address, _)| *address).collect()
    }

    /// The prefix behind `after` that has this locator in use, and behind the last one the first.
    pub fn user_of(&mut self, now: Instant, rloc: IpAddr, after: Option<EidPrefix>) -> Option<EidPrefix> {
        self.mirror.user_of(now, rloc, after)
    }

    /// Knows this mapping no longer; the packet half is not told.
    pub fn forget(&mut self, prefix: &EidPrefix) {
        self.mirror.remove(prefix);
    }

    /// Notes that a mapping of `eid` is wanted; [`Self::handle_timeout`] then asks if it may.
    fn want(&mut self, now: Instant, eid: EidPrefix, cause: Cause) -> Result<(), Refusal> {
        if let Some(conversation) = self.conversations.get_mut(&eid) {
            // Until it is answered, or while it rests after all tries.
            conversation.is_doubted |= cause.is_of_a_change();
            match &mut conversation.stage {
                Stage::Due { .. } | Stage::Asked { .. } => conversation.joins(cause),
                Stage::AskAgain { wanted, .. } => {
                    *wanted = true;
                    conversation.joins(cause);
                }
                Stage::Resting { .. } if cause.is_of_a_change() => {}
                Stage::Resting { .. } => return Err(Refusal::RequestPaused),
                Stage::Answered { until } => {
                    let at = *until;
                    conversation.begins_again(cause, at);
                }
            }
            return Ok(());
        }
        let has_room = match cause {
            Cause::Smr | Cause::Told if self.room_for_doubted() > 0 => true,
            _ if cause.is_doubtful() => self.room_for_doubtful(limits::SMR_CONVERSATIONS) > 0,
            Cause::Miss { .. } => self.room() > 0 && self.open_misses() < limits::MISS_CONVERSATIONS,
            _ => self.room() > 0,
        };
        if !has_room {
            return Err(Refusal::RequestTableFull);
        }
        if let Cause::Miss { source } = cause
            && !self.has_share(source)
        {
            return Err(Refusal::RequestShareFull);
        }
        self.conversations.insert(eid, Conversation::new(now, cause));
        Ok(())
    }

    /// How many more conversations there may be, of any kind; those that are over make room.
    fn room(&mut self) -> usize {
        if self.conversations.len() >= limits::CONVERSATIONS {
            self.conversations.retain(|_, conversation| !conversation.is_over());
            let ended = self.secured.retain(|eid| self.conversations.contains_key(eid));
            self.forget_nonces(ended);
        }
        limits::CONVERSATIONS.saturating_sub(self.conversations.len())
    }

    /// How many more may be begun on the word of others, if there are to be no more than `most` of these.
    fn room_for_doubtful(&mut self, most: usize) -> usize {
        self.room().min(most.saturating_sub(self.open(|one| one.is_doubtful)))
    }

    /// How many more may be begun about what is said to have changed, whatever others have begun on the word of others.
    fn room_for_doubted(&mut self) -> usize {
        let doubted = self.open(|one| one.is_doubtful && one.is_doubted);
        self.room().min(limits::DOUBTED_CONVERSATIONS.saturating_sub(doubted))
    }

    /// How many that are not over packets of our own hosts have begun.
    fn open_misses(&self) -> usize {
        self.open(|one| !one.is_doubtful && matches!(one.cause, Cause::Miss { .. }))
    }

    /// How many such that are not over. It looks at all, as each input has done when it ends.
    fn open(&self, is_such: impl Fn(&Conversation) -> bool) -> usize {
        self.conversations.values().filter(|one| !one.is_over() && is_such(one)).count()
    }

    /// Those that rest are asked about again, each as soon as the rate allows.
    fn wake(&mut self, now: Instant) {
        self.conversations.values_mut().for_each(|conversation| conversation.wakes(now));
    }

    /// Whether a host of the site may have another conversation: no more than there is room left for all others. So one host that asks
    /// for what does not resolve takes half of what there is for packets, a second one half of the rest, and whoever comes then finds room.
    fn has_share(&self, source: IpAddr) -> bool {
        if self.conversations.len() < limits::MISS_CONVERSATIONS / 2 {
            return true;
        }
        let of_source = self.open(|one| !one.is_doubtful && one.cause.source() == Some(source));
        of_source < limits::MISS_CONVERSATIONS.saturating_sub(self.open_misses())
    }

    fn advance(&mut self, now: Instant, eid: EidPrefix) -> Result<(), Refusal> {
        let Some(conversation) = self.conversations.get_mut(&eid) else { return Ok(()) };
        match conversation.stage {
            Stage::Asked { .. } if conversation.sent > limits::RETRANSMISSIONS => {
                if matches!(conversation.cause, Cause::Miss { .. }) {
                    self.outputs.push_back(Output::Update(Update::Unresolved { eid }));
                }
                self.give_up(now, eid);
                Ok(())
            }
            Stage::Due { .. } | Stage::Asked { .. } | Stage::AskAgain { wanted: true, .. } => self.ask(now, eid),
            Stage::Resting { .. } if conversation.is_doubted && self.mirror.get(now, &eid).is_some() => {
                (conversation.cause, conversation.is_doubtful) = (Cause::Smr, true);
                self.doubt_on(now, eid)
            }
            Stage::AskAgain { wanted: false, .. } | Stage::Resting { .. } | Stage::Answered { .. } => {
                self.end_whole(now, &eid, &[]);
                self.conversations.remove(&eid);
                self.forget_keys(&eid);
                Ok(())
            }
        }
    }

    /// Nobody answers, or can be asked: there are no more requests for a while. What was asked because it is unreachable takes no room
    /// from others, nor time from them if they ask about it: it is named again in a minute.
    fn give_up(&mut self, now: Instant, eid: EidPrefix) {
        let Some(conversation) = self.conversations.get_mut(&eid) else { return };
        conversation.nonce.and_then(|nonce| self.nonces.remove(&nonce));
        let is_over = conversation.cause == Cause::Unreached;
        conversation.rests(now);
        self.forget_keys(&eid);
        self.end_whole(now, &eid, &[]);
        if is_over {
            self.conversations.remove(&eid);
        }
    }

    fn ask(&mut self, now: Instant, eid: EidPrefix) -> Result<(), Refusal> {
        let is_protected = self.secured.is_due(&eid);
        if is_protected && self.conversations.get(&eid).is_some_and(|conversation| conversation.sent == 0) {
            self.forget_keys(&eid);
        }
        let Some(conversation) = self.conversations.get_mut(&eid) else { return Ok(()) };
        // A protected request has a nonce of its own, as it has a key of its own (RFC 9303, section 5).
        let kept = conversation.nonce.filter(|_| !is_protected);
        let nonce = kept.unwrap_or_else(|| Nonce(self.random.next_u64()));
        let (sent, resolvers) = (conversation.sent as usize, self.config.resolvers.len());
        // When all have been asked in vain it may be our own way to them.
        let rlocs = turned(&self.config.rlocs, self.uplink + sent.checked_div(resolvers).unwrap_or(0));
        let in_turn = self.config.resolvers.iter().cycle().skip(self.preferred + sent).take(resolvers);
        let reachable = in_turn.filter_map(|resolver| Some((*resolver, resolver.destination(&rlocs)?))).next();
        let Some((resolver, to)) = reachable else {
            self.give_up(now, eid);
            return Err(Refusal::NoLocatorOfFamily);
        };
        let ends = self.mirror.get(now, &eid).filter(|_| conversation.cause == Cause::Refresh);
        conversation.sent(now, nonce, ends.map(|installed| installed.expires));
        let question = Question {
            asked: eid,
            source: conversation.cause.source(),
            smr_invoked: conversation.cause == Cause::Smr,
            pitr: self.config.policy.asks_as_pitr(conversation.cause.source()),
            nonce,
            itr_rlocs: &rlocs,
        };
        let security = if is_protected {
            let mut key = [0; OneTimeKey::OCTETS];
            self.random.fill_bytes(&mut key);
            Some(self.secured.begin(now, eid, nonce, resolver, OneTimeKey::new(key))?)
        } else {
            None
        };
        let bytes = request::encapsulated(question, security).map_err(|_| Refusal::NotEncodable)?;
        self.nonces.insert(nonce, eid);
        self.outputs.push_back(Output::Send(Outgoing { to, bytes }));
        Ok(())
    }

    fn on_reply(&mut self, now: Instant, via: Via, message: &MapReply, payload: &[u8]) -> Result<(), Refusal> {
        let asked = *self.nonces.get(&message.nonce).ok_or(Refusal::ReplyUnasked)?;
        let proven = self.prove(now, asked, message.nonce, payload)?;
        let message = proven.as_ref().map_or(message, |proven| &proven.reply);
        let mirror = &self.mirror;
        let buries = |prefix: &EidPrefix| mirror.has_positive_inside(now, prefix);
        let within = if proven.is_some() { None } else { self.believed_within(via, asked) };
        let answer = Answer { asked, reply: message, within, is_cached: mirror.get(now, &asked).is_some() };
        let mut accepted = self.config.policy.accept(answer, buries, &mut self.tally)?;
        if proven.is_none() {
            self.spare_proven(now, asked, &mut accepted);
        }
        self.remember_resolver(via);
        self.nonces.remove(&message.nonce);
        if proven.as_ref().is_some_and(|proven| proven.cant_sign) {
            if self.asks_openly(now, asked, &accepted) {
                return Ok(());
            }
            Self::leave_unsigned_parts(&asked, &mut accepted);
        }
        self.forget_keys(&asked);
        if self.says_ask_again(via, &asked, &accepted) {
            if let Some(conversation) = self.conversations.get_mut(&asked) {
                conversation.told_to_ask_again(now);
            }
            return Ok(());
        }
        let mut cause = None;
        if let Some(conversation) = self.conversations.get_mut(&asked) {
            conversation.answered(now);
            cause = Some(conversation.cause);
        }
        // Invented sources must not fill the map-cache with holes that nobody here asked about, and a site that is silent for a moment may
        // have withdrawn what it registers again: a probe tells when it is back.
        let takes_no_holes = matches!(cause, Some(Cause::Source | Cause::Unreached));
        let is_of_use = |entry: &Accepted<'_>| !(takes_no_holes && entry.is_negative());
        let of_use: Vec<_> = accepted.iter().filter(|entry| is_of_use(entry)).cloned().collect();
        let is_of_parts = self.is_of_parts(now, &asked, &of_use);
        // What is unreachable, and is said to be as it is cached, ends when nobody uses it.
        let says_the_same = |entry: &Accepted<'_>| {
            let named = entry.record.eid.ip_prefix().unwrap_or(entry.prefix);
            [entry.prefix, named].iter().any(|prefix| self.is_known(now, *prefix, entry.record))
        };
        if cause != Some(Cause::Unreached) || !of_use.iter().all(says_the_same) {
            self.install(now, via, (asked, is_of_parts), proven.is_some(), &of_use);
        }
        if is_of_parts {
            self.ask_about_rest(now, asked, cause);
        }
        self.end_whole(now, &asked, &of_use);
        of_use.iter().filter(|_| proven.is_some()).for_each(|entry| self.mirror.mark_secured(&entry.prefix));
        for (eid, rloc) in self.sources.take(|eid| accepted.iter().any(|entry| entry.prefix.covers(eid))) {
            let covering = accepted.iter().filter(|entry| entry.prefix.covers(&eid));
            if let Some(best) = covering.max_by_key(|entry| entry.prefix.net.prefix_len()) {
                let locators = best.locators.iter().map(|(address, _)| *address);
                self.say_source(now, (best.prefix, eid), rloc, verdict(locators, rloc));
            }
        }
        Ok(())
    }

    /// The mapping system is asked, as after an SMR, within the rates for Map-Requests (RFC 9302, section 7.2, case 2).
    fn on_newer(&mut self, now: Instant, prefix: EidPrefix) -> Result<(), Refusal> {
        if self.mirror.get(now, &prefix).is_none() {
            return Ok(());
        }
        if !self.newer.allow(now, prefix) {
            return Err(Refusal::RequestPaused);
        }
        self.want(now, prefix, Cause::Refresh)
    }

    /// How far an answer without proof is believed. The map system in this process checks coverage against signed delegations; an ETR
    /// to which it forwarded the request says what it likes. With map systems elsewhere there is nothing better than what they and
    /// the ETRs say, unless a Map-Server has proven for how much nobody can sign.
    fn believed_within(&self, via: Via, asked: EidPrefix) -> Option<EidPrefix> {
        let is_vouched = via == Via::Pipe || self.config.resolvers.iter().any(|resolver| *resolver != MapSystem::Pipe);
        if is_vouched { self.secured.open_within(&asked) } else { Some(asked) }
    }

    /// An authority that answers from a fixed place is asked first next time; a reply from an ETR names no resolver.
    fn remember_resolver(&mut self, via: Via) {
        let answered = match via {
            Via::Pipe => MapSystem::Pipe,
            Via::Socket { local, remote } => {
                let mut family = self.config.rlocs.iter().filter(|rloc| rloc.is_ipv4() == local.is_ipv4());
                self.uplink = family.position(|rloc| *rloc == local.ip()).unwrap_or(self.uplink);
                MapSystem::Node(remote.ip())
            }
        };
        if let Some(index) = self.config.resolvers.iter().position(|resolver| *resolver == answered) {
            self.preferred = index;
        }
    }

    /// Whether the answer is "not yet": action Send-Map-Request, or, from the map system in this process, a CGEID that is
    /// not published. Absence from the DHT proves nothing, and asking it again costs nobody else anything.
    fn says_ask_again(&self, via: Via, asked: &EidPrefix, accepted: &[Accepted<'_>]) -> bool {
        let answers = |entry: &&Accepted<'_>| entry.prefix.covers(asked) && entry.is_negative();
        accepted.iter().filter(answers).any(|entry| match entry.action {
            Action::SendMapRequest => true,
            Action::DropNoReason => via == Via::Pipe && self.config.policy.is_cgeid(asked),
            _ => false,
        })
    }

    /// `is_proven` says whether what LISP-SEC has proven may end by it, and `stays` whether what was asked about does.
    fn install(
        &mut self,
        now: Instant,
        via: Via,
        (asked, stays): (EidPrefix, bool),
        is_proven: bool,
        accepted: &[Accepted<'_>],
    ) {
        let replaced = accepted.iter().any(|entry| entry.prefix == asked);
        if !replaced && !stays && self.mirror.remove(&asked) {
            // The prefix that was refreshed is no longer a mapping of its own.
            self.outputs.push_back(Output::Update(Update::Remove { prefix: asked }));
        }
        for entry in accepted.iter().filter(|entry| !entry.is_negative()) {
            self.end_holes(&entry.prefix, is_proven);
        }
        // The parts first: what is round them ends with them.
        let mut accepted: Vec<_> = accepted.iter().collect();
        accepted.sort_by_key(|entry| Reverse(entry.prefix.net.prefix_len()));
        for entry in accepted {
            self.install_one(now, via, entry);
        }
    }

    fn end_holes(&mut self, prefix: &EidPrefix, is_proven: bool) {
        for hole in self.mirror.holes_inside(prefix, is_proven) {
            self.mirror.remove(&hole);
            self.outputs.push_back(Output::Update(Update::Remove { prefix: hole }));
        }
    }

    /// What is round others in the map-cache lives no longer than the first of them (RFC 9301, section 5.5): when that is gone, its
    /// packets must not go where the rest of the prefix does.
    fn install_one(&mut self, now: Instant, via: Via, accepted: &Accepted<'_>) {
        let prefix = accepted.prefix;
        let end = self.mirror.first_end_inside(now, &prefix);
        // Round a part that is about to end it would be asked for again and again.
        let end = end.map(|end| end.saturating_duration_since(now).max(limits::LEAST_ROUND));
        let leads_back = self.leads_back(accepted).then_some(limits::LEADS_BACK);
        let end = end.into_iter().chain(leads_back).min();
        let lifetime = end.map_or(accepted.lifetime, |end| end.min(accepted.lifetime));
        let shortened = (lifetime < accepted.lifetime).then(|| Accepted { lifetime, ..accepted.clone() });
        let accepted = shortened.as_ref().unwrap_or(accepted);
        let update = if accepted.lifetime.is_zero() {
            self.mirror.remove(&prefix);
            Update::Remove { prefix }
        } else {
            self.mirror.insert(now, via, accepted);
            Update::Upsert { prefix, entry: entry(now, accepted) }
        };
        self.outputs.push_back(Output::Update(update));
        if !accepted.lifetime.is_zero() && !accepted.is_negative() {
            let end = now + accepted.lifetime.max(limits::LEAST_ROUND);
            for (prefix, entry) in self.mirror.end_round(now, &prefix, end) {
                self.outputs.push_back(Output::Update(Update::Upsert { prefix, entry }));
            }
        }
    }

    fn leads_back(&self, accepted: &Accepted<'_>) -> bool {
        let is_ours = |(address, _): &(IpAddr, _)| self.config.rlocs.contains(address);
        self.config.policy.has_moved(&accepted.prefix) && accepted.locators.iter().any(is_ours)
    }

    /// What was learned about those that have come back ends.
    fn on_moved(&mut self, prefixes: Vec<EidPrefix>) {
        let former = std::mem::replace(&mut self.config.policy.moved, prefixes);
        for prefix in former {
            if !self.config.policy.moved.contains(&prefix) && self.mirror.remove(&prefix) {
                self.outputs.push_back(Output::Update(Update::Remove { prefix }));
            }
        }
    }

    /// What was learned about an EID before it was ours ends.
    fn on_own(&mut self, prefixes: Vec<EidPrefix>) {
        for prefix in &prefixes {
            if !self.config.policy.own.contains(prefix) && self.mirror.remove(prefix) {
                self.outputs.push_back(Output::Update(Update::Remove { prefix: *prefix }));
            }
        }
        self.config.policy.own = prefixes;
    }

    /// An ETR that says otherwise than the mapping system did knows of a change, or lies. Its word about the locators of others
    /// proves nothing, so the mapping system is asked, as after an SMR. One that goes on to disagree costs a request a minute.
    fn on_probed(&mut self, now: Instant, prefix: EidPrefix, records: &[MappingRecord]) -> Result<(), Refusal> {
        let Some(installed) = self.mirror.get(now, &prefix) else { return Ok(()) };
        let covering = records.iter().filter_map(|record| Some((record.eid.ip_prefix()?, record)));
        let covering = covering.filter(|(eid, _)| eid.covers(&prefix));
        let best = covering.max_by_key(|(eid, _)| eid.net.prefix_len());
        let agrees = best.is_some_and(|(_, record)| self.config.policy.says_the_same(record, installed));
        if agrees || !self.disagreements.allow(now, prefix) {
            return Ok(());
        }
        self.want(now, prefix, Cause::Refresh)
    }
}
