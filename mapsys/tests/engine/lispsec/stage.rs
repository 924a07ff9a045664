// SPDX-License-Identifier: GPL-2.0-or-later
//! ITR, ETR, and the engine between them.

use std::net::SocketAddr;

use mapsys::engine::{Config, Output};
use mapsys::register::site::Site;
use mapsys::resolve::lispsec::{Association, SecKey};
use wire::address::EidPrefix;
use wire::control::auth::{Algorithm, AuthKey, Secret};
use wire::control::lispsec::*;
use wire::control::{ControlMessage, Ecm, MapRegister, MapReply, Nonce, XtrIdentity};

use crate::common::*;
use crate::log::logged;

pub(crate) const ETR: &str = "198.51.100.1:4342";
pub(crate) const OTHER: &str = "198.51.100.2:4342";
/// An ITR that shares a secret with the Map-Resolver.
pub(crate) const ITR: &str = "192.0.2.1:5000";
/// One whose path is protected otherwise.
pub(crate) const TUNNELLED: &str = "203.0.113.7:5000";
pub(crate) const RLOC: &str = "192.0.2.1";
pub(crate) const SITE: &str = "2001:db8:a::/48";
pub(crate) const ASKED: Asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };
pub(crate) const ITR_SECRET: &str = "itr and resolver";
pub(crate) const SITE_SECRET: &str = "secret of a";

pub(crate) fn associations() -> Vec<Association> {
    let key = |id, secret: &str| SecKey { id, secret: Secret::new(secret) };
    vec![
        Association {
            name: "itrs".into(),
            peers: vec!["192.0.2.0/24".parse().unwrap()],
            keys: vec![key(3, ITR_SECRET), key(4, "the next one")],
            protected_path: false,
        },
        Association {
            name: "tunnelled".into(),
            peers: vec!["203.0.113.7/32".parse().unwrap()],
            keys: vec![],
            protected_path: true,
        },
    ]
}

pub(crate) fn site_a() -> Site {
    site("a", 1, SITE_SECRET, &[prefix(SITE)])
}

pub(crate) fn bench_of(sites: Vec<Site>) -> Bench {
    Bench::new(Config { lisp_sec: associations(), ..config(sites) })
}

pub(crate) fn bench() -> Bench {
    bench_of(vec![site_a()])
}

pub(crate) fn site_key() -> AuthKey {
    key(1, Algorithm::HmacSha256, SITE_SECRET)
}

/// How an ETR registers: P and S.
pub(crate) fn registers(bench: &mut Bench, nonce: u64, rloc: &str, proxy: bool, signs: bool) {
    let records = vec![record(prefix(SITE), &[rloc])];
    let message = MapRegister { proxy_reply: proxy, security_capable: signs, ..register(nonce, records) };
    notify(&bench.datagram(&format!("{rloc}:4342"), &seal(message, &site_key())));
}

/// The same of an xTR that merges.
pub(crate) fn merges(bench: &mut Bench, xtr: u8, rloc: &str, signs: bool) {
    bench.datagram(&format!("{rloc}:4342"), &seal(merging(xtr, rloc, signs), &site_key()));
}

pub(crate) fn merging(xtr: u8, rloc: &str, signs: bool) -> MapRegister {
    MapRegister {
        proxy_reply: false,
        security_capable: signs,
        merge: true,
        want_notify: false,
        xtr_identity: Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 }),
        ..register(1, vec![record(prefix(SITE), &[rloc])])
    }
}

pub(crate) fn otk(nonce: u64) -> OneTimeKey {
    let mut octets = [7; 16];
    octets[..8].copy_from_slice(&nonce.to_be_bytes());
    OneTimeKey::new(octets)
}

pub(crate) fn wrapped(nonce: u64) -> WrappedOtk {
    otk(nonce).wrap(3, &Secret::new(ITR_SECRET), Nonce(nonce))
}

/// A Protected Map-Request, as an ITR makes it (RFC 9303, section 6.4).
pub(crate) fn protected(nonce: u64, eids: &[EidPrefix], otk: WrappedOtk, asked: Asked) -> Vec<u8> {
    let ad = EcmAd { requested_hmac: asked.hmac, otk, eid_ad: EidAd::unfilled(asked.kdf) };
    with_ad(&ecm(&request(nonce, eids, &[RLOC])), &ad)
}

pub(crate) fn with_ad(ecm: &[u8], ad: &EcmAd) -> Vec<u8> {
    Ecm { security: Some(ad.encode().unwrap()), ..Ecm::decode(ecm).unwrap() }.encode().unwrap()
}

pub(crate) fn asks(nonce: u64, eid: &str) -> Vec<u8> {
    protected(nonce, &[host(eid)], wrapped(nonce), ASKED)
}

/// The octets of the only datagram, and where to.
pub(crate) fn only(outputs: &[Output]) -> (SocketAddr, Vec<u8>) {
    let sends: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send { remote, bytes, .. } => Some((*remote, bytes.clone())),
            _ => None,
        })
        .collect();
    let [one] = sends.as_slice() else { panic!("not one datagram: {outputs:?}") };
    one.clone()
}

/// The ITR checks the only answer.
pub(crate) fn takes(outputs: &[Output], nonce: u64, asked: Asked) -> Verified {
    let (_, bytes) = only(outputs);
    verify_reply(&bytes, &otk(nonce), asked).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

pub(crate) fn eids(verified: &Verified) -> Vec<EidPrefix> {
    verified.reply.records.iter().map(|record| record.eid.ip_prefix().unwrap()).collect()
}

/// The ETR answers what was forwarded to it (RFC 9303, section 6.8), claiming these.
pub(crate) fn etr_answers(bytes: &[u8], claims: &[&str]) -> Vec<u8> {
    let ecm = Ecm::decode(bytes).unwrap();
    let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
    let octets = ecm.security.expect("a Protected Map-Request");
    let ad = EcmAd::decode(&octets).unwrap();
    assert_eq!(ad.otk.key_id, 1, "the key that the ETR registered with");
    let ms_otk = ad.otk.unwrap(&Secret::new(SITE_SECRET), request.nonce).unwrap();
    let records = claims.iter().map(|claim| record(prefix(claim), &["198.51.100.1"])).collect();
    let reply = MapReply { nonce: request.nonce, records, ..MapReply::default() };
    seal_reply(&reply, eid_ad_octets(&octets).unwrap(), &ms_otk, HmacAlgorithm::for_request(ad.requested_hmac)).unwrap()
}

/// What is written, as RFC 9303, section 6.7.1, wants it, of keys that go nowhere.
pub(crate) fn withheld(run: impl FnOnce()) -> Vec<String> {
    let is_of_key = |line: &String| line.starts_with("WARN one-time key would be readable on the way");
    logged(run).into_iter().filter(is_of_key).collect()
}
