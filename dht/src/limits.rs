// SPDX-License-Identifier: GPL-2.0-or-later
//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Octets of a bundle: a Kademlia packet is at most 16 KiB with its framing.
pub const BUNDLE_SIZE: usize = 12 * 1024;

/// How far in the future a sequence number (a signing time) may lie: clocks of honest nodes agree to this.
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// How long a high-water mark outlives its section, so that an expired record cannot be replaced by an older one.
pub const MARK_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// One accepted change of a key in this time ...
pub const QUOTA_PERIOD: Duration = Duration::from_secs(10);
/// ... and as many at once: start-up, a withdrawal and a re-publication come together.
pub const QUOTA_BURST: u32 = 5;

/// Bundles in a store: with [`BUNDLE_SHARE`] 640 MB, the most that a node is asked to give.
pub const STORE_BUNDLES: usize = 200_000;
/// Octets of a store for each bundle that it may hold: what a bundle with an RSA identity has. Longer ones, up to three
/// times as long, take the place of others.
pub const BUNDLE_SHARE: usize = 3200;

/// One part in so many of a store is the most that a /24 or /48 may fill: 1 %.
pub const BLOCK_PART: usize = 100;
/// One part in so many of a store is the most that a /32 of IPv6 may fill: 4 %.
pub const PROVIDER_PART: usize = 25;

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
