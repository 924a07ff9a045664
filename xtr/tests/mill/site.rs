// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel on the side of the site, played: the device of both tiers. The tests of the packet loop have it too.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::{SiteDevice, SuperDevice, SuperPacket, VnetHeader};

/// Packets that the kernel of the site has for us, and those that it got.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) out: VecDeque<Vec<u8>>,
    pub(crate) got: Vec<Vec<u8>>,
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

    /// Cuts a super-packet, as the kernel does before it leaves.
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
