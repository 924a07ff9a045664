// SPDX-License-Identifier: GPL-2.0-or-later
//! Path MTUs are found by long probes where no router says them (RFC 8899).

use std::net::SocketAddr;

use wire::control::ControlMessage;
use xtr::engine::Input;
use xtr::map_cache::{Event, Update};
use xtr::reach::{Counts, limits};
use xtr::refusal::Refusal;

use super::lab::Lab;
use super::{PEER, ip, millis};
use crate::double::{RLOC, secs};

/// Of a TUN device of 1360 octets: no longer packet is ever sent.
const LONGEST: usize = 1360 + 36;

fn lengths(lab: &mut Lab) -> Vec<usize> {
    std::mem::take(&mut lab.long).into_iter().map(|(_, length)| length).collect()
}

fn counts(lab: &Lab) -> Counts {
    lab.near.control.counts()
}

#[test]
fn a_way_that_takes_the_longest_packet_costs_one_long_probe_in_half_a_minute() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(300));
    let of_one = |lengths: &[usize]| lengths.iter().all(|length| *length == LONGEST);
    // Two locators.
    let found = lengths(&mut lab);
    assert!(of_one(&found) && (18..=24).contains(&found.len()), "{found:?}");
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1500, 0));
    assert_eq!(counts(&lab).long_probes_answered, counts(&lab).long_probes_sent);
    assert_eq!((counts(&lab).probes_lost, counts(&lab).locators_lost), (0, 0));
}

#[test]
fn a_long_probe_is_one_of_the_locator_with_something_behind_it() {
    let mut lab = Lab::new().finding_path_mtus();
    let near = &mut lab.near;
    while near.probes.is_empty() {
        near.run_to_deadline();
    }
    let (local, remote, short) = near.probes.remove(0);
    assert!(near.long_probes.is_empty(), "nobody has answered");
    let reply = wire::control::MapReply { probe: true, ..super::reply_to(&short, &[(super::SITE, 1440)]) };
    near.bytes_at(
        SocketAddr::new(local, 4342),
        &format!("{}:4342", remote.ip()),
        &ControlMessage::from(reply).encode().unwrap(),
    );
    let (from, to, bytes) = near.long_probes.remove(0);
    assert_eq!((from, to, bytes.len()), (ip(RLOC), remote, LONGEST - 28));
    let ControlMessage::MapRequest(long) = ControlMessage::decode(&bytes).unwrap() else { panic!("{bytes:?}") };
    assert!(long.probe && long.nonce != short.nonce);
    assert_eq!((long.itr_rlocs, long.records), (short.itr_rlocs, short.records));
    let message = ControlMessage::from(wire::control::MapRequest::decode(&bytes).unwrap()).encode().unwrap();
    assert!(bytes[message.len()..].iter().all(|octet| *octet == 0));
}

#[test]
fn a_black_hole_is_found_within_five_seconds_of_a_mapping_and_what_fits_is_found_after_it() {
    for width in [1280, 1300, 1316, 1320, 1350, 1388, 1395] {
        let mut lab = Lab::new().finding_path_mtus();
        lab.width = width;
        lab.run(secs(5));
        let first = lab.path_mtu(PEER);
        assert!(first <= width && first >= if width >= 1316 { 1316 } else { 1280 }, "{first} of {width}");
        // Both locators are behind it.
        assert_eq!(counts(&lab).black_holes, 2);
        lab.run(secs(30));
        let found = lab.path_mtu(PEER);
        assert!((width - usize::from(limits::SEARCH_STEP)..=width).contains(&found), "{found} of {width}");
        lengths(&mut lab);
        lab.run(secs(500));
        assert_eq!(lab.path_mtu(PEER), found, "it is kept to");
        let later = lengths(&mut lab);
        let kept_to = later.iter().all(|length| *length == found);
        assert!(kept_to && later.len() <= 40, "{width}: {later:?}");
        assert_eq!((counts(&lab).black_holes, counts(&lab).locators_lost), (2, 0));
        // The longest is tried again all the while, beside the packets.
        for _ in 0..130 {
            lab.run(secs(10));
            let kept = lab.path_mtu(PEER);
            assert!((width - usize::from(limits::SEARCH_STEP)..=width).contains(&kept), "{kept} of {width}");
        }
        assert_eq!(counts(&lab).black_holes, 2);
    }
}

#[test]
fn a_report_against_what_a_probe_has_shown_is_believed_when_probes_show_it_too() {
    for mtu in [1350, 600, 0] {
        let mut lab = Lab::new().finding_path_mtus();
        lab.run(secs(60));
        for _ in 0..limits::REFUTED {
            lengths(&mut lab);
            lab.report(mtu);
            lab.run(secs(2));
            assert_eq!(lab.path_mtus().min(), Some(1500), "{mtu}");
            let probes = lengths(&mut lab);
            assert!((1..=3).contains(&probes.len()) && probes.iter().all(|length| *length == LONGEST), "{probes:?}");
        }
    }
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(60));
    (lab.width, lab.named) = (1300, Some(1300));
    lab.report(1300);
    lab.run(secs(2));
    assert_eq!(
        (lab.path_mtus().min(), counts(&lab).black_holes),
        (Some(1300), 0),
        "the router says so of the probe too"
    );
    // It says so of packets only: that is as late as from one that says nothing.
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(60));
    lab.width = 1350;
    lab.report(1350);
    lab.run(secs(5));
    let found = lab.path_mtus().min().unwrap();
    assert!((1316..=1350).contains(&found), "{found}");
}

/// Flows go another way than probes, or somebody forges for ever.
#[test]
fn what_is_reported_again_and_again_against_probes_is_believed_but_leaves_room_for_ipv6() {
    for mtu in [1350, 600] {
        let mut lab = Lab::new().finding_path_mtus();
        lab.run(secs(60));
        let mut least = 1500;
        for _ in 0..300 {
            lab.report(mtu);
            lab.run(millis(500));
            least = least.min(lab.path_mtus().min().unwrap());
            assert!(lab.takes(1280), "{mtu}");
        }
        assert_eq!(least, mtu.max(1316));
        lab.run(secs(60));
        assert_eq!((lab.path_mtus().min(), counts(&lab).black_holes), (Some(1500), 0), "it has ended");
    }
}

#[test]
fn a_way_that_becomes_narrow_is_found_within_the_interval_and_a_wide_one_is_found_after_ten_minutes() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(60));
    lab.width = 1340;
    lab.run(secs(40));
    assert_eq!(counts(&lab).black_holes, 2);
    let found = lab.path_mtu(PEER);
    assert!((1316..=1340).contains(&found), "{found}");
    lab.width = 1500;
    lab.run(secs(500));
    assert!(lab.path_mtu(PEER) < 1396, "not before");
    lab.run(secs(180));
    assert_eq!(lab.path_mtu(PEER), 1500);
    assert_eq!(counts(&lab).black_holes, 2);
}

/// As a machine does that writes its memory to a disk.
#[test]
fn a_longer_packet_that_is_tried_while_nothing_is_answered_is_tried_once_more_and_not_ten_minutes_later() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(60));
    lab.width = 1340;
    lab.run(secs(60));
    lab.width = 1500;
    // Long enough for three probes, and too short for the locator to be given up.
    lab.stands_still_at = Some((ip(PEER), LONGEST, millis(2300)));
    while lab.stands_still_at.is_some() {
        lab.run(millis(10));
    }
    lab.run(secs(3));
    assert!(lab.path_mtu(PEER) <= 1340);
    lab.run(secs(30));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).locators_lost), (1500, 0));
    // What is lost while shorter ones get there is tried after ten minutes.
    lab.width = 1340;
    lab.run(secs(60));
    lengths(&mut lab);
    lab.run(secs(450));
    assert!(lengths(&mut lab).iter().all(|length| *length < 1350));
}

/// Nothing at all is answered then, as where all stands still: what packets keep to gets there no longer either.
#[test]
fn a_way_that_becomes_narrower_while_a_longer_packet_is_tried_is_found_within_a_minute() {
    for (mut lab, longest, [before, after]) in
        [(Lab::new().finding_path_mtus(), LONGEST, [1340, 1320]), (jumbo(), 8936, [1500, 1400])]
    {
        lab.run(secs(60));
        lab.width = before;
        lab.run(secs(60));
        let found = lab.path_mtu(PEER);
        assert!((before - 8..=before).contains(&found), "{found} of {before}");
        lengths(&mut lab);
        // Ten minutes later.
        let tries_longer = |lab: &mut Lab| {
            lab.run(millis(10));
            lengths(lab).contains(&longest)
        };
        assert!((0..70_000).any(|_| tries_longer(&mut lab)));
        let black_holes = counts(&lab).black_holes;
        lab.width = after;
        lab.run(secs(60));
        let found = lab.path_mtu(PEER);
        assert!((after - 8..=after).contains(&found), "{found} of {after}");
        assert_eq!(counts(&lab).black_holes, black_holes + 2);
    }
}

#[test]
fn who_answers_no_long_probes_keeps_his_path_mtu_and_is_seldom_asked() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.takes_padding = false;
    lab.run(secs(3600));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1500, 0));
    assert_eq!((counts(&lab).locators_lost, counts(&lab).probes_lost), (0, 0));
    let sent = lengths(&mut lab).len();
    // Five each for two locators, after 0, 26, 52 ... 600 seconds.
    assert!((60..=110).contains(&sent), "{sent}");
}

#[test]
fn one_who_takes_long_probes_no_longer_loses_nothing_by_it() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(60));
    lab.takes_padding = false;
    lab.run(secs(120));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1500, 0));
}

#[test]
fn a_locator_that_dies_in_the_middle_of_it_is_no_black_hole() {
    let mut lab = Lab::new().finding_path_mtus();
    for _ in 0..40 {
        lab.run(millis(9900));
        lab.dead = Some(ip(PEER));
        lab.run(millis(3300));
        lab.dead = None;
    }
    lab.run(secs(60));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1500, 0));
    assert!(counts(&lab).locators_lost > 0);
}

#[test]
fn what_a_router_says_is_no_black_hole_and_what_probes_confirm_does_not_end() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(3));
    (lab.width, lab.named) = (1350, Some(1350));
    lab.report(1350);
    lab.run(secs(40));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1350, 0));
    lab.named = None;
    lengths(&mut lab);
    lab.run(secs(1500));
    let found = lab.path_mtu(PEER);
    assert!((1342..=1350).contains(&found), "{found}");
    assert_eq!(counts(&lab).black_holes, 0);
}

#[test]
fn what_a_router_says_before_a_probe_is_answered_counts_as_much() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.width = 1350;
    lab.run(millis(10));
    lab.report(1350);
    lab.run(secs(300));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1350, 1), "that of the other locator");
}

#[test]
fn what_a_router_says_is_told_to_control_and_said_back() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(3));
    lab.near.event(Event::PathMtu { rloc: ip(PEER), mtu: 1370 });
    let update = Update::PathMtu { rloc: ip(PEER), mtu: Some(1370) };
    assert_eq!(lab.near.updates(), [update]);
    lab.near.event(Event::PathMtu { rloc: ip(PEER), mtu: 1397 });
    lab.near.event(Event::PathMtu { rloc: ip("192.0.2.99"), mtu: 1300 });
    assert_eq!(lab.near.updates(), [], "longer than any packet; a stranger's");
}

/// RFC 8899, section 4.6.2.
#[test]
fn where_a_router_speaks_of_a_probe_the_search_ends_at_what_it_names() {
    for width in [1280, 1300, 1350, 1395] {
        let mut lab = Lab::new().finding_path_mtus();
        (lab.width, lab.named) = (width, Some(width));
        lab.run(secs(3));
        assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (width, 0), "at once");
        // Two locators: the one that is dropped, and the one that shows that what was said is true.
        let mut found = lengths(&mut lab);
        found.sort_unstable();
        assert_eq!(found, [width, width, LONGEST, LONGEST]);
        lab.run(secs(550));
        assert!(lengths(&mut lab).iter().all(|length| *length == width), "nothing is looked for between");
        lab.run(secs(100));
        let longest = lengths(&mut lab).into_iter().filter(|length| *length == LONGEST).count();
        assert_eq!(
            (longest, counts(&lab).long_probes_too_big),
            (2, 4),
            "once in ten minutes, and that is the end of it"
        );
        assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (width, 0));
        (lab.width, lab.named) = (1500, None);
        lab.run(secs(700));
        assert_eq!(lab.path_mtu(PEER), 1500);
    }
}

#[test]
fn a_way_that_becomes_narrow_is_known_with_the_first_probe_that_a_router_speaks_of() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(60));
    (lab.width, lab.named) = (1340, Some(1340));
    lab.run(secs(35));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1340, 0));
    // While a longer one is looked for.
    (lab.width, lab.named) = (1390, None);
    lab.run(secs(565));
    (lab.width, lab.named) = (1310, Some(1310));
    lab.run(secs(60));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1310, 0));
}

/// It drops more than it says, without a word.
#[test]
fn a_router_that_names_too_much_is_found_out() {
    let mut lab = Lab::new().finding_path_mtus();
    (lab.width, lab.named) = (1350, Some(1390));
    lab.run(secs(60));
    let found = lab.path_mtu(PEER);
    assert!((1342..=1350).contains(&found), "{found}");
    assert_eq!(counts(&lab).black_holes, 2);
}

#[test]
fn who_has_not_seen_a_probe_and_who_names_what_cannot_be_changes_nothing() {
    let mut lab = Lab::new().finding_path_mtus();
    let near = &mut lab.near;
    while near.probes.is_empty() {
        near.run_to_deadline();
    }
    let (local, remote, short) = near.probes.remove(0);
    let reply = wire::control::MapReply { probe: true, ..super::reply_to(&short, &[(super::SITE, 1440)]) };
    let reply = ControlMessage::from(reply).encode().unwrap();
    near.bytes_at(SocketAddr::new(local, 4342), &format!("{}:4342", remote.ip()), &reply);
    let (.., long) = near.long_probes.remove(0);
    let other_nonce: Vec<u8> = long.iter().enumerate().map(|(at, octet)| octet ^ u8::from(at == 11)).collect();
    let short = ControlMessage::from(short).encode().unwrap();
    // No more than the UDP header; and a Map-Reply.
    for quoted in [&other_nonce[..], &short, &[], &long[..4], &long[..11], &reply] {
        near.input(Input::TooBig { quoted, mtu: 1300 });
    }
    assert_eq!((near.refused(Refusal::TooBigOfNoProbe), near.refused(Refusal::TooBigImpossible)), (6, 0));
    for mtu in [0, 68, 576, 1279, LONGEST, LONGEST + 1, 70_000, usize::MAX] {
        near.input(Input::TooBig { quoted: &long, mtu });
    }
    assert_eq!(near.refused(Refusal::TooBigImpossible), 8);
    assert_eq!((near.control.path_mtu(remote.ip()), near.control.counts().long_probes_too_big), (None, 0));
    near.input(Input::TooBig { quoted: &long[..12], mtu: 1280 });
    assert_eq!(near.control.path_mtu(remote.ip()), Some(1280));
    near.advance(limits::ANSWER_TIME);
    near.input(Input::TooBig { quoted: &long, mtu: 1300 });
    assert_eq!(near.refused(Refusal::TooBigOfNoProbe), 7, "that was too long ago");
}

#[test]
fn packets_are_as_long_as_the_interface_takes_and_become_longer_with_it_as_probes_show() {
    let mut lab = Lab::new().finding_path_mtus();
    lab.run(secs(60));
    lab.set_interface_mtu(RLOC, 1300);
    lab.run(millis(20));
    assert!(lab.takes(1300 - 36) && !lab.takes(1301 - 36), "at once");
    lab.run(millis(1500));
    assert_eq!((lab.path_mtus().collect::<Vec<_>>(), lab.near.control.path_mtu(ip(PEER))), (vec![1300; 2], Some(1300)));
    lengths(&mut lab);
    lab.run(secs(60));
    assert!(lengths(&mut lab).iter().all(|length| *length == 1300));
    lab.set_interface_mtu(RLOC, 1450);
    lab.run(millis(20));
    assert!(lab.takes(1300 - 36) && !lab.takes(1301 - 36), "nobody knows yet");
    lab.run(secs(3));
    assert!(lab.takes(1360));
    assert_eq!(lab.near.control.path_mtu(ip(PEER)), Some(1450));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1450, 0));
}

#[test]
fn what_a_way_has_not_taken_is_not_forgotten_when_the_interface_becomes_narrower_still_and_wide_again() {
    for named in [Some(1340), None] {
        let mut lab = Lab::new().finding_path_mtus();
        (lab.width, lab.named) = (1340, named);
        lab.run(secs(60));
        let known = lab.path_mtu(PEER);
        assert!((1332..=1340).contains(&known), "{known}");
        let black_holes = counts(&lab).black_holes;
        for (mtu, most) in [(1300, 1300), (1500, 1340), (9000, 1340), (1338, 1338), (1500, 1340)] {
            lab.set_interface_mtu(RLOC, mtu);
            for _ in 0..3000 {
                lab.run(millis(10));
                assert!(!lab.takes(most - 36 + 1), "{mtu}");
            }
            let found = lab.path_mtu(PEER);
            assert!((most - 8..=most).contains(&found), "{found} of {mtu}");
        }
        assert_eq!(counts(&lab).black_holes, black_holes, "no packet was too long");
    }
}

#[test]
fn an_answer_that_comes_after_the_interface_has_become_narrower_makes_no_packet_longer() {
    let mut lab = Lab::new().finding_path_mtus();
    let near = &mut lab.near;
    while near.probes.is_empty() {
        near.run_to_deadline();
    }
    let (local, remote, short) = near.probes.remove(0);
    let answer = |near: &mut crate::double::Node, request: &wire::control::MapRequest| {
        let reply = wire::control::MapReply { probe: true, ..super::reply_to(request, &[(super::SITE, 1440)]) };
        let bytes = ControlMessage::from(reply).encode().unwrap();
        near.bytes_at(SocketAddr::new(local, 4342), &format!("{}:4342", remote.ip()), &bytes);
    };
    answer(near, &short);
    let (.., long) = near.long_probes.remove(0);
    near.input(Input::InterfaceMtus([(ip(RLOC), 1300)].into()));
    let ControlMessage::MapRequest(long) = ControlMessage::decode(&long).unwrap() else { panic!("{long:?}") };
    answer(near, &long);
    assert_eq!(near.control.path_mtu(remote.ip()), Some(1300));
    assert!(near.updates().iter().all(|update| !matches!(update, Update::PathMtu { mtu: Some(1301..), .. })));
}

#[test]
fn jumbo_frames_that_get_there_are_no_longer_than_an_interface_that_becomes_narrower_and_need_no_new_proof() {
    let mut lab = jumbo();
    lab.width = 9000;
    lab.run(secs(60));
    lab.set_interface_mtu(RLOC, 8000);
    lab.run(millis(10));
    assert!(lab.takes(8000 - 36) && !lab.takes(8000 - 36 + 1));
    lab.run(secs(60));
    assert_eq!(lab.path_mtu(PEER), 8000);
    for (mtu, taken) in [(9000, 8000), (1400, 1400), (9000, 1400)] {
        lab.set_interface_mtu(RLOC, mtu);
        lab.run(millis(10));
        assert!(lab.takes(taken - 36) && !lab.takes(taken - 36 + 1), "{mtu}");
    }
    lab.run(secs(40));
    assert!(lab.takes(8900));
    assert_eq!(counts(&lab).black_holes, 0);
}

/// A TUN device of 8900 octets, behind an interface that takes 9000.
fn jumbo() -> Lab {
    let mut lab = Lab::new().finding_path_mtus_of(8900);
    lab.set_interface_mtu(RLOC, 9000);
    lab
}

#[test]
fn jumbo_frames_are_sent_when_probes_have_shown_that_they_get_there_and_not_before() {
    let mut lab = jumbo();
    lab.width = 9000;
    lab.run(millis(10));
    assert!(lab.takes(1464) && !lab.takes(1465));
    lab.run(secs(5));
    assert!(lab.takes(8900));
    lengths(&mut lab);
    lab.run(secs(1300));
    assert!(lengths(&mut lab).iter().all(|length| *length == 8936));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (8936, 0), "it does not end");
    // It becomes narrow without a word: what is usual is tried beside it.
    lab.width = 1500;
    lab.run(secs(35));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1500, 2));
    lab.width = 9000;
    lab.run(secs(700));
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (8936, 2));
}

#[test]
fn behind_a_jumbo_interface_no_packet_is_lost_to_a_link_that_takes_what_is_usual() {
    for width in [1500, 1600, 4000, 8900] {
        let mut lab = jumbo();
        lab.width = width;
        for _ in 0..6000 {
            lab.run(millis(10));
            assert!(!lab.takes(width - 36 + 1), "{width}");
        }
        let found = lab.path_mtu(PEER);
        assert!((width - 8..=width).contains(&found) && found >= 1500, "{found} of {width}");
        assert_eq!(counts(&lab).black_holes, 0);
        lab.run(secs(700));
        assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (found, 0));
    }
    // Narrower than that: as anywhere.
    let mut lab = jumbo();
    lab.width = 1400;
    lab.run(secs(5));
    let first = lab.path_mtu(PEER);
    assert!((1316..=1400).contains(&first) && counts(&lab).black_holes == 2, "{first}");
    lab.run(secs(60));
    let found = lab.path_mtu(PEER);
    assert!((1392..=1400).contains(&found), "{found}");
}

#[test]
fn a_jumbo_way_that_becomes_narrower_than_any_packet_that_ipv6_has_to_carry_is_found_as_soon_as_any() {
    let mut lab = jumbo();
    lab.width = 9000;
    lab.run(secs(60));
    assert_eq!(lab.path_mtu(PEER), 8936);
    lab.width = 1290;
    lab.run(secs(40));
    let found = lab.path_mtu(PEER);
    assert!((1280..=1290).contains(&found) && counts(&lab).black_holes == 2, "{found}");
}

#[test]
fn jumbo_frames_end_where_no_long_probe_is_answered_any_more() {
    let mut lab = jumbo();
    (lab.width, lab.takes_padding) = (9000, false);
    lab.run(secs(60));
    assert!(lab.takes(1464) && !lab.takes(1465), "nothing shows that they get there");
    lab.takes_padding = true;
    lab.run(secs(700));
    assert!(lab.takes(8900));
    lab.takes_padding = false;
    lab.run(secs(40));
    assert!(lab.takes(1464) && !lab.takes(1465), "nor any more");
    assert_eq!((lab.path_mtu(PEER), counts(&lab).black_holes), (1500, 0));
    lab.takes_padding = true;
    lab.run(secs(70));
    assert!(lab.takes(8900), "they do again");
}
