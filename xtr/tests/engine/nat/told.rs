// SPDX-License-Identifier: GPL-2.0-or-later
//! What a Map-Server tells an xTR behind a NAT of its own accord, by its RTR: who has what was its own, and that nobody has it.

use super::*;

const OTHER_NAT: &str = "192.0.2.3";
const ELSEWHERE: &str = "198.51.100.2";
const OTHER_SERVER: &str = "203.0.113.54";

fn identity(xtr: u8) -> Option<XtrIdentity> {
    Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 0 })
}

/// A Map-Register of this xTR, whose address behind its NAT is `private`, that the RTR relays and the Map-Server accepts.
fn registers_as(node: &mut Node, xtr: u8, (from, private): (SocketAddr, &str), nonce: u64, merge: bool) {
    let message = MapRegister { merge, ..MapRegister::decode(&register(nonce, vec![record(EID)])).unwrap() };
    registers_this(node, xtr, (from, private), message);
}

fn registers_this(node: &mut Node, xtr: u8, (from, private): (SocketAddr, &str), message: MapRegister) {
    let message = MapRegister { xtr_identity: identity(xtr), ..message };
    let ecm = Ecm::wrap(at(private, 4342), at(SERVER, 4342), message.encode().unwrap());
    let relayed = node.come(at(RTR, 4342), from, &Ecm { for_rtr: true, ..ecm }.encode().unwrap());
    assert_eq!(relayed.sent.len(), 1, "{relayed:?}");
    node.come(at(RTR, 4342), at(SERVER, 4342), &notify(message.nonce.0, message.records, "of the rtr"));
}

/// The same of the first xTR, with all these.
fn registers(node: &mut Node, from: SocketAddr, nonce: u64, records: Vec<wire::record::MappingRecord>) {
    registers_this(node, 1, (from, XTR), MapRegister::decode(&register(nonce, records)).unwrap());
}

/// What the Map-Server says to the first xTR, with this address behind its NAT, with a nonce of its own.
fn says(node: &mut Node, private: &str, nonce: u64, record: wire::record::MappingRecord) -> Done {
    says_to(node, (1, private), nonce, record)
}

fn says_to(node: &mut Node, (xtr, private): (u8, &str), nonce: u64, record: wire::record::MappingRecord) -> Done {
    let nonce = Nonce((1 << 50) + nonce);
    says_this(
        node,
        SERVER,
        private,
        MapNotify { nonce, records: vec![record], xtr_identity: identity(xtr), ..MapNotify::default() },
    )
}

fn says_this(node: &mut Node, server: &str, private: &str, message: MapNotify) -> Done {
    let message = auth::seal(&ControlMessage::from(message), &key("of the site"), TagForm::Truncated).unwrap();
    let security = Some(RtrAd::seal(&message, &key("of the rtr")).unwrap().encode().unwrap());
    let ecm = Ecm { for_rtr: true, security, ..Ecm::wrap(at(server, 4342), at(private, 4342), message) };
    node.come(at(RTR, 4342), at(server, 4342), &ecm.encode().unwrap())
}

/// Where a Data-Map-Notify went, if one did.
fn handed(done: &Done) -> Option<SocketAddr> {
    done.sent.iter().find_map(|(to, bytes)| decode_data_map_notify(bytes).ok().map(|_| to.remote()))
}

/// A Map-Notify-Ack from behind the NAT, and whether it was relayed.
fn acknowledges(node: &mut Node, from: SocketAddr, nonce: u64, record: wire::record::MappingRecord) -> bool {
    let ack = MapNotify { nonce: Nonce((1 << 50) + nonce), records: vec![record], ..MapNotify::default() };
    let ack = auth::seal(&ControlMessage::MapNotifyAck(ack), &key("of the site"), TagForm::Truncated).unwrap();
    let done = node.come(at(RTR, 4342), from, &to_rtr(SERVER, ack.clone()));
    let [(Destination::Socket { remote, .. }, bytes)] = done.sent.as_slice() else { return false };
    let ecm = Ecm::decode(bytes).unwrap();
    assert!(ecm.by_rtr && !ecm.for_rtr && ecm.message == ack && *remote == at(SERVER, 4342), "as it came: {ecm:?}");
    true
}

/// The SMRs among what was sent, to whom.
fn solicited(done: &Done) -> Vec<(IpAddr, EidPrefix)> {
    let smr = |(to, bytes): &(Destination, Vec<u8>)| {
        let message = MapRequest::decode(bytes).ok().filter(|message| message.smr)?;
        Some((to.remote().ip(), message.records[0].eid.ip_prefix()?))
    };
    done.sent.iter().filter_map(smr).collect()
}

#[test]
fn what_has_moved_is_told_by_the_binding_and_led_to_its_next_xtr() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, false);
    let moved = at_rlocs(EID, &[ELSEWHERE]);
    let done = says(&mut node, XTR, 1, moved.clone());
    assert_eq!(handed(&done), Some(nat));
    assert_eq!(
        done.updates[..2],
        [Update::Remove { prefix: prefix(EID) }, Update::Relayed { prefix: prefix(EID), nats: [None; 2] }]
    );
    let leads = |update: &Update| {
        matches!(update, Update::Upsert { prefix: at, entry } if *at == prefix(EID)
            && matches!(&entry.forwarding, Forwarding::Locators(list) if list[0].address == ip(ELSEWHERE)))
    };
    assert!(done.updates.iter().any(leads), "nothing waits for a question: {done:?}");
    assert_eq!((node.bound().len(), done.wanted.as_slice()), (0, [(prefix(EID), prefix(EID))].as_slice()));
    // Once more is heard once more, and changes nothing more; what is older is not heard.
    let again = says(&mut node, XTR, 1, moved.clone());
    assert_eq!((handed(&again), again.updates.len(), again.wanted.len()), (Some(nat), 0, 0));
    assert_eq!(handed(&says(&mut node, XTR, 0, moved.clone())), None);
    assert_eq!(node.refused(Refusal::RelayNotifyUnasked), 1);

    // Another Map-Server has nonces of its own.
    node.take(vec![server(SERVER, "of the rtr"), server(OTHER_SERVER, "of the rtr")]);
    let (nonce, records) = (Nonce((1 << 50) - 1), vec![moved.clone()]);
    let lower = MapNotify { nonce, records, xtr_identity: identity(1), ..MapNotify::default() };
    assert_eq!(handed(&says_this(&mut node, OTHER_SERVER, XTR, lower)), Some(nat));

    assert!(acknowledges(&mut node, nat, 1, moved.clone()));
    assert!(!acknowledges(&mut node, nat, 0, moved.clone()), "of what was never told");
    assert!(!acknowledges(&mut node, at(NAT, 50_002), 1, moved), "of somebody else behind that NAT");
    assert_eq!(node.refused(Refusal::RelayAckUnasked), 2);
}

#[test]
fn who_sends_to_what_has_moved_is_solicited_as_often_as_he_is_to_hear() {
    let mut node = Node::rtr();
    registers_as(&mut node, 1, (at(NAT, 50_001), XTR), 5, false);
    says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]));
    let senders = [(ip(FAR_RLOC), 1), (ip("192.0.2.81"), 2)];
    node.control.handle(node.now, Input::Senders { about: prefix(EID), senders: &senders });
    let mut told = solicited(&node.done());
    told.sort();
    assert_eq!(told, [(ip(FAR_RLOC), prefix(EID)), (ip("192.0.2.81"), prefix(EID))], "at once");
    assert_eq!(solicited(&node.wait(Duration::from_millis(2999))), []);
    assert_eq!(solicited(&node.wait(Duration::from_secs(60))), [(ip("192.0.2.81"), prefix(EID))]);
}

#[test]
fn the_former_xtr_hears_that_nobody_has_it_any_more_as_long_as_it_keeps_its_binding_open() {
    let nat = at(NAT, 50_001);
    for is_open in [true, false] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (nat, XTR), 5, false);
        says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]));
        for _ in 0..20 {
            node.wait(limits::KEEPALIVE);
            let mut info = Info { nonce: Nonce(77), ..Info::default() }.encode().unwrap();
            info.resize(64, 0);
            let from = if is_open { nat } else { at(NAT, 50_002) };
            assert_eq!(node.come(at(RTR, 4342), from, &info).sent.len(), 1);
        }
        let free = withdrawal(prefix(EID));
        let done = says(&mut node, XTR, 2, free.clone());
        assert_eq!((handed(&done), done.wanted.len()), (is_open.then_some(nat), 0));
        assert_eq!(acknowledges(&mut node, nat, 2, free), is_open);
        registers_as(&mut node, 1, (nat, XTR), 6, false);
        assert_eq!(node.bound(), [(prefix(EID), nat)], "it is reached again");
        // What was said long ago is old, whether its binding was forgotten meanwhile or not.
        assert_eq!(handed(&says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]))), None);
        assert_eq!(node.bound(), [(prefix(EID), nat)]);
    }
}

#[test]
fn who_sends_to_what_is_taken_back_hears_of_it_too() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    node.relays(nat, 5, vec![record(EID)]);
    let done = node.relays(nat, 6, vec![withdrawal(prefix(EID))]);
    assert_eq!((done.wanted.as_slice(), node.bound().len()), ([(prefix(EID), prefix(EID))].as_slice(), 0));
}

#[test]
fn a_part_that_moves_is_led_to_its_next_xtr_and_the_rest_stays_bound() {
    const PART: &str = "198.18.1.128/25";
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, false);
    let done = says(&mut node, XTR, 1, at_rlocs(PART, &[ELSEWHERE]));
    assert_eq!((handed(&done), node.bound()), (Some(nat), vec![(prefix(EID), nat)]));
    assert!(matches!(&done.updates[..], [Update::Upsert { prefix: at, .. }] if *at == prefix(PART)), "{done:?}");
    assert_eq!(done.wanted, [(prefix(EID), prefix(PART))], "those who send to the whole hear of the part");
    let done = says(&mut node, XTR, 2, withdrawal(prefix(PART)));
    assert_eq!((handed(&done), done.wanted), (Some(nat), vec![(prefix(EID), prefix(PART))]));
    assert_eq!(done.updates, [Update::Remove { prefix: prefix(PART) }], "the binding serves it again");
}

/// Both networks behind a NAT may number their routers in the same way.
#[test]
fn a_move_between_two_nats_is_told_to_the_former_xtr_whatever_address_the_next_has_behind_its_own() {
    let (one, other) = (at(NAT, 50_001), at(OTHER_NAT, 50_002));
    for private in ["10.0.0.9", XTR] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (one, XTR), 5, false);
        // It may come before the Map-Server's answer to the other.
        assert_eq!(handed(&says(&mut node, XTR, 1, record(EID))), Some(one));
        assert_eq!(node.bound(), [(prefix(EID), one)], "until that comes it is reached there");
        registers_as(&mut node, 2, (other, private), 6, false);
        for nonce in [1, 2] {
            let done = says(&mut node, XTR, nonce, record(EID));
            assert_eq!((handed(&done), done.updates.len()), (Some(one), 0), "{private}");
        }
        assert_eq!(node.bound(), [(prefix(EID), other)], "who has it is told nothing, and keeps it");
        assert!(acknowledges(&mut node, one, 2, record(EID)));
        assert!(!acknowledges(&mut node, other, 2, record(EID)));
        // What the former had under way, and takes back.
        let message = MapRegister {
            xtr_identity: identity(1),
            ..MapRegister::decode(&register(7, vec![withdrawal(prefix(EID))])).unwrap()
        };
        node.come(at(RTR, 4342), one, &to_rtr(SERVER, message.encode().unwrap()));
        node.come(at(RTR, 4342), at(SERVER, 4342), &notify(7, vec![withdrawal(prefix(EID))], "of the rtr"));
        assert_eq!(node.bound(), [(prefix(EID), other)], "it ends nothing of the other's");
        // And back again.
        assert_eq!(handed(&says_to(&mut node, (2, private), 3, record(EID))), Some(other));
        registers_as(&mut node, 1, (one, XTR), 8, false);
        assert_eq!(handed(&says_to(&mut node, (2, private), 4, withdrawal(prefix(EID)))), Some(other));
        assert_eq!((node.bound(), node.refused(Refusal::RelayNotifyUnasked)), (vec![(prefix(EID), one)], 0));
    }
}

#[test]
fn what_all_that_merge_have_together_is_told_to_them() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, true);
    let done = says(&mut node, XTR, 1, at_rlocs(EID, &[RTR, ELSEWHERE]));
    assert_eq!((handed(&done), done.updates.len(), node.bound().len()), (Some(nat), 0, 1));
}

#[test]
fn nothing_is_told_that_is_not_for_whom_this_rtr_reaches_and_of_its_map_server() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, false);
    let moved = || at_rlocs(EID, &[ELSEWHERE]);
    assert_eq!(handed(&says(&mut node, "10.0.0.9", 1, moved())), None, "another xTR behind a NAT");
    assert_eq!(handed(&says_to(&mut node, (2, XTR), 1, moved())), None, "one that has the same address there");
    assert_eq!(handed(&says(&mut node, XTR, 1, at_rlocs("198.18.9.0/24", &[ELSEWHERE]))), None, "nothing of its");
    let (nonce, records) = (Nonce((1 << 50) + 1), vec![moved(), moved()]);
    let two = MapNotify { nonce, records, xtr_identity: identity(1), ..MapNotify::default() };
    assert_eq!(handed(&says_this(&mut node, SERVER, XTR, two)), None);
    // The answer to its Map-Register once more, within the time for answers and later.
    for seconds in [0, 60] {
        node.wait(Duration::from_secs(seconds));
        let answer = notify(5, vec![record(EID)], "of the rtr");
        assert_eq!(handed(&node.come(at(RTR, 4342), at(SERVER, 4342), &answer)), None);
    }
    assert_eq!(node.refused(Refusal::RelayNotifyUnasked), 6);
    let forged = notify((1 << 50) + 1, vec![moved()], "of the site");
    assert_eq!(handed(&node.come(at(RTR, 4342), at(SERVER, 4342), &forged)), None);
    assert_eq!(node.refused(Refusal::RelayNotifyBadTag), 1);
    assert_eq!(node.bound(), [(prefix(EID), nat)]);
    let told = (0..200).filter(|_| handed(&says(&mut node, XTR, 9, moved())).is_some());
    assert_eq!(told.count(), 1 + limits::REGISTERS as usize, "however often it comes again");
}

#[test]
fn the_last_map_register_of_who_had_it_binds_it_nowhere_when_another_sends_it() {
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers(&mut node, nat, 5, vec![record(EID)]);
    says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]));
    node.wait(limits::PATIENCE + Duration::from_secs(1));
    let replay = to_rtr(SERVER, register(5, vec![record(EID)]));
    assert_eq!(node.come(at(RTR, 4342), at("192.0.2.66", 4341), &replay).sent, []);
    assert_eq!((node.refused(Refusal::RelayReplayed), node.bound().len()), (1, 0));
    assert_eq!(node.come(at(RTR, 4342), nat, &replay).sent.len(), 1, "its own is the Map-Server's to judge");
}

/// A Map-Register that no Map-Server accepts, in the name of this xTR, from there; whether it was relayed.
fn forges(node: &mut Node, xtr: u8, nonce: u64, records: Vec<wire::record::MappingRecord>) -> bool {
    let message = MapRegister { nonce: Nonce(nonce), records, xtr_identity: identity(xtr), ..MapRegister::default() };
    let message = auth::seal(&ControlMessage::from(message), &key("a guess"), TagForm::Truncated).unwrap();
    !node.come(at(RTR, 4342), at("192.0.2.66", 4341), &to_rtr(SERVER, message)).sent.is_empty()
}

#[test]
fn what_is_told_again_answers_nobody_who_has_seen_its_nonce_go_by() {
    let (one, other) = (at(NAT, 50_001), at(OTHER_NAT, 50_002));
    for xtr in [1, 2, 3] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (one, XTR), 5, false);
        registers_as(&mut node, 2, (other, "10.0.0.9"), 6, false);
        for _ in 0..2 {
            assert_eq!(handed(&says(&mut node, XTR, 1, record(EID))), Some(one));
            assert!(!forges(&mut node, xtr, (1 << 50) + 1, vec![record(EID)]), "{xtr}");
            assert!(!forges(&mut node, xtr, (1 << 50) + 1, vec![withdrawal(prefix(EID))]), "{xtr}");
        }
        assert_eq!((node.bound(), node.refused(Refusal::RelayReplayed)), (vec![(prefix(EID), other)], 4));
    }
}

#[test]
fn an_older_answer_leads_nothing_to_who_sends_it_again() {
    const PART: &str = "198.18.1.128/25";
    let (one, other) = (at(NAT, 50_001), at(OTHER_NAT, 50_002));
    let mut node = Node::rtr();
    registers_as(&mut node, 1, (one, XTR), 5, false);
    registers_as(&mut node, 1, (one, XTR), 6, false);
    registers_as(&mut node, 2, (other, XTR), 7, false);
    registers_as(&mut node, 2, (other, XTR), 8, false);
    node.wait(limits::PATIENCE + Duration::from_secs(1));
    for nonce in 5..=8 {
        assert!(!forges(&mut node, 3, nonce, vec![record(EID)]), "{nonce}");
        node.come(at(RTR, 4342), at(SERVER, 4342), &notify(nonce, vec![record(EID)], "of the rtr"));
    }
    assert_eq!((node.bound(), node.refused(Refusal::RelayReplayed)), (vec![(prefix(EID), other)], 4));

    // Of the second EID-prefix of a Map-Register nobody else waits for the answer.
    let mut node = Node::rtr();
    let both = || vec![record(EID), record(PART)];
    let message = to_rtr(SERVER, register(5, both()));
    assert_eq!(node.come(at(RTR, 4342), one, &message).sent.len(), 1);
    node.wait(limits::PATIENCE / 2);
    assert!(forges(&mut node, 3, 5, vec![record(PART)]));
    let answer = notify(5, both(), "of the rtr");
    node.come(at(RTR, 4342), at(SERVER, 4342), &answer);
    node.wait(limits::PATIENCE * 3 / 4);
    node.come(at(RTR, 4342), at(SERVER, 4342), &answer);
    assert_eq!(node.bound(), [(prefix(EID), one), (prefix(PART), one)]);
    assert_eq!(node.refused(Refusal::RelayReplayed), 1);
}

#[test]
fn an_answer_that_is_late_or_comes_twice_is_nothing_that_was_told_and_its_xtr_may_register_again() {
    let one = at(NAT, 50_001);
    for is_late in [true, false] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (one, XTR), 5, false);
        let nonce = Nonce(1 << 51);
        let message =
            MapRegister { nonce, records: vec![record(EID)], xtr_identity: identity(1), ..MapRegister::default() };
        let register = to_rtr(SERVER, message.encode().unwrap());
        let answers = |node: &mut Node| {
            let records = vec![record(EID)];
            let answer = MapNotify { nonce, records, xtr_identity: identity(1), ..MapNotify::default() };
            handed(&says_this(node, SERVER, XTR, answer))
        };
        assert_eq!(node.come(at(RTR, 4342), one, &register).sent.len(), 1);
        if !is_late {
            assert_eq!(answers(&mut node), Some(one));
        }
        node.wait(limits::PATIENCE + Duration::from_secs(1));
        assert_eq!((answers(&mut node), node.refused(Refusal::RelayNotifyUnasked)), (None, 1), "{is_late}");
        assert_eq!(node.come(at(RTR, 4342), one, &register).sent.len(), 1, "{is_late}");
        assert_eq!((answers(&mut node), node.refused(Refusal::RelayReplayed)), (Some(one), 0), "{is_late}");
        // What the Map-Server tells then is not older, whatever the xTR counts by.
        assert_eq!(handed(&says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]))), Some(one), "{is_late}");
    }
}

#[test]
fn an_answer_that_names_an_xtr_answers_that_one_only() {
    for (xtr, is_its) in [(1, true), (2, false)] {
        let mut node = Node::rtr();
        assert!(forges(&mut node, 1, 5, vec![record(EID)]));
        let (nonce, records) = (Nonce(5), vec![record(EID)]);
        let answer = MapNotify { nonce, records, xtr_identity: identity(xtr), ..MapNotify::default() };
        says_this(&mut node, SERVER, XTR, answer);
        assert_eq!(node.bound().len(), usize::from(is_its), "{xtr}");
    }
}

#[test]
fn an_answer_to_what_was_sent_once_more_is_nothing_that_was_told() {
    const LATE: u64 = 1 << 63;
    let nat = at(NAT, 50_001);
    let moved = || at_rlocs(EID, &[ELSEWHERE]);
    for is_answered in [true, false] {
        let mut node = Node::rtr();
        let identity = Some(XtrIdentity { xtr_id: [1; 16], site_id: 0 });
        let message =
            MapRegister { xtr_identity: identity, ..MapRegister::decode(&register(LATE, vec![moved()])).unwrap() };
        let message = to_rtr(SERVER, message.encode().unwrap());
        let answer = notify(LATE, vec![moved()], "of the rtr");
        node.come(at(RTR, 4342), nat, &message);
        if is_answered {
            node.come(at(RTR, 4342), at(SERVER, 4342), &answer);
        }
        registers_as(&mut node, 2, (nat, XTR), 5, false);
        node.wait(limits::PATIENCE - Duration::from_millis(10));
        assert_eq!(node.come(at(RTR, 4342), nat, &message).sent.len(), 1);
        node.wait(Duration::from_millis(20));
        let done = node.come(at(RTR, 4342), at(SERVER, 4342), &answer);
        assert_eq!((handed(&done), node.bound()), (Some(nat), vec![(prefix(EID), nat)]), "it answers");
        assert_eq!(handed(&says(&mut node, XTR, 1, moved())), Some(nat), "its nonce is none of what is told");
    }
}

/// An EID-prefix inside of [`EID`].
fn part(number: u8) -> String {
    format!("198.18.1.{number}/32")
}

#[test]
fn what_is_told_of_one_part_is_neither_old_nor_acknowledged_by_that_of_another() {
    let nat = at(NAT, 50_001);
    let moved = |number| at_rlocs(&part(number), &[ELSEWHERE]);
    let led = |done: &Done, number| {
        let at = prefix(&part(number));
        done.updates.iter().any(|update| matches!(update, Update::Upsert { prefix, .. } if *prefix == at))
    };
    for order in [[1, 2], [2, 1]] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (nat, XTR), 5, false);
        for number in order {
            let done = says(&mut node, XTR, u64::from(number), moved(number));
            assert!(handed(&done) == Some(nat) && led(&done, number), "{number} of {order:?}: {done:?}");
        }
        for number in order {
            assert!(acknowledges(&mut node, nat, u64::from(number), moved(number)), "{number} of {order:?}");
            let again = says(&mut node, XTR, u64::from(number), moved(number));
            assert!(handed(&again) == Some(nat) && again.updates.is_empty(), "it was lost, perhaps");
        }
        assert_eq!(handed(&says(&mut node, XTR, 0, moved(1))), None, "what is older of the same");
        assert!(!acknowledges(&mut node, nat, 2, moved(1)));
    }
}

#[test]
fn what_was_told_through_a_nat_that_changes_its_port_goes_to_the_same_xtr_again_and_to_no_other() {
    let (nat, changed) = (at(NAT, 50_001), at(NAT, 50_777));
    for (next, is_its) in [(1, true), (2, false)] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (nat, XTR), 5, false);
        let moved = || at_rlocs(&part(1), &[ELSEWHERE]);
        assert_eq!(handed(&says(&mut node, XTR, 1, moved())), Some(nat));
        registers_as(&mut node, next, (changed, XTR), 6, false);
        assert_eq!(handed(&says(&mut node, XTR, 1, moved())), is_its.then_some(changed));
        assert_eq!(acknowledges(&mut node, changed, 1, moved()), is_its);
        assert_eq!(acknowledges(&mut node, nat, 1, moved()), !is_its);
    }
}

#[test]
fn a_nat_that_changes_the_port_of_one_eid_prefix_takes_along_what_was_told_of_that_alone() {
    const REST: &str = "198.19.0.0/16";
    let (nat, changed) = (at(NAT, 50_001), at(NAT, 50_777));
    let mut node = Node::rtr();
    registers(&mut node, nat, 5, vec![record(EID)]);
    registers(&mut node, nat, 6, vec![record(REST)]);
    let parts = [(1, part(1)), (2, "198.19.0.1/32".into()), (3, "198.18.2.1/32".into())];
    registers(&mut node, nat, 7, vec![record("198.18.2.0/24")]);
    let again = |node: &mut Node| {
        parts.clone().map(|(nonce, part)| handed(&says(node, XTR, nonce, at_rlocs(&part, &[ELSEWHERE]))))
    };
    assert_eq!(again(&mut node), [Some(nat); 3]);
    registers(&mut node, changed, 8, vec![record(EID)]);
    assert_eq!(again(&mut node), [Some(changed), Some(nat), Some(nat)]);
    for ((nonce, part), from) in parts.iter().zip([changed, nat, nat]) {
        assert!(acknowledges(&mut node, from, *nonce, at_rlocs(part, &[ELSEWHERE])), "{part}");
    }
}

#[test]
fn many_parts_that_move_at_once_are_all_told_and_acknowledged_in_the_end() {
    const PARTS: u8 = 60;
    let mut node = Node::rtr();
    let nat = at(NAT, 50_001);
    registers_as(&mut node, 1, (nat, XTR), 5, false);
    let moved = |number| at_rlocs(&part(number), &[ELSEWHERE]);
    let mut left: Vec<u8> = (0..PARTS).collect();
    for round in 0..2 {
        for number in &left {
            assert_eq!(
                handed(&says(&mut node, XTR, u64::from(*number), moved(*number))),
                Some(nat),
                "{round}: {number}"
            );
        }
        left.retain(|number| !acknowledges(&mut node, nat, u64::from(*number), moved(*number)));
        node.wait(Duration::from_secs(3));
    }
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(node.refused(Refusal::RelayRateLimited), u64::from(PARTS) - u64::from(limits::REGISTERS));
    assert_eq!(node.bound(), [(prefix(EID), nat)]);
}

#[test]
fn one_binding_fills_its_share_of_those_that_are_kept_and_no_more() {
    let mut node = Node::rtr();
    let (one, other) = (at(NAT, 50_001), at(OTHER_NAT, 50_002));
    let eid = |number: usize| format!("198.19.{}.{}/32", number / 256, number % 256);
    let all = limits::LEFT_OF_BINDING + limits::PREFIXES;
    for (nonce, first) in (10..).zip((0..all).step_by(limits::PREFIXES)) {
        registers(
            &mut node,
            one,
            nonce,
            (first..first + limits::PREFIXES).map(|number| record(&eid(number))).collect(),
        );
    }
    for (nonce, number) in (1..).zip(0..all) {
        assert_eq!(handed(&says(&mut node, XTR, nonce, at_rlocs(&eid(number), &[ELSEWHERE]))), Some(one));
    }
    assert_eq!(node.refused(Refusal::RelayTableFull), limits::PREFIXES as u64);
    let last = all - 1;
    assert!(acknowledges(&mut node, one, 1 + last as u64, at_rlocs(&eid(last), &[ELSEWHERE])), "it was told so");
    registers(&mut node, other, 5, vec![record(EID)]);
    says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]));
    for (text, kept) in [(EID, Some(other)), (&eid(0), Some(one)), (&eid(last), None)] {
        assert_eq!(handed(&says(&mut node, XTR, 1000, withdrawal(prefix(text)))), kept, "{text}");
    }
}

#[test]
fn of_a_part_that_one_had_of_what_another_has_each_is_told_what_is_for_it() {
    let (one, other) = (at(NAT, 50_001), at(OTHER_NAT, 50_002));
    let mut node = Node::rtr();
    registers(&mut node, one, 5, vec![record("198.18.0.0/16")]);
    registers_as(&mut node, 2, (other, XTR), 6, false);
    assert_eq!(handed(&says_to(&mut node, (2, XTR), 1, at_rlocs(EID, &[ELSEWHERE]))), Some(other), "it has just that");
    let next = || at_rlocs(EID, &["198.51.100.3"]);
    assert_eq!(handed(&says_to(&mut node, (2, XTR), 2, next())), Some(other));
    assert_eq!(handed(&says(&mut node, XTR, 3, next())), Some(one));
    assert_eq!(handed(&says_to(&mut node, (3, XTR), 4, next())), None, "a third xTR, which has nothing here");
    assert_eq!(node.refused(Refusal::RelayNotifyUnasked), 1);
}

/// A Map-Server names zero where the tag of the site does not cover the xTR-ID.
#[test]
fn who_is_named_by_no_xtr_id_is_the_only_one_that_has_this_address_behind_its_nat() {
    let (one, other) = (at(NAT, 50_001), at(OTHER_NAT, 50_002));
    let moved = || at_rlocs(EID, &[ELSEWHERE]);
    let mut node = Node::rtr();
    registers_as(&mut node, 1, (one, XTR), 5, false);
    assert_eq!(handed(&says_to(&mut node, (0, XTR), 1, record(EID))), None, "it has just that");
    assert_eq!(handed(&says_to(&mut node, (0, "10.0.0.9"), 2, moved())), None);
    assert_eq!(handed(&says_to(&mut node, (0, XTR), 3, moved())), Some(one));
    assert!(acknowledges(&mut node, one, 3, moved()));
    assert_eq!(handed(&says_to(&mut node, (0, XTR), 4, withdrawal(prefix(EID)))), Some(one), "nobody has it any more");

    let mut node = Node::rtr();
    registers_as(&mut node, 1, (one, XTR), 5, false);
    registers_as(&mut node, 2, (other, XTR), 6, false);
    assert_eq!(handed(&says_to(&mut node, (0, XTR), 1, moved())), None, "two have it");
    assert_eq!(node.bound(), [(prefix(EID), other)]);
}

/// Answers name no xTR, and come within a moment, or are for nobody.
#[test]
fn what_answers_a_map_register_is_none_of_what_is_told_however_late_it_comes() {
    let nat = at(NAT, 50_001);
    for merge in [false, true] {
        let mut node = Node::rtr();
        registers_as(&mut node, 1, (nat, XTR), 5, merge);
        node.come(at(RTR, 4342), nat, &to_rtr(SERVER, register(1 << 63, vec![record(EID)])));
        node.wait(limits::PATIENCE + Duration::from_secs(1));
        for nonce in [5, 1 << 63] {
            let answer = notify(nonce, vec![record(EID)], "of the rtr");
            assert_eq!(handed(&node.come(at(RTR, 4342), at(SERVER, 4342), &answer)), None, "{nonce}");
        }
        assert_eq!(node.refused(Refusal::RelayNotifyUnasked), 2);
        assert_eq!(handed(&says(&mut node, XTR, 1, at_rlocs(EID, &[ELSEWHERE]))), Some(nat), "its nonce is not theirs");
    }
}

#[test]
fn an_xtr_behind_a_nat_leaves_what_has_moved_and_acknowledges_by_its_rtr() {
    let mut node = Node::natted(Mode::On, &[RTR, "203.0.113.3"]);
    let begun = node.done();
    for rtr in [RTR, "203.0.113.3"] {
        let nonce = asked(&begun, at(rtr, 4342)).unwrap();
        node.come_to_data_port(at(rtr, 4342), seen(nonce, NAT, 50_001));
    }
    let tell = |nonce: u64, record| {
        let message = MapNotify { nonce: Nonce((1 << 60) + nonce), records: vec![record], ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::from(message), &key("of the site"), TagForm::Truncated).unwrap();
        encode_data_map_notify(&Ecm::wrap(at(SERVER, 4342), at(XTR, 4342), bytes)).unwrap()
    };
    let acked = |done: &Done| {
        let ack = |(to, bytes): &(Destination, Vec<u8>)| {
            let ecm = Ecm::decode(bytes).ok()?;
            let ack = MapNotify::decode_ack(&ecm.message).ok()?;
            assert!(ecm.for_rtr && ecm.destination == at(SERVER, 4342), "{ecm:?}");
            assert_eq!(auth::verify(&ecm.message, &key("of the site"), auth::Accept::STRICT), Ok(()));
            Some((*to, ack.nonce.0 - (1 << 60)))
        };
        done.sent.iter().filter_map(ack).collect::<Vec<_>>()
    };
    let by = Destination::DataPort { local: ip(XTR), remote: at("203.0.113.3", 4342) };
    let done = node.come_to_data_port(at("203.0.113.3", 4342), tell(1, at_rlocs(EID, &[ELSEWHERE])));
    assert_eq!(acked(&done), [(by, 1)], "by the RTR that it came by");
    let moved = |node: &Node| node.control.registrations(node.now).filter(|row| row.moved).count();
    assert_eq!(moved(&node), 1);
    let done = node.come_to_data_port(at("203.0.113.3", 4342), tell(2, withdrawal(prefix(EID))));
    assert_eq!((acked(&done), moved(&node)), (vec![(by, 2)], 0));
    assert_eq!(registers_through(&done, RTR), 1, "it has it again");
}

/// Map-Registers through this RTR that register something.
fn registers_through(done: &Done, rtr: &str) -> usize {
    to_address(done, rtr).iter().filter(|(_, message)| !message.records[0].locators.is_empty()).count()
}
