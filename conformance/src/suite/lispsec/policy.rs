// SPDX-License-Identifier: GPL-2.0-or-later
//! Answers without LISP-SEC, and answers that come again.

use wire::control::lispsec::verify_reply;
use wire::control::{Ecm, MapRegister, MapReply, Nonce};

use super::room::{ASKED, Asking, ITR, REQUIRED, Room, eids, named, record};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LS-05.1", "9301 9", "a request without LISP-SEC for a site that requires it", required_drops),
    must("LS-05.2", "9301 9", "a request with LISP-SEC for that site", required_answers),
    must("LS-05.3", "9303 6.2", "a request from which S was taken on the way: the answer has none either", stripped),
    must("LS-05.4", "9303 7.6", "a replayed request: the answer is of no use for another", replayed),
];

fn register(room: &Room, n: u8, nonce: u64) -> Result<(), Fault> {
    let etr = room.etr(n)?;
    let records = vec![record(room.site_prefix(n)?, etr.ip)];
    let message = MapRegister {
        proxy_reply: true,
        security_capable: true,
        nonce: Nonce(nonce),
        records,
        ..MapRegister::default()
    };
    room.registers(&etr, n, message)
}

fn plain(asking: &Asking) -> Result<Vec<u8>, Fault> {
    let ecm = Ecm::decode(&asking.message).map_err(broken)?;
    Ecm { security: None, ..ecm }.encode().map_err(broken)
}

fn required_drops(room: &Room) -> Judgement {
    register(room, REQUIRED, 1)?;
    let itr = room.router(ITR)?;
    room.nothing_of(&itr, &plain(&room.protected(&itr, 130, room.host_of(REQUIRED)?)?)?)?;
    Ok("nothing came".into())
}

fn required_answers(room: &Room) -> Judgement {
    register(room, REQUIRED, 2)?;
    let itr = room.router(ITR)?;
    let verified = itr.verified(&room.protected(&itr, 131, room.host_of(REQUIRED)?)?)?;
    expect(eids(&verified) == [room.site_prefix(REQUIRED)?], named(&verified))
}

fn stripped(room: &Room) -> Judgement {
    register(room, 19, 1)?;
    let itr = room.router(ITR)?;
    let asking = room.protected(&itr, 132, room.host_of(19)?)?;
    let came = itr.exchange(&plain(&asking)?)?;
    let reply = MapReply::decode(&came).map_err(broken)?;
    let judged = verify_reply(&came, &asking.otk, ASKED);
    expect(reply.security.is_none() && judged.is_err(), format!("S {}", reply.security.is_some()))
}

fn replayed(room: &Room) -> Judgement {
    register(room, 20, 1)?;
    let itr = room.router(ITR)?;
    let host = room.host_of(20)?;
    let (old, new) = (room.protected(&itr, 133, host)?, room.protected(&itr, 134, host)?);
    let first = itr.exchange(&old.message)?;
    let again = itr.exchange(&old.message)?;
    old.verify(&first)?;
    old.verify(&again)?;
    expect(new.verify(&again).is_err(), "it holds under the key of its own request only")
}
