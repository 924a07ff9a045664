// SPDX-License-Identifier: GPL-2.0-or-later
//! The settings about NATs: this node as an RTR, or behind one.

use std::net::IpAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, Mapping, Written};
use crate::nat::limits::RTRS;

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
    if behind == NatSetting::Off && !written.rtr_at.is_empty() {
        return refused("rtr-at", "is for a node behind a NAT: leave out --nat off, or this");
    }
    if written.rtr_at.len() > RTRS {
        return Err(ConfigError::new("rtr-at", format!("{} of them; {RTRS} at most", written.rtr_at.len())));
    }
    Ok(Nat { rtr: written.rtr, behind, rtrs: written.rtr_at.clone() })
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
        NatSetting::Auto => Some(format!("Asks how it is seen, and if it is behind a NAT is reached through {rtrs}.")),
        NatSetting::On => Some(format!("Is behind a NAT, and reached through {rtrs}.")),
    }
}
