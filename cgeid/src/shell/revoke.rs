// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid revoke`.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::args::JsonTo;
use super::given::Given;
use super::{Failure, output, report};
use crate::cn::Network;
use crate::container;
use crate::error::date;
use crate::identity::Identity;
use crate::statement::{Reason, Revocation, revocation_file_name};

pub(super) const HELP: &str = "\
Makes the statement that revokes an identity, and nothing else: it counts from
when it is published, by anybody. `cgeid new` makes one at birth, for the day on
which the key is lost; this makes another, with the reason, while the key is at
hand. The dates of the identity's certificate do not matter.

Examples:
  cgeid revoke 0f2c8a3454a468b75f32e76a.p12 --reason key-compromise --out now.revoke
  cgeid verify 0f2c8a3454a468b75f32e76a.revoke";

/// What publishing means, for people.
const MEANING: &str = "\
Nothing is revoked yet: that happens when this statement is published, and anybody who has it can do so.
Published, it ends the identity for ever: its address no longer resolves, all its keys and records count for
nothing, and nothing takes that back. Keep it as safe as the key, and apart from it.
";

#[derive(Args)]
pub(super) struct Revoke {
    /// The identity key, <CN>.p12
    pub(super) identity: PathBuf,
    /// Why
    #[arg(long, value_enum, default_value_t = Why::Unspecified)]
    pub(super) reason: Why,
    /// File for the statement [default: <CN>.revoke beside the key]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Network prefix for which the identity was made
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Why {
    /// Nothing is said
    Unspecified,
    /// Somebody else has, or may have, the key
    KeyCompromise,
    /// There is another identity instead
    Superseded,
    /// It is no longer used
    Cessation,
}

impl From<Why> for Reason {
    fn from(why: Why) -> Reason {
        match why {
            Why::Unspecified => Reason::UNSPECIFIED,
            Why::KeyCompromise => Reason::KEY_COMPROMISE,
            Why::Superseded => Reason::SUPERSEDED,
            Why::Cessation => Reason::CESSATION,
        }
    }
}

pub(super) fn run(revoke: &Revoke, json: &Option<JsonTo>) -> Result<(), Failure> {
    let (identity, _) = Given::read(&revoke.identity)?
        .identity(revoke.password_file.as_deref(), |bytes, password| {
            container::load_identity_undated(bytes, password, revoke.prefix)
        })?;
    let beside = || revoke.identity.with_file_name(revocation_file_name(identity.cn()));
    let path = revoke.out.clone().unwrap_or_else(beside);
    let (revocation, bytes) = file(&identity, revoke.reason.into(), SystemTime::now())?;
    let shown = path.display().to_string();
    output::secrets(&[(path, bytes)])?;
    let value = json!({
        "cn": revocation.cn(),
        "address": revocation.address(),
        "reason": revocation.reason().to_string(),
        "issued": date(revocation.issued()),
        "file": shown,
    });
    let text = format!(
        "cn          {}\naddress     {}\nreason      {}\nrevocation  {shown}\n{MEANING}",
        revocation.cn(),
        revocation.address(),
        revocation.reason(),
    );
    report(&text, &value, json)
}

/// Has an identity revoke itself; the statement, and the file with it.
pub(super) fn file(identity: &Identity, reason: Reason, now: SystemTime) -> Result<(Revocation, Vec<u8>), Failure> {
    let revocation = Revocation::issue(identity, reason, now).map_err(Failure::machine)?;
    let text = format!(
        "Revocation of the identity {}, {}, made {}.\n{MEANING}{}",
        revocation.cn(),
        revocation.address(),
        date(revocation.issued()),
        revocation.to_pem().map_err(Failure::machine)?,
    );
    Ok((revocation, text.into_bytes()))
}
