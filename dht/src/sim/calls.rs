// SPDX-License-Identifier: GPL-2.0-or-later
//! Requests and answers on their way.

use std::sync::Arc;
use std::time::Duration;

use super::hostile::{Nature, accomplices};
use super::limits;
use super::peers::{Peer, Point};
use super::traffic::Kind;
use super::world::{Answer, Behalf, Call, Event, Request, World};
use crate::error::Refusal;
use crate::lookup;
use crate::store::{Admission, Origin};

impl World {
    /// Sends a request, which times out when nothing comes back.
    pub(super) fn ask(&mut self, behalf: Behalf, from: Peer, to: Peer, request: Request) {
        self.begun += 1;
        let call = self.begun;
        let kind = self.kind(behalf);
        self.calls.insert(call, Call { behalf, kind, from, to });
        let value = if let Request::Put { value, .. } = &request { value.len() } else { 0 };
        self.traffic.request(kind, value);
        if self.reaches(from, to) {
            self.traffic.connect(from, to, self.clock.now());
            let mut time = self.links.travel(&mut self.dice);
            if !matches!(request, Request::Put { .. }) {
                // A PUT goes to whom the lookup has reached; before that there is a handshake.
                time += self.links.travel(&mut self.dice) + self.links.travel(&mut self.dice);
            }
            self.clock.after(time, Event::Request { call, from, to, request });
        }
        self.clock.limit(self.timing.request, Event::Timeout { call });
    }

    pub(super) fn on_request(&mut self, call: u64, from: Peer, to: Peer, request: Request) {
        if !self.reaches(from, to) {
            return;
        }
        let Some((answer, thinking)) = self.serve(from, to, request) else { return };
        self.learn(to, from);
        if let Some(kind) = self.calls.get(&call).map(|call| call.kind) {
            let value = answer.value.as_ref().map_or(0, |value| value.len());
            self.traffic.answer(kind, answer.closer.len(), value);
        }
        let time = self.links.travel(&mut self.dice);
        self.clock.after(thinking + time, Event::Answer { call, answer });
    }

    pub(super) fn on_answer(&mut self, call: u64, answer: &Answer) {
        let Some(known) = self.calls.get(&call).copied() else { return };
        if !self.reaches(known.from, known.to) {
            return;
        }
        self.calls.remove(&call);
        self.learn(known.from, known.to);
        match known.behalf {
            Behalf::Operation(operation) => self.advance(operation, known.to, Some(answer)),
            Behalf::HandOver { node, record } => self.handed(node, record, known.to, true),
            Behalf::Through { node } => self.on_named(node, &answer.closer),
            Behalf::Publish { put } => self.published(put, Some(!answer.is_refusal)),
        }
    }

    pub(super) fn on_timeout(&mut self, call: u64) {
        let Some(known) = self.calls.remove(&call) else { return };
        self.lose(known.from, known.to, false);
        match known.behalf {
            Behalf::Operation(operation) => self.advance(operation, known.to, None),
            Behalf::HandOver { node, record } => self.handed(node, record, known.to, false),
            Behalf::Publish { put } => self.published(put, None),
            Behalf::Through { .. } => {}
        }
    }

    /// Whether a message can go from one to the other: both live, no cut between them.
    pub(super) fn reaches(&self, one: Peer, other: Peer) -> bool {
        let (one, other) = (&self.nodes[one.number()], &self.nodes[other.number()]);
        one.is_alive && other.is_alive && self.links.join(one.side, other.side)
    }

    fn kind(&self, behalf: Behalf) -> Kind {
        match behalf {
            Behalf::HandOver { .. } => Kind::HandOver,
            Behalf::Publish { .. } => Kind::Publish,
            Behalf::Through { .. } => Kind::Walk,
            Behalf::Operation(operation) => {
                self.operations.get(&operation).map_or(Kind::Get, |operation| operation.kind())
            }
        }
    }

    /// What a node answers, and after what time of its own.
    fn serve(&mut self, from: Peer, to: Peer, request: Request) -> Option<(Answer, Duration)> {
        let nature = self.nodes[to.number()].nature;
        let thinking = if nature == Nature::Slow { limits::SLOW } else { Duration::ZERO };
        let answer = match nature {
            Nature::Silent => return None,
            Nature::Honest => self.serve_honestly(from, to, request),
            Nature::Misleading | Nature::Slow => self.mislead(&request),
            Nature::Stale => self.serve_stale(from, to, request),
        };
        Some((answer, thinking))
    }

    fn serve_honestly(&mut self, from: Peer, to: Peer, request: Request) -> Answer {
        let date = self.clock.date();
        match request {
            Request::Nearest(target) => Answer { closer: self.closer(to, from, target), ..Answer::default() },
            Request::Get(record) => {
                let (name, point) = (self.records[record].name.clone(), self.records[record].point);
                let value = self.nodes[to.number()].store.get(date, &name).map(Arc::from);
                Answer { closer: self.closer(to, from, point), value, is_refusal: false }
            }
            Request::Put { record, value, is_handed } => {
                let address = self.peers.address(from);
                let is_member = self.nodes[to.number()].table.contains(&self.peers, from);
                let origin = if is_member { Origin::Member(address) } else { Origin::Peer(address) };
                let outcome = self.store(to, origin, record, &value);
                let is_older = matches!(outcome, Err(Refusal::OldSequence { .. }));
                if outcome.is_ok() || is_older {
                    self.arrived(to, record, &value, is_handed.then_some(from), outcome.is_ok());
                }
                Answer { is_refusal: outcome.is_err(), ..Answer::default() }
            }
        }
    }

    /// Offers a value to the real store of a node, which checks all that it checks anywhere.
    pub(super) fn store(
        &mut self,
        at: Peer,
        origin: Origin,
        record: usize,
        value: &[u8],
    ) -> Result<Admission, Refusal> {
        let (date, name) = (self.clock.date(), self.records[record].name.clone());
        let region = self.region(at);
        let node = self.node(at);
        node.store.set_region(region);
        let outcome = node.store.put(date, origin, &name, value);
        if outcome.is_ok() {
            node.holds.insert(record);
        }
        outcome
    }

    /// How far the region of a node reaches, as its driver tells the store.
    fn region(&self, node: Peer) -> Option<[u8; 32]> {
        let own = self.peers.point(node);
        let nearest = self.nodes[node.number()].table.nearest(&self.peers, own, limits::REGION);
        let last = nearest.get(limits::REGION - 1)?;
        Some(lookup::distance(&own.whole(), &self.peers.point(*last).whole()))
    }

    fn mislead(&self, request: &Request) -> Answer {
        let target = match request {
            Request::Nearest(target) => *target,
            Request::Get(record) => self.records[*record].point,
            Request::Put { .. } => return Answer::default(),
        };
        Answer { closer: accomplices(&self.peers, &self.hostile, target, limits::K), ..Answer::default() }
    }

    fn serve_stale(&mut self, from: Peer, to: Peer, request: Request) -> Answer {
        match request {
            Request::Put { record, value, .. } => {
                self.node(to).first.entry(record).or_insert(value);
                Answer::default()
            }
            Request::Get(record) => {
                let (value, point) = (self.node(to).first.get(&record).cloned(), self.records[record].point);
                Answer { closer: self.closer(to, from, point), value, is_refusal: false }
            }
            Request::Nearest(target) => Answer { closer: self.closer(to, from, target), ..Answer::default() },
        }
    }

    /// Whom a node knows near to a point, but for who asks.
    fn closer(&self, node: Peer, asker: Peer, target: Point) -> Vec<Peer> {
        let mut closer = self.nodes[node.number()].table.nearest(&self.peers, target, limits::K + 1);
        closer.retain(|peer| *peer != asker);
        closer.truncate(limits::K);
        closer
    }
}
