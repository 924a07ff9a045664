// SPDX-License-Identifier: GPL-2.0-or-later
//! Real programs in namespaces: a `lisp-xtr` with a map system and a DHT node inside loses its uplink and gets another, with and without a time
//! between in which it has none. What is inside is found and reached there then, and what it has published leads there. Needs root; says so and
//! passes without, unless `CI` is set.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use interop::lab::process::{self, Process};
use interop::lab::{Lab, Node, Topology};
use interop::probe::crossing::{ECHO, Echo, crossing};
use serde_json::Value;

use crate::support;

/// The DHT node that everyone starts from, with a map system round it.
const BOOT: &str = "203.0.113.1";
const PREFIX: &str = "2001:db8:a::/48";
const HOST: &str = "2001:db8:a::1";
/// How long a start may take, and a command.
const PATIENCE: Duration = Duration::from_secs(60);
/// Within this packets cross again. A connection over the lost uplink is taken for dead after 5 s, a request that
/// goes there has 3 s, and records go out one after the other.
const FOUND: Duration = Duration::from_secs(20);
/// Longer than what a connection survives.
const WITHOUT: Duration = Duration::from_secs(8);
/// Within this an ITR elsewhere has found what is published: it was told that there is something before there was, and looks again.
const ASKED: Duration = Duration::from_secs(10);

struct Uplink {
    port: &'static str,
    address: &'static str,
    gateway: &'static str,
}

const UPLINKS: [Uplink; 2] = [
    Uplink { port: "one", address: "192.0.2.2", gateway: "192.0.2.1" },
    Uplink { port: "two", address: "192.0.2.130", gateway: "192.0.2.129" },
];

/// The network, and what runs in it.
struct World {
    lab: Lab,
    folder: tempfile::TempDir,
    programs: PathBuf,
    running: Vec<Process>,
}

impl World {
    /// The router has its first uplink only.
    fn new() -> Self {
        let [one, two] = &UPLINKS;
        let core = Node::router("core")
            .port("boot", "wire-boot", &["203.0.113.254/24"])
            .port("other", "wire-other", &["198.51.100.254/24"])
            .port(one.port, "wire-one", &["192.0.2.1/25"])
            .port(two.port, "wire-two", &["192.0.2.129/25"]);
        let far = |name: &str, address: &str, gateway: &str| {
            Node::router(name).port("core", &format!("wire-{name}"), &[address]).default_route(gateway, "core")
        };
        let router = Node::router("xtr").port(one.port, "wire-one", &[]).port(two.port, "wire-two", &[]);
        let topology = Topology::default()
            .with(core)
            .with(far("boot", "203.0.113.1/24", "203.0.113.254"))
            .with(far("other", "198.51.100.1/24", "198.51.100.254"))
            .with(router);
        let lab = Lab::build(&topology).unwrap();
        let programs = Path::new(support::built_programs()).to_owned();
        let world = Self { lab, folder: tempfile::tempdir().unwrap(), programs, running: Vec::new() };
        world.ip("xtr", &format!("addr add {HOST}/128 dev lo"));
        world.plug(one);
        world
    }

    fn plug(&self, uplink: &Uplink) {
        let Uplink { port, address, gateway } = uplink;
        self.ip("xtr", &format!("link set {port} up"));
        self.ip("xtr", &format!("addr replace {address}/25 dev {port}"));
        self.ip("xtr", &format!("route add default via {gateway} dev {port}"));
    }

    /// With the link its route goes, and its address does not.
    fn unplug(&self, uplink: &Uplink) {
        self.ip("xtr", &format!("link set {} down", uplink.port));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self, node: &str, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).arg("--state-dir").arg(self.path(node));
        let log = self.path(&format!("{node}.log"));
        self.running.push(Process::start(self.lab.namespace(node).unwrap(), node, command, &log).unwrap());
    }

    /// What stands behind `before` in the log of a node, once it does.
    fn said(&self, node: &str, before: &str) -> String {
        let log = self.path(&format!("{node}.log"));
        within(PATIENCE, before, || {
            let text = std::fs::read_to_string(&log).ok()?;
            let end = |c: char| c.is_whitespace() || c == ')';
            let (said, _) = text.split_once(before)?.1.split_once(end)?;
            Some(said.to_owned())
        })
    }

    fn ip(&self, node: &str, arguments: &str) {
        let mut command = Command::new("ip");
        command.args(arguments.split_whitespace());
        let output = process::output(self.lab.namespace(node).unwrap(), command, PATIENCE).unwrap();
        assert!(output.status.is_some_and(|status| status.success()), "{node}: ip {arguments}: {}", output.stderr);
    }

    /// What a command prints, as JSON; nothing if that is none.
    fn json(&self, node: &str, program: &str, arguments: &[&str]) -> Value {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).arg("--json");
        let output = process::output(self.lab.namespace(node).unwrap(), command, PATIENCE).unwrap();
        serde_json::from_str(&output.stdout).unwrap_or_default()
    }

    fn show(&self, node: &str, program: &str, table: &str) -> Value {
        self.json(node, program, &["show", table, "--state-dir", self.path(node).to_str().unwrap()])
    }

    /// Names and addresses of the peers of the first node that are connected and have addresses of either uplink.
    fn peers_of_uplinks(&self) -> Vec<(String, Vec<String>)> {
        let peers = self.show("boot", "lisp-mapsys", "peers");
        let connected = peers.as_array().into_iter().flatten().filter(|peer| peer["connected"] == true);
        let peers = connected.map(|peer| (text(&peer["id"]), texts(&peer["addresses"])));
        peers.filter(|(_, addresses)| addresses.iter().any(|address| address.contains("/192.0.2."))).collect()
    }

    /// Records that the node inside the router holds.
    fn held(&self) -> u64 {
        let counters = self.show("xtr", "lisp-xtr", "counters");
        counters
            .pointer("/counters/map-system/dht/held/records")
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{counters}"))
    }

    /// The node inside the router is known to others under this name at this uplink and nowhere else; whoever starts from there finds what
    /// it publishes, and that leads there; and the map system answers there.
    fn await_found(&self, id: &str, uplink: &Uplink, anchor: &str) {
        let (begun, address) = (Instant::now(), uplink.address);
        let there = format!("/ip4/{address}/udp/43420/quic-v1");
        let only_there = [(id.to_owned(), vec![there.clone()])];
        let bare = |peers: Vec<(String, Vec<String>)>| -> Vec<_> {
            let bare = |address: &String| address.split("/p2p/").next().unwrap_or_default().to_owned();
            peers.into_iter().map(|(id, addresses)| (id, addresses.iter().map(bare).collect::<Vec<_>>())).collect()
        };
        within(PATIENCE, "peer at that uplink", || (bare(self.peers_of_uplinks()) == only_there).then_some(()));
        println!("{address}: a peer there after {:?}", begun.elapsed());
        let locator_and_server = |answer: &Value| {
            let section = |class| move |section: &&Value| section["class"] == class;
            let sections = answer["record"]["sections"].as_array()?;
            let body = &sections.iter().find(section("prefix"))?["body"];
            Some((text(&body["locators"][0]["address"]), texts(&body["map_servers"])))
        };
        within(PATIENCE, "record that leads to that uplink", || {
            let from_there = ["resolve", HOST, "--bootstrap", &there, "--trust-anchor", anchor];
            let found = locator_and_server(&self.json("boot", "lisp-dht", &from_there))?;
            (found == (address.to_owned(), vec![address.to_owned()])).then_some(())
        });
        println!("{address}: published after {:?}", begun.elapsed());
        let answer = self.json("boot", "lig", &[HOST, "--map-resolver", address]);
        assert!(answer.to_string().contains(&format!("{address:?}")), "{answer}");
    }

    /// Packets from a host at the other site to the one behind the router, with `change` in between: the longest time that none came back.
    fn crossing(&self, from: Ipv6Addr, change: impl FnOnce()) -> Duration {
        let socket = self.lab.namespace("other").unwrap().run(move || UdpSocket::bind((from, 0)).unwrap()).unwrap();
        let to = SocketAddr::new(HOST.parse().unwrap(), ECHO);
        let ((), count, gap) =
            crossing(&socket, to, (Duration::from_secs(1), FOUND + WITHOUT + ASKED), change).unwrap();
        assert!(count > 0, "none has crossed");
        gap
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in &self.running {
                eprintln!("the last lines of {}:\n{}", process.name(), process.log_tail().join("\n"));
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(values: &Value) -> Vec<String> {
    values.as_array().into_iter().flatten().map(text).collect()
}

fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < limit, "no {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_is_inside_a_router_that_gets_another_uplink_is_found_there() {
    if !support::root_or_skip() {
        return;
    }
    let _beside = support::beside_others();
    let mut world = World::new();
    let bootstrap = format!("{BOOT}:43420");
    world.start("xtr", "lisp-xtr", &["--eid-prefix", PREFIX, "--bootstrap", &bootstrap]);
    let anchor = format!("{PREFIX}={}", world.said("xtr", &format!("--trust-anchor {PREFIX}=")));
    world.start("boot", "lisp-mapsys", &["--listen", BOOT, "--dht-listen", BOOT, "--trust-anchor", &anchor]);
    world.start("other", "lisp-xtr", &["--bootstrap", &bootstrap, "--trust-anchor", &anchor]);
    let from: Ipv6Addr = world.said("other", "(address ").trim_end_matches(',').parse().unwrap();
    let _echo = Echo::start(world.lab.namespace("xtr").unwrap(), HOST.parse().unwrap()).unwrap();
    let [one, two] = &UPLINKS;
    let id = within(PATIENCE, "peer", || world.peers_of_uplinks().first().map(|(id, _)| id.clone()));
    world.await_found(&id, one, &anchor);
    world.crossing(from, || ());
    let held = world.held();

    let gap = world.crossing(from, || {
        world.unplug(one);
        world.plug(two);
        world.await_found(&id, two, &anchor);
    });
    println!("none has crossed for {gap:?}");
    assert!(gap < FOUND + ASKED, "{gap:?}");
    let gap = world.crossing(from, || {
        world.unplug(two);
        std::thread::sleep(WITHOUT);
        world.plug(one);
        world.await_found(&id, one, &anchor);
    });
    println!("none has crossed for {gap:?}, of which {WITHOUT:?} without an uplink");
    assert!(gap < WITHOUT + FOUND + ASKED, "{gap:?}");
    assert!(world.held() >= held, "it keeps what it holds");
    world.running.iter_mut().for_each(|process| process.check().unwrap());
}
