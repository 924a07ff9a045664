// SPDX-License-Identifier: GPL-2.0-or-later
//! Bounds of labs and probes, each with its reason.

use std::time::Duration;

/// How often waiting loops look again: short against the steps of a demo, long against the load it causes.
pub const POLL: Duration = Duration::from_millis(20);

/// How long a process may take to end after SIGTERM before SIGKILL: long enough to write its state on a machine that does other things too.
pub const TERM_GRACE: Duration = Duration::from_secs(10);

/// How long a one-shot command (`lig`, `lisp-dht get`, the search for an RSA key) may run on a busy machine before it is killed.
pub const COMMAND_TIME: Duration = Duration::from_secs(60);

/// Octets of output kept of a one-shot command; what is more is read and dropped.
pub const COMMAND_OUTPUT: u64 = 1 << 20;

/// Octets of the beginning and of the end of a process's log that are looked at: some ten thousand lines.
pub const LOG_OCTETS: usize = 1 << 20;

/// Lines of a process's log shown when a step fails.
pub const LOG_TAIL: usize = 12;

/// How long a lab may take to fall: its processes get [`TERM_GRACE`], side by side.
pub const DOWN_TIME: Duration = Duration::from_secs(60);

/// How long to wait for the answers to pings when the last was sent, where it is only seen whether any comes, and they are sent again.
pub const PING_WAIT: Duration = Duration::from_secs(2);

/// The same where each is wanted: the first waits for a mapping, on a machine that does other things too.
pub const WHOLE_WAIT: Duration = Duration::from_secs(10);

/// Longest interface name, IFNAMSIZ without its final zero.
pub const INTERFACE_NAME: usize = 15;

/// Largest frame taken from a packet socket: a GSO super-packet of 64 KiB and its headers.
pub const FRAME: usize = 65_536 + 64;

/// Receive buffer asked for a capture, so that a bulk transfer on a busy machine is not lost to it; octets.
pub const CAPTURE_BUFFER: usize = 16 << 20;

/// Octets of a bulk transfer written at once.
pub const BULK_CHUNK: usize = 64 << 10;

/// Octets that a delay box holds back in all: a second of 500 Mbit/s; what comes beyond is lost, as in a router.
pub const DELAYED_OCTETS: usize = 64 << 20;

/// Frames between the readers of a delay box and its bridge.
pub const FRAMES_WAITING: usize = 1024;

/// Stations that a delay box knows: more than a lab has; frames for others go to all ports.
pub const STATIONS: usize = 4096;

/// How long the map system of a lab may take to serve, and then the sites until they are known, on a machine that does other things too.
pub const READY_TIME: Duration = Duration::from_secs(90);
