// SPDX-License-Identifier: GPL-2.0-or-later
//! Finding mappings: Map-Requests to the Map-Resolvers, and what of a Map-Reply may enter the map-cache
//! (RFC 9301, sections 5.2 to 5.5, 6.1 and 8.1).

mod conversation;
mod engine;
mod entry;
pub mod limits;
mod mirror;
mod policy;
mod request;
mod secured;
mod sources;

pub use engine::{Config, Input, Output, Resolver};
pub use mirror::Installed;
pub use policy::Policy;
pub(crate) use request::asking;
pub use secured::{Demand, LispSec, Wrapping};
pub(crate) use secured::{Secured, refusal as sec_refusal};
