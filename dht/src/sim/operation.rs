// SPDX-License-Identifier: GPL-2.0-or-later
//! GETs, PUTs and walks at work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::limits;
use super::lookup::{Lookup, Step};
use super::peers::{Peer, Point};
use super::people::NETWORK;
use super::traffic::Kind;
use super::world::{Answer, Behalf, Event, Reader, Request, World};
use crate::lookup::{self, Candidate, News, Reading};
use crate::record::Class;
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
pub(super) enum Purpose {
    Get(Box<Get>),
    /// To find nodes for a PUT, and perhaps to learn how many nodes there are.
    Nearest {
        put: u64,
        is_sample: bool,
    },
    /// To become known there.
    Walk,
    /// A walk through the table: to the own place first, then to these points.
    Bootstrap(Option<Vec<Point>>),
}

#[derive(Debug)]
pub(super) struct Get {
    record: usize,
    /// The sequence that is the newest when the lookup begins.
    wanted: u64,
    /// What a node's reader makes of the copies.
    reading: Reading,
    /// Copies so far.
    copies: usize,
    /// Requests one after the other until the first valid value, and when it came.
    first: Option<(u32, Duration)>,
    /// How long it took until somebody else had given a valid value.
    heard: Option<Duration>,
}

/// A PUT, from the search for its nodes to their choice.
#[derive(Debug)]
pub(super) struct Put {
    node: Peer,
    record: usize,
    value: Arc<[u8]>,
    found: BTreeSet<Peer>,
    /// Lookups that still run, and whether the region's other quarters are among them or done.
    lookups: usize,
    is_spread: bool,
    /// How long each of them may take, and whether one was ended before it had found all.
    patience: Duration,
    is_cut_short: bool,
    /// Nodes chosen, and how many of them have not answered yet.
    chosen: BTreeSet<Peer>,
    asked: usize,
    /// Answers by which the value was taken, and by which it was not.
    stored: usize,
    refused: usize,
}

impl Put {
    fn new(node: Peer, record: usize, value: Arc<[u8]>, patience: Duration) -> Self {
        Self {
            node,
            record,
            value,
            found: BTreeSet::new(),
            lookups: 0,
            is_spread: false,
            patience,
            is_cut_short: false,
            chosen: BTreeSet::new(),
            asked: 0,
            stored: 0,
            refused: 0,
        }
    }

    /// Whether a second look with more time is worth it, as a node sees that.
    fn is_worth_another_look(&self, nodes: f64) -> bool {
        let is_first = self.patience < limits::PUT_LOOK_AGAIN;
        self.is_cut_short && is_first && lookup::is_worth_another_look(self.stored, self.refused, nodes)
    }
}

impl Operation {
    pub(super) fn kind(&self) -> Kind {
        match &self.purpose {
            Purpose::Get(_) => Kind::Get,
            Purpose::Nearest { .. } => Kind::Publish,
            Purpose::Walk | Purpose::Bootstrap(_) => Kind::Walk,
        }
    }
}

impl World {
    /// Looks a record up from a node by chance.
    pub(super) fn get(&mut self, record: usize, reader: Reader) {
        let Some(node) = self.anybody(None) else { return };
        let put = self.timing.put_lookup + self.timing.request;
        let wanted = self.records[record].wanted(self.clock.date(), put);
        let point = self.records[record].point;
        let reading = Reading::new(NETWORK, self.records[record].key);
        let get = Get { record, wanted, reading, copies: 0, first: None, heard: None };
        let mut operation = self.operation(node, point, Purpose::Get(Box::new(get)));
        let (date, name) = (self.clock.date(), self.records[record].name.clone());
        let id = self.begin(self.timing.get);
        if reader == Reader::Node
            && let Some(own) = self.nodes[node.number()].store.get(date, &name)
        {
            self.on_value(id, &mut operation, node, &own, 0);
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
        let home = self.records[record].home.filter(|home| {
            let node = &self.nodes[home.number()];
            node.is_alive && side.is_none_or(|side| node.side == side)
        });
        let Some(node) = home.or_else(|| self.anybody(side)) else { return };
        // An owner whose node has died has another one from then on.
        if self.records[record].home.is_none_or(|home| !self.is_alive(home)) {
            self.records[record].home = Some(node);
        }
        // A node stores what it publishes, as the real one does.
        // It may know better, as one on the other side of a cut that has healed: the others are asked all the same.
        let _ = self.store(node, Origin::Own, record, &value);
        self.begun += 1;
        let id = self.begun;
        // Who has looked nowhere else yet looks at other places too, to know how large the network is.
        let missing = crate::limits::SIZE_SAMPLES_LEAST.saturating_sub(self.nodes[node.number()].size.samples());
        let samples = if self.choices.region_put { missing } else { 0 };
        self.puts.insert(id, Put::new(node, record, value, self.timing.put_lookup));
        self.look_for_nodes(id, node, self.records[record].point, true);
        for _ in 0..samples {
            let anywhere = Point(self.dice.wide());
            self.look_for_nodes(id, node, anywhere, true);
        }
    }

    fn look_for_nodes(&mut self, put: u64, node: Peer, target: Point, is_sample: bool) {
        let Some(work) = self.puts.get_mut(&put) else { return };
        work.lookups += 1;
        let patience = work.patience;
        let operation = self.operation(node, target, Purpose::Nearest { put, is_sample });
        let id = self.begin(patience);
        self.proceed(id, operation);
    }

    /// Looks up a point.
    pub(super) fn look_for(&mut self, node: Peer, target: Point, purpose: Purpose) {
        let operation = self.operation(node, target, purpose);
        let id = self.begin(self.timing.query);
        self.proceed(id, operation);
    }

    fn operation(&self, node: Peer, target: Point, purpose: Purpose) -> Operation {
        let known = self.nodes[node.number()].table.nearest(&self.peers, target, limits::K);
        let lookup = Lookup::new(&self.choices, &self.peers, target, limits::K, &known);
        Operation { node, began: self.clock.now(), messages: 0, lookup, purpose }
    }

    /// The number of an operation that may take so long.
    fn begin(&mut self, limit: Duration) -> u64 {
        self.begun += 1;
        self.clock.limit(limit, Event::Deadline { operation: self.begun });
        self.begun
    }

    /// Somebody has answered, or has not.
    pub(super) fn advance(&mut self, id: u64, peer: Peer, answer: Option<&Answer>) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        match answer {
            None => operation.lookup.failed(&self.peers, peer),
            Some(answer) => {
                operation.messages += 1;
                // Nobody is told of itself.
                let closer: Vec<Peer> = answer.closer.iter().copied().filter(|told| *told != operation.node).collect();
                operation.lookup.answered(&self.peers, peer, &closer);
                if let Some(value) = &answer.value {
                    let round = operation.lookup.round(&self.peers, peer);
                    self.on_value(id, &mut operation, peer, value, round);
                }
            }
        }
        self.proceed(id, operation);
    }

    pub(super) fn on_deadline(&mut self, id: u64) {
        let Some(operation) = self.operations.remove(&id) else { return };
        if let Purpose::Nearest { put, .. } = &operation.purpose
            && let Some(work) = self.puts.get_mut(put)
        {
            work.is_cut_short = true;
        }
        self.finish(operation);
    }

    fn proceed(&mut self, id: u64, mut operation: Operation) {
        // Who has died asks no more.
        if !self.is_alive(operation.node) {
            return;
        }
        if matches!(&operation.purpose, Purpose::Get(get) if get.reading.is_over()) {
            return self.finish(operation);
        }
        loop {
            match operation.lookup.next() {
                Step::Ask(peer) => {
                    operation.messages += 1;
                    let request = match &operation.purpose {
                        Purpose::Get(get) => Request::Get(get.record),
                        _ => Request::Nearest(operation.lookup.target()),
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
                Step::Done => return self.finish(operation),
            }
        }
    }

    /// First valid, then newest: the first valid value can be used at once; reading goes on until the reader has enough, to the
    /// end, or until the next copy takes longer than its patience.
    fn on_value(&mut self, id: u64, operation: &mut Operation, from: Peer, value: &[u8], round: u32) {
        let (now, date, node) = (self.clock.now(), self.clock.date(), operation.node);
        let Purpose::Get(get) = &mut operation.purpose else { return };
        let origin = if from == node { Origin::Own } else { Origin::Peer(self.peers.address(from)) };
        get.copies += 1;
        if get.reading.take(date, origin, value.to_vec(), &mut self.certificates) == News::First {
            get.first = Some((round, now));
        }
        if get.heard.is_none() && get.reading.is_witnessed() {
            get.heard = Some(now - operation.began);
        }
        if let Some(took) = get.heard {
            self.clock.after(self.timing.further.max(took), Event::Impatient { operation: id, copies: get.copies });
        }
    }

    /// A reader has waited for one more copy for as long as it does.
    pub(super) fn on_impatient(&mut self, id: u64, copies: usize) {
        let waits = self.operations.get(&id).map(|operation| &operation.purpose);
        if matches!(waits, Some(Purpose::Get(get)) if get.copies == copies) {
            self.on_deadline(id);
        }
    }

    fn finish(&mut self, operation: Operation) {
        let Operation { node, began, messages, lookup, purpose } = operation;
        match purpose {
            Purpose::Get(get) => self.read(&get, messages, began),
            Purpose::Nearest { put, is_sample } => {
                let found = lookup.found();
                if is_sample {
                    let places: Vec<_> = found.iter().map(|peer| self.peers.point(*peer).whole()).collect();
                    self.node(node).size.learn(&lookup.target().whole(), &places);
                }
                let Some(work) = self.puts.get_mut(&put) else { return };
                work.found.extend(found);
                work.lookups -= 1;
                if work.lookups == 0 {
                    self.on_all_found(put);
                }
            }
            Purpose::Walk => {}
            Purpose::Bootstrap(left) => self.bootstrap_on(node, left),
        }
    }

    /// Chooses the nodes that shall store, or looks behind those that crowd round the key: as a node does.
    fn on_all_found(&mut self, id: u64) {
        let Some(put) = self.puts.get_mut(&id) else { return };
        let (node, point) = (put.node, self.records[put.record].point);
        let radius = if self.choices.region_put { self.nodes[node.number()].size.radius() } else { 0.0 };
        let places: Vec<_> = put.found.iter().map(|peer| self.peers.point(*peer).whole()).collect();
        if !put.is_spread && lookup::leaves_room(&point.whole(), radius, &places) {
            put.is_spread = true;
            for key in lookup::neighbours(&point.whole(), radius) {
                self.look_for_nodes(id, node, Point::of(&Sha256::digest(&key).into()), false);
            }
        }
        if self.puts.get(&id).is_none_or(|put| put.lookups > 0) {
            return;
        }
        let Some(put) = self.puts.get_mut(&id) else { return };
        let candidates = std::mem::take(&mut put.found).into_iter().map(|peer| {
            let address = self.choices.diversity.then(|| self.peers.address(peer));
            Candidate { place: self.peers.point(peer).whole(), address, node: peer }
        });
        let mut chosen = lookup::choose(&point.whole(), radius, candidates.collect());
        chosen.retain(|peer| put.chosen.insert(*peer));
        put.asked = chosen.len();
        let (record, value) = (put.record, put.value.clone());
        for peer in chosen {
            let request = Request::Put { record, value: value.clone(), is_handed: false };
            self.ask(Behalf::Publish { put: id }, node, peer, request);
        }
        self.end_put(id);
    }

    /// One of those that shall store has answered, or has not.
    pub(super) fn published(&mut self, id: u64, taken: Option<bool>) {
        let Some(put) = self.puts.get_mut(&id) else { return };
        put.asked = put.asked.saturating_sub(1);
        put.stored += usize::from(taken == Some(true));
        put.refused += usize::from(taken == Some(false));
        self.end_put(id);
    }

    /// When all have answered: looks once more if time was too short, or ends.
    fn end_put(&mut self, id: u64) {
        let Some(put) = self.puts.get_mut(&id).filter(|put| put.asked == 0 && put.lookups == 0) else { return };
        let node = &self.nodes[put.node.number()];
        if !node.is_alive || !put.is_worth_another_look(node.size.nodes()) {
            self.puts.remove(&id);
            return;
        }
        (put.patience, put.is_cut_short, put.is_spread) = (limits::PUT_LOOK_AGAIN, false, false);
        let (node, point) = (put.node, self.records[put.record].point);
        self.look_for_nodes(id, node, point, true);
    }

    /// What the values of a GET amount to, by the resolver's own rule.
    fn read(&mut self, get: &Get, messages: u64, began: Duration) {
        let key = &self.records[get.record].key;
        let date = self.clock.date();
        let selection = newest(NETWORK, key, Class::Mapping, &get.reading.values(), date, &mut self.certificates);
        let is_right = matches!(&selection, Selection::Newest(verified)
            if verified.bundle.section(Class::Mapping).is_some_and(|one| one.version.sequence >= get.wanted));
        // Of an owner that contradicts itself that is the truth.
        let is_right =
            is_right || matches!(selection, Selection::Conflict) && self.records[get.record].is_contradiction;
        let (rounds, at) = get.first.unwrap_or((0, self.clock.now()));
        self.gots.push(Got { is_right, rounds, messages, elapsed: at - began });
    }
}
