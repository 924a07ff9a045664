// SPDX-License-Identifier: GPL-2.0-or-later
//! What is registered, signed into the DHT (DESIGN 3.2, 3.5 and 4).
//!
//! * a CGEID of this node: a MAPPING beside its IDENTITY, signed by its own operational key;
//! * any other EID-prefix: a PREFIX section, signed by the node's first identity, the registrar;
//! * an INDEX page for each configured prefix that no given trust anchor covers (the node is its own anchor), and for
//!   each under which sites may register more-specifics (the registrar's live page);
//! * of a site with `publish = "aggregate"` nothing but its configured prefixes: PREFIX sections without locators, which
//!   send who asks for anything inside to this Map-Server, and where others are the anchor a live page that lists the prefix itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cgeid::{Cn, Network, OperationalKey};
use dht::limits::LIVE_INDEX_LIFETIME;
use dht::publish::{self, PageKind, Publication, Sequence};
use dht::record::{Entry, Index, Mapping, Prefix, RecordKey, Rloc, Site, Subject, Target};
use dht::resolve::TrustAnchor;
use dht::{Malformed, PublishError};
use wire::address::EidPrefix;
use wire::record::{MapVersion, Ttl};

use crate::engine::{Mark, Output};
use crate::limits::{PUTS_KEPT, REGISTRATION_SILENCE, SEQUENCES};
use crate::refusal::Refusal;
use crate::register::MapServer;
use crate::register::pace::PutOutcome;
use crate::register::registration::{Merged, Registrations};
use crate::register::schedule::{Schedule, Topic};
use crate::register::signers::{Added, Signers};
use crate::register::site::{SiteTable, cgeid_prefix, cn_of, host_of};
use crate::transport::{Now, Sockets};
use dht::pause::Pause;

/// Addresses of the Map-Server in a PREFIX section: one of each family.
const ADDRESSES: usize = dht::limits::MAP_SERVERS;

/// What the publisher is made of.
#[derive(Debug)]
pub struct Config {
    /// The network of the CGEIDs.
    pub network: Network,
    /// The keys to sign with.
    pub signers: Signers,
    /// Who delegates what.
    pub trust_anchors: Vec<TrustAnchor>,
    /// Where Map-Requests for sites that answer themselves are to be sent.
    pub map_servers: BTreeSet<IpAddr>,
}

/// Signs and schedules.
#[derive(Debug)]
pub struct Publisher {
    config: Config,
    schedule: Schedule,
    standing: Standing,
    sequences: BTreeMap<Cn, Sequence>,
    is_clock_right: bool,
    in_flight: HashMap<RecordKey, (Topic, Sequence)>,
    /// What is registered and waits for its first PUT: no page lists it before, since who found it there would not find the record.
    unlisted: HashSet<Topic>,
    /// What was signed and is not known to be stored: it is put again as it is, while it is what is so.
    kept: HashMap<Topic, Publication>,
    /// When each page that lists what is registered was signed that is stored now.
    live_pages: HashMap<RecordKey, Sequence>,
    /// When what an earlier run published, and nobody has registered since, is withdrawn.
    sweep_at: Option<Instant>,
    /// When it was last logged that something cannot be signed, and how often that has been so since.
    unsigned_logged: Pause,
    /// Pages of an earlier run that stay as they are until then.
    waiting: Option<(Instant, BTreeSet<Topic>)>,
}

/// What is published of the configuration itself, whoever registers.
#[derive(Debug, Default)]
struct Standing {
    /// Prefixes for which this node is its own anchor.
    anchored: BTreeSet<EidPrefix>,
    /// Prefixes with an index page, and the longest more-specific on it.
    paged: BTreeMap<EidPrefix, u8>,
    /// Prefixes with a PREFIX section that sends everybody here.
    aggregated: BTreeSet<EidPrefix>,
}

impl Standing {
    fn of(config: &Config, sites: &SiteTable) -> Self {
        let mut standing = Self::default();
        let cgeids = cgeid_prefix(config.network);
        for prefix in sites.prefixes().filter(|prefix| !cgeids.covers(prefix) && config.signers.registrar().is_some()) {
            let aggregated = sites.is_aggregated(&prefix);
            let max_len = sites.max_len(&prefix).filter(|_| !aggregated).unwrap_or(prefix.net.prefix_len());
            if aggregated {
                standing.aggregated.insert(prefix);
            }
            let own_anchor = !config.trust_anchors.iter().any(|anchor| anchor.aggregate.covers(&prefix));
            if own_anchor {
                standing.anchored.insert(prefix);
            }
            // Who was delegated more-specifics of an aggregate is asked which there are: it is itself the only one.
            if own_anchor || aggregated || max_len > prefix.net.prefix_len() {
                standing.paged.insert(prefix, max_len);
            }
        }
        standing
    }

    fn topics(&self) -> impl Iterator<Item = Topic> {
        let sections = self.aggregated.iter().copied().map(Topic::Prefix);
        sections.chain(self.paged.keys().copied().map(Topic::Index))
    }

    /// Whether it is a page of what is registered.
    fn lists_live(&self, topic: &Topic) -> bool {
        let Topic::Index(prefix) = topic else { return false };
        self.paged.get(prefix).is_some_and(|max_len| *max_len > prefix.net.prefix_len())
    }

    /// What is said of a topic.
    fn says(&self, topic: &Topic) -> (bool, Option<u8>) {
        match topic {
            Topic::Cgeid(_) => (false, None),
            Topic::Prefix(prefix) => (self.aggregated.contains(prefix), None),
            Topic::Index(prefix) => (self.anchored.contains(prefix), self.paged.get(prefix).copied()),
        }
    }
}

/// What the shell's sockets tell others: an address of each family, if it is one.
pub fn published_addresses(sockets: &Sockets) -> BTreeSet<IpAddr> {
    let usable =
        |ipv4: bool| sockets.0.iter().map(|socket| socket.ip()).find(|ip| ip.is_ipv4() == ipv4 && !ip.is_unspecified());
    [usable(true), usable(false)].into_iter().flatten().take(ADDRESSES).collect()
}

impl Publisher {
    /// A publisher that starts with the index pages; `sequences` is what the last run signed, and `live_pages` which of its pages that
    /// list what is registered were stored when. These are better than new ones, as long as they live and sites have not had the time
    /// to register again.
    pub fn new(
        now: Now,
        config: Config,
        sites: &SiteTable,
        (sequences, live_pages): (BTreeMap<Cn, Sequence>, Vec<(RecordKey, Sequence)>),
    ) -> Self {
        let standing = Standing::of(&config, sites);
        let settled = now.monotonic + REGISTRATION_SILENCE;
        let registrar = config.signers.registrar().map(OperationalKey::cn);
        let living = live_pages.iter().filter(|(key, at)| Some(key.writer) == registrar && outlives(now.wall, *at));
        let living = living.filter_map(|(key, _)| page_of(key)).filter(|page| standing.lists_live(page));
        let waiting: BTreeSet<Topic> = living.collect();
        let mut schedule = Schedule::default();
        for topic in standing.topics() {
            schedule.mark(if waiting.contains(&topic) { settled } else { now.monotonic }, topic);
        }
        let sweep_at = (!sequences.is_empty()).then_some(settled);
        let (waiting, live_pages) = (Some((settled, waiting)), live_pages.into_iter().collect());
        let (in_flight, unlisted, kept, is_clock_right) = (HashMap::new(), HashSet::new(), HashMap::new(), false);
        Self {
            config,
            schedule,
            standing,
            sequences,
            is_clock_right,
            unsigned_logged: Pause::default(),
            in_flight,
            unlisted,
            kept,
            live_pages,
            sweep_at,
            waiting,
        }
    }

    /// Whether the clock is right, as far as peers say.
    pub fn trust_clock(&mut self, wall: SystemTime, is_right: bool) {
        if is_right && !self.is_clock_right {
            // It may have been signed by a clock that was ahead.
            self.kept.clear();
            if self.sequences.values().any(|last| last.by_right_clock(wall) != *last) {
                self.schedule.refresh_all();
            }
        }
        self.is_clock_right = is_right;
    }

    /// The prefixes for which this node is its own anchor.
    pub fn own_anchors(&self) -> Vec<TrustAnchor> {
        let Some(cn) = self.registrar().map(OperationalKey::cn) else { return Vec::new() };
        self.standing.anchored.iter().map(|prefix| TrustAnchor { aggregate: *prefix, cn }).collect()
    }

    /// Notes that what is registered for a prefix has changed.
    pub fn changed(&mut self, now: Instant, prefix: EidPrefix, server: &MapServer) {
        if self.registrar().is_none() || server.sites().is_aggregated(&prefix) {
            return;
        }
        let topic = self.topic(prefix);
        // What an earlier run may have published can be on the page already.
        if matches!(topic, Topic::Prefix(_)) && !self.schedule.contains(&topic) && self.sweep_at.is_none() {
            self.unlisted.insert(topic);
        }
        self.schedule.mark(now, topic);
        if !self.unlisted.contains(&topic) {
            self.changed_on_page(now, prefix, server);
        }
    }

    /// Notes that the page has changed that lists this prefix, if one does.
    fn changed_on_page(&mut self, now: Instant, prefix: EidPrefix, server: &MapServer) {
        let configured = server.sites().find(&prefix).map(|grant| grant.configured);
        // An anchor's page names its very prefix always; another's is named as long as it is registered.
        let is_named_anyway = |page: &EidPrefix| *page == prefix && self.standing.anchored.contains(page);
        let is_paged = |page: &EidPrefix| self.standing.paged.contains_key(page) && !is_named_anyway(page);
        if let Some(configured) = configured.filter(is_paged) {
            self.schedule.mark(now, Topic::Index(configured));
        }
    }

    /// Has those on their pages from now on that were registered and not put yet.
    fn list(&mut self, now: Instant, topics: &[Topic], server: &MapServer) {
        for topic in topics {
            if let Topic::Prefix(prefix) = *topic
                && self.unlisted.remove(topic)
            {
                self.changed_on_page(now, prefix, server);
            }
        }
    }

    /// Takes other anchors and, in `server`, other sites, and publishes what others see changed by that. `ended` are the
    /// registrations that ended with their sites.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        trust_anchors: Vec<TrustAnchor>,
        server: &MapServer,
        ended: &[EidPrefix],
    ) {
        self.config.trust_anchors = trust_anchors;
        let newer = Standing::of(&self.config, server.sites());
        let older = std::mem::replace(&mut self.standing, newer);
        let standing: BTreeSet<Topic> = older.topics().chain(self.standing.topics()).collect();
        for topic in standing {
            if older.says(&topic) != self.standing.says(&topic) {
                self.schedule.mark(now, topic);
            }
        }
        // Each prefix by itself, where one stood for all.
        let split: Vec<EidPrefix> = older.aggregated.difference(&self.standing.aggregated).copied().collect();
        for (prefix, _) in split.iter().flat_map(|aggregate| server.registrations().inside(aggregate)) {
            self.changed(now, prefix, server);
        }
        // One for all, where each stood by itself; and what nobody has any more. What was never published needs no withdrawal.
        let newly: Vec<&EidPrefix> = self.standing.aggregated.difference(&older.aggregated).collect();
        let superseded = newly.into_iter().flat_map(|aggregate| server.registrations().inside(aggregate));
        let superseded: Vec<EidPrefix> = superseded.map(|(inner, _)| inner).chain(ended.iter().copied()).collect();
        for prefix in superseded {
            let topic = self.topic(prefix);
            if self.schedule.contains(&topic) {
                self.schedule.mark(now, topic);
            }
            let page = server.sites().find(&prefix).map(|grant| grant.configured);
            if let Some(page) = page.filter(|page| self.standing.paged.contains_key(page)) {
                self.schedule.mark(now, Topic::Index(page));
            }
        }
    }

    /// Leads who asks for its sites to other addresses from now on; while there are none to tell of, to those before.
    pub fn readdress(&mut self, map_servers: BTreeSet<IpAddr>) {
        if map_servers.is_empty() || map_servers == self.config.map_servers {
            return;
        }
        let addresses: Vec<String> = map_servers.iter().map(ToString::to_string).collect();
        tracing::info!(addresses = addresses.join(", "), "others are told of other addresses");
        self.config.map_servers = map_servers;
        self.schedule.mark_all(|topic| matches!(topic, Topic::Prefix(_)));
    }

    /// The keys of this node's identities, the registrar's first.
    pub fn identities(&self) -> impl Iterator<Item = &OperationalKey> {
        self.config.signers.iter()
    }

    /// Takes the key of another identity, or a newer one of the same: what that signed is then published again under it.
    ///
    /// # Errors
    /// As [`Signers::add`].
    pub fn add(&mut self, key: OperationalKey) -> Result<Added, Refusal> {
        let cn = key.cn();
        let added = self.config.signers.add(key)?;
        if added == Added::Renewed {
            let is_registrar = self.registrar().is_some_and(|registrar| registrar.cn() == cn);
            self.schedule.mark_all(|topic| match topic {
                Topic::Cgeid(other) => *other == cn,
                Topic::Prefix(_) | Topic::Index(_) => is_registrar,
            });
        }
        Ok(added)
    }

    /// Lets an identity go: what it published, in this run or an earlier one, is withdrawn.
    ///
    /// # Errors
    /// As [`Signers::remove`].
    pub fn remove(&mut self, now: Instant, cn: Cn) -> Result<(), Refusal> {
        self.config.signers.remove(cn)?;
        self.schedule.mark(now, Topic::Cgeid(cn));
        Ok(())
    }

    /// The process ends: what has changed goes out now or never.
    pub fn hurry(&mut self, now: Instant, server: &MapServer) {
        let new: Vec<Topic> = self.unlisted.iter().copied().collect();
        self.list(now, &new, server);
        let waiting = self.waiting.as_ref().filter(|(until, _)| *until > now).map(|(_, waiting)| waiting);
        self.schedule.hurry(now, |topic| waiting.is_none_or(|waiting| !waiting.contains(topic)));
    }

    /// Whether a PUT is in flight.
    pub fn is_busy(&self) -> bool {
        self.schedule.is_busy()
    }

    /// Publishes everything again: the DHT has new members.
    pub fn refresh_all(&mut self) {
        self.schedule.refresh_all();
    }

    /// Takes the end of a PUT. Gives what is to be on disk of it.
    pub fn done(&mut self, now: Instant, key: &RecordKey, outcome: PutOutcome, server: &MapServer) -> Option<Mark> {
        let registrations = server.registrations();
        let (topic, sequence) = self.in_flight.remove(key)?;
        let stored = self.schedule.done(now, topic, outcome);
        let withdrawn = match topic {
            Topic::Cgeid(cn) => registrations.get(&self.cgeid(cn)).is_none(),
            Topic::Prefix(prefix) if self.standing.aggregated.contains(&prefix) => false,
            Topic::Prefix(prefix) => registrations.get(&prefix).is_none() || server.sites().is_aggregated(&prefix),
            Topic::Index(prefix) => !self.standing.paged.contains_key(&prefix),
        };
        if !stored {
            return None;
        }
        self.kept.remove(&topic);
        let left = if withdrawn { self.forget(topic) } else { None };
        left.map(Mark::ForgottenSequence).or_else(|| self.note_page(key, topic, sequence))
    }

    /// Notes when a page was stored that lists what is registered, or that it does so no more.
    fn note_page(&mut self, key: &RecordKey, topic: Topic, sequence: Sequence) -> Option<Mark> {
        if self.standing.lists_live(&topic) {
            self.live_pages.insert(*key, sequence);
            return Some(Mark::LivePage(*key, sequence));
        }
        self.live_pages.remove(key).map(|_| Mark::ForgottenLivePage(*key))
    }

    /// Forgets a withdrawn topic, and its key with it if nothing else is to be signed with that. Of an identity that has
    /// left not even the sequence is kept: a list of them would tell which temporary CGEIDs the node had. Should it come
    /// back, the clock is above what it signed.
    fn forget(&mut self, topic: Topic) -> Option<Cn> {
        self.schedule.forget(&topic);
        let Topic::Cgeid(cn) = topic else { return None };
        if self.schedule.contains(&topic) {
            return None;
        }
        self.config.signers.forget(cn);
        let is_gone = self.config.signers.of(cn).is_none();
        is_gone.then(|| self.sequences.remove(&cn))?.map(|_| cn)
    }

    /// Signs what is due.
    pub fn publish(&mut self, now: Now, server: &MapServer, outputs: &mut VecDeque<Output>) {
        outputs.extend(self.sweep(now.monotonic, server).into_iter().map(Mark::ForgottenLivePage).map(Output::Persist));
        let due = self.schedule.due(now.monotonic);
        self.list(now.monotonic, &due, server);
        for topic in due {
            if let Some(kept) = self.kept.get(&topic).filter(|_| self.schedule.is_repeated(&topic)).cloned() {
                self.put(topic, kept, outputs);
                continue;
            }
            self.kept.remove(&topic);
            match self.sign(now, topic, server) {
                Ok(publication) => {
                    let mark = Mark::Sequence(publication.key.writer, Sequence(publication.sequence));
                    outputs.push_back(Output::Persist(mark));
                    outputs.extend(self.trim_sequences().map(Mark::ForgottenSequence).map(Output::Persist));
                    if self.kept.len() < PUTS_KEPT {
                        self.kept.insert(topic, publication.clone());
                    }
                    self.put(topic, publication, outputs);
                }
                Err(_) if self.has_left(topic, now.wall) => {
                    self.schedule.done(now.monotonic, topic, PutOutcome::NEEDLESS);
                    outputs.extend(self.forget(topic).map(Mark::ForgottenSequence).map(Output::Persist));
                }
                Err(error) => {
                    self.warn_unsigned(now.monotonic, topic, &error);
                    self.schedule.done(now.monotonic, topic, PutOutcome::FAILED);
                }
            }
        }
    }

    /// What keeps one record from being signed mostly keeps all: one is named, and how many attempts there were.
    fn warn_unsigned(&mut self, now: Instant, record: Topic, error: &SignError) {
        self.unsigned_logged.line(now, |left_out| {
            tracing::error!(%record, attempts = left_out.unwrap_or(0) + 1, %error, "cannot publish");
        });
    }

    fn put(&mut self, topic: Topic, publication: Publication, outputs: &mut VecDeque<Output>) {
        let Publication { key, value, sequence } = publication;
        self.in_flight.insert(key, (topic, Sequence(sequence)));
        outputs.push_back(Output::DhtPut { key, bytes: value });
    }

    /// Whether nobody believes the key of an identity that is leaving any more: its records have ended with it.
    fn has_left(&self, topic: Topic, wall: SystemTime) -> bool {
        let Topic::Cgeid(cn) = topic else { return false };
        let key = self.config.signers.of(cn).filter(|_| self.config.signers.is_leaving(cn));
        key.is_some_and(|key| key.certificate().not_after() < wall)
    }

    /// Forgets the oldest sequence of an identity that is gone, if there are too many. Should it come back, the clock
    /// is above what it signed.
    fn trim_sequences(&mut self) -> Option<Cn> {
        if self.sequences.len() <= SEQUENCES {
            return None;
        }
        let gone = self.sequences.iter().filter(|(cn, _)| self.config.signers.of(**cn).is_none());
        let (oldest, _) = gone.min_by_key(|(_, sequence)| **sequence)?;
        let oldest = *oldest;
        self.sequences.remove(&oldest);
        Some(oldest)
    }

    /// Once the sites have had the time to register again after a restart, withdraws what they have not. Gives the pages that are ours no
    /// longer.
    fn sweep(&mut self, now: Instant, server: &MapServer) -> Vec<RecordKey> {
        if self.sweep_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.sweep_at = None;
        let is_absent =
            |prefix: &EidPrefix| server.registrations().get(prefix).is_none() && !server.sites().is_aggregated(prefix);
        for prefix in server.sites().prefixes().filter(is_absent) {
            self.schedule.mark(now, self.topic(prefix));
        }
        let registrar = self.registrar().map(OperationalKey::cn);
        let is_ours = |key: &RecordKey| {
            Some(key.writer) == registrar && page_of(key).is_some_and(|page| self.standing.lists_live(&page))
        };
        let gone: Vec<RecordKey> = self.live_pages.keys().copied().filter(|key| !is_ours(key)).collect();
        for key in &gone {
            self.live_pages.remove(key);
        }
        gone
    }

    /// When [`Self::publish`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.schedule.next_deadline(), self.sweep_at].into_iter().flatten().min()
    }

    /// Whether what is registered for a prefix can be read in the DHT.
    pub fn is_settled(&self, prefix: &EidPrefix) -> bool {
        self.schedule.is_settled(&self.topic(*prefix))
    }

    fn sign(&mut self, now: Now, topic: Topic, server: &MapServer) -> Result<Publication, SignError> {
        let (network, wall) = (self.config.network, now.wall);
        let signer = match topic {
            Topic::Cgeid(cn) => self.config.signers.of(cn),
            Topic::Prefix(_) | Topic::Index(_) => self.registrar(),
        };
        let signer = signer.ok_or(SignError::NoKey)?;
        let last = self.sequences.get(&signer.cn()).copied().unwrap_or_default();
        let mut sequence = if self.is_clock_right { last.by_right_clock(wall) } else { last };
        let registered = |prefix| server.registrations().get(&prefix).map(|registration| registration.merged());
        let publication = match topic {
            Topic::Cgeid(cn) => match registered(self.cgeid(cn)) {
                Some(merged) => publish::mapping(signer, network, mapping(&merged), wall, &mut sequence),
                None => publish::withdraw_mapping(signer, network, wall, &mut sequence),
            },
            Topic::Prefix(prefix) if self.standing.aggregated.contains(&prefix) => {
                publish::prefix(signer, network, self.aggregate(prefix), wall, &mut sequence)
            }
            Topic::Prefix(prefix) => match registered(prefix).filter(|_| !server.sites().is_aggregated(&prefix)) {
                Some(merged) => publish::prefix(signer, network, self.section(prefix, &merged), wall, &mut sequence),
                None => publish::withdraw_prefix(signer, network, prefix, wall, &mut sequence),
            },
            Topic::Index(covering) => {
                let (page, kind) = self.page(covering, signer.cn(), server.registrations())?;
                publish::index(signer, network, page, kind, wall, &mut sequence)
            }
        }?;
        self.sequences.insert(signer.cn(), sequence);
        Ok(publication)
    }

    fn section(&self, prefix: EidPrefix, merged: &Merged) -> Prefix {
        let xtr_ids = merged.identities.iter().map(|identity| identity.xtr_id).take(dht::limits::XTR_IDS).collect();
        let site_id = merged.identities.first().map_or(0, |identity| identity.site_id);
        // What only a Map-Reply can say is asked for here, if there is a way to ask and else what can be said must do.
        let mut addresses = merged.locators.iter().map(|locator| locator.rloc.ip().is_some());
        let is_said = if self.config.map_servers.is_empty() { addresses.any(|is| is) } else { addresses.all(|is| is) };
        let proxy = merged.proxy && is_said;
        let site = Site { proxy, site_id, xtr_ids };
        Prefix { prefix, mapping: mapping(merged), site, map_servers: self.config.map_servers.clone() }
    }

    /// Whoever asks for what is inside is to ask here.
    fn aggregate(&self, prefix: EidPrefix) -> Prefix {
        let site = Site { proxy: false, site_id: 0, xtr_ids: BTreeSet::new() };
        let map_servers = self.config.map_servers.clone();
        Prefix { prefix, mapping: Mapping::new([], Ttl::DEFAULT), site, map_servers }
    }

    /// The site itself, where this node is the anchor, and the live more-specifics. Where both are on one page the
    /// longest live entry wins, and the site's own entry says that the rest of it is delegated.
    fn page(&self, covering: EidPrefix, own: Cn, live: &Registrations) -> Result<(Index, PageKind), Malformed> {
        let registrars = BTreeSet::from([own]);
        let length = |prefix: &EidPrefix| prefix.net.prefix_len();
        let entry = |prefix: EidPrefix, max_plen| Entry {
            prefix,
            target: Target::Site { registrars: registrars.clone(), max_plen },
        };
        let max_len = self.standing.paged.get(&covering).copied().unwrap_or(length(&covering));
        let takes_more = max_len > length(&covering);
        let (is_anchor, is_whole) =
            (self.standing.anchored.contains(&covering), self.standing.aggregated.contains(&covering));
        let mut entries = Vec::new();
        if is_anchor || is_whole {
            entries.push(entry(covering, max_len));
        }
        if takes_more {
            let inside = live.inside(&covering).map(|(prefix, _)| prefix);
            let inside = inside.filter(|prefix| !self.unlisted.contains(&Topic::Prefix(*prefix)));
            let listed: Vec<_> = inside.filter(|prefix| entries.iter().all(|known| known.prefix != *prefix)).collect();
            entries.extend(listed.into_iter().map(|prefix| entry(prefix, length(&prefix))));
        }
        let kind = if takes_more || !is_anchor { PageKind::Live } else { PageKind::Delegations };
        Ok((Index::new(covering, entries)?, kind))
    }

    fn topic(&self, prefix: EidPrefix) -> Topic {
        match cn_of(self.config.network, &prefix) {
            Some(cn) => Topic::Cgeid(cn),
            None => Topic::Prefix(prefix),
        }
    }

    fn cgeid(&self, cn: Cn) -> EidPrefix {
        host_of(self.config.network, cn)
    }

    fn registrar(&self) -> Option<&OperationalKey> {
        self.config.signers.registrar()
    }
}

fn mapping(merged: &Merged) -> Mapping {
    let locators = merged.locators.iter().filter_map(Rloc::from_record);
    let mut mapping = Mapping::new(locators, merged.ttl);
    mapping.map_version = (merged.map_version != MapVersion::default()).then_some(merged.map_version);
    mapping
}

/// What an index page is about.
fn page_of(key: &RecordKey) -> Option<Topic> {
    match key.subject {
        Subject::Index(prefix) => Some(Topic::Index(prefix)),
        _ => None,
    }
}

/// Whether a page of live registrations that was signed under this sequence is read until sites have had the time to register again.
fn outlives(wall: SystemTime, signed: Sequence) -> bool {
    let end = UNIX_EPOCH.checked_add(Duration::from_millis(signed.0).saturating_add(LIVE_INDEX_LIFETIME));
    end.zip(wall.checked_add(REGISTRATION_SILENCE)).is_some_and(|(end, settled)| end >= settled)
}

/// Why something cannot be signed.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("no key to sign with")]
    NoKey,
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("index page: {0}")]
    Page(#[from] Malformed),
}
