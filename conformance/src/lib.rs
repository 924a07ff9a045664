// SPDX-License-Identifier: GPL-2.0-or-later
//! The suites that judge an implementation, and the vectors that they use.
//!
//! Suite `wire` holds the byte-exact vectors against our codec and authenticator. Suite `cgeid` makes identities, good and bad
//! ones, and holds them against the program that verifies them; records it holds against our codec. Suites that judge a running box over the
//! network link nothing of the implementation that they judge.

pub mod check;
pub mod der;
pub mod descendants;
pub mod dissect;
pub mod exchange;
pub mod findings;
pub mod lacks;
pub mod lanes;
pub mod ledger;
pub mod mutants;
pub mod progress;
pub mod report;
pub mod suite;
pub mod target;
pub mod vectors;
pub mod wanted;
