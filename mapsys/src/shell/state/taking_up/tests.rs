// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of what the log says when a state file is taken up.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use wire::address::EidPrefix;

use crate::engine::Mark;
use crate::register::label::AnyEid;
use crate::register::nonces::{Last, NonceOwner};
use crate::shell::log::logged;
use crate::shell::state::State;
use crate::shell::state::rows::encode_owner;
use crate::shell::state::tables::Tables;
use crate::shell::state::writing::put;

/// What is logged when the file is opened, above the level debug.
fn said_of(path: &Path) -> Vec<String> {
    // What is first logged in another test, which listens to nothing, is not heard of by those that listen already.
    drop(State::open(&tempfile::tempdir().unwrap().path().join("other"), SystemTime::now()).unwrap());
    let lines = logged(|| drop(State::open(path, SystemTime::now()).unwrap()));
    let file = format!(" file={}", path.display());
    lines.into_iter().filter(|line| !line.starts_with("DEBUG")).map(|line| line.replace(&file, "")).collect()
}

#[test]
fn what_is_taken_up_is_said_and_what_is_lost_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let none = "INFO state taken up registrations=0 nonces=0 subscriptions=0 unreadable=0";
    assert_eq!(said_of(&path), [none], "a new file");
    let (state, _) = State::open(&path, SystemTime::now()).unwrap();
    let owner = |number| NonceOwner { site: "a".into(), xtr_id: [number; 16], key_id: 1 };
    let nonce = |number| Mark::Nonce(owner(number), Last { nonce: 5, digest: [1; 32] });
    let eid = AnyEid::Prefix(EidPrefix { iid: wire::address::InstanceId(0), net: "10.0.0.0/8".parse().unwrap() });
    state.write(&[nonce(1), nonce(2), Mark::Registration(eid, [1].into())]).unwrap();
    {
        let kept = state.database.lock().unwrap();
        let transaction = kept.as_ref().unwrap().begin_write().unwrap();
        put(&mut Tables::open(&transaction).unwrap().nonces, &encode_owner(&owner(2)), &[7_u8][..]).unwrap();
        transaction.commit().unwrap();
    }
    drop(state);
    let some = "INFO state taken up registrations=1 nonces=1 subscriptions=0 unreadable=1";
    let lost = "WARN rows of the state file cannot be read: what they say is forgotten unreadable={\"nonces\": 1}";
    assert_eq!(said_of(&path), [some, lost]);
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    let emptied = "WARN the state file was empty: a Map-Register of before is taken once more";
    assert_eq!(said_of(&path), [none, emptied]);
}

#[test]
fn a_page_that_is_not_as_it_was_written_is_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let (state, _) = State::open(&path, SystemTime::now()).unwrap();
    let owner = NonceOwner { site: "a site of some name".into(), xtr_id: [7; 16], key_id: 1 };
    state.write(&[Mark::Nonce(owner, Last { nonce: 5, digest: [0xd1; 32] })]).unwrap();
    drop(state);
    let whole = std::fs::read(&path).unwrap();
    let places: Vec<usize> = (0..whole.len() - 32).filter(|at| whole[*at..*at + 32] == [0xd1; 32]).collect();
    assert!(!places.is_empty());
    let mut damaged = whole;
    places.iter().for_each(|at| damaged[*at] = 0);
    std::fs::write(&path, damaged).unwrap();
    let mut found = None;
    let lines = logged(|| found = Some(State::open(&path, SystemTime::now())));
    let is_said = match found.unwrap() {
        Ok(_) => lines.iter().any(|line| line.starts_with("WARN the state file was damaged")),
        Err(error) => error.to_string().contains("move it away"),
    };
    assert!(is_said, "{lines:?}");
}

#[test]
fn a_file_that_is_damaged_anywhere_is_taken_up_or_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapsys.redb");
    let (state, _) = State::open(&path, SystemTime::now()).unwrap();
    let owner = |number| NonceOwner { site: "a".into(), xtr_id: [number; 16], key_id: 1 };
    let marks: Vec<_> = (0..100).map(|number| Mark::Nonce(owner(number), Last { nonce: 5, digest: [1; 32] })).collect();
    state.write(&marks).unwrap();
    drop(state);
    let whole = std::fs::read(&path).unwrap();
    // Where something is written, which is little of the file.
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut refused = 0;
    for damage in 0..300_usize {
        let mut damaged = whole.clone();
        (0..4).for_each(|at| damaged[used[(damage * 7919 + at * 104_729) % used.len()]] ^= 0xff);
        std::fs::write(&path, damaged).unwrap();
        if let Err(error) = State::open(&path, SystemTime::now()) {
            refused += usize::from(error.to_string().contains("move it away"));
        }
    }
    assert!(refused > 0);
}
