// SPDX-License-Identifier: GPL-2.0-or-later
//! The verbs that verify and sign: `verify`, `delegate`, `revoke`, `prove-link`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::temporary::{Clock, Input, Output, Role, Schedule};
use cgeid::{Identity, Network, OperationalKey, PuzzleBits, Revocation, container, epoch, limits, puzzle};
use serde_json::Value;

use crate::cli::{cgeid, cn, fails, given, json, made, mode, succeeds, text};
use crate::common::{ED25519, at, elements, forge, hex, inside, pem, tlv};
use crate::openssl::{openssl, workshop};

/// The findings of a `verify` that ends with `code`.
fn findings(folder: &Path, arguments: &str, code: i32) -> Vec<Value> {
    let output = cgeid(folder, &format!("verify {arguments} --json"));
    assert_eq!(output.status.code(), Some(code), "{arguments}: {}", text(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["ok"], code == 0);
    let findings = value["findings"].as_array().unwrap().clone();
    assert_eq!(findings.iter().all(|finding| finding["ok"] == true), code == 0);
    assert!(findings.iter().all(|finding| (finding["ok"] == true) == finding["why"].is_null()));
    findings
}

fn kinds(findings: &[Value]) -> Vec<(&str, bool)> {
    findings.iter().map(|finding| (finding["kind"].as_str().unwrap(), finding["ok"] == true)).collect()
}

fn load(path: &Path, at: SystemTime) -> OperationalKey {
    container::load_operational(&std::fs::read(path).unwrap(), "secret", Network::LAB, at).unwrap()
}

/// A folder with one identity, its certificates as `id.pem` and `op.der`, and its name.
fn unpacked() -> (tempfile::TempDir, Value) {
    let (folder, made) = made();
    let path = folder.path();
    let key = load(&path.join(format!("keys/{}.op.p12", cn(&made))), SystemTime::now());
    std::fs::write(path.join("id.pem"), pem(key.identity_certificate_der())).unwrap();
    std::fs::write(path.join("op.der"), key.certificate_der()).unwrap();
    (folder, made)
}

#[test]
fn verify_takes_whatever_it_is_given() {
    let (folder, made) = unpacked();
    let path = folder.path();
    let (cn, revocation) = (cn(&made), made["revocation"].as_str().unwrap());
    let all = format!("keys/{cn}.p12 keys/{cn}.op.p12 op.der id.pem {revocation}");
    let found = findings(path, &all, 0);
    let expected = ["identity-key", "operational-key", "operational-certificate", "identity-certificate", "revocation"];
    assert_eq!(kinds(&found), expected.map(|kind| (kind, true)));
    for (finding, file) in found.iter().zip(all.split(' ')) {
        assert_eq!((&finding["file"], &finding["cn"]), (&file.into(), &made["cn"]));
        assert_eq!(finding["address"], made["address"]);
    }
    assert_eq!(found[1]["epoch"], found[2]["epoch"]);
    assert_eq!(found[3]["not_after"], "9999-12-31T23:59:59Z");
    assert_eq!(found[4]["reason"], "unspecified");
    // The same in words, and from one PEM file.
    let chain = [&pem(&std::fs::read(path.join("op.der")).unwrap()), "and\n", &read(path, "id.pem")].concat();
    std::fs::write(path.join("chain.pem"), chain + &read(path, revocation)).unwrap();
    let words = succeeds(path, "verify chain.pem");
    assert_eq!(words.lines().filter(|line| line.starts_with("holds ") && line.contains(cn)).count(), 3, "{words}");
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn verify_goes_on_after_what_does_not_hold() {
    let (folder, made) = unpacked();
    let path = folder.path();
    std::fs::write(path.join("hello"), "hello").unwrap();
    let revocation = made["revocation"].as_str().unwrap();
    let text_of = read(path, revocation);
    let position = text_of.find("CGEID REVOCATION-----\n").unwrap() + 200;
    let other = if text_of.as_bytes()[position] == b'A' { "B" } else { "A" };
    std::fs::write(path.join("typo"), [&text_of[..position], other, &text_of[position + 1..]].concat()).unwrap();
    std::fs::write(path.join("wrong"), "guess\n").unwrap();

    let later = made["files"][2].as_str().unwrap();
    let found = findings(path, &format!("hello typo id.pem {later} {revocation}"), 1);
    let expected = [
        ("unknown", false),
        ("revocation", false),
        ("identity-certificate", true),
        ("operational-key", false),
        ("revocation", true),
    ];
    assert_eq!(kinds(&found), expected);
    assert_eq!((&found[3]["cn"], &found[3]["address"]), (&made["cn"], &made["address"]));
    assert!(found[3]["why"].as_str().unwrap().contains("not valid before"), "{}", found[3]);
    // The next month's key holds in its month.
    let then = SystemTime::now() + epoch::PERIOD;
    let then = der::DateTime::from_system_time(then).unwrap().to_string();
    assert_eq!(kinds(&findings(path, &format!("{later} --at {then}"), 0)), [("operational-key", true)]);

    assert_eq!(kinds(&findings(path, "op.der", 1)), [("operational-certificate", false)]);
    assert_eq!(kinds(&findings(path, "id.pem --prefix 2001:db8::/32", 1)), [("identity-certificate", false)]);
    assert_eq!(kinds(&findings(path, "id.pem --at 2001-01-01", 1)), [("identity-certificate", false)]);
    let found = findings(path, &format!("--password-file wrong keys/{}.p12", cn(&made)), 1);
    assert!(found[0]["why"].as_str().unwrap().contains("wrong password"));
    fails(path, "verify missing.pem", 2, "cannot read missing.pem");
    fails(path, "verify id.pem --at yesterday", 2, "2027-01-15T08:00:00Z");
    fails(path, "verify", 2, "FILE");
}

#[test]
fn a_key_signed_ahead_is_named_and_not_yet_valid() {
    let (folder, made) = made();
    let (path, cn) = (folder.path(), cn(&made));
    let later = made["files"][2].as_str().unwrap();
    let output = cgeid(path, &format!("verify keys/{cn}.op.p12 {later}"));
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert!(lines[0].starts_with(&format!("holds    keys/{cn}.op.p12: operational-key: {cn}, ")), "{lines:?}");
    assert!(lines[1].starts_with(&format!("not yet  {later}: operational-key: {cn}, epoch ")), "{lines:?}");
    assert!(lines[1].contains(", from 20") && lines[1].contains(" until 20"), "{lines:?}");
    // One that is over is named as well.
    let over = SystemTime::now() + 3 * epoch::PERIOD;
    let over = der::DateTime::from_system_time(over).unwrap().to_string();
    let found = findings(path, &format!("{later} --at {over}"), 1);
    assert_eq!((kinds(&found), &found[0]["cn"]), (vec![("operational-key", false)], &made["cn"]));
    assert!(found[0]["why"].as_str().unwrap().contains("expired"), "{}", found[0]);
}

#[test]
fn a_fingerprint_must_fit_the_key() {
    let (folder, made) = unpacked();
    let (path, cn) = (folder.path(), cn(&made));
    succeeds(path, "export id.pem --format fingerprint -o line");
    succeeds(path, "import line --out .");
    let pin = format!("{cn}.pin");
    let all = format!("id.pem op.der keys/{cn}.p12 keys/{cn}.op.p12 keys/{cn}.revoke");
    findings(path, &format!("{all} --pin {pin}"), 0);
    let line = read(path, &pin);
    // Another key of the same name, and one of another name.
    let last = if line.ends_with("0\n") { "1\n" } else { "0\n" };
    std::fs::write(path.join("twin"), [&line[..line.len() - 2], last].concat()).unwrap();
    std::fs::write(path.join("other"), format!("CGEID1-SHA512:{}\n", "ab".repeat(64))).unwrap();
    for (wrong, why) in [("twin", "another key with the name"), ("other", "no fingerprint (--pin) is of")] {
        let found = findings(path, &format!("{all} --pin {wrong}"), 1);
        for finding in found {
            assert!(finding["why"].as_str().unwrap().contains(why), "{finding}");
        }
    }
    findings(path, &format!("id.pem --pin other --pin {pin}"), 0);
    let found = findings(path, &pin, 1);
    assert_eq!(kinds(&found), [("fingerprint", false)]);
    fails(path, "verify id.pem --pin id.pem", 1, "id.pem (--pin): not a fingerprint");
    fails(path, &format!("show {pin}"), 1, "no certificate in it");
}

#[test]
fn show_and_verify_take_every_form() {
    let (folder, made) = unpacked();
    let (path, cn) = (folder.path(), cn(&made));
    let whole = json(path, "show id.pem");
    for format in ["pem", "der", "qr", "qr --qr svg", "qr --qr text", "ndef", "vcard", "dns"] {
        succeeds(path, &format!("export id.pem --format {format} -o made --force"));
        assert_eq!(json(path, "show made"), whole, "{format}");
        assert_eq!(kinds(&findings(path, "made", 0)), [("identity-certificate", true)], "{format}");
        let piped = given(path, "show - --json", &std::fs::read(path.join("made")).unwrap());
        assert_eq!(serde_json::from_slice::<Value>(&piped.stdout).unwrap(), whole, "{format}");
    }
    let piped = given(path, "verify -", read(path, "id.pem").as_bytes());
    assert!(text(&piped.stdout).starts_with("holds    standard input: identity-certificate: "));

    // A key that lies open is shown with its certificate, and is none of ours without.
    let identity = Identity::from_seed(&[7; 32], Network::LAB, SystemTime::now()).unwrap();
    let pkcs8 = [hex("302e020100300506032b657004220420"), vec![7; 32]].concat();
    let open = der::pem::encode_string("PRIVATE KEY", der::pem::LineEnding::LF, &pkcs8).unwrap();
    std::fs::write(path.join("key.pem"), &open).unwrap();
    std::fs::write(path.join("both.pem"), open + &pem(identity.certificate().der())).unwrap();
    assert_eq!(json(path, "show both.pem")["cn"], identity.cn().to_string());
    assert_eq!(kinds(&findings(path, "both.pem", 0)), [("identity-key", true)]);
    fails(path, "show key.pem", 1, "cgeid import");
    assert_eq!(kinds(&findings(path, "key.pem", 1)), [("unknown", false)]);
    fails(path, "delegate key.pem --out more", 1, "cgeid import");

    // Statements are for `verify` alone.
    let revocation = format!("keys/{cn}.revoke");
    for verb in ["show", "import", "export --format pem"] {
        fails(path, &format!("{verb} {revocation}"), 1, "`cgeid verify` says whether it is true");
    }
    let der = [&[0x30, 0x80], &std::fs::read(path.join("op.der")).unwrap()[4..], &[0, 0]].concat();
    std::fs::write(path.join("ber"), der).unwrap();
    fails(path, "show ber", 1, "not DER");
}

#[test]
fn a_published_revocation_ends_what_it_covers() {
    let (folder, made) = unpacked();
    let path = folder.path();
    let revocation = made["revocation"].as_str().unwrap();
    let found = findings(path, &format!("id.pem op.der {revocation} --revocation {revocation}"), 1);
    assert_eq!(
        kinds(&found),
        [("identity-certificate", false), ("operational-certificate", false), ("revocation", true)]
    );
    assert!(found[0]["why"].as_str().unwrap().contains("is revoked"));
    let stranger = Revocation::issue(&ED25519, cgeid::Reason::CESSATION, SystemTime::now()).unwrap();
    std::fs::write(path.join("stranger"), stranger.encode()).unwrap();
    findings(path, "id.pem op.der stranger --revocation stranger", 0);
    for wrong in ["id.pem", &format!("keys/{}.p12", cn(&made))] {
        fails(path, &format!("verify id.pem --revocation {wrong}"), 1, "not a revocation");
    }
    fails(path, "verify id.pem --revocation stranger --prefix 2001:db8::/32", 1, "--revocation");
}

#[test]
fn delegate_signs_ahead_and_overwrites_nothing() {
    let (folder, made) = made();
    let (path, cn) = (folder.path(), cn(&made));
    let identity = format!("keys/{cn}.p12");
    fails(path, &format!("delegate {identity} --out keys"), 1, "is not overwritten");

    let value = json(path, &format!("delegate {identity} --months 2 --revision 1 --out replacement"));
    let keys = value["keys"].as_array().unwrap();
    let current = load(&path.join(format!("keys/{cn}.op.p12")), SystemTime::now()).epoch();
    assert_eq!((&value["cn"], &value["until"], keys.len()), (&made["cn"], &keys[1]["not_after"], 2));
    assert_eq!(keys[0]["file"], format!("replacement/{cn}.op.p12"));
    assert_eq!(keys[0]["epoch"], current + 1);
    assert_eq!(keys[1]["file"], format!("replacement/{cn}.op.{}.p12", current + 257));
    for key in keys {
        assert_eq!(mode(path.join(key["file"].as_str().unwrap())), 0o600);
    }
    assert_eq!(mode(path.join("replacement")), 0o700);
    assert_eq!(load(&path.join(format!("replacement/{cn}.op.p12")), SystemTime::now()).epoch(), current + 1);

    // Continued where `new --months 2` ended, with another password for the daemons.
    std::fs::write(path.join("other"), "daemon\n").unwrap();
    let next = current + 512;
    let words = succeeds(path, &format!("delegate {identity} --from {next} --out keys --new-password-file other"));
    assert!(words.contains("provided for until"), "{words}");
    let bytes = std::fs::read(path.join(format!("keys/{cn}.op.{next}.p12"))).unwrap();
    let then = SystemTime::now() + 2 * epoch::PERIOD;
    assert_eq!(container::load_operational(&bytes, "daemon", Network::LAB, then).unwrap().epoch(), next);
}

#[test]
fn delegate_and_new_search_keys_for_the_puzzle_of_the_network() {
    let (folder, made) = made();
    let (path, cn) = (folder.path(), cn(&made));
    let solves = |file: &str, bits: u8| {
        let key = load(&path.join(file), SystemTime::now());
        puzzle::is_solved(key.certificate().key(), key.epoch(), PuzzleBits::new(bits).unwrap())
    };
    assert!(solves(&format!("keys/{cn}.op.p12"), 4), "a lab's, unless one asks for more");
    succeeds(path, &format!("delegate keys/{cn}.p12 --revision 1 --puzzle-bits 10 --out fit"));
    assert!(solves(&format!("fit/{cn}.op.p12"), 10));
    fails(path, &format!("delegate keys/{cn}.p12 --revision 2 --puzzle-bits 33 --out more"), 2, "from 0 to 32");
}

#[test]
fn delegate_explains_what_it_cannot_do() {
    let (folder, made) = unpacked();
    let (path, cn) = (folder.path(), cn(&made));
    let identity = format!("keys/{cn}.p12");
    let current = load(&path.join(format!("keys/{cn}.op.p12")), SystemTime::now()).epoch();
    fails(path, &format!("delegate keys/{cn}.op.p12 --out more"), 1, "the identity key");
    fails(path, "delegate id.pem --out more", 1, "no private key");
    fails(path, &format!("delegate {identity} --from {} --out more", current - 256), 2, "is past");
    fails(path, &format!("delegate {identity} --from {} --months 24 --out more", current + 256), 2, "24 months");
    fails(path, &format!("delegate {identity} --months 25 --out more"), 2, "--months");
    fails(path, &format!("delegate {identity} --months 0 --out more"), 2, "--months");
    fails(path, &format!("delegate {identity} --revision 1 --from {current} --out more"), 2, "--from");
    fails(path, &format!("delegate {identity}"), 2, "--out");
    let bare = Identity::from_seed(&[7; 32], Network::LAB, SystemTime::now()).unwrap();
    std::fs::write(path.join("bare.p12"), container::save_identity(&bare, "").unwrap()).unwrap();
    std::fs::write(path.join("empty"), "").unwrap();
    fails(path, "delegate bare.p12 --password-file empty --out more", 2, "empty password");
    assert!(!path.join("more").exists());
}

#[test]
fn openssl_verifies_a_month_signed_ahead() {
    let Some(folder) = workshop() else { return };
    let folder = folder.path();
    let made: Value = json(folder, "new --algorithm ed25519 --out keys");
    let value = json(folder, &format!("delegate keys/{}.p12 --months 3 --out ahead", cn(&made)));
    let last = &value["keys"][2];
    let then = SystemTime::now() + 2 * epoch::PERIOD;
    let key = load(&folder.join(last["file"].as_str().unwrap()), then);
    std::fs::write(folder.join("identity.pem"), pem(key.identity_certificate_der())).unwrap();
    std::fs::write(folder.join("operational.pem"), pem(key.certificate_der())).unwrap();
    let seconds = then.duration_since(UNIX_EPOCH).unwrap().as_secs();
    openssl(folder, &format!("verify -attime {seconds} -CAfile identity.pem operational.pem"));
    let dates = String::from_utf8(openssl(folder, "x509 -in operational.pem -noout -enddate -dateopt iso_8601"));
    let end = last["not_after"].as_str().unwrap().replace('T', " ");
    assert_eq!(dates.unwrap().trim(), format!("notAfter={end}"));
}

#[test]
fn revoke_makes_the_statement_and_publishes_nothing() {
    let (folder, made) = made();
    let (path, cn) = (folder.path(), cn(&made));
    let identity = format!("keys/{cn}.p12");
    fails(path, &format!("revoke {identity}"), 1, &format!("keys/{cn}.revoke exists"));
    let words = succeeds(path, &format!("revoke {identity} --reason key-compromise --out mine"));
    assert!(words.contains("Nothing is revoked yet"), "{words}");
    assert_eq!(mode(path.join("mine")), 0o600);
    let found = findings(path, "mine", 0);
    assert_eq!((&found[0]["reason"], &found[0]["cn"]), (&"key-compromise".into(), &made["cn"]));
    let statement = Revocation::from_pem(&read(path, "mine"), Network::LAB).unwrap();
    assert_eq!(statement.cn().to_string(), cn);

    let value = json(path, &format!("revoke {identity} --out yours --reason superseded"));
    assert_eq!((&value["reason"], &value["file"]), (&"superseded".into(), &"yours".into()));
    assert_eq!((&value["cn"], &value["address"]), (&made["cn"], &made["address"]));
    fails(path, &format!("revoke {identity} --reason boredom"), 2, "cessation");
    fails(path, &format!("revoke keys/{cn}.op.p12 --out other"), 1, "the identity key");
    fails(path, &format!("revoke keys/{cn}.revoke --out other"), 1, "no private key");
}

#[test]
fn an_identity_out_of_its_dates_can_be_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let old = forge(ED25519.certificate().der(), &ED25519, |fields| {
        fields[at::VALIDITY] = tlv(0x30, &[tlv(0x17, b"200115000000Z"), tlv(0x17, b"200118000000Z")].concat());
    });
    std::fs::write(path.join("old.p12"), crate::containers::compose_identity(&[7; 32], &old)).unwrap();
    std::fs::write(path.join("password"), crate::containers::PASSWORD).unwrap();
    fails(path, "delegate old.p12 --out keys --password-file password", 1, "expired");
    succeeds(path, "revoke old.p12 --password-file password");
    let found = findings(path, &format!("{}.revoke", ED25519.cn()), 0);
    assert_eq!(found[0]["cn"], ED25519.cn().to_string());
}

#[test]
fn delegate_stops_where_the_identity_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let identity = Identity::from_seed(&[7; 32], Network::LAB, SystemTime::now()).unwrap();
    let end = SystemTime::now() + Duration::from_secs(3 * 24 * 3600);
    let end = der::DateTime::from_system_time(end).unwrap().to_string();
    let brief = forge(identity.certificate().der(), &identity, |fields| {
        let from = elements(inside(&fields[at::VALIDITY])).swap_remove(0);
        let digits: String = end[2..].chars().filter(char::is_ascii_digit).collect();
        fields[at::VALIDITY] = tlv(0x30, &[from, tlv(0x17, format!("{digits}Z").as_bytes())].concat());
    });
    std::fs::write(path.join("brief.p12"), crate::containers::compose_identity(&[7; 32], &brief)).unwrap();
    std::fs::write(path.join("password"), crate::containers::PASSWORD).unwrap();
    let delegate = "delegate brief.p12 --password-file password --out keys";
    fails(path, &format!("{delegate} --months 3"), 1, "ask for fewer months");
    assert_eq!(json(path, delegate)["until"], end);
}

#[test]
fn prove_link_convinces_its_reader_only() {
    let (folder, made) = made();
    let path = folder.path();
    std::fs::write(path.join("password"), "another\n").unwrap();
    let second = json(path, "new --algorithm ed25519 --out other --password-file password");
    let pair = format!("keys/{}.p12 other/{}.p12", cn(&made), cn(&second));
    let flags = "--temporary-password-file password --audience Bob";
    let proof = succeeds(path, &format!("prove-link {pair} {flags}"));
    assert!(proof.starts_with("-----BEGIN CGEID LINK PROOF-----\n"), "{proof}");
    std::fs::write(path.join("proof.pem"), &proof).unwrap();
    let found = findings(path, "proof.pem --audience Bob", 0);
    assert_eq!(kinds(&found), [("link-proof", true)]);
    assert_eq!((&found[0]["cn"], &found[0]["temporary"]["address"]), (&made["cn"], &second["address"]));
    for reader in ["", " --audience Carol"] {
        let found = findings(path, &format!("proof.pem{reader}"), 1);
        assert!(found[0]["why"].as_str().unwrap().contains("made for \"Bob\""));
    }
    let revoked = format!("proof.pem --audience Bob --revocation {}", second["revocation"].as_str().unwrap());
    findings(path, &revoked, 1);

    let value = json(path, &format!("prove-link {pair} {flags} --out file.pem"));
    assert_eq!((&value["file"], &value["audience"]), (&"file.pem".into(), &"Bob".into()));
    assert_eq!(value["proof"], read(path, "file.pem"));
    assert_eq!(mode(path.join("file.pem")), 0o600);
    fails(path, &format!("prove-link {pair} {flags} --out file.pem"), 1, "is not overwritten");
    fails(path, &format!("prove-link {pair}"), 1, "wrong password");
}

#[test]
fn prove_link_takes_two_identities() {
    let (folder, made) = made();
    let (path, cn) = (folder.path(), cn(&made));
    let identity = format!("keys/{cn}.p12");
    fails(path, &format!("prove-link {identity} {identity}"), 1, "two different ones");
    fails(path, &format!("prove-link {identity} keys/{cn}.op.p12"), 1, "the identity key");
    fails(path, &format!("prove-link {identity}"), 2, "TEMPORARY");
    let second = Identity::from_seed(&[7; 32], Network::LAB, SystemTime::now()).unwrap();
    let container = crate::containers::compose_identity(&[7; 32], second.certificate().der());
    std::fs::write(path.join("second.p12"), container).unwrap();
    std::fs::write(path.join("password"), crate::containers::PASSWORD).unwrap();
    let long = "x".repeat(256);
    let pair = format!("{identity} second.p12 --temporary-password-file password");
    fails(path, &format!("prove-link {pair} --audience {long}"), 2, "--audience");
}

/// A schedule whose first CGEID is in use, and whose second is prepared.
fn scheduled(seed: u8) -> Schedule {
    // Without UTC the hour of the test makes no difference.
    let mut clock = Clock { boot: [1; 16], uptime: Duration::from_secs(1), utc: None };
    let mut schedule = Schedule::new(Network::LAB, clock);
    let mut inputs = vec![Input::Tick];
    let mut secrets = [seed, seed + 1].into_iter();
    for round in 0..2 {
        while let Some(input) = inputs.pop() {
            schedule.handle(clock, input);
            while let Some(output) = schedule.poll() {
                match output {
                    Output::Generate => {
                        inputs.extend(
                            secrets.next().map(|seed| Input::Generated { secret: [seed; 32].into(), chance: 0 }),
                        );
                    }
                    Output::Publish(key) => inputs.push(Input::Published { cn: key.cn(), done: true }),
                    Output::Assign { address, .. } => inputs.push(Input::Assigned { address }),
                    _ => {}
                }
            }
        }
        if round == 0 {
            // Within the overlap before the change, in which the successor is made.
            clock.uptime += limits::TEMPORARY_PREFERRED - limits::TEMPORARY_OVERLAP * 3 / 2;
            inputs.push(Input::Tick);
        }
    }
    schedule
}

#[test]
fn prove_link_takes_the_state_of_a_daemon() {
    let (folder, made) = made();
    let path = folder.path();
    let schedule = scheduled(20);
    let state = schedule.state();
    std::fs::write(path.join("temporary.state"), &*state).unwrap();
    let held: Vec<_> = schedule.keys().collect();
    assert_eq!(held.len(), 2, "{held:?}");
    let prove = format!("prove-link keys/{}.p12 temporary.state --audience Bob", cn(&made));
    std::fs::write(path.join("proof.pem"), succeeds(path, &prove)).unwrap();
    let found = findings(path, "proof.pem --audience Bob", 0);
    let (_, current) = held.iter().find(|(role, _)| *role == Role::Current).unwrap();
    assert_eq!(found[0]["cn"], made["cn"]);
    assert_eq!(found[0]["temporary"]["address"], current.address().to_string());
    for (_, key) in &held {
        for name in [key.address().to_string(), key.cn().to_string()] {
            let value = json(path, &format!("{prove} --cgeid {name}"));
            assert_eq!(value["temporary"]["cn"], key.cn().to_string());
        }
        fails(path, &format!("{prove} --cgeid {}", made["address"].as_str().unwrap()), 1, &key.address().to_string());
    }
    fails(path, &format!("{prove} --cgeid somebody"), 2, "--cgeid");

    // As if the one in use had been taken off the interface: the role is the first octet of an entry.
    let mut unused = state.to_vec();
    assert_eq!(std::mem::replace(&mut unused[43 + 80], 3), 2);
    std::fs::write(path.join("temporary.state"), &unused).unwrap();
    fails(path, &prove, 1, &format!("{} (relieved)", current.address()));
    let mut foreign = state.to_vec();
    foreign[5] ^= 1;
    std::fs::write(path.join("temporary.state"), &foreign).unwrap();
    fails(path, &prove, 1, "belongs to network");
    let mut damaged = state.to_vec();
    damaged.pop();
    std::fs::write(path.join("temporary.state"), &damaged).unwrap();
    fails(path, &prove, 1, "damaged");
    let fresh = Schedule::new(Network::LAB, Clock { boot: [1; 16], uptime: Duration::ZERO, utc: None });
    std::fs::write(path.join("temporary.state"), &*fresh.state()).unwrap();
    fails(path, &prove, 1, "no temporary identity");
}
