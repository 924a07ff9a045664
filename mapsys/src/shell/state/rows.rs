// SPDX-License-Identifier: GPL-2.0-or-later
//! The form of keys and values: numbers are big-endian, and what follows the parts of a fixed length is text. What cannot be read is `None`.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::pins::Fingerprint;
use dht::record::Version;
use wire::address::EidPrefix;
use wire::control::XtrIdentity;

use crate::register::label::AnyEid;
use crate::register::nonces::{Floor, Last, NonceOwner, SeenNonce};
use crate::register::renaming::{self, KnownKey};
use crate::subscribe::association::UsedKey;
use crate::subscribe::subscription::SubscriptionKey;

pub(super) fn encode_owner(owner: &NonceOwner) -> Vec<u8> {
    [&owner.xtr_id[..], &[owner.key_id], owner.site.as_bytes()].concat()
}

pub(super) fn decode_owner(bytes: &[u8]) -> Option<NonceOwner> {
    let (xtr_id, rest) = bytes.split_first_chunk::<16>()?;
    let (key_id, site) = rest.split_first()?;
    Some(NonceOwner { site: String::from_utf8(site.to_vec()).ok()?, xtr_id: *xtr_id, key_id: *key_id })
}

pub(super) fn encode_last(last: &Last) -> Vec<u8> {
    [&last.nonce.to_be_bytes()[..], &last.digest].concat()
}

pub(super) fn decode_last(bytes: &[u8]) -> Option<Last> {
    let (nonce, digest) = bytes.split_first_chunk::<8>()?;
    Some(Last { nonce: u64::from_be_bytes(*nonce), digest: digest.try_into().ok()? })
}

pub(super) fn encode_site_key(site: &str, key_id: u8) -> Vec<u8> {
    [&[key_id], site.as_bytes()].concat()
}

pub(super) fn decode_site_key(bytes: &[u8], fingerprint: &[u8]) -> Option<KnownKey> {
    let (key_id, site) = bytes.split_first()?;
    let fingerprint = renaming::Fingerprint(fingerprint.try_into().ok()?);
    Some(KnownKey { site: String::from_utf8(site.to_vec()).ok()?, key_id: *key_id, fingerprint })
}

pub(super) fn decode_floor(bytes: &[u8], nonce: u64) -> Option<Floor> {
    let (key_id, site) = bytes.split_first()?;
    Some(Floor { site: String::from_utf8(site.to_vec()).ok()?, key_id: *key_id, nonce })
}

pub(super) fn encode_seen(owner: &NonceOwner, nonce: u64) -> Vec<u8> {
    [&encode_owner(owner)[..], &nonce.to_be_bytes()].concat()
}

pub(super) fn decode_seen(bytes: &[u8], at: u64) -> Option<SeenNonce> {
    let (owner, nonce) = bytes.split_last_chunk::<8>()?;
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(at))?;
    Some(SeenNonce { owner: decode_owner(owner)?, nonce: u64::from_be_bytes(*nonce), at })
}

pub(super) fn encode_version(version: Version) -> Vec<u8> {
    [&version.epoch.to_be_bytes()[..], &version.sequence.to_be_bytes()].concat()
}

pub(super) fn decode_version(bytes: &[u8]) -> Option<Version> {
    let (epoch, sequence) = bytes.split_first_chunk::<4>()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    Some(Version { epoch: u32::from_be_bytes(*epoch), sequence })
}

pub(super) fn encode_subscription(key: &SubscriptionKey) -> Vec<u8> {
    let SubscriptionKey { xtr, prefix } = key;
    let net = prefix.net.to_string();
    [&encode_xtr(xtr)[..], &prefix.iid.0.to_be_bytes(), net.as_bytes()].concat()
}

pub(super) fn encode_used(used: &UsedKey) -> Vec<u8> {
    [&encode_xtr(&used.xtr)[..], &used.nonce.to_be_bytes(), &used.digest.to_be_bytes()].concat()
}

pub(super) fn decode_used(bytes: &[u8]) -> Option<UsedKey> {
    let (xtr, rest) = decode_xtr(bytes)?;
    let (nonce, digest) = rest.split_first_chunk::<8>()?;
    let digest = u64::from_be_bytes(digest.try_into().ok()?);
    Some(UsedKey { xtr, nonce: u64::from_be_bytes(*nonce), digest })
}

pub(super) fn encode_xtr(xtr: &XtrIdentity) -> Vec<u8> {
    [&xtr.xtr_id[..], &xtr.site_id.to_be_bytes()].concat()
}

/// The xTR, and what follows it.
pub(super) fn decode_xtr(bytes: &[u8]) -> Option<(XtrIdentity, &[u8])> {
    let (xtr_id, rest) = bytes.split_first_chunk::<16>()?;
    let (site_id, rest) = rest.split_first_chunk::<8>()?;
    Some((XtrIdentity { xtr_id: *xtr_id, site_id: u64::from_be_bytes(*site_id) }, rest))
}

pub(super) fn encode_pin(fingerprint: &Fingerprint, used: SystemTime) -> Vec<u8> {
    [&fingerprint[..], &seconds(used).to_be_bytes()].concat()
}

pub(super) fn decode_pin(bytes: &[u8]) -> Option<(Fingerprint, SystemTime)> {
    let (fingerprint, used) = bytes.split_first_chunk()?;
    let used = Duration::from_secs(u64::from_be_bytes(used.try_into().ok()?));
    Some((*fingerprint, UNIX_EPOCH.checked_add(used)?))
}

/// A kind ‖ of a prefix, instance 4 ‖ length 1 ‖ address; of a name, a MAC address or a pair, how it is shown.
pub(super) fn encode_eid(eid: &AnyEid) -> Vec<u8> {
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

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
