// SPDX-License-Identifier: GPL-2.0-or-later
//! Every bound of this crate, with its unit and its reason.

/// Octets of a configuration file: a Map-Server with some 50,000 sites.
pub const SETTINGS_FILE: usize = 16 * 1024 * 1024;
/// Octets of the first line of a password file: a longer one is no password but the wrong file.
pub const PASSWORD: usize = 1024;
/// Characters of a number in an environment variable: those of the largest one of 64 bits.
pub const NUMBER: usize = 20;
/// Characters of a parser's explanation, which may quote the line.
pub const EXPLANATION: usize = 600;
