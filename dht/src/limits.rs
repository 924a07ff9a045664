// SPDX-License-Identifier: GPL-2.0-or-later
//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// A line that others can provoke, or a disk that is broken, is logged at most this often.
pub const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Octets of a bundle: a Kademlia packet is at most 16 KiB with its framing.
pub const BUNDLE_SIZE: usize = 12 * 1024;

/// How far in the future a sequence number (a signing time) may lie: clocks of honest nodes agree to this.
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// How long a high-water mark outlives its section, so that an expired record cannot be replaced by an older one.
pub const MARK_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Keys that are looked at each second for what has expired, less than 3 ms: all of a full store, with as many that it remembers, in a minute.
pub const EXPIRY_LOOK: usize = 8192;
/// Of them, those under which something is dropped in that second: some 10 ms, were all to end at once.
pub const EXPIRY_DROPS: usize = 2048;

/// One accepted change of a key in this time ...
pub const QUOTA_PERIOD: Duration = Duration::from_secs(10);
/// ... and as many at once: start-up, a withdrawal and a re-publication come together.
pub const QUOTA_BURST: u32 = 5;

/// Bundles in a store: with [`BUNDLE_SHARE`] 640 MB, the most that a node is asked to give.
pub const STORE_BUNDLES: usize = 200_000;
/// Bundles that an operator may allow a store: of RSA identities some 3 GB in memory, and twice that on disk.
pub const STORE_BUNDLES_MOST: usize = 1_000_000;
/// Octets of a store for each bundle that it may hold: what a bundle with an RSA identity has. Longer ones, up to three
/// times as long, take the place of others.
pub const BUNDLE_SHARE: usize = 3200;

/// One part in so many of a store is the most that a /24 or /48 may fill: 1 %.
pub const BLOCK_PART: usize = 100;
/// One part in so many of a store is the most that a /32 of IPv6 may fill: 4 %.
pub const PROVIDER_PART: usize = 25;
/// One part in so many of a store is the most that the members in a /24 or /48 may fill, beside the strangers there: what one of them
/// may have to hand on ([`HANDOVER_RECORDS`]) when halves of a network have found each other. Who abuses it is the heaviest, and
/// the first to lose what it has put when the store is full.
pub const MEMBERS_PART: usize = 12;
/// One part in so many of a store is the most that the members in a /32 of IPv6 may fill: as above, four times as much.
pub const MEMBERS_PROVIDER_PART: usize = 3;

/// Verified certificates kept by hash: a resolver's working set, about 2 kB each.
pub const CERTIFICATES: usize = 2048;

/// Locators of a mapping: RFC 9301 counts them in 8 bits, and 32 fit the class limit.
pub const LOCATORS: usize = 32;
/// xTR-IDs of a PREFIX section: the border nodes of one site.
pub const XTR_IDS: usize = 8;
/// Map-Server addresses of a PREFIX section: one of each family.
pub const MAP_SERVERS: usize = 2;
/// Operational certificates of an IDENTITY section: this month's and the next one's.
pub const OPERATIONAL_CERTIFICATES: usize = 2;
/// Registrars of a site entry.
pub const REGISTRARS: usize = 4;

/// Index pages read on the way from a trust anchor to a site.
pub const PAGE_DEPTH: usize = 4;
/// Registered more-specifics that one resolution tries, longest first, when their registrars have withdrawn them.
pub const WITHDRAWN_CANDIDATES: usize = 4;
/// Values of one GET that are looked at; more than the replicas of a key cannot be honest.
pub const VALUES: usize = 32;
/// Trust anchors of a resolver: a configured list.
pub const ANCHORS: usize = 256;

/// How long a delegation page is used without asking again.
pub const PAGE_LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a registrar's live page is used without asking again: sites come and go.
pub const LIVE_PAGE_LIFE: Duration = Duration::from_secs(2 * 60);
/// Pages kept by a resolver: a working set.
pub const PAGES: usize = 1024;
/// Entries of all pages kept by a resolver, about 200 octets of memory each.
pub const PAGE_ENTRIES: usize = 64 * 1024;
/// High-water marks kept by a resolver, about 200 octets each; more than pages, because they outlive them.
pub const PAGE_MARKS: usize = 16 * 1024;

/// Lifetime of an IDENTITY section: a month and some days to spare.
pub const IDENTITY_LIFETIME: Duration = Duration::from_secs(35 * 86_400);
/// Lifetime of a MAPPING or PREFIX section: what a fresh reader can be rolled back by.
pub const MAPPING_LIFETIME: Duration = Duration::from_secs(3600);
/// Lifetime of a TOPOLOGY section.
pub const TOPOLOGY_LIFETIME: Duration = Duration::from_secs(2 * 3600);
/// Lifetime of a SERVICE section.
pub const SERVICE_LIFETIME: Duration = Duration::from_secs(48 * 3600);
/// How long a REVOCATION is kept after the last time that somebody put it: whoever wants it known can do so once a month.
pub const REVOCATION_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// By how much a REVOCATION is kept longer at least when it is put again: a PUT repeated at once is no work for the disk.
pub const REVOCATION_RENEWAL: Duration = Duration::from_secs(3600);
/// Lifetime of an index page of delegations.
pub const INDEX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Lifetime of a registrar's index page of live registrations.
pub const LIVE_INDEX_LIFETIME: Duration = Duration::from_secs(3600);

/// Copies that hold, from different blocks, after which a lookup ends: whoever hides a newer one must sit in all of them.
pub const WITNESSES: usize = 3;
/// Nodes that shall store a record at least, and as many as its region is expected to hold: of twenty, half may die at once.
pub const REPLICAS: usize = 20;
/// Nodes that are asked to store a record at most: the region with forty more that crowd round the key.
pub const REGION_NODES: usize = 64;
/// Nodes of one /24 or /48 among those first chosen to store a record.
pub const PER_BLOCK: usize = 2;
/// Nodes of one /32 of IPv6 among those first chosen to store a record.
pub const PER_PROVIDER: usize = 8;
/// Places at which the density of nodes is remembered: the median stands while attackers crowd at half of them.
pub const SIZE_SAMPLES: usize = 16;
/// Places looked at before the first record is stored: the median of three stands while attackers crowd at one.
pub const SIZE_SAMPLES_LEAST: usize = 3;
/// Bits of the narrowest region that is looked through: a network of 80,000 nodes.
pub const REGION_BITS: u8 = 12;
/// Keys tried to find those in the other quarters of a region: sixteen times what it takes on average, about 20 ms.
pub const REGION_TRIES: u32 = 1 << (REGION_BITS + 6);

/// Records whose hand-over a node watches: what comes beyond relies on its owner. About 1 kB each.
pub const HANDOVER_RECORDS: usize = 16 * 1024;
/// Hand-overs that wait for their turn, about 200 octets each; what finds no room is found missing again later.
pub const HANDOVER_QUEUE: usize = 32 * 1024;
/// Hand-overs under way at once.
pub const HANDOVER_IN_FLIGHT: usize = 16;
/// Records looked at in one go: the node's thread answers lookups in between.
pub const HANDOVER_SCAN: usize = 32;
/// Holders of a record, the nearest to its key, that hand it on: one may be hostile, and all would be a waste.
pub const HANDOVER_SENDERS: usize = 2;
/// Peers change one after the other, and owners put their records again when they do: hand-overs wait so long.
pub const HANDOVER_WAIT: Duration = Duration::from_secs(4);
/// A peer that did not answer is tried again after this ...
pub const HANDOVER_RETRY: Duration = Duration::from_secs(15);
/// ... and so often in a row, before it is left alone until it comes anew.
pub const HANDOVER_ATTEMPTS: u32 = 3;
/// A peer that is asked too often is tried again after [`HANDOVER_RETRY`] as well, until it was asked so often: in two minutes those
/// who keep it busy have had their turn, or it only says so.
pub const HANDOVER_BUSY: u32 = 8;
/// In this time a backlog is worked off, if the bounds below allow: healed halves agree within a minute, with the time that
/// peers take to find each other.
pub const HANDOVER_WITHIN: Duration = Duration::from_secs(15);
/// Records a second at least: a few hand-overs are soon done.
pub const HANDOVER_RATE_LEAST: f64 = 2.0;
/// Records a second at most: 64 bundles with RSA identities are 1.7 Mbit/s.
pub const HANDOVER_RATE_MOST: f64 = 64.0;
/// Octets for each record of the rate: what a bundle with an RSA identity has.
pub const HANDOVER_OCTETS: f64 = 3200.0;
/// Hand-overs at once to peers that are in no table of ours and have just offered something older.
pub const HANDOVER_GUESTS: usize = 1024;
/// Of them remembered with each record, so that who offers the same again is not given it again: a region full.
pub const GUESTS_ANSWERED: usize = REPLICAS;
/// Peers that come within this time ...
pub const MEETING: Duration = Duration::from_secs(60);
/// ... and are one in so many of those that are known then, are the other half of a network: where a node stays for an hour on
/// average, one in sixty comes anew in a minute.
pub const MEETING_PART: usize = 4;
/// So long after the first of them those who know each other have handed over nearly all.
pub const MEETING_WAIT: Duration = Duration::from_secs(30);
/// So often in a row at most: halves that heal in pieces meet more than once ...
pub const MEETINGS: u32 = 4;
/// ... and one more after so long: who leaves and comes again to be counted as many costs its neighbours no more than that.
pub const MEETING_PAUSE: Duration = Duration::from_secs(20 * 60);
/// Those of a region that are farthest from the key: the nearest may not know them. A quarter.
pub const RIM: usize = 5;
/// A record of which nothing was heard for so long has an owner who is away: they put theirs every 20 minutes.
pub const REPAIR_INTERVAL: Duration = Duration::from_secs(25 * 60);
/// The same for a REVOCATION, which is kept for a month: twenty copies of it in this time are what it costs its region.
pub const REPAIR_LASTING: Duration = Duration::from_secs(6 * 3600);
/// How often is looked for such records.
pub const REPAIR_CHECK: Duration = Duration::from_secs(60);

/// Delegations of one authority, about 250 octets of memory each: a /32 has 65,536 /48 in it, and more than this is for
/// several writers.
pub const DELEGATIONS: usize = 256 * 1024;
/// Anchors of one aggregate: as many as a site may have registrars.
pub const ANCHORS_OF_ONE: usize = 4;
/// How often an authority renews a page that has not changed: three can be missed before it expires.
pub const INDEX_RENEWAL: Duration = Duration::from_secs(6 * 3600);
/// How long a page stays after nothing points to it any more: readers keep what did for [`PAGE_LIFE`], and a page withdrawn
/// earlier would be a hole to them.
pub const RETIREMENT: Duration = Duration::from_secs(20 * 60);

/// Neighbours of a TOPOLOGY section, one for each medium: more direct links than a border node has, and with position and
/// terminals they fit the class limit.
pub const NEIGHBOURS: usize = 64;
/// Terminals of a TOPOLOGY section: those of one mast.
pub const TERMINALS: usize = 8;
/// Public addresses of a SERVICE section: some of each family, and what is left of the class limit.
pub const PUBLIC_ADDRESSES: usize = 16;
/// Alternate CGEIDs of a SERVICE section, each of which costs a resolver one GET more.
pub const ALTERNATES: usize = 4;
/// NAT64 prefixes of a SERVICE section: a network has one or two.
pub const PREF64: usize = 4;

/// Octets of one certificate in a presentation: what `cgeid` looks at.
pub const PRESENTED_CERTIFICATE: usize = cgeid::limits::MAX_CERTIFICATE;
/// Octets of a presentation: two certificates and less than 64 octets of fields.
pub const PRESENTATION: usize = 2 * PRESENTED_CERTIFICATE + 64;

/// Nodes of one block (/24, /48) in a bucket of 20.
pub const BUCKET_PER_BLOCK: usize = 2;
/// Nodes of one provider (/32 of IPv6) in a bucket of 20: fewer than half.
pub const BUCKET_PER_PROVIDER: usize = 8;

/// Blocks whose clocks say whether ours is right: two liars among them are no majority.
pub const CLOCK_BLOCKS: usize = 5;
/// Clocks kept, about 100 octets each: twice the connections of a node.
pub const CLOCKS: usize = 256;
/// Age at which a reading of a clock says nothing any more: ours has drifted by a few seconds at most.
pub const CLOCK_AGE: Duration = Duration::from_secs(24 * 3600);
/// How long the clock of a peer counts that is gone: one refused for its dates is not connected for long, and comes again when a
/// bootstrap node is dialled anew, each half minute. Who has many addresses must not collect votes with them one after the other.
pub const CLOCK_GONE: Duration = Duration::from_secs(10 * 60);
/// An answer that took longer than this says too little: half of it is the error.
pub const CLOCK_ANSWER: Duration = Duration::from_secs(10);

/// A node puts what it says of itself so often: a mapping holds for three times as long, and nodes that have come since get it.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(20 * 60);
/// After this at the earliest it does so again because there are more peers: stores take one PUT in 10 s of a key.
pub const ANNOUNCE_PAUSE: Duration = Duration::from_secs(10);
/// What nobody took is put again after this.
pub const ANNOUNCE_RETRY: Duration = Duration::from_secs(60);
/// Neighbours and places are signed anew when they are so old; they hold for two hours.
pub const RESIGN_TOPOLOGY: Duration = Duration::from_secs(30 * 60);
/// Services are signed anew when they are so old; they hold for two days.
pub const RESIGN_SERVICE: Duration = Duration::from_secs(12 * 3600);
