// SPDX-License-Identifier: GPL-2.0-or-later
//! A DDT node, Map-Server or Map-Resolver of others, started in a namespace with the tree that its file spells. It may end, hang or say
//! nothing: it is started again for the next check, the check that ended it says so, and one that never answers is given up.
//!
//! The bound: no check waits longer than some of its patience; after [`ROLE`] no other check of the role begins.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use interop::lab::process::Process;
use tempfile::TempDir;
use wire::address::{EidPrefix, InstanceId};
use wire::control::ControlMessage;
use wire::control::auth::AuthKey;

use super::hall::{Hall, eid};
use super::needs::{self, Role};
use crate::suite::mapsys::Place;
use crate::suite::probe::{Fault, Judgement, Probe, broken, missing, unfit};
use crate::target::template::Values;
use crate::target::{Lack, Means, Site, Start, Target};

/// After this no other check of a role begins.
const ROLE: Duration = Duration::from_secs(180);
/// How long a target may take from its start to its first answer.
const READY: Duration = Duration::from_secs(15);
/// Between two questions of one that is being started.
const AGAIN: Duration = Duration::from_millis(250);
/// How long an answer may take by which a target shows that it is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// A target that has to be started more often is given up.
const STARTS: u32 = 16;

/// A target in one of its roles.
pub(super) struct Deployed {
    target: &'static Target,
    role: Role,
    start: &'static Start,
    sites: &'static [Site],
    /// What it cannot be given.
    pub(super) cannot: BTreeSet<Lack>,
    pub(super) place: Place,
    /// What stands for the others in its configuration.
    pub(super) parties: Values,
    folder: TempDir,
    process: RefCell<Option<Process>>,
    starts: Cell<u32>,
    asked: Cell<u16>,
    given_up: RefCell<Option<String>>,
    begun: Instant,
}

impl Deployed {
    /// The network around it; it is started by [`Self::judge`].
    pub(super) fn open(target: &'static Target, role: Role) -> Result<Self, Fault> {
        let lacking = || unfit(format!("the file of {} has no [{}]", target.name, role.table()));
        let none: &'static [Site] = &[];
        let (start, sites, cannot) = match role {
            Role::Server => {
                let map_system = target.map_system.as_ref().ok_or_else(lacking)?;
                let Means::Started(start) = &map_system.means else {
                    return Err(unfit("it runs elsewhere, and the suite starts what it plays the tree for"));
                };
                (start, &map_system.sites[..], BTreeSet::new())
            }
            Role::Node => target.ddt_node.as_ref().map(|it| (&it.start, none, it.cannot.clone())).ok_or_else(lacking)?,
            Role::Resolver => {
                let resolver = target.ddt_map_resolver.as_ref();
                resolver.map(|it| (&it.start, none, it.cannot.clone())).ok_or_else(lacking)?
            }
        };
        Ok(Self {
            target,
            role,
            start,
            sites,
            cannot,
            place: Place::lab()?,
            parties: Values::new(),
            folder: tempfile::tempdir().map_err(missing)?,
            process: RefCell::default(),
            starts: Cell::new(0),
            asked: Cell::new(0),
            given_up: RefCell::default(),
            begun: Instant::now(),
        })
    }

    /// Where it answers.
    pub(super) fn address(&self) -> Result<SocketAddr, Fault> {
        self.place.of_target().first().copied().ok_or_else(|| missing("an address of the target"))
    }

    /// A site of the Map-Server, and its key.
    pub(super) fn site(&self, name: char) -> Result<(EidPrefix, AuthKey), Fault> {
        let found = ['a', 'b', 'c'].iter().zip(self.sites).find(|(known, _)| **known == name).map(|(_, site)| site);
        let found = found.ok_or_else(|| unfit("the target file has fewer sites than are needed"))?;
        let lacking = || broken("a site of a target file without EID-prefix or key");
        let (net, key) = found.prefixes.first().zip(found.keys.first()).ok_or_else(lacking)?;
        Ok((EidPrefix { iid: InstanceId(found.iid), net: *net }, key.auth()))
    }

    /// Makes a check with it, and sees what has become of it.
    pub(super) fn judge(&self, hall: &Hall, probe: &Probe<Hall>) -> Judgement {
        needs::met(probe.id, hall, self.target)?;
        if let Some(why) = self.given_up.borrow().as_ref() {
            return Err(unfit(format!("not judged: {why}")));
        }
        if self.begun.elapsed() > ROLE {
            return Err(unfit(format!("not judged: the {} s of this role are over", ROLE.as_secs())));
        }
        self.ready(hall)?;
        let judgement = (probe.judge)(hall);
        let Some(fate) = self.fate(hall, &judgement) else { return judgement };
        *self.process.borrow_mut() = None;
        let told = match judgement {
            Ok(found) => format!("{found}; but "),
            Err(Fault::Broken(came) | Fault::Missing(came) | Fault::Unfit(came)) => format!("{came}; "),
        };
        Err(broken(format!("{told}{fate}")))
    }

    /// What has become of it, if it does not answer any more. One that has just done all that was asked answers.
    fn fate(&self, hall: &Hall, judgement: &Judgement) -> Option<String> {
        let ended = || self.process.borrow_mut().as_mut().and_then(|process| process.check().err());
        if judgement.is_err() && ended().is_none() && self.alive(hall, ALIVE).is_err() {
            let again = self.alive(hall, ALIVE);
            if let (None, Err(Fault::Broken(told))) = (ended(), again) {
                return Some(format!("the target runs, and does not answer any more ({told}): it was ended"));
            }
        }
        ended().map(|ended| format!("this check ended the target ({ended})"))
    }

    fn ready(&self, hall: &Hall) -> Result<(), Fault> {
        if self.process.borrow().is_some() {
            return Ok(());
        }
        let number = self.starts.get() + 1;
        self.starts.set(number);
        if number > STARTS {
            *self.given_up.borrow_mut() = Some(format!("{STARTS} checks have ended the target"));
            return Err(unfit(format!("not judged: {STARTS} checks have ended the target")));
        }
        let folder = self.folder.path().join(number.to_string());
        std::fs::create_dir_all(&folder).map_err(missing)?;
        let mut values = self.place.values();
        values.extend(self.parties.clone());
        let command = self.start.prepare(&folder, &values, self.sites).map_err(missing)?;
        let namespace = self.place.namespace().map_err(missing)?;
        let process = Process::start(namespace, "target", command, &folder.join("target.log")).map_err(missing)?;
        *self.process.borrow_mut() = Some(process);
        self.awaited(hall).inspect_err(|_| {
            *self.process.borrow_mut() = None;
            *self.given_up.borrow_mut() = Some(format!("the target did not get ready (start {number})"));
        })
    }

    fn awaited(&self, hall: &Hall) -> Result<(), Fault> {
        let begun = Instant::now();
        loop {
            if let Some(process) = self.process.borrow_mut().as_mut() {
                let tail = process.log_tail().join(" / ");
                process.check().map_err(|error| broken(format!("it ended before it was ready: {error}: {tail}")))?;
            }
            match self.alive(hall, AGAIN) {
                Ok(()) => break,
                Err(Fault::Broken(told)) if begun.elapsed() > READY => {
                    return Err(broken(format!("no answer within {} s: {told}", READY.as_secs())));
                }
                Err(Fault::Broken(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        if self.role == Role::Server { hall.register(self.address()?, 'b', false, ALIVE) } else { Ok(()) }
    }

    /// It answers: with a Map-Referral, a Map-Notify, or a question of its own.
    fn alive(&self, hall: &Hall, patience: Duration) -> Result<(), Fault> {
        let number = self.asked.get() + 1;
        self.asked.set(number);
        let nonce = hall.nonce();
        match self.role {
            Role::Server => hall.register(self.address()?, 'a', true, patience),
            Role::Node => {
                let asked = eid(&format!("2001:db8:5fe::{number:x}"))?;
                hall.client.send(self.address()?, &hall.request(nonce, asked, true)?)?;
                let is_it =
                    |message: &ControlMessage| matches!(message, ControlMessage::MapReferral(it) if it.nonce == nonce);
                let came = hall.client.wait(patience, is_it);
                came.map(drop).ok_or_else(|| broken(format!("no Map-Referral for {asked}")))
            }
            Role::Resolver => {
                let [high, low] = number.to_be_bytes();
                let asked = eid(&format!("10.254.{high}.{low}"))?;
                hall.itr.send(self.address()?, &hall.request(nonce, asked, false)?)?;
                let came = hall.root.asked_within(patience, &asked);
                came.map(drop).ok_or_else(|| broken(format!("the root is not asked for {asked}")))
            }
        }
    }
}
