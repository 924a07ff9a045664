// SPDX-License-Identifier: GPL-2.0-or-later
//! What does not work where the kernel does not forward between interfaces, which is not ours to change.

use wire::address::EidPrefix;

/// The setting of each family, its file, and whether it is IPv4's.
const SETTINGS: [(&str, &str, bool); 2] = [
    ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward", true),
    ("net.ipv6.conf.all.forwarding", "/proc/sys/net/ipv6/conf/all/forwarding", false),
];

/// EID-prefixes whose packets the kernel is to forward, by what for.
#[derive(Debug)]
pub(super) struct Forwarded<'a> {
    /// Of the site: its hosts use the tunnel.
    pub(super) own: &'a [EidPrefix],
    /// Of the sites that this node is PETR for: their packets leave the tunnel here. An RTR needs the kernel for no others.
    pub(super) petr_for: &'a [EidPrefix],
    /// Of the sites that this node is PITR for: packets of others to them enter the tunnel here.
    pub(super) pitr_for: Vec<&'a EidPrefix>,
}

impl Forwarded<'_> {
    /// The settings that are off and needed, and what lacks each.
    pub(super) fn missing(&self, is_off: impl Fn(&str) -> bool) -> Vec<(&'static str, &'static str)> {
        let of_family = |prefix: &EidPrefix, v4: bool| prefix.net.addr().is_ipv4() == v4;
        let lacks = |v4: bool| {
            let uses = [
                (self.own.iter().any(|own| of_family(own, v4)), "only this machine itself can use the tunnel"),
                (
                    self.petr_for.iter().any(|site| of_family(site, v4)),
                    "nothing leaves the tunnel at this PETR, which forwards for the sites that use it",
                ),
                (
                    self.pitr_for.iter().any(|site| of_family(site, v4)),
                    "nothing of others enters the tunnel at this PITR",
                ),
            ];
            uses.into_iter().filter(|(is_used, _)| *is_used).map(|(_, lack)| lack)
        };
        let off = SETTINGS.into_iter().filter(|(_, path, _)| is_off(path));
        off.flat_map(|(name, _, v4)| lacks(v4).map(move |lack| (name, lack))).collect()
    }
}

/// Whether a file of the kernel's settings says so; one that cannot be read says nothing.
pub(super) fn is_off(path: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "0")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::address::InstanceId;

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    #[test]
    fn each_use_of_a_family_is_named_for_itself_and_nothing_is_missing_that_nobody_uses() {
        let (v4, v6) = (prefix("198.18.1.0/24"), prefix("2001:db8:a::/48"));
        let missing = |own: &[EidPrefix], petr_for: &[EidPrefix], pitr_for: &[EidPrefix], off: &str| {
            let forwarded = Forwarded { own, petr_for, pitr_for: pitr_for.iter().collect() };
            forwarded.missing(|path| path.contains(off))
        };
        let words = |found: Vec<(&str, &'static str)>| {
            let word = |lack: &'static str| ["machine", "PETR", "PITR"].into_iter().find(|word| lack.contains(word));
            found.into_iter().map(|(setting, lack)| (setting.contains("ipv4"), word(lack).unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(words(missing(&[v4], &[], &[], "/")), [(true, "machine")]);
        assert_eq!(words(missing(&[], &[v4], &[], "/")), [(true, "PETR")], "an RTR with a PETR beside it");
        assert_eq!(words(missing(&[], &[], &[v6], "/")), [(false, "PITR")]);
        let all = [(true, "PETR"), (false, "machine"), (false, "PETR")];
        assert_eq!(words(missing(&[v6], &[v4, v6], &[], "/")), all);
        assert_eq!(words(missing(&[v6], &[v4, v6], &[], "ipv6")), all[1..]);
        assert_eq!(missing(&[v6], &[v4], &[], "nothing"), []);
    }
}
