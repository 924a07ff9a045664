// SPDX-License-Identifier: GPL-2.0-or-later
//! Where the answer to a Map-Request goes (RFC 9301, section 5.5; DESIGN 4, "Abuse").

use std::net::SocketAddr;

use wire::address::Address;
use wire::control::{Ecm, EidRequest, MapRequest};

use super::ask::{Ask, ReplyTo, host_of};
use super::{Context, Resolver};
use crate::limit::AnswerAt;
use crate::refusal::Refusal;
use crate::transport::{Via, may_send_to};

impl Resolver {
    /// To the pipe, or to the first ITR-RLOC that can be sent to, at the inner source port (RFC 9301, section 5.5).
    pub(super) fn reply_to(&self, via: Via, request: &MapRequest, port: u16) -> Result<ReplyTo, Refusal> {
        let Via::Socket { local, .. } = via else { return Ok(ReplyTo::Pipe) };
        let rlocs = request.itr_rlocs.iter().filter_map(|rloc| rloc.ip());
        rlocs
            .filter(|rloc| port != 0 && may_send_to(*rloc, Some(local)))
            .find_map(|rloc| {
                let local = self.sockets.towards(rloc, Some(local))?;
                Some(ReplyTo::Udp { local, remote: SocketAddr::new(rloc, port) })
            })
            .ok_or(Refusal::RequestNoItrRloc)
    }

    /// To a NAT, if no ITR-RLOC behind it can be sent to, and all that is asked for is foreign: see [`Self::admit_foreign`].
    pub(super) fn reply_to_nat(&self, cx: &Context<'_>, via: Via, ecm: &Ecm, request: &MapRequest) -> Option<ReplyTo> {
        let Via::Socket { local, remote } = via else { return None };
        let is_nat = self.limiter.admit_foreign(remote.ip(), &request.itr_rlocs) == Ok(AnswerAt::Nat);
        let sites = cx.server.sites();
        let is_foreign = |record: &EidRequest| host_of(record).is_some_and(|host| sites.find(&host).is_none());
        let is_for_nat = is_nat && !ecm.ddt && asks_one_thing(request) && request.records.iter().all(is_foreign);
        is_for_nat.then_some(ReplyTo::Udp { local, remote })
    }

    /// Admits a question about an EID not registered here. An ITR that asks from one of its ITR-RLOCs is answered there: to
    /// name itself second must not aim our answers at whom it names first. One behind a NAT is answered at the NAT, from where it asked.
    pub(super) fn admit_foreign(
        &mut self,
        cx: &Context<'_>,
        ask: &mut Ask,
        request: &MapRequest,
    ) -> Result<(), Refusal> {
        let Via::Socket { local: asked, remote: source } = ask.via else { return Ok(()) };
        // What ends a subscription has no ITR-RLOC, and is answered at its source.
        let source_rloc = [Address::from(source.ip())];
        let itr_rlocs = if ask.is_leaving { &source_rloc[..] } else { &request.itr_rlocs };
        let port = match self.limiter.admit_foreign(source.ip(), itr_rlocs)? {
            AnswerAt::ItrRloc => return Ok(()),
            AnswerAt::Source => None,
            AnswerAt::Nat if !asks_one_thing(request) => {
                let is_client = self.limiter.is_client(source.ip());
                return if is_client { Ok(()) } else { Err(Refusal::ForeignNotFromItr) };
            }
            AnswerAt::Nat => Some(source.port()),
        };
        ask.is_behind_nat = port.is_some();
        let ReplyTo::Udp { local, remote } = &mut ask.reply_to else { return Ok(()) };
        if remote.ip() != source.ip() {
            *remote = SocketAddr::new(source.ip(), port.unwrap_or(remote.port()));
            *local = asked;
            self.count(cx, ask, source.ip());
        }
        Ok(())
    }
}

/// Whether it wants to know one thing, now. Of several EIDs some may be registered here, and are answered elsewhere; whoever subscribes is told of
/// changes at its ITR-RLOCs (RFC 9437, section 5), and an SMR asks for nothing.
fn asks_one_thing(request: &MapRequest) -> bool {
    !request.smr && matches!(&request.records[..], [record] if !record.notify)
}
