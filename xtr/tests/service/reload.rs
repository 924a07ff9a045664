// SPDX-License-Identifier: GPL-2.0-or-later
//! Another configuration, and another machine, while it runs.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::namespace::{Node, PATIENCE, in_namespace, wait_for};
use crate::started::{RLOC, TUN, ask, command, ip, ours, show};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn a_reload_takes_over_prefixes_and_locators_and_names_what_it_cannot() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("xtr.toml");
        let configure =
            |text: &str| std::fs::write(&config, format!("map-resolver = [\"127.0.0.1\"]\n{text}\n")).unwrap();
        configure("eid-prefix = [\"2001:db8:a::/48\"]\nrloc = [\"192.0.2.1\"]");
        let state = directory.path().join("state");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.args(["--tun", TUN, "--config", config.to_str().unwrap(), "--state-dir"]).arg(&state);
        let mut node = Node(command.spawn().unwrap());
        let locators = || show(directory.path(), &["show", "locators"]);
        let known = |prefixes: &[&str], rlocs: &[&str]| {
            let answer = locators().filter(|answer| answer["prefixes"] == serde_json::json!(prefixes))?;
            let rows = answer["locators"].as_array().unwrap().iter();
            (rows.map(|row| (row["address"].clone(), row["state"].clone())).collect::<Vec<_>>()
                == rlocs.iter().map(|rloc| ((*rloc).into(), "up".into())).collect::<Vec<(Value, Value)>>())
            .then_some(())
        };
        wait_for("node", || known(&["2001:db8:a::/48"], &["192.0.2.1"]));
        ip("addr add 192.0.2.9/32 dev lo");

        configure("eid-prefix = [\"2001:db8:b::/48\", \"10.1.0.0/16\"]\nrloc = [\"192.0.2.9\", \"192.0.2.1\"]");
        let output = ask(directory.path(), &["reload"]);
        assert!(output.status.success(), "{output:?}");
        let said = "EID-prefixes added: 10.1.0.0/16 2001:db8:b::/48; removed: 2001:db8:a::/48; locators: 192.0.2.9 192.0.2.1\n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), said);
        wait_for("both locators", || known(&["10.1.0.0/16", "2001:db8:b::/48"], &["192.0.2.1", "192.0.2.9"]));
        let count = |text: &str| ours().iter().filter(|line| line.contains(text)).count();
        assert_eq!(
            ["2001:db8:a::", "2001:db8:b::", "10.1.0.0/16", "table 4341 "].map(count),
            [0, 2, 2, 2],
            "{:?}",
            ours()
        );
        std::net::UdpSocket::bind("192.0.2.9:4341").unwrap_err();

        configure("eid-prefix = [\"2001:db8:c::/48\"]\nrloc = [\"192.0.2.1\"]\nmtu = 1400\niid = 7");
        let refused = ask(directory.path(), &["reload"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("iid, mtu: cannot change"), "{refused:?}");
        assert!(
            known(&["10.1.0.0/16", "2001:db8:b::/48"], &["192.0.2.1", "192.0.2.9"]).is_some(),
            "nothing has changed"
        );

        configure("eid-prefix = [\"2001:db8:c::/48\"]\nrloc = [\"192.0.2.1\"]");
        node.signal(Signal::SIGHUP);
        wait_for("reload", || known(&["2001:db8:c::/48"], &["192.0.2.1"]));

        // What is not there may come: it is taken, and named.
        configure("eid-prefix = [\"2001:db8:c::/48\"]\nrloc = [\"192.0.2.1\", \"192.0.2.77\", \"typo0\"]");
        let taken = ask(directory.path(), &["reload"]);
        let said = String::from_utf8_lossy(&taken.stdout);
        assert!(taken.status.success(), "{taken:?}");
        for warning in
            ["Warning: 192.0.2.77 is no address of this machine", "Warning: this machine has no interface typo0"]
        {
            assert!(said.contains(warning), "{said}");
        }
        node.end();
        assert_eq!(ours(), Vec::<String>::new());
    });
}

/// Two uplinks in one: IPv6 comes later than IPv4, as by PPP, and goes while the other is there.
#[test]
fn while_a_family_of_addresses_is_out_a_node_whose_locators_are_found_starts_and_reloads_without_its_servers() {
    in_namespace(&[], || {
        for command in [
            "link add up0 type veth peer name up1",
            "link set up0 up",
            "link set up1 up",
            "-4 addr add 198.51.100.7/24 dev up0",
        ] {
            ip(command);
        }
        let registered = ["127.0.0.1", "::1"].map(|server| {
            let server = UdpSocket::bind((server, 4342)).unwrap();
            server.set_nonblocking(true).unwrap();
            move || server.recv_from(&mut [0; 2048]).ok().map(drop)
        });
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let (key, config, log) = (file("key.toml"), file("xtr.toml"), file("log"));
        std::fs::write(&key, "algorithm = \"hkdf-sha256\"\nsecret = \"a secret\"\n").unwrap();
        let configure = |rloc: &str| {
            let servers = "map-server = [\"127.0.0.1\", \"::1\"]\nuse-petr = [\"2001:db8:77::80\"]";
            let site = "eid-prefix = [\"2001:db8:a::/48\"]";
            std::fs::write(&config, format!("{servers}\nkey-file = [{key:?}]\n{site}\nrloc = [{rloc:?}]\n")).unwrap();
        };
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
            command.arg("--config").arg(&config).args(["--tun", TUN, "--state-dir"]).arg(file("state"));
            command
        };
        configure("198.51.100.7");
        let refused = command().output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "given by hand there will be no other: {refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("use-petr: 2001:db8:77::80 cannot be reached"));

        configure("up0");
        let mut node = Node(command().stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        let lacking = || {
            let shown = show(directory.path(), &["show", "locators"])?;
            let all = shown["lacking"].as_array()?.iter().filter_map(Value::as_str);
            Some(all.map(str::to_owned).collect::<Vec<_>>())
        };
        let of_v6 = "no IPv6 address is a locator of this node now; until one is, nothing is sent to --use-petr 2001:db8:77::80, --map-server ::1.";
        let of_v4 =
            "no IPv4 address is a locator of this node now; until one is, nothing is sent to --map-server 127.0.0.1.";
        let says = |said: &[&str]| lacking().filter(|lacking| lacking == said).map(drop);
        wait_for("start", || says(&[of_v6]));
        let [v4, v6] = registered;
        wait_for("registration by IPv4", &v4);
        let reload = || {
            let output = ask(directory.path(), &["reload"]);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(reload().contains(&format!("Warning: {of_v6}")));
        assert!(v6().is_none());

        ip("-6 addr add 2001:db8:77::1/64 dev up0 nodad");
        wait_for("registration by IPv6", &v6);
        wait_for("both families", || says(&[]));
        ip("-4 addr del 198.51.100.7/24 dev up0");
        wait_for("IPv6 alone", || says(&[of_v4]));
        assert!(reload().contains(&format!("Warning: {of_v4}")));
        node.end();
        let said = std::fs::read_to_string(&log).unwrap();
        for once in [of_v4, of_v6] {
            assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
        }
    });
}

/// A look at what was wanted before the reload sees what comes while the reload reads the machine; what is wanted now is to be looked at again.
#[test]
fn what_comes_while_a_reload_reads_the_machine_is_seen() {
    in_namespace(&[RLOC], || {
        for command in [
            "link add up0 type veth peer name up1",
            "link set up0 up",
            "link set up1 up",
            "-4 addr add 198.51.100.7/24 dev up0",
            "-4 route add default dev up0",
            "-6 route add default dev up0",
        ] {
            ip(command);
        }
        let directory = tempfile::tempdir().unwrap();
        let (config, log) = (directory.path().join("xtr.toml"), directory.path().join("log"));
        let plain = "map-resolver = [\"127.0.0.1\"]\neid-prefix = [\"2001:db8:a::/48\"]\n";
        std::fs::write(&config, format!("{plain}rloc = [\"198.51.100.7\"]\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lisp-xtr"));
        command.arg("--config").arg(&config).args(["--tun", TUN, "--state-dir"]).arg(directory.path().join("state"));
        let mut node = Node(command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        let rlocs = || {
            let shown = show(directory.path(), &["show", "locators"])?;
            Some(shown["locators"].as_array()?.iter().map(|row| row["address"].clone()).collect::<Vec<_>>())
        };
        assert_eq!(wait_for("node", rlocs), ["198.51.100.7"]);
        // To read them takes longer than to look at an address that is named, and longer than the pause before that look.
        add_routes(100_000);
        std::fs::write(&config, plain).unwrap();
        node.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(100));
        ip("-6 addr add 2001:db8:77::1/64 dev up0 nodad");
        wait_for("reload", || {
            std::fs::read_to_string(&log).unwrap().contains("the configuration was read again").then_some(())
        });
        wait_for("locator", || (rlocs()? == ["198.51.100.7", "2001:db8:77::1"]).then_some(()));
        node.end();
    });
}

fn add_routes(number: u32) {
    let route = |number: u32| format!("route add {}/32 dev up0\n", Ipv4Addr::from(0x0a80_0000 + number));
    let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    batch.stdin.take().unwrap().write_all((0..number).map(route).collect::<String>().as_bytes()).unwrap();
    assert!(batch.wait().unwrap().success());
}

#[test]
fn a_node_that_goes_away_reads_nothing_again() {
    in_namespace(&[RLOC], || {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let (key, config, log, notify) = (file("key.toml"), file("xtr.toml"), file("log"), file("notify"));
        std::fs::write(&key, "algorithm = \"hkdf-sha256\"\nsecret = \"a secret\"\n").unwrap();
        // It says nothing, so that the node waits for a while to be let go.
        let server = UdpSocket::bind(("127.0.0.1", 4342)).unwrap();
        let configure = |prefix: &str| {
            let text = format!("map-server = [\"127.0.0.1\"]\nkey-file = [{key:?}]\neid-prefix = [{prefix:?}]\n");
            std::fs::write(&config, text).unwrap();
        };
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        configure("2001:db8:a::/48");
        let mut command = command(directory.path(), &["--config", config.to_str().unwrap()]);
        command.env("NOTIFY_SOCKET", &notify).stderr(std::fs::File::create(&log).unwrap());
        let mut node = Node(command.spawn().unwrap());
        wait_for("answer", || show(directory.path(), &["show", "locators"]));
        let connect = || UnixStream::connect(directory.path().join("state/control.sock")).unwrap();
        // An answer that is cut off is that of a node which has ended.
        let reload = |mut stream: UnixStream| {
            let mut answer = String::new();
            let _ = stream.write_all(b"\"reload\"\n").and_then(|()| stream.read_to_string(&mut answer));
            answer
        };
        let taken_over = |times: usize| {
            let said = std::fs::read_to_string(&log).unwrap();
            assert_eq!(said.matches("the configuration was read again").count(), times, "{said}");
        };
        assert!(reload(connect()).contains("locators"));
        taken_over(1);
        configure("2001:db8:b::/48");
        let connected = connect();
        node.signal(Signal::SIGTERM);
        let mut said = [0; 512];
        while !said.starts_with(b"STOPPING=1") {
            manager.recv(&mut said).unwrap();
        }
        let refused = reload(connected);
        assert!(refused.is_empty() || refused.contains("going away"), "{refused}");
        node.signal(Signal::SIGHUP);
        assert!(node.0.wait().unwrap().success());
        taken_over(1);
        server.set_nonblocking(true).unwrap();
        let (mut registers, mut message) = (0, [0; 2048]);
        while let Ok((length, _)) = server.recv_from(&mut message) {
            registers += 1;
            let is_new = message[..length].windows(6).any(|octets| octets == [0x20, 0x01, 0x0d, 0xb8, 0, 0x0b]);
            assert!(!is_new, "it registers what is in the file now");
        }
        assert!(registers > 0);
    });
}
