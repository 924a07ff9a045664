// SPDX-License-Identifier: GPL-2.0-or-later
//! Every bound of the shell, with its unit and its reason.

use std::time::Duration;

/// UDP port of the DHT.
pub const PORT: u16 = 43420;

/// Connections in all: each costs about 150 kB, and 120 are more neighbours than a lookup asks.
pub const CONNECTIONS: u32 = 120;
/// Connections that others opened: what is left is for our own lookups, however many strangers come.
pub const CONNECTIONS_INCOMING: u32 = 90;
/// Connections to one peer: both sides may dial at the same moment.
pub const CONNECTIONS_PER_PEER: u32 = 2;
/// Handshakes in progress, each way: QUIC answers every Initial, and a handshake costs a signature.
pub const PENDING_CONNECTIONS: u32 = 32;

/// Silence after which a connection is dead: a peer that was killed must not hold up lookups for long.
pub const QUIC_IDLE: Duration = Duration::from_secs(5);
/// Keep-alive of a silent connection: two are lost before it is taken for dead.
pub const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// A handshake takes two round trips; a peer farther than this is of no use to a lookup.
pub const QUIC_HANDSHAKE: Duration = Duration::from_secs(3);
/// Streams that a peer may have open at once on one connection: kad itself takes 32.
pub const QUIC_STREAMS: u32 = 64;
/// Octets in flight on one stream: one Kademlia packet is at most 16 KiB.
pub const QUIC_STREAM_DATA: u32 = 32 * 1024;
/// Octets in flight on one connection.
pub const QUIC_CONNECTION_DATA: u32 = 256 * 1024;

/// A connection without requests is closed after this; longer than [`REFRESH`], so that neighbours stay connected.
pub const CONNECTION_UNUSED: Duration = Duration::from_secs(7 * 60);
/// Interval of the walk through the routing table.
pub const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Interval of identify on a connection that stands.
pub const IDENTIFY: Duration = Duration::from_secs(10 * 60);

/// Requests asked in parallel by one lookup.
pub const PARALLELISM: usize = 3;
/// One request and its answer.
pub const REQUEST: Duration = Duration::from_secs(3);
/// Bound of libp2p's own queries (walks); ours end earlier, see below.
pub const QUERY: Duration = Duration::from_secs(10);

/// A GET ends after this, with what it has seen.
pub const GET: Duration = Duration::from_secs(3);
/// The lookup of the nodes that shall store a record ends after this, with those it has found.
pub const PUT_LOOKUP: Duration = Duration::from_millis(1500);
/// Storing at the nodes found ends after this. A refusal takes as long: libp2p-kad 0.49 closes a refused stream only when
/// something else wakes it, so the publisher sees it as silence on a connection that stands.
pub const PUT_STORE: Duration = Duration::from_millis(2000);
/// A request waits so long for a first peer, when the node knows none.
pub const FIRST_PEER: Duration = Duration::from_millis(2500);

/// Commands waiting for the node's thread; the callers wait when it is full.
pub const COMMANDS: usize = 256;
/// Values of one GET waiting for its reader: more than the replicas of a key cannot be honest.
pub const VALUES: usize = 32;
/// GETs and PUTs in progress; what comes beyond is refused.
pub const QUERIES: usize = 512;

/// Nearest peers whose distance bounds what a node keeps: twice the replicas of a record, so that a publisher who knows other
/// peers than we do is not refused.
pub const REGION: usize = 40;

/// Addresses taken from one peer's identify message.
pub const ADDRESSES_PER_PEER: usize = 8;
/// Peers remembered for the time when all connections are lost.
pub const REMEMBERED_PEERS: usize = 64;
/// Attempts after which a remembered peer is forgotten; about an hour at the longest backoff.
pub const REMEMBERED_ATTEMPTS: u32 = 120;
/// Attempts at an address that a lost peer only claimed: enough for a restart, too few to flood whoever is there.
pub const CLAIMED_ATTEMPTS: u32 = 8;
/// Addresses remembered of one lost peer: one of each family.
pub const REMEMBERED_ADDRESSES: usize = 2;
/// Attempts after which a silent bootstrap node is reported: about 15 s.
pub const SILENT_ATTEMPTS: u32 = 5;
/// First pause between two attempts at an address that does not answer; it doubles ...
pub const REDIAL_FIRST: Duration = Duration::from_millis(500);
/// ... up to this, which bounds how long two healed halves of a network stay apart.
pub const REDIAL_LAST: Duration = Duration::from_secs(30);

/// Interval of housekeeping: expiry and the database's group commit.
pub const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Start waits so long for the first listen address to be known.
pub const LISTEN: Duration = Duration::from_secs(2);

/// Octets of a file with a revocation: its armour and the words before it take less than twice the statement's 10 kB.
pub const STATEMENT_FILE: u64 = 32 * 1024;
