// SPDX-License-Identifier: GPL-2.0-or-later
//! The sites of the map system that checks share.

use std::net::{IpAddr, Ipv6Addr};

use wire::address::EidPrefix;
use wire::control::auth::{Algorithm, AuthKey};

use super::message::{key, prefix, prefix_in};
use crate::suite::probe::{Fault, broken};

/// Strict sites of the common map system: one for each check that registers something.
pub(super) const SITES: u16 = 64;
/// The site that is registered to see whether the map system still works.
pub(super) const SENTINEL: &str = "2001:db8:ffff::/48";
pub(super) const SENTINEL_SECRET: &str = "sentinel";

/// A strict site of the common map system that no other check uses.
pub(in crate::suite) struct Site {
    /// `2001:db8:N::/48`; more-specifics up to /64.
    pub(in crate::suite) prefix: EidPrefix,
    pub(super) number: u16,
    /// The keys that a target file gives it; none for the sites of ours.
    pub(super) keys: Option<&'static [crate::target::Key]>,
}

/// A site that is like no other: its EID-prefixes and its key.
pub(in crate::suite) struct Special {
    pub(in crate::suite) prefixes: Vec<EidPrefix>,
    pub(in crate::suite) key: AuthKey,
}

impl Site {
    /// Its first key; of ours, with RFC 9301's algorithm 2.
    pub(in crate::suite) fn key(&self) -> AuthKey {
        let first = self.keys.and_then(|keys| keys.first());
        first.map_or_else(|| self.key_number(1, Algorithm::HmacSha256), crate::target::Key::auth)
    }

    /// The first or second of its keys, with this algorithm.
    pub(in crate::suite) fn key_number(&self, number: u8, algorithm: Algorithm) -> AuthKey {
        let of_target = self.keys.and_then(|keys| keys.get(usize::from(number.saturating_sub(1))).or(keys.first()));
        let key =
            of_target.map_or_else(|| key(number, algorithm, &secret(self.number, number)), crate::target::Key::auth);
        AuthKey { algorithm, ..key }
    }

    /// An address in it.
    pub(in crate::suite) fn host(&self, last: u16) -> EidPrefix {
        host_in(&self.prefix, last)
    }
}

/// An address in an IPv6 EID-prefix.
pub(in crate::suite) fn host_in(prefix: &EidPrefix, last: u16) -> EidPrefix {
    let mut octets = [0; 16];
    if let IpAddr::V6(address) = prefix.net.addr() {
        octets = address.octets();
    }
    octets[14..].copy_from_slice(&last.to_be_bytes());
    EidPrefix::host(prefix.iid, Ipv6Addr::from(octets).into())
}

/// One of those of the common map system.
pub(super) fn special(name: &str) -> Result<Special, Fault> {
    let all: &[(&str, u32, &[&str], &str)] = &[
        ("ipv4", 0, &["10.4.0.0/16"], "ipv4"),
        ("behind a NAT", 0, &["2001:db8:4a7::/48"], "behind a NAT"),
        ("instance 5", 5, &["2001:db8:1::/48"], "instance 5"),
        ("never registered", 0, &["2001:db8:f00::/48", "10.100.3.0/24"], "never"),
    ];
    let found = all.iter().find(|(known, ..)| *known == name);
    let (_, iid, prefixes, secret) = found.ok_or_else(|| broken(format!("no site {name:?}")))?;
    let prefixes = prefixes.iter().map(|text| prefix_in(*iid, text)).collect::<Result<_, _>>()?;
    Ok(Special { prefixes, key: key(1, Algorithm::HmacSha256, secret) })
}

/// The settings that the sentinel of [`Room::works_at`] needs.
pub(in crate::suite) fn sentinel_site() -> String {
    format!(
        "[[site]]\nname = \"sentinel\"\neid-prefix = [\"{SENTINEL}\"]\n\
         key = [{{ key-id = 1, secret = \"{SENTINEL_SECRET}\" }}]\n"
    )
}

/// The secret of a key of a numbered site.
fn secret(number: u16, id: u8) -> String {
    format!("secret {id} of {number}")
}

/// The sites of the common map system.
pub(super) fn common_sites() -> String {
    let mut text = sentinel_site();
    for number in 1..=SITES {
        text += &format!(
            "[[site]]\nname = \"{number}\"\neid-prefix = [\"2001:db8:{number:x}::/48\"]\naccept-more-specifics = 64\n\
             key = [{{ key-id = 1, secret = \"{}\" }}, {{ key-id = 2, secret = \"{}\" }}]\n",
            secret(number, 1),
            secret(number, 2)
        );
    }
    text + SPECIAL
}

/// Sites that are like no other.
const SPECIAL: &str = r#"
[[site]]
name = "ipv4"
eid-prefix = ["10.4.0.0/16"]
key = [{ key-id = 1, secret = "ipv4" }]

[[site]]
name = "legacy"
eid-prefix = ["2001:db8:1e9::/48"]
legacy = true
key = [{ key-id = 0, algorithm = "hmac-sha1", secret = "legacy" }]

[[site]]
name = "behind a NAT"
eid-prefix = ["2001:db8:4a7::/48"]
notify-port = "source"
key = [{ key-id = 1, secret = "behind a NAT" }]

[[site]]
name = "instance 5"
eid-prefix = ["2001:db8:1::/48"]
iid = 5
key = [{ key-id = 1, secret = "instance 5" }]

[[site]]
name = "names in no instance"
eid-name = ["plain-*"]
key = [{ key-id = 1, secret = "names" }]

[[site]]
name = "names and MAC addresses"
eid-name = ["*"]
eid-mac = ["02:00:00:00:00:00/8"]
eid-multicast = ["(*, 224.0.0.0/4)", "(*, ff00::/8)"]
eid-source-dest = ["* -> 0.0.0.0/0", "* -> ::/0"]
iid = 9
key = [{ key-id = 1, secret = "names" }]

[[site]]
name = "all names of an instance"
eid-name = ["*"]
iid = 12
key = [{ key-id = 1, secret = "names" }]

[[site]]
name = "groups of another instance"
eid-multicast = ["(*, 232.0.0.0/8)"]
iid = 11
key = [{ key-id = 1, secret = "names" }]

[[site]]
name = "never registered"
eid-prefix = ["2001:db8:f00::/48", "10.100.3.0/24"]
key = [{ key-id = 1, secret = "never" }]
"#;

/// The EID-prefixes outside of instances that they have.
pub(super) fn configured() -> Result<Vec<EidPrefix>, Fault> {
    let numbered = (1..=SITES).map(|number| format!("2001:db8:{number:x}::/48"));
    let special = SPECIAL.split("[[site]]").filter(|site| !site.contains("iid"));
    let special = special.flat_map(|site| site.lines().filter(|line| line.starts_with("eid-prefix")));
    let special = special.flat_map(|line| line.split('"').filter(|part| part.contains('/')).map(str::to_owned));
    numbered.chain(special).chain([SENTINEL.to_owned()]).map(|text| prefix(&text)).collect()
}
