// SPDX-License-Identifier: GPL-2.0-or-later
//! What is said of packets that tier 1 sends from the data port, through a NAT: by routers, and by who takes no LISP.
//!
//! The thread towards the core sends there, and the one towards the site receives: both have the socket, and poll(2) wakes the latter. So
//! either may read its error queue, and the latter hands over what it finds.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::data_socket::Heard;
use super::device::TooBig;
use crate::limits;

/// What the error queue of a socket says of a packet.
#[derive(Debug)]
pub(super) enum Said {
    TooBig(TooBig),
    /// The start of a packet that did not get there, from its outer IP header on.
    Unreachable(Vec<u8>),
}

/// What the thread towards the site has read.
#[derive(Debug, Default)]
pub(super) struct LentErrors {
    said: Mutex<Vec<Said>>,
    /// How often it has found reports.
    found: AtomicUsize,
    /// Wakes the thread towards the core.
    wake: OnceLock<UnixStream>,
}

impl LentErrors {
    /// Whoever writes here wakes the thread towards the core.
    pub(super) fn wake_by(&self, wake: UnixStream) {
        // There is one such thread.
        let _ = self.wake.set(wake);
    }

    /// What was read is for the thread towards the core.
    pub(super) fn hand_over(&self, said: Vec<Said>, heard: Heard) {
        if !heard.reports {
            return;
        }
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limits::BATCH.saturating_sub(all.len());
        all.extend(said.into_iter().take(room));
        drop(all);
        self.found.fetch_add(1, Ordering::Release);
        if let Some(mut wake) = self.wake.get() {
            // A full buffer means that the thread has enough to wake up for.
            let _ = wake.write(&[0]);
        }
    }

    /// What was handed over, if reports were found since `known`, which is kept up to date.
    pub(super) fn take(&self, known: &mut usize) -> Option<Vec<Said>> {
        let found = self.found.load(Ordering::Acquire);
        if std::mem::replace(known, found) == found {
            return None;
        }
        Some(std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
