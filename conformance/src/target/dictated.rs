// SPDX-License-Identifier: GPL-2.0-or-later
//! Roles for which a suite dictates what a target is configured with: DDT node and DDT Map-Resolver (RFC 8111), a map system with
//! LISP-SEC (RFC 9303), and one with subscribers (RFC 9437). The file spells it in the target's own language.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use toml::Spanned;

use super::error::Wrong;
use super::start::{self, Start};

/// Such a role.
#[derive(Debug, Clone)]
pub struct Dictated {
    /// What starts it, with more places:
    ///
    /// * `[ddt-node]`: it has authority over 2001:db8::/32, delegates 2001:db8:d::/48 and 2001:db8:100::/40 to the Map-Server `{first}` and
    ///   2001:db8:500::/40 to the DDT nodes `{first}` and `{second}`, and knows that the DDT node `{root}` has 198.18.0.0/15.
    /// * `[ddt-map-resolver]`: it asks the roots `{root}` and `{root2}`, in this order.
    /// * `[lisp-sec]`: `{sites}` may register more-specifics up to /64, with HMAC-SHA-256-128, and have Map-Notifies at the port that they
    ///   register from; so may 2001:db8:18::/48 with Key ID 1 and the secret `secret of 24`, which requires LISP-SEC. The ITR `{itr}`
    ///   has the secrets `itr and resolver` with Key ID 3 and `the next one` with 4; what comes from `{tunnelled}` is protected
    ///   otherwise; `{of-vectors}` has `{secret-of-vectors}` with Key ID `{key-id-of-vectors}`.
    /// * `[pubsub]`: `{sites}` are registered as above, up to /72; `{subscribers}` are as [`Self::subscriber`] has them.
    pub start: Start,
    /// What it cannot be given of that.
    pub cannot: BTreeSet<Lack>,
    /// Of `[pubsub]`, what is written for a subscriber whose xTR-ID is `{xtr-id}` in hexadecimal, with Site-ID 7, the secret `between xTR
    /// and Map-Server` with Key ID 5 and HKDF-SHA256, Map-Notifies at the port that it asks from, ITR-RLOCs in `{rlocs}`, and EIDs in
    /// `{eids}`. `{number}` tells subscribers apart.
    pub subscriber: String,
}

/// Something that not every target can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// `hints`
    Hints,
    /// `kinds`
    Kinds,
    /// `order`
    Order,
    /// `protected-path`
    ProtectedPath,
    /// `second-key`
    SecondKey,
    /// `requirement`
    Requirement,
    /// `limits`
    Limits,
}

impl Lack {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Hints, "hints", "who has a prefix outside of its authority"),
        (Self::Kinds, "kinds", "whether a delegation is to Map-Servers or to DDT nodes"),
        (Self::Order, "order", "in which order it asks roots: it does from the highest address down"),
        (Self::ProtectedPath, "protected-path", "an ITR whose path is protected otherwise"),
        (Self::SecondKey, "second-key", "a second secret of an ITR"),
        (Self::Requirement, "requirement", "a site that requires LISP-SEC"),
        (Self::Limits, "limits", "what a subscriber may ask for, and from where"),
    ];
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(lack, ..)| lack == self).map_or("", |(.., about)| about))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    start: start::Written,
    #[serde(default)]
    cannot: Vec<Spanned<String>>,
    subscriber: Option<Spanned<String>>,
}

/// Places of each table beside those of all targets.
pub(super) const OF_DDT: &[&str] = &["root", "root2", "first", "second"];
pub(super) const OF_LISP_SEC: &[&str] = &["itr", "tunnelled", "of-vectors", "secret-of-vectors", "key-id-of-vectors"];
pub(super) const OF_PUBSUB: &[&str] = &["subscribers"];
/// Places of a subscriber.
const OF_SUBSCRIBER: &[&str] = &["number", "xtr-id", "rlocs", "eids"];

impl Written {
    pub(super) fn checked(self, places: &[&str]) -> Result<Dictated, Wrong> {
        let known = |written: &Spanned<String>| {
            let found = Lack::ALL.iter().find(|(_, name, _)| name == written.get_ref()).map(|(lack, ..)| *lack);
            let names = Lack::ALL.map(|(_, name, _)| name).join(", ");
            let problem = || format!("cannot: {:?}; there is {names}", written.get_ref());
            found.ok_or_else(|| Wrong::at(written.span().start, problem()))
        };
        let cannot = self.cannot.iter().map(known).collect::<Result<_, _>>()?;
        if let Some(subscriber) = &self.subscriber {
            if places != OF_PUBSUB {
                return Err(Wrong::at(subscriber.span().start, "subscriber: only [pubsub] has them"));
            }
            start::known(subscriber, OF_SUBSCRIBER)?;
        }
        let subscriber = self.subscriber.map(Spanned::into_inner).unwrap_or_default();
        Ok(Dictated { start: self.start.checked_with(places)?, cannot, subscriber })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::{Stance, Target, TargetError};

    const NODE: &str = r#"name = "a node"
claims = ["ddt"]

[ddt-node]
cannot = ["hints"]

[ddt-node.start]
command = ["node", "{first}", "{root}"]
"#;

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse(text, Path::new("t.toml"))
    }

    #[test]
    fn a_node_has_a_start_and_what_it_cannot_be_given() {
        let target = parse(NODE).unwrap();
        assert_eq!(target.ddt_node.as_ref().unwrap().cannot, [Lack::Hints].into());
        assert_eq!((target.stance("ddt"), target.stance("lisp")), (Stance::Run, Stance::NotItsRole));
        let unclaimed = parse(&NODE.replace("\"ddt\"", "")).unwrap();
        assert_eq!(unclaimed.stance("ddt"), Stance::Skip("a node does not claim ddt".into()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let wrong = |from: &str, to: &str| parse(&NODE.replace(from, to)).unwrap_err().to_string();
        assert!(wrong("hints", "hope").starts_with("t.toml:5: cannot: \"hope\"; there is hints, kinds, "));
        assert!(wrong("{first}", "{third}").starts_with("t.toml:8: {third} is no placeholder"));
        assert!(wrong("cannot", "cant").starts_with("t.toml:5: "));
        let astray = wrong("cannot = [\"hints\"]", "subscriber = \"{number}\"");
        assert!(astray.starts_with("t.toml:5: subscriber: only [pubsub]"), "{astray}");
    }
}
