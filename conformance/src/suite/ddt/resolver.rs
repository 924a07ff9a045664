// SPDX-License-Identifier: GPL-2.0-or-later
//! What a DDT Map-Resolver does with the answers of a tree that the suite plays: two roots, and two who are referred to. Each check
//! has EIDs of its own, because referrals are cached.

use std::net::IpAddr;
use std::time::Duration;

use wire::address::EidPrefix;
use wire::control::{Nonce, ReferralAction};

use super::hall::{Hall, Said, eid};
use super::party::Party;
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should};

pub(super) const PROBES: &[Probe<Hall>] = &[
    must(
        "DT-10.1",
        "8111 7.3.1",
        "a request for an EID of which nothing is known: a DDT Map-Request to a root",
        asks_root,
    ),
    must("DT-10.2", "8111 7.3.2", "a NODE-REFERRAL is followed", follows),
    must("DT-10.3", "8111 7.3.2", "an MS-REFERRAL: the Map-Server gets the ITR's request, and answers it", delivers),
    should("DT-10.4", "8111 7.3.1", "an EID beside one that was found: the cached referral is used", cached),
    must("DT-10.5", "8111 7.3.2", "an MS-ACK ends the search", acknowledged),
    must("DT-10.6", "8111 7.3.2", "a root that is silent: the next one is asked", next_root),
    must("DT-11.1", "8111 7.3.4", "a referral to the same prefix is not followed", loops),
    must("DT-11.2", "8111 7.3.4", "a referral to a less specific prefix is not followed", less_specific),
    must("DT-11.3", "8111 7.3.3", "the prefix of a loop is not cached", loop_uncached),
    should("DT-12.1", "8111 7.3.2", "a DELEGATION-HOLE: a Negative Map-Reply of 15 minutes to the ITR", hole),
    must("DT-12.2", "8111 7.3.2", "a DELEGATION-HOLE is cached", hole_cached),
    should(
        "DT-12.3",
        "8111 7.3.2",
        "an MS-NOT-REGISTERED: the other Map-Server is asked, then a Negative Map-Reply of a minute",
        not_registered,
    ),
    must("DT-12.4", "8111 7.3.2", "NOT-AUTHORITATIVE from the root: no answer", not_authoritative),
    should("DT-12.5", "8111 6.4", "an incomplete referral is not cached", incomplete),
    must("DT-13.1", "8111 8.2.1", "a Map-Referral with a nonce that was not sent is dropped", wrong_nonce),
    must("DT-13.2", "8111 8.2.1", "a Map-Referral from somebody who was not asked is dropped", wrong_sender),
    should("DT-13.3", "8111 7.3.3", "a hole that does not contain the EID is no answer", wrong_hole),
];

const NODE: ReferralAction = ReferralAction::NodeReferral;
const MS: ReferralAction = ReferralAction::MsReferral;

fn said<'a>(action: ReferralAction, prefix: &'a str, ttl: u32, servers: &'a [IpAddr]) -> Said<'a> {
    Said { action, prefix, ttl, servers, incomplete: false }
}

/// The ITR asks for an EID, the root is asked for it and says something; the EID, and the nonce of the ITR.
fn begun(hall: &Hall, text: &str, said: Said<'_>) -> Result<(EidPrefix, Nonce), Fault> {
    let asked = eid(text)?;
    let nonce = hall.resolve(asked)?;
    let (_, request) = hall.root.asked(&asked)?;
    hall.say(&hall.root, request.nonce, said)?;
    Ok((asked, nonce))
}

/// The Negative Map-Reply to the ITR, in minutes, and its prefix.
fn negative(hall: &Hall, nonce: Nonce) -> Result<(u32, EidPrefix), Fault> {
    let reply = hall.itr.map_reply(nonce)?;
    let record = reply.records.first().ok_or_else(|| broken("a Map-Reply without a record"))?;
    let prefix = record.eid.ip_prefix().ok_or_else(|| broken("an EID that is no IP prefix"))?;
    if record.locators.is_empty() {
        Ok((record.ttl.0, prefix))
    } else {
        Err(broken("locators in a Negative Map-Reply"))
    }
}

/// The node refers or answers when it is asked.
fn answers(hall: &Hall, node: &Party, asked: &EidPrefix, said: Said<'_>) -> Result<(), Fault> {
    let (_, request) = node.asked(asked)?;
    hall.say(node, request.nonce, said)
}

fn asks_root(hall: &Hall) -> Judgement {
    let asked = eid("10.1.0.1")?;
    hall.resolve(asked)?;
    let (from, request) = hall.root.asked(&asked)?;
    expect(from.ip() == hall.resolver()?.ip() && request.records.len() == 1, format!("D and {asked} from {from}"))
}

fn follows(hall: &Hall) -> Judgement {
    let (asked, _) = begun(hall, "10.2.0.1", said(NODE, "10.2.0.0/16", 1440, &[hall.first.ip()]))?;
    let (from, _) = hall.first.asked(&asked)?;
    Ok(format!("the node that was referred to is asked by {from}"))
}

fn delivers(hall: &Hall) -> Judgement {
    let (asked, nonce) = begun(hall, "10.3.0.1", said(MS, "10.3.0.0/16", 1440, &[hall.first.ip()]))?;
    let (_, request) = hall.first.asked(&asked)?;
    let holds = request.nonce == nonce && request.itr_rlocs == [hall.itr.ip().into()];
    expect(holds, format!("nonce {} for the ITR's {nonce}, {} ITR-RLOCs", request.nonce, request.itr_rlocs.len()))
}

fn cached(hall: &Hall) -> Judgement {
    let (first, _) = begun(hall, "10.4.0.1", said(MS, "10.4.0.0/16", 1440, &[hall.first.ip()]))?;
    answers(hall, &hall.first, &first, said(ReferralAction::MsAck, "10.4.0.0/24", 1440, &[hall.first.ip()]))?;
    let second = eid("10.4.1.1")?;
    hall.resolve(second)?;
    hall.first.asked(&second)?;
    let alone = hall.root.is_left_alone(&second);
    expect(alone, format!("straight to the Map-Server; the root was left alone: {alone}"))
}

fn acknowledged(hall: &Hall) -> Judgement {
    let (asked, nonce) = begun(hall, "10.5.0.1", said(MS, "10.5.0.0/16", 1440, &[hall.first.ip()]))?;
    answers(hall, &hall.first, &asked, said(ReferralAction::MsAck, "10.5.0.0/24", 1440, &[hall.first.ip()]))?;
    // When it asks about another EID it has taken the answer; what came before that does not count.
    let (behind, _) = begun(hall, "10.25.0.1", said(MS, "10.25.0.0/16", 1440, &[hall.first.ip()]))?;
    answers(hall, &hall.first, &behind, said(ReferralAction::MsAck, "10.25.0.0/24", 1440, &[hall.first.ip()]))?;
    // It would be asked again after a second.
    let again = !hall.first.is_left_alone_for(Duration::from_secs(2), &asked);
    let told = hall.itr.has_reply(nonce);
    expect(!again && !told, format!("asked again: {again}; told by the Map-Resolver: {told}"))
}

fn next_root(hall: &Hall) -> Judgement {
    let asked = eid("10.6.0.1")?;
    hall.resolve(asked)?;
    hall.root.asked(&asked)?;
    hall.root2.asked(&asked)?;
    Ok("the second root is asked after the first".to_owned())
}

/// After a referral to `prefix` by the first node, which has 10.N.0.0/16: whether the second was asked.
fn strays(hall: &Hall, text: &str, own: &str, prefix: &str) -> Result<bool, Fault> {
    let (asked, _) = begun(hall, text, said(NODE, own, 1440, &[hall.first.ip()]))?;
    answers(hall, &hall.first, &asked, said(NODE, prefix, 1440, &[hall.second.ip()]))?;
    Ok(!hall.second.is_left_alone(&asked))
}

fn loops(hall: &Hall) -> Judgement {
    let followed = strays(hall, "10.7.0.1", "10.7.0.0/16", "10.7.0.0/16")?;
    expect(!followed, format!("10.7.0.0/16 after 10.7.0.0/16; followed: {followed}"))
}

fn less_specific(hall: &Hall) -> Judgement {
    let followed = strays(hall, "10.8.0.1", "10.8.0.0/16", "10.0.0.0/8")?;
    expect(!followed, format!("10.0.0.0/8 after 10.8.0.0/16; followed: {followed}"))
}

fn loop_uncached(hall: &Hall) -> Judgement {
    strays(hall, "11.9.0.1", "11.9.0.0/16", "11.0.0.0/8")?;
    let asked = eid("11.200.0.1")?;
    hall.resolve(asked)?;
    hall.root.asked(&asked)?;
    Ok("the next EID of 11.0.0.0/8 begins at the root".to_owned())
}

fn hole(hall: &Hall) -> Judgement {
    let hole = said(ReferralAction::DelegationHole, "10.10.0.0/16", 15, &[]);
    let (_, nonce) = begun(hall, "10.10.0.1", hole)?;
    let (minutes, prefix) = negative(hall, nonce)?;
    expect(minutes == 15 && prefix == eid("10.10.0.0/16")?, format!("{prefix} for {minutes} minutes"))
}

fn hole_cached(hall: &Hall) -> Judgement {
    let hole = said(ReferralAction::DelegationHole, "10.11.0.0/16", 15, &[]);
    let (_, nonce) = begun(hall, "10.11.0.1", hole)?;
    negative(hall, nonce)?;
    let second = eid("10.11.0.2")?;
    let nonce = hall.resolve(second)?;
    negative(hall, nonce)?;
    let alone = hall.root.is_left_alone(&second);
    expect(alone, format!("answered; the root was left alone: {alone}"))
}

fn not_registered(hall: &Hall) -> Judgement {
    let servers = [hall.first.ip(), hall.second.ip()];
    let (asked, nonce) = begun(hall, "10.12.0.1", said(MS, "10.12.0.0/16", 1440, &servers))?;
    for server in [&hall.first, &hall.second] {
        let gone = || said(ReferralAction::MsNotRegistered, "10.12.0.0/24", 1, &[]);
        answers(hall, server, &asked, gone())?;
        // A Map-Resolver may ask again in its own name.
        if let Some((_, request)) = server.asked_again(&asked) {
            hall.say(server, request.nonce, gone())?;
        }
    }
    let (minutes, prefix) = negative(hall, nonce)?;
    expect(minutes == 1, format!("both were asked; {prefix} for {minutes} minutes"))
}

fn not_authoritative(hall: &Hall) -> Judgement {
    let asked = eid("10.13.0.1")?;
    let nonce = hall.resolve(asked)?;
    for root in [&hall.root, &hall.root2] {
        answers(hall, root, &asked, said(ReferralAction::NotAuthoritative, "10.13.0.1/32", 0, &[]))?;
    }
    let told = hall.itr.has_reply(nonce);
    expect(!told, format!("told: {told}"))
}

fn incomplete(hall: &Hall) -> Judgement {
    let servers = [hall.first.ip()];
    let said = Said { incomplete: true, ..said(NODE, "10.14.0.0/16", 1440, &servers) };
    let (asked, _) = begun(hall, "10.14.0.1", said)?;
    hall.first.asked(&asked)?;
    let second = eid("10.14.0.2")?;
    hall.resolve(second)?;
    hall.root.asked(&second)?;
    Ok("followed; the next EID begins at the root".to_owned())
}

fn wrong_nonce(hall: &Hall) -> Judgement {
    let asked = eid("10.15.0.1")?;
    hall.resolve(asked)?;
    let (_, request) = hall.root.asked(&asked)?;
    hall.say(&hall.root, Nonce(!request.nonce.0), said(NODE, "10.15.0.0/16", 1440, &[hall.first.ip()]))?;
    let followed = !hall.first.is_left_alone(&asked);
    expect(!followed, format!("followed: {followed}"))
}

fn wrong_sender(hall: &Hall) -> Judgement {
    let asked = eid("10.16.0.1")?;
    hall.resolve(asked)?;
    let (_, request) = hall.root.asked(&asked)?;
    hall.say(&hall.second, request.nonce, said(NODE, "10.16.0.0/16", 1440, &[hall.first.ip()]))?;
    let followed = !hall.first.is_left_alone(&asked);
    expect(!followed, format!("followed: {followed}"))
}

fn wrong_hole(hall: &Hall) -> Judgement {
    let hole = said(ReferralAction::DelegationHole, "10.18.0.0/16", 15, &[]);
    let (_, nonce) = begun(hall, "10.17.0.1", hole)?;
    let told = hall.itr.has_reply(nonce);
    expect(!told, format!("10.18.0.0/16 for 10.17.0.1; told: {told}"))
}
