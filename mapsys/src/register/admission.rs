// SPDX-License-Identifier: GPL-2.0-or-later
//! Which records of a Map-Register are taken, before anything of it is.

use std::collections::BTreeSet;
use std::time::Instant;

use wire::address::{Eid, EidPrefix};
use wire::control::MapRegister;

use super::label::{AnyEid, Label, LabelError};
use super::locators;
use super::registration::Registration;
use super::site::{self, Grant, Publish, SiteId};
use super::{MapServer, Origin, xtr_id};
use crate::limits::{LIVE_MORE_SPECIFICS, REGISTER_RECORDS, REGISTRATIONS};
use crate::refusal::Refusal;

/// A record that may be registered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Admitted {
    /// An EID-prefix.
    Prefix(EidPrefix, Grant),
    /// A name, a MAC address or a pair, and its site.
    Label(Label, SiteId),
}

impl Admitted {
    pub(super) fn site(&self) -> SiteId {
        match self {
            Self::Prefix(_, grant) => grant.site,
            Self::Label(_, site) => *site,
        }
    }

    pub(super) fn eid(&self) -> AnyEid {
        match self {
            Self::Prefix(prefix, _) => (*prefix).into(),
            Self::Label(label, _) => (*label).into(),
        }
    }
}

impl MapServer {
    /// Every record must be one that the origin may register, and all of one site.
    pub(super) fn admit(&self, origin: Origin, message: &MapRegister) -> Result<Vec<Admitted>, Refusal> {
        if message.records.len() > REGISTER_RECORDS {
            return Err(Refusal::RegisterTooManyRecords);
        }
        let mut admitted: Vec<Admitted> = Vec::with_capacity(message.records.len());
        for record in &message.records {
            let (one, is_too_specific) = match record.eid.ip_prefix() {
                Some(prefix) => {
                    self.admit_cgeid(origin, &prefix)?;
                    let grant = self.sites.find(&prefix).ok_or(Refusal::RegisterEidNotConfigured)?;
                    (Admitted::Prefix(prefix, grant), !grant.registrable)
                }
                None => (self.admit_label(&record.eid)?, false),
            };
            let foreign_pipe = self.sites.is_pipe(one.site()) != (origin == Origin::Pipe);
            if foreign_pipe || admitted.first().is_some_and(|first| first.site() != one.site()) {
                return Err(Refusal::RegisterEidNotConfigured);
            }
            if is_too_specific {
                return Err(Refusal::RegisterTooSpecific);
            }
            admitted.push(one);
        }
        Ok(admitted)
    }

    fn admit_label(&self, eid: &Eid) -> Result<Admitted, Refusal> {
        let label = Label::of(eid).map_err(|error| match error {
            LabelError::Name => Refusal::RegisterName,
            LabelError::Pair => Refusal::RegisterPair,
            LabelError::Other => Refusal::RegisterEidNotIp,
        })?;
        let grant = self.sites.labels().find(&label).ok_or(Refusal::RegisterEidNotConfigured)?;
        Ok(Admitted::Label(label, grant.site))
    }

    fn admit_cgeid(&self, origin: Origin, prefix: &EidPrefix) -> Result<(), Refusal> {
        if !site::overlaps_cgeids(self.network, prefix) {
            return Ok(());
        }
        match (origin, site::cn_of(self.network, prefix)) {
            (Origin::Network { .. }, _) => Err(Refusal::RegisterCgeidFromNetwork),
            (Origin::Pipe, Some(cn)) if self.own_cns.contains(&cn) => Ok(()),
            (Origin::Pipe, _) => Err(Refusal::RegisterCgeidNotOurs),
        }
    }

    /// The locators of every record must be such that the mapping has them all, merged or alone.
    pub(super) fn admit_locators(&self, message: &MapRegister, records: &[Admitted]) -> Result<(), Refusal> {
        let xtr_id = xtr_id(message);
        message.records.iter().zip(records).try_for_each(|(record, admitted)| {
            let known = match admitted {
                Admitted::Prefix(prefix, _) => self.registrations.get(prefix),
                Admitted::Label(label, _) => self.labels.get(label),
            };
            let merged = known.filter(|known| message.merge && known.site == admitted.site()).into_iter();
            let others = merged.flat_map(Registration::parts).filter(|part| part.xtr_id() != xtr_id);
            locators::admit(record, others.flat_map(|part| part.locators.iter()))
        })
    }

    /// Whether all records of a message fit, each counted with the new ones before it. What is taken back needs no room, whether it is
    /// there or not.
    pub(super) fn has_room(&self, message: &MapRegister, records: &[Admitted]) -> bool {
        let mut new: BTreeSet<(EidPrefix, EidPrefix)> = BTreeSet::new();
        let mut new_labels: BTreeSet<Label> = BTreeSet::new();
        let mut all = message.records.iter().zip(records).filter(|(record, _)| !locators::withdraws(record));
        all.all(|(_, record)| match record {
            Admitted::Prefix(prefix, grant) => self.has_room_for(message, prefix, grant, &mut new),
            Admitted::Label(label, site) => {
                if self.labels.get(label).is_none() {
                    new_labels.insert(*label);
                    return new_labels.len() <= self.labels.room(*site);
                }
                self.labels.has_room(label, *site, message.merge, xtr_id(message))
            }
        })
    }

    fn has_room_for(
        &self,
        message: &MapRegister,
        prefix: &EidPrefix,
        grant: &Grant,
        new: &mut BTreeSet<(EidPrefix, EidPrefix)>,
    ) -> bool {
        if self.registrations.get(prefix).is_some() {
            return self.registrations.has_room(prefix, message.merge, xtr_id(message));
        }
        new.insert((grant.configured, *prefix));
        if self.sites.get(grant.site).publish == Publish::Aggregate {
            return self.registrations.len() + new.len() <= REGISTRATIONS;
        }
        let live = self.registrations.inside(&grant.configured).take(LIVE_MORE_SPECIFICS).count();
        let beside = new.iter().filter(|(configured, _)| *configured == grant.configured).count();
        live + beside <= LIVE_MORE_SPECIFICS && self.registrations.len() + new.len() <= REGISTRATIONS
    }

    /// Ends what is beyond the room of an INDEX page, the first ones of each configured prefix apart, and names it: what was registered under
    /// another configuration, where one aggregate stood for all.
    pub(super) fn end_surplus(&mut self) -> Vec<EidPrefix> {
        let Self { sites, registrations, .. } = &*self;
        let each = sites.prefixes().filter(|configured| !sites.is_aggregated(configured));
        let crowded = each.filter(|configured| registrations.inside(configured).nth(LIVE_MORE_SPECIFICS).is_some());
        let crowded: Vec<EidPrefix> = crowded.collect();
        let surplus = crowded.iter().flat_map(|configured| {
            // What is inside of another one's is counted there.
            let is_its =
                move |prefix: &EidPrefix| sites.find(prefix).is_some_and(|grant| grant.configured == *configured);
            registrations.inside(configured).map(|(prefix, _)| prefix).filter(is_its).skip(LIVE_MORE_SPECIFICS)
        });
        let surplus: Vec<EidPrefix> = surplus.collect();
        surplus.iter().for_each(|prefix| self.registrations.remove(prefix));
        if !surplus.is_empty() {
            let (registrations, room) = (surplus.len(), LIVE_MORE_SPECIFICS);
            tracing::warn!(
                registrations,
                room,
                "more-specifics that are published each by itself find no room on their page: they end"
            );
        }
        surplus
    }

    /// A mapping does not become older again (RFC 9302, section 5): what says so was overtaken on its way.
    pub(super) fn admit_versions(
        &mut self,
        now: Instant,
        site: SiteId,
        message: &MapRegister,
        records: &[Admitted],
    ) -> Result<(), Refusal> {
        let xtr_id = xtr_id(message);
        let older = message.records.iter().zip(records).find(|(record, admitted)| {
            let known = match admitted {
                Admitted::Prefix(prefix, _) => self.registrations.get(prefix),
                Admitted::Label(label, _) => self.labels.get(label),
            };
            let known = known.filter(|known| known.site == site).and_then(|known| known.part(&xtr_id));
            known.is_some_and(|part| record.map_version.is_older_than(part.map_version))
        });
        let Some((record, admitted)) = older else { return Ok(()) };
        self.version_logged.line(now, |left_out| {
            let (site, version) = (&self.sites.get(site).name, record.map_version.0);
            tracing::warn!(site, eid = %admitted.eid(), version, left_out, "Map-Register with an older Map-Version");
        });
        Err(Refusal::RegisterOldVersion)
    }
}
