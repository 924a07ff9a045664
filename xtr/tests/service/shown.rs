// SPDX-License-Identifier: GPL-2.0-or-later
//! What `show` and `trace` say of it.

use std::net::UdpSocket;
use std::time::Duration;

use crate::namespace::{Node, PATIENCE, in_namespace, wait_for};
use crate::started::{PLAIN, RLOC, ask, command, ip, show};
use serde_json::Value;
use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, MapReply};
use wire::record::Ttl;
use xtr::database::{Database, OwnLocator, RecordForm};

#[test]
fn a_trace_over_the_control_socket_says_what_a_packet_would_meet() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path(), PLAIN);
        let asked = ask(directory.path(), &["trace", "2001:db8:b::1", "--json"]);
        assert_eq!(asked.status.code(), Some(1), "{asked:?}");
        let answer: Value = serde_json::from_slice(&asked.stdout).unwrap();
        let trace = &answer["trace"];
        assert_eq!((&trace["result"], &trace["led"]), (&"miss".into(), &true.into()), "{trace}");
        assert_eq!(trace["source"], "2001:db8:a::1");
        let text = ask(directory.path(), &["trace", "2001:db8:a::7", "--flow", "tcp:1:2"]);
        assert!(text.status.success(), "{text:?}");
        assert!(String::from_utf8_lossy(&text.stdout).contains("local: to 2001:db8:a::/48"), "{text:?}");
        for here in [RLOC, "127.0.0.1"] {
            let text = ask(directory.path(), &["trace", here, "--from", "10.1.0.1"]);
            assert!(text.status.success(), "{text:?}");
            let said = format!("result   local: {here} is an address of this machine");
            assert!(String::from_utf8_lossy(&text.stdout).contains(&said), "{text:?}");
        }
        let past = show(directory.path(), &["trace", "2001:db8:b::1", "--from", "2001:db8:c::1"]).unwrap();
        assert_eq!(past["trace"]["result"], "past-tunnel");
        for wrong in [&["trace", "10.2.0.9"][..], &["trace", "2001:db8:b::1", "--from", "10.1.0.1"]] {
            let refused = ask(directory.path(), wrong);
            assert!(String::from_utf8_lossy(&refused.stderr).contains("--from"), "{refused:?}");
        }
        node.end();
    });
}

#[test]
fn a_trace_that_asks_in_vain_names_who_has_not_answered() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path(), &[PLAIN, &["--map-resolver", "192.0.2.53"]].concat());
        let asked = ask(directory.path(), &["trace", "2001:db8:b::1", "--resolve"]);
        assert_eq!(asked.status.code(), Some(1), "{asked:?}");
        for said in [&asked.stdout, &asked.stderr] {
            let said = String::from_utf8_lossy(said);
            assert!(said.contains("no mapping has come within 10 s from 127.0.0.1, 192.0.2.53"), "{said}");
        }
        node.end();
    });
}

#[test]
fn an_interface_without_a_locator_is_named_with_the_locators_and_once_in_the_log() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut starting = command(directory.path(), &[PLAIN, &["--rloc", "late0"]].concat());
        let mut node = Node(starting.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        let lacking = |said: &str| {
            let shown = show(directory.path(), &["show", "locators"])?;
            let all: Vec<&str> = shown["lacking"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            (all.len() == 1 && all[0].contains(said)).then_some(())
        };
        wait_for("an interface that is not there", || lacking("this machine has no interface late0"));
        let table = ask(directory.path(), &["show", "locators"]);
        assert!(String::from_utf8_lossy(&table.stdout).contains("lacking: this machine has no interface late0"));
        // Another look at the machine, a moment after something has changed, finds the same.
        ip("addr add 203.0.113.200/32 dev lo");
        std::thread::sleep(Duration::from_millis(600));
        ip("link add late0 type veth peer name late1");
        wait_for("one that is down", || lacking("late0 is down"));
        ip("link set late1 up");
        ip("link set late0 up");
        wait_for("one without an address", || lacking("late0 has no lasting global address"));
        ip("addr add 198.51.100.7/24 dev late0");
        wait_for("a locator", || {
            let shown = show(directory.path(), &["show", "locators"])?;
            let has_it = shown["locators"].as_array()?.iter().any(|own| own["address"] == "198.51.100.7");
            (has_it && shown["lacking"] == serde_json::json!([])).then_some(())
        });
        node.end();
        let said = std::fs::read_to_string(&log).unwrap();
        for once in ["no interface late0", "late0 is down", "late0 has no lasting"] {
            assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
        }
    });
}

#[test]
fn the_map_cache_is_shown_as_a_whole_or_round_an_eid() {
    in_namespace(&[RLOC], || {
        let resolver = UdpSocket::bind(("127.0.0.1", 4342)).unwrap();
        resolver.set_read_timeout(Some(PATIENCE)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path(), &[PLAIN, &["--tier", "0"]].concat());
        let prefixes = |verb: &[&str]| {
            let answer = show(directory.path(), &[&["show", "map-cache"], verb].concat()).unwrap();
            let rows = answer["map-cache"].as_array().unwrap();
            rows.iter().map(|row| row["prefix"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(prefixes(&[]), Vec::<String>::new());
        std::thread::scope(|scope| {
            scope.spawn(|| answer_one_request(&resolver));
            assert!(ask(directory.path(), &["trace", "2001:db8:b::1", "--resolve"]).status.success());
        });
        assert_eq!(prefixes(&[]), ["2001:db8:b::/48"]);
        for (within, found) in [("2001:db8:b::7", 1), ("2001:db8::/32", 1), ("2001:db8:c::/48", 0), ("10.0.0.0/8", 0)] {
            assert_eq!(prefixes(&["--within", within]).len(), found, "{within}");
        }
        let peers = show(directory.path(), &["show", "peers", "--within", "2001:db8:b::/48"]).unwrap();
        let all = ["198.51.100.1", "2001:db8:fff::1"];
        let row = |address: &str| serde_json::json!({ "address": address, "prefixes": ["2001:db8:b::/48"] });
        assert_eq!(peers["peers"], serde_json::json!(all.map(row)));
        let refused = ask(directory.path(), &["show", "counters", "--within", "10.0.0.0/8"]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        node.end();
    });
}

/// A Map-Resolver that puts every EID behind two locators, one of them of a family that the node has no RLOC of.
fn answer_one_request(resolver: &UdpSocket) {
    let mut buffer = [0; 2048];
    let (length, _) = resolver.recv_from(&mut buffer).unwrap();
    let ControlMessage::Ecm(ecm) = ControlMessage::decode(&buffer[..length]).unwrap() else { panic!() };
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
    let locator = |text: &str, weight| OwnLocator::new(text.parse().unwrap(), 1, weight);
    let locators = vec![locator("198.51.100.1", 40), locator("2001:db8:fff::1", 60)];
    let form = RecordForm { authoritative: true, probed: None };
    let site = EidPrefix { iid: InstanceId(0), net: "2001:db8:b::/48".parse().unwrap() };
    let records = vec![Database::new(vec![], locators, Ttl::DEFAULT).record(site, form)];
    let reply = ControlMessage::MapReply(MapReply { nonce: request.nonce, records, ..MapReply::default() });
    resolver.send_to(&reply.encode().unwrap(), (RLOC, 4342)).unwrap();
}

#[test]
fn a_trace_that_asks_shows_the_answer_of_the_mapping_system() {
    in_namespace(&[RLOC], || {
        let resolver = UdpSocket::bind(("127.0.0.1", 4342)).unwrap();
        resolver.set_read_timeout(Some(PATIENCE)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path(), &[PLAIN, &["--tier", "0"]].concat());
        let asked = std::thread::scope(|scope| {
            scope.spawn(|| answer_one_request(&resolver));
            ask(directory.path(), &["trace", "2001:db8:b::1", "--flow", "udp:9:53", "--resolve", "--json"])
        });
        assert!(asked.status.success(), "{asked:?}");
        let answer: Value = serde_json::from_slice(&asked.stdout).unwrap();
        let trace = &answer["trace"];
        assert_eq!((&trace["result"], &trace["entry"]["prefix"]), (&"encapsulate".into(), &"2001:db8:b::/48".into()));
        assert_eq!(trace["entry"]["from"], "127.0.0.1", "{trace}");
        let [chosen, other] = trace["entry"]["locators"].as_array().unwrap().as_slice() else { panic!("{trace}") };
        assert_eq!((&chosen["chosen"], &chosen["share_percent"]), (&true.into(), &100.0.into()), "{trace}");
        assert_eq!((&other["chosen"], &other["share_percent"]), (&false.into(), &Value::Null), "{trace}");
        let outer = &trace["outer"];
        assert_eq!((&outer["source"], &outer["destination"]), (&RLOC.into(), &"198.51.100.1".into()), "{trace}");
        assert_eq!((&outer["source_ports"][0], &outer["fits"]), (&outer["source_ports"][1], &1360.into()), "{trace}");
        let text = ask(directory.path(), &["trace", "2001:db8:b::1", "--flow", "udp:9:53"]);
        assert!(String::from_utf8_lossy(&text.stdout).contains("no RLOC of ours has its address family"), "{text:?}");
        // The same mapping, and a source that the kernel leads past the tunnel: nothing is put in front of the packet.
        let past = ["trace", "2001:db8:b::1", "--from", "2001:db8:ffff::1"];
        let trace = show(directory.path(), &past).unwrap()["trace"].take();
        assert_eq!((&trace["result"], &trace["outer"]), (&"past-tunnel".into(), &Value::Null), "{trace}");
        let text = ask(directory.path(), &past);
        assert!(!String::from_utf8_lossy(&text.stdout).contains("outer "), "{text:?}");
        node.end();
    });
}
