// SPDX-License-Identifier: GPL-2.0-or-later
//! The role of a DHT node: where it runs, or what starts it.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use toml::Spanned;

use super::error::Wrong;
use super::start::{self, Start};

/// A node of the network of the suites that is open, knows no other node, and holds nothing that is missed.
#[derive(Debug, Clone)]
pub enum DhtNode {
    /// It runs at this multiaddr, which ends in its peer ID: `/ip4/192.0.2.1/udp/43420/quic-v1/p2p/12D3...`.
    Elsewhere(String),
    /// This starts it. `{address}` is an IPv4 address of loopback for it alone, `{prefix}` the prefix of the network, `{identity}` a
    /// PKCS#12 file with an operational key and its certificates, under the password in `{password-file}`. When it is ready it prints a
    /// line that is such a multiaddr. Checks of what outlives a restart end one (SIGTERM, to its group) and start it again in its folder.
    Started(Start),
}

/// What stands for something in the command and its files.
const PLACES: &[&str] = &["address", "prefix", "identity", "password-file", "folder"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    address: Option<Spanned<String>>,
    start: Option<start::Written>,
}

impl Written {
    /// The same, checked; `at` is where the table stands.
    pub(super) fn checked(self, at: usize) -> Result<DhtNode, Wrong> {
        match (self.address, self.start) {
            (Some(address), None) if is_multiaddr(address.get_ref()) => Ok(DhtNode::Elsewhere(address.into_inner())),
            (Some(address), None) => {
                let problem = format!(
                    "dht-node.address: {:?} is no multiaddr such as /ip4/192.0.2.1/udp/43420/quic-v1/p2p/ and a peer ID",
                    address.get_ref()
                );
                Err(Wrong::at(address.span().start, problem))
            }
            (None, Some(start)) => {
                let start = start.checked_in(PLACES)?;
                match start.ready {
                    Some(_) => Err(Wrong::at(at, "dht-node.start.ready: it is ready when it prints its multiaddr")),
                    None => Ok(DhtNode::Started(start)),
                }
            }
            _ => Err(Wrong::at(at, "dht-node: exactly one of `start` and `address`")),
        }
    }
}

/// Whether a text is the address of a node over QUIC, with its peer ID.
pub(crate) fn is_multiaddr(text: &str) -> bool {
    let parts: Vec<_> = text.split('/').collect();
    let ["", family, ip, "udp", port, "quic-v1", "p2p", peer] = parts[..] else { return false };
    let is_ip = match family {
        "ip4" => ip.parse::<Ipv4Addr>().is_ok(),
        "ip6" => ip.parse::<Ipv6Addr>().is_ok(),
        _ => false,
    };
    is_ip && port.parse::<u16>().is_ok_and(|port| port > 0) && !peer.is_empty()
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::{Stance, Target, TargetError};

    const NODE: &str = r#"name = "a node"
claims = []
[dht-node]
address = "/ip4/192.0.2.1/udp/43420/quic-v1/p2p/12D3KooW"
"#;
    const STARTED: &str = r#"name = "a node"
claims = []
[dht-node.start]
command = ["{program:NODE}", "--listen", "{address}", "--key", "{identity}", "--network", "{prefix}"]
"#;

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse(text, Path::new("t.toml"))
    }

    #[test]
    fn a_node_is_judged_by_its_suites_alone() {
        for text in [NODE, STARTED] {
            let target = parse(text).unwrap();
            for suite in crate::suite::SUITES {
                let is_run = target.stance(suite.name) == Stance::Run;
                assert_eq!(is_run, ["dht", "adversary"].contains(&suite.name), "{}", suite.name);
            }
        }
        let Some(DhtNode::Started(start)) = parse(STARTED).unwrap().dht_node else { panic!("it is started") };
        assert_eq!(start.programs(), ["NODE"]);
        assert!(is_multiaddr("/ip6/2001:db8::1/udp/1/quic-v1/p2p/12D3KooW"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (whole, from, to, line, named) in [
            (NODE, "/p2p/12D3KooW", "", 4, "no multiaddr"),
            (NODE, "192.0.2.1", "192.0.2.256", 4, "no multiaddr"),
            (NODE, "/udp/43420", "/udp/0", 4, "no multiaddr"),
            (NODE, "address", "adress", 4, "adress"),
            (NODE, "address = \"/ip4/192.0.2.1/udp/43420/quic-v1/p2p/12D3KooW\"", "", 3, "exactly one"),
            (STARTED, "{identity}", "{gateway}", 4, "{gateway} is no placeholder here; there is {address}"),
            (STARTED, "\"]\n", "\"]\nready = \"ready\"\n", 3, "prints its multiaddr"),
            (STARTED, "command = [", "command = [] #", 4, "command: empty"),
        ] {
            let text = whole.replacen(from, to, 1);
            assert_ne!(text, whole, "{from}");
            let error = parse(&text).unwrap_err();
            assert!(error.line == Some(line) && error.problem.contains(named), "{error}");
        }
    }
}
