// SPDX-License-Identifier: GPL-2.0-or-later
//! The settings that a node runs by, and which of newer ones it cannot take over.

use super::{Config, Mapping, Written};

/// The settings of a running node.
#[derive(Debug, Clone)]
pub struct Running(Written);

impl Config {
    /// For a node that runs by it.
    pub fn running(&self) -> Running {
        Running(self.written.clone())
    }
}

impl Running {
    /// Names of the settings of `newer` that differ and that only a new start takes over. The map system in this process signs for
    /// the EID-prefixes that it was started with; what files contain is not compared.
    pub fn needs_restart(&self, newer: &Config) -> Vec<&'static str> {
        let (a, b) = (&self.0, &newer.written);
        let is_embedded = matches!(newer.mapping, Mapping::Embedded(_));
        let is_elsewhere = |written: &Written| !written.map_server.is_empty() || !written.map_resolver.is_empty();
        let comes_or_goes = is_elsewhere(a) != is_elsewhere(b);
        let differs = [
            ("eid-prefix", is_embedded && a.eid_prefix != b.eid_prefix),
            ("map-server", comes_or_goes && a.map_server != b.map_server),
            ("map-resolver", comes_or_goes && a.map_resolver != b.map_resolver),
            ("key-file", comes_or_goes && a.key_file != b.key_file),
            ("proxy-reply", comes_or_goes && a.proxy_reply != b.proxy_reply),
            ("identity", a.identity != b.identity),
            ("password-file", a.password_file != b.password_file),
            ("temporary", a.temporary != b.temporary),
            ("bootstrap", a.bootstrap != b.bootstrap),
            ("trust-anchor", a.trust_anchor != b.trust_anchor),
            ("iid", a.iid != b.iid),
            ("gpe-peer", a.gpe_peer != b.gpe_peer),
            ("trusted-peer", a.trusted_peer != b.trusted_peer),
            ("echo-nonce", a.echo_nonce != b.echo_nonce),
            ("locator-status-bits", a.locator_status_bits != b.locator_status_bits),
            ("map-version", a.map_version != b.map_version),
            ("use-petr", a.use_petr != b.use_petr),
            ("petr-for", a.petr_for != b.petr_for),
            ("pitr-for", a.pitr_for != b.pitr_for),
            ("pitr-in", a.pitr_in != b.pitr_in),
            ("site-id", a.site_id != b.site_id),
            ("xtr-id", a.xtr_id != b.xtr_id),
            ("subscribe", a.subscribe != b.subscribe),
            ("subscribe-key-file", a.subscribe_key_file != b.subscribe_key_file),
            ("tun", a.tun != b.tun),
            ("mtu", a.mtu != b.mtu),
            ("tier", a.tier != b.tier),
            ("state-dir", a.state_dir != b.state_dir),
            ("control", a.control != b.control),
            ("dht-port", a.dht_port != b.dht_port),
            ("puzzle-bits", a.puzzle_bits != b.puzzle_bits),
            ("network-key", a.network_key != b.network_key),
            ("anycast", a.anycast != b.anycast),
            ("discovery", a.discovery != b.discovery),
            ("metrics", a.metrics != b.metrics),
            ("prefix", a.prefix != b.prefix),
            ("log", a.log != b.log),
        ];
        let mut names: Vec<_> = differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect();
        let taken_over = Written {
            rloc: b.rloc.clone(),
            eid_prefix: b.eid_prefix.clone(),
            map_server: b.map_server.clone(),
            map_resolver: b.map_resolver.clone(),
            key_file: b.key_file.clone(),
            proxy_reply: b.proxy_reply,
            lisp_sec: b.lisp_sec,
            resolver_key_file: b.resolver_key_file.clone(),
            ..a.clone()
        };
        if names.is_empty() && !is_embedded && taken_over != *b {
            // Of a setting that is not listed above it is not known that it can be taken over.
            names.push("a setting");
        }
        names
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(change: impl FnOnce(&mut Written)) -> Config {
        let resolver = vec!["203.0.113.53".parse().unwrap()];
        let prefix = super::super::PrefixValue("10.1.0.0/16".parse().unwrap());
        let mut written = Written { map_resolver: resolver, eid_prefix: vec![prefix], ..Written::default() };
        change(&mut written);
        Config::check(written).unwrap()
    }

    #[test]
    fn prefixes_locators_and_map_systems_are_taken_over_and_all_else_is_named() {
        let running = config(|_| {}).running();
        let needs = |change: fn(&mut Written)| running.needs_restart(&config(change));
        assert_eq!(needs(|_| {}), Vec::<&str>::new());
        let taken = needs(|written| {
            written.eid_prefix.push(super::super::PrefixValue("10.2.0.0/16".parse().unwrap()));
            written.rloc = vec!["192.0.2.7".parse().unwrap()];
            written.map_resolver = vec!["203.0.113.54".parse().unwrap()];
            written.proxy_reply = false;
        });
        assert_eq!(taken, Vec::<&str>::new());
        let fixed = needs(|written| (written.tun, written.map_server) = ("other".into(), Vec::new()));
        assert_eq!(fixed, ["tun"]);
        let embedded = needs(|written| {
            written.map_resolver.clear();
            written.eid_prefix.clear();
        });
        assert_eq!(embedded, ["eid-prefix", "map-resolver"]);
    }
}
