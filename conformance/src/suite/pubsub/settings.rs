// SPDX-License-Identifier: GPL-2.0-or-later
//! What `lisp-mapsys` is told, and what xTRs and the site share with it.

use std::fmt::Write as _;

use wire::control::XtrIdentity;
use wire::control::auth::{Algorithm, AuthKey, Secret};

use super::office::{ELSEWHERE, LIMITED, MAKERS, XTRS};

/// What ITRs wrap one-time keys with.
pub(super) const ITR_SECRET: &str = "itr and resolver";
/// Its number.
pub(super) const ITR_KEY_ID: u8 = 3;

pub(super) fn identity(number: u8) -> XtrIdentity {
    XtrIdentity { xtr_id: [number; 16], site_id: 7 }
}

pub(super) fn key() -> AuthKey {
    AuthKey { id: 5, algorithm: Algorithm::HkdfSha256, secret: Secret::new("between xTR and Map-Server") }
}

pub(super) fn site_key() -> AuthKey {
    AuthKey { id: 1, algorithm: Algorithm::HmacSha256, secret: Secret::new("secret of a") }
}

pub(super) fn settings() -> String {
    let mut text = String::from(
        r#"
[[site]]
name = "a"
eid-prefix = ["2001:db8:a::/48"]
accept-more-specifics = 72
notify-port = "source"
key = [{ key-id = 1, secret = "secret of a" }]

[[lisp-sec]]
name = "itrs"
peers = ["127.0.0.0/8"]
key = [{ key-id = 3, secret = "itr and resolver" }]

[[site]]
name = "silent"
eid-prefix = ["2001:db8:b::/48"]
key = [{ key-id = 1, secret = "secret of b" }]
"#,
    );
    let shared = r#"key = { key-id = 5, secret = "between xTR and Map-Server" }"#;
    let mut subscriber = |number: u8, key: &str, more: &str| {
        let id = format!("{number:02x}").repeat(16);
        let _ = writeln!(
            text,
            "[[subscriber]]\nname = \"x{number}\"\nxtr-id = \"{id}\"\nsite-id = 7\nnotify-port = \"source\"\n{key}\n{more}"
        );
    };
    for number in 1..=XTRS {
        subscriber(number, shared, r#"rloc = ["127.0.0.0/8"]"#);
    }
    for number in MAKERS {
        subscriber(number, "lisp-sec = true", r#"rloc = ["127.0.0.0/8"]"#);
    }
    subscriber(LIMITED, shared, "rloc = [\"127.0.0.0/8\"]\neid-prefix = [\"2001:db8:b::/48\"]");
    subscriber(ELSEWHERE, shared, r#"rloc = ["192.0.2.0/24"]"#);
    text
}
