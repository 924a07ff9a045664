// SPDX-License-Identifier: GPL-2.0-or-later
//! What the common map system says of itself: `lisp-mapsys show`.

use std::process::Command;

use serde_json::Value;
use wire::address::EidPrefix;

use super::Room;
use crate::suite::bounded;
use crate::suite::probe::{Fault, broken, missing};

impl Room {
    /// How often it has counted a refusal of that name.
    pub(in crate::suite) fn counted(&self, name: &str) -> Result<u64, Fault> {
        let shown = self.shown("counters")?;
        shown["refusals"][name].as_u64().ok_or_else(|| broken(format!("no counter {name}: {shown}")))
    }

    /// In how many seconds what is registered of an EID-prefix ends, if nobody registers it again.
    pub(in crate::suite) fn seconds_left(&self, prefix: &EidPrefix) -> Result<u64, Fault> {
        let (shown, name) = (self.shown("registrations")?, prefix.to_string());
        let row = shown.as_array().into_iter().flatten().find(|row| row["prefix"] == name);
        let left = row.and_then(|row| row["expires_s"].as_u64());
        left.ok_or_else(|| broken(format!("no registration of {name} that ends: {shown}")))
    }

    fn shown(&self, what: &str) -> Result<Value, Fault> {
        self.only_ours("it looks at what lisp-mapsys shows")?;
        self.common()?;
        let mut command = Command::new(&self.program);
        command.args(["show", what, "--json", "--state-dir"]).arg(self.folder.path().join("common.state"));
        let output = bounded::output(command, missing)?;
        crate::exchange::read(&format!("show {what}"), String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).map_err(broken)
    }
}
