// SPDX-License-Identifier: GPL-2.0-or-later
//! Recorded exchanges of OpenOverlayRouter's and OpenLISP's xTRs with `lisp-mapsys`: what it was sent then is sent to the engine, configured
//! as it was, and what the engine answers is judged by its clauses and against what the peer took (`conformance/captures/INDEX.md`).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use crate::common::*;
use crate::recorded::{Datagram, ECM, capture, judged};
use mapsys::engine::{Config, Input, Output};
use mapsys::register::site::{NotifyPort, Site, SiteKey};
use mapsys::transport::Via;
use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret};
use wire::control::{ControlMessage, MapNotify, MapRegister, MapReply, MapRequest};
use wire::record::{Action, MapVersion, MappingRecord, Ttl};

judged! {
    what_the_peers_took_is_sent_octet_for_octet: sends_what_was_taken = [
        "oor-xtr-at-our-ms",
        "oor-xtr-at-our-ms-ipv6",
        "opencp-xtr-at-our-ms",
        "opencp-xtr-at-our-ms-ipv6",
    ];
    each_map_register_of_a_peer_has_its_map_notify_under_the_key_of_its_site: notifies_under_the_key = [
        "oor-xtr-at-our-ms",
        "oor-xtr-at-our-ms-ipv6",
        "opencp-xtr-at-our-ms",
        "opencp-xtr-at-our-ms-ipv6",
    ];
    a_map_register_of_a_peer_that_was_changed_on_the_way_is_dropped: drops_what_was_changed = [
        "oor-xtr-at-our-ms",
        "oor-xtr-at-our-ms-ipv6",
        "opencp-xtr-at-our-ms",
        "opencp-xtr-at-our-ms-ipv6",
    ];
    a_map_request_of_the_peer_has_what_is_registered: answers_for_what_is_registered =
        ["oor-xtr-at-our-ms", "oor-xtr-at-our-ms-ipv6"];
    a_map_request_of_the_peer_for_nobody_has_a_hole_that_it_keeps_to: tells_a_hole =
        ["oor-xtr-at-our-ms", "oor-xtr-at-our-ms-ipv6"];
    a_map_request_of_ours_goes_to_where_the_peer_is_registered_at_the_time: forwards_to_the_locator_of_now = [
        "oor-xtr-at-our-ms",
        "oor-xtr-at-our-ms-ipv6",
        "opencp-xtr-at-our-ms",
        "opencp-xtr-at-our-ms-ipv6",
    ];
}

/// The map-server of the lab, over IPv4 and IPv6.
const SERVERS: [&str; 2] = ["10.20.3.2:4342", "[2001:db8:c3::2]:4342"];
const SECRET: &str = "secretkey";
const OF_A: [&str; 2] = ["2001:db8:a::/48", "10.100.0.0/24"];
const OF_B: [&str; 2] = ["2001:db8:b::/48", "10.100.1.0/24"];

/// The peer is site B over IPv4 and site A over IPv6; the other site has our xTR.
fn is_peers(site: &str, server: SocketAddr) -> bool {
    (site == "B") == server.is_ipv4()
}

/// As the lab configures it: the peer's site is one of others (HMAC-SHA-1 under Key ID 0), ours has HMAC-SHA-256 under Key ID 1.
fn bench(frames: &[Datagram]) -> Bench {
    let server = server(frames);
    let sites = [("A", OF_A), ("B", OF_B)].map(|(name, prefixes)| {
        let (id, algorithm) =
            if is_peers(name, server) { (0, Algorithm::HmacSha1) } else { (1, Algorithm::HmacSha256) };
        let keys = vec![SiteKey { id, algorithm: Some(algorithm), secret: Secret::new(SECRET) }];
        let site = Site { keys, ..site(name, id, SECRET, &prefixes.map(prefix)) };
        if id == 0 { Site { legacy: true, notify: NotifyPort::Source, ..site } } else { site }
    });
    let mut bench = Bench::new(Config { sockets: vec![server], ..config(sites.to_vec()) });
    bench.now.wall = SystemTime::UNIX_EPOCH + frames[0].at;
    bench
}

fn server(frames: &[Datagram]) -> SocketAddr {
    let is_there = |server: &SocketAddr| frames.iter().any(|frame| frame.to == *server);
    SERVERS.map(address).into_iter().find(is_there).expect("a map-server")
}

/// A datagram that the engine sends, and where to.
type Sent = (SocketAddr, Vec<u8>);

/// What went to the Map-Server, with what the engine answers to it at the recorded time.
fn replay(frames: &[Datagram]) -> Vec<(&Datagram, Vec<Sent>)> {
    let (server, mut last, mut bench) = (server(frames), frames[0].at, bench(frames));
    let mut answered = vec![];
    for frame in frames.iter().filter(|frame| frame.to == server) {
        assert_eq!(datagrams(&bench.pass(frame.at - last)), [], "nothing unasked");
        last = frame.at;
        answered.push((frame, hear(&mut bench, frame)));
    }
    answered
}

fn hear(bench: &mut Bench, frame: &Datagram) -> Vec<Sent> {
    let via = Via::Socket { local: frame.to, remote: frame.from };
    bench.engine.handle(bench.now, Input::Datagram { via, bytes: frame.payload.clone() });
    datagrams(&bench.drain())
}

fn datagrams(outputs: &[Output]) -> Vec<Sent> {
    let datagram = |output: &Output| match output {
        Output::Send { remote, bytes, .. } => Some((*remote, bytes.clone())),
        _ => None,
    };
    outputs.iter().filter_map(datagram).collect()
}

/// Whether the xTR of others sent it, wherever it was then.
fn is_of_peer(frame: &Datagram) -> bool {
    let network = if frame.to.is_ipv4() { "10.20.2." } else { "2001:db8:c1::" };
    frame.from.ip().to_string().starts_with(network)
}

fn register_of(frame: &Datagram) -> Option<MapRegister> {
    match frame.message() {
        ControlMessage::MapRegister(register) => Some(register),
        _ => None,
    }
}

fn is_request(frame: &Datagram) -> bool {
    frame.kind() == ECM
}

/// The only thing that was answered.
fn only(answers: &[Sent]) -> (SocketAddr, &[u8]) {
    let [(to, bytes)] = answers else { panic!("not one datagram: {answers:?}") };
    (*to, bytes)
}

fn reply_in(bytes: &[u8]) -> MapReply {
    match ControlMessage::decode(bytes).unwrap() {
        ControlMessage::MapReply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// As the program did then, and in the same places; two that left at the same time may be in either order.
fn sends_what_was_taken(name: &str) {
    let frames = capture(name);
    let server = server(&frames);
    let recorded: BTreeSet<_> = frames.iter().filter(|f| f.from == server).map(|f| (f.to, f.payload.clone())).collect();
    let ours: Vec<_> = replay(&frames).into_iter().flat_map(|(_, answers)| answers).collect();
    assert!(recorded.len() >= 5 && ours.len() == recorded.len(), "{name}: {} of {}", ours.len(), recorded.len());
    for (to, bytes) in ours {
        let message = ControlMessage::decode(&bytes);
        assert!(recorded.contains(&(to, bytes)), "{name}: this was not sent to {to} then: {message:?}");
    }
}

/// RFC 9301, sections 5.7 and 8.2: the nonce and the records of the Map-Register, at its source port, under the key of the site.
fn notifies_under_the_key(name: &str) {
    let frames = capture(name);
    let key = AuthKey { id: 0, algorithm: Algorithm::HmacSha1, secret: Secret::new(SECRET) };
    let mut prefixes = BTreeSet::new();
    for (frame, answers) in replay(&frames).into_iter().filter(|(frame, _)| is_of_peer(frame)) {
        let Some(register) = register_of(frame) else { continue };
        let (to, bytes) = only(&answers);
        assert_eq!(to, frame.from, "{name}");
        let ControlMessage::MapNotify(notify) = ControlMessage::decode(bytes).unwrap() else { panic!("{name}") };
        let MapNotify { nonce, records, xtr_identity, auth, .. } = notify;
        assert_eq!((nonce, &records, xtr_identity), (register.nonce, &register.records, None), "{name}");
        assert_eq!((auth.key_id, auth.tag.len()), (0, 20), "{name}");
        let accept = Accept { untruncated: true, ..Accept::default() };
        assert_eq!(auth::verify(bytes, &key, accept), Ok(()), "{name}");
        let wrong = AuthKey { secret: Secret::new("wrongkey"), ..key.clone() };
        assert!(auth::verify(bytes, &wrong, accept).is_err(), "{name}");
        let locators = records.iter().flat_map(|record| record.locators.iter().map(|locator| locator.rloc.ip()));
        assert!(locators.clone().all(|rloc| rloc == Some(frame.from.ip())), "{name}: {records:?}");
        let at = frame.from.ip();
        prefixes.extend(records.iter().filter_map(|record| record.eid.ip_prefix()).map(|prefix| (at, prefix)));
        // It took the Map-Notify: within a minute nothing is registered again but what has another locator.
        let again = frames.iter().filter_map(register_of).filter(|other| other.records == register.records);
        assert_eq!(again.count(), 1, "{name}");
    }
    let places = prefixes.iter().map(|(at, _)| at).collect::<BTreeSet<_>>().len();
    assert_eq!(prefixes.len(), 2 * places, "{name}: both families, wherever it was");
}

/// RFC 9301, section 5.6: each octet is under the tag.
fn drops_what_was_changed(name: &str) {
    let frames = capture(name);
    let register = frames.iter().find(|frame| is_of_peer(frame) && register_of(frame).is_some()).unwrap();
    let mut bench = bench(&frames);
    for octet in 0..register.payload.len() {
        let mut changed = register.clone();
        changed.payload[octet] ^= 1;
        assert_eq!(hear(&mut bench, &changed), [], "{name}: octet {octet}");
        assert_eq!(bench.registered(), [], "{name}: octet {octet}");
    }
    assert_eq!(bench.engine.tally().total(), register.payload.len() as u64, "{name}: each is counted");
    assert_eq!(hear(&mut bench, register).len(), 1, "{name}: the right one is taken after all that");
}

/// The EIDs of our xTR, which has asked for proxied replies (RFC 9301, section 8.3).
fn answers_for_what_is_registered(name: &str) {
    let frames = capture(name);
    let of_ours = |prefix: &EidPrefix| {
        if server(&frames).is_ipv4() { OF_A } else { OF_B }.map(crate::common::prefix).contains(prefix)
    };
    let mut told = BTreeSet::new();
    let answered = replay(&frames);
    for (frame, answers) in answered.iter().filter(|(frame, _)| is_of_peer(frame) && is_request(frame)) {
        let (request, (to, bytes)) = (frame.request(), only(answers));
        let reply = reply_in(bytes);
        is_reply_to(name, &request, to, &reply);
        let record = &reply.records[0];
        let prefix = record.eid.ip_prefix().unwrap();
        if record.locators.is_empty() {
            continue;
        }
        assert!(of_ours(&prefix), "{name}: {prefix}");
        let registered =
            answered.iter().filter(|(frame, _)| !is_of_peer(frame)).find_map(|(frame, _)| register_of(frame));
        let as_registered = registered.unwrap().records.into_iter().find(|one| one.eid == record.eid).unwrap();
        let locators = as_registered.locators.into_iter();
        let locators = locators.map(|locator| wire::record::LocatorRecord { local: false, ..locator }).collect();
        assert_eq!(*record, MappingRecord { authoritative: false, locators, ..as_registered }, "{name}");
        told.insert(prefix);
    }
    assert_eq!(told.len(), 2, "{name}");
}

/// RFC 9301, section 5.4: the nonce, one record that covers the EID, to an ITR-RLOC at the inner source port.
fn is_reply_to(name: &str, request: &MapRequest, to: SocketAddr, reply: &MapReply) {
    let itr_rlocs: Vec<IpAddr> = request.itr_rlocs.iter().filter_map(|rloc| rloc.ip()).collect();
    assert!(itr_rlocs.contains(&to.ip()) && to.port() == 4342, "{name}: {to}");
    assert_eq!((reply.nonce, reply.probe, reply.records.len()), (request.nonce, false, 1), "{name}");
    let (asked, told) = (&request.records[0].eid, &reply.records[0].eid);
    assert!(told.ip_prefix().unwrap().covers(&asked.ip_prefix().unwrap()), "{name}: {told:?} for {asked:?}");
}

/// RFC 9301, section 5.1, and RFC 8111's rule of the least specific prefix: no site is in it, for 15 minutes. The peer sent to two addresses in each and
/// asked once.
fn tells_a_hole(name: &str) {
    let frames = capture(name);
    let mut holes = vec![];
    let requests = replay(&frames).into_iter().filter(|(frame, _)| is_of_peer(frame) && is_request(frame));
    let asked: Vec<_> = requests.map(|(frame, answers)| (frame.request(), reply_in(only(&answers).1))).collect();
    for (request, reply) in &asked {
        let MappingRecord { ttl, action, authoritative, map_version, eid, locators } = &reply.records[0];
        if !locators.is_empty() {
            continue;
        }
        assert_eq!((*ttl, *action, *authoritative), (Ttl(15), Action::NativelyForward, false), "{name}");
        assert_eq!(*map_version, MapVersion::default(), "{name}");
        let hole = eid.ip_prefix().unwrap();
        let sites = OF_A.into_iter().chain(OF_B).map(prefix);
        assert!(sites.clone().all(|site| !hole.covers(&site) && !site.covers(&hole)), "{name}: {hole}");
        let wider = EidPrefix { net: hole.net.supernet().unwrap().trunc(), ..hole };
        assert!(sites.into_iter().any(|site| wider.covers(&site)), "{name}: {wider} has no site either");
        let of_hole = |other: &&(MapRequest, MapReply)| hole.covers(&other.0.records[0].eid.ip_prefix().unwrap());
        assert_eq!(asked.iter().filter(of_hole).count(), 1, "{name}: {request:?} is asked once");
        holes.push(hole);
    }
    assert_eq!(holes, [prefix("2001:db8:40::/42"), prefix("10.100.64.0/18")], "{name}");
}

/// RFC 9301, section 8.3: without P the Map-Request goes on to an ETR, in an ECM whose message is as it was.
fn forwards_to_the_locator_of_now(name: &str) {
    let frames = capture(name);
    let mut at = None;
    let mut places = BTreeSet::new();
    for (frame, answers) in replay(&frames) {
        if is_of_peer(frame) && register_of(frame).is_some() {
            at = Some(frame.from.ip());
        } else if !is_of_peer(frame) && is_request(frame) {
            let (to, bytes) = only(&answers);
            assert_eq!(to, SocketAddr::new(at.unwrap(), 4342), "{name}");
            assert_eq!(
                (bytes[0], &bytes[1..]),
                (0x80, &frame.payload[1..]),
                "{name}: neither S nor D, the rest as it was"
            );
            places.insert((to, frame.request().records[0].eid.ip_prefix().unwrap().net.addr().is_ipv4()));
        }
    }
    let moves = frames.iter().filter(|frame| is_of_peer(frame)).map(|frame| frame.from.ip()).collect::<BTreeSet<_>>();
    assert_eq!(places.len(), 2 * moves.len(), "{name}: each family, wherever it was: {places:?}");
}
