// SPDX-License-Identifier: GPL-2.0-or-later
//! Any value that has an encoding, for proptest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wire::address::{Address, Angle, Eid, GeoCoordinates, InstanceId, Lcaf, NatTraversal, PathHop, Replication};
use wire::control::auth::{AlgorithmId, Authentication};
use wire::control::{
    ControlMessage, Ecm, EidRequest, Info, InnerHeader, MapNotify, MapReferral, MapRegister, MapReply, MapRequest,
    Nonce, Referral, ReferralAction, ReferralSignature, SharedExtension, SignatureTime, XtrIdentity,
};
use wire::limits::LCAF_NESTING;
use wire::record::{Action, LocatorRecord, MapVersion, MappingRecord, Ttl};

/// LCAF types that stay opaque.
const OPAQUE_KINDS: [u8; 8] = [4, 6, 8, 15, 16, 17, 200, 254];

pub(crate) fn message() -> impl Strategy<Value = ControlMessage> {
    prop_oneof![
        map_request().prop_map(ControlMessage::from),
        map_reply().prop_map(ControlMessage::from),
        map_register().prop_map(ControlMessage::from),
        map_notify().prop_map(ControlMessage::MapNotify),
        map_notify().prop_map(ControlMessage::MapNotifyAck),
        map_referral().prop_map(ControlMessage::from),
        info().prop_map(ControlMessage::from),
        ecm().prop_map(ControlMessage::from),
        shared().prop_map(ControlMessage::from),
    ]
}

fn map_request() -> impl Strategy<Value = MapRequest> {
    let records = vec((any::<bool>(), eid()).prop_map(|(notify, eid)| EidRequest { notify, eid }), 1..3);
    let head = (any::<[bool; 7]>(), nonce(), address(), vec(address(), 1..=32));
    (head, records, option::of(mapping_record()), option::of(identity())).prop_map(
        |((bits, nonce, source_eid, itr_rlocs), records, map_reply_record, xtr_identity)| MapRequest {
            authoritative: bits[0],
            probe: bits[1],
            smr: bits[2],
            pitr: bits[3],
            smr_invoked: bits[4],
            local_xtr: bits[5],
            dont_map_reply: bits[6],
            nonce,
            source_eid,
            itr_rlocs,
            records,
            map_reply_record,
            xtr_identity,
        },
    )
}

fn map_reply() -> impl Strategy<Value = MapReply> {
    let of_unknown_type = (2..=u8::MAX, vec(any::<u8>(), 3..40)).prop_map(|(kind, rest)| [vec![kind], rest].concat());
    let security = option::of(prop_oneof![map_reply_security(), of_unknown_type]);
    (any::<[bool; 2]>(), nonce(), records(), security).prop_map(|([probe, echo_nonce], nonce, records, security)| {
        MapReply { probe, echo_nonce, nonce, records, security }
    })
}

fn map_register() -> impl Strategy<Value = MapRegister> {
    (any::<[bool; 7]>(), nonce(), authentication(), records(), option::of(identity())).prop_map(
        |(bits, nonce, auth, records, xtr_identity)| MapRegister {
            proxy_reply: bits[0],
            security_capable: bits[1],
            eid_notify: bits[2],
            use_ttl: bits[3],
            merge: bits[4],
            through_rtr: bits[5],
            want_notify: bits[6],
            nonce,
            auth,
            records,
            xtr_identity,
        },
    )
}

fn map_notify() -> impl Strategy<Value = MapNotify> {
    (nonce(), authentication(), records(), option::of(identity()))
        .prop_map(|(nonce, auth, records, xtr_identity)| MapNotify { nonce, auth, records, xtr_identity })
}

pub(crate) fn map_referral() -> impl Strategy<Value = MapReferral> {
    (nonce(), vec(referral(), 0..3)).prop_map(|(nonce, records)| MapReferral { nonce, records })
}

fn referral() -> impl Strategy<Value = Referral> {
    let bits = (any::<bool>(), any::<bool>(), (0..8u8).prop_map(ReferralAction::from_bits));
    (ttl(), bits, map_version(), eid(), vec(locator(), 0..3), vec(signature(), 0..=15)).prop_map(
        |(ttl, (authoritative, incomplete, action), map_version, eid, locators, signatures)| Referral {
            ttl,
            action,
            authoritative,
            incomplete,
            map_version,
            eid,
            locators,
            signatures,
        },
    )
}

fn info() -> impl Strategy<Value = Info> {
    (any::<bool>(), nonce(), authentication(), ttl(), eid(), address())
        .prop_map(|(reply, nonce, auth, ttl, eid, address)| Info { reply, nonce, auth, ttl, eid, address })
}

fn ecm() -> impl Strategy<Value = Ecm> {
    let v4 = (any::<Ipv4Addr>(), any::<Ipv4Addr>(), any::<u16>(), any::<bool>()).prop_map(
        |(source, destination, identification, dont_fragment)| {
            let header = InnerHeader { identification, dont_fragment, ..InnerHeader::default() };
            (IpAddr::V4(source), IpAddr::V4(destination), header)
        },
    );
    let v6 = (any::<Ipv6Addr>(), any::<Ipv6Addr>(), 0..1u32 << 20).prop_map(|(source, destination, flow_label)| {
        (IpAddr::V6(source), IpAddr::V6(destination), InnerHeader { flow_label, ..InnerHeader::default() })
    });
    let port = || any::<u16>().prop_filter("the data port", |port| *port != wire::DATA_PORT);
    let message = vec(any::<u8>(), 0..80).prop_filter("an ECM", |m| wire::control::message_type(m) != Some(8));
    let octets = (any::<[bool; 3]>(), option::of(ecm_security()), any::<u8>(), any::<u8>());
    (octets, prop_oneof![v4, v6], port(), port(), message).prop_map(
        |(
            ([ddt, for_rtr, by_rtr], security, ttl, traffic_class),
            (source, destination, header),
            source_port,
            destination_port,
            message,
        )| {
            Ecm {
                ddt,
                for_rtr,
                by_rtr,
                security,
                source: SocketAddr::new(source, source_port),
                destination: SocketAddr::new(destination, destination_port),
                ttl,
                header: InnerHeader { traffic_class, ..header },
                message,
            }
        },
    )
}

fn shared() -> impl Strategy<Value = SharedExtension> {
    (0..1u16 << 12, vec(any::<u8>(), 0..20)).prop_map(|(subtype, body)| SharedExtension { subtype, body })
}

/// AD Type, OTK-AD (whose length leaves out its first word) and EID-AD (whose length does not).
fn ecm_security() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 3]>(), any::<[u8; 2]>(), vec(any::<u8>(), 0..40), counted()).prop_map(|(head, ids, otk, eid_ad)| {
        let length = u16::try_from(otk.len()).unwrap().to_be_bytes();
        [&[1], &head[..], &length, &ids, &otk, &eid_ad].concat()
    })
}

fn map_reply_security() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 3]>(), counted(), counted())
        .prop_map(|(head, eid_ad, pkt_ad)| [&[1], &head[..], &eid_ad, &pkt_ad].concat())
}

/// A length that counts its own word, the rest of that word, and contents.
fn counted() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 2]>(), vec(any::<u8>(), 0..30)).prop_map(|(id, contents)| {
        let length = u16::try_from(contents.len() + 4).unwrap().to_be_bytes();
        [&length[..], &id, &contents].concat()
    })
}

fn signature() -> impl Strategy<Value = ReferralSignature> {
    let head = (ttl(), any::<[u32; 2]>(), any::<u16>(), any::<u8>());
    (head, vec(any::<u8>(), 0..40)).prop_map(|((original_ttl, [expiration, inception], key_tag, algorithm), octets)| {
        ReferralSignature {
            original_ttl,
            expiration: SignatureTime(expiration),
            inception: SignatureTime(inception),
            key_tag,
            algorithm,
            octets,
        }
    })
}

fn records() -> impl Strategy<Value = Vec<MappingRecord>> {
    vec(mapping_record(), 0..4)
}

fn mapping_record() -> impl Strategy<Value = MappingRecord> {
    let action = (0..8u8).prop_map(Action::from_bits);
    (ttl(), action, any::<bool>(), map_version(), eid(), vec(locator(), 0..4)).prop_map(
        |(ttl, action, authoritative, map_version, eid, locators)| MappingRecord {
            ttl,
            action,
            authoritative,
            map_version,
            eid,
            locators,
        },
    )
}

fn locator() -> impl Strategy<Value = LocatorRecord> {
    (any::<[u8; 4]>(), any::<[bool; 3]>(), address()).prop_map(
        |([priority, weight, mpriority, mweight], [local, probed, reachable], rloc)| LocatorRecord {
            priority,
            weight,
            mpriority,
            mweight,
            local,
            probed,
            reachable,
            rloc,
        },
    )
}

pub(crate) fn eid() -> impl Strategy<Value = Eid> {
    prefix(LCAF_NESTING).prop_map(|(address, mask_len)| Eid { address, mask_len })
}

/// An address and a mask length that fits it.
fn prefix(nesting: usize) -> impl Strategy<Value = (Address, u8)> {
    (nested_address(nesting), any::<u8>()).prop_map(|(address, mask)| {
        let most = address.width().unwrap_or(u8::MAX);
        (address, mask.min(most))
    })
}

fn address() -> BoxedStrategy<Address> {
    nested_address(LCAF_NESTING)
}

fn nested_address(nesting: usize) -> BoxedStrategy<Address> {
    let plain = prop_oneof![
        Just(Address::None),
        any::<Ipv4Addr>().prop_map(Address::V4),
        any::<Ipv6Addr>().prop_map(Address::V6),
        any::<[u8; 6]>().prop_map(Address::Ieee802),
        any::<[u8; 6]>().prop_map(Address::Mac),
        vec(1..=u8::MAX, 0..20).prop_map(|name| Address::Name(name.into())),
    ];
    match nesting.checked_sub(1) {
        None => plain.boxed(),
        Some(inner) => prop_oneof![3 => plain, 1 => lcaf(inner).prop_map(Address::from)].boxed(),
    }
}

/// An LCAF whose addresses hold at most `inner` more in each other.
fn lcaf(inner: usize) -> BoxedStrategy<Lcaf> {
    let address = move || nested_address(inner);
    let iid = || any::<u32>().prop_map(InstanceId);
    let hop = (any::<[bool; 3]>(), address()).prop_map(|([lookup, probe, strict], address)| PathHop {
        lookup,
        probe,
        strict,
        address,
    });
    let replication = (any::<u8>(), address()).prop_map(|(level, address)| Replication { level, address });
    let keys = vec(vec(any::<u8>(), 0..40), 0..3);
    let opaque = (any::<u8>(), proptest::sample::select(&OPAQUE_KINDS[..]), any::<u8>(), vec(any::<u8>(), 0..20));
    prop_oneof![
        Just(Lcaf::Null),
        vec(address(), 0..3).prop_map(Lcaf::AfiList),
        (iid(), 0..=32u8, address()).prop_map(|(iid, iid_mask_len, address)| Lcaf::InstanceId {
            iid,
            iid_mask_len,
            address
        }),
        (any::<u32>(), address()).prop_map(|(asn, address)| Lcaf::AsNumber { asn, address }),
        (place(), address()).prop_map(|(place, address)| Lcaf::Geo { place, address }),
        nat(inner).prop_map(Lcaf::NatTraversal),
        (iid(), prefix(inner), prefix(inner)).prop_map(|(iid, (source, source_mask_len), (group, group_mask_len))| {
            Lcaf::MulticastInfo { iid, source_mask_len, group_mask_len, source, group }
        }),
        vec(hop, 0..3).prop_map(Lcaf::ExplicitLocatorPath),
        (any::<u8>(), any::<bool>(), keys, address()).prop_map(|(algorithm, revoked, keys, address)| {
            Lcaf::SecurityKey { algorithm, revoked, keys, address }
        }),
        (prefix(inner), prefix(inner)).prop_map(|((source, source_mask_len), (dest, dest_mask_len))| {
            Lcaf::SourceDestKey { source_mask_len, dest_mask_len, source, dest }
        }),
        vec(replication, 0..3).prop_map(Lcaf::ReplicationList),
        (any::<bool>(), vec(any::<u8>(), 0..20), address()).prop_map(|(binary, text, address)| Lcaf::Json {
            binary,
            text,
            address
        }),
        opaque.prop_map(|(flags, kind, rsvd2, body)| Lcaf::Opaque { flags, kind, rsvd2, body: body.into() }),
    ]
    .boxed()
}

fn nat(inner: usize) -> impl Strategy<Value = NatTraversal> {
    let address = move || nested_address(inner);
    (any::<[u16; 2]>(), address(), address(), address(), vec(address(), 0..3)).prop_map(
        |([ms_port, etr_port], global_etr, ms, private_etr, rtrs)| NatTraversal {
            ms_port,
            etr_port,
            global_etr,
            ms,
            private_etr,
            rtrs,
        },
    )
}

fn place() -> impl Strategy<Value = GeoCoordinates> {
    let altitude = option::of((i32::MIN..i32::MAX).boxed());
    (angle(90), angle(180), altitude).prop_map(|(latitude, longitude, altitude)| GeoCoordinates {
        latitude,
        longitude,
        altitude,
    })
}

fn angle(most: u16) -> impl Strategy<Value = Angle> {
    (any::<bool>(), 0..=most, 0..60u8, 0..60u8).prop_map(|(positive, degrees, minutes, seconds)| Angle {
        positive,
        degrees,
        minutes,
        seconds,
    })
}

fn authentication() -> impl Strategy<Value = Authentication> {
    (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..40)).prop_map(|(key_id, algorithm, tag)| Authentication {
        key_id,
        algorithm: AlgorithmId(algorithm),
        tag,
    })
}

fn identity() -> impl Strategy<Value = XtrIdentity> {
    (any::<[u8; 16]>(), any::<u64>()).prop_map(|(xtr_id, site_id)| XtrIdentity { xtr_id, site_id })
}

fn nonce() -> impl Strategy<Value = Nonce> {
    any::<u64>().prop_map(Nonce)
}

fn ttl() -> impl Strategy<Value = Ttl> {
    any::<u32>().prop_map(Ttl)
}

fn map_version() -> impl Strategy<Value = MapVersion> {
    (0..=MapVersion::MAX).prop_map(MapVersion)
}
