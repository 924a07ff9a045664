// SPDX-License-Identifier: GPL-2.0-or-later
//! With whom one-time keys can be exchanged: ITRs and Map-Resolvers that ask here, Map-Servers that are asked from here.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use wire::address::EidPrefix;
use wire::control::auth::Secret;
use wire::control::lispsec::{Asked, EcmAd, OneTimeKey, WrapId, WrappedOtk};
use wire::control::{MapRequest, Nonce};

use super::Protection;
use crate::refusal::Refusal;
use crate::register::site::SiteTable;
use crate::transport::Via;
use dht::pause::Pause;

/// Peers and the secrets that they share with this node (RFC 9303, section 6.5).
#[derive(Debug, Clone)]
pub struct Association {
    /// Names it in messages.
    pub name: String,
    /// Their addresses.
    pub peers: Vec<IpNet>,
    /// The secrets, by number. The first is used for what is sent.
    pub keys: Vec<SecKey>,
    /// Something else encrypts the path to them, so that unencrypted one-time keys are taken and, without a secret, sent
    /// (RFC 9303, section 6.5.1).
    pub protected_path: bool,
}

/// A secret.
#[derive(Debug, Clone)]
pub struct SecKey {
    /// Key ID.
    pub id: u8,
    /// The secret itself.
    pub secret: Secret,
}

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssociationError {
    /// Nothing could be exchanged with these peers.
    #[error("lisp-sec {0:?} has no key, and no protected path")]
    NoKey(String),
    /// Two secrets of one number.
    #[error("lisp-sec {name:?} has two keys with key-id {id}")]
    KeyTwice {
        /// The association.
        name: String,
        /// The number.
        id: u8,
    },
    /// The same peers in two associations.
    #[error("lisp-sec peers {0} are configured twice")]
    PeersTwice(IpNet),
    /// An ETR that knows what the ITRs wrap with could claim any EID-prefix (RFC 9303, section 6.5).
    #[error("lisp-sec {name:?} and site {site:?} have one secret: RFC 9303, section 6.5, wants them to be independent")]
    SharedSecret {
        /// The association.
        name: String,
        /// The site.
        site: String,
    },
}

/// All associations.
#[derive(Debug, Default)]
pub struct Associations {
    all: Vec<Association>,
    /// When an unencrypted key was last logged.
    null_logged: Pause,
    /// When a key that is sent nowhere was. Apart, so that neither keeps the other out of the log.
    withheld_logged: Pause,
    malformed_logged: Pause,
}

impl Associations {
    /// Checks them, and that no site has one of their secrets.
    ///
    /// # Errors
    /// Names the first contradiction.
    pub fn new(all: Vec<Association>, sites: &SiteTable) -> Result<Self, AssociationError> {
        let mut peers: Vec<IpNet> = all.iter().flat_map(|one| one.peers.iter().map(IpNet::trunc)).collect();
        peers.sort_unstable();
        if let Some(twice) = peers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(AssociationError::PeersTwice(twice[0]));
        }
        for Association { name, keys, protected_path, .. } in &all {
            if keys.is_empty() && !protected_path {
                return Err(AssociationError::NoKey(name.clone()));
            }
            for (index, key) in keys.iter().enumerate() {
                if keys[..index].iter().any(|other| other.id == key.id) {
                    return Err(AssociationError::KeyTwice { name: name.clone(), id: key.id });
                }
                let has_it = |site: &crate::register::site::Site| site.keys.iter().any(|own| own.secret == key.secret);
                if let Some((_, site)) = sites.iter().find(|(_, site)| has_it(site)) {
                    return Err(AssociationError::SharedSecret { name: name.clone(), site: site.name.clone() });
                }
            }
        }
        Ok(Self { all, ..Self::default() })
    }

    /// Unwraps the one-time key of a Protected Map-Request (RFC 9303, section 6.6); `None` if it is not protected.
    ///
    /// # Errors
    /// The reason for which the request is dropped.
    pub(in crate::resolve) fn open(
        &mut self,
        now: Instant,
        via: Via,
        security: Option<&[u8]>,
        request: &MapRequest,
    ) -> Result<Option<Protection>, Refusal> {
        let Some(octets) = security else { return Ok(None) };
        let ad = EcmAd::decode(octets).map_err(|error| {
            self.malformed_logged.line(now, |left_out| {
                tracing::warn!(from = %via, %error, left_out, "authentication data malformed: request dropped");
            });
            Refusal::SecMalformed
        })?;
        if ad.eid_ad.granted.is_some() {
            return Err(Refusal::SecEidAdFilled);
        }
        let opened = match ad.otk.wrap {
            WrapId::AES_HKDF_SHA256 => {
                ad.otk.unwrap(self.secret(via, ad.otk.key_id).ok_or(Refusal::EcmSecurity)?, request.nonce)
            }
            WrapId::NULL if self.is_protected(via) => ad.otk.open(),
            WrapId::NULL => {
                self.warn_of_null(now, via);
                return Err(Refusal::SecUnencrypted);
            }
            _ => return Err(Refusal::SecUnknownWrap),
        };
        let itr_otk = opened.map_err(|_| Refusal::SecNotUnwrapped)?;
        let asked = Asked { hmac: ad.requested_hmac, kdf: ad.eid_ad.kdf };
        let eids = request.records.iter().filter_map(|record| record.eid.ip_prefix());
        let hosts = eids.map(|eid| EidPrefix::host(eid.iid, eid.net.addr())).collect();
        let by = self.of_sender(via).map(|association| association.name.clone());
        Ok(Some(Protection { itr_otk, wrap: ad.otk.wrap, by, asked, hosts }))
    }

    /// The one-time key as a Map-Server can read it; `None` if there is no way to keep it from others on the path.
    pub(super) fn wrap_for(&self, server: IpAddr, otk: &OneTimeKey, nonce: Nonce) -> Option<WrappedOtk> {
        let association = self.of(server)?;
        match association.keys.first() {
            Some(key) => Some(otk.wrap(key.id, &key.secret, nonce)),
            None => association.protected_path.then(|| otk.unencrypted()),
        }
    }

    /// Whether there is a way to hand a one-time key to `server`, as [`Self::wrap_for`] does.
    pub(in crate::resolve) fn is_open_to(&self, server: IpAddr) -> bool {
        self.of(server).is_some_and(|association| !association.keys.is_empty() || association.protected_path)
    }

    /// The association whose longest prefix covers an address.
    fn of(&self, address: IpAddr) -> Option<&Association> {
        let length =
            |one: &Association| one.peers.iter().filter(|net| net.contains(&address)).map(IpNet::prefix_len).max();
        let covering = self.all.iter().filter_map(|one| Some((length(one)?, one)));
        covering.max_by_key(|(length, _)| *length).map(|(_, one)| one)
    }

    /// That with whoever has sent something; the node's own xTR needs none.
    fn of_sender(&self, via: Via) -> Option<&Association> {
        let Via::Socket { remote, .. } = via else { return None };
        self.of(remote.ip())
    }

    fn secret(&self, via: Via, key_id: u8) -> Option<&Secret> {
        self.of_sender(via)?.keys.iter().find(|key| key.id == key_id).map(|key| &key.secret)
    }

    /// What comes from the node's own xTR has not left the process.
    fn is_protected(&self, via: Via) -> bool {
        via == Via::Pipe || self.of_sender(via).is_some_and(|one| one.protected_path)
    }

    /// RFC 9303, section 6.5, step 2, asks for a log entry, and that nobody can exhaust the log.
    fn warn_of_null(&mut self, now: Instant, via: Via) {
        self.null_logged.line(now, |left_out| {
            tracing::warn!(?via, left_out, "unencrypted one-time key over an unprotected path: request dropped");
        });
    }

    /// The same of a key that goes to no Map-Server or ETR, for it would be readable on the way (RFC 9303, section 6.7.1).
    pub(super) fn warn_of_withheld(&mut self, now: Instant, about: &EidPrefix, next_hop: Option<IpAddr>) {
        let next_hop = next_hop.map(tracing::field::display);
        self.withheld_logged.line(now, |left_out| {
            tracing::warn!(%about, next_hop, left_out, "one-time key would be readable on the way: request not forwarded");
        });
    }
}
