// SPDX-License-Identifier: GPL-2.0-or-later
//! The cases: who plays which part.

use super::Peer;
use super::network::Underlay;

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
    /// What locators and map-server have.
    pub(super) underlay: Underlay,
    /// The map-resolver is another node of the DHT, which shares nothing with the map-server but a trust anchor.
    pub(super) through_dht: bool,
    /// In the end the xTR of others gets another locator.
    pub(super) moves: bool,
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
use Underlay::{V4, V6};

const OOR: Player = Theirs(Peer::Oor);
const OPENLISP: Player = Theirs(Peer::Openlisp);
const KERNEL: Player = Theirs(Peer::Kernel);

const fn case(peer: Peer, name: &'static str, map_server: Player, xtrs: [Player; 2], underlay: Underlay) -> Case {
    Case { peer, name, map_server, xtrs, underlay, through_dht: false, moves: false }
}

const fn through_dht(case: Case) -> Case {
    Case { through_dht: true, ..case }
}

const fn moves(case: Case) -> Case {
    Case { moves: true, ..case }
}

/// All of them, in the order they run.
pub(super) const CASES: [Case; 20] = [
    case(Peer::Oor, "map-server-of-ours-xtrs", OOR, [Ours, Ours], V4),
    case(Peer::Oor, "their-xtr-our-map-server", Ours, [Ours, OOR], V4),
    case(Peer::Oor, "their-xtrs-our-map-server", Ours, [OOR, OOR], V4),
    case(Peer::Oor, "our-xtr-their-xtr", OOR, [Ours, OOR], V4),
    case(Peer::Oor, "map-server-of-ours-xtrs-ipv6", OOR, [Ours, Ours], V6),
    case(Peer::Oor, "their-xtr-our-map-server-ipv6", Ours, [OOR, Ours], V6),
    case(Peer::Oor, "our-xtr-their-xtr-ipv6", OOR, [OOR, Ours], V6),
    through_dht(case(Peer::Oor, "their-xtr-through-the-dht", Ours, [Ours, OOR], V4)),
    through_dht(case(Peer::Oor, "their-xtrs-through-the-dht-ipv6", Ours, [OOR, OOR], V6)),
    moves(case(Peer::Oor, "their-xtr-moves", Ours, [Ours, OOR], V4)),
    moves(case(Peer::Oor, "their-xtr-moves-ipv6", Ours, [OOR, Ours], V6)),
    case(Peer::Openlisp, "map-server-of-ours-xtrs", OPENLISP, [Ours, Ours], V4),
    case(Peer::Openlisp, "map-server-of-ours-xtrs-ipv6", OPENLISP, [Ours, Ours], V6),
    case(Peer::Openlisp, "their-xtr-our-map-server", Ours, [Ours, OPENLISP], V4),
    case(Peer::Openlisp, "their-xtr-our-map-server-ipv6", Ours, [OPENLISP, Ours], V6),
    case(Peer::Openlisp, "their-map-server-ours-and-oor", OPENLISP, [Ours, OOR], V4),
    case(Peer::Openlisp, "their-map-server-oor-and-ours-ipv6", OPENLISP, [OOR, Ours], V6),
    case(Peer::Kernel, "vxlan-gpe-and-our-xtr", Ours, [Ours, KERNEL], V4),
    case(Peer::Kernel, "vxlan-gpe-and-our-xtr-ipv6", Ours, [Ours, KERNEL], V6),
    through_dht(case(Peer::Kernel, "vxlan-gpe-through-the-dht", Ours, [KERNEL, Ours], V4)),
];

impl Case {
    /// Everybody who plays.
    pub(super) fn players(&self) -> [Player; 3] {
        [self.map_server, self.xtrs[0], self.xtrs[1]]
    }

    /// Whether a peer plays in it.
    pub(super) fn needs(&self, peer: Peer) -> bool {
        self.players().contains(&Theirs(peer))
    }
}

impl Player {
    /// How many pings its ITR may lose while it looks a mapping up. Ours none: it has a miss queue; the kernel none: it looks
    /// nothing up. `OpenOverlayRouter` has no queue, and drops what it has no mapping for.
    pub(super) fn lost_at_first(self) -> usize {
        match self {
            Ours | Theirs(Peer::Kernel) => 0,
            Theirs(_) => 2,
        }
    }

    /// Whether packets cross it: `OpenLISP` has a data plane for another system only.
    pub(super) fn forwards(self) -> bool {
        self != OPENLISP
    }

    /// Whether it probes locators.
    pub(super) fn probes(self) -> bool {
        self == OOR
    }
}
