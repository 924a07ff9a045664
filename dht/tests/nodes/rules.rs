// SPDX-License-Identifier: GPL-2.0-or-later
//! The program under the rules of a network: puzzle, key, clock.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network, OperationalKey, container};
use dht::shell::node::{Multiaddr, Node, NodeConfig};
use dht::shell::shelf;
use serde_json::Value;

const PASSWORD: &str = "correct horse";

fn key() -> OperationalKey {
    let now = SystemTime::now();
    Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap()
}

/// A folder with an operational key and its password.
fn desk() -> (tempfile::TempDir, OperationalKey) {
    let (folder, key) = (tempfile::tempdir().unwrap(), key());
    std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
    std::fs::write(
        folder.path().join("key.op.p12"),
        container::save_operational_under(container::Password::Random, &key, PASSWORD).unwrap(),
    )
    .unwrap();
    (folder, key)
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-dht"));
    command.current_dir(folder).args(arguments).env_remove("CGEID_PASSWORD");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn daemon(address: &str, more: &[&str]) -> Vec<String> {
    let usual =
        ["node", "--identity", "key.op.p12", "--password-file", "password", "--port", "0", "--state-dir", "state"];
    [&usual[..], &["--listen", address], more].concat().into_iter().map(str::to_owned).collect()
}

/// A daemon that has said where it listens.
struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn start(folder: &Path, address: &str, more: &[&str]) -> Self {
        let arguments = daemon(address, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = command(folder, &arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("/ip4/127."), "{line}");
        Self { child, address: line.trim().to_owned() }
    }

    /// Ends it; what it has logged.
    fn stop(mut self) -> String {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stats(folder: &Path) -> Value {
    let output = run(folder, &["stats", "--state-dir", "state", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn wrong_rules_are_named() {
    let (folder, _) = desk();
    std::fs::write(folder.path().join("no-key"), "secret").unwrap();
    for (flag, value) in [("--puzzle-bits", "33"), ("--network-key", "missing"), ("--network-key", "no-key")] {
        let arguments = daemon("127.91.1.1", &[flag, value]);
        let output = run(folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&flag[2..]), "{said}");
    }
}

#[test]
fn a_key_that_does_not_fit_is_told_which_command_helps() {
    let (folder, key) = desk();
    let daemon = Daemon::start(folder.path(), "127.95.1.1", &["--puzzle-bits", "28"]);
    let admission = &stats(folder.path())["admission"];
    assert_eq!((&admission["role"], &admission["puzzle_bits"]), (&"client".into(), &28.into()), "{admission}");
    let table = run(folder.path(), &["stats", "--state-dir", "state"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("role         client"));
    let log = daemon.stop();
    let helps = format!("cgeid delegate {}.p12 --puzzle-bits 28 --revision 1 --out", key.cn());
    assert_eq!(log.matches(&helps).count(), 1, "{log}");
}

#[test]
fn a_closed_network_is_for_who_has_its_key() {
    let (folder, owner) = desk();
    let secret: String = (0..32).map(|octet| format!("{octet:02x}")).collect();
    std::fs::write(folder.path().join("network.key"), secret).unwrap();
    let daemon = Daemon::start(folder.path(), "127.93.1.1", &["--network-key", "network.key"]);
    let address = daemon.address.as_str();
    let put = [
        "put",
        "--identity",
        "key.op.p12",
        "--password-file",
        "password",
        "--rloc",
        "192.0.2.1",
        "--bootstrap",
        address,
    ];
    let eid = owner.address().to_string();
    let get = ["get", &eid, "--verify", "--bootstrap", address];
    let with_key = ["--network-key", "network.key"];
    assert_eq!(run(folder.path(), &put).status.code(), Some(1), "a stranger has stored something");
    let stored = run(folder.path(), &[&put[..], &with_key].concat());
    assert_eq!(stored.status.code(), Some(0), "{}", String::from_utf8_lossy(&stored.stderr));
    assert_eq!(run(folder.path(), &get).status.code(), Some(1), "a stranger was given something");
    assert_eq!(run(folder.path(), &[&get[..], &with_key].concat()).status.code(), Some(0));
}

fn server(block: u8, bootstrap: &[Multiaddr]) -> Node {
    let config = NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, 64, block, 1))],
        port: 0,
        bootstrap: bootstrap.to_vec(),
        ..NodeConfig::server(&key())
    };
    shelf::start_node(config, Network::LAB, None).unwrap()
}

#[test]
fn a_clock_that_is_an_hour_behind_is_reported() {
    let first = server(1, &[]);
    let bootstrap = first.listen_addrs();
    let mut nodes: Vec<Node> = (2..=5).map(|block| server(block, &bootstrap)).collect();
    nodes.push(first);
    let (folder, _) = desk();
    // By its clock the certificates of the others do not hold yet, so that it finds nobody through the first.
    let addresses: Vec<String> = nodes.iter().map(|node| node.listen_addrs()[0].to_string()).collect();
    let mut more = vec!["--clock-offset", "-3600"];
    more.extend(addresses.iter().flat_map(|address| ["--bootstrap", address]));
    let daemon = Daemon::start(folder.path(), "127.94.9.1", &more);
    let begun = Instant::now();
    let clock = loop {
        let admission = stats(folder.path())["admission"].clone();
        if admission["clock_alarms"] == 1 {
            break admission["clock"].clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{admission}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(clock["state"], "wrong");
    let behind = clock["behind_ms"].as_i64().unwrap();
    assert!((behind - 3_600_000).abs() < 5000, "{clock}");
    let log = daemon.stop();
    assert!(log.contains("behind the clocks of its peers") && log.contains("nothing is published"), "{log}");
}
