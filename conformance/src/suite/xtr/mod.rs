// SPDX-License-Identifier: GPL-2.0-or-later
//! The program `lisp-xtr`, or the tunnel router of a target file, as a black box: it runs in a network namespace between a site and a core, and the suite has both cables.
//! It plays the hosts of the site, the other xTRs and the map system, and sees every octet.

mod core;
mod inbox;
mod needs;
mod packet;
mod port;
mod program;
mod rig;
mod tier;

pub(super) use self::core::{Core, Habit, Heard, LOCATOR_TTL, key_file, locator};
pub(super) use inbox::lock;
pub(super) use needs::{is_ours, run_beside};
pub(super) use packet::{Checksum, Encapsulated, Outer, Packet, ends, forwarded, icmp, udp};
pub(super) use port::{Came, Hook, Port};
pub(super) use program::{Dut, absent};
pub(super) use rig::{Family, Flow, Rig, SERVER, families, pairs};
pub(super) use tier::{Tier, open_tiers};

use std::time::Duration;

/// What must come does so in less, whatever else the machine does.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
/// What must not come, and comes all the same, does so within this time after a later packet has come.
pub(super) const GRACE: Duration = Duration::from_millis(60);
