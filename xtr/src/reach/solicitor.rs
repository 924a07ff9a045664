// SPDX-License-Identifier: GPL-2.0-or-later
//! Solicit-map-requests (RFC 9301, section 6.1): who has sent to us lately is made to ask the mapping system again when our
//! mappings change.
//!
//! An SMR tells nothing but that something changed, so it is sent once the Map-Servers know what. It names the changed
//! EID-prefix twice, as the source-EID and in its record: deployed ITRs differ in where they look.

use std::collections::{BTreeSet, HashMap, VecDeque};
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
use crate::transport::{Destination, Outgoing, same_family};

/// Remembers who sends to us, and tells them of changes.
#[derive(Debug)]
pub struct Solicitor {
    /// Our locators.
    rlocs: Vec<IpAddr>,
    random: StdRng,
    itrs: HashMap<IpAddr, Itr>,
    /// When the table was last searched for those that may be forgotten.
    swept: Option<Instant>,
    /// ITRs that are to be sent something, and when.
    schedule: BTreeSet<(Instant, IpAddr)>,
    change: Option<Change>,
    budget: Budget,
    counts: Counts,
    outputs: VecDeque<Outgoing>,
    tally: Tally,
}

/// An ITR that sends to us.
#[derive(Debug)]
struct Itr {
    heard: Instant,
    /// What it is known to have asked for, the newest last.
    asked: Vec<EidPrefix>,
    /// What it is still to be told of.
    waiting: VecDeque<EidPrefix>,
    due: Option<Instant>,
    told: Option<Instant>,
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
    pub fn new(now: Instant, rlocs: Vec<IpAddr>, seed: [u8; 32]) -> Self {
        Self {
            rlocs,
            random: StdRng::from_seed(seed),
            itrs: HashMap::new(),
            swept: None,
            schedule: BTreeSet::new(),
            change: None,
            budget: Budget::new(now, limits::SMRS_PER_SECOND),
            counts: Counts::default(),
            outputs: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Sends from these locators from now on.
    pub fn set_rlocs(&mut self, rlocs: Vec<IpAddr>) {
        self.rlocs = rlocs;
    }

    /// An ITR has sent us packets, or asked or probed for these prefixes of ours.
    pub fn heard(&mut self, now: Instant, rloc: IpAddr, prefixes: &[EidPrefix]) {
        if !is_unicast(rloc) {
            return;
        }
        if self.itrs.len() >= limits::ITRS && !self.itrs.contains_key(&rloc) {
            let is_due = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= limits::SWEEP_INTERVAL);
            if is_due {
                self.sweep(now);
            }
            if self.itrs.len() >= limits::ITRS {
                return self.tally.count(Refusal::ItrTableFull);
            }
        }
        let new = || Itr { heard: now, asked: Vec::new(), waiting: VecDeque::new(), due: None, told: None };
        let itr = self.itrs.entry(rloc).or_insert_with(new);
        itr.heard = now;
        for prefix in prefixes.iter().take(limits::PREFIXES_PER_ITR) {
            itr.asked.retain(|known| known != prefix);
            if itr.asked.len() >= limits::PREFIXES_PER_ITR {
                itr.asked.remove(0);
            }
            itr.asked.push(*prefix);
        }
    }

    /// The mappings of these prefixes are about to change at the Map-Servers.
    pub fn changed(&mut self, now: Instant, prefixes: impl IntoIterator<Item = EidPrefix>) {
        let mut prefixes: BTreeSet<_> = prefixes.into_iter().collect();
        // What changes again before it was told is told once, with its last change.
        prefixes.extend(self.change.take().into_iter().flat_map(|change| change.prefixes));
        self.change = Some(Change { prefixes, at: now, told_early: false });
    }

    /// Sends what is due. `is_confirmed` says whether every Map-Server knows the mappings as they are.
    pub fn handle_timeout(&mut self, now: Instant, is_confirmed: bool) {
        self.follow_change(now, is_confirmed);
        while let Some((due, rloc)) = self.schedule.first().copied()
            && due <= now
        {
            // The others wait too: what is due first is sent first.
            if !self.budget.take(now) {
                return;
            }
            self.schedule.remove(&(due, rloc));
            self.tell(now, rloc);
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
        let due = self.schedule.first().map(|(due, _)| self.budget.next().map_or(*due, |tokens| tokens.max(*due)));
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

    /// Who is not known to have asked for anything, since a Map-Server answers for us, is told of everything.
    fn solicit(&mut self, now: Instant, prefixes: &BTreeSet<EidPrefix>) {
        self.sweep(now);
        for (rloc, itr) in &mut self.itrs {
            let of_interest = |prefix: &EidPrefix| itr.asked.is_empty() || itr.asked.contains(prefix);
            let wanted = prefixes.iter().filter(|prefix| of_interest(prefix) && !itr.waiting.contains(prefix));
            let wanted: Vec<EidPrefix> = wanted.copied().collect();
            let room = limits::PREFIXES_PER_ITR.saturating_sub(itr.waiting.len());
            itr.waiting.extend(wanted.into_iter().take(room));
            if itr.due.is_none() && !itr.waiting.is_empty() {
                let due = itr.told.map_or(now, |told| now.max(told + limits::SMR_INTERVAL));
                itr.due = Some(due);
                self.schedule.insert((due, *rloc));
            }
        }
    }

    fn tell(&mut self, now: Instant, rloc: IpAddr) {
        let Some(itr) = self.itrs.get_mut(&rloc) else { return };
        itr.due = None;
        let Some(prefix) = itr.waiting.pop_front() else { return };
        itr.told = Some(now);
        if !itr.waiting.is_empty() {
            let due = now + limits::SMR_INTERVAL;
            itr.due = Some(due);
            self.schedule.insert((due, rloc));
        }
        match self.message(rloc, prefix) {
            Ok(outgoing) => {
                tracing::debug!(%rloc, %prefix, "solicited");
                self.counts.smrs_sent += 1;
                self.outputs.push_back(outgoing);
            }
            Err(refusal) => self.tally.count(refusal),
        }
    }

    fn message(&mut self, rloc: IpAddr, prefix: EidPrefix) -> Result<Outgoing, Refusal> {
        let local = same_family(&self.rlocs, rloc).ok_or(Refusal::NoLocatorOfFamily)?;
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
        self.itrs.retain(|_, itr| itr.due.is_some() || since(itr.heard) < limits::RECENT);
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

    fn solicitor(now: Instant) -> Solicitor {
        Solicitor::new(now, vec!["192.0.2.1".parse().unwrap()], [7; 32])
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

    #[test]
    fn an_itr_hears_of_what_it_asked_for_once_in_three_seconds() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        let ours = [prefix("10.1.0.0/16"), prefix("10.2.0.0/16"), prefix("10.3.0.0/16")];
        solicitor.heard(now, address(1), &ours[..2]);
        solicitor.changed(now, ours);
        solicitor.handle_timeout(now, true);
        assert_eq!(sent(&mut solicitor), [(address(1), ours[0])]);
        assert_eq!(solicitor.next_deadline(), Some(now + limits::SMR_INTERVAL));
        // A second change does not make it faster, nor is one prefix said twice.
        solicitor.changed(now, ours);
        solicitor.handle_timeout(now, true);
        solicitor.handle_timeout(now + Duration::from_millis(2999), true);
        assert_eq!(sent(&mut solicitor), []);
        solicitor.handle_timeout(now + Duration::from_secs(3), true);
        solicitor.handle_timeout(now + Duration::from_secs(6), true);
        assert_eq!(sent(&mut solicitor), [(address(1), ours[1]), (address(1), ours[0])]);
        solicitor.handle_timeout(now + Duration::from_secs(60), true);
        assert_eq!((sent(&mut solicitor), solicitor.next_deadline()), (vec![], None));
    }

    #[test]
    fn nobody_hears_of_a_change_before_the_map_servers_unless_they_are_slow() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        solicitor.heard(now, address(1), &[]);
        solicitor.changed(now, [prefix("10.1.0.0/16")]);
        solicitor.handle_timeout(now, false);
        assert_eq!(sent(&mut solicitor), []);
        let slow = now + limits::CONFIRMATION;
        assert_eq!(solicitor.next_deadline(), Some(slow));
        solicitor.handle_timeout(slow, false);
        assert_eq!(sent(&mut solicitor).len(), 1);
        assert_eq!(solicitor.next_deadline(), None);
        let late = slow + Duration::from_secs(9);
        solicitor.handle_timeout(late, true);
        assert_eq!(sent(&mut solicitor).len(), 1, "told once more when the Map-Server knows");
        solicitor.handle_timeout(late + Duration::from_secs(9), true);
        assert_eq!(sent(&mut solicitor), []);
    }

    #[test]
    fn who_has_been_silent_for_long_is_left_alone() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        solicitor.heard(now, address(1), &[]);
        solicitor.heard(now + Duration::from_secs(60), address(2), &[]);
        let later = now + limits::RECENT;
        solicitor.changed(later, [prefix("10.1.0.0/16")]);
        solicitor.handle_timeout(later, true);
        assert_eq!(sent(&mut solicitor), [(address(2), prefix("10.1.0.0/16"))]);
    }

    #[test]
    fn a_flood_of_invented_itrs_is_bounded_in_memory_and_in_what_it_makes_us_send() {
        let now = Instant::now();
        let mut solicitor = solicitor(now);
        for number in 0..6000 {
            solicitor.heard(now, address(number), &[]);
        }
        assert_eq!(solicitor.itrs.len(), limits::ITRS);
        assert_eq!(solicitor.tally().get(Refusal::ItrTableFull), 6000 - limits::ITRS as u64);
        solicitor.changed(now, [prefix("10.1.0.0/16")]);
        solicitor.handle_timeout(now, true);
        assert_eq!(sent(&mut solicitor).len(), limits::SMRS_PER_SECOND as usize);
        let mut at = now;
        let mut rest = 0;
        while let Some(deadline) = solicitor.next_deadline() {
            at = deadline;
            solicitor.handle_timeout(at, true);
            rest += sent(&mut solicitor).len();
        }
        assert_eq!(rest, limits::ITRS - limits::SMRS_PER_SECOND as usize);
        assert!(at - now < Duration::from_secs(8), "{:?}", at - now);
        solicitor.heard(now + limits::RECENT, address(9999), &[]);
        assert_eq!(solicitor.itrs.len(), 1);
    }
}
