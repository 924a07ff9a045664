// SPDX-License-Identifier: GPL-2.0-or-later
//! Mutated, cut and lying packets into both tiers, which must agree about them: for the test and for the bench.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use wire::address::{EidPrefix, InstanceId};
use wire::data::{IpPacket, OuterHeader, TrafficClass, overhead};
use xtr::counters::{Count, Counters, DropReason};
use xtr::etr::{Etr, EtrConfig, OuterInfo};
use xtr::itr::{Itr, ItrConfig};
use xtr::map_cache::{Entry, Event, Forwarding, Locator, Update};
use xtr::offload::{Gso, GsoKind, Message, Partial, SuperPacket, VnetHeader};
use xtr::shell::decap_loop::DecapLoop;
use xtr::shell::device::{
    CoreSockets, DatagramSockets, Datagrams, GroupSockets, SendError, SiteDevice, SuperDevice, TooBig,
};
use xtr::shell::encap_loop::EncapLoop;
use xtr::shell::packet_loop::PacketLoop;

/// Mutated packets between two good ones.
const BETWEEN: u64 = 500;
/// Datagrams that arrive together.
const TOGETHER: usize = 12;
const MTU: usize = 1500;

/// The kernel on the side of the site.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    out: VecDeque<Vec<u8>>,
    got: Vec<Vec<u8>>,
}

impl SiteDevice for Kernel {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(packet) = self.out.pop_front() else { return Ok(None) };
        buffer[..packet.len()].copy_from_slice(&packet);
        Ok(Some(packet.len()))
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        self.got.push(packet.to_vec());
        Ok(())
    }
}

impl SuperDevice for Kernel {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        SiteDevice::recv(self, buffer)
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let written: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let (vnet, octets) = VnetHeader::parse(&written).unwrap();
        let Some(gso) = vnet.gso else {
            self.got.push(octets.to_vec());
            return Ok(());
        };
        let whole = SuperPacket::parse(gso, vnet.checksum, octets).expect("what is merged can be cut");
        for index in 0..whole.count() {
            let mut segment = Vec::new();
            whole.write_header(octets, index, &mut segment);
            segment.extend_from_slice(&octets[whole.payload(index)]);
            self.got.push(segment);
        }
        Ok(())
    }
}

/// The kernel on the side of the core: payloads of datagrams that arrive, inner packets that were sent.
#[derive(Debug, Default)]
pub(crate) struct Core {
    arrived: VecDeque<(OuterInfo, Vec<u8>)>,
    sent: Vec<(IpAddr, Vec<u8>)>,
}

impl Core {
    fn transmit(&mut self, outer: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        if inner.len() + overhead(outer.destination) > MTU {
            return Err(SendError::TooBig(MTU));
        }
        let packet = IpPacket::parse(inner).expect("what leaves is a packet");
        assert_eq!(packet.octets().len(), inner.len());
        assert_eq!((packet.ttl(), packet.traffic_class()), (outer.ttl, outer.class));
        self.sent.push((outer.destination, inner.to_vec()));
        Ok(())
    }
}

impl CoreSockets for Core {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<(OuterInfo, usize)>> {
        let Some((outer, payload)) = self.arrived.pop_front() else { return Ok(None) };
        buffer[..payload.len()].copy_from_slice(&payload);
        Ok(Some((outer, payload.len())))
    }

    fn send(&mut self, header: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        self.transmit(header, inner)
    }

    fn unreachable(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn read_errors(&mut self) {}

    fn report(&mut self) -> Option<TooBig> {
        None
    }

    fn set_rlocs(&mut self, _: &[IpAddr]) {}
}

impl GroupSockets for Core {
    fn longest_group(&self) -> usize {
        64
    }

    fn send(&mut self, messages: &[Message<'_>], failures: &mut Vec<(usize, SendError)>) {
        for (index, message) in messages.iter().enumerate() {
            let octets: Vec<u8> = message.parts.iter().flat_map(|part| part.to_vec()).collect();
            assert_eq!(octets.len().div_ceil(message.size), message.count);
            for packet in octets.chunks(message.size) {
                if let Err(error) = self.transmit(message.outer, &packet[8..]) {
                    failures.push((index, error));
                    break;
                }
            }
        }
    }

    fn read_errors(&mut self) {}

    fn unreachable(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn report(&mut self) -> Option<TooBig> {
        None
    }

    fn set_rlocs(&mut self, _: &[IpAddr]) {}
}

impl DatagramSockets for Core {
    fn recv(&mut self, memory: &mut [u8], received: &mut Vec<Datagrams>) -> io::Result<bool> {
        let mut start = 0;
        while let Some((outer, payload)) = self.arrived.pop_front() {
            let end = start + payload.len();
            memory[start..end].copy_from_slice(&payload);
            match received.last_mut() {
                Some(last)
                    if last.outer == outer
                        && !payload.is_empty()
                        && payload.len() <= last.size
                        && last.octets.len().is_multiple_of(last.size) =>
                {
                    last.octets.end = end;
                }
                _ => received.push(Datagrams { outer, octets: start..end, size: payload.len() }),
            }
            start = end;
        }
        Ok(false)
    }

    fn set_rlocs(&mut self, _: &[IpAddr]) {}
}

/// Both tiers, and what they were given.
pub(crate) struct Mill {
    random: StdRng,
    now: Instant,
    zero: PacketLoop<Kernel, Core>,
    encap: EncapLoop<Kernel, Core>,
    decap: DecapLoop<Kernel, Core>,
    /// Gets what only tier 1 can be given.
    liar: EncapLoop<Kernel, Core>,
    counters: [Arc<Counters>; 3],
    events: [tokio::sync::mpsc::Receiver<Event>; 3],
    _updates: Vec<SyncSender<Update>>,
    pub(crate) given: u64,
}

/// What a tier has counted of packets of the site that came to an end, or to a queue.
fn site_ends(counters: &Counters) -> u64 {
    let counts = [Count::Encapsulated, Count::Native, Count::Queued, Count::Fragmented];
    let reasons = DropReason::ALL.iter().filter(|reason| !is_of_core(**reason));
    counts.iter().map(|count| counters.get(*count)).sum::<u64>()
        + reasons.map(|reason| counters.dropped(*reason)).sum::<u64>()
}

/// And of packets of the core.
fn core_ends(counters: &Counters) -> u64 {
    let reasons = DropReason::ALL.iter().filter(|reason| is_of_core(**reason));
    counters.get(Count::Decapsulated) + reasons.map(|reason| counters.dropped(*reason)).sum::<u64>()
}

fn is_of_core(reason: DropReason) -> bool {
    reason.key().starts_with("core-") && reason != DropReason::CoreSend
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

impl Mill {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: MTU, gpe_peers: vec![] };
        let counters: [Arc<Counters>; 3] = std::array::from_fn(|_| Arc::default());
        let engines = counters.each_ref().map(|counters| {
            (Itr::new(now, config.clone(), counters.clone()), Etr::new(EtrConfig::default(), counters.clone()))
        });
        let [of_zero, (itr, etr), (lied_to, _)] = engines;
        let queues: [_; 4] = std::array::from_fn(|_| sync_channel(16));
        let [(to_zero, for_zero), (to_encap, for_encap), (to_decap, for_decap), (to_liar, for_liar)] = queues;
        let says: [_; 3] = std::array::from_fn(|_| tokio::sync::mpsc::channel(64));
        let [(say_zero, from_zero), (say_one, from_one), (say_liar, from_liar)] = says;
        let (kernel, core) = (Kernel::default, Core::default);
        let zero = PacketLoop::new(of_zero, (kernel(), core()), (for_zero, say_zero), counters[0].clone());
        let encap = EncapLoop::new(itr, (kernel(), core()), (for_encap, say_one), counters[1].clone());
        let decap = DecapLoop::new(etr, (kernel(), core()), for_decap, counters[1].clone(), true);
        let liar = EncapLoop::new(lied_to, (kernel(), core()), (for_liar, say_liar), counters[2].clone());
        let updates = vec![to_zero, to_encap, to_decap, to_liar];
        let locators = vec![Locator { address: [192, 0, 2, 2].into(), priority: 1, weight: 1 }];
        let entry = Entry { forwarding: Forwarding::Locators(locators), expires: now + Duration::from_secs(1_000_000) };
        for update in [
            Update::LocalRlocs(vec![[192, 0, 2, 1].into()]),
            Update::LocalEids(vec![prefix("10.0.0.0/24"), prefix("2001:db8:a::/48")]),
            Update::Upsert { prefix: prefix("10.0.1.0/24"), entry: entry.clone() },
            Update::Upsert { prefix: prefix("2001:db8:b::/48"), entry },
        ] {
            updates.iter().for_each(|updates| updates.send(update.clone()).unwrap());
        }
        let random = StdRng::seed_from_u64(seed);
        let events = [from_zero, from_one, from_liar];
        let mut mill = Self { random, now, zero, encap, decap, liar, counters, events, _updates: updates, given: 0 };
        mill.turn();
        mill
    }

    /// Gives so many packets to each tier, half from the site and half from the core.
    pub(crate) fn grind(&mut self, count: u64) {
        let until = self.given + count;
        while self.given < until {
            if self.given.is_multiple_of(BETWEEN) {
                self.good_packets_cross();
            }
            match self.random.random_range(0..4) {
                0 => self.lying_super_packet(),
                1 => self.packet_of_the_site(),
                _ => self.datagrams_of_the_core(),
            }
            // So that queues run empty, and expire.
            self.now += Duration::from_millis(1);
        }
    }

    fn turn(&mut self) {
        while self.zero.turn(self.now) {}
        while self.encap.turn(self.now) {}
        while self.decap.turn() {}
        while self.liar.turn(self.now) {}
        self.events.iter_mut().for_each(|events| while events.try_recv().is_ok() {});
    }

    /// The same mutated packet into both tiers: the same leaves, to the core and back to the site.
    fn packet_of_the_site(&mut self) {
        let mut packet = self.sample(true);
        self.mutate(&mut packet);
        let before = self.counters.each_ref().map(|counters| site_ends(counters));
        self.zero.devices_mut().0.out.push_back(packet.clone());
        self.encap.devices_mut().0.out.push_back([VnetHeader::default().emit().as_slice(), &packet].concat());
        self.turn();
        self.given += 1;
        let after = self.counters.each_ref().map(|counters| site_ends(counters));
        assert!(after[0] > before[0] && after[1] - before[1] == after[0] - before[0], "lost: {packet:x?}");
        let (of_zero, of_one) = (self.zero.devices_mut(), self.encap.devices_mut());
        assert_eq!(std::mem::take(&mut of_zero.1.sent), std::mem::take(&mut of_one.1.sent), "{packet:x?}");
        assert_eq!(std::mem::take(&mut of_zero.0.got), std::mem::take(&mut of_one.0.got), "{packet:x?}");
    }

    /// A vnet header that does not fit: nothing but whole packets leaves, and what does not is counted.
    fn lying_super_packet(&mut self) {
        let mut packet = self.sample(true);
        let random = &mut self.random;
        let kind = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp][random.random_range(0..3)];
        let near = |random: &mut StdRng, value: u16| match random.random_range(0..4) {
            0 => random.random(),
            _ => value,
        };
        let start = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let offset = if kind == GsoKind::Udp { 6 } else { 16 };
        let size = random.random_range(0..600);
        let vnet = VnetHeader {
            checksum: random
                .random_bool(0.9)
                .then_some(Partial { start: near(random, start), offset: near(random, offset) }),
            gso: random.random_bool(0.9).then_some(Gso { kind, size, congestion: random.random() }),
            header_length: random.random(),
        };
        if self.random.random() {
            self.mutate(&mut packet);
        }
        let before = site_ends(&self.counters[2]);
        self.liar.devices_mut().0.out.push_back([vnet.emit().as_slice(), &packet].concat());
        self.turn();
        self.given += 1;
        assert!(site_ends(&self.counters[2]) > before, "lost: {vnet:?} {packet:x?}");
        let (site, core) = self.liar.devices_mut();
        site.got.clear();
        core.sent.clear();
    }

    /// The same mutated datagrams into both tiers: the same packets reach the site, in another order at most.
    fn datagrams_of_the_core(&mut self) {
        let ttl = self.random.random_range(1..=255);
        let outer = OuterInfo {
            source: [192, 0, 2, 2].into(),
            destination: [192, 0, 2, 1].into(),
            source_port: 50_000,
            ttl,
            class: TrafficClass(self.random.random()),
        };
        let segments = self.connection();
        let before = self.counters.each_ref().map(|counters| core_ends(counters));
        for segment in &segments {
            let mut payload = [&[0; 8], segment.as_slice()].concat();
            if self.random.random_bool(0.3) {
                self.mutate(&mut payload);
            }
            self.zero.devices_mut().1.arrived.push_back((outer, payload.clone()));
            self.decap.devices_mut().1.arrived.push_back((outer, payload));
        }
        self.turn();
        self.given += segments.len() as u64;
        for (counters, before) in self.counters.iter().zip(before).take(2) {
            assert_eq!(core_ends(counters), before + segments.len() as u64);
        }
        let sorted = |packets: &mut Vec<Vec<u8>>| {
            let mut packets: Vec<Vec<u8>> = std::mem::take(packets).into_iter().map(without_identification).collect();
            packets.sort();
            packets
        };
        // ICMP errors about packets that waited in vain are due whenever the clock says so.
        let late = std::mem::take(&mut self.encap.devices_mut().0.got);
        self.decap.devices_mut().0.got.extend(late);
        let (of_zero, of_one) =
            (sorted(&mut self.zero.devices_mut().0.got), sorted(&mut self.decap.devices_mut().0.got));
        assert_eq!(of_zero, of_one);
    }

    fn good_packets_cross(&mut self) {
        let good = tcp(true, false, 7, 0, &[0x77; 700]);
        self.zero.devices_mut().0.out.push_back(good.clone());
        self.encap.devices_mut().0.out.push_back([VnetHeader::default().emit().as_slice(), &good].concat());
        self.turn();
        for sent in [&mut self.zero.devices_mut().1.sent, &mut self.encap.devices_mut().1.sent] {
            assert_eq!(sent.last().map(|(_, inner)| inner), Some(&good));
            sent.clear();
        }
        let (of_zero, of_one) = (self.zero.devices_mut(), self.encap.devices_mut());
        of_zero.0.got.clear();
        of_one.0.got.clear();
    }

    /// A packet of the site to an EID elsewhere, whole and right, or of it to the site.
    fn sample(&mut self, from_site: bool) -> Vec<u8> {
        let length = self.random.random_range(1..1200);
        let payload = vec![self.random.random(); length];
        let (v6, udp) = (self.random.random(), self.random.random_range(0..3) == 0);
        match udp {
            true => udp_packet(v6, from_site, &payload),
            false => tcp(v6, !from_site, self.random.random_range(0..9), 0, &payload),
        }
    }

    /// Segments of two connections to the site between each other.
    fn connection(&mut self) -> Vec<Vec<u8>> {
        let (v6, size) = (self.random.random(), self.random.random_range(1..300));
        let mut sequences = [0, 0];
        (0..TOGETHER)
            .map(|_| {
                let flow = usize::from(self.random.random_bool(0.2));
                let packet = tcp(v6, true, u16::try_from(flow).unwrap(), sequences[flow], &vec![0x5a; size]);
                sequences[flow] += u32::try_from(size).unwrap();
                packet
            })
            .collect()
    }

    /// Changes some octets, those of the headers rather than others, or the length.
    fn mutate(&mut self, packet: &mut Vec<u8>) {
        let random = &mut self.random;
        for _ in 0..random.random_range(1..5) {
            let length = packet.len();
            if length == 0 {
                return;
            }
            let reach = if random.random() { length.min(70) } else { length };
            let at = random.random_range(0..reach);
            match random.random_range(0..6) {
                0 => packet[at] = random.random(),
                1 => packet[at] ^= 1 << random.random_range(0..8),
                2 => packet[at] = [0, 0xff, 0x45, 0x60][random.random_range(0..4)],
                3 => packet.truncate(at),
                4 => packet.extend(std::iter::repeat_n(0xa5, random.random_range(1..40))),
                _ => packet[at] = packet[at].wrapping_add(1),
            }
        }
    }
}

/// The identification of a right packet with DF says nothing.
fn without_identification(mut packet: Vec<u8>) -> Vec<u8> {
    if packet.len() >= 20
        && packet[0] == 0x45
        && packet[6] & 0x40 != 0
        && wire::data::checksum::internet(&packet[..20]) == 0
    {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

fn addresses(v6: bool, to_site: bool) -> (IpAddr, IpAddr) {
    let (near, far): (IpAddr, IpAddr) = match v6 {
        true => ("2001:db8:a::1".parse().unwrap(), "2001:db8:b::1".parse().unwrap()),
        false => ([10, 0, 0, 1].into(), [10, 0, 1, 1].into()),
    };
    if to_site { (far, near) } else { (near, far) }
}

fn in_ip(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    use wire::data::{Ipv4Header, Ipv6Header};
    let (ttl, class) = (60, TrafficClass(2));
    let header = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Ipv4Header { source, destination, protocol, ttl, class, dont_fragment: true }
                .emit(segment.len())
                .unwrap()
                .to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Ipv6Header { source, destination, next_header: protocol, hop_limit: ttl, class, flow_label: 3 }
                .emit(segment.len())
                .unwrap()
                .to_vec()
        }
        _ => unreachable!("both are of one family"),
    };
    [header, segment.to_vec()].concat()
}

fn tcp(v6: bool, to_site: bool, port: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = addresses(v6, to_site);
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&port.to_be_bytes());
    segment[3] = 80;
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    (segment[12], segment[13]) = (5 << 4, 0x10);
    segment.extend_from_slice(payload);
    let sum = wire::data::checksum::transport(source, destination, 6, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    in_ip(source, destination, 6, &segment)
}

fn udp_packet(v6: bool, from_site: bool, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = addresses(v6, !from_site);
    let header = wire::data::UdpHeader { source: 9, destination: 53, checksum: 0 }.emit(payload.len()).unwrap();
    let mut segment = [header.as_slice(), payload].concat();
    let sum = wire::data::checksum::udp(source, destination, &segment);
    segment[6..8].copy_from_slice(&sum.to_be_bytes());
    in_ip(source, destination, 17, &segment)
}
