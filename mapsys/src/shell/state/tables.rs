// SPDX-License-Identifier: GPL-2.0-or-later
//! What the tables of the file are: the form of their keys and values is that of [`super::rows`].

use redb::{Table, TableDefinition, WriteTransaction};

/// xTR-ID 16 ‖ Key ID 1 ‖ site name -> nonce 8 ‖ SHA-256 32.
pub(super) const NONCES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("nonces");
/// Key ID 1 ‖ site name -> the highest nonce of those that were forgotten.
pub(super) const NONCE_FLOORS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("nonce-floors");
/// Key ID 1 ‖ site name -> what the key is known by under another name, 16.
pub(super) const SITE_KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("site-keys");
/// `last` -> what these are made with, 16.
pub(super) const SALT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("salt");
/// As the key of [`NONCES`] ‖ nonce 8 -> when it was accepted, in seconds since 1970.
pub(super) const SEEN: TableDefinition<'_, &[u8], u64> = TableDefinition::new("seen");
/// CN 12 -> sequence.
pub(super) const SEQUENCES: TableDefinition<'_, &[u8], u64> = TableDefinition::new("sequences");
/// DHT key of an index page of ours -> the sequence under which it was stored.
pub(super) const LIVE_PAGES: TableDefinition<'_, &[u8], u64> = TableDefinition::new("live-pages");
/// DHT key of an index page -> epoch 4 ‖ sequence 8.
pub(super) const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");
/// `last` -> the last nonce of an unsolicited Map-Notify to xTRs that merge.
pub(super) const NOTIFY_NONCES: TableDefinition<'_, &str, u64> = TableDefinition::new("notify-nonces");
/// xTR-ID 16 ‖ Site-ID 8 ‖ instance 4 ‖ EID-prefix as text -> the subscription as JSON.
pub(super) const SUBSCRIPTIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("subscriptions");
/// xTR-ID 16 ‖ Site-ID 8 ‖ nonce 8 ‖ digest 8 of each one-time key that has made a security association.
pub(super) const USED_KEYS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("used-keys");
/// xTR-ID 16 ‖ Site-ID 8 -> the highest nonce of those that were forgotten.
pub(super) const KEY_FLOORS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("key-floors");
/// CN 12 -> SHA-512 of the key 64 ‖ last use in seconds since 1970 8.
pub(super) const PINS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pins");
/// EID ([`super::rows::encode_eid`]) -> what is registered for it ([`crate::register::kept`]).
pub(super) const REGISTRATIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("registrations");
/// When something was written last: `last` -> the age of the state in seconds, `wall`, `up` and `boot` -> the [`super::moment::Moment`], whose boot
/// is 0 where the machine does not say it.
pub(super) const SERVED: TableDefinition<'_, &str, u64> = TableDefinition::new("served");

/// The only key of [`SALT`] and of [`NOTIFY_NONCES`], and one of [`SERVED`], as are those below.
pub(super) const LAST: &str = "last";
pub(super) const WALL: &str = "wall";
pub(super) const UP: &str = "up";
pub(super) const BOOT: &str = "boot";

/// The tables, to be written.
pub(super) struct Tables<'t> {
    pub(super) nonces: Rows<'t, &'static [u8]>,
    pub(super) nonce_floors: Rows<'t, u64>,
    pub(super) site_keys: Rows<'t, &'static [u8]>,
    pub(super) seen: Rows<'t, u64>,
    pub(super) sequences: Rows<'t, u64>,
    pub(super) live_pages: Rows<'t, u64>,
    pub(super) pages: Rows<'t, &'static [u8]>,
    pub(super) pins: Rows<'t, &'static [u8]>,
    pub(super) notify_nonces: Table<'t, &'static str, u64>,
    pub(super) subscriptions: Rows<'t, &'static [u8]>,
    pub(super) used_keys: Rows<'t, ()>,
    pub(super) key_floors: Rows<'t, u64>,
    pub(super) registrations: Rows<'t, &'static [u8]>,
    pub(super) served: Table<'t, &'static str, u64>,
}

pub(super) type Rows<'t, V> = Table<'t, &'static [u8], V>;

impl<'t> Tables<'t> {
    /// Opens all, and makes those that are not there.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
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
}
