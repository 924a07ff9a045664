// SPDX-License-Identifier: GPL-2.0-or-later
//! A target of others that a suite starts in a namespace with a configuration that the suite dictates and the target's file spells. It
//! may end, hang or say nothing: it is started again for the next check, the check that ended it says so, and one that never answers is
//! given up. After [`LONG`] no other check of it begins.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use interop::lab::process::Process;
use tempfile::TempDir;

use super::mapsys::Place;
use super::probe::{Fault, Judgement, broken, missing, unfit};
use crate::target::template::Values;
use crate::target::{Claim, Lack, Site, Start, Target};

/// After this no other check begins.
const LONG: Duration = Duration::from_secs(180);
/// How long a target may take from its start to its first answer.
const READY: Duration = Duration::from_secs(15);
/// Between two questions of one that is being started.
const AGAIN: Duration = Duration::from_millis(250);
/// How long an answer may take by which a target shows that it is alive.
pub(super) const ALIVE: Duration = Duration::from_secs(2);
/// A target that has to be started more often is given up.
const STARTS: u32 = 16;

/// The target, and the network around it.
pub(super) struct Guest {
    pub(super) target: &'static Target,
    start: &'static Start,
    /// The sites that stand in its configuration.
    pub(super) sites: Vec<Site>,
    pub(super) place: Place,
    /// What else stands there.
    pub(super) values: Values,
    folder: TempDir,
    process: RefCell<Option<Process>>,
    starts: Cell<u32>,
    given_up: RefCell<Option<String>>,
    begun: Instant,
}

impl Guest {
    /// The network around it; it is started by [`Self::judge`].
    pub(super) fn new(target: &'static Target, start: &'static Start, sites: Vec<Site>) -> Result<Self, Fault> {
        Ok(Self {
            target,
            start,
            sites,
            place: Place::lab()?,
            values: Values::new(),
            folder: tempfile::tempdir().map_err(missing)?,
            process: RefCell::default(),
            starts: Cell::new(0),
            given_up: RefCell::default(),
            begun: Instant::now(),
        })
    }

    /// Where it answers.
    pub(super) fn address(&self) -> Result<SocketAddr, Fault> {
        self.place.of_target().first().copied().ok_or_else(|| missing("an address of the target"))
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
        *self.process.borrow_mut() = None;
        let told = match judgement {
            Ok(found) => format!("{found}; but "),
            Err(Fault::Broken(came) | Fault::Missing(came) | Fault::Unfit(came)) => format!("{came}; "),
        };
        Err(broken(format!("{told}{fate}")))
    }

    /// What has become of it, if it does not answer any more. One that has just done all that was asked answers.
    fn fate(&self, alive: &dyn Fn(Duration) -> Result<(), Fault>, judgement: &Judgement) -> Option<String> {
        let ended = || self.process.borrow_mut().as_mut().and_then(|process| process.check().err());
        if matches!(judgement, Err(Fault::Broken(_))) && ended().is_none() && alive(ALIVE).is_err() {
            // A datagram may be lost.
            let again = alive(ALIVE);
            if let (None, Err(Fault::Broken(told))) = (ended(), again) {
                return Some(format!("the target runs, and does not answer any more ({told}): it was ended"));
            }
        }
        ended().map(|ended| format!("this check ended the target ({ended})"))
    }

    fn ready(
        &self,
        alive: &dyn Fn(Duration) -> Result<(), Fault>,
        started: &dyn Fn() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.process.borrow().is_some() {
            return Ok(());
        }
        let number = self.starts.get() + 1;
        self.starts.set(number);
        if number > STARTS {
            let why = format!("{STARTS} checks have ended the target");
            *self.given_up.borrow_mut() = Some(why.clone());
            return Err(unfit(format!("not judged: {why}")));
        }
        let folder = self.folder.path().join(number.to_string());
        std::fs::create_dir_all(&folder).map_err(missing)?;
        let mut values = self.place.values();
        values.extend(self.values.clone());
        let command = self.start.prepare(&folder, &values, &self.sites).map_err(missing)?;
        let namespace = self.place.namespace().map_err(missing)?;
        let process = Process::start(namespace, "target", command, &folder.join("target.log")).map_err(missing)?;
        *self.process.borrow_mut() = Some(process);
        self.awaited(alive).and_then(|()| started()).inspect_err(|_| {
            *self.process.borrow_mut() = None;
            *self.given_up.borrow_mut() = Some(format!("the target did not get ready (start {number})"));
        })
    }

    fn awaited(&self, alive: &dyn Fn(Duration) -> Result<(), Fault>) -> Result<(), Fault> {
        let begun = Instant::now();
        loop {
            if let Some(process) = self.process.borrow_mut().as_mut() {
                let ended = process.check();
                let tail = process.log_tail().join(" / ");
                ended.map_err(|error| broken(format!("it ended before it was ready: {error}: {tail}")))?;
            }
            let asked = Instant::now();
            match alive(AGAIN) {
                Err(Fault::Broken(told)) if begun.elapsed() > READY => {
                    return Err(broken(format!("no answer within {} s: {told}", READY.as_secs())));
                }
                Err(Fault::Broken(_)) => std::thread::sleep(AGAIN.saturating_sub(asked.elapsed())),
                other => return other,
            }
        }
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
pub(super) fn met(needs: &[(&str, Need)], id: &str, target: &Target, cannot: &BTreeSet<Lack>) -> Result<(), Fault> {
    let lacking = |need: &Need| match need {
        Need::Claim(claim) => (!target.claims(*claim)).then(|| format!("{} does not claim {claim}", target.name)),
        Need::Given(lack) => cannot.contains(lack).then(|| format!("{} cannot be given {lack}", target.name)),
        Need::Ours(why) => Some((*why).to_owned()),
    };
    let of_check = needs.iter().filter(|(known, _)| *known == id).map(|(_, need)| need);
    of_check.filter_map(lacking).next().map_or(Ok(()), |why| Err(unfit(why)))
}
