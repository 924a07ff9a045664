// SPDX-License-Identifier: GPL-2.0-or-later
//! What is written, checked as a whole, and locators that are found on interfaces.

use std::net::IpAddr;

use cgeid::limits::MAX_TEMPORARY_KEYS;
use ipnet::{IpNet, Ipv6Net};
use tracing_subscriber::filter::Targets;
use wire::address::{EidPrefix, InstanceId};

use super::mapping::mapping;
use super::values::PrefixValue;
use super::written::Written;
use super::{
    CONTROL_SOCKET, Config, ConfigError, LONGEST_INTERFACE_NAME, RlocValue, SourceCheck, Switch, ecn, interwork,
    lisp_sec, nat, subscribe, trusted,
};
use crate::database::OwnLocator;
use crate::ecn::EcnCompatibility;
use crate::etr::SourceMode;
use crate::limits;
use crate::map_cache::is_unicast;

/// Largest Instance ID that the data header carries (RFC 9300, section 5.3).
const LARGEST_IID: u32 = 0x00ff_ffff;
/// Least MTU of an IPv6 link (RFC 8200, section 5).
const LEAST_MTU: u16 = 1280;
/// Largest MTU of a TUN device.
const LARGEST_MTU: u16 = 65_521;
/// Locators of a node: the ITR-RLOCs that a Map-Request has room for (RFC 9301, section 5.2).
const MOST_LOCATORS: usize = 32;

impl Config {
    /// What is written, if it can be run.
    pub(super) fn check(written: Written) -> Result<Self, ConfigError> {
        let (iid, whole) = (InstanceId(written.iid), written.clone());
        check_sizes(&written)?;
        let cgeid_network = cgeid_network(written.prefix)?;
        let eid_prefixes = eid_prefixes(&written, iid, cgeid_network)?;
        let interworking = interwork::roles(&written, iid, cgeid_network.into())?;
        let mapping = mapping(&written, &interworking)?;
        let lisp_sec = lisp_sec::read(&written, &mapping)?;
        let xtr_id = subscribe::xtr_id(&written)?;
        let subscriptions = subscribe::subscriptions(&written, &mapping, &lisp_sec)?;
        let (subscribed, takes_unsubscribed) = subscribe::unasked(&written, &subscriptions, &eid_prefixes)?;
        let trusted::Trusted { trust, networks: trusted_peers } = trusted::trusted(&written)?;
        let nat = nat::nat(&written, &mapping)?;
        let (mut rlocs, mut rloc_interfaces) = (Vec::new(), Vec::new());
        for rloc in written.rloc {
            match rloc {
                RlocValue::Address(locator) => rlocs.push(locator),
                RlocValue::Interface(interface) => rloc_interfaces.push(interface),
            }
        }
        let config = Self {
            eid_prefixes,
            rlocs,
            rloc_interfaces,
            mapping,
            proxy_reply: written.proxy_reply,
            lisp_sec,
            temporary: written.temporary,
            iid,
            gpe_peers: written.gpe_peer,
            ecn: ecn::compatibility(&written.ecn_compatibility),
            ecn_log: written.ecn_log == Switch::On,
            source_check: match written.source_check {
                SourceCheck::Off => SourceMode::Off,
                SourceCheck::Loose => SourceMode::Loose,
                SourceCheck::Strict => SourceMode::Strict,
            },
            pitrs: written.pitr,
            trusted_peers,
            trust,
            map_version: written.map_version,
            interworking,
            nat,
            site_id: written.site_id,
            xtr_id,
            subscriptions,
            subscribed,
            takes_unsubscribed,
            control: written.control.unwrap_or_else(|| written.state_dir.join(CONTROL_SOCKET)),
            tun: written.tun,
            mtu: written.mtu,
            tier: written.tier,
            state_dir: written.state_dir,
            cgeid_network,
            metrics: written.metrics,
            log: written.log,
            written: whole,
        };
        written.map_server.iter().try_for_each(|address| config.check_underlay("map-server", *address))?;
        written.map_resolver.iter().try_for_each(|address| config.check_underlay("map-resolver", *address))?;
        config.gpe_peers.iter().try_for_each(|address| config.check_underlay("gpe-peer", *address))?;
        if let EcnCompatibility::To(rlocs) = &config.ecn {
            rlocs.iter().try_for_each(|address| config.check_underlay("ecn-compatibility", *address))?;
        }
        config.pitrs.iter().try_for_each(|address| config.check_underlay("pitr", *address))?;
        let petrs = &config.interworking.petrs;
        petrs.iter().try_for_each(|petr| config.check_underlay("use-petr", petr.address))?;
        config.nat.rtrs.iter().try_for_each(|address| config.check_underlay("rtr-at", *address))?;
        if config.rloc_interfaces.is_empty() && !config.rlocs.is_empty() {
            config.check_locators(&config.rlocs)?;
            config.check_families()?;
        }
        Ok(config)
    }

    /// Whether the node can be reached at `locators`, written or found on an interface.
    ///
    /// # Errors
    /// Names the flag and the address.
    pub fn check_locators(&self, locators: &[OwnLocator]) -> Result<(), ConfigError> {
        if locators.len() > MOST_LOCATORS {
            return Err(ConfigError::new("rloc", format!("{} of them; {MOST_LOCATORS} at most", locators.len())));
        }
        for (index, locator) in locators.iter().enumerate() {
            self.check_underlay("rloc", locator.address)?;
            if locators[..index].iter().any(|earlier| earlier.address == locator.address) {
                return Err(ConfigError::new("rloc", format!("{} is given twice", locator.address)));
            }
        }
        Ok(())
    }

    /// Whether all of these can be reached from the locators that were given: there will be no others. Of locators that are found one family of
    /// addresses may be out for a while.
    fn check_families(&self) -> Result<(), ConfigError> {
        let is_reachable =
            |address: &IpAddr| self.rlocs.iter().any(|locator| locator.address.is_ipv4() == address.is_ipv4());
        match self.spoken_to().into_iter().find(|(_, address)| !is_reachable(address)) {
            Some((key, address)) => {
                let problem = format!("{address} cannot be reached: no --rloc has its address family");
                Err(ConfigError::new(key, problem))
            }
            None => Ok(()),
        }
    }

    fn check_underlay(&self, key: &str, address: IpAddr) -> Result<(), ConfigError> {
        let host = EidPrefix::host(self.iid, address);
        let is_eid = self.eid_prefixes.iter().chain(&self.interworking.pitr_for).any(|prefix| prefix.covers(&host))
            || IpNet::from(self.cgeid_network).contains(&address);
        if is_eid {
            return Err(ConfigError::new(key, format!("{address} is an EID; an underlay address is needed")));
        }
        // A map system on the same machine is no locator, yet can be spoken to.
        let usable = is_unicast(address) || key != "rloc" && address.is_loopback();
        let useless = || ConfigError::new(key, format!("{address} cannot be reached from other nodes"));
        usable.then_some(()).ok_or_else(useless)
    }
}

fn check_sizes(written: &Written) -> Result<(), ConfigError> {
    if written.iid > LARGEST_IID {
        return Err(ConfigError::new("iid", format!("{} has more than 24 bits", written.iid)));
    }
    if !(LEAST_MTU..=LARGEST_MTU).contains(&written.mtu) {
        return Err(ConfigError::new("mtu", format!("{} is not from {LEAST_MTU} to {LARGEST_MTU}", written.mtu)));
    }
    let is_forbidden =
        |letter: char| matches!(letter, '/' | ':' | '%') || letter.is_whitespace() || letter.is_control();
    let is_name = |name: &str| {
        let is_directory = matches!(name, "." | ".." | "all" | "default");
        !name.is_empty() && name.len() <= LONGEST_INTERFACE_NAME && !name.contains(is_forbidden) && !is_directory
    };
    if !is_name(&written.tun) {
        return Err(ConfigError::new("tun", format!("{:?} cannot name an interface", written.tun)));
    }
    let parts = program::log::parts(&written.log).map_err(|error| ConfigError::new("log", error.to_string()))?;
    parts.parse::<Targets>().map_err(|error| ConfigError::new("log", error.to_string()))?;
    Ok(())
}

fn cgeid_network(prefix: PrefixValue) -> Result<Ipv6Net, ConfigError> {
    match prefix.0 {
        IpNet::V6(network) if network.prefix_len() == 32 => Ok(network),
        other => Err(ConfigError::new("prefix", format!("{other} is not an IPv6 /32"))),
    }
}

fn eid_prefixes(written: &Written, iid: InstanceId, network: Ipv6Net) -> Result<Vec<EidPrefix>, ConfigError> {
    let network = IpNet::from(network);
    let prefix = |value: &PrefixValue| {
        let net = value.0;
        if net.contains(&network) || network.contains(&net) {
            let advice = "is in the network of the CGEIDs, which belong to their keys: give --identity instead";
            return Err(ConfigError::new("eid-prefix", format!("{net} {advice}")));
        }
        // Only as a host is 0.0.0.0 or :: special.
        if !is_unicast(net.addr()) && !net.addr().is_unspecified() {
            return Err(ConfigError::new("eid-prefix", format!("{net} does not contain addresses of hosts")));
        }
        Ok(EidPrefix { iid, net })
    };
    let mut prefixes = written.eid_prefix.iter().map(prefix).collect::<Result<Vec<_>, _>>()?;
    prefixes.sort_unstable();
    prefixes.dedup();
    let cgeids = most_cgeids(written);
    let room = limits::EID_PREFIXES.saturating_sub(cgeids);
    if prefixes.len() > room {
        let beside = if cgeids == 0 { String::new() } else { format!(" beside {cgeids} of identities") };
        return Err(ConfigError::new("eid-prefix", format!("{} of them; {room} at most{beside}", prefixes.len())));
    }
    Ok(prefixes)
}

/// How many of the EID-prefixes may be CGEIDs: without a file an identity is made.
fn most_cgeids(written: &Written) -> usize {
    if !written.map_server.is_empty() || !written.map_resolver.is_empty() {
        return 0;
    }
    let temporary = if written.temporary { MAX_TEMPORARY_KEYS } else { 0 };
    written.identity.len().max(1) + temporary
}
