// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel, played: the device towards the site and the sockets towards the core, of both tiers.

#[path = "site.rs"]
mod site;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

pub(super) use site::Kernel;
use wire::data::{IpPacket, OuterHeader, overhead};
use xtr::etr::OuterInfo;
use xtr::offload::{Message, SuperPacket, VnetHeader};
use xtr::shell::device::{
    CoreSockets, DatagramSockets, Datagrams, GroupSockets, SendError, SiteDevice, SuperDevice, TooBig,
};

/// Of the way to every locator.
pub(super) const MTU: usize = 1500;

/// The kernel on the side of the core: payloads of datagrams that arrive, inner packets that were sent.
#[derive(Debug, Default)]
pub(super) struct Core {
    pub(super) arrived: VecDeque<(OuterInfo, Vec<u8>)>,
    pub(super) sent: Vec<(IpAddr, Vec<u8>)>,
    /// What the kernel says of the length of each datagram, whatever they are.
    pub(super) lie: Option<usize>,
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

    fn ungrouped(&mut self, _: Instant) -> &[IpAddr] {
        &[]
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
                Some(last) if self.lie.is_some() => last.octets.end = end,
                Some(last)
                    if last.outer == outer
                        && !payload.is_empty()
                        && payload.len() <= last.size
                        && last.octets.len().is_multiple_of(last.size) =>
                {
                    last.octets.end = end;
                }
                _ => {
                    let size = self.lie.unwrap_or(payload.len());
                    received.push(Datagrams { outer, octets: start..end, size });
                }
            }
            start = end;
        }
        Ok(false)
    }

    fn set_rlocs(&mut self, _: &[IpAddr]) {}
}
