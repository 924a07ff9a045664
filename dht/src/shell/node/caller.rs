// SPDX-License-Identifier: GPL-2.0-or-later
//! Questions to single nodes, one by one: how a crawl speaks. It presents itself as a client, so it enters nobody's routing
//! table, and it answers nothing but presentations.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Message as Exchange, OutboundRequestId, ProtocolSupport, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identify};

use super::addresses::{believable, is_shareable, split_peer};
use super::admission::{self, Codec as AdmitCodec};
use super::protocol::{Codec, Message};
use super::{Clock, IDENTIFY_PROTOCOL, KAD_PROTOCOL, NodeConfig, NodeError, connections};
use crate::admit::judge::name;
use crate::admit::message::Millis;
use crate::admit::{Admitted, Answer, Ends, Kind, Member, Presentation, Refused, Rules, judge, present};
use crate::record::CertificateCache;
use crate::shell::limits;
use crate::store::Standing;

/// What runs on every connection.
#[derive(NetworkBehaviour)]
struct Speaks {
    identify: identify::Behaviour,
    kad: request_response::Behaviour<Codec>,
    admit: request_response::Behaviour<AdmitCodec>,
}

/// What came of a question, or by itself.
#[derive(Debug)]
pub(in crate::shell) enum Heard {
    /// A node was reached at this address.
    Met { peer: PeerId, address: Multiaddr },
    /// A question was answered, so long after it was sent on a connection that stood.
    Answered { question: u64, nearer: Vec<(PeerId, Multiaddr)>, took: Duration },
    /// A question was not answered, or the node could not be reached.
    Silent { question: u64 },
    /// A node says what runs there, and where it listens.
    Described { peer: PeerId, agent: String, addresses: Vec<Multiaddr> },
    /// A node has presented itself: as whose, or why nobody need admit it.
    Presented { peer: PeerId, verdict: Result<Option<Member>, Refused> },
    /// A node does not take us for a client of its network.
    Refuses { peer: PeerId, why: &'static str },
}

/// Asks.
pub(in crate::shell) struct Caller {
    swarm: Swarm<Speaks>,
    rules: Rules,
    clock: Clock,
    cache: CertificateCache,
    /// Questions that wait for a connection.
    waiting: HashMap<PeerId, Vec<(u64, Vec<u8>)>>,
    /// Questions that wait for an answer.
    asked: HashMap<OutboundRequestId, (u64, Instant)>,
    /// Where each connected node is.
    seen_at: HashMap<PeerId, Multiaddr>,
    heard: VecDeque<Heard>,
}

impl Caller {
    /// Builds it; `config` says with which key, over which transport, and what the network asks of its nodes.
    ///
    /// # Errors
    /// When the network stack cannot be set up.
    pub(in crate::shell) fn new(config: &NodeConfig) -> Result<Self, NodeError> {
        let failed = |error: &dyn std::fmt::Display| NodeError::Start(error.to_string());
        let mut seed = config.seed.clone();
        let keypair = Keypair::ed25519_from_bytes(seed.as_mut_slice()).map_err(|error| failed(&error))?;
        let swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_other_transport(|keypair| connections(keypair, &config.transport))
            .map_err(|error| failed(&error))?
            .with_behaviour(speaks)
            .map_err(|error| failed(&error))?
            .with_swarm_config(|config| {
                config
                    .with_idle_connection_timeout(limits::CRAWL_CONNECTION_UNUSED)
                    .with_substream_upgrade_protocol_override(Version::V1Lazy)
            })
            .build();
        Ok(Self {
            swarm,
            rules: config.rules.clone(),
            clock: config.clock,
            cache: CertificateCache::new(),
            waiting: HashMap::new(),
            asked: HashMap::new(),
            seen_at: HashMap::new(),
            heard: VecDeque::new(),
        })
    }

    /// Connects to whoever is at an address; [`Heard::Met`] tells who.
    pub(in crate::shell) fn meet(&mut self, address: Multiaddr) {
        if let Err(error) = self.swarm.dial(address.clone()) {
            tracing::debug!(%address, %error, "cannot dial");
        }
    }

    /// Asks a node, by its addresses if it is not connected, for the nodes nearest to a key.
    pub(in crate::shell) fn ask(&mut self, question: u64, peer: PeerId, addresses: &[Multiaddr], key: Vec<u8>) {
        if self.swarm.is_connected(&peer) {
            return self.send(question, peer, key);
        }
        let condition = PeerCondition::DisconnectedAndNotDialing;
        let options = DialOpts::peer_id(peer).condition(condition).addresses(addresses.to_vec()).build();
        match self.swarm.dial(options) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {
                self.waiting.entry(peer).or_default().push((question, key));
            }
            Err(_) => self.heard.push_back(Heard::Silent { question }),
        }
    }

    /// The next thing that is heard.
    pub(in crate::shell) async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            let event = self.swarm.select_next_some().await;
            self.on_event(event);
        }
    }

    fn send(&mut self, question: u64, peer: PeerId, key: Vec<u8>) {
        let request = self.swarm.behaviour_mut().kad.send_request(&peer, Message::find(key));
        self.asked.insert(request, (question, Instant::now()));
    }

    fn on_event(&mut self, event: SwarmEvent<SpeaksEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                let address = split_peer(endpoint.get_remote_address()).0;
                self.on_connected(peer_id, address);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => _ = self.seen_at.remove(&peer_id),
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. }
                if !matches!(error, DialError::DialPeerConditionFalse(_)) && !self.swarm.is_connected(&peer) =>
            {
                let waited = self.waiting.remove(&peer).unwrap_or_default();
                self.heard.extend(waited.into_iter().map(|(question, _)| Heard::Silent { question }));
            }
            SwarmEvent::Behaviour(SpeaksEvent::Kad(event)) => self.on_kad(event),
            SwarmEvent::Behaviour(SpeaksEvent::Admit(request_response::Event::Message {
                peer,
                message: Exchange::Request { request, channel, .. },
                ..
            })) => self.on_presented(peer, &request, channel),
            SwarmEvent::Behaviour(SpeaksEvent::Admit(request_response::Event::Message {
                peer,
                message: Exchange::Response { response, .. },
                ..
            })) if response.code != Answer::WELCOME => {
                self.heard.push_back(Heard::Refuses { peer, why: name(response.code) });
            }
            SwarmEvent::Behaviour(SpeaksEvent::Identify(identify::Event::Received { peer_id: peer, info, .. })) => {
                let Some(seen_at) = self.seen_at.get(&peer) else { return };
                let claimed = info.listen_addrs.iter().map(|address| split_peer(address).0);
                let believed = claimed.filter(|address| believable(address, seen_at) && is_shareable(address));
                let addresses = believed.take(limits::ADDRESSES_PER_PEER).collect();
                let agent = info.agent_version.chars().filter(|c| !c.is_control()).take(limits::CRAWL_AGENT).collect();
                self.heard.push_back(Heard::Described { peer, agent, addresses });
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, address: Multiaddr) {
        if self.seen_at.insert(peer, address.clone()).is_none() {
            let (from, to) = (self.swarm.local_peer_id().to_bytes(), peer.to_bytes());
            let ends = Ends { from: &from, to: &to };
            let presentation = present(&self.rules, Kind::Client, None, ends, self.clock.now()).encode();
            self.swarm.behaviour_mut().admit.send_request(&peer, presentation);
        }
        self.heard.push_back(Heard::Met { peer, address });
        for (question, key) in self.waiting.remove(&peer).unwrap_or_default() {
            self.send(question, peer, key);
        }
    }

    fn on_kad(&mut self, event: request_response::Event<Message, Message>) {
        match event {
            request_response::Event::Message { message: Exchange::Response { request_id, response }, .. } => {
                let Some((question, since)) = self.asked.remove(&request_id) else { return };
                let (nearer, took) = (response.nearer, since.elapsed());
                self.heard.push_back(Heard::Answered { question, nearer, took });
            }
            request_response::Event::OutboundFailure { request_id, .. } => {
                let Some((question, _)) = self.asked.remove(&request_id) else { return };
                self.heard.push_back(Heard::Silent { question });
            }
            _ => {}
        }
    }

    fn on_presented(&mut self, peer: PeerId, presented: &[u8], channel: ResponseChannel<Answer>) {
        let (from, to) = (peer.to_bytes(), self.swarm.local_peer_id().to_bytes());
        let ends = Ends { from: &from, to: &to };
        let now = self.clock.now();
        let verdict = Presentation::decode(presented).map_err(Refused::Malformed).and_then(|presentation| {
            judge(&self.rules, ends, &presentation, now, &mut self.cache, |_| Standing::default())
        });
        let code = verdict.as_ref().map_or_else(Refused::code, |_| Answer::WELCOME);
        // Who does not wait for the answer has lost its connection.
        let _ = self.swarm.behaviour_mut().admit.send_response(channel, Answer { code, time: Millis::of(now) });
        let verdict = verdict.map(|admitted| match admitted {
            Admitted::Server(member) => Some(member),
            Admitted::Client => None,
        });
        self.heard.push_back(Heard::Presented { peer, verdict });
    }
}

fn speaks(keypair: &Keypair) -> Speaks {
    let config = request_response::Config::default().with_request_timeout(limits::REQUEST);
    let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
        .with_agent_version(concat!("lisp-dht/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    Speaks {
        identify: identify::Behaviour::new(identify),
        kad: request_response::Behaviour::new([(KAD_PROTOCOL, ProtocolSupport::Outbound)], config),
        admit: admission::behaviour(),
    }
}
