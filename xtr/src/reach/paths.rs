// SPDX-License-Identifier: GPL-2.0-or-later
//! Long probes: RLOC-probes padded to the length of a packet, which routers must not fragment. Which of them are answered shows the path MTU
//! where no router says it (RFC 8899).
//!
//! The padding is behind the message, where a receiver that reads as many records as the message says does not look. A locator whose
//! short probes are not answered gets no long ones, and those say nothing about whether it can be reached.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::address::EidPrefix;
use wire::control::{MapRequest, Nonce, message_type};
use wire::data::{LispHeader, MINIMUM_MTU, overhead};

use super::budget::Budget;
use super::limits;
use super::prober::{Output, probe_message};
use super::search::{Known, Outcome, Search, Step};
use crate::map_cache::Update;
use crate::refusal::Refusal;
use crate::transport::{Destination, Outgoing};

/// Octets of a Map-Request in front of its nonce (RFC 9301, section 5.2).
const NONCE_AT: usize = 4;

/// What long probes have done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) too_big: u64,
    pub(super) black_holes: u64,
}

/// The ways to the locators that are probed.
#[derive(Debug)]
pub(super) struct Paths {
    /// The longest packet that is encapsulated, octets; none = no long probes.
    longest: Option<u16>,
    /// Of the interfaces of our locators, octets, as far as they have one.
    mtus: BTreeMap<IpAddr, u16>,
    paths: BTreeMap<IpAddr, Path>,
    schedule: BTreeSet<(Instant, IpAddr)>,
    nonces: HashMap<Nonce, IpAddr>,
    /// Of octets.
    budget: Budget,
    random: StdRng,
    counts: Counts,
    outputs: VecDeque<Output>,
}

/// The way to one locator.
#[derive(Debug)]
struct Path {
    /// From which locator of ours.
    local: IpAddr,
    /// What probes ask about: what the last short one was answered about, if one was.
    prefix: Option<EidPrefix>,
    search: Search,
    outstanding: VecDeque<Long>,
    /// What was known of the ways from other locators of ours when they were left, the last one at the end.
    left: Vec<(IpAddr, Known)>,
}

/// A probe that may still be answered.
#[derive(Debug, Clone, Copy)]
struct Long {
    nonce: Nonce,
    length: u16,
    sent: Instant,
    prefix: EidPrefix,
}

impl Paths {
    /// Sends nothing until [`Self::look_for`].
    pub(super) fn new(now: Instant, seed: [u8; 32]) -> Self {
        Self {
            longest: None,
            mtus: BTreeMap::new(),
            paths: BTreeMap::new(),
            schedule: BTreeSet::new(),
            nonces: HashMap::new(),
            budget: Budget::new(now, limits::LONG_PROBE_OCTETS_PER_SECOND),
            random: StdRng::from_seed(seed),
            counts: Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Looks whether packets as long as this, in octets, get there when they are encapsulated.
    pub(super) fn look_for(&mut self, longest: u16) {
        self.longest = Some(longest);
    }

    /// The MTUs of the interfaces of our locators are these now. The locators to which packets may be longer than before: how long, probes have
    /// to show. Of one whose address has gone packets stay as long as they were until they leave from another one: that has a bound of its own,
    /// and what its interface took is no path MTU of theirs.
    pub(super) fn set_mtus(&mut self, now: Instant, mtus: BTreeMap<IpAddr, u16>) -> Vec<IpAddr> {
        self.mtus = mtus;
        let Some(longest) = self.longest else { return Vec::new() };
        let resized = self.paths.iter().filter_map(|(rloc, path)| {
            let mtu = self.mtus.get(&path.local)?;
            Some((*rloc, path.search.top(), top(*rloc, longest, Some(mtu))))
        });
        let resized: Vec<_> = resized.filter(|(_, before, after)| before != after).collect();
        for (rloc, _, after) in &resized {
            self.resize(now, *rloc, *after);
        }
        resized.into_iter().filter(|(_, before, after)| before < after).map(|(rloc, ..)| rloc).collect()
    }

    fn resize(&mut self, now: Instant, rloc: IpAddr, top: u16) {
        let Some(resized) = self.paths.get(&rloc).map(|path| path.resized(now, top)) else { return };
        self.remove(rloc);
        self.paths.insert(rloc, resized);
        self.tell(rloc);
    }

    /// The MTU of the interface of a locator of ours, if it has one.
    pub(super) fn mtu(&self, local: IpAddr) -> Option<u16> {
        self.mtus.get(&local).copied()
    }

    /// A short probe from `local` about `prefix` was answered.
    pub(super) fn short_answered(&mut self, now: Instant, rloc: IpAddr, (local, prefix): (IpAddr, EidPrefix)) {
        let Some(longest) = self.longest else { return };
        self.leave_former(now, rloc, local);
        let top = top(rloc, longest, self.mtus.get(&local));
        let path = self.paths.entry(rloc).or_insert_with(|| Path::new(now, rloc, local, top));
        path.prefix = Some(prefix);
        let before = path.search.path_mtu();
        self.change(rloc, |search| search.short_answered(now));
        if self.path_mtu(rloc) != before {
            self.tell(rloc);
        }
    }

    /// Packets leave from `local` now. Whether another way was looked at before: of that nothing is kept but a path MTU that was found to be
    /// low, with which the search of this one begins. The packet half, which may have heard of a lower one itself, is told so.
    pub(super) fn leave_former(&mut self, now: Instant, rloc: IpAddr, local: IpAddr) -> bool {
        let (Some(longest), Some(path)) = (self.longest, self.paths.get(&rloc).filter(|path| path.local != local))
        else {
            return false;
        };
        let succeeding = path.succeeding(now, local, top(rloc, longest, self.mtus.get(&local)));
        self.remove(rloc);
        self.paths.insert(rloc, succeeding);
        self.tell(rloc);
        true
    }

    /// The packet half has learned a lower path MTU, for packets from `local`: as a rule before any probe is answered. It is told so again,
    /// as it may have heard of a higher one from here meanwhile.
    pub(super) fn too_big(&mut self, now: Instant, rloc: IpAddr, (local, mtu): (IpAddr, u16)) {
        let Some(longest) = self.longest else { return };
        let top = top(rloc, longest, self.mtus.get(&local));
        self.paths.entry(rloc).or_insert_with(|| Path::new(now, rloc, local, top));
        if self.change(rloc, |search| search.too_big(now, mtu)) == Some(Outcome::Changed) {
            self.tell(rloc);
        }
    }

    /// A router says so of packets from `local`, and the packet half waits for what probes show. What they have shown may be of a way that was
    /// left since: then it is believed.
    pub(super) fn reported(&mut self, now: Instant, rloc: IpAddr, (local, mtu): (IpAddr, u16)) {
        match self.change(rloc, |search| search.reported(now, mtu)) {
            Some(Outcome::Changed) => self.tell(rloc),
            Some(Outcome::Confirmed | Outcome::Nothing) => {}
            None => self.too_big(now, rloc, (local, mtu)),
        }
    }

    /// The locator is out of use.
    pub(super) fn interrupt(&mut self, now: Instant, rloc: IpAddr) {
        self.change(rloc, |search| search.interrupt(now));
    }

    /// The locator is in no mapping any more.
    pub(super) fn remove(&mut self, rloc: IpAddr) {
        let Some(path) = self.paths.remove(&rloc) else { return };
        if let Some(due) = path.search.due() {
            self.schedule.remove(&(due, rloc));
        }
        path.outstanding.iter().for_each(|probe| {
            self.nonces.remove(&probe.nonce);
        });
    }

    /// Which locator was asked with this nonce about what, if it may still be answered.
    pub(super) fn asked(&self, nonce: Nonce) -> Option<(IpAddr, EidPrefix)> {
        self.probe_of(nonce).map(|(rloc, probe)| (rloc, probe.prefix))
    }

    fn probe_of(&self, nonce: Nonce) -> Option<(IpAddr, Long)> {
        let rloc = *self.nonces.get(&nonce)?;
        let probe = self.paths.get(&rloc)?.outstanding.iter().find(|probe| probe.nonce == nonce)?;
        Some((rloc, *probe))
    }

    /// A router, or our own kernel, says that a control message of ours that begins with `quoted` is too long for a link of this MTU in
    /// octets. Anybody can write such a report, but for the nonce of a probe that he has not seen (RFC 8899, section 4.6.1).
    ///
    /// # Errors
    /// If it is about no probe that may still be answered, or says nothing that could be true of one.
    pub(super) fn refused(&mut self, now: Instant, quoted: &[u8], mtu: usize) -> Result<(), Refusal> {
        let probe = nonce_of(quoted).and_then(|nonce| self.probe_of(nonce));
        let (rloc, Long { length, .. }) = probe
            .filter(|(_, probe)| now.saturating_duration_since(probe.sent) < limits::ANSWER_TIME)
            .ok_or(Refusal::TooBigOfNoProbe)?;
        let possible = limits::LEAST_PATH_MTU..length;
        let mtu = u16::try_from(mtu).ok().filter(|mtu| possible.contains(mtu)).ok_or(Refusal::TooBigImpossible)?;
        self.counts.too_big += 1;
        if self.change(rloc, |search| search.refused(now, length, mtu)) == Some(Outcome::Changed) {
            tracing::info!(%rloc, lost = length, path_mtu = mtu, "a router says how long packets to the locator may be");
            self.tell(rloc);
        }
        Ok(())
    }

    /// The probe of this nonce was answered, by whom it may be. What it asked about; none if it was sent too long ago.
    pub(super) fn answer(&mut self, now: Instant, nonce: Nonce) -> Option<EidPrefix> {
        let rloc = self.nonces.remove(&nonce)?;
        let outstanding = &mut self.paths.get_mut(&rloc)?.outstanding;
        let index = outstanding.iter().position(|probe| probe.nonce == nonce)?;
        let probe = outstanding.remove(index)?;
        if now.saturating_duration_since(probe.sent) >= limits::ANSWER_TIME {
            return None;
        }
        self.counts.answered += 1;
        let outcome = self.change(rloc, |search| search.long_answered(now, probe.length));
        match outcome {
            Some(Outcome::Changed) => {
                tracing::info!(%rloc, path_mtu = probe.length, "longer packets get to the locator");
                self.tell(rloc);
            }
            // So that the packet half does not forget it.
            Some(Outcome::Confirmed) => self.tell(rloc),
            Some(Outcome::Nothing) | None => {}
        }
        if self.paths.get(&rloc).is_some_and(|path| path.search.proven() == Some(now)) {
            let until = now + limits::PROVEN_LATELY;
            self.outputs.push_back(Output::Update(Update::PathProven { rloc, until }));
        }
        Some(probe.prefix)
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((due, rloc)) = self.schedule.first().copied()
            && due <= now
        {
            // A step may send two, of which the last may be more than there is: the next one waits for that.
            if self.budget.next().is_some_and(|tokens| tokens > now) {
                return;
            }
            match self.change(rloc, |search| search.step(now)) {
                Some(Step::Probe { length, beside }) => {
                    self.send(now, rloc, length);
                    beside.into_iter().for_each(|length| self.send(now, rloc, length));
                }
                Some(Step::BlackHole { lost }) => self.found_black_hole(rloc, lost),
                Some(Step::Unproven) => self.tell(rloc),
                Some(Step::Rest) => {}
                None => {
                    self.schedule.remove(&(due, rloc));
                }
            }
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let (due, _) = self.schedule.first()?;
        Some(self.budget.next().map_or(*due, |tokens| tokens.max(*due)))
    }

    /// The path MTU that packets to a locator keep to, if it is another one than where nothing is known.
    pub(super) fn path_mtu(&self, rloc: IpAddr) -> Option<u16> {
        self.paths.get(&rloc)?.search.path_mtu()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn found_black_hole(&mut self, rloc: IpAddr, lost: u16) {
        self.counts.black_holes += 1;
        let path_mtu = self.path_mtu(rloc);
        tracing::warn!(%rloc, lost, path_mtu, "a black hole: packets of this length are lost on the way, and no report of it was heard");
        self.tell(rloc);
    }

    fn tell(&mut self, rloc: IpAddr) {
        let mtu = self.path_mtu(rloc);
        self.outputs.push_back(Output::Update(Update::PathMtu { rloc, mtu }));
    }

    fn send(&mut self, now: Instant, rloc: IpAddr, length: u16) {
        let Some(path) = self.paths.get_mut(&rloc) else { return };
        let Some(prefix) = path.prefix else { return };
        self.budget.spend(now, length.into());
        let probe = Long { nonce: Nonce(self.random.next_u64()), length, sent: now, prefix };
        let Ok(mut bytes) = probe_message(probe.nonce, path.local, prefix).encode() else { return };
        bytes.resize(bytes.len().max(payload(rloc, length)), 0);
        path.outstanding.push_back(probe);
        if path.outstanding.len() > limits::LONG_OUTSTANDING
            && let Some(oldest) = path.outstanding.pop_front()
        {
            self.nonces.remove(&oldest.nonce);
        }
        self.nonces.insert(probe.nonce, rloc);
        self.counts.sent += 1;
        let to = Destination::Unfragmented { local: path.local, remote: SocketAddr::new(rloc, wire::CONTROL_PORT) };
        self.outputs.push_back(Output::Send(Outgoing { to, bytes }));
    }

    /// Changes the search of a locator, and when it is due.
    fn change<T>(&mut self, rloc: IpAddr, change: impl FnOnce(&mut Search) -> T) -> Option<T> {
        let search = &mut self.paths.get_mut(&rloc)?.search;
        if let Some(due) = search.due() {
            self.schedule.remove(&(due, rloc));
        }
        let result = change(search);
        self.schedule.extend(search.due().map(|due| (due, rloc)));
        Some(result)
    }
}

impl Path {
    fn new(now: Instant, rloc: IpAddr, local: IpAddr, top: u16) -> Self {
        let least = u16::try_from(MINIMUM_MTU).unwrap_or(u16::MAX).saturating_add(headers(rloc));
        let search = Search::new(now, top, least);
        Self { local, prefix: None, search, outstanding: VecDeque::new(), left: Vec::new() }
    }

    /// The same way, where packets are no longer than `top`. What may still be answered says nothing of these.
    fn resized(&self, now: Instant, top: u16) -> Self {
        let search = self.search.resized(now, top);
        Self { local: self.local, prefix: self.prefix, search, outstanding: VecDeque::new(), left: self.left.clone() }
    }

    /// The way to the same locator from `local`, where packets are no longer than `top`.
    fn succeeding(&self, now: Instant, local: IpAddr, top: u16) -> Self {
        let earlier = self.left.iter().find(|(other, _)| *other == local).map(|(_, known)| *known);
        let mut left = self.left.clone();
        left.retain(|(other, _)| *other != local && *other != self.local);
        left.extend(self.search.known().map(|known| (self.local, known)));
        let excess = left.len().saturating_sub(limits::OTHER_UPLINKS);
        left.drain(..excess);
        let search = Search::succeeding(now, &self.search, earlier, top);
        Self { local, prefix: None, search, outstanding: VecDeque::new(), left }
    }
}

/// How long packets to a locator are at all: the interface takes no longer ones, or there are none.
fn top(rloc: IpAddr, longest: u16, interface: Option<&u16>) -> u16 {
    let encapsulated = longest.saturating_add(headers(rloc));
    interface.map_or(encapsulated, |mtu| encapsulated.min(*mtu))
}

/// Octets that are put in front of a packet to a locator.
fn headers(rloc: IpAddr) -> u16 {
    u16::try_from(overhead(rloc)).unwrap_or(u16::MAX)
}

/// That of a Map-Request that begins so (RFC 9301, section 5.2).
fn nonce_of(beginning: &[u8]) -> Option<Nonce> {
    let is_request = message_type(beginning) == Some(MapRequest::TYPE);
    let octets = beginning.get(NONCE_AT..).filter(|_| is_request)?.first_chunk()?;
    Some(Nonce(u64::from_be_bytes(*octets)))
}

/// Octets of the UDP payload of an IP packet of this length.
fn payload(rloc: IpAddr, length: u16) -> usize {
    usize::from(length).saturating_sub(overhead(rloc) - LispHeader::LENGTH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    /// Octets of the long probes that are sent to many locators in so many seconds, where nothing is longer than `longest` and all probes are
    /// answered at once.
    fn octets(longest: u16, seconds: u64) -> usize {
        let start = Instant::now();
        let mut paths = Paths::new(start, [7; 32]);
        paths.look_for(longest);
        let local: IpAddr = "192.0.2.1".parse().unwrap();
        for number in 0..1024_u16 {
            let [high, low] = number.to_be_bytes();
            let prefix = EidPrefix::host(wire::address::InstanceId(0), [10, 0, high, low].into());
            paths.short_answered(start, [198, 51, high, low].into(), (local, prefix));
        }
        let (mut now, mut octets) = (start, 0);
        while now <= start + Duration::from_secs(seconds) {
            paths.handle_timeout(now);
            while let Some(output) = paths.poll() {
                if let Output::Send(message) = output {
                    octets += message.bytes.len() + 28;
                    paths.answer(now, nonce_of(&message.bytes).unwrap());
                }
            }
            let Some(due) = paths.next_deadline() else { break };
            now = due.max(now + Duration::from_micros(100));
        }
        octets
    }

    #[test]
    fn long_probes_are_bounded_in_octets_however_long_they_are() {
        let per_second = limits::LONG_PROBE_OCTETS_PER_SECOND as usize;
        for longest in [8964, 60_000] {
            // The last step may send two packets more. First come those of 1500 octets to all, for three seconds and a half, then longer ones.
            let more = usize::from(longest) + 36 + 1500;
            for seconds in [0, 15] {
                let (sent, most) = (octets(longest, seconds), (1 + seconds as usize) * per_second);
                assert!((most - more..most + more).contains(&sent), "{longest} in {seconds} s: {sent}, not {most}");
            }
        }
    }
}
