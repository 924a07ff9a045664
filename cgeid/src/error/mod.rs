// SPDX-License-Identifier: GPL-2.0-or-later
//! What can be wrong, by culprit; a file a subject.

mod certificate;
mod container;
mod exchange;
mod key;
mod statement;
mod text;

use std::time::SystemTime;

pub use certificate::CertificateError;
pub use container::ContainerError;
pub use exchange::ExchangeError;
pub use key::{KeyError, PinsError, PuzzleError, SignatureError};
pub use statement::{Signer, StatementError};
pub use text::{ArmourError, CnError, NetworkError};

/// A time as people write it: RFC 3339, UTC.
pub(crate) fn date(time: SystemTime) -> String {
    der::DateTime::from_system_time(time).map_or_else(|_| "a time out of range".to_owned(), |date| date.to_string())
}
