// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of subscriptions.

use std::time::Duration;

/// Subscriptions at once: as many as our own Map-Server grants one xTR. Mappings beyond them are polled. One takes about 400
/// octets.
pub const SUBSCRIPTIONS: usize = 4096;

/// EID-prefixes inside one subscription whose last nonce is remembered; beyond them what is older than the newest is not news.
pub const PUBLISHED_PREFIXES: usize = 64;

/// Configured subscriptions, and others that are told of unasked: so many of each, and of the latter an equal share for each Map-Server.
pub const TOLD_ONLY: usize = 512;

/// Last nonces of these that are kept on disk, those that are in use no longer among them.
pub const TOLD_NONCES: usize = 2 * TOLD_ONLY + 256;

/// Map-Requests with the N-bit a second in all, and at once (RFC 9437, section 7.2): our own Map-Server takes so many for ever, and
/// answers what is beyond by Map-Replies.
pub const REQUESTS_PER_SECOND: u32 = 16;

/// Wait for the first Map-Notify; two tries at each pace, which then doubles.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Map-Requests without any answer after which a mapping is polled: those of some ten seconds.
pub const TRIES: u32 = 5;

/// Map-Requests that end a subscription, if none is confirmed; the Map-Server then hears no acknowledgement any more, and ends it by
/// itself.
pub const LEAVING_TRIES: u32 = 3;

/// Nonces of one subscription that a late Map-Notify may still confirm.
pub const OUTSTANDING: usize = 8;

/// Wait before a subscription that was refused, or not answered, is tried again; it doubles.
pub const FIRST_PAUSE: Duration = Duration::from_secs(300);

/// The same of a subscription whose renewal was not answered.
pub const SILENT_PAUSE: Duration = Duration::from_secs(60);

/// Longest such wait.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Wait before a subscription that the Map-Server has ended is asked for again; it doubles up to [`LONGEST_PAUSE`] as long as
/// none is confirmed for [`RENEW`].
pub const ENDED_PAUSE: Duration = Duration::from_secs(1);

/// A subscription that was silent for so long is asked for again, a tenth sooner or later: a Map-Server that has lost it says nothing.
/// As long as a denial is kept (RFC 9301, section 8.1).
pub const RENEW: Duration = Duration::from_secs(15 * 60);

/// How long a subscription to a mapping that is gone stays: as the Map-Server keeps it (RFC 9437, section 5).
pub const TEMPORARY: Duration = Duration::from_secs(15 * 60);

/// A warning that others can provoke is logged at most this often.
pub const LOG_PAUSE: Duration = Duration::from_secs(10);
