// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht point`: where to turn a terminal.

use anyhow::{Context as _, anyhow};
use cgeid::{Cn, Network};
use futures::future::join_all;
use serde_json::{Map, Value, json};

use super::flags::PointFlags;
use super::settings::Settings;
use super::{Failure, Outcome, describe_node, output, places, query, values, values_node};
use crate::geo::{Look, Position, look};
use crate::record::{Bundle, Centimetres, Pointing, Topology};
use crate::shell::node::Node;
use crate::shell::shelf;

/// One end, as it is named.
enum Named {
    Place(Position),
    Cgeid { cn: Cn, terminal: Option<u8> },
}

/// One end.
struct End {
    name: String,
    position: Position,
    error: Centimetres,
    terminal: Option<(u8, Pointing)>,
}

/// Tells azimuth, elevation and range between two ends.
pub(super) async fn run(settings: Settings, flags: &PointFlags) -> Result<Outcome, Failure> {
    let network = settings.network()?;
    let named = [named(&flags.from, network)?, named(&flags.to, network)?];
    let node = match named.iter().any(|end| matches!(end, Named::Cgeid { .. })) {
        true => Some(shelf::start_node(settings.client()?, network, None)?),
        false => None,
    };
    let mut ends = Vec::new();
    let mut missing = None;
    let texts = [&flags.from, &flags.to];
    let finds = texts.into_iter().zip(named).map(|(text, end)| find(node.as_ref(), network, text, end));
    for found in join_all(finds).await {
        match found {
            Ok(end) => ends.push(end),
            Err(failure) => missing = missing.or(Some(failure)),
        }
    }
    if let Some(node) = node {
        node.shutdown().await;
    }
    if let Some(failure) = missing {
        return Err(failure);
    }
    let [from, to] = &ends[..] else { return Ok(Outcome::DidNot) };
    let (there, back) = (look(&from.position, &to.position), look(&to.position, &from.position));
    let value = answer(from, to, &there, &back);
    output::show(&flags.file.json, &value, &lines(&value))?;
    Ok(Outcome::Held)
}

fn named(text: &str, network: Network) -> anyhow::Result<Named> {
    if text.contains(',') {
        return values_node::place(text).map(Named::Place).with_context(|| text.to_owned());
    }
    let (name, terminal) = match text.split_once('#') {
        Some((name, number)) => {
            (name, Some(number.parse().with_context(|| format!("{text}: after # comes the number of a terminal"))?))
        }
        None => (text, None),
    };
    Ok(Named::Cgeid { cn: values::cgeid(name, network)?, terminal })
}

async fn find(node: Option<&Node>, network: Network, text: &str, named: Named) -> Result<End, Failure> {
    let (cn, wanted) = match (named, node) {
        (Named::Cgeid { cn, terminal }, Some(_)) => (cn, terminal),
        (Named::Place(position), _) => {
            return Ok(End { name: text.to_owned(), position, error: Centimetres(0), terminal: None });
        }
        // Cannot be: whoever names a CGEID has a node.
        (Named::Cgeid { .. }, None) => return Err(Failure::NoAnswer(anyhow!("no node"))),
    };
    let bundle = match node {
        Some(node) => places::read(node, network, cn).await?,
        None => None,
    };
    let reached = node.is_some_and(query::is_reached);
    let why = if reached { "has published no place" } else { query::NOBODY };
    let end = bundle.as_ref().and_then(Bundle::topology).and_then(|topology| end_of(text, topology, wanted));
    end.ok_or_else(|| Failure::NoAnswer(anyhow!("{text}: {why}")))
}

/// The terminal that is wanted, or else the first one, or else the position.
fn end_of(name: &str, topology: &Topology, wanted: Option<u8>) -> Option<End> {
    let name = name.to_owned();
    let terminal = match wanted {
        Some(number) => Some((number, topology.terminals.get(&number)?)),
        None => topology.terminals.iter().next().map(|(number, terminal)| (*number, terminal)),
    };
    match (terminal, &topology.geo) {
        (Some((number, one)), _) => {
            Some(End { name, position: one.position, error: one.error, terminal: Some((number, one.pointing)) })
        }
        (None, Some(geo)) => Some(End { name, position: geo.position, error: geo.error, terminal: None }),
        (None, None) => None,
    }
}

fn answer(from: &End, to: &End, there: &Look, back: &Look) -> Value {
    let error = describe_node::metres(from.error) + describe_node::metres(to.error);
    let side = if error == 0.0 { 0.0 } else { error.atan2(there.range).to_degrees() };
    let mut object = direction(from, there);
    object.insert("from".to_owned(), end(from));
    object.insert("to".to_owned(), end(to));
    object.insert("range_m".to_owned(), there.range.into());
    object.insert("error_deg".to_owned(), side.into());
    object.insert("back".to_owned(), Value::Object(direction(to, back)));
    Value::Object(object)
}

/// What one end sees of the other, and whether its terminal can turn there.
fn direction(end: &End, look: &Look) -> Map<String, Value> {
    let reach =
        end.terminal.and_then(|(_, pointing)| Some(pointing.covers(look.azimuth.unwrap_or(0.0), look.elevation?)));
    let value = json!({ "azimuth_deg": look.azimuth, "elevation_deg": look.elevation, "in_reach": reach });
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn end(end: &End) -> Value {
    let mut object = describe_node::position(&end.position, end.error);
    object.insert("name".to_owned(), end.name.as_str().into());
    object.insert("terminal".to_owned(), end.terminal.map(|(number, _)| number).into());
    Value::Object(object)
}

fn lines(value: &Value) -> Vec<String> {
    let degrees = |value: &Value| value.as_f64().map_or("-".to_owned(), |degrees| format!("{degrees:.4}"));
    let name = |end: &str| value[end]["name"].as_str().unwrap_or_default().to_owned();
    let mut lines = vec![
        format!("{} -> {}", name("from"), name("to")),
        format!("  azimuth    {} degrees", degrees(&value["azimuth_deg"])),
        format!("  elevation  {} degrees", degrees(&value["elevation_deg"])),
        format!("  range      {:.2} m", value["range_m"].as_f64().unwrap_or_default()),
        format!(
            "  back       azimuth {} elevation {} degrees",
            degrees(&value["back"]["azimuth_deg"]),
            degrees(&value["back"]["elevation_deg"])
        ),
    ];
    let error = value["error_deg"].as_f64().unwrap_or_default();
    if error > 0.0 {
        lines.push(format!("  error      {error:.4} degrees: the positions are not exact"));
    }
    for (end, seen) in [("from", value), ("to", &value["back"])] {
        if seen["in_reach"] == false {
            lines.push(format!("  out of reach of the terminal of {}", name(end)));
        }
    }
    lines
}
