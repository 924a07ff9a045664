// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Register: what is taken, told, withdrawn, forgotten.

use std::time::Duration;

use mapsys::engine::{ConfigError, Engine, Mark, Memory, Output, Reconfiguration};
use mapsys::limit::Foreign;
use mapsys::refusal::Refusal;
use mapsys::register::site::SiteError;
use mapsys::subscribe::subscriber::Policy;
use wire::control::auth::{self, Accept, TagForm};
use wire::control::{ControlMessage, MapNotify};
use wire::record::{MapVersion, MappingRecord, Ttl};

use super::*;

#[test]
fn a_name_and_a_mac_address_are_registered_with_and_without_an_instance() {
    let eids = [name("printer"), mac("02:00:5e:00:00:01/48"), within(5, name("printer"))];
    for eid in eids {
        let mut bench = bench();
        let (to, told) = notify(&bench.datagram(ETR, &sealed(1, eid.clone(), RLOC)));
        assert_eq!((to, told.records[0].eid.clone()), (address(ETR), eid.clone()));
        let records = answer(&mut bench, 7, &eid);
        assert_eq!((records.len(), &records[0].eid, rlocs(&records[0])), (1, &eid, vec![RLOC.to_owned()]));
        assert!(!records[0].authoritative && !records[0].locators[0].local, "{records:?}");
        assert_eq!(bench.registered(), [], "no EID-prefix");
        assert_eq!(bench.engine.tally().total(), 0);
    }
}

#[test]
fn a_message_may_have_prefixes_names_and_mac_addresses_and_is_taken_whole_or_not_at_all() {
    let records = |last: Eid| {
        let first = [record(prefix(SITE), &[RLOC]), record_of(name("printer"), &[RLOC])];
        first.into_iter().chain([record_of(last, &[RLOC])]).collect::<Vec<_>>()
    };
    let mut bench = bench();
    for (eid, refusal) in [
        (name("nobody's"), Refusal::RegisterEidNotConfigured),
        (mac("02:00:5f:00:00:01/48"), Refusal::RegisterEidNotConfigured),
        (mac("02:00:00:00:00:00/16"), Refusal::RegisterEidNotConfigured),
        (within(6, name("printer")), Refusal::RegisterEidNotConfigured),
        (Eid { mask_len: 8, ..name("printer") }, Refusal::RegisterName),
        (Eid::default(), Refusal::RegisterEidNotIp),
    ] {
        let before = bench.engine.tally().get(refusal);
        assert_eq!(bench.datagram(ETR, &seal(register(1, records(eid.clone())), &site_key())), [], "{eid}");
        assert_eq!(bench.engine.tally().get(refusal), before + 1, "{eid}");
        assert_eq!((bench.registered(), labels(&bench)), (vec![], vec![]), "{eid}");
    }
    notify(&bench.datagram(ETR, &seal(register(2, records(mac("02:00:5e:00:00:01/48"))), &site_key())));
    assert_eq!((bench.registered(), labels(&bench).len()), (vec![prefix(SITE)], 2));
}

#[test]
fn ttl_0_withdraws_and_so_do_an_empty_locator_set_and_three_minutes_of_silence() {
    let eid = || mac("02:00:5e:00:00:01/48");
    for withdrawal in [MappingRecord { ttl: Ttl(0), ..record_of(eid(), &[RLOC]) }, record_of(eid(), &[])] {
        let mut bench = bench();
        bench.datagram(ETR, &sealed(1, eid(), RLOC));
        notify(&bench.datagram(ETR, &seal(register(2, vec![withdrawal]), &site_key())));
        assert_eq!(labels(&bench), Vec::<String>::new());
    }
    let mut bench = bench();
    bench.datagram(ETR, &sealed(1, eid(), RLOC));
    bench.datagram(ETR, &sealed(2, name("printer"), RLOC));
    bench.pass(Duration::from_secs(100));
    bench.datagram(ETR, &sealed(3, name("printer"), RLOC));
    bench.pass(Duration::from_secs(79));
    assert_eq!(labels(&bench).len(), 2);
    bench.pass(Duration::from_secs(2));
    assert_eq!(labels(&bench), ["\"printer\""], "the other one was refreshed");
    bench.pass(Duration::from_secs(100));
    assert_eq!(labels(&bench), Vec::<String>::new());
    let minute =
        MapRegister { use_ttl: true, ..register(4, vec![MappingRecord { ttl: Ttl(1), ..record_of(eid(), &[RLOC]) }]) };
    bench.datagram(ETR, &seal(minute, &site_key()));
    bench.pass(Duration::from_secs(61));
    assert_eq!(labels(&bench), Vec::<String>::new(), "T: by its TTL");
}

#[test]
fn replays_are_refused_also_over_a_restart() {
    let mut bench = bench();
    let outputs = bench.datagram(ETR, &sealed(5, name("printer"), RLOC));
    let [Output::Persist(Mark::Nonce(owner, last)), Output::Persist(Mark::SiteKey(_)), then @ ..] = outputs.as_slice()
    else {
        panic!("the nonce is not on disk before the Map-Notify: {outputs:?}")
    };
    let [Output::Persist(Mark::Registration(_, row)), Output::Send { .. }] = then else {
        panic!("the registration is not on disk before the Map-Notify: {then:?}")
    };
    let (nonces, registrations) = (vec![(owner.clone(), *last)], vec![(Box::default(), row.clone())]);
    let memory = Memory { nonces, registrations, ..Memory::default() };
    assert_eq!(bench.datagram(ETR, &sealed(4, mac("02:00:5e:00:00:01/48"), RLOC)), []);
    let mut bench = Bench::with(config(vec![machines()]), memory);
    assert_eq!(labels(&bench), ["\"printer\""]);
    assert_eq!(bench.datagram(ETR, &sealed(5, name("printer"), OTHER_RLOC)), []);
    assert_eq!(bench.only_refused(Refusal::RegisterReplayed), 1);
    notify(&bench.datagram(ETR, &sealed(6, name("printer"), RLOC)));
}

const OTHER_RLOC: &str = "198.51.100.2";

/// The Map-Notifies that answer no Map-Register with this nonce.
fn unsolicited(outputs: &[Output], nonce: u64) -> Vec<(String, MapNotify)> {
    let notifies = sent(outputs).into_iter().filter_map(|(to, message)| match message {
        ControlMessage::MapNotify(notify) if notify.nonce.0 != nonce => Some((to.to_string(), notify)),
        _ => None,
    });
    notifies.collect()
}

#[test]
fn xtrs_that_merge_stand_beside_each_other_and_are_told_until_they_acknowledge() {
    for eid in [name("printer"), mac("02:00:5e:00:00:01/48"), within(5, name("a"))] {
        let mut bench = bench();
        bench.datagram(ETR, &merging(1, 1, record_of(eid.clone(), &[RLOC])));
        let outputs = bench.datagram(OTHER, &merging(1, 2, record_of(eid.clone(), &[OTHER_RLOC])));
        let told = unsolicited(&outputs, 1);
        assert_eq!(told.iter().map(|(to, _)| to.as_str()).collect::<Vec<_>>(), [ETR, OTHER]);
        for (_, notify) in &told {
            assert_eq!(
                (&notify.records[0].eid, rlocs(&notify.records[0])),
                (&eid, vec![RLOC.into(), OTHER_RLOC.into()])
            );
        }
        let Some(Output::Send { bytes, .. }) = outputs.last() else { panic!("{outputs:?}") };
        assert_eq!(auth::verify(bytes, &site_key(), Accept::STRICT), Ok(()));
        let ack = |notify: &MapNotify| {
            auth::seal(&ControlMessage::MapNotifyAck(notify.clone()), &site_key(), TagForm::Truncated).unwrap()
        };
        assert_eq!(bench.datagram(ETR, &ack(&told[0].1)), []);
        let again = unsolicited(&bench.pass(Duration::from_secs(4)), 1);
        assert_eq!(again, [told[1].clone()], "who acknowledged is left alone");
        assert_eq!(bench.datagram(OTHER, &ack(&told[1].1)), []);
        assert_eq!(bench.engine.tally().total(), 0);
        assert_eq!(rlocs(&answer(&mut bench, 9, &eid)[0]).len(), 2);

        let gone = MappingRecord { ttl: Ttl(0), ..record_of(eid.clone(), &[OTHER_RLOC]) };
        let told = unsolicited(&bench.datagram(OTHER, &merging(2, 2, gone)), 2);
        assert_eq!(told.len(), 1, "who is left hears of it");
        assert_eq!(rlocs(&told[0].1.records[0]), [RLOC]);
    }
}

#[test]
fn each_xtr_that_merges_is_told_in_its_own_spelling() {
    let without_nul = Eid { mask_len: 56, ..name("printer") };
    let mut bench = bench();
    bench.datagram(ETR, &merging(1, 1, record_of(without_nul.clone(), &[RLOC])));
    let told = unsolicited(&bench.datagram(OTHER, &merging(1, 2, record_of(name("printer"), &[OTHER_RLOC]))), 1);
    let eids: Vec<_> = told.into_iter().map(|(to, notify)| (to, notify.records[0].eid.clone())).collect();
    assert_eq!(eids, [(ETR.to_owned(), without_nul), (OTHER.to_owned(), name("printer"))]);
}

#[test]
fn without_the_merge_bit_the_last_one_counts_alone() {
    let mut bench = bench();
    bench.datagram(ETR, &merging(1, 1, record_of(name("printer"), &[RLOC])));
    bench.datagram(OTHER, &sealed(1, name("printer"), OTHER_RLOC));
    assert_eq!(rlocs(&answer(&mut bench, 9, &name("printer"))[0]), [OTHER_RLOC]);
}

#[test]
fn a_map_version_is_served_and_never_becomes_older() {
    let mut bench = bench();
    let versioned = |nonce, version| {
        let record = MappingRecord { map_version: MapVersion(version), ..record_of(name("printer"), &[RLOC]) };
        seal(register(nonce, vec![record]), &site_key())
    };
    bench.datagram(ETR, &versioned(1, 9));
    assert_eq!(bench.datagram(ETR, &versioned(2, 8)), []);
    assert_eq!(bench.only_refused(Refusal::RegisterOldVersion), 1);
    assert_eq!(answer(&mut bench, 9, &name("printer"))[0].map_version, MapVersion(9));
}

#[test]
fn one_name_belongs_to_one_site() {
    let now = bench().now;
    let other = |rule| Site { labels: vec![rule], ..site("b", 1, "secret of b", &[]) };
    let with = |rule| Engine::new(now, config(vec![machines(), other(rule)]), Memory::default()).map(drop);
    for rule in [exact("printer"), stem(0, "ietf"), block("02:00:5e:00:00:00/24")] {
        assert!(matches!(with(rule), Err(ConfigError::Site(SiteError::LabelTwice { .. }))), "{rule}");
    }
    for rule in [exact("print"), exact("ietf"), stem(0, ""), stem(1, "ietf"), block("02:00:5e:00:00:00/25")] {
        assert_eq!(with(rule), Ok(()), "{rule}");
    }
    let twice = Site { labels: vec![exact("a"), exact("a")], prefixes: vec![], ..machines() };
    let twice = Engine::new(now, config(vec![twice]), Memory::default()).map(drop).unwrap_err();
    assert!(twice.to_string().contains("\"a\" belongs to site"), "{twice}");
}

#[test]
fn a_prefix_twice_in_one_site_is_refused_and_named() {
    let twice = site("a", 1, "x", &[prefix(SITE), prefix(SITE)]);
    let error = Engine::new(bench().now, config(vec![twice]), Memory::default()).map(drop).unwrap_err();
    assert!(error.to_string().contains(SITE), "{error}");
}

#[test]
fn a_reload_keeps_what_the_site_of_the_same_name_may_still_have() {
    let mut bench = bench();
    for (nonce, eid) in (1..).zip([name("printer"), name("ietf"), mac("02:00:5e:00:00:01/48")]) {
        bench.datagram(ETR, &sealed(nonce, eid, RLOC));
    }
    let smaller = Site { labels: vec![stem(0, "")], ..machines() };
    let newer = Reconfiguration {
        sites: vec![smaller],
        trust_anchors: vec![],
        clients: vec![],
        foreign: Foreign::FromItrRloc,
        subscribers: vec![],
        pubsub: Policy::default(),
        ddt: mapsys::ddt::Config::default(),
        lisp_sec: vec![],
    };
    let now = bench.now;
    let done = bench.engine.reconfigure(now, newer).unwrap();
    assert_eq!((done.kept, done.ended), (2, 1));
    assert_eq!(labels(&bench), ["\"ietf\"", "\"printer\""]);
    bench.pass(Duration::from_secs(200));
    assert_eq!(labels(&bench), Vec::<String>::new(), "what stays still falls silent");
}
