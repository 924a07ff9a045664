// SPDX-License-Identifier: GPL-2.0-or-later
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::file::on_disk;
use super::writer::RETRY;
use super::*;

/// A disk in memory that may be full, and outlives the database on it.
#[derive(Debug, Clone, Default)]
struct Disk {
    octets: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
    /// Whether what is written makes redb panic, as a damaged page does that it comes to.
    damaged: Arc<AtomicBool>,
}

impl Disk {
    fn open(&self) -> Result<redb::Database, redb::DatabaseError> {
        redb::Database::builder().create_with_backend(self.clone())
    }

    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.octets.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let begin = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.octets.lock().unwrap()[begin..begin + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.octets.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.room()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        assert!(!self.damaged.load(Ordering::Relaxed), "damaged on purpose");
        let begin = usize::try_from(offset).unwrap();
        self.octets.lock().unwrap()[begin..begin + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn wait_until(what: &str, limit: Duration, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_a_full_disk_refused_is_written_when_there_is_room_again() {
    let disk = Disk::default();
    let again = disk.clone();
    let database = Database::start(Path::new("disk"), disk.open().unwrap(), 0, move || again.open()).unwrap();
    database.write_last(vec![change(b"a", Some(b"1"), Some(b"m"))]);
    disk.full.store(true, Ordering::Relaxed);
    database.write_last(vec![change(b"b", Some(b"2"), Some(b"n"))]);
    wait_until("the failure is not seen", Duration::from_secs(5), || database.is_failing());
    database.write_last(vec![change(b"c", Some(b"3"), Some(b"o"))]);
    disk.full.store(false, Ordering::Relaxed);
    wait_until("nothing is written any more", RETRY * 2, || !database.is_failing());
    drop(database);
    let mut kept = Vec::new();
    load(&disk.open().unwrap(), &mut |stored| kept.push(owned(stored))).unwrap();
    assert_eq!(kept.iter().map(|change| change.key.as_slice()).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
}

#[test]
fn a_page_that_makes_redb_panic_is_a_failure_and_what_was_to_be_written_is_tried_again() {
    let disk = Disk::default();
    let again = disk.clone();
    let database = Database::start(Path::new("disk"), disk.open().unwrap(), 0, move || again.open()).unwrap();
    database.write_last(vec![change(b"a", Some(b"1"), Some(b"m"))]);
    disk.damaged.store(true, Ordering::Relaxed);
    database.write_last(vec![change(b"b", Some(b"2"), Some(b"n"))]);
    wait_until("the failure is not seen", Duration::from_secs(5), || database.is_failing());
    disk.damaged.store(false, Ordering::Relaxed);
    wait_until("nothing is written any more", RETRY * 2, || !database.is_failing());
    drop(database);
    let mut kept = Vec::new();
    load(&disk.open().unwrap(), &mut |stored| kept.push(owned(stored))).unwrap();
    assert_eq!(kept.iter().map(|change| change.key.as_slice()).collect::<Vec<_>>(), [b"a", b"b"]);
}

#[test]
fn a_writer_that_has_ended_is_failing_and_loses_nothing_that_it_is_given() {
    let (changes, ended) = mpsc::sync_channel(WAITING);
    drop(ended);
    let database = Database { changes: Some(changes), failing: Arc::default(), writer: None };
    let given = vec![change(b"a", Some(b"1"), Some(b"m"))];
    assert_eq!(database.write(given.clone()), given);
    assert!(database.is_failing());
}

/// A writer that was given nothing yet.
fn writer<R>(path: PathBuf, reopen: R) -> Writer<R> {
    Writer {
        path,
        database: None,
        reopen,
        pending: BTreeMap::new(),
        octets: 0,
        turned_over: 0,
        failing: Arc::default(),
    }
}

#[test]
fn a_file_that_cannot_be_made_smaller_is_still_written() {
    let (disk, folder) = (Disk::default(), tempfile::tempdir().unwrap());
    let again = disk.clone();
    // What says how much the file takes.
    let path = folder.path().join("records.redb");
    std::fs::write(&path, vec![1; 8 * 1024 * 1024]).unwrap();
    let mut writer = writer(path, move || again.open());
    writer.pending.insert(b"a".to_vec(), change(b"a", Some(&[1; 100]), Some(b"m")));
    writer.write().unwrap();
    let database = writer.database.take().unwrap();
    assert!(writer.turned_over >= 100);
    let database = writer.compacted(database).expect("too little was written since");
    writer.turned_over = 16 * 1024 * 1024;
    disk.full.store(true, Ordering::Relaxed);
    assert!(writer.compacted(database).is_none());
    assert_eq!(writer.turned_over, 0, "it is not tried again at once");
    disk.full.store(false, Ordering::Relaxed);
    let database = disk.open().unwrap();
    writer.turned_over = 16 * 1024 * 1024;
    disk.damaged.store(true, Ordering::Relaxed);
    assert!(writer.compacted(database).is_none());
    disk.damaged.store(false, Ordering::Relaxed);
    writer.pending.insert(b"b".to_vec(), change(b"b", Some(b"2"), None));
    writer.write().unwrap();
    drop(writer);
    let mut kept = Vec::new();
    load(&disk.open().unwrap(), &mut |stored| kept.push(owned(stored))).unwrap();
    assert_eq!(kept.iter().map(|change| change.key.as_slice()).collect::<Vec<_>>(), [b"a", b"b"]);
}

#[test]
fn marks_alone_do_not_have_the_file_packed_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let name = path.clone();
    let mut writer = writer(path.clone(), move || create(&name));
    let marks = |number: u32| change(&[&number.to_be_bytes()[..], &[0; 28]].concat(), None, Some(&[7; 60]));
    let mut write = |numbers: std::ops::Range<u32>| {
        writer.pending.extend(numbers.map(marks).map(|change| (change.key.clone(), change)));
        writer.write().unwrap();
        writer.turned_over
    };
    write(0..60_000);
    let size = on_disk(&path);
    assert!(size > 4 * 1024 * 1024, "{size}");
    let before = write(0..1);
    let growth = (1..20)
        .map(|number| write(number..number + 1))
        .fold((before, 0), |(last, most), now| (now, most.max(now - last)));
    assert!(growth.1 < 200, "nothing but what was written counts: {growth:?}");
}

fn change(key: &[u8], record: Option<&[u8]>, marks: Option<&[u8]>) -> Change {
    Change { key: key.to_vec(), record: record.map(<[u8]>::to_vec), marks: marks.map(<[u8]>::to_vec) }
}

fn owned((key, record, marks): Stored<'_>) -> Change {
    change(key, record, marks)
}

fn open(path: &Path) -> Result<(Database, Vec<Change>, Loaded), DatabaseError> {
    let mut kept = Vec::new();
    let (database, loaded) = Database::open(path, |stored| kept.push(owned(stored)))?;
    Ok((database, kept, loaded))
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let (database, loaded, _) = open(&path).unwrap();
    assert_eq!(loaded, []);
    database.write_last(vec![change(b"a", Some(b"1"), Some(b"m")), change(b"b", Some(b"2"), Some(b"n"))]);
    database.write_last(vec![change(b"b", None, Some(b"o")), change(b"c", Some(b"3"), None)]);
    database.write_last(vec![change(b"c", None, None)]);
    drop(database);
    let (_database, loaded, _) = open(&path).unwrap();
    assert_eq!(loaded, [change(b"a", Some(b"1"), Some(b"m")), change(b"b", None, Some(b"o"))]);
}

#[test]
fn the_file_stays_below_twice_the_octets_of_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let (database, _) = Database::open(&path, |_| ()).unwrap();
    let numbers = |round: u8| (0..8000_u16).filter(move |number| round < 3 || number % 4 == 0);
    let value = |round: u8| vec![round; 1056];
    for round in 0..5 {
        // First in the order of the keys, which leaves every leaf half empty; then renewed; then most of them leave.
        if round == 3 {
            let gone = (0..8000_u16).filter(|number| number % 4 != 0);
            database.write_last(gone.map(|number| change(&number.to_be_bytes(), None, None)).collect());
        }
        for number in numbers(round) {
            database.write_last(vec![change(&number.to_be_bytes(), Some(&value(round)), Some(&[round; 60]))]);
        }
    }
    drop(database);
    let mut octets = 0;
    let (_database, kept, _) = open(&path).unwrap();
    for (stored, number) in kept.iter().zip(numbers(4)) {
        assert_eq!(*stored, change(&number.to_be_bytes(), Some(&value(4)), Some(&[4; 60])));
        octets += value(4).len() as u64;
    }
    assert_eq!(kept.len(), numbers(4).count());
    let size = on_disk(&path);
    assert!(size <= (octets * 2).max(4 * 1024 * 1024 + 512 * 1024), "{size} octets for {octets}");
}

#[test]
fn a_file_that_is_no_database_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    for (garbage, kept_as) in [(vec![0x55_u8; 8192], "damaged"), (vec![1, 2, 3], "damaged.1")] {
        std::fs::write(&path, &garbage).unwrap();
        let (database, loaded, _) = open(&path).unwrap();
        assert_eq!(loaded, []);
        assert_eq!(std::fs::read(path.with_extension(kept_as)).unwrap(), garbage);
        drop(database);
    }
}

#[test]
fn an_empty_file_is_told_and_takes_the_place_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    std::fs::write(&path, []).unwrap();
    let (database, loaded) = Database::open(&path, |_| ()).unwrap();
    assert_eq!(loaded, Loaded::Damaged);
    assert!(matches!(Database::open(&path, |_| ()), Err(DatabaseError::InUse { .. })));
    drop(database);
    assert_eq!(Database::open(&path, |_| ()).unwrap().1, Loaded::Whole);
    assert!(!path.with_extension("damaged").exists());
}

#[test]
fn a_torn_file_is_moved_aside_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let (database, _, _) = open(&path).unwrap();
    let changes = (0..200u8).map(|number| change(&[number], Some(&[number; 900]), Some(b"m"))).collect();
    database.write_last(changes);
    drop(database);
    let whole = std::fs::read(&path).unwrap();
    for part in 1..20 {
        // What a disk may lose: the end, or a stretch in the middle.
        let at = whole.len() * part / 20;
        let mut holed = whole.clone();
        holed[at..(at + 4096).min(whole.len())].fill(0);
        for torn in [&whole[..at], &holed] {
            std::fs::write(&path, torn).unwrap();
            let (database, kept, loaded) = open(&path).unwrap();
            assert!(kept.len() == 200 || loaded == Loaded::Damaged || torn.len() == whole.len());
            database.write_last(vec![change(b"new", Some(b"1"), None)]);
            drop(database);
            assert!(open(&path).unwrap().1.contains(&change(b"new", Some(b"1"), None)), "it is written to again");
        }
    }
}

#[test]
fn two_processes_cannot_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.redb");
    let _first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(DatabaseError::InUse { .. })));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = open(Path::new("/nonexistent/records.redb")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/records.redb"), "{error}");
}
