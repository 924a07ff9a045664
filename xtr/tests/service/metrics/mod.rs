// SPDX-License-Identifier: GPL-2.0-or-later
//! What monitoring sees of a running `lisp-xtr`, with a DHT node in its process and without, in a network namespace of its own. Needs
//! root and `/dev/net/tun`; says so and passes without, unless `CI` is set.

mod openmetrics;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::namespace::{Node, PATIENCE, in_namespace, wait_for};
use crate::program::key_file;
use openmetrics::{Family, Labels, parse};
use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, MapReply};
use wire::record::{LocatorRecord, MappingRecord, Ttl};

const RLOC: &str = "192.0.2.1";
const SERVER: &str = "203.0.113.10";
/// In the site.
const HOST: &str = "2001:db8:a::1";
/// Of another site, and where that is.
const FAR: &str = "2001:db8:b::1";
const FAR_RLOC: &str = "198.51.100.1";
const METRICS: &str = "192.0.2.1:9434";

/// The far locator is one of this machine too, where nobody listens: what goes there has a route.
const ADDRESSES: &[&str] = &[RLOC, SERVER, FAR_RLOC, HOST];

fn start(directory: &Path, arguments: &[&str]) -> Node {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
    command.args(["--eid-prefix", "2001:db8:a::/48", "--rloc", RLOC, "--tun", "lispt", "--metrics", METRICS]);
    command.args(arguments).arg("--state-dir").arg(directory.join("state")).stdout(Stdio::null());
    Node(command.spawn().unwrap())
}

/// Status and body, if somebody answers.
fn get(path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(METRICS).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "the body is as it is: {head}");
    Some((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

fn figures() -> BTreeMap<String, Family> {
    let (status, text) = get("/metrics").unwrap();
    assert_eq!(status, 200, "{text}");
    parse(&text)
}

fn of(address: &str) -> Labels {
    Labels::from([("address".to_owned(), address.to_owned())])
}

/// Answers what asks for the far site, as its Map-Resolver; a message of another kind is nothing.
fn answer(resolver: &UdpSocket) {
    let mut buffer = [0; 2048];
    let Ok((length, _)) = resolver.recv_from(&mut buffer) else { return };
    let Ok(ControlMessage::Ecm(ecm)) = ControlMessage::decode(&buffer[..length]) else { return };
    let Ok(ControlMessage::MapRequest(request)) = ControlMessage::decode(&ecm.message) else { return };
    let far: IpAddr = FAR_RLOC.parse().unwrap();
    let eid = EidPrefix { iid: InstanceId(0), net: "2001:db8:b::/48".parse().unwrap() };
    let record = MappingRecord {
        ttl: Ttl::DEFAULT,
        action: Default::default(),
        authoritative: true,
        map_version: Default::default(),
        eid: eid.into(),
        locators: vec![LocatorRecord::new(far, 1, 100)],
    };
    let reply = MapReply { nonce: request.nonce, records: vec![record], ..MapReply::default() };
    resolver.send_to(&ControlMessage::MapReply(reply).encode().unwrap(), (RLOC, 4342)).unwrap();
}

#[test]
fn a_plain_xtr_tells_what_it_sends_to_each_locator() {
    in_namespace(ADDRESSES, || {
        let resolver = UdpSocket::bind((SERVER, 4342)).unwrap();
        resolver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let _node = start(directory.path(), &["--map-resolver", SERVER]);
        let before = wait_for("metrics", || get("/metrics").map(|_| figures()));
        for (name, kind, unit) in [
            ("lisp_xtr_locator_sent_packets", "counter", Some("packets")),
            ("lisp_xtr_locator_sent_octets", "counter", Some("octets")),
            ("lisp_xtr_locator_reachable", "gauge", None),
            ("lisp_xtr_locator_path_mtu_octets", "gauge", Some("octets")),
            ("lisp_xtr_locator_rtt_seconds", "gauge", Some("seconds")),
        ] {
            let family = &before[name];
            assert_eq!((family.kind.as_str(), family.unit.as_deref()), (kind, unit), "{name}");
            assert!(family.series.is_empty(), "{name}: nothing has been sent");
        }
        assert!(before.keys().all(|name| !name.starts_with("lisp_dht")), "there is no DHT node");
        let now = |figures: &BTreeMap<String, Family>, name: &str, label: (&str, &str)| {
            let family = &figures[name];
            assert_eq!(family.kind, "gauge", "{name}");
            family.series[&Labels::from([(label.0.to_owned(), label.1.to_owned())])]
        };
        let positive = ("kind", "positive");
        assert_eq!(now(&before, "lisp_xtr_map_cache_entries", positive), 0.0);
        assert_eq!(now(&before, "lisp_xtr_own_locators", ("state", "up")), 1.0);
        assert_eq!(before["lisp_xtr_waiting_packets"].series[&Labels::new()], 0.0, "none has come");
        for state in ["changing", "moved", "registered", "unconfirmed", "withdrawing"] {
            assert_eq!(now(&before, "lisp_xtr_registrations", ("state", state)), 0.0, "it registers nowhere");
        }
        for name in ["lisp_xtr_control", "lisp_xtr_packets"] {
            assert_eq!(before[name].kind, "counter", "{name}");
        }
        assert_eq!(get("/health").unwrap().0, 200, "it registers nowhere");

        let host = UdpSocket::bind((HOST, 0)).unwrap();
        let waiting = |figures: &BTreeMap<String, Family>| figures["lisp_xtr_waiting_packets"].series[&Labels::new()];
        wait_for("a packet that waits for the mapping", || {
            // None waits for long.
            host.send_to(&[0; 100], (FAR, 9)).unwrap();
            (waiting(&figures()) >= 1.0).then_some(())
        });
        let after = wait_for("packets to the far locator", || {
            host.send_to(&[0; 100], (FAR, 9)).ok();
            answer(&resolver);
            // Probes may know of it before the packet half tells that it has sent.
            let sent = |all: &BTreeMap<String, Family>| {
                all["lisp_xtr_locator_sent_packets"].series.get(&of(FAR_RLOC)).copied()
            };
            Some(figures()).filter(|figures| sent(figures) > Some(0.0))
        });
        let value = |name: &str| after[name].series[&of(FAR_RLOC)];
        let (packets, octets) = (value("lisp_xtr_locator_sent_packets"), value("lisp_xtr_locator_sent_octets"));
        assert_eq!(octets, packets * 148.0, "40 octets of IPv6, 8 of UDP, 100 of the host");
        assert_eq!((value("lisp_xtr_locator_reachable"), after["lisp_xtr_locator_sent_octets"].series.len()), (1.0, 1));
        assert!(value("lisp_xtr_locator_path_mtu_octets") >= 1280.0);
        assert_eq!(now(&after, "lisp_xtr_map_cache_entries", positive), 1.0);
        // Its counters are not read at one moment.
        wait_for("packets to have gone on", || (waiting(&figures()) == 0.0).then_some(()));
        let probed = ["unproven", "up", "down"].map(|state| now(&after, "lisp_xtr_probed_locators", ("state", state)));
        assert_eq!(probed.iter().sum::<f64>(), 1.0, "{probed:?}");
        let counted = &after["lisp_xtr_packets"].series;
        assert!(counted[&Labels::from([("name".into(), "encapsulated-packets".into())])] >= packets);
    });
}

#[test]
fn a_plain_xtr_whose_map_server_is_silent_is_not_well() {
    in_namespace(ADDRESSES, || {
        let directory = tempfile::tempdir().unwrap();
        let key = key_file(directory.path());
        let _node = start(directory.path(), &["--map-server", SERVER, "--key-file", key.to_str().unwrap()]);
        let (status, why) = wait_for("health", || get("/health"));
        assert!(status == 503 && why.contains("confirmed a registration"), "{why}");
        let unconfirmed = Labels::from([("state".to_owned(), "unconfirmed".to_owned())]);
        assert_eq!(figures()["lisp_xtr_registrations"].series[&unconfirmed], 1.0);
    });
}

#[test]
fn a_node_of_its_own_tells_of_its_dht_node_too() {
    in_namespace(ADDRESSES, || {
        let directory = tempfile::tempdir().unwrap();
        let _node = start(directory.path(), &[]);
        let figures = wait_for("metrics", || get("/metrics").map(|_| figures()));
        for name in ["lisp_dht_peers", "lisp_xtr_locator_reachable", "lisp_xtr_control", "lisp_xtr_packets"] {
            assert!(figures.contains_key(name), "{name}");
        }
        for (name, kind) in [("registers_taken", "counter"), ("registrations", "gauge"), ("dht_held_records", "gauge")]
        {
            assert_eq!(figures[&format!("lisp_xtr_map_system_{name}")].kind, kind, "{name}");
        }
        assert_eq!(get("/health").unwrap().0, 200, "nobody was given to be known");
    });
}

/// Of the reader: what it has to refuse.
#[test]
fn text_that_is_no_openmetrics_is_refused() {
    let good = "# HELP a_b say\n# TYPE a_b gauge\na_b{x=\"\\\"1\\\"\"} 1\na_b 2.5\n# EOF\n";
    assert_eq!(parse(good)["a_b"].series.len(), 2);
    for (from, to) in [
        ("# EOF\n", ""),
        ("gauge", "counter"),
        ("gauge", "unknown"),
        ("# TYPE a_b gauge\n", ""),
        ("a_b 2.5", "a_b  2.5"),
        ("a_b 2.5", "a_c 2.5"),
        ("a_b 2.5", "a_b{x=\"\\\"1\\\"\"} 1"),
        ("{x=\"\\\"1\\\"\"}", "{x=\"\\\"1\"\"}"),
        ("{x=\"\\\"1\\\"\"}", "{1x=\"1\"}"),
        ("a_b 2.5", "# HELP a_b again"),
        ("a_b 2.5", ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(std::panic::catch_unwind(|| parse(&bad)).is_err(), "{bad}");
    }
}
