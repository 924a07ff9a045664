// SPDX-License-Identifier: GPL-2.0-or-later
//! Every recorded exchange is described and judged: none lies there that no engine has to stand up to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[test]
fn every_capture_is_described_and_has_its_judges() {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let judges: BTreeMap<String, Vec<String>> = serde_json::from_str(&read(&captures.join("judges.json"))).unwrap();
    let files = std::fs::read_dir(&captures).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(judges.keys().cloned().collect::<BTreeSet<_>>(), files, "each has a row, and no row lacks its file");
    let index = read(&captures.join("INDEX.md"));
    for (name, judges) in judges {
        assert!(index.contains(&format!("`{name}.pcap`")), "{name} is not in INDEX.md");
        assert!(!judges.is_empty(), "{name} has no judge");
        for judge in judges {
            let text = read(&captures.join("../..").join(&judge));
            let named = [format!("\"{name}\""), format!("\"{name}.pcap\"")];
            assert!(named.iter().any(|named| text.contains(named)), "{judge} does not judge {name}");
        }
    }
}
