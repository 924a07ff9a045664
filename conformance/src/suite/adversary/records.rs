// SPDX-License-Identifier: GPL-2.0-or-later
//! Records that no store may take: each is refused, its publisher told, and counted under its name.

use cgeid::Network;
use dht::record::RecordKey;
use serde_json::Value;

use super::{Arena, now};
use crate::suite::fleet::Node;
use crate::suite::person::{CONTEXT, Person, Raw, at, mapping, prefix, seconds, split};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

const STORE: &str = "lisp-signed-dht 7.1";
const ELSEWHERE: Network = Network([0x20, 0x01, 0x0d, 0xb8]);
/// Octets of an element that makes a section larger than its class may be, and a bundle larger than it may be.
const LARGE: usize = 1000;

pub(super) const PROBES: &[Probe<Arena>] = &[
    must("AD-01.01", STORE, "forged: a signature with one bit flipped", |arena| {
        changed(arena, "signature", |value| value.last_mut().into_iter().for_each(|octet| *octet ^= 1))
    }),
    must("AD-01.02", STORE, "forged: another's signature", |arena| {
        let (owner, other) = (Person::new(now())?, Person::new(now())?);
        let publication = owner.mapping(now(), 1)?;
        let sections = split(&publication.value)?;
        let forged = sections[1].signed(&other.key, &publication.key);
        let value = [sections[0].signed(&owner.key, &publication.key), forged].concat();
        counted(arena, "signature", &publication.key.encode(), &value)
    }),
    must("AD-01.03", STORE, "wrong network: signed for another one", |arena| {
        edited(arena, "signature", |section, owner| {
            section.context = Some([CONTEXT, &ELSEWHERE.0, &[17], &owner.node_key().encode()].concat());
        })
    }),
    must("AD-01.04", STORE, "wrong network: under the key of another one", |arena| {
        let owner = Person::new(now())?;
        let key = RecordKey::node(ELSEWHERE, owner.key.cn()).encode();
        counted(arena, "other-network", &key, &owner.mapping(now(), 1)?.value)
    }),
    must("AD-01.05", STORE, "wrong key: under that of another owner", |arena| {
        let (owner, other) = (Person::new(now())?, Person::new(now())?);
        counted(arena, "other-owner", &other.node_key().encode(), &owner.mapping(now(), 1)?.value)
    }),
    must("AD-01.06", STORE, "wrong key: one that is none", |arena| {
        counted(arena, "key-syntax", b"key", &Person::new(now())?.mapping(now(), 1)?.value)
    }),
    must("AD-01.07", STORE, "wrong key: that of another prefix", |arena| {
        let owner = Person::new(now())?;
        let publication = owner.prefix(now(), prefix("2001:db8:a::/48")?, 1)?;
        let key = RecordKey::prefix(publication.key.network, owner.key.cn(), prefix("2001:db8:b::/48")?).encode();
        counted(arena, "other-prefix", &key, &publication.value)
    }),
    must("AD-01.08", STORE, "wrong class: a PREFIX under a node's key", |arena| {
        let owner = Person::new(now())?;
        let value = owner.prefix(now(), prefix("2001:db8:a::/48")?, 1)?.value;
        counted(arena, "misplaced-class", &owner.node_key().encode(), &value)
    }),
    must("AD-01.09", STORE, "wrong class: a MAPPING that says to be a SERVICE", |arena| {
        edited(arena, "malformed", |section, _| section.put(at::CLASS, &[7]))
    }),
    must("AD-01.10", STORE, "future: signed ten minutes ahead", |arena| {
        let publication = Person::new(now())?.mapping(now() + seconds(600), 1)?;
        counted(arena, "from-the-future", &publication.key.encode(), &publication.value)
    }),
    must("AD-01.11", STORE, "past: expired a minute ago", |arena| {
        let owner = Person::new(now())?;
        let publication = owner.mapping(now() - seconds(60), 1)?;
        let value = owner.changed(&publication, |sections| sections[1].put(at::LIFETIME, &1_u32.to_be_bytes()))?;
        counted(arena, "expired", &publication.key.encode(), &value)
    }),
    must("AD-01.12", STORE, "longer-lived than its class may be", |arena| {
        edited(arena, "lifetime", |section, _| section.put(at::LIFETIME, &3601_u32.to_be_bytes()))
    }),
    must("AD-01.13", STORE, "replayed: older than what was put", |arena| {
        let owner = Person::new(now())?;
        let old = owner.mapping(now() - seconds(30), 1)?;
        arena.fleet.publish(arena.victim()?, &owner.mapping(now(), 2)?)?;
        counted(arena, "old-sequence", &old.key.encode(), &old.value)
    }),
    must("AD-01.14", STORE, "oversized: a section", |arena| {
        edited(arena, "section-too-large", |section, _| section.add(0x7f01, &[7; LARGE]))
    }),
    must("AD-01.15", STORE, "oversized: a bundle of 12 KiB and an octet", |arena| {
        let owner = Person::new(now())?;
        counted(arena, "too-large", &owner.node_key().encode(), &vec![0; 12 * 1024 + 1])
    }),
    must("AD-01.16", STORE, "not canonical: elements in the other order", |arena| {
        edited(arena, "malformed", |section, _| section.tlvs.reverse())
    }),
    must("AD-01.17", STORE, "not canonical: an octet more", |arena| changed(arena, "malformed", |value| value.push(0))),
    must("AD-01.18", STORE, "no record at all", |arena| changed(arena, "malformed", |value| value.fill(0xa5))),
    must("AD-01.19", STORE, "nothing", |arena| changed(arena, "malformed", Vec::clear)),
    must("AD-01.20", STORE, "an element that must be understood, and is not", |arena| {
        edited(arena, "malformed", |section, _| section.add(0xff01, &[]))
    }),
    must("AD-01.21", STORE, "an epoch for which there is no certificate", |arena| {
        edited(arena, "epoch", |section, _| section.put(at::EPOCH, &[0xff, 0, 0, 0]))
    }),
    must("AD-01.22", STORE, "flags that its signer may not set", |arena| {
        edited(arena, "flags", |section, _| section.put(at::ALGORITHM, &[0, 2]))
    }),
    must("AD-01.23", STORE, "another's certificate", |arena| {
        let (owner, other) = (Person::new(now())?, Person::new(now())?);
        let publication = owner.mapping(now(), 1)?;
        let der = other.identity.certificate().der().to_vec();
        let value = owner.changed(&publication, |sections| *sections[0].value(0x0101) = der)?;
        counted(arena, "other-identity", &publication.key.encode(), &value)
    }),
    must("AD-01.24", STORE, "another's operational certificate", |arena| {
        let (owner, other) = (Person::new(now())?, Person::new(now())?);
        let publication = owner.mapping(now(), 1)?;
        let der = other.key.certificate_der().to_vec();
        let value = owner.changed(&publication, |sections| *sections[0].value(0x0102) = der)?;
        counted(arena, "operational-certificate", &publication.key.encode(), &value)
    }),
    must("AD-01.25", STORE, "a revoked signer", |arena| {
        let owner = Person::new(now())?;
        arena.fleet.publish(arena.victim()?, &owner.revocation(now())?)?;
        let later = owner.mapping(now(), 1)?;
        counted(arena, "revoked", &later.key.encode(), &later.value)
    }),
    must("AD-01.26", STORE, "a revocation by the operational key", |arena| {
        let owner = Person::new(now())?;
        let publication = owner.revocation(now())?;
        let value = owner.changed(&publication, |sections| sections[0].signature = None)?;
        counted(arena, "signature", &publication.key.encode(), &value)
    }),
    must("AD-01.27", STORE, "another's revocation", |arena| {
        let (owner, other) = (Person::new(now())?, Person::new(now())?);
        counted(arena, "other-owner", &owner.node_key().encode(), &other.revocation(now())?.value)
    }),
    must(
        "AD-01.28",
        STORE,
        "superseded: a statement of one operational key beside the certificate of a later one",
        |arena| {
            let born = now() - seconds(60);
            let first = Person::new(born)?;
            let said = first.mapping(born, 1)?;
            arena.fleet.publish(arena.victim()?, &said)?;
            let (key, old) = (first.identity.delegate(born + seconds(30), 0).map_err(broken)?, first.key);
            let second = Person { identity: first.identity, key };
            let later = split(&second.mapping(born + seconds(30), 2)?.value)?;
            let value =
                [later[0].signed(&second.key, &said.key), split(&said.value)?[1].signed(&old, &said.key)].concat();
            counted(arena, "superseded", &said.key.encode(), &value)
        },
    ),
    must("AD-02.1", STORE, "changes of one key without a pause", quota),
    must("AD-02.2", STORE, "what was refused is not found, and what was held before still is", untouched),
];

/// Sends a value; it must be refused, and counted under this name. What a node of others counts is not to be seen.
fn counted(arena: &Arena, name: &str, key: &[u8], value: &[u8]) -> Judgement {
    counted_at(arena, arena.victim()?, name, key, value)
}

/// The same at another node, which is sent to whatever else is nearer.
pub(super) fn counted_at(arena: &Arena, victim: &Node, name: &str, key: &[u8], value: &[u8]) -> Judgement {
    if arena.is_of_others() {
        arena.takes()?;
        arena.fleet.carry(victim, key, value, &["--direct"])?.refused()?;
        return Ok(format!("to be refused, {name}; refused, and its publisher told"));
    }
    let count = |stats: &Value| stats["refused"][name].as_u64().unwrap_or_default();
    let before = arena.fleet.stats(victim)?;
    arena.fleet.carry(victim, key, value, &["--direct"])?.refused()?;
    let after = arena.fleet.stats(victim)?;
    let found = format!("{name} {} and then {}; refused: {}", count(&before), count(&after), after["refused"]);
    if after["records"] != before["records"] {
        return Err(broken(format!("{} records and then {}; {found}", before["records"], after["records"])));
    }
    if count(&after) > count(&before) {
        Ok(format!("to be refused as {name}; {} times before, {} after", count(&before), count(&after)))
    } else {
        Err(broken(found))
    }
}

/// A mapping with its octets changed.
fn changed(arena: &Arena, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Judgement {
    let publication = Person::new(now())?.mapping(now(), 1)?;
    let mut value = publication.value;
    change(&mut value);
    counted(arena, name, &publication.key.encode(), &value)
}

/// A mapping with its fields changed and signed again by its owner.
fn edited(arena: &Arena, name: &str, edit: impl FnOnce(&mut Raw, &Person)) -> Judgement {
    let owner = Person::new(now())?;
    let publication = owner.mapping(now(), 1)?;
    let value = owner.changed(&publication, |sections| edit(&mut sections[1], &owner))?;
    counted(arena, name, &publication.key.encode(), &value)
}

fn quota(arena: &Arena) -> Judgement {
    let owner = Person::new(now())?;
    let victim = arena.victim()?;
    let mut publications = Vec::new();
    for last in 1..=10_u8 {
        let millis = std::time::Duration::from_millis(last.into());
        publications.push(owner.mapping(now() + millis, last)?);
    }
    let mut refused = 0;
    for publication in &publications {
        let answer = arena.fleet.carry(victim, &publication.key.encode(), &publication.value, &[])?;
        refused += u32::from(answer.report["result"] == "refused");
    }
    if arena.is_of_others() {
        arena.takes()?;
        return expect(refused > 0, format!("{refused} of 10 refused"));
    }
    let name = arena.fleet.stats(victim)?["refused"]["quota"].clone();
    expect(refused > 0 && name == refused, format!("{refused} of 10 refused, {name} as quota"))
}

fn untouched(arena: &Arena) -> Judgement {
    let (owner, victim) = (Person::new(now())?, arena.victim()?);
    arena.fleet.publish(victim, &owner.mapping(now() - seconds(1), 5)?)?;
    let publication = owner.mapping(now(), 6)?;
    let value = owner.changed(&publication, |sections| sections[1].signature = Some(vec![0; 64]))?;
    counted(arena, "signature", &publication.key.encode(), &value)?;
    let found: Result<Value, Fault> = arena.fleet.get(victim, &owner.eid());
    let locator = found?["record"]["sections"][1]["body"]["locators"][0]["address"].clone();
    let expected = mapping(5).locators.first().map(|rloc| rloc.address.to_string()).unwrap_or_default();
    expect(locator == expected, format!("{expected} expected; came {locator}"))
}
