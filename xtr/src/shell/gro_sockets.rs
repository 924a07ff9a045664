// SPDX-License-Identifier: GPL-2.0-or-later
//! Receiving with offload: many datagrams a call, and several of one sender as one (UDP_GRO). A UDP socket on port 4341 of each
//! RLOC, as without.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use super::ancillary::{Inbox, PARTS, Received, set_option};
use super::data_socket::{Receiver, SocketError, TRIES_AMONG_REPORTS, TTL_UNKNOWN, lend, receiver, set_receive_buffer};
use super::device::{DatagramSockets, Datagrams};
use super::fixed_ports::FixedPorts;
use super::port_pool::read_errors_of;
use crate::etr::OuterInfo;

/// The sockets of all our RLOCs.
#[derive(Debug)]
pub struct GroSockets {
    receivers: Vec<Receiver>,
    /// Which has the next turn.
    turn: usize,
    /// Batches that it has had in a row.
    streak: usize,
    has_gro: bool,
    inbox: Inbox,
    /// Datagrams to ask for.
    most: usize,
    /// Who may send from our ports.
    lent: FixedPorts,
}

/// Octets that wait in the kernel for the thread: what 10 Gbit/s bring while others have its core, which may be some ten
/// milliseconds.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;
/// Datagrams of a batch while the kernel puts many into one: sixteen of the longest stay in the cache of a core.
const FEW: usize = 16;
/// Batches in a row from one socket while others wait.
const STREAK: usize = 16;
/// Octets of a datagram from which it is taken for many.
const IS_MANY: usize = 8192;

impl GroSockets {
    /// Receives on these RLOCs.
    ///
    /// # Errors
    /// What the machine lacks, and what to do.
    pub fn open(rlocs: &[IpAddr]) -> Result<Self, SocketError> {
        let mut has_gro = true;
        let receivers =
            rlocs.iter().map(|rloc| gro_receiver(*rloc, &mut has_gro)).collect::<Result<Vec<_>, SocketError>>()?;
        let lent = FixedPorts::default();
        Ok(Self { receivers, turn: 0, streak: 0, has_gro, inbox: Inbox::new(), most: PARTS, lent })
    }

    /// Lends the sockets to whoever sends from port 4341.
    pub(super) fn lend_to(&mut self, ports: &FixedPorts) {
        self.lent = ports.clone();
        lend(ports, &self.receivers);
    }

    /// Whether the kernel puts datagrams together.
    pub fn has_gro(&self) -> bool {
        self.has_gro
    }

    fn next_turn(&mut self) {
        (self.turn, self.streak) = (self.turn.wrapping_add(1), 0);
    }

    /// What to wait on.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.receivers.iter().map(|receiver| receiver.socket.as_fd())
    }
}

impl DatagramSockets for GroSockets {
    fn recv(&mut self, memory: &mut [u8], received: &mut Vec<Datagrams>) -> io::Result<bool> {
        let (mut silent, mut tries) = (0, 0);
        while silent < self.receivers.len() {
            let Some(receiver) = self.receivers.get(self.turn % self.receivers.len()) else { break };
            let (rloc, part) = (receiver.rloc, memory.len() / PARTS);
            let mut octets = 0;
            let take = |index: usize, message: &Received<'_>| {
                octets += message.length;
                received.extend(datagrams(rloc, index * part, message));
            };
            match self.inbox.receive(receiver.socket.as_fd(), memory, self.most, take) {
                Ok(count) => {
                    let is_full = count == self.most;
                    self.most = if octets >= count * IS_MANY { FEW } else { PARTS };
                    self.streak += 1;
                    if self.streak == STREAK {
                        // A flood to one RLOC leaves the others their turn.
                        self.next_turn();
                    }
                    return Ok(is_full);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.next_turn();
                    silent += 1;
                }
                // An ICMP error of an earlier packet is said once, in the place of receiving.
                Err(_) if tries < TRIES_AMONG_REPORTS => tries += 1,
                Err(error) => {
                    self.next_turn();
                    return Err(error);
                }
            }
        }
        Ok(false)
    }

    fn read_errors(&mut self) {
        for receiver in &self.receivers {
            let mut said = Vec::new();
            let local = SocketAddr::new(receiver.rloc, wire::DATA_PORT);
            let heard = read_errors_of(&receiver.socket, local, |one| said.push(one));
            self.lent.errors().hand_over(said, heard);
        }
    }

    fn set_rlocs(&mut self, rlocs: &[IpAddr]) {
        self.receivers.retain(|receiver| rlocs.contains(&receiver.rloc));
        for rloc in rlocs {
            if self.receivers.iter().any(|receiver| receiver.rloc == *rloc) {
                continue;
            }
            match gro_receiver(*rloc, &mut self.has_gro) {
                Ok(receiver) => self.receivers.push(receiver),
                Err(error) => tracing::warn!(%rloc, %error, "nothing will be received here"),
            }
        }
        lend(&self.lent, &self.receivers);
    }
}

fn datagrams(rloc: IpAddr, start: usize, message: &Received<'_>) -> Option<Datagrams> {
    let from = message.from?;
    let outer = OuterInfo {
        source: from.ip(),
        destination: rloc,
        source_port: from.port(),
        ttl: message.ttl().unwrap_or(TTL_UNKNOWN),
        class: message.traffic_class().unwrap_or_default(),
    };
    let size = message.segment_size().unwrap_or(message.length);
    Some(Datagrams { outer, octets: start..start + message.length, size })
}

fn gro_receiver(rloc: IpAddr, has_gro: &mut bool) -> Result<Receiver, SocketError> {
    let receiver = receiver(rloc)?;
    *has_gro &= set_option(&receiver.socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
    set_receive_buffer(&receiver.socket, RECEIVE_BUFFER)?;
    Ok(receiver)
}
