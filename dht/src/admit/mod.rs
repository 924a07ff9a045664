// SPDX-License-Identifier: GPL-2.0-or-later
//! Who may be a place in the hash table: the two sides of a connection present themselves, and each judges the other.
//!
//! * [`message`]: what is said, in one encoding each;
//! * [`judge`]: the rules of the network against what a peer presents: its certificates, that the operational key is the key
//!   of the connection, the puzzle, the network's own key if it is closed;
//! * [`diversity`]: how much of a bucket may belong to one party;
//! * [`clock`]: what the clocks of the admitted say about ours.
//!
//! A peer that is not admitted can still ask and put, as a client does. Only a closed network turns it away altogether.

pub mod clock;
pub mod diversity;
pub mod judge;
pub mod message;
mod network_key;

pub use clock::{ClockVerdict, PeerClocks};
pub use judge::{Admitted, Credentials, Ends, Member, Refused, Rules, judge, present};
pub use message::{Answer, Kind, Presentation};
pub use network_key::{NetworkKey, NetworkKeyError};
