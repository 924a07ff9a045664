// SPDX-License-Identifier: GPL-2.0-or-later
//! One turn of the thread towards the site, with offload: updates, then datagrams from the core, decapsulated one by one and
//! written in as few super-packets as they fit into.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, WeakSender};
use wire::data::LispHeader;

use super::device::{DatagramSockets, Datagrams, SuperDevice};
use super::former::TakenAt;
use super::relay::RelayEnd;
use super::to_site::{ToSite, is_refusal_of_kind};
use crate::counters::{Count, Counters, DropReason};
use crate::etr::{Arrival, Etr};
use crate::limits;
use crate::map_cache::{Event, Update};
use crate::offload::coalesce::MOST_PIECES;
use crate::offload::{Coalescer, GsoKind, SuperPacket};

/// Octets that the datagrams of a batch are read into: 64 of the longest, each beginning in another set of the lines of a cache.
const MEMORY: usize = 64 * (65_536 + 1600);
/// Parts of one write: the vnet header, and the segments of a super-packet.
const MOST_PARTS: usize = 1 + MOST_PIECES;

/// The ETR between sockets and a device.
#[derive(Debug)]
pub struct DecapLoop<S, R> {
    etr: Etr,
    site: S,
    core: R,
    updates: Receiver<Update>,
    /// Weak, so that control hears of the end of the other thread whose channel it is.
    events: Option<WeakSender<Event>>,
    counters: Arc<Counters>,
    memory: Vec<u8>,
    received: Vec<Datagrams>,
    coalescer: Coalescer,
    relay: Option<Relay>,
    taken_at: TakenAt,
}

/// Where packets go that are encapsulated again.
#[derive(Debug)]
struct Relay {
    end: RelayEnd,
    coalescer: Coalescer,
}

impl<S: SuperDevice, R: DatagramSockets> DecapLoop<S, R> {
    /// Joins the parts. UDP is merged only for a kernel that takes it.
    pub fn new(
        etr: Etr,
        devices: (S, R),
        updates: Receiver<Update>,
        counters: Arc<Counters>,
        merges_udp: bool,
    ) -> Self {
        let (site, core) = devices;
        let coalescer = Coalescer::new(merges_udp);
        let (memory, received) = (vec![0; MEMORY], Vec::new());
        let (events, relay, taken_at) = (None, None, TakenAt::default());
        Self { etr, site, core, updates, events, counters, memory, received, coalescer, relay, taken_at }
    }

    /// The same, asking control about sources, as long as somebody else holds the channel.
    #[must_use]
    pub fn with_events(mut self, events: &Sender<Event>) -> Self {
        self.events = Some(events.downgrade());
        self
    }

    /// The same as an RTR: what is encapsulated again goes there.
    #[must_use]
    pub fn with_relay(mut self, end: Option<RelayEnd>) -> Self {
        // Whoever reads there cuts datagrams apart by himself, whatever the kernel can.
        self.relay = end.map(|end| Relay { end, coalescer: Coalescer::new(true) });
        self
    }

    /// Tells the time, before a turn.
    pub fn advance(&mut self, now: Instant) {
        self.etr.advance(now);
    }

    /// Reads what routers say to who sends from our port, when poll(2) has told that they do.
    pub fn read_errors(&mut self) {
        self.core.read_errors();
    }

    /// When a turn is needed although nothing comes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.etr.next_deadline()
    }

    /// Whether events wait for control to have room.
    pub fn has_events(&self) -> bool {
        self.etr.has_events()
    }

    /// Takes at most a batch of updates and one of datagrams. Whether there may be more.
    pub fn turn(&mut self) -> bool {
        let updates = self.apply_updates();
        self.write_released();
        self.received.clear();
        let has_more = self.core.recv(&mut self.memory, &mut self.received).unwrap_or_else(|error| {
            self.counters.add(Count::ReceiveFailed, 1);
            tracing::debug!(%error, "receiving from the core");
            false
        });
        self.decapsulate();
        self.write();
        self.deliver_events();
        updates == limits::BATCH || has_more
    }

    /// The device and the sockets.
    pub fn devices(&self) -> (&S, &R) {
        (&self.site, &self.core)
    }

    /// The device and the sockets, for tests that play the kernel.
    pub fn devices_mut(&mut self) -> (&mut S, &mut R) {
        (&mut self.site, &mut self.core)
    }

    fn apply_updates(&mut self) -> usize {
        let mut applied = 0;
        while applied < limits::BATCH
            && let Ok(update) = self.updates.try_recv()
        {
            if let Some(rlocs) = self.taken_at.follow(&update) {
                self.core.set_rlocs(&rlocs);
            }
            self.etr.update(&update);
            applied += 1;
        }
        applied
    }

    fn decapsulate(&mut self) {
        for datagrams in &self.received {
            let mut start = datagrams.octets.start;
            while start < datagrams.octets.end {
                let end = datagrams.octets.end.min(start + datagrams.size.max(1));
                let Some(payload) = self.memory.get_mut(start..end) else { break };
                match self.etr.receive(&datagrams.outer, payload) {
                    Arrival::Enters(packet) => {
                        let inner = start + LispHeader::LENGTH;
                        let inner = inner..inner + packet.inner.len();
                        self.coalescer.push(&self.memory, inner);
                    }
                    Arrival::Relayed(packet) => {
                        let inner = start + LispHeader::LENGTH;
                        let inner = inner..inner + packet.inner.len();
                        match &mut self.relay {
                            Some(relay) => relay.coalescer.push(&self.memory, inner),
                            None => self.counters.count_drop(DropReason::CoreNotOurs),
                        }
                    }
                    Arrival::Later | Arrival::Control => {}
                    Arrival::Dropped(reason) => {
                        tracing::trace!(reason = reason.key(), from = %datagrams.outer.source, "dropped");
                    }
                }
                start = end;
            }
            // A datagram of no octets is one too.
            if datagrams.octets.is_empty() {
                let _ = self.etr.receive(&datagrams.outer, &mut []);
            }
        }
    }

    /// Packets that waited for a verdict on their source go before those that come now.
    fn write_released(&mut self) {
        while let Some(packet) = self.etr.poll() {
            ToSite::new(&mut self.site, &self.counters).give(&packet);
        }
    }

    fn deliver_events(&mut self) {
        if !self.etr.has_events() {
            return;
        }
        let Some(events) = self.events.as_ref().and_then(WeakSender::upgrade) else { return };
        while let Some(event) = self.etr.poll_event() {
            match events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => return self.etr.event_lost(event),
                Err(TrySendError::Closed(_)) => return,
            }
        }
    }

    fn write(&mut self) {
        let to_site = ToSite::new(&mut self.site, &self.counters);
        if write_out(&mut self.coalescer, &mut self.memory, to_site) {
            tracing::warn!("the kernel refuses merged UDP datagrams: they are written one by one");
            self.coalescer.leave_udp();
        }
        if let Some(Relay { end, coalescer }) = &mut self.relay {
            let to_itr = ToSite { device: end, counters: &self.counters, refused: DropReason::RelayQueue };
            write_out(coalescer, &mut self.memory, to_itr);
        }
    }
}

/// Writes what was put together; whether the device refused datagrams that were.
fn write_out(coalescer: &mut Coalescer, memory: &mut [u8], mut to: ToSite<'_, impl SuperDevice>) -> bool {
    let mut refuses_udp = false;
    coalescer.seal(memory);
    let memory = &*memory;
    let headers: Vec<_> = coalescer.packets().map(|(vnet, _)| vnet.emit()).collect();
    let mut parts = Vec::with_capacity(MOST_PARTS);
    for ((vnet, octets), header) in coalescer.packets().zip(&headers) {
        parts.clear();
        parts.push(IoSlice::new(header));
        parts.extend(octets.map(|octets| IoSlice::new(&memory[octets])));
        let Err(error) = to.device.send(&parts) else { continue };
        // Each part but the vnet header is of a packet of its own.
        let packets = parts.len() - 1;
        let Some(gso) = vnet.gso.filter(|_| is_refusal_of_kind(&error)) else {
            to.lost(packets, &error);
            continue;
        };
        refuses_udp |= gso.kind == GsoKind::Udp;
        let octets: Vec<u8> = parts[1..].iter().flat_map(|part| part.iter().copied()).collect();
        match SuperPacket::parse(gso, vnet.checksum, &octets) {
            Ok(whole) => to.give_segments(&whole, &octets),
            Err(_) => to.lost(packets, &error),
        }
    }
    coalescer.clear();
    refuses_udp
}

#[cfg(test)]
mod tests;
