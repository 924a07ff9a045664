// SPDX-License-Identifier: GPL-2.0-or-later
//! What a GET brings, as it comes.

use std::sync::Arc;

use libp2p::PeerId;
use tokio::sync::mpsc;

use super::watched::Effort;
use crate::store::Origin;

/// A value, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The value, unverified.
    pub value: Vec<u8>,
    /// Where its giver is, by our own eyes.
    pub from: Origin,
    /// Who gave it; none if this node holds it.
    pub peer: Option<PeerId>,
    /// Round trips after which it was there, each of which waited for the one before; 0 if this node holds it. Handshakes with
    /// peers that were not connected are not counted.
    pub round: usize,
}

/// The values of one GET.
#[derive(Debug)]
pub struct Values {
    values: mpsc::Receiver<Given>,
    effort: Arc<Effort>,
}

impl Values {
    pub(super) fn new(values: mpsc::Receiver<Given>, effort: Arc<Effort>) -> Self {
        Self { values, effort }
    }

    /// The next value; `None` when no more come.
    pub async fn next(&mut self) -> Option<Given> {
        self.values.recv().await
    }

    /// Sequential round trips so far: one more than the answers that any request had to wait for. Exact for lookups that a
    /// node does one at a time.
    pub fn rounds(&self) -> usize {
        self.effort.rounds()
    }

    /// Whether so many peers have answered that there is nothing if there are no values: three of different blocks of addresses, or
    /// of all blocks that peers are known in. Silence proves nothing.
    pub fn is_answered(&self) -> bool {
        self.effort.is_answered()
    }

    /// Requests sent so far.
    pub fn requests(&self) -> usize {
        self.effort.requests()
    }
}
