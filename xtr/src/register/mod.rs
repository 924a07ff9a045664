// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Register: telling Map-Servers which prefixes are behind this node (RFC 9301, sections 5.6, 5.7 and 8.2).

mod engine;
mod heard;
pub mod limits;
mod nonce;
mod through;

pub use engine::{Config, Input, Output, Refused, Registrar, Registration, Server};
pub use through::Through;
