// SPDX-License-Identifier: GPL-2.0-or-later
//! Recorded exchanges of `lisp-xtr` with OpenOverlayRouter and OpenLISP: the peers' packets come to the engine as they came to the program,
//! and what the engine sends is judged by its clauses and against what the peers took (`conformance/captures/INDEX.md`).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::double::{Node, prefix, secs};
use crate::recorded::{Datagram, ECM, MAP_NOTIFY, MAP_REGISTER, MAP_REQUEST, capture, judged};
use wire::address::{Address, EidPrefix};
use wire::control::auth::{Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, Ecm, MapRequest, Nonce};
use wire::record::{Action, MappingRecord, Ttl};
use xtr::database::{Database, OwnLocator};
use xtr::engine::{Config, Input};
use xtr::map_cache::{Entry, Event, Forwarding, Update};
use xtr::reach::Standing;
use xtr::refusal::Refusal;
use xtr::register::Server;
use xtr::transport::MapSystem;

judged! {
    our_map_registers_are_those_that_the_peers_map_servers_took: registers_as_was_taken = [
        "our-xtr-at-oor-ms",
        "our-xtr-at-oor-ms-ipv6",
        "our-xtr-at-opencp-ms",
        "our-xtr-at-opencp-ms-ipv6",
    ];
    our_map_requests_are_those_that_the_peers_answered_and_their_answers_lead_there: asks_as_was_asked = [
        "our-xtr-at-oor-ms",
        "our-xtr-at-oor-ms-ipv6",
        "our-xtr-at-opencp-ms",
        "our-xtr-at-opencp-ms-ipv6",
        "oor-xtr-to-our-xtr",
        "oor-xtr-to-our-xtr-ipv6",
        "opencp-xtr-to-our-xtr",
        "opencp-xtr-to-our-xtr-ipv6",
    ];
    a_hole_of_a_peer_that_has_sites_in_it_is_taken_for_one_address: narrows_the_hole =
        ["our-xtr-at-opencp-ms", "our-xtr-at-opencp-ms-ipv6"];
    our_probes_are_those_that_the_peer_answered_and_its_answers_count: probes_as_was_answered =
        ["oor-xtr-and-our-probes", "oor-xtr-and-our-probes-ipv6"];
    our_answers_to_probes_are_those_that_the_peer_took: answers_probes_as_was_taken =
        ["oor-xtr-and-our-probes", "oor-xtr-and-our-probes-ipv6"];
    a_peer_that_answers_no_probe_is_asked_three_times_and_goes_on_having_packets: rests_after_three_probes =
        ["opencp-xtr-to-our-xtr", "opencp-xtr-to-our-xtr-ipv6"];
    after_the_smr_of_a_peer_that_moves_its_new_locator_is_asked_for_and_taken: follows_the_smr =
        ["oor-xtr-smr-to-our-xtr", "oor-xtr-smr-to-our-xtr-ipv6"];
}

// --- the lab

/// The EID-prefixes of the site with this locator.
fn prefixes_of(rloc: IpAddr) -> [EidPrefix; 2] {
    let is_a = ["10.20.1.", "2001:db8:c1:"].iter().any(|network| rloc.to_string().starts_with(network));
    if is_a { ["10.100.0.0/24", "2001:db8:a::/48"] } else { ["10.100.1.0/24", "2001:db8:b::/48"] }.map(prefix)
}

/// Our xTR of that site as the lab configures it; its next nonce, and the key that it shares with the map-server, if it registers.
fn our_xtr(rloc: IpAddr, map_server: Option<IpAddr>, map_resolver: IpAddr, nonce: Nonce) -> Node {
    let prefixes = prefixes_of(rloc).to_vec();
    let server = |address| Server {
        to: MapSystem::Node(address),
        key: AuthKey { id: 0, algorithm: Algorithm::HmacSha1, secret: Secret::new("secretkey") },
        tag: TagForm::Untruncated,
        narrow_coverage: false,
        proxy_reply: true,
        identity: None,
        prefixes: prefixes.clone(),
    };
    let mut node = Node::from_config(Config {
        database: Database::new(prefixes.clone(), vec![OwnLocator::new(rloc, 1, 100)], Ttl::DEFAULT),
        cgeid_network: Some("3fff:ce1::/32".parse().unwrap()),
        servers: map_server.map(server).into_iter().collect(),
        resolvers: vec![MapSystem::Node(map_resolver)],
        nonce_floor: Nonce(nonce.0 - 1),
        seed: [7; 32],
    });
    node.control = node.control.finding_path_mtus(LONGEST_PACKET);
    node
}

/// The MTU of the TUN device, in octets.
const LONGEST_PACKET: u16 = 1360;

/// The xTR that sent it has nothing, and asks there.
fn asking_as(frame: &Datagram) -> Node {
    our_xtr(frame.from.ip(), None, map_server(frame.from.ip()), Nonce(1000))
}

fn map_server(rloc: IpAddr) -> IpAddr {
    if rloc.is_ipv4() { "10.20.3.2" } else { "2001:db8:c3::2" }.parse().unwrap()
}

/// Whether it is one of ours, where only one site has ours: that is A over IPv4 and B over IPv6.
fn is_of_ours(frame: &Datagram) -> bool {
    ["10.20.1.2", "2001:db8:c2::2"].contains(&frame.from.ip().to_string().as_str())
}

/// What it has sent since the last look is one datagram, from the port for control and between these addresses.
fn sent_as(node: &mut Node, recorded: &Datagram) -> Vec<u8> {
    let [(local, remote, bytes)] = &std::mem::take(&mut node.sent)[..] else { panic!("not one datagram") };
    assert_eq!((SocketAddr::new(*local, 4342), *remote), (recorded.from, recorded.to));
    bytes.clone()
}

fn hears(node: &mut Node, frame: &Datagram) {
    node.bytes_at(frame.to, &frame.from.to_string(), &frame.payload);
}

/// The same under the nonce of a message of ours.
fn under(nonce: Nonce, recorded: &Datagram) -> Datagram {
    let mut frame = recorded.clone();
    frame.payload[NONCE].copy_from_slice(&nonce.0.to_be_bytes());
    frame
}

/// Where a message has its nonce.
const NONCE: std::ops::Range<usize> = 4..12;

// --- registering

fn nonce_of(frame: &Datagram) -> Nonce {
    Nonce(u64::from_be_bytes(frame.payload[NONCE].try_into().unwrap()))
}

/// RFC 9301, sections 5.6 and 8.2: octet for octet, tag included. The Map-Notify confirms; so it does when the xTR ends.
fn registers_as_was_taken(name: &str) {
    let frames = capture(name);
    let of = |kind| frames.iter().filter(move |frame| frame.kind() == kind);
    let rlocs: BTreeSet<_> = of(MAP_REGISTER).map(|frame| frame.from.ip()).collect();
    assert_eq!(rlocs.len(), 2, "{name}: both xTRs are ours");
    for rloc in rlocs {
        let registers: Vec<_> = of(MAP_REGISTER).filter(|frame| frame.from.ip() == rloc).collect();
        let [first, withdrawal] = registers[..] else { panic!("{name}: {registers:?}") };
        let notify =
            |register: &Datagram| of(MAP_NOTIFY).find(|notify| nonce_of(notify) == nonce_of(register)).unwrap();
        let mut node = our_xtr(rloc, Some(first.to.ip()), first.to.ip(), nonce_of(first));
        assert_eq!(sent_as(&mut node, first), first.payload, "{name}");
        hears(&mut node, notify(first));
        let is_confirmed = node.control.registrations(node.now).all(|row| row.confirmed_ago.is_some());
        assert_eq!((is_confirmed, node.control.tally().total()), (true, 0), "{name}");
        node.advance(secs(6));
        assert!(node.sent.is_empty(), "{name}: it waits for the next minute");
        node.input(Input::Shutdown);
        assert_eq!(sent_as(&mut node, withdrawal), withdrawal.payload, "{name}");
        assert!(!node.control.is_withdrawn(), "{name}: nobody has answered");
        hears(&mut node, notify(first));
        assert!(!node.control.is_withdrawn(), "{name}: that is another nonce");
        hears(&mut node, notify(withdrawal));
        assert!(node.control.is_withdrawn(), "{name}");
        assert_eq!(node.control.tally().total(), node.refused(Refusal::NotifyUnasked), "{name}");
    }
}

// --- asking

/// What had it ask: a packet of its site, or one that came out of a tunnel.
fn has_cause(node: &mut Node, request: &MapRequest, told: &MappingRecord) {
    let asked = request.records[0].eid.ip_prefix().unwrap();
    let eid = EidPrefix::host(asked.iid, asked.net.addr());
    node.event(match request.source_eid {
        Address::None => Event::Source { eid, rloc: told.locators[0].rloc.ip().unwrap(), is_known: false },
        _ => Event::Miss { eid, source: request.source_eid.ip().unwrap() },
    });
}

/// RFC 9301, section 5.2 and 5.8: octet for octet but for the nonce, and so the inner checksum. Its nonce.
fn is_asked_as(name: &str, node: &mut Node, recorded: &Datagram) -> Nonce {
    let ours = Ecm::decode(&sent_as(node, recorded)).unwrap();
    let mut message = ours.message.clone();
    let nonce = MapRequest::decode(&message).unwrap().nonce;
    message[NONCE].copy_from_slice(&recorded.request().nonce.0.to_be_bytes());
    assert_eq!(Ecm { message, ..ours }.encode().unwrap(), recorded.payload, "{name}: {:?}", recorded.request());
    nonce
}

/// The peers' answers are for the nonce that was asked with, and no other.
fn asks_as_was_asked(name: &str) {
    let frames = capture(name);
    let mut taken = 0;
    for frame in frames.iter().filter(|frame| frame.kind() == ECM) {
        let answer = frame.answer(&frames).unwrap();
        let mut node = asking_as(frame);
        has_cause(&mut node, &frame.request(), &answer.reply().records[0]);
        let nonce = is_asked_as(name, &mut node, frame);
        node.updates();
        hears(&mut node, &under(Nonce(nonce.0 ^ 1), answer));
        assert_eq!((node.updates(), node.refused(Refusal::ReplyUnasked)), (vec![], 1), "{name}");
        hears(&mut node, &under(nonce, answer));
        let (told, record) = (upsert_among(&node.updates()), &answer.reply().records[0]);
        if record.locators.is_empty() {
            continue;
        }
        leads_there(name, &node, told, record);
        taken += 1;
    }
    assert!(taken >= 2, "{name}");
}

/// The one mapping among what the packet half is told.
fn upsert_among(updates: &[Update]) -> (EidPrefix, Entry) {
    let upsert = |update: &Update| match update {
        Update::Upsert { prefix, entry } => Some((*prefix, entry.clone())),
        _ => None,
    };
    let [upsert] = &updates.iter().filter_map(upsert).collect::<Vec<_>>()[..] else { panic!("{updates:?}") };
    upsert.clone()
}

fn leads_there(name: &str, node: &Node, (installed, entry): (EidPrefix, Entry), record: &MappingRecord) {
    assert_eq!(Some(installed), record.eid.ip_prefix(), "{name}");
    assert_eq!(entry.expires - node.now, secs(60 * u64::from(record.ttl.0)), "{name}");
    let Forwarding::Locators(locators) = entry.forwarding else { panic!("{name}: {entry:?}") };
    let ours: Vec<_> =
        locators.iter().map(|locator| (Some(locator.address), locator.priority, locator.weight)).collect();
    let theirs: Vec<_> = record.locators.iter().map(|one| (one.rloc.ip(), one.priority, one.weight)).collect();
    assert_eq!(ours, theirs, "{name}");
}

/// It covers sites, ours too, for 15 hours; of ours it is believed for the address that was asked for, a quarter of an hour long.
fn narrows_the_hole(name: &str) {
    let frames = capture(name);
    let mut narrowed = vec![];
    for frame in frames.iter().filter(|frame| frame.kind() == ECM) {
        let answer = frame.answer(&frames).unwrap();
        let record = answer.reply().records.remove(0);
        if !record.locators.is_empty() {
            continue;
        }
        let wide = record.eid.ip_prefix().unwrap();
        assert!(prefixes_of(frame.from.ip()).iter().any(|own| wide.covers(own)) && record.ttl == Ttl(900), "{name}");
        let mut node = asking_as(frame);
        has_cause(&mut node, &frame.request(), &answer.reply().records[0]);
        let nonce = is_asked_as(name, &mut node, frame);
        node.updates();
        hears(&mut node, &under(nonce, answer));
        let (installed, entry) = upsert_among(&node.updates());
        assert_eq!(entry.forwarding, Forwarding::Negative(Action::NativelyForward), "{name}");
        assert_eq!(entry.expires - node.now, secs(15 * 60), "{name}");
        narrowed.push(installed);
    }
    assert_eq!(narrowed, ["2001:db8:77::2/128", "10.100.77.2/32"].map(prefix), "{name}");
}

// --- probing

/// A Map-Request of ours is the recorded one but for the nonce, and what is behind it.
fn is_probe(name: &str, (local, remote, bytes): (IpAddr, SocketAddr, Vec<u8>), recorded: &Datagram) -> Nonce {
    assert_eq!((SocketAddr::new(local, 4342), remote), (recorded.from, recorded.to), "{name}");
    let nonce = MapRequest::decode(&bytes).unwrap().nonce;
    let mut renumbered = bytes;
    renumbered[NONCE].copy_from_slice(&recorded.payload[NONCE]);
    assert_eq!(renumbered, recorded.payload, "{name}");
    nonce
}

/// The node has the mapping of a record that the peer told.
fn knows(node: &mut Node, record: &MappingRecord) {
    let mapped = record.eid.ip_prefix().unwrap();
    let source = if mapped.net.addr().is_ipv4() { "10.100.0.2" } else { "2001:db8:a::2" }.parse().unwrap();
    node.event(Event::Miss { eid: EidPrefix::host(mapped.iid, mapped.net.addr()), source });
    let (_, request) = node.requests().remove(0);
    let told = wire::control::MapReply { nonce: request.nonce, records: vec![record.clone()], ..Default::default() };
    let from = SocketAddr::new(map_server(node.control.database().rlocs()[0]), wire::CONTROL_PORT);
    node.datagram(&from.to_string(), &told.into());
    assert_eq!(node.upsert().0, mapped);
}

fn probes_sent(node: &mut Node) -> Vec<(IpAddr, SocketAddr, Vec<u8>)> {
    let encoded = |(local, remote, request): (_, _, MapRequest)| (local, remote, request.encode().unwrap());
    std::mem::take(&mut node.probes).into_iter().map(encoded).collect()
}

fn probes(frames: &[Datagram]) -> impl Iterator<Item = &Datagram> {
    frames.iter().filter(|frame| frame.kind() == MAP_REQUEST && frame.request().probe)
}

/// RFC 9301, section 7.1. The long one, with zeros behind the Map-Request, is answered like the short one.
fn probes_as_was_answered(name: &str) {
    let frames = capture(name);
    let (mut short, mut long) = (0, 0);
    let mut node: Option<Node> = None;
    for probe in probes(&frames).filter(|probe| is_of_ours(probe)) {
        let answer = probe.answer(&frames).unwrap();
        let is_long = probe.payload.len() > 1000;
        let mut asking = match node.take() {
            Some(node) if is_long => node,
            _ => {
                let mut node = asking_as(probe);
                knows(&mut node, &answer.reply().records[0]);
                node.advance(secs(1));
                node
            }
        };
        let far = answer.from.ip();
        let stands =
            |node: &Node| node.control.probed_locators(node.now).find(|one| one.address == far).unwrap().standing;
        if is_long {
            let nonce = is_probe(name, asking.long_probes.remove(0), probe);
            hears(&mut asking, &under(nonce, answer));
            assert_eq!(asking.control.counts().long_probes_answered, 1, "{name}");
            long += 1;
        } else {
            assert_eq!(stands(&asking), Standing::Unproven, "{name}");
            let nonce = is_probe(name, probes_sent(&mut asking).remove(0), probe);
            hears(&mut asking, &under(Nonce(nonce.0 ^ 1), answer));
            assert_eq!((stands(&asking), asking.control.tally().total()), (Standing::Unproven, 1), "{name}");
            hears(&mut asking, &under(nonce, answer));
            assert_eq!(asking.control.tally().total(), 1, "{name}: that was the wrong nonce");
            short += 1;
        }
        assert_eq!(stands(&asking), Standing::Up, "{name}");
        let is_news = |update: &Update| !matches!(update, Update::PathProven { .. });
        assert!(!asking.updates().iter().any(is_news), "{name}: it says what is known");
        node = Some(asking);
    }
    assert_eq!((short, long), (2, 1), "{name}: about both EID-prefixes, and a long one");
}

/// RFC 9301, sections 5.4 and 7.1: octet for octet, to where the probe came from.
fn answers_probes_as_was_taken(name: &str) {
    let frames = capture(name);
    let mut asked = BTreeSet::new();
    for probe in probes(&frames).filter(|probe| !is_of_ours(probe)) {
        let recorded = probe.answer(&frames).unwrap();
        let mut node = asking_as(recorded);
        hears(&mut node, probe);
        let bytes = sent_as(&mut node, recorded);
        let ControlMessage::MapReply(reply) = ControlMessage::decode(&bytes).unwrap() else { panic!("{name}") };
        let [record] = &reply.records[..] else { panic!("{name}: {reply:?}") };
        let [locator] = &record.locators[..] else { panic!("{name}: {record:?}") };
        assert_eq!((reply.probe, reply.nonce, record.authoritative), (true, probe.request().nonce, true), "{name}");
        assert!(locator.local && locator.probed && locator.reachable, "{name}: {locator:?}");
        assert_eq!(locator.rloc.ip(), Some(probe.to.ip()), "{name}");
        assert_eq!(bytes, recorded.payload, "{name}");
        asked.extend(record.eid.ip_prefix());
    }
    assert_eq!(asked, BTreeSet::from(prefixes_of(probes(&frames).find(|probe| !is_of_ours(probe)).unwrap().to.ip())));
}

/// It has never answered a probe: packets go there (RFC 9301, section 7.1, leaves probing to who wants it).
fn rests_after_three_probes(name: &str) {
    let frames = capture(name);
    let recorded: Vec<_> = probes(&frames).collect();
    assert_eq!(recorded.len(), 3, "{name}");
    let mut node = asking_as(recorded[0]);
    for frame in frames.iter().filter(|frame| frame.kind() == ECM) {
        knows(&mut node, &frame.answer(&frames).unwrap().reply().records[0]);
    }
    node.advance(secs(7));
    let sent = probes_sent(&mut node);
    assert_eq!(sent.len(), recorded.len(), "{name}: as many as in the recorded seconds");
    for ours in sent {
        let eid = &MapRequest::decode(&ours.2).unwrap().records[0].eid;
        let same = recorded.iter().find(|frame| frame.request().records[0].eid == *eid);
        is_probe(name, ours, same.unwrap());
    }
    let stands = node.control.probed_locators(node.now).map(|one| (one.address, one.standing)).collect::<Vec<_>>();
    assert_eq!(stands, [(recorded[0].to.ip(), Standing::Unproven)], "{name}");
    assert_eq!(node.updates(), [], "{name}: nothing is taken away");
}

// --- moving

/// RFC 9300, section 13.1 (RFC 9301, section 6.2): the SMR itself is not believed, who sent it is not asked but the map-resolver.
fn follows_the_smr(name: &str) {
    let frames = capture(name);
    let smrs: Vec<_> = frames.iter().filter(|frame| frame.kind() == MAP_REQUEST && frame.request().smr).collect();
    let invoked: Vec<_> = frames.iter().filter(|frame| frame.kind() == ECM).collect();
    assert_eq!((smrs.len(), invoked.len()), (2, 2), "{name}: one for each family of EIDs");
    let mut node = asking_as(invoked[0]);
    for frame in &invoked {
        let mut old = frame.answer(&frames).unwrap().reply().records.remove(0);
        old.locators[0].rloc =
            if smrs[0].from.is_ipv4() { "10.20.2.2" } else { "2001:db8:c1::2" }.parse::<IpAddr>().unwrap().into();
        knows(&mut node, &old);
    }
    for (smr, recorded) in smrs.iter().zip(&invoked) {
        hears(&mut node, smr);
        assert_eq!(node.updates(), [], "{name}: it is not believed");
        let nonce = is_asked_as(name, &mut node, recorded);
        assert!(recorded.request().smr_invoked, "{name}");
        let answer = recorded.answer(&frames).unwrap();
        hears(&mut node, &under(nonce, answer));
        let told = node.upsert();
        assert_eq!(answer.reply().records[0].locators[0].rloc.ip(), Some(smr.from.ip()), "{name}: where it is now");
        leads_there(name, &node, told, &answer.reply().records[0]);
        hears(&mut node, smr);
        assert!(node.sent.is_empty(), "{name}: a second one within the second is not followed");
    }
}
