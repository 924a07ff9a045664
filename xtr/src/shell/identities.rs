// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes of the node's own identities while it runs.

use std::net::Ipv6Addr;

use cgeid::{Cn, OperationalKey};
use tokio::sync::mpsc;

use super::embedded::KeyWatch;

/// Changes that wait for the loop; who makes them waits beyond that.
const WAITING: usize = 8;

/// One change.
#[derive(Debug)]
pub enum Change {
    /// The next operational key of an identity that is there.
    Renewed(OperationalKey),
    /// Another identity: its CGEID is published and registered, and its packets go through the tunnel. Who makes the change
    /// gives somebody the address.
    Added(OperationalKey),
    /// An identity leaves: its CGEID is deregistered and withdrawn. The node's first identity, which signs for it, cannot.
    Removed {
        /// Which.
        cn: Cn,
        /// Its CGEID.
        address: Ipv6Addr,
    },
}

/// Changes on their way to a node.
#[derive(Debug)]
pub struct Changes {
    sender: mpsc::Sender<Change>,
    receiver: mpsc::Receiver<Change>,
}

impl Default for Changes {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver }
    }
}

impl Changes {
    /// Who has this may change the node's identities.
    pub fn sender(&self) -> mpsc::Sender<Change> {
        self.sender.clone()
    }

    /// The next change.
    pub async fn next(&mut self) -> Option<Change> {
        self.receiver.recv().await
    }

    /// The keys of later months, as their time comes. Ends with the node.
    pub fn renew(&self, mut keys: KeyWatch) {
        let sender = self.sender();
        tokio::spawn(async move {
            while let Some(key) = keys.found().await {
                if sender.send(Change::Renewed(key)).await.is_err() {
                    return;
                }
            }
        });
    }
}
