// SPDX-License-Identifier: GPL-2.0-or-later
//! Whom a crawl asks for what, and when it has seen all: the walk through the key space, and the rounds of questions that tell how
//! reliable a node is. Clock, randomness and connections are the caller's.
//!
//! Each node is asked for the nodes nearest to itself. Who names as many as an answer holds may know more, farther away: it is
//! asked for targets in its farther buckets, from the farthest one on, as long as that brings nodes that were not known.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use rand::RngExt as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};

use super::limits;
use crate::admit::Member;
use crate::block::Block;
use crate::shell::node::ip;

/// What a crawl may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Times that each node is asked; one found late is asked less often.
    pub rounds: u32,
    /// From the first round to the last.
    pub duration: Duration,
    /// Nodes.
    pub nodes: usize,
    /// Questions a second.
    pub rate: u32,
}

impl Plan {
    /// When a round begins, after the start.
    fn round(&self, index: u32) -> Duration {
        let gaps = self.rounds.saturating_sub(1).max(1);
        (self.duration / gaps).saturating_mul(index)
    }

    /// When a crawl ends that has not seen all.
    fn end(&self) -> Duration {
        self.duration + limits::TAIL
    }
}

/// A question to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) question: u64,
    pub(super) peer: PeerId,
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) key: Vec<u8>,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Who is nearest to the node itself.
    Itself,
    /// Who is in the bucket of the node that shares so many bits with it.
    Bucket(u32),
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Where it is said to be, or was reached.
    pub addresses: Vec<Multiaddr>,
    /// Where it was reached last.
    pub at: Option<Multiaddr>,
    /// Questions to it.
    pub asked: u32,
    /// Questions that it has answered.
    pub answered: u32,
    /// How long each answer took.
    pub rtts: Vec<Duration>,
    /// What runs there, as it says.
    pub agent: Option<String>,
    /// Whose node it is, by its certificates.
    pub member: Option<Member>,
    /// Why it would not be admitted.
    pub refused: Option<&'static str>,
    /// Why it does not answer this crawl.
    pub refuses: Option<&'static str>,
    /// The deepest of its buckets that may hold more than it has named; `None`: not known yet.
    deepest: Option<u32>,
    /// Until when it may present itself; `None` when it has, or was not reached.
    presents_until: Option<Instant>,
}

impl Found {
    /// Half of the answers took no longer.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.rtts.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().checked_sub(1)? / 2).copied()
    }

    /// The block of addresses that it is in.
    pub fn block(&self) -> Option<Block> {
        self.at.as_ref().or(self.addresses.first()).and_then(ip).map(Block::of)
    }

    fn learn(&mut self, address: &Multiaddr) {
        if !self.addresses.contains(address) && self.addresses.len() < crate::shell::limits::ADDRESSES_PER_PEER {
            self.addresses.push(address.clone());
        }
    }
}

/// A crawl.
#[derive(Debug)]
pub(super) struct Survey {
    plan: Plan,
    begun: Instant,
    random: StdRng,
    nodes: BTreeMap<PeerId, Found>,
    queue: VecDeque<(PeerId, About)>,
    flying: HashMap<u64, (PeerId, About)>,
    rounds_begun: u32,
    requests: u64,
    next_at: Instant,
}

impl Survey {
    /// A crawl that begins now.
    pub(super) fn new(plan: Plan, now: Instant, random: StdRng) -> Self {
        Self {
            plan,
            begun: now,
            random,
            nodes: BTreeMap::new(),
            queue: VecDeque::new(),
            flying: HashMap::new(),
            rounds_begun: 1,
            requests: 0,
            next_at: now,
        }
    }

    /// A node is said to be somewhere; whether it was not known.
    pub(super) fn named(&mut self, peer: PeerId, address: &Multiaddr) -> bool {
        let is_new = !self.nodes.contains_key(&peer);
        if is_new && self.nodes.len() >= self.plan.nodes {
            return false;
        }
        self.nodes.entry(peer).or_default().learn(address);
        if is_new {
            self.queue.push_back((peer, About::Itself));
        }
        is_new
    }

    /// A node was reached, and is about to present itself.
    pub(super) fn met(&mut self, peer: PeerId, address: &Multiaddr, now: Instant) {
        self.named(peer, address);
        let Some(found) = self.nodes.get_mut(&peer) else { return };
        if found.at.replace(address.clone()).is_none() {
            found.presents_until = Some(now + limits::PRESENTATION);
        }
    }

    /// A node says what runs there and where it is.
    pub(super) fn described(&mut self, peer: PeerId, agent: String, addresses: &[Multiaddr]) {
        let Some(found) = self.nodes.get_mut(&peer) else { return };
        found.agent = Some(agent);
        addresses.iter().for_each(|address| found.learn(address));
    }

    /// A node has presented itself.
    pub(super) fn presented(&mut self, peer: PeerId, verdict: Result<Option<Member>, &'static str>) {
        let Some(found) = self.nodes.get_mut(&peer) else { return };
        found.presents_until = None;
        match verdict {
            Ok(member) => (found.member, found.refused) = (member, None),
            Err(why) => found.refused = Some(why),
        }
    }

    /// A node does not take the crawl for one of its network.
    pub(super) fn refuses(&mut self, peer: PeerId, why: &'static str) {
        if let Some(found) = self.nodes.get_mut(&peer) {
            (found.refuses, found.presents_until) = (Some(why), None);
        }
    }

    /// A question was answered.
    pub(super) fn answered(&mut self, question: u64, nearer: &[(PeerId, Multiaddr)], took: Duration) {
        let Some((peer, about)) = self.flying.remove(&question) else { return };
        let named: BTreeSet<PeerId> = nearer.iter().map(|(other, _)| *other).collect();
        let mut news = false;
        for (other, address) in nearer.iter().take(limits::NAMED) {
            news |= self.named(*other, address);
        }
        let Some(found) = self.nodes.get_mut(&peer) else { return };
        found.answered += 1;
        found.rtts.push(took);
        match (about, found.deepest) {
            (About::Itself, None) => {
                let shared = named.iter().map(|other| shared_bits(&place(&peer), &place(other))).min();
                let deepest = shared.filter(|_| named.len() >= limits::ANSWER).map(|bits| bits.min(limits::DEEPEST));
                found.deepest = Some(deepest.unwrap_or_default());
                if deepest.is_some() {
                    self.queue.push_back((peer, About::Bucket(0)));
                }
            }
            (About::Bucket(bits), Some(deepest)) if news && bits < deepest => {
                self.queue.push_back((peer, About::Bucket(bits + 1)));
            }
            _ => {}
        }
    }

    /// A question was not answered.
    pub(super) fn silent(&mut self, question: u64) {
        self.flying.remove(&question);
    }

    /// The next question, if one is due.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Ask> {
        while self.rounds_begun < self.plan.rounds && now >= self.begun + self.plan.round(self.rounds_begun) {
            self.rounds_begun += 1;
            self.queue.extend(self.nodes.keys().map(|peer| (*peer, About::Itself)));
        }
        if now < self.next_at || self.flying.len() >= limits::IN_FLIGHT || now >= self.begun + self.plan.end() {
            return None;
        }
        let (peer, about) = self.queue.pop_front()?;
        let key = match about {
            About::Itself => peer.to_bytes(),
            About::Bucket(bits) => self.draw(&place(&peer), bits),
        };
        let found = self.nodes.get_mut(&peer)?;
        found.asked += 1;
        self.requests += 1;
        self.next_at = now + Duration::from_secs(1) / self.plan.rate.max(1);
        self.flying.insert(self.requests, (peer, about));
        let addresses = found.at.iter().chain(&found.addresses).cloned().collect();
        Some(Ask { question: self.requests, peer, addresses, key })
    }

    /// A key that shares so many bits with a place, and not one more.
    fn draw(&mut self, place: &[u8; 32], bits: u32) -> Vec<u8> {
        let mut key = [0; 32];
        for _ in 0..limits::DRAWS {
            key = self.random.random();
            if shared_bits(place, &Sha256::digest(key).into()) == bits {
                break;
            }
        }
        key.to_vec()
    }

    /// When [`Survey::poll`] or [`Survey::is_over`] may say something else.
    pub(super) fn next_deadline(&self) -> Instant {
        let end = self.begun + self.plan.end();
        let round = (self.rounds_begun < self.plan.rounds).then(|| self.begun + self.plan.round(self.rounds_begun));
        let paced = (!self.queue.is_empty() && self.flying.len() < limits::IN_FLIGHT).then_some(self.next_at);
        let presented = self.presented_by().filter(|_| self.is_done());
        [round, paced, presented].into_iter().flatten().fold(end, Instant::min)
    }

    /// Whether nothing is left to be asked and everyone has presented himself, or time is up.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let is_done = self.is_done() && self.presented_by().is_none_or(|until| now >= until);
        is_done || now >= self.begun + self.plan.end()
    }

    /// Whether nothing is left to be asked.
    fn is_done(&self) -> bool {
        self.is_complete() && self.rounds_begun >= self.plan.rounds
    }

    /// When the last of those who were reached and have not presented themselves is waited for no longer.
    fn presented_by(&self) -> Option<Instant> {
        self.nodes.values().filter_map(|found| found.presents_until).max()
    }

    /// Whether every node that is known was asked for all that it may know, and there was room for all.
    pub(super) fn is_complete(&self) -> bool {
        self.queue.is_empty() && self.flying.is_empty() && self.nodes.len() < self.plan.nodes
    }

    /// Questions asked.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// The nodes.
    pub(super) fn into_nodes(self) -> BTreeMap<PeerId, Found> {
        self.nodes
    }
}

/// A node's place in the key space.
fn place(peer: &PeerId) -> [u8; 32] {
    Sha256::digest(peer.to_bytes()).into()
}

/// Leading bits that two places share.
fn shared_bits(one: &[u8; 32], other: &[u8; 32]) -> u32 {
    let mut bits = 0;
    for (a, b) in one.iter().zip(other) {
        let same = (a ^ b).leading_zeros();
        bits += same;
        if same < u8::BITS {
            break;
        }
    }
    bits
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const PLAN: Plan = Plan { rounds: 3, duration: Duration::from_secs(20), nodes: 2000, rate: 1000 };

    fn survey(plan: Plan, now: Instant) -> Survey {
        Survey::new(plan, now, StdRng::seed_from_u64(7))
    }

    fn address(number: usize) -> Multiaddr {
        format!("/ip4/192.0.2.1/udp/{}/quic-v1", number + 1).parse().unwrap()
    }

    /// A node and its place.
    type Placed = (PeerId, [u8; 32]);

    /// The nodes of a modelled network, each with the bucketfuls that Kademlia would have.
    fn tables(count: usize) -> BTreeMap<PeerId, Vec<Placed>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut peer = || {
            let key = libp2p::identity::Keypair::ed25519_from_bytes(random.random::<[u8; 32]>()).unwrap();
            key.public().to_peer_id()
        };
        let peers: Vec<Placed> = (0..count).map(|_| peer()).map(|peer| (peer, place(&peer))).collect();
        let table = |own: &Placed| {
            let mut buckets: BTreeMap<u32, Vec<Placed>> = BTreeMap::new();
            for other in peers.iter().filter(|other| *other != own) {
                let bucket = buckets.entry(shared_bits(&own.1, &other.1)).or_default();
                if bucket.len() < 20 {
                    bucket.push(*other);
                }
            }
            buckets.into_values().flatten().collect()
        };
        peers.iter().map(|own| (own.0, table(own))).collect()
    }

    fn nearest(table: &[Placed], key: &[u8]) -> Vec<(PeerId, Multiaddr)> {
        let point: [u8; 32] = Sha256::digest(key).into();
        let mut near = table.to_vec();
        near.sort_by_cached_key(|(_, place)| -> [u8; 32] { std::array::from_fn(|index| place[index] ^ point[index]) });
        near.into_iter().take(20).map(|(peer, _)| (peer, address(0))).collect()
    }

    #[test]
    fn a_walk_from_one_node_finds_all_others_and_ends() {
        let tables = tables(150);
        let mut now = Instant::now();
        let mut survey = survey(PLAN, now);
        survey.met(*tables.keys().next().unwrap(), &address(0), now);
        while !survey.is_over(now) {
            if let Some(ask) = survey.poll(now) {
                let nearer = nearest(&tables[&ask.peer], &ask.key);
                survey.answered(ask.question, &nearer, Duration::from_millis(3));
            } else {
                now = now.max(survey.next_deadline());
            }
        }
        assert!(survey.is_complete());
        let requests = survey.requests();
        let nodes = survey.into_nodes();
        assert_eq!(nodes.len(), 150);
        assert!(nodes.values().all(|found| found.asked >= 3 && found.answered == found.asked));
        assert!(requests < 150 * 6, "{requests} questions");
    }

    #[test]
    fn nodes_questions_a_second_and_time_are_bounded() {
        let now = Instant::now();
        let plan = Plan { nodes: 50, rate: 10, ..PLAN };
        let mut survey = survey(plan, now);
        survey.met(PeerId::random(), &address(0), now);
        let mut at = now;
        let mut asked = Vec::new();
        while !survey.is_over(at) {
            if let Some(ask) = survey.poll(at) {
                asked.push(at);
                // Somebody who invents nodes for ever.
                let nearer: Vec<_> = (0..20).map(|number| (PeerId::random(), address(number))).collect();
                survey.answered(ask.question, &nearer, Duration::ZERO);
            } else {
                at = at.max(survey.next_deadline());
            }
        }
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(100)));
        assert!(at <= now + plan.duration + limits::TAIL);
        assert!(!survey.is_complete(), "there were more");
        assert_eq!(survey.into_nodes().len(), 50);
    }

    #[test]
    fn who_does_not_answer_is_asked_again_in_each_round_and_counted() {
        let mut now = Instant::now();
        let mut survey = survey(PLAN, now);
        let peer = PeerId::random();
        survey.named(peer, &address(0));
        let mut number = 0;
        while !survey.is_over(now) {
            match survey.poll(now) {
                Some(ask) if number == 1 => {
                    number += 1;
                    survey.answered(ask.question, &[], Duration::from_millis(5));
                }
                Some(ask) => {
                    number += 1;
                    survey.silent(ask.question);
                }
                None => now = now.max(survey.next_deadline()),
            }
        }
        let found = survey.into_nodes().remove(&peer).unwrap();
        assert_eq!((found.asked, found.answered, found.median()), (3, 1, Some(Duration::from_millis(5))));
    }

    #[test]
    fn who_has_answered_is_waited_for_until_he_has_presented_himself_but_not_for_ever() {
        let plan = Plan { rounds: 1, duration: Duration::ZERO, ..PLAN };
        let now = Instant::now();
        let answered = || {
            let (mut survey, peer) = (survey(plan, now), PeerId::random());
            survey.met(peer, &address(0), now);
            let ask = survey.poll(now).unwrap();
            survey.answered(ask.question, &[], Duration::from_millis(1));
            assert!(survey.is_complete() && !survey.is_over(now));
            (survey, peer)
        };
        let (mut presented, peer) = answered();
        presented.presented(peer, Ok(None));
        assert!(presented.is_over(now));
        let (mut refusing, peer) = answered();
        refusing.refuses(peer, "network-key");
        assert!(refusing.is_over(now));
        let (silent, _) = answered();
        assert_eq!(silent.next_deadline(), now + limits::PRESENTATION);
        assert!(silent.is_over(silent.next_deadline()));
    }
}
