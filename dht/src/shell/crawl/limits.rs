// SPDX-License-Identifier: GPL-2.0-or-later
//! Every bound of a crawl, with its unit and its reason.

use std::time::Duration;

/// Nodes listed: the network for which the DHT is made, twice.
pub const NODES: usize = 20_000;
/// Questions a second: to each of a thousand nodes one in ten seconds, which no node notices.
pub const RATE: u32 = 100;
/// Questions a second that may be asked for: beyond, the answers would fill a common uplink.
pub const FASTEST: u32 = 1000;
/// Questions without answer at once: silent nodes must not hold up the walk for the time that each is waited for.
pub(super) const IN_FLIGHT: usize = 256;
/// How long after the last round the walk may take, and the last answer may come.
pub(super) const TAIL: Duration = Duration::from_secs(10);
/// How long after it was reached a node is waited for to present itself, where all else is known: it does so with its first
/// connection, half a round trip later; a loaded machine takes a while.
pub(super) const PRESENTATION: Duration = Duration::from_secs(3);
/// Peers that a full answer names (Kademlia's k): who names fewer knows no more.
pub(super) const ANSWER: usize = 20;
/// Pairs of peer and address taken from one answer: a full one with the addresses of each.
pub(super) const NAMED: usize = ANSWER * crate::shell::limits::ADDRESSES_PER_PEER;
/// Deepest bucket that is asked for: with 20 nodes nearer than it, a network of 80,000 has none deeper.
pub(super) const DEEPEST: u32 = 12;
/// Keys drawn for a target in one bucket: ten times as many as the deepest takes on average.
pub(super) const DRAWS: u32 = 10 << (DEEPEST + 1);
/// Rounds, and the longest time of a crawl: a day tells more than a week of one.
pub const ROUNDS: u32 = 1000;
/// See [`ROUNDS`].
pub const LONGEST: Duration = Duration::from_secs(86_400);
/// Bundles that are fetched at once; each GET asks some 20 nodes.
pub(super) const GETS: usize = 4;
/// Pause before each of them.
pub(super) const GET_PAUSE: Duration = Duration::from_millis(50);
