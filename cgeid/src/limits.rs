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

/// A day of UTC without leap seconds, as POSIX counts.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Life of the identity certificate of a temporary CGEID, from 00:00 UTC of its day of issue: that day, in whose last
/// six hours it is published, and the two days for which its address is valid.
pub const TEMPORARY_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(72 * 3600);
