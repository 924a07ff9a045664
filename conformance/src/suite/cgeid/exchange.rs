// SPDX-License-Identifier: GPL-2.0-or-later
//! The forms in which people hand certificates to each other: what the program writes, it and others read again; what is
//! cut off or ambiguous it refuses.

use cgeid::Identity;
use serde_json::Value;

use super::workshop::{PASSWORD, Workshop};
use super::{Fault, Judgement, Probe, dns};

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "CG-003.01", about: "PEM", judge: |shop| carried(shop, "pem", "PEM") },
    Probe { id: "CG-003.02", about: "DER", judge: |shop| carried(shop, "der", "DER") },
    Probe { id: "CG-003.03", about: "the text of a QR code", judge: |shop| carried(shop, "qr --qr text", "QR text") },
    Probe { id: "CG-003.04", about: "the picture of a QR code, PNG", judge: |shop| carried(shop, "qr", "QR picture") },
    Probe { id: "CG-003.05", about: "an NDEF message", judge: |shop| carried(shop, "ndef", "NDEF message") },
    Probe { id: "CG-003.06", about: "a vCard", judge: |shop| carried(shop, "vcard", "vCard") },
    Probe { id: "CG-003.07", about: "a DNS CERT record", judge: |shop| carried(shop, "dns", "DNS record") },
    Probe { id: "CG-003.08", about: "a fingerprint: a pin, not a certificate", judge: fingerprint },
    Probe { id: "CG-003.09", about: "openssl reads PEM, DER and the key of the vCard", judge: openssl_reads },
    Probe { id: "CG-003.10", about: "zbarimg reads the picture", judge: zbarimg_reads },
    Probe { id: "CG-003.11", about: "named serves the record, and dig shows it", judge: dig_shows },
    Probe { id: "CG-004.1", about: "a QR text cut at a third, a half, and by one character", judge: cut_text },
    Probe { id: "CG-004.2", about: "half a picture", judge: |shop| cut(shop, "qr", 2, &["picture", "PNG", "QR"]) },
    Probe { id: "CG-004.3", about: "half a certificate", judge: |shop| cut(shop, "der", 2, &["cut"]) },
    Probe { id: "CG-004.4", about: "half an NDEF message", judge: |shop| cut(shop, "ndef", 2, &["NDEF", "cut"]) },
    Probe { id: "CG-004.5", about: "half a fingerprint", judge: |shop| cut(shop, "fingerprint", 2, &["fingerprint"]) },
    Probe { id: "CG-004.6", about: "a vCard with two keys", judge: two_keys },
    Probe { id: "CG-004.7", about: "two certificates in PEM", judge: |shop| twice(shop, "pem") },
    Probe { id: "CG-004.8", about: "two CERT records", judge: |shop| twice(shop, "dns") },
    Probe { id: "CG-004.9", about: "an operational certificate without its identity's", judge: operational },
];

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

/// The certificate of an identity in one of the forms, as the program writes it: file `carried`.
fn written(shop: &Workshop, identity: &Identity, format: &str) -> Result<Vec<u8>, Fault> {
    shop.put("mine.der", identity.certificate().der())?;
    shop.report(&format!("export mine.der --format {format} -o carried --force"))?;
    shop.get("carried")
}

/// What the program reads in a file must be this identity.
pub(super) fn reads(shop: &Workshop, bytes: &[u8], identity: &Identity, form: &str) -> Result<Value, Fault> {
    shop.put("handed", bytes)?;
    let read = shop.report("import handed")?;
    let digits: String = identity.certificate().fingerprint().iter().map(|octet| format!("{octet:02x}")).collect();
    let expected = (identity.cn().to_string(), identity.address().to_string(), digits, form.to_owned());
    let text = |name: &str| read[name].as_str().unwrap_or_default().to_owned();
    match (text("cn"), text("address"), text("sha512"), text("form")) == expected {
        true => Ok(read),
        false => Err(broken(format!("expected: {} as {form}; came: {read}", expected.0))),
    }
}

fn carried(shop: &Workshop, format: &str, form: &str) -> Judgement {
    let mut octets = Vec::new();
    for identity in [&shop.rsa, &shop.ed25519] {
        let bytes = written(shop, identity, format)?;
        let read = reads(shop, &bytes, identity, form)?;
        if read["kind"] != "certificate" {
            return Err(broken(read));
        }
        octets.push(bytes.len().to_string());
    }
    Ok(format!("to be taken; both kinds of key taken, {} octets", octets.join(" and ")))
}

fn fingerprint(shop: &Workshop) -> Judgement {
    let read = reads(shop, &written(shop, &shop.rsa, "fingerprint")?, &shop.rsa, "fingerprint")?;
    if read["kind"] != "pin" || !read["certificate"].is_null() {
        return Err(broken(read));
    }
    shop.ask(&["export", "handed", "--format", "pem"])?.refuses(&["no certificate"])
}

fn openssl_reads(shop: &Workshop) -> Judgement {
    for identity in [&shop.rsa, &shop.ed25519] {
        let der = identity.certificate().der();
        let same = |what: &str, read: Vec<u8>| if read == der { Ok(()) } else { Err(broken(what)) };
        written(shop, identity, "pem")?;
        same("another certificate in PEM", shop.openssl("x509 -in carried -outform DER")?)?;
        written(shop, identity, "der")?;
        same("another certificate in DER", shop.openssl("x509 -inform DER -in carried -outform DER")?)?;
        // What openssl writes is read as well as what the program writes.
        let pem = shop.openssl("x509 -inform DER -in carried")?;
        reads(shop, &pem, identity, "PEM")?;
        let card = String::from_utf8(written(shop, identity, "vcard")?).map_err(broken)?.replace("\r\n ", "");
        let key = card.lines().find_map(|line| line.strip_prefix("KEY:data:application/pkix-cert;base64,"));
        shop.put("key.b64", format!("{}\n", key.unwrap_or_default()).as_bytes())?;
        same("another certificate in the vCard", shop.openssl("base64 -d -A -in key.b64")?)?;
    }
    Ok("the same octets in all three, of both kinds of key".into())
}

fn zbarimg_reads(shop: &Workshop) -> Judgement {
    let mut characters = 0;
    for identity in [&shop.rsa, &shop.ed25519] {
        let picture = written(shop, identity, "qr")?;
        shop.put("picture.png", &picture)?;
        // Among the modules of a large symbol it would find bars, too, about once in a hundred pictures.
        let scanned = shop.witness("zbarimg", "-q --raw -Sdisable -Sqrcode.enable picture.png")?;
        reads(shop, &scanned, identity, "QR text")?;
        characters = characters.max(scanned.len());
    }
    Ok(format!("scanned from the pictures of both kinds of key, up to {characters} characters"))
}

fn dig_shows(shop: &Workshop) -> Judgement {
    let mut lines = Vec::new();
    for (owner, identity) in [("rsa", &shop.rsa), ("ed25519", &shop.ed25519)] {
        lines.push(String::from_utf8(written(shop, identity, &format!("dns --owner {owner}"))?).map_err(broken)?);
    }
    let server = dns::Server::start(shop, &lines.concat())?;
    for (owner, identity) in [("rsa", &shop.rsa), ("ed25519", &shop.ed25519)] {
        for option in ["+short", "+multiline", "+noall +answer"] {
            reads(shop, &server.dig(shop, option, &format!("{owner}.example"))?, identity, "DNS record")?;
        }
    }
    Ok("the records of both kinds of key, in three ways to show them".into())
}

/// What the program says of a file that it must refuse.
fn refused(shop: &Workshop, bytes: &[u8], words: &[&str]) -> Judgement {
    shop.put("handed", bytes)?;
    shop.ask(&["import", "handed"])?.refuses(words)
}

fn cut(shop: &Workshop, format: &str, parts: usize, words: &[&str]) -> Judgement {
    let whole = written(shop, &shop.rsa, format)?;
    refused(shop, &whole[..whole.len() / parts], words)
}

fn cut_text(shop: &Workshop) -> Judgement {
    let whole = written(shop, &shop.rsa, "qr --qr text")?;
    let whole = whole.trim_ascii_end();
    let mut told = String::new();
    for length in [whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        told = refused(shop, &whole[..length], &["cut"])?;
    }
    Ok(told)
}

fn two_keys(shop: &Workshop) -> Judgement {
    let card = |identity| String::from_utf8(written(shop, identity, "vcard")?).map_err(broken);
    let (first, second) = (card(&shop.ed25519)?, card(&shop.stranger)?);
    let at = |text: &str, line: &str| text.find(line).ok_or_else(|| broken(format!("a vCard without {line}")));
    let key = &second[at(&second, "KEY")?..at(&second, "END:VCARD")?];
    let end = at(&first, "END:VCARD")?;
    refused(shop, [&first[..end], key, &first[end..]].concat().as_bytes(), &["several keys"])
}

fn twice(shop: &Workshop, format: &str) -> Judgement {
    let both = [written(shop, &shop.ed25519, format)?, written(shop, &shop.stranger, format)?].concat();
    refused(shop, &both, &["several"])
}

fn operational(shop: &Workshop) -> Judgement {
    let key = shop.ed25519.delegate(shop.now, 0).map_err(broken)?;
    refused(shop, key.certificate_der(), &["proves nothing alone"])?;
    // Its container holds both.
    shop.put("op.p12", &cgeid::container::save_operational(&key, PASSWORD).map_err(broken)?)?;
    let read = shop.report("import op.p12")?;
    if read["kind"] == "operational" { Ok("refused alone, taken with it".into()) } else { Err(broken(read)) }
}
