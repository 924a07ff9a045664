// SPDX-License-Identifier: GPL-2.0-or-later
//! The roles of DDT node and DDT Map-Resolver (RFC 8111): how they are started with the tree of the suite.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use toml::Spanned;

use super::error::Wrong;
use super::start::{self, Start};

/// A role in the tree.
#[derive(Debug, Clone)]
pub struct DdtRole {
    /// What starts it. There are more places: `{root}` and `{root2}` are whom a Map-Resolver asks first, `{first}` and `{second}` those
    /// that a DDT node delegates to. It has authority over 2001:db8::/32, delegates 2001:db8:100::/40 to the Map-Server `{first}` and
    /// 2001:db8:500::/40 to the DDT nodes `{first}` and `{second}`, and knows that the DDT node `{root}` has 198.18.0.0/15.
    pub start: Start,
    /// What it cannot be given of that.
    pub cannot: BTreeSet<Lack>,
}

/// Something that not every DDT node can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// `hints`
    Hints,
    /// `kinds`
    Kinds,
}

impl Lack {
    const ALL: [(Self, &'static str, &'static str); 2] = [
        (Self::Hints, "hints", "who has a prefix outside of its authority"),
        (Self::Kinds, "kinds", "whether a delegation is to Map-Servers or to DDT nodes"),
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
}

/// Places that there are beside those of all targets.
const PLACES: &[&str] = &["root", "root2", "first", "second"];

impl Written {
    pub(super) fn checked(self) -> Result<DdtRole, Wrong> {
        let known = |written: &Spanned<String>| {
            let found = Lack::ALL.iter().find(|(_, name, _)| name == written.get_ref()).map(|(lack, ..)| *lack);
            let names = Lack::ALL.map(|(_, name, _)| name).join(", ");
            let problem = || format!("cannot: {:?}; there is {names}", written.get_ref());
            found.ok_or_else(|| Wrong::at(written.span().start, problem()))
        };
        let cannot = self.cannot.iter().map(known).collect::<Result<_, _>>()?;
        Ok(DdtRole { start: self.start.checked_with(PLACES)?, cannot })
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
        assert!(wrong("hints", "hope").starts_with("t.toml:5: cannot: \"hope\"; there is hints, kinds"));
        assert!(wrong("{first}", "{third}").starts_with("t.toml:8: {third} is no placeholder"));
        assert!(wrong("cannot", "cant").starts_with("t.toml:5: "));
    }
}
