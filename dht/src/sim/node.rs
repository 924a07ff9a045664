// SPDX-License-Identifier: GPL-2.0-or-later
//! One node: a modelled routing table round the real store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hostile::Nature;
use super::peers::{Peer, Peers};
use super::people::NETWORK;
use super::table::Table;
use crate::handover::Handover;
use crate::lookup::NetworkSize;
use crate::store::Store;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) is_alive: bool,
    pub(super) nature: Nature,
    /// Which side of a cut it is on.
    pub(super) side: bool,
    pub(super) table: Table,
    pub(super) store: Store,
    /// Records that the store has taken.
    pub(super) holds: BTreeSet<usize>,
    /// How large it takes the network to be.
    pub(super) size: NetworkSize,
    /// What is handed on.
    pub(super) engine: Handover,
    /// Who is in no table, and is given something all the same.
    pub(super) guests: BTreeMap<[u8; 32], Peer>,
    /// When the engine was last told of the table, and whether that has changed since.
    pub(super) told: Option<Duration>,
    pub(super) is_outdated: bool,
    /// When the engine is looked at next.
    pub(super) wakes_at: Option<Duration>,
    /// Peers lost, to be dialled again.
    pub(super) lost: BTreeMap<Peer, Lost>,
    /// When it last looked whether its neighbours are there.
    pub(super) looked: Option<Duration>,
    /// When it last walked to its own place because somebody was reached again.
    pub(super) walked: Option<Duration>,
    /// Whether it walks through its table, and when it does so next because few are known.
    pub(super) is_bootstrapping: bool,
    pub(super) bootstrap_at: Option<Duration>,
    /// What a node that answers with old values was told first.
    pub(super) first: BTreeMap<usize, Arc<[u8]>>,
}

/// A peer that was lost: when, and whether its connection stood. One that could not be connected is soon forgotten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    pub(super) at: Duration,
    pub(super) stood: bool,
}

impl Node {
    pub(super) fn new(peers: &Peers, peer: Peer, nature: Nature, now: Instant) -> Self {
        let point = peers.point(peer);
        Self {
            is_alive: true,
            nature,
            side: false,
            table: Table::new(point),
            store: Store::new(NETWORK, point.whole()),
            holds: BTreeSet::new(),
            size: NetworkSize::default(),
            engine: Handover::new(point.whole(), now),
            guests: BTreeMap::new(),
            told: None,
            is_outdated: true,
            wakes_at: None,
            lost: BTreeMap::new(),
            looked: None,
            walked: None,
            is_bootstrapping: false,
            bootstrap_at: None,
            first: BTreeMap::new(),
        }
    }
}
