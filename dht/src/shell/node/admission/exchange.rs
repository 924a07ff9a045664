// SPDX-License-Identifier: GPL-2.0-or-later
//! Presentations and their answers: what is said on a new connection, and what comes of it.

use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::request_response::{self, Message, OutboundFailure, ResponseChannel};
use libp2p::{Multiaddr, PeerId};

use super::Event;
use super::clocks::uptime;
use super::known::Exchange;
use crate::admit::judge::{check_standing, name};
use crate::admit::message::Millis;
use crate::admit::{Admitted, Answer, Ends, Member, Presentation, Refused, judge};
use crate::shell::limits;
use crate::shell::node::addresses::{ip, split_peer};
use crate::shell::node::driver::Driver;
use crate::store::Standing;

impl Driver {
    /// A connection stands: with the first one to a peer, we present ourselves. Where that one comes from is where the peer is
    /// seen: by a second one from elsewhere it would free the share of a block that it has used up.
    pub(in crate::shell::node) fn greet(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        let address = endpoint.get_remote_address();
        let known = self.admission.peers.entry(peer).or_default();
        if endpoint.is_dialer() {
            known.reached = Some(split_peer(address).0);
        }
        if known.is_connected {
            return;
        }
        known.connect(Instant::now());
        self.is_seen_at(peer, ip(address));
        let presentation = self.admission.present_to(&peer);
        let request = self.swarm.behaviour_mut().admit.send_request(&peer, presentation);
        if let Some(known) = self.admission.peers.get_mut(&peer) {
            known.exchange = Exchange::Asked { request, asked_at: uptime() };
        }
    }

    /// The last connection to a peer is gone; in the routing table it may stay.
    pub(in crate::shell::node) fn part(&mut self, peer: &PeerId) {
        self.kad().unprove(peer);
        if let Some(known) = self.admission.peers.get_mut(peer) {
            known.is_connected = false;
        }
    }

    pub(in crate::shell::node) fn on_admission(&mut self, event: Event) {
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.on_presented(peer, &request, channel);
            }
            Event::Message { peer, message: Message::Response { request_id, response }, .. } => {
                self.on_answered(peer, request_id, response);
            }
            Event::OutboundFailure { error, .. } => {
                let name = match error {
                    OutboundFailure::UnsupportedProtocols => "not-spoken",
                    OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => "malformed",
                    OutboundFailure::Timeout => "timeout",
                    _ => "connection",
                };
                *self.admission.stats.failed.entry(name).or_default() += 1;
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    fn on_presented(&mut self, peer: PeerId, presented: &[u8], channel: ResponseChannel<Answer>) {
        let verdict = self.judge(peer, presented);
        let code = verdict.as_ref().map_or_else(Refused::code, |_| Answer::WELCOME);
        let answer = Answer { code, time: Millis::of(self.admission.clock.now()) };
        // Who does not wait for the answer has lost its connection.
        let _ = self.swarm.behaviour_mut().admit.send_response(channel, answer);
        match verdict {
            Ok(admitted) => self.on_admitted(peer, admitted),
            Err(refused) => self.on_refused(peer, &refused),
        }
    }

    fn judge(&mut self, peer: PeerId, presented: &[u8]) -> Result<Admitted, Refused> {
        let known = self.admission.peers.entry(peer).or_default();
        known.presentations += 1;
        if known.presentations > limits::PRESENTATIONS {
            return Err(Refused::TooOften);
        }
        let presented = Presentation::decode(presented).map_err(Refused::Malformed)?;
        let id = peer.to_bytes();
        let now = self.admission.clock.now();
        let mut cache = std::mem::take(&mut self.admission.cache);
        let ends = Ends { from: &id, to: &self.admission.own };
        let records = &self.swarm.behaviour_mut().kad.store_mut().records;
        let standing = |cn| self.admission.standing(cn, records.standing(cn));
        let verdict = judge(&self.admission.rules, ends, &presented, now, &mut cache, standing);
        self.admission.cache = cache;
        verdict
    }

    fn on_admitted(&mut self, peer: PeerId, admitted: Admitted) {
        self.prove(peer);
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        match admitted {
            Admitted::Client => {
                self.admission.stats.clients += 1;
                known.counts_for_clock = false;
                self.admission.clocks.forget(&peer);
                self.end(peer, "client");
            }
            Admitted::Server(member) => {
                self.admission.stats.servers += 1;
                tracing::debug!(%peer, cn = %member.cn, epoch = member.epoch, "peer admitted");
                known.counts_for_clock = true;
                known.member = Some(member.clone());
                let sees_us_at = known.sees_us_at.take();
                self.admission.take_clock(peer);
                self.end_predecessors(peer, &member);
                self.place(peer);
                if let Some(observed) = sees_us_at {
                    self.on_observed(peer, &observed);
                }
            }
        }
    }

    /// A node's newer key ends the admission of those it replaces.
    fn end_predecessors(&mut self, newcomer: PeerId, member: &Member) {
        let now_known = Standing { epoch: Some(member.epoch), ..Standing::default() };
        let is_replaced =
            |other: &Member| other.cn == member.cn && check_standing(other.cn, other.epoch, now_known).is_err();
        let others = self.admission.peers.iter().filter(|(peer, _)| **peer != newcomer);
        let replaced = others.filter(|(_, known)| known.member.as_ref().is_some_and(is_replaced));
        for peer in replaced.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.end(peer, "superseded");
        }
    }

    fn on_refused(&mut self, peer: PeerId, refused: &Refused) {
        *self.admission.stats.refused.entry(refused.name()).or_default() += 1;
        tracing::debug!(%peer, reason = refused.name(), %refused, "peer not admitted");
        let is_stranger = matches!(refused, Refused::NetworkKey | Refused::OtherNetwork(_) | Refused::Malformed(_));
        if matches!(refused, Refused::TooOften) {
            return;
        }
        if matches!(refused, Refused::Dates(_)) && self.admission.stats.refused.get(refused.name()) == Some(&1) {
            tracing::warn!(%refused, "certificates of a peer hold by its clock and not by that of this machine: is this one right?");
        }
        if !is_stranger {
            self.prove(peer);
        }
        let is_closed = self.admission.is_closed();
        if let Some(known) = self.admission.peers.get_mut(&peer) {
            known.counts_for_clock = matches!(refused, Refused::Dates(_));
            if !known.counts_for_clock {
                self.admission.clocks.forget(&peer);
            }
            // The connection ends a moment later: closed at once, it would take the answer with it.
            known.turned_away_at = (is_closed && is_stranger).then(Instant::now);
        }
        self.admission.take_clock(peer);
        self.end(peer, refused.name());
    }

    /// The peer belongs to this network: its requests are served, and ours go to it.
    fn prove(&mut self, peer: PeerId) {
        self.kad().prove(peer);
        if let Some(known) = self.admission.peers.get_mut(&peer) {
            known.is_proven = true;
        }
    }

    fn on_answered(&mut self, peer: PeerId, answered: request_response::OutboundRequestId, answer: Answer) {
        let Some(known) = self.admission.peers.get_mut(&peer) else { return };
        let Exchange::Asked { request, asked_at } = known.exchange else { return };
        let Some(time) = answer.time.time().filter(|_| request == answered) else { return };
        known.exchange = Exchange::Answered { asked_at, heard_at: uptime(), time };
        self.admission.take_clock(peer);
        if answer.code == Answer::WELCOME {
            return;
        }
        let reason = name(answer.code);
        let count = self.admission.stats.refused_by.entry(reason).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(%peer, reason, "a peer does not admit this node into its routing table");
        }
    }

    /// Whether a peer is a member, whose word about us counts; that of another waits until it is one.
    pub(in crate::shell::node) fn counts_as_observer(&mut self, peer: PeerId, observed: &Multiaddr) -> bool {
        let Some(known) = self.admission.peers.get_mut(&peer) else { return false };
        if known.member.is_none() {
            known.sees_us_at = Some(observed.clone());
        }
        known.member.is_some()
    }
}
