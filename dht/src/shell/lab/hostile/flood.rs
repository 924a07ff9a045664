// SPDX-License-Identifier: GPL-2.0-or-later
//! A flood of PUTs: bundles that are validly signed, by identities that cost nothing.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cgeid::Network;
use futures::StreamExt as _;
use futures::future::join_all;
use libp2p::Multiaddr;
use libp2p::request_response::{Event, Message as Exchange, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::Mutex;
use tokio::sync::mpsc;

use super::swarm::{LiarEvent, build, dial, peer_of};
use super::{Crowd, run_in_thread};
use crate::shell::lab::LabError;
use crate::shell::lab::people::Person;
use crate::shell::node::Transport;
use crate::shell::node::protocol::Message;

/// Mappings of prefixes that one identity signs, beside its own: that costs less than a new identity.
const PREFIXES: u8 = 15;
/// Signed bundles that wait to be sent.
const READY: usize = 256;
/// PUTs without answer of one network; as many as libp2p takes from one connection at once.
const IN_FLIGHT: usize = 32;
/// How long a network without a connection waits.
const PAUSE: Duration = Duration::from_millis(20);

/// A flood to be.
pub(in crate::shell::lab) struct Flood {
    pub(in crate::shell::lab) network: Network,
    pub(in crate::shell::lab) puts: u64,
    /// Where it comes from: one address of each network.
    pub(in crate::shell::lab) sources: Vec<Ipv4Addr>,
    pub(in crate::shell::lab) targets: Vec<Multiaddr>,
    pub(in crate::shell::lab) seed: u64,
}

/// What became of it.
#[derive(Debug, Default)]
pub(in crate::shell::lab) struct FloodFigures {
    pub(in crate::shell::lab) sent: AtomicU64,
    pub(in crate::shell::lab) acknowledged: AtomicU64,
    pub(in crate::shell::lab) done: AtomicBool,
}

impl Flood {
    /// Begins; the figures say when it is over.
    pub(in crate::shell::lab) fn start(
        self,
        transport: Transport,
        figures: Arc<FloodFigures>,
    ) -> Result<Crowd, LabError> {
        let (ready, waiting) = mpsc::channel(READY);
        let (network, seed) = (self.network, self.seed);
        // Ends when nobody takes any more.
        let signer = move || sign(network, seed, &ready);
        let failed =
            |error: std::io::Error| LabError::Start(crate::shell::node::NodeError::Start(error.to_string()).into());
        std::thread::Builder::new().name("hostile-signer".to_owned()).spawn(signer).map_err(failed)?;
        run_in_thread(async move || {
            let waiting = Mutex::new(waiting);
            let flows = self.sources.iter().map(|&source| flow(&self, &transport, source, &waiting, &figures));
            join_all(flows).await;
            figures.done.store(true, Ordering::Relaxed);
            std::future::pending().await
        })
    }
}

/// Signs until nobody takes the bundles any more. The strangers must not be those who run the nodes: theirs is another seed.
fn sign(network: Network, seed: u64, ready: &mpsc::Sender<Message>) {
    let mut random = StdRng::seed_from_u64(!seed);
    while let Ok(mut person) = Person::new(network, &mut random) {
        let own = person.mapping(Ipv4Addr::new(192, 0, 2, 66).into());
        let prefixes = (0..PREFIXES).map(|number| person.prefix(number));
        let publications = std::iter::once(own).chain(prefixes.collect::<Vec<_>>());
        for publication in publications.flatten() {
            if ready.blocking_send(Message::put(publication.key.encode(), publication.value)).is_err() {
                return;
            }
        }
    }
}

/// What comes from one network.
async fn flow(
    flood: &Flood,
    transport: &Transport,
    source: Ipv4Addr,
    waiting: &Mutex<mpsc::Receiver<Message>>,
    figures: &FloodFigures,
) {
    let mut random = StdRng::seed_from_u64(u64::from(source.to_bits()));
    let person = Person::new(flood.network, &mut random).map_err(LabError::Key);
    let started = person.and_then(|person| build(transport, &person.key, source, ProtocolSupport::Outbound));
    let Ok(mut swarm) = started else { return tracing::error!(%source, "a flood does not start") };
    let targets: Vec<_> = flood.targets.iter().filter_map(|target| Some((peer_of(target)?, target.clone()))).collect();
    let (mut next, mut in_flight) = (0, 0);
    loop {
        let has_room = in_flight < IN_FLIGHT && figures.sent.load(Ordering::Relaxed) < flood.puts;
        if !has_room && in_flight == 0 {
            return;
        }
        let mut patience = PAUSE;
        if has_room {
            next = (next + 1) % targets.len().max(1);
            let Some((peer, address)) = targets.get(next) else { return };
            if swarm.is_connected(peer) {
                let Some(message) = waiting.lock().await.recv().await else { return };
                figures.sent.fetch_add(1, Ordering::Relaxed);
                swarm.behaviour_mut().kad.send_request(peer, message);
                in_flight += 1;
                patience = Duration::ZERO;
            } else {
                dial(&mut swarm, std::slice::from_ref(address));
            }
        }
        let Ok(event) = tokio::time::timeout(patience, swarm.select_next_some()).await else { continue };
        match event {
            SwarmEvent::Behaviour(LiarEvent::Kad(Event::Message {
                message: Exchange::Response { response, .. },
                ..
            })) => {
                in_flight -= 1;
                figures.acknowledged.fetch_add(u64::from(response.value.is_some()), Ordering::Relaxed);
            }
            SwarmEvent::Behaviour(LiarEvent::Kad(Event::OutboundFailure { .. })) => in_flight -= 1,
            _ => {}
        }
    }
}
