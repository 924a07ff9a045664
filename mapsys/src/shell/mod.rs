// SPDX-License-Identifier: GPL-2.0-or-later
//! The I/O of the map system: DHT node, disk, clock, sockets, configuration. `lisp-mapsys` uses all of it, `lisp-xtr`
//! embeds [`service`] and keeps its own sockets.

mod bootstrap;
pub mod clock_file;
pub mod control;
pub mod daemon;
pub mod identity;
pub mod lispsec;
#[cfg(test)]
#[path = "../../../program/tests/support/log.rs"]
mod log;
pub mod reload;
pub mod rtr_settings;
pub mod service;
pub mod settings;
pub mod sockets;
pub mod state;
pub mod subscriber_settings;

use program::manager;
pub use service::{FromService, SIZES, Service, ServiceConfig};
