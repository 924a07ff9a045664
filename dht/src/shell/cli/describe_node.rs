// SPDX-License-Identifier: GPL-2.0-or-later
//! TOPOLOGY and SERVICE as JSON, and the words of their flags.

use serde_json::{Map, Value, json};

use crate::geo::Position;
use crate::record::{Centimetres, Geo, Medium, Quality, Service, Source, Terminal, Topology};

/// The words for media.
pub(super) const MEDIA: [(&str, Medium); 5] = [
    ("wire", Medium::WIRE),
    ("fibre", Medium::FIBRE),
    ("radio", Medium::RADIO),
    ("laser", Medium::LASER),
    ("tunnel", Medium::TUNNEL),
];

/// The word for a medium; its number, if there is none.
pub(super) fn medium(medium: Medium) -> Value {
    match MEDIA.into_iter().find(|(_, known)| *known == medium) {
        Some((word, _)) => word.into(),
        None if medium == Medium::UNKNOWN => Value::Null,
        None => medium.0.into(),
    }
}

fn source(source: Source) -> Value {
    match source {
        Source::UNKNOWN => Value::Null,
        Source::CONFIGURED => "configured".into(),
        Source::GNSS => "gnss".into(),
        Source(other) => other.into(),
    }
}

/// Metres of a length.
pub(super) fn metres(length: Centimetres) -> f64 {
    f64::from(length.0) / 100.0
}

/// The figures of a link.
pub(super) fn quality(quality: &Quality) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("metric".to_owned(), quality.metric.into());
    object.insert("loss_percent".to_owned(), (f64::from(quality.loss.0) / 100.0).into());
    object.insert("kbit_s".to_owned(), if quality.rate.0 == 0 { Value::Null } else { quality.rate.0.into() });
    object
}

/// A place: degrees and metres.
pub(super) fn position(position: &Position, error: Centimetres) -> Map<String, Value> {
    let (latitude, longitude) = position.degrees();
    let mut object = Map::new();
    object.insert("latitude".to_owned(), latitude.into());
    object.insert("longitude".to_owned(), longitude.into());
    object.insert("altitude_m".to_owned(), position.metres().map_or(Value::Null, Into::into));
    object.insert("error_m".to_owned(), metres(error).into());
    object
}

pub(super) fn topology_json(topology: &Topology) -> Value {
    let neighbours: Vec<Value> = topology
        .neighbours
        .iter()
        .map(|(neighbour, figures)| {
            let mut object = quality(figures);
            object.insert("cn".to_owned(), neighbour.cn.to_string().into());
            object.insert("medium".to_owned(), medium(neighbour.medium));
            Value::Object(object)
        })
        .collect();
    let terminals: Vec<Value> = topology.terminals.iter().map(|(number, one)| terminal(*number, one)).collect();
    json!({
        "neighbours": neighbours,
        "position": topology.geo.as_ref().map_or(Value::Null, geo),
        "terminals": terminals,
    })
}

fn geo(geo: &Geo) -> Value {
    let mut object = position(&geo.position, geo.error);
    object.insert("source".to_owned(), source(geo.source));
    Value::Object(object)
}

fn terminal(number: u8, terminal: &Terminal) -> Value {
    let degrees = |hundredths: f64| hundredths / 100.0;
    let mut object = position(&terminal.position, terminal.error);
    object.insert("number".to_owned(), number.into());
    object.insert("medium".to_owned(), medium(terminal.medium));
    let frequency = if terminal.frequency == 0 { Value::Null } else { terminal.frequency.into() };
    object.insert("frequency_khz".to_owned(), frequency);
    object.insert("azimuth_deg".to_owned(), degrees(terminal.pointing.azimuth().into()).into());
    object.insert("elevation_deg".to_owned(), degrees(terminal.pointing.elevation().into()).into());
    object.insert("reach_deg".to_owned(), degrees(terminal.pointing.reach().into()).into());
    Value::Object(object)
}

pub(super) fn service_json(service: &Service) -> Value {
    let addresses: Vec<Value> = service
        .addresses
        .iter()
        .map(|((address, port), roles)| {
            json!({
                "address": address.to_string(),
                "port": if *port == 0 { Value::Null } else { (*port).into() },
                "roles": roles.names().collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "addresses": addresses,
        "alternates": service.alternates.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "pref64": service.pref64.iter().map(|prefix| prefix.net().to_string()).collect::<Vec<_>>(),
        "ptr": service.ptr.as_ref().map(ToString::to_string),
    })
}

/// The lines for people of a TOPOLOGY or SERVICE body in JSON; none of another.
pub(super) fn node_lines(body: &Value) -> Vec<String> {
    let list = |name: &str| body.get(name).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = Vec::new();
    for one in list("neighbours") {
        let (cn, metric, loss) = (text(&one["cn"]), &one["metric"], &one["loss_percent"]);
        let medium = if one["medium"].is_null() { String::new() } else { format!(" by {}", text(&one["medium"])) };
        let rate = if one["kbit_s"].is_null() { String::new() } else { format!(" {} kbit/s", one["kbit_s"]) };
        lines.push(format!("  neighbour  {cn}{medium} metric {metric} loss {loss} %{rate}"));
    }
    let place = |one: &Value| format!("{} {} within {} m", one["latitude"], one["longitude"], one["error_m"]);
    lines.extend(body.get("position").filter(|one| !one.is_null()).map(|one| format!("  position   {}", place(one))));
    for one in list("terminals") {
        lines.push(format!("  terminal   #{} {} {}", one["number"], text(&one["medium"]), place(one)));
    }
    for one in list("addresses") {
        let roles: Vec<&str> = one["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let port = if one["port"].is_null() { String::new() } else { format!(" port {}", one["port"]) };
        lines.push(format!("  service    {}{port} {}", text(&one["address"]), roles.join(" ")));
    }
    lines.extend(list("alternates").map(|one| format!("  alternate  {}", text(one))));
    lines.extend(list("pref64").map(|one| format!("  pref64     {}", text(one))));
    lines.extend(body.get("ptr").and_then(Value::as_str).map(|name| format!("  ptr        {name}")));
    lines
}
