// SPDX-License-Identifier: GPL-2.0-or-later
//! The whole map system behind one `handle` and one `poll`: Map-Server, Map-Resolver, and what they say in the DHT.

mod reconfigure;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use cgeid::pins::Fingerprint;
use cgeid::{Cn, Network, OperationalKey};
use dht::publish::Sequence;
use dht::record::{RecordKey, Version};
use dht::resolve::TrustAnchor;
use ipnet::IpNet;
use wire::address::EidPrefix;
use wire::control::auth::AuthKey;
use wire::control::{ControlMessage, Ecm, Info, MapNotify, MapRegister, MapRequest, XtrIdentity, message_type};

use crate::ddt::{self, chain::Received};
use crate::dropped::Dropped;
use crate::limit::{Foreign, Limiter};
use crate::limits::{JOURNAL_MARKS, JOURNAL_REMOVALS, MESSAGE_OCTETS};
use crate::nat::{self, Relay, Rtr, Rtrs};
use crate::refusal::{Refusal, Served, Tally};
use crate::register::label::AnyEid;
use crate::register::nonces::{Floor, Last, NonceOwner, Nonces, SeenNonce};
use crate::register::notifier::Telling;
use crate::register::pace::PutOutcome;
use crate::register::publisher::{self, Publisher};
use crate::register::renaming::{KnownKey, Salt};
use crate::register::signers::{Added, Signers};
use crate::register::site::{LispSec, NotifyPort, Publish, Site, SiteError, SiteKey, SitePrefix, SiteTable, host_of};
use crate::register::{MapServer, Notify, Origin, Registered};
use crate::resolve::foreign::{Ddt, Figures, OwnRequest};
use crate::resolve::lispsec::{Association, AssociationError, Associations};
use crate::resolve::lookup::Lookups;
use crate::resolve::{Context, Resolver};
use crate::subscribe::Subscriptions;
use crate::subscribe::association::{KeyFloor, UsedKey};
use crate::subscribe::subscriber::{Policy, Subscriber, SubscriberError, Subscribers};
use crate::subscribe::subscription::{Kept, SubscriptionKey};
use crate::transport::{Now, Sockets, Via};

pub use reconfigure::{Reconfiguration, Reconfigured};

/// What a map system is made of.
#[derive(Debug)]
pub struct Config {
    /// The network of the CGEIDs.
    pub network: Network,
    /// Operational keys: each may publish its own CGEID, the first (the registrar's) signs for the sites. Others can
    /// come and go; without a first one there is nothing to sign with, and no other is taken.
    pub identities: Vec<OperationalKey>,
    /// Sites that register over the network.
    pub sites: Vec<Site>,
    /// EID-prefixes of the node's own xTR, without CGEIDs: only the pipe may register these.
    pub own_prefixes: Vec<EidPrefix>,
    /// The key of the pipe, if there is one.
    pub pipe_key: Option<AuthKey>,
    /// Who delegates what.
    pub trust_anchors: Vec<TrustAnchor>,
    /// Sources for whom no limit holds.
    pub clients: Vec<IpNet>,
    /// Who on the network may ask for EIDs that are not registered here.
    pub foreign: Foreign,
    /// The UDP sockets that outputs can be sent from.
    pub sockets: Vec<SocketAddr>,
    /// Who may subscribe to mappings (RFC 9437).
    pub subscribers: Vec<Subscriber>,
    /// How subscriptions are dealt with.
    pub pubsub: Policy,
    /// Delegations, and where foreign EIDs are searched for (RFC 8111).
    pub ddt: ddt::Config,
    /// With whom one-time keys of LISP-SEC can be exchanged.
    pub lisp_sec: Vec<Association>,
}

/// What survived the last run.
#[derive(Debug, Default)]
pub struct Memory {
    /// Last nonces.
    pub nonces: Vec<(NonceOwner, Last)>,
    /// What is left of xTRs whose last nonces were forgotten.
    pub nonce_floors: Vec<Floor>,
    /// Nonces of legacy sites, of the last ten minutes.
    pub seen: Vec<SeenNonce>,
    /// Last sequence of each identity.
    pub sequences: BTreeMap<Cn, Sequence>,
    /// When each index page of ours that lists what is registered was last stored.
    pub live_pages: Vec<(RecordKey, Sequence)>,
    /// Highest version seen of each index page.
    pub pages: Vec<(RecordKey, Version)>,
    /// The first key seen of each writer, and its last use.
    pub pins: Vec<(Fingerprint, SystemTime)>,
    /// The last nonce of an unsolicited Map-Notify.
    pub notify_nonce: u64,
    /// Subscriptions.
    pub subscriptions: Vec<Kept>,
    /// One-time keys that have made a security association.
    pub used_keys: Vec<UsedKey>,
    /// What is left of those that were forgotten.
    pub key_floors: Vec<KeyFloor>,
    /// Registrations, as [`Mark::Registration`] has them, each behind the key of its row, whatever that is.
    pub registrations: Vec<(Box<[u8]>, Box<[u8]>)>,
    /// Keys of sites under which something is remembered.
    pub site_keys: Vec<KnownKey>,
    /// What these are made with: drawn when the memory begins.
    pub salt: Salt,
    /// How old all this is: the time of all runs before and between them, as far as it is known.
    pub age: Duration,
    /// For how long nobody was heard before this run, as far as it is known.
    pub away: Duration,
}

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Of the sites.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Of the subscribers.
    #[error(transparent)]
    Subscriber(#[from] SubscriberError),
    /// Of the Delegated Database Tree.
    #[error(transparent)]
    Ddt(#[from] ddt::DdtError),
    /// Of LISP-SEC.
    #[error(transparent)]
    Association(#[from] AssociationError),
}

/// What the map system is told.
#[derive(Debug)]
pub enum Input {
    /// A control message came.
    Datagram {
        /// How.
        via: Via,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
    /// What the DHT has under a key; `None` if it did not answer.
    DhtValues {
        /// The key of an [`Output::DhtGet`].
        key: RecordKey,
        /// All values seen, unverified.
        values: Option<Vec<Vec<u8>>>,
    },
    /// The DHT has something newer under a key than what it said first: it is read on for a while.
    DhtNewer {
        /// The key of an [`Output::DhtGet`] that was answered.
        key: RecordKey,
        /// All values worth knowing, unverified.
        values: Vec<Vec<u8>>,
    },
    /// A PUT ended.
    DhtPutDone {
        /// The key of an [`Output::DhtPut`].
        key: RecordKey,
        /// How.
        outcome: PutOutcome,
    },
    /// Another identity of this node, or the next key of one: it must have a higher epoch than the one in use.
    AddIdentity(OperationalKey),
    /// An identity leaves: what it published is withdrawn. The first one cannot.
    RemoveIdentity(Cn),
    /// The DHT has many new members, or is back: what was published may be unknown to them.
    DhtChanged,
    /// The process ends: withdrawals must not wait their turn.
    Closing,
}

/// What the map system wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// One of the sockets.
        local: SocketAddr,
        /// The receiver.
        remote: SocketAddr,
        /// The UDP payload.
        bytes: Vec<u8>,
        /// What counts when it has left ([`Engine::count_left`]).
        counts: Option<Served>,
    },
    /// Send a request of our own from a socket that listens on all addresses of a family.
    SendOwn(OwnRequest),
    /// Give a message to the node's own xTR.
    Pipe {
        /// The message.
        bytes: Vec<u8>,
    },
    /// An xTR has proven itself at an address behind a socket that listens on all: the shell remembers it for what leaves from there
    /// unasked.
    Proven {
        /// Where it came to.
        local: SocketAddr,
        /// The xTR.
        remote: SocketAddr,
    },
    /// Ask the DHT.
    DhtGet {
        /// For this.
        key: RecordKey,
    },
    /// Publish in the DHT.
    DhtPut {
        /// Under this key.
        key: RecordKey,
        /// The bundle.
        bytes: Vec<u8>,
    },
    /// Write this to disk before anything after it is done that vouches for it: a PUT, a Map-Notify to the network. What else
    /// there is does not wait.
    Persist(Mark),
}

impl Output {
    /// What counts when it has left.
    pub fn counts(&self) -> Option<Served> {
        match self {
            Self::Send { counts, .. } => *counts,
            Self::Pipe { bytes } => (message_type(bytes) == Some(MapNotify::TYPE)).then_some(Served::NotifySent),
            _ => None,
        }
    }
}

/// What must survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The last accepted Map-Register of somebody.
    Nonce(NonceOwner, Last),
    /// An xTR whose last nonce has made room for others.
    ForgottenNonce(NonceOwner),
    /// What is left of xTRs of that kind.
    NonceFloor(Floor),
    /// A key of a site of which something is remembered.
    SiteKey(KnownKey),
    /// Nothing is remembered under a site's name and Key ID any more.
    ForgottenSiteKey(String, u8),
    /// A nonce of a legacy site, which comes in no order.
    Seen(SeenNonce),
    /// A nonce that is older than what is remembered.
    ForgottenSeen(NonceOwner, u64),
    /// The last sequence signed with an identity.
    Sequence(Cn, Sequence),
    /// The last sequence of an identity that is long gone needs to be kept no longer.
    ForgottenSequence(Cn),
    /// When an index page of ours that lists what is registered was signed that is stored now.
    LivePage(RecordKey, Sequence),
    /// Such a page is none of ours any more, or lists nothing.
    ForgottenLivePage(RecordKey),
    /// The highest version seen of an index page: an older one will not be taken.
    Page(RecordKey, Version),
    /// The first key seen of a writer, and its last use: another one under its name will not be taken.
    Pin(Fingerprint, SystemTime),
    /// This writer's key has given way to others and needs to be kept no longer.
    ForgottenPin(Cn),
    /// The last nonce of an unsolicited Map-Notify to xTRs that merge.
    NotifyNonce(u64),
    /// A subscription as it is now.
    Subscription(Box<Kept>),
    /// Nothing of a subscription needs to be kept any longer.
    ForgottenSubscription(SubscriptionKey),
    /// A one-time key that has made a security association.
    UsedKey(UsedKey),
    /// One that has made room for others.
    ForgottenKey(UsedKey),
    /// What is left of those of an xTR.
    KeyFloor(KeyFloor),
    /// What is registered for an EID ([`crate::register::kept`]).
    Registration(AnyEid, Box<[u8]>),
    /// Nothing is registered for an EID any more.
    ForgottenRegistration(AnyEid),
    /// The row of a registration with this key cannot be read.
    UnreadableRegistration(Box<[u8]>),
}

/// What a [`Mark`] is about: of two marks about the same, only the newer one needs to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Nonces of somebody.
    Nonce(NonceOwner),
    /// Nonces of a site that were forgotten, under this Key ID.
    NonceFloor(String, u8),
    /// The key of a site, under this Key ID.
    SiteKey(String, u8),
    /// One nonce of a legacy site.
    Seen(NonceOwner, u64),
    /// The sequence of an identity.
    Sequence(Cn),
    /// An index page of ours.
    LivePage(RecordKey),
    /// An index page.
    Page(RecordKey),
    /// The key of a writer.
    Pin(Cn),
    /// Nonces of Map-Notifies that nobody asked for.
    NotifyNonce,
    /// A subscription.
    Subscription(SubscriptionKey),
    /// A one-time key.
    UsedKey(UsedKey),
    /// One-time keys of an xTR that were forgotten.
    KeyFloor(XtrIdentity),
    /// What is registered for an EID.
    Registration(AnyEid),
    /// The row of a registration that cannot be read.
    Unreadable(Box<[u8]>),
}

impl Mark {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Nonce(owner, _) | Self::ForgottenNonce(owner) => Subject::Nonce(owner.clone()),
            Self::NonceFloor(floor) => Subject::NonceFloor(floor.site.clone(), floor.key_id),
            Self::SiteKey(key) => Subject::SiteKey(key.site.clone(), key.key_id),
            Self::ForgottenSiteKey(site, key_id) => Subject::SiteKey(site.clone(), *key_id),
            Self::Seen(seen) => Subject::Seen(seen.owner.clone(), seen.nonce),
            Self::ForgottenSeen(owner, nonce) => Subject::Seen(owner.clone(), *nonce),
            Self::Sequence(cn, _) | Self::ForgottenSequence(cn) => Subject::Sequence(*cn),
            Self::LivePage(key, _) | Self::ForgottenLivePage(key) => Subject::LivePage(*key),
            Self::Page(key, _) => Subject::Page(*key),
            Self::Pin(fingerprint, _) => Subject::Pin(Cn::of_fingerprint(fingerprint)),
            Self::ForgottenPin(cn) => Subject::Pin(*cn),
            Self::NotifyNonce(_) => Subject::NotifyNonce,
            Self::Subscription(kept) => Subject::Subscription(kept.key()),
            Self::ForgottenSubscription(key) => Subject::Subscription(*key),
            Self::UsedKey(used) | Self::ForgottenKey(used) => Subject::UsedKey(*used),
            Self::KeyFloor(floor) => Subject::KeyFloor(floor.xtr),
            Self::Registration(eid, _) | Self::ForgottenRegistration(eid) => Subject::Registration(*eid),
            Self::UnreadableRegistration(key) => Subject::Unreadable(key.clone()),
        }
    }

    /// How many marks may wait for the disk before this one is dropped, because it only takes something away; `None` for one that says
    /// something. Without most of these more is remembered than need be. Without one that ends a registration this would be there again
    /// after a restart, and nonces that should be gone would take the places of others.
    pub fn dropped_beyond(&self) -> Option<usize> {
        match self {
            Self::ForgottenSeen(..)
            | Self::ForgottenSequence(_)
            | Self::ForgottenLivePage(_)
            | Self::ForgottenPin(_)
            | Self::ForgottenKey(_)
            | Self::UnreadableRegistration(_) => Some(JOURNAL_MARKS),
            Self::ForgottenRegistration(_) | Self::ForgottenNonce(_) => Some(JOURNAL_REMOVALS),
            _ => None,
        }
    }
}

/// The map system.
#[derive(Debug)]
pub struct Engine {
    network: Network,
    server: MapServer,
    resolver: Resolver,
    subscriptions: Subscriptions,
    publisher: Publisher,
    rtrs: Rtrs,
    sockets: Sockets,
    tally: Tally,
    dropped: Dropped,
    outputs: VecDeque<Output>,
}

/// Name of the site that is the node's own xTR.
pub const PIPE_SITE: &str = "this node";

/// Whether a control datagram at a shared port is for the map system: Map-Register, Map-Notify-Ack, Map-Referral and ECM are,
/// the rest is for an xTR. An ECM for an EID that the xTR itself must answer comes back as [`Output::Pipe`].
pub fn is_for_map_system(bytes: &[u8]) -> bool {
    /// Map-Register, Map-Notify-Ack, Map-Referral, ECM.
    const TYPES: [u8; 4] = [3, 5, 6, 8];
    message_type(bytes).is_some_and(|kind| TYPES.contains(&kind))
}

impl Engine {
    /// A map system that starts at `now` and publishes the index pages of what it anchors.
    ///
    /// # Errors
    /// Names the contradiction in the sites, or the subscribers.
    pub fn new(now: Now, config: Config, memory: Memory) -> Result<Self, ConfigError> {
        let cns: HashSet<Cn> = config.identities.iter().map(OperationalKey::cn).collect();
        let pipe = config.pipe_key.map(|key| pipe_site(key, config.network, &cns, &config.own_prefixes));
        let sites = SiteTable::new(config.network, config.sites, pipe)?;
        config.ddt.check(&sites)?;
        let associations = Associations::new(config.lisp_sec, &sites)?;
        let sockets = Sockets(config.sockets);
        let mut publisher = Publisher::new(
            now,
            publisher::Config {
                network: config.network,
                signers: Signers::new(config.identities),
                trust_anchors: config.trust_anchors.clone(),
                map_servers: publisher::published_addresses(&sockets),
            },
            &sites,
            (memory.sequences, memory.live_pages),
        );
        let anchors = config.trust_anchors.into_iter().chain(publisher.own_anchors());
        let lookups = Lookups::new(config.network, anchors, memory.pages, &memory.pins);
        let limiter = Limiter::new(config.clients, config.foreign);
        let subscribers = Subscribers::new(config.subscribers)?;
        let subscriptions = memory.subscriptions;
        let nonces = Nonces::restore(now, memory.nonces, memory.seen).with_floors(memory.nonce_floors);
        let mut server = MapServer::new(config.network, sites, cns, nonces, memory.notify_nonce);
        // xTRs refresh what is there already, which changes nothing: it is published from now on. What is not there any more is withdrawn.
        let renamed = server.recognize(now, memory.site_keys, memory.salt);
        for prefix in server.restore(now.monotonic, memory.registrations, &renamed, (memory.age, memory.away)) {
            publisher.changed(now.monotonic, prefix, &server);
        }
        Ok(Self {
            network: config.network,
            server,
            subscriptions: Subscriptions::restore(now, subscribers, config.pubsub, sockets.clone(), subscriptions)
                .having_used(memory.used_keys, memory.key_floors),
            resolver: Resolver::new(sockets.clone(), limiter, lookups, associations)
                .with_ddt(Ddt::new(&config.ddt, &sockets)),
            publisher,
            rtrs: Rtrs::default(),
            sockets,
            tally: Tally::default(),
            dropped: Dropped::default(),
            outputs: VecDeque::new(),
        })
    }

    /// The same with RTRs for xTRs behind NATs.
    #[must_use]
    pub fn with_rtrs(self, rtrs: Vec<Rtr>) -> Self {
        Self { rtrs: Rtrs::new(rtrs), ..self }
    }

    /// Takes one input, and does what is due.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.take(now, input);
        self.handle_timeout(now);
    }

    /// Takes one input of several that came together; [`Self::handle_timeout`] is called once after them.
    pub fn take(&mut self, now: Now, input: Input) {
        let outcome = match input {
            Input::Datagram { via, bytes } => self
                .on_datagram(now, via, bytes)
                .inspect_err(|refusal| self.dropped.refused(now.monotonic, via, *refusal)),
            Input::DhtValues { key, values } => {
                self.with_resolver(now, |resolver, cx| resolver.values(cx, key, values))
            }
            Input::DhtNewer { key, values } => self.with_resolver(now, |resolver, cx| {
                resolver.newer(cx, key, values);
                Ok(())
            }),
            Input::DhtPutDone { key, outcome } => {
                let mark = self.publisher.done(now.monotonic, &key, outcome, &self.server);
                self.outputs.extend(mark.map(Output::Persist));
                Ok(())
            }
            Input::AddIdentity(key) => self.add_identity(key),
            Input::RemoveIdentity(cn) => self.remove_identity(now, cn),
            Input::DhtChanged => {
                self.publisher.refresh_all();
                Ok(())
            }
            Input::Closing => {
                self.publisher.hurry(now.monotonic, &self.server);
                Ok(())
            }
        };
        if let Err(refusal) = outcome {
            self.tally.count(refusal);
        }
    }

    /// Does what is due. Of very much it does a part, and leaves [`Self::next_deadline`] in the past.
    pub fn handle_timeout(&mut self, now: Now) {
        for prefix in self.server.handle_timeout(now, &mut self.tally) {
            self.publisher.changed(now.monotonic, prefix, &self.server);
            self.subscriptions.changed(now, &self.server, prefix);
        }
        self.outputs.extend(self.server.take_marks().into_iter().map(Output::Persist));
        while let Some(telling) = self.server.poll_telling(now.monotonic, &mut self.tally) {
            match self.through_rtr(telling) {
                Ok(output) => self.outputs.push_back(output),
                Err(refusal) => self.tally.count(refusal),
            }
        }
        self.with_resolver(now, |resolver, cx| resolver.handle_timeout(cx));
        self.subscriptions.handle_timeout(now, &self.server, &mut self.tally);
        self.subscriptions.drain(&mut self.outputs, &mut self.tally);
        self.publisher.publish(now, &self.server, &mut self.outputs);
    }

    /// Takes note whether the peers of the DHT node say that the clock is right: what was signed ahead of it counts for nothing then.
    pub fn trust_clock(&mut self, now: Now, is_right: bool) {
        self.publisher.trust_clock(now.wall, is_right);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Counts what has left: what waits for the disk may never leave.
    pub fn count_left(&mut self, counts: Option<Served>) {
        counts.into_iter().for_each(|served| self.tally.serve(served));
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.server.next_deadline(), self.resolver.next_deadline(), self.publisher.next_deadline()];
        deadlines.into_iter().chain([self.subscriptions.next_deadline()]).flatten().min()
    }

    /// The keys of this node's identities, the registrar's first.
    pub fn identities(&self) -> impl Iterator<Item = &OperationalKey> {
        self.publisher.identities()
    }

    /// The prefixes for which this node is its own anchor: others need them as trust anchors.
    pub fn own_anchors(&self) -> Vec<TrustAnchor> {
        self.publisher.own_anchors()
    }

    /// What was refused.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sites and registrations.
    pub fn server(&self) -> &MapServer {
        &self.server
    }

    /// Whether what is registered for a prefix can be read in the DHT.
    pub fn is_published(&self, prefix: &EidPrefix) -> bool {
        self.publisher.is_settled(prefix)
    }

    /// Whether a PUT is in flight: worth a moment of waiting when the process ends.
    pub fn is_publishing(&self) -> bool {
        self.publisher.is_busy()
    }

    /// Who has subscribed to what.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Number of cached answers.
    pub fn cached(&self) -> usize {
        self.resolver.cached()
    }

    /// What goes on in the tree.
    pub fn ddt(&self) -> Figures {
        self.resolver.ddt_figures()
    }

    fn add_identity(&mut self, key: OperationalKey) -> Result<(), Refusal> {
        let (cn, epoch) = (key.cn(), key.epoch());
        match self.publisher.add(key) {
            Ok(Added::Known) => {}
            Ok(Added::Renewed) => tracing::info!(%cn, epoch, "signing with the next operational key"),
            Ok(Added::New) => {
                self.server.admit_own(cn);
                // It may have been asked for, and not been there.
                self.resolver.forget(&host_of(self.network, cn));
                tracing::info!(%cn, epoch, "another identity");
            }
            Err(refusal) => {
                tracing::warn!(%cn, epoch, reason = refusal.name(), "operational key not taken");
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn remove_identity(&mut self, now: Now, cn: Cn) -> Result<(), Refusal> {
        if let Err(refusal) = self.publisher.remove(now.monotonic, cn) {
            tracing::warn!(%cn, reason = refusal.name(), "identity not removed");
            return Err(refusal);
        }
        self.server.dismiss_own(cn);
        self.subscriptions.changed(now, &self.server, host_of(self.network, cn));
        self.resolver.forget(&host_of(self.network, cn));
        tracing::info!(%cn, "identity leaves");
        Ok(())
    }

    fn on_datagram(&mut self, now: Now, via: Via, bytes: Vec<u8>) -> Result<(), Refusal> {
        /// Types that RFC 9301 does not define: 0, and 9 to 14.
        fn is_unassigned(kind: Option<u8>) -> bool {
            matches!(kind, Some(0 | 9..=14))
        }
        if via != Via::Pipe && bytes.len() > MESSAGE_OCTETS {
            return Err(Refusal::TooLong);
        }
        let message = match ControlMessage::decode(&bytes) {
            Ok(message) => message,
            Err(_) if is_unassigned(message_type(&bytes)) => return Err(Refusal::UnknownType),
            Err(error) => return Err(self.dropped.malformed(now.monotonic, via, &error)),
        };
        match message {
            ControlMessage::MapRegister(message) => self.on_register(now, via, &bytes, &message),
            // Around a Map-Request the bit is reserved, and ignored (RFC 9301, section 5.8).
            ControlMessage::Ecm(ecm) if ecm.by_rtr && message_type(&ecm.message) != Some(MapRequest::TYPE) => {
                self.on_relayed(now, via, &ecm)
            }
            ControlMessage::Info(message) => self.on_info(now, via, &bytes, &message),
            ControlMessage::Ecm(ecm) => self.with_resolver(now, |resolver, cx| resolver.ask(cx, via, bytes, &ecm)),
            ControlMessage::MapRequest(_) => Err(Refusal::RequestNotEncapsulated),
            ControlMessage::MapNotifyAck(message) => match via {
                Via::Socket { remote, .. } => {
                    let judged = match self.server.acknowledge(remote, &message, &bytes) {
                        Err(Refusal::NotifyAckUnasked) => {
                            self.subscriptions.acknowledge(now, remote.ip(), &message, &bytes)
                        }
                        judged => judged,
                    };
                    judged.map(|()| self.note_proven(via))
                }
                Via::Pipe => Err(Refusal::NotifyAckUnasked),
            },
            ControlMessage::MapReferral(message) => {
                let received = Received { message: &message, octets: &bytes, wall: now.wall };
                self.with_resolver(now, |resolver, cx| resolver.referral(cx, via, received))
            }
            ControlMessage::MapReply(message) => {
                self.with_resolver(now, |resolver, cx| resolver.replied(cx, via, message.nonce))
            }
            ControlMessage::Shared(_) => Err(Refusal::UnknownType),
            _ => Err(Refusal::NotForMapSystem),
        }
    }

    fn on_register(&mut self, now: Now, via: Via, bytes: &[u8], message: &MapRegister) -> Result<(), Refusal> {
        let origin = match via {
            Via::Pipe => Origin::Pipe,
            Via::Socket { local, remote } => Origin::Network { local, remote, relay: None },
        };
        if let Some(notify) = self.take_register(now, (via, origin), bytes, message)? {
            self.send_notify(via, notify);
        }
        Ok(())
    }

    /// What an RTR relays is judged as what comes straight; the Map-Notify goes back by the RTR.
    fn on_relayed(&mut self, now: Now, via: Via, ecm: &Ecm) -> Result<(), Refusal> {
        let Via::Socket { local, remote } = via else { return Err(Refusal::RelayUnknownRtr) };
        let key = self.rtrs.key_of(remote.ip()).cloned().ok_or(Refusal::RelayUnknownRtr)?;
        let relay = Relay::of(ecm, remote.ip(), local);
        let message = match ControlMessage::decode(&ecm.message) {
            Ok(ControlMessage::MapRegister(message)) => message,
            Ok(ControlMessage::MapNotifyAck(message)) => {
                return self.server.acknowledge(remote, &message, &ecm.message).map(|()| self.note_proven(via));
            }
            _ => return Err(Refusal::RelayNotRegister),
        };
        let origin = Origin::Network { local, remote, relay: Some(relay) };
        if let Some(notify) = self.take_register(now, (via, origin), &ecm.message, &message)? {
            let bytes = nat::to_rtr(relay, notify.bytes, &key)?;
            let remote = SocketAddr::new(remote.ip(), wire::CONTROL_PORT);
            self.outputs.push_back(Output::Send { local, remote, bytes, counts: Some(Served::NotifySent) });
        }
        Ok(())
    }

    /// What an xTR is told of our own accord: by the RTR that relayed its Map-Register, if one did and still may.
    fn through_rtr(&self, telling: Telling) -> Result<Output, Refusal> {
        let Telling { local, remote, relay, bytes } = telling;
        let bytes = match relay {
            Some(relay) => nat::to_rtr(relay, bytes, self.rtrs.key_of(remote.ip()).ok_or(Refusal::RelayUnknownRtr)?)?,
            None => bytes,
        };
        Ok(Output::Send { local, remote, bytes, counts: Some(Served::NotifySent) })
    }

    fn on_info(&mut self, now: Now, via: Via, bytes: &[u8], message: &Info) -> Result<(), Refusal> {
        let Via::Socket { local, remote } = via else { return Err(Refusal::NotForMapSystem) };
        let reply = self.rtrs.answer(now.monotonic, (local, remote), bytes, message, self.server.sites())?;
        self.outputs.push_back(Output::Send { local, remote, bytes: reply, counts: None });
        Ok(())
    }

    /// The Map-Notify, if one is wanted.
    fn take_register(
        &mut self,
        now: Now,
        (via, origin): (Via, Origin),
        bytes: &[u8],
        message: &MapRegister,
    ) -> Result<Option<Notify>, Refusal> {
        let registered = self.server.register(now, origin, bytes, message, &mut self.tally)?;
        let Registered { notify, persist, changed } = registered;
        // A retransmission, which brings nothing to be kept, may be a replay from anywhere.
        if !persist.is_empty() {
            self.tally.serve(Served::RegisterTaken);
            self.note_proven(via);
        }
        for prefix in changed {
            self.resolver.forget(&prefix);
            self.publisher.changed(now.monotonic, prefix, &self.server);
            self.subscriptions.changed(now, &self.server, prefix);
        }
        // The pipe's key is new at every start, so its nonces need no memory.
        if origin != Origin::Pipe {
            self.outputs.extend(persist.into_iter().map(Output::Persist));
        }
        Ok(notify)
    }

    fn note_proven(&mut self, via: Via) {
        if let Via::Socket { local, remote } = via
            && self.sockets.onwards(local) != local
        {
            self.outputs.push_back(Output::Proven { local, remote });
        }
    }

    fn send_notify(&mut self, via: Via, Notify { bytes, port }: Notify) {
        self.outputs.push_back(match via {
            Via::Pipe => Output::Pipe { bytes },
            Via::Socket { local, mut remote } => {
                if port == NotifyPort::Control {
                    remote.set_port(wire::CONTROL_PORT);
                }
                Output::Send { local, remote, bytes, counts: Some(Served::NotifySent) }
            }
        });
    }

    fn with_resolver<T>(&mut self, now: Now, act: impl FnOnce(&mut Resolver, &mut Context<'_>) -> T) -> T {
        let Self { server, resolver, subscriptions, tally, dropped, outputs, .. } = self;
        act(resolver, &mut Context { now, server, subscriptions, tally, dropped, outputs })
    }

    /// The sockets that outputs are sent from.
    pub fn sockets(&self) -> &[SocketAddr] {
        &self.sockets.0
    }
}

/// The node's own xTR as a site: its CGEIDs and its prefixes, nothing more specific.
fn pipe_site(key: AuthKey, network: Network, cns: &HashSet<Cn>, own_prefixes: &[EidPrefix]) -> Site {
    let cgeids = cns.iter().map(|cn| host_of(network, *cn));
    let prefixes = cgeids.chain(own_prefixes.iter().copied());
    let prefixes = prefixes.map(|prefix| SitePrefix { prefix, max_len: prefix.net.prefix_len() }).collect();
    let AuthKey { id, algorithm, secret } = key;
    let keys = vec![SiteKey { id, algorithm: Some(algorithm), secret }];
    Site {
        name: PIPE_SITE.into(),
        prefixes,
        labels: Vec::new(),
        keys,
        legacy: false,
        notify: NotifyPort::Source,
        publish: Publish::Each,
        lisp_sec: LispSec::Optional,
    }
}
