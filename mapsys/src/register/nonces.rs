// SPDX-License-Identifier: GPL-2.0-or-later
//! Replay: the nonces of accepted Map-Registers (RFC 9301, section 5.6).

use std::collections::{BTreeMap, HashMap};
use std::time::{Instant, SystemTime};

use sha2::{Digest, Sha256};
use wire::control::Nonce;

use super::renaming::Renamed;
use super::seen::{Moved, SeenNonces};
use crate::engine::Mark;
use crate::limits::{LEGACY_NONCE_MEMORY, NONCE_FLOORS, NONCE_MEMORIES, NONCE_MEMORIES_PER_SITE};
use crate::transport::Now;

/// Whose nonces rise together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct NonceOwner {
    /// Name of the site.
    pub site: String,
    /// xTR-ID, zero if the message had none.
    pub xtr_id: [u8; 16],
    /// Key ID.
    pub key_id: u8,
}

/// The last accepted message of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Last {
    /// Its nonce.
    pub nonce: u64,
    /// SHA-256 of the whole message: only the identical message is a retransmission.
    pub digest: [u8; 32],
}

impl Last {
    /// What is remembered of a message.
    pub fn of(nonce: Nonce, message: &[u8]) -> Self {
        Self { nonce: nonce.0, digest: Sha256::digest(message).into() }
    }
}

/// What a nonce says about an authenticated message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Not seen before.
    Fresh,
    /// The last accepted message again, octet for octet: its Map-Notify was lost.
    Retransmission,
    /// An old one.
    Replayed,
    /// No room to remember it.
    Full,
}

/// All owners' memories.
#[derive(Debug, Default)]
pub struct Nonces {
    last: HashMap<NonceOwner, Last>,
    /// Entries of `last`, by site.
    per_site: HashMap<String, usize>,
    legacy: SeenNonces,
    /// What is left of owners that were forgotten, by site and Key ID.
    floors: BTreeMap<(String, u8), u64>,
    /// Whether there may be owners of sites or keys that are not configured.
    is_stale: bool,
    /// When there may be such owners again that could not be forgotten because their nonces were young.
    retry_at: Option<Instant>,
    /// When this run began.
    since: Option<Now>,
}

/// What is left of the xTRs of a site under a key that is not configured any more: the highest nonce of them all. Should site and key come
/// back, a Map-Register of a strict site must exceed it, whoever sends it. Without it everything recorded before would be news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Name of the site.
    pub site: String,
    /// Key ID.
    pub key_id: u8,
    /// The nonce.
    pub nonce: u64,
}

/// A nonce of a legacy owner, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenNonce {
    /// Whose.
    pub owner: NonceOwner,
    /// The nonce.
    pub nonce: u64,
    /// When the message was accepted, by [`Nonces::steady`].
    pub at: SystemTime,
}

impl Nonces {
    /// Takes up what was kept on disk. The clock may have been set since, or have been wrong then, so that the youngest nonce of a
    /// legacy owner counts as one of this moment, and tells the age of the others.
    pub fn restore(
        now: Now,
        marks: impl IntoIterator<Item = (NonceOwner, Last)>,
        seen: impl IntoIterator<Item = SeenNonce>,
    ) -> Self {
        let last: HashMap<NonceOwner, Last> = marks.into_iter().take(NONCE_MEMORIES).collect();
        let per_site = of_each_site(&last);
        let mut seen: Vec<SeenNonce> = seen.into_iter().filter(|seen| last.contains_key(&seen.owner)).collect();
        seen.sort_by_key(|seen| seen.at);
        let youngest = seen.last().map_or(now.wall, |seen| seen.at);
        let mut legacy = SeenNonces::default();
        for SeenNonce { owner, nonce, at } in seen {
            let age = youngest.duration_since(at).unwrap_or_default();
            let at = now.monotonic.checked_sub(age).filter(|_| age < LEGACY_NONCE_MEMORY);
            // Where the monotonic clock is younger than the nonce, the nonce is remembered longer.
            let at = at.or_else(|| (age < LEGACY_NONCE_MEMORY).then_some(now.monotonic));
            if let Some(at) = at {
                legacy.insert(now.monotonic, at, owner, nonce);
            }
        }
        Self { last, per_site, legacy, floors: BTreeMap::new(), is_stale: true, retry_at: None, since: Some(now) }
    }

    /// The same with what was kept of owners that were forgotten.
    #[must_use]
    pub fn with_floors(self, floors: impl IntoIterator<Item = Floor>) -> Self {
        let floors = floors.into_iter().take(NONCE_FLOORS).map(|floor| ((floor.site, floor.key_id), floor.nonce));
        Self { floors: floors.collect(), ..self }
    }

    /// Sites or keys have changed: there may be something to forget.
    pub fn note_change(&mut self) {
        self.is_stale = true;
    }

    /// Forgets the owners of which site and key are not configured, and names them and what is left of them. Only where there is no room:
    /// as long as there is, a site that comes back finds the memory of each of its xTRs, and not one floor for all. Owners whose nonces
    /// are remembered in no order wait until these are old. Looks through all of them once for each change, and where some have to wait,
    /// once in the time that it takes.
    pub fn make_room(
        &mut self,
        now: Instant,
        is_configured: impl Fn(&NonceOwner) -> bool,
    ) -> (Vec<NonceOwner>, Vec<Floor>) {
        let is_due = self.retry_at.take_if(|at| *at <= now).is_some();
        if !std::mem::take(&mut self.is_stale) && !is_due {
            return Default::default();
        }
        let (mut forgotten, mut raised) = (Vec::new(), BTreeMap::new());
        for (owner, last) in self.last.iter().filter(|(owner, _)| !is_configured(owner)) {
            if self.legacy.knows(owner) {
                self.retry_at = Some(now + LEGACY_NONCE_MEMORY);
                continue;
            }
            let of = (owner.site.clone(), owner.key_id);
            if !self.floors.contains_key(&of) && self.floors.len() >= NONCE_FLOORS {
                continue;
            }
            let floor = self.floors.entry(of.clone()).or_default();
            *floor = last.nonce.max(*floor);
            raised.insert(of, *floor);
            forgotten.push(owner.clone());
        }
        for owner in &forgotten {
            self.last.remove(owner);
            if let Some(count) = self.per_site.get_mut(&owner.site) {
                *count = count.saturating_sub(1);
            }
        }
        self.per_site.retain(|_, count| *count > 0);
        let raised = raised.into_iter().map(|((site, key_id), nonce)| Floor { site, key_id, nonce });
        (forgotten, raised.collect())
    }

    /// Lets sites that have another name keep what is remembered of them; says what must be on disk for that. Where something is remembered under
    /// the new name too, the higher nonce counts.
    pub(super) fn rename(&mut self, now: Now, renamed: &Renamed) -> Vec<Mark> {
        if renamed.is_empty() {
            return Vec::new();
        }
        let with_name = |owner: &NonceOwner| {
            let site = renamed.of_key(&owner.site, owner.key_id)?.to_owned();
            Some(NonceOwner { site, ..owner.clone() })
        };
        let owners: Vec<_> = self.last.keys().filter_map(|owner| Some((owner.clone(), with_name(owner)?))).collect();
        let taken = owners.into_iter().filter_map(|(former, owner)| Some((self.last.remove(&former)?, former, owner)));
        let taken: Vec<_> = taken.collect();
        let (mut marks, mut gone) = (self.rename_floors(renamed), Vec::new());
        for (last, former, owner) in taken {
            let known = self.last.get(&owner).copied().filter(|known| known.nonce > last.nonce).unwrap_or(last);
            self.last.insert(owner.clone(), known);
            marks.push(Mark::Nonce(owner, known));
            gone.push(former);
        }
        let forgotten = gone.into_iter().filter(|owner| !self.last.contains_key(owner));
        let forgotten: Vec<Mark> = forgotten.map(Mark::ForgottenNonce).collect();
        self.per_site = of_each_site(&self.last);
        let moved = self.legacy.rename(with_name);
        for Moved { owner, nonce, at, .. } in &moved {
            let age = now.monotonic.saturating_duration_since(*at);
            let at = self.steady(now).checked_sub(age).unwrap_or(now.wall);
            marks.push(Mark::Seen(SeenNonce { owner: owner.clone(), nonce: *nonce, at }));
        }
        marks.extend(forgotten);
        let old = moved.into_iter().filter(|moved| !self.legacy.contains(now.monotonic, &moved.former, moved.nonce));
        marks.extend(old.map(|moved| Mark::ForgottenSeen(moved.former, moved.nonce)));
        marks
    }

    /// Has what is left of owners that were forgotten count under the new name too.
    fn rename_floors(&mut self, renamed: &Renamed) -> Vec<Mark> {
        let all = renamed.keys();
        let of: Vec<_> = all.filter_map(|(of, name)| Some((name.clone(), of.1, *self.floors.get(of)?))).collect();
        let mut marks = Vec::new();
        for (site, key_id, nonce) in of {
            let floor = self.floors.entry((site.clone(), key_id)).or_default();
            *floor = nonce.max(*floor);
            marks.push(Mark::NonceFloor(Floor { site, key_id, nonce: *floor }));
        }
        marks
    }

    /// What a strict owner's nonce must exceed.
    fn bound(&self, owner: &NonceOwner) -> Option<u64> {
        let last = self.last.get(owner).map(|last| last.nonce);
        if self.floors.is_empty() {
            return last;
        }
        last.max(self.floors.get(&(owner.site.clone(), owner.key_id)).copied())
    }

    /// What the clock would say had nobody set it since this run began: the ages of what is kept on disk are told by one another.
    pub fn steady(&self, now: Now) -> SystemTime {
        let steady = self
            .since
            .and_then(|since| since.wall.checked_add(now.monotonic.saturating_duration_since(since.monotonic)));
        steady.unwrap_or(now.wall)
    }

    /// Judges a message whose tag verified; changes nothing.
    pub fn judge(&self, now: Instant, owner: &NonceOwner, legacy: bool, message: Last) -> Freshness {
        if self.last.get(owner) == Some(&message) {
            return Freshness::Retransmission;
        }
        let of_site = self.per_site.get(&owner.site).copied().unwrap_or_default();
        let no_room = self.last.len() >= NONCE_MEMORIES || of_site >= NONCE_MEMORIES_PER_SITE;
        let full = no_room && !self.last.contains_key(owner) || legacy && !self.legacy.has_room(now, owner);
        let seen = if legacy {
            // The last one is remembered for ever.
            let last = self.last.get(owner).is_some_and(|last| last.nonce == message.nonce);
            last || self.legacy.contains(now, owner, message.nonce)
        } else {
            self.bound(owner).is_some_and(|bound| message.nonce <= bound)
        };
        match (seen, full) {
            (true, _) => Freshness::Replayed,
            (false, true) => Freshness::Full,
            (false, false) => Freshness::Fresh,
        }
    }

    /// Remembers an accepted message; names the nonces of a legacy owner that need not be remembered any more.
    pub fn accept(&mut self, now: Instant, owner: NonceOwner, legacy: bool, message: Last) -> Vec<u64> {
        let mut forgotten = Vec::new();
        if legacy {
            forgotten = self.legacy.insert(now, now, owner.clone(), message.nonce);
        }
        if self.last.insert(owner.clone(), message).is_none() {
            *self.per_site.entry(owner.site).or_default() += 1;
        }
        forgotten
    }

    /// Frees what was remembered of legacy owners that have fallen silent; names it, since it need not be on disk any more.
    pub fn expire(&mut self, now: Instant) -> Vec<(NonceOwner, u64)> {
        self.legacy.expire(now)
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.legacy.next_deadline()
    }
}

/// How many owners each site has.
fn of_each_site(last: &HashMap<NonceOwner, Last>) -> HashMap<String, usize> {
    let mut per_site = HashMap::new();
    for owner in last.keys() {
        *per_site.entry(owner.site.clone()).or_default() += 1;
    }
    per_site
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn owner() -> NonceOwner {
        NonceOwner { site: "a".into(), xtr_id: [0; 16], key_id: 1 }
    }

    fn both(monotonic: Instant) -> Now {
        Now { monotonic, wall: SystemTime::now() }
    }

    #[test]
    fn the_ten_minutes_of_a_legacy_owner_outlive_the_process() {
        let now = both(Instant::now() + Duration::from_secs(3600));
        let seen = |nonce, age| SeenNonce { owner: owner(), nonce, at: now.wall - Duration::from_secs(age) };
        let future = SeenNonce { at: now.wall + Duration::from_secs(99), ..seen(4, 0) };
        let kept = [seen(1, 700), seen(2, 500), seen(3, 10), future];
        let nonces = Nonces::restore(now, [(owner(), message(9))], kept);
        let judge = |at, nonce| nonces.judge(at, &owner(), true, message(nonce));
        assert_eq!(judge(now.monotonic, 1), Freshness::Fresh);
        assert_eq!(judge(now.monotonic, 2), Freshness::Replayed);
        assert_eq!(judge(now.monotonic, 3), Freshness::Replayed);
        assert_eq!(judge(now.monotonic, 4), Freshness::Replayed);
        let later = now.monotonic + Duration::from_secs(200);
        assert_eq!(judge(later, 2), Freshness::Fresh, "as old as it was, not as old as the process");
        assert_eq!(judge(later, 3), Freshness::Replayed);
    }

    #[test]
    fn a_clock_that_was_set_makes_a_legacy_owner_forget_nothing() {
        let then = SystemTime::now();
        let seen = |nonce, age| SeenNonce { owner: owner(), nonce, at: then - Duration::from_secs(age) };
        let hour = Duration::from_secs(3600);
        for wall in [then, then + hour, then - hour] {
            let now = Now { monotonic: Instant::now() + hour, wall };
            let nonces = Nonces::restore(now, [(owner(), message(9))], [seen(1, 700), seen(2, 500), seen(3, 0)]);
            let judge = |nonce| nonces.judge(now.monotonic, &owner(), true, message(nonce));
            assert_eq!([1, 2, 3].map(judge), [Freshness::Fresh, Freshness::Replayed, Freshness::Replayed]);
        }
    }

    fn message(nonce: u64) -> Last {
        Last::of(Nonce(nonce), &nonce.to_be_bytes())
    }

    #[test]
    fn a_strict_owner_needs_a_rising_nonce_or_the_same_message() {
        let now = Instant::now();
        let mut nonces = Nonces::default();
        assert_eq!(nonces.judge(now, &owner(), false, message(5)), Freshness::Fresh);
        nonces.accept(now, owner(), false, message(5));
        assert_eq!(nonces.judge(now, &owner(), false, message(5)), Freshness::Retransmission);
        assert_eq!(nonces.judge(now, &owner(), false, Last::of(Nonce(5), b"other")), Freshness::Replayed);
        assert_eq!(nonces.judge(now, &owner(), false, message(4)), Freshness::Replayed);
        assert_eq!(nonces.judge(now, &owner(), false, message(6)), Freshness::Fresh);
        let other_xtr = NonceOwner { xtr_id: [1; 16], ..owner() };
        assert_eq!(nonces.judge(now, &other_xtr, false, message(1)), Freshness::Fresh);
    }

    #[test]
    fn made_up_xtr_ids_use_up_the_share_of_their_site_only() {
        let now = Instant::now();
        let mut nonces = Nonces::default();
        let numbered = |site: &str, n: usize| {
            let xtr_id = u128::try_from(n).unwrap().to_be_bytes();
            NonceOwner { site: site.into(), xtr_id, key_id: 1 }
        };
        for n in 0..NONCE_MEMORIES_PER_SITE {
            nonces.accept(now, numbered("a", n), false, message(1));
        }
        assert_eq!(nonces.judge(now, &numbered("a", usize::MAX), false, message(1)), Freshness::Full);
        assert_eq!(nonces.judge(now, &numbered("a", 0), false, message(2)), Freshness::Fresh);
        assert_eq!(nonces.judge(now, &numbered("b", 0), false, message(1)), Freshness::Fresh);
    }

    #[test]
    fn what_is_not_configured_makes_room_and_nothing_recorded_before_is_news_when_it_comes_back() {
        let now = both(Instant::now());
        let numbered = |key_id, n: usize| {
            let xtr_id = u128::try_from(n).unwrap().to_be_bytes();
            NonceOwner { site: "a".into(), xtr_id, key_id }
        };
        let mut nonces = Nonces::default();
        for n in 0..NONCE_MEMORIES_PER_SITE {
            nonces.accept(now.monotonic, numbered(1, n), false, message(100 + n as u64));
        }
        // The key is another one now.
        nonces.note_change();
        let later = numbered(2, usize::MAX);
        assert_eq!(nonces.judge(now.monotonic, &later, false, message(1)), Freshness::Full);
        let (forgotten, floors) = nonces.make_room(now.monotonic, |owner| owner.key_id == 2);
        assert_eq!(forgotten.len(), NONCE_MEMORIES_PER_SITE);
        let highest = 100 + NONCE_MEMORIES_PER_SITE as u64 - 1;
        assert_eq!(floors, [Floor { site: "a".into(), key_id: 1, nonce: highest }]);
        assert_eq!(nonces.judge(now.monotonic, &later, false, message(1)), Freshness::Fresh);
        assert!(nonces.last.is_empty() && nonces.per_site.is_empty());
        // It comes back, also after a restart.
        for nonces in [nonces, Nonces::restore(now, [], []).with_floors(floors)] {
            let judge = |n, nonce| nonces.judge(now.monotonic, &numbered(1, n), false, message(nonce));
            assert_eq!(judge(0, 100), Freshness::Replayed);
            assert_eq!(judge(usize::MAX, highest), Freshness::Replayed);
            assert_eq!(judge(0, highest + 1), Freshness::Fresh);
        }
    }

    #[test]
    fn room_is_made_once_for_each_change_and_of_nonces_in_no_order_when_they_are_old() {
        let now = Instant::now();
        let mut nonces = Nonces::default();
        nonces.accept(now, owner(), true, message(7));
        nonces.accept(now, NonceOwner { key_id: 2, ..owner() }, false, message(7));
        nonces.note_change();
        assert_eq!(nonces.make_room(now, |_| false).0, [NonceOwner { key_id: 2, ..owner() }]);
        let later = now + LEGACY_NONCE_MEMORY;
        nonces.expire(later);
        nonces.accept(now, NonceOwner { key_id: 3, ..owner() }, false, message(7));
        assert_eq!(nonces.make_room(later - Duration::from_secs(1), |_| false).0, [], "nothing has changed");
        let mut both = nonces.make_room(later, |_| false).0;
        both.sort_by_key(|owner| owner.key_id);
        assert_eq!(both, [owner(), NonceOwner { key_id: 3, ..owner() }]);
        nonces.accept(later, owner(), false, message(8));
        assert_eq!(nonces.make_room(later + 2 * LEGACY_NONCE_MEMORY, |_| false).0, [], "nobody was left to wait for");
        nonces.note_change();
        assert_eq!(nonces.make_room(later, |_| false).0, [owner()]);
    }

    #[test]
    fn a_restored_memory_refuses_what_the_old_process_accepted() {
        let nonces = Nonces::restore(both(Instant::now()), [(owner(), message(9))], []);
        assert_eq!(nonces.judge(Instant::now(), &owner(), false, message(8)), Freshness::Replayed);
    }

    #[test]
    fn a_legacy_owner_may_go_down_but_not_repeat_within_ten_minutes() {
        let now = Instant::now();
        let mut nonces = Nonces::default();
        nonces.accept(now, owner(), true, message(7));
        assert_eq!(nonces.judge(now, &owner(), true, message(3)), Freshness::Fresh);
        nonces.accept(now, owner(), true, message(3));
        assert_eq!(nonces.judge(now, &owner(), true, message(7)), Freshness::Replayed);
        let later = now + LEGACY_NONCE_MEMORY + Duration::from_secs(1);
        assert_eq!(nonces.judge(later, &owner(), true, message(7)), Freshness::Fresh);
    }
}
