// SPDX-License-Identifier: GPL-2.0-or-later
//! The suites: each a name, a sentence, and a function that runs its checks.

mod wire;

use crate::check::Check;

/// Runs the checks whose identifier the predicate wants.
pub type RunChecks = fn(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>>;

/// A named set of checks.
pub struct Suite {
    /// What `--suite` calls it.
    pub name: &'static str,
    /// What it judges, in a sentence.
    pub about: &'static str,
    /// Runs them.
    pub run: RunChecks,
}

/// Which layer judges a check.
///
/// # Errors
/// When there is no check of that name.
pub fn layer_of(id: &str) -> anyhow::Result<String> {
    wire::layer_of(id)
}

/// All suites.
pub const SUITES: &[Suite] = &[Suite {
    name: "wire",
    about: "byte-exact vectors of RFC 9300, 9301, 9302, 9303, 9305, 8060, 8061, 8111 and 9437 against codec and authenticator",
    run: wire::run,
}];
