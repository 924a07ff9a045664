// SPDX-License-Identifier: GPL-2.0-or-later
//! Which addresses of a machine that is listened on as a whole others are told of.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::bail;
use cgeid::Network;
use wire::address::{EidPrefix, InstanceId};

use crate::register::publisher::published_addresses;
use crate::register::site::{Publish, Site, cgeid_prefix};
use crate::shell::Service;
use crate::shell::sockets::{self, changes::Changes};
use crate::transport::Sockets;

/// The addresses of this machine behind sockets that listen on all of them. One that is itself an EID is no locator: who asks there
/// would have to look it up first.
pub(super) fn addresses(network: Network, sites: &[Site], listen: &[SocketAddr]) -> Vec<SocketAddr> {
    sockets::addresses(listen, |address| is_eid(network, sites, address))
}

/// Has the map system know which addresses this machine has, as they come and go: for sockets that listen on all of them.
pub(super) async fn follow(service: Arc<Service>, bound: Vec<SocketAddr>) {
    let (changes, mut bound) = (Changes::new(), bound);
    bound.sort_unstable();
    loop {
        // At first too: what changed before it was heard of is not told again.
        service.readdress(bound.clone(), sockets::own());
        changes.next().await;
    }
}

fn is_eid(network: Network, sites: &[Site], address: IpAddr) -> bool {
    let host = EidPrefix::host(InstanceId(0), address);
    // The default route of a site says nothing about this machine.
    let configured = sites.iter().flat_map(|site| &site.prefixes).map(|configured| configured.prefix);
    let mut eids = configured.filter(|prefix| prefix.net.prefix_len() > 0).chain([cgeid_prefix(network)]);
    eids.any(|prefix| prefix.covers(&host))
}

/// An aggregate leads others to this node, so that there must be an address that they can be told.
pub(super) fn refuse_unreachable(network: Network, sites: &[Site], listen: &[SocketAddr]) -> anyhow::Result<()> {
    let aggregate = |site: &&Site| site.publish == Publish::Aggregate && !site.prefixes.is_empty();
    let Some(site) = sites.iter().find(aggregate) else { return Ok(()) };
    let told = [listen, &addresses(network, sites, listen)].concat();
    if published_addresses(&Sockets(told)).is_empty() {
        bail!(
            "site {:?} has publish = \"aggregate\", and this machine has no address where others could ask: give one with --listen",
            site.name
        );
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::register::site::{LispSec, NotifyPort, SitePrefix};

    fn site(prefixes: &[&str]) -> Site {
        let prefix = |text: &&str| EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() };
        let prefixes = prefixes.iter().map(prefix);
        Site {
            name: "a".into(),
            prefixes: prefixes.map(|prefix| SitePrefix { prefix, max_len: prefix.net.prefix_len() }).collect(),
            labels: vec![],
            keys: vec![],
            legacy: false,
            notify: NotifyPort::Control,
            publish: Publish::Aggregate,
            lisp_sec: LispSec::Optional,
        }
    }

    #[test]
    fn an_address_that_is_an_eid_is_not_told_of() {
        let sites = [site(&["10.0.0.0/8", "::/0"])];
        let cgeid = match cgeid_prefix(Network::LAB).net {
            ipnet::IpNet::V6(net) => IpAddr::V6((net.network().to_bits() | 1).into()),
            ipnet::IpNet::V4(net) => net.network().into(),
        };
        let is_eid = |address| is_eid(Network::LAB, &sites, address);
        assert!(is_eid(cgeid) && is_eid("10.1.2.3".parse().unwrap()));
        assert!(!is_eid("192.0.2.1".parse().unwrap()) && !is_eid("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn an_aggregate_wants_an_address_that_others_can_be_told_and_a_site_of_names_has_none() {
        let check = |sites: &[Site], listen: &str| refuse_unreachable(Network::LAB, sites, &[listen.parse().unwrap()]);
        assert!(check(&[site(&["10.0.0.0/8"])], "192.0.2.53:4342").is_ok());
        assert!(check(&[site(&[])], "0.0.0.0:4342").is_ok());
        // The one half and the other of all addresses: none is left to be told of.
        let error = check(&[site(&["0.0.0.0/1", "128.0.0.0/1"])], "0.0.0.0:4342").unwrap_err().to_string();
        assert!(error.contains("site \"a\"") && error.contains("aggregate"), "{error}");
    }
}
