// SPDX-License-Identifier: GPL-2.0-or-later
//! One value, one encoding: keys, sections and bundles.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use cgeid::{Cn, Network, Reason, SignatureAlgorithm};
use common::{LAB, Person, start};
use dht::record::{
    Body, Bundle, CertificateCache, Class, Entry, Flags, Identity, Index, Mapping, Prefix, RecordKey, Revocation, Rloc,
    RlocFlags, Section, SessionKey, Site, Subject, Target, Tlv, Version, verify,
};
use dht::{Malformed, Refusal};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use wire::address::{EidPrefix, InstanceId};
use wire::record::{MapVersion, Ttl};

fn any_cn() -> impl Strategy<Value = Cn> {
    any::<[u8; 12]>().prop_map(Cn)
}

fn any_prefix() -> impl Strategy<Value = EidPrefix> {
    (any::<u32>(), any::<IpAddr>(), 0u8..=128).prop_map(|(iid, address, plen)| {
        let width = if address.is_ipv4() { 32 } else { 128 };
        EidPrefix::new(InstanceId(iid), address, plen.min(width)).unwrap()
    })
}

fn any_key() -> impl Strategy<Value = RecordKey> {
    let subject = prop_oneof![
        Just(Subject::Node),
        any_prefix().prop_map(Subject::Prefix),
        any_prefix().prop_map(Subject::Index),
    ];
    (any::<[u8; 4]>(), any_cn(), subject).prop_map(|(network, writer, subject)| RecordKey {
        network: Network(network),
        writer,
        subject,
    })
}

fn any_rloc() -> impl Strategy<Value = Rloc> {
    (any::<[u8; 4]>(), any::<[bool; 5]>(), any::<IpAddr>(), any::<u16>()).prop_map(|(octets, flags, address, port)| {
        let [priority, weight, mpriority, mweight] = octets;
        let [local, reachable, direct, nat, rtr] = flags;
        let flags = RlocFlags { local, reachable, direct, nat, rtr };
        Rloc { priority, weight, mpriority, mweight, flags, address, port }
    })
}

/// Elements that this version does not know and must keep.
fn unknown() -> impl Strategy<Value = Vec<Tlv>> {
    btree_set((0x7000u16..0x7fff, vec(any::<u8>(), 0..20)), 0..3)
        .prop_map(|set| set.into_iter().map(|(kind, value)| Tlv { kind, value: value.into() }).collect())
}

fn any_mapping() -> impl Strategy<Value = Mapping> {
    let key = any::<(u16, [u8; 32])>().prop_map(|(suite, public)| SessionKey { suite, public });
    (btree_set(any_rloc(), 0..6), any::<u32>(), proptest::option::of(0u16..4096), proptest::option::of(key), unknown())
        .prop_map(|(locators, ttl, version, session_key, unknown)| Mapping {
            locators,
            ttl: Ttl(ttl),
            map_version: version.map(MapVersion),
            session_key,
            unknown,
        })
}

fn any_index() -> impl Strategy<Value = Index> {
    let entry = (any::<u128>(), 20u8..=128, 0u8..3, btree_set(any_cn(), 1..=4), any::<u64>(), any::<u8>());
    vec(entry, 0..12).prop_map(|entries| {
        let address = |bits: u128| IpAddr::from((0x2001_0db8u128 << 96 | bits >> 32).to_be_bytes());
        let covering = EidPrefix::new(InstanceId(0), address(0), 20).unwrap();
        let mut seen = BTreeSet::new();
        let entries = entries.into_iter().filter_map(|(bits, plen, kind, cns, lowest, more)| {
            let prefix = EidPrefix::new(InstanceId(0), address(bits), plen).unwrap();
            let target = match kind {
                0 => Target::Site { registrars: cns, max_plen: plen.saturating_add(more).min(128) },
                1 => Target::Delegation { child: *cns.first().unwrap(), lowest },
                _ if plen == 20 => return None,
                _ => Target::Page { lowest },
            };
            seen.insert(prefix).then_some(Entry { prefix, target })
        });
        Index::new(covering, entries.collect()).unwrap()
    })
}

fn any_body() -> impl Strategy<Value = Body> {
    let identity = (vec(any::<u8>(), 0..64), btree_set(vec(any::<u8>(), 0..64), 0..=2), unknown()).prop_map(
        |(certificate, operational, unknown)| {
            let operational = operational.into_iter().map(Into::into).collect();
            Body::Identity(Identity { certificate: certificate.into(), operational, unknown })
        },
    );
    let site = (any::<bool>(), any::<u64>(), btree_set(any::<[u8; 16]>(), 0..4));
    let prefix = (any_prefix(), any_mapping(), site, btree_set(any::<IpAddr>(), 0..=2)).prop_map(
        |(prefix, mapping, (proxy, site_id, xtr_ids), map_servers)| {
            Body::Prefix(Prefix { prefix, mapping, site: Site { proxy, site_id, xtr_ids }, map_servers })
        },
    );
    let other = prop_oneof![Just(Class::Topology), Just(Class::Service)];
    prop_oneof![
        identity,
        any_mapping().prop_map(Body::Mapping),
        prefix,
        any_index().prop_map(Body::Index),
        (any::<u8>(), vec(any::<u8>(), 0..64)).prop_map(|(reason, certificate)| {
            Body::Revocation(Revocation { reason: Reason(reason), certificate: certificate.into() })
        }),
        (other, unknown()).prop_map(|(class, tlvs)| Body::Other(class, tlvs)),
    ]
}

fn any_section() -> impl Strategy<Value = Section> {
    let version = any::<(u32, u64)>().prop_map(|(epoch, sequence)| Version { epoch, sequence });
    let algorithm = prop_oneof![Just(SignatureAlgorithm::Ed25519), Just(SignatureAlgorithm::RsaPkcs1Sha512)];
    let signature = vec(any::<u8>(), 0..70);
    (any::<[bool; 2]>(), any_cn(), version, any::<u32>(), any_body(), algorithm, signature).prop_map(
        |([by_identity, withdrawn], cn, version, lifetime, body, algorithm, signature)| Section {
            flags: Flags { by_identity, withdrawn },
            cn,
            version,
            lifetime: Duration::from_secs(lifetime.into()),
            body,
            algorithm,
            signature: signature.into(),
        },
    )
}

proptest! {
    #[test]
    fn keys_round_trip(key in any_key()) {
        prop_assert_eq!(RecordKey::decode(&key.encode()), Ok(key));
    }

    #[test]
    fn sections_round_trip(section in any_section()) {
        prop_assert_eq!(Section::decode(&section.encode().unwrap()), Ok(section));
    }

    #[test]
    fn bundles_round_trip(sections in vec(any_section(), 1..6)) {
        if let Ok(bundle) = Bundle::new(sections) {
            prop_assert_eq!(Bundle::decode(&bundle.encode().unwrap()), Ok(bundle));
        }
    }

    #[test]
    fn decoding_never_panics(bytes in vec(any::<u8>(), 0..300)) {
        _ = RecordKey::decode(&bytes);
        _ = Section::decode(&bytes);
        _ = Bundle::decode(&bytes);
    }

    /// Bytes that look almost right: what decodes at all is what it would be encoded to.
    #[test]
    fn damaged_sections_are_refused_or_are_others(section in any_section(), at in any::<usize>(), octet in any::<u8>()) {
        let mut bytes = section.encode().unwrap();
        let at = at % bytes.len();
        bytes[at] = octet;
        if let Ok(other) = Section::decode(&bytes) {
            prop_assert_eq!(other.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn damaged_keys_are_refused_or_are_others(key in any_key(), at in any::<usize>(), octet in any::<u8>()) {
        let mut bytes = key.encode();
        let at = at % bytes.len();
        bytes[at] = octet;
        if let Ok(other) = RecordKey::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }
}

#[test]
fn a_key_has_the_documented_octets() {
    let net = "2001:db8:a::/47".parse().unwrap();
    let key = RecordKey::prefix(LAB, Cn([0xcc; 12]), EidPrefix { iid: InstanceId(5), net });
    let mut octets = vec![0x3f, 0xff, 0x0c, 0xe1, b'P'];
    octets.extend([0xcc; 12]);
    octets.extend([0, 0, 0, 5, 0, 2, 47, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x0a]);
    assert_eq!(key.encode(), octets);
    // A bit beyond the length would be a second name of one thing.
    *octets.last_mut().unwrap() |= 1;
    assert_eq!(RecordKey::decode(&octets), Err(Malformed::NotCanonical("key prefix")));
}

#[test]
fn unknown_elements_are_kept_unless_critical() {
    let mut person = Person::new(1);
    let mut mapping = common::mapping(1);
    mapping.unknown = vec![Tlv { kind: 0x0299, value: [1, 2, 3].into() }];
    let published = dht::publish::mapping(&person.key, LAB, mapping.clone(), start(), &mut person.sequence).unwrap();
    let verified = verify(LAB, &published.key, &published.value, start(), &mut CertificateCache::new()).unwrap();
    assert_eq!(verified.bundle.mapping(), Some(&mapping));
    mapping.unknown[0].kind |= Tlv::CRITICAL;
    let published = dht::publish::mapping(&person.key, LAB, mapping, start(), &mut person.sequence).unwrap();
    let refusal = verify(LAB, &published.key, &published.value, start(), &mut CertificateCache::new()).unwrap_err();
    assert_eq!(refusal, Refusal::Malformed(Malformed::CriticalTlv(0x8299)));
}

#[test]
fn an_rsa_identity_may_sign_its_identity_section() {
    let identity = cgeid::Identity::generate_rsa4096(LAB, start()).unwrap();
    let key = identity.delegate(start(), 0).unwrap();
    let mut sequence = dht::publish::Sequence::default();
    let published = dht::publish::mapping(&key, LAB, common::mapping(1), start(), &mut sequence).unwrap();
    let mut sections = Bundle::decode(&published.value).unwrap().into_sections();
    sections[0].flags.by_identity = true;
    sections[0].algorithm = SignatureAlgorithm::RsaPkcs1Sha512;
    sections[0].signature = identity.sign(&sections[0].signed_bytes(&published.key).unwrap()).unwrap().into();
    let value = Bundle::new(sections).unwrap().encode().unwrap();
    let mut cache = CertificateCache::new();
    for _ in 0..2 {
        assert!(verify(LAB, &published.key, &value, start(), &mut cache).is_ok());
        assert!(verify(LAB, &published.key, &published.value, start(), &mut cache).is_ok());
    }
}

#[test]
fn a_page_of_400_sites_fits() {
    let cn = Person::new(1).cn();
    let sites = (0..400u32).map(|n| common::site(&format!("2001:db8:{n:x}::/48"), &[cn], 48)).collect();
    let page = Person::new(2).page(start(), "2001:db8::/32", sites, dht::publish::PageKind::Delegations);
    assert!(verify(LAB, &page.key, &page.value, start(), &mut CertificateCache::new()).is_ok());
}
