// SPDX-License-Identifier: GPL-2.0-or-later
//! The Map-Server: who registered what (RFC 9301, sections 5.6, 5.7 and 8.2).
//!
//! A Map-Register is judged in the order of what it costs: its records against the site table, then the tag, then the
//! nonce. It is taken whole or not at all.

mod admission;
pub mod kept;
pub mod label;
pub mod lapsed;
mod locators;
mod merging;
mod moving;
mod named;
pub mod nonces;
pub mod notifier;
pub mod pace;
mod parts;
pub mod publisher;
pub mod refused;
pub mod registration;
pub mod renaming;
mod restore;
pub mod schedule;
mod seen;
pub mod signers;
pub mod silence;
pub mod site;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cgeid::{Cn, Network};
use tracing::field::display;
use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, AuthError, AuthKey, TagForm};
use wire::control::{ControlMessage, MapNotify, MapRegister};
use wire::record::{MappingRecord, Ttl};

use crate::engine::Mark;
use crate::limits::{CONFIRMED_AGAIN, NOTIFICATIONS, NOTIFICATIONS_PER_SITE, REGISTRATION_SILENCE};
use crate::nat::{Relay, Relays};
use crate::refusal::{Refusal, Tally};
use crate::transport::Now;
use admission::Admitted;
use dht::pause::Pause;
use label::registrations::LabelRegistrations;
use label::{AnyEid, Label, Spelling};
use lapsed::Lapsed;
use moving::Displaced;
use named::Budget;
use nonces::{Freshness, Last, NonceOwner, Nonces, SeenNonce};
use notifier::{Notifier, Reach};
use refused::RefusedLog;
use registration::{Change, Part, Registration, Registrations};
use renaming::{KnownKey, KnownKeys, Renamed, Salt};
use silence::SilenceLog;
use site::{NotifyPort, Site, SiteId, SiteTable};

/// Where a Map-Register came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The node's own xTR.
    Pipe,
    /// Somebody on the network.
    Network {
        /// Our address that was used.
        local: SocketAddr,
        /// Theirs, or that of an RTR.
        remote: SocketAddr,
        /// By which way it came through that.
        relay: Option<Relay>,
    },
}

/// The Map-Server's state.
#[derive(Debug)]
pub struct MapServer {
    network: Network,
    sites: SiteTable,
    own_cns: HashSet<Cn>,
    registrations: Registrations,
    labels: LabelRegistrations,
    nonces: Nonces,
    /// What a site is known by under another name.
    known_keys: KnownKeys,
    /// By EID and xTR-ID: those that merge.
    notifier: Notifier<(AnyEid, [u8; 16])>,
    /// xTRs whose EID-prefixes others have now.
    displaced: Displaced,
    /// The last nonce of a Map-Notify that nobody asked for.
    notify_nonce: u64,
    /// What must be on disk before the next such Map-Notify is sent.
    marks: Vec<Mark>,
    /// When a replay was last logged: whoever has recorded one message can send it for ever.
    replay_logged: Pause,
    /// When an old Map-Version was last logged.
    version_logged: Pause,
    /// When a Map-Notify that nobody has acknowledged was.
    unanswered_logged: Pause,
    silence_log: SilenceLog,
    refused: RefusedLog,
    /// What may be sent to locators that were only named.
    named: Budget,
    /// What ended while nobody was served.
    lapsed: Lapsed,
    /// When this run began, and how old what is registered was then.
    began: Option<(Instant, Duration)>,
}

/// What an accepted Map-Register leads to.
#[derive(Debug, Default)]
pub struct Registered {
    /// The Map-Notify, if one is wanted.
    pub notify: Option<Notify>,
    /// What must be on disk before the Map-Notify is sent.
    pub persist: Vec<Mark>,
    /// EID-prefixes that others see changed; of names, MAC addresses and pairs nobody but their xTRs is told.
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
    /// The nonces of its unsolicited Map-Notifies go on behind `notify_nonce`.
    pub fn new(network: Network, sites: SiteTable, own_cns: HashSet<Cn>, nonces: Nonces, notify_nonce: u64) -> Self {
        Self {
            network,
            sites,
            own_cns,
            registrations: Registrations::default(),
            labels: LabelRegistrations::default(),
            nonces,
            known_keys: KnownKeys::default(),
            notifier: Notifier::new(NOTIFICATIONS, NOTIFICATIONS_PER_SITE),
            displaced: Displaced::default(),
            notify_nonce,
            marks: Vec::new(),
            replay_logged: Pause::default(),
            version_logged: Pause::default(),
            unanswered_logged: Pause::default(),
            silence_log: SilenceLog::default(),
            refused: RefusedLog::default(),
            named: Budget::default(),
            lapsed: Lapsed::default(),
            began: None,
        }
    }

    /// Judges a Map-Register; `bytes` is the whole message.
    ///
    /// # Errors
    /// The reason for which it is dropped; nothing has changed then.
    pub fn register(
        &mut self,
        now: Now,
        origin: Origin,
        bytes: &[u8],
        message: &MapRegister,
        tally: &mut Tally,
    ) -> Result<Registered, Refusal> {
        let judged = self.judge(now, origin, bytes, message, tally);
        judged.inspect_err(|refusal| self.note_refused(now.monotonic, origin, message, *refusal))
    }

    fn judge(
        &mut self,
        now: Now,
        origin: Origin,
        bytes: &[u8],
        message: &MapRegister,
        tally: &mut Tally,
    ) -> Result<Registered, Refusal> {
        let records = self.admit(origin, message)?;
        let site_id = records.first().ok_or(Refusal::RegisterEmpty)?.site();
        let site = self.sites.get(site_id);
        let key = site.key(message.auth.key_id, message.auth.algorithm)?;
        let message = &without_unsigned_tail(site, bytes, &key, message)?;
        let reach = reach_of(origin, site, &key, message);

        let owner = NonceOwner { site: site.name.clone(), xtr_id: xtr_id(message), key_id: key.id };
        let last = Last::of(message.nonce, bytes);
        let legacy = site.legacy;
        let notify = if message.want_notify { Some(self.notify(site, &key, message)?) } else { None };
        let mut freshness = self.nonces.judge(now.monotonic, &owner, legacy, last);
        if freshness == Freshness::Full {
            let is_configured = |owner: &NonceOwner| self.sites.has_key(&owner.site, owner.key_id);
            let (forgotten, floors) = self.nonces.make_room(now.monotonic, is_configured);
            self.marks.extend(floors.into_iter().map(Mark::NonceFloor));
            self.marks.extend(forgotten.into_iter().map(Mark::ForgottenNonce));
            freshness = self.nonces.judge(now.monotonic, &owner, legacy, last);
        }
        match freshness {
            Freshness::Fresh => {}
            Freshness::Retransmission if self.stands(now.monotonic, (origin, site_id), message) => {
                return Ok(Registered { notify, ..Registered::default() });
            }
            Freshness::Retransmission | Freshness::Replayed => {
                self.warn_of_replay(now.monotonic, origin, &owner, message);
                return Err(Refusal::RegisterReplayed);
            }
            Freshness::Full => return Err(Refusal::RegisterTableFull),
        }
        self.admit_locators(message, &records)?;
        if !self.has_room(message, &records) {
            return Err(Refusal::RegisterTableFull);
        }
        self.admit_versions(now.monotonic, site_id, message, &records)?;
        if message.merge {
            self.named.received(site_id.index(), bytes.len());
        }
        let former = self.formers(origin, message);
        let changed = self.apply(now.monotonic, origin, site_id, message, (&records, reach), tally);
        for eid in &changed {
            self.tell(now, *eid, Some(xtr_id(message)), tally);
            eid.prefix().into_iter().for_each(|prefix| self.tell_free(now, prefix, tally));
        }
        for (prefix, former) in former.into_iter().filter(|(prefix, _)| changed.contains(&(*prefix).into())) {
            self.tell_former(now, (prefix, site_id), former, tally);
        }
        let changed = changed.into_iter().filter_map(AnyEid::prefix).collect();
        let mut persist = self.remember(now, owner, legacy, last);
        if !self.sites.is_pipe(site_id) {
            persist.extend(self.known_keys.note(self.sites.get(site_id), message.auth.key_id));
        }
        persist.extend(self.marks_of_registrations());
        Ok(Registered { notify, persist, changed })
    }

    /// Whether a Map-Register that was accepted before still says what is so, and may be confirmed once more: its Map-Notify was lost, and
    /// the xTR has sent the original again (RFC 9301, section 5.7). What has ended since, or another xTR or key has since, is neither
    /// confirmed, which would be a lie, nor registered anew: by section 5.6 a nonce that is not greater must be dropped, and whoever has
    /// seen the message go by could let the registration live for ever. The xTR's next one has another nonce.
    ///
    /// Of one that came by an RTR more is asked. The RTR leads the packets to whoever sent it when it is confirmed: what
    /// another xTR has since, or this one by another way, must not be confirmed to who has seen it go by; nor what was accepted longer ago
    /// than anybody waits for the answer, since an RTR that was started again knows not whose it was; nor what was accepted before this run.
    fn stands(&self, now: Instant, (origin, site): (Origin, SiteId), message: &MapRegister) -> bool {
        let is_led = |part: &Part, record: &MappingRecord| {
            let Origin::Network { relay: Some(relay), .. } = origin else { return true };
            let is_led_by = part.relays.as_deref().is_some_and(|relays| relays.last() == Some(relay));
            let silence = silence(message, record);
            let is_recent =
                now + silence < part.expires + CONFIRMED_AGAIN && self.is_of_this_run(part.expires, silence);
            // No packets are sent to names, MAC addresses and pairs.
            record.eid.ip_prefix().is_none() || is_led_by && is_recent
        };
        message.records.iter().filter(|record| !locators::withdraws(record)).all(|record| {
            let entry = AnyEid::of(&record.eid).and_then(|eid| self.entry(&eid)).filter(|entry| entry.site == site);
            let part = entry.and_then(|entry| entry.part(&xtr_id(message)));
            part.is_some_and(|part| part.expires > now && part.key_id == message.auth.key_id && is_led(part, record))
        })
    }

    /// What is registered for an EID.
    fn entry(&self, eid: &AnyEid) -> Option<&Registration> {
        match eid {
            AnyEid::Prefix(prefix) => self.registrations.get(prefix),
            AnyEid::Label(label) => self.labels.get(label),
        }
    }

    /// Remembers the nonce of a message that is taken; gives what must be on disk for that.
    fn remember(&mut self, now: Now, owner: NonceOwner, legacy: bool, last: Last) -> Vec<Mark> {
        let forgotten = self.nonces.accept(now.monotonic, owner.clone(), legacy, last);
        let mut marks = vec![Mark::Nonce(owner.clone(), last)];
        if legacy {
            let seen = SeenNonce { owner: owner.clone(), nonce: last.nonce, at: self.nonces.steady(now) };
            marks.push(Mark::Seen(seen));
            marks.extend(forgotten.into_iter().map(|nonce| Mark::ForgottenSeen(owner.clone(), nonce)));
        }
        marks
    }

    fn warn_of_replay(&mut self, now: Instant, origin: Origin, owner: &NonceOwner, message: &MapRegister) {
        self.replay_logged.line(now, |left_out| {
            let eid = message.records.first().and_then(|record| AnyEid::of(&record.eid)).map(display);
            let from = if let Origin::Network { remote, .. } = origin { Some(display(remote)) } else { None };
            tracing::warn!(site = owner.site, eid, from, nonce = message.nonce.0, left_out, "Map-Register replayed");
        });
    }

    fn apply(
        &mut self,
        now: Instant,
        origin: Origin,
        site: SiteId,
        message: &MapRegister,
        (records, reach): (&[Admitted], Option<Reach>),
        tally: &mut Tally,
    ) -> Vec<AnyEid> {
        let mut changed = Vec::new();
        for (record, eid) in message.records.iter().zip(records.iter().map(Admitted::eid)) {
            let reach = reach.map(|reach| Box::new(Reach { spelling: Spelling::of(&record.eid), ..reach }));
            let ends = message.use_ttl.then(|| kept::end(&eid, self.age(now), silence(message, record)));
            let part = Part { reach, ends, ..part_of(now, origin, message, record, tally) };
            let is_over = locators::withdraws(record);
            // Of xTRs that merge each takes back its own: another one may still register.
            let is_known_again = !(is_over && message.merge) && self.lapsed.forget(&eid);
            let change = match eid {
                AnyEid::Prefix(prefix) if is_over => {
                    self.displaced.forget(prefix, xtr_id(message));
                    self.registrations.withdraw(&prefix, site, xtr_id(message))
                }
                AnyEid::Prefix(prefix) => {
                    self.displaced.forget(prefix, xtr_id(message));
                    self.registrations.put(now, prefix, site, message.merge, part)
                }
                AnyEid::Label(label) if is_over => self.labels.withdraw(&label, site, xtr_id(message)),
                AnyEid::Label(label) => self.labels.put(label, site, message.merge, part),
            };
            match change {
                Change::Changed => changed.push(eid),
                // What others see of the run before is taken back.
                Change::None if is_over && is_known_again => {
                    let mark = self.mark_of(eid);
                    self.marks.extend(mark);
                    changed.push(eid);
                }
                Change::None => {}
                Change::Full => {
                    tally.count(Refusal::RegisterTableFull);
                    self.note_refused(now, origin, message, Refusal::RegisterTableFull);
                }
            }
        }
        changed
    }

    /// The Map-Notify: same records, same nonce, signed with the key of the Map-Register (RFC 9301, section 5.7).
    fn notify(&self, site: &Site, key: &AuthKey, message: &MapRegister) -> Result<Notify, Refusal> {
        let notify = MapNotify { nonce: message.nonce, records: message.records.clone(), ..MapNotify::default() };
        let form = form_of(key, message);
        let bytes = auth::seal(&ControlMessage::MapNotify(notify), key, form).map_err(|_| Refusal::NotEncodable)?;
        Ok(Notify { bytes, port: site.notify })
    }

    /// Ends what is silent at `now`, and sends Map-Notifies that are due; names the EID-prefixes that others see changed.
    pub fn handle_timeout(&mut self, now: Now, tally: &mut Tally) -> Vec<EidPrefix> {
        let mut eids: Vec<AnyEid> = self.registrations.expire(now.monotonic).into_iter().map(AnyEid::from).collect();
        eids.extend(self.labels.expire(now.monotonic).into_iter().map(AnyEid::from));
        eids.extend(self.expire_lapsed(now.monotonic));
        self.silence_log.handle_timeout(now.monotonic);
        self.refused.handle_timeout(now.monotonic);
        let forgotten = self.nonces.expire(now.monotonic).into_iter();
        self.marks.extend(forgotten.map(|(owner, nonce)| Mark::ForgottenSeen(owner, nonce)));
        for eid in &eids {
            self.silence_log.note(now.monotonic, eid);
            self.tell(now, *eid, None, tally);
            eid.prefix().into_iter().for_each(|prefix| self.tell_free(now, prefix, tally));
        }
        let marks = self.marks_of_registrations();
        self.marks.extend(marks);
        self.notifier.handle_timeout(now.monotonic);
        while let Some(((eid, _), _)) = self.notifier.poll_given_up() {
            self.unanswered_logged
                .line(now.monotonic, |left_out| tracing::info!(%eid, left_out, "Map-Notify not acknowledged"));
            tally.count(Refusal::NotifyUnacknowledged);
        }
        eids.into_iter().filter_map(AnyEid::prefix).collect()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines =
            [self.registrations.next_deadline(), self.notifier.next_deadline(), self.silence_log.next_deadline()];
        let others = [self.labels.next_deadline(), self.nonces.next_deadline(), self.lapsed.next_deadline()];
        deadlines.into_iter().chain(others).chain([self.refused.next_deadline()]).flatten().min()
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

    /// Takes up the keys of sites that were known in the run before; says which sites have another name now.
    pub fn recognize(&mut self, now: Now, known: Vec<KnownKey>, salt: Salt) -> Renamed {
        self.known_keys = KnownKeys::restore(salt, known);
        self.rename(now)
    }

    /// Lets sites that have another name now keep what is remembered of them.
    fn rename(&mut self, now: Now) -> Renamed {
        let (renamed, marks) = self.known_keys.compare(&self.sites);
        let nonces = self.nonces.rename(now, &renamed);
        self.marks.extend(nonces.into_iter().chain(marks));
        renamed
    }

    /// Takes other sites. What is registered stays if the site of the same name, or of the same key and EIDs, may still register it, with whatever key, and an INDEX page has
    /// room for it if it stands there from now on; names the prefixes, and the names, MAC addresses and pairs, of which nothing stays.
    pub fn reconfigure(&mut self, now: Now, sites: SiteTable, tally: &mut Tally) -> (Vec<EidPrefix>, Vec<Label>) {
        let older = std::mem::replace(&mut self.sites, sites);
        let renamed = self.rename(now);
        self.nonces.note_change();
        self.named.renumber();
        self.notifier.tell_none_too();
        let newer = &self.sites;
        // Once for each site: there may be a hundred times as many registrations, and nobody is answered meanwhile.
        let renumbered: Vec<Option<SiteId>> =
            older.iter().map(|(_, site)| newer.named(renamed.name_of(&site.name))).collect();
        self.refused.renumber(&renumbered);
        let mut ended = self.registrations.assign(|prefix, id| {
            let site = renumbered[id.index()]?;
            newer.find(prefix).is_some_and(|grant| grant.site == site && grant.registrable).then_some(site)
        });
        let labels = self.labels.assign(|label, id| {
            let site = renumbered[id.index()]?;
            newer.labels().find(label).is_some_and(|grant| grant.site == site).then_some(site)
        });
        // On disk they are of the former name.
        let renamed: HashSet<SiteId> = renamed.names().filter_map(|name| newer.named(name)).collect();
        self.registrations.save_again(&renamed);
        self.labels.save_again(&renamed);
        ended.extend(self.end_surplus());
        let registrations = &self.registrations;
        self.displaced.assign(|prefix| registrations.get(prefix).map(|entry| entry.site));
        for prefix in &ended {
            self.tell(now, (*prefix).into(), None, tally);
        }
        for label in &labels {
            self.tell(now, (*label).into(), None, tally);
        }
        (ended, labels)
    }

    /// Whether it is the address of some CGEID.
    pub fn is_cgeid(&self, eid: &EidPrefix) -> bool {
        site::cgeid_prefix(self.network).covers(eid)
    }

    /// What is registered.
    pub fn registrations(&self) -> &Registrations {
        &self.registrations
    }

    /// What ended while nobody was served, and may be registered anew.
    pub fn lapsed(&self) -> &Lapsed {
        &self.lapsed
    }

    /// The names, MAC addresses and pairs that are registered.
    pub fn labels(&self) -> &LabelRegistrations {
        &self.labels
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

/// How an xTR that asks for merging is told what the others do, but for its RTRs, which its part collects; the pipe needs no telling.
fn reach_of(origin: Origin, site: &Site, key: &AuthKey, message: &MapRegister) -> Option<Reach> {
    let Origin::Network { local, mut remote, relay } = origin else { return None };
    if site.notify == NotifyPort::Control || relay.is_some() {
        remote.set_port(wire::CONTROL_PORT);
    }
    let form = form_of(key, message);
    message.merge.then_some(Reach {
        local,
        remote,
        relays: Relays::default(),
        key_id: key.id,
        algorithm: key.algorithm,
        form,
        spelling: Spelling::default(),
    })
}

/// The length of tags that a peer makes: those that sign untruncated refuse anything shorter.
fn form_of(key: &AuthKey, message: &MapRegister) -> TagForm {
    let truncated = message.auth.tag.len() == key.algorithm.tag_length(TagForm::Truncated);
    if truncated { TagForm::Truncated } else { TagForm::Untruncated }
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
    let (source, relay) = match origin {
        Origin::Pipe => (None, None),
        Origin::Network { remote, relay, .. } => (Some(remote.into()), relay),
    };
    Part {
        locators: locators::kept(record, tally),
        ttl: Ttl(u32::try_from(record.ttl.lifetime().as_secs() / 60).unwrap_or(Ttl::DEFAULT.0)),
        map_version: record.map_version,
        proxy: message.proxy_reply,
        security: message.security_capable,
        key_id: message.auth.key_id,
        identity: message.xtr_identity.map(Box::new),
        source,
        relays: relay.map(|relay| Box::new(Relays::default().led_by(relay))),
        reach: None,
        expires: now + silence(message, record),
        ends: None,
    }
}

/// Silence after which what a record registers is withdrawn.
fn silence(message: &MapRegister, record: &MappingRecord) -> Duration {
    if message.use_ttl { record.ttl.lifetime().min(LONGEST_SILENCE) } else { REGISTRATION_SILENCE }
}

/// Longest silence that a Map-Register with T can ask for.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 3600);
