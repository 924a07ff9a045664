// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets on their way into a device that takes super-packets. What it refuses is counted, each packet that was put together for itself.

use std::io::{self, IoSlice};

use super::device::SuperDevice;
use crate::counters::{Counters, DropReason};
use crate::offload::{SuperPacket, VnetHeader};

/// The device, and what its refusals count as.
#[derive(Debug)]
pub(super) struct ToSite<'s, S> {
    pub(super) device: &'s mut S,
    pub(super) counters: &'s Counters,
    pub(super) refused: DropReason,
}

impl<'s, S: SuperDevice> ToSite<'s, S> {
    /// To the kernel.
    pub(super) fn new(device: &'s mut S, counters: &'s Counters) -> Self {
        Self { device, counters, refused: DropReason::SiteSend }
    }

    /// Hands over one packet.
    pub(super) fn give(&mut self, packet: &[u8]) {
        let vnet = VnetHeader::default().emit();
        if let Err(error) = self.device.send(&[IoSlice::new(&vnet), IoSlice::new(packet)]) {
            self.lost(1, &error);
        }
    }

    /// Hands over the segments of a super-packet that the kernel does not take as one: of UDP none before Linux 6.2 does.
    pub(super) fn give_segments(&mut self, whole: &SuperPacket, octets: &[u8]) {
        let vnet = VnetHeader::default().emit();
        for index in 0..whole.count() {
            let mut header = Vec::with_capacity(whole.header_length());
            whole.write_header(octets, index, &mut header);
            let parts = [IoSlice::new(&vnet), IoSlice::new(&header), IoSlice::new(&octets[whole.payload(index)])];
            if let Err(error) = self.device.send(&parts) {
                self.lost(1, &error);
            }
        }
    }

    /// So many packets were refused.
    pub(super) fn lost(&self, packets: usize, error: &io::Error) {
        self.counters.add_drops(self.refused, packets);
        tracing::trace!(%error, reason = self.refused.key(), "dropped");
    }
}

/// Whether the kernel knows no such super-packets, rather than having no room.
pub(super) fn is_refusal_of_kind(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}
