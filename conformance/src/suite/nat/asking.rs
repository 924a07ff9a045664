// SPDX-License-Identifier: GPL-2.0-or-later
//! Info-Requests (sections 4.1, 4.2 and 5.2 of the draft).

use std::time::Duration;

use wire::control::Info;
use wire::control::auth::{self, Accept, Algorithm};

use super::room::{NAT, RTR, Room, info, of_rtr, of_site, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should};

const CLAUSE: &str = "lisp-nat-traversal 5.2";

pub(super) const PROBES: &[Probe<Room>] = &[
    must(
        "NAT-01.1",
        "lisp-nat-traversal 4.2",
        "an Info-Request under the key of its site: R, the same nonce and EID, to the port that it came from",
        answered,
    ),
    must(
        "NAT-01.2",
        CLAUSE,
        "the same: NAT LCAF with what was seen, what was asked, no private address, the RTRs",
        seen,
    ),
    must(
        "NAT-01.3",
        CLAUSE,
        "the same under HMAC-SHA-256-128 and HKDF: the answer has a tag under the same key",
        signed,
    ),
    must("NAT-02.1", CLAUSE, "a tag of another key, and none: no answer, counted", forged),
    must("NAT-02.2", CLAUSE, "an EID of no site: no answer, counted", of_nobody),
    must("NAT-02.3", "lisp-nat-traversal 4.1", "an Info-Reply: no answer", unasked),
    should("NAT-02.4", CLAUSE, "the answer is at most three times as long as the Info-Request", bounded),
    should(
        "NAT-02.5",
        CLAUSE,
        "500 Info-Requests of one address at once: not all are answered, and later ones are",
        rated,
    ),
    must(
        "NAT-02.6",
        CLAUSE,
        "an Info-Request cut short at each octet, and with each octet changed: no answer",
        mutated,
    ),
];

fn asked(room: &Room, algorithm: Algorithm, nonce: u64) -> Result<(Vec<u8>, Vec<u8>, std::net::SocketAddr), Fault> {
    let node = room.node(NAT, 0)?;
    let request = sealed(info(1, nonce)?, &of_site(algorithm))?;
    let reply = node.ask(&request)?;
    Ok((request, reply, node.address()?))
}

fn answered(room: &Room) -> Judgement {
    let (request, reply, _) = asked(room, Algorithm::HmacSha256, 0x1234_5678_9abc_def0)?;
    let (request, reply) = (Info::decode(&request).map_err(broken)?, Info::decode(&reply).map_err(broken)?);
    expect(reply.reply && reply.nonce == request.nonce && reply.eid == request.eid, reply)
}

fn seen(room: &Room) -> Judgement {
    let node = room.node(NAT, 0)?;
    let reply = node.ask(&sealed(info(1, 2)?, &of_site(Algorithm::HmacSha256))?)?;
    let reply = Info::decode(&reply).map_err(broken)?;
    let nat = reply.nat().ok_or_else(|| broken(&reply))?;
    let of_ours = nat.global_etr.ip() == Some(NAT.into()) && nat.etr_port == node.address()?.port();
    let of_its = nat.ms.ip() == Some(node.server.ip()) && nat.ms_port == node.server.port();
    let rtrs: Vec<_> = nat.rtrs.iter().filter_map(wire::address::Address::ip).collect();
    let has_rtrs = rtrs.first() == Some(&RTR.into()) && rtrs.len() == 2;
    expect(of_ours && of_its && has_rtrs && nat.private_etr == wire::address::Address::None, &reply)
}

fn signed(room: &Room) -> Judgement {
    for algorithm in [Algorithm::HmacSha256, Algorithm::HkdfSha256] {
        let (_, reply, _) = asked(room, algorithm, 3)?;
        auth::verify(&reply, &of_site(algorithm), Accept::STRICT).map_err(broken)?;
    }
    Ok("both verify".into())
}

fn forged(room: &Room) -> Judgement {
    let (node, before) = (room.node(NAT, 0)?, room.counted("info-bad-tag")?);
    let key = auth::AuthKey { id: 1, ..of_rtr() };
    node.ask_in_vain(&sealed(info(1, 4)?, &key)?)?;
    node.ask_in_vain(&info(1, 4)?.encode().map_err(broken)?)?;
    let counted = room.counted_since("info-bad-tag", before, 1)?;
    expect(counted == 1, format!("silent; info-bad-tag counted {counted} times"))
}

fn of_nobody(room: &Room) -> Judgement {
    let (node, before) = (room.node(NAT, 0)?, room.counted("info-unknown-site")?);
    node.ask_in_vain(&sealed(info(0xff, 5)?, &of_site(Algorithm::HmacSha256))?)?;
    node.ask_in_vain(&sealed(Info::default(), &of_site(Algorithm::HmacSha256))?)?;
    let counted = room.counted_since("info-unknown-site", before, 2)?;
    expect(counted == 2, format!("silent; counted {counted} times"))
}

fn unasked(room: &Room) -> Judgement {
    let node = room.node(NAT, 0)?;
    let reply = info(1, 6)?.answer(node.address()?, node.server, &[RTR.into()]);
    node.ask_in_vain(&sealed(reply, &of_site(Algorithm::HmacSha256))?)?;
    Ok("silent".into())
}

fn bounded(room: &Room) -> Judgement {
    let (request, reply, _) = asked(room, Algorithm::HmacSha256, 7)?;
    expect(reply.len() <= 3 * request.len(), format!("{} octets for {}", reply.len(), request.len()))
}

/// In which Info-Requests of one address are counted, and half as much.
const WINDOW: Duration = Duration::from_millis(1500);

/// An Info-Request is answered again when what was sent before it has been dealt with, which takes a busy machine longer.
fn answered_later(room: &Room, nonce: u64) -> Result<(), Fault> {
    let ask = |nonce| asked(room, Algorithm::HmacSha256, nonce).map(drop);
    ask(nonce).or_else(|_| ask(nonce + 100))
}

fn rated(room: &Room) -> Judgement {
    let node = room.node(NAT, 0)?;
    let before = room.counted("info-rate")?;
    let request = sealed(info(1, 8)?, &of_site(Algorithm::HmacSha256))?;
    (0..500).try_for_each(|_| node.send(&request))?;
    // What is answered of them is in the queue of the socket, and not looked at.
    std::thread::sleep(WINDOW);
    let refused = room.counted_since("info-rate", before, 1)?;
    answered_later(room, 9)?;
    expect(refused > 0, format!("{refused} of 500 refused; answered again a moment later"))
}

fn mutated(room: &Room) -> Judgement {
    let node = room.node(NAT, 0)?;
    let whole = sealed(info(1, 10)?, &of_site(Algorithm::HmacSha256))?;
    for end in 0..whole.len() {
        node.send(&whole[..end])?;
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x11;
        node.send(&changed)?;
    }
    node.ask_in_vain(&whole[..8])?;
    std::thread::sleep(WINDOW);
    answered_later(room, 11)?;
    Ok(format!("silent to {} of them, and answers the next whole one", 2 * whole.len()))
}
