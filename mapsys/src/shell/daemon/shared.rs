// SPDX-License-Identifier: GPL-2.0-or-later
//! Sites that have one secret: whoever has it could register for each of them (RFC 9301, section 5.6). That is for the operator to
//! mend, who may have a reason; it is said to him.

use std::collections::HashMap;

use crate::register::site::Site;

/// One sentence for each secret that several sites have.
pub(super) fn sentences(sites: &[Site]) -> Vec<String> {
    let mut having: HashMap<&[u8], Vec<&str>> = HashMap::new();
    for site in sites {
        for key in &site.keys {
            let names = having.entry(key.secret.expose()).or_default();
            // A site may have one secret under several key ids.
            if names.last() != Some(&site.name.as_str()) {
                names.push(&site.name);
            }
        }
    }
    let mut sentences: Vec<String> = having.into_values().filter_map(|names| sentence(&names)).collect();
    sentences.sort();
    sentences
}

fn sentence(names: &[&str]) -> Option<String> {
    let (first, second) = (names.first()?, names.get(1)?);
    let more = match names.len() - 2 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!(
        "sites {first:?} and {second:?}{more} have one secret: whoever has it registers for each of them; RFC 9301 wants a secret \
         for each site"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use wire::control::auth::Secret;

    use super::*;
    use crate::register::site::{LispSec, NotifyPort, Publish, SiteKey};

    fn site(name: &str, secrets: &[&str]) -> Site {
        let key = |(id, secret): (u8, &&str)| SiteKey { id, algorithm: None, secret: Secret::new(*secret) };
        Site {
            name: name.into(),
            prefixes: vec![],
            labels: vec![],
            keys: (0..).zip(secrets).map(key).collect(),
            legacy: false,
            notify: NotifyPort::Control,
            publish: Publish::Each,
            lisp_sec: LispSec::Optional,
        }
    }

    #[test]
    fn sites_are_named_for_each_secret_that_they_share_and_no_secret_is() {
        assert!(sentences(&[site("a", &["x", "y", "x"]), site("b", &["z"])]).is_empty());
        let told = sentences(&[site("a", &["x", "y"]), site("b", &["y"]), site("c", &["x", "w"]), site("d", &["x"])]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("sites \"a\" and \"b\" have one secret: "), "{told:?}");
        assert!(told[1].starts_with("sites \"a\" and \"c\" (and 1 more) have one secret: "), "{told:?}");
    }
}
