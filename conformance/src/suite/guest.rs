// SPDX-License-Identifier: GPL-2.0-or-later
//! A target of others that a suite starts in a namespace with a configuration that the suite dictates and the target's file spells; or
//! one that runs elsewhere, whose file says what it was given. It may end, hang or say nothing: one that we started is started again for
//! the next check, the check that ended it says so, and one that never answers is given up. After [`LONG`] no other check of it begins.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use interop::lab::process::Process;
use tempfile::TempDir;

use super::ENDED;
use super::mapsys::{Place, fresh_nonce};
use super::probe::{Fault, Judgement, broken, missing, unfit};
use crate::target::template::Values;
use crate::target::{Claim, Given, Lack, MapSystem, Means, Site, Start, Target};

/// After this no other check begins. One that tells no changes makes some eight checks wait for a quarter of a minute each.
const LONG: Duration = Duration::from_secs(360);
/// How long a target may take from its start to its first answer.
const READY: Duration = Duration::from_secs(15);
/// Between two questions of one that is being started.
const AGAIN: Duration = Duration::from_millis(250);
/// How long an answer may take by which a target shows that it is alive.
pub(super) const ALIVE: Duration = Duration::from_secs(2);
/// A target that has to be started more often is given up.
const STARTS: u32 = 16;
/// How long one that runs elsewhere, which has been started, may take to its first answer.
const FIRST: Duration = Duration::from_secs(3);
/// One elsewhere that is silent after so many checks in a row is given up.
const SILENT: u32 = 2;
/// What was not to come from elsewhere is waited for twice as long as an answer took, within these bounds.
const GRACE: (Duration, Duration) = (Duration::from_millis(60), Duration::from_secs(2));

/// The target, and the network around it.
pub(super) struct Guest {
    pub(super) target: &'static Target,
    /// The sites that stand in its configuration.
    pub(super) sites: Vec<Site>,
    pub(super) place: Place,
    /// What else stands there.
    pub(super) values: Values,
    come: Come,
    given_up: RefCell<Option<String>>,
    begun: Instant,
}

/// How the suite comes to it.
enum Come {
    /// It starts it.
    Starting { start: &'static Start, folder: TempDir, process: RefCell<Option<Process>>, starts: Cell<u32> },
    /// It asks it where it runs.
    Asking(Elsewhere),
}

/// One that runs elsewhere.
pub(super) struct Elsewhere {
    address: SocketAddr,
    map_system: &'static MapSystem,
    /// What its file gives beside sites.
    pub(super) given: &'static Given,
    /// A nonce below all that this run uses, and above those of earlier runs, which it remembers.
    pub(super) base: u64,
    answers_in: Cell<Duration>,
    silent: Cell<u32>,
}

impl Elsewhere {
    /// The EID-prefix and key of the numbered site; the first, of number 0, is the sentinel's, the others are checks' own.
    pub(super) fn numbered(&self, number: usize) -> Result<&'static Site, Fault> {
        let sites = &self.map_system.sites[..self.map_system.numbered];
        let more = || unfit(format!("the target file numbers {} sites, and more are needed", sites.len()));
        sites.get(number).ok_or_else(more)
    }

    /// The same from the end: what one suite has registered is not in the way of another.
    pub(super) fn numbered_from_end(&self, number: usize) -> Result<&'static Site, Fault> {
        self.numbered(self.map_system.numbered.checked_sub(number).filter(|left| *left > 0).unwrap_or(usize::MAX))
    }

    /// A site by its name.
    pub(super) fn named(&self, name: &str) -> Result<&'static Site, Fault> {
        self.map_system.named(name).ok_or_else(|| unfit(format!("the target file names no site {name:?}")))
    }
}

impl Guest {
    /// The network around it; it is started by [`Self::judge`].
    pub(super) fn new(target: &'static Target, start: &'static Start, sites: Vec<Site>) -> Result<Self, Fault> {
        let folder = tempfile::tempdir().map_err(missing)?;
        let come = Come::Starting { start, folder, process: RefCell::default(), starts: Cell::new(0) };
        Ok(Self::come_to(target, sites, Place::lab()?, come))
    }

    /// One that runs where its file says.
    pub(super) fn elsewhere(target: &'static Target) -> Result<Self, Fault> {
        let lacking = || unfit("the target file does not say where it runs");
        let map_system = target.map_system.as_ref().ok_or_else(lacking)?;
        let Means::Elsewhere { addresses, from, given } = &map_system.means else { return Err(lacking()) };
        let address = addresses.iter().find(|address| address.is_ipv4()).copied().ok_or_else(lacking)?;
        let come = Come::Asking(Elsewhere {
            address,
            map_system,
            given,
            base: fresh_nonce(),
            answers_in: Cell::new(Duration::ZERO),
            silent: Cell::new(0),
        });
        Ok(Self::come_to(target, map_system.sites.clone(), Place::here(addresses, from)?, come))
    }

    fn come_to(target: &'static Target, sites: Vec<Site>, place: Place, come: Come) -> Self {
        let (values, given_up) = (Values::new(), RefCell::default());
        Self { target, sites, place, values, come, given_up, begun: Instant::now() }
    }

    /// Where it answers.
    pub(super) fn address(&self) -> Result<SocketAddr, Fault> {
        let started = || self.place.of_target().first().copied().ok_or_else(|| missing("an address of the target"));
        self.is_elsewhere().map_or_else(started, |elsewhere| Ok(elsewhere.address))
    }

    /// What its file gives, if it runs elsewhere.
    pub(super) fn is_elsewhere(&self) -> Option<&Elsewhere> {
        match &self.come {
            Come::Starting { .. } => None,
            Come::Asking(elsewhere) => Some(elsewhere),
        }
    }

    /// How long silence is listened to where that much does at a cable.
    pub(super) fn grace(&self, least: Duration) -> Duration {
        let far = self.is_elsewhere().map(|elsewhere| (elsewhere.answers_in.get() * 2).clamp(GRACE.0, GRACE.1));
        far.map_or(least, |far| far.max(least))
    }

    /// A socket at the IPv4 address of this number, which several may share if their ports differ.
    pub(super) fn socket_at(&self, address: IpAddr, port: u16) -> Result<std::net::UdpSocket, Fault> {
        let bound = self.place.bind(SocketAddr::new(address, port))?;
        bound.map_err(|error| match self.is_elsewhere() {
            Some(_) => unfit(format!(
                "{address}, port {port}: {error}; more addresses of this machine are needed (`from` names them)"
            )),
            None => missing(format!("{address}, port {port}: {error}")),
        })
    }

    /// Makes a check with it, and sees what has become of it. `alive` asks it something within a time, and `started` tells it what it has
    /// to know when it has just been started.
    pub(super) fn judge(
        &self,
        alive: &dyn Fn(Duration) -> Result<(), Fault>,
        started: &dyn Fn() -> Result<(), Fault>,
        judge: impl FnOnce() -> Judgement,
    ) -> Judgement {
        if let Some(why) = self.given_up.borrow().as_ref() {
            return Err(unfit(format!("not judged: {why}")));
        }
        if self.begun.elapsed() > LONG {
            return Err(unfit(format!("not judged: the {} s for it are over", LONG.as_secs())));
        }
        self.ready(alive, started)?;
        let judgement = judge();
        let Some(fate) = self.fate(alive, &judgement) else { return judgement };
        let told = match judgement {
            Ok(found) => format!("{found}; but "),
            Err(Fault::Broken(came) | Fault::Missing(came) | Fault::Unfit(came)) => format!("{came}; "),
        };
        Err(broken(format!("{told}{fate}")))
    }

    /// What has become of it, if it does not answer any more. One that has just done all that was asked answers.
    fn fate(&self, alive: &dyn Fn(Duration) -> Result<(), Fault>, judgement: &Judgement) -> Option<String> {
        let mut silent = None;
        if matches!(judgement, Err(Fault::Broken(_))) && self.ended().is_none() && alive(ALIVE).is_err() {
            // A datagram may be lost.
            if let Err(Fault::Broken(told)) = alive(ALIVE) {
                silent = Some(told);
            }
        }
        match &self.come {
            Come::Asking(elsewhere) => {
                elsewhere.silent.set(silent.as_ref().map_or(0, |_| elsewhere.silent.get() + 1));
                if elsewhere.silent.get() >= SILENT {
                    self.give_up(format!("the target was silent after {SILENT} checks"));
                }
                silent.map(|told| format!("the target does not answer any more ({told})"))
            }
            Come::Starting { process, .. } => {
                let ended = self.ended().map(|ended| format!("{ENDED} ({ended})"));
                let hangs = |told| format!("the target runs, and does not answer any more ({told}): it was ended");
                let fate = ended.or_else(|| silent.map(hangs))?;
                *process.borrow_mut() = None;
                Some(fate)
            }
        }
    }

    /// How the process that was started ended, if it did.
    fn ended(&self) -> Option<String> {
        let Come::Starting { process, .. } = &self.come else { return None };
        process.borrow_mut().as_mut().and_then(|process| process.check().err()).map(|error| error.to_string())
    }

    fn give_up(&self, why: String) {
        *self.given_up.borrow_mut() = Some(why);
    }

    fn ready(
        &self,
        alive: &dyn Fn(Duration) -> Result<(), Fault>,
        started: &dyn Fn() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match &self.come {
            Come::Asking(elsewhere) if elsewhere.answers_in.get().is_zero() => self.answers(elsewhere, alive, started),
            Come::Starting { process, .. } if process.borrow().is_none() => self.start(alive, started),
            Come::Asking(_) | Come::Starting { .. } => Ok(()),
        }
    }

    /// One that runs elsewhere answers for the first time.
    fn answers(
        &self,
        elsewhere: &Elsewhere,
        alive: &dyn Fn(Duration) -> Result<(), Fault>,
        started: &dyn Fn() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.awaited(FIRST, ALIVE, alive).inspect_err(|_| self.give_up("the target has never answered".into()))?;
        // The first answer may be one to an earlier question: the time is that of another.
        let begun = Instant::now();
        alive(ALIVE)?;
        elsewhere.answers_in.set(begun.elapsed());
        started()
    }

    fn start(
        &self,
        alive: &dyn Fn(Duration) -> Result<(), Fault>,
        started: &dyn Fn() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Come::Starting { start, folder, process, starts } = &self.come else { return Ok(()) };
        let number = starts.get() + 1;
        starts.set(number);
        if number > STARTS {
            let why = format!("{STARTS} checks have ended the target");
            self.give_up(why.clone());
            return Err(unfit(format!("not judged: {why}")));
        }
        let folder = folder.path().join(number.to_string());
        std::fs::create_dir_all(&folder).map_err(missing)?;
        let mut values = self.place.values();
        values.extend(self.values.clone());
        let command = start.prepare(&folder, &values, &self.sites).map_err(missing)?;
        let namespace = self.place.namespace().map_err(missing)?;
        let running = Process::start(namespace, "target", command, &folder.join("target.log")).map_err(missing)?;
        *process.borrow_mut() = Some(running);
        self.awaited(READY, AGAIN, alive).and_then(|()| started()).inspect_err(|_| {
            *process.borrow_mut() = None;
            self.give_up(format!("the target did not get ready (start {number})"));
        })
    }

    /// It answers within a time, asked again and again, each time for as long as `pause`.
    fn awaited(
        &self,
        patience: Duration,
        pause: Duration,
        alive: &dyn Fn(Duration) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let begun = Instant::now();
        loop {
            self.not_ended()?;
            let asked = Instant::now();
            match alive(pause) {
                Err(Fault::Broken(told)) if begun.elapsed() > patience => {
                    return Err(broken(format!("no answer within {} s: {told}", patience.as_secs())));
                }
                Err(Fault::Broken(_)) => std::thread::sleep(pause.min(AGAIN).saturating_sub(asked.elapsed())),
                other => return other,
            }
        }
    }

    fn not_ended(&self) -> Result<(), Fault> {
        let Come::Starting { process, .. } = &self.come else { return Ok(()) };
        let mut process = process.borrow_mut();
        let Some(process) = process.as_mut() else { return Ok(()) };
        let ended = process.check();
        let tail = process.log_tail().join(" / ");
        ended.map_err(|error| broken(format!("it ended before it was ready: {error}: {tail}")))
    }
}

/// Why a check cannot be made with every target.
pub(super) enum Need {
    /// It claims this.
    Claim(Claim),
    /// It can be given this.
    Given(Lack),
    /// It is ours, for this reason.
    Ours(&'static str),
}

/// The target claims, and can be given, all that a check needs.
pub(super) fn met(
    needs: &[(&str, Need)],
    id: &str,
    target: &Target,
    lacking: &dyn Fn(Lack) -> Option<String>,
) -> Result<(), Fault> {
    let lacking = |need: &Need| match need {
        Need::Claim(claim) => (!target.claims(*claim)).then(|| format!("{} does not claim {claim}", target.name)),
        Need::Given(lack) => lacking(*lack),
        Need::Ours(why) => Some((*why).to_owned()),
    };
    let of_check = needs.iter().filter(|(known, _)| *known == id).map(|(_, need)| need);
    of_check.filter_map(lacking).next().map_or(Ok(()), |why| Err(unfit(why)))
}

/// What a target cannot be given, in words.
pub(super) fn cannot<'a>(target: &'a Target, cannot: &'a BTreeSet<Lack>) -> impl Fn(Lack) -> Option<String> + 'a {
    |lack| cannot.contains(&lack).then(|| format!("{} cannot be given {lack}", target.name))
}
