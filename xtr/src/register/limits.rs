// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of registration.

use std::time::Duration;

/// Between confirmed Map-Registers (RFC 9301, section 8.2: one minute).
pub const REFRESH: Duration = Duration::from_secs(60);

/// Wait for the first Map-Notify; doubles with each retransmission (RFC 9301, section 5.7).
pub const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Longest wait between retransmissions (RFC 9301, section 5.7).
pub const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Nonces of one message that a late Map-Notify may still carry: those of the retransmissions of some five minutes.
pub const OUTSTANDING_NONCES: usize = 10;

/// Nonces of Map-Registers, the newest, of which it is known that no Map-Notify has come: those of a minute of a node with 1,024 EID-prefixes and
/// some Map-Servers, each asked three times. Some 16 octets each.
pub const UNANSWERED_NONCES: usize = 1024;

/// Map-Registers that take one prefix back, if none is confirmed: those of some three minutes, after which a Map-Server
/// forgets it by itself (RFC 9301, section 8.2).
pub const WITHDRAWALS: u32 = 8;

/// After this time without a Map-Register a Map-Server has forgotten it (RFC 9301, section 8.2).
pub const FORGOTTEN: Duration = Duration::from_secs(180);

/// Nonces reserved on disk at once: a day of registering to two servers each minute costs a dozen writes.
pub const NONCE_BLOCK: u64 = 256;

/// Below all nonces of runs that began by a clock that was set, in milliseconds (2004): what Map-Servers count from one stays below it, and the
/// clock in microseconds, by which others count, is far above ours.
pub const FIRST_CLOCK: u64 = 1 << 40;

/// Bits of the steps by which nonces rise where they are not to be guessed: half a minute of the clock that they begin at (in
/// milliseconds), so that with one a minute they stay below it. A guess that hits holds up one Map-Register by a second.
pub const NONCE_STEP_BITS: u32 = 16;

/// Reserved on disk at once of those: the steps of half an hour.
pub const CHANCE_BLOCK: u64 = 1 << 20;

/// Map-Servers whose last unsolicited Map-Notify is remembered, also when they are not configured any more; more only if more are
/// configured. Each takes some 40 octets on disk.
pub const HEARD: usize = 64;
/// EID-prefixes about which a Map-Server's last one is remembered, in memory: parts of ours that have others, of all Map-Servers.
pub const HEARD_ABOUT: usize = 1024;

/// Parts of our EID-prefixes that others have, of all Map-Servers: each is a rule in the kernel, which walks them one by one.
pub const MOVED_PARTS: usize = 256;

/// So long after a Map-Server has said that another xTR has an EID-prefix of ours the mapping system is asked whether anybody has it, and each
/// time after that: by then what the Map-Server has of us is forgotten, and so is what nobody registers again.
pub const MOVE_DOUBTED: Duration = FORGOTTEN;

/// From when on after a move an answer that leads to us is believed: before, it may be what others had cached.
pub const MOVE_SETTLES: Duration = Duration::from_secs(60);

/// Largest UDP payload towards an IPv4 server: a packet of 576 octets (RFC 9301, section 5).
pub const PAYLOAD_V4: usize = 576 - 20 - 8;

/// Largest UDP payload towards an IPv6 server or the pipe: a packet of 1280 octets.
pub const PAYLOAD_V6: usize = 1280 - 40 - 8;

/// Of it what stands in front of a Map-Register for an IPv4 server that is relayed: an ECM header, and inner IP and UDP headers.
pub const RELAYED_V4: usize = 4 + 20 + 8;

/// The same for an IPv6 server.
pub const RELAYED_V6: usize = 4 + 40 + 8;
