// SPDX-License-Identifier: GPL-2.0-or-later
//! The cases: who plays which part.

use super::Peer;

/// A case: a map-server and two sites, and who plays them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Whose case it is.
    pub(super) peer: Peer,
    /// Its name, unique for the peer.
    pub(super) name: &'static str,
    /// Map-server and map-resolver.
    pub(super) map_server: Player,
    /// The xTRs of sites A and B.
    pub(super) xtrs: [Player; 2],
}

/// Who plays a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Player {
    /// A program of ours.
    Ours,
    /// One of others.
    Theirs(Peer),
}

use Player::{Ours, Theirs};

/// All of them, in the order they run.
pub(super) const CASES: [Case; 4] = [
    Case { peer: Peer::Oor, name: "map-server-of-ours-xtrs", map_server: Theirs(Peer::Oor), xtrs: [Ours, Ours] },
    Case { peer: Peer::Oor, name: "their-xtr-our-map-server", map_server: Ours, xtrs: [Ours, Theirs(Peer::Oor)] },
    Case { peer: Peer::Oor, name: "our-xtr-their-xtr", map_server: Theirs(Peer::Oor), xtrs: [Ours, Theirs(Peer::Oor)] },
    Case {
        peer: Peer::Openlisp,
        name: "map-server-of-ours-xtrs",
        map_server: Theirs(Peer::Openlisp),
        xtrs: [Ours, Ours],
    },
];

impl Player {
    /// How many pings its ITR may lose while it looks a mapping up. Ours none: it has a miss queue.
    /// `OpenOverlayRouter` has none, and drops what it has no mapping for.
    pub(super) fn lost_at_first(self) -> usize {
        match self {
            Ours => 0,
            Theirs(_) => 2,
        }
    }
}
