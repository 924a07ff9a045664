// SPDX-License-Identifier: GPL-2.0-or-later
//! An iterative lookup over disjoint paths, as libp2p does it: all paths start from the same peers, what a peer answers is
//! believed by the one path that asked it, and the others only count it as asked.

use std::collections::{BTreeMap, btree_map};

use super::choices::Choices;
use super::peers::{Peer, Peers, Point};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Ask(Peer),
    /// For an answer, or for time to pass.
    Wait,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Waiting,
    Answered,
    Failed,
}

/// A peer that some path has asked.
#[derive(Debug, Clone, Copy)]
struct Contact {
    path: usize,
    state: State,
    /// Requests one after the other until its answer.
    round: u32,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    peer: Peer,
    state: State,
    round: u32,
}

#[derive(Debug, Default)]
struct Path {
    /// By distance.
    candidates: BTreeMap<u128, Candidate>,
    /// Requests of this path in flight.
    waiting: usize,
    /// Answers in a row that brought nobody nearer.
    idle: usize,
}

#[derive(Debug)]
pub(super) struct Lookup {
    target: Point,
    /// How many nearest peers must have answered.
    width: usize,
    parallelism: usize,
    paths: Vec<Path>,
    contacts: BTreeMap<Peer, Contact>,
}

impl Lookup {
    pub(super) fn new(choices: &Choices, peers: &Peers, target: Point, width: usize, known: &[Peer]) -> Self {
        let mut lookup = Self {
            target,
            width,
            parallelism: choices.parallelism(),
            paths: (0..choices.paths.max(1)).map(|_| Path::default()).collect(),
            contacts: BTreeMap::new(),
        };
        for peer in known {
            for path in 0..lookup.paths.len() {
                lookup.add(peers, path, *peer, 1);
            }
        }
        lookup
    }

    pub(super) fn target(&self) -> Point {
        self.target
    }

    pub(super) fn next(&mut self) -> Step {
        let mut done = true;
        for path in 0..self.paths.len() {
            match self.step(path) {
                Step::Ask(peer) => return Step::Ask(peer),
                Step::Wait => done = false,
                Step::Done => {}
            }
        }
        if done { Step::Done } else { Step::Wait }
    }

    /// A peer has answered, and told of others.
    pub(super) fn answered(&mut self, peers: &Peers, peer: Peer, closer: &[Peer]) {
        let Some(contact) = self.settle(peers, peer, State::Answered) else { return };
        let nearest = |path: &Path| path.candidates.keys().next().copied();
        let (before, held) = (nearest(&self.paths[contact.path]), self.paths[contact.path].candidates.len());
        for told in closer {
            self.add(peers, contact.path, *told, contact.round + 1);
        }
        let path = &mut self.paths[contact.path];
        let is_nearer = nearest(path) < before;
        let is_more = held < self.width && path.candidates.len() > held;
        path.idle = if is_nearer || is_more { 0 } else { path.idle + 1 };
    }

    /// A peer has not answered in time.
    pub(super) fn failed(&mut self, peers: &Peers, peer: Peer) {
        self.settle(peers, peer, State::Failed);
    }

    /// How many requests one after the other led to this peer's answer.
    pub(super) fn round(&self, peer: Peer) -> u32 {
        self.contacts.get(&peer).map_or(0, |contact| contact.round)
    }

    /// All that answered.
    pub(super) fn found(&self) -> Vec<Peer> {
        let answered = self.contacts.iter().filter(|(_, contact)| contact.state == State::Answered);
        answered.map(|(peer, _)| *peer).collect()
    }

    fn add(&mut self, peers: &Peers, path: usize, peer: Peer, round: u32) {
        let distance = peers.point(peer).distance(self.target);
        if let btree_map::Entry::Vacant(place) = self.paths[path].candidates.entry(distance) {
            place.insert(Candidate { peer, state: State::Fresh, round });
        }
    }

    fn settle(&mut self, peers: &Peers, peer: Peer, state: State) -> Option<Contact> {
        let contact = self.contacts.get_mut(&peer).filter(|contact| contact.state == State::Waiting)?;
        contact.state = state;
        let contact = *contact;
        let path = &mut self.paths[contact.path];
        path.waiting -= 1;
        if let Some(candidate) = path.candidates.get_mut(&peers.point(peer).distance(self.target)) {
            candidate.state = state;
        }
        Some(contact)
    }

    fn step(&mut self, index: usize) -> Step {
        let path = &mut self.paths[index];
        // Who makes no progress any more asks all that are near at once, to come to an end.
        let most = if path.idle >= self.parallelism { self.width.max(self.parallelism) } else { self.parallelism };
        let mut answered = Some(0);
        let mut waits = false;
        for candidate in path.candidates.values_mut() {
            if matches!(candidate.state, State::Fresh | State::Waiting)
                && let Some(contact) = self.contacts.get(&candidate.peer)
            {
                candidate.state = contact.state;
            }
            match candidate.state {
                State::Failed => {}
                State::Waiting if path.waiting >= most => return Step::Wait,
                State::Waiting => (answered, waits) = (None, true),
                State::Answered => {
                    answered = answered.map(|count| count + 1);
                    if answered.is_some_and(|count| count >= self.width) {
                        return Step::Done;
                    }
                }
                State::Fresh if path.waiting >= most => return Step::Wait,
                State::Fresh => {
                    candidate.state = State::Waiting;
                    path.waiting += 1;
                    let contact = Contact { path: index, state: State::Waiting, round: candidate.round };
                    self.contacts.insert(candidate.peer, contact);
                    return Step::Ask(candidate.peer);
                }
            }
        }
        if waits { Step::Wait } else { Step::Done }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dice::Dice;
    use super::*;

    /// A network in which all know all.
    fn peers(count: usize) -> Peers {
        let (mut peers, mut dice) = (Peers::default(), Dice::new(1));
        for _ in 0..count {
            peers.add(&mut dice);
        }
        peers
    }

    #[test]
    fn the_nearest_are_found_and_nobody_is_asked_twice() {
        let peers = peers(200);
        let all: Vec<Peer> = (0..200).map(Peer::new).collect();
        let target = Point(77);
        let choices = Choices { paths: 3, ..Choices::NONE };
        let mut lookup = Lookup::new(&choices, &peers, target, 20, &all[..3]);
        let mut asked = Vec::new();
        while let Step::Ask(peer) = lookup.next() {
            assert!(!asked.contains(&peer));
            asked.push(peer);
            lookup.answered(&peers, peer, &peers.nearest(all.clone(), target, 20));
        }
        assert_eq!(lookup.next(), Step::Done);
        assert_eq!(peers.nearest(lookup.found(), target, 20), peers.nearest(all, target, 20));
        assert_eq!((lookup.round(asked[0]), lookup.round(asked[3])), (1, 2));
    }

    #[test]
    fn a_lookup_of_silent_peers_ends() {
        let peers = peers(5);
        let known: Vec<Peer> = (0..5).map(Peer::new).collect();
        let mut lookup = Lookup::new(&Choices::NONE, &peers, Point(1), 20, &known);
        let mut asked = 0;
        while let Step::Ask(peer) = lookup.next() {
            asked += 1;
            lookup.failed(&peers, peer);
        }
        assert_eq!((asked, lookup.next()), (5, Step::Done));
        assert!(lookup.found().is_empty());
    }
}
