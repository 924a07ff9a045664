// SPDX-License-Identifier: GPL-2.0-or-later
//! A part of the EID-prefix of a `lisp-xtr` has moved to another xTR: its packets go there, those of a host that stayed and those of an
//! ITR that has not heard of it. In a network namespace, with the Map-Server, the Map-Resolver, the other xTR and the ITR played by the test.
//! Needs root and `/dev/net/tun`; says so and passes without, unless `CI` is set.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::namespace::{Node, in_namespace, wait_for};
use crate::program::{key, key_file};
use nix::sys::signal::Signal;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, TagForm};
use wire::control::{ControlMessage, MapNotify, MapReply, MapRequest, Nonce};
use wire::data::{IpPacket, Ipv4Header, LispHeader, TrafficClass};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

const RLOC: &str = "192.0.2.1";
const SERVER: &str = "203.0.113.10";
/// Another Map-Server, which falls silent.
const SILENT: &str = "203.0.113.11";
/// The RLOC of the next xTR.
const NEXT: &str = "192.0.2.2";
/// The RLOC of an ITR.
const ITR: &str = "192.0.2.3";
/// A host that stayed, one that has moved with its prefix, and one of another site.
const HOST: &str = "10.1.9.9";
const MOVED: &str = "10.1.2.3";
const STRANGER: &str = "10.7.0.1";
const SITE: &str = "10.1.0.0/16";
const PART: &str = "10.1.2.0/24";

#[test]
fn packets_to_a_part_that_has_moved_follow_it_in_both_tiers() {
    for tier in ["0", "1"] {
        in_namespace(&[RLOC, SERVER, NEXT, ITR, HOST], move || packets_follow(tier));
    }
}

#[test]
fn a_node_ends_though_a_map_server_that_is_silent_had_its_prefix_and_another_has_given_it_away() {
    in_namespace(&[RLOC, SERVER, SILENT, NEXT], || {
        let directory = tempfile::tempdir().unwrap();
        let [server, silent] = [SERVER, SILENT].map(|address| UdpSocket::bind((address, 4342)).unwrap());
        [&server, &silent].iter().for_each(|of| of.set_read_timeout(Some(Duration::from_millis(50))).unwrap());
        let mut node = start_with(directory.path(), &["--map-server", SILENT]);
        for server in [&server, &silent] {
            wait_for("Map-Register", || {
                let Some(ControlMessage::MapRegister(register)) = take(server) else { return None };
                tell(server, register.nonce, register.records);
                Some(())
            });
        }
        says_of(&server, SITE, 1, vec![next_rloc()]);
        assert!(!is_led(SITE), "as long as the other Map-Server has it");
        node.signal(Signal::SIGTERM);
        let ended = wait_for("end", || node.0.try_wait().unwrap());
        assert!(ended.success() && !is_led(SITE), "it has taken its rules along: {ended}");
    });
}

fn packets_follow(tier: &str) {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let [server, next] = [(SERVER, 4342), (NEXT, 4341)].map(|address| UdpSocket::bind(address).unwrap());
    [&server, &next].iter().for_each(|socket| socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap());
    let (itr, host) = (UdpSocket::bind((ITR, 0)).unwrap(), UdpSocket::bind((HOST, 0)).unwrap());
    let _node = start_with(directory.path(), &["--tier", tier]);
    wait_for("Map-Register", || take(&server).filter(|message| matches!(message, ControlMessage::MapRegister(_))));

    let inside = |packet: &[u8]| packet.starts_with(b"from the host");
    let send = || drop(host.send_to(b"from the host", (MOVED, 9)));
    assert!(!is_led(PART), "before it has moved");
    says_that_it_has_moved(&server, 1, vec![next_rloc()]);
    let (_, source) = wait_for("packet of the host", || {
        send();
        answer(&server);
        received(&next, inside)
    });
    assert!(is_led(PART));
    assert_eq!(source, HOST.parse::<IpAddr>().unwrap());

    let old = |packet: &[u8]| packet.starts_with(b"by the old mapping");
    itr.send_to(&encapsulated(b"by the old mapping", 9), (RLOC, 4341)).unwrap();
    let (ttl, source) = wait_for("packet by the old mapping", || received(&next, old));
    assert_eq!((ttl, source), (8, STRANGER.parse::<IpAddr>().unwrap()), "each time round would take a hop");

    says_that_it_has_moved(&server, 2, vec![]);
    wait_for("an end", || (!is_led(PART)).then_some(()));
}

/// Whether the kernel leads packets to that into the tunnel before it asks for the site.
fn is_led(prefix: &str) -> bool {
    let rules = Command::new("ip").args(["rule", "show"]).output().unwrap();
    assert!(rules.status.success(), "{rules:?}");
    let rules = String::from_utf8(rules.stdout).unwrap();
    rules.lines().any(|rule| rule.starts_with("4338:") && rule.contains(prefix))
}

fn start_with(directory: &Path, more: &[&str]) -> Node {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    command.args(["--eid-prefix", SITE, "--rloc", RLOC, "--map-server", SERVER, "--map-resolver", SERVER]);
    command.args(["--tun", "lispt", "--source-check", "loose", "--key-file"]).arg(key_file(directory)).args(more);
    Node(command.arg("--state-dir").arg(directory.join("state")).spawn().unwrap())
}

fn take(server: &UdpSocket) -> Option<ControlMessage> {
    let mut buffer = [0; 2048];
    let length = server.recv(&mut buffer).ok()?;
    Some(ControlMessage::decode(&buffer[..length]).unwrap())
}

/// Without locators, that it is nobody's any more.
fn says_that_it_has_moved(server: &UdpSocket, nonce: u64, locators: Vec<LocatorRecord>) {
    says_of(server, PART, nonce, locators);
}

fn says_of(server: &UdpSocket, prefix: &str, nonce: u64, locators: Vec<LocatorRecord>) {
    let ttl = if locators.is_empty() { Ttl::WITHDRAWN } else { Ttl::DEFAULT };
    tell(server, Nonce((1 << 60) + nonce), vec![record(prefix, ttl, locators)]);
    wait_for("Map-Notify-Ack", || take(server).filter(|message| matches!(message, ControlMessage::MapNotifyAck(_))));
}

fn tell(server: &UdpSocket, nonce: Nonce, records: Vec<MappingRecord>) {
    let notify = MapNotify { nonce, records, ..Default::default() };
    let bytes = auth::seal(&ControlMessage::MapNotify(notify), &key(), TagForm::Truncated).unwrap();
    server.send_to(&bytes, (RLOC, 4342)).unwrap();
}

fn next_rloc() -> LocatorRecord {
    LocatorRecord::new(NEXT.parse::<IpAddr>().unwrap(), 1, 100)
}

fn record(prefix: &str, ttl: Ttl, locators: Vec<LocatorRecord>) -> MappingRecord {
    let eid = EidPrefix { iid: InstanceId(0), net: prefix.parse().unwrap() }.into();
    let (action, map_version) = (Action::default(), MapVersion::default());
    MappingRecord { ttl, action, authoritative: true, map_version, eid, locators }
}

/// As Map-Resolver. Who else is asked about, the source of packets, has no answer.
fn answer(server: &UdpSocket) {
    let Some(ControlMessage::Ecm(ecm)) = take(server) else { return };
    let request = MapRequest::decode(&ecm.message).unwrap();
    let part = EidPrefix { iid: InstanceId(0), net: PART.parse().unwrap() };
    if request.records[0].eid.ip_prefix().is_some_and(|eid| part.covers(&eid)) {
        let records = vec![record(PART, Ttl::DEFAULT, vec![next_rloc()])];
        let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
        server.send_to(&ControlMessage::MapReply(reply).encode().unwrap(), (RLOC, 4342)).unwrap();
    }
}

/// TTL and source of the next inner packet whose data is so.
fn received(next: &UdpSocket, is_it: impl Fn(&[u8]) -> bool) -> Option<(u8, IpAddr)> {
    let mut buffer = [0; 2048];
    let length = next.recv(&mut buffer).ok()?;
    let inner = &buffer[LispHeader::LENGTH..length];
    let packet = IpPacket::parse(inner).unwrap();
    assert_eq!(packet.destination(), MOVED.parse::<IpAddr>().unwrap());
    is_it(&inner[28..]).then(|| (packet.ttl(), packet.source()))
}

/// A datagram of a host of another site to the one that has moved.
fn encapsulated(data: &[u8], ttl: u8) -> Vec<u8> {
    let udp = wire::data::UdpHeader { source: 9, destination: 9, checksum: 0 }.emit(data.len()).unwrap();
    let (source, destination) = (STRANGER.parse().unwrap(), MOVED.parse().unwrap());
    let class = TrafficClass::default();
    let header = Ipv4Header { source, destination, protocol: 17, ttl, class, dont_fragment: true };
    [&[0; 8], header.emit(udp.len() + data.len()).unwrap().as_slice(), &udp, data].concat()
}
