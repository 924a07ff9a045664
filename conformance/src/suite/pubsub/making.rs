// SPDX-License-Identifier: GPL-2.0-or-later
//! Security associations that LISP-SEC makes where no key is shared beforehand.

use wire::control::auth::Secret;
use wire::control::lispsec::{EcmAd, EidAd, HmacAlgorithm, Kdf, OneTimeKey, PubSubKey, WrapId};
use wire::control::{Ecm, MapRequest, Nonce};
use wire::record::Action;

use super::office::{MAKERS, Office, PATIENCE, Xtr, host, says};
use super::settings::{ITR_KEY_ID, ITR_SECRET};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

pub(super) const PROBES: &[Probe<Office>] = &[
    must("PS-06.01", "9437 7.1", "N and a one-time key, without a key that is shared beforehand", made),
    must("PS-06.02", "9437 7.1", "the same one-time key once more, under a higher nonce", used),
    must("PS-06.03", "9437 5", "a new one-time key, and a lower nonce", anew),
];

/// The xTR of a place among those without a shared key.
fn maker(office: &Office, place: usize) -> Result<Xtr, Fault> {
    let number = MAKERS.get(place).copied().ok_or_else(|| broken("no such xTR"))?;
    office.xtr_of(number, office.server()?.address)
}

fn otk(number: u8) -> OneTimeKey {
    OneTimeKey::new([number; OneTimeKey::OCTETS])
}

/// Sends a Map-Request with the one-time key of this number (RFC 9303, section 6.4).
fn send(xtr: &Xtr, request: &MapRequest, number: u8) -> Result<(), Fault> {
    let otk = otk(number).wrap(ITR_KEY_ID, &Secret::new(ITR_SECRET), request.nonce);
    let eid_ad = EidAd::unfilled(Kdf::HkdfSha256.id());
    let ad = EcmAd { requested_hmac: HmacAlgorithm::Sha256.id(), otk, eid_ad }.encode().map_err(broken)?;
    let ecm = Ecm::decode(&xtr.ecm(&request.encode().map_err(broken)?)?).map_err(broken)?;
    xtr.send_octets(&Ecm { security: Some(ad), ..ecm }.encode().map_err(broken)?)
}

/// The xTR with the key of what it has asked for.
fn under(xtr: Xtr, nonce: Nonce, number: u8) -> Xtr {
    Xtr { key: PubSubKey::new(&otk(number), WrapId::AES_HKDF_SHA256, nonce).auth_key(), ..xtr }
}

/// Subscribes with the one-time key of this number, and acknowledges.
fn subscribed(xtr: Xtr, request: &MapRequest, number: u8) -> Result<Xtr, Fault> {
    send(&xtr, request, number)?;
    let xtr = under(xtr, request.nonce, number);
    let (notify, _) = xtr.notify(PATIENCE)?;
    if notify.nonce != request.nonce {
        return Err(broken(format!("expected nonce {}; came {}", request.nonce, notify.nonce)));
    }
    xtr.ack(&notify)?;
    Ok(xtr)
}

fn made(office: &Office) -> Judgement {
    let (xtr, part) = (maker(office, 0)?, office.registered(1)?);
    let request = xtr.request(10, &[host(part)])?;
    let xtr = subscribed(xtr, &request, 1)?;
    office.register(part, Some(2))?;
    let change = xtr.change()?;
    let is_told = change.records.first().is_some_and(|record| says(record, part, 2)) && xtr.counted(&change) == 11;
    let leaving = xtr.leaving(20, part)?;
    subscribed(xtr, &leaving, 9)?;
    expect(is_told, "confirmation and change are under the key that it makes, and the end under one of its own")
}

fn used(office: &Office) -> Judgement {
    let (xtr, part) = (maker(office, 1)?, office.registered(1)?);
    let request = xtr.request(10, &[host(part)])?;
    let xtr = subscribed(xtr, &request, 2)?;
    send(&xtr, &MapRequest { nonce: Nonce(request.nonce.0 + 5), ..request }, 2)?;
    let reply = xtr.reply()?;
    let is_refused = |of: &wire::record::MappingRecord| of.locators.is_empty() && of.action == Action::DropAuthFailure;
    let holds = reply.records.first().is_some_and(is_refused);
    office.register(part, Some(2))?;
    let change = xtr.change()?;
    expect(holds && xtr.counted(&change) == 11, "Drop/Auth-Failure, and the first association stands")
}

fn anew(office: &Office) -> Judgement {
    let (xtr, part) = (maker(office, 2)?, office.registered(1)?);
    let request = xtr.request(10, &[host(part)])?;
    let xtr = subscribed(xtr, &request, 3)?;
    let lower = xtr.request(3, &[host(part)])?;
    let xtr = subscribed(xtr, &lower, 4)?;
    office.register(part, Some(2))?;
    let change = xtr.change()?;
    expect(xtr.counted(&change) == 4, "a new association begins with any nonce")
}
