// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid prove-link`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::args::JsonTo;
use super::given::Given;
use super::{Failure, output, report};
use crate::cn::Network;
use crate::container;
use crate::error::{StatementError, date};
use crate::identity::Identity;
use crate::statement::LinkProof;

pub(super) const HELP: &str = "\
Has both identity keys sign that they have one owner. Nothing is published: give
the proof to the reader whom it is for. With --audience (the reader's name, or
better a challenge that it chose) it convinces that reader only; without, it
convinces everybody who comes to see it.

Examples:
  cgeid prove-link static.p12 temporary.p12 --audience 'Bob, 4711' > proof.pem
  cgeid verify proof.pem --audience 'Bob, 4711'";

/// The word for standard output.
const OUTPUT: &str = "-";

#[derive(Args)]
pub(super) struct ProveLink {
    /// The static identity key, <CN>.p12
    #[arg(value_name = "STATIC")]
    pub(super) of_static: PathBuf,
    /// The temporary identity key, <CN>.p12
    #[arg(value_name = "TEMPORARY")]
    pub(super) of_temporary: PathBuf,
    /// For whom the proof is, or a challenge
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) audience: String,
    /// File for the proof, or `-` for standard output
    #[arg(long, value_name = "FILE", default_value = OUTPUT)]
    pub(super) out: PathBuf,
    /// Network prefix for which the identities were made
    #[arg(long, default_value_t = Network::LAB)]
    pub(super) prefix: Network,
    /// File whose first line is the password of both keys
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// File whose first line is the password of the temporary key, if it has another
    #[arg(long, value_name = "FILE")]
    pub(super) temporary_password_file: Option<PathBuf>,
}

pub(super) fn run(prove: &ProveLink, json: &Option<JsonTo>) -> Result<(), Failure> {
    let now = SystemTime::now();
    let of_static = open(&prove.of_static, prove.password_file.as_deref(), prove.prefix, now)?;
    let second_password = prove.temporary_password_file.as_deref().or(prove.password_file.as_deref());
    let of_temporary = open(&prove.of_temporary, second_password, prove.prefix, now)?;
    let proof = LinkProof::issue(&of_static, &of_temporary, &prove.audience, now).map_err(unproved)?;
    let pem = proof.to_pem().map_err(Failure::machine)?;
    let file = (prove.out != Path::new(OUTPUT)).then(|| prove.out.display().to_string());
    if file.is_some() {
        output::secrets(&[(prove.out.clone(), pem.clone().into_bytes())])?;
    }
    let value = json!({
        "cn": of_static.cn(),
        "address": of_static.address(),
        "temporary": { "cn": of_temporary.cn(), "address": of_temporary.address() },
        "audience": proof.audience(),
        "issued": date(proof.issued()),
        "file": file,
        "proof": pem,
    });
    let text = match file {
        Some(file) => format!(
            "static      {}  {}\ntemporary   {}  {}\nproof       {file}  (show it to nobody but its reader)\n",
            of_static.cn(),
            of_static.address(),
            of_temporary.cn(),
            of_temporary.address(),
        ),
        None => pem,
    };
    report(&text, &value, json)
}

fn open(path: &Path, password_file: Option<&Path>, prefix: Network, now: SystemTime) -> Result<Identity, Failure> {
    let load = |bytes: &[u8], password: &str| container::load_identity(bytes, password, prefix, now);
    Ok(Given::read(path)?.identity(password_file, load)?.0)
}

/// A flag that says nothing usable is one thing, identities that make no link another.
fn unproved(error: StatementError) -> Failure {
    match error {
        StatementError::Audience => Failure::usage(anyhow::Error::new(error).context("--audience")),
        StatementError::Key(_) => Failure::machine(error),
        _ => Failure::refused(error),
    }
}
