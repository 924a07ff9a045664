// SPDX-License-Identifier: GPL-2.0-or-later
//! Operational keys that are signed ahead: `cgeid delegate`.

use cgeid::epoch;
use serde_json::Value;

use super::workshop::{PASSWORD, Workshop, at};
use super::{Fault, Judgement, Probe};
use crate::der::{elements, inside};

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "CG-001.1",
        about: "three months ahead: epochs rise, and no day is without a key",
        judge: three_months,
    },
    Probe { id: "CG-001.2", about: "a key before its month", judge: too_early },
    Probe { id: "CG-001.3", about: "a key in its month", judge: in_time },
    Probe { id: "CG-001.4", about: "a second key of one month has a higher epoch", judge: revision },
    Probe { id: "CG-001.5", about: "months after the end of the identity", judge: brief },
    Probe { id: "CG-001.6", about: "a key that is there already is not overwritten", judge: not_overwritten },
    Probe {
        id: "CG-001.7",
        about: "openssl verifies the key of the third month in that month",
        judge: openssl_verifies,
    },
];

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

/// The keys of three months, in a folder that all checks share: a key in its file takes a second.
fn three_months_ahead(shop: &Workshop) -> Result<Vec<Value>, Fault> {
    const REPORT: &str = "ahead.json";
    if !shop.folder().join(REPORT).exists() {
        let keys = delegated(shop, "ahead", "--months 3")?;
        shop.put(REPORT, Value::from(keys).to_string().as_bytes())?;
    }
    serde_json::from_slice(&shop.get(REPORT)?).map_err(broken)
}

/// The keys that the program signs with these flags, in a folder of their own.
fn delegated(shop: &Workshop, folder: &str, flags: &str) -> Result<Vec<Value>, Fault> {
    shop.keep("offline.p12", &shop.ed25519)?;
    // Another check may have been here before.
    let _ = std::fs::remove_dir_all(shop.folder().join(folder));
    let report = shop.report(&format!("delegate offline.p12 --out {folder} {flags}"))?;
    report["keys"].as_array().cloned().ok_or_else(|| broken(format!("no keys: {report}")))
}

fn text<'a>(key: &'a Value, name: &str) -> Result<&'a str, Fault> {
    key[name].as_str().ok_or_else(|| broken(format!("no {name}: {key}")))
}

fn number(key: &Value) -> Result<u64, Fault> {
    key["epoch"].as_u64().ok_or_else(|| broken(format!("no epoch: {key}")))
}

fn three_months(shop: &Workshop) -> Judgement {
    let keys = three_months_ahead(shop)?;
    if keys.len() != 3 {
        return Err(broken(format!("{} keys", keys.len())));
    }
    for pair in keys.windows(2) {
        // Of RFC 3339 times in UTC the earlier one sorts first.
        let overlap = text(&pair[1], "not_before")? < text(&pair[0], "not_after")?;
        if number(&pair[1])? != number(&pair[0])? + u64::from(epoch::REVISIONS) || !overlap {
            return Err(broken(format!("{} and then {}", pair[0], pair[1])));
        }
    }
    Ok(format!("epochs {} to {}", number(&keys[0])?, number(&keys[2])?))
}

fn too_early(shop: &Workshop) -> Judgement {
    let keys = three_months_ahead(shop)?;
    shop.verify(&[text(&keys[0], "file")?])?.holds(0, "operational-key")?;
    shop.verify(&[text(&keys[1], "file")?])?.refuses(0, "operational-key", &["not valid before"])
}

fn in_time(shop: &Workshop) -> Judgement {
    let keys = three_months_ahead(shop)?;
    let (file, from, until) = (text(&keys[1], "file")?, text(&keys[1], "not_before")?, text(&keys[1], "not_after")?);
    for time in [from, until] {
        let found = shop.verify(&[file, "--at", time])?;
        if found.holds(0, "operational-key")?["epoch"] != keys[1]["epoch"] {
            return Err(broken(format!("another epoch than {}", keys[1])));
        }
    }
    Ok(format!("taken from {from} to {until}"))
}

fn revision(shop: &Workshop) -> Judgement {
    let first = number(&three_months_ahead(shop)?[0])?;
    let second = number(&delegated(shop, "second", "--months 1 --revision 1")?[0])?;
    if second == first + 1 { Ok(format!("{first}, then {second}")) } else { Err(broken(format!("{first}, {second}"))) }
}

fn brief(shop: &Workshop) -> Judgement {
    // It ends when this month's key does.
    let month = shop.ed25519.delegate(shop.now, 0).map_err(broken)?;
    let signed = elements(inside(month.certificate_der())).swap_remove(0);
    let until = elements(inside(&signed)).swap_remove(at::VALIDITY);
    let der = shop.forge(&shop.ed25519, |fields| fields[at::VALIDITY] = until)?;
    shop.put("brief.der", &der)?;
    shop.keep("offline.p12", &shop.ed25519)?;
    shop.openssl("x509 -inform DER -in brief.der -out brief.pem")?;
    shop.openssl(&format!("pkcs12 -in offline.p12 -passin pass:{PASSWORD} -nodes -nocerts -out brief.key"))?;
    let out = format!("-out brief.p12 -passout pass:{PASSWORD}");
    shop.openssl(&format!("pkcs12 -export -inkey brief.key -in brief.pem {out}"))?;
    shop.ask(&["delegate", "brief.p12", "--months", "3", "--out", "brief"])?.refuses(&["fewer months"])
}

fn not_overwritten(shop: &Workshop) -> Judgement {
    let keys = three_months_ahead(shop)?;
    let file = text(&keys[0], "file")?;
    let before = shop.get(file)?;
    let told = shop.ask(&["delegate", "offline.p12", "--out", "ahead"])?.refuses(&["not overwritten"])?;
    if shop.get(file)? == before { Ok(told) } else { Err(broken(format!("{file} changed"))) }
}

fn openssl_verifies(shop: &Workshop) -> Judgement {
    let keys = three_months_ahead(shop)?;
    let file = text(&keys[2], "file")?;
    let then = shop.now + 2 * epoch::PERIOD;
    let seconds = then.duration_since(std::time::UNIX_EPOCH).map_err(broken)?.as_secs();
    shop.openssl(&format!("pkcs12 -in {file} -passin pass:{PASSWORD} -nokeys -clcerts -out month.pem"))?;
    shop.put("issuer.der", shop.ed25519.certificate().der())?;
    shop.openssl("x509 -inform DER -in issuer.der -out issuer.pem")?;
    shop.openssl(&format!("verify -attime {seconds} -CAfile issuer.pem month.pem"))?;
    match shop.openssl("verify -CAfile issuer.pem month.pem") {
        Err(Fault::Broken(why)) if why.contains("not yet valid") => Ok(format!("taken at {seconds}, and not today")),
        other => Err(broken(format!("expected: not yet valid today; came: {other:?}"))),
    }
}
