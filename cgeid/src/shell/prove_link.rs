// SPDX-License-Identifier: GPL-2.0-or-later
//! `cgeid prove-link`.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::args::JsonTo;
use super::given::{self, Given};
use super::{Failure, output, report};
use crate::cn::{Cn, Network};
use crate::container;
use crate::error::{StatementError, date};
use crate::identity::Identity;
use crate::statement::LinkProof;
use crate::temporary::{Role, Schedule, TemporaryKey};

pub(super) const HELP: &str = "\
Has both identity keys sign that they have one owner. Nothing is published: give
the proof to the reader whom it is for. With --audience (the reader's name, or
better a challenge that it chose) it convinces that reader only; without, it
convinces everybody who comes to see it.

TEMPORARY is <CN>.p12, or the file temporary.state in which a daemon that changes
its temporary identity by itself (lisp-xtr --temporary) keeps the keys of the
last and of the next one too. It has no password. Of those, the one in use is
meant, or the one that --cgeid names.

Examples:
  cgeid prove-link static.p12 temporary.p12 --audience 'Bob, 4711' > proof.pem
  cgeid prove-link static.p12 temporary.state --audience 'Bob, 4711' --out proof.pem
  cgeid verify proof.pem --audience 'Bob, 4711'";

/// The word for standard output.
const OUTPUT: &str = "-";

#[derive(Args)]
pub(super) struct ProveLink {
    /// The static identity key, <CN>.p12
    #[arg(value_name = "STATIC")]
    pub(super) of_static: PathBuf,
    /// The temporary identity key, <CN>.p12, or a daemon's temporary.state
    #[arg(value_name = "TEMPORARY")]
    pub(super) of_temporary: PathBuf,
    /// Which temporary identity is meant, by its address or CN [default: the one in use]
    #[arg(long, value_name = "ADDRESS|CN", value_parser = name)]
    pub(super) cgeid: Option<Name>,
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

/// How an identity is named on the command line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// By its address, as a peer sees it.
    Address(Ipv6Addr),
    /// By its CN.
    Cn(Cn),
}

impl Name {
    fn is(self, cn: Cn, address: Ipv6Addr) -> bool {
        match self {
            Name::Address(own) => own == address,
            Name::Cn(own) => own == cn,
        }
    }
}

pub(super) fn run(prove: &ProveLink, json: &Option<JsonTo>) -> Result<(), Failure> {
    let now = SystemTime::now();
    let of_static = open(Given::read(&prove.of_static)?, prove.password_file.as_deref(), prove.prefix, now)?;
    let of_temporary = temporary(prove, now)?;
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

fn open(given: Given, password_file: Option<&Path>, prefix: Network, now: SystemTime) -> Result<Identity, Failure> {
    let load = |bytes: &[u8], password: &str| container::load_identity(bytes, password, prefix, now);
    Ok(given.identity(password_file, load)?.0)
}

/// The temporary identity, out of a container or a daemon's state.
fn temporary(prove: &ProveLink, now: SystemTime) -> Result<Identity, Failure> {
    let path = &prove.of_temporary;
    let shown = given::shown(path);
    let bytes = given::octets(path)?;
    if Schedule::is_state(&bytes) {
        let refused = |error: anyhow::Error| Failure::refused(error.context(shown.clone()));
        let schedule = Schedule::look(&bytes, prove.prefix).map_err(|error| refused(error.into()))?;
        let key = meant(&schedule, prove.cgeid).map_err(refused)?;
        return key.identity(now).map_err(|error| refused(error.into()));
    }
    let password = prove.temporary_password_file.as_deref().or(prove.password_file.as_deref());
    let identity = open(Given::of(path, bytes)?, password, prove.prefix, now)?;
    if prove.cgeid.is_some_and(|name| !name.is(identity.cn(), identity.address())) {
        return Err(Failure::refused(anyhow!("{shown} is the key of {}, not of --cgeid", identity.address())));
    }
    Ok(identity)
}

/// The key that `--cgeid` names; without it the one in use, or the only one.
fn meant(schedule: &Schedule, name: Option<Name>) -> Result<&TemporaryKey, anyhow::Error> {
    let keys: Vec<_> = schedule.keys().collect();
    let found = match (name, keys.as_slice()) {
        (_, []) => return Err(anyhow!("no temporary identity is in this state yet")),
        (Some(name), _) => keys.iter().find(|(_, key)| name.is(key.cn(), key.address())),
        (None, [only]) => Some(only),
        (None, _) => keys.iter().find(|(role, _)| *role == Role::Current),
    };
    let list = || keys.iter().map(|(role, key)| format!("{} ({})", key.address(), word(*role))).collect::<Vec<_>>();
    let (_, key) = found.ok_or_else(|| match name {
        Some(_) => anyhow!("the identity of --cgeid is not in it; there are {}", list().join(", ")),
        None => anyhow!("none is in use: choose with --cgeid one of {}", list().join(", ")),
    })?;
    Ok(key)
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Prepared => "prepared",
        Role::Current => "in use",
        Role::Relieved => "relieved",
    }
}

/// An address or a CN.
fn name(text: &str) -> Result<Name, String> {
    let address = text.parse().map(Name::Address);
    address.or_else(|_| text.parse().map(Name::Cn)).map_err(|_| "an IPv6 address or a CN is needed".to_owned())
}

/// A flag that says nothing usable is one thing, identities that make no link another.
fn unproved(error: StatementError) -> Failure {
    match error {
        StatementError::Audience => Failure::usage(anyhow::Error::new(error).context("--audience")),
        StatementError::Key(_) => Failure::machine(error),
        _ => Failure::refused(error),
    }
}
