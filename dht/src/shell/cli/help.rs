// SPDX-License-Identifier: GPL-2.0-or-later
//! What the help says below the flags, and the manual beside it.

use program::{Entries, Manual, STATUS};

pub(super) const PROGRAM: &str = "\
Examples:
  lisp-dht node --identity CN.op.p12 --password-file pw --state-dir /var/lib/lisp-dht
  lisp-dht put --identity CN.op.p12 --rloc 192.0.2.1 --rloc 2001:db8::1,priority=2 --bootstrap 192.0.2.9:43420
  lisp-dht put --revocation CN.revoke --bootstrap 192.0.2.9:43420
  lisp-dht get 3fff:ce1:1234:5678:9abc:def0:1234:5678 --verify --bootstrap 192.0.2.9:43420
  lisp-dht index 2001:db8::/32 --identity ANCHOR.op.p12 --delegate 2001:db8:a::/48=CN,max-plen=64 --bootstrap 192.0.2.9:43420
  lisp-dht index 2001:db8::/32 --identity ANCHOR.op.p12 --delegations sites.txt --every --bootstrap 192.0.2.9:43420
  lisp-dht resolve 2001:db8:a::1 --trust-anchor 2001:db8::/32=CN --bootstrap 192.0.2.9:43420 --json
  lisp-dht point 52.5200,13.4050,34 48.1374,11.5755,519
  lisp-dht map 000102030405060708090a0b 0c0d0e0f1011121314151617 --bootstrap 192.0.2.9:43420
  lisp-dht crawl --bootstrap 192.0.2.9:43420 --rounds 5 --for 60 --json=crawl.json
  lisp-dht stats --state-dir /var/lib/lisp-dht
  lisp-dht lab --nodes 24 --kill 0.5
  lisp-dht sim hostile churn --nodes 1000 --seed 7

Every flag, but for those of `sim`, has a key of the same name in the file given by --config, and a variable LISP_DHT_<NAME>: flags win over \
the environment, which wins over the file. Several values in a variable: [\"A\",\"B\"].

Exit codes: 0 what was asked held, 1 it did not, 2 wrong usage or configuration, 3 the machine lacks something.";

pub(super) const PUTTING: &str = "\
Examples:
  lisp-dht put --identity CN.op.p12 --rloc 192.0.2.1 --service 192.0.2.1:43420,boot,mr --ptr host.example.net --bootstrap 192.0.2.9:43420
  lisp-dht put --identity CN.op.p12 --alternate 3fff:ce1:1234:5678:9abc:def0:1234:5678 --pref64 2001:db8:64::/96 --bootstrap 192.0.2.9:43420
  lisp-dht put --identity CN.op.p12 --position 52.5200,13.4050 --neighbour 000102030405060708090a0b,medium=radio,metric=256,loss=0.5,rate=54000 --bootstrap 192.0.2.9:43420
  lisp-dht put --identity CN.op.p12 --terminal 52.5201,13.4051,61.5,medium=laser,wavelength=1550,azimuth=271.5,elevation=0.4,reach=15 --bootstrap 192.0.2.9:43420
  lisp-dht put --identity CN.op.p12 --withdraw=topology,service --bootstrap 192.0.2.9:43420

A mapping holds for an hour, neighbours and places (TOPOLOGY) for two, services, alternates, NAT64 and names (SERVICE) for two \
days. Each of the three is published whole: what was said before in it and is not said again is gone. A position is the \
centre of a cell of about 300 m, the same one for everybody in it; a terminal tells exactly where it is.

Revocation:
  lisp-dht put --revocation CN.revoke --bootstrap 192.0.2.9:43420

The file was written by `cgeid new` or `cgeid revoke`; no key is needed, and anybody who has the file can publish it. It \
cannot be taken back. Nodes keep it for 30 days after it was last put and do not put it again by themselves: put it again \
each month.

Bundle:
  lisp-dht put --bundle mapping.bundle --bootstrap 192.0.2.9:43420
  lisp-dht put --bundle forged.bundle --unchecked --bootstrap 192.0.2.9:43420

A bundle was signed elsewhere, and anybody may carry it. It is checked first; --unchecked sends what stores must refuse.";

pub(super) const DELEGATING: &str = "\
Examples:
  lisp-dht index 2001:db8::/32 --identity ANCHOR.op.p12 --delegate 2001:db8:a::/48=000102030405060708090a0b --bootstrap 192.0.2.9:43420
  lisp-dht index 2001:db8::/32 --identity ANCHOR.op.p12 --delegations sites.txt --dry-run
  lisp-dht index 2001:db8::/32 --identity ANCHOR.op.p12 --delegations sites.txt --every --bootstrap 192.0.2.9:43420

Delegations:
  2001:db8:a::/48=CN               a site, and the CN of its registrar, who signs where it is reached
  2001:db8:b::/48=CN+CN            a site with several registrars, up to four: the newest word of them counts
  2001:db8:c::/48=CN,max-plen=64   the registrar may list more-specifics of the site, down to /64
  2001:db8:8000::/33=CN,child      another writer delegates inside of this prefix, with pages of its own

The file of --delegations has one of them a line; # begins a comment. What does not fit one page is split into sub-pages. Only \
what changed is put, and what is due for renewal: what is published is remembered in --state-dir, or beside the identity.";

pub(super) const POINTING: &str = "\
Examples:
  lisp-dht point 52.5200,13.4050,34 48.1374,11.5755,519
  lisp-dht point 000102030405060708090a0b#1 3fff:ce1:1234:5678:9abc:def0:1234:5678 --bootstrap 192.0.2.9:43420 --json

Degrees are those of WGS84, altitudes metres above its ellipsoid; an altitude that is not known counts as 0. Of a CGEID the \
terminal with the lowest number is taken, or the one after #, or else its position, which is usually blurred.";

pub(super) const MAPPING: &str = "\
Examples:
  lisp-dht map 000102030405060708090a0b 0c0d0e0f1011121314151617 --format geojson --bootstrap 192.0.2.9:43420
  lisp-dht map crawl.json --json=map.geojson

A file has the form {\"nodes\":[{\"cn\":CN,\"record\":HEX}]}, with \"at\" (seconds since 1970) if it is to be judged by the time at \
which it was made. Records whose signatures do not hold, or that have expired, are left out.";

pub(super) const GETTING: &str = "\
Examples:
  lisp-dht get 3fff:ce1:1234:5678:9abc:def0:1234:5678 --verify --bootstrap 192.0.2.9:43420
  lisp-dht get 000102030405060708090a0b --bootstrap 192.0.2.9:43420 --json";

pub(super) const RESOLVING: &str = "\
Examples:
  lisp-dht resolve 2001:db8:a::1 --trust-anchor 2001:db8::/32=000102030405060708090a0b --bootstrap 192.0.2.9:43420
  lisp-dht resolve 10.1.2.3 --iid 5 --trust-anchor [5]10.0.0.0/8=000102030405060708090a0b --bootstrap 192.0.2.9:43420 --json
  lisp-dht resolve 3fff:ce1:1234:5678:9abc:def0:1234:5678 --bootstrap 192.0.2.9:43420

A CGEID needs no trust anchor. Exit code 0: there is a mapping; 1: none was found, or it is proven that there is none.";

pub(super) const COUNTING: &str = "\
Examples:
  lisp-dht stats --state-dir /var/lib/lisp-dht
  lisp-dht stats --control /run/lisp-dht.sock --json";

pub(super) const MODELLING: &str = "\
Examples:
  lisp-dht sim
  lisp-dht sim hostile churn --nodes 1000 --seed 7 --json=model.json
  lisp-dht sim --check-against bench.json";

/// For the pages of `man`.
pub(super) const MANUAL: Manual = Manual { status: STATUS, files: FILES, environment: ENVIRONMENT };

const FILES: Entries = &[
    (
        "F.toml",
        "Settings, read if --config names the file: a key for each flag. lisp-dht.example.toml of the source shows all of them.",
    ),
    ("<CN>.op.p12", "The operational key of --identity, as cgeid new and cgeid delegate write it."),
    ("<CN>.revoke", "The revocation that put --revocation publishes."),
    ("records.redb", "In the folder of --state-dir: the records that a node stores."),
    ("node.peers", "Beside it: peers of the last run, by which the next one finds the network."),
    ("node.pins", "Beside it: the full fingerprint of every key met."),
    ("control.sock", "Beside it: the socket at which the running node answers, unless --control names another."),
];
const ENVIRONMENT: Entries = &[
    ("LISP_DHT_<NAME>", "What the flag --name would say; LISP_DHT_CONFIG is that of --config."),
    (
        "LISP_DHT_LOG",
        "What is logged to standard error, as in dht=debug; each part of the program may have a level of its own.",
    ),
    ("CGEID_PASSWORD", "The password of the identity, if --password-file does not name one."),
];
