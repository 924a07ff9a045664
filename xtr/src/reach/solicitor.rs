// SPDX-License-Identifier: GPL-2.0-or-later
//! Solicit-map-requests (RFC 9301, section 6.1): who has sent to us lately is made to ask the mapping system again when our
//! mappings change.
//!
//! An SMR tells nothing but that something changed, so it is sent once the Map-Servers know what. It names the changed
//! EID-prefix twice, as the source-EID and in its record: deployed ITRs differ in where they look. It names one, since a sender
//! MUST put one record into a Map-Request (RFC 9301, section 5.2); each ITR goes through the changes at its own pace. An ITR hears of
//! all of them, as a Map-Server may have answered for us, and first of those that it is known to have asked for.
//!
//! Who has sent nothing for a minute and a half is forgotten, and that is everybody after a sleep, or without an uplink for so long. So of
//! other locators of ours those in our map-cache hear too, behind the others: where we have sent to they have as a rule sent from.
//!
//! Nobody answers an SMR, so that none shows whether the way from the locator of ours that it leaves from works: what is said once more
//! leaves from the next one, unless probes have shown that the ITR is reached from another than the preferred one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::address::{Address, EidPrefix};
use wire::control::{EidRequest, MapRequest, Nonce};

use super::budget::Budget;
use super::{Counts, limits};
use crate::map_cache::is_unicast;
use crate::refusal::{Refusal, Tally};
use crate::transport::{Destination, Outgoing};

/// Remembers who sends to us, and tells them of changes.
#[derive(Debug)]
pub struct Solicitor {
    random: StdRng,
    itrs: HashMap<IpAddr, Itr>,
    /// Those that nothing proves to be there, in the order in which they give way.
    unproven: BTreeSet<(Worth, IpAddr)>,
    /// The others.
    proven: BTreeSet<(Worth, IpAddr)>,
    /// What some ITR is still to be told of, by number, and the next number.
    news: BTreeMap<u64, News>,
    next: u64,
    /// When the table was last searched for those that may be forgotten.
    swept: Option<Instant>,
    /// ITRs that are to be sent something, and when.
    schedule: BTreeSet<(Due, IpAddr)>,
    change: Option<Change>,
    budget: Budget,
    counts: Counts,
    outputs: VecDeque<Outgoing>,
    tally: Tally,
}

/// What is told, and how often it was told to everybody before.
type News = (EidPrefix, usize);

/// Whether an ITR has been heard, and is not known by the map-cache alone; and when it was last.
type Worth = (bool, Instant);

/// When an ITR is due, and who comes first at that time.
type Due = (Instant, Turn);

/// Who comes first of those that are due at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Who has sent something lately, and is proven to be there.
    Heard,
    /// Who is in the map-cache, and has answered probes.
    Cached,
    /// Who was merely named in a request.
    Unproven,
}

/// What an ITR is told of before its turn.
#[derive(Debug)]
struct First {
    prefix: EidPrefix,
    /// How often it is still to be told of it.
    times: usize,
    /// How often it was told of it in vain.
    before: usize,
}

impl First {
    fn new(prefix: EidPrefix) -> Self {
        Self { prefix, times: 1, before: 0 }
    }
}

/// An ITR that sends to us.
#[derive(Debug)]
struct Itr {
    heard: Instant,
    /// It has sent packets, or has answered a probe of ours.
    proven: bool,
    /// It has been heard, and is not known by the map-cache alone.
    is_heard: bool,
    /// What it is known to have asked for, the newest last.
    asked: Vec<EidPrefix>,
    /// What it is told of before its turn.
    first: Vec<First>,
    /// The number of the news that comes next.
    cursor: u64,
    due: Option<Due>,
    told: Option<Instant>,
}

impl Itr {
    fn worth(&self) -> Worth {
        (self.is_heard, self.heard)
    }

    fn due_at(&self, at: Instant) -> Due {
        let turn = match (self.proven, self.is_heard) {
            (false, _) => Turn::Unproven,
            (true, false) => Turn::Cached,
            (true, true) => Turn::Heard,
        };
        (at, turn)
    }

    /// As soon as it may be told again.
    fn due_next(&self, now: Instant) -> Due {
        self.due_at(self.told.map_or(now, |told| now.max(told + limits::SMR_INTERVAL)))
    }

    /// What it is told next, and how often it was told so before.
    fn next(&mut self, news: &BTreeMap<u64, News>) -> Option<News> {
        let to_be_told = self.first.iter_mut().filter(|first| first.times > 0);
        if let Some(first) = to_be_told.min_by_key(|first| first.before) {
            let said = (first.prefix, first.before);
            first.times -= 1;
            first.before += usize::from(first.times > 0);
            return Some(said);
        }
        for (number, (prefix, before)) in news.range(self.cursor..) {
            self.cursor = number + 1;
            match self.first.iter().position(|first| first.prefix == *prefix) {
                Some(index) => self.first.swap_remove(index),
                None => return Some((*prefix, *before)),
            };
        }
        None
    }

    fn has_more(&self, news: &BTreeMap<u64, News>) -> bool {
        self.first.iter().any(|first| first.times > 0) || news.range(self.cursor..).next().is_some()
    }
}

/// A change of ours that the ITRs are to hear of.
#[derive(Debug)]
struct Change {
    prefixes: BTreeSet<EidPrefix>,
    at: Instant,
    /// Whether they have been told although not every Map-Server had confirmed it.
    told_early: bool,
}

impl Solicitor {
    /// Nonces are drawn from `seed`, which has to come from the system's entropy.
    pub fn new(now: Instant, seed: [u8; 32]) -> Self {
        Self {
            random: StdRng::from_seed(seed),
            itrs: HashMap::new(),
            unproven: BTreeSet::new(),
            proven: BTreeSet::new(),
            news: BTreeMap::new(),
            next: 0,
            swept: None,
            schedule: BTreeSet::new(),
            change: None,
            budget: Budget::new(now, limits::SMRS_PER_SECOND),
            counts: Counts::default(),
            outputs: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// An ITR has sent us packets, or asked or probed for these prefixes of ours. `is_proven` says whether something shows that it is there:
    /// a request alone does not, as whoever invents the ITR invents the source of the datagram too.
    pub fn heard(&mut self, now: Instant, rloc: IpAddr, prefixes: &[EidPrefix], is_proven: bool) {
        let Some(itr) = self.note(now, rloc, is_proven, true) else { return };
        for prefix in prefixes.iter().take(limits::PREFIXES_PER_ITR) {
            itr.asked.retain(|known| known != prefix);
            if itr.asked.len() >= limits::PREFIXES_PER_ITR {
                itr.asked.remove(0);
            }
            itr.asked.push(*prefix);
        }
    }

    /// These locators are in the map-cache, and have answered probes of ours: they hear of the change that is told next too (RFC 9301, section
    /// 6.1), as far as there is room for them beside those that were heard lately.
    pub fn cached(&mut self, now: Instant, rlocs: impl Iterator<Item = IpAddr>) {
        self.sweep(now);
        for rloc in rlocs {
            let has_room = self.itrs.len() < limits::ITRS || !self.unproven.is_empty();
            if !self.knows(rloc) && !has_room {
                self.tally.count(Refusal::ItrTableFull);
                continue;
            }
            self.note(now, rloc, true, false);
        }
    }

    /// Notes an ITR, if it can be one and there is room.
    fn note(&mut self, now: Instant, rloc: IpAddr, is_proven: bool, is_heard: bool) -> Option<&mut Itr> {
        if !is_unicast(rloc) {
            return None;
        }
        if !self.itrs.contains_key(&rloc) && !self.make_room(now, is_proven) {
            self.tally.count(Refusal::ItrTableFull);
            return None;
        }
        let cursor = self.next;
        let (asked, first) = (Vec::new(), Vec::new());
        let new = || Itr { heard: now, proven: is_proven, is_heard, asked, first, cursor, due: None, told: None };
        let itr = self.itrs.entry(rloc).or_insert_with(new);
        if itr.proven { &mut self.proven } else { &mut self.unproven }.remove(&(itr.worth(), rloc));
        itr.heard = now;
        itr.is_heard |= is_heard;
        itr.proven |= is_proven;
        if itr.proven { &mut self.proven } else { &mut self.unproven }.insert((itr.worth(), rloc));
        Some(itr)
    }

    /// Whether this ITR hears of changes.
    pub fn knows(&self, rloc: IpAddr) -> bool {
        self.itrs.contains_key(&rloc)
    }

    /// Makes room for one more ITR, if need be in the place of the one that was heard longest ago: an unproven one, as long as there is any, or
    /// else one that is known by the map-cache alone.
    fn make_room(&mut self, now: Instant, is_proven: bool) -> bool {
        let is_due = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= limits::SWEEP_INTERVAL);
        if !self.has_room(is_proven) && is_due {
            self.sweep(now);
        }
        if self.has_room(is_proven) {
            return true;
        }
        let proven = &mut self.proven;
        let oldest = self.unproven.pop_first().or_else(|| if is_proven { proven.pop_first() } else { None });
        let Some((_, oldest)) = oldest else { return false };
        if let Some(due) = self.itrs.remove(&oldest).and_then(|itr| itr.due) {
            self.schedule.remove(&(due, oldest));
        }
        self.tally.count(Refusal::ItrTableFull);
        true
    }

    fn has_room(&self, is_proven: bool) -> bool {
        self.itrs.len() < limits::ITRS && (is_proven || self.unproven.len() < limits::UNPROVEN_ITRS)
    }

    /// The mappings of these prefixes are about to change at the Map-Servers.
    pub fn changed(&mut self, now: Instant, prefixes: impl IntoIterator<Item = EidPrefix>) {
        let mut prefixes: BTreeSet<_> = prefixes.into_iter().collect();
        // What changes again before it was told is told once, with its last change.
        prefixes.extend(self.change.take().into_iter().flat_map(|change| change.prefixes));
        self.change = Some(Change { prefixes, at: now, told_early: false });
    }

    /// This ITR has sent packets by an old mapping of this prefix: it is told now, or as soon as it may be told again (RFC 9302, section
    /// 7.1, case 3).
    pub fn remind(&mut self, now: Instant, rloc: IpAddr, prefix: EidPrefix) {
        self.heard(now, rloc, &[], true);
        let Some(itr) = self.itrs.get_mut(&rloc) else { return };
        // What it is still to be told of keeps its turn.
        match itr.first.iter().position(|first| first.prefix == prefix) {
            Some(index) if itr.first[index].times > 0 => {}
            Some(index) => {
                let before = itr.first.remove(index).before + 1;
                itr.first.push(First { before, ..First::new(prefix) });
            }
            None => {
                if itr.first.len() >= limits::PREFIXES_PER_ITR {
                    itr.first.remove(0);
                }
                itr.first.push(First::new(prefix));
            }
        }
        self.hurry(now, rloc);
    }

    /// This ITR has sent packets to what an RTR had a binding for, and another xTR has now: it is told so many times.
    pub fn solicit_one(&mut self, now: Instant, rloc: IpAddr, prefix: EidPrefix, times: usize) {
        self.heard(now, rloc, &[], true);
        let Some(itr) = self.itrs.get_mut(&rloc) else { return };
        itr.first.retain(|first| first.prefix != prefix);
        if itr.first.len() >= limits::PREFIXES_PER_ITR {
            itr.first.remove(0);
        }
        itr.first.push(First { times, ..First::new(prefix) });
        self.hurry(now, rloc);
    }

    /// What an ITR is to be told is sent as soon as it may be.
    fn hurry(&mut self, now: Instant, rloc: IpAddr) {
        let Some(itr) = self.itrs.get_mut(&rloc) else { return };
        if itr.due.is_none() {
            let due = itr.due_next(now);
            itr.due = Some(due);
            self.schedule.insert((due, rloc));
        }
    }

    /// Whether somebody is still to be told of something, or will be once a late Map-Server has confirmed it.
    pub fn is_telling(&self) -> bool {
        !self.schedule.is_empty() || self.change.is_some()
    }

    /// Sends what is due. `is_confirmed` says whether every Map-Server knows the mappings as they are; `ways`, from which locators of ours
    /// an ITR may be reached, the likeliest first.
    pub fn handle_timeout(&mut self, now: Instant, is_confirmed: bool, ways: impl Fn(IpAddr) -> Vec<IpAddr>) {
        self.follow_change(now, is_confirmed);
        while let Some((due, rloc)) = self.schedule.first().copied()
            && due.0 <= now
        {
            // The others wait too: what is due first is sent first.
            if !self.budget.take(now) {
                return;
            }
            self.schedule.remove(&(due, rloc));
            self.tell(now, rloc, &ways);
        }
        if self.schedule.is_empty() {
            self.news.clear();
        }
    }

    /// The next SMR to send, until there is none.
    pub fn poll(&mut self) -> Option<Outgoing> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let early = self.change.as_ref().filter(|change| !change.told_early);
        let early = early.map(|change| change.at + limits::CONFIRMATION);
        let due = self.schedule.first().map(|((due, _), _)| self.budget.next().map_or(*due, |tokens| tokens.max(*due)));
        [early, due].into_iter().flatten().min()
    }

    /// What was done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn follow_change(&mut self, now: Instant, is_confirmed: bool) {
        let Some(mut change) = self.change.take() else { return };
        let age = now.saturating_duration_since(change.at);
        if is_confirmed {
            return self.solicit(now, &change.prefixes);
        }
        if age >= limits::CONFIRMATION && !change.told_early {
            change.told_early = true;
            self.solicit(now, &change.prefixes);
        }
        if age < limits::LATE_CONFIRMATION {
            self.change = Some(change);
        }
    }

    /// Everybody is to be told of these. What changes again while it is told begins anew, and somewhere else, so that nothing is
    /// always the last.
    fn solicit(&mut self, now: Instant, prefixes: &BTreeSet<EidPrefix>) {
        self.sweep(now);
        if prefixes.is_empty() {
            return;
        }
        let mut order: Vec<EidPrefix> = prefixes.iter().copied().collect();
        if !self.schedule.is_empty() {
            let turn = self.random.next_u64() % order.len() as u64;
            order.rotate_left(usize::try_from(turn).unwrap_or_default());
        }
        self.news.retain(|_, (known, _)| !prefixes.contains(known));
        for before in 0..limits::TIMES_TOLD {
            for prefix in &order {
                self.news.insert(self.next, (*prefix, before));
                self.next += 1;
            }
        }
        while self.news.len() > limits::NEWS {
            self.news.pop_first();
        }
        for (rloc, itr) in &mut self.itrs {
            itr.first.retain(|first| !prefixes.contains(&first.prefix));
            let room = limits::PREFIXES_PER_ITR.saturating_sub(itr.first.len());
            let asked = itr.asked.iter().filter(|asked| prefixes.contains(asked));
            itr.first.extend(asked.take(room).copied().map(First::new));
            if itr.due.is_none() {
                let due = itr.due_next(now);
                itr.due = Some(due);
                self.schedule.insert((due, *rloc));
            }
        }
    }

    fn tell(&mut self, now: Instant, rloc: IpAddr, ways: impl Fn(IpAddr) -> Vec<IpAddr>) {
        let Some(itr) = self.itrs.get_mut(&rloc) else { return };
        itr.due = None;
        let ways = ways(rloc);
        // Without a locator of its family it cannot be told, and does not count as told, as long as it is not forgotten.
        let waits = ways.is_empty() && now.saturating_duration_since(itr.heard) < limits::RECENT;
        let next = if waits { None } else { itr.next(&self.news) };
        if next.is_some() {
            itr.told = Some(now);
        } else if !waits {
            return;
        }
        if itr.has_more(&self.news) {
            let due = itr.due_at(now + limits::SMR_INTERVAL);
            itr.due = Some(due);
            self.schedule.insert((due, rloc));
        }
        let Some((prefix, before)) = next else { return self.tally.count(Refusal::NoLocatorOfFamily) };
        let local = before.checked_rem(ways.len()).and_then(|turn| ways.get(turn)).copied();
        match self.message(rloc, prefix, local) {
            Ok(outgoing) => {
                tracing::debug!(%rloc, %prefix, ?local, "solicited");
                self.counts.smrs_sent += 1;
                self.outputs.push_back(outgoing);
            }
            Err(refusal) => self.tally.count(refusal),
        }
    }

    fn message(&mut self, rloc: IpAddr, prefix: EidPrefix, local: Option<IpAddr>) -> Result<Outgoing, Refusal> {
        let local = local.ok_or(Refusal::NoLocatorOfFamily)?;
        let message = MapRequest {
            smr: true,
            nonce: Nonce(self.random.next_u64()),
            source_eid: prefix.net.addr().into(),
            itr_rlocs: vec![Address::from(local)],
            records: vec![EidRequest { notify: false, eid: prefix.into() }],
            ..MapRequest::default()
        };
        let bytes = message.encode().map_err(|_| Refusal::NotEncodable)?;
        let to = Destination::Socket { local, remote: SocketAddr::new(rloc, wire::CONTROL_PORT) };
        Ok(Outgoing { to, bytes })
    }

    /// Forgets who has been silent for long.
    fn sweep(&mut self, now: Instant) {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.swept = Some(now);
        let (unproven, proven) = (&mut self.unproven, &mut self.proven);
        self.itrs.retain(|rloc, itr| {
            let stays = itr.due.is_some() || since(itr.heard) < limits::RECENT;
            if !stays {
                if itr.proven { &mut *proven } else { &mut *unproven }.remove(&(itr.worth(), *rloc));
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use wire::address::InstanceId;

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4((0xc633_0000 + number).into())
    }

    fn ways(_: IpAddr) -> Vec<IpAddr> {
        vec!["192.0.2.1".parse().unwrap()]
    }

    fn solicitor(now: Instant) -> Solicitor {
        Solicitor::new(now, [7; 32])
    }

    fn sent(solicitor: &mut Solicitor) -> Vec<(IpAddr, EidPrefix)> {
        let mut sent = Vec::new();
        while let Some(Outgoing { to: Destination::Socket { remote, .. }, bytes }) = solicitor.poll() {
            let message = MapRequest::decode(&bytes).unwrap();
            assert!(message.smr && !message.probe && remote.port() == 4342);
            let prefix = message.records[0].eid.ip_prefix().unwrap();
            assert_eq!(message.source_eid.ip(), Some(prefix.net.addr()));
            sent.push((remote.ip(), prefix));
        }
        sent
    }

    /// What is sent until nothing is left to be told, and when.
    fn told(solicitor: &mut Solicitor, now: Instant) -> Vec<(u64, IpAddr, EidPrefix)> {
        let mut told = Vec::new();
        while let Some(deadline) = solicitor.next_deadline() {
            solicitor.handle_timeout(deadline, true, ways);
            let at = (deadline - now).as_secs();
            told.extend(sent(solicitor).into_iter().map(|(rloc, prefix)| (at, rloc, prefix)));
        }
        told
    }

    #[test]
    fn an_itr_hears_twice_of_everything_first_of_what_it_asked_for_and_once_in_three_seconds() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        let ours = [prefix("10.1.0.0/16"), prefix("10.2.0.0/16"), prefix("10.3.0.0/16")];
        solicitor.heard(now, address(1), &ours[1..2], true);
        solicitor.changed(now, ours);
        solicitor.handle_timeout(now, true, ways);
        assert_eq!(sent(&mut solicitor), [(address(1), ours[1])]);
        assert_eq!(solicitor.next_deadline(), Some(now + limits::SMR_INTERVAL));
        let order: Vec<_> = told(&mut solicitor, now).into_iter().map(|(at, _, prefix)| (at, prefix)).collect();
        assert_eq!(order, [(3, ours[0]), (6, ours[2]), (9, ours[0]), (12, ours[1]), (15, ours[2])]);
        assert_eq!(solicitor.news.len(), 0);
    }

    #[test]
    fn who_uses_an_old_mapping_is_told_at_once_and_once_in_three_seconds() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        let ours = prefix("10.1.0.0/16");
        for second in 0..7 {
            let now = now + Duration::from_secs(second);
            solicitor.remind(now, address(1), ours);
            solicitor.handle_timeout(now, true, ways);
            let expected = if second % 3 == 0 { vec![(address(1), ours)] } else { vec![] };
            assert_eq!(sent(&mut solicitor), expected, "{second}");
        }
    }

    #[test]
    fn who_uses_old_mappings_of_two_prefixes_is_told_of_each_from_every_locator() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        let ours = [prefix("10.1.0.0/16"), prefix("10.2.0.0/16")];
        let own: [IpAddr; 2] = ["192.0.2.1", "192.0.2.129"].map(|own| own.parse().unwrap());
        let mut told = BTreeSet::new();
        for round in 0..6 {
            let now = now + round * limits::SMR_INTERVAL;
            ours.iter().for_each(|ours| solicitor.remind(now, address(1), *ours));
            solicitor.handle_timeout(now, true, |_| own.to_vec());
            let from = |outgoing: Outgoing| match outgoing.to {
                Destination::Socket { local, .. } => {
                    (MapRequest::decode(&outgoing.bytes).unwrap().records.remove(0).eid, local)
                }
                other => panic!("{other:?}"),
            };
            told.extend(solicitor.poll().map(from).map(|(eid, local)| (eid.ip_prefix().unwrap(), local)));
        }
        assert_eq!(told.len(), 4, "{told:?}");
    }

    #[test]
    fn a_change_while_another_is_told_makes_it_no_faster() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        let ours = [prefix("10.1.0.0/16"), prefix("10.2.0.0/16")];
        solicitor.heard(now, address(1), &ours, true);
        for _ in 0..2 {
            solicitor.changed(now, ours);
            solicitor.handle_timeout(now, true, ways);
        }
        assert_eq!(sent(&mut solicitor).len(), 1);
        solicitor.handle_timeout(now + Duration::from_millis(2999), true, ways);
        assert_eq!(sent(&mut solicitor), []);
        let told = told(&mut solicitor, now);
        let times: Vec<u64> = told.iter().map(|(at, ..)| *at).collect();
        assert_eq!(times, [3, 6, 9, 12]);
        assert!(ours.iter().all(|ours| told.iter().filter(|(.., prefix)| prefix == ours).count() == 2), "{told:?}");
    }

    #[test]
    fn of_many_changes_none_is_left_out() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        let ours: BTreeSet<_> = (0..100).map(|site| prefix(&format!("10.{site}.0.0/16"))).collect();
        solicitor.heard(now, address(1), &ours.iter().copied().collect::<Vec<_>>(), true);
        solicitor.changed(now, ours.clone());
        let told: Vec<EidPrefix> = told(&mut solicitor, now).into_iter().map(|(.., prefix)| prefix).collect();
        assert_eq!((told.len(), told[..100].iter().copied().collect::<BTreeSet<_>>()), (200, ours));
    }

    #[test]
    fn nobody_hears_of_a_change_before_the_map_servers_unless_they_are_slow() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        solicitor.heard(now, address(1), &[], true);
        solicitor.changed(now, [prefix("10.1.0.0/16")]);
        solicitor.handle_timeout(now, false, ways);
        assert_eq!(sent(&mut solicitor), []);
        let slow = now + limits::CONFIRMATION;
        assert_eq!(solicitor.next_deadline(), Some(slow));
        solicitor.handle_timeout(slow, false, ways);
        solicitor.handle_timeout(slow + limits::SMR_INTERVAL, false, ways);
        assert_eq!(sent(&mut solicitor).len(), 2);
        assert_eq!((solicitor.next_deadline(), solicitor.is_telling()), (None, true));
        let late = slow + Duration::from_secs(9);
        solicitor.handle_timeout(late, true, ways);
        assert_eq!(sent(&mut solicitor).len(), 1, "told once more when the Map-Server knows");
        assert_eq!((told(&mut solicitor, late).len(), solicitor.is_telling()), (1, false));
    }

    #[test]
    fn who_cannot_be_told_for_want_of_a_locator_of_its_family_is_told_when_there_is_one() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        solicitor.heard(now, address(1), &[], true);
        solicitor.changed(now, [prefix("10.1.0.0/16")]);
        for second in 0..10 {
            solicitor.handle_timeout(now + Duration::from_secs(second), true, |_| Vec::new());
        }
        assert_eq!(sent(&mut solicitor), []);
        let told = told(&mut solicitor, now);
        assert_eq!(told.iter().map(|(_, rloc, _)| *rloc).collect::<Vec<_>>(), [address(1); 2]);
        // Nobody waits for ever.
        solicitor.changed(now, [prefix("10.2.0.0/16")]);
        let late = now + limits::RECENT;
        solicitor.handle_timeout(late, true, |_| Vec::new());
        solicitor.handle_timeout(late + limits::SMR_INTERVAL, true, |_| Vec::new());
        assert_eq!((solicitor.next_deadline(), sent(&mut solicitor)), (None, vec![]));
    }

    #[test]
    fn who_has_been_silent_for_long_is_left_alone() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        solicitor.heard(now, address(1), &[], true);
        solicitor.heard(now + Duration::from_secs(60), address(2), &[], true);
        let later = now + limits::RECENT;
        solicitor.changed(later, [prefix("10.1.0.0/16")]);
        solicitor.handle_timeout(later, true, ways);
        assert_eq!(sent(&mut solicitor), [(address(2), prefix("10.1.0.0/16"))]);
    }

    #[test]
    fn who_is_in_the_map_cache_alone_hears_behind_those_that_send_and_displaces_none() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        solicitor.heard(now, address(9), &[], false);
        solicitor.heard(now, address(8), &[], true);
        solicitor.heard(now, address(3), &[], true);
        solicitor.cached(now, (1..=3).map(address));
        solicitor.changed(now, [prefix("10.1.0.0/16")]);
        solicitor.handle_timeout(now, true, ways);
        let order: Vec<IpAddr> = sent(&mut solicitor).into_iter().map(|(rloc, _)| rloc).collect();
        assert_eq!(order, [3, 8, 1, 2, 9].map(address));
        told(&mut solicitor, now);
        let later = now + limits::RECENT;
        let itrs = u32::try_from(limits::ITRS).unwrap();
        (10..itrs + 8).for_each(|number| solicitor.heard(later, address(number), &[], true));
        let later = later + Duration::from_secs(1);
        solicitor.cached(later, [1, 2, 8, 9].map(address).into_iter());
        assert_eq!((solicitor.itrs.len(), solicitor.tally().get(Refusal::ItrTableFull)), (limits::ITRS, 2));
        assert!((10..itrs + 8).all(|number| solicitor.knows(address(number))), "those that were heard stay");
        solicitor.heard(later, address(itrs + 8), &[], true);
        assert!(solicitor.knows(address(itrs + 8)), "and whoever sends finds room");
        assert!((10..itrs + 8).all(|number| solicitor.knows(address(number))), "in the place of a cached one");
    }

    #[test]
    fn a_flood_of_invented_itrs_keeps_no_proven_one_out_and_is_told_last() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        for number in 0..6000 {
            solicitor.heard(now, address(number), &[], false);
        }
        assert_eq!((solicitor.itrs.len(), solicitor.unproven.len()), (limits::UNPROVEN_ITRS, limits::UNPROVEN_ITRS));
        assert_eq!(solicitor.tally().get(Refusal::ItrTableFull), 6000 - limits::UNPROVEN_ITRS as u64);
        for number in 10_000..10_100 {
            solicitor.heard(now, address(number), &[], true);
        }
        solicitor.changed(now, [prefix("10.1.0.0/16")]);
        solicitor.handle_timeout(now, true, ways);
        let first = sent(&mut solicitor);
        assert_eq!(first.len(), limits::SMRS_PER_SECOND as usize);
        assert!(first[..100].iter().all(|(rloc, _)| *rloc >= address(10_000)), "the proven ones");
        let rest = told(&mut solicitor, now);
        assert_eq!(first.len() + rest.len(), 2 * (limits::UNPROVEN_ITRS + 100));
        solicitor.heard(now + limits::RECENT, address(9999), &[], true);
        solicitor.sweep(now + limits::RECENT);
        assert_eq!((solicitor.itrs.len(), solicitor.unproven.len()), (1, 0));
    }

    #[test]
    fn of_a_full_table_those_that_nothing_proves_leave_first() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        let itrs = u32::try_from(limits::ITRS).unwrap();
        (0..10).for_each(|number| solicitor.heard(now, address(number), &[], false));
        solicitor.heard(now, address(0), &[], true);
        (10..itrs + 9).for_each(|number| solicitor.heard(now, address(number), &[], true));
        assert_eq!((solicitor.itrs.len(), solicitor.unproven.len()), (limits::ITRS, 0));
        assert!(solicitor.itrs.contains_key(&address(0)), "it has sent something meanwhile");
        solicitor.heard(now, address(itrs + 9), &[], false);
        assert_eq!((solicitor.itrs.len(), solicitor.unproven.len()), (limits::ITRS, 0), "nobody gives way to that");
        let later = now + Duration::from_secs(1);
        solicitor.heard(later, address(0), &[], true);
        solicitor.heard(later, address(itrs + 9), &[], true);
        assert_eq!((solicitor.itrs.len(), solicitor.proven.len()), (limits::ITRS, limits::ITRS));
        let knows = [0, 10, itrs + 9].map(|number| solicitor.knows(address(number)));
        assert_eq!(knows, [true, false, true], "the one that was heard longest ago gives way");
    }
}
