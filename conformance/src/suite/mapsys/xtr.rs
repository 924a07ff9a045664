// SPDX-License-Identifier: GPL-2.0-or-later
//! ITRs and ETRs of the suites: sockets that say what an xTR says, and hear what it is told.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use wire::control::auth::{self, AuthKey};
use wire::control::{ControlMessage, Ecm, MapNotify, MapRegister, MapReply, MapRequest, Nonce};

use super::message::{sealed, told};
use crate::exchange;
use crate::suite::probe::{Fault, broken, missing};

/// An answer of this machine comes in less, also where much else runs on it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest datagram.
const DATAGRAM: usize = 65_536;

/// Datagrams that are taken at once; whoever sends more floods.
const MOST: usize = 4096;

/// Until when a check may wait; our own map system is trusted to answer.
#[derive(Default)]
pub(super) struct Clock {
    until: Cell<Option<Instant>>,
    process: Cell<Option<u32>>,
    patience: Cell<Option<Duration>>,
}

/// How often one looks whether a target has ended that is waited for.
const LOOK: Duration = Duration::from_millis(200);

impl Clock {
    pub(super) fn set(&self, until: Option<Instant>) {
        self.until.set(until);
    }

    /// The process that answers, if it is a child of this one.
    pub(super) fn watch(&self, process: Option<u32>) {
        self.process.set(process);
    }

    /// How long an answer may take, if not as long as one of this machine.
    pub(super) fn bear(&self, patience: Duration) {
        self.patience.set(Some(patience));
    }

    /// Nobody is there any more who could answer.
    fn is_vain(&self) -> bool {
        self.process.get().is_some_and(|id| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // Its state follows its name; one that has ended is a zombie until it is asked how.
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
        })
    }

    /// No longer than this, nor than the check may wait.
    fn within(&self, patience: Duration) -> Result<Duration, Fault> {
        let left =
            self.until.get().map_or(patience, |until| until.saturating_duration_since(Instant::now()).min(patience));
        // A socket takes no time of zero.
        if left.is_zero() { Err(broken("the time of a check is over: the target is too slow")) } else { Ok(left) }
    }
}

/// An ITR or ETR at an address of its own.
pub(in crate::suite) struct Xtr {
    socket: UdpSocket,
    clock: Rc<Clock>,
    /// Its address.
    pub(in crate::suite) address: SocketAddr,
}

/// A datagram that came.
pub(in crate::suite) struct Came {
    pub(in crate::suite) from: SocketAddr,
    pub(in crate::suite) bytes: Vec<u8>,
}

impl Xtr {
    pub(super) fn at(address: SocketAddr) -> Result<Self, Fault> {
        let socket = UdpSocket::bind(address).map_err(|error| missing(format!("{address}: {error}")))?;
        Self::of(socket, Rc::default())
    }

    pub(super) fn of(socket: UdpSocket, clock: Rc<Clock>) -> Result<Self, Fault> {
        let address = socket.local_addr().map_err(missing)?;
        Ok(Self { socket, clock, address })
    }

    pub(in crate::suite) fn send(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), Fault> {
        exchange::sent(&self.socket, to, bytes);
        self.socket.send_to(bytes, to).map(drop).map_err(|error| missing(format!("to {to}: {error}")))
    }

    /// The next datagram, if one comes in time.
    pub(in crate::suite) fn hear(&self, patience: Duration) -> Result<Option<Came>, Fault> {
        let begun = Instant::now();
        loop {
            let left = patience.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
            let slice = if self.clock.process.get().is_some() { left.min(LOOK) } else { left };
            if let Some(came) = self.hear_at_once(slice)? {
                return Ok(Some(came));
            }
            if begun.elapsed() >= patience || self.clock.is_vain() {
                return Ok(None);
            }
        }
    }

    fn hear_at_once(&self, patience: Duration) -> Result<Option<Came>, Fault> {
        let mut buffer = vec![0; DATAGRAM];
        self.socket.set_read_timeout(Some(self.clock.within(patience)?)).map_err(missing)?;
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                buffer.truncate(length);
                exchange::came(&self.socket, from, &buffer);
                buffer.shrink_to_fit();
                Ok(Some(Came { from, bytes: buffer }))
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                exchange::silence(&self.socket, patience);
                Ok(None)
            }
            Err(error) => Err(missing(error)),
        }
    }

    /// All that comes within a time.
    pub(in crate::suite) fn hear_all(&self, time: Duration) -> Result<Vec<Came>, Fault> {
        let (begun, mut all) = (Instant::now(), Vec::new());
        while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            all.extend(self.hear(left)?);
            if all.len() > MOST {
                return Err(broken(format!("more than {MOST} datagrams came in {:.1?}: a flood", begun.elapsed())));
            }
        }
        Ok(all)
    }

    /// Waits for a message, whatever else comes.
    pub(super) fn awaits(
        &self,
        patience: Duration,
        what: &str,
        is_it: impl Fn(&ControlMessage) -> bool,
    ) -> Result<(), Fault> {
        let (begun, mut others, mut last) = (Instant::now(), 0_u32, String::new());
        while let Some(left) = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            let Some(came) = self.hear(left)? else {
                // It ended, or the time is over.
                break;
            };
            match ControlMessage::decode(&came.bytes) {
                Ok(message) if is_it(&message) => return Ok(()),
                _ => (others, last) = (others + 1, told(&came.bytes)),
            }
        }
        // A line is enough of what nobody asked for.
        let last: String = last.chars().take(100).collect();
        let heard = if others == 0 { "nothing came".into() } else { format!("{others} others came, the last {last}") };
        Err(broken(format!("expected {what} within {patience:?}; {heard}")))
    }

    pub(in crate::suite) fn hears_nothing(&self, time: Duration) -> Result<(), Fault> {
        match self.hear(time)? {
            None => Ok(()),
            Some(came) => Err(broken(format!("expected nothing; from {} came {}", came.from, told(&came.bytes)))),
        }
    }

    /// How long an answer may take.
    pub(in crate::suite) fn patience(&self) -> Duration {
        self.clock.patience.get().unwrap_or(PATIENCE)
    }

    /// The next message.
    pub(in crate::suite) fn message(&self) -> Result<(SocketAddr, ControlMessage), Fault> {
        let came = self.hear(self.patience())?.ok_or_else(|| broken("expected an answer; nothing came"))?;
        let message = ControlMessage::decode(&came.bytes);
        let message = message
            .map_err(|error| broken(format!("expected an answer; came {} octets ({error})", came.bytes.len())))?;
        Ok((came.from, message))
    }

    /// Registers with a tag of the length that RFC 9301 names; the Map-Notify, whose tag holds.
    pub(in crate::suite) fn registers(
        &self,
        to: SocketAddr,
        message: &MapRegister,
        key: &AuthKey,
    ) -> Result<MapNotify, Fault> {
        self.send(to, &sealed(message, key)?)?;
        self.notified(key)
    }

    /// The Map-Notify that comes next; its tag holds.
    pub(in crate::suite) fn notified(&self, key: &AuthKey) -> Result<MapNotify, Fault> {
        self.notified_within(self.patience(), key)
    }

    /// The same within a time that a clause gives.
    pub(in crate::suite) fn notified_within(&self, patience: Duration, key: &AuthKey) -> Result<MapNotify, Fault> {
        let came = self.hear(patience)?.ok_or_else(|| broken("expected a Map-Notify; nothing came"))?;
        auth::verify(&came.bytes, key, auth::Accept::INTEROP)
            .map_err(|error| broken(format!("{}: {error}", told(&came.bytes))))?;
        match ControlMessage::decode(&came.bytes) {
            Ok(ControlMessage::MapNotify(notify)) => Ok(notify),
            _ => Err(broken(format!("expected a Map-Notify; came {}", told(&came.bytes)))),
        }
    }

    /// Asks inside an ECM whose inner source is this xTR's address; the Map-Reply, with the nonce of the question.
    pub(in crate::suite) fn asks(&self, to: SocketAddr, request: &MapRequest) -> Result<MapReply, Fault> {
        self.send(to, &self.ecm(request)?)?;
        self.replied(request.nonce)
    }

    /// The Map-Reply that comes next.
    pub(in crate::suite) fn replied(&self, nonce: Nonce) -> Result<MapReply, Fault> {
        match self.message()? {
            (_, ControlMessage::MapReply(reply)) if reply.nonce == nonce && !reply.records.is_empty() => Ok(reply),
            (from, other) => Err(broken(format!("expected a Map-Reply with {nonce:?}; from {from} came {other:?}"))),
        }
    }

    /// The request in an ECM; replies to it come to this xTR's port.
    pub(in crate::suite) fn ecm(&self, request: &MapRequest) -> Result<Vec<u8>, Fault> {
        self.wrapped(request.encode().map_err(broken)?)
    }

    /// Octets in an ECM.
    pub(in crate::suite) fn wrapped(&self, message: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let destination = match self.address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        let destination = SocketAddr::new(destination, wire::CONTROL_PORT);
        Ecm::wrap(self.address, destination, message).encode().map_err(broken)
    }
}
