// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC as ITR (RFC 9303, sections 6.4 and 6.9): a one-time key for each Map-Request, and what its Map-Reply has to prove.
//!
//! What is asked of the mapping system is protected, whatever it is asked for: a miss, a refresh, an SMR (section 6.9). RLOC-probes
//! are not: they go past the mapping system and never in an ECM (RFC 9301, sections 5.8 and 7.1), so that nobody could vouch for the
//! EID-prefixes of their answers, which are not installed either.
//!
//! * **A key and a nonce for each request**, for one that is repeated too. All of a conversation are kept until it is answered, so
//!   that a late answer still counts. An answer whose HMACs hold uses its key up; a forged one changes nothing (section 7.6), or
//!   whoever sees a request could cut the ITR off by one datagram.
//! * **Functions**: HMAC-SHA-256-128 and HKDF-SHA256 are asked for, and after an answer with others those (section 6.9). Whoever
//!   makes us ask for HMAC-SHA-1-96 by a forged number gains nothing: under a key that is used once it is not forged either.
//! * **Without protection** is asked only where a Map-Server says so, proven: an EID that cannot be answered for, with E (section 6.7,
//!   rule 3), and only if that is allowed ([`Demand::Prefer`]). Silence, forged and stripped answers never lead there. What is
//!   answered then is as open to others on the path as without LISP-SEC, but only inside the EID-prefix of which the Map-Server has
//!   said so, and never in the place of what is proven: a site that cannot sign takes nothing from those that do.
//! * **Another demand begins anew**: what was asked before counts no more, and what was installed without proof before more was
//!   demanded is forgotten.

use std::collections::HashMap;
use std::time::Instant;

use wire::address::EidPrefix;
use wire::control::Nonce;
use wire::control::auth::Secret;
use wire::control::lispsec::{
    Asked, EcmAd, EidAd, HmacAlgorithm, Kdf, OneTimeKey, SecError, Verified, WrappedOtk, verify_reply,
};

use crate::pause::Pause;
use crate::refusal::Refusal;
use crate::transport::MapSystem;

/// Whether what the mapping system answers has to be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Demand {
    /// Nothing is protected.
    #[default]
    Off,
    /// It has to be, but of EIDs of which a Map-Server says, proven, that nobody can sign for them (E; RFC 9303, section 6.7).
    Prefer,
    /// It has to be, and whoever asks for our mappings has to protect that (RFC 9301, section 9).
    Require,
}

/// How a one-time key is kept from others on the way to a Map-Resolver (RFC 9303, section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrapping {
    /// Encrypted with a secret that the two share.
    Secret {
        /// Key ID.
        key_id: u8,
        /// The secret.
        secret: Secret,
    },
    /// By something else, so that it is sent as it is (RFC 9303, section 6.5.1).
    ProtectedPath,
}

impl Wrapping {
    /// A one-time key as it goes to that Map-Resolver, in the Map-Request with this nonce.
    pub(crate) fn wrap(&self, otk: &OneTimeKey, nonce: Nonce) -> WrappedOtk {
        match self {
            Self::Secret { key_id, secret } => otk.wrap(*key_id, secret, nonce),
            Self::ProtectedPath => otk.unencrypted(),
        }
    }
}

/// What is to be protected, and how.
#[derive(Debug, Clone, Default)]
pub struct LispSec {
    /// Whether.
    pub demand: Demand,
    /// The Map-Resolvers that can be asked with LISP-SEC. What goes to the one in this process has not left it.
    pub resolvers: Vec<(MapSystem, Wrapping)>,
}

/// What was asked with LISP-SEC and waits for its answer.
#[derive(Debug, Default)]
pub(crate) struct Secured {
    settings: LispSec,
    exchanges: HashMap<EidPrefix, Exchange>,
    /// Apart, so that forgeries do not keep the other out of the log.
    discarded_logged: Pause,
    overclaimed_logged: Pause,
    unsent_logged: Pause,
}

/// One EID-prefix's.
#[derive(Debug, Default)]
struct Exchange {
    pairs: Vec<Pair>,
    /// Answers with functions that were not asked for, by which of the two differed.
    other_hmacs: usize,
    other_kdfs: usize,
    /// A Map-Server has said of this EID-prefix that nobody can sign for it: the rest of the conversation is without.
    open: Option<EidPrefix>,
}

/// The nonce of a request, the one-time key in it, and the functions that it asks for.
#[derive(Debug)]
struct Pair {
    nonce: Nonce,
    itr_otk: OneTimeKey,
    asked: Asked,
}

/// A Map-Reply that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Discarded {
    pub(crate) refusal: Refusal,
    /// Another request, with other functions, may have more luck: it is due as soon as the rate allows.
    pub(crate) ask_anew: bool,
}

/// What is asked for, in this order (RFC 9303, sections 6 and 6.9).
const HMACS: [HmacAlgorithm; 2] = [HmacAlgorithm::Sha256, HmacAlgorithm::Sha1];
const KDFS: [Kdf; 2] = [Kdf::HkdfSha256, Kdf::HkdfSha1];

impl Secured {
    /// Whether the demand is another one, so that all that waited has ended.
    pub(crate) fn set(&mut self, settings: LispSec) -> bool {
        let is_other = self.settings.demand != settings.demand;
        self.settings = settings;
        if is_other {
            self.exchanges.clear();
        }
        is_other
    }

    /// What is to be protected, and how.
    pub(crate) fn settings(&self) -> &LispSec {
        &self.settings
    }

    /// What is demanded.
    pub(crate) fn demand(&self) -> Demand {
        self.settings.demand
    }

    /// The EID-prefix, round one that is asked about without protection, of which a Map-Server has said that nobody can sign.
    pub(crate) fn open_within(&self, eid: &EidPrefix) -> Option<EidPrefix> {
        self.exchanges.get(eid).and_then(|exchange| exchange.open)
    }

    /// Whether the next request about an EID-prefix is protected.
    pub(crate) fn is_due(&self, eid: &EidPrefix) -> bool {
        self.settings.demand != Demand::Off && self.open_within(eid).is_none()
    }

    /// The authentication data of the next request, and that it waits for an answer (RFC 9303, section 6.4).
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        eid: EidPrefix,
        nonce: Nonce,
        resolver: MapSystem,
        itr_otk: OneTimeKey,
    ) -> Result<Vec<u8>, Refusal> {
        let otk = self.wrap(resolver, &itr_otk, nonce).ok_or_else(|| self.not_sent(now, &eid, resolver))?;
        let exchange = self.exchanges.entry(eid).or_default();
        let asked = exchange.asks_for();
        // EID-AD Length is 4: only the KDF ID stands in it.
        let ad = EcmAd { requested_hmac: asked.hmac, otk, eid_ad: EidAd::unfilled(asked.kdf) };
        let octets = ad.encode().map_err(|_| Refusal::NotEncodable)?;
        exchange.pairs.push(Pair { nonce, itr_otk, asked });
        Ok(octets)
    }

    /// A key that others on the way could read is never sent (RFC 9303, section 6.5, step 2).
    fn wrap(&self, resolver: MapSystem, itr_otk: &OneTimeKey, nonce: Nonce) -> Option<WrappedOtk> {
        if resolver == MapSystem::Pipe {
            return Some(itr_otk.unencrypted());
        }
        let (_, wrapping) = self.settings.resolvers.iter().find(|(known, _)| *known == resolver)?;
        Some(wrapping.wrap(itr_otk, nonce))
    }

    /// A request that is dropped for want of a key is logged (RFC 9303, section 6.4). Packets make such requests, so not each of them.
    fn not_sent(&mut self, now: Instant, eid: &EidPrefix, resolver: MapSystem) -> Refusal {
        self.unsent_logged.line(now, |left_out| {
            tracing::warn!(%eid, ?resolver, left_out, "a Map-Request is not sent: others could read its one-time key on the way");
        });
        Refusal::SecNoKey
    }

    /// Checks a Map-Reply with a nonce of ours; `None` if its request was not protected. The key is used up by an answer that
    /// holds (RFC 9303, section 6.9).
    pub(crate) fn open(
        &mut self,
        now: Instant,
        eid: &EidPrefix,
        nonce: Nonce,
        payload: &[u8],
    ) -> Result<Option<Verified>, Discarded> {
        let is_due = self.is_due(eid);
        let pair = self.exchanges.get_mut(eid).and_then(|exchange| {
            let index = exchange.pairs.iter().position(|pair| pair.nonce == nonce)?;
            Some((exchange, index))
        });
        let Some((exchange, index)) = pair else {
            // Nothing is believed that was asked before the demand.
            let refused = Discarded { refusal: Refusal::SecReplyUnprotected, ask_anew: false };
            return if is_due { Err(refused) } else { Ok(None) };
        };
        let Pair { itr_otk, asked, .. } = &exchange.pairs[index];
        match verify_reply(payload, itr_otk, *asked) {
            Ok(verified) => {
                exchange.pairs.swap_remove(index);
                if !verified.overclaimed.is_empty() {
                    self.overclaimed_logged.line(now, |left_out| {
                        let claimed: Vec<_> = verified.overclaimed.iter().map(ToString::to_string).collect();
                        tracing::warn!(asked = %eid, ?claimed, left_out, "an ETR claims what its Map-Server does not vouch for");
                    });
                }
                Ok(Some(verified))
            }
            Err(error) => {
                let ask_anew = exchange.differs(&error);
                self.discarded_logged.line(now, |left_out| {
                    tracing::warn!(asked = %eid, %error, left_out, "a Map-Reply to a protected Map-Request is discarded");
                });
                Err(Discarded { refusal: refusal(&error), ask_anew })
            }
        }
    }

    /// Of an answer that holds and says of `within`, round the EID, that nobody can sign: whether to ask without. The nonces of what
    /// was asked until now, which counts no more.
    pub(crate) fn ask_openly(&mut self, eid: EidPrefix, within: EidPrefix) -> Option<Vec<Nonce>> {
        if self.settings.demand != Demand::Prefer {
            return None;
        }
        let exchange = self.exchanges.entry(eid).or_default();
        exchange.open = Some(within);
        Some(exchange.pairs.drain(..).map(|pair| pair.nonce).collect())
    }

    /// Ends an exchange; the nonces of its requests.
    pub(crate) fn forget(&mut self, eid: &EidPrefix) -> Vec<Nonce> {
        let exchange = self.exchanges.remove(eid).unwrap_or_default();
        exchange.pairs.into_iter().map(|pair| pair.nonce).collect()
    }

    /// Ends all but those that are still wanted; the nonces of their requests.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(&EidPrefix) -> bool) -> Vec<Nonce> {
        let ended = self.exchanges.extract_if(|eid, _| !is_wanted(eid));
        ended.flat_map(|(_, exchange)| exchange.pairs).map(|pair| pair.nonce).collect()
    }
}

impl Exchange {
    fn asks_for(&self) -> Asked {
        let (hmac, kdf) = (HMACS[self.other_hmacs % HMACS.len()], KDFS[self.other_kdfs % KDFS.len()]);
        Asked { hmac: hmac.id(), kdf: kdf.id() }
    }

    /// Notes an answer with other functions; whether there are some that have not been asked for (RFC 9303, section 6.9).
    fn differs(&mut self, error: &SecError) -> bool {
        let (differing, known) = match error {
            SecError::HmacId(_) => (&mut self.other_hmacs, HMACS.len()),
            SecError::KdfId(_) => (&mut self.other_kdfs, KDFS.len()),
            _ => return false,
        };
        *differing += 1;
        *differing < known
    }
}

/// Under what a Map-Reply counts that is discarded.
pub(crate) fn refusal(error: &SecError) -> Refusal {
    match error {
        SecError::Malformed(_) | SecError::Wrap(_) | SecError::Unwrap => Refusal::SecMalformed,
        SecError::Missing(_) => Refusal::SecReplyUnprotected,
        SecError::HmacId(_) | SecError::KdfId(_) => Refusal::SecReplyOtherFunction,
        SecError::Hmac(_) => Refusal::SecReplyForged,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::address::InstanceId;
    use wire::control::lispsec::{HmacId, KdfId, WrapId};

    const RESOLVER: MapSystem = MapSystem::Node(std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 53)));

    fn eid(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    fn secured(demand: Demand, wrapping: Wrapping) -> Secured {
        let mut secured = Secured::default();
        secured.set(LispSec { demand, resolvers: vec![(RESOLVER, wrapping)] });
        secured
    }

    fn key(octet: u8) -> OneTimeKey {
        OneTimeKey::new([octet; 16])
    }

    #[test]
    fn a_key_goes_unencrypted_only_where_that_was_said_or_it_does_not_leave_the_process() {
        let with_secret = || Wrapping::Secret { key_id: 7, secret: Secret::new("itr and resolver") };
        let wrapped = |wrapping: Wrapping, to: MapSystem| {
            let ad =
                secured(Demand::Require, wrapping).begin(Instant::now(), eid("10.2.0.1/32"), Nonce(1), to, key(1))?;
            let otk = EcmAd::decode(&ad).unwrap().otk;
            Ok((otk.wrap, otk.key_id))
        };
        let elsewhere = MapSystem::Node("203.0.113.54".parse().unwrap());
        assert_eq!(wrapped(with_secret(), RESOLVER), Ok((WrapId::AES_HKDF_SHA256, 7)));
        assert_eq!(wrapped(Wrapping::ProtectedPath, RESOLVER), Ok((WrapId::NULL, 0)));
        assert_eq!(wrapped(with_secret(), MapSystem::Pipe), Ok((WrapId::NULL, 0)));
        assert_eq!(wrapped(with_secret(), elsewhere), Err(Refusal::SecNoKey));
        assert_eq!(wrapped(Wrapping::ProtectedPath, elsewhere), Err(Refusal::SecNoKey));
    }

    #[test]
    fn each_function_is_asked_for_before_one_is_asked_for_again() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.asks_for(), Asked { hmac: HmacId(2), kdf: KdfId(2) });
        assert!(exchange.differs(&SecError::HmacId(1)));
        assert_eq!(exchange.asks_for(), Asked { hmac: HmacId(1), kdf: KdfId(2) });
        assert!(exchange.differs(&SecError::KdfId(1)));
        assert_eq!(exchange.asks_for(), Asked { hmac: HmacId(1), kdf: KdfId(1) });
        assert!(!exchange.differs(&SecError::HmacId(2)), "all have been: the usual pace again");
        assert_eq!(exchange.asks_for(), Asked { hmac: HmacId(2), kdf: KdfId(1) });
        assert!(!exchange.differs(&SecError::Hmac("PKT HMAC")));
    }

    #[test]
    fn what_has_ended_leaves_no_key_behind() {
        let mut secured = secured(Demand::Prefer, Wrapping::ProtectedPath);
        for (number, asked) in ["10.2.0.1/32", "10.2.0.1/32", "10.2.0.2/32", "10.2.0.3/32"].into_iter().enumerate() {
            let nonce = Nonce(number.try_into().unwrap());
            secured.begin(Instant::now(), eid(asked), nonce, RESOLVER, key(1)).unwrap();
        }
        assert_eq!(secured.forget(&eid("10.2.0.1/32")), [Nonce(0), Nonce(1)]);
        assert_eq!(secured.ask_openly(eid("10.2.0.2/32"), eid("10.2.0.0/16")), Some(vec![Nonce(2)]));
        assert_eq!(secured.open_within(&eid("10.2.0.2/32")), Some(eid("10.2.0.0/16")));
        assert!(!secured.is_due(&eid("10.2.0.2/32")) && secured.is_due(&eid("10.2.0.3/32")));
        assert_eq!(secured.retain(|_| false), [Nonce(3)]);
        assert!(secured.exchanges.is_empty() && secured.is_due(&eid("10.2.0.2/32")), "the next time it begins anew");
    }

    #[test]
    fn who_requires_protection_is_not_talked_out_of_it() {
        let asked = eid("10.2.0.1/32");
        assert_eq!(secured(Demand::Require, Wrapping::ProtectedPath).ask_openly(asked, asked), None);
        let mut secured = secured(Demand::Require, Wrapping::ProtectedPath);
        let unprotected = secured.open(Instant::now(), &eid("10.2.0.1/32"), Nonce(9), &[]);
        assert_eq!(unprotected, Err(Discarded { refusal: Refusal::SecReplyUnprotected, ask_anew: false }));
    }
}
