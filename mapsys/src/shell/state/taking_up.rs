// SPDX-License-Identifier: GPL-2.0-or-later
//! A start takes up what the last run has left, and says what of that is lost.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use cgeid::Cn;
use dht::publish::Sequence;
use dht::record::RecordKey;
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _, Value,
};

use super::moment::Moment;
use super::rows::{
    decode_floor, decode_last, decode_owner, decode_pin, decode_seen, decode_site_key, decode_used, decode_version,
    decode_xtr,
};
use super::tables::{
    BOOT, KEY_FLOORS, LAST, LIVE_PAGES, NONCE_FLOORS, NONCES, NOTIFY_NONCES, PAGES, PINS, REGISTRATIONS, SALT, SEEN,
    SEQUENCES, SERVED, SITE_KEYS, SUBSCRIPTIONS, UP, USED_KEYS, WALL,
};
use crate::engine::Memory;
use crate::subscribe::association::KeyFloor;
use crate::subscribe::subscription::Kept;

/// What the tables say; counts by table what cannot be read.
pub(super) fn read(
    database: &Database,
    now: Moment,
    unreadable: &mut BTreeMap<String, usize>,
) -> Result<Memory, redb::Error> {
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

/// Says what is taken up, and what is lost. Rows of registrations are read later, by the Map-Server, which warns of those itself.
pub(super) fn say(
    path: &Path,
    memory: &Memory,
    (was_emptied, was_whole): (bool, bool),
    unreadable: &BTreeMap<String, usize>,
) {
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
