// SPDX-License-Identifier: GPL-2.0-or-later
//! A Map-Request that is to be answered: who asked, and where the answer goes.

use std::net::{IpAddr, SocketAddr};

use wire::control::{ControlMessage, Ecm, MapRequest, Nonce};

use crate::limits::REQUEST_RECORDS;
use crate::refusal::Refusal;
use crate::register::label::AnyEid;
use crate::resolve::found::Audience;
use crate::resolve::lispsec::Protection;
use crate::resolve::subscribing::Wanted;
use crate::subscribe::association::Brought;
use crate::transport::Via;

/// Who asked, and where the answer goes.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) via: Via,
    pub(super) reply_to: ReplyTo,
    pub(super) nonce: Nonce,
    /// The whole ECM, for forwarding.
    pub(super) ecm: Vec<u8>,
    /// Its records.
    pub(super) records: usize,
    /// D of the ECM: a DDT resolver, which takes no Map-Reply from us.
    pub(super) ddt: bool,
    /// Next hops it went to already.
    pub(super) forwarded: Vec<SocketAddr>,
    /// Subscriptions that wait for lookups.
    pub(super) wanted: Vec<Wanted>,
    /// Whether it does nothing but end subscriptions.
    pub(super) is_leaving: bool,
    /// The rule, or the registration, that the first label of an answer is of: what the limit of replies about one EID counts,
    /// because names under it are made up without end.
    pub(super) about: Option<AnyEid>,
    /// The one-time key, if something is to be subscribed to (RFC 9437, section 7.1).
    pub(super) brought: Option<Brought>,
    /// What a LISP-SEC answer is made with (RFC 9303).
    pub(super) protection: Option<Protection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyTo {
    Pipe,
    Udp { local: SocketAddr, remote: SocketAddr },
}

impl Ask {
    /// Whose limits count; `None` for the pipe.
    pub(super) fn target(&self) -> Option<IpAddr> {
        match self.reply_to {
            ReplyTo::Pipe => None,
            ReplyTo::Udp { remote, .. } => Some(remote.ip()),
        }
    }

    pub(super) fn audience(&self) -> Audience {
        match self.via {
            Via::Pipe => Audience::Pipe,
            Via::Socket { .. } => Audience::Network,
        }
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self.via {
            Via::Pipe => None,
            Via::Socket { local, .. } => Some(local),
        }
    }
}

/// The Map-Request of an ECM, if it is one that a Map-Resolver answers.
pub(super) fn inner_request(ecm: &Ecm) -> Result<MapRequest, Refusal> {
    let request = match ControlMessage::decode(&ecm.message) {
        Ok(ControlMessage::MapRequest(request)) => request,
        Ok(_) => return Err(Refusal::EcmNotMapRequest),
        Err(error) => {
            tracing::debug!(%error, "malformed");
            return Err(Refusal::Malformed);
        }
    };
    if request.probe {
        return Err(Refusal::ProbeInEcm);
    }
    if request.dont_map_reply {
        return Err(Refusal::RequestWantsNoReply);
    }
    match request.records.len() {
        0 => Err(Refusal::RequestEmpty),
        1..=REQUEST_RECORDS => Ok(request),
        _ => Err(Refusal::RequestTooManyRecords),
    }
}
