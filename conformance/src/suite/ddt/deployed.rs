// SPDX-License-Identifier: GPL-2.0-or-later
//! A DDT node, Map-Server or Map-Resolver of others, with the tree that its file spells.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use wire::address::{EidPrefix, InstanceId};
use wire::control::ControlMessage;
use wire::control::auth::AuthKey;

use super::hall::{Hall, eid};
use super::needs::{NEEDS, Role};
use crate::suite::guest::{ALIVE, Guest, cannot, met};
use crate::suite::probe::{Fault, Judgement, Probe, broken, unfit};
use crate::target::{Lack, Means, Target};

/// A target in one of its roles.
pub(super) struct Deployed {
    role: Role,
    /// What it cannot be given.
    pub(super) cannot: BTreeSet<Lack>,
    pub(super) guest: Guest,
    asked: Cell<u16>,
}

impl Deployed {
    pub(super) fn open(target: &'static Target, role: Role) -> Result<Self, Fault> {
        let lacking = || unfit(format!("the file of {} has no [{}]", target.name, role.table()));
        let tabled = match role {
            Role::Server => None,
            Role::Node => Some(target.ddt_node.as_ref().ok_or_else(lacking)?),
            Role::Resolver => Some(target.ddt_map_resolver.as_ref().ok_or_else(lacking)?),
        };
        let (start, sites, cannot) = match tabled {
            Some(table) => (&table.start, Vec::new(), table.cannot.clone()),
            None => {
                let map_system = target.map_system.as_ref().ok_or_else(lacking)?;
                match &map_system.means {
                    Means::Started(start) => (start, map_system.sites.clone(), BTreeSet::new()),
                    Means::Elsewhere { .. } => {
                        let guest = Guest::elsewhere(target)?;
                        return Ok(Self { role, cannot: BTreeSet::new(), guest, asked: Cell::new(0) });
                    }
                    Means::Configured => return Err(lacking()),
                }
            }
        };
        Ok(Self { role, cannot, guest: Guest::new(target, start, sites)?, asked: Cell::new(0) })
    }

    /// Where it answers.
    pub(super) fn address(&self) -> Result<SocketAddr, Fault> {
        self.guest.address()
    }

    /// A site of the Map-Server, and its key.
    pub(super) fn site(&self, name: char) -> Result<(EidPrefix, AuthKey), Fault> {
        let found = match self.guest.is_elsewhere() {
            // Its numbered sites may be registered by those who were there before us.
            Some(elsewhere) if name == 'c' => elsewhere.named("never registered")?,
            _ => {
                let found = ['a', 'b', 'c'].iter().zip(&self.guest.sites).find(|(known, _)| **known == name);
                found.ok_or_else(|| unfit("the target file has fewer sites than are needed"))?.1
            }
        };
        let lacking = || broken("a site of a target file without EID-prefix or key");
        let (net, key) = found.prefixes.first().zip(found.keys.first()).ok_or_else(lacking)?;
        Ok((EidPrefix { iid: InstanceId(found.iid), net: *net }, key.auth()))
    }

    /// Makes a check with it, and sees what has become of it.
    pub(super) fn judge(&self, hall: &Hall, probe: &Probe<Hall>) -> Judgement {
        met(NEEDS, probe.id, self.guest.target, &cannot(self.guest.target, &self.cannot))?;
        let started = || match self.role {
            Role::Server => hall.register(self.address()?, 'b', false, ALIVE),
            _ => Ok(()),
        };
        self.guest.judge(&|patience| self.alive(hall, patience), &started, || (probe.judge)(hall))
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
