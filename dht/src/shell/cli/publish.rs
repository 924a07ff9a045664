// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht put`: one statement, signed and put.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, anyhow};
use cgeid::{Network, OperationalKey};
use program::Json;
use serde_json::json;
use wire::record::Ttl;

use super::flags::{PutFlags, Withdrawn};
use super::settings::Settings;
use super::{Failure, Outcome, bundle, identity, make_state_folder, output, query, revoke, values, values_node};
use crate::PublishError;
use crate::geo::Position;
use crate::publish::{self, Publication, Sequence, Statement};
use crate::record::{Class, Mapping};
use crate::shell::files::replace;
use crate::shell::node::PeerId;
use crate::shell::sequence::SequenceFile;
use crate::shell::shelf;

/// Minutes that map-caches keep a mapping: the lifetime of the statement.
const TTL: u32 = 60;

/// Publishes what an identity says of itself, or a revocation.
pub(super) async fn put(settings: Settings, flags: &PutFlags) -> Result<Outcome, Failure> {
    if let Some(file) = &flags.revocation {
        return revoke::put(settings, flags, file).await;
    }
    if let Some(file) = &flags.bundle {
        return bundle::put(settings, flags, file).await;
    }
    if let Some(both) = flags.contradiction() {
        return Err(anyhow!("{both}: say one or the other").into());
    }
    let network = settings.network()?;
    // What is wrong with a setting is said before a password is asked for.
    if statements(&settings, &flags.withdraw, network, None)?.is_empty() {
        return Err(anyhow!(
            "nothing to publish: name at least one --rloc (where the CGEID is reached), --service, --alternate, --pref64, \
             --ptr, --neighbour, --position or --terminal, or --withdraw what was published before"
        )
        .into());
    }
    let key = identity::load(&settings, network)?;
    let statements = statements(&settings, &flags.withdraw, network, told(&settings, &key).as_ref())?;
    let publication = sign_node(&settings, &key, network, statements, false)?;
    send(&settings, network, &key.address().to_string(), publication, &flags.file.json).await
}

/// Signs what a node says of itself, and keeps the position that is told by that. `is_clock_right` says whether peers have said so.
pub(super) fn sign_node(
    settings: &Settings,
    key: &OperationalKey,
    network: Network,
    statements: Vec<Statement>,
    is_clock_right: bool,
) -> Result<Publication, Failure> {
    let geo = statements.iter().find_map(|statement| statement.body().geo()).copied();
    let publication = sign(settings, key, |now, sequence| {
        *sequence = if is_clock_right { sequence.by_right_clock(now) } else { *sequence };
        publish::node(key, network, statements, now, sequence)
    })?;
    if let Some(geo) = geo {
        let path = told_path(settings, key)?;
        let saved = write_told(&path, &geo.position).with_context(|| path.display().to_string());
        saved.map_err(Failure::Lacking)?;
    }
    Ok(publication)
}

/// What the settings say, and what is withdrawn.
pub(super) fn statements(
    settings: &Settings,
    withdraw: &[Withdrawn],
    network: Network,
    told: Option<&Position>,
) -> anyhow::Result<Vec<Statement>> {
    let withdrawn = |class| withdraw.contains(&class);
    let gone = |class| Statement::withdrawal(class);
    let locators = settings.rloc.iter().map(|text| values::rloc(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let mapping = (!locators.is_empty()).then(|| Mapping::new(locators, Ttl(settings.ttl.unwrap_or(TTL))));
    let service = values_node::service(settings, network)?;
    let topology = values_node::topology(settings, network, told)?;
    let said = [
        if withdrawn(Withdrawn::Mapping) { gone(Class::Mapping) } else { mapping.map(Statement::mapping) },
        if withdrawn(Withdrawn::Topology) { gone(Class::Topology) } else { topology.map(Statement::topology) },
        if withdrawn(Withdrawn::Service) { gone(Class::Service) } else { service.map(Statement::service) },
    ];
    Ok(said.into_iter().flatten().collect())
}

/// The file with the position that was told last, beside the sequence: so that a receiver which wavers at the edge of a
/// blurred cell tells one thing.
fn told_path(settings: &Settings, key: &OperationalKey) -> Result<PathBuf, Failure> {
    sequence_path(settings, key).map(|path| path.with_extension("position"))
}

/// The position that was told last. Without the file, or with one that cannot be read, nothing was told.
pub(super) fn told(settings: &Settings, key: &OperationalKey) -> Option<Position> {
    let path = told_path(settings, key).ok()?;
    values_node::place(std::fs::read_to_string(path).ok()?.trim()).ok()
}

fn write_told(path: &Path, position: &Position) -> std::io::Result<()> {
    let (latitude, longitude) = position.degrees();
    replace(path, format!("{latitude:.7},{longitude:.7}\n").as_bytes())
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
    json: &Json,
) -> Result<Outcome, Failure> {
    let Publication { key, value, sequence, .. } = publication;
    let carried = Carried { key: key.encode(), value, name: eid.to_owned(), sequence, at: Vec::new() };
    carry(settings, network, carried, json).await
}

/// A bundle, where it goes, and what it is called.
pub(super) struct Carried {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) name: String,
    pub(super) sequence: u64,
    /// The nodes that are asked to store it; none: those of its key's region.
    pub(super) at: Vec<PeerId>,
}

/// [`send`] for octets of which nobody says that they are a publication.
pub(super) async fn carry(
    settings: &Settings,
    network: Network,
    carried: Carried,
    json: &Json,
) -> Result<Outcome, Failure> {
    let Carried { key, value, name: eid, sequence, at } = carried;
    let node = shelf::start_node(settings.client()?, network, None)?;
    let begun = Instant::now();
    let report = node.put_at(at, key, value).await?;
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
