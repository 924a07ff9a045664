// SPDX-License-Identifier: GPL-2.0-or-later
//! A protected Map-Request at an ETR (RFC 9303, sections 6.5 and 6.8).

use std::net::SocketAddr;

use wire::control::auth::{Algorithm, Secret, TagForm};
use wire::control::lispsec::{
    Asked, EcmAd, EidAd, HmacAlgorithm, HmacId, Kdf, KdfId, OneTimeKey, WrapId, WrappedOtk, seal_eid_ad, verify_reply,
};
use wire::control::{Ecm, EidRequest, MapReply, MapRequest, Nonce};
use xtr::engine::Input;
use xtr::refusal::Refusal;
use xtr::resolve::{Demand, LispSec};
use xtr::transport::Via;

use crate::double::{Node, prefix};

pub(crate) const SERVER: &str = "203.0.113.10:4342";
pub(crate) const OURS: &str = "10.2.2.0/24";
pub(crate) const NONCE: Nonce = Nonce(0x77);

pub(crate) fn etr() -> Node {
    let mut node = Node::registering_prefixes(&[OURS, "10.2.2.128/25"]);
    node.sent.clear();
    node
}

pub(crate) fn itr_otk() -> OneTimeKey {
    OneTimeKey::new([0xa0; 16])
}

/// As Map-Servers wrap for us: with the key that we register with.
pub(crate) fn for_us(ms_otk: &OneTimeKey) -> WrappedOtk {
    ms_otk.wrap(1, &Secret::new("secretkey"), NONCE)
}

pub(crate) fn ad(hmac: HmacAlgorithm, wrap: impl Fn(&OneTimeKey) -> WrappedOtk) -> Vec<u8> {
    let eid_ad = seal_eid_ad(&itr_otk(), Kdf::HkdfSha256, hmac, false, vec![prefix(OURS).into()]).unwrap();
    let otk = wrap(&itr_otk().derive(Kdf::HkdfSha256));
    let ad = EcmAd { requested_hmac: hmac.id(), otk, eid_ad: EidAd::unfilled(KdfId(2)) };
    ad.with_eid_ad(&eid_ad).unwrap()
}

pub(crate) fn ecm(security: Option<Vec<u8>>) -> Ecm {
    let itr: std::net::IpAddr = "198.51.100.1".parse().unwrap();
    let request = MapRequest {
        nonce: NONCE,
        itr_rlocs: vec![itr.into()],
        records: vec![EidRequest { notify: false, eid: prefix("10.2.2.9/32").into() }],
        ..MapRequest::default()
    };
    let to = SocketAddr::new("10.2.2.9".parse().unwrap(), 4342);
    Ecm { security, ..Ecm::wrap(SocketAddr::new(itr, 4342), to, request.encode().unwrap()) }
}

fn answer_of(node: &mut Node, security: Option<Vec<u8>>) -> Option<Vec<u8>> {
    node.bytes(SERVER, &ecm(security).encode().unwrap());
    assert!(node.sent.len() <= 1);
    node.sent.pop().map(|(_, remote, bytes)| {
        assert_eq!(remote, "198.51.100.1:4342".parse().unwrap(), "to the ITR");
        bytes
    })
}

/// RFC 9303, sections 6.8 and 6.9.
#[test]
fn a_protected_request_is_answered_so_that_the_itr_can_prove_it() {
    for hmac in [HmacAlgorithm::Sha256, HmacAlgorithm::Sha1] {
        let mut node = etr();
        let asked = ad(hmac, for_us);
        let answer = answer_of(&mut node, Some(asked.clone())).unwrap();
        let proven = verify_reply(&answer, &itr_otk(), Asked { hmac: hmac.id(), kdf: KdfId(2) }).unwrap();
        assert_eq!((proven.reply.nonce, proven.overclaimed.len(), proven.cant_sign), (NONCE, 0, false));
        let eids: Vec<_> = proven.reply.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
        assert_eq!(eids, [prefix(OURS), prefix("10.2.2.128/25")], "best match and more-specifics, as ever");
        assert!(proven.reply.records.iter().all(|record| record.authoritative));
        let security = proven.reply.security.unwrap();
        let eid_ad = wire::control::lispsec::eid_ad_octets(&asked).unwrap();
        assert_eq!(&security[4..4 + eid_ad.len()], eid_ad, "copied, octet for octet");
        assert_eq!(node.control.tally().total(), 0);
    }
}

/// RFC 9303, sections 6.5 and 6.8.
#[test]
fn a_request_whose_data_are_not_right_is_dropped_and_counted() {
    let other_nonce = |otk: &OneTimeKey| otk.wrap(1, &Secret::new("secretkey"), Nonce(NONCE.0 + 1));
    let other_secret = |otk: &OneTimeKey| otk.wrap(1, &Secret::new("secretkez"), NONCE);
    let other_id = |otk: &OneTimeKey| otk.wrap(2, &Secret::new("secretkey"), NONCE);
    let unknown = |otk: &OneTimeKey| WrappedOtk { wrap: WrapId(9), ..for_us(otk) };
    let flipped = |otk: &OneTimeKey| {
        let mut wrapped = for_us(otk);
        wrapped.octets[23] ^= 1;
        wrapped
    };
    let sha256 = HmacAlgorithm::Sha256;
    let otk = for_us(&itr_otk().derive(Kdf::HkdfSha256));
    let of_an_itr = EcmAd { requested_hmac: HmacId(2), otk, eid_ad: EidAd::unfilled(KdfId(2)) };
    let mut lying = ad(sha256, for_us);
    // Record Count of the EID-AD: more than there are.
    lying[8 + 24 + 4] = 9;
    for (what, security, refusal) in [
        ("the nonce of another request", ad(sha256, other_nonce), Refusal::SecNotUnwrapped),
        ("another secret", ad(sha256, other_secret), Refusal::SecNotUnwrapped),
        ("a bit changed on the way", ad(sha256, flipped), Refusal::SecNotUnwrapped),
        ("a Key ID that we do not register with", ad(sha256, other_id), Refusal::EcmSecurity),
        ("an unencrypted key", ad(sha256, OneTimeKey::unencrypted), Refusal::SecUnencrypted),
        ("wrapped in an unknown way", ad(sha256, unknown), Refusal::SecUnknownWrap),
        ("nothing that a Map-Server vouches for", of_an_itr.encode().unwrap(), Refusal::SecEidAdMissing),
        ("counts that lie", lying, Refusal::SecMalformed),
    ] {
        let mut node = etr();
        assert_eq!(answer_of(&mut node, Some(security)), None, "{what}");
        assert_eq!((node.refused(refusal), node.control.tally().total()), (1, 1), "{what}");
    }
}

#[test]
fn a_request_without_s_is_answered_as_ever_unless_protection_is_required() {
    let mut node = etr();
    let answer = MapReply::decode(&answer_of(&mut node, None).unwrap()).unwrap();
    assert_eq!((answer.security, answer.records.len()), (None, 2));

    let mut node = etr();
    node.control = node.control.secured(LispSec { demand: Demand::Require, resolvers: vec![] });
    assert_eq!(answer_of(&mut node, None), None);
    assert_eq!(node.refused(Refusal::SecRequired), 1);
    assert!(answer_of(&mut node, Some(ad(HmacAlgorithm::Sha256, for_us))).is_some());
    let probe = MapRequest { probe: true, ..MapRequest::decode(&ecm(None).message).unwrap() };
    node.datagram("198.51.100.1:4342", &probe.into());
    assert!(node.reply_sent().1.probe, "an RLOC-probe has no way to be protected");
}

#[test]
fn an_unencrypted_key_is_taken_from_the_map_system_in_this_process() {
    let mut node = etr();
    let security = Some(ad(HmacAlgorithm::Sha256, OneTimeKey::unencrypted));
    node.input(Input::Datagram { via: Via::Pipe, bytes: &ecm(security).encode().unwrap() });
    let (_, _, answer) = node.sent.pop().unwrap();
    assert!(verify_reply(&answer, &itr_otk(), Asked { hmac: HmacId(2), kdf: KdfId(2) }).is_ok());
}

/// RFC 9301, section 5: no packet above 576 octets, whatever LISP-SEC adds.
#[test]
fn a_sealed_answer_fits_its_packet() {
    let many: Vec<String> = (64..128).map(|host| format!("10.2.2.{host}/32")).chain([OURS.to_owned()]).collect();
    let mut node = Node::registering_prefixes(&many.iter().map(String::as_str).collect::<Vec<_>>());
    node.sent.clear();
    let answer = answer_of(&mut node, Some(ad(HmacAlgorithm::Sha256, for_us))).unwrap();
    assert!((480..=548).contains(&answer.len()), "{}", answer.len());
    assert!(verify_reply(&answer, &itr_otk(), Asked::default()).is_ok());
}

/// RFC 9303, section 6.3.
#[test]
fn registers_say_that_we_can() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    assert!(node.register().1.security_capable);
}
