// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Registers that an RTR relays (sections 4.3, 4.4 and 5.2 of the draft).

use std::net::SocketAddr;

use wire::control::auth::{self, Accept, Algorithm};
use wire::control::rtr::RtrAd;
use wire::control::{Ecm, EidRequest, MapNotify, MapReply, MapRequest, Nonce};

use super::room::{NAT, Node, RTR, Room, of_rtr, of_site, prefix, register, relayed, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

const CLAUSE: &str = "lisp-nat-traversal 5.2";

pub(super) const PROBES: &[Probe<Room>] = &[
    must(
        "NAT-03.1",
        "lisp-nat-traversal 4.4",
        "an ECM with N and a Map-Register, of an RTR: an ECM with R and a Map-Notify, to port 4342 of the RTR, for the xTR",
        confirmed,
    ),
    must(
        "NAT-03.2",
        CLAUSE,
        "the same: S, AD Type 2, a tag under the key of the RTR over the Map-Notify",
        shown_to_the_rtr,
    ),
    must("NAT-03.3", CLAUSE, "the same: the Map-Notify has the tag of the site, for the xTR", signed_for_the_site),
    must("NAT-03.4", "lisp-nat-traversal 5.1.3", "a Map-Request for the site then: the RTR is its locator", mapped),
    must(
        "NAT-03.5",
        "lisp-nat-traversal 4.4",
        "the same from another port of the RTR: the answer comes to its port 4342 all the same",
        confirmed_at_4342,
    ),
    must(
        "NAT-04.1",
        CLAUSE,
        "the same of somebody who is no RTR: no answer, nothing is registered, counted",
        of_a_stranger,
    ),
    must("NAT-04.2", "RFC 9301 8.2", "the same under the key of the RTR: no answer, counted", under_the_wrong_key),
    must("NAT-04.3", "RFC 9301 5.6", "the last one once more from the RTR: answered; an older one: not", replayed),
    must("NAT-04.4", CLAUSE, "an ECM with N and anything but a Map-Register, and one with each octet changed", mutated),
];

fn rtr(room: &Room) -> Result<Node, Fault> {
    room.node(RTR, wire::CONTROL_PORT)
}

/// What comes back for a relayed Map-Register of a site.
fn relay(node: &Node, n: u8, nonce: u64) -> Result<(Ecm, Ecm), Fault> {
    let sent = relayed(node.server, sealed(register(n, nonce)?, &of_site(Algorithm::HkdfSha256))?)?;
    let came = node.ask(&sent.encode().map_err(broken)?)?;
    Ok((sent, Ecm::decode(&came).map_err(broken)?))
}

fn confirmed(room: &Room) -> Judgement {
    let (sent, came) = relay(&rtr(room)?, 1, 100)?;
    let notify = MapNotify::decode(&came.message).map_err(broken)?;
    let turned =
        came.source == sent.destination && came.destination == SocketAddr::new(sent.source.ip(), wire::CONTROL_PORT);
    expect(came.for_rtr && !came.by_rtr && turned && notify.nonce == Nonce(100), &came)
}

fn confirmed_at_4342(room: &Room) -> Judgement {
    let (control, other) = (rtr(room)?, room.node(RTR, 0)?);
    let sent = relayed(other.server, sealed(register(8, 100)?, &of_site(Algorithm::HkdfSha256))?)?;
    other.send(&sent.encode().map_err(broken)?)?;
    let came = Ecm::decode(&control.receive()?).map_err(broken)?;
    let notify = MapNotify::decode(&came.message).map_err(broken)?;
    expect(notify.nonce == Nonce(100), &came)
}

fn shown_to_the_rtr(room: &Room) -> Judgement {
    let (_, came) = relay(&rtr(room)?, 2, 100)?;
    let security = came.security.as_deref().ok_or_else(|| broken(&came))?;
    let ad = RtrAd::decode(security).map_err(broken)?;
    ad.verify(&came.message, &of_rtr()).map_err(broken)?;
    let is_of_site = ad.verify(&came.message, &of_site(Algorithm::HmacSha256)).is_ok();
    expect(!is_of_site, format!("AD Type {}, Key ID {}", RtrAd::TYPE, ad.auth.key_id))
}

fn signed_for_the_site(room: &Room) -> Judgement {
    let (_, came) = relay(&rtr(room)?, 3, 100)?;
    auth::verify(&came.message, &of_site(Algorithm::HkdfSha256), Accept::STRICT).map_err(broken)?;
    Ok("it verifies".into())
}

/// What a resolver is told of a site.
fn locators(room: &Room, n: u8) -> Result<MapReply, Fault> {
    let node = room.node(NAT, 0)?;
    let own = node.address()?;
    let asked = wire::address::EidPrefix::host(prefix(n)?.iid, prefix(n)?.net.addr());
    let request = MapRequest {
        nonce: Nonce(77),
        itr_rlocs: vec![own.ip().into()],
        records: vec![EidRequest { notify: false, eid: asked.into() }],
        ..MapRequest::default()
    };
    let inner = |port| SocketAddr::new(asked.net.addr(), port);
    let ecm = Ecm::wrap(inner(own.port()), inner(wire::CONTROL_PORT), request.encode().map_err(broken)?);
    MapReply::decode(&node.ask(&ecm.encode().map_err(broken)?)?).map_err(broken)
}

fn mapped(room: &Room) -> Judgement {
    relay(&rtr(room)?, 4, 100)?;
    let reply = locators(room, 4)?;
    let rlocs: Vec<_> = reply.records.iter().flat_map(|record| &record.locators).map(|one| one.rloc.ip()).collect();
    expect(rlocs == [Some(RTR.into())], format!("locators {rlocs:?}"))
}

fn of_a_stranger(room: &Room) -> Judgement {
    let (node, before) = (room.node(NAT, wire::CONTROL_PORT)?, room.counted("relay-unknown-rtr")?);
    let message = sealed(register(5, 100)?, &of_site(Algorithm::HkdfSha256))?;
    node.ask_in_vain(&relayed(node.server, message)?.encode().map_err(broken)?)?;
    let counted = room.counted_since("relay-unknown-rtr", before, 1)?;
    let reply = locators(room, 5)?;
    let has_locators = reply.records.iter().any(|record| !record.locators.is_empty());
    expect(counted == 1 && !has_locators, format!("silent; counted {counted} times; {reply}"))
}

fn under_the_wrong_key(room: &Room) -> Judgement {
    let (node, before) = (rtr(room)?, room.counted("register-bad-tag")?);
    let message = sealed(register(5, 101)?, &auth::AuthKey { id: 1, ..of_rtr() })?;
    node.ask_in_vain(&relayed(node.server, message)?.encode().map_err(broken)?)?;
    let counted = room.counted_since("register-bad-tag", before, 1)?;
    expect(counted == 1, format!("silent; counted {counted} times"))
}

fn replayed(room: &Room) -> Judgement {
    let node = rtr(room)?;
    let (first, _) = relay(&node, 6, 200)?;
    relay(&node, 6, 201)?;
    relay(&node, 6, 201)?;
    node.ask_in_vain(&first.encode().map_err(broken)?)?;
    Ok("the last one is confirmed again, an older one is not".into())
}

fn mutated(room: &Room) -> Judgement {
    let node = rtr(room)?;
    let before = room.counted("relay-not-register")?;
    let other = MapNotify::default().encode().map_err(broken)?;
    node.ask_in_vain(&relayed(node.server, other)?.encode().map_err(broken)?)?;
    let counted = room.counted_since("relay-not-register", before, 1)?;
    let whole = relayed(node.server, sealed(register(7, 300)?, &of_site(Algorithm::HkdfSha256))?)?;
    let whole = whole.encode().map_err(broken)?;
    // The first octets hold the flags of the ECM and what its inner header says of no one: those alone change nothing.
    let behind_headers = 4 + 20 + 8;
    for at in behind_headers..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x11;
        node.send(&changed)?;
    }
    let reply = locators(room, 7)?;
    let has_locators = reply.records.iter().any(|record| !record.locators.is_empty());
    expect(counted == 1 && !has_locators, format!("silent; nothing is registered: {reply}"))
}
