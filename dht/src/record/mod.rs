// SPDX-License-Identifier: GPL-2.0-or-later
//! What is under a DHT key, as bytes and as values, and how a reader checks it.
//!
//! [`RecordKey`] names the one writer. The value is a [`Bundle`] of signed [`Section`]s, with one encoding each: decoders
//! are total, and refuse everything that they would have written in another way. [`verify`] repeats all checks.

mod bundle;
mod identity;
mod index;
mod key;
mod mapping;
mod name;
mod outline;
mod prefix;
mod reader;
mod recent;
mod revocation;
mod section;
mod service;
mod tlv;
mod topology;
mod verify;

pub use bundle::Bundle;
pub use identity::Identity;
pub use index::{Entry, Index, Target};
pub use key::{RecordKey, Subject};
pub use mapping::{Mapping, Rloc, RlocFlags, SessionKey};
pub use name::HostName;
pub use prefix::{Prefix, Site};
pub use revocation::Revocation;
pub use section::{Body, Class, Flags, Section, Version};
pub use service::{Pref64, Roles, Service};
pub use tlv::Tlv;
pub use topology::{Centimetres, Geo, Loss, Medium, Neighbour, Pointing, Quality, Rate, Source, Terminal, Topology};
pub use verify::{CertificateCache, Verified, verify};

pub(crate) use bundle::Form;
pub(crate) use outline::Outline;
pub(crate) use reader::Reader;
pub(crate) use recent::Recent;
pub(crate) use verify::{Chain, check_form, check_signature, check_times};
