// SPDX-License-Identifier: GPL-2.0-or-later
//! What virtual cables leave to a hardware that is not there.
//!
//! A veth hands packets over with checksums left to a hardware that is not there. Captures then show checksums that are
//! wrong, and a packet that user space tunnels would carry them out of the lab's kernel. So it is switched off, as wires do.
//!
//! A bench asks for more: a veth also hands over 64 KiB at once where a wire would have frames.

#![allow(unsafe_code, reason = "SIOCETHTOOL has no safe wrapper")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::error::LabError;
use super::namespace::Namespace;
use crate::limits::INTERFACE_NAME;

/// ETHTOOL_STXCSUM of linux/ethtool.h.
const SET_TX_CHECKSUM: u32 = 0x17;

/// ETHTOOL_GSTRINGS, `ETHTOOL_GSSET_INFO` and `ETHTOOL_SFEATURES` of linux/ethtool.h.
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const SET_FEATURES: u32 = 0x3b;
/// ETH_SS_FEATURES: the set of strings that names the features, in the order of their bits.
const FEATURES: u32 = 4;
/// ETH_GSTRING_LEN: octets of a name, filled up with zeros.
const NAME: usize = 32;
/// More features than any kernel has: about 64.
const MOST_FEATURES: u32 = 1024;

/// struct ethtool_value of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// struct ethtool_sset_info of linux/ethtool.h, with room for the size of one set.
#[repr(C)]
struct SetInfo {
    command: u32,
    reserved: u32,
    mask: u64,
    count: u32,
}

/// Makes the kernel fill in checksums before a packet leaves by `port`; segmentation offload goes with it.
///
/// # Errors
/// When the kernel refuses.
pub fn disable_transmit_checksum(namespace: &Namespace, port: &str) -> Result<(), LabError> {
    let name = port.to_owned();
    let set = move || {
        let mut value = EthtoolValue { command: SET_TX_CHECKSUM, data: 0 };
        // SAFETY: this command reads an ethtool_value, which the reference leads to.
        unsafe { request(&name, (&raw mut value).cast()) }.map(drop)
    };
    let failed = |cause| LabError::failed(namespace.name(), format!("checksum offload of {port}"), cause);
    namespace.run(set)?.map_err(failed)
}

/// Switches features on or off, by the names that `ethtool -k` shows for them where they are not grouped.
///
/// # Errors
/// Names a feature that this kernel does not know, or does not let be switched.
pub fn set_features(
    namespace: &Namespace,
    port: &str,
    wanted: &'static [(&'static str, bool)],
) -> Result<(), LabError> {
    let name = port.to_owned();
    let failed = |cause| LabError::failed(namespace.name(), format!("offloads of {port}"), cause);
    namespace.run(move || switch(&name, wanted))?.map_err(failed)
}

fn switch(port: &str, wanted: &[(&str, bool)]) -> io::Result<()> {
    let names = feature_names(port)?;
    // struct ethtool_sfeatures: command, words, and for each 32 features what is meant and what is wanted of it.
    let words = names.len().div_ceil(32);
    let mut features = vec![0; 2 + 2 * words];
    features[0] = SET_FEATURES;
    features[1] = u32::try_from(words).map_err(io::Error::other)?;
    for (feature, on) in wanted {
        let known = names.iter().position(|name| name == feature);
        let bit = known.ok_or_else(|| io::Error::other(format!("this kernel has no feature {feature}")))?;
        features[2 + 2 * (bit / 32)] |= 1 << (bit % 32);
        features[3 + 2 * (bit / 32)] |= u32::from(*on) << (bit % 32);
    }
    // SAFETY: this command reads as many pairs of words as the second word says, which are there.
    match unsafe { request(port, features.as_mut_ptr().cast()) }? {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("the kernel did not set all of {wanted:?}"))),
    }
}

/// Names of all features, in the order of their bits.
fn feature_names(port: &str) -> io::Result<Vec<String>> {
    let mut info = SetInfo { command: GET_SET_INFO, reserved: 0, mask: 1 << FEATURES, count: 0 };
    // SAFETY: this command reads the mask and writes one number for each of its bits: one, for which there is room.
    unsafe { request(port, (&raw mut info).cast()) }?;
    if info.count > MOST_FEATURES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // struct ethtool_gstrings: command, set, number of names, and these.
    let count = info.count as usize;
    let mut strings = vec![0_u32; 3 + count * NAME / size_of::<u32>()];
    strings[..3].copy_from_slice(&[GET_STRINGS, FEATURES, info.count]);
    // SAFETY: this command writes as many names as the set has, and the number of those does not change while a kernel runs.
    unsafe { request(port, strings.as_mut_ptr().cast()) }?;
    let octets: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text =
        |name: &[u8]| String::from_utf8_lossy(name.split(|octet| *octet == 0).next().unwrap_or(name)).into_owned();
    Ok(octets.chunks(NAME).map(text).collect())
}

/// One command of SIOCETHTOOL; what the kernel returned beside errors.
///
/// # Safety
/// `data` leads to what the command reads and writes.
unsafe fn request(port: &str, data: *mut libc::c_char) -> io::Result<i32> {
    if port.len() > INTERFACE_NAME {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("0.0.0.0", 0)))?;
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(port.bytes()) {
        *to = from.cast_signed();
    }
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data } };
    // SAFETY: the request is a whole ifreq with a name ended by zero; the caller vouches for its data, and the kernel keeps no
    // pointer.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}
