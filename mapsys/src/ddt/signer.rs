// SPDX-License-Identifier: GPL-2.0-or-later
//! Signs what this node says, each record once for a while: an RSA signature takes as long as a thousand answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wire::address::EidPrefix;
use wire::control::{Referral, ReferralAction, ReferralSignature};

use super::keys::{self, KeyError, SigningKey};
use super::revoked;
use crate::limit::Bounded;
use crate::limits::{SIGNED_DELEGATIONS, SIGNED_OTHERS, SIGNED_REVOCATIONS};

/// The keys of this node, and how long their signatures hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Each signs every record about what it is for; what none is for is not signed.
    pub keys: Vec<Arc<SigningKey>>,
    /// Each signs that it is revoked for that, and nothing else (RFC 8111, section 10.2.1).
    pub revoked: Vec<Arc<SigningKey>>,
    /// From signing to expiration.
    pub life: Duration,
}

impl Default for Signing {
    fn default() -> Self {
        Self { keys: Vec::new(), revoked: Vec::new(), life: crate::limits::SIGNATURE_LIFE }
    }
}

impl Signing {
    /// The keys that sign what is said of this prefix.
    pub fn keys_for(&self, prefix: &EidPrefix) -> impl Iterator<Item = &Arc<SigningKey>> {
        self.keys.iter().filter(|key| key.is_for(prefix))
    }

    /// Those that sign this record.
    fn keys_of(&self, referral: &Referral) -> Vec<Arc<SigningKey>> {
        let prefix = referral.eid.ip_prefix();
        prefix.into_iter().flat_map(|prefix| self.keys_for(&prefix).cloned().collect::<Vec<_>>()).collect()
    }
}

/// Signatures that were made.
#[derive(Debug)]
pub struct Signer {
    signing: Signing,
    /// Of what is configured: NODE-REFERRAL and MS-REFERRAL. However many EIDs are asked for, the others push none of them out.
    delegations: Made,
    /// There is one for each of the prefixes that a revoked key was for.
    revocations: Made,
    others: Made,
}

/// When and what, by the digest of the record without signatures.
type Made = Bounded<[u8; 32], (SystemTime, Vec<ReferralSignature>)>;

impl Default for Signer {
    fn default() -> Self {
        Self::new(Signing::default())
    }
}

impl Signer {
    /// Nothing is signed yet.
    pub fn new(signing: Signing) -> Self {
        let [revocations, others] = [SIGNED_REVOCATIONS, SIGNED_OTHERS].map(Bounded::new);
        Self { signing, delegations: Bounded::new(SIGNED_DELEGATIONS), revocations, others }
    }

    /// Signs so from now on. What was signed counts still if nothing is different.
    #[must_use]
    pub fn reconfigured(self, signing: &Signing) -> Self {
        if self.signing == *signing { self } else { Self::new(signing.clone()) }
    }

    /// Whether `referral` is to be signed: what this node is authoritative for (RFC 8111, section 10). NOT-AUTHORITATIVE speaks of
    /// what others ask for, so that each would be another record.
    pub fn signs(&self, referral: &Referral) -> bool {
        referral.action != ReferralAction::NotAuthoritative && !self.signing.keys_of(referral).is_empty()
    }

    /// The keys that are revoked for what was delegated as this prefix.
    pub fn revoked(&self, prefix: &EidPrefix) -> impl Iterator<Item = &Arc<SigningKey>> {
        self.signing.revoked.iter().filter(|key| key.is_for(prefix))
    }

    /// Octets that its signatures add to a record.
    pub fn octets(&self, referral: &Referral) -> usize {
        self.signing.keys_of(referral).iter().map(|key| signature_octets(key)).sum()
    }

    /// The signatures that the record had before, if more than a half of their life is left.
    pub fn again(&self, referral: &Referral, now: SystemTime) -> Option<Vec<ReferralSignature>> {
        let key = digest(referral).ok()?;
        let table = match subject(referral) {
            Subject::Delegation => &self.delegations,
            Subject::Revocation => &self.revocations,
            Subject::Other => &self.others,
        };
        let (made, signatures) = table.get(&key)?;
        let age = now.duration_since(*made).ok()?;
        (age < self.signing.life / 2).then(|| signatures.clone())
    }

    /// Signs it now.
    ///
    /// # Errors
    /// As [`keys::sign`].
    pub fn sign(&mut self, referral: Referral, now: SystemTime) -> Result<Referral, KeyError> {
        let keys = self.signing.keys_of(&referral);
        self.sign_with(&keys, referral, now)
    }

    /// Signs what revokes a key now, with that key.
    ///
    /// # Errors
    /// As [`keys::sign`].
    pub fn sign_revocation(
        &mut self,
        key: &Arc<SigningKey>,
        referral: Referral,
        now: SystemTime,
    ) -> Result<Referral, KeyError> {
        self.sign_with(std::slice::from_ref(key), referral, now)
    }

    fn sign_with(
        &mut self,
        keys: &[Arc<SigningKey>],
        referral: Referral,
        now: SystemTime,
    ) -> Result<Referral, KeyError> {
        let key = digest(&referral)?;
        let table = match subject(&referral) {
            Subject::Delegation => &mut self.delegations,
            Subject::Revocation => &mut self.revocations,
            Subject::Other => &mut self.others,
        };
        let signed = keys::sign(referral, keys, now, self.signing.life)?;
        table.renew(key, (now, signed.signatures.clone()));
        Ok(signed)
    }
}

/// Octets of a signature section.
pub(crate) fn signature_octets(key: &SigningKey) -> usize {
    SIGNATURE_HEAD + key.signature_octets()
}

/// Of a signature section before the signature (RFC 8111, section 6.4.1).
const SIGNATURE_HEAD: usize = 20;

/// What a signed record speaks of. However much is asked for of one, nothing of the others is left unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A delegation, as it is configured: NODE-REFERRAL and MS-REFERRAL.
    Delegation,
    /// A revoked key (RFC 8111, section 10.2.1).
    Revocation,
    /// Anything else.
    Other,
}

/// What `referral` speaks of.
pub(crate) fn subject(referral: &Referral) -> Subject {
    match referral.action {
        _ if revoked::named(referral).next().is_some() => Subject::Revocation,
        ReferralAction::NodeReferral | ReferralAction::MsReferral => Subject::Delegation,
        _ => Subject::Other,
    }
}

fn digest(referral: &Referral) -> Result<[u8; 32], KeyError> {
    Ok(Sha256::digest(referral.encode().map_err(|_| KeyError::Sign)?).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::address::{EidPrefix, InstanceId};
    use wire::record::{MapVersion, Ttl};

    fn referral(action: ReferralAction, n: u32) -> Referral {
        Referral {
            ttl: Ttl(1),
            action,
            authoritative: true,
            incomplete: false,
            map_version: MapVersion::default(),
            eid: EidPrefix::host(InstanceId(0), std::net::Ipv4Addr::from(n).into()).into(),
            locators: Vec::new(),
            signatures: Vec::new(),
        }
    }

    #[test]
    fn a_flood_of_other_records_pushes_no_signature_of_a_delegation_out() {
        // Without a key signatures are made at once, and of nothing.
        let (mut signer, now) = (Signer::default(), SystemTime::now());
        let delegation = referral(ReferralAction::NodeReferral, 0);
        signer.sign(delegation.clone(), now).unwrap();
        let first = referral(ReferralAction::DelegationHole, 0);
        signer.sign(first.clone(), now).unwrap();
        for n in 1..=u32::try_from(SIGNED_OTHERS).unwrap() {
            signer.sign(referral(ReferralAction::DelegationHole, n), now).unwrap();
        }
        assert!(signer.again(&first, now).is_none(), "the table is bounded");
        assert!(signer.again(&delegation, now).is_some());
    }
}
