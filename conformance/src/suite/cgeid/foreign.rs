// SPDX-License-Identifier: GPL-2.0-or-later
//! PKCS#12 files of other tools, and what other tools make of ours: `openssl` and `keytool` as witnesses.

use super::workshop::{PASSWORD, Workshop};
use super::{Fault, Judgement, Probe};

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "CG-005.1", about: "old protection that nobody asked for", judge: old_refused },
    Probe { id: "CG-005.2", about: "old protection with --legacy: kept under the new", judge: old_taken },
    Probe { id: "CG-005.3", about: "keytool's old protection, without --legacy and with it", judge: keytool_old },
    Probe { id: "CG-005.4", about: "two keys in one file, with --legacy and without", judge: two_keys },
    Probe { id: "CG-005.5", about: "no MAC, also with --legacy", judge: |shop| never(shop, "-nomac", &["MAC"]) },
    Probe {
        id: "CG-005.6",
        about: "the key in the clear, also with --legacy",
        judge: |shop| never(shop, "-keypbe NONE", &["in the clear", "encrypted in a way"]),
    },
    Probe {
        id: "CG-005.7",
        about: "two million rounds of old protection, also with --legacy",
        judge: |shop| never(shop, "-legacy -iter 2000000", &["rounds"]),
    },
    Probe {
        id: "CG-005.8",
        about: "a certificate of another profile is replaced, the name stays the key's",
        judge: replaced,
    },
    Probe { id: "CG-005.9", about: "keytool opens a file of ours and finds the name", judge: keytool_opens },
];

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

/// The Ed25519 identity as `openssl` writes it with some options: file `foreign.p12`.
fn exported(shop: &Workshop, options: &str) -> Result<(), Fault> {
    shop.keep("ours.p12", &shop.ed25519)?;
    shop.openssl(&format!("pkcs12 -in ours.p12 -passin pass:{PASSWORD} -nodes -out ours.pem"))?;
    shop.openssl(&format!("pkcs12 -export {options} -in ours.pem -out foreign.p12 -passout pass:{PASSWORD}")).map(drop)
}

const OLD: [&str; 3] = ["-legacy", "-keypbe PBE-SHA1-3DES", "-macalg sha1"];

fn old_refused(shop: &Workshop) -> Judgement {
    let mut told = String::new();
    for options in OLD {
        exported(shop, options)?;
        told = shop.ask(&["import", "foreign.p12"])?.refuses(&["--legacy"])?;
    }
    Ok(told)
}

fn old_taken(shop: &Workshop) -> Judgement {
    let mut told = String::new();
    for options in &OLD[..2] {
        exported(shop, options)?;
        // Another check may have been here before.
        let _ = std::fs::remove_dir_all(shop.folder().join("renewed"));
        let read = shop.report("import foreign.p12 --legacy --out renewed")?;
        let (kept, file) = (&read["certificate"], read["files"][0].as_str().unwrap_or_default());
        if *kept != "kept" {
            return Err(broken(format!("expected: the certificate kept; came: {read}")));
        }
        told = shop.ask(&["show", file])?.names(shop.ed25519.cn())?;
        let output = shop.ask_openssl(&format!("pkcs12 -info -noout -in {file} -passin pass:{PASSWORD}"))?;
        let info = String::from_utf8_lossy(&output.stderr).into_owned();
        if !info.contains("AES-256-CBC") || info.contains("3DES") || info.contains("RC2") {
            return Err(broken(info));
        }
    }
    Ok(told)
}

fn never(shop: &Workshop, options: &str, words: &[&str]) -> Judgement {
    exported(shop, options)?;
    shop.ask(&["import", "foreign.p12", "--legacy"])?.refuses(words)
}

fn keytool(shop: &Workshop, arguments: &str) -> Result<String, Fault> {
    let shown = shop.witness("keytool", &format!("-J-Xshare:auto -J-Duser.language=en {arguments}"))?;
    Ok(String::from_utf8_lossy(&shown).into_owned())
}

/// A new key in a file of `keytool`'s.
fn keytool_makes(shop: &Workshop, alias: &str, file: &str, options: &str) -> Result<(), Fault> {
    let key = "-genkeypair -dname CN=x -storetype PKCS12 -validity 9 -keyalg Ed25519";
    keytool(shop, &format!("{options}{key} -storepass {PASSWORD} -alias {alias} -keystore {file}")).map(drop)
}

fn fresh(shop: &Workshop, file: &str) {
    // Another check may have been here before.
    let _ = std::fs::remove_file(shop.folder().join(file));
}

fn keytool_old(shop: &Workshop) -> Judgement {
    fresh(shop, "old.p12");
    keytool_makes(shop, "one", "old.p12", "-J-Dkeystore.pkcs12.legacy ")?;
    let told = shop.ask(&["import", "old.p12"])?.refuses(&["--legacy"])?;
    let read = shop.report("import old.p12 --legacy")?;
    if read["certificate"] == "issued" { Ok(format!("{told}; with it {}", read["cn"])) } else { Err(broken(read)) }
}

fn two_keys(shop: &Workshop) -> Judgement {
    fresh(shop, "two.p12");
    keytool_makes(shop, "one", "two.p12", "")?;
    shop.report("import two.p12")?;
    keytool_makes(shop, "two", "two.p12", "")?;
    shop.ask(&["import", "two.p12", "--legacy"])?.refuses(&["2 private keys"])?;
    shop.ask(&["import", "two.p12"])?.refuses(&["2 private keys"])
}

fn replaced(shop: &Workshop) -> Judgement {
    shop.openssl("req -x509 -newkey ed25519 -nodes -keyout me.key -subj /CN=me -days 3 -out me.pem")?;
    shop.openssl(&format!("pkcs12 -export -inkey me.key -in me.pem -out me.p12 -passout pass:{PASSWORD}"))?;
    shop.openssl("pkey -in me.key -pubout -outform DER -out me.spki")?;
    let digest = shop.openssl("dgst -sha512 -binary me.spki")?;
    let digits: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let read = shop.report("import me.p12")?;
    match (&read["certificate"], read["sha512"] == digits, read["cn"] == digits[..24]) {
        (certificate, true, true) if *certificate == "issued" => Ok(format!("issued for {}", &digits[..24])),
        _ => Err(broken(format!("expected: a certificate issued for {digits}; came: {read}"))),
    }
}

fn keytool_opens(shop: &Workshop) -> Judgement {
    let made = shop.report("new --algorithm ed25519 --out opened")?;
    let cn = made["cn"].as_str().unwrap_or_default();
    let chains = [("1", format!("opened/{cn}.p12")), ("2", format!("opened/{cn}.op.p12"))];
    for (length, file) in chains {
        let listed = keytool(shop, &format!("-list -v -keystore {file} -storepass {PASSWORD}"))?;
        let expected = ["PrivateKeyEntry", &format!("Certificate chain length: {length}"), &format!("Owner: CN={cn}")];
        if let Some(missing) = expected.into_iter().find(|text| !listed.contains(*text)) {
            return Err(broken(format!("{file} without {missing}: {listed}")));
        }
    }
    Ok(format!("{cn}, identity and operational key"))
}
