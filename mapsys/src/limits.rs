// SPDX-License-Identifier: GPL-2.0-or-later
//! Every bound of the map system, with its unit and its reason.

use std::time::Duration;

/// Octets of a message from the network. 255 IPv6 locators fit; what is longer only costs memory while it waits.
pub const MESSAGE_OCTETS: usize = 8192;
/// Octets of a message in an IPv4 packet of 576, the longest where nobody knows the path (RFC 9301, section 5). What can be divided is no longer;
/// one record with locators that are no addresses may be as long as over IPv6.
pub const PAYLOAD_V4: usize = 576 - 20 - 8;
/// Octets of a message in an IPv6 packet of 1,280 (RFC 9301, section 5).
pub const PAYLOAD_V6: usize = 1280 - 40 - 8;

// --- Map-Server

/// Silence after which a registration is withdrawn (RFC 9301, section 8.2).
pub const REGISTRATION_SILENCE: Duration = Duration::from_secs(180);
/// How long after a Map-Register that came by an RTR was accepted the same octets are confirmed once more: an RTR waits no longer for the
/// answer, and what comes later is a copy. With T and a TTL of no more than that it is as long as the registration.
pub const CONFIRMED_AGAIN: Duration = Duration::from_secs(8);
/// Records in one Map-Register. The field counts to 255; a message within 1,280 octets holds fewer than 64 of them.
pub const REGISTER_RECORDS: usize = 64;
/// Locators of an EID-prefix, of all its xTRs together: a PREFIX section holds 1,024 octets.
pub const LOCATORS: usize = 16;
/// Octets of them in a message if an LCAF or a name is among them: with any EID, any tag, and by an RTR, one record of them is within
/// [`PAYLOAD_V6`]. The texts with which lispers.net signs a registration, and those with its public keys, have some hundred octets each.
pub const LOCATOR_OCTETS: usize = 1024;
/// xTRs merged into one EID-prefix (RFC 9301, section 5.6, a-bit).
pub const MERGED_XTRS: usize = 16;
/// Live registrations in all: a million and some, below 400 octets each with one IPv4 locator. More locators, names and LCAFs come to that,
/// at most about 12 kB for lists of the shortest ones within [`LOCATOR_OCTETS`].
pub const REGISTRATIONS: usize = 1 << 20;
/// Registrations that are looked at in one go when their time has come, so that a million of them that fall silent in one
/// second do not keep the others waiting: half a millisecond.
pub const EXPIRED_AT_ONCE: usize = 256;
/// Unsolicited Map-Notifies that are not acknowledged, at about 300 octets; who is not told so learns it from his next Map-Register.
pub const NOTIFICATIONS: usize = 4096;
/// Those of one site, so that a site that flaps, or whose xTRs are gone, uses up its own share and not the others'.
pub const NOTIFICATIONS_PER_SITE: usize = 512;
/// xTRs that are remembered because another one has registered their EID-prefix since, at about 120 octets each: they hear when it is
/// withdrawn. Beyond them nobody is told that he has lost one.
pub const DISPLACED: usize = 4096;
/// RTRs of one xTR behind a NAT that are remembered: as many as ours registers through.
pub const RELAYS: usize = 4;
/// Pauses after each sending of an unsolicited Map-Notify (RFC 9301, section 5.7): three equal ones, three that double.
pub const NOTIFY_PAUSES: [Duration; 6] = {
    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }
    [s(3), s(3), s(3), s(6), s(12), s(24)]
};
/// At most one new state of an EID-prefix is told to an xTR in this time (RFC 8085, section 3.1.3, takes 3 s for hosts whose
/// round-trip time is not known).
pub const NOTIFY_INTERVAL: Duration = Duration::from_secs(3);
/// Locators of its own at which an xTR that merges is told too if it does not register from one of them: two uplinks, and one to spare.
pub const NOTIFY_NAMED: usize = 3;
/// How often one state is told there, at the beginning: what gets through to the xTR ends it.
pub const NOTIFY_NAMED_SENDINGS: usize = 3;
/// Octets that a site may have left for locators that it only names: a hundred Map-Notifies and some. What it has is three times what it sent.
pub const NOTIFY_NAMED_PER_SITE: usize = 16_384;
/// Octets to one address that was only named, of all sites together, in a [`NOTIFY_NAMED_WINDOW`]: thirty Map-Notifies, half a kilobit a second.
pub const NOTIFY_NAMED_OCTETS: usize = 4096;
/// Time that these count in.
pub const NOTIFY_NAMED_WINDOW: Duration = Duration::from_secs(60);
/// Addresses of which that is counted, at about 60 octets each. When it is full of those of one time no other address is told.
pub const NOTIFY_NAMED_ADDRESSES: usize = 4096;
/// Octets of a name that is an EID: the EID mask-len counts them and the NUL behind them in eight bits (RFC 9735, section 3).
pub const NAME_OCTETS: usize = 30;
/// Live registrations of names, MAC addresses and pairs, below 600 octets each: the stations of a large campus.
pub const LABELS: usize = 131_072;
/// Those of one site, so that a site that makes up names leaves room to the others.
pub const LABELS_PER_SITE: usize = 65_536;
/// Look-ups for the best match of one pair: one in a table of a hundred thousand takes some 200 ns, and a site that nests each group in the
/// next and each source in the next could have thousands.
pub const PAIR_STEPS: u32 = 256;
/// Pairs with groups or destinations inside that of another that are looked at to see whether they overlap it.
pub const PAIRS_LOOKED_AT: usize = 64;
/// Live more-specifics under one configured prefix: what fits an INDEX page of 5,120 octets.
pub const LIVE_MORE_SPECIFICS: usize = 256;
/// (site, xTR-ID, key) triples whose last nonce is remembered. Only holders of a site's key can add one.
pub const NONCE_MEMORIES: usize = 65_536;
/// Those of one site, so that a site that makes up xTR-IDs uses up its own share and not the others'.
pub const NONCE_MEMORIES_PER_SITE: usize = 4096;
/// Pairs of a site and a key, neither of them configured any more, of which the highest nonce is remembered when the last nonces of their
/// xTRs have made room for others. Only who writes the configuration makes such pairs.
pub const NONCE_FLOORS: usize = 65_536;
/// Keys of sites that are known under another name, at some 100 octets each, beyond which those of sites that are not configured are forgotten.
pub const KNOWN_SITE_KEYS: usize = 65_536;
/// How long a legacy site's nonces are remembered: OpenOverlayRouter draws them at random, so order says nothing.
pub const LEGACY_NONCE_MEMORY: Duration = Duration::from_secs(600);
/// Nonces remembered of all legacy sites, at about 70 octets each: as many as sixteen of them may have.
pub const LEGACY_NONCES: usize = 16 * LEGACY_NONCES_PER_SITE;
/// Those of one legacy site: ten minutes of [`NONCE_MEMORIES_PER_SITE`] EID-prefixes that are registered once a minute, each in a message of
/// its own, and half as much again. Beyond it a Map-Register is refused: what is younger than its time is never forgotten.
pub const LEGACY_NONCES_PER_SITE: usize = 65_536;

// --- subscriptions (RFC 9437)

/// Subscriptions in all, at about 400 octets each.
pub const SUBSCRIPTIONS: usize = 65_536;
/// Subscriptions of one xTR: what a border router of a large site keeps in its map-cache.
pub const SUBSCRIPTIONS_PER_XTR: usize = 4096;
/// Nonces remembered of what an xTR is no longer subscribed to. Beyond them the oldest is forgotten: its replay would only lead
/// to a Map-Notify that the xTR does not acknowledge.
pub const SUBSCRIPTION_MEMORIES: usize = 1024;
/// One-time keys of an xTR of which it is remembered that they have made a security association, at about 100 octets here and 60 on disk
/// (RFC 9437, section 7.1). Each subscription and each renewal uses one: an xTR with [`SUBSCRIPTIONS_PER_XTR`] that renews each
/// four times an hour fills it in an hour, and if its nonces rise that costs it nothing.
pub const USED_KEYS_PER_XTR: usize = 16_384;
/// One-time keys of an xTR, among those of associations that nobody has acknowledged, that are known again: more than can wait for that
/// at once ([`UNPROVEN_PER_XTR`]). Each is looked for in all of them.
pub const UNPROVEN_KEYS_PER_XTR: usize = 4 * UNPROVEN_PER_XTR;
/// How long a subscription lives that nothing is registered for (RFC 9437, section 5).
pub const TEMPORARY_SUBSCRIPTION: Duration = Duration::from_secs(15 * 60);
/// An xTR that has acknowledged nothing for this long is not told anything more.
pub const SUBSCRIBER_SILENCE: Duration = Duration::from_secs(3600);
/// What the subscriber of a configured subscription does not acknowledge is told again when it has been silent for this long, and then each
/// time that it has been silent for twice as long ...
pub const CONFIGURED_SHORTEST: Duration = Duration::from_secs(60);
/// ... but at least so often: no silence ends such a subscription, and its xTR does not ask for it again.
pub const CONFIGURED_LONGEST: Duration = Duration::from_secs(15 * 60);
/// EID-prefixes inside a configured subscription of which it is remembered, also over a restart, that its xTR may have them: as many as
/// sites may register under one configured prefix that are published each by themselves. There may be more under one that is published as
/// an aggregate: of what is beyond, a withdrawal is not told again after a restart.
pub const CONFIGURED_PARTS: usize = LIVE_MORE_SPECIFICS;
/// Registered more-specifics that one subscription may cover: each is told by itself at the beginning.
pub const SUBSCRIBED_PREFIXES: usize = 256;
/// EID-prefixes that a subscription is told of when it is known whether it is the xTR that has asked: those, what was under way, and what is told
/// meanwhile, at some 60 octets each. When more has changed, what was asked for is taken back. What waits besides counts as before.
pub const OWED_PREFIXES: usize = SUBSCRIBED_PREFIXES + 2 * PUBLICATIONS_PER_XTR;
/// Parts of what is subscribed to in the DHT of which it is remembered what was told of them last, at some 150 octets each.
pub const SAID_PARTS: usize = 16_384;
/// Subscriptions that an xTR may begin, change or end at once; after that ...
pub const SUBSCRIBE_BURST: u32 = 256;
/// ... so many a second; what is beyond is answered by a Map-Reply (RFC 9437, section 7.2).
pub const SUBSCRIBE_RATE: u32 = 16;
/// Subscriptions that an xTR may ask for before it acknowledges the first: each is repeated six times, and whoever forges its
/// address shall not use us to flood it.
pub const UNPROVEN_PER_XTR: usize = 64;
/// What is asked for, and asked for again under other nonces, is taken back after this time if nothing of it is acknowledged: then the last of
/// [`SUBSCRIBER_WAYS`] has been tried with all repetitions. Whoever forges such requests has changes wait no longer.
pub const UNPROVEN_LONGEST: Duration = Duration::from_secs(300);
/// ITR-RLOCs that an xTR is told by: each is tried with all repetitions before the next, and more would only carry further what
/// somebody asks for under its address.
pub const SUBSCRIBER_WAYS: usize = 4;
/// Map-Notifies to subscribers a second: about a megabit, a small part of what a Map-Server can send (RFC 9437, section 5).
pub const PUBLICATIONS_PER_SECOND: u32 = 1000;
/// Publications that wait for their turn. When they are too many, whoever has most of them loses a subscription and is told so.
pub const QUEUED_PUBLICATIONS: usize = 131_072;
/// Those of one xTR: four for each of its subscriptions. If it has more than it takes up, it loses the subscription and not another.
pub const QUEUED_PER_XTR: usize = 16_384;
/// Map-Notifies to subscribers that are not acknowledged, at about 400 octets.
pub const PUBLICATIONS: usize = 16_384;
/// Those of one xTR; further ones wait until it acknowledges.
pub const PUBLICATIONS_PER_XTR: usize = 256;
/// An EID-prefix that has been withdrawn, and that its former xTR may have again, is in this time registered by him, or told to
/// subscribers as gone.
pub const HANDED_BACK: Duration = Duration::from_millis(200);
/// A publication that found no room is tried again after this time.
pub const PUBLICATION_PAUSE: Duration = Duration::from_secs(1);
/// What the DHT says of a subscribed EID is read again after a third of its life, but not sooner than this ...
pub const REREAD_SHORTEST: Duration = Duration::from_secs(60);
/// ... nor later: a third of the hour that records live.
pub const REREAD_LONGEST: Duration = Duration::from_secs(20 * 60);
/// Where a more-specific has the first EID of what is subscribed to, the first EID behind that is read, and so on: so many of them, each
/// [`REREAD_SHORTEST`] after the other, before the EID behind all of them is, if it is known, and there is a rest.
pub const REREAD_STEPS: usize = 16;
/// After a restart they are read again one after another at this pace, or faster if it took longer than [`REREAD_LONGEST`].
pub const REREAD_STEP: Duration = Duration::from_millis(50);
/// Octets of several records in a Map-Notify to a subscriber: with its head within [`PAYLOAD_V4`].
pub const NOTIFY_OCTETS: usize = PAYLOAD_V4 - NOTIFY_HEAD;
/// Octets of a Map-Notify to a subscriber before its records: head, nonce, and a tag of 16 octets.
pub const NOTIFY_HEAD: usize = 32;

pub use dht::limits::LOG_PAUSE;

/// Registrations that fell silent and are named in the log within [`LOG_PAUSE`]; of the others it says how many.
pub const NAMED_SILENT: usize = 16;
/// Sites of which one refused Map-Register is named in the log within [`LOG_PAUSE`]; of all others it says how many.
pub const NAMED_REFUSED: usize = 16;

// --- publishing into the DHT

/// Identities at once, those that are leaving among them: a node has one static and two temporary ones, a border of hosts
/// those of its hosts; their CGEIDs fit one Map-Register.
pub const IDENTITIES: usize = 64;
/// Identities whose last sequence is remembered, the present ones among them: half a year of daily ones.
pub const SEQUENCES: usize = 256;

/// At most one changed publication per record in this time: an edge that flaps must not flood the DHT.
pub const PUBLISH_INTERVAL: Duration = Duration::from_secs(10);
/// Unchanged records are signed anew this often: a third of their lifetime of one hour. Index pages too, because a page
/// of more-specifics lives no longer.
pub const REPUBLISH: Duration = Duration::from_secs(20 * 60);
/// Records that are signed in one go, at about 50 microseconds, so that 10,000 of them do not keep the others waiting.
pub const PUBLISHED_AT_ONCE: usize = 8;
/// PUTs in flight: ten thousand at once would crowd each other out at the node, and come again.
pub const PUTS_IN_FLIGHT: usize = 256;
/// Requests a second with which records go to other nodes of the DHT, at most: in a DHT of three 256 records, a sixth of a core, and of
/// what a node of it grants ([`dht`] answers one block of addresses 576 PUTs a second while nobody else asks) less than half. Where twenty
/// keep each record it is 25 a second, and ten thousand take seven of the twenty minutes after which they are signed anew.
pub const PUT_REQUESTS: u32 = 512;
/// The same at least, while all say that they are asked too often; and by how much it rises when they do not any more.
pub const PUT_REQUESTS_LEAST: u32 = 16;
/// Requests that are saved up are those of this time: a few sites that come together wait for nobody.
pub const PUT_REQUESTS_SAVED: Duration = Duration::from_millis(500);
/// Pause between two changes of that pace.
pub const PUT_PACE_STEP: Duration = Duration::from_secs(1);
/// Nodes that a PUT is taken to ask before one has ended: a region full ([`dht::limits::REPLICAS`]).
pub const PUT_COPIES: u32 = 20;
/// Nodes that are enough to have a record that came too fast for most of those asked; or half of those, if they are fewer.
pub const PUT_ENOUGH: usize = 3;
/// How often a record that too few have, since it came too fast, is put again before these are enough: the others may say so for ever. One
/// that nobody has is put again until somebody has it.
pub const PUT_REPEATS: u32 = 3;
/// Signed records kept until somebody stores them, some 1 kB each: those in flight, and as many that wait to be put again. What finds no
/// room is signed again.
pub const PUTS_KEPT: usize = 2 * PUTS_IN_FLIGHT;
/// First pause after a failed PUT; it doubles.
pub const PUT_RETRY_FIRST: Duration = Duration::from_secs(2);
/// Longest pause after failed PUTs.
pub const PUT_RETRY_LAST: Duration = Duration::from_secs(60);
/// A PUT not reported done after this time counts as failed.
pub const PUT_TIMEOUT: Duration = Duration::from_secs(60);

// --- Map-Resolver

/// Records of one Map-Request that are answered; senders put one (RFC 9301, section 5.2).
pub const REQUEST_RECORDS: usize = 8;
/// A request whose lookup still runs after this time is told to ask again.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(1500);
/// Requests that are told to ask again in one go, at about two microseconds.
pub const LATE_AT_ONCE: usize = 256;
/// A lookup ends after this time, answered or not.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests waiting for lookups, from all sources; strangers find no room beyond half of them.
pub const WAITING_REQUESTS: usize = 4096;
/// Lookups in flight; strangers start none beyond half of them.
pub const LOOKUPS: usize = 1024;
/// How long what was read under a key is kept, so that what the DHT says later is seen against it: longer than it is read on.
pub const READ_ON: Duration = Duration::from_secs(10);
/// Keys of which that is kept, at most 12 kB each and usually 3; beyond them the first answer stays until it is looked up again.
pub const READ_KEYS: usize = 512;
/// Cached answers; about 500 B each.
pub const CACHED_ANSWERS: usize = 65_536;
/// A used answer is looked up again after this share of its life, in percent.
pub const REFRESH_AHEAD_PERCENT: u32 = 80;
/// An expired answer is served this much longer while the DHT does not answer.
pub const SERVE_STALE: Duration = Duration::from_secs(600);
/// An answer that was looked up this long ago, or later, is new enough for who was told by an SMR that it has changed: SMRs can be forged,
/// and SMR-invoked Map-Requests for one EID come no oftener than each third second (RFC 9301, section 6.1).
pub const LOOKED_UP_LATELY: Duration = Duration::from_secs(2);
/// Pauses before a mapping is looked up again that an SMR has called outdated, while the DHT has nothing newer: a node that has got another
/// uplink publishes where it is within half a minute.
pub const LOOKED_UP_AGAIN: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(15)];
/// An xTR takes no second SMR for an EID-prefix within this time (RFC 9301, section 6.1).
pub const SMR_PAUSE: Duration = Duration::from_secs(3);
/// EIDs that are looked up so at once: with four lookups each in half a minute that is 17 a second.
pub const DOUBTED: usize = 128;
/// Longest life of a cached positive answer, whatever its TTL: readers of the DHT must see a new sequence.
pub const CACHE_POSITIVE: Duration = Duration::from_secs(3600);
/// More-specific records put beside a best match (RFC 9301, section 5.5); with more of them the match is narrowed.
pub const MORE_SPECIFICS: usize = 8;
/// Octets of LISP-SEC in a Map-Reply about one EID (RFC 9303, section 6.2): heads, two HMACs, a name of [`NAME_OCTETS`] in an instance.
pub const LISP_SEC_OCTETS: usize = 97;

// --- DDT (RFC 8111)

/// Delegations of a DDT node.
pub const DELEGATIONS: usize = 65_536;
/// Servers of a delegation, and Map-Servers of a site: with six IPv6 locators a Map-Referral is no more than three times the
/// shortest DDT Map-Request, whatever is asked for.
pub const DELEGATED_SERVERS: usize = 6;
/// Servers that are kept of a referral of others: no more would have their turn before an ITR gives up.
pub const DDT_SERVERS: usize = 8;
/// XEIDs that are searched for at once.
pub const DDT_PENDING: usize = 1024;
/// ITRs that wait for one XEID: their requests all go to the Map-Server that is found.
pub const DDT_WAITERS: usize = 16;
/// XEIDs that wait with one nonce: a Map-Request has up to [`REQUEST_RECORDS`], and an answer is looked at for each of them.
pub const DDT_SHARED_NONCE: usize = 2 * REQUEST_RECORDS;
/// Answers to requests of ITRs, who know their nonce and may make answers up, that are verified at once ...
pub const RECEIPT_BURST: u32 = 200;
/// ... and a second: at nine verifications each, and as many of keys that revoke themselves, a fifth of a processor.
pub const RECEIPT_RATE: u32 = 200;
/// Answers followed in one search. The length of an XEID bounds what is no loop (RFC 8111, section 7.3.4); trees that exist have
/// four levels.
pub const DDT_ANSWERS: usize = 32;
/// Pause before the next server is asked; it doubles with each round through all of them.
pub const DDT_RETRY: Duration = Duration::from_secs(1);
/// How often each server has its turn.
pub const DDT_ROUNDS: u32 = 3;
/// A search ends after this time: the ITR has asked again long since.
pub const DDT_PATIENCE: Duration = Duration::from_secs(20);
/// Cached referrals; about 400 B each.
pub const CACHED_REFERRALS: usize = 4096;
/// Public keys of one DDT node, as its parent names them: an old and a new one, and one in reserve.
pub const DDT_KEYS: usize = 3;
/// Signatures of a record that are looked at: with [`DDT_KEYS`] at most nine verifications of 30 to 100 microseconds.
pub const DDT_SIGNATURES: usize = 3;
/// Octets of a public key: 4,096 bits have 550.
pub const DDT_KEY_OCTETS: usize = 600;
/// Keys of a DDT node, each of which signs: an old and a new one, and one in reserve.
pub const SIGNING_KEYS: usize = 3;
/// How long signatures hold unless configured: seven times the longest TTL.
pub const SIGNATURE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Signatures begin so long before they are made: the clocks of others may be behind.
pub const SIGNATURE_BACKDATED: Duration = Duration::from_secs(300);
/// NODE-REFERRALs and MS-REFERRALs whose signatures are kept to be sent again, at 500 octets to 2 kB.
pub const SIGNED_DELEGATIONS: usize = 16_384;
/// Records that revoke a key whose signatures are kept, at about 500 octets.
pub const SIGNED_REVOCATIONS: usize = 4096;
/// Other records whose signatures are kept.
pub const SIGNED_OTHERS: usize = 4096;
/// Records signed anew at once, of delegations, of revocations and of the others each: with three keys of 4,096 bits 0.7 s of a processor,
/// and a third of that for revocations, each of which one key signs.
pub const SIGNING_BURST: u32 = 64;
/// Records a second that refill each, whoever asks: a third of a processor with such keys, and with one of 2,048 bits a fiftieth.
pub const SIGNING_RATE: u32 = 32;
/// Octets of all that revokes keys in one Map-Referral: there is room for one key of 4,096 bits, the longest, and for what it answers.
pub const REVOCATION_OCTETS: usize = 2048;
/// Revoked keys that a client remembers, at about 150 octets.
pub const REVOKED_KEYS: usize = 4096;
/// DDT nodes and prefixes whose keys a client keeps, at about 2 kB: those of the cached referrals.
pub const AUTHENTICATED_NODES: usize = 4096;
/// Octets of signatures and keys at once to one block (/24 or /56), beside what [`AMPLIFICATION`] allows, which they would not fit.
pub const SIGNED_OCTETS: u32 = 65_536;
/// Octets a second that refill it: 50 kbit/s. A Map-Resolver that needs more is to be among the clients.
pub const SIGNED_RATE: u32 = 6554;
/// Octets of signatures and keys at once to all strangers together: who makes up sources has as many blocks as he likes.
pub const SIGNED_OCTETS_ALL: u32 = 1 << 20;
/// Octets a second that refill it: 5 Mbit/s.
pub const SIGNED_RATE_ALL: u32 = 655_360;
/// The longest that a referral is kept: the TTL that RFC 8111, section 6.4, sets.
pub const REFERRAL_LIFE: Duration = Duration::from_secs(24 * 3600);

// --- abuse

/// Window of the octet balance of a reply target.
pub const BALANCE_WINDOW: Duration = Duration::from_secs(10);
/// Octets that may go to a reply target for each octet that came in its name.
pub const AMPLIFICATION: u64 = 3;
/// Replies about one EID-prefix to one reply target ...
pub const REPLIES_PER_EID: u32 = 4;
/// ... in this time (RFC 9301, section 5.4, recommends one per locator; that would let an ITR learn one EID at a time).
pub const REPLY_WINDOW: Duration = Duration::from_secs(3);
/// Requests that wait for lookups, and for answers out of the tree, of which the octets are kept until they are answered. Of those that
/// end without an answer they stay, until there are more.
pub const WITHHELD: usize = WAITING_REQUESTS + DDT_PENDING * DDT_WAITERS;
/// Reply targets, and pairs of target and EID-prefix, watched at once. When full the oldest is forgotten first.
pub const WATCHED_TARGETS: usize = 16_384;
/// Lookups that must ask the DHT, granted at once to a source block (/24 or /56).
pub const MISS_BURST: u32 = 64;
/// Lookups per second that refill a block's burst.
pub const MISS_RATE: u32 = 16;
/// Lookups that must ask the DHT, granted at once to all strangers together: half of the places ([`LOOKUPS`]).
pub const MISS_BURST_ALL: u32 = 512;
/// Lookups per second that refill it: with three GETs of twenty messages each about what a node serves others anyway.
pub const MISS_RATE_ALL: u32 = 128;
/// How much the DHT node beside the engine yields (nice(2)): a Map-Request is answered, or a packet carried, before what strangers
/// had looked up.
pub const DHT_NICE: u8 = 10;
/// Source blocks watched at once.
pub const WATCHED_BLOCKS: usize = 16_384;
/// An ECM that comes again within this time of being forwarded went round: an ITR waits a second (RFC 9301, section 5.3).
pub const FORWARD_ONCE: Duration = Duration::from_millis(800);
/// Whoever asks for an EID again within this time had no answer: an ITR repeats itself after a second or a few. Later it is a question
/// of its own: what he was told may have been solicited anew, or ended.
pub const ASKED_AGAIN: Duration = Duration::from_secs(5);
/// Pairs of a target of answers and an EID of which it is remembered which Map-Server was asked last.
pub const WATCHED_TURNS: usize = 4096;
/// Forwarded ECMs remembered at once: more than a loop could hide among.
pub const WATCHED_FORWARDS: usize = 4096;

// --- NAT traversal

/// Info-Requests of one address in an [`INFO_WINDOW`]: those of thousands of xTRs behind one NAT, each once a minute.
pub const INFO_RATE: u32 = 100;
/// Time that these count in.
pub const INFO_WINDOW: Duration = Duration::from_secs(1);
/// Addresses whose Info-Requests are counted; when full the oldest is forgotten first.
pub const INFO_TRACKED: usize = 4096;
/// Addresses of RTRs in one Info-Reply: an xTR uses no more.
pub const INFO_RTRS: usize = 4;

// --- disk

/// Pause from the begin of one write to that of the next. A commit takes a millisecond and a half of a processor however much is
/// in it: what comes in this time goes together, and what comes after a longer pause goes at once.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(40);
/// Map-Notifies and signed records that wait for the disk: with 10,000 sites a minute those of a minute and a half. Who gets
/// none for want of room sends his Map-Register again.
pub const JOURNAL_WAITING: usize = 16_384;
/// After a write that failed the next begins so much later: a full disk seldom has room again in less, and each try opens the file
/// anew and hands over all marks.
pub const DISK_PAUSE: Duration = Duration::from_secs(1);
/// A write that goes on for so long is one that fails, until it ends: a commit of a busy disk takes half a second, and xTRs repeat a
/// Map-Register meanwhile.
pub const DISK_HANGS: Duration = Duration::from_secs(5);
/// Marks that a disk which takes nothing may leave in memory before those are dropped that only make room, at about 150
/// octets. Of the others there is one for each thing that is remembered anyway ([`NONCE_MEMORIES`], [`LEGACY_NONCES`],
/// [`SEQUENCES`], [`REGISTRATIONS`]): a nonce that is forgotten before it was written leaves none.
pub const JOURNAL_MARKS: usize = 131_072;
/// Marks beyond which also those are dropped that end a registration or take away the last nonce of an xTR: one for each that there may be.
pub const JOURNAL_REMOVALS: usize = REGISTRATIONS + LABELS + NONCE_MEMORIES;
/// Octets of the state file that redb keeps in memory; its usual gigabyte is more than a million registrations take.
pub const STATE_CACHE: usize = 16 << 20;
