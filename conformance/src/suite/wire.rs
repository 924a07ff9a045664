// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `wire`: each vector against the codec and, where it carries a tag, the authenticator.
//!
//! `vectors/layers.json` says for each vector which layer has the last word. What an engine has the last word on must decode
//! here; the engine's own verdict is a test of the crate that the table names.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use serde::Deserialize;
use wire::control::ControlMessage;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret};
use wire::data::LispHeader;

use super::Listed;
use crate::check::{Asked, Check, Verdict, cited};
use crate::dissect;
use crate::exchange::{self, recorded};
use crate::progress;
use crate::vectors::{self, Vector, VectorsFile};

/// Every vector says what must happen.
const LEVEL: &str = "MUST";

/// What a vector's row of the table says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    layer: Layer,
    /// Codec: the field that it names as wrong. Authenticator: how its error begins.
    refused: Option<String>,
    /// The field that is wrong in the message of an ECM, which itself is taken.
    inner_refused: Option<String>,
    /// Engine: the file whose test gives the verdict.
    judge: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Layer {
    Codec,
    Authenticator,
    Engine,
}

/// Judges the wanted vectors.
///
/// # Errors
/// When the vectors or their table cannot be read, which a test rules out.
pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    let file = vectors::shipped()?;
    let rows = table()?;
    let vectors = file.vectors.iter().filter(|vector| wanted(&vector.id));
    let vectors = vectors.take_while(|_| !progress::is_over());
    vectors.map(|vector| check(&file, vector, row(&rows, &vector.id)?)).collect()
}

/// Names the vectors.
///
/// # Errors
/// As [`run`].
pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    let vectors = vectors::shipped()?.vectors.into_iter();
    Ok(vectors.map(|vector| Listed { id: vector.id, clause: vector.clause, level: LEVEL.into() }).collect())
}

/// The clause, the bytes, what must happen.
///
/// # Errors
/// As [`run`].
pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    let file = vectors::shipped()?;
    let Some(vector) = file.vectors.iter().find(|vector| vector.id == id) else { return Ok(None) };
    let mut out = format!(
        "{id}: {}\n\nRests on       {}\nReceived by    {}\nMust happen    {}\nJudged         {}\n\n",
        vector.title,
        cited(&vector.clause),
        vector.role,
        vector.expect,
        layer_of(id)?
    );
    for (at, chunk) in (0..).step_by(16).zip(vector.packet.chunks(16)) {
        let octets: Vec<_> = chunk.iter().map(|octet| format!("{octet:02x}")).collect();
        let _ = writeln!(out, "{at:04x}  {}", octets.join(" "));
    }
    Ok(Some(out))
}

fn layer_of(id: &str) -> anyhow::Result<String> {
    let rows = table()?;
    let row = row(&rows, id)?;
    Ok(match (row.layer, &row.judge) {
        (Layer::Codec, _) => "by the codec".into(),
        (Layer::Authenticator, _) => "by the authenticator".into(),
        (Layer::Engine, Some(judge)) => format!("decoded here; the verdict is that of {judge}"),
        (Layer::Engine, None) => "decoded here; nothing more is asked for yet".into(),
    })
}

fn table() -> serde_json::Result<BTreeMap<String, Row>> {
    serde_json::from_str(include_str!("../../vectors/layers.json"))
}

fn row<'a>(rows: &'a BTreeMap<String, Row>, id: &str) -> anyhow::Result<&'a Row> {
    rows.get(id).with_context(|| format!("{id} has no row in layers.json"))
}

fn check(file: &VectorsFile, vector: &Vector, row: &Row) -> anyhow::Result<Check> {
    let (judged, recording) = recorded(|| {
        exchange::packet_given("packet", &vector.packet);
        if vector.id.starts_with('D') { judge_data(vector, row) } else { judge_control(file, vector, row) }
    });
    let (result, finding) = match judged {
        Ok(finding) => (Verdict::Pass, finding),
        Err(finding) => (Verdict::Fail, finding),
    };
    let layer = match row.layer {
        Layer::Codec => "codec".to_owned(),
        Layer::Authenticator => "authenticator".to_owned(),
        Layer::Engine => format!("codec, then {}", row.judge.as_deref().unwrap_or("nobody yet")),
    };
    let about = format!("[{layer}] {}", vector.title);
    let (id, clause, about, expected) = (&vector.id, &vector.clause, &about, &vector.expect);
    let asked = Asked { suite: "wire", id, clause, level: LEVEL, about, expected };
    Ok(progress::finished(Check::judged(&asked, result, finding, recording)))
}

/// What was found, if it is what the table says; else what was found instead.
type Judgement = Result<String, String>;

fn judge_control(file: &VectorsFile, vector: &Vector, row: &Row) -> Judgement {
    let refused = row.refused.as_deref();
    let codec_refuses = if row.layer == Layer::Authenticator { None } else { refused };
    let message = match (ControlMessage::decode(&vector.lisp), codec_refuses) {
        (Err(error), Some(field)) if error.field == field => return Ok(format!("refused: {error}")),
        (Err(error), _) => return Err(format!("refused: {error}")),
        (Ok(message), Some(field)) => return Err(format!("taken as {message}, but {field} is wrong")),
        (Ok(message), None) => message,
    };
    judge_round_trip(vector, &message)?;
    judge_inside(&message, row)?;
    if row.layer == Layer::Authenticator {
        return judge_tag(file, vector, &message, refused);
    }
    Ok(format!("decodes to {message}, and back"))
}

fn judge_round_trip(vector: &Vector, message: &ControlMessage) -> Result<(), String> {
    let bytes = message.encode().map_err(|error| format!("does not encode again: {error}"))?;
    // Octets behind the last record are ignored, so they are not sent again.
    let same = vector.lisp.starts_with(&bytes) && (bytes.len() == vector.lisp.len() || vector.malformed);
    if same { Ok(()) } else { Err(format!("encodes to other bytes: {message}")) }
}

fn judge_inside(message: &ControlMessage, row: &Row) -> Result<(), String> {
    let ControlMessage::Ecm(ecm) = message else { return Ok(()) };
    match (ControlMessage::decode(&ecm.message), row.inner_refused.as_deref()) {
        (Ok(_), None) => Ok(()),
        (Err(error), Some(field)) if error.field == field => Ok(()),
        (Err(error), _) => Err(format!("the message of the ECM is refused: {error}")),
        (Ok(inner), Some(field)) => Err(format!("the ECM holds {inner}, but {field} is wrong")),
    }
}

fn judge_tag(file: &VectorsFile, vector: &Vector, message: &ControlMessage, refused: Option<&str>) -> Judgement {
    let named = message.authentication().map(|authentication| authentication.algorithm);
    // Whether an algorithm is allowed is the policy of an engine; here it only says how the tag is made.
    let algorithm = named.and_then(Algorithm::from_id).unwrap_or(Algorithm::HmacSha256);
    let key = AuthKey { id: file.key_id, algorithm, secret: Secret::new(file.psk.clone()) };
    match (auth::verify(&vector.lisp, &key, Accept::INTEROP), refused) {
        (Ok(()), None) => Ok(format!("{message}: the tag holds")),
        (Err(error), Some(start)) if error.to_string().starts_with(start) => Ok(format!("refused: {error}")),
        (Err(error), _) => Err(format!("refused: {error}")),
        (Ok(()), Some(start)) => Err(format!("the tag is taken, expected: {start}")),
    }
}

fn judge_data(vector: &Vector, row: &Row) -> Judgement {
    match (dissect::data(&vector.lisp), row.refused.as_deref()) {
        (Ok(shown), None) => judge_header(vector).map(|()| shown),
        (Err(error), Some(field)) if error.field == field => Ok(format!("refused: {error}")),
        (Err(error), _) => Err(format!("refused: {error}")),
        (Ok(shown), Some(field)) => Err(format!("taken as {shown}, but {field} is wrong")),
    }
}

/// Beside an Instance ID there are eight locator-status-bits (RFC 9300, section 5.3); what is written is what was read.
fn judge_header(vector: &Vector) -> Result<(), String> {
    let (header, _) = LispHeader::parse(&vector.lisp).map_err(|error| format!("refused: {error}"))?;
    if header.iid.is_some() && header.status_bits.is_some_and(|bits| bits > u32::from(u8::MAX)) {
        return Err(format!("more than eight locator-status-bits beside an Instance ID: {header:?}"));
    }
    match LispHeader::parse(&header.emit()) {
        Ok((again, _)) if again == header => Ok(()),
        other => Err(format!("written and read again it is {other:?}, not {header:?}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_99_vectors_are_judged_and_hold() {
        let checks = run(&|_| true).unwrap();
        assert_eq!(checks.len(), 99);
        let failed: Vec<_> = checks.iter().filter(|check| check.result != Verdict::Pass).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn a_changed_octet_is_seen() {
        let mut file = vectors::shipped().unwrap();
        let rows = table().unwrap();
        let at = file.vectors.iter().position(|vector| vector.id == "R03").unwrap();
        *file.vectors[at].lisp.last_mut().unwrap() ^= 1;
        let check = check(&file, &file.vectors[at], &rows["R03"]).unwrap();
        assert_eq!(check.result, Verdict::Fail, "{}", check.evidence);
    }

    /// The verdict on what an engine judges exists: the file that the table names is there and speaks of the vector.
    #[test]
    fn the_judge_of_an_engine_vector_names_it() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (id, row) in table().unwrap() {
            let Some(judge) = &row.judge else { continue };
            let text = std::fs::read_to_string(root.join(judge)).unwrap_or_default();
            assert!(text.contains(&id), "{judge} does not judge {id}");
        }
    }
}
