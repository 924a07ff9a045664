// SPDX-License-Identifier: GPL-2.0-or-later
//! Datagrams that leave: many a system call, and those of one size to one receiver as one packet that is divided as late as can be
//! (`UDP_SEGMENT`, udp(7)). Who asks for much at a time is answered so, and each answer but the first costs the system less than half.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, getsockopt, sendmmsg, sendmsg, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::wildcard::{self, Source};
use super::{AT_ONCE, Listening};

/// The longest datagram that leaves together with others: what fits into one packet on every link of IPv6 (RFC 8200, section 5). Longer
/// ones may have to be fragmented, which those that are divided are not.
const SEGMENT: usize = 1280 - 40 - 8;

/// A datagram that is to leave.
pub(super) struct Leaving {
    /// From this address, where the socket has several.
    pub(super) from: Option<IpAddr>,
    pub(super) remote: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// Whether the system can divide what leaves a socket (Linux 4.18): an older one takes no notice, and sends all as one datagram.
pub(super) fn can_divide(socket: &UdpSocket) -> bool {
    getsockopt(socket, sockopt::UdpGsoSegment).is_ok()
}

/// Sends datagrams, those to one receiver in order; those that the system refuses are left out.
pub(super) async fn send_all(listening: &Listening, mut leaving: &[Leaving]) {
    let socket = &listening.socket;
    while let Some(Leaving { from, remote, bytes }) = leaving.first() {
        let alike = if listening.divides { alike(leaving) } else { 1 };
        let sent = match (leaving, from) {
            ([_], None) => socket.send_to(bytes, *remote).await.map(|_| 1),
            _ => socket.async_io(Interest::WRITABLE, || send_some(socket, leaving, alike)).await,
        };
        let sent = match sent {
            // Better from another address than not at all.
            Err(error) if from.is_some() && wildcard::is_gone(&error) => {
                socket.send_to(bytes, *remote).await.map(|_| 1)
            }
            sent => sent,
        };
        let done = sent.unwrap_or_else(|error| {
            tracing::debug!(%remote, %error, "cannot send");
            1
        });
        leaving = leaving.get(done.max(1)..).unwrap_or_default();
    }
}

/// How many of the first can leave as one: to one receiver from one address, and all of one length but the last, which may be shorter.
fn alike(leaving: &[Leaving]) -> usize {
    let Some(first) = leaving.first().filter(|first| (1..=SEGMENT).contains(&first.bytes.len())) else { return 1 };
    let length = first.bytes.len();
    let is_alike = |other: &&Leaving| other.remote == first.remote && other.from == first.from;
    let same = |other: &&Leaving| is_alike(other) && other.bytes.len() == length;
    let count = leaving.iter().take(AT_ONCE).take_while(same).count();
    let is_last = |last: &Leaving| is_alike(&last) && (1..length).contains(&last.bytes.len());
    count + usize::from(count < AT_ONCE && leaving.get(count).is_some_and(is_last))
}

/// One system call; how many it took: the first ones that are alike as one packet, else of those that leave from the same address.
fn send_some(socket: &UdpSocket, leaving: &[Leaving], alike: usize) -> io::Result<usize> {
    if alike > 1 {
        match send_as_one(socket, &leaving[..alike]) {
            // On a way that divides nothing (a narrow link, IPsec) they leave one by one.
            Err(error) if error.kind() != ErrorKind::WouldBlock => tracing::trace!(%error, "not sent as one"),
            sent => return sent,
        }
    }
    send_many(socket, leaving)
}

/// Those that are alike, as one packet that the system divides.
fn send_as_one(socket: &UdpSocket, alike: &[Leaving]) -> io::Result<usize> {
    let Some(first) = alike.first() else { return Ok(0) };
    let length = u16::try_from(first.bytes.len()).map_err(io::Error::other)?;
    let source = first.from.map(Source::new);
    let divided = ControlMessage::UdpGsoSegments(&length);
    let messages: Vec<_> = source.as_ref().map(Source::message).into_iter().chain([divided]).collect();
    let parts: Vec<IoSlice<'_>> = alike.iter().map(|one| IoSlice::new(&one.bytes)).collect();
    let remote = SockaddrStorage::from(first.remote);
    sendmsg(socket.as_raw_fd(), &parts, &messages, MsgFlags::MSG_DONTWAIT, Some(&remote))?;
    Ok(alike.len())
}

/// Those that leave from the same address, each as it is.
fn send_many(socket: &UdpSocket, leaving: &[Leaving]) -> io::Result<usize> {
    let from = leaving.first().and_then(|first| first.from);
    let count = leaving.iter().take(AT_ONCE).take_while(|other| other.from == from).count();
    let leaving = &leaving[..count];
    let source = from.map(Source::new);
    let (room, message) = (source.as_ref().map(Source::room), source.as_ref().map(Source::message));
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(count, room);
    let parts: Vec<[IoSlice<'_>; 1]> = leaving.iter().map(|one| [IoSlice::new(&one.bytes)]).collect();
    let remotes: Vec<Option<SockaddrStorage>> = leaving.iter().map(|one| Some(one.remote.into())).collect();
    match sendmmsg(socket.as_raw_fd(), &mut headers, &parts, &remotes, message.as_slice(), MsgFlags::MSG_DONTWAIT) {
        Ok(sent) => Ok(sent.count()),
        Err(error) => Err(io::Error::from(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_that_are_alike_leave_with_one_call_and_come_each_by_itself() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let [socket, peer] = [(); 2].map(|()| std::net::UdpSocket::bind(local).unwrap());
            let leaving = |from: Option<IpAddr>, length: usize| {
                let remote = peer.local_addr().unwrap();
                Leaving { from, remote, bytes: vec![u8::try_from(length).unwrap(); length] }
            };
            socket.set_nonblocking(true).unwrap();
            let (own, socket) = (socket.local_addr().unwrap().ip(), UdpSocket::from_std(socket).unwrap());
            for from in [None, Some(own)] {
                let mut all: Vec<Leaving> = [90, 90, 90, 40, 90].map(|length| leaving(from, length)).into();
                assert_eq!(alike(&all), 4, "the last one may be shorter");
                assert_eq!(send_as_one(&socket, &all[..4]).unwrap(), 4);
                for length in [90, 90, 90, 40] {
                    assert_eq!(peer.recv_from(&mut [0; 200]).unwrap().0, length);
                }
                all[1].bytes.clear();
                assert_eq!(alike(&all), 1, "an empty one would vanish");
                all[1] = leaving(from, 91);
                assert_eq!(alike(&all), 1, "and one that is longer would be two");
            }
        }
    }
}
