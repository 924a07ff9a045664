// SPDX-License-Identifier: GPL-2.0-or-later
//! Recorded exchanges with OpenOverlayRouter and OpenLISP: our node in the place of one side, the peer's packets as they
//! were. What each should lead to is said in `conformance/captures/INDEX.md`.

use std::collections::BTreeSet;

use crate::double::{Node, prefix, secs};
use crate::recorded::{Datagram, ECM, MAP_NOTIFY, MAP_REGISTER, MAP_REQUEST, capture, judged};
use wire::address::EidPrefix;
use wire::control::auth::{Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister, MapReply, Nonce};
use wire::record::{Action, Ttl};
use xtr::database::{Database, OwnLocator};
use xtr::engine::{Config, Input};
use xtr::map_cache::{Event, Forwarding, Update};
use xtr::reach::Standing;
use xtr::refusal::Refusal;
use xtr::register::Server;
use xtr::transport::{MapSystem, Via};

judged! {
    our_xtr_goes_on_after_forged_notifies_and_stops_after_the_right_one: stops_at_the_right_notify =
        ["oor-xtr-retransmit-and-bad-notify"];
    the_map_notifies_of_both_servers_confirm_what_they_answer_and_once: is_confirmed_as_recorded = [
        "oor-register-two-records",
        "oor-register-xtr-id",
        "opencp-register-xtr-id",
        "oor-register-rloc-set-v4-v6",
        "opencp-register-rloc-set-v4-v6",
        "oor-register-over-ipv6",
        "opencp-register-over-ipv6",
        "opencp-register-sha1-notify",
        "oor-reregister-rloc-change",
        "opencp-reregister-rloc-change",
        "oor-replay-old-register",
        "opencp-replay-old-register",
        "oor-ddt-bit-request",
        "oor-expiry",
        "oor-iid5",
        "oor-iid5-xtr",
        "oor-dual-rloc-set",
        "oor-xtr-register",
        "oor-xtr-register-ipv6-rloc",
        "oor-xtr-register-proxy",
        "opencp-oor-xtr-register",
        "opencp-rloc-probe-in-ecm",
        "oor",
        "oor-xtr-with-opencp-ms",
    ];
    a_map_notify_with_other_locators_than_those_of_now_confirms_nothing: is_not_confirmed_by_what_was = [
        "oor-reregister-rloc-change",
        "opencp-reregister-rloc-change",
        "oor-replay-old-register",
        "opencp-replay-old-register",
    ];
    what_is_not_as_it_was_registered_is_not_confirmed: is_incomplete = ["opencp-xtr"];
    a_withdrawal_that_a_server_confirms_and_forgets_nothing_for_is_over: takes_back = ["opencp-ttl0-not-withdrawn"];
    a_map_server_silent_after_a_wrong_key_is_asked_again: goes_on_registering = ["oor-register-wrong-key"];
    wrong_holes_are_no_answers: takes_right_holes_only = ["oor-negative-unknown"];
    a_hole_over_registered_sites_is_narrowed_and_its_fifteen_hours_are_capped: narrows_and_caps =
        ["opencp-negative-unknown"];
    who_does_not_answer_outside_of_its_authority_is_left_for_the_next_and_then_the_eid_rests: asks_the_next =
        ["opencp-negative-unknown"];
    an_answer_is_taken_at_whichever_itr_rloc_the_server_chooses: is_answered_at_each_itr_rloc =
        ["oor-multi-itr-rloc", "opencp-multi-itr-rloc"];
    an_hour_of_an_unregistered_site_is_capped: caps_an_hour = ["opencp-negative-unregistered-site"];
    proxied_replies_of_both_servers_are_taken_whatever_their_a_and_l_bits: takes_proxied_replies =
        ["oor-proxy-reply", "opencp-proxy-reply"];
    a_new_rloc_replaces_the_old_one: replaces_the_rloc =
        ["oor-reregister-rloc-change", "opencp-reregister-rloc-change"];
    instances_are_kept_apart: keeps_instances_apart = ["oor-iid5"];
    the_map_servers_word_is_no_liveness_of_a_locator: takes_no_unasked_probe_reply = ["opencp-rloc-probe-in-ecm"];
    probes_are_answered_as_the_peers_etr_answers_them: answers_probes =
        ["oor-rloc-probe-answer", "oor-rloc-probe-answer-ipv6", "oor-rloc-probe", "oor-xtr-with-opencp-ms"];
    the_answers_of_the_peers_etr_to_our_probes_count: takes_answers_to_probes =
        ["oor-rloc-probe-answer", "oor-rloc-probe-answer-ipv6", "oor-rloc-probe"];
    forwarded_requests_are_answered_from_whatever_port_they_come_and_with_the_d_bit: answers_what_was_forwarded =
        ["oor-nonproxy-forward", "opencp-nonproxy-forward"];
    requests_are_answered_as_the_peers_etr_answers_them: answers_as_recorded = [
        "oor-data-ipv6-in-ipv4",
        "oor-data-ipv4-in-ipv4",
        "oor-data-ipv6-in-ipv6",
        "oor-data-ipv4-in-ipv6",
        "oor-dual-rloc-set",
        "oor-iid5-xtr",
        "oor-itr-to-our-etr",
        "opencp-oor-xtr-data",
        "opencp-xtr",
        "oor",
        "oor-xtr-with-opencp-ms",
    ];
    answers_of_the_peers_etr_are_taken: takes_what_was_answered = [
        "oor-data-ipv6-in-ipv4",
        "oor-data-ipv4-in-ipv4",
        "oor-data-ipv6-in-ipv6",
        "oor-data-ipv4-in-ipv6",
        "oor-dual-rloc-set",
        "oor-iid5-xtr",
        "oor-itr-to-our-etr",
        "oor-nonproxy-forward",
        "opencp-nonproxy-forward",
        "opencp-oor-xtr-data",
        "opencp-xtr",
        "oor",
        "oor-xtr-with-opencp-ms",
    ];
    an_smr_leads_to_an_smr_invoked_request_as_the_peer_sends_it: asks_after_an_smr = ["oor-smr-from-us", "oor-smr"];
}

fn stops_at_the_right_notify(name: &str) {
    // [4] wrong key, [6] right key but nonce 0, [8] right.
    let frames = capture(name);
    let registers: Vec<_> = frames.iter().enumerate().filter(|(_, frame)| frame.kind() == MAP_REGISTER).collect();
    for (index, refusal) in [(3, Some(Refusal::NotifyBadTag)), (5, Some(Refusal::NotifyUnasked)), (7, None)] {
        let (_, before) = registers.iter().rfind(|(at, _)| *at < index).unwrap();
        let mut node = registering_as(before);
        node.registers();
        node.bytes(&frames[index].from.to_string(), &frames[index].payload);
        node.advance(secs(10));
        match refusal {
            Some(refusal) => {
                assert_eq!(node.refused(refusal), 1, "[{}]", index + 1);
                assert!(!node.registers().is_empty(), "[{}]", index + 1);
            }
            None => assert!(node.registers().is_empty()),
        }
    }
}

/// Our node, in the place of the xTR whose Map-Register this is: its first one has the same nonce and contents.
fn registering_as(recorded: &Datagram) -> Node {
    let ControlMessage::MapRegister(register) = recorded.message() else { panic!("{recorded:?}") };
    let prefixes: Vec<_> = register.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    let server = Server {
        to: MapSystem::Node(recorded.to.ip()),
        key: AuthKey { id: register.auth.key_id, algorithm: Algorithm::HmacSha1, secret: Secret::new("secretkey") },
        tag: TagForm::Untruncated,
        narrow_coverage: false,
        proxy_reply: register.proxy_reply,
        identity: register.xtr_identity,
        prefixes: prefixes.clone(),
    };
    let rlocs: BTreeSet<_> =
        register.records.iter().flat_map(|record| &record.locators).map(|own| own.rloc.ip()).collect();
    let locators = rlocs.into_iter().flatten().map(|rloc| OwnLocator::new(rloc, 1, 100)).collect();
    let node = Node::from_config(Config {
        database: Database::new(prefixes, locators, register.records[0].ttl),
        cgeid_network: None,
        servers: vec![server],
        resolvers: vec![],
        nonce_floor: Nonce(register.nonce.0.wrapping_sub(1)),
        seed: [7; 32],
    });
    let [(_, _, bytes)] = &node.sent[..] else { panic!("{:?}", node.sent) };
    let ours = MapRegister::decode(bytes).unwrap();
    assert_eq!((ours.nonce, ours.xtr_identity), (register.nonce, register.xtr_identity));
    node
}

fn is_confirmed(node: &Node) -> bool {
    node.control.registrations(node.now).all(|row| row.confirmed_ago.is_some())
}

fn notify_of(frame: &Datagram) -> MapNotify {
    let ControlMessage::MapNotify(notify) = frame.message() else { panic!("{frame:?}") };
    notify
}

/// Each Map-Notify of a capture, and the Map-Register that it answers.
fn confirmations(frames: &[Datagram]) -> Vec<(&Datagram, &Datagram)> {
    let of = |notify: &&Datagram| {
        let nonce = notify_of(notify).nonce;
        let asked = |frame: &&Datagram| matches!(frame.message(), ControlMessage::MapRegister(of) if of.nonce == nonce);
        frames.iter().find(asked).unwrap()
    };
    let notifies = frames.iter().filter(|frame| frame.kind() == MAP_NOTIFY);
    notifies.map(|notify| (of(&notify), notify)).collect()
}

fn hears(node: &mut Node, notify: &Datagram) {
    node.bytes_at(notify.to, &notify.from.to_string(), &notify.payload);
}

fn is_confirmed_as_recorded(name: &str) {
    let frames = capture(name);
    let confirmations = confirmations(&frames);
    assert!(!confirmations.is_empty(), "{name}");
    for (register, notify) in confirmations {
        let mut node = registering_as(register);
        let ControlMessage::MapRegister(registered) = register.message() else { panic!("{name}") };
        assert_eq!(notify_of(notify).xtr_identity, registered.xtr_identity, "{name}: 24 octets are echoed, or none");
        node.registers();
        hears(&mut node, notify);
        assert_eq!((is_confirmed(&node), node.control.tally().total()), (true, 0), "{name}");
        hears(&mut node, notify);
        assert_eq!(node.refused(Refusal::NotifyUnasked), 1, "{name}: once");
        node.advance(secs(59));
        assert!(node.registers().is_empty(), "{name}");
    }
}

/// The Map-Register of the new locators is on its way, under the nonce that the recorded answer has, which tells the old ones.
fn is_not_confirmed_by_what_was(name: &str) {
    let frames = capture(name);
    let confirmations = confirmations(&frames);
    let [(_, old), (new, _), ..] = confirmations[..] else { panic!("{name}") };
    let nonce = notify_of(old).nonce;
    let mut renumbered = new.clone();
    renumbered.payload[4..12].copy_from_slice(&nonce.0.to_be_bytes());
    let mut node = registering_as(&renumbered);
    node.registers();
    hears(&mut node, old);
    assert_eq!((is_confirmed(&node), node.refused(Refusal::NotifyIncomplete)), (false, 1), "{name}");
    node.advance(secs(1));
    assert_eq!(node.registers().len(), 1, "{name}: it goes on");
}

/// This xTR has registered one of its EID-prefixes with fewer locators than ours does.
fn is_incomplete(name: &str) {
    let frames = capture(name);
    let [(register, notify)] = confirmations(&frames)[..] else { panic!("{name}") };
    let mut node = registering_as(register);
    hears(&mut node, notify);
    assert_eq!((is_confirmed(&node), node.refused(Refusal::NotifyIncomplete)), (false, 1), "{name}");
}

/// That the server goes on to answer shows only when somebody asks; of ours nothing is left waiting.
fn takes_back(name: &str) {
    let frames = capture(name);
    let [(register, notify)] = confirmations(&frames)[..] else { panic!("{name}") };
    // One nonce before is that of the Map-Register that is taken back.
    let mut before = register.clone();
    before.payload[4..12].copy_from_slice(&(notify_of(notify).nonce.0 - 1).to_be_bytes());
    let mut node = registering_as(&before);
    node.registers();
    node.input(Input::Shutdown);
    let (_, withdrawal) = node.register();
    assert_eq!(withdrawal.nonce, notify_of(notify).nonce, "{name}");
    assert!(withdrawal.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN && record.locators.is_empty()));
    hears(&mut node, notify);
    assert!(node.control.is_withdrawn(), "{name}");
}

fn goes_on_registering(name: &str) {
    let frames = capture(name);
    assert!(frames.iter().all(|frame| frame.kind() != MAP_NOTIFY), "no Map-Notify came");
    let mut node = Node::registering(Algorithm::HmacSha1, TagForm::Untruncated);
    node.registers();
    node.advance(secs(180));
    assert!(node.registers().len() >= 7);
}

fn takes_right_holes_only(name: &str) {
    // [2] and [6] do not contain the EID asked for, [4] and [8] do.
    let outcomes = replay_requests(name);
    let expected = [None, Some("2001:db9::/32"), None, Some("128.0.0.0/1")];
    assert_eq!(outcomes.len(), expected.len());
    for (outcome, expected) in outcomes.iter().zip(expected) {
        let installed = outcome.updates.iter().map(prefix_of).collect::<Vec<_>>();
        assert_eq!(installed, expected.map(prefix).into_iter().collect::<Vec<_>>());
        assert_eq!(outcome.refused(Refusal::ReplyNotCovering), u64::from(expected.is_none()));
    }
}

fn narrows_and_caps(name: &str) {
    // [2] 2001:db8::/32 and [5] 10.100.0.0/16, TTL 900 minutes, cover the prefixes of our own site.
    let outcomes = replay_requests(name);
    let answered: Vec<_> = outcomes.iter().filter(|outcome| !outcome.updates.is_empty()).collect();
    assert_eq!(answered.len(), 2);
    for (outcome, expected) in answered.iter().zip(["2001:db8:77::2/128", "10.100.77.2/32"]) {
        let [Update::Upsert { prefix: installed, entry }] = &outcome.updates[..] else {
            panic!("{:?}", outcome.updates)
        };
        assert_eq!(*installed, prefix(expected));
        assert_eq!(entry.forwarding, Forwarding::Negative(Action::NativelyForward));
        assert_eq!(entry.expires - outcome.node.now, secs(15 * 60));
    }
}

fn takes_proxied_replies(name: &str) {
    let outcomes = replay_requests(name);
    assert_eq!(outcomes.len(), 4, "{name}");
    for outcome in outcomes {
        let [Update::Upsert { prefix: installed, entry }] = &outcome.updates[..] else { panic!("{name}") };
        assert!(["2001:db8:d::/48", "10.100.2.0/24"].map(prefix).contains(installed), "{name}: {installed}");
        let Forwarding::Locators(locators) = &entry.forwarding else { panic!("{name}: {entry:?}") };
        assert_eq!(locators.len(), 1, "{name}");
    }
}

fn replaces_the_rloc(name: &str) {
    let locators: Vec<_> = replay_requests(name)
        .iter()
        .map(|outcome| match &outcome.updates[..] {
            [Update::Upsert { entry, .. }] => match &entry.forwarding {
                Forwarding::Locators(locators) => locators[0].address.to_string(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(locators, ["10.20.5.2", "10.20.5.3"], "{name}");
}

fn keeps_instances_apart(name: &str) {
    // The answers are for instance 5, for none, and for instance 6; each only counts for the question of its instance.
    let outcomes = replay_requests(name);
    assert!(outcomes.iter().any(|outcome| outcome.asked.iid.0 == 5 && !outcome.updates.is_empty()));
    for outcome in outcomes {
        for update in &outcome.updates {
            assert_eq!(prefix_of(update).iid, outcome.asked.iid);
        }
    }
}

fn answers_probes(name: &str) {
    let frames = capture(name);
    let probes: Vec<_> = frames.iter().filter(|frame| frame.kind() == MAP_REQUEST && frame.request().probe).collect();
    assert!(!probes.is_empty(), "{name}");
    for probe in probes {
        let answer = probe.answer(&frames).unwrap();
        let recorded = answer.reply();
        let mut node = in_the_place_of(&recorded);
        node.bytes_at(probe.to, &probe.from.to_string(), &probe.payload);
        let (to, ours) = node.reply_sent();
        assert_eq!(to, answer.to, "{name}");
        assert_eq!((ours.probe, ours.nonce), (true, recorded.nonce), "{name}");
        assert_eq!(ours.records[0].eid, recorded.records[0].eid, "{name}");
        let probed = |reply: &MapReply| -> Vec<_> {
            reply.records[0].locators.iter().filter(|l| l.probed).filter_map(|l| l.rloc.ip()).collect()
        };
        assert_eq!(probed(&ours), probed(&recorded), "{name}");
    }
}

/// Our node, in the place of the ITR that probed, finds the locator up, and that its ETR says nothing new.
fn takes_answers_to_probes(name: &str) {
    let frames = capture(name);
    let probes = frames.iter().filter(|frame| frame.kind() == MAP_REQUEST && frame.request().probe);
    let answered: Vec<_> = probes.filter_map(|probe| Some((probe, probe.answer(&frames)?))).collect();
    assert!(!answered.is_empty(), "{name}");
    for (probe, answer) in answered {
        let records = answer.reply().records;
        let mapped = records[0].eid.ip_prefix().unwrap();
        let mut node = Node::new(&["172.16.0.0/12"], &[&probe.from.ip().to_string()], vec![], vec![MapSystem::Pipe]);
        let eid = EidPrefix::host(mapped.iid, mapped.net.addr());
        node.event(Event::Miss { eid, source: "172.16.0.1".parse().unwrap() });
        let ControlMessage::Ecm(ecm) = ControlMessage::decode(&node.piped.remove(0)).unwrap() else { panic!("{name}") };
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else {
            panic!("{name}")
        };
        let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
        node.input(Input::Datagram { via: Via::Pipe, bytes: &reply.encode().unwrap() });
        node.advance(secs(1));
        let ours = node.probes.iter().find(|(_, to, _)| to.ip() == probe.to.ip()).unwrap().2.clone();
        assert_eq!(ours.records[0].eid.ip_prefix(), Some(mapped), "{name}: the prefix of the mapping");
        node.bytes_at(probe.from, &answer.from.to_string(), &under(ours.nonce, answer));
        let now = node.now;
        let found = node.control.probed_locators(now).find(|locator| locator.address == probe.to.ip()).unwrap();
        assert_eq!(found.standing, Standing::Up, "{name}");
        node.advance(secs(2));
        assert_eq!((node.piped.len(), node.control.tally().total()), (0, 0), "{name}");
    }
}

fn answers_what_was_forwarded(name: &str) {
    let frames = capture(name);
    let forwarded: Vec<_> =
        frames.iter().filter(|frame| frame.kind() == ECM && frame.to.ip().to_string() == "10.20.2.2").collect();
    assert_eq!(forwarded.len(), 2, "{name}");
    forwarded.into_iter().for_each(|frame| is_answered_as_recorded(name, frame, &frames));
}

/// Also what went to a map-server that was to send it on: it does so unchanged.
fn answers_as_recorded(name: &str) {
    let frames = capture(name);
    let asked: Vec<_> = frames.iter().filter(|frame| frame.kind() == ECM && frame.answer(&frames).is_some()).collect();
    assert!(!asked.is_empty(), "{name}");
    asked.into_iter().for_each(|frame| is_answered_as_recorded(name, frame, &frames));
}

/// Our node, in the place of the ETR that answered, says the same.
fn is_answered_as_recorded(name: &str, frame: &Datagram, frames: &[Datagram]) {
    let answer = frame.answer(frames).unwrap();
    let recorded = answer.reply();
    let mut node = in_the_place_of(&recorded);
    let local = std::net::SocketAddr::new(answer.from.ip(), frame.to.port());
    node.bytes_at(local, &frame.from.to_string(), &frame.payload);
    let (to, reply) = node.reply_sent();
    assert_eq!(reply.nonce, recorded.nonce, "{name}");
    // Of several ITR-RLOCs the peer and we may choose each another.
    let itr_rlocs: Vec<_> = frame.request().itr_rlocs.iter().filter_map(|rloc| rloc.ip()).collect();
    assert!(itr_rlocs.contains(&to.ip()) && to.port() == answer.to.port(), "{name}: to {to}, not {}", answer.to);
    let (ours, theirs) = (&reply.records[0], &recorded.records[0]);
    // The peer writes a mask length beside an instance, where there is none to write (RFC 8060, section 4.1).
    assert_eq!(ours.eid.ip_prefix(), theirs.eid.ip_prefix(), "{name}");
    assert_eq!((ours.ttl, ours.authoritative), (theirs.ttl, true), "{name}");
    let rlocs = |reply: &MapReply| -> Vec<_> {
        reply.records[0].locators.iter().map(|l| (l.rloc.clone(), l.priority, l.weight, l.local, l.reachable)).collect()
    };
    assert_eq!(rlocs(&reply), rlocs(&recorded), "{name}");
}

/// Asks for what was asked, from another site behind the same locator; the recorded answer leads to the recorded locators.
fn takes_what_was_answered(name: &str) {
    let frames = capture(name);
    let mut taken = 0;
    for frame in frames.iter().filter(|frame| frame.kind() == ECM) {
        let Some(answer) = frame.answer(&frames) else { continue };
        let rloc = answer.to.ip().to_string();
        let resolver = MapSystem::Node(answer.from.ip());
        let mut node = Node::new(&["2001:db8:cccc::/48", "10.200.0.0/24"], &[&rloc], vec![], vec![resolver]);
        let asked = ask_anew(&mut node, frame, ["10.200.0.2", "2001:db8:cccc::2"], Some(answer));
        let updates = node.updates();
        let [Update::Upsert { prefix, entry }] = &updates[..] else { panic!("{name}: {updates:?}") };
        assert!(prefix.covers(&asked), "{name}: {prefix}");
        let Forwarding::Locators(locators) = &entry.forwarding else { panic!("{name}: {entry:?}") };
        let recorded = answer.reply();
        let best = recorded.records[0].locators.iter().map(|locator| locator.priority).min().unwrap();
        let usable = recorded.records[0].locators.iter().filter(|locator| locator.priority == best);
        for locator in usable.filter_map(|locator| locator.rloc.ip()) {
            assert!(locators.iter().any(|ours| ours.address == locator), "{name}: {locator} in {locators:?}");
        }
        taken += 1;
    }
    assert!(taken >= 1, "{name}");
}

/// [3] and [6] have no answer: another Map-Resolver is asked, and where that is silent too nobody is asked for half a minute.
fn asks_the_next(name: &str) {
    let frames = capture(name);
    let unanswered: Vec<_> =
        frames.iter().filter(|frame| frame.kind() == ECM && frame.answer(&frames).is_none()).collect();
    assert_eq!(unanswered.len(), 2, "{name}");
    let (silent, other) = (frames[0].to.ip(), "10.20.3.2".parse().unwrap());
    for frame in unanswered {
        let resolvers = vec![MapSystem::Node(silent), MapSystem::Node(other)];
        let mut node = Node::new(&["2001:db8:a::/48", "10.100.0.0/24"], &["10.20.1.2"], vec![], resolvers);
        let eid = frame.request().records[0].eid.ip_prefix().unwrap();
        let source = if eid.net.addr().is_ipv4() { "10.100.0.2" } else { "2001:db8:a::2" };
        let miss = Event::Miss { eid, source: source.parse().unwrap() };
        node.event(miss.clone());
        let mut asked = node.requests();
        node.advance(secs(1));
        asked.extend(node.requests());
        let receivers: Vec<_> = asked.iter().map(|(to, _)| to.clone()).collect();
        assert_eq!(receivers, [silent.to_string(), other.to_string()], "{name}: {eid}");
        node.updates();
        node.advance(secs(120));
        assert_eq!(node.requests().len(), 9, "{name}: eleven in all");
        assert_eq!(node.updates(), [Update::Unresolved { eid }], "{name}: nothing is made up");
        // It has rested by now. A new packet begins anew, and who answers is asked first from then on.
        node.event(miss);
        node.advance(secs(1));
        let (_, question) = node.requests().pop().unwrap();
        let told = crate::double::reply_to(&question, &[(&eid.net.to_string(), 10)]);
        node.reply_from(&other.to_string(), &told);
        assert_eq!(node.upsert().0, eid, "{name}");
        let next = Event::Miss { eid: prefix("192.0.2.200/32"), source: "10.100.0.2".parse().unwrap() };
        node.event(next);
        assert_eq!(node.requests()[0].0, other.to_string(), "{name}");
    }
}

/// OpenOverlayRouter takes the last ITR-RLOC of the family that it was asked in, OpenLISP the first of all.
fn is_answered_at_each_itr_rloc(name: &str) {
    let frames = capture(name);
    let mut places = BTreeSet::new();
    for frame in frames.iter().filter(|frame| frame.kind() == ECM) {
        let answer = frame.answer(&frames).unwrap();
        let named: Vec<_> =
            frame.request().itr_rlocs.iter().filter_map(|rloc| rloc.ip()).map(|ip| ip.to_string()).collect();
        let named: Vec<_> = named.iter().map(String::as_str).collect();
        // Ours asks by a family that it has.
        let resolvers = ["10.20.3.2", "2001:db8:c3::2"].map(|text| MapSystem::Node(text.parse().unwrap()));
        let mut node = Node::new(&["2001:db8:a::/48"], &named, vec![], resolvers.to_vec());
        let asked = frame.request().records[0].eid.ip_prefix().unwrap();
        node.event(Event::Miss { eid: asked, source: "2001:db8:a::2".parse().unwrap() });
        node.advance(secs(1));
        let (_, question) = node.requests().pop().unwrap();
        let rlocs: BTreeSet<_> = question.itr_rlocs.iter().filter_map(|rloc| rloc.ip()).collect();
        assert!(rlocs.len() == named.len() && rlocs.contains(&answer.to.ip()), "{name}: {rlocs:?}, {:?}", answer.to);
        node.updates();
        let local = std::net::SocketAddr::new(answer.to.ip(), wire::CONTROL_PORT);
        node.bytes_at(local, &answer.from.to_string(), &under(question.nonce, answer));
        assert_eq!(node.upsert().0, prefix("2001:db8:d::/48"), "{name}");
        places.insert((named.len(), answer.to.is_ipv4(), answer.to.ip()));
    }
    assert!(places.len() >= 4, "{name}: {places:?}");
}

fn caps_an_hour(name: &str) {
    let outcomes = replay_requests(name);
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let [Update::Upsert { entry, .. }] = &outcome.updates[..] else { panic!("{:?}", outcome.updates) };
        assert_eq!(entry.forwarding, Forwarding::Negative(Action::NativelyForward));
        assert!(entry.expires - outcome.node.now <= secs(15 * 60), "60 minutes were a mistake of units");
    }
}

fn takes_no_unasked_probe_reply(name: &str) {
    let [outcome] = &replay_requests(name)[..] else { panic!("one request") };
    assert_eq!(outcome.updates, []);
    assert_eq!(outcome.refused(Refusal::ReplyUnasked), 1, "a probe reply to what was no probe");
}

fn asks_after_an_smr(name: &str) {
    let frames = capture(name);
    let smrs: Vec<_> = frames.iter().filter(|frame| frame.kind() == MAP_REQUEST && frame.request().smr).collect();
    let invoked: Vec<_> = frames.iter().filter(|frame| frame.kind() == ECM && frame.request().smr_invoked).collect();
    assert!(!smrs.is_empty() && smrs.len() == invoked.len(), "{name}");
    for (smr, recorded) in smrs.into_iter().zip(invoked) {
        let resolver = MapSystem::Node("10.20.3.2".parse().unwrap());
        let own = smr.request().records[0].eid.ip_prefix().unwrap().net.to_string();
        let mut node = Node::new(&[&own], &[&smr.to.ip().to_string()], vec![], vec![resolver]);
        let moved = recorded.request().records[0].eid.ip_prefix().unwrap();
        let (_, request) = node.miss(&EidPrefix::host(moved.iid, moved.net.addr()).net.to_string());
        node.reply(&crate::double::reply_to(&request, &[(&moved.net.to_string(), 10)]));
        node.updates();
        node.bytes_at(smr.to, &smr.from.to_string(), &smr.payload);
        assert_eq!(node.updates(), [], "{name}: the SMR itself is not believed");
        let (_, ours) = node.requests().remove(0);
        assert!(ours.smr_invoked, "{name}");
        assert_eq!(ours.records[0].eid, recorded.request().records[0].eid, "{name}");
        let answer = recorded.answer(&frames).unwrap();
        node.bytes_at(answer.to, &answer.from.to_string(), &under(ours.nonce, answer));
        let (_, entry) = node.upsert();
        let rloc = answer.reply().records[0].locators[0].rloc.ip().unwrap();
        assert!(rloc.to_string().ends_with(".3"), "{name}: where it moved");
        assert!(matches!(&entry.forwarding, Forwarding::Locators(l) if l[0].address == rloc), "{name}: {entry:?}");
    }
}

// --- replaying

/// What one recorded question and its answer led to.
struct Outcome {
    node: Node,
    asked: EidPrefix,
    updates: Vec<Update>,
}

impl Outcome {
    fn refused(&self, refusal: Refusal) -> u64 {
        self.node.refused(refusal)
    }
}

/// Asks every question of the capture anew from site A, and gives it the recorded answer under our nonce.
fn replay_requests(name: &str) -> Vec<Outcome> {
    let frames = capture(name);
    let requests = frames.iter().filter(|frame| frame.kind() == ECM);
    let replay = |frame: &Datagram| {
        let mut node = site_a();
        node.updates();
        let asked = ask_anew(&mut node, frame, ["10.100.0.2", "2001:db8:a::2"], frame.answer(&frames));
        let updates = node.updates();
        Outcome { node, asked, updates }
    };
    requests.map(replay).collect()
}

/// A packet from one of the sources (IPv4, IPv6) misses what the recorded question asks for; the recorded answer comes, if
/// there is one.
fn ask_anew(node: &mut Node, frame: &Datagram, sources: [&str; 2], answer: Option<&Datagram>) -> EidPrefix {
    let asked = frame.request().records[0].eid.ip_prefix().unwrap();
    let source = sources[usize::from(asked.net.addr().is_ipv6())];
    let eid = EidPrefix::host(asked.iid, asked.net.addr());
    node.event(xtr::map_cache::Event::Miss { eid, source: source.parse().unwrap() });
    let (_, request) = node.requests().remove(0);
    if let Some(answer) = answer {
        node.bytes_at(answer.to, &answer.from.to_string(), &under(request.nonce, answer));
    }
    asked
}

/// The octets of a recorded answer, as an answer to a question of ours.
fn under(nonce: Nonce, answer: &Datagram) -> Vec<u8> {
    let mut bytes = answer.payload.clone();
    bytes[4..12].copy_from_slice(&nonce.0.to_be_bytes());
    bytes
}

fn site_a() -> Node {
    let resolver = MapSystem::Node("10.20.3.2".parse().unwrap());
    Node::new(&["2001:db8:a::/48", "10.100.0.0/24"], &["10.20.1.2"], vec![], vec![resolver])
}

/// A node with the EID-prefixes and the locators that a recorded reply tells.
fn in_the_place_of(reply: &MapReply) -> Node {
    let prefixes = reply.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    let locators = reply.records[0].locators.iter().filter_map(|locator| {
        let own = |address| {
            let own = OwnLocator::new(address, locator.priority, locator.weight);
            OwnLocator { mpriority: locator.mpriority, mweight: locator.mweight, ..own }
        };
        locator.rloc.ip().map(own)
    });
    Node::from_config(Config {
        database: Database::new(prefixes, locators.collect(), reply.records[0].ttl),
        cgeid_network: None,
        servers: vec![],
        resolvers: vec![],
        nonce_floor: Nonce(1000),
        seed: [7; 32],
    })
}

fn prefix_of(update: &Update) -> EidPrefix {
    match update {
        Update::Upsert { prefix, .. } => *prefix,
        other => panic!("{other:?}"),
    }
}
