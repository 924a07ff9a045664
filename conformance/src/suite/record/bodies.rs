// SPDX-License-Identifier: GPL-2.0-or-later
//! The elements of MAPPING, TOPOLOGY, SERVICE, REVOCATION and PREFIX.

use std::collections::BTreeMap;

use dht::geo::mutual_links;
use dht::memory;
use dht::publish::Statement;
use dht::record::{Neighbour, Quality, Service, Topology};
use dht::resolve::{Anchors, Outcome, Resolver};
use wire::address::{EidPrefix, InstanceId};

use super::{Desk, Kind};
use crate::suite::person::{LAB, Person, at, mapping};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must};

const MAPPING: &str = "lisp-signed-dht 5.2";
const TOPOLOGY: &str = "lisp-signed-dht 5.3";
const SERVICE: &str = "lisp-signed-dht 5.4";
const REVOCATION: &str = "lisp-signed-dht 5.5";
const PREFIX: &str = "lisp-signed-dht 5.6";

const RLOC: u16 = 0x0201;
const TTL: u16 = 0x0202;
const VERSION: u16 = 0x0203;
const SESSION: u16 = 0x0204;
const NEIGHBOUR: u16 = 0x0301;
const GEO: u16 = 0x0302;
const TERMINAL: u16 = 0x0303;
const ADDRESS: u16 = 0x0401;
const ALTERNATE: u16 = 0x0402;
const PREF64: u16 = 0x0403;
const PTR: u16 = 0x0404;
const REASON: u16 = 0x0501;
const EID: u16 = 0x0601;
const SITE: u16 = 0x0602;
const MAP_SERVER: u16 = 0x0603;

/// A locator at 198.51.100.`last`.
const fn locator(last: u8) -> [u8; 12] {
    [1, 100, 255, 0, 0, 3, 0, 1, 198, 51, 100, last]
}

/// A public address 198.51.100.`last` with these roles.
const fn address(last: u8, roles: u8) -> [u8; 10] {
    [0, 1, 198, 51, 100, last, 0, 0, 0, roles]
}

pub(super) const PROBES: &[Probe<Desk>] = &[
    must("RC-11.01", MAPPING, "32 locators, and one more", |d| {
        let more = |count: u8| move |s: &mut super::Raw| (1..count).for_each(|last| s.add(RLOC, &locator(last)));
        d.takes(Kind::Mapping, more(32))?;
        d.refuses(Kind::Mapping, "malformed", "locators: too many", more(33))
    }),
    must("RC-11.02", MAPPING, "a locator with a port, and one with the port 0", |d| {
        d.takes(Kind::Mapping, |s| s.value(RLOC).extend([0x10, 0]))?;
        d.refuses(Kind::Mapping, "malformed", "canonical", |s| s.value(RLOC).extend([0, 0]))
    }),
    must("RC-11.03", MAPPING, "a locator with a reserved flag", |d| {
        d.refuses(Kind::Mapping, "malformed", "RLOC flags", |s| s.value(RLOC)[5] = 0x20)
    }),
    must("RC-11.04", MAPPING, "a locator of a family that is not IP", |d| {
        d.refuses(Kind::Mapping, "malformed", "RLOC", |s| s.value(RLOC)[7] = 3)
    }),
    must("RC-11.05", MAPPING, "a locator of three octets of address", |d| {
        d.refuses(Kind::Mapping, "malformed", "truncated", |s| _ = s.value(RLOC).pop())
    }),
    must("RC-11.06", MAPPING, "a locator with something behind its port", |d| {
        d.refuses(Kind::Mapping, "malformed", "trailing", |s| s.value(RLOC).extend([1, 1, 1]))
    }),
    must("RC-11.07", MAPPING, "no TTL", |d| d.refuses(Kind::Mapping, "malformed", "TTL missing", |s| s.remove(TTL))),
    must("RC-11.08", MAPPING, "two TTLs", |d| {
        d.refuses(Kind::Mapping, "malformed", "TTL: too many", |s| s.add(TTL, &[0, 0, 0, 1]))
    }),
    must("RC-11.09", MAPPING, "a TTL of three octets", |d| {
        d.refuses(Kind::Mapping, "malformed", "TTL: length", |s| *s.value(TTL) = vec![0, 0, 1])
    }),
    must("RC-11.10", MAPPING, "map-version 4095, and 4096", |d| {
        d.takes(Kind::Mapping, |s| s.add(VERSION, &[0x0f, 0xff]))?;
        d.refuses(Kind::Mapping, "malformed", "map-version", |s| s.add(VERSION, &[0x10, 0]))
    }),
    must("RC-11.11", MAPPING, "a session key, and one that is an octet short", |d| {
        d.takes(Kind::Mapping, |s| s.add(SESSION, &[7; 34]))?;
        d.refuses(Kind::Mapping, "malformed", "session key", |s| s.add(SESSION, &[7; 33]))
    }),
    must("RC-11.12", MAPPING, "two session keys", |d| {
        d.refuses(Kind::Mapping, "malformed", "session key: too many", |s| {
            s.add(SESSION, &[7; 34]);
            s.add(SESSION, &[8; 34]);
        })
    }),
    must("RC-11.13", MAPPING, "withdrawn", |d| d.takes(Kind::Mapping, |s| s.put(at::FLAGS, &[0, 2]))),
    must("RC-12.01", TOPOLOGY, "metric 65534, and infinity", |d| {
        d.takes(Kind::Topology, |s| s.value(NEIGHBOUR)[13..15].copy_from_slice(&[0xff, 0xfe]))?;
        d.refuses(Kind::Topology, "malformed", "metric", |s| {
            s.value(NEIGHBOUR)[13..15].copy_from_slice(&[0xff, 0xff]);
        })
    }),
    must("RC-12.02", TOPOLOGY, "loss of 100 %, and a hundredth more", |d| {
        d.takes(Kind::Topology, |s| s.value(NEIGHBOUR)[15..17].copy_from_slice(&10_000_u16.to_be_bytes()))?;
        d.refuses(Kind::Topology, "malformed", "loss", |s| {
            s.value(NEIGHBOUR)[15..17].copy_from_slice(&10_001_u16.to_be_bytes());
        })
    }),
    must("RC-12.03", TOPOLOGY, "one neighbour twice by one medium", |d| {
        d.refuses(Kind::Topology, "malformed", "neighbour: too many", |s| {
            let mut again = s.value(NEIGHBOUR).clone();
            again[14] ^= 1;
            s.add(NEIGHBOUR, &again);
        })
    }),
    must("RC-12.04", TOPOLOGY, "one neighbour by two media", |d| {
        d.takes(Kind::Topology, |s| {
            let mut again = s.value(NEIGHBOUR).clone();
            again[12] = 4;
            s.add(NEIGHBOUR, &again);
        })
    }),
    must("RC-12.05", TOPOLOGY, "64 neighbours, and one more", |d| {
        let more = |count: u8| {
            move |s: &mut super::Raw| {
                s.remove(TERMINAL);
                (1..count).for_each(|number| {
                    s.add(NEIGHBOUR, &[number; 13].iter().copied().chain([0; 8]).collect::<Vec<_>>())
                });
            }
        };
        d.takes(Kind::Topology, more(64))?;
        d.refuses(Kind::Topology, "malformed", "neighbour: too many", more(65))
    }),
    must("RC-12.06", TOPOLOGY, "a neighbour that is an octet short", |d| {
        d.refuses(Kind::Topology, "malformed", "neighbour", |s| _ = s.value(NEIGHBOUR).pop())
    }),
    must("RC-12.07", TOPOLOGY, "91 degrees of latitude", |d| {
        d.refuses(Kind::Topology, "malformed", "position", |s| {
            s.value(GEO)[..4].copy_from_slice(&910_000_000_i32.to_be_bytes());
        })
    }),
    must("RC-12.08", TOPOLOGY, "181 degrees of longitude", |d| {
        d.refuses(Kind::Topology, "malformed", "position", |s| {
            s.value(GEO)[4..8].copy_from_slice(&1_810_000_000_i32.to_be_bytes());
        })
    }),
    must("RC-12.09", TOPOLOGY, "the antimeridian by its other name", |d| {
        let meridian =
            |degrees: i32| move |s: &mut super::Raw| s.value(GEO)[4..8].copy_from_slice(&degrees.to_be_bytes());
        d.takes(Kind::Topology, meridian(1_800_000_000))
            .or_else(|_| d.takes(Kind::Topology, meridian(-1_800_000_000)))?;
        d.refuses(Kind::Topology, "malformed", "canonical", meridian(-1_800_000_000))
            .or_else(|_| d.refuses(Kind::Topology, "malformed", "canonical", meridian(1_800_000_000)))
    }),
    must("RC-12.10", TOPOLOGY, "two positions", |d| {
        d.refuses(Kind::Topology, "malformed", "too many", |s| {
            let mut again = s.value(GEO).clone();
            again[16] = 1;
            s.add(GEO, &again);
        })
    }),
    must("RC-12.11", TOPOLOGY, "a terminal that looks 360 degrees from north", |d| {
        d.refuses(Kind::Topology, "malformed", "terminal direction", |s| {
            s.value(TERMINAL)[26..28].copy_from_slice(&36_000_u16.to_be_bytes());
        })
    }),
    must("RC-12.12", TOPOLOGY, "a terminal that looks 91 degrees up", |d| {
        d.refuses(Kind::Topology, "malformed", "terminal direction", |s| {
            s.value(TERMINAL)[28..30].copy_from_slice(&9100_i16.to_be_bytes());
        })
    }),
    must("RC-12.13", TOPOLOGY, "two terminals of one number", |d| {
        d.refuses(Kind::Topology, "malformed", "terminal: too many", |s| {
            let mut again = s.value(TERMINAL).clone();
            again[1] = 3;
            s.add(TERMINAL, &again);
        })
    }),
    must("RC-12.14", TOPOLOGY, "8 terminals, and one more", |d| {
        let more = |count: u8| {
            move |s: &mut super::Raw| {
                for number in 2..=count {
                    let mut again = s.value(TERMINAL).clone();
                    again[0] = number;
                    s.add(TERMINAL, &again);
                }
            }
        };
        d.takes(Kind::Topology, more(8))?;
        d.refuses(Kind::Topology, "malformed", "terminal: too many", more(9))
    }),
    must("RC-12.15", TOPOLOGY, "a link that one end names, and one that both do", links),
    must("RC-13.01", SERVICE, "an address without a role", |d| {
        d.refuses(Kind::Service, "malformed", "role of a public address", |s| s.value(ADDRESS)[9] = 0)
            .or_else(|_| d.refuses(Kind::Service, "malformed", "role", |s| *s.value(ADDRESS) = address(1, 0).to_vec()))
    }),
    must("RC-13.02", SERVICE, "a multicast address", |d| {
        d.refuses(Kind::Service, "malformed", "public address", |s| s.value(ADDRESS)[2] = 224)
    }),
    must("RC-13.03", SERVICE, "the unspecified address", |d| {
        d.refuses(Kind::Service, "malformed", "public address", |s| s.value(ADDRESS)[2..6].fill(0))
    }),
    must("RC-13.04", SERVICE, "one address twice", |d| {
        d.refuses(Kind::Service, "malformed", "public address: too many", |s| {
            s.add(ADDRESS, &address(1, 1));
            s.add(ADDRESS, &address(1, 2));
        })
    }),
    must("RC-13.05", SERVICE, "16 addresses, and one more", |d| {
        let more = |count: u8| move |s: &mut super::Raw| (1..count).for_each(|last| s.add(ADDRESS, &address(last, 1)));
        d.takes(Kind::Service, more(16))?;
        d.refuses(Kind::Service, "malformed", "public address: too many", more(17))
    }),
    must("RC-13.06", SERVICE, "a role that is not known", |d| d.takes(Kind::Service, |s| s.value(ADDRESS)[8] = 0x80)),
    must("RC-13.07", SERVICE, "4 alternates, and one more", |d| {
        let more = |count: u8| move |s: &mut super::Raw| (1..count).for_each(|one| s.add(ALTERNATE, &[one; 12]));
        d.takes(Kind::Service, more(4))?;
        d.refuses(Kind::Service, "malformed", "alternate: too many", more(5))
    }),
    must("RC-13.08", SERVICE, "an alternate of 11 octets", |d| {
        d.refuses(Kind::Service, "malformed", "alternate: length", |s| *s.value(ALTERNATE) = vec![1; 11])
    }),
    must("RC-13.09", SERVICE, "a NAT64 prefix of 33 bits", |d| {
        d.refuses(Kind::Service, "malformed", "", |s| *s.value(PREF64) = vec![33, 0x20, 1, 0xd, 0xb8, 0])
    }),
    must("RC-13.10", SERVICE, "a NAT64 prefix with bits 64 to 71 set", |d| {
        d.refuses(Kind::Service, "malformed", "", |s| s.value(PREF64)[9] = 1)
    }),
    must("RC-13.11", SERVICE, "4 NAT64 prefixes, and one more", |d| {
        let more =
            |count: u8| move |s: &mut super::Raw| (1..count).for_each(|one| s.add(PREF64, &[32, 0x20, 1, 0xd, one]));
        d.takes(Kind::Service, more(4))?;
        d.refuses(Kind::Service, "malformed", "NAT64 prefix: too many", more(5))
    }),
    must("RC-13.12", SERVICE, "two names", |d| {
        d.refuses(Kind::Service, "malformed", "name: too many", |s| s.add(PTR, b"\x01a\x00"))
    }),
    must("RC-13.13", SERVICE, "a name in capitals", |d| {
        d.refuses(Kind::Service, "malformed", "host name", |s| *s.value(PTR) = b"\x04Host\x00".to_vec())
    }),
    must("RC-13.14", SERVICE, "a name that points, one without end, one of nothing, one beyond 255 octets", |d| {
        d.refuses(Kind::Service, "malformed", "label", |s| *s.value(PTR) = vec![0xc0, 0x0c])?;
        d.refuses(Kind::Service, "malformed", "truncated", |s| *s.value(PTR) = b"\x04host".to_vec())?;
        d.refuses(Kind::Service, "malformed", "label", |s| *s.value(PTR) = vec![0])?;
        d.refuses(Kind::Service, "malformed", "host name", |s| {
            *s.value(PTR) = [&b"\x01a".repeat(128)[..], &[0]].concat()
        })
    }),
    must("RC-13.15", SERVICE, "an alternate that does not name its writer, and one that does", alternates),
    must("RC-14.1", REVOCATION, "a lifetime of another length", |d| {
        d.refuses(Kind::Revocation, "lifetime", "", |s| s.put(at::LIFETIME, &3600_u32.to_be_bytes()))
    }),
    must("RC-14.2", REVOCATION, "an epoch", |d| {
        d.refuses(Kind::Revocation, "epoch", "", |s| s.put(at::EPOCH, &[0, 0, 0, 1]))
    }),
    must("RC-14.3", REVOCATION, "not said to be by the identity key", |d| {
        d.refuses(Kind::Revocation, "flags", "", |s| s.put(at::FLAGS, &[0, 0]))
    }),
    must("RC-14.4", REVOCATION, "withdrawn", |d| {
        d.refuses(Kind::Revocation, "flags", "", |s| s.put(at::FLAGS, &[0, 3]))
    }),
    must("RC-14.5", REVOCATION, "an element more", |d| {
        d.refuses(Kind::Revocation, "malformed", "element of a REVOCATION", |s| s.add(0x05ff, &[1]))
    }),
    must("RC-14.6", REVOCATION, "another reason", |d| {
        d.refuses(Kind::Revocation, "signature", "", |s| s.value(REASON)[0] ^= 1)
    }),
    must("RC-14.7", REVOCATION, "another time", |d| {
        d.refuses(Kind::Revocation, "signature", "", |s| s.put(at::SEQUENCE, &[0; 8]))
    }),
    must("RC-14.8", REVOCATION, "signed as a record, by the operational key", |d| {
        d.refuses(Kind::Revocation, "signature", "", |s| s.signature = None)
    }),
    must("RC-14.9", REVOCATION, "made long ago, and years after the certificate's end", |d| {
        let publication = d.publication(Kind::Revocation)?;
        let later = d.now + crate::suite::person::seconds(40 * 365 * 86_400);
        let verified = d.verify(&publication.key, &publication.value, later).map_err(broken)?;
        expect(verified.is_revoked(), "to be taken; taken forty years later")
    }),
    must("RC-15.1", PREFIX, "no prefix", |d| d.refuses(Kind::Prefix, "malformed", "prefix missing", |s| s.remove(EID))),
    must("RC-15.2", PREFIX, "no site", |d| d.refuses(Kind::Prefix, "malformed", "site missing", |s| s.remove(SITE))),
    must("RC-15.3", PREFIX, "a bit beyond the prefix's length", |d| {
        d.refuses(Kind::Prefix, "malformed", "canonical", |s| {
            // /47 in place of /48, whose last bit is 0; and then that bit.
            s.value(EID)[6] = 43;
        })
    }),
    must("RC-15.4", PREFIX, "a site with a reserved flag", |d| {
        d.refuses(Kind::Prefix, "malformed", "site flags", |s| s.value(SITE)[0] = 2)
    }),
    must("RC-15.5", PREFIX, "8 xTR-IDs, and one more", |d| {
        let more = |count: u8| move |s: &mut super::Raw| (10..9 + count).for_each(|id| s.value(SITE).extend([id; 16]));
        d.takes(Kind::Prefix, more(8))?;
        d.refuses(Kind::Prefix, "malformed", "xTR-ID", more(9))
    }),
    must("RC-15.6", PREFIX, "xTR-IDs in the other order", |d| {
        d.refuses(Kind::Prefix, "malformed", "canonical", |s| s.value(SITE).extend([1; 16]))
    }),
    must("RC-15.7", PREFIX, "a third map-server", |d| {
        d.refuses(Kind::Prefix, "malformed", "map-server", |s| {
            s.add(MAP_SERVER, &[0, 1, 192, 0, 2, 54]);
            s.add(MAP_SERVER, &[0, 1, 192, 0, 2, 55]);
        })
    }),
    must("RC-15.8", PREFIX, "a prefix of IPv4", |d| {
        let publication = d.one.prefix(d.now, crate::suite::person::prefix("192.0.2.0/24")?, 1)?;
        d.verify(&publication.key, &publication.value, d.now).map_err(broken)?;
        Ok("to be taken; taken".to_owned())
    }),
    must("RC-15.9", PREFIX, "a map-server of the other family, and a second one of a family", |d| {
        let mut ipv6 = vec![0, 2, 0x20, 0x01, 0x0d, 0xb8];
        ipv6.resize(18, 0);
        d.takes(Kind::Prefix, |s| s.add(MAP_SERVER, &ipv6))?;
        d.refuses(Kind::Prefix, "malformed", "map-server", |s| s.add(MAP_SERVER, &[0, 1, 192, 0, 2, 54]))
    }),
];

fn links(d: &Desk) -> Judgement {
    let (one, two) = (d.one.key.cn(), d.two.key.cn());
    let there = d.topology()?;
    let neighbours = |quality: &Quality| {
        let named =
            there.neighbours.keys().map(|neighbour| (Neighbour { cn: one, medium: neighbour.medium }, *quality));
        named.collect::<BTreeMap<_, _>>()
    };
    let count = |back: &Topology| mutual_links(&BTreeMap::from([(one, &there), (two, back)])).len();
    let quality = there.neighbours.values().next().ok_or_else(|| broken("no neighbour"))?;
    let (silent, mutual) =
        (count(&Topology::default()), count(&Topology { neighbours: neighbours(quality), ..Topology::default() }));
    expect((silent, mutual) == (0, 1), format!("{silent} and {mutual} links, to be 0 and 1"))
}

fn alternates(d: &Desk) -> Judgement {
    let reached = |answers: bool| -> Result<usize, Fault> {
        let mut network = memory::Network::new(LAB, 8, 4);
        for (person, other, last) in [(&d.one, &d.two, 1), (&d.two, &d.one, 2)] {
            let alternates = if last == 1 || answers { [other.key.cn()].into() } else { [].into() };
            let service = Statement::service(Service { alternates, ..Service::default() });
            let publication = person.node(d.now, vec![Statement::mapping(mapping(last)), service])?;
            network.put(d.now, &publication.key, &publication.value).map_err(broken)?;
        }
        let eid: Person = Person::of_seed(1, d.now)?;
        let eid = EidPrefix::host(InstanceId(0), eid.key.address().into());
        match network.resolve(&mut Resolver::new(LAB, Anchors::default()), d.now, eid).0 {
            Outcome::Mapping(found) => Ok(found.mapping.locators.len()),
            other => Err(broken(format!("{other:?}"))),
        }
    };
    let (silent, mutual) = (reached(false)?, reached(true)?);
    expect((silent, mutual) == (1, 2), format!("{silent} and {mutual} locators, to be 1 and 2"))
}
