// SPDX-License-Identifier: GPL-2.0-or-later
//! The xTR behind a NAT: finds out about it, goes through its RTRs, and believes nobody but who it asked.

use super::uplinks::asked_from;
use super::*;

#[test]
fn other_map_servers_are_asked_for_their_rtrs_under_their_keys() {
    const OTHER: &str = "203.0.113.54";
    let mut node = Node::natted(Mode::Auto, &[]);
    assert!(asked(&node.done(), at(SERVER, 4342)).is_some());
    let done = node.take(vec![server(OTHER, "of the other")]);
    let nonce = asked(&done, at(OTHER, 4342)).unwrap();
    let reply = Info { nonce, ..Info::default() }.answer(at(NAT, 50_001), at(OTHER, 4342), &[ip(RTR)]);
    let sealed = |secret: &str| auth::seal(&reply.clone().into(), &key(secret), TagForm::Truncated).unwrap();
    node.come(at(XTR, 4342), at(OTHER, 4342), &sealed("of the site"));
    assert_eq!(node.refused(Refusal::InfoBadTag), 1);
    let done = node.take(vec![server(OTHER, "of the other")]);
    assert_eq!(asked(&done, at(OTHER, 4342)), None, "the same again is no news");
    let done = node.come(at(XTR, 4342), at(OTHER, 4342), &sealed("of the other"));
    assert!(asked(&done, at(RTR, 4342)).is_some(), "{done:?}");
    assert_eq!(asked(&node.wait(Duration::from_secs(60)), at(SERVER, 4342)), None);
}

/// An xTR that both addresses of its RTR see behind a NAT, and what it has sent to them.
fn behind_two_addresses(addresses: [&str; 2]) -> (Node, Done) {
    let mut node = Node::natted(Mode::On, &addresses);
    let begun = node.done();
    let mut sent = Done::default();
    for (address, port) in addresses.into_iter().zip([50_001, 50_002]) {
        let nonce = asked(&begun, at(address, 4342)).unwrap();
        sent = node.come_to_data_port(at(address, 4342), seen(nonce, NAT, port));
    }
    (node, sent)
}

#[test]
fn two_addresses_of_one_rtr_take_a_map_register_each_behind_a_nat_that_shows_two_ports() {
    let addresses = [RTR, "203.0.113.3"];
    let (_, sent) = behind_two_addresses(addresses);
    let mut rtr = Node::rtr();
    let locator = |text| OwnLocator::new(ip(text), 1, 100);
    rtr.control.handle(rtr.now, Input::Locators(addresses.map(locator).to_vec()));
    rtr.done();
    let mut nonces = Vec::new();
    for (address, port) in addresses.into_iter().zip([50_001, 50_002]) {
        let registers = to_address(&sent, address);
        let [(bytes, message)] = registers.as_slice() else { panic!("{address}: {sent:?}") };
        let relayed = rtr.come(at(address, 4342), at(NAT, port), bytes);
        assert_eq!(relayed.sent.len(), 1, "{address}: {relayed:?}");
        rtr.come(at(RTR, 4342), at(SERVER, 4342), &notify(message.nonce.0, message.records.clone(), "of the rtr"));
        assert_eq!(rtr.bound(), [(prefix(EID), at(NAT, port))]);
        nonces.push(message.nonce);
    }
    assert!(nonces.is_sorted() && nonces[0] != nonces[1], "{nonces:?}");
    assert_eq!(rtr.refused(Refusal::RelayReplayed), 0);
}

#[test]
fn an_rtr_whose_map_register_was_not_confirmed_gets_another_one_and_the_others_do_not() {
    let addresses = [RTR, "203.0.113.3"];
    let (mut node, sent) = behind_two_addresses(addresses);
    let confirm = |node: &mut Node, from: &str, message: &MapRegister| {
        let notify = MapNotify { nonce: message.nonce, records: message.records.clone(), ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::from(notify), &key("of the site"), TagForm::Truncated).unwrap();
        let ecm = Ecm::wrap(at(SERVER, 4342), at(XTR, 4342), bytes);
        node.come_to_data_port(at(from, 4342), encode_data_map_notify(&ecm).unwrap());
    };
    // The first one comes behind the second: a Map-Server that wants rising nonces refuses it.
    let second = to_address(&sent, addresses[1]).remove(0).1;
    confirm(&mut node, addresses[1], &second);
    assert!(node.control.registrations(node.now).next().unwrap().confirmed_ago.is_some());
    let mut again = node.wait(Duration::from_secs(1));
    assert_eq!(to_address(&again, addresses[1]).len(), 0, "{again:?}");
    let first = to_address(&again, addresses[0]).remove(0).1;
    assert!(first.nonce > second.nonce);
    confirm(&mut node, addresses[0], &first);
    // Those who see us are asked all the while.
    let mut registered = Vec::new();
    for _ in 0..70 {
        again = node.wait(Duration::from_secs(1));
        let mut messages: Vec<_> = addresses
            .iter()
            .flat_map(|address| to_address(&again, address).into_iter().map(|(_, message)| (message.nonce, *address)))
            .collect();
        messages.sort();
        registered.extend(messages.into_iter().map(|(_, address)| address));
        for address in addresses {
            if let Some(nonce) = asked(&again, at(address, 4342)) {
                let port = if address == RTR { 50_001 } else { 50_002 };
                node.come_to_data_port(at(address, 4342), seen(nonce, NAT, port));
            }
        }
    }
    assert_eq!(registered[..2], [addresses[1], addresses[0]], "a minute later, the one that was behind as the last");
}

/// The Map-Registers that were sent through an RTR.
fn registers(done: &Done) -> Vec<(Ecm, MapRegister)> {
    let relayed = done.sent.iter().filter_map(|(to, bytes)| {
        let ecm = Ecm::decode(bytes).ok()?;
        assert_eq!(*to, Destination::DataPort { local: ip(XTR), remote: at(RTR, 4342) }, "from the data port");
        let message = MapRegister::decode(&ecm.message).ok()?;
        Some((ecm, message))
    });
    relayed.collect()
}

#[test]
fn behind_a_nat_everything_goes_through_the_rtr() {
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let begun = node.done();
    assert_eq!(begun.sent.len(), 1, "nothing is registered before it is known how: {begun:?}");
    assert!(begun.updates.contains(&Update::Rtrs(vec![ip(RTR)])));
    let nonce = asked(&begun, at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    let found = registers(&done);
    let [(ecm, message)] = found.as_slice() else { panic!("{done:?}") };
    assert!(ecm.for_rtr && message.through_rtr && message.proxy_reply && message.want_notify);
    assert_eq!((ecm.source, ecm.destination), (at(XTR, 4342), at(SERVER, 4342)));
    assert!(message.xtr_identity.is_some());
    let locator = &message.records[0].locators[0];
    assert_eq!((locator.rloc.ip(), locator.local, locator.reachable), (Some(ip(RTR)), false, true));
    let way = Forwarding::Binding(Binding { address: ip(RTR), port: 4341, from: FromPort::Data, source: ip(XTR) });
    for whole in ["0.0.0.0/0", "::/0"] {
        let leads = |update: &Update| matches!(update, Update::Upsert { prefix: at, entry } if *at == prefix(whole) && entry.forwarding == way);
        assert!(done.updates.iter().any(leads), "{whole}: {done:?}");
    }

    let traced = trace(&node, "198.18.1.2", "198.18.2.2");
    assert_eq!((traced.source_port, traced.destination, traced.destination_port), (4341, ip(RTR), 4341));
    let confirmed = |node: &Node| node.control.registrations(node.now).next().unwrap().confirmed_ago.is_some();
    let notify = |secret: &str| {
        let records = message.records.clone();
        let notify = MapNotify { nonce: message.nonce, records, ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::from(notify), &key(secret), TagForm::Truncated).unwrap();
        encode_data_map_notify(&Ecm::wrap(at(SERVER, 4342), at(XTR, 4342), bytes)).unwrap()
    };
    node.come_to_data_port(at("192.0.2.66", 4342), notify("of the site"));
    node.come_to_data_port(at(RTR, 4342), notify("of the rtr"));
    assert!(!confirmed(&node), "of a stranger, or of an RTR that made it up");
    node.come_to_data_port(at(RTR, 4342), notify("of the site"));
    assert!(confirmed(&node));

    let eid = prefix("198.18.2.2/32");
    node.control.handle(node.now, Input::Event(Event::Miss { eid, source: ip("198.18.1.2") }));
    assert!(node.done().sent.is_empty(), "no answer to a Map-Request would get in");
}

/// The Map-Request that was sent to the mapping system.
fn question(done: &Done) -> Option<wire::control::MapRequest> {
    done.sent.iter().find_map(|(_, bytes)| {
        let ControlMessage::Ecm(ecm) = ControlMessage::decode(bytes).ok()? else { return None };
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).ok()? else { return None };
        Some(request)
    })
}

#[test]
fn what_the_mapping_system_says_leads_nobody_past_the_rtr_of_a_node_that_has_come_behind_a_nat() {
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let standing = |node: &Node| node.control.natted().unwrap().standing().clone();
    let miss = |node: &mut Node, eid: &str| {
        let event = Event::Miss { eid: prefix(eid), source: ip("198.18.1.2") };
        node.control.handle(node.now, Input::Event(event));
        question(&node.done())
    };
    let answer = |node: &mut Node, request: wire::control::MapRequest, eid: &str| {
        let reply = wire::control::MapReply { nonce: request.nonce, records: vec![record(eid)], ..Default::default() };
        node.come(at(XTR, 4342), at(SERVER, 4342), &reply.encode().unwrap()).updates
    };
    let leads = |updates: &[Update]| updates.iter().any(|update| matches!(update, Update::Upsert { .. }));
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    node.come_to_data_port(at(RTR, 4342), seen(nonce, XTR, 4341));
    assert_eq!(standing(&node), Standing::Direct);
    let request = miss(&mut node, "198.18.9.2/32").unwrap();
    assert!(leads(&answer(&mut node, request, "198.18.9.0/24")));

    let nonce = asked(&node.wait(limits::LOOK_AGAIN), at(RTR, 4342)).unwrap();
    let under_way = miss(&mut node, "198.18.8.2/32").unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    assert!(matches!(standing(&node), Standing::Behind(_)));
    assert!(done.updates.contains(&Update::Remove { prefix: prefix("198.18.9.0/24") }));
    let updates = answer(&mut node, under_way, "198.18.8.0/24");
    assert!(!leads(&updates), "{updates:?}");
    assert_eq!(node.control.map_cache(node.now).count(), 0, "nothing is shown that is not so");

    let nonce = asked(&node.wait(limits::KEEPALIVE), at(RTR, 4342)).unwrap();
    node.come_to_data_port(at(RTR, 4342), seen(nonce, XTR, 4341));
    assert_eq!(standing(&node), Standing::Direct);
    let request = miss(&mut node, "198.18.8.2/32").unwrap();
    assert!(leads(&answer(&mut node, request, "198.18.8.0/24")), "it is asked for anew");
}

#[test]
fn an_info_reply_counts_for_its_nonce_from_the_address_asked_and_once() {
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    let standing = |node: &Node| node.control.natted().unwrap().standing().clone();
    node.come_to_data_port(at(RTR, 4342), seen(Nonce(nonce.0 ^ 1), NAT, 50_001));
    node.come_to_data_port(at("192.0.2.66", 4342), seen(nonce, NAT, 50_001));
    node.come_to_data_port(at(RTR, 4341), seen(nonce, NAT, 50_001));
    let request = Info { nonce, ..Info::default() }.encode().unwrap();
    node.come_to_data_port(at(RTR, 4342), request);
    assert_eq!(standing(&node), Standing::Unknown);
    assert_eq!((node.refused(Refusal::InfoUnasked), node.refused(Refusal::LetterUnasked)), (2, 2));
    node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    assert!(matches!(standing(&node), Standing::Behind(_)));
    node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_002));
    assert_eq!(node.refused(Refusal::InfoUnasked), 3, "it is answered once");
}

#[test]
fn the_binding_is_kept_open_and_a_new_one_is_registered_at_once() {
    let mut node = Node::natted(Mode::On, &[RTR]);
    let mut nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    for _ in 0..3 {
        assert_eq!(asked(&node.wait(Duration::from_millis(19_999)), at(RTR, 4342)), None);
        nonce = asked(&node.wait(Duration::from_millis(1)), at(RTR, 4342)).unwrap();
        let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
        assert!(registers(&done).is_empty(), "nothing has changed");
    }
    nonce = asked(&node.wait(Duration::from_secs(20)), at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 61_234));
    assert_eq!(registers(&done).len(), 1, "the NAT has forgotten the old one");
}

#[test]
fn an_rtr_that_falls_silent_is_not_used_and_another_one_is() {
    const OTHER: &str = "203.0.113.9";
    let mut node = Node::natted(Mode::Auto, &[RTR, OTHER]);
    let begun = node.done();
    for rtr in [RTR, OTHER] {
        let nonce = asked(&begun, at(rtr, 4342)).unwrap();
        node.come_to_data_port(at(rtr, 4342), seen(nonce, NAT, 50_001));
    }
    let ways = |node: &Node| match node.control.natted().unwrap().standing() {
        Standing::Behind(ways) => ways.iter().map(|way| way.rtr.to_string()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ways(&node), [RTR, OTHER]);
    let mut leads = Vec::new();
    for _ in 0..60 {
        let done = node.wait(Duration::from_millis(500));
        let answer = asked(&done, at(OTHER, 4342))
            .map(|nonce| node.come_to_data_port(at(OTHER, 4342), seen(nonce, NAT, 50_001)));
        let updates = done.updates.into_iter().chain(answer.into_iter().flat_map(|done| done.updates));
        leads.extend(updates.filter_map(|update| match update {
            Update::Upsert { entry, .. } => match entry.forwarding {
                Forwarding::Binding(binding) => Some(binding.address),
                _ => None,
            },
            _ => None,
        }));
    }
    assert_eq!(ways(&node), [OTHER]);
    assert_eq!(leads.last(), Some(&ip(OTHER)));
}

/// An xTR that all its RTRs see behind a NAT, and hosts that send all the while.
struct Sending {
    node: Node,
    rtrs: Vec<&'static str>,
    /// The RTR that packets go to.
    leads: Option<IpAddr>,
    /// Info-Requests to each RTR.
    asked: Vec<usize>,
}

impl Sending {
    const STEP: Duration = Duration::from_millis(100);

    fn new(rtrs: &[&'static str]) -> Self {
        let (node, asked) = (Node::natted(Mode::Auto, rtrs), vec![0; rtrs.len()]);
        let mut sending = Self { node, rtrs: rtrs.to_vec(), leads: None, asked };
        sending.step(rtrs);
        assert_eq!(sending.leads, Some(ip(rtrs[0])));
        sending
    }

    /// Those that are `alive` answer.
    fn step(&mut self, alive: &[&str]) {
        let done = self.node.wait(Self::STEP);
        for (at_number, rtr) in self.rtrs.clone().into_iter().enumerate() {
            let Some(nonce) = asked(&done, at(rtr, 4342)) else { continue };
            self.asked[at_number] += 1;
            if alive.contains(&rtr) {
                let done = self.node.come_to_data_port(at(rtr, 4342), seen(nonce, NAT, 50_001));
                self.follow(done.updates);
            }
        }
        self.follow(done.updates);
    }

    fn follow(&mut self, updates: Vec<Update>) {
        let to = updates.into_iter().filter_map(|update| match update {
            Update::Upsert { entry, .. } => match entry.forwarding {
                Forwarding::Binding(binding) => Some(binding.address),
                _ => None,
            },
            _ => None,
        });
        self.leads = to.last().or(self.leads);
    }

    /// Nothing comes back from the RTR that packets go to, or somebody says that they do not get there.
    fn is_silent(&mut self) {
        let event = Event::Silent { rloc: self.leads.unwrap() };
        self.node.control.handle(self.node.now, Input::Event(event));
    }

    /// How long it takes until packets go to this RTR, while each second nothing comes back from another.
    fn time_until(&mut self, rtr: &str, alive: &[&str]) -> Duration {
        let begun = self.node.now;
        while self.leads != Some(ip(rtr)) {
            self.step(alive);
            let time = self.node.now - begun;
            assert!(time < Duration::from_secs(60), "never by {rtr}");
            if time.as_millis().is_multiple_of(1000) && !alive.iter().any(|rtr| self.leads == Some(ip(rtr))) {
                self.is_silent();
            }
        }
        self.node.now - begun
    }
}

const OTHER_RTR: &str = "203.0.113.9";

#[test]
fn an_rtr_from_which_nothing_comes_back_is_left_within_four_seconds_and_used_again_when_it_answers() {
    for offset in 0..21 {
        let mut site = Sending::new(&[RTR, OTHER_RTR]);
        (0..200 + offset * 10).for_each(|_| site.step(&[RTR, OTHER_RTR]));
        let died = site.node.now;
        let time = site.time_until(OTHER_RTR, &[OTHER_RTR]);
        assert!(time < Duration::from_secs(4), "{time:?} at {offset}");
        let ways = [natted::Way { local: ip(XTR), rtr: ip(OTHER_RTR) }];
        assert_eq!(site.node.control.natted().unwrap().standing(), &Standing::Behind(ways.to_vec()));
        // Nothing is asked in vain for long.
        site.asked = vec![0; 2];
        (0..600).for_each(|_| site.step(&[OTHER_RTR]));
        assert!(site.asked[0] <= 6, "{:?}", site.asked);
        assert_eq!(site.leads, Some(ip(OTHER_RTR)), "{:?} after it died", site.node.now - died);
        assert!(site.time_until(RTR, &[RTR, OTHER_RTR]) <= limits::KEEPALIVE + Sending::STEP);
    }
}

/// It is asked, answers, and that is all: whoever writes ICMP errors in the name of routers makes it asked so often, and no more.
#[test]
fn hosts_that_send_one_way_only_and_forgers_cost_few_info_requests_and_leave_no_rtr() {
    let mut site = Sending::new(&[RTR, OTHER_RTR]);
    site.asked = vec![0; 2];
    for _ in 0..600 {
        (0..20).for_each(|_| site.is_silent());
        site.step(&[RTR, OTHER_RTR]);
        assert_eq!(site.leads, Some(ip(RTR)));
    }
    let most = 60_000 / limits::SUSPICION_PAUSE.as_millis() as usize + 2;
    assert!((30..=most).contains(&site.asked[0]), "{:?}", site.asked);
    assert!(site.asked[1] <= 4, "the other one has its keepalives: {:?}", site.asked);
}

#[test]
fn two_lost_answers_to_a_suspicion_leave_no_rtr() {
    let mut site = Sending::new(&[RTR, OTHER_RTR]);
    for _ in 0..10 {
        site.is_silent();
        (0..20).for_each(|step| site.step(if step < 12 { &[OTHER_RTR] } else { &[RTR, OTHER_RTR] }));
        assert_eq!(site.leads, Some(ip(RTR)));
    }
}

#[test]
fn a_silent_rtr_stays_while_no_other_one_is_heard() {
    for rtrs in [&[RTR][..], &[RTR, OTHER_RTR]] {
        let mut site = Sending::new(rtrs);
        let ways = site.node.control.natted().unwrap().standing().clone();
        site.is_silent();
        (0..60).for_each(|_| site.step(&[]));
        assert_eq!(site.node.control.natted().unwrap().standing(), &ways, "not left before others would be");
        (0..60).for_each(|_| site.step(&[]));
        assert_eq!(site.node.control.natted().unwrap().standing(), &Standing::Behind(vec![]));
        (0..200).for_each(|_| site.step(rtrs));
        assert_eq!(site.node.control.natted().unwrap().standing(), &ways);
    }
}

#[test]
fn what_one_who_is_silent_now_saw_once_keeps_nobody_behind_a_nat() {
    const OTHER: &str = "203.0.113.9";
    let mut node = Node::natted(Mode::Auto, &[RTR, OTHER]);
    let begun = node.done();
    let nonce = asked(&begun, at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    assert!(done.updates.contains(&Update::Behind(true)), "{done:?}");
    // The node has another access: the first RTR is not reached from there, and the other one sees no NAT.
    let mut updates = Vec::new();
    for _ in 0..120 {
        let done = node.wait(Duration::from_millis(500));
        let answer =
            asked(&done, at(OTHER, 4342)).map(|nonce| node.come_to_data_port(at(OTHER, 4342), seen(nonce, XTR, 4341)));
        updates.extend(done.updates.into_iter().chain(answer.into_iter().flat_map(|done| done.updates)));
    }
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Direct);
    assert!(updates.contains(&Update::Behind(false)));
}

#[test]
fn where_there_was_no_nat_another_address_brings_none_until_somebody_has_seen_it() {
    const NEXT: &str = "10.0.0.9";
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    node.come_to_data_port(at(RTR, 4342), seen(nonce, XTR, 4341));
    node.control.handle(node.now, Input::Locators(vec![OwnLocator::new(ip(NEXT), 1, 100)]));
    let at_once = node.done();
    let is_straight = |(to, bytes): &(Destination, Vec<u8>)| {
        *to == Destination::Socket { local: ip(NEXT), remote: at(SERVER, 4342) } && MapRegister::decode(bytes).is_ok()
    };
    assert!(at_once.sent.iter().any(is_straight), "{at_once:?}");
    // Nobody answers: not how it was seen before counts.
    let done = node.wait(Duration::from_secs(120));
    for updates in [&at_once.updates, &done.updates] {
        assert!(
            !updates.iter().any(|update| matches!(update, Update::Behind(_) | Update::Remove { .. })),
            "{updates:?}"
        );
    }
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Direct);
    let nonce = asked_from(&done, RTR, NEXT).unwrap();
    let done = node.come_to_data_port_of(ip(NEXT), at(RTR, 4342), seen(nonce, NAT, 50_001));
    assert!(done.updates.contains(&Update::Behind(true)), "it has come behind one: {done:?}");
}

#[test]
fn what_is_registered_through_an_rtr_fits_a_packet_with_what_is_round_it() {
    let prefixes: Vec<String> = (0..17).map(|number| format!("10.{number}.0.0/16")).collect();
    let database = database(&[XTR], &prefixes.iter().map(String::as_str).collect::<Vec<_>>());
    let mut node = Node::natted_at(Mode::On, &[RTR], database);
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    let relayed: Vec<_> = done.sent.iter().filter(|(_, bytes)| Ecm::decode(bytes).is_ok()).collect();
    assert!(relayed.iter().all(|(_, bytes)| bytes.len() + 28 <= 576), "{relayed:?}");
    let all = registers(&done);
    assert_eq!((all.len(), all.iter().map(|(_, message)| message.records.len()).sum::<usize>()), (2, prefixes.len()));
}

#[test]
fn without_a_nat_registration_goes_straight_also_where_nobody_answers() {
    let straight = |done: &Done| {
        let is_register = |(to, bytes): &(Destination, Vec<u8>)| {
            *to == Destination::Socket { local: ip(XTR), remote: at(SERVER, 4342) }
                && MapRegister::decode(bytes).is_ok()
        };
        done.sent.iter().filter(|sent| is_register(sent)).count()
    };
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    let done = node.come_to_data_port(at(RTR, 4342), seen(nonce, XTR, 4341));
    assert_eq!((straight(&done), node.control.natted().unwrap().standing()), (1, &Standing::Direct));

    let mut node = Node::natted(Mode::Auto, &[]);
    assert_eq!(straight(&node.wait(limits::DETECTION - Duration::from_millis(1))), 0);
    assert_eq!(straight(&node.wait(Duration::from_millis(1))), 1);
}

#[test]
fn a_map_server_names_rtrs_under_the_key_of_the_site() {
    let mut node = Node::natted(Mode::Auto, &[]);
    let begun = node.done();
    let (to, bytes) = &begun.sent[0];
    assert_eq!(*to, Destination::Socket { local: ip(XTR), remote: at(SERVER, 4342) });
    assert_eq!(auth::verify(bytes, &key("of the site"), auth::Accept::STRICT), Ok(()));
    let request = Info::decode(bytes).unwrap();
    assert_eq!(request.eid.ip_prefix(), Some(prefix(EID)));
    let reply = ControlMessage::from(request.answer(at(NAT, 40_000), at(SERVER, 4342), &[ip(RTR), ip("127.0.0.1")]));
    let sealed = |secret| auth::seal(&reply, &key(secret), TagForm::Truncated).unwrap();
    node.come(at(XTR, 4342), at(SERVER, 4342), &sealed("of somebody"));
    assert_eq!(node.refused(Refusal::InfoBadTag), 1);
    let done = node.come(at(XTR, 4342), at(SERVER, 4342), &sealed("of the site"));
    assert!(done.updates.contains(&Update::Rtrs(vec![ip(RTR)])), "{done:?}");
    assert!(asked(&done, at(RTR, 4342)).is_some() && registers(&done).is_empty());
}

/// A Map-Server that is an RTR too has both at one address.
#[test]
fn a_map_server_that_names_itself_as_an_rtr_is_asked_as_one_at_once() {
    let mut node = Node::natted(Mode::Auto, &[]);
    let begun = node.done();
    let request = Info::decode(&begun.sent[0].1).unwrap();
    let reply = ControlMessage::from(request.answer(at(NAT, 40_000), at(SERVER, 4342), &[ip(SERVER)]));
    let sealed = auth::seal(&reply, &key("of the site"), TagForm::Truncated).unwrap();
    let done = node.come(at(XTR, 4342), at(SERVER, 4342), &sealed);
    assert!(asked(&done, at(SERVER, 4342)).is_some(), "{done:?}");
}
