// SPDX-License-Identifier: GPL-2.0-or-later
//! What our programs have in common on the command line.
//!
//! * [`Man`] and [`Completions`]: the verbs `man` and `completions`, made from the text of `--help`;
//! * [`Json`]: the flag `--json`, and that a report overwrites nothing else;
//! * [`settings`]: configuration from a file, the environment and flags, and what to say when it is wrong;
//! * [`files`]: reading what somebody names, within bounds;
//! * [`log`]: what is logged;
//! * [`manager`]: what a service manager is told;
//! * [`turns`]: turns of the processor for threads that answer.
//!
//! Only binaries and I/O shells link this crate; it knows no other of ours.

mod completions;
mod error;
pub mod files;
pub mod limits;
pub mod log;
mod man;
pub mod manager;
mod replace;
mod report;
pub mod settings;
pub mod turns;

pub use completions::Completions;
pub use error::Error;
pub use man::{Entries, Man, Manual, STATUS};
pub use report::{Json, JsonTo};
