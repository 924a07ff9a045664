// SPDX-License-Identifier: GPL-2.0-or-later
//! That the addresses of this machine have changed: the kernel says so (rtnetlink(7)), and if it cannot be heard, or has said more
//! than was read, they are looked at all the same.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::sync::Notify;

/// The addresses are looked at no later than after this time, whatever was heard.
const LONGEST: Duration = Duration::from_secs(60);
/// Several changes come together: an interface has addresses of both families, and IPv6 tries its own for a second.
const TOGETHER: Duration = Duration::from_secs(1);
/// Octets that are read of what the kernel says: that it says something is enough.
const MESSAGE: usize = 4096;

/// What the kernel says of addresses.
#[derive(Debug)]
pub(in crate::shell) struct Changes(Arc<Notify>);

impl Changes {
    /// Hears from now on, until the process ends.
    pub(in crate::shell) fn new() -> Self {
        let heard = Arc::new(Notify::new());
        let listener = open().and_then(|socket| {
            let heard = Arc::clone(&heard);
            std::thread::Builder::new().name("addresses".into()).spawn(move || listen(&socket, &heard))
        });
        if let Err(error) = listener {
            tracing::warn!(%error, "changes of addresses are seen once a minute only");
        }
        Self(heard)
    }

    /// Waits until addresses may have changed, and others may have with them.
    pub(in crate::shell) async fn next(&self) {
        // In both cases the addresses are to be looked at.
        let _ = tokio::time::timeout(LONGEST, self.0.notified()).await;
        tokio::time::sleep(TOGETHER).await;
    }
}

fn open() -> io::Result<OwnedFd> {
    let heard = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
    bind(heard.as_raw_fd(), &NetlinkAddr::new(0, u32::try_from(groups).unwrap_or_default()))?;
    Ok(heard)
}

fn listen(socket: &OwnedFd, heard: &Notify) {
    let mut buffer = [0; MESSAGE];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            // It has said more than was read: the addresses are looked at in any case.
            Ok(_) | Err(Errno::ENOBUFS) => heard.notify_one(),
            Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::warn!(%error, "changes of addresses are seen once a minute only");
                return;
            }
        }
    }
}
