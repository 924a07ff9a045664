// SPDX-License-Identifier: GPL-2.0-or-later
//! Many datagrams a system call, so that who sends and who counts take little of a machine that they share with what they measure.

#![allow(unsafe_code, reason = "sendmmsg and recvmmsg")]

use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// Datagrams in one call.
pub const BATCH: usize = 64;
/// Octets of a datagram that are looked at.
const OCTETS: usize = 256;

/// Sends the same payload `count` times, at most [`BATCH`], on a connected socket; how many were taken.
///
/// # Errors
/// What the kernel says of the first.
pub fn send(socket: &UdpSocket, payload: &[u8], count: usize) -> io::Result<usize> {
    // SAFETY: mmsghdr is plain data, for which all zero octets are a value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    for header in &mut headers {
        header.msg_hdr.msg_iov = &raw mut part;
        header.msg_hdr.msg_iovlen = 1;
    }
    let count = u32::try_from(count.min(BATCH)).unwrap_or_default();
    // SAFETY: each of the first `count` headers leads to `part`, which leads to octets that are only read.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Room for what one call receives.
#[derive(Debug)]
pub struct Counter {
    octets: Vec<[u8; OCTETS]>,
}

impl Default for Counter {
    fn default() -> Self {
        Self { octets: vec![[0; OCTETS]; BATCH] }
    }
}

impl Counter {
    /// Waits for a datagram as long as the socket says, takes those that are there with it, and tells how many are this payload.
    ///
    /// # Errors
    /// What the kernel says: among it that the time was over.
    pub fn receive(&mut self, socket: &UdpSocket, payload: &[u8]) -> io::Result<usize> {
        // SAFETY: iovec and mmsghdr are plain data, for which all zero octets are a value.
        let (mut parts, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) = unsafe { mem::zeroed() };
        for (index, octets) in self.octets.iter_mut().enumerate() {
            parts[index] = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: OCTETS };
            headers[index].msg_hdr.msg_iov = &raw mut parts[index];
            headers[index].msg_hdr.msg_iovlen = 1;
        }
        let (fd, none) = (socket.as_raw_fd(), std::ptr::null_mut());
        let count = u32::try_from(BATCH).unwrap_or_default();
        // SAFETY: the pointers in the headers are to octets of ours, of the lengths beside them.
        let count = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_WAITFORONE as _, none) };
        let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
        let came = headers[..count].iter().zip(&self.octets);
        Ok(came.filter(|(header, octets)| octets.get(..header.msg_len as usize) == Some(payload)).count())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_counted_and_nothing_else_is() {
        let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        receiver.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        assert_eq!(send(&sender, b"one of ours", 5).unwrap(), 5);
        sender.send(b"one of theirs").unwrap();
        sender.send(&[0; OCTETS + 1]).unwrap();
        let mut counter = Counter::default();
        assert_eq!(counter.receive(&receiver, b"one of ours").unwrap(), 5);
        assert!(counter.receive(&receiver, b"one of ours").is_err(), "all were taken");
    }
}
