// SPDX-License-Identifier: GPL-2.0-or-later
//! A folder of keys signed ahead, and a clock that the test moves over the ends of months.
#![allow(clippy::unwrap_used)]

use super::*;
use cgeid::Identity;
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";

/// An identity, and the folder that `cgeid new --months` would have left.
struct Folder {
    folder: TempDir,
    identity: Identity,
    /// When the month begins for which the first key is, after the identity was made.
    begin: SystemTime,
}

impl Folder {
    fn new(months: &[u32]) -> Self {
        let wall = SystemTime::now();
        let identity = Identity::generate_ed25519(Network::LAB, wall).unwrap();
        let begin = epoch::period_start(identity.cn(), epoch::period(identity.cn(), wall) + 1).unwrap();
        let this = Self { folder: tempfile::tempdir().unwrap(), identity, begin };
        std::fs::write(this.password_file(), PASSWORD).unwrap();
        for month in months {
            this.write(*month, 0);
        }
        this
    }

    fn password_file(&self) -> PathBuf {
        self.folder.path().join("pw")
    }

    fn cn(&self) -> Cn {
        self.identity.cn()
    }

    fn month(&self, month: u32) -> SystemTime {
        self.begin + epoch::PERIOD * month
    }

    /// The file of a month, as `cgeid` names it.
    fn path(&self, month: u32, revision: u8) -> PathBuf {
        let number = self.epoch(month) + u32::from(revision);
        self.folder.path().join(match month {
            0 => container::operational_file_name(self.cn()),
            _ => format!("{}.op.{number}.p12", self.cn()),
        })
    }

    fn epoch(&self, month: u32) -> u32 {
        epoch::epoch(epoch::period(self.cn(), self.begin) + month, 0)
    }

    fn write(&self, month: u32, revision: u8) {
        let now = self.begin + Duration::from_secs(600);
        let key = self.identity.delegate_revision(now, month, revision).unwrap();
        let bytes = container::save_operational_under(container::Password::Random, &key, PASSWORD).unwrap();
        std::fs::write(self.path(month, revision), bytes).unwrap();
    }

    fn open(&self, now: SystemTime) -> anyhow::Result<(KeyFiles, Vec<OperationalKey>)> {
        KeyFiles::open(&[self.path(0, 0)], Some(&self.password_file()), Network::LAB, now)
    }
}

fn epochs(keys: &[OperationalKey]) -> Vec<u32> {
    keys.iter().map(OperationalKey::epoch).collect()
}

#[test]
fn the_next_key_is_picked_up_when_its_month_begins_and_not_opened_before() {
    let folder = Folder::new(&[0, 1]);
    // Not a key at all, and not needed for two months: whoever opened it would complain.
    std::fs::write(folder.path(2, 0), "not yet written").unwrap();
    let (mut files, keys) = folder.open(folder.month(0) + DAY).unwrap();
    assert_eq!(epochs(&keys), [folder.epoch(0)]);
    assert_eq!(epochs(&files.look(folder.month(1) - DAY)), [] as [u32; 0]);
    assert_eq!(epochs(&files.look(folder.month(1) + DAY)), [folder.epoch(1)]);
    assert_eq!(epochs(&files.look(folder.month(1) + 2 * DAY)), [] as [u32; 0], "once");
    assert_eq!(files.states()[0].epoch, folder.epoch(1));
}

#[test]
fn a_start_in_a_later_month_uses_the_key_of_that_month() {
    let folder = Folder::new(&[0, 1, 2]);
    let (_, keys) = folder.open(folder.month(2) + DAY).unwrap();
    assert_eq!(epochs(&keys), [folder.epoch(2)], "though the one that is named has ended");
    let (_, keys) = folder.open(folder.month(1) + DAY).unwrap();
    assert_eq!(epochs(&keys), [folder.epoch(1)], "though the one that is named is good for four days more");
    let error = folder.open(folder.month(4) + 10 * DAY).unwrap_err();
    assert!(format!("{error:#}").contains("expired"), "{error:#}");
}

#[test]
fn a_week_before_the_last_one_ends_it_is_said_and_at_the_end_too() {
    let folder = Folder::new(&[0, 1]);
    let (mut files, _) = folder.open(folder.month(0) + DAY).unwrap();
    let end = folder.month(1) + 35 * DAY;
    assert_eq!(files.states()[0].covered, Some(end));
    assert!(files.explain(end - 9 * DAY)[0].ends_with("last 9 more days"));
    let mut at = |now| {
        files.look(now);
        (files.states()[0].remaining(now), files.keys[0].told)
    };
    assert_eq!(at(end - 8 * DAY), (Remaining::Enough, None));
    let warned = end - 7 * DAY;
    let (remaining, told) = at(warned);
    assert_eq!(remaining, Remaining::EndsSoon);
    // The certificate begins two minutes before its month, and ends as much earlier.
    let told = told.unwrap();
    assert_eq!(told, warned);
    assert_eq!(at(warned + DAY / 2).1, Some(told), "once a day");
    assert_eq!(at(warned + DAY).1, Some(warned + DAY));
    assert_eq!(at(end).0, Remaining::Ended);
}

#[test]
fn a_key_that_is_put_there_late_is_found() {
    let folder = Folder::new(&[0]);
    let (mut files, _) = folder.open(folder.month(0) + DAY).unwrap();
    assert_eq!(files.states()[0].remaining(folder.month(1)), Remaining::EndsSoon);
    folder.write(1, 0);
    assert_eq!(epochs(&files.look(folder.month(1))), [folder.epoch(1)]);
    assert_eq!(files.states()[0].remaining(folder.month(1)), Remaining::Enough);
}

#[test]
fn a_replaced_file_is_opened_again_and_only_a_higher_epoch_counts() {
    let folder = Folder::new(&[0]);
    let now = folder.month(0) + DAY;
    let (mut files, _) = folder.open(now).unwrap();
    let before = stamp(&folder.path(0, 0));
    folder.write(0, 1);
    assert_ne!(stamp(&folder.path(0, 0)), before, "the clock of this file system is too coarse for the test");
    assert_eq!(epochs(&files.look(now)), [folder.epoch(0) + 1]);
    folder.write(0, 0);
    assert_eq!(epochs(&files.look(now)), [] as [u32; 0]);
}

#[test]
fn a_bad_file_gives_way_to_the_next_best() {
    let folder = Folder::new(&[0, 1]);
    std::fs::write(folder.path(2, 0), "damaged").unwrap();
    let stranger = Folder::new(&[0]);
    std::fs::copy(stranger.path(0, 0), folder.path(2, 1)).unwrap();
    let (mut files, _) = folder.open(folder.month(0) + DAY).unwrap();
    assert_eq!(epochs(&files.look(folder.month(2))), [folder.epoch(1)]);
}

#[test]
fn an_identity_key_is_refused_with_what_to_give_instead() {
    let folder = Folder::new(&[]);
    let bytes = container::save_identity_under(container::Password::Random, &folder.identity, PASSWORD).unwrap();
    std::fs::write(folder.path(0, 0), bytes).unwrap();
    let error = format!("{:#}", folder.open(folder.month(0) + DAY).unwrap_err());
    assert!(error.contains("op.p12") && error.contains("offline"), "{error}");
}

#[test]
fn a_node_with_an_identity_of_its_own_makes_the_next_key_itself() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let (mut files, key, made) = KeyFiles::own(folder.path(), Network::LAB, PuzzleBits::LAB, now).unwrap();
    assert!(made);
    let start = epoch::period_start(key.cn(), epoch::period(key.cn(), now) + 1).unwrap();
    assert_eq!(epochs(&files.look(start - DAY)), [] as [u32; 0]);
    assert_eq!(epochs(&files.look(start)), [key.epoch() + epoch::REVISIONS]);
    assert_eq!(files.states()[0].remaining(start + 300 * DAY), Remaining::Enough);
    let (_, kept, made) = KeyFiles::own(folder.path(), Network::LAB, PuzzleBits::LAB, start).unwrap();
    assert!(!made && kept.epoch() == key.epoch() + epoch::REVISIONS, "and keeps it");
}

#[test]
fn an_old_key_under_a_higher_number_hides_no_new_one() {
    let folder = Folder::new(&[0, 1]);
    let planted = folder.path(1, 7);
    std::fs::copy(folder.path(0, 0), &planted).unwrap();
    let (mut files, _) = folder.open(folder.month(0) + DAY).unwrap();
    assert_eq!(epochs(&files.look(folder.month(1) + DAY)), [folder.epoch(1)]);
}

#[test]
fn an_old_key_under_a_higher_number_is_not_started_with() {
    let folder = Folder::new(&[0]);
    // The key of this month was stolen, and another took its place.
    let stolen = folder.folder.path().join(format!("{}.op.{}.p12", folder.cn(), folder.epoch(0) + 200));
    std::fs::rename(folder.path(0, 0), stolen).unwrap();
    folder.write(0, 1);
    let (_, keys) = folder.open(folder.month(0) + DAY).unwrap();
    assert_eq!(epochs(&keys), [folder.epoch(0) + 1]);
}

#[test]
fn a_given_file_that_became_bad_keeps_no_later_key_from_being_found() {
    let folder = Folder::new(&[0, 1]);
    let (mut files, _) = folder.open(folder.month(0) + DAY).unwrap();
    std::fs::write(folder.path(0, 0), "half a file").unwrap();
    assert_eq!(epochs(&files.look(folder.month(1) + DAY)), [folder.epoch(1)]);
}

#[test]
fn what_is_no_file_is_not_waited_for_and_what_is_too_long_not_read() {
    let folder = Folder::new(&[0, 1]);
    let (mut files, _) = folder.open(folder.month(0) + DAY).unwrap();
    let endless = folder.folder.path().join(format!("{}.op.{}.p12", folder.cn(), folder.epoch(1) + 9));
    std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
    let long = folder.folder.path().join(format!("{}.op.{}.p12", folder.cn(), folder.epoch(1) + 8));
    std::fs::File::create(&long).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(epochs(&files.look(folder.month(1) + DAY)), [folder.epoch(1)]);
}

#[test]
fn many_other_files_hide_no_key() {
    let folder = Folder::new(&[0, 1]);
    for number in 0..2 * FOLDER {
        std::fs::File::create(folder.folder.path().join(format!("{number}.txt"))).unwrap();
    }
    let (mut files, _) = folder.open(folder.month(0) + DAY).unwrap();
    assert_eq!(epochs(&files.look(folder.month(1) + DAY)), [folder.epoch(1)]);
}
