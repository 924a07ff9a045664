// SPDX-License-Identifier: GPL-2.0-or-later
//! GeoJSON (RFC 7946): nodes and terminals as points, mutual links as lines.

use std::collections::BTreeMap;

use cgeid::{Cn, Network};
use serde_json::{Map, Value, json};

use super::describe_node::{medium, metres, quality};
use crate::geo::{MutualLink, Position, mutual_links};
use crate::record::{Bundle, Geo, Roles, Terminal, Topology};

/// What is to be seen of some nodes.
pub(super) fn collection(network: Network, nodes: &BTreeMap<Cn, Bundle>) -> Value {
    let topologies: BTreeMap<Cn, &Topology> =
        nodes.iter().filter_map(|(cn, bundle)| Some((*cn, bundle.topology()?))).collect();
    let place = |cn: &Cn| topologies.get(cn)?.geo.as_ref().map(|geo| &geo.position);
    let mut features = Vec::new();
    for (cn, topology) in &topologies {
        let roles = nodes.get(cn).map_or(Roles::default(), roles);
        features.extend(topology.geo.as_ref().map(|geo| node(network, *cn, geo, roles)));
        features.extend(topology.terminals.iter().map(|(number, one)| terminal(*cn, *number, one)));
    }
    for each in mutual_links(&topologies) {
        if let (Some(from), Some(to)) = (place(&each.ends[0]), place(&each.ends[1])) {
            features.push(link(&each, from, to));
        }
    }
    json!({ "type": "FeatureCollection", "features": features })
}

/// All that a node does for others.
fn roles(bundle: &Bundle) -> Roles {
    let addresses = bundle.service().into_iter().flat_map(|service| service.addresses.values());
    addresses.fold(Roles::default(), |all, roles| all.with(*roles))
}

fn node(network: Network, cn: Cn, geo: &Geo, roles: Roles) -> Value {
    json!({
        "type": "Feature",
        "id": cn.to_string(),
        "geometry": { "type": "Point", "coordinates": coordinates(&geo.position) },
        "properties": {
            "kind": "node",
            "cn": cn.to_string(),
            "cgeid": cn.address(network).to_string(),
            "error_m": metres(geo.error),
            "roles": roles.names().collect::<Vec<_>>(),
        },
    })
}

fn terminal(cn: Cn, number: u8, terminal: &Terminal) -> Value {
    json!({
        "type": "Feature",
        "id": format!("{cn}#{number}"),
        "geometry": { "type": "Point", "coordinates": coordinates(&terminal.position) },
        "properties": {
            "kind": "terminal",
            "cn": cn.to_string(),
            "number": number,
            "medium": medium(terminal.medium),
            "error_m": metres(terminal.error),
        },
    })
}

fn link(link: &MutualLink, from: &Position, to: &Position) -> Value {
    let [one, other] = link.ends;
    let mut properties: Map<String, Value> = quality(&link.quality());
    properties.insert("kind".to_owned(), "link".into());
    properties.insert("from".to_owned(), one.to_string().into());
    properties.insert("to".to_owned(), other.to_string().into());
    properties.insert("medium".to_owned(), medium(link.medium));
    json!({
        "type": "Feature",
        "id": format!("{one}-{other}-{}", link.medium.0),
        "geometry": line(from, to),
        "properties": properties,
    })
}

/// Longitude, latitude, and the altitude if it is known.
fn coordinates(position: &Position) -> Vec<f64> {
    let (latitude, longitude) = position.degrees();
    [Some(longitude), Some(latitude), position.metres()].into_iter().flatten().collect()
}

/// A line, cut in two where it crosses the antimeridian (RFC 7946, section 3.1.9).
fn line(from: &Position, to: &Position) -> Value {
    let ((latitude, longitude), (other_latitude, other_longitude)) = (from.degrees(), to.degrees());
    let ends = [[longitude, latitude], [other_longitude, other_latitude]];
    if (longitude - other_longitude).abs() <= 180.0 {
        return json!({ "type": "LineString", "coordinates": ends });
    }
    // The side on which the first end lies, and how far it is to the edge there.
    let edge = if longitude < 0.0 { -180.0 } else { 180.0 };
    let (here, there) = ((edge - longitude).abs(), (edge + other_longitude).abs());
    let share = if here + there == 0.0 { 0.0 } else { here / (here + there) };
    let cut = latitude + (other_latitude - latitude) * share;
    json!({
        "type": "MultiLineString",
        "coordinates": [[ends[0], [edge, cut]], [[-edge, cut], ends[1]]],
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_antimeridian() {
        let at = |latitude, longitude| Position::from_degrees(latitude, longitude, None).unwrap();
        let straight = line(&at(1.0, 2.0), &at(3.0, -4.0));
        assert_eq!(straight, json!({ "type": "LineString", "coordinates": [[2.0, 1.0], [-4.0, 3.0]] }));
        let cut = line(&at(0.0, 179.0), &at(4.0, -177.0));
        let parts = json!([[[179.0, 0.0], [180.0, 1.0]], [[-180.0, 1.0], [-177.0, 4.0]]]);
        assert_eq!(cut, json!({ "type": "MultiLineString", "coordinates": parts }));
        let back = line(&at(4.0, -177.0), &at(0.0, 179.0));
        let parts = json!([[[-177.0, 4.0], [-180.0, 1.0]], [[180.0, 1.0], [179.0, 0.0]]]);
        assert_eq!(back, json!({ "type": "MultiLineString", "coordinates": parts }));
    }

    #[test]
    fn an_altitude_comes_third_if_it_is_known() {
        let at = |altitude| Position::from_degrees(1.5, -2.5, altitude).unwrap();
        assert_eq!(coordinates(&at(None)), [-2.5, 1.5]);
        assert_eq!(coordinates(&at(Some(3.25))), [-2.5, 1.5, 3.25]);
    }
}
