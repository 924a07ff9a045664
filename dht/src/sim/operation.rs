// SPDX-License-Identifier: GPL-2.0-or-later
//! GETs, PUTs and walks at work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::choices;
use super::limits;
use super::lookup::{Lookup, Step};
use super::peers::{Peer, Point};
use super::people::NETWORK;
use super::traffic::Kind;
use super::world::{Answer, Behalf, Event, Request, World};
use crate::block::Block;
use crate::record::{Class, verify};
use crate::resolve::{Selection, newest};
use crate::store::Origin;

/// How a GET ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Got {
    /// Whether the newest statement of the owner was found.
    pub(super) is_right: bool,
    /// Requests one after the other until the first valid value; 0 when the node had it.
    pub(super) rounds: u32,
    /// Requests and answers.
    pub(super) messages: u64,
    /// Until the first valid value, or until the end without one.
    pub(super) elapsed: Duration,
}

/// A lookup, and what it is for.
#[derive(Debug)]
pub(super) struct Operation {
    node: Peer,
    began: Duration,
    messages: u64,
    lookup: Lookup,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    Get(Reading),
    /// To find who shall store a value; `asked` once they were found.
    Put {
        record: usize,
        value: Arc<[u8]>,
        asked: bool,
    },
    Walk,
}

#[derive(Debug)]
struct Reading {
    record: usize,
    /// The sequence that is the newest when the lookup begins.
    wanted: u64,
    /// Different values, and whether they are valid.
    values: Vec<(Arc<[u8]>, bool)>,
    /// Which Blocks gave a valid one; the own copy is nobody's word.
    blocks: BTreeSet<Block>,
    /// Requests one after the other until the first valid value, and when it came.
    first: Option<(u32, Duration)>,
    is_wide: bool,
}

impl Operation {
    pub(super) fn kind(&self) -> Kind {
        match &self.purpose {
            Purpose::Get(_) => Kind::Get,
            Purpose::Put { .. } => Kind::Publish,
            Purpose::Walk => Kind::Walk,
        }
    }
}

impl World {
    /// Looks a record up from a node by chance.
    pub(super) fn get(&mut self, record: usize) {
        let Some(node) = self.anybody(None) else { return };
        let put = self.timing.put_lookup + self.timing.request;
        let wanted = self.records[record].wanted(self.clock.date(), put);
        let point = self.records[record].point;
        let reading =
            Reading { record, wanted, values: Vec::new(), blocks: BTreeSet::new(), first: None, is_wide: false };
        let mut operation = self.operation(node, point, limits::K, None, Purpose::Get(reading));
        let (date, name) = (self.clock.date(), self.records[record].name.clone());
        let id = self.begin(self.timing.get);
        if let Some(own) = self.nodes[node.number()].store.get(date, &name) {
            self.on_value(&mut operation, node, &own.into(), 0);
        }
        self.proceed(id, operation);
    }

    /// Publishes what the owner of a record has signed last, by a node by chance, on one side if that is wanted.
    pub(super) fn put(&mut self, record: usize, side: Option<bool>) {
        let value = self.records[record].value.clone();
        self.put_value(record, value, side);
    }

    /// Publishes a value.
    pub(super) fn put_value(&mut self, record: usize, value: Arc<[u8]>, side: Option<bool>) {
        let Some(node) = self.anybody(side) else { return };
        // A node stores what it publishes, as the real one does.
        // It may know better, as one on the other side of a cut that has healed: the others are asked all the same.
        let _ = self.store(node, Origin::Own, record, &value);
        let width = if self.choices.region_put { limits::WIDE } else { limits::K };
        let purpose = Purpose::Put { record, value, asked: false };
        let operation = self.operation(node, self.records[record].point, width, None, purpose);
        let id = self.begin(self.timing.put_lookup);
        self.proceed(id, operation);
    }

    /// Looks up a point, to become known there; from one more peer if that is wanted.
    pub(super) fn walk(&mut self, node: Peer, target: Point, through: Option<Peer>) {
        let operation = self.operation(node, target, limits::K, through, Purpose::Walk);
        let id = self.begin(self.timing.query);
        self.proceed(id, operation);
    }

    fn operation(&self, node: Peer, target: Point, width: usize, through: Option<Peer>, purpose: Purpose) -> Operation {
        let mut known = self.nodes[node.number()].table.nearest(&self.peers, target, limits::K);
        known.extend(through);
        let lookup = Lookup::new(&self.choices, &self.peers, target, width, &known);
        Operation { node, began: self.clock.now(), messages: 0, lookup, purpose }
    }

    /// The number of an operation that may take so long.
    fn begin(&mut self, limit: Duration) -> u64 {
        self.begun += 1;
        self.clock.after(limit, Event::Deadline { operation: self.begun });
        self.begun
    }

    /// Somebody has answered, or has not.
    pub(super) fn advance(&mut self, id: u64, peer: Peer, answer: Option<&Answer>) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        if let Purpose::Put { asked: true, .. } = operation.purpose {
            self.operations.insert(id, operation);
            return;
        }
        match answer {
            None => operation.lookup.failed(&self.peers, peer),
            Some(answer) => {
                operation.messages += 1;
                // Nobody is told of itself.
                let closer: Vec<Peer> = answer.closer.iter().copied().filter(|told| *told != operation.node).collect();
                operation.lookup.answered(&self.peers, peer, &closer);
                if let Some(value) = &answer.value {
                    let round = operation.lookup.round(peer);
                    self.on_value(&mut operation, peer, value, round);
                }
            }
        }
        self.proceed(id, operation);
    }

    pub(super) fn on_deadline(&mut self, id: u64) {
        if let Some(operation) = self.operations.remove(&id) {
            self.finish(operation);
        }
    }

    fn proceed(&mut self, id: u64, mut operation: Operation) {
        // Who has died asks no more.
        if !self.is_alive(operation.node) {
            return;
        }
        if matches!(&operation.purpose, Purpose::Get(reading) if reading.blocks.len() >= limits::COPIES) {
            return self.finish(operation);
        }
        loop {
            match operation.lookup.next() {
                Step::Ask(peer) => {
                    operation.messages += 1;
                    let request = match &operation.purpose {
                        Purpose::Get(reading) => Request::Get(reading.record),
                        Purpose::Put { record, .. } => Request::Nearest(self.records[*record].point),
                        Purpose::Walk => Request::Nearest(operation.lookup.target()),
                    };
                    let node = operation.node;
                    // The traffic of a request is counted by its operation, which must be there.
                    self.operations.insert(id, operation);
                    self.ask(Behalf::Operation(id), node, peer, request);
                    let Some(again) = self.operations.remove(&id) else { return };
                    operation = again;
                }
                Step::Wait => {
                    self.operations.insert(id, operation);
                    return;
                }
                Step::Done => match &mut operation.purpose {
                    Purpose::Get(reading) if self.choices.wide_get && reading.first.is_none() && !reading.is_wide => {
                        reading.is_wide = true;
                        operation.lookup.widen(limits::WIDE);
                    }
                    _ => return self.finish(operation),
                },
            }
        }
    }

    /// First valid, then newest: the first valid value can be used at once; reading goes on until three Blocks have given
    /// one, or to the end.
    fn on_value(&mut self, operation: &mut Operation, from: Peer, value: &Arc<[u8]>, round: u32) {
        let node = operation.node;
        let Purpose::Get(reading) = &mut operation.purpose else { return };
        let known = reading.values.iter().find(|(seen, _)| seen == value).map(|(_, valid)| *valid);
        let is_valid = known.unwrap_or_else(|| {
            // The same octets have the same verdict within one lookup: they are verified once in it.
            let key = &self.records[reading.record].key;
            let is_valid = verify(NETWORK, key, value, self.clock.date(), &mut self.certificates).is_ok();
            reading.values.push((value.clone(), is_valid));
            is_valid
        });
        if !is_valid {
            return;
        }
        if from != node {
            reading.blocks.insert(self.peers.block(from));
        }
        reading.first.get_or_insert((round, self.clock.now()));
    }

    fn finish(&mut self, operation: Operation) {
        let Operation { node, began, messages, lookup, purpose } = operation;
        match purpose {
            Purpose::Get(reading) => self.read(&reading, messages, began),
            Purpose::Put { record, value, asked: false } => {
                let found = lookup.found(&self.peers);
                let own = self.peers.point(node);
                let neighbours = self.nodes[node.number()].table.nearest(&self.peers, own, limits::K);
                let radius = choices::radius(&self.peers, own, &neighbours);
                let chosen = choices::chosen_for_put(&self.choices, &self.peers, lookup.target(), radius, found);
                let purpose = Purpose::Put { record, value: value.clone(), asked: true };
                let id = self.begin(self.timing.request);
                self.operations.insert(id, Operation { node, began, messages, lookup, purpose });
                for peer in chosen {
                    self.ask(
                        Behalf::Operation(id),
                        node,
                        peer,
                        Request::Put { record, value: value.clone(), is_handed: false },
                    );
                }
            }
            Purpose::Put { .. } | Purpose::Walk => {}
        }
    }

    /// What the values of a GET amount to, by the resolver's own rule.
    fn read(&mut self, reading: &Reading, messages: u64, began: Duration) {
        let values: Vec<Vec<u8>> = reading.values.iter().map(|(value, _)| value.to_vec()).collect();
        let key = &self.records[reading.record].key;
        let date = self.clock.date();
        let selection = newest(NETWORK, key, Class::Mapping, &values, date, &mut self.certificates);
        let is_right = matches!(&selection, Selection::Newest(verified)
            if verified.bundle.section(Class::Mapping).is_some_and(|one| one.version.sequence >= reading.wanted));
        // Of an owner that contradicts itself that is the truth.
        let is_right =
            is_right || matches!(selection, Selection::Conflict) && self.records[reading.record].is_contradiction;
        let (rounds, at) = reading.first.unwrap_or((0, self.clock.now()));
        self.gots.push(Got { is_right, rounds, messages, elapsed: at - began });
    }
}
