// SPDX-License-Identifier: GPL-2.0-or-later
//! A cable between two network namespaces.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, State};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};

use super::{PATIENCE, add_address, await_address, bring_up, index, netlink, root_and_tun_or_skip};

/// What each end of the cable is called in its namespace.
pub(crate) const CABLE: &str = "core";
/// What the other one is called before it is there.
pub(crate) const OTHER_END: &str = "far";

/// Runs both ends, each in a thread with a namespace of its own, when the cable carries packets between these addresses. A namespace, and the
/// cable with it, is there until both have ended.
pub(crate) fn on_cable(
    (near_addresses, near): (&'static [&'static str], impl FnOnce() + Send + 'static),
    (far_addresses, far): (&'static [&'static str], impl FnOnce() + Send + 'static),
) {
    if !root_and_tun_or_skip() {
        return;
    }
    let (made, of_far) = mpsc::channel::<File>();
    let (plugged, of_near) = mpsc::channel::<File>();
    let far = std::thread::spawn(move || {
        made.send(new_namespace()).unwrap();
        let _is_kept = of_near.recv().unwrap();
        configure(far_addresses);
        far();
    });
    let near = std::thread::spawn(move || {
        let own = new_namespace();
        let kept = of_far.recv().unwrap();
        netlink(async |handle| {
            lay_cable(handle).await;
            let end = LinkUnspec::new_with_index(index(handle, OTHER_END).await);
            let moved = end.name(CABLE).setns_by_fd(kept.as_raw_fd()).build();
            handle.link().set(moved).execute().await.unwrap();
        });
        plugged.send(own).unwrap();
        configure(near_addresses);
        near();
    });
    let near = near.join();
    far.join().unwrap();
    near.unwrap();
}

/// That of this thread from now on.
fn new_namespace() -> File {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    File::open("/proc/thread-self/ns/net").unwrap()
}

/// Both of its ends are in this namespace, and down.
pub(crate) async fn lay_cable(handle: &Handle) {
    handle.link().add(LinkVeth::new(CABLE, OTHER_END).build()).execute().await.unwrap();
}

/// Brings the interfaces up, with these addresses on the cable.
fn configure(addresses: &[&str]) {
    netlink(async |handle| {
        for name in ["lo", CABLE] {
            bring_up(handle, name).await;
        }
        for address in addresses {
            let length = if address.contains(':') { 64 } else { 24 };
            add_address(handle, CABLE, address.parse().unwrap(), length).await;
        }
    });
    await_carrier();
    addresses.iter().for_each(|address| await_address(address));
}

/// Waits until the cable carries packets: before that the kernel drops them.
fn await_carrier() {
    let is_up = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::OperState(State::Up));
    let started = Instant::now();
    netlink(async |handle| {
        loop {
            let mut links = handle.link().get().match_name(CABLE).execute();
            if links.try_next().await.unwrap().unwrap().attributes.iter().any(is_up) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "the cable has no carrier");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
