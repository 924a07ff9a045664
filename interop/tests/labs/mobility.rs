// SPDX-License-Identifier: GPL-2.0-or-later
//! Real programs in namespaces: a mapping that changes is told to who has subscribed to it (RFC 9437), and an EID-prefix moves from
//! one xTR of a site to another while packets cross. What crosses does not need a map system that answers; beside that, which waits for more
//! than a minute, links become narrow, of which most is waiting too. Needs root; says so and passes without, unless `CI` is set.

mod path_mtu;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use interop::lab::process::{self, Process};
use interop::lab::{Lab, Node, Topology};
use interop::probe::crossing::{ECHO, Echo, crossing};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support;

const SERVER: &str = "203.0.113.53";
/// The xTRs and their locators. The first is a site of its own, the others are two of one site.
const XTRS: [(&str, &str); 3] = [("a", "203.0.113.1"), ("b", "203.0.113.2"), ("c", "203.0.113.3")];
/// Another locator of the second.
const OTHER: &str = "203.0.113.12";
/// A host that moves by itself, and one that moves with its whole prefix.
const HOST: &str = "10.2.0.7";
const SETTLED: &str = "10.2.0.8";
/// One in the last quarter of its prefix.
const LAST: &str = "10.2.0.200";
/// How long packets are sent behind a change, at least.
const CROSSING: Duration = Duration::from_secs(4);
/// Between two changes of a locator.
const BETWEEN: Duration = Duration::from_secs(10);
/// The same as for how long packets are sent, to see whether they cross, and how long none may.
const LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(500));
const PATIENCE: Duration = Duration::from_secs(45);
/// How long the map system does nothing: a verdict on a source is asked about after a minute, and was once forgotten ten seconds later.
const STOPPED: Duration = Duration::from_secs(72);
/// What a move may cost on a machine that others use. The two seconds that are promised are measured by `interop bench data-plane`, on one that is
/// quiet (convergence, an EID-prefix moves), and by nothing here; what is printed says how long it was.
const LONGEST_GAP: Duration = Duration::from_secs(5);

const MAP_SYSTEM: &str = r#"
[[site]]
name = "a"
eid-prefix = ["10.1.0.0/24"]
key = [{ key-id = 1, algorithm = "hkdf-sha256", secret = "of the sites" }]
[[site]]
name = "b-and-c"
eid-prefix = ["10.2.0.0/24", "10.3.0.0/24"]
accept-more-specifics = 32
key = [{ key-id = 2, algorithm = "hkdf-sha256", secret = "of the sites too" }]
[[subscriber]]
name = "a"
xtr-id = "0000000000000000000000000000000a"
site-id = 1
rloc = ["203.0.113.1/32"]
key = { key-id = 5, secret = "of the subscriber" }
"#;

/// What its operator has subscribed that xTR to, as the xTR's own has.
const SUBSCRIPTION: &str = r#"
[[subscriber.subscription]]
eid-prefix = "10.2.0.0/24"
nonce = 40
rloc = ["203.0.113.1"]
"#;

/// The network, its map system, and its routers.
struct World {
    lab: Lab,
    folder: tempfile::TempDir,
    programs: PathBuf,
    running: Vec<Process>,
    /// Where the host has been.
    echoing: RefCell<BTreeMap<String, Echo>>,
}

impl World {
    fn new() -> Self {
        Self::with(MAP_SYSTEM)
    }

    fn with(map_system: &str) -> Self {
        let on_switch = |node: Node, addresses: &[&str]| node.port("core", "net", addresses);
        let mut topology =
            Topology::default().switch("net").with(on_switch(Node::router("server"), &["203.0.113.53/24"]));
        for (name, rloc) in XTRS {
            let (rloc, other) = (format!("{rloc}/24"), format!("{OTHER}/24"));
            let addresses: &[&str] = if name == "b" { &[&rloc, &other] } else { &[&rloc] };
            topology = topology.with(on_switch(Node::router(name), addresses));
        }
        let programs = Path::new(support::built_programs()).to_owned();
        let lab = Lab::build(&topology).unwrap();
        let mut world = Self {
            lab,
            folder: tempfile::tempdir().unwrap(),
            programs,
            running: Vec::new(),
            echoing: RefCell::default(),
        };
        world.write("mapsys.toml", map_system);
        for (file, id, secret) in
            [("key-a", 1, "of the sites"), ("key-b", 2, "of the sites too"), ("sub", 5, "of the subscriber")]
        {
            world.write(file, &format!("algorithm = \"hkdf-sha256\"\nkey-id = {id}\nsecret = {secret:?}\n"));
        }
        let mut map_system = world.program("lisp-mapsys");
        map_system.args(["--listen", SERVER, "--config"]).arg(world.path("mapsys.toml"));
        map_system.arg("--state-dir").arg(world.path("mapsys"));
        world.start("server", map_system);
        wait_for("map system", || world.running[0].has_printed("ready").then_some(()));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    fn start(&mut self, node: &str, command: Command) {
        let log = self.path(&format!("{node}.log"));
        self.running.push(Process::start(self.lab.namespace(node).unwrap(), node, command, &log).unwrap());
    }

    /// What an xTR is told to be; `more` are lines of its configuration.
    fn configure(&self, (name, rloc): (&str, &str), prefixes: &[&str], more: &str) {
        let key = self.path(if name == "a" { "key-a" } else { "key-b" });
        let text = format!(
            "eid-prefix = {prefixes:?}\nrloc = [{rloc:?}]\nmap-server = [{SERVER:?}]\nkey-file = [{key:?}]\n\
             xtr-id = \"{name:0>32}\"\nsite-id = 1\nlog = \"info,xtr=debug\"\n{more}\n"
        );
        self.write(&format!("{name}.toml"), &text);
    }

    /// Starts an xTR, with this host behind it, and waits until it is registered.
    fn start_xtr(&mut self, name: &str, host: &str) {
        self.ip(name, &format!("addr add {host}/32 dev lo"));
        let mut command = self.program("lisp-xtr");
        command.arg("--config").arg(self.path(&format!("{name}.toml"))).arg("--state-dir").arg(self.path(name));
        self.start(name, command);
        wait_for("registration", || {
            let rows = self.show(name, "registrations");
            (!rows.as_array()?.first()?["confirmed_ago"].is_null()).then_some(())
        });
    }

    fn run(&self, node: &str, command: Command) -> String {
        let output = process::output(self.lab.namespace(node).unwrap(), command, PATIENCE).unwrap();
        assert!(output.status.is_some_and(|status| status.success()), "{node}: {}{}", output.stdout, output.stderr);
        output.stdout
    }

    fn ip(&self, node: &str, arguments: &str) {
        let mut command = Command::new("ip");
        command.args(arguments.split_whitespace());
        self.run(node, command);
    }

    fn xtr(&self, name: &str, verb: &[&str]) -> String {
        let mut command = self.program("lisp-xtr");
        command.args(verb).arg("--state-dir").arg(self.path(name));
        self.run(name, command)
    }

    fn show(&self, name: &str, table: &str) -> Value {
        let mut command = self.program("lisp-xtr");
        command.args(["show", table, "--json", "--state-dir"]).arg(self.path(name));
        let output = process::output(self.lab.namespace(name).unwrap(), command, PATIENCE).unwrap();
        serde_json::from_str::<Value>(&output.stdout).unwrap_or_default()[table].take()
    }

    fn counter(&self, name: &str, counter: &str) -> u64 {
        self.show(name, "counters")["control"][counter].as_u64().unwrap()
    }

    /// How many packets the first site has sent into the tunnel, and how many the second has taken out of it.
    fn through_tunnel(&self) -> [u64; 2] {
        [("a", "encapsulated-packets"), ("b", "decapsulated-packets")]
            .map(|(name, counter)| self.show(name, "counters")["packets"][counter].as_u64().unwrap())
    }

    /// The map-cache entry of a prefix at the first xTR: its first locator, and how it is kept up to date.
    fn mapping(&self, prefix: &str) -> Option<(String, String)> {
        let rows = self.show("a", "map-cache");
        let row = rows.as_array()?.iter().find(|row| row["prefix"] == prefix)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some((text(&row["locators"][0]["address"]), text(&row["subscription"])))
    }

    /// Sends back what comes to a host, which is at `node` now. If it was there before, the socket is there still.
    fn echo(&self, node: &str, host: &'static str) {
        let start = || Echo::start(self.lab.namespace(node).unwrap(), host.parse().unwrap()).unwrap();
        self.echoing.borrow_mut().entry(format!("{host} {node}")).or_insert_with(start);
    }

    /// Moves a host to another xTR, one of which then has other prefixes.
    fn move_host(&self, host: &'static str, (from, to): (&str, &str), (changed, prefixes): (&str, &[&str])) {
        self.ip(from, &format!("addr del {host}/32 dev lo"));
        self.ip(to, &format!("addr add {host}/32 dev lo"));
        self.echo(to, host);
        let xtr = XTRS.into_iter().find(|(name, _)| *name == changed).unwrap();
        self.configure(xtr, prefixes, "");
        self.xtr(changed, &["reload"]);
    }

    /// Packets at a steady pace from the first site to a host, with `change` in between: how many came back, and the longest time
    /// that none did. They go on for the first of these times behind it, and while none comes for the second.
    fn crossing(&self, host: &'static str, times: (Duration, Duration), change: impl FnOnce(&Self)) -> (u32, Duration) {
        let socket = self.lab.namespace("a").unwrap().run(|| UdpSocket::bind(("10.1.0.1", 0)).unwrap()).unwrap();
        let to = SocketAddr::new(host.parse().unwrap(), ECHO);
        let ((), count, gap) = crossing(&socket, to, times, || change(self)).unwrap();
        (count, gap)
    }

    /// Packets at a steady pace from a host at this node to another, or to nobody who answers, until it is over: how many were sent, and
    /// came to the socket that is given.
    fn stream(&self, (node, source): (&str, &'static str), to: (&'static str, u16), at: Option<UdpSocket>) -> Stream {
        let socket = self.lab.namespace(node).unwrap().run(move || UdpSocket::bind((source, 0)).unwrap()).unwrap();
        let at = at.unwrap_or_else(|| socket.try_clone().unwrap());
        at.set_read_timeout(Some(WAIT)).unwrap();
        let all = Arc::new(OnceLock::new());
        let is_sent = Arc::clone(&all);
        let sender = std::thread::spawn(move || {
            let (until, mut sent) = (Instant::now() + STOPPED, 0);
            while Instant::now() < until {
                socket.send_to(PING, to).unwrap();
                sent += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            *is_sent.get_or_init(|| sent)
        });
        let receiver = std::thread::spawn(move || {
            let (mut came, mut silent, mut buffer) = (0, Duration::ZERO, [0; 64]);
            // Who had no processor meanwhile is waited for when all is sent.
            while all.get().is_none_or(|sent| came < *sent && silent < LATE) {
                match at.recv_from(&mut buffer) {
                    Ok((length, _)) if &buffer[..length] == PING => (came, silent) = (came + 1, Duration::ZERO),
                    Ok(_) => {}
                    Err(_) => silent += WAIT,
                }
            }
            // None comes twice.
            while let Ok((length, _)) = at.recv_from(&mut buffer) {
                came += u32::from(&buffer[..length] == PING);
            }
            came
        });
        Stream { sender, receiver }
    }

    /// The first packets to a host have found their mapping.
    fn warm_up(&self, host: &'static str) {
        let some = || self.crossing(host, LOOK, |_| ()).0 > 10;
        wait_for("packet that crosses", || some().then_some(()));
    }
}

/// What a stream sends.
const PING: &[u8] = b"ping";
/// How long its receiver waits for a packet, and how long for the last ones.
const WAIT: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(20);
/// What a full queue of a busy machine may lose of two streams: half a second of one. Where nobody takes them it is seconds of both.
const FEW: u64 = 50;

/// Packets on their way.
struct Stream {
    sender: std::thread::JoinHandle<u32>,
    receiver: std::thread::JoinHandle<u32>,
}

impl Stream {
    /// How many were sent, and came.
    fn end(self) -> (u32, u32) {
        (self.sender.join().unwrap(), self.receiver.join().unwrap())
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

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const SUBSCRIBING: &str = "subscribe = [\"203.0.113.53\"]\nsubscribe-key-file = [\"sub\"]";

/// The settings of one that subscribes.
fn subscribing(world: &World, more: &str) -> String {
    SUBSCRIBING.replace("\"sub\"", &format!("{:?}", world.path("sub"))) + "\n" + more
}

#[test]
fn a_changed_locator_is_known_to_a_subscriber_without_any_poll() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let world = World::new();
    let more = subscribing(&world, "");
    learns_of_a_changed_locator(world, &more);
}

/// No key is shared with the subscriber: each of its Map-Requests makes one (RFC 9437, section 7.1), and what is told under it counts as
/// proven.
#[test]
fn a_changed_locator_is_known_under_a_key_that_lisp_sec_makes() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let of_itrs =
        "[[lisp-sec]]\nname = \"a\"\npeers = [\"203.0.113.1/32\"]\nkey = [{ key-id = 1, secret = \"of the ITR\" }]\n";
    let map_system = MAP_SYSTEM.replace("key = { key-id = 5, secret = \"of the subscriber\" }", "lisp-sec = true");
    let world = World::with(&format!("{map_system}{of_itrs}"));
    world.write("itr", "key-id = 1\nsecret = \"of the ITR\"\n");
    let more = format!(
        "subscribe = [{SERVER:?}]\nlisp-sec = \"require\"\nresolver-key-file = [{:?}]",
        world.path("itr").to_str().unwrap()
    );
    let world = learns_of_a_changed_locator(world, &more);
    let rows = world.show("a", "map-cache");
    let row = rows.as_array().unwrap().iter().find(|row| row["prefix"] == "10.2.0.0/24").unwrap();
    assert_eq!(row["secured"], true, "{row}");
}

/// A site that subscribes by these settings knows another's new locator by one Map-Notify.
fn learns_of_a_changed_locator(mut world: World, more: &str) -> World {
    // Not probed, the other xTR knows nothing of this one: nobody can solicit it.
    let more = format!("{more}\ngpe-peer = [\"203.0.113.2\", \"203.0.113.12\"]");
    world.configure(XTRS[0], &["10.1.0.0/24"], &more);
    world.configure(XTRS[1], &["10.2.0.0/24"], "");
    world.start_xtr("b", HOST);
    world.start_xtr("a", "10.1.0.1");
    let traced = world.lab.namespace("a").unwrap();
    let mut trace = world.program("lisp-xtr");
    trace.args(["trace", HOST, "--resolve", "--state-dir"]).arg(world.path("a"));
    // Its status says whether a packet would leave by then.
    let traced = process::output(traced, trace, PATIENCE).unwrap();
    assert!(traced.stdout.contains("10.2.0.0/24"), "{traced:?}");
    let subscribed = (XTRS[1].1.to_owned(), "subscribed".to_owned());
    wait_for("subscription", || (world.mapping("10.2.0.0/24")? == subscribed).then_some(()));

    world.configure(("b", OTHER), &["10.2.0.0/24"], "");
    world.xtr("b", &["reload"]);
    wait_for("change", || (world.mapping("10.2.0.0/24")?.0 == OTHER).then_some(()));
    let (smrs, published) = (world.counter("a", "smrs-received"), world.counter("a", "subscriptions-published"));
    assert_eq!((smrs, published), (0, 1));
    assert_eq!(world.mapping("10.2.0.0/24"), Some((OTHER.into(), "subscribed".into())));
    world
}

#[test]
fn what_the_operators_of_both_ends_have_subscribed_an_xtr_to_it_has_without_asking() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let mut world = World::with(&format!("{MAP_SYSTEM}{SUBSCRIPTION}"));
    // Nobody is at the address of its Map-Resolver: what it has, it was told.
    let more = subscribing(&world, "subscribed = [\"10.2.0.0/24=40\"]\nmap-resolver = [\"203.0.113.54\"]");
    let more = more.replace("subscribe = [\"203.0.113.53\"]", "subscribe = [\"203.0.113.54\"]");
    // Not probed, the other xTR knows nothing of this one: nobody can solicit it.
    let more = format!("{more}\ngpe-peer = [\"203.0.113.2\", \"203.0.113.12\"]");
    world.configure(XTRS[0], &["10.1.0.0/24"], &more);
    world.configure(XTRS[1], &["10.2.0.0/24"], "");
    world.start_xtr("a", "10.1.0.1");
    world.start_xtr("b", HOST);
    let configured = |rloc: &str| (rloc.to_owned(), "configured".to_owned());
    wait_for("mapping", || (world.mapping("10.2.0.0/24")? == configured(XTRS[1].1)).then_some(()));
    world.configure(("b", OTHER), &["10.2.0.0/24"], "");
    world.xtr("b", &["reload"]);
    wait_for("change", || (world.mapping("10.2.0.0/24")? == configured(OTHER)).then_some(()));
    let asked = ["subscriptions-asked", "smrs-received"].map(|name| world.counter("a", name));
    assert_eq!((asked, world.counter("a", "subscriptions-published")), ([0; 2], 2));
    // Both were acknowledged.
    let counters = || {
        let mut show = world.program("lisp-mapsys");
        show.args(["show", "counters", "--json", "--state-dir"]).arg(world.path("mapsys"));
        let told: Value = serde_json::from_str(&world.run("server", show)).unwrap();
        ["publications", "publications_unacknowledged"].map(|name| told[name].as_u64().unwrap())
    };
    wait_for("acknowledgement", || (counters() == [2, 0]).then_some(()));
}

#[test]
fn a_host_and_a_whole_prefix_move_to_another_xtr_while_packets_cross() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    for is_subscribing in [false, true] {
        let mut world = World::new();
        let more = if is_subscribing { subscribing(&world, "") } else { String::new() };
        world.configure(XTRS[0], &["10.1.0.0/24"], &more);
        world.configure(XTRS[1], &["10.2.0.0/24"], "");
        world.configure(XTRS[2], &["10.3.0.0/24"], "");
        world.start_xtr("b", HOST);
        world.ip("b", &format!("addr add {SETTLED}/32 dev lo"));
        world.start_xtr("c", "10.3.0.1");
        world.start_xtr("a", "10.1.0.1");
        for host in [HOST, SETTLED] {
            world.echo("b", host);
            world.warm_up(host);
        }
        let how = if is_subscribing { "a subscriber" } else { "solicited by the former xTR" };
        let moves = |what: &str, host, way: (&str, &str), then: (&str, &[&str])| {
            let (count, gap) = world.crossing(host, (CROSSING, LONGEST_GAP), |world| world.move_host(host, way, then));
            println!("{what} from {} to {}, the sender {how}: {count} packets, and none for {gap:?}", way.0, way.1);
            assert!(gap < LONGEST_GAP, "{what}, {how}: {count} packets, and none for {gap:?}");
        };
        moves("a host moves", HOST, ("b", "c"), ("c", &["10.3.0.0/24", "10.2.0.7/32"]));
        if is_subscribing {
            // Whoever is solicited asks for one EID-prefix once in three seconds (RFC 9301, section 6.1), and is solicited twice: not this
            // soon again. A Map-Server tells one thing anew after three seconds too, so that this one waits for a few tenths.
            moves("a host moves back", HOST, ("c", "b"), ("b", &["10.2.0.0/24", "10.2.0.7/32"]));
        }
        moves("a prefix moves", SETTLED, ("b", "c"), ("c", &["10.3.0.0/24", "10.2.0.7/32", "10.2.0.0/24"]));
        let rows = world.show("b", "registrations");
        let left = |row: &&Value| row["moved"] == true && row["prefixes"] == serde_json::json!(["10.2.0.0/24"]);
        assert_eq!(rows.as_array().unwrap().iter().filter(left).count(), 1, "the former xTR leaves it: {rows}");
        if is_subscribing {
            moves("a prefix is given back", SETTLED, ("c", "b"), ("c", &["10.3.0.0/24"]));
        }
    }
}

/// RFC 9301, section 5.5: whoever has the whole prefix cached asks for that, and is answered with a part.
#[test]
fn a_prefix_that_becomes_four_at_another_locator_is_found_again_by_those_who_have_it_cached() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    for proxied in ["", "proxy-reply = false"] {
        let mut world = World::new();
        world.configure(XTRS[0], &["10.1.0.0/24"], "");
        world.configure(("b", OTHER), &["10.2.0.0/24"], proxied);
        world.start_xtr("b", LAST);
        world.start_xtr("a", "10.1.0.1");
        world.echo("b", LAST);
        world.warm_up(LAST);
        let parts = ["10.2.0.0/26", "10.2.0.64/26", "10.2.0.128/26", "10.2.0.192/26"];
        let (count, gap) = world.crossing(LAST, (CROSSING, LONGEST_GAP), |world| {
            // The former locator is gone, with its address.
            world.configure(XTRS[1], &parts, proxied);
            world.xtr("b", &["reload"]);
            world.ip("b", &format!("addr del {OTHER}/24 dev core"));
        });
        println!("a prefix becomes four ({proxied:?}): {count} packets, and none for {gap:?}");
        assert!(gap < LONGEST_GAP, "{proxied:?}: {count} packets, and none for {gap:?}");
        assert_eq!(world.mapping("10.2.0.0/24"), None, "{proxied:?}");
        assert_eq!(world.mapping("10.2.0.192/26").map(|(rloc, _)| rloc), Some(XTRS[1].1.to_owned()), "{proxied:?}");
    }
}

/// Each ITR is told of one EID-prefix in three seconds; meanwhile the former locator takes what comes there.
#[test]
fn a_site_that_changes_its_locator_twice_loses_no_packets_to_either_of_its_prefixes() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let mut world = World::new();
    let (prefixes, hosts) = (["10.2.0.0/24", "10.3.0.0/24"], [HOST, "10.3.0.7"]);
    world.configure(XTRS[0], &["10.1.0.0/24"], "");
    world.configure(XTRS[1], &prefixes, "");
    world.start_xtr("b", HOST);
    world.ip("b", &format!("addr add {}/32 dev lo", hosts[1]));
    world.start_xtr("a", "10.1.0.1");
    let sockets = hosts.map(|host| {
        world.echo("b", host);
        world.warm_up(host);
        let bind = || UdpSocket::bind(("10.1.0.1", 0)).unwrap();
        (world.lab.namespace("a").unwrap().run(bind).unwrap(), SocketAddr::new(host.parse().unwrap(), ECHO))
    });
    let times = (CROSSING, LONGEST_GAP);
    let [first, second] = &sockets;
    let before = wait_for("pause between packets", || {
        let through = world.through_tunnel();
        (world.through_tunnel() == through).then_some(through)
    });
    let gaps = std::thread::scope(|scope| {
        let beside = scope
            .spawn(|| crossing(&first.0, first.1, times, || std::thread::sleep(BETWEEN * 2 + CROSSING)).unwrap().2);
        let ((), _, gap) = crossing(&second.0, second.1, times, || {
            for rloc in [OTHER, XTRS[1].1] {
                world.configure(("b", rloc), &prefixes, "");
                world.xtr("b", &["reload"]);
                std::thread::sleep(BETWEEN);
            }
        })
        .unwrap();
        [beside.join().unwrap(), gap]
    });
    println!("a locator changes twice: none for {gaps:?}");
    assert!(gaps.iter().all(|gap| *gap < LONGEST_GAP), "{gaps:?}");
    // By whichever locator they came: if the former one were deaf, seconds of them would be missing.
    let missing = || {
        let through = world.through_tunnel();
        let [into, out] = [0, 1].map(|end| through[end] - before[end]);
        println!("{into} packets into the tunnel, and {out} out of it");
        into.saturating_sub(out)
    };
    let begun = Instant::now();
    while missing() > FEW && begun.elapsed() < LATE {
        std::thread::sleep(WAIT);
    }
    assert!(missing() <= FEW, "of the packets that the first site has sent the second has not got all");
    let rlocs = prefixes.map(|prefix| world.mapping(prefix).map(|(rloc, _)| rloc));
    assert_eq!(rlocs, [Some(XTRS[1].1.to_owned()), Some(XTRS[1].1.to_owned())]);
}

#[test]
fn what_crosses_goes_on_without_loss_while_the_map_system_is_stopped_for_more_than_a_minute() {
    if !support::root_or_skip() {
        return;
    }
    let _beside_others = support::beside_others();
    let mut world = World::new();
    for (xtr, prefix, host) in
        [(0, "10.1.0.0/24", "10.1.0.1"), (1, "10.2.0.0/24", HOST), (2, "10.3.0.0/24", "10.3.0.1")]
    {
        world.configure(XTRS[xtr], &[prefix], "source-check = \"strict\"");
        world.start_xtr(XTRS[xtr].0, host);
    }
    world.echo("b", HOST);
    world.warm_up(HOST);
    // From the third site packets go one way.
    let bind = |node: &str, host, port| {
        let bind = move || UdpSocket::bind((host, port)).unwrap();
        world.lab.namespace(node).unwrap().run(bind).unwrap()
    };
    let (source, sink) = (bind("c", "10.3.0.1", 0), bind("b", HOST, 9));
    sink.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    wait_for("packet that goes one way", || {
        source.send_to(b"first", (HOST, 9)).unwrap();
        sink.recv_from(&mut [0; 64]).ok()
    });
    // Those that waited for the verdict.
    while sink.recv_from(&mut [0; 64]).is_ok() {}
    let map_system = Pid::from_raw(world.running[0].id().try_into().unwrap());
    kill(map_system, Signal::SIGSTOP).unwrap();
    let both_ways = world.stream(("a", "10.1.0.1"), (HOST, 7), None);
    let one_way = world.stream(("c", "10.3.0.1"), (HOST, 9), Some(sink));
    let (both_ways, one_way) = (both_ways.end(), one_way.end());
    let rows = world.show("b", "registrations");
    let silent = rows[0]["confirmed_ago"].as_f64().unwrap();
    kill(map_system, Signal::SIGCONT).unwrap();
    println!("sent and arrived while the map system was silent for {silent} s: {both_ways:?}, one way {one_way:?}");
    for (sent, came) in [both_ways, one_way] {
        assert!(sent > 1000 && came == sent, "{came} of {sent}");
    }
    assert!(silent >= STOPPED.as_secs_f64(), "it answers: {rows}");
}
