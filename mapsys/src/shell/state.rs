// SPDX-License-Identifier: GPL-2.0-or-later
//! What survives a restart: last nonces, registrations, last sequences, index pages' versions, writers' first keys and subscriptions,
//! in one redb file.

mod moment;
#[cfg(test)]
mod taking_up;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use cgeid::Cn;
use cgeid::pins::Fingerprint;
use dht::publish::Sequence;
use dht::record::{RecordKey, Version};
use dht::shell::database::{guarded, is_damage};
use redb::backends::FileBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition, TableHandle as _,
    Value, WriteTransaction,
};
use wire::address::EidPrefix;
use wire::control::XtrIdentity;

use crate::engine::{Mark, Memory};
use crate::limits::{LEGACY_NONCE_MEMORY, STATE_CACHE};
use crate::register::label::AnyEid;
use crate::register::nonces::{Floor, Last, NonceOwner, SeenNonce};
use crate::register::renaming::{self, KnownKey, Salt};
use crate::subscribe::association::{KeyFloor, UsedKey};
use crate::subscribe::subscription::{Kept, SubscriptionKey};
use moment::Moment;

/// xTR-ID 16 ‖ Key ID 1 ‖ site name -> nonce 8 ‖ SHA-256 32.
const NONCES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("nonces");
/// Key ID 1 ‖ site name -> the highest nonce of those that were forgotten.
const NONCE_FLOORS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("nonce-floors");
/// Key ID 1 ‖ site name -> what the key is known by under another name, 16.
const SITE_KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("site-keys");
/// `last` -> what these are made with, 16.
const SALT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("salt");
/// As the key of [`NONCES`] ‖ nonce 8 -> when it was accepted, in seconds since 1970.
const SEEN: TableDefinition<'_, &[u8], u64> = TableDefinition::new("seen");
/// CN 12 -> sequence.
const SEQUENCES: TableDefinition<'_, &[u8], u64> = TableDefinition::new("sequences");
/// DHT key of an index page of ours -> the sequence under which it was stored.
const LIVE_PAGES: TableDefinition<'_, &[u8], u64> = TableDefinition::new("live-pages");
/// DHT key of an index page -> epoch 4 ‖ sequence 8.
const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");
/// `last` -> the last nonce of an unsolicited Map-Notify to xTRs that merge.
const NOTIFY_NONCES: TableDefinition<'_, &str, u64> = TableDefinition::new("notify-nonces");
/// xTR-ID 16 ‖ Site-ID 8 ‖ instance 4 ‖ EID-prefix as text -> the subscription as JSON.
const SUBSCRIPTIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("subscriptions");
/// xTR-ID 16 ‖ Site-ID 8 ‖ nonce 8 ‖ digest 8 of each one-time key that has made a security association.
const USED_KEYS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("used-keys");
/// xTR-ID 16 ‖ Site-ID 8 -> the highest nonce of those that were forgotten.
const KEY_FLOORS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("key-floors");
/// CN 12 -> SHA-512 of the key 64 ‖ last use in seconds since 1970 8.
const PINS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pins");
/// EID ([`encode_eid`]) -> what is registered for it ([`crate::register::kept`]).
const REGISTRATIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("registrations");
/// When something was written last: `last` -> the age of the state in seconds, `wall`, `up` and `boot` -> the [`Moment`], whose boot is 0
/// where the machine does not say it.
const SERVED: TableDefinition<'_, &str, u64> = TableDefinition::new("served");

/// The file.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// `None` after a failure: redb takes nothing more then until it is opened anew.
    database: Mutex<Option<Database>>,
    /// When it was opened, and how old the state was then.
    began: (Instant, Duration),
}

impl State {
    /// Opens or makes the file, and reads what the last run left; it is `now` by the clock that is gone by. The log says how much that is,
    /// and warns of what is lost.
    ///
    /// # Errors
    /// When it cannot be had, or is not ours.
    pub fn open(path: &Path, now: SystemTime) -> anyhow::Result<(Self, Memory)> {
        let was_emptied = std::fs::metadata(path).is_ok_and(|file| file.len() == 0);
        let open = || -> Result<(Self, Memory), redb::Error> {
            let file = private(path)?;
            // One that a former version has made may be open to others.
            file.set_permissions(Permissions::from_mode(0o600))?;
            let mut database =
                Database::builder().set_cache_size(STATE_CACHE).create_with_backend(FileBackend::new(file)?)?;
            // Else a page that is not as it was written is only found when it is read, and may be taken for an empty one.
            let was_whole = database.check_integrity()?;
            let transaction = database.begin_write()?;
            renew_ages(&mut Tables::open(&transaction)?.seen, now)?;
            draw_salt(&mut transaction.open_table(SALT)?)?;
            transaction.commit()?;
            let mut unreadable = BTreeMap::new();
            let memory = read(&database, Moment::now(), &mut unreadable)?;
            say(path, &memory, (was_emptied, was_whole), &unreadable);
            let began = (Instant::now(), memory.age);
            Ok((Self { path: path.to_owned(), database: Mutex::new(Some(database)), began }, memory))
        };
        guarded(open).map_err(|error| {
            let way_out = if is_damage(&error) { WAY_OUT } else { "" };
            anyhow::Error::new(error).context(format!("cannot use the state file {}{way_out}", path.display()))
        })
    }

    /// Writes marks; returns when they are on disk. After a failure the file is opened anew: a disk may have room again.
    ///
    /// # Errors
    /// When they are not.
    pub fn write(&self, marks: &[Mark]) -> anyhow::Result<()> {
        let mut kept = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || -> Result<Database, redb::Error> {
            let database = match kept.take() {
                Some(database) => database,
                None => Database::builder().set_cache_size(STATE_CACHE).open(&self.path)?,
            };
            let transaction = database.begin_write()?;
            let mut tables = Tables::open(&transaction)?;
            let (began, before) = self.began;
            tables.put_moment(before + began.elapsed(), Moment::now())?;
            marks.iter().try_for_each(|mark| tables.put(mark))?;
            drop(tables);
            transaction.commit()?;
            Ok(database)
        };
        *kept = Some(guarded(write).context("cannot write the state file")?);
        Ok(())
    }
}

/// Opens or makes a file that is never open to others than its owner: the keys of subscriptions are in it.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// What can be done about a file that is damaged. Who forgets nonces decides that himself.
const WAY_OUT: &str = ", which is damaged or none of ours: bring back a copy, or move it away, and all that was registered is forgotten and \
                       a Map-Register of before is taken once more";

/// Says what is taken up, and what is lost. Rows of registrations are read later, by the Map-Server, which warns of those itself.
fn say(path: &Path, memory: &Memory, (was_emptied, was_whole): (bool, bool), unreadable: &BTreeMap<String, usize>) {
    let (file, rows) = (path.display(), unreadable.values().sum::<usize>());
    let (registrations, subscriptions) = (memory.registrations.len(), memory.subscriptions.len());
    let nonces = memory.nonces.len() + memory.seen.len();
    tracing::info!(%file, registrations, nonces, subscriptions, unreadable = rows, "state taken up");
    if was_emptied {
        tracing::warn!(%file, "the state file was empty: a Map-Register of before is taken once more");
    }
    if !was_whole {
        tracing::warn!(%file, "the state file was damaged: what was written last is lost");
    }
    if rows > 0 {
        tracing::warn!(%file, ?unreadable, "rows of the state file cannot be read: what they say is forgotten");
    }
}

/// What the tables say; counts by table what cannot be read.
fn read(database: &Database, now: Moment, unreadable: &mut BTreeMap<String, usize>) -> Result<Memory, redb::Error> {
    let transaction = &database.begin_read()?;
    let bad = unreadable;
    let page = |key: &[u8]| RecordKey::decode(key).ok();
    let (age, away) = times(transaction, now)?;
    Ok(Memory {
        nonces: rows((transaction, &mut *bad), NONCES, |owner, last| decode_owner(owner).zip(decode_last(last)))?,
        nonce_floors: rows((transaction, &mut *bad), NONCE_FLOORS, decode_floor)?,
        seen: rows((transaction, &mut *bad), SEEN, decode_seen)?,
        site_keys: rows((transaction, &mut *bad), SITE_KEYS, decode_site_key)?,
        salt: transaction
            .open_table(SALT)?
            .get(LAST)?
            .and_then(|salt| salt.value().try_into().ok())
            .unwrap_or_default(),
        sequences: rows((transaction, &mut *bad), SEQUENCES, |cn, sequence| {
            Some((Cn(cn.try_into().ok()?), Sequence(sequence)))
        })?,
        live_pages: rows((transaction, &mut *bad), LIVE_PAGES, |key, sequence| Some((page(key)?, Sequence(sequence))))?,
        pages: rows((transaction, &mut *bad), PAGES, |key, version| page(key).zip(decode_version(version)))?,
        pins: rows((transaction, &mut *bad), PINS, |_, pin| decode_pin(pin))?,
        notify_nonce: transaction.open_table(NOTIFY_NONCES)?.get(LAST)?.map_or(0, |nonce| nonce.value()),
        subscriptions: rows((transaction, &mut *bad), SUBSCRIPTIONS, |_, kept| {
            serde_json::from_slice::<Kept>(kept).ok()
        })?,
        used_keys: rows((transaction, &mut *bad), USED_KEYS, |used, ()| decode_used(used))?,
        key_floors: rows((transaction, &mut *bad), KEY_FLOORS, |xtr, nonce| {
            decode_xtr(xtr).map(|(xtr, _)| KeyFloor { xtr, nonce })
        })?,
        registrations: rows((transaction, &mut *bad), REGISTRATIONS, |key, row| Some((key.into(), row.into())))?,
        age,
        away,
    })
}

/// What the rows of a table say; what cannot be read says nothing, and is counted.
fn rows<V: Value + 'static, T, C: Default + Extend<T>>(
    (transaction, unreadable): (&ReadTransaction, &mut BTreeMap<String, usize>),
    table: TableDefinition<'_, &'static [u8], V>,
    decode: impl for<'a> Fn(&'a [u8], V::SelfType<'a>) -> Option<T>,
) -> Result<C, redb::Error> {
    let mut decoded = C::default();
    for row in transaction.open_table(table)?.iter()? {
        let (key, value) = row?;
        let said = decode(key.value(), value.value());
        if said.is_none() {
            *unreadable.entry(table.name().to_owned()).or_default() += 1;
        }
        decoded.extend(said);
    }
    Ok(decoded)
}

/// How old all is, and since when nobody was served.
fn times(transaction: &ReadTransaction, now: Moment) -> Result<(Duration, Duration), redb::Error> {
    let served = transaction.open_table(SERVED)?;
    let seconds = |name| Ok::<_, redb::Error>(served.get(name)?.map(|seconds| seconds.value()));
    let boot = seconds(BOOT)?.and_then(NonZeroU64::new);
    let written = seconds(WALL)?.zip(seconds(UP)?).map(|(wall, up)| Moment { wall, up, boot });
    let away = written.map_or(Duration::ZERO, |written| now.since(written));
    Ok((Duration::from_secs(seconds(LAST)?.unwrap_or_default()) + away, away))
}

/// The tables, to be written.
struct Tables<'t> {
    nonces: Rows<'t, &'static [u8]>,
    nonce_floors: Rows<'t, u64>,
    site_keys: Rows<'t, &'static [u8]>,
    seen: Rows<'t, u64>,
    sequences: Rows<'t, u64>,
    live_pages: Rows<'t, u64>,
    pages: Rows<'t, &'static [u8]>,
    pins: Rows<'t, &'static [u8]>,
    notify_nonces: Table<'t, &'static str, u64>,
    subscriptions: Rows<'t, &'static [u8]>,
    used_keys: Rows<'t, ()>,
    key_floors: Rows<'t, u64>,
    registrations: Rows<'t, &'static [u8]>,
    served: Table<'t, &'static str, u64>,
}

type Rows<'t, V> = Table<'t, &'static [u8], V>;

impl<'t> Tables<'t> {
    /// Opens all, and makes those that are not there.
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            nonces: transaction.open_table(NONCES)?,
            nonce_floors: transaction.open_table(NONCE_FLOORS)?,
            site_keys: transaction.open_table(SITE_KEYS)?,
            seen: transaction.open_table(SEEN)?,
            sequences: transaction.open_table(SEQUENCES)?,
            live_pages: transaction.open_table(LIVE_PAGES)?,
            pages: transaction.open_table(PAGES)?,
            pins: transaction.open_table(PINS)?,
            notify_nonces: transaction.open_table(NOTIFY_NONCES)?,
            subscriptions: transaction.open_table(SUBSCRIPTIONS)?,
            used_keys: transaction.open_table(USED_KEYS)?,
            key_floors: transaction.open_table(KEY_FLOORS)?,
            registrations: transaction.open_table(REGISTRATIONS)?,
            served: transaction.open_table(SERVED)?,
        })
    }

    /// When this is written, by which a start knows how old all is.
    fn put_moment(&mut self, age: Duration, Moment { wall, up, boot }: Moment) -> Result<(), redb::Error> {
        let boot = boot.map_or(0, NonZeroU64::get);
        for (name, number) in [(LAST, age.as_secs()), (WALL, wall), (UP, up), (BOOT, boot)] {
            self.served.insert(name, number)?;
        }
        Ok(())
    }

    fn put(&mut self, mark: &Mark) -> Result<(), redb::Error> {
        match mark {
            Mark::Nonce(owner, last) => put(&mut self.nonces, &encode_owner(owner), &*encode_last(last)),
            Mark::ForgottenNonce(owner) => take(&mut self.nonces, &encode_owner(owner)),
            Mark::NonceFloor(floor) => {
                put(&mut self.nonce_floors, &encode_site_key(&floor.site, floor.key_id), floor.nonce)
            }
            Mark::SiteKey(key) => {
                put(&mut self.site_keys, &encode_site_key(&key.site, key.key_id), &key.fingerprint.0[..])
            }
            Mark::ForgottenSiteKey(site, key_id) => take(&mut self.site_keys, &encode_site_key(site, *key_id)),
            Mark::Seen(seen) => put(&mut self.seen, &encode_seen(&seen.owner, seen.nonce), seconds(seen.at)),
            Mark::ForgottenSeen(owner, nonce) => take(&mut self.seen, &encode_seen(owner, *nonce)),
            Mark::Sequence(cn, sequence) => put(&mut self.sequences, &cn.0, sequence.0),
            Mark::ForgottenSequence(cn) => take(&mut self.sequences, &cn.0),
            Mark::LivePage(key, sequence) => put(&mut self.live_pages, &key.encode(), sequence.0),
            Mark::ForgottenLivePage(key) => take(&mut self.live_pages, &key.encode()),
            Mark::Page(key, version) => put(&mut self.pages, &key.encode(), &*encode_version(*version)),
            Mark::Pin(fingerprint, used) => {
                put(&mut self.pins, &Cn::of_fingerprint(fingerprint).0, &*encode_pin(fingerprint, *used))
            }
            Mark::ForgottenPin(cn) => take(&mut self.pins, &cn.0),
            Mark::NotifyNonce(nonce) => {
                self.notify_nonces.insert(LAST, nonce)?;
                Ok(())
            }
            Mark::Subscription(kept) => {
                let value = serde_json::to_vec(kept).map_err(std::io::Error::from)?;
                put(&mut self.subscriptions, &encode_subscription(&kept.key()), &*value)
            }
            Mark::ForgottenSubscription(key) => take(&mut self.subscriptions, &encode_subscription(key)),
            Mark::UsedKey(used) => put(&mut self.used_keys, &encode_used(used), ()),
            Mark::ForgottenKey(used) => take(&mut self.used_keys, &encode_used(used)),
            Mark::KeyFloor(floor) => put(&mut self.key_floors, &encode_xtr(&floor.xtr), floor.nonce),
            Mark::Registration(eid, row) => put(&mut self.registrations, &encode_eid(eid), &**row),
            Mark::ForgottenRegistration(eid) => take(&mut self.registrations, &encode_eid(eid)),
            Mark::UnreadableRegistration(key) => take(&mut self.registrations, key),
        }
    }
}

/// Writes a row.
fn put<'v, V: Value + 'static>(
    table: &mut Rows<'_, V>,
    key: &[u8],
    value: impl Borrow<V::SelfType<'v>>,
) -> Result<(), redb::Error> {
    table.insert(key, value)?;
    Ok(())
}

/// Takes a row away, if it is there.
fn take<V: Value + 'static>(table: &mut Rows<'_, V>, key: &[u8]) -> Result<(), redb::Error> {
    table.remove(key)?;
    Ok(())
}

/// A kind ‖ of a prefix, instance 4 ‖ length 1 ‖ address; of a name, a MAC address or a pair, how it is shown.
fn encode_eid(eid: &AnyEid) -> Vec<u8> {
    match eid {
        AnyEid::Prefix(EidPrefix { iid, net }) => {
            let head = [&b"p"[..], &iid.0.to_be_bytes(), &[net.prefix_len()]].concat();
            match net.addr() {
                IpAddr::V4(address) => [&head[..], &address.octets()].concat(),
                IpAddr::V6(address) => [&head[..], &address.octets()].concat(),
            }
        }
        AnyEid::Label(label) => format!("l{label}").into_bytes(),
    }
}

/// The only key of [`NOTIFY_NONCES`], and one of [`SERVED`], as are the two below.
const LAST: &str = "last";
const WALL: &str = "wall";
const UP: &str = "up";
const BOOT: &str = "boot";

fn encode_subscription(key: &SubscriptionKey) -> Vec<u8> {
    let SubscriptionKey { xtr, prefix } = key;
    let net = prefix.net.to_string();
    [&encode_xtr(xtr)[..], &prefix.iid.0.to_be_bytes(), net.as_bytes()].concat()
}

fn encode_xtr(xtr: &XtrIdentity) -> Vec<u8> {
    [&xtr.xtr_id[..], &xtr.site_id.to_be_bytes()].concat()
}

/// The xTR, and what follows it.
fn decode_xtr(bytes: &[u8]) -> Option<(XtrIdentity, &[u8])> {
    let (xtr_id, rest) = bytes.split_first_chunk::<16>()?;
    let (site_id, rest) = rest.split_first_chunk::<8>()?;
    Some((XtrIdentity { xtr_id: *xtr_id, site_id: u64::from_be_bytes(*site_id) }, rest))
}

fn encode_used(used: &UsedKey) -> Vec<u8> {
    [&encode_xtr(&used.xtr)[..], &used.nonce.to_be_bytes(), &used.digest.to_be_bytes()].concat()
}

fn decode_used(bytes: &[u8]) -> Option<UsedKey> {
    let (xtr, rest) = decode_xtr(bytes)?;
    let (nonce, digest) = rest.split_first_chunk::<8>()?;
    let digest = u64::from_be_bytes(digest.try_into().ok()?);
    Some(UsedKey { xtr, nonce: u64::from_be_bytes(*nonce), digest })
}

fn encode_owner(owner: &NonceOwner) -> Vec<u8> {
    [&owner.xtr_id[..], &[owner.key_id], owner.site.as_bytes()].concat()
}

fn decode_owner(bytes: &[u8]) -> Option<NonceOwner> {
    let (xtr_id, rest) = bytes.split_first_chunk::<16>()?;
    let (key_id, site) = rest.split_first()?;
    Some(NonceOwner { site: String::from_utf8(site.to_vec()).ok()?, xtr_id: *xtr_id, key_id: *key_id })
}

/// Drops what the last run had no time to forget. The clock may have been set since, so that the youngest nonce tells how old the
/// others were; all of them get their age by the clock of now.
fn renew_ages(table: &mut Table<'_, &[u8], u64>, now: SystemTime) -> Result<(), redb::Error> {
    let mut rows: Vec<(Vec<u8>, u64)> = Vec::new();
    for row in table.iter()? {
        let (key, at) = row?;
        rows.push((key.value().to_vec(), at.value()));
    }
    let youngest = rows.iter().map(|(_, at)| *at).max().unwrap_or_default();
    for (key, at) in rows {
        let age = youngest - at;
        if age > LEGACY_NONCE_MEMORY.as_secs() {
            table.remove(key.as_slice())?;
        } else {
            table.insert(key.as_slice(), seconds(now).saturating_sub(age))?;
        }
    }
    Ok(())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn encode_seen(owner: &NonceOwner, nonce: u64) -> Vec<u8> {
    [&encode_owner(owner)[..], &nonce.to_be_bytes()].concat()
}

fn decode_seen(bytes: &[u8], at: u64) -> Option<SeenNonce> {
    let (owner, nonce) = bytes.split_last_chunk::<8>()?;
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(at))?;
    Some(SeenNonce { owner: decode_owner(owner)?, nonce: u64::from_be_bytes(*nonce), at })
}

fn encode_version(version: Version) -> Vec<u8> {
    [&version.epoch.to_be_bytes()[..], &version.sequence.to_be_bytes()].concat()
}

fn decode_version(bytes: &[u8]) -> Option<Version> {
    let (epoch, sequence) = bytes.split_first_chunk::<4>()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    Some(Version { epoch: u32::from_be_bytes(*epoch), sequence })
}

fn encode_pin(fingerprint: &Fingerprint, used: SystemTime) -> Vec<u8> {
    [&fingerprint[..], &seconds(used).to_be_bytes()].concat()
}

fn decode_pin(bytes: &[u8]) -> Option<(Fingerprint, SystemTime)> {
    let (fingerprint, used) = bytes.split_first_chunk()?;
    let used = Duration::from_secs(u64::from_be_bytes(used.try_into().ok()?));
    Some((*fingerprint, UNIX_EPOCH.checked_add(used)?))
}

fn encode_site_key(site: &str, key_id: u8) -> Vec<u8> {
    [&[key_id], site.as_bytes()].concat()
}

fn decode_floor(bytes: &[u8], nonce: u64) -> Option<Floor> {
    let (key_id, site) = bytes.split_first()?;
    Some(Floor { site: String::from_utf8(site.to_vec()).ok()?, key_id: *key_id, nonce })
}

fn decode_site_key(bytes: &[u8], fingerprint: &[u8]) -> Option<KnownKey> {
    let (key_id, site) = bytes.split_first()?;
    let fingerprint = renaming::Fingerprint(fingerprint.try_into().ok()?);
    Some(KnownKey { site: String::from_utf8(site.to_vec()).ok()?, key_id: *key_id, fingerprint })
}

/// Draws what the fingerprints of site keys are made with, if there is none.
fn draw_salt(table: &mut Table<'_, &str, &[u8]>) -> Result<(), redb::Error> {
    if table.get(LAST)?.is_none() {
        table.insert(LAST, &rand::random::<Salt>()[..])?;
    }
    Ok(())
}

fn encode_last(last: &Last) -> Vec<u8> {
    [&last.nonce.to_be_bytes()[..], &last.digest].concat()
}

fn decode_last(bytes: &[u8]) -> Option<Last> {
    let (nonce, digest) = bytes.split_first_chunk::<8>()?;
    Some(Last { nonce: u64::from_be_bytes(*nonce), digest: digest.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::register::label::Label;
    use crate::register::label::pair::Pair;
    use crate::subscribe::association::Key;
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
        let known = |site: &str, key_id| KnownKey {
            site: site.into(),
            key_id,
            fingerprint: renaming::Fingerprint([key_id; 16]),
        };
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
            state
                .write(&[Mark::NonceFloor(floor(5)), Mark::ForgottenNonce(owner), Mark::NonceFloor(floor(6))])
                .unwrap();
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
}
