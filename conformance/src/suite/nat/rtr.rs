// SPDX-License-Identifier: GPL-2.0-or-later
//! What an RTR does (section 5.3 of the draft), seen from the core.

use std::net::SocketAddr;

use wire::control::rtr::{CONTROL_INSTANCE, decode_data_map_notify};
use wire::control::{Info, MapNotify, Nonce};
use wire::data::LispHeader;
use wire::record::Ttl;

use super::outside::{Datagram, Outside, RTR, SERVER, all, control, data, first};
use super::relay::{Client, Relay, enclosed, enclosed_for, from_behind, register};
use super::room::{of_rtr, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, equal, expect, must, should};
use crate::suite::xtr::{Family, Outer, PATIENCE, Packet};

const CLAUSE: &str = "lisp-nat-traversal 5.3";

pub(super) const PROBES: &[Probe<Outside>] = &[
    must(
        "NAT-05.1",
        "lisp-nat-traversal 4.2",
        "an Info-Request to an RTR: R, the same nonce, address and port that it came from, back to these from port 4342",
        informed,
    ),
    must("NAT-05.2", "lisp-nat-traversal 4.1", "an Info-Reply to an RTR: no answer", uninformed),
    should(
        "NAT-05.3",
        CLAUSE,
        "an Info-Request to an RTR of a few octets: no answer of more than three times that",
        bounded,
    ),
    must(
        "NAT-06.1",
        CLAUSE,
        "an ECM with R and a Map-Register: an ECM with N to the Map-Server, with the Map-Register as it was",
        relays,
    ),
    must(
        "NAT-06.2",
        CLAUSE,
        "the same for a Map-Server that the RTR does not know: nothing is relayed",
        unknown_server,
    ),
    must(
        "NAT-06.3",
        CLAUSE,
        "packets for a site whose Map-Register has no Map-Notify yet: none to the NAT",
        unverified,
    ),
    must(
        "NAT-06.4",
        "lisp-nat-traversal 4.5",
        "the Map-Notify of the Map-Server: as it is, behind a LISP header of instance 0xFFFFFF, from port 4342 to the NAT",
        handed_back,
    ),
    must(
        "NAT-06.5",
        CLAUSE,
        "a Map-Notify under a foreign key, and one under none: not handed back, and packets do not go to the NAT",
        foreign,
    ),
    must(
        "NAT-06.6",
        "RFC 9301 5.6",
        "a Map-Register that was relayed for another: not relayed, and packets go on where they went",
        replayed,
    ),
    must(
        "NAT-07.1",
        "lisp-nat-traversal 5.3.1",
        "packets from another site for a registered one: from port 4342 to the address and port of the NAT",
        inwards,
    ),
    must(
        "NAT-07.2",
        "lisp-nat-traversal 5.3.1",
        "packets from behind a NAT: to port 4341 of the locator that the map system has for their destination",
        outwards,
    ),
    must(
        "NAT-07.3",
        CLAUSE,
        "a Map-Register from another port of the NAT: packets go there once it is confirmed, and not before",
        rebound,
    ),
    must("NAT-07.4", CLAUSE, "packets of a registered site that come from another NAT: dropped", spoofed),
    must("NAT-07.5", CLAUSE, "a Map-Register with TTL 0, confirmed: packets do not go to the NAT any more", withdrawn),
    must("NAT-07.6", CLAUSE, "packets for two sites behind one NAT: each to the port of its own xTR", neighbours),
];

fn info(nonce: u64) -> Info {
    Info { nonce: Nonce(nonce), ..Info::default() }
}

/// An Info-Request as long as the longest answer needs.
fn long(message: &Info) -> Result<Vec<u8>, Fault> {
    let mut octets = message.encode().map_err(broken)?;
    octets.resize(octets.len().max(64), 0);
    Ok(octets)
}

fn ask(relay: &Relay, client: &Client, nonce: u64) -> Result<Info, Fault> {
    let mark = relay.core.port.mark();
    let reply = |came: Datagram| {
        let is_it = came.source == control(RTR) && came.destination == client.nat;
        Info::decode(&came.payload).ok().filter(|reply| is_it && reply.nonce == Nonce(nonce))
    };
    relay.send(client, &long(&info(nonce))?)?;
    first(&relay.core.port, mark, PATIENCE / 4, "an Info-Reply", reply).or_else(|_| {
        // One may get lost.
        relay.send(client, &long(&info(nonce))?)?;
        first(&relay.core.port, mark, PATIENCE, "an Info-Reply", reply)
    })
}

fn informed(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    let reply = ask(relay, &client, 0x0051_0001)?;
    let nat = reply.nat().ok_or_else(|| broken(&reply))?;
    let seen = nat.global_etr.ip() == Some(client.nat.ip()) && nat.etr_port == client.nat.port();
    expect(reply.reply && seen, &reply)
}

fn uninformed(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    let mark = relay.core.port.mark();
    let reply = info(0x0052_0001).answer(client.nat, control(RTR), &[RTR]);
    relay.send(&client, &long(&reply)?)?;
    ask(relay, &relay.client(Family::V6)?, 0x0052_0002)?;
    let came = all(&relay.core.port, mark, |came| (came.destination == client.nat).then_some(()));
    expect(came.is_empty(), "silent, and answers a later Info-Request")
}

fn bounded(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    let mark = relay.core.port.mark();
    let short = info(0x0053_0001).encode().map_err(broken)?;
    relay.send(&client, &short)?;
    ask(relay, &relay.client(Family::V6)?, 0x0053_0002)?;
    let came = all(&relay.core.port, mark, |came| (came.destination == client.nat).then_some(came.payload.len()));
    expect(came.iter().all(|length| *length <= 3 * short.len()), format!("{came:?} octets for {}", short.len()))
}

fn relays(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    let message = register(&client, 0x61);
    let came = relay.relayed(&client, &message)?;
    equal("N and R", (came.by_rtr, came.for_rtr), (true, false))?;
    let sent = sealed(message, &super::outside::site_key())?;
    equal("Map-Register", &came.message, &sent)?;
    equal("inner destination", came.destination, control(SERVER))?;
    Ok("so it is".into())
}

fn unknown_server(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    let message = register(&client, 0x62);
    let mark = relay.core.port.mark();
    relay.send(&client, &enclosed_for("203.0.113.99".parse().map_err(broken)?, &message)?)?;
    let behind = relay.client(Family::V6)?;
    relay.relayed(&behind, &register(&behind, 0x162))?;
    expect(!relay.has_relayed(mark, message.nonce), "not relayed; a later one for the known Map-Server is")
}

/// No packet of another site for this one comes out of the RTR. The other site is one that the RTR has packets of already, so that it is
/// not the source that keeps them.
fn unreached(relay: &Relay, client: &Client) -> Result<bool, Fault> {
    let known = relay.client(Family::V6)?;
    relay.registered(&known, &register(&known, 1))?;
    relay.inwards(&known.pair, &known.pair.entering(b"known"))?;
    let ends = (SocketAddr::new(known.pair.peer, 4001), SocketAddr::new(client.pair.host, 4000));
    let packet = Packet::udp(ends.0, ends.1, b"is it there?").octets();
    Ok(!relay.comes_out(&vec![Outer::new(known.pair.rloc, RTR).around(&packet); 3], &packet)?)
}

fn unverified(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    relay.relayed(&client, &register(&client, 0x63))?;
    expect(unreached(relay, &client)?, "none comes out")
}

fn handed_back(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    let (handed, sent) = relay.registered(&client, &register(&client, 0x64))?;
    equal("source", handed.source, control(RTR))?;
    let (header, _) = LispHeader::parse(&handed.payload).map_err(broken)?;
    equal("instance", header.iid, Some(CONTROL_INSTANCE))?;
    let ecm = decode_data_map_notify(&handed.payload).map_err(broken)?;
    equal("Map-Notify", &ecm.message, &sent)?;
    equal("inner source", ecm.source.ip(), SERVER)?;
    Ok("so it is, octet for octet".into())
}

fn foreign(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    for (nonce, key) in [(0x65, Some(super::outside::site_key())), (0x66, None)] {
        let client = relay.client(Family::V6)?;
        let came = relay.relayed(&client, &register(&client, nonce))?;
        let mark = relay.core.port.mark();
        relay.confirm(&came, key.as_ref())?;
        equal("packets are kept from the NAT", unreached(relay, &client)?, true)?;
        let handed = all(&relay.core.port, mark, |came| {
            let notify = decode_data_map_notify(&came.payload).ok().filter(|_| came.destination == client.nat)?;
            MapNotify::decode(&notify.message).ok()
        });
        equal("Data-Map-Notifies", handed.len(), 0)?;
    }
    Ok("neither is believed".into())
}

fn replayed(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    let message = register(&client, 0x67);
    relay.registered(&client, &message)?;
    let mark = relay.core.port.mark();
    relay.send(&client.rebound(), &enclosed(&message)?)?;
    let behind = relay.client(Family::V6)?;
    relay.relayed(&behind, &register(&behind, 0x167))?;
    equal("relayed for another", relay.has_relayed(mark, message.nonce), false)?;
    let came = relay.inwards(&client.pair, &client.pair.entering(b"replayed"))?;
    equal("to", came.destination, client.nat)?;
    Ok("so they do".into())
}

fn inwards(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    for family in [Family::V4, Family::V6] {
        let client = relay.client(family)?;
        relay.registered(&client, &register(&client, 0x71))?;
        let came = relay.inwards(&client.pair, &client.pair.entering(b"inwards"))?;
        equal("source and destination", (came.source, came.destination), (control(RTR), client.nat))?;
    }
    Ok("so they are, IPv4 and IPv6 inside".into())
}

fn outwards(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    for family in [Family::V4, Family::V6] {
        let client = relay.client(family)?;
        relay.registered(&client, &register(&client, 0x72))?;
        let came = relay.outwards(&client, &client.pair.leaving(b"outwards"))?;
        equal("source and destination", (came.source.ip(), came.destination), (RTR, data(client.pair.rloc)))?;
    }
    Ok("so they are, IPv4 and IPv6 inside".into())
}

fn rebound(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    relay.registered(&client, &register(&client, 0x73))?;
    let moved = client.rebound();
    let came = relay.relayed(&moved, &register(&moved, 0x173))?;
    let before = relay.inwards(&client.pair, &client.pair.entering(b"before"))?;
    equal("before the Map-Notify", before.destination, client.nat)?;
    relay.confirm(&came, Some(&of_rtr()))?;
    // The Data-Map-Notify of the new binding tells that it is there.
    let another = relay.client(Family::V6)?;
    relay.registered(&another, &register(&another, 0x273))?;
    let after = relay.inwards(&client.pair, &client.pair.entering(b"after"))?;
    equal("after it", after.destination, moved.nat)?;
    Ok("so they do".into())
}

fn spoofed(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let (client, stranger) = (relay.client(Family::V6)?, relay.client(Family::V6)?);
    relay.registered(&client, &register(&client, 0x74))?;
    // Where its packets lead is known to the RTR then.
    relay.outwards(&client, &client.pair.leaving(b"from its NAT"))?;
    let packet = client.pair.leaving(b"not from its NAT");
    let is_out = relay.comes_out(&vec![from_behind(stranger.nat.ip(), &packet); 3], &packet)?;
    expect(!is_out, "none comes out")
}

fn withdrawn(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let client = relay.client(Family::V6)?;
    relay.registered(&client, &register(&client, 0x75))?;
    equal("packets are kept from the NAT before", unreached(relay, &client)?, false)?;
    let mut over = register(&client, 0x175);
    over.records.iter_mut().for_each(|record| record.ttl = Ttl(0));
    relay.registered(&client, &over)?;
    expect(unreached(relay, &client)?, "none comes out")
}

fn neighbours(outside: &Outside) -> Judgement {
    let relay = outside.relay()?;
    let one = relay.client(Family::V6)?;
    let mut other = relay.client(Family::V6)?;
    other.nat.set_ip(one.nat.ip());
    for (client, nonce) in [(&one, 0x76), (&other, 0x176)] {
        relay.registered(client, &register(client, nonce))?;
    }
    for client in [&one, &other] {
        let came = relay.inwards(&client.pair, &client.pair.entering(b"which?"))?;
        equal("to", came.destination, client.nat)?;
    }
    Ok("so they do".into())
}
