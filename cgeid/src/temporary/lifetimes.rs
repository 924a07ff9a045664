// SPDX-License-Identifier: GPL-2.0-or-later
//! How long an address may be used (RFC 4862 5.5.4).

use std::time::Duration;

/// The two lives of an address on an interface, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// How long new connections may begin with it; zero = deprecated.
    pub preferred: Duration,
    /// How long it is an address at all; `None` = for ever. Never shorter than the other.
    pub valid: Option<Duration>,
}

impl Lifetimes {
    /// Those of a static CGEID: it is answered for ever and deprecated at once, so that no connection begins with the
    /// name of the node.
    pub const STATIC: Lifetimes = Lifetimes { preferred: Duration::ZERO, valid: None };
}
