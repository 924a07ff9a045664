// SPDX-License-Identifier: GPL-2.0-or-later
//! What each mark writes, or takes away.

use std::borrow::Borrow;
use std::num::NonZeroU64;
use std::time::Duration;

use cgeid::Cn;
use redb::Value;

use super::moment::Moment;
use super::rows::{
    encode_eid, encode_last, encode_owner, encode_pin, encode_seen, encode_site_key, encode_subscription, encode_used,
    encode_version, encode_xtr, seconds,
};
use super::tables::{BOOT, LAST, Rows, Tables, UP, WALL};
use crate::engine::Mark;

impl Tables<'_> {
    /// When this is written, by which a start knows how old all is.
    pub(super) fn put_moment(&mut self, age: Duration, Moment { wall, up, boot }: Moment) -> Result<(), redb::Error> {
        let boot = boot.map_or(0, NonZeroU64::get);
        for (name, number) in [(LAST, age.as_secs()), (WALL, wall), (UP, up), (BOOT, boot)] {
            self.served.insert(name, number)?;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, mark: &Mark) -> Result<(), redb::Error> {
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
pub(super) fn put<'v, V: Value + 'static>(
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
