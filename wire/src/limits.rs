// SPDX-License-Identifier: GPL-2.0-or-later
//! Limits of the codec that are not the width of a field.

/// LCAFs inside each other. RFC 8060 sets no bound; its deepest example has two, and a bound keeps hostile bytes from
/// choosing the depth of our stack.
pub const LCAF_NESTING: usize = 4;

/// ITR-RLOCs of a Map-Request: the IRC field has 5 bits and counts from one (RFC 9301, section 5.2).
pub const ITR_RLOCS: usize = 32;

/// Signatures of a referral: SigCnt has 4 bits (RFC 8111, section 6.4).
pub const REFERRAL_SIGNATURES: usize = 15;
