// SPDX-License-Identifier: GPL-2.0-or-later
//! Checksum offload of virtual cables.
//!
//! A veth hands packets over with checksums left to a hardware that is not there. Captures then show checksums that are
//! wrong, and a packet that user space tunnels would carry them out of the lab's kernel. So it is switched off, as wires do.

#![allow(unsafe_code, reason = "SIOCETHTOOL has no safe wrapper")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::error::LabError;
use super::namespace::Namespace;
use crate::limits::INTERFACE_NAME;

/// ETHTOOL_STXCSUM of linux/ethtool.h.
const SET_TX_CHECKSUM: u32 = 0x17;

/// struct ethtool_value of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Makes the kernel fill in checksums before a packet leaves by `port`; segmentation offload goes with it.
///
/// # Errors
/// When the kernel refuses.
pub fn disable_transmit_checksum(namespace: &Namespace, port: &str) -> Result<(), LabError> {
    let name = port.to_owned();
    namespace
        .run(move || request(&name))?
        .map_err(|cause| LabError::failed(namespace.name(), format!("checksum offload of {port}"), cause))
}

fn request(port: &str) -> io::Result<()> {
    if port.len() > INTERFACE_NAME {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("0.0.0.0", 0)))?;
    let mut value = EthtoolValue { command: SET_TX_CHECKSUM, data: 0 };
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(port.bytes()) {
        *to = from.cast_signed();
    }
    let mut request =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() } };
    // SAFETY: the request is a whole ifreq with a name ended by zero; its data points to `value`, which has the layout that
    // this command reads and outlives the call; the kernel keeps no pointer.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
