// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of what other nodes can make us send.

use std::time::Duration;

/// Window in which answers are counted. RFC 9301, section 5.4, recommends one Map-Reply per RLOC in it, which would let a
/// resolver serve one EID at a time; we count per EID-prefix too, and allow for retransmissions.
pub const WINDOW: Duration = Duration::from_secs(3);

/// Map-Replies to one RLOC for one EID-prefix in a window.
pub const REPLIES: u32 = 4;

/// Probe replies to one RLOC in a window: an ITR in doubt about a locator probes three times in two seconds.
pub const PROBES: u32 = 4;

/// Receivers that are counted at once. A flood of invented ones is refused, not remembered.
pub const TRACKED: usize = 4096;

/// Records of one Map-Request that are answered.
pub const RECORDS: usize = 8;

/// Largest Map-Reply over IPv4: a packet of 576 octets (RFC 9301, section 5).
pub const PAYLOAD_V4: usize = 576 - 20 - 8;

/// Largest Map-Reply over IPv6: a packet of 1280 octets.
pub const PAYLOAD_V6: usize = 1280 - 40 - 8;
