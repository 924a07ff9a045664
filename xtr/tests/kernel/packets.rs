// SPDX-License-Identifier: GPL-2.0-or-later
//! Two nodes in two network namespaces, joined by a cable: real TUN devices, real sockets, and a kernel that judges what they
//! send; in both tiers. Needs root and `/dev/net/tun`; without, it fails where `CI` is set, and else says so and passes.
#![allow(unsafe_code, reason = "socket options and the calls that make a device are in no safe call")]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::two_nodes::{
    FAR, NEAR, Node, PATIENCE, Site, TUN, bind, echo, in_two_namespaces, ip, lead_into_tunnel, prefix, set_cable_mtu,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, Ipv6Header, TrafficClass, UdpHeader, checksum};
use wire::record::MapVersion;
use xtr::config::Tier;
use xtr::counters::{Count, DropReason};
use xtr::ecn::EcnCompatibility;
use xtr::etr::EtrConfig;
use xtr::itr::ItrConfig;
use xtr::map_cache::{Event, OwnMapping, Update};
use xtr::shell::control_sockets::{ControlSockets, Received};
use xtr::shell::data_plane::{DataPlane, Options};
use xtr::trust::Trust;

#[test]
fn the_first_packets_of_a_cold_cache_arrive_in_order_over_each_pair_of_families() {
    for (tier, tier_of_far) in [(Tier::Zero, Tier::Zero), (Tier::One, Tier::One), (Tier::One, Tier::Zero)] {
        first_packets_arrive(tier, tier_of_far);
    }
}

fn first_packets_arrive(tier: Tier, tier_of_far: Tier) {
    let near = move || {
        for rloc in FAR.rlocs {
            let mut node = Node::start(NEAR, 1500, tier);
            lead_into_tunnel(NEAR, FAR);
            for (index, eid) in FAR.hosts.into_iter().enumerate() {
                let socket = bind(NEAR.hosts[index], 0);
                socket.connect((ip(eid), 7)).unwrap();
                for number in 0..8 {
                    socket.send(&[number]).unwrap();
                }
                let source = ip(NEAR.hosts[index]);
                assert_eq!(node.event(), Event::Miss { eid: EidPrefix::host(InstanceId(0), ip(eid)), source });
                node.map(FAR.prefixes[index], rloc);
                for number in 0..8 {
                    let mut answer = [0; 9];
                    let length = socket.recv(&mut answer).unwrap_or_else(|e| {
                        panic!("{rloc} {eid} {number}: {e}, {:?}", node.plane.counters().snapshot())
                    });
                    assert_eq!(answer[..length], [number], "over {rloc} to {eid}");
                }
            }
            assert_eq!((node.count(Count::Encapsulated), node.count(Count::Decapsulated)), (16, 16));
            assert_eq!(node.plane.counters().dropped(DropReason::CoreSend), 0);
        }
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, tier_of_far);
        NEAR.prefixes.iter().for_each(|net| node.map(net, NEAR.rlocs[0]));
        lead_into_tunnel(FAR, NEAR);
        echo(FAR.hosts, ready, stop);
    };
    in_two_namespaces(near, far);
}

#[test]
fn a_nonce_crosses_the_cable_and_comes_back_and_versions_cross_it_too() {
    for (tier, tier_of_far) in [(Tier::Zero, Tier::One), (Tier::One, Tier::Zero), (Tier::One, Tier::One)] {
        nonce_comes_back(tier, tier_of_far);
    }
}

/// Both trust each other; our version is 5, theirs 6.
fn trusting(site: Site, other: Site, tier: Tier, versions: (u16, u16)) -> Node {
    let networks = ["192.0.2.0/24", "2001:db8:c::/64"].map(|net| net.parse().unwrap());
    let trust = Trust::of(&networks).with_echo_nonce(true);
    let node = Node::start_with(site, 1500, tier, EtrConfig { trust, ..EtrConfig::default() });
    node.plane.update(Update::Own(OwnMapping { version: MapVersion(versions.0), status_bits: None, others_end: None }));
    for (net, rloc) in other.prefixes.into_iter().zip(other.rlocs) {
        node.map(net, rloc);
        let (version, expires) = (MapVersion(versions.1), Instant::now() + Duration::from_secs(60));
        node.plane.update(Update::Peer { prefix: prefix(net), version, rlocs: [ip(rloc)].into(), expires });
    }
    lead_into_tunnel(site, other);
    node
}

fn nonce_comes_back(tier: Tier, tier_of_far: Tier) {
    let near = move || {
        let mut node = trusting(NEAR, FAR, tier, (5, 6));
        for (index, rloc) in FAR.rlocs.map(ip).into_iter().enumerate() {
            let nonce = 0x12_3450 + u32::try_from(index).unwrap();
            node.plane.update(Update::EchoRequest { rloc, nonce: Some(nonce), suspended: false });
            let socket = bind(NEAR.hosts[index], 0);
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket.connect((ip(FAR.hosts[index]), 7)).unwrap();
            let started = Instant::now();
            let mut answers = 0;
            let echoed = loop {
                socket.send(&[7; 100]).unwrap();
                answers += usize::from(socket.recv(&mut [0; 200]).is_ok());
                match node.events.try_recv() {
                    Ok(Event::Silent { .. }) | Err(_) => {}
                    Ok(event) => break event,
                }
                assert!(started.elapsed() < PATIENCE, "{:?}", node.plane.counters().snapshot());
            };
            assert_eq!(echoed, Event::Echoed { rloc, nonce });
            assert!(answers > 0);
            node.plane.update(Update::EchoRequest { rloc, nonce: None, suspended: false });
            let ended = std::iter::repeat_with(|| node.event()).find(|event| !matches!(event, Event::Silent { .. }));
            assert_eq!(ended, Some(Event::EchoEnded { rloc, is_proven: false }));
        }
        // From now on packets carry versions, and that of the far mapping becomes old.
        let (version, expires) = (MapVersion(7), Instant::now() + Duration::from_secs(60));
        let rlocs = [ip(FAR.rlocs[0])].into();
        node.plane.update(Update::Peer { prefix: prefix(FAR.prefixes[0]), version, rlocs, expires });
        let socket = bind(NEAR.hosts[0], 0);
        socket.connect((ip(FAR.hosts[0]), 7)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.send(&[7; 100]).unwrap();
        assert!(socket.recv(&mut [0; 200]).is_err(), "a version that is yet to come is dropped");
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let mut node = trusting(FAR, NEAR, tier_of_far, (6, 5));
        let (done, is_done) = mpsc::channel();
        std::thread::scope(|scope| {
            // Plays the control half.
            let asked = scope.spawn(move || {
                let mut asked = Vec::new();
                while is_done.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    match node.events.try_recv() {
                        Ok(Event::EchoAsked { rloc, nonce }) => {
                            asked.push(rloc);
                            node.plane.update(Update::EchoAnswer { rloc, nonce });
                        }
                        _ => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
                let dropped = || node.plane.counters().dropped(DropReason::CoreVersionNewer);
                // The packet is here, but perhaps not yet looked at.
                let started = Instant::now();
                while dropped() == 0 && started.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(10));
                }
                (asked, dropped())
            });
            echo(FAR.hosts, ready, stop);
            done.send(()).unwrap();
            let (asked, dropped) = asked.join().unwrap();
            assert!(NEAR.rlocs.iter().all(|rloc| asked.contains(&ip(rloc))), "{asked:?}");
            assert_eq!(dropped, 1);
        });
    };
    in_two_namespaces(near, far);
}

/// A packet of `near` in a LISP packet to `far`, with this UDP checksum, or the right one.
fn data_packet(outer_checksum: Option<u16>) -> Vec<u8> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip(NEAR.hosts[1]), ip(FAR.hosts[1])) else { panic!() };
    let class = TrafficClass(0);
    let inner_udp = UdpHeader { source: 9, destination: 99, checksum: 0xffff }.emit(0).unwrap();
    let inner = Ipv6Header { source, destination, next_header: 17, hop_limit: 9, class, flow_label: 0 };
    let payload = [&[0; 8], inner.emit(8).unwrap().as_slice(), &inner_udp].concat();
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (ip(NEAR.rlocs[0]), ip(FAR.rlocs[0])) else { panic!() };
    let mut udp = UdpHeader { source: 50_000, destination: wire::DATA_PORT, checksum: 0 };
    let segment = [udp.emit(payload.len()).unwrap().as_slice(), &payload].concat();
    udp.checksum = outer_checksum.unwrap_or_else(|| checksum::udp(source.into(), destination.into(), &segment));
    let ip = Ipv4Header { source, destination, protocol: 17, ttl: 9, class, dont_fragment: true };
    [ip.emit(segment.len()).unwrap().as_slice(), &udp.emit(payload.len()).unwrap(), &payload].concat()
}

/// D21 of the vectors: of three packets the kernel lets two pass, one with a right and one with no checksum.
#[test]
fn d21_a_wrong_udp_checksum_is_dropped_by_the_kernel() {
    [Tier::Zero, Tier::One].into_iter().for_each(d21_is_dropped);
}

fn d21_is_dropped(tier: Tier) {
    let (sent, was_sent) = mpsc::channel::<()>();
    let near = move || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).unwrap();
        raw.set_header_included_v4(true).unwrap();
        let to = SockAddr::from(SocketAddr::new(ip(FAR.rlocs[0]), 0));
        for checksum in [Some(0x5cfc), None, Some(0)] {
            raw.send_to(&data_packet(checksum), &to).unwrap();
        }
        sent.send(()).unwrap();
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, tier);
        ready.send(()).unwrap();
        was_sent.recv_timeout(PATIENCE).unwrap();
        let started = Instant::now();
        while node.count(Count::Decapsulated) < 2 && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(node.count(Count::Decapsulated), 2);
        let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let udp: Vec<&str> = snmp.lines().filter(|line| line.starts_with("Udp:")).collect();
        let column = udp[0].split_whitespace().position(|name| name == "InCsumErrors").unwrap();
        assert_eq!(udp[1].split_whitespace().nth(column), Some("1"));
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

/// M12 and M13 of the vectors: what has no UDP checksum over IPv6 (RFC 8200, section 8.1), or a wrong one over either family, never
/// comes out of the sockets of the control half; what is right does.
#[test]
fn m12_and_m13_no_udp_checksum_over_ipv6_and_a_wrong_one_are_dropped_by_the_kernel() {
    let wrong = |right: u16| if right == 0xffff { 1 } else { right + 1 };
    let message = control_vector("M12");
    assert_eq!(message, control_vector("M13"));
    let sent_message = message.clone();
    let near = move || {
        for (from, to) in NEAR.rlocs.map(ip).into_iter().zip(FAR.rlocs.map(ip)) {
            let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let raw = Socket::new(domain, Type::RAW, Some(Protocol::UDP)).unwrap();
            let segment = |checksum| {
                let header = UdpHeader { source: 61_000, destination: wire::CONTROL_PORT, checksum };
                [header.emit(sent_message.len()).unwrap().as_slice(), &sent_message].concat()
            };
            let right = checksum::udp(from, to, &segment(0));
            let none = to.is_ipv6().then_some(0);
            for checksum in none.into_iter().chain([wrong(right), right]) {
                raw.send_to(&segment(checksum), &SockAddr::from(SocketAddr::new(to, 0))).unwrap();
            }
        }
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sockets, mut received) = ControlSockets::bind(&FAR.rlocs.map(ip), &[]).await.unwrap();
            ready.send(()).unwrap();
            for remote in NEAR.rlocs.map(ip) {
                match tokio::time::timeout(PATIENCE, received.recv()).await.unwrap().unwrap() {
                    Received::Message { remote: from, bytes, .. } => {
                        assert_eq!((from, bytes), (SocketAddr::new(remote, 61_000), message.clone()));
                    }
                    other @ Received::TooBig { .. } => panic!("{other:?}"),
                }
            }
            assert!(received.try_recv().is_err(), "one of each family is right");
            drop(sockets);
        });
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

/// The UDP payload of a vector.
fn control_vector(id: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/vectors/vectors.json");
    let all: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let vector = all["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == id).unwrap();
    let text = vector["lisp"].as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_taken_port_and_a_foreign_address_say_what_to_do() {
    [Tier::Zero, Tier::Auto].into_iter().for_each(what_is_taken_is_said);
}

fn what_is_taken_is_said(tier: Tier) {
    let near = move || {
        let (events, _) = tokio::sync::mpsc::channel(1);
        let itr = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let options = |rloc: &str| Options {
            tier,
            tun: TUN.into(),
            mtu: 1400,
            itr: itr.clone(),
            ecn: EcnCompatibility::default(),
            etr: EtrConfig::default(),
            rlocs: vec![ip(rloc)],
        };
        let _taken = UdpSocket::bind((ip(NEAR.rlocs[0]), wire::DATA_PORT)).unwrap();
        let error = DataPlane::start(options(NEAR.rlocs[0]), events.clone()).unwrap_err().to_string();
        assert!(error.contains("4341") && error.contains("in use"), "{error}");
        let error = DataPlane::start(options("198.51.100.9"), events.clone()).unwrap_err().to_string();
        assert!(error.contains("--rloc"), "{error}");
        let running = DataPlane::start(options(NEAR.rlocs[1]), events.clone()).unwrap();
        let mut other = options(FAR.rlocs[1]);
        other.rlocs.clear();
        let error = DataPlane::start(other, events.clone()).unwrap_err().to_string();
        assert!(error.contains("--tun"), "{error}");
        drop(running);
        drop(make_device(libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE));
        let error = DataPlane::start(options(NEAR.rlocs[1]), events).unwrap_err().to_string();
        assert!(error.contains("multi_queue"), "{error}");
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        ready.send(()).unwrap();
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

/// Much data over one TCP connection, inner and outer of both families, through super-packets: all arrives, nothing has a wrong
/// checksum, and far fewer packets cross the TUN devices than segments are encapsulated.
#[test]
fn a_tcp_stream_crosses_in_super_packets_without_a_wrong_checksum() {
    const OCTETS: usize = 20_000_000;
    let near = || {
        let node = Node::start(NEAR, 1500, Tier::One);
        lead_into_tunnel(NEAR, FAR);
        for rloc in FAR.rlocs {
            for (net, host) in FAR.prefixes.iter().zip(FAR.hosts) {
                node.map(net, rloc);
                let mut stream = TcpStream::connect((ip(host), 8080)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(&vec![0x42; OCTETS]).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answer = [0; 8];
                stream
                    .read_exact(&mut answer)
                    .unwrap_or_else(|error| panic!("{rloc} {host}: {error}, {:?}", node.plane.counters().snapshot()));
                assert_eq!(usize::from_be_bytes(answer), OCTETS);
            }
        }
        // Groups that are too long for the cable all at once: the connection finds the new size, and goes on.
        set_cable_mtu(1400);
        let mut stream = TcpStream::connect((ip(FAR.hosts[0]), 8080)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&vec![0x42; OCTETS]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        assert_eq!(node.count(Count::PathMtu), 1);
        let encapsulated = node.count(Count::Encapsulated);
        assert!(encapsulated > 4 * 20_000_000 / 1500, "{encapsulated}");
        assert_eq!(checksum_errors(), 0);
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, Tier::One);
        NEAR.prefixes.iter().for_each(|net| node.map(net, NEAR.rlocs[0]));
        lead_into_tunnel(FAR, NEAR);
        let listeners = FAR.hosts.map(|host| TcpListener::bind((ip(host), 8080)).unwrap());
        ready.send(()).unwrap();
        for listener in [&listeners[0], &listeners[1], &listeners[0], &listeners[1], &listeners[0]] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut octets = Vec::new();
            stream.read_to_end(&mut octets).unwrap();
            assert!(octets.iter().all(|octet| *octet == 0x42));
            stream.write_all(&octets.len().to_be_bytes()).unwrap();
        }
        stop.recv().unwrap();
        assert_eq!(checksum_errors(), 0);
        let written = packets_from_tunnel();
        assert!(
            written * 4 < node.count(Count::Decapsulated),
            "{written} packets of {:?}",
            node.plane.counters().snapshot()
        );
    };
    in_two_namespaces(near, far);
}

/// A TCP connection with an extension header of 488 octets in each packet, of which the headers alone have more than 512.
#[test]
fn a_tcp_stream_with_long_extension_headers_crosses() {
    [Tier::Zero, Tier::One].into_iter().for_each(long_headers_cross);
}

fn long_headers_cross(tier: Tier) {
    const OCTETS: usize = 1_000_000;
    let near = move || {
        let node = Node::start(NEAR, 1500, tier);
        lead_into_tunnel(NEAR, FAR);
        node.map(FAR.prefixes[1], FAR.rlocs[0]);
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        set_destination_options(&socket);
        socket.connect(&SocketAddr::new(ip(FAR.hosts[1]), 8080).into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let counted = || node.plane.counters().snapshot();
        stream.write_all(&vec![0x42; OCTETS]).unwrap_or_else(|error| panic!("{tier:?}: {error}, {:?}", counted()));
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{tier:?}: {error}, {:?}", counted()));
        assert_eq!(usize::from_be_bytes(answer), OCTETS);
        assert_eq!(node.plane.counters().dropped(DropReason::SiteMalformed), 0, "{tier:?}");
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, tier);
        node.map(NEAR.prefixes[1], NEAR.rlocs[0]);
        lead_into_tunnel(FAR, NEAR);
        let listener = TcpListener::bind((ip(FAR.hosts[1]), 8080)).unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).unwrap();
        stream.write_all(&octets.len().to_be_bytes()).unwrap();
        stop.recv().unwrap();
    };
    in_two_namespaces(near, far);
}

/// A device that others have made keeps what the kernel left to the last who had it: in tier 0 that has to be nothing, whoever had it.
#[test]
fn a_persistent_device_that_tier_1_had_carries_a_tcp_stream_in_tier_0() {
    const OCTETS: usize = 1_000_000;
    let near = || {
        drop(make_device(libc::IFF_TUN | libc::IFF_NO_PI));
        drop(Node::start(NEAR, 1500, Tier::One));
        let node = Node::start(NEAR, 1500, Tier::Zero);
        lead_into_tunnel(NEAR, FAR);
        node.map(FAR.prefixes[0], FAR.rlocs[0]);
        let mut stream = TcpStream::connect_timeout(&(ip(FAR.hosts[0]), 8080).into(), PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let counted = || node.plane.counters().snapshot();
        stream.write_all(&vec![0x42; OCTETS]).unwrap_or_else(|error| panic!("{error}, {:?}", counted()));
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{error}, {:?}", counted()));
        assert_eq!(usize::from_be_bytes(answer), OCTETS);
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, Tier::Zero);
        node.map(NEAR.prefixes[0], NEAR.rlocs[0]);
        lead_into_tunnel(FAR, NEAR);
        let listener = TcpListener::bind((ip(FAR.hosts[0]), 8080)).unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).unwrap();
        stream.write_all(&octets.len().to_be_bytes()).unwrap();
        stop.recv().unwrap();
        assert_eq!(checksum_errors(), 0);
    };
    in_two_namespaces(near, far);
}

/// Makes the TUN device of the nodes, with these flags, and leaves it in its namespace.
fn make_device(flags: libc::c_int) -> File {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: ifreq is plain data, for which all zero octets are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(TUN.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap();
    // SAFETY: TUNSETIFF reads and writes one ifreq, and TUNSETPERSIST takes its argument by value.
    let results = unsafe {
        let made = libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, std::ptr::from_mut(&mut request));
        [made, libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, 1)]
    };
    assert_eq!(results, [0, 0], "{}", std::io::Error::last_os_error());
    file
}

/// Two options of an experiment (RFC 4727), which who does not know them skips, in one header of 488 octets.
fn set_destination_options(socket: &Socket) {
    const SKIPPED: u8 = 0x1e;
    const EACH: u8 = 241;
    let option = [&[SKIPPED, EACH][..], &[0; EACH as usize]].concat();
    let header = [&[0, 60], option.as_slice(), &option].concat();
    let length = libc::socklen_t::try_from(header.len()).unwrap();
    let (level, name) = (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS);
    // SAFETY: the option reads an extension header, of the octets that `header` has.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, header.as_ptr().cast(), length) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Packets that the kernel has got from the TUN device.
fn packets_from_tunnel() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with(TUN)).unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// Segments and datagrams with a wrong checksum that the kernel of this namespace has met.
fn checksum_errors() -> u64 {
    let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let of = |protocol: &str| -> u64 {
        let lines: Vec<&str> = snmp.lines().filter(|line| line.starts_with(protocol)).collect();
        let column = lines[0].split_whitespace().position(|name| name == "InCsumErrors").unwrap();
        lines[1].split_whitespace().nth(column).unwrap().parse().unwrap()
    };
    let snmp6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let of_v6 = snmp6.lines().filter(|line| line.starts_with("Udp6InCsumErrors"));
    let of_v6: u64 = of_v6.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
    of("Tcp:") + of("Udp:") + of_v6
}
