// SPDX-License-Identifier: GPL-2.0-or-later
//! What a DDT node and a DDT Map-Server say. The one that is judged has 2001:db8::/32, delegates 2001:db8:d::/48 and
//! 2001:db8:100::/40 to a Map-Server and 2001:db8:500::/40 to two nodes, knows who has 198.18.0.0/15, and has the sites 2001:db8:a::/48 (answered for), b (registered)
//! and c (silent). A DDT node of others has no sites, and a Map-Server of others has three of its own.

use std::time::Duration;

use wire::address::EidPrefix;
use wire::control::{ControlMessage, Referral, ReferralAction};

use super::hall::{Hall, eid, eid_in};
use super::needs;
use super::party::PATIENCE;
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should};
use crate::target::Lack;

/// No RFC bounds it.
const LIMITS: &str = "lisp-mapsys, limits";

pub(super) const PROBES: &[Probe<Hall>] = &[
    should("DT-01.1", "8111 7.1.1", "an XEID in a prefix that is delegated to DDT nodes", node_referral),
    should("DT-01.2", "8111 7.1.1", "an XEID in a prefix that is delegated to a DDT Map-Server", ms_referral),
    must("DT-01.3", "8111 6.4", "TTL and Incomplete of referrals", referral_ttl),
    must("DT-01.4", "8111 6.2", "the Referral Set of a delegation", referral_set),
    must("DT-01.5", "8111 7.1.1", "an XEID in a prefix of which it has a hint, outside of its authority", hint),
    should("DT-01.6", "8111 6.4", "A of a referral inside of its authority, and of a hint outside of it", authority),
    must("DT-02.1", "8111 7.1.2", "an XEID that is nobody's: the least-specific prefix without a delegation", hole),
    must("DT-02.2", "8111 7.1.2", "many XEIDs that are nobody's: no hole covers a delegation or a site", holes),
    must("DT-02.3", "8111 6.4", "TTL and Incomplete of DELEGATION-HOLE", hole_ttl),
    must(
        "DT-03.1",
        "8111 6.1",
        "an XEID outside of its authority: the prefix of the request, TTL 0",
        not_authoritative,
    ),
    must("DT-03.2", "8111 6.3", "Incomplete of NOT-AUTHORITATIVE", not_authoritative_incomplete),
    must("DT-03.3", "8111 4.1", "the same address in another instance", instance),
    must(
        "DT-04.1",
        "8111 7.2",
        "a registered site that the Map-Server answers for: MS-ACK, and a Map-Reply to the ITR",
        proxied,
    ),
    must("DT-04.2", "8111 7.2", "a registered site: MS-ACK, and the Map-Request to its ETR", forwarded),
    must("DT-04.3", "8111 7.2", "a configured site without registrations", not_registered),
    must("DT-04.4", "8111 6.3", "Incomplete of a Map-Server whose peers are not configured", incomplete),
    must("DT-04.5", "8111 6.4", "TTL of MS-ACK and MS-NOT-REGISTERED", server_ttl),
    must(
        "DT-04.6",
        "8111 6.2",
        "the Referral Set of an MS-ACK: DDT nodes, and not the ETR, which is none",
        names_no_etr,
    ),
    should("DT-05.1", "8111 5", "the same request without D: no Map-Referral", without_d),
    must("DT-05.2", "8111 7.2", "who gets the Map-Referral: the sender, with the nonce of the request", sender),
    must("DT-05.3", "8111 6.4", "SigCnt without signatures", unsigned),
    should(
        "DT-05.4",
        LIMITS,
        "100 requests in the name of one: at most three times their octets go there",
        amplification,
    ),
];

fn prefix_of(referral: &Referral) -> Result<EidPrefix, Fault> {
    referral.eid.ip_prefix().ok_or_else(|| broken("an EID that is no IP prefix"))
}

/// Action and prefix are as they must be.
fn says(hall: &Hall, asked: &str, action: ReferralAction, prefix: &str) -> Judgement {
    let (_, referral, _) = hall.refer(asked)?;
    let came = prefix_of(&referral)?;
    let found = format!("{asked}: {:?} {came}; expected {action:?} {prefix}", referral.action);
    expect(referral.action == action && came == eid(prefix)?, found)
}

fn node_referral(hall: &Hall) -> Judgement {
    says(hall, "2001:db8:501::1", ReferralAction::NodeReferral, "2001:db8:500::/40")
}

fn ms_referral(hall: &Hall) -> Judgement {
    says(hall, "2001:db8:101::1", ReferralAction::MsReferral, "2001:db8:100::/40")
}

/// TTL in minutes and Incomplete are as they must be.
fn lasts(hall: &Hall, asked: &str, ttl: u32, incomplete: bool) -> Judgement {
    let (_, referral, _) = hall.refer(asked)?;
    let found = format!(
        "{asked}: {:?} with TTL {}, I={}; expected {ttl}, I={}",
        referral.action,
        referral.ttl.0,
        u8::from(referral.incomplete),
        u8::from(incomplete)
    );
    expect(referral.ttl.0 == ttl && referral.incomplete == incomplete, found)
}

fn referral_ttl(hall: &Hall) -> Judgement {
    let of_node = lasts(hall, "2001:db8:502::1", 1440, false)?;
    if needs::lacks(hall, Lack::Kinds) { Ok(of_node) } else { lasts(hall, "2001:db8:102::1", 1440, false) }
}

fn referral_set(hall: &Hall) -> Judgement {
    let (_, referral, _) = hall.refer("2001:db8:503::1")?;
    let mut came: Vec<_> = referral.locators.iter().filter_map(|locator| locator.rloc.ip()).collect();
    let mut expected = vec![hall.first.ip(), hall.second.ip()];
    came.sort_unstable();
    expected.sort_unstable();
    expect(came == expected, format!("{came:?}; expected {expected:?}"))
}

fn hint(hall: &Hall) -> Judgement {
    says(hall, "198.18.1.1", ReferralAction::NodeReferral, "198.18.0.0/15")
}

fn authority(hall: &Hall) -> Judgement {
    let all = [("2001:db8:504::1", true), ("2001:db8:104::1", true), ("198.18.1.2", false)];
    // The last is a hint.
    let known = if needs::lacks(hall, Lack::Hints) { &all[..2] } else { &all[..] };
    for (asked, expected) in known.iter().copied() {
        let (_, referral, _) = hall.refer(asked)?;
        if referral.authoritative != expected {
            return Err(broken(format!("{asked}: A={}; expected A={expected}", referral.authoritative)));
        }
    }
    Ok("set for what it has authority over, and for nothing else".into())
}

fn hole(hall: &Hall) -> Judgement {
    // Of /32 the neighbours are a, b, c and d (all within /44) and 100::/40.
    says(hall, "2001:db8:77::1", ReferralAction::DelegationHole, "2001:db8:40::/42")
}

fn holes(hall: &Hall) -> Judgement {
    let all = ["d", "100", "500", "a", "b", "c"]
        .map(|part| format!("2001:db8:{part}::/{}", if part.len() > 1 { 40 } else { 48 }));
    // A node of others has no sites.
    let known = if hall.deployed.is_some() { &all[..3] } else { &all[..] };
    let others: Vec<EidPrefix> = known.iter().map(|text| eid(text)).collect::<Result<_, _>>()?;
    let (whole, mut widest) = (eid("2001:db8::/32")?, 128);
    for bits in (0..48).map(|step: u32| step * 1361 % 0x1_0000) {
        let asked = format!("2001:db8:{bits:x}::1");
        let host = eid(&asked)?;
        if others.iter().any(|other| other.covers(&host)) {
            continue;
        }
        let (_, referral, _) = hall.refer(&asked)?;
        let came = prefix_of(&referral)?;
        let is_right = came.covers(&host) && whole.covers(&came) && others.iter().all(|other| !came.covers(other));
        if referral.action != ReferralAction::DelegationHole || !is_right {
            return Err(broken(format!("{asked}: {:?} {came}", referral.action)));
        }
        widest = widest.min(came.net.prefix_len());
    }
    Ok(format!("all of them right; the widest is a /{widest}"))
}

fn hole_ttl(hall: &Hall) -> Judgement {
    lasts(hall, "2001:db8:78::1", 15, false)
}

fn not_authoritative(hall: &Hall) -> Judgement {
    let (_, referral, _) = hall.refer("2001:db9:1::/48")?;
    let came = prefix_of(&referral)?;
    let holds = referral.action == ReferralAction::NotAuthoritative && came == eid("2001:db9:1::/48")?;
    let found = format!("{:?} {came} with TTL {}", referral.action, referral.ttl.0);
    expect(holds && referral.ttl.0 == 0 && referral.locators.is_empty(), found)
}

fn not_authoritative_incomplete(hall: &Hall) -> Judgement {
    lasts(hall, "2001:db9:2::1", 0, true)
}

fn instance(hall: &Hall) -> Judgement {
    let (nonce, asked) = (hall.nonce(), eid_in(5, "2001:db8:a::1")?);
    hall.client.send(hall.node()?, &hall.request(nonce, asked, true)?)?;
    let (_, referral) = hall.client.map_referral(nonce)?;
    let came = prefix_of(&referral)?;
    expect(
        referral.action == ReferralAction::NotAuthoritative && came == asked,
        format!("{:?} {came} for {asked}", referral.action),
    )
}

fn proxied(hall: &Hall) -> Judgement {
    let (_, referral, nonce) = hall.refer(&hall.inside('a', 1)?)?;
    let reply = hall.itr.map_reply(nonce)?;
    let locators = reply.records.first().map_or(0, |record| record.locators.len());
    let found = format!("{:?}, and a Map-Reply with {locators} locators", referral.action);
    expect(referral.action == ReferralAction::MsAck && locators == 1, found)
}

fn forwarded(hall: &Hall) -> Judgement {
    let (_, referral, nonce) = hall.refer(&hall.inside('b', 1)?)?;
    let is_it = |message: &ControlMessage| match message {
        ControlMessage::Ecm(ecm) => matches!(
            ControlMessage::decode(&ecm.message),
            Ok(ControlMessage::MapRequest(request)) if request.nonce == nonce && request.itr_rlocs == [hall.itr.ip().into()]
        ),
        _ => false,
    };
    let came = hall.etr.wait(PATIENCE, is_it).is_some();
    let found = format!("{:?}; the ETR has the ITR's Map-Request: {came}", referral.action);
    expect(referral.action == ReferralAction::MsAck && came, found)
}

fn names_no_etr(hall: &Hall) -> Judgement {
    let (_, referral, _) = hall.refer(&hall.inside('b', 2)?)?;
    let named: Vec<_> = referral.locators.iter().filter_map(|locator| locator.rloc.ip()).collect();
    if referral.action != ReferralAction::MsAck {
        return Err(broken(format!("{:?}, and no MS-ACK", referral.action)));
    }
    match named.contains(&hall.etr.ip()) {
        true => Err(broken(format!("the ETR {} is in the Referral Set {named:?}", hall.etr.ip()))),
        false => Ok(format!("{named:?}")),
    }
}

fn not_registered(hall: &Hall) -> Judgement {
    says(hall, &hall.inside('c', 1)?, ReferralAction::MsNotRegistered, &hall.site('c')?.net.to_string())
}

fn incomplete(hall: &Hall) -> Judgement {
    for name in ['a', 'c'] {
        let asked = hall.inside(name, 2)?;
        let (_, referral, _) = hall.refer(&asked)?;
        if !referral.incomplete {
            return Err(broken(format!("{asked}: {:?} with I=0", referral.action)));
        }
    }
    Ok("I=1 in MS-ACK and MS-NOT-REGISTERED".to_owned())
}

fn server_ttl(hall: &Hall) -> Judgement {
    lasts(hall, &hall.inside('a', 3)?, 1440, true)?;
    lasts(hall, &hall.inside('c', 3)?, 1, true)
}

fn without_d(hall: &Hall) -> Judgement {
    let nonce = hall.nonce();
    hall.client.send(hall.node()?, &hall.request(nonce, eid(&hall.inside('a', 4)?)?, false)?)?;
    hall.itr.map_reply(nonce)?;
    let is_it = |message: &ControlMessage| matches!(message, ControlMessage::MapReferral(it) if it.nonce == nonce);
    let came = hall.client.wait(Duration::from_millis(300), is_it).is_some();
    expect(!came, format!("a Map-Reply; a Map-Referral: {came}"))
}

fn sender(hall: &Hall) -> Judgement {
    // It came to the client's socket with its nonce, or there would be none here.
    let (came, _, _) = hall.refer("2001:db8:504::1")?;
    expect(came.from.ip() == hall.node()?.ip(), format!("from {}", came.from))
}

fn unsigned(hall: &Hall) -> Judgement {
    let (_, referral, _) = hall.refer("2001:db8:505::1")?;
    expect(referral.signatures.is_empty(), format!("{} signatures", referral.signatures.len()))
}

fn amplification(hall: &Hall) -> Judgement {
    let (mut sent, mut count) = (0, 0);
    let first = hall.nonce();
    for n in 0..100 {
        let bytes = hall.request(first, eid(&format!("2001:db8:506::{n:x}"))?, true)?;
        sent += bytes.len();
        hall.client.send(hall.node()?, &bytes)?;
    }
    let mut came = 0;
    let is_it = |message: &ControlMessage| matches!(message, ControlMessage::MapReferral(it) if it.nonce == first);
    let mut next = hall.client.wait(PATIENCE, is_it);
    while let Some(answer) = next {
        came += answer.bytes.len();
        count += 1;
        next = hall.client.wait(Duration::from_millis(300), is_it);
    }
    expect(count > 0 && came <= 3 * sent, format!("{sent} octets sent, {came} came in {count} Map-Referrals"))
}
