// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Server: who registered what (RFC 9301, sections 5.6, 5.7 and 8.2).
//!
//! A Map-Register is judged in the order of what it costs: its records against the site table, then the tag, then the
//! nonce. It is taken whole or not at all.

pub mod nonces;
pub mod publisher;
pub mod registration;
pub mod schedule;
pub mod signers;
pub mod site;

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cgeid::{Cn, Network};
use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, AuthError, AuthKey, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister};
use wire::record::{MappingRecord, Ttl};

use crate::limits::{LIVE_MORE_SPECIFICS, LOCATORS, LOG_PAUSE, REGISTER_RECORDS, REGISTRATION_SILENCE, REGISTRATIONS};
use crate::refusal::{Refusal, Tally};
use nonces::{Freshness, Last, NonceOwner, Nonces};
use registration::{Change, Part, Registrations};
use site::{Grant, NotifyPort, Site, SiteId, SiteTable};

/// Where a Map-Register came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The node's own xTR.
    Pipe,
    /// Somebody on the network.
    Network(SocketAddr),
}

/// The Map-Server's state.
#[derive(Debug)]
pub struct MapServer {
    network: Network,
    sites: SiteTable,
    own_cns: HashSet<Cn>,
    registrations: Registrations,
    nonces: Nonces,
    /// When a replay was last logged: whoever has recorded one message can send it for ever.
    replay_logged: Option<Instant>,
}

/// What an accepted Map-Register leads to.
#[derive(Debug, Default)]
pub struct Registered {
    /// The Map-Notify, if one is wanted.
    pub notify: Option<Notify>,
    /// What must be on disk before the Map-Notify is sent.
    pub persist: Option<(NonceOwner, Last)>,
    /// EID-prefixes that others see changed.
    pub changed: Vec<EidPrefix>,
}

/// A Map-Notify and its destination port.
#[derive(Debug, PartialEq, Eq)]
pub struct Notify {
    /// The message, signed.
    pub bytes: Vec<u8>,
    /// Where to.
    pub port: NotifyPort,
}

impl MapServer {
    /// A Map-Server of these sites; `own_cns` may be registered through the pipe.
    pub fn new(network: Network, sites: SiteTable, own_cns: HashSet<Cn>, nonces: Nonces) -> Self {
        Self { network, sites, own_cns, registrations: Registrations::default(), nonces, replay_logged: None }
    }

    /// Judges a Map-Register; `bytes` is the whole message.
    ///
    /// # Errors
    /// The reason for which it is dropped; nothing has changed then.
    pub fn register(
        &mut self,
        now: Instant,
        origin: Origin,
        bytes: &[u8],
        message: &MapRegister,
        tally: &mut Tally,
    ) -> Result<Registered, Refusal> {
        let records = self.admit(origin, message)?;
        let site_id = records.first().ok_or(Refusal::RegisterEmpty)?.1.site;
        let site = self.sites.get(site_id);
        let key = site.key(message.auth.key_id, message.auth.algorithm)?;
        let message = &without_unsigned_tail(site, bytes, &key, message)?;

        let owner = NonceOwner { site: site.name.clone(), xtr_id: xtr_id(message), key_id: key.id };
        let last = Last::of(message.nonce, bytes);
        let legacy = site.legacy;
        let notify = if message.want_notify { Some(self.notify(site, &key, message)?) } else { None };
        match self.nonces.judge(now, &owner, legacy, last) {
            Freshness::Fresh => {}
            Freshness::Retransmission => return Ok(Registered { notify, ..Registered::default() }),
            Freshness::Replayed => {
                self.warn_of_replay(now, &owner, message);
                return Err(Refusal::RegisterReplayed);
            }
            Freshness::Full => return Err(Refusal::RegisterTableFull),
        }
        if !self.has_room(message, &records) {
            return Err(Refusal::RegisterTableFull);
        }
        let changed = self.apply(now, origin, site_id, message, &records, tally);
        self.nonces.accept(now, owner.clone(), legacy, last);
        Ok(Registered { notify, persist: Some((owner, last)), changed })
    }

    /// Every record must be one that the origin may register, and all of one site.
    fn admit(&self, origin: Origin, message: &MapRegister) -> Result<Vec<(EidPrefix, Grant)>, Refusal> {
        if message.records.len() > REGISTER_RECORDS {
            return Err(Refusal::RegisterTooManyRecords);
        }
        let mut admitted: Vec<(EidPrefix, Grant)> = Vec::with_capacity(message.records.len());
        for record in &message.records {
            let prefix = record.eid.ip_prefix().ok_or(Refusal::RegisterEidNotIp)?;
            self.admit_cgeid(origin, &prefix)?;
            let grant = self.sites.find(&prefix).ok_or(Refusal::RegisterEidNotConfigured)?;
            let foreign_pipe = self.sites.is_pipe(grant.site) != (origin == Origin::Pipe);
            if foreign_pipe || admitted.first().is_some_and(|(_, first)| first.site != grant.site) {
                return Err(Refusal::RegisterEidNotConfigured);
            }
            if !grant.registrable {
                return Err(Refusal::RegisterTooSpecific);
            }
            admitted.push((prefix, grant));
        }
        Ok(admitted)
    }

    fn admit_cgeid(&self, origin: Origin, prefix: &EidPrefix) -> Result<(), Refusal> {
        if !site::overlaps_cgeids(self.network, prefix) {
            return Ok(());
        }
        match (origin, site::cn_of(self.network, prefix)) {
            (Origin::Network(_), _) => Err(Refusal::RegisterCgeidFromNetwork),
            (Origin::Pipe, Some(cn)) if self.own_cns.contains(&cn) => Ok(()),
            (Origin::Pipe, _) => Err(Refusal::RegisterCgeidNotOurs),
        }
    }

    /// Whether all records of a message fit, each counted with the new ones before it.
    fn has_room(&self, message: &MapRegister, records: &[(EidPrefix, Grant)]) -> bool {
        let xtr_id = xtr_id(message);
        let mut new: BTreeSet<(EidPrefix, EidPrefix)> = BTreeSet::new();
        records.iter().all(|(prefix, grant)| {
            if self.registrations.get(prefix).is_some() {
                return self.registrations.has_room(prefix, message.merge, xtr_id);
            }
            new.insert((grant.configured, *prefix));
            let live = self.registrations.inside(&grant.configured).take(LIVE_MORE_SPECIFICS).count();
            let beside = new.iter().filter(|(configured, _)| *configured == grant.configured).count();
            live + beside <= LIVE_MORE_SPECIFICS && self.registrations.len() + new.len() <= REGISTRATIONS
        })
    }

    fn warn_of_replay(&mut self, now: Instant, owner: &NonceOwner, message: &MapRegister) {
        if self.replay_logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_PAUSE) {
            self.replay_logged = Some(now);
            tracing::warn!(site = owner.site, nonce = message.nonce.0, "Map-Register replayed");
        }
    }

    fn apply(
        &mut self,
        now: Instant,
        origin: Origin,
        site: SiteId,
        message: &MapRegister,
        records: &[(EidPrefix, Grant)],
        tally: &mut Tally,
    ) -> Vec<EidPrefix> {
        let mut changed = Vec::new();
        for (record, (prefix, grant)) in message.records.iter().zip(records) {
            let part = part_of(now, origin, message, record, tally);
            let change = if record.ttl == Ttl::WITHDRAWN || part.locators.is_empty() {
                self.registrations.withdraw(prefix, site, xtr_id(message))
            } else {
                self.registrations.put(*prefix, site, grant.configured, message.merge, part)
            };
            match change {
                Change::Changed => changed.push(*prefix),
                Change::None => {}
                Change::Full => tally.count(Refusal::RegisterTableFull),
            }
        }
        changed
    }

    /// The Map-Notify: same records, same nonce, signed with the key of the Map-Register (RFC 9301, section 5.7).
    fn notify(&self, site: &Site, key: &AuthKey, message: &MapRegister) -> Result<Notify, Refusal> {
        let notify = MapNotify { nonce: message.nonce, records: message.records.clone(), ..MapNotify::default() };
        // Peers that sign untruncated refuse anything shorter.
        let truncated = message.auth.tag.len() == key.algorithm.tag_length(TagForm::Truncated);
        let form = if truncated { TagForm::Truncated } else { TagForm::Untruncated };
        let bytes = auth::seal(&ControlMessage::MapNotify(notify), key, form).map_err(|_| Refusal::NotEncodable)?;
        Ok(Notify { bytes, port: site.notify })
    }

    /// Ends what is silent at `now`; names the EID-prefixes that others see changed.
    pub fn expire(&mut self, now: Instant) -> Vec<EidPrefix> {
        self.registrations.expire(now)
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.registrations.next_deadline()
    }

    /// Lets the pipe register a CGEID.
    pub fn admit_own(&mut self, cn: Cn) {
        self.own_cns.insert(cn);
        self.sites.add_to_pipe(site::host_of(self.network, cn));
    }

    /// Ends what is registered for a CGEID, and lets nobody register it any more.
    pub fn dismiss_own(&mut self, cn: Cn) {
        let prefix = site::host_of(self.network, cn);
        self.own_cns.remove(&cn);
        self.sites.remove_from_pipe(&prefix);
        self.registrations.remove(&prefix);
    }

    /// Whether it is the address of some CGEID.
    pub fn is_cgeid(&self, eid: &EidPrefix) -> bool {
        site::cgeid_prefix(self.network).covers(eid)
    }

    /// What is registered.
    pub fn registrations(&self) -> &Registrations {
        &self.registrations
    }

    /// The sites.
    pub fn sites(&self) -> &SiteTable {
        &self.sites
    }
}

fn xtr_id(message: &MapRegister) -> [u8; 16] {
    message.xtr_identity.map_or([0; 16], |identity| identity.xtr_id)
}

/// Checks the tag, truncated or not, and returns what it vouches for. Strict sites sign the whole payload. Where a legacy
/// site's tag ends with the records (RFC 9301, section 5.6, to the letter), anyone on the path may have changed xTR-ID and
/// Site-ID: the message counts as one without them, because replay memory and merged parts are found by the xTR-ID.
fn without_unsigned_tail(
    site: &Site,
    bytes: &[u8],
    key: &AuthKey,
    message: &MapRegister,
) -> Result<MapRegister, Refusal> {
    let whole = Accept { untruncated: true, narrow_coverage: false };
    match auth::verify(bytes, key, whole) {
        Ok(()) => Ok(message.clone()),
        Err(AuthError::Tag) if site.legacy => {
            auth::verify(bytes, key, Accept::INTEROP).map_err(refusal_of)?;
            Ok(MapRegister { xtr_identity: None, ..message.clone() })
        }
        Err(error) => Err(refusal_of(error)),
    }
}

fn refusal_of(error: AuthError) -> Refusal {
    match error {
        AuthError::TagLength(_) => Refusal::RegisterTagLength,
        AuthError::Tag => Refusal::RegisterBadTag,
        AuthError::KeyId { .. } => Refusal::RegisterUnknownKey,
        AuthError::Algorithm(_) => Refusal::RegisterAlgorithm,
        AuthError::Malformed(_) | AuthError::MessageType(_) => Refusal::Malformed,
    }
}

fn part_of(now: Instant, origin: Origin, message: &MapRegister, record: &MappingRecord, tally: &mut Tally) -> Part {
    let mut locators = Vec::new();
    for locator in &record.locators {
        if registration::usable(locator) && locators.len() < LOCATORS {
            locators.push(locator.clone());
        } else {
            tally.count(Refusal::LocatorUnusable);
        }
    }
    let lifetime = record.ttl.lifetime();
    Part {
        locators,
        ttl: Ttl(u32::try_from(lifetime.as_secs() / 60).unwrap_or(Ttl::DEFAULT.0)),
        map_version: record.map_version,
        proxy: message.proxy_reply,
        identity: message.xtr_identity,
        source: match origin {
            Origin::Pipe => None,
            Origin::Network(source) => Some(source),
        },
        expires: now + if message.use_ttl { lifetime.min(LONGEST_SILENCE) } else { REGISTRATION_SILENCE },
    }
}

/// Longest silence that a Map-Register with T can ask for.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 3600);
