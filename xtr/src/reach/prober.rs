// SPDX-License-Identifier: GPL-2.0-or-later
//! RLOC-probing (RFC 9301, section 7.1): a Map-Request with the probe-bit to the locator itself, and the Map-Reply that
//! shows that both ends of the way work.
//!
//! One locator is probed once, however many mappings share it. Each probe asks about another of them, as far as there are
//! others: an ETR that has lost one EID-prefix of many, and does not answer for it, is not dead.
//!
//! An answer is known by its nonce of 64 bits, which only those on the way to the locator have seen. It has to come from the
//! locator, or to name it by the p-bit: RFC 9301 lets an ETR answer from whatever interface leads back (sections 5.4 and 7.1).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::address::{Address, EidPrefix};
use wire::control::{EidRequest, MapReply, MapRequest, Nonce};

use super::budget::Budget;
use super::paths::Paths;
use super::schedule::Schedule;
use super::target::{Answered, Outstanding, Standing, Step, Target};
use super::{Counts, limits};
use crate::map_cache::Update;
use crate::refusal::{Refusal, Tally};
use crate::transport::{Destination, Outgoing, Via, same_family};

/// What the engine wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a probe.
    Send(Outgoing),
    /// Tell the packet half.
    Update(Update),
    /// A locator of the mapping of this EID-prefix does not answer: whether it has others left is for the resolver to say.
    Unreached {
        /// Its prefix.
        prefix: EidPrefix,
    },
}

/// A probe that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// The locator.
    pub rloc: IpAddr,
    /// The EID-prefix that the probe asked about.
    pub prefix: EidPrefix,
}

/// A locator of others, for `show locators`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbedLocator {
    /// The locator.
    pub address: IpAddr,
    /// How it stands.
    pub standing: Standing,
    /// From which locator of ours packets go there.
    pub from: Option<IpAddr>,
    /// Since when.
    pub since: Duration,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Time since the last probe.
    pub probed_ago: Option<Duration>,
    /// Time since the last answer.
    pub answered_ago: Option<Duration>,
}

/// Probes the locators of the map-cache.
#[derive(Debug)]
pub struct Prober {
    /// Our locators, the preferred ones first: probes go the way of the packets, and from the others too where there is doubt.
    rlocs: Vec<IpAddr>,
    /// Locators of those who are known not to answer.
    spared: Vec<IpAddr>,
    /// PETRs.
    petrs: Vec<IpAddr>,
    random: StdRng,
    targets: BTreeMap<IpAddr, Target>,
    schedule: Schedule,
    nonces: HashMap<Nonce, IpAddr>,
    /// The path MTUs.
    paths: Paths,
    budget: Budget,
    /// Of probes that others' probes make us send.
    doubts: Budget,
    /// Of mappings that are named because a locator of theirs does not answer.
    named: Budget,
    counts: Counts,
    outputs: VecDeque<Output>,
    tally: Tally,
}

impl Prober {
    /// Nonces and jitter are drawn from `seed`, which has to come from the system's entropy. Probes are sent from `rlocs`, the
    /// preferred ones first.
    pub fn new(now: Instant, rlocs: Vec<IpAddr>, seed: [u8; 32]) -> Self {
        // Two of one seed would draw the same numbers.
        let mut of_paths = seed;
        of_paths[1] ^= 1;
        Self {
            paths: Paths::new(now, of_paths),
            rlocs,
            spared: Vec::new(),
            petrs: Vec::new(),
            random: StdRng::from_seed(seed),
            targets: BTreeMap::new(),
            schedule: Schedule::default(),
            nonces: HashMap::new(),
            budget: Budget::new(now, limits::PROBES_PER_SECOND),
            doubts: Budget::new(now, limits::DOUBTS_PER_SECOND),
            named: Budget::new(now, limits::NAMED_PER_SECOND),
            counts: Counts::default(),
            outputs: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Probes none of these: they speak no control protocol.
    pub fn spare(&mut self, rlocs: Vec<IpAddr>) {
        self.spared = rlocs;
    }

    /// Finds path MTUs too, by probes as long as packets are when one of `longest` octets is encapsulated.
    pub fn find_path_mtus(&mut self, longest: u16) {
        self.paths.look_for(longest);
    }

    /// The MTUs of the interfaces of our locators are these now, in octets.
    pub fn set_mtus(&mut self, now: Instant, mtus: BTreeMap<IpAddr, u16>) {
        for rloc in self.paths.set_mtus(now, mtus) {
            self.hasten(now, rloc);
        }
    }

    /// The MTU of the interface that packets to a locator leave by, in octets, if that is one that is probed and it has one.
    pub fn interface_mtu(&self, rloc: IpAddr) -> Option<u16> {
        self.targets.get(&rloc)?;
        self.paths.mtu(self.current(rloc)?)
    }

    /// The packet half has learned this path MTU to a locator.
    pub fn learned_mtu(&mut self, now: Instant, rloc: IpAddr, mtu: u16) {
        if let (true, Some(local)) = (self.targets.contains_key(&rloc), self.current(rloc)) {
            self.paths.too_big(now, rloc, (local, mtu));
        }
    }

    /// A router names this path MTU to a locator, and the packet half does not believe it, as a long probe has lately shown the opposite.
    pub fn reported_mtu(&mut self, now: Instant, rloc: IpAddr, mtu: u16) {
        if let (true, Some(local)) = (self.targets.contains_key(&rloc), self.current(rloc)) {
            self.paths.reported(now, rloc, (local, mtu));
        }
    }

    /// A control message of ours that begins with `quoted` is too long for a link of this MTU in octets, as a router says or our own kernel.
    ///
    /// # Errors
    /// If it is none of the probes that look for path MTUs, or the report says nothing that could be true of it.
    pub fn too_big(&mut self, now: Instant, quoted: &[u8], mtu: usize) -> Result<(), Refusal> {
        self.paths.refused(now, quoted, mtu)
    }

    /// The path MTU that packets to a locator keep to, in octets, if it is another one than where nothing is known.
    pub fn path_mtu(&self, rloc: IpAddr) -> Option<u16> {
        self.paths.path_mtu(rloc)
    }

    /// Sends from these locators from now on. What was found out by others says nothing about these: each locator in doubt is
    /// probed at once, and what is suspected and could not be probed without one too.
    pub fn set_rlocs(&mut self, now: Instant, rlocs: Vec<IpAddr>) {
        if self.rlocs == rlocs {
            return;
        }
        self.rlocs = rlocs;
        self.leave_lost_uplinks();
        self.leave_former_ways(now);
        let is_in_doubt = |target: &Target| target.standing == Standing::Down || target.is_suspected();
        let in_doubt = self.targets.iter().filter(|(_, target)| is_in_doubt(target));
        for rloc in in_doubt.map(|(rloc, _)| *rloc).collect::<Vec<_>>() {
            self.reschedule(rloc, |target| target.resume(now));
        }
    }

    /// A mapping with this locator is in use.
    pub fn watch(&mut self, now: Instant, rloc: IpAddr) {
        if self.targets.contains_key(&rloc) || self.spared.contains(&rloc) {
            return;
        }
        if self.targets.len() >= limits::TARGETS {
            return self.tally.count(Refusal::LocatorTableFull);
        }
        let due = now + self.between(Duration::ZERO, limits::FIRST);
        self.targets.insert(rloc, Target::new(now, due));
        self.schedule.insert(due, rloc, false);
    }

    /// These PETRs are in use (RFC 6832, section 6).
    pub fn watch_petrs(&mut self, now: Instant, petrs: impl Iterator<Item = IpAddr>) {
        for petr in petrs {
            self.petrs.push(petr);
            self.watch(now, petr);
        }
    }

    /// The packet half says that packets go to this locator and nothing comes back, or that a router says so. One for which there was no
    /// room when its mapping came is probed from now on, if there is.
    pub fn suspect(&mut self, now: Instant, rloc: IpAddr) {
        self.watch(now, rloc);
        self.reschedule(rloc, |target| target.suspect(now));
    }

    /// A probe came from this address: if it is a locator out of use it is probed soon.
    pub fn heard(&mut self, now: Instant, rloc: IpAddr) {
        if let Some(target) = self.targets.get_mut(&rloc) {
            target.heard_probe(now);
        }
        if self.stands(rloc, Standing::Down) && self.doubts.take(now) {
            self.reschedule(rloc, |target| target.heard(now));
        }
    }

    /// Packets came from this RLOC, last at `at`, as [`Self::heard`]; one that has never answered a probe is in use again, if they came since
    /// it was left. That proves as little as silence does, and is refuted by the next silence.
    pub fn heard_data(&mut self, now: Instant, rloc: IpAddr, at: Instant) {
        let mut is_back = false;
        self.reschedule(rloc, |target| is_back = target.heard_data(now, at));
        if is_back {
            tracing::info!(%rloc, "packets come from the locator again");
            self.outputs.push_back(Output::Update(Update::Reachable { rloc, reachable: true }));
        }
    }

    /// Packets do not get to this locator, though its own get here (RFC 9300, section 10.1): it is out of use until it answers a probe.
    /// Of one that is not probed nothing would bring it back: it stays.
    pub fn condemn(&mut self, now: Instant, rloc: IpAddr) {
        let mut has_gone = false;
        self.reschedule(rloc, |target| has_gone = target.condemn(now));
        if has_gone {
            self.gone_down(now, rloc);
        }
    }

    /// Packets get there, as an echo shows.
    pub fn acquit(&mut self, now: Instant, rloc: IpAddr) {
        let (mut is_back, interval) = (false, self.interval());
        self.reschedule(rloc, |target| is_back = target.acquit(now, interval));
        if is_back {
            tracing::info!(%rloc, "the locator echoes again");
            self.outputs.push_back(Output::Update(Update::Reachable { rloc, reachable: true }));
        }
    }

    /// Takes a Map-Reply with the probe-bit.
    ///
    /// # Errors
    /// Says why it answers no probe of ours; nothing has changed then.
    pub fn answer(&mut self, now: Instant, via: Via, message: &MapReply) -> Result<Probed, Refusal> {
        // Only an ETR of the site can say that its locator works (RFC 9301, section 5.4). A PETR is one of no site.
        if !message.records.iter().all(|record| record.authoritative) && !self.asks_petr_about_all(message.nonce) {
            return Err(Refusal::ReplyProbeNotAuthoritative);
        }
        let long = self.paths.asked(message.nonce).map(|(rloc, _)| rloc);
        let rloc = long.or_else(|| self.nonces.get(&message.nonce).copied()).ok_or(Refusal::ReplyUnasked)?;
        let is_from_it = matches!(via, Via::Socket { remote, .. } if remote.ip() == rloc);
        if !is_from_it && probed_locator(message) != Some(rloc) {
            return Err(Refusal::ReplyProbeFromElsewhere);
        }
        if long.is_some() {
            let prefix = self.paths.answer(now, message.nonce).ok_or(Refusal::ReplyUnasked)?;
            return Ok(Probed { rloc, prefix });
        }
        // What is too old is lost, whoever answers it now.
        self.drop_lost(now, rloc);
        self.nonces.remove(&message.nonce);
        let interval = self.interval();
        let ways = (self.current(rloc), same_family(&self.rlocs, rloc));
        let mut answered = None;
        self.reschedule(rloc, |target| {
            answered = target.take(message.nonce).map(|probe| (probe, target.answer(now, &probe, ways, interval)));
        });
        let (probe, Answered { is_back, has_moved }) = answered.ok_or(Refusal::ReplyUnasked)?;
        self.counts.probes_answered += 1;
        if has_moved {
            self.moved(rloc);
        }
        if is_back {
            tracing::info!(%rloc, "the locator answers again");
            self.outputs.push_back(Output::Update(Update::Reachable { rloc, reachable: true }));
        }
        if self.current(rloc) == Some(probe.local) {
            self.paths.short_answered(now, rloc, (probe.local, probe.prefix));
        }
        Ok(Probed { rloc, prefix: probe.prefix })
    }

    /// Does what is due. `user` says which EID-prefix with this locator comes behind the one that it is given; none = the
    /// locator is no longer in use.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        mut user: impl FnMut(IpAddr, Option<EidPrefix>) -> Option<EidPrefix>,
    ) {
        self.paths.handle_timeout(now);
        while let Some((due, rloc)) = self.schedule.due(now) {
            let Some(asked) = self.targets.get(&rloc).map(|target| target.asked) else {
                self.schedule.remove(due, rloc);
                continue;
            };
            let Some(prefix) = user(rloc, asked) else {
                self.forget(now, rloc);
                continue;
            };
            self.drop_lost(now, rloc);
            let (interval, is_spared) = (self.interval(), self.is_petr_without_other(rloc));
            let mut step = Step::Rest;
            self.reschedule(rloc, |target| step = target.step(now, interval, is_spared));
            match step {
                Step::Rest => {}
                Step::GoneDown => {
                    self.gone_down(now, rloc);
                    self.name_users(now, rloc, &mut user);
                }
                Step::Moved(reached) => {
                    self.moved(rloc);
                    if let Some(local) = self.source(rloc) {
                        self.paths.short_answered(now, rloc, (local, reached));
                    }
                }
                // The others wait too.
                Step::Probe if !self.budget.take(now) => return,
                Step::Probe => {
                    self.schedule.probed(self.targets.get(&rloc).is_some_and(Target::is_suspected));
                    self.probe(now, rloc, prefix);
                    if self.stands(rloc, Standing::Down) {
                        self.name_users(now, rloc, &mut user);
                    }
                }
            }
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.paths.poll())
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let short = self.schedule.next().map(|due| self.budget.next().map_or(due, |tokens| tokens.max(due)));
        short.into_iter().chain(self.paths.next_deadline()).min()
    }

    /// Whether packets may go there, as far as we know.
    pub fn is_usable(&self, rloc: IpAddr) -> bool {
        self.targets.get(&rloc).is_none_or(|target| target.standing != Standing::Down)
    }

    /// Whether it is probed, and has answered once.
    pub fn has_answered(&self, rloc: IpAddr) -> bool {
        self.targets.get(&rloc).is_some_and(|target| target.answered.is_some())
    }

    /// All that are probed, and have answered once.
    pub fn answered(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.targets.iter().filter(|(_, target)| target.answered.is_some()).map(|(rloc, _)| *rloc)
    }

    /// The locator of ours that packets there leave from, if that is not the preferred one.
    pub fn source(&self, rloc: IpAddr) -> Option<IpAddr> {
        self.targets.get(&rloc)?.from
    }

    /// The locators of ours from which something may get there, in the order in which they are tried. Of one that probes have shown to be
    /// reached from another than the preferred one it is that alone; where they have shown it of anybody, the locator from which somebody
    /// was reached last comes first.
    pub fn ways(&self, rloc: IpAddr) -> Vec<IpAddr> {
        if let Some(source) = self.source(rloc) {
            return vec![source];
        }
        let is_of_family = |own: &IpAddr| own.is_ipv4() == rloc.is_ipv4();
        let mut ways: Vec<IpAddr> = self.rlocs.iter().copied().filter(is_of_family).collect();
        if ways.len() > 1 && self.sources().any(|(_, source)| is_of_family(&source)) {
            ways.sort_by_cached_key(|own| Reverse(self.last_reached_from(*own)));
        }
        ways
    }

    /// When anybody that packets leave for from this locator of ours has last answered.
    fn last_reached_from(&self, own: IpAddr) -> Option<Instant> {
        let of_own = self.targets.iter().filter(|(rloc, _)| self.current(**rloc) == Some(own));
        of_own.filter_map(|(_, target)| target.answered).max()
    }

    /// All locators that packets leave for from another one than the preferred one, with that.
    pub fn sources(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> + '_ {
        self.targets.iter().filter_map(|(rloc, target)| Some((*rloc, target.from?)))
    }

    /// A probe came from `probing`, another locator of the same site: its owner may have lost the way from this one. As suspicion of the
    /// packet half, of one that has answered before: of another one silence would say nothing. Each family is probed from its own
    /// locators, whatever becomes of the others.
    pub fn doubt(&mut self, now: Instant, rloc: IpAddr, probing: IpAddr) {
        let is_doubtful = self.targets.get(&rloc).is_some_and(|target| target.is_doubtful(now));
        if is_doubtful && rloc.is_ipv4() == probing.is_ipv4() && self.doubts.take(now) {
            self.reschedule(rloc, |target| target.doubt(now));
        }
    }

    fn stands(&self, rloc: IpAddr, standing: Standing) -> bool {
        self.targets.get(&rloc).is_some_and(|target| target.standing == standing)
    }

    /// The locators that are probed, in order of address.
    pub fn locators(&self, now: Instant) -> impl Iterator<Item = ProbedLocator> + '_ {
        let ago = move |at: Instant| now.saturating_duration_since(at);
        self.targets.iter().map(move |(address, target)| ProbedLocator {
            address: *address,
            standing: target.standing,
            from: target.from.or_else(|| same_family(&self.rlocs, *address)),
            since: ago(target.since),
            rtt: target.rtt,
            probed_ago: target.probed.map(ago),
            answered_ago: target.answered.map(ago),
        })
    }

    /// What was done.
    pub fn counts(&self) -> Counts {
        let long = self.paths.counts();
        Counts {
            long_probes_sent: long.sent,
            long_probes_answered: long.answered,
            long_probes_too_big: long.too_big,
            black_holes: long.black_holes,
            ..self.counts
        }
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sends a probe, not to a Map-Server.
    fn probe(&mut self, now: Instant, rloc: IpAddr, prefix: EidPrefix) {
        let Some(local) = self.current(rloc) else {
            // Packets cannot go there either, and that says nothing about the locator.
            let later = now + self.interval();
            return self.reschedule(rloc, |target| target.due = later);
        };
        let probe = self.outstanding(now, prefix, local);
        let mut lost = None;
        self.reschedule(rloc, |target| lost = target.sent(probe));
        self.lost(lost);
        self.send(rloc, probe);
        if self.targets.get(&rloc).is_some_and(Target::wants_others) {
            self.probe_from_others(now, rloc, (prefix, local));
        }
    }

    /// The same from other locators of ours: the fault may be ours. Who is reached from one of them is not dead.
    fn probe_from_others(&mut self, now: Instant, rloc: IpAddr, (prefix, local): (EidPrefix, IpAddr)) {
        let is_other = |own: &&IpAddr| own.is_ipv4() == rloc.is_ipv4() && **own != local;
        let others: Vec<IpAddr> = self.rlocs.iter().filter(is_other).take(limits::OTHER_UPLINKS).copied().collect();
        for other in others {
            if !self.budget.take(now) {
                return;
            }
            let probe = self.outstanding(now, prefix, other);
            let lost = self.targets.get_mut(&rloc).and_then(|target| target.sent_beside(probe));
            self.lost(lost);
            self.send(rloc, probe);
        }
    }

    fn outstanding(&mut self, now: Instant, prefix: EidPrefix, local: IpAddr) -> Outstanding {
        Outstanding { nonce: Nonce(self.random.next_u64()), sent: now, prefix, local }
    }

    fn send(&mut self, rloc: IpAddr, probe: Outstanding) {
        let Outstanding { nonce, prefix, local, .. } = probe;
        self.nonces.insert(nonce, rloc);
        match probe_message(nonce, local, prefix).encode() {
            Ok(bytes) => {
                self.counts.probes_sent += 1;
                let to = Destination::Socket { local, remote: SocketAddr::new(rloc, wire::CONTROL_PORT) };
                self.outputs.push_back(Output::Send(Outgoing { to, bytes }));
            }
            Err(_) => self.tally.count(Refusal::NotEncodable),
        }
    }

    /// Whether a probe asked a PETR about all there is: it has no EID-prefix to answer with authority for.
    fn asks_petr_about_all(&self, nonce: Nonce) -> bool {
        let short = || {
            let rloc = *self.nonces.get(&nonce)?;
            Some((rloc, self.targets.get(&rloc)?.asked_with(nonce)?))
        };
        let asked = self.paths.asked(nonce).or_else(short);
        asked.is_some_and(|(rloc, prefix)| self.petrs.contains(&rloc) && prefix.net.prefix_len() == 0)
    }

    /// Whether silence says nothing of a locator: a PETR that has never answered may do no probes, and nothing else comes from one.
    /// Where another PETR answers that one is the better choice.
    fn is_petr_without_other(&self, rloc: IpAddr) -> bool {
        let is_up = |other: &IpAddr| self.stands(*other, Standing::Up);
        let has_answered = self.targets.get(&rloc).is_some_and(|target| target.answered.is_some());
        self.petrs.contains(&rloc) && !has_answered && !self.petrs.iter().any(is_up)
    }

    /// From which locator of ours packets go there.
    fn current(&self, rloc: IpAddr) -> Option<IpAddr> {
        self.source(rloc).or_else(|| same_family(&self.rlocs, rloc))
    }

    /// Packets go there from another locator of ours than before.
    fn moved(&mut self, rloc: IpAddr) {
        let Some(source) = self.current(rloc) else { return };
        tracing::info!(%rloc, from = %source, "the locator is reached from another one of ours");
        self.counts.uplinks_changed += 1;
        self.outputs.push_back(Output::Update(Update::From { rloc, source }));
    }

    /// What was reached from a locator that we have no longer is looked for from the preferred one.
    fn leave_lost_uplinks(&mut self) {
        let (rlocs, outputs) = (&self.rlocs, &mut self.outputs);
        for (rloc, target) in &mut self.targets {
            let preferred = same_family(rlocs, *rloc);
            if target.from.is_some_and(|from| !rlocs.contains(&from) || Some(from) == preferred) {
                target.from = None;
                outputs.extend(preferred.map(|source| Output::Update(Update::From { rloc: *rloc, source })));
            }
        }
    }

    /// Packets leave from another locator than those did that path MTUs were looked for with.
    fn leave_former_ways(&mut self, now: Instant) {
        for rloc in self.targets.keys().copied().collect::<Vec<_>>() {
            let has_left = self.current(rloc).is_some_and(|local| self.paths.leave_former(now, rloc, local));
            if has_left {
                self.hasten(now, rloc);
            }
        }
    }

    fn hasten(&mut self, now: Instant, rloc: IpAddr) {
        let due = now + self.between(Duration::ZERO, limits::FIRST);
        self.reschedule(rloc, |target| target.hasten(due));
    }

    fn gone_down(&mut self, now: Instant, rloc: IpAddr) {
        self.paths.interrupt(now, rloc);
        tracing::info!(%rloc, "the locator does not answer: packets go elsewhere");
        self.counts.locators_lost += 1;
        self.outputs.push_back(Output::Update(Update::Reachable { rloc, reachable: false }));
    }

    /// Names the mappings that have this locator, which does not answer, so many at once; those behind them at its next probe.
    fn name_users(
        &mut self,
        now: Instant,
        rloc: IpAddr,
        user: &mut impl FnMut(IpAddr, Option<EidPrefix>) -> Option<EidPrefix>,
    ) {
        let Some(target) = self.targets.get_mut(&rloc) else { return };
        let mut first = None;
        for _ in 0..limits::NAMED_AT_ONCE {
            // Behind the last one comes the first.
            let next = user(rloc, target.named).filter(|prefix| first != Some(*prefix));
            let Some(prefix) = next.filter(|_| self.named.take(now)) else { return };
            first.get_or_insert(prefix);
            target.named = Some(prefix);
            self.outputs.push_back(Output::Unreached { prefix });
        }
    }

    /// Should a later mapping have it, it begins anew.
    fn forget(&mut self, now: Instant, rloc: IpAddr) {
        let Some(mut target) = self.targets.remove(&rloc) else { return };
        self.schedule.remove(target.due, rloc);
        self.paths.remove(rloc);
        while let Some(probe) = target.take_lost(now, true) {
            self.nonces.remove(&probe.nonce);
        }
        if target.standing == Standing::Down {
            self.outputs.push_back(Output::Update(Update::Reachable { rloc, reachable: true }));
        }
        let preferred = same_family(&self.rlocs, rloc).filter(|_| target.from.is_some());
        self.outputs.extend(preferred.map(|source| Output::Update(Update::From { rloc, source })));
    }

    fn drop_lost(&mut self, now: Instant, rloc: IpAddr) {
        while let Some(lost) = self.targets.get_mut(&rloc).and_then(|target| target.take_lost(now, false)) {
            self.lost(Some(lost));
        }
    }

    fn lost(&mut self, probe: Option<Outstanding>) {
        if let Some(probe) = probe {
            self.nonces.remove(&probe.nonce);
            self.counts.probes_lost += 1;
        }
    }

    /// Changes a target, and when it is due.
    fn reschedule(&mut self, rloc: IpAddr, change: impl FnOnce(&mut Target)) {
        let Some(target) = self.targets.get_mut(&rloc) else { return };
        self.schedule.remove(target.due, rloc);
        change(target);
        self.schedule.insert(target.due, rloc, target.is_suspected());
    }

    fn interval(&mut self) -> Duration {
        let (least, greatest) = limits::INTERVAL;
        self.between(least, greatest)
    }

    fn between(&mut self, least: Duration, greatest: Duration) -> Duration {
        let range = u64::try_from((greatest - least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.random.next_u64() % range.saturating_add(1))
    }
}

/// A probe, not encapsulated. One ITR-RLOC only, so that the answer comes back the way of the probe.
pub(super) fn probe_message(nonce: Nonce, local: IpAddr, prefix: EidPrefix) -> MapRequest {
    MapRequest {
        probe: true,
        nonce,
        itr_rlocs: vec![Address::from(local)],
        records: vec![EidRequest { notify: false, eid: prefix.into() }],
        ..MapRequest::default()
    }
}

/// The first locator with the p-bit (RFC 9301, section 5.4).
fn probed_locator(message: &MapReply) -> Option<IpAddr> {
    let mut locators = message.records.iter().flat_map(|record| &record.locators);
    locators.find(|locator| locator.probed).and_then(|locator| locator.rloc.ip())
}
