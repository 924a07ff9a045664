// SPDX-License-Identifier: GPL-2.0-or-later
//! One node: a modelled routing table round the real store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::hostile::Nature;
use super::peers::{Peer, Peers};
use super::people::NETWORK;
use super::table::Table;
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
    /// To whom which version of them was handed on.
    pub(super) handed: BTreeMap<usize, Handed>,
    pub(super) is_handing: bool,
    /// Peers lost, to be dialled again.
    pub(super) lost: BTreeSet<Peer>,
    /// When it last looked up its own place, and whom it knew then.
    pub(super) walked: Duration,
    pub(super) known: usize,
    /// What a node that answers with old values was told first.
    pub(super) first: BTreeMap<usize, Arc<[u8]>>,
}

/// Who was given a value by this node.
#[derive(Debug, Default)]
pub(super) struct Handed {
    pub(super) value: Arc<[u8]>,
    pub(super) to: BTreeSet<Peer>,
}

impl Node {
    pub(super) fn new(peers: &Peers, peer: Peer, nature: Nature) -> Self {
        let point = peers.point(peer);
        Self {
            is_alive: true,
            nature,
            side: false,
            table: Table::new(point),
            store: Store::new(NETWORK, point.whole()),
            holds: BTreeSet::new(),
            handed: BTreeMap::new(),
            is_handing: false,
            lost: BTreeSet::new(),
            walked: Duration::ZERO,
            known: 0,
            first: BTreeMap::new(),
        }
    }
}
