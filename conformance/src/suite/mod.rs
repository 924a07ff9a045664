// SPDX-License-Identifier: GPL-2.0-or-later
//! The suites: each a name, a sentence, and functions that name, run and explain its checks.

mod adversary;
mod bounded;
mod cgeid;
mod daemon;
mod data_plane;
mod ddt;
mod dht;
mod facade;
mod faults;
mod fleet;
mod guest;
mod lisp;
mod lispsec;
mod lonely;
mod mapsys;
mod mobility;
mod nat;
mod person;
mod probe;
mod pubsub;
mod record;
mod wire;
mod xtr;

use crate::check::{Asked, Check, Verdict};
use crate::exchange::Recording;
use crate::progress;

/// What was given to a check that was not run.
pub(crate) const NOT_ASKED: &str = "not asked";

/// What the evidence of a check says behind which the target was not there any more.
pub(crate) const ENDED: &str = "this check ended the target";

/// Runs the checks whose identifier the predicate wants.
pub type RunChecks = fn(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>>;

/// A check that was not run.
pub struct Listed {
    /// Identifier, unique among all suites.
    pub id: String,
    /// The clause.
    pub clause: String,
    /// MUST, SHOULD, ... as the clause has it.
    pub level: String,
}

/// A named set of checks.
pub struct Suite {
    /// What `--suite` calls it.
    pub name: &'static str,
    /// What it judges, in a sentence.
    pub about: &'static str,
    /// Names its checks.
    pub list: fn() -> anyhow::Result<Vec<Listed>>,
    /// Runs them.
    pub run: RunChecks,
    /// What a check is about, in some lines; `None` if it is not one of the suite's.
    pub explain: fn(id: &str) -> anyhow::Result<Option<String>>,
}

impl Suite {
    /// What a check is about, and how the suite judges it; `None` if it is not one of the suite's.
    ///
    /// # Errors
    /// When the data of the suite cannot be read, which tests rule out.
    pub fn explained(&self, id: &str) -> anyhow::Result<Option<String>> {
        let (name, about) = (self.name, self.about);
        let text = (self.explain)(id)?.map(|text| {
            format!(
                "{text}\nTested by suite {name}: {about}.\n`conformance run --id {id} --format html -o report.html` shows what is \
                 sent, what comes, and how sure the verdict is.\n"
            )
        });
        Ok(text)
    }

    /// The wanted checks, none of them run for this reason.
    ///
    /// # Errors
    /// When the checks cannot be named.
    pub fn skipped(&self, wanted: &dyn Fn(&str) -> bool, why: &str) -> anyhow::Result<Vec<Check>> {
        self.unasked(wanted, Verdict::Skip, why)
    }

    /// The wanted checks of a suite that could not go on for this reason: those that were judged before as they came out, all others failed.
    ///
    /// # Errors
    /// When the checks cannot be named, or no check is left that could fail for it.
    pub fn failed(&self, wanted: &dyn Fn(&str) -> bool, why: &str) -> anyhow::Result<Vec<Check>> {
        let mut checks = progress::done_of(self.name);
        let is_left = |id: &str| wanted(id) && checks.iter().all(|check| check.id != id);
        let failed = self.unasked(&is_left, Verdict::Fail, why)?;
        checks.extend(failed);
        anyhow::ensure!(checks.iter().any(|check| check.result == Verdict::Fail), "{why}");
        Ok(checks)
    }

    fn unasked(&self, wanted: &dyn Fn(&str) -> bool, verdict: Verdict, why: &str) -> anyhow::Result<Vec<Check>> {
        let checks = (self.list)()?.into_iter().filter(|listed| wanted(&listed.id));
        let unasked = |Listed { id, clause, level }: Listed| {
            let asked =
                Asked { suite: self.name, id: &id, clause: &clause, level: &level, about: NOT_ASKED, expected: "" };
            Check::judged(&asked, verdict, why.to_owned(), Recording::default())
        };
        Ok(checks.map(unasked).map(progress::finished).collect())
    }
}

/// All suites.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "wire",
        about: "byte-exact vectors of RFC 9300, 9301, 9302, 9303, 9305, 8060, 8061, 8111 and 9437 against codec and authenticator",
        list: wire::list,
        run: wire::run,
        explain: wire::explain,
    },
    Suite {
        name: "cgeid",
        about: "what an issuer and a verifier of identities must do and refuse, against the program cgeid and the record codec",
        list: cgeid::list,
        run: cgeid::run,
        explain: cgeid::explain,
    },
    Suite {
        name: "record",
        about: "every class of record and each of its elements, good and bad, against the record codec and verifier",
        list: record::list,
        run: record::run,
        explain: record::explain,
    },
    Suite {
        name: "dht",
        about: "what a network of nodes keeps, finds, proves and refuses, against the program lisp-dht",
        list: dht::list,
        run: dht::run,
        explain: dht::explain,
    },
    Suite {
        name: "adversary",
        about: "records that must be refused and nodes that are hostile, against the program lisp-dht",
        list: adversary::list,
        run: adversary::run,
        explain: adversary::explain,
    },
    Suite {
        name: "faults",
        about: "kills, torn files, a full disk, wrong clocks and silent peers, against the program lisp-dht",
        list: faults::list,
        run: faults::run,
        explain: faults::explain,
    },
    Suite {
        name: "lisp",
        about: "the messages of RFC 9301, section 5, good, forged and malformed, against the program lisp-mapsys",
        list: lisp::list,
        run: lisp::run,
        explain: lisp::explain,
    },
    Suite {
        name: "facade",
        about: "what sites see of a map system, and what ends deployed ones, against the program lisp-mapsys",
        list: facade::list,
        run: facade::run,
        explain: facade::explain,
    },
    Suite {
        name: "lispsec",
        about: "LISP-SEC (RFC 9303) as Map-Resolver and Map-Server, against the program lisp-mapsys",
        list: lispsec::list,
        run: lispsec::run,
        explain: lispsec::explain,
    },
    Suite {
        name: "pubsub",
        about: "subscriptions to mappings (RFC 9437), against the program lisp-mapsys with an xTR and a site on loopback",
        list: pubsub::list,
        run: pubsub::run,
        explain: pubsub::explain,
    },
    Suite {
        name: "ddt",
        about: "DDT node, Map-Server and Map-Resolver of RFC 8111, against the program lisp-mapsys",
        list: ddt::list,
        run: ddt::run,
        explain: ddt::explain,
    },
    Suite {
        name: "data-plane",
        about: "ITR and ETR of RFC 9300, with RFC 6040 and 9305, against the program lisp-xtr in network namespaces",
        list: data_plane::list,
        run: data_plane::run,
        explain: data_plane::explain,
    },
    Suite {
        name: "mobility",
        about: "locators that fail, mappings that change and EIDs that move, against the program lisp-xtr in network namespaces",
        list: mobility::list,
        run: mobility::run,
        explain: mobility::explain,
    },
    Suite {
        name: "nat",
        about: "NAT traversal: Map-Server, against the program lisp-mapsys on loopback; RTR and xTR, against lisp-xtr in network namespaces",
        list: nat::list,
        run: nat::run,
        explain: nat::explain,
    },
];
