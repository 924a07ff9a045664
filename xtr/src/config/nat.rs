// SPDX-License-Identifier: GPL-2.0-or-later
//! The settings about NATs: this node as an RTR, or behind one.

use std::net::IpAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, LispSecMode, Mapping, Written};
use crate::nat::limits::RTRS;
use crate::resolve::Demand;

/// Whether this node is behind a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NatSetting {
    /// It is found out.
    Auto,
    /// It is, whatever is seen.
    On,
    /// It is not, and nobody is asked.
    Off,
}

/// What a configuration says about NATs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    /// Whether this node is an RTR.
    pub rtr: bool,
    /// Whether it is behind a NAT.
    pub behind: NatSetting,
    /// The RTRs of a node behind one; none = those that the Map-Servers name.
    pub rtrs: Vec<IpAddr>,
}

/// What is written, checked as a whole.
pub(super) fn nat(written: &Written, mapping: &Mapping) -> Result<Nat, ConfigError> {
    // Who names RTRs wants to know whether they are needed.
    let implied = if written.rtr_at.is_empty() { NatSetting::Off } else { NatSetting::Auto };
    let behind = written.nat.unwrap_or(implied);
    let servers = match mapping {
        Mapping::Elsewhere { servers, .. } => servers.len(),
        Mapping::Embedded(_) => 0,
    };
    let refused = |key: &str, problem: &str| Err(ConfigError::new(key, problem));
    if written.rtr && servers == 0 {
        return refused(
            "rtr",
            "needs --map-server and --key-file: the Map-Servers that it relays to, and the key shared with them",
        );
    }
    if behind != NatSetting::Off && servers == 0 {
        return refused("nat", "needs --map-server: a map system in this process could not be reached through a NAT");
    }
    if behind != NatSetting::Off && written.rtr {
        return refused("rtr", "an RTR has to be reached by others: leave out --nat and --rtr-at, or this");
    }
    if written.rtr && !written.eid_prefix.is_empty() {
        return refused("eid-prefix", "an RTR registers none, since its key is no site's: leave out --rtr, or this");
    }
    if let Some(key) = idle(written, behind) {
        let why = "behind a NAT all packets go to an RTR and nobody is asked for mappings";
        return Err(ConfigError::new(key, format!("{why}: leave out --nat and --rtr-at, or this")));
    }
    if behind == NatSetting::Off && !written.rtr_at.is_empty() {
        return refused("rtr-at", "is for a node behind a NAT: leave out --nat off, or this");
    }
    if written.rtr_at.len() > RTRS {
        return Err(ConfigError::new("rtr-at", format!("{} of them; {RTRS} at most", written.rtr_at.len())));
    }
    Ok(Nat { rtr: written.rtr, behind, rtrs: written.rtr_at.clone() })
}

/// What would do nothing behind a NAT. Where that is still to be found out the mapping system may be asked after all.
fn idle(written: &Written, behind: NatSetting) -> Option<&'static str> {
    let (is_maybe, is_surely) = (behind != NatSetting::Off, behind == NatSetting::On);
    let keys = [
        ("use-petr", is_maybe && !written.use_petr.is_empty()),
        ("petr-for", is_maybe && !written.petr_for.is_empty()),
        ("pitr-for", is_maybe && !written.pitr_for.is_empty()),
        ("pitr-in", is_maybe && !written.pitr_in.is_empty()),
        ("subscribe", is_surely && !written.subscribe.is_empty()),
        ("lisp-sec", is_surely && written.lisp_sec != LispSecMode::Off),
    ];
    keys.into_iter().find(|(_, is_idle)| *is_idle).map(|(key, _)| key)
}

/// For `check`.
pub(super) fn explain(config: &Config) -> Option<String> {
    if config.nat.rtr {
        let what = "Relays for xTRs behind NATs that register with these Map-Servers (RTR)";
        return Some(format!("{what}, under the key that it shares with each."));
    }
    let rtrs: Vec<_> = config.nat.rtrs.iter().map(ToString::to_string).collect();
    let rtrs = if rtrs.is_empty() { "RTRs that the Map-Servers name".into() } else { rtrs.join(", ") };
    match config.nat.behind {
        NatSetting::Off => None,
        NatSetting::Auto => {
            let asks = !config.subscriptions.is_empty() || config.lisp_sec.demand != Demand::Off;
            let idle =
                if asks { " Behind one it asks nobody for mappings, subscribes to none and checks none." } else { "" };
            Some(format!("Asks how it is seen, and if it is behind a NAT is reached through {rtrs}.{idle}"))
        }
        NatSetting::On => Some(format!("Is behind a NAT, and reached through {rtrs}.")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Config, Flags, explain};
    use super::*;

    fn load(toml: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("key"), "algorithm = \"hmac-sha256\"\nsecret = \"of the site\"").unwrap();
        std::fs::write(path("resolver"), "secret = \"of the resolver\"").unwrap();
        let known = "map-server = [\"192.0.2.1\"]\nkey-file = [\"FOLDER/key\"]\n";
        let toml = format!("{known}{toml}").replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(path("toml"), toml).unwrap();
        Config::load(&Flags { config: Some(path("toml")), ..Flags::default() })
    }

    const SECURE: &str = "lisp-sec = \"prefer\"\nresolver-key-file = [\"FOLDER/resolver\"]";

    #[test]
    fn what_would_do_nothing_beside_a_nat_is_named() {
        let interworking = [
            ("use-petr", "use-petr = [\"192.0.2.80\"]"),
            ("petr-for", "petr-for = [\"10.2.0.0/16\"]"),
            ("pitr-for", "pitr-for = [\"10.2.0.0/16\"]"),
            ("pitr-in", "pitr-in = [\"10.2.0.0/16\"]"),
        ];
        let asking = [("subscribe", "subscribe = [\"192.0.2.1\"]"), ("lisp-sec", SECURE)];
        let site = "eid-prefix = [\"10.1.0.0/16\"]\n";
        for (key, line) in interworking.into_iter().chain(asking) {
            let refused = |nat: &str| load(&format!("{site}{nat}\n{line}")).err().map(|error| error.key);
            assert_eq!(refused("nat = \"on\"").as_deref(), Some(key));
            let maybe = interworking.iter().any(|(other, _)| *other == key).then(|| key.to_owned());
            assert_eq!(
                (refused("nat = \"auto\""), refused("rtr-at = [\"192.0.2.7\"]")),
                (maybe.clone(), maybe),
                "{key}"
            );
            assert_eq!(refused(""), None, "{key}");
        }
        let said = explain(&load(&format!("{site}nat = \"auto\"\n{SECURE}")).unwrap()).join("\n");
        assert!(said.contains("Behind one it asks nobody"), "{said}");
    }

    #[test]
    fn an_rtr_registers_nothing_and_is_not_said_to() {
        assert_eq!(load("rtr = true\neid-prefix = [\"10.1.0.0/16\"]").unwrap_err().key, "eid-prefix");
        let said = explain(&load("rtr = true").unwrap()).join("\n");
        assert!(said.contains("(RTR)") && !said.contains("Registers"), "{said}");
    }
}
