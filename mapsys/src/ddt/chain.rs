// SPDX-License-Identifier: GPL-2.0-or-later
//! The client's chain of keys, from its trust anchors to Map-Servers (RFC 8111, sections 10.1 and 10.4).

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use wire::address::{Address, EidPrefix, Lcaf};
use wire::control::{MapReferral, Referral, ReferralSignature, SignatureTime};
use wire::record::Ttl;

use super::keys::{self, Unverified, VerifyingKey};
use crate::limit::Bounded;
use crate::limits::{AUTHENTICATED_NODES, DDT_KEYS, DDT_PATIENCE, REFERRAL_LIFE};
use crate::refusal::Refusal;

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

/// Keys that a trust anchor vouches for.
#[derive(Debug)]
pub(super) struct Chain {
    anchors: Vec<VerifyingKey>,
    /// By the node, and the XEID-prefix that it was delegated.
    known: Bounded<(IpAddr, EidPrefix), (Instant, Vec<VerifyingKey>)>,
}

impl Chain {
    /// Without anchors nothing is verified.
    pub(super) fn new(anchors: Vec<VerifyingKey>) -> Self {
        Self { anchors, known: Bounded::new(AUTHENTICATED_NODES) }
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
        let keys = match scope {
            None => &self.anchors[..],
            Some(scope) => self.keys_of(now, from, scope),
        };
        let index = received.message.records.iter().position(|record| std::ptr::eq(record, referral));
        let octets = MapReferral::record_octets(received.octets).map_err(|_| Refusal::Malformed)?;
        let octets = index.and_then(|index| octets.get(index)).ok_or(Refusal::Malformed)?;
        let signature = keys::verify(referral, octets, keys, received.wall).map_err(|why| match why {
            Unverified::Unsigned => Refusal::ReferralUnsigned,
            Unverified::Untimely => Refusal::ReferralSignatureUntimely,
            Unverified::Wrong => Refusal::ReferralBadSignature,
        })?;
        Ok(Referral { ttl: bounded_ttl(referral.ttl, signature, received.wall), ..referral.clone() })
    }

    fn keys_of(&self, now: Instant, node: IpAddr, scope: EidPrefix) -> &[VerifyingKey] {
        match self.known.get(&(node, scope)) {
            Some((expires, keys)) if *expires > now => keys,
            _ => &[],
        }
    }

    /// Whether an answer of `node` about what is inside of `scope` could be verified.
    pub(super) fn has_keys(&self, now: Instant, node: IpAddr, scope: EidPrefix) -> bool {
        !self.is_required() || !self.keys_of(now, node, scope).is_empty()
    }

    /// Takes over the keys that a verified referral has for `node`; whether it has any.
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
        let has_keys = !keys.is_empty();
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

/// The shortest of the TTL, the one that was signed, and what is left of the signature.
fn bounded_ttl(ttl: Ttl, signature: &ReferralSignature, now: SystemTime) -> Ttl {
    let left = signature.expiration.0.saturating_sub(SignatureTime::of(now).0);
    let life = ttl.lifetime().min(signature.original_ttl.lifetime()).min(Duration::from_secs(left.into()));
    Ttl(u32::try_from(life.as_secs() / 60).unwrap_or(ttl.0))
}
