// SPDX-License-Identifier: GPL-2.0-or-later
//! The Internet-Drafts render, without network and each time to the same octets, and are fit to be submitted.
//!
//! What is rendered stays in the folder `drafts` beside the build, for whoever wants to read it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Characters of a line of an RFC in text (RFC 7994 4.3).
const WIDTH: usize = 72;

/// Where examples may take addresses from (RFC 5737, RFC 9637).
const IPV4_EXAMPLES: [&str; 3] = ["192.0.2.", "198.51.100.", "203.0.113."];
const IPV6_EXAMPLES: [([u16; 2], u32); 2] = [([0x2001, 0x0db8], 32), ([0x3fff, 0x0000], 20)];

/// Addresses that the text speaks of, because a registry or another document has them, and the object identifier of Ed25519, which
/// looks like one.
const NAMED_IPV4: [&str; 4] = ["0.0.0.0", "127.0.0.1", "1.3.101.112", "224.0.0.254"];
/// The unspecified address and the loopback, ORCHIDv2, DRIP, the former EID block of LISP, NAT64, link-local ones and the group of Hellos.
const NAMED_IPV6: [&str; 8] = ["::", "::1", "2001:20::", "2001:30::", "2001:5::", "64:ff9b::", "fe80::", "ff12::a99c"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("draft")
}

/// The drafts, without what is included by them.
fn sources() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let is_draft = |path: &PathBuf| name(path).starts_with("draft-") && name(path).ends_with(".md");
    let mut found: Vec<_> = entries.filter(is_draft).collect();
    found.sort();
    assert!(!found.is_empty(), "there is no draft");
    found
}

/// Whether a command runs and ends well.
fn runs(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

/// Whether both programs are there, on the search path or where the variables say. In CI they must.
fn tools_are_there() -> bool {
    for (variable, program) in [("KRAMDOWN_RFC", "kramdown-rfc"), ("XML2RFC", "xml2rfc")] {
        let program = std::env::var(variable).unwrap_or_else(|_| program.to_owned());
        if !runs(&program, &["--version"]) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} does not run: install it");
            eprintln!("SKIP: {program} does not run, so no draft is rendered");
            return false;
        }
    }
    true
}

/// Renders all drafts into a folder, in a network namespace with nothing in it where we may make one.
fn render(out: &Path) -> Child {
    let alone: &[&str] = match () {
        () if runs("unshare", &["-n", "true"]) => &["unshare", "-n"],
        () if runs("unshare", &["-r", "-n", "true"]) => &["unshare", "-r", "-n"],
        () => &["env"],
    };
    let mut command = Command::new(alone[0]);
    command.args(&alone[1..]).args([&folder().join("render"), out]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn drafts_render_twice_alike_and_fit_for_submission() {
    if !tools_are_there() {
        return;
    }
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("drafts");
    let again = tempfile::tempdir().unwrap();
    let _ = fs::remove_dir_all(&kept);
    let children = [render(&kept), render(again.path())];
    children.into_iter().for_each(finish);
    for source in sources() {
        let name = source.file_stem().unwrap().to_str().unwrap();
        for kind in ["txt", "html"] {
            let file = format!("{name}.{kind}");
            let [once, twice] = [kept.join(&file), again.path().join(&file)].map(|path| fs::read(path).unwrap());
            assert!(once == twice, "{file} differs from one rendering to the next");
            assert!(!String::from_utf8_lossy(&once).contains("BROKEN REFERENCE"), "{file}");
        }
        text_is_fit(name, &fs::read_to_string(kept.join(format!("{name}.txt"))).unwrap());
        references_are_used(name, &fs::read_to_string(kept.join(format!("{name}.xml"))).unwrap());
    }
    println!("rendered: {}", kept.display());
}

fn text_is_fit(name: &str, text: &str) {
    for (number, line) in text.lines().enumerate() {
        // Lines of the title block are filled up with blanks.
        assert!(line.trim_end().len() <= WIDTH, "{name}.txt:{}: over {WIDTH} columns: {line}", number + 1);
        assert!(line.is_ascii(), "{name}.txt:{}: not ASCII: {line}", number + 1);
    }
    assert_eq!(foreign(text), [] as [String; 0], "{name}.txt: no addresses for examples");
    assert!(text.contains("Security Considerations") && text.contains("IANA Considerations"), "{name}");
}

/// The value of each `name="..."`, in either kind of quotes, after each `before`.
fn attributes<'a>(xml: &'a str, before: &str, name: &str) -> BTreeSet<&'a str> {
    const QUOTES: [char; 2] = ['"', '\''];
    let name = format!("{name}=");
    let elements = xml.split(before).skip(1).filter_map(|rest| rest.split('>').next());
    elements.filter_map(|element| element.split_once(&name)?.1.split(QUOTES).nth(1)).collect()
}

fn references_are_used(name: &str, xml: &str) {
    let listed = attributes(xml, "<reference ", "anchor");
    let used: BTreeSet<_> = attributes(xml, "<xref ", "target");
    let unused: Vec<_> = listed.difference(&used).collect();
    assert!(listed.len() > 3 && unused.is_empty(), "{name}: never referred to: {unused:?}");
}

#[test]
fn no_reference_is_kept_that_no_draft_lists() {
    let texts: String = sources().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for entry in fs::read_dir(folder().join("refcache")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let number = file.strip_prefix("reference.RFC.").and_then(|rest| rest.strip_suffix(".xml")).unwrap();
        // The paragraph about key words brings these two.
        let by_itself = ["2119", "8174"].contains(&number);
        assert!(by_itself || texts.contains(&format!("\n  RFC{number}:")), "no draft lists RFC {number}");
    }
}

/// Runs of characters that may be an address, each with the word before it.
fn tokens(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut before = "";
    text.split_whitespace().flat_map(move |word| {
        let previous = std::mem::replace(&mut before, word);
        let part = |c: char| !(c.is_ascii_hexdigit() || c == ':' || c == '.');
        word.split(part).map(move |token| (previous, token.trim_end_matches('.')))
    })
}

fn is_example(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let begin = u32::from(a) << 16 | u32::from(b);
    IPV6_EXAMPLES.iter().any(|([c, d], length)| (begin ^ (u32::from(*c) << 16 | u32::from(*d))) >> (32 - length) == 0)
}

/// Addresses in a text that are neither for examples nor named on purpose.
fn foreign(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (previous, token) in tokens(text) {
        // Sections have numbers of four parts as well.
        let section = previous.ends_with("Section") || previous.ends_with("Sections");
        let colon = token.trim_end_matches(':');
        let ipv4 = token.parse::<Ipv4Addr>().is_ok() && !section && !NAMED_IPV4.contains(&token);
        let ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok_and(|it| !is_example(it)) && !NAMED_IPV6.contains(&text);
        if ipv4 && !IPV4_EXAMPLES.iter().any(|net| token.starts_with(net)) || ipv6(token) && ipv6(colon) {
            found.push(token.to_owned());
        }
    }
    found
}

#[test]
fn addresses_are_for_examples() {
    for path in sources() {
        // The marks of the writing system are none.
        let text = fs::read_to_string(&path).unwrap().replace("{::", "");
        assert_eq!(foreign(&text), [] as [String; 0], "{}", path.display());
    }
}

#[test]
fn an_address_of_somebody_is_found() {
    let text = "ask 192.0.2.1, 2001:db8::7/32 and (3fff:ce1::1) as Section 4.1.2.2 says at 00:00: 2.25.1.1 2a00:1450::5 or 8.8.8.8.";
    assert_eq!(foreign(text), ["2.25.1.1", "2a00:1450::5", "8.8.8.8"]);
}

#[test]
fn sources_are_plain_text() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let bad = text.lines().position(|line| !line.is_ascii() || line.contains('\t'));
        assert_eq!(bad.map(|line| line + 1), None, "{}: a line that is not plain ASCII", path.display());
        assert!(text.contains("SPDX-License-Identifier"), "{}", path.display());
    }
}
