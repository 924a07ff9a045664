// SPDX-License-Identifier: GPL-2.0-or-later
//! What a start changes of what an older version or the last run has left, before it takes that up.

use std::time::SystemTime;

use redb::{ReadableTable as _, Table, WriteTransaction};

use super::rows::seconds;
use super::tables::{LAST, SALT, Tables};
use crate::limits::LEGACY_NONCE_MEMORY;
use crate::register::renaming::Salt;

/// Makes the tables that are not there, and what is in each file; it is `now` by the clock that is gone by.
pub(super) fn complete(transaction: &WriteTransaction, now: SystemTime) -> Result<(), redb::Error> {
    renew_ages(&mut Tables::open(transaction)?.seen, now)?;
    draw_salt(&mut transaction.open_table(SALT)?)
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

/// Draws what the fingerprints of site keys are made with, if there is none.
fn draw_salt(table: &mut Table<'_, &str, &[u8]>) -> Result<(), redb::Error> {
    if table.get(LAST)?.is_none() {
        table.insert(LAST, &rand::random::<Salt>()[..])?;
    }
    Ok(())
}
