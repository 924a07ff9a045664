// SPDX-License-Identifier: GPL-2.0-or-later
//! How nodes keep their tables and hand records on while others come, go, and are parted.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::SimError;
use super::hostile::Nature;
use super::limits;
use super::node::Node;
use super::peers::Peer;
use super::table::Table;
use super::world::{Behalf, Event, Request, World};
use crate::handover::{Job, Version};

impl World {
    /// A peer has spoken: it may go into the table, and may change who holds what.
    pub(super) fn learn(&mut self, node: Peer, peer: Peer) {
        let now = self.clock.now();
        let (peers, diversity) = (&self.peers, self.choices.diversity);
        let here = &mut self.nodes[node.number()];
        here.lost.remove(&peer);
        if !here.is_alive || !here.table.insert(peers, peer, diversity) {
            return;
        }
        let known = here.table.len();
        if known > here.known + here.known / limits::GROWTH && here.walked + limits::WALK_PAUSE <= now {
            self.look_round(node, None);
        }
        self.plan_hand_over(node);
    }

    /// Looks up the node's own place: those there get to know it. What it knows lies on its own side of a cut that has
    /// healed, so then it asks through the peer that it has reached too.
    fn look_round(&mut self, node: Peer, through: Option<Peer>) {
        let (now, own) = (self.clock.now(), self.peers.point(node));
        let here = self.node(node);
        (here.walked, here.known) = (now, here.table.len());
        self.walk(node, own, through);
    }

    /// A peer has not answered, or its connection was silent for too long.
    pub(super) fn lose(&mut self, node: Peer, peer: Peer) {
        let most = self.timing.redial_peers;
        let here = &mut self.nodes[node.number()];
        if !here.is_alive {
            return;
        }
        let is_neighbour = here.table.is_neighbour(&self.peers, peer);
        if !here.table.remove(&self.peers, peer) {
            return;
        }
        here.known = here.known.min(here.table.len());
        if here.lost.len() >= most {
            here.lost.pop_first();
        }
        here.lost.insert(peer);
        if is_neighbour {
            self.plan_hand_over(node);
            // The next ones are connected in its place, if they are there.
            for next in self.nearest_of(node) {
                if !self.reaches(node, next) {
                    self.clock.after(self.timing.request, Event::Noticed { node, lost: next });
                }
            }
        }
    }

    pub(super) fn on_noticed(&mut self, node: Peer, lost: Peer) {
        // By then it may speak again.
        if !self.reaches(node, lost) {
            self.lose(node, lost);
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
        let peer = here.table.iter().find(|peer| self.peers.point(*peer).whole() == job.peer);
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
        let from = handed_by.map(|peer| self.peers.point(peer).whole());
        let Node { engine, store, .. } = self.node(here);
        let Some(held) = store.get(date, &name) else { return };
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(&held).into();
        let version = Version { octets: held.len(), digest: u64::from_be_bytes([a, b, c, d, e, f, g, h]) };
        match from {
            Some(peer) if held != offered => engine.offered_older(&name, &peer),
            Some(peer) => engine.handed(now, &name, version, &peer),
            None if stored => engine.stored(now, &name, version),
            None => {}
        }
        self.wake_when_due(here);
    }

    /// Others near to one that was lost may be gone as well: they are dialled.
    fn suspect(&mut self, node: Peer) {
        let (now, own) = (self.clock.now(), self.peers.point(node));
        let here = &self.nodes[node.number()];
        if !here.is_alive || here.looked.is_some_and(|at| at + limits::SUSPECT_PAUSE > now) {
            return;
        }
        let suspects = here.table.nearest(&self.peers, own, limits::REGION);
        self.node(node).looked = Some(now);
        for peer in suspects {
            if self.reaches(node, peer) {
                self.traffic.connect(node, peer, now);
            } else {
                let pause = self.timing.request + self.dice.within(limits::SUSPECT_TIME);
                self.clock.after(pause, Event::Noticed { node, lost: peer });
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
        self.clock.after(pause, Event::Noticed { node, lost });
    }

    /// Walks through the routing table, as libp2p does: the own place, then one point in each bucket beyond.
    pub(super) fn refresh(&mut self, node: Peer, again: bool) {
        if !self.is_alive(node) {
            return;
        }
        self.look_round(node, None);
        for target in self.nodes[node.number()].table.walk(&mut self.dice) {
            self.walk(node, target, None);
        }
        if again {
            self.clock.after(self.timing.refresh, Event::Refresh { node, again });
        }
    }

    /// Lets every node walk through its table from now on, each at its own times.
    pub(super) fn begin_refreshing(&mut self) {
        for at in 0..self.nodes.len() {
            let pause = self.dice.within(self.timing.refresh);
            self.clock.after(pause, Event::Refresh { node: Peer::new(at), again: true });
        }
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
        fresh.table = Table::new(self.peers.point(node));
        fresh.table.insert(&self.peers, known, self.choices.diversity);
        self.nodes.push(fresh);
        self.look_round(node, None);
        self.clock.after(limits::JOIN_PAUSE, Event::Refresh { node, again: true });
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
    pub(super) fn heal(&mut self, parted: Duration) {
        self.links.cut = false;
        let is_remembered = parted <= self.timing.redial_span();
        for at in 0..self.nodes.len() {
            let here = &self.nodes[at];
            let lost = here.lost.iter().copied().filter(|_| is_remembered);
            let bootstrap = (0..limits::BOOTSTRAP.min(self.nodes.len())).map(Peer::new);
            let bootstrap = bootstrap.filter(|peer| self.nodes[peer.number()].side != here.side);
            let targets: Vec<Peer> = lost.chain(bootstrap).collect();
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
        self.learn(node, peer);
        self.learn(peer, node);
        if self.nodes[node.number()].walked + limits::WALK_PAUSE <= self.clock.now() {
            self.look_round(node, Some(peer));
        }
    }
}
