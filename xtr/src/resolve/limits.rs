// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of resolution.

use std::time::Duration;

/// Conversations at once, each about one EID-prefix. A scan of random EIDs fills the table, not the memory; at one
/// request a second each it also bounds what we send to the Map-Resolvers.
pub const CONVERSATIONS: usize = 1024;

/// Conversations begun on the word of others, above which no SMR, nor the source of a packet from the core, begins another.
pub const SMR_CONVERSATIONS: usize = CONVERSATIONS / 4;

/// Conversations of packets that miss, above which no packet begins another: the rest is kept for what is said of mappings that are cached,
/// and for their refreshes.
pub const MISS_CONVERSATIONS: usize = CONVERSATIONS - SMR_CONVERSATIONS - DOUBTED_CONVERSATIONS;

/// Conversations about what is said to have changed, above which none goes on about another, once it has waited for room or has rested: nobody
/// may ever answer for it. So many there may be beside [`SMR_CONVERSATIONS`]: whoever makes sources up that nobody answers for fills those.
pub const DOUBTED_CONVERSATIONS: usize = SMR_CONVERSATIONS / 4;

/// The same above which none begins about a mapping because its locators are silent: whole networks are so for hours, and what is
/// told about others has to find room.
pub const UNREACHED_CONVERSATIONS: usize = SMR_CONVERSATIONS / 2;

/// Least time between Map-Requests for one EID-prefix (RFC 9301, section 5.3).
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait for an answer before the next try: with it ten tries take some forty seconds.
pub const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// Unanswered retransmissions after which an EID-prefix rests (RFC 9301, section 5.3).
pub const RETRANSMISSIONS: u32 = 10;

/// How long it rests (RFC 9301, section 5.3), unless it can be asked for from another locator, or of another Map-Resolver, before.
pub const REST: Duration = Duration::from_secs(30);

/// Longest wait after the answer "ask again": 1, 2, 4 ... 60 s, while packets come.
pub const LONGEST_ASK_AGAIN: Duration = Duration::from_secs(60);

/// Longest life of a negative entry: RFC 9301, section 8.1, says 15 minutes; a deployed server sends 15 hours.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(15 * 60);

/// Longest life of any entry: the default TTL of RFC 9301.
pub const POSITIVE_TTL: Duration = Duration::from_secs(24 * 3600);

/// Longest life of an answer by which an EID that has moved away is here: it may be what others had cached before the move.
pub const LEADS_BACK: Duration = Duration::from_secs(10);

/// Least time between SMR-invoked Map-Requests for one EID-prefix (RFC 9301, section 6.1).
pub const SMR_INTERVAL: Duration = Duration::from_secs(3);

/// Records of one SMR that are looked at.
pub const SMR_RECORDS: usize = 32;

/// Mappings narrowed to a part of their record that are looked at when somebody says that the whole has changed. Of those an SMR has no more
/// than [`SMR_RECORDS`] asked about: it may be forged, and need not know what is cached.
pub const NARROWED: usize = 1024;

/// EID-prefixes whose SMRs are counted at once, each of which may have a question that waits for the end of [`SMR_INTERVAL`].
pub const SMR_TRACKED: usize = 1024;

/// ITR-RLOCs of an SMR by which it is looked for what is inside the EID-prefixes that it names.
pub const SMR_RLOCS: usize = 8;

/// EID-prefixes inside what SMRs name that are asked about for it within [`SMR_INTERVAL`], and not those round it: so a forged SMR about
/// everything takes none of the place of [`SMR_TRACKED`].
pub const SMR_INSIDE: usize = 256;

/// Least time between Map-Requests for one EID-prefix because the answer to a probe disagrees with its mapping: a map system
/// that merges what several ETRs say disagrees with each of them for ever.
pub const DISAGREEMENT_INTERVAL: Duration = Duration::from_secs(60);

/// EID-prefixes whose disagreements are counted at once.
pub const DISAGREEMENTS: usize = 1024;

/// ITR-RLOCs of a request: the field counts to 32 (RFC 9301, section 5.2).
pub const ITR_RLOCS: usize = 32;

/// Least time between Map-Requests for one EID-prefix because none of its locators can be reached: a site that is down may be so for days.
pub const UNREACHED_INTERVAL: Duration = Duration::from_secs(60);

/// EID-prefixes whose Map-Requests for that are counted at once, and so the most that are asked about in a minute.
pub const UNREACHED: usize = 4096;

/// Addresses of a cached EID-prefix that are asked about, one after the other, since each answer has a part alone: a site may have some
/// more-specifics side by side, and one that has become many is not searched.
pub const REST_QUESTIONS: u32 = 4;

/// Mappings that are said to have changed and wait until there is room to ask about them, beside [`SMR_CONVERSATIONS`].
pub const DOUBTED: usize = 1024;

/// Entries with locators that we remember having installed: all that the packet half's cache holds, since those that are forgotten
/// here are neither probed nor found by an SMR. One with one locator takes 250 to 300 octets, by the sizes of its parts: 300 MB when
/// full.
pub const INSTALLED: usize = crate::limits::MAP_CACHE_ENTRIES;

/// Entries without locators that we remember beside those: about 100 octets each.
pub const NEGATIVE_INSTALLED: usize = crate::limits::NEGATIVE_ENTRIES;

/// Least time between two searches of a full table for expired entries, each of which looks at all of them.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Locators of one record that are used.
pub const LOCATORS: usize = 32;

/// Sources of packets from the core that the mapping system is asked about in a [`crate::limits::SOURCES_WINDOW`], for all RLOCs: a fifth of what
/// resolution bears.
pub const SOURCES_ASKED: u32 = 200;

/// The same for one RLOC: a site has fewer prefixes, and whoever invents sources sees most of them dropped.
pub const SOURCES_ASKED_EACH: u32 = 20;

/// Sources of packets from the core that wait for an answer at once: those of five seconds, at that rate.
pub const SOURCES: usize = 1024;

/// RLOCs that one of them is waited for from: who invents more hears later.
pub const RLOCS_OF_SOURCE: usize = 8;

/// How long one waits: the ETR asks again then.
pub const SOURCE_TIME: Duration = Duration::from_secs(5);

/// Least life of a mapping round others that end sooner.
pub const LEAST_ROUND: Duration = Duration::from_secs(60);
