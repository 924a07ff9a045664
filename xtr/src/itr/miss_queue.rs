// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets that wait for a mapping: in order for each destination, bounded for each and in all, oldest dropped first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use wire::address::EidPrefix;

use crate::counters::DropReason;
use crate::limits;

/// All queues.
#[derive(Debug, Default)]
pub(super) struct MissQueue {
    queues: HashMap<EidPrefix, Queue>,
    /// Which queue each packet is in, by its number: the lowest is the oldest of all. And when it arrived.
    order: BTreeMap<u64, (EidPrefix, Instant)>,
    /// When the oldest has waited too long. Every packet that does not wait looks at it.
    deadline: Option<Instant>,
    next_number: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    packets: VecDeque<Held>,
    bytes: usize,
    /// When control was last told.
    asked: Option<Instant>,
}

/// One packet that waits.
#[derive(Debug)]
pub(super) struct Held {
    number: u64,
    arrived: Instant,
    pub(super) packet: Vec<u8>,
}

/// A packet that waited in vain.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) packet: Vec<u8>,
    pub(super) reason: DropReason,
}

impl MissQueue {
    /// Adds a packet behind those that wait for the same destination; returns those that must go for it.
    pub(super) fn push(&mut self, now: Instant, eid: EidPrefix, packet: &[u8]) -> Vec<Lost> {
        let mut lost = Vec::new();
        if !self.queues.contains_key(&eid) && self.queues.len() >= limits::QUEUES {
            lost.extend(self.drop_oldest_queue());
        }
        let number = self.next_number;
        self.next_number += 1;
        self.put(eid, Held { number, arrived: now, packet: packet.to_vec() });
        while self.queues.get(&eid).is_some_and(Queue::is_over) {
            lost.extend(self.drop_oldest_of(eid));
        }
        while self.bytes > limits::QUEUES_BYTES {
            let Some(oldest) = self.oldest() else { break };
            lost.extend(self.drop_oldest_of(oldest));
        }
        lost
    }

    /// Puts packets that were taken back into their place; their time goes on.
    pub(super) fn put_back(&mut self, eid: EidPrefix, packets: impl Iterator<Item = Held>) {
        packets.for_each(|held| self.put(eid, held));
    }

    /// Whether control must be told of this destination: not yet, or so long ago that all who waited then are gone. A queue
    /// that steady traffic keeps from running empty must not wait for ever for an answer that was lost.
    pub(super) fn must_ask(&self, now: Instant, eid: &EidPrefix) -> bool {
        let is_old = |asked: Instant| now.saturating_duration_since(asked) >= limits::QUEUE_TIME;
        self.queues.get(eid).is_some_and(|queue| queue.asked.is_none_or(is_old))
    }

    /// Control has been told.
    pub(super) fn asked(&mut self, now: Instant, eid: &EidPrefix) {
        if let Some(queue) = self.queues.get_mut(eid) {
            queue.asked = Some(now);
        }
    }

    /// Takes all packets whose destination lies in `prefix`, each destination's in order.
    pub(super) fn take(&mut self, prefix: &EidPrefix) -> Vec<(EidPrefix, VecDeque<Held>)> {
        if prefix.net.prefix_len() == prefix.net.max_prefix_len() {
            // It covers no other: thousands of updates a second must not look at thousands of queues each.
            return self.take_queue(prefix).map(|packets| (*prefix, packets)).into_iter().collect();
        }
        let covered: Vec<EidPrefix> = self.queues.keys().filter(|eid| prefix.covers(eid)).copied().collect();
        covered.into_iter().filter_map(|eid| Some((eid, self.take_queue(&eid)?))).collect()
    }

    /// Takes the packets that have waited too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Lost> {
        let mut lost = Vec::new();
        while self.is_due(now)
            && let Some(eid) = self.oldest()
        {
            let expired = self.drop_oldest_of(eid);
            lost.extend(expired.map(|lost| Lost { reason: DropReason::QueueTimeout, ..lost }));
        }
        lost
    }

    /// Whether a packet has waited too long.
    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// When the oldest packet has waited too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Where the oldest packet waits.
    fn oldest(&self) -> Option<EidPrefix> {
        self.order.first_key_value().map(|(_, (eid, _))| *eid)
    }

    /// The oldest packet may be another one.
    fn set_deadline(&mut self) {
        self.deadline = self.order.first_key_value().map(|(_, (_, arrived))| *arrived + limits::QUEUE_TIME);
    }

    fn put(&mut self, eid: EidPrefix, held: Held) {
        let queue = self.queues.entry(eid).or_default();
        queue.bytes += held.packet.len();
        self.bytes += cost(&held);
        self.order.insert(held.number, (eid, held.arrived));
        queue.packets.push_back(held);
        self.set_deadline();
    }

    fn take_queue(&mut self, eid: &EidPrefix) -> Option<VecDeque<Held>> {
        let queue = self.queues.remove(eid)?;
        for held in &queue.packets {
            self.order.remove(&held.number);
            self.bytes -= cost(held);
        }
        self.set_deadline();
        Some(queue.packets)
    }

    fn drop_oldest_queue(&mut self) -> Vec<Lost> {
        let Some(eid) = self.oldest() else { return Vec::new() };
        let packets = self.take_queue(&eid).unwrap_or_default();
        packets.into_iter().map(|held| Lost { packet: held.packet, reason: DropReason::QueueFull }).collect()
    }

    fn drop_oldest_of(&mut self, eid: EidPrefix) -> Option<Lost> {
        let queue = self.queues.get_mut(&eid)?;
        let held = queue.packets.pop_front()?;
        queue.bytes -= held.packet.len();
        if queue.packets.is_empty() {
            self.queues.remove(&eid);
        }
        self.order.remove(&held.number);
        self.bytes -= cost(&held);
        self.set_deadline();
        Some(Lost { packet: held.packet, reason: DropReason::QueueFull })
    }
}

impl Queue {
    fn is_over(&self) -> bool {
        self.packets.len() > limits::QUEUE_PACKETS || self.bytes > limits::QUEUE_BYTES
    }
}

fn cost(held: &Held) -> usize {
    held.packet.len() + limits::QUEUE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::time::Duration;
    use wire::address::InstanceId;

    fn eid(number: u32) -> EidPrefix {
        EidPrefix::host(InstanceId(0), IpAddr::V4(number.into()))
    }

    fn firsts(packets: impl IntoIterator<Item = Held>) -> Vec<u8> {
        packets.into_iter().map(|held| held.packet[0]).collect()
    }

    #[test]
    fn one_destination_keeps_its_newest_64_in_order() {
        let (now, mut queue) = (Instant::now(), MissQueue::default());
        let lost: Vec<Lost> = (0..70u8).flat_map(|n| queue.push(now, eid(1), &[n])).collect();
        assert_eq!(lost.iter().map(|lost| lost.packet[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        let mut taken = queue.take(&eid(1));
        assert_eq!(firsts(taken.remove(0).1), (6..70).collect::<Vec<u8>>());
        assert_eq!((queue.bytes, queue.order.len(), queue.next_deadline()), (0, 0, None));
    }

    #[test]
    fn one_destination_keeps_128_kilobytes() {
        let (now, mut queue) = (Instant::now(), MissQueue::default());
        for _ in 0..10 {
            queue.push(now, eid(1), &[0; 20_000]);
        }
        assert_eq!(queue.take(&eid(1))[0].1.len(), 6);
    }

    #[test]
    fn all_destinations_keep_16_mebibytes_and_the_oldest_goes() {
        let (now, mut queue) = (Instant::now(), MissQueue::default());
        let mut lost = 0;
        for n in 0..1000 {
            lost += queue.push(now, eid(n), &[0; 60_000]).len();
            assert!(queue.bytes <= limits::QUEUES_BYTES);
        }
        assert_eq!(lost, 1000 - limits::QUEUES_BYTES / 60_128);
        assert!(queue.take(&eid(0)).is_empty());
        assert_eq!(queue.take(&eid(999)).len(), 1);
    }

    #[test]
    fn destinations_are_bounded() {
        let (now, mut queue) = (Instant::now(), MissQueue::default());
        let most = u32::try_from(limits::QUEUES).unwrap_or_default();
        for n in 0..=most {
            queue.push(now, eid(n), &[0]);
        }
        assert_eq!(queue.queues.len(), limits::QUEUES);
        assert!(queue.take(&eid(0)).is_empty());
    }

    #[test]
    fn the_deadline_is_that_of_the_oldest_packet_whatever_becomes_of_the_others() {
        let (now, mut queue) = (Instant::now(), MissQueue::default());
        let at = |second: u64| now + Duration::from_secs(second);
        let due = |queue: &MissQueue| queue.next_deadline().map(|deadline| (deadline - now).as_secs());
        for (second, number) in [(0, 1), (1, 2), (2, 1), (3, 3)] {
            queue.push(at(second), eid(number), &[0]);
        }
        assert_eq!(due(&queue), Some(3));
        let mut taken = queue.take(&eid(1));
        assert_eq!(due(&queue), Some(4), "that of the second");
        queue.put_back(eid(1), taken.remove(0).1.into_iter());
        assert_eq!((due(&queue), queue.is_due(at(2)), queue.is_due(at(3))), (Some(3), false, true));
        assert_eq!((queue.expire(at(4)).len(), due(&queue)), (2, Some(5)));
        let most = u32::try_from(limits::QUEUE_PACKETS).unwrap_or_default();
        (0..most).for_each(|_| drop(queue.push(at(4), eid(1), &[0])));
        assert_eq!(due(&queue), Some(6), "that of the first has made room");
        assert_eq!((queue.expire(at(9)).len(), due(&queue), queue.is_due(at(99))), (65, None, false));
    }

    #[test]
    fn packets_time_out_one_by_one() {
        let (now, mut queue) = (Instant::now(), MissQueue::default());
        queue.push(now, eid(1), &[1]);
        queue.push(now + Duration::from_secs(1), eid(1), &[2]);
        assert!(queue.must_ask(now, &eid(1)));
        queue.asked(now, &eid(1));
        assert!(queue.expire(now + Duration::from_millis(2999)).is_empty());
        let lost = queue.expire(now + Duration::from_secs(3));
        assert_eq!((lost.len(), lost[0].packet[0], lost[0].reason), (1, 1, DropReason::QueueTimeout));
        assert!(!queue.must_ask(now + Duration::from_millis(2999), &eid(1)));
        assert!(queue.must_ask(now + Duration::from_secs(3), &eid(1)), "it never ran empty, and nobody answered");
        assert_eq!(queue.expire(now + Duration::from_secs(4)).len(), 1);
        queue.push(now, eid(1), &[3]);
        assert!(queue.must_ask(now, &eid(1)), "a new queue asks anew");
    }
}
