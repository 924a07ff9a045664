// SPDX-License-Identifier: GPL-2.0-or-later
//! The node's thread: one loop over the swarm's events, the handles' commands and the clock.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::oneshot as reply;
use libp2p::kad;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify};
use tokio::sync::{mpsc, watch};

use super::admission::{self, Admission};
use super::behaviour::{Behaviour, BehaviourEvent, swarm};
use super::handing::Handing;
use super::listen::Sockets;
use super::nearest::Nearest;
use super::patience::held_up;
use super::queries::{PutReply, Queries};
use super::redial::Redial;
use super::renew::{self, End, Renewal, next_command};
use super::requests::Parked;
use super::seen::Seen;
use super::watched::Effort;
use super::ways::Ways;
use super::whole::Whole;
use super::{Counters, Given, NodeConfig, NodeError, NodeStats, Peer, PeerSet, Records, Role};
use crate::lookup::NetworkSize;
use crate::shell::limits;

/// What a handle asks for.
pub(super) enum Command {
    Get(GetCommand),
    Put(PutCommand),
    Stats(reply::Sender<NodeStats>),
    Renew(Renewal),
    Freeze(std::sync::mpsc::Receiver<()>),
    Shutdown(reply::Sender<()>),
}

/// A GET: values go to `values` until it is full, closed or all are there.
pub(super) struct GetCommand {
    pub(super) key: Vec<u8>,
    pub(super) limit: Duration,
    pub(super) values: mpsc::Sender<Given>,
    pub(super) begun: reply::Sender<Result<Arc<Effort>, NodeError>>,
}

/// A PUT.
pub(super) struct PutCommand {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// The nodes that are asked to store; none: those of the key's region.
    pub(super) at: Vec<PeerId>,
    pub(super) done: PutReply,
}

/// The thread's ends of the channels to its handles.
pub(super) struct Ends {
    pub(super) commands_rx: mpsc::Receiver<Command>,
    /// Commands that came while there was nobody to work; they come first.
    pub(super) waiting: VecDeque<Command>,
    pub(super) peers_tx: watch::Sender<PeerSet>,
    /// Where the node is to listen.
    pub(super) listen_rx: watch::Receiver<Vec<IpAddr>>,
    pub(super) listening_tx: watch::Sender<Vec<Multiaddr>>,
    pub(super) ready_tx: SyncSender<Result<PeerId, NodeError>>,
    pub(super) id_tx: watch::Sender<PeerId>,
}

/// The body of the node's thread.
pub(super) fn run(config: NodeConfig, records: Box<dyn Records>, ends: Ends) {
    let ready = ends.ready_tx.clone();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // The caller is waiting for exactly this; if it has gone, nobody wants the node.
            let _ = ready.send(Err(NodeError::Start(error.to_string())));
            return;
        }
    };
    runtime.block_on(renew::live(config, records, ends));
}

/// The node, in its thread.
pub(super) struct Driver {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) sockets: Sockets,
    pub(super) role: Role,
    pub(super) queries: Queries,
    pub(super) parked: Vec<Parked>,
    pub(super) redial: Redial,
    pub(super) ways: Ways,
    pub(super) seen: Seen,
    pub(super) housekeeping: Instant,
    pub(super) counters: Counters,
    pub(super) size: NetworkSize,
    /// All nodes there are, while that is known.
    pub(super) whole: Option<Whole>,
    /// Peers whose connections are being closed to make room.
    pub(super) closing: HashSet<PeerId>,
    pub(super) nearest: Nearest,
    pub(super) handing: Handing,
    pub(super) admission: Admission,
    pub(super) ends: Ends,
}

impl Driver {
    /// A node that listens nowhere yet.
    pub(super) fn new(config: &NodeConfig, records: Box<dyn Records>, ends: Ends) -> Result<Self, NodeError> {
        let role = admission::role(config);
        let swarm = swarm(config, role, records)?;
        let now = Instant::now();
        let own = *swarm.local_peer_id();
        let spread = own.to_bytes().last().copied().unwrap_or_default();
        let mut redial = Redial::new(&config.bootstrap, own, spread, now);
        let ways = Ways::new(config, own, &mut redial, ends.listening_tx.subscribe(), now);
        Ok(Self {
            swarm,
            sockets: Sockets::new(config),
            role,
            queries: Queries::default(),
            parked: Vec::new(),
            redial,
            ways,
            seen: Seen::default(),
            housekeeping: now + limits::HOUSEKEEPING,
            counters: Counters::default(),
            size: NetworkSize::default(),
            whole: None,
            closing: HashSet::new(),
            nearest: Nearest::default(),
            handing: Handing::new(own, role),
            admission: Admission::new(config, role, own, now),
            ends,
        })
    }

    /// Begins to work: its address is known, and it says so.
    pub(super) async fn begin(&mut self) {
        self.first_address().await;
        let own = *self.swarm.local_peer_id();
        tracing::info!(peer = %own, role = ?self.role, "DHT node started");
        // If the caller has gone, the command channel is closed as well and the loop ends at once; under a later key nobody waits.
        let _ = self.ends.ready_tx.send(Ok(own));
    }

    /// Works until it is told to end, or to go on under another key.
    pub(super) async fn run(&mut self) -> End {
        let mut wake = Instant::now();
        let end = loop {
            wake = self.on_turn(wake);
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = next_command(&mut self.ends.commands_rx, &mut self.ends.waiting) => match command {
                    Some(Command::Shutdown(done)) => break End::Stopped(Some(done)),
                    Some(Command::Renew(renewal)) => if let Some(renewal) = self.on_renewal(renewal) {
                        self.drain().await;
                        break End::Renewed(renewal);
                    },
                    Some(Command::Freeze(until)) => {
                        // Holds up the thread and all that runs on it, sockets too; an error is the end that is waited for.
                        let _ = until.recv();
                        return End::Stopped(None);
                    }
                    Some(command) => self.on_command(command),
                    None => break End::Stopped(None),
                },
                Some(neighbour) = self.ways.neighbours.recv() => self.on_neighbour(neighbour),
                Ok(()) = self.ends.listen_rx.changed() => self.listen_elsewhere(Instant::now()),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        };
        self.remember_last();
        self.stop().await;
        end
    }

    /// Waits until the first listen address is known; a machine without any yet starts all the same.
    async fn first_address(&mut self) {
        let until = tokio::time::Instant::now() + limits::LISTEN;
        while self.ends.listening_tx.borrow().is_empty() {
            match tokio::time::timeout_at(until, self.swarm.select_next_some()).await {
                Ok(event) => self.on_event(event),
                Err(_) => return,
            }
        }
    }

    /// Says goodbye on every connection, so that peers need not find out by silence.
    async fn stop(&mut self) {
        let wall = self.admission.clock.now();
        self.kad().store_mut().records.housekeep(wall);
        self.take_leave().await;
        let connected: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            // The error says that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let until = tokio::time::Instant::now() + Duration::from_millis(300);
        while self.swarm.network_info().connection_counters().num_established() > 0 {
            if tokio::time::timeout_at(until, self.swarm.select_next_some()).await.is_err() {
                break;
            }
        }
    }

    /// Kademlia, with the store.
    pub(super) fn kad(&mut self) -> &mut super::kademlia::Kademlia {
        &mut self.swarm.behaviour_mut().kad
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let parked = self.parked.iter().map(|parked| parked.patience.end()).min();
        [
            Some(self.housekeeping),
            self.handing.next_deadline(now),
            self.queries.next_deadline(),
            self.redial.next_deadline(),
            parked,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.housekeeping)
    }

    /// Does what is due, having wanted to at `wake`; when the next turn is. What came while the node was held up is heard first.
    pub(super) fn on_turn(&mut self, wake: Instant) -> Instant {
        let now = Instant::now();
        if let Some(late) = held_up(wake, now) {
            tracing::debug!(?late, "held up");
            self.queries.forgive(late);
            self.parked.iter_mut().for_each(|parked| parked.patience.forgive(late));
        }
        self.on_time(now);
        self.next_deadline()
    }

    fn on_time(&mut self, now: Instant) {
        for id in self.queries.overdue(now, limits::QUERY) {
            if let Some(mut query) = self.kad().query_mut(&id) {
                query.finish();
            }
        }
        // Whoever is in the routing table was found; that it may be gone is seen when it is asked.
        let found = std::mem::take(&mut self.nearest.members);
        let due = self.redial.due(now, |peer| self.swarm.is_connected(peer) || found.contains(peer));
        self.nearest.members = found;
        for dial in due {
            if dial.is_long_silent {
                tracing::warn!(address = %dial.address, "the bootstrap node does not answer; it is tried on");
            }
            self.dial(dial.address, dial.expected);
        }
        if self.parked.iter().any(|parked| parked.patience.is_over(now)) {
            let (due, waiting) =
                std::mem::take(&mut self.parked).into_iter().partition(|parked| parked.patience.is_over(now));
            self.parked = waiting;
            self.resume(due);
        }
        if self.kad().dials.waiting() > 0 {
            self.make_room(now);
        }
        self.hand_over(now);
        self.remember(now);
        if self.housekeeping <= now {
            self.housekeeping = now + limits::HOUSEKEEPING;
            let (wall, region) = (self.admission.clock.now(), self.region());
            let records = &mut self.kad().store_mut().records;
            records.set_region(region);
            records.housekeep(wall);
            self.review(now);
            self.listen_again(now);
            self.tell_turn();
            self.try_once_more(now);
            self.keep_nearest(now);
        }
    }

    pub(super) fn dial(&mut self, address: Multiaddr, expected: Option<PeerId>) {
        tracing::debug!(%address, "dialling");
        let options = match expected {
            Some(peer) => DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(vec![address.clone()])
                .build(),
            None => DialOpts::unknown_peer_id().address(address.clone()).build(),
        };
        let whole = expected.is_none().then_some(&address);
        if let Err(error) = self.dial_when_there_is_a_place(options, whole)
            && !matches!(error, DialError::DialPeerConditionFalse(_))
        {
            tracing::debug!(%address, %error, "cannot dial");
        }
    }

    /// Makes a dial that no lookup has begun, now or when a connection has ended; given is the address if it is for that one.
    pub(super) fn dial_when_there_is_a_place(
        &mut self,
        options: DialOpts,
        address: Option<&Multiaddr>,
    ) -> Result<(), DialError> {
        let Some(options) = self.kad().dials.take_other(options, address) else { return Ok(()) };
        let id = options.connection_id();
        let begun = self.swarm.dial(options);
        if begun.is_err() {
            self.kad().dials.give_up(id);
        }
        begun
    }

    pub(super) fn stats(&mut self) -> NodeStats {
        let mut peers = Vec::new();
        for bucket in self.swarm.behaviour_mut().kad.kbuckets() {
            for entry in bucket.iter() {
                let id = *entry.node.key.preimage();
                peers.push(Peer { id, addresses: entry.node.value.iter().cloned().collect(), connected: false });
            }
        }
        for peer in &mut peers {
            peer.connected = self.swarm.is_connected(&peer.id);
        }
        let connections = self.swarm.connected_peers().count();
        let counters = self.counters;
        let reachable = self.ways.standing.is_reachable();
        let turned = self.swarm.behaviour().flood.turned();
        let rate = self.swarm.behaviour().kad.turned();
        let (handovers_dropped, handovers_given_up) = self.handing.lost();
        let dials_dropped = self.swarm.behaviour().kad.dials.dropped();
        let store = self.kad().store_mut();
        let counters = Counters {
            puts_stored: store.counters.puts_stored,
            puts_refused: store.counters.puts_refused,
            providers_refused: store.counters.providers_refused,
            handshakes_refused: turned.handshakes,
            block_refused: turned.blocks,
            full_refused: turned.full,
            guests_replaced: turned.replaced,
            rate_refused: rate.requests,
            rate_closed: rate.connections,
            dials_denied: counters.dials_denied + dials_dropped,
            handovers_dropped,
            handovers_given_up,
            ..counters
        };
        let held = store.records.held();
        NodeStats { peers, connections, reachable, held, counters, admission: self.admission.stats() }
    }

    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.on_kad(event),
            SwarmEvent::Behaviour(BehaviourEvent::Admit(event)) => self.on_admission(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            })) => {
                self.on_identified(peer_id, &info);
                self.on_shown(peer_id, connection_id);
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, num_established, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint);
                self.on_found(peer_id, connection_id, &endpoint, num_established.get() > 1);
                self.make_room(Instant::now());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established: 0, cause, .. } => {
                self.on_disconnected(peer_id, connection_id, cause.as_ref());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => self.on_one_closed(peer_id, connection_id),
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => self.on_dial_failed(peer_id, &error),
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_deaf(&address),
            SwarmEvent::ListenerClosed { listener_id, addresses, .. } => {
                self.sockets.closed(listener_id);
                addresses.iter().for_each(|address| self.on_deaf(address));
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "DHT listener"),
            _ => {}
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => self.on_progress(id, result, step.last),
            kad::Event::RoutingUpdated { peer, is_new_peer: true, old_peer, .. } => {
                tracing::debug!(%peer, "peer found");
                let flood = &mut self.swarm.behaviour_mut().flood;
                flood.is_server(peer);
                if let Some(old) = old_peer {
                    flood.is_no_server(&old);
                }
                self.leave_out_anycast(peer);
                self.on_placed(peer);
                self.peers_changed();
            }
            kad::Event::InboundRequest { request } => {
                self.counters.requests_answered += 1;
                let is_served = matches!(request, kad::InboundRequest::GetRecord { present_locally: true, .. });
                self.counters.values_served += u64::from(is_served);
            }
            kad::Event::RoutingUpdated { peer, .. } => self.leave_out_anycast(peer),
            _ => {}
        }
    }
}
