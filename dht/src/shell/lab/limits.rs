// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of the bench, each with its unit and its reason.

use std::time::Duration;

/// Nodes of one bench: each has a thread, and over QUIC a socket for each of its addresses.
pub const NODES: usize = 1000;
/// Lookups of one run: an hour of them.
pub const LOOKUPS: usize = 100_000;
/// Ids of an eclipse: more than a bucket has is no other attack.
pub const ECLIPSE_IDS: usize = 200;
/// Networks that hostile ids and PUTs come from: each is a /24 of 127.0.0.0/8.
pub const NETWORKS: usize = 50;
/// Hostile PUTs of one run.
pub const HOSTILE_PUTS: usize = 10_000_000;
/// Longest pause that can be asked for: the records hold for an hour.
pub const PAUSE: Duration = Duration::from_secs(1800);

/// Longest delay, each way: a request and its answer take three seconds at most.
pub const DELAY: Duration = Duration::from_secs(1);

/// Earlier nodes that each node is given as bootstrap.
pub(super) const BOOTSTRAPS: usize = 3;
/// Nodes that only ask, beside those that serve.
pub(super) const CLIENTS: usize = 4;
/// Lookups in progress at once: as many as leave the machine idle in between, so that one does not wait for another.
pub(super) const LOOKUPS_AT_ONCE: usize = 2;
/// PUTs in progress at once: each has some hundred handshakes on a processor that both ends share.
pub(super) const PUTS_AT_ONCE: usize = 2;
/// Tries at one PUT that nobody took.
pub(super) const PUT_TRIES: usize = 3;

/// The routing tables have settled when they have not changed for so long ...
pub(super) const QUIET: Duration = Duration::from_secs(2);
/// ... by more than this part, in percent; in a large network somebody always finds somebody.
pub(super) const QUIET_PERCENT: usize = 1;
/// Patience for that.
pub(super) const MESH: Duration = Duration::from_secs(120);
/// Patience of the node that starts cold with finding its first mapping.
pub(super) const COLD_START: Duration = Duration::from_secs(10);
/// Keys drawn for each id of an eclipse and each node of the network: half of the ids are nearer than any honest node then.
pub(super) const ECLIPSE_DRAWS: usize = 1;
/// How long attackers have to make themselves known before the records that count are published.
pub(super) const ATTACK: Duration = Duration::from_secs(5);
/// Networks that a flood of PUTs comes from.
pub(super) const FLOOD_NETWORKS: usize = 16;
/// Interval at which a flood is looked at ...
pub(super) const FLOOD_LOOK: Duration = Duration::from_secs(1);
/// ... and how many times without progress, before it is given up: nobody listens to it any more.
pub(super) const FLOOD_STUCK: u32 = 30;
