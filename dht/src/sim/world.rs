// SPDX-License-Identifier: GPL-2.0-or-later
//! The whole of a model: nodes, records, the network between them, and the loop that lets time pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::choices::Choices;
use super::clock::Clock;
use super::dice::Dice;
use super::hostile::Nature;
use super::links::Links;
use super::node::Node;
use super::operation::{Got, Operation, Put};
use super::peers::{Peer, Peers};
use super::people::Record;
use super::progress::Progress;
use super::table::{self, Table};
use super::timing::Timing;
use super::traffic::{Intervals, Kind, Traffic};
use super::{SimError, limits};
use crate::record::CertificateCache;

/// What a node asks another.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// Who is near to a point.
    Nearest(super::peers::Point),
    /// The value of a record, and who is near to it.
    Get(usize),
    /// To store a value, by its owner or handed on.
    Put { record: usize, value: Arc<[u8]>, is_handed: bool },
}

/// What the other answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) closer: Vec<Peer>,
    pub(super) value: Option<Arc<[u8]>>,
    /// A value was offered, and is not taken.
    pub(super) is_refusal: bool,
}

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    Request {
        call: u64,
        from: Peer,
        to: Peer,
        request: Request,
    },
    Answer {
        call: u64,
        answer: Answer,
    },
    Timeout {
        call: u64,
    },
    Deadline {
        operation: u64,
    },
    /// A reader has waited long enough for one more copy than it had.
    Impatient {
        operation: u64,
        copies: usize,
    },
    /// Somebody looks a record up.
    Get {
        record: usize,
    },
    /// An owner signs its record anew and publishes it, again and again.
    Renew {
        record: usize,
    },
    HandOver {
        node: Peer,
    },
    /// A connection has been silent for too long.
    Noticed {
        node: Peer,
        lost: Peer,
        /// Whether the connection stood; otherwise it could not be made.
        stood: bool,
    },
    Redial {
        node: Peer,
        peer: Peer,
    },
    /// A connection that one has dialled stands.
    Meet {
        node: Peer,
        peer: Peer,
    },
    /// The second walk to the own place after somebody was reached again.
    WalkAgain {
        node: Peer,
    },
    /// The configured nodes that it does not know are dialled.
    Seek {
        node: Peer,
    },
    /// The walk through the routing table.
    Refresh {
        node: Peer,
    },
    /// The same, because few are known.
    Bootstrap {
        node: Peer,
    },
    /// One node leaves without a word, and a new one comes.
    Churn {
        pause: Duration,
    },
}

/// Who looks a record up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A node that serves, and may hold the record itself.
    Node,
    /// One that only asks, and knows whom a node by chance knows.
    Client,
}

/// On whose behalf a request was made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behalf {
    Operation(u64),
    HandOver {
        node: Peer,
        record: usize,
    },
    /// A PUT, whose publisher has chosen its nodes.
    Publish {
        put: u64,
    },
    /// One who was reached again is asked who is near to our place.
    Through {
        node: Peer,
    },
}

/// A request without answer so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) behalf: Behalf,
    pub(super) kind: Kind,
    pub(super) from: Peer,
    pub(super) to: Peer,
}

/// How a model is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) choices: Choices,
    pub(super) timing: Timing,
    /// Hostile nodes among them, in thousandths.
    pub(super) hostile: usize,
    /// Whether connections are followed.
    pub(super) connections: bool,
}

pub(super) struct World {
    pub(super) choices: Choices,
    pub(super) timing: Timing,
    pub(super) clock: Clock<Event>,
    pub(super) dice: Dice,
    pub(super) links: Links,
    pub(super) traffic: Traffic,
    pub(super) peers: Peers,
    pub(super) nodes: Vec<Node>,
    pub(super) hostile: Vec<Peer>,
    pub(super) records: Vec<Record>,
    pub(super) operations: BTreeMap<u64, Operation>,
    pub(super) puts: BTreeMap<u64, Put>,
    pub(super) calls: BTreeMap<u64, Call>,
    /// Records by their names.
    pub(super) names: BTreeMap<Vec<u8>, usize>,
    /// What stands for the beginning, to those who count from one moment to another; its value decides nothing.
    began: Instant,
    /// Operations and calls so far.
    pub(super) begun: u64,
    pub(super) gots: Vec<Got>,
    /// The readers' certificates: the real cache, which checks dates at each use.
    pub(super) certificates: CertificateCache,
    /// Who watches.
    progress: Arc<Progress>,
}

impl World {
    /// A network that has run for long, without records.
    pub(super) fn new(plan: &Plan, progress: &Arc<Progress>) -> Self {
        Self::with(plan, progress, |_, _| Vec::new())
    }

    /// The same with more hostile nodes at the places that `attack` chooses.
    pub(super) fn with(
        plan: &Plan,
        progress: &Arc<Progress>,
        attack: impl FnOnce(&mut Peers, &mut Dice) -> Vec<Peer>,
    ) -> Self {
        progress.begin();
        let Timing { keep_alive, identify, unused, .. } = plan.timing;
        let began = Instant::now();
        let mut dice = Dice::new(plan.seed);
        let mut peers = Peers::default();
        let mut nodes = Vec::new();
        for number in 0..plan.nodes {
            let peer = peers.add(&mut dice);
            // In equal parts by number, so that small networks have all of them.
            let is_hostile = dice.chance(plan.hostile);
            let nature = Nature::HOSTILE[number % Nature::HOSTILE.len()];
            let nature = if is_hostile { nature } else { Nature::Honest };
            nodes.push(Node::new(&peers, peer, nature, began));
        }
        for peer in attack(&mut peers, &mut dice) {
            nodes.push(Node::new(&peers, peer, Nature::Misleading, began));
        }
        let mut tables: Vec<Table> = (0..nodes.len()).map(|at| Table::new(peers.point(Peer::new(at)))).collect();
        table::settle(&peers, &mut tables, plan.choices.diversity, &mut dice);
        for (node, table) in nodes.iter_mut().zip(tables) {
            node.table = table;
        }
        let hostile = (0..nodes.len()).filter(|at| nodes[*at].nature != Nature::Honest).map(Peer::new).collect();
        Self {
            choices: plan.choices,
            timing: plan.timing,
            clock: Clock::new(),
            dice,
            links: Links::new(),
            traffic: Traffic::new(Intervals { keep_alive, identify, unused }, plan.connections),
            peers,
            nodes,
            hostile,
            records: Vec::new(),
            operations: BTreeMap::new(),
            puts: BTreeMap::new(),
            calls: BTreeMap::new(),
            names: BTreeMap::new(),
            began,
            begun: 0,
            gots: Vec::new(),
            certificates: CertificateCache::new(),
            progress: progress.clone(),
        }
    }

    /// Adds records and has their owners publish them, one after the other.
    pub(super) fn publish(&mut self, count: usize) -> Result<(), SimError> {
        for _ in 0..count {
            let record = Record::new(&mut self.dice, self.clock.date())?;
            self.add(record);
            self.put(self.records.len() - 1, None);
            self.run(limits::LOOKUP_PAUSE)?;
        }
        self.settle()
    }

    /// A record that is not published yet.
    pub(super) fn add(&mut self, record: Record) {
        self.names.insert(record.name.to_vec(), self.records.len());
        self.records.push(record);
    }

    /// The time, for engines that count from one moment to another.
    pub(super) fn instant(&self) -> Instant {
        self.began + self.clock.now()
    }

    /// Has all owners sign anew and publish: what was published before is outdated then.
    pub(super) fn renew(&mut self) -> Result<(), SimError> {
        // A store takes a change of a key every ten seconds.
        self.run(crate::limits::QUOTA_PERIOD)?;
        for record in 0..self.records.len() {
            self.records[record].sign(self.clock.date())?;
            self.put(record, None);
            self.run(limits::LOOKUP_PAUSE)?;
        }
        self.settle()
    }

    /// Looks up records by chance, from nodes by chance.
    pub(super) fn look_up(&mut self, count: usize) -> Result<Vec<Got>, SimError> {
        self.look_up_by(count, |_| Reader::Node)
    }

    /// The same, by readers of a certain kind each.
    pub(super) fn look_up_by(
        &mut self,
        count: usize,
        reader: impl Fn(&mut Dice) -> Reader,
    ) -> Result<Vec<Got>, SimError> {
        for _ in 0..count {
            let record = self.dice.below(self.records.len());
            let reader = reader(&mut self.dice);
            self.get(record, reader);
            self.run(limits::LOOKUP_PAUSE)?;
        }
        self.settle()?;
        Ok(std::mem::take(&mut self.gots))
    }

    /// Lets the longest operation end.
    pub(super) fn settle(&mut self) -> Result<(), SimError> {
        self.run(self.timing.query + self.timing.request)
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) -> Result<(), SimError> {
        let until = self.clock.now() + time;
        while let Some(event) = self.clock.next(until) {
            self.progress.at(self.clock.now());
            match event {
                Event::Request { call, from, to, request } => self.on_request(call, from, to, request),
                Event::Answer { call, answer } => self.on_answer(call, &answer),
                Event::Timeout { call } => self.on_timeout(call),
                Event::Deadline { operation } => self.on_deadline(operation),
                Event::Impatient { operation, copies } => self.on_impatient(operation, copies),
                Event::Get { record } => self.get(record, Reader::Node),
                Event::Renew { record } => self.on_renew(record)?,
                Event::HandOver { node } => self.hand_over(node),
                Event::Noticed { node, lost, stood } => self.on_noticed(node, lost, stood),
                Event::Redial { node, peer } => self.on_redial(node, peer),
                Event::Meet { node, peer } => self.on_meet(node, peer),
                Event::WalkAgain { node } => self.walk_again(node),
                Event::Seek { node } => self.seek(node),
                Event::Refresh { node } => self.refresh(node),
                Event::Bootstrap { node } => self.on_bootstrap(node),
                Event::Churn { pause } => self.churn(pause),
            }
        }
        Ok(())
    }

    /// A live honest node by chance, on one side if that is wanted.
    pub(super) fn anybody(&mut self, side: Option<bool>) -> Option<Peer> {
        let fits =
            |node: &Node| node.is_alive && node.nature == Nature::Honest && side.is_none_or(|side| node.side == side);
        // Nearly every throw finds one; a list of all is made when it does not.
        for _ in 0..limits::THROWS {
            let at = self.dice.below(self.nodes.len());
            if fits(&self.nodes[at]) {
                return Some(Peer::new(at));
            }
        }
        let all: Vec<Peer> = (0..self.nodes.len()).filter(|at| fits(&self.nodes[*at])).map(Peer::new).collect();
        self.dice.one(&all)
    }

    /// The live honest nodes that should hold a record.
    pub(super) fn should_hold(&self, record: usize) -> Vec<Peer> {
        let live = self.nodes.iter().enumerate().filter(|(_, node)| node.is_alive && node.nature == Nature::Honest);
        let live = live.map(|(at, _)| Peer::new(at)).collect();
        self.peers.nearest(live, self.records[record].point, limits::K)
    }

    pub(super) fn node(&mut self, peer: Peer) -> &mut Node {
        &mut self.nodes[peer.number()]
    }

    pub(super) fn is_alive(&self, peer: Peer) -> bool {
        self.nodes[peer.number()].is_alive
    }
}
