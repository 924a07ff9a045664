// SPDX-License-Identifier: GPL-2.0-or-later
//! Where packets go in the compatibility mode of ECN.

use std::net::IpAddr;
use std::str::FromStr;

use super::Config;
use super::explain::join;
use crate::ecn::EcnCompatibility;

/// The word for everywhere.
const ALL: &str = "all";

/// A locator, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EcnValue {
    /// This one.
    Rloc(IpAddr),
    /// All of them.
    All,
}

impl FromStr for EcnValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            ALL => Ok(Self::All),
            _ => text.parse().map(Self::Rloc).map_err(|_| format!("{text:?} is neither an address nor {ALL:?}")),
        }
    }
}

/// What is written; all of them are all, whichever is named beside.
pub(super) fn compatibility(written: &[EcnValue]) -> EcnCompatibility {
    let rloc = |value: &EcnValue| if let EcnValue::Rloc(rloc) = value { Some(*rloc) } else { None };
    let rlocs: Option<Vec<IpAddr>> = written.iter().map(rloc).collect();
    rlocs.map_or(EcnCompatibility::ToAll, EcnCompatibility::To)
}

/// In plain words; nothing of what is as ever.
pub(super) fn explain(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let to = match &config.ecn {
        EcnCompatibility::To(rlocs) => join(rlocs),
        EcnCompatibility::ToAll => "all other nodes".into(),
    };
    if !to.is_empty() {
        lines.push(format!("Sends packets to {to} with an outer ECN field of 00 (compatibility mode)."));
    }
    if !config.ecn_log {
        lines.push("Counts ECN fields that nobody should make, and does not log them.".into());
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{PrefixValue, Written};
    use super::*;

    fn config(values: &[&str]) -> Result<Config, super::super::ConfigError> {
        let prefix = PrefixValue("10.1.0.0/16".parse().unwrap());
        let ecn_compatibility = values.iter().map(|value| value.parse().unwrap()).collect();
        let map_resolver = vec!["203.0.113.53".parse().unwrap()];
        Config::check(Written { map_resolver, eid_prefix: vec![prefix], ecn_compatibility, ..Written::default() })
    }

    #[test]
    fn compatibility_mode_is_for_those_that_are_named_or_for_all() {
        let [named, other]: [IpAddr; 2] = ["192.0.2.7", "192.0.2.8"].map(|rloc| rloc.parse().unwrap());
        for (values, expected) in
            [(&[][..], [false, false]), (&["192.0.2.7"][..], [true, false]), (&["192.0.2.7", "all"][..], [true, true])]
        {
            let config = config(values).unwrap();
            assert_eq!([named, other].map(|rloc| config.ecn.is_for(rloc)), expected, "{values:?}");
            let said = explain(&config).join(" ");
            assert_eq!(said.contains("compatibility mode"), !values.is_empty(), "{said}");
        }
    }

    #[test]
    fn a_slip_is_told_so() {
        assert_eq!("any".parse::<EcnValue>().unwrap_err(), "\"any\" is neither an address nor \"all\"");
        assert_eq!(config(&["10.1.0.9"]).unwrap_err().key, "ecn-compatibility", "an EID");
    }
}
