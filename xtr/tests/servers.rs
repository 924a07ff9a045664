// SPDX-License-Identifier: GPL-2.0-or-later
//! A plain `lisp-xtr` in a network namespace whose Map-Servers, keys and Map-Resolvers change while it runs; the test plays them. Needs
//! root and `/dev/net/tun`; says so and passes without, unless `CI` is set.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use rtnetlink::LinkUnspec;
use serde_json::Value;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister, Nonce};
use wire::record::{MappingRecord, Ttl};

const RLOC: &str = "192.0.2.1";
const FIRST: &str = "203.0.113.10";
const SECOND: &str = "203.0.113.11";
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn map_servers_keys_and_resolvers_change_while_the_node_runs() {
    run_in_namespace(map_systems_change);
}

#[test]
fn what_the_operator_has_subscribed_to_changes_while_the_node_runs() {
    run_in_namespace(subscriptions_change);
}

fn run_in_namespace(test: fn()) {
    if !Uid::effective().is_root() || !Path::new("/dev/net/tun").exists() {
        assert!(std::env::var_os("CI").is_none(), "CI is set, and this test needs root and /dev/net/tun");
        eprintln!("SKIP: needs root and /dev/net/tun");
        return;
    }
    // A thread of its own: the namespace ends with it.
    let in_namespace = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(address_loopback());
        test();
    };
    std::thread::spawn(in_namespace).join().unwrap();
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
    let node = Node::start(folder.path());
    let registered = receive(&first, "one");
    confirm(&first, &registered, "one");
    let other = EidPrefix { iid: InstanceId(0), net: "10.9.0.0/16".parse().unwrap() };
    // Whether this locator, which nobody has asked for, is installed when it is told under this nonce.
    let is_taken = |nonce: u64, rloc: &str| {
        let mut record = MappingRecord { eid: other.into(), ..registered.1.records[0].clone() };
        record.locators[0].rloc = rloc.parse::<IpAddr>().unwrap().into();
        let notify = MapNotify { nonce: Nonce(nonce), records: vec![record], ..MapNotify::default() };
        let bytes = auth::seal(&ControlMessage::MapNotify(notify), &key("one"), TagForm::Truncated).unwrap();
        first.send_to(&bytes, &registered.0).unwrap();
        let is_known = || node.show("map-cache").to_string().contains(rloc);
        (0..10).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            is_known()
        })
    };
    assert!(!is_taken(41, "198.51.100.1"));
    for (more, nonce, rloc, taken) in [
        ("subscribed = [\"10.9.0.0/16=40\"]", 41, "198.51.100.1", true),
        ("", 42, "198.51.100.2", false),
        ("take-unsubscribed = \"on\"", 42, "198.51.100.2", true),
    ] {
        subscribe(more);
        let said = node.verb(&["reload"]);
        assert!(said.status.success(), "{said:?}");
        assert_eq!(is_taken(nonce, rloc), taken, "{more}");
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
    let node = Node::start(folder.path());
    confirm(&first, &receive(&first, "one"), "one");

    configure(folder.path(), &[FIRST, SECOND], "one");
    let said = node.verb(&["reload"]);
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.ends_with("; Map-Servers added: 203.0.113.11; removed: none\n"), "{text}");
    confirm(&second, &receive(&second, "one"), "one");
    first.set_nonblocking(true).unwrap();
    assert!(first.recv(&mut [0; 2048]).is_err(), "the one that stays hears nothing");
    first.set_nonblocking(false).unwrap();

    configure(folder.path(), &[SECOND], "two");
    kill(Pid::from_raw(node.0.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
    let withdrawal = receive(&first, "one");
    assert!(withdrawal.1.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN), "{withdrawal:?}");
    confirm(&first, &withdrawal, "one");
    let under_the_new_key = receive(&second, "two");
    assert!(under_the_new_key.1.records.iter().all(|record| record.ttl != Ttl::WITHDRAWN));
    confirm(&second, &under_the_new_key, "two");
    let started = Instant::now();
    loop {
        let rows = node.show("registrations");
        let rows = rows["registrations"].as_array().unwrap().clone();
        if rows.len() == 1 && rows[0]["server"] == SECOND && !rows[0]["confirmed_ago"].is_null() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{rows:?}");
        std::thread::sleep(Duration::from_millis(20));
    }

    std::fs::write(folder.path().join("key.toml"), "algorithm = \"none\"").unwrap();
    let refused = node.verb(&["reload"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("key-file"), "{refused:?}");
    assert_eq!(node.show("registrations")["registrations"][0]["server"], SECOND, "nothing has changed");
}

fn configure(folder: &Path, servers: &[&str], secret: &str) {
    let key = folder.join("key.toml");
    std::fs::write(&key, format!("algorithm = \"hkdf-sha256\"\nsecret = {secret:?}\n")).unwrap();
    let text = format!(
        "eid-prefix = [\"10.1.0.0/16\"]\nrloc = [{RLOC:?}]\ntun = \"lispt\"\nmap-server = {servers:?}\nkey-file = [{key:?}]\n"
    );
    std::fs::write(folder.join("xtr.toml"), text).unwrap();
}

/// A running node; a test that ends early leaves none behind.
struct Node(Child, std::path::PathBuf);

impl Node {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.arg("--config").arg(folder.join("xtr.toml")).arg("--state-dir").arg(folder.join("state"));
        Self(command.spawn().unwrap(), folder.join("state"))
    }

    fn verb(&self, verb: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.args(verb).arg("--state-dir").arg(&self.1).output().unwrap()
    }

    fn show(&self, table: &str) -> Value {
        serde_json::from_slice(&self.verb(&["show", table, "--json"]).stdout).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
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

fn confirm(server: &UdpSocket, (to, register): &(String, MapRegister), secret: &str) {
    let notify = MapNotify { nonce: register.nonce, records: register.records.clone(), ..MapNotify::default() };
    let bytes = auth::seal(&ControlMessage::MapNotify(notify), &key(secret), TagForm::Truncated).unwrap();
    server.send_to(&bytes, to).unwrap();
}

async fn address_loopback() {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let task = tokio::spawn(connection);
    handle.link().set(LinkUnspec::new_with_index(1).up().build()).execute().await.unwrap();
    for address in [RLOC, FIRST, SECOND] {
        let address: IpAddr = address.parse().unwrap();
        handle.address().add(1, address, 32).execute().await.unwrap();
    }
    task.abort();
}
