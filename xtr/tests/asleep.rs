// SPDX-License-Identifier: GPL-2.0-or-later
//! A node whose machine has slept for ten minutes, in a network namespace of its own, with a map system played by the test: it registers at
//! once, takes no mapping for one that holds still, and subscribes anew. Needs root and `/dev/net/tun`; says so and passes without, unless `CI` is set.
//! The clock that it moves is that of the process, which has no other nodes.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod namespace;
#[path = "namespace/program.rs"]
#[allow(dead_code, reason = "this node is in the process of the test, which asks it itself")]
mod program;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use namespace::{PATIENCE, in_namespace, wait_for};
use program::{key, key_file};
use serde_json::Value;
use tokio::sync::oneshot;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, TagForm};
use wire::control::{ControlMessage, MapNotify, MapReply, MapRequest};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};
use xtr::config::{Config, Flags, Table};
use xtr::shell::clock;
use xtr::shell::identities::Changes;
use xtr::shell::temporary::SystemClocks;

const RLOC: &str = "192.0.2.1";
const SERVER: &str = "203.0.113.10";
/// In the site.
const HOST: &str = "10.1.0.1";
const OTHER: &str = "10.2.0.1:9";
const ASLEEP: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(100);
/// Of the mapping of others.
const TTL: Ttl = Ttl(5);

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Registration,
    Question,
    Subscription,
}

#[test]
fn after_a_sleep_a_node_registers_at_once_and_asks_anew_for_what_has_ended_meanwhile() {
    in_namespace(&[RLOC, SERVER, HOST], || {
        let folder = tempfile::tempdir().unwrap();
        let server = UdpSocket::bind((SERVER, 4342)).unwrap();
        let (sender, heard) = mpsc::channel();
        // It ends with the process.
        std::thread::spawn(move || serve(&server, &sender));
        let (stop, stopped) = oneshot::channel::<()>();
        let path = folder.path().to_owned();
        let script = std::thread::spawn(move || {
            sleeps(&path, &heard);
            stop.send(()).unwrap();
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stopped = async { drop(stopped.await) };
        let node = xtr::shell::run_with(config(folder.path()), Changes::default(), SystemClocks, stopped);
        runtime.block_on(node).unwrap();
        script.join().unwrap();
    });
}

fn config(folder: &Path) -> Config {
    let flags = Flags {
        eid_prefix: vec!["10.1.0.0/24".into()],
        map_server: vec![SERVER.into()],
        map_resolver: vec![SERVER.into()],
        subscribe: vec![SERVER.into()],
        xtr_id: Some("00112233445566778899aabbccddeeff".into()),
        key_file: vec![key_file(folder)],
        rloc: vec![RLOC.into()],
        tun: Some("lispt".into()),
        state_dir: Some(folder.join("state")),
        ..Flags::default()
    };
    Config::load(&flags).unwrap()
}

fn sleeps(folder: &Path, heard: &mpsc::Receiver<Heard>) {
    let socket = folder.join("state/control.sock");
    let confirmed = || Some(!show(&socket, Table::Registrations)["registrations"][0]["confirmed_ago"].is_null());
    wait_for("registration", || confirmed().filter(|is_so| *is_so));
    let host = UdpSocket::bind((HOST, 0)).unwrap();
    let send = || drop(host.send_to(&[0], OTHER));
    let is_cached = || !show(&socket, Table::MapCache)["map-cache"].as_array().is_none_or(Vec::is_empty);
    wait_for("mapping", || {
        send();
        is_cached().then_some(())
    });
    let is_subscribed = || show(&socket, Table::MapCache).to_string().contains("\"subscribed\"");
    wait_for("first subscription", || {
        send();
        is_subscribed().then_some(())
    });
    while heard.try_recv().is_ok() {}

    let before = (clock::now(), Instant::now());
    clock::pretend_sleep(ASLEEP);
    let passed = (clock::now() - before.0, before.1.elapsed());
    assert!(passed.0 >= ASLEEP && passed.1 < ASLEEP, "{passed:?}");
    assert!(!is_cached(), "it holds for five minutes");
    // Any question makes the node look at its clock, as the end of a sleep does.
    wait_for("Map-Register", || (heard.recv_timeout(PATIENCE) == Ok(Heard::Registration)).then_some(()));
    send();
    wait_for("Map-Request", || (heard.recv_timeout(PATIENCE) == Ok(Heard::Question)).then_some(()));

    wait_for("subscription", || is_subscribed().then_some(()));
    while heard.try_recv().is_ok() {}
    // The mapping lives on, and the subscription would be renewed later; the Map-Server may have ended it.
    clock::pretend_sleep(SHORT);
    wait_for("Map-Request with the N-bit", || {
        is_subscribed();
        heard.try_iter().any(|what| what == Heard::Subscription).then_some(())
    });
}

fn show(socket: &PathBuf, table: Table) -> Value {
    xtr::shell::ask(socket, table).unwrap_or_default()
}

/// Confirms what is registered, and answers for all that is asked for.
fn serve(socket: &UdpSocket, heard: &mpsc::Sender<Heard>) {
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let (what, answer, to) = match ControlMessage::decode(&buffer[..length]).unwrap() {
            ControlMessage::MapRegister(register) => {
                let notify = MapNotify { nonce: register.nonce, records: register.records, ..MapNotify::default() };
                (Heard::Registration, auth::seal(&notify.into(), &key(), TagForm::Truncated).unwrap(), from)
            }
            ControlMessage::Ecm(ecm) => {
                let request = MapRequest::decode(&ecm.message).unwrap();
                // Who gives a subscription back names none.
                let Some(rloc) = request.itr_rlocs[0].ip() else { continue };
                let to = SocketAddr::new(rloc, 4342);
                let reply = answer(&request);
                if request.records[0].notify {
                    let notify = MapNotify { nonce: reply.nonce, records: reply.records, ..MapNotify::default() };
                    (Heard::Subscription, auth::seal(&notify.into(), &key(), TagForm::Truncated).unwrap(), to)
                } else {
                    (Heard::Question, reply.encode().unwrap(), to)
                }
            }
            // A withdrawal is acknowledged, and the like.
            _ => continue,
        };
        // Nobody listens when the test is over.
        let _ = (socket.send_to(&answer, to), heard.send(what));
    }
}

fn answer(request: &MapRequest) -> MapReply {
    let rloc: IpAddr = "192.0.2.99".parse().unwrap();
    let record = MappingRecord {
        ttl: TTL,
        action: Action::NoAction,
        authoritative: true,
        map_version: MapVersion::default(),
        eid: EidPrefix { iid: InstanceId(0), net: "10.2.0.0/24".parse().unwrap() }.into(),
        locators: vec![LocatorRecord::new(rloc, 1, 100)],
    };
    MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() }
}
