// SPDX-License-Identifier: GPL-2.0-or-later
//! How nodes keep their tables and hand records on while others come, go, and are parted.

use std::sync::Arc;
use std::time::Duration;

use super::SimError;
use super::choices;
use super::hostile::Nature;
use super::limits;
use super::node::Node;
use super::peers::Peer;
use super::table::Table;
use super::world::{Behalf, Event, Request, World};

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
        let is_neighbour = here.table.is_neighbour(peers, peer);
        let known = here.table.len();
        if known > here.known + here.known / limits::GROWTH && here.walked + limits::WALK_PAUSE <= now {
            self.look_round(node, None);
        }
        if is_neighbour {
            self.plan_hand_over(node);
        }
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
        }
    }

    pub(super) fn on_noticed(&mut self, node: Peer, lost: Peer) {
        // By then it may speak again.
        if !self.reaches(node, lost) {
            self.lose(node, lost);
        }
    }

    pub(super) fn plan_hand_over(&mut self, node: Peer) {
        let here = &mut self.nodes[node.number()];
        if here.is_handing || here.holds.is_empty() {
            return;
        }
        here.is_handing = true;
        let pause = self.dice.within(limits::HAND_OVER_PAUSE);
        self.clock.after(pause, Event::HandOver { node });
    }

    /// The neighbourhood has changed: whoever should hold a record and may not have it gets it, from the nearest holders.
    pub(super) fn hand_over(&mut self, node: Peer) {
        let here = self.node(node);
        here.is_handing = false;
        if !here.is_alive || here.nature != Nature::Honest {
            return;
        }
        for record in here.holds.iter().copied().collect::<Vec<_>>() {
            let (date, name) = (self.clock.date(), self.records[record].name.clone());
            match self.nodes[node.number()].store.get(date, &name) {
                Some(value) => self.hand_on(node, record, &value.into()),
                None => _ = self.node(node).holds.remove(&record),
            }
        }
    }

    fn hand_on(&mut self, node: Peer, record: usize, value: &Arc<[u8]>) {
        let (peers, key, own) = (&self.peers, self.records[record].point, self.peers.point(node));
        let table = &self.nodes[node.number()].table;
        let radius = choices::radius(peers, own, &table.nearest(peers, own, limits::K));
        let mut known = table.nearest(peers, key, limits::WIDE);
        known.push(node);
        let known = peers.nearest(known, key, limits::WIDE);
        let chosen = choices::chosen_for_put(&self.choices, peers, key, radius, known);
        if !chosen.iter().take(limits::HANDING).any(|peer| *peer == node) {
            return;
        }
        let handed = self.node(node).handed.entry(record).or_default();
        if handed.value != *value {
            handed.value = value.clone();
            handed.to.clear();
        }
        let to: Vec<Peer> = chosen.into_iter().filter(|peer| *peer != node && handed.to.insert(*peer)).collect();
        for peer in to {
            self.ask(
                Behalf::HandOver { node, record },
                node,
                peer,
                Request::Put { record, value: value.clone(), is_handed: true },
            );
        }
    }

    pub(super) fn not_handed(&mut self, node: Peer, record: usize, to: Peer) {
        if let Some(handed) = self.node(node).handed.get_mut(&record) {
            handed.to.remove(&to);
        }
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
        let mut gone = Node::new(&self.peers, leaving, Nature::Honest);
        gone.is_alive = false;
        *self.node(leaving) = gone;
        // Neighbours stay connected if walks come more often than unused connections are closed; then they notice. Others do
        // when they ask.
        if self.timing.unused < self.timing.refresh {
            return;
        }
        for at in 0..self.nodes.len() {
            let here = &self.nodes[at];
            let table = &here.table;
            if here.is_alive && table.is_neighbour(&self.peers, leaving) && table.contains(&self.peers, leaving) {
                let pause = self.timing.idle + self.dice.within(self.timing.keep_alive);
                self.clock.after(pause, Event::Noticed { node: Peer::new(at), lost: leaving });
            }
        }
    }

    fn join(&mut self, known: Peer) {
        let node = self.peers.add(&mut self.dice);
        let mut fresh = Node::new(&self.peers, node, Nature::Honest);
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
        for at in 0..self.nodes.len() {
            let node = Peer::new(at);
            let lost: Vec<Peer> = self.nodes[at].table.iter().filter(|peer| !self.reaches(node, *peer)).collect();
            for lost in lost {
                let pause = self.timing.idle + self.dice.within(self.timing.keep_alive);
                self.clock.after(pause, Event::Noticed { node, lost });
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
