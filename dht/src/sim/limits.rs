// SPDX-License-Identifier: GPL-2.0-or-later
//! Every number of the model, with its unit and its reason.

use std::time::Duration;

/// Peers of a bucket, nodes that hold a record: Kademlia's k.
pub(super) const K: usize = 20;
/// Requests in flight of a lookup with one path.
pub(super) const ALPHA: usize = 3;

/// Nearest peers whose distance bounds what a store keeps.
pub(crate) const REGION: usize = 40;
/// Pause between two looks after all peers, because some were lost: as in a node.
pub(crate) const SUSPECT_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Peers that such a look dials in one turn.
pub(crate) const SUSPECTS: usize = 4;
/// A second look for the nodes of a PUT may take so long, after a first one that was too short: as in a node.
pub(crate) const PUT_LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Changes of a table within this are one to the hand-over, which waits for longer anyway.
pub(super) const TABLE_PAUSE: Duration = Duration::from_secs(2);

/// An engine that was told of its peers longer ago hears of them before the next record.
pub(super) const TOLD: Duration = Duration::from_secs(10);

/// Shortest time of a message on its way.
pub(super) const LATENCY_LEAST: Duration = Duration::from_millis(5);
/// Most that chance adds to it; the mean is a quarter of it.
pub(super) const LATENCY_SPREAD: Duration = Duration::from_millis(160);
/// Time of a message where all take the same, as in a bench: more than none, so that what follows from one comes after it.
pub(super) const LATENCY_EVEN: Duration = Duration::from_micros(100);
/// Lost messages, in thousandths.
pub(super) const LOSS: usize = 10;
/// QUIC sends a lost message again after about this.
pub(super) const RETRANSMISSION: Duration = Duration::from_millis(200);
/// How often; the request has timed out by then.
pub(super) const RETRANSMISSIONS: usize = 5;
/// How long a slow hostile node takes: just less than a request may.
pub(super) const SLOW: Duration = Duration::from_millis(2800);

/// Pause between two lookups that are measured.
pub(super) const LOOKUP_PAUSE: Duration = Duration::from_millis(50);
/// Throws of the dice for a node that fits, before all that do are listed.
pub(super) const THROWS: usize = 16;
/// Somebody who was lost for long is reached: pause between two walks that this leads to, as in a node.
pub(crate) const WALK_PAUSE: Duration = Duration::from_secs(10);
/// After such a walk the place is walked to again.
pub(crate) const WALK_AGAIN: Duration = Duration::from_secs(4);
/// Peers dialled that such a peer names.
pub(crate) const WALK_DIALS: usize = 20;
/// A node looks after its neighbours so often.
pub(crate) const TURN: Duration = Duration::from_secs(1);
/// libp2p's pause before a table with less than [`K`] peers is walked through, when no more have come.
pub(super) const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(500);
/// Points drawn for one in a bucket, before any will do: as libp2p draws.
pub(super) const DRAWS: usize = 16;
/// Attempts at a lost peer to which no connection stood.
pub(crate) const CLAIMED_ATTEMPTS: u32 = 8;
/// Attempts after which a peer that is reached was away for long.
pub(crate) const SILENT_ATTEMPTS: u32 = 5;
/// Bootstrap nodes that everybody is configured with.
pub(super) const BOOTSTRAP: usize = 8;
