// SPDX-License-Identifier: GPL-2.0-or-later
//! A configuration in plain words, for `lisp-xtr check`.

use std::fmt::Display;

use crate::etr::SourceMode;

use super::{Config, Embedded, Mapping, Tier, lisp_sec};

/// What the node would do, a sentence a line.
pub fn explain(config: &Config) -> Vec<String> {
    let mut lines = vec![site(config), locators(config)];
    match &config.mapping {
        Mapping::Elsewhere { servers, resolvers } => {
            if servers.is_empty() {
                lines.push("Registers nowhere: other sites do not find this one.".into());
            } else if !config.nat.rtr {
                // What an RTR passes on are the registrations of others.
                let proxy =
                    if config.proxy_reply { "they answer for this node" } else { "they forward requests to it" };
                lines.push(format!("Registers every minute with {}; {proxy}.", join(servers)));
            }
            lines.push(format!("Asks {} for mappings, and runs no map system and no DHT node.", join(resolvers)));
            if !config.subscriptions.is_empty() {
                let where_from = join(&config.subscriptions);
                lines.push(format!(
                    "Wants to be told of changes behind {where_from}, and polls what it is not told of."
                ));
                if !config.subscribed.is_empty() {
                    let prefixes: Vec<_> = config.subscribed.iter().map(|one| one.prefix).collect();
                    lines.push(format!("Is told of {} without asking.", join(&prefixes)));
                }
                if config.takes_unsubscribed {
                    lines.push("Takes what they tell of mappings that it has not subscribed to.".into());
                }
            }
        }
        Mapping::Embedded(embedded) => lines.extend(self::embedded(config, embedded)),
    }
    lines.extend(lisp_sec::explain(config));
    if !tunnelled(config).is_empty() {
        let others = if config.interworking.petrs.is_empty() {
            "; packets to sites without a mapping leave as they are"
        } else {
            ""
        };
        lines.push(format!(
            "Packets from {} go through the device {} (MTU {}){others}.",
            tunnelled(config),
            config.tun,
            config.mtu,
        ));
    }
    match config.tier {
        Tier::Auto => {}
        Tier::Zero => lines.push("Packets cross the kernel one by one (tier 0), the slow way.".into()),
        Tier::One => lines.push("Packets cross the kernel many at a time (tier 1), or not at all.".into()),
    }
    if !config.gpe_peers.is_empty() {
        lines.push(format!("Sends LISP-GPE headers to {}.", join(&config.gpe_peers)));
    }
    lines.extend(super::ecn::explain(config));
    lines.extend(super::interwork::explain(&config.interworking));
    lines.push(sources(config));
    lines.extend(super::trusted::explain(config));
    lines.extend(super::nat::explain(config));
    lines.extend(config.metrics.map(|address| format!("Serves its figures to anybody at http://{address}/metrics.")));
    lines.push(format!(
        "State is kept in {}; `lisp-xtr show` asks at {}.",
        config.state_dir.display(),
        config.control.display()
    ));
    lines.extend(warnings(config).iter().map(|warning| format!("Warning: {warning}")));
    lines
}

/// What can be run, and is hardly meant; also said at the start.
pub fn warnings(config: &Config) -> Vec<String> {
    let petr_for = &config.interworking.petr_for;
    let is_open = config.source_check == SourceMode::Off && !petr_for.is_empty();
    let sites: Vec<_> = petr_for.iter().map(|prefix| prefix.net).collect();
    let open = || {
        format!(
            "whoever writes a source of {} can send anything through this PETR (source-check = \"off\")",
            join(&sites)
        )
    };
    is_open.then(open).into_iter().collect()
}

fn sources(config: &Config) -> String {
    let check = match config.source_check {
        SourceMode::Off => return "Takes packets from other nodes whatever source they name.".into(),
        SourceMode::Loose => "Takes no packets whose source is known to be behind other locators than they come from",
        SourceMode::Strict => "Takes only packets whose source is known to be behind the locator that they come from",
    };
    match config.pitrs.as_slice() {
        [] => format!("{check}."),
        pitrs => format!("{check}, or which the PITRs {} send.", join(pitrs)),
    }
}

fn tunnelled(config: &Config) -> String {
    let prefixes = join(&config.eid_prefixes);
    match (&config.mapping, prefixes.as_str()) {
        (Mapping::Elsewhere { .. }, "") => String::new(),
        (Mapping::Elsewhere { .. }, _) => format!("{prefixes} to anywhere"),
        (Mapping::Embedded(_), "") => format!("its CGEIDs to anywhere, and to {},", config.cgeid_network),
        (Mapping::Embedded(_), _) => format!("{prefixes} and its CGEIDs to anywhere, and to {},", config.cgeid_network),
    }
}

fn site(config: &Config) -> String {
    if config.eid_prefixes.is_empty() && matches!(config.mapping, Mapping::Elsewhere { .. }) {
        "A border node without a site of its own.".into()
    } else if config.eid_prefixes.is_empty() {
        "A border node for hosts with CGEIDs; no prefix of its own.".into()
    } else {
        format!("A border node for {}.", join(&config.eid_prefixes))
    }
}

fn locators(config: &Config) -> String {
    if config.rlocs.is_empty() && config.rloc_interfaces.is_empty() {
        return "Reached at the addresses of the default route's interface, whatever they become.".into();
    }
    let one = |rloc: &crate::database::OwnLocator| format!("{} ({})", rloc.address, rloc.preference());
    let interfaces = config.rloc_interfaces.iter().map(ToString::to_string);
    format!("Reached at {}.", config.rlocs.iter().map(one).chain(interfaces).collect::<Vec<_>>().join(", "))
}

fn embedded(config: &Config, embedded: &Embedded) -> Vec<String> {
    let mut lines = vec![format!("Runs a map system and a DHT node (UDP port {}) in this process.", embedded.dht_port)];
    lines.push(if embedded.bootstrap.is_empty() {
        "Joins nobody: the first node of its network, or one that others come to.".into()
    } else {
        format!("Joins the DHT by {}.", join(&embedded.bootstrap))
    });
    lines.push(match embedded.identities.as_slice() {
        [] => "Has no identity: makes an Ed25519 one in the state directory at the first start.".into(),
        files => {
            let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            format!("Publishes the CGEIDs of {}; the first also signs as this node.", files.join(", "))
        }
    });
    if config.temporary {
        let day = "Begins connections to other CGEIDs with a temporary one, which has a key of its own: published in the six \
            hours before, in use from 00:00 UTC for a day, an address for another day, and then withdrawn.";
        let label =
            "Sets an address label for the network of the CGEIDs, so that they are no source for other destinations.";
        lines.extend([day.into(), label.into()]);
    }
    if !embedded.trust_anchors.is_empty() {
        lines.push(format!("Believes about prefixes: {}.", join(&embedded.trust_anchors)));
    }
    for prefix in &config.eid_prefixes {
        if !embedded.trust_anchors.iter().any(|anchor| anchor.prefix.contains(&prefix.net)) {
            lines.push(format!("Nobody is said to delegate {prefix}: this node is its own anchor for it."));
        }
    }
    lines
}

pub(super) fn join(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
