// SPDX-License-Identifier: GPL-2.0-or-later
//! What somebody with bad intent would try, kept as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, UNIX_EPOCH};

use cgeid::limits::{MAX_BAGS, MAX_ROUNDS};
use cgeid::temporary::{BootId, Clock, Input, Output, Schedule, StateError};
use cgeid::{CertificateError, ContainerError, Identity, IdentityCertificate, Network, container};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use zeroize::Zeroizing;

/// 2027-01-15 08:00:00 UTC.
const NOW: Duration = Duration::from_secs(1_800_000_000);
const BOOT: BootId = [1; 16];

fn clock(seconds: u64) -> Clock {
    let uptime = Duration::from_secs(seconds);
    Clock { boot: BOOT, uptime, utc: Some(UNIX_EPOCH + NOW + uptime) }
}

/// A schedule that is obeyed at once; the seeds of its keys count up from `seed`.
fn obeyed(mut schedule: Schedule, mut seed: u8, clock: Clock) -> Schedule {
    schedule.handle(clock, Input::Tick);
    while let Some(output) = schedule.poll() {
        let input = match output {
            Output::Generate => {
                seed += 1;
                Input::Generated { secret: Zeroizing::new([seed; 32]), chance: 1 << 31 }
            }
            Output::Publish(key) => Input::Published { cn: key.cn(), done: true },
            Output::Assign { address, .. } => Input::Assigned { address },
            _ => continue,
        };
        schedule.handle(clock, input);
    }
    schedule
}

/// Octets of the state's header and, in an entry, where the moments of its use are: its midnight, its begin, the change.
const HEADER: usize = 43;
const MOMENTS: usize = 56;

fn put(state: &mut [u8], index: usize, milliseconds: i64) {
    let at = HEADER + MOMENTS + 8 * index;
    state[at..at + 8].copy_from_slice(&milliseconds.to_be_bytes());
}

#[test]
fn no_state_makes_an_address_that_lives_for_ever() {
    let schedule = obeyed(Schedule::new(Network::LAB, clock(1000)), 0, clock(1000));
    assert!(schedule.preferred().is_some());
    let mut state = schedule.state().to_vec();
    let far = 1 << 50;
    (0..3).for_each(|index| put(&mut state, index, far));
    let refused = Schedule::restore(&state, Network::LAB, clock(2000)).err();
    assert_eq!(refused, Some(StateError::Damaged { offset: HEADER }));
    // The change alone may be anywhere: the end of its life is not.
    let mut state = schedule.state().to_vec();
    put(&mut state, 2, far);
    let late = clock(1000 + 3 * 24 * 3600);
    let restored = obeyed(Schedule::restore(&state, Network::LAB, clock(2000)).unwrap(), 100, late);
    assert_ne!(restored.preferred(), schedule.preferred());
    assert!(schedule.addresses().iter().all(|old| !restored.addresses().contains(old)));
}

#[test]
fn the_state_of_a_machine_that_started_later_is_not_gone_on_with() {
    let schedule = obeyed(Schedule::new(Network::LAB, clock(1000)), 0, clock(1000));
    let state = schedule.state();
    let other = Clock { boot: [2; 16], ..clock(5) };
    // Written in the future: nobody knows how old its addresses are.
    let before = Clock { utc: Some(UNIX_EPOCH + NOW), ..other };
    let restored = Schedule::restore(&state, Network::LAB, before).unwrap();
    assert_eq!(restored.addresses(), [] as [std::net::Ipv6Addr; 0]);
    let restored = Schedule::restore(&state, Network::LAB, Clock { utc: None, ..other }).unwrap();
    assert_eq!(restored.addresses(), [] as [std::net::Ipv6Addr; 0]);
}

fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let length = match length {
        [0, short @ 0..=0x7f] => vec![short],
        [0, long] => vec![0x81, long],
        [high, low] => vec![0x82, high, low],
    };
    [&[tag][..], &length, body].concat()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A PKCS#12 file with so many encrypted parts, each of as many rounds as one may ask for.
fn laborious(parts: usize) -> Vec<u8> {
    let rounds = tlv(0x02, &MAX_ROUNDS.to_be_bytes()[1..]);
    let derivation = [hex("06092a864886f70d01050c"), tlv(0x30, &[tlv(0x04, &[7; 8]), rounds].concat())].concat();
    let cipher = [hex("060960864801650304012a"), tlv(0x04, &[0; 16])].concat();
    let scheme = tlv(0x30, &[tlv(0x30, &derivation), tlv(0x30, &cipher)].concat());
    let scheme = tlv(0x30, &[hex("06092a864886f70d01050d"), scheme].concat());
    let info = tlv(0x30, &[hex("06092a864886f70d010701"), scheme, tlv(0x80, &[0; 16])].concat());
    let data = tlv(0x30, &[hex("020100"), info].concat());
    let part = tlv(0x30, &[hex("06092a864886f70d010706"), tlv(0xa0, &data)].concat());
    let content = [hex("06092a864886f70d010701"), tlv(0xa0, &tlv(0x04, &tlv(0x30, &part.repeat(parts))))].concat();
    let digest = tlv(0x30, &[hex("300d06096086480165030402010500"), tlv(0x04, &[0; 32])].concat());
    let mac = tlv(0x30, &[digest, tlv(0x04, &[7; 8])].concat());
    tlv(0x30, &[hex("020103"), tlv(0x30, &content), mac].concat())
}

#[test]
fn many_parts_that_each_ask_for_little_enough_ask_for_too_much_together() {
    assert_eq!(container::check_form(&laborious(MAX_BAGS)), Ok(()));
    let rounds = u64::from(MAX_ROUNDS) * (MAX_BAGS as u64 + 1);
    assert_eq!(container::check_form(&laborious(MAX_BAGS + 1)), Err(ContainerError::Rounds { rounds }));
}

#[test]
fn a_clock_that_is_set_back_for_ever_keeps_no_address_in_use() {
    // Midnight never comes: every four hours somebody sets the clock back to the time before.
    let stuck = |hours: u64| {
        let utc = UNIX_EPOCH + NOW + Duration::from_secs(hours % 4 * 3600);
        Clock { boot: BOOT, uptime: Duration::from_secs(hours * 3600), utc: Some(utc) }
    };
    let mut schedule = obeyed(Schedule::new(Network::LAB, stuck(0)), 0, stuck(0));
    let first = schedule.preferred().unwrap();
    // The first day was eight hours old.
    for hour in 1..=42 - 8 + 1 {
        schedule = obeyed(schedule, u8::try_from(100 + hour).unwrap(), stuck(hour));
        assert!(schedule.preferred().is_some());
    }
    assert_ne!(schedule.preferred(), Some(first), "42 hours are the longest use");
}

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32], Network::LAB, UNIX_EPOCH + NOW).unwrap()
}

#[test]
fn the_algorithm_that_is_signed_is_the_one_beside_the_signature() {
    let owner = identity(7);
    let der = owner.certificate().der();
    // Certificate and TBSCertificate each begin with 30 82 and two octets of length; the signature is the end.
    assert_eq!((der[..2].to_vec(), der[4..6].to_vec()), (hex("3082"), hex("3082")));
    let end = 8 + usize::from(u16::from_be_bytes([der[6], der[7]]));
    let (tbs, rest) = der[4..].split_at(end - 4);
    let resigned = |tbs: &[u8]| {
        let beside = &rest[..rest.len() - 64];
        let forged = [&der[..4], tbs, beside, &owner.sign(tbs).unwrap()].concat();
        IdentityCertificate::verify(&forged, Network::LAB, UNIX_EPOCH + NOW).map(drop)
    };
    assert_eq!(resigned(tbs), Ok(()));
    let ed25519 = hex("300506032b6570");
    let at = tbs.windows(ed25519.len()).position(|window| window == ed25519).unwrap();
    let mut ed448 = tbs.to_vec();
    ed448[at + ed25519.len() - 1] = 0x71;
    assert_eq!(resigned(&ed448), Err(CertificateError::SignatureAlgorithm));
}

#[test]
fn an_identity_key_has_no_second_certificate_beside_it() {
    const PASSWORD: &str = "correct horse";
    let (owner, other) = (identity(7), identity(8));
    let load = |certificates: &[&[u8]]| {
        let pkcs8 = [hex("302e020100300506032b657004220420"), vec![7; 32]].concat();
        let certificates: Vec<_> = certificates.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
        let chain = PrivateKeyChain::new(vec![0], PrivateKey::from_der(&pkcs8).unwrap(), certificates);
        let mut store = KeyStore::new();
        store.add_entry("identity", KeyStoreEntry::PrivateKeyChain(chain));
        let bytes = store.writer(PASSWORD).encryption_iterations(2).mac_iterations(2).write().unwrap();
        container::load(&bytes, PASSWORD, Network::LAB, UNIX_EPOCH + NOW).map(drop)
    };
    let own = owner.certificate().der();
    assert_eq!(load(&[own]), Ok(()));
    let refused = Err(ContainerError::Certificates { found: 2, expected: 1 });
    assert_eq!(load(&[own, other.certificate().der()]), refused);
    let operational = owner.delegate(UNIX_EPOCH + NOW, 0).unwrap();
    assert_eq!(load(&[own, operational.certificate_der()]), refused);
}
