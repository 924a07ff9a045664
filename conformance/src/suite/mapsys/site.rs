// SPDX-License-Identifier: GPL-2.0-or-later
//! The sites of the map system that checks share.

use std::net::{IpAddr, Ipv6Addr};

use wire::address::EidPrefix;
use wire::control::auth::{Algorithm, AuthKey};

use super::message::{key, prefix};
use crate::suite::probe::Fault;

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
}

impl Site {
    /// Its first key; RFC 9301's algorithm 2.
    pub(in crate::suite) fn key(&self) -> AuthKey {
        self.key_number(1, Algorithm::HmacSha256)
    }

    /// One of its two keys.
    pub(in crate::suite) fn key_number(&self, id: u8, algorithm: Algorithm) -> AuthKey {
        key(id, algorithm, &secret(self.number, id))
    }

    /// An address in it.
    pub(in crate::suite) fn host(&self, last: u16) -> EidPrefix {
        let mut octets = [0; 16];
        if let IpAddr::V6(address) = self.prefix.net.addr() {
            octets = address.octets();
        }
        octets[14..].copy_from_slice(&last.to_be_bytes());
        EidPrefix::host(self.prefix.iid, Ipv6Addr::from(octets).into())
    }
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
iid = 9
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
