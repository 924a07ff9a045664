// SPDX-License-Identifier: GPL-2.0-or-later
#![allow(clippy::unwrap_used)]
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{MapNotify, MapRegister, Nonce};
use wire::record::Ttl;

use super::*;
use crate::database::{Database, Preference};
use crate::engine::{self, Control};
use crate::register::Server;
use crate::transport::{MapSystem, Via};

const UPLINK: u32 = 2;
const BACKUP: u32 = 3;

/// Two uplinks, the first one preferred.
fn machine(addresses: &[(u32, &str)]) -> Machine {
    let interface = |name: &str| Interface { name: name.into(), is_running: true, mtu: Some(1500) };
    let route = |interface, metric| DefaultRoute { is_v4: true, metric, interface };
    let v6 = DefaultRoute { is_v4: false, metric: 1024, interface: UPLINK };
    let address = |(interface, text): &(u32, &str)| Address {
        address: text.parse().unwrap(),
        interface: *interface,
        is_lasting: true,
        is_deprecated: false,
        is_duplicate: false,
        is_tentative: false,
    };
    Machine {
        interfaces: [(UPLINK, interface("eth0")), (BACKUP, interface("wwan0"))].into(),
        addresses: addresses.iter().map(address).collect(),
        defaults: vec![route(UPLINK, 100), route(BACKUP, 600), v6],
        at_hosts: Vec::new(),
    }
}

fn found(machine: &Machine, before: &Locators) -> Vec<String> {
    let found = machine.locators(&Wanted::default(), before);
    found.reachable().iter().map(ToString::to_string).collect()
}

const BOTH: [(u32, &str); 3] = [(UPLINK, "192.0.2.1"), (UPLINK, "2001:db8::1"), (BACKUP, "198.51.100.1")];

#[test]
fn without_a_word_of_the_operator_the_best_running_default_routes_count() {
    let nothing = Locators::default();
    let mut machine = machine(&BOTH);
    assert_eq!(found(&machine, &nothing), ["192.0.2.1", "2001:db8::1"]);
    machine.interfaces.get_mut(&UPLINK).unwrap().is_running = false;
    assert_eq!(found(&machine, &nothing), ["198.51.100.1"]);
    machine.defaults.retain(|route| route.interface == BACKUP);
    assert_eq!(found(&machine, &nothing), ["198.51.100.1"]);
}

#[test]
fn the_mtu_of_a_locator_is_that_of_its_interface_as_it_says_it() {
    let given = ["192.0.2.1", "198.51.100.1", "203.0.113.1"].map(|text| OwnLocator::new(text.parse().unwrap(), 1, 100));
    let wanted = Wanted { given: given.to_vec(), ..Wanted::default() };
    let mut machine = machine(&BOTH);
    let mtus = |machine: &Machine| {
        let mtus = machine.locators(&wanted, &Locators::default()).mtus;
        mtus.into_iter().map(|(address, mtu)| (address.to_string(), mtu)).collect::<Vec<_>>()
    };
    let of = |first, second| vec![("192.0.2.1".to_owned(), first), ("198.51.100.1".to_owned(), second)];
    assert_eq!(mtus(&machine), of(1500, 1500));
    let set = |machine: &mut Machine, index, mtu| machine.interfaces.get_mut(&index).unwrap().mtu = mtu;
    set(&mut machine, UPLINK, Some(9000));
    set(&mut machine, BACKUP, Some(68));
    assert_eq!(mtus(&machine), of(9000, 576), "no less is believed");
    set(&mut machine, UPLINK, None);
    assert_eq!(mtus(&machine), of(0, 576)[1..], "nobody knows");
    let again = Address { interface: BACKUP, ..machine.addresses[0] };
    machine.addresses.push(again);
    set(&mut machine, UPLINK, Some(1400));
    set(&mut machine, BACKUP, Some(1300));
    assert_eq!(mtus(&machine), of(1300, 1300), "that of the narrowest that has the address");
}

#[test]
fn what_there_is_not_is_named() {
    let given = ["192.0.2.1", "192.0.2.77"].map(|text| OwnLocator::new(text.parse().unwrap(), 1, 100));
    let interfaces = ["eth0", "typo0"].map(|name| {
        let preference = Preference { priority: 1, weight: 100, mpriority: 255, mweight: 0 };
        InterfaceLocator { name: name.into(), preference }
    });
    let wanted = Wanted { given: given.to_vec(), interfaces: interfaces.to_vec(), ..Wanted::default() };
    let mut machine = machine(&BOTH);
    let lacks = machine.lacks(&wanted);
    let [address, interface] = &lacks[..] else { unreachable!("{lacks:?}") };
    assert!(address.starts_with("192.0.2.77 is no address") && interface.contains("no interface typo0"), "{lacks:?}");
    machine.addresses.retain(|own| own.interface != UPLINK);
    assert!(machine.lacks(&wanted)[2].contains("eth0 has no lasting global address"), "{:?}", machine.lacks(&wanted));
    machine.interfaces.get_mut(&UPLINK).unwrap().is_running = false;
    assert!(machine.lacks(&wanted)[2].contains("eth0 is down"), "{:?}", machine.lacks(&wanted));
}

#[test]
fn who_cannot_be_sent_to_while_a_family_is_out_is_named_once() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let (first, second, petr) = (ip("2001:db8::10"), ip("2001:db8::11"), ip("192.0.2.80"));
    let servers = [("map-server", first), ("map-resolver", first), ("map-resolver", second)];
    let wanted = Wanted { spoken_to: [&[("use-petr", petr)], &servers[..]].concat(), ..Wanted::default() };
    let says = |reachable: &[&str]| wanted.out_of_reach(&reachable.iter().map(|text| ip(text)).collect::<Vec<_>>());
    assert_eq!(says(&["192.0.2.1", "2001:db8::1"]), Vec::<String>::new());
    let of_v6 = "no IPv6 address is a locator of this node now; until one is, nothing is sent to --map-server 2001:db8::10, --map-resolver 2001:db8::11.";
    assert_eq!(says(&["192.0.2.1"]), [of_v6]);
    let of_v4 =
        "no IPv4 address is a locator of this node now; until one is, nothing is sent to --use-petr 192.0.2.80.";
    assert_eq!((says(&["2001:db8::1"]), says(&[]).len()), (vec![of_v4.to_owned()], 2));
}

#[test]
fn what_a_link_says_of_its_mtu_is_taken_but_of_the_loopback_interface() {
    let link = |mtu: u32, flags: LinkFlags| {
        let mut link = LinkMessage::default();
        link.header.flags = flags;
        link.attributes.push(LinkAttribute::Mtu(mtu));
        interface(&link).mtu
    };
    let said = [9000, 1420, 100_000].map(|mtu| link(mtu, LinkFlags::Up));
    assert_eq!(said, [Some(9000), Some(1420), Some(u16::MAX)]);
    assert_eq!(link(65_536, LinkFlags::Up | LinkFlags::Loopback), None);
}

#[test]
fn when_nothing_is_left_the_last_locators_are_out_of_reach() {
    let before = machine(&BOTH).locators(&Wanted::default(), &Locators::default());
    let after = machine(&[]).locators(&Wanted::default(), &before);
    assert_eq!((after.all.len(), after.reachable()), (2, vec![]));
}

#[test]
fn a_default_route_of_several_next_hops_leads_to_the_interface_of_each() {
    use netlink_packet_route::route::RouteNextHop;
    let hop = |interface_index| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = interface_index;
        hop
    };
    let mut route = RouteMessageBuilder::<Ipv4Addr>::new().build();
    route.attributes.push(RouteAttribute::MultiPath(vec![hop(UPLINK), hop(BACKUP)]));
    let mut machine = machine(&BOTH);
    machine.defaults = default_routes(&route, true);
    assert_eq!(found(&machine, &Locators::default()), ["192.0.2.1"]);
    machine.interfaces.get_mut(&UPLINK).unwrap().is_running = false;
    assert_eq!(found(&machine, &Locators::default()), ["198.51.100.1"]);
    route.header.destination_prefix_length = 8;
    assert!(default_routes(&route, true).is_empty());
}

#[test]
fn while_no_default_route_is_left_the_former_locators_serve_as_far_as_they_can() {
    let mut machine = machine(&BOTH);
    let before = machine.locators(&Wanted::default(), &Locators::default());
    machine.defaults.clear();
    assert_eq!(machine.locators(&Wanted::default(), &before), before);
    machine.addresses.retain(|own| own.address.is_ipv6());
    assert_eq!(found(&machine, &before), ["2001:db8::1"]);
    machine.interfaces.get_mut(&UPLINK).unwrap().is_running = false;
    assert_eq!(found(&machine, &before), Vec::<String>::new());
}

#[tokio::test]
async fn news_are_heard_while_another_look_is_due_later() {
    let news = Arc::new(Notify::new());
    let mut watch =
        Watch { task: tokio::spawn(async {}), news: news.clone(), has_lost: Arc::default(), due: None, retry: None };
    let hour = Duration::from_secs(3600);
    let later = Instant::now() + hour;
    watch.again_in(hour);
    news.notify_one();
    watch.changed().await;
    assert!(Instant::now() < later);
    assert_eq!((watch.due, watch.retry), (None, None), "that look was also the one that was due");
    watch.retry = Some(Instant::now() + DEBOUNCE);
    watch.changed().await;
    assert_eq!(watch.retry, None);
}

/// A router whose table comes at once says more than the socket holds, and among that may be that a rule of ours is gone.
#[test]
fn what_the_kernel_could_not_say_may_have_been_a_loss() {
    let overrun = NetlinkPayload::Overrun(vec![]);
    let lost = Lost { tun: "lisp0".into() };
    assert!(matters(&overrun, None) && tells_of_loss(&overrun, &lost));
}

#[test]
fn an_address_that_serves_is_kept_while_others_come_and_go_with_the_day() {
    let before = machine(&BOTH[..1]).locators(&Wanted::default(), &Locators::default());
    let mut machine = machine(&[(UPLINK, "192.0.2.9"), (UPLINK, "192.0.2.1")]);
    assert_eq!(found(&machine, &before), ["192.0.2.1"]);
    machine.addresses[1].is_lasting = false;
    assert_eq!(found(&machine, &before), ["192.0.2.9"]);
    machine.addresses[0].is_tentative = true;
    assert_eq!(found(&machine, &before), Vec::<String>::new());
    assert_eq!(found(&machine.clone().hopeful(), &before), ["192.0.2.9"]);
}

/// RFC 4862, section 5.5.4.
#[test]
fn a_deprecated_address_is_used_where_there_is_no_other() {
    let nothing = Locators::default();
    let mut machine = machine(&[(UPLINK, "2001:db8:0:1::1"), (UPLINK, "2001:db8:0:2::1")]);
    let before = machine.locators(&Wanted::default(), &nothing);
    assert_eq!(found(&machine, &nothing), ["2001:db8:0:1::1"]);
    machine.addresses[0].is_deprecated = true;
    assert_eq!(found(&machine, &before), ["2001:db8:0:2::1"], "though it serves");
    machine.addresses[1].is_deprecated = true;
    assert_eq!(found(&machine, &before), ["2001:db8:0:1::1"]);
    let second = machine.addresses.pop();
    assert_eq!(found(&machine, &nothing), ["2001:db8:0:1::1"], "the only one");
    machine.addresses.extend(second);
    let second = Locators { all: vec![OwnLocator::new("2001:db8:0:2::1".parse().unwrap(), 1, 100)], ..nothing };
    assert_eq!(found(&machine, &second), ["2001:db8:0:2::1"], "of two the one that serves");
    // A router that loses its uplink deprecates what it had from there.
    machine.defaults.push(DefaultRoute { is_v4: false, metric: 2048, interface: BACKUP });
    machine.addresses.push(Address { interface: BACKUP, is_deprecated: false, ..machine.addresses[1] });
    machine.addresses[2].address = "2001:db8:0:3::1".parse().unwrap();
    assert_eq!(found(&machine, &second), ["2001:db8:0:3::1"], "the next uplink has another");
}

#[test]
fn a_unique_local_address_is_used_where_the_interface_has_no_global_one() {
    let local = "fd00:db8::1";
    let mut machine = machine(&[(UPLINK, local), (UPLINK, "2001:db8::1")]);
    let both = Locators::default();
    assert_eq!(found(&machine, &both), ["2001:db8::1"], "whichever the kernel names first");
    let before = Locators { all: vec![OwnLocator::new(local.parse().unwrap(), 1, 100)], ..both };
    assert_eq!(found(&machine, &before), ["2001:db8::1"], "though it serves");
    machine.addresses[1].is_deprecated = true;
    assert_eq!(found(&machine, &before), [local]);
    machine.addresses.pop();
    assert_eq!(found(&machine, &Locators::default()), [local]);
}

#[test]
fn what_the_kernel_says_of_an_address_tells_whether_it_may_be_a_locator() {
    let read = |flags: AddressHeaderFlags, scope: AddressScope| {
        let mut message = AddressMessage::default();
        (message.header.flags, message.header.scope) = (flags, scope);
        message.attributes.push(AddressAttribute::Address("2001:db8::1".parse().unwrap()));
        address(&message).map(|own| (own.is_lasting, own.is_deprecated)).unwrap()
    };
    let (global, none) = (AddressScope::Universe, AddressHeaderFlags::empty());
    assert_eq!(read(none, global), (true, false));
    assert_eq!(read(AddressHeaderFlags::Deprecated, global), (true, true));
    assert_eq!(read(AddressHeaderFlags::Secondary, global), (false, false));
    assert_eq!(read(none, AddressScope::Link), (false, false));
}

#[test]
fn a_given_locator_stays_one_and_is_out_of_reach_while_its_address_is_gone() {
    let given = |text: &str| OwnLocator::new(text.parse().unwrap(), 1, 100);
    let wanted =
        Wanted { given: vec![given("192.0.2.1"), given("203.0.113.1")], interfaces: vec![], ..Wanted::default() };
    let found = machine(&BOTH).locators(&wanted, &Locators::default());
    assert_eq!((found.all.len(), found.unreachable), (2, vec!["203.0.113.1".parse().unwrap()]));
}

#[test]
fn the_addresses_of_a_named_interface_are_locators_with_its_priority() {
    let preference = Preference { priority: 7, weight: 10, mpriority: 3, mweight: 40 };
    let interface = InterfaceLocator { name: "eth0".into(), preference };
    let wanted = Wanted { interfaces: vec![interface], ..Wanted::default() };
    let found = machine(&BOTH).locators(&wanted, &Locators::default());
    assert_eq!(found.all.len(), 2);
    assert!(found.all.iter().all(|locator| locator.preference() == preference), "{found:?}");
}

const FLAPPING: &str = "192.0.2.1";
const STEADY: &str = "198.51.100.1";

/// A node one of whose addresses comes and goes, and what it has registered.
struct Flapping {
    now: std::time::Instant,
    damper: Damper,
    wanted: Wanted,
    locators: Locators,
    control: Control,
    registers: usize,
}

impl Flapping {
    /// With these locators beside it, which are always there.
    fn beside(steady: &[&str]) -> Self {
        let now = std::time::Instant::now();
        let given = [&[FLAPPING], steady].concat();
        let given: Vec<_> = given.iter().map(|text| OwnLocator::new(text.parse().unwrap(), 1, 100)).collect();
        let key = AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new("of the site") };
        let prefix = EidPrefix { iid: InstanceId(0), net: "10.0.0.0/24".parse().unwrap() };
        let server = Server {
            to: MapSystem::Node("203.0.113.53".parse().unwrap()),
            key,
            tag: TagForm::Truncated,
            narrow_coverage: false,
            proxy_reply: false,
            identity: None,
            prefixes: vec![prefix],
        };
        let config = engine::Config {
            database: Database::new(vec![prefix], given.clone(), Ttl::DEFAULT),
            cgeid_network: None,
            servers: vec![server],
            resolvers: vec![],
            nonce_floor: Nonce(9),
            seed: [7; 32],
        };
        let wanted = Wanted { given, ..Wanted::default() };
        let locators = machine(&BOTH).locators(&wanted, &Locators::default());
        let control = Control::new(now, config);
        Self { now, damper: Damper::default(), wanted, locators, control, registers: 0 }
    }

    /// A look that sees the address, or does not see it. Whether it is told to be there.
    fn look(&mut self, is_there: bool) -> bool {
        let machine = machine(&BOTH[usize::from(!is_there)..]);
        let found = self.damper.locators(self.now, machine, &self.wanted, &self.locators);
        let (flapping, reachable) = (FLAPPING.parse().unwrap(), found.reachable());
        assert_eq!(found.mtus.contains_key(&flapping), reachable.contains(&flapping), "what waits has no MTU either");
        if found != self.locators {
            self.locators = found.clone();
            let Locators { all: locators, unreachable, mtus: _ } = found;
            self.control.handle(self.now, engine::Input::Reached { locators, unreachable });
        }
        self.is_told()
    }

    fn is_told(&self) -> bool {
        self.locators.reachable().contains(&FLAPPING.parse().unwrap())
    }

    /// The Map-Server answers at once.
    fn serve(&mut self) {
        self.control.handle_timeout(self.now);
        while let Some(output) = self.control.poll() {
            let engine::Output::Send(outgoing) = output else { continue };
            let Ok(register) = MapRegister::decode(&outgoing.bytes) else { continue };
            self.registers += 1;
            let MapRegister { nonce, records, .. } = register;
            let notify = MapNotify { nonce, records, ..MapNotify::default() };
            let key = AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new("of the site") };
            let bytes = auth::seal(&notify.into(), &key, TagForm::Truncated).unwrap();
            let via = Via::Socket {
                local: format!("{FLAPPING}:4342").parse().unwrap(),
                remote: "203.0.113.53:4342".parse().unwrap(),
            };
            self.control.handle(self.now, engine::Input::Datagram { via, bytes: &bytes });
        }
    }

    /// For so many tenths of a second: each change is seen two later, and so is what the damper has waited for.
    fn run(&mut self, tenths: u32, is_there: impl Fn(u32) -> bool) {
        let (mut seen, mut gone) = (None, 0);
        for tenth in 0..tenths {
            self.now += Duration::from_millis(100);
            let is_due = self.damper.due().is_some_and(|due| due <= self.now);
            let is_settled = tenth >= 2 && is_there(tenth) == is_there(tenth - 2);
            if is_due || is_settled && seen != Some(is_there(tenth)) {
                seen = Some(is_there(tenth));
                self.look(is_there(tenth));
            }
            gone = if is_there(tenth) || !self.is_told() { 0 } else { gone + 1 };
            assert!(gone <= 3, "a loss is told within 300 ms");
            self.serve();
        }
    }
}

/// Each change is a Map-Register: RFC 9301, section 8.2, wants few of them.
#[test]
fn an_address_that_comes_and_goes_for_a_minute_costs_few_map_registers() {
    for (half, most) in [(3, 12), (6, 12), (13, 14), (25, 18), (70, 22)] {
        let mut node = Flapping::beside(&[STEADY]);
        node.run(600, |tenth| tenth / half % 2 == 0);
        assert!(node.registers <= most, "{} Map-Registers where it changes every {half} tenths", node.registers);
        // It ends, and nothing is held back for long.
        node.run(300, |_| true);
        assert_eq!(node.locators.reachable().len(), 2, "{half}");
    }
}

/// Nothing could be preferred to it, and of its loss nobody can be told.
#[test]
fn a_locator_without_others_is_one_after_a_second_at_the_latest_and_twice_at_once() {
    let mut node = Flapping::beside(&[]);
    for turn in 0..20 {
        assert!(!node.look(false));
        if turn >= 2 {
            assert!(!node.look(true), "for the third time");
            assert_eq!(node.damper.due().map(|due| due - node.now), Some(Duration::from_secs(1)));
            node.now += Duration::from_millis(999);
            assert!(!node.look(true));
            node.now += Duration::from_millis(1);
        }
        assert!(node.look(true), "{turn}");
        assert_eq!(node.damper.due(), None);
    }
    // One that is there for less than that costs nothing more, and one that is there for longer a Map-Register each time.
    for (half, most) in [(2, 4), (3, 4), (6, 4), (13, 25), (25, 14), (70, 6)] {
        let mut node = Flapping::beside(&[]);
        node.run(600, |tenth| tenth / half % 2 == 0);
        assert!(node.registers <= most, "{} Map-Registers where it changes every {half} tenths", node.registers);
        node.run(15, |_| true);
        assert!(node.is_told(), "{half}");
    }
    // What it does meanwhile counts when there is another one.
    let mut node = Flapping::beside(&[]);
    (0..2).for_each(|_| assert!(!node.look(false) && node.look(true)));
    node.look(false);
    node.wanted.given.push(OwnLocator::new(STEADY.parse().unwrap(), 1, 100));
    assert!(!node.look(false) && !node.look(true), "the other one is preferred");
}

#[test]
fn the_first_return_of_a_locator_counts_at_once_and_so_does_one_after_a_quiet_time() {
    let mut node = Flapping::beside(&[STEADY]);
    let wait = |node: &mut Flapping, millis| node.now += Duration::from_millis(millis);
    for turn in 0..3 {
        assert!(!node.look(false));
        assert!(node.look(true), "the first time, at {turn}");
        wait(&mut node, 500);
        assert!(!node.look(false));
        for doubled in [1000, 2000, 4000] {
            assert!(!node.look(true));
            let due = node.damper.due().unwrap();
            assert_eq!(due - node.now, Duration::from_millis(doubled));
            wait(&mut node, doubled - 1);
            assert!(!node.look(true));
            wait(&mut node, 1);
            assert!(node.look(true));
            assert_eq!(node.damper.due(), None);
            assert!(!node.look(false));
        }
        // It is not there for a moment: then it waits anew.
        assert!(!node.look(true));
        wait(&mut node, 7000);
        assert!(!node.look(false) && !node.look(true));
        wait(&mut node, 7000);
        assert!(!node.look(true));
        wait(&mut node, 1000);
        assert!(node.look(true));
        wait(&mut node, 30_000);
    }
}

#[test]
fn while_the_best_locator_has_to_wait_the_next_one_serves() {
    let (mut damper, mut now) = (Damper::default(), std::time::Instant::now());
    let (all, wanted) = (machine(&BOTH), Wanted::default());
    let mut without = all.clone();
    without.defaults.retain(|route| route.interface == BACKUP);
    let mut locators = all.locators(&wanted, &Locators::default());
    let mut look = |machine: &Machine, millis| {
        now += Duration::from_millis(millis);
        locators = damper.locators(now, machine.clone(), &wanted, &locators);
        locators.reachable().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        assert_eq!(look(&all, 200), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(look(&without, 200), ["198.51.100.1"]);
    }
    assert_eq!(look(&all, 200), ["198.51.100.1"]);
    assert_eq!(look(&all, 1000), ["192.0.2.1", "2001:db8::1"]);
}

/// A look at a machine with these addresses every so many milliseconds, of a node that was given `all` or what `wanted` says.
struct Looks {
    now: std::time::Instant,
    damper: Damper,
    locators: Locators,
}

impl Looks {
    fn look(&mut self, millis: u64, wanted: &[&str], there: &[&str]) -> Vec<String> {
        self.now += Duration::from_millis(millis);
        let given = wanted.iter().map(|address| OwnLocator::new(address.parse().unwrap(), 1, 100)).collect();
        let wanted = Wanted { given, ..Wanted::default() };
        let mut machine = machine(&BOTH);
        machine.addresses.retain(|own| there.contains(&own.address.to_string().as_str()));
        self.locators = self.damper.locators(self.now, machine, &wanted, &self.locators);
        self.locators.reachable().iter().map(ToString::to_string).collect()
    }

    fn new() -> Self {
        Self { now: std::time::Instant::now(), damper: Damper::default(), locators: Locators::default() }
    }
}

#[test]
fn addresses_that_wait_side_by_side_do_not_wait_for_each_other() {
    let (mut looks, wanted) = (Looks::new(), ["192.0.2.1", "2001:db8::1", STEADY]);
    let mut look = |millis, there: &[&str]| {
        let mut found = looks.look(millis, &wanted, &[there, &[STEADY]].concat());
        assert_eq!(found.pop().unwrap(), STEADY);
        (found, looks.damper.due())
    };
    let both = &wanted[..2];
    for _ in 0..2 {
        assert_eq!(look(200, both).0, both);
        assert!(look(200, &[]).0.is_empty());
    }
    assert!(look(200, &both[..1]).0.is_empty());
    assert!(look(400, both).0.is_empty());
    assert_eq!(look(600, both).0, both[..1], "a second after it came");
    assert_eq!(look(400, both), (both.iter().map(ToString::to_string).collect(), None));
}

#[test]
fn what_the_operator_takes_away_and_gives_again_waits_for_nothing() {
    let (mut looks, both) = (Looks::new(), ["192.0.2.1", "198.51.100.1"]);
    for wanted in both.iter().cycle().take(8) {
        assert_eq!(looks.look(2000, &[wanted], &both), [*wanted]);
    }
}
