// SPDX-License-Identifier: GPL-2.0-or-later
//! Public keys that were revoked (RFC 8111, section 10.2.1).
//!
//! A key revokes itself, and nothing else does: neither another key of its node, nor one of its parent.

use sha2::{Digest as _, Sha256};
use wire::address::{Address, Lcaf};
use wire::control::{Referral, ReferralSignature};

use super::keys::VerifyingKey;
use crate::limit::Bounded;
use crate::limits::REVOKED_KEYS;

/// The keys that count for nothing any more, by digest. A revoked key never comes back: what named it before may be said again until
/// the last signature of that expires. The oldest is forgotten where there are too many.
#[derive(Debug)]
pub(super) struct Revoked(Bounded<[u8; 32], ()>);

impl Default for Revoked {
    fn default() -> Self {
        Self(Bounded::new(REVOKED_KEYS))
    }
}

impl Revoked {
    /// Revokes `key`.
    pub(super) fn put(&mut self, key: &VerifyingKey) {
        self.0.renew(digest(key), ());
    }

    /// Whether `key` counts for nothing.
    pub(super) fn has(&self, key: &VerifyingKey) -> bool {
        self.0.get(&digest(key)).is_some()
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn digest(key: &VerifyingKey) -> [u8; 32] {
    Sha256::digest(key.material()).into()
}

/// The key material with R in a record (RFC 8060, section 4.7).
pub(super) fn named(referral: &Referral) -> impl Iterator<Item = &[u8]> {
    let lcafs = referral.locators.iter().filter_map(|locator| match &locator.rloc {
        Address::Lcaf(lcaf) => Some(lcaf.as_ref()),
        _ => None,
    });
    let revoked = lcafs.filter_map(|lcaf| match lcaf {
        Lcaf::SecurityKey { algorithm: ReferralSignature::RSA_SHA256, revoked: true, keys, .. } => Some(keys),
        _ => None,
    });
    revoked.flatten().map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn revoked_keys_are_bounded_and_the_oldest_goes_first() {
        let pem = |text| VerifyingKey::from_pem(text).unwrap();
        let root = pem(include_str!("../../tests/data/ddt/root.pub.pem"));
        let node = pem(include_str!("../../tests/data/ddt/node.pub.pem"));
        let mut revoked = Revoked::default();
        revoked.put(&root);
        assert!(revoked.has(&root) && !revoked.has(&node));
        for n in 1..u32::try_from(REVOKED_KEYS).unwrap() {
            revoked.0.renew(Sha256::digest(n.to_be_bytes()).into(), ());
        }
        assert!(revoked.has(&root));
        revoked.put(&node);
        assert_eq!((revoked.has(&root), revoked.has(&node), revoked.len()), (false, true, REVOKED_KEYS));
    }
}
