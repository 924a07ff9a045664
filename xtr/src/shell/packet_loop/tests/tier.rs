// SPDX-License-Identifier: GPL-2.0-or-later
//! Both tiers with kernels in memory, of which a test sees packets only: what is offered to a tier, and what it sends.

#[path = "../../../../tests/mill/site.rs"]
mod site;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, sync_channel};

pub(super) use site::Kernel;
use wire::data::{IpPacket, LispHeader, OuterHeader, UdpHeader, overhead};

use super::super::*;
use crate::etr::OuterInfo;
use crate::offload::{Coalescer, Message, SuperPacket, VnetHeader};
use crate::shell::decap_loop::DecapLoop;
use crate::shell::device::{DatagramSockets, Datagrams, GroupSockets, SuperDevice, TooBig};
use crate::shell::encap_loop::EncapLoop;
use crate::shell::relay::{RelayEnd, relay};
use crate::shell::ungrouped::Ungrouped;

/// What the kernel of the site has for a node at one moment: one packet, or the segments of a super-packet.
#[derive(Debug, Clone)]
pub(super) struct Offered {
    segments: Vec<Vec<u8>>,
    /// The super-packet behind its vnet header, if that is not to be made of them.
    whole: Option<Vec<u8>>,
}

impl Offered {
    pub(super) fn whole(packet: Vec<u8>) -> Self {
        Self::segments(vec![packet])
    }

    pub(super) fn segments(segments: Vec<Vec<u8>>) -> Self {
        Self { segments, whole: None }
    }

    /// A super-packet that nobody but the kernel makes.
    pub(super) fn cut(segments: Vec<Vec<u8>>, (vnet, octets): (VnetHeader, Vec<u8>)) -> Self {
        Self { segments, whole: Some([vnet.emit().as_slice(), &octets].concat()) }
    }

    /// As a kernel with offload hands it over.
    fn into_super_packet(self) -> Vec<u8> {
        if let Some(whole) = self.whole {
            return whole;
        }
        let mut memory = self.segments.concat();
        let mut coalescer = Coalescer::new(true);
        let mut start = 0;
        for packet in &self.segments {
            coalescer.push(&memory, start..start + packet.len());
            start += packet.len();
        }
        coalescer.seal(&mut memory);
        let mut written = coalescer.packets();
        let (vnet, parts) = written.next().unwrap();
        let octets = parts.flat_map(|part| memory[part].to_vec());
        let whole = vnet.emit().into_iter().chain(octets).collect();
        assert!(written.next().is_none(), "the segments of one super-packet");
        whole
    }
}

pub(super) trait Tier: Sized {
    fn new(engines: (Itr, Etr), events: Sender<Event>, counters: Arc<Counters>) -> Self;
    fn update(&self, update: Update);
    fn turn(&mut self, now: Instant) -> bool;
    fn has_events(&self) -> bool;
    fn offer(&mut self, offered: Offered);
    /// Inner packets that the kernel got.
    fn got(&self) -> Vec<Vec<u8>>;
    /// Outer packets that left.
    fn take_sent(&mut self) -> Vec<Vec<u8>>;
    fn arrive(&mut self, packets: Vec<Vec<u8>>);
    fn set_mtu(&mut self, mtu: usize);
    /// From now on the kernel takes no packet to the core for this reason; none = it does.
    fn set_errno(&mut self, errno: Option<i32>);
    fn report(&mut self, report: TooBig);
    fn report_unreachable(&mut self, quoted: Vec<u8>);
    fn rlocs(&self) -> Vec<IpAddr>;
    /// Packets that were too long for the way out, as often as they were offered.
    fn refused(&self) -> usize;
}

/// One end of the wire, of this MTU. What it sends waits to be carried to the other end.
#[derive(Debug)]
pub(super) struct End {
    sent: Vec<Vec<u8>>,
    arrived: VecDeque<Vec<u8>>,
    mtu: usize,
    errno: Option<i32>,
    refused: usize,
    reports: Vec<TooBig>,
    unreachable: Vec<Vec<u8>>,
    rlocs: Vec<IpAddr>,
    /// Groups to these are refused: an IPsec policy, or an interface without checksums on the way.
    refuses_groups_to: Vec<IpAddr>,
    ungrouped: Ungrouped,
    /// How many packets each message had that was taken, and where it went.
    taken: Vec<(IpAddr, usize)>,
    calls: usize,
}

impl End {
    fn new() -> Self {
        let (sent, arrived, reports, rlocs) = (vec![], VecDeque::new(), vec![], vec![]);
        let (refuses_groups_to, ungrouped, taken) = (vec![], Ungrouped::default(), vec![]);
        let (unreachable, mtu, refused, errno, calls) = (vec![], 1500, 0, None, 0);
        Self {
            sent,
            arrived,
            mtu,
            refused,
            errno,
            reports,
            unreachable,
            rlocs,
            refuses_groups_to,
            ungrouped,
            taken,
            calls,
        }
    }

    fn transmit(&mut self, header: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        if let Some(errno) = self.errno {
            return Err(io::Error::from_raw_os_error(errno).into());
        }
        if inner.len() + overhead(header.destination) > self.mtu {
            self.refused += 1;
            return Err(SendError::TooBig(self.mtu));
        }
        let mut buffer = [0; OuterHeader::LONGEST];
        self.sent.push([header.emit(inner.len(), &mut buffer).unwrap(), inner].concat());
        Ok(())
    }
}

/// What a socket says of an outer packet, and its payload.
fn received(octets: &[u8]) -> (OuterInfo, &[u8]) {
    let outer = IpPacket::parse(octets).unwrap();
    let (udp, payload) = UdpHeader::parse(outer.transport().unwrap().1).unwrap();
    let info = OuterInfo {
        source: outer.source(),
        destination: outer.destination(),
        source_port: udp.source,
        ttl: outer.ttl(),
        class: outer.traffic_class(),
    };
    (info, payload)
}

impl CoreSockets for End {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<(OuterInfo, usize)>> {
        let Some(octets) = self.arrived.pop_front() else { return Ok(None) };
        let (info, payload) = received(&octets);
        buffer[..payload.len()].copy_from_slice(payload);
        Ok(Some((info, payload.len())))
    }

    fn send(&mut self, header: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        self.transmit(header, inner)
    }

    fn unreachable(&mut self) -> Option<Vec<u8>> {
        self.unreachable.pop()
    }

    fn read_errors(&mut self) {}

    fn report(&mut self) -> Option<TooBig> {
        self.reports.pop()
    }

    fn set_rlocs(&mut self, rlocs: &[IpAddr]) {
        self.rlocs = rlocs.to_vec();
    }
}

impl GroupSockets for End {
    fn longest_group(&self) -> usize {
        if self.ungrouped.is_full() { 1 } else { 64 }
    }

    fn ungrouped(&mut self, now: Instant) -> &[IpAddr] {
        self.ungrouped.known(now)
    }

    /// A group of packets longer than the MTU is refused as a whole, and without a word about the MTU.
    fn send(&mut self, messages: &[Message<'_>], failures: &mut Vec<(usize, SendError)>) {
        self.calls += 1;
        for (index, message) in messages.iter().enumerate() {
            if let Some(errno) = self.errno {
                failures.push((index, io::Error::from_raw_os_error(errno).into()));
                continue;
            }
            let octets: Vec<u8> = message.parts.iter().flat_map(|part| part.to_vec()).collect();
            assert_eq!(octets.len().div_ceil(message.size), message.count);
            let length = message.size - LispHeader::LENGTH + overhead(message.outer.destination);
            let locator = message.outer.destination;
            let refused = match self.refuses_groups_to.contains(&locator) {
                true => Some(libc::EIO),
                false => Some(libc::EMSGSIZE).filter(|_| length > self.mtu),
            };
            if message.count > 1
                && let Some(errno) = refused
            {
                // As the pool of sockets does.
                if errno == libc::EIO {
                    self.ungrouped.on_refused(locator);
                }
                failures.push((index, io::Error::from_raw_os_error(errno).into()));
                continue;
            }
            if message.count == 1 {
                self.ungrouped.on_taken(locator);
            }
            if let Some(errno) = self.errno {
                failures.push((index, io::Error::from_raw_os_error(errno).into()));
                continue;
            }
            self.taken.push((locator, message.count));
            for packet in octets.chunks(message.size) {
                assert_eq!(packet[..8], message.outer.lisp);
                if let Err(error) = self.transmit(message.outer, &packet[8..]) {
                    failures.push((index, error));
                }
            }
        }
    }

    fn read_errors(&mut self) {}

    fn unreachable(&mut self) -> Option<Vec<u8>> {
        self.unreachable.pop()
    }

    fn report(&mut self) -> Option<TooBig> {
        self.reports.pop()
    }

    fn set_rlocs(&mut self, rlocs: &[IpAddr]) {
        self.rlocs = rlocs.to_vec();
    }
}

impl DatagramSockets for End {
    /// Puts datagrams together as the kernel does: of one flow, with the same TTL and class, each as long as the first.
    fn recv(&mut self, memory: &mut [u8], into: &mut Vec<Datagrams>) -> io::Result<bool> {
        let mut start = 0;
        while into.len() < 16
            && let Some(octets) = self.arrived.pop_front()
        {
            let (outer, payload) = received(&octets);
            memory[start..start + payload.len()].copy_from_slice(payload);
            let end = start + payload.len();
            match into.last_mut() {
                Some(last)
                    if last.outer == outer
                        && last.octets.len() % last.size == 0
                        && payload.len() <= last.size
                        && !payload.is_empty() =>
                {
                    last.octets.end = end;
                }
                _ => into.push(Datagrams { outer, octets: start..end, size: payload.len() }),
            }
            start = end;
        }
        Ok(!self.arrived.is_empty())
    }

    fn set_rlocs(&mut self, rlocs: &[IpAddr]) {
        self.rlocs = rlocs.to_vec();
    }
}

pub(super) struct TierZero {
    packets: PacketLoop<Kernel, End>,
    updates: SyncSender<Update>,
}

impl Tier for TierZero {
    fn new(engines: (Itr, Etr), events: Sender<Event>, counters: Arc<Counters>) -> Self {
        let (updates, received) = sync_channel(16);
        let devices = (Kernel::default(), End::new());
        Self { packets: PacketLoop::new(engines, devices, (received, events), counters), updates }
    }

    fn update(&self, update: Update) {
        self.updates.send(update).unwrap();
    }

    fn turn(&mut self, now: Instant) -> bool {
        self.packets.turn(now)
    }

    fn has_events(&self) -> bool {
        self.packets.has_events()
    }

    fn offer(&mut self, offered: Offered) {
        self.packets.devices_mut().0.out.extend(offered.segments);
    }

    fn got(&self) -> Vec<Vec<u8>> {
        self.packets.devices().0.got.clone()
    }

    fn take_sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.packets.devices_mut().1.sent)
    }

    fn arrive(&mut self, packets: Vec<Vec<u8>>) {
        self.packets.devices_mut().1.arrived.extend(packets);
    }

    fn set_mtu(&mut self, mtu: usize) {
        self.packets.devices_mut().1.mtu = mtu;
    }

    fn set_errno(&mut self, errno: Option<i32>) {
        self.packets.devices_mut().1.errno = errno;
    }

    fn report(&mut self, report: TooBig) {
        self.packets.devices_mut().1.reports.push(report);
    }

    fn report_unreachable(&mut self, quoted: Vec<u8>) {
        self.packets.devices_mut().1.unreachable.push(quoted);
    }

    fn rlocs(&self) -> Vec<IpAddr> {
        self.packets.devices().1.rlocs.clone()
    }

    fn refused(&self) -> usize {
        self.packets.devices().1.refused
    }
}

pub(super) struct TierOne {
    encap: EncapLoop<Kernel, End>,
    decap: DecapLoop<Kernel, End>,
    /// What an RTR's threads hand over to each other.
    relay: RelayEnd,
    updates: [SyncSender<Update>; 2],
}

impl TierOne {
    /// From now on the kernel takes no groups to these.
    pub(super) fn refuse_groups_to(&mut self, locators: &[IpAddr]) {
        self.encap.devices_mut().1.refuses_groups_to = locators.to_vec();
    }

    /// How many packets each message had that was taken to a locator since this was asked last, of all.
    pub(super) fn taken(&mut self, locator: IpAddr) -> Vec<usize> {
        let taken = &mut self.encap.devices_mut().1.taken;
        taken.extract_if(.., |(to, _)| *to == locator).map(|(_, count)| count).collect()
    }

    /// Calls of the sockets so far.
    pub(super) fn calls(&self) -> usize {
        self.encap.devices().1.calls
    }
}

impl Tier for TierOne {
    fn new(engines: (Itr, Etr), events: Sender<Event>, counters: Arc<Counters>) -> Self {
        let (itr, etr) = engines;
        let (to_itr, for_itr) = sync_channel(16);
        let (to_etr, for_etr) = sync_channel(16);
        let decap = DecapLoop::new(etr, (Kernel::default(), End::new()), for_etr, counters.clone(), true);
        let decap = decap.with_events(&events);
        let encap = EncapLoop::new(itr, (Kernel::default(), End::new()), (for_itr, events), counters);
        let (out, relay) = relay().unwrap();
        Self { encap, decap: decap.with_relay(Some(out)), relay, updates: [to_itr, to_etr] }
    }

    fn update(&self, update: Update) {
        self.updates.iter().for_each(|updates| updates.send(update.clone()).unwrap());
    }

    fn turn(&mut self, now: Instant) -> bool {
        self.decap.advance(now);
        let decap = self.decap.turn();
        let mut buffer = vec![0; 70_000];
        while let Some(length) = self.relay.recv(&mut buffer).unwrap() {
            self.encap.devices_mut().0.out.push_back(buffer[..length].to_vec());
        }
        self.encap.turn(now) || decap
    }

    fn has_events(&self) -> bool {
        self.encap.has_events()
    }

    fn offer(&mut self, offered: Offered) {
        let packet = offered.into_super_packet();
        self.encap.devices_mut().0.out.push_back(packet);
    }

    fn got(&self) -> Vec<Vec<u8>> {
        [self.encap.devices().0.got.as_slice(), &self.decap.devices().0.got].concat()
    }

    fn take_sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.encap.devices_mut().1.sent)
    }

    fn arrive(&mut self, packets: Vec<Vec<u8>>) {
        self.decap.devices_mut().1.arrived.extend(packets);
    }

    fn set_mtu(&mut self, mtu: usize) {
        self.encap.devices_mut().1.mtu = mtu;
    }

    fn set_errno(&mut self, errno: Option<i32>) {
        self.encap.devices_mut().1.errno = errno;
    }

    fn report(&mut self, report: TooBig) {
        self.encap.devices_mut().1.reports.push(report);
    }

    fn report_unreachable(&mut self, quoted: Vec<u8>) {
        self.encap.devices_mut().1.unreachable.push(quoted);
    }

    fn refused(&self) -> usize {
        self.encap.devices().1.refused
    }

    fn rlocs(&self) -> Vec<IpAddr> {
        assert_eq!(self.encap.devices().1.rlocs, self.decap.devices().1.rlocs);
        self.decap.devices().1.rlocs.clone()
    }
}
