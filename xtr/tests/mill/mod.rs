// SPDX-License-Identifier: GPL-2.0-or-later
//! Mutated, cut and lying packets into both tiers, which must agree about them: for the test and for the bench.

mod kernel;
mod peers;
mod reached;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use wire::address::InstanceId;
use wire::data::{LispHeader, TrafficClass, checksum};
use xtr::counters::{Count, Counters, DropReason};
use xtr::etr::{Etr, OuterInfo};
use xtr::itr::{Itr, ItrConfig};
use xtr::map_cache::{Event, Update};
use xtr::offload::{Gso, GsoKind, Partial, VnetHeader};
use xtr::shell::decap_loop::DecapLoop;
use xtr::shell::device::SuperDevice;
use xtr::shell::encap_loop::EncapLoop;
use xtr::shell::packet_loop::PacketLoop;
use xtr::shell::relay::{RelayEnd, relay};

use kernel::{Core, Kernel, MTU};
use peers::{PEERS, Peer};

/// Packets after which every engine has had some.
pub(crate) const ENOUGH: u64 = 30_000;
/// Mutated packets between two good ones.
const BETWEEN: u64 = 500;
/// Datagrams that arrive together.
const TOGETHER: usize = 12;
/// Updates and events on their way.
const UPDATES: usize = 256;
const EVENTS: usize = 1024;

/// Both tiers, and what they were given.
pub(crate) struct Mill {
    random: StdRng,
    now: Instant,
    zero: PacketLoop<Kernel, Core>,
    encap: EncapLoop<Kernel, Core>,
    decap: DecapLoop<Kernel, Core>,
    /// What the two threads of tier 1 hand over to each other.
    relay: RelayEnd,
    /// Get what only tier 1 can be given.
    liar: EncapLoop<Kernel, Core>,
    lied_to: DecapLoop<Kernel, Core>,
    /// Of tier 0, of tier 1, and of each of those that are lied to.
    counters: [Arc<Counters>; 4],
    /// The same.
    events: [tokio::sync::mpsc::Receiver<Event>; 4],
    updates: Vec<SyncSender<Update>>,
    /// What the trusted peer is asked to echo.
    nonce: u32,
    pub(crate) given: u64,
    /// Packets of each peer that both tiers took, or let wait.
    taken: BTreeMap<Peer, u64>,
    /// Where both tiers have sent to.
    reached: BTreeSet<IpAddr>,
}

/// What a tier has counted of packets of the site that came to an end, or to a queue.
fn site_ends(counters: &Counters) -> u64 {
    let counts = [Count::Encapsulated, Count::Native, Count::Queued, Count::Fragmented];
    let reasons = DropReason::ALL.iter().filter(|reason| !is_of_core(**reason));
    counts.iter().map(|count| counters.get(*count)).sum::<u64>()
        + reasons.map(|reason| counters.dropped(*reason)).sum::<u64>()
        // What has no hops left is taken for one that an RTR relays.
        + counters.dropped(DropReason::CoreTtl)
}

/// And of packets of the core: those that waited for a verdict have another end later.
fn core_ends(counters: &Counters) -> u64 {
    let reasons = DropReason::ALL.iter().filter(|reason| is_of_core(**reason));
    taken(counters) + reasons.map(|reason| counters.dropped(*reason)).sum::<u64>()
}

/// Of these: packets that were taken, relayed ones among them, or wait, and control messages.
fn taken(counters: &Counters) -> u64 {
    let counts = [Count::Decapsulated, Count::SourceWaited, Count::ControlMessages];
    counts.iter().map(|count| counters.get(*count)).sum()
}

/// What is to be the same in both tiers.
fn of_the_core(counters: &Counters) -> Vec<(String, u64)> {
    let others = [Count::Decapsulated, Count::DecapsulatedBytes, Count::Petr, Count::SourceWaited, Count::Relayed];
    let others = others.map(Count::key);
    let mut counted = counters.snapshot();
    counted.retain(|(key, _)| {
        let is_dropped = key.strip_prefix("drop-").is_some_and(|key| key.starts_with("core-") && key != "core-send");
        is_dropped || key.starts_with("core-") || others.contains(&key.as_str())
    });
    counted
}

fn sorted(packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = packets.into_iter().map(without_identification).collect();
    packets.sort();
    packets
}

fn is_of_core(reason: DropReason) -> bool {
    reason.key().starts_with("core-") && reason != DropReason::CoreSend
}

impl Mill {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        let config =
            ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: MTU, gpe_peers: peers::gpe_peers() };
        let counters: [Arc<Counters>; 4] = std::array::from_fn(|_| Arc::default());
        let itr = |counters: &Arc<Counters>| {
            let itr = Itr::new(now, config.clone(), counters.clone());
            itr.trusting(peers::trust()).relaying(true, &peers::petr_for())
        };
        let etr = |counters: &Arc<Counters>| Etr::new(peers::etr(), counters.clone());
        let says: [_; 4] = std::array::from_fn(|_| tokio::sync::mpsc::channel(EVENTS));
        let [say_zero, say_one, say_liar, say_lied_to] = says.each_ref().map(|(say, _)| say.clone());
        let (updates, queues): (Vec<_>, Vec<_>) = (0..5).map(|_| sync_channel(UPDATES)).unzip();
        let mut queues = queues.into_iter();
        let mut queue = || queues.next().unwrap();
        let core = |lie| (Kernel::default(), Core { lie, ..Core::default() });
        let of_zero = (itr(&counters[0]), etr(&counters[0]));
        let zero = PacketLoop::new(of_zero, core(None), (queue(), say_zero), counters[0].clone());
        let encap = EncapLoop::new(itr(&counters[1]), core(None), (queue(), say_one.clone()), counters[1].clone());
        let (out, relay) = relay().unwrap();
        let decap = DecapLoop::new(etr(&counters[1]), core(None), queue(), counters[1].clone(), true);
        let decap = decap.with_events(&say_one).with_relay(Some(out));
        let liar = EncapLoop::new(itr(&counters[2]), core(None), (queue(), say_liar), counters[2].clone());
        let lied_to = DecapLoop::new(etr(&counters[3]), core(Some(0)), queue(), counters[3].clone(), true);
        let lied_to = lied_to.with_events(&say_lied_to);
        let (random, events) = (StdRng::seed_from_u64(seed), says.map(|(_, events)| events));
        let (given, nonce, taken, reached) = (0, 0, BTreeMap::new(), BTreeSet::new());
        let mut mill = Self {
            random,
            now,
            zero,
            encap,
            decap,
            relay,
            liar,
            lied_to,
            counters,
            events,
            updates,
            nonce,
            given,
            taken,
            reached,
        };
        mill.turn();
        peers::updates(now).into_iter().for_each(|update| mill.tell(&update));
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
            match self.random.random_range(0..6) {
                0 => self.lying_super_packet(),
                1 => self.lying_datagrams(),
                2 => self.packet_of_the_site(),
                _ => self.datagrams_of_the_core(),
            }
            // So that queues run empty, and expire.
            self.now += Duration::from_millis(1);
        }
    }

    /// After [`ENOUGH`] packets: fails where an engine of the ETR has had nothing to do.
    pub(crate) fn assert_every_engine_was_entered(&self) {
        reached::assert(self);
    }

    /// The counters of both tiers.
    fn counted(&self) -> [&Counters; 2] {
        [&self.counters[0], &self.counters[1]]
    }

    /// As control, to all.
    fn tell(&self, update: &Update) {
        self.updates.iter().for_each(|updates| updates.send(update.clone()).unwrap());
    }

    /// Has all do what there is to do. Both tiers ask control the same, and hear the same.
    fn turn(&mut self) {
        while self.zero.turn(self.now) {}
        self.decap.advance(self.now);
        while self.decap.turn() {}
        let mut buffer = vec![0; 70_000];
        while let Some(length) = SuperDevice::recv(&mut self.relay, &mut buffer).unwrap() {
            self.encap.devices_mut().0.out.push_back(buffer[..length].to_vec());
        }
        while self.encap.turn(self.now) {}
        while self.liar.turn(self.now) {}
        self.lied_to.advance(self.now);
        while self.lied_to.turn() {}
        let [zero, one, ..] = self.events.each_mut().map(|events| {
            let mut said = Vec::new();
            while let Ok(event) = events.try_recv() {
                said.push(event);
            }
            said
        });
        let sorted = |events: &[Event]| {
            let mut texts: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
            texts.sort();
            texts
        };
        assert_eq!(sorted(&zero), sorted(&one), "what control is told");
        for update in zero.iter().filter_map(|event| peers::answer(self.now, event)) {
            self.tell(&update);
        }
    }

    /// The same mutated packet into both tiers: the same leaves, to the core and back to the site.
    fn packet_of_the_site(&mut self) {
        let mut packet = self.sample();
        self.mutate(&mut packet);
        let before = self.counters.each_ref().map(|counters| site_ends(counters));
        self.zero.devices_mut().0.out.push_back(packet.clone());
        self.encap.devices_mut().0.out.push_back([VnetHeader::default().emit().as_slice(), &packet].concat());
        self.turn();
        self.given += 1;
        let after = self.counters.each_ref().map(|counters| site_ends(counters));
        assert!(after[0] > before[0] && after[1] - before[1] == after[0] - before[0], "lost: {packet:x?}");
        let (of_zero, of_one) = (self.zero.devices_mut(), self.encap.devices_mut());
        let (sent, of_one) = (std::mem::take(&mut of_zero.1.sent), std::mem::take(&mut of_one.1.sent));
        assert_eq!(sent, of_one, "{packet:x?}");
        self.reached.extend(sent.iter().map(|(destination, _)| *destination));
        self.compare_what_the_site_got();
    }

    /// Of packets from the core those of several flows come in another order at most. ICMP errors about packets that waited in vain are due
    /// whenever the clock says so, and packets that waited for a verdict on their source when that is told.
    fn compare_what_the_site_got(&mut self) {
        let late = std::mem::take(&mut self.encap.devices_mut().0.got);
        self.decap.devices_mut().0.got.extend(late);
        let of_zero = std::mem::take(&mut self.zero.devices_mut().0.got);
        let of_one = std::mem::take(&mut self.decap.devices_mut().0.got);
        assert_eq!(sorted(of_zero), sorted(of_one));
    }

    /// A vnet header that does not fit: nothing but whole packets leaves, and what does not is counted.
    fn lying_super_packet(&mut self) {
        let mut packet = self.sample();
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

    /// Datagrams that come as the kernel does not say: cut anywhere, each piece comes to an end that is counted.
    fn lying_datagrams(&mut self) {
        let peer = PEERS[self.random.random_range(0..PEERS.len())];
        let (outer, datagrams) = self.datagrams(peer);
        let size = match self.random.random_range(0..4) {
            0 => 0,
            1 => self.random.random_range(1..40),
            2 => (datagrams[0].len() + self.random.random_range(0..3)).saturating_sub(1),
            _ => self.random.random_range(1..4000),
        };
        let octets: usize = datagrams.iter().map(Vec::len).sum();
        let before = core_ends(&self.counters[3]);
        let core = self.lied_to.devices_mut().1;
        core.lie = Some(size);
        core.arrived.extend(datagrams.into_iter().map(|datagram| (outer, datagram)));
        self.turn();
        self.given += 1;
        let pieces = octets.div_ceil(size.max(1)) as u64;
        assert!(core_ends(&self.counters[3]) >= before + pieces, "lost: {octets} octets, said to be {size} each");
        self.lied_to.devices_mut().0.got.clear();
    }

    /// What a peer sends at a time, some of it mutated.
    fn datagrams(&mut self, peer: Peer) -> (OuterInfo, Vec<Vec<u8>>) {
        let outer = peer.outer(&mut self.random);
        let ends = peer.inner(&mut self.random);
        let datagrams = self.connection(ends).into_iter().map(|segment| {
            let lisp = peer.lisp(&mut self.random, ends.0.is_ipv6(), self.nonce);
            let mut payload = [&lisp, segment.as_slice()].concat();
            if self.random.random_bool(0.3) {
                self.mutate(&mut payload);
            }
            payload
        });
        let datagrams = datagrams.collect();
        (outer, datagrams)
    }

    /// The same mutated datagrams into both tiers: the same packets reach the site and the core.
    fn datagrams_of_the_core(&mut self) {
        let peer = PEERS[self.random.random_range(0..PEERS.len())];
        let (outer, datagrams) = self.datagrams(peer);
        let before = self.counters.each_ref().map(|counters| (core_ends(counters), taken(counters)));
        let suppressed = self.counters[0].get(Count::IcmpSuppressed);
        for payload in &datagrams {
            self.zero.devices_mut().1.arrived.push_back((outer, payload.clone()));
            self.decap.devices_mut().1.arrived.push_back((outer, payload.clone()));
        }
        self.turn();
        self.given += datagrams.len() as u64;
        let [zero, one] = [0, 1].map(|tier| core_ends(&self.counters[tier]) - before[tier].0);
        assert!(zero == one && zero >= datagrams.len() as u64, "{zero} and {one} of {}", datagrams.len());
        let counted = self.counted().map(of_the_core);
        assert_eq!(counted[0], counted[1]);
        *self.taken.entry(peer).or_default() += taken(&self.counters[0]) - before[0].1;
        let (sent, of_one) =
            (std::mem::take(&mut self.zero.devices_mut().1.sent), std::mem::take(&mut self.encap.devices_mut().1.sent));
        self.reached.extend(sent.iter().map(|(destination, _)| *destination));
        let inner = |sent: Vec<(IpAddr, Vec<u8>)>| sorted(sent.into_iter().map(|(_, inner)| inner).collect());
        let are_limited = self.counters[0].get(Count::IcmpSuppressed) > suppressed;
        let said = |sent| but_limited_errors(inner(sent), are_limited);
        assert_eq!(said(sent), said(of_one));
        self.compare_what_the_site_got();
    }

    /// One each way; and the trusted peer is asked for another echo.
    fn good_packets_cross(&mut self) {
        self.nonce = self.random.random_range(0..1 << 24);
        self.tell(&peers::echo_request(self.nonce));
        let ends = ("10.0.0.1".parse().unwrap(), "10.0.1.1".parse().unwrap());
        let good = tcp(ends, 7, 0, &[0x77; 700]);
        self.zero.devices_mut().0.out.push_back(good.clone());
        self.encap.devices_mut().0.out.push_back([VnetHeader::default().emit().as_slice(), &good].concat());
        self.turn();
        for sent in [&mut self.zero.devices_mut().1.sent, &mut self.encap.devices_mut().1.sent] {
            assert_eq!(sent.last().map(|(_, inner)| inner), Some(&good));
            sent.clear();
        }
        self.compare_what_the_site_got();
        let outer = OuterInfo { ttl: 64, class: TrafficClass(2), ..Peer::Plain.outer(&mut self.random) };
        let back = tcp((ends.1, ends.0), 7, 0, &[0x77; 700]);
        let datagram = [&[0; LispHeader::LENGTH], back.as_slice()].concat();
        self.zero.devices_mut().1.arrived.push_back((outer, datagram.clone()));
        self.decap.devices_mut().1.arrived.push_back((outer, datagram));
        self.turn();
        assert_eq!(self.zero.devices_mut().0.got.last(), Some(&back));
        self.compare_what_the_site_got();
    }

    /// A packet of the site to an EID elsewhere, whole and right.
    fn sample(&mut self) -> Vec<u8> {
        let length = self.random.random_range(1..1200);
        let payload = vec![self.random.random(); length];
        let far: IpAddr = peers::ELSEWHERE[self.random.random_range(0..peers::ELSEWHERE.len())].parse().unwrap();
        let near = if far.is_ipv4() { "10.0.0.1" } else { "2001:db8:a::1" }.parse().unwrap();
        match self.random.random_range(0..3) == 0 {
            true => udp_packet((near, far), &payload),
            false => tcp((near, far), self.random.random_range(0..9), 0, &payload),
        }
    }

    /// Segments of two connections between each other.
    fn connection(&mut self, ends: (IpAddr, IpAddr)) -> Vec<Vec<u8>> {
        let size = self.random.random_range(1..300);
        let mut sequences = [0, 0];
        (0..TOGETHER)
            .map(|_| {
                let flow = usize::from(self.random.random_bool(0.2));
                let packet = tcp(ends, u16::try_from(flow).unwrap(), sequences[flow], &vec![0x5a; size]);
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

/// Where ICMP errors were held back, of these only how many were sent: which packets have theirs depends on the order, and a burst of several
/// connections has not the same one in both tiers.
fn but_limited_errors(packets: Vec<Vec<u8>>, are_limited: bool) -> (Vec<Vec<u8>>, usize) {
    let is_error = |packet: &Vec<u8>| match packet.first().map(|first| first >> 4) {
        Some(4) => packet.len() >= 28 && packet[9] == 1 && matches!(packet[20], 3 | 11 | 12),
        Some(6) => packet.len() >= 48 && packet[6] == 58 && packet[40] < 128,
        _ => false,
    };
    let (errors, others): (Vec<_>, Vec<_>) = packets.into_iter().partition(|packet| are_limited && is_error(packet));
    (others, errors.len())
}

/// The identification of a right packet with DF says nothing, nor does it where an ICMP error quotes one.
fn without_identification(mut packet: Vec<u8>) -> Vec<u8> {
    forget_identification(&mut packet);
    let is_error = packet.len() >= 28 && packet[0] == 0x45 && packet[9] == 1 && matches!(packet[20], 3 | 11 | 12);
    if is_error && checksum::internet(&packet[20..]) == 0 && forget_identification(&mut packet[28..]) {
        packet[22..24].fill(0);
    }
    packet
}

/// Whether there was one.
fn forget_identification(packet: &mut [u8]) -> bool {
    let is_atomic =
        packet.len() >= 20 && packet[0] == 0x45 && packet[6] & 0x40 != 0 && checksum::internet(&packet[..20]) == 0;
    if is_atomic {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    is_atomic
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

fn tcp((source, destination): (IpAddr, IpAddr), port: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&port.to_be_bytes());
    segment[3] = 80;
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    (segment[12], segment[13]) = (5 << 4, 0x10);
    segment.extend_from_slice(payload);
    let sum = checksum::transport(source, destination, 6, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    in_ip(source, destination, 6, &segment)
}

fn udp_packet((source, destination): (IpAddr, IpAddr), payload: &[u8]) -> Vec<u8> {
    let header = wire::data::UdpHeader { source: 9, destination: 53, checksum: 0 }.emit(payload.len()).unwrap();
    let mut segment = [header.as_slice(), payload].concat();
    let sum = checksum::udp(source, destination, &segment);
    segment[6..8].copy_from_slice(&sum.to_be_bytes());
    in_ip(source, destination, 17, &segment)
}
