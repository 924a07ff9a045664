// SPDX-License-Identifier: GPL-2.0-or-later
//! Attackers of a bench. They speak the real protocol on real connections, and all know each other.

mod flood;
mod swarm;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cgeid::{Network, OperationalKey};
use futures::future::{join_all, select};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use rand::RngExt as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::LabError;
use super::people::Person;
use crate::shell::node::protocol::{Kind, Message};
use crate::shell::node::{NodeError, Transport};

pub(super) use self::flood::{Flood, FloodFigures};

/// Nearer peers in one answer, as of an honest node.
const NEARER: usize = 20;
/// How long a slow one takes: less than a GET is waited for.
const SLOW: Duration = Duration::from_millis(2500);

/// How a hostile node treats who asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attitude {
    /// Knows nothing, and sends on to its allies.
    Misleads,
    /// Gives the record that was right before, and sends on to its allies.
    GivesOld,
    /// Gives rubbish, and sends on to its allies.
    GivesRubbish,
    /// Says nothing.
    Silent,
    /// Misleads, late.
    Slow,
}

impl Attitude {
    const ALL: [Self; 5] = [Self::Misleads, Self::GivesOld, Self::GivesRubbish, Self::Silent, Self::Slow];

    /// Any of them.
    pub(super) fn any(random: &mut StdRng) -> Self {
        Self::ALL[random.random_range(0..Self::ALL.len())]
    }
}

/// A hostile node to be.
pub(super) struct Recruit {
    /// It is certified like anybody's: identities are free.
    pub(super) key: OperationalKey,
    pub(super) address: Ipv4Addr,
    pub(super) attitude: Attitude,
    /// Whom it makes itself known to.
    pub(super) targets: Vec<Multiaddr>,
}

/// Of so many drawn keys, those nearest to a point.
pub(super) fn draw_near(
    network: Network,
    to: [u8; 32],
    wanted: usize,
    draws: usize,
    random: &mut StdRng,
) -> Result<Vec<OperationalKey>, LabError> {
    let mut drawn = Vec::with_capacity(draws);
    for _ in 0..draws {
        let key = Person::new(network, random)?.key;
        drawn.push((distance(point(&keypair(&key)?.public().to_peer_id().to_bytes()), to), key));
    }
    drawn.sort_by_key(|(distance, _)| *distance);
    Ok(drawn.into_iter().take(wanted).map(|(_, key)| key).collect())
}

/// The identity of a node in the DHT.
fn keypair(key: &OperationalKey) -> Result<Keypair, LabError> {
    let mut seed = key.ed25519_seed();
    // libp2p zeroes what it is given.
    let keypair = Keypair::ed25519_from_bytes(seed.as_mut_slice());
    keypair.map_err(|error| LabError::Start(NodeError::Start(error.to_string()).into()))
}

fn point(name: &[u8]) -> [u8; 32] {
    Sha256::digest(name).into()
}

fn distance(one: [u8; 32], other: [u8; 32]) -> [u8; 32] {
    std::array::from_fn(|index| one[index] ^ other[index])
}

/// What all hostile nodes know.
#[derive(Debug, Default)]
pub(super) struct Plot {
    allies: Mutex<Vec<(PeerId, Multiaddr)>>,
    /// Records that were right once.
    old: HashMap<Vec<u8>, Vec<u8>>,
    asked: AtomicU64,
}

impl Plot {
    pub(super) fn new(old: HashMap<Vec<u8>, Vec<u8>>) -> Self {
        Self { old, ..Self::default() }
    }

    /// Questions that hostile nodes were asked.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn joins(&self, peer: PeerId, address: Multiaddr) {
        self.allies.lock().unwrap_or_else(PoisonError::into_inner).push((peer, address));
    }

    fn nearest_allies(&self, key: &[u8], own: PeerId) -> Vec<(PeerId, Multiaddr)> {
        let to = point(key);
        let mut allies = self.allies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        allies.retain(|(peer, _)| *peer != own);
        allies.sort_by_cached_key(|(peer, _)| distance(point(&peer.to_bytes()), to));
        allies.truncate(NEARER);
        allies
    }

    /// What a hostile node answers. A PUT is acknowledged, and nothing is stored.
    fn answer(&self, own: PeerId, attitude: Attitude, question: Message) -> Message {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if question.kind == Kind::Put {
            return question;
        }
        let value = match (question.kind, attitude) {
            (Kind::Get, Attitude::GivesOld) => self.old.get(&question.key).cloned(),
            (Kind::Get, Attitude::GivesRubbish) => Some(vec![0x5a; 700]),
            _ => None,
        };
        let nearer = self.nearest_allies(&question.key, own);
        Message { value, nearer, ..question }
    }
}

/// Hostile nodes at work, in a thread of their own. They end when this is dropped.
pub(super) struct Crowd {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    pub(super) fn start(transport: Transport, recruits: Vec<Recruit>, plot: Arc<Plot>) -> Result<Self, LabError> {
        run_in_thread(async move || {
            let lives = recruits.into_iter().map(|recruit| swarm::live(&transport, recruit, &plot));
            join_all(lives).await;
        })
    }
}

/// Runs something for ever in a thread with a runtime.
fn run_in_thread<F>(body: F) -> Result<Crowd, LabError>
where
    F: AsyncFnOnce() + Send + 'static,
{
    let failed = |error: std::io::Error| LabError::Start(NodeError::Start(error.to_string()).into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (stop, stopped) = oneshot::channel();
    let body = move || {
        runtime.block_on(async {
            select(std::pin::pin!(body()), stopped).await;
        });
    };
    let thread = std::thread::Builder::new().name("hostile".to_owned()).spawn(body).map_err(failed)?;
    Ok(Crowd { stop: Some(stop), thread: Some(thread) })
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the hostile nodes has panicked");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn drawn_keys_are_the_nearest_and_answers_name_allies_only() {
        let mut random = StdRng::seed_from_u64(3);
        let to = point(b"record");
        let near = draw_near(Network::LAB, to, 4, 200, &mut random).unwrap();
        let peers: Vec<PeerId> = near.iter().map(|key| keypair(key).unwrap().public().to_peer_id()).collect();
        let farthest = peers.iter().map(|peer| distance(point(&peer.to_bytes()), to)).max();
        assert!(farthest.unwrap()[0] < 32, "{farthest:?}");
        let plot = Plot::new(HashMap::from([(b"record".to_vec(), b"old".to_vec())]));
        for peer in &peers {
            plot.joins(*peer, "/memory/1".parse().unwrap());
        }
        let own = peers[0];
        let get = Message { kind: Kind::Get, key: b"record".to_vec(), value: None, nearer: Vec::new() };
        let old = plot.answer(own, Attitude::GivesOld, get.clone());
        assert_eq!((old.value.as_deref(), old.nearer.len()), (Some(&b"old"[..]), 3));
        assert_eq!(plot.answer(own, Attitude::Misleads, get).value, None);
        let put = Message::put(b"record".to_vec(), b"new".to_vec());
        assert_eq!(plot.answer(own, Attitude::Misleads, put.clone()), put, "acknowledged as libp2p does");
        assert_eq!(plot.asked(), 3);
    }
}
