// SPDX-License-Identifier: GPL-2.0-or-later
//! What a signature covers, whose it is, and where what it signs may stand.

use cgeid::Network;
use dht::record::RecordKey;

use super::{Desk, Kind};
use crate::suite::person::{CONTEXT, at, prefix, prefix_in, split};
use crate::suite::probe::{Judgement, Probe, must};

const SIGNED: &str = "lisp-signed-dht 4.3";
const KEYS: &str = "lisp-signed-dht 4.1";
const ELSEWHERE: Network = Network([0x20, 0x01, 0x0d, 0xb8]);

pub(super) const PROBES: &[Probe<Desk>] = &[
    must("RC-08.1", SIGNED, "signed without the context", |d| context(d, &[])),
    must("RC-08.2", SIGNED, "signed with the context of an operational key's admission", |d| {
        context(d, b"IPv6MESH-admit-v1\0")
    }),
    must("RC-08.3", SIGNED, "signed for another network", |d| {
        let name = d.one.node_key().encode();
        let before = [CONTEXT, &ELSEWHERE.0, &[17], &name].concat();
        d.refuses(Kind::Mapping, "signature", "", |section| section.context = Some(before))
    }),
    must("RC-08.4", SIGNED, "signed without the network", |d| {
        let before = [CONTEXT, &[17], &d.one.node_key().encode()].concat();
        d.refuses(Kind::Mapping, "signature", "", |section| section.context = Some(before))
    }),
    must("RC-08.5", SIGNED, "signed without the key", |d| {
        let before = [CONTEXT, &d.one.node_key().network.0].concat();
        d.refuses(Kind::Mapping, "signature", "", |section| section.context = Some(before))
    }),
    must("RC-08.6", SIGNED, "signed without the length of the key", |d| {
        let key = d.one.node_key();
        let before = [CONTEXT, &key.network.0, &key.encode()].concat();
        d.refuses(Kind::Mapping, "signature", "", |section| section.context = Some(before))
    }),
    must("RC-08.7", SIGNED, "signed by another's operational key", other_signer),
    must("RC-08.8", SIGNED, "each octet of a signature changed", each_octet),
    must("RC-08.9", SIGNED, "signed by the operational key, and said to be by the identity key", |d| {
        d.refuses(Kind::Mapping, "signature", "", |section| section.put(at::FLAGS, &[0, 1]))
    }),
    must("RC-09.1", SIGNED, "an epoch without a certificate", |d| {
        d.refuses(Kind::Mapping, "epoch", "no certificate", |section| section.put(at::EPOCH, &[0, 0, 0, 9]))
    }),
    must("RC-09.2", SIGNED, "another writer's CN", |d| {
        let cn = d.two.key.cn();
        d.refuses(Kind::Mapping, "other-owner", "not the key's owner", |section| section.put(at::CN, &cn.0))
    }),
    must("RC-09.3", SIGNED, "another's identity certificate", |d| {
        let other = d.two.identity.certificate().der().to_vec();
        d.refuses_value(Kind::Mapping, "other-identity", "not the key's owner", |v| *v[0].value(0x0101) = other)
    }),
    must("RC-09.10", SIGNED, "the owner's operational certificate with one bit of its signature flipped", |d| {
        d.refuses_value(Kind::Mapping, "operational-certificate", "", |v| {
            v[0].value(0x0102).last_mut().into_iter().for_each(|octet| *octet ^= 1);
        })
    }),
    must("RC-09.4", SIGNED, "another's operational certificate", |d| {
        let other = d.two.key.certificate_der().to_vec();
        d.refuses_value(Kind::Mapping, "operational-certificate", "", |v| *v[0].value(0x0102) = other)
    }),
    must("RC-09.5", SIGNED, "no identity certificate", |d| {
        d.refuses_value(Kind::Mapping, "malformed", "identity certificate missing", |v| v[0].remove(0x0101))
    }),
    must("RC-09.6", SIGNED, "two identity certificates", |d| {
        d.refuses_value(Kind::Mapping, "malformed", "identity certificate: too many", |v| v[0].add(0x0101, b"more"))
    }),
    must("RC-09.7", SIGNED, "three operational certificates", |d| {
        d.refuses_value(Kind::Mapping, "malformed", "too many", |v| {
            v[0].add(0x0102, b"more");
            v[0].add(0x0102, b"most");
        })
    }),
    must("RC-09.8", SIGNED, "no operational certificate", |d| {
        d.refuses_value(Kind::Mapping, "epoch", "no certificate", |v| v[0].remove(0x0102))
    }),
    must("RC-09.9", SIGNED, "an identity certificate with one bit flipped", |d| {
        d.refuses_value(Kind::Mapping, "identity-certificate", "", |v| {
            v[0].value(0x0101).last_mut().into_iter().for_each(|octet| *octet ^= 1);
        })
    }),
    must("RC-10.1", KEYS, "a MAPPING under another's key", |d| {
        moved(d, Kind::Mapping, d.two.node_key(), "other-owner")
    }),
    must("RC-10.2", KEYS, "a MAPPING under the key of another network", |d| {
        moved(d, Kind::Mapping, RecordKey::node(ELSEWHERE, d.one.key.cn()), "other-network")
    }),
    must("RC-10.3", KEYS, "a MAPPING under the key of a prefix", |d| {
        let key = RecordKey::prefix(d.one.node_key().network, d.one.key.cn(), prefix("2001:db8:a::/48")?);
        moved(d, Kind::Mapping, key, "misplaced-class")
    }),
    must("RC-10.4", KEYS, "a PREFIX under its writer's node key", |d| {
        moved(d, Kind::Prefix, d.one.node_key(), "misplaced-class")
    }),
    must("RC-10.5", KEYS, "an INDEX under its writer's node key", |d| {
        moved(d, Kind::Index, d.one.node_key(), "misplaced-class")
    }),
    must("RC-10.6", KEYS, "a PREFIX under the key of another prefix", |d| {
        let key = RecordKey::prefix(d.one.node_key().network, d.one.key.cn(), prefix("2001:db8:b::/48")?);
        moved(d, Kind::Prefix, key, "other-prefix")
    }),
    must("RC-10.7", KEYS, "a PREFIX under the key of the same prefix in another instance", |d| {
        let key = RecordKey::prefix(d.one.node_key().network, d.one.key.cn(), prefix_in(5, "2001:db8:a::/48")?);
        moved(d, Kind::Prefix, key, "other-prefix")
    }),
    must("RC-10.8", KEYS, "a page under the key of a wider prefix", |d| {
        let key = RecordKey::index(d.one.node_key().network, d.one.key.cn(), prefix("2001:db8::/31")?);
        moved(d, Kind::Index, key, "other-prefix")
    }),
    must("RC-10.9", KEYS, "keys that are none", bad_keys),
];

fn context(d: &Desk, text: &[u8]) -> Judgement {
    let key = d.one.node_key();
    let before = [text, &key.network.0, &[17], &key.encode()].concat();
    d.refuses(Kind::Mapping, "signature", "", |section| section.context = Some(before))
}

fn other_signer(d: &Desk) -> Judgement {
    let publication = d.publication(Kind::Mapping)?;
    let sections = split(&publication.value)?;
    let value =
        [sections[0].signed(&d.one.key, &publication.key), sections[1].signed(&d.two.key, &publication.key)].concat();
    d.refused(&publication.key, &value, d.now, "signature", "does not hold")
}

fn each_octet(d: &Desk) -> Judgement {
    let publication = d.publication(Kind::Mapping)?;
    let length = publication.value.len();
    let mut told = String::new();
    for at in length - 64..length {
        let mut value = publication.value.clone();
        value[at] ^= 0x10;
        told = d.refused(&publication.key, &value, d.now, "signature", "does not hold")?;
    }
    Ok(told)
}

fn moved(d: &Desk, kind: Kind, to: RecordKey, name: &str) -> Judgement {
    d.refused(&to, &d.publication(kind)?.value, d.now, name, "")
}

fn bad_keys(d: &Desk) -> Judgement {
    let whole = d.one.node_key().encode();
    let prefix = RecordKey::prefix(d.one.node_key().network, d.one.key.cn(), prefix("2001:db8:a::/47")?).encode();
    let changed = |name: &[u8], at: usize, octet: u8| {
        let mut name = name.to_vec();
        name[at] = octet;
        name
    };
    let last = prefix.len() - 1;
    let bad = [
        Vec::new(),
        whole[..16].to_vec(),
        [&whole[..], &[0]].concat(),
        changed(&whole, 4, b'X'),
        // A prefix: an address family that there is not, 129 bits, a bit beyond the length.
        changed(&prefix, 22, 3),
        changed(&prefix, 23, 129),
        changed(&prefix, last, 0x0b),
        prefix[..last].to_vec(),
    ];
    for key in &bad {
        if let Ok(read) = RecordKey::decode(key) {
            return Err(crate::suite::probe::broken(format!("{key:02x?} to be no key; read as {read}")));
        }
    }
    Ok(format!("{} to be refused; all were", bad.len()))
}
