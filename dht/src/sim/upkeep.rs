// SPDX-License-Identifier: GPL-2.0-or-later
//! How nodes keep their tables and hand records on while others come, go, and are parted.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::SimError;
use super::hostile::Nature;
use super::limits;
use super::node::{Lost, Node};
use super::operation::Purpose;
use super::peers::{Peer, Point};
use super::world::{Behalf, Event, Request, World};
use crate::handover::{Job, Version};

impl World {
    /// A peer has spoken: it may go into the table, and may change who holds what.
    pub(super) fn learn(&mut self, node: Peer, peer: Peer) {
        let (peers, diversity) = (&self.peers, self.choices.diversity);
        let here = &mut self.nodes[node.number()];
        here.lost.remove(&peer);
        if !here.is_alive || !here.table.insert(peers, peer, diversity) {
            return;
        }
        if here.table.len() < limits::K {
            self.bootstrap_soon(node);
        }
        self.plan_hand_over(node);
    }

    /// A peer has not answered, or its connection, which stood, was silent for too long.
    pub(super) fn lose(&mut self, node: Peer, peer: Peer, stood: bool) {
        let (now, most) = (self.clock.now(), self.timing.redial_peers);
        let here = &mut self.nodes[node.number()];
        let is_neighbour = here.table.is_neighbour(&self.peers, peer);
        if !here.is_alive || !here.table.remove(&self.peers, peer) {
            return;
        }
        if here.lost.len() >= most {
            // The one that was tried most often, of those that were not connected if there are some.
            let oldest = here.lost.iter().min_by_key(|(_, lost)| (lost.stood, lost.at)).map(|(peer, _)| *peer);
            oldest.map(|oldest| here.lost.remove(&oldest));
        }
        here.lost.insert(peer, Lost { at: now, stood });
        self.plan_hand_over(node);
        if is_neighbour {
            // The next ones are connected in its place, if they are there.
            for next in self.nearest_of(node) {
                if !self.reaches(node, next) {
                    self.clock.after(self.timing.request, Event::Noticed { node, lost: next, stood: false });
                }
            }
        }
    }

    pub(super) fn on_noticed(&mut self, node: Peer, lost: Peer, stood: bool) {
        // By then it may speak again.
        if self.reaches(node, lost) {
            return;
        }
        self.lose(node, lost, stood);
        if stood {
            self.suspect(node);
        }
    }

    /// The table has changed: the engine is told, once for all that changes at a time.
    fn plan_hand_over(&mut self, node: Peer) {
        let here = self.node(node);
        here.is_outdated = true;
        if !here.holds.is_empty() {
            self.wake(node, limits::TABLE_PAUSE);
        }
    }

    /// Has the engine of a node looked at after a pause, if it is not sooner.
    fn wake(&mut self, node: Peer, pause: Duration) {
        let at = self.clock.now() + pause;
        let here = self.node(node);
        if here.wakes_at.is_none_or(|known| known > at) {
            here.wakes_at = Some(at);
            self.clock.after(pause, Event::HandOver { node });
        }
    }

    /// Does what is due, as a node's driver does.
    pub(super) fn hand_over(&mut self, node: Peer) {
        let now = self.clock.now();
        let here = self.node(node);
        if here.wakes_at != Some(now) {
            return;
        }
        here.wakes_at = None;
        if !here.is_alive || here.nature != Nature::Honest {
            return;
        }
        self.tell_engine(node);
        let (now, date) = (self.instant(), self.clock.date());
        let Node { engine, store, .. } = self.node(node);
        let mut jobs = Vec::new();
        while let Some(job) = engine.poll(now, |key| store.get(date, key).is_some()) {
            jobs.push(job);
        }
        for job in jobs {
            self.hand(node, &job);
        }
        self.wake_when_due(node);
    }

    fn tell_engine(&mut self, node: Peer) {
        let now = self.instant();
        if std::mem::take(&mut self.node(node).is_outdated) {
            self.node(node).told = Some(self.clock.now());
            let here = &self.nodes[node.number()];
            let places = here.table.iter().map(|peer| self.peers.point(peer).whole()).collect();
            self.node(node).engine.set_peers(now, places);
        }
    }

    fn hand(&mut self, node: Peer, job: &Job) {
        let (now, date) = (self.instant(), self.clock.date());
        let here = &self.nodes[node.number()];
        let value = here.store.get(date, &job.key);
        let known = here.table.iter().find(|peer| self.peers.point(*peer).whole() == job.peer);
        let peer = known.or_else(|| here.guests.get(&job.peer).copied());
        let record = self.names.get(&job.key).copied();
        let (Some(value), Some(peer), Some(record)) = (value, peer, record) else {
            self.node(node).engine.done(now, &job.key, &job.peer, true);
            return;
        };
        let request = Request::Put { record, value: value.into(), is_handed: true };
        self.ask(Behalf::HandOver { node, record }, node, peer, request);
    }

    fn wake_when_due(&mut self, node: Peer) {
        let now = self.instant();
        let due = self.nodes[node.number()].engine.next_deadline(now);
        self.wake(node, due.saturating_duration_since(now));
    }

    /// A hand-over has been answered, or has not.
    pub(super) fn handed(&mut self, node: Peer, record: usize, to: Peer, answered: bool) {
        let (now, place) = (self.instant(), self.peers.point(to).whole());
        let name = self.records[record].name.clone();
        self.node(node).engine.done(now, &name, &place, answered);
        self.wake_when_due(node);
    }

    /// Something was put here: the engine hears of it as the node's does.
    pub(super) fn arrived(&mut self, here: Peer, record: usize, offered: &[u8], handed_by: Option<Peer>, stored: bool) {
        let (now, date, name) = (self.instant(), self.clock.date(), self.records[record].name.clone());
        if self.nodes[here.number()].told.is_none_or(|at| at + limits::TOLD <= self.clock.now()) {
            self.tell_engine(here);
        }
        let from = handed_by.map(|peer| (self.peers.point(peer).whole(), peer));
        let Node { engine, store, guests, .. } = self.node(here);
        let Some(held) = store.get(date, &name) else { return };
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(&held).into();
        let version = Version { octets: held.len(), digest: u64::from_be_bytes([a, b, c, d, e, f, g, h]) };
        match from {
            Some((at, peer)) if held != offered => {
                guests.retain(|guest, _| engine.is_guest(guest));
                if engine.offered_older(&name, &at) {
                    guests.insert(at, peer);
                }
            }
            Some((at, _)) => engine.handed(now, &name, version, &at),
            None if stored => engine.stored(now, &name, version),
            None => {}
        }
        self.wake_when_due(here);
    }

    /// Others may be gone as well as one that was lost: all of the table are dialled, the nearest first, some each turn.
    fn suspect(&mut self, node: Peer) {
        let (now, own) = (self.clock.now(), self.peers.point(node));
        let here = &self.nodes[node.number()];
        if !here.is_alive || here.looked.is_some_and(|at| at + limits::SUSPECT_PAUSE > now) {
            return;
        }
        let suspects = here.table.nearest(&self.peers, own, here.table.len());
        self.node(node).looked = Some(now);
        let mut turn = Duration::ZERO;
        for few in suspects.chunks(limits::SUSPECTS) {
            turn += limits::TURN;
            for peer in few.iter().copied() {
                if self.reaches(node, peer) {
                    self.traffic.connect(node, peer, now);
                } else {
                    self.clock.after(turn + self.timing.request, Event::Noticed { node, lost: peer, stood: false });
                }
            }
        }
    }

    /// The peers nearest to a node, to which its connections stand.
    fn nearest_of(&self, node: Peer) -> Vec<Peer> {
        self.nodes[node.number()].table.nearest(&self.peers, self.peers.point(node), self.timing.nearest)
    }

    /// Who keeps connections to whom, each pair once.
    pub(super) fn kept(&self) -> BTreeSet<(Peer, Peer)> {
        let live = (0..self.nodes.len()).map(Peer::new).filter(|node| self.is_alive(*node));
        live.flat_map(|node| self.nearest_of(node).into_iter().map(move |peer| (node.min(peer), node.max(peer))))
            .collect()
    }

    fn is_kept(&self, node: Peer, peer: Peer) -> bool {
        self.nearest_of(node).contains(&peer) || self.nearest_of(peer).contains(&node)
    }

    /// A connection that stands has fallen silent: it is missed by then.
    fn miss(&mut self, node: Peer, lost: Peer) {
        let pause = self.timing.idle + self.dice.within(self.timing.keep_alive);
        self.clock.after(pause, Event::Noticed { node, lost, stood: true });
    }

    /// A table with so few peers is filled by a walk, when no more have come for a moment.
    fn bootstrap_soon(&mut self, node: Peer) {
        let at = self.clock.now() + limits::BOOTSTRAP_PAUSE;
        self.node(node).bootstrap_at = Some(at);
        self.clock.after(limits::BOOTSTRAP_PAUSE, Event::Bootstrap { node });
    }

    pub(super) fn on_bootstrap(&mut self, node: Peer) {
        // One that runs is waited for; it begins this one in its end.
        if self.nodes[node.number()].bootstrap_at == Some(self.clock.now()) {
            self.bootstrap(node);
        }
    }

    /// Walks through the routing table, as libp2p does: to the own place, then to one point in each bucket beyond, one after the
    /// other.
    fn bootstrap(&mut self, node: Peer) {
        let own = self.peers.point(node);
        let here = self.node(node);
        if here.is_alive && !here.is_bootstrapping {
            (here.is_bootstrapping, here.bootstrap_at) = (true, None);
            self.look_for(node, own, Purpose::Bootstrap(None));
        }
    }

    /// A walk has come to a point; it goes on to the next.
    pub(super) fn bootstrap_on(&mut self, node: Peer, left: Option<Vec<Point>>) {
        if !self.is_alive(node) {
            return;
        }
        let mut left = left.unwrap_or_else(|| self.nodes[node.number()].table.walk(&mut self.dice));
        if let Some(next) = left.pop() {
            return self.look_for(node, next, Purpose::Bootstrap(Some(left)));
        }
        let now = self.clock.now();
        let here = self.node(node);
        here.is_bootstrapping = false;
        if here.bootstrap_at.is_some_and(|at| at <= now) {
            self.bootstrap(node);
        }
    }

    /// The walk that comes again and again.
    pub(super) fn refresh(&mut self, node: Peer) {
        if self.is_alive(node) {
            self.bootstrap(node);
            self.clock.after(self.timing.refresh, Event::Refresh { node });
        }
    }

    /// Lets every node walk through its table from now on, each at its own times.
    pub(super) fn begin_refreshing(&mut self) {
        for at in 0..self.nodes.len() {
            let pause = self.dice.within(self.timing.refresh);
            self.clock.after(pause, Event::Refresh { node: Peer::new(at) });
        }
    }

    /// Lets every node look for those that it was configured with, each at its own times.
    pub(super) fn begin_seeking(&mut self) {
        for at in 0..self.nodes.len() {
            let pause = self.dice.within(self.timing.reached);
            self.clock.after(pause, Event::Seek { node: Peer::new(at) });
        }
    }

    /// Whoever is in the table counts as found.
    pub(super) fn seek(&mut self, node: Peer) {
        for peer in (0..limits::BOOTSTRAP.min(self.nodes.len())).map(Peer::new) {
            if peer != node && self.reaches(node, peer) && !self.nodes[node.number()].table.contains(&self.peers, peer)
            {
                self.meet(node, peer);
            }
        }
        self.clock.after(self.timing.reached, Event::Seek { node });
    }

    /// Lets every owner publish again from now on, each at its own times.
    pub(super) fn begin_renewing(&mut self) {
        for record in 0..self.records.len() {
            let pause = self.dice.within(self.timing.republish);
            self.clock.after(pause, Event::Renew { record });
        }
    }

    pub(super) fn on_renew(&mut self, record: usize) -> Result<(), SimError> {
        self.records[record].sign(self.clock.date())?;
        self.put(record, None);
        self.clock.after(self.timing.republish, Event::Renew { record });
        Ok(())
    }

    /// A node by chance leaves without a word; one that nobody knew comes, and knows one other.
    pub(super) fn churn(&mut self, pause: Duration) {
        if let Some(leaving) = self.anybody(None) {
            self.kill(leaving);
        }
        if let Some(known) = self.anybody(None) {
            self.join(known);
        }
        self.clock.after(pause, Event::Churn { pause });
    }

    fn kill(&mut self, leaving: Peer) {
        // Those to whom a connection stood notice. Others do when they ask.
        let near: Vec<Peer> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].is_alive && self.nodes[*at].table.is_neighbour(&self.peers, leaving))
            .filter(|at| self.nodes[*at].table.contains(&self.peers, leaving))
            .map(Peer::new)
            .filter(|node| self.is_kept(*node, leaving))
            .collect();
        let mut gone = Node::new(&self.peers, leaving, Nature::Honest, self.instant());
        gone.is_alive = false;
        *self.node(leaving) = gone;
        for node in near {
            self.miss(node, leaving);
        }
    }

    fn join(&mut self, known: Peer) {
        let node = self.peers.add(&mut self.dice);
        let mut fresh = Node::new(&self.peers, node, Nature::Honest, self.instant());
        fresh.table.insert(&self.peers, known, self.choices.diversity);
        self.nodes.push(fresh);
        self.bootstrap_soon(node);
        self.clock.after(self.timing.refresh, Event::Refresh { node });
    }

    /// Cuts the network into two halves.
    pub(super) fn part(&mut self) {
        for at in 0..self.nodes.len() {
            self.nodes[at].side = self.dice.chance(500);
        }
        self.links.cut = true;
        for (one, other) in self.kept() {
            if !self.reaches(one, other) {
                self.miss(one, other);
                self.miss(other, one);
            }
        }
    }

    /// Heals the cut after it has lasted so long: from then on an attempt at a peer succeeds. Attempts until then, which
    /// could not, are not modelled; the next one comes within the longest pause.
    pub(super) fn heal(&mut self) {
        self.links.cut = false;
        let now = self.clock.now();
        for at in 0..self.nodes.len() {
            let here = &self.nodes[at];
            let is_tried = |lost: &Lost| {
                let attempts = if lost.stood { self.timing.redial_attempts } else { limits::CLAIMED_ATTEMPTS };
                lost.at + self.timing.redial_span(attempts) > now
            };
            let lost = here.lost.iter().filter(|(_, lost)| is_tried(lost)).map(|(peer, _)| *peer);
            // Whoever is in the table counts as found, until it is missed there.
            let bootstrap = (0..limits::BOOTSTRAP.min(self.nodes.len()))
                .map(Peer::new)
                .filter(|peer| self.nodes[peer.number()].side != here.side && !here.table.contains(&self.peers, *peer));
            let targets: BTreeSet<Peer> = lost.chain(bootstrap).collect();
            for peer in targets {
                let pause = self.dice.within(self.timing.redial_last);
                self.clock.after(pause, Event::Redial { node: Peer::new(at), peer });
            }
        }
    }

    /// An attempt at a lost peer has succeeded.
    pub(super) fn on_redial(&mut self, node: Peer, peer: Peer) {
        if !self.reaches(node, peer) {
            return;
        }
        let now = self.clock.now();
        // Who was tried a few times only was away for a moment, and so were we.
        let soon = self.timing.redial_span(limits::SILENT_ATTEMPTS);
        let was_long = self.nodes[node.number()].lost.get(&peer).is_none_or(|lost| lost.at + soon <= now);
        self.meet(node, peer);
        let here = self.node(node);
        if !was_long || here.walked.is_some_and(|at| at + limits::WALK_PAUSE > now) {
            return;
        }
        here.walked = Some(now);
        let own = self.peers.point(node);
        self.look_for(node, own, Purpose::Walk);
        self.ask(Behalf::Through { node }, node, peer, Request::Nearest(own));
        self.clock.after(limits::WALK_AGAIN, Event::WalkAgain { node });
    }

    /// Two are connected.
    fn meet(&mut self, node: Peer, peer: Peer) {
        self.traffic.connect(node, peer, self.clock.now());
        self.learn(node, peer);
        self.learn(peer, node);
    }

    /// The one who was reached has named those whom it knows near to our place: they are connected, in the node's next turn.
    pub(super) fn on_named(&mut self, node: Peer, named: &[Peer]) {
        for peer in named.iter().copied().filter(|peer| *peer != node).take(limits::WALK_DIALS) {
            let pause = self.dice.within(limits::TURN) + self.links.travel(&mut self.dice) * 3;
            self.clock.after(pause, Event::Meet { node, peer });
        }
    }

    pub(super) fn on_meet(&mut self, node: Peer, peer: Peer) {
        if self.reaches(node, peer) {
            self.meet(node, peer);
        }
    }

    pub(super) fn walk_again(&mut self, node: Peer) {
        if self.is_alive(node) {
            let own = self.peers.point(node);
            self.look_for(node, own, Purpose::Walk);
        }
    }
}
