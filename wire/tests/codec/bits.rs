// SPDX-License-Identifier: GPL-2.0-or-later
//! Where each flag stands, counted from the most significant bit as the RFCs draw it. A round trip cannot tell two
//! exchanged flags apart; these tests can.

use wire::address::{Address, Eid, Lcaf, PathHop};
use wire::control::{
    Ecm, EidRequest, Info, MapNotify, MapReferral, MapRegister, MapReply, MapRequest, Referral, ReferralAction,
    ReferralSignature, SignatureTime, XtrIdentity,
};
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

/// RFC 9301, section 5.2; I: RFC 9437, section 4.
#[test]
fn flags_of_a_map_request() {
    let plain = || MapRequest { itr_rlocs: vec![Address::None], records: vec![request(false)], ..Default::default() };
    let at = |message: MapRequest| flags(&plain().encode().unwrap(), &message.encode().unwrap());
    assert_eq!(at(MapRequest { authoritative: true, ..plain() }), [4]);
    assert_eq!(at(MapRequest { map_reply_record: Some(record()), ..plain() }), [5]);
    assert_eq!(at(MapRequest { probe: true, ..plain() }), [6]);
    assert_eq!(at(MapRequest { smr: true, ..plain() }), [7]);
    assert_eq!(at(MapRequest { pitr: true, ..plain() }), [8]);
    assert_eq!(at(MapRequest { smr_invoked: true, ..plain() }), [9]);
    assert_eq!(at(MapRequest { xtr_identity: Some(XtrIdentity::default()), ..plain() }), [11]);
    assert_eq!(at(MapRequest { local_xtr: true, ..plain() }), [17]);
    assert_eq!(at(MapRequest { dont_map_reply: true, ..plain() }), [18]);
    assert_eq!(at(MapRequest { itr_rlocs: vec![Address::None; 32], ..plain() }), [19, 20, 21, 22, 23]);
    assert_eq!(at(MapRequest { records: vec![request(false); 255], ..plain() }), [24, 25, 26, 27, 28, 29, 30]);

    // N: the first bit of a record, which is behind the header, the source EID and the ITR-RLOC.
    let notify = MapRequest { records: vec![request(true)], ..plain() }.encode().unwrap();
    assert_eq!(flags(&plain().encode().unwrap()[16..], &notify[16..]), [0]);
}

/// RFC 9301, section 5.4; S: RFC 9303, section 6.2.
#[test]
fn flags_of_a_map_reply() {
    let at = |message: MapReply| flags(&MapReply::default().encode().unwrap(), &message.encode().unwrap());
    assert_eq!(at(MapReply { probe: true, ..Default::default() }), [4]);
    assert_eq!(at(MapReply { echo_nonce: true, ..Default::default() }), [5]);
    let security = Some(vec![1, 0, 0, 0, 0, 4, 0, 2, 0, 4, 0, 2]);
    assert_eq!(at(MapReply { security, ..Default::default() }), [6]);
}

/// RFC 9301, section 5.6; bit 7: the NAT traversal drafts.
#[test]
fn flags_of_a_map_register() {
    let at = |message: MapRegister| flags(&MapRegister::default().encode().unwrap(), &message.encode().unwrap());
    assert_eq!(at(MapRegister { proxy_reply: true, ..Default::default() }), [4]);
    assert_eq!(at(MapRegister { security_capable: true, ..Default::default() }), [5]);
    assert_eq!(at(MapRegister { xtr_identity: Some(XtrIdentity::default()), ..Default::default() }), [6]);
    assert_eq!(at(MapRegister { through_rtr: true, ..Default::default() }), [7]);
    assert_eq!(at(MapRegister { eid_notify: true, ..Default::default() }), [19]);
    assert_eq!(at(MapRegister { use_ttl: true, ..Default::default() }), [20]);
    assert_eq!(at(MapRegister { merge: true, ..Default::default() }), [21]);
    assert_eq!(at(MapRegister { want_notify: true, ..Default::default() }), [23]);
}

/// RFC 9301, section 5.8; the NAT traversal drafts; deployed Map-Servers.
#[test]
fn flags_of_the_other_messages() {
    let address = "192.0.2.1:4342".parse().unwrap();
    let plain = || Ecm::wrap(address, address, vec![]);
    let security = Some(vec![1, 0, 0, 2, 0, 0, 0, 1, 0, 4, 0, 0]);
    let ecm = plain().encode().unwrap();
    assert_eq!(flags(&ecm, &Ecm { security, ..plain() }.encode().unwrap()), [4]);
    assert_eq!(flags(&ecm, &Ecm { ddt: true, ..plain() }.encode().unwrap()), [5]);
    assert_eq!(flags(&ecm, &Ecm { for_rtr: true, ..plain() }.encode().unwrap()), [6]);
    assert_eq!(flags(&ecm, &Ecm { by_rtr: true, ..plain() }.encode().unwrap()), [7]);
    let reply = Info { reply: true, ..Default::default() }.encode().unwrap();
    assert_eq!(flags(&Info::default().encode().unwrap(), &reply), [4]);
    let echo = MapNotify { xtr_identity: Some(XtrIdentity::default()), ..Default::default() };
    assert_eq!(flags(&MapNotify::default().encode().unwrap(), &echo.encode().unwrap()), [4]);
}

/// RFC 9301, section 5.4: the second, the third and (in locators) the second word.
#[test]
fn flags_of_a_record() {
    let encode = |record: MappingRecord| MapReply { records: vec![record], ..Default::default() }.encode().unwrap();
    let plain = encode(record());
    let at = |word: usize, record| flags(&plain[12 + 4 * word..], &encode(record)[12 + 4 * word..]);
    assert_eq!(at(1, MappingRecord { action: Action::SendMapRequest, ..record() }), [17]);
    assert_eq!(at(1, MappingRecord { action: Action::Unassigned7, ..record() }), [16, 17, 18]);
    assert_eq!(at(1, MappingRecord { authoritative: true, ..record() }), [19]);
    let version = MapVersion(0x801);
    assert_eq!(at(2, MappingRecord { map_version: version, ..record() }), [4, 15]);

    let with = |change: fn(&mut LocatorRecord)| {
        let mut locator = LocatorRecord { reachable: false, ..LocatorRecord::new(Address::None, 1, 2) };
        change(&mut locator);
        encode(MappingRecord { locators: vec![locator], ..record() })[28..].to_vec()
    };
    let plain = with(|_| ());
    assert_eq!(flags(&plain, &with(|locator| locator.local = true)), [13]);
    assert_eq!(flags(&plain, &with(|locator| locator.probed = true)), [14]);
    assert_eq!(flags(&plain, &with(|locator| locator.reachable = true)), [15]);
}

/// RFC 8111, section 6.4.
#[test]
fn flags_of_a_referral() {
    let encode = |referral| MapReferral { records: vec![referral], ..Default::default() }.encode().unwrap();
    let plain = encode(referral());
    let at = |word: usize, referral| flags(&plain[12 + 4 * word..], &encode(referral)[12 + 4 * word..]);
    assert_eq!(at(1, Referral { action: ReferralAction::NotAuthoritative, ..referral() }), [16, 18]);
    assert_eq!(at(1, Referral { authoritative: true, ..referral() }), [19]);
    assert_eq!(at(1, Referral { incomplete: true, ..referral() }), [20]);
    assert_eq!(at(2, Referral { signatures: vec![signature()], ..referral() }), [3]);
}

/// RFC 8111, section 6.4.1.
#[test]
fn fields_of_a_signature() {
    let referral = Referral { ttl: Ttl(7), signatures: vec![signature(), signature()], ..referral() };
    let sections: Vec<u8> =
        [[0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 2], [0x12, 0x34, 0, 4, 2, 0, 0, 0, b's', b'i', b'g', b'n']].concat();
    let octets = referral.encode().unwrap();
    let (head, tail) = octets.split_at(octets.len() - 48);
    assert_eq!(tail, sections.repeat(2));
    // Covered is all of it, with the TTL as it was, and without what is computed.
    let covered = referral.covered(&octets, &referral.signatures[0]);
    let unsigned = [&sections[..20], &[0; 4]].concat();
    assert_eq!(covered, [&[0, 0, 0, 9], &head[4..], &unsigned.repeat(2)].concat());
    let message = MapReferral { records: vec![referral.clone(), referral], ..Default::default() };
    assert_eq!(MapReferral::record_octets(&message.encode().unwrap()), Ok(vec![&octets[..]; 2]));
}

fn signature() -> ReferralSignature {
    ReferralSignature {
        original_ttl: Ttl(9),
        expiration: SignatureTime(3),
        inception: SignatureTime(2),
        key_tag: 0x1234,
        algorithm: ReferralSignature::RSA_SHA256,
        octets: b"sign".to_vec(),
    }
}

#[test]
fn a_signature_is_timely_from_its_inception_to_its_expiration() {
    let timely = [1, 2, 3, 4].map(|second| signature().is_timely(SignatureTime(second)));
    assert_eq!(timely, [false, true, true, false]);
    let far = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1 << 40);
    assert_eq!(SignatureTime::of(far), SignatureTime(u32::MAX));
}

/// RFC 8060, sections 4.6, 4.7 and 5.4.
#[test]
fn flags_of_an_lcaf() {
    let encode = |lcaf: Lcaf| {
        let info = Info { address: Address::from(lcaf), ..Default::default() };
        // Behind an Info-Request without tag and EID: AFI, two reserved octets, and then the type.
        info.encode().unwrap()[24 + 4..].to_vec()
    };
    let hop = |change: fn(&mut PathHop)| {
        let mut hop = PathHop::default();
        change(&mut hop);
        encode(Lcaf::ExplicitLocatorPath(vec![hop]))[4..].to_vec()
    };
    let plain = hop(|_| ());
    assert_eq!(flags(&plain, &hop(|hop| hop.lookup = true)), [13]);
    assert_eq!(flags(&plain, &hop(|hop| hop.probe = true)), [14]);
    assert_eq!(flags(&plain, &hop(|hop| hop.strict = true)), [15]);

    let key = |revoked| encode(Lcaf::SecurityKey { algorithm: 0, revoked, keys: vec![], address: Address::None });
    assert_eq!(flags(&key(false)[4..], &key(true)[4..]), [31]);
    let json = |binary| encode(Lcaf::Json { binary, text: vec![], address: Address::None });
    assert_eq!(flags(&json(false), &json(true)), [15]);
}

/// The bits of the first word in which two encodings differ, the most significant one being 0.
fn flags(one: &[u8], other: &[u8]) -> Vec<u32> {
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    let changed = word(one) ^ word(other);
    (0..32).filter(|bit| changed & (0x8000_0000 >> bit) != 0).collect()
}

fn request(notify: bool) -> EidRequest {
    EidRequest { notify, eid: Eid::default() }
}

fn record() -> MappingRecord {
    MappingRecord::negative(Eid::default(), Ttl(0), Action::NoAction)
}

fn referral() -> Referral {
    Referral {
        ttl: Ttl(0),
        action: ReferralAction::NodeReferral,
        authoritative: false,
        incomplete: false,
        map_version: MapVersion(0),
        eid: Eid::default(),
        locators: vec![],
        signatures: vec![],
    }
}
