// SPDX-License-Identifier: GPL-2.0-or-later
//! Connections within one process, in the place of QUIC, for a bench of more nodes than a machine has sockets for.
//!
//! An address is `/memory/N`, where N is an IPv4 address and a port: what counts addresses counts here as it does over UDP.
//! libp2p's own memory transport shows a listener a random number in the place of the dialler's address, so it cannot do that.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::{BoxFuture, Ready, ready as at_once};
use futures::{AsyncRead, AsyncWrite, FutureExt as _, Stream as _};
use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use tokio::time::Instant;

/// Dials that wait for one listener; those beyond wait with their dialler.
const ARRIVALS: usize = 32;
/// Writes in flight on one connection, each at most a frame of noise (64 KiB).
const PARCELS: usize = 64;
/// First of the ports given to those who ask for any.
const FREE_PORTS: u16 = 49_152;

/// What connects the nodes of one process. Clones are one and the same.
#[derive(Clone, Default)]
pub struct Fabric(Arc<Inner>);

#[derive(Default)]
struct Inner {
    delay: Duration,
    octets: AtomicU64,
    ends: Mutex<Ends>,
}

/// Who listens, and what each has open to others.
#[derive(Default)]
struct Ends {
    listeners: HashMap<SocketAddrV4, mpsc::Sender<(Pipe, SocketAddrV4)>>,
    open: HashMap<SocketAddrV4, Vec<mpsc::Sender<Parcel>>>,
}

impl fmt::Debug for Fabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fabric").field("delay", &self.0.delay).finish_non_exhaustive()
    }
}

impl Fabric {
    /// A fabric through which everything takes `delay`, each way.
    pub fn with_delay(delay: Duration) -> Self {
        Self(Arc::new(Inner { delay, ..Inner::default() }))
    }

    /// Octets sent through it since it was made.
    pub fn octets(&self) -> u64 {
        self.0.octets.load(Ordering::Relaxed)
    }

    /// Ends all connections of the node at an address, as the idle timeout of QUIC does when a peer has died.
    pub fn cut(&self, node: SocketAddrV4) {
        for mut sender in self.ends().open.remove(&node).unwrap_or_default() {
            // Where too much is on its way already, the other side sees an end without this word.
            let _ = sender.try_send(Parcel { octets: Vec::new(), due: Instant::now() });
            sender.close_channel();
        }
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, asked: SocketAddrV4) -> io::Result<(SocketAddrV4, mpsc::Receiver<(Pipe, SocketAddrV4)>)> {
        let mut ends = self.ends();
        let free = |at: &SocketAddrV4| !ends.listeners.contains_key(at);
        let at = match asked.port() {
            0 => (FREE_PORTS..=u16::MAX).map(|port| SocketAddrV4::new(*asked.ip(), port)).find(free),
            _ => Some(asked).filter(free),
        };
        let at = at.filter(|at| !at.ip().is_unspecified()).ok_or(io::ErrorKind::AddrInUse)?;
        let (sender, receiver) = mpsc::channel(ARRIVALS);
        ends.listeners.insert(at, sender);
        Ok((at, receiver))
    }

    /// The two ends of a connection, the dialler's first.
    fn connect(&self, dialler: SocketAddrV4, listener: SocketAddrV4) -> (Pipe, Pipe) {
        let (to_listener, from_dialler) = mpsc::channel(PARCELS);
        let (to_dialler, from_listener) = mpsc::channel(PARCELS);
        let mut ends = self.ends();
        for (node, sender) in [(dialler, &to_listener), (listener, &to_dialler)] {
            let open = ends.open.entry(node).or_default();
            open.retain(|sender| !sender.is_closed());
            open.push(sender.clone());
        }
        let pipe =
            |incoming, outgoing| Pipe { fabric: self.clone(), incoming, outgoing, rest: VecDeque::new(), wait: None };
        (pipe(from_listener, to_listener), pipe(from_dialler, to_dialler))
    }
}

/// The number that stands for an address in `/memory/N`.
pub(super) fn number_of(at: SocketAddrV4) -> u64 {
    u64::from(at.ip().to_bits()) << 16 | u64::from(at.port())
}

/// The address that a number stands for; none of one that stands for none.
pub(super) fn address_of(number: u64) -> Option<SocketAddrV4> {
    let ip = u32::try_from(number >> 16).ok()?;
    let port = u16::try_from(number & u64::from(u16::MAX)).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from_bits(ip), port))
}

fn multiaddr(at: SocketAddrV4) -> Multiaddr {
    Multiaddr::from(Protocol::Memory(number_of(at)))
}

/// The address in a multiaddr that has nothing else but an identity.
fn parse(address: &Multiaddr) -> Option<SocketAddrV4> {
    let mut parts = address.iter();
    let Protocol::Memory(number) = parts.next()? else { return None };
    let ends = matches!((parts.next(), parts.next()), (None | Some(Protocol::P2p(_)), None));
    address_of(number).filter(|_| ends)
}

/// What was written at once, and when it is there. An empty one says that nothing more was heard of the other side.
struct Parcel {
    octets: Vec<u8>,
    due: Instant,
}

/// One end of a connection.
pub(super) struct Pipe {
    fabric: Fabric,
    incoming: mpsc::Receiver<Parcel>,
    outgoing: mpsc::Sender<Parcel>,
    /// What has come and is not read yet.
    rest: VecDeque<u8>,
    /// Until then it is still on its way.
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.rest.is_empty() {
            let Some(parcel) = ready!(Pin::new(&mut self.incoming).poll_next(context)) else {
                return Poll::Ready(Ok(0));
            };
            if parcel.octets.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if parcel.due > Instant::now() {
                self.wait = Some(Box::pin(tokio::time::sleep_until(parcel.due)));
            }
            self.rest = parcel.octets.into();
        }
        if let Some(wait) = &mut self.wait {
            ready!(wait.poll_unpin(context));
            self.wait = None;
        }
        Poll::Ready(io::Read::read(&mut self.rest, buffer))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let broken = |_| io::Error::new(io::ErrorKind::BrokenPipe, "closed by peer");
        ready!(self.outgoing.poll_ready(context)).map_err(broken)?;
        let parcel = Parcel { octets: buffer.to_vec(), due: Instant::now() + self.fabric.0.delay };
        self.outgoing.start_send(parcel).map_err(broken)?;
        self.fabric.0.octets.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close_channel();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // The fabric has another sender, which would keep the channel open.
        self.outgoing.close_channel();
    }
}

/// A node's access to the fabric.
pub(super) struct FabricTransport {
    fabric: Fabric,
    listeners: Vec<Listener>,
}

struct Listener {
    id: ListenerId,
    at: SocketAddrV4,
    arrivals: mpsc::Receiver<(Pipe, SocketAddrV4)>,
    is_announced: bool,
}

impl FabricTransport {
    pub(super) fn new(fabric: Fabric) -> Self {
        Self { fabric, listeners: Vec::new() }
    }

    fn close(&mut self, at: SocketAddrV4) {
        self.fabric.ends().listeners.remove(&at);
    }
}

impl Drop for FabricTransport {
    fn drop(&mut self) {
        for listener in std::mem::take(&mut self.listeners) {
            self.close(listener.at);
        }
    }
}

type Arrival = TransportEvent<Ready<io::Result<Pipe>>, io::Error>;

impl Transport for FabricTransport {
    type Output = Pipe;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Pipe>>;
    type Dial = BoxFuture<'static, io::Result<Pipe>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let asked = parse(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        let (at, arrivals) = self.fabric.listen(asked).map_err(TransportError::Other)?;
        self.listeners.push(Listener { id, at, arrivals, is_announced: false });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(index) = self.listeners.iter().position(|listener| listener.id == id) else { return false };
        let listener = self.listeners.remove(index);
        self.close(listener.at);
        true
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let to = parse(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        let nowhere = || TransportError::Other(io::ErrorKind::ConnectionRefused.into());
        let own = self.listeners.first().map(|listener| listener.at).ok_or_else(nowhere)?;
        let mut arrivals = self.fabric.ends().listeners.get(&to).cloned().ok_or_else(nowhere)?;
        let (here, there) = self.fabric.connect(own, to);
        let dial = async move {
            let sent = futures::SinkExt::send(&mut arrivals, (there, own)).await;
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(here)
        };
        Ok(dial.boxed())
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Arrival> {
        for listener in &mut self.listeners {
            if !std::mem::replace(&mut listener.is_announced, true) {
                let (listener_id, listen_addr) = (listener.id, multiaddr(listener.at));
                return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr });
            }
            if let Poll::Ready(Some((pipe, from))) = Pin::new(&mut listener.arrivals).poll_next(context) {
                return Poll::Ready(TransportEvent::Incoming {
                    listener_id: listener.id,
                    upgrade: at_once(Ok(pipe)),
                    local_addr: multiaddr(listener.at),
                    send_back_addr: multiaddr(from),
                });
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn at(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 1, last, 1), 43_420)
    }

    #[test]
    fn a_number_is_an_address_and_a_port() {
        assert_eq!(address_of(number_of(at(7))), Some(at(7)));
        assert_eq!(address_of(u64::MAX), None);
        assert_eq!(parse(&multiaddr(at(7))), Some(at(7)));
    }

    #[tokio::test]
    async fn what_is_written_comes_whole_after_the_delay() {
        let fabric = Fabric::with_delay(Duration::from_millis(20));
        let (mut near, mut far) = fabric.connect(at(1), at(2));
        let begun = Instant::now();
        near.write_all(b"hello").await.unwrap();
        let mut read = [0; 2];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"he");
        assert!(begun.elapsed() >= Duration::from_millis(20));
        drop(near);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!((rest.as_slice(), fabric.octets()), (&b"llo"[..], 5));
    }

    #[tokio::test]
    async fn a_node_that_is_cut_off_reaches_nobody_and_nobody_it() {
        let fabric = Fabric::default();
        let (mut near, mut far) = fabric.connect(at(1), at(2));
        fabric.cut(at(1));
        assert!(near.write_all(b"x").await.is_err());
        assert_eq!(far.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
