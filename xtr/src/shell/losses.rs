// SPDX-License-Identifier: GPL-2.0-or-later
//! What the kernel loses in front of the packet threads: it is asked when somebody looks at the counters, so that no packet pays for it.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::fixed_ports::FixedPorts;
use crate::counters::{Counters, DropReason};

/// The interfaces of the network namespace of the thread that reads it, with what each has counted (proc_pid_net(5)).
const INTERFACES: &str = "/proc/thread-self/net/dev";
/// Where a line has the packets that were dropped on their way to whoever reads from the device, behind its name.
const DROPPED: usize = 11;

/// The places at which packets wait for the packet threads.
#[derive(Debug)]
pub struct Losses {
    tun: String,
    ports: FixedPorts,
    counters: Arc<Counters>,
    /// What the queue of the device had lost when it was asked last.
    of_queue: Mutex<u64>,
}

impl Losses {
    /// The queue of this device, and the sockets on the data port that are lent.
    pub(super) fn new(tun: &str, ports: &FixedPorts, counters: &Arc<Counters>) -> Self {
        let (tun, ports, counters) = (tun.to_owned(), ports.clone(), counters.clone());
        Self { tun, ports, counters, of_queue: Mutex::default() }
    }

    /// Counts what was lost since the last time. The thread has to be in the network namespace of the device.
    pub fn count(&self) {
        self.counters.add_drops(DropReason::CoreReceiveBuffer, self.ports.take_drops(wire::DATA_PORT));
        match dropped(&self.tun) {
            Ok(Some(dropped)) => {
                let mut before = self.of_queue.lock().unwrap_or_else(PoisonError::into_inner);
                let lost = usize::try_from(dropped.saturating_sub(*before)).unwrap_or(usize::MAX);
                self.counters.add_drops(DropReason::SiteQueue, lost);
                *before = dropped;
            }
            // Somebody has removed it.
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "{INTERFACES} cannot be read: what the queue of the device loses is not counted")
            }
        }
    }
}

/// Packets to this interface that were dropped so far; `None` if there is none.
fn dropped(interface: &str) -> io::Result<Option<u64>> {
    let lines = fs::read_to_string(INTERFACES)?;
    Ok(lines.lines().find_map(|line| {
        let (name, figures) = line.split_once(':')?;
        figures.split_whitespace().nth(DROPPED).filter(|_| name.trim() == interface)?.parse().ok()
    }))
}

#[cfg(test)]
mod tests;
