// SPDX-License-Identifier: GPL-2.0-or-later
//! Messages as xTRs send them.

use std::net::IpAddr;

use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, EidRequest, MapRegister, MapRequest, Nonce};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

use crate::suite::probe::{Fault, broken};

pub(in crate::suite) fn key(id: u8, algorithm: Algorithm, secret: &str) -> AuthKey {
    AuthKey { id, algorithm, secret: Secret::new(secret) }
}

pub(in crate::suite) fn prefix(text: &str) -> Result<EidPrefix, Fault> {
    prefix_in(0, text)
}

pub(in crate::suite) fn prefix_in(iid: u32, text: &str) -> Result<EidPrefix, Fault> {
    Ok(EidPrefix { iid: InstanceId(iid), net: text.parse().map_err(broken)? })
}

/// A host EID.
pub(in crate::suite) fn host(text: &str) -> Result<EidPrefix, Fault> {
    Ok(EidPrefix::host(InstanceId(0), text.parse().map_err(broken)?))
}

pub(in crate::suite) fn record(prefix: EidPrefix, locators: &[&str]) -> MappingRecord {
    MappingRecord {
        ttl: Ttl::DEFAULT,
        action: Action::NoAction,
        authoritative: true,
        map_version: MapVersion::default(),
        eid: prefix.into(),
        locators: locators.iter().filter_map(|text| text.parse().ok()).map(locator).collect(),
    }
}

fn locator(address: IpAddr) -> LocatorRecord {
    LocatorRecord {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        local: true,
        probed: false,
        reachable: true,
        rloc: address.into(),
    }
}

/// A Map-Register with P and M.
pub(in crate::suite) fn register(nonce: Nonce, records: Vec<MappingRecord>) -> MapRegister {
    MapRegister { proxy_reply: true, want_notify: true, nonce, records, ..MapRegister::default() }
}

/// With a tag as long as a Map-Server expects it.
pub(in crate::suite) fn sealed(message: &MapRegister, key: &AuthKey) -> Result<Vec<u8>, Fault> {
    auth::seal(&message.clone().into(), key, form(key.algorithm)).map_err(broken)
}

/// HMAC-SHA-1 is sent whole by all who are deployed, the others as their names say.
pub(in crate::suite) fn form(algorithm: Algorithm) -> TagForm {
    if algorithm == Algorithm::HmacSha1 { TagForm::Untruncated } else { TagForm::Truncated }
}

pub(in crate::suite) fn request(nonce: Nonce, eids: &[EidPrefix], itr_rlocs: &[IpAddr]) -> MapRequest {
    MapRequest {
        nonce,
        itr_rlocs: itr_rlocs.iter().map(|rloc| (*rloc).into()).collect(),
        records: eids.iter().map(|eid| EidRequest { notify: false, eid: (*eid).into() }).collect(),
        ..MapRequest::default()
    }
}

/// The addresses of locators, as text.
pub(in crate::suite) fn rlocs(records: &[MappingRecord]) -> Vec<String> {
    let locators = records.iter().flat_map(|record| &record.locators);
    locators.filter_map(|locator| locator.rloc.ip()).map(|address| address.to_string()).collect()
}

/// A message for people.
pub(in crate::suite) fn told(bytes: &[u8]) -> String {
    match ControlMessage::decode(bytes) {
        Ok(message) => format!("{message:?}"),
        Err(error) => format!("{} octets ({error})", bytes.len()),
    }
}
