// SPDX-License-Identifier: GPL-2.0-or-later
//! The schedule of temporary CGEIDs, in virtual time.

mod network;
mod node;
mod properties;
mod rules;
mod states;
