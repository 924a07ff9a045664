// SPDX-License-Identifier: GPL-2.0-or-later
//! What our programs have in common on the command line.
//!
//! * [`Man`] and [`Completions`]: the verbs `man` and `completions`, made from the text of `--help`.
//!
//! Only binaries and I/O shells link this crate; it knows no other of ours.

mod completions;
mod error;
mod man;

pub use completions::Completions;
pub use error::Error;
pub use man::{Entries, Man, Manual, STATUS};
