// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions to mappings (RFC 9437) as an xTR has them, in virtual time; the test plays the Map-Server.

mod beginning;
mod bounds;
mod keeping;
pub(crate) mod node;
mod unasked;
