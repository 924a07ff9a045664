// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions begin and change, or cannot.

use std::time::{Duration, Instant};

use wire::control::{MapReply, MapRequest, XtrIdentity};
use wire::record::{Action, Ttl};

use super::office::{ELSEWHERE, LIMITED, Office, PATIENCE, STRANGER, TOLD, Xtr, about, host, named, says};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must, should};

pub(super) const PROBES: &[Probe<Office>] = &[
    must("PS-01.01", "9437 5", "a Map-Request with I and N", confirmed),
    must("PS-01.02", "9437 4", "I set, and no xTR-ID and Site-ID at the end", truncated),
    must("PS-01.03", "9437 5", "the Map-Notify that confirms is signed under the security association", signed),
    must("PS-01.04", "9437 5", "two ITR-RLOCs: one of them is told", one_of_two),
    must("PS-01.05", "9437 3", "an xTR without a security association", stranger),
    must("PS-01.06", "9437 3", "a known xTR-ID with another Site-ID", other_site),
    must("PS-01.07", "9437 4", "N set and I clear", no_identity),
    must("PS-01.08", "9437 5", "an EID that the xTR may not subscribe to", denied_eid),
    must("PS-01.09", "9437 1.1", "an ITR-RLOC that is not the xTR's", denied_rloc),
    must("PS-01.10", "9437 1.1", "a sender that is none of the ITR-RLOCs", denied_source),
    must("PS-01.11", "9437 1", "one Map-Request, three EID-records, two of them with N", several),
    should("PS-01.12", "9437 5", "an EID that nothing is registered for", temporary),
    must("PS-02.01", "9437 5", "the same Map-Request once more", replayed),
    must("PS-02.02", "9437 5", "a lower nonce, and then a higher one", lower),
    must("PS-02.03", "9437 5", "a nonce that a Map-Notify has used up", used_up),
    must("PS-02.04", "9437 5", "a second Map-Request from another place", moved),
    should("PS-02.05", "9437 7.2", "an xTR that asks hundreds of times at once", flood),
];

fn confirmed(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.send(&xtr.request(0x1122_3344, &[host(part)])?)?;
    let (notify, _) = xtr.notify(PATIENCE)?;
    xtr.silence()?;
    xtr.ack(&notify)?;
    let [record] = notify.records.as_slice() else { return Err(broken(format!("one record expected: {notify:?}"))) };
    let holds = xtr.counted(&notify) == 0x1122_3344 && says(record, part, 1);
    expect(holds, format!("one Map-Notify, nonce {}, {}", notify.nonce, named(record)))
}

fn truncated(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    let whole = xtr.request(1, &[host(part)])?.encode().map_err(broken)?;
    for left_out in [1, 8, 24] {
        xtr.send_octets(&xtr.ecm(&whole[..whole.len() - left_out])?)?;
    }
    xtr.silence()?;
    xtr.subscribe(1, host(part))?;
    Ok("no answer; whole it is taken".into())
}

fn signed(office: &Office) -> Judgement {
    let (mut xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.send(&xtr.request(1, &[host(part)])?)?;
    let (notify, octets) = xtr.notify(PATIENCE)?;
    xtr.ack(&notify)?;
    let shared = (xtr.key.id, xtr.key.algorithm.id());
    xtr.key.secret = wire::control::auth::Secret::new("another one");
    let other = wire::control::auth::verify(&octets, &xtr.key, wire::control::auth::Accept::INTEROP);
    let holds = other.is_err() && (notify.auth.key_id, notify.auth.algorithm) == shared;
    expect(holds, format!("Key ID {}, algorithm {}", notify.auth.key_id, notify.auth.algorithm.0))
}

fn one_of_two(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    let own = xtr.rloc()?;
    let other = office.bind(77, own.port())?;
    let itr_rlocs = vec![office.address(77)?.into(), own.ip().into()];
    xtr.send(&MapRequest { itr_rlocs, ..xtr.request(1, &[host(part)])? })?;
    other.set_nonblocking(true).map_err(missing)?;
    // Where an earlier run has asked, and nobody has acknowledged, an answer comes no sooner than a change would be told.
    let (begun, mut here, mut there) = (Instant::now(), false, false);
    while !here && !there && begun.elapsed() < TOLD {
        let told = xtr.notify(xtr.far.silence).ok();
        here = told.is_some();
        told.map_or(Ok(()), |(notify, _)| xtr.ack(&notify))?;
        there = other.recv(&mut [0; 2048]).is_ok();
    }
    expect(here != there, format!("at the first {there}, at the second {here}"))
}

fn plain(reply: &MapReply, part: wire::address::EidPrefix) -> Judgement {
    let holds = reply.records.first().is_some_and(|record| says(record, part, 1));
    expect(holds, format!("a Map-Reply with {} records", reply.records.len()))
}

/// Whoever cannot subscribe is answered as if he had not asked to (section 3), or refused by a list of subscribers (section 5).
fn not_subscribed(reply: &MapReply, part: wire::address::EidPrefix) -> Judgement {
    plain(reply, part).or_else(|_| denied(reply))
}

fn stranger(office: &Office) -> Judgement {
    let part = office.registered(1)?;
    let xtr = office.xtr_of(STRANGER, office.server()?.address)?;
    xtr.send(&xtr.request(1, &[host(part)])?)?;
    not_subscribed(&xtr.reply()?, part)
}

fn other_site(office: &Office) -> Judgement {
    let (mut xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.identity = XtrIdentity { site_id: xtr.identity.site_id + 1, ..xtr.identity };
    xtr.send(&xtr.request(1, &[host(part)])?)?;
    not_subscribed(&xtr.reply()?, part)
}

fn no_identity(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.send(&MapRequest { xtr_identity: None, ..xtr.request(1, &[host(part)])? })?;
    plain(&xtr.reply()?, part)
}

/// A Negative Map-Reply with Drop/Policy-Denied.
fn denied(reply: &MapReply) -> Judgement {
    let [record] = reply.records.as_slice() else { return Err(broken(format!("one record expected: {reply:?}"))) };
    let holds = record.action == Action::DropPolicyDenied && record.locators.is_empty();
    expect(holds, format!("{:?}, {} locators", record.action, record.locators.len()))
}

fn denied_eid(office: &Office) -> Judgement {
    let part = office.registered(1)?;
    let xtr = office.xtr_of(LIMITED, office.server()?.address)?;
    xtr.send(&xtr.request(1, &[host(part)])?)?;
    denied(&xtr.reply()?)
}

fn denied_rloc(office: &Office) -> Judgement {
    let part = office.registered(1)?;
    let xtr = office.xtr_of(ELSEWHERE, office.server()?.address)?;
    xtr.send(&xtr.request(1, &[host(part)])?)?;
    denied(&xtr.reply()?)
}

fn denied_source(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    let elsewhere = office.bind(78, 0)?;
    xtr.send_from(&elsewhere, &xtr.request(1, &[host(part)])?)?;
    denied(&xtr.reply()?)
}

fn several(office: &Office) -> Judgement {
    let (xtr, mut parts) = (office.xtr()?, [office.registered(1)?, office.registered(2)?, office.registered(3)?]);
    parts.sort();
    let mut request = xtr.request(9, &parts)?;
    request.records[2].notify = false;
    xtr.send(&request)?;
    let mut told = Vec::new();
    let mut replied = Vec::new();
    for _ in 0..3 {
        match xtr.hear(PATIENCE)? {
            Some(super::office::Heard::Notify(notify, _)) => {
                xtr.ack(&notify)?;
                told.extend(notify.records.first().and_then(about).filter(|_| xtr.counted(&notify) == 9));
            }
            Some(super::office::Heard::Reply(reply)) => replied.extend(reply.records.first().and_then(about)),
            None => {}
        }
    }
    told.sort();
    expect(
        told == parts[..2] && replied == parts[2..],
        format!("{} Map-Notifies, a Map-Reply for {}", told.len(), replied.len()),
    )
}

fn temporary(office: &Office) -> Judgement {
    let xtr = office.xtr()?;
    let notify = xtr.subscribe(1, host(office.silent()?))?;
    let Some(record) = notify.records.first() else { return Err(broken("a Map-Notify without a record")) };
    let holds = record.locators.is_empty() && record.ttl == Ttl(15) && record.action == Action::NativelyForward;
    expect(holds, format!("{:?}, {} minutes, {}", record.action, record.ttl.0, named(record)))
}

fn replayed(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    let octets = xtr.send(&xtr.request(7, &[host(part)])?)?;
    let (notify, _) = xtr.notify(PATIENCE)?;
    xtr.ack(&notify)?;
    xtr.send_octets(&octets)?;
    xtr.silence()?;
    if office.guest()?.is_some() {
        return Ok("no answer".into());
    }
    let begun = Instant::now();
    let refused = || -> Result<u64, Fault> {
        let shown = office.show(office.server()?, "counters")?;
        Ok(shown["refusals"]["subscribe-replayed"].as_u64().unwrap_or_default())
    };
    while refused()? == 0 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    expect(refused()? > 0, "no answer, and it is counted")
}

fn lower(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(7, host(part))?;
    xtr.send(&xtr.request(6, &[host(part)])?)?;
    xtr.silence()?;
    xtr.subscribe(8, host(part))?;
    Ok("6 after 7 is dropped, 8 is taken".into())
}

fn used_up(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(7, host(part))?;
    office.register(part, Some(2))?;
    let change = xtr.change()?;
    xtr.send(&xtr.request(8, &[host(part)])?)?;
    xtr.silence()?;
    xtr.subscribe(9, host(part))?;
    expect(xtr.counted(&change) == 8, "8 of a Map-Request after 8 of a Map-Notify is dropped, 9 is taken")
}

/// The same xTR at another address.
fn elsewhere(office: &Office, xtr: &Xtr) -> Result<Xtr, Fault> {
    Ok(xtr.beside(office.bind(79, 0)?))
}

fn moved(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(7, host(part))?;
    let there = elsewhere(office, &xtr)?;
    there.subscribe(8, host(part))?;
    office.register(part, Some(2))?;
    let change = there.change()?;
    xtr.silence()?;
    expect(xtr.counted(&change) == 9, "the change goes to the new ITR-RLOC only")
}

fn flood(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    let refused = || -> Result<u64, Fault> {
        Ok(office.show(office.server()?, "counters")?["refusals"]["subscribe-rate"].as_u64().unwrap_or_default())
    };
    let before = refused()?;
    for nonce in 1..=600 {
        xtr.send(&xtr.request(nonce, &[host(part)])?)?;
        if nonce % 50 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // On a machine that has other work the server may have read none of them yet.
    let begun = Instant::now();
    let mut beyond = refused()? - before;
    while beyond <= 100 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
        beyond = refused()? - before;
    }
    expect(beyond > 100, format!("{beyond} of 600 are dealt with as by RFC 9301"))
}
