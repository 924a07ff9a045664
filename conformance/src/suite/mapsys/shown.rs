// SPDX-License-Identifier: GPL-2.0-or-later
//! What the common map system says of itself: `lisp-mapsys show`.

use std::path::PathBuf;

use wire::address::EidPrefix;

use super::Room;
use crate::suite::daemon;
use crate::suite::probe::{Fault, broken};

impl Room {
    /// How often it has counted a refusal of that name.
    pub(in crate::suite) fn counted(&self, name: &str) -> Result<u64, Fault> {
        daemon::counted(&self.common_state()?, name)
    }

    /// In how many seconds what is registered of an EID-prefix ends, if nobody registers it again.
    pub(in crate::suite) fn seconds_left(&self, prefix: &EidPrefix) -> Result<u64, Fault> {
        let (shown, name) = (daemon::shown(&self.common_state()?, "registrations")?, prefix.to_string());
        let row = shown.as_array().into_iter().flatten().find(|row| row["prefix"] == name);
        let left = row.and_then(|row| row["expires_s"].as_u64());
        left.ok_or_else(|| broken(format!("no registration of {name} that ends: {shown}")))
    }

    fn common_state(&self) -> Result<PathBuf, Fault> {
        self.only_ours("it looks at what lisp-mapsys shows")?;
        self.common()?;
        Ok(self.folder.path().join("common.state"))
    }
}
