// SPDX-License-Identifier: GPL-2.0-or-later
//! The built programs on loopback: two map systems that share a trust anchor and a DHT, a site, and `lig`.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::*;
use dht::shell::node::{NodeConfig, PeerId};
use dht::shell::shelf::start_node;
use wire::address::EidPrefix;
use wire::control::auth::Algorithm;
use wire::control::{ControlMessage, Ecm, MapNotify, MapRegister};

const SITES: &str = r#"
[[site]]
name = "a"
eid-prefix = ["2001:db8:a::/48"]
notify-port = "source"
key = [{ key-id = 1, algorithm = "hmac-sha256", secret = "secret of a" }]
"#;

/// A running `lisp-mapsys`, ended with the test.
struct Running {
    child: Child,
    listening: SocketAddr,
    bootstrap: Vec<String>,
    trust_anchors: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts on a free port of `address` and waits until it says that it is ready.
    fn start(state: &Path, address: &str, more: &[&str]) -> Self {
        Self::start_logging(Stdio::inherit(), state, address, more)
    }

    /// The same, with its log going there.
    fn start_logging(log: impl Into<Stdio>, state: &Path, address: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"))
            .args(["--listen", &format!("{address}:0"), "--dht-listen", address, "--dht-port", "0"])
            .arg("--state-dir")
            .arg(state)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut listening = None;
        let (mut bootstrap, mut trust_anchors) = (Vec::new(), Vec::new());
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            match line.split_once(' ') {
                Some(("listening", address)) => listening = Some(address.parse().unwrap()),
                Some(("--bootstrap", address)) => bootstrap.push(address.to_owned()),
                Some(("--trust-anchor", anchor)) => trust_anchors.push(anchor.to_owned()),
                _ => {}
            }
            if line == "ready" {
                break;
            }
        }
        let listening = listening.expect("it says where it listens");
        Self { child, listening, bootstrap, trust_anchors }
    }

    /// Ends it as a service manager does.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a clean end: {status}");
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_no_map_system() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let running = Running::start_logging(
        full,
        &folder.path().join("state"),
        "127.0.53.13",
        &["--config", &config_file(folder.path())],
    );
    assert!(exchange(running.listening, &sealed(1)).is_some());
    running.stop();
}

fn config_file(folder: &Path) -> String {
    let path = folder.join("sites.toml");
    std::fs::write(&path, SITES).unwrap();
    path.display().to_string()
}

fn sealed(nonce: u64) -> Vec<u8> {
    let message = register(nonce, vec![record(prefix("2001:db8:a::/48"), &["198.51.100.1"])]);
    seal(message, &key(1, Algorithm::HmacSha256, "secret of a"))
}

/// An answer comes in less, also on a machine that others use.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a Map-Register from a free port; the Map-Notify.
fn exchange(to: SocketAddr, bytes: &[u8]) -> Option<MapNotify> {
    exchange_within(PATIENCE, to, bytes)
}

/// The same, if one comes in time.
fn exchange_within(patience: Duration, to: SocketAddr, bytes: &[u8]) -> Option<MapNotify> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send_to(bytes, to).unwrap();
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    match ControlMessage::decode(&buffer[..length]).unwrap() {
        ControlMessage::MapNotify(notify) => Some(notify),
        other => panic!("{other:?}"),
    }
}

fn lig(resolver: SocketAddr, eid: &str) -> (Option<i32>, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_lig"))
        .args([eid, "--map-resolver", &resolver.to_string(), "--json"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text:?}")))
}

fn mapsys(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lisp-mapsys")).args(arguments).output().unwrap()
}

/// One site that registers what it likes inside its prefix.
const MANY: &str = r#"
[[site]]
name = "many"
eid-prefix = ["2001:db8::/32"]
accept-more-specifics = 48
publish = "aggregate"
notify-port = "source"
key = [{ key-id = 1, algorithm = "hmac-sha256", secret = "secret of many" }]
"#;

#[test]
fn a_long_list_is_shown_whole_in_order_and_counted() {
    const COUNT: u16 = 300;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sites.toml");
    std::fs::write(&config, MANY).unwrap();
    let running = Running::start(folder.path(), "127.0.53.9", &["--config", &config.display().to_string()]);
    let prefixes: Vec<_> = (0..COUNT).map(|n| prefix(&format!("2001:db8:{n:x}::/48"))).collect();
    let key = key(1, Algorithm::HmacSha256, "secret of many");
    for (nonce, prefixes) in (1..).zip(prefixes.chunks(20)) {
        let records = prefixes.iter().map(|prefix| record(*prefix, &["198.51.100.1"])).collect();
        exchange(running.listening, &seal(register(nonce, records), &key)).expect("a Map-Notify");
    }
    let show = |what: &str| -> serde_json::Value {
        let output = mapsys(&["show", what, "--json", "--state-dir", &folder.path().display().to_string()]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let registrations = show("registrations");
    let shown: Vec<&str> =
        registrations.as_array().unwrap().iter().map(|row| row["prefix"].as_str().unwrap()).collect();
    assert_eq!(shown, prefixes.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(show("sites")[0]["registered"], COUNT);
    assert_eq!(show("counters")["registrations"], COUNT);
    running.stop();
}

/// Map-Registers of new prefixes of [`MANY`], many at once, until nothing is confirmed any more.
struct Registering {
    /// Those that were confirmed.
    confirmed: Vec<EidPrefix>,
    /// Those that were not.
    lost: Vec<EidPrefix>,
    /// The next number of a prefix, and the next nonce.
    next: u64,
}

/// Registers prefixes from the number `next` on; every other Map-Register is one with T. Says once that 100 are confirmed.
fn register_under_load(to: SocketAddr, mut next: u64, running: &std::sync::mpsc::Sender<()>) -> Registering {
    const WINDOW: usize = 64;
    let key = key(1, Algorithm::HmacSha256, "secret of many");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut outstanding, mut confirmed) = (std::collections::BTreeMap::new(), Vec::new());
    let mut buffer = [0; 2048];
    loop {
        while outstanding.len() < WINDOW {
            let prefix = prefix(&format!("2001:db8:{next:x}::/48"));
            let message =
                MapRegister { use_ttl: next % 2 == 0, ..register(next, vec![record(prefix, &["198.51.100.1"])]) };
            // What was killed answers with an error.
            let _ = socket.send(&seal(message, &key));
            outstanding.insert(next, prefix);
            next += 1;
        }
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            // It is slow, or was killed: in that case its kernel says of the next datagram that nobody listens.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let _ = socket.send(&[0]);
                continue;
            }
            Err(_) => break,
        };
        let Ok(ControlMessage::MapNotify(notify)) = ControlMessage::decode(&buffer[..length]) else { continue };
        confirmed.extend(outstanding.remove(&notify.nonce.0));
        if confirmed.len() == 100 {
            running.send(()).unwrap();
        }
    }
    Registering { confirmed, lost: outstanding.into_values().collect(), next }
}

/// The locators that a map system answers with.
fn asked(at: SocketAddr, eid: &EidPrefix) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let eid = EidPrefix::host(eid.iid, eid.net.addr());
    let inner = SocketAddr::new("2001:db8:ffff::1".parse().unwrap(), socket.local_addr().unwrap().port());
    let request = request(7, &[eid], &["127.0.0.1"]).encode().unwrap();
    let ecm = Ecm::wrap(inner, SocketAddr::new(eid.net.addr(), 4342), request);
    socket.send_to(&ecm.encode().unwrap(), at).unwrap();
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer).expect("a Map-Reply");
    match ControlMessage::decode(&buffer[..length]).unwrap() {
        ControlMessage::MapReply(reply) => reply.records[0].locators.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_registration_that_was_confirmed_is_answered_after_a_kill_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sites.toml");
    std::fs::write(&config, MANY).unwrap();
    let more = ["--config", &config.display().to_string()].map(str::to_owned);
    let more = more.each_ref().map(String::as_str);
    let start = || Running::start(folder.path(), "127.0.53.11", &more);
    let (mut running, mut next, mut all) = (start(), 1, Vec::new());
    for _ in 0..3 {
        let (told, is_running) = std::sync::mpsc::channel();
        let to = running.listening;
        let load = std::thread::spawn(move || register_under_load(to, next, &told));
        is_running.recv_timeout(Duration::from_secs(60)).expect("Map-Notifies");
        running.child.kill().unwrap();
        let done = load.join().unwrap();
        assert!(!done.lost.is_empty(), "it was killed while there was something to do");
        all.extend(done.confirmed);
        next = done.next;
        running = start();
        let unanswered: Vec<_> = all.iter().filter(|prefix| asked(running.listening, prefix) != 1).collect();
        assert!(unanswered.is_empty(), "{} of {} are lost: {unanswered:?}", unanswered.len(), all.len());
    }
    running.stop();
}

#[test]
fn what_is_registered_at_one_is_found_through_the_other_and_a_restart_forgets_no_nonce() {
    let (home, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sites = config_file(home.path());
    let first = Running::start(home.path(), "127.0.53.1", &["--config", &sites]);
    let [anchor] = first.trust_anchors.as_slice() else { panic!("{:?}", first.trust_anchors) };
    assert!(anchor.starts_with("2001:db8:a::/48="), "{anchor}");
    let (anchor, bootstrap) = (anchor.clone(), first.bootstrap[0].clone());
    let join = ["--bootstrap", bootstrap.as_str(), "--trust-anchor", anchor.as_str()];
    let second = Running::start(away.path(), "127.0.53.2", &join);

    assert_eq!(exchange(first.listening, &sealed(5)).expect("a Map-Notify").nonce.0, 5);
    let begun = Instant::now();
    let answer = loop {
        let (code, answer) = lig(second.listening, "2001:db8:a::2");
        if code == Some(0) {
            break answer;
        }
        assert!(begun.elapsed() < 3 * PATIENCE, "{answer}");
    };
    assert_eq!(answer["prefix"], "2001:db8:a::/48");
    assert_eq!(answer["locators"][0]["address"], "198.51.100.1");
    assert_eq!(answer["authoritative"], false);
    assert_eq!(answer["from"], "127.0.53.2");

    let state = home.path().display().to_string();
    let shown = mapsys(&["show", "registrations", "--state-dir", &state, "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown[0]["prefix"], "2001:db8:a::/48");

    first.stop();
    let again = Running::start(home.path(), "127.0.53.1", &["--config", &sites]);
    assert_eq!(again.trust_anchors, [anchor], "the identity is kept");
    assert!(
        exchange_within(Duration::from_secs(2), again.listening, &sealed(4)).is_none(),
        "an old nonce after a restart"
    );
    assert!(exchange(again.listening, &sealed(6)).is_some());
    let shown = mapsys(&["show", "counters", "--state-dir", &state, "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["refusals"]["register-replayed"], 1, "{shown}");
}

#[test]
fn lig_says_1_when_there_is_no_mapping_and_no_answer() {
    let home = tempfile::tempdir().unwrap();
    let sites = config_file(home.path());
    let running = Running::start(home.path(), "127.0.53.3", &["--config", &sites]);
    let (code, answer) = lig(running.listening, "2001:db8:a::2");
    assert_eq!((code, &answer["action"]), (Some(1), &"natively-forward".into()));
    assert_eq!(answer["ttl_minutes"], 1);
    let (code, answer) = lig(running.listening, "2001:db9::2");
    assert_eq!((code, &answer["ttl_minutes"]), (Some(1), &15.into()));

    let nobody = UdpSocket::bind("127.0.53.4:0").unwrap();
    let silent = nobody.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_lig"))
        .args(["10.0.0.1", "--map-resolver", &silent, "--count", "1", "--timeout", "0.2"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("No map-reply"));
}

/// Its ITR-RLOC is behind the NAT that 127.0.53.60 stands for here: the answer comes to the socket that asked.
#[test]
fn who_asks_from_behind_a_nat_is_answered_at_its_address_and_port() {
    let home = tempfile::tempdir().unwrap();
    let sites = config_file(home.path());
    let running = Running::start(home.path(), "127.0.53.59", &["--config", &sites]);
    let nat = UdpSocket::bind("127.0.53.60:0").unwrap();
    nat.set_read_timeout(Some(PATIENCE)).unwrap();
    let asks =
        |nonce, rlocs: &[&str]| nat.send_to(&ecm(&request(nonce, &[host("2001:db9::2")], rlocs)), running.listening);
    asks(1, &["10.0.0.5", "203.0.113.9"]).unwrap();
    asks(2, &["10.0.0.5"]).unwrap();
    let mut buffer = [0; 2048];
    let (length, from) = nat.recv_from(&mut buffer).expect("a Map-Reply");
    assert_eq!(from, running.listening);
    let ControlMessage::MapReply(told) = ControlMessage::decode(&buffer[..length]).unwrap() else { panic!() };
    assert_eq!(told.nonce.0, 2, "the other one names somebody in public");
    let shown = mapsys(&["show", "counters", "--state-dir", &home.path().display().to_string(), "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["refusals"]["foreign-not-from-itr"], 1, "{shown}");
}

#[test]
fn several_workers_answer_each_his_own_and_end_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sites.toml").display().to_string();
    std::fs::write(&config, format!("workers = 3\nclients = [\"127.0.0.0/8\"]\n{SITES}")).unwrap();
    let more = ["--config", &config];
    let running = Running::start(&folder.path().join("state"), "127.0.53.34", &more);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", running.child.id())).unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    // Who writes to the disk has that name too.
    assert!(names.filter(|name| name.trim() == "serve").count() >= 3);
    assert!(exchange(running.listening, &sealed(1)).is_some());
    let asked: Vec<_> = (0..4_u64)
        .map(|who| {
            std::thread::spawn({
                let to = running.listening;
                move || ask_many(to, who << 32, 64)
            })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.join().unwrap(), 64);
    }
    running.stop();
}

/// Map-Requests from one socket, sixteen at a time; how many had their own answer.
fn ask_many(to: SocketAddr, first: u64, count: u64) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let itr = SocketAddr::new("2001:db8:1::1".parse().unwrap(), socket.local_addr().unwrap().port());
    let nonces: Vec<u64> = (first..first + count).collect();
    let mut own = 0;
    for asked in nonces.chunks(16) {
        for nonce in asked {
            let message = request(*nonce, &[host("2001:db8:a::1")], &["127.0.0.1"]).encode().unwrap();
            let destination = address("[2001:db8:a::1]:4342");
            socket.send_to(&Ecm::wrap(itr, destination, message).encode().unwrap(), to).unwrap();
        }
        let mut answered: Vec<u64> = (0..asked.len()).map(|_| nonce_of_positive(&socket)).collect();
        answered.sort_unstable();
        own += asked.iter().filter(|nonce| answered.binary_search(nonce).is_ok()).count();
    }
    own
}

/// The nonce of the next answer, which has a locator.
fn nonce_of_positive(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    match ControlMessage::decode(&buffer[..length]).unwrap() {
        ControlMessage::MapReply(reply) if reply.records[0].locators.len() == 1 => reply.nonce.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn wrong_usage_is_2_and_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, "listen = [\"127.0.53.5\"]\ntrust-anchr = []\n").unwrap();
    let bad = mapsys(&["check", "--config", &path.display().to_string()]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("trust-anchr"), "{bad:?}");
    let none = mapsys(&["check"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("--listen"));
    let good = mapsys(&["check", "--listen", "127.0.53.5", "--trust-anchor", "2001:db8::/32=0f2c8a3454a468b75f32e76a"]);
    assert!(good.status.success());
    assert!(String::from_utf8_lossy(&good.stdout).contains("trusts 0f2c8a3454a468b75f32e76a for 2001:db8::/32"));
    let good = mapsys(&["check", "--listen", "127.0.53.5", "--json"]);
    let means: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(means["means"][0], "serves Map-Registers and Map-Requests at UDP 127.0.53.5:4342");
    let many = mapsys(&["check", "--listen", "127.0.53.5", "--workers", "65"]);
    assert_eq!(many.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&many.stderr).contains("workers"), "{many:?}");
    let missing = mapsys(&["check", "--listen", "127.0.53.5", "--identity", "/nowhere/x.op.p12"]);
    assert_eq!(missing.status.code(), Some(2));
    let asked = mapsys(&["show", "sites", "--state-dir", "/nowhere"]);
    assert_eq!(asked.status.code(), Some(1));
    let lig =
        Command::new(env!("CARGO_BIN_EXE_lig")).args(["example", "--map-resolver", "127.0.0.1"]).output().unwrap();
    assert_eq!(lig.status.code(), Some(2));
}

#[test]
fn sites_with_one_secret_are_named_by_check_at_start_and_at_reload() {
    const NAMED: &str = "sites \"a\" and \"b\" have one secret";
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (config, log) = (path("sites.toml").display().to_string(), path("log"));
    let site = |name: &str, secret: &str| {
        format!(
            "[[site]]\nname = \"{name}\"\neid-prefix = [\"2001:db8:{name}::/48\"]\nkey = [{{ secret = \"{secret}\" }}]\n"
        )
    };
    let with = |of_b: &str| std::fs::write(&config, site("a", "of a") + &site("b", of_b)).unwrap();
    let check =
        || String::from_utf8(mapsys(&["check", "--listen", "127.0.53.10", "--config", &config]).stdout).unwrap();
    with("of b");
    assert!(!check().contains("one secret"), "{}", check());
    with("of a");
    assert!(check().contains(&format!("warning: {NAMED}")), "{}", check());

    let named = || std::fs::read_to_string(&log).unwrap().matches(NAMED).count();
    let file = std::fs::File::create(&log).unwrap();
    let running = Running::start_logging(file, &path("state"), "127.0.53.10", &["--config", &config]);
    assert_eq!(named(), 1, "at start");
    for (of_b, times) in [("of b", 1), ("of a", 2)] {
        with(of_b);
        let reloaded = mapsys(&["reload", "--state-dir", &path("state").display().to_string()]);
        assert!(reloaded.status.success(), "{reloaded:?}");
        assert_eq!(named(), times, "with the secret {of_b:?}");
    }
    running.stop();
}

/// Whether the DHT node at an address has this key.
fn answers_as(place: &str, key: &[u8; 32], patience: Duration) -> bool {
    let peer = PeerId::from_bytes(&dht::admit::judge::node_id(key)).unwrap();
    let bootstrap = vec![format!("{place}/p2p/{peer}").parse().unwrap()];
    let node = start_node(NodeConfig { bootstrap, ..NodeConfig::ephemeral() }, cgeid::Network::LAB, None).unwrap();
    let started = Instant::now();
    while node.peer_set().peers == 0 {
        if started.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn a_later_operational_key_beside_the_one_given_is_taken_at_sighup() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let now = std::time::SystemTime::now();
    let identity = cgeid::Identity::generate_ed25519(cgeid::Network::LAB, now).unwrap();
    let write = |name: String, revision| {
        let key = identity.delegate_revision(now, 0, revision).unwrap();
        let path = folder.path().join(name);
        std::fs::write(
            &path,
            cgeid::container::save_operational_under(cgeid::container::Password::Random, &key, "pw").unwrap(),
        )
        .unwrap();
        (path.display().to_string(), key)
    };
    let (given, key) = write(cgeid::container::operational_file_name(identity.cn()), 0);
    let epoch = key.epoch();
    let password = folder.path().join("pw");
    std::fs::write(&password, "pw").unwrap();
    let sites = config_file(state.path());
    let more = ["--config", &sites, "--identity", &given, "--password-file", password.to_str().unwrap()];
    let daemon = Running::start(state.path(), "127.0.53.9", &more);
    let shown = || {
        let output = mapsys(&["show", "identities", "--json", "--state-dir", state.path().to_str().unwrap()]);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()[0].clone()
    };
    assert_eq!((&shown()["epoch"], &shown()["registrar"]), (&epoch.into(), &true.into()));

    let (_, later) = write(format!("{}.op.{}.p12", identity.cn(), epoch + 1), 1);
    let pid = daemon.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let started = Instant::now();
    while shown()["epoch"] != epoch + 1 {
        assert!(started.elapsed() < PATIENCE, "the later key is not used: {}", shown());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(shown()["keys"], "ok");
    let place = daemon.bootstrap[0].rsplit_once("/p2p/").unwrap().0;
    let named = |key: &cgeid::OperationalKey| key.certificate().key().ed25519().unwrap();
    assert!(answers_as(place, &named(&later), PATIENCE), "the DHT node goes on under the later key");
    assert!(!answers_as(place, &named(&key), Duration::from_secs(2)), "and not under the old one");
    daemon.stop();
}

#[test]
fn what_is_to_be_logged_is_refused_where_it_is_no_list_of_levels_of_parts() {
    let checked = |list: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-mapsys"));
        let output = command.arg("check").env("RUST_LOG", list).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for list in ["info,x[=1", "[{peer}]=debug", "warn, xtr=debug"] {
        let (status, said) = checked(list);
        assert!(status == Some(2) && said.contains("RUST_LOG") && said.contains("no part of a program"), "{said}");
    }
    let (_, said) = checked("warn,dht::store=debug");
    assert!(!said.contains("RUST_LOG"), "{said}");
}
