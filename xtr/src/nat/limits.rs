// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of NAT traversal, each with its reason.

use std::time::Duration;

use crate::reach::limits as reach;

// --- the xTR behind a NAT

/// Between two Info-Requests that are answered. NATs must keep a UDP binding for two minutes (RFC 4787, REQ-5), and some keep it for
/// thirty seconds; lispers.net sends one in 15 s.
pub const KEEPALIVE: Duration = Duration::from_secs(20);
/// The same where there are several uplinks: so long, and until [`UPLINK_MISSED`] more are not answered, packets may be lost before
/// the next uplink is used. Eight seconds in all; no more than four where hosts wait for answers.
pub const KEEPALIVE_OF_SEVERAL: Duration = Duration::from_secs(5);
/// Between two Info-Requests while there is no NAT: one may come with the next address, or with the next access.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Wait for the first Info-Reply; doubles with each that does not come, up to [`KEEPALIVE`].
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Messages that wait for the socket on the data port of an address that has just come: Info-Requests by all [`UPLINKS`] to all [`RTRS`], and
/// as many Map-Registers.
pub const HELD: usize = 32;
/// How long one waits for that: then the next Info-Request leaves.
pub const HELD_FOR: Duration = FIRST_RETRY;
/// Info-Requests without answer after which an RTR is not used: those of seven seconds, or less than two keepalives. Of one that is suspected
/// those of 2.5 s, if another one answers.
pub const MISSED: u32 = 3;
/// Between the Info-Requests to an RTR that packets go to and nothing comes back from: as between the probes of a locator.
pub const SUSPICION_GAP: Duration = reach::BURST_GAP;
/// Wait for the answer to the last of them: it is left 2.5 s after the first one, and within 4 s of its death while packets go there.
pub const SUSPICION_LAST_WAIT: Duration = reach::LAST_WAIT;
/// From an answer to the next time that suspicion is looked into. Hosts that send one way only cost an Info-Request in this time, and so does
/// whoever sends ICMP errors in the name of others.
pub const SUSPICION_PAUSE: Duration = reach::ANSWERED_PAUSE;
/// Info-Requests without answer after which an RTR is used by the first uplink that it answers: those of three seconds. From the second
/// one on each goes out by all uplinks. After as many a Map-Server that was heard by the preferred uplink is asked by the next one.
pub const UPLINK_MISSED: u32 = 2;
/// Uplinks of one family by which an RTR is asked: a home has two, and each costs a binding of its NAT.
pub const UPLINKS: usize = 4;
/// How long registration waits for the first Info-Reply where a NAT is only suspected: three tries. Map-Servers that know of no NAT
/// do not answer.
pub const DETECTION: Duration = Duration::from_secs(4);
/// Nonces of one address, and one uplink, that may still be answered: those of the last seven seconds.
pub const OUTSTANDING: usize = 3;
/// RTRs that are used: each has all registrations, and keeps a binding of the NAT.
pub const RTRS: usize = 4;
/// How long the way to the RTR is good without being renewed, which each Info-Reply does: it is the way of all packets, and without
/// it they would ask Map-Resolvers whose answers the NAT does not let in.
pub const DEFAULT_WAY: Duration = Duration::from_secs(24 * 3600);
/// Control messages from RTRs that wait for control: a few answers for each RTR.
pub const LETTERS: usize = 32;
/// Octets of one: those of a packet of an Ethernet.
pub const LETTER_OCTETS: usize = 1500;

// --- the RTR

/// Without a Map-Register that its Map-Server has accepted a binding ends (RFC 9301, section 8.2: so does the registration).
pub const BINDING: Duration = Duration::from_secs(180);
/// So long after the Map-Notify probes are answered with what was registered: a refresh each minute and its repetition. Who is heard of
/// no more may have gone elsewhere, and ITRs have to ask the mapping system.
pub const VOUCHED: Duration = Duration::from_secs(75);
/// EID-prefixes from behind NATs; about 800 octets each, and an entry of the map-cache.
pub const BINDINGS: usize = 65_536;
/// EID-prefixes that others have now, whose former xTRs behind NATs are kept to be told when they are free: as many as a Map-Server
/// remembers.
pub const LEFT: usize = 4096;
/// Those of one binding, which can take and leave EID-prefixes of its site as often as it likes: one site does not fill [`LEFT`].
pub const LEFT_OF_BINDING: usize = 256;
/// EID-prefixes of which is known up to which nonce a Map-Server has told something: [`LEFT`] of four Map-Servers; about 300 octets each.
pub const TOLD: usize = 16_384;
/// Places where a Map-Notify about one EID-prefix may go once more, or be acknowledged: that of who has it, and of who had it lately.
pub const TOLD_AT: usize = 4;
/// Nonces of Map-Registers for one EID-prefix, and of what one Map-Server has told about it, that are known when somebody else sends them: of
/// four Map-Servers those of two refreshes. A Map-Server answers the last Map-Register again, and repeats the last thing that it tells.
pub const NONCES: usize = 8;
/// Locators of a mapping that is kept: those of all [`RTRS`] of its xTR, and as many again.
pub const LOCATORS: usize = 8;
/// EID-prefixes of one Map-Register.
pub const PREFIXES: usize = 64;
/// Map-Registers that wait for their Map-Notify: with 20,000 xTRs that register each minute, those of [`PATIENCE`] three times over.
pub const PENDING: usize = 8192;
/// Those that were not answered in that time and are remembered, so that a late answer is not taken for something told; about 60 octets each.
pub const UNANSWERED: usize = 1024;
/// How long a Map-Register waits for its Map-Notify: a Map-Server that is asked again later answers the later one.
pub const PATIENCE: Duration = Duration::from_secs(8);
/// Window in which messages of one address are counted.
pub const WINDOW: Duration = Duration::from_secs(1);
/// Info-Requests of one binding in a window, and of all others of one address: those of a thousand xTRs behind one NAT, with room for
/// all that begin at once.
pub const INFO_REQUESTS: u32 = 100;
/// Map-Registers of one binding in a window, and of all others of one address: the same, each once a minute.
pub const REGISTERS: u32 = 50;
/// Addresses that are counted at once.
pub const TRACKED: usize = 4096;
/// Messages in a window of all those together for whom there is no room.
pub const UNTRACKED: u32 = 200;
/// Octets of an Info-Reply for each octet of the Info-Request, whose source may be made up.
pub const AMPLIFICATION: usize = 3;
