// SPDX-License-Identifier: GPL-2.0-or-later
//! One value, one encoding: keys, sections and bundles.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::common::{LAB, Person, start};
use cgeid::{Cn, Network, Reason, SignatureAlgorithm};
use dht::geo::Position;
use dht::publish::Statement;
use dht::record::{
    Body, Bundle, Centimetres, CertificateCache, Class, Entry, Flags, Geo, HostName, Identity, Index, Loss, Mapping,
    Medium, Neighbour, Pointing, Pref64, Prefix, Quality, Rate, RecordKey, Revocation, Rloc, RlocFlags, Roles, Section,
    Service, SessionKey, Site, Source, Subject, Target, Terminal, Tlv, Topology, Version, verify,
};
use dht::{Malformed, Refusal};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
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

fn any_position() -> impl Strategy<Value = Position> {
    (-900_000_000i32..=900_000_000, -1_800_000_000i32..=1_800_000_000, option::of(-2_147_483_647i32..))
        .prop_map(|(latitude, longitude, altitude)| Position::new(latitude, longitude, altitude).unwrap())
}

fn any_topology() -> impl Strategy<Value = Topology> {
    let neighbour = (any_cn(), any::<u8>()).prop_map(|(cn, medium)| Neighbour { cn, medium: Medium(medium) });
    let quality = (0..u16::MAX, 0u16..=10_000, any::<u32>()).prop_map(|(metric, loss, rate)| Quality {
        metric,
        loss: Loss(loss),
        rate: Rate(rate),
    });
    let geo = (any_position(), any::<u32>(), any::<u8>()).prop_map(|(position, error, source)| Geo {
        position,
        error: Centimetres(error),
        source: Source(source),
    });
    let pointing = (0u16..36_000, -9000i16..=9000, 0u16..=18_000)
        .prop_map(|(azimuth, elevation, reach)| Pointing::new(azimuth, elevation, reach).unwrap());
    let terminal = (any::<u8>(), any_position(), any::<u32>(), any::<u64>(), pointing).prop_map(
        |(medium, position, error, frequency, pointing)| Terminal {
            medium: Medium(medium),
            position,
            error: Centimetres(error),
            frequency,
            pointing,
        },
    );
    let neighbours = btree_map(neighbour, quality, 0..6);
    (neighbours, option::of(geo), btree_map(any::<u8>(), terminal, 0..3), unknown())
        .prop_map(|(neighbours, geo, terminals, unknown)| Topology { neighbours, geo, terminals, unknown })
}

fn any_service() -> impl Strategy<Value = Service> {
    let address =
        any::<IpAddr>().prop_filter("nobody's", |address| !address.is_unspecified() && !address.is_multicast());
    let addresses = btree_map((address, any::<u16>()), (1..=u16::MAX).prop_map(Roles), 0..4);
    let pref64 = (any::<u128>(), prop_oneof![Just(32u8), Just(40), Just(48), Just(56), Just(64), Just(96)]);
    let pref64 = pref64.prop_map(|(bits, plen)| {
        let net = ipnet::Ipv6Net::new((bits & !(0xff << 56)).into(), plen).unwrap();
        Pref64::new(net).unwrap()
    });
    let name = vec("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", 1..6);
    let name = name.prop_map(|labels| labels.join(".").parse::<HostName>().unwrap());
    (addresses, btree_set(any_cn(), 0..=4), btree_set(pref64, 0..=4), option::of(name), unknown()).prop_map(
        |(addresses, alternates, pref64, ptr, unknown)| Service { addresses, alternates, pref64, ptr, unknown },
    )
}

fn any_body() -> impl Strategy<Value = Body> {
    let identity = (vec(any::<u8>(), 0..64), btree_set(vec(any::<u8>(), 0..64), 0..=2), unknown()).prop_map(
        |(certificate, operational, unknown)| {
            let operational = operational.into_iter().map(Into::into).collect();
            Body::Identity(Identity { certificate: certificate.into(), operational, unknown })
        },
    );
    let site = (any::<bool>(), any::<u64>(), btree_set(any::<[u8; 16]>(), 0..4));
    let map_servers = (option::of(any::<Ipv4Addr>()), option::of(any::<Ipv6Addr>()))
        .prop_map(|(ipv4, ipv6)| ipv4.map(IpAddr::from).into_iter().chain(ipv6.map(IpAddr::from)).collect());
    let prefix = (any_prefix(), any_mapping(), site, map_servers).prop_map(
        |(prefix, mapping, (proxy, site_id, xtr_ids), map_servers)| {
            Body::Prefix(Prefix { prefix, mapping, site: Site { proxy, site_id, xtr_ids }, map_servers })
        },
    );
    prop_oneof![
        identity,
        any_mapping().prop_map(Body::Mapping),
        prefix,
        any_index().prop_map(Body::Index),
        (any::<u8>(), vec(any::<u8>(), 0..64)).prop_map(|(reason, certificate)| {
            Body::Revocation(Revocation { reason: Reason(reason), certificate: certificate.into() })
        }),
        any_topology().prop_map(Body::Topology),
        any_service().prop_map(Body::Service),
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

/// A section of a body whose one element is given as octets.
fn read_element(class: Class, kind: u16, value: &[u8]) -> Result<Section, Malformed> {
    let mut bytes = b"CGE1\x01".to_vec();
    bytes.push(class.number());
    bytes.extend([0; 2 + 12 + 4 + 8 + 4]);
    bytes.extend([0, 1]);
    bytes.extend(u16::try_from(value.len() + 4).unwrap().to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(value);
    bytes.extend([0, 0]);
    Section::decode(&bytes)
}

#[test]
fn topology_has_the_documented_octets() {
    let read = |kind, value: &[u8]| read_element(Class::Topology, kind, value).map(|section| section.body);
    let neighbour = [&[7; 12][..], &[3, 0, 96, 0, 250, 0, 0, 0x27, 0x10]].concat();
    let expected = Topology {
        neighbours: [(
            Neighbour { cn: Cn([7; 12]), medium: Medium::RADIO },
            Quality { metric: 96, loss: Loss(250), rate: Rate(10_000) },
        )]
        .into(),
        ..Topology::default()
    };
    assert_eq!(read(0x0301, &neighbour), Ok(Body::Topology(expected)));
    let infinite = [&[7; 12][..], &[3, 0xff, 0xff, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(read(0x0301, &infinite), Err(Malformed::Value("metric", 0xffff)));
    let lossy = [&[7; 12][..], &[3, 0, 0, 0x27, 0x11, 0, 0, 0, 0]].concat();
    assert_eq!(read(0x0301, &lossy), Err(Malformed::Value("loss", 10_001)));

    let place = |latitude: i32, longitude: i32, altitude: i32| {
        let mut octets: Vec<u8> = [latitude, longitude, altitude].into_iter().flat_map(i32::to_be_bytes).collect();
        octets.extend([0, 0, 0x03, 0xe8, 2]);
        octets
    };
    let geo = |latitude, longitude, altitude| Geo {
        position: Position::new(latitude, longitude, altitude).unwrap(),
        error: Centimetres(1000),
        source: Source::GNSS,
    };
    let topology = |geo| Body::Topology(Topology { geo: Some(geo), ..Topology::default() });
    let (latitude, longitude) = (525_200_080, -134_049_540);
    let known = read(0x0302, &place(latitude, longitude, -300));
    assert_eq!(known, Ok(topology(geo(latitude, longitude, Some(-300)))));
    let flat = read(0x0302, &place(latitude, longitude, i32::MIN));
    assert_eq!(flat, Ok(topology(geo(latitude, longitude, None))));
    assert_eq!(read(0x0302, &place(900_000_001, 0, 0)), Err(Malformed::Value("position", 900_000_001)));
    // One place, one encoding.
    for (latitude, longitude) in [(0, 1_800_000_000), (900_000_000, 1)] {
        assert_eq!(read(0x0302, &place(latitude, longitude, 0)), Err(Malformed::NotCanonical("section")));
    }
    assert!(
        read(0x0302, &place(0, 0, 0)[1..]).is_err() && read(0x0302, &[&place(0, 0, 0)[..], &[0]].concat()).is_err()
    );

    let terminal = |azimuth: u16, elevation: i16, reach: u16| {
        let mut octets = vec![9, 4];
        octets.extend(&place(latitude, longitude, 300)[..16]);
        octets.extend(193_400_000_000u64.to_be_bytes());
        octets.extend(azimuth.to_be_bytes());
        octets.extend(elevation.to_be_bytes());
        octets.extend(reach.to_be_bytes());
        read(0x0303, &octets)
    };
    let Ok(Body::Topology(read)) = terminal(35_999, -9, 4500) else { unreachable!() };
    let one = read.terminals[&9];
    assert_eq!((one.medium, one.frequency, one.pointing.azimuth()), (Medium::LASER, 193_400_000_000, 35_999));
    assert_eq!((one.pointing.elevation(), one.pointing.reach()), (-9, 4500));
    assert_eq!(terminal(36_000, 0, 0), Err(Malformed::Value("terminal direction", 36_000)));
    assert!(terminal(0, 9001, 0).is_err() && terminal(0, 0, 18_001).is_err());
    assert_eq!(terminal(1, 9000, 0), Err(Malformed::NotCanonical("section")), "straight up has no azimuth");
    assert_eq!(terminal(1, 0, 18_000), Err(Malformed::NotCanonical("section")), "everywhere has no direction");
}

#[test]
fn service_has_the_documented_octets() {
    let read = |kind, value: &[u8]| read_element(Class::Service, kind, value).map(|section| section.body);
    let address = [0, 1, 192, 0, 2, 1, 0xa9, 0x9c, 0, 0x81];
    let roles = Roles::BOOT.with(Roles::DNS);
    let expected = Service { addresses: [(([192, 0, 2, 1].into(), 43_420), roles)].into(), ..Service::default() };
    assert_eq!(read(0x0401, &address), Ok(Body::Service(expected)));
    assert_eq!(roles.names().collect::<Vec<_>>(), ["boot", "dns"]);
    let idle = [0, 1, 192, 0, 2, 1, 0xa9, 0x9c, 0, 0];
    assert_eq!(read(0x0401, &idle), Err(Malformed::Missing("role of a public address")));
    for nobody in [[0, 0, 0, 0], [224, 0, 0, 1]] {
        let octets = [&[0, 1][..], &nobody, &[0, 0, 0, 1]].concat();
        assert_eq!(read(0x0401, &octets), Err(Malformed::Value("public address", 0)));
    }
    assert!(read(0x0402, &[7; 12]).is_ok() && read(0x0402, &[7; 16]).is_err());

    let pref64 = |plen: u8, octets: &[u8]| read(0x0403, &[&[plen][..], octets].concat());
    let octets = [0x20, 0x01, 0x0d, 0xb8, 1, 2, 3, 4, 0, 5, 6, 7];
    for plen in 0..=u8::MAX {
        let written = octets.get(..usize::from(plen / 8)).unwrap_or(&octets);
        assert_eq!(pref64(plen, written).is_ok(), [32, 40, 48, 56, 64, 96].contains(&plen), "{plen}");
    }
    // Bits 64 to 71 are zero (RFC 6052, section 2.2).
    let mut u_octet = octets;
    u_octet[8] = 1;
    assert!(pref64(96, &u_octet).is_err() && pref64(96, &octets[..11]).is_err());
    assert!(pref64(32, &octets[..5]).is_err());
    assert!(read(0x0404, b"\x04host\x07example\x00").is_ok());
    assert!(read(0x0404, b"\x04host\xc0\x0c").is_err(), "compressed");
}

#[test]
fn full_sections_of_a_node_fit_their_class() {
    let mut person = Person::new(1);
    let cn = |number: usize| Cn([u8::try_from(number).unwrap(); 12]);
    let quality = Quality { metric: 1, loss: Loss(1), rate: Rate(1) };
    let position = Position::new(1, 1, Some(1)).unwrap();
    let terminal =
        Terminal { medium: Medium::LASER, position, error: Centimetres(1), frequency: 1, pointing: Pointing::ANYWHERE };
    let topology = |neighbours| Topology {
        neighbours: (0..neighbours).map(|n| (Neighbour { cn: cn(n), medium: Medium::RADIO }, quality)).collect(),
        geo: Some(Geo { position, error: Centimetres(1), source: Source::GNSS }),
        terminals: (0..8).map(|number| (number, terminal)).collect(),
        unknown: Vec::new(),
    };
    let service = |addresses: u16| Service {
        addresses: (0..addresses).map(|port| (("2001:db8::1".parse().unwrap(), port), Roles::BOOT)).collect(),
        alternates: (0..4).map(cn).collect(),
        pref64: (0..4).map(|n| Pref64::new(format!("2001:db8:{n}::/96").parse().unwrap()).unwrap()).collect(),
        ptr: Some(
            [["a"; 31].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 63].concat()].join(".").parse().unwrap(),
        ),
        unknown: Vec::new(),
    };
    let mut publish = |topology, service| {
        let statements = vec![
            Statement::service(service),
            Statement::topology(topology),
            Statement::mapping(crate::common::mapping(1)),
        ];
        dht::publish::node(&person.key, LAB, statements, start(), &mut person.sequence)
    };
    let full = publish(topology(64), service(16)).unwrap();
    let verified = verify(LAB, &full.key, &full.value, start(), &mut CertificateCache::new()).unwrap();
    assert_eq!(verified.bundle.topology(), Some(&topology(64)));
    assert_eq!(verified.bundle.service(), Some(&service(16)));
    assert!(publish(topology(65), service(16)).is_err() && publish(topology(64), service(17)).is_err());
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
    let mut mapping = crate::common::mapping(1);
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
    let published = dht::publish::mapping(&key, LAB, crate::common::mapping(1), start(), &mut sequence).unwrap();
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
    let sites = (0..400u32).map(|n| crate::common::site(&format!("2001:db8:{n:x}::/48"), &[cn], 48)).collect();
    let page = Person::new(2).page(start(), "2001:db8::/32", sites, dht::publish::PageKind::Delegations);
    assert!(verify(LAB, &page.key, &page.value, start(), &mut CertificateCache::new()).is_ok());
}
