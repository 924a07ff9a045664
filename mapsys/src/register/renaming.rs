// SPDX-License-Identifier: GPL-2.0-or-later
//! Sites that have another name: what was accepted of them before is still a replay, and what they registered stays.
//!
//! What is remembered is found by a site's name. When the configuration has a key of the same secret and Key ID for the same EIDs under
//! another name, at a reload or at a start, it is the same site, and takes over what is remembered of that key. No two sites have one EID
//! at a time, so that no site takes over what another one has.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lc_rs::hmac;

use super::site::{Site, SiteKey, SiteTable};
use crate::engine::Mark;
use crate::limits::KNOWN_SITE_KEYS;

/// Makes the fingerprints of one map system say nothing to those who have tables of others'.
pub type Salt = [u8; 16];

/// A key of a site together with its EIDs: HMAC-SHA-256 with the secret, over a salt, the Key ID and the EIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// A key of a site of which something is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Name of the site.
    pub site: String,
    /// Key ID.
    pub key_id: u8,
    /// What it is known by under another name.
    pub fingerprint: Fingerprint,
}

/// All such keys, by site and Key ID; also of sites that are gone.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    salt: Salt,
    by_site: HashMap<String, BTreeMap<u8, Fingerprint>>,
}

/// Sites that have another name.
#[derive(Debug, Default)]
pub struct Renamed {
    /// The new name, by former name and Key ID.
    by_key: BTreeMap<(String, u8), String>,
    /// The new name, by former name.
    by_name: HashMap<String, String>,
}

impl KnownKeys {
    /// Takes up what was kept on disk.
    pub(super) fn restore(salt: Salt, kept: impl IntoIterator<Item = KnownKey>) -> Self {
        let mut known = Self { salt, by_site: HashMap::new() };
        for KnownKey { site, key_id, fingerprint } in kept {
            known.by_site.entry(site).or_default().insert(key_id, fingerprint);
        }
        known
    }

    /// Takes note of a key with which something was registered; says what must be on disk for that.
    pub(super) fn note(&mut self, site: &Site, key_id: u8) -> Option<Mark> {
        if self.by_site.get(&site.name).is_some_and(|keys| keys.contains_key(&key_id)) {
            return None;
        }
        let key = site.keys.iter().find(|key| key.id == key_id)?;
        let fingerprint = fingerprint(&self.salt, site, key)?;
        Some(self.put(KnownKey { site: site.name.clone(), key_id, fingerprint }))
    }

    /// Compares the keys with those of a configuration: says which sites have another name now, and what must be on disk for that.
    pub(super) fn compare(&mut self, sites: &SiteTable) -> (Renamed, Vec<Mark>) {
        let configured = self.configured(sites);
        let differs = |key: &KnownKey| configured.get(&(key.site.as_str(), key.key_id)) != Some(&key.fingerprint);
        let former: HashMap<Fingerprint, KnownKey> =
            self.iter().filter(differs).map(|key| (key.fingerprint, key)).collect();
        // Of a site that is there as it was, another one can have a former key, but not what it has registered.
        let same: HashSet<String> = self.iter().filter(|key| !differs(key)).map(|key| key.site).collect();
        let (mut renamed, mut marks) = (Renamed::default(), Vec::new());
        for (&(site, key_id), fingerprint) in &configured {
            if let Some(key) = former.get(fingerprint) {
                renamed.note(key, site, !same.contains(&key.site));
                marks.extend(self.take(&key.site, key_id));
            }
        }
        // In turn, as two sites may have changed names.
        for (&(site, key_id), &fingerprint) in &configured {
            let is_new = former.contains_key(&fingerprint);
            let known = self.get(site, key_id);
            if is_new || known.is_some_and(|known| known != fingerprint) {
                marks.push(self.put(KnownKey { site: site.to_owned(), key_id, fingerprint }));
            }
        }
        if self.by_site.values().map(BTreeMap::len).sum::<usize>() > KNOWN_SITE_KEYS {
            let gone = |key: &KnownKey| !configured.contains_key(&(key.site.as_str(), key.key_id));
            let gone: Vec<KnownKey> = self.iter().filter(gone).collect();
            marks.extend(gone.iter().filter_map(|key| self.take(&key.site, key.key_id)));
        }
        (renamed, marks)
    }

    /// What there is by a configuration, the node's own xTR apart, whose key is another one at each start.
    fn configured<'s>(&self, sites: &'s SiteTable) -> HashMap<(&'s str, u8), Fingerprint> {
        let named = sites.iter().filter(|(id, _)| !sites.is_pipe(*id)).map(|(_, site)| site);
        let keys = named.flat_map(|site| site.keys.iter().map(move |key| (site, key)));
        keys.filter_map(|(site, key)| Some(((site.name.as_str(), key.id), fingerprint(&self.salt, site, key)?)))
            .collect()
    }

    fn iter(&self) -> impl Iterator<Item = KnownKey> + '_ {
        self.by_site.iter().flat_map(|(site, keys)| {
            keys.iter().map(|(key_id, fingerprint)| KnownKey {
                site: site.clone(),
                key_id: *key_id,
                fingerprint: *fingerprint,
            })
        })
    }

    fn get(&self, site: &str, key_id: u8) -> Option<Fingerprint> {
        self.by_site.get(site)?.get(&key_id).copied()
    }

    fn put(&mut self, key: KnownKey) -> Mark {
        self.by_site.entry(key.site.clone()).or_default().insert(key.key_id, key.fingerprint);
        Mark::SiteKey(key)
    }

    fn take(&mut self, site: &str, key_id: u8) -> Option<Mark> {
        let keys = self.by_site.get_mut(site)?;
        keys.remove(&key_id)?;
        if keys.is_empty() {
            self.by_site.remove(site);
        }
        Some(Mark::ForgottenSiteKey(site.to_owned(), key_id))
    }
}

/// `None` of a site without EIDs, for which nothing can be registered.
fn fingerprint(salt: &Salt, site: &Site, key: &SiteKey) -> Option<Fingerprint> {
    let prefixes = site.prefixes.iter().map(|known| known.prefix.to_string());
    let mut eids: Vec<String> = prefixes.chain(site.labels.iter().map(ToString::to_string)).collect();
    eids.sort_unstable();
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.secret.expose()));
    context.update(salt);
    context.update(&[key.id]);
    for eid in &eids {
        context.update(eid.as_bytes());
        context.update(b"\n");
    }
    let digest = context.sign();
    let first = digest.as_ref().first_chunk().copied()?;
    (!eids.is_empty()).then_some(Fingerprint(first))
}

impl Renamed {
    fn note(&mut self, former: &KnownKey, name: &str, is_all: bool) {
        self.by_key.insert((former.site.clone(), former.key_id), name.to_owned());
        if is_all && self.by_name.insert(former.site.clone(), name.to_owned()).is_none() {
            tracing::info!(site = name, former = former.site, "a site has another name, and what is remembered of it");
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The name of a site, by what was its name.
    pub(super) fn name_of<'a>(&'a self, former: &'a str) -> &'a str {
        self.by_name.get(former).map_or(former, String::as_str)
    }

    /// The new name, by former name and Key ID.
    pub(super) fn of_key(&self, site: &str, key_id: u8) -> Option<&str> {
        self.by_key.get(&(site.to_owned(), key_id)).map(String::as_str)
    }

    /// Former names with Key IDs, and the new names.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&(String, u8), &String)> {
        self.by_key.iter()
    }

    /// The new names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.values().map(String::as_str)
    }
}
