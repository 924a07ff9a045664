// SPDX-License-Identifier: GPL-2.0-or-later
//! An iterative lookup over disjoint paths, as libp2p-kad does it: all paths start from the same peers and take turns. What a
//! peer answers is believed by the one path that asked it. To the others it is one who has answered without naming anybody, and
//! takes a place among their requests until then.

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

/// What came of the one request that a lookup has for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Waiting,
    Answered,
    Failed,
}

/// Some of the paths, a bit each.
type Paths = u16;

/// Paths of a lookup: as many as there are bits.
const MOST_PATHS: usize = 16;

/// A peer that some path knows. All paths share one list of them: most know the same, and thousands of lookups run at a time, so
/// that a list for each would not fit into the processor's cache.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    distance: u128,
    peer: Peer,
    /// The paths to which it is known, and which of them wait for it, count its answer, or count it as failed.
    known: Paths,
    waiting: Paths,
    answered: Paths,
    failed: Paths,
    state: State,
    /// Who has asked it, and how many requests one after the other lead to its answer.
    path: u8,
    round: u16,
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
    bit: Paths,
    /// Candidates that it knows.
    knows: usize,
    /// Its candidates before this place have answered or failed, and so many of these have answered: what need not be looked at
    /// again.
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
    /// By distance.
    candidates: Vec<Candidate>,
    paths: Vec<Path>,
    /// Whose turn it is.
    turn: usize,
    /// In which round the request was sent that ended last: those sent from now on have waited for it.
    last: u16,
}

impl Lookup {
    pub(super) fn new(choices: &Choices, peers: &Peers, target: Point, width: usize, known: &[Peer]) -> Self {
        let count = choices.paths.clamp(1, MOST_PATHS);
        let all = Paths::MAX >> (MOST_PATHS - count);
        let fresh = |peer: &Peer| Candidate::new(peers.point(*peer).distance(target), *peer, all);
        let mut candidates: Vec<Candidate> = known.iter().map(fresh).collect();
        candidates.sort_unstable_by_key(|candidate| candidate.distance);
        candidates.dedup_by_key(|candidate| candidate.distance);
        let path = |number: usize| Path {
            bit: 1 << number,
            knows: candidates.len(),
            settled: (0, 0),
            waiting: 0,
            progress: Progress::Idle(0),
            width,
            parallelism: choices.parallelism(),
        };
        let paths = (0..count).map(path).collect();
        Self { target, candidates, paths, turn: 0, last: 0 }
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
                match self.paths[index].next(&mut self.candidates) {
                    Next::Ask(at) => {
                        if self.may_ask(index, at) {
                            return Step::Ask(self.candidates[at].peer);
                        }
                    }
                    Next::Wait => {
                        done = false;
                        break;
                    }
                    Next::Done => break,
                }
            }
        }
        if done { Step::Done } else { Step::Wait }
    }

    /// Whether a peer that a path would ask is asked: not if another path has done so, whose outcome is this one's too.
    fn may_ask(&mut self, path: usize, at: usize) -> bool {
        let candidate = &mut self.candidates[at];
        match candidate.state {
            State::Fresh => {
                candidate.state = State::Waiting;
                candidate.path = u8::try_from(path).unwrap_or(u8::MAX);
                candidate.round = self.last.saturating_add(1);
                return true;
            }
            State::Waiting => {}
            State::Answered => {
                if self.paths[path].settle(candidate, State::Answered) {
                    self.paths[path].heard(false);
                }
            }
            State::Failed => {
                self.paths[path].settle(candidate, State::Failed);
            }
        }
        false
    }

    /// A peer has answered, and told of others.
    pub(super) fn answered(&mut self, peers: &Peers, peer: Peer, closer: &[Peer]) {
        let Some((at, asker)) = self.settle(peers, peer, State::Answered) else { return };
        let candidate = &mut self.candidates[at];
        let mut asker_waited = false;
        for (index, path) in self.paths.iter_mut().enumerate() {
            if path.settle(candidate, State::Answered) {
                if index == asker {
                    asker_waited = true;
                } else {
                    path.heard(false);
                }
            }
        }
        if asker_waited {
            let counts = self.tell(peers, asker, closer);
            self.paths[asker].heard(counts);
        }
    }

    /// Adds those that a path is told of; whether one of them is among its nearest so far.
    fn tell(&mut self, peers: &Peers, path: usize, closer: &[Peer]) -> bool {
        let Path { bit, knows, width, .. } = self.paths[path];
        // While these are not so many yet, whoever is named counts.
        let range =
            if knows < width { None } else { self.candidates.iter().filter(|one| one.known & bit != 0).nth(width - 1) };
        let range = range.map(|last| last.distance);
        let mut counts = knows < width;
        for told in closer {
            let distance = peers.point(*told).distance(self.target);
            let at = match self.candidates.binary_search_by_key(&distance, |known| known.distance) {
                Ok(at) if self.candidates[at].known & bit != 0 => continue,
                Ok(at) => {
                    self.candidates[at].known |= bit;
                    at
                }
                Err(at) => {
                    self.candidates.insert(at, Candidate::new(distance, *told, bit));
                    let behind = self.paths.iter_mut().filter(|path| at < path.settled.0);
                    behind.for_each(|path| path.settled.0 += 1);
                    at
                }
            };
            let path = &mut self.paths[path];
            path.knows += 1;
            if at < path.settled.0 {
                path.settled = (0, 0);
            }
            counts |= range.is_some_and(|range| distance < range);
        }
        counts
    }

    /// A peer has not answered in time.
    pub(super) fn failed(&mut self, peers: &Peers, peer: Peer) {
        if let Some((at, _)) = self.settle(peers, peer, State::Failed) {
            let candidate = &mut self.candidates[at];
            for path in &mut self.paths {
                path.settle(candidate, State::Failed);
            }
        }
    }

    /// How many requests one after the other led to this peer's answer.
    pub(super) fn round(&self, peers: &Peers, peer: Peer) -> u32 {
        self.place(peers, peer).map_or(0, |at| u32::from(self.candidates[at].round))
    }

    /// All that answered.
    pub(super) fn found(&self) -> Vec<Peer> {
        let answered = self.candidates.iter().filter(|candidate| candidate.state == State::Answered);
        let mut found: Vec<Peer> = answered.map(|candidate| candidate.peer).collect();
        found.sort_unstable();
        found
    }

    fn place(&self, peers: &Peers, peer: Peer) -> Option<usize> {
        let distance = peers.point(peer).distance(self.target);
        self.candidates.binary_search_by_key(&distance, |known| known.distance).ok()
    }

    /// Where a peer is whose request has ended, and which path had asked it.
    fn settle(&mut self, peers: &Peers, peer: Peer, state: State) -> Option<(usize, usize)> {
        let at = self.place(peers, peer)?;
        let candidate = &mut self.candidates[at];
        if candidate.state != State::Waiting {
            return None;
        }
        candidate.state = state;
        self.last = candidate.round;
        Some((at, usize::from(candidate.path)))
    }
}

impl Candidate {
    fn new(distance: u128, peer: Peer, known: Paths) -> Self {
        Self { distance, peer, known, waiting: 0, answered: 0, failed: 0, state: State::Fresh, path: 0, round: 0 }
    }
}

/// What a path does next: it asks the candidate at a place, or as in [`Step`].
enum Next {
    Ask(usize),
    Wait,
    Done,
}

impl Path {
    /// The next that this path would ask, which counts as asked from now on.
    fn next(&mut self, candidates: &mut [Candidate]) -> Next {
        let most = match self.progress {
            Progress::Finished => return Next::Done,
            Progress::Stalled => self.width.max(self.parallelism),
            Progress::Idle(_) => self.parallelism,
        };
        let (at_capacity, bit) = (self.waiting >= most, self.bit);
        let (begin, answered) = self.settled;
        let mut answered = Some(answered);
        let own = candidates.iter_mut().enumerate().skip(begin).filter(|(_, candidate)| candidate.known & bit != 0);
        for (at, candidate) in own {
            if (candidate.answered | candidate.failed) & bit == 0 {
                if at_capacity {
                    return Next::Wait;
                }
                if candidate.waiting & bit == 0 {
                    candidate.waiting |= bit;
                    self.waiting += 1;
                    return Next::Ask(at);
                }
                // It is not done before the nearer ones have answered.
                answered = None;
            }
            if let Some(count) = answered.as_mut() {
                *count += usize::from(candidate.answered & bit != 0);
                self.settled = (at + 1, *count);
                if *count >= self.width {
                    self.progress = Progress::Finished;
                    return Next::Done;
                }
            }
        }
        if self.waiting > 0 {
            return Next::Wait;
        }
        self.progress = Progress::Finished;
        Next::Done
    }

    /// Somebody whom it waited for has answered, and has named one who counts, or has not.
    fn heard(&mut self, counts: bool) {
        // While it knows few, every answer counts.
        self.progress = match self.progress {
            Progress::Finished => Progress::Finished,
            _ if counts || self.knows < self.width => Progress::Idle(0),
            Progress::Idle(times) if times + 1 < self.parallelism => Progress::Idle(times + 1),
            Progress::Idle(_) | Progress::Stalled => Progress::Stalled,
        };
    }

    /// Whether it waited for that candidate.
    fn settle(&mut self, candidate: &mut Candidate, state: State) -> bool {
        if self.progress == Progress::Finished || candidate.waiting & self.bit == 0 {
            return false;
        }
        candidate.waiting &= !self.bit;
        self.waiting -= 1;
        if state == State::Answered {
            candidate.answered |= self.bit;
        } else {
            candidate.failed |= self.bit;
        }
        true
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
        assert_eq!(
            (lookup.round(&peers, asked[0]), lookup.round(&peers, asked[1])),
            (1, 2),
            "each waited for the one before"
        );
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
