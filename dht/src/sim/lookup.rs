// SPDX-License-Identifier: GPL-2.0-or-later
//! An iterative lookup over disjoint paths, as libp2p-kad does it: all paths start from the same peers and take turns. What a
//! peer answers is believed by the one path that asked it. To the others it is one who has answered without naming anybody, and
//! takes a place among their requests until then.

use std::collections::BTreeMap;

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
    distance: u128,
    peer: Peer,
    state: State,
}

/// How a path gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Answers in a row that named nobody who counts.
    Idle(usize),
    /// So many that all who are near are asked at once, to come to an end.
    Stalled,
    Finished,
}

#[derive(Debug)]
struct Path {
    /// By distance.
    candidates: Vec<Candidate>,
    /// So many of the nearest have answered or failed, and so many of these have answered: what need not be looked at again.
    settled: (usize, usize),
    /// Requests in flight at its candidates, those of other paths too.
    waiting: usize,
    progress: Progress,
    /// How many nearest peers must have answered, and how many are asked at once.
    width: usize,
    parallelism: usize,
}

#[derive(Debug)]
pub(super) struct Lookup {
    target: Point,
    paths: Vec<Path>,
    /// Whose turn it is.
    turn: usize,
    contacts: BTreeMap<Peer, Contact>,
    /// In which round the request was sent that ended last: those sent from now on have waited for it.
    last: u32,
}

impl Lookup {
    pub(super) fn new(choices: &Choices, peers: &Peers, target: Point, width: usize, known: &[Peer]) -> Self {
        let fresh =
            |peer: &Peer| Candidate { distance: peers.point(*peer).distance(target), peer: *peer, state: State::Fresh };
        let mut candidates: Vec<Candidate> = known.iter().map(fresh).collect();
        candidates.sort_unstable_by_key(|candidate| candidate.distance);
        candidates.dedup_by_key(|candidate| candidate.distance);
        let path = || Path {
            candidates: candidates.clone(),
            settled: (0, 0),
            waiting: 0,
            progress: Progress::Idle(0),
            width,
            parallelism: choices.parallelism(),
        };
        let paths = (0..choices.paths.max(1)).map(|_| path()).collect();
        Self { target, paths, turn: 0, contacts: BTreeMap::new(), last: 0 }
    }

    pub(super) fn target(&self) -> Point {
        self.target
    }

    pub(super) fn next(&mut self) -> Step {
        let mut done = true;
        for _ in 0..self.paths.len() {
            let index = self.turn;
            self.turn = (index + 1) % self.paths.len();
            loop {
                match self.paths[index].next() {
                    Step::Ask(peer) => {
                        if self.may_ask(index, peer) {
                            return Step::Ask(peer);
                        }
                    }
                    Step::Wait => {
                        done = false;
                        break;
                    }
                    Step::Done => break,
                }
            }
        }
        if done { Step::Done } else { Step::Wait }
    }

    /// Whether a peer that a path would ask is asked: not if another path has done so, whose outcome is this one's too.
    fn may_ask(&mut self, path: usize, peer: Peer) -> bool {
        let known = self.contacts.get(&peer).map(|contact| contact.state);
        match known {
            None => {
                let contact = Contact { path, state: State::Waiting, round: self.last + 1 };
                self.contacts.insert(peer, contact);
            }
            Some(State::Answered) => self.paths[path].answered_elsewhere(peer),
            Some(State::Failed) => self.paths[path].failed_at(peer),
            Some(State::Fresh | State::Waiting) => {}
        }
        known.is_none()
    }

    /// A peer has answered, and told of others.
    pub(super) fn answered(&mut self, peers: &Peers, peer: Peer, closer: &[Peer]) {
        let Some(contact) = self.settle(peer, State::Answered) else { return };
        let distance = peers.point(peer).distance(self.target);
        for (index, path) in self.paths.iter_mut().enumerate() {
            if index == contact.path {
                let told = closer.iter().map(|told| (peers.point(*told).distance(self.target), *told));
                path.answered(distance, told);
            } else {
                path.answered(distance, std::iter::empty());
            }
        }
    }

    /// A peer has not answered in time.
    pub(super) fn failed(&mut self, peers: &Peers, peer: Peer) {
        if self.settle(peer, State::Failed).is_some() {
            let distance = peers.point(peer).distance(self.target);
            self.paths.iter_mut().for_each(|path| path.failed(distance));
        }
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

    fn settle(&mut self, peer: Peer, state: State) -> Option<Contact> {
        let contact = self.contacts.get_mut(&peer).filter(|contact| contact.state == State::Waiting)?;
        contact.state = state;
        self.last = contact.round;
        Some(*contact)
    }
}

impl Path {
    /// The next that this path would ask, which counts as asked from now on.
    fn next(&mut self) -> Step {
        let most = match self.progress {
            Progress::Finished => return Step::Done,
            Progress::Stalled => self.width.max(self.parallelism),
            Progress::Idle(_) => self.parallelism,
        };
        let at_capacity = self.waiting >= most;
        let (begin, answered) = self.settled;
        let mut answered = Some(answered);
        for (at, candidate) in self.candidates.iter_mut().enumerate().skip(begin) {
            match candidate.state {
                State::Waiting | State::Fresh if at_capacity => return Step::Wait,
                State::Failed | State::Answered => {}
                // It is not done before the nearer ones have answered.
                State::Waiting => answered = None,
                State::Fresh => {
                    candidate.state = State::Waiting;
                    self.waiting += 1;
                    return Step::Ask(candidate.peer);
                }
            }
            if let Some(count) = answered.as_mut() {
                *count += usize::from(candidate.state == State::Answered);
                self.settled = (at + 1, *count);
                if *count >= self.width {
                    self.progress = Progress::Finished;
                    return Step::Done;
                }
            }
        }
        if self.waiting > 0 {
            return Step::Wait;
        }
        self.progress = Progress::Finished;
        Step::Done
    }

    /// Somebody whom it waits for has answered.
    fn answered(&mut self, distance: u128, told: impl Iterator<Item = (u128, Peer)>) {
        if !self.settle(distance, State::Answered) {
            return;
        }
        // Whoever is named counts if it is among the nearest so far, or these are not so many yet.
        let farthest = self.candidates.get(self.width - 1).or(self.candidates.last()).map(|last| last.distance);
        let range = farthest.unwrap_or(distance);
        let mut counts = self.candidates.len() < self.width;
        for (distance, peer) in told {
            if let Err(at) = self.candidates.binary_search_by_key(&distance, |known| known.distance) {
                self.candidates.insert(at, Candidate { distance, peer, state: State::Fresh });
                if at < self.settled.0 {
                    self.settled = (0, 0);
                }
                counts |= distance < range;
            }
        }
        self.progress = match self.progress {
            Progress::Finished => Progress::Finished,
            _ if counts => Progress::Idle(0),
            Progress::Idle(times) if times + 1 < self.parallelism => Progress::Idle(times + 1),
            Progress::Idle(_) | Progress::Stalled => Progress::Stalled,
        };
    }

    fn failed(&mut self, distance: u128) {
        self.settle(distance, State::Failed);
    }

    /// Whether it waited for the one at that distance.
    fn settle(&mut self, distance: u128, state: State) -> bool {
        if self.progress == Progress::Finished {
            return false;
        }
        let Ok(at) = self.candidates.binary_search_by_key(&distance, |known| known.distance) else { return false };
        if self.candidates[at].state != State::Waiting {
            return false;
        }
        self.candidates[at].state = state;
        self.waiting -= 1;
        true
    }

    fn distance_of(&self, peer: Peer) -> Option<u128> {
        self.candidates.iter().find(|known| known.peer == peer).map(|known| known.distance)
    }

    /// It wanted to ask one who has told another path.
    fn answered_elsewhere(&mut self, peer: Peer) {
        if let Some(distance) = self.distance_of(peer) {
            self.answered(distance, std::iter::empty());
        }
    }

    /// It wanted to ask one who has not answered another path.
    fn failed_at(&mut self, peer: Peer) {
        if let Some(distance) = self.distance_of(peer) {
            self.failed(distance);
        }
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
        assert_eq!((lookup.round(asked[0]), lookup.round(asked[1])), (1, 2), "each waited for the one before");
    }

    #[test]
    fn eight_paths_that_know_the_same_peers_begin_with_eight_requests() {
        let peers = peers(200);
        let all: Vec<Peer> = (0..200).map(Peer::new).collect();
        let (target, choices) = (Point(77), Choices { paths: 8, ..Choices::NONE });
        let known = peers.nearest(all[..60].to_vec(), target, 20);
        let mut lookup = Lookup::new(&choices, &peers, target, 20, &known);
        let begun: Vec<Peer> =
            std::iter::from_fn(|| if let Step::Ask(peer) = lookup.next() { Some(peer) } else { None }).collect();
        // The nearest, each asked by another path and waited for by all.
        assert_eq!(begun, known[..8]);
        assert_eq!(lookup.next(), Step::Wait);
        // Where all answers say the same, most of the paths have nothing to ask that another has not asked.
        let mut waiting = std::collections::VecDeque::from(begun);
        let mut asked = waiting.len();
        while let Some(peer) = waiting.pop_front() {
            lookup.answered(&peers, peer, &peers.nearest(all.clone(), target, 20));
            while let Step::Ask(next) = lookup.next() {
                waiting.push_back(next);
                asked += 1;
            }
        }
        assert_eq!(lookup.next(), Step::Done);
        assert!(asked < 60, "{asked}");
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
