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
        differing(&self.0, &newer.written, matches!(newer.mapping, Mapping::Embedded(_)))
    }
}

/// What [`Running::needs_restart`] says of `a` as it runs, and `b`.
fn differing(a: &Written, b: &Written, is_embedded: bool) -> Vec<&'static str> {
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
        ("ecn-compatibility", a.ecn_compatibility != b.ecn_compatibility),
        ("ecn-log", a.ecn_log != b.ecn_log),
        ("source-check", a.source_check != b.source_check),
        ("pitr", a.pitr != b.pitr),
        ("trusted-peer", a.trusted_peer != b.trusted_peer),
        ("echo-nonce", a.echo_nonce != b.echo_nonce),
        ("locator-status-bits", a.locator_status_bits != b.locator_status_bits),
        ("map-version", a.map_version != b.map_version),
        ("use-petr", a.use_petr != b.use_petr),
        ("petr-for", a.petr_for != b.petr_for),
        ("pitr-for", a.pitr_for != b.pitr_for),
        ("pitr-in", a.pitr_in != b.pitr_in),
        ("rtr", a.rtr != b.rtr),
        ("nat", a.nat != b.nat),
        ("rtr-at", a.rtr_at != b.rtr_at),
        ("site-id", a.site_id != b.site_id),
        ("xtr-id", a.xtr_id != b.xtr_id),
        ("subscribe", a.subscribe != b.subscribe),
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
        subscribe_key_file: b.subscribe_key_file.clone(),
        subscribed: b.subscribed.clone(),
        take_unsubscribed: b.take_unsubscribed,
        ..a.clone()
    };
    if names.is_empty() && taken_over != *b {
        // Of a setting that is not listed above it is not known that it can be taken over.
        names.push("a setting");
    }
    names
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

    /// Another value of each setting than its default.
    fn others() -> serde_json::Map<String, serde_json::Value> {
        let others = r#"{
            "eid-prefix": ["10.7.0.0/16"], "rloc": ["192.0.2.7"], "map-server": ["203.0.113.77"],
            "map-resolver": ["203.0.113.78"], "key-file": ["k"], "proxy-reply": false, "lisp-sec": "require",
            "resolver-key-file": ["k"], "identity": ["x"], "password-file": "pw", "temporary": true,
            "bootstrap": ["x"], "trust-anchor": ["2001:db8::/32=0123456789abcdef01234567"], "iid": 5,
            "gpe-peer": ["192.0.2.9"], "ecn-compatibility": ["all"], "ecn-log": "off", "source-check": "strict", "pitr": ["192.0.2.9"],
            "trusted-peer": ["192.0.2.9"], "echo-nonce": "on", "locator-status-bits": "on", "map-version": 5,
            "use-petr": ["192.0.2.9"], "petr-for": ["10.7.0.0/16"], "pitr-for": ["10.7.0.0/16"],
            "pitr-in": ["10.7.0.0/16"], "rtr": true, "nat": "auto", "rtr-at": ["192.0.2.9"], "site-id": 5,
            "xtr-id": "0a", "subscribe": ["203.0.113.53"], "subscribe-key-file": ["k"],
            "subscribed": ["10.9.0.0/16=5"], "take-unsubscribed": "on", "tun": "other",
            "mtu": 1400, "tier": "0", "state-dir": "/other", "control": "/other", "dht-port": 5,
            "puzzle-bits": 5, "network-key": "k", "anycast": ["x"], "discovery": "on",
            "metrics": "127.0.0.1:9", "prefix": "2001:db8::/32", "log": "debug"
        }"#;
        serde_json::from_str(others).unwrap()
    }

    fn written(settings: &serde_json::Map<String, serde_json::Value>) -> Written {
        serde_json::from_value(settings.clone().into()).unwrap()
    }

    #[test]
    fn every_setting_is_taken_over_or_named() {
        let others = others();
        // Of the keys the deserializer knows best.
        let error = serde_json::from_str::<Written>("{\"?\": 1}").unwrap_err().to_string();
        let mut known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        known.sort_unstable();
        let mut listed: Vec<&str> = others.keys().map(String::as_str).collect();
        listed.sort_unstable();
        assert_eq!(listed, known);
        let elsewhere = serde_json::json!({ "map-server": ["203.0.113.10"], "map-resolver": ["203.0.113.53"] });
        let subscriptions = ["subscribe-key-file", "subscribed", "take-unsubscribed"];
        let both = ["rloc", "key-file", "proxy-reply", "lisp-sec", "resolver-key-file"];
        for (base, more) in
            [(elsewhere, &["eid-prefix", "map-server", "map-resolver"][..]), (serde_json::json!({}), &[])]
        {
            let base = base.as_object().unwrap();
            for (key, value) in &others {
                let (a, mut changed) = (written(base), base.clone());
                changed.insert(key.clone(), value.clone());
                let b = written(&changed);
                assert_ne!(a, b, "{key}");
                let is_embedded = b.map_server.is_empty() && b.map_resolver.is_empty();
                let is_taken = both.iter().chain(&subscriptions).chain(more).any(|taken| taken == key);
                let named: Vec<&str> = if is_taken { Vec::new() } else { vec![key.as_str()] };
                assert_eq!(differing(&a, &b, is_embedded), named, "{base:?}");
            }
        }
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
