// SPDX-License-Identifier: GPL-2.0-or-later
//! The program: what a node says of itself, put, read, pointed at and drawn.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::{Identity, Network, OperationalKey};
use dht::geo::{Cell, DEFAULT_BLUR, Position};
use dht::publish::{self, Sequence, Statement};
use dht::record::{Centimetres, Geo, Loss, Medium, Neighbour, Quality, Rate, Source, Topology};
use serde_json::{Value, json};

use crate::desk::{Daemon, Desk, fails};

/// A node at a desk.
fn node(desk: &Desk, address: &str) -> Daemon {
    desk.node("node", address, &[])
}

fn person(now: SystemTime) -> OperationalKey {
    Identity::generate_ed25519(Network::LAB, now).unwrap().delegate(now, 0).unwrap()
}

fn body<'a>(found: &'a Value, class: &str) -> &'a Value {
    let sections = found["record"]["sections"].as_array().unwrap();
    &sections.iter().find(|section| section["class"] == class).unwrap_or_else(|| panic!("no {class}: {found}"))["body"]
}

#[test]
fn all_that_a_node_says_of_itself_is_put_and_read() {
    let desk = Desk::new();
    let node = node(&desk, "127.61.1.1");
    let (one, two) = (desk.key("one.op.p12"), desk.key("two.op.p12"));
    let (first, second) = (one.address().to_string(), two.address().to_string());
    let bootstrap = ["--bootstrap", &node.address];
    let put = |key: &str, what: &[&str]| {
        let file = format!("{key}.op.p12");
        desk.json(&[&["put", "--identity", &file, "--password-file", "password"], what, &bootstrap[..]].concat())
    };
    let neighbour = format!("{second},medium=laser,metric=100,loss=0.25,rate=10000000");
    let whole = [
        &["--rloc", "192.0.2.1", "--service", "192.0.2.1:43420,boot,mr", "--service", "2001:db8::1,dns"][..],
        &["--alternate", &second, "--pref64", "2001:db8:64::/96", "--ptr", "Host.Example.net"],
        &["--neighbour", &neighbour, "--position", "-33.8568,151.2153,5"],
        &["--terminal", "-33.8568,151.2153,12.5,medium=laser,wavelength=1550,azimuth=0,elevation=1,reach=40"],
    ];
    let (code, stored) = put("one", &whole.concat());
    assert_eq!((code, &stored["result"]), (0, &"stored".into()), "{stored}");

    let get = |eid: &str| desk.json(&[&["get", eid, "--verify"], &bootstrap[..]].concat());
    let (code, found) = get(&first);
    assert_eq!((code, &found["result"], &found["verified"]), (0, &"mapping".into(), &true.into()), "{found}");
    let service = body(&found, "service");
    let addresses = json!([
        { "address": "192.0.2.1", "port": 43420, "roles": ["boot", "mr"] },
        { "address": "2001:db8::1", "port": null, "roles": ["dns"] },
    ]);
    assert_eq!(service["addresses"], addresses);
    assert_eq!(service["alternates"], json!([two.cn().to_string()]));
    assert_eq!((&service["pref64"], &service["ptr"]), (&json!(["2001:db8:64::/96"]), &"host.example.net.".into()));
    let topology = body(&found, "topology");
    let link = &topology["neighbours"][0];
    assert_eq!((&link["cn"], &link["medium"]), (&two.cn().to_string().into(), &"laser".into()));
    assert_eq!(
        (&link["metric"], &link["loss_percent"], &link["kbit_s"]),
        (&100.into(), &0.25.into(), &10_000_000.into())
    );
    // The position is the centre of its cell, the terminal is where it is.
    let exact = Position::from_degrees(-33.8568, 151.2153, None).unwrap();
    let cell = Cell::of(&exact, DEFAULT_BLUR);
    let told =
        (topology["position"]["latitude"].as_f64().unwrap(), topology["position"]["longitude"].as_f64().unwrap());
    assert_eq!(told, cell.centre().degrees());
    assert!(topology["position"]["altitude_m"].is_null());
    assert!(topology["position"]["error_m"].as_f64().unwrap() >= 100.0);
    let terminal = &topology["terminals"][0];
    assert_eq!((&terminal["number"], &terminal["latitude"]), (&1.into(), &(-33.8568).into()));
    assert_eq!((&terminal["altitude_m"], &terminal["reach_deg"]), (&12.5.into(), &40.0.into()));
    let words = String::from_utf8(desk.run(&[&["get", &first], &bootstrap[..]].concat()).stdout).unwrap();
    for word in ["service    192.0.2.1 port 43420 boot mr", "ptr        host.example.net.", "by laser", "terminal   #1"]
    {
        assert!(words.contains(word), "{words}");
    }

    // The other one names it too, and takes over when the first is gone.
    let (code, stored) = put("two", &["--rloc", "192.0.2.2,priority=2", "--alternate", &first]);
    assert_eq!(code, 0, "{stored}");
    let resolve = || desk.json(&[&["resolve", &first], &bootstrap[..]].concat());
    let (code, found) = resolve();
    let addresses = |found: &Value| -> Vec<String> {
        let locators = found["mapping"]["locators"].as_array().unwrap();
        locators.iter().map(|one| one["address"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((code, addresses(&found)), (0, vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()]), "{found}");
    assert_eq!((&found["lookups"], &found["alternates"]), (&2.into(), &json!([two.cn().to_string()])));
    assert_eq!(put("one", &["--withdraw"]).0, 0);
    let (code, found) = resolve();
    assert_eq!((code, addresses(&found)), (0, vec!["192.0.2.2".to_owned()]), "{found}");
    assert_eq!(put("one", &["--withdraw=service,topology"]).0, 0);
    assert_eq!(resolve().0, 1);
    let (code, found) = get(&first);
    assert_eq!((code, &found["result"]), (1, &"not-found".into()), "{found}");
}

#[test]
fn a_position_that_wavers_is_told_once() {
    let desk = Desk::new();
    let node = node(&desk, "127.62.1.1");
    let eid = desk.key("one.op.p12").address().to_string();
    let told = |position: &str| {
        let put = ["put", "--identity", "one.op.p12", "--password-file", "password", "--position", position];
        let (code, stored) = desk.json(&[&put[..], &["--bootstrap", &node.address]].concat());
        assert_eq!(code, 0, "{stored}");
        let (_, found) = desk.json(&["get", &eid, "--verify", "--bootstrap", &node.address]);
        assert_eq!(
            (&found["result"], &found["why"]),
            (&"not-found".into(), &"a record without mapping".into()),
            "{found}"
        );
        body(&found, "topology")["position"].clone()
    };
    // On both sides of the edge of a cell: two cells for who has no memory.
    let (south, north) = ("-0.0001,0.001", "0.0001,0.001");
    let cell = |latitude| Cell::of(&Position::from_degrees(latitude, 0.001, None).unwrap(), DEFAULT_BLUR);
    assert_ne!(cell(-0.0001), cell(0.0001));
    let first = told(south);
    assert_eq!(told(north), first);
    assert_eq!(told(south), first);
    assert_ne!(told("0.01,0.001"), first, "it has moved");
}

/// A record with a position and neighbours, in hexadecimal digits.
fn record(key: &OperationalKey, at: Option<(f64, f64)>, neighbours: &[&OperationalKey], now: SystemTime) -> String {
    let quality = Quality { metric: 96, loss: Loss(100), rate: Rate(1000) };
    let geo = at.map(|(latitude, longitude)| Geo {
        position: Position::from_degrees(latitude, longitude, None).unwrap(),
        error: Centimetres(20_000),
        source: Source::GNSS,
    });
    let neighbours = neighbours.iter().map(|other| (Neighbour { cn: other.cn(), medium: Medium::RADIO }, quality));
    let topology = Topology { geo, neighbours: neighbours.collect(), ..Topology::default() };
    let statements = vec![Statement::topology(topology)];
    let published = publish::node(key, Network::LAB, statements, now, &mut Sequence::default()).unwrap();
    published.value.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn a_map_shows_places_and_links_that_both_ends_name() {
    let desk = Desk::new();
    let now = SystemTime::now() - Duration::from_secs(86_400);
    let [one, two, three, four] = std::array::from_fn(|_| person(now));
    let entry = |key: &OperationalKey, record: String| json!({ "cn": key.cn().to_string(), "record": record });
    let mut forged = record(&four, Some((1.0, 1.0)), &[&one], now);
    // The last octet of a signature is small, and often zero.
    forged.replace_range(forged.len() - 2.., "ff");
    let seconds = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let crawl = json!({
        "at": seconds,
        "nodes": [
            // One and two name each other, three is named by nobody, and four's signature does not hold.
            entry(&one, record(&one, Some((-17.7, 179.9)), &[&two], now)),
            entry(&two, record(&two, Some((-17.5, -179.9)), &[&one], now)),
            entry(&three, record(&three, Some((5.0, 6.0)), &[&one, &two], now)),
            entry(&four, forged),
            { "cn": person(now).cn().to_string(), "record": null },
        ],
    });
    std::fs::write(desk.path("crawl.json"), crawl.to_string()).unwrap();
    let output = desk.run(&["map", "crawl.json", "--format", "geojson"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let drawn: Value = serde_json::from_slice(&output.stdout).unwrap();
    valid(&drawn);
    let kinds = |kind: &str| {
        let features = drawn["features"].as_array().unwrap();
        features.iter().filter(|feature| feature["properties"]["kind"] == kind).collect::<Vec<_>>()
    };
    let [nodes, links] = [kinds("node"), kinds("link")];
    let names: Vec<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let mut expected = [&one, &two, &three].map(|key| key.cn().to_string());
    expected.sort();
    assert_eq!(names, expected);
    let [link] = links[..] else { panic!("{drawn}") };
    let mut ends = [&link["properties"]["from"], &link["properties"]["to"]].map(|end| end.as_str().unwrap().to_owned());
    ends.sort();
    let mut both = [one.cn().to_string(), two.cn().to_string()];
    both.sort();
    assert_eq!(ends, both);
    assert_eq!(link["geometry"]["type"], "MultiLineString", "it crosses the antimeridian");
    assert_eq!((&link["properties"]["metric"], &link["properties"]["loss_percent"]), (&96.into(), &1.0.into()));

    // By today's clock all of it has expired.
    let mut late = crawl;
    late.as_object_mut().unwrap().remove("at");
    std::fs::write(desk.path("late.json"), late.to_string()).unwrap();
    let (code, drawn) = desk.json(&["map", "late.json"]);
    assert_eq!((code, &drawn["features"]), (1, &json!([])), "{drawn}");
    std::fs::write(desk.path("wrong.json"), "{\"nodes\": 7}").unwrap();
    fails(&desk, 2, &["map", "wrong.json"], "not the JSON of a crawl");
    fails(&desk, 2, &["map", "missing.json"], "missing.json");
    fails(&desk, 2, &["map"], "CGEID|FILE");
}

/// What RFC 7946 asks of a feature collection of points and lines.
fn valid(collection: &Value) {
    let position = |value: &Value| {
        let numbers: Vec<f64> = value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
        assert!(numbers.len() == 2 || numbers.len() == 3, "{value}");
        assert!(numbers[0].abs() <= 180.0 && numbers[1].abs() <= 90.0, "{value}");
        numbers[0]
    };
    let line = |value: &Value| {
        let longitudes: Vec<f64> = value.as_array().unwrap().iter().map(position).collect();
        assert!(longitudes.len() >= 2, "{value}");
        assert!(longitudes.windows(2).all(|pair| (pair[0] - pair[1]).abs() <= 180.0), "uncut: {value}");
    };
    assert_eq!(collection["type"], "FeatureCollection");
    assert!(collection.get("crs").is_none());
    for feature in collection["features"].as_array().unwrap() {
        assert_eq!(feature["type"], "Feature");
        assert!(feature["properties"].is_object() && (feature["id"].is_string() || feature["id"].is_number()));
        let coordinates = &feature["geometry"]["coordinates"];
        match feature["geometry"]["type"].as_str().unwrap() {
            "Point" => _ = position(coordinates),
            "LineString" => line(coordinates),
            "MultiLineString" => coordinates.as_array().unwrap().iter().for_each(line),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_map_of_cgeids_and_a_direction_between_them_come_from_the_network() {
    let desk = Desk::new();
    let node = node(&desk, "127.63.1.1");
    let bootstrap = ["--bootstrap", &node.address];
    let keys = [desk.key("one.op.p12"), desk.key("two.op.p12")];
    let names = [keys[0].cn().to_string(), keys[1].address().to_string()];
    let put = |key: &str, what: &[&str]| {
        let signed = ["put", "--identity", key, "--password-file", "password"];
        let (code, stored) = desk.json(&[&signed[..], what, &bootstrap].concat());
        assert_eq!(code, 0, "{stored}");
    };
    put("one.op.p12", &["--position", "52.5,13.4,34,blur=0", "--neighbour", &names[1], "--service", "192.0.2.1,boot"]);
    let terminals = ["52.6,13.4,1034,medium=laser,azimuth=180,elevation=0,reach=20", "52.4,13.4,0,medium=radio"];
    let two = ["--position", "52.6,13.4", "--terminal", terminals[0], "--terminal", terminals[1]];
    put("two.op.p12", &[&two[..], &["--neighbour", &format!("{},medium=radio", names[0])]].concat());

    let (code, drawn) =
        desk.json(&[&["map", &names[0], &names[1], "000102030405060708090a0b"], &bootstrap[..]].concat());
    valid(&drawn);
    let count = |kind: &str| {
        let features = drawn["features"].as_array().unwrap();
        features.iter().filter(|feature| feature["properties"]["kind"] == kind).count()
    };
    assert_eq!((code, count("node"), count("terminal"), count("link")), (0, 2, 2, 1), "{drawn}");
    assert!(drawn.to_string().contains("\"roles\":[\"boot\"]"), "{drawn}");

    let point = |from: &str, to: &str| desk.json(&[&["point", from, to], &bootstrap[..]].concat());
    let (code, seen) = point(&names[0], &names[1]);
    assert_eq!((code, &seen["to"]["terminal"], &seen["in_reach"]), (0, &1.into(), &Value::Null), "{seen}");
    let azimuth = seen["azimuth_deg"].as_f64().unwrap();
    assert!(azimuth.min(360.0 - azimuth) < 0.01 && seen["elevation_deg"].as_f64().unwrap() > 4.0, "{seen}");
    assert_eq!(seen["back"]["in_reach"], true, "{seen}");
    let (_, seen) = point(&format!("{}#2", names[1]), &names[0]);
    assert_eq!((&seen["from"]["terminal"], &seen["from"]["altitude_m"]), (&2.into(), &0.0.into()), "{seen}");
    fails(
        &desk,
        1,
        &[&["point", &format!("{}#9", names[1]), &names[0]], &bootstrap[..]].concat(),
        "has published no place",
    );
    fails(&desk, 2, &["point", &names[0], "1,2"], "--bootstrap");
}

#[test]
fn a_direction_between_two_places_needs_no_network() {
    let desk = Desk::new();
    let (code, seen) = desk.json(&["point", "-33.8568,151.2153,5", "-33.8523,151.2108,134"]);
    // By PROJ: 416.46 m west, 499.14 m north, 128.97 m up.
    assert_eq!(code, 0);
    let number = |name: &str| seen[name].as_f64().unwrap();
    assert!((number("azimuth_deg") - 320.16).abs() < 0.01, "{seen}");
    assert!((number("elevation_deg") - 11.222).abs() < 0.01, "{seen}");
    assert!((number("range_m") - 662.73).abs() < 0.05, "{seen}");
    for bad in ["91,0", "1", "1,2,3,4", "a,b"] {
        fails(&desk, 2, &["point", bad, "1,2"], bad);
    }
}

#[test]
fn what_cannot_be_said_of_a_node_is_named() {
    let desk = Desk::new();
    desk.key("one.op.p12");
    let put = ["put", "--identity", "one.op.p12", "--password-file", "password", "--bootstrap", "127.64.1.1:9"];
    fails(&desk, 2, &put, "nothing to publish");
    for (flag, value) in [
        ("--service", "192.0.2.1,king"),
        ("--alternate", "2001:db8::1"),
        ("--pref64", "2001:db8::/33"),
        ("--ptr", "a..b"),
        ("--neighbour", "000102030405060708090a0b,medium=air"),
        ("--position", "91,0"),
        ("--terminal", "1,2,3"),
    ] {
        fails(&desk, 2, &[&put[..], &[flag, value]].concat(), flag);
    }
    let revoke = ["put", "--revocation", "one.revoke", "--yes", "--position", "1,2"];
    fails(&desk, 2, &revoke, "--position");
}
