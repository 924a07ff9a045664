// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of what other nodes can make us send.

use std::time::Duration;

/// Window in which answers are counted. RFC 9301, section 5.4, recommends one Map-Reply per RLOC in it, which would let a
/// resolver serve one EID at a time; we count per EID-prefix too, and allow for retransmissions.
pub const WINDOW: Duration = Duration::from_secs(3);

/// Map-Replies to one RLOC for one EID-prefix in a window.
pub const REPLIES: u32 = 4;

/// Probe replies to one RLOC for probes from one address to one locator of ours in a window: an ITR in doubt about a locator probes
/// three times in two seconds, or once, and five times more if it is in doubt about the path MTU. Whoever names an ITR's RLOC in probes from
/// elsewhere uses up nothing of what the ITR has.
pub const PROBES: u32 = 6;

/// Probe replies to one RLOC in a window for probes that came from other addresses, all together: an ITR with several addresses has
/// enough, and who is named by strangers is not flooded.
pub const PROBES_FROM_ELSEWHERE: u32 = 16;

/// Receivers that are counted at once. A flood of invented ones is not remembered.
pub const TRACKED: usize = 4096;

/// Answers in a window to all those together whom a full table does not count: a thousand a second, half a megabit, so that
/// a flood of invented receivers leaves something for the others.
pub const UNTRACKED: u32 = 3000;

/// Records of one Map-Request that are answered.
pub const RECORDS: usize = 8;

/// Largest Map-Reply over IPv4: a packet of 576 octets (RFC 9301, section 5).
pub const PAYLOAD_V4: usize = 576 - 20 - 8;

/// Largest Map-Reply over IPv6: a packet of 1280 octets.
pub const PAYLOAD_V6: usize = 1280 - 40 - 8;
