// SPDX-License-Identifier: GPL-2.0-or-later
//! What a map system that runs elsewhere shares with ITRs (RFC 9303) and with subscribers (RFC 9437): its file says it beside
//! `address`, as it says the keys of sites.

use std::net::Ipv4Addr;

use serde::Deserialize;
use toml::Spanned;

use super::Lack;
use super::error::Wrong;
use super::map_system::{Key, WrittenKey, parsed};

/// Subscribers that a file may number.
const SUBSCRIBERS: u8 = 64;

/// Secrets beside those of sites. What is not there is not judged.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// What each ITR at the addresses of the suites shares with the Map-Resolver, for LISP-SEC: one secret, or two that are told apart by
    /// Key ID.
    pub itr_keys: Vec<ItrKey>,
    /// The address of this machine from which it takes one-time keys unencrypted, as the path is protected otherwise.
    pub protected_path: Option<Ipv4Addr>,
    /// xTRs that may subscribe to everything.
    pub subscribers: Option<Subscribers>,
}

/// A secret of an ITR (RFC 9303, section 6.5).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ItrKey {
    /// Key ID.
    pub key_id: u8,
    /// The shared secret.
    pub secret: String,
}

/// Subscribers that differ by their number alone: each octet of an xTR-ID is the number, from 1.
#[derive(Debug, Clone)]
pub struct Subscribers {
    /// How many there are.
    pub count: u8,
    /// Their Site-ID.
    pub site_id: u64,
    /// What each of them shares with the Map-Server; its Map-Notifies come to the port that it asks from.
    pub key: Key,
    /// Whether there are two more, which may not have everything: xTR-ID 200 subscribes to the site "never registered" alone, and the
    /// ITR-RLOCs of 201 are in 192.0.2.0/24.
    pub limits: bool,
}

impl Given {
    /// Why what a check needs is not there; nothing if it is. `has_site` says whether the file names a site.
    pub fn lacking(&self, lack: Lack, has_site: impl Fn(&str) -> bool) -> Option<String> {
        let told = |what: &str| Some(format!("the target runs elsewhere, and its file gives no {what}"));
        match lack {
            Lack::ProtectedPath if self.protected_path.is_none() => told("`protected-path` in [map-system]"),
            Lack::SecondKey if self.itr_keys.len() < 2 => told("second `itr-key` in [map-system]"),
            Lack::Requirement if !has_site(REQUIRES_LISP_SEC) => {
                told(&format!("site {REQUIRES_LISP_SEC:?}, which requires LISP-SEC"))
            }
            Lack::Limits if self.subscribers.as_ref().is_none_or(|all| !all.limits) => {
                told("`limits` in [map-system.subscribers]")
            }
            _ => None,
        }
    }
}

/// The name of the site that requires LISP-SEC.
pub(crate) const REQUIRES_LISP_SEC: &str = "requires lisp-sec";

/// What stands in `[map-system]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WrittenSubscribers {
    count: Spanned<u8>,
    #[serde(default)]
    site_id: u64,
    key: WrittenKey,
    #[serde(default)]
    limits: bool,
}

/// The same, checked.
pub(super) fn checked(
    itr_keys: Option<Spanned<Vec<ItrKey>>>,
    protected_path: Option<Spanned<String>>,
    subscribers: Option<WrittenSubscribers>,
) -> Result<Given, Wrong> {
    let itr_keys = itr_keys.map(of_itrs).transpose()?.unwrap_or_default();
    let protected_path = protected_path.map(|text| parsed(&text, "an IPv4 address")).transpose()?;
    let subscribers = subscribers.map(WrittenSubscribers::checked).transpose()?;
    Ok(Given { itr_keys, protected_path, subscribers })
}

fn of_itrs(written: Spanned<Vec<ItrKey>>) -> Result<Vec<ItrKey>, Wrong> {
    let (at, keys) = (written.span().start, written.into_inner());
    let wrong = |problem| Err(Wrong::at(at, problem));
    let is_new = |(place, key): (usize, &ItrKey)| keys[..place].iter().all(|other| other.key_id != key.key_id);
    match () {
        () if keys.is_empty() => wrong("itr-key: empty"),
        () if keys.iter().any(|key| key.secret.is_empty()) => wrong("itr-key: an empty secret"),
        () if !keys.iter().enumerate().all(is_new) => wrong("itr-key: two have one Key ID"),
        () => Ok(keys),
    }
}

impl WrittenSubscribers {
    fn checked(self) -> Result<Subscribers, Wrong> {
        let count = *self.count.get_ref();
        if !(1..=SUBSCRIBERS).contains(&count) {
            let problem = format!("subscribers.count: {count}; there are 1 to {SUBSCRIBERS}");
            return Err(Wrong::at(self.count.span().start, problem));
        }
        Ok(Subscribers { count, site_id: self.site_id, key: self.key.checked(None)?, limits: self.limits })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::{Stance, Target, TargetError};

    const BOX: &str = r#"name = "a box"
claims = ["lisp-sec", "pubsub"]
[map-system]
address = ["192.0.2.1"]
itr-key = [{ key-id = 3, secret = "one" }, { key-id = 4, secret = "two" }]
protected-path = "192.0.2.9"
[map-system.subscribers]
count = 32
site-id = 7
key = { key-id = 5, algorithm = "hkdf", secret = "three" }
limits = true
[map-system.sites]
count = 2
eid-prefix = "2001:db8:{number}::/48"
key = [{ algorithm = "hmac-sha-256", secret = "s" }]
"#;

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse(text, Path::new("t.toml"))
    }

    #[test]
    fn a_box_elsewhere_gives_the_secrets_of_itrs_and_subscribers() {
        let target = parse(BOX).unwrap();
        let given = target.given().unwrap();
        assert_eq!((given.itr_keys.len(), given.itr_keys[1].secret.as_str()), (2, "two"));
        let subscribers = given.subscribers.as_ref().unwrap();
        assert_eq!((subscribers.count, subscribers.site_id, subscribers.key.id), (32, 7, 5));
        for suite in ["lispsec", "pubsub", "ddt"] {
            let is_run = target.stance(suite) == Stance::Run;
            assert_eq!(is_run, suite != "ddt", "{suite} is claimed, or not");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let lacks = [Lack::ProtectedPath, Lack::SecondKey, Lack::Requirement, Lack::Limits];
        let none = Given::default();
        for (lack, named) in lacks.into_iter().zip(["protected-path", "itr-key", "requires lisp-sec", "limits"]) {
            assert!(none.lacking(lack, |_| false).unwrap().contains(named), "{named}");
            let target = parse(BOX).unwrap();
            assert_eq!(target.given().unwrap().lacking(lack, |_| true), None, "{named}");
        }
        assert_eq!(none.lacking(Lack::Order, |_| false), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, line, named) in [
            ("key-id = 4", "key-id = 3", 5, "one Key ID"),
            ("\"two\"", "\"\"", 5, "empty secret"),
            ("[{ key-id = 3, secret = \"one\" }, { key-id = 4, secret = \"two\" }]", "[]", 5, "itr-key: empty"),
            ("192.0.2.9", "2001:db8::1", 6, "IPv4"),
            ("count = 32", "count = 0", 8, "1 to 64"),
            ("\"three\"", "\"\"", 10, "secret: empty"),
            ("limits", "limit", 11, "limit"),
            ("address = [\"192.0.2.1\"]", "configured-as = \"lisp-mapsys\"", 3, "only where `address`"),
        ] {
            let text = BOX.replacen(from, to, 1);
            assert_ne!(text, BOX, "{from}");
            let error = parse(&text).unwrap_err();
            assert!(error.line == Some(line) && error.problem.contains(named), "{error}");
        }
    }
}
