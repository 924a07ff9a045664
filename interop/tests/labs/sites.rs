// SPDX-License-Identifier: GPL-2.0-or-later
//! Labs of two sites with real programs in them, and what crosses these. Needs root; says so and passes without, unless `CI` is set.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use interop::demo::Controls;
use interop::hold::{self, Keep, LabName};
use interop::lab::privilege::Privilege;
use interop::lab::{Lab, process};
use interop::limits::{COMMAND_TIME, WHOLE_WAIT};
use interop::probe::ping::{Ping, PingReport, ping};
use interop::probe::tcp::{Bulk, BulkReport, bulk};
use serde_json::Value;

use crate::support;

/// Each site's host, IPv4 and IPv6.
pub(crate) const SITE: [&str; 2] = ["198.18.1.2", "2001:db8:a::2"];
pub(crate) const OTHER: [&str; 2] = ["198.18.2.2", "2001:db8:b::2"];
/// Between two pings.
const INTERVAL: Duration = Duration::from_millis(25);

/// Hosts and their addresses: from where, and to where.
pub(crate) type Ends<'a> = [(&'a str, &'a str); 2];

/// From the host of one site to that of the other.
pub(crate) const fn ends(family: usize) -> Ends<'static> {
    [("host-a", SITE[family]), ("host-b", OTHER[family])]
}

/// A lab that stands, and the control sockets of its programs.
pub(crate) struct Stage<'a> {
    pub(crate) lab: &'a Lab,
    controls: Controls,
}

/// Brings up a lab, for as long as `lock` is held, and plays in it; in the end all of its programs still run.
pub(crate) fn stand(lab: LabName, lock: fn() -> File, play: impl Fn(&Stage<'_>) -> anyhow::Result<()>) {
    if !support::root_or_skip() {
        return;
    }
    let _lock = lock();
    let keep: Keep<'_> = &|lab, controls, check| {
        play(&Stage { lab, controls })?;
        Ok(check()?)
    };
    hold::stand(lab, Path::new(support::built_programs()), Privilege::Root, keep).unwrap();
}

impl Stage<'_> {
    pub(crate) fn pings(
        &self,
        [(from, source), (to, destination)]: Ends<'_>,
        count: u16,
    ) -> anyhow::Result<PingReport> {
        let (source, destination) = (source.parse()?, destination.parse()?);
        let series = Ping { source, destination, count, interval: INTERVAL, wait: WHOLE_WAIT };
        ping(self.lab.namespace(from)?, self.lab.namespace(to)?, series)
    }

    /// A connection over which so many octets go, or what goes in that time.
    pub(crate) fn transfer(&self, ends: Ends<'_>, octets: u64, time: Duration) -> anyhow::Result<BulkReport> {
        let [(from, source), (to, destination)] = ends;
        let transfer = Bulk { source: source.parse()?, destination: destination.parse()?, octets, time };
        bulk(self.lab.namespace(from)?, self.lab.namespace(to)?, transfer)
    }

    /// What an xTR shows.
    pub(crate) fn show(&self, node: &str, table: &str) -> anyhow::Result<Value> {
        let mut command = Command::new(Path::new(support::built_programs()).join("lisp-xtr"));
        command.args(["show", table, "--json", "--control"]).arg(&self.controls[node]);
        Ok(serde_json::from_str(&process::output(self.lab.namespace(node)?, command, COMMAND_TIME)?.stdout)?)
    }

    /// The names of an xTR's counters that are not zero.
    pub(crate) fn has_counted(&self, node: &str) -> anyhow::Result<BTreeSet<String>> {
        let shown = self.show(node, "counters")?;
        let halves = shown["counters"].as_object().into_iter().flat_map(|halves| halves.values());
        let counters = halves.filter_map(Value::as_object).flatten();
        Ok(counters.filter(|(_, count)| count.as_u64() > Some(0)).map(|(name, _)| name.clone()).collect())
    }

    /// A counter of one half of an xTR: `control` or `packets`.
    pub(crate) fn counted(&self, node: &str, half: &str, name: &str) -> anyhow::Result<u64> {
        let shown = self.show(node, "counters")?;
        shown["counters"][half][name].as_u64().ok_or_else(|| anyhow::anyhow!("{node} has no counter {half} {name}"))
    }
}
