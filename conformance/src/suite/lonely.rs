// SPDX-License-Identifier: GPL-2.0-or-later
//! A DHT node of others, which knows nobody else: our client is the instrument, and the node may be dead, silent or slow, or end.
//!
//! The bound: no check begins after [`SUITE`]; one that has never answered, or answers no more after a check that did not hold, is given
//! up, and nothing is waited for any more.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime};

use super::fleet::{Fleet, Node};
use super::person::Person;
use super::probe::{Fault, Judgement, broken, missing, unfit};
use crate::target::{self, DhtNode};

/// After this no other check of a suite begins.
const SUITE: Duration = Duration::from_secs(300);

/// Where a suite stands towards a node of others.
pub(super) struct Lonely {
    has_answered: Cell<bool>,
    given_up: RefCell<Option<String>>,
    begun: Instant,
}

impl Lonely {
    /// The node of the target, which is started now unless it runs elsewhere; nothing if the target is ours.
    pub(super) fn open(fleet: &Fleet) -> Option<(Self, Result<Node, Fault>)> {
        let node = match target::judged().dht_node.as_ref()? {
            DhtNode::Elsewhere(address) => Ok(Node::elsewhere(address)),
            DhtNode::Started(start) => fleet.guest(start),
        };
        Some((Self { has_answered: Cell::new(false), given_up: RefCell::default(), begun: Instant::now() }, node))
    }

    /// What starts it; nothing if it runs elsewhere.
    pub(super) fn start(&self) -> Option<&'static target::Start> {
        match target::judged().dht_node.as_ref()? {
            DhtNode::Elsewhere(_) => None,
            DhtNode::Started(start) => Some(start),
        }
    }

    /// Makes a check, unless that is vain, and sees whether the node is still there if it does not hold.
    pub(super) fn judge(
        &self,
        fleet: &Fleet,
        node: Result<&Node, Fault>,
        judge: impl FnOnce() -> Judgement,
    ) -> Judgement {
        if let Some(why) = self.given_up.borrow().as_ref() {
            return Err(unfit(format!("not judged: {why}")));
        }
        if self.begun.elapsed() > SUITE {
            return Err(unfit(format!("not judged: the {} s of the suite are over", SUITE.as_secs())));
        }
        let node = node.inspect_err(|_| self.give_up("the target did not start"))?;
        if !self.has_answered.get() {
            answers(fleet, node).inspect_err(|_| self.give_up("the target has never answered"))?;
            self.has_answered.set(true);
        }
        let judgement = judge();
        let Err(Fault::Broken(came)) = &judgement else { return judgement };
        match answers(fleet, node) {
            Ok(()) => judgement,
            Err(_) => {
                self.give_up("the target does not answer any more");
                Err(broken(format!("{came}; the target does not answer any more")))
            }
        }
    }

    fn give_up(&self, why: &str) {
        *self.given_up.borrow_mut() = Some(why.to_owned());
    }
}

/// Whether it answers our client, asked for the record of somebody whom nobody knows.
fn answers(fleet: &Fleet, node: &Node) -> Result<(), Fault> {
    let found = fleet.get(node, &Person::new(SystemTime::now())?.eid())?;
    match found["why"].as_str() {
        _ if found.is_null() => Err(missing(format!("our client cannot ask {}", node.address))),
        Some(why) if why == Fleet::NOBODY => Err(broken(format!("nobody answers at {}", node.address))),
        _ => Ok(()),
    }
}
