// SPDX-License-Identifier: GPL-2.0-or-later
//! What the operator says of subscriptions to mappings (RFC 9437).

use std::net::IpAddr;
use std::str::FromStr;

use wire::address::{EidPrefix, InstanceId};
use wire::control::Nonce;
use wire::control::auth::TagForm;

use super::mapping::given_twice;
use super::values::PrefixValue;
use super::{ConfigError, Mapping, Switch, Written, key_file};
use crate::resolve::{Demand, LispSec};
use crate::subscribe::{Association, Configured, Security, limits};
use crate::transport::MapSystem;

/// `PREFIX=NONCE[@ADDR]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubscribedValue {
    prefix: PrefixValue,
    nonce: u64,
    server: Option<IpAddr>,
}

impl FromStr for SubscribedValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (prefix, rest) = text.split_once('=').ok_or_else(|| format!("{text:?} is not PREFIX=NONCE[@ADDR]"))?;
        let (nonce, server) = rest.split_once('@').map_or((rest, None), |(nonce, server)| (nonce, Some(server)));
        let server = server.map(|text| text.parse().map_err(|_| format!("{text:?} is no address"))).transpose()?;
        let nonce = nonce.parse().map_err(|_| format!("{nonce:?} is no nonce: a number of 64 bits"))?;
        if !Nonce(nonce).begins_subscription() {
            return Err(format!("after the nonce {nonce} there are none for Map-Notifies"));
        }
        Ok(Self { prefix: prefix.parse()?, nonce, server })
    }
}

/// The xTR-ID, by which Map-Servers know this node.
pub(super) fn xtr_id(written: &Written) -> Result<Option<[u8; 16]>, ConfigError> {
    let Some(text) = &written.xtr_id else { return Ok(None) };
    let is_hex = text.len() == 32 && text.chars().all(|digit| digit.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
    let number = number.ok_or_else(|| ConfigError::new("xtr-id", format!("{text:?} is not 32 hexadecimal digits")))?;
    Ok(Some(number.to_be_bytes()))
}

/// Where mappings are subscribed to. One key file serves all, or there is one for each, in order; without any the key of the
/// Map-Server at the same address does, unless LISP-SEC is required: every ETR of the site has that one. Where there is none LISP-SEC makes
/// one with each Map-Request (RFC 9437, section 7.1).
pub(super) fn subscriptions(
    written: &Written,
    mapping: &Mapping,
    lisp_sec: &LispSec,
) -> Result<Vec<Association>, ConfigError> {
    let (resolvers, files) = (&written.subscribe, &written.subscribe_key_file);
    if resolvers.is_empty() {
        let wrong = ConfigError::new("subscribe-key-file", "is for a --subscribe, and none is given");
        return if files.is_empty() { Ok(Vec::new()) } else { Err(wrong) };
    }
    let Mapping::Elsewhere { servers, resolvers: asked } = mapping else {
        let problem = "is for Map-Resolvers elsewhere: the map system in this process tells of changes anyway";
        return Err(ConfigError::new("subscribe", problem));
    };
    if let Some(stranger) = resolvers.iter().find(|resolver| !asked.contains(resolver)) {
        return Err(ConfigError::new("subscribe", format!("{stranger} is none of --map-resolver")));
    }
    if let Some(address) = given_twice(resolvers) {
        return Err(ConfigError::new("subscribe", format!("{address} is given twice")));
    }
    if !files.is_empty() && files.len() != 1 && files.len() != resolvers.len() {
        let problem =
            format!("{} given for {} of --subscribe: one for all, or one for each", files.len(), resolvers.len());
        return Err(ConfigError::new("subscribe-key-file", problem));
    }
    let mut files = files.iter().cycle();
    let shared = |address| match files.next() {
        Some(file) => {
            let shared =
                key_file::read(file).map_err(|error| ConfigError { key: "subscribe-key-file".into(), ..error })?;
            Ok(Some(shared.at(address)))
        }
        None if lisp_sec.demand == Demand::Require => Ok(None),
        None => Ok(servers.iter().find(|server| server.address == address).cloned()),
    };
    let shared: Vec<_> = resolvers.iter().copied().map(shared).collect::<Result<_, ConfigError>>()?;
    let association = |(address, shared): (&IpAddr, Option<super::ServerAddress>)| {
        let resolver = MapSystem::Node(*address);
        if let Some(server) = shared {
            return Ok(Association { resolver, security: Security::Shared(server.key), tag: server.tag });
        }
        let wrapping = lisp_sec.resolvers.iter().find(|(known, _)| *known == resolver);
        let (_, wrapping) = wrapping.ok_or_else(|| {
            let problem = format!(
                "needed: no --map-server has the address {address}, whose key could serve, and no --lisp-sec makes one"
            );
            ConfigError::new("subscribe-key-file", problem)
        })?;
        Ok(Association { resolver, security: Security::OneTime(wrapping.clone()), tag: TagForm::Truncated })
    };
    resolvers.iter().zip(shared).map(association).collect()
}

/// What is told without being asked for: of what is configured, and whether of other mappings too.
pub(super) fn unasked(
    written: &Written,
    subscriptions: &[Association],
    own: &[EidPrefix],
) -> Result<(Vec<Configured>, bool), ConfigError> {
    let takes_unsubscribed = written.take_unsubscribed == Switch::On;
    // A key that LISP-SEC makes is that of what is asked for.
    let has_key = |subscription: &Association| matches!(subscription.security, Security::Shared(_));
    if takes_unsubscribed && !subscriptions.iter().any(has_key) {
        return Err(ConfigError::new("take-unsubscribed", "needs a --subscribe and its key, under which it is told"));
    }
    if written.subscribed.len() > limits::TOLD_ONLY {
        let problem = format!("{} given, {} are the most", written.subscribed.len(), limits::TOLD_ONLY);
        return Err(ConfigError::new("subscribed", problem));
    }
    let mut all: Vec<Configured> = Vec::new();
    for SubscribedValue { prefix, nonce, server } in &written.subscribed {
        let prefix = EidPrefix { iid: InstanceId(written.iid), net: prefix.0 };
        let wrong = |problem: &str| Err(ConfigError::new("subscribed", format!("{prefix}: {problem}")));
        let is_of =
            |subscription: &Association| server.is_none_or(|server| subscription.resolver == MapSystem::Node(server));
        let by = |subscription: &Association| has_key(subscription) && is_of(subscription);
        let Some(association) = subscriptions.iter().position(by) else {
            return wrong("needs the --subscribe of its Map-Server, and its key, under which it is told");
        };
        if own.iter().any(|own| own.covers(&prefix) || prefix.covers(own)) {
            return wrong("is this node's own, or a part of it is");
        }
        if all.iter().any(|other| other.prefix == prefix) {
            return wrong("is there twice");
        }
        all.push(Configured { prefix, nonce: *nonce, association });
    }
    Ok((all, takes_unsubscribed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::{Config, Flags, explain};
    use super::{Association, Security};
    use wire::control::auth::{Algorithm, AuthKey};

    fn load(toml: &str) -> Result<Config, super::ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("site"), "algorithm = \"hmac-sha256\"\nsecret = \"of the site\"").unwrap();
        std::fs::write(path("pubsub"), "algorithm = \"hkdf-sha256\"\nkey-id = 5\nsecret = \"shared\"").unwrap();
        std::fs::write(path("resolver"), "secret = \"of the resolver\"").unwrap();
        let files = |text: &str| text.replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(path("toml"), files(&format!("eid-prefix = [\"10.1.0.0/16\"]\n{toml}"))).unwrap();
        Config::load(&Flags { config: Some(path("toml")), ..Flags::default() })
    }

    fn key_of(association: &Association) -> &AuthKey {
        let Security::Shared(key) = &association.security else { panic!("{association}") };
        key
    }

    #[test]
    fn without_a_key_lisp_sec_makes_one() {
        let server = "map-server = [\"192.0.2.9\"]\nkey-file = [\"FOLDER/site\"]\n";
        let subscribe = "subscribe = [\"192.0.2.9\"]\nresolver-key-file = [\"FOLDER/resolver\"]\n";
        let required = load(&format!("{server}{subscribe}lisp-sec = \"require\"")).unwrap();
        assert!(matches!(required.subscriptions[0].security, Security::OneTime(_)));
        let told = explain(&required).join("\n");
        assert!(told.contains("192.0.2.9 (keys that LISP-SEC makes)") && !told.contains("then it asks"), "{told}");
        let preferred = load(&format!("{server}{subscribe}lisp-sec = \"prefer\"")).unwrap();
        assert_eq!(key_of(&preferred.subscriptions[0]).id, 1, "the Map-Server's serves");
        assert!(explain(&preferred).join("\n").contains("then it asks"));
        let resolver = "map-resolver = [\"192.0.2.9\"]\n";
        let preferred = load(&format!("{resolver}{subscribe}lisp-sec = \"prefer\"")).unwrap();
        assert!(matches!(preferred.subscriptions[0].security, Security::OneTime(_)));
        for unasked in ["subscribed = [\"10.2.0.0/16=40\"]", "take-unsubscribed = \"on\""] {
            let error = load(&format!("{server}{subscribe}lisp-sec = \"require\"\n{unasked}")).unwrap_err();
            assert!(error.to_string().contains("and its key"), "{error}");
        }
    }

    #[test]
    fn a_resolver_has_the_key_of_its_map_server_or_one_of_its_own() {
        let server = "map-server = [\"192.0.2.9\"]\nkey-file = [\"FOLDER/site\"]\nsubscribe = [\"192.0.2.9\"]";
        let config = load(server).unwrap();
        let [only] = config.subscriptions.as_slice() else { panic!("{config:?}") };
        assert_eq!((key_of(only).id, key_of(only).algorithm, config.xtr_id), (1, Algorithm::HmacSha256, None));
        let own = format!("{server}\nsubscribe-key-file = [\"FOLDER/pubsub\"]\nxtr-id = \"{}\"", "0a".repeat(16));
        let config = load(&own).unwrap();
        assert_eq!((key_of(&config.subscriptions[0]).id, config.xtr_id), (5, Some([10; 16])));
        assert!(
            explain(&config).join("\n").contains("told of changes behind 192.0.2.9 (Key ID 5"),
            "{:?}",
            explain(&config)
        );
    }

    #[test]
    fn configured_subscriptions_have_a_first_nonce_and_the_key_of_a_map_server() {
        let two = "map-server = [\"192.0.2.9\", \"192.0.2.8\"]\nkey-file = [\"FOLDER/site\"]\n\
                   subscribe = [\"192.0.2.9\", \"192.0.2.8\"]\n";
        let with = |more: &str| load(&format!("{two}{more}"));
        let config = with("subscribed = [\"10.2.0.0/16=40\", \"10.3.0.0/16=7@192.0.2.8\"]").unwrap();
        let made: Vec<_> = config.subscribed.iter().map(|one| (one.nonce, one.association)).collect();
        assert_eq!((made, config.takes_unsubscribed), (vec![(40, 0), (7, 1)], false));
        let told = explain(&with("subscribed = [\"10.2.0.0/16=40\"]\ntake-unsubscribed = \"on\"").unwrap()).join("\n");
        assert!(told.contains("10.2.0.0/16"), "{told}");
        assert!(told.contains("not subscribed to"), "{told}");
        for bad in ["10.1.2.0/24=1", "10.0.0.0/8=1", "10.2.0.0/16=1@192.0.2.7", "10.2.0.0/16", "10.2.0.0/16=x"] {
            assert_eq!(with(&format!("subscribed = [\"{bad}\"]")).unwrap_err().key, "subscribed", "{bad}");
        }
        assert_eq!(with("subscribed = [\"10.2.0.0/16=1\", \"10.2.0.0/16=2\"]").unwrap_err().key, "subscribed");
        let last = u64::MAX - (1 << 20);
        let begins = |nonce: u64| format!("10.2.0.0/16={nonce}").parse::<super::SubscribedValue>().is_ok();
        assert!(begins(last) && !begins(last + 1), "none are left for Map-Notifies");
        let nowhere = "map-resolver = [\"192.0.2.9\"]\n";
        assert_eq!(load(&format!("{nowhere}subscribed = [\"10.2.0.0/16=1\"]")).unwrap_err().key, "subscribed");
        let error = load(&format!("{nowhere}take-unsubscribed = \"on\"")).unwrap_err();
        assert_eq!(error.key, "take-unsubscribed");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let resolver = "map-resolver = [\"192.0.2.9\"]\n";
        let required = "lisp-sec = \"require\"\nresolver-key-file = [\"FOLDER/resolver\"]\n";
        let server = "map-server = [\"192.0.2.9\"]\nkey-file = [\"FOLDER/site\"]\nsubscribe = [\"192.0.2.9\"]\n";
        assert!(load(&format!("{required}{server}subscribe-key-file = [\"FOLDER/pubsub\"]")).is_ok());
        let cases = [
            ("subscribe", "subscribe = [\"192.0.2.8\"]\nmap-resolver = [\"192.0.2.9\"]"),
            ("subscribe", "subscribe = [\"192.0.2.8\"]"),
            ("subscribe-key-file", &format!("{resolver}subscribe = [\"192.0.2.9\"]")),
            ("subscribe-key-file", &format!("{resolver}subscribe-key-file = [\"FOLDER/pubsub\"]")),
            ("subscribe-key-file", &format!("{resolver}subscribe = [\"192.0.2.9\"]\nsubscribe-key-file = [\"gone\"]")),
            ("xtr-id", &format!("{resolver}xtr-id = \"0102\"")),
            ("xtr-id", &format!("{resolver}xtr-id = \"+{}\"", "0".repeat(31))),
        ];
        for (key, toml) in cases {
            assert_eq!(load(toml).unwrap_err().key, key, "{toml}");
        }
    }
}
