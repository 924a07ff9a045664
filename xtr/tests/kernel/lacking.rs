// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernels and sandboxes that lack what tier 1 uses, each played by a filter of system calls (seccomp(2)): packets cross all the same, and the
//! log says what is missing. Needs root and `/dev/net/tun`.
#![allow(unsafe_code, reason = "a filter of system calls is installed by a call that no safe one covers")]

use std::sync::mpsc;

use crate::log::logged;
use crate::two_nodes::{FAR, NEAR, Node, bind, echo, in_two_namespaces, ip, lead_into_tunnel};
use xtr::config::Tier;

/// Socket options of udp(7), and how the TUN device is asked for super-packets of UDP (linux/if_tun.h: TUN_F_USO4 and TUN_F_USO6).
const SOL_UDP: u32 = libc::SOL_UDP as u32;
const UDP_SEGMENT: u32 = libc::UDP_SEGMENT as u32;
const UDP_GRO: u32 = libc::UDP_GRO as u32;
const TUN_F_USO: u32 = 0x60;
/// Classic BPF over seccomp_data (linux/seccomp.h): the number of the call, then its arguments from here on.
const NUMBER: u32 = 0;
const ARGUMENTS: u32 = 16;
const LOAD: u16 = 0x20;
const IS_EQUAL: u16 = 0x15;
const HAS_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Whether an argument is this, or has one of these bits.
enum Argument {
    Is(u32, u32),
    Has(u32, u32),
}

use Argument::{Has, Is};

/// From now on the kernel answers a call of this thread, and of those that it starts, with an error if its arguments are these.
fn deny(call: libc::c_long, arguments: &[Argument], errno: libc::c_int) {
    let step = |code, k, on_failure: usize| libc::sock_filter { code, jt: 0, jf: on_failure.try_into().unwrap(), k };
    // Behind the two of each test: the refusal, which a test that fails goes beyond.
    let rest = |tests: usize| 2 * tests + 1;
    let mut filter = vec![step(LOAD, NUMBER, 0), step(IS_EQUAL, call.try_into().unwrap(), rest(arguments.len()))];
    for (index, argument) in arguments.iter().enumerate() {
        let (place, code, value) = match argument {
            Is(place, value) => (place, IS_EQUAL, value),
            Has(place, bits) => (place, HAS_BITS, bits),
        };
        filter.push(step(LOAD, ARGUMENTS + 8 * place, 0));
        filter.push(step(code, *value, rest(arguments.len() - index - 1)));
    }
    filter.push(step(RETURN, libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap(), 0));
    filter.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0));
    let program = libc::sock_fprog { len: filter.len().try_into().unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: the first call takes numbers only; the second reads one sock_fprog and its filter, which outlive it.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(&program)),
        ]
    };
    assert_eq!(results, [0, 0], "{}", std::io::Error::last_os_error());
}

/// A node of which the kernel lacks something takes this tier, and says so by one line that has each of these; a datagram crosses both ways.
fn falls_back_to(tier: Tier, says: &'static [&'static str], lack: fn()) {
    let near = move || {
        lack();
        let mut node = None;
        let lines = logged(|| node = Some(Node::start(NEAR, 1500, Tier::Auto)));
        let node = node.unwrap();
        let warnings: Vec<&String> = lines.iter().filter(|line| line.starts_with("WARN")).collect();
        assert_eq!(node.plane.tier(), tier, "{warnings:?}");
        let is_said = |words: &&str| warnings.iter().any(|line| line.contains(words));
        assert!(says.iter().all(is_said) && warnings.len() == says.len(), "{warnings:?}");
        lead_into_tunnel(NEAR, FAR);
        FAR.prefixes.iter().zip(FAR.rlocs).for_each(|(net, rloc)| node.map(net, rloc));
        for (host, other) in NEAR.hosts.into_iter().zip(FAR.hosts) {
            let socket = bind(host, 0);
            socket.connect((ip(other), 7)).unwrap();
            // Several, so that some could be in one group.
            (0..4).for_each(|number| assert_eq!(socket.send(&[number; 100]).unwrap(), 100));
            for number in 0..4 {
                let mut answer = [0; 200];
                assert_eq!((socket.recv(&mut answer).unwrap(), answer[0]), (100, number), "{other}");
            }
        }
    };
    let far = |ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>| {
        let node = Node::start(FAR, 1500, Tier::One);
        NEAR.prefixes.iter().zip(NEAR.rlocs).for_each(|(net, rloc)| node.map(net, rloc));
        lead_into_tunnel(FAR, NEAR);
        echo(FAR.hosts, ready, stop);
    };
    in_two_namespaces(near, far);
}

#[test]
fn a_kernel_that_lacks_nothing_takes_tier_1_and_says_nothing() {
    falls_back_to(Tier::One, &[], || {});
}

#[test]
fn without_udp_segment_packets_leave_one_by_one() {
    falls_back_to(Tier::One, &["UDP_SEGMENT"], || {
        deny(libc::SYS_setsockopt, &[Is(1, SOL_UDP), Is(2, UDP_SEGMENT)], libc::ENOPROTOOPT);
    });
}

#[test]
fn without_udp_gro_packets_come_one_by_one() {
    falls_back_to(Tier::One, &["UDP_GRO"], || {
        deny(libc::SYS_setsockopt, &[Is(1, SOL_UDP), Is(2, UDP_GRO)], libc::ENOPROTOOPT);
    });
}

#[test]
fn without_uso_datagrams_of_the_site_come_one_by_one() {
    falls_back_to(Tier::One, &["USO of TUN devices"], || {
        let request = libc::TUNSETOFFLOAD.try_into().unwrap();
        deny(libc::SYS_ioctl, &[Is(1, request), Has(2, TUN_F_USO)], libc::EINVAL);
    });
}

#[test]
fn without_tso_all_packets_of_the_site_come_one_by_one() {
    falls_back_to(Tier::One, &["TSO of TUN devices", "USO of TUN devices"], || {
        deny(libc::SYS_ioctl, &[Is(1, libc::TUNSETOFFLOAD.try_into().unwrap())], libc::EINVAL);
    });
}

#[test]
fn without_vnet_headers_tier_0_is_taken() {
    falls_back_to(Tier::Zero, &["TUN device lisp0 no vnet headers: Invalid argument"], || {
        deny(libc::SYS_ioctl, &[Is(1, libc::TUNSETVNETHDRSZ.try_into().unwrap())], libc::EINVAL);
    });
}

#[test]
fn without_sendmmsg_tier_0_is_taken() {
    falls_back_to(Tier::Zero, &["sendmmsg(2) cannot be used: Function not implemented"], || {
        deny(libc::SYS_sendmmsg, &[], libc::ENOSYS);
    });
}

#[test]
fn without_recvmmsg_tier_0_is_taken() {
    falls_back_to(Tier::Zero, &["recvmmsg(2) cannot be used: Operation not permitted"], || {
        deny(libc::SYS_recvmmsg, &[], libc::EPERM);
    });
}

#[test]
fn who_asks_for_tier_1_hears_what_it_lacks() {
    let near = || {
        deny(libc::SYS_recvmmsg, &[], libc::ENOSYS);
        let error = xtr::shell::data_plane::DataPlane::probe(Tier::One, crate::two_nodes::TUN, &[ip(NEAR.rlocs[0])])
            .unwrap_err();
        assert_eq!(error.to_string(), "recvmmsg(2) cannot be used: Function not implemented (os error 38)");
    };
    in_two_namespaces(near, |ready, stop| {
        ready.send(()).unwrap();
        stop.recv().unwrap();
    });
}
