// SPDX-License-Identifier: GPL-2.0-or-later
//! Who maps EIDs to locators: Map-Servers and Map-Resolvers elsewhere, or the map system in this process.

use std::net::IpAddr;
use std::path::PathBuf;

use super::written::Written;
use super::{ConfigError, DHT_PORT, Embedded, Mapping, ServerAddress, Switch, key_file};
use crate::interwork::Interworking;

/// What is written of them.
pub(super) fn mapping(written: &Written, roles: &Interworking) -> Result<Mapping, ConfigError> {
    let for_servers = [("key-file", written.key_file.is_empty()), ("proxy-reply", written.proxy_reply)];
    if let Some((key, _)) = for_servers.iter().find(|(_, is_default)| written.map_server.is_empty() && !is_default) {
        return Err(ConfigError::new(*key, "is for a --map-server, and none is given"));
    }
    if written.map_server.is_empty() && written.map_resolver.is_empty() {
        return embedded(written).map(Mapping::Embedded);
    }
    let embedded_only = [
        ("identity", written.identity.is_empty()),
        ("bootstrap", written.bootstrap.is_empty()),
        ("trust-anchor", written.trust_anchor.is_empty()),
        ("temporary", !written.temporary),
        ("anycast", written.anycast.is_empty()),
        ("discovery", written.discovery == Switch::Off),
        ("password-file", written.password_file.is_none()),
        ("network-key", written.network_key.is_none()),
        ("puzzle-bits", written.puzzle_bits.is_none()),
        ("dht-port", written.dht_port == DHT_PORT),
    ];
    if let Some((key, _)) = embedded_only.iter().find(|(_, is_empty)| !is_empty) {
        let advice =
            "is for the map system in this process: leave it out, or leave out --map-server and --map-resolver";
        return Err(ConfigError::new(*key, advice));
    }
    let is_proxy = roles.is_proxy() && written.map_server.is_empty();
    if written.eid_prefix.is_empty() && !is_proxy && !written.rtr {
        let problem = "needed with --map-server or --map-resolver; with --map-resolver alone a PITR or PETR needs none";
        return Err(ConfigError::new("eid-prefix", problem));
    }
    let servers = servers(written)?;
    let resolvers = if written.map_resolver.is_empty() { &written.map_server } else { &written.map_resolver };
    Ok(Mapping::Elsewhere { servers, resolvers: resolvers.clone() })
}

fn embedded(written: &Written) -> Result<Embedded, ConfigError> {
    if written.iid != 0 && !written.identity.is_empty() {
        return Err(ConfigError::new("iid", "CGEIDs are in instance 0: leave out this or --identity"));
    }
    if written.iid != 0 && written.temporary {
        return Err(ConfigError::new("iid", "CGEIDs are in instance 0: leave out this or --temporary"));
    }
    if written.dht_port == 0 {
        return Err(ConfigError::new("dht-port", "0 is no port that others could be told"));
    }
    Ok(Embedded {
        identities: written.identity.clone(),
        password_file: written.password_file.clone(),
        bootstrap: written.bootstrap.clone(),
        trust_anchors: written.trust_anchor.clone(),
        dht_port: written.dht_port,
        puzzle_bits: written.puzzle_bits,
        network_key: written.network_key.clone(),
        anycast: written.anycast.clone(),
        discovery: written.discovery,
    })
}

/// One key file serves all Map-Servers; otherwise there is one for each, in order.
fn servers(written: &Written) -> Result<Vec<ServerAddress>, ConfigError> {
    let (servers, files) = (written.map_server.len(), written.key_file.len());
    if servers == 0 && files == 0 {
        return Ok(Vec::new());
    }
    if files != 1 && files != servers || servers == 0 {
        let problem = format!("{files} given for {servers} of --map-server: one for all, or one for each");
        return Err(ConfigError::new("key-file", problem));
    }
    if let Some(address) = given_twice(&written.map_server) {
        return Err(ConfigError::new("map-server", format!("{address} is given twice")));
    }
    let pairs = written.map_server.iter().zip(written.key_file.iter().cycle());
    let server = |(address, file): (&IpAddr, &PathBuf)| Ok(key_file::read(file)?.at(*address));
    pairs.map(server).collect()
}

/// The first address that an earlier one is equal to.
pub(super) fn given_twice(addresses: &[IpAddr]) -> Option<IpAddr> {
    let is_repeated = |(index, address): &(usize, &IpAddr)| addresses[..*index].contains(address);
    addresses.iter().enumerate().find(is_repeated).map(|(_, address)| *address)
}
