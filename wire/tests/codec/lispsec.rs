// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC: the vectors S01, S02, S03 and S11 in full, the test data of the RFCs below it, and what holds for any octets.

use std::sync::LazyLock;

use crate::support::{arbitrary, from_hex};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wire::address::{Eid, EidPrefix, InstanceId};
use wire::control::auth::Secret;
use wire::control::lispsec::*;
use wire::control::{ControlMessage, Ecm, MapReply, Nonce};
use wire::record::MappingRecord;

const ITR_OTK: [u8; 16] = *b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf";
const MS_OTK: &str = "ae4bc50895c923f0397ee4c943cb3ecc";
const NONCE: Nonce = Nonce(0x0011_2233_4455_6677);
const ASKED: Asked = Asked { hmac: HmacId(2), kdf: KdfId(2) };

fn itr_otk() -> OneTimeKey {
    OneTimeKey::new(ITR_OTK)
}

static VECTORS: LazyLock<crate::support::Vectors> = LazyLock::new(crate::support::vectors);

fn itr_secret() -> Secret {
    Secret::new(from_hex(&VECTORS.psk_itr_mr))
}

fn site_secret() -> Secret {
    Secret::new(from_hex(&VECTORS.psk))
}

fn vector(id: &str) -> Vec<u8> {
    VECTORS.vectors.iter().find(|vector| vector.id == id).unwrap().lisp()
}

fn ecm_ad(id: &str) -> (Ecm, Vec<u8>) {
    let ecm = Ecm::decode(&vector(id)).unwrap();
    let security = ecm.security.clone().unwrap();
    (ecm, security)
}

#[test]
fn s01_is_what_an_itr_makes_and_a_map_resolver_unwraps() {
    let (_, octets) = ecm_ad("S01");
    let ad = EcmAd::decode(&octets).unwrap();
    assert_eq!((ad.requested_hmac, ad.eid_ad.clone()), (ASKED.hmac, EidAd::unfilled(ASKED.kdf)));
    assert_eq!(*ad.otk.unwrap(&itr_secret(), NONCE).unwrap().expose(), ITR_OTK);
    let made = EcmAd { otk: itr_otk().wrap(1, &itr_secret(), NONCE), ..ad };
    assert_eq!(made.encode().unwrap(), octets);
}

#[test]
fn s01_with_any_bit_of_the_key_another_secret_or_another_nonce_does_not_unwrap() {
    let ad = EcmAd::decode(&ecm_ad("S01").1).unwrap();
    for bit in 0..ad.otk.octets.len() * 8 {
        let mut otk = ad.otk.clone();
        otk.octets[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(otk.unwrap(&itr_secret(), NONCE).map(drop), Err(SecError::Unwrap), "bit {bit}");
    }
    assert_eq!(ad.otk.unwrap(&site_secret(), NONCE).map(drop), Err(SecError::Unwrap));
    assert_eq!(ad.otk.unwrap(&itr_secret(), Nonce(1)).map(drop), Err(SecError::Unwrap));
    let null = WrappedOtk { wrap: WrapId::NULL, ..ad.otk.clone() };
    assert_eq!(null.unwrap(&itr_secret(), NONCE).map(drop), Err(SecError::Wrap(1)));
    assert_eq!(ad.otk.open().map(drop), Err(SecError::Wrap(2)));
}

#[test]
fn s02_is_what_a_map_server_makes_of_s01() {
    let (_, octets) = ecm_ad("S02");
    let ad = EcmAd::decode(&octets).unwrap();
    let ms_otk = itr_otk().derive(Kdf::HkdfSha256);
    assert_eq!(ms_otk.expose()[..], from_hex(MS_OTK)[..]);
    assert_eq!(ad.otk.unwrap(&site_secret(), NONCE).unwrap().expose(), ms_otk.expose());
    let eids = vec![eid("10.2.2.0/24")];
    let eid_ad = seal_eid_ad(&itr_otk(), Kdf::HkdfSha256, HmacAlgorithm::Sha256, false, eids).unwrap();
    assert_eq!(eid_ad_octets(&octets).unwrap(), eid_ad);
    let made = EcmAd { otk: ms_otk.wrap(1, &site_secret(), NONCE), ..ad };
    assert_eq!(made.with_eid_ad(&eid_ad).unwrap(), octets);
}

#[test]
fn s03_is_what_an_etr_makes_of_s02_and_an_itr_takes() {
    let payload = vector("S03");
    let verified = verify_reply(&payload, &itr_otk(), ASKED).unwrap();
    assert_eq!(verified.reply, MapReply::decode(&payload).unwrap());
    assert!(verified.overclaimed.is_empty() && !verified.cant_sign);
    let (_, asked) = ecm_ad("S02");
    let ms_otk = EcmAd::decode(&asked).unwrap().otk.unwrap(&site_secret(), NONCE).unwrap();
    let plain = MapReply { security: None, ..verified.reply };
    let made = seal_reply(&plain, eid_ad_octets(&asked).unwrap(), &ms_otk, HmacAlgorithm::Sha256).unwrap();
    assert_eq!(made, payload);
}

#[test]
fn s03_with_any_bit_changed_is_discarded() {
    let payload = vector("S03");
    for bit in 0..payload.len() * 8 {
        let mut changed = payload.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_reply(&changed, &itr_otk(), ASKED).is_err(), "bit {bit}");
    }
    assert_eq!(verify_reply(&payload, &OneTimeKey::new([0; 16]), ASKED), Err(SecError::Hmac("EID HMAC")));
    assert!(verify_reply(&[&payload[..], b"tail"].concat(), &itr_otk(), ASKED).is_ok(), "it ends with its HMAC");
}

#[test]
fn s11_has_another_pkt_hmac() {
    assert_eq!(verify_reply(&vector("S11"), &itr_otk(), ASKED), Err(SecError::Hmac("PKT HMAC")));
}

#[test]
fn a_map_reply_without_what_must_be_there_is_discarded() {
    let signed = MapReply::decode(&vector("S03")).unwrap();
    let bare = MapReply { security: None, ..signed.clone() }.encode().unwrap();
    assert_eq!(verify_reply(&bare, &itr_otk(), ASKED), Err(SecError::Missing("authentication data")));
    let unfilled = EidAd::unfilled(ASKED.kdf).encode().unwrap();
    let ms_otk = itr_otk().derive(Kdf::HkdfSha256);
    let nobody = seal_reply(&signed, &unfilled, &ms_otk, HmacAlgorithm::Sha256).unwrap();
    assert_eq!(verify_reply(&nobody, &itr_otk(), ASKED), Err(SecError::Missing("EID-AD of a Map-Server")));
    let other = MapReply { security: Some(vec![2, 0, 0, 0]), ..signed }.encode().unwrap();
    assert!(matches!(verify_reply(&other, &itr_otk(), ASKED), Err(SecError::Malformed(_))));
}

/// A Map-Reply about these records, vouched for these prefixes.
fn answered(records: &[&str], granted: &[&str], kdf: Kdf, hmac: HmacAlgorithm) -> Vec<u8> {
    let record =
        |text: &&str| MappingRecord { eid: eid(text), ..MapReply::decode(&vector("S03")).unwrap().records[0].clone() };
    let reply = MapReply { nonce: NONCE, records: records.iter().map(record).collect(), ..MapReply::default() };
    let eids = granted.iter().map(|text| eid(text)).collect();
    let eid_ad = seal_eid_ad(&itr_otk(), kdf, hmac, false, eids).unwrap();
    seal_reply(&reply, &eid_ad, &itr_otk().derive(kdf), hmac).unwrap()
}

fn eid(text: &str) -> Eid {
    EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }.into()
}

/// The example of RFC 9303, section 6.9.1.
#[test]
fn of_the_rfcs_example_one_record_is_eligible() {
    let records = ["2001:db8:102::/48", "2001:db8:103::/48", "2001:db8:200::/40"];
    let payload =
        answered(&records, &["2001:db8:103::/48", "2001:db8:203::/48"], Kdf::HkdfSha256, HmacAlgorithm::Sha256);
    let verified = verify_reply(&payload, &itr_otk(), ASKED).unwrap();
    assert_eq!(verified.reply.records.iter().map(|record| &record.eid).collect::<Vec<_>>(), [&eid(records[1])]);
    assert_eq!(verified.overclaimed, [eid(records[0]), eid(records[2])]);
}

#[test]
fn what_is_granted_grants_what_lies_inside_and_nothing_of_another_instance() {
    let verified = |records: &[&str]| {
        verify_reply(&answered(records, &["10.2.2.0/24"], Kdf::HkdfSha256, HmacAlgorithm::Sha256), &itr_otk(), ASKED)
    };
    assert_eq!(verified(&["10.2.2.0/24", "10.2.2.128/25"]).unwrap().overclaimed, []);
    assert_eq!(verified(&["10.2.0.0/16"]).unwrap().overclaimed, [eid("10.2.0.0/16")]);
    let elsewhere = Eid::from(EidPrefix { iid: InstanceId(5), net: "10.2.2.0/24".parse().unwrap() });
    assert!(!grants(&eid("10.2.2.0/24"), &elsewhere) && grants(&elsewhere, &elsewhere));
}

#[test]
fn another_function_than_was_asked_for_is_discarded_and_named() {
    let old = answered(&["10.2.2.0/24"], &["10.2.2.0/24"], Kdf::HkdfSha1, HmacAlgorithm::Sha1);
    assert!(verify_reply(&old, &itr_otk(), Asked { hmac: HmacId(1), kdf: KdfId(1) }).is_ok());
    assert!(verify_reply(&old, &itr_otk(), Asked::default()).is_ok(), "no preference");
    assert_eq!(verify_reply(&old, &itr_otk(), ASKED), Err(SecError::KdfId(1)));
    assert_eq!(verify_reply(&old, &itr_otk(), Asked { kdf: KdfId(1), ..ASKED }), Err(SecError::HmacId(1)));
    assert_eq!(HmacAlgorithm::for_request(HmacId(77)), HmacAlgorithm::Sha256);
    assert_eq!(HmacAlgorithm::for_request(HmacId::NOPREF), HmacAlgorithm::Sha256);
    assert_eq!((Kdf::for_request(KdfId(77)), Kdf::for_request(KdfId(1))), (Kdf::HkdfSha256, Kdf::HkdfSha1));
}

#[test]
fn an_unencrypted_key_has_a_preamble_of_zeros() {
    let mut null = itr_otk().unencrypted();
    assert_eq!((null.octets.len(), null.wrap), (24, WrapId::NULL));
    assert_eq!(*null.open().unwrap().expose(), ITR_OTK);
    null.octets[7] = 1;
    assert_eq!(null.open().map(drop), Err(SecError::Unwrap));
}

#[test]
fn one_time_keys_are_not_shown() {
    assert_eq!(format!("{:?}", itr_otk()), "OneTimeKey(..)");
}

#[test]
fn lengths_that_disagree_with_their_numbers_are_refused() {
    let (_, octets) = ecm_ad("S02");
    let field = |octets: &[u8]| EcmAd::decode(octets).unwrap_err().field;
    for end in 0..octets.len() {
        assert!(EcmAd::decode(&octets[..end]).is_err(), "{end}");
    }
    assert_eq!(field(&[&octets[..], &[0]].concat()), "ECM AD");
    let at = |offset: usize, value: u8| {
        let mut changed = octets.clone();
        changed[offset] = value;
        changed
    };
    assert_eq!(field(&at(0, 2)), "ECM AD Type");
    assert_eq!(field(&at(5, 16)), "OTK Length");
    assert_eq!(field(&at(33, 3)), "EID-AD Length");
    // A function that we know has its length; of one that we do not, any.
    assert_eq!(field(&at(39, 1)), "EID HMAC");
    assert!(EcmAd::decode(&at(39, 9)).is_ok());
    assert_eq!(field(&at(36, 2)), "AFI");
    assert_eq!(field(&at(41, 33)), "EID mask-len");
}

fn granted() -> impl Strategy<Value = Granted> {
    (any::<bool>(), hmac(), vec(arbitrary::eid(), 0..4)).prop_map(|(cant_sign, (hmac_id, hmac), eids)| Granted {
        cant_sign,
        hmac_id,
        eids,
        hmac,
    })
}

fn hmac() -> impl Strategy<Value = (HmacId, Vec<u8>)> {
    prop_oneof![
        vec(any::<u8>(), 12).prop_map(|hmac| (HmacId(1), hmac)),
        vec(any::<u8>(), 16).prop_map(|hmac| (HmacId(2), hmac)),
        (3u16.., vec(any::<u8>(), 0..40)).prop_map(|(id, hmac)| (HmacId(id), hmac)),
    ]
}

fn eid_ad() -> impl Strategy<Value = EidAd> {
    (any::<u16>(), option::of(granted())).prop_map(|(kdf, granted)| EidAd { kdf: KdfId(kdf), granted })
}

fn otk() -> impl Strategy<Value = WrappedOtk> {
    let known = (1..3u8, vec(any::<u8>(), 24));
    let unknown = (3u8.., vec(any::<u8>(), 0..40));
    (any::<u8>(), prop_oneof![known, unknown]).prop_map(|(key_id, (wrap, octets))| WrappedOtk {
        key_id,
        wrap: WrapId(wrap),
        octets,
    })
}

proptest! {
    #[test]
    fn the_data_of_an_ecm_decodes_to_what_was_encoded(requested in any::<u16>(), otk in otk(), eid_ad in eid_ad()) {
        let ad = EcmAd { requested_hmac: HmacId(requested), otk, eid_ad };
        let octets = ad.encode().unwrap();
        prop_assert_eq!(eid_ad_octets(&octets).unwrap(), ad.eid_ad.encode().unwrap());
        // The message, which keeps it whole, takes it for as long as it is.
        let ecm = Ecm { security: Some(octets.clone()), ..Ecm::wrap("10.0.0.1:1".parse().unwrap(), "10.0.0.2:4342".parse().unwrap(), vec![]) };
        prop_assert_eq!(Ecm::decode(&ecm.encode().unwrap()).unwrap().security, Some(octets.clone()));
        prop_assert_eq!(EcmAd::decode(&octets), Ok(ad));
    }

    #[test]
    fn the_data_of_a_map_reply_decodes_to_what_was_encoded(eid_ad in eid_ad(), (pkt_hmac_id, pkt_hmac) in hmac()) {
        let ad = MapReplyAd { eid_ad, pkt_hmac_id, pkt_hmac };
        let octets = ad.encode().unwrap();
        let reply = MapReply { security: Some(octets.clone()), ..MapReply::default() };
        prop_assert_eq!(MapReply::decode(&reply.encode().unwrap()).unwrap().security, Some(octets.clone()));
        prop_assert_eq!(MapReplyAd::decode(&octets), Ok(ad));
    }

    #[test]
    fn any_octets_are_decoded_or_refused(octets in vec(any::<u8>(), 0..120)) {
        let _ = EcmAd::decode(&[&[1][..], &octets].concat());
        let _ = EidAd::decode(&octets);
        let _ = MapReplyAd::decode(&[&[1][..], &octets].concat());
        prop_assert!(verify_reply(&octets, &itr_otk(), ASKED).is_err());
        prop_assert!(verify_eid_ad(&octets, &itr_otk()).is_err());
    }

    #[test]
    fn any_octets_in_the_place_of_a_part_of_the_vectors_are_decoded_or_refused(
        at in any::<prop::sample::Index>(), with in vec(any::<u8>(), 1..6),
    ) {
        for id in ["S01", "S02", "S03"] {
            let mut octets = match ControlMessage::decode(&vector(id)).unwrap() {
                ControlMessage::Ecm(ecm) => ecm.security.unwrap(),
                ControlMessage::MapReply(reply) => reply.security.unwrap(),
                other => panic!("{other}"),
            };
            let at = at.index(octets.len());
            let end = octets.len().min(at + with.len());
            octets[at..end].copy_from_slice(&with[..end - at]);
            if let Ok(ad) = EcmAd::decode(&octets) {
                prop_assert_eq!(EcmAd::decode(&ad.encode().unwrap()), Ok(ad));
            }
            if let Ok(ad) = MapReplyAd::decode(&octets) {
                prop_assert_eq!(MapReplyAd::decode(&ad.encode().unwrap()), Ok(ad));
            }
        }
    }

    #[test]
    fn a_wrapped_key_unwraps_with_its_secret_and_its_nonce(key in any::<[u8; 16]>(), nonce in any::<u64>(), secret in vec(any::<u8>(), 1..80)) {
        let secret = Secret::new(secret);
        let wrapped = OneTimeKey::new(key).wrap(7, &secret, Nonce(nonce));
        prop_assert_eq!((wrapped.key_id, wrapped.wrap), (7, WrapId::AES_HKDF_SHA256));
        prop_assert_eq!(*wrapped.unwrap(&secret, Nonce(nonce)).unwrap().expose(), key);
        prop_assert!(wrapped.unwrap(&secret, Nonce(nonce ^ 1)).is_err());
    }
}
