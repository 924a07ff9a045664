// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes are told.

use std::time::{Duration, Instant};

use wire::control::MapNotify;
use wire::control::auth::Secret;
use wire::record::Ttl;

use super::office::{Office, TOLD, about, host, named, says, sealed_ack};
use crate::suite::probe::{Judgement, Probe, broken, expect, must, should};

pub(super) const PROBES: &[Probe<Office>] = &[
    must("PS-03.01", "9437 6", "a mapping changes twice", twice),
    must("PS-03.03", "9437 6", "a more specific EID-prefix is registered, and withdrawn", more_specific),
    must("PS-03.04", "9437 5", "an EID-prefix is withdrawn", withdrawn),
    must("PS-03.05", "9301 5.7", "a Map-Notify that is acknowledged by a stranger, and then by its receiver", repeated),
    should("PS-03.06", "9437 5", "a mapping that changes twenty times in a second", flapping),
];

fn twice(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(100, host(part))?;
    let mut seen = Vec::new();
    for rloc in [2, 3] {
        office.register(part, Some(rloc))?;
        let notify = xtr.change()?;
        let record = notify.records.first().filter(|record| says(record, part, rloc));
        seen.push((xtr.counted(&notify), record.is_some()));
    }
    expect(seen == [(101, true), (102, true)], format!("nonces and whether the mapping is the newest: {seen:?}"))
}

/// How long the end of what is tidied up is waited for: a second Map-Notify may come three seconds after the one before.
const TIDIED: Duration = Duration::from_secs(4);

fn more_specific(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(100, host(part))?;
    let inside = office.inside(part)?;
    office.register(inside, Some(2))?;
    let come = xtr.change()?;
    if office.guest()?.is_some() {
        // That TTL 0 takes it back is our own promise; where it does, nothing is in the way of a later run.
        let holds = come.records.first().is_some_and(|record| says(record, inside, 2)) && xtr.counted(&come) == 101;
        let told = || xtr.notify(xtr.far.silence.max(TIDIED)).and_then(|(notify, _)| xtr.ack(&notify));
        let _ = office.register(inside, None).and_then(|()| told());
        return expect(holds, come.records.first().map_or_else(String::new, named));
    }
    office.register(inside, None)?;
    let gone = xtr.change()?;
    let told = |notify: &MapNotify| notify.records.first().map(|record| (about(record), record.ttl));
    let holds = come.records.first().is_some_and(|record| says(record, inside, 2))
        && told(&gone) == Some((Some(inside), Ttl(0)))
        && (xtr.counted(&come), xtr.counted(&gone)) == (101, 102);
    let shown = |notify: &MapNotify| {
        notify.records.first().map_or_else(String::new, |r| format!("{} TTL {}", named(r), r.ttl.0))
    };
    expect(holds, format!("{}, then {}", shown(&come), shown(&gone)))
}

fn withdrawn(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(100, host(part))?;
    office.register(part, None)?;
    let notify = xtr.change()?;
    let Some(record) = notify.records.first() else { return Err(broken("a Map-Notify without a record")) };
    let holds = record.ttl == Ttl(0) && record.locators.is_empty() && about(record) == Some(part);
    expect(holds, format!("TTL {}, {} locators, {}", record.ttl.0, record.locators.len(), named(record)))
}

/// Between a Map-Notify and the next copy of it (RFC 9301, section 5.7), but for what a coarse clock makes of it.
const PAUSE: Duration = Duration::from_millis(2900);
/// More may not be on their way when an acknowledgement is taken: as many as a machine that stands still for nine seconds has sent.
const COPIES: usize = 3;

fn repeated(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(100, host(part))?;
    // It is told no sooner.
    let begun = Instant::now();
    office.register(part, Some(2))?;
    let (notify, first) = xtr.notify(TOLD)?;
    let mut guess = xtr.key.clone();
    guess.secret = Secret::new("a guess");
    xtr.send_octets(&sealed_ack(&notify, &guess)?)?;
    let (_, second) = xtr.notify(TOLD)?;
    let after = begun.elapsed();
    xtr.ack(&notify)?;
    // What was on its way when that was taken says nothing.
    office.registered(1)?;
    for _ in 0..COPIES {
        xtr.hear(xtr.far.silence)?;
    }
    let quiet = xtr.hear(Duration::from_millis(3500))?.is_none();
    let holds = first == second && after >= PAUSE && quiet;
    expect(
        holds,
        format!("again after {after:.1?}, the same octets {}, quiet after the true one {quiet}", first == second),
    )
}

fn flapping(office: &Office) -> Judgement {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(100, host(part))?;
    let begun = Instant::now();
    for rloc in 2..22 {
        office.register(part, Some(rloc))?;
        std::thread::sleep(Duration::from_millis(30));
    }
    let mut told = Vec::new();
    while begun.elapsed() < 2 * TOLD
        && let Ok((notify, _)) = xtr.notify(TOLD)
    {
        xtr.ack(&notify)?;
        let is_newest = notify.records.first().is_some_and(|record| says(record, part, 21));
        told.push(notify);
        if is_newest {
            xtr.silence()?;
            break;
        }
    }
    let last = told.last().and_then(|notify| notify.records.first());
    let is_newest = last.is_some_and(|record| says(record, part, 21));
    // One at once, one at the end, and one for each interval of three seconds that a busy machine takes for it.
    let allowed = 2 + begun.elapsed().as_secs() / 3;
    expect(
        told.len() as u64 <= allowed && is_newest,
        format!("{} Map-Notifies, {allowed} allowed, the last with the newest {is_newest}", told.len()),
    )
}
