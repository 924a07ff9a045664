// SPDX-License-Identifier: GPL-2.0-or-later
//! The RTR: relays, binds what a Map-Server has accepted, and believes nobody but its Map-Servers.

use super::*;

#[test]
fn a_map_register_is_relayed_and_binds_when_its_map_server_has_accepted_it() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    let message = register(5, vec![record(EID)]);
    let done = node.come(at(RTR, 4342), nat, &to_rtr(SERVER, message.clone()));
    let [(Destination::Socket { local, remote }, bytes)] = done.sent.as_slice() else { panic!("{done:?}") };
    assert_eq!((*local, *remote), (ip(RTR), at(SERVER, 4342)));
    let relayed = Ecm::decode(bytes).unwrap();
    assert!(relayed.by_rtr && !relayed.for_rtr && relayed.message == message, "as it came: {relayed:?}");
    assert!(done.updates.is_empty() && node.bound().is_empty(), "nothing yet");

    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &notify(5, vec![record(EID)], "of the rtr"));
    let [(Destination::Socket { local, remote }, bytes)] = done.sent.as_slice() else { panic!("{done:?}") };
    assert_eq!((*local, *remote), (ip(RTR), nat), "through the binding");
    let handed_back = decode_data_map_notify(bytes).unwrap();
    assert_eq!((handed_back.source, handed_back.destination), (at(SERVER, 4342), at(XTR, 4342)));
    assert_eq!(MapNotify::decode(&handed_back.message).unwrap().nonce, Nonce(5));
    let binding = Binding { address: ip(NAT), port: 50_001, from: FromPort::Control, source: ip(RTR) };
    assert_eq!(done.updates[0], Update::Relayed { prefix: prefix(EID), nats: [Some(ip(NAT)), None] });
    assert!(
        matches!(&done.updates[1], Update::Upsert { prefix: at, entry }
            if *at == prefix(EID) && entry.forwarding == Forwarding::Binding(binding)),
        "{done:?}"
    );
    assert_eq!(node.bound(), [(prefix(EID), nat)]);
}

#[test]
fn a_binding_follows_the_nat_and_ends_with_the_registrations() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    node.wait(Duration::from_secs(100));
    let done = node.relays(at(NAT, 50_777), 6, vec![record(EID)]);
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_777))]);
    assert_eq!(done.updates.len(), 2);
    assert!(node.wait(Duration::from_secs(179)).updates.is_empty(), "since the second one");
    let done = node.wait(Duration::from_secs(1));
    let ended = [Update::Remove { prefix: prefix(EID) }, Update::Relayed { prefix: prefix(EID), nats: [None; 2] }];
    assert_eq!((done.updates.as_slice(), node.bound().len()), (&ended[..], 0));
    node.relays(at(NAT, 50_001), 7, vec![record(EID)]);
    let done = node.relays(at(NAT, 50_001), 8, vec![withdrawal(prefix(EID))]);
    assert_eq!((done.updates.as_slice(), node.bound().len()), (&ended[..], 0), "taken back");
}

#[test]
fn an_xtr_that_registers_by_both_families_sends_by_either() {
    const SIX: &str = "2001:db8:f::2";
    const RTR_SIX: &str = "2001:db8:e::2";
    let mut node = Node::rtr();
    let locator = |text| OwnLocator::new(ip(text), 1, 100);
    node.control.handle(node.now, Input::Locators(vec![locator(RTR), locator(RTR_SIX)]));
    node.done();
    // By which family, under which nonce, and of which xTR; and the addresses that the packet half is told of.
    let said = |node: &mut Node, (is_six, nonce, xtr): (bool, u64, u8)| {
        let (nat, rtr) = if is_six { (at(SIX, 4341), RTR_SIX) } else { (at(NAT, 50_001), RTR) };
        let xtr_identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 0 });
        let records = vec![record(EID)];
        let message =
            MapRegister { want_notify: true, nonce: Nonce(nonce), xtr_identity, records, ..Default::default() };
        let message = auth::seal(&ControlMessage::from(message), &key("of the site"), TagForm::Truncated).unwrap();
        node.come(at(rtr, 4342), nat, &to_rtr(SERVER, message));
        let done = node.come(at(RTR, 4342), at(SERVER, 4342), &notify(nonce, vec![record(EID)], "of the rtr"));
        assert_eq!(node.bound(), [(prefix(EID), nat)], "the last one leads there");
        done.updates.into_iter().find_map(|update| match update {
            Update::Relayed { nats, .. } => Some(nats),
            _ => None,
        })
    };
    assert_eq!(said(&mut node, (false, 5, 1)), Some([Some(ip(NAT)), None]));
    assert_eq!(said(&mut node, (true, 6, 1)), Some([Some(ip(SIX)), Some(ip(NAT))]));
    // What no Map-Server has accepted adds nothing.
    let forged = to_rtr(SERVER, register(66, vec![record(EID)]));
    assert!(node.come(at(RTR, 4342), at("192.0.2.66", 4341), &forged).updates.is_empty());
    node.wait(Duration::from_secs(60));
    assert_eq!(said(&mut node, (false, 7, 1)), Some([Some(ip(NAT)), Some(ip(SIX))]));
    // By IPv6 it registers no more.
    node.wait(Duration::from_secs(100));
    assert_eq!(said(&mut node, (false, 8, 1)), None);
    node.wait(Duration::from_secs(20));
    assert_eq!(said(&mut node, (false, 9, 1)), Some([Some(ip(NAT)), None]), "180 s after the last time");
    // What the former xTR sends by the other family is no longer taken when another one has it.
    assert_eq!(said(&mut node, (true, 10, 1)), Some([Some(ip(SIX)), Some(ip(NAT))]));
    assert_eq!(said(&mut node, (true, 11, 2)), Some([Some(ip(SIX)), None]));
}

#[test]
fn what_no_map_server_vouches_for_moves_nothing() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    let thief = at("192.0.2.66", 4341);
    node.come(at(RTR, 4342), thief, &to_rtr(SERVER, register(66, vec![record(EID)])));
    // He knows the nonce, and can write whatever source he likes.
    let forged = notify(66, vec![record(EID)], "of the site");
    let bare = Ecm { security: None, ..Ecm::decode(&forged).unwrap() }.encode().unwrap();
    for (from, bytes) in
        [(SERVER, &forged), (SERVER, &bare), ("192.0.2.66", &notify(66, vec![record(EID)], "of the rtr"))]
    {
        assert!(node.come(at(RTR, 4342), at(from, 4342), bytes).updates.is_empty());
    }
    assert_eq!(node.refused(Refusal::RelayNotifyBadTag), 3);
    // A Map-Server of his own.
    assert!(node.come(at(RTR, 4342), thief, &to_rtr("192.0.2.66", register(67, vec![record(EID)]))).sent.is_empty());
    assert_eq!(node.refused(Refusal::RelayServerUnknown), 1);
    // The last Map-Register of the xTR, as he has seen it go by.
    assert!(node.come(at(RTR, 4342), thief, &to_rtr(SERVER, register(5, vec![record(EID)]))).sent.is_empty());
    assert_eq!(node.refused(Refusal::RelayReplayed), 1);
    // A Map-Notify once more, or for other prefixes than were registered.
    node.come(at(RTR, 4342), at(SERVER, 4342), &notify(5, vec![record(EID)], "of the rtr"));
    assert_eq!(node.refused(Refusal::RelayNotifyUnasked), 1);
    node.come(at(RTR, 4342), thief, &to_rtr(SERVER, register(68, vec![record(EID)])));
    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &notify(68, vec![record("198.18.9.0/24")], "of the rtr"));
    assert!(done.updates.is_empty());
    // Another site's xTR may have the same nonce at the same time.
    let other = at(NAT, 50_002);
    node.relays(other, 68, vec![record("198.18.9.0/24")]);
    assert_eq!(node.bound().last(), Some(&(prefix("198.18.9.0/24"), other)));
    node.relays(other, 69, vec![withdrawal(prefix("198.18.9.0/24"))]);
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_001))]);
}

#[test]
fn a_flood_of_map_registers_pushes_out_itself() {
    let mut node = Node::rtr();
    for nonce in 0..20_000u32 {
        let from = SocketAddr::new(IpAddr::from((0x0a00_0000 + nonce / 40).to_be_bytes()), 4341);
        let bytes = to_rtr(SERVER, register(u64::from(nonce) + 100, vec![record("198.18.9.0/24")]));
        node.come(at(RTR, 4342), from, &bytes);
    }
    assert!(node.refused(Refusal::RelayTableFull) > 0);
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_001))]);
}

#[test]
fn an_info_request_is_answered_with_what_was_seen_and_leaves_nothing() {
    let mut node = Node::rtr();
    let request = Info { nonce: Nonce(77), ..Info::default() };
    let mut bytes = request.encode().unwrap();
    bytes.resize(64, 0);
    let done = node.come(at(RTR, 4342), at(NAT, 50_001), &bytes);
    let [(Destination::Socket { remote, .. }, reply)] = done.sent.as_slice() else { panic!("{done:?}") };
    assert_eq!(*remote, at(NAT, 50_001));
    assert!(reply.len() <= 3 * bytes.len());
    let reply = Info::decode(reply).unwrap();
    let nat = reply.nat().unwrap();
    assert!(reply.reply && reply.nonce == Nonce(77));
    assert_eq!((nat.global_etr.ip(), nat.etr_port), (Some(ip(NAT)), 50_001));
    assert_eq!((nat.ms.ip(), nat.ms_port), (Some(ip(RTR)), 4342));
    assert_eq!(nat.rtrs, [ip(RTR).into()]);
    assert!(done.updates.is_empty() && node.bound().is_empty());

    let flood = (0..1000).filter(|_| !node.come(at(RTR, 4342), at(NAT, 50_001), &bytes).sent.is_empty()).count();
    assert!(flood < 1 + limits::INFO_REQUESTS as usize, "{flood}");
    assert!(node.refused(Refusal::InfoRateLimited) > 800);
    node.come(at(RTR, 4342), at(NAT, 50_001), &Info { reply: true, ..request }.encode().unwrap());
    assert_eq!(node.refused(Refusal::InfoUnasked), 1);
}

#[test]
fn what_the_mapping_system_says_of_a_bound_prefix_does_not_replace_the_binding() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    let done = |node: &mut Node, event| {
        node.control.handle(node.now, Input::Event(event));
        node.done()
    };
    assert!(done(&mut node, Event::Refresh { prefix: prefix(EID) }).sent.is_empty());
    let eid = prefix("198.18.1.9/32");
    let asked = done(&mut node, Event::Source { eid, rloc: ip("192.0.2.66"), is_known: false });
    let request = Ecm::decode(&asked.sent[0].1).unwrap();
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&request.message).unwrap() else { panic!() };
    let reply = wire::control::MapReply { nonce: request.nonce, records: vec![record(EID)], ..Default::default() };
    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &reply.encode().unwrap());
    assert!(!done.updates.iter().any(|update| matches!(update, Update::Upsert { .. })), "{done:?}");
}

/// An ITR with a mapping of [`EID`] behind the RTR, whose probe of that locator is returned.
fn itr_that_probes(mapping: &wire::record::MappingRecord) -> (Node, Vec<u8>) {
    let mut itr = Node::new(|now| Control::new(now, plain(database(&[FAR_RLOC], &["198.18.2.0/24"]), vec![])));
    itr.control.handle(itr.now, Input::Event(Event::Miss { eid: prefix("198.18.1.9/32"), source: ip("198.18.2.2") }));
    let asked = itr.done().sent.remove(0).1;
    let message = Ecm::decode(&asked).unwrap().message;
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&message).unwrap() else { panic!() };
    let reply = MapReply { nonce: request.nonce, records: vec![mapping.clone()], ..MapReply::default() };
    itr.come(at(FAR_RLOC, 4342), at(SERVER, 4342), &reply.encode().unwrap());
    let to_rtr = |to: &Destination| matches!(to, Destination::Socket { remote, .. } if *remote == at(RTR, 4342));
    let sent = itr.wait(Duration::from_secs(2)).sent;
    let probe = sent.into_iter().rfind(|(to, _)| to_rtr(to)).unwrap().1;
    assert!(MapRequest::decode(&probe).unwrap().probe);
    (itr, probe)
}

#[test]
fn a_probe_about_what_is_behind_a_nat_is_answered_with_its_mapping_and_nobody_asks_the_mapping_system() {
    // Another RTR has a binding too: the Map-Server knows the whole mapping.
    let mut mapping =
        database(&[RTR, "203.0.113.3"], &[]).record(prefix(EID), RecordForm { authoritative: false, probed: None });
    mapping.locators.iter_mut().for_each(|locator| locator.local = false);
    let mut rtr = Node::rtr();
    rtr.relays(at(NAT, 50_001), 5, vec![mapping.clone()]);
    let (mut itr, probe) = itr_that_probes(&mapping);
    let answer = rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &probe).sent.remove(0).1;
    let reply = MapReply::decode(&answer).unwrap();
    let [said] = reply.records.as_slice() else { panic!("{reply:?}") };
    assert!(reply.probe && said.authoritative && said.eid.ip_prefix() == Some(prefix(EID)), "{said:?}");
    let bits: Vec<_> = said.locators.iter().map(|one| (one.rloc.ip().unwrap(), one.probed, one.local)).collect();
    assert_eq!(bits, [(ip(RTR), true, true), (ip("203.0.113.3"), false, false)]);
    let asked = |done: &Done| done.sent.iter().filter(|(_, bytes)| Ecm::decode(bytes).is_ok()).count();
    let asks = |itr: &mut Node, answer: &[u8]| {
        let at_once = asked(&itr.come(at(FAR_RLOC, 4342), at(RTR, 4342), answer));
        at_once + asked(&itr.wait(Duration::from_secs(5)))
    };
    assert_eq!(asks(&mut itr, &answer), 0, "it agrees");
    assert_eq!(itr.control.counts().probes_answered, 1);

    // What is registered otherwise meanwhile is what it hears, and is looked after; what has left is in no answer.
    let (mut other, probe) = itr_that_probes(&mapping);
    rtr.relays(at(NAT, 50_001), 6, vec![record(EID)]);
    let answer = rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &probe).sent.remove(0).1;
    assert_eq!(MapReply::decode(&answer).unwrap().records[0].locators.len(), 1);
    assert!(asks(&mut other, &answer) > 0, "it disagrees");
    let says_nothing = |rtr: &mut Node| {
        let answer = rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &probe).sent.remove(0).1;
        assert_eq!(MapReply::decode(&answer).unwrap().records, []);
    };
    rtr.wait(limits::VOUCHED);
    assert_eq!(rtr.bound().len(), 1, "packets still go there");
    says_nothing(&mut rtr);
    rtr.wait(limits::BINDING - limits::VOUCHED);
    says_nothing(&mut rtr);
    // What is a part of a mapping only is no answer.
    let mut merging = MapRegister::decode(&register(8, vec![record(EID)])).unwrap();
    merging.merge = true;
    for (nonce, records, message) in
        [(8, vec![record(EID)], merging.encode().unwrap()), (9, vec![long_record()], register(9, vec![long_record()]))]
    {
        rtr.come(at(RTR, 4342), at(NAT, 50_001), &to_rtr(SERVER, message));
        rtr.come(at(RTR, 4342), at(SERVER, 4342), &notify(nonce, records, "of the rtr"));
        assert_eq!(rtr.bound().len(), 1);
        says_nothing(&mut rtr);
    }
    // More records than a sender may probe with at a time are no reason to say nothing of the others (RFC 9301, section 5.2).
    rtr.wait(Duration::from_secs(10));
    rtr.relays(at(NAT, 50_001), 10, vec![record(EID)]);
    let mut many = MapRequest::decode(&probe).unwrap();
    many.records.resize(6, many.records[0].clone());
    let answer = rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &many.encode().unwrap()).sent.remove(0).1;
    assert_eq!(MapReply::decode(&answer).unwrap().records.len(), 1);
    // Map-Requests that are no probes are the mapping system's to answer.
    let request = MapRequest { probe: false, ..MapRequest::decode(&probe).unwrap() };
    rtr.relays(at(NAT, 50_001), 11, vec![record(EID)]);
    assert!(rtr.come(at(RTR, 4342), at(FAR_RLOC, 4342), &request.encode().unwrap()).sent.is_empty());
}

/// With more locators than an RTR keeps.
fn long_record() -> wire::record::MappingRecord {
    let mut long = record(EID);
    long.locators.resize(limits::LOCATORS + 1, long.locators[0].clone());
    long
}

#[test]
fn a_hole_in_what_is_bound_anew_ends_and_what_a_map_server_refuses_to_say_stays() {
    let mut node = Node::rtr();
    let (hole, refused) = (prefix("198.18.1.8/29"), prefix("198.18.1.16/29"));
    for (eid, hole, action) in
        [("198.18.1.9/32", hole, Action::NativelyForward), ("198.18.1.17/32", refused, Action::DropPolicyDenied)]
    {
        let event = Event::Miss { eid: prefix(eid), source: ip("198.18.2.2") };
        node.control.handle(node.now, Input::Event(event));
        let asked = Ecm::decode(&node.done().sent[0].1).unwrap();
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&asked.message).unwrap() else { panic!() };
        let negative = wire::record::MappingRecord {
            action,
            locators: vec![],
            ttl: Ttl::DEFAULT,
            ..record(&hole.net.to_string())
        };
        let reply = MapReply { nonce: request.nonce, records: vec![negative], ..MapReply::default() };
        let done = node.come(at(RTR, 4342), at(SERVER, 4342), &reply.encode().unwrap());
        assert!(matches!(&done.updates[..], [Update::Upsert { prefix, .. }] if *prefix == hole), "{done:?}");
    }
    let done = node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    let removed = |done: &Done| {
        let removed = |update: &Update| match update {
            Update::Remove { prefix } => Some(*prefix),
            _ => None,
        };
        done.updates.iter().filter_map(removed).collect::<Vec<_>>()
    };
    assert_eq!(removed(&done), [hole]);
    assert_eq!(removed(&node.relays(at(NAT, 50_001), 6, vec![record(EID)])), [], "it is bound already");
}

#[test]
fn what_was_registered_through_this_rtr_and_is_no_longer_does_not_go_round() {
    let mut node = Node::rtr();
    let eid = prefix("198.18.1.9/32");
    node.control.handle(node.now, Input::Event(Event::Miss { eid, source: ip("198.18.2.2") }));
    let asked = node.done();
    let ControlMessage::MapRequest(request) =
        ControlMessage::decode(&Ecm::decode(&asked.sent[0].1).unwrap().message).unwrap()
    else {
        panic!("{asked:?}")
    };
    let both =
        database(&[RTR, "203.0.113.9"], &[]).record(prefix(EID), RecordForm { authoritative: false, probed: None });
    let reply = wire::control::MapReply { nonce: request.nonce, records: vec![both], ..Default::default() };
    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &reply.encode().unwrap());
    let [Update::Upsert { entry, .. }] = done.updates.as_slice() else { panic!("{done:?}") };
    let Forwarding::Locators(locators) = &entry.forwarding else { panic!("{entry:?}") };
    assert_eq!(locators.iter().map(|locator| locator.address).collect::<Vec<_>>(), [ip("203.0.113.9")]);
}

#[test]
fn an_rtr_takes_over_the_key_that_it_shares_and_other_map_servers() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    node.take(vec![server(SERVER, "renewed"), server("203.0.113.54", "renewed")]);
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_001))], "what is bound stays");
    let sent = node.come(at(RTR, 4342), at(NAT, 50_777), &to_rtr(SERVER, register(6, vec![record(EID)]))).sent;
    assert!(!sent.is_empty());
    node.come(at(RTR, 4342), at(SERVER, 4342), &notify(6, vec![record(EID)], "of the rtr"));
    assert_eq!(node.refused(Refusal::RelayNotifyBadTag), 1);
    node.come(at(RTR, 4342), at(SERVER, 4342), &notify(6, vec![record(EID)], "renewed"));
    assert_eq!(node.bound(), [(prefix(EID), at(NAT, 50_777))]);
    let to_other = to_rtr("203.0.113.54", register(7, vec![record(EID)]));
    assert_eq!(node.come(at(RTR, 4342), at(NAT, 50_777), &to_other).sent[0].0.remote(), at("203.0.113.54", 4342));
}

#[test]
fn who_writes_the_address_of_a_nat_uses_up_nothing_of_the_bindings_behind_it() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    node.relays(nat, 5, vec![record(EID)]);
    let request = Info { nonce: Nonce(77), ..Info::default() };
    let mut info = request.encode().unwrap();
    info.resize(64, 0);
    for port in 10_000..11_000 {
        node.come(at(RTR, 4342), at(NAT, port), &info);
        let message = register(u64::from(port), vec![record("198.18.9.0/24")]);
        node.come(at(RTR, 4342), at(NAT, port), &to_rtr(SERVER, message));
    }
    assert!(node.refused(Refusal::InfoRateLimited) > 0 && node.refused(Refusal::RelayRateLimited) > 0);
    assert_eq!(node.come(at(RTR, 4342), nat, &info).sent.len(), 1);
    node.relays(nat, 6, vec![record(EID)]);
    // What is relayed to nobody is not counted at all.
    let mut node = Node::rtr();
    for nonce in 0..1000 {
        node.come(at(RTR, 4342), nat, &to_rtr("192.0.2.66", register(nonce, vec![record(EID)])));
    }
    node.relays(nat, 5, vec![record(EID)]);
    // Of one binding there is a rate too.
    let sent = (100..1100).filter(|nonce| {
        !node.come(at(RTR, 4342), nat, &to_rtr(SERVER, register(*nonce, vec![record(EID)]))).sent.is_empty()
    });
    assert!(sent.count() <= limits::REGISTERS as usize);
}

#[test]
fn a_binding_is_reached_from_the_address_that_its_map_register_came_to() {
    const OTHER: &str = "203.0.113.3";
    let mut node = Node::rtr();
    let locator = |text| OwnLocator::new(ip(text), 1, 100);
    node.control.handle(node.now, Input::Locators(vec![locator(RTR), locator(OTHER)]));
    node.done();
    let nat = at(NAT, 50_001);
    node.come(at(OTHER, 4342), nat, &to_rtr(SERVER, register(5, vec![record(EID)])));
    let done = node.come(at(RTR, 4342), at(SERVER, 4342), &notify(5, vec![record(EID)], "of the rtr"));
    let binding = Binding { address: ip(NAT), port: 50_001, from: FromPort::Control, source: ip(OTHER) };
    assert!(
        matches!(&done.updates[1], Update::Upsert { entry, .. } if entry.forwarding == Forwarding::Binding(binding)),
        "{done:?}"
    );
    assert_eq!(done.sent[0].0, Destination::Socket { local: ip(OTHER), remote: nat });
    assert_eq!(node.control.binding_for(InstanceId(0), ip("198.18.1.9")), Some((prefix(EID), binding)));
    assert_eq!(node.control.binding_for(InstanceId(0), ip("198.18.2.9")), None);
    let traced = trace(&node, "198.18.2.9", "198.18.1.9");
    assert_eq!((traced.source, traced.destination_port), (ip(OTHER), 50_001));
}

#[test]
fn a_trace_at_an_rtr_follows_what_it_relays_and_nothing_else() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    let cached = |node: &mut Node, eid: &str, record: wire::record::MappingRecord| {
        node.control.handle(node.now, Input::Event(Event::Miss { eid: prefix(eid), source: ip("198.18.1.9") }));
        let asked = Ecm::decode(&node.done().sent[0].1).unwrap();
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&asked.message).unwrap() else { panic!() };
        let reply = MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() };
        node.come(at(RTR, 4342), at(SERVER, 4342), &reply.encode().unwrap());
    };
    let far = "198.18.2.0/24";
    let of_far = database(&[FAR_RLOC], &[]).record(prefix(far), RecordForm { authoritative: false, probed: None });
    cached(&mut node, "198.18.2.9/32", of_far);
    assert_eq!(trace(&node, "198.18.2.9", "198.18.1.9").destination, ip(NAT), "to the site behind the NAT");
    assert_eq!(trace(&node, "198.18.1.9", "198.18.2.9").destination, ip(FAR_RLOC), "from it");
    assert!(!traced(&node, "198.18.2.9", "198.18.2.7").1, "between others");

    let no_site = wire::record::MappingRecord {
        action: Action::NativelyForward,
        locators: vec![],
        ttl: Ttl::DEFAULT,
        ..record("198.19.0.0/16")
    };
    cached(&mut node, "198.19.0.9/32", no_site);
    let end = traced(&node, "198.18.1.9", "198.19.0.9");
    assert_eq!(end, (End::Dropped(DropReason::RelayNative), true));
}

#[test]
fn a_part_of_a_bound_prefix_that_is_somebody_elses_goes_to_him() {
    let mut node = Node::rtr();
    node.relays(at(NAT, 50_001), 5, vec![record(EID)]);
    let part = "198.18.1.128/25";
    let of =
        |rlocs: &[&str]| database(rlocs, &[]).record(prefix(part), RecordForm { authoritative: false, probed: None });
    let mut said = |rlocs: &[&str]| {
        node.wait(Duration::from_secs(2));
        let eid = prefix("198.18.1.129/32");
        node.control.handle(node.now, Input::Event(Event::Source { eid, rloc: ip("192.0.2.66"), is_known: false }));
        let asked = node.done();
        let request = Ecm::decode(&asked.sent[0].1).unwrap();
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&request.message).unwrap() else { panic!() };
        let reply = wire::control::MapReply { nonce: request.nonce, records: vec![of(rlocs)], ..Default::default() };
        let done = node.come(at(RTR, 4342), at(SERVER, 4342), &reply.encode().unwrap());
        done.updates.into_iter().any(|update| matches!(update, Update::Upsert { prefix: at, .. } if at == prefix(part)))
    };
    assert!(!said(&[RTR]), "it goes round");
    assert!(said(&["203.0.113.9"]));
}
