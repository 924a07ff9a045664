// SPDX-License-Identifier: GPL-2.0-or-later
//! One of those around what is judged: a socket, and what it hears.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use wire::address::EidPrefix;
use wire::control::{ControlMessage, MapReferral, MapReply, MapRequest, Nonce, Referral};

use crate::exchange;
use crate::suite::probe::{Fault, broken, missing};

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// After this silence nothing comes any more: longer than a map system needs, shorter than it waits to ask again.
const SILENCE: Duration = Duration::from_millis(600);
/// Longest message that is taken.
const MESSAGE: usize = 4096;

/// A socket, and who it is.
pub(super) struct Party {
    socket: UdpSocket,
    /// Its address and port.
    pub(super) at: SocketAddr,
    /// Who asked it last.
    pub(super) asked_by: Cell<Option<SocketAddr>>,
}

/// A message that came.
pub(super) struct Came {
    pub(super) from: SocketAddr,
    pub(super) message: ControlMessage,
    /// Its octets.
    pub(super) bytes: Vec<u8>,
}

impl Party {
    pub(super) fn bind(address: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        Self::of(UdpSocket::bind((address, port)).with_context(|| format!("UDP {address}:{port}"))?)
    }

    pub(super) fn of(socket: UdpSocket) -> anyhow::Result<Self> {
        let at = socket.local_addr()?;
        Ok(Self { socket, at, asked_by: Cell::new(None) })
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.at.ip()
    }

    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), Fault> {
        exchange::sent(&self.socket, to, bytes);
        self.socket.send_to(bytes, to).map(drop).map_err(missing)
    }

    /// The next message that the predicate wants; others are of earlier checks.
    pub(super) fn wait(&self, patience: Duration, wanted: impl Fn(&ControlMessage) -> bool) -> Option<Came> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; MESSAGE];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                exchange::silence(&self.socket, patience);
                return None;
            }
            let Ok((octets, from)) = self.socket.recv_from(&mut buffer) else { continue };
            match ControlMessage::decode(&buffer[..octets]) {
                Ok(message) if wanted(&message) => {
                    exchange::came(&self.socket, from, &buffer[..octets]);
                    return Some(Came { from, message, bytes: buffer[..octets].to_vec() });
                }
                _ => {}
            }
        }
    }

    /// The next ECM with D for `eid`, and the Map-Request in it.
    pub(super) fn asked(&self, eid: &EidPrefix) -> Result<(SocketAddr, MapRequest), Fault> {
        let lacks = || broken(format!("expected a DDT Map-Request for {eid} at {}; none came", self.at));
        self.asked_within(PATIENCE, eid).ok_or_else(lacks)
    }

    /// The same, if it comes before there is silence.
    pub(super) fn asked_again(&self, eid: &EidPrefix) -> Option<(SocketAddr, MapRequest)> {
        self.asked_within(SILENCE, eid)
    }

    /// The same within a time.
    pub(super) fn asked_within(&self, patience: Duration, eid: &EidPrefix) -> Option<(SocketAddr, MapRequest)> {
        let came = self.wait(patience, |message| request_of(message, eid).is_some_and(|(ddt, _)| ddt))?;
        self.asked_by.set(Some(came.from));
        let (_, request) = request_of(&came.message, eid)?;
        Some((came.from, request))
    }

    /// Nothing for `eid` comes.
    pub(super) fn is_left_alone(&self, eid: &EidPrefix) -> bool {
        self.is_left_alone_for(SILENCE, eid)
    }

    /// The same for a time.
    pub(super) fn is_left_alone_for(&self, time: Duration, eid: &EidPrefix) -> bool {
        self.wait(time, |message| request_of(message, eid).is_some()).is_none()
    }

    /// The Map-Reply with this nonce.
    pub(super) fn map_reply(&self, nonce: Nonce) -> Result<MapReply, Fault> {
        self.reply_within(PATIENCE, nonce)
            .ok_or_else(|| broken(format!("expected a Map-Reply to nonce {nonce}; none came")))
    }

    /// The Map-Reply with this nonce, unless there is silence.
    pub(super) fn has_reply(&self, nonce: Nonce) -> bool {
        self.reply_within(SILENCE, nonce).is_some()
    }

    fn reply_within(&self, patience: Duration, nonce: Nonce) -> Option<MapReply> {
        let came =
            self.wait(patience, |message| matches!(message, ControlMessage::MapReply(reply) if reply.nonce == nonce))?;
        match came.message {
            ControlMessage::MapReply(reply) => Some(reply),
            _ => None,
        }
    }

    /// The Map-Referral with this nonce.
    pub(super) fn map_referral(&self, nonce: Nonce) -> Result<(Came, Referral), Fault> {
        let is_it = |message: &ControlMessage| matches!(message, ControlMessage::MapReferral(it) if it.nonce == nonce);
        let came = self.wait(PATIENCE, is_it).ok_or_else(|| broken("expected a Map-Referral; none came"))?;
        let record = match &came.message {
            ControlMessage::MapReferral(MapReferral { records, .. }) => records.first().cloned(),
            _ => None,
        };
        Ok((came, record.ok_or_else(|| broken("a Map-Referral without a record"))?))
    }
}

/// D, and the Map-Request for `eid` of an ECM.
fn request_of(message: &ControlMessage, eid: &EidPrefix) -> Option<(bool, MapRequest)> {
    let ControlMessage::Ecm(ecm) = message else { return None };
    let Ok(ControlMessage::MapRequest(request)) = ControlMessage::decode(&ecm.message) else { return None };
    let is_it = request.records.iter().any(|record| record.eid.ip_prefix().as_ref() == Some(eid));
    is_it.then_some((ecm.ddt, request))
}
