// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of the packet half, and of what both halves have, each with its reason. Those of the control half are beside its
//! engines.

use std::time::Duration;

/// Map-cache entries: the correspondents of a large site within a day. One takes about 62 octets (`cargo bench -p xtr
/// --no-default-features --bench engine`), so 62 MB when full.
pub const MAP_CACHE_ENTRIES: usize = 1_000_000;
/// Of them, those without locators: 6 MB, which a port scan through the ITR may fill.
pub const NEGATIVE_ENTRIES: usize = 100_000;
/// Entries that are removed at a time when they have expired, ten times a second: each takes 4 microseconds in a full table,
/// whose memory is far away. What is left over is invisible, and makes room first.
pub const EXPIRED_AT_ONCE: usize = 128;
/// Distinct RLOCs of all entries: each entry may have its own. One takes about 70 octets, and a set only beside others.
pub const RLOCS: usize = MAP_CACHE_ENTRIES;
/// RLOCs in no mapping that are remembered as not reachable, the newest.
pub const UNREACHABLE_RLOCS: usize = 4096;
/// Locators of ours that packets leave from though another one of their family is preferred: as many as a node has.
pub const OTHER_RLOCS: usize = 32;
/// How long packets go to a locator without anything coming back until control hears of it. A ping, or the first packets of a
/// connection, have an answer before.
pub const SILENT_AFTER: Duration = Duration::from_secs(1);
/// RLOCs of which it is noted when they were last heard, at most one for each place of a table: 32 kB, and as much again for peers.
pub const HEARD_RLOCS: usize = 4096;
/// Locators whose counters are published, ten times a second at most: copying them takes 30 microseconds.
pub const LOCATORS_SHOWN: usize = 4096;
/// Addresses that packets no longer go to of which it is known what was sent there, should they come back: a quarter of a megabyte.
pub const PAST_RLOCS: usize = 4096;
/// Locators that have figures of their own among the metrics: five series each, which whoever collects them keeps for weeks.
pub const LOCATORS_MEASURED: usize = 1000;
/// Locators of one mapping that are looked at: more than any site has links.
pub const LOCATORS_PER_ENTRY: usize = 32;
/// Part of its life after which an entry in use is asked for again, in percent: late enough to save requests, early enough
/// for retries.
pub const REFRESH_AFTER_PERCENT: u32 = 80;

/// Packets that wait for one destination: a TCP initial window, or a second of pings, several times over.
pub const QUEUE_PACKETS: usize = 64;
/// Octets that wait for one destination.
pub const QUEUE_BYTES: usize = 128 * 1024;
/// Octets that wait in all, with [`QUEUE_OVERHEAD`] for each packet.
pub const QUEUES_BYTES: usize = 16 * 1024 * 1024;
/// What a queued packet costs beside its octets, roughly.
pub const QUEUE_OVERHEAD: usize = 128;
/// Destinations that packets wait for: a scan of a prefix must not make control resolve more at a time.
pub const QUEUES: usize = 4096;
/// How long a packet waits: the patience of a TCP SYN, and longer than three tries of a Map-Request in a LAN.
pub const QUEUE_TIME: Duration = Duration::from_secs(3);

/// Events that wait until control takes them.
pub const EVENTS: usize = 1024;
/// Updates that wait until the packet thread takes them; behind these control waits.
pub const UPDATES: usize = 4096;

/// ICMP errors a second to one source, and at once (RFC 4443, section 2.4 (f) wants a token bucket).
pub const ICMP_PER_SOURCE: u32 = 10;
/// ICMP errors a second to all sources.
pub const ICMP_IN_ALL: u32 = 200;
/// Sources whose rate is remembered.
pub const ICMP_SOURCES: usize = 1024;

/// EID-prefixes of this node with those that come while it runs: the kernel has two rules for each, which it walks for
/// every packet.
pub const EID_PREFIXES: usize = 1024;

/// MTU towards the core, in octets, where no other one is known (L of RFC 9300, section 7.1).
pub const USUAL_MTU: u16 = 1500;
/// How long a learned path MTU holds (RFC 1191, section 6.3; RFC 8201, section 4).
pub const PATH_MTU_TIME: Duration = Duration::from_secs(600);
/// No smaller MTU of an IPv4 path is believed, octets (RFC 791: what every host takes).
pub const SMALLEST_PATH_MTU_V4: usize = 576;

/// Packets taken from one source before the others have their turn.
pub const BATCH: usize = 64;

/// Locators that are known to get no groups of packets. Each group to one that is not known leaves one by one, which costs a system call
/// more: where so many refuse, all are taken to do.
pub const UNGROUPED: usize = 16;
/// How long they are known: an IPsec policy that is gone has its packets grouped again by then.
pub const UNGROUPED_TIME: Duration = Duration::from_secs(300);

/// A warning that others can provoke is logged at most this often.
pub const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Least time between two words to control about one pair of inner and outer ECN field that nobody should make (RFC 6040, section 4.2),
/// and so between two lines in the log.
pub const ECN_SAID: Duration = Duration::from_secs(60);

/// Least time between two hints that a locator cannot be reached: a burst of probes follows, which takes longer.
pub const UNREACHABLE_INTERVAL: Duration = Duration::from_secs(1);
/// Locators of which it is known that they lately got packets as long as their path MTU: those that are probed; 200 kB.
pub const PROVEN_WAYS: usize = 4096;
/// Locators whose hints are counted at once; what else is said within a second is not heard.
pub const UNREACHABLE_TRACKED: usize = 256;

/// RLOCs that have sent within the last minute and hear of changes: as many as are solicited.
pub const SENDERS: usize = 4096;
/// Of them, those that are known to have been written down in the second that goes on; the others are written again.
pub const SENDERS_WRITTEN: usize = 1024;
/// Least time between two times that control hears of all of them: so long they are noted once.
pub const SENDERS_NAMED: Duration = Duration::from_secs(1);
/// RLOCs that have sent to one EID-prefix behind a NAT, at an RTR: the correspondents of a site in a minute. One that finds no room hears
/// of no change, and has the old mapping until that ends.
pub const SENDERS_OF_BINDING: usize = 1024;
/// Those of all EID-prefixes; about 64 octets each.
pub const BOUND_SENDERS: usize = 16_384;
/// How long one that sends no more is remembered (RFC 9301, section 6.1, of SMRs: those that sent "within the last minute").
pub const SENDER_RECENT: Duration = Duration::from_secs(60);
/// Least time between two searches of a full table.
pub const SENDERS_SWEPT: Duration = Duration::from_secs(1);

/// RLOCs of trusted peers in the map-cache that packets tell nonces, locator-status-bits and map-versions: those that are probed.
pub const PEERS: usize = 4096;
/// Mappings of trusted peers whose version and status bits are known to the ETR: a closed network of thousands of sites.
pub const PEER_MAPPINGS: usize = 16_384;
/// Pairs of inner source and RLOC of which it is known, by one look, that their packets say nothing new.
pub const PEER_MEMOS: usize = 1024;
/// How long it is known of a source without a mapping that nothing is to be compared with.
pub const PEER_MEMO_TIME: Duration = Duration::from_secs(60);
/// Events about what peers say that wait until control takes them; what finds no room is said again by the next packet.
pub const PEER_EVENTS: usize = 64;
/// Packets that have to ask for an echo before its absence proves anything: one that is lost proves nothing.
pub const ECHO_PACKETS: u32 = 3;
/// What is heard so long after the last of them should bring the echo: two trips over a satellite.
pub const ECHO_ROUND: Duration = Duration::from_secs(2);
/// How long a nonce that is still asked for was echoed before it is echoed again: the first echo was lost.
pub const ECHO_AGAIN: Duration = Duration::from_millis(500);
/// New nonces of one RLOC that are echoed in [`ECHO_ASKED_WINDOW`]: one round trip each would be fast.
pub const ECHO_ASKED: u32 = 10;
/// Time that these count in.
pub const ECHO_ASKED_WINDOW: Duration = Duration::from_secs(1);
/// Least time between two words to control about the status bits of one mapping: two routers of a site may disagree.
pub const STATUS_BITS_INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two words to control that the mapping of a peer is old (RFC 9301, section 5.3: a Map-Request a second).
pub const VERSION_INTERVAL: Duration = Duration::from_secs(1);
/// ITRs with an old mapping of ours that are told so, each about one EID-prefix.
pub const STALE_ITRS: usize = 1024;
/// How often one is told before its packets are dropped (RFC 9302, section 7.1).
pub const STALE_TOLD: u32 = 10;
/// Least time between the first of these (RFC 9301, section 6.1).
pub const STALE_INTERVAL: Duration = Duration::from_secs(3);
/// And between the later ones (RFC 9302, section 7.1).
pub const STALE_LATER: Duration = Duration::from_secs(30);
/// Least time between two lines in the log about one peer whose packets are dropped for their versions (RFC 9302, section 8).
pub const VERSION_LOGGED: Duration = Duration::from_secs(60);

/// Pairs of inner and outer source whose verdict is found by one look: 100 kB, which a cache of the second level holds.
pub const SOURCE_MEMOS: usize = 1024;
/// Verdicts on pairs of source prefix and RLOC: what [`SOURCES_ASKED_AGAIN`] keeps up within the life of one that is right
/// ([`SOURCE_HERE`], [`SOURCE_UNANSWERED`]), roughly. About 110 octets each: 14 MB when full. A full table is searched once a second, in a
/// millisecond; with as many as the map-cache has entries packets would wait for ten.
pub const SOURCE_VERDICTS: usize = 131_072;
/// Questions about sources to control in a [`SOURCES_WINDOW`], for all RLOCs: each is a look into its map-cache. What it has to ask the mapping
/// system about has a bound of its own ([`crate::resolve::limits::SOURCES_ASKED`]).
pub const SOURCES_NAMED: u32 = 2_000;
/// The same for one RLOC: of 2,000 that send from behind it all are known after four seconds, and whoever invents sources there leaves three
/// quarters to others.
pub const SOURCES_NAMED_EACH: u32 = 500;
/// Questions about pairs that are known to be right, about which the mapping system is asked without another bound, and which are due once in [`SOURCE_HERE`]: most are answered from what is cached.
pub const SOURCES_ASKED_AGAIN: u32 = 500;
/// Time that these count in.
pub const SOURCES_WINDOW: Duration = Duration::from_secs(1);
/// RLOCs whose questions are counted at once.
pub const SOURCE_RLOCS: usize = 1024;
/// Questions about strangers that wait until control takes them; with those about who is known, twice as many.
pub const SOURCE_EVENTS: usize = 64;
/// How long an answer is waited for: as long as packets of ours wait for a mapping.
pub const SOURCE_PATIENCE: Duration = Duration::from_secs(3);
/// How long "it does not map here" stands while it is asked about again, and "it does" when another answer casts doubt on it or room is
/// wanted.
pub const SOURCE_STALE: Duration = Duration::from_secs(10);
/// How long "it maps here" stands while nobody answers: a restart of the mapping system, or a way to it that is gone for minutes, must not
/// end what crosses. Only an RLOC that had the EID gains by it, if it has lost the EID since and can keep the answer away for so long: on the
/// way, or by a flood of questions that nobody answers, which share a table with this one. An answer that says no ends it, within
/// [`SOURCE_STALE`] at the latest.
pub const SOURCE_UNANSWERED: Duration = Duration::from_secs(300);
/// Packets that wait for a verdict on one pair: the first of a connection, or eight seconds of pings.
pub const SOURCE_PACKETS: usize = 8;
/// Octets that wait for verdicts in all.
pub const SOURCE_OCTETS: usize = 1024 * 1024;
/// How long "it maps here" is believed without asking.
pub const SOURCE_HERE: Duration = Duration::from_secs(60);
/// How long the first "it does not" of a pair is: a site that changes its locator sends from the new one before the mapping system knows it,
/// which may be asked about it once a second (RFC 9301, section 5.3).
pub const SOURCE_NOT_HERE_FIRST: Duration = Duration::from_secs(1);
/// How long "it does not" is when it was said before: an EID that moves is heard again after it.
pub const SOURCE_NOT_HERE: Duration = Duration::from_secs(2);
