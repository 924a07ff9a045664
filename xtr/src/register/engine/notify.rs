// SPDX-License-Identifier: GPL-2.0-or-later
//! What a Map-Server says: that it has taken what was registered, or something of its own accord.

use std::net::IpAddr;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::auth;
use wire::control::{ControlMessage, MapNotify, Nonce};

use super::{Batch, Output, Refused, Registrar, Server};
use crate::refusal::Refusal;
use crate::transport::MapSystem;

impl Registrar {
    pub(super) fn on_notify(
        &mut self,
        now: Instant,
        from: (MapSystem, Option<IpAddr>),
        message: &MapNotify,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let awaited = |(index, batch): (usize, &Batch)| Some((index, batch.awaited(message.nonce)?));
        let Some((index, way)) = self.batches.iter().enumerate().find_map(awaited) else {
            return self.on_unsolicited(now, from, message, payload);
        };
        if let Err((refusal, prefix)) = self.confirms(&self.batches[index], message, payload) {
            self.batches[index].refused(Refused { refusal, prefix, at: now });
            if refusal == Refusal::NotifyIncomplete {
                // It comes from the Map-Server all the same, as its tag proves.
                self.nonce.answer(message.nonce);
            }
            return Err(refusal);
        }
        self.nonce.answer(message.nonce);
        let batch = &mut self.batches[index];
        // A way without a locator of ours of the server's family has taken none.
        let taken = self.contents.paths(self.servers[batch.server].to, 0);
        let by_all = batch.confirmed_by(way, &taken);
        batch.confirmed(now, by_all);
        self.drop_ended();
        Ok(())
    }

    /// Whether an answer is a Map-Server's, and has what was registered; else why not, and the EID-prefix that it lacks.
    fn confirms(&self, batch: &Batch, message: &MapNotify, payload: &[u8]) -> Result<(), (Refusal, Option<EidPrefix>)> {
        if !self.servers[batch.server].has_signed(payload) {
            return Err((Refusal::NotifyBadTag, None));
        }
        match self.contents.lacking((&batch.prefixes, batch.withdrawing), &message.records) {
            Some(lacking) => Err((Refusal::NotifyIncomplete, Some(lacking))),
            None => Ok(()),
        }
    }

    /// A Map-Notify that answers none of our Map-Registers is acknowledged until its server has heard so (RFC 9301, section
    /// 5.7). It is taken from the server's own address, under its key, and once: its nonces about an EID-prefix rise, over our restarts too. By the RTR that
    /// relayed it the acknowledgement goes back: the server waits for it from there. It confirms nothing. What it says of
    /// EID-prefixes of ours and their parts is believed, as of their move: whoever else can have the server sign may so take one from here at
    /// that server, until the server or the operator gives it back.
    fn on_unsolicited(
        &mut self,
        now: Instant,
        (from, by): (MapSystem, Option<IpAddr>),
        message: &MapNotify,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let by_it = |server: &Server| server.to == from && server.has_signed(payload);
        let index = self.servers.iter().position(by_it).ok_or(Refusal::NotifyUnasked)?;
        if self.nonce.has_used(message.nonce) {
            let is_late = self.nonce.answer(message.nonce);
            return Err(if is_late { Refusal::NotifyLate } else { Refusal::NotifyUnasked });
        }
        let last = self.heard.last(from, &message.records);
        if message.nonce < last || message.nonce == Nonce(0) {
            return Err(Refusal::NotifyUnasked);
        }
        let server = &self.servers[index];
        let path = self.contents.path_back(server.to, by).ok_or(Refusal::NoLocatorOfFamily)?;
        let acknowledgement = ControlMessage::MapNotifyAck(message.clone());
        let bytes = auth::seal(&acknowledgement, &server.key, server.tag).map_err(|_| Refusal::NotEncodable)?;
        let acknowledgement = path.message(bytes).ok_or(Refusal::NotEncodable)?;
        if message.nonce > last {
            let servers = &self.servers;
            let in_use = |known: &MapSystem| servers.iter().any(|server| server.to == *known);
            let kept = self.heard.note((from, message.nonce), &message.records, in_use);
            self.outputs.push_back(Output::PersistHeard(kept));
        }
        self.outputs.push_back(Output::Send(acknowledgement));
        if message.nonce > last {
            message.records.iter().for_each(|record| self.on_changed(now, index, record));
        }
        Ok(())
    }
}
