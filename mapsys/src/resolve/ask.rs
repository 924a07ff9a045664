// SPDX-License-Identifier: GPL-2.0-or-later
//! A Map-Request that is to be answered: who asked, and where the answer goes.

use std::net::{IpAddr, SocketAddr};

use wire::address::EidPrefix;
use wire::control::{ControlMessage, Ecm, EidRequest, MapRequest, Nonce};

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
    /// Of this node's Map-Requests, for what is kept of it elsewhere.
    pub(super) number: u64,
    pub(super) via: Via,
    pub(super) reply_to: ReplyTo,
    /// The answer goes to a NAT: nobody else can answer.
    pub(super) is_behind_nat: bool,
    pub(super) nonce: Nonce,
    /// The whole ECM, for forwarding.
    pub(super) ecm: Vec<u8>,
    /// Its records.
    pub(super) records: usize,
    /// D of the ECM: a DDT resolver, which takes no Map-Reply from us.
    pub(super) ddt: bool,
    /// Next hops it went to already.
    pub(super) forwarded: Vec<SocketAddr>,
    /// For whom its octets were counted: what may be sent to these is bounded by them.
    pub(super) counted: Vec<IpAddr>,
    /// Whether some of it is searched for in the tree.
    pub(super) is_searched: bool,
    /// What of several records goes, or went, to others than ETRs of sites here.
    pub(super) parts: Vec<Part>,
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

/// The records of a request that have one next hop: what the others ask for it would answer too, and an ITR takes the last answer.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) next_hop: SocketAddr,
    /// The whole ECM, as that next hop can read it; `None` once the part is sent.
    pub(super) ecm: Option<Vec<u8>>,
    /// What it is about.
    pub(super) hosts: Vec<EidPrefix>,
    /// What the limit of replies about one EID counts it for.
    pub(super) about: EidPrefix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyTo {
    Pipe,
    Udp { local: SocketAddr, remote: SocketAddr },
}

impl Ask {
    /// Whether another node may answer it, at its ITR-RLOCs.
    ///
    /// # Errors
    /// `ForeignBehindNat`.
    pub(super) fn may_be_sent_on(&self) -> Result<(), Refusal> {
        if self.is_behind_nat { Err(Refusal::ForeignBehindNat) } else { Ok(()) }
    }

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

/// An ECM with those of its records alone that ask for `hosts`, one for each; octet for octet as it is if these are all.
///
/// # Errors
/// `NotEncodable`, or what [`inner_request`] says.
pub(super) fn asking_for(ecm: &[u8], hosts: &[EidPrefix]) -> Result<Vec<u8>, Refusal> {
    let outer = Ecm::decode(ecm).map_err(|_| Refusal::Malformed)?;
    let mut request = inner_request(&outer)?;
    let (all, mut wanted) = (request.records.len(), hosts.to_vec());
    request.records.retain(|record| {
        let found = wanted.iter().position(|host| host_of(record) == Some(*host));
        found.map(|at| wanted.swap_remove(at)).is_some()
    });
    if request.records.len() == all {
        return Ok(ecm.to_vec());
    }
    let message = request.encode().map_err(|_| Refusal::NotEncodable)?;
    Ecm { message, ..outer }.encode().map_err(|_| Refusal::NotEncodable)
}

/// The host that a record asks for; `None` of a name, a MAC address or a pair.
pub(super) fn host_of(record: &EidRequest) -> Option<EidPrefix> {
    record.eid.ip_prefix().map(|prefix| EidPrefix::host(prefix.iid, prefix.net.addr()))
}

/// The Map-Request of an ECM, if it is one that a Map-Resolver answers.
pub(super) fn inner_request(ecm: &Ecm) -> Result<MapRequest, Refusal> {
    answerable(ControlMessage::decode(&ecm.message).map_err(|_| Refusal::Malformed)?)
}

/// What came in an ECM, if it is a Map-Request that a Map-Resolver answers.
pub(super) fn answerable(inner: ControlMessage) -> Result<MapRequest, Refusal> {
    let ControlMessage::MapRequest(request) = inner else { return Err(Refusal::EcmNotMapRequest) };
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
