// SPDX-License-Identifier: GPL-2.0-or-later
//! A network of stores in one process: what the Kademlia node does over sockets, done by function calls.
//!
//! It has the node's shape: `get` gives all values seen, unverified; `put` says whether they were taken. Nodes can be
//! killed, and one can lie.

use std::collections::BTreeMap;
use std::time::SystemTime;

use cgeid::Network as Prefix;
use sha2::{Digest, Sha256};
use wire::address::EidPrefix;

use crate::error::Refusal;
use crate::record::RecordKey;
use crate::resolve::{Outcome, Resolver};
use crate::store::{Admission, Origin, Store};

/// Nodes, all of which know all others.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Node>,
    replicas: usize,
}

/// One node.
#[derive(Debug)]
struct Node {
    here: [u8; 32],
    alive: bool,
    store: Store,
    /// What it says instead of the truth.
    lies: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Network {
    /// `nodes` nodes of the network `prefix`; a value is put on the `replicas` nearest.
    pub fn new(prefix: Prefix, nodes: usize, replicas: usize) -> Self {
        let node = |number: usize| {
            let here: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
            Node { here, alive: true, store: Store::new(prefix, here), lies: BTreeMap::new() }
        };
        Self { nodes: (0..nodes).map(node).collect(), replicas }
    }

    /// Offers a value to the nearest live nodes.
    ///
    /// # Errors
    /// The first refusal, if no node took it.
    pub fn put(&mut self, now: SystemTime, key: &RecordKey, value: &[u8]) -> Result<Admission, Refusal> {
        let name = key.encode();
        let mut outcome = None;
        for at in self.nearest(key) {
            match (self.nodes[at].store.put(now, Origin::Unknown, &name, value), &outcome) {
                (Ok(admission), None | Some(Err(_))) => outcome = Some(Ok(admission)),
                (Err(refusal), None) => outcome = Some(Err(refusal)),
                _ => {}
            }
        }
        outcome.unwrap_or(Err(Refusal::Full))
    }

    /// All values that the nearest live nodes give for a key, unverified.
    pub fn get(&self, now: SystemTime, key: &RecordKey) -> Vec<Vec<u8>> {
        let name = key.encode();
        let mut values: Vec<Vec<u8>> = Vec::new();
        for at in self.nearest(key) {
            let node = &self.nodes[at];
            let value = node.lies.get(&name).cloned().or_else(|| node.store.get(now, &name));
            values.extend(value.filter(|value| !values.contains(value)));
        }
        values
    }

    /// Resolves an EID by GETs in this network.
    pub fn resolve(&self, resolver: &mut Resolver, now: SystemTime, eid: EidPrefix) -> (Outcome, usize) {
        resolver.resolve(eid, now, |key| self.get(now, key))
    }

    /// Switches a node off; what it holds is lost to the others. Numbers that do not exist are ignored.
    pub fn kill(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.alive = false;
        }
    }

    /// Makes a node answer GETs of a key with a value of our choice.
    pub fn lie(&mut self, node: usize, key: &RecordKey, value: Vec<u8>) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.lies.insert(key.encode(), value);
        }
    }

    /// The store of a node.
    pub fn store(&mut self, node: usize) -> Option<&mut Store> {
        self.nodes.get_mut(node).map(|node| &mut node.store)
    }

    /// Lets every node drop what has expired.
    pub fn expire(&mut self, now: SystemTime) {
        for node in &mut self.nodes {
            node.store.expire(now);
        }
    }

    /// The live nodes nearest to a key, nearest first.
    pub fn nearest(&self, key: &RecordKey) -> Vec<usize> {
        let point = key.point();
        let distance = |node: &Node| -> Vec<u8> { node.here.iter().zip(point).map(|(a, b)| a ^ b).collect() };
        let mut live: Vec<usize> = (0..self.nodes.len()).filter(|&at| self.nodes[at].alive).collect();
        live.sort_by_key(|&at| distance(&self.nodes[at]));
        live.truncate(self.replicas);
        live
    }
}
