// SPDX-License-Identifier: GPL-2.0-or-later
//! The faces of the DHT: Map-Server and Map-Resolver (RFC 9301, section 8).
//!
//! Ordinary LISP routers see plain RFC 9301 here and nothing of the signatures: a site registers with a shared key, an ITR
//! asks inside an ECM. Behind that, what a site registered is signed into the DHT, and what is not registered here is
//! found and verified there.
//!
//! * [`register`]: the Map-Server: sites, keys, replay, registrations, and their publication;
//! * [`resolve`]: the Map-Resolver: own registrations, cache, lookups, negatives;
//! * [`subscribe`]: who is told of changes (RFC 9437);
//! * [`ddt`]: foreign EIDs, and how others find ours (RFC 8111);
//! * [`limit`]: who may ask what, and how much comes back;
//! * [`engine`]: the five behind one `handle` and one `poll`. Sans-IO: clocks, bytes and what the DHT says are arguments.
//!
//! Feature `shell` adds sockets, disk and the DHT node. `lisp-xtr` embeds [`shell::Service`](shell) and registers its own
//! prefixes through a pipe that carries real Map-Registers; only that pipe may register the node's CGEIDs.

pub mod ddt;
mod dropped;
pub mod engine;
pub mod limit;
pub mod limits;
pub mod nat;
pub mod refusal;
pub mod register;
pub mod resolve;
#[cfg(feature = "shell")]
pub mod shell;
pub mod subscribe;
pub mod table;
pub mod transport;
