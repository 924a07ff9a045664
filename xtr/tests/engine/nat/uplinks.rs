// SPDX-License-Identifier: GPL-2.0-or-later
//! An xTR with two uplinks, each behind a NAT of its own: the RTR is reached by one of them, and by the other when that falls silent.
//!
//! ```text
//!        10.0.0.2 ── NAT 192.0.2.2 ──┐
//!  xTR                               ├── RTR ── Map-Server
//!        10.1.0.2 ── NAT 192.0.2.6 ──┘
//! ```

use std::collections::BTreeSet;

use super::*;

/// The second uplink, and what its NAT shows.
const OTHER_XTR: &str = "10.1.0.2";
const OTHER_NAT: &str = "192.0.2.6";
/// Each way of a datagram.
const DELAY: Duration = Duration::from_millis(40);
const STEP: Duration = Duration::from_millis(10);

/// What is on its way, and when it is there.
#[derive(Debug)]
enum Letter {
    /// From the xTR to the RTR, from this locator.
    Up(IpAddr, Vec<u8>),
    /// From the RTR to the xTR, to this locator.
    Down(IpAddr, Vec<u8>),
}

struct World {
    xtr: Node,
    rtr: Node,
    under_way: Vec<(Instant, Letter)>,
    /// Uplinks that lose everything.
    dead: BTreeSet<IpAddr>,
    /// From where Info-Requests were sent, and how many Map-Registers.
    asked: Vec<(Instant, IpAddr)>,
    registered: Vec<(Instant, IpAddr)>,
    /// The locator that packets of the site leave from.
    leaves: Option<IpAddr>,
}

fn own(address: &str, priority: u8) -> OwnLocator {
    OwnLocator::new(ip(address), priority, 100)
}

fn two_uplinks() -> Vec<OwnLocator> {
    vec![own(OTHER_XTR, 2), own(XTR, 1)]
}

/// Address and port that the NAT of an uplink shows.
fn shown(local: IpAddr) -> SocketAddr {
    if local == ip(XTR) { at(NAT, 50_001) } else { at(OTHER_NAT, 50_002) }
}

impl World {
    fn new(dead: &[&str]) -> Self {
        let database = Database::new(vec![prefix(EID)], two_uplinks(), Ttl::DEFAULT);
        let xtr = Node::natted_at(Mode::Auto, &[RTR], database);
        let mut rtr = Node::rtr();
        rtr.now = xtr.now;
        let (under_way, asked, registered) = (Vec::new(), Vec::new(), Vec::new());
        let dead = dead.iter().map(|local| ip(local)).collect();
        Self { xtr, rtr, under_way, dead, asked, registered, leaves: None }
    }

    fn run(&mut self, time: Duration) {
        let end = self.xtr.now + time;
        while self.xtr.now < end {
            let now = self.xtr.now + STEP;
            (self.xtr.now, self.rtr.now) = (now, now);
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.xtr.now;
        let done = self.xtr.done();
        self.of_xtr(done);
        let done = self.rtr.done();
        self.of_rtr(done);
        let (there, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.under_way).into_iter().partition(|(at, _)| *at <= now);
        self.under_way = rest;
        for (_, letter) in there {
            match letter {
                Letter::Up(local, bytes) => {
                    let done = self.rtr.come(at(RTR, 4342), shown(local), &bytes);
                    self.of_rtr(done);
                }
                Letter::Down(local, bytes) => {
                    let done = self.xtr.come_to_data_port_of(local, at(RTR, 4342), bytes);
                    self.of_xtr(done);
                }
            }
        }
    }

    fn of_xtr(&mut self, done: Done) {
        for update in done.updates {
            if let Update::Upsert { entry, .. } = update
                && let Forwarding::Binding(binding) = entry.forwarding
            {
                self.leaves = Some(binding.source);
            }
        }
        for (to, bytes) in done.sent {
            let Destination::DataPort { local, remote } = to else { panic!("{to:?}") };
            assert_eq!(remote, at(RTR, 4342));
            match ControlMessage::decode(&bytes) {
                Ok(ControlMessage::Info(_)) => self.asked.push((self.xtr.now, local)),
                Ok(ControlMessage::Ecm(ecm)) => {
                    assert_eq!(ecm.source.ip(), local, "it is answered to the locator that it is sent from");
                    self.registered.push((self.xtr.now, local));
                }
                other => panic!("{other:?}"),
            }
            self.carry(local, Letter::Up(local, bytes));
        }
    }

    /// The Map-Server answers at once.
    fn of_rtr(&mut self, done: Done) {
        for (to, bytes) in done.sent {
            let remote = to.remote();
            if remote == at(SERVER, 4342) {
                let message = Ecm::decode(&bytes).unwrap().message;
                let register = MapRegister::decode(&message).unwrap();
                let answer = notify(register.nonce.0, register.records, "of the rtr");
                let done = self.rtr.come(at(RTR, 4342), at(SERVER, 4342), &answer);
                self.of_rtr(done);
            } else {
                let local = [XTR, OTHER_XTR].map(ip).into_iter().find(|local| shown(*local) == remote).unwrap();
                self.carry(local, Letter::Down(local, bytes));
            }
        }
    }

    fn carry(&mut self, local: IpAddr, letter: Letter) {
        if !self.dead.contains(&local) {
            self.under_way.push((self.xtr.now + DELAY, letter));
        }
    }

    /// Whether packets of and for the site go by this uplink, and by no other.
    fn goes_by(&self, local: &str) -> bool {
        self.rtr.bound() == [(prefix(EID), shown(ip(local)))] && self.leaves == Some(ip(local))
    }

    /// How long it takes until they do.
    fn time_until(&mut self, local: &str) -> Duration {
        let begun = self.xtr.now;
        while !self.goes_by(local) {
            self.run(STEP);
            assert!(self.xtr.now - begun < Duration::from_secs(60), "never by {local}: {:?}", self.rtr.bound());
        }
        self.xtr.now - begun
    }

    fn asked_since(&self, then: Instant, local: &str) -> usize {
        self.asked.iter().filter(|(at, from)| *at > then && *from == ip(local)).count()
    }
}

#[test]
fn the_preferred_uplink_registers_and_the_other_one_sends_nothing() {
    let mut world = World::new(&[]);
    let begun = world.xtr.now;
    world.run(Duration::from_secs(120));
    assert!(world.goes_by(XTR));
    assert!(world.registered.iter().all(|(_, local)| *local == ip(XTR)), "{:?}", world.registered);
    assert_eq!(world.asked_since(begun, OTHER_XTR), 0);
}

#[test]
fn an_uplink_that_falls_silent_at_any_time_is_left_in_less_than_nine_seconds_and_for_good() {
    let mut longest = Duration::ZERO;
    for offset in 0..22 {
        let mut world = World::new(&[]);
        world.run(Duration::from_secs(20) + Duration::from_millis(250) * offset);
        assert!(world.goes_by(XTR));
        world.dead.insert(ip(XTR));
        longest = longest.max(world.time_until(OTHER_XTR));

        world.dead.clear();
        let then = world.xtr.now;
        world.run(Duration::from_secs(130));
        assert!(world.goes_by(OTHER_XTR));
        assert_eq!(world.asked_since(then, XTR), 0, "what is answered stays");
        assert!(!world.registered.iter().any(|(at, local)| *at > then && *local == ip(XTR)));
        world.dead.insert(ip(OTHER_XTR));
        longest = longest.max(world.time_until(XTR));
    }
    assert!(longest < Duration::from_secs(9), "{longest:?}");
    assert!(longest > limits::KEEPALIVE_OF_SEVERAL, "{longest:?}: the worst moment was among them");
}

#[test]
fn an_uplink_that_falls_silent_while_hosts_wait_for_answers_is_left_in_less_than_four_seconds() {
    for offset in 0..10 {
        let mut world = World::new(&[]);
        world.run(Duration::from_secs(20) + Duration::from_millis(500) * offset);
        world.dead.insert(ip(XTR));
        let begun = world.xtr.now;
        while !world.goes_by(OTHER_XTR) {
            world.run(Duration::from_millis(500));
            world.xtr.control.handle(world.xtr.now, Input::Event(Event::Silent { rloc: ip(RTR) }));
            assert!(world.xtr.now - begun < Duration::from_secs(4), "at {offset}: {:?}", world.rtr.bound());
        }
    }
}

#[test]
fn two_info_requests_that_are_lost_lead_nobody_to_another_uplink() {
    let mut world = World::new(&[]);
    world.run(Duration::from_secs(20));
    let then = world.xtr.now;
    world.dead.insert(ip(XTR));
    while world.asked_since(then, XTR) < 2 {
        world.run(STEP);
    }
    world.run(Duration::from_secs(1));
    world.dead.clear();
    world.run(Duration::from_secs(30));
    assert_eq!(world.asked_since(then, OTHER_XTR), 2, "with the second and the third");
    assert!(world.goes_by(XTR));
    assert!(world.registered.iter().all(|(_, local)| *local == ip(XTR)), "{:?}", world.registered);
}

#[test]
fn where_the_preferred_uplink_is_dead_from_the_start_the_other_one_registers() {
    let mut world = World::new(&[XTR]);
    assert!(world.time_until(OTHER_XTR) < limits::DETECTION);
    assert!(world.registered.iter().all(|(_, local)| *local == ip(OTHER_XTR)), "{:?}", world.registered);
}

#[test]
fn an_address_that_goes_takes_the_way_with_it_at_once_and_one_that_is_preferred_gets_it_back() {
    let mut world = World::new(&[]);
    world.run(Duration::from_secs(20));
    world.xtr.control.handle(world.xtr.now, Input::Locators(vec![own(OTHER_XTR, 2)]));
    assert!(world.time_until(OTHER_XTR) < Duration::from_secs(1));
    world.run(Duration::from_secs(20));
    world.xtr.control.handle(world.xtr.now, Input::Locators(two_uplinks()));
    assert!(world.time_until(XTR) < Duration::from_secs(1));
    // One more that is not preferred changes nothing for who has left the preferred one.
    world.dead.insert(ip(XTR));
    world.time_until(OTHER_XTR);
    let third = [two_uplinks(), vec![own("2001:db8::2", 1)]].concat();
    world.xtr.control.handle(world.xtr.now, Input::Locators(third));
    world.run(Duration::from_secs(30));
    assert!(world.goes_by(OTHER_XTR));
    // The one that is used goes.
    world.dead.clear();
    world.xtr.control.handle(world.xtr.now, Input::Locators(vec![own(XTR, 1)]));
    assert!(world.time_until(XTR) < Duration::from_secs(1));
}

/// From where Info-Requests were sent.
fn locals(done: &Done) -> Vec<IpAddr> {
    let local = |(to, bytes): &(Destination, Vec<u8>)| match (to, ControlMessage::decode(bytes)) {
        (Destination::DataPort { local, .. } | Destination::Socket { local, .. }, Ok(ControlMessage::Info(_))) => {
            Some(*local)
        }
        _ => None,
    };
    done.sent.iter().filter_map(local).collect()
}

#[test]
fn an_rtr_is_asked_by_four_uplinks_of_its_family_and_each_answer_counts_where_it_was_asked() {
    let v4 = ["10.0.0.2", "10.1.0.2", "10.2.0.2", "10.3.0.2", "10.4.0.2"];
    let own_locators = ["2001:db8::2"].into_iter().chain(v4).map(|address| own(address, 1)).collect();
    let mut node = Node::natted_at(Mode::On, &[RTR], Database::new(vec![prefix(EID)], own_locators, Ttl::DEFAULT));
    assert_eq!(locals(&node.done()), [ip(v4[0])]);
    let burst = node.wait(limits::FIRST_RETRY);
    assert_eq!(locals(&burst), [0, 1, 2, 3].map(|at| ip(v4[at])));
    let nonces: BTreeSet<_> = burst.sent.iter().map(|(_, bytes)| Info::decode(bytes).unwrap().nonce).collect();
    assert_eq!(nonces.len(), 4);
    let (to, bytes) = &burst.sent[2];
    let nonce = Info::decode(bytes).unwrap().nonce;
    let done = node.come_to_data_port_of(ip(v4[2]), at(RTR, 4342), seen(nonce, OTHER_NAT, 50_002));
    let way = natted::Way { local: ip(v4[2]), rtr: ip(RTR) };
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Behind(vec![way]), "{to:?}");
    assert!(done.sent.iter().any(|(to, bytes)| {
        *to == Destination::DataPort { local: ip(v4[2]), remote: at(RTR, 4342) } && Ecm::decode(bytes).is_ok()
    }));
}

/// What was asked of an RTR, from this locator.
pub(crate) fn asked_from(done: &Done, rtr: &str, from: &str) -> Option<Nonce> {
    let mut requests = done.sent.iter().filter_map(|(to, bytes)| match (to, ControlMessage::decode(bytes)) {
        (Destination::DataPort { remote, local }, Ok(ControlMessage::Info(info))) => {
            (*remote == at(rtr, 4342) && *local == ip(from)).then_some(info.nonce)
        }
        _ => None,
    });
    requests.next_back()
}

#[test]
fn all_rtrs_are_used_by_one_uplink_since_two_may_be_one() {
    const RTRS: [&str; 2] = [RTR, "203.0.113.3"];
    const LOCALS: [&str; 3] = [XTR, OTHER_XTR, "10.2.0.2"];
    let database = Database::new(vec![prefix(EID)], LOCALS.map(|local| own(local, 1)).to_vec(), Ttl::DEFAULT);
    let mut node = Node::natted_at(Mode::On, &RTRS, database);
    let answer = |node: &mut Node, done: &Done, rtr: &str, local: &str| {
        let nonce = asked_from(done, rtr, local).unwrap();
        node.come_to_data_port_of(ip(local), at(rtr, 4342), seen(nonce, NAT, 50_001));
    };
    let ways = |node: &Node| match node.control.natted().unwrap().standing() {
        Standing::Behind(ways) => ways.iter().map(|way| (way.rtr, way.local)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let begun = node.done();
    RTRS.iter().for_each(|rtr| answer(&mut node, &begun, rtr, LOCALS[0]));
    // The second one alone is silent on the uplink, and would be heard on another.
    let mut done = node.wait(limits::KEEPALIVE_OF_SEVERAL);
    for second in [1, 2] {
        answer(&mut node, &done, RTRS[0], LOCALS[0]);
        done = node.wait(Duration::from_secs(second));
        answer(&mut node, &done, RTRS[1], LOCALS[1]);
        let again = node.wait(Duration::from_secs(5 - second));
        done.sent.extend(again.sent);
    }
    assert_eq!(ways(&node), [(ip(RTRS[0]), ip(LOCALS[0]))]);

    // Nobody is heard there any more: the one that is answered first leads the other.
    let silent = node.wait(Duration::from_secs(60));
    assert_eq!(ways(&node), []);
    answer(&mut node, &silent, RTRS[0], LOCALS[2]);
    for local in [LOCALS[0], LOCALS[1]] {
        answer(&mut node, &silent, RTRS[1], local);
    }
    assert_eq!(ways(&node), [(ip(RTRS[0]), ip(LOCALS[2]))]);
    answer(&mut node, &silent, RTRS[1], LOCALS[2]);
    assert_eq!(ways(&node), RTRS.map(|rtr| (ip(rtr), ip(LOCALS[2]))));
}

#[test]
fn what_was_asked_from_an_address_that_is_gone_is_answered_to_nobody() {
    let database = Database::new(vec![prefix(EID)], two_uplinks(), Ttl::DEFAULT);
    let mut node = Node::natted_at(Mode::On, &[RTR], database);
    let nonce = asked_from(&node.done(), RTR, XTR).unwrap();
    node.control.handle(node.now, Input::Locators(vec![own(OTHER_XTR, 2)]));
    let again = asked_from(&node.done(), RTR, OTHER_XTR).unwrap();
    node.come_to_data_port_of(ip(OTHER_XTR), at(RTR, 4342), seen(nonce, NAT, 50_001));
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Behind(vec![]));
    assert_eq!(node.refused(Refusal::InfoUnasked), 1);
    node.come_to_data_port_of(ip(OTHER_XTR), at(RTR, 4342), seen(again, OTHER_NAT, 50_002));
    let way = natted::Way { local: ip(OTHER_XTR), rtr: ip(RTR) };
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Behind(vec![way]));
}

/// A network without NAT where the RTRs cannot be reached, or have no use for this node.
#[test]
fn who_has_moved_to_where_no_rtr_is_heard_registers_its_locators() {
    const ELSEWHERE: &str = "192.0.2.77";
    let mut world = World::new(&[]);
    world.run(Duration::from_secs(20));
    world.dead = [XTR, OTHER_XTR, ELSEWHERE].map(ip).into();
    let standing = |world: &World| world.xtr.control.natted().unwrap().standing().clone();
    let register = |world: &mut World| {
        let done = world.xtr.wait(Duration::from_secs(10));
        let bytes = done.sent.into_iter().find(|(to, _)| to.remote() == at(SERVER, 4342)).map(|(_, bytes)| bytes);
        bytes.map(|bytes| MapRegister::decode(&bytes).unwrap().records[0].locators[0].rloc.ip().unwrap())
    };
    // As long as one of them is left they are in front of the same NAT.
    world.xtr.control.handle(world.xtr.now, Input::Locators(vec![own(OTHER_XTR, 2)]));
    assert_eq!(register(&mut world), None);
    world.xtr.control.handle(world.xtr.now, Input::Locators(vec![]));
    assert_eq!(register(&mut world), None);
    assert_eq!(standing(&world), Standing::Behind(vec![]));
    world.xtr.control.handle(world.xtr.now, Input::Locators(vec![own(ELSEWHERE, 1)]));
    assert_eq!(standing(&world), Standing::Behind(vec![]), "as before, for a while");
    assert_eq!(register(&mut world), Some(ip(ELSEWHERE)));
    assert_eq!(standing(&world), Standing::Direct);
    // Whoever says that there is one is always there.
    let mut node = Node::natted(Mode::On, &[RTR]);
    node.control.handle(node.now, Input::Locators(vec![own(ELSEWHERE, 1)]));
    node.wait(Duration::from_secs(60));
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Behind(vec![]));
}

/// A NAT of IPv4 is in front of no IPv6 address.
#[test]
fn who_is_left_with_locators_of_a_family_in_which_nobody_was_heard_registers_them() {
    const V6: &str = "2001:db8::2";
    const V6_RTR: &str = "2001:db8:53::2";
    for (heard, is_behind) in [(vec![(RTR, XTR)], false), (vec![(V6_RTR, V6), (RTR, XTR)], true)] {
        let database = Database::new(vec![prefix(EID)], vec![own(XTR, 1), own(V6, 1)], Ttl::DEFAULT);
        let rtrs: Vec<_> = heard.iter().map(|(rtr, _)| *rtr).collect();
        let mut node = Node::natted_at(Mode::Auto, &rtrs, database);
        let begun = node.done();
        for (rtr, local) in &heard {
            let nonce = asked_from(&begun, rtr, local).unwrap();
            node.come_to_data_port_of(ip(local), at(rtr, 4342), seen(nonce, NAT, 50_001));
        }
        assert!(matches!(node.control.natted().unwrap().standing(), Standing::Behind(ways) if !ways.is_empty()));
        node.control.handle(node.now, Input::Locators(vec![own(V6, 1)]));
        assert!(matches!(node.control.natted().unwrap().standing(), Standing::Behind(_)), "as before, for a while");
        node.wait(Duration::from_secs(if is_behind { 60 } else { 10 }));
        let expected = if is_behind { Standing::Behind(vec![]) } else { Standing::Direct };
        assert_eq!(*node.control.natted().unwrap().standing(), expected, "{heard:?}");
    }
}

#[test]
fn who_has_moved_behind_another_nat_is_led_by_its_rtr_all_the_while() {
    const ELSEWHERE: &str = "10.7.0.2";
    let mut node = Node::natted(Mode::Auto, &[RTR]);
    let nonce = asked(&node.done(), at(RTR, 4342)).unwrap();
    node.come_to_data_port(at(RTR, 4342), seen(nonce, NAT, 50_001));
    node.wait(Duration::from_secs(1));
    node.control.handle(node.now, Input::Locators(vec![own(ELSEWHERE, 1)]));
    let mut moved = node.done();
    let way = Standing::Behind(vec![natted::Way { local: ip(ELSEWHERE), rtr: ip(RTR) }]);
    assert_eq!(node.control.natted().unwrap().standing(), &way);
    for answer in [3, 21] {
        let again = node.wait(Duration::from_secs(answer));
        moved.sent.extend(again.sent);
        let nonce = asked_from(&moved, RTR, ELSEWHERE).unwrap();
        node.come_to_data_port_of(ip(ELSEWHERE), at(RTR, 4342), seen(nonce, OTHER_NAT, 50_002));
        assert_eq!(node.control.natted().unwrap().standing(), &way);
    }
}

#[test]
fn a_map_server_that_does_not_answer_one_uplink_is_asked_by_the_next() {
    let database = Database::new(vec![prefix(EID)], two_uplinks(), Ttl::DEFAULT);
    let mut node = Node::natted_at(Mode::On, &[], database);
    assert_eq!(locals(&node.done()), [ip(XTR)]);
    assert_eq!(locals(&node.wait(limits::FIRST_RETRY)), [ip(OTHER_XTR)]);
    assert_eq!(locals(&node.wait(limits::FIRST_RETRY * 2)), [ip(XTR)]);
}

/// One lost answer, and the NAT of the next uplink would be taken for one of this node.
#[test]
fn a_map_server_that_the_preferred_uplink_has_heard_is_asked_there_until_three_answers_are_missing() {
    let database = Database::new(vec![prefix(EID)], two_uplinks(), Ttl::DEFAULT);
    let mut node = Node::natted_at(Mode::Auto, &[], database);
    let nonce = asked(&node.done(), at(SERVER, 4342)).unwrap();
    let reply = Info { nonce, ..Info::default() }.answer(at(XTR, 4342), at(SERVER, 4342), &[]);
    let reply = auth::seal(&reply.into(), &key("of the site"), TagForm::Truncated).unwrap();
    node.come(at(XTR, 4342), at(SERVER, 4342), &reply);
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Direct);
    let waits = [limits::LOOK_AGAIN, limits::FIRST_RETRY, limits::FIRST_RETRY * 2, limits::FIRST_RETRY * 4];
    let from = waits.map(|wait| locals(&node.wait(wait)));
    assert_eq!(from, [XTR, XTR, XTR, OTHER_XTR].map(|local| vec![ip(local)]));
    assert_eq!(node.control.natted().unwrap().standing(), &Standing::Direct);
}
