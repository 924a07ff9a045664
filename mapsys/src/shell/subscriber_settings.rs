// SPDX-License-Identifier: GPL-2.0-or-later
//! Settings of subscriptions (RFC 9437): `[[subscriber]]` and `[pubsub]`.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, AuthKey};
use wire::control::{Nonce, XtrIdentity};

use super::settings::{KeySetting, NotifySetting};
use crate::limits::SUBSCRIBER_WAYS;
use crate::register::site::{NotifyPort, Site, SiteKey};
use crate::resolve::lispsec::Association;
use crate::subscribe::configured::Configured;
use crate::subscribe::subscriber::{Policy, Subscriber};

/// An xTR that may subscribe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SubscriberSetting {
    /// Its name.
    pub name: String,
    /// Its xTR-ID: 32 hexadecimal digits.
    pub xtr_id: String,
    /// Its Site-ID.
    #[serde(default)]
    pub site_id: u64,
    /// Where its ITR-RLOCs are.
    pub rloc: Vec<IpNet>,
    /// What it may subscribe to; everything, if it is empty.
    #[serde(default)]
    pub eid_prefix: Vec<IpNet>,
    /// The instance of these.
    #[serde(default)]
    pub iid: u32,
    /// Where its Map-Notifies go; `control` by default.
    #[serde(default)]
    pub notify_port: Option<NotifySetting>,
    /// The key that it shares with this Map-Server ...
    #[serde(default)]
    pub key: Option<KeySetting>,
    /// ... or the site whose first key it has ...
    #[serde(default)]
    pub site: Option<String>,
    /// ... or neither: LISP-SEC makes one with each Map-Request (RFC 9437, section 7.1).
    #[serde(default)]
    pub lisp_sec: MadeKeys,
    /// What it is told of without having asked.
    #[serde(default)]
    pub subscription: Vec<SubscriptionSetting>,
}

/// Whether LISP-SEC makes the keys of an xTR, and of whose one-time keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "lisp-sec: true, or the name of a [[lisp-sec]]")]
pub enum MadeKeys {
    /// Whether it does; of the only `[[lisp-sec]]` that there is.
    Switch(bool),
    /// Of the `[[lisp-sec]]` of this name.
    Of(String),
}

impl Default for MadeKeys {
    fn default() -> Self {
        Self::Switch(false)
    }
}

/// A subscription that the operator makes at both ends (RFC 9437, section 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SubscriptionSetting {
    /// What it is to, in the instance of the subscriber.
    pub eid_prefix: IpNet,
    /// The first nonce; the xTR has the same.
    pub nonce: u64,
    /// The ITR-RLOCs, the first one first.
    pub rloc: Vec<IpAddr>,
    /// Whether its xTR may change or end it by Map-Requests; true by default (RFC 9437, section 5).
    #[serde(default = "yes")]
    pub xtr_may_change: bool,
}

fn yes() -> bool {
    true
}

/// How subscriptions are dealt with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PubsubSetting {
    /// Map-Resolvers that check subscriptions before they send them on.
    pub resolvers: Vec<IpNet>,
    /// Minutes that a subscription lives that nothing is registered for.
    pub temporary_minutes: Option<u32>,
    /// Subscriptions in all.
    pub max_subscriptions: Option<usize>,
    /// Subscriptions of one xTR.
    pub max_subscriptions_per_xtr: Option<usize>,
    /// Map-Notifies a second that tell of changes.
    pub notifies_per_second: Option<u32>,
}

impl SubscriberSetting {
    /// The subscriber, its key read.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn build(&self, sites: &[Site], associations: &[Association]) -> anyhow::Result<Subscriber> {
        let port = match self.notify_port {
            Some(NotifySetting::Source) => NotifyPort::Source,
            Some(NotifySetting::Control) | None => NotifyPort::Control,
        };
        let eids = self.eid_prefix.iter().map(|net| EidPrefix { iid: InstanceId(self.iid), net: net.trunc() });
        Ok(Subscriber {
            name: self.name.clone(),
            xtr: XtrIdentity { xtr_id: self.xtr_id()?, site_id: self.site_id },
            key: self.key(sites)?,
            lisp_sec: self.association(associations)?,
            rlocs: self.rloc.clone(),
            eids: eids.collect(),
            port,
            configured: self.configured(sites)?,
        })
    }

    fn configured(&self, sites: &[Site]) -> anyhow::Result<Vec<Configured>> {
        if !self.subscription.is_empty() && self.notify_port == Some(NotifySetting::Source) {
            bail!("notify-port: there is no Map-Request with a source port before a configured subscription");
        }
        let one = |setting: &SubscriptionSetting| {
            let prefix = EidPrefix { iid: InstanceId(self.iid), net: setting.eid_prefix.trunc() };
            let one = self.subscription(setting, prefix, sites);
            one.with_context(|| format!("subscription to {prefix}"))
        };
        self.subscription.iter().map(one).collect()
    }

    fn subscription(
        &self,
        setting: &SubscriptionSetting,
        prefix: EidPrefix,
        sites: &[Site],
    ) -> anyhow::Result<Configured> {
        let SubscriptionSetting { nonce, rloc, xtr_may_change, .. } = setting;
        if !self.eid_prefix.is_empty() && !self.eid_prefix.iter().any(|net| net.contains(&prefix.net)) {
            bail!("eid-prefix: the subscriber may not have it");
        }
        let mut ours = sites.iter().flat_map(|site| &site.prefixes).map(|site| site.prefix);
        if !ours.any(|ours| ours.covers(&prefix) || prefix.covers(&ours)) {
            bail!("eid-prefix: no site has it or a part of it");
        }
        if !Nonce(*nonce).begins_subscription() {
            bail!("nonce: too near to the last one that there is");
        }
        if rloc.is_empty() || rloc.len() > SUBSCRIBER_WAYS {
            bail!("rloc: {SUBSCRIBER_WAYS} at most, and one at least");
        }
        if let Some(stranger) = rloc.iter().find(|rloc| !self.rloc.iter().any(|net| net.contains(*rloc))) {
            bail!("rloc: {stranger} is none of the subscriber's");
        }
        Ok(Configured { prefix, nonce: *nonce, rlocs: rloc.clone(), is_fixed: !xtr_may_change })
    }

    fn xtr_id(&self) -> anyhow::Result<[u8; 16]> {
        let is_hex = self.xtr_id.len() == 32 && self.xtr_id.chars().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(&self.xtr_id, 16).ok().filter(|_| is_hex);
        Ok(number.with_context(|| format!("xtr-id {:?} is not 32 hexadecimal digits", self.xtr_id))?.to_be_bytes())
    }

    fn key(&self, sites: &[Site]) -> anyhow::Result<Option<AuthKey>> {
        let is_made = self.lisp_sec != MadeKeys::Switch(false);
        let SiteKey { id, algorithm, secret } = match (&self.key, &self.site, is_made) {
            (Some(key), None, false) => key.build(false)?,
            (None, None, true) if self.subscription.is_empty() => return Ok(None),
            (None, None, true) => bail!("subscription: needs a key: LISP-SEC makes one with a Map-Request only"),
            (None, Some(name), false) => {
                let site = sites.iter().find(|site| site.name == *name);
                let site = site.with_context(|| format!("site {name:?} is not configured"))?;
                site.keys.first().with_context(|| format!("site {name:?} has no key"))?.clone()
            }
            _ => bail!("give either key or site or lisp-sec"),
        };
        // RFC 9301, section 9, would rather have the derived key.
        Ok(Some(AuthKey { id, algorithm: algorithm.unwrap_or(Algorithm::HkdfSha256), secret }))
    }

    /// The `[[lisp-sec]]` whose one-time keys make its keys: another one's are those of another ITR.
    fn association(&self, associations: &[Association]) -> anyhow::Result<Option<String>> {
        match &self.lisp_sec {
            MadeKeys::Switch(false) => Ok(None),
            MadeKeys::Switch(true) if associations.len() > 1 => {
                bail!("lisp-sec = true: there are several [[lisp-sec]]: give the name of the one that this xTR has")
            }
            MadeKeys::Switch(true) => Ok(associations.first().map(|one| one.name.clone())),
            MadeKeys::Of(name) => match associations.iter().filter(|one| one.name == *name).count() {
                0 => bail!("lisp-sec {name:?} is not configured"),
                1 => Ok(Some(name.clone())),
                _ => bail!("lisp-sec {name:?} is configured twice"),
            },
        }
    }
}

impl PubsubSetting {
    /// The policy.
    ///
    /// # Errors
    /// Names what makes no sense.
    pub fn build(&self) -> anyhow::Result<Policy> {
        let usual = Policy::default();
        let minutes = self.temporary_minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes)));
        if minutes == Some(Duration::ZERO) {
            bail!("temporary-minutes must be 1 at least");
        }
        if self.notifies_per_second == Some(0) {
            bail!("notifies-per-second must be 1 at least");
        }
        Ok(Policy {
            resolvers: self.resolvers.clone(),
            temporary: minutes.unwrap_or(usual.temporary),
            most: self.max_subscriptions.unwrap_or(usual.most).min(usual.most),
            most_per_xtr: self.max_subscriptions_per_xtr.unwrap_or(usual.most_per_xtr).min(usual.most_per_xtr),
            pace: self.notifies_per_second.unwrap_or(usual.pace),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::settings::{Flags, Settings};
    use super::*;

    fn subscribers(toml: &str) -> anyhow::Result<Vec<Subscriber>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let settings = Settings::read(&Flags { config: Some(file.path().into()), ..Flags::default() })?;
        let sites = settings.sites()?;
        let associations = settings.lisp_sec()?;
        settings.subscriber.iter().map(|subscriber| subscriber.build(&sites, &associations)).collect()
    }

    const XTR: &str = "[[subscriber]]\nname = \"x\"\nrloc = [\"192.0.2.0/24\"]\n";
    const ID: &str = "xtr-id = \"000102030405060708090a0b0c0d0e0f\"\n";

    #[test]
    fn a_subscriber_has_a_key_of_its_own_or_that_of_a_site() {
        let own = subscribers(&format!("{XTR}{ID}site-id = 7\nkey = {{ key-id = 3, secret = \"s\" }}\n")).unwrap();
        let key = own[0].key.as_ref().unwrap();
        assert_eq!((key.id, own[0].xtr.xtr_id[15], own[0].xtr.site_id), (3, 15, 7));
        assert_eq!((key.algorithm, own[0].port), (Algorithm::HkdfSha256, NotifyPort::Control));
        let site = "[[site]]\nname = \"a\"\neid-prefix = [\"10.0.0.0/8\"]\nkey = [{ key-id = 9, secret = \"of a\" }]\n";
        let shared = subscribers(&format!("{site}{XTR}{ID}site = \"a\"\nnotify-port = \"source\"\n")).unwrap();
        let key = shared[0].key.as_ref().unwrap();
        assert_eq!((key.id, key.secret.expose()), (9, &b"of a"[..]));
        assert_eq!(shared[0].port, NotifyPort::Source);
    }

    #[test]
    fn the_keys_that_lisp_sec_makes_are_those_of_one_table() {
        let table = |name: &str, peer: &str| {
            format!("[[lisp-sec]]\nname = \"{name}\"\npeers = [\"{peer}\"]\nkey = [{{ secret = \"of {peer}\" }}]\n")
        };
        let (own, other) = (table("own", "192.0.2.1/32"), table("other", "192.0.2.2/32"));
        let bound = |tables: &str, lisp_sec: &str| {
            let built = subscribers(&format!("{tables}{XTR}{ID}lisp-sec = {lisp_sec}\n"));
            built.map(|mut built| built.remove(0)).map(|built| (built.key, built.lisp_sec))
        };
        let to_own = (None, Some("own".to_owned()));
        assert_eq!(bound(&own, "true").unwrap(), to_own, "there is no other");
        let both = format!("{own}{other}");
        assert_eq!(bound(&both, "\"own\"").unwrap(), to_own);
        let error = |tables: &str, lisp_sec: &str| format!("{:#}", bound(tables, lisp_sec).unwrap_err());
        assert!(error(&both, "true").contains("there are several [[lisp-sec]]"));
        assert!(error(&both, "\"third\"").contains("lisp-sec \"third\" is not configured"));
        let twice = format!("{own}{}", table("own", "192.0.2.2/32"));
        assert!(error(&twice, "\"own\"").contains("configured twice"));
        assert!(error(&own, "3").contains("true, or the name of a [[lisp-sec]]"), "{}", error(&own, "3"));
        assert!(error(&own, "false").contains("either key or site or lisp-sec"));
    }

    #[test]
    fn what_is_wrong_with_a_subscriber_is_said() {
        let error = |more: &str| format!("{:#}", subscribers(&format!("{XTR}{more}")).unwrap_err());
        assert!(error(ID).contains("either key or site"));
        assert!(error(&format!("{ID}lisp-sec = true\nkey = {{ secret = \"s\" }}\n")).contains("either key or site"));
        let subscription =
            "[[subscriber.subscription]]\neid-prefix = \"10.0.0.0/8\"\nnonce = 1\nrloc = [\"192.0.2.1\"]\n";
        assert!(error(&format!("{ID}lisp-sec = true\n{subscription}")).contains("needs a key"));
        assert!(error(&format!("{ID}site = \"b\"\n")).contains("\"b\" is not configured"));
        for id in ["0102", "+00102030405060708090a0b0c0d0e0f", "zz0102030405060708090a0b0c0d0e0f"] {
            assert!(error(&format!("xtr-id = \"{id}\"\nkey = {{ secret = \"s\" }}\n")).contains("32 hexadecimal"));
        }
    }

    #[test]
    fn a_configured_subscription_has_its_first_nonce_and_what_is_wrong_with_one_is_said() {
        let site = "[[site]]\nname = \"a\"\neid-prefix = [\"10.0.0.0/8\"]\nkey = [{ secret = \"of a\" }]\n";
        let with = |more: &str, subscription: &str| {
            let of = "[[subscriber.subscription]]\n";
            subscribers(&format!("{site}{XTR}{ID}key = {{ secret = \"s\" }}\n{more}{of}{subscription}"))
        };
        let good = "eid-prefix = \"10.2.3.0/16\"\nnonce = 40\nrloc = [\"192.0.2.1\"]\n";
        let made = with("", good).unwrap().remove(0).configured;
        let net = EidPrefix { iid: InstanceId(0), net: "10.2.0.0/16".parse().unwrap() };
        let rlocs = vec!["192.0.2.1".parse().unwrap()];
        let expected = Configured { prefix: net, nonce: 40, rlocs, is_fixed: false };
        assert_eq!(made, [expected.clone()]);
        let fixed = with("", &format!("{good}xtr-may-change = false\n")).unwrap().remove(0).configured;
        assert_eq!(fixed, [Configured { is_fixed: true, ..expected }]);
        let error = |more: &str, bad: &str| format!("{:#}", with(more, bad).unwrap_err());
        let without = good.replace("nonce = 40\n", "");
        assert!(error("", &without).contains("nonce"), "it is never made up");
        for (more, from, to, key) in [
            ("", "10.2.3.0/16", "172.16.0.0/12", "eid-prefix"),
            ("eid-prefix = [\"10.3.0.0/16\"]\n", "", "", "eid-prefix"),
            ("notify-port = \"source\"\n", "", "", "notify-port"),
            ("", "192.0.2.1", "203.0.113.1", "rloc: 203.0.113.1"),
            ("", "[\"192.0.2.1\"]", "[]", "rloc"),
            ("", "40", "-1", "nonce"),
        ] {
            let problem = error(more, &good.replace(from, to));
            assert!(problem.contains(key), "{key}: {problem}");
        }
        let bench = SubscriberSetting { rloc: vec!["192.0.2.0/24".parse().unwrap()], ..SubscriberSetting::default() };
        let setting = SubscriptionSetting {
            eid_prefix: "10.0.0.0/8".parse().unwrap(),
            nonce: u64::MAX,
            rloc: vec!["192.0.2.1".parse().unwrap()],
            xtr_may_change: true,
        };
        let site = subscribers_site();
        let problem = bench.subscription(&setting, net, &site).unwrap_err().to_string();
        assert!(problem.starts_with("nonce"), "{problem}");
    }

    fn subscribers_site() -> Vec<Site> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let site = "[[site]]\nname = \"a\"\neid-prefix = [\"10.0.0.0/8\"]\nkey = [{ secret = \"of a\" }]\n";
        std::fs::write(file.path(), site).unwrap();
        Settings::read(&Flags { config: Some(file.path().into()), ..Flags::default() }).unwrap().sites().unwrap()
    }

    #[test]
    fn a_policy_has_no_zero_and_is_never_above_our_bounds() {
        let policy = |setting: PubsubSetting| setting.build();
        assert_eq!(policy(PubsubSetting::default()).unwrap(), Policy::default());
        assert!(policy(PubsubSetting { temporary_minutes: Some(0), ..PubsubSetting::default() }).is_err());
        assert!(policy(PubsubSetting { notifies_per_second: Some(0), ..PubsubSetting::default() }).is_err());
        let greedy = PubsubSetting { max_subscriptions: Some(usize::MAX), ..PubsubSetting::default() };
        assert_eq!(policy(greedy).unwrap().most, Policy::default().most);
    }
}
