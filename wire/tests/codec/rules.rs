// SPDX-License-Identifier: GPL-2.0-or-later
//! One rule of the RFCs, one test.

use std::net::SocketAddr;
use std::time::Duration;

use wire::address::{Address, Eid, EidPrefix, InstanceId, Lcaf};
use wire::control::auth::{self, Accept, Algorithm, AlgorithmId, AuthError, AuthKey, Authentication, Secret, TagForm};
use wire::control::rtr::{RtrAd, decode_data_map_notify, encode_data_map_notify, is_data_map_notify};
use wire::control::{ControlMessage, Ecm, EidRequest, Info, MapNotify, MapRegister, MapReply, MapRequest, Nonce};
use wire::control::{InnerHeader, XtrIdentity};
use wire::error::Problem;
use wire::limits::LCAF_NESTING;
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};
use wire::{DecodeError, EncodeError};

/// Bits of the first word that RFC 9301 (and 9437, and the NAT drafts for Map-Register) leave unassigned.
const RESERVED: [(&str, u32); 5] = [
    ("C01", 0x0020_0000 | 0x000f_8000),
    ("C20", 0x01ff_ff00),
    ("R03", 0x00ff_e000 | 0x0000_0200),
    ("N01", 0x07ff_ff00),
    ("T11", 0x0fff_ff00),
];

#[test]
fn reserved_bits_are_ignored() {
    for (id, reserved) in RESERVED {
        let original = vector(id);
        let message = ControlMessage::decode(&original).unwrap();
        for bit in (0..32).map(|bit| 1u32 << bit).filter(|bit| reserved & bit != 0) {
            let mut changed = original.clone();
            let word = u32::from_be_bytes(changed[..4].try_into().unwrap()) ^ bit;
            changed[..4].copy_from_slice(&word.to_be_bytes());
            assert_eq!(ControlMessage::decode(&changed).as_ref(), Ok(&message), "{id} with {bit:08x}");
        }
    }
}

#[test]
fn reserved_bits_of_a_record_are_ignored() {
    let original = vector("C20");
    let message = ControlMessage::decode(&original).unwrap();
    // Record at 12: ACT, A and reserved at 18 and 19, Rsvd and version at 20; locator flags at 32.
    for (octet, bits) in [(18, 0x0f), (19, 0xff), (20, 0xf0), (32, 0xff), (33, 0xf8)] {
        let mut changed = original.clone();
        changed[octet] ^= bits;
        assert_eq!(ControlMessage::decode(&changed).as_ref(), Ok(&message), "octet {octet}");
    }
}

#[test]
fn unassigned_message_types_are_refused() {
    for kind in [0, 9, 10, 11, 12, 13, 14] {
        let mut bytes = vector("C01");
        bytes[0] = kind << 4;
        let error = ControlMessage::decode(&bytes).unwrap_err();
        assert_eq!((error.field, error.problem), ("message type", Problem::Value(kind.into())));
    }
    assert!(ControlMessage::decode(&[]).is_err());
}

#[test]
fn a_mask_length_wider_than_its_address_is_refused() {
    let cases = [("192.0.2.0/24", 33), ("2001:db8::/32", 129)];
    for (prefix, mask_len) in cases {
        for iid in [InstanceId(0), InstanceId(5)] {
            let net: ipnet::IpNet = prefix.parse().unwrap();
            let eid = Eid { mask_len, ..Eid::from(EidPrefix { iid, net }) };
            let error = request_for(eid).encode().unwrap_err();
            assert_eq!((error.field, error.count), ("EID mask-len", usize::from(mask_len)));
            let mut bytes = request_for(Eid::from(EidPrefix { iid, net })).encode().unwrap();
            // The only octet of the message with the valid length: behind type, nonce, source EID and ITR-RLOC.
            let at = 12 + 2 + 6 + 1;
            assert_eq!(bytes[at], net.prefix_len());
            bytes[at] = mask_len;
            assert_eq!(MapRequest::decode(&bytes).unwrap_err().field, "EID mask-len");
        }
    }
}

#[test]
fn a_range_of_instances_has_at_most_32_bits() {
    let range = |address| Address::from(Lcaf::InstanceId { iid: InstanceId(0), iid_mask_len: 33, address });
    assert_eq!(reply_with(range(Address::None)).encode().unwrap_err().field, "IID mask-len");
    // With an address the octet means nothing.
    let mut bytes = reply_with(range(v4("192.0.2.1"))).encode().unwrap();
    assert!(MapReply::decode(&bytes).is_ok());
    let at = bytes.iter().rposition(|octet| *octet == 33).unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes[at + 2] = 6;
    bytes[at + 8] = 0;
    let error = MapReply::decode(&bytes).unwrap_err();
    assert_eq!((error.field, error.offset, error.problem), ("IID mask-len", at, Problem::Value(33)));
}

#[test]
fn host_bits_are_kept_on_the_wire_and_cleared_in_a_key() {
    let ControlMessage::MapReply(reply) = ControlMessage::decode(&vector("M24")).unwrap() else { panic!() };
    let record = &reply.records[0];
    assert_eq!(record.eid.to_string(), "10.2.2.2/24");
    assert_eq!(record.eid.ip_prefix().unwrap().to_string(), "10.2.2.0/24");
    assert_eq!(reply.encode().unwrap(), vector("M24"));
}

#[test]
fn a_prefix_in_an_instance_is_another_prefix() {
    let net: ipnet::IpNet = "2001:db8:e::/48".parse().unwrap();
    let [default, five] = [0, 5].map(|iid| EidPrefix { iid: InstanceId(iid), net });
    for prefix in [default, five] {
        assert_eq!(Eid::from(prefix).ip_prefix(), Some(prefix));
        assert!(prefix.covers(&prefix));
    }
    assert!(!default.covers(&five) && !five.covers(&default));
    assert_eq!(Eid { address: Address::Name((*b"xtr").into()), mask_len: 24 }.ip_prefix(), None);
}

#[test]
fn a_ttl_is_in_minutes_and_capped_where_others_mean_seconds() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(Ttl::DEFAULT.lifetime(), hours(24));
    assert_eq!(Ttl::WITHDRAWN.lifetime(), Duration::ZERO);
    assert_eq!(Ttl::LOCAL.lifetime(), hours(24));
    assert_eq!(Ttl(0x8000_003c).lifetime(), hours(24));
}

#[test]
fn lcafs_nest_four_deep_and_no_deeper() {
    let nested = |depth: usize| (0..depth).fold(Address::None, |inner, _| Address::from(Lcaf::AfiList(vec![inner])));
    let bytes = reply_with(nested(LCAF_NESTING)).encode().unwrap();
    assert_eq!(MapReply::decode(&bytes).unwrap().records[0].locators[0].rloc, nested(LCAF_NESTING));
    assert!(reply_with(nested(LCAF_NESTING + 1)).encode().is_err());

    // By hand, as our encoder refuses: an AFI-list in front of the locator that is there.
    let start = bytes.len() - (6 + LCAF_NESTING * 8) + 4;
    let inner = bytes[start..].to_vec();
    let mut deeper = bytes[..start].to_vec();
    deeper.extend([0x40, 0x03, 0, 0, 1, 0]);
    deeper.extend(u16::try_from(inner.len()).unwrap().to_be_bytes());
    deeper.extend(inner);
    assert_eq!(MapReply::decode(&deeper).unwrap_err().problem, Problem::Nesting);
}

#[test]
fn locators_sort_by_afi_and_lcafs_by_type() {
    let opaque = |kind, flags| Address::from(Lcaf::Opaque { flags, kind, rsvd2: 0, body: [].into() });
    let sorted = vec![
        v4("9.0.0.1"),
        v4("192.0.2.1"),
        Address::V6("2001:db8::1".parse().unwrap()),
        Address::Ieee802([0xff; 6]),
        Address::Name((*b"xtr").into()),
        Address::from(Lcaf::AfiList(vec![])),
        opaque(4, 9),
        Address::from(Lcaf::ExplicitLocatorPath(vec![])),
        opaque(200, 0),
        Address::Mac([0; 6]),
    ];
    let mut addresses: Vec<_> = sorted.iter().rev().cloned().collect();
    addresses.sort();
    assert_eq!(addresses, sorted);
}

#[test]
fn an_lcaf_of_an_unknown_type_is_kept_and_a_vendors_voids_the_message() {
    let unknown = Lcaf::Opaque { flags: 3, kind: 200, rsvd2: 7, body: [1, 2, 3].into() };
    let mut bytes = reply_with(Address::from(unknown.clone())).encode().unwrap();
    assert_eq!(MapReply::decode(&bytes).unwrap().records[0].locators[0].rloc, Address::from(unknown));
    let kind = bytes.iter().rposition(|octet| *octet == 200).unwrap();
    bytes[kind] = 255;
    let error = MapReply::decode(&bytes).unwrap_err();
    assert_eq!((error.field, error.offset, error.problem), ("LCAF Type", kind, Problem::Value(255)));
}

#[test]
fn a_decoded_type_has_no_opaque_form() {
    for kind in [0, 1, 2, 3, 5, 7, 9, 10, 11, 12, 13, 14, 255] {
        let lcaf = Lcaf::Opaque { flags: 0, kind, rsvd2: 0, body: [].into() };
        assert_eq!(reply_with(Address::from(lcaf)).encode().unwrap_err().field, "opaque LCAF Type", "{kind}");
    }
}

#[test]
fn an_lcaf_length_must_equal_its_contents() {
    let lcaf = Lcaf::AsNumber { asn: 64496, address: v4("192.0.2.1") };
    let whole = reply_with(Address::from(lcaf)).encode().unwrap();
    let length = whole.len() - 10 - 1;
    assert_eq!(whole[length], 10);
    for wrong in [0, 9, 11] {
        let mut bytes = whole.clone();
        bytes[length] = wrong;
        let problem = MapReply::decode(&bytes).unwrap_err().problem;
        assert!(matches!(problem, Problem::Truncated { .. }), "{wrong}: {problem}");
    }
    let longer = [&whole[..length], &[12], &whole[length + 1..], &[0, 0]].concat();
    assert_eq!(MapReply::decode(&longer).unwrap_err().problem, Problem::Length(12));
}

#[test]
fn the_i_bit_without_its_octets_is_an_error_where_an_rfc_defines_it() {
    let identity = Some(XtrIdentity { xtr_id: [7; 16], site_id: 9 });
    let request = MapRequest { xtr_identity: identity, ..request_for(eid("10.2.2.0/24")) }.encode().unwrap();
    let register = MapRegister { xtr_identity: identity, ..MapRegister::default() }.encode().unwrap();
    for short in 1..=24 {
        let error = ControlMessage::decode(&request[..request.len() - short]).unwrap_err();
        assert!(matches!(error.problem, Problem::Truncated { .. }), "{error}");
        assert!(ControlMessage::decode(&register[..register.len() - short]).is_err());
    }
    let notify = MapNotify { xtr_identity: identity, ..MapNotify::default() }.encode().unwrap();
    assert_eq!(MapNotify::decode(&notify).unwrap().xtr_identity, identity);
    assert_eq!(MapNotify::decode(&notify[..notify.len() - 24]).unwrap().xtr_identity, None);
}

#[test]
fn an_inner_checksum_must_be_there_and_right() {
    for family in FAMILIES {
        let bytes = ecm(family).encode().unwrap();
        let udp = bytes.len() - 4 - 8;
        for at in udp..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Ecm::decode(&changed).is_err(), "octet {at} of {family:?}");
        }
        let mut zero = bytes.clone();
        zero[udp + 6..udp + 8].fill(0);
        assert_eq!(problem(&zero), ("inner UDP Checksum", Problem::Checksum));
    }
}

#[test]
fn an_inner_ipv4_header_is_checked() {
    let bytes = ecm(FAMILIES[0]).encode().unwrap();
    let mut ttl_changed = bytes.clone();
    ttl_changed[4 + 8] ^= 1;
    assert_eq!(problem(&ttl_changed), ("inner Header Checksum", Problem::Checksum));
    let mut fragment = bytes.clone();
    fragment[4 + 6] = 0x20;
    assert_eq!(problem(&fragment), ("inner Fragment Offset", Problem::Value(0x2000)));
    let mut tcp = bytes.clone();
    tcp[4 + 9] = 6;
    assert_eq!(problem(&tcp), ("inner Protocol", Problem::Value(6)));
    let mut version = bytes.clone();
    version[4] = 0x55;
    assert_eq!(problem(&version), ("inner IP version", Problem::Value(5)));
    assert_eq!(problem(&bytes[..bytes.len() - 1]).0, "inner Total Length");
}

#[test]
fn every_field_of_an_inner_header_survives() {
    let v4 = InnerHeader { traffic_class: 0xb8, identification: 0xbeef, dont_fragment: false, flow_label: 0 };
    let v6 = InnerHeader { traffic_class: 0xb8, flow_label: 0xf_1234, ..InnerHeader::default() };
    for (family, header) in FAMILIES.into_iter().zip([v4, v6]) {
        let ecm = Ecm { header, ttl: 3, ddt: true, ..ecm(family) };
        assert_eq!(Ecm::decode(&ecm.encode().unwrap()), Ok(ecm));
    }
}

#[test]
fn the_data_port_has_no_place_in_an_ecm() {
    for family in FAMILIES {
        let mut ecm = ecm(family);
        let bytes = ecm.encode().unwrap();
        let port = bytes.len() - 4 - 8;
        let mut changed = bytes.clone();
        changed[port..port + 2].copy_from_slice(&4341u16.to_be_bytes());
        assert_eq!(problem(&changed), ("inner UDP port", Problem::Value(4341)));
        ecm.destination.set_port(4341);
        assert_eq!(ecm.encode().unwrap_err().field, "inner UDP port");
    }
}

#[test]
fn an_ecm_holds_no_ecm_and_one_family() {
    let outer = Ecm { message: ecm(FAMILIES[0]).encode().unwrap(), ..ecm(FAMILIES[1]) };
    assert_eq!(outer.encode().unwrap_err().field, "ECM inside an ECM");
    let mixed = Ecm::wrap("192.0.2.1:61000".parse().unwrap(), "[2001:db8::1]:4342".parse().unwrap(), vec![]);
    assert_eq!(mixed.encode().unwrap_err().field, "families of the inner addresses");
}

#[test]
fn what_does_not_fit_is_an_encode_error() {
    let field = |result: Result<Vec<u8>, EncodeError>| result.map_err(|error| (error.field, error.limit));
    let request = request_for(eid("10.2.2.0/24"));
    let rlocs = |count| MapRequest { itr_rlocs: vec![v4("192.0.2.1"); count], ..request.clone() };
    assert!(rlocs(32).encode().is_ok());
    assert_eq!(field(rlocs(33).encode()), Err(("ITR-RLOC Count", 32)));
    assert_eq!(field(rlocs(0).encode()), Err(("ITR-RLOC Count", 1)));
    assert_eq!(field(MapRequest { records: vec![], ..request.clone() }.encode()), Err(("Record Count", 1)));

    let record = reply_with(v4("192.0.2.1")).records.remove(0);
    let records = |count| MapReply { records: vec![record.clone(); count], ..MapReply::default() };
    assert!(records(255).encode().is_ok());
    assert_eq!(field(records(256).encode()), Err(("Record Count", 255)));
    let version = MappingRecord { map_version: MapVersion(0x1000), ..record.clone() };
    assert_eq!(
        field(MapReply { records: vec![version], ..MapReply::default() }.encode()),
        Err(("Map-Version Number", 0xfff))
    );
    let locators = MappingRecord { locators: vec![record.locators[0].clone(); 256], ..record };
    assert_eq!(
        field(MapReply { records: vec![locators], ..MapReply::default() }.encode()),
        Err(("Locator Count", 255))
    );
    let name = Address::Name((*b"xtr\0eth0").into());
    assert_eq!(field(reply_with(name).encode()), Err(("NUL in a Distinguished Name", 0)));
}

#[test]
fn lisp_sec_data_must_be_as_long_as_it_says() {
    let reply = |security: &[u8]| MapReply { security: Some(security.to_vec()), ..MapReply::default() }.encode();
    let right = [1, 0, 0, 0, 0, 4, 0, 2, 0, 4, 0, 2];
    assert!(reply(&right).is_ok());
    assert!(reply(&right[..11]).is_err());
    assert!(reply(&[&right[..], &[0]].concat()).is_err());
    assert!(reply(&[1, 0, 0, 0, 0, 3, 0, 2, 0, 4, 0, 2]).is_err(), "a part shorter than its own head");
}

#[test]
fn only_the_lengths_of_our_table_are_tags() {
    for algorithm in [Algorithm::HmacSha1, Algorithm::HmacSha256, Algorithm::HkdfSha256] {
        let lengths = [TagForm::Truncated, TagForm::Untruncated].map(|form| algorithm.tag_length(form));
        let key = AuthKey { id: 1, algorithm, secret: Secret::new("secretkey") };
        for length in 0..=64 {
            let tag = vec![0; length];
            let auth = Authentication { key_id: 1, algorithm: algorithm.id(), tag };
            let payload = MapRegister { auth, ..MapRegister::default() }.encode().unwrap();
            let expected = if lengths.contains(&length) { AuthError::Tag } else { AuthError::TagLength(length) };
            assert_eq!(auth::verify(&payload, &key, Accept::INTEROP), Err(expected), "{algorithm:?} {length}");
        }
    }
}

#[test]
fn no_key_makes_algorithm_0_or_another_algorithm_authentic() {
    let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new("secretkey") };
    for algorithm in [0, 1, 3, 4, 255] {
        let auth = Authentication { key_id: 1, algorithm: AlgorithmId(algorithm), tag: vec![] };
        let payload = MapRegister { auth, ..MapRegister::default() }.encode().unwrap();
        assert_eq!(auth::verify(&payload, &key, Accept::INTEROP), Err(AuthError::Algorithm(algorithm)));
    }
}

#[test]
fn a_map_notify_is_no_map_notify_ack_under_algorithm_3() {
    let key = AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: Secret::new("secretkey") };
    let notify = MapNotify { nonce: Nonce(5), ..MapNotify::default() };
    let as_notify = auth::seal(&ControlMessage::MapNotify(notify.clone()), &key, TagForm::Truncated).unwrap();
    let as_ack = auth::seal(&ControlMessage::MapNotifyAck(notify), &key, TagForm::Truncated).unwrap();
    assert_eq!(auth::verify(&as_ack, &key, Accept::STRICT), Ok(()));
    let mut retyped = as_notify;
    retyped[0] = as_ack[0];
    assert_eq!(auth::verify(&retyped, &key, Accept::STRICT), Err(AuthError::Tag));
}

#[test]
fn messages_without_a_tag_are_not_authentic() {
    let key = AuthKey { id: 0, algorithm: Algorithm::HkdfSha256, secret: Secret::new("secretkey") };
    assert_eq!(auth::verify(&vector("C20"), &key, Accept::INTEROP), Err(AuthError::MessageType(2)));
    assert!(auth::seal(&ControlMessage::from(MapReply::default()), &key, TagForm::Truncated).is_err());
    assert!(matches!(auth::verify(&[0x30], &key, Accept::INTEROP), Err(AuthError::Malformed(DecodeError { .. }))));
}

/// The drafts define no string from which algorithm 3 could derive the key of an Info message: it is made as the others are.
#[test]
fn an_info_message_has_a_tag_under_each_algorithm() {
    for algorithm in [Algorithm::HmacSha1, Algorithm::HmacSha256, Algorithm::HkdfSha256] {
        let key = AuthKey { id: 3, algorithm, secret: Secret::new("secretkey") };
        let mut sealed = auth::seal(&ControlMessage::from(Info::default()), &key, TagForm::Truncated).unwrap();
        // What is behind the last field is covered too.
        let bare = sealed.clone();
        assert_eq!(auth::verify(&bare, &key, Accept::STRICT), Ok(()));
        sealed.push(0);
        assert_eq!(auth::verify(&sealed, &key, Accept::STRICT), Err(AuthError::Tag));
    }
}

#[test]
fn the_authentication_of_a_relayed_map_notify_covers_all_of_it() {
    let key = |secret: &str| AuthKey { id: 3, algorithm: Algorithm::HkdfSha256, secret: Secret::new(secret) };
    let notify = MapNotify { nonce: Nonce(5), ..MapNotify::default() };
    let notify = auth::seal(&ControlMessage::MapNotify(notify), &key("of the site"), TagForm::Truncated).unwrap();
    let ad = RtrAd::seal(&notify, &key("of the rtr")).unwrap();
    let ecm = Ecm { security: Some(ad.encode().unwrap()), message: notify, ..ecm(FAMILIES[0]) };
    let received = Ecm::decode(&ecm.encode().unwrap()).unwrap();
    assert_eq!(received, ecm);
    let ad = RtrAd::decode(&received.security.unwrap()).unwrap();
    assert_eq!(ad.verify(&received.message, &key("of the rtr")), Ok(()));
    assert_eq!(ad.verify(&received.message, &key("of the site")), Err(AuthError::Tag));
    for index in 4..received.message.len() {
        let mut changed = received.message.clone();
        changed[index] ^= 1;
        assert_eq!(ad.verify(&changed, &key("of the rtr")), Err(AuthError::Tag), "octet {index}");
    }
    assert!(RtrAd::decode(&[1, 0, 0, 0, 0, 0, 0, 0]).is_err(), "LISP-SEC is another AD Type");
}

#[test]
fn a_data_map_notify_is_the_inside_of_an_ecm_behind_a_data_header() {
    for family in FAMILIES {
        let message = MapNotify { nonce: Nonce(7), ..MapNotify::default() }.encode().unwrap();
        let whole = Ecm { message, ..ecm(family) };
        let payload = encode_data_map_notify(&whole).unwrap();
        assert_eq!(payload[..8], [8, 0, 0, 0, 0xff, 0xff, 0xff, 0], "I, and the instance of control messages");
        assert!(is_data_map_notify(&payload));
        assert_eq!(decode_data_map_notify(&payload).unwrap(), whole);
        assert!(decode_data_map_notify(&payload[..payload.len() - 1]).is_err());
        let other = encode_data_map_notify(&ecm(family)).unwrap();
        assert_eq!(decode_data_map_notify(&other).unwrap_err().field, "message type");
    }
    assert!(!is_data_map_notify(&[0; 8]) && !is_data_map_notify(&[8, 0, 0]));
}

#[test]
fn a_secret_is_not_printed() {
    let key = AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new("secretkey") };
    assert_eq!(format!("{key:?}"), "AuthKey { id: 1, algorithm: HmacSha256, secret: Secret(..) }");
}

#[test]
fn a_message_shows_in_one_line_what_it_is_about() {
    let show = |id: &str| ControlMessage::decode(&vector(id)).unwrap().to_string();
    assert_eq!(
        show("C02"),
        "ECM 192.0.2.1:61000 -> 10.2.2.2:4342: Map-Request nonce 0011223344556677 for 10.2.2.2/32 from 10.1.1.1 itr 192.0.2.1"
    );
    assert_eq!(show("C22"), "Map-Reply nonce 0011223344556677: 10.2.0.0/16 ttl 15 min NativelyForward");
    assert_eq!(
        show("R07"),
        "Map-Register nonce 0000000000000102 P M key 1 alg 3: 10.2.2.0/24 ttl 1440 min A 198.51.100.1 1/100,L,R \
         xtr-id 000102030405060708090a0b0c0d0e0f site-id 1122334455667788"
    );
}

const FAMILIES: [(&str, &str); 2] =
    [("192.0.2.1:61000", "10.2.2.2:4342"), ("[2001:db8:a::1]:61000", "[2001:db8:1:2::2]:4342")];

/// An ECM around four octets.
fn ecm((source, destination): (&str, &str)) -> Ecm {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Ecm::wrap(address(source), address(destination), vec![0x10, 2, 3, 4])
}

fn problem(bytes: &[u8]) -> (&'static str, Problem) {
    let error = Ecm::decode(bytes).unwrap_err();
    (error.field, error.problem)
}

fn request_for(eid: Eid) -> MapRequest {
    MapRequest {
        itr_rlocs: vec![v4("192.0.2.1")],
        records: vec![EidRequest { notify: false, eid }],
        ..MapRequest::default()
    }
}

fn reply_with(rloc: Address) -> MapReply {
    let locators = vec![LocatorRecord::new(rloc, 1, 100)];
    let record =
        MappingRecord { action: Action::NoAction, ..MappingRecord::new(eid("10.2.2.0/24"), Ttl::DEFAULT, locators) };
    MapReply { records: vec![record], ..MapReply::default() }
}

fn eid(prefix: &str) -> Eid {
    Eid::from(EidPrefix { iid: InstanceId(0), net: prefix.parse().unwrap() })
}

fn v4(address: &str) -> Address {
    Address::V4(address.parse().unwrap())
}

fn vector(id: &str) -> Vec<u8> {
    crate::support::vectors().vectors.into_iter().find(|vector| vector.id == id).unwrap().lisp()
}
