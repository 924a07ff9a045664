// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid import` and `export`: other programs read what we write, and we what they print.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cgeid::exchange::{dns, pem, text as qr};
use cgeid::{Identity, Network, container};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{cgeid, cn, command, fails, given, json, made, mode, succeeds, text};
use crate::common::{output, present, run};
use crate::openssl::{identities, openssl};

/// A folder with the certificates of today's two identities, `rsa4096.pem` and `ed25519.pem`.
fn certificates() -> (TempDir, [Identity; 2]) {
    let (folder, identities) = (tempfile::tempdir().unwrap(), identities());
    for identity in &identities {
        let path = folder.path().join(format!("{}.pem", identity.algorithm()));
        std::fs::write(path, pem::encode(identity.certificate())).unwrap();
    }
    (folder, identities)
}

/// Gives `input` to `cgeid import -` and returns its report.
fn imported(folder: &Path, input: &[u8]) -> Value {
    serde_json::from_slice(&given(folder, "import - --json", input).stdout).unwrap()
}

#[test]
fn every_format_is_written_privately_and_read_back() {
    let (folder, identities) = certificates();
    let path = folder.path();
    for identity in &identities {
        let source = format!("{}.pem", identity.algorithm());
        for (format, form) in [
            ("pem", "PEM"),
            ("der", "DER"),
            ("qr", "QR picture"),
            ("qr --qr svg", "QR picture"),
            ("qr --qr text", "QR text"),
            ("ndef", "NDEF message"),
            ("vcard", "vCard"),
            ("dns", "DNS record"),
            ("fingerprint", "fingerprint"),
        ] {
            let made = json(path, &format!("export {source} --format {format} -o made --force"));
            assert_eq!(made["cn"], identity.cn().to_string());
            assert_eq!(made["address"], identity.address().to_string());
            assert_eq!((&made["format"], &made["file"]), (&format.split(' ').next().unwrap().into(), &"made".into()));
            assert_eq!(made["octets"], std::fs::metadata(path.join("made")).unwrap().len());
            assert_eq!(mode(path.join("made")), 0o600);

            let _ = std::fs::remove_dir_all(path.join("kept"));
            let read = json(path, "import made --out kept");
            assert_eq!(read["cn"], made["cn"]);
            assert_eq!(read["address"], made["address"]);
            assert_eq!(read["form"], form);
            assert!(read["sha512"].as_str().unwrap().starts_with(&identity.cn().to_string()));
            let pin = form == "fingerprint";
            assert_eq!(read["kind"], if pin { "pin" } else { "certificate" });
            let name = format!("kept/{}.{}", identity.cn(), if pin { "pin" } else { "pem" });
            assert_eq!(read["files"], Value::from(vec![name.clone()]));
            assert_eq!(mode(path.join(&name)), 0o600);
            let expected = if pin { path.join("made") } else { path.join(&source) };
            assert_eq!(std::fs::read(path.join(&name)).unwrap(), std::fs::read(expected).unwrap());
            fails(path, "import made --out kept", 1, "not overwritten");
        }
    }
}

#[test]
fn a_file_is_replaced_only_when_asked_for() {
    let (folder, identities) = certificates();
    let path = folder.path();
    std::fs::write(path.join("precious"), "x").unwrap();
    fails(path, "export ed25519.pem --format der -o precious", 1, "--force");
    assert_eq!(std::fs::read(path.join("precious")).unwrap(), b"x");
    succeeds(path, "export ed25519.pem --format der -o precious --force");
    assert_eq!(std::fs::read(path.join("precious")).unwrap(), identities[1].certificate().der());
    fails(path, "export ed25519.pem --format der -o none/file", 2, "none/file");
}

#[test]
fn a_backup_has_a_password_of_its_own() {
    let (folder, made) = made();
    let path = folder.path();
    std::fs::write(path.join("new"), "third\n").unwrap();
    for (kind, option, password) in [("", "", "another"), ("op.", " --new-password-file new", "third")] {
        let file = format!("keys/{}.{kind}p12", cn(&made));
        succeeds(path, &format!("export {file} --format p12 -o {kind}backup{option}"));
        let backup = path.join(format!("{kind}backup"));
        assert_eq!(mode(&backup), 0o600);
        let bytes = std::fs::read(&backup).unwrap();
        let rounds = [0x02, 0x03, 0x09, 0x27, 0xc0];
        assert_eq!(bytes.windows(5).filter(|window| *window == rounds).count(), 2, "600,000 rounds");
        container::load(&bytes, password, Network::LAB, SystemTime::now()).unwrap();
        fails(path, &format!("show {kind}backup"), 1, "wrong password");
    }
    std::fs::write(path.join("secret"), "secret").unwrap();
    let file = format!("keys/{}.p12", cn(&made));
    succeeds(path, &format!("export {file} --format pem -o c.pem"));
    fails(path, "export c.pem --format p12 -o x", 1, "no private key");
    // Without a new password and nobody to type one, the old one is not taken.
    let output = Command::new("setsid")
        .args([env!("CARGO_BIN_EXE_cgeid"), "export", &file, "--format", "p12", "-o", "x"])
        .current_dir(path)
        .env("CGEID_PASSWORD", "secret")
        .env_remove("CGEID_NEW_PASSWORD")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--new-password-file or set CGEID_NEW_PASSWORD"), "{}", text(&output.stderr));
    assert!(!path.join("x").exists());
}

#[test]
fn keys_of_other_tools_are_kept_as_ours() {
    if !present(&["openssl version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    openssl(path, "req -x509 -newkey ed25519 -nodes -keyout key.pem -subj /CN=me -out me.pem");
    openssl(path, "pkcs12 -export -legacy -inkey key.pem -in me.pem -out old.p12 -passout pass:secret");
    fails(path, "import old.p12 --out keys", 1, "--legacy");
    let output = cgeid(path, "import old.p12 --legacy --out keys --json");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("another profile"), "{}", text(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&read["kind"], &read["certificate"]), (&"identity".into(), &"issued".into()));
    let file = read["files"][0].as_str().unwrap();
    assert_eq!(mode(path.join(file)), 0o600);
    let bytes = std::fs::read(path.join(file)).unwrap();
    let kept = container::load_identity(&bytes, "another", Network::LAB, SystemTime::now()).unwrap();
    assert_eq!(read["cn"], kept.cn().to_string());

    // The same key alone gives the same name; without --out nothing is written.
    let output = cgeid(path, "import key.pem --json");
    assert!(text(&output.stderr).contains("without a certificate"));
    let alone: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&alone["cn"], &alone["files"]), (&read["cn"], &Value::Array(vec![])));
    let digest = openssl(path, "pkey -in key.pem -pubout -outform DER -out spki.der");
    assert!(digest.is_empty());
    let digest = text(&openssl(path, "dgst -sha512 -r spki.der"))[..128].to_owned();
    assert_eq!(alone["sha512"], digest);
    fails(path, "export key.pem --format pem", 1, "cgeid import");
    fails(path, "export old.p12 --format pem", 1, "--legacy");
    openssl(path, "pkcs8 -topk8 -in key.pem -out locked.pem -passout pass:guess");
    fails(path, "import locked.pem", 1, "wrong password");
}

#[test]
fn what_cannot_be_used_is_explained() {
    let (folder, identities) = certificates();
    let path = folder.path();
    let [_, ed25519] = &identities;
    let key = ed25519.delegate(SystemTime::now(), 0).unwrap();
    let record = dns::encode(ed25519.certificate(), "x").unwrap();
    let said = qr::encode(ed25519.certificate());
    let reserved = format!("CGEID1-SHA512:{}", "0".repeat(128));
    for (name, content) in [
        ("op.der", key.certificate_der().to_vec()),
        ("text", b"hello".to_vec()),
        ("two.txt", record.repeat(2).into_bytes()),
        ("cut.txt", said.as_bytes()[..said.len() / 3 * 3 - 296].to_vec()),
        ("cut.der", ed25519.certificate().der()[..50].to_vec()),
        ("none.p12", vec![0x30, 3, 2, 1, 3]),
        ("reserved", reserved.into_bytes()),
        ("two.vcf", b"BEGIN:VCARD\r\nVERSION:4.0\r\nKEY:a\r\nKEY:b\r\nEND:VCARD\r\n".to_vec()),
    ] {
        std::fs::write(path.join(name), content).unwrap();
    }
    fails(path, "import op.der", 1, "proves nothing alone");
    fails(path, "import text", 1, "text: this is no form of");
    fails(path, "import two.txt", 1, "several CERT records");
    fails(path, "import two.vcf", 1, "several keys");
    fails(path, "import cut.txt", 1, "cut");
    fails(path, "import cut.der", 1, "cut off");
    fails(path, "import none.p12", 1, "none.p12 is no file that is known here");
    fails(path, "import reserved", 1, "reserved");
    fails(path, "import nothing", 2, "cannot read nothing");
    fails(path, "import /dev/zero", 1, "too many");
    fails(path, "import ed25519.pem --prefix 2001:db8::/32", 1, "another network prefix");
    fails(path, "import ed25519.pem --password x", 2, "unexpected argument");
    fails(path, "export ed25519.pem --format der --qr png", 2, "--format qr");
    fails(path, "export ed25519.pem --format der --owner x", 2, "--format dns");
    fails(path, "export ed25519.pem --format pem --new-password-file x", 2, "--format p12");
    fails(path, "export ed25519.pem --format dns --owner a;b", 2, "--owner");
    fails(path, "export ed25519.pem --format pem --json", 2, "room for one");
    fails(path, "export reserved --format pem", 1, "no certificate in it");
    fails(path, "export ed25519.pem --format pem -o /dev/full/x", 2, "/dev/full");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(path, "export ed25519.pem --format pem").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    // As JSON into a file, the export alone is on standard output.
    let output = cgeid(path, "export ed25519.pem --format pem --json=told");
    assert_eq!(output.stdout, std::fs::read(path.join("ed25519.pem")).unwrap());
    let told: Value = serde_json::from_slice(&std::fs::read(path.join("told")).unwrap()).unwrap();
    assert!(told["file"].is_null());
}

#[test]
fn binary_is_not_written_to_a_terminal() {
    let (folder, _) = certificates();
    let path = folder.path();
    if !present(&["script --version"]) {
        return;
    }
    let program = env!("CARGO_BIN_EXE_cgeid");
    let run = |format: &str| {
        let command = format!("{program} export ed25519.pem --format {format}");
        Command::new("script").args(["-qec", &command, "/dev/null"]).current_dir(path).output().unwrap()
    };
    let refused = run("ndef");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("give -o FILE"));
    let shown = run("qr");
    assert!(shown.status.success());
    assert!(String::from_utf8_lossy(&shown.stdout).contains('█'));
}

#[test]
fn zbarimg_and_qrencode_agree_with_us() {
    if !present(&["zbarimg --version", "qrencode --version"]) {
        return;
    }
    let (folder, identities) = certificates();
    let path = folder.path();
    for identity in &identities {
        let source = format!("{}.pem", identity.algorithm());
        succeeds(path, &format!("export {source} --format qr -o q.png --force"));
        for raw in ["-q --raw", "-q"] {
            // Among the modules of a large symbol it would find bars, too, about once in a hundred pictures.
            let scanned = output(path, "zbarimg", &format!("{raw} -Sdisable -Sqrcode.enable q.png"));
            let read = imported(path, &scanned);
            assert_eq!((&read["cn"], &read["form"]), (&identity.cn().to_string().into(), &"QR text".into()), "{raw}");
        }
        let said = qr::encode(identity.certificate());
        for (level, size) in [("L", "3"), ("M", "4")] {
            let mut drawn = Command::new("qrencode");
            drawn.args(["-l", level, "-s", size, "-o", "e.png", &said]).current_dir(path);
            assert!(drawn.status().unwrap().success());
            let read = json(path, "import e.png");
            assert_eq!((&read["cn"], &read["form"]), (&identity.cn().to_string().into(), &"QR picture".into()));
        }
    }
}

#[test]
fn openssl_reads_the_public_forms() {
    if !present(&["openssl version"]) {
        return;
    }
    let (folder, identities) = certificates();
    let path = folder.path();
    for identity in &identities {
        let source = format!("{}.pem", identity.algorithm());
        for format in ["pem", "der", "vcard"] {
            succeeds(path, &format!("export {source} --format {format} -o {format} --force"));
        }
        assert_eq!(openssl(path, "x509 -in pem -outform DER"), identity.certificate().der());
        assert_eq!(openssl(path, "x509 -inform DER -in der -outform DER"), identity.certificate().der());
        let card = std::fs::read_to_string(path.join("vcard")).unwrap().replace("\r\n ", "");
        let key = card.lines().find_map(|line| line.strip_prefix("KEY:data:application/pkix-cert;base64,")).unwrap();
        std::fs::write(path.join("key.b64"), format!("{key}\n")).unwrap();
        assert_eq!(openssl(path, "base64 -d -A -in key.b64"), identity.certificate().der());
    }
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of loopback that nothing listens on.
fn free_port() -> u16 {
    (0..20)
        .find_map(|_| {
            let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
            let port = tcp.local_addr().ok()?.port();
            UdpSocket::bind(("127.0.0.1", port)).ok().map(|_| port)
        })
        .unwrap()
}

fn named(folder: &Path, zone: &str) -> (Server, u16) {
    let port = free_port();
    let shown = folder.display();
    let configuration = format!(
        "options {{ directory \"{shown}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         recursion no; dnssec-validation no; pid-file none; session-keyfile none; notify no; }};\n\
         controls {{ }};\nzone \"example\" {{ type primary; file \"zone\"; }};\n"
    );
    std::fs::write(folder.join("named.conf"), configuration).unwrap();
    std::fs::write(folder.join("zone"), zone).unwrap();
    output(folder, "named-checkzone", "-q example zone");
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = Command::new("named")
        .args(["-g", "-n", "1", "-c"])
        .arg(folder.join("named.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    (Server(child), port)
}

#[test]
fn dig_gives_the_certificate_that_the_zone_has() {
    if !present(&["named -v", "dig -v"]) {
        return;
    }
    let (folder, identities) = certificates();
    let path = folder.path();
    let mut zone = "$TTL 60\n@ IN SOA ns x 1 60 60 60 60\n@ IN NS ns\nns IN A 127.0.0.1\n".to_owned();
    for (name, option) in [("rsa4096", " --owner rsa4096"), ("ed25519", " --owner ed25519.example."), ("ed25519", "")] {
        let line = cgeid(path, &format!("export {name}.pem --format dns{option}"));
        zone.push_str(text(&line.stdout));
    }
    let (_server, port) = named(path, &zone);
    let [rsa, ed25519] = &identities;
    let own = format!("{}.example", ed25519.cn());
    for (name, identity) in [("rsa4096.example", rsa), ("ed25519.example", ed25519), (&own, ed25519)] {
        for option in ["+short", "+multiline", "+noall +answer", "+nosplit"] {
            let command = format!("@127.0.0.1 -p {port} +tries=1 +time=2 {option} {name} CERT");
            let deadline = Instant::now() + Duration::from_secs(15);
            let answer = loop {
                let answer = run(path, "dig", &command);
                if answer.status.success() {
                    break answer.stdout;
                }
                let log = || std::fs::read_to_string(path.join("log")).unwrap();
                assert!(Instant::now() < deadline, "{}{}", text(&answer.stdout), log());
                std::thread::sleep(Duration::from_millis(100));
            };
            let read = imported(path, &answer);
            assert_eq!(read["form"], "DNS record");
            assert_eq!(read["cn"], identity.cn().to_string(), "{}", text(&answer));
        }
    }
}

#[test]
fn an_address_book_reads_the_card() {
    if !present(&["/usr/bin/python3 -c import\tvobject"]) {
        return;
    }
    // Debian's interpreter is the one that has Debian's modules.
    let (folder, identities) = certificates();
    let path = folder.path();
    succeeds(path, "export rsa4096.pem --format vcard -o card");
    // The library is of vCard 3.0, so its lines are taken before it gives them a meaning.
    let script = "import vobject.base as v, base64, sys\n\
                  lines = [v.parseLine(line) for line, _ in v.getLogicalLines(open('card', newline=''))]\n\
                  assert [line[0] for line in lines] == ['BEGIN', 'VERSION', 'FN', 'UID', 'KEY', 'END'], lines\n\
                  media, data = lines[4][2].split(',')\n\
                  assert media == 'data:application/pkix-cert;base64', media\n\
                  sys.stdout.buffer.write(base64.b64decode(data))\n";
    let output = Command::new("/usr/bin/python3").args(["-c", script]).current_dir(path).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(output.stdout, identities[0].certificate().der());
}
