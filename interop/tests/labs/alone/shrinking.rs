// SPDX-License-Identifier: GPL-2.0-or-later
//! Links that become narrow while a connection takes all that the processors give.

use std::time::Duration;

use interop::hold::LabName;
use interop::lab::netlink;

use crate::sites::{ends, stand};
use crate::support;

/// The interface of the router itself gets a lower MTU, as the other end of its cable does: the kernel says so.
#[test]
fn a_connection_goes_on_when_the_mtu_of_the_underlay_shrinks_under_load() {
    stand(LabName::TwoProviders, support::alone, |stage| {
        for (family, mtu) in [(1, 1350), (0, 1300)] {
            std::thread::scope(|scope| -> anyhow::Result<()> {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_secs(2));
                    netlink::set_mtu(stage.lab.namespace("xtr-a").unwrap(), "one", mtu).unwrap();
                    netlink::set_mtu(stage.lab.namespace("isp-1").unwrap(), "site", mtu).unwrap();
                });
                let report = stage.transfer(ends(family), u64::MAX, Duration::from_secs(8))?;
                println!("{:.0} Mbit/s", report.mbit_s());
                Ok(())
            })?;
        }
        assert!(stage.counted("xtr-a", "packets", "path-mtu-changes")? >= 2);
        assert_eq!(stage.counted("xtr-a", "control", "black-holes")?, 0);
        Ok(())
    });
}
