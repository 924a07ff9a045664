// SPDX-License-Identifier: GPL-2.0-or-later
//! What it refuses, or warns of, before it makes anything.

use std::net::{TcpListener, UdpSocket};
use std::process::{Output, Stdio};

use crate::namespace::{Node, in_namespace};
use crate::started::{PLAIN, RLOC, ask, command, ours};
use crate::unit::as_nobody;

#[test]
fn a_start_names_a_port_that_it_may_not_have() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let arguments = [PLAIN, &["--metrics", "127.0.0.1:80"]].concat();
        let output = command(directory.path(), &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        for part in ["--metrics 127.0.0.1:80", "a port from 1024"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(ours(), Vec::<String>::new());
        // Whoever checks may have the capability.
        let check = |port: u16| {
            let metrics = format!("127.0.0.1:{port}");
            ask(directory.path(), &[PLAIN, &["check", "--rloc", RLOC, "--metrics", &metrics]].concat())
        };
        let refused = |port: u16| {
            let output = check(port);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{said}");
            said
        };
        assert_eq!(refused(80).trim_end(), said.lines().last().unwrap(), "as the start says it");
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "80").unwrap();
        assert!(check(80).status.success() && check(0).status.success());
        assert!(refused(79).contains("a port from 80 is needed"));
        Node::start(directory.path(), &arguments).end();
    });
}

#[test]
fn a_metrics_port_that_another_has_is_refused_before_anything_is_made() {
    in_namespace(&[RLOC], || {
        let other = TcpListener::bind((RLOC, 0)).unwrap();
        let metrics = other.local_addr().unwrap().to_string();
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let check = |metrics: &str| ask(directory.path(), &["check", "--rloc", RLOC, "--metrics", metrics]);
        let refused = |output: Output| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(said.contains(&format!("--metrics {metrics}")) && said.contains("in use"), "{said}");
            assert!(!state.exists(), "no identity is made: {said}");
        };
        refused(command(directory.path(), &["--metrics", &metrics]).output().unwrap());
        refused(check(&metrics));
        drop(other);
        assert!(check(&metrics).status.success());
        let mut node = Node::start(directory.path(), &["--metrics", &metrics]);
        assert!(check(&metrics).status.success(), "the node that runs has it");
        let elsewhere = tempfile::tempdir().unwrap();
        let second = command(elsewhere.path(), &["--metrics", &metrics, "--tun", "other"]).output().unwrap();
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(second.status.code() == Some(3) && said.contains("only one lisp-xtr can run"), "{said}");
        node.end();
    });
}

#[test]
fn a_control_socket_or_a_dht_port_that_cannot_be_had_is_refused_before_anything_is_made() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let refused = |output: Output, parts: [&str; 2]| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
            assert!(!state.exists(), "no identity is made: {said}");
            assert_eq!(ours(), Vec::<String>::new());
        };
        let file = directory.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let missing = directory.path().join("missing/control.sock");
        let inside = file.join("control.sock");
        for (path, part) in [(&missing, "No such file"), (&file, "is no socket"), (&inside, "Not a directory")] {
            let control = ["--control", path.to_str().unwrap()];
            refused(command(directory.path(), &control).output().unwrap(), ["--control", part]);
            refused(ask(directory.path(), &[&["check", "--rloc", RLOC], &control[..]].concat()), ["--control", part]);
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        let long = directory.path().join("x".repeat(100));
        for output in [command(&long, &[]).output().unwrap(), ask(&long, &["check", "--rloc", RLOC])] {
            refused(output, ["--state-dir", "SUN_LEN"]);
            assert!(!long.exists());
        }
        let other = UdpSocket::bind((RLOC, 43_420)).unwrap();
        refused(command(directory.path(), &[]).output().unwrap(), ["--dht-port 43420", "in use"]);
        drop(other);
        let mut node = Node::start(directory.path(), &[]);
        assert!(ask(directory.path(), &["check", "--rloc", RLOC]).status.success(), "the node that runs has it");
        node.end();
        assert!(!state.join("control.sock").exists());
    });
}

#[test]
fn who_may_not_ask_whether_a_node_runs_is_warned_of_its_metrics_port() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let metrics = ["--metrics", "192.0.2.1:9434"];
        let mut node = Node::start(directory.path(), &[PLAIN, &metrics].concat());
        let check = || {
            let mut check = as_nobody(directory.path(), "", &[PLAIN, &metrics, &["check"]].concat());
            check.stdout(Stdio::piped()).output().unwrap()
        };
        let checked = check();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{checked:?}");
        assert!(said.contains("Warning: --metrics 192.0.2.1:9434 is in use") && said.contains("Permission"), "{said}");
        node.end();
        let checked = check();
        assert!(checked.status.success() && !String::from_utf8_lossy(&checked.stdout).contains("Warning"));
    });
}
