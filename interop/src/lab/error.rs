// SPDX-License-Identifier: GPL-2.0-or-later
//! What can go wrong with a lab, by culprit.

use std::io;

/// Why a lab could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine refuses something that labs are made of; the text names it and says what would help.
    #[error("{what} is refused: {cause}. {help}")]
    Refused {
        /// The system call or file.
        what: String,
        /// What the system said.
        cause: io::Error,
        /// What would help.
        help: &'static str,
    },
    /// Something in a namespace failed that was expected to work.
    #[error("{name}: {doing}: {cause}")]
    Failed {
        /// Name of the namespace or process.
        name: String,
        /// What was being done.
        doing: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The topology contradicts itself.
    #[error("the topology is wrong: {0}")]
    Topology(String),
}

impl LabError {
    /// A failure in a namespace.
    pub fn failed(name: &str, doing: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        Self::Failed { name: name.into(), doing: doing.into(), cause: cause.into() }
    }
}

/// A netlink error as the system error that it carries.
pub(super) fn from_netlink(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
