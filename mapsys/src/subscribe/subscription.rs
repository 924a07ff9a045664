// SPDX-License-Identifier: GPL-2.0-or-later
//! One subscription: what is proven of it, what was asked for since, and what of it is kept on disk.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wire::address::{EidPrefix, InstanceId};
use wire::control::XtrIdentity;
use wire::record::{MappingRecord, Ttl};

use super::association::{Key, UsedKey};
use super::parts::Parts;
use crate::transport::Way;

/// Who has subscribed to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionKey {
    /// The xTR.
    pub xtr: XtrIdentity,
    /// The EID-prefix that it was told.
    pub prefix: EidPrefix,
}

/// What an xTR wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Every change.
    Publish,
    /// Nothing, though it has subscribed to something wider (RFC 9437, section 5).
    Mute,
    /// Nothing any more: only the nonce is remembered, against replays.
    Gone,
}

/// What one Map-Request asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// The last nonce: of the Map-Request, or of a Map-Notify after it.
    pub nonce: u64,
    /// What it wants.
    pub mode: Mode,
    /// The EID-prefix as it stood in the Map-Request.
    pub asked: IpNet,
    /// Where the xTR can be told, the first one first.
    pub ways: Vec<Way>,
    /// The key of the security association that LISP-SEC has made; `None` under one that is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The one-time key that this one is made of, until it is acknowledged.
    #[serde(skip)]
    pub made_of: Option<UsedKey>,
}

/// The state of a subscription.
///
/// A Map-Request proves nothing. What it asks for holds from the moment that it comes, but what was proven before is set aside
/// and not thrown away: the acknowledgement of its Map-Notify, which only the holder of the key can make, puts the one in the
/// place of the other. Without one, all is again as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Number of the key for which these nonces rise.
    pub key_id: u8,
    /// What was acknowledged.
    pub proven: Option<Agreement>,
    /// What was asked for after that.
    pub asked: Option<Agreement>,
    /// Since when something was asked for of which nothing is acknowledged.
    pub asked_since: Option<Instant>,
    /// When it ends, because nothing is registered for it.
    pub until: Option<Instant>,
    /// Digest of what the xTR has acknowledged of its EID-prefix.
    pub told: Option<u64>,
    /// Digest of what it was sent last.
    pub sent: Option<u64>,
    /// Since when it acknowledges nothing, in seconds since 1970.
    pub silent_since: Option<u64>,
    /// Whether its mapping comes from the DHT.
    pub is_foreign: bool,
    /// The EID by which the DHT has said something of it and not of a more-specific, if it is not the first one.
    pub seen_at: Option<IpAddr>,
    /// Whether the operator has made it, and not a Map-Request.
    pub is_configured: bool,
    /// What its xTR may have inside of it, if the operator has made it.
    pub parts: Parts,
    /// The highest nonce that any Map-Request about it had: a new association begins with any.
    pub peak: u64,
}

/// A subscription as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// xTR-ID.
    pub xtr_id: [u8; 16],
    /// Site-ID.
    pub site_id: u64,
    /// Instance of the EID-prefix.
    pub iid: u32,
    /// The EID-prefix.
    pub net: IpNet,
    /// As in [`Subscription`]; so all below.
    pub key_id: u8,
    /// What was acknowledged.
    pub proven: Option<Agreement>,
    /// What was asked for after that.
    pub asked: Option<Agreement>,
    /// When it ends, in seconds since 1970.
    pub until: Option<u64>,
    /// Digest of what the xTR has acknowledged.
    pub told: Option<u64>,
    /// Since when it acknowledges nothing.
    pub silent_since: Option<u64>,
    /// Whether its mapping comes from the DHT.
    pub is_foreign: bool,
    /// The EID by which the DHT has said something of it and not of a more-specific.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<IpAddr>,
    /// Whether the operator has made it.
    #[serde(default)]
    pub is_configured: bool,
    /// What its xTR may have inside of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<IpNet>,
    /// The highest nonce that any Map-Request about it had.
    #[serde(default)]
    pub peak: u64,
}

impl Kept {
    /// Whose it is.
    pub fn key(&self) -> SubscriptionKey {
        let xtr = XtrIdentity { xtr_id: self.xtr_id, site_id: self.site_id };
        SubscriptionKey { xtr, prefix: EidPrefix { iid: InstanceId(self.iid), net: self.net } }
    }
}

impl Subscription {
    /// One of which nothing is known yet.
    pub(super) fn new(key_id: u8) -> Self {
        Self {
            key_id,
            proven: None,
            asked: None,
            asked_since: None,
            until: None,
            told: None,
            sent: None,
            silent_since: None,
            is_foreign: false,
            seen_at: None,
            is_configured: false,
            parts: Parts::default(),
            peak: 0,
        }
    }

    /// What holds now.
    pub fn agreement(&self) -> Option<&Agreement> {
        self.asked.as_ref().or(self.proven.as_ref())
    }

    pub(super) fn agreement_mut(&mut self) -> Option<&mut Agreement> {
        self.asked.as_mut().or(self.proven.as_mut())
    }

    /// What the xTR wants now.
    pub fn mode(&self) -> Mode {
        self.agreement().map_or(Mode::Gone, |agreement| agreement.mode)
    }

    /// What of it is proven.
    pub(super) fn proven_mode(&self) -> Mode {
        self.proven.as_ref().map_or(Mode::Gone, |proven| proven.mode)
    }

    /// Whether its xTR wants that now, or will when what was asked for is taken back.
    pub(super) fn may_be(&self, mode: Mode) -> bool {
        self.mode() == mode || self.proven_mode() == mode
    }

    /// Whether nothing but a nonce is left of it.
    pub fn is_memory(&self) -> bool {
        self.asked.is_none() && self.mode() == Mode::Gone
    }

    /// The nonce that a Map-Request must exceed (RFC 9437, section 5).
    pub fn last_nonce(&self) -> Option<u64> {
        [&self.proven, &self.asked].into_iter().flatten().map(|agreement| agreement.nonce).max()
    }

    /// Whether what was said under this nonce, and is not acknowledged, was said of what is asked for, and not of what is proven. Under
    /// another association nonces begin anew, and nothing is under way any more of the one before.
    pub(super) fn is_of_asked(&self, nonce: u64) -> bool {
        let is_later = |asked: &Agreement, proven: &Agreement| asked.key != proven.key || nonce > proven.nonce;
        let asked = self.asked.as_ref();
        asked.is_some_and(|asked| self.proven.as_ref().is_none_or(|proven| is_later(asked, proven)))
    }

    /// Notes what its xTR is told of the parts of `prefix`, if it does not ask for them again.
    pub(super) fn note_parts(&mut self, prefix: &EidPrefix, records: &[MappingRecord]) {
        if !self.is_configured {
            return;
        }
        for record in records {
            let part = record.eid.ip_prefix().filter(|part| part != prefix && prefix.covers(part));
            part.into_iter().for_each(|part| self.parts.note(part, record.ttl == Ttl::WITHDRAWN));
        }
    }

    /// What is left of it when its xTR can no longer be told by some of the ways: nothing of an agreement without any, but for the
    /// nonce of what is proven. What the operator has made is then to be made again: it is not its xTR that has ended it.
    pub(super) fn reachable(mut self) -> Option<Self> {
        self.asked.take_if(|asked| asked.ways.is_empty());
        if let Some(proven) = self.proven.as_mut().filter(|proven| proven.ways.is_empty()) {
            self.is_configured &= proven.mode == Mode::Gone;
            proven.mode = Mode::Gone;
            (self.told, self.silent_since) = (None, None);
            if self.asked.is_none() {
                self.until = None;
            }
        }
        (self.asked.is_some() || self.proven.is_some()).then_some(self)
    }

    /// As it is kept on disk; `until` in seconds since 1970.
    pub(super) fn kept(&self, key: &SubscriptionKey, until: Option<u64>) -> Kept {
        Kept {
            xtr_id: key.xtr.xtr_id,
            site_id: key.xtr.site_id,
            iid: key.prefix.iid.0,
            net: key.prefix.net,
            key_id: self.key_id,
            proven: self.proven.clone(),
            asked: self.asked.clone(),
            until,
            told: self.told,
            silent_since: self.silent_since,
            is_foreign: self.is_foreign,
            seen_at: self.seen_at,
            is_configured: self.is_configured,
            parts: self.parts.kept(),
            peak: self.peak,
        }
    }
}
