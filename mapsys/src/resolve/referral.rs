// SPDX-License-Identifier: GPL-2.0-or-later
//! DDT Map-Requests answered with Map-Referrals (RFC 8111, sections 7.1, 7.2 and 8.3).
//!
//! Whoever asked with a DDT Map-Request gets a Map-Referral, and nothing else; the Map-Reply goes to the ITR that it asks for. What
//! is found in the DHT below a prefix that was delegated to this node is acknowledged as if it were registered here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use wire::address::{Address, EidPrefix, Lcaf};
use wire::control::{MapReferral, MapRequest, Referral, ReferralAction};
use wire::record::{Action, MappingRecord};

use super::ask::{Ask, ReplyTo};
use super::found::Found;
use super::own::{self, Own};
use super::reply::Answer;
use super::waiting::Slot;
use super::{Context, Resolver, lispsec};
use crate::ddt::keys::SigningKey;
use crate::ddt::node::{self, Place};
use crate::ddt::signer::{self, subject};
use crate::engine::Output;
use crate::limits::{DELEGATED_SERVERS, REVOCATION_OCTETS};
use crate::refusal::Refusal;
use crate::transport::Via;

/// D in the first octet of an ECM (RFC 8111, section 5).
pub(super) const DDT: u8 = 0x04;

impl Resolver {
    /// Takes a DDT Map-Request: one XEID (RFC 8111, section 5), from somebody who can be answered. What is forwarded of it is
    /// an ordinary ECM: the ETR is no DDT node.
    pub(super) fn admit_ddt(&mut self, cx: &Context<'_>, ask: &mut Ask, request: &MapRequest) -> Result<(), Refusal> {
        let Via::Socket { remote: sender, .. } = ask.via else { return Err(Refusal::ReferralNotServed) };
        if request.records.len() != 1 {
            return Err(Refusal::ReferralNotServed);
        }
        // The Map-Referral goes to the sender, the Map-Reply to the ITR: what came counts once for each of them.
        if !matches!(ask.reply_to, ReplyTo::Udp { remote, .. } if remote.ip() == sender.ip()) {
            self.count(cx, ask, sender.ip());
        }
        if let Some(first) = ask.ecm.first_mut() {
            *first &= !DDT;
        }
        Ok(())
    }

    /// Decides what is configured here; `None` for what the DHT is to be asked.
    pub(super) fn referral_slot(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        asked: EidPrefix,
        host: EidPrefix,
    ) -> Result<Option<Slot>, Refusal> {
        match self.ddt.node.place(cx.server.sites(), &asked, &host) {
            Place::Elsewhere(referral) => self.refer(cx, ask, host, referral).map(Some),
            Place::Undelegated => Ok(None),
            Place::Site => {
                let (octets, asked_at) = (self.reply_octets(ask), ask.local());
                let sendable = |address: IpAddr| self.sockets.towards(address, asked_at).is_some();
                match own::find(cx.server, &host, octets, sendable) {
                    Some(own) => self.own_referral(cx, ask, own, host).map(Some),
                    None => Ok(None),
                }
            }
        }
    }

    /// MS-ACK and MS-NOT-REGISTERED (RFC 8111, section 7.2). Acknowledged is only what was forwarded or answered.
    fn own_referral(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        own: Own,
        host: EidPrefix,
    ) -> Result<Slot, Refusal> {
        let addresses = self.own_addresses(ask);
        let empty = match &own {
            Own::CgeidAbsent => Some(host),
            Own::Records(records) if records.iter().all(is_denial) => {
                records.first().and_then(|record| record.eid.ip_prefix())
            }
            _ => None,
        };
        if let Some(prefix) = empty {
            let referral = self.ddt.node.not_registered(cx.server, &prefix, &host, &addresses);
            return self.refer(cx, ask, host, referral);
        }
        // That this Map-Server has the site is no secret: with LISP-SEC it answers.
        let unprotected = || lispsec::admit_unprotected(cx.server, ask.via, &host);
        if let Some(refusal) = unprotected().err().filter(|_| ask.protection.is_none()) {
            cx.tally.count(refusal);
        } else {
            let slot = self.own_slot(cx, ask, own, host)?;
            self.reply_slot(cx, ask, slot)?;
        }
        self.acknowledge(cx, ask, host)
    }

    /// MS-ACK (RFC 8111, section 7.2) about what is registered of the site of `host`, or `host` itself.
    pub(super) fn acknowledge(&mut self, cx: &mut Context<'_>, ask: &Ask, host: EidPrefix) -> Result<Slot, Refusal> {
        let site = cx.server.sites().find(&host).map(|grant| grant.configured);
        let registered = cx.server.registrations().longest(&host).map(|(prefix, _)| prefix);
        let registered = registered.filter(|prefix| site.is_none_or(|site| site.covers(prefix)));
        let referral = self.ddt.node.acknowledge(&registered.unwrap_or(host), &host, &self.own_addresses(ask));
        self.refer(cx, ask, host, referral)
    }

    /// What the DHT knows of an XEID in a prefix that was delegated to this node.
    pub(super) fn found_referral(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut Ask,
        host: EidPrefix,
        found: &Found,
    ) -> Result<Slot, Refusal> {
        let addresses = self.own_addresses(ask);
        let referral = match found {
            Found::Mapping(mapping) => {
                let prefix = own::narrowed(cx.server, &mapping.prefix, &host);
                match self.found_slot(cx, ask, host, found)? {
                    Slot::Records(records) if records.iter().all(|record| record.locators.is_empty()) => {
                        self.ddt.node.not_registered(cx.server, &prefix, &host, &addresses)
                    }
                    // It is registered; and the ITR hears why it gets no more (RFC 9303, section 6.7, rule 3).
                    slot => {
                        self.reply_slot(cx, ask, slot)?;
                        self.ddt.node.acknowledge(&prefix, &host, &addresses)
                    }
                }
            }
            Found::Hole(prefix) => self.ddt.node.hole(cx.server, prefix, &host),
            // Of a CGEID absence is no proof; it is delegated to whoever holds its key.
            Found::Unregistered(prefix) | Found::CgeidAbsent(prefix) | Found::Refused(prefix) => {
                self.ddt.node.not_registered(cx.server, prefix, &host, &addresses)
            }
            // The client asks again.
            Found::Unknown(_) => return Ok(Slot::Silent),
        };
        self.refer(cx, ask, host, referral)
    }

    /// The Map-Reply to the ITR, if a record is answered with one.
    fn reply_slot(&mut self, cx: &mut Context<'_>, ask: &Ask, slot: Slot) -> Result<(), Refusal> {
        match slot {
            Slot::Records(records) => self.reply(cx, ask, records),
            Slot::Unsigned(records) => self.reply(cx, ask, Answer::unsigned(records)),
            Slot::Waiting(_) | Slot::Silent => Ok(()),
        }
    }

    /// Sends a Map-Referral to the sender of the DDT Map-Request, with the nonce of that.
    fn refer(&mut self, cx: &mut Context<'_>, ask: &Ask, host: EidPrefix, referral: Referral) -> Result<Slot, Refusal> {
        let Via::Socket { local, remote } = ask.via else { return Err(Refusal::ReferralNotServed) };
        // What is acknowledged was limited by its own target; a resolver has many ITRs that ask for one EID.
        let is_limited = referral.action != ReferralAction::MsAck;
        let (target, now) = (remote.ip(), cx.now.monotonic);
        let is_signed = self.ddt.signer.signs(&referral);
        let (keys, signatures) = (key_octets(&referral), self.ddt.signer.octets(&referral));
        let revocations = self.revocations(cx, &referral, &host, local.ip());
        let mut message = MapReferral { nonce: ask.nonce, records: vec![referral] };
        if !self.limiter.is_client(target) {
            let plain = message.encode().map_err(|_| Refusal::NotEncodable)?.len().saturating_sub(keys);
            match is_limited {
                // By the XEID: many are asked for below one delegation.
                true => self.limiter.spend_reply(now, target, host, plain)?,
                false => self.limiter.spend_octets(now, target, plain)?,
            }
            if is_signed {
                self.limiter.spend_signed(now, target, keys + signatures)?;
            }
        }
        if is_signed {
            message.records =
                message.records.into_iter().map(|referral| self.signed(cx, referral)).collect::<Result<_, _>>()?;
        }
        for (key, record) in revocations {
            // Whoever cannot be told this has his answer all the same.
            match self.revoked(cx, target, &key, record) {
                Ok(record) => message.records.push(record),
                Err(refusal) => cx.tally.count(refusal),
            }
        }
        let bytes = message.encode().map_err(|_| Refusal::NotEncodable)?;
        self.ddt.figures.referrals += 1;
        cx.outputs.push_back(Output::Send { local, remote, bytes, counts: None });
        Ok(Slot::Silent)
    }

    /// The record with the signatures of this node. New ones take a thousand times as long as an answer: they are limited.
    fn signed(&mut self, cx: &Context<'_>, referral: Referral) -> Result<Referral, Refusal> {
        if let Some(signatures) = self.ddt.signer.again(&referral, cx.now.wall) {
            return Ok(Referral { signatures, ..referral });
        }
        self.limiter.spend_signing(cx.now.monotonic, subject(&referral))?;
        self.ddt.signer.sign(referral, cx.now.wall).map_err(|_| Refusal::NotEncodable)
    }

    /// What is said beside `said`, to whoever asks: which keys of this node, at `own`, are revoked, for as long as it is configured so
    /// (RFC 8111, section 10.2.1). Of long ones not all fit beside the answer: they take turns.
    fn revocations(
        &self,
        cx: &Context<'_>,
        said: &Referral,
        host: &EidPrefix,
        own: IpAddr,
    ) -> Vec<(Arc<SigningKey>, Referral)> {
        let said = said.eid.ip_prefix();
        let Some(prefix) = said.and_then(|said| self.ddt.node.key_prefix(cx.server.sites(), &said, host)) else {
            return Vec::new();
        };
        let revoked = self.ddt.signer.revoked(&prefix);
        let records = revoked.map(|key| (Arc::clone(key), node::revocation(prefix, own, key.public())));
        let mut records: Vec<_> = records.enumerate().collect();
        if let Some(turn) = self.ddt.figures.referrals.checked_rem(records.len() as u64) {
            records.rotate_left(usize::try_from(turn).unwrap_or_default());
        }
        let mut left = REVOCATION_OCTETS;
        records.retain(|(_, (key, record))| {
            let room = left.checked_sub(octets_of(key, record));
            left = room.unwrap_or(left);
            room.is_some()
        });
        records.sort_by_key(|(index, _)| *index);
        records.into_iter().map(|(_, record)| record).collect()
    }

    /// What revokes a key, with the signature of that key, if `target` may have it too.
    fn revoked(
        &mut self,
        cx: &Context<'_>,
        target: IpAddr,
        key: &Arc<SigningKey>,
        referral: Referral,
    ) -> Result<Referral, Refusal> {
        if !self.limiter.is_client(target) {
            self.limiter.spend_signed(cx.now.monotonic, target, octets_of(key, &referral))?;
        }
        if let Some(signatures) = self.ddt.signer.again(&referral, cx.now.wall) {
            return Ok(Referral { signatures, ..referral });
        }
        self.limiter.spend_signing(cx.now.monotonic, subject(&referral))?;
        self.ddt.signer.sign_revocation(key, referral, cx.now.wall).map_err(|_| Refusal::NotEncodable)
    }

    /// The addresses of this Map-Server, the one that was asked among them.
    fn own_addresses(&self, ask: &Ask) -> Vec<IpAddr> {
        let asked = ask.local().map(|local| local.ip());
        let mut addresses: Vec<IpAddr> = asked
            .into_iter()
            .chain(self.sockets.0.iter().map(SocketAddr::ip))
            .filter(|address| {
                !address.is_unspecified() && (!address.is_loopback() || asked.is_some_and(|a| a.is_loopback()))
            })
            .take(DELEGATED_SERVERS)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// Whether it says that there is nothing. To be asked again is an answer, which the ITR gets.
fn is_denial(record: &MappingRecord) -> bool {
    record.locators.is_empty() && record.action != Action::SendMapRequest
}

/// Octets of a record that revokes `key`, with its signature.
fn octets_of(key: &SigningKey, record: &Referral) -> usize {
    record.encode().map_or(0, |octets| octets.len()) + signer::signature_octets(key)
}

/// Octets of the keys in a record.
fn key_octets(referral: &Referral) -> usize {
    let keys = referral.locators.iter().filter_map(|locator| match &locator.rloc {
        Address::Lcaf(lcaf) => match lcaf.as_ref() {
            Lcaf::SecurityKey { keys, .. } => Some(keys),
            _ => None,
        },
        _ => None,
    });
    keys.flatten().map(Vec::len).sum()
}
