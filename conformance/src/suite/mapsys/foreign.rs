// SPDX-License-Identifier: GPL-2.0-or-later
//! A map system of others: started in a namespace with one configuration, or asked where it runs. It may be dead, silent or slow, may
//! end halfway, answer garbage or flood: each check gets a bounded time, one that ends its target is named for it, and when a target is
//! given up nothing is waited for any more.
//!
//! The bound: a check takes [`CHECK`], then [`ALIVE`] twice to see whether the target still answers, then [`SAID`] and [`READY`] where
//! it has to be started again; after [`SUITE`] no other check of the suite begins. So a suite ends within six minutes, whatever its target does,
//! and within half a minute where nothing ever answers; the one check that rests for three minutes, to see a registration end, adds
//! what it rests.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use interop::lab::process::Process;
use program::files;

use super::place::Place;
use super::xtr::{Clock, Xtr};
use super::{record, register, request};
use crate::progress;
use crate::suite::ENDED;
use crate::suite::probe::{Fault, Judgement, broken, missing, unfit};
use crate::target::{Claim, MapSystem, Means, Site, Start, Target};
use wire::address::{EidPrefix, InstanceId};
use wire::control::{ControlMessage, Nonce};

/// What a check gets: some ask a hundred times, and one waits for three seconds twice.
const CHECK: Duration = Duration::from_secs(30);
/// After this no other check of a suite begins.
const SUITE: Duration = Duration::from_secs(300);
/// How long one that says so may take from its start until it is ready, on a machine that others use.
const SAID: Duration = Duration::from_secs(45);
/// How long a target may take from then, or from its start, to its first answer.
const READY: Duration = Duration::from_secs(15);
/// The same of one that runs elsewhere, which has been started.
const FIRST: Duration = Duration::from_secs(3);
/// How long an answer may take by which a target shows that it is alive; it is asked twice, as a datagram may be lost.
const ALIVE: Duration = Duration::from_millis(1500);
/// Between two questions of one that is being started.
const AGAIN: Duration = Duration::from_millis(250);
/// A target that has to be started more often is given up: this many checks have ended it.
const STARTS: u32 = 24;
/// A target elsewhere that is silent after so many checks in a row is given up.
const SILENT: u32 = 2;
/// An answer is waited for so many times as long as the sentinel's took, within these bounds.
const PATIENCE: (u32, Duration, Duration) = (50, Duration::from_secs(2), Duration::from_secs(5));
/// What was not to come is waited for twice as long as the sentinel took, within these bounds.
const GRACE: (Duration, Duration) = (Duration::from_millis(60), Duration::from_secs(2));

/// A target, and where the suite stands towards it.
pub(super) struct Foreign {
    pub(super) target: &'static Target,
    map_system: &'static MapSystem,
    place: Place,
    folder: PathBuf,
    process: RefCell<Option<Process>>,
    starts: Cell<u32>,
    silent: Cell<u32>,
    given_up: RefCell<Option<String>>,
    answers_in: Cell<Duration>,
    begun: Instant,
    rested: Cell<Duration>,
    clock: Rc<Clock>,
    nonce: Cell<u64>,
}

impl Foreign {
    /// Makes the network around it; it is started by [`Self::ready`].
    pub(super) fn open(target: &'static Target, folder: &Path, clock: Rc<Clock>) -> Result<Self, Fault> {
        let map_system = target.map_system.as_ref().ok_or_else(|| unfit("the target has no map system"))?;
        let place = match &map_system.means {
            Means::Started(_) => Place::lab()?,
            Means::Elsewhere { addresses, from, .. } => Place::here(addresses, from)?,
            Means::Configured => return Err(unfit("the suites configure it themselves")),
        };
        Ok(Self {
            target,
            map_system,
            place,
            folder: folder.into(),
            process: RefCell::default(),
            starts: Cell::new(0),
            silent: Cell::new(0),
            given_up: RefCell::default(),
            answers_in: Cell::new(Duration::ZERO),
            begun: Instant::now(),
            rested: Cell::new(Duration::ZERO),
            clock,
            nonce: Cell::new(fresh_nonce()),
        })
    }

    /// A nonce above all that were used, also by earlier runs.
    pub(super) fn nonce(&self) -> Nonce {
        self.nonce.set(self.nonce.get() + 1);
        Nonce(self.nonce.get())
    }

    /// Where it answers: IPv4 first, IPv6 where it claims that.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut all = match &self.map_system.means {
            Means::Elsewhere { addresses, .. } => addresses.clone(),
            _ => self.place.of_target(),
        };
        all.retain(|address| address.is_ipv4() || self.target.claims(Claim::Ipv6));
        all
    }

    /// An xTR at an address of its own, at this port; 0 is any.
    pub(super) fn xtr(&self, is_v4: bool, port: u16) -> Result<Xtr, Fault> {
        let socket = self.place.socket(is_v4, port)?;
        Xtr::of(socket, Rc::clone(&self.clock))
    }

    /// An xTR at another port of an address.
    pub(super) fn xtr_beside(&self, address: IpAddr) -> Result<Xtr, Fault> {
        let socket = self.place.bind(SocketAddr::new(address, 0))?;
        Xtr::of(socket.map_err(|error| missing(format!("{address}: {error}")))?, Rc::clone(&self.clock))
    }

    /// What is opened where xTRs stand.
    pub(super) fn opened<T: Send + 'static>(&self, open: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        self.place.opened(open)
    }

    /// The sites that checks have to themselves, without the sentinel's, which is the first.
    pub(super) fn numbered(&self) -> &'static [Site] {
        self.map_system.sites.get(1..self.map_system.numbered).unwrap_or_default()
    }

    /// A site by its name.
    pub(super) fn named(&self, name: &str) -> Result<&'static Site, Fault> {
        let found = self.map_system.named(name);
        found.ok_or_else(|| unfit(format!("the target file names no site {name:?}")))
    }

    /// The EID-prefixes of its sites outside of instances.
    pub(super) fn configured(&self) -> Vec<EidPrefix> {
        let outside = self.map_system.sites.iter().filter(|site| site.iid == 0);
        outside.flat_map(|site| &site.prefixes).map(|net| EidPrefix { iid: InstanceId(0), net: *net }).collect()
    }

    /// Whether it was running, and may know what an earlier run registered.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self.map_system.means, Means::Elsewhere { .. })
    }

    /// How long what is not to come is waited for.
    pub(super) fn grace(&self) -> Duration {
        (self.answers_in.get() * 2).clamp(GRACE.0, GRACE.1)
    }

    /// Runs a check in its time, and sees what has become of the target.
    pub(super) fn judge(&self, judge: impl FnOnce() -> Judgement) -> Judgement {
        if let Some(why) = self.given_up.borrow().as_ref() {
            return Err(unfit(format!("not judged: {why}")));
        }
        if self.begun.elapsed() > SUITE + self.rested.get() {
            return Err(unfit(format!("not judged: the {} s of the suite are over", SUITE.as_secs())));
        }
        self.clock.set(Some(Instant::now() + CHECK));
        let judgement = self.ready().and_then(|()| judge());
        self.clock.set(None);
        let is_unfit = matches!(judgement, Err(Fault::Unfit(_) | Fault::Missing(_)));
        if self.given_up.borrow().is_some() || is_unfit && !self.has_ended() {
            return judgement;
        }
        // Without the sentinel's answer nobody knows whether this check ended it, or the next one.
        match self.fate() {
            None => judgement,
            Some(fate) => {
                let told = match judgement {
                    Ok(found) => format!("{found}; but "),
                    Err(Fault::Broken(came) | Fault::Missing(came) | Fault::Unfit(came)) => format!("{came}; "),
                };
                Err(broken(format!("{told}{fate}")))
            }
        }
    }

    /// Lets a time pass in which nothing is sent, unless the target ends in it; the check that rests has all its own time afterwards.
    pub(super) fn rest(&self, time: Duration) -> Result<(), Fault> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            if self.has_ended() {
                return Err(broken("it ended while nothing was sent"));
            }
            if progress::is_over() {
                return Err(missing("the run was ended"));
            }
            std::thread::sleep(AGAIN);
        }
        self.rested.set(self.rested.get() + begun.elapsed());
        self.clock.set(Some(Instant::now() + CHECK));
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.process.borrow_mut().as_mut().is_some_and(|process| process.check().is_err())
    }

    /// What has become of it, if it does not answer any more.
    fn fate(&self) -> Option<String> {
        let alive = self.alive(ALIVE).or_else(|_| self.alive(ALIVE));
        let Err(fault) = alive else {
            self.silent.set(0);
            return None;
        };
        let told = match fault {
            Fault::Broken(told) | Fault::Missing(told) | Fault::Unfit(told) => told,
        };
        self.silent.set(self.silent.get() + 1);
        let ended = self.process.borrow_mut().as_mut().and_then(|process| process.check().err());
        let fate = match (&ended, self.is_elsewhere()) {
            (Some(ended), _) => format!("{ENDED} ({ended})"),
            (None, false) => format!("the target runs, and does not answer any more ({told}): it was ended"),
            (None, true) => format!("the target does not answer any more ({told})"),
        };
        if !self.is_elsewhere() {
            *self.process.borrow_mut() = None;
        }
        let many = if self.is_elsewhere() { self.silent.get() >= SILENT } else { self.starts.get() >= STARTS };
        if many {
            let times = if self.is_elsewhere() { self.silent.get() } else { self.starts.get() };
            let gone = if self.is_elsewhere() { "was silent after" } else { "was ended by" };
            self.give_up(format!("the target {gone} {times} checks"));
        }
        Some(fate)
    }

    fn give_up(&self, why: String) {
        *self.given_up.borrow_mut() = Some(why);
    }

    /// It runs and answers, or is started now.
    fn ready(&self) -> Result<(), Fault> {
        let (is_running, is_known) = (self.process.borrow().is_some(), !self.answers_in.get().is_zero());
        match &self.map_system.means {
            Means::Started(start) if !is_running => self.start(start),
            Means::Elsewhere { .. } if !is_known => {
                self.awaited(FIRST, ALIVE).inspect_err(|_| self.give_up("the target has never answered".into()))
            }
            _ => Ok(()),
        }
    }

    fn start(&self, start: &Start) -> Result<(), Fault> {
        let number = self.starts.get() + 1;
        self.starts.set(number);
        let folder = self.folder.join(format!("target.{number}"));
        std::fs::create_dir_all(&folder).map_err(missing)?;
        let values = self.place.values();
        let command = start.prepare(&folder, &values, &self.map_system.sites).map_err(missing)?;
        let log = folder.join("target.log");
        let namespace = self.place.namespace().map_err(missing)?;
        let process = Process::start(namespace, "target", command, &log).map_err(missing)?;
        self.clock.watch(Some(process.id()));
        *self.process.borrow_mut() = Some(process);
        let outcome = self.awaited(READY, AGAIN);
        outcome.inspect_err(|_| self.give_up(format!("the target did not get ready (start {number})")))
    }

    /// Waits until it answers.
    fn awaited(&self, patience: Duration, pause: Duration) -> Result<(), Fault> {
        let (mut begun, mut is_said) = (Instant::now(), false);
        loop {
            if let Some(process) = self.process.borrow_mut().as_mut() {
                let tail = || process_tail(&self.folder, self.starts.get());
                process
                    .check()
                    .map_err(|error| broken(format!("it ended before it was ready: {error}: {}", tail())))?;
            }
            if !is_said && self.is_said_ready() {
                (begun, is_said) = (Instant::now(), true);
            }
            match is_said.then(|| self.alive(pause)) {
                Some(Ok(())) => return Ok(()),
                Some(Err(Fault::Broken(told))) if begun.elapsed() > patience => {
                    return Err(broken(format!("no answer within {} s: {told}", patience.as_secs())));
                }
                None if begun.elapsed() > SAID => return Err(broken("it does not say that it is ready")),
                Some(Err(fault @ (Fault::Missing(_) | Fault::Unfit(_)))) => return Err(fault),
                Some(Err(Fault::Broken(_))) | None => std::thread::sleep(AGAIN / 5),
            }
        }
    }

    fn is_said_ready(&self) -> bool {
        let Means::Started(Start { ready: Some(word), .. }) = &self.map_system.means else { return true };
        self.process.borrow().as_ref().is_some_and(|process| process.has_printed(word))
    }

    /// It takes a Map-Register of the sentinel's site, and answers for it where it claims that.
    pub(super) fn works(&self) -> Result<(), Fault> {
        self.alive(self.patience())
    }

    fn patience(&self) -> Duration {
        let (times, least, most) = PATIENCE;
        (self.answers_in.get() * times).clamp(least, most)
    }

    fn alive(&self, patience: Duration) -> Result<(), Fault> {
        let xtr = self.xtr(true, wire::CONTROL_PORT)?;
        let site = self.map_system.sites.first().ok_or_else(|| unfit("the target file has no sites"))?;
        let (net, key) =
            site.prefixes.first().zip(site.keys.first()).ok_or_else(|| unfit("the sentinel has no site"))?;
        let server = self.addresses().first().copied().ok_or_else(|| unfit("the target file has no IPv4 address"))?;
        let begun = Instant::now();
        let prefix = EidPrefix { iid: InstanceId(site.iid), net: *net };
        let message = register(self.nonce(), vec![record(prefix, &[&xtr.address.ip().to_string()])]);
        xtr.send(server, &super::sealed(&message, &key.auth())?)?;
        let is_it = |came: &ControlMessage| matches!(came, ControlMessage::MapNotify(it) if it.nonce == message.nonce);
        xtr.awaits(patience, "a Map-Notify", is_it)?;
        // RFC 9301, section 5.4: one locator is not answered about one EID-prefix as often as it asks.
        if self.target.claims(Claim::ProxyReply) && self.place.is_roomy() {
            let host = super::site::host_in(&prefix, 2);
            let asked = request(self.nonce(), &[host], &[xtr.address.ip()]);
            xtr.send(server, &xtr.ecm(&asked)?)?;
            let is_it = |came: &ControlMessage| match came {
                ControlMessage::MapReply(it) => {
                    it.nonce == asked.nonce && it.records.iter().any(|record| record.locators.len() == 1)
                }
                _ => false,
            };
            xtr.awaits(patience, "a Map-Reply with the sentinel's locator", is_it)?;
        }
        self.answers_in.set(begun.elapsed());
        self.clock.bear(self.patience());
        Ok(())
    }
}

/// A nonce above all that earlier runs have used, which a target that ran before us remembers: checks go some 2^28 above it, and 2^32 are
/// between two runs of which one begins a second after the other.
pub(in crate::suite) fn fresh_nonce() -> u64 {
    /// Of a microsecond: until the year 2112 that is no more than 64 bits.
    const NONCES: u64 = 1 << 12;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX).saturating_mul(NONCES)
}

/// The end of what a target has printed.
fn process_tail(folder: &Path, number: u32) -> String {
    /// Octets of a log that are told.
    const TAIL: usize = 600;
    let log = files::tail(&folder.join(format!("target.{number}/target.log")), TAIL).unwrap_or_default();
    String::from_utf8_lossy(&log).trim().replace('\n', " / ")
}

/// The address of a socket of this family that may have any.
pub(super) fn unspecified(is_v4: bool) -> IpAddr {
    if is_v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
