// SPDX-License-Identifier: GPL-2.0-or-later
//! Labs of network namespaces, the probes that measure in them, the demo, and runs with the programs of others.
//!
//! Everything here speaks to built binaries over sockets, as an operator would; no library of ours but `wire` is linked
//! (it judges captures). A lab is made of threads: each namespace exists because one thread of ours lives in it, so that
//! nothing is pinned in the file system and the kernel removes all of it when this process ends, however it ends.

pub mod bench;
pub mod delaybox;
pub mod demo;
pub mod hold;
pub mod interrupt;
pub mod lab;
pub mod limits;
pub mod nat;
pub mod peers;
pub mod probe;
pub mod sites;
