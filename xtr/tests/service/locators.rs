// SPDX-License-Identifier: GPL-2.0-or-later
//! Two nodes in two network namespaces, joined by a cable, with a map system played by the test: the locator of one follows its
//! interface to another address while packets cross, and one that the operator gave goes out of reach and comes back. Needs root
//! and `/dev/net/tun`; says so and passes without, unless `CI` is set.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::namespace::cable::{CABLE, OTHER_END, lay_cable, on_cable};
use crate::namespace::{self, add_address, bring_up, in_namespace, index, netlink, wait_within};
use crate::program::{key, key_file, show};
use futures::TryStreamExt as _;
use rtnetlink::{LinkUnspec, RouteMessageBuilder, RouteNextHopBuilder};
use serde_json::Value;
use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, TagForm};
use wire::control::{ControlMessage, MapNotify, MapReply};
use wire::record::MappingRecord;

const NEAR: &str = "192.0.2.1";
const MOVED: &str = "192.0.2.9";
const FAR: &str = "192.0.2.2";
const BACKUP: &str = "192.0.2.3";
const TENTATIVE: &str = "2001:db8::1";
const MISSING: &str = "192.0.2.77";
const SERVER: &str = "192.0.2.10";
const NEAR_HOST: &str = "10.1.0.1";
const FAR_HOST: &str = "10.2.0.1:7007";
const PATIENCE: Duration = Duration::from_secs(60);
/// What a move of the locator may cost on a machine that others use; what is printed says how long it was. What is promised of EID-prefixes that
/// move (2 s) and of locators that fail (4 s) is measured by `interop bench data-plane`.
const LONGEST_GAP: Duration = Duration::from_secs(5);

#[test]
fn locators_follow_their_interface_and_the_traffic_follows_them() {
    let folder = tempfile::tempdir().unwrap();
    key_file(folder.path());
    let map_system = Arc::new(Mutex::new(MapSystem::default()));
    // The far node stays until the near one has seen all.
    let (done, is_done) = mpsc::channel::<()>();
    let near = {
        let (folder, map_system) = (folder.path().to_owned(), map_system.clone());
        move || {
            near(&folder, &map_system);
            drop(done);
        }
    };
    let path = folder.path().to_owned();
    on_cable((&[NEAR], near), (&[FAR, BACKUP, SERVER], move || far(&path, &map_system, &is_done)));
}

#[test]
fn a_node_waits_for_an_address_that_is_still_looked_at_for_duplicates() {
    alone(waits_for_an_address);
}

fn waits_for_an_address(folder: &Path) {
    let usable = || UdpSocket::bind((TENTATIVE, 0)).is_ok();
    // It is looked at for a second, for which we may have no processor.
    let is_looked_at = (0..10).any(|_| {
        change_address(TENTATIVE, true);
        let is_usable = usable();
        if is_usable {
            change_address(TENTATIVE, false);
        }
        !is_usable
    });
    assert!(is_looked_at, "an address that is never looked at");
    let arguments = ["--eid-prefix", "10.1.0.0/24", "--rloc", NEAR, "--rloc", TENTATIVE];
    let node = Node::start(folder, "early", &arguments);
    wait_for("locator", || node.show("locators")["locators"][1]["address"] == TENTATIVE);
    assert!(usable());
}

/// As that of an uplink that comes up when the machine has been started for a while: PPP, or DHCP.
#[test]
fn a_node_starts_where_one_of_its_locators_is_missing_and_takes_it_when_it_is_there() {
    alone(misses_a_locator);
}

fn misses_a_locator(folder: &Path) {
    change_address(SERVER, true);
    let (server, map_system) = (UdpSocket::bind((SERVER, 4342)).unwrap(), Arc::new(Mutex::new(MapSystem::default())));
    std::thread::spawn({
        let map_system = map_system.clone();
        move || serve(&server, &map_system)
    });
    let arguments = ["--eid-prefix", "10.1.0.0/24", "--rloc", NEAR, "--rloc", MISSING];
    let node = Node::start(folder, "missing", &arguments);
    let stands = |state: &str| {
        let shown = node.show("locators");
        let missing = shown["locators"].as_array().into_iter().flatten().find(|own| own["address"] == MISSING);
        missing.is_some_and(|own| own["state"] == state)
    };
    let registered = || map_system.lock().unwrap().locators("10.1.0.0/24");
    let both = |missing: bool| vec![(ip(NEAR), true), (ip(MISSING), missing)];
    wait_for("registration with R clear", || registered() == both(false));
    assert!(stands("down"));
    assert!(![4341, 4342].into_iter().any(|port| is_open(MISSING, port)));
    change_address(MISSING, true);
    wait_for("registration with R set", || registered() == both(true));
    assert!(stands("up"));
    // Each thread opens its own.
    for port in [4341, 4342] {
        wait_for("port where packets and messages are taken", || is_open(MISSING, port));
    }
    drop(node);
    // Without any it cannot do anything.
    change_address(MISSING, false);
    let arguments = ["--eid-prefix", "10.1.0.0/24", "--rloc", MISSING, "--rloc", "192.0.2.78"];
    let mut node = Node::start(folder, "none", &arguments);
    assert!(!node.node.0.wait().unwrap().success());
}

/// Whether a UDP port of this IPv4 address alone is open in this thread's network namespace, as the kernel lists them (proc(5)).
fn is_open(address: &str, port: u16) -> bool {
    let ports = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let address = u32::from_ne_bytes(address.parse::<Ipv4Addr>().unwrap().octets());
    let local = format!("{address:08X}:{port:04X}");
    ports.lines().any(|line| line.split_whitespace().nth(1) == Some(&local))
}

/// Runs a test in a namespace with both ends of a cable, our address on one of them, and a folder with a key.
fn alone(test: impl FnOnce(&Path) + Send + 'static) {
    in_namespace(&[], || {
        let folder = tempfile::tempdir().unwrap();
        key_file(folder.path());
        netlink(async |handle| {
            lay_cable(handle).await;
            bring_up(handle, OTHER_END).await;
            bring_up(handle, CABLE).await;
        });
        change_address(NEAR, true);
        test(folder.path());
    });
}

/// The map system, the other node, and a host behind it that sends back what it gets.
fn far(folder: &Path, map_system: &Arc<Mutex<MapSystem>>, is_done: &mpsc::Receiver<()>) {
    add_host("10.2.0.1");
    let server = UdpSocket::bind((SERVER, 4342)).unwrap();
    let echo = UdpSocket::bind(FAR_HOST).unwrap();
    std::thread::spawn({
        let map_system = map_system.clone();
        move || serve(&server, &map_system)
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            // Lost, as any packet may be.
            let _ = echo.send_to(&buffer[..length], from);
        }
    });
    let backup = format!("{BACKUP},priority=2");
    let _node = Node::start(folder, "far", &["--eid-prefix", "10.2.0.0/24", "--rloc", FAR, "--rloc", &backup]);
    let registered = || map_system.lock().unwrap().locators("10.2.0.0/24");
    let both = |backup: bool| vec![(ip(FAR), true), (ip(BACKUP), backup)];
    wait_for("registration of both locators", || registered() == both(true));
    change_address(BACKUP, false);
    wait_for("registration with R clear", || registered() == both(false));
    change_address(BACKUP, true);
    wait_for("registration with R set again", || registered() == both(true));
    flaps(map_system);
    wait_for("registration of what is there in the end", || registered() == both(true));
    // An error means that the other end is over.
    let _ = is_done.recv();
}

/// How often it comes or goes.
const FLAPS: usize = 36;

/// Few changes of an address that comes and goes are told, in Map-Registers.
fn flaps(map_system: &Mutex<MapSystem>) {
    let changes = || map_system.lock().unwrap().changes.get("10.2.0.0/24").copied().unwrap_or_default();
    let before = changes();
    for turn in 0..FLAPS {
        change_address(BACKUP, turn % 2 == 1);
        std::thread::sleep(Duration::from_millis(230));
    }
    let told = changes() - before;
    println!("{told} changes are told of {FLAPS} of an address that comes and goes");
    // Eight where nobody has to wait for a processor.
    assert!((1..=FLAPS / 2).contains(&told), "{told}");
}

/// A node without a word about its locators, whose address changes while packets cross.
fn near(folder: &Path, map_system: &Arc<Mutex<MapSystem>>) {
    add_host(NEAR_HOST);
    std::fs::write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "1").unwrap();
    default_route(true);
    let node = Node::start(folder, "near", &["--eid-prefix", "10.1.0.0/24"]);
    let registered = || map_system.lock().unwrap().locators("10.1.0.0/24");
    wait_for("registration", || registered() == [(ip(NEAR), true)]);
    wait_for("the other node", || !map_system.lock().unwrap().locators("10.2.0.0/24").is_empty());

    let socket = UdpSocket::bind((NEAR_HOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let crossed = |least: u32, until: Duration| crossing(&socket, least, until);
    assert!(crossed(20, PATIENCE).0 >= 20, "no packet crosses");
    // It probes us, so that we know of it.
    wait_for("probes", || crossed(1, PATIENCE).0 > 0 && !node.show("locators")["remote"][0]["rtt_us"].is_null());
    std::thread::sleep(Duration::from_millis(1500));

    change_address(MOVED, true);
    change_address(NEAR, false);
    let (count, gap) = crossed(u32::MAX, LONGEST_GAP + Duration::from_secs(1));
    println!("after the move {count} packets, and none for {gap:?}");
    assert!(count > 100 && gap < LONGEST_GAP, "{count} packets, and none for {gap:?}");
    assert_eq!(registered(), [(ip(MOVED), true)]);
    assert!(map_system.lock().unwrap().smr_invoked > 0, "the other node was told by an SMR");
    let shown = node.show("locators");
    assert_eq!((&shown["locators"][0]["address"], &shown["locators"][0]["state"]), (&MOVED.into(), &"up".into()));
    assert_eq!(shown["remote"][0]["state"], "up", "{shown}");
    assert!(node.show("counters")["counters"]["control"]["smrs-sent"].as_u64().unwrap() > 0);

    let stands = |state: &str| node.show("locators")["locators"][0]["state"] == state;
    switch_cable(false);
    wait_for("locator down with its link", || stands("down"));
    switch_cable(true);
    default_route(true);
    wait_for("locator up with its link", || stands("up"));
    assert!(crossed(20, PATIENCE).0 >= 20, "no packet crosses any more");

    default_route(false);
    std::thread::sleep(Duration::from_secs(1));
    assert!(stands("up"), "who sets the routes is being started anew");
    assert!(crossed(20, PATIENCE).0 >= 20, "no packet crosses without a default route");
}

/// Sends a packet every ten milliseconds until so many came back, or the time is over: how many, and the longest time without.
fn crossing(socket: &UdpSocket, least: u32, until: Duration) -> (u32, Duration) {
    let (started, mut silent, mut gap, mut count) = (Instant::now(), Duration::ZERO, Duration::ZERO, 0);
    while count < least && started.elapsed() < until {
        let sent = Instant::now();
        // What the kernel does not take is lost, as any packet may be.
        let _ = socket.send_to(b"ping", FAR_HOST);
        if socket.recv_from(&mut [0; 64]).is_ok() {
            (count, silent) = (count + 1, Duration::ZERO);
            std::thread::sleep(Duration::from_millis(10));
        } else {
            // More is not waited for it: we had no processor.
            silent += sent.elapsed().min(Duration::from_millis(50));
        }
        gap = gap.max(silent);
    }
    (count, gap)
}

/// A Map-Server and Map-Resolver that answers for whoever has registered.
#[derive(Default)]
struct MapSystem {
    records: Vec<(EidPrefix, MappingRecord)>,
    /// Changes of each EID-prefix that Map-Registers have told.
    changes: BTreeMap<String, usize>,
    /// Requests that SMRs had caused.
    smr_invoked: u32,
}

impl MapSystem {
    fn locators(&self, prefix: &str) -> Vec<(IpAddr, bool)> {
        let found = self.records.iter().find(|(eid, _)| eid.net.to_string() == prefix);
        let locators = found.into_iter().flat_map(|(_, record)| &record.locators);
        locators.map(|locator| (locator.rloc.ip().unwrap(), locator.reachable)).collect()
    }
}

fn serve(socket: &UdpSocket, map_system: &Mutex<MapSystem>) {
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let answer = match ControlMessage::decode(&buffer[..length]).unwrap() {
            ControlMessage::MapRegister(register) => {
                auth::verify(&buffer[..length], &key(), Accept { untruncated: false, narrow_coverage: false }).unwrap();
                let mut known = map_system.lock().unwrap();
                for record in &register.records {
                    let eid = record.eid.ip_prefix().unwrap();
                    // One that is sent again, since nobody has confirmed it in time, tells no change.
                    let is_known =
                        known.records.iter().any(|(prefix, it)| *prefix == eid && it.locators == record.locators);
                    *known.changes.entry(eid.net.to_string()).or_default() += usize::from(!is_known);
                    known.records.retain(|(prefix, _)| *prefix != eid);
                    known.records.push((eid, record.clone()));
                }
                let notify = MapNotify { nonce: register.nonce, records: register.records, ..MapNotify::default() };
                Some((auth::seal(&notify.into(), &key(), TagForm::Truncated).unwrap(), from))
            }
            ControlMessage::Ecm(ecm) => answer(&ecm.message, map_system),
            other => panic!("{other:?}"),
        };
        if let Some((bytes, to)) = answer {
            // The locator that it is for may have just gone.
            let _ = socket.send_to(&bytes, to);
        }
    }
}

fn answer(bytes: &[u8], map_system: &Mutex<MapSystem>) -> Option<(Vec<u8>, SocketAddr)> {
    let ControlMessage::MapRequest(request) = ControlMessage::decode(bytes).unwrap() else { panic!("{bytes:?}") };
    let mut known = map_system.lock().unwrap();
    known.smr_invoked += u32::from(request.smr_invoked);
    let asked = request.records[0].eid.ip_prefix().unwrap();
    let record = known.records.iter().find(|(prefix, _)| prefix.covers(&asked)).map(|(_, record)| record.clone())?;
    let reply = MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() };
    Some((reply.encode().unwrap(), SocketAddr::new(request.itr_rlocs[0].ip().unwrap(), 4342)))
}

/// A running node, and its folder.
struct Node {
    node: namespace::Node,
    state: PathBuf,
}

impl Node {
    fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let state = folder.join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.args(arguments).args(["--map-server", SERVER, "--tun", "lispt", "--key-file"]);
        command.arg(folder.join("key.toml")).arg("--state-dir").arg(&state);
        Self { node: namespace::Node(command.spawn().unwrap()), state }
    }

    fn show(&self, table: &str) -> Value {
        show(&self.state, table).unwrap_or_default()
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, || is_so().then_some(()));
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A host behind the node, which is this machine itself.
fn add_host(address: &str) {
    netlink(async |handle| add_address(handle, "lo", ip(address), 32).await);
}

fn switch_cable(on: bool) {
    netlink(async |handle| {
        let cable = LinkUnspec::new_with_index(index(handle, CABLE).await);
        let switched = if on { cable.up() } else { cable.down() };
        handle.link().set(switched.build()).execute().await.unwrap();
    });
}

/// Adds the default route, which has two next hops, or takes it away.
fn default_route(add: bool) {
    netlink(async |handle| {
        let cable = index(handle, CABLE).await;
        let hop = |gateway| RouteNextHopBuilder::new_ipv4().interface(cable).via(ip(gateway)).unwrap().build();
        let route = RouteMessageBuilder::<Ipv4Addr>::new().multipath(vec![hop(FAR), hop(BACKUP)]).build();
        if add {
            handle.route().add(route).execute().await.unwrap();
        } else {
            handle.route().del(route).execute().await.unwrap();
        }
    });
}

/// Adds an address to the cable, or takes it away.
fn change_address(address: &str, add: bool) {
    netlink(async |handle| {
        let cable = index(handle, CABLE).await;
        if add {
            let length = if address.contains(':') { 64 } else { 24 };
            return handle.address().add(cable, ip(address), length).execute().await.unwrap();
        }
        let addresses = handle.address().get().set_address_filter(ip(address)).execute();
        let message = addresses.try_collect::<Vec<_>>().await.unwrap().remove(0);
        handle.address().del(message).execute().await.unwrap();
    });
}
