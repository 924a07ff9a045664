// SPDX-License-Identifier: GPL-2.0-or-later
//! The nonces of legacy owners within [`LEGACY_NONCE_MEMORY`]: they come in no order, so that each is remembered for a while.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use super::nonces::NonceOwner;
use crate::limits::{EXPIRED_AT_ONCE, LEGACY_NONCE_MEMORY, LEGACY_NONCES, LEGACY_NONCES_PER_SITE};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct SeenNonces {
    by_owner: HashMap<NonceOwner, Seen>,
    /// Each owner once, with the time at which its memory is looked through should it have fallen silent.
    queue: VecDeque<(Instant, NonceOwner)>,
    /// How many are remembered of each site.
    per_site: HashMap<String, usize>,
    /// How many are remembered of all of them.
    count: usize,
}

/// The nonces of one owner.
#[derive(Debug, Default)]
struct Seen {
    at: HashMap<u64, Instant>,
    order: VecDeque<(Instant, u64)>,
}

/// A nonce that was of another owner.
#[derive(Debug)]
pub(super) struct Moved {
    /// Whose it was.
    pub(super) former: NonceOwner,
    /// Whose it is.
    pub(super) owner: NonceOwner,
    /// The nonce.
    pub(super) nonce: u64,
    /// When the message was accepted.
    pub(super) at: Instant,
}

impl SeenNonces {
    /// Whether a nonce is remembered.
    pub(super) fn contains(&self, now: Instant, owner: &NonceOwner, nonce: u64) -> bool {
        self.by_owner.get(owner).is_some_and(|seen| seen.contains(now, nonce))
    }

    /// Whether something of an owner is remembered.
    pub(super) fn knows(&self, owner: &NonceOwner) -> bool {
        self.by_owner.contains_key(owner)
    }

    /// Whether there is room for one more of that owner, or [`Self::insert`] makes it because its oldest one has had its time.
    pub(super) fn has_room(&self, now: Instant, owner: &NonceOwner) -> bool {
        let of_site = self.per_site.get(&owner.site).copied().unwrap_or_default();
        let is_free = of_site < LEGACY_NONCES_PER_SITE && self.count < LEGACY_NONCES;
        is_free || self.by_owner.get(owner).is_some_and(|seen| seen.is_oldest_over(now))
    }

    /// Remembers a nonce from `at` on, which is `now` or was before; names those of its owner that need not be remembered any more.
    pub(super) fn insert(&mut self, now: Instant, at: Instant, owner: NonceOwner, nonce: u64) -> Vec<u64> {
        if !self.by_owner.contains_key(&owner) {
            self.queue.push_back((now + LEGACY_NONCE_MEMORY, owner.clone()));
        }
        let seen = self.by_owner.entry(owner.clone()).or_default();
        let before = seen.at.len();
        let forgotten = seen.insert(now, at, nonce);
        let after = seen.at.len();
        self.count(&owner.site, before, after);
        forgotten
    }

    /// Gives what is remembered of owners to others; names each nonce, since when it is remembered, of whom it was and whose it is.
    pub(super) fn rename(&mut self, renamed: impl Fn(&NonceOwner) -> Option<NonceOwner>) -> Vec<Moved> {
        let owners: Vec<_> = self.by_owner.keys().filter_map(|owner| Some((owner.clone(), renamed(owner)?))).collect();
        let taken: Vec<_> = owners.into_iter().map(|(former, owner)| (self.take(&former), former, owner)).collect();
        let mut moved = Vec::new();
        for (seen, former, owner) in taken {
            let nonces = seen.at.iter().map(|(nonce, at)| (*nonce, *at));
            moved.extend(nonces.map(|(nonce, at)| Moved { former: former.clone(), owner: owner.clone(), nonce, at }));
            let known = self.by_owner.entry(owner.clone()).or_default();
            let before = known.at.len();
            known.merge(seen);
            let after = known.at.len();
            self.count(&owner.site, before, after);
        }
        let mut queued = HashSet::new();
        let all = std::mem::take(&mut self.queue).into_iter();
        let all = all.map(|(due, owner)| (due, renamed(&owner).unwrap_or(owner)));
        self.queue = all.filter(|(_, owner)| queued.insert(owner.clone())).collect();
        moved
    }

    fn take(&mut self, owner: &NonceOwner) -> Seen {
        let seen = self.by_owner.remove(owner).unwrap_or_default();
        self.count(&owner.site, seen.at.len(), 0);
        seen
    }

    /// Forgets what is older than its time of owners that have fallen silent, and names it. Of very much it does a part, and leaves
    /// [`Self::next_deadline`] in the past. An owner is looked at once in the time that nonces are remembered, so that none stays for
    /// more than twice that.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(NonceOwner, u64)> {
        let mut forgotten = Vec::new();
        for _ in 0..EXPIRED_AT_ONCE {
            if forgotten.len() >= EXPIRED_AT_ONCE || self.next_deadline().is_none_or(|due| due > now) {
                break;
            }
            let Some((_, owner)) = self.queue.pop_front() else { break };
            let Some(seen) = self.by_owner.get_mut(&owner) else { continue };
            let before = seen.at.len();
            let old = seen.forget(now);
            let after = seen.at.len();
            forgotten.extend(old.into_iter().map(|nonce| (owner.clone(), nonce)));
            self.count(&owner.site, before, after);
            if after == 0 {
                self.by_owner.remove(&owner);
            } else {
                self.queue.push_back((now + LEGACY_NONCE_MEMORY, owner));
            }
        }
        forgotten
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }

    fn count(&mut self, site: &str, before: usize, after: usize) {
        self.count = (self.count + after).saturating_sub(before);
        match self.per_site.get_mut(site) {
            Some(count) => *count = (*count + after).saturating_sub(before),
            None => drop(self.per_site.insert(site.to_owned(), after.saturating_sub(before))),
        }
        if self.per_site.get(site) == Some(&0) {
            self.per_site.remove(site);
        }
    }
}

impl Seen {
    fn contains(&self, now: Instant, nonce: u64) -> bool {
        self.at.get(&nonce).is_some_and(|at| now.saturating_duration_since(*at) < LEGACY_NONCE_MEMORY)
    }

    /// Whether the oldest of them need not be remembered any more.
    fn is_oldest_over(&self, now: Instant) -> bool {
        self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= LEGACY_NONCE_MEMORY)
    }

    /// Gives those that had their time by then.
    fn insert(&mut self, now: Instant, at: Instant, nonce: u64) -> Vec<u64> {
        let mut forgotten = self.forget(now);
        forgotten.retain(|old| *old != nonce);
        self.at.insert(nonce, at);
        self.order.push_back((at, nonce));
        forgotten
    }

    /// Takes up those of another memory.
    fn merge(&mut self, other: Self) {
        self.order.extend(other.order);
        self.order.make_contiguous().sort_unstable();
        for (nonce, at) in other.at {
            let known = self.at.entry(nonce).or_insert(at);
            *known = at.max(*known);
        }
    }

    /// Forgets what is older than its time.
    fn forget(&mut self, now: Instant) -> Vec<u64> {
        let mut forgotten = Vec::new();
        while self.is_oldest_over(now) {
            let Some((at, oldest)) = self.order.pop_front() else { break };
            // One that came again later has a second place in the order.
            if self.at.get(&oldest) == Some(&at) {
                self.at.remove(&oldest);
                forgotten.push(oldest);
            }
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn owner(number: u64) -> NonceOwner {
        let mut xtr_id = [0; 16];
        xtr_id[8..].copy_from_slice(&number.to_be_bytes());
        NonceOwner { site: "a".into(), xtr_id, key_id: 0 }
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// One nonce more each millisecond as long as there is room; how many there was room for.
    fn fill(all: &mut SeenNonces, owner: &NonceOwner, begin: Instant, first: u64) -> u64 {
        let at = |n| begin + Duration::from_millis(n);
        let all_at_once = LEGACY_NONCES_PER_SITE as u64;
        let taken = (0..=all_at_once).take_while(|n| {
            let has_room = all.has_room(at(*n), owner);
            if has_room {
                all.insert(at(*n), at(*n), owner.clone(), first + n);
            }
            has_room
        });
        taken.count() as u64
    }

    #[test]
    fn an_owner_has_the_share_of_its_site_and_of_it_nothing_is_forgotten_before_its_time() {
        let begin = Instant::now();
        let mut all = SeenNonces::default();
        let share = LEGACY_NONCES_PER_SITE as u64;
        assert_eq!(fill(&mut all, &owner(1), begin, 0), share);
        let last = begin + Duration::from_millis(share);
        assert!((0..share).all(|nonce| all.contains(last, &owner(1), nonce)), "each of them");
        // As one has had its time there is room for one more, and no sooner.
        let over = begin + LEGACY_NONCE_MEMORY;
        assert!(!all.has_room(over - Duration::from_nanos(1), &owner(1)) && all.has_room(over, &owner(1)));
        assert!(!all.has_room(over, &owner(2)), "of another owner nothing makes room");
        assert_eq!(all.insert(over, over, owner(1), share), [0]);
        assert_eq!((all.count, all.has_room(over, &owner(1))), (LEGACY_NONCES_PER_SITE, false));
        let Seen { at, order } = &all.by_owner[&owner(1)];
        assert_eq!((at.len(), order.len()), (LEGACY_NONCES_PER_SITE, LEGACY_NONCES_PER_SITE));
    }

    #[test]
    fn sites_together_have_no_more_than_the_whole() {
        let begin = Instant::now();
        let mut all = SeenNonces::default();
        let of = |site: usize| NonceOwner { site: site.to_string(), ..owner(1) };
        let sites = LEGACY_NONCES / LEGACY_NONCES_PER_SITE;
        for site in 0..sites {
            assert_eq!(fill(&mut all, &of(site), begin, 0), LEGACY_NONCES_PER_SITE as u64);
        }
        assert!(!all.has_room(begin, &of(sites)));
        let later = begin + 2 * LEGACY_NONCE_MEMORY;
        while all.next_deadline().is_some() {
            all.expire(later);
        }
        assert!(all.count == 0 && all.has_room(later, &of(sites)));
    }

    #[test]
    fn nonces_of_silent_owners_are_forgotten_and_named_within_twice_their_time() {
        let begin = Instant::now();
        let mut all = SeenNonces::default();
        let remember = |all: &mut SeenNonces, at, number, nonce| all.insert(at, at, owner(number), nonce);
        remember(&mut all, begin, 1, 11);
        remember(&mut all, begin + second(300), 1, 12);
        remember(&mut all, begin + second(400), 2, 21);
        assert_eq!(all.next_deadline(), Some(begin + LEGACY_NONCE_MEMORY));
        assert_eq!(all.expire(begin + second(599)), []);
        assert_eq!(all.expire(begin + second(600)), [(owner(1), 11)]);
        assert!(all.contains(begin + second(600), &owner(1), 12));
        assert_eq!(all.expire(begin + second(1000)), [(owner(2), 21)]);
        assert_eq!(all.expire(begin + second(1200)), [(owner(1), 12)]);
        assert!(all.by_owner.is_empty() && all.queue.is_empty() && all.per_site.is_empty());
    }

    #[test]
    fn very_many_are_forgotten_in_parts() {
        let begin = Instant::now();
        let mut all = SeenNonces::default();
        for number in 0..1000 {
            all.insert(begin, begin, owner(number), number);
        }
        let mut parts = Vec::new();
        while all.next_deadline().is_some() {
            parts.push(all.expire(begin + LEGACY_NONCE_MEMORY).len());
        }
        assert_eq!((parts.iter().sum::<usize>(), parts.iter().max()), (1000, Some(&EXPIRED_AT_ONCE)));
    }

    #[test]
    fn a_site_whose_memory_is_full_has_room_again_when_its_owners_fell_silent() {
        let begin = Instant::now();
        let mut all = SeenNonces::default();
        let mut number = 0;
        while all.has_room(begin, &owner(number)) {
            for nonce in 0..599 {
                if all.has_room(begin, &owner(number)) {
                    all.insert(begin, begin, owner(number), nonce);
                }
            }
            number += 1;
        }
        assert_eq!(all.per_site["a"], LEGACY_NONCES_PER_SITE);
        assert!(all.has_room(begin, &NonceOwner { site: "b".into(), ..owner(0) }));
        while !all.expire(begin + LEGACY_NONCE_MEMORY).is_empty() {}
        assert!(all.has_room(begin, &owner(number)) && all.per_site.is_empty());
    }
}
