// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of what is there after a restart.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt as _;
use std::time::UNIX_EPOCH;

use cgeid::Cn;
use dht::publish::Sequence;
use dht::record::{RecordKey, Version};
use wire::address::EidPrefix;
use wire::control::XtrIdentity;

use super::rows::seconds;
use super::tables::{BOOT, LAST, SERVED, UP, WALL};
use super::*;
use crate::register::label::AnyEid;
use crate::register::label::Label;
use crate::register::label::pair::Pair;
use crate::register::nonces::{Floor, Last, NonceOwner, SeenNonce};
use crate::register::renaming::{self, KnownKey, Salt};
use crate::subscribe::association::Key;
use crate::subscribe::association::{KeyFloor, UsedKey};
use crate::subscribe::subscription::Kept;
use crate::subscribe::subscription::{Agreement, Mode};
use crate::transport::Way;

#[test]
fn what_is_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let owner = NonceOwner { site: "a site".into(), xtr_id: [7; 16], key_id: 3 };
    let (first, last) = (Last { nonce: 5, digest: [1; 32] }, Last { nonce: 6, digest: [2; 32] });
    let cn = Cn([9; 12]);
    let page = RecordKey::node(cgeid::Network::LAB, cn);
    let version = Version { epoch: 256, sequence: 7 };
    let (pin, gone) = ([4; 64], [5; 64]);
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let known =
        |site: &str, key_id| KnownKey { site: site.into(), key_id, fingerprint: renaming::Fingerprint([key_id; 16]) };
    let site_key = |site, key_id| Mark::SiteKey(known(site, key_id));
    let salt;
    {
        let (state, memory) = State::open(&path, SystemTime::now()).unwrap();
        assert!(memory.nonces.is_empty() && memory.sequences.is_empty());
        state.write(&[Mark::Nonce(owner.clone(), first), Mark::Sequence(cn, Sequence(41))]).unwrap();
        state.write(&[Mark::Nonce(owner.clone(), last), Mark::Sequence(cn, Sequence(42))]).unwrap();
        let other = RecordKey::node(cgeid::Network::LAB, Cn([8; 12]));
        state.write(&[Mark::LivePage(page, Sequence(43)), Mark::LivePage(other, Sequence(44))]).unwrap();
        state.write(&[Mark::ForgottenLivePage(other)]).unwrap();
        state.write(&[Mark::Page(page, version), Mark::Pin(pin, at(1)), Mark::Pin(gone, at(2))]).unwrap();
        state.write(&[Mark::Pin(pin, at(3)), Mark::ForgottenPin(Cn::of_fingerprint(&gone))]).unwrap();
        state.write(&[site_key("a site", 3), site_key("another", 3), site_key("another", 4)]).unwrap();
        state.write(&[Mark::ForgottenSiteKey("another".into(), 3)]).unwrap();
        salt = memory.salt;
    }
    let (_, memory) = State::open(&path, SystemTime::now()).unwrap();
    assert_eq!(memory.nonces, [(owner, last)]);
    assert_eq!(memory.site_keys, [known("a site", 3), known("another", 4)]);
    assert!(memory.salt == salt && salt != Salt::default());
    assert_eq!(memory.sequences, BTreeMap::from([(cn, Sequence(42))]));
    assert_eq!(memory.live_pages, [(page, Sequence(43))]);
    assert_eq!(memory.pages, [(page, version)]);
    assert_eq!(memory.pins, [(pin, at(3))]);
}

#[test]
fn registrations_are_kept_by_their_eids_and_what_makes_room_leaves_a_floor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let of = |net: &str| AnyEid::Prefix(EidPrefix { iid: wire::address::InstanceId(0), net: net.parse().unwrap() });
    let name = Label::name(wire::address::InstanceId(0), b"printer").unwrap();
    let mac = Label::mac(wire::address::InstanceId(0), [2, 0, 0x5e, 0, 0, 1], 24).unwrap();
    // What differs in the family, the length or the kind alone.
    let prefixes = ["2001:db8::/32", "2001:db8::/48", "32.1.13.0/24", "::/0", "0.0.0.0/0"].map(of);
    let pair = |make: fn(_, _, _) -> Option<Pair>| {
        let [any, group] = ["0.0.0.0/0", "239.1.0.0/16"].map(|net| net.parse().unwrap());
        Label::Pair(make(wire::address::InstanceId(0), any, group).unwrap())
    };
    let labels = [name, mac, pair(Pair::multicast), pair(Pair::source_dest)];
    let eids: Vec<AnyEid> = prefixes.into_iter().chain(labels.map(AnyEid::Label)).collect();
    let row = |number: usize| -> Box<[u8]> { [u8::try_from(number).unwrap()].into() };
    let owner = NonceOwner { site: "a site".into(), xtr_id: [7; 16], key_id: 3 };
    let floor = |nonce| Floor { site: "a site".into(), key_id: 3, nonce };
    {
        let (state, memory) = State::open(&path, SystemTime::now()).unwrap();
        assert_eq!((memory.registrations.len(), memory.age, memory.away), (0, Duration::ZERO, Duration::ZERO));
        let marks = eids.iter().enumerate().map(|(number, eid)| Mark::Registration(*eid, row(number)));
        state.write(&marks.collect::<Vec<_>>()).unwrap();
        state.write(&[Mark::Registration(eids[0], row(100)), Mark::ForgottenRegistration(eids[1])]).unwrap();
        state.write(&[Mark::Nonce(owner.clone(), Last { nonce: 5, digest: [1; 32] })]).unwrap();
        state.write(&[Mark::NonceFloor(floor(5)), Mark::ForgottenNonce(owner), Mark::NonceFloor(floor(6))]).unwrap();
    }
    let (state, memory) = State::open(&path, SystemTime::now()).unwrap();
    let mut rows: Vec<_> = memory.registrations.iter().map(|(_, row)| row.clone()).collect();
    rows.sort();
    assert_eq!(rows, [2, 3, 4, 5, 6, 7, 8, 100].map(row));
    // One that cannot be read goes by its key.
    let (bad, _) = memory.registrations.iter().find(|(_, of)| *of == row(5)).unwrap();
    state.write(&[Mark::UnreadableRegistration(bad.clone())]).unwrap();
    assert_eq!((memory.nonces, memory.nonce_floors), (vec![], vec![floor(6)]));
    drop(state);
    let (_, memory) = State::open(&path, SystemTime::now()).unwrap();
    let mut rows: Vec<_> = memory.registrations.into_iter().map(|(_, row)| row).collect();
    rows.sort();
    assert_eq!(rows, [2, 3, 4, 6, 7, 8, 100].map(row));
}

/// Opens what says that it was 600 seconds old at a moment, if it says when. Nonces of a legacy site grow no older by that.
fn opened_after(path: &Path, written: Option<Moment>) -> (State, Memory) {
    let (state, _) = State::open(path, SystemTime::now()).unwrap();
    let owner = NonceOwner { site: "a site".into(), xtr_id: [7; 16], key_id: 3 };
    let seen = |nonce, at| SeenNonce { owner: owner.clone(), nonce, at: UNIX_EPOCH + Duration::from_secs(at) };
    state.write(&[Mark::Seen(seen(1, 9500)), Mark::Seen(seen(2, 9999))]).unwrap();
    let transaction = state.database.lock().unwrap().as_ref().unwrap().begin_write().unwrap();
    {
        let mut served = transaction.open_table(SERVED).unwrap();
        served.retain(|_, _| false).unwrap();
        served.insert(LAST, 600).unwrap();
        if let Some(Moment { wall, up, boot }) = written {
            served.insert(WALL, wall).unwrap();
            served.insert(UP, up).unwrap();
            served.insert(BOOT, boot.map_or(0, NonZeroU64::get)).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(state);
    // Whatever clock is gone by.
    let (state, memory) = State::open(path, SystemTime::now() + Duration::from_secs(9999)).unwrap();
    assert_eq!(memory.seen.len(), 2);
    (state, memory)
}

#[test]
fn the_state_grows_older_between_two_runs_as_far_as_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let is_about = |time: Duration, seconds| (seconds..seconds + 60).contains(&time.as_secs());
    let Moment { wall, up, boot } = Moment::now();
    // The machine was not started again, and the clock was set; or a version before this one has written.
    for written in [Some(Moment { wall: wall - 9999, up, boot }), None] {
        let (_, memory) = opened_after(&path, written);
        assert!(is_about(memory.away, 0) && is_about(memory.age, 600), "{:?} {:?}", memory.away, memory.age);
    }
    // Nobody knows, as that run of the machine is not named.
    let (_, memory) = opened_after(&path, Some(Moment { wall: wall - 3600, up, boot: None }));
    assert!(is_about(memory.away, 3600) && is_about(memory.age, 4200), "{:?} {:?}", memory.away, memory.age);
    // It was.
    let another = boot.and_then(|boot| NonZeroU64::new(!boot.get()));
    let (state, memory) = opened_after(&path, Some(Moment { wall: wall - 3600, up, boot: another }));
    assert!(is_about(memory.away, 3600) && is_about(memory.age, 4200), "{:?} {:?}", memory.away, memory.age);
    // What is written next counts from there.
    state.write(&[Mark::NotifyNonce(1)]).unwrap();
    drop(state);
    let (_, memory) = State::open(&path, SystemTime::now()).unwrap();
    assert!(is_about(memory.away, 0) && is_about(memory.age, 4200), "{:?} {:?}", memory.away, memory.age);
}

#[test]
fn subscriptions_are_kept_as_they_were_last_and_forgotten_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let way = Way { local: "192.0.2.53:4342".parse().unwrap(), remote: "192.0.2.1:4342".parse().unwrap() };
    let agreed = |nonce| {
        let (asked, ways) = ("2001:db8:a::2/128".parse().unwrap(), vec![way]);
        let key = (nonce == u64::MAX).then(|| Key::from([9; 16]));
        Some(Agreement { nonce, mode: Mode::Publish, asked, ways, key, made_of: None })
    };
    let kept = |net: &str, nonce| Kept {
        xtr_id: [7; 16],
        site_id: u64::MAX,
        iid: 5,
        net: net.parse().unwrap(),
        key_id: 1,
        proven: agreed(nonce),
        asked: None,
        until: Some(1_800_000_000),
        told: Some(u64::MAX),
        silent_since: None,
        is_foreign: true,
        seen_at: (nonce == u64::MAX).then(|| "2001:db8:a:1::".parse().unwrap()),
        is_configured: nonce == u64::MAX,
        parts: if nonce == u64::MAX { vec!["2001:db8:a:1::/64".parse().unwrap()] } else { vec![] },
        peak: nonce,
    };
    let (one, two) = ("2001:db8:a::/48", "10.0.0.0/8");
    {
        let (state, memory) = State::open(&path, SystemTime::now()).unwrap();
        assert!(memory.subscriptions.is_empty() && memory.notify_nonce == 0);
        let mark = |kept: Kept| Mark::Subscription(Box::new(kept));
        state.write(&[mark(kept(one, 1)), mark(kept(two, 1)), Mark::NotifyNonce(8)]).unwrap();
        state.write(&[mark(kept(one, u64::MAX)), Mark::NotifyNonce(9)]).unwrap();
        state.write(&[Mark::ForgottenSubscription(kept(two, 1).key())]).unwrap();
    }
    let (_, memory) = State::open(&path, SystemTime::now()).unwrap();
    assert_eq!((memory.subscriptions, memory.notify_nonce), (vec![kept(one, u64::MAX)], 9));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600, "it has keys, and is for its owner only");
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    State::open(&path, SystemTime::now()).unwrap();
    assert_eq!(mode(&path), 0o600, "also where a former version has made it");
    let new = folder.path().join("new.redb");
    assert_eq!((private(&new).is_ok(), mode(&new)), (true, 0o600), "from the beginning");
}

#[test]
fn one_time_keys_that_were_used_are_kept_and_what_makes_room_leaves_a_floor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let xtr = XtrIdentity { xtr_id: [7; 16], site_id: u64::MAX };
    let used = |nonce, digest| UsedKey { xtr, nonce, digest };
    {
        let (state, memory) = State::open(&path, SystemTime::now()).unwrap();
        assert!(memory.used_keys.is_empty() && memory.key_floors.is_empty());
        // Of one nonce both are kept.
        state.write(&[used(1, 1), used(2, 2), used(2, u64::MAX)].map(Mark::UsedKey)).unwrap();
        let floor = |nonce| Mark::KeyFloor(KeyFloor { xtr, nonce });
        state.write(&[floor(0), floor(1), Mark::ForgottenKey(used(1, 1))]).unwrap();
    }
    let (_, memory) = State::open(&path, SystemTime::now()).unwrap();
    assert_eq!(memory.used_keys, [used(2, 2), used(2, u64::MAX)]);
    assert_eq!(memory.key_floors, [KeyFloor { xtr, nonce: 1 }]);
}

#[test]
fn nonces_of_a_legacy_site_are_kept_for_ten_minutes_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let owner = NonceOwner { site: "a site".into(), xtr_id: [7; 16], key_id: 3 };
    let now = UNIX_EPOCH + Duration::from_secs(seconds(SystemTime::now()));
    let seen = |nonce, age| SeenNonce { owner: owner.clone(), nonce, at: now - Duration::from_secs(age) };
    {
        let (state, memory) = State::open(&path, now).unwrap();
        assert_eq!(memory.seen, []);
        state.write(&[Mark::Seen(seen(1, 601)), Mark::Seen(seen(2, 300)), Mark::Seen(seen(3, 0))]).unwrap();
        state.write(&[Mark::ForgottenSeen(owner.clone(), 2), Mark::Seen(seen(4, 100))]).unwrap();
    }
    let (_, memory) = State::open(&path, now).unwrap();
    assert_eq!(memory.seen, [seen(3, 0), seen(4, 100)]);
    // By a clock that was set they are as old as they were, also at the start after that.
    for ahead in [3600, 0] {
        let now = now + Duration::from_secs(ahead);
        let (_, memory) = State::open(&path, now).unwrap();
        let ages: Vec<_> = memory.seen.iter().map(|seen| now.duration_since(seen.at).unwrap().as_secs()).collect();
        assert_eq!(ages, [0, 100]);
    }
}

#[test]
fn a_disk_that_failed_is_written_again_when_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let (state, _) = State::open(&path, SystemTime::now()).unwrap();
    // What redb leaves behind after an error, and a file that cannot be opened meanwhile.
    drop(state.database.lock().unwrap().take());
    std::fs::rename(&path, folder.path().join("aside")).unwrap();
    let mark = |sequence| [Mark::Sequence(Cn([9; 12]), Sequence(sequence))];
    assert!(state.write(&mark(1)).is_err() && state.write(&mark(1)).is_err());
    std::fs::rename(folder.path().join("aside"), &path).unwrap();
    state.write(&mark(2)).unwrap();
    drop(state);
    assert_eq!(
        State::open(&path, SystemTime::now()).unwrap().1.sequences,
        BTreeMap::from([(Cn([9; 12]), Sequence(2))])
    );
}

#[test]
fn a_file_that_is_not_ours_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![0x5a; 10_000]).unwrap();
    let error = State::open(file.path(), SystemTime::now()).unwrap_err();
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    assert!(error.to_string().contains("move it away"), "{error}");
}
