// SPDX-License-Identifier: GPL-2.0-or-later
//! A later key for a running node. The key is the node's name in the DHT and its place there, so that nothing of the swarm can
//! stay: the node takes leave as at its end, and begins anew in the same thread with the same store, sockets and handles.

use std::time::SystemTime;

use cgeid::Cn;
use futures::StreamExt as _;
use futures::channel::oneshot as reply;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::addresses::socket;
use super::admission::Admission;
use super::driver::{Command, Driver, Ends};
use super::flood::Turned;
use super::requests::Parked;
use super::{Certified, Counters, Held, NodeConfig, NodeError, PeerSet, Reason, Records, Role};
use crate::lookup::NetworkSize;
use crate::shell::limits;
use crate::store::{Origin, Standing};

/// A later key.
pub(super) struct Renewal {
    pub(super) seed: Zeroizing<[u8; 32]>,
    pub(super) certified: Certified,
    pub(super) done: reply::Sender<Result<PeerId, NodeError>>,
}

/// Why a node's loop has ended.
pub(super) enum End {
    Stopped(Option<reply::Sender<()>>),
    Renewed(Renewal),
}

/// What outlives a key, beside the store.
struct Carried {
    counters: Counters,
    store_counters: Counters,
    turned: Turned,
    size: NetworkSize,
    admission: Admission,
    parked: Vec<Parked>,
    /// Who was connected, and where.
    peers: Vec<(PeerId, Multiaddr)>,
}

/// The life of a node, under one key after the other.
pub(super) async fn live(mut config: NodeConfig, records: Box<dyn Records>, ends: Ends) {
    let ready = ends.ready_tx.clone();
    let begun = Driver::new(&config, records, ends).and_then(|mut driver| driver.listen(&config).map(|()| driver));
    let mut driver = match begun {
        Ok(driver) => driver,
        Err(error) => {
            // If the caller has gone, nobody wants the node.
            let _ = ready.send(Err(error));
            return;
        }
    };
    driver.begin().await;
    loop {
        let Renewal { seed, certified, done } = match driver.run().await {
            End::Stopped(done) => {
                tracing::info!("DHT node stopped");
                // Whoever asked may not wait for the answer.
                done.map(|done| done.send(()));
                return;
            }
            End::Renewed(renewal) => renewal,
        };
        (config.seed, config.certified) = (seed, Some(certified));
        driver = match again(driver, &mut config).await {
            Some(driver) => driver,
            None => return,
        };
        driver.counters.keys_renewed += 1;
        driver.begin().await;
        let _ = done.send(Ok(*driver.swarm.local_peer_id()));
    }
}

/// The node under the key that the configuration has now.
async fn again(mut old: Driver, config: &mut NodeConfig) -> Option<Driver> {
    let present = old.present();
    let (mut records, mut ends, carried) = apart(old, present);
    // Where others know the node to be, it shall be found, also at a port that was any at its start.
    if let Some(port) = same_port(&ends.listening_tx.borrow()) {
        config.port = port;
    }
    ends.listening_tx.send_replace(Vec::new());
    ends.peers_tx.send_modify(|PeerSet { peers, changes }| (*peers, *changes) = (0, *changes + 1));
    records.move_to(config.place());
    let mut waiting = Vec::new();
    for attempt in 0_u32.. {
        let driver =
            Driver::new(config, records, ends).inspect_err(|error| tracing::error!(%error, "DHT node stopped"));
        let mut driver = driver.ok()?;
        driver.ends.id_tx.send_replace(*driver.swarm.local_peer_id());
        let error = match driver.listen(config) {
            Ok(()) => {
                driver.take_over(carried);
                waiting.into_iter().for_each(|command| driver.on_command(command));
                return Some(driver);
            }
            Err(error) => error,
        };
        if attempt == limits::RENEW_SILENT {
            tracing::warn!(%error, "the DHT node has its new key and no socket yet; it tries on");
        }
        (records, ends, _) = apart(driver, Vec::new());
        if !pause(&mut ends, &mut waiting).await {
            return None;
        }
    }
    None
}

/// Waits until the sockets may be free; whether the node is to go on. What is asked of it meanwhile waits as well.
async fn pause(ends: &mut Ends, waiting: &mut Vec<Command>) -> bool {
    let until = Instant::now() + limits::RENEW_RETRY;
    loop {
        match tokio::time::timeout_at(until, ends.commands_rx.recv()).await {
            Err(_) => return true,
            Ok(Some(Command::Shutdown(done))) => {
                let _ = done.send(());
                return false;
            }
            Ok(None) => return false,
            // Beyond the bound it is dropped, and whoever asked is told that there is no node.
            Ok(Some(command)) => waiting.extend((waiting.len() < limits::COMMANDS).then_some(command)),
        }
    }
}

/// Takes a node apart; its sockets and connections end here.
fn apart(mut driver: Driver, peers: Vec<(PeerId, Multiaddr)>) -> (Box<dyn Records>, Ends, Carried) {
    let turned = driver.swarm.behaviour().flood.turned();
    let store = driver.kad().store_mut();
    let (records, store_counters) = (std::mem::replace(&mut store.records, Box::new(NoRecords)), store.counters);
    let Driver { counters, size, admission, parked, ends, .. } = driver;
    (records, ends, Carried { counters, store_counters, turned, size, admission, parked, peers })
}

/// The port, if it is the same one everywhere.
fn same_port(listening: &[Multiaddr]) -> Option<u16> {
    let mut ports = listening.iter().filter_map(socket).map(|(_, port)| port);
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}

impl Driver {
    /// Takes a later key, unless it is the one in use, or would make a client of a server.
    pub(super) fn on_renewal(&mut self, renewal: Renewal) -> Option<Renewal> {
        let own = *self.swarm.local_peer_id();
        if self.admission.is_own_key(&renewal.certified) {
            let _ = renewal.done.send(Ok(own));
            return None;
        }
        let is_fit = self.role == Role::Client || self.admission.would_serve(&renewal.certified);
        if !is_fit || !self.admission.is_later(&renewal.certified) {
            let _ = renewal.done.send(Err(NodeError::Unfit));
            return None;
        }
        tracing::info!(epoch = renewal.certified.epoch, "the DHT node goes on under a later key");
        Some(renewal)
    }

    /// Finishes what was begun. New commands wait in their channel.
    pub(super) async fn drain(&mut self) {
        let until = Instant::now() + limits::RENEW_DRAIN;
        while self.queries.len() > 0 && Instant::now() < until {
            self.on_time(std::time::Instant::now());
            let wake = Instant::from_std(self.next_deadline()).min(until);
            if let Ok(event) = tokio::time::timeout_at(wake, self.swarm.select_next_some()).await {
                self.on_event(event);
            }
        }
    }

    fn take_over(&mut self, carried: Carried) {
        let Carried { counters, store_counters, turned, size, admission, parked, peers } = carried;
        (self.counters, self.size, self.parked) = (counters, size, parked);
        self.kad().store_mut().counters = store_counters;
        self.swarm.behaviour_mut().flood.begin_at(turned);
        self.admission.take_over(admission);
        let now = std::time::Instant::now();
        for (_, address) in peers.iter().take(limits::KEPT_PEERS) {
            self.redial.add(now, address, Some(limits::KEPT_ATTEMPTS));
        }
    }
}

/// In the place of records that were taken away.
struct NoRecords;

impl Records for NoRecords {
    fn get(&self, _: SystemTime, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn put(&mut self, _: SystemTime, _: Origin, _: &[u8], _: &[u8]) -> Result<(), Reason> {
        Err(Reason { name: "gone", text: "the store is elsewhere".to_owned() })
    }

    fn housekeep(&mut self, _: SystemTime) {}

    fn held(&self) -> Held {
        Held::default()
    }

    fn standing(&self, _: Cn) -> Standing {
        Standing::default()
    }
}
