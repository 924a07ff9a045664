// SPDX-License-Identifier: GPL-2.0-or-later
//! What is dropped and must be logged (RFC 9301, sections 5.1 and 5.6; RFC 9302, section 5; RFC 9306; RFC 9437, section 4).

use std::time::Duration;

use crate::common::*;
use crate::log::logged;
use mapsys::limits::{LIVE_MORE_SPECIFICS, LOG_PAUSE};
use mapsys::refusal::Refusal;
use mapsys::register::site::{Site, SitePrefix};
use wire::address::{Eid, Lcaf};
use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::{ControlMessage, Ecm, EidRequest, MapNotify, MapRegister, MapRequest, Nonce, XtrIdentity};
use wire::record::{MapVersion, MappingRecord};

const ETR: &str = "198.51.100.1:4342";
const ITR: &str = "192.0.2.1:5000";
const SITE: &str = "2001:db8:a::/48";

fn bench() -> Bench {
    Bench::new(config(vec![site("a", 1, "secret", &[prefix(SITE)])]))
}

fn sealed(nonce: u64, record: MappingRecord) -> Vec<u8> {
    seal(register(nonce, vec![record]), &key(1, Algorithm::HmacSha256, "secret"))
}

fn asked() -> Vec<u8> {
    ecm(&request(1, &[host("2001:db8:a::2")], &["192.0.2.1"]))
}

/// What a datagram that nothing may come of leaves in the log.
fn dropped(bytes: &[u8], refusal: Refusal) -> String {
    let mut bench = bench();
    let lines = logged(|| assert_eq!(bench.datagram(ITR, bytes), []));
    assert_eq!(bench.only_refused(refusal), 1);
    lines.join("\n")
}

/// A question about an EID that is an LCAF of this type, which our encoder would not make of every type.
fn about(kind: u8) -> Vec<u8> {
    let body = [0, 0, 0, 0x5e, 1];
    let lcaf = Lcaf::Opaque { flags: 0, kind: 200, rsvd2: 0, body: body.into() };
    let records = vec![EidRequest { notify: false, eid: Eid { address: lcaf.into(), mask_len: 32 } }];
    let asked = MapRequest { records, ..request(1, &[host("2001:db8:a::2")], &["192.0.2.1"]) };
    let mut message = asked.encode().unwrap();
    // Behind the Type are Rsvd2, the Length and the body.
    let at = message.len() - body.len() - 4;
    assert_eq!(message[at], 200);
    message[at] = kind;
    Ecm::wrap(address("192.0.2.1:61000"), address("192.0.2.53:4342"), message).encode().unwrap()
}

#[test]
fn an_unknown_afi_is_logged() {
    let inner = Ecm::decode(&asked()).unwrap();
    let mut message = inner.message.clone();
    let at = message.len() - 18;
    message[at..at + 2].copy_from_slice(&0x7777_u16.to_be_bytes());
    let bytes = Ecm::wrap(inner.source, inner.destination, message).encode().unwrap();
    let log = dropped(&bytes, Refusal::Malformed);
    let expected = "WARN message malformed from=192.0.2.1:5000 error=AFI at offset 22: value 30583 not allowed";
    assert!(log.lines().any(|line| line == expected), "{log}");
}

#[test]
fn an_eid_of_an_unknown_lcaf_type_is_dropped_and_logged() {
    let log = dropped(&about(200), Refusal::RequestEidNotIp);
    let expected = "WARN message refused from=192.0.2.1:5000 reason=\"request-eid-not-ip\"";
    assert!(log.lines().any(|line| line == expected), "{log}");
}

#[test]
fn a_vendors_lcaf_is_dropped_and_logged() {
    let log = dropped(&about(255), Refusal::Malformed);
    assert!(log.contains("WARN message malformed"), "{log}");
}

#[test]
fn the_i_bit_without_its_octets_is_logged() {
    let inner = Ecm::decode(&asked()).unwrap();
    let mut message = inner.message.clone();
    message[1] |= 0x10;
    let bytes = Ecm::wrap(inner.source, inner.destination, message).encode().unwrap();
    let log = dropped(&bytes, Refusal::Malformed);
    assert!(log.contains("WARN message malformed"), "{log}");
}

#[test]
fn a_flood_of_bad_messages_is_a_line_of_each_kind_that_says_how_many_were_left_out() {
    let mut bench = bench();
    let unencapsulated = request(1, &[host("2001:db8:a::2")], &["192.0.2.1"]).encode().unwrap();
    let cut = &asked()[..40];
    let flood = |bench: &mut Bench| {
        warnings(|| {
            for message in [cut, &unencapsulated, &about(200), &about(255)] {
                (0..100).for_each(|_| assert_eq!(bench.datagram(ITR, message), []));
            }
        })
    };
    let lines = flood(&mut bench);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[1], "WARN message refused from=192.0.2.1:5000 reason=\"request-not-encapsulated\"");
    drop(bench.pass(LOG_PAUSE));
    let again = flood(&mut bench);
    let counted: Vec<_> =
        lines.iter().zip([199, 99, 99]).map(|(line, more)| format!("{line} left_out={more}")).collect();
    assert_eq!(again, counted);
}

#[test]
fn late_answers_and_what_is_beyond_a_bound_are_no_warnings() {
    let mut bench = bench();
    bench.datagram(ETR, &sealed(1, record(prefix(SITE), &["198.51.100.1"])));
    let record = record(prefix(SITE), &["198.51.100.1"]);
    let late = MapNotify { nonce: Nonce(1), records: vec![record], ..MapNotify::default() };
    let key = key(1, Algorithm::HmacSha256, "secret");
    let unasked = auth::seal(&ControlMessage::MapNotifyAck(late), &key, TagForm::Truncated).unwrap();
    let lines = warnings(|| {
        assert_eq!(bench.datagram(ETR, &unasked), []);
        (0..1000).for_each(|_| drop(bench.datagram(ITR, &asked())));
    });
    assert_eq!(bench.engine.tally().get(Refusal::NotifyAckUnasked), 1);
    assert!(bench.engine.tally().get(Refusal::ReplyRate) > 0);
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn a_replayed_map_register_is_logged() {
    let mut bench = bench();
    bench.datagram(ETR, &sealed(5, record(prefix(SITE), &["198.51.100.1"])));
    let lines = logged(|| assert_eq!(bench.datagram(ETR, &sealed(4, record(prefix(SITE), &["198.51.100.9"]))), []));
    let expected = "WARN Map-Register replayed site=\"a\" eid=2001:db8:a::/48 from=198.51.100.1:4342 nonce=4";
    assert!(lines.iter().any(|line| line == expected), "{lines:?}");
}

#[test]
fn an_older_map_version_is_logged() {
    let versioned = |nonce, version| {
        sealed(nonce, MappingRecord { map_version: MapVersion(version), ..record(prefix(SITE), &["198.51.100.1"]) })
    };
    let mut bench = bench();
    bench.datagram(ETR, &versioned(1, 9));
    let lines = logged(|| assert_eq!(bench.datagram(ETR, &versioned(2, 8)), []));
    assert!(lines.iter().any(|line| line.starts_with("WARN Map-Register with an older Map-Version")), "{lines:?}");
}

fn warnings(run: impl FnOnce()) -> Vec<String> {
    logged(run).into_iter().filter(|line| line.starts_with("WARN")).collect()
}

#[test]
fn a_map_register_with_a_wrong_key_is_logged_with_its_site_eid_and_source_and_shown() {
    let mut bench = bench();
    let wrong = |nonce| {
        seal(
            register(nonce, vec![record(prefix(SITE), &["198.51.100.1"])]),
            &key(1, Algorithm::HmacSha256, "a typing error"),
        )
    };
    let lines = warnings(|| assert_eq!(bench.datagram(ETR, &wrong(1)), []));
    let expected = "WARN Map-Register refused site=\"a\" eid=2001:db8:a::/48 from=198.51.100.1:4342 \
                    reason=\"register-bad-tag\"";
    assert_eq!(lines, [expected]);
    let (id, _) = bench.engine.server().sites().iter().next().unwrap();
    let last = bench.engine.server().last_refused(id).unwrap();
    assert_eq!((last.refusal, last.eid), (Refusal::RegisterBadTag, Some(prefix(SITE).into())));
    assert_eq!((last.from, last.at), (address(ETR), bench.now.monotonic));

    // A flood of them, of this site and of none.
    let lines = warnings(|| {
        for nonce in 0..1000 {
            bench.datagram("198.51.100.9:4342", &wrong(nonce));
            bench.datagram("198.51.100.9:4342", &sealed(nonce, record(prefix("2001:db8:b::/48"), &["198.51.100.1"])));
        }
    });
    let expected = "WARN Map-Register refused eid=2001:db8:b::/48 from=198.51.100.9:4342 \
                    reason=\"register-eid-not-configured\"";
    assert_eq!(lines, [expected], "the other one was named already");
    let lines = warnings(|| drop(bench.pass(LOG_PAUSE)));
    assert_eq!(lines, ["WARN more Map-Registers refused messages=1999"]);
    assert_eq!(bench.engine.server().last_refused(id).unwrap().from, address("198.51.100.9:4342"));
}

#[test]
fn a_more_specific_for_which_there_is_no_room_is_logged() {
    let whole = SitePrefix { prefix: prefix(SITE), max_len: 64 };
    let mut bench = Bench::new(config(vec![Site { prefixes: vec![whole], ..site("a", 1, "secret", &[]) }]));
    let mut one = |number: usize| {
        let inner = prefix(&format!("2001:db8:a:{number:x}::/64"));
        bench.datagram(ETR, &sealed(number as u64, record(inner, &["198.51.100.1"])));
    };
    let lines = warnings(|| (1..=LIVE_MORE_SPECIFICS).for_each(&mut one));
    assert_eq!(lines, Vec::<String>::new());
    let lines = warnings(|| one(LIVE_MORE_SPECIFICS + 1));
    let expected = "WARN Map-Register refused site=\"a\" eid=2001:db8:a:101::/64 from=198.51.100.1:4342 \
                    reason=\"register-table-full\"";
    assert_eq!(lines, [expected]);
}

/// Two xTRs that merge register as much, and neither acknowledges what it is told of the other.
#[test]
fn map_notifies_that_nobody_acknowledges_are_a_few_lines_that_say_how_many_there_were() {
    const EACH: u64 = 250;
    let names = ["a", "b"];
    let sites = names.map(|name| {
        let whole = SitePrefix { prefix: prefix(&format!("2001:db8:{name}::/48")), max_len: 64 };
        Site { prefixes: vec![whole], ..site(name, 1, "secret", &[]) }
    });
    let mut bench = Bench::new(config(sites.to_vec()));
    let told = |bench: &mut Bench, numbers: std::ops::RangeInclusive<u64>| {
        for number in numbers {
            for (name, xtr) in names.iter().flat_map(|name| [(name, 1_u8), (name, 2)]) {
                let (from, inner) = (format!("198.51.100.{xtr}"), prefix(&format!("2001:db8:{name}:{number:x}::/64")));
                let xtr_identity = Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 });
                let register = register(number, vec![record(inner, &[&from])]);
                let message = MapRegister { merge: true, xtr_identity, ..register };
                bench.datagram(&format!("{from}:4342"), &seal(message, &key(1, Algorithm::HmacSha256, "secret")));
            }
        }
        drop(bench.pass(Duration::from_secs(100)));
    };
    let lines = logged(|| {
        told(&mut bench, 1..=EACH);
        told(&mut bench, EACH + 1..=EACH + 1);
    });
    let unacknowledged = bench.engine.tally().get(Refusal::NotifyUnacknowledged);
    assert!(unacknowledged > 2 * EACH, "{unacknowledged}");
    let lines: Vec<_> = lines.iter().filter(|line| line.starts_with("INFO Map-Notify not acknowledged")).collect();
    assert!((2..=10).contains(&lines.len()), "{lines:?}");
    let said: u64 = lines.iter().filter_map(|line| line.split_once("left_out=")?.1.parse::<u64>().ok()).sum();
    assert!(said + 10 > 2 * EACH, "{said} of {unacknowledged}: {lines:?}");
}
