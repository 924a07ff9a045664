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

/// Pins that a reader keeps, about 250 octets of memory each: more peers than a border node meets in a month.
pub const PINS: usize = 65_536;

/// How long a pin must have rested before it may give way to another. Whoever wants a pin flushed has to keep all
/// others in use for as long, and to hope that nobody asks for the name meanwhile.
pub const PIN_REST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Records of an NDEF message that are looked at: tags have one or two.
pub const MAX_RECORDS: usize = 16;

/// Longest picture looked at, in octets, and most memory that unpacking it may take: a screenshot or a photograph.
pub const MAX_PICTURE: usize = 16 << 20;

/// Largest width and height of a picture, in pixels: 16 million octets of brightness.
pub const MAX_PICTURE_SIDE: u32 = 4096;

/// QR codes of a picture that are looked at; more than one that can be read is refused in any case.
pub const MAX_SYMBOLS: usize = 8;
