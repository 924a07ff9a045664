// SPDX-License-Identifier: GPL-2.0-or-later
//! A plain `lisp-xtr` in a network namespace whose Map-Servers, keys and Map-Resolvers change while it runs; the test plays them. Needs
//! root and `/dev/net/tun`; says so and passes without, unless `CI` is set.

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::namespace::{Node, PATIENCE, in_namespace, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister, Nonce};
use wire::record::{MappingRecord, Ttl};

const RLOC: &str = "192.0.2.1";
const FIRST: &str = "203.0.113.10";
const SECOND: &str = "203.0.113.11";

#[test]
fn map_servers_keys_and_resolvers_change_while_the_node_runs() {
    in_namespace(&[RLOC, FIRST, SECOND], map_systems_change);
}

#[test]
fn what_the_operator_has_subscribed_to_changes_while_the_node_runs() {
    in_namespace(&[RLOC, FIRST], subscriptions_change);
}

/// A Map-Server at this address, for the test to play.
fn server(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address, 4342)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn subscriptions_change() {
    let folder = tempfile::tempdir().unwrap();
    let first = server(FIRST);
    let subscribe = |more: &str| {
        configure(folder.path(), &[FIRST], "one");
        let path = folder.path().join("xtr.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}subscribe = [{FIRST:?}]\n{more}")).unwrap();
    };
    subscribe("");
    let node = Xtr::start(folder.path());
    let registered = receive(&first, "one");
    confirm(&first, &registered, "one");
    let other = EidPrefix { iid: InstanceId(0), net: "10.9.0.0/16".parse().unwrap() };
    let tell = |nonce: u64, rloc: &str| {
        let mut record = MappingRecord { eid: other.into(), ..registered.1.records[0].clone() };
        record.locators[0].rloc = rloc.parse::<IpAddr>().unwrap().into();
        let notify = MapNotify { nonce: Nonce(nonce), records: vec![record], ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::MapNotify(notify), &key("one"), TagForm::Truncated).unwrap();
        first.send_to(&bytes, &registered.0).unwrap();
    };
    let is_known = |rloc: &str| node.show("map-cache").to_string().contains(rloc);
    let stays_unknown = |rloc: &str| {
        (0..10).all(|_| {
            std::thread::sleep(Duration::from_millis(100));
            !is_known(rloc)
        })
    };
    tell(41, "198.51.100.1");
    assert!(stays_unknown("198.51.100.1"));
    for (more, nonce, rloc, taken) in [
        ("subscribed = [\"10.9.0.0/16=40\"]", 41, "198.51.100.1", true),
        ("", 42, "198.51.100.2", false),
        ("take-unsubscribed = \"on\"", 42, "198.51.100.2", true),
    ] {
        subscribe(more);
        let said = node.verb(&["reload"]);
        assert!(said.status.success(), "{said:?}");
        // Nobody has asked for it.
        tell(nonce, rloc);
        if taken {
            wait_for("what was told is installed", || is_known(rloc).then_some(()));
        } else {
            assert!(stays_unknown(rloc), "{more}");
        }
    }
    configure(folder.path(), &[FIRST], "one");
    let refused = node.verb(&["reload"]);
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("subscribe:"),
        "{refused:?}"
    );
}

fn map_systems_change() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = [FIRST, SECOND].map(server);
    configure(folder.path(), &[FIRST], "one");
    let xtr = Xtr::start(folder.path());
    register_at(&first, FIRST, &xtr);

    configure(folder.path(), &[FIRST, SECOND], "one");
    let said = xtr.verb(&["reload"]);
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.ends_with("; Map-Servers added: 203.0.113.11; removed: none\n"), "{text}");
    register_at(&second, SECOND, &xtr);
    first.set_nonblocking(true).unwrap();
    assert!(first.recv(&mut [0; 2048]).is_err(), "the one that stays hears nothing");
    first.set_nonblocking(false).unwrap();

    configure(folder.path(), &[SECOND], "two");
    xtr.node.signal(Signal::SIGHUP);
    let withdrawal = receive(&first, "one");
    assert!(withdrawal.1.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN), "{withdrawal:?}");
    confirm(&first, &withdrawal, "one");
    let under_the_new_key = receive(&second, "two");
    assert!(under_the_new_key.1.records.iter().all(|record| record.ttl != Ttl::WITHDRAWN));
    confirm(&second, &under_the_new_key, "two");
    wait_for("registration at the second alone", || {
        let shown = xtr.show("registrations");
        let [row] = shown["registrations"].as_array().unwrap().as_slice() else { return None };
        (row["server"] == SECOND && !row["confirmed_ago"].is_null()).then_some(())
    });

    std::fs::write(folder.path().join("key.toml"), "algorithm = \"none\"").unwrap();
    let refused = xtr.verb(&["reload"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("key-file"), "{refused:?}");
    assert_eq!(xtr.show("registrations")["registrations"][0]["server"], SECOND, "nothing has changed");
}

fn configure(folder: &Path, servers: &[&str], secret: &str) {
    let key = folder.join("key.toml");
    std::fs::write(&key, format!("algorithm = \"hkdf-sha256\"\nsecret = {secret:?}\n")).unwrap();
    let text = format!(
        "eid-prefix = [\"10.1.0.0/16\"]\nrloc = [{RLOC:?}]\ntun = \"lispt\"\nmap-server = {servers:?}\nkey-file = [{key:?}]\n"
    );
    std::fs::write(folder.join("xtr.toml"), text).unwrap();
}

/// A running node, and its folder.
struct Xtr {
    node: Node,
    state: PathBuf,
}

impl Xtr {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.arg("--config").arg(folder.join("xtr.toml")).arg("--state-dir").arg(folder.join("state"));
        Self { node: Node(command.spawn().unwrap()), state: folder.join("state") }
    }

    fn verb(&self, verb: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.args(verb).arg("--state-dir").arg(&self.state).output().unwrap()
    }

    fn show(&self, table: &str) -> Value {
        serde_json::from_slice(&self.verb(&["show", table, "--json"]).stdout).unwrap()
    }
}

fn key(secret: &str) -> AuthKey {
    AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new(secret) }
}

fn receive(server: &UdpSocket, secret: &str) -> (String, MapRegister) {
    let mut buffer = [0; 2048];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    auth::verify(&buffer[..length], &key(secret), Accept::STRICT).unwrap();
    (from.to_string(), MapRegister::decode(&buffer[..length]).unwrap())
}

/// Confirms what comes, and comes again, until the node knows it; nothing is left to be read.
fn register_at(server: &UdpSocket, address: &str, xtr: &Xtr) {
    confirm(server, &receive(server, "one"), "one");
    server.set_nonblocking(true).unwrap();
    wait_for("confirmation", || {
        while server.peek(&mut [0; 1]).is_ok() {
            confirm(server, &receive(server, "one"), "one");
        }
        let shown = xtr.show("registrations");
        let rows = shown["registrations"].as_array().unwrap();
        rows.iter().any(|row| row["server"] == address && !row["confirmed_ago"].is_null()).then_some(())
    });
    while server.recv(&mut [0; 2048]).is_ok() {}
    server.set_nonblocking(false).unwrap();
}

fn confirm(server: &UdpSocket, (to, register): &(String, MapRegister), secret: &str) {
    let notify = MapNotify { nonce: register.nonce, records: register.records.clone(), ..MapNotify::default() };
    let bytes = auth::seal(&ControlMessage::MapNotify(notify), &key(secret), TagForm::Truncated).unwrap();
    server.send_to(&bytes, to).unwrap();
}
