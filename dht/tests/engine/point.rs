// SPDX-License-Identifier: GPL-2.0-or-later
//! Directions between places, with PROJ as witness: `cct` turns into east, north and up, `geod` measures along the ground.

use std::io::Write as _;
use std::process::{Command, Stdio};

use dht::geo::{Position, look};

/// What may be between us and PROJ, in degrees.
const TOLERANCE: f64 = 0.01;

/// Runs a program of PROJ over lines of input; `None`, said, where it is missing and need not be there.
fn proj(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} (proj-bin) is missing");
        println!("SKIP: {program} (proj-bin) is missing, which knows the directions");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {input}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Pairs of places: near and far, on both sides of everything, high and low.
fn pairs() -> Vec<[(f64, f64, f64); 2]> {
    vec![
        [(52.52, 13.405, 34.0), (48.1374, 11.5755, 519.0)],
        [(52.52, 13.405, 34.0), (52.5245, 13.4102, 61.5)],
        [(-33.8568, 151.2153, 5.0), (-33.8523, 151.2108, 134.0)],
        [(0.0, 179.999, 0.0), (0.001, -179.999, 10.0)],
        [(89.99, 10.0, 0.0), (89.99, -170.0, 0.0)],
        [(-54.8, -68.3, 20.0), (-54.9, -67.6, 800.0)],
        [(40.0, -105.0, 1655.0), (40.0, -105.0001, 9000.0)],
        [(10.0, 20.0, 400.0), (60.0, 80.0, 500_000.0)],
        [(37.0, -122.0, 0.0), (36.9, -121.0, -80.0)],
    ]
}

fn place((latitude, longitude, altitude): (f64, f64, f64)) -> Position {
    Position::from_degrees(latitude, longitude, Some(altitude)).unwrap()
}

/// Degrees between two azimuths.
fn apart(one: f64, other: f64) -> f64 {
    let turn = (one - other).rem_euclid(360.0);
    turn.min(360.0 - turn)
}

#[test]
fn azimuth_elevation_and_range_are_those_of_proj() {
    for [from, to] in pairs().into_iter().flat_map(|[one, other]| [[one, other], [other, one]]) {
        let origin = [format!("+lon_0={}", from.1), format!("+lat_0={}", from.0), format!("+h_0={}", from.2)];
        let mut arguments = vec!["-d", "6", "+proj=pipeline", "+step", "+proj=cart", "+ellps=WGS84"];
        arguments.extend(["+step", "+proj=topocentric", "+ellps=WGS84"]);
        arguments.extend(origin.iter().map(String::as_str));
        let Some(seen) = proj("cct", &arguments, &format!("{} {} {} 0\n", to.1, to.0, to.2)) else { return };
        let [east, north, up] = numbers(&seen)[..3] else { panic!("{seen}") };
        let look = look(&place(from), &place(to));
        let level = east.hypot(north);
        assert!(apart(look.azimuth.unwrap(), east.atan2(north).to_degrees()) < TOLERANCE, "{from:?} {to:?}: {look:?}");
        assert!(
            (look.elevation.unwrap() - up.atan2(level).to_degrees()).abs() < TOLERANCE,
            "{from:?} {to:?}: {look:?}"
        );
        assert!((look.range - level.hypot(up)).abs() < 0.1, "{from:?} {to:?}: {look:?}");
    }
}

#[test]
fn over_short_ways_the_azimuth_is_that_along_the_ground() {
    for [from, to] in pairs() {
        let look = look(&place(from), &place(to));
        if look.range > 600_000.0 {
            continue;
        }
        let input = format!("{} {} {} {}\n", from.0, from.1, to.0, to.1);
        let Some(seen) = proj("geod", &["-I", "+ellps=WGS84", "-f", "%.6f"], &input) else { return };
        let azimuth = numbers(&seen)[0];
        assert!(apart(look.azimuth.unwrap(), azimuth) < TOLERANCE, "{from:?} {to:?}: {look:?}, not {azimuth}");
    }
}
