// SPDX-License-Identifier: GPL-2.0-or-later
//! Whom to dial again, and when: the bootstrap nodes always, lost peers for a while. Knows no sockets; time is an argument.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use super::addresses::split_peer;
use crate::shell::limits;

/// An address worth dialling while nobody we know is connected there.
#[derive(Debug, Clone)]
struct Target {
    /// Without identity.
    address: Multiaddr,
    /// Who must be there; `None` takes whoever answers.
    expected: Option<PeerId>,
    /// Who was there last.
    found: Option<PeerId>,
    /// Attempts after which it is given up; configured addresses never are.
    last: Option<u32>,
    attempts: u32,
    /// When somebody answered there last, if nothing speaks against it since.
    reached: Option<Instant>,
    next: Instant,
}

/// What to dial now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) address: Multiaddr,
    pub(super) expected: Option<PeerId>,
    /// A configured address has been tried for so long that the operator should know; said once per silence.
    pub(super) is_long_silent: bool,
}

/// The addresses to dial again, with their backoff.
#[derive(Debug)]
pub(super) struct Redial {
    targets: Vec<Target>,
    /// Fixed part of a second by which this node's pauses differ from those of others.
    spread: Duration,
}

impl Redial {
    /// The configured addresses, all due at once. `spread` is what makes this node's pauses its own.
    pub(super) fn new(bootstrap: &[Multiaddr], own: PeerId, spread: u8, now: Instant) -> Self {
        let targets = bootstrap
            .iter()
            .map(split_peer)
            .filter(|(_, expected)| *expected != Some(own))
            .map(|(address, expected)| Target {
                address,
                expected,
                found: None,
                last: None,
                attempts: 0,
                reached: None,
                next: now,
            })
            .collect();
        Self { targets, spread: Duration::from_millis(u64::from(spread)) }
    }

    /// When something is due next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.targets.iter().map(|target| target.next).min()
    }

    /// What to dial now. Addresses whose peer is connected are put off.
    pub(super) fn due(&mut self, now: Instant, is_connected: impl Fn(&PeerId) -> bool) -> Vec<Dial> {
        let spread = self.spread;
        let mut dials = Vec::new();
        self.targets.retain_mut(|target| {
            if target.next > now {
                return true;
            }
            if target.expected.or(target.found).is_some_and(|peer| is_connected(&peer)) {
                (target.attempts, target.reached) = (0, None);
                target.next = now + limits::REDIAL_LAST;
                return target.last.is_none();
            }
            // Somebody is there, whose connection was closed since nobody used it, and whose place in the routing table others
            // have: most of a large network. Dialled again and again, all nodes together would keep the bootstrap nodes busy.
            if let Some(reached) = target.reached {
                target.next = reached + limits::REACHED_PAUSE;
                if target.last.is_some() || target.next > now {
                    return target.last.is_none();
                }
            }
            if target.last.is_some_and(|last| target.attempts >= last) {
                return false;
            }
            target.next = now + pause(target.attempts) + spread;
            let is_long_silent = target.last.is_none() && target.attempts == limits::SILENT_ATTEMPTS;
            target.attempts = target.attempts.saturating_add(1);
            dials.push(Dial { address: target.address.clone(), expected: target.expected, is_long_silent });
            true
        });
        dials
    }

    /// One more address of a kind that anybody may answer: an anycast one is tried for ever, one of the last run a few times.
    pub(super) fn add(&mut self, now: Instant, address: &Multiaddr, last: Option<u32>) {
        let address = split_peer(address).0;
        if self.targets.iter().any(|target| target.address == address) {
            return;
        }
        if last.is_some() {
            self.make_room();
        }
        let (expected, found, reached) = (None, None, None);
        self.targets.push(Target { address, expected, found, last, attempts: 0, reached, next: now });
    }

    /// Whoever was found at an address for which anybody will do has gone: somebody else may answer there now.
    pub(super) fn lost(&mut self, now: Instant, peer: &PeerId) {
        let next = now + self.spread;
        for target in self.targets.iter_mut().filter(|target| target.found == Some(*peer)) {
            let soon = if target.expected.is_none() { next } else { now + limits::REDIAL_LAST };
            (target.reached, target.next) = (None, target.next.min(soon));
        }
    }

    /// Peers fall silent, or none are left: what was reached may be gone as well, or be behind a cut.
    pub(super) fn doubt(&mut self, now: Instant) {
        let next = now + self.spread;
        for target in self.targets.iter_mut().filter(|target| target.reached.is_some()) {
            (target.reached, target.next) = (None, target.next.min(next));
        }
    }

    /// This node is elsewhere than it was: nothing speaks against any address.
    pub(super) fn try_all(&mut self, now: Instant) {
        let next = now + self.spread;
        for target in &mut self.targets {
            (target.reached, target.next) = (None, target.next.min(next));
        }
    }

    /// A peer was reached and has closed the connection: it is full, and is tried again as one that does not answer.
    pub(super) fn refused(&mut self, now: Instant, peer: &PeerId) {
        let spread = self.spread;
        for target in self.targets.iter_mut().filter(|target| target.found == Some(*peer)) {
            (target.reached, target.next) = (None, target.next.min(now + limits::REFUSED_PAUSE + spread));
        }
    }

    /// A dial has reached this peer; whether it was tried for so long that much may have changed.
    pub(super) fn reached(&mut self, now: Instant, address: &Multiaddr, peer: PeerId) -> bool {
        let bare = split_peer(address).0;
        let mut was_long = false;
        for target in self.targets.iter_mut().filter(|target| target.address == bare) {
            was_long |= target.attempts >= limits::SILENT_ATTEMPTS;
            (target.found, target.reached) = (Some(peer), Some(now));
            target.attempts = 0;
            target.next = now + limits::REDIAL_LAST;
        }
        was_long
    }

    /// The address turned out to be our own: nothing is ever to be found there.
    pub(super) fn is_own(&mut self, address: &Multiaddr) {
        let bare = split_peer(address).0;
        self.targets.retain(|target| target.address != bare);
    }

    /// A peer of the routing table was lost: this address of it is tried so often.
    pub(super) fn remember(&mut self, now: Instant, peer: PeerId, address: &Multiaddr, attempts: u32) {
        let address = split_peer(address).0;
        if let Some(known) = self.targets.iter_mut().find(|target| target.address == address) {
            (known.reached, known.next) = (None, known.next.min(now + self.spread));
            return;
        }
        self.make_room();
        let (expected, last) = (Some(peer), Some(attempts));
        let (found, reached) = (None, None);
        self.targets.push(Target { address, expected, found, last, attempts: 0, reached, next: now });
    }

    /// Forgets a remembered address when there are too many: one that was only claimed rather than one that was proven, which is
    /// what finds the other half of a network again, and of those the one tried most often.
    fn make_room(&mut self) {
        let remembered = self.targets.iter().enumerate().filter(|(_, target)| target.last.is_some());
        if remembered.clone().count() < limits::REMEMBERED_PEERS {
            return;
        }
        if let Some((index, _)) = remembered.max_by_key(|(_, target)| (Reverse(target.last), target.attempts)) {
            self.targets.remove(index);
        }
    }
}

/// The pause after this many attempts.
fn pause(attempts: u32) -> Duration {
    limits::REDIAL_FIRST.saturating_mul(1 << attempts.min(16)).min(limits::REDIAL_LAST)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(last: u8) -> Multiaddr {
        format!("/ip4/192.0.2.{last}/udp/43420/quic-v1").parse().unwrap()
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut now = Instant::now();
        let mut redial = Redial::new(&[address(1)], PeerId::random(), 0, now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(redial.due(now, |_| false).len(), 1);
            let next = redial.next_deadline().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn a_bootstrap_that_stays_silent_is_reported_once() {
        let mut now = Instant::now();
        let mut redial = Redial::new(&[address(1)], PeerId::random(), 0, now);
        let mut reports = 0;
        for _ in 0..50 {
            reports += redial.due(now, |_| false).iter().filter(|dial| dial.is_long_silent).count();
            now += limits::REDIAL_LAST;
        }
        assert_eq!(reports, 1);
    }

    #[test]
    fn a_bootstrap_that_was_reached_is_not_left_for_an_hour_once_it_is_lost() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let later = now + limits::REDIAL_LAST;
        let mut first = Redial::new(&[address(1)], PeerId::random(), 0, now);
        first.due(now, |_| false);
        first.reached(now, &address(1), peer);
        assert!(first.due(later, |_| false).is_empty(), "somebody is there");
        assert!(first.next_deadline().unwrap() > later + limits::REDIAL_LAST);
        first.remember(later, peer, &address(1), 9);
        assert!(first.next_deadline().unwrap() <= later + limits::REDIAL_LAST);
    }

    #[test]
    fn a_connected_bootstrap_is_left_alone_and_dialled_again_when_lost() {
        let now = Instant::now();
        let peer = PeerId::random();
        let mut redial = Redial::new(&[address(1)], PeerId::random(), 0, now);
        redial.due(now, |_| false);
        redial.reached(now, &address(1), peer);
        assert!(redial.due(now + limits::REDIAL_LAST, |id| *id == peer).is_empty());
        assert_eq!(redial.due(now + limits::REDIAL_LAST * 2, |_| false).len(), 1);
    }

    #[test]
    fn when_peers_fall_silent_what_was_reached_is_dialled_again() {
        let now = Instant::now();
        let mut redial = Redial::new(&[address(1)], PeerId::random(), 0, now);
        redial.due(now, |_| false);
        redial.reached(now, &address(1), PeerId::random());
        let later = now + limits::REDIAL_LAST * 2;
        assert!(redial.due(later, |_| false).is_empty());
        redial.doubt(later);
        assert_eq!(redial.due(later, |_| false).len(), 1);
    }

    #[test]
    fn whoever_moves_dials_all_at_once_also_those_that_were_silent_for_long() {
        let mut now = Instant::now();
        let mut redial = Redial::new(&[address(1), address(2)], PeerId::random(), 0, now);
        for _ in 0..9 {
            redial.due(now, |_| false);
            redial.reached(now, &address(1), PeerId::random());
            now += limits::REDIAL_LAST;
        }
        redial.due(now, |_| false);
        let moved = now + Duration::from_secs(1);
        assert!(redial.due(moved, |_| false).is_empty());
        redial.try_all(moved);
        assert_eq!(redial.due(moved, |_| false).len(), 2);
        assert!(redial.reached(moved, &address(2), PeerId::random()), "and much may have changed there");
    }

    #[test]
    fn who_was_reached_and_has_no_place_in_the_table_is_not_dialled_again_and_again() {
        let begin = Instant::now();
        let mut redial = Redial::new(&[address(1)], PeerId::random(), 0, begin);
        redial.add(begin, &address(2), Some(limits::KEPT_ATTEMPTS));
        redial.remember(begin, PeerId::random(), &address(3), limits::REMEMBERED_ATTEMPTS);
        let mut dials = Vec::new();
        let mut now = begin;
        while now < begin + limits::REACHED_PAUSE * 2 + limits::REDIAL_LAST {
            for dial in redial.due(now, |_| false) {
                redial.reached(now, &dial.address, PeerId::random());
                dials.push(dial.address);
            }
            now += Duration::from_secs(1);
        }
        let count = |last: u8| dials.iter().filter(|dialled| **dialled == address(last)).count();
        assert_eq!((count(1), count(2), count(3)), (3, 1, 1), "the configured one once an hour, others once");
    }

    #[test]
    fn an_address_that_anybody_may_answer_is_dialled_as_soon_as_its_node_is_lost() {
        let now = Instant::now();
        let (near, far) = (PeerId::random(), PeerId::random());
        let mut redial = Redial::new(&[], PeerId::random(), 0, now);
        redial.add(now, &address(1), None);
        assert_eq!(redial.due(now, |_| false)[0].expected, None);
        redial.reached(now, &address(1), near);
        redial.lost(now, &far);
        assert!(redial.due(now, |_| false).is_empty(), "another one was lost");
        redial.lost(now, &near);
        assert_eq!(redial.due(now, |_| false).len(), 1);
        redial.reached(now, &address(1), far);
        assert!(redial.due(now + limits::REDIAL_LAST, |id| *id == far).is_empty());
        redial.add(now, &address(1), Some(1));
        assert_eq!(redial.targets.len(), 1);
    }

    #[test]
    fn who_was_silent_for_long_is_told_from_who_was_not() {
        let mut now = Instant::now();
        let mut redial = Redial::new(&[address(1)], PeerId::random(), 0, now);
        redial.due(now, |_| false);
        assert!(!redial.reached(now, &address(1), PeerId::random()), "at the first attempt");
        redial.doubt(now);
        for _ in 0..=limits::SILENT_ATTEMPTS {
            now += limits::REDIAL_LAST;
            redial.due(now, |_| false);
        }
        assert!(redial.reached(now, &address(1), PeerId::random()));
        assert!(!redial.reached(now, &address(1), PeerId::random()), "once");
    }

    #[test]
    fn a_full_bootstrap_is_dialled_again_soon_by_who_knows_nobody() {
        let now = Instant::now();
        let peer = PeerId::random();
        let mut redial = Redial::new(&[address(1)], PeerId::random(), 0, now);
        redial.due(now, |_| false);
        redial.reached(now, &address(1), peer);
        assert_eq!(redial.next_deadline(), Some(now + limits::REDIAL_LAST));
        redial.refused(now, &PeerId::random());
        assert_eq!(redial.next_deadline(), Some(now + limits::REDIAL_LAST), "somebody else");
        redial.refused(now, &peer);
        assert_eq!(redial.next_deadline(), Some(now + limits::REFUSED_PAUSE));
    }

    #[test]
    fn our_own_address_is_dropped() {
        let now = Instant::now();
        let own = PeerId::random();
        let with_id = address(2).with_p2p(own).unwrap();
        let mut redial = Redial::new(&[address(1), with_id], own, 0, now);
        assert_eq!(redial.due(now, |_| false).len(), 1);
        redial.is_own(&address(1));
        assert_eq!(redial.next_deadline(), None);
    }

    #[test]
    fn a_proven_address_outlives_any_number_of_claimed_ones() {
        let now = Instant::now();
        let mut redial = Redial::new(&[], PeerId::random(), 0, now);
        redial.remember(now, PeerId::random(), &address(1), limits::REMEMBERED_ATTEMPTS);
        redial.due(now, |_| false);
        for last in 2..=u8::MAX {
            redial.remember(now, PeerId::random(), &address(last), limits::CLAIMED_ATTEMPTS);
        }
        assert_eq!(redial.targets.len(), limits::REMEMBERED_PEERS);
        assert!(redial.targets.iter().any(|target| target.address == address(1)));
    }

    #[test]
    fn remembered_peers_are_bounded_and_given_up() {
        let mut now = Instant::now();
        let mut redial = Redial::new(&[], PeerId::random(), 0, now);
        for last in 0..=u8::MAX {
            redial.remember(now, PeerId::random(), &address(last), limits::REMEMBERED_ATTEMPTS);
        }
        assert_eq!(redial.targets.len(), limits::REMEMBERED_PEERS);
        for _ in 0..=limits::REMEMBERED_ATTEMPTS {
            redial.due(now, |_| false);
            now += limits::REDIAL_LAST * 2;
        }
        assert_eq!(redial.next_deadline(), None);
    }
}
