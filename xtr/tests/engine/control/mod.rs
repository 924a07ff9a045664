// SPDX-License-Identifier: GPL-2.0-or-later
//! The control half in virtual time, with all that is round it played by the tests: map systems, the packet half, other xTRs.

mod answering;
mod identities;
mod interwork;
mod map_systems;
mod more_specifics;
mod moved_or_not;
mod moving;
mod quiet;
mod quirks;
mod registering;
mod resolving;
mod smr;
mod sources;
mod trace;
