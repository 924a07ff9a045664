// SPDX-License-Identifier: GPL-2.0-or-later
//! Every bound of this crate, each with its reason.

use std::time::Duration;

/// Longest certificate looked at, in octets: an RSA-4096 identity certificate has about 1,400, and the IDENTITY section
/// that carries it has 4,096 in all.
pub const MAX_CERTIFICATE: usize = 4096;

/// Longest serial number of a certificate, in octets of its encoding (RFC 5280 4.1.2.2).
pub const MAX_SERIAL: usize = 20;

/// Longest PKCS#12 file looked at, in octets: ours have under 8,000; the rest is room for what other tools add.
pub const MAX_CONTAINER: usize = 65_536;

/// Private keys or certificates that a PKCS#12 file may hold before we stop believing that it is one of ours.
pub const MAX_BAGS: usize = 8;

/// PBKDF2 rounds that we write for the encrypted bags: about 0.2 s a guess on one core of 2026.
pub const ENCRYPTION_ROUNDS: u32 = 600_000;

/// Rounds that we write for the integrity key. A round is one SHA-256 block where PBKDF2 takes two, and the MAC
/// must not be the cheaper way to try passwords; this is also the most that the reader below accepts.
pub const MAC_ROUNDS: u32 = 1_000_000;

/// The same of all of a file whose password nobody guesses: the least that RFC 8018, section 4.2, recommends.
pub const QUICK_ROUNDS: u32 = 1_000;

/// Most key-derivation rounds that one bag or MAC may ask of us, so that a file cannot keep a daemon busy for hours.
pub const MAX_ROUNDS: u32 = 1_000_000;

/// Life of an operational certificate: one period of 30 days and 5 days in which to notice that the next is missing.
pub const OPERATIONAL_LIFETIME: Duration = Duration::from_secs(35 * 24 * 3600);

/// How far the clocks of two nodes may be apart; a node further out refuses to publish.
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Months of operational keys that can be made ahead: beyond that a lost identity key should be noticed by its owner.
pub const MAX_MONTHS: u32 = 24;

/// Tries for a key whose CN is not reserved; one failure has probability 2⁻⁸⁰.
pub const KEY_TRIES: u32 = 4;

/// Longest signed statement (revocation, link proof) looked at, in octets: two of the longest certificates, their two
/// signatures, and less than 512 octets of fields.
pub const MAX_STATEMENT: usize = 2 * MAX_CERTIFICATE + 1536;

/// Longest audience of a link proof, in octets: a name or a challenge, and its length is told in one octet.
pub const MAX_AUDIENCE: usize = 255;

/// Blocks of a PEM file that are looked at: a certificate chain has two, a folder of ours put into one file not many.
pub const MAX_PEM_BLOCKS: usize = 32;

/// Pins that the table of a resolver keeps, about 250 octets of memory each: more peers than a border node meets in a
/// month.
pub const PINS: usize = 65_536;

/// How long a pin must have rested before it may give way to another. Whoever wants a pin flushed has to keep all
/// others in use for as long, and to hope that nobody asks for the name meanwhile.
pub const PIN_REST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The last use of a pin is written to disk when it rose by this much: often enough beside [`PIN_REST`], and one write a
/// day for each name.
pub const PIN_SAVE: Duration = Duration::from_secs(24 * 3600);

/// Records of an NDEF message that are looked at: tags have one or two.
pub const MAX_RECORDS: usize = 16;

/// Longest picture looked at, in octets, and most memory that unpacking it may take: a screenshot or a photograph.
pub const MAX_PICTURE: usize = 16 << 20;

/// Largest width and height of a picture, in pixels: 16 million octets of brightness.
pub const MAX_PICTURE_SIDE: u32 = 4096;

/// QR codes of a picture that are looked at; more than one that can be read is refused in any case.
pub const MAX_SYMBOLS: usize = 8;

/// Corner marks of QR codes that a picture may show: [`MAX_SYMBOLS`] codes have 24, and text or foliage that looks like
/// some is rare. The work of matching them grows with their cube.
pub const MAX_CORNER_MARKS: usize = 64;

/// Longest search for QR codes in a picture: a photograph takes a second, one that was made to be hard has no end.
pub const PICTURE_PATIENCE: Duration = Duration::from_secs(10);

/// A day of UTC without leap seconds, as POSIX counts.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Life of the identity certificate of a temporary CGEID, from 00:00 UTC of its day of issue: that day, in whose last
/// six hours it is published, and the two days for which its address is valid.
pub const TEMPORARY_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(72 * 3600);

/// How long a temporary CGEID is preferred: a day and [`TEMPORARY_OVERLAP`].
pub const TEMPORARY_PREFERRED: Duration = Duration::from_secs(86_700);

/// How long a temporary CGEID is valid: what began on its last second of use has another day.
pub const TEMPORARY_VALID: Duration = Duration::from_secs(172_800);

/// How long the kernel keeps an address preferred that should have been relieved, should its successor be late; without
/// UTC also how long before the change the successor is made (REGEN_ADVANCE of RFC 8981 3.8, which asks for 5 s at
/// least: a publication takes longer than the search for a duplicate).
pub const TEMPORARY_OVERLAP: Duration = Duration::from_secs(300);

/// Longest use of one temporary CGEID, whatever clocks did meanwhile: flows begun last still have six hours.
pub const TEMPORARY_MAX_USE: Duration = Duration::from_secs(42 * 3600);

/// Time before the common change in which publications are spread evenly, so that they make no peak.
pub const PUBLICATION_WINDOW: Duration = Duration::from_secs(6 * 3600);

/// The end of that window that stays free, so that the last ones are done in time.
pub const PUBLICATION_LEAD: Duration = Duration::from_secs(60);

/// Most that RFC 8981 timers shorten a use by, so that a node without UTC has no hour of its own: 0.4 of
/// [`TEMPORARY_PREFERRED`] (MAX_DESYNC_FACTOR of RFC 8981 3.8).
pub const MAX_DESYNC: Duration = Duration::from_secs(34_680);

/// How long a publication may take while nothing else is preferred; then the address is used unpublished.
pub const PUBLICATION_PATIENCE: Duration = Duration::from_secs(10);

/// When something that failed is tried again: a network that comes back is waited for about that long.
pub const TEMPORARY_RETRY: Duration = Duration::from_secs(15);

/// Duplicate addresses in a row after which somebody answers for every address (TEMP_IDGEN_RETRIES of RFC 8981 3.8).
pub const CONFLICT_TRIES: u32 = 3;

/// Rest after that many, so that a hostile neighbour does not drive our key generation.
pub const CONFLICT_PAUSE: Duration = Duration::from_secs(3600);

/// Longest time between two looks at the clocks: nobody tells when one was set.
pub const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// Difference of two ends of a life that is worth telling the kernel: its own count is in whole seconds.
pub const LIFETIME_TOLERANCE: Duration = Duration::from_secs(2);

/// Temporary CGEIDs that an interface has at most: one in use, and one for the flows that began with it.
pub const MAX_TEMPORARY_ADDRESSES: usize = 2;

/// Temporary keys held at most: those of the addresses, and one that is published for the next midnight.
pub const MAX_TEMPORARY_KEYS: usize = 3;

/// Keys that a pool holds ready at most: a gateway with thousands of hosts; 4,096 RSA keys are 20 MB.
pub const MAX_POOL: usize = 4096;

/// Threads of a pool at most: keys for hosts that may come are not worth more of a machine.
pub const MAX_POOL_THREADS: usize = 4;

/// Zero bits that a network may ask of an operational key: 2³² draws are a day of one core.
pub const MAX_PUZZLE_BITS: u8 = 32;

/// Threads that search for a key at most: all cores of a large machine.
pub const MAX_MINERS: usize = 64;
