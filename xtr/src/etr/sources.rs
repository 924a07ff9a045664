// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether the inner source of a packet may come from its outer source (RFC 9300, section 16: an ETR can check that the source
//! EID maps to the source RLOC).
//!
//! The ETR knows no mappings. It asks control, once for each pair of source and RLOC, and remembers what it hears:
//!
//! * The locators of the mapping include the RLOC: packets enter.
//! * They do not, or there is proof that the address is no EID: packets are dropped. What an RLOC of a PITR encapsulates need not
//!   come from an EID (RFC 6832, section 5.2), so PITRs that the operator names are not asked about.
//! * It is an EID of this node: nobody sends as one of ours from elsewhere, so packets are dropped without a question. What has moved to
//!   another xTR is asked about as any other.
//! * Nothing is known yet, or nobody answers: packets enter (loose), or wait for the answer (strict). CGEIDs are always strict:
//!   their mappings are signed, so whoever has one can be told from whoever says so.
//!
//! Questions have a rate for each RLOC and for all, here and, of what control has to ask the mapping system, a lower one there. Above it packets
//! from unknown pairs are dropped (strict), or enter unasked for a second (loose): whoever invents sources costs control and the mapping system
//! no more than that, and the pairs that are known do not feel it. What is known is asked about again before it
//! is forgotten. Who may send goes on doing so for a while although nobody answers: what crosses must not end with the mapping system.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use wire::address::{EidPrefix, InstanceId, Keys};

use crate::counters::{Count, Counters, DropReason};
use crate::eid_set::EidSet;
use crate::limits;
use crate::map_cache::{Event, SourceVerdict};
use crate::reply::RateTable;

/// How inner sources are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceMode {
    /// Not at all.
    #[default]
    Off,
    /// Packets enter until it is known that their source does not map to the RLOC that they come from: what cannot be asked about enters too.
    Loose,
    /// Packets wait until it is known that it does.
    Strict,
}

/// Which inner sources packets may have.
#[derive(Debug, Clone, Default)]
pub struct SourcePolicy {
    /// How they are checked.
    pub mode: SourceMode,
    /// The network of CGEIDs, which are checked strictly unless nothing is checked.
    pub cgeid_network: Option<IpNet>,
    /// RLOCs of PITRs (RFC 6832), whose packets may have any source but a CGEID.
    pub pitrs: Vec<IpAddr>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Enters,
    Waits,
    Drop(DropReason),
}

/// Who sends as whom: the source, and the RLOC that its packets come from.
type Pair = (EidPrefix, IpAddr);

#[derive(Debug, Clone, Copy)]
struct Known {
    verdict: SourceVerdict,
    /// From then on control is asked again; the verdict stands until `ends`.
    ask: Instant,
    ends: Instant,
}

/// A question that control has not answered, and the packets that wait for the answer.
#[derive(Debug)]
struct Open {
    ends: Instant,
    packets: Vec<Vec<u8>>,
}

/// The judgement on the last pair that fell into a place.
#[derive(Debug, Clone, Copy)]
struct Memo {
    iid: InstanceId,
    source: IpAddr,
    rloc: IpAddr,
    judgement: Judgement,
    until: Instant,
}

/// The verdicts of the ETR.
#[derive(Debug)]
pub(super) struct Sources {
    policy: SourcePolicy,
    counters: Arc<Counters>,
    /// EID-prefixes of this node, and those of them, and parts of them, that another xTR has now.
    own: EidSet,
    moved: EidSet,
    keys: [Keys; 2],
    memos: Vec<Option<Memo>>,
    known: HashMap<Pair, Known>,
    /// How many of [`Self::known`] have each length, IPv4 and IPv6.
    lengths: [[u32; 129]; 2],
    swept: Option<Instant>,
    open: HashMap<Pair, Open>,
    /// When each of them ends, in that order. Some have been answered since.
    closing: VecDeque<(Instant, Pair)>,
    /// Octets that wait.
    waiting: usize,
    each: RateTable<IpAddr>,
    all: RateTable<()>,
    /// Of pairs that are known to be right, of which strangers can make none.
    again: RateTable<()>,
    events: VecDeque<Event>,
    released: VecDeque<(IpAddr, Vec<u8>)>,
    now: Option<Instant>,
}

impl Sources {
    pub(super) fn new(policy: SourcePolicy, counters: Arc<Counters>) -> Self {
        let places = if policy.mode == SourceMode::Off { 0 } else { limits::SOURCE_MEMOS };
        Self {
            policy,
            counters,
            own: EidSet::default(),
            moved: EidSet::default(),
            keys: [Keys::default(), Keys::default()],
            memos: vec![None; places],
            known: HashMap::new(),
            lengths: [[0; 129]; 2],
            swept: None,
            open: HashMap::new(),
            closing: VecDeque::new(),
            waiting: 0,
            each: RateTable::new(limits::SOURCES_NAMED_EACH, limits::SOURCES_WINDOW, limits::SOURCE_RLOCS),
            all: RateTable::new(limits::SOURCES_NAMED, limits::SOURCES_WINDOW, 1),
            again: RateTable::new(limits::SOURCES_ASKED_AGAIN, limits::SOURCES_WINDOW, 1),
            events: VecDeque::new(),
            released: VecDeque::new(),
            now: None,
        }
    }

    /// The EID-prefixes of this node.
    pub(super) fn set_own(&mut self, prefixes: &[EidPrefix]) {
        self.own = EidSet::new(prefixes);
        self.memos.fill(None);
    }

    /// Those of them, and parts of them, that another xTR has now.
    pub(super) fn set_moved(&mut self, prefixes: &[EidPrefix]) {
        self.moved = EidSet::new(prefixes);
        self.memos.fill(None);
    }

    /// Tells the time. Until it has been told nobody is asked.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = Some(now);
        self.close(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.closing.front().map(|(ends, _)| *ends)
    }

    /// What control is to be asked.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Control had no room.
    pub(super) fn event_lost(&mut self, event: Event) {
        self.events.push_front(event);
    }

    /// Packets that waited and may enter, with the RLOC that each came from.
    pub(super) fn poll(&mut self) -> Option<(IpAddr, Vec<u8>)> {
        self.released.pop_front()
    }

    /// Of most packets a memo knows. Into a site a PITR may send anything but CGEIDs; as a PETR we are the PETR of sites.
    #[inline]
    pub(super) fn judge(&mut self, iid: InstanceId, source: IpAddr, rloc: IpAddr, into_site: bool) -> Judgement {
        let (Some(now), false) = (self.now, self.memos.is_empty()) else { return Judgement::Enters };
        if into_site && self.policy.pitrs.contains(&rloc) && !self.is_cgeid(&EidPrefix::host(iid, source)) {
            return self.judge_vouched(iid, source);
        }
        let place = self.place(iid, source, rloc);
        match &self.memos[place] {
            Some(memo) if memo.source == source && memo.rloc == rloc && memo.iid == iid && now < memo.until => {
                memo.judgement
            }
            _ => self.judge_anew(now, place, EidPrefix::host(iid, source), rloc),
        }
    }

    /// Whoever sends it has checked it, or need not: but nobody speaks as one of ours.
    #[inline]
    pub(super) fn judge_vouched(&self, iid: InstanceId, source: IpAddr) -> Judgement {
        if !self.memos.is_empty() && self.is_own(iid, source) {
            return decide(SourceVerdict::Elsewhere);
        }
        Judgement::Enters
    }

    #[inline]
    fn is_own(&self, iid: InstanceId, source: IpAddr) -> bool {
        self.own.contains(iid, source) && !self.moved.contains(iid, source)
    }

    #[inline]
    fn place(&self, iid: InstanceId, source: IpAddr, rloc: IpAddr) -> usize {
        let hash = self.keys[0].hash(iid, source) ^ self.keys[1].hash(InstanceId(0), rloc);
        usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % limits::SOURCE_MEMOS
    }

    #[cold]
    fn judge_anew(&mut self, now: Instant, place: usize, host: EidPrefix, rloc: IpAddr) -> Judgement {
        if self.is_own(host.iid, host.net.addr()) {
            return decide(SourceVerdict::Elsewhere);
        }
        let memo = |judgement, until| Some(Memo { iid: host.iid, source: host.net.addr(), rloc, judgement, until });
        let Some((pair, known)) = self.find(now, host, rloc) else {
            return match self.ask_first(now, host, rloc) {
                Some(_) if self.is_strict(&host) => Judgement::Waits,
                None if self.is_strict(&host) => Judgement::Drop(DropReason::CoreSourceRate),
                asked => {
                    if asked.is_none() {
                        self.counters.add(Count::SourceUnasked, 1);
                    }
                    let until = asked.unwrap_or(now + limits::SOURCES_WINDOW);
                    self.memos[place] = memo(Judgement::Enters, until);
                    Judgement::Enters
                }
            };
        };
        if now < known.ask {
            self.memos[place] = memo(decide(known.verdict), known.ask);
        } else if self.may_ask_again(now, rloc, known.verdict) {
            let is_known = known.verdict == SourceVerdict::Here;
            self.events.push_back(Event::Source { eid: host, rloc, is_known });
            if let Some(known) = self.known.get_mut(&pair) {
                known.ask = now + limits::SOURCE_PATIENCE;
            }
        }
        decide(known.verdict)
    }

    /// The verdict on the longest prefix.
    fn find(&self, now: Instant, host: EidPrefix, rloc: IpAddr) -> Option<(Pair, Known)> {
        let lengths = &self.lengths[usize::from(host.net.addr().is_ipv6())];
        let used = (0..=host.net.prefix_len()).rev().filter(|length| lengths[usize::from(*length)] > 0);
        let pairs = used.filter_map(|length| Some((EidPrefix::new(host.iid, host.net.addr(), length)?, rloc)));
        let mut found = pairs.filter_map(|pair| Some((pair, *self.known.get(&pair)?)));
        found.find(|(_, known)| now < known.ends)
    }

    /// Until when the answer is waited for; none if it cannot be asked about now. Of each pair one question is open at a time.
    fn ask_first(&mut self, now: Instant, host: EidPrefix, rloc: IpAddr) -> Option<Instant> {
        let pair = (host, rloc);
        if let Some(open) = self.open.get(&pair).filter(|open| now < open.ends) {
            return Some(open.ends);
        }
        if self.known.len() >= limits::SOURCE_VERDICTS {
            self.sweep(now);
        }
        if self.known.len() >= limits::SOURCE_VERDICTS || !self.may_ask(now, rloc) {
            return None;
        }
        self.close(now);
        let ends = now + limits::SOURCE_PATIENCE;
        self.open.insert(pair, Open { ends, packets: Vec::new() });
        self.closing.push_back((ends, pair));
        self.events.push_back(Event::Source { eid: host, rloc, is_known: false });
        Some(ends)
    }

    fn is_strict(&self, host: &EidPrefix) -> bool {
        self.policy.mode == SourceMode::Strict || self.is_cgeid(host)
    }

    fn may_ask(&mut self, now: Instant, rloc: IpAddr) -> bool {
        self.events.len() < limits::SOURCE_EVENTS && self.each.allow(now, rloc) && self.all.allow(now, ())
    }

    /// Questions about strangers leave room for those about who is known.
    fn may_ask_again(&mut self, now: Instant, rloc: IpAddr, verdict: SourceVerdict) -> bool {
        match verdict {
            SourceVerdict::Here => self.events.len() < 2 * limits::SOURCE_EVENTS && self.again.allow(now, ()),
            SourceVerdict::Elsewhere | SourceVerdict::Unmapped => self.may_ask(now, rloc),
        }
    }

    fn is_cgeid(&self, host: &EidPrefix) -> bool {
        host.iid == InstanceId(0) && self.policy.cgeid_network.is_some_and(|network| network.contains(&host.net.addr()))
    }

    /// Keeps a packet until the question about its source is answered.
    pub(super) fn hold(
        &mut self,
        iid: InstanceId,
        source: IpAddr,
        rloc: IpAddr,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let open = self.open.get_mut(&(EidPrefix::host(iid, source), rloc)).ok_or(DropReason::CoreSourceUnknown)?;
        if open.packets.len() >= limits::SOURCE_PACKETS || self.waiting + packet.len() > limits::SOURCE_OCTETS {
            return Err(DropReason::CoreSourceUnknown);
        }
        self.waiting += packet.len();
        open.packets.push(packet.to_vec());
        Ok(())
    }

    /// Takes an answer about one who sends, which holds for all sources in `prefix`. What waited for it is in [`Self::poll`] then, or
    /// dropped.
    pub(super) fn learn(&mut self, (eid, rloc): Pair, prefix: EidPrefix, verdict: SourceVerdict, ask: Instant) {
        if self.memos.is_empty() {
            return;
        }
        // A memo may be of a shorter prefix that this one takes precedence over.
        self.memos.iter_mut().filter(|memo| memo.is_some_and(|memo| memo.rloc == rloc)).for_each(|memo| *memo = None);
        for open in self.answered(prefix, rloc) {
            self.let_go(rloc, open, decide(verdict));
        }
        let mut ask = ask;
        if let Some(now) = self.now
            && verdict != SourceVerdict::Here
        {
            let said_no = |known: &Known| known.verdict != SourceVerdict::Here && now < known.ends;
            if !self.known.get(&(prefix, rloc)).is_some_and(said_no) {
                ask = ask.min(now + limits::SOURCE_NOT_HERE_FIRST);
            }
            self.doubt(now, eid, rloc);
        }
        let stands = if verdict == SourceVerdict::Here { limits::SOURCE_UNANSWERED } else { limits::SOURCE_STALE };
        let known = Known { verdict, ask, ends: ask + stands };
        if self.known.insert((prefix, rloc), known).is_none() {
            *self.length(&prefix) += 1;
        }
    }

    /// The questions about sources in a prefix, which are open no longer.
    fn answered(&mut self, prefix: EidPrefix, rloc: IpAddr) -> Vec<Open> {
        if prefix.net.prefix_len() == prefix.net.max_prefix_len() {
            return self.open.remove(&(prefix, rloc)).into_iter().collect();
        }
        let is_about = |(host, of): &Pair| *of == rloc && prefix.covers(host);
        self.open.extract_if(|pair, _| is_about(pair)).map(|(_, open)| open).collect()
    }

    /// Control has no answer, and asks nobody now. What waits for one goes as if it had not been asked about, and so does what comes until that
    /// may be done again.
    pub(super) fn put_off(&mut self, (host, rloc): Pair, ask: Instant) {
        let Some(now) = self.now.filter(|_| !self.memos.is_empty()) else { return };
        let (iid, source) = (host.iid, host.net.addr());
        let place = self.place(iid, source, rloc);
        if let Some((pair, _)) = self.find(now, host, rloc) {
            // What is known stands; a memo would have it stand until an answer is given up.
            self.memos[place] = None;
            self.known.get_mut(&pair).into_iter().for_each(|known| known.ask = known.ask.min(ask));
            return;
        }
        let Some(open) = self.open.remove(&(host, rloc)) else { return };
        let judgement = if self.is_strict(&host) {
            Judgement::Drop(DropReason::CoreSourceRate)
        } else {
            self.counters.add(Count::SourceUnasked, 1);
            Judgement::Enters
        };
        self.let_go(rloc, open, judgement);
        self.memos[place] = Some(Memo { iid, source, rloc, judgement, until: ask });
    }

    /// Somebody answers, and says no: what was known of longer or shorter prefixes round it is not kept because nobody would.
    fn doubt(&mut self, now: Instant, eid: EidPrefix, rloc: IpAddr) {
        let lengths = &self.lengths[usize::from(eid.net.addr().is_ipv6())];
        for length in (0..=eid.net.prefix_len()).filter(|length| lengths[usize::from(*length)] > 0) {
            let round = EidPrefix::new(eid.iid, eid.net.addr(), length);
            if let Some(known) = round.and_then(|prefix| self.known.get_mut(&(prefix, rloc))) {
                known.ends = known.ends.min(now + limits::SOURCE_STALE);
            }
        }
    }

    fn let_go(&mut self, rloc: IpAddr, open: Open, judgement: Judgement) {
        for packet in open.packets {
            self.waiting -= packet.len();
            match judgement {
                Judgement::Enters => self.released.push_back((rloc, packet)),
                Judgement::Waits => self.counters.count_drop(DropReason::CoreSourceUnknown),
                Judgement::Drop(reason) => self.counters.count_drop(reason),
            }
        }
    }

    /// Ends the questions that nobody has answered in time.
    fn close(&mut self, now: Instant) {
        while let Some((ends, pair)) = self.closing.front().copied()
            && ends <= now
        {
            self.closing.pop_front();
            // It may have been answered and asked again.
            if self.open.get(&pair).is_some_and(|open| open.ends == ends)
                && let Some(open) = self.open.remove(&pair)
            {
                self.let_go(pair.1, open, Judgement::Waits);
            }
        }
    }

    /// Makes room. Who sends has asked again lately; who does not needs no verdict that nobody has renewed.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < limits::SOURCES_WINDOW) {
            return;
        }
        self.swept = Some(now);
        let is_over = |known: &Known| known.ends.min(known.ask + limits::SOURCE_STALE) <= now;
        let over: Vec<Pair> = self.known.iter().filter(|(_, known)| is_over(known)).map(|(pair, _)| *pair).collect();
        for pair in over {
            self.known.remove(&pair);
            *self.length(&pair.0) -= 1;
        }
    }

    fn length(&mut self, prefix: &EidPrefix) -> &mut u32 {
        &mut self.lengths[usize::from(prefix.net.addr().is_ipv6())][usize::from(prefix.net.prefix_len())]
    }
}

#[inline]
fn decide(verdict: SourceVerdict) -> Judgement {
    match verdict {
        SourceVerdict::Here => Judgement::Enters,
        SourceVerdict::Elsewhere => Judgement::Drop(DropReason::CoreSourceElsewhere),
        SourceVerdict::Unmapped => Judgement::Drop(DropReason::CoreSourceUnmapped),
    }
}
