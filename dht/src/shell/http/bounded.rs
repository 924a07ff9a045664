// SPDX-License-Identifier: GPL-2.0-or-later
//! Connections of which there are only so many at once, each for only so long: whoever opens them and says nothing takes neither the
//! descriptors of the process nor the places of others.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Sleep;

use crate::block::Block;

/// Takes each connection, and where there is no place for it gives up another one.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    patience: Duration,
    guests: Arc<Guests>,
    /// How many have come.
    come: u64,
}

impl Bounded {
    /// At most so many at once, each for `patience`.
    pub(super) fn new(listener: TcpListener, connections: usize, patience: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(connections)), patience, guests: Arc::default(), come: 0 }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Pauses by itself where none can be had.
        let (stream, remote) = Listener::accept(&mut self.listener).await;
        let host = Block::host_of(remote.ip());
        if self.places.available_permits() == 0 {
            self.guests.give_one_up_for(host);
        }
        // Nobody closes the semaphore: there is always a place in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        self.come = self.come.wrapping_add(1);
        let number = self.come;
        let (stays, given_up) = oneshot::channel();
        self.guests.all().insert(number, Guest { host, _stays: stays });
        let place = Place { number, guests: Arc::clone(&self.guests), _permit: place };
        let end = Box::pin(tokio::time::sleep(self.patience));
        (Connection { stream, end, given_up, is_over: false, _place: place }, remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who has a place.
#[derive(Default)]
struct Guests {
    /// The oldest first.
    all: Mutex<BTreeMap<u64, Guest>>,
}

/// A connection that is not given up.
struct Guest {
    /// The machine at its other end.
    host: Block,
    /// It is given up when this is dropped.
    _stays: oneshot::Sender<()>,
}

impl Guests {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Guest>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up the oldest connection of the machine that has most of them, the one that `host` wants now included: who monitors has one, for a
    /// moment.
    fn give_one_up_for(&self, host: Block) {
        let mut all = self.all();
        let has = |other: Block| all.values().filter(|guest| guest.host == other).count() + usize::from(other == host);
        let most = all.values().map(|guest| has(guest.host)).max();
        let oldest = all.iter().find(|(_, guest)| Some(has(guest.host)) == most).map(|(number, _)| *number);
        oldest.and_then(|number| all.remove(&number));
    }
}

/// Its place, which is free when this is dropped.
struct Place {
    number: u64,
    guests: Arc<Guests>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.all().remove(&self.number);
    }
}

/// A connection, its end and its place.
pub(super) struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    given_up: oneshot::Receiver<()>,
    /// Whether its end has come, or it was given up.
    is_over: bool,
    _place: Place,
}

impl Connection {
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<&mut TcpStream> {
        // Whether anything was sent does not matter: the sender is gone.
        self.is_over = self.is_over
            || self.end.as_mut().poll(context).is_ready()
            || Pin::new(&mut self.given_up).poll(context).is_ready();
        if self.is_over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(&mut self.stream) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.in_time(context)?;
        Pin::new(stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.in_time(context)?;
        Pin::new(stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.in_time(context)?;
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.in_time(context)?;
        Pin::new(stream).poll_shutdown(context)
    }
}
