// SPDX-License-Identifier: GPL-2.0-or-later
//! NAT traversal (draft-ermagan-lisp-nat-traversal-19): the RTR that lends its address ([`rtr`]), and the xTR behind a NAT that
//! borrows it ([`natted`]).
//!
//! ```text
//!  xTR, port 4341 ── NAT ──> RTR, port 4342   Info-Request; Map-Register in an ECM (R)
//!  xTR, port 4341 <── NAT ── RTR, port 4342   Info-Reply; Data-Map-Notify; data for the xTR
//!  xTR, port 4341 ── NAT ──> RTR, port 4341   data of the xTR
//!                            RTR, port 4342 ──> Map-Server   the Map-Register, in an ECM (N)
//!                            RTR, port 4342 <── Map-Server   the Map-Notify, in an ECM (R, S)
//! ```
//!
//! So one port of the xTR and two bindings of the NAT carry everything, however strict the NAT: what comes in answers what went out,
//! address for address and port for port. Three things hold against who is not on the way:
//!
//! * An Info-Request moves nothing: its answer says what was seen, and is all that there is of it.
//! * Packets go to where a Map-Register came from once its Map-Server has accepted it, and has said so under the key that it shares
//!   with the RTR. The site's key, which made the Map-Register, never leaves the site.
//! * An Info-Reply is believed for an outstanding nonce of 64 bits, from the address asked, once.

pub mod limits;
pub mod natted;
mod rates;
pub mod rtr;
