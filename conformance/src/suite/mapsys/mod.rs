// SPDX-License-Identifier: GPL-2.0-or-later
//! A map system as a black box, to which xTRs of these suites speak over UDP: the program `lisp-mapsys` on loopback, in configurations
//! of the suites, or that of another target, in the one configuration that its file gives.

mod disk;
mod foreign;
mod given;
mod message;
mod needs;
mod own;
mod place;
mod shown;
mod site;
mod xtr;

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;
use wire::address::EidPrefix;
use wire::control::auth::Algorithm;
use wire::control::{ControlMessage, MapReply, MapRequest, Nonce};
use wire::record::MappingRecord;

pub(super) use disk::Disk;
pub(super) use foreign::fresh_nonce;
pub(super) use message::{form, host, key, prefix, prefix_in, record, register, request, rlocs, sealed, told};
pub(super) use place::{Place, suite_v4};
pub(super) use site::{Site, Special, host_in, sentinel_site};
pub(super) use xtr::{Came, Xtr};

use super::daemon::{Daemon, Files, program};
use super::probe::{self, Fault, Judgement, Probe, broken, missing, unfit};
use crate::check::Check;
use crate::target::{self, Claim};
use foreign::Foreign;
use site::{SENTINEL, SENTINEL_SECRET, SITES, common_sites};

/// What was not to come, and comes all the same, does so within this time after a later message was answered.
const GRACE: Duration = Duration::from_millis(40);
/// Pause before a log is looked at again.
const POLL: Duration = Duration::from_millis(10);
/// Messages sent without waiting: any socket holds so many.
const AT_ONCE: u32 = 32;

/// Why checks with configurations of their own are not made with other targets.
const CONFIGURED: &str = "it needs a configuration of its own, and a target file gives one for all";

/// A folder, the program, and the sites that are taken.
pub(super) struct Room {
    folder: TempDir,
    program: PathBuf,
    sites: Cell<u16>,
    nonce: Cell<u64>,
    common: OnceCell<MapSystem>,
    /// The target, if it is not one that takes our configurations.
    foreign: Option<Result<Foreign, Fault>>,
}

/// Runs the wanted checks of a suite whose room this is.
pub(super) fn run(
    suite: &'static str,
    probes: &[&Probe<Room>],
    wanted: &dyn Fn(&str) -> bool,
) -> anyhow::Result<Vec<Check>> {
    probe::run_as(suite, probes, wanted, Room::open, |room, probe| room.judge(probe))
}

/// A running map system.
pub(super) struct MapSystem {
    /// None where it is not ours.
    _daemon: Option<Daemon>,
    /// Where it serves, IPv4 first.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Room {
    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the files of the suite")?;
        let (sites, nonce) = (Cell::new(0), Cell::new(1));
        let judged = target::judged();
        let foreign = (!judged.is_configured_by_suites()).then(|| Foreign::open(judged, folder.path(), Rc::default()));
        Ok(Self { folder, program: program(), sites, nonce, common: OnceCell::new(), foreign })
    }

    /// The target, unless it is one that takes our configurations.
    fn foreign(&self) -> Result<Option<&Foreign>, Fault> {
        self.foreign.as_ref().map(|foreign| foreign.as_ref().map_err(Clone::clone)).transpose()
    }

    /// What needs another configuration, or looks inside, says nothing about a target of others.
    fn only_ours(&self, why: &str) -> Result<(), Fault> {
        if self.foreign.is_none() { Ok(()) } else { Err(unfit(why)) }
    }

    /// Makes a check, if the target claims what it needs.
    fn judge(&self, probe: &Probe<Self>) -> Judgement {
        needs::met(probe.id, target::judged())?;
        match self.foreign()? {
            None => (probe.judge)(self),
            Some(foreign) => foreign.judge(|| (probe.judge)(self)),
        }
    }

    /// Whether the target says that it supports this.
    pub(super) fn claims(&self, claim: Claim) -> bool {
        target::judged().claims(claim)
    }

    /// How long what is not to come is waited for, after a later message was answered.
    pub(super) fn grace(&self) -> Duration {
        match &self.foreign {
            Some(Ok(foreign)) => foreign.grace(),
            _ => GRACE,
        }
    }

    /// Whether the limits of the configuration are those of the suites.
    pub(super) fn is_ours(&self) -> bool {
        self.foreign.is_none()
    }

    /// A nonce above all that were used.
    pub(super) fn nonce(&self) -> Nonce {
        if let Some(Ok(foreign)) = &self.foreign {
            return foreign.nonce();
        }
        self.nonce.set(self.nonce.get() + 1);
        Nonce(self.nonce.get())
    }

    /// An xTR that listens at the control port of an IPv4 address of its own.
    pub(super) fn xtr(&self) -> Result<Xtr, Fault> {
        if let Some(foreign) = self.foreign()? {
            return foreign.xtr(true, wire::CONTROL_PORT);
        }
        Xtr::at(SocketAddr::new(own::next().into(), wire::CONTROL_PORT))
    }

    /// An xTR at another port of an IPv4 address of its own.
    pub(super) fn xtr_elsewhere(&self) -> Result<Xtr, Fault> {
        if let Some(foreign) = self.foreign()? {
            return foreign.xtr(true, 0);
        }
        Xtr::at(SocketAddr::new(own::next().into(), 0))
    }

    /// Lets a time pass in which a target of others hears nothing.
    pub(super) fn rest(&self, time: Duration) -> Result<(), Fault> {
        self.foreign()?.map_or_else(|| Err(unfit("it is for targets of others")), |foreign| foreign.rest(time))
    }

    /// What is opened where xTRs stand.
    pub(super) fn opened<T: Send + 'static>(&self, open: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        match self.foreign()? {
            None => Ok(open()),
            Some(foreign) => foreign.opened(open),
        }
    }

    /// An xTR at this very address.
    pub(super) fn xtr_on(&self, address: SocketAddr) -> Result<Xtr, Fault> {
        self.only_ours("it listens at addresses of the target's own machine")?;
        Xtr::at(address)
    }

    /// An xTR at two ports of an IPv4 address of its own: one that the system chose, and the control port.
    pub(super) fn xtr_at_two_ports(&self) -> Result<(Xtr, Xtr), Fault> {
        let control = self.xtr()?;
        if let Some(foreign) = self.foreign()? {
            return Ok((foreign.xtr_beside(control.address.ip())?, control));
        }
        Ok((Xtr::at(SocketAddr::new(control.address.ip(), 0))?, control))
    }

    /// An xTR at the IPv6 loopback address, of which there is one, at a port of its own; at the control port of another address where
    /// there are more.
    pub(super) fn xtr6(&self) -> Result<Xtr, Fault> {
        if let Some(foreign) = self.foreign()? {
            return foreign.xtr(false, wire::CONTROL_PORT);
        }
        Xtr::at(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0))
    }

    /// The map system that checks share, each with a site and addresses of its own. It serves at two IPv4 addresses and an IPv6
    /// address.
    pub(super) fn common(&self) -> Result<&MapSystem, Fault> {
        if self.common.get().is_none() {
            let started = match self.foreign()? {
                None => self.start("common", &common_sites(), 2)?,
                Some(foreign) => MapSystem { _daemon: None, addresses: foreign.addresses() },
            };
            let _ = self.common.set(started);
        }
        self.common.get().ok_or_else(|| broken("no map system"))
    }

    /// Starts a map system with a configuration, at so many IPv4 addresses and one IPv6 address.
    pub(super) fn start(&self, name: &str, config: &str, addresses: usize) -> Result<MapSystem, Fault> {
        let state = self.folder.path().join(format!("{name}.state"));
        self.start_as(Command::new(&self.program), &state, name, config, &self.places(addresses))
    }

    /// The same by a clock that is so many seconds ahead, or behind.
    pub(super) fn start_at(&self, offset: &str, name: &str, config: &str) -> Result<MapSystem, Fault> {
        let state = self.folder.path().join(format!("{name}.state"));
        let mut command = Command::new(&self.program);
        command.args(["--clock-offset", offset]);
        self.start_as(command, &state, name, config, &self.places(1))
    }

    /// The same with a clock that [`Self::set_clock`] sets while it runs.
    pub(super) fn start_settable(&self, name: &str, config: &str) -> Result<MapSystem, Fault> {
        let (state, file) = (self.folder.path().join(format!("{name}.state")), self.clock_file(name));
        let mut command = Command::new(&self.program);
        command.arg("--clock-offset-file").arg(&file);
        self.start_as(command, &state, name, config, &self.places(1))
    }

    /// Sets the clock of that map system, which may run: so many seconds ahead of this machine's. Waits until one that runs has
    /// taken it.
    pub(super) fn set_clock(&self, name: &str, seconds: i64, patience: Option<Duration>) -> Result<(), Fault> {
        self.only_ours(CONFIGURED)?;
        let told = || self.log(name).matches("the clock is set").count();
        let before = told();
        std::fs::write(self.clock_file(name), seconds.to_string()).map_err(missing)?;
        let begun = Instant::now();
        while patience.is_some() && told() == before {
            if patience.is_some_and(|patience| begun.elapsed() > patience) {
                return Err(missing(format!("a clock of {name:?} that can be set: {}", self.log(name))));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn clock_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.clock"))
    }

    /// The same at all addresses of this machine.
    pub(super) fn start_open(&self, name: &str, config: &str) -> Result<MapSystem, Fault> {
        let state = self.folder.path().join(format!("{name}.state"));
        let listen = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        self.start_as(Command::new(&self.program), &state, name, config, &listen)
    }

    /// The same with its state on a disk of its own.
    pub(super) fn start_on(&self, disk: &Disk, name: &str, config: &str) -> Result<MapSystem, Fault> {
        self.start_as(disk.command(&self.program), &disk.state(), name, config, &self.places(1))
    }

    /// A small disk.
    pub(super) fn disk(&self, name: &str) -> Result<Disk, Fault> {
        self.only_ours(CONFIGURED)?;
        let folder = self.folder.path().join(format!("{name}.disk"));
        std::fs::create_dir_all(&folder).map_err(missing)?;
        Disk::new(folder)
    }

    /// What a map system of that name has logged.
    pub(super) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// So many IPv4 addresses and one IPv6 address to listen at.
    fn places(&self, count: usize) -> Vec<IpAddr> {
        let places = (0..count).map(|_| own::next().into());
        places.chain([Ipv6Addr::LOCALHOST.into()]).collect()
    }

    fn start_as(
        &self,
        mut command: Command,
        state: &Path,
        name: &str,
        config: &str,
        listen: &[IpAddr],
    ) -> Result<MapSystem, Fault> {
        self.only_ours(CONFIGURED)?;
        let [file, log] = ["toml", "log"].map(|kind| self.folder.path().join(format!("{name}.{kind}")));
        std::fs::write(&file, config).map_err(missing)?;
        command.env("TMPDIR", self.folder.path());
        let daemon = Daemon::start(command, &Files { config: &file, state, log: &log }, listen, own::next().into())?;
        let mut addresses = daemon.addresses.clone();
        addresses.sort_unstable();
        Ok(MapSystem { _daemon: Some(daemon), addresses })
    }

    /// A site of the common map system for a check alone.
    pub(super) fn site(&self) -> Result<Site, Fault> {
        let number = self.sites.get() + 1;
        self.sites.set(number);
        if let Some(foreign) = self.foreign()? {
            return self.site_of(foreign, number);
        }
        if number > SITES {
            return Err(missing("more sites in the configuration of the suite"));
        }
        Ok(Site { prefix: prefix(&format!("2001:db8:{number:x}::/48"))?, number, keys: None })
    }

    /// The common map system still takes Map-Registers and answers Map-Requests, and what came before was done.
    pub(super) fn works(&self) -> Result<(), Fault> {
        if let Some(foreign) = self.foreign()? {
            return foreign.works();
        }
        self.works_at(self.common()?)
    }

    /// The same of another map system, which has the sentinel's site too.
    pub(super) fn works_at(&self, server: &MapSystem) -> Result<(), Fault> {
        let xtr = self.xtr()?;
        let key = key(1, Algorithm::HmacSha256, SENTINEL_SECRET);
        let locator = xtr.address.ip().to_string();
        let message = register(self.nonce(), vec![record(prefix(SENTINEL)?, &[&locator])]);
        let notify = xtr.registers(server.first()?, &message, &key)?;
        if notify.nonce != message.nonce {
            return Err(broken(format!("a Map-Notify with nonce {:?}, not {:?}", notify.nonce, message.nonce)));
        }
        let asked = request(self.nonce(), &[host("2001:db8:ffff::2")?], &[xtr.address.ip()]);
        let reply = xtr.asks(server.first()?, &asked)?;
        let locators = reply.records.iter().map(|record| record.locators.len()).sum::<usize>();
        if locators == 1 { Ok(()) } else { Err(broken(format!("the sentinel is answered with {reply:?}"))) }
    }

    /// Sends, and sees that nothing comes of it while the common map system goes on.
    pub(super) fn is_ignored(&self, xtr: &Xtr, bytes: &[u8]) -> Result<(), Fault> {
        self.are_ignored(xtr, [bytes.to_vec()])
    }

    /// The same of many messages; no more at once than a socket holds.
    pub(super) fn are_ignored(&self, xtr: &Xtr, messages: impl IntoIterator<Item = Vec<u8>>) -> Result<(), Fault> {
        let server = self.common()?.first()?;
        for (number, bytes) in (1..).zip(messages) {
            xtr.send(server, &bytes)?;
            if number % AT_ONCE == 0 {
                self.works()?;
            }
        }
        self.works()?;
        xtr.hears_nothing(self.grace())
    }

    /// The records that a question of several EIDs is answered with: in one Map-Reply by ours, by others in several if they like.
    pub(super) fn answers(&self, xtr: &Xtr, asked: &MapRequest) -> Result<Vec<MappingRecord>, Fault> {
        let mut records = xtr.asks(self.common()?.first()?, asked)?.records;
        while !self.is_ours() && records.len() < asked.records.len() {
            let Some(came) = xtr.hear(self.grace())? else { break };
            match ControlMessage::decode(&came.bytes) {
                Ok(ControlMessage::MapReply(reply)) if reply.nonce == asked.nonce => records.extend(reply.records),
                _ => return Err(broken(format!("expected another Map-Reply; came {}", told(&came.bytes)))),
            }
        }
        Ok(records)
    }

    /// Whether an answer may come from there, if this was asked. The source of an answer is one of the addresses that its sender has
    /// (RFC 9301, section 5.5); ours has the one that was asked.
    pub(super) fn is_answer_from(&self, from: SocketAddr, asked: SocketAddr) -> bool {
        from == asked || (!self.is_ours() && from.port() == asked.port())
    }

    /// The EID-prefixes outside of instances that sites of the common map system have.
    pub(super) fn configured(&self) -> Result<Vec<EidPrefix>, Fault> {
        self.foreign()?.map_or_else(site::configured, |foreign| Ok(foreign.configured()))
    }

    /// What the common map system answers to an xTR that has asked nothing yet.
    pub(super) fn answer(&self, eid: EidPrefix) -> Result<MapReply, Fault> {
        if !self.claims(Claim::ProxyReply) {
            return Err(unfit("what is registered shows in Map-Replies alone, and proxy-reply is not claimed"));
        }
        let xtr = self.xtr()?;
        let request = request(self.nonce(), &[eid], &[xtr.address.ip()]);
        xtr.asks(self.common()?.first()?, &request)
    }
}

impl MapSystem {
    /// The address that is asked where it does not matter which.
    pub(super) fn first(&self) -> Result<SocketAddr, Fault> {
        self.addresses.first().copied().ok_or_else(|| broken("it serves nowhere"))
    }

    /// Its IPv6 address.
    pub(super) fn ipv6(&self) -> Result<SocketAddr, Fault> {
        self.addresses.iter().copied().find(SocketAddr::is_ipv6).ok_or_else(|| broken("it has no IPv6 address"))
    }

    /// Ends it at once, as a power cut does.
    pub(super) fn kill(self) {
        drop(self);
    }
}
