// SPDX-License-Identifier: GPL-2.0-or-later
//! One turn of the packet thread: updates, packets from the core, packets from the site, what is due, events.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use wire::data::OuterHeader;

use super::device::{CoreSockets, SendError, SiteDevice};
use crate::counters::{Count, Counters, DropReason};
use crate::etr::{Arrival, Etr};
use crate::itr::{Itr, Output, Verdict};
use crate::limits;
use crate::map_cache::{Event, Update};

/// The longest IP packet, in octets.
const LONGEST_PACKET: usize = 65_535;

/// Both engines between a device and sockets, one packet at a time.
#[derive(Debug)]
pub struct PacketLoop<S, C> {
    itr: Itr,
    etr: Etr,
    site: S,
    core: C,
    updates: Receiver<Update>,
    events: Sender<Event>,
    counters: Arc<Counters>,
    buffer: Vec<u8>,
    site_is_gone: bool,
}

impl<S: SiteDevice, C: CoreSockets> PacketLoop<S, C> {
    /// Joins the parts.
    pub fn new(
        engines: (Itr, Etr),
        devices: (S, C),
        queues: (Receiver<Update>, Sender<Event>),
        counters: Arc<Counters>,
    ) -> Self {
        let ((itr, etr), (site, core), (updates, events)) = (engines, devices, queues);
        Self { itr, etr, site, core, updates, events, counters, buffer: vec![0; LONGEST_PACKET], site_is_gone: false }
    }

    /// Takes at most a batch from each side. Whether a side may have more.
    pub fn turn(&mut self, now: Instant) -> bool {
        self.etr.advance(now);
        let updates = self.apply_updates(now);
        while let Some(packet) = self.etr.poll() {
            self.give_to_site(&packet);
        }
        let from_core = self.take_from_core(now);
        let from_site = self.take_from_site(now);
        for _ in 0..limits::BATCH {
            let Some(report) = self.core.report() else { break };
            self.itr.handle_report(now, &report.quoted, report.mtu);
        }
        for _ in 0..limits::BATCH {
            let Some(quoted) = self.core.unreachable() else { break };
            self.itr.handle_unreachable(now, &quoted);
        }
        self.itr.handle_timeout(now);
        self.drain(now);
        self.deliver_events();
        updates == limits::BATCH || from_core == limits::BATCH || from_site == limits::BATCH
    }

    /// Reads what routers say, when poll(2) has told that they do. The next turn looks at it.
    pub fn read_errors(&mut self) {
        self.core.read_errors();
    }

    /// When a turn is needed although nothing comes.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.itr.next_deadline(), self.etr.next_deadline()].into_iter().flatten().min()
    }

    /// Whether events wait for control to have room.
    pub fn has_events(&self) -> bool {
        self.itr.has_events() || self.etr.has_events()
    }

    /// Whether somebody has removed the device towards the site: nothing will come from there any more.
    pub fn site_is_gone(&self) -> bool {
        self.site_is_gone
    }

    /// The ITR, to read.
    pub fn itr(&self) -> &Itr {
        &self.itr
    }

    /// The device and the sockets.
    pub fn devices(&self) -> (&S, &C) {
        (&self.site, &self.core)
    }

    /// The device and the sockets, for tests that play the kernel.
    pub fn devices_mut(&mut self) -> (&mut S, &mut C) {
        (&mut self.site, &mut self.core)
    }

    fn apply_updates(&mut self, now: Instant) -> usize {
        let mut applied = 0;
        while applied < limits::BATCH
            && let Ok(update) = self.updates.try_recv()
        {
            if let Update::LocalRlocs(rlocs) = &update {
                self.core.set_rlocs(rlocs);
            }
            self.etr.update(&update);
            self.itr.update(now, update);
            self.drain(now);
            applied += 1;
        }
        applied
    }

    fn take_from_core(&mut self, now: Instant) -> usize {
        // The buffer is lent out, so that the packet and the engines can be used together.
        let mut buffer = std::mem::take(&mut self.buffer);
        let taken = self.read_core(now, &mut buffer);
        self.buffer = buffer;
        taken
    }

    fn read_core(&mut self, now: Instant, buffer: &mut [u8]) -> usize {
        for taken in 0..limits::BATCH {
            let (outer, length) = match self.core.recv(buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return taken,
                Err(error) => {
                    self.counters.add(Count::ReceiveFailed, 1);
                    tracing::debug!(%error, "receiving from the core");
                    return taken;
                }
            };
            let Some(payload) = buffer.get_mut(..length) else { continue };
            match self.etr.receive(&outer, payload) {
                Arrival::Enters(packet) => {
                    if let Err(error) = self.site.send(packet.inner) {
                        self.counters.count_drop(DropReason::SiteSend);
                        tracing::trace!(%error, "writing to the site");
                    }
                }
                Arrival::Relayed(packet) => {
                    self.encapsulate(now, packet.inner);
                    self.drain(now);
                }
                Arrival::Later | Arrival::Control => {}
                Arrival::Dropped(reason) => tracing::trace!(reason = reason.key(), from = %outer.source, "dropped"),
            }
        }
        limits::BATCH
    }

    fn take_from_site(&mut self, now: Instant) -> usize {
        // The buffer is lent out, so that the packet and the engines can be used together.
        let mut buffer = std::mem::take(&mut self.buffer);
        let taken = self.read_site(now, &mut buffer);
        self.buffer = buffer;
        taken
    }

    fn read_site(&mut self, now: Instant, buffer: &mut [u8]) -> usize {
        for taken in 0..limits::BATCH {
            match self.site.recv(buffer) {
                Ok(Some(length)) => self.encapsulate(now, &buffer[..length]),
                Ok(None) => return taken,
                Err(error) => {
                    tracing::debug!(%error, "reading from the site");
                    self.site_is_gone = error.raw_os_error() == Some(libc::EBADFD);
                    return taken;
                }
            }
            self.drain(now);
        }
        limits::BATCH
    }

    fn encapsulate(&mut self, now: Instant, packet: &[u8]) {
        match self.itr.handle(now, packet) {
            Verdict::Encapsulate(header, inner) => {
                let Err(error) = self.core.send(&header, inner) else { return };
                match self.learn(now, &header, inner, &error) {
                    // The packet meets the MTU it has just taught us: it is split, or its source is told.
                    true if self.itr.take_back(&header, inner) => self.encapsulate_again(now, packet),
                    true => {}
                    false => self.count_failure(&header, inner, &error),
                }
            }
            Verdict::Native(inner) => self.give_to_site(inner),
            Verdict::Later => {}
            Verdict::Dropped(reason) => tracing::trace!(reason = reason.key(), "dropped"),
        }
    }

    fn encapsulate_again(&mut self, now: Instant, packet: &[u8]) {
        if let Verdict::Encapsulate(header, inner) = self.itr.handle(now, packet)
            && let Err(error) = self.core.send(&header, inner)
        {
            self.fail(now, &header, inner, &error);
        }
    }

    /// What is not handled once more.
    fn fail(&mut self, now: Instant, header: &OuterHeader, inner: &[u8], error: &SendError) {
        if !self.learn(now, header, inner, error) {
            self.count_failure(header, inner, error);
        } else if self.itr.take_back(header, inner) {
            self.count_drop(error);
        }
    }

    /// Whether the error has taught a path MTU.
    fn learn(&mut self, now: Instant, header: &OuterHeader, inner: &[u8], error: &SendError) -> bool {
        let SendError::TooBig(mtu) = error else { return false };
        self.itr.handle_refused(now, header, inner.len(), *mtu);
        true
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.itr.poll() {
            match output {
                Output::Core(header, inner) => {
                    if let Err(error) = self.core.send(&header, &inner) {
                        self.fail(now, &header, &inner, &error);
                    }
                }
                Output::Site(packet) => self.give_to_site(&packet),
            }
        }
    }

    fn give_to_site(&mut self, packet: &[u8]) {
        if let Err(error) = self.site.send(packet) {
            self.counters.count_drop(DropReason::SiteSend);
            tracing::trace!(%error, "writing to the site");
        }
    }

    /// A packet that was counted as encapsulated, and has not left.
    fn count_failure(&mut self, header: &OuterHeader, inner: &[u8], error: &SendError) {
        self.itr.not_sent(header, 1, inner.len());
        self.count_drop(error);
    }

    fn count_drop(&self, error: &SendError) {
        self.counters.count_drop(DropReason::CoreSend);
        tracing::trace!(%error, "sending to the core");
    }

    fn deliver_events(&mut self) {
        while let Some(event) = self.itr.poll_event() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => return self.itr.event_lost(event),
                Err(TrySendError::Closed(_)) => return,
            }
        }
        while let Some(event) = self.etr.poll_event() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => return self.etr.event_lost(event),
                Err(TrySendError::Closed(_)) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
