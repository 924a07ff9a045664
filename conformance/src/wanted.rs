// SPDX-License-Identifier: GPL-2.0-or-later
//! Which checks are to run: those of some suites whose identifiers are named, or begin with what is.

use anyhow::bail;

use crate::suite::{SUITES, Suite};
use crate::target::{self, Stance};

/// Names of checks, and beginnings of such; none stands for all.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a>(pub &'a [String]);

impl Wanted<'_> {
    /// Whether a check is one of them.
    pub fn has(&self, id: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| is_of(name, id))
    }

    /// The suites that have any of them, each with how many.
    ///
    /// # Errors
    /// When a name is that of no check of the suites.
    pub fn counted<'s>(&self, suites: &[&'s Suite]) -> anyhow::Result<Vec<(&'s Suite, usize)>> {
        let mut counted = Vec::new();
        let mut missed: Vec<&String> = self.0.iter().collect();
        for suite in suites {
            let checks = (suite.list)()?;
            missed.retain(|name| !checks.iter().any(|check| is_of(name, &check.id)));
            let count = checks.iter().filter(|check| self.has(&check.id)).count();
            counted.extend((count > 0).then_some((*suite, count)));
        }
        if let Some(name) = missed.first() {
            let has = |suite: &&Suite| (suite.list)().is_ok_and(|of| of.iter().any(|check| is_of(name, &check.id)));
            let target = target::judged();
            match SUITES.iter().find(has) {
                Some(suite) if target.stance(suite.name) == Stance::NotItsRole => {
                    bail!(
                        "--id {name}: no suite of the roles of {} has it; it is one of suite {}",
                        target.name,
                        suite.name
                    )
                }
                Some(suite) => bail!("--id {name}: none of the suites named has it; it is one of suite {}", suite.name),
                None => {}
            }
            bail!("--id {name}: no check of that name, and none that begins with it; `conformance list` names them");
        }
        Ok(counted)
    }
}

/// `LI-085` begins `LI-085.1`, `LI` begins both; `LI-08` begins neither.
fn is_of(name: &str, id: &str) -> bool {
    id.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_a_check_of_a_clause_or_of_a_table() {
        let named = ["LI-085".to_owned(), "R03".to_owned(), "CG".to_owned()];
        let wanted = Wanted(&named);
        for id in ["LI-085.1", "LI-085.12", "R03", "CG-001.1"] {
            assert!(wanted.has(id), "{id}");
        }
        for id in ["LI-0851.1", "LI-08", "R031", "CGX-1", "LI"] {
            assert!(!wanted.has(id), "{id}");
        }
        assert!(Wanted(&[]).has("anything"));
    }
}
