// SPDX-License-Identifier: GPL-2.0-or-later
//! One turn of the thread towards the core, with offload: updates, super-packets from the site, what is due, events.
//!
//! The ITR judges the first segment of a super-packet for all of them. Where it says anything but "encapsulate" or "native", each
//! segment is judged for itself, as if it had come alone.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use wire::data::{LispHeader, OuterHeader};

use super::device::{GroupSockets, SendError, SuperDevice};
use super::to_site::{ToSite, is_refusal_of_kind};
use crate::counters::{Counters, DropReason};
use crate::itr::{Itr, Output, Verdict};
use crate::limits;
use crate::map_cache::{Event, Update};
use crate::offload::segment::MOST_SEGMENTS;
use crate::offload::{Batch, Malformed, Message, SuperPacket, VnetHeader, complete};

/// Octets that packets of a batch are read into: sixteen of the longest, so that what they become stays in the cache of a core.
const MEMORY: usize = 1024 * 1024;
/// The longest packet, behind its vnet header.
const LONGEST_PACKET: usize = 65_535 + VnetHeader::LENGTH;
/// Octets of the headers of a batch; a super-packet that needs more is cut segment by segment.
const MOST_HEADERS: usize = 4 * 1024 * 1024;
/// Packets begin where a line of the cache does.
const ALIGNMENT: usize = 64;

/// The ITR between a device and sockets.
#[derive(Debug)]
pub struct EncapLoop<S, C> {
    itr: Itr,
    site: S,
    core: C,
    updates: Receiver<Update>,
    events: Sender<Event>,
    counters: Arc<Counters>,
    memory: Vec<u8>,
    batch: Batch,
    failures: Vec<(usize, SendError)>,
    /// Headers of a super-packet as it came.
    original: Vec<u8>,
    site_is_gone: bool,
}

impl<S: SuperDevice, C: GroupSockets> EncapLoop<S, C> {
    /// Joins the parts.
    pub fn new(itr: Itr, devices: (S, C), queues: (Receiver<Update>, Sender<Event>), counters: Arc<Counters>) -> Self {
        let ((site, core), (updates, events)) = (devices, queues);
        let batch = Batch::new(core.longest_group());
        let (memory, failures, original) = (vec![0; MEMORY], Vec::new(), Vec::new());
        Self { itr, site, core, updates, events, counters, memory, batch, failures, original, site_is_gone: false }
    }

    /// Takes at most a batch from each side. Whether a side may have more.
    pub fn turn(&mut self, now: Instant) -> bool {
        let updates = self.apply_updates(now);
        let has_more = self.take_from_site(now);
        for _ in 0..limits::BATCH {
            let Some(report) = self.core.report() else { break };
            self.itr.handle_report(now, &report.quoted, report.mtu);
        }
        for _ in 0..limits::BATCH {
            let Some(quoted) = self.core.unreachable() else { break };
            self.itr.handle_unreachable(now, &quoted);
        }
        self.itr.handle_timeout(now);
        self.drain(now, &[]);
        self.deliver_events();
        updates == limits::BATCH || has_more
    }

    /// Reads what routers say, when poll(2) has told that they do. The next turn looks at it.
    pub fn read_errors(&mut self) {
        self.core.read_errors();
    }

    /// When a turn is needed although nothing comes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.itr.next_deadline()
    }

    /// Whether events wait for control to have room.
    pub fn has_events(&self) -> bool {
        self.itr.has_events()
    }

    /// Whether somebody has removed the device towards the site: nothing will come from there any more.
    pub fn site_is_gone(&self) -> bool {
        self.site_is_gone
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
            self.itr.update(now, update);
            self.drain(now, &[]);
            applied += 1;
        }
        applied
    }

    /// Reads a batch and sends what it becomes. Whether there may be more.
    fn take_from_site(&mut self, now: Instant) -> bool {
        // The memory is lent out, so that packets and the engine can be used together.
        let mut memory = std::mem::take(&mut self.memory);
        let (mut start, mut taken) = (0, 0);
        let is_full = loop {
            if taken == limits::BATCH || memory.len() - start < LONGEST_PACKET {
                break true;
            }
            match self.site.recv(&mut memory[start..start + LONGEST_PACKET]) {
                Ok(Some(length)) => {
                    self.take_packet(now, &mut memory, start..start + length);
                    self.drain(now, &memory);
                    start = (start + length).next_multiple_of(ALIGNMENT).min(memory.len());
                    taken += 1;
                }
                Ok(None) => break false,
                Err(error) => {
                    tracing::debug!(%error, "reading from the site");
                    self.site_is_gone = error.raw_os_error() == Some(libc::EBADFD);
                    break false;
                }
            }
        };
        self.flush(now, &memory);
        self.memory = memory;
        is_full
    }

    /// Takes a packet behind its vnet header.
    fn take_packet(&mut self, now: Instant, memory: &mut [u8], octets: Range<usize>) {
        let vnet = match VnetHeader::parse(&memory[octets.clone()]) {
            Ok((vnet, _)) => vnet,
            Err(error) => return self.drop_malformed(1, error),
        };
        let packet = octets.start + VnetHeader::LENGTH..octets.end;
        let Some(gso) = vnet.gso else {
            return match vnet.checksum.map_or(Ok(()), |partial| complete(partial, &mut memory[packet.clone()])) {
                Ok(()) => self.take_one(now, memory, packet),
                Err(error) => self.drop_malformed(1, error),
            };
        };
        match SuperPacket::parse(gso, vnet.checksum, &memory[packet.clone()]) {
            Ok(whole) => self.take_super_packet(now, memory, packet, &whole),
            Err(error) => {
                let count = SuperPacket::presumed_count(gso, vnet.checksum, &memory[packet]);
                self.drop_malformed(count, error);
            }
        }
    }

    fn drop_malformed(&self, count: usize, error: Malformed) {
        self.counters.add_drops(DropReason::SiteMalformed, count);
        tracing::trace!(%error, "dropped");
    }

    fn take_one(&mut self, now: Instant, memory: &[u8], packet: Range<usize>) {
        match self.itr.handle(now, &memory[packet.clone()]) {
            Verdict::Encapsulate(header, inner) => {
                self.batch.push(&header, packet.start..packet.start + inner.len());
            }
            Verdict::Native(inner) => ToSite::new(&mut self.site, &self.counters).give(inner),
            Verdict::Later => {}
            Verdict::Dropped(reason) => tracing::trace!(reason = reason.key(), "dropped"),
        }
    }

    fn take_super_packet(&mut self, now: Instant, memory: &mut [u8], packet: Range<usize>, whole: &SuperPacket) {
        let (segments, header_length) = (whole.count(), whole.header_length());
        let headers = segments * (LispHeader::LENGTH + header_length);
        if headers > MOST_HEADERS {
            return self.take_each(now, memory, &packet, whole, 0);
        }
        // So many headers at a time, and no more.
        if self.batch.len() + segments > MOST_SEGMENTS || self.batch.header_octets() + headers > MOST_HEADERS {
            self.flush(now, memory);
        }
        let octets = &mut memory[packet.clone()];
        let first = self.batch.write_header(|headers| whole.write_header(octets, 0, headers));
        for index in 1..segments {
            self.batch.write_header(|headers| whole.write_header(octets, index, headers));
        }
        // With its own header before its payload the first segment is a packet like any other.
        self.original.clear();
        self.original.extend_from_slice(&octets[..header_length]);
        octets[..header_length].copy_from_slice(self.batch.inner_header(&first));
        let end = whole.payload(0).end;
        let others = (segments - 1, (segments - 1) * header_length + octets.len() - end);
        match self.itr.handle_first(now, &octets[..end], others) {
            Verdict::Encapsulate(mut header, _) => {
                for index in 0..segments {
                    let at = first.start + index * first.len();
                    let payload = whole.payload(index);
                    let payload = packet.start + payload.start..packet.start + payload.end;
                    self.batch.push_segment(&header, at..at + first.len(), payload);
                    if index == 0
                        && let Some(lisp) = self.itr.take_lisp_behind()
                    {
                        header.lisp = lisp;
                    }
                }
            }
            Verdict::Native(_) => {
                octets[..header_length].copy_from_slice(&self.original);
                self.batch.unwrite(first.start);
                self.give_back(memory, packet, whole);
            }
            Verdict::Later | Verdict::Dropped(_) => {
                octets[..header_length].copy_from_slice(&self.original);
                self.batch.unwrite(first.start);
                self.take_each(now, memory, &packet, whole, 1);
            }
        }
    }

    /// Hands a super-packet back to the kernel as it came: from there, or, at an RTR, from the other thread, which knows of no kernel.
    fn give_back(&mut self, memory: &[u8], packet: Range<usize>, whole: &SuperPacket) {
        let mut to_site = ToSite::new(&mut self.site, &self.counters);
        let as_it_came = IoSlice::new(&memory[packet.start - VnetHeader::LENGTH..packet.end]);
        match to_site.device.send(&[as_it_came]) {
            Ok(()) => {}
            Err(error) if is_refusal_of_kind(&error) => to_site.give_segments(whole, &memory[packet]),
            Err(error) => to_site.lost(whole.count(), &error),
        }
    }

    /// The segments from this one on, each for itself.
    fn take_each(&mut self, now: Instant, memory: &[u8], packet: &Range<usize>, whole: &SuperPacket, from: usize) {
        // What has come of those before is in front of them.
        self.drain(now, memory);
        self.flush(now, memory);
        let (octets, mut segment) = (&memory[packet.clone()], Vec::new());
        for index in from..whole.count() {
            segment.clear();
            whole.write_header(octets, index, &mut segment);
            segment.extend_from_slice(&octets[whole.payload(index)]);
            self.send_again(now, &segment);
        }
    }

    /// Sends what waits in the batch.
    fn flush(&mut self, now: Instant, memory: &[u8]) {
        if self.batch.is_empty() {
            return;
        }
        let mut failures = std::mem::take(&mut self.failures);
        {
            let parts = self.batch.parts(memory);
            self.core.send(&self.batch.messages(&parts), &mut failures);
        }
        for (group, error) in failures.drain(..) {
            self.recover(now, memory, group, &error);
        }
        self.failures = failures;
        self.batch.clear();
        self.batch.send_alone_to(self.core.ungrouped(now));
        self.batch.set_longest_group(self.core.longest_group());
    }

    /// Sends the packets of a group that the kernel did not take one by one, if that may help.
    fn recover(&mut self, now: Instant, memory: &[u8], group: usize, error: &SendError) {
        let (header, count) = (self.batch.outer(group), self.batch.count(group));
        let may_help = match error {
            SendError::TooBig(_) => true,
            SendError::NoHeader => false,
            SendError::Io(error) => {
                count > 1 && matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO))
            }
        };
        if !may_help {
            let octets = self.batch.inner_octets(group);
            return self.count_failure(now, &header, (count, octets), error);
        }
        let packets = self.batch.inner_packets(group, memory);
        let mut has_learned = packets.first().is_some_and(|packet| self.learn(now, &header, packet, error));
        for (index, packet) in packets.iter().enumerate() {
            if has_learned {
                self.take_back(now, &header, packet);
                continue;
            }
            let Err(error) = self.send_one(&header, packet) else { continue };
            if error.is_of_the_way() {
                // The others go the same way: to try each would cost those of other flows their turn.
                let rest = packets[index..].iter().map(Vec::len);
                return self.count_failure(now, &header, (rest.len(), rest.sum()), &error);
            }
            has_learned = self.learn(now, &header, packet, &error);
            if has_learned {
                self.take_back(now, &header, packet);
            } else {
                self.count_failure(now, &header, (1, packet.len()), &error);
            }
        }
    }

    /// The packet meets the MTU that was just learned: it is split, or its source is told.
    fn take_back(&mut self, now: Instant, header: &OuterHeader, packet: &[u8]) {
        if self.itr.take_back(header, packet) {
            self.send_again(now, packet);
        }
    }

    /// A packet that is in no batch, from the start.
    fn send_again(&mut self, now: Instant, packet: &[u8]) {
        match self.itr.handle(now, packet) {
            Verdict::Encapsulate(header, inner) => self.send_or_count(now, &header, inner),
            Verdict::Native(inner) => ToSite::new(&mut self.site, &self.counters).give(inner),
            Verdict::Later | Verdict::Dropped(_) => {}
        }
        while let Some(output) = self.itr.poll() {
            self.carry_out(now, output);
        }
    }

    /// Whether the error has taught a path MTU.
    fn learn(&mut self, now: Instant, header: &OuterHeader, inner: &[u8], error: &SendError) -> bool {
        let SendError::TooBig(mtu) = error else { return false };
        self.itr.handle_refused(now, header, inner.len(), *mtu);
        true
    }

    /// What the ITR has to send beside the verdicts. What is in the batch, in `memory`, is in front of it.
    fn drain(&mut self, now: Instant, memory: &[u8]) {
        while let Some(output) = self.itr.poll() {
            self.flush(now, memory);
            self.carry_out(now, output);
        }
    }

    fn carry_out(&mut self, now: Instant, output: Output) {
        match output {
            Output::Core(header, inner) => self.send_or_count(now, &header, &inner),
            Output::Site(packet) => ToSite::new(&mut self.site, &self.counters).give(&packet),
        }
    }

    fn send_or_count(&mut self, now: Instant, header: &OuterHeader, inner: &[u8]) {
        let Err(error) = self.send_one(header, inner) else { return };
        // It is not handled once more.
        if !self.learn(now, header, inner, &error) {
            self.count_failure(now, header, (1, inner.len()), &error);
        } else if self.itr.take_back(header, inner) {
            self.count_drops(1, &error);
        }
    }

    fn send_one(&mut self, outer: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        let parts = [IoSlice::new(&outer.lisp), IoSlice::new(inner)];
        let message = Message { outer, parts: &parts, size: LispHeader::LENGTH + inner.len(), count: 1 };
        let mut failures = Vec::new();
        self.core.send(&[message], &mut failures);
        failures.pop().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Packets, and their octets, that were counted as encapsulated and have not left.
    fn count_failure(
        &mut self,
        now: Instant,
        header: &OuterHeader,
        (packets, octets): (usize, usize),
        error: &SendError,
    ) {
        self.itr.not_sent(header, packets, octets);
        if error.is_of_the_way() {
            self.itr.handle_no_way(now, header.destination);
        }
        self.count_drops(packets, error);
    }

    fn count_drops(&self, packets: usize, error: &SendError) {
        self.counters.add_drops(DropReason::CoreSend, packets);
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
    }
}

#[cfg(test)]
mod tests;
