// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether this machine's clock is right, by the clocks of peers: of those admitted, and of those who would be but for the dates
//! of their certificates.
//!
//! A signature carries its time, and one from the future or the past is refused everywhere: a node with a wrong clock had
//! better publish nothing, and say so. A peer's answer carries its clock; half the time that the answer took is added. What is
//! kept is tied to the time since this machine was started, which nobody sets, so that a clock that is set later is noticed at
//! once. Each block has one vote and the median decides: the liars must be half of the blocks to move it.
//!
//! Who is refused for its dates has no place in the routing table, and its connection ends soon: what it has said counts for
//! some time longer. Otherwise a node with a wrong clock would forget each half minute that it is wrong.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::block::Block;
use crate::limits;

/// A difference of two clocks, in milliseconds: positive when ours is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub i64);

impl Offset {
    /// Its size.
    pub fn size(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }

    /// Whether records signed now would be taken for records of now.
    pub fn is_right(self) -> bool {
        self.size() <= limits::CLOCK_SKEW
    }
}

/// What the clocks of the peers say about ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockVerdict {
    /// Too few blocks to tell.
    Unknown {
        /// How many there are.
        blocks: usize,
    },
    /// Ours is as theirs.
    Right(Offset),
    /// Ours is wrong: nothing is to be signed.
    Wrong(Offset),
}

/// A clock that was read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: IpAddr,
    /// Milliseconds since 1970 of the peer's clock when this machine's uptime was zero.
    zero: i64,
    /// Our uptime at which it says nothing any more.
    until: Duration,
}

/// The clocks of peers, each by whatever names the peer.
#[derive(Debug, Clone)]
pub struct PeerClocks<K> {
    readings: BTreeMap<K, Reading>,
}

impl<K: Ord + Clone> Default for PeerClocks<K> {
    fn default() -> Self {
        Self { readings: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> PeerClocks<K> {
    /// A peer, seen at this address, has said its time; we asked at the uptime `asked_at` and heard it at `uptime`. One that
    /// took too long says too little. With too many the one gives way that ends first.
    pub fn heard(&mut self, peer: K, at: IpAddr, time: SystemTime, asked_at: Duration, uptime: Duration) {
        let took = uptime.saturating_sub(asked_at);
        if took > limits::CLOCK_ANSWER {
            return;
        }
        if !self.readings.contains_key(&peer) && self.readings.len() >= limits::CLOCKS {
            let first = self.readings.iter().min_by_key(|(_, reading)| reading.until).map(|(peer, _)| peer.clone());
            first.map(|peer| self.readings.remove(&peer));
        }
        let zero = since_1970(time).saturating_sub(milliseconds(asked_at + took / 2));
        self.readings.insert(peer, Reading { at, zero, until: uptime + limits::CLOCK_AGE });
    }

    /// The peer is gone: what it has said counts for [`limits::CLOCK_GONE`].
    pub fn part(&mut self, peer: &K, uptime: Duration) {
        if let Some(reading) = self.readings.get_mut(peer) {
            reading.until = reading.until.min(uptime + limits::CLOCK_GONE);
        }
    }

    /// The peer is not believed any more.
    pub fn forget(&mut self, peer: &K) {
        self.readings.remove(peer);
    }

    /// Whether further clocks should be asked for: what these say does not last.
    pub fn want_more(&self, uptime: Duration) -> bool {
        self.votes(uptime + limits::CLOCK_GONE / 2, UNIX_EPOCH).len() < limits::CLOCK_BLOCKS
    }

    /// What the clocks say at this uptime, at which ours says `now`.
    pub fn verdict(&self, uptime: Duration, now: SystemTime) -> ClockVerdict {
        let mut votes = self.votes(uptime, now);
        let blocks = votes.len();
        if blocks < limits::CLOCK_BLOCKS {
            return ClockVerdict::Unknown { blocks };
        }
        votes.sort_unstable();
        // Of an even number there are two in the middle; with half of the blocks nobody shall stop us.
        let (low, high) = (votes[(blocks - 1) / 2], votes[blocks / 2]);
        let median = if low.size() <= high.size() { low } else { high };
        if median.is_right() { ClockVerdict::Right(median) } else { ClockVerdict::Wrong(median) }
    }

    /// One vote a block, that of the middle one of its clocks; a provider has fewer than half of those that a verdict needs.
    fn votes(&self, uptime: Duration, now: SystemTime) -> Vec<Offset> {
        let mut blocks: BTreeMap<Block, (Option<Block>, Vec<Offset>)> = BTreeMap::new();
        let fresh = |reading: &&Reading| uptime <= reading.until;
        for reading in self.readings.values().filter(fresh) {
            let theirs = reading.zero.saturating_add(milliseconds(uptime));
            let offset = Offset(theirs.saturating_sub(since_1970(now)));
            let block = blocks.entry(Block::of(reading.at)).or_default();
            block.0 = Block::provider_of(reading.at);
            block.1.push(offset);
        }
        let mut of_provider: BTreeMap<Block, usize> = BTreeMap::new();
        let mut votes = Vec::new();
        for (provider, mut offsets) in blocks.into_values() {
            if let Some(provider) = provider {
                let votes = of_provider.entry(provider).or_default();
                *votes += 1;
                if *votes > limits::CLOCK_BLOCKS / 2 {
                    continue;
                }
            }
            offsets.sort_unstable();
            votes.push(offsets[offsets.len() / 2]);
        }
        votes
    }
}

/// Milliseconds since 1970, negative before.
fn since_1970(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => milliseconds(since),
        Err(before) => -milliseconds(before.duration()),
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const UPTIME: Duration = Duration::from_secs(1000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn address(block: u8, host: u8) -> IpAddr {
        Ipv4Addr::new(198, 51, block, host).into()
    }

    /// Peers of blocks of their own, with these times.
    fn clocks(times: &[SystemTime]) -> PeerClocks<u8> {
        let mut clocks = PeerClocks::default();
        for (number, time) in (0..).zip(times) {
            clocks.heard(number, address(number, 1), *time, UPTIME, UPTIME);
        }
        clocks
    }

    #[test]
    fn four_blocks_do_not_tell_and_five_do() {
        let four = clocks(&[now() + HOUR; 4]);
        assert_eq!(four.verdict(UPTIME, now()), ClockVerdict::Unknown { blocks: 4 });
        let five = clocks(&[now() + HOUR; 5]);
        assert_eq!(five.verdict(UPTIME, now()), ClockVerdict::Wrong(Offset(3_600_000)), "ours is an hour behind");
        let five = clocks(&[now() - HOUR; 5]);
        assert_eq!(five.verdict(UPTIME, now()), ClockVerdict::Wrong(Offset(-3_600_000)));
        let five = clocks(&[now() + limits::CLOCK_SKEW; 5]);
        assert_eq!(five.verdict(UPTIME, now()), ClockVerdict::Right(Offset(120_000)));
    }

    #[test]
    fn many_peers_of_one_block_are_one_voice() {
        let mut clocks = PeerClocks::default();
        for host in 1..=40 {
            clocks.heard(host, address(7, host), now() + HOUR, UPTIME, UPTIME);
        }
        assert_eq!(clocks.verdict(UPTIME, now()), ClockVerdict::Unknown { blocks: 1 });
        for block in 100..=103 {
            clocks.heard(block, address(block, 1), now(), UPTIME, UPTIME);
        }
        assert_eq!(clocks.verdict(UPTIME, now()), ClockVerdict::Right(Offset(0)));
    }

    #[test]
    fn a_provider_with_many_blocks_does_not_outvote_the_others() {
        let mut clocks = PeerClocks::default();
        let honest = (0..9).map(|site| (site, format!("198.51.{site}.1"), now()));
        let hostile = (0..50).map(|site| (100 + site, format!("2001:db8:{site}::1"), now() + HOUR));
        for (peer, text, time) in honest.chain(hostile) {
            let Ok(at) = text.parse() else { unreachable!() };
            clocks.heard(peer, at, time, UPTIME, UPTIME);
        }
        assert_eq!(clocks.verdict(UPTIME, now()), ClockVerdict::Right(Offset(0)));
    }

    #[test]
    fn liars_that_are_no_majority_change_nothing() {
        for lie in [now() + HOUR, now() - HOUR, UNIX_EPOCH] {
            let half = clocks(&[now(), now(), now(), lie, lie, lie]);
            assert_eq!(half.verdict(UPTIME, now()), ClockVerdict::Right(Offset(0)));
            let wrong = half.verdict(UPTIME, now() + HOUR * 2);
            assert!(matches!(wrong, ClockVerdict::Wrong(_)), "a wrong clock is found by the honest half: {wrong:?}");
        }
    }

    #[test]
    fn time_between_exchange_and_use_does_not_count() {
        let clocks = clocks(&[now(); 5]);
        let later = Duration::from_secs(7200);
        assert_eq!(clocks.verdict(UPTIME + later, now() + later), ClockVerdict::Right(Offset(0)));
        let set_back = clocks.verdict(UPTIME + later, now());
        assert_eq!(set_back, ClockVerdict::Wrong(Offset(7_200_000)), "the clock was set back meanwhile");
    }

    #[test]
    fn half_of_the_round_trip_is_taken_off_and_a_slow_answer_is_none() {
        let mut clocks = PeerClocks::default();
        let (asked_at, heard_at) = (UPTIME, UPTIME + Duration::from_secs(2));
        for peer in 0..5 {
            // It said its time a second after we asked, and the answer took another.
            clocks.heard(peer, address(peer, 1), now() + Duration::from_secs(1), asked_at, heard_at);
        }
        let at_the_end = now() + Duration::from_secs(2);
        assert_eq!(clocks.verdict(heard_at, at_the_end), ClockVerdict::Right(Offset(0)));
        let mut slow = PeerClocks::default();
        slow.heard(1, address(1, 1), now(), UPTIME, UPTIME + limits::CLOCK_ANSWER * 2);
        assert_eq!(slow.verdict(UPTIME, now()), ClockVerdict::Unknown { blocks: 0 });
    }

    #[test]
    fn readings_are_bounded_and_grow_old() {
        let mut clocks = PeerClocks::default();
        for peer in 0..2000_u32 {
            clocks.heard(
                peer,
                Ipv4Addr::from(peer << 8).into(),
                now(),
                UPTIME,
                UPTIME + Duration::from_millis(peer.into()),
            );
        }
        assert_eq!(clocks.readings.len(), limits::CLOCKS);
        assert!(clocks.readings.contains_key(&1999) && !clocks.readings.contains_key(&0));
        clocks.forget(&1999);
        assert!(!clocks.readings.contains_key(&1999));
        let late = UPTIME + limits::CLOCK_AGE * 2;
        assert_eq!(clocks.verdict(late, now()), ClockVerdict::Unknown { blocks: 0 });
    }

    #[test]
    fn who_is_gone_counts_for_a_while_and_gives_way_first() {
        let mut clocks = clocks(&[now() + HOUR; 5]);
        assert!(!clocks.want_more(UPTIME));
        (0..5).for_each(|peer| clocks.part(&peer, UPTIME));
        let wrong = ClockVerdict::Wrong(Offset(3_600_000));
        assert_eq!(clocks.verdict(UPTIME + limits::CLOCK_GONE, now() + limits::CLOCK_GONE), wrong);
        let half = UPTIME + limits::CLOCK_GONE / 2;
        assert!(!clocks.want_more(half) && clocks.want_more(half + Duration::from_secs(1)), "before they end");
        let later = UPTIME + limits::CLOCK_GONE + Duration::from_secs(1);
        assert_eq!(clocks.verdict(later, now()), ClockVerdict::Unknown { blocks: 0 });
        for peer in 5..=255 {
            clocks.heard(peer, address(peer, 1), now(), UPTIME, UPTIME);
        }
        clocks.heard(0, address(0, 2), now(), UPTIME, UPTIME);
        clocks.part(&9, later);
        assert!(clocks.readings.len() <= limits::CLOCKS);
        let kept = clocks.readings[&9].until;
        assert_eq!(kept, later + limits::CLOCK_GONE);
        clocks.part(&9, later + limits::CLOCK_GONE);
        assert_eq!(clocks.readings[&9].until, kept, "to go once more does not make it longer");
    }

    #[test]
    fn no_time_is_too_far_away() {
        let far = UNIX_EPOCH + Duration::from_secs(1 << 50);
        let clocks = clocks(&[far; 5]);
        assert!(matches!(clocks.verdict(Duration::MAX, now()), ClockVerdict::Unknown { .. }));
        assert!(matches!(clocks.verdict(UPTIME, UNIX_EPOCH - HOUR), ClockVerdict::Wrong(_)));
    }
}
