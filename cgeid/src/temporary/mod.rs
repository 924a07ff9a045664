// SPDX-License-Identifier: GPL-2.0-or-later
//! Temporary CGEIDs: addresses with keys of their own, for connections that shall not be told to come from one node.
//!
//! Each is used for a day of UTC, and all nodes change at 00:00, so a change tells nothing about who changed. Its
//! successor is made and published at a random moment in the six hours before. What began with an address keeps it: it
//! stays valid for another day. Without a clock that is right, the timers of RFC 8981 take the place of midnight.
//!
//! ```text
//!               18:00      00:00                      18:00      00:00                                 00:00
//!  made, published |---x     |                          |    x     |                                      |
//!  A  ------------ prepared  | preferred, 86,700 s ................|.| deprecated ........................| gone
//!  B                         |                          |    prepared | preferred ........................|.|
//! ```
//!
//! [`Schedule`] decides and does nothing itself; [`Output`] says what is to be done, in order. At most two addresses are
//! on an interface at once. While a third key is prepared nothing is reached by it, so it does not count as live.

mod clock;
mod engine;
mod key;
mod lifetimes;
mod slot;
mod state;

pub use clock::{BootId, Clock};
pub use engine::{Input, Output, Role, Schedule};
pub use key::TemporaryKey;
pub use lifetimes::Lifetimes;
pub use state::{MAX_STATE, StateError};
