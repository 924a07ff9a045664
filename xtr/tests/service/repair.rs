// SPDX-License-Identifier: GPL-2.0-or-later
//! What killed nodes leave, and what others take away, is there again.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::namespace::{Node, PATIENCE, in_namespace, wait_for, wait_within};
use crate::started::{PLAIN, RLOC, TUN, ask, command, ip, ours, show};

#[test]
fn a_node_whose_device_is_removed_ends_and_says_so() {
    in_namespace(&[RLOC], || {
        for tier in ["0", "1"] {
            let directory = tempfile::tempdir().unwrap();
            let mut command = command(directory.path(), &[PLAIN, &["--tier", tier]].concat());
            let mut node = Node(command.stderr(Stdio::piped()).spawn().unwrap());
            wait_for("answer", || show(directory.path(), &["show", "locators"]));
            ip(&format!("link del {TUN}"));
            let status = wait_for("end", || node.0.try_wait().unwrap());
            let mut said = String::new();
            node.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert_eq!(status.code(), Some(3), "tier {tier}: {said}");
            for part in ["the TUN device was removed", "the packet thread has ended"] {
                assert_eq!(said.matches(part).count(), 1, "tier {tier}, {part}: {said}");
            }
            assert_eq!(ours(), Vec::<String>::new(), "tier {tier}");
        }
    });
}

#[test]
fn what_a_killed_node_left_is_repaired_by_the_next_start() {
    in_namespace(&[RLOC], || {
        // A device that somebody else keeps outlives its node, and with it route and address.
        ip(&format!("tuntap add dev {TUN} mode tun"));
        ip("tuntap add dev other mode tun");
        let directory = tempfile::tempdir().unwrap();
        let arguments = |prefix| ["--eid-prefix", prefix];
        let mut node = Node::start(directory.path(), &arguments("2001:db8:a::/48"));
        let whole = wait_for("rules, route and address", || Some(ours()).filter(|found| found.len() == 9));
        node.0.kill().unwrap();
        node.0.wait().unwrap();
        let left = ours();
        let count = |found: &[String], text: &str| found.iter().filter(|line| line.contains(text)).count();
        assert_eq!(
            (count(&left, "2001:db8:a::"), count(&left, "table 4341 "), count(&left, "/128")),
            (2, 1, 1),
            "{left:?}"
        );

        let mut node = Node::start(directory.path(), &arguments("2001:db8:b::/48"));
        let repaired =
            wait_for("repair", || Some(ours()).filter(|found| count(found, "2001:db8:b::") == 2 && found.len() == 9));
        let renamed: Vec<String> = repaired.iter().map(|line| line.replace("2001:db8:b::", "2001:db8:a::")).collect();
        assert_eq!(renamed, whole, "each once, and none of the killed one's");
        node.0.kill().unwrap();
        node.0.wait().unwrap();

        // Another device and another identity: the route into the old one is no second node.
        let elsewhere = tempfile::tempdir().unwrap();
        let mut node =
            Node::start(elsewhere.path(), &[&arguments("2001:db8:b::/48")[..], &["--tun", "other"]].concat());
        let found = wait_for("repair", || Some(ours()).filter(|found| count(found, "other") >= 3));
        assert_eq!((found.len(), count(&found, TUN)), (9, 0), "{found:?}");
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
fn what_others_take_away_is_there_again_and_cgeids_never_leave_as_they_are() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let prefixes = ["--eid-prefix", "2001:db8:a::/48", "--eid-prefix", "10.1.0.0/16"];
        let mut node = Node::start(directory.path(), &[&prefixes[..], &["--pitr-for", "2001:db8:99::/48"]].concat());
        // From-TUN, to and from the site, PITR of both families; three of CGEIDs and one to them, their refusal; routes and an address.
        let whole = wait_for("rules, routes and address", || {
            Some(ours()).filter(|found| {
                let count = |text: &str| found.iter().filter(|line| line.contains(text)).count();
                count("table 4341 ") == 2 && count("table 4342 ") == 1 && count("/128") == 1 && count("4346:") == 1
            })
        });
        let is_whole = || Some(ours()).filter(|found| *found == whole);
        for taken in [
            vec!["-6 rule del pref 4344".to_owned()],
            vec!["-4 rule del pref 4343".into(), "-6 rule del pref 4345".into()],
            vec!["-6 route flush table 4341".into(), "-4 route flush table 4341".into()],
            vec![format!("-6 route flush dev {TUN} table 4342")],
            vec![format!("link set {TUN} down"), format!("link set {TUN} up")],
        ] {
            taken.iter().for_each(|command| drop(ip(command)));
            wait_for(&taken.join(", "), is_whole);
        }
        // While the device is down, what must not leave does not, whoever takes the rules.
        ip(&format!("link set {TUN} down"));
        ip("-6 rule flush");
        ip("-6 rule add pref 32766 lookup main");
        wait_for("the refusal alone", || ours().iter().any(|line| line.starts_with("4346:")).then_some(()));
        ip(&format!("link set {TUN} up"));
        wait_for("the device", is_whole);
        node.0.kill().unwrap();
        node.0.wait().unwrap();
        let way = || Command::new("ip").args(["-6", "route", "get", "3fff:ce1::1"]).output().unwrap();
        // There is a default route, by which all else leaves.
        for command in
            ["link add out type veth peer in", "link set in up", "link set out up", "-6 route add default dev out"]
        {
            ip(command);
        }
        wait_for("refusal", || (!way().status.success()).then_some(()));
        ip("-6 route get 2001:db8:7::1");
        let mut node = Node::start(directory.path(), &prefixes);
        wait_for("start", || show(directory.path(), &["show", "locators"]));
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

#[test]
fn temporary_cgeids_that_others_take_away_are_there_again_with_their_lives() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut node = command(directory.path(), &["--temporary"]);
        let mut node = Node(node.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        // Each, and whether it is preferred.
        let cgeids = || -> Vec<(String, bool)> {
            // The device is not there at first.
            let told = ip("-6 -o addr show");
            let ours = told.lines().filter(|line| line.split_whitespace().nth(1) == Some(TUN));
            let ours = ours.filter(|line| line.contains("3fff:ce1:") && !line.contains(" tentative"));
            ours.map(|line| (line.split_whitespace().nth(3).unwrap().to_owned(), !line.contains(" deprecated")))
                .collect()
        };
        // Alone it is found by nobody, and used when that has failed.
        let found = || Some(cgeids()).filter(|found| found.iter().any(|(_, is_preferred)| *is_preferred));
        let mut before = wait_within(6 * PATIENCE, "temporary CGEID", found);
        before.sort();
        assert_eq!(before.len(), 2, "{before:?}");
        // Before it is known that nobody else has it, an address that is gone counts as a duplicate.
        let said = || std::fs::read_to_string(&log).unwrap();
        wait_for("temporary CGEID in use", || said().contains("begin with another temporary CGEID").then_some(()));
        let (temporary, _) = before.iter().find(|(_, is_preferred)| *is_preferred).unwrap();
        let is_whole = || {
            let mut found = cgeids();
            found.sort();
            (found == before).then_some(())
        };
        for taken in [
            vec![format!("addr del {temporary} dev {TUN}")],
            vec![format!("link set {TUN} down"), format!("link set {TUN} up")],
            vec![format!("-6 addr flush dev {TUN} scope global")],
        ] {
            taken.iter().for_each(|command| drop(ip(command)));
            wait_for(&taken.join(", "), is_whole);
        }
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

/// The operator is told to set a route to the host that is to have the CGEID, whether the node runs by then or not.
#[test]
fn a_cgeid_is_at_the_router_while_no_host_route_leads_to_it() {
    in_namespace(&[RLOC], || {
        for command in ["link add site0 type veth peer name site1", "link set site0 up", "link set site1 up"] {
            ip(command);
        }
        let directory = tempfile::tempdir().unwrap();
        let here = || -> Vec<String> {
            // The device is not there at first.
            let told = ip("-6 -o addr show");
            let ours = told.lines().filter(|line| line.split_whitespace().nth(1) == Some(TUN));
            ours.filter(|line| line.contains("3fff:ce1:"))
                .map(|line| line.split_whitespace().nth(3).unwrap().to_owned())
                .collect()
        };
        let mut node = Node::start(directory.path(), &[]);
        let cgeid = wait_for("CGEID at the router", || here().pop());
        let way = || ip(&format!("-6 route get {}", cgeid.trim_end_matches("/128")));
        let is_here = || (here() == [cgeid.clone()]).then_some(());
        let is_at_the_host = || (here().is_empty() && way().contains("dev site0")).then_some(());
        for _ in 0..2 {
            ip(&format!("-6 route add {cgeid} dev site0 metric 64"));
            wait_for("CGEID at the host", is_at_the_host);
            // Another way to the same host.
            ip(&format!("-6 route add {cgeid} dev site0 metric 128"));
            ip(&format!("-6 route del {cgeid} dev site0 metric 64"));
            std::thread::sleep(Duration::from_millis(600));
            assert!(is_at_the_host().is_some(), "{:?}", here());
            ip(&format!("-6 route del {cgeid} dev site0 metric 128"));
            wait_for("CGEID at the router again", is_here);
        }
        ip(&format!("-6 route add {cgeid} dev site0"));
        wait_for("CGEID at the host", is_at_the_host);
        node.end();

        let mut node = Node::start(directory.path(), &[]);
        std::thread::sleep(Duration::from_millis(600));
        assert!(is_at_the_host().is_some(), "{:?}", here());
        // What was taken away of the rest is there again, and that is not.
        ip("-6 rule del pref 4344");
        wait_for("rule", || ours().iter().any(|line| line.starts_with("4344:")).then_some(()));
        assert!(is_at_the_host().is_some(), "{:?}", here());
        ip(&format!("-6 route del {cgeid} dev site0"));
        wait_for("CGEID at the router again", is_here);
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

/// A PITR and PETR without a site of its own: its routes are in a table of their own, and nothing of it outlives it.
#[test]
fn what_a_killed_pitr_leaves_is_removed_by_the_next_start() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let proxy = ["--map-resolver", "127.0.0.1", "--pitr-for", "10.9.0.0/16", "--pitr-for", "2001:db8:9::/48"];
        let proxy = [&proxy[..], &["--petr-for", "10.9.0.0/16", "--pitr-in", "10.64.0.0/16"]].concat();
        let has = |what: &str| ours().iter().any(|line| line.contains(what));
        let led = || {
            let routes = ["10.9.0.0/16 dev", "2001:db8:9::/48 dev"].iter().all(|net| has(net));
            (routes && has("4345:")).then_some(())
        };
        let killed = Node::start(directory.path(), &proxy);
        wait_for("routes", led);
        let main = ip("-4 route show") + &ip("-6 route show");
        assert!(!main.contains("10.9.0.0") && !main.contains("2001:db8:9::"), "in no other table: {main}");
        drop(killed);
        assert!(has("4345:") && !has("10.9.0.0/16"), "the route goes with its device: {:?}", ours());
        let mut plain = Node::start(directory.path(), PLAIN);
        assert!(!has("4345:"), "{:?}", ours());
        plain.end();
        let mut again = Node::start(directory.path(), &proxy);
        wait_for("routes", led);
        let shown = show(directory.path(), &["show", "locators"]).unwrap();
        assert_eq!(shown["pitr_for"], serde_json::json!(["10.9.0.0/16", "2001:db8:9::/48"]));
        assert_eq!(shown["aggregates"][0]["prefix"], "10.64.0.0/16");
        let way = ask(directory.path(), &["trace", "10.9.0.1", "--from", "203.0.113.9"]);
        assert!(String::from_utf8_lossy(&way.stdout).contains("result   miss"), "{way:?}");
        again.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}
