// SPDX-License-Identifier: GPL-2.0-or-later
//! UDP sockets of `lisp-mapsys`: one an address, so that answers leave from the address that was asked.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Longest UDP payload.
const DATAGRAM: usize = 65_535;

/// Octets that the system holds for us while we sign or write: about 10,000 requests.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Binds an address.
///
/// # Errors
/// When the system refuses; names the address.
pub fn bind(address: SocketAddr) -> anyhow::Result<Arc<UdpSocket>> {
    let open = || -> std::io::Result<UdpSocket> {
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
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, remote)) => take(local, remote, buffer[..length].to_vec()),
            // ICMP errors of earlier datagrams come up here; they end nothing.
            Err(error) => tracing::trace!(%local, %error, "receive"),
        }
    }
}
