// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `nat`, and what it says of programs that are none. Its checks over the network need root and `/dev/net/tun`.

use crate::alone;
use crate::common::{Program, closing_line, text};

static PROGRAM: Program = Program::new("lisp-mapsys", &["mapsys", "dht", "cgeid", "wire", "program"]);
static ROUTER: Program = Program::new("lisp-xtr", &["xtr", "mapsys", "dht", "cgeid", "wire", "program"]);

#[test]
fn nat_traversal_holds() {
    // Both programs are judged: this one is built here.
    ROUTER.conformance(&["list"], &[]);
    let _alone = alone();
    PROGRAM.holds("nat", 43);
}

#[test]
fn a_program_that_does_nothing_fails() {
    let output = PROGRAM.conformance(&["run", "--id", "NAT-01.1"], &[("CONFORMANCE_LISP_MAPSYS", "true")]);
    assert_eq!((output.status.code(), closing_line(&output)), (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()));
}

#[test]
fn a_router_that_does_nothing_fails() {
    for id in ["NAT-06.1", "NAT-09.1"] {
        let output = ROUTER.conformance(&["run", "--id", id], &[("CONFORMANCE_LISP_XTR", "true"), ("CI", "false")]);
        if closing_line(&output).ends_with("1 skipped") {
            assert!(std::env::var("CI").as_deref() != Ok("true"));
            eprintln!("SKIP: {}", text(&output.stdout));
            return;
        }
        let came = (output.status.code(), closing_line(&output));
        assert_eq!(came, (Some(1), "0 passed, 1 failed, 0 skipped".to_owned()), "{id}");
    }
}
