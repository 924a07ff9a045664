// SPDX-License-Identifier: GPL-2.0-or-later
//! Trusted peers, and what is used with them.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use wire::record::MapVersion;

use super::values::PrefixValue;
use super::{Config, ConfigError, Switch, Written};
use crate::trust::Trust;

/// Networks of trusted peers: more are no closed network.
const MOST_NETWORKS: usize = 1024;

/// A locator, or a network of locators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerValue(IpNet);

impl FromStr for PeerValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(address.into())),
            Err(_) if !text.contains('/') => Err(format!("{text:?} is neither an address nor ADDRESS/LENGTH")),
            Err(_) => text.parse().map(|PrefixValue(network)| Self(network)),
        }
    }
}

/// The version that our mappings begin with (RFC 9302, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstVersion {
    /// They have no versions.
    None,
    /// This one, from 1 to [`MapVersion::MAX`].
    Number(MapVersion),
    /// One of chance, unless an earlier run has left one.
    Random,
}

/// A number, which the environment and the command line write as a string, or `random`.
pub(super) fn first_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FirstVersion, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number or \"random\" expected")]
    enum Written {
        Number(u64),
        Text(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    let numbers = 1..=MapVersion::MAX;
    match text.parse() {
        Ok(number) if numbers.contains(&number) => Ok(FirstVersion::Number(MapVersion(number))),
        _ if text == "random" => Ok(FirstVersion::Random),
        _ => Err(de::Error::custom(format!("{text:?} is neither from 1 to {} nor random", MapVersion::MAX))),
    }
}

/// What is to be done with trusted peers.
pub(super) struct Trusted {
    pub(super) trust: Trust,
    pub(super) networks: Vec<IpNet>,
}

pub(super) fn trusted(written: &Written) -> Result<Trusted, ConfigError> {
    let networks: Vec<IpNet> = written.trusted_peer.iter().map(|PeerValue(network)| *network).collect();
    if networks.len() > MOST_NETWORKS {
        return Err(ConfigError::new("trusted-peer", format!("{} of them; {MOST_NETWORKS} at most", networks.len())));
    }
    if let Some(network) = networks.iter().find(|network| network.prefix_len() == 0) {
        let problem = format!("{network} is everybody: nonces, status bits and map-versions are for closed networks");
        return Err(ConfigError::new("trusted-peer", problem));
    }
    let is_on = |switch| switch == Switch::On;
    let switches = [("echo-nonce", written.echo_nonce), ("locator-status-bits", written.locator_status_bits)];
    if networks.is_empty()
        && let Some((key, _)) = switches.into_iter().find(|(_, switch)| is_on(*switch))
    {
        return Err(ConfigError::new(key, "is used with a --trusted-peer only, and none is given"));
    }
    let trust = Trust::of(&networks)
        .with_echo_nonce(is_on(written.echo_nonce))
        .with_status_bits(is_on(written.locator_status_bits));
    Ok(Trusted { trust, networks })
}

/// In plain words; nothing where nothing of it is used.
pub(super) fn explain(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let trust = &config.trust;
    let has_versions = config.map_version != FirstVersion::None;
    match config.map_version {
        FirstVersion::None => {}
        FirstVersion::Number(first) => {
            lines.push(format!("Its mappings have versions, of which the first is {}.", first.0));
        }
        FirstVersion::Random => lines.push("Its mappings have versions, of which the first is drawn by lot.".into()),
    }
    let networks: Vec<_> = config.trusted_peers.iter().map(ToString::to_string).collect();
    if networks.is_empty() {
        return lines;
    }
    let used = [
        (trust.echo_nonce(), "nonces, which it echoes and has echoed"),
        (trust.status_bits(), "locator-status-bits"),
        (has_versions, "map-versions"),
    ];
    let used: Vec<_> = used.into_iter().filter_map(|(is_used, name)| is_used.then_some(name)).collect();
    let used = if used.is_empty() { "nothing: each has to be switched on".to_owned() } else { used.join(", ") };
    lines.push(format!(
        "Trusts {}, which must not be reached over the public Internet, in {used}.",
        networks.join(", ")
    ));
    if trust.status_bits() && !has_versions {
        let advice =
            "Warning: without --map-version a peer may count the locator-status-bits of other locators than are meant.";
        lines.push(advice.into());
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(change: impl FnOnce(&mut Written)) -> Written {
        let resolver = vec!["203.0.113.53".parse().unwrap()];
        let prefix = PrefixValue("10.1.0.0/16".parse().unwrap());
        let mut written = Written { map_resolver: resolver, eid_prefix: vec![prefix], ..Written::default() };
        change(&mut written);
        written
    }

    fn peer(text: &str) -> PeerValue {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_is_an_address_or_a_network_without_host_bits() {
        assert_eq!(peer("192.0.2.7").0, "192.0.2.7/32".parse().unwrap());
        assert_eq!(peer("2001:db8::/32").0, "2001:db8::/32".parse().unwrap());
        assert!("192.0.2.7/24".parse::<PeerValue>().is_err() && "peer".parse::<PeerValue>().is_err());
    }

    #[test]
    fn by_default_nobody_is_trusted_in_anything() {
        let config = Config::check(written(|_| {})).unwrap();
        assert!(!config.trust.is_on() && config.map_version == FirstVersion::None);
        assert_eq!(explain(&config), Vec::<String>::new());
    }

    #[test]
    fn a_peer_is_an_address_or_a_network_and_a_slip_is_told_so() {
        assert_eq!("x".parse::<PeerValue>().unwrap_err(), "\"x\" is neither an address nor ADDRESS/LENGTH");
        assert!("192.0.2.1/24".parse::<PeerValue>().unwrap_err().contains("192.0.2.0/24"));
    }

    #[test]
    fn a_first_version_is_from_1_to_4095_or_of_chance() {
        let read = |value: serde_json::Value| first_version(value).map_err(|error| error.to_string());
        for bad in [0.into(), 4096.into(), 65_537.into(), (-1).into(), "".into(), "Random".into(), "1 2".into()] {
            let error = read(serde_json::Value::clone(&bad)).unwrap_err();
            assert!(error.contains("random"), "{bad}: {error}");
        }
        for number in [1, 4095] {
            let version = Ok(FirstVersion::Number(MapVersion(number)));
            assert_eq!((read(number.into()), read(number.to_string().into())), (version.clone(), version));
        }
        assert_eq!(read("random".into()), Ok(FirstVersion::Random));
        let config = Config::check(written(|written| written.map_version = FirstVersion::Random)).unwrap();
        assert!(explain(&config).concat().contains("drawn by lot"));
    }

    #[test]
    fn each_use_is_switched_on_and_only_with_a_trusted_peer() {
        let config = Config::check(written(|written| {
            written.trusted_peer = vec![peer("192.0.2.0/24")];
            written.locator_status_bits = Switch::On;
        }));
        let config = config.unwrap();
        assert!(config.trust.status_bits() && !config.trust.echo_nonce());
        let said = explain(&config).join("\n");
        assert!(said.contains("192.0.2.0/24") && said.contains("Warning"), "{said}");
        let refused = |change: fn(&mut Written)| Config::check(written(change)).unwrap_err().key;
        assert_eq!(refused(|written| written.echo_nonce = Switch::On), "echo-nonce");
        assert_eq!(refused(|written| written.locator_status_bits = Switch::On), "locator-status-bits");
        assert_eq!(refused(|written| written.trusted_peer = vec![peer("0.0.0.0/0")]), "trusted-peer");
    }
}
