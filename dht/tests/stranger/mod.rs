// SPDX-License-Identifier: GPL-2.0-or-later
//! What a peer of ours speaks, in the hands of somebody else: it presents whatever octets it likes.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use cgeid::{Network, OperationalKey};
use dht::admit::{Answer, Credentials, Ends, Kind, Presentation, Rules, present};
use dht::shell::node::{Clock, Multiaddr, Node};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::core::muxing::StreamMuxerExt as _;
use libp2p::core::transport::{Boxed, ListenerId, Transport as _, TransportEvent};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, kad, quic};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Octets as they are.
#[derive(Clone, Default)]
pub struct Raw;

async fn all<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(1 << 16).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        all(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        all(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }
}

#[derive(libp2p::swarm::NetworkBehaviour)]
pub struct Speaks {
    pub identify: identify::Behaviour,
    pub kad: kad::Behaviour<kad::store::MemoryStore>,
    pub admit: request_response::Behaviour<Raw>,
}

/// A swarm of the stranger's own, under this key.
pub fn stranger(keypair: Keypair) -> Swarm<Speaks> {
    SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_quic()
        .with_behaviour(|keypair| {
            let peer = keypair.public().to_peer_id();
            let config = kad::Config::new(StreamProtocol::new("/ipv6mesh/kad/1"));
            let mut kad = kad::Behaviour::with_config(peer, kad::store::MemoryStore::new(peer), config);
            kad.set_mode(Some(kad::Mode::Server));
            let identify = identify::Config::new("/ipv6mesh/1".to_owned(), keypair.public());
            let admit = [(StreamProtocol::new("/ipv6mesh/admit/1"), ProtocolSupport::Full)];
            Speaks {
                identify: identify::Behaviour::new(identify),
                kad,
                admit: request_response::Behaviour::new(admit, request_response::Config::default()),
            }
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

/// The key of a connection, from an operational key.
pub fn keypair(key: &OperationalKey) -> Keypair {
    let mut seed = key.ed25519_seed();
    Keypair::ed25519_from_bytes(seed.as_mut_slice()).unwrap()
}

/// An honest presentation of a server to `to`.
pub fn presentation(key: &OperationalKey, to: PeerId) -> Presentation {
    let from = keypair(key).public().to_peer_id().to_bytes();
    let rules = Rules { network: Network::LAB, ..Rules::default() };
    let ends = Ends { from: &from, to: &to.to_bytes() };
    present(&rules, Kind::Server, Some(Credentials::of(key)), ends, Clock::default().now())
}

/// How a stranger fared.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered with this code.
    Answered(u8),
    /// Its presentation got no answer.
    Unanswered,
    /// Its connection was closed first.
    Closed,
}

/// Connects, if it is not connected; on a machine that others use a handshake may come too late, and is begun again.
pub async fn connect(swarm: &mut Swarm<Speaks>, node: &Node) {
    let address = node.listen_addrs()[0].clone();
    let mut attempts = 1;
    if !swarm.is_connected(&node.id()) {
        swarm.dial(address.clone()).unwrap();
    }
    while !swarm.is_connected(&node.id()) {
        if let SwarmEvent::OutgoingConnectionError { error, .. } = swarm.select_next_some().await {
            assert!(attempts < 10, "{error}");
            attempts += 1;
            swarm.dial(address.clone()).unwrap();
        }
    }
}

/// Connects, presents these octets and waits for what becomes of it.
pub async fn try_with(swarm: &mut Swarm<Speaks>, node: &Node, octets: Vec<u8>) -> Fate {
    let peer = node.id();
    connect(swarm, node).await;
    let request = swarm.behaviour_mut().admit.send_request(&peer, octets);
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(SpeaksEvent::Admit(request_response::Event::Message {
                message: Message::Response { request_id, response },
                ..
            })) if request_id == request => {
                // A stream that ends without a word is no answer.
                return Answer::decode(&response).map_or(Fate::Unanswered, |answer| Fate::Answered(answer.code));
            }
            SwarmEvent::Behaviour(SpeaksEvent::Admit(request_response::Event::OutboundFailure {
                request_id,
                error,
                ..
            })) if request_id == request => {
                let is_closed = matches!(error, request_response::OutboundFailure::ConnectionClosed);
                return if is_closed { Fate::Closed } else { Fate::Unanswered };
            }
            _ => {}
        }
    }
}

/// Goes on for a while; says whether the connection stands then.
pub async fn run_for(swarm: &mut Swarm<Speaks>, peer: PeerId, time: Duration) -> bool {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::timeout_at(until, swarm.select_next_some()).await.is_ok() {}
    swarm.is_connected(&peer)
}

/// A loopback address of a stranger.
pub fn at(text: &str) -> Multiaddr {
    format!("/ip4/{text}/udp/0/quic-v1").parse().unwrap()
}

/// Somebody who takes a connection and all its streams, and answers none: no protocol is ever agreed on.
pub struct Mute {
    transport: Boxed<(PeerId, quic::Connection)>,
    /// Where it listens, and who it is.
    pub address: Multiaddr,
}

impl Mute {
    pub async fn at(text: &str) -> Self {
        let keypair = Keypair::generate_ed25519();
        let mut transport = quic::tokio::Transport::new(quic::Config::new(&keypair)).boxed();
        transport.listen_on(ListenerId::next(), at(text)).unwrap();
        loop {
            let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
            if let TransportEvent::NewAddress { listen_addr, .. } = event {
                let address = listen_addr.with_p2p(keypair.public().to_peer_id()).unwrap();
                return Self { transport, address };
            }
        }
    }

    /// What comes in each stream of the first connection, until so long after these octets have come in one of them.
    pub async fn hears(mut self, first: &[u8], time: Duration) -> Vec<Vec<u8>> {
        let mut connection = self.connection().await;
        let (octets_tx, mut octets) = mpsc::unbounded_channel();
        let (mut heard, mut until) = (Vec::<Vec<u8>>::new(), None);
        loop {
            let end = until.unwrap_or_else(|| Instant::now() + time);
            tokio::select! {
                stream = poll_fn(|cx| connection.poll_inbound_unpin(cx)) => {
                    tokio::spawn(pass_on(stream.unwrap(), heard.len(), octets_tx.clone()));
                    heard.push(Vec::new());
                }
                Some((stream, some)) = octets.recv() => {
                    let said: &mut Vec<u8> = &mut heard[stream];
                    said.extend::<Vec<u8>>(some);
                    if until.is_none() && said.windows(first.len()).any(|part| part == first) {
                        until = Some(Instant::now() + time);
                    }
                }
                () = sleep_until(end), if until.is_some() => return heard,
            }
        }
    }

    /// The first connection that comes to stand: on a machine that others use a handshake may come too late, and another one follows.
    async fn connection(&mut self) -> quic::Connection {
        loop {
            let event = poll_fn(|cx| Pin::new(&mut self.transport).poll(cx)).await;
            if let TransportEvent::Incoming { upgrade, .. } = event
                && let Ok((_, connection)) = upgrade.await
            {
                return connection;
            }
        }
    }
}

/// Passes on what comes in a stream, with its number.
async fn pass_on(mut stream: impl AsyncRead + Unpin, number: usize, octets: mpsc::UnboundedSender<(usize, Vec<u8>)>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        // It may be that nobody listens any more.
        let _ = octets.send((number, buffer[..count].to_vec()));
    }
    // To let go of the stream would be an answer.
    octets.closed().await;
}
