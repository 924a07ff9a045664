// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions end.

use wire::control::MapRequest;
use wire::record::Action;

use super::office::{Office, PATIENCE, end, host, says};
use crate::suite::probe::{Judgement, Probe, expect, must, should};

pub(super) const PROBES: &[Probe<Office>] = &[
    must("PS-04.03", "9437 5", "an end with a nonce that is not above the last", replayed_end),
    should("PS-04.04", "9437 5", "the first Map-Request is sent again after the end", after_the_end),
    should("PS-04.05", "9437 5", "an end for a part of what is subscribed to", part_of),
    must("PS-04.06", "9437 5", "an end without anything to end", nothing_to_end),
    must("PS-04.07", "9437 3", "AFI 0 without a security association", stranger),
];

fn replayed_end(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(10, host(part))?;
    xtr.send(&xtr.leaving(10, part)?)?;
    xtr.silence()?;
    office.register(part, Some(2))?;
    let change = xtr.change()?;
    let holds = change.records.first().is_some_and(|record| says(record, part, 2));
    expect(holds, "dropped: the next change is told")
}

fn after_the_end(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    let first = xtr.send(&xtr.request(10, &[host(part)])?)?;
    let (notify, _) = xtr.notify(PATIENCE)?;
    xtr.ack(&notify)?;
    end(&xtr, 11, part)?;
    xtr.send_octets(&first)?;
    xtr.silence()?;
    Ok("dropped: the last nonce is remembered".into())
}

fn part_of(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(10, host(part))?;
    let inside = office.inside(part)?;
    end(&xtr, 1, inside)?;
    office.register(inside, Some(2))?;
    xtr.silence()?;
    office.register(part, Some(3))?;
    let change = xtr.change()?;
    if office.guest()?.is_some() {
        // A later run would subscribe to it in the place of the whole.
        let _ = office.register(inside, None);
    }
    let holds = change.records.first().is_some_and(|record| says(record, part, 3));
    expect(holds, "the part is not told, the rest is")
}

fn nothing_to_end(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    end(&xtr, 5, part)?;
    Ok("it is confirmed".into())
}

fn stranger(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.send(&MapRequest { xtr_identity: None, ..xtr.leaving(5, part)? })?;
    xtr.silence()?;
    let denied = office.xtr_of(super::office::ELSEWHERE, office.server()?.address)?;
    denied.send(&denied.leaving(5, part)?)?;
    let reply = denied.reply()?;
    let holds = reply.records.first().is_some_and(|record| record.action == Action::DropPolicyDenied);
    expect(holds, "no answer without xTR-ID; Drop/Policy-Denied from a place that is not the xTR's")
}
