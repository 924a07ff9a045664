// SPDX-License-Identifier: GPL-2.0-or-later
//! The packet threads: plain threads that wait in poll(2) and take turns. No async runtime touches a packet.
//!
//! * **Tier 1**, with offload, has two: one towards the core, which owns the ITR and with it the map-cache, and one towards the
//!   site, which owns the ETR. They share nothing but counters, so neither waits for the other, and a flood from one side
//!   leaves the other its core.
//! * **Tier 0**, one packet a call, has one thread for both. It is what every UNIX with a TUN device can do, and what tier 1 is
//!   compared with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use tokio::sync::mpsc;

use super::ancillary::probe_receiving;
use super::clock;
use super::data_socket::{DataSockets, SocketError};
use super::decap_loop::DecapLoop;
use super::encap_loop::EncapLoop;
use super::fixed_ports::FixedPorts;
use super::gro_sockets::GroSockets;
use super::losses::Losses;
use super::packet_loop::PacketLoop;
use super::port_pool::PortPool;
use super::relay::{RelayedTun, relay};
use super::send_many::probe_sending;
use super::tun::{Offload, SuperTun, Tun, TunError};
use super::worker::{Turns, Worker};
use crate::config::Tier;
use crate::counters::Counters;
use crate::ecn::EcnCompatibility;
use crate::etr::{Etr, EtrConfig};
use crate::itr::{Itr, ItrConfig};
use crate::limits;
use crate::map_cache::{Event, Update};

/// What the packet threads are made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which way packets go through the kernel.
    pub tier: Tier,
    /// Name of the TUN device.
    pub tun: String,
    /// Its MTU, in octets.
    pub mtu: u16,
    /// The ITR.
    pub itr: ItrConfig,
    /// Where its packets go in the compatibility mode of ECN.
    pub ecn: EcnCompatibility,
    /// The ETR.
    pub etr: EtrConfig,
    /// Addresses to receive on.
    pub rlocs: Vec<IpAddr>,
}

/// Why there are no packet threads, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No TUN device.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// No sockets.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A system call that moves many packets at a time is missing, or forbidden by a sandbox.
    #[error("{0} cannot be used: {1}")]
    Call(&'static str, #[source] io::Error),
    /// No thread.
    #[error("packet thread: {0}")]
    Thread(#[from] io::Error),
}

impl StartError {
    /// Whether the kernel lacks what tier 0 does not need.
    fn is_lack_of_offload(&self) -> bool {
        matches!(
            self,
            Self::Call(..) | Self::Tun(TunError::Other(..) | TunError::OtherKind(_) | TunError::VnetHeader(..))
        )
    }
}

/// The running packet threads. They end, and their device with them, when this is dropped.
#[derive(Debug)]
pub struct DataPlane {
    tier: Tier,
    counters: Arc<Counters>,
    ports: FixedPorts,
    losses: Losses,
    /// The one that has the map-cache is the first.
    threads: Vec<(SyncSender<Update>, Worker)>,
}

impl DataPlane {
    /// Opens what [`Self::start`] opens, and closes it again.
    ///
    /// # Errors
    /// What the machine lacks, and what to do.
    pub fn probe(tier: Tier, tun: &str, rlocs: &[IpAddr]) -> Result<(), StartError> {
        if tier != Tier::Zero {
            match open_offloaded(tun, rlocs) {
                Err(error) if tier == Tier::Auto && error.is_lack_of_offload() => {}
                opened => return opened.map(drop),
            }
        }
        Tun::open(tun)?;
        DataSockets::open(rlocs)?;
        Ok(())
    }

    /// Opens device and sockets and starts the threads; all belong to the network namespace of the caller.
    ///
    /// # Errors
    /// What the machine lacks, and what to do. Nothing is left behind.
    pub fn start(options: Options, events: mpsc::Sender<Event>) -> Result<Self, StartError> {
        if options.tier != Tier::Zero {
            match open_offloaded(&options.tun, &options.rlocs) {
                Err(error) if options.tier == Tier::Auto && error.is_lack_of_offload() => {
                    tracing::warn!(%error, "the kernel does not move many packets at a time: they go one by one (tier 0)");
                }
                opened => return Self::start_offloaded(options, opened?, events),
            }
        }
        let (mut sockets, ports) = (DataSockets::open(&options.rlocs)?, FixedPorts::default());
        sockets.lend_to(&ports);
        let tun = Tun::open(&options.tun)?;
        tun.bring_up(options.mtu)?;
        lengthen_queue(&tun);
        let (updates, received) = sync_channel(limits::UPDATES);
        let counters = Arc::new(Counters::default());
        let itr = Itr::new(clock::now(), options.itr, counters.clone()).trusting(options.etr.trust.clone());
        let itr = itr.relaying(options.etr.relays, &options.etr.petr_for).with_ecn(options.ecn);
        let etr = Etr::new(options.etr, counters.clone());
        let packets = PacketLoop::new((itr, etr), (tun, sockets), (received, events), counters.clone());
        let losses = Losses::new(&options.tun, &ports, &counters);
        tracing::info!(tier = 0, "packet path");
        let threads = vec![(updates, Worker::start("packets", packets)?)];
        Ok(Self { tier: Tier::Zero, counters, ports, losses, threads })
    }

    fn start_offloaded(options: Options, opened: Opened, events: mpsc::Sender<Event>) -> Result<Self, StartError> {
        let Opened { tun, offload, mut pool, mut receivers } = opened;
        let ports = FixedPorts::default();
        receivers.lend_to(&ports);
        pool.borrow_from(&ports);
        let (out, back) =
            if options.etr.relays { relay().map(|(out, back)| (Some(out), Some(back)))? } else { (None, None) };
        tun.bring_up(options.mtu)?;
        lengthen_queue(&tun);
        say(offload, &pool, &receivers);
        let counters = Arc::new(Counters::default());
        let (to_itr, for_itr) = sync_channel(limits::UPDATES);
        let (to_etr, for_etr) = sync_channel(limits::UPDATES);
        let itr = Itr::new(clock::now(), options.itr, counters.clone()).trusting(options.etr.trust.clone());
        let itr = itr.relaying(options.etr.relays, &options.etr.petr_for).with_ecn(options.ecn);
        let etr = Etr::new(options.etr, counters.clone());
        let site = RelayedTun::new(tun.super_tun()?, back);
        let decap = DecapLoop::new(etr, (tun.super_tun()?, receivers), for_etr, counters.clone(), offload.udp);
        let decap = decap.with_events(&events).with_relay(out);
        let encap = EncapLoop::new(itr, (site, pool), (for_itr, events), counters.clone());
        let encap = Worker::start("encap", encap)?;
        ports.errors().wake_by(encap.waker()?);
        let decap = Worker::start_with("decap", decap, Some(encap.bell()?))?;
        let threads = vec![(to_itr, encap), (to_etr, decap)];
        let losses = Losses::new(&options.tun, &ports, &counters);
        Ok(Self { tier: Tier::One, counters, ports, losses, threads })
    }

    /// Which way packets go through the kernel: never [`Tier::Auto`].
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Tells the packet threads; waits only if one is thousands of updates behind.
    pub fn update(&self, update: Update) {
        let concerns_itr_only = matches!(
            update,
            Update::Upsert { .. }
                | Update::Remove { .. }
                | Update::Unresolved { .. }
                | Update::EchoAnswer { .. }
                | Update::PathMtu { .. }
                | Update::PathProven { .. }
                | Update::InterfaceMtus(_)
        );
        let concerns_etr_only = matches!(
            update,
            Update::Source { .. }
                | Update::SourcePutOff { .. }
                | Update::Relayed { .. }
                | Update::Rtrs(_)
                | Update::Behind(_)
                | Update::FormerRlocs(_)
        );
        let Some((itr, others)) = self.threads.split_first() else { return };
        if !concerns_itr_only {
            others.iter().for_each(|thread| tell(thread, update.clone()));
        }
        if !concerns_etr_only || others.is_empty() {
            tell(itr, update);
        }
    }

    /// The sockets on ports 4341 and 4342, to send from: those of the data port are there already.
    pub fn ports(&self) -> &FixedPorts {
        &self.ports
    }

    /// Counts what the kernel has lost in front of them. The thread has to be in their network namespace.
    pub fn count_losses(&self) {
        self.losses.count();
    }

    /// What they have counted so far, and of what was lost in front of them as much as was looked up.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Ends the threads and removes the device.
    pub fn stop(&mut self) {
        self.threads.iter_mut().for_each(|(_, worker)| worker.stop());
    }
}

fn tell((updates, worker): &(SyncSender<Update>, Worker), update: Update) {
    // A thread that is gone has said why, and control hears of it where events came from.
    let _ = updates.send(update);
    worker.wake_up();
}

/// Device and sockets of tier 1.
#[derive(Debug)]
struct Opened {
    tun: Tun,
    offload: Offload,
    pool: PortPool,
    receivers: GroSockets,
}

fn open_offloaded(tun: &str, rlocs: &[IpAddr]) -> Result<Opened, StartError> {
    // Bound to no address: there need not be one, and the loopback interface may be down.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    probe_sending(probe.as_fd()).map_err(|error| StartError::Call("sendmmsg(2)", error))?;
    probe_receiving(probe.as_fd()).map_err(|error| StartError::Call("recvmmsg(2)", error))?;
    let receivers = GroSockets::open(rlocs)?;
    let pool = PortPool::open(rlocs)?;
    let (tun, offload) = Tun::open_offloaded(tun)?;
    Ok(Opened { tun, offload, pool, receivers })
}

fn lengthen_queue(tun: &Tun) {
    if let Err(error) = tun.lengthen_queue() {
        tracing::warn!(%error, "bursts from the site find less room");
    }
}

/// Says once what the kernel does for us, and warns of what it does not.
fn say(offload: Offload, pool: &PortPool, receivers: &GroSockets) {
    let features = [
        (offload.tcp, "TCP segments from the site come one by one (TSO of TUN devices is missing)"),
        (offload.udp, "UDP datagrams from the site come one by one (USO of TUN devices, Linux 6.2, is missing)"),
        (pool.has_segmentation(), "packets to the core leave one by one (UDP_SEGMENT, Linux 4.18, is missing)"),
        (receivers.has_gro(), "packets from the core come one by one (UDP_GRO, Linux 5.0, is missing)"),
    ];
    features.iter().filter(|(has, _)| !has).for_each(|(_, lack)| tracing::warn!("{lack}"));
    tracing::info!(
        tier = 1,
        tso = offload.tcp,
        uso = offload.udp,
        udp_segment = pool.has_segmentation(),
        udp_gro = receivers.has_gro(),
        "packet path"
    );
}

impl Turns for PacketLoop<Tun, DataSockets> {
    fn turn(&mut self, now: Instant) -> bool {
        self.turn(now)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn has_events(&self) -> bool {
        self.has_events()
    }

    fn site_is_gone(&self) -> bool {
        self.site_is_gone()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let (tun, sockets) = self.devices();
        [tun.as_fd()].into_iter().chain(sockets.descriptors()).collect()
    }

    fn senders(&self) -> Vec<BorrowedFd<'_>> {
        self.devices().1.senders().collect()
    }

    fn has_senders(&self) -> bool {
        true
    }

    fn read_errors(&mut self) {
        self.read_errors();
    }
}

impl Turns for EncapLoop<RelayedTun, PortPool> {
    fn turn(&mut self, now: Instant) -> bool {
        self.turn(now)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn has_events(&self) -> bool {
        self.has_events()
    }

    fn site_is_gone(&self) -> bool {
        self.site_is_gone()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.devices().0.descriptors().collect()
    }

    fn senders(&self) -> Vec<BorrowedFd<'_>> {
        self.devices().1.descriptors().collect()
    }

    fn has_senders(&self) -> bool {
        true
    }

    fn read_errors(&mut self) {
        self.read_errors();
    }
}

impl Turns for DecapLoop<SuperTun, GroSockets> {
    fn turn(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.turn()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn has_events(&self) -> bool {
        self.has_events()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.devices().1.descriptors().collect()
    }

    fn read_errors(&mut self) {
        self.read_errors();
    }
}
