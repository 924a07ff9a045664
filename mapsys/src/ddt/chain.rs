// SPDX-License-Identifier: GPL-2.0-or-later
//! The client's chain of keys, from its trust anchors to Map-Servers (RFC 8111, sections 10.1 and 10.4).

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use wire::address::{Address, EidPrefix, Lcaf};
use wire::control::{MapReferral, Referral, ReferralSignature, SignatureTime};
use wire::record::Ttl;

use super::keys::{self, Unverified, VerifyingKey};
use super::revoked::{self, Revoked};
use crate::limit::Bounded;
use crate::limits::{AUTHENTICATED_NODES, DDT_KEYS, DDT_PATIENCE, REFERRAL_LIFE};
use crate::refusal::Refusal;
use dht::pause::Pause;

/// A Map-Referral as it came.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// What it says.
    pub message: &'a MapReferral,
    /// Its octets.
    pub octets: &'a [u8],
    /// When it came, by the clock on the wall: signatures have dates.
    pub wall: SystemTime,
}

impl<'a> Received<'a> {
    /// The octets of one of its records.
    fn octets_of(&self, referral: &Referral) -> Option<&'a [u8]> {
        let index = self.message.records.iter().position(|record| std::ptr::eq(record, referral))?;
        MapReferral::record_octets(self.octets).ok()?.get(index).copied()
    }
}

/// Keys that a trust anchor vouches for.
#[derive(Debug)]
pub(super) struct Chain {
    anchors: Vec<VerifyingKey>,
    /// By the node, and the XEID-prefix that it was delegated.
    known: Bounded<(IpAddr, EidPrefix), (Instant, Vec<VerifyingKey>)>,
    revoked: Revoked,
    /// When a revocation was last logged.
    revocation_logged: Pause,
}

/// Where nothing counts any more that was proven before: strictly below these prefixes, or everywhere.
#[derive(Debug, Default)]
pub(super) struct Void(Vec<Option<EidPrefix>>);

impl Void {
    /// Whether there is nothing to forget.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether who was delegated `prefix` was so by what counts no more.
    pub(super) fn is_below(&self, prefix: &EidPrefix) -> bool {
        self.0.iter().any(|above| above.is_none_or(|above| above != *prefix && above.covers(prefix)))
    }

    /// Whether what is said of `prefix` may be said by what counts no more.
    pub(super) fn covers(&self, prefix: &EidPrefix) -> bool {
        self.0.iter().any(|above| above.is_none_or(|above| above.covers(prefix)))
    }
}

impl Chain {
    /// Without anchors nothing is verified.
    pub(super) fn new(anchors: Vec<VerifyingKey>) -> Self {
        let (known, revoked) = (Bounded::new(AUTHENTICATED_NODES), Revoked::default());
        Self { anchors, known, revoked, revocation_logged: Pause::default() }
    }

    /// Takes over what another has heard of revoked keys.
    pub(super) fn remember(&mut self, other: Self) {
        self.revoked = other.revoked;
    }

    /// Whether referrals have to be signed.
    pub(super) fn is_required(&self) -> bool {
        !self.anchors.is_empty()
    }

    /// Verifies a record about `prefix` of the node at `from`, which was referred to for `scope`; of a root that is everything.
    /// What it may be kept for is in its TTL then, which nothing signs.
    ///
    /// # Errors
    /// Why it counts for nothing.
    pub(super) fn verify(
        &self,
        now: Instant,
        (from, scope): (IpAddr, Option<EidPrefix>),
        (prefix, referral): (EidPrefix, &Referral),
        received: &Received<'_>,
    ) -> Result<Referral, Refusal> {
        if !self.is_required() {
            return Ok(referral.clone());
        }
        // The key is authoritative for what its node was delegated (RFC 8111, section 10.4).
        if scope.is_some_and(|scope| !scope.covers(&prefix)) {
            return Err(Refusal::ReferralBadSignature);
        }
        let octets = received.octets_of(referral).ok_or(Refusal::Malformed)?;
        let keys = self.keys_of(now, from, scope).iter().cloned();
        let (revoked, good): (Vec<_>, Vec<_>) = keys.partition(|key| self.revoked.has(key));
        let signature = keys::verify(referral, octets, &good, received.wall).map_err(|why| match why {
            Unverified::Unsigned => Refusal::ReferralUnsigned,
            Unverified::Untimely => Refusal::ReferralSignatureUntimely,
            Unverified::Wrong if keys::verify(referral, octets, &revoked, received.wall).is_ok() => {
                Refusal::ReferralRevokedKey
            }
            Unverified::Wrong => Refusal::ReferralBadSignature,
        })?;
        Ok(Referral { ttl: bounded_ttl(referral.ttl, signature, received.wall), ..referral.clone() })
    }

    /// The keys of a node for what it was referred to for, the revoked ones among them; a root has the anchors.
    fn keys_of(&self, now: Instant, node: IpAddr, scope: Option<EidPrefix>) -> &[VerifyingKey] {
        let Some(scope) = scope else { return &self.anchors };
        match self.known.get(&(node, scope)) {
            Some((expires, keys)) if *expires > now => keys,
            _ => &[],
        }
    }

    /// Hears which of its keys `node` revokes: one that has signed a record which names it with R. No other key can say so, and it
    /// can say so of no other (RFC 8111, section 10.2.1). What it had proven is forgotten.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        (node, scope): (IpAddr, Option<EidPrefix>),
        received: &Received<'_>,
    ) -> Void {
        if !self.is_required() {
            return Void::default();
        }
        let mut void = Void::default();
        let named = |key: &&VerifyingKey| is_named_revoked(key, received);
        let named: Vec<VerifyingKey> = self.keys_of(now, node, scope).iter().filter(named).cloned().collect();
        for key in &named {
            let said_of = self.widest(node, scope, key);
            // What is said again and again needs no proof again.
            if self.revoked.renew(said_of.as_ref(), key) || !revokes_itself(key, received) {
                continue;
            }
            let is_news = !self.revoked.has(key);
            self.revoked.put(said_of.as_ref(), key);
            if is_news {
                self.warn(now, node, scope);
                void.0.extend(self.anchors.contains(key).then_some(None));
                let had = self.known.iter().filter(|(_, (_, keys))| keys.contains(key));
                void.0.extend(had.map(|((_, prefix), _)| Some(*prefix)));
            }
        }
        if !void.is_empty() {
            self.known.retain(|(_, prefix), _| !void.is_below(prefix));
        }
        void
    }

    /// What `key` of `node` is for, round `scope`; an anchor, for everything.
    fn widest(&self, node: IpAddr, scope: Option<EidPrefix>, key: &VerifyingKey) -> Option<EidPrefix> {
        let scope = scope.filter(|_| !self.anchors.contains(key))?;
        let of_node = self.known.iter().filter(|((at, _), (_, keys))| *at == node && keys.contains(key));
        let round = of_node.map(|((_, prefix), _)| *prefix).filter(|prefix| prefix.covers(&scope));
        round.min_by_key(|prefix| prefix.net.prefix_len()).or(Some(scope))
    }

    fn warn(&mut self, now: Instant, node: IpAddr, scope: Option<EidPrefix>) {
        self.revocation_logged.line(now, |left_out| {
            let scope = scope.map(tracing::field::display);
            tracing::warn!(%node, scope, left_out, "a DDT node revokes a key of its own");
        });
    }

    /// Number of keys that are known to be revoked.
    pub(super) fn revoked(&self) -> usize {
        self.revoked.len()
    }

    /// Whether an answer of `node` about what is inside of `scope` could be verified.
    pub(super) fn has_keys(&self, now: Instant, node: IpAddr, scope: EidPrefix) -> bool {
        !self.is_required() || self.keys_of(now, node, Some(scope)).iter().any(|key| !self.revoked.has(key))
    }

    /// Takes over the keys that a verified referral has for `node`; whether any of them counts.
    pub(super) fn learn(&mut self, now: Instant, node: IpAddr, prefix: EidPrefix, referral: &Referral) -> bool {
        let keys: Vec<VerifyingKey> = referral
            .locators
            .iter()
            .filter_map(|locator| match &locator.rloc {
                Address::Lcaf(lcaf) => Some(lcaf.as_ref()),
                _ => None,
            })
            .filter_map(|lcaf| match lcaf {
                Lcaf::SecurityKey { algorithm: ReferralSignature::RSA_SHA256, revoked: false, keys, address }
                    if address.ip() == Some(node) =>
                {
                    Some(keys)
                }
                _ => None,
            })
            .flatten()
            .filter_map(|material| VerifyingKey::from_material(material))
            .take(DDT_KEYS)
            .collect();
        let has_keys = keys.iter().any(|key| !self.revoked.has(key));
        if has_keys {
            // The search that is under way needs them in any case.
            let expires = now + referral.ttl.lifetime().max(DDT_PATIENCE);
            self.known.renew((node, prefix), (expires, keys));
        }
        has_keys
    }

    /// The keys of `node` for `scope` are good for `prefix` inside it, too; those of a root while a referral lives at the longest.
    pub(super) fn narrow(&mut self, now: Instant, node: IpAddr, scope: Option<EidPrefix>, prefix: EidPrefix) {
        let kept = match scope {
            None if self.is_required() => Some((now + REFERRAL_LIFE, self.anchors.clone())),
            Some(scope) if scope != prefix => self.known.get(&(node, scope)).cloned(),
            _ => None,
        };
        if let Some(kept) = kept {
            self.known.renew((node, prefix), kept);
        }
    }
}

/// Whether a record names `key` with R.
fn is_named_revoked(key: &VerifyingKey, received: &Received<'_>) -> bool {
    received.message.records.iter().flat_map(revoked::named).any(|material| material == key.material())
}

/// Whether `key` has signed the first record that names it with R.
fn revokes_itself(key: &VerifyingKey, received: &Received<'_>) -> bool {
    let names = |referral: &&Referral| revoked::named(referral).any(|material| material == key.material());
    let Some(referral) = received.message.records.iter().find(names) else { return false };
    let octets = received.octets_of(referral);
    octets.is_some_and(|octets| keys::verify(referral, octets, std::slice::from_ref(key), received.wall).is_ok())
}

/// The shortest of the TTL, the one that was signed, and what is left of the signature.
fn bounded_ttl(ttl: Ttl, signature: &ReferralSignature, now: SystemTime) -> Ttl {
    let left = signature.expiration.0.saturating_sub(SignatureTime::of(now).0);
    let life = ttl.lifetime().min(signature.original_ttl.lifetime()).min(Duration::from_secs(left.into()));
    Ttl(u32::try_from(life.as_secs() / 60).unwrap_or(ttl.0))
}
