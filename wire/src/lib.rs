// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP on the wire: bytes to values and back.
//!
//! Only what an RFC (or our draft) defines lives here: no sockets, no clock, no policy.
//!
//! Two forms of codec, one contract:
//!
//! * **Control plane** ([`control`], [`record`], [`address`]): owned values. `decode` takes a whole UDP payload and either
//!   returns a value or a [`DecodeError`] that names the field and its offset; it never panics, whatever the bytes.
//!   Reserved bits are ignored on receipt and zero on sending, so `decode(encode(x)) == x`.
//! * **Data plane** ([`data`]): views borrowed from the packet. One length check when the view is made, after which no
//!   accessor can fail.

pub mod address;
pub mod control;
pub mod data;
pub mod error;
pub mod limits;
mod reader;
pub mod record;
mod writer;

pub use error::{DecodeError, EncodeError};

/// UDP port of encapsulated user packets (RFC 9300, section 5.3).
pub const DATA_PORT: u16 = 4341;
/// UDP port of control messages (RFC 9301, section 5).
pub const CONTROL_PORT: u16 = 4342;
