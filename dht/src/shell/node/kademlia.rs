// SPDX-License-Identifier: GPL-2.0-or-later
//! libp2p's Kademlia does not tell its store who puts. This stands before it, knows from which address each connection
//! comes, and says so before it hands a message on. It also watches what goes by.
//!
//! A refused PUT is answered with an empty list of nearer peers in the place of the echo. Of libp2p's own word for it, to
//! reset the stream, nothing is sent until something else wakes that stream; the list goes out at once, and no publisher
//! takes it for an acknowledgement: libp2p-kad counts the echo only, others compare it with what they sent.
//!
//! Requests are counted before anything looks at them, see [`super::rate`]. A PUT that comes too often is answered as a GET of
//! what is not held is, so that who hands a record on knows that it was not looked at, and tries again.
//!
//! In a closed network it also keeps both sides' messages back until the peer has proven that it knows the network's key:
//! records are neither given to strangers nor taken from them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad::{self, QueryId};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::addresses::{ip, with_peer};
use super::dials::Dials;
use super::rate::{Rates, Turned, Verdict};
use super::records::KadRecords;
use super::watched::Watch;
use crate::shell::limits;
use crate::store::Origin;

/// What a connection tells Kademlia.
type FromConnection = THandlerOutEvent<kad::Behaviour<KadRecords>>;
/// What Kademlia tells a connection.
type ToConnection = THandlerInEvent<kad::Behaviour<KadRecords>>;

/// Kademlia, and the address at the other end of each of its connections.
pub(super) struct Kademlia {
    inner: kad::Behaviour<KadRecords>,
    from: HashMap<ConnectionId, IpAddr>,
    /// When each connected peer last asked or was asked something.
    used: HashMap<PeerId, Instant>,
    /// When each connected peer last asked something: the answer may be on its way.
    asked_us: HashMap<PeerId, Instant>,
    /// Requests of ours on connections that stood which each peer has not answered; none for whom there were none. The one that
    /// opens a connection goes past this behaviour.
    unanswered: HashMap<PeerId, usize>,
    /// Peers that are to be dialled for a query.
    pub(super) dials: Dials,
    /// What is seen of our queries.
    pub(super) watch: Watch,
    is_closed: bool,
    proven: HashSet<PeerId>,
    /// What peers have said that are not proven yet.
    unheard: Vec<(PeerId, ConnectionId, FromConnection)>,
    /// What is to be said by ourselves, or to peers that are not proven yet.
    unsaid: VecDeque<(PeerId, NotifyHandler, ToConnection)>,
    /// A query of which one more peer was asked; what it has shown.
    through: Option<(QueryId, PeerId)>,
    pub(super) shown: Vec<(PeerId, Vec<Multiaddr>)>,
    rates: Rates,
    /// What is to be done about requests that were refused.
    turning: VecDeque<ToTheSwarm>,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
#[error("too many requests from this address")]
struct AskedTooOften;

/// What Kademlia asks of the swarm.
type ToTheSwarm = ToSwarm<kad::Event, ToConnection>;

impl Kademlia {
    pub(super) fn new(inner: kad::Behaviour<KadRecords>, is_closed: bool) -> Self {
        let (proven, unheard, unsaid) = (HashSet::new(), Vec::new(), VecDeque::new());
        Self {
            inner,
            from: HashMap::new(),
            used: HashMap::new(),
            asked_us: HashMap::new(),
            unanswered: HashMap::new(),
            dials: Dials::default(),
            watch: Watch::default(),
            is_closed,
            proven,
            unheard,
            unsaid,
            through: None,
            shown: Vec::new(),
            rates: Rates::new(Instant::now()),
            turning: VecDeque::new(),
        }
    }

    /// When a connected peer last asked or was asked something.
    pub(super) fn used(&self, peer: &PeerId) -> Option<Instant> {
        self.used.get(peer).copied()
    }

    /// Whether a connected peer was asked something and has answered all, and has long had the answers that it asked for.
    pub(super) fn is_spent(&self, peer: &PeerId) -> bool {
        let waits = |asked_at: &Instant| asked_at.elapsed() < limits::REQUEST;
        self.unanswered.get(peer) == Some(&0) && !self.asked_us.get(peer).is_some_and(waits)
    }

    /// What peers were turned away for asking too often.
    pub(super) fn turned(&self) -> Turned {
        self.rates.turned
    }

    /// How often who has asked, for a node that goes on under another key.
    pub(super) fn take_rates(&mut self) -> Rates {
        std::mem::replace(&mut self.rates, Rates::new(Instant::now()))
    }

    /// Counts on from there.
    pub(super) fn begin_at(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// Whether a message may be looked at: one that asks nothing may.
    fn is_within_rate(&mut self, peer_id: PeerId, connection: ConnectionId, event: &FromConnection) -> bool {
        let (tokens, request) = match event {
            FromConnection::FindNodeReq { request_id, .. }
            | FromConnection::GetProvidersReq { request_id, .. }
            | FromConnection::GetRecord { request_id, .. } => (1, Some(*request_id)),
            FromConnection::PutRecord { request_id, .. } => (limits::PUT_TOKENS, Some(*request_id)),
            FromConnection::AddProvider { .. } => (1, None),
            _ => return true,
        };
        match self.rates.ask(Instant::now(), self.from.get(&connection).copied(), tokens) {
            Verdict::Serve => return true,
            Verdict::Refuse => {
                let is_put = matches!(event, FromConnection::PutRecord { .. });
                // To libp2p both are answers that name nobody; who hands a record on sees that a PUT was not looked at.
                let closer_peers = Vec::new();
                let event = request.map(|request_id| match is_put {
                    true => ToConnection::GetRecordRes { record: None, closer_peers, request_id },
                    false => ToConnection::FindNodeRes { closer_peers, request_id },
                });
                let refusal =
                    |event| ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event };
                self.turning.extend(event.map(refusal));
            }
            Verdict::Close => {
                tracing::debug!(peer = %peer_id, "asks too often: closed");
                let connection = CloseConnection::One(connection);
                self.turning.push_back(ToSwarm::CloseConnection { peer_id, connection });
            }
        }
        false
    }

    fn see(&mut self, peer: PeerId, connection: ConnectionId, event: &FromConnection) {
        let from = self.from.get(&connection).copied();
        if is_end_of_request(event)
            && let Some(left) = self.unanswered.get_mut(&peer)
        {
            *left = left.saturating_sub(1);
        }
        match event {
            FromConnection::FindNodeRes { query_id, closer_peers } => {
                if self.through == Some((*query_id, peer)) {
                    self.through = None;
                    self.shown = closer_peers.iter().map(|near| (near.node_id, near.multiaddrs.clone())).collect();
                    self.shown.truncate(limits::WALK_DIALS);
                }
                self.watch.refused(query_id);
                self.watch.answered(query_id, peer, from);
            }
            FromConnection::GetRecordRes { query_id, .. } => {
                // Of a GET nobody asks for it.
                self.watch.busy(query_id);
                self.watch.told(query_id, from);
                self.watch.answered(query_id, peer, from);
            }
            FromConnection::PutRecordRes { query_id, .. } => self.watch.answered(query_id, peer, from),
            FromConnection::QueryError { query_id, error } => self.watch.failed(query_id, &peer, error),
            _ => {}
        }
    }

    fn before_sending(&mut self, peer: PeerId, event: ToConnection) -> ToConnection {
        self.used.insert(peer, Instant::now());
        match event {
            ToConnection::Reset(request_id) => ToConnection::FindNodeRes { closer_peers: Vec::new(), request_id },
            ToConnection::GetRecord { query_id, .. }
            | ToConnection::FindNodeReq { query_id, .. }
            | ToConnection::PutRecord { query_id, .. } => {
                self.watch.sent(&query_id, peer);
                *self.unanswered.entry(peer).or_default() += 1;
                event
            }
            event => event,
        }
    }

    /// The peer belongs to the network: what was kept back is heard now; what is to be said goes out at the next poll.
    pub(super) fn prove(&mut self, peer: PeerId) {
        if !self.is_closed || !self.proven.insert(peer) {
            return;
        }
        let (now, later) = std::mem::take(&mut self.unheard).into_iter().partition(|(from, ..)| *from == peer);
        self.unheard = later;
        for (peer, connection, event) in now {
            self.hear(peer, connection, event);
        }
    }

    /// Walks to a place, and asks a certain peer for it too. libp2p begins with those whom it knows to be nearest: after a cut that
    /// are the peers of one half. What this one names comes into [`Self::shown`].
    pub(super) fn walk_through(&mut self, peer: PeerId, place: PeerId) {
        let query_id = self.inner.get_closest_peers(place);
        self.through = Some((query_id, peer));
        let request = ToConnection::FindNodeReq { key: place.to_bytes(), query_id };
        if self.unsaid.len() < limits::UNPROVEN {
            self.unsaid.push_back((peer, NotifyHandler::Any, request));
        }
    }

    /// The peer is gone; another connection begins anew.
    pub(super) fn unprove(&mut self, peer: &PeerId) {
        self.used.remove(peer);
        self.unanswered.remove(peer);
        self.asked_us.remove(peer);
        self.proven.remove(peer);
        self.unheard.retain(|(from, ..)| from != peer);
        self.unsaid.retain(|(to, ..)| to != peer);
    }

    fn is_heard(&self, peer: &PeerId) -> bool {
        !self.is_closed || self.proven.contains(peer)
    }

    fn is_placed(&mut self, peer: PeerId) -> bool {
        let bucket = self.inner.kbucket(peer);
        bucket.is_some_and(|bucket| bucket.iter().any(|entry| *entry.node.key.preimage() == peer))
    }

    fn hear(&mut self, peer: PeerId, connection: ConnectionId, event: FromConnection) {
        self.used.insert(peer, Instant::now());
        if is_request(&event) {
            self.asked_us.insert(peer, Instant::now());
        }
        let origin = match self.from.get(&connection).copied() {
            None => Origin::Unknown,
            Some(ip) if self.is_placed(peer) => Origin::Member(ip),
            Some(ip) => Origin::Peer(ip),
        };
        self.see(peer, connection, &event);
        // libp2p would forget it, since records have no time to live of its kind here.
        let left = match &event {
            FromConnection::PutRecord { record, .. } => record.expires.map(|end| end.duration_since(Instant::now())),
            _ => None,
        };
        let store = self.inner.store_mut();
        (store.origin, store.peer, store.left) = (origin, Some(peer), left);
        self.inner.on_connection_handler_event(peer, connection, event);
        let store = self.inner.store_mut();
        (store.origin, store.peer, store.left) = (Origin::Own, None, None);
    }

    /// What is to be said by ourselves, and what was kept back for a peer that is proven now.
    fn released(&mut self) -> Option<ToTheSwarm> {
        let index = self.unsaid.iter().position(|(peer, ..)| self.is_heard(peer))?;
        let (peer_id, handler, event) = self.unsaid.remove(index)?;
        let event = self.before_sending(peer_id, event);
        Some(ToSwarm::NotifyHandler { peer_id, handler, event })
    }
}

impl Deref for Kademlia {
    type Target = kad::Behaviour<KadRecords>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Kademlia {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl NetworkBehaviour for Kademlia {
    type ConnectionHandler = <kad::Behaviour<KadRecords> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = kad::Event;

    fn handle_pending_inbound_connection(
        &mut self,
        _connection: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let is_let_in = self.rates.lets_in(Instant::now(), ip(remote));
        if is_let_in { Ok(()) } else { Err(ConnectionDenied::new(AskedTooOften)) }
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // With its identity, as kad itself writes addresses: otherwise it enters this one a second time and finds it no more.
        let remote = with_peer(remote, peer);
        self.inner.handle_established_outbound_connection(connection, peer, &remote, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.dials.on_swarm_event(&event);
        match &event {
            FromSwarm::ConnectionEstablished(established) => {
                if let Some(ip) = ip(established.endpoint.get_remote_address()) {
                    self.from.insert(established.connection_id, ip);
                }
            }
            FromSwarm::ConnectionClosed(closed) => _ = self.from.remove(&closed.connection_id),
            FromSwarm::DialFailure(failure) => {
                if let Some(peer) = &failure.peer_id {
                    self.watch.unreachable(peer);
                }
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        if !self.is_within_rate(peer, connection, &event) {
            return;
        }
        if self.is_heard(&peer) {
            self.hear(peer, connection, event);
        } else if has_room(self.unheard.iter().map(|(from, ..)| from), &peer) {
            self.unheard.push((peer, connection, event));
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Whoever refuses is polled afterwards, before the next message: no waker is needed, and there is little.
        if let Some(event) = self.turning.pop_front().or_else(|| self.released()) {
            return Poll::Ready(event);
        }
        if let Some(opts) = self.dials.pop() {
            return Poll::Ready(ToSwarm::Dial { opts });
        }
        loop {
            match self.inner.poll(context) {
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event }) if !self.is_heard(&peer_id) => {
                    if has_room(self.unsaid.iter().map(|(to, ..)| to), &peer_id) {
                        self.unsaid.push_back((peer_id, handler, event));
                    }
                }
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event }) => {
                    let event = self.before_sending(peer_id, event);
                    return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event });
                }
                Poll::Ready(ToSwarm::Dial { opts }) => {
                    if let Some(peer) = opts.get_peer_id() {
                        self.watch.dialled(peer);
                    }
                    self.dials.push(opts);
                    if let Some(opts) = self.dials.pop() {
                        return Poll::Ready(ToSwarm::Dial { opts });
                    }
                }
                other => return other,
            }
        }
    }
}

fn is_request(event: &FromConnection) -> bool {
    matches!(
        event,
        FromConnection::FindNodeReq { .. } | FromConnection::GetRecord { .. } | FromConnection::PutRecord { .. }
    )
}

/// Whether it is the answer to a request of ours, or says that there will be none.
fn is_end_of_request(event: &FromConnection) -> bool {
    matches!(
        event,
        FromConnection::FindNodeRes { .. }
            | FromConnection::GetRecordRes { .. }
            | FromConnection::PutRecordRes { .. }
            | FromConnection::QueryError { .. }
    )
}

/// Whether one more message may be kept back for a peer: strangers must not take the room of those who will be proven.
fn has_room<'a>(kept: impl Iterator<Item = &'a PeerId>, peer: &PeerId) -> bool {
    let (mut all, mut its) = (0, 0);
    for other in kept {
        all += 1;
        its += usize::from(other == peer);
    }
    all < limits::UNPROVEN && its < limits::UNPROVEN_PER_PEER
}

#[cfg(test)]
mod tests {
    use super::super::Clock;
    use super::super::renew::NoRecords;
    use super::super::watched::Reply;
    use super::*;

    #[test]
    fn a_put_that_was_not_looked_at_is_told_from_one_that_was_refused() {
        let (own, peer, connection) = (PeerId::random(), PeerId::random(), ConnectionId::new_unchecked(1));
        let inner = kad::Behaviour::new(own, KadRecords::new(Box::new(NoRecords), Clock::default()));
        let mut kademlia = Kademlia::new(inner, false);
        let mut said = |answer: fn(QueryId) -> FromConnection| {
            let record = kad::Record::new(vec![1], vec![2]);
            let query = kademlia.put_record_to(record, std::iter::once(peer), kad::Quorum::One);
            kademlia.watch.begin(query, std::sync::Arc::default());
            kademlia.see(peer, connection, &answer(query));
            kademlia.watch.end(&query).reply
        };
        let refused = said(|query_id| FromConnection::FindNodeRes { closer_peers: Vec::new(), query_id });
        let busy = said(|query_id| FromConnection::GetRecordRes { record: None, closer_peers: Vec::new(), query_id });
        assert_eq!((refused, busy), (Some(Reply::Refused), Some(Reply::Busy)));
    }

    #[test]
    fn a_stranger_that_talks_much_takes_no_room_from_others() {
        let (stranger, newcomer) = (PeerId::random(), PeerId::random());
        let mut kept = vec![stranger; limits::UNPROVEN_PER_PEER - 1];
        assert!(has_room(kept.iter(), &stranger));
        kept.push(stranger);
        assert!(!has_room(kept.iter(), &stranger) && has_room(kept.iter(), &newcomer));
        kept.extend(std::iter::repeat_with(PeerId::random).take(limits::UNPROVEN - kept.len()));
        assert!(!has_room(kept.iter(), &newcomer), "all together are bounded");
        const { assert!(limits::UNPROVEN >= limits::GUESTS * limits::UNPROVEN_PER_PEER, "all guests at once") };
    }
}
