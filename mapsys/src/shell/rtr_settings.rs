// SPDX-License-Identifier: GPL-2.0-or-later
//! `[[rtr]]` of the settings: RTRs for xTRs behind NATs.

use std::net::IpAddr;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use wire::control::auth::{Algorithm, AuthKey};

use super::settings::{AlgorithmSetting, KeySetting};
use crate::nat::Rtr;

/// An RTR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RtrSetting {
    /// Its addresses.
    pub address: Vec<IpAddr>,
    /// The key that it shares with this Map-Server.
    pub key: KeySetting,
}

impl RtrSetting {
    /// The RTR, its key file read.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn build(&self) -> anyhow::Result<Rtr> {
        if self.address.is_empty() {
            bail!("address is empty");
        }
        let algorithm = match self.key.algorithm {
            Some(AlgorithmSetting::HmacSha1) => Algorithm::HmacSha1,
            Some(AlgorithmSetting::HmacSha256) => Algorithm::HmacSha256,
            Some(AlgorithmSetting::HkdfSha256) | None => Algorithm::HkdfSha256,
        };
        let key = AuthKey { id: self.key.key_id, algorithm, secret: self.key.secret()? };
        Ok(Rtr { addresses: self.address.clone(), key })
    }
}
