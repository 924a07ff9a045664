// SPDX-License-Identifier: GPL-2.0-or-later
//! The form of a section and of a bundle: one encoding, sizes, times.

use dht::publish::Statement;

use super::{Desk, Kind};
use crate::suite::person::{at, mapping, seconds};
use crate::suite::probe::{Judgement, Probe, broken, must};

const SECTION: &str = "lisp-signed-dht 4.2";
const CLASSES: &str = "lisp-signed-dht 5";
const BUNDLE: &str = "lisp-signed-dht 4.5";

/// A type that no class knows.
const UNKNOWN: u16 = 0x7f01;
/// The same, to be understood by whoever reads it.
const CRITICAL: u16 = UNKNOWN | 0x8000;

pub(super) const PROBES: &[Probe<Desk>] = &[
    must("RC-01.1", CLASSES, "a MAPPING as published", |d| d.takes(Kind::Mapping, |_| ())),
    must("RC-01.2", CLASSES, "a TOPOLOGY as published", |d| d.takes(Kind::Topology, |_| ())),
    must("RC-01.3", CLASSES, "a SERVICE as published", |d| d.takes(Kind::Service, |_| ())),
    must("RC-01.4", CLASSES, "a PREFIX as published", |d| d.takes(Kind::Prefix, |_| ())),
    must("RC-01.5", CLASSES, "an INDEX as published", |d| d.takes(Kind::Index, |_| ())),
    must("RC-01.6", CLASSES, "a REVOCATION as published", |d| d.takes(Kind::Revocation, |_| ())),
    must("RC-01.7", CLASSES, "MAPPING, TOPOLOGY and SERVICE in one bundle", together),
    must("RC-02.01", SECTION, "another magic", |d| {
        d.refuses(Kind::Mapping, "malformed", "magic", |s| s.put(0, b"CGE2"))
    }),
    must("RC-02.02", SECTION, "version 2", |d| {
        d.refuses(Kind::Mapping, "malformed", "version", |s| s.put(at::VERSION, &[2]))
    }),
    must("RC-02.03", SECTION, "version 0", |d| {
        d.refuses(Kind::Mapping, "malformed", "version", |s| s.put(at::VERSION, &[0]))
    }),
    must("RC-02.04", SECTION, "class 0", |d| {
        d.refuses(Kind::Mapping, "malformed", "class", |s| s.put(at::CLASS, &[0]))
    }),
    must("RC-02.05", SECTION, "class 8", |d| {
        d.refuses(Kind::Mapping, "malformed", "class", |s| s.put(at::CLASS, &[8]))
    }),
    must("RC-02.06", SECTION, "a flag that is reserved", |d| {
        d.refuses(Kind::Mapping, "malformed", "flags", |s| s.put(at::FLAGS, &[0, 4]))
    }),
    must("RC-02.07", SECTION, "a signature algorithm that there is not", |d| {
        d.refuses(Kind::Mapping, "malformed", "algorithm", |s| s.put(at::ALGORITHM, &[0, 3]))
    }),
    must("RC-02.08", SECTION, "an operational key that says RSA", |d| {
        d.refuses(Kind::Mapping, "flags", "algorithm", |s| s.put(at::ALGORITHM, &[0, 2]))
    }),
    must("RC-02.09", SECTION, "an octet after the last section", |d| trailing(d, &[0])),
    must("RC-02.10", SECTION, "the last octet missing", |d| cut(d, 1)),
    must("RC-02.11", SECTION, "cut in the header", |d| cut(d, 200)),
    must("RC-02.12", SECTION, "a signature of 63 octets", |d| {
        d.refuses(Kind::Mapping, "signature", "", |s| s.signature = Some(vec![1; 63]))
    }),
    must("RC-02.13", SECTION, "no signature", |d| {
        d.refuses(Kind::Mapping, "signature", "", |s| s.signature = Some(Vec::new()))
    }),
    must("RC-03.1", SECTION, "two elements in the other order", |d| {
        d.refuses(Kind::Mapping, "malformed", "canonical", |s| s.tlvs.reverse())
    }),
    must("RC-03.2", SECTION, "one element twice", |d| {
        d.refuses(Kind::Mapping, "malformed", "canonical", |s| s.tlvs.insert(0, s.tlvs[0].clone()))
    }),
    must("RC-03.3", SECTION, "an unknown element", |d| d.takes(Kind::Mapping, |s| s.add(UNKNOWN, &[1, 2, 3]))),
    must("RC-03.4", SECTION, "an unknown critical element", |d| {
        d.refuses(Kind::Mapping, "malformed", "critical", |s| s.add(CRITICAL, &[]))
    }),
    must("RC-03.5", SECTION, "an unknown critical element in each class but REVOCATION", critical_everywhere),
    must("RC-03.6", SECTION, "an element that ends before its length", |d| {
        d.refuses(Kind::Mapping, "malformed", "truncated", |s| s.rest = vec![0x7f, 1, 0, 9, 1])
    }),
    must("RC-03.7", SECTION, "half an element's head after the last one", |d| {
        d.refuses(Kind::Mapping, "malformed", "truncated", |s| s.rest = vec![0])
    }),
    must("RC-03.8", SECTION, "an empty body", |d| {
        d.refuses(Kind::Mapping, "malformed", "TTL missing", |s| s.tlvs.clear())
    }),
    must("RC-04.1", BUNDLE, "nothing at all", |d| {
        d.refuses_value(Kind::Mapping, "malformed", "IDENTITY section missing", Vec::clear)
    }),
    must("RC-04.2", BUNDLE, "no IDENTITY", |d| {
        d.refuses_value(Kind::Mapping, "malformed", "IDENTITY section missing", |v| drop(v.remove(0)))
    }),
    must("RC-04.3", BUNDLE, "the IDENTITY alone under a prefix's key", |d| {
        d.refuses_value(Kind::Prefix, "malformed", "the statement that the key is for", |v| drop(v.pop()))
    }),
    must("RC-04.4", BUNDLE, "IDENTITY last", |d| {
        d.refuses_value(Kind::Mapping, "malformed", "order of sections", |v| v.reverse())
    }),
    must("RC-04.5", BUNDLE, "two MAPPINGs", |d| {
        d.refuses_value(Kind::Mapping, "malformed", "order of sections", |v| v.push(v[1].clone()))
    }),
    must("RC-04.6", BUNDLE, "IDENTITY twice", |d| {
        d.refuses_value(Kind::Mapping, "malformed", "order of sections", |v| v.insert(0, v[0].clone()))
    }),
    must("RC-04.7", BUNDLE, "a REVOCATION beside others", beside_revocation),
    must("RC-05.1", BUNDLE, "a bundle of 12 KiB and an octet", |d| {
        let publication = d.publication(Kind::Mapping)?;
        d.refused(&publication.key, &vec![0; 12 * 1024 + 1], d.now, "too-large", "octets")
    }),
    must("RC-05.2", CLASSES, "a MAPPING of 1024 octets, and one of 1025", |d| size(d, Kind::Mapping, 1024)),
    must("RC-05.3", CLASSES, "a TOPOLOGY of 2048 octets, and one of 2049", |d| size(d, Kind::Topology, 2048)),
    must("RC-05.4", CLASSES, "a SERVICE of 1024 octets, and one of 1025", |d| size(d, Kind::Service, 1024)),
    must("RC-05.5", CLASSES, "a PREFIX of 1024 octets, and one of 1025", |d| size(d, Kind::Prefix, 1024)),
    must("RC-05.6", CLASSES, "an INDEX of 5120 octets, and one of 5121", |d| size(d, Kind::Index, 5120)),
    must("RC-05.7", CLASSES, "an IDENTITY of 4096 octets, and one of 4097", identity_size),
    must("RC-06.1", CLASSES, "a MAPPING for an hour, and for a second more", |d| lifetime(d, Kind::Mapping, 3600)),
    must("RC-06.2", CLASSES, "a TOPOLOGY for two hours, and for a second more", |d| lifetime(d, Kind::Topology, 7200)),
    must("RC-06.3", CLASSES, "a SERVICE for 48 hours, and for a second more", |d| {
        lifetime(d, Kind::Service, 48 * 3600)
    }),
    must("RC-06.4", CLASSES, "a PREFIX for an hour, and for a second more", |d| lifetime(d, Kind::Prefix, 3600)),
    must("RC-06.5", CLASSES, "an INDEX for 24 hours, and for a second more", |d| lifetime(d, Kind::Index, 24 * 3600)),
    must("RC-06.6", CLASSES, "an IDENTITY for 35 days and a second", |d| {
        d.refuses_value(Kind::Mapping, "lifetime", "Identity", |v| v[0].put(at::LIFETIME, &long(35 * 86_400 + 1)))
    }),
    must("RC-07.1", "lisp-signed-dht 4.6", "signed 120 s ahead, and a millisecond more", ahead),
    must("RC-07.2", "lisp-signed-dht 4.6", "a moment before its end, and at its end", end),
    must("RC-07.3", "lisp-signed-dht 4.6", "a sequence beyond all clocks", |d| {
        d.refuses(Kind::Mapping, "from-the-future", "", |s| s.put(at::SEQUENCE, &(u64::MAX / 2).to_be_bytes())).or_else(
            |_| d.refuses(Kind::Mapping, "expired", "", |s| s.put(at::SEQUENCE, &(u64::MAX / 2).to_be_bytes())),
        )
    }),
    must("RC-07.4", "lisp-signed-dht 4.6", "a lifetime of nothing", |d| {
        d.refuses(Kind::Mapping, "expired", "", |s| s.put(at::LIFETIME, &[0; 4]))
    }),
];

fn long(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn together(d: &Desk) -> Judgement {
    let statements =
        vec![Statement::mapping(mapping(1)), Statement::topology(d.topology()?), Statement::service(d.service()?)];
    let publication = d.one.node(d.now, statements)?;
    let verified = d.verify(&publication.key, &publication.value, d.now).map_err(broken)?;
    let classes: Vec<_> = verified.bundle.sections().iter().map(|section| section.class().number()).collect();
    crate::suite::probe::expect(classes == [1, 2, 3, 4], format!("classes {classes:?}, to be 1 to 4"))
}

fn trailing(d: &Desk, more: &[u8]) -> Judgement {
    let publication = d.publication(Kind::Mapping)?;
    d.refused(&publication.key, &[&publication.value, more].concat(), d.now, "malformed", "truncated")
}

fn cut(d: &Desk, octets: usize) -> Judgement {
    let publication = d.publication(Kind::Mapping)?;
    let value = &publication.value[..publication.value.len() - octets];
    d.refused(&publication.key, value, d.now, "malformed", "truncated")
}

fn critical_everywhere(d: &Desk) -> Judgement {
    let mut told = String::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Revocation) {
        told = d.refuses(kind, "malformed", "critical", |section| section.add(CRITICAL, b"must"))?;
    }
    d.refuses_value(Kind::Mapping, "malformed", "critical", |sections| sections[0].add(CRITICAL, b"must"))?;
    Ok(told)
}

fn beside_revocation(d: &Desk) -> Judgement {
    let (mapping, revocation) = (d.publication(Kind::Mapping)?, d.publication(Kind::Revocation)?);
    let value = [mapping.value, revocation.value].concat();
    d.refused(&revocation.key, &value, d.now, "malformed", "beside a REVOCATION")
}

/// Filled with an unknown element to its limit, and to one octet more.
fn size(d: &Desk, kind: Kind, limit: usize) -> Judgement {
    let publication = d.publication(kind)?;
    let sections = crate::suite::person::split(&publication.value)?;
    let held = sections.last().map_or(0, |section| section.signed(&d.one.key, &publication.key).len());
    let room = limit - held - 4;
    d.takes(kind, |section| section.add(UNKNOWN, &vec![7; room]))?;
    d.refuses(kind, "section-too-large", "octets", |section| section.add(UNKNOWN, &vec![7; room + 1]))
}

fn identity_size(d: &Desk) -> Judgement {
    let publication = d.publication(Kind::Mapping)?;
    let sections = crate::suite::person::split(&publication.value)?;
    let room = 4096 - sections[0].signed(&d.one.key, &publication.key).len() - 4;
    let value = d.one.changed(&publication, |sections| sections[0].add(UNKNOWN, &vec![7; room]))?;
    d.verify(&publication.key, &value, d.now).map_err(broken)?;
    d.refuses_value(Kind::Mapping, "section-too-large", "Identity", |v| v[0].add(UNKNOWN, &vec![7; room + 1]))
}

fn lifetime(d: &Desk, kind: Kind, most: u32) -> Judgement {
    d.takes(kind, |section| section.put(at::LIFETIME, &long(most)))?;
    d.refuses(kind, "lifetime", "above the limit", |section| section.put(at::LIFETIME, &long(most + 1)))
}

fn ahead(d: &Desk) -> Judgement {
    let publication = d.publication(Kind::Mapping)?;
    let then = d.now - seconds(120);
    d.verify(&publication.key, &publication.value, then).map_err(broken)?;
    let earlier = then - std::time::Duration::from_millis(1);
    d.refused(&publication.key, &publication.value, earlier, "from-the-future", "signed in the future")
}

fn end(d: &Desk) -> Judgement {
    let publication = d.publication(Kind::Mapping)?;
    let end = d.now + seconds(3600);
    let before = end - std::time::Duration::from_millis(1);
    d.verify(&publication.key, &publication.value, before).map_err(broken)?;
    d.refused(&publication.key, &publication.value, end, "expired", "Mapping")
}
