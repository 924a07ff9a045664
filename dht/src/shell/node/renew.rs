// SPDX-License-Identifier: GPL-2.0-or-later
//! A later key for a running node. The key is the node's name in the DHT and its place there, so that nothing of the swarm can
//! stay: the node takes leave as at its end, and begins anew in the same thread with the same store, sockets and handles.

use std::collections::VecDeque;
use std::time::SystemTime;

use cgeid::Cn;
use futures::StreamExt as _;
use futures::channel::oneshot as reply;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::admission::Admission;
use super::driver::{Command, Driver, Ends};
use super::flood::Turned;
use super::listen::{same_port, say_missing};
use super::rate::Rates;
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
    rates: Rates,
    size: NetworkSize,
    admission: Admission,
    parked: Vec<Parked>,
    /// Who was connected, and where.
    peers: Vec<(PeerId, Multiaddr)>,
}

/// The life of a node, under one key after the other.
pub(super) async fn live(mut config: NodeConfig, records: Box<dyn Records>, ends: Ends) {
    let ready = ends.ready_tx.clone();
    let begun = Driver::new(&config, records, ends).and_then(|mut driver| driver.listen().map(|()| driver));
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

/// The node under the key that the configuration has now, at those of its addresses that can be had: what the system still holds for the former
/// sockets is waited for, and for what it does not give the node does not stay away.
async fn again(mut old: Driver, config: &mut NodeConfig) -> Option<Driver> {
    let present = old.present();
    let (mut records, ends, carried) = apart(old, present);
    // Where others know the node to be, it shall be found, also at a port that was any at its start.
    if let Some(port) = same_port(&ends.listening_tx.borrow()) {
        config.port = port;
    }
    ends.listening_tx.send_replace(Vec::new());
    ends.peers_tx.send_modify(|PeerSet { peers, changes, .. }| (*peers, *changes) = (0, *changes + 1));
    records.move_to(config.place());
    let driver = Driver::new(config, records, ends).inspect_err(|error| tracing::error!(%error, "DHT node stopped"));
    let mut driver = driver.ok()?;
    driver.ends.id_tx.send_replace(*driver.swarm.local_peer_id());
    for attempt in 0_u32.. {
        let missing = driver.listen_where_it_can();
        if missing.is_empty() || attempt >= limits::RENEW_SILENT && driver.has_socket() {
            say_missing(&missing);
            break;
        }
        if attempt == limits::RENEW_SILENT {
            tracing::warn!(error = %missing[0], "the DHT node has its new key and no socket yet; it tries on");
        }
        if !driver.ends.pause().await {
            return None;
        }
    }
    driver.take_over(carried);
    Some(driver)
}

/// The next thing that is asked for, those that waited first; none when nobody is left who could ask.
pub(super) async fn next_command(
    commands_rx: &mut mpsc::Receiver<Command>,
    waiting: &mut VecDeque<Command>,
) -> Option<Command> {
    match waiting.pop_front() {
        Some(command) => Some(command),
        None => commands_rx.recv().await,
    }
}

impl Ends {
    /// Waits until the sockets may be free; whether the node is to go on. What is asked of it meanwhile waits as well, another
    /// later key too.
    async fn pause(&mut self) -> bool {
        let until = Instant::now() + limits::RENEW_RETRY;
        loop {
            match tokio::time::timeout_at(until, self.commands_rx.recv()).await {
                Err(_) => return true,
                Ok(Some(Command::Shutdown(done))) => {
                    let _ = done.send(());
                    return false;
                }
                Ok(None) => return false,
                // Beyond the bound it is dropped, and whoever asked is told that there is no node.
                Ok(Some(command)) => self.waiting.extend((self.waiting.len() < limits::COMMANDS).then_some(command)),
            }
        }
    }
}

/// Takes a node apart; its sockets and connections end here.
fn apart(mut driver: Driver, peers: Vec<(PeerId, Multiaddr)>) -> (Box<dyn Records>, Ends, Carried) {
    let turned = driver.swarm.behaviour().flood.turned();
    let rates = driver.kad().take_rates();
    let store = driver.kad().store_mut();
    let (records, store_counters) = (std::mem::replace(&mut store.records, Box::new(NoRecords)), store.counters);
    let Driver { counters, size, admission, parked, ends, .. } = driver;
    (records, ends, Carried { counters, store_counters, turned, rates, size, admission, parked, peers })
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
        let until = std::time::Instant::now() + limits::RENEW_DRAIN;
        let mut wake = std::time::Instant::now();
        while self.queries.len() > 0 && std::time::Instant::now() < until {
            wake = self.on_turn(wake).min(until);
            if let Ok(event) = tokio::time::timeout_at(wake.into(), self.swarm.select_next_some()).await {
                self.on_event(event);
            }
        }
    }

    fn take_over(&mut self, carried: Carried) {
        let Carried { counters, store_counters, turned, rates, size, admission, parked, peers } = carried;
        (self.counters, self.size, self.parked) = (counters, size, parked);
        self.kad().store_mut().counters = store_counters;
        self.kad().begin_at(rates);
        self.swarm.behaviour_mut().flood.begin_at(turned);
        self.admission.take_over(admission);
        let now = std::time::Instant::now();
        for (_, address) in peers.iter().take(limits::KEPT_PEERS) {
            self.redial.add(now, address, Some(limits::KEPT_ATTEMPTS));
        }
    }
}

/// In the place of records that were taken away.
pub(super) struct NoRecords;

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use cgeid::{Identity, Network, OperationalKey};
    use tokio::sync::watch;

    use super::*;
    use crate::shell::node::rate::Verdict;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 60, 1, 1));
    const OTHER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)));

    fn ends(own: PeerId) -> (Ends, mpsc::Sender<Command>) {
        let (commands, commands_rx) = mpsc::channel(limits::COMMANDS);
        let ((peers_tx, _), (listening_tx, _)) = (watch::channel(PeerSet::default()), watch::channel(Vec::new()));
        let ((id_tx, _), (ready_tx, _)) = (watch::channel(own), std::sync::mpsc::sync_channel(1));
        let listen_rx = watch::channel(vec![HERE]).1;
        (Ends { commands_rx, waiting: VecDeque::new(), peers_tx, listen_rx, listening_tx, ready_tx, id_tx }, commands)
    }

    fn config(key: &OperationalKey) -> NodeConfig {
        NodeConfig { listen: vec![HERE], port: 0, ..NodeConfig::server(key) }
    }

    fn keys() -> impl Iterator<Item = OperationalKey> {
        let now = SystemTime::now();
        let owner = Identity::generate_ed25519(Network::LAB, now).unwrap();
        (0..).map(move |revision| owner.delegate_revision(now, 0, revision).unwrap())
    }

    fn renewal(key: &OperationalKey) -> (Command, reply::Receiver<Result<PeerId, NodeError>>) {
        let (done, told) = reply::channel();
        (Command::Renew(Renewal { seed: key.ed25519_seed(), certified: Certified::of(key), done }), told)
    }

    #[tokio::test]
    async fn a_later_key_that_comes_while_sockets_are_opened_is_gone_on_to() {
        let mut keys = keys();
        let config = config(&keys.next().unwrap());
        let (mut ends, commands) = ends(config.peer().unwrap());
        let (command, told) = renewal(&keys.next().unwrap());
        commands.send(command).await.unwrap();
        assert!(ends.pause().await);
        let node = tokio::spawn(live(config, Box::new(NoRecords), ends));
        told.await.unwrap().unwrap();
        drop(commands);
        node.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_is_kept_out_stays_out_when_the_key_changes() {
        let config = config(&keys().next().unwrap());
        let driver = |ends| Driver::new(&config, Box::new(NoRecords), ends).unwrap();
        let mut old = driver(ends(config.peer().unwrap()).0);
        let (mut rates, now) = (old.kad().take_rates(), std::time::Instant::now());
        while rates.ask(now, OTHER, 1) != Verdict::Close {}
        let turned = rates.turned;
        old.kad().begin_at(rates);
        let (_, ends, carried) = apart(old, Vec::new());
        let mut new = driver(ends);
        new.take_over(carried);
        assert_eq!(new.kad().turned(), turned);
        assert!(!new.kad().take_rates().lets_in(now, OTHER));
    }
}
