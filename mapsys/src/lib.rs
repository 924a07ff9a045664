// SPDX-License-Identifier: GPL-2.0-or-later
//! The faces of the DHT: Map-Server and Map-Resolver (RFC 9301, section 8).

pub mod limit;
pub mod limits;
pub mod refusal;
pub mod register;
pub mod table;
pub mod transport;
