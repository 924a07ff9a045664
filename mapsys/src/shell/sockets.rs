// SPDX-License-Identifier: GPL-2.0-or-later
//! UDP sockets of `lisp-mapsys`: answers leave from the address that was asked; many datagrams a system call where many wait.

pub(super) mod changes;
mod leaving;
mod wildcard;

use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use anyhow::Context as _;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::service::FromService;
use crate::limits::MESSAGE_OCTETS;
use crate::transport::unspecified;
use leaving::{Leaving, send_all};
use wildcard::Faces;

pub use wildcard::addresses;
pub(super) use wildcard::{leading_to, own, tellable};

/// Octets that are read of a datagram: one more than of the longest message that is taken, so that a longer one is seen to be so.
const DATAGRAM: usize = MESSAGE_OCTETS + 1;
/// Datagrams of one system call, at 8 kB each.
const AT_ONCE: usize = 32;
/// The same of the first call after a pause: seldom more than one waits, and the headers are made anew for each call.
const AT_FIRST: usize = 16;
/// Octets that the system holds for us while we sign or write: about 10,000 requests.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A socket that is bound.
#[derive(Debug)]
pub struct Listening {
    socket: UdpSocket,
    /// Of one that listens on all addresses of a family: which of them are used.
    faces: Option<Faces>,
    /// Whether the system divides what leaves as one.
    divides: bool,
}

impl Listening {
    /// What it is bound to.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Binds an address.
///
/// # Errors
/// When the system refuses; names the address.
pub fn bind(address: SocketAddr) -> anyhow::Result<Arc<Listening>> {
    let open = || -> io::Result<Listening> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let faces = address.ip().is_unspecified().then(|| Faces::of(&socket, address)).transpose()?;
        let divides = leaving::can_divide(&socket);
        Ok(Listening { socket, faces, divides })
    };
    Ok(Arc::new(open().with_context(|| format!("cannot listen on UDP {address}"))?))
}

/// Hands every datagram to `take`, with our address that it came to, until the socket fails for good.
pub async fn receive(
    listening: Arc<Listening>,
    local: SocketAddr,
    mut take: impl FnMut(SocketAddr, SocketAddr, Vec<u8>),
) {
    let Listening { socket, faces, .. } = &*listening;
    let mut room = Room::new();
    loop {
        let taken = match socket.readable().await {
            Ok(()) => socket.try_io(Interest::READABLE, || room.receive(socket, faces.is_some())),
            Err(error) => Err(error),
        };
        for (index, Came { length, remote, at }) in room.came.drain(..).enumerate() {
            let begin = index * DATAGRAM;
            let local = at.map_or(local, |at| SocketAddr::new(at, local.port()));
            take(local, remote, room.octets[begin..begin + length.min(DATAGRAM)].to_vec());
        }
        match taken {
            // More wait, and those who handle what came run in this thread too.
            Ok(()) => tokio::task::yield_now().await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::trace!(%local, %error, "receive");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Room for what one system call receives.
struct Room {
    octets: Vec<u8>,
    came: Vec<Came>,
    /// How many the next call takes.
    count: usize,
}

/// What one datagram is.
struct Came {
    length: usize,
    remote: SocketAddr,
    /// Our address, where that is asked.
    at: Option<IpAddr>,
}

impl Room {
    fn new() -> Self {
        Self { octets: vec![0; AT_ONCE * DATAGRAM], came: Vec::with_capacity(AT_ONCE), count: AT_FIRST }
    }

    /// Takes what waits; asks to which address it came, where there are several. If there was room for more it is `WouldBlock`,
    /// though something may have come: nothing waits any more, the system tells of what comes from now on, and need not be asked in
    /// vain. (A socket that is not connected keeps no error that would end the call before its time.)
    fn receive(&mut self, socket: &UdpSocket, is_open: bool) -> io::Result<()> {
        let Self { octets, came, count } = self;
        let room = std::mem::replace(count, AT_FIRST);
        came.clear();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(room, is_open.then(wildcard::room));
        let mut parts: Vec<[IoSliceMut<'_>; 1]> =
            octets.chunks_exact_mut(DATAGRAM).take(room).map(|octets| [IoSliceMut::new(octets)]).collect();
        let messages = recvmmsg(socket.as_raw_fd(), &mut headers, &mut parts, MsgFlags::MSG_DONTWAIT, None)?;
        came.extend(messages.map(|message| {
            // A datagram without a sender that could be answered is none for us: nothing is sent to port 0.
            let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
            let remote = message.address.as_ref().and_then(remote_of).unwrap_or(nobody);
            let at = if is_open { wildcard::asked_at(&message) } else { None };
            Came { length: message.bytes, remote, at }
        }));
        if came.len() < room {
            return Err(ErrorKind::WouldBlock.into());
        }
        *count = AT_ONCE;
        Ok(())
    }
}

fn remote_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()))
}

/// Sends what comes out of the service, until it ends.
pub async fn send(mut outputs: mpsc::Receiver<FromService>, bound: HashMap<SocketAddr, Arc<Listening>>) {
    let mut at_once = Vec::with_capacity(AT_ONCE);
    let mut leaving: HashMap<SocketAddr, Vec<Leaving>> = bound.keys().map(|local| (*local, Vec::new())).collect();
    while outputs.recv_many(&mut at_once, AT_ONCE).await > 0 {
        for output in at_once.drain(..) {
            if let FromService::Proven { local, remote } = output {
                let faces = socket_of(&bound, local).and_then(|(_, listening)| listening.faces.as_ref());
                faces.into_iter().for_each(|faces| faces.note(remote.ip(), local.ip()));
                continue;
            }
            // Nobody registers through the pipe here.
            if let FromService::Send { local, remote, bytes } = output
                && let Some((bound_to, listening)) = socket_of(&bound, local)
                && let Some(leaving) = leaving.get_mut(&bound_to)
            {
                let from = listening.faces.as_ref().and_then(|faces| faces.towards(local, remote.ip()));
                leaving.push(Leaving { from, remote, bytes });
            }
        }
        for (local, leaving) in &mut leaving {
            if let Some(listening) = bound.get(local) {
                send_all(listening, leaving).await;
            }
            leaving.clear();
        }
    }
}

/// The socket that has an address: the one that is bound to it, or to all of its family.
fn socket_of(bound: &HashMap<SocketAddr, Arc<Listening>>, local: SocketAddr) -> Option<(SocketAddr, &Listening)> {
    [local, unspecified(local)].into_iter().find_map(|local| Some((local, &**bound.get(&local)?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;
    use std::sync::Mutex;
    use std::time::Duration;

    use nix::sched::{CloneFlags, unshare};

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

    /// Datagrams to two peers in turns of so many, of these lengths: each comes whole and in order.
    async fn send_in_turns(local: IpAddr, lengths: &[usize], turn: usize) {
        let socket = bind(SocketAddr::new(local, 0)).unwrap();
        assert!(socket.divides, "each kernel from Linux 4.18 on does");
        let local = socket.local_addr().unwrap();
        let peers = [0, 1].map(|_| std::net::UdpSocket::bind((local.ip(), 0)).unwrap());
        let datagrams: Vec<(usize, Vec<u8>)> =
            (0_u8..).zip(lengths).map(|(n, length)| (usize::from(n) / turn % 2, vec![n; *length])).collect();
        let (outputs, ends) = mpsc::channel(256);
        for (peer, bytes) in &datagrams {
            let (remote, bytes) = (peers[*peer].local_addr().unwrap(), bytes.clone());
            outputs.send(FromService::Send { local, remote, bytes }).await.unwrap();
        }
        drop(outputs);
        send(ends, HashMap::from([(local, socket)])).await;
        let mut buffer = [0; 2048];
        for (peer, bytes) in &datagrams {
            peers[*peer].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            assert_eq!(peers[*peer].recv_from(&mut buffer).unwrap(), (bytes.len(), local));
            assert_eq!(buffer[..bytes.len()], *bytes);
        }
    }

    #[tokio::test]
    async fn answers_of_one_length_to_one_peer_come_each_by_itself() {
        for local in ["127.0.0.1", "::1"].map(|local| local.parse().unwrap()) {
            for turn in [1, 3, 100] {
                let lengths = [[100; 20].as_slice(), &[90, 100, 100, 110, 110, 1, 1300, 1300, 1300, 1]].concat();
                send_in_turns(local, &lengths, turn).await;
            }
        }
    }

    /// Where the way is too narrow for one of them the system divides nothing, and fragments.
    #[test]
    fn answers_of_one_length_come_by_a_narrow_way_too() {
        in_namespace(&["link set lo up mtu 600"], || send_in_turns(IpAddr::from([127, 0, 0, 1]), &[900; 40], 20));
    }

    /// Runs what `work` gives in a network namespace after these commands of `ip`. The namespace is of one thread, and goes with it.
    fn in_namespace<F: Future<Output = ()>>(commands: &'static [&str], work: impl FnOnce() -> F + Send + 'static) {
        let run = move || {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no network namespace: {error}");
                println!("SKIP: no network namespace: {error}");
                return;
            }
            for command in commands {
                assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success(), "ip {command}");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work());
        };
        std::thread::spawn(run).join().unwrap();
    }

    /// Peers at these addresses ask a socket on all addresses, each at one of them.
    async fn ask_at_both(faces: [IpAddr; 2], gone: IpAddr) {
        let open = bind(unspecified(SocketAddr::new(gone, 0))).unwrap();
        let local = open.local_addr().unwrap();
        let peers = faces.map(|face| std::net::UdpSocket::bind((face, 0)).unwrap());
        // Each asks the other's address, which the system would not take by itself.
        let faces = [faces[1], faces[0]].map(|face| SocketAddr::new(face, local.port()));
        let came = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&came);
        let task = tokio::spawn(receive(Arc::clone(&open), local, move |at, remote, _| {
            seen.lock().unwrap().push((at, remote));
        }));
        for (peer, face) in peers.iter().zip(faces) {
            for _ in 0..40 {
                peer.send_to(b"?", face).unwrap();
            }
        }
        let started = std::time::Instant::now();
        while came.lock().unwrap().len() < 80 {
            assert!(started.elapsed() < Duration::from_secs(30), "of 80 came {}", came.lock().unwrap().len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        task.abort();
        let came = std::mem::take(&mut *came.lock().unwrap());
        for (peer, face) in peers.iter().zip(faces) {
            let peer = peer.local_addr().unwrap();
            assert!(came.iter().all(|(at, remote)| (*remote == peer) == (*at == face)), "{came:?}");
        }

        let (outputs, ends) = mpsc::channel(512);
        // Who only asked has not said from where he wants what comes later: his source may be made up.
        for peer in &peers {
            let remote = peer.local_addr().unwrap();
            outputs.send(FromService::Send { local, remote, bytes: vec![3] }).await.unwrap();
        }
        for (local, remote) in came.iter().copied() {
            outputs.try_send(FromService::Proven { local, remote }).unwrap();
        }
        // Answers, what nobody asked for, and what is to leave from an address that this machine does not have.
        for (local, remote) in came.iter().copied().chain(came.iter().map(|(_, remote)| (local, *remote))) {
            outputs.send(FromService::Send { local, remote, bytes: vec![1] }).await.unwrap();
        }
        for peer in &peers {
            let (local, remote) = (SocketAddr::new(gone, local.port()), peer.local_addr().unwrap());
            outputs.send(FromService::Send { local, remote, bytes: vec![2] }).await.unwrap();
        }
        drop(outputs);
        send(ends, HashMap::from([(local, open)])).await;
        let mut buffer = [0; 16];
        for (peer, face) in peers.iter().zip(faces) {
            let (_, from) = peer.recv_from(&mut buffer).unwrap();
            assert!(buffer[0] == 3 && from != face, "{from}");
            for _ in 0..80 {
                assert_eq!(peer.recv_from(&mut buffer).unwrap(), (1, face));
            }
            let (_, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((buffer[0], from.port()), (2, local.port()));
        }
    }

    #[tokio::test]
    async fn a_socket_on_all_addresses_answers_from_the_one_that_was_asked_and_tells_later_from_the_one_that_was_used_last()
     {
        let faces = ["127.0.8.4", "127.0.8.5"].map(|face| face.parse().unwrap());
        ask_at_both(faces, "192.0.2.77".parse().unwrap()).await;
    }

    /// Waits until the kernel delivers packets to an address of ours: the local route of an IPv6 one is added in background.
    fn await_address(address: IpAddr) {
        let socket = std::net::UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (itself, started) = (socket.local_addr().unwrap(), std::time::Instant::now());
        while socket.send_to(&[0], itself).is_err() || socket.recv(&mut [0]).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "{address} is not reached");
        }
    }

    /// In a network namespace, since loopback has one IPv6 address.
    #[test]
    fn the_same_of_ipv6() {
        const COMMANDS: [&str; 3] =
            ["link set lo up", "address add fd00:7::1/128 dev lo nodad", "address add fd00:7::2/128 dev lo nodad"];
        in_namespace(&COMMANDS, || {
            let faces = ["fd00:7::1", "fd00:7::2"].map(|face| face.parse().unwrap());
            faces.into_iter().for_each(await_address);
            ask_at_both(faces, "fd00:7::3".parse().unwrap())
        });
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
