// SPDX-License-Identifier: GPL-2.0-or-later
//! A flood of misses: a host of the site sends to one address after the other that nobody has. `lisp-xtr` as it runs, in two network
//! namespaces with a cable between them; its memory stays what it is, and a flow that stands loses nothing. Needs root and
//! `/dev/net/tun`.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::namespace;
use crate::two_nodes::{
    FAR, NEAR, Node, PATIENCE, TUN, bind, echo, host_of_loopback, in_two_namespaces, ip, lead_into_tunnel, prefix,
};
use nix::sys::socket::{setsockopt, sockopt};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use wire::control::{ControlMessage, MapReply, MapRequest};
use wire::record::{LocatorRecord, MappingRecord, Ttl};
use xtr::config::Tier;
use xtr::limits::QUEUES;

/// Addresses that nobody has: some times as many as packets wait for at once.
const MISSES: u64 = 20_000;
/// Packets that wait to be taken from the device at most: the kernel has room for 500, and would drop those of the flow too.
const AHEAD: u64 = 100;
/// Datagrams of the flow before there is a flood, and at least beside it.
const DATAGRAMS: usize = 300;
/// Octets that memory may grow by: what may wait (16 MB) and what resolution keeps.
const GROWTH: u64 = 64 << 20;

#[test]
fn a_flow_that_stands_loses_nothing_by_a_flood_of_misses() {
    [Tier::Zero, Tier::One].into_iter().for_each(flow_beside_misses);
}

fn flow_beside_misses(tier: Tier) {
    let near = move || {
        host_of_loopback(NEAR.hosts[1]);
        let directory = tempfile::tempdir().unwrap();
        let xtr = Program::start(directory.path(), tier);
        let flow = Flow::open();
        let quiet = (0..DATAGRAMS).filter(|_| !flow.echoes()).count();
        let (before, device) = (xtr.resident(), device());
        let [over, enough] = [const { AtomicBool::new(false) }; 2];
        let (sent, lost) = std::thread::scope(|scope| {
            scope.spawn(|| {
                flood(&enough);
                over.store(true, Ordering::Relaxed);
            });
            let (mut sent, mut lost) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                lost += usize::from(!flow.echoes());
                sent += 1;
                enough.store(sent >= DATAGRAMS, Ordering::Relaxed);
            }
            (sent, lost)
        });
        let grown = xtr.resident().saturating_sub(before);
        let counters = xtr.counters();
        let counted = |name: &str| counters["counters"]["packets"][name].as_u64().unwrap();
        let [missed, displaced] = ["queued-packets", "drop-queue-full"].map(counted);
        println!("{tier:?}: {missed} misses; {sent} of the flow beside them, {lost} lost; {grown} octets more");
        assert!(missed >= MISSES && displaced >= MISSES - QUEUES as u64, "no more than so many wait: {counters}");
        assert_eq!((quiet, lost), (0, 0), "lost without the flood, and beside it; {counters}");
        assert_eq!(self::device().dropped, device.dropped, "of what the kernel drops this test says nothing");
        assert!(grown < GROWTH, "{grown} octets");
    };
    let far = move |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, tier);
        NEAR.prefixes.iter().for_each(|net| node.map(net, NEAR.rlocs[0]));
        lead_into_tunnel(FAR, NEAR);
        let resolver = bind(FAR.rlocs[0], wire::CONTROL_PORT);
        resolver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // Of all that is asked, so that the host of the flow is not lost among it.
        setsockopt(&resolver, sockopt::RcvBufForce, &(16 << 20)).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    answer(&resolver);
                }
            });
            echo(FAR.hosts, ready, stop);
            is_over.store(true, Ordering::Relaxed);
        });
    };
    in_two_namespaces(near, far);
}

/// Datagrams to one host, each of which comes back before the next is sent.
struct Flow(UdpSocket);

impl Flow {
    /// When the first has come back, its mapping is there.
    fn open() -> Self {
        let socket = bind(NEAR.hosts[1], 0);
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (flow, started) = (Self(socket), Instant::now());
        while !flow.echoes() {
            assert!(started.elapsed() < PATIENCE, "no echo");
        }
        flow.0.set_read_timeout(Some(PATIENCE)).unwrap();
        flow
    }

    fn echoes(&self) -> bool {
        // Before there is a way into the tunnel it is lost.
        let _ = self.0.send_to(&[0x55; 64], (ip(FAR.hosts[1]), 7));
        self.0.recv(&mut [0; 100]).is_ok()
    }
}

/// To one address of the other site after the other, as fast as the router takes them; until there was `enough` of the flow.
fn flood(enough: &AtomicBool) {
    let (mut random, socket) = (StdRng::seed_from_u64(1), bind(NEAR.hosts[1], 0));
    let (before, started) = (device().taken, Instant::now());
    for sent in 1.. {
        if sent > MISSES && enough.load(Ordering::Relaxed) {
            return;
        }
        let nobody = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 1, 0, 0, random.random(), random.random());
        socket.send_to(&[0xaa; 64], SocketAddr::new(nobody.into(), 9)).unwrap();
        while sent % (AHEAD / 2) == 0 && device().taken + AHEAD / 2 < before + sent {
            assert!(started.elapsed() < 6 * PATIENCE, "the router takes no packets");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// What the kernel counts at the TUN device.
#[derive(Debug, Clone, Copy)]
struct Device {
    taken: u64,
    dropped: u64,
}

fn device() -> Device {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{TUN}:"))).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
    // Eight of what the device has received, then packets and drops of what it has transmitted.
    Device { taken: numbers[9], dropped: numbers[11] }
}

/// As Map-Resolver and as the ETR that is probed: the host of the flow has a mapping, and of others nothing is said.
fn answer(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
    let (request, to): (MapRequest, SocketAddr) = match ControlMessage::decode(&buffer[..length]) {
        Ok(ControlMessage::MapRequest(request)) => (request, from),
        Ok(ControlMessage::Ecm(ecm)) => match ControlMessage::decode(&ecm.message) {
            Ok(ControlMessage::MapRequest(request)) => (request, (ip(NEAR.rlocs[0]), wire::CONTROL_PORT).into()),
            _ => return,
        },
        _ => return,
    };
    let host = prefix("2001:db8:b::1/128");
    if request.records.first().and_then(|record| record.eid.ip_prefix()) != Some(host) {
        return;
    }
    let locator = LocatorRecord { probed: request.probe, ..LocatorRecord::new(ip(FAR.rlocs[0]), 1, 100) };
    let record = MappingRecord {
        ttl: Ttl::DEFAULT,
        action: Default::default(),
        authoritative: true,
        map_version: Default::default(),
        eid: host.into(),
        locators: vec![locator],
    };
    let reply = MapReply { nonce: request.nonce, probe: request.probe, records: vec![record], ..MapReply::default() };
    socket.send_to(&ControlMessage::MapReply(reply).encode().unwrap(), to).unwrap();
}

/// A running `lisp-xtr`, and its folder.
struct Program {
    node: namespace::Node,
    state: String,
}

impl Program {
    fn start(directory: &Path, tier: Tier) -> Self {
        let state = directory.join("state").to_str().unwrap().to_owned();
        let tier = if tier == Tier::Zero { "0" } else { "1" };
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.args(["--eid-prefix", NEAR.prefixes[1], "--rloc", NEAR.rlocs[0], "--map-resolver", FAR.rlocs[0]]);
        command.args(["--tun", TUN, "--tier", tier, "--state-dir", &state]).stdout(Stdio::null());
        Self { node: namespace::Node(command.spawn().unwrap()), state }
    }

    fn counters(&self) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        let output = command.args(["show", "counters", "--json", "--state-dir", &self.state]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Octets of resident memory.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.node.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }
}
