// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht put`: one statement, signed and put.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, anyhow};
use cgeid::{Network, OperationalKey};
use serde_json::json;
use wire::record::Ttl;

use super::flags::PutFlags;
use super::settings::Settings;
use super::{Failure, Outcome, identity, make_state_folder, output, query, revoke, values};
use crate::PublishError;
use crate::publish::{self, Publication, Sequence};
use crate::record::Mapping;
use crate::shell::sequence::SequenceFile;
use crate::shell::shelf;

/// Minutes that map-caches keep a mapping: the lifetime of the statement.
const TTL: u32 = 60;

/// Publishes the mapping of an identity's CGEID, or a revocation.
pub(super) async fn put(settings: Settings, flags: &PutFlags) -> Result<Outcome, Failure> {
    if let Some(file) = &flags.revocation {
        return revoke::put(settings, flags, file).await;
    }
    let network = settings.network()?;
    let locators = settings.rloc.iter().map(|text| values::rloc(text)).collect::<anyhow::Result<Vec<_>>>()?;
    if locators.is_empty() && !flags.withdraw {
        return Err(anyhow!("--rloc is missing: name at least one locator, or --withdraw the mapping").into());
    }
    let key = identity::load(&settings, network)?;
    let mapping = Mapping::new(locators, Ttl(settings.ttl.unwrap_or(TTL)));
    let publication = sign(&settings, &key, |now, sequence| {
        if flags.withdraw {
            publish::withdraw_mapping(&key, network, now, sequence)
        } else {
            publish::mapping(&key, network, mapping, now, sequence)
        }
    })?;
    send(&settings, network, &key.address().to_string(), publication, flags.file.json.as_deref()).await
}

/// Signs with the next sequence, which is on disk before anybody sees it.
fn sign(
    settings: &Settings,
    key: &OperationalKey,
    statement: impl FnOnce(SystemTime, &mut Sequence) -> Result<Publication, PublishError>,
) -> Result<Publication, Failure> {
    let path = sequence_path(settings, key)?;
    let file = SequenceFile::open(&path).with_context(|| path.display().to_string());
    let mut file = file.map_err(Failure::Lacking)?;
    let publication = statement(SystemTime::now(), &mut file.sequence).map_err(anyhow::Error::from)?;
    let saved = file.save().with_context(|| format!("{}: give a writable --state-dir", path.display()));
    saved.map_err(Failure::Lacking)?;
    Ok(publication)
}

/// In the state folder, or beside the key.
pub(super) fn sequence_path(settings: &Settings, key: &OperationalKey) -> Result<PathBuf, Failure> {
    if let Some(folder) = &settings.state_dir {
        make_state_folder(folder)?;
        return Ok(folder.join(format!("{}.sequence", key.cn())));
    }
    let beside = settings.identity.as_deref().unwrap_or(Path::new(""));
    Ok(beside.with_extension("sequence"))
}

/// Puts a publication through a node of its own, and shows what became of it.
pub(super) async fn send(
    settings: &Settings,
    network: Network,
    eid: &str,
    publication: Publication,
    json: Option<&Path>,
) -> Result<Outcome, Failure> {
    let node = shelf::start_node(settings.client()?, network, None)?;
    let begun = Instant::now();
    let sequence = publication.sequence;
    let report = node.put(publication.key.encode(), publication.value).await?;
    let elapsed = begun.elapsed();
    let reached = query::is_reached(&node);
    node.shutdown().await;
    let result = match (report.is_stored(), report.refused) {
        (true, _) => "stored",
        (false, 0) => "unreachable",
        (false, _) => "refused",
    };
    let mut value = json!({
        "eid": eid,
        "result": result,
        "stored": report.stored,
        "refused": report.refused,
        "unreachable": report.unreachable,
        "sequence": sequence,
        "elapsed_us": u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    });
    let mut lines = vec![
        format!("{eid}: {result}"),
        format!("  {} stored, {} refused, {} unreachable", report.stored, report.refused, report.unreachable),
        format!("  sequence {sequence}, {} us", elapsed.as_micros()),
    ];
    if !report.is_stored() && !reached {
        value["why"] = query::NOBODY.into();
        lines.push(format!("  {}", query::NOBODY));
    }
    output::show(json, &value, &lines)?;
    Ok(if report.is_stored() { Outcome::Held } else { Outcome::DidNot })
}
