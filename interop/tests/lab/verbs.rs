// SPDX-License-Identifier: GPL-2.0-or-later
//! A lab of two hosts behind a router: it carries packets, measures them, captures them, and is gone afterwards.

use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use interop::delaybox::Delay;
use interop::lab::process::{self, Process};
use interop::lab::topology::Route;
use interop::lab::{Lab, Node, Topology, netlink, offload};
use interop::limits::{COMMAND_TIME, PING_WAIT, WHOLE_WAIT};
use interop::probe::capture::Capture;
use interop::probe::crossing::{ECHO, Echo, Ways, rerouted};
use interop::probe::load::{self, Delivered, Ends, Senders, Times};
use interop::probe::ping::{Ping, ping, round_trips};
use interop::probe::tcp::{Bulk, bulk};
use pcap_file::pcap::PcapReader;

fn two_hosts() -> Topology {
    Topology::default()
        .switch("core")
        .with(
            Node::host("left")
                .port("eth0", "west", &["10.0.1.2/24", "2001:db8:1::2/64"])
                .default_route("10.0.1.1", "eth0")
                .default_route("2001:db8:1::1", "eth0"),
        )
        .with(Node::router("middle").port("west", "west", &["10.0.1.1/24", "2001:db8:1::1/64"]).port(
            "east",
            "core",
            &["10.0.2.1/24", "2001:db8:2::1/64"],
        ))
        .with(
            Node::host("right")
                .port("eth0", "core", &["10.0.2.2/24", "2001:db8:2::2/64"])
                .default_route("10.0.2.1", "eth0")
                .default_route("2001:db8:2::1", "eth0"),
        )
}

#[test]
fn packets_cross_and_are_measured() {
    if !crate::support::root_or_skip() {
        return;
    }
    let lab = Lab::build(&two_hosts()).unwrap();
    let (left, right) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    for (source, destination) in [("10.0.1.2", "10.0.2.2"), ("2001:db8:1::2", "2001:db8:2::2")] {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let series = Ping { source, destination, count: 4, interval: Duration::from_millis(50), wait: WHOLE_WAIT };
        let report = ping(left, right, series).unwrap();
        assert_eq!(report.received(), 4, "{report:?}");
        for fate in &report.pings {
            assert!(fate.delivered.unwrap() <= fate.answered.unwrap(), "{report:?}");
        }
        let transfer = Bulk { source, destination, octets: 4 << 20, time: Duration::from_secs(60) };
        let report = bulk(left, right, transfer).unwrap();
        assert!(report.octets > 0 && report.mbit_s() > 1.0, "{report:?}");
    }
}

#[test]
fn lost_pings_are_counted_as_lost() {
    if !crate::support::root_or_skip() {
        return;
    }
    let lab = Lab::build(&two_hosts()).unwrap();
    let (left, right) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    let (source, destination) = ("10.0.1.2".parse().unwrap(), "10.0.2.77".parse().unwrap());
    let own = "10.0.2.77".parse().unwrap();
    let missing = Ping { source, destination, count: 2, interval: Duration::from_millis(10), wait: PING_WAIT };
    assert!(ping(left, right, missing).is_err(), "nobody can watch an address that nobody has");
    let blackhole =
        interop::lab::topology::Route { to: "10.0.1.0/24".parse().unwrap(), via: Some(own), port: "eth0".into() };
    interop::lab::netlink::add_address(right, "eth0", "10.0.2.77/32".parse().unwrap()).unwrap();
    interop::lab::netlink::route(right, &interop::lab::topology::Route { via: None, ..blackhole }).unwrap();
    let report = ping(left, right, missing).unwrap();
    assert_eq!((report.received(), report.first_answered()), (0, None), "no way back");
    assert!(report.first_delivered().is_some(), "but a way there");
}

#[test]
fn a_change_after_which_packets_go_the_same_way_is_none() {
    if !crate::support::root_or_skip() {
        return;
    }
    let west = &["10.0.1.2/24"];
    let middle = Node::router("middle").port("west", "west", &["10.0.1.1/24"]);
    let middle = middle.port("one", "one", &["10.0.2.1/24"]).port("two", "two", &["10.0.3.1/24"]);
    let right = Node::router("right").port("one", "one", &["10.0.2.2/24"]).port("two", "two", &["10.0.3.2/24"]);
    let topology = Topology::default()
        .with(Node::host("left").port("eth0", "west", west).default_route("10.0.1.1", "eth0"))
        .with(middle.route("10.0.9.0/24", "10.0.2.2", "one"))
        .with(right.default_route("10.0.2.1", "one"));
    let lab = Lab::build(&topology).unwrap();
    let (middle, right) = (lab.namespace("middle").unwrap(), lab.namespace("right").unwrap());
    netlink::add_address(right, "lo", "10.0.9.1/32".parse().unwrap()).unwrap();
    let _echo = Echo::start(right, "10.0.9.1".parse().unwrap()).unwrap();
    let socket = lab.namespace("left").unwrap().run(|| UdpSocket::bind("10.0.1.2:0").unwrap()).unwrap();
    let to = ("10.0.9.1".parse::<IpAddr>().unwrap(), ECHO).into();
    let times = (Duration::from_millis(100), Duration::from_secs(10));
    let ways = Ways { node: middle, ports: ["one", "two"] };
    let error = rerouted(&socket, to, times, ways, || ()).unwrap_err();
    assert!(error.to_string().contains("the change has changed nothing"), "{error:#}");

    let by_two = Route { to: "10.0.9.1/32".parse().unwrap(), via: "10.0.3.2".parse().ok(), port: "two".into() };
    let (changed, count, gap) = rerouted(&socket, to, times, ways, || netlink::route(middle, &by_two)).unwrap();
    changed.unwrap();
    assert!(count > 10 && gap < times.1, "{count} {gap:?}");
    let error = rerouted(&socket, to, times, ways, || ()).unwrap_err();
    assert!(error.to_string().contains("before the change"), "they went the other way before: {error:#}");
}

#[test]
fn captures_hold_whole_packets_with_right_checksums() {
    if !crate::support::root_or_skip() {
        return;
    }
    let lab = Lab::build(&two_hosts()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("east.pcap");
    let capture = Capture::start(lab.namespace("middle").unwrap(), "east", &path).unwrap();
    let transfer = Bulk {
        source: "10.0.1.2".parse().unwrap(),
        destination: "10.0.2.2".parse().unwrap(),
        octets: 1 << 20,
        time: Duration::from_secs(60),
    };
    bulk(lab.namespace("left").unwrap(), lab.namespace("right").unwrap(), transfer).unwrap();
    let frames = capture.stop().unwrap();
    assert!(frames > 700, "a MiB takes more than {frames} frames");

    let mut reader = PcapReader::new(File::open(&path).unwrap()).unwrap();
    let mut read = 0;
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        read += 1;
        assert!(packet.data.len() <= 1514, "no frame is longer than a wire takes: {}", packet.data.len());
        if packet.data[12..14] == [0x08, 0x00] {
            assert!(tcp_checksum_holds(&packet.data[14..]), "frame {read}");
        }
    }
    assert_eq!(read, frames);
}

#[test]
fn loads_are_measured_where_they_arrive() {
    if !crate::support::root_or_skip() {
        return;
    }
    let lab = Lab::build(&two_hosts()).unwrap();
    let (source, destination) = ("2001:db8:1::2".parse().unwrap(), "2001:db8:2::2".parse().unwrap());
    let (from, to) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    let ends = Ends { from, source, to, destination };
    let times = Times { warm_up: Duration::from_millis(50), measured: Duration::from_millis(100) };
    for (flows, senders) in [(1, Senders::Thread), (3, Senders::Thread), (3, Senders::Threads)] {
        assert_measured(1e6, || load::tcp(ends, flows, times, senders));
    }
    assert_measured(100.0, || load::flood(ends, b"payload", times));
    let paced = load::paced(ends, b"payload", 1000, Duration::from_millis(300)).unwrap();
    assert_eq!((paced.sent, paced.lost()), (300, 0), "{paced:?}");
    assert!(paced.time >= Duration::from_millis(250), "{paced:?}");
    let series = Ping { source, destination, count: 5, interval: Duration::from_millis(1), wait: PING_WAIT };
    assert_eq!(round_trips(from, series).unwrap().len(), 5);
    let swapped = Ends { from: to, to: from, ..ends };
    assert!(load::tcp(swapped, 1, times, Senders::Thread).is_err(), "no figure of what cannot be measured");
}

/// More than that arrives a second, once who sends and who counts have a processor in so short a time.
fn assert_measured(least: f64, measure: impl Fn() -> anyhow::Result<Delivered>) {
    let mut seen = (0..50).map(|_| measure().unwrap().per_second());
    assert!(seen.any(|rate| rate > least), "never more than {least} a second");
}

#[test]
fn only_a_cable_with_offloads_carries_more_than_a_frame_at_once() {
    if !crate::support::root_or_skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let topology = Topology::default()
        .with(Node::host("left").port("eth0", "wire", &["10.0.1.1/24"]))
        .with(Node::host("right").port("eth0", "wire", &["10.0.1.2/24"]));
    let lab = Lab::build(&topology.with_offloads()).unwrap();
    let (left, right) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    let largest = || {
        let path = folder.path().join("right.pcap");
        let capture = Capture::start(right, "eth0", &path).unwrap();
        let (source, destination) = ("10.0.1.1".parse().unwrap(), "10.0.1.2".parse().unwrap());
        bulk(left, right, Bulk { source, destination, octets: 1 << 20, time: Duration::from_secs(60) }).unwrap();
        capture.stop().unwrap();
        let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
        let mut largest = 0;
        while let Some(packet) = reader.next_packet() {
            largest = largest.max(packet.unwrap().orig_len);
        }
        largest
    };
    assert!(largest() > 1514);
    offload::set_features(left, "eth0", &[("tx-tcp-segmentation", false), ("rx-gro", true)]).unwrap();
    assert_eq!(largest(), 1514);
    offload::set_features(left, "eth0", &[("tx-tcp-segmentation", true), ("rx-gro", false)]).unwrap();
    assert!(largest() > 1514);
    let unknown = offload::set_features(left, "eth0", &[("no-such-feature", true)]).unwrap_err();
    assert!(unknown.to_string().contains("no-such-feature"), "{unknown}");
}

fn tcp_checksum_holds(packet: &[u8]) -> bool {
    use pnet::packet::Packet as _;
    let ip = pnet::packet::ipv4::Ipv4Packet::new(packet).unwrap();
    let payload = ip.payload();
    let tcp = pnet::packet::tcp::TcpPacket::new(payload).unwrap();
    tcp.get_checksum() == pnet::packet::tcp::ipv4_checksum(&tcp, &ip.get_source(), &ip.get_destination())
}

#[test]
fn processes_live_in_their_namespace_and_end_with_it() {
    if !crate::support::root_or_skip() {
        return;
    }
    let lab = Lab::build(&two_hosts()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let left = lab.namespace("left").unwrap();
    let mut cat = Command::new("cat");
    cat.arg("/proc/net/if_inet6");
    let output = process::output(left, cat, COMMAND_TIME).unwrap();
    assert!(output.status.unwrap().success());
    assert!(output.stdout.contains("20010db8000100000000000000000002"), "{output:?}");

    let mut sleep = Command::new("sh");
    sleep.args(["-c", "echo hello; exec sleep 1000"]);
    let mut sleep = Process::start(left, "sleeper", sleep, &folder.path().join("sleeper.log")).unwrap();
    sleep.check().unwrap();
    let id = sleep.id();
    while sleep.log_tail() != ["hello"] {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(std::path::Path::new(&format!("/proc/{id}")).exists());
    drop(sleep);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn a_command_that_hangs_is_killed() {
    if !crate::support::root_or_skip() {
        return;
    }
    let lab = Lab::build(&Topology::default().with(Node::host("alone"))).unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let output = process::output(lab.namespace("alone").unwrap(), sleep, Duration::from_millis(100)).unwrap();
    assert_eq!(output.status, None);
}

/// Which network namespaces any thread of the machine is in.
fn namespaces_in_use() -> std::collections::BTreeSet<std::path::PathBuf> {
    let folders = |path: &std::path::Path| std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let processes = folders("/proc".as_ref()).map(|entry| entry.path().join("task"));
    let threads = processes.flat_map(|tasks| folders(&tasks).collect::<Vec<_>>());
    threads.filter_map(|thread| std::fs::read_link(thread.path().join("ns/net")).ok()).collect()
}

#[test]
fn nothing_is_left_of_a_lab() {
    if !crate::support::root_or_skip() {
        return;
    }
    let lab = Lab::build(&two_hosts()).unwrap();
    let identity = |namespace: &interop::lab::Namespace| std::fs::read_link(namespace.path()).unwrap();
    let own: Vec<_> = lab.namespaces().map(identity).collect();
    assert_eq!(own.len(), 4);
    assert!(own.iter().all(|one| namespaces_in_use().contains(one)));
    let folder = tempfile::tempdir().unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let sleep = Process::start(lab.namespace("left").unwrap(), "sleeper", sleep, &folder.path().join("log")).unwrap();
    drop(sleep);
    drop(lab);
    // The kernel takes a moment to see a thread off after it was joined.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while own.iter().any(|one| namespaces_in_use().contains(one)) {
        assert!(std::time::Instant::now() < deadline, "a namespace is still in use");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_slow_switch_takes_its_time_each_way() {
    if !crate::support::root_or_skip() {
        return;
    }
    let delay = Delay::of(Duration::from_millis(20));
    let topology = Topology::default()
        .slow_switch("far", delay)
        .with(Node::host("left").port("eth0", "far", &["10.0.1.1/24", "2001:db8:1::1/64"]))
        .with(Node::host("right").port("eth0", "far", &["10.0.1.2/24", "2001:db8:1::2/64"]));
    let lab = Lab::build(&topology).unwrap();
    let (left, right) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    for (source, destination) in [("10.0.1.1", "10.0.1.2"), ("2001:db8:1::1", "2001:db8:1::2")] {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let series = Ping { source, destination, count: 5, interval: Duration::from_millis(100), wait: WHOLE_WAIT };
        let report = ping(left, right, series).unwrap();
        assert_eq!(report.received(), 5, "{report:?}");
        for fate in &report.pings {
            assert!(fate.delivered.unwrap() >= delay.one_way, "{report:?}");
            assert!(fate.answered.unwrap() >= delay.one_way * 2, "{report:?}");
        }
    }
    let passed = lab.passed("far");
    assert_eq!(passed.len(), 2);
    assert!(passed.iter().all(|port| port.frames_in >= 10 && port.frames_out >= 10 && port.lost == 0), "{passed:?}");
}

#[test]
fn the_delaybox_of_the_command_line_bridges_and_counts() {
    if !crate::support::root_or_skip() {
        return;
    }
    let topology = Topology::default()
        .with(Node::host("left").port("eth0", "west", &["10.0.1.1/24"]))
        .with(Node::host("middle").port("west", "west", &[]).port("east", "east", &[]))
        .with(Node::host("right").port("eth0", "east", &["10.0.1.2/24"]));
    let lab = Lab::build(&topology).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (log, counted) = (folder.path().join("log"), folder.path().join("counted.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop"));
    command.args(["delaybox", "west", "east", "--delay", "5"]).arg(format!("--json={}", counted.display()));
    let delaybox = Process::start(lab.namespace("middle").unwrap(), "delaybox", command, &log).unwrap();
    let begun = std::time::Instant::now();
    while !delaybox.has_printed("bridging west, east") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", delaybox.log_tail());
        std::thread::sleep(Duration::from_millis(10));
    }
    let (source, destination) = ("10.0.1.1".parse().unwrap(), "10.0.1.2".parse().unwrap());
    let series = Ping { source, destination, count: 3, interval: Duration::from_millis(50), wait: WHOLE_WAIT };
    let report = ping(lab.namespace("left").unwrap(), lab.namespace("right").unwrap(), series).unwrap();
    assert_eq!(report.received(), 3, "{report:?}");
    assert!(report.pings.iter().all(|fate| fate.answered.unwrap() >= Duration::from_millis(10)), "{report:?}");
    drop(delaybox);
    let counted: serde_json::Value = serde_json::from_slice(&std::fs::read(&counted).unwrap()).unwrap();
    assert!(counted["west"]["frames_in"].as_u64().unwrap() >= 3, "{counted}");
    assert_eq!(counted["east"]["lost"], 0, "{counted}");
}
