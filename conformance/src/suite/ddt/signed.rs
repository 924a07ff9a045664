// SPDX-License-Identifier: GPL-2.0-or-later
//! Signatures of Map-Referrals (RFC 8111, section 10), over the wire. A DDT node with a key has 2001:db8::/32, delegates
//! 2001:db8:500::/40, and has revoked a former key; a DDT Map-Resolver has the key of the root that the suite plays for its trust
//! anchor. Each check of the latter has EIDs of its own.

use std::time::SystemTime;

use wire::address::{Address, EidPrefix, Lcaf};
use wire::control::{ControlMessage, MapReferral, Nonce, Referral, ReferralAction, ReferralSignature, SignatureTime};
use wire::record::{LocatorRecord, MapVersion, Ttl};

use super::hall::{Hall, eid};
use super::keys::{GONE, Keys, Life, NEWER, NODE, ROOT, STRANGER};
use super::party::Party;
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should};

pub(super) const PROBES: &[Probe<Hall>] = &[
    must("DT-06.1", "8111 6.4.1", "a referral and a hole of a node with a key: RSA-SHA256 of that key", signatures),
    must("DT-06.2", "8111 10.1", "a signed referral: the keys of the child node", child_keys),
    must("DT-06.3", "8111 10.2.1", "a key that the node has revoked: told with R beside each answer", revocation),
    must(
        "DT-14.1",
        "8111 10.4",
        "a referral that the trust anchor has signed is followed, and its keys count",
        followed,
    ),
    must("DT-14.2", "8111 10.4", "a referral that another key has signed, or none, is not followed", unverified),
    must("DT-14.3", "8111 6.4.1", "a signature whose time is over, or has not come", untimely),
    must("DT-14.4", "8111 10.4", "a referral that was changed on its way is not followed", changed),
    should("DT-14.5", "8111 10.2.1", "what a key signs that has revoked itself", revoked),
    should("DT-14.6", "8111 10.2.1", "what a key signs that another key of its node calls revoked", not_revoked),
];

/// What the node with a key says, each record with its octets.
fn said(hall: &Hall, text: &str) -> Result<Vec<(Referral, Vec<u8>)>, Fault> {
    let nonce = hall.nonce();
    hall.client.send(hall.signer()?, &hall.request(nonce, eid(text)?, true)?)?;
    let (came, _) = hall.client.map_referral(nonce)?;
    let octets = MapReferral::record_octets(&came.bytes).map_err(broken)?;
    match &came.message {
        ControlMessage::MapReferral(MapReferral { records, .. }) => {
            Ok(records.iter().cloned().zip(octets.into_iter().map(<[u8]>::to_vec)).collect())
        }
        _ => Err(broken("no Map-Referral")),
    }
}

/// The record has one signature, of this key, and of now.
fn is_signed_by(keys: &Keys, name: &str, (record, octets): &(Referral, Vec<u8>)) -> Result<(), Fault> {
    let [signature] = &record.signatures[..] else {
        return Err(broken(format!("{:?} with {} signatures", record.action, record.signatures.len())));
    };
    let is_timely = signature.is_timely(SignatureTime::of(SystemTime::now()));
    let is_of_ours = signature.algorithm == ReferralSignature::RSA_SHA256 && signature.original_ttl == record.ttl;
    if is_timely && is_of_ours && keys.verifies(name, record, octets, signature)? {
        return Ok(());
    }
    Err(broken(format!(
        "{:?}: algorithm {}, timely: {is_timely}, or it does not hold",
        record.action, signature.algorithm
    )))
}

fn signatures(hall: &Hall) -> Judgement {
    for (asked, action) in
        [("2001:db8:501::1", ReferralAction::NodeReferral), ("2001:db8:77::1", ReferralAction::DelegationHole)]
    {
        let records = said(hall, asked)?;
        let first = records.first().ok_or_else(|| broken("a Map-Referral without a record"))?;
        if first.0.action != action {
            return Err(broken(format!("{asked}: {:?}; expected {action:?}", first.0.action)));
        }
        is_signed_by(hall.keys()?, ROOT, first)?;
    }
    Ok("openssl verifies both".to_owned())
}

/// R, the address and the keys of a locator.
fn security_key(locator: &LocatorRecord) -> Option<(bool, &Address, &[Vec<u8>])> {
    let Address::Lcaf(lcaf) = &locator.rloc else { return None };
    match lcaf.as_ref() {
        Lcaf::SecurityKey { revoked, address, keys, .. } => Some((*revoked, address, keys)),
        _ => None,
    }
}

fn child_keys(hall: &Hall) -> Judgement {
    let records = said(hall, "2001:db8:502::1")?;
    let locator = records.first().and_then(|(record, _)| record.locators.first());
    let came = locator.and_then(security_key);
    let expected = [hall.keys()?.material(NODE)?];
    let holds = came == Some((false, &hall.first.ip().into(), &expected[..]));
    let told =
        came.map(|(revoked, address, keys)| format!("{} keys of {address}, R={}", keys.len(), u8::from(revoked)));
    expect(holds, told.unwrap_or_else(|| "no keys".to_owned()))
}

fn revocation(hall: &Hall) -> Judgement {
    let expected = vec![hall.keys()?.material(STRANGER)?];
    for asked in ["2001:db8:503::1", "2001:db8:78::1"] {
        let records = said(hall, asked)?;
        let is_it = |(record, _): &&(Referral, Vec<u8>)| {
            record.locators.iter().filter_map(security_key).any(|(revoked, _, keys)| revoked && keys == expected)
        };
        let found = records.iter().find(is_it).ok_or_else(|| broken(format!("{asked}: nothing with R")))?;
        is_signed_by(hall.keys()?, STRANGER, found)?;
        if found.0.eid.ip_prefix() != Some(eid("2001:db8::/32")?) {
            return Err(broken(format!("{asked}: {:?} is revoked", found.0.eid)));
        }
    }
    Ok("for the prefix of the node, and signed by the key itself".to_owned())
}

fn record(action: ReferralAction, prefix: &str, ttl: u32, locators: Vec<Address>) -> Result<Referral, Fault> {
    Ok(Referral {
        ttl: Ttl(ttl),
        action,
        authoritative: true,
        incomplete: false,
        map_version: MapVersion::default(),
        eid: eid(prefix)?.into(),
        locators: locators.into_iter().map(|rloc| LocatorRecord::new(rloc, 1, 100)).collect(),
        signatures: Vec::new(),
    })
}

/// A referral to the first node, which has two keys.
fn referral(hall: &Hall, prefix: &str) -> Result<Referral, Fault> {
    referral_with(hall, &[NODE, NEWER], prefix)
}

fn referral_with(hall: &Hall, keys: &[&str], prefix: &str) -> Result<Referral, Fault> {
    let locator = hall.keys()?.locator(hall.first.ip().into(), keys, false)?;
    record(ReferralAction::NodeReferral, prefix, 1440, vec![locator])
}

/// Has the ITR ask the Map-Resolver with a trust anchor.
fn resolve(hall: &Hall, text: &str) -> Result<(EidPrefix, Nonce), Fault> {
    let (asked, nonce) = (eid(text)?, hall.nonce());
    hall.itr.send(hall.wary()?, &hall.request(nonce, asked, false)?)?;
    Ok((asked, nonce))
}

/// Has a node answer the Map-Resolver when it is asked.
fn answer(node: &Party, asked: &EidPrefix, records: Vec<Referral>) -> Result<(), Fault> {
    let (from, request) = node.asked(asked)?;
    let bytes = MapReferral { nonce: request.nonce, records }.encode().map_err(broken)?;
    node.send(from, &bytes)
}

/// The root refers to the first node; whether that is asked then.
fn follows(hall: &Hall, text: &str, referral: Referral) -> Result<bool, Fault> {
    let (asked, _) = resolve(hall, text)?;
    answer(&hall.root, &asked, vec![referral])?;
    Ok(!hall.first.is_left_alone(&asked))
}

fn followed(hall: &Hall) -> Judgement {
    let (asked, nonce) = resolve(hall, "10.31.0.1")?;
    let signed = hall.keys()?.sign(ROOT, Life::Now, referral(hall, "10.31.0.0/16")?)?;
    answer(&hall.root, &asked, vec![signed])?;
    answer(&hall.first, &asked, vec![hole(hall, NEWER, "10.31.0.0/24")?])?;
    let told = hall.itr.has_reply(nonce);
    expect(told, format!("the node is asked, and what its second key has signed is told: {told}"))
}

fn unverified(hall: &Hall) -> Judgement {
    let stranger = hall.keys()?.sign(STRANGER, Life::Now, referral(hall, "10.32.0.0/16")?)?;
    let (other, none) =
        (follows(hall, "10.32.0.1", stranger)?, follows(hall, "10.33.0.1", referral(hall, "10.33.0.0/16")?)?);
    expect(!other && !none, format!("another key's is followed: {other}; one without: {none}"))
}

fn untimely(hall: &Hall) -> Judgement {
    let signed = |life, prefix| hall.keys()?.sign(ROOT, life, referral(hall, prefix)?);
    let past = follows(hall, "10.34.0.1", signed(Life::Past, "10.34.0.0/16")?)?;
    let future = follows(hall, "10.35.0.1", signed(Life::Future, "10.35.0.0/16")?)?;
    expect(!past && !future, format!("one of yesterday is followed: {past}; one of tomorrow: {future}"))
}

fn changed(hall: &Hall) -> Judgement {
    let mut signed = hall.keys()?.sign(ROOT, Life::Now, referral(hall, "10.36.0.0/17")?)?;
    signed.eid = eid("10.36.0.0/16")?.into();
    let came = follows(hall, "10.36.0.1", signed)?;
    expect(!came, format!("with another prefix than was signed; followed: {came}"))
}

fn hole(hall: &Hall, key: &str, prefix: &str) -> Result<Referral, Fault> {
    hall.keys()?.sign(key, Life::Now, record(ReferralAction::DelegationHole, prefix, 15, Vec::new())?)
}

/// The first node, which has the prefix, says beside a hole of its newer key that `older` is revoked, signed by `by`. Whether the older
/// key counts afterwards: it denies another EID.
fn counts_after(hall: &Hall, second_octet: u8, older: &str, by: &str) -> Result<bool, Fault> {
    let keys = hall.keys()?;
    let prefix = format!("10.{second_octet}.0.0/16");
    let referral = keys.sign(ROOT, Life::Now, referral_with(hall, &[older, NEWER], &prefix)?)?;
    let (asked, nonce) = resolve(hall, &format!("10.{second_octet}.0.1"))?;
    answer(&hall.root, &asked, vec![referral.clone()])?;
    let locator = keys.locator(hall.first.ip().into(), &[older], true)?;
    let mut revocation = record(ReferralAction::NodeReferral, &prefix, 1440, vec![locator])?;
    revocation.locators.iter_mut().for_each(|locator| locator.priority = LocatorRecord::UNUSABLE);
    let beside = hole(hall, NEWER, &format!("10.{second_octet}.0.0/24"))?;
    answer(&hall.first, &asked, vec![beside, keys.sign(by, Life::Now, revocation)?])?;
    if !hall.itr.has_reply(nonce) {
        return Err(broken("the newer key does not count"));
    }
    let (asked, nonce) = resolve(hall, &format!("10.{second_octet}.9.1"))?;
    // It may begin at the root or, if it has nothing to forget, at the node.
    if let Some((from, request)) = hall.root.asked_again(&asked) {
        let bytes = MapReferral { nonce: request.nonce, records: vec![referral] }.encode().map_err(broken)?;
        hall.root.send(from, &bytes)?;
    }
    answer(&hall.first, &asked, vec![hole(hall, older, &format!("10.{second_octet}.9.0/24"))?])?;
    Ok(hall.itr.has_reply(nonce))
}

fn revoked(hall: &Hall) -> Judgement {
    let counts = counts_after(hall, 37, GONE, GONE)?;
    expect(!counts, format!("it counts: {counts}"))
}

fn not_revoked(hall: &Hall) -> Judgement {
    let counts = counts_after(hall, 38, NODE, NEWER)?;
    expect(counts, format!("it counts: {counts}"))
}
