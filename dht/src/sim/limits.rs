// SPDX-License-Identifier: GPL-2.0-or-later
//! Every number of the model, with its unit and its reason.

use std::time::Duration;

/// Peers of a bucket, nodes that hold a record: Kademlia's k.
pub(super) const K: usize = 20;
/// Requests in flight of a lookup with one path.
pub(super) const ALPHA: usize = 3;
/// Nodes that a region PUT and a wide GET look at: twenty honest ones among forty ids placed there, and some to spare.
pub(super) const WIDE: usize = 4 * K;
/// Peers of one Block in a bucket or among those chosen.
pub(super) const PER_BLOCK: usize = 2;
/// Peers of one provider (a /32 of IPv6) in a bucket or among those chosen.
pub(super) const PER_PROVIDER: usize = 8;
/// Valid copies from different Blocks after which a GET ends.
pub(super) const COPIES: usize = 3;
/// The nearest holders of a record hand it on: more than one, because one may die over it.
pub(super) const HANDING: usize = 3;
/// Pause before a hand-over, up to this: what changes at one time is handed over at once, and not by all at one time.
pub(super) const HAND_OVER_PAUSE: Duration = Duration::from_secs(3);

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
