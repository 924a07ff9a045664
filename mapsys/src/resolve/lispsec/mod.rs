// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC as Map-Resolver and Map-Server (RFC 9303): whose one-time keys can be unwrapped, and what answers are sealed with.

mod associations;
mod forward;

pub use associations::{Association, AssociationError, Associations, SecKey};

use wire::address::{Eid, EidPrefix};
use wire::control::lispsec::{self, Asked, EcmAd, EidAd, HmacAlgorithm, Kdf, OneTimeKey, WrapId, WrappedOtk};
use wire::control::{Ecm, MapReply};
use wire::error::EncodeError;
use wire::record::MappingRecord;

use crate::refusal::Refusal;
use crate::register::MapServer;
use crate::register::site::LispSec;
use crate::transport::Via;

/// What is known of a Protected Map-Request (RFC 9303, section 6.4).
#[derive(Debug, Clone)]
pub(super) struct Protection {
    pub(super) itr_otk: OneTimeKey,
    /// How that was wrapped for this node.
    pub(super) wrap: WrapId,
    /// Name of the association that has unwrapped it; `None` of the node's own xTR.
    pub(super) by: Option<String>,
    asked: Asked,
    /// The EIDs of the request.
    hosts: Vec<EidPrefix>,
}

impl Protection {
    /// A Map-Reply with EID-AD and PKT-AD, as the Map-Server makes it that answers for an ETR (RFC 9303, section 6.7.2); E says that
    /// nobody can sign it.
    pub(super) fn seal(&self, reply: &MapReply, cant_sign: bool) -> Result<Vec<u8>, EncodeError> {
        let eid_ad = self.eid_ad(cant_sign, widest(&reply.records))?;
        lispsec::seal_reply(reply, &eid_ad, &self.itr_otk.derive(self.kdf()), self.hmac())
    }

    /// The ECM for an ETR: its own one-time key, and what it may answer for (RFC 9303, section 6.7.1).
    fn for_etr(
        &self,
        ecm: &[u8],
        prefixes: Vec<Eid>,
        cant_sign: bool,
        wrap: impl FnOnce(&OneTimeKey) -> WrappedOtk,
    ) -> Result<Vec<u8>, Refusal> {
        let otk = wrap(&self.itr_otk.derive(self.kdf()));
        let ad = EcmAd { requested_hmac: self.asked.hmac, otk, eid_ad: EidAd::unfilled(self.kdf().id()) };
        let eid_ad = self.eid_ad(cant_sign, prefixes);
        with_security(ecm, eid_ad.and_then(|eid_ad| ad.with_eid_ad(&eid_ad)))
    }

    /// The ECM for a Map-Server: the key of the ITR as that Map-Server can read it (RFC 9303, section 6.6).
    fn for_map_server(&self, ecm: &[u8], otk: WrappedOtk) -> Result<Vec<u8>, Refusal> {
        let ad = EcmAd { requested_hmac: self.asked.hmac, otk, eid_ad: EidAd::unfilled(self.asked.kdf) };
        with_security(ecm, ad.encode())
    }

    fn eid_ad(&self, cant_sign: bool, eids: Vec<Eid>) -> Result<Vec<u8>, EncodeError> {
        lispsec::seal_eid_ad(&self.itr_otk, self.kdf(), self.hmac(), cant_sign, eids)
    }

    fn kdf(&self) -> Kdf {
        Kdf::for_request(self.asked.kdf)
    }

    fn hmac(&self) -> HmacAlgorithm {
        HmacAlgorithm::for_request(self.asked.hmac)
    }
}

/// The ECM with other authentication data; its inner message is unchanged.
fn with_security(ecm: &[u8], security: Result<Vec<u8>, EncodeError>) -> Result<Vec<u8>, Refusal> {
    let ecm = Ecm::decode(ecm).map_err(|_| Refusal::Malformed)?;
    let security = Some(security.map_err(|_| Refusal::NotEncodable)?);
    Ecm { security, ..ecm }.encode().map_err(|_| Refusal::NotEncodable)
}

/// The EID-prefixes of the records, without those inside others: of a site that is the longest match, whose more-specifics
/// stand beside it (RFC 9303, section 6.7.1).
fn widest(records: &[MappingRecord]) -> Vec<Eid> {
    let eids = || records.iter().map(|record| &record.eid);
    eids().filter(|eid| !eids().any(|other| other != *eid && lispsec::grants(other, eid))).cloned().collect()
}

/// Lets nobody but the node's own xTR ask without LISP-SEC for a site that requires it (RFC 9301, section 9).
///
/// # Errors
/// `SecRequired`.
pub(super) fn admit_unprotected(server: &MapServer, via: Via, host: &EidPrefix) -> Result<(), Refusal> {
    let site = server.sites().find(host).map(|grant| server.sites().get(grant.site));
    match site {
        Some(site) if site.lisp_sec == LispSec::Required && via != Via::Pipe => Err(Refusal::SecRequired),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resolve::found::ask_again;
    use wire::address::InstanceId;

    #[test]
    fn more_specifics_are_granted_by_what_they_are_in() {
        let prefix = |iid, text: &str| EidPrefix { iid: InstanceId(iid), net: text.parse().unwrap() };
        let of = [
            prefix(0, "10.2.2.128/25"),
            prefix(0, "10.2.2.0/24"),
            prefix(5, "10.2.2.128/25"),
            prefix(0, "10.3.0.0/16"),
        ];
        let records = of.map(ask_again);
        assert_eq!(widest(&records), [of[1].into(), of[2].into(), of[3].into()]);
    }
}
