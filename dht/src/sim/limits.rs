// SPDX-License-Identifier: GPL-2.0-or-later
//! Every number of the model, with its unit and its reason.

use std::time::Duration;

/// Peers of a bucket, nodes that hold a record: Kademlia's k.
pub(super) const K: usize = 20;
/// Requests in flight of a lookup with one path.
pub(super) const ALPHA: usize = 3;

/// Nearest peers whose distance bounds what a store keeps.
pub(super) const REGION: usize = 40;
/// Pause between two looks after the neighbours, and how long one takes: as in a node.
pub(super) const SUSPECT_PAUSE: Duration = Duration::from_secs(5 * 60);
/// See [`SUSPECT_PAUSE`].
pub(super) const SUSPECT_TIME: Duration = Duration::from_secs(10);
/// Changes of a table within this are one to the hand-over, which waits for longer anyway.
pub(super) const TABLE_PAUSE: Duration = Duration::from_secs(2);

/// An engine that was told of its peers longer ago hears of them before the next record.
pub(super) const TOLD: Duration = Duration::from_secs(10);

/// Shortest time of a message on its way.
pub(super) const LATENCY_LEAST: Duration = Duration::from_millis(5);
/// Most that chance adds to it; the mean is a quarter of it.
pub(super) const LATENCY_SPREAD: Duration = Duration::from_millis(160);
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
/// Pause of a newcomer between its first lookup, of its own place, and the walk through its table.
pub(super) const JOIN_PAUSE: Duration = Duration::from_secs(2);
/// A node that meets many new peers looks its own place up again, but not more often than this.
pub(super) const WALK_PAUSE: Duration = Duration::from_secs(10);
/// By how much, in parts, the peers known must have grown for that: a quarter.
pub(super) const GROWTH: usize = 4;
/// Bootstrap nodes that everybody is configured with.
pub(super) const BOOTSTRAP: usize = 8;
