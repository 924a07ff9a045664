// SPDX-License-Identifier: GPL-2.0-or-later
//! Network namespaces for a test: one alone, or two with a [`cable`] between them, what their kernel is asked for, and a `lisp-xtr` in one.
//! Needs root and `/dev/net/tun`; without, a test fails where `CI` is set, and else says so and passes.
#![allow(dead_code, reason = "not every test file uses all of it")]

pub(crate) mod cable;

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use netlink_packet_route::address::AddressHeaderFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use rtnetlink::{Handle, LinkUnspec};

/// What comes by itself comes in less, also on a machine that others use; the next registration comes after a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where all tests must run (`CI` set), what the machine lacks is a failure.
pub(crate) fn skip(needed: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI is set, and this test needs {needed}");
    eprintln!("SKIP: needs {needed}");
}

/// Whether there can be namespaces and TUN devices; says so if not.
pub(crate) fn root_and_tun_or_skip() -> bool {
    let is_there = Uid::effective().is_root() && Path::new("/dev/net/tun").exists();
    if !is_there {
        skip("root and /dev/net/tun");
    }
    is_there
}

/// Runs `test` in a thread whose network namespace ends with it; its loopback interface has these addresses.
pub(crate) fn in_namespace(addresses: &'static [&'static str], test: impl FnOnce() + Send + 'static) {
    if !root_and_tun_or_skip() {
        return;
    }
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        add_addresses(addresses);
        test();
    };
    std::thread::spawn(run).join().unwrap();
}

fn add_addresses(addresses: &[&str]) {
    netlink(async |handle| {
        bring_up(handle, "lo").await;
        for address in addresses {
            let address: IpAddr = address.parse().unwrap();
            let length = if address.is_ipv4() { 32 } else { 128 };
            add_address(handle, "lo", address, length).await;
        }
    });
}

/// Adds an address that is of use at once: nobody looks for duplicates, for which even the loopback interface takes a moment.
pub(crate) async fn add_address(handle: &Handle, link: &str, address: IpAddr, length: u8) {
    let mut request = handle.address().add(index(handle, link).await, address, length);
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    request.execute().await.unwrap();
}

/// Waits until the kernel delivers packets to an address of ours: the local route of an IPv6 one is added in background.
pub(crate) fn await_address(address: &str) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let itself = socket.local_addr().unwrap();
    let started = Instant::now();
    while socket.send_to(&[0], itself).is_err() || socket.recv(&mut [0]).is_err() {
        assert!(started.elapsed() < PATIENCE, "{address} is not reached");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) async fn bring_up(handle: &Handle, link: &str) {
    let up = LinkUnspec::new_with_index(index(handle, link).await).up().build();
    handle.link().set(up).execute().await.unwrap();
}

/// What the kernel knows a link of this name by.
pub(crate) async fn index(handle: &Handle, name: &str) -> u32 {
    let mut links = handle.link().get().match_name(name).execute();
    links.try_next().await.unwrap().unwrap().header.index
}

/// Asks the kernel for something in the namespace of this thread.
pub(crate) fn netlink<T>(work: impl AsyncFnOnce(&Handle) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        let task = tokio::spawn(connection);
        let result = work(&handle).await;
        task.abort();
        result
    })
}

pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look)
}

pub(crate) fn wait_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < patience, "no {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A running node; a test that ends early leaves none behind.
pub(crate) struct Node(pub(crate) Child);

impl Node {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    /// It is asked to end, and ends well.
    pub(crate) fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
