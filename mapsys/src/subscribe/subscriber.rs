// SPDX-License-Identifier: GPL-2.0-or-later
//! Who may subscribe to what (RFC 9437, sections 1.1 and 7.1).
//!
//! A Map-Request carries no authentication of its own, so what it says of xTR-ID, Site-ID and ITR-RLOCs is held against what
//! is configured for that xTR, and against where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use wire::address::{Address, EidPrefix};
use wire::control::auth::AuthKey;
use wire::control::lispsec::PubSubKey;
use wire::control::{MapRequest, XtrIdentity};

use super::association::Brought;
use super::configured::Configured;
use super::subscription::{Agreement, Kept, Mode};
use crate::limits::{
    PUBLICATIONS_PER_SECOND, SUBSCRIBER_WAYS, SUBSCRIPTIONS, SUBSCRIPTIONS_PER_XTR, TEMPORARY_SUBSCRIPTION,
};
use crate::refusal::Refusal;
use crate::register::site::NotifyPort;
use crate::transport::{Sockets, Way, may_send_to};

/// An xTR that may subscribe, as configured.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// Names it in logs and in `show`.
    pub name: String,
    /// Its xTR-ID and Site-ID (RFC 9437, section 3).
    pub xtr: XtrIdentity,
    /// The security association: what its Map-Notifies and their acknowledgements are signed with. Under a new Key ID its
    /// nonces begin anew. `None`: LISP-SEC makes one with each Map-Request (RFC 9437, section 7.1).
    pub key: Option<AuthKey>,
    /// Without a shared key: name of the `[[lisp-sec]]` that its one-time keys come under, so that no other ITR makes associations for it.
    /// `None`: any.
    pub lisp_sec: Option<String>,
    /// Where its ITR-RLOCs are.
    pub rlocs: Vec<IpNet>,
    /// What it may subscribe to; empty = everything.
    pub eids: Vec<EidPrefix>,
    /// Destination port of its Map-Notifies; `Source` = the source port of the Map-Request inside the ECM.
    pub port: NotifyPort,
    /// What it need not ask for: the operator has made these subscriptions.
    pub configured: Vec<Configured>,
}

impl Subscriber {
    /// Whether this is one of its addresses.
    pub(super) fn has_rloc(&self, address: IpAddr) -> bool {
        contains(&self.rlocs, address)
    }

    /// Number of its key.
    pub(super) fn key_id(&self) -> u8 {
        self.key.as_ref().map_or(PubSubKey::KEY_ID, |key| key.id)
    }

    /// What is signed with that is said under an agreement; `None` if there is no security association with it.
    pub(super) fn key_of(&self, agreement: &Agreement) -> Option<AuthKey> {
        match (&self.key, &agreement.key) {
            (Some(shared), None) => Some(shared.clone()),
            (None, Some(made)) => Some(made.0.auth_key()),
            _ => None,
        }
    }

    /// Whether what was kept was agreed under a key that it still has.
    pub(super) fn has_key_of(&self, kept: &Kept) -> bool {
        let mut agreed = kept.proven.iter().chain(&kept.asked);
        let is_known = |agreement: &Agreement| {
            // Of a remembered nonce no key is left.
            let is_memory = agreement.mode == Mode::Gone && agreement.key.is_none();
            is_memory || agreement.key.is_none() == self.key.is_some()
        };
        self.key_id() == kept.key_id && agreed.all(is_known)
    }

    /// What makes the security association of a Map-Request: its one-time key, if that is the xTR's own. A Map-Resolver that `vouches` has
    /// looked at that itself. A key that is shared beforehand needs no other one.
    fn one_time_key(&self, vouches: bool, brought: Option<&Brought>) -> Result<Option<Brought>, Denial> {
        if self.key.is_some() {
            return Ok(None);
        }
        // RFC 9437, section 3: without an association all goes on as if nobody had asked to be told.
        let brought = brought.ok_or(Denial::Plain(Refusal::SubscribeUnknownXtr))?;
        let is_own = self.lisp_sec.is_none() || self.lisp_sec == brought.by;
        if is_own || vouches { Ok(Some(brought.clone())) } else { Err(Denial::Policy(Refusal::SubscribeKeyOfOther)) }
    }

    /// Whether the subscriptions that are configured can be.
    fn check_configured(&self) -> Result<(), SubscriberError> {
        let (name, count) = (|| self.name.clone(), self.configured.len());
        if self.key.is_none() && count > 0 {
            return Err(SubscriberError::NoSharedKey(name()));
        }
        if count > SUBSCRIPTIONS_PER_XTR {
            return Err(SubscriberError::TooMany { name: name(), count });
        }
        let mut seen = BTreeSet::new();
        let twice = self.configured.iter().find(|configured| !seen.insert(configured.prefix));
        twice.map_or(Ok(()), |twice| Err(SubscriberError::SubscriptionTwice { name: name(), prefix: twice.prefix }))
    }

    /// Whether it may subscribe to anything of `prefix`.
    pub(super) fn may_have_of(&self, prefix: &EidPrefix) -> bool {
        self.eids.is_empty() || self.eids.iter().any(|eid| eid.covers(prefix) || prefix.covers(eid))
    }
}

/// How subscriptions are dealt with (RFC 9437, section 5, asks for policies).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Map-Resolvers that check xTR-ID, Site-ID and ITR-RLOCs themselves before they send a subscription on.
    pub resolvers: Vec<IpNet>,
    /// How long a subscription lives that nothing is registered for.
    pub temporary: Duration,
    /// Subscriptions in all.
    pub most: usize,
    /// Subscriptions of one xTR.
    pub most_per_xtr: usize,
    /// Map-Notifies a second that nobody asked for.
    pub pace: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            temporary: TEMPORARY_SUBSCRIPTION,
            most: SUBSCRIPTIONS,
            most_per_xtr: SUBSCRIPTIONS_PER_XTR,
            pace: PUBLICATIONS_PER_SECOND,
        }
    }
}

/// All xTRs that may subscribe, each with its place in the configuration.
#[derive(Debug, Default)]
pub struct Subscribers(BTreeMap<XtrIdentity, (usize, Subscriber)>);

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriberError {
    /// Two of one xTR-ID and Site-ID.
    #[error("subscribers {first:?} and {second:?} have one xTR-ID and Site-ID")]
    Twice {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// One that could never be told anything.
    #[error("subscriber {0:?} has no rloc")]
    NoRloc(String),
    /// One with a configured subscription, which nobody asks for, and no key but what a Map-Request makes.
    #[error("subscriber {0:?} has subscriptions, and no key for them: LISP-SEC makes one for what is asked for only")]
    NoSharedKey(String),
    /// One with more configured subscriptions than an xTR may have.
    #[error("subscriber {name:?} has {count} subscriptions, {SUBSCRIPTIONS_PER_XTR} are the most")]
    TooMany {
        /// Its name.
        name: String,
        /// How many.
        count: usize,
    },
    /// More of them in all than there may be.
    #[error("there are {0} configured subscriptions, {SUBSCRIPTIONS} are the most")]
    TooManyInAll(usize),
    /// One EID-prefix twice.
    #[error("subscriber {name:?} has two subscriptions to {prefix}")]
    SubscriptionTwice {
        /// Whose.
        name: String,
        /// The EID-prefix.
        prefix: EidPrefix,
    },
}

/// What an xTR wants to have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Who.
    pub xtr: XtrIdentity,
    /// Nonce of the Map-Request.
    pub nonce: u64,
    /// The EID-prefix as it asked for it.
    pub asked: EidPrefix,
    /// Whether it wants to hear nothing more of it.
    pub is_leaving: bool,
    /// Where it can be told, the way that it asked by first.
    pub ways: Vec<Way>,
    /// The one-time key that came with it, if that is to make the security association.
    pub brought: Option<Brought>,
}

/// Why a subscription fails, and what that means for the answer (RFC 9437, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A replay: no answer at all.
    Silent(Refusal),
    /// Against what is configured: a Negative Map-Reply with Drop/Policy-Denied.
    Policy(Refusal),
    /// The one-time key cannot make a security association: a Negative Map-Reply with Drop/Auth-Failure.
    Authentication(Refusal),
    /// Any other reason: answered as if the N-bit were clear.
    Plain(Refusal),
}

impl Denial {
    /// The reason.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Silent(refusal) | Self::Policy(refusal) | Self::Authentication(refusal) | Self::Plain(refusal) => {
                refusal
            }
        }
    }
}

/// How a Map-Request came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Our address that was asked.
    pub local: SocketAddr,
    /// Source of the datagram.
    pub outer: SocketAddr,
    /// Source of the inner headers.
    pub inner: SocketAddr,
}

/// A Map-Request with the N-bit, and the one-time key that LISP-SEC has brought with it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The message.
    pub message: &'a MapRequest,
    /// The key; `None` without LISP-SEC.
    pub brought: Option<&'a Brought>,
}

impl Subscribers {
    /// Checks them.
    ///
    /// # Errors
    /// Names the first contradiction.
    pub fn new(subscribers: Vec<Subscriber>) -> Result<Self, SubscriberError> {
        let mut table: BTreeMap<XtrIdentity, (usize, Subscriber)> = BTreeMap::new();
        for (place, subscriber) in subscribers.into_iter().enumerate() {
            if subscriber.rlocs.is_empty() {
                return Err(SubscriberError::NoRloc(subscriber.name));
            }
            if let Some((_, other)) = table.get(&subscriber.xtr) {
                return Err(SubscriberError::Twice { first: other.name.clone(), second: subscriber.name });
            }
            subscriber.check_configured()?;
            table.insert(subscriber.xtr, (place, subscriber));
        }
        let configured = table.values().map(|(_, subscriber)| subscriber.configured.len()).sum();
        if configured > SUBSCRIPTIONS {
            return Err(SubscriberError::TooManyInAll(configured));
        }
        Ok(Self(table))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        self.0.values().map(|(_, subscriber)| subscriber)
    }

    /// The xTR of these numbers.
    pub fn get(&self, xtr: &XtrIdentity) -> Option<&Subscriber> {
        self.0.get(xtr).map(|(_, subscriber)| subscriber)
    }

    /// Its place in the configuration.
    pub(super) fn place(&self, xtr: &XtrIdentity) -> usize {
        self.0.get(xtr).map_or(usize::MAX, |(place, _)| *place)
    }

    /// What the record `asked` of a Map-Request with the N-bit wants, if this xTR may want it (RFC 9437, section 1.1).
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(
        &self,
        resolvers: &[IpNet],
        sockets: &Sockets,
        arrival: Arrival,
        Request { message: request, brought }: Request<'_>,
        asked: EidPrefix,
    ) -> Result<Wish, Denial> {
        // RFC 9437, section 4: an xTR that subscribes sets the I-bit.
        let xtr = request.xtr_identity.ok_or(Denial::Plain(Refusal::SubscribeNoIdentity))?;
        // Section 3: without a security association there is no subscription, and all else goes on.
        let subscriber = self.get(&xtr).ok_or(Denial::Plain(Refusal::SubscribeUnknownXtr))?;
        if !subscriber.eids.is_empty() && !subscriber.eids.iter().any(|eid| eid.covers(&asked)) {
            return Err(Denial::Policy(Refusal::SubscribeDenied));
        }
        let is_leaving = request.itr_rlocs == [Address::None];
        let rlocs: Vec<IpAddr> = if is_leaving {
            vec![source_rloc(resolvers, subscriber, arrival)?]
        } else {
            itr_rlocs(resolvers, subscriber, arrival, request)?
        };
        let port = match subscriber.port {
            NotifyPort::Control => wire::CONTROL_PORT,
            NotifyPort::Source => arrival.inner.port(),
        };
        let sendable = rlocs.into_iter().filter(|rloc| port != 0 && may_send_to(*rloc, Some(arrival.local)));
        let ways = sendable.filter_map(|rloc| {
            let local = sockets.towards(rloc, Some(arrival.local))?;
            Some(Way { local, remote: SocketAddr::new(rloc, port) })
        });
        let mut distinct: Vec<Way> = Vec::with_capacity(SUBSCRIBER_WAYS);
        for way in ways {
            if distinct.len() < SUBSCRIBER_WAYS && !distinct.contains(&way) {
                distinct.push(way);
            }
        }
        let ways = distinct;
        if ways.is_empty() {
            return Err(Denial::Plain(Refusal::RequestNoItrRloc));
        }
        let brought = subscriber.one_time_key(contains(resolvers, arrival.outer.ip()), brought)?;
        Ok(Wish { xtr, nonce: request.nonce.0, asked, is_leaving, ways, brought })
    }
}

/// The ITR-RLOCs: all of them the xTR's own, and the sender one of them. Its own comes first.
fn itr_rlocs(
    resolvers: &[IpNet],
    subscriber: &Subscriber,
    arrival: Arrival,
    request: &MapRequest,
) -> Result<Vec<IpAddr>, Denial> {
    let denied = Denial::Policy(Refusal::SubscribeDenied);
    let rlocs = request.itr_rlocs.iter().map(|rloc| rloc.ip().filter(|ip| contains(&subscriber.rlocs, *ip)));
    let mut rlocs = rlocs.collect::<Option<Vec<IpAddr>>>().ok_or(denied)?;
    let source = arrival.outer.ip();
    if !rlocs.contains(&source) && !contains(resolvers, source) {
        return Err(denied);
    }
    // Which one is told first is ours to choose (RFC 9437, section 5): the one that is known to work.
    rlocs.sort_by_key(|rloc| *rloc != source);
    Ok(rlocs)
}

/// The source RLOC of a Map-Request that ends a subscription: of the datagram, or of the inner headers if a Map-Resolver sent
/// it on (RFC 9437, section 5).
fn source_rloc(resolvers: &[IpNet], subscriber: &Subscriber, arrival: Arrival) -> Result<IpAddr, Denial> {
    let Arrival { outer, inner, .. } = arrival;
    let behind = contains(resolvers, outer.ip()).then_some(inner.ip());
    let mut candidates = std::iter::once(outer.ip()).chain(behind);
    let own = candidates.find(|source| contains(&subscriber.rlocs, *source));
    own.ok_or(Denial::Policy(Refusal::SubscribeDenied))
}

fn contains(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}
