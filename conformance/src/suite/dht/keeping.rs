// SPDX-License-Identifier: GPL-2.0-or-later
//! What nodes keep of an owner, what they replace, and what they refuse.

use serde_json::Value;

use super::{Hall, now};
use crate::suite::fleet::{Node, Start};
use crate::suite::person::{Person, seconds};
use crate::suite::probe::{Fault, Judgement, Probe, expect, must, should};

const STORE: &str = "lisp-signed-dht 7.1";
const READ: &str = "lisp-signed-dht 9.7";
const SELECT: &str = "lisp-signed-dht 6.1";
const KADEMLIA: &str = "lisp-signed-dht 9.4";

pub(super) const PROBES: &[Probe<Hall>] = &[
    must("DH-01.1", READ, "an owner puts a mapping, another node gives it", put_get),
    must("DH-01.2", READ, "a CGEID is resolved", resolved),
    must("DH-01.3", READ, "the CGEID of nobody", nobody),
    must("DH-01.4", READ, "a bundle that another carries", carried),
    must("DH-01.5", READ, "a bundle that does not hold is not sent, and its carrier told why", hint),
    must("DH-01.6", SELECT, "of nodes that know each other some keep an older mapping, some a newer", two_copies),
    must("DH-01.7", KADEMLIA, "what a lookup has found at one node is not put at the others that it asked", no_copy),
    must("DH-02.1", STORE, "a newer mapping replaces an older one", newer),
    must("DH-02.2", STORE, "an older mapping is refused, and its publisher told", older),
    must("DH-02.3", STORE, "a mapping that is there already", again),
    must("DH-02.4", STORE, "a withdrawal", withdrawn),
    must("DH-02.5", STORE, "a mapping that was withdrawn is put again", after_withdrawal),
    must("DH-03.1", STORE, "a revocation ends the address", revoked),
    must("DH-03.2", STORE, "what a revoked owner says is refused", after_revocation),
    should("DH-03.3", STORE, "a revocation is given to a node that comes later", revocation_for_newcomers),
    must("DH-04.1", STORE, "an owner that contradicts itself", conflict),
    must("DH-04.2", STORE, "the owner settles a conflict by its next word", settled),
    must("DH-05.1", STORE, "a node that was stopped gives what it kept", restart),
    must("DH-05.2", STORE, "an older mapping after a restart", replay_after_restart),
    must("DH-05.3", STORE, "a mapping that was withdrawn before a restart", withdrawn_before_restart),
    must("DH-05.4", STORE, "a revocation survives a restart", revoked_before_restart),
];

/// The first locator that was found.
fn locator(found: &Value) -> &str {
    found["record"]["sections"][1]["body"]["locators"][0]["address"].as_str().unwrap_or_default()
}

fn gives(found: &Value, last: u8) -> Judgement {
    let holds =
        found["result"] == "mapping" && found["verified"] == true && locator(found) == format!("192.0.2.{last}");
    expect(holds, format!("192.0.2.{last} expected; came {} {}", found["result"], locator(found)))
}

fn put_get(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    let key = hall.fleet.keep(&owner)?;
    let put = ["put", "--identity", &key, "--rloc", "192.0.2.1", "--bootstrap", &near.address, "--json"];
    let stored = hall.fleet.run(&put)?.held("stored")?;
    let found = gives(&hall.fleet.get(far, &owner.eid())?, 1)?;
    let count = hall.cloud()?.len();
    expect(stored["stored"] == count, format!("stored by {} of {count} nodes; {found}", stored["stored"]))
}

fn resolved(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    hall.fleet.publish(near, &owner.mapping(now(), 2)?)?;
    gives(&hall.fleet.run(&["resolve", &owner.eid(), "--bootstrap", &far.address, "--json"])?.report, 2)
}

fn nobody(hall: &Hall) -> Judgement {
    let (_, far) = hall.ends()?;
    let eid = Person::new(now())?.eid();
    let answer = hall.fleet.run(&["get", &eid, "--verify", "--bootstrap", &far.address, "--json"])?;
    let holds = answer.code == Some(1) && answer.report["result"] == "not-found";
    expect(holds, format!("not-found with 1 expected; came {} with {:?}", answer.report["result"], answer.code))
}

fn carried(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    let stored = hall.fleet.publish(near, &owner.mapping(now(), 3)?)?;
    gives(&hall.fleet.get(far, &owner.eid())?, 3)?;
    expect(stored["eid"] == owner.eid(), format!("stored by {} as {}", stored["stored"], stored["eid"]))
}

fn hint(hall: &Hall) -> Judgement {
    let (near, _) = hall.ends()?;
    let owner = Person::new(now())?;
    let mut value = owner.mapping(now(), 3)?.value;
    value.last_mut().into_iter().for_each(|octet| *octet ^= 1);
    let file = hall.fleet.file("bundle", &value)?;
    let answer = hall.fleet.run(&["put", "--bundle", &file, "--bootstrap", &near.address, "--json"])?;
    let holds = answer.code == Some(2) && answer.told.contains("signature") && answer.told.contains("--unchecked");
    expect(holds, format!("2 and the reason expected; came {:?}: {}", answer.code, answer.told))
}

/// What is put at one node alone its owner has not brought to the others, and no node does that for it so soon.
fn two_copies(hall: &Hall) -> Judgement {
    let cloud = hall.cloud()?;
    // Of the one owner two nodes of three keep the older mapping, of the other one node does.
    for with_newer in [&cloud[..1], &cloud[1..]] {
        let owner = Person::new(now())?;
        hall.fleet.publish(&cloud[0], &owner.mapping(now() - seconds(30), 17)?)?;
        let newer = owner.mapping(now(), 18)?;
        for node in with_newer {
            hall.fleet.carry(node, &newer.key.encode(), &newer.value, &["--direct"])?.held("stored")?;
        }
        finds_newer(hall, &cloud[2], &owner.eid())?;
    }
    Ok("the newer one, whether one of three nodes has it or two".to_owned())
}

/// A command does not wait for copies that are late, as they are on a machine that has other work: then it is asked again.
fn finds_newer(hall: &Hall, node: &Node, eid: &str) -> Judgement {
    const TRIES: usize = 4;
    let ask = || gives(&hall.fleet.get(node, eid)?, 18);
    let mut found = ask();
    for _ in 1..TRIES {
        found = found.or_else(|_| ask());
    }
    found
}

fn no_copy(hall: &Hall) -> Judgement {
    let cloud = hall.cloud()?;
    let owner = Person::new(now())?;
    let mapping = owner.mapping(now(), 19)?;
    hall.fleet.carry(&cloud[0], &mapping.key.encode(), &mapping.value, &["--direct"])?.held("stored")?;
    let records = |node: &Node| -> Result<Value, Fault> { Ok(hall.fleet.stats(node)?["records"].clone()) };
    let kept = || cloud[1..].iter().map(records).collect::<Result<Vec<_>, _>>();
    let before = kept()?;
    for node in cloud {
        gives(&hall.fleet.get(node, &owner.eid())?, 19)?;
    }
    let after = kept()?;
    expect(before == after, format!("records of the others before {before:?}, afterwards {after:?}"))
}

fn newer(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    hall.fleet.publish(near, &owner.mapping(now() - seconds(30), 4)?)?;
    hall.fleet.publish(far, &owner.mapping(now(), 5)?)?;
    gives(&hall.fleet.get(near, &owner.eid())?, 5)
}

fn older(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    let old = owner.mapping(now() - seconds(30), 4)?;
    hall.fleet.publish(near, &owner.mapping(now(), 5)?)?;
    let refused = hall.fleet.carry(far, &old.key.encode(), &old.value, &[])?.refused()?;
    let found = gives(&hall.fleet.get(far, &owner.eid())?, 5)?;
    let count = hall.cloud()?.len();
    expect(usize::try_from(refused) == Ok(count), format!("refused by {refused} of {count}; {found}"))
}

fn again(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let mapping = Person::new(now())?.mapping(now(), 6)?;
    hall.fleet.publish(near, &mapping)?;
    let stored = hall.fleet.publish(far, &mapping)?;
    expect(stored["refused"] == 0, format!("to be taken by all; refused by {}", stored["refused"]))
}

fn withdrawn(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    let key = hall.fleet.keep(&owner)?;
    hall.fleet.publish(near, &owner.mapping(now() - seconds(1), 7)?)?;
    let put = ["put", "--withdraw", "--identity", &key, "--bootstrap", &near.address, "--json"];
    hall.fleet.run(&put)?.held("stored")?;
    let found = hall.fleet.get(far, &owner.eid())?;
    let holds = found["result"] == "not-found" && found["why"].as_str().is_some_and(|why| why.contains("withdrawn"));
    expect(holds, format!("withdrawn expected; came {} ({})", found["result"], found["why"]))
}

fn after_withdrawal(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    let old = owner.mapping(now() - seconds(30), 8)?;
    hall.fleet.publish(near, &old)?;
    hall.fleet.publish(near, &owner.withdraw(now())?)?;
    let refused = hall.fleet.carry(far, &old.key.encode(), &old.value, &[])?.refused()?;
    let found = hall.fleet.get(far, &owner.eid())?;
    expect(found["result"] == "not-found", format!("refused by {refused}; then {}", found["result"]))
}

fn revoked(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    hall.fleet.publish(near, &owner.mapping(now(), 9)?)?;
    hall.fleet.publish(near, &owner.revocation(now())?)?;
    let found = hall.fleet.get(far, &owner.eid())?;
    expect(
        found["result"] == "revoked" && found["verified"] == true,
        format!("revoked expected; came {}", found["result"]),
    )
}

fn after_revocation(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    hall.fleet.publish(near, &owner.revocation(now())?)?;
    let later = owner.mapping(now(), 9)?;
    let refused = hall.fleet.carry(far, &later.key.encode(), &later.value, &[])?.refused()?;
    Ok(format!("refused by {refused}, and its publisher told"))
}

fn revocation_for_newcomers(hall: &Hall) -> Judgement {
    let mut old = hall.fleet.node(&Start::default())?;
    let owner = Person::new(now())?;
    hall.fleet.publish(&old, &owner.revocation(now())?)?;
    let new = hall.fleet.node(&Start { bootstrap: vec![old.address.clone()], more: Vec::new() })?;
    hall.fleet.wait(&new, "a record that was handed over", |stats| stats["records"] == 1)?;
    old.kill();
    let found = hall.fleet.get(&new, &owner.eid())?;
    expect(found["result"] == "revoked", format!("revoked expected; came {}", found["result"]))
}

fn conflict(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    let at = now();
    hall.fleet.publish(near, &owner.mapping(at, 10)?)?;
    hall.fleet.publish(near, &owner.mapping(at, 11)?)?;
    let stats = hall.fleet.stats(far)?;
    let cn = owner.key.cn().to_string();
    let shown = stats["conflicts"].as_array().into_iter().flatten().any(|key| key.to_string().contains(&cn));
    expect(shown, format!("the key of {cn} among the conflicts; came {}", stats["conflicts"]))
}

fn settled(hall: &Hall) -> Judgement {
    let (near, far) = hall.ends()?;
    let owner = Person::new(now())?;
    let at = now() - seconds(30);
    hall.fleet.publish(near, &owner.mapping(at, 10)?)?;
    hall.fleet.publish(near, &owner.mapping(at, 11)?)?;
    hall.fleet.publish(near, &owner.mapping(now(), 12)?)?;
    gives(&hall.fleet.get(far, &owner.eid())?, 12)
}

/// What is published at a node alone, which is then stopped and started again.
fn over_restart(
    hall: &Hall,
    publish: &[dht::publish::Publication],
    then: impl FnOnce(&Node) -> Judgement,
) -> Judgement {
    let node = hall.hermit()?;
    for publication in publish {
        hall.fleet.publish(&node, publication)?;
    }
    then(&hall.restarted(node)?)
}

fn restart(hall: &Hall) -> Judgement {
    let owner = Person::new(now())?;
    over_restart(hall, &[owner.mapping(now(), 13)?], |node| gives(&hall.fleet.get(node, &owner.eid())?, 13))
}

fn replay_after_restart(hall: &Hall) -> Judgement {
    let owner = Person::new(now())?;
    let old = owner.mapping(now() - seconds(30), 13)?;
    over_restart(hall, &[owner.mapping(now(), 14)?], |node| {
        let refused = hall.fleet.carry(node, &old.key.encode(), &old.value, &[])?.refused()?;
        if hall.other.is_some() {
            // By which name it counts that is its own affair.
            return Ok(format!("refused by {refused}, and its publisher told"));
        }
        let refused = hall.fleet.stats(node)?["refused"].clone();
        expect(refused["old-sequence"] == 1, format!("refused by name: {refused}"))
    })
}

fn withdrawn_before_restart(hall: &Hall) -> Judgement {
    let owner = Person::new(now())?;
    let old = owner.mapping(now() - seconds(30), 15)?;
    over_restart(hall, &[old.clone(), owner.withdraw(now())?], |node| {
        hall.fleet.carry(node, &old.key.encode(), &old.value, &[])?.refused()?;
        let found = hall.fleet.get(node, &owner.eid())?;
        expect(found["result"] == "not-found", format!("refused, and not found: {}", found["result"]))
    })
}

fn revoked_before_restart(hall: &Hall) -> Judgement {
    let owner = Person::new(now())?;
    let mapping = owner.mapping(now(), 16)?;
    over_restart(hall, &[owner.revocation(now())?], |node| {
        hall.fleet.carry(node, &mapping.key.encode(), &mapping.value, &[])?.refused()?;
        let found = hall.fleet.get(node, &owner.eid())?;
        expect(found["result"] == "revoked", format!("refused, and {}", found["result"]))
    })
}
