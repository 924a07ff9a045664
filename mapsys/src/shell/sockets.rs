// SPDX-License-Identifier: GPL-2.0-or-later
//! UDP sockets of `lisp-mapsys`: one an address, so that answers leave from the address that was asked; many datagrams a system
//! call where many wait.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use anyhow::Context as _;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::service::FromService;
use crate::limits::MESSAGE_OCTETS;

/// Octets that are read of a datagram: one more than of the longest message that is taken, so that a longer one is seen to be so.
const DATAGRAM: usize = MESSAGE_OCTETS + 1;
/// Datagrams of one system call, at 8 kB each.
const AT_ONCE: usize = 32;
/// Octets that the system holds for us while we sign or write: about 10,000 requests.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Binds an address.
///
/// # Errors
/// When the system refuses; names the address.
pub fn bind(address: SocketAddr) -> anyhow::Result<Arc<UdpSocket>> {
    let open = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    };
    Ok(Arc::new(open().with_context(|| format!("cannot listen on UDP {address}"))?))
}

/// Hands every datagram to `take` until the socket fails for good.
pub async fn receive(socket: Arc<UdpSocket>, local: SocketAddr, mut take: impl FnMut(SocketAddr, SocketAddr, Vec<u8>)) {
    let mut room = Room { octets: vec![0; AT_ONCE * DATAGRAM], came: Vec::with_capacity(AT_ONCE) };
    loop {
        // One that comes alone, as most do, needs no headers for many.
        match socket.recv_from(&mut room.octets).await {
            Ok((length, remote)) => take(local, remote, room.octets[..length.min(DATAGRAM)].to_vec()),
            // ICMP errors of earlier datagrams come up here; they end nothing.
            Err(error) => {
                tracing::trace!(%local, %error, "receive");
                continue;
            }
        }
        while let Ok(()) = socket.try_io(Interest::READABLE, || room.receive(&socket)) {
            for (index, (length, remote)) in room.came.iter().enumerate() {
                let begin = index * DATAGRAM;
                take(local, *remote, room.octets[begin..begin + length.min(&DATAGRAM)].to_vec());
            }
            // Those who handle what came run in this thread too.
            tokio::task::yield_now().await;
        }
    }
}

/// Room for what one system call receives.
struct Room {
    octets: Vec<u8>,
    came: Vec<(usize, SocketAddr)>,
}

impl Room {
    /// Takes what waits.
    fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.came.clear();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(AT_ONCE, None);
        let mut parts: Vec<[IoSliceMut<'_>; 1]> =
            self.octets.chunks_exact_mut(DATAGRAM).map(|octets| [IoSliceMut::new(octets)]).collect();
        let came = recvmmsg(socket.as_raw_fd(), &mut headers, &mut parts, MsgFlags::MSG_DONTWAIT, None)?;
        self.came.extend(came.map(|message| {
            // A datagram without a sender that could be answered is none for us: nothing is sent to port 0.
            let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
            (message.bytes, message.address.as_ref().and_then(remote_of).unwrap_or(nobody))
        }));
        Ok(())
    }
}

fn remote_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()))
}

/// A datagram that is to leave.
type Leaving = (SocketAddr, Vec<u8>);

/// Sends what comes out of the service, until it ends.
pub async fn send(mut outputs: mpsc::Receiver<FromService>, bound: HashMap<SocketAddr, Arc<UdpSocket>>) {
    let mut at_once = Vec::with_capacity(AT_ONCE);
    let mut leaving: HashMap<SocketAddr, Vec<Leaving>> = bound.keys().map(|local| (*local, Vec::new())).collect();
    while outputs.recv_many(&mut at_once, AT_ONCE).await > 0 {
        for output in at_once.drain(..) {
            // Nobody registers through the pipe here.
            if let FromService::Send { local, remote, bytes } = output
                && let Some(leaving) = leaving.get_mut(&local)
            {
                leaving.push((remote, bytes));
            }
        }
        for (local, leaving) in &mut leaving {
            if let Some(socket) = bound.get(local) {
                send_all(socket, leaving).await;
            }
            leaving.clear();
        }
    }
}

/// Sends datagrams in order; those that the system refuses are left out.
async fn send_all(socket: &UdpSocket, mut leaving: &[Leaving]) {
    while let Some((remote, bytes)) = leaving.first() {
        let sent = match leaving {
            [_] => socket.send_to(bytes, *remote).await.map(|_| 1),
            _ => socket.async_io(Interest::WRITABLE, || send_many(socket, leaving)).await,
        };
        let done = sent.unwrap_or_else(|error| {
            tracing::debug!(%remote, %error, "cannot send");
            1
        });
        leaving = leaving.get(done.max(1)..).unwrap_or_default();
    }
}

/// One system call; how many it took.
fn send_many(socket: &UdpSocket, leaving: &[Leaving]) -> io::Result<usize> {
    let leaving = &leaving[..leaving.len().min(AT_ONCE)];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(leaving.len(), None);
    let parts: Vec<[IoSlice<'_>; 1]> = leaving.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
    let remotes: Vec<Option<SockaddrStorage>> = leaving.iter().map(|(remote, _)| Some((*remote).into())).collect();
    match sendmmsg(socket.as_raw_fd(), &mut headers, &parts, &remotes, [], MsgFlags::MSG_DONTWAIT) {
        Ok(sent) => Ok(sent.count()),
        Err(error) => Err(io::Error::from(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn many_datagrams_come_whole_in_order_and_with_their_senders_and_go_to_whom_they_are_for() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = bind(address.parse().unwrap()).unwrap();
            let local = socket.local_addr().unwrap();
            let peers = [0, 1].map(|_| std::net::UdpSocket::bind(address).unwrap());
            let came = Arc::new(Mutex::new(Vec::new()));
            for n in 0..100_u8 {
                peers[usize::from(n % 2)].send_to(&vec![n; 100 + usize::from(n)], local).unwrap();
            }
            peers[0].send_to(&vec![100; 20_000], local).unwrap();
            let seen = Arc::clone(&came);
            let task = tokio::spawn(receive(Arc::clone(&socket), local, move |at, remote, bytes| {
                assert_eq!(at, local);
                seen.lock().unwrap().push((remote, bytes));
            }));
            while came.lock().unwrap().len() < 101 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            task.abort();
            let came = std::mem::take(&mut *came.lock().unwrap());
            for (n, (remote, bytes)) in (0_u8..).zip(&came[..100]) {
                assert_eq!(*remote, peers[usize::from(n % 2)].local_addr().unwrap());
                assert_eq!(*bytes, vec![n; 100 + usize::from(n)]);
            }
            assert_eq!(came[100].1.len(), DATAGRAM, "what is too long is still longer than what is taken");

            let (outputs, ends) = mpsc::channel(256);
            for (remote, bytes) in &came[..100] {
                let (remote, bytes) = (*remote, bytes.clone());
                outputs.send(FromService::Send { local, remote, bytes }).await.unwrap();
            }
            // Nothing can be sent there; the others are sent all the same.
            let nowhere = FromService::Send { local, remote: SocketAddr::new(local.ip(), 0), bytes: vec![1] };
            outputs.send(nowhere).await.unwrap();
            let last = FromService::Send { local, remote: peers[0].local_addr().unwrap(), bytes: vec![9] };
            outputs.send(last).await.unwrap();
            drop(outputs);
            send(ends, HashMap::from([(local, socket)])).await;
            let mut buffer = [0; 512];
            for n in (0..100_u8).step_by(2) {
                assert_eq!(peers[0].recv_from(&mut buffer).unwrap(), (100 + usize::from(n), local));
                assert_eq!(buffer[0], n);
            }
            assert_eq!(peers[0].recv_from(&mut buffer).unwrap(), (1, local));
        }
    }

    #[test]
    fn a_socket_that_is_taken_is_an_error_that_names_it() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let error = runtime.block_on(async { bind(address) }).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert_eq!(error.downcast_ref::<io::Error>().map(io::Error::kind), Some(ErrorKind::AddrInUse));
    }
}
